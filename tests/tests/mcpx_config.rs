//! A folder with MCPX's two files runs as it is: which servers there are, under which names, and what becomes of those
//! that wait for input; edits of either file; and the way to a native one.

use std::fs;
use std::process::Command;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Builder, Gateway};
use portcullis_tests::http::Request;
use portcullis_tests::process::run;
use portcullis_tests::toolbox;
use portcullis_tests::wait::{PATIENCE, expect};
use serde_json::{Value, json};

/// A fixture server as MCPX describes one.
fn fixture(env: Value) -> Value {
    json!({ "type": "stdio", "command": toolbox::fixture(), "args": ["--stdio"], "env": env, "icon": "#fff" })
}

fn servers() -> Value {
    json!({ "mcpServers": {
        "Probe Srv": fixture(json!({ "A": { "fromEnv": "HAVE" }, "B": null })),
        "waits": fixture(json!({ "A": { "fromSecret": "LACK" }, "B": { "fromEnv": "BLANK" } })),
        "off": fixture(json!({})),
        "broken": { "type": "smoke-signal", "command": "x" },
    }})
}

const APP: &str = "permissions: { default: { block: [] }, consumers: {} }\ntargetServerAttributes: { OFF: { inactive: true } }\n";

fn folder(app: &str) -> Builder {
    let builder = Gateway::with("");
    fs::create_dir(builder.folder().join("mcpx")).expect("the test's folder can be written to");
    let builder = builder.file("mcpx/mcp.json", &servers().to_string()).file("mcpx/app.yaml", app);
    builder.config_path("mcpx").env("HAVE", "x").env("BLANK", " ")
}

/// The servers that tools are listed of.
fn listed(agent: &Agent) -> Vec<String> {
    let tools = agent.tools().into_iter();
    let mut servers: Vec<_> = tools.filter_map(|tool| Some(tool.split_once("__")?.0.to_owned())).collect();
    servers.dedup();
    servers
}

fn readiness(gateway: &Gateway) -> Value {
    Request::get(&gateway.url_of("/readyz")).send().json()
}

#[test]
fn a_folder_of_both_files_is_served() {
    let gateway = folder(APP).start();
    for agent in [Agent::modern(gateway.url()), Agent::legacy(gateway.url())] {
        assert_eq!(listed(&agent), ["probe_srv"]);
        assert_eq!(agent.call("probe_srv__echo", &json!({ "text": "hi" }))["isError"], Value::Null);
    }
    let ready = readiness(&gateway);
    assert_eq!(ready["status"], "DEGRADED", "{ready}");
    let waits = ready["servers"]["waits"]["reason"].as_str().unwrap_or_default();
    assert!(
        waits.ends_with("waits for input: not set, or empty, in the environment: BLANK, LACK"),
        "{ready}"
    );
    assert_eq!(
        (&ready["servers"]["waits"]["status"], &ready["servers"]["broken"]["status"]),
        (&json!("down"), &json!("down"))
    );
    assert_eq!(ready["servers"]["off"], Value::Null);
}

#[test]
fn the_app_file_beside_a_named_file_is_read_too() {
    let gateway = folder(APP).config_path("mcpx/mcp.json").start();
    assert_eq!(listed(&Agent::modern(gateway.url())), ["probe_srv"]);
}

#[test]
fn edits_of_either_file_come_into_force_unless_they_have_an_error() {
    let gateway = folder(APP).start();
    let agent = Agent::modern(gateway.url());
    gateway.write("mcpx/app.yaml", "permissions: { default: { block: [nobody] } }");
    expect("the error", || gateway.log().contains("there is no tool group"));
    assert_eq!(listed(&agent), ["probe_srv"]);
    gateway.write("mcpx/app.yaml", "permissions: { base: allow }");
    expect("the server that is active again", || listed(&agent) == ["off", "probe_srv"]);
    gateway.write("mcpx/mcp.json", "{}");
    expect("no server", || listed(&agent).is_empty());
}

#[test]
fn a_folder_whose_permissions_are_not_understood_is_not_served() {
    for app in
        ["permissions: { default: { block: [nobody] } }", "permissions: [", "", "auth: { enabled: true }"]
    {
        let builder = folder(app);
        let mut command = Command::new(toolbox::gateway());
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(builder.folder().join("mcpx"));
        let finished = run(command, b"", PATIENCE);
        assert_eq!(finished.code(), Some(1), "{app}\n{}", finished.stderr);
        assert!(finished.stderr.contains("app.yaml:"), "{app}\n{}", finished.stderr);
    }
}

#[test]
fn what_is_imported_is_served_the_same() {
    let gateway = folder(APP).start();
    let imported = gateway.cli(&["import", "mcpx/mcp.json", "mcpx/app.yaml", "--output", "native.yaml"]);
    assert_eq!(imported.code(), Some(1), "one server is left out");
    assert!(imported.stderr.contains("mcpServers.broken.type"), "{}", imported.stderr);
    let native =
        Gateway::with(&fs::read_to_string(gateway.folder().join("native.yaml")).expect("it was written"));
    let native = native.env("HAVE", "x").env("LACK", "x").env("BLANK", "x").start();
    assert_eq!(listed(&Agent::modern(native.url())), ["probe_srv", "waits"]);
}
