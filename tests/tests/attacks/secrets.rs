//! Case 27: secrets in what is asked and answered are written nowhere: not to the log, the trail or a collector.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Host, Readiness};
use portcullis_tests::http::Request;
use portcullis_tests::scenario::fixture;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait;
use serde_json::json;

use super::double::{Answer, Double};

/// In two parts, so that none stands here whole. None is anybody's.
fn secrets() -> Vec<String> {
    let plain = [
        ("AKIA", "IOSFODNN7EXAMPLE"),
        ("ghp_", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"),
        ("eyJhbGciOiJIUzI1NiJ9.", "eyJzdWIiOiIxIn0.c2lnbmF0dXJlLW9mLWl0"),
        ("xoxb-", "123456789012-1234567890123-aBcDeFgHiJkL"),
        ("sk_live_", "51H8aBcDeFgHiJkLmNoPqRsTu"),
        ("pck_", "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789"),
    ];
    plain.iter().map(|(first, second)| format!("{first}{second}")).collect()
}

const PASSWORD: &str = "correct-horse-battery";

fn collector() -> Upstream {
    let mut command = Command::new(toolbox::python());
    command.arg(toolbox::interop("servers/otlp_receiver.py"));
    Upstream::start(&command)
}

/// Everything that lies below a folder, as text.
fn contents(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).expect("the folder can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.push_str(&contents(&path));
        } else {
            all.push_str(&String::from_utf8_lossy(&fs::read(path).unwrap_or_default()));
        }
    }
    all
}

#[test]
fn case_27_no_sink_holds_a_planted_secret() {
    let collector = collector();
    let audit = "{ arguments: true, redact: ['ACME-[0-9]{6}'] }";
    let gateway = Gateway::with(&format!("version: 1\naudit: {audit}\nservers:\n  s: {}\n", fixture(&[])))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_BLRP_SCHEDULE_DELAY", "50")
        .env("PORTCULLIS_LOG", "debug")
        .start();
    let agent = Agent::modern(gateway.url());
    let mut planted = secrets();
    for secret in secrets() {
        let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let base64 = STANDARD.encode(format!("the key is {secret}."));
        agent.call(
            "s__echo",
            &json!({ "message": format!("use {secret} now"), "b": base64, "h": hex, &secret: [secret] }),
        );
        agent.ask("tools/call", json!({ "name": format!("s__{secret}"), "arguments": {} }));
        agent.ask("resources/read", json!({ "uri": format!("https://host/{secret}") }));
        planted.extend([base64, hex]);
    }
    let pem = format!(
        "-----BEGIN {0}-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END {0}-----",
        ["PRIVATE", "KEY"].join(" ")
    );
    agent.call("s__echo", &json!({ "message": pem, "db_password": PASSWORD, "url": format!("postgres://me:{PASSWORD}@db/x"), "id": "ACME-123456" }));
    planted.extend([
        PASSWORD.to_owned(),
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC".to_owned(),
        "ACME-123456".to_owned(),
    ]);
    agent.ask("tools/call", json!({ "name": "s__last_one", "arguments": {} }));
    let received = || Request::get(&format!("{}/received", collector.url())).send().text();
    wait::expect("the trail at the collector", || received().contains("s__last_one"));
    wait::expect("the trail", || contents(&gateway.data_dir()).contains("s__last_one"));
    for (sink, text) in [
        ("the log", gateway.log()),
        ("the data folder", contents(&gateway.data_dir())),
        ("the collector", received()),
        ("the export", gateway.cli(&["audit", "export", "--format", "csv"]).stdout),
    ] {
        let left: Vec<_> = planted.iter().filter(|secret| text.contains(secret.as_str())).collect();
        assert!(left.is_empty(), "{sink} holds {left:?}");
    }
    assert!(gateway.cli(&["audit", "export"]).stdout.contains("use [redacted] now"));
}

/// A server repeats its own secret wherever it can in what it says of itself: nothing of that is written or passed on.
#[test]
fn case_27_what_a_server_repeats_of_its_secret_is_taken_out() {
    const SECRET: &str = "plain-words-without-a-form";
    let server = Double::new(|request| match request.message()["method"].as_str() {
        Some("initialize") => {
            let key = request.head.lines().find(|line| line.to_ascii_lowercase().starts_with("x-key"));
            let error = json!({ "code": -32000, "message": format!("no: {}", key.unwrap_or_default()) });
            Answer::json(&json!({ "jsonrpc": "2.0", "id": request.message()["id"], "error": error }))
        }
        _ => Answer::status(404),
    });
    let auth = json!({ "header": { "name": "X-Key", "value": { "secret": "k" } } });
    let config = json!({ "version": 1, "servers": { "s": { "url": server.url(), "auth": auth } } });
    let gateway = Gateway::with(&config.to_string()).on(Host::Local).env("PORTCULLIS_LOG", "debug");
    let gateway = gateway.until(Readiness::Listening).start();
    assert_eq!(gateway.cli_with(&["secrets", "set", "k"], SECRET).code(), Some(0));
    let readiness = || Request::get(&gateway.url_of("/readyz")).send().text();
    wait::expect("the reason", || readiness().contains("[redacted]"));
    let agent = Agent::modern(gateway.url());
    let answer = agent.ask("tools/call", json!({ "name": "s__t", "arguments": {} })).to_string();
    assert!(server.received().iter().any(|request| request.head.contains(SECRET)), "it was never sent");
    for (sink, text) in [
        ("the log", gateway.log()),
        ("the data folder", contents(&gateway.data_dir())),
        ("/readyz", readiness()),
        ("an agent", answer),
    ] {
        assert!(!text.contains(SECRET), "{sink} holds the secret: {text}");
    }
}
