//! Case 25, as far as it is about schemas: ones that never end, that lead elsewhere, and that take forever to match.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use serde_json::{Value, json};

use super::double::{Double, Mcp};
use super::target::config;

/// Schemas that whoever resolves or applies them regrets.
fn schemas(elsewhere: &str) -> Vec<Value> {
    let nested = (0..100).fold(json!({ "type": "string" }), |inner, _| json!({ "items": inner }));
    vec![
        json!({ "$ref": "#", "allOf": [{ "$ref": "#" }, { "$ref": "#" }] }),
        json!({ "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } }, "$ref": "#/$defs/a" }),
        json!({ "$dynamicRef": "#x", "$dynamicAnchor": "x" }),
        json!({ "$ref": elsewhere }),
        json!({ "$schema": elsewhere, "$id": elsewhere, "$defs": { "a": { "$id": "./other" } } }),
        json!({ "properties": { "text": { "pattern": "^(a+)+$" }, "more": { "pattern": "(" } } }),
        json!({ "patternProperties": { "^(([a-z])+.)+[A-Z]([a-z])+$": false } }),
        json!({ "properties": { "list": nested } }),
        json!({ "properties": { "__proto__": { "default": elsewhere }, "constructor": { "const": elsewhere } } }),
    ]
}

/// A schema is a text that is passed on: it is neither resolved, nor compiled, nor applied.
#[test]
fn case_25_a_hostile_schema_is_passed_on_untouched() {
    let elsewhere = Double::mcp("elsewhere", &["t"]);
    let tool = |(index, mut schema): (usize, Value)| {
        schema["type"] = json!("object");
        json!({ "name": format!("t{index}"), "inputSchema": schema, "outputSchema": schema })
    };
    let tools: Vec<_> = schemas(&elsewhere.url()).into_iter().enumerate().map(tool).collect();
    let mcp = Mcp::of_tools("up", tools.clone());
    let server = Double::new(move |request| mcp.answer(request));
    let gateway = Gateway::start(&config(&json!({ "up": { "url": server.url() } })));
    let agent = Agent::modern(gateway.url());
    let listed = agent.list("tools/list", "tools");
    assert_eq!(listed.len(), tools.len(), "{listed:?}");
    let arguments = json!({ "text": format!("{}!", "a".repeat(50_000)), "list": [[[[]]]], "__proto__": {} });
    for (listed, tool) in listed.iter().zip(&tools) {
        assert_eq!(listed["inputSchema"], tool["inputSchema"]);
        assert_eq!(listed["outputSchema"], tool["outputSchema"]);
        let name = listed["name"].as_str().unwrap_or_default();
        let answer = agent.call(name, &arguments);
        assert_eq!(
            answer["content"][0]["text"],
            format!("up ran {}", tool["name"].as_str().unwrap_or_default())
        );
    }
    let calls = server.received().into_iter().map(|request| request.message());
    let calls: Vec<_> = calls.filter(|message| message["method"] == "tools/call").collect();
    assert!(calls.iter().all(|call| call["params"]["arguments"] == arguments));
    assert_eq!(elsewhere.received().len(), 0, "{:?}", elsewhere.received());
}
