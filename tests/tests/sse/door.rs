//! Agents on HTTP+SSE.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use portcullis_tests::agent::Agent as Streamable;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use portcullis_tests::scenario::{Stage, Transport, fixture, servers};
use portcullis_tests::sse_agent::Agent;
use portcullis_tests::wait;
use serde_json::{Value, json};

fn before_every_server(check: impl Fn(&Stage)) {
    for (era, transport) in servers() {
        check(&Stage::new(era, transport));
    }
}

fn one_fixture(settings: &str) -> Gateway {
    let server = fixture(&["--era", "legacy"]);
    Gateway::start(&format!("version: 1\ngateway: {settings}\nservers:\n  s: {server}\n"))
}

#[test]
fn every_revision_with_sessions_is_spoken() {
    let stage = Stage::new("modern", Transport::Http);
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut agent = Agent::with(&stage.gateway, version, &json!({}));
        assert_eq!(agent.ask("ping", json!({}))["result"], json!({}));
        let tools = agent.ask("tools/list", json!({}))["result"]["tools"].clone();
        assert!(tools.as_array().is_some_and(|tools| tools.iter().any(|tool| tool["name"] == "s__echo")));
        assert_eq!(agent.call("s__greet", &json!({ "name": "Ada" })), "Hello, Ada!");
        let unknown = agent.ask("tools/call", json!({ "name": "s__nothing" }));
        assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    }
}

#[test]
fn streamable_http_speaks_the_oldest_revision_too() {
    let stage = Stage::new("legacy", Transport::Http);
    let agent = Streamable::modern(stage.url()).handshake("2024-11-05");
    assert_eq!(agent.version(), "2024-11-05");
    assert!(agent.tools().contains(&"s__echo".to_owned()));
}

#[test]
fn progress_and_log_messages_come_before_the_answer() {
    before_every_server(|stage| {
        let mut agent = Agent::start(&stage.gateway);
        let meta = json!({ "progressToken": "mine" });
        let params = json!({ "name": "s__progress_many", "arguments": { "n": 3 }, "_meta": meta });
        let id = agent.request("tools/call", params);
        for step in 1..=3 {
            let progress = agent.hear().expect("progress");
            assert_eq!(progress["method"], "notifications/progress");
            let (token, at) = (&progress["params"]["progressToken"], &progress["params"]["progress"]);
            assert_eq!((token, at), (&json!("mine"), &json!(step)));
        }
        assert_eq!(agent.hear().expect("the answer")["id"], id);
        let id = agent.begin("s__test_tool_with_logging", &json!({}));
        for _ in 0..3 {
            assert_eq!(agent.hear().expect("a log message")["method"], "notifications/message");
        }
        assert_eq!(agent.hear().expect("the answer")["id"], id);
    });
}

#[test]
fn a_question_comes_on_the_stream_and_its_answer_is_posted() {
    for transport in [Transport::Http, Transport::Stdio, Transport::Sse] {
        let stage = Stage::new("legacy", transport);
        let can = json!({ "elicitation": {}, "sampling": {}, "roots": {} });
        let mut agent = Agent::with(&stage.gateway, "2025-11-25", &can);
        let mut other = Agent::with(&stage.gateway, "2025-11-25", &can);
        for (tool, method, reply, said) in [
            ("s__ask_elicitation", "elicitation/create", elicited(), "blue"),
            ("s__ask_sampling", "sampling/createMessage", sampled(), "Indeed"),
            ("s__ask_roots", "roots/list", json!({ "roots": [{ "uri": "file:///mine" }] }), "file:///mine"),
        ] {
            let call = agent.begin(tool, &json!({}));
            let question = agent.await_message(|message| message.get("method").is_some());
            assert_eq!(question["method"], method);
            // Another agent's answer to this question reaches nobody.
            let theirs = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "decline" } });
            other.send(&theirs);
            agent.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": reply }));
            let answer = agent.answer(call);
            assert!(answer["result"].to_string().contains(said), "{tool}: {answer}");
        }
        // Had it been asked anything, that would stand before this.
        let id = other.request("ping", json!({}));
        assert_eq!(other.hear().expect("the answer")["id"], id);
    }
}

fn elicited() -> Value {
    json!({ "action": "accept", "content": { "answer": "blue" } })
}

fn sampled() -> Value {
    json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "Indeed" } })
}

#[test]
fn changes_come_on_the_stream() {
    before_every_server(|stage| {
        let mut agent = Agent::start(&stage.gateway);
        let uri = "test://watched-resource";
        assert_eq!(agent.ask("resources/subscribe", json!({ "uri": uri }))["result"], json!({}));
        agent.begin("s__update_resource", &json!({}));
        let updated = agent.await_message(|m| m["method"] == "notifications/resources/updated");
        assert_eq!(updated["params"]["uri"], uri);
        agent.begin("s__test_trigger_tool_change", &json!({}));
        agent.await_message(|message| message["method"] == "notifications/tools/list_changed");
    });
}

#[test]
fn a_call_is_cancelled_by_its_agent_and_by_the_end_of_its_stream() {
    before_every_server(|stage| {
        let count = |agent: &mut Agent| agent.call("s__cancelled_count", &json!({}));
        let mut watcher = Agent::start(&stage.gateway);
        let mut agent = Agent::start(&stage.gateway);
        let id = agent.begin("s__sleep", &json!({ "ms": 600_000 }));
        wait::expect("the call to reach the server", || stage.has_been_called("sleep"));
        watcher.tell("notifications/cancelled", json!({ "requestId": id }));
        assert_eq!(count(&mut watcher), "0", "another agent's word does not count");
        agent.tell("notifications/cancelled", json!({ "requestId": id }));
        wait::expect("the cancellation to reach the server", || count(&mut watcher) == "1");
        agent.begin("s__sleep", &json!({ "ms": 600_000 }));
        let called = || stage.received().iter().filter(|r| r.to_string().contains("600000")).count() == 2;
        wait::expect("the call to reach the server", called);
        drop(agent);
        wait::expect("the end of the stream to reach the server", || count(&mut watcher) == "2");
    });
}

#[test]
fn agents_never_see_each_others_messages() {
    let gateway = one_fixture("{}");
    let mut agents: Vec<Agent> = (0..4).map(|_| Agent::start(&gateway)).collect();
    let mut expected: Vec<BTreeSet<String>> = vec![BTreeSet::new(); agents.len()];
    for round in 0..8 {
        for (number, agent) in agents.iter_mut().enumerate() {
            let said = format!("agent {number}, round {round}");
            // All count from the same id, and use the same token.
            let params = json!({
                "name": "s__progress_many", "arguments": { "n": number + 1 }, "_meta": { "progressToken": 1 }
            });
            agent.request("tools/call", params);
            agent.begin("s__greet", &json!({ "name": said }));
            expected[number].insert(format!("Hello, {said}!"));
        }
    }
    for (number, agent) in agents.iter_mut().enumerate() {
        let mut seen = BTreeSet::new();
        let mut answers = 0;
        while answers < 16 {
            let message = agent.hear().expect("the stream goes on");
            if message["method"] == "notifications/progress" {
                assert_eq!(message["params"]["total"], number + 1, "of another agent's call");
                continue;
            }
            answers += 1;
            let text = message["result"]["content"][0]["text"].as_str().expect("a text").to_owned();
            if text.starts_with("Hello") {
                assert!(seen.insert(text));
            } else {
                assert_eq!(text, format!("Reported {} times", number + 1));
            }
        }
        assert_eq!(seen, expected[number]);
    }
}

#[test]
fn an_agent_that_does_not_read_holds_up_nobody_and_loses_nothing() {
    let gateway = one_fixture("{}");
    let mut slow = Agent::start(&gateway);
    let ids: BTreeSet<u64> = (0..100).map(|_| slow.begin("s__large", &json!({ "bytes": 300_000 }))).collect();
    let mut other = Agent::start(&gateway);
    assert_eq!(other.call("s__greet", &json!({ "name": "Ada" })), "Hello, Ada!");
    let mut answered = BTreeSet::new();
    while answered.len() < ids.len() {
        let message = slow.hear().expect("the stream goes on");
        assert!(message["result"]["content"][0]["text"].as_str().is_some_and(|text| text.len() == 300_000));
        assert!(answered.insert(message["id"].as_u64().expect("an id of ours")), "answered twice");
    }
    assert_eq!(answered, ids);
}

#[test]
fn a_gateway_that_stops_answers_what_runs_and_ends_the_streams() {
    let mut gateway = one_fixture("{}");
    let mut idle = Agent::start(&gateway);
    let mut busy = Agent::start(&gateway);
    let meta = json!({ "progressToken": 1 });
    let params = json!({ "name": "s__slow_compute", "arguments": { "seconds": 2 }, "_meta": meta });
    let id = busy.request("tools/call", params);
    assert_eq!(busy.ask("ping", json!({}))["result"], json!({}), "the call has been taken");
    gateway.process().signal(Signal::SIGTERM);
    assert_eq!(idle.hear(), None, "the stream ends as streams do");
    assert_eq!(busy.answer(id)["id"], id);
    assert_eq!(busy.hear(), None);
    wait::expect("the gateway to end", || gateway.process().ended().is_some());
    assert!(!gateway.log().contains("did not end in time"), "{}", gateway.log());
}

#[test]
fn the_legacy_switch_turns_both_paths_off() {
    let gateway = one_fixture("{ legacy: false }");
    assert_eq!(Request::get(&gateway.url_of("/sse")).send().status, 404);
    assert_eq!(Request::post(&gateway.url_of("/messages?sessionId=x")).json(&json!({})).send().status, 404);
}

#[test]
fn posts_pass_the_same_gate_as_everywhere() {
    let gateway = one_fixture("{ request_limit: 1KiB, public_url: 'http://127.0.0.1' }");
    let mut agent = Agent::start(&gateway);
    let ping = json!({ "jsonrpc": "2.0", "id": 77, "method": "ping" });
    let post = || Request::post(&agent.endpoint).json(&ping);
    assert_eq!(post().header("Origin", "https://evil.example").send().status, 403);
    assert_eq!(post().header("Host", "evil.example").send().status, 403);
    for header in [("Origin", "https://evil.example"), ("Host", "evil.example")] {
        assert_eq!(Request::get(&gateway.url_of("/sse")).header(header.0, header.1).send().status, 403);
    }
    let raw =
        |body: &str| Request::post(&agent.endpoint).header("Content-Type", "application/json").body(body);
    assert_eq!(raw(&format!("[{}]", " ".repeat(2000))).send().status, 413);
    let text = Request::post(&agent.endpoint).header("Content-Type", "text/plain").body(ping.to_string());
    assert_eq!(text.send().status, 415);
    for body in ["nonsense", "{}", r#"{"jsonrpc":"2.0","id":77,"id":78,"method":"ping"}"#] {
        assert_eq!(raw(body).send().status, 400, "{body}");
    }
    for (method, path, allow) in
        [("POST", "/sse", "GET"), ("DELETE", "/sse", "GET"), ("GET", "/messages", "POST")]
    {
        let response = Request::new(method, &gateway.url_of(path)).send();
        assert_eq!((response.status, response.header("allow")), (405, Some(allow)), "{method} {path}");
    }
    let plain = Request::get(&gateway.url_of("/sse")).header("Accept", "application/json").send();
    assert_eq!(plain.status, 406);
    // None of these has reached the stream.
    let id = agent.request("ping", json!({}));
    assert_eq!(agent.hear().expect("the answer")["id"], id);
}
