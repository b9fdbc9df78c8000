//! Signing in at servers: which tokens servers are sent, how often an authorization server is asked, and what comes of one that
//! refuses, fails or is somebody else's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future;
use http::header;

use super::{ask, modern_server, text};
use crate::body::Body;
use crate::config::{Config, Source, parse};
use crate::gateway::Gateway;
use crate::ports::{Clock as _, NamedByStranger};
use crate::secrets::{Replacing, SecretName};
use crate::testing::{Answer, Memory, gateway_with, json_answer, modern, slowly};
use crate::upstream::lock;

const SECRET: &str = "tickets-client";
const ISSUER: &str = "https://idp.example";
/// What a gateway says that knows the issuer.
const KNOWN: &str = "issuer: https://idp.example, ";

/// A server, and its authorization server.
#[derive(Clone)]
struct Double(Arc<Mutex<State>>);

struct State {
    /// The client's secret.
    secret: String,
    /// Which issuer the server names.
    names: String,
    /// What a challenge says besides.
    challenge: String,
    /// What the authorization server answers instead of a token.
    instead: Option<(u16, String)>,
    token_endpoint: String,
    lifetime: u64,
    /// How long it takes to make a token.
    latency: Duration,
    made: u64,
    /// The token of this number and all before are refused.
    revoked: u64,
    /// What the scope of a call has to be.
    needs: Option<String>,
    /// A scope that the authorization server gives to nobody.
    denied: Option<String>,
    /// What each token was asked for with.
    granted: Vec<String>,
    /// Whom requests were for since the last time, and what they carried.
    seen: Vec<String>,
}

impl Double {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            secret: "s3cret".into(),
            names: ISSUER.into(),
            challenge: String::new(),
            instead: None,
            token_endpoint: format!("{ISSUER}/token"),
            lifetime: 3600,
            latency: Duration::from_millis(50),
            made: 0,
            revoked: 0,
            needs: None,
            denied: None,
            granted: Vec::new(),
            seen: Vec::new(),
        })))
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.0));
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0).seen)
    }

    fn answer(&self, request: &http::Request<Bytes>) -> Answer {
        let mut state = lock(&self.0);
        let carried = request
            .headers()
            .get(header::AUTHORIZATION)
            .map_or("nothing", |value| value.to_str().expect("ASCII"));
        let at = (request.uri().host().unwrap_or_default(), request.uri().path());
        let body = String::from_utf8_lossy(request.body());
        let is_strange = request.extensions().get::<NamedByStranger>().is_some();
        match at {
            ("a.test", "/mcp") => {
                state.seen.push(format!("server: {carried}"));
                state.serve(carried, &body).unwrap_or_else(|| modern_server(request))
            }
            ("a.test", "/.well-known/oauth-protected-resource/mcp") => {
                state.seen.push("server's metadata".into());
                json_answer(
                    200,
                    format!(
                        r#"{{"resource":"http://a.test/mcp","authorization_servers":["{}"]}}"#,
                        state.names
                    ),
                )
            }
            (_, "/.well-known/oauth-authorization-server" | "/.well-known/openid-configuration") => {
                state.seen.push("issuer's metadata".into());
                let issuer = format!(
                    "{}://{}",
                    request.uri().scheme_str().unwrap_or_default(),
                    request.uri().authority().expect("a host")
                );
                json_answer(
                    200,
                    format!(r#"{{"issuer":"{issuer}","token_endpoint":"{}"}}"#, state.token_endpoint),
                )
            }
            (_, "/token") => {
                state.seen.push(format!("token: {body}"));
                state.token(carried, &body)
            }
            _ => {
                let whose = if is_strange { "a stranger's" } else { "elsewhere" };
                state.seen.push(format!("{whose}: {} {carried} {body}", request.uri()));
                json_answer(404, "no")
            }
        }
    }
}

impl State {
    fn serve(&self, carried: &str, body: &str) -> Option<Answer> {
        let number = carried.strip_prefix("Bearer t0k3n-").and_then(|number| number.parse::<u64>().ok());
        let challenge = |status, text: &str| {
            let mut answer = json_answer(status, "no")?;
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, text.parse().expect("ASCII"));
            Ok(answer)
        };
        let number = number.filter(|number| *number > self.revoked && !body.contains(r#""refused""#));
        let Some(number) = number else {
            return Some(challenge(401, &format!("Bearer scope=\"tickets.read\"{}", self.challenge)));
        };
        let form = usize::try_from(number).ok().and_then(|number| self.granted.get(number - 1))?;
        let needs = self.needs.as_deref().or_else(|| body.split(r#""needs":""#).nth(1)?.split('"').next());
        let needs = needs.filter(|needs| body.contains("tools/call") && !form.contains(needs))?;
        let challenge = challenge(403, &format!("Bearer error=\"insufficient_scope\", scope=\"{needs}\""));
        Some(slowly(challenge, Duration::from_millis(50)))
    }

    fn token(&mut self, carried: &str, form: &str) -> Answer {
        use base64::Engine as _;
        let pair = format!("portcullis:{}", self.secret);
        if let Some((status, body)) = &self.instead {
            return json_answer(*status, body.clone());
        }
        if carried != format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)) {
            return json_answer(401, r#"{"error":"invalid_client","error_description":"not s3cret"}"#);
        }
        if self.denied.as_ref().is_some_and(|denied| form.contains(denied)) {
            return json_answer(400, r#"{"error":"invalid_scope"}"#);
        }
        self.made += 1;
        self.granted.push(form.to_owned());
        let text = format!(
            r#"{{"access_token":"t0k3n-{}","token_type":"Bearer","expires_in":{}}}"#,
            self.made, self.lifetime
        );
        slowly(json_answer(200, text), self.latency)
    }
}

struct Stage {
    host: Memory,
    double: Double,
    gateway: Gateway<Memory>,
}

impl Stage {
    /// A gateway that is told this about signing in.
    fn new(oauth: &str) -> Self {
        Self::before(Double::new(), oauth)
    }

    fn before(double: Double, oauth: &str) -> Self {
        let answering = double.clone();
        let host = Memory::new(move |request| answering.answer(request));
        host.store().put_secret(SECRET, "s3cret", Replacing::AtOnce);
        let text = format!(
            "version: 1\nservers:\n  a: {{ url: http://a.test/mcp, auth: {{ oauth: {{ {oauth}grant: client_credentials, \
             client_id: portcullis, client_secret: {{ secret: {SECRET} }} }} }} }}\n"
        );
        let parsed = parse(&[Source { path: "p.yaml".into(), text }], &|_| None);
        assert_eq!(parsed.problems, []);
        let gateway = gateway_with(&host, &[], Config::default());
        gateway.reload(parsed.config);
        let stage = Self { host, double, gateway };
        stage.wait(Duration::from_millis(500));
        stage
    }

    fn wait(&self, duration: Duration) {
        self.host.run(self.host.sleep(duration));
    }

    fn call(&self) -> String {
        self.call_with("{}")
    }

    fn call_with(&self, arguments: &str) -> String {
        ask(&self.host, &self.gateway, call(arguments))
    }

    /// Calls, and returns who was asked what.
    fn seen_of_call(&self) -> String {
        self.double.seen();
        let answer = self.call();
        assert!(answer.contains(r#""content":[]"#), "{answer}");
        self.double.seen().join("\n")
    }

    /// Calls many times at once, and returns who was asked what besides the server.
    fn seen_of_many(&self) -> String {
        self.double.seen();
        let calls = (0..50).map(|_| async {
            text(Box::pin(self.gateway.serve(modern("1", "tools/call", r#""name":"a__echo""#))).await).await
        });
        let answers = self.host.run(future::join_all(calls));
        assert!(answers.iter().all(|answer| answer.contains(r#""content":[]"#)), "{answers:?}");
        let seen = self.double.seen().into_iter().filter(|one| !one.starts_with("server: "));
        seen.collect::<Vec<_>>().join("\n")
    }

    fn reason(&self) -> String {
        self.gateway.readiness().remove(0).reason.unwrap_or_default()
    }
}

fn call(arguments: &str) -> http::Request<Body> {
    modern("1", "tools/call", &format!(r#""name":"a__echo","arguments":{arguments}"#))
}

#[test]
fn a_token_is_asked_for_once_and_used_again() {
    let stage = Stage::new(KNOWN);
    insta::assert_snapshot!(stage.double.seen().join("\n"), @"
    issuer's metadata
    token: grant_type=client_credentials&resource=http%3A%2F%2Fa.test%2Fmcp
    server: Bearer t0k3n-1
    server: Bearer t0k3n-1
    ");
    insta::assert_snapshot!(stage.seen_of_call(), @"server: Bearer t0k3n-1");
    insta::assert_snapshot!(stage.seen_of_many(), @"");
}

#[test]
fn a_token_that_comes_after_its_call_is_over_is_used_by_the_next() {
    let stage = Stage::new(KNOWN);
    stage.wait(Duration::from_hours(1));
    stage.double.set(|state| state.latency = Duration::from_secs(5));
    stage.double.seen();
    let begun = Box::pin(stage.gateway.serve(call("{}")));
    let limit = Box::pin(stage.host.sleep(Duration::from_secs(2)));
    let left =
        stage.host.run(async { matches!(future::select(begun, limit).await, future::Either::Right(_)) });
    assert!(left, "its agent waits no longer");
    insta::assert_snapshot!(stage.double.seen().join("\n"), @"token: grant_type=client_credentials&resource=http%3A%2F%2Fa.test%2Fmcp");
    insta::assert_snapshot!(stage.seen_of_call(), @"server: Bearer t0k3n-2");
}

#[test]
fn of_many_whose_token_has_expired_one_asks() {
    let stage = Stage::new(KNOWN);
    stage.call();
    stage.wait(Duration::from_hours(1));
    insta::assert_snapshot!(stage.seen_of_many(), @"token: grant_type=client_credentials&resource=http%3A%2F%2Fa.test%2Fmcp");
    stage.double.set(|state| state.revoked = state.made);
    insta::assert_snapshot!(stage.seen_of_many(), @"
    issuer's metadata
    token: grant_type=client_credentials&scope=tickets.read&resource=http%3A%2F%2Fa.test%2Fmcp
    ");
}

#[test]
fn a_token_that_ends_soon_is_used_while_another_is_made() {
    let stage = Stage::new(KNOWN);
    stage.call();
    stage.wait(Duration::from_secs(3560));
    // A keeper's request goes along with the old one.
    insta::assert_snapshot!(stage.seen_of_call(), @"
    server: Bearer t0k3n-1
    token: grant_type=client_credentials&resource=http%3A%2F%2Fa.test%2Fmcp
    server: Bearer t0k3n-2
    ");
    stage.wait(Duration::from_secs(3560));
    stage.double.set(|state| state.instead = Some((503, "no".into())));
    insta::assert_snapshot!(stage.seen_of_call(), @"
    server: Bearer t0k3n-2
    token: grant_type=client_credentials&resource=http%3A%2F%2Fa.test%2Fmcp
    server: Bearer t0k3n-2
    ");
    insta::assert_snapshot!(stage.seen_of_call(), @"server: Bearer t0k3n-2");
}

/// A gateway whose first token was refused, and which has made another.
fn after_a_refusal() -> Stage {
    let stage = Stage::new(KNOWN);
    stage.call();
    stage.double.set(|state| state.revoked = 1);
    let seen = "server: Bearer t0k3n-1\nissuer's metadata\n\
        token: grant_type=client_credentials&scope=tickets.read&resource=http%3A%2F%2Fa.test%2Fmcp\n\
        server: Bearer t0k3n-2";
    assert_eq!(stage.seen_of_call(), seen);
    stage
}

#[test]
fn a_refused_token_is_made_anew_once() {
    let stage = after_a_refusal();
    // Now it refuses whatever is made.
    stage.double.set(|state| state.revoked = u64::MAX);
    stage.double.seen();
    insta::assert_snapshot!(stage.call(), @r#"200 application/json {"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"server \"a\" refuses the access token that the gateway is given for it; see `auth.oauth` (`resource`, `scopes`), and what the authorization server lets the client do"}}"#);
    let made = |seen: Vec<String>| seen.iter().filter(|one| one.starts_with("token")).count();
    assert_eq!(made(stage.double.seen()), 1);
    for _ in 0..20 {
        stage.call();
    }
    assert_eq!(made(stage.double.seen()), 0, "it is left alone for a while");
}

#[test]
fn a_server_says_where_to_sign_in_and_is_believed_at_home() {
    let double = Double::new();
    double.set(|state| {
        state.names = "http://a.test:8080".into();
        state.token_endpoint = "http://a.test:8080/token".into();
    });
    let stage = Stage::before(double, "");
    insta::assert_snapshot!(stage.double.seen().join("\n"), @"
    server: nothing
    server's metadata
    issuer's metadata
    token: grant_type=client_credentials&scope=tickets.read&resource=http%3A%2F%2Fa.test%2Fmcp
    server: Bearer t0k3n-1
    server: Bearer t0k3n-1
    ");
    stage.wait(Duration::from_hours(1));
    insta::assert_snapshot!(stage.seen_of_call(), @"
    token: grant_type=client_credentials&scope=tickets.read&resource=http%3A%2F%2Fa.test%2Fmcp
    server: Bearer t0k3n-2
    ");
}

#[test]
fn an_issuer_elsewhere_that_only_the_server_names_is_shown_nothing() {
    for issuer in [
        ISSUER,
        "https://evil.example",
        "http://169.254.169.254",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "",
    ] {
        let double = Double::new();
        double.set(|state| issuer.clone_into(&mut state.names));
        let stage = Stage::before(double, "");
        assert!(stage.reason().contains("set `auth.oauth.issuer` to it"), "{}", stage.reason());
        let seen = stage.double.seen();
        let odd = seen.iter().find(|one| *one != "server: nothing" && *one != "server's metadata");
        assert_eq!(odd, None, "{issuer}");
    }
}

#[test]
fn metadata_that_a_server_names_elsewhere_are_asked_for_in_public_alone() {
    for (named, whose) in [("https://docs.example/x", "a stranger's"), ("http://a.test:99/x", "elsewhere")] {
        let double = Double::new();
        double.set(|state| state.challenge = format!(", resource_metadata=\"{named}\""));
        let stage = Stage::before(double, "");
        assert_eq!(stage.double.seen()[1..2], [format!("{whose}: {named} nothing ")]);
    }
}

#[test]
fn the_issuer_of_the_configuration_counts_whatever_the_server_names() {
    let double = Double::new();
    double.set(|state| state.names = "https://evil.example".into());
    let stage = Stage::before(double, KNOWN);
    stage.call();
    stage.double.set(|state| state.revoked = 1);
    assert!(!stage.seen_of_call().contains("evil"));
}

#[test]
fn no_credential_goes_where_metadata_leads_astray() {
    for endpoint in [
        "http://169.254.169.254/token",
        "https://127.0.0.1/token",
        "http://idp.example/token",
        "--upload-pack=x",
        "$(id)",
    ] {
        let double = Double::new();
        double.set(|state| endpoint.clone_into(&mut state.token_endpoint));
        let stage = Stage::before(double, KNOWN);
        assert!(
            stage.reason().contains("a `token_endpoint` that is given no credential"),
            "{}",
            stage.reason()
        );
        assert!(stage.double.seen().iter().all(|one| one == "issuer's metadata"), "{endpoint}");
    }
}

#[test]
fn scopes_that_a_call_needs_are_asked_for_besides() {
    let stage = Stage::new("");
    assert!(stage.reason().contains("elsewhere"));
    let stage = after_a_refusal();
    stage.double.set(|state| state.needs = Some("tickets.write".into()));
    insta::assert_snapshot!(stage.seen_of_call(), @"
    server: Bearer t0k3n-2
    token: grant_type=client_credentials&scope=tickets.read+tickets.write&resource=http%3A%2F%2Fa.test%2Fmcp
    server: Bearer t0k3n-3
    ");
    insta::assert_snapshot!(stage.seen_of_call(), @"server: Bearer t0k3n-3");
}

#[test]
fn two_calls_that_need_scopes_besides_get_both() {
    let stage = Stage::new(KNOWN);
    stage.double.seen();
    let calls = ["x", "y"].map(|needs| call(&format!(r#"{{"needs":"{needs}.scope"}}"#)));
    let calls = calls.map(|call| async { text(Box::pin(stage.gateway.serve(call)).await).await });
    let answers = stage.host.run(future::join_all(calls));
    assert!(answers.iter().all(|answer| answer.contains(r#""content":[]"#)), "{answers:?}");
    let forms = stage.double.seen().into_iter().filter(|one| one.starts_with("token"));
    insta::assert_snapshot!(forms.collect::<Vec<_>>().join("\n"), @"
    token: grant_type=client_credentials&scope=x.scope&resource=http%3A%2F%2Fa.test%2Fmcp
    token: grant_type=client_credentials&scope=x.scope+y.scope&resource=http%3A%2F%2Fa.test%2Fmcp
    ");
    insta::assert_snapshot!(stage.seen_of_call(), @"server: Bearer t0k3n-3");
}

#[test]
fn scopes_that_are_refused_trouble_the_call_that_needs_them_alone() {
    let stage = Stage::new(KNOWN);
    stage.double.set(|state| state.denied = Some("admin".into()));
    stage.double.seen();
    insta::assert_snapshot!(stage.call_with(r#"{"needs":"admin"}"#), @r#"200 application/json {"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"server \"a\" cannot be signed in at: the authorization server \"https://idp.example\" gives the client \"portcullis\" no token (invalid_scope); see `auth.oauth`, and what it lets the client do"}}"#);
    insta::assert_snapshot!(stage.double.seen().join("\n"), @"
    server: Bearer t0k3n-1
    token: grant_type=client_credentials&scope=admin&resource=http%3A%2F%2Fa.test%2Fmcp
    ");
    for _ in 0..10 {
        assert!(stage.call_with(r#"{"needs":"admin"}"#).contains("invalid_scope"));
    }
    assert!(
        stage.double.seen().iter().all(|one| one.starts_with("server")),
        "it is not asked again for a while"
    );
    // What others need is asked for, and a token that is revoked is made anew.
    assert!(stage.call_with(r#"{"needs":"tickets.write"}"#).contains(r#""content":[]"#));
    stage.double.set(|state| state.revoked = state.made);
    stage.seen_of_call();
    stage.wait(Duration::from_secs(2));
    stage.double.set(|state| state.denied = None);
    assert!(stage.call_with(r#"{"needs":"admin"}"#).contains(r#""content":[]"#));
}

#[test]
fn one_tool_that_refuses_every_token_costs_few_whatever_others_do() {
    let stage = Stage::new(KNOWN);
    let made = lock(&stage.double.0).made;
    for _ in 0..20 {
        assert!(stage.call_with(r#"{"refused":1}"#).contains("refuses the access token"));
        stage.seen_of_call();
    }
    assert_eq!(lock(&stage.double.0).made, made + 1, "within the first second");
    for _ in 0..60 {
        stage.wait(Duration::from_secs(1));
        stage.call_with(r#"{"refused":1}"#);
        stage.seen_of_call();
    }
    assert!((3..=7).contains(&(lock(&stage.double.0).made - made)), "ever fewer within a minute");
}

#[test]
fn scopes_that_are_written_are_all_that_is_asked_for() {
    let stage = Stage::new(&format!("{KNOWN}scopes: [tickets.read, b], "));
    let seen = stage.double.seen();
    assert!(seen[1].contains("scope=b+tickets.read&"), "{seen:?}");
    stage.double.set(|state| state.needs = Some("admin".into()));
    insta::assert_snapshot!(stage.call(), @r#"200 application/json {"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"server \"a\" wants the scopes \"admin\", which `auth.oauth.scopes` does not have"}}"#);
    let seen = stage.double.seen();
    assert!(seen.iter().all(|one| one.starts_with("server")), "{seen:?}");
}

#[test]
fn a_secret_that_is_refused_is_named_and_tried_anew_once_it_changes() {
    let stage = Stage::new(KNOWN);
    stage.call();
    stage.double.set(|state| {
        state.secret = "n3w-s3cret".into();
        state.revoked = 1;
    });
    insta::assert_snapshot!(stage.call(), @r#"200 application/json {"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"server \"a\" cannot be signed in at: the authorization server \"https://idp.example\" refuses the client \"portcullis\" (invalid_client); `portcullis secrets set tickets-client`"}}"#);
    stage.double.seen();
    stage.call();
    assert!(stage.double.seen().iter().all(|one| one.starts_with("server")), "it is left alone");
    stage.host.store().put_secret(SECRET, "n3w-s3cret", Replacing::AtOnce);
    stage.gateway.secrets_changed(&[SecretName::parse(SECRET).expect("a name")]);
    stage.wait(Duration::from_millis(500));
    stage.seen_of_call();
}

#[test]
fn an_issuer_that_has_not_heard_of_a_rotation_gets_the_secret_before() {
    let stage = Stage::new(KNOWN);
    stage.call();
    stage.host.store().put_secret(SECRET, "n3w-s3cret", Replacing::Rotating);
    stage.gateway.secrets_changed(&[SecretName::parse(SECRET).expect("a name")]);
    stage.double.set(|state| state.revoked = 1);
    let seen = stage.seen_of_call();
    assert_eq!(seen.matches("token: ").count(), 2, "{seen}");
}

#[test]
fn an_issuer_that_fails_is_named_and_left_alone_for_a_while() {
    let double = Double::new();
    double.set(|state| state.instead = Some((503, "s3cret".into())));
    let stage = Stage::before(double, KNOWN);
    insta::assert_snapshot!(stage.reason(), @r#"cannot be signed in at: the authorization server "https://idp.example" answers HTTP 503; it is tried again soon"#);
    stage.double.seen();
    for _ in 0..20 {
        stage.call();
    }
    assert_eq!(stage.double.seen(), [""; 0]);
    stage.double.set(|state| state.instead = None);
    stage.wait(Duration::from_mins(2));
    stage.seen_of_call();
}

#[test]
fn what_an_issuer_sends_elsewhere_is_not_followed() {
    let double = Double::new();
    double.set(|state| state.instead = Some((307, String::new())));
    let stage = Stage::before(double, KNOWN);
    insta::assert_snapshot!(stage.reason(), @r#"cannot be signed in at: the authorization server "https://idp.example" answers HTTP 307; it is tried again soon"#);
    assert!(!stage.double.seen().join(" ").contains("elsewhere"));
}
