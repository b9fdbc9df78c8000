//! The official conformance suite of one era against the gateway in front of a server that only speaks the other.
//!
//! **What is expected to fail is listed with its reason, and fails the test once it passes.**

use portcullis_tests::conformance::{Expected, judge_server};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::upstream::Upstream;
use serde_json::json;

const PER_SESSION: &str = "a server with sessions is told once for all requests what the client can do";
const NOT_ASKED: &str = "an agent is not yet asked what a server of the other era asks";

/// Agents with sessions before a stateless server.
const LEGACY_ON_MODERN: &[Expected] = &[
    ("tools-call-sampling", NOT_ASKED),
    ("tools-call-elicitation", NOT_ASKED),
    ("elicitation-sep1034-defaults", NOT_ASKED),
    ("elicitation-sep1330-enums", NOT_ASKED),
];

/// Stateless agents before a server with sessions.
const MODERN_ON_LEGACY: &[Expected] = &[
    ("server-stateless:sep-2575-server-rejects-undeclared-capability", PER_SESSION),
    ("server-stateless:sep-2575-missing-capability-http-400", PER_SESSION),
    ("input-required-result-basic-elicitation", NOT_ASKED),
    ("input-required-result-basic-sampling", NOT_ASKED),
    ("input-required-result-basic-list-roots", NOT_ASKED),
    ("input-required-result-request-state", NOT_ASKED),
    ("input-required-result-multiple-input-requests", NOT_ASKED),
    ("input-required-result-multi-round", NOT_ASKED),
    ("input-required-result-missing-input-response", NOT_ASKED),
    ("input-required-result-non-tool-request", NOT_ASKED),
    ("input-required-result-result-type", NOT_ASKED),
    ("input-required-result-tampered-state", NOT_ASKED),
    ("input-required-result-capability-check", NOT_ASKED),
    ("input-required-result-validate-input", NOT_ASKED),
];

fn before(options: &[&str]) -> (Upstream, Gateway) {
    let upstream = Upstream::fixture(options);
    let config = json!({
        "version": 1,
        "gateway": { "naming": "none" },
        "servers": { "fixture": { "url": upstream.url() } },
    });
    let gateway = Gateway::start(&config.to_string());
    (upstream, gateway)
}

#[test]
fn requirements_2025_11_25_before_a_stateless_server() {
    let (_upstream, gateway) = before(&["--era", "modern"]);
    judge_server(&gateway, &["--requirements", "2025-11-25"], LEGACY_ON_MODERN);
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
