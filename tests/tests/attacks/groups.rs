//! Case 22: the endpoint of a group shows that group alone, and what was begun at one endpoint is unknown at another.

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use serde_json::{Value, json};

use super::governed::asked;
use super::target::fixture;

const TASKS: &str = "io.modelcontextprotocol/tasks";

/// Two groups: a tool and a resource of one server, and all of another.
fn start() -> (Gateway, [String; 2]) {
    let file = json!({
        "version": 1,
        "servers": { "up": fixture(), "vault": fixture() },
        "groups": { "small": { "up": ["echo", "prompt:test_simple_prompt"] }, "large": { "vault": "*" } },
    });
    let gateway = Gateway::start(&file.to_string());
    let urls = ["small", "large"].map(|group| gateway.url_of(&format!("/mcp/groups/{group}")));
    (gateway, urls)
}

fn with_tasks(url: &str) -> Agent {
    Agent::modern(url).capabilities(json!({ "elicitation": {}, "extensions": { TASKS: {} } }))
}

#[test]
fn case_22_a_group_shows_nothing_of_another() {
    let (_gateway, [small, large]) = start();
    for agent in [Agent::modern(&small), Agent::legacy(&small)] {
        assert_eq!(agent.tools(), ["up__echo"]);
        assert_eq!(agent.list("prompts/list", "prompts").len(), 1);
        assert_eq!(agent.list("resources/list", "resources"), Vec::<Value>::new());
        for name in ["vault__echo", "up__greet", "large/echo", "../large/vault__echo"] {
            let error = agent.error("tools/call", json!({ "name": name }));
            assert_eq!(error["message"], format!("Unknown tool: {name}"));
        }
        for uri in [
            "portcullis://vault/test://static-text",
            "test://static-text",
            "portcullis://up/test://static-text",
        ] {
            assert_eq!(agent.error("resources/read", json!({ "uri": uri }))["message"], "Resource not found");
        }
    }
    let introduced = asked(&Agent::modern(&small), "server/discover", json!({}));
    assert!(!introduced.contains("vault"), "{introduced}");
    let agent = Agent::modern(&large);
    assert!(agent.tools().iter().all(|name| name.starts_with("vault__")));
    assert_eq!(agent.error("tools/call", json!({ "name": "up__echo" }))["code"], -32602);
}

#[test]
fn case_22_a_session_of_one_endpoint_is_none_of_another() {
    let (gateway, [small, large]) = start();
    let urls = [small, large, gateway.url().to_owned()];
    for (own, other) in urls.iter().flat_map(|own| urls.iter().map(move |other| (own, other))) {
        let agent = Agent::legacy(own);
        let session = agent.session().expect("a session");
        for method in ["POST", "GET", "DELETE"] {
            let request = Request::new(method, other)
                .header("Accept", "application/json, text/event-stream")
                .header("MCP-Protocol-Version", LEGACY)
                .header("Mcp-Session-Id", session);
            let request = if method == "POST" {
                request.json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }))
            } else {
                request
            };
            let status = request.send().status;
            assert_eq!(status, if own == other { 200 } else { 404 }, "{method} {own} at {other}");
        }
    }
}

#[test]
fn case_22_a_task_of_one_endpoint_is_none_of_another() {
    let (gateway, [small, large]) = start();
    let agent = with_tasks(&large);
    let task = agent.call("vault__confirm_delete", &json!({ "filename": "a.txt" }));
    let id = task["taskId"].as_str().expect("a task").to_owned();
    for url in [&small, gateway.url()] {
        let stranger = with_tasks(url);
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            let about = |id: &str| asked(&stranger, method, json!({ "taskId": id, "inputResponses": {} }));
            let unknown = about("never-a-task");
            assert!(unknown.contains("Unknown task"), "{unknown}");
            assert_eq!(about(&id), unknown, "{method} at {url}");
        }
        let wanted = json!({ "notifications": { "taskIds": [id] } });
        let mut events = stranger.post("subscriptions/listen", wanted).send().events();
        let first = events.find(|event| !event.data.is_empty()).expect("an acknowledgement");
        assert!(!first.data.contains(&id), "{}", first.data);
    }
    assert_eq!(agent.result("tasks/get", json!({ "taskId": id }))["status"], "input_required");
}

/// A call that waits for an answer is taken up at its own endpoint only.
#[test]
fn case_22_a_question_of_one_endpoint_is_not_answered_at_another() {
    let (gateway, [_, large]) = start();
    let asking = |url: &str| Agent::modern(url).capabilities(json!({ "elicitation": {} }));
    let agent = asking(&large);
    let params = json!({ "name": "vault__ask_elicitation", "arguments": {} });
    let asked = agent.result("tools/call", params.clone());
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let key =
        asked["inputRequests"].as_object().and_then(|asked| asked.keys().next()).expect("a question").clone();
    let mut retry = params;
    retry["requestState"] = asked["requestState"].clone();
    retry["inputResponses"] = json!({ key: { "action": "accept", "content": { "name": "Ada" } } });
    let elsewhere = asking(gateway.url()).error("tools/call", retry.clone());
    let mut made_up = retry.clone();
    made_up["requestState"] = json!("never-a-state");
    assert_eq!(elsewhere, asking(gateway.url()).error("tools/call", made_up));
    assert_eq!(agent.result("tools/call", retry)["resultType"], "complete");
}
