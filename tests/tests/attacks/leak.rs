//! Case 21: what an agent may not see is in nothing that it is told, and asking for it is answered as asking for nothing.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::{Body, Request};
use portcullis_tests::sse::Events;
use serde_json::{Value, json};

use super::double::Double;
use super::governed::{asked, both, governed, modern, told};
use super::target::fixture;

/// Two servers that are the same; `reader` may see one thing of each kind of one of them, `owner` all of both.
fn start() -> Gateway {
    let allow = ["up/echo", "up/prompt:test_simple_prompt", "up/resource:test://template/1/*"];
    let agents = json!({ "reader": { "allow": allow }, "owner": { "allow": ["*"] } });
    let groups = json!({ "groups": { "vault": { "hidden": "*" }, "public": { "up": "*" } } });
    Gateway::start(&governed(&json!({ "up": fixture(), "hidden": fixture() }), &agents, &groups))
}

/// Names that only `owner` may hear of.
const SECRETS: [&str; 8] = [
    "hidden",
    "vault",
    "greet",
    "crash",
    "test_prompt_with_arguments",
    "test://static-text",
    "test://watched-resource",
    "test_simple_text",
];

#[test]
fn case_21_nothing_denied_is_in_what_an_agent_is_told() {
    let gateway = start();
    let lists = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"];
    let mut owners = String::new();
    for (reader, owner) in both(gateway.url(), "reader").into_iter().zip(both(gateway.url(), "owner")) {
        let introduce = if reader.session().is_none() { "server/discover" } else { "ping" };
        for method in lists.into_iter().chain([introduce]) {
            let told = asked(&reader, method, json!({}));
            for secret in SECRETS {
                assert!(!told.contains(secret), "{method} tells of {secret}: {told}");
            }
            owners.push_str(&asked(&owner, method, json!({})));
        }
    }
    for secret in SECRETS.iter().filter(|secret| **secret != "vault") {
        assert!(owners.contains(secret), "{secret} is nowhere");
    }
}

/// A method, what it is asked with, what is forbidden, and what is not there.
type Case<'c> = (&'c str, &'c dyn Fn(&str) -> Value, &'c str, &'c str);

/// What is forbidden and what is not there, in every method that names something, in both eras.
#[test]
fn case_21_forbidden_and_absent_are_answered_alike() {
    let gateway = start();
    let name = |name: &str| json!({ "name": name, "arguments": {} });
    let uri = |uri: &str| json!({ "uri": uri });
    let prompt = |name: &str| {
        json!({
            "ref": { "type": "ref/prompt", "name": name }, "argument": { "name": "arg2", "value": "t" },
        })
    };
    let template = |uri: &str| {
        json!({
            "ref": { "type": "ref/resource", "uri": uri }, "argument": { "name": "id", "value": "t" },
        })
    };
    let listen = |uri: &str| json!({ "notifications": { "resourceSubscriptions": [uri] } });
    let cases: [Case<'_>; 12] = [
        ("tools/call", &name, "up__greet", "up__qqqqq"),
        ("tools/call", &name, "hidden__echo", "qqqqqq__echo"),
        ("prompts/get", &name, "up__test_prompt_with_image", "up__test_prompt_with_qqqqq"),
        ("prompts/get", &name, "hidden__test_simple_prompt", "qqqqqq__test_simple_prompt"),
        ("completion/complete", &prompt, "up__test_prompt_with_arguments", "up__test_prompt_with_qqqqqqqqq"),
        (
            "completion/complete",
            &template,
            "portcullis://hidden/test://template/{id}/data",
            "portcullis://qqqqqq/test://template/{id}/data",
        ),
        ("resources/read", &uri, "portcullis://up/test://static-text", "portcullis://up/test://static-qqqq"),
        (
            "resources/read",
            &uri,
            "portcullis://hidden/test://static-text",
            "portcullis://qqqqqq/test://static-text",
        ),
        ("resources/read", &uri, "test://template/2/data", "test://template/q/data"),
        (
            "resources/subscribe",
            &uri,
            "portcullis://up/test://watched-resource",
            "portcullis://up/test://qqqqqqq-resource",
        ),
        (
            "resources/unsubscribe",
            &uri,
            "portcullis://up/test://watched-resource",
            "portcullis://up/test://qqqqqqq-resource",
        ),
        (
            "subscriptions/listen",
            &listen,
            "portcullis://up/test://watched-resource",
            "portcullis://up/test://qqqqqqq-resource",
        ),
    ];
    for (method, params, forbidden, absent) in cases {
        for agent in both(gateway.url(), "reader") {
            let modern = agent.session().is_none();
            if method.starts_with("resources/") && method.ends_with("subscribe") && modern {
                continue;
            }
            if method == "subscriptions/listen" {
                if modern {
                    let first = first_of(&agent, params(forbidden));
                    assert_eq!(first, first_of(&agent, params(absent)), "{forbidden}");
                    assert!(!first.contains(forbidden), "{first}");
                }
                continue;
            }
            let answer = asked(&agent, method, params(forbidden));
            assert!(answer.contains("\"error\""), "{method} {forbidden}: {answer}");
            assert_eq!(answer.replace(forbidden, absent), asked(&agent, method, params(absent)), "{method}");
        }
    }
}

/// The first message of a stream, which says what it will carry.
fn first_of(agent: &Agent, params: Value) -> String {
    let request = portcullis_tests::scenario::with_id(agent.post("subscriptions/listen", params), &json!(7));
    let mut events = request.send().events();
    events.find(|event| !event.data.is_empty()).expect("an acknowledgement").data
}

/// That a server lists a resource changes nothing for agents that may not see it.
#[test]
fn case_21_a_resource_of_a_hidden_server_is_as_one_that_nobody_has() {
    let agents = json!({ "reader": { "allow": ["open"] }, "owner": { "allow": ["*"] } });
    let servers = json!({ "hidden": fixture(), "open": fixture() });
    let gateway = Gateway::start(&governed(&servers, &agents, &json!({})));
    let readers = both(gateway.url(), "reader");
    let read = || {
        let uris = ["test://temporary-resource", "test://temporarx-resource"];
        let asked = |agent| uris.map(|uri| asked(agent, "resources/read", json!({ "uri": uri })));
        readers.each_ref().map(asked)
    };
    let before = read();
    let owner = modern(gateway.url(), "owner");
    owner.call("hidden__change_resources", &json!({}));
    let lists_it = || {
        let resources = owner.list("resources/list", "resources");
        resources.iter().any(|resource| resource["uri"] == "test://temporary-resource")
    };
    portcullis_tests::wait::expect("the owner is listed it", lists_it);
    assert_eq!(read(), before);
}

/// An endpoint of a server or group of which an agent sees nothing is as one that is not there.
#[test]
fn case_21_an_endpoint_without_anything_is_none() {
    let gateway = start();
    let at = |path: &str, method: &str| {
        let agent = modern(&gateway.url_of(path), "reader");
        let request = agent.post("tools/list", json!({}));
        told(match method {
            "POST" => request.send(),
            _ => Request::new(method, &gateway.url_of(path)).header("x-lunar-consumer-tag", "reader").send(),
        })
    };
    for (forbidden, absent) in
        [("/mcp/servers/hidden", "/mcp/servers/qqqqqq"), ("/mcp/groups/vault", "/mcp/groups/qqqqq")]
    {
        for method in ["POST", "GET", "DELETE", "PUT"] {
            let answer = at(forbidden, method);
            assert!(answer.starts_with("404"), "{method} {forbidden}: {answer}");
            assert_eq!(answer, at(absent, method), "{method} {forbidden}");
        }
    }
    assert!(at("/mcp/servers/up", "POST").starts_with("200"));
    assert!(at("/mcp/groups/public", "POST").starts_with("200"));
    assert!(
        told(modern(&gateway.url_of("/mcp/groups/vault"), "owner").post("tools/list", json!({})).send())
            .starts_with("200")
    );
}

/// Instructions of a server reach only those who see something of it.
#[test]
fn case_21_instructions_of_a_hidden_server_are_not_told() {
    let with_instructions = |label: &'static str| {
        let server = super::double::Mcp::new(label, &["read"]);
        Double::new(move |request| {
            let answer = server.answer(request);
            if request.message()["method"] != "server/discover" {
                return answer;
            }
            super::double::Answer::json(&json!({ "jsonrpc": "2.0", "id": request.message()["id"], "result": {
                "resultType": "complete", "ttlMs": 600_000, "cacheScope": "public",
                "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {}, "extensions": { label: {} } },
                "instructions": format!("how to use {label}"),
            }}))
        })
    };
    let (open, vault) = (with_instructions("open"), with_instructions("vault"));
    let agents = json!({ "reader": { "allow": ["*"], "deny": ["vault/*"] }, "owner": { "allow": ["*"] } });
    let servers = json!({ "open": { "url": open.url() }, "vault": { "url": vault.url() } });
    let gateway = Gateway::start(&governed(&servers, &agents, &json!({})));
    let of = |tag: &str| asked(&modern(gateway.url(), tag), "server/discover", json!({}));
    assert!(of("owner").contains("how to use vault") && of("owner").contains("how to use open"));
    assert!(of("reader").contains("how to use open") && !of("reader").contains("vault"), "{}", of("reader"));
}

/// What is told without any credential: that the process lives, and which servers are up.
#[test]
fn case_21_strangers_are_told_the_state_of_servers_and_no_more() {
    let gateway = start();
    let get = |path: &str| Request::get(&gateway.url_of(path)).send();
    assert_eq!(get("/metrics").status, 404, "without an admin key there are none");
    assert_eq!(get("/healthz").text(), r#"{"status":"OK"}"#);
    let state = get("/readyz").json();
    for server in state["servers"].as_object().expect("servers").values() {
        let keys: Vec<_> = server.as_object().expect("a server").keys().map(String::as_str).collect();
        assert_eq!(keys, ["status", "tools"], "{state}");
        assert!(server["tools"].is_number(), "how many, not which: {state}");
    }
    let agents = json!({ "reader": { "allow": ["*"] } });
    let guarded = Gateway::with(&governed(&json!({ "up": fixture() }), &agents, &json!({})))
        .env("PORTCULLIS_ADMIN_KEY", "an-admin-key-of-the-tests-that-is-long-enough")
        .start();
    let metrics = |credential: &str| {
        Request::get(&guarded.url_of("/metrics"))
            .header("Authorization", format!("Bearer {credential}"))
            .send()
    };
    assert_eq!(Request::get(&guarded.url_of("/metrics")).send().status, 401);
    assert_eq!(metrics("wrong").status, 401);
    assert!(!metrics("wrong").text().contains("portcullis_server"));
}

/// That a list has changed is told to those whose list it is.
#[test]
fn case_21_a_change_that_an_agent_does_not_see_is_not_told_to_it() {
    let gateway = start();
    let wanted = json!({ "notifications": { "toolsListChanged": true, "promptsListChanged": true } });
    let open = |tag: &str| {
        let mut events =
            modern(gateway.url(), tag).post("subscriptions/listen", wanted.clone()).send().events();
        assert!(next(&mut events).contains("acknowledged"));
        events
    };
    let (mut readers, mut owners) = (open("reader"), open("owner"));
    let owner = modern(gateway.url(), "owner");
    for tool in ["hidden__test_trigger_tool_change", "up__test_trigger_prompt_change"] {
        owner.call(tool, &json!({}));
        assert!(next(&mut owners).contains("list_changed"), "{tool}");
    }
    super::governed::reload(&gateway, &{
        let allow = ["up/echo", "up/count"];
        let agents = json!({ "reader": { "allow": allow }, "owner": { "allow": ["*"] } });
        governed(&json!({ "up": fixture(), "hidden": fixture() }), &agents, &json!({}))
    });
    let first = next(&mut readers);
    assert!(first.contains("tools/list_changed"), "the first that concerns it: {first}");
}

fn next(events: &mut Events<Body>) -> String {
    events.find(|event| !event.data.is_empty()).expect("a message").data
}
