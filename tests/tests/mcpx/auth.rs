//! The one key that all share: who has it is let in, and who is not is told in MCPX's words.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Builder, Gateway};
use portcullis_tests::http::Request;
use portcullis_tests::wait;
use serde_json::json;

use super::callers::{Caller, DOORS, OPEN, TAG, fixture, folder};

const KEY: &str = "open-sesame";

fn locked(auth: &str) -> Builder {
    folder(&json!({ "s": fixture() }), &format!("{OPEN}auth: {auth}\n")).env("AUTH_KEY", KEY)
}

/// What each of the paths for agents answers a request with these headers.
fn told(gateway: &Gateway, headers: &[(&str, &str)]) -> Vec<(u16, String)> {
    let agent = Agent::modern(gateway.url());
    let stream = || Request::get(&gateway.url_of("/sse")).header("Accept", "text/event-stream");
    let message = Request::post(&gateway.url_of("/messages?sessionId=x"));
    let requests =
        [agent.post("tools/list", json!({})), stream(), message.json(&json!({ "jsonrpc": "2.0", "id": 1 }))];
    let sent = requests.into_iter().map(|request| {
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let response = request.send();
        (response.status, if response.is_stream() { String::new() } else { response.text() })
    });
    sent.collect()
}

#[track_caller]
fn check_refused(gateway: &Gateway, headers: &[(&str, &str)], status: u16, text: &str) {
    for answered in told(gateway, headers) {
        assert_eq!(answered, (status, text.to_owned()), "{headers:?}");
    }
}

fn missing(gateway: &Gateway, headers: &[(&str, &str)]) {
    check_refused(gateway, headers, 401, "Unauthorized: API key required");
}

fn wrong(gateway: &Gateway, headers: &[(&str, &str)]) {
    check_refused(gateway, headers, 403, "Forbidden: Invalid API key");
}

#[test]
fn the_right_key_opens_every_door() {
    let gateway = locked("{ enabled: true }").start();
    for door in DOORS {
        let mut caller = Caller::of(&gateway, door, &[("x-lunar-api-key", KEY)], "somebody");
        assert!(caller.call("s__echo", &json!({})).is_ok(), "{door:?}");
    }
}

#[test]
fn a_missing_key_and_a_wrong_one_are_told_apart() {
    let gateway = locked("{ enabled: 'true' }").start();
    missing(&gateway, &[]);
    missing(&gateway, &[(TAG, "ops"), ("x-api-key", KEY)]);
    for other in ["open-sesam", "open-sesame2", "OPEN-SESAME", ""] {
        wrong(&gateway, &[("x-lunar-api-key", other)]);
    }
    let answer = Request::get(&gateway.url_of("/healthcheck")).send();
    assert_eq!(answer.status, 200, "it needs no key");
}

#[test]
fn the_header_can_be_another() {
    let gateway = locked("{ enabled: true, header: X-Team-Key }").start();
    for door in DOORS {
        let mut caller = Caller::of(&gateway, door, &[("x-team-key", KEY)], "somebody");
        assert!(caller.call("s__echo", &json!({})).is_ok(), "{door:?}");
    }
    missing(&gateway, &[("x-lunar-api-key", KEY)]);
    wrong(&gateway, &[("x-team-key", "other")]);
}

#[test]
fn switched_off_nobody_needs_a_key() {
    let gateway = locked("{ enabled: false }").start();
    for door in DOORS {
        assert_eq!(Caller::anybody(&gateway, door).servers(), ["s"], "{door:?}");
    }
    for (status, _) in told(&gateway, &[("x-lunar-api-key", "stale")]) {
        assert_eq!(status, 401, "a key that is sent is judged all the same");
    }
}

#[test]
fn the_switch_and_the_header_are_heeded_while_the_gateway_runs() {
    let gateway = locked("{ enabled: false }").start();
    let status = |headers: &[(&str, &str)]| told(&gateway, headers)[0].0;
    assert_eq!(status(&[]), 200);
    gateway.write("mcpx/app.yaml", &format!("{OPEN}auth: {{ enabled: true }}\n"));
    wait::expect("a key is asked for", || status(&[]) == 401);
    assert_eq!(status(&[("x-lunar-api-key", KEY)]), 200);
    gateway.write("mcpx/app.yaml", &format!("{OPEN}auth: {{ enabled: true, header: x-other }}\n"));
    wait::expect("the other header", || status(&[("x-other", KEY)]) == 200);
    missing(&gateway, &[("x-lunar-api-key", KEY)]);
    gateway.write("mcpx/app.yaml", OPEN);
    wait::expect("no key is asked for", || status(&[]) == 200);
}

#[test]
fn nothing_answers_without_the_key_but_whether_the_gateway_is_well() {
    let gateway = locked("{ enabled: true }").start();
    for (method, path) in [
        ("GET", "/ws-ui/?EIO=4&transport=polling"),
        ("GET", "/auth/mcpx"),
        ("POST", "/auth/mcpx"),
        ("DELETE", "/auth/mcpx"),
        ("GET", "/oauth/callback?code=x&state=y"),
        ("GET", "/system-state"),
        ("GET", "/app-config"),
        ("POST", "/admin/reload"),
        ("GET", "/metrics"),
        ("GET", "/mcp"),
        ("DELETE", "/mcp"),
        ("GET", "/mcp/servers/s"),
        ("GET", "/mcp/groups/g"),
    ] {
        let answer = Request::new(method, &gateway.url_of(path)).send();
        let (status, text) = (answer.status, answer.text());
        assert!(matches!(status, 401 | 403 | 404 | 405), "{method} {path}: {status} {text}");
    }
}
