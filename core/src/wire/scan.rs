//! Finds the few bytes of a JSON string that mean something: quotes, backslashes, and what must be escaped.
//!
//! Most strings are short, so the first bytes are looked at in words. What is longer is looked at in blocks, in loops
//! over all their bytes without a branch, which compilers turn into vector instructions. **What is usual makes no mark**:
//! common escapes are passed with the text around them.

#![expect(
    clippy::needless_bitwise_bool,
    reason = "a branch would keep a loop from becoming vector instructions"
)]

use memchr::memchr;

/// How many bytes are looked at together, one bit of a mask for each.
const BLOCK: usize = 64;
/// How many words of eight bytes are looked at before blocks are.
const WORDS: usize = 6;
/// Where the next quote is nearer than this, the one after it is not searched for on its own.
const FAR: usize = 4 * BLOCK;

/// Returns the index of the first byte from `at` that is a quote, a backslash or a control character, or the length.
pub(super) fn find_special(bytes: &[u8], at: usize) -> usize {
    let mut at = match find_near(bytes, at, special_of) {
        Ok(found) => return found,
        Err(at) => at,
    };
    while at < bytes.len() {
        let marks = marks::<BLOCK>(&bytes[at..], |window, at| is_special(window[at]));
        if marks != 0 {
            return at + marks.trailing_zeros() as usize;
        }
        at += BLOCK;
    }
    bytes.len()
}

/// Returns the index of the first byte from `from` at which a string is not plain text or a common escape: of a quote,
/// of a control character, or of the backslash of another escape; else the length. No escape goes on at `from`.
pub(super) fn find_odd(bytes: &[u8], from: usize) -> usize {
    let (Ok(mut at) | Err(mut at)) = find_near(bytes, from, special_of);
    while let Some(byte) = bytes.get(at).filter(|byte| is_special(**byte)) {
        match bytes.get(at + 1) {
            Some(next) if *byte == b'\\' && is_common(*next) => at += 2,
            _ => return at,
        }
    }
    // What stands here is plain, so that no backslash before it can be taken for the beginning of an escape.
    at += 1;
    while at < bytes.len() {
        let marks = marks::<{ BLOCK + 1 }>(&bytes[at - 1..], |window, at| {
            let (escaped, byte) = (window[at] == b'\\', window[at + 1]);
            ((byte == b'"') & !escaped) | (byte < 0x20) | (escaped & !is_common(byte))
        });
        if marks != 0 {
            let marked = at + marks.trailing_zeros() as usize;
            return marked - usize::from(bytes[marked - 1] == b'\\');
        }
        at += BLOCK;
    }
    bytes.len()
}

/// Returns the index of the quote that ends the string whose text goes on at `from`, or the length. No escape goes on
/// there. The text has been checked, or will be by whoever reads it.
pub(crate) fn find_end(bytes: &[u8], from: usize) -> usize {
    let mut at = match find_near(bytes, from, |word| zeros(word ^ eight(b'"'))) {
        Ok(found) if !is_escaped(bytes, from, found) => return found,
        Ok(escaped) => escaped + 1,
        Err(at) => at,
    };
    while at < bytes.len().min(from + 2) {
        if bytes[at] == b'"' && !is_escaped(bytes, from, at) {
            return at;
        }
        at += 1;
    }
    let mut far = true;
    while at < bytes.len() {
        // A quote after a single backslash is escaped; after more of them, they have to be counted.
        let mut marks = marks::<{ BLOCK + 2 }>(&bytes[at - 2..], |window, at| {
            (window[at + 2] == b'"') & ((window[at + 1] != b'\\') | (window[at] == b'\\'))
        });
        while marks != 0 {
            let quote = at + marks.trailing_zeros() as usize;
            if !is_escaped(bytes, from, quote) {
                return quote;
            }
            marks &= marks - 1;
        }
        at = (at + BLOCK).min(bytes.len());
        if far {
            let run = memchr(b'"', &bytes[at..]).unwrap_or(bytes.len() - at);
            far = run >= FAR;
            at += run;
        }
    }
    bytes.len()
}

/// Tells whether the byte at `at` is escaped, of a string whose text goes on at `from`: after an odd run of backslashes.
#[inline]
pub(crate) fn is_escaped(bytes: &[u8], from: usize, at: usize) -> bool {
    let mut run = 0;
    while run < at - from && bytes[at - run - 1] == b'\\' {
        run += 1;
    }
    run % 2 == 1
}

#[inline]
fn is_special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// Tells whether a byte after a backslash makes one of the escapes that most text has. Each more would cost all text.
#[inline]
fn is_common(byte: u8) -> bool {
    (byte == b'"') | (byte == b'n') | (byte == b't')
}

/// A word of eight bytes that are all this.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The high bit of each byte that is zero; above the first one others may be set that are not (Mycroft, 1987).
#[inline]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(eight(1)) & !word & eight(0x80)
}

/// The same of each byte that is special.
#[inline]
fn special_of(word: u64) -> u64 {
    let below = word.wrapping_sub(eight(0x20)) & !word & eight(0x80);
    zeros(word ^ eight(b'"')) | zeros(word ^ eight(b'\\')) | below
}

/// Looks for a byte in the next words; returns its index, or where to go on. `found` sets the high bit of each byte that
/// it looks for, and perhaps of others above the first.
#[inline]
fn find_near(bytes: &[u8], at: usize, found: impl Fn(u64) -> u64) -> Result<usize, usize> {
    let mut at = at;
    for word in bytes[at..].as_chunks().0.iter().take(WORDS) {
        let found = found(u64::from_le_bytes(*word));
        if found != 0 {
            return Ok(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    Err(at)
}

/// Returns which places of the first block are marked, a bit each, the first one lowest. `marked` sees so many bytes;
/// where there are no more, letters.
#[inline]
fn marks<const SIZE: usize>(bytes: &[u8], marked: impl Fn(&[u8; SIZE], usize) -> bool) -> u64 {
    if let Some(window) = bytes.first_chunk() {
        return marks_of(window, marked);
    }
    let mut window = [b'x'; SIZE];
    window[..bytes.len()].copy_from_slice(bytes);
    marks_of(&window, marked)
}

#[inline]
fn marks_of<const SIZE: usize>(window: &[u8; SIZE], marked: impl Fn(&[u8; SIZE], usize) -> bool) -> u64 {
    // Plain loops, which become vector instructions also where what stands in other crates is not inlined.
    let mut ones = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        ones[at] = u8::from(marked(window, at));
        at += 1;
    }
    let words = ones.as_chunks().0;
    let mut any = 0;
    for word in words {
        any |= u64::from_le_bytes(*word);
    }
    if any == 0 {
        return 0;
    }
    let mut marks = 0;
    for word in words.iter().rev() {
        // The multiplication gathers the lowest bits of eight bytes in the highest byte.
        marks = marks << 8 | u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The end of a string, byte by byte.
    fn end(bytes: &[u8], from: usize) -> usize {
        let mut at = from;
        while at < bytes.len() && bytes[at] != b'"' {
            at += 1 + usize::from(bytes[at] == b'\\');
        }
        at.min(bytes.len())
    }

    /// The end of plain text and common escapes, byte by byte.
    fn odd(bytes: &[u8], from: usize) -> usize {
        let mut at = from;
        while at < bytes.len() {
            match (bytes[at], bytes.get(at + 1)) {
                (b'\\', Some(b'"' | b'n' | b't')) => at += 2,
                (b'\\' | b'"' | 0..0x20, _) => return at,
                _ => at += 1,
            }
        }
        at
    }

    #[track_caller]
    fn check(bytes: &[u8], from: usize) {
        let special = (from..bytes.len()).find(|at| is_special(bytes[*at])).unwrap_or(bytes.len());
        assert_eq!(find_special(bytes, from), special, "{from}: {}", bytes.escape_ascii());
        assert_eq!(find_odd(bytes, from), odd(bytes, from), "{from}: {}", bytes.escape_ascii());
        assert_eq!(find_end(bytes, from), end(bytes, from), "{from}: {}", bytes.escape_ascii());
    }

    #[test]
    fn finds_each_byte_at_each_place() {
        for special in [b'"', b'\\', 0, 0x1f, 0x20, 0x7f, 0x80, 0xff] {
            for place in 0..3 * BLOCK {
                let mut bytes = vec![b'x'; 3 * BLOCK];
                bytes[place] = special;
                check(&bytes, 0);
                check(&bytes, place);
                check(&bytes, (place + 1).min(bytes.len()));
            }
        }
        check(b"", 0);
    }

    #[test]
    fn tells_escapes_apart_at_each_place() {
        for escape in
            [&b"\\\""[..], b"\\n", b"\\t", b"\\r", b"\\u", b"\\\\", b"\\x", b"\\\\\"", b"\\\\\\\"", b"\\\0"]
        {
            for before in 0..3 * BLOCK {
                let bytes = [&vec![b'x'; before][..], escape, &[b'y'; BLOCK], b"\""].concat();
                for from in [0, before.saturating_sub(1), before] {
                    check(&bytes, from);
                }
                check(&bytes[..before + escape.len()], 0);
            }
        }
    }

    #[test]
    fn runs_of_backslashes_end_where_they_end() {
        for run in 0..2 * BLOCK + 3 {
            for before in [0, 1, 31, 40, 63, 64, 200] {
                let text = [&vec![b'x'; before][..], &vec![b'\\'; run], b"\"", &[b'y'; 70], b"\""].concat();
                check(&text, 0);
                check(&text, before);
                assert_eq!(is_escaped(&text, 0, before + run), run % 2 == 1);
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_going_byte_by_byte(bytes in proptest::collection::vec(
            prop_oneof![8 => Just(b'x'), 3 => Just(b'\\'), 2 => Just(b'"'), 1 => Just(b'n'), 1 => any::<u8>()], 0..300,
        ), from in 0usize..300) {
            check(&bytes, from.min(bytes.len()));
        }

        #[test]
        fn agrees_on_text_with_common_escapes(parts in proptest::collection::vec(
            prop_oneof![
                8 => "[a-z ]{0,40}".prop_map(String::into_bytes),
                4 => Just(b"\\\"".to_vec()), 4 => Just(b"\\n".to_vec()),
                1 => Just(b"\\\\".to_vec()), 1 => Just(b"\\u00e9".to_vec()), 1 => Just(b"\"".to_vec()),
            ], 0..60,
        ), cut in 0usize..1000) {
            let bytes = parts.concat();
            check(&bytes, 0);
            check(&bytes[..cut.min(bytes.len())], 0);
        }
    }
}
