//! A small client of the gateway itself, over HTTP or within the process.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use portcullis_core::body::Body;
use portcullis_core::identity::Proof;
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
        "io.modelcontextprotocol/clientInfo": { "name": "portcullis-cli", "version": env!("CARGO_PKG_VERSION") },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// A gateway to ask.
pub(super) enum Client {
    /// One that runs, at this endpoint, and the credential for it.
    Remote(Machine, http::Uri, Option<HeaderValue>),
    /// One of this process, and who asks it.
    Local(Gateway<Machine>, Machine, Proof),
}

impl Client {
    /// Reaches the gateway that a command is about; one of this process has first found its servers.
    pub(super) async fn of(target: &Target) -> anyhow::Result<Self> {
        if let Some(url) = &target.url {
            return Ok(Self::Remote(Machine::new(), url.clone(), bearer(&target.credential)?));
        }
        let found = find(&target.setup)?;
        let local = start(&target.setup, found, Exposure::Loopback, Machine::new())?;
        let who = target.agent.as_deref().map_or_else(Proof::default, Proof::of_agent);
        let client = Self::Local(local.gateway, local.machine, who);
        client.settle().await;
        Ok(client)
    }

    async fn settle(&self) {
        let Self::Local(gateway, ..) = self else { return };
        while gateway.readiness().iter().any(|server| server.status == "starting") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        for server in gateway.readiness() {
            if let Some(reason) = server.reason {
                eprintln!("portcullis: server {:?} is left out: it {reason}", server.server);
            }
        }
    }

    /// Asks, and returns the result as the text it came in; `params` are the members besides `_meta`.
    pub(super) async fn ask(&self, method: &str, params: &Params<'_>) -> anyhow::Result<Box<RawValue>> {
        let name = params.name;
        let message = Message { jsonrpc: "2.0", id: 1, method, params: Described { params, meta: meta() } };
        let body = serde_json::to_string(&message)?;
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static("/mcp");
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Only a document: what happens on the way to it is not shown.
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert("mcp-protocol-version", HeaderValue::from_static(VERSION));
        headers.insert("mcp-method", method.parse()?);
        if let Some(name) = name {
            headers.insert("mcp-name", name.parse().context("a tool's name has no such characters")?);
        }
        let answer = Box::pin(self.send(request)).await?;
        let answer: Answer = serde_json::from_slice(&answer).with_context(|| {
            format!("the answer is no JSON-RPC response: {}", String::from_utf8_lossy(&answer))
        })?;
        match (answer.result, answer.error) {
            (Some(result), _) => Ok(result),
            (None, Some(error)) => bail!("{}", error.message),
            (None, None) => bail!("the answer has neither a result nor an error"),
        }
    }

    async fn send(&self, mut request: Request<Bytes>) -> anyhow::Result<Bytes> {
        match self {
            Self::Local(_, _, who) => {
                request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
                request.extensions_mut().insert(who.clone());
            }
            Self::Remote(_, _, bearer) => {
                request.headers_mut().extend(bearer.clone().map(|bearer| (header::AUTHORIZATION, bearer)));
            }
        }
        let body = match self {
            Self::Local(gateway, ..) => {
                Box::pin(gateway.serve(request.map(|body| Body::Full(body.into())))).await.into_body()
            }
            Self::Remote(machine, url, _) => {
                *request.uri_mut() = url.clone();
                Body::Stream(machine.fetch(request.map(Into::into)).await?.into_body())
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

/// Returns the header that carries a credential.
pub(super) fn bearer(credential: &Credential) -> anyhow::Result<Option<HeaderValue>> {
    let Some(key) = &credential.key else { return Ok(None) };
    let value = HeaderValue::from_str(&format!("Bearer {}", key.trim())).ok();
    let mut value = value.context("the key has characters that no key has")?;
    value.set_sensitive(true);
    Ok(Some(value))
}
