//! Acting on behalf of whoever signed in: what is exchanged where, for whom, and what an attacker would have of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header;

use super::{ask, method_and_id, modern_server, names, text};
use crate::config::{Config, Source, parse};
use crate::gateway::Gateway;
use crate::identity::KeyRing;
use crate::oauth::PublicKey;
use crate::ports::Clock as _;
use crate::sorted::SortedMap;
use crate::testing::{
    Answer, Fleet, Memory, gateway_on, gateway_with, json_answer, key, modern, post, signature,
};
use crate::upstream::lock;

const EXCHANGE: &str = "grant: token_exchange, issuer: 'https://idp.test', scopes: [read], audience: tools, ";
const ID_JAG: &str = "grant: id_jag, issuer: 'https://as.test', identity_provider: { issuer: 'https://idp.test', \
                      client_id: portal, client_secret: idp-s3cret }, ";
const CALLED: &str = r#""content":[]"#;

/// An identity provider (`idp.test`), another (`partner.test`), the server's authorization server (`as.test`), and the server
/// (`mine.test`).
#[derive(Default)]
struct Doubles {
    /// What the caller has shown: no server ever sees it.
    shown: Vec<String>,
    /// What was asked of them, in order.
    seen: Vec<String>,
    /// The users whose sign-in is over.
    over: Vec<&'static str>,
    /// What is answered in place of a token, by host.
    instead: SortedMap<&'static str, (u16, String)>,
    /// For how many seconds a token is good.
    lifetime: u64,
    made: usize,
}

impl Doubles {
    fn answer(&mut self, request: &http::Request<bytes::Bytes>) -> Answer {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let carried = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let carried = carried.unwrap_or_default();
        if !matches!(&*host, "idp.test") {
            let all = format!("{:?} {body}", request.headers());
            assert!(!self.shown.iter().any(|token| all.contains(token)), "{host} is shown it: {all}");
        }
        match (&*host, request.uri().path()) {
            ("mine.test", "/mcp") => self.serve(request, carried),
            ("mine.test", "/.well-known/oauth-protected-resource/mcp") => json_answer(
                200,
                r#"{"resource":"https://mine.test/mcp","authorization_servers":["https://evil.test"]}"#,
            ),
            (_, "/.well-known/oauth-authorization-server" | "/.well-known/openid-configuration")
                if host != "mine.test" =>
            {
                let own = format!("https://{host}");
                json_answer(
                    200,
                    format!(r#"{{"issuer":"{own}","jwks_uri":"{own}/jwks","token_endpoint":"{own}/token"}}"#),
                )
            }
            (_, "/jwks") => {
                let own = PublicKey::Ed25519([7; 32]).to_jwk().replacen('{', r#"{"kid":"k","#, 1);
                json_answer(200, format!(r#"{{"keys":[{own}]}}"#))
            }
            ("idp.test" | "as.test", "/token") => self.give(&host, carried, &body),
            _ => {
                self.seen.push(format!("elsewhere: {}", request.uri()));
                json_answer(404, "no")
            }
        }
    }

    fn serve(&mut self, request: &http::Request<bytes::Bytes>, carried: &str) -> Answer {
        if !carried.starts_with("Bearer t0k3n-") {
            let mut answer = json_answer(401, "no")?;
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            return Ok(answer);
        }
        if method_and_id(request).0 == "tools/call" {
            self.seen.push(format!("call with {carried}"));
        }
        modern_server(request)
    }

    fn give(&mut self, host: &str, carried: &str, form: &str) -> Answer {
        let form: SortedMap<_, _> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        let of = |name: &str| form.get(name).map_or("", String::as_str);
        let pair = carried.strip_prefix("Basic ").expect("a client").as_bytes();
        let client = base64::engine::general_purpose::STANDARD.decode(pair).expect("base64");
        let short = |text: &str| text.rsplit(':').next().unwrap_or_default().to_owned();
        let shown = if of("assertion").is_empty() { of("subject_token") } else { of("assertion") };
        let who = member(shown, "sub");
        let which = member(shown, "jti");
        let more = ["subject_token_type", "requested_token_type", "audience", "resource", "scope"];
        let more = more.map(|name| match name {
            "audience" | "resource" => of(name).to_owned(),
            name => short(of(name)),
        });
        let more: Vec<_> = more.iter().filter(|text| !text.is_empty()).map(String::as_str).collect();
        self.seen.push(format!(
            "{host} by {}: {} of {who}{which} {}",
            String::from_utf8_lossy(&client),
            short(of("grant_type")),
            more.join(" ")
        ));
        if let Some((status, text)) = self.instead.get(host) {
            return json_answer(*status, text.replace("WHAT-WAS-SHOWN", shown));
        }
        if self.over.iter().any(|over| **over == who) {
            return json_answer(400, r#"{"error":"invalid_grant","error_description":"h0t secrets"}"#);
        }
        self.made += 1;
        let (token, kind, issued) = if of("requested_token_type").ends_with("id-jag") {
            (unsigned(&format!(r#"{{"sub":"{who}","n":{}}}"#, self.made)), "N_A", "id-jag")
        } else {
            (format!("t0k3n-{who}-{}", self.made), "Bearer", "access_token")
        };
        json_answer(
            200,
            format!(
                r#"{{"access_token":"{token}","token_type":"{kind}","expires_in":{},"issued_token_type":"urn:ietf:params:oauth:token-type:{issued}"}}"#,
                self.lifetime
            ),
        )
    }
}

fn unsigned(payload: &str) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
}

/// A text that a token says.
fn member(token: &str, name: &str) -> String {
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let text = String::from_utf8(payload.unwrap_or_default()).expect("text");
    let rest = text.split(&format!(r#""{name}":""#)).nth(1);
    rest.and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
}

/// A configuration with a server at which a client signs in in this way.
fn config(grant: &str) -> Config {
    let client = format!("{grant}client_id: portcullis, client_secret: s3cret");
    let yaml = format!(
        "version: 1\ngateway: {{ public_url: 'https://gw.test' }}\nauth:\n  required: true\n  issuers:\n    \
         corp: {{ url: 'https://idp.test' }}\n    partner: {{ url: 'https://partner.test' }}\nservers:\n  \
         mine: {{ url: 'https://mine.test/mcp', auth: {{ oauth: {{ {client} }} }} }}\n"
    );
    let parsed = parse(&[Source { path: "p.yaml".into(), text: yaml }], &|_| None);
    assert_eq!(parsed.problems, []);
    let mut config = parsed.config;
    config.auth.required = false;
    config
}

struct Stage {
    host: Memory,
    gateway: Gateway<Memory>,
    doubles: Arc<Mutex<Doubles>>,
}

impl Stage {
    fn new(grant: &str) -> Self {
        let doubles = Arc::new(Mutex::new(Doubles { lifetime: 3600, ..Doubles::default() }));
        let answering = doubles.clone();
        let host = Memory::new(move |request: &http::Request<bytes::Bytes>| lock(&answering).answer(request));
        let gateway = gateway_with(&host, &[], Config::default());
        gateway.reload(config(grant));
        let mut record = key(1).1;
        record.agent = "default".into();
        gateway.set_keys(KeyRing::new([record]));
        Self { host, gateway, doubles }
    }

    /// A token of a provider.
    fn token_of(&self, issuer: &str, who: &str, more: &str) -> String {
        let expires = self.host.now() / 1000 + 300;
        let audience = if more.contains("aud") { "" } else { r#","aud":"https://gw.test/mcp""# };
        let payload = format!(r#"{{"iss":"{issuer}","sub":"{who}","exp":{expires}{audience}{more}}}"#);
        let begin = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"k"}"#);
        let signed = format!("{begin}.{}", URL_SAFE_NO_PAD.encode(payload));
        let by = signature(&PublicKey::Ed25519([7; 32]), signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(by));
        lock(&self.doubles).shown.push(token.clone());
        token
    }

    fn token(&self, who: &str) -> String {
        self.token_of("https://idp.test", who, "")
    }

    fn call(&self, token: &str) -> String {
        let mut request = modern("1", "tools/call", r#""name":"mine__echo","arguments":{}"#);
        request.headers_mut().insert(header::HOST, "gw.test".parse().expect("ASCII"));
        if !token.is_empty() {
            request
                .headers_mut()
                .insert(header::AUTHORIZATION, format!("Bearer {token}").parse().expect("ASCII"));
        }
        let said = ask(&self.host, &self.gateway, request);
        let shown = lock(&self.doubles).shown.clone();
        let ready = format!("{:?}", self.gateway.readiness());
        assert!(!shown.iter().any(|token| said.contains(token) || ready.contains(token)), "{said} {ready}");
        said
    }

    /// Calls, and returns why that is refused.
    fn why(&self, token: &str) -> String {
        let said = self.call(token);
        let why = said.split(r#""message":""#).nth(1).unwrap_or_else(|| panic!("it goes on: {said}"));
        why.split(r#""},"#).next().unwrap_or_default().split(r#""}"#).next().unwrap_or_default().to_owned()
    }

    fn seen(&self) -> String {
        std::mem::take(&mut lock(&self.doubles).seen).join("\n")
    }

    fn wait(&self, duration: Duration) {
        self.host.run(self.host.sleep(duration));
    }
}

#[test]
fn a_token_is_exchanged_once_for_each_user() {
    let stage = Stage::new(EXCHANGE);
    let (ann, bob) = (stage.token("ann"), stage.token("bob"));
    for token in [&ann, &bob, &ann, &bob] {
        assert!(stage.call(token).contains(CALLED));
    }
    insta::assert_snapshot!(stage.seen(), @"
    idp.test by portcullis:s3cret: token-exchange of ann access_token access_token tools https://mine.test/mcp read
    call with Bearer t0k3n-ann-1
    idp.test by portcullis:s3cret: token-exchange of bob access_token access_token tools https://mine.test/mcp read
    call with Bearer t0k3n-bob-2
    call with Bearer t0k3n-ann-1
    call with Bearer t0k3n-bob-2
    ");
}

#[test]
fn a_provider_vouches_for_each_user_at_the_servers_own_authorization_server() {
    let stage = Stage::new(ID_JAG);
    let (ann, bob) = (stage.token("ann"), stage.token("bob"));
    for token in [&ann, &bob, &ann] {
        assert!(stage.call(token).contains(CALLED));
    }
    insta::assert_snapshot!(stage.seen(), @"
    idp.test by portal:idp-s3cret: token-exchange of ann id_token id-jag https://as.test https://mine.test/mcp
    as.test by portcullis:s3cret: jwt-bearer of ann https://mine.test/mcp
    call with Bearer t0k3n-ann-2
    idp.test by portal:idp-s3cret: token-exchange of bob id_token id-jag https://as.test https://mine.test/mcp
    as.test by portcullis:s3cret: jwt-bearer of bob https://mine.test/mcp
    call with Bearer t0k3n-bob-4
    call with Bearer t0k3n-ann-2
    ");
}

#[test]
fn a_token_is_made_anew_by_what_was_shown_last() {
    let stage = Stage::new(EXCHANGE);
    lock(&stage.doubles).lifetime = 60;
    assert!(stage.call(&stage.token("ann")).contains(CALLED));
    stage.wait(Duration::from_secs(30));
    let second = stage.token_of("https://idp.test", "ann", r#","jti":"-again""#);
    assert!(stage.call(&second).contains(CALLED), "what the first gave is still good");
    stage.wait(Duration::from_secs(20));
    assert!(stage.call(&second).contains(CALLED));
    insta::assert_snapshot!(stage.seen(), @"
    idp.test by portcullis:s3cret: token-exchange of ann access_token access_token tools https://mine.test/mcp read
    call with Bearer t0k3n-ann-1
    call with Bearer t0k3n-ann-1
    idp.test by portcullis:s3cret: token-exchange of ann-again access_token access_token tools https://mine.test/mcp read
    call with Bearer t0k3n-ann-2
    ");
}

#[test]
fn whoever_has_not_signed_in_is_told_to() {
    for grant in [EXCHANGE, ID_JAG] {
        let stage = Stage::new(grant);
        let why = stage.why(key(1).0.reveal());
        insta::allow_duplicates! { insta::assert_snapshot!(why, @r#"server \"mine\" acts on behalf of whoever signed in, and this caller has not: sign in with a token of an identity provider (`auth.issuers`, `auth.sign_in`); an API key is none"#); }
        assert_eq!(stage.why(""), why);
        assert_eq!(stage.seen(), "", "and nobody is asked anything");
    }
}

#[test]
fn a_sign_in_that_is_over_is_said_to_be_until_there_is_another() {
    let stage = Stage::new(EXCHANGE);
    lock(&stage.doubles).over.push("ann");
    let first = stage.token("ann");
    insta::assert_snapshot!(stage.why(&first), @r#"server \"mine\" acts on behalf of whoever signed in, and the user's sign-in at \"https://idp.test\" is over (invalid_grant): the user signs in again"#);
    stage.seen();
    stage.why(&first);
    assert_eq!(stage.seen(), "", "it is not asked again what it has said");
    lock(&stage.doubles).over.clear();
    // One that ends no later would not take the place of one that counts.
    let second = stage.token_of("https://idp.test", "ann", r#","jti":"-anew""#);
    assert!(stage.call(&second).contains(CALLED));
    assert!(stage.call(&first).contains(CALLED), "the user's other agents go on with it");
    insta::assert_snapshot!(stage.seen(), @"
    idp.test by portcullis:s3cret: token-exchange of ann-anew access_token access_token tools https://mine.test/mcp read
    call with Bearer t0k3n-ann-1
    call with Bearer t0k3n-ann-1
    ");
}

#[test]
fn a_token_for_somebody_else_is_exchanged_for_nothing() {
    let stage = Stage::new(EXCHANGE);
    let foreign = stage.token_of("https://idp.test", "ann", r#","aud":"https://other.test""#);
    let unknown = stage.token_of("https://evil.test", "ann", "");
    for token in [foreign, unknown] {
        assert!(stage.why(&token).contains("token"));
    }
    assert_eq!(stage.seen(), "");
}

#[test]
fn a_provider_is_shown_no_token_of_another() {
    let stage = Stage::new(ID_JAG);
    let token = stage.token_of("https://partner.test", "ann", "");
    insta::assert_snapshot!(stage.why(&token), @r#"server \"mine\" acts on behalf of whoever signed in at \"https://idp.test\", and this caller has signed in elsewhere"#);
    assert_eq!(stage.seen(), "");
}

#[test]
fn a_server_names_nobody_who_is_shown_what_vouches() {
    let stage = Stage::new(&ID_JAG.replace("issuer: 'https://as.test', ", ""));
    insta::assert_snapshot!(stage.why(&stage.token("ann")), @r#"server \"mine\" names \"https://evil.test\" as its authorization server, which is elsewhere and so is shown no credential; if that is right, set `auth.oauth.issuer` to it"#);
    assert_eq!(stage.seen(), "");
}

#[test]
fn what_is_no_id_jag_is_shown_to_nobody() {
    let stage = Stage::new(ID_JAG);
    let text = r#"{"access_token":"of-the-provider","token_type":"Bearer","expires_in":60}"#;
    lock(&stage.doubles).instead.insert("idp.test", (200, text.into()));
    insta::assert_snapshot!(stage.why(&stage.token("ann")), @r#"server \"mine\" cannot be signed in at: the authorization server \"https://idp.test\" answers with what is no ID-JAG (`issued_token_type`, `token_type`); it is tried again soon"#);
    insta::assert_snapshot!(stage.seen(), @"idp.test by portal:idp-s3cret: token-exchange of ann id_token id-jag https://as.test https://mine.test/mcp");
}

#[test]
fn a_token_that_is_given_back_goes_no_further() {
    let stage = Stage::new(EXCHANGE);
    let token = stage.token("ann");
    let text = format!(r#"{{"access_token":"{token}","token_type":"Bearer"}}"#);
    lock(&stage.doubles).instead.insert("idp.test", (200, text));
    insta::assert_snapshot!(stage.why(&token), @r#"server \"mine\" cannot be signed in at: the authorization server \"https://idp.test\" gives the user's own token back; it is tried again soon"#);
}

#[test]
fn who_vouches_in_vain_is_no_end_of_a_sign_in() {
    let stage = Stage::new(ID_JAG);
    lock(&stage.doubles).instead.insert("as.test", (400, r#"{"error":"invalid_grant"}"#.into()));
    insta::assert_snapshot!(stage.why(&stage.token("ann")), @r#"server \"mine\" cannot be signed in at: the authorization server \"https://as.test\" gives the client \"portcullis\" no token (invalid_grant); see `auth.oauth`, and what it lets the client do"#);
}

#[test]
fn what_vouches_is_not_repeated() {
    let stage = Stage::new(ID_JAG);
    lock(&stage.doubles).instead.insert("as.test", (400, r#"{"error":"WHAT-WAS-SHOWN"}"#.into()));
    insta::assert_snapshot!(stage.why(&stage.token("ann")), @r#"server \"mine\" cannot be signed in at: the authorization server \"https://as.test\" gives the client \"portcullis\" no token ([redacted]); see `auth.oauth`, and what it lets the client do"#);
}

#[test]
fn what_a_caller_has_shown_goes_along_to_the_owner_of_its_session() {
    let stage = Stage::new(EXCHANGE);
    let fleet = Fleet::new(&stage.host, |host| gateway_on(host.clone(), config(EXCHANGE)));
    let bearer = format!("Bearer {}", stage.token("ann"));
    let said = |message: &str, session: &str| {
        let mut headers =
            vec![("authorization", &*bearer), ("accept", "application/json, text/event-stream")];
        if !session.is_empty() {
            headers.push(("mcp-session-id", session));
        }
        let mut request = post(message.to_owned(), &headers);
        request.headers_mut().insert(header::HOST, "gw.test".parse().expect("ASCII"));
        stage.host.run(Box::pin(fleet.isolate().serve(request)))
    };
    let begin = said(
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{}}}"#,
        "",
    );
    let session = begin.headers()[names::SESSION_ID].to_str().expect("ASCII").to_owned();
    let call =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"mine__echo","arguments":{}}}"#;
    let answer = stage.host.run(text(said(call, &session)));
    assert!(answer.contains(CALLED), "{answer}");
    assert!(matches!(&fleet.put_away()[..], [owner] if owner.starts_with("user:corp:ann/")));
}

#[test]
fn a_token_is_kept_where_a_server_needs_it_alone() {
    let kept = |grant: &str| {
        let stage = Stage::new(grant);
        let token = stage.token("ann");
        let snapshot = stage.gateway.snapshot();
        let proof = stage.gateway.prove(&token, None, ("/mcp", &snapshot));
        let proof = stage.host.run(Box::pin(proof)).unwrap_or_else(|denial| panic!("{denial:?}"));
        assert!(!format!("{proof:?}").contains(&token));
        serde_json::to_string(&proof).expect("text").contains(&token)
    };
    assert!(kept(EXCHANGE) && kept(ID_JAG));
    assert!(!kept("grant: client_credentials, ") && !kept(""));
}
