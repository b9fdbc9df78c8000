//! Secrets in use: what servers are sent, how often the store is asked, and what a rotation, a refusal and a store that fails
//! come to.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future;
use http::{Method, header};

use super::{ask, modern_server, text};
use crate::config::{Config, Source, parse};
use crate::gateway::Gateway;
use crate::ports::Clock as _;
use crate::secrets::{Replacing, SecretName};
use crate::sorted::SortedMap;
use crate::testing::{ADMIN_KEY, Answer, Memory, gateway_with, json_answer, modern, post};
use crate::upstream::lock;

const TOKEN: &str = "prod/token";

/// A server that lets in who has the key that it has now, and tells who else came.
#[derive(Clone, Default)]
struct Lock(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    takes: String,
    /// The keys that requests came with since the last time.
    came: Vec<String>,
}

impl Lock {
    fn takes(&self, key: &str) {
        lock(&self.0).takes = key.to_owned();
    }

    /// Returns the keys that calls came with since the last time.
    fn came(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0).came)
    }

    fn answer(&self, request: &http::Request<Bytes>) -> Answer {
        let key = request.headers().get("x-key").map(|key| key.to_str().expect("ASCII").to_owned());
        let mut state = lock(&self.0);
        let is_in = key.as_deref() == Some(&state.takes);
        state.came.push(key.unwrap_or_else(|| "nothing".to_owned()));
        if is_in { modern_server(request) } else { json_answer(401, "who?") }
    }
}

struct Stage {
    host: Memory,
    lock: Lock,
    gateway: Gateway<Memory>,
}

fn config(servers: &str) -> Config {
    let text = format!("version: 1\nservers:\n{servers}");
    let parsed = parse(&[Source { path: "p.yaml".into(), text }], &|_| None);
    assert_eq!(parsed.problems, []);
    parsed.config
}

impl Stage {
    /// A gateway before one server that needs a key.
    fn new(key: Option<&str>) -> Self {
        let own = Lock::default();
        let answering = own.clone();
        let host = Memory::new(move |request| answering.answer(request));
        if let Some(key) = key {
            host.store().put_secret(TOKEN, key, Replacing::AtOnce);
            own.takes(&format!("k-{key}"));
        }
        let server =
            format!("  a: {{ url: http://a.test/mcp, headers: {{ X-Key: 'k-${{secret:{TOKEN}}}' }} }}\n");
        let servers = config(&server).servers;
        let gateway = gateway_with(&host, &[], Config::default());
        gateway.reload(Config { servers, ..Config::default() });
        Self { host, lock: own, gateway }
    }

    fn call(&self) -> String {
        ask(&self.host, &self.gateway, modern("1", "tools/call", r#""name":"a__echo""#))
    }

    /// Calls, and returns the keys that the server saw.
    fn keys_of_call(&self) -> Vec<String> {
        self.lock.came();
        let answer = self.call();
        assert!(answer.contains(r#""content":[]"#), "{answer}");
        self.lock.came()
    }

    fn put(&self, key: &str, replacing: Replacing) {
        self.host.store().put_secret(TOKEN, key, replacing);
    }

    fn wait(&self, minutes: u64) {
        self.host.run(self.host.sleep(std::time::Duration::from_mins(minutes)));
    }

    fn readiness(&self) -> String {
        let mut request = post("", &[]);
        (*request.method_mut(), *request.uri_mut()) = (Method::GET, http::Uri::from_static("/readyz"));
        ask(&self.host, &self.gateway, request)
    }

    fn administer(&self, method: Method, path: &str, body: &str) -> String {
        let bearer = format!("Bearer {ADMIN_KEY}");
        let mut request = post(body.to_owned(), &[]);
        *request.method_mut() = method;
        *request.uri_mut() = format!("/admin/v1/{path}").parse().expect("a path");
        request.headers_mut().insert(header::AUTHORIZATION, bearer.parse().expect("ASCII"));
        sorted_reply(&ask(&self.host, &self.gateway, request))
    }
}

/// The order of members is that of the build.
fn sorted_reply(reply: &str) -> String {
    let body = reply.find('{').map_or(reply.len(), |at| at);
    let json = serde_json::from_str(&reply[body..]).map(super::control::sorted);
    json.map_or_else(|_| reply.to_owned(), |json| format!("{}{json}", &reply[..body]))
}

#[test]
fn every_request_carries_the_value_and_the_store_is_asked_once() {
    let stage = Stage::new(Some("one"));
    assert_eq!(stage.keys_of_call().pop().as_deref(), Some("k-one"));
    let calls = (0..8).map(|_| async {
        text(Box::pin(stage.gateway.serve(modern("1", "tools/call", r#""name":"a__echo""#))).await).await
    });
    stage.lock.came();
    stage.host.run(future::join_all(calls));
    assert_eq!(stage.lock.came(), ["k-one"; 8]);
    assert_eq!(stage.host.store().secret_reads(), 1);
}

#[test]
fn of_many_who_need_an_old_value_one_asks_the_store() {
    let stage = Stage::new(Some("one"));
    stage.call();
    // Nothing else is asked meanwhile.
    stage.gateway.secrets_changed(&[SecretName::parse(TOKEN).expect("a name")]);
    stage.host.store().secret_reads();
    let calls = (0..8).map(|_| async {
        text(Box::pin(stage.gateway.serve(modern("1", "tools/call", r#""name":"a__echo""#))).await).await
    });
    stage.host.run(future::join_all(calls));
    assert_eq!(stage.host.store().secret_reads(), 1);
}

#[test]
fn a_refused_value_is_read_anew_and_the_call_sent_once_more() {
    let stage = Stage::new(Some("one"));
    stage.call();
    stage.put("two", Replacing::AtOnce);
    stage.lock.takes("k-two");
    assert_eq!(stage.keys_of_call(), ["k-one", "k-two"]);
    assert_eq!(stage.keys_of_call(), ["k-two"]);
}

#[test]
fn many_who_are_refused_ask_the_store_once() {
    let stage = Stage::new(Some("one"));
    stage.call();
    stage.put("two", Replacing::AtOnce);
    stage.lock.takes("k-two");
    stage.host.store().secret_reads();
    let calls = (0..8).map(|_| async {
        text(Box::pin(stage.gateway.serve(modern("1", "tools/call", r#""name":"a__echo""#))).await).await
    });
    let answers = stage.host.run(future::join_all(calls));
    assert!(answers.iter().all(|answer| answer.contains(r#""content":[]"#)), "{answers:?}");
    assert_eq!(stage.host.store().secret_reads(), 1);
}

#[test]
fn a_server_that_has_not_heard_of_a_rotation_gets_the_value_before() {
    let stage = Stage::new(Some("one"));
    stage.call();
    stage.put("two", Replacing::Rotating);
    stage.gateway.secrets_changed(&[SecretName::parse(TOKEN).expect("a name")]);
    assert_eq!(stage.keys_of_call(), ["k-two", "k-one"]);
    assert_eq!(stage.keys_of_call(), ["k-one"], "what it takes is remembered");
    stage.lock.takes("k-two");
    assert_eq!(stage.keys_of_call(), ["k-one", "k-two"], "until it takes what counts");
    assert_eq!(stage.keys_of_call(), ["k-two"]);
    // After the next change the value that counts is tried first again.
    stage.put("three", Replacing::Rotating);
    stage.gateway.secrets_changed(&[SecretName::parse(TOKEN).expect("a name")]);
    stage.lock.takes("k-three");
    assert_eq!(stage.keys_of_call(), ["k-three"]);
}

#[test]
fn a_server_that_takes_nothing_is_asked_twice_and_costs_the_store_little() {
    let stage = Stage::new(Some("one"));
    stage.call();
    stage.lock.takes("another");
    stage.host.store().secret_reads();
    stage.lock.came();
    for _ in 0..20 {
        assert!(stage.call().contains("asks for authorization (HTTP 401"), "{}", stage.call());
    }
    assert!(stage.lock.came().iter().all(|key| key == "k-one"));
    assert_eq!(stage.host.store().secret_reads(), 1);
}

#[test]
fn while_the_store_fails_the_last_value_counts_and_it_is_said() {
    let stage = Stage::new(Some("one"));
    stage.call();
    stage.host.store().fail(Some("is away"));
    stage.wait(6);
    assert_eq!(stage.keys_of_call(), ["k-one"]);
    let said = stage.readiness();
    assert!(said.contains("DEGRADED") && said.contains("the store of secrets is away"), "{said}");
    assert!(!said.contains("k-one"));
    stage.host.store().fail(None);
    stage.wait(6);
    stage.call();
    assert!(!stage.readiness().contains("is away"), "{}", stage.readiness());
}

#[test]
fn a_missing_secret_takes_down_its_own_server_alone() {
    let stage = Stage::new(None);
    let mut servers = config("  a: { url: http://a.test/mcp, auth: { bearer: { secret: none } } }\n").servers;
    servers.extend(config("  b: { url: http://b.test/mcp }\n").servers);
    stage.lock.takes("never");
    stage.gateway.reload(Config { servers, ..Config::default() });
    stage.wait(1);
    let states: SortedMap<_, _> = stage
        .gateway
        .readiness()
        .into_iter()
        .map(|one| (one.server, one.reason.unwrap_or_default()))
        .collect();
    insta::assert_snapshot!(states["a"], @r#"needs the secret "none", which is not set: `portcullis secrets set none`"#);
    assert!(stage.lock.came().iter().all(|key| key == "nothing"));
    assert!(states["b"].contains("401"), "{states:?}");
}

#[test]
fn what_is_set_is_in_force_at_once() {
    let stage = Stage::new(None);
    stage.lock.takes("k-one");
    assert!(stage.call().contains("-32602"), "the server is down");
    assert_eq!(stage.lock.came(), [""; 0], "nothing is sent without the secret");
    insta::assert_snapshot!(stage.administer(Method::PUT, "secrets/prod/token", r#"{"value":"one"}"#), @r#"200 application/json {"changed":"2027-01-15T08:00:00Z","created":"2027-01-15T08:00:00Z","has_previous":false,"name":"prod/token","used_by":["a"],"version":"1"}"#);
    stage.host.run(stage.host.sleep(std::time::Duration::from_millis(200)));
    assert!(stage.call().contains(r#""content":[]"#), "{}", stage.call());
    insta::assert_snapshot!(stage.administer(Method::PUT, "secrets/prod/token", r#"{"value":"two","rotate":true}"#), @r#"200 application/json {"changed":"2027-01-15T08:00:00Z","created":"2027-01-15T08:00:00Z","has_previous":true,"name":"prod/token","used_by":["a"],"version":"2"}"#);
    stage.lock.takes("k-two");
    assert_eq!(stage.keys_of_call(), ["k-two"]);
    insta::assert_snapshot!(stage.administer(Method::GET, "secrets", ""), @r#"200 application/json {"missing":[],"secrets":[{"changed":"2027-01-15T08:00:00Z","created":"2027-01-15T08:00:00Z","has_previous":true,"name":"prod/token","used_by":["a"],"version":"2"}]}"#);
    insta::assert_snapshot!(stage.administer(Method::DELETE, "secrets/prod/token", ""), @r#"200 application/json {"name":"prod/token","used_by":["a"]}"#);
    insta::assert_snapshot!(stage.call(), @r#"200 application/json {"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"server \"a\" needs the secret \"prod/token\", which is not set: `portcullis secrets set prod/token`"}}"#);
    insta::assert_snapshot!(stage.administer(Method::DELETE, "secrets/prod/token", ""), @r#"404 application/problem+json {"code":"no-secret","detail":"there is no secret \"prod/token\"","status":404,"title":"Not Found","type":"about:blank"}"#);
    insta::assert_snapshot!(stage.administer(Method::PUT, "secrets/a..b", r#"{"value":"x"}"#), @r#"400 application/problem+json {"code":"malformed","detail":"name: expected the name of a secret: 1 to 128 letters, digits, `_`, `-`, `.` and `/`, the first a letter or a digit, no `..`","errors":[{"field":"name","message":"expected the name of a secret: 1 to 128 letters, digits, `_`, `-`, `.` and `/`, the first a letter or a digit, no `..`"}],"status":400,"title":"Bad Request","type":"about:blank"}"#);
    insta::assert_snapshot!(stage.administer(Method::PUT, "secrets/new", r#"{"value":"x","rotate":true}"#), @r#"404 application/problem+json {"code":"no-secret","detail":"there is no secret \"new\"","status":404,"title":"Not Found","type":"about:blank"}"#);
    insta::assert_snapshot!(stage.administer(Method::GET, "secrets", ""), @r#"200 application/json {"missing":["prod/token"],"secrets":[]}"#);
}

#[test]
fn a_value_that_no_header_can_have_is_not_repeated() {
    let stage = Stage::new(Some("s3cret\nX-Admin: yes"));
    stage.wait(1);
    assert_eq!(stage.lock.came(), [""; 0]);
    let reason = stage.gateway.readiness().remove(0).reason.unwrap_or_default();
    insta::assert_snapshot!(reason, @r#"needs the secret "prod/token" in the header `x-key`, and its value has characters that a header cannot have"#);
}

#[test]
fn what_a_server_repeats_of_a_secret_is_taken_out() {
    let host = Memory::new(|request| {
        let key = request.headers()["x-key"].to_str().expect("ASCII").to_owned();
        match super::method_and_id(request) {
            (method, id) if method == "initialize" => json_answer(
                200,
                format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-1,"message":"{key} is no key of mine"}}}}"#
                ),
            ),
            _ => json_answer(404, "no"),
        }
    });
    host.store().put_secret("a", "hunter2-hunter2", Replacing::AtOnce);
    let gateway = gateway_with(&host, &[], Config::default());
    gateway.reload(config("  a: { url: http://a.test/mcp, headers: { X-Key: { secret: a } } }\n"));
    host.run(host.sleep(std::time::Duration::from_secs(1)));
    let reason = gateway.readiness().remove(0).reason.unwrap_or_default();
    insta::assert_snapshot!(reason, @"refused `initialize` with error -1: [redacted] is no key of mine");
}

#[test]
fn a_push_is_told_which_secrets_are_not_there() {
    let stage = Stage::new(Some("one"));
    let body = r#"{"files":{"portcullis.yaml":"version: 1\nservers:\n  a: { url: 'http://a.test/mcp', headers: { X: { secret: none }, Y: { secret: prod/token } } }\n"}}"#;
    insta::assert_snapshot!(stage.administer(Method::POST, "config/check", body), @r#"200 application/json {"problems":[{"column":58,"field":"servers.a.headers.X.secret","file":"portcullis.yaml","hint":"portcullis secrets set none","line":3,"message":"there is no secret \"none\" yet; the server is down until there is","severity":"warning"}],"valid":true}"#);
}
