//! Rewrites one JSON-RPC answer as it streams: the id becomes the agent's, members of the result are left out, replaced
//! or appended, an error is translated. Everything else goes through byte for byte, and large spans without a copy.
//!
//! **The output does not depend on how the input was cut into chunks**, and an answer of any size takes constant
//! memory. A message that is no answer is held whole, within a limit, and handed back.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::scanner::{Mark, Scanner};
use crate::pieces::Pieces;
use crate::wire::json::Json;

/// Puts other values in place of an answer's.
pub(crate) trait Replace: Send + Sync {
    /// Returns the JSON text to put in place of a member of the result, or nothing where it stays. What is put in place of a
    /// member that is left out goes nowhere.
    fn member(&self, key: &str, value: &str) -> Option<String>;

    /// Returns what a translated error is replaced with, or nothing where it stays.
    fn error(&self, error: &str) -> Option<String>;

    /// Returns a member to append to the result, once all others have been seen: name and JSON text.
    fn last(&self) -> Option<(&'static str, String)>;
}

/// What to change in an answer.
#[derive(Clone)]
pub(crate) struct Edits {
    /// The id that the answer must carry, as JSON text.
    pub(crate) expected_id: String,
    /// The id that replaces it, as JSON text.
    pub(crate) id: String,
    /// Members to append to a result object that lacks them: name and JSON text.
    pub(crate) append: &'static [(&'static str, &'static str)],
    /// Tells which members of a result object to leave out, by their name and the first byte of their value.
    pub(crate) omit: Option<fn(&[u8], u8) -> bool>,
    /// The members of a result object that `replace` decides on.
    pub(crate) replaced: &'static [&'static str],
    /// Replaces values of those.
    pub(crate) replace: Option<Arc<dyn Replace>>,
    /// Translates the text of an error object.
    pub(crate) error: fn(&str) -> String,
}

impl std::fmt::Debug for Edits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Edits({} to {})", self.expected_id, self.id)
    }
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
    /// Its error is no object.
    #[error("answered with an error that is no error object")]
    NoError,
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
/// The most of a value that is held to be replaced.
const REPLACED: usize = 1 << 20;
/// The longest `resultType` that is told, in bytes with its quotes.
const RESULT_TYPE: usize = 64;

/// The machine that rewrites one message; see the module.
#[derive(Debug)]
pub(crate) struct Splice {
    rewriter: Rewriter,
    /// The message as it came, unless it is an answer.
    held: BytesMut,
    /// What there is to give out once the message turns out to be an answer.
    withheld: Pieces,
}

impl Splice {
    /// Makes a machine for the next message.
    pub(crate) fn new(edits: Edits) -> Self {
        Self { rewriter: Rewriter::new(edits), held: BytesMut::new(), withheld: Pieces::default() }
    }

    /// Takes the next chunk and appends what can be given out to `out`.
    pub(crate) fn push(&mut self, chunk: &Bytes, out: &mut Pieces) -> Result<(), Broken> {
        match self.rewriter.kind {
            Kind::Answer => return self.rewriter.push(chunk, out),
            Kind::Other => {}
            Kind::Unknown => {
                self.rewriter.push(chunk, &mut self.withheld)?;
                if self.rewriter.kind == Kind::Answer {
                    self.held = BytesMut::new();
                    out.append(std::mem::take(&mut self.withheld));
                    return Ok(());
                }
            }
        }
        self.held.extend_from_slice(chunk);
        if self.held.len() > HELD { Err(Broken::TooLarge) } else { Ok(()) }
    }

    /// Tells whether the whole message has been seen.
    pub(crate) fn is_done(&self) -> bool {
        self.rewriter.scanner.is_done()
    }

    /// Returns the code of the error that the answer is, once that has been seen.
    pub(crate) fn error_code(&self) -> Option<i64> {
        self.rewriter.error_code
    }

    /// Tells whether the answer is the result of a tool that says it is an error, once that has been seen.
    pub(crate) fn is_tool_error(&self) -> bool {
        self.rewriter.is_error
    }

    /// Returns the result's `resultType`, once that has been seen.
    pub(crate) fn result_type(&self) -> Option<&str> {
        let seen = Some(&self.rewriter.result_type).filter(|_| !self.rewriter.in_result_type)?;
        std::str::from_utf8(seen).ok()?.strip_prefix('"')?.strip_suffix('"')
    }

    /// Ends the message.
    pub(crate) fn finish(self) -> Result<Finished, Broken> {
        let done = self.is_done();
        match self.rewriter.kind {
            Kind::Other => Ok(Finished::Other(self.held.freeze())),
            Kind::Answer if done && self.rewriter.id == Some(true) => Ok(Finished::Answer),
            Kind::Answer if done => Err(Broken::WrongId),
            Kind::Unknown if done => Err(Broken::NotAMessage),
            _ => Err(Broken::Truncated),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    Answer,
    Other,
}

/// Where the bytes of a message go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    /// To the agent.
    Out,
    /// To the agent, if the member that they begin stays.
    Ahead,
    /// To whoever puts something else in their place, who takes this many.
    Captured(usize),
    /// To whoever takes this many, with nothing in their place.
    Taken(usize),
    /// Nowhere.
    Omitted,
}

#[derive(Debug)]
struct Rewriter {
    edits: Edits,
    scanner: Scanner,
    kind: Kind,
    sink: Sink,
    /// What stands before a value of which it is not known yet whether it stays: comma, space, key, colon.
    ahead: Vec<u8>,
    captured: Vec<u8>,
    /// How many members of the result have been given out.
    members: u32,
    /// Which of the members to append the result has, a bit each.
    present: u8,
    /// Whether the id that was seen is the right one.
    id: Option<bool>,
    error_code: Option<i64>,
    result_type: Vec<u8>,
    in_result_type: bool,
    /// Whether the result is a tool's that says it is an error.
    is_error: bool,
}

impl Rewriter {
    fn new(edits: Edits) -> Self {
        Self {
            edits,
            scanner: Scanner::default(),
            kind: Kind::Unknown,
            sink: Sink::Out,
            ahead: Vec::new(),
            captured: Vec::new(),
            members: 0,
            present: 0,
            id: None,
            error_code: None,
            result_type: Vec::new(),
            in_result_type: false,
            is_error: false,
        }
    }

    fn push(&mut self, chunk: &Bytes, out: &mut Pieces) -> Result<(), Broken> {
        out.expect(chunk.len());
        let (mut at, mut taken) = (0, 0);
        while let Some(mark) = self.scanner.next(chunk, &mut at)? {
            let until = if matches!(mark, Mark::Open | Mark::End) { at } else { at - 1 };
            self.take(chunk, taken..until, out)?;
            taken = until;
            if self.scanner.in_result || mark == Mark::Close {
                self.turn_in_result(mark, out)?;
            } else {
                self.turn(mark, out)?;
            }
            match self.kind {
                Kind::Answer if self.id == Some(false) => return Err(Broken::WrongId),
                Kind::Other => return Ok(()),
                _ => {}
            }
        }
        self.take(chunk, taken..chunk.len(), out)
    }

    /// Sends a span to where bytes go now.
    fn take(&mut self, chunk: &Bytes, span: Range<usize>, out: &mut Pieces) -> Result<(), Broken> {
        let bytes = &chunk[span.clone()];
        if self.in_result_type {
            let room = RESULT_TYPE - self.result_type.len();
            self.result_type.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        match self.sink {
            Sink::Out => out.share(chunk, span),
            Sink::Ahead => hold(&mut self.ahead, bytes, HELD)?,
            Sink::Captured(limit) | Sink::Taken(limit) => hold(&mut self.captured, bytes, limit)?,
            Sink::Omitted => {}
        }
        Ok(())
    }

    /// Takes a turn among the members of the message.
    fn turn(&mut self, mark: Mark, out: &mut Pieces) -> Result<(), Broken> {
        match (mark, &self.scanner.key[..]) {
            (Mark::Value(_), b"id") => self.sink = Sink::Captured(HELD),
            (Mark::Value(_), b"result") => self.kind = Kind::Answer,
            (Mark::Value(_), b"error") => {
                self.kind = Kind::Answer;
                self.sink = Sink::Captured(HELD);
            }
            (Mark::Value(_), b"method") if self.kind == Kind::Unknown => self.kind = Kind::Other,
            (Mark::End, b"id") => {
                let right = self.captured == self.edits.expected_id.as_bytes();
                self.id = Some(right && self.id != Some(false));
                out.copy(self.edits.id.as_bytes());
                self.captured.clear();
                self.sink = Sink::Out;
            }
            (Mark::End, b"error") => {
                let error = Some(checked(&self.captured)?).filter(|error| error.is_object());
                let error = (self.edits.error)(error.ok_or(Broken::NoError)?.text());
                let other = self.edits.replace.as_ref().and_then(|replace| replace.error(&error));
                let error = other.unwrap_or(error);
                self.error_code =
                    checked(error.as_bytes())?.get("code").and_then(|code| code.text().parse().ok());
                out.copy(error.as_bytes());
                self.captured.clear();
                self.sink = Sink::Out;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes a turn among the members of the result.
    fn turn_in_result(&mut self, mark: Mark, out: &mut Pieces) -> Result<(), Broken> {
        match mark {
            Mark::Open => {
                self.kind = Kind::Answer;
                (self.members, self.present) = (0, 0);
                self.await_member();
            }
            Mark::Comma => self.await_member(),
            Mark::Value(first) => self.begin_member(first, out),
            Mark::End => {
                self.in_result_type = false;
                if matches!(self.sink, Sink::Captured(_) | Sink::Taken(_)) {
                    self.replace(out)?;
                    self.sink = Sink::Out;
                }
            }
            Mark::Close => {
                self.sink = Sink::Out;
                self.append_missing(out);
            }
        }
        Ok(())
    }

    fn await_member(&mut self) {
        if self.edits.omit.is_some() {
            self.ahead.clear();
            self.sink = Sink::Ahead;
        }
    }

    /// Decides where a value of the result goes.
    fn begin_member(&mut self, first: u8, out: &mut Pieces) {
        let key = &self.scanner.key[..];
        if key == b"resultType" {
            self.in_result_type = true;
            self.result_type.clear();
        }
        if key == b"isError" {
            self.is_error = first == b't';
        }
        let replaced = self.edits.replaced.iter().any(|name| key == name.as_bytes());
        if self.edits.omit.is_some_and(|omit| omit(key, first)) {
            self.sink = if replaced { Sink::Taken(REPLACED) } else { Sink::Omitted };
            return;
        }
        if self.sink == Sink::Ahead {
            let ahead = &self.ahead[..];
            out.copy(ahead.strip_prefix(b",").filter(|_| self.members == 0).unwrap_or(ahead));
        }
        self.members += 1;
        for (bit, (name, _)) in self.edits.append.iter().enumerate() {
            self.present |= u8::from(key == name.as_bytes()) << bit;
        }
        self.sink = if replaced { Sink::Captured(REPLACED) } else { Sink::Out };
    }

    fn replace(&mut self, out: &mut Pieces) -> Result<(), Broken> {
        let value = checked(&self.captured)?.text();
        let key = std::str::from_utf8(&self.scanner.key).map_err(|_| Broken::NotAMessage)?;
        let other = self.edits.replace.as_ref().and_then(|replace| replace.member(key, value));
        if matches!(self.sink, Sink::Captured(_)) {
            out.copy(other.as_ref().map_or(&self.captured, |other| other.as_bytes()));
        }
        self.captured.clear();
        Ok(())
    }

    fn append_missing(&mut self, out: &mut Pieces) {
        let (append, present) = (self.edits.append, self.present);
        for (bit, (name, value)) in append.iter().enumerate() {
            if present & (1 << bit) == 0 {
                self.append(name, value, out);
            }
        }
        if let Some((name, value)) = self.edits.replace.as_ref().and_then(|replace| replace.last()) {
            self.append(name, &value, out);
        }
    }

    fn append(&mut self, name: &str, value: &str, out: &mut Pieces) {
        let comma = if self.members > 0 { "," } else { "" };
        self.members += 1;
        for part in [comma, "\"", name, "\":", value] {
            out.copy(part.as_bytes());
        }
    }
}

fn hold(held: &mut Vec<u8>, bytes: &[u8], limit: usize) -> Result<(), Broken> {
    held.extend_from_slice(bytes);
    if held.len() > limit { Err(Broken::TooLarge) } else { Ok(()) }
}

fn checked(text: &[u8]) -> Result<Json<'_>, Broken> {
    Json::check(text).map_err(|_| Broken::NotAMessage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Seals one member, and keeps another for the end.
    #[derive(Default)]
    struct Seals(std::sync::Mutex<Option<String>>);

    impl Replace for Seals {
        fn member(&self, key: &str, value: &str) -> Option<String> {
            if key == "late" {
                *self.0.lock().unwrap() = Some(value.to_owned());
            }
            (key != "kept").then(|| format!("[{value}]"))
        }

        fn error(&self, error: &str) -> Option<String> {
            error.contains("hidden").then(|| "{\"code\":-1}".into())
        }

        fn last(&self) -> Option<(&'static str, String)> {
            Some(("late", self.0.lock().unwrap().take()?))
        }
    }

    fn edits(append: &'static [(&'static str, &'static str)]) -> Edits {
        Edits {
            expected_id: "5".into(),
            id: "\"agent\"".into(),
            append,
            omit: append.is_empty().then_some(|key, first| {
                matches!(key, b"gone" | b"late") || (key == b"object" && first != b'{')
            }),
            replaced: &["sealed", "kept", "late"],
            replace: Some(Arc::new(Seals::default())),
            error: |e| e.replace("-32002", "-32602"),
        }
    }

    /// What came out, what it was, and what was told on the way.
    type Outcome = Result<(String, Finished, Option<i64>, Option<String>), Broken>;

    fn run(text: &str, append: &'static [(&'static str, &'static str)], cut: usize) -> Outcome {
        let mut splice = Splice::new(edits(append));
        let mut out = Pieces::default();
        let text = Bytes::from(text.to_owned());
        for start in (0..text.len()).step_by(cut.max(1)) {
            splice.push(&text.slice(start..text.len().min(start + cut)), &mut out)?;
        }
        let told = (splice.error_code(), splice.result_type().map(str::to_owned));
        let out = String::from_utf8(out.into_whole().into_bytes().into()).unwrap();
        Ok((out, splice.finish()?, told.0, told.1))
    }

    const COMPLETE: &[(&str, &str)] = &[("resultType", "\"complete\"")];

    #[track_caller]
    fn check(text: &str, append: &'static [(&'static str, &'static str)], expected: &str) {
        let whole = run(text, append, text.len());
        assert_eq!(whole.as_ref().map(|(out, ..)| &out[..]), Ok(expected));
        assert_eq!(whole.as_ref().map(|(_, finished, ..)| finished), Ok(&Finished::Answer));
        for cut in 1..text.len() {
            assert_eq!(run(text, append, cut), whole, "cut {cut}");
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
            r#" {"result":{"a":[1,{"id":5}]},"jsonrpc":"2.0", "i\u0064" : 5 } "#,
            &[],
            r#" {"result":{"a":[1,{"id":5}]},"jsonrpc":"2.0", "i\u0064" : "agent" } "#,
        );
        check(r#"{"id":5,"result":-1.5e3}"#, COMPLETE, r#"{"id":"agent","result":-1.5e3}"#);
    }

    #[test]
    fn what_was_taken_out_comes_last() {
        check(
            r#"{"id":5,"result":{"late":"s","sealed":1,"a":2}}"#,
            &[],
            r#"{"id":"agent","result":{"sealed":[1],"a":2,"late":"s"}}"#,
        );
        check(r#"{"id":5,"result":{"late" : {}}}"#, &[], r#"{"id":"agent","result":{"late":{}}}"#);
        check(r#"{"id":5,"error":{"hidden":1}}"#, &[], r#"{"id":"agent","error":{"code":-1}}"#);
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
    fn replaces_values_of_the_result() {
        check(
            r#"{"sealed":0,"id":5,"result":{"sealed" : "a\"b" ,"kept": {"sealed":1},"x":{"sealed":2}}}"#,
            COMPLETE,
            r#"{"sealed":0,"id":"agent","result":{"sealed" : ["a\"b"] ,"kept": {"sealed":1},"x":{"sealed":2},"resultType":"complete"}}"#,
        );
        check(
            r#"{"result":{"gone":1,"sealed":2,"gone":3,"sealed":{}},"id":5}"#,
            &[],
            r#"{"result":{"sealed":[2],"sealed":[{}]},"id":"agent"}"#,
        );
        let sealed =
            |size| run(&format!(r#"{{"id":5,"result":{{"sealed":"{}"}}}}"#, "x".repeat(size)), &[], 1 << 16);
        assert_eq!(sealed(REPLACED - 2).unwrap().0.len(), REPLACED + 37);
        assert_eq!(sealed(REPLACED - 1), Err(Broken::TooLarge));
        assert_eq!(run(r#"{"id":5,"result":{"sealed":{1}}}"#, &[], 4), Err(Broken::NotAMessage));
    }

    #[test]
    fn tells_the_kind_of_result_as_soon_as_it_is_known() {
        let text =
            r#"{"id":5,"result":{"content":[{"resultType":1}],"resultType" : "input_required","z":1}}"#;
        let known = text.find(r#","z""#).unwrap();
        for append in [&[], COMPLETE] {
            let mut splice = Splice::new(edits(append));
            let mut out = Pieces::default();
            for (at, byte) in text.bytes().enumerate() {
                splice.push(&vec![byte].into(), &mut out).unwrap();
                assert_eq!(splice.result_type(), (at + 1 >= known).then_some("input_required"), "{at}");
            }
        }
        let long = "x".repeat(RESULT_TYPE);
        for other in ["1", "null", &format!("\"{long}\"")] {
            let text = format!(r#"{{"id":5,"result":{{"resultType":{other}}}}}"#);
            assert_eq!(run(&text, &[], 7).unwrap().3, None);
        }
    }

    #[test]
    fn translates_errors() {
        let text = r#"{"id":5,"error":{"code":-32002,"message":"x"}}"#;
        check(text, COMPLETE, r#"{"id":"agent","error":{"code":-32602,"message":"x"}}"#);
        assert_eq!(run(text, COMPLETE, 3).unwrap().2, Some(-32602));
    }

    #[test]
    fn hands_back_what_is_no_answer() {
        for text in [
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"result":1}}"#,
            r#"{"params":{"error":[]},"id":6,"method":"roots/list"}"#,
        ] {
            for cut in 1..=text.len() {
                let other = Finished::Other(Bytes::from(text));
                assert_eq!(run(text, COMPLETE, cut), Ok((String::new(), other, None, None)));
            }
        }
    }

    #[test]
    fn an_answer_may_be_of_any_size() {
        let text = format!(r#"{{"id":5,"result":{{"a":"{}"}}}}"#, "x".repeat(2 * HELD));
        assert_eq!(run(&text, &[], text.len()).unwrap().0.len(), text.len() + 6);
        let mut splice = Splice::new(edits(COMPLETE));
        let mut out = Pieces::default();
        let chunk = Bytes::from(text);
        splice.push(&chunk, &mut out).unwrap();
        let middle = &out.into_vec()[1];
        assert!(chunk.as_ptr_range().contains(&middle.as_ptr()), "shared, not copied");
        let notification = format!(r#"{{"method":"{}"}}"#, "x".repeat(2 * HELD));
        assert_eq!(run(&notification, &[], 1 << 20), Err(Broken::TooLarge));
    }

    #[test]
    fn refuses_what_it_cannot_vouch_for() {
        assert_eq!(run(r#"{"id":6,"result":{}}"#, &[], 3), Err(Broken::WrongId));
        assert_eq!(run(r#"{"id":5,"id":6,"result":{}}"#, &[], 3), Err(Broken::WrongId));
        assert_eq!(run(r#"{"id":6,"id":5,"result":{}}"#, &[], 3), Err(Broken::WrongId));
        assert_eq!(run(r#"{"result":{}}"#, &[], 3), Err(Broken::WrongId));
        assert_eq!(run(r#"{"id":5,"result":{"#, &[], 3), Err(Broken::Truncated));
        assert_eq!(run(r#"{"id":5}"#, &[], 3), Err(Broken::NotAMessage));
        assert_eq!(run(r"<html>", &[], 3), Err(Broken::NotAMessage));
        assert_eq!(run(r#"{"id":5,"result":{}}{"#, &[], 30), Err(Broken::NotAMessage));
        assert_eq!(run(r#"{"id":5,"result":{"a" 1}}"#, &[], 30), Err(Broken::NotAMessage));
    }

    proptest! {
        #[test]
        fn agrees_with_a_document(result in "\\{(\"[a-d]\":(1|\"[\\\\{}\\\\[\\\\]:,]{0,4}\"|\\[1,\\{\\}\\]|\\{\"x\":\\[\\]\\}),|\"sealed\":[0-9],){0,4}\"z\":null\\}", last in any::<bool>(), cut in 1usize..40) {
            let text = if last { format!("{{\"result\":{result},\"id\":5}}") } else { format!("{{\"id\":5,\"result\":{result}}}") };
            prop_assume!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            let (out, finished, ..) = run(&text, COMPLETE, cut).unwrap();
            prop_assert_eq!(finished, Finished::Answer);
            let mut expected: serde_json::Value = serde_json::from_str(&text).unwrap();
            expected["id"] = "agent".into();
            if let Some(value) = expected["result"].get_mut("sealed") {
                *value = vec![value.take()].into();
            }
            expected["result"]["resultType"] = "complete".into();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap(), expected);
        }

        #[test]
        fn never_depends_on_the_cut(
            head in "\\{(\"id\":5,|\"x\":[\\[\\]{}1\"]{0,6},|\"i\\\\\\\\u0064\":[56],){0,2}\"(result|error|method)\":",
            body in "\\{(\"(a|sealed|kept|gone|object|resultType)\" ?: ?([15a\\[\\]]{1,3}|\"[\\\\{}\"a]{0,4}\"|\\{\"sealed\":\\[\\]\\}) ?,? ?){0,5}\\}",
            tail in "(,\"id\":[56])?[ }]{1,2}",
            cut in 1usize..20,
            omits in any::<bool>(),
        ) {
            let text = format!("{head}{body}{tail}");
            let append = if omits { &[] } else { COMPLETE };
            prop_assert_eq!(run(&text, append, cut), run(&text, append, text.len()));
        }
    }
}
