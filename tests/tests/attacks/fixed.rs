//! Case 20 with variants: a fixed argument reaches the server whatever the caller sends, and no result is fetched whole.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::scenario::raw_call;
use serde_json::{Value, json};

use super::double::{Double, Mcp};
use super::target::fixture;

/// A tool whose `owner` is mirrored in a header, and a variant of it whose `owner` is fixed.
fn start() -> (Gateway, Double) {
    let tool = json!({ "name": "create", "inputSchema": { "type": "object", "required": ["owner"], "properties": {
        "owner": { "type": "string", "x-mcp-header": "Owner" }, "title": { "type": "string", "x-mcp-header": "Title" },
    }}});
    let server = Mcp::of_tools("up", vec![tool]);
    let up = Double::new(move |request| server.answer(request));
    let variant = json!({ "from": "create", "replace": true, "arguments": { "owner": { "fix": "acme" } } });
    let file = json!({
        "version": 1,
        "servers": { "up": { "url": up.url() } },
        "variants": { "up": { "file": variant } },
    });
    (Gateway::start(&file.to_string()), up)
}

#[test]
fn case_20_a_fixed_argument_reaches_the_server_whatever_is_sent() {
    let (gateway, up) = start();
    let agents = [Agent::modern(gateway.url()), Agent::legacy(gateway.url())];
    let sent = [
        "{}",
        r#"{"owner":"evil"}"#,
        r#"{"owner":"evil","owner":"worse"}"#,
        r#"{"\u006fwner":"evil"}"#,
        r#"{"owner":"evil","\u006fwn\u0065r":"worse"}"#,
        r#"{"owner":null}"#,
        r#"{"owner":["evil"],"title":"x"}"#,
        r#"{"__proto__":{"owner":"evil"},"title":"x"}"#,
        r#"{"title":"x","arguments":{"owner":"evil"}}"#,
    ];
    for arguments in sent {
        for agent in &agents {
            let before = up.calls().len();
            let mut call = raw_call(agent, "up__file", arguments);
            for header in ["Mcp-Param-Owner", "mcp-param-owner", "MCP-PARAM-OWNER"] {
                call = call.header(header, "evil");
            }
            if arguments.contains(r#""title""#) {
                call = call.header("Mcp-Param-Title", "x");
            }
            let answer = call.send().json();
            let calls: Vec<_> =
                up.received().into_iter().filter(|r| r.message()["method"] == "tools/call").collect();
            if answer.get("error").is_some() {
                assert_eq!(calls.len(), before, "{arguments}: {answer}");
                continue;
            }
            let call = &calls.last().expect("a call");
            let body: Value = call.message();
            assert_eq!(body["params"]["arguments"]["owner"], "acme", "{arguments}: {}", call.body);
            assert_eq!(call.body.matches("\"owner\":\"acme\"").count(), 1, "{}", call.body);
            assert!(!call.body.contains("worse"), "{}", call.body);
            let mirrored: Vec<_> = call
                .head
                .lines()
                .filter(|line| line.to_lowercase().starts_with("mcp-param-owner:"))
                .collect();
            assert_eq!(mirrored.len(), 1, "{}", call.head);
            assert!(mirrored[0].ends_with("acme"), "{}", call.head);
        }
    }
    assert!(up.calls().len() > sent.len(), "most of them are calls");
}

/// Only the part that a variant shows is got, also by an agent that could have the call go on as a task.
#[test]
fn case_20_a_result_that_is_cut_or_limited_does_not_come_as_a_task() {
    let file = json!({
        "version": 1,
        "servers": { "up": fixture() },
        "variants": { "up": {
            "brief": { "from": "slow_compute", "result": { "cut": 3 } },
            "bounded": { "from": "slow_compute" },
            "brief_job": { "from": "failing_job", "result": { "cut": 3 } },
        }},
        "limits": { "up/bounded": { "result": "1KiB" } },
    });
    let gateway = Gateway::start(&file.to_string());
    let with_tasks = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } });
    let agent = Agent::modern(gateway.url()).capabilities(with_tasks);
    let kind = |tool: &str| agent.call(tool, &json!({ "seconds": 0 }))["resultType"].clone();
    assert_eq!(kind("up__slow_compute"), "task");
    assert_eq!(kind("up__brief"), "complete");
    assert_eq!(kind("up__bounded"), "complete");
    // What runs as a task only cannot be had in part.
    assert_eq!(kind("up__failing_job"), "task");
    assert_eq!(agent.error("tools/call", json!({ "name": "up__brief_job" }))["code"], -32021);
}
