//! The audit trail of a gateway that runs, read over HTTP: the same output as from its data folder.

use std::fs;
use std::process::Command;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::{Request, Response};
use portcullis_tests::process::{Background, Finished};
use portcullis_tests::scenario::stdio_fixture;
use portcullis_tests::toolbox;
use portcullis_tests::wait;
use serde_json::{Value, json};

const KEY: &str = "adm1n-credential";

fn gateway() -> Gateway {
    let config = format!("version: 1\naudit: {{ arguments: true }}\nservers:\n  s: {}\n", stdio_fixture(&[]));
    Gateway::with(&config).env("PORTCULLIS_ADMIN_KEY", KEY).start()
}

fn remote(gateway: &Gateway, arguments: &[&str]) -> Finished {
    gateway.cli(&[&["audit"], arguments, &["--url", gateway.url()]].concat())
}

fn get(gateway: &Gateway, path: &str) -> Response {
    Request::get(&gateway.url_of(path)).header("Authorization", format!("Bearer {KEY}")).send()
}

/// Makes so many calls, one more that is refused, and waits for their entries.
fn fill(gateway: &Gateway, calls: u64) {
    let agent = Agent::modern(gateway.url());
    (0..calls).for_each(|n| drop(agent.call("s__echo", &json!({ "message": n }))));
    agent.error("tools/call", json!({ "name": "s__nope", "arguments": {} }));
    let count = || gateway.cli(&["audit", "query", "--json"]).stdout.lines().count() as u64;
    wait::expect("the entries", || count() > calls);
}

#[test]
fn a_trail_is_the_same_from_afar() {
    let gateway = gateway();
    fill(&gateway, 6);
    let csv = ["export", "--format", "csv"];
    let of_calls = ["query", "--json", "--method", "tools/call", "--server", "s"];
    let commands: [&[&str]; 8] = [
        &["query"],
        &["query", "--json", "--limit", "3"],
        &["query", "--decision", "denied"],
        &["query", "--tool", "s__echo", "--agent", "default", "--since", "1h"],
        &of_calls,
        &["tail", "-n", "2"],
        &["export"],
        &csv,
    ];
    for command in commands {
        let here = gateway.cli(&[&["audit"], command].concat());
        let there = remote(&gateway, command);
        assert_eq!((there.code(), &there.stdout), (Some(0), &here.stdout), "{command:?} {}", there.stderr);
        assert!(!here.stdout.is_empty(), "{command:?} prints nothing");
    }
    assert_eq!(remote(&gateway, &of_calls).stdout.lines().count(), 6);
    for command in [&["verify"][..], &["verify", "--json"]] {
        let (here, there) = (gateway.cli(&[&["audit"], command].concat()), remote(&gateway, command));
        assert_eq!((there.code(), &there.stdout), (Some(0), &here.stdout), "{}", there.stderr);
    }
}

#[test]
fn what_is_written_comes_over_http() {
    let gateway = gateway();
    fill(&gateway, 5);
    let page = get(&gateway, "/admin/v1/audit?limit=4").json();
    let entries = page["entries"].as_array().expect("entries");
    assert_eq!((entries.len(), &entries[0]["name"]), (4, &json!("s__nope")), "{page}");
    let cursor = page["cursor"].as_str().expect("more follows");
    let rest = get(&gateway, &format!("/admin/v1/audit?cursor={cursor}")).json();
    assert!(rest["cursor"].is_null() && rest["entries"][0]["name"] == "s__echo", "{rest}");
    let follow = page["follow"].as_str().expect("there are entries");
    let later = |from: &str| get(&gateway, &format!("/admin/v1/audit?order=oldest&cursor={from}")).json();
    assert_eq!(later(follow)["entries"], json!([]));
    Agent::modern(gateway.url()).call("s__echo", &json!({ "message": "later" }));
    let mut found = Value::Null;
    wait::expect("the entry that comes", || {
        found = later(follow);
        found["entries"][0]["args"]["message"] == "later"
    });
    let exported = get(&gateway, "/admin/v1/audit/export?tool=s__echo");
    assert_eq!(exported.header("content-type"), Some("application/jsonl; charset=utf-8"));
    let exported = exported.text();
    assert_eq!(exported.lines().count(), 6, "{exported}");
    let verdict = get(&gateway, "/admin/v1/audit/verify").json();
    assert_eq!((&verdict["writers"][0]["whole"], &verdict["writers"][0]["first"]), (&json!(true), &json!(1)));
}

#[test]
fn a_breach_is_told_from_afar() {
    let mut gateway = gateway();
    fill(&gateway, 4);
    gateway.process().stop();
    let folder = fs::read_dir(gateway.data_dir().join("audit")).expect("the trail has a folder");
    let file =
        folder.flatten().map(|entry| entry.path()).find(|p| p.extension().is_some_and(|e| e == "jsonl"));
    let file = file.expect("a file of lines");
    let text = fs::read_to_string(&file).expect("text");
    fs::write(&file, text.replacen("allowed", "denied!", 1)).expect("the file can be written to");
    gateway.restart();
    let broken = remote(&gateway, &["verify"]);
    assert_eq!(broken.code(), Some(1), "{}{}", broken.stdout, broken.stderr);
    assert!(
        broken.stdout.contains("the trail is broken") && broken.stdout.contains("was altered"),
        "{}",
        broken.stdout
    );
}

#[test]
fn the_end_can_be_followed_from_afar() {
    let gateway = gateway();
    fill(&gateway, 1);
    let mut command = Command::new(toolbox::gateway());
    command
        .args(["audit", "tail", "--follow", "--url", &gateway.url_of("")])
        .env("PORTCULLIS_ADMIN_KEY", KEY);
    let mut tail = Background::start(&command);
    tail.await_line("the entry that is there", |line| line.contains("s__nope").then_some(()));
    Agent::modern(gateway.url()).error("tools/call", json!({ "name": "s__later", "arguments": {} }));
    tail.await_line("the entry that comes", |line| line.contains("s__later").then_some(()));
}

#[test]
fn nobody_reads_a_trail_without_the_credential() {
    let gateway = gateway();
    let wrong = gateway.folder().join("wrong");
    fs::write(&wrong, "other\n").expect("the test's folder can be written to");
    let wrong = wrong.display().to_string();
    let refused = remote(&gateway, &["query", "--admin-key-file", &wrong]);
    assert_eq!(refused.code(), Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("does not take this admin key"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("other"), "{}", refused.stderr);
    fs::write(&wrong, KEY).expect("the test's folder can be written to");
    assert_eq!(remote(&gateway, &["query", "--admin-key-file", &wrong]).code(), Some(0));
    let unread = Request::get(&gateway.url_of("/admin/v1/audit")).send();
    assert_eq!((unread.status, unread.header("content-type")), (401, Some("application/problem+json")));
    // Whoever tried is in the trail.
    wait::expect("the entry of who was refused", || {
        let denied = gateway.cli(&["audit", "query", "--decision", "denied"]).stdout;
        denied.contains("GET /admin/v1/audit, 0.000 ms, the admin credential is missing or wrong")
    });
    let keyless = Gateway::start("version: 1\nservers: {}\n");
    assert_eq!(get(&keyless, "/admin/v1/audit").status, 404);
    let told = keyless.cli(&["audit", "query", "--url", keyless.url()]);
    assert!(told.code() == Some(1) && told.stderr.contains("PORTCULLIS_ADMIN_KEY"), "{}", told.stderr);
    let told = keyless.cli(&["audit", "query", "--url", keyless.url(), "--admin-key-file", &wrong]);
    assert!(told.code() == Some(1) && told.stderr.contains("has no admin API"), "{}", told.stderr);
}
