//! Several instances of the Worker, each in a process of its own that shares nothing with the others but the seal key, and
//! stores and objects behind a door.
//!
//! That whole scenarios survive the killing of an instance is shown by `instances.rs`, which runs on every host.

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::fleet::Fleet;
use portcullis_tests::gateway::Host;
use portcullis_tests::http::{Request, Response};
use portcullis_tests::scenario::{hears, text};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait::PATIENCE;
use serde_json::{Value, json};

const CONFIRM: &str = "s__test_input_required_result_request_state";

/// A fleet before a fixture server of this era, with more to say in its configuration.
fn before(era: &str, more: &str) -> (Fleet, Upstream) {
    let upstream = Upstream::fixture(&["--era", era]);
    let config = format!("version: 1\nservers:\n  s: {{ url: '{}' }}\n{more}", upstream.url());
    (Fleet::on(Host::Edge, &config), upstream)
}

fn can_be_asked() -> Value {
    json!({ "elicitation": { "form": {} } })
}

fn blue() -> Value {
    json!({ "action": "accept", "content": { "answer": "blue" } })
}

/// The retry of a call that was answered with a question.
fn retry(call: &Value, asked: &Value, answer: &Value) -> Value {
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let key = asked["inputRequests"].as_object().and_then(|all| all.keys().next()).expect("a question");
    let mut retry = call.clone();
    retry["inputResponses"] = json!({ key.as_str(): answer });
    retry["requestState"] = asked["requestState"].clone();
    retry
}

/// Messages of a stream, each as soon as it is there.
fn messages(stream: Response) -> impl Iterator<Item = Value> {
    assert!(stream.is_stream(), "{}: no stream", stream.status);
    stream.events().filter(|event| !event.data.is_empty()).map(|event| event.json())
}

/// The answer to a question of a session.
fn told(session: &Agent, question: &Value, answer: &Value) -> Request {
    let text = json!({ "jsonrpc": "2.0", "id": question["id"], "result": answer }).to_string();
    session.post("answer", json!({})).body(text)
}

#[test]
fn a_call_waits_with_its_owner_whichever_instance_is_killed() {
    let (mut fleet, _upstream) = before("legacy", "");
    let call = json!({ "name": "s__ask_elicitation", "arguments": {} });
    let agent = |which| Agent::modern(&fleet.url_of(which)).capabilities(can_be_asked());
    let (first, second) = (agent(0), agent(1));
    let answered = |asked: &Value| {
        let result = second.result("tools/call", retry(&call, asked, &blue()));
        assert!(text(&result).contains("blue"), "{result}");
        let error = second.error("tools/call", retry(&call, asked, &blue()));
        assert!(error["message"].as_str().unwrap_or_default().contains("call again"), "{error}");
    };
    answered(&first.result("tools/call", call.clone()));
    let asked = first.result("tools/call", call.clone());
    fleet.kill(0);
    answered(&asked);
}

#[test]
fn a_session_is_asked_through_one_instance_and_answers_through_another() {
    for (era, tool, answer) in [
        ("modern", CONFIRM, json!({ "action": "accept", "content": { "ok": true } })),
        ("legacy", "s__ask_elicitation", blue()),
    ] {
        let (mut fleet, _upstream) = before(era, "");
        let session = Agent::modern(&fleet.url_of(0)).capabilities(can_be_asked()).handshake(LEGACY);
        let ask = || session.post("tools/call", json!({ "name": tool, "arguments": {} })).send();
        let expected = answer["content"].as_object().and_then(|all| all.values().next()).expect("a value");
        let expected = expected.as_str().map_or_else(|| expected.to_string(), str::to_owned);
        let is_question = |message: &Value| message["method"] == "elicitation/create";
        let is_end = |message: &Value| message.get("method").is_none();

        let mut stream = messages(ask());
        let question = stream.find(is_question).expect("a question");
        assert_eq!(told(&session, &question, &answer).to(&fleet.url_of(1)).send().status, 202);
        let end = stream.find(is_end).expect("the call ends");
        assert!(text(&end["result"]).contains(&expected), "{end}");

        // Its stream ends with the instance that it came through; another takes it up where it was.
        let mut events = ask().events();
        let mut last = None;
        let question = events.by_ref().find_map(|event| {
            last = event.id.clone().or(last.take());
            (!event.data.is_empty()).then(|| event.json()).filter(is_question)
        });
        let question = question.expect("a question");
        fleet.kill(0);
        drop(events);
        let resumed = Request::get(&fleet.url_of(1))
            .header("Accept", "text/event-stream")
            .header("MCP-Protocol-Version", LEGACY)
            .header("Last-Event-ID", last.expect("events have ids"))
            .header("Mcp-Session-Id", session.session().expect("a session"));
        let mut stream = messages(resumed.send());
        assert_eq!(told(&session, &question, &answer).to(&fleet.url_of(1)).send().status, 202);
        let end = stream.find(is_end).expect("the call ends");
        assert!(text(&end["result"]).contains(&expected), "{end}");
    }
}

#[test]
fn a_stream_through_one_instance_hears_of_what_is_done_through_another() {
    for era in ["modern", "legacy"] {
        let (fleet, _upstream) = before(era, "");
        for _ in 0..5 {
            let session = Agent::legacy(&fleet.url());
            let stream = Request::get(&fleet.url_of(0))
                .header("Accept", "text/event-stream")
                .header("MCP-Protocol-Version", LEGACY)
                .header("Mcp-Session-Id", session.session().expect("a session"))
                .send();
            let call = session.post("tools/call", json!({ "name": "s__change_tools", "arguments": {} }));
            assert_eq!(call.to(&fleet.url_of(1)).send().status, 200);
            assert!(hears(stream, "notifications/tools/list_changed", PATIENCE), "a session, {era} server");

            let agent = Agent::modern(&fleet.url());
            let wanted = json!({ "notifications": { "toolsListChanged": true } });
            let stream = agent.post("subscriptions/listen", wanted).to(&fleet.url_of(0)).send();
            let call = agent.post("tools/call", json!({ "name": "s__change_tools", "arguments": {} }));
            assert_eq!(call.to(&fleet.url_of(1)).send().status, 200);
            assert!(
                hears(stream, "notifications/tools/list_changed", PATIENCE),
                "a subscription, {era} server"
            );
        }
    }
}

#[test]
fn a_state_is_used_once_in_all_instances() {
    let (fleet, _upstream) = before("modern", "");
    let agent = |which| Agent::modern(&fleet.url_of(which)).capabilities(can_be_asked());
    let call = json!({ "name": CONFIRM, "arguments": {} });
    let asked = agent(0).result("tools/call", call.clone());
    let again = retry(&call, &asked, &json!({ "action": "accept", "content": { "ok": true } }));
    assert_eq!(text(&agent(1).result("tools/call", again.clone())), "state-ok: true");
    for which in [0, 1] {
        let error = agent(which).error("tools/call", again.clone());
        assert!(error["message"].as_str().unwrap_or_default().contains("not valid"), "{error}");
    }
}

#[test]
fn limits_are_counted_across_instances() {
    let limits = "agents:\n  default: { allow: '*', limits: { daily: 5 } }\n";
    let (mut fleet, _upstream) = before("modern", limits);
    let call =
        |url: &str| Agent::modern(url).ask("tools/call", json!({ "name": "s__echo", "arguments": {} }));
    for _ in 0..4 {
        assert!(call(&fleet.url()).get("result").is_some());
    }
    fleet.kill(0);
    fleet.replace(0);
    assert!(call(&fleet.url_of(0)).get("result").is_some(), "the fifth");
    for which in [0, 1] {
        assert_eq!(call(&fleet.url_of(which))["error"]["code"], -32029);
    }
}

/// What was written down outlives the process that holds stores and objects.
#[test]
fn what_is_stored_outlives_the_stores() {
    let (mut fleet, _upstream) = before("modern", "");
    let session = Agent::legacy(&fleet.url_of(0));
    session.call("s__echo", &json!({}));
    let end = |which| {
        let request = Request::new("DELETE", &fleet.url_of(which));
        request.header("Mcp-Session-Id", session.session().expect("a session"))
    };
    let (first, second) = (end(0), end(1));
    assert_eq!(first.send().status, 200);
    fleet.restart_stores();
    assert_eq!(second.send().status, 404, "it has ended");
    assert!(Agent::legacy(&fleet.url()).tools().contains(&"s__echo".to_owned()));
}
