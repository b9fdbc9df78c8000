//! The line that an entry becomes: in one step, or in two.
//!
//! **A draft is all of a line that does not depend on its place in the chain**, so it can be made where the entry is,
//! which then need not be kept. Only large arguments are looked at later: that takes longer than an agent may wait.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::entry::{Arguments, Entry, Searched, Writing};
use super::moment::write_time;
use super::redact::Redactor;
use super::text::{visible, write_number, write_string};
use crate::identity::AuthKind;
use crate::wire::json::Json;

/// The longest arguments that are written, in bytes; of longer ones there is the digest.
const ARGUMENTS: usize = 64 << 10;
/// The longest text of any other field, in bytes.
const TEXT: usize = 1 << 10;
/// How long a draft is, in bytes, where no text in it is long.
const USUAL: usize = 512;

/// What is known of a line before its place in the chain is.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'d> {
    /// When the entry was over, in milliseconds since the Unix epoch.
    pub time: u64,
    /// What comes after the place, up to the arguments; [`Entry::draft`] has written it.
    pub before: &'d str,
    /// The arguments where they are not in the text: their digest is still to be made.
    pub arguments: Option<&'d [u8]>,
    /// What comes after the arguments.
    pub after: &'d str,
}

/// A draft that has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drafted<'e> {
    /// Where arguments belong that are not in it.
    pub split: usize,
    /// What its line is searched by, in the line's own words.
    pub searched: Searched<'e>,
}

impl Draft<'_> {
    /// Appends the line, without a line break; `id` is its place in the chain, `prev` the hash of the line before.
    pub fn write(&self, out: &mut String, (id, prev): (u64, &str), writing: &Writing) {
        out.push_str("{\"time\":\"");
        write_time(out, self.time);
        out.push_str("\",\"id\":");
        write_number(out, id);
        out.push_str(",\"prev\":\"");
        out.push_str(prev);
        out.push('"');
        out.push_str(self.before);
        if let Some(arguments) = self.arguments {
            let mut line = Line { out, redactor: &writing.redactor };
            line.digest(&Sha256::digest(arguments));
            if writing.arguments {
                line.arguments(arguments);
            }
        }
        out.push_str(self.after);
    }
}

impl Entry {
    /// Returns the entry as a line.
    pub fn line(&self, id: u64, prev: &str, writing: &Writing) -> String {
        let mut out = String::new();
        self.write(&mut out, (id, prev), writing);
        out
    }

    /// Appends the line of the entry, without a line break; `id` is its place in the chain, `prev` the hash of the line
    /// before.
    pub fn write(&self, out: &mut String, place: (u64, &str), writing: &Writing) {
        let mut text = String::new();
        let (before, after) = {
            let split = self.draft(&mut text, &writing.redactor).split;
            text.split_at(split)
        };
        let arguments = match &self.arguments {
            Arguments::Text(arguments) => Some(&**arguments),
            Arguments::None | Arguments::Digest(_) => None,
        };
        Draft { time: self.time, before, arguments, after }.write(out, place, writing);
    }

    /// Writes the draft of its line into `out`, which has to be empty. Arguments that are there as text are left out.
    pub fn draft(&self, out: &mut String, redactor: &Redactor) -> Drafted<'_> {
        out.reserve(USUAL);
        let mut line = Line { out, redactor };
        line.text(",\"gateway\":", &self.gateway);
        line.perhaps(",\"agent\":", self.agent.as_deref());
        line.perhaps(",\"principal\":", self.principal.as_deref());
        line.known(",\"auth\":\"", auth(self.auth));
        line.perhaps(",\"client\":", self.client.as_deref());
        if !self.era.is_empty() {
            line.known(",\"era\":\"", self.era);
        }
        line.known(",\"method\":\"", self.method);
        line.perhaps(",\"server\":", self.server.as_deref());
        let name = self.name.as_deref().map(|name| redactor.text(cut(name)));
        line.perhaps(",\"name\":", name.as_deref());
        let upstream_name = self.upstream_name.as_deref();
        let is_shown = |own: &&str| name.as_deref().is_some_and(|name| name.ends_with(own));
        match upstream_name.filter(|own| redactor.is_usual() && is_shown(own)) {
            // Nothing has been taken out of it there.
            Some(own) => line.text(",\"upstream_name\":", own),
            None => line.foreign(",\"upstream_name\":", upstream_name),
        }
        line.known(",\"decision\":\"", self.decision.as_str());
        line.foreign(",\"rule\":", self.rule.as_deref());
        line.foreign(",\"error\":", self.error.as_deref());
        if let Arguments::Digest(digest) = &self.arguments {
            line.digest(digest);
        }
        let split = line.out.len();
        self.write_rest(&mut line);
        Drafted { split, searched: self.searched(name.unwrap_or_default()) }
    }

    fn write_rest(&self, line: &mut Line<'_>) {
        if let Some(bytes) = self.result_bytes {
            line.out.push_str(",\"result_bytes\":");
            write_number(line.out, bytes);
        }
        match self.is_error {
            Some(true) => line.out.push_str(",\"is_error\":true"),
            Some(false) => line.out.push_str(",\"is_error\":false"),
            None => {}
        }
        line.millis(",\"duration_ms\":", self.duration);
        if let Some(upstream) = self.upstream {
            line.millis(",\"upstream_ms\":", upstream);
        }
        if let Some(id) = self.request_id.as_deref() {
            line.request_id(",\"request_id\":", id);
        }
        if let Some(trace) = self.trace {
            let _ = write!(line.out, ",\"trace_id\":\"{trace:032x}\"");
        }
        line.out.push('}');
    }

    /// Returns what the line is searched by; `name` is redacted.
    fn searched<'e>(&'e self, name: Cow<'e, str>) -> Searched<'e> {
        let shown = |text: &'e Option<Arc<str>>| visible(cut(text.as_deref().unwrap_or_default()));
        Searched {
            time: self.time,
            agent: shown(&self.agent),
            server: shown(&self.server),
            name: match name {
                Cow::Borrowed(name) => visible(cut(name)),
                Cow::Owned(name) => visible(cut(&name)).into_owned().into(),
            },
            decision: self.decision.as_str().into(),
        }
    }
}

fn auth(kind: AuthKind) -> &'static str {
    match kind {
        AuthKind::Anonymous => "anonymous",
        AuthKind::ApiKey => "api_key",
        AuthKind::SharedKey => "shared_key",
        AuthKind::Operator => "operator",
        AuthKind::Admin => "admin",
        AuthKind::Session => "session",
        AuthKind::Directory => "directory",
        AuthKind::Token => "oauth",
    }
}

/// Returns the way of proving who somebody is that a line calls so.
#[cfg(feature = "control")]
pub(crate) fn auth_named(word: &str) -> Option<AuthKind> {
    use AuthKind::{Admin, Anonymous, ApiKey, Directory, Operator, Session, SharedKey, Token};
    let all = [Anonymous, ApiKey, SharedKey, Operator, Admin, Session, Token, Directory];
    all.into_iter().find(|kind| auth(*kind) == word)
}

/// Appends the SHA-256 of some bytes, in hexadecimal digits.
pub(super) fn write_digest(out: &mut String, bytes: &[u8]) {
    write_hex(out, &Sha256::digest(bytes));
}

fn write_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for bytes in bytes.chunks(32) {
        let mut digits = [0; 64];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        out.push_str(std::str::from_utf8(&digits[..bytes.len() * 2]).unwrap_or_default());
    }
}

/// A line that is being written. A key stands with the signs before and after it.
struct Line<'l> {
    out: &'l mut String,
    redactor: &'l Redactor,
}

impl Line<'_> {
    fn text(&mut self, key: &str, text: &str) {
        self.out.push_str(key);
        write_string(self.out, cut(text));
    }

    /// Writes one of our own words, which need no escapes; the key ends with the quotation mark before it.
    fn known(&mut self, key: &str, word: &str) {
        self.out.push_str(key);
        self.out.push_str(word);
        self.out.push('"');
    }

    fn perhaps(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    /// Writes what somebody else has worded.
    fn foreign(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            let text = self.redactor.text(cut(text));
            self.text(key, &text);
        }
    }

    fn digest(&mut self, digest: &[u8]) {
        self.out.push_str(",\"args_digest\":\"");
        write_hex(self.out, digest);
        self.out.push('"');
    }

    fn arguments(&mut self, arguments: &[u8]) {
        let text = std::str::from_utf8(arguments).ok().filter(|text| text.len() <= ARGUMENTS);
        match text {
            Some(text) => {
                self.out.push_str(",\"args\":");
                self.redactor.write_json(self.out, text);
            }
            None => self.text(",\"args\":", &format!("[{} bytes, too many to record]", arguments.len())),
        }
    }

    fn millis(&mut self, key: &str, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.out.push_str(key);
        write_number(self.out, micros / 1000);
        let digits = [b'.', b'0' + part(micros / 100), b'0' + part(micros / 10), b'0' + part(micros)];
        self.out.push_str(std::str::from_utf8(&digits).unwrap_or_default());
    }

    fn request_id(&mut self, key: &str, id: &str) {
        let is_small = (1..=18).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit());
        if is_small && (id.len() == 1 || !id.starts_with('0')) {
            self.out.push_str(key);
            self.out.push_str(id);
            return;
        }
        let json = Json::check(id.as_bytes()).ok();
        match json.and_then(Json::as_str) {
            Some(text) => self.foreign(key, Some(&text)),
            None if json.is_some_and(|id| id.text().len() <= 20 && id.text().parse::<i64>().is_ok()) => {
                self.out.push_str(key);
                self.out.push_str(id.trim());
            }
            None => self.foreign(key, Some(id)),
        }
    }
}

/// Returns the last decimal digit.
fn part(number: u64) -> u8 {
    (number % 10) as u8
}

/// Tells whether a text of a line may be what is left of a longer one.
pub(super) fn may_be_cut(text: &str) -> bool {
    // The longest character has four bytes.
    text.len() + 4 > TEXT
}

/// Cuts a text that is longer than any that tells something.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT)]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{Decision, FIRST, Row};

    fn full(text: &str, arguments: &str) -> Entry {
        Entry {
            time: 1_785_196_800_123,
            gateway: "gw".into(),
            agent: Some("coder".into()),
            principal: Some("key:1".into()),
            auth: AuthKind::ApiKey,
            client: Some("cursor".into()),
            era: "modern",
            method: "tools/call",
            server: Some("github".into()),
            name: Some(text.into()),
            upstream_name: Some("x".into()),
            decision: Decision::Denied,
            rule: Some("agents.coder.deny[0]".into()),
            error: Some(text.to_owned().into()),
            arguments: Arguments::Text(Bytes::copy_from_slice(arguments.as_bytes())),
            result_bytes: Some(12),
            is_error: Some(false),
            duration: Duration::from_nanos(1_234_567),
            upstream: Some(Duration::from_millis(1)),
            request_id: Some("7".into()),
            trace: Some(0x4bf9),
        }
    }

    fn line(entry: &Entry, id: u64, writing: &Writing) -> String {
        let mut line = String::new();
        entry.write(&mut line, (id, FIRST), writing);
        line
    }

    #[test]
    fn a_line_has_every_field_in_its_order() {
        let writing = Writing { arguments: true, ..Writing::default() };
        insta::assert_snapshot!(line(&full("github__x", r#"{ "a": 1 }"#), 3, &writing), @r#"{"time":"2026-07-28T00:00:00.123Z","id":3,"prev":"0000000000000000000000000000000000000000000000000000000000000000","gateway":"gw","agent":"coder","principal":"key:1","auth":"api_key","client":"cursor","era":"modern","method":"tools/call","server":"github","name":"github__x","upstream_name":"x","decision":"denied","rule":"agents.coder.deny[0]","error":"github__x","args_digest":"efc6fbbe835f02996e070d9b3f37ffc4153f8ed11590fbf555bff7021d271fe9","args":{"a":1},"result_bytes":12,"is_error":false,"duration_ms":1.234,"upstream_ms":1.000,"request_id":7,"trace_id":"00000000000000000000000000004bf9"}"#);
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let entry = Entry { method: "GET /sse", ..Entry::default() };
        insta::assert_snapshot!(line(&entry, 1, &Writing::default()), @r#"{"time":"1970-01-01T00:00:00.000Z","id":1,"prev":"0000000000000000000000000000000000000000000000000000000000000000","gateway":"","auth":"anonymous","method":"GET /sse","decision":"allowed","duration_ms":0.000}"#);
    }

    #[test]
    fn arguments_are_written_only_where_that_is_wanted_and_in_reason() {
        let plain = line(&full("x", "{}"), 1, &Writing::default());
        assert!(!plain.contains("\"args\""), "{plain}");
        let digest = digest_in(&plain);
        let mut forgotten = full("x", "{}");
        forgotten.arguments.forget();
        let writing = Writing { arguments: true, ..Writing::default() };
        assert_eq!(digest_in(&line(&forgotten, 1, &writing)), digest);
        let large = line(&full("x", &format!("\"{}\"", "a".repeat(ARGUMENTS))), 1, &writing);
        assert!(large.contains("\"args\":\"[65538 bytes, too many to record]\"") && large.len() < 2048);
    }

    fn digest_in(line: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["args_digest"].as_str().unwrap().to_owned()
    }

    proptest! {
        #[test]
        fn a_line_is_searched_by_what_stands_in_it(text in any::<String>(), agent in any::<String>()) {
            let mut entry = full(&text, "{}");
            entry.agent = Some(agent.as_str().into());
            let line = line(&entry, 7, &Writing::default());
            let row = Row::read(&line).unwrap();
            prop_assert_eq!(row.id(), Some(7));
            prop_assert_eq!(row.searched(), entry.draft(&mut String::new(), &Redactor::default()).searched);
        }

        #[test]
        fn one_entry_is_one_line(text in any::<String>(), id in "\"[^\"\\\\]{0,8}\"|-?[0-9]{1,30}|.{0,5}") {
            let mut entry = full(&text, &serde_json::json!({ &text: [&text] }).to_string());
            entry.request_id = Some(id.as_str().into());
            entry.client = Some(text.as_str().into());
            entry.agent = Some(text.as_str().into());
            let line = line(&entry, 1, &Writing { arguments: true, ..Writing::default() });
            let misleads = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}');
            prop_assert!(!line.chars().any(misleads));
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read["decision"].as_str(), Some("denied"));
        }
    }
}
