//! What is noted of each request while it is answered, and handed to whoever observes the gateway when it is over.
//!
//! **Where nobody observes and no audit trail is kept, nothing is noted**: a [`Record`] is then empty and costs nothing.
//! **An operation is over when nobody works on it any more**, however that came about: its answer was given, its agent
//! left, its stream ended.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::audit::{Decision, Noted};
use crate::config;
use crate::error::{Refusal, code};
use crate::front::Inbound;
use crate::identity::Identity;
use crate::names::ServerName;
use crate::ports::{AuditSink, Observe};
use crate::upstream::Server;
use crate::wire::json::Json;
use crate::wire::version::{Era, Version};

/// Stands for every method that no revision has.
pub const OTHER: &str = "_OTHER";

/// The requests of all revisions: what an agent may call its own is not repeated to an observer.
const METHODS: [&str; 18] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/update",
    "tools/call",
    "tools/list",
];

/// Returns a method as it is named to observers.
pub(crate) fn known_method(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER)
}

/// Which part the gateway had in an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// An agent asked the gateway.
    Server,
    /// The gateway asked a server.
    Client,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a result.
    Ok,
    /// With the result of a tool that says it is an error.
    ToolError,
    /// With a JSON-RPC error that is the caller's fault.
    Refused,
    /// With an error that is not the caller's fault.
    Failed,
    /// Without an answer: the agent left or cancelled.
    Cancelled,
}

/// What an operation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The server that it concerns.
    pub server: ServerName,
    /// The tool, as agents know it.
    pub tool: Option<Box<str>>,
    /// The prompt, as agents know it.
    pub prompt: Option<Box<str>>,
    /// The resource's URI, as agents know it; not fit for what must stay few.
    pub resource: Option<Box<str>>,
}

/// One request, from its beginning to its end.
#[derive(Debug)]
pub struct Operation<'a> {
    /// Which part the gateway had in it.
    pub side: Side,
    /// The method, or [`OTHER`].
    pub method: &'static str,
    /// The server and the tool or prompt, where they are known ones.
    pub about: Option<&'a About>,
    /// The revision it was asked in; empty where that was never settled.
    pub version: &'static str,
    /// Whether it went over a pipe rather than HTTP.
    pub piped: bool,
    /// The agent's id of the request, as JSON text.
    pub id: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// The JSON-RPC error that it ended with.
    pub code: Option<i64>,
    /// When it began, in [`Observe::ticks`].
    pub began: u64,
    /// How long it took.
    pub duration: Duration,
    /// How long servers took for it; none on the client's side.
    pub upstream: Duration,
    /// Its place in a trace.
    pub span: Option<SpanContext>,
    /// The span that caused it.
    pub parent: Option<SpanContext>,
}

impl Operation<'_> {
    /// Returns `error.type` as the conventions have it: the code, what happened where there is none, or nothing.
    pub fn error_type(&self) -> Option<String> {
        match (self.outcome, self.code) {
            (Outcome::Ok, _) => None,
            (Outcome::ToolError, _) => Some("tool_error".into()),
            (Outcome::Cancelled, _) => Some("cancelled".into()),
            (_, Some(code)) => Some(code.to_string()),
            (_, None) => Some(OTHER.into()),
        }
    }
}

/// One HTTP request, up to the head of its answer.
#[derive(Debug)]
pub struct Exchange {
    /// The method, or [`OTHER`].
    pub method: &'static str,
    /// The path's pattern; empty where it leads nowhere.
    pub route: &'static str,
    /// The answer's status.
    pub status: StatusCode,
    /// How long it took.
    pub duration: Duration,
}

/// A session that is over. The stateless revision has none.
#[derive(Debug)]
pub struct Ended<'a> {
    /// Which part the gateway had in it.
    pub side: Side,
    /// The server; none on the server's side.
    pub server: Option<&'a ServerName>,
    /// The revision that was agreed on.
    pub version: &'static str,
    /// Whether it went over a pipe rather than HTTP.
    pub piped: bool,
    /// How long it lasted.
    pub duration: Duration,
}

/// A place in a trace (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanContext {
    /// Which trace; never 0.
    pub trace: u128,
    /// Which span of it; never 0.
    pub span: u64,
    /// Whether it is recorded.
    pub sampled: bool,
}

impl SpanContext {
    /// Parses a `traceparent`; nothing where it is malformed (W3C Trace Context §3.2).
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |part: &str, length: usize| {
            let valid = part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            valid.then(|| u128::from_str_radix(part, 16).ok()).flatten()
        };
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2).filter(|version| *version != 0xff)?;
        let trace = hex(parts.next()?, 32).filter(|trace| *trace != 0)?;
        let span = hex(parts.next()?, 16).filter(|span| *span != 0)?;
        let flags = hex(parts.next()?, 2)?;
        // A later version may say more, this one does not.
        if version == 0 && parts.next().is_some() {
            return None;
        }
        Some(Self { trace, span: u64::try_from(span).ok()?, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for SpanContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// What is noted of one operation; empty where nobody observes. Clones note the same, and the last one ends it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record(Option<Arc<Open>>);

/// A session with a server, which is over when this is dropped; empty where nobody observes.
#[derive(Default)]
pub(crate) struct Lasting(Option<Begun>);

struct Begun {
    observer: Arc<dyn Observe>,
    server: ServerName,
    version: Version,
    piped: bool,
    began: u64,
}

impl Lasting {
    /// Begins to note a session with a server.
    pub(crate) fn begin(observer: Option<&Arc<dyn Observe>>, server: &Server, version: Version) -> Self {
        Self(observer.map(|observer| Begun {
            observer: observer.clone(),
            server: server.name.clone(),
            version,
            piped: matches!(server.settings.transport, config::Transport::Stdio(_)),
            began: observer.ticks(),
        }))
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.observer.session_ended(&Ended {
            side: Side::Client,
            server: Some(&self.server),
            version: self.version.as_str(),
            piped: self.piped,
            duration: Duration::from_nanos(self.observer.ticks().saturating_sub(self.began)),
        });
    }
}

impl fmt::Debug for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Lasting" } else { "Unnoted" })
    }
}

/// An operation that is not over.
struct Open {
    observer: Option<Arc<dyn Observe>>,
    /// What the audit trail gets besides; nothing where there is none, or the server's part is noted.
    noted: Option<Box<Noted>>,
    /// Whose clock tells how long it takes.
    clock: Clock,
    side: Side,
    method: &'static str,
    version: OnceLock<&'static str>,
    piped: bool,
    /// The agent's; on the client's side its asker has it, and what it is about.
    id: Box<str>,
    about: OnceLock<About>,
    began: AtomicU64,
    /// When its answer had come, where it did before the operation was over.
    ended: AtomicU64,
    upstream: AtomicU64,
    verdict: AtomicU8,
    code: AtomicI64,
    span: Option<SpanContext>,
    parent: Option<SpanContext>,
    /// The agent's `tracestate` where it came in a header.
    tracestate: Option<Box<str>>,
    /// The agent's request that a server is asked for.
    asker: Record,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Open({:?} {})", self.side, self.method)
    }
}

/// The verdicts that [`Open::verdict`] holds; 0 is none.
const OK: u8 = 1;
const TOOL_ERROR: u8 = 2;
const REFUSED: u8 = 3;
const FAILED: u8 = 4;
/// Somebody else answers the request, and notes it.
const HANDED_OVER: u8 = 5;

impl Record {
    /// Begins to note an agent's request; `headers` are there where it came over HTTP.
    pub(crate) fn asked(
        (observer, noted): (Option<&Arc<dyn Observe>>, Option<Noted>),
        (id, method): (&str, &str),
        meta: Option<Json<'_>>,
        headers: Option<&HeaderMap>,
    ) -> Self {
        let clock = match (observer, &noted) {
            (Some(observer), _) => Clock::Observer(observer.clone()),
            (None, Some(noted)) => Clock::Audit(noted.sink().clone()),
            (None, None) => return Self::default(),
        };
        let in_meta = meta.and_then(|meta| meta.get("traceparent")).and_then(Json::as_str);
        let header = |name: &str| headers?.get(name)?.to_str().ok();
        let parent = in_meta.as_deref().or_else(|| header("traceparent")).and_then(SpanContext::parse);
        let tracestate = header("tracestate").filter(|_| in_meta.is_none()).map(Into::into);
        let method = known_method(method);
        let mut open = Open::new((observer, clock), Side::Server, (id, method), parent);
        open.noted = noted.map(Box::new);
        open.piped = headers.is_none();
        open.tracestate = tracestate;
        Self(Some(Arc::new(open)))
    }

    /// Notes what the request is about.
    pub(crate) fn concerns(&self, server: &Server, inbound: &Inbound<'_>) {
        let Some(open) = &self.0 else { return };
        // The audit trail has the name already.
        let is_observed = open.observer.is_some();
        let named = |method: &str, key: &str| {
            let is_it = is_observed && inbound.method == method;
            Some(is_it.then(|| inbound.text(key))??.into_owned().into_boxed_str())
        };
        let about = About {
            server: server.name.clone(),
            tool: named("tools/call", "name"),
            prompt: named("prompts/get", "name"),
            resource: named("resources/read", "uri"),
        };
        let _ = open.about.set(about);
    }

    /// Begins to note what `server` is asked for this request.
    pub(crate) fn asking(&self, server: &Server) -> Self {
        let Some(asker) = &self.0 else { return Self::default() };
        let watching = (asker.observer.as_ref(), asker.clock.clone());
        let mut open = Open::new(watching, Side::Client, ("", asker.method), asker.span);
        open.piped = matches!(server.settings.transport, config::Transport::Stdio(_));
        open.tracestate.clone_from(&asker.tracestate);
        open.asker = self.clone();
        Self(Some(Arc::new(open)))
    }

    /// Notes the revision that is spoken.
    pub(crate) fn speaks(&self, version: Version) {
        if let Some(open) = &self.0 {
            let _ = open.version.set(version.as_str());
        }
    }

    /// Notes that the request goes out now, in that revision.
    pub(crate) fn sent(&self, version: Version) {
        if let Some(open) = &self.0 {
            self.speaks(version);
            open.began.store(open.clock.ticks(), Ordering::Relaxed);
            open.ended.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that the answer has come.
    pub(crate) fn received(&self) {
        if let Some(open) = &self.0 {
            open.ended.store(open.clock.ticks(), Ordering::Relaxed);
        }
    }

    /// Notes that it has been answered, whole, and with a result unless something else is noted already.
    pub(crate) fn succeeded(&self) {
        self.received();
        self.decide(OK, None);
    }

    /// Notes an answer: the code of its error, or whether it is a tool's result that says it is one.
    pub(crate) fn answered(&self, code: Option<i64>, is_tool_error: bool) {
        match code {
            Some(code) => {
                self.note(|noted| noted.answered_with(code));
                self.erred(code);
            }
            None => self.decide(if is_tool_error { TOOL_ERROR } else { OK }, None),
        }
    }

    /// Notes an error of that code.
    pub(crate) fn erred(&self, code: i64) {
        self.decide(if code == code::INTERNAL { FAILED } else { REFUSED }, Some(code));
    }

    /// Notes a refusal.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.note(|noted| noted.refused(refusal));
        self.erred(refusal.code);
    }

    /// Notes that the server could not be asked, or did not answer.
    pub(crate) fn failed(&self) {
        self.decide(FAILED, None);
    }

    /// Forgets the request: whoever it is handed to takes note of it.
    pub(crate) fn handed_over(&self) {
        self.decide(HANDED_OVER, None);
    }

    /// Notes who asks.
    pub(crate) fn identified(&self, identity: &Arc<Identity>) {
        self.note(|noted| noted.identified(identity));
    }

    /// Notes which rule decided, and what.
    pub(crate) fn decided(&self, decision: Decision, rule: impl FnOnce() -> Arc<str>) {
        self.note(|noted| noted.decided(decision, rule()));
    }

    /// Notes what the server calls that which the request names.
    pub(crate) fn leads_to(&self, upstream_name: &Arc<str>) {
        self.note(|noted| noted.leads_to(upstream_name));
    }

    /// Notes that a user was not asked what the server asks for, and why.
    pub(crate) fn declined(&self, server: &ServerName, why: &str) {
        self.note(|noted| noted.declined(server, why));
    }

    /// Notes that so many bytes of the answer were given out.
    pub(crate) fn gave(&self, bytes: usize) {
        self.note(|noted| noted.gave(bytes));
    }

    fn note(&self, note: impl FnOnce(&Noted)) {
        if let Some(noted) = self.0.as_ref().and_then(|open| open.noted.as_deref()) {
            note(noted);
        }
    }

    /// Returns what a server is told of the trace; nothing where there is none.
    pub(crate) fn traceparent(&self) -> Option<String> {
        self.0.as_ref()?.span.map(|span| span.to_string())
    }

    /// Returns the `tracestate` of the agent's header.
    pub(crate) fn tracestate(&self) -> Option<&str> {
        self.0.as_ref()?.tracestate.as_deref()
    }

    /// Returns the trace that the operation belongs to, for the log; empty where there is none.
    pub(crate) fn trace_id(&self) -> String {
        let span = self.0.as_ref().and_then(|open| open.span);
        span.map_or(String::new(), |span| format!("{:032x}", span.trace))
    }

    /// What is noted first holds.
    fn decide(&self, verdict: u8, code: Option<i64>) {
        let Some(open) = &self.0 else { return };
        if open.verdict.compare_exchange(0, verdict, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && let Some(code) = code
        {
            open.code.store(code, Ordering::Relaxed);
        }
    }
}

impl Open {
    fn new(
        (observer, clock): (Option<&Arc<dyn Observe>>, Clock),
        side: Side,
        (id, method): (&str, &'static str),
        parent: Option<SpanContext>,
    ) -> Self {
        Self {
            noted: None,
            side,
            method,
            version: OnceLock::new(),
            piped: false,
            id: id.into(),
            about: OnceLock::new(),
            began: clock.ticks().into(),
            clock,
            ended: AtomicU64::new(0),
            upstream: AtomicU64::new(0),
            verdict: AtomicU8::new(0),
            code: AtomicI64::new(0),
            span: observer.and_then(|observer| observer.begin(side, parent)),
            parent,
            tracestate: None,
            asker: Record::default(),
            observer: observer.cloned(),
        }
    }

    /// Settles how the operation ended: a server's answer is what its asker's request is answered with.
    fn verdict(&self) -> (Outcome, Option<i64>) {
        let (mut verdict, mut code) =
            (self.verdict.load(Ordering::Relaxed), self.code.load(Ordering::Relaxed));
        if let Some(asker) = self.asker.0.as_ref().filter(|_| verdict == 0) {
            (verdict, code) = (asker.verdict.load(Ordering::Relaxed), asker.code.load(Ordering::Relaxed));
        }
        let outcome = match verdict {
            OK => Outcome::Ok,
            TOOL_ERROR => Outcome::ToolError,
            REFUSED => Outcome::Refused,
            FAILED => Outcome::Failed,
            _ if self.side == Side::Client && self.ended.load(Ordering::Relaxed) > 0 => Outcome::Ok,
            _ => Outcome::Cancelled,
        };
        (outcome, (code != 0).then_some(code))
    }
}

impl Open {
    fn operation(&self, began: u64, duration: u64, (outcome, code): (Outcome, Option<i64>)) -> Operation<'_> {
        let asker = self.asker.0.as_deref().unwrap_or(self);
        Operation {
            side: self.side,
            method: self.method,
            about: asker.about.get(),
            version: self.version.get().copied().unwrap_or_default(),
            piped: self.piped,
            id: &asker.id,
            outcome,
            code,
            began,
            duration: Duration::from_nanos(duration),
            upstream: Duration::from_nanos(self.upstream.load(Ordering::Relaxed)),
            span: self.span,
            parent: self.parent,
        }
    }

    /// Gives the entry to the audit trail.
    fn record(&mut self, duration: Duration, outcome: Outcome) {
        let Some(noted) = self.noted.take() else { return };
        let (mut entry, sink) = noted.into_entry();
        match outcome {
            // Nobody asks whether it is there but to keep a connection open.
            Outcome::Ok if self.method == "ping" => return,
            Outcome::Failed => entry.decision = entry.decision.max(Decision::Failed),
            Outcome::Cancelled => entry.error = entry.error.or(Some("cancelled".into())),
            Outcome::Ok | Outcome::ToolError | Outcome::Refused => {}
        }
        entry.era = match self.version.get().and_then(|version| Version::parse(version)).map(Version::era) {
            Some(Era::Modern) => "modern",
            Some(Era::Legacy) => "legacy",
            None => "",
        };
        entry.method = self.method;
        if let Some(about) = self.about.take() {
            entry.server = Some(about.server.into_arc());
        }
        let is_answered = matches!(outcome, Outcome::Ok | Outcome::ToolError);
        entry.is_error =
            (self.method == "tools/call" && is_answered).then_some(outcome == Outcome::ToolError);
        entry.duration = duration;
        let upstream = self.upstream.load(Ordering::Relaxed);
        entry.upstream = (upstream > 0).then(|| Duration::from_nanos(upstream));
        entry.request_id = Some(std::mem::take(&mut self.id));
        entry.trace = self.span.or(self.parent).map(|span| span.trace);
        sink.record(entry);
    }
}

/// Where the time comes from.
#[derive(Clone)]
enum Clock {
    Observer(Arc<dyn Observe>),
    Audit(Arc<dyn AuditSink>),
}

impl Clock {
    fn ticks(&self) -> u64 {
        match self {
            Self::Observer(observer) => observer.ticks(),
            Self::Audit(sink) => sink.ticks(),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let began = self.began.load(Ordering::Relaxed);
        let ended = Some(self.ended.load(Ordering::Relaxed)).filter(|ended| *ended > 0);
        let duration = ended.unwrap_or_else(|| self.clock.ticks()).saturating_sub(began);
        if self.verdict.load(Ordering::Relaxed) == HANDED_OVER {
            return;
        }
        let (outcome, code) = self.verdict();
        if let Some(asker) = &self.asker.0 {
            asker.upstream.fetch_add(duration, Ordering::Relaxed);
            if outcome == Outcome::Failed {
                self.asker.erred(code::INTERNAL);
            }
        }
        if let Some(observer) = &self.observer {
            observer.end(&self.operation(began, duration, (outcome, code)));
        }
        self.record(Duration::from_nanos(duration), outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_of_the_tasks_extension_are_known() {
        assert!(METHODS.is_sorted());
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            assert!(METHODS.contains(&method), "{method}");
        }
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(SpanContext::parse(text).map(|span| span.to_string()).as_deref(), Some(text));
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02-more";
        assert_eq!(SpanContext::parse(later).map(|span| span.sampled), Some(false));
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(SpanContext::parse(bad), None, "{bad}");
        }
    }
}
