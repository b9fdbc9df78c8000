//! The Worker as a gateway that is governed, under traffic: what is pushed reaches it, stage by stage and back; it goes on with the
//! control plane killed; nothing that is forged or replayed is served; and nobody else says what it serves.

use portcullis_tests::between::Between;
use portcullis_tests::gateway::{Builder, Gateway, Host, Readiness};
use portcullis_tests::http::{Request, send_bytes};
use portcullis_tests::plane::{Plane, Traffic, sees, served, takes_nothing_forged};
use portcullis_tests::wait;
use serde_json::json;

const ADMIN: &str = "the Worker's admin key";

fn worker(plane: &Plane, url: &str, name: &str) -> Builder {
    plane.member_on(Host::Edge, url, name).governing().env("PORTCULLIS_ADMIN_KEY", ADMIN)
}

fn started(builder: Builder) -> Gateway {
    let worker = builder.start();
    sees(&worker, &["up"]);
    worker
}

#[test]
fn what_is_pushed_reaches_a_worker_a_function_and_a_machine_in_stages_and_back_and_no_call_is_lost() {
    let plane = Plane::start();
    let worker = started(worker(&plane, &plane.url(), "worker"));
    let function = started(plane.member_on(Host::Lambda, &plane.url(), "function"));
    let machine = plane.member("machine");
    let traffic = [&worker, &function, &machine].map(Traffic::through);
    plane.push(&["b", "up"]);
    for gateway in [&worker, &function, &machine] {
        sees(gateway, &["b", "up"]);
    }
    let stages = ["rollout", "--to", "worker", "--to", "function", "--to", "zone=test"];
    plane.does(&stages, "version 3 is for stage 1 of 3");
    plane.push(&["c", "up"]);
    sees(&worker, &["c", "up"]);
    assert_eq!(served(&function), ["b", "up"]);
    plane.does(&["promote"], "version 3 is for stage 2 of 3");
    sees(&function, &["c", "up"]);
    let is_told = |version: u64| {
        wait::expect("the Worker to tell of it", || {
            let known = plane.known("worker");
            known["state"] == "current" && known["version"] == version
        });
    };
    is_told(3);
    sees(&machine, &["b", "up"]);
    let known = plane.known("worker");
    assert_eq!((&known["host"], &known["labels"]["zone"]), (&json!("worker"), &json!("test")), "{known}");
    assert!(known["counts"].is_object() && known["rejected"].is_null(), "{known}");
    let servers = known["servers"].as_array().expect("it tells of its servers");
    assert!(servers.iter().any(|server| server["name"] == "up" && server["status"] == "up"), "{known}");
    plane.does(&["abort"], "version 2 is for all gateways again");
    sees(&worker, &["b", "up"]);
    sees(&function, &["b", "up"]);
    is_told(2);
    traffic.into_iter().for_each(Traffic::ends_without_loss);
}

#[test]
fn a_worker_goes_on_with_its_control_plane_killed_and_takes_nothing_from_others() {
    let mut plane = Plane::start();
    // Something is put into its store by hand as well.
    let builder = worker(&plane, &plane.url(), "worker").config_path("portcullis.yaml");
    let mut worker = started(builder);
    let calls = Traffic::through(&worker);
    plane.push(&["b", "up"]);
    sees(&worker, &["b", "up"]);
    plane.gateway.process().kill();
    wait::expect("the Worker to notice", || worker.log().contains("cannot be followed for now"));
    calls.goes_on();
    let pushed = Request::new("PUT", &worker.url_of("/admin/v1/config"))
        .header("Authorization", format!("Bearer {ADMIN}"))
        .header("Content-Type", "application/yaml")
        .header("If-Match", "*")
        .body("version: 1\n")
        .send();
    assert_eq!((pushed.status, &pushed.json()["code"]), (409, &json!("governed")));
    worker.write("portcullis.yaml", "version: 1\nservers: {}\n");
    wait::expect("what was put there to be refused", || {
        worker.log().contains("what was put into the store is refused")
    });
    assert_eq!(served(&worker), ["b", "up"]);
    calls.ends_without_loss();
    worker.crash();
    sees(&worker, &["b", "up"]);
    let calls = Traffic::through(&worker);
    plane.gateway.restart();
    plane.push(&["c", "up"]);
    sees(&worker, &["c", "up"]);
    calls.ends_without_loss();
}

#[test]
fn nothing_that_is_forged_or_replayed_is_served_by_a_worker() {
    let plane = Plane::start();
    let between = Between::before(plane.gateway.port());
    let worker = started(worker(&plane, &between.url(), "worker"));
    let calls = Traffic::through(&worker);
    let proven = takes_nothing_forged(&plane, &between, &worker, "worker");
    calls.ends_without_loss();
    // What it proved itself by counts no more, and its token was never sent.
    assert_eq!(send_bytes(&format!("127.0.0.1:{}", plane.gateway.port()), &proven).status, 401);
    let sent = |(request, _): &(Vec<u8>, Vec<u8>)| String::from_utf8_lossy(request).contains("pce_");
    assert!(!between.seen().iter().any(sent), "a token is not sent");
}

#[test]
fn a_version_that_a_worker_cannot_serve_is_refused_and_that_is_told() {
    let plane = Plane::start();
    // Strangers could come to it, and the configuration lets them in.
    let worker = worker(&plane, &plane.url(), "worker").env("PORTCULLIS_INSECURE", "").start();
    wait::expect("it to be told", || {
        Request::get(&worker.url_of("/healthz")).send();
        let known = plane.known("worker");
        known["state"] == "refused"
            && known["refused"].as_str().is_some_and(|why| why.contains("auth.required"))
    });
}

#[test]
fn a_worker_that_cannot_be_governed_serves_nothing() {
    let plane = Plane::start();
    let [without, plain] = [
        worker(&plane, &plane.url(), "without").without(&["RECORDS"]),
        plane.member_on(Host::Edge, &plane.url(), "plain"),
    ]
    .map(|builder| builder.until(Readiness::Answering).start());
    for (worker, why) in [(without, "needs the binding RECORDS"), (plain, "needs `FEATURES=control`")] {
        let answer = Request::post(worker.url()).json(&json!({})).send();
        assert_eq!(answer.status, 503);
        assert!(answer.text().contains(why));
    }
}
