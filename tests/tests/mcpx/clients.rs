//! The clients that MCPX's users have: each is known by its tag or its own name, and keyed, as the files say.

use std::sync::OnceLock;

use portcullis_tests::client::{Client, Step};
use portcullis_tests::gateway::Gateway;
use serde_json::{Value, json};

use super::callers::{folder, two_servers};

const KEY: &str = "open-sesame";

/// What is allowed to the clients' names and to guests; nothing to anybody else.
const APP: &str = "
permissions:
  default: { allow: [] }
  consumers: { guests: { allow: [reading] } }
  clientNames: { Interop-TS-v1: { allow: [reading] }, interop-mcp-remote: { allow: [reading] } }
toolGroups: [{ name: reading, services: { files: [echo] } }]
auth: { enabled: true }
";

fn gateway() -> &'static Gateway {
    static GATEWAY: OnceLock<Gateway> = OnceLock::new();
    GATEWAY.get_or_init(|| folder(&two_servers(), APP).env("AUTH_KEY", KEY).start())
}

/// The client lists and calls the one tool that it may, and is refused another, in the words of its own errors.
#[track_caller]
fn check(client: Client, path: &str, tag: Option<&str>) {
    let (key, tag) =
        (format!("x-lunar-api-key: {KEY}"), tag.map(|tag| format!("x-lunar-consumer-tag: {tag}")));
    let headers: Vec<_> = std::iter::once(key.as_str()).chain(tag.as_deref()).collect();
    let call = |name: &str| Step::CallTool { name: name.to_owned(), arguments: json!({ "message": "hi" }) };
    let plan = [Step::ListTools, call("files__echo"), call("files__pid")];
    let transcript = client.run_with(&gateway().url_of(path), &headers, &plan);
    let tools: Vec<&Value> =
        transcript.result(0)["tools"].as_array().into_iter().flatten().map(|tool| &tool["name"]).collect();
    assert_eq!(tools, ["files__echo"], "{client:?}");
    assert!(transcript.result(1).to_string().contains("hi"), "{client:?}: {:?}", transcript.steps);
    let refused = transcript.steps[2].error.as_deref().unwrap_or_default();
    assert!(refused.contains("Permission denied"), "{client:?}: {:?}", transcript.steps);
}

#[test]
fn a_client_is_known_by_its_name() {
    check(Client::TsV1, "/mcp", None);
    check(Client::TsV1Sse, "/sse", None);
}

#[test]
fn a_client_behind_a_bridge_is_known_by_its_own_name() {
    check(Client::McpRemote, "/mcp", None);
    check(Client::McpRemoteSse, "/sse", None);
}

#[test]
fn a_client_is_known_by_its_tag() {
    check(Client::TsV2, "/mcp", Some("guests"));
    check(Client::Python, "/mcp", Some("guests"));
    check(Client::PythonSse, "/sse", Some("guests"));
    check(Client::McpRemote, "/mcp", Some("guests"));
}
