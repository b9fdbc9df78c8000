//! Case 15: what comes over the network starts no process, whoever sends it and whatever it names.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use serde_json::{Value, json};

use super::governed::key;
use super::target::fixture;

/// Every path that there is, and those under which others start what a request names.
const PATHS: [&str; 30] = [
    "/",
    "/mcp",
    "/mcp/servers",
    "/mcp/servers/up",
    "/mcp/servers/new",
    "/mcp/groups/all",
    "/sse",
    "/messages",
    "/healthz",
    "/healthcheck",
    "/readyz",
    "/metrics",
    "/admin",
    "/admin/servers",
    "/api/servers",
    "/api/mcp/servers",
    "/api/config",
    "/api/mcp",
    "/config",
    "/reload",
    "/servers",
    "/stdio",
    "/start",
    "/spawn",
    "/proxy",
    "/mcp-rest/test/connection",
    "/mcp-rest/test/tools/list",
    "/v1/mcp/server",
    "/message?transportType=stdio&command=touch&args=marker",
    "/stdio?transportType=stdio&command=touch&args=marker",
];

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"];

const ADMIN: &str = "an-admin-key-of-the-tests-that-is-long-enough";

/// Bodies that name what to run: bare, as a configuration, and as messages of the protocol.
fn bodies(marker: &str) -> Vec<Value> {
    let server = json!({
        "command": "touch", "args": [marker], "env": { "X": "1" }, "transport": "stdio", "name": "new", "cwd": "/",
    });
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let message = |method: &str| {
        let mut params = server.clone();
        params["_meta"] = meta.clone();
        params["server"] = server.clone();
        params["mcpServers"] = json!({ "new": server });
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
    };
    let methods = ["initialize", "tools/call", "servers/add", "server/start", "config/update", "tools/list"];
    let mut bodies = vec![server.clone(), json!({ "mcpServers": { "new": server } })];
    bodies.push(json!({ "version": 1, "servers": { "new": { "command": ["touch", marker] } } }));
    bodies.extend(methods.map(message));
    bodies
}

#[test]
fn case_15_no_request_starts_a_process() {
    let file = json!({
        "version": 1,
        "servers": { "up": fixture() },
        "groups": { "all": { "up": "*" } },
        "agents": { "one": { "allow": ["*"] }, "default": { "deny": ["*"] } },
        "auth": { "required": true },
    });
    let gateway = Gateway::with(&file.to_string()).env("PORTCULLIS_ADMIN_KEY", ADMIN).start();
    let key = key(&gateway, "one");
    let marker = gateway.folder().join("marker");
    let bodies = bodies(&marker.display().to_string());
    let started = || gateway.log().matches("\"connected\"").count();
    let before = started();
    for (path, body) in PATHS.iter().flat_map(|path| bodies.iter().map(move |body| (path, body))) {
        let url = gateway.url_of(path);
        for credential in ["", &key, ADMIN, "wrong"] {
            for host in ["", "evil.test", "localhost/../admin"] {
                let mut request = Request::post(&url).json(body).header("Accept", "application/json");
                if !credential.is_empty() {
                    request = request.header("Authorization", format!("Bearer {credential}"));
                }
                if !host.is_empty() {
                    request = request.header("Host", host);
                }
                let status = request.send().status;
                let may_answer =
                    path.starts_with("/mcp") || path.starts_with("/health") || *path == "/readyz";
                assert!(status >= 400 || may_answer || *path == "/metrics", "{path}: {status}");
                assert!(host.is_empty() || status >= 400, "{path} as {host}: {status}");
            }
        }
    }
    for (path, method) in PATHS.iter().flat_map(|path| METHODS.iter().map(move |method| (path, method))) {
        let request = Request::new(method, &gateway.url_of(path)).json(&bodies[0]);
        let status = request.header("Authorization", format!("Bearer {key}")).send().status;
        assert!(status < 500, "{method} {path}: {status}");
    }
    let listed = Agent::modern(gateway.url()).bearer(&key).tools();
    assert!(listed.iter().all(|tool| tool.starts_with("up__")), "{listed:?}");
    let state = Request::get(&gateway.url_of("/readyz")).send().json();
    assert_eq!(state["servers"].as_object().map(serde_json::Map::len), Some(1), "{state}");
    assert!(!marker.exists(), "a request started a process");
    assert_eq!(started(), before, "no server was started again");
    // The marker is one: the file of the configuration, which no request can write, does start it.
    gateway.write(
        "portcullis.yaml",
        &file.to_string().replace(
            "\"servers\":{",
            &format!("\"servers\":{{\"new\":{{\"command\":[\"touch\",{}]}},", json!(marker)),
        ),
    );
    portcullis_tests::wait::expect("the marker", || marker.exists());
}
