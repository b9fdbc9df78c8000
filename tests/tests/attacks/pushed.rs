//! Cases 21, 23 and 32, where the configuration is pushed: a policy that changes is in force soon, in every instance, and
//! one with an error never is.
//!
//! Each instance of a Worker or a function looks for itself, so that these tests wait until it is seen what was pushed, and
//! ask again where another instance may have been asked.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::{Request, Response};
use portcullis_tests::wait;
use serde_json::{Value, json};

use super::governed::{governed, key, legacy, modern};
use super::target::fixture;

const ADMIN_KEY: &str = "the admin's key";

/// A gateway whose configuration is this, pushed.
fn start(config: &str) -> Gateway {
    let builder = Gateway::with("version: 1\n").configured_remotely().env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY);
    let gateway = builder.start();
    assert_eq!(push(&gateway, config).status, 201);
    gateway
}

/// Pushes another configuration, whichever is in force.
fn push(gateway: &Gateway, config: &str) -> Response {
    Request::new("PUT", &gateway.url_of("/admin/v1/config"))
        .header("Authorization", format!("Bearer {ADMIN_KEY}"))
        .header("Content-Type", "application/yaml")
        .header("If-Match", "*")
        .body(config)
        .send()
}

/// Puts another configuration in force.
#[track_caller]
fn replace(gateway: &Gateway, config: &str) {
    let pushed = push(gateway, config);
    let status = pushed.status;
    assert_eq!(status, 200, "{}", pushed.text());
}

fn file(agents: &Value, more: &Value) -> String {
    governed(&json!({ "up": fixture() }), agents, more)
}

fn groups() -> Value {
    json!({ "groups": { "small": { "up": ["echo"] } } })
}

fn sees(agent: &Agent, tool: &str) -> bool {
    let answer = agent.ask("tools/list", json!({}));
    answer["result"]["tools"].as_array().is_some_and(|tools| tools.iter().any(|one| one["name"] == tool))
}

/// Tells whether a tool is refused as one that does not exist.
fn is_unknown(agent: &Agent, tool: &str) -> bool {
    let error = agent.ask("tools/call", json!({ "name": tool }))["error"].clone();
    error["code"] == -32602 && error["message"] == format!("Unknown tool: {tool}")
}

#[test]
fn case_23_an_agent_that_a_push_removes_may_do_nothing() {
    let server = fixture();
    let file = |agents: &Value| governed(&json!({ "up": server }), agents, &json!({}));
    let gateway = start(&file(&json!({ "one": { "allow": ["*"] }, "two": { "allow": ["*"] } })));
    let other = legacy(gateway.url(), "two");
    wait::expect("the configuration", || {
        sees(&modern(gateway.url(), "one"), "up__echo") && sees(&other, "up__echo")
    });
    let of_one = key(&gateway, "one");
    let by_key = Agent::modern(gateway.url()).bearer(&of_one);
    let in_session = Agent::modern(gateway.url()).bearer(&of_one).handshake("2025-11-25");
    let stream = Request::get(gateway.url())
        .header("Accept", "text/event-stream")
        .header("Authorization", format!("Bearer {of_one}"))
        .header("MCP-Protocol-Version", "2025-11-25")
        .header("Mcp-Session-Id", in_session.session().expect("a session"))
        .send();
    let by_tag = legacy(gateway.url(), "one");
    assert!([&by_key, &in_session, &by_tag].iter().all(|agent| sees(agent, "up__echo")));
    replace(&gateway, &file(&json!({ "two": { "allow": ["*"] } })));
    for agent in [&by_key, &in_session] {
        let status = || agent.post("tools/list", json!({})).send().status;
        wait::expect("the key of an agent that is gone opens nothing", || status() == 403);
    }
    assert!(stream.events().all(|event| event.data.is_empty()), "its stream ends without a word");
    for agent in [modern(gateway.url(), "one"), by_tag] {
        wait::expect("an agent that is gone is nobody", || !sees(&agent, "up__echo"));
        wait::expect("nor can it call anything", || is_unknown(&agent, "up__echo"));
    }
    assert!(sees(&other, "up__echo"), "nobody else is concerned");
}

#[test]
fn case_23_a_group_that_a_push_deletes_serves_nobody() {
    let agents = json!({ "all": { "allow": ["*"] }, "some": { "allow": ["small"] } });
    let gateway = start(&file(&agents, &groups()));
    let url = gateway.url_of("/mcp/groups/small");
    wait::expect("the group", || modern(&url, "all").post("tools/list", json!({})).send().status == 200);
    let session = legacy(&url, "all");
    let by_group = legacy(gateway.url(), "some");
    wait::expect("the group's tools", || session.tools() == ["up__echo"] && by_group.tools() == ["up__echo"]);
    // A rule that still names it is an error, and nothing changes.
    assert_eq!(push(&gateway, &file(&agents, &json!({}))).status, 422);
    assert_eq!(session.tools(), ["up__echo"]);
    let agents = json!({ "all": { "allow": ["*"] }, "some": { "allow": [] } });
    replace(&gateway, &file(&agents, &json!({})));
    for method in ["tools/list", "tools/call", "ping"] {
        let status = |agent: &Agent| agent.post(method, json!({ "name": "up__echo" })).send().status;
        wait::expect("the group is gone", || status(&session) == 404 && status(&modern(&url, "all")) == 404);
    }
    wait::expect("its tools are gone", || by_group.tools().is_empty());
    wait::expect("and cannot be called", || is_unknown(&by_group, "up__echo"));
}

#[test]
fn case_23_a_policy_with_an_error_is_not_pushed() {
    let good = file(&json!({ "one": { "allow": ["up/echo"] } }), &json!({}));
    let gateway = start(&good);
    let agents = [modern(gateway.url(), "one"), legacy(gateway.url(), "one")];
    wait::expect("the configuration", || agents.iter().all(|agent| sees(agent, "up__echo")));
    let broken = [
        good.replace("up/echo", "upp/echo"),
        good.replace("up/echo", "nope"),
        good.replace("\"allow\"", "\"alow\""),
        good.replace("[\"up/echo\"]", "null"),
        good.replace("[\"*\"]", "null"),
        good.replace("\"up/echo\"", "{\"on\":\"*\",\"when\":\"args.x ==\"}"),
        good.replace("\"up/echo\"", "{\"on\":\"*\",\"when\":\"nothing_known\"}"),
        good.replace("\"up/echo\"", "{\"on\":\"*\",\"unless\":\"true\"}"),
        good.replace("\"agents\":{", "\"agents\":{\"one\":{\"allow\":[\"*\"]},"),
        good[..good.len() - 1].to_owned(),
    ];
    for text in broken {
        assert_ne!(text, good);
        assert_eq!(push(&gateway, &text).status, 422, "{text}");
        for agent in &agents {
            assert_eq!(agent.tools(), ["up__echo"], "{text}");
        }
    }
    let newest = Request::get(&gateway.url_of("/admin/v1/config"));
    let newest = newest.header("Authorization", format!("Bearer {ADMIN_KEY}")).send();
    assert_eq!(newest.header("etag"), Some("\"1\""), "no version was made of any");
}

/// Case 21, and case 32: a list that was answered before is no answer under another policy.
#[test]
fn case_21_a_policy_that_is_pushed_is_in_force_everywhere() {
    let server = fixture();
    let file = |one: &Value| {
        let agents = json!({ "one": one, "two": { "allow": ["*"] } });
        governed(&json!({ "up": server }), &agents, &json!({}))
    };
    let gateway = start(&file(&json!({ "allow": ["*"] })));
    let agents = [modern(gateway.url(), "one"), legacy(gateway.url(), "one")];
    let other = modern(gateway.url(), "two");
    wait::expect("the configuration", || agents.iter().chain([&other]).all(|agent| sees(agent, "up__count")));
    replace(&gateway, &file(&json!({ "allow": ["*"], "deny": ["up/count"] })));
    for agent in &agents {
        wait::expect("the policy", || !sees(agent, "up__count"));
        wait::expect("no call of it", || is_unknown(agent, "up__count"));
        assert!(sees(agent, "up__echo"));
    }
    assert!(sees(&other, "up__count"), "nobody else is concerned");
    replace(&gateway, &file(&json!({ "allow": ["up/count"] })));
    for agent in &agents {
        wait::expect("the policy", || agent.tools() == ["up__count"]);
    }
}
