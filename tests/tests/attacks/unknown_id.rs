//! Case 23: what is not known, not there any more, or not understood means less, never more.

use std::fs;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Host};
use portcullis_tests::http::Request;
use portcullis_tests::wait;
use serde_json::{Value, json};

use super::governed::{both, governed, key, legacy, modern, reload};
use super::target::fixture;

fn file(agents: &Value, more: &Value) -> String {
    governed(&json!({ "up": fixture() }), agents, more)
}

fn groups() -> Value {
    json!({ "groups": { "small": { "up": ["echo"] } } })
}

#[test]
fn case_23_an_unknown_group_is_no_endpoint() {
    let gateway = Gateway::start(&file(&json!({ "all": { "allow": ["*"] } }), &groups()));
    let odd = [
        "",
        "nope",
        "*",
        "%2a",
        "small/",
        "small//",
        "small/x",
        "small%00",
        "small%2f",
        "%73mall%20",
        "%2e%2e%2fservers%2fup",
        "small%2f..%2f..",
        "smal",
        "small,up",
        "null",
        "undefined",
        "0",
        "-1",
        "up",
    ];
    for group in odd {
        let agent = modern(&gateway.url_of("/mcp/groups/x"), "all");
        let request = agent.post("tools/list", json!({})).target(&format!("/mcp/groups/{group}"));
        let response = request.send();
        assert!(matches!(response.status, 400 | 404), "{group:?}: {}", response.status);
    }
    // The platform's front resolves these, before anybody reads them: to `/mcp/servers/up`, and to places that are none.
    let edge = Host::chosen() == Host::Edge;
    for (path, at_edge) in [(".", 404), ("..", 404), ("../servers/up", 200)] {
        let request = modern(gateway.url(), "all").post("tools/list", json!({}));
        let response = request.target(&format!("/mcp/groups/{path}")).send();
        assert_eq!(response.status, if edge { at_edge } else { 404 }, "{path:?}");
    }
    assert_eq!(modern(&gateway.url_of("/mcp/groups/small"), "all").tools(), ["up__echo"]);
    assert_eq!(modern(&gateway.url_of("/mcp/groups/SMALL"), "all").tools(), ["up__echo"], "without case");
}

#[test]
fn case_23_a_deleted_group_serves_nobody() {
    let agents = json!({ "all": { "allow": ["*"] }, "some": { "allow": ["small"] } });
    let gateway = Gateway::start(&file(&agents, &groups()));
    let url = gateway.url_of("/mcp/groups/small");
    let session = legacy(&url, "all");
    let by_group = legacy(gateway.url(), "some");
    assert_eq!(
        (session.tools(), by_group.tools()),
        (vec!["up__echo".to_owned()], vec!["up__echo".to_owned()])
    );
    // A rule that still names it makes the file one with an error, which changes nothing.
    gateway.write("portcullis.yaml", &file(&agents, &json!({})));
    wait::expect("the error is told", || gateway.log().contains("the configuration stays as it is"));
    assert_eq!(session.tools(), ["up__echo"]);
    let agents = json!({ "all": { "allow": ["*"] }, "some": { "allow": [] } });
    reload(&gateway, &file(&agents, &json!({})));
    for method in ["tools/list", "tools/call", "ping"] {
        assert_eq!(session.post(method, json!({ "name": "up__echo" })).send().status, 404, "{method}");
    }
    assert_eq!(by_group.tools(), Vec::<String>::new());
    assert_eq!(by_group.error("tools/call", json!({ "name": "up__echo" }))["code"], -32602);
}

#[test]
fn case_23_an_empty_allow_list_allows_nothing() {
    for agent in [
        json!({ "allow": [] }),
        json!({}),
        json!({ "deny": [] }),
        json!({ "allow": ["small"], "deny": ["*"] }),
    ] {
        let gateway = Gateway::start(&file(&json!({ "one": agent }), &groups()));
        for caller in both(gateway.url(), "one") {
            assert_eq!(caller.tools(), Vec::<String>::new(), "{agent}");
            for method in ["prompts/list", "resources/list", "resources/templates/list"] {
                let key =
                    method.trim_end_matches("/list").replace("resources/templates", "resourceTemplates");
                assert_eq!(caller.list(method, &key), Vec::<Value>::new(), "{agent}");
            }
            assert_eq!(caller.error("tools/call", json!({ "name": "up__echo" }))["code"], -32602);
            assert!(
                caller.ask("resources/read", json!({ "uri": "test://static-text" })).get("error").is_some()
            );
        }
    }
}

/// Who claims to be an agent that is gone is whoever claims nothing; who has its key is nobody.
#[test]
fn case_23_a_removed_agent_may_do_nothing() {
    let agents = json!({ "one": { "allow": ["*"] }, "two": { "allow": ["*"] } });
    let gateway = Gateway::start(&file(&agents, &json!({})));
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
    let other = legacy(gateway.url(), "two");
    assert!(by_key.tools().len() > 10 && in_session.tools().len() > 10 && by_tag.tools().len() > 10);
    reload(&gateway, &file(&json!({ "two": { "allow": ["*"] } }), &json!({})));
    for agent in [&by_key, &in_session] {
        let response = agent.post("tools/list", json!({})).send();
        assert_eq!(response.status, 403);
    }
    assert!(stream.events().all(|event| event.data.is_empty()), "its stream ends without a word");
    assert_eq!(by_tag.tools(), Vec::<String>::new());
    assert_eq!(by_tag.error("tools/call", json!({ "name": "up__echo" }))["code"], -32602);
    assert!(other.tools().len() > 10, "nobody else is concerned");
}

#[test]
fn case_23_a_policy_with_an_error_is_not_served() {
    let good = file(&json!({ "one": { "allow": ["up/echo"] } }), &json!({}));
    let gateway = Gateway::start(&good);
    let agent = legacy(gateway.url(), "one");
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
    for (number, text) in broken.iter().enumerate() {
        assert_ne!(*text, good);
        let refusals = || gateway.log().matches("the configuration stays as it is").count();
        let before = refusals();
        gateway.write("portcullis.yaml", text);
        wait::expect(&format!("the refusal of {text}"), || refusals() > before);
        assert_eq!(agent.tools(), ["up__echo"], "{text}");
        let name = format!("broken-{number}.yaml");
        let path = gateway.folder().join(&name);
        fs::write(&path, text).expect("the folder can be written to");
        let path = path.display().to_string();
        let started = gateway.cli(&["serve", "--listen", "127.0.0.1:0", "--config", &path]);
        assert!(started.code().is_some_and(|code| code != 0), "{text}");
    }
}
