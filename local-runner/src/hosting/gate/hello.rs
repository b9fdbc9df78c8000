//! What the first message of TLS says about the host that it is for (RFC 8446, 4.1.2; RFC 6066, 3).
//!
//! **What cannot be read is not let through**: nothing here guesses. The message is looked at and passed on as it came;
//! nothing is decrypted.

/// The longest first message, in bytes, with the heads of its records.
pub(crate) const LONGEST: usize = 18 << 10;

/// What has been found in the first bytes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// It is not all there.
    More,
    /// It is something else than TLS.
    Other,
    /// It is TLS, and cannot be read.
    Unreadable,
    /// It is TLS for this host, in lower case; nothing where it names none.
    For(Option<String>),
    /// It is TLS, and hides for whom it is (ECH).
    Hidden,
}

const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// Reads what is there of the first bytes.
pub(crate) fn read(bytes: &[u8]) -> Hello {
    let Some(&first) = bytes.first() else { return Hello::More };
    if first != 22 {
        return Hello::Other;
    }
    // The second byte of a record is the same in every version.
    if bytes.get(1).is_some_and(|&major| major != 3) {
        return Hello::Other;
    }
    match handshake(bytes) {
        Ok(Some(message)) => extensions(&message).map_or(Hello::Unreadable, found),
        Ok(None) if bytes.len() >= LONGEST => Hello::Unreadable,
        Ok(None) => Hello::More,
        Err(Broken) => Hello::Unreadable,
    }
}

/// It is none of what it has to be.
struct Broken;

/// Puts the first handshake message together, which may lie in several records; nothing where it is not all there.
fn handshake(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
    let mut message = Vec::new();
    loop {
        if let [kind, a, b, c, ..] = message[..] {
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if kind != 1 || length > LONGEST {
                return Err(Broken);
            }
            if message.len() >= 4 + length {
                message.truncate(4 + length);
                message.drain(..4);
                return Ok(Some(message));
            }
        }
        let Some((head, rest)) = bytes.split_at_checked(5) else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if head[0] != 22 || head[1] != 3 || length == 0 || length > 1 << 14 {
            return Err(Broken);
        }
        let part = &rest[..length.min(rest.len())];
        message.extend_from_slice(part);
        bytes = &rest[part.len()..];
        if part.len() < length && !is_whole(&message) {
            return Ok(None);
        }
    }
}

/// Tells whether a handshake message is all there, or cannot be one.
fn is_whole(message: &[u8]) -> bool {
    let [kind, a, b, c, ..] = message[..] else { return false };
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    kind != 1 || length > LONGEST || message.len() >= 4 + length
}

/// Returns the extensions of a first message.
fn extensions(message: &[u8]) -> Option<&[u8]> {
    // Version and random number.
    let mut rest = message.get(34..)?;
    // The session, the suites, the methods of compression.
    take(&mut rest, 1)?;
    take(&mut rest, 2)?;
    take(&mut rest, 1)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let extensions = take(&mut rest, 2)?;
    rest.is_empty().then_some(extensions)
}

/// Takes what stands behind its length, which has so many bytes.
fn take<'b>(bytes: &mut &'b [u8], size: usize) -> Option<&'b [u8]> {
    let (head, rest) = bytes.split_at_checked(size)?;
    let length = head.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
    let (taken, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// Says what the extensions come to.
fn found(mut extensions: &[u8]) -> Hello {
    let mut host = None;
    while !extensions.is_empty() {
        let Some((kind, rest)) = extensions.split_at_checked(2) else { return Hello::Unreadable };
        extensions = rest;
        let Some(content) = take(&mut extensions, 2) else { return Hello::Unreadable };
        match u16::from_be_bytes([kind[0], kind[1]]) {
            ENCRYPTED_CLIENT_HELLO => return Hello::Hidden,
            SERVER_NAME => match server_name(content) {
                Some(name) if host.is_none() => host = Some(name),
                _ => return Hello::Unreadable,
            },
            _ => {}
        }
    }
    Hello::For(host)
}

/// Reads the one name of a list of names.
fn server_name(mut content: &[u8]) -> Option<String> {
    let mut list = take(&mut content, 2)?;
    let (kind, rest) = list.split_first()?;
    list = rest;
    let name = take(&mut list, 2)?;
    let is_plain = |byte: &u8| byte.is_ascii_graphic();
    if *kind != 0 || !list.is_empty() || !content.is_empty() || name.is_empty() || !name.iter().all(is_plain)
    {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    Some(name.trim_end_matches('.').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_length(size: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [&length[length.len() - size..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &with_length(2, content)].concat()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        extension(SERVER_NAME, &with_length(2, &[&[0], &with_length(2, name)[..]].concat()))
    }

    fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
        let mut hello = vec![3, 3];
        hello.extend_from_slice(&[7; 32]);
        hello.extend(with_length(1, &[1; 32]));
        hello.extend(with_length(2, &[0x13, 1, 0x13, 2]));
        hello.extend(with_length(1, &[0]));
        hello.extend(with_length(2, &extensions.concat()));
        [&[1][..], &with_length(3, &hello)].concat()
    }

    fn record(content: &[u8]) -> Vec<u8> {
        [&[22, 3, 1][..], &with_length(2, content)].concat()
    }

    fn host(name: &str) -> Hello {
        Hello::For(Some(name.to_owned()))
    }

    #[test]
    fn the_host_is_found_however_the_message_is_cut() {
        let message = message(&[extension(0x0a0a, &[]), sni(b"Api.Test"), extension(43, &[2, 3, 4])]);
        let whole = record(&message);
        assert_eq!(read(&whole), host("api.test"));
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), Hello::More, "{length}");
        }
        for size in [1, 3, 4, 50] {
            let records: Vec<u8> = message.chunks(size).flat_map(record).collect();
            assert_eq!(read(&records), host("api.test"), "{size}");
            for length in 0..records.len() {
                assert_eq!(read(&records[..length]), Hello::More, "{size}, {length}");
            }
        }
        // What follows it is no part of it.
        assert_eq!(read(&[&whole[..], &[20, 3, 3, 0, 1, 1]].concat()), host("api.test"));
    }

    #[test]
    fn what_names_no_host_or_hides_it_is_told() {
        assert_eq!(read(&record(&message(&[]))), Hello::For(None));
        let hidden = [sni(b"front.test"), extension(ENCRYPTED_CLIENT_HELLO, &[0; 40])];
        assert_eq!(read(&record(&message(&hidden))), Hello::Hidden);
    }

    #[test]
    fn what_is_no_tls_is_told() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x", &[0x80, 46, 1, 3, 1], &[22, 2, 1]] {
            assert_eq!(read(bytes), Hello::Other, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_broken_is_not_guessed() {
        let twice = message(&[sni(b"api.test"), sni(b"evil.test")]);
        assert_eq!(read(&record(&twice)), Hello::Unreadable);
        let two = [&[0][..], &with_length(2, b"a.test"), &[0], &with_length(2, b"b.test")].concat();
        let two = message(&[extension(SERVER_NAME, &with_length(2, &two))]);
        assert_eq!(read(&record(&two)), Hello::Unreadable);
        for name in [&b""[..], b"a\0b", b"a b", b"\xff"] {
            assert_eq!(read(&record(&message(&[sni(name)]))), Hello::Unreadable, "{name:?}");
        }
        let mut after = message(&[sni(b"api.test")]);
        after.extend_from_slice(&[0, 0]);
        after[3] += 2;
        assert_eq!(read(&record(&after)), Hello::Unreadable);
        // Another message, an alert between two records, a record without content, a message without end.
        assert_eq!(read(&record(&[2, 0, 0, 1, 0])), Hello::Unreadable);
        let alert = [&record(&message(&[])[..9])[..], &[21, 3, 1, 0, 2, 1, 0]].concat();
        assert_eq!(read(&alert), Hello::Unreadable);
        assert_eq!(read(&[22, 3, 1, 0, 0]), Hello::Unreadable);
        assert_eq!(read(&record(&[1, 0xff, 0xff, 0xff])), Hello::Unreadable);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(0u8..=255, 0..200)) {
            let mut bytes = bytes;
            read(&bytes);
            if bytes.len() > 1 {
                (bytes[0], bytes[1]) = (22, 3);
                read(&bytes);
            }
        }
    }
}
