//! Writes the request that a server gets: the agent's own spans around what this hop must say itself.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::handshake::own_info;
use super::{Established, Owner, Server, Target};
use crate::body::Whole;
use crate::catalog::Route;
use crate::config::Narrowing;
use crate::observe::Record;
use crate::pieces::{Pieces, SHARED};
use crate::session::Interaction;
use crate::tasks;
use crate::wire::http as names;
use crate::wire::json::{Json, push_string};
use crate::wire::message::ObjectWriter;
use crate::wire::version::{Era, Version};

/// The prefix of the `_meta` keys that belong to a hop rather than to the request.
const HOP_PREFIX: &str = "io.modelcontextprotocol/";
const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// A request to be put to a server, in words that fit every era.
#[derive(Debug, Clone)]
pub(crate) struct Ask<'a> {
    /// The method.
    pub(crate) method: Cow<'a, str>,
    /// The members of `params` besides `_meta`, in their order, with their JSON text.
    pub(crate) params: Vec<(Cow<'a, str>, Text<'a>)>,
    /// The agent's `_meta`, as JSON text.
    pub(crate) meta: Option<Cow<'a, str>>,
    /// What `Mcp-Name` repeats.
    pub(crate) name: Option<Cow<'a, str>>,
    /// The `Mcp-Param-*` headers.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The client capabilities that a stateless server is told, as JSON text.
    pub(crate) capabilities: Cow<'a, str>,
    /// The log level that a stateless server is asked for, where `meta` does not say it.
    pub(crate) log_level: Option<&'static str>,
    /// The chain of gateways to send on; the one that begins here where absent.
    pub(crate) via: Option<HeaderValue>,
    /// What the agent's `requestState` is known by, where it brought one that is now used.
    pub(crate) stamp: Option<(u64, u64)>,
    /// What is left of its result, where that is less than what the server answers.
    pub(crate) narrowing: Option<Arc<Narrowing>>,
    /// How long it may take, where that is less than its server may.
    pub(crate) timeout: Option<Duration>,
    /// The largest result that its caller may get, in bytes.
    pub(crate) most: Option<usize>,
    /// Where its name led when it was decided on.
    pub(crate) route: Option<Route>,
    /// What is noted of it.
    pub(crate) record: Record,
}

/// JSON text that is sent on.
#[derive(Debug, Clone)]
pub(crate) enum Text<'a> {
    /// Text of the agent's or of the gateway's own.
    Plain(Cow<'a, str>),
    /// A large part of the agent's message, which is shared with it.
    Shared(Bytes),
}

impl<'a> Text<'a> {
    /// Makes it of text that may be part of a message.
    pub(crate) fn of(text: &'a str, message: &Bytes) -> Self {
        let (part, whole) = (text.as_bytes().as_ptr_range(), message.as_ptr_range());
        if text.len() >= SHARED && whole.start <= part.start && part.end <= whole.end {
            return Self::Shared(message.slice_ref(text.as_bytes()));
        }
        Self::Plain(text.into())
    }

    /// Returns the text.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Plain(text) => text.as_bytes(),
            Self::Shared(bytes) => bytes,
        }
    }

    fn into_owned(self) -> Text<'static> {
        match self {
            Self::Plain(text) => Text::Plain(text.into_owned().into()),
            Self::Shared(bytes) => Text::Shared(bytes),
        }
    }
}

impl<'a> From<Cow<'a, str>> for Text<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Plain(text)
    }
}

impl<'a> Ask<'a> {
    /// Returns how long the server may take for it.
    pub(crate) fn patience(&self, server: &Server) -> Duration {
        self.timeout.unwrap_or(Duration::MAX).min(server.settings.timeout)
    }

    /// Makes a request of the gateway's own.
    pub(crate) fn own(method: &'a str) -> Self {
        Self {
            method: method.into(),
            params: Vec::new(),
            meta: None,
            name: None,
            headers: Vec::new(),
            capabilities: "{}".into(),
            log_level: None,
            via: None,
            stamp: None,
            narrowing: None,
            timeout: None,
            most: None,
            route: None,
            record: Record::default(),
        }
    }

    /// Lets the server answer at once only: what is left of an answer that is a task could not be seen to.
    pub(crate) fn forgo_tasks(&mut self) {
        self.capabilities = tasks::undeclared(&self.capabilities).into();
    }

    /// Returns the same request without anything borrowed.
    pub(crate) fn into_owned(self) -> Ask<'static> {
        let own = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        Ask {
            method: own(self.method),
            params: self.params.into_iter().map(|(key, value)| (own(key), value.into_owned())).collect(),
            meta: self.meta.map(own),
            name: self.name.map(own),
            headers: self.headers,
            capabilities: own(self.capabilities),
            log_level: self.log_level,
            via: self.via,
            stamp: self.stamp,
            narrowing: self.narrowing,
            timeout: self.timeout,
            most: self.most,
            route: self.route,
            record: self.record,
        }
    }

    /// Sets a member of `params` to this JSON text, or leaves it out.
    pub(crate) fn set(&mut self, key: &'static str, value: Option<String>) {
        self.params.retain(|(k, _)| k != key);
        self.params.extend(value.map(|value| (key.into(), Cow::from(value).into())));
    }

    /// Adds a member to `params`; `value` is JSON text.
    pub(crate) fn with(mut self, key: &'a str, value: impl Into<Cow<'a, str>>) -> Self {
        self.params.push((key.into(), value.into().into()));
        self
    }
}

/// Returns the message for a server of that revision.
pub(crate) fn message(ask: &Ask<'_>, version: Version, id: u64) -> Whole {
    let copied = |text: &Text<'_>| match text {
        Text::Plain(text) => text.len(),
        Text::Shared(_) => 0,
    };
    let size: usize = ask.params.iter().map(|(k, v)| k.len() + copied(v) + 8).sum();
    let mut pieces = Pieces::default();
    let out = pieces.end();
    out.reserve(size + 512 + ask.meta.as_ref().map_or(0, |m| m.len()));
    write!(out, "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":").expect("writing to a vector cannot fail");
    push_string(out, &ask.method);
    out.extend_from_slice(b",\"params\":{");
    let mut separate = false;
    let of_a_round = |key: &str| matches!(key, "inputResponses" | "requestState");
    for (key, value) in &ask.params {
        if version.era() == Era::Legacy && of_a_round(key) {
            continue;
        }
        let out = pieces.end();
        if std::mem::replace(&mut separate, true) {
            out.push(b',');
        }
        push_string(out, key);
        out.push(b':');
        match value {
            Text::Plain(text) => pieces.copy(text.as_bytes()),
            Text::Shared(bytes) => pieces.share(bytes, 0..bytes.len()),
        }
    }
    let out = pieces.end();
    let meta = meta(ask, version, id);
    if meta != "{}" {
        if separate {
            out.push(b',');
        }
        out.extend_from_slice(b"\"_meta\":");
        out.extend_from_slice(meta.as_bytes());
    }
    out.extend_from_slice(b"}}");
    pieces.into_whole()
}

/// Writes `_meta`: this hop's own fields, then whatever the agent sent that belongs to no hop.
fn meta(ask: &Ask<'_>, version: Version, id: u64) -> String {
    let mut meta = ObjectWriter::default();
    let mut level = ask.log_level.map(|level| Cow::Owned(format!("\"{level}\"")));
    if version.era() == Era::Modern {
        meta.string(PROTOCOL_VERSION, version.as_str());
        meta.member(CLIENT_CAPABILITIES, &ask.capabilities);
        meta.member(CLIENT_INFO, own_info());
    }
    let traceparent = ask.record.traceparent();
    if let Some(traceparent) = &traceparent {
        meta.string("traceparent", traceparent);
        if let Some(tracestate) = ask.record.tracestate() {
            meta.string("tracestate", tracestate);
        }
    }
    let theirs = ask.meta.iter().flat_map(|meta| Json::known(meta).members());
    for (key, value) in theirs {
        match key.as_ref() {
            "progressToken" => drop(meta.member("progressToken", &id.to_string())),
            LOG_LEVEL => level = Some(Cow::Borrowed(value.text())),
            PROTOCOL_VERSION | CLIENT_CAPABILITIES | CLIENT_INFO => {}
            "traceparent" if traceparent.is_some() => {}
            key if key.starts_with(HOP_PREFIX) && version.era() == Era::Legacy => {}
            key => drop(meta.member(key, value.text())),
        }
    }
    if let (Some(level), Era::Modern) = (level, version.era()) {
        meta.member(LOG_LEVEL, &level);
    }
    meta.finish()
}

/// Returns the HTTP request that carries a message.
pub(crate) fn post(target: &Target, via: &HeaderValue, body: impl Into<Whole>) -> http::Request<Whole> {
    let mut request = bare(Method::POST, target, via);
    *request.body_mut() = body.into();
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, names::JSON);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    request
}

/// Returns a request without a body.
pub(crate) fn bare(method: Method, target: &Target, via: &HeaderValue) -> http::Request<Whole> {
    let mut request = http::Request::new(Whole::default());
    *request.method_mut() = method;
    *request.uri_mut() = target.uri.clone();
    let headers = request.headers_mut();
    headers.reserve(target.headers.len() + 10);
    headers.extend(target.headers.iter().map(|(k, v)| (k.clone(), v.clone())));
    headers.insert(names::VIA, via.clone());
    request
}

/// Adds the headers by which a hop's requests are known: revision, session, and the mirrored method and name.
pub(crate) fn describe(headers: &mut HeaderMap, established: &Established, ask: Option<&Ask<'_>>) {
    headers.insert(names::PROTOCOL_VERSION, HeaderValue::from_static(established.version.as_str()));
    if let Some(session) = &established.session {
        headers.insert(names::SESSION_ID, session.clone());
    }
    let (Some(ask), Era::Modern) = (ask, established.version.era()) else { return };
    if let Ok(method) = HeaderValue::from_str(&ask.method) {
        headers.insert(names::METHOD, method);
    }
    if let Some(name) = &ask.name {
        headers.insert(names::NAME, names::encode(name));
    }
    for (name, value) in &ask.headers {
        headers.insert(name.clone(), value.clone());
    }
}

/// Returns the client capabilities that `initialize` declares for an owner.
///
/// A shared link declares all that could be relayed, so that servers offer every tool they have.
pub(crate) fn declared(owner: Owner) -> String {
    let every = Interaction { form: true, url: true, sampling: true, sampling_tools: false, roots: true };
    let interaction = match owner {
        Owner::Shared => every,
        Owner::Session(_, interaction) | Owner::Lane(interaction) => interaction,
    };
    let mut capabilities = ObjectWriter::default();
    match (interaction.form, interaction.url) {
        (true, true) => drop(capabilities.member("elicitation", r#"{"form":{},"url":{}}"#)),
        (true, false) => drop(capabilities.member("elicitation", "{}")),
        (false, true) => drop(capabilities.member("elicitation", r#"{"url":{}}"#)),
        (false, false) => {}
    }
    if interaction.sampling {
        capabilities.member("sampling", if interaction.sampling_tools { r#"{"tools":{}}"# } else { "{}" });
    }
    if interaction.roots {
        // A stateless agent does not say when its roots change.
        let told = !matches!(owner, Owner::Lane(_));
        capabilities.member("roots", if told { r#"{"listChanged":true}"# } else { "{}" });
    }
    capabilities.finish()
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;

    use super::*;

    fn check(version: Version, meta: &str) -> String {
        let mut ask = Ask::own("tools/call").with("name", "\"x\"").with("arguments", "{\"n\":1.0}");
        ask.meta = Some(meta.to_owned().into());
        ask.capabilities = "{\"roots\":{}}".into();
        String::from_utf8(message(&ask, version, 7).into()).unwrap()
    }

    #[test]
    fn a_hop_speaks_for_itself() {
        let meta = r#"{"io.modelcontextprotocol/protocolVersion":"x","io.modelcontextprotocol/logLevel":"info","progressToken":"t","traceparent":"00-1","acme/x":{"b":1,"a":1.0}}"#;
        insta::assert_snapshot!(check(Version::V2026_07_28, meta).replace(env!("CARGO_PKG_VERSION"), "V"), @r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"n":1.0},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/clientInfo":{"name":"portcullis","title":"Portcullis","version":"V"},"progressToken":7,"traceparent":"00-1","acme/x":{"b":1,"a":1.0},"io.modelcontextprotocol/logLevel":"info"}}}"#);
        insta::assert_snapshot!(check(Version::V2025_06_18, meta), @r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"n":1.0},"_meta":{"progressToken":7,"traceparent":"00-1","acme/x":{"b":1,"a":1.0}}}}"#);
        insta::assert_snapshot!(check(Version::V2025_03_26, "{}"), @r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"n":1.0}}}"#);
    }

    #[test]
    fn large_text_is_sent_on_as_it_lies_there() {
        let message = Bytes::from(format!("{{\"arguments\":\"{}\"}}", "x".repeat(SHARED)));
        let text = Json::check(&message).unwrap().get("arguments").unwrap().text();
        let mut ask = Ask::own("tools/call").with("name", "\"x\"").into_owned();
        ask.params.push(("arguments".into(), Text::of(text, &message)));
        let mut sent = super::message(&ask.into_owned(), Version::V2025_06_18, 7);
        let head = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":"#;
        assert_eq!(sent.clone().into_bytes(), format!("{head}{text}}}}}"));
        assert_eq!(sent.copy_to_bytes(head.len()), head);
        assert_eq!(sent.chunk().as_ptr(), text.as_ptr());
        assert!(matches!(Text::of(&text[1..9], &message), Text::Plain(_)), "too short to be worth it");
        assert!(
            matches!(Text::of(text, &Bytes::from(text.to_owned())), Text::Plain(_)),
            "of another message"
        );
    }

    #[test]
    fn declares_what_the_owner_can_be_asked() {
        let form = Interaction { form: true, ..Interaction::default() };
        insta::assert_snapshot!(declared(Owner::Session(1, form)), @r#"{"elicitation":{}}"#);
        insta::assert_snapshot!(declared(Owner::Session(1, Interaction::default())), @"{}");
        insta::assert_snapshot!(declared(Owner::Shared), @r#"{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{"listChanged":true}}"#);
    }
}
