//! One gateway in front of one fixture server, in every combination of eras and transports.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::Agent;
use crate::gateway::{Gateway, Host};
use crate::http::{Request, Response};
use crate::toolbox;
use crate::upstream::Upstream;

/// How the gateway reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP.
    Http,
    /// A subprocess.
    Stdio,
    /// HTTP+SSE.
    Sse,
}

/// Every server that the host can reach: its era (as `--era` takes it), and how it is reached. Only this machine starts
/// programs.
pub fn servers() -> Vec<(&'static str, Transport)> {
    let all = [
        ("modern", Transport::Http),
        ("modern", Transport::Stdio),
        ("legacy", Transport::Http),
        ("legacy", Transport::Stdio),
        ("legacy", Transport::Sse),
    ];
    let can_reach = |transport| Host::chosen() == Host::Local || transport != Transport::Stdio;
    all.into_iter().filter(|(_, transport)| can_reach(*transport)).collect()
}

/// Those of them that can ask an agent something: a function holds no session in which that could be answered.
pub fn servers_that_ask() -> Vec<(&'static str, Transport)> {
    let can_ask = |era| Host::chosen() != Host::Lambda || era == "modern";
    servers().into_iter().filter(|(era, _)| can_ask(*era)).collect()
}

/// A gateway with a single server that is called `s`.
#[derive(Debug)]
pub struct Stage {
    /// The gateway.
    pub gateway: Gateway,
    /// The server, where it speaks HTTP.
    pub upstream: Option<Upstream>,
    folder: TempDir,
}

impl Stage {
    /// A gateway with default settings before a fixture server of this era.
    pub fn new(era: &str, transport: Transport) -> Self {
        Self::with(era, transport, "{}", &[])
    }

    /// The same with settings for the gateway (YAML) and options for the server.
    pub fn with(era: &str, transport: Transport, settings: &str, options: &[&str]) -> Self {
        let folder = toolbox::scratch();
        // Where no program can be started, the same server is reached over HTTP.
        let transport = match (Host::chosen(), transport) {
            (Host::Edge | Host::Lambda, Transport::Stdio) => Transport::Http,
            (_, transport) => transport,
        };
        let record = folder.path().join("record").display().to_string();
        let mut arguments = vec!["--era", era, "--record", &record];
        arguments.extend(options);
        let (upstream, server) = match transport {
            Transport::Http | Transport::Sse => {
                if transport == Transport::Sse {
                    arguments.push("--sse");
                }
                let upstream = Upstream::fixture(&arguments);
                let server = json!({ "url": upstream.url() });
                (Some(upstream), server)
            }
            Transport::Stdio => (None, stdio_fixture(&arguments)),
        };
        let config = format!("version: 1\ngateway: {settings}\nservers:\n  s: {server}\n");
        Self { gateway: Gateway::start(&config), upstream, folder }
    }

    /// The gateway's endpoint.
    pub fn url(&self) -> &str {
        self.gateway.url()
    }

    /// Every request that the server has received so far, as `--record` writes it.
    pub fn received(&self) -> Vec<Value> {
        received(self.folder.path().join("record"))
    }

    /// Whether the server has received a call of this tool.
    pub fn has_been_called(&self, tool: &str) -> bool {
        let is_call = |line: &Value| line["method"] == "tools/call" && line["body"]["params"]["name"] == tool;
        self.received().iter().any(is_call)
    }
}

/// The configuration of a fixture server that the host can reach: a program, or a server that runs for as long as the test
/// program.
pub fn fixture(arguments: &[&str]) -> Value {
    static RUNNING: Mutex<Vec<Upstream>> = Mutex::new(Vec::new());
    if Host::chosen() == Host::Local {
        return stdio_fixture(arguments);
    }
    let upstream = Upstream::fixture(arguments);
    let server = json!({ "url": upstream.url() });
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(upstream);
    server
}

/// The configuration of the demonstration server, which the program has: itself, or behind a gateway that runs for as long as
/// the test program.
pub fn demo() -> Value {
    static RUNNING: OnceLock<Gateway> = OnceLock::new();
    let program = json!({ "command": [toolbox::gateway(), "demo"] });
    if Host::chosen() == Host::Local {
        return program;
    }
    let config = json!({ "version": 1, "gateway": { "naming": "none" }, "servers": { "demo": program } });
    let gateway = RUNNING.get_or_init(|| Gateway::with(&config.to_string()).on(Host::Local).start());
    json!({ "url": gateway.url() })
}

/// The configuration of a fixture server on standard input and output.
pub fn stdio_fixture(arguments: &[&str]) -> Value {
    let mut command = vec![toolbox::fixture().display().to_string(), "--stdio".to_owned()];
    command.extend(arguments.iter().map(|&argument| argument.to_owned()));
    json!({ "command": command })
}

/// What a fixture server has recorded in this file; a line that is half written is left out.
pub fn received(record: PathBuf) -> Vec<Value> {
    let text = fs::read_to_string(record).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The body of a request, as text.
pub fn body_of(request: &Request) -> String {
    let bytes = request.bytes();
    let text = String::from_utf8(bytes).expect("tests send text");
    text.split_once("\r\n\r\n").expect("a head ends").1.to_owned()
}

/// The same request with another id.
#[must_use]
pub fn with_id(request: Request, id: &Value) -> Request {
    let mut message: Value = serde_json::from_str(&body_of(&request)).expect("a request is JSON");
    message["id"] = id.clone();
    request.body(message.to_string())
}

/// A request for `tools/call` whose arguments are exactly this text.
pub fn raw_call(agent: &Agent, tool: &str, arguments: &str) -> Request {
    let request = agent.post("tools/call", json!({ "name": tool, "arguments": "@arguments@" }));
    let body = body_of(&request).replace("\"@arguments@\"", arguments);
    request.body(body)
}

/// Answers a request that the server made of a session.
pub fn answer(agent: &Agent, id: &Value, result: &Value) -> Response {
    let message = json!({ "jsonrpc": "2.0", "id": id, "result": result });
    agent.post("answer", json!({})).body(message.to_string()).send()
}

/// Whether a message of this method comes on a stream in time.
pub fn hears(stream: Response, method: &str, within: Duration) -> bool {
    hearing(stream, method).recv_timeout(within) == Ok(true)
}

/// Tells, once it is known, whether a message of this method has come on a stream before its end.
pub fn hearing(stream: Response, method: &str) -> Receiver<bool> {
    let method = method.to_owned();
    let (found, finding) = mpsc::channel();
    thread::spawn(move || {
        let mut messages = stream.events().filter(|event| !event.data.is_empty()).map(|event| event.json());
        // Whoever waits for it may have given up.
        found.send(messages.any(|message| message["method"] == *method)).ok();
    });
    finding
}

/// The first text of a tool's result.
pub fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {result}"))
}
