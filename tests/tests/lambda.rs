//! The function behind what stands for its platform: environments that freeze, end and answer in turn, answers that stream
//! or come whole, and time that is over.

use std::fs;

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::gateway::{Builder, Gateway, Host, Readiness};
use portcullis_tests::http::{Request, Response};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait;
use serde_json::{Value, json};

/// A function before a fixture server of this era; its environments share nothing.
fn alone(era: &str) -> (Builder, Upstream) {
    let upstream = Upstream::fixture(&["--era", era]);
    let config = format!("version: 1\nservers:\n  s: {{ url: '{}' }}\n", upstream.url());
    (Gateway::with(&config).on(Host::Lambda).sharing(""), upstream)
}

/// What the platform tells of the function's environments.
fn environments(gateway: &Gateway) -> Vec<Value> {
    let told = Request::get(&gateway.url_of("/.function/environments")).send().json();
    told.as_array().expect("a list").clone()
}

fn kill_all(gateway: &Gateway) {
    Request::post(&gateway.url_of("/.function/kill")).send();
}

/// Waits until every environment is stopped, and asserts that the kernel says so too.
fn await_freeze(gateway: &Gateway) {
    wait::expect("all environments to be frozen", || {
        environments(gateway).iter().all(|environment| environment["stopped"] == true)
    });
    for environment in environments(gateway) {
        let status =
            fs::read_to_string(format!("/proc/{}/status", environment["process"])).expect("a process");
        assert!(status.contains("State:\tT"), "{status}");
    }
}

fn listen(gateway: &Gateway) -> Response {
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    Agent::modern(gateway.url()).post("subscriptions/listen", wanted).send()
}

/// A call that says that it has begun, and then nothing for so long.
fn sleep(agent: &Agent, ms: u64) -> Response {
    let params = json!({ "name": "s__sleep", "arguments": { "ms": ms }, "_meta": { "progressToken": "p" } });
    agent.post("tools/call", params).send()
}

#[test]
fn an_environment_is_frozen_between_requests_and_goes_on() {
    let (function, _upstream) = alone("modern");
    let gateway = function.start();
    let agent = Agent::modern(gateway.url());
    for number in 0..3 {
        await_freeze(&gateway);
        assert_eq!(
            agent.call("s__echo", &json!({ "n": number }))["structuredContent"],
            json!({ "n": number })
        );
    }
    let [only] = &environments(&gateway)[..] else { panic!("{:?}", environments(&gateway)) };
    assert_eq!(only["extension"], true);
}

#[test]
fn requests_at_the_same_time_are_answered_by_as_many_environments() {
    let (function, _upstream) = alone("modern");
    let gateway = function.start();
    let listening: Vec<_> = (0..3).map(|_| listen(&gateway)).collect();
    assert!(Agent::modern(gateway.url()).tools().contains(&"s__echo".to_owned()));
    assert!(environments(&gateway).len() >= 4, "{:?}", environments(&gateway));
    drop(listening);
}

#[test]
fn two_environments_serve_one_client_in_turn() {
    let (function, _upstream) = alone("legacy");
    let gateway = function.of_function("environments", json!(2)).start();
    let (modern, legacy) = (Agent::modern(gateway.url()), Agent::modern(gateway.url()).handshake(LEGACY));
    for _ in 0..4 {
        assert!(modern.tools().contains(&"s__echo".to_owned()));
        assert_eq!(legacy.call("s__echo", &json!({ "n": 1 }))["structuredContent"], json!({ "n": 1 }));
    }
    let served: Vec<_> = environments(&gateway).iter().map(|told| told["requests"].as_u64()).collect();
    // A third may have been started while one of the two was about to be ready.
    let turns = served.iter().filter(|count| count.is_some_and(|count| count > 1)).count();
    assert!(turns >= 2, "{served:?}");
}

#[test]
fn what_dies_between_two_requests_is_missed_by_nobody() {
    let (function, _upstream) = alone("legacy");
    let gateway = function.start();
    let (modern, legacy) = (Agent::modern(gateway.url()), Agent::modern(gateway.url()).handshake(LEGACY));
    for _ in 0..2 {
        kill_all(&gateway);
        assert!(modern.tools().contains(&"s__echo".to_owned()));
        kill_all(&gateway);
        assert_eq!(legacy.call("s__echo", &json!({ "n": 1 }))["structuredContent"], json!({ "n": 1 }));
    }
}

#[test]
fn who_listens_hears_a_graceful_end_before_the_functions_time_is_over() {
    let (function, _upstream) = alone("modern");
    let gateway = function.of_function("timeout", json!(6000)).start();
    let messages = listen(&gateway).messages();
    let last = messages.last().expect("a graceful end");
    assert_eq!(last["result"]["resultType"], "complete", "{messages:?}");
    assert!(!gateway.log().contains("timed out"), "{}", gateway.log());
    await_freeze(&gateway);
}

#[test]
fn a_call_that_is_not_answered_in_time_ends_with_an_error() {
    let (function, _upstream) = alone("modern");
    let gateway = function.of_function("timeout", json!(6000)).start();
    let agent = Agent::modern(gateway.url());
    let late = agent.post("tools/call", json!({ "name": "s__sleep", "arguments": { "ms": 60_000 } })).send();
    assert_eq!(late.status, 504);
    assert!(late.text().contains("ends the request"));
    let streaming = sleep(&agent, 60_000);
    assert!(streaming.is_stream());
    let messages = streaming.messages();
    let last = messages.last().expect("an end");
    assert!(
        last["error"]["message"].as_str().is_some_and(|why| why.contains("ends the request")),
        "{messages:?}"
    );
    assert!(!gateway.log().contains("timed out"), "{}", gateway.log());
}

#[test]
fn a_crash_in_the_middle_of_an_answer_is_no_clean_end() {
    let (function, _upstream) = alone("modern");
    let gateway = function.start();
    let streaming = sleep(&Agent::modern(gateway.url()), 60_000);
    assert!(streaming.is_stream());
    kill_all(&gateway);
    assert!(streaming.try_text().is_err(), "it broke off");
    assert!(Agent::modern(gateway.url()).tools().contains(&"s__echo".to_owned()));
}

#[test]
fn where_answers_come_whole_nothing_that_streams_is_offered() {
    let (function, _upstream) = alone("modern");
    let gateway = function.of_function("front", json!("http-api")).start();
    let agent = Agent::modern(gateway.url());
    let capabilities = &agent.result("server/discover", json!({}))["capabilities"];
    assert_eq!(capabilities["tools"], json!({}), "{capabilities}");
    let answer = sleep(&agent, 1);
    assert!(!answer.is_stream() && answer.status == 200);
    assert!(answer.json()["result"]["content"].is_array());
    assert_eq!(listen(&gateway).status, 404);
    let session = agent.handshake(LEGACY);
    let id = session.session().expect("a session").to_owned();
    let stream =
        Request::get(gateway.url()).header("Accept", "text/event-stream").header("Mcp-Session-Id", &id);
    assert_eq!(stream.send().status, 405);
    assert!(session.tools().contains(&"s__echo".to_owned()));
}

#[test]
fn a_large_answer_streams_and_comes_whole_as_well() {
    for (front, largest) in [("url", 8 << 20), ("http-api", 2 << 20)] {
        let (function, _upstream) = alone("modern");
        let gateway = function.of_function("front", json!(front)).start();
        let text = "x".repeat(largest / 4);
        let echoed = Agent::modern(gateway.url()).call("s__echo", &json!({ "text": text }));
        assert_eq!(echoed["structuredContent"]["text"].as_str().map(str::len), Some(text.len()), "{front}");
    }
}

#[test]
fn an_environment_answers_several_at_a_time_where_the_platform_has_it_so() {
    let (function, _upstream) = alone("modern");
    let gateway = function.of_function("at_a_time", json!(4)).of_function("extensions", json!(false)).start();
    let listening: Vec<_> = (0..3).map(|_| listen(&gateway)).collect();
    assert!(Agent::modern(gateway.url()).tools().contains(&"s__echo".to_owned()));
    assert_eq!(environments(&gateway).len(), 1, "{:?}", environments(&gateway));
    drop(listening);
}

#[test]
fn without_an_extension_it_says_what_that_means_and_serves() {
    let (function, _upstream) = alone("modern");
    let gateway = function.of_function("extensions", json!(false)).start();
    assert!(Agent::modern(gateway.url()).tools().contains(&"s__echo".to_owned()));
    assert!(gateway.log().contains("there is no extension here"), "{}", gateway.log());
    await_freeze(&gateway);
}

#[test]
fn settings_that_are_wrong_are_reported_to_the_platform() {
    let config = "version: 1\nservers: {}\n";
    let function = Gateway::with(config).on(Host::Lambda).sharing("").env("PORTCULLIS_SEAL_KEY", "x");
    let gateway = function.until(Readiness::Answering).start();
    assert_eq!(Request::get(&gateway.url_of("/healthz")).send().status, 502);
    assert!(gateway.log().contains("expected base64 of 32 bytes"), "{}", gateway.log());
}

#[test]
fn a_configuration_that_cannot_be_served_is_told_to_whoever_asks() {
    let function = Gateway::with("version: 1\nservers: []\n").on(Host::Lambda).sharing("");
    let gateway = function.until(Readiness::Answering).start();
    let answer = Request::get(&gateway.url_of("/healthz")).send();
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("portcullis.yaml"));
}
