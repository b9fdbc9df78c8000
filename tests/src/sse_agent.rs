//! A small agent on HTTP+SSE, for tests that look at single messages.

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::http::{Body, Request, Response};
use crate::sse::Events;

/// One agent's stream, and where it posts.
#[derive(Debug)]
pub struct Agent {
    /// The URL that it posts to.
    pub endpoint: String,
    headers: Vec<(String, String)>,
    events: Events<Body>,
    next_id: u64,
}

impl Agent {
    /// An agent that has opened its stream and been told where to post.
    pub fn open(gateway: &Gateway) -> Self {
        Self::opened_with(gateway, &[])
    }

    /// The same with headers that every request carries.
    pub fn opened_with(gateway: &Gateway, headers: &[(&str, &str)]) -> Self {
        let headers: Vec<_> =
            headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let request = Request::get(&gateway.url_of("/sse")).header("Accept", "text/event-stream");
        let response = carrying(request, &headers).send();
        assert_eq!(response.status, 200);
        assert!(response.is_stream());
        let mut events = response.events();
        let first = events.next().expect("the stream says where to post");
        assert_eq!(first.event.as_deref(), Some("endpoint"));
        assert!(first.data.starts_with("/messages?sessionId="), "{first:?}");
        Self { endpoint: gateway.url_of(&first.data), headers, events, next_id: 1 }
    }

    /// An agent that has done the handshake.
    pub fn start(gateway: &Gateway) -> Self {
        Self::with(gateway, "2024-11-05", &json!({}))
    }

    /// The same with a revision and capabilities.
    pub fn with(gateway: &Gateway, version: &str, capabilities: &Value) -> Self {
        let mut agent = Self::open(gateway);
        agent.initialize(version, capabilities);
        agent
    }

    /// Does the handshake.
    pub fn initialize(&mut self, version: &str, capabilities: &Value) {
        self.initialize_as("sse-agent", version, capabilities);
    }

    /// Does the handshake as a client of that name.
    pub fn initialize_as(&mut self, client: &str, version: &str, capabilities: &Value) {
        let info = json!({ "name": client, "version": "1" });
        let params = json!({ "protocolVersion": version, "capabilities": capabilities, "clientInfo": info });
        let answer = self.ask("initialize", params);
        assert_eq!(answer["result"]["protocolVersion"], version, "{answer}");
        self.tell("notifications/initialized", json!({}));
    }

    /// The session's id, as the stream's first event gave it.
    pub fn id(&self) -> &str {
        self.endpoint.split_once("sessionId=").expect("the endpoint has it").1
    }

    /// Posts a message.
    pub fn post(&self, message: &Value) -> Response {
        carrying(Request::post(&self.endpoint), &self.headers).json(message).send()
    }

    /// Posts a message that is taken.
    pub fn send(&self, message: &Value) {
        let response = self.post(message);
        let status = response.status;
        assert_eq!((status, response.text().as_str()), (202, ""), "{message}");
    }

    /// Sends a notification.
    pub fn tell(&self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Sends a request; returns its id.
    pub fn request(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// The next message of the stream; none where it ends.
    pub fn hear(&mut self) -> Option<Value> {
        let event = self.events.by_ref().find(|event| !event.data.is_empty())?;
        assert_eq!(event.event.as_deref(), Some("message"));
        Some(event.json())
    }

    /// The next message that `is` what is waited for.
    pub fn await_message(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.hear().expect("the stream goes on");
            if is(&message) {
                return message;
            }
        }
    }

    /// The answer to a request.
    pub fn answer(&mut self, id: u64) -> Value {
        self.await_message(|message| message["id"] == id && message.get("method").is_none())
    }

    /// Asks and answers what is answered.
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params);
        self.answer(id)
    }

    /// Calls a tool; returns the request's id.
    pub fn begin(&mut self, tool: &str, arguments: &Value) -> u64 {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    /// Calls a tool and answers the first text of its result.
    pub fn call(&mut self, tool: &str, arguments: &Value) -> String {
        let answer = self.ask("tools/call", json!({ "name": tool, "arguments": arguments }));
        let text = answer["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("no text in {answer}")).to_owned()
    }
}

fn carrying(request: Request, headers: &[(String, String)]) -> Request {
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}
