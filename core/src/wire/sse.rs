//! Server-sent events: a decoder that takes chunks as they come, and the encoding of one event.
//!
//! **What comes out does not depend on how the input was cut into chunks.** Lines end in LF, CR or CRLF
//! (HTML Living Standard, §9.2.6); one event is bounded.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    /// Its type; absent means `message`.
    pub name: Option<String>,
    /// Its data, the lines joined by LF.
    pub data: Bytes,
    /// Its id where it set one.
    pub id: Option<String>,
    /// The reconnection time it set, in milliseconds.
    pub retry: Option<u64>,
}

/// An event larger than the decoder's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {0} bytes")]
pub(crate) struct TooLarge(pub usize);

/// Takes chunks of an event stream and yields its events.
#[derive(Debug)]
pub(crate) struct Decoder {
    limit: usize,
    line: BytesMut,
    data: Option<BytesMut>,
    event: Event,
    skip_lf: bool,
    started: bool,
}

impl Decoder {
    /// Makes a decoder that refuses events of more than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: BytesMut::new(),
            data: None,
            event: Event::default(),
            skip_lf: false,
            started: false,
        }
    }

    /// Takes the next chunk and appends the events it completes to `events`.
    pub(crate) fn push(&mut self, mut chunk: &[u8], events: &mut Vec<Event>) -> Result<(), TooLarge> {
        while !chunk.is_empty() {
            if std::mem::take(&mut self.skip_lf) && chunk[0] == b'\n' {
                chunk = &chunk[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', chunk) else {
                self.line.extend_from_slice(chunk);
                return self.check_size();
            };
            self.skip_lf = chunk[end] == b'\r';
            self.line.extend_from_slice(&chunk[..end]);
            chunk = &chunk[end + 1..];
            self.check_size()?;
            let line = self.line.split();
            self.take_line(&line, events);
        }
        Ok(())
    }

    fn check_size(&self) -> Result<(), TooLarge> {
        let held = self.line.len() + self.data.as_ref().map_or(0, BytesMut::len);
        if held > self.limit { Err(TooLarge(self.limit)) } else { Ok(()) }
    }

    fn take_line(&mut self, line: &[u8], events: &mut Vec<Event>) {
        let line = if std::mem::replace(&mut self.started, true) {
            line
        } else {
            line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line)
        };
        if line.is_empty() {
            return self.dispatch(events);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).into_owned();
        match field {
            b"data" => match &mut self.data {
                Some(data) => {
                    data.extend_from_slice(b"\n");
                    data.extend_from_slice(value);
                }
                None => self.data = Some(BytesMut::from(value)),
            },
            b"event" => self.event.name = Some(text()),
            b"id" if !value.contains(&0) => self.event.id = Some(text()),
            b"retry" => self.event.retry = text().parse().ok(),
            _ => {}
        }
    }

    fn dispatch(&mut self, events: &mut Vec<Event>) {
        let mut event = std::mem::take(&mut self.event);
        let data = self.data.take();
        if data.is_none() && event.id.is_none() && event.retry.is_none() {
            return;
        }
        event.data = data.unwrap_or_default().freeze();
        events.push(event);
    }
}

/// Returns a message as one event; `data` must not contain line breaks, which JSON on one line does not.
pub(crate) fn encode(id: Option<&str>, data: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(data.len() + 64);
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"event: message\ndata: ");
    push_one_line(&mut out, data);
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// Appends JSON without the line breaks that may stand between its tokens (inside strings they are escaped).
fn push_one_line(out: &mut Vec<u8>, json: &[u8]) {
    if memchr2(b'\n', b'\r', json).is_none() {
        out.extend_from_slice(json);
    } else {
        out.extend(json.iter().copied().filter(|b| !matches!(b, b'\n' | b'\r')));
    }
}

/// Returns the event that gives a stream its first id (2025-11-25, SEP-1699).
pub(crate) fn prime(id: &str) -> Bytes {
    format!("id: {id}\ndata: \n\n").into()
}

/// A comment, which keeps a quiet connection open.
pub(crate) const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(chunks: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::new(1 << 20);
        let mut events = Vec::new();
        for chunk in chunks {
            decoder.push(chunk, &mut events).unwrap();
        }
        events
    }

    #[test]
    fn decodes_fields_comments_and_line_ends() {
        let events = decode(&[
            b"\xEF\xBB\xBF: hi\r\nid: 1\rdata: a\ndata:b\n\nevent: endpoint\ndata: /x\n\nretry: 5\n\n",
        ]);
        let text: Vec<_> = events
            .iter()
            .map(|e| {
                format!("{:?} {:?} {:?} {:?}", e.name, e.id, std::str::from_utf8(&e.data).unwrap(), e.retry)
            })
            .collect();
        assert_eq!(
            text,
            [
                r#"None Some("1") "a\nb" None"#,
                r#"Some("endpoint") None "/x" None"#,
                r#"None None "" Some(5)"#
            ]
        );
    }

    #[test]
    fn refuses_an_event_that_never_ends() {
        let mut decoder = Decoder::new(10);
        assert_eq!(decoder.push(b"data: 0123456789", &mut Vec::new()), Err(TooLarge(10)));
    }

    #[test]
    fn encodes_on_one_line() {
        assert_eq!(encode(Some("7"), b"{\n\"a\":1}"), "id: 7\nevent: message\ndata: {\"a\":1}\n\n");
    }

    proptest! {
        #[test]
        fn does_not_depend_on_chunks(text in "(data|id|: |event|\n|\r|\r\n|x|:){0,40}", cuts in proptest::collection::vec(0usize..80, 0..6)) {
            let whole = decode(&[text.as_bytes()]);
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts { pieces.push(&text.as_bytes()[from..cut]); from = cut; }
            pieces.push(&text.as_bytes()[from..]);
            prop_assert_eq!(decode(&pieces), whole);
        }
    }
}
