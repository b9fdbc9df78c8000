//! A stdio server on another machine as a server of the gateway: behind `portcullis bridge`, and behind a gateway of its own,
//! which the gateway reaches with a credential of each. On every host.

use portcullis_tests::agent::Agent;
use portcullis_tests::bridge::{Bridge, TOKEN};
use portcullis_tests::client::{Client, Step};
use portcullis_tests::gateway::{Gateway, Host};
use portcullis_tests::scenario::{stdio_fixture, text};
use portcullis_tests::toolbox;
use portcullis_tests::wait;
use serde_json::json;

/// The gateway that is tested, before a server at `url` that takes this credential.
fn before(url: &str, credential: &str) -> Gateway {
    let server = json!({ "url": url, "auth": { "bearer": { "secret": "elsewhere" } } });
    let config = json!({ "version": 1, "servers": { "far": server } });
    let gateway = Gateway::with(&config.to_string()).env("PORTCULLIS_ADMIN_KEY", "the admin's key");
    gateway.start_with_secret("elsewhere", credential)
}

/// Calls the fixture through the gateway in both eras; what a caller presents to the gateway is no business of the server's.
fn check(gateway: &Gateway, tool: &str) {
    let tool = format!("far__{tool}");
    let is_listed = || Agent::modern(gateway.url()).tools().contains(&tool);
    wait::expect("the server's tools", is_listed);
    for agent in [Agent::modern(gateway.url()), Agent::legacy(gateway.url())] {
        let arguments = json!({ "ms": 1 });
        assert_eq!(text(&agent.call(&tool, &arguments)), "Slept 1 ms");
    }
}

#[test]
fn a_bridge_is_a_server_with_its_own_credential() {
    for era in ["modern", "legacy"] {
        let bridge =
            Bridge::before(&[toolbox::fixture(), "--stdio".into(), "--era".into(), era.into()]).start();
        check(&before(&bridge.url(), TOKEN), "sleep");
        let unknown = before(&bridge.url(), "a-credential-that-is-not-taken");
        assert_eq!(Agent::modern(unknown.url()).tools(), Vec::<String>::new());
    }
}

#[test]
fn a_gateway_that_starts_programs_is_a_server_with_a_key_of_its_own() {
    let server = stdio_fixture(&[]);
    let agents = "agents:\n  edge: { allow: [\"s/*\"] }\n";
    let config = format!("version: 1\nauth: {{ required: true }}\nservers:\n  s: {server}\n{agents}");
    let far = Gateway::with(&config).on(Host::Local).start();
    let made = far.cli(&["keys", "create", "--agent", "edge", "--json"]);
    let made: serde_json::Value = serde_json::from_str(&made.stdout).expect("a key");
    let key = made["key"].as_str().expect("its text");
    wait::expect("the new key is taken", || {
        Agent::modern(far.url()).bearer(key).post("tools/list", json!({})).send().status == 200
    });
    check(&before(far.url(), key), "s__sleep");
}

#[test]
fn a_real_client_reaches_a_real_server_over_both() {
    let server = toolbox::node_module("@modelcontextprotocol/server-everything/dist/index.js");
    let bridge = Bridge::before(&[toolbox::node(), server, "stdio".into()]).start();
    let gateway = before(&bridge.url(), TOKEN);
    wait::expect("the server's tools", || {
        Agent::modern(gateway.url()).tools().contains(&"far__echo".to_owned())
    });
    let plan =
        [Step::CallTool { name: "far__echo".to_owned(), arguments: json!({ "message": "from afar" }) }];
    for client in [Client::TsV1, Client::TsV2, Client::Python] {
        let transcript = client.run(gateway.url(), &plan);
        assert!(transcript.result(0)["content"].to_string().contains("Echo: from afar"), "{client:?}");
    }
}
