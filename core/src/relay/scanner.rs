//! Finds, in a message that comes in chunks, where the members of the message and of its result begin and end.
//!
//! Values are skipped without being looked at, so a byte of a long string or of deep structure costs next to nothing.

use super::Broken;
use crate::wire::scan::{find_end, is_escaped};

/// The longest key whose text is kept, in bytes; none that matters is as long.
const KEY: usize = 128;

/// What has been found. It is the byte just consumed, but for [`Mark::End`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The result begins, and is an object.
    Open,
    /// A member's value begins, with this byte.
    Value(u8),
    /// A member's value has ended; the byte just consumed may be its last.
    End,
    /// Another member follows.
    Comma,
    /// The result object ends.
    Close,
}

/// The reader of one message.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// The key of the member that is being read, its escapes resolved.
    pub(super) key: Vec<u8>,
    /// Whether the members that are being read are those of a result object.
    pub(super) in_result: bool,
    place: Place,
    /// How many containers are open in the value that is being skipped.
    nested: u64,
    escaped: bool,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Start,
    BeforeKey,
    Key,
    BeforeColon,
    BeforeValue,
    /// A string, as a value or within one.
    Text,
    /// A number or a literal.
    Word,
    /// A container, outside of its strings.
    Nested,
    AfterValue,
    Done,
}

impl Scanner {
    /// Tells whether the whole message has been read.
    pub(super) fn is_done(&self) -> bool {
        self.place == Place::Done
    }

    /// Moves `at` through the chunk to behind the next mark, or to the chunk's end.
    pub(super) fn next(&mut self, chunk: &[u8], at: &mut usize) -> Result<Option<Mark>, Broken> {
        while let Some(&byte) = chunk.get(*at) {
            let mark = match self.place {
                Place::Text => self.skip_text(chunk, at).then(|| self.end_text()).flatten(),
                Place::Nested => self.skip_nested(chunk, at),
                Place::Key => {
                    self.read_key(chunk, at);
                    None
                }
                Place::Word if matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n') => {
                    self.end_value()
                }
                _ => {
                    *at += 1;
                    match byte {
                        b' ' | b'\t' | b'\r' | b'\n' => None,
                        byte => self.step(byte)?,
                    }
                }
            };
            if mark.is_some() {
                return Ok(mark);
            }
        }
        Ok(None)
    }

    /// Takes a byte that belongs to the structure of the message or of its result.
    fn step(&mut self, byte: u8) -> Result<Option<Mark>, Broken> {
        let (place, mark) = match (self.place, byte) {
            (Place::Start, b'{') => (Place::BeforeKey, None),
            (Place::BeforeKey, b'"') => {
                self.key.clear();
                (Place::Key, None)
            }
            (Place::BeforeColon, b':') => (Place::BeforeValue, None),
            (Place::BeforeValue, b'{') if !self.in_result && self.key == b"result" => {
                self.in_result = true;
                (Place::BeforeKey, Some(Mark::Open))
            }
            (Place::BeforeValue, b'{' | b'[') => {
                self.nested = 1;
                (Place::Nested, Some(Mark::Value(byte)))
            }
            (Place::BeforeValue, b'"') => (Place::Text, Some(Mark::Value(byte))),
            (Place::BeforeValue, b'-' | b'0'..=b'9' | b'a'..=b'z') => (Place::Word, Some(Mark::Value(byte))),
            (Place::Word, _) => (Place::Word, None),
            (Place::AfterValue, b',') => (Place::BeforeKey, Some(Mark::Comma)),
            (Place::BeforeKey | Place::AfterValue, b'}') if self.in_result => {
                self.in_result = false;
                (Place::AfterValue, Some(Mark::Close))
            }
            (Place::BeforeKey | Place::AfterValue, b'}') => (Place::Done, None),
            _ => return Err(Broken::NotAMessage),
        };
        self.place = place;
        Ok(mark)
    }

    /// Reads a string on; tells whether it has ended.
    fn skip_text(&mut self, chunk: &[u8], at: &mut usize) -> bool {
        if std::mem::take(&mut self.escaped) {
            *at += 1;
        }
        let end = find_end(chunk, *at);
        if end == chunk.len() {
            self.escaped = is_escaped(chunk, *at, end);
            *at = end;
            return false;
        }
        *at = end + 1;
        true
    }

    fn read_key(&mut self, chunk: &[u8], at: &mut usize) {
        let start = *at;
        let ended = self.skip_text(chunk, at);
        let text = &chunk[start..*at - usize::from(ended)];
        let room = KEY - self.key.len();
        self.key.extend_from_slice(&text[..text.len().min(room)]);
        if ended {
            self.place = Place::BeforeColon;
            if self.key.contains(&b'\\')
                && let Ok(key) = serde_json::from_slice::<String>(&[b"\"", &self.key[..], b"\""].concat())
            {
                self.key = key.into();
            }
        }
    }

    fn skip_nested(&mut self, chunk: &[u8], at: &mut usize) -> Option<Mark> {
        let structural = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']');
        let Some(run) = chunk[*at..].iter().position(structural) else {
            *at = chunk.len();
            return None;
        };
        *at += run + 1;
        match chunk[*at - 1] {
            b'"' => self.place = Place::Text,
            b'{' | b'[' => self.nested += 1,
            _ => {
                self.nested -= 1;
                if self.nested == 0 {
                    return self.end_value();
                }
            }
        }
        None
    }

    fn end_text(&mut self) -> Option<Mark> {
        if self.nested == 0 {
            return self.end_value();
        }
        self.place = Place::Nested;
        None
    }

    #[expect(clippy::unnecessary_wraps, reason = "a mark like any other")]
    fn end_value(&mut self) -> Option<Mark> {
        self.place = Place::AfterValue;
        Some(Mark::End)
    }
}
