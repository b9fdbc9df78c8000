//! A small client of the gateway itself: stateless over HTTP or within the process, and in a session over HTTP.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use portcullis_core::body::{Body, Whole};
use portcullis_core::error::Unreachable;
use portcullis_core::identity::Proof;
use portcullis_core::ports::Chunks;
use portcullis_core::ports::Upstream as _;
use portcullis_core::{Exposure, Gateway};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{find, start};
use crate::cli::{Credential, Target};
use crate::host::Machine;

/// The revision that the client speaks.
const VERSION: &str = "2026-07-28";
/// The revision that a session is begun in.
const SESSION_VERSION: &str = "2025-11-25";
/// The header that names a session.
const SESSION_ID: &str = "mcp-session-id";
/// The largest answer that is read, in bytes.
const LARGEST: usize = 256 << 20;

/// What a request is about, where it is about something.
#[derive(Debug, Default, Serialize)]
pub(super) struct Params<'p> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'p RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<&'p str>,
}

#[derive(Serialize)]
struct Message<'p> {
    jsonrpc: &'static str,
    id: u32,
    method: &'p str,
    params: Described<'p>,
}

#[derive(Serialize)]
struct Described<'p> {
    #[serde(flatten)]
    params: &'p Params<'p>,
    #[serde(rename = "_meta")]
    meta: Value,
}

#[derive(Deserialize)]
struct Answer {
    result: Option<Box<RawValue>>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    message: String,
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientInfo": own_info(),
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn own_info() -> Value {
    json!({ "name": "portcullis-cli", "version": env!("CARGO_PKG_VERSION") })
}

/// Returns a POST of a message.
fn post(url: &Uri, message: String, version: &'static str) -> Request<Whole> {
    let mut request = Request::new(Whole::from(message));
    (*request.method_mut(), *request.uri_mut()) = (Method::POST, url.clone());
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("mcp-protocol-version", HeaderValue::from_static(version));
    request
}

/// Returns the result of an answer, as the text it came in.
fn result(answer: &[u8]) -> anyhow::Result<Box<RawValue>> {
    let read: Answer = serde_json::from_slice(answer).with_context(|| {
        format!("the answer is no JSON-RPC response: {}", String::from_utf8_lossy(answer))
    })?;
    match (read.result, read.error) {
        (Some(result), _) => Ok(result),
        (None, Some(error)) => bail!("{}", error.message),
        (None, None) => bail!("the answer has neither a result nor an error"),
    }
}

/// A gateway that runs somewhere, and what it is shown.
#[derive(Clone)]
pub(super) struct Remote {
    pub(super) machine: Machine,
    /// Its endpoint.
    pub(super) url: Uri,
    bearer: Option<HeaderValue>,
}

impl Remote {
    pub(super) fn new(url: &Uri, credential: &Credential) -> anyhow::Result<Self> {
        let bearer = match &credential.key {
            Some(key) => {
                let value = HeaderValue::from_str(&format!("Bearer {}", key.trim())).ok();
                let mut value = value.context("the key has characters that no key has")?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok(Self { machine: Machine::new(), url: url.clone(), bearer })
    }

    async fn fetch(&self, mut request: Request<Whole>) -> Result<Response<Chunks>, Unreachable> {
        request.headers_mut().extend(self.bearer.clone().map(|bearer| (header::AUTHORIZATION, bearer)));
        self.machine.fetch(request).await
    }
}

/// A gateway to ask.
pub(super) enum Client {
    /// One that runs.
    Remote(Remote),
    /// One of this process, and who asks it.
    Local(Gateway<Machine>, Machine, Proof),
}

impl Client {
    /// Reaches the gateway that a command is about; one of this process has first found its servers.
    pub(super) async fn of(target: &Target) -> anyhow::Result<Self> {
        if let Some(url) = &target.url {
            return Ok(Self::Remote(Remote::new(url, &target.credential)?));
        }
        let found = find(&target.setup)?;
        let local = start(&target.setup, found, Exposure::Loopback, Machine::new())?;
        let who = target.agent.as_deref().map_or_else(Proof::default, Proof::of_agent);
        settle(&local.gateway).await;
        Ok(Self::Local(local.gateway, local.machine, who))
    }

    /// Asks, and returns the result as the text it came in; `params` are the members besides `_meta`.
    pub(super) async fn ask(&self, method: &str, params: &Params<'_>) -> anyhow::Result<Box<RawValue>> {
        let name = params.name;
        let message = Message { jsonrpc: "2.0", id: 1, method, params: Described { params, meta: meta() } };
        let url = Uri::from_static("/mcp");
        let mut request = post(&url, serde_json::to_string(&message)?, VERSION);
        let headers = request.headers_mut();
        // Only a document: what happens on the way to it is not shown.
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert("mcp-method", method.parse()?);
        if let Some(name) = name {
            headers.insert("mcp-name", name.parse().context("a tool's name has no such characters")?);
        }
        result(&Box::pin(self.send(request)).await?)
    }

    async fn send(&self, mut request: Request<Whole>) -> anyhow::Result<Bytes> {
        let body = match self {
            Self::Local(gateway, _, who) => {
                request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
                request.extensions_mut().insert(who.clone());
                Box::pin(gateway.serve(request.map(Body::Full))).await.into_body()
            }
            Self::Remote(remote) => {
                *request.uri_mut() = remote.url.clone();
                Body::Stream(remote.fetch(request).await?.into_body())
            }
        };
        Ok(body.collect(LARGEST).await?)
    }

    /// Lets go of the gateway.
    pub(super) async fn close(self) {
        if let Self::Local(gateway, machine, _) = self {
            gateway.stop();
            machine.stop_processes(std::time::Duration::from_secs(6)).await;
        }
    }
}

/// Waits until every server has answered or failed, and names those that failed.
pub(super) async fn settle(gateway: &Gateway<Machine>) {
    while gateway.readiness().iter().any(|server| server.status == "starting") {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for server in gateway.readiness() {
        if let Some(reason) = server.reason {
            eprintln!("portcullis: server {:?} is left out: it {reason}", server.server);
        }
    }
}

/// A session of the legacy revisions with a gateway that runs.
pub(super) struct Session {
    remote: Remote,
    id: Option<HeaderValue>,
    /// The revision that was agreed on.
    pub(super) version: String,
}

#[derive(Deserialize)]
struct Initialized {
    #[serde(rename = "protocolVersion")]
    version: String,
}

impl Session {
    /// Begins a session.
    pub(super) async fn begin(remote: &Remote) -> anyhow::Result<Self> {
        let mut session = Self { remote: remote.clone(), id: None, version: String::new() };
        let params = json!({
            "protocolVersion": SESSION_VERSION, "capabilities": {}, "clientInfo": own_info(),
        });
        let (id, answer) = session.send(Method::POST, &call("initialize", &params)).await?;
        let initialized: Initialized = serde_json::from_str(result(&answer)?.get())?;
        (session.id, session.version) = (id, initialized.version);
        Ok(session)
    }

    /// Asks, and returns the result as the text it came in.
    pub(super) async fn ask(&self, method: &str, params: &Value) -> anyhow::Result<Box<RawValue>> {
        result(&self.send(Method::POST, &call(method, params)).await?.1)
    }

    /// Ends the session.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        if self.id.is_some() {
            self.send(Method::DELETE, &Value::Null).await?;
        }
        Ok(())
    }

    /// Sends a message; returns the session that the answer names, and what it says.
    async fn send(&self, method: Method, message: &Value) -> anyhow::Result<(Option<HeaderValue>, Bytes)> {
        let mut request = post(&self.remote.url, message.to_string(), SESSION_VERSION);
        *request.method_mut() = method;
        let both = HeaderValue::from_static("application/json, text/event-stream");
        request.headers_mut().insert(header::ACCEPT, both);
        if let Some(id) = &self.id {
            request.headers_mut().insert(SESSION_ID, id.clone());
        }
        let answer = self.remote.fetch(request).await?;
        let id = answer.headers().get(SESSION_ID).cloned();
        Ok((id, Body::Stream(answer.into_body()).collect(LARGEST).await?))
    }
}

fn call(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}
