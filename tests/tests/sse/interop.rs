//! Real clients and servers on HTTP+SSE, at both doors at once.

use std::sync::OnceLock;

use portcullis_tests::agent::Agent;
use portcullis_tests::client::{Client, Step};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::sse_agent::Agent as SseAgent;
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

/// A gateway before the real servers.
struct Servers {
    gateway: Gateway,
    _upstreams: [Upstream; 2],
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let upstreams = [Upstream::everything_sse(), Upstream::fastmcp_sse()];
        let servers = json!({
            "everything": { "url": upstreams[0].url() },
            "fastmcp": { "url": upstreams[1].url(), "transport": "sse" },
        });
        let gateway = Gateway::start(&json!({ "version": 1, "servers": servers }).to_string());
        Servers { gateway, _upstreams: upstreams }
    })
}

fn check(client: Client, path: &str) {
    let gateway = &servers().gateway;
    let call = |name: &str, arguments: Value| Step::CallTool { name: name.to_owned(), arguments };
    let plan = [
        Step::ListTools,
        call("everything__get-sum", json!({ "a": 2, "b": 40 })),
        call("everything__trigger-long-running-operation", json!({ "duration": 1, "steps": 2 })),
        call("fastmcp__greet", json!({ "name": "Ada" })),
        Step::ReadResource { uri: "note://fastmcp/lines/12".to_owned() },
        Step::GetPrompt { name: "fastmcp__review".to_owned(), arguments: json!({ "topic": "gates" }) },
    ];
    let transcript = client.run(&gateway.url_of(path), &plan);
    if let Some(protocol) = client.expected_protocol() {
        assert_eq!(transcript.protocol.as_deref(), Some(protocol), "the revision of {client:?}");
    }
    let expected = [
        "everything__echo",
        "The sum of 2 and 40 is 42.",
        "Long running operation completed",
        "Hello, Ada, from fastmcp",
        "line 12 of fastmcp",
        "Please review gates for fastmcp",
    ];
    for (step, expected) in expected.iter().enumerate() {
        let result = transcript.result(step);
        assert_ne!(result["isError"], json!(true), "{result}");
        assert!(result.to_string().contains(expected), "no {expected:?} in {result}");
    }
}

#[test]
fn the_typescript_client_speaks_it_on_both_sides() {
    check(Client::TsV1Sse, "/sse");
}

#[test]
fn the_python_client_speaks_it_on_both_sides() {
    check(Client::PythonSse, "/sse");
}

/// A bridge that is given the URL alone tries Streamable HTTP there, and falls back.
#[test]
fn a_bridge_falls_back_to_it() {
    check(Client::McpRemoteSse, "/sse");
}

#[test]
fn clients_of_streamable_http_reach_servers_that_speak_it() {
    for client in [Client::TsV1, Client::TsV2, Client::Python] {
        check(client, "/mcp");
    }
}

/// What a real server asks while it answers reaches the agent, and the agent's answer reaches the server.
#[test]
fn a_real_server_asks_through_both_doors() {
    let gateway = &servers().gateway;
    let can = json!({ "elicitation": {}, "sampling": {} });
    let mut agent = SseAgent::with(gateway, "2025-11-25", &can);
    let call = agent.begin("everything__trigger-sampling-request", &json!({ "prompt": "Well?" }));
    let question = agent.await_message(|message| message["method"] == "sampling/createMessage");
    let said = json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "Indeed" } });
    agent.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": said }));
    let answer = agent.answer(call);
    assert!(answer["result"].to_string().contains("Indeed"), "{answer}");
    // The shared connection has not been disturbed.
    let agent = Agent::modern(gateway.url());
    agent.call("everything__get-sum", &json!({ "a": 1, "b": 1 }));
}
