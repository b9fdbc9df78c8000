//! Rewrites one JSON-RPC answer as it streams: the id becomes the agent's, missing members are appended to the
//! result, an error is translated. Everything else goes through byte for byte.
//!
//! **The output does not depend on how the input was cut into chunks**, and an answer of any size takes constant
//! memory. A message that is no answer is held whole, within a limit, and handed back.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use crate::wire::json::Json;

/// What to change in an answer.
#[derive(Debug, Clone)]
pub(crate) struct Edits {
    /// The id that the answer must carry, as JSON text.
    pub expected_id: String,
    /// The id that replaces it, as JSON text.
    pub id: String,
    /// Members to append to a result object that lacks them: name and JSON text.
    pub append: &'static [(&'static str, &'static str)],
    /// Tells which members of a result object to leave out, by their name and the first byte of their value.
    pub(crate) omit: Option<fn(&[u8], u8) -> bool>,
    /// Translates the text of an error object.
    pub error: fn(&str) -> String,
}

/// Why a message could not be relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// It ended too early.
    #[error("sent an answer that breaks off")]
    Truncated,
    /// It is no JSON object.
    #[error("sent something that is not a JSON-RPC message")]
    NotAMessage,
    /// It answers another request.
    #[error("answered a request that was not asked")]
    WrongId,
    /// It holds more than may be held.
    #[error("sent a message that is too large")]
    TooLarge,
}

/// What a message turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finished {
    /// An answer; its bytes have been given out.
    Answer,
    /// A request or a notification, whole.
    Other(Bytes),
}

/// The most of a message that is held back: its head until its kind is known, and a message that is no answer.
const HELD: usize = 4 << 20;

/// The machine that rewrites one message; see the module.
#[derive(Debug)]
pub(crate) struct Splice {
    edits: Edits,
    kind: Kind,
    held: BytesMut,
    walker: Walker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    Answer,
    Other,
}

impl Splice {
    /// Makes a machine for the next message.
    pub(crate) fn new(edits: Edits) -> Self {
        Self { edits, kind: Kind::Unknown, held: BytesMut::new(), walker: Walker::default() }
    }

    /// Takes the next chunk and appends what can be given out to `out`.
    pub(crate) fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        match self.kind {
            Kind::Answer => self.walker.rewrite(chunk, &self.edits, out),
            Kind::Other => self.hold(chunk),
            Kind::Unknown => {
                self.kind = self.walker.classify(chunk)?;
                if self.kind != Kind::Answer {
                    return self.hold(chunk);
                }
                self.walker = Walker::default();
                let held = std::mem::take(&mut self.held);
                self.walker.rewrite(&held, &self.edits, out)?;
                self.walker.rewrite(chunk, &self.edits, out)
            }
        }
    }

    /// Tells whether the whole message has been seen.
    pub(crate) fn is_done(&self) -> bool {
        self.walker.done
    }

    /// Returns the code of the error that the answer is, once that has been seen.
    pub(crate) fn error_code(&self) -> Option<i64> {
        self.walker.error_code
    }

    /// Ends the message.
    pub(crate) fn finish(self) -> Result<Finished, Broken> {
        match self.kind {
            Kind::Other => Ok(Finished::Other(self.held.freeze())),
            Kind::Answer if self.walker.done && self.walker.id_seen => Ok(Finished::Answer),
            Kind::Answer if self.walker.done => Err(Broken::WrongId),
            Kind::Unknown if self.walker.done => Err(Broken::NotAMessage),
            _ => Err(Broken::Truncated),
        }
    }

    fn hold(&mut self, chunk: &[u8]) -> Result<(), Broken> {
        self.held.extend_from_slice(chunk);
        if self.held.len() > HELD { Err(Broken::TooLarge) } else { Ok(()) }
    }
}

/// Where the bytes of a value go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Sink {
    #[default]
    Out,
    Captured,
}

/// Walks an object, aware of strings, nesting, and the keys of its first two levels.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent fact of the state")]
struct Walker {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Whether the string being read is a key whose text is kept.
    in_key: bool,
    expect_key: [bool; 2],
    awaits_value: bool,
    key: Vec<u8>,
    member: Member,
    inner_members: u32,
    seen: u8,
    sink: Sink,
    captured: Vec<u8>,
    inner: Inner,
    error_code: Option<i64>,
    id_seen: bool,
    done: bool,
}

/// The members of a result object, where some may be left out.
#[derive(Debug, Default)]
struct Inner {
    /// Whether the result is an object at all.
    is_object: bool,
    place: Place,
    /// What stands before a value of which it is not known yet whether it stays: comma, space, key, colon.
    before: Vec<u8>,
    kept: bool,
    awaits_value: bool,
}

/// What is being read of a result object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Kept,
    Before,
    LeftOut,
}

/// Which member of the message is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Member {
    #[default]
    None,
    Id,
    Result,
    Error,
    Method,
    Other,
}

impl Member {
    fn of(key: &[u8]) -> Self {
        match key {
            b"id" => Self::Id,
            b"result" => Self::Result,
            b"error" => Self::Error,
            b"method" => Self::Method,
            _ => Self::Other,
        }
    }
}

impl Walker {
    /// Reads until the kind of the message is known.
    fn classify(&mut self, chunk: &[u8]) -> Result<Kind, Broken> {
        let mut at = 0;
        while at < chunk.len() {
            at = self.step(chunk, at)?.0;
            if self.depth == 1 && self.awaits_value {
                match Member::of(&self.key) {
                    Member::Method => return Ok(Kind::Other),
                    Member::Result | Member::Error => return Ok(Kind::Answer),
                    _ => {}
                }
            }
        }
        Ok(Kind::Unknown)
    }

    fn rewrite(&mut self, chunk: &[u8], edits: &Edits, out: &mut Vec<u8>) -> Result<(), Broken> {
        out.reserve(chunk.len() + 64);
        let mut at = 0;
        while at < chunk.len() {
            let byte = chunk[at];
            let structural = !self.in_string && self.depth <= 2;
            if structural && self.depth == 1 && matches!(byte, b',' | b'}') {
                self.end_member(edits, out)?;
            }
            if structural && self.depth == 2 && byte == b'}' && self.member == Member::Result {
                self.append_missing(edits, out);
            }
            let starts_value =
                structural && self.depth == 1 && self.awaits_value && !byte.is_ascii_whitespace();
            if starts_value && byte != b':' {
                self.begin_member();
            }
            if let (Some(omit), true, Member::Result) = (edits.omit, structural, self.member) {
                self.filter(byte, omit, out);
            }
            let (end, key_done) = self.step(chunk, at)?;
            let bytes = &chunk[at..end];
            match (self.sink, self.inner.place) {
                (Sink::Captured, _) => self.capture(bytes)?,
                (Sink::Out, Place::Kept) => out.extend_from_slice(bytes),
                (Sink::Out, Place::Before) => self.inner.before.extend_from_slice(bytes),
                (Sink::Out, Place::LeftOut) => {}
            }
            if edits.omit.is_some()
                && structural
                && byte == b'{'
                && self.depth == 2
                && self.member == Member::Result
            {
                self.inner = Inner { is_object: true, place: Place::Before, ..Inner::default() };
            }
            if key_done && self.depth == 2 && self.member == Member::Result {
                self.note_inner_key(edits);
            }
            at = end;
        }
        Ok(())
    }

    /// Decides, before a structural byte of a result object is consumed, where it goes.
    fn filter(&mut self, byte: u8, omit: fn(&[u8], u8) -> bool, out: &mut Vec<u8>) {
        if self.depth != 2 || !self.inner.is_object {
            return;
        }
        match byte {
            b',' => {
                self.inner.place = Place::Before;
                self.inner.before.clear();
            }
            b'}' => self.inner.place = Place::Kept,
            b':' => self.inner.awaits_value = true,
            _ if self.inner.awaits_value && !byte.is_ascii_whitespace() => {
                self.inner.awaits_value = false;
                if omit(&self.key, byte) {
                    self.inner.place = Place::LeftOut;
                } else {
                    let before = &self.inner.before[..];
                    let first = !std::mem::replace(&mut self.inner.kept, true);
                    out.extend_from_slice(before.strip_prefix(b",").filter(|_| first).unwrap_or(before));
                    self.inner.place = Place::Kept;
                }
            }
            _ => {}
        }
    }

    /// Consumes one structural byte or a run of bytes that mean nothing to the structure. Returns the index after
    /// it, and whether it ended a key.
    fn step(&mut self, chunk: &[u8], at: usize) -> Result<(usize, bool), Broken> {
        if self.done {
            return if chunk[at].is_ascii_whitespace() {
                Ok((at + 1, false))
            } else {
                Err(Broken::NotAMessage)
            };
        }
        if self.in_string {
            return Ok(self.step_string(chunk, at));
        }
        if self.depth > 2 {
            let rest = &chunk[at..];
            let run =
                rest.iter().position(|b| matches!(b, b'"' | b'{' | b'}' | b'[' | b']')).unwrap_or(rest.len());
            if run > 0 {
                return Ok((at + run, false));
            }
        }
        self.step_structure(chunk[at])?;
        Ok((at + 1, false))
    }

    fn step_string(&mut self, chunk: &[u8], start: usize) -> (usize, bool) {
        let mut at = start;
        let mut closed = false;
        while at < chunk.len() && !closed {
            if std::mem::take(&mut self.escaped) {
                at += 1;
                continue;
            }
            match memchr2(b'"', b'\\', &chunk[at..]) {
                None => at = chunk.len(),
                Some(run) => {
                    closed = chunk[at + run] == b'"';
                    self.escaped = !closed;
                    at += run + 1;
                }
            }
        }
        self.in_string = !closed;
        if self.in_key {
            let text = &chunk[start..at - usize::from(closed)];
            let room = 64 - self.key.len().min(64);
            self.key.extend_from_slice(&text[..text.len().min(room)]);
        }
        (at, closed && std::mem::take(&mut self.in_key))
    }

    fn step_structure(&mut self, byte: u8) -> Result<(), Broken> {
        let level = self.depth.wrapping_sub(1) as usize;
        match byte {
            _ if self.depth == 0 && byte != b'{' && !byte.is_ascii_whitespace() => {
                return Err(Broken::NotAMessage);
            }
            b'"' => {
                self.in_string = true;
                self.in_key = self.expect_key.get_mut(level).is_some_and(std::mem::take);
                if self.in_key {
                    self.key.clear();
                } else if self.depth == 1 {
                    self.awaits_value = false;
                }
            }
            b'{' | b'[' => {
                if self.depth == 1 {
                    self.awaits_value = false;
                }
                self.depth += 1;
                if let Some(expect) = self.expect_key.get_mut(self.depth as usize - 1) {
                    *expect = byte == b'{';
                }
                if self.depth == 2 {
                    self.inner_members = 0;
                    self.seen = 0;
                }
            }
            b'}' | b']' => {
                self.depth -= 1;
                self.done = self.depth == 0;
            }
            // In an array at the second level no key follows, and nothing asks for one: strings there are values.
            b',' if self.depth == 1 => self.expect_key[0] = true,
            b',' if self.depth == 2 => self.expect_key[1] = self.inner_members > 0,
            b':' if self.depth == 1 => self.awaits_value = true,
            b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' => {}
            _ if self.depth == 1 => self.awaits_value = false,
            _ => {}
        }
        Ok(())
    }

    fn begin_member(&mut self) {
        self.member = Member::of(&self.key);
        self.sink = match self.member {
            Member::Id | Member::Error => Sink::Captured,
            _ => Sink::Out,
        };
        self.captured.clear();
    }

    fn end_member(&mut self, edits: &Edits, out: &mut Vec<u8>) -> Result<(), Broken> {
        match std::mem::take(&mut self.member) {
            Member::Id => {
                if self.captured.trim_ascii() != edits.expected_id.as_bytes() {
                    return Err(Broken::WrongId);
                }
                self.id_seen = true;
                out.extend_from_slice(edits.id.as_bytes());
            }
            Member::Error => {
                let error =
                    std::str::from_utf8(self.captured.trim_ascii()).map_err(|_| Broken::NotAMessage)?;
                let error = (edits.error)(error);
                let json = Json::check(error.as_bytes()).map_err(|_| Broken::NotAMessage)?;
                self.error_code = json.get("code").and_then(|code| code.text().parse().ok());
                out.extend_from_slice(error.as_bytes());
            }
            _ => {}
        }
        self.sink = Sink::Out;
        Ok(())
    }

    fn capture(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.captured.extend_from_slice(bytes);
        if self.captured.len() > HELD { Err(Broken::TooLarge) } else { Ok(()) }
    }

    fn note_inner_key(&mut self, edits: &Edits) {
        self.inner_members += 1;
        for (index, (name, _)) in edits.append.iter().enumerate() {
            if self.key == name.as_bytes() {
                self.seen |= 1 << index;
            }
        }
    }

    fn append_missing(&mut self, edits: &Edits, out: &mut Vec<u8>) {
        for (index, (name, value)) in edits.append.iter().enumerate() {
            if self.seen & (1 << index) == 0 {
                if self.inner_members > 0 {
                    out.push(b',');
                }
                self.inner_members += 1;
                out.extend_from_slice(format!("\"{name}\":{value}").as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edits(append: &'static [(&'static str, &'static str)]) -> Edits {
        Edits {
            expected_id: "5".into(),
            id: "\"agent\"".into(),
            append,
            omit: append
                .is_empty()
                .then_some(|key, first| key == b"gone" || (key == b"object" && first != b'{')),
            error: |e| e.replace("-32002", "-32602"),
        }
    }

    fn run(
        text: &str,
        append: &'static [(&'static str, &'static str)],
        cut: usize,
    ) -> Result<(String, Finished), Broken> {
        let mut splice = Splice::new(edits(append));
        let mut out = Vec::new();
        for chunk in text.as_bytes().chunks(cut.max(1)) {
            splice.push(chunk, &mut out)?;
        }
        Ok((String::from_utf8(out).unwrap(), splice.finish()?))
    }

    const COMPLETE: &[(&str, &str)] = &[("resultType", "\"complete\"")];

    #[track_caller]
    fn check(text: &str, append: &'static [(&'static str, &'static str)], expected: &str) {
        for cut in 1..=text.len() {
            assert_eq!(run(text, append, cut), Ok((expected.into(), Finished::Answer)), "cut {cut}");
        }
    }

    #[test]
    fn replaces_the_id_wherever_it_stands() {
        check(
            r#"{"jsonrpc":"2.0","id":5,"result":{"id":5}}"#,
            &[],
            r#"{"jsonrpc":"2.0","id":"agent","result":{"id":5}}"#,
        );
        check(
            r#" {"result":{"a":[1,{"id":5}]},"jsonrpc":"2.0", "id" : 5 } "#,
            &[],
            r#" {"result":{"a":[1,{"id":5}]},"jsonrpc":"2.0", "id" : "agent"} "#,
        );
    }

    #[test]
    fn appends_only_what_is_missing() {
        check(r#"{"id":5,"result":{}}"#, COMPLETE, r#"{"id":"agent","result":{"resultType":"complete"}}"#);
        check(
            r#"{"id":5,"result":{"a":"}","b":{"resultType":1}}}"#,
            COMPLETE,
            r#"{"id":"agent","result":{"a":"}","b":{"resultType":1},"resultType":"complete"}}"#,
        );
        check(
            r#"{"id":5,"result":{"x":["resultType"],"resultType":"task"}}"#,
            COMPLETE,
            r#"{"id":"agent","result":{"x":["resultType"],"resultType":"task"}}"#,
        );
    }

    #[test]
    fn leaves_out_what_the_agent_must_not_see() {
        check(r#"{"id":5,"result":{"gone":1}}"#, &[], r#"{"id":"agent","result":{}}"#);
        check(
            r#"{"id":5,"result":{"gone" : {"a":"}"}, "b":[1,{"gone":2}] , "object":[] }}"#,
            &[],
            r#"{"id":"agent","result":{ "b":[1,{"gone":2}] }}"#,
        );
        check(
            r#"{"id":5,"result":{"a":1,"gone":"x,","object":{"gone":3},"c":null},"gone":4}"#,
            &[],
            r#"{"id":"agent","result":{"a":1,"object":{"gone":3},"c":null},"gone":4}"#,
        );
        check(r#"{"id":5,"result":[{"gone":1},2]}"#, &[], r#"{"id":"agent","result":[{"gone":1},2]}"#);
    }

    #[test]
    fn translates_errors() {
        check(
            r#"{"id":5,"error":{"code":-32002,"message":"x"}}"#,
            COMPLETE,
            r#"{"id":"agent","error":{"code":-32602,"message":"x"}}"#,
        );
    }

    #[test]
    fn hands_back_what_is_no_answer() {
        let text = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"result":1}}"#;
        for cut in 1..=text.len() {
            assert_eq!(run(text, COMPLETE, cut), Ok((String::new(), Finished::Other(Bytes::from(text)))));
        }
    }

    #[test]
    fn an_answer_may_be_of_any_size() {
        let text = format!(r#"{{"id":5,"result":{{"a":"{}"}}}}"#, "x".repeat(2 * HELD));
        assert_eq!(run(&text, &[], text.len()).unwrap().0.len(), text.len() + 6);
        let notification = format!(r#"{{"method":"{}"}}"#, "x".repeat(2 * HELD));
        assert_eq!(run(&notification, &[], 1 << 20), Err(Broken::TooLarge));
    }

    #[test]
    fn refuses_what_it_cannot_vouch_for() {
        assert_eq!(run(r#"{"id":6,"result":{}}"#, &[], 3), Err(Broken::WrongId));
        assert_eq!(run(r#"{"result":{}}"#, &[], 3), Err(Broken::WrongId));
        assert_eq!(run(r#"{"id":5,"result":{"#, &[], 3), Err(Broken::Truncated));
        assert_eq!(run(r#"{"id":5}"#, &[], 3), Err(Broken::NotAMessage));
        assert_eq!(run(r"<html>", &[], 3), Err(Broken::NotAMessage));
        assert_eq!(run(r#"{"id":5,"result":{}}{"#, &[], 30), Err(Broken::NotAMessage));
    }

    proptest! {
        #[test]
        fn agrees_with_a_document(result in "\\{(\"[a-d]\":(1|\"[\\\\{}\\\\[\\\\]:,]{0,4}\"|\\[1,\\{\\}\\]|\\{\"x\":\\[\\]\\}),){0,4}\"z\":null\\}", last in any::<bool>(), cut in 1usize..40) {
            let text = if last { format!("{{\"result\":{result},\"id\":5}}") } else { format!("{{\"id\":5,\"result\":{result}}}") };
            prop_assume!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            let (out, finished) = run(&text, COMPLETE, cut).unwrap();
            prop_assert_eq!(finished, Finished::Answer);
            let mut expected: serde_json::Value = serde_json::from_str(&text).unwrap();
            expected["id"] = "agent".into();
            expected["result"]["resultType"] = "complete".into();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap(), expected);
        }
    }
}
