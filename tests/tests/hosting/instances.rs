//! Who shares an instance of a hosted server, how long it stays, and what the commands say of it; servers that answer over
//! HTTP.

use nix::sys::signal::Signal;
use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::gateway::{Gateway, Readiness};
use portcullis_tests::scenario::text;
use portcullis_tests::wait;
use serde_json::{Value, json};

use super::places::Place;
use super::{Stage, number};

/// The answers to two calls of `count`, for whoever has each key.
fn counts(gateway: &Gateway, keys: &[&str]) -> Vec<String> {
    let count = |key: &&str| {
        let agent = Agent::modern(gateway.url()).bearer(key);
        let known = || agent.ask("ping", json!({}))["error"]["code"] != -32600;
        assert!(wait::until(wait::PATIENCE, || known().then_some(())).is_some(), "the key is known");
        text(&agent.call("s__count", &json!({}))).split(' ').next().unwrap_or_default().to_owned()
    };
    keys.iter().map(count).collect()
}

fn key(gateway: &Gateway, agent: &str) -> String {
    let made = gateway.cli(&["keys", "create", "--agent", agent, "--json"]);
    let made: Value =
        serde_json::from_str(&made.stdout).unwrap_or_else(|_| panic!("{}{}", made.stdout, made.stderr));
    made["key"].as_str().expect("a key").to_owned()
}

#[test]
fn each_identity_has_an_instance_of_its_own() {
    let server = Place::bubblewrap().server(&json!({ "per": "identity" }), &[]);
    let agents = json!({ "a": { "match": [{ "api_key": "a" }], "allow": ["*"] } });
    let config = json!({ "version": 1, "servers": { "s": server }, "agents": agents });
    let gateway = Gateway::start(&config.to_string());
    let (one, other) = (key(&gateway, "a"), key(&gateway, "a"));
    let counted = counts(&gateway, &[&one, &one, &other, &one, &other]);
    assert_eq!(counted, ["1", "2", "1", "3", "2"], "{}", gateway.log());
}

#[test]
fn each_agent_has_an_instance_of_its_own() {
    let server = Place::bubblewrap().server(&json!({ "per": "agent" }), &[]);
    let told = |key: &str| json!({ "match": [{ "api_key": key }], "allow": ["*"] });
    let agents = json!({ "a": told("a"), "b": told("b") });
    let config = json!({ "version": 1, "servers": { "s": server }, "agents": agents });
    let gateway = Gateway::start(&config.to_string());
    let (one, same, other) = (key(&gateway, "a"), key(&gateway, "a"), key(&gateway, "b"));
    let counted = counts(&gateway, &[&one, &same, &other, &one, &other]);
    assert_eq!(counted, ["1", "2", "1", "3", "2"], "{}", gateway.log());
    // Sessions of one agent meet in its instance too.
    let session = |key: &str| {
        let agent = Agent::modern(gateway.url()).bearer(key).handshake(LEGACY);
        number(text(&agent.call("s__count", &json!({}))), "")
    };
    assert_eq!((session(&one), session(&same), session(&other)), (4, 5, 3), "{}", gateway.log());
}

#[test]
fn what_nobody_needs_rests_until_it_is_needed() {
    let place = Place::bubblewrap();
    let mark = place.mark();
    let server = place.server(&json!({ "idle": "1s" }), &[("HOSTILE_MARK", &mark)]);
    let gateway = Gateway::start(&json!({ "version": 1, "servers": { "s": server } }).to_string());
    let agent = Agent::modern(gateway.url());
    let count = || number(text(&agent.call("s__count", &json!({}))), "");
    assert_eq!(count(), 1);
    let rests = wait::until(wait::PATIENCE, || place.alive(&mark).is_empty().then_some(()));
    assert!(rests.is_some(), "{}", gateway.log());
    // It is known what it offers, and nothing is started for that.
    assert!(agent.tools().contains(&"s__count".to_owned()));
    assert!(place.alive(&mark).is_empty());
    assert_eq!(count(), 1);
    // A call that runs keeps it.
    assert!(!text(&agent.call("s__wait", &json!({ "seconds": 3 }))).is_empty());
    assert_eq!(count(), 2);
}

#[test]
fn a_server_that_is_slow_to_start_has_its_own_deadline() {
    let slow = Place::bubblewrap().server(&json!({ "start": "1s" }), &[("HOSTILE_START", "60000")]);
    let gateway = Gateway::with(&json!({ "version": 1, "servers": { "s": slow } }).to_string());
    let gateway = gateway.until(Readiness::Listening).start();
    let down =
        wait::until(wait::PATIENCE, || gateway.log().contains("did not answer within 1 s").then_some(()));
    assert!(down.is_some(), "{}", gateway.log());
}

#[test]
fn spares_wait_for_whoever_needs_one() {
    let place = Place::bubblewrap();
    let mark = place.mark();
    let server = place.server(&json!({ "per": "identity", "spares": 2 }), &[("HOSTILE_MARK", &mark)]);
    let agents = json!({ "a": { "match": [{ "api_key": "a" }], "allow": ["*"] } });
    let config = json!({ "version": 1, "servers": { "s": server }, "agents": agents });
    let mut gateway = Gateway::start(&config.to_string());
    let has = |servers: usize| {
        let there = || (place.alive(&mark).len() == servers * place.of_one()).then_some(());
        assert!(wait::until(wait::PATIENCE, there).is_some(), "{:?}", place.alive(&mark));
    };
    has(0);
    let one = key(&gateway, "a");
    assert_eq!(counts(&gateway, &[&one, &one]), ["1", "2"]);
    has(3);
    let before = started(&gateway);
    let other = key(&gateway, "a");
    assert_eq!(counts(&gateway, &[&other, &one]), ["1", "3"]);
    has(4);
    // The one that was taken was there before, and another took its place.
    assert_eq!(started(&gateway), before + 1, "{}", gateway.log());
    gateway.process().signal(Signal::SIGTERM);
    has(0);
}

fn started(gateway: &Gateway) -> usize {
    gateway.log().matches("process started").count()
}

/// What the commands about hosted servers say of one, and what they do to it.
fn commands_know_what_runs(place: &Place) {
    let stage = Stage::at(place, &json!({}));
    let run = |arguments: &[&str]| stage.gateway.cli(&[&["host"], arguments].concat());
    let listed = |command: &str| -> Vec<Value> {
        let ran = run(&[command, "--json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}{}", ran.stdout, ran.stderr))
    };
    let running = listed("list");
    assert_eq!(running.len(), 1, "{running:?}");
    assert_eq!(running[0]["server"], "s");
    let used = &listed("stats")[0];
    assert!(used["memory"].as_u64().is_some_and(|memory| memory > 100_000), "{used}");
    assert!(used["processes"].as_u64().is_some_and(|processes| processes > 0), "{used}");
    assert!(run(&["logs", "s"]).stdout.contains("hostile: up"));
    let count = || number(&stage.tries("count", &json!({})), "");
    assert_eq!((count(), count()), (1, 2));
    let stopped = run(&["stop", "s"]);
    assert!(stopped.stderr.contains("1 instance of s ended"), "{}", stopped.stderr);
    // It is another one by now, or there is none yet.
    let anew = wait::until(wait::PATIENCE, || {
        let params = json!({ "name": "s__count", "arguments": {} });
        let answer = stage.agent.ask("tools/call", params);
        (answer["result"].is_object() && number(text(&answer["result"]), "") == 1).then_some(())
    });
    assert!(anew.is_some(), "{}", stage.gateway.log());
    assert!(run(&["rm", "s"]).stderr.contains("what it said is forgotten"));
    assert_eq!(run(&["stop", "absent"]).code(), Some(1));
}

#[test]
fn commands_know_processes() {
    commands_know_what_runs(&Place::bubblewrap());
}

#[test]
fn commands_know_containers() {
    commands_know_what_runs(&Place::podman());
}

/// A server that answers over HTTP, in a network that nobody else is in.
fn http_is_spoken_inside(place: &Place) {
    let mut server = place.server(&json!({ "port": 8000 }), &[]);
    server["command"] = json!([place.program(), "--http", "127.0.0.1:8000"]);
    let gateway =
        place.prepared(Gateway::with(&json!({ "version": 1, "servers": { "s": server } }).to_string()));
    let gateway = gateway.start();
    let agent = Agent::modern(gateway.url());
    // Nobody waits long for one that is slow to start.
    let up = wait::until(wait::PATIENCE, || (!agent.tools().is_empty()).then_some(()));
    assert!(up.is_some(), "{}", gateway.log());
    let count = || number(text(&agent.call("s__count", &json!({}))), "");
    assert_eq!((count(), count()), (1, 2), "{}", gateway.log());
    let seen = text(&agent.call("s__view", &json!({}))).to_owned();
    assert!(seen.contains("interfaces: lo\n"), "{seen}");
    let params = json!({ "name": "s__crash", "arguments": { "code": 3 } });
    agent.error("tools/call", params);
    let anew = wait::until(wait::PATIENCE, || {
        let answer = agent.ask("tools/call", json!({ "name": "s__count", "arguments": {} }));
        (answer["result"].is_object() && number(text(&answer["result"]), "") == 1).then_some(())
    });
    assert!(anew.is_some(), "{}", gateway.log());
}

#[test]
fn http_is_spoken_in_a_sandbox() {
    http_is_spoken_inside(&Place::bubblewrap());
}

#[test]
fn http_is_spoken_in_a_container() {
    http_is_spoken_inside(&Place::podman());
}
