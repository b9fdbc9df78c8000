//! Who is let in, and that what one caller was given serves no other.

use std::sync::Arc;

use http::{HeaderName, Method, header};

use super::{methods, modern_server, text};
use crate::body::{Body, Reply};
use crate::config::{Agent, Auth, Config, Dialect, Match, Origin, Policy};
use crate::gateway::Gateway;
use crate::identity::{KeyHash, KeyRecord, KeyRing};
use crate::testing::{Memory, gateway_with, key, modern, post};
use crate::wire::http as names;

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"claude-code","version":"1"}}}"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

/// An agent that may do everything, and one that may do nothing.
fn policy() -> Policy {
    let everything = Agent::allowing_everything();
    let coder = Agent { name: "coder".into(), ..everything.clone() };
    let claude =
        Agent { name: "claude".into(), matches: vec![Match::Client("Claude Code".into())], ..everything };
    let default = Arc::new(Agent::bare("default", Origin::default()));
    Policy { agents: vec![Arc::new(coder), Arc::new(claude)], default, ..Policy::default() }
}

struct Stage {
    host: Memory,
    gateway: Gateway<Memory>,
}

impl Stage {
    fn new(auth: Auth, policy: Policy) -> Self {
        let host = Memory::new(modern_server);
        let gateway = gateway_with(&host, &["a"], Config { policy, auth, ..Config::default() });
        gateway.set_keys(KeyRing::new([1, 2].map(|number| key(number).1)));
        Self { host, gateway }
    }

    fn requiring() -> Self {
        Self::new(Auth { required: true, ..Auth::default() }, policy())
    }

    fn send(&self, mut request: http::Request<Body>, number: Option<u8>) -> Reply {
        if let Some(number) = number {
            let bearer = format!("Bearer {}", key(number).0.reveal());
            request.headers_mut().insert(header::AUTHORIZATION, bearer.parse().expect("ASCII"));
        }
        self.host.run(self.gateway.serve(request))
    }

    fn check(&self, request: http::Request<Body>, number: Option<u8>) -> String {
        let reply = self.send(request, number);
        self.host.run(text(reply))
    }

    fn status(&self, request: http::Request<Body>, number: Option<u8>) -> u16 {
        self.send(request, number).status().as_u16()
    }

    /// Begins a session, and returns its id.
    fn session(&self, number: Option<u8>, headers: &[(&'static str, &str)]) -> String {
        let reply = self.send(post(INITIALIZE, headers), number);
        reply.headers()[names::SESSION_ID].to_str().expect("ASCII").to_owned()
    }
}

fn in_session(id: &str) -> http::Request<Body> {
    post(LIST, &[("mcp-session-id", id)])
}

fn at(mut request: http::Request<Body>, method: Method, path: &'static str) -> http::Request<Body> {
    *request.method_mut() = method;
    *request.uri_mut() = http::Uri::from_static(path);
    request
}

#[test]
fn strangers_are_refused_before_anything_is_told() {
    let stage = Stage::requiring();
    let list = || modern("1", "tools/list", "");
    assert!(stage.check(list(), Some(1)).contains("a__echo"));
    stage.host.sent();
    let missing = stage.send(list(), None);
    assert_eq!(missing.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"portcullis\"");
    insta::assert_snapshot!(stage.check(list(), None), @r#"401 application/json {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Unauthorized: send an API key as `Authorization: Bearer KEY`"}}"#);
    insta::assert_snapshot!(stage.check(list(), Some(9)), @r#"401 application/json {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Unauthorized: the API key is unknown, expired or revoked"}}"#);
    let wrong = stage.send(list(), Some(9));
    assert_eq!(
        wrong.headers()[header::WWW_AUTHENTICATE],
        "Bearer realm=\"portcullis\", error=\"invalid_token\""
    );
    for (method, path) in [
        (Method::POST, "/mcp"),
        (Method::GET, "/mcp"),
        (Method::DELETE, "/mcp"),
        (Method::PUT, "/mcp"),
        (Method::POST, "/mcp/servers/a"),
        (Method::POST, "/mcp/servers/none"),
        (Method::POST, "/mcp/groups/none"),
        (Method::GET, "/sse"),
        (Method::POST, "/messages?sessionId=x"),
    ] {
        assert_eq!(stage.status(at(list(), method.clone(), path), None), 401, "{method} {path}");
    }
    for (method, path, expected) in [
        (Method::GET, "/healthz", 200),
        (Method::GET, "/healthcheck", 200),
        (Method::GET, "/readyz", 200),
        (Method::OPTIONS, "/mcp", 204),
        (Method::GET, "/elsewhere", 404),
    ] {
        assert_eq!(stage.status(at(list(), method, path), None), expected, "{path}");
    }
    assert_eq!(methods(&stage.host), [""; 0]);
}

#[test]
fn a_key_counts_until_it_expires_or_is_revoked() {
    let stage = Stage::requiring();
    let expires = Some(crate::ports::Clock::now(&stage.host) + 1);
    let stays = key(1).1;
    stage.gateway.set_keys(KeyRing::new([stays.clone(), KeyRecord { expires, ..key(2).1 }]));
    let list = || modern("1", "tools/list", "");
    assert_eq!((stage.status(list(), Some(1)), stage.status(list(), Some(2))), (200, 200));
    stage.host.run(crate::ports::Clock::sleep(&stage.host, std::time::Duration::from_secs(1)));
    let unknown = stage.check(list(), Some(9));
    assert_eq!(stage.check(list(), Some(2)), unknown, "expired");
    assert_eq!(stage.status(list(), Some(1)), 200);
    stage.gateway.set_keys(KeyRing::new([KeyRecord { revoked: Some(1), ..stays.clone() }]));
    assert_eq!(stage.check(list(), Some(1)), unknown, "revoked");
    assert_eq!(stage.gateway.key_uses().into_keys().collect::<Vec<_>>(), [stays.id]);
}

#[test]
fn only_a_whole_key_that_was_never_heard_of_may_be_a_new_one() {
    let shared_key = Some(*KeyHash::of(key(7).0.reveal()).as_bytes());
    let header = Some(HeaderName::from_static("x-key"));
    let stage = Stage::new(Auth { header, shared_key, ..Auth::default() }, policy());
    let revoked = KeyRecord { revoked: Some(1), ..key(2).1 };
    let expired = KeyRecord { expires: Some(1), ..key(3).1 };
    stage.gateway.set_keys(KeyRing::new([key(1).1, revoked, expired]));
    let check = |method: Method, path: &'static str, headers: &[(&'static str, &str)]| {
        stage.gateway.may_present_new_key(&at(post(LIST, headers), method, path))
    };
    let bearer = |number: u8| format!("Bearer {}", key(number).0.reveal());
    let (new, whole) = (bearer(9), key(9).0);
    for path in ["/mcp", "/mcp/servers/a", "/mcp/servers/none", "/mcp/groups/none"] {
        assert!(check(Method::POST, path, &[("authorization", &new)]), "{path}");
    }
    assert!(check(Method::GET, "/mcp", &[("x-key", whole.reveal())]));
    for path in ["/admin/v1/keys", "/readyz", "/metrics", "/elsewhere"] {
        assert!(!check(Method::POST, path, &[("authorization", &new)]), "{path}");
    }
    assert!(!check(Method::OPTIONS, "/mcp", &[("authorization", &new)]));
    assert!(!check(Method::POST, "/mcp", &[("authorization", &new), ("origin", "http://evil.test")]));
    for (number, why) in [(1, "it counts"), (2, "revoked"), (3, "expired"), (7, "shared")] {
        assert!(!check(Method::POST, "/mcp", &[("authorization", &bearer(number))]), "{why}");
    }
    assert!(check(Method::POST, "/connect/a", &[]), "it is in the body");
    assert!(!check(Method::GET, "/connect/a", &[]));
    assert!(!check(Method::POST, "/connect/a", &[("origin", "http://evil.test")]));
    for headers in [
        &[][..],
        &[("authorization", "Bearer the admin's key")],
        &[("authorization", &new[..new.len() - 1])],
        &[("authorization", &new), ("x-key", whole.reveal())],
    ] {
        assert!(!check(Method::POST, "/mcp", headers), "{headers:?}");
    }
    assert!(stage.gateway.key_uses().is_empty());
}

#[test]
fn a_key_of_an_agent_that_is_gone_is_nobodys() {
    let stage = Stage::requiring();
    stage.gateway.set_keys(KeyRing::new([KeyRecord { agent: "gone".into(), ..key(1).1 }]));
    insta::assert_snapshot!(stage.check(modern("1", "tools/list", ""), Some(1)), @r#"403 application/json {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Forbidden: this key is for the agent \"gone\", which the gateway's policy does not name"}}"#);
}

#[test]
fn a_wrong_credential_is_refused_where_none_is_needed() {
    let stage = Stage::new(Auth::default(), Policy::default());
    let with = |value: &str| {
        let mut request = modern("1", "tools/list", "");
        request.headers_mut().insert(header::AUTHORIZATION, value.parse().expect("ASCII"));
        stage.check(request, None)
    };
    assert!(stage.check(modern("1", "tools/list", ""), None).starts_with("200"));
    insta::assert_snapshot!(with("Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln"), @r#"401 application/json {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Unauthorized: tokens of an identity provider are not taken, only API keys, which begin with `pck_`"}}"#);
    insta::assert_snapshot!(with("Basic dXNlcjpwYXNz"), @r#"401 application/json {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Unauthorized: `Authorization` must be `Bearer` and an API key"}}"#);
}

#[test]
fn a_session_serves_only_who_began_it() {
    let stage = Stage::new(Auth::default(), policy());
    let (of_one, of_nobody) = (stage.session(Some(1), &[]), stage.session(None, &[]));
    let unknown = stage.check(in_session("forged"), Some(1));
    assert!(unknown.starts_with("404"), "{unknown}");
    assert!(stage.check(in_session(&of_one), Some(1)).contains("a__echo"));
    assert!(stage.check(in_session(&of_nobody), None).contains("a__echo"));
    for (id, number, why) in [
        (&of_one, Some(2), "another principal"),
        (&of_one, None, "nobody"),
        (&of_nobody, Some(1), "somebody where nobody began it"),
    ] {
        assert_eq!(stage.check(in_session(id), number), unknown, "{why}");
        for method in [Method::GET, Method::DELETE] {
            assert_eq!(stage.status(at(in_session(id), method, "/mcp"), number), 404, "{why}");
        }
    }
    assert_eq!(stage.status(in_session(&of_one), Some(1)), 200, "it has not been ended");
    stage.gateway.set_keys(KeyRing::new([key(2).1]));
    assert_eq!(stage.status(in_session(&of_one), Some(1)), 401, "revoked");
}

#[test]
fn a_session_keeps_its_client_and_its_tag() {
    let tag_header = Some(HeaderName::from_static("x-tag"));
    let stage = Stage::new(Auth { tag_header, ..Auth::default() }, policy());
    let tagged = stage.session(None, &[("x-tag", "ops")]);
    assert!(stage.check(in_session(&tagged), None).contains("a__echo"), "as Claude Code");
    assert!(!stage.check(modern("1", "tools/list", ""), None).contains("a__echo"), "as nobody in particular");
    let with = |tag: &str| {
        let mut request = in_session(&tagged);
        request.headers_mut().insert("x-tag", tag.parse().expect("ASCII"));
        stage.status(request, None)
    };
    assert_eq!((with("ops"), with("dev")), (200, 404));
    let forbidding = Config {
        servers: stage.gateway.snapshot().config.servers.clone(),
        policy: Policy { agents: Vec::new(), ..policy() },
        ..Config::default()
    };
    stage.gateway.reload(forbidding);
    assert!(!stage.check(in_session(&tagged), None).contains("a__echo"), "the policy in force decides");
}

#[test]
fn credentials_never_reach_a_server() {
    let auth = Auth {
        header: Some(HeaderName::from_static("mcp-param-key")),
        tag_header: Some(HeaderName::from_static("mcp-param-tag")),
        ..Auth::default()
    };
    let seen = Arc::new(std::sync::Mutex::new(String::new()));
    let noting = seen.clone();
    let host = Memory::new(move |request| {
        noting.lock().expect("nobody panicked").push_str(&format!("{request:?}").to_lowercase());
        modern_server(request)
    });
    let config = Config { policy: policy(), auth, ..Config::default() };
    let gateway = gateway_with(&host, &["a"], config);
    gateway.set_keys(KeyRing::new([key(1).1]));
    let stage = Stage { host, gateway };
    let call = || modern("1", "tools/call", r#""name":"a__echo""#);
    let mut in_header = call();
    in_header.headers_mut().insert("mcp-param-key", key(1).0.reveal().parse().expect("ASCII"));
    in_header.headers_mut().insert("mcp-param-tag", "topsecret".parse().expect("ASCII"));
    assert!(stage.check(in_header, None).contains("\"big\""));
    assert!(stage.check(call(), Some(1)).contains("\"big\""));
    let seen = seen.lock().expect("nobody panicked");
    assert!(seen.contains("tools/call"));
    for secret in [&key(1).0.reveal().to_lowercase(), "topsecret", "authorization"] {
        assert!(!seen.contains(secret), "{secret}: {seen}");
    }
}

#[test]
fn a_key_that_all_share_is_asked_for_as_mcpx_does() {
    let shared_key = Some(*KeyHash::of("s3same").as_bytes());
    let policy = Policy { dialect: Dialect::Mcpx, ..Policy::default() };
    let stage = Stage::new(Auth { required: true, shared_key, ..Auth::default() }, policy);
    let with = |key: &str| {
        let mut request = modern("1", "tools/list", "");
        request.headers_mut().insert("x-lunar-api-key", key.parse().expect("ASCII"));
        stage.check(request, None)
    };
    insta::assert_snapshot!(stage.check(modern("1", "tools/list", ""), None), @"401 text/plain; charset=utf-8 Unauthorized: API key required");
    insta::assert_snapshot!(with("wrong"), @"403 text/plain; charset=utf-8 Forbidden: Invalid API key");
    assert!(with("s3same").contains("a__echo"));
    stage.gateway.set_keys(KeyRing::new([KeyRecord { agent: "default".into(), ..key(1).1 }]));
    assert!(with(key(1).0.reveal()).contains("a__echo"), "one of our own");
}
