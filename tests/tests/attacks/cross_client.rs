//! Case 3: many clients use the same ids and the same progress token at once, over servers that they share.

use std::sync::{Arc, Barrier};
use std::thread;

use portcullis_tests::agent::{Agent, LEGACY, MODERN};
use portcullis_tests::gateway::{Gateway, Host};
use portcullis_tests::http::Request;
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

use super::target::{config, fixture};

const SERVERS: [&str; 3] = ["session", "stateless", "pipe"];
/// Every client's progress token.
const TOKEN: &str = "p";
/// Small enough for threads by the hundred.
const STACK: usize = 256 << 10;

/// How many clients there are; before a function fewer, since each of them takes a process of its own.
fn clients() -> usize {
    if Host::chosen() == Host::Lambda { 120 } else { 500 }
}

/// One of the clients: its number decides its server, its era, and what makes its calls its own.
#[derive(Debug, Clone, Copy)]
struct Client(usize);

impl Client {
    fn server(self) -> &'static str {
        SERVERS[self.0 % SERVERS.len()]
    }

    fn is_legacy(self) -> bool {
        (self.0 / SERVERS.len()).is_multiple_of(2)
    }

    /// How many steps its progress has, which differs from those of its neighbours.
    fn steps(self) -> usize {
        2 + self.0 % 29
    }

    /// Its calls, each with an id that every other client uses as well.
    fn run(self, url: &str, start: &Barrier) {
        let session = self.is_legacy().then(|| Agent::legacy(url).session().expect("a session").to_owned());
        start.wait();
        let nonce = json!({ "nonce": format!("client {} of {}", self.0, self.server()) });
        let echo = self.call(url, session.as_deref(), 0, "echo", &nonce);
        let [echo] = &echo[..] else { panic!("{self:?} was told {} things: {echo:?}", echo.len()) };
        assert_eq!(echo["id"], 0, "{self:?}");
        assert_eq!(echo["result"]["structuredContent"], nonce, "{self:?}");
        let steps = self.steps();
        let mut heard = self.call(url, session.as_deref(), 1, "progress_many", &json!({ "n": steps }));
        let answer = heard.pop().unwrap_or_default();
        assert_eq!(answer["id"], 1, "{self:?}");
        assert_eq!(answer["result"]["content"][0]["text"], format!("Reported {steps} times"), "{self:?}");
        let expected: Vec<_> = (1..=steps).map(|step| (json!(TOKEN), json!(step), json!(steps))).collect();
        let event = |message: &Value| {
            assert_eq!(message["method"], "notifications/progress", "{self:?}");
            let params = &message["params"];
            (params["progressToken"].clone(), params["progress"].clone(), params["total"].clone())
        };
        assert_eq!(heard.iter().map(event).collect::<Vec<_>>(), expected, "{self:?}");
        let said = format!("said by {}", self.0);
        let mut heard = self.call(url, session.as_deref(), 2, "log", &json!({ "text": said }));
        let answer = heard.pop().unwrap_or_default();
        assert_eq!((&answer["id"], &answer["result"]["content"][0]["text"]), (&json!(2), &json!(said)));
        // Over a pipe that others use as well it is not certain whose a message is: then it is nobody's.
        for message in &heard {
            assert_eq!(message["params"]["data"], said, "{self:?} heard {message}");
        }
        assert!(self.server() == "pipe" || heard.len() == 1, "{self:?}: {heard:?}");
    }

    /// All messages that answer a call.
    fn call(self, url: &str, session: Option<&str>, id: u64, tool: &str, arguments: &Value) -> Vec<Value> {
        let name = format!("{}__{tool}", self.server());
        let mut params = json!({ "name": name, "arguments": arguments, "_meta": { "progressToken": TOKEN } });
        let mut request = Request::post(url).header("Accept", "application/json, text/event-stream");
        if let Some(session) = session {
            request = request.header("MCP-Protocol-Version", LEGACY).header("Mcp-Session-Id", session);
        } else {
            request = request.header("MCP-Protocol-Version", MODERN).header("Mcp-Method", "tools/call");
            request = request.header("Mcp-Name", &name);
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
            params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info");
        }
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        request.json(&message).send().messages()
    }
}

/// Very many clients with equal ids and tokens: every answer, step of progress and log message comes to the one that
/// called, and to no other.
#[test]
fn case_03_no_client_hears_what_is_for_another() {
    let (session, stateless) =
        (Upstream::fixture(&["--era", "legacy"]), Upstream::fixture(&["--era", "modern"]));
    let gateway = Gateway::start(&config(&json!({
        "session": { "url": session.url() },
        "stateless": { "url": stateless.url() },
        "pipe": fixture(),
    })));
    let count = clients();
    let start = Arc::new(Barrier::new(count));
    let clients = (0..count).map(|number| {
        let (url, start) = (gateway.url().to_owned(), Arc::clone(&start));
        let run = move || Client(number).run(&url, &start);
        thread::Builder::new().stack_size(STACK).spawn(run).expect("a thread can be started")
    });
    let clients: Vec<_> = clients.collect();
    let failed = clients.into_iter().map(thread::JoinHandle::join).filter(Result::is_err).count();
    assert_eq!(failed, 0, "of {count} clients");
}

/// One client whose two calls share an id does not confuse them with those of another session.
#[test]
fn case_03_a_cancellation_is_of_its_own_session_only() {
    let gateway = Gateway::start(&config(&json!({ "pipe": fixture() })));
    let (victim, attacker) = (Agent::legacy(gateway.url()), Agent::legacy(gateway.url()));
    let url = gateway.url().to_owned();
    let session = victim.session().expect("a session").to_owned();
    let slow = thread::spawn(move || {
        let arguments = json!({ "ms": 1500 });
        let params =
            json!({ "name": "pipe__sleep", "arguments": arguments, "_meta": { "progressToken": TOKEN } });
        let message = json!({ "jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": params });
        let request = Request::post(&url).header("Accept", "application/json, text/event-stream");
        let request = request.header("MCP-Protocol-Version", LEGACY).header("Mcp-Session-Id", session);
        request.json(&message).send().messages()
    });
    while !slow.is_finished() {
        let accepted = attacker.notify("notifications/cancelled", json!({ "requestId": 0 }));
        assert_eq!(accepted.status, 202);
    }
    let answer = slow.join().expect("the victim is answered").pop().unwrap_or_default();
    assert_eq!(answer["result"]["content"][0]["text"], "Slept 1500 ms");
}
