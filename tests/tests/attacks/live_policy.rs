//! A policy that changes while sessions, streams, subscriptions, questions and tasks are open.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::{Body, Request};
use portcullis_tests::sse::Events;
use serde_json::{Value, json};

use super::governed::{both, governed, legacy, modern, reload};
use super::target::fixture;

const WATCHED: &str = "test://watched-resource";

fn file(agents: &Value) -> String {
    governed(&json!({ "up": fixture() }), agents, &json!({}))
}

fn everything() -> Value {
    json!({ "one": { "allow": ["*"] }, "two": { "allow": ["*"] } })
}

fn session_stream(agent: &Agent, url: &str, tag: &str) -> Events<Body> {
    let request = Request::get(url)
        .header("Accept", "text/event-stream")
        .header("x-lunar-consumer-tag", tag)
        .header("MCP-Protocol-Version", agent.version())
        .header("Mcp-Session-Id", agent.session().expect("a session"));
    request.send().events()
}

fn next(events: &mut Events<Body>) -> Value {
    events.find(|event| !event.data.is_empty()).expect("a message").json()
}

/// It takes effect on the next request, and is told to whom it concerns only.
#[test]
fn case_21_a_policy_that_changes_is_in_force_at_once() {
    let gateway = Gateway::start(&file(&everything()));
    let agents = both(gateway.url(), "one");
    let (one, two) = (&agents[1], legacy(gateway.url(), "two"));
    let mut streams = [session_stream(one, gateway.url(), "one"), session_stream(&two, gateway.url(), "two")];
    for agent in &agents {
        agent.call("up__count", &json!({}));
    }
    let mut policy = everything();
    policy["one"]["deny"] = json!(["up/count"]);
    reload(&gateway, &file(&policy));
    for agent in &agents {
        assert!(!agent.tools().contains(&"up__count".to_owned()));
        assert_eq!(
            agent.error("tools/call", json!({ "name": "up__count" }))["message"],
            "Unknown tool: up__count"
        );
    }
    assert_eq!(next(&mut streams[0])["method"], "notifications/tools/list_changed");
    two.call("up__test_trigger_prompt_change", &json!({}));
    for stream in &mut streams {
        assert_eq!(next(stream)["method"], "notifications/prompts/list_changed", "nothing else before it");
    }
}

/// Who may no longer read a resource hears no more of it; who may, does.
#[test]
fn case_21_updates_of_a_resource_end_with_the_right_to_read_it() {
    let gateway = Gateway::start(&file(&everything()));
    let url = gateway.url();
    let wanted =
        json!({ "notifications": { "resourceSubscriptions": [WATCHED], "promptsListChanged": true } });
    let [mut one, mut two] = ["one", "two"].map(|tag| {
        let mut events = modern(url, tag).post("subscriptions/listen", wanted.clone()).send().events();
        assert!(next(&mut events).to_string().contains(WATCHED));
        events
    });
    let in_session = legacy(url, "one");
    let mut of_session = session_stream(&in_session, url, "one");
    in_session.result("resources/subscribe", json!({ "uri": WATCHED }));
    let owner = modern(url, "two");
    owner.call("up__update_resource", &json!({}));
    for stream in [&mut one, &mut two, &mut of_session] {
        assert_eq!(next(stream)["method"], "notifications/resources/updated");
    }
    let mut policy = everything();
    policy["one"]["deny"] = json!(["up/resource:test://watched*"]);
    reload(&gateway, &file(&policy));
    owner.call("up__update_resource", &json!({}));
    assert_eq!(next(&mut two)["method"], "notifications/resources/updated");
    owner.call("up__test_trigger_prompt_change", &json!({}));
    assert_eq!(next(&mut one)["method"], "notifications/prompts/list_changed", "no update before it");
    let told = next(&mut of_session);
    assert_eq!(told["method"], "notifications/resources/list_changed", "its list is shorter: {told}");
    assert_eq!(next(&mut of_session)["method"], "notifications/prompts/list_changed");
}

/// A call that waits for an answer does not go on for an agent that may no longer make it.
#[test]
fn case_21_a_call_that_waits_ends_with_the_right_to_make_it() {
    let legacy_server = json!({ "up": portcullis_tests::scenario::fixture(&["--era", "legacy"]) });
    for server in [legacy_server, json!({ "up": fixture() })] {
        let gateway = Gateway::start(&governed(&server, &everything(), &json!({})));
        let agent = modern(gateway.url(), "one").capabilities(json!({ "elicitation": {} }));
        let mut params = json!({ "name": "up__ask_elicitation", "arguments": {} });
        let asked = agent.result("tools/call", params.clone());
        assert_eq!(asked["resultType"], "input_required", "{asked}");
        let mut policy = everything();
        policy["one"]["deny"] = json!(["up/ask_*"]);
        reload(&gateway, &governed(&server, &policy, &json!({})));
        let questions = asked["inputRequests"].as_object().expect("questions");
        let key = questions.keys().next().expect("a question").clone();
        params["requestState"] = asked["requestState"].clone();
        params["inputResponses"] = json!({ key: { "action": "accept", "content": { "name": "Ada" } } });
        assert_eq!(agent.error("tools/call", params)["message"], "Unknown tool: up__ask_elicitation");
    }
}

/// Of a task of a server that an agent sees nothing of any more, it is told nothing.
#[test]
fn case_21_tasks_end_with_the_right_to_see_their_server() {
    let gateway = Gateway::start(&file(&everything()));
    let with_tasks = json!({ "elicitation": {}, "extensions": { "io.modelcontextprotocol/tasks": {} } });
    let agent = modern(gateway.url(), "one").capabilities(with_tasks);
    let task = agent.call("up__confirm_delete", &json!({ "filename": "a.txt" }));
    let id = task["taskId"].as_str().expect("a task");
    let wanted = json!({ "notifications": { "taskIds": [id], "toolsListChanged": true } });
    let mut events = agent.post("subscriptions/listen", wanted.clone()).send().events();
    assert!(next(&mut events).to_string().contains(id));
    reload(&gateway, &file(&json!({ "one": { "allow": [] }, "two": { "allow": ["*"] } })));
    assert_eq!(agent.error("tasks/get", json!({ "taskId": id }))["message"], "Unknown task");
    assert_eq!(agent.error("tasks/cancel", json!({ "taskId": id }))["message"], "Unknown task");
    let mut again = agent.post("subscriptions/listen", wanted).send().events();
    assert!(!next(&mut again).to_string().contains(id), "it is not heard of again");
    let changed = events.find(|event| event.data.contains("notifications/t")).expect("a message");
    assert!(changed.data.contains("notifications/tools/list_changed"), "{}", changed.data);
}
