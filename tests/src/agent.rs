//! A small MCP agent of either era, for tests that look at single messages.
//!
//! It sends what a conforming client sends, and nothing on its own but the legacy handshake. What a test wants to be
//! wrong it makes itself: [`Agent::post`] gives the request before it is sent.

use std::cell::Cell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::http::{Request, Response};

/// The stateless revision.
pub const MODERN: &str = "2026-07-28";
/// The newest revision with sessions.
pub const LEGACY: &str = "2025-11-25";

/// One agent's connection to an MCP endpoint.
#[derive(Debug)]
pub struct Agent {
    url: String,
    version: String,
    session: Option<String>,
    headers: Vec<(String, String)>,
    capabilities: Value,
    client: String,
    next_id: Cell<u64>,
}

impl Agent {
    /// An agent of the stateless revision; nothing is sent yet.
    pub fn modern(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            version: MODERN.to_owned(),
            session: None,
            headers: Vec::new(),
            capabilities: json!({}),
            client: "portcullis-tests".to_owned(),
            next_id: Cell::new(1),
        }
    }

    /// An agent that has done the handshake of the newest revision with sessions.
    pub fn legacy(url: &str) -> Self {
        Self::modern(url).handshake(LEGACY)
    }

    /// Adds a header to every request from now on.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds an API key or a token to every request from now on.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Declares these client capabilities from now on.
    #[must_use]
    pub fn capabilities(mut self, capabilities: Value) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Gives this as its client's name from now on.
    #[must_use]
    pub fn named(mut self, client: &str) -> Self {
        client.clone_into(&mut self.client);
        self
    }

    /// Does the handshake of a revision with sessions, with the headers and capabilities it has by now.
    #[must_use]
    pub fn handshake(mut self, version: &str) -> Self {
        self.session = None;
        version.clone_into(&mut self.version);
        let params = json!({
            "protocolVersion": version,
            "capabilities": self.capabilities,
            "clientInfo": self.client_info(),
        });
        let response = self.post("initialize", params).send();
        let session = response.header("mcp-session-id").map(str::to_owned);
        let answer = last(response);
        let agreed = answer["result"]["protocolVersion"].as_str();
        agreed.unwrap_or_else(|| panic!("no handshake: {answer}")).clone_into(&mut self.version);
        self.session = session;
        let accepted = self.notify("notifications/initialized", json!({}));
        assert_eq!(accepted.status, 202, "the handshake's notification");
        self
    }

    /// The revision it speaks.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The session that the handshake gave it.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The request for `method`, with everything a client of its era sends, before it is sent.
    pub fn post(&self, method: &str, params: Value) -> Request {
        let id = self.next_id.replace(self.next_id.get() + 1);
        self.message(method, json!({ "jsonrpc": "2.0", "id": id, "method": method }), params)
    }

    /// Sends a notification.
    pub fn notify(&self, method: &str, params: Value) -> Response {
        self.message(method, json!({ "jsonrpc": "2.0", "method": method }), params).send()
    }

    /// Sends a request and answers the response message, a `result` or an `error`.
    pub fn ask(&self, method: &str, params: Value) -> Value {
        last(self.post(method, params).send())
    }

    /// Sends a request and answers its result; panics where there is none.
    pub fn result(&self, method: &str, params: Value) -> Value {
        let mut answer = self.ask(method, params);
        assert!(answer.get("result").is_some(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Sends a request and answers its error; panics where there is none.
    pub fn error(&self, method: &str, params: Value) -> Value {
        let mut answer = self.ask(method, params);
        assert!(answer.get("error").is_some(), "{method}: {answer}");
        answer["error"].take()
    }

    /// The names that `tools/list` shows, all pages.
    pub fn tools(&self) -> Vec<String> {
        self.list("tools/list", "tools").iter().map(|tool| text(&tool["name"])).collect()
    }

    /// Every item of a list, all pages: `("resources/list", "resources")`.
    pub fn list(&self, method: &str, key: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut params = json!({});
        loop {
            let mut page = self.result(method, params);
            match page[key].take() {
                Value::Array(some) => items.extend(some),
                other => panic!("{method}: {other} in place of a list"),
            }
            let Some(cursor) = page.get("nextCursor") else { return items };
            params = json!({ "cursor": cursor });
        }
    }

    /// Calls a tool and answers its result.
    pub fn call(&self, tool: &str, arguments: &Value) -> Value {
        self.result("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    fn message(&self, method: &str, mut message: Value, mut params: Value) -> Request {
        let mut request = Request::post(&self.url).header("Accept", "application/json, text/event-stream");
        if self.version == MODERN {
            request = request.header("MCP-Protocol-Version", MODERN).header("Mcp-Method", method);
            if let Some(name) = ["name", "uri", "taskId"].iter().find_map(|key| params[key].as_str()) {
                request = request.header("Mcp-Name", header_value(name));
            }
            self.add_meta(&mut params);
        } else if method != "initialize" {
            request = request.header("MCP-Protocol-Version", &self.version);
        }
        if let Some(session) = &self.session {
            request = request.header("Mcp-Session-Id", session);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        message["params"] = params;
        request.json(&message)
    }

    fn client_info(&self) -> Value {
        json!({ "name": self.client, "version": "1.0.0" })
    }

    /// What every modern request carries, beside what the test put there.
    fn add_meta(&self, params: &mut Value) {
        let standard = [
            ("io.modelcontextprotocol/protocolVersion", json!(MODERN)),
            ("io.modelcontextprotocol/clientCapabilities", self.capabilities.clone()),
            ("io.modelcontextprotocol/clientInfo", self.client_info()),
        ];
        if params.get("_meta").is_none() {
            params["_meta"] = json!({});
        }
        for (key, value) in standard {
            if params["_meta"].get(key).is_none() {
                params["_meta"][key] = value;
            }
        }
    }
}

/// A name as a header carries it: as it is, or as the sentinel form of what a header cannot hold.
pub fn header_value(name: &str) -> String {
    let plain = name.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if plain && name.trim() == name && !name.starts_with("=?") {
        return name.to_owned();
    }
    format!("=?base64?{}?=", STANDARD.encode(name))
}

/// The response message, which comes last.
fn last(response: Response) -> Value {
    let status = response.status;
    response.messages().pop().unwrap_or_else(|| panic!("{status}, and no message"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
