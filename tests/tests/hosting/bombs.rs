//! Attack case 25 before hosted servers: whatever a server says is too much, the gateway stays small, and other servers answer.

use std::fs;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Readiness};
use portcullis_tests::http::Request;
use portcullis_tests::scenario::text;
use portcullis_tests::wait;
use serde_json::{Value, json};

use super::places::Place;

/// How much memory the gateway, or what speaks to a server for it, may ever have had, in MiB: a program that is not optimised,
/// while it holds some lists and a message at their limits.
const MOST: u64 = 600;

/// The most memory that a process ever had, in MiB.
fn peak(process: impl std::fmt::Display) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|size| size >> 10)
}

/// Servers in a place, beside one that is decent.
fn beside(place: &Place, bombs: Vec<(&str, Value)>) -> (Gateway, Agent) {
    let mut servers = json!({ "good": { "command": [portcullis_tests::hosting::hostile()] } });
    for (name, server) in bombs {
        servers[name] = server;
    }
    let config = json!({ "version": 1, "servers": servers }).to_string();
    let gateway = place.prepared(Gateway::with(&config)).until(Readiness::Listening).start();
    let agent = Agent::modern(gateway.url());
    wait::expect("the decent server", || agent.tools().contains(&"good__count".to_owned()));
    (gateway, agent)
}

fn ends_well(mut gateway: Gateway, agent: &Agent) {
    assert!(!text(&agent.call("good__count", &json!({}))).is_empty());
    let id = gateway.process().id();
    let peak = peak(id).expect("the gateway runs");
    assert!(peak < MOST, "the gateway had {peak} MiB");
}

fn lists_are_bounded(place: &Place) {
    let kinds = ["wide", "cyclic", "endless", "deep"];
    let bombs = kinds.map(|kind| (kind, place.server(&json!({}), &[("HOSTILE_BOMB", kind)])));
    let (gateway, agent) = beside(place, bombs.into());
    let ready = || Request::get(&gateway.url_of("/readyz")).send().json()["servers"].clone();
    let settled = || kinds.iter().all(|kind| ready()[kind]["status"] != "starting").then_some(());
    assert!(wait::until(4 * wait::PATIENCE, settled).is_some(), "{}", ready());
    let state = ready();
    let tools = |kind: &str| state[kind]["tools"].as_u64().unwrap_or_default();
    assert!(tools("wide") <= 100_000 && tools("endless") <= 100_000, "{state}");
    assert!((1..=2).contains(&tools("cyclic")), "{state}");
    assert_eq!(tools("deep"), 0, "{state}");
    ends_well(gateway, &agent);
}

fn answers_and_schemas_are_bounded(place: &Place) {
    let server = place.server(&json!({}), &[("HOSTILE_BOMB", "yes"), ("HOSTILE_TEXTS", "yes")]);
    let (gateway, agent) = beside(place, vec![("s", server)]);
    wait::expect("its tools", || agent.tools().contains(&"s__bomb".to_owned()));
    let answer = agent.post("tools/call", json!({ "name": "s__bomb", "arguments": {} })).send().text();
    assert!(
        answer.contains("[[[[[[[[") || answer.contains("nested too deeply"),
        "{}",
        &answer[..answer.len().min(300)]
    );
    // Patterns, cycles and what lies elsewhere: nobody follows them.
    let slow = "a".repeat(50_000) + "!";
    for tool in ["s__slow", "s__looping", "s__remote"] {
        if agent.tools().contains(&tool.to_owned()) {
            assert_eq!(text(&agent.call(tool, &json!({ "it": slow, "next": {} }))), "did nothing");
        }
    }
    ends_well(gateway, &agent);
}

/// What speaks HTTP to a server in there is bounded too.
fn answers_over_http_are_bounded(place: &Place) {
    let mut server = place.server(&json!({ "port": 8000 }), &[("HOSTILE_BOMB", "yes")]);
    server["command"] = json!([place.program(), "--http", "127.0.0.1:8000"]);
    server["timeout"] = json!("30s");
    let (gateway, agent) = beside(place, vec![("s", server)]);
    wait::expect("its tools", || agent.tools().contains(&"s__bomb".to_owned()));
    for kind in ["gzip", "endless", "deep"] {
        let params = json!({ "name": "s__bomb", "arguments": { "kind": kind } });
        let answer = agent.post("tools/call", params).send().text();
        let passed = kind == "deep" && answer.contains("[[[[[[[[");
        assert!(passed || answer.contains("\"error\""), "{kind}: {}", &answer[..answer.len().min(300)]);
    }
    let anew = || {
        let answer = agent.ask("tools/call", json!({ "name": "s__count", "arguments": {} }));
        answer["result"].is_object().then_some(())
    };
    assert!(wait::until(wait::PATIENCE, anew).is_some(), "{}", gateway.log());
    ends_well(gateway, &agent);
}

/// These tests in these places.
macro_rules! bombs {
    ($($place:ident: $($name:ident),+;)+) => {
        $(mod $place {
            $(#[test] fn $name() { super::$name(&super::Place::$place()); })+
        })+
    };
}

// Lists are long to read: once from a pipe, once from an engine.
bombs! {
    process: lists_are_bounded, answers_and_schemas_are_bounded;
    bubblewrap: answers_and_schemas_are_bounded, answers_over_http_are_bounded;
    podman: lists_are_bounded, answers_and_schemas_are_bounded, answers_over_http_are_bounded;
    docker: answers_and_schemas_are_bounded;
}
