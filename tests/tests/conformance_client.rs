//! The official conformance suite in the place of the server: what it judges is how the gateway asks its servers.
//!
//! `src/bin/conformance-client.rs` is the client that the suite starts: a gateway, and an agent that uses it.

use portcullis_tests::conformance::{judge_client, judge_client_of_extension, required_of_clients};

const DRIVER: &str = env!("CARGO_BIN_EXE_conformance-client");

/// Runs every scenario that a revision requires of clients.
fn requirements(revision: &str) {
    let required = required_of_clients(revision);
    assert!(required.len() >= 18, "{required:?}");
    for scenario in required {
        judge_client(DRIVER, &scenario, revision);
    }
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
fn client_credentials_with_a_secret() {
    for revision in ["2026-07-28", "2025-11-25"] {
        judge_client_of_extension(DRIVER, "auth/client-credentials-basic", revision);
    }
}

#[test]
fn client_credentials_with_a_key() {
    for revision in ["2026-07-28", "2025-11-25"] {
        judge_client_of_extension(DRIVER, "auth/client-credentials-jwt", revision);
    }
}

#[test]
fn enterprise_managed_authorization() {
    for revision in ["2026-07-28", "2025-11-25"] {
        judge_client_of_extension(DRIVER, "auth/enterprise-managed-authorization", revision);
    }
}

#[test]
fn json_schema_2020_12_preservation() {
    judge_client(DRIVER, "json-schema-2020-12-preservation", "2026-07-28");
}

#[test]
fn json_schema_2020_12_preservation_legacy() {
    judge_client(DRIVER, "json-schema-2020-12-preservation", "2025-11-25");
}
