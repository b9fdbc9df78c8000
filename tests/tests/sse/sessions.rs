//! A stream's id: what it opens, and what opens nothing.

use portcullis_tests::agent::Agent as Streamable;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::{Request, Response};
use portcullis_tests::scenario::fixture;
use portcullis_tests::sse_agent::Agent;
use portcullis_tests::wait;
use serde_json::{Value, json};

fn gateway() -> Gateway {
    Gateway::start(&format!("version: 1\nservers:\n  s: {}\n", fixture(&["--era", "legacy"])))
}

fn count() -> Value {
    let params = json!({ "name": "s__count", "arguments": {} });
    json!({ "jsonrpc": "2.0", "id": 99, "method": "tools/call", "params": params })
}

fn post(gateway: &Gateway, query: &str) -> Response {
    Request::post(&gateway.url_of(&format!("/messages{query}"))).json(&count()).send()
}

/// A stream that is open is no reason to take a POST that does not name it.
#[test]
fn a_post_without_the_streams_own_id_reaches_no_stream() {
    let gateway = gateway();
    let mut agent = Agent::start(&gateway);
    let id = agent.id().to_owned();
    let other = self::gateway();
    let foreign = Agent::start(&other);
    let streamable = Streamable::legacy(gateway.url());
    let last = if id.ends_with('A') { 'B' } else { 'A' };
    let tampered = format!("{}{last}", &id[..id.len() - 1]);
    for (query, status) in [
        (String::new(), 400),
        ("?sessionId=".into(), 404),
        ("?session_id=".to_owned() + &id, 400),
        (format!("?sessionId={id}&sessionId={id}"), 400),
        ("?sessionId=1".into(), 404),
        (format!("?sessionId={tampered}"), 404),
        (format!("?sessionId={}", &id[..id.len() / 2]), 404),
        (format!("?sessionId={}", foreign.id()), 404),
        (format!("?sessionId={}", streamable.session().expect("a session")), 404),
    ] {
        assert_eq!(post(&gateway, &query).status, status, "{query}");
    }
    // The session's header of the other transport says nothing here.
    let header = Request::post(&gateway.url_of("/messages")).header("Mcp-Session-Id", &id).json(&count());
    assert_eq!(header.send().status, 400);
    assert_eq!(agent.call("s__count", &json!({})), "1", "none of the calls was made");
}

#[test]
fn a_streams_id_is_no_session_of_the_other_transport() {
    let gateway = gateway();
    let agent = Agent::start(&gateway);
    let request = Request::post(gateway.url())
        .header("Accept", "application/json, text/event-stream")
        .header("Mcp-Session-Id", agent.id())
        .json(&count());
    assert_eq!(request.send().status, 404);
}

#[test]
fn a_streams_id_ends_with_the_stream() {
    let mut gateway = gateway();
    let agent = Agent::start(&gateway);
    let (id, endpoint) = (agent.id().to_owned(), agent.endpoint.clone());
    let mut other = Agent::start(&gateway);
    drop(agent);
    let closed = || Request::post(&endpoint).json(&json!({ "jsonrpc": "2.0", "method": "x" })).send();
    wait::expect("the stream's id to end", || closed().status == 404);
    let response = post(&gateway, &format!("?sessionId={id}"));
    let text = response.text();
    assert!(text.contains("not held here"), "{text}");
    assert_eq!(other.call("s__count", &json!({})), "1", "nothing fell to another stream");
    // The same key seals, but the process that held the stream is gone.
    let id = other.id().to_owned();
    gateway.restart();
    let text = post(&gateway, &format!("?sessionId={id}")).text();
    assert!(text.contains("not held here"), "{text}");
}

/// A session of its own towards a server is given up with the stream.
#[test]
fn the_servers_process_of_an_agent_ends_with_its_stream() {
    let gateway = gateway();
    let can = json!({ "elicitation": {} });
    let mut agent = Agent::with(&gateway, "2025-11-25", &can);
    let pid = agent.call("s__pid", &json!({}));
    let mut other = Agent::with(&gateway, "2025-11-25", &can);
    assert_ne!(other.call("s__pid", &json!({})), pid, "each has its own");
    let runs = || std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(runs());
    drop(agent);
    wait::expect("the process to end", || !runs());
}
