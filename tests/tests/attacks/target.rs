//! The gateway under attack: one server behind it, `up`, which is the fixture and records all that it receives.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_tests::agent::{Agent, MODERN};
use portcullis_tests::gateway::{Builder, Gateway, Host};
use portcullis_tests::http::{Request, Response};
use portcullis_tests::{scenario, toolbox, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A gateway and the record of what got through it.
pub(crate) struct Target {
    pub(crate) gateway: Gateway,
    record: PathBuf,
    _folder: TempDir,
}

impl Target {
    /// Starts both.
    pub(crate) fn start() -> Self {
        Self::with(|gateway| gateway)
    }

    /// The same, set up otherwise.
    pub(crate) fn with(how: impl FnOnce(Builder) -> Builder) -> Self {
        let folder = toolbox::scratch();
        let record = folder.path().join("record.jsonl");
        let gateway = how(Gateway::with(&config(&json!({ "up": recording(&record) })))).start();
        Self { gateway, record, _folder: folder }
    }

    /// The MCP endpoint.
    pub(crate) fn url(&self) -> &str {
        self.gateway.url()
    }

    /// The lines of the record whose request was a call of a tool.
    pub(crate) fn calls(&self) -> Vec<String> {
        calls(&self.record)
    }

    /// Fails where a call got through, and where an honest one would not.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        assert_eq!(self.calls(), Vec::<String>::new(), "an attack reached the server");
        self.assert_serving();
        assert_eq!(self.calls().len(), 1, "the honest call is the only one that is recorded");
    }

    /// Fails where an honest call is not answered.
    #[track_caller]
    pub(crate) fn assert_serving(&self) {
        let echo = Agent::modern(self.url()).call("up__echo", &json!({ "honest": true }));
        assert_eq!(echo["structuredContent"], json!({ "honest": true }));
    }
}

/// A native configuration; JSON is YAML, and needs no thought about quotes. A process knows by itself under which names it
/// is served here; a Worker and a function are told.
pub(crate) fn config(servers: &Value) -> String {
    let gateway = match Host::chosen() {
        Host::Local => json!({}),
        Host::Edge | Host::Lambda => json!({ "public_url": "http://127.0.0.1" }),
    };
    json!({ "version": 1, "gateway": gateway, "servers": servers }).to_string()
}

/// The fixture, as the host can reach it.
pub(crate) fn fixture() -> Value {
    scenario::fixture(&[])
}

/// The fixture, which records what it receives.
pub(crate) fn recording(record: &Path) -> Value {
    scenario::fixture(&["--record", &record.display().to_string()])
}

/// The lines of a record whose request was a call of a tool.
pub(crate) fn calls(record: &Path) -> Vec<String> {
    let text = fs::read_to_string(record).unwrap_or_default();
    // Not every line can be parsed by everyone, which is what some attacks are about.
    text.lines().filter(|line| line.contains("tools/call")).map(str::to_owned).collect()
}

/// What a stateless request says about itself, as JSON text.
pub(crate) const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A stateless `tools/call` of `up__echo` as it should be, but for its body.
pub(crate) fn calling(url: &str, body: impl Into<Vec<u8>>) -> Request {
    let headers = [("MCP-Protocol-Version", MODERN), ("Mcp-Method", "tools/call"), ("Mcp-Name", "up__echo")];
    with_headers(url, &headers).header("Content-Type", "application/json").body(body)
}

/// A request with these headers and what every client sends.
pub(crate) fn with_headers(url: &str, headers: &[(&str, &str)]) -> Request {
    let request = Request::post(url).header("Accept", "application/json, text/event-stream");
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// An honest stateless call of `up__echo`, as text.
pub(crate) fn honest_call() -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"up__echo","arguments":{{}},{META}}}}}"#
    )
}

/// The status of a response and the code of its JSON-RPC error, 0 where it has none.
pub(crate) fn refusal(response: Response) -> (u16, i64) {
    let status = response.status;
    let message: Value = serde_json::from_str(&response.text()).unwrap_or_default();
    (status, message["error"]["code"].as_i64().unwrap_or_default())
}

/// What `/readyz` says of a server, once it has settled.
pub(crate) fn state_of(gateway: &Gateway, server: &str) -> Value {
    let url = gateway.url_of("/readyz");
    let settled = wait::until(wait::PATIENCE, || {
        let mut state = Request::get(&url).try_send()?.json();
        let one = state["servers"][server].take();
        (one["status"] != "starting").then_some(one)
    });
    settled.unwrap_or_else(|| {
        panic!("{server} neither came up nor failed; the gateway said:\n{}", gateway.log())
    })
}
