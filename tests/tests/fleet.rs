//! A control plane and the gateways that it governs, under traffic: what is pushed reaches them, stage by stage and back;
//! whoever of them is killed, no call is lost elsewhere; and nothing that is forged or replayed is served.

use portcullis_tests::between::Between;
use portcullis_tests::http::send_bytes;
use portcullis_tests::plane::{Plane, Traffic, asks, given, sees, served};
use portcullis_tests::wait;

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
    let (proven, first) = given(&between);
    plane.push(&["b", "up"]);
    sees(&member, &["b", "up"]);
    let rejects = |why: &str| {
        wait::expect(why, || plane.known("one")["rejected"].as_str().is_some_and(|said| said.contains(why)));
        assert_eq!(served(&member), ["b", "up"]);
    };
    between.changing(move |request, answer| {
        if asks(request) {
            answer.clone_from(&first);
        }
    });
    plane.push(&["c", "up"]);
    rejects("is older than what is in force");
    between.changing(|request, answer| {
        let text = String::from_utf8_lossy(answer).replace("127.0.0.1", "127.0.0.9");
        if asks(request) {
            *answer = text.into_bytes();
        }
    });
    rejects("is not signed by the control plane's key");
    between.passing();
    sees(&member, &["c", "up"]);
    wait::expect("nothing to be rejected", || plane.known("one")["rejected"].is_null());
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
