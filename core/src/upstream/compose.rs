//! Writes the request that a server gets: the agent's own spans around what this hop must say itself.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::handshake::own_info;
use super::{Established, Owner, Server, Target};
use crate::body::Whole;
use crate::config::Narrowing;
use crate::observe::Record;
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
    pub(crate) params: Vec<(Cow<'a, str>, Cow<'a, str>)>,
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
    /// What is noted of it.
    pub(crate) record: Record,
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
            params: self.params.into_iter().map(|(key, value)| (own(key), own(value))).collect(),
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
            record: self.record,
        }
    }

    /// Sets a member of `params` to this JSON text, or leaves it out.
    pub(crate) fn set(&mut self, key: &'static str, value: Option<String>) {
        self.params.retain(|(k, _)| k != key);
        self.params.extend(value.map(|value| (key.into(), value.into())));
    }

    /// Adds a member to `params`; `value` is JSON text.
    pub(crate) fn with(mut self, key: &'a str, value: impl Into<Cow<'a, str>>) -> Self {
        self.params.push((key.into(), value.into()));
        self
    }
}

/// Returns the message for a server of that revision.
pub(crate) fn message(ask: &Ask<'_>, version: Version, id: u64) -> String {
    let size: usize = ask.params.iter().map(|(k, v)| k.len() + v.len() + 8).sum();
    let mut out = Vec::with_capacity(size + 512 + ask.meta.as_ref().map_or(0, |m| m.len()));
    write!(out, "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":").expect("writing to a vector cannot fail");
    push_string(&mut out, &ask.method);
    out.extend_from_slice(b",\"params\":{");
    let mut separate = false;
    let of_a_round = |key: &str| matches!(key, "inputResponses" | "requestState");
    for (key, value) in &ask.params {
        if version.era() == Era::Legacy && of_a_round(key) {
            continue;
        }
        if std::mem::replace(&mut separate, true) {
            out.push(b',');
        }
        push_string(&mut out, key);
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
    let meta = meta(ask, version, id);
    if meta != "{}" {
        if separate {
            out.push(b',');
        }
        out.extend_from_slice(b"\"_meta\":");
        out.extend_from_slice(meta.as_bytes());
    }
    out.extend_from_slice(b"}}");
    String::from_utf8(out).expect("only text was appended")
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
    use super::*;

    fn check(version: Version, meta: &str) -> String {
        let mut ask = Ask::own("tools/call").with("name", "\"x\"").with("arguments", "{\"n\":1.0}");
        ask.meta = Some(meta.to_owned().into());
        ask.capabilities = "{\"roots\":{}}".into();
        message(&ask, version, 7)
    }

    #[test]
    fn a_hop_speaks_for_itself() {
        let meta = r#"{"io.modelcontextprotocol/protocolVersion":"x","io.modelcontextprotocol/logLevel":"info","progressToken":"t","traceparent":"00-1","acme/x":{"b":1,"a":1.0}}"#;
        insta::assert_snapshot!(check(Version::V2026_07_28, meta).replace(env!("CARGO_PKG_VERSION"), "V"), @r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"n":1.0},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/clientInfo":{"name":"portcullis","title":"Portcullis","version":"V"},"progressToken":7,"traceparent":"00-1","acme/x":{"b":1,"a":1.0},"io.modelcontextprotocol/logLevel":"info"}}}"#);
        insta::assert_snapshot!(check(Version::V2025_06_18, meta), @r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"n":1.0},"_meta":{"progressToken":7,"traceparent":"00-1","acme/x":{"b":1,"a":1.0}}}}"#);
        insta::assert_snapshot!(check(Version::V2025_03_26, "{}"), @r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"n":1.0}}}"#);
    }

    #[test]
    fn declares_what_the_owner_can_be_asked() {
        let form = Interaction { form: true, ..Interaction::default() };
        insta::assert_snapshot!(declared(Owner::Session(1, form)), @r#"{"elicitation":{}}"#);
        insta::assert_snapshot!(declared(Owner::Session(1, Interaction::default())), @"{}");
        insta::assert_snapshot!(declared(Owner::Shared), @r#"{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{"listChanged":true}}"#);
    }
}
