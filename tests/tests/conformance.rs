//! The official conformance suite against the gateway, which stands in front of the fixture server and changes no name.

use std::sync::OnceLock;

use portcullis_tests::conformance::{Expected, before, judge_server};
use portcullis_tests::gateway::{Gateway, Host};
use portcullis_tests::upstream::Upstream;

/// Runs everything that a revision requires.
fn requirements(revision: &str) {
    let expected = match (Host::chosen(), revision) {
        (Host::Lambda, "2025-11-25") => &NOT_IN_FUNCTIONS[..],
        _ => &[],
    };
    judge_server(gateway(), &["--requirements", revision], expected);
}

/// What a function cannot serve: its environments hold no sessions.
const NOT_IN_FUNCTIONS: [Expected; 6] = [
    ("elicitation-sep1034-defaults", "a question in a session is answered by another request"),
    ("elicitation-sep1330-enums", "a question in a session is answered by another request"),
    ("resources-subscribe", "a session subscribes by one request and hears by another"),
    ("resources-unsubscribe", "a session subscribes by one request and hears by another"),
    ("tools-call-elicitation", "a question in a session is answered by another request"),
    ("tools-call-sampling", "a question in a session is answered by another request"),
];

/// Runs one scenario that the suite does not score yet.
fn scenario(name: &str, revision: &str) {
    let finished = judge_server(gateway(), &["--scenario", name, "--spec-version", revision], &[]);
    assert!(!finished.stdout.contains("SKIPPED"), "{name}: {}", finished.stdout);
}

/// Runs one scenario of an extension, which belongs to no revision.
fn extension(name: &str) {
    let finished =
        judge_server(gateway(), &["--scenario", name, "--spec-version", "2026-07-28", "--force"], &[]);
    assert!(!finished.stdout.contains("SKIPPED"), "{name}: {}", finished.stdout);
}

/// One gateway for all tests; the suite cleans up after itself.
fn gateway() -> &'static Gateway {
    static RUNNING: OnceLock<(Upstream, Gateway)> = OnceLock::new();
    &RUNNING.get_or_init(|| before(&["--era", "dual"])).1
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
