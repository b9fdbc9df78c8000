//! Case 32: what was kept for one agent is shown to another, or what a server says about caching makes it so.

use std::thread;

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use serde_json::{Value, json};

use super::double::{Answer, Double, Received};
use super::governed::{both, governed, modern};
use super::target::{config, fixture};

const LISTS: [(&str, &str); 4] = [
    ("tools/list", "tools"),
    ("prompts/list", "prompts"),
    ("resources/list", "resources"),
    ("resources/templates/list", "resourceTemplates"),
];

/// Agents with different rights list in turn and at once, page by page; each sees its own, whoever was first.
#[test]
fn case_32_a_list_of_one_agent_is_not_served_to_another() {
    let agents = json!({
        "few": { "allow": ["up/echo"] },
        "many": { "allow": ["*"] },
        "none": { "allow": [] },
    });
    let more = json!({ "gateway": { "page_size": 3 } });
    let gateway = Gateway::start(&governed(&json!({ "up": fixture() }), &agents, &more));
    let url = gateway.url();
    assert!(modern(url, "many").tools().len() > 10);
    thread::scope(|scope| {
        for _ in 0..6 {
            for (tag, expected) in [("few", Some(1)), ("many", None), ("none", Some(0))] {
                scope.spawn(move || {
                    for agent in both(url, tag) {
                        let tools = agent.tools();
                        assert!(
                            expected.map_or(tools.len() > 10, |expected| tools.len() == expected),
                            "{tag}: {tools:?}"
                        );
                        assert_eq!(agent.list("prompts/list", "prompts").is_empty(), tag != "many", "{tag}");
                    }
                });
            }
        }
    });
    // A cursor leads through the list of whoever has it, whosever it was.
    let first = modern(url, "many").result("tools/list", json!({}));
    let stolen = json!({ "cursor": first["nextCursor"] });
    assert!(stolen["cursor"].is_string(), "{first}");
    for tag in ["few", "none"] {
        for agent in both(url, tag) {
            let answer = agent.ask("tools/list", stolen.clone());
            let tools = answer["result"]["tools"].as_array().cloned().unwrap_or_default();
            assert!(tools.is_empty(), "{tag}: {answer}");
        }
    }
}

/// A server that calls everything public, and tells those who ask apart by nothing.
fn public(request: &Received) -> Answer {
    let message = request.message();
    let Some(method) = message["method"].as_str() else { return Answer::status(405) };
    let mut result = match method {
        "server/discover" => json!({
            "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {}, "prompts": {}, "resources": {} },
        }),
        "tools/list" => json!({ "tools": [{ "name": "t", "inputSchema": { "type": "object" } }] }),
        "prompts/list" => json!({ "prompts": [{ "name": "p" }] }),
        "resources/list" => json!({ "resources": [{ "uri": "x:r", "name": "r" }] }),
        "resources/templates/list" => {
            json!({ "resourceTemplates": [{ "uriTemplate": "x:{t}", "name": "t" }] })
        }
        "tools/call" => {
            json!({ "content": [{ "type": "text", "text": message["params"]["arguments"]["me"] }] })
        }
        "resources/read" => json!({ "contents": [{ "uri": "x:r", "text": message["id"].to_string() }] }),
        _ => return Answer::status(202),
    };
    result["resultType"] = "complete".into();
    result["ttlMs"] = 600_000.into();
    result["cacheScope"] = "public".into();
    Answer::json(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))
}

/// What a server calls public is no more so here: lists depend on who asks, and are said to; results are kept by nobody.
#[test]
fn case_32_what_a_server_calls_public_is_kept_for_nobody() {
    let server = Double::new(public);
    let gateway = Gateway::start(&config(&json!({ "up": { "url": server.url() } })));
    for agent in [Agent::modern(gateway.url()), Agent::modern(gateway.url()).handshake(LEGACY)] {
        for (method, key) in LISTS {
            let response = agent.post(method, json!({})).send();
            let cached = response.header("cache-control").is_some_and(|said| said.contains("public"));
            assert!(!cached && response.header("age").is_none(), "{method}");
            let result = response.messages().pop().expect("a message")["result"].clone();
            assert_eq!(result[key].as_array().map(Vec::len), Some(1), "{result}");
            assert_ne!(result["cacheScope"], "public", "{method}");
            if agent.session().is_none() {
                assert_eq!(result["cacheScope"], "private", "{method}");
            }
        }
    }
    let count = |method: &str| {
        server.received().iter().filter(|request| request.message()["method"] == method).count()
    };
    for me in ["one", "two", "two"] {
        let agent = modern(gateway.url(), me);
        assert_eq!(agent.call("up__t", &json!({ "me": me }))["content"][0]["text"], me);
        agent.result("resources/read", json!({ "uri": "x:r" }));
    }
    assert_eq!((count("tools/call"), count("resources/read")), (3, 3), "nothing is answered from a cache");
}

/// What intermediaries could take for the same request is not: lists come by POST only, and no answer is theirs to keep.
#[test]
fn case_32_no_answer_can_be_kept_on_the_way() {
    let agents = json!({ "few": { "allow": ["up/echo"] }, "many": { "allow": ["*"] } });
    let gateway = Gateway::start(&governed(&json!({ "up": fixture() }), &agents, &json!({})));
    for method in ["GET", "HEAD"] {
        for path in ["/mcp", "/mcp?method=tools/list", "/mcp/tools/list"] {
            let response = Request::new(method, &gateway.url_of(path)).send();
            assert!(matches!(response.status, 404 | 405), "{method} {path}: {}", response.status);
            assert!(!response.text().contains("up__"), "{method} {path}");
        }
    }
    let lists: Vec<Value> =
        ["many", "few"].map(|tag| modern(gateway.url(), tag).result("tools/list", json!({}))).into();
    assert!(lists[0].to_string().len() > lists[1].to_string().len());
    assert!(lists.iter().all(|list| list["cacheScope"] == "private"), "{lists:?}");
}
