//! A control plane and the gateways that it governs, under traffic: what is pushed reaches them, stage by stage and back;
//! whoever of them is killed, no call is lost elsewhere; and nothing that is forged or replayed is served.

use std::collections::BTreeSet;

use portcullis_tests::agent::Agent;
use portcullis_tests::between::Between;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::send_bytes;
use portcullis_tests::plane::{Plane, Traffic, sees, served, takes_nothing_forged};
use portcullis_tests::wait;
use serde_json::{Value, json};

#[test]
fn what_is_pushed_goes_out_in_stages_and_back_and_no_call_is_lost() {
    let plane = Plane::start();
    let (canary, other) = (plane.member("canary"), plane.member("other"));
    let traffic = [&canary, &other].map(Traffic::through);
    plane.push(&["b", "up"]);
    sees(&canary, &["b", "up"]);
    sees(&other, &["b", "up"]);
    plane.does(&["rollout", "--to", "canary", "--note", "try it"], "version 3 is for stage 1 of 1");
    plane.push(&["c", "up"]);
    sees(&canary, &["c", "up"]);
    wait::expect("the canary to tell of it", || plane.known("canary")["version"] == 3);
    assert_eq!(plane.known("other")["wanted"], 2);
    assert_eq!(served(&other), ["b", "up"]);
    plane.does(&["abort"], "version 2 is for all gateways again");
    sees(&canary, &["b", "up"]);
    assert_eq!(plane.cli(&["promote"]).code(), Some(1), "no rollout is open");
    plane.does(&["rollout", "--to", "zone=none", "--to", "zone=test", "--version", "3"], "stage 1 of 2");
    plane.does(&["promote"], "version 3 is for stage 2 of 2");
    sees(&canary, &["c", "up"]);
    sees(&other, &["c", "up"]);
    plane.does(&["promote"], "version 3 is for all gateways");
    wait::expect("both to tell how they are", || {
        ["canary", "other"].iter().all(|name| {
            let known = plane.known(name);
            known["state"] == "current" && known["counts"]["requests"].as_u64() > Some(3)
        })
    });
    let table = plane.cli(&["list"]);
    assert!(table.stdout.contains("canary") && table.stdout.contains("zone=test"), "{}", table.stdout);
    traffic.into_iter().for_each(Traffic::ends_without_loss);
}

/// What an agent sees of the server under its names.
fn seen_by(gateway: &Gateway, client: &str) -> Vec<String> {
    let tools = Agent::modern(gateway.url()).named(client).tools();
    tools.iter().filter_map(|tool| tool.strip_suffix("__echo")).map(str::to_owned).collect()
}

#[test]
fn some_agents_have_a_version_before_all_others() {
    let plane = Plane::start();
    let (canary, other) = (plane.member("canary"), plane.member("other"));
    let push = |names: &[&str], reader: &[&str]| {
        let reader = json!({ "match": [{ "client": "Reader" }], "allow": reader });
        plane.push_with(names, Some(json!({ "reader": reader, "default": { "allow": ["*"] } })));
    };
    let waits = |gateway: &Gateway, reader: &[&str], others: &[&str]| {
        wait::expect(&format!("{reader:?} for the reader, {others:?} for others"), || {
            seen_by(gateway, "Reader") == reader && served(gateway) == others
        });
    };
    push(&["b", "up"], &["b"]);
    waits(&canary, &["b"], &["b", "up"]);
    waits(&other, &["b"], &["b", "up"]);
    let traffic = [&canary, &other].map(Traffic::through);
    plane.does(&["rollout", "--to", "agent:reader", "--to", "canary"], "is for stage 1 of 2");
    push(&["c", "up"], &["c", "up"]);
    // A server that is new is theirs alone; what is gone is gone for them.
    waits(&canary, &["c", "up"], &["b", "up"]);
    waits(&other, &["c", "up"], &["b", "up"]);
    plane.does(&["promote"], "is for stage 2 of 2");
    waits(&canary, &["c", "up"], &["c", "up"]);
    waits(&other, &["c", "up"], &["b", "up"]);
    plane.does(&["abort"], "is for all gateways again");
    waits(&canary, &["b"], &["b", "up"]);
    waits(&other, &["b"], &["b", "up"]);
    traffic.into_iter().for_each(Traffic::ends_without_loss);
}

#[test]
fn whoever_is_killed_the_others_go_on() {
    let mut plane = Plane::start();
    let (mut first, other) = (plane.member("first"), plane.member("other"));
    let calls = Traffic::through(&other);
    plane.gateway.process().kill();
    calls.goes_on();
    first.restart();
    assert_eq!(served(&first), ["up"], "it begins with what it was given last");
    plane.gateway.restart();
    plane.push(&["b", "up"]);
    sees(&other, &["b", "up"]);
    sees(&first, &["b", "up"]);
    first.process().kill();
    plane.push(&["c", "up"]);
    sees(&other, &["c", "up"]);
    calls.goes_on();
    first.restart();
    sees(&first, &["c", "up"]);
    plane.does(&["remove", "first"], "the gateway first is removed");
    plane.push(&["d", "up"]);
    sees(&other, &["d", "up"]);
    wait::expect("the removed one to be told", || first.log().contains("this is no gateway of the fleet"));
    assert_eq!(served(&first), ["c", "up"], "it goes on with what it has");
    calls.ends_without_loss();
}

#[test]
fn nothing_that_is_forged_or_replayed_is_served() {
    let plane = Plane::start();
    let between = Between::before(plane.gateway.port());
    let member = plane.member_at(&between.url(), "one");
    let calls = Traffic::through(&member);
    let proven = takes_nothing_forged(&plane, &between, &member, "one");
    calls.ends_without_loss();
    // What it proved itself by counts no more, and neither does its token.
    let again = send_bytes(&format!("127.0.0.1:{}", plane.gateway.port()), &proven);
    assert_eq!(again.status, 401);
    let elsewhere = member.folder().join("elsewhere").display().to_string();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &elsewhere, "--control", &plane.url()];
    let ran = member.cli(&arguments);
    assert_eq!(ran.code(), Some(1), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("the enrolment token is not valid, or no longer"), "{}", ran.stderr);
    let token = String::from_utf8_lossy(&proven).contains("pce_");
    assert!(!token, "a token is not sent");
}

/// What the control plane has of a gateway's trail, line by line.
fn forwarded(plane: &Plane, name: &str) -> Vec<String> {
    let ran = plane.gateway.cli(&["audit", "export", "--url", &plane.url(), "--gateway", name]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    ran.stdout.lines().map(str::to_owned).collect()
}

/// What a gateway has recorded itself.
fn recorded(gateway: &Gateway) -> Vec<String> {
    let ran = gateway.cli(&["audit", "export"]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    ran.stdout.lines().map(str::to_owned).collect()
}

/// Calls a tool that often.
fn calls(gateway: &Gateway, many: usize) {
    let agent = Agent::modern(gateway.url());
    for _ in 0..many {
        agent.call("up__echo", &json!({ "text": "hi" }));
    }
}

/// Waits for the control plane to have every line of a gateway's trail, and each once.
fn has_all(plane: &Plane, name: &str, gateway: &Gateway) {
    wait::expect(&format!("the trail of {name}"), || {
        let (there, here) = (forwarded(plane, name), recorded(gateway));
        assert!(there.len() <= here.len(), "nothing comes twice");
        there == here
    });
}

/// Every entry that the control plane shows, page by page.
fn shown(plane: &Plane, order: &str) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = plane.ask("GET", &format!("audit?limit=7&order={order}{cursor}"), &[], "");
        let gateways = page["gateways"].as_array().cloned().unwrap_or_default();
        let entries = page["entries"].as_array().cloned().unwrap_or_default();
        for (at, entry) in entries.iter().enumerate() {
            let of = gateways.get(at).and_then(Value::as_str).filter(|name| !name.is_empty()).unwrap_or("-");
            all.push(format!("{of} {} {}", entry["id"], entry["method"]));
        }
        let Some(next) = page["cursor"].as_str() else { return all };
        cursor = format!("&cursor={next}");
    }
}

#[test]
fn what_gateways_record_is_read_at_their_control_plane_and_outlives_either() {
    let mut plane = Plane::start();
    let (mut one, other) = (plane.member("one"), plane.member("other"));
    calls(&one, 5);
    calls(&other, 3);
    has_all(&plane, "one", &one);
    plane.gateway.process().kill();
    calls(&one, 4);
    plane.gateway.restart();
    let called = |line: &&String| line.contains("tools/call");
    wait::expect("the calls to be written", || recorded(&one).iter().filter(called).count() == 9);
    one.process().kill();
    one.restart();
    calls(&one, 2);
    has_all(&plane, "one", &one);
    has_all(&plane, "other", &other);

    let verdicts = plane.ask("GET", "audit/verify", &[], "");
    let writers = verdicts["writers"].as_array().cloned().unwrap_or_default();
    let last = |name: &str| {
        let own = |writer: &&Value| writer["writer"].as_str().is_some_and(|writer| writer.starts_with(name));
        writers.iter().find(own).map(|writer| (writer["whole"].clone(), writer["last"].clone()))
    };
    assert_eq!(writers.len(), 3, "{verdicts}");
    for (name, gateway) in [("one ", &one), ("other ", &other)] {
        assert_eq!(last(name), Some((true.into(), recorded(gateway).len().into())), "{verdicts}");
    }
    let statistics = plane.ask("GET", "statistics", &[], "");
    let counted = |name: &str| {
        let all = statistics["gateways"].as_array().cloned().unwrap_or_default();
        all.iter().find(|one| one["name"] == name).map_or(Value::Null, |one| one["calls"].clone())
    };
    assert_eq!((counted("one"), counted("other")), (11.into(), 3.into()), "{statistics}");
    assert_eq!(statistics["agents"][0]["calls"], 14, "{statistics}");

    // However it is read, each entry comes once.
    let (newest, oldest) = (shown(&plane, "newest"), shown(&plane, "oldest"));
    let distinct: BTreeSet<_> = newest.iter().collect();
    assert_eq!(distinct.len(), newest.len());
    assert_eq!(distinct, oldest.iter().collect());
    assert!(newest.iter().any(|line| line.starts_with("- ")), "its own ones too");
    assert_eq!(newest.iter().filter(|line| line.starts_with("one ")).count(), recorded(&one).len());
    let found = plane.ask("GET", "audit?gateway=other&method=tools%2Fcall", &[], "");
    assert_eq!(found["entries"].as_array().map(Vec::len), Some(3), "{found}");
}
