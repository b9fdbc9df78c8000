//! The admin API as it describes itself, tried by a program that we did not write: for each role, no answer is a failure of the
//! gateway's, and none is outside the description.

use std::process::Command;

use portcullis_tests::browser::Browser;
use portcullis_tests::http::Request;
use portcullis_tests::provider::Provider;
use portcullis_tests::stand_in::StandIn;
use portcullis_tests::toolbox;
use serde_json::json;

/// What has to be true of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance";

/// Has every operation tried with these headers; answers what was found wrong, which should be nothing.
fn found(front: &StandIn, headers: &[(&str, &str)]) -> String {
    let document = headers
        .iter()
        .fold(Request::get(&format!("{}/admin/v1/openapi.json", front.origin)), |request, (name, value)| {
            request.header(name, value)
        });
    let folder = toolbox::scratch();
    let path = folder.path().join("openapi.json");
    std::fs::write(&path, document.send().text()).expect("the description can be kept");
    let mut command = Command::new(toolbox::schemathesis());
    command.arg("run").arg(&path).args(["--url", &front.origin, "--checks", CHECKS, "--no-color"]);
    command.args([
        "--phases",
        "coverage,fuzzing",
        "--max-examples",
        "6",
        "--seed",
        "1",
        "--generation-database",
        "none",
    ]);
    // What is told as it happens does not end with one answer.
    command.args(["--exclude-path", "/admin/v1/live"]);
    for (name, value) in headers {
        command.args(["--header", &format!("{name}: {value}")]);
    }
    let output = command.current_dir(folder.path()).output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("Tested: "), "it tried nothing: {said}{}", String::from_utf8_lossy(&output.stderr));
    if output.status.success() { String::new() } else { said }
}

/// A session of somebody whose group has this role.
fn as_role(role: &str) -> String {
    let roles = match role {
        "member" => json!({}),
        role => json!({ role: [{ "claim": { "groups": "eng" } }] }),
    };
    let console = json!({ "sign_in": true, "roles": roles, "members": true });
    let front = StandIn::governed(Provider::behind, &console);
    let mut browser = Browser::default();
    browser.visit(&format!("{}/console/sign-in?to=/console/", front.origin));
    let cookies = browser.cookies(&front.origin);
    let headers = [("Cookie", &*cookies), ("Origin", &front.origin), ("X-Portcullis-Console", "1")];
    let me = headers
        .iter()
        .fold(Request::get(&format!("{}/admin/v1/me", front.origin)), |request, (name, value)| {
            request.header(name, value)
        });
    assert_eq!(me.send().json()["role"], role);
    found(&front, &headers)
}

#[test]
fn the_admin_credential_gets_no_answer_that_is_not_described() {
    let front = StandIn::governed(Provider::behind, &json!({ "sign_in": true }));
    assert_eq!(found(&front, &[("Authorization", "Bearer the admin's key")]), "");
}

#[test]
fn an_admin_gets_no_answer_that_is_not_described() {
    assert_eq!(as_role("admin"), "");
}

#[test]
fn an_operator_gets_no_answer_that_is_not_described() {
    assert_eq!(as_role("operator"), "");
}

#[test]
fn an_auditor_gets_no_answer_that_is_not_described() {
    assert_eq!(as_role("auditor"), "");
}

#[test]
fn a_member_gets_no_answer_that_is_not_described() {
    assert_eq!(as_role("member"), "");
}
