//! What those who govern are told of hosted servers.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Readiness};
use portcullis_tests::http::{Request, Response};
use portcullis_tests::wait;
use serde_json::{Value, json};

use super::places::Place;

const ADMIN_KEY: &str = "the admin's key";

fn ask(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Response {
    let request = Request::new(method, &gateway.url_of(&format!("/admin/v1/{path}")));
    let request = request.header("Authorization", format!("Bearer {ADMIN_KEY}"));
    if body.is_null() { request.send() } else { request.json(body).send() }
}

/// A server that runs, one that cannot be started, and one that is hosted nowhere.
pub(crate) fn hosted_servers_are_told(place: &Place) {
    let running = place.server(&json!({ "memory": "300MiB" }), &[]);
    let mut lost = place.server(&json!({}), &[]);
    lost["command"] = json!(["/there/is/no/such/program"]);
    let elsewhere = json!({ "url": "http://127.0.0.1:9/mcp", "enabled": false });
    let servers = json!({ "s": running, "lost": lost, "elsewhere": elsewhere });
    let config = json!({ "version": 1, "servers": servers }).to_string();
    let gateway = place.prepared(Gateway::with(&config).env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY));
    let gateway = gateway.until(Readiness::Listening).start();
    let up = wait::until(wait::PATIENCE, || (!Agent::modern(gateway.url()).tools().is_empty()).then_some(()));
    assert!(up.is_some(), "{}", gateway.log());
    let items = || {
        let listed = ask(&gateway, "GET", "hosted", &Value::Null).json();
        assert!(listed["next"].is_null(), "{listed}");
        listed["items"].as_array().expect("a list").clone()
    };
    wait::expect("the other has failed", || items()[0]["status"] == "down");
    let listed = items();
    let names: Vec<_> = listed.iter().map(|item| item["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["lost", "s"], "what is not hosted is not there");
    let reason = listed[0]["reason"].as_str().expect("why it is down");
    assert!(!reason.is_empty(), "{listed:?}");
    let mut row = listed[1].clone();
    let identity = row["identity"].take();
    assert_eq!(
        identity.is_string(),
        place.is_container(),
        "an image is known by its name, a program by none: {identity}"
    );
    let host = running_host(place);
    assert_eq!(
        row,
        json!({ "name": "s", "status": "up", "identity": null, "host": host, "evaluation": null })
    );
    // What was found of it is told with it, and with no other.
    let risk = |severity: &str| json!({ "severity": severity, "what": "reads what it should not" });
    let report = json!({
        "format": 1, "server": "s", "identity": identity, "at": "2026-07-28T00:00:00Z", "verdict": "review",
        "risks": [risk("high"), risk("low"), risk("low")],
    });
    assert_eq!(ask(&gateway, "PUT", "evaluations/s", &report).status, 200);
    let evaluated = items();
    let found = json!({
        "server": "s", "identity": identity, "at": "2026-07-28T00:00:00Z", "verdict": "review",
        "risks": { "high": 1, "medium": 0, "low": 2 },
    });
    assert_eq!(evaluated[1]["evaluation"], found);
    assert!(evaluated[0]["evaluation"].is_null() || place.is_container(), "{evaluated:?}");
}

/// What is written of the host of the server that runs.
fn running_host(place: &Place) -> Value {
    place.server(&json!({ "memory": "300MiB" }), &[])["host"].take()
}
