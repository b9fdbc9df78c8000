//! Callers with tokens of an identity provider.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt as _;
use http::{Method, StatusCode, header};

use super::{modern_server, text};
use crate::body::{Body, Reply};
use crate::config::{Agent, Auth, Config, Introspection, Issuer, Match, Origin, Policy};
use crate::gateway::Gateway;
use crate::oauth::PublicKey;
use crate::ports::{Background as _, Clock as _};
use crate::secrets::{Replacing, SecretName};
use crate::testing::{Memory, gateway_with, json_answer, modern, signature, silence};

const ISSUER: &str = "https://idp.test";
const EVERYTHING: &str = "https://gw.test/mcp";

fn key(number: u8) -> PublicKey {
    PublicKey::Ed25519([number; 32])
}

/// The provider's behaviour: which key it has, and whether it answers.
#[derive(Clone, Default)]
struct Provider {
    key: Arc<AtomicU8>,
    is_away: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    /// Whether each of its keys has the name of the first.
    is_nameless: Arc<AtomicBool>,
    /// What it says of a token.
    answer: Arc<Mutex<String>>,
}

impl Provider {
    fn answer(&self, path: &str) -> (u16, String) {
        let key = self.key.load(Ordering::Relaxed);
        match path {
            _ if self.is_away.load(Ordering::Relaxed) => (503, "away".into()),
            "/.well-known/openid-configuration" => {
                let addresses =
                    format!(r#""jwks_uri":"{ISSUER}/jwks","introspection_endpoint":"{ISSUER}/about""#);
                (200, format!(r#"{{"issuer":"{ISSUER}",{addresses}}}"#))
            }
            "/about" => (200, self.answer.lock().expect("no panic").clone()),
            "/jwks" => {
                let name = if self.is_nameless.load(Ordering::Relaxed) { 0 } else { key };
                let own = self::key(key).to_jwk().replacen('{', &format!(r#"{{"kid":"k{name}","#), 1);
                (200, format!(r#"{{"keys":[{own}]}}"#))
            }
            _ => (404, "nothing".into()),
        }
    }
}

struct Stage {
    host: Memory,
    gateway: Gateway<Memory>,
    provider: Provider,
}

impl Stage {
    fn new() -> Self {
        Self::with(None)
    }

    /// A gateway that may ask the provider about tokens.
    fn asking() -> Self {
        let stage = Self::asking_with("corp");
        stage.host.store().put_secret("corp", "s3cret", Replacing::AtOnce);
        stage
    }

    fn asking_with(secret: &str) -> Self {
        let client_secret = SecretName::parse(secret).expect("a name");
        Self::with(Some(Introspection {
            url: None,
            client_id: "gate way".into(),
            client_secret,
            place: (1, 1),
        }))
    }

    fn with(introspection: Option<Introspection>) -> Self {
        let provider = Provider::default();
        let answers = provider.clone();
        let host = Memory::new(move |request| match request.uri().host() {
            Some("idp.test") if answers.hangs.load(Ordering::Relaxed) => silence(),
            Some("idp.test") => {
                let (status, text) = answers.answer(request.uri().path());
                json_answer(status, text)
            }
            _ => modern_server(request),
        });
        let issuer = Issuer { name: "corp".into(), url: ISSUER.into(), introspection, ..Issuer::default() };
        let auth = Auth { required: true, issuers: vec![issuer], ..Auth::default() };
        let engineer = Agent {
            name: "engineer".into(),
            matches: vec![Match::Claim("groups".into(), "eng".into())],
            ..Agent::allowing_everything()
        };
        let default = Arc::new(Agent::bare("default", Origin::default()));
        let policy = Policy { agents: vec![Arc::new(engineer)], default, ..Policy::default() };
        let mut config = Config { policy, auth, ..Config::default() };
        config.gateway.public_url = Some("https://gw.test".parse().expect("a URL"));
        let gateway = gateway_with(&host, &["a"], config);
        Self { host, gateway, provider }
    }

    /// Makes a token of the provider that a key has signed.
    fn token(&self, number: u8, claims: &str) -> String {
        self.token_of(ISSUER, number, claims)
    }

    fn token_of(&self, issuer: &str, number: u8, claims: &str) -> String {
        self.signed(number, number, (issuer, claims))
    }

    fn signed(&self, name: u8, number: u8, (issuer, claims): (&str, &str)) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let header = format!(r#"{{"alg":"EdDSA","kid":"k{name}"}}"#);
        let expires = self.host.now() / 1000 + 300;
        let payload = format!(r#"{{"iss":"{issuer}","sub":"ann","exp":{expires},{claims}}}"#);
        let signed = format!("{}.{}", part(&header), part(&payload));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature(&key(number), signed.as_bytes())))
    }

    fn engineer(&self) -> String {
        self.token(0, &format!(r#""aud":"{EVERYTHING}","groups":["eng"]"#))
    }

    fn send(&self, mut request: http::Request<Body>, token: &str) -> Reply {
        let bearer = format!("Bearer {token}").parse().expect("ASCII");
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        request.headers_mut().insert(header::HOST, "gw.test".parse().expect("ASCII"));
        self.host.run(self.gateway.serve(request))
    }

    fn list(&self, token: &str) -> String {
        let reply = self.send(modern("1", "tools/list", ""), token);
        let status = reply.status();
        let told = self.host.run(text(reply));
        let what = told.split(r#""message":""#).nth(1).and_then(|rest| rest.split('"').next());
        format!(
            "{} {}",
            status.as_u16(),
            what.unwrap_or(if told.contains("a__echo") { "tools" } else { "none" })
        )
    }

    fn asked(&self) -> usize {
        self.host.sent().iter().filter(|line| line.contains("idp.test")).count()
    }

    fn pass(&self, seconds: u64) {
        self.host.run(self.host.sleep(Duration::from_secs(seconds)));
    }
}

#[test]
fn a_token_lets_its_bearer_in_as_its_claims_say() {
    let stage = Stage::new();
    assert_eq!(stage.list(&stage.engineer()), "200 tools");
    assert_eq!(stage.asked(), 3, "metadata at two places, and the keys");
    assert_eq!(stage.list(&stage.token(0, &format!(r#""aud":"{EVERYTHING}""#))), "200 none");
    assert_eq!(stage.asked(), 0, "the keys are known");
    assert!(stage.host.sent().iter().all(|line| !line.contains("eyJ")), "no token goes on");
}

#[test]
fn a_token_that_is_not_ours_lets_nobody_in() {
    let stage = Stage::new();
    let check = |token: &str| stage.list(token);
    let good = stage.engineer();
    insta::assert_snapshot!(check(&stage.token(0, r#""aud":"https://other.test/mcp""#)), @"401 Unauthorized: the token is not for this gateway: its audience is another");
    insta::assert_snapshot!(check(&stage.token(0, r#""aud":"https://gw.test/mcp/groups/x""#)), @"401 Unauthorized: the token is not for this gateway: its audience is another");
    insta::assert_snapshot!(check(&good.replace(&good[good.len() - 4..], "AAAA")), @"401 Unauthorized: the token's signature is wrong");
    insta::assert_snapshot!(check(&stage.token(7, r#""aud":"https://gw.test/mcp""#)), @"401 Unauthorized: the token's signature is wrong");
    let foreign = stage.token_of("https://evil.test", 0, r#""aud":"https://gw.test/mcp""#);
    insta::assert_snapshot!(check(&foreign), @"401 Unauthorized: the token is of an issuer whose tokens are not taken");
    insta::assert_snapshot!(check("opaque"), @"401 Unauthorized: it is no signed token");
    insta::assert_snapshot!(check("pck_0"), @"401 Unauthorized: the API key is not whole, or has a wrong character: its checksum does not match");
    stage.pass(361);
    insta::assert_snapshot!(check(&good), @"401 Unauthorized: the token has expired");
}

#[test]
fn of_a_token_that_says_nothing_its_issuer_is_asked() {
    let stage = Stage::asking();
    let says = |answer: &str| {
        let expires = stage.host.now() / 1000 + 20;
        let answer = answer.replace("EXP", &expires.to_string());
        *stage.provider.answer.lock().expect("no panic") = answer;
    };
    let good = format!(r#"{{"active":true,"sub":"ann","aud":"{EVERYTHING}","exp":EXP,"groups":["eng"]}}"#);
    says(&good);
    assert_eq!(stage.list("opaque"), "200 tools");
    let asked = stage.host.sent().into_iter().filter(|line| line.contains("/about")).collect::<Vec<_>>();
    insta::assert_snapshot!(asked.join(" "), @"POST https://idp.test/about token=opaque&token_type_hint=access_token");
    says(r#"{"active":false}"#);
    assert_eq!(stage.list("opaque"), "200 tools", "it has just said so");
    assert_eq!(stage.asked(), 0);
    insta::assert_snapshot!(stage.list("another"), @"401 Unauthorized: the token is unknown, expired or revoked");
    assert_eq!(stage.asked(), 1);
    insta::assert_snapshot!(stage.list("another"), @"401 Unauthorized: the token is unknown, expired or revoked");
    assert_eq!(stage.asked(), 0, "it has just been refused");
    stage.pass(31);
    insta::assert_snapshot!(stage.list("opaque"), @"401 Unauthorized: the token is unknown, expired or revoked");
    for (answer, why) in [
        (good.replace("/mcp", "/other"), "audience"),
        (good.replace(r#""exp":EXP,"#, ""), "exp"),
        ("<html>".into(), "malformed"),
    ] {
        says(&answer);
        stage.pass(6);
        let told = stage.list("opaque");
        assert!(told.starts_with("401") && told.contains(why), "{told}");
    }
    stage.pass(6);
    stage.provider.is_away.store(true, Ordering::Relaxed);
    insta::assert_snapshot!(stage.list("opaque"), @"503 Service Unavailable: the identity provider corp cannot be asked; try again");
    assert_eq!(stage.list(&stage.engineer()).split(' ').next(), Some("503"), "the keys as well");
    for none in ["", "a b", &"x".repeat(20_000)] {
        assert!(stage.list(none).ends_with("it is no signed token"), "{none}");
    }
    insta::assert_snapshot!(Stage::asking().list("pck_0"), @"401 Unauthorized: the API key is not whole, or has a wrong character: its checksum does not match");
}

#[test]
fn a_provider_that_does_not_answer_keeps_nobody_waiting_who_has_its_keys() {
    let stage = Stage::new();
    assert_eq!(stage.list(&stage.engineer()), "200 tools");
    stage.pass(601);
    stage.provider.hangs.store(true, Ordering::Relaxed);
    let began = stage.host.now();
    for _ in 0..5 {
        assert_eq!(stage.list(&stage.engineer()), "200 tools");
    }
    assert!(stage.host.now() - began < 2_000, "one waits for a moment, the others not at all");
    stage.pass(60);
    stage.provider.hangs.store(false, Ordering::Relaxed);
    stage.provider.key.store(1, Ordering::Relaxed);
    stage.pass(60);
    assert!(stage.list(&stage.engineer()).starts_with("401"), "it has another key now");
}

#[test]
fn a_key_that_is_replaced_under_its_own_name_is_noticed() {
    let stage = Stage::new();
    assert_eq!(stage.list(&stage.engineer()), "200 tools");
    stage.provider.is_nameless.store(true, Ordering::Relaxed);
    stage.provider.key.store(1, Ordering::Relaxed);
    stage.pass(31);
    let claims = format!(r#""aud":"{EVERYTHING}","groups":["eng"]"#);
    assert_eq!(stage.list(&stage.signed(0, 1, (ISSUER, &claims))), "200 tools");
    assert!(stage.list(&stage.engineer()).starts_with("401"), "the key before");
}

#[test]
fn a_token_that_is_revoked_is_noticed_however_often_it_is_used() {
    let stage = Stage::asking();
    let expires = stage.host.now() / 1000 + 3600;
    let good = format!(r#"{{"active":true,"sub":"ann","aud":"{EVERYTHING}","exp":{expires}}}"#);
    *stage.provider.answer.lock().expect("no panic") = good;
    assert_eq!(stage.list("opaque"), "200 none");
    *stage.provider.answer.lock().expect("no panic") = r#"{"active":false}"#.into();
    stage.pass(20);
    assert_eq!(stage.list("opaque"), "200 none", "it has just said so");
    stage.pass(20);
    insta::assert_snapshot!(stage.list("opaque"), @"401 Unauthorized: the token is unknown, expired or revoked");
}

#[test]
fn without_its_secret_the_gateway_asks_nobody() {
    let stage = Stage::asking_with("none");
    insta::assert_snapshot!(stage.list("opaque"), @"503 Service Unavailable: the identity provider corp cannot be asked; try again");
    assert!(stage.host.sent().iter().all(|line| !line.contains("/about")));
}

#[test]
fn another_key_is_found_and_a_provider_that_is_away_forgiven() {
    let stage = Stage::new();
    assert_eq!(stage.list(&stage.engineer()), "200 tools");
    stage.asked();
    let rotated = || stage.token(1, &format!(r#""aud":"{EVERYTHING}","groups":"eng""#));
    stage.provider.key.store(1, Ordering::Relaxed);
    assert!(stage.list(&rotated()).starts_with("401"), "they have just been read");
    assert_eq!(stage.asked(), 0);
    stage.pass(31);
    assert_eq!(stage.list(&rotated()), "200 tools");
    assert_eq!(stage.asked(), 3);
    stage.provider.is_away.store(true, Ordering::Relaxed);
    stage.pass(3600);
    assert_eq!(stage.list(&rotated()), "200 tools");
    let stage = Stage::new();
    stage.provider.is_away.store(true, Ordering::Relaxed);
    insta::assert_snapshot!(stage.list(&stage.engineer()), @"503 Service Unavailable: the identity provider corp cannot be asked; try again");
}

#[test]
fn who_has_no_token_is_told_where_they_are_to_be_had() {
    let stage = Stage::new();
    let at = |method: Method, path: &'static str| {
        let mut request = modern("1", "tools/list", "");
        *request.method_mut() = method;
        *request.uri_mut() = http::Uri::from_static(path);
        request.headers_mut().insert(header::HOST, "gw.test".parse().expect("ASCII"));
        stage.host.run(stage.gateway.serve(request))
    };
    let challenge =
        |reply: &Reply| reply.headers()[header::WWW_AUTHENTICATE].to_str().expect("ASCII").to_owned();
    insta::assert_snapshot!(challenge(&at(Method::POST, "/mcp")), @r#"Bearer realm="portcullis", resource_metadata="https://gw.test/.well-known/oauth-protected-resource/mcp""#);
    insta::assert_snapshot!(challenge(&at(Method::POST, "/mcp/groups/none")), @r#"Bearer realm="portcullis", resource_metadata="https://gw.test/.well-known/oauth-protected-resource/mcp/groups/none""#);
    insta::assert_snapshot!(challenge(&stage.send(modern("1", "tools/list", ""), "opaque")), @r#"Bearer realm="portcullis", error="invalid_token", resource_metadata="https://gw.test/.well-known/oauth-protected-resource/mcp""#);
    let document = at(Method::GET, "/.well-known/oauth-protected-resource/mcp/groups/none");
    assert_eq!(document.status(), StatusCode::OK);
    insta::assert_snapshot!(stage.host.run(text(document)), @r#"200 application/json {"resource":"https://gw.test/mcp/groups/none","authorization_servers":["https://idp.test"],"bearer_methods_supported":["header"],"resource_name":"Portcullis"}"#);
    assert_eq!(
        at(Method::POST, "/.well-known/oauth-protected-resource").status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[test]
fn a_stream_ends_when_its_token_does() {
    let stage = Stage::new();
    let listen = modern("1", "subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#);
    let reply = stage.send(listen, &stage.engineer());
    assert_eq!(reply.status(), StatusCode::OK);
    let Body::Stream(chunks) = reply.into_body() else { panic!("a stream") };
    let ended = Arc::new(AtomicBool::new(false));
    let told = ended.clone();
    stage.host.run(async {
        stage.host.spawn(async move {
            chunks.for_each(|_| std::future::ready(())).await;
            told.store(true, Ordering::Relaxed);
        });
        stage.host.sleep(Duration::from_secs(350)).await;
    });
    assert!(!ended.load(Ordering::Relaxed));
    stage.pass(20);
    assert!(ended.load(Ordering::Relaxed));
}

/// Opens a stream of HTTP+SSE; returns what it carries, and where to post.
fn open_sse(stage: &Stage, token: &str) -> (futures::stream::BoxStream<'static, String>, String) {
    let mut opening = modern("1", "ping", "");
    (*opening.method_mut(), *opening.uri_mut()) = (Method::GET, http::Uri::from_static("/sse"));
    opening.headers_mut().insert(header::ACCEPT, "text/event-stream".parse().expect("ASCII"));
    let Body::Stream(chunks) = stage.send(opening, token).into_body() else { panic!("a stream") };
    let mut events = chunks
        .filter_map(|chunk| async { chunk.ok().map(|chunk| String::from_utf8_lossy(&chunk).into_owned()) })
        .filter(|event| std::future::ready(event.contains("data:")))
        .boxed();
    let first = stage.host.run(events.next()).expect("an event");
    let place = first.split("data: ").nth(1).expect("a place").trim().to_owned();
    (events, place)
}

fn say(stage: &Stage, place: &str, token: &str) -> StatusCode {
    let mut request = modern("7", "tools/list", "");
    *request.uri_mut() = place.parse().expect("a path");
    stage.send(request, token).status()
}

#[test]
fn a_stream_lasts_as_long_as_the_newest_token_of_its_agent() {
    let stage = Stage::new();
    let (mut events, place) = open_sse(&stage, &stage.token(0, r#""aud":"https://gw.test/sse""#));
    stage.pass(200);
    let newer = stage.token(0, r#""aud":"https://gw.test/sse""#);
    assert_eq!(say(&stage, &place, &newer), StatusCode::ACCEPTED);
    let answer = stage.host.run(events.next()).expect("an answer");
    assert!(answer.contains("\"id\":7"), "{answer}");
    stage.pass(200);
    assert_eq!(say(&stage, &place, &newer), StatusCode::ACCEPTED, "its first token has ended");
    let answer = stage.host.run(events.next()).expect("an answer");
    assert!(!answer.contains("expired"), "{answer}");
    stage.pass(200);
    assert_eq!(stage.host.run(events.next()), None, "its last one has ended");
}

#[test]
fn whose_claims_nobody_has_looked_at_is_not_taken_for_anybody() {
    let stage = Stage::new();
    let token = stage.token(0, &format!(r#""aud":"{EVERYTHING}","groups":["eng"]"#).replace("/mcp", "/sse"));
    let (mut events, place) = open_sse(&stage, &token);
    let mut config = stage.gateway.0.snapshot.load().config.as_ref().clone();
    let other = Agent {
        name: "other".into(),
        matches: vec![Match::Claim("groups".into(), "ops".into())],
        ..Agent::allowing_everything()
    };
    config.policy.agents.push(Arc::new(other));
    stage.gateway.reload(config);
    assert_eq!(stage.host.run(events.next()), None, "its stream has ended");
    assert_eq!(say(&stage, &place, &token), StatusCode::NOT_FOUND);
}

#[test]
fn whom_another_issuer_of_the_same_name_let_in_is_judged_anew() {
    let stage = Stage::new();
    let snapshot = stage.gateway.snapshot();
    let config = snapshot.config.as_ref().clone();
    let (listening, at_sse) = (stage.engineer(), stage.token(0, r#""aud":"https://gw.test/sse""#));
    let proof = Box::pin(stage.gateway.prove(&listening, None, ("/mcp", &snapshot)));
    let proof = stage.host.run(proof).expect("somebody");
    // Another instance, or a channel, vouches for somebody who was let in before.
    let vouched = || {
        let mut request = modern("1", "tools/list", "");
        request.headers_mut().insert(header::HOST, "gw.test".parse().expect("ASCII"));
        request.extensions_mut().insert(proof.clone());
        stage.host.run(stage.gateway.serve(request)).status()
    };
    let listen = modern("1", "subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#);
    let Body::Stream(mut listens) = stage.send(listen, &listening).into_body() else { panic!("a stream") };
    assert!(stage.host.run(listens.next()).is_some());
    let (mut events, place) = open_sse(&stage, &at_sse);
    stage.gateway.reload(config.clone());
    assert_eq!(vouched(), StatusCode::OK);
    assert_eq!(say(&stage, &place, &at_sse), StatusCode::ACCEPTED, "it is the same issuer");
    assert!(stage.host.run(events.next()).is_some());
    let mut other = config;
    other.auth.issuers[0].keys = Some(format!("{ISSUER}/jwks"));
    stage.gateway.reload(other);
    assert_eq!(vouched(), StatusCode::UNAUTHORIZED);
    assert_eq!(stage.host.run(events.next()), None, "its stream has ended");
    assert!(stage.host.run(listens.collect::<Vec<_>>()).len() < 3, "so has this one");
    assert_eq!(stage.list(&listening), "200 tools", "who comes again with a token that counts is let in");
}
