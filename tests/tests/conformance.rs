//! The official conformance suite against the gateway, which stands in front of the fixture server and changes no name.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use portcullis_tests::gateway::Gateway;
use portcullis_tests::process;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait::PATIENCE;
use serde_json::{Value, json};

/// Runs everything that a revision requires.
fn requirements(revision: &str) {
    suite(&["--requirements", revision]);
}

/// Runs one scenario that the suite does not score yet.
fn scenario(name: &str, revision: &str) {
    suite(&["--scenario", name, "--spec-version", revision]);
}

/// Runs one scenario of an extension, which belongs to no revision.
fn extension(name: &str) {
    suite(&["--scenario", name, "--spec-version", "2026-07-28", "--force"]);
}

fn suite(selection: &[&str]) {
    let results = toolbox::scratch();
    let mut command = Command::new(toolbox::node());
    command.arg(toolbox::node_module("@modelcontextprotocol/conformance/dist/index.js"));
    // `localhost`: the suite judges rebinding of names only there.
    command.args(["server", "--url", &format!("http://localhost:{}/mcp", gateway().port())]);
    command.args(selection).arg("--output-dir").arg(results.path());
    let finished = process::run(command, b"", 5 * PATIENCE);
    let skipped = finished.stdout.contains("SKIPPED");
    if finished.code() == Some(0) && !skipped {
        return;
    }
    let failures = failures(results.path());
    // A single scenario has no summary, and repeats its own description for each failure.
    let (_, summary) = finished.stdout.split_once("=== SUMMARY ===").unwrap_or_default();
    let said = if failures.is_empty() { &finished.stdout } else { summary };
    panic!(
        "conformance {selection:?}: {}\n{}\n{said}\n{}\nthe gateway said:\n{}",
        finished.status,
        failures.join("\n"),
        finished.stderr,
        tail(&gateway().log()),
    );
}

/// Each failed check of the results, in one line.
fn failures(results: &std::path::Path) -> Vec<String> {
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

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// One gateway for all tests; the suite cleans up after itself.
fn gateway() -> &'static Gateway {
    static RUNNING: OnceLock<(Upstream, Gateway)> = OnceLock::new();
    let (_, gateway) = RUNNING.get_or_init(|| {
        let upstream = Upstream::fixture(&["--era", "dual"]);
        let config = json!({
            "version": 1,
            "gateway": { "naming": "none" },
            "servers": { "fixture": { "url": upstream.url() } },
        });
        let gateway = Gateway::start(&config.to_string());
        (upstream, gateway)
    });
    gateway
}

#[test]
fn requirements_2025_11_25() {
    requirements("2025-11-25");
}

#[test]
fn requirements_2026_07_28() {
    requirements("2026-07-28");
}

#[test]
fn http_header_validation() {
    scenario("http-header-validation", "2026-07-28");
}

#[test]
fn http_custom_header_server_validation() {
    scenario("http-custom-header-server-validation", "2026-07-28");
}

#[test]
fn server_session_lifecycle() {
    scenario("server-session-lifecycle", "2025-11-25");
}

#[test]
fn json_schema_2020_12() {
    scenario("json-schema-2020-12", "2026-07-28");
}

#[test]
fn json_schema_2020_12_legacy() {
    scenario("json-schema-2020-12", "2025-11-25");
}

#[test]
fn dns_rebinding_protection() {
    scenario("dns-rebinding-protection", "2026-07-28");
}

#[test]
fn dns_rebinding_protection_legacy() {
    scenario("dns-rebinding-protection", "2025-11-25");
}

#[test]
fn tasks_lifecycle() {
    extension("tasks-lifecycle");
}

#[test]
fn tasks_capability_negotiation() {
    extension("tasks-capability-negotiation");
}

#[test]
fn tasks_wire_fields() {
    extension("tasks-wire-fields");
}

#[test]
fn tasks_request_state_removal() {
    extension("tasks-request-state-removal");
}

#[test]
fn tasks_mrtr_input() {
    extension("tasks-mrtr-input");
}

#[test]
fn tasks_request_headers() {
    extension("tasks-request-headers");
}

#[test]
fn tasks_dispatch_and_envelope() {
    extension("tasks-dispatch-and-envelope");
}

#[test]
fn tasks_required_task_error() {
    extension("tasks-required-task-error");
}

#[test]
fn tasks_mrtr_composition() {
    extension("tasks-mrtr-composition");
}
