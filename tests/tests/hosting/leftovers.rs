//! What a gateway leaves behind that was killed, where the next one hosts nothing; and what leaves its session where there are no
//! control groups.

use std::fs;

use nix::sys::signal::Signal;
use portcullis_tests::gateway::{Gateway, Readiness};
use portcullis_tests::wait;
use serde_json::{Value, json};

use super::Stage;
use super::places::Place;
use portcullis_tests::agent::Agent;

/// A gateway before the hostile server, which has left a process behind that no group knows.
fn escaped(place: &Place, mark: &str) -> Stage {
    let server = place.server(&json!({}), &[("HOSTILE_MARK", mark)]);
    let config = json!({ "version": 1, "servers": { "s": server } });
    let gateway = Gateway::with(&config.to_string()).without_control_groups().until(Readiness::Listening);
    let gateway = gateway.start();
    let agent = Agent::modern(gateway.url());
    let stage = Stage { gateway, agent };
    let up = wait::until(wait::PATIENCE, || (!stage.agent.tools().is_empty()).then_some(()));
    assert!(up.is_some(), "{}", stage.gateway.log());
    stage.tries("daemonize", &json!({}));
    assert_eq!(place.alive(mark).len(), place.of_one() + 1, "{:?}", place.alive(mark));
    stage
}

fn ends(stage: &mut Stage, signal: Signal) {
    stage.gateway.process().signal(signal);
    let ended = wait::until(wait::PATIENCE, || stage.gateway.process().ended());
    assert!(ended.is_some(), "the gateway is gone");
}

fn nothing_is_left(place: &Place, mark: &str, log: &str) {
    let left = wait::until(wait::PATIENCE, || place.alive(mark).is_empty().then_some(()));
    assert!(left.is_some(), "{:?}{log}", place.alive(mark));
}

#[test]
fn what_leaves_its_session_ends_with_its_server_without_control_groups() {
    let place = Place::process();
    let mark = place.mark();
    let mut stage = escaped(&place, &mark);
    ends(&mut stage, Signal::SIGTERM);
    nothing_is_left(&place, &mark, &stage.gateway.log());
}

#[test]
fn what_leaves_its_session_is_swept_without_control_groups() {
    let place = Place::process();
    let mark = place.mark();
    let mut stage = escaped(&place, &mark);
    ends(&mut stage, Signal::SIGKILL);
    assert!(!place.alive(&mark).is_empty(), "it has outlived the gateway");
    stage.gateway.write("portcullis.yaml", &json!({ "version": 1, "servers": {} }).to_string());
    stage.gateway.restart();
    nothing_is_left(&place, &mark, &stage.gateway.log());
}

/// What is written of what runs.
fn written(stage: &Stage) -> Vec<Value> {
    let files =
        fs::read_dir(stage.gateway.data_dir().join("hosting/running")).into_iter().flatten().flatten();
    let read = files.filter_map(|file| serde_json::from_slice(&fs::read(file.path()).ok()?).ok());
    read.collect()
}

/// The next gateway hosts nothing, and is told of no engine.
fn is_swept_where_nothing_is_hosted(place: &Place) {
    let mark = place.mark();
    let mut stage = Stage::with(place, &json!({}), &[("HOSTILE_MARK", &mark)]);
    stage.tries("ignore_term", &json!({}));
    let before = written(&stage);
    ends(&mut stage, Signal::SIGKILL);
    stage.gateway.write("portcullis.yaml", &json!({ "version": 1, "servers": {} }).to_string());
    stage.gateway.restart_with("DOCKER_HOST", "unix:///absent.sock");
    nothing_is_left(place, &mark, &stage.gateway.log());
    let forgotten = wait::until(wait::PATIENCE, || written(&stage).is_empty().then_some(()));
    assert!(
        forgotten.is_some() && !before.is_empty(),
        "{before:?} {:?}{}",
        written(&stage),
        stage.gateway.log()
    );
}

#[test]
fn processes_are_swept_where_nothing_is_hosted() {
    is_swept_where_nothing_is_hosted(&Place::process());
}

#[test]
fn sandboxes_are_swept_where_nothing_is_hosted() {
    is_swept_where_nothing_is_hosted(&Place::bubblewrap());
}

#[test]
fn containers_of_podman_are_swept_where_nothing_is_hosted() {
    is_swept_where_nothing_is_hosted(&Place::podman());
}

#[test]
fn containers_of_docker_are_swept_where_nothing_is_hosted() {
    is_swept_where_nothing_is_hosted(&Place::docker());
}
