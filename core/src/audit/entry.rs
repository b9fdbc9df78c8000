//! One entry, and the line that it becomes.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::moment::write_time;
use super::redact::Redactor;
use super::text::{visible, write_string};
use crate::identity::AuthKind;
use crate::wire::json::Json;

/// The longest arguments that are written, in bytes; of longer ones there is the digest.
const ARGUMENTS: usize = 64 << 10;
/// The longest text of any other field, in bytes.
const TEXT: usize = 1 << 10;

/// What was decided; what weighs more comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Decision {
    /// It was let through, and answered.
    #[default]
    Allowed,
    /// It was let through, and came to nothing: its server or the gateway failed.
    Failed,
    /// The gateway refused it.
    Denied,
}

impl Decision {
    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// What happened once: a connection, a listing, a call, a refusal or a failure. Made when it is over.
///
/// Texts are as they came: they are cut, redacted and escaped where the entry becomes a line.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Entry {
    /// When it was over, in milliseconds since the Unix epoch.
    pub time: u64,
    /// The gateway that it happened at.
    pub gateway: Arc<str>,
    /// What the policy knows the caller as.
    pub agent: Option<Arc<str>>,
    /// Who the caller has proved to be: the credential's own id, never the credential.
    pub principal: Option<Arc<str>>,
    /// How.
    pub auth: AuthKind,
    /// The name of the caller's client.
    pub client: Option<Arc<str>>,
    /// `modern` or `legacy`; empty where that was never settled.
    pub era: &'static str,
    /// The method; of what is no request of MCP, the method of HTTP and the path's pattern.
    pub method: &'static str,
    /// The server that it concerns.
    pub server: Option<Arc<str>>,
    /// The tool, prompt, resource or task, as the caller named it.
    pub name: Option<Box<str>>,
    /// The same, as the server knows it.
    pub upstream_name: Option<Arc<str>>,
    /// What was decided.
    pub decision: Decision,
    /// The rule that decided.
    pub rule: Option<Arc<str>>,
    /// What went wrong.
    pub error: Option<Cow<'static, str>>,
    /// The arguments, as they were sent.
    pub arguments: Arguments,
    /// How many bytes the caller was answered with.
    pub result_bytes: Option<u64>,
    /// Of a call: whether its result says that it is an error.
    pub is_error: Option<bool>,
    /// How long it took.
    pub duration: Duration,
    /// How long servers took for it, where one was asked.
    pub upstream: Option<Duration>,
    /// The caller's id of the request, as JSON text.
    pub request_id: Option<Box<str>>,
    /// The trace that it belongs to.
    pub trace: Option<u128>,
}

/// What an entry has of a request's arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Arguments {
    /// There are none.
    #[default]
    None,
    /// Their JSON text.
    Text(Bytes),
    /// The SHA-256 of that text alone.
    Digest([u8; 32]),
}

impl Arguments {
    /// Returns the digest of arguments, given as JSON text.
    pub fn digest_of(text: &[u8]) -> Self {
        Self::Digest(Sha256::digest(text).into())
    }

    /// Returns how many bytes of the request are held.
    pub fn held(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::None | Self::Digest(_) => 0,
        }
    }

    /// Puts the digest in place of the text: large ones need not be held.
    pub fn forget(&mut self) {
        if let Self::Text(text) = self {
            *self = Self::digest_of(text);
        }
    }
}

/// What a line is searched by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Searched<'l> {
    /// Its number.
    pub id: u64,
    /// When it was over, in milliseconds since the Unix epoch.
    pub time: u64,
    /// The agent; empty where there is none.
    pub agent: Cow<'l, str>,
    /// The server; empty where there is none.
    pub server: Cow<'l, str>,
    /// The name; empty where there is none.
    pub name: Cow<'l, str>,
    /// The decision.
    pub decision: Cow<'l, str>,
}

/// How entries become lines.
#[derive(Debug, Clone, Default)]
pub struct Writing {
    /// Takes secrets out.
    pub redactor: Redactor,
    /// Whether arguments are written, beside their digest.
    pub arguments: bool,
}

impl Entry {
    /// Returns an entry of the gateway's own about its trail.
    pub fn own(time: u64, method: &'static str, error: String) -> Self {
        Self { time, method, decision: Decision::Failed, error: Some(error.into()), ..Self::default() }
    }

    /// Returns what the line of the entry is searched by, in the line's own words.
    pub fn searched<'e>(&'e self, id: u64, writing: &Writing) -> Searched<'e> {
        let shown = |text: &'e Option<Arc<str>>| visible(cut(text.as_deref().unwrap_or_default()));
        let name = writing.redactor.text(cut(self.name.as_deref().unwrap_or_default()));
        Searched {
            id,
            time: self.time,
            agent: shown(&self.agent),
            server: shown(&self.server),
            name: match name {
                Cow::Borrowed(name) => visible(name),
                Cow::Owned(name) => visible(&name).into_owned().into(),
            },
            decision: self.decision.as_str().into(),
        }
    }

    /// Returns the entry as a line.
    pub fn line(&self, id: u64, prev: &str, writing: &Writing) -> String {
        let mut out = String::new();
        self.write(&mut out, (id, prev), writing);
        out
    }

    /// Appends the line of the entry, without a line break; `id` is its place in the chain, `prev` the hash of the line
    /// before.
    pub fn write(&self, out: &mut String, (id, prev): (u64, &str), writing: &Writing) {
        out.push_str("{\"time\":\"");
        write_time(out, self.time);
        let _ = write!(out, "\",\"id\":{id},\"prev\":\"{prev}\"");
        let mut line = Line { out, redactor: &writing.redactor };
        line.text("gateway", &self.gateway);
        line.perhaps("agent", self.agent.as_deref());
        line.perhaps("principal", self.principal.as_deref());
        line.text("auth", auth(self.auth));
        line.perhaps("client", self.client.as_deref());
        line.perhaps("era", Some(self.era).filter(|era| !era.is_empty()));
        line.text("method", self.method);
        line.perhaps("server", self.server.as_deref());
        line.foreign("name", self.name.as_deref());
        line.foreign("upstream_name", self.upstream_name.as_deref());
        line.text("decision", self.decision.as_str());
        line.foreign("rule", self.rule.as_deref());
        line.foreign("error", self.error.as_deref());
        self.write_arguments(&mut line, writing.arguments);
        line.number("result_bytes", self.result_bytes);
        line.number("is_error", self.is_error);
        line.millis("duration_ms", self.duration);
        if let Some(upstream) = self.upstream {
            line.millis("upstream_ms", upstream);
        }
        line.request_id(self.request_id.as_deref());
        if let Some(trace) = self.trace {
            let _ = write!(line.out, ",\"trace_id\":\"{trace:032x}\"");
        }
        line.out.push('}');
    }

    fn write_arguments(&self, line: &mut Line<'_>, are_written: bool) {
        match &self.arguments {
            Arguments::None => {}
            Arguments::Digest(digest) => line.text("args_digest", &hex(digest)),
            Arguments::Text(arguments) => {
                line.text("args_digest", &sha256(arguments));
                if are_written {
                    line.arguments(arguments);
                }
            }
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
    }
}

/// Returns the SHA-256 of some bytes, in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut out = String::with_capacity(bytes.len() * 2);
    out.extend(digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    out
}

/// A line that is being written.
struct Line<'l> {
    out: &'l mut String,
    redactor: &'l Redactor,
}

impl Line<'_> {
    fn key(&mut self, key: &str) {
        self.out.push_str(",\"");
        self.out.push_str(key);
        self.out.push_str("\":");
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        write_string(self.out, cut(text));
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

    fn arguments(&mut self, arguments: &[u8]) {
        let text = std::str::from_utf8(arguments).ok().filter(|text| text.len() <= ARGUMENTS);
        match text {
            Some(text) => {
                self.key("args");
                self.redactor.write_json(self.out, text);
            }
            None => self.text("args", &format!("[{} bytes, too many to record]", arguments.len())),
        }
    }

    fn number(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.key(key);
            let _ = write!(self.out, "{value}");
        }
    }

    fn millis(&mut self, key: &str, duration: Duration) {
        let micros = duration.as_micros();
        self.key(key);
        let _ = write!(self.out, "{}.{:03}", micros / 1000, micros % 1000);
    }

    fn request_id(&mut self, id: Option<&str>) {
        let Some(id) = id else { return };
        let json = Json::check(id.as_bytes()).ok();
        match json.and_then(Json::as_str) {
            Some(text) => self.foreign("request_id", Some(&text)),
            None if json.is_some_and(|id| id.text().len() <= 20 && id.text().parse::<i64>().is_ok()) => {
                self.number("request_id", Some(id.trim()));
            }
            None => self.foreign("request_id", Some(id)),
        }
    }
}

/// Cuts a text that is longer than any that tells something.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{FIRST, Row};

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
            let read = Row::read(&line).and_then(|row| row.searched());
            prop_assert_eq!(read, Some(entry.searched(7, &Writing::default())));
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
