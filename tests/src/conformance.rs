//! The official conformance suite, run as the command it is.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::gateway::{Gateway, Host};
use crate::process::{self, Background, Finished};
use crate::toolbox;
use crate::upstream::{Upstream, free_port};
use crate::wait::PATIENCE;

/// A scenario, or one check of it as `SCENARIO:CHECK`, that must fail, and why it cannot be otherwise.
pub type Expected = (&'static str, &'static str);

/// What the suite is run against: a gateway that changes no name, before a single server at this URL.
pub fn configuration(url: &str) -> String {
    with_settings(&json!({ "naming": "none" }), url)
}

/// The same for a server at which the gateway signs in as a client.
pub fn configuration_of_client(url: &str, oauth: &Value) -> String {
    let server = json!({ "url": url, "auth": { "oauth": oauth } });
    json!({ "version": 1, "gateway": { "naming": "none" }, "servers": { "server": server } }).to_string()
}

/// The same where the gateway acts on behalf of whoever has signed in at `issuer`, with a token for that audience.
pub fn configuration_on_behalf(url: &str, oauth: &Value, (issuer, audience): (&str, &str)) -> String {
    let mut config: Value =
        serde_json::from_str(&configuration_of_client(url, oauth)).expect("the configuration is JSON");
    let issuers = json!({ "corp": { "url": issuer, "audience": [audience] } });
    config["auth"] = json!({ "required": true, "issuers": issuers });
    config.to_string()
}

fn with_settings(gateway: &Value, url: &str) -> String {
    json!({ "version": 1, "gateway": gateway, "servers": { "server": { "url": url } } }).to_string()
}

/// A gateway for the suite before a fixture server with these options. A process knows that it is called `localhost` here; a
/// Worker and a function are told.
pub fn before(options: &[&str]) -> (Upstream, Gateway) {
    let upstream = Upstream::fixture(options);
    let gateway = match Host::chosen() {
        Host::Local => Gateway::start(&configuration(upstream.url())),
        Host::Edge | Host::Lambda => {
            let port = free_port();
            let own = format!("http://localhost:{port}");
            let settings = json!({ "naming": "none", "public_url": own, "allowed_origins": [own] });
            let gateway = Gateway::with(&with_settings(&settings, upstream.url()));
            gateway.of_worker("port", json!(port)).of_function("port", json!(port)).start()
        }
    };
    (upstream, gateway)
}

/// Judges a gateway as a server: `["--requirements", "2026-07-28"]`. What is expected to fail has to fail.
pub fn judge_server(gateway: &Gateway, selection: &[&str], expected: &[Expected]) -> Finished {
    // `localhost`: the suite judges rebinding of names only there.
    let url = format!("http://localhost:{}/mcp", gateway.port());
    let mut command = suite("server");
    command.args(["--url", &url]).args(selection);
    let folder = toolbox::scratch();
    if !expected.is_empty() {
        let baseline = folder.path().join("expected-failures.yml");
        let entries = expected.iter().fold(String::from("server:\n"), |mut all, (entry, reason)| {
            let _ = writeln!(all, "  - {entry} # {reason}");
            all
        });
        fs::write(&baseline, entries).expect("the test's folder can be written to");
        command.arg("--expected-failures").arg(&baseline);
    }
    judge(command, selection, &|| gateway.log())
}

/// Judges the program at `driver` as a client in one scenario of a revision.
pub fn judge_client(driver: &str, scenario: &str, revision: &str) -> Finished {
    judge_as_client(driver, &[scenario, "--spec-version", revision])
}

/// The same in a scenario of an extension, which belongs to no revision.
pub fn judge_client_of_extension(driver: &str, scenario: &str, revision: &str) -> Finished {
    judge_as_client(driver, &[scenario, "--spec-version", revision, "--force"])
}

fn judge_as_client(driver: &str, selection: &[&str]) -> Finished {
    let mut command = suite("client");
    command.args(["--command", driver, "--scenario"]).args(selection);
    // The driver stands elsewhere than the tests, and could not build what it needs.
    command.env("PORTCULLIS_BIN", toolbox::gateway());
    judge(command, selection, &String::new)
}

/// The scenarios for clients that a revision requires.
pub fn required_of_clients(revision: &str) -> Vec<String> {
    let mut command = suite("list");
    command.args(["--client", "--requirements", revision]);
    let listed = process::run(command, b"", PATIENCE).stdout;
    let (_, clients) = listed.split_once("Client scenarios").expect("the suite lists scenarios for clients");
    let lines = clients.lines().skip(1).map_while(|line| line.trim().strip_prefix("- "));
    lines.map(str::to_owned).collect()
}

/// Judges a gateway as an authorization server for that client, which has `http://127.0.0.1:PORT/callback`; `browse` is
/// told where a browser has to go. Answers what the suite comes to.
pub fn judge_authorization(issuer: &str, client: &str, port: u16, browse: impl FnOnce(&str)) -> String {
    let mut command = suite("authorization");
    let results = toolbox::scratch();
    command.args(["--url", issuer, "--client-id", client, "--resource", &format!("{issuer}/mcp")]);
    command.args(["--port", &port.to_string(), "--output-dir"]).arg(results.path());
    let mut suite = Background::start(&command);
    let begins = format!("{issuer}/oauth/authorize?");
    let url = suite.await_line("where to sign in", |line| line.starts_with(&begins).then(|| line.to_owned()));
    suite
        .await_line("the suite's callback", |line| line.starts_with("Callback server started").then_some(()));
    browse(&url);
    suite.await_line("the suite's summary", |line| line.strip_prefix("Total: ").map(str::to_owned))
}

fn suite(subcommand: &str) -> Command {
    let mut command = Command::new(toolbox::node());
    command.arg(toolbox::node_module("@modelcontextprotocol/conformance/dist/index.js")).arg(subcommand);
    command
}

/// Runs the suite, and panics with what failed unless all is as it must be.
fn judge(mut command: Command, selection: &[&str], log: &dyn Fn() -> String) -> Finished {
    let results = toolbox::scratch();
    command.arg("--output-dir").arg(results.path());
    let finished = process::run(command, b"", 5 * PATIENCE);
    // A scenario that a revision does not have is skipped, with exit code 0.
    if finished.code() == Some(0) && !finished.stdout.contains("not applicable") {
        return finished;
    }
    panic!(
        "conformance {selection:?}: {}\n{}\n{}\n{}\nthe gateway said:\n{}",
        finished.status,
        failures(results.path()).join("\n"),
        tail(&finished.stdout),
        finished.stderr,
        tail(&log()),
    );
}

/// Each failed check of the results, in one line.
fn failures(results: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let scenarios =
        fs::read_dir(results).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    for scenario in scenarios {
        let checks = fs::read(scenario.path().join("checks.json")).unwrap_or_default();
        let checks: Vec<Value> = serde_json::from_slice(&checks).unwrap_or_default();
        for check in checks.iter().filter(|check| check["status"] == "FAILURE") {
            let scenario = scenario.file_name();
            let (id, why) = (&check["id"], &check["errorMessage"]);
            lines.push(format!("FAILED {} {id}: {why} {}", scenario.to_string_lossy(), check["details"]));
        }
    }
    lines.sort();
    lines
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
