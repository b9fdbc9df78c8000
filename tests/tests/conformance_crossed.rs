//! The official conformance suite of one era against the gateway in front of a server that only speaks the other.
//!
//! **What is expected to fail is listed with its reason, and fails the test once it passes.**

use portcullis_tests::conformance::{Expected, before, judge_server};

const PER_SESSION: &str = "a server with sessions is told once for all requests what the client can do";
const NAMELESS: &str = "the scenario knows a question by the name that a stateless server gives it";

/// What fails for stateless agents before a server with sessions.
const MODERN_ON_LEGACY: &[Expected] = &[
    ("server-stateless:sep-2575-server-rejects-undeclared-capability", PER_SESSION),
    ("server-stateless:sep-2575-missing-capability-http-400", PER_SESSION),
    ("input-required-result-basic-elicitation", NAMELESS),
    ("input-required-result-ignore-extra-params", NAMELESS),
];

#[test]
fn requirements_2025_11_25_before_a_stateless_server() {
    let (_upstream, gateway) = before(&["--era", "modern"]);
    judge_server(&gateway, &["--requirements", "2025-11-25"], &[]);
}

#[test]
fn requirements_2026_07_28_before_a_server_with_sessions() {
    let (_upstream, gateway) = before(&["--era", "legacy"]);
    judge_server(&gateway, &["--requirements", "2026-07-28"], MODERN_ON_LEGACY);
}

/// A server that hangs up in the middle of its answer is taken up again by the gateway. The agent notices nothing: its
/// own stream, which it gets because the server takes its time, can be taken up again as well.
#[test]
fn server_sse_polling() {
    for era in ["legacy", "modern"] {
        let (_upstream, gateway) = before(&["--era", era, "--delay", "1500"]);
        let polling = ["--scenario", "server-sse-polling", "--spec-version", "2025-11-25"];
        let finished = judge_server(&gateway, &polling, &[]);
        assert!(finished.stdout.contains("Passed: 1/1, 0 failed"), "{era}: {}", finished.stdout);
    }
}
