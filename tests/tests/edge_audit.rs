//! The audit trail of the Worker, in the runtime that Cloudflare's platform has: what is recorded arrives once, whatever
//! fails on the way, and is read as anywhere else.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Builder, Gateway, Host};
use portcullis_tests::http::Request;
use portcullis_tests::process::Finished;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

const KEY: &str = "adm1n-credential";

fn worker(upstream: &Upstream, audit: &str) -> Builder {
    let config = format!("version: 1\naudit: {audit}\nservers:\n  s: {{ url: '{}' }}\n", upstream.url());
    Gateway::with(&config).on(Host::Edge).env("PORTCULLIS_ADMIN_KEY", KEY)
}

fn remote(gateway: &Gateway, arguments: &[&str]) -> Finished {
    gateway.cli(&[&["audit"], arguments, &["--url", gateway.url()]].concat())
}

fn entries(gateway: &Gateway, arguments: &[&str]) -> Vec<Value> {
    let read = remote(gateway, arguments);
    assert_eq!(read.code(), Some(0), "{}\n{}", read.stderr, gateway.log());
    read.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// What the calls said whose entries there are, in the order of the chain.
fn said(gateway: &Gateway) -> Vec<u64> {
    let calls = entries(gateway, &["export", "--tool", "s__echo"]);
    calls.iter().map(|entry| entry["args"]["message"].as_u64().expect("a number")).collect()
}

fn call(gateway: &Gateway, messages: std::ops::Range<u64>) {
    let agent = Agent::modern(gateway.url());
    messages.for_each(|message| drop(agent.call("s__echo", &json!({ "message": message }))));
}

/// Tells whether the instance has brought a message to the writer since it was last asked.
fn brought(gateway: &Gateway) -> bool {
    let made = Request::get(&gateway.url_of("/subrequests")).send().json();
    made.as_array().expect("a list").iter().any(|made| made == "TRAIL fetch")
}

/// Waits until each call up to that one has an entry, and checks that none has two.
#[track_caller]
fn arrived(gateway: &Gateway, count: u64) {
    let all: Vec<_> = (0..count).collect();
    let sorted = || {
        let mut found = said(gateway);
        found.sort_unstable();
        found
    };
    let found = wait::until(PATIENCE, || Some(sorted()).filter(|found| found.len() >= all.len()));
    assert_eq!(found.unwrap_or_else(sorted), all, "{}", gateway.log());
}

/// Checks that the chain holds from its first entry on; returns how many entries there are.
#[track_caller]
fn verified(gateway: &Gateway) -> u64 {
    let verified = remote(gateway, &["verify", "--json"]);
    let json: Value = serde_json::from_str(&verified.stdout).unwrap_or_default();
    assert_eq!(
        (verified.code(), &json["whole"], &json["first"]),
        (Some(0), &json!(true), &json!(1)),
        "{verified:?}"
    );
    json["entries"].as_u64().expect("a number")
}

#[test]
fn entries_arrive_through_the_queue_and_are_read_as_anywhere() {
    let upstream = Upstream::fixture(&["--era", "dual"]);
    let gateway = worker(&upstream, "{ arguments: true }").start();
    call(&gateway, 0..25);
    Agent::modern(gateway.url()).error("tools/call", json!({ "name": "s__nope", "arguments": {} }));
    arrived(&gateway, 25);
    wait::expect("the entry of what was denied", || {
        entries(&gateway, &["export", "--decision", "denied"]).len() == 1
    });
    // What is exported comes from the files, what is asked for from the store of keys.
    let exported = remote(&gateway, &["export"]).stdout;
    let asked = remote(&gateway, &["query", "--json", "--limit", "5000"]).stdout;
    assert_eq!(asked, exported);
    let ids: Vec<_> =
        entries(&gateway, &["export"]).iter().filter_map(|entry| entry["id"].as_u64()).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    assert_eq!(verified(&gateway), ids.len() as u64);
    let query = remote(&gateway, &["query", "--decision", "denied", "--server", ""]);
    assert!(query.stdout.contains(" denied  tools/call s__nope for default, "), "{}", query.stdout);
    let last = remote(&gateway, &["tail", "-n", "3", "--json"]).stdout;
    assert_eq!(last, exported.split_inclusive('\n').skip(ids.len() - 3).collect::<String>());
    assert!(entries(&gateway, &["query", "--json", "--until", "1h"]).is_empty());
    assert_eq!(
        entries(&gateway, &["query", "--json", "--server", "s", "--since", "1h", "--limit", "7"]).len(),
        7
    );
}

#[test]
fn nothing_is_lost_or_doubled_where_the_consumer_fails() {
    let upstream = Upstream::fixture(&["--era", "dual"]);
    let gateway = worker(&upstream, "{ arguments: true }").of_worker("failures", json!(4)).start();
    call(&gateway, 0..10);
    arrived(&gateway, 10);
    call(&gateway, 10..30);
    arrived(&gateway, 30);
    assert!(
        ["before", "after"].iter().all(|when| gateway.log().contains(&format!("planned failure {when}"))),
        "{}",
        gateway.log()
    );
    assert!(verified(&gateway) >= 30);
}

#[test]
fn a_chain_goes_on_after_a_restart() {
    let upstream = Upstream::fixture(&["--era", "dual"]);
    let mut gateway = worker(&upstream, "{ arguments: true }")
        .of_worker("without", json!(["ENTRIES"]))
        .of_worker("counted", json!(true))
        .start();
    call(&gateway, 0..5);
    arrived(&gateway, 5);
    let before = verified(&gateway);
    call(&gateway, 5..6);
    brought(&gateway);
    // What is brought after its answer has its entry, or comes after it.
    wait::expect("a message", || {
        Agent::modern(gateway.url()).post("tools/list", json!({})).send();
        brought(&gateway)
    });
    gateway.restart();
    // What was gathered and not yet copied is there as well.
    arrived(&gateway, 6);
    call(&gateway, 6..12);
    arrived(&gateway, 12);
    assert!(verified(&gateway) >= before + 7);
    assert_eq!(said(&gateway), (0..12).collect::<Vec<_>>());
}

#[test]
fn a_store_of_keys_is_enough() {
    let upstream = Upstream::fixture(&["--era", "dual"]);
    let gateway =
        worker(&upstream, "{ arguments: true }").of_worker("without", json!(["ENTRIES", "ARCHIVE"])).start();
    call(&gateway, 0..4);
    arrived(&gateway, 4);
    verified(&gateway);
    assert_eq!(entries(&gateway, &["query", "--json", "--tool", "s__echo", "--limit", "2"]).len(), 2);
}

#[test]
fn what_cannot_be_recorded_is_said() {
    let upstream = Upstream::fixture(&["--era", "dual"]);
    let gateway = worker(&upstream, "{}").of_worker("without", json!(["TRAIL", "ENTRIES"])).start();
    call(&gateway, 0..1);
    let mut ready = Value::Null;
    wait::expect("the trail's failure", || {
        ready = Request::get(&gateway.url_of("/readyz")).send().json();
        ready["audit"]["status"] == "failing"
    });
    assert!(ready["audit"]["reason"].as_str().is_some_and(|why| why.contains("no binding TRAIL")), "{ready}");
    let read = remote(&gateway, &["query"]);
    assert!(read.code() == Some(1) && read.stderr.contains("no binding TRAIL"), "{}", read.stderr);
    gateway.write(
        "portcullis.yaml",
        &std::fs::read_to_string(gateway.folder().join("portcullis.yaml"))
            .expect("text")
            .replace("audit: {}", "audit: { on_failure: closed }"),
    );
    let agent = Agent::modern(gateway.url());
    wait::expect("a refusal", || {
        agent.post("tools/call", json!({ "name": "s__echo", "arguments": {} })).send().status == 503
    });
}
