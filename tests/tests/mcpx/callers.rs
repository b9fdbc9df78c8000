//! Folders with MCPX's two files, and callers that come through each of the gateway's doors.

use std::fs;
use std::sync::OnceLock;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Builder, Gateway};
use portcullis_tests::http::Request;
use portcullis_tests::sse_agent;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

/// An `app.yaml` that allows everything to everybody.
pub(crate) const OPEN: &str = "permissions: { default: { block: [] }, consumers: {} }\n";

/// The header that carries a tag.
pub(crate) const TAG: &str = "x-lunar-consumer-tag";

/// How a caller speaks to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Streamable HTTP without sessions.
    Stateless,
    /// Streamable HTTP with a session, as MCPX has it.
    Session,
    /// HTTP+SSE.
    Sse,
}

/// All of them.
pub(crate) const DOORS: [Door; 3] = [Door::Stateless, Door::Session, Door::Sse];

/// Somebody who asks.
#[derive(Debug)]
pub(crate) enum Caller {
    Http(Agent),
    Sse(sse_agent::Agent),
}

impl Caller {
    /// A caller that says nothing of itself.
    pub(crate) fn anybody(gateway: &Gateway, door: Door) -> Self {
        Self::of(gateway, door, &[], "somebody")
    }

    /// A caller with a tag.
    pub(crate) fn tagged(gateway: &Gateway, door: Door, tag: &str) -> Self {
        Self::of(gateway, door, &[(TAG, tag)], "somebody")
    }

    /// A caller with these headers and this client.
    pub(crate) fn of(gateway: &Gateway, door: Door, headers: &[(&str, &str)], client: &str) -> Self {
        if door == Door::Sse {
            let mut agent = sse_agent::Agent::opened_with(gateway, headers);
            agent.initialize_as(client, "2024-11-05", &json!({}));
            return Self::Sse(agent);
        }
        let agent = Agent::modern(gateway.url()).named(client);
        let agent = headers.iter().fold(agent, |agent, (name, value)| agent.header(name, value));
        Self::Http(if door == Door::Session { agent.handshake("2025-06-18") } else { agent })
    }

    /// Asks; answers the whole answer.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        match self {
            Self::Http(agent) => agent.ask(method, params),
            Self::Sse(agent) => agent.ask(method, params),
        }
    }

    /// Asks; answers the result, or the error as `CODE MESSAGE`.
    pub(crate) fn outcome(&mut self, method: &str, params: Value) -> Result<Value, String> {
        let mut answer = self.ask(method, params);
        match &answer["error"] {
            Value::Null => Ok(answer["result"].take()),
            error => {
                Err(format!("{} {}", error["code"], error["message"].as_str().unwrap_or("without a message")))
            }
        }
    }

    /// Calls a tool.
    pub(crate) fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value, String> {
        self.outcome("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    /// The items of a list, all pages.
    pub(crate) fn list(&mut self, method: &str, key: &str) -> Vec<Value> {
        let (mut items, mut params) = (Vec::new(), json!({}));
        loop {
            let page = self.outcome(method, params).unwrap_or_else(|error| panic!("{method}: {error}"));
            items.extend(page[key].as_array().expect("a list").iter().cloned());
            let Some(cursor) = page.get("nextCursor") else { return items };
            params = json!({ "cursor": cursor });
        }
    }

    /// The names in a list.
    pub(crate) fn names(&mut self, method: &str, key: &str) -> Vec<String> {
        let items = self.list(method, key).into_iter();
        items.filter_map(|item| Some(item["name"].as_str()?.to_owned())).collect()
    }

    /// The names of the tools.
    pub(crate) fn tools(&mut self) -> Vec<String> {
        self.names("tools/list", "tools")
    }

    /// The servers that have tools, in the order of the list.
    pub(crate) fn servers(&mut self) -> Vec<String> {
        let tools = self.tools().into_iter();
        let mut servers: Vec<_> =
            tools.filter_map(|tool| Some(tool.split_once("__")?.0.to_owned())).collect();
        servers.dedup();
        servers
    }

    /// One tool as it is listed.
    pub(crate) fn tool(&mut self, name: &str) -> Value {
        let tools = self.list("tools/list", "tools");
        let found = tools.iter().find(|tool| tool["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {tools:?}")).clone()
    }
}

/// A gateway on a folder with these `mcpServers` and this `app.yaml`, yet to be started.
pub(crate) fn folder(servers: &Value, app: &str) -> Builder {
    let builder = Gateway::with("");
    fs::create_dir(builder.folder().join("mcpx")).expect("the test's folder can be written to");
    builder.file("mcpx/mcp.json", &file_of(servers)).file("mcpx/app.yaml", app).config_path("mcpx")
}

/// The text of an `mcp.json`.
pub(crate) fn file_of(servers: &Value) -> String {
    json!({ "mcpServers": servers }).to_string()
}

/// A fixture server on standard input and output.
pub(crate) fn fixture() -> Value {
    json!({ "command": toolbox::fixture(), "args": ["--stdio"] })
}

/// The same with these variables.
pub(crate) fn fixture_with(env: &Value) -> Value {
    json!({ "type": "stdio", "command": toolbox::fixture(), "args": ["--stdio"], "env": env })
}

/// A server that speaks Streamable HTTP.
pub(crate) fn at(upstream: &Upstream) -> Value {
    json!({ "type": "streamable-http", "url": upstream.url() })
}

/// The two servers of most scenarios; the name of one is written as MCPX's users like to.
pub(crate) fn two_servers() -> Value {
    json!({ "Tickets": fixture(), "files": fixture() })
}

/// All tools of the two servers, in order.
pub(crate) fn all_tools() -> &'static [String] {
    static ALL: OnceLock<Vec<String>> = OnceLock::new();
    ALL.get_or_init(|| {
        let gateway = folder(&two_servers(), OPEN).start();
        Caller::anybody(&gateway, Door::Stateless).tools()
    })
}

/// What `/readyz` says of why a server is not served; empty where it is.
pub(crate) fn reason(gateway: &Gateway, server: &str) -> String {
    let ready = Request::get(&gateway.url_of("/readyz")).send().json();
    ready["servers"][server]["reason"].as_str().unwrap_or_default().to_owned()
}
