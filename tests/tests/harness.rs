//! The harness against the fixture server alone: what the scenarios stand on has to hold by itself.

use portcullis_tests::agent::{Agent, LEGACY, MODERN};
use portcullis_tests::http::{Request, send_bytes};
use portcullis_tests::upstream::Upstream;
use serde_json::json;

fn has_simple_text(agent: &Agent) {
    assert!(agent.tools().iter().any(|tool| tool == "test_simple_text"));
    let answer = agent.call("test_simple_text", &json!({}));
    assert_eq!(answer["content"][0]["type"], "text");
    assert_eq!(agent.error("tools/call", json!({ "name": "no_such_tool" }))["code"], -32602);
}

#[test]
fn a_modern_agent_needs_no_handshake() {
    let server = Upstream::fixture(&["--era", "modern"]);
    let agent = Agent::modern(server.url());
    assert_eq!(agent.version(), MODERN);
    has_simple_text(&agent);
}

#[test]
fn a_legacy_agent_has_a_session() {
    let server = Upstream::fixture(&["--era", "legacy"]);
    let agent = Agent::legacy(server.url());
    assert_eq!(agent.version(), LEGACY);
    assert!(agent.session().is_some());
    has_simple_text(&agent);
}

#[test]
fn progress_arrives_before_the_result() {
    let server = Upstream::fixture(&["--era", "dual"]);
    let params = json!({ "name": "test_tool_with_progress", "_meta": { "progressToken": "p" } });
    let messages = Agent::modern(server.url()).post("tools/call", params).send().messages();
    let (result, notifications) = messages.split_last().expect("an answer comes");
    assert!(result.get("result").is_some(), "{result}");
    assert!(!notifications.is_empty());
    assert!(notifications.iter().all(|message| message["method"] == "notifications/progress"));
}

#[test]
fn what_is_wrong_stays_wrong_on_the_wire() {
    let server = Upstream::fixture(&["--era", "dual"]);
    let doubled =
        Agent::modern(server.url()).post("tools/list", json!({})).header("Mcp-Method", "tools/call");
    assert_eq!(doubled.send().status, 400);
    assert_eq!(
        Request::post(server.url()).header("Content-Type", "application/json").body("{").send().status,
        400
    );
    let authority = server.url().trim_start_matches("http://").trim_end_matches("/mcp");
    assert_eq!(send_bytes(authority, b"nonsense\r\n\r\n").status, 400);
}
