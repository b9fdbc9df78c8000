//! Agents that sign in with the gateway, which stands in before an identity provider.

mod clients;
mod console;
mod document;
mod tokens;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use sha2::{Digest as _, Sha256};
use url::{Url, form_urlencoded};

use self::document::document;
use super::modern_server;
use crate::body::Body;
use crate::config::{Agent, Auth, Config, Issuer, Match, Origin, Policy, SignIn};
use crate::gateway::Gateway;
use crate::oauth::PublicKey;
use crate::ports::{Clock as _, NamedByStranger, SecretStore as _};
use crate::secrets::{Replacing, Secret, SecretName};
use crate::sorted::SortedMap;
use crate::testing::{Answer, Memory, gateway_with, json_answer, modern, signature};
use crate::upstream::lock;
use crate::wire::json::Json;

const IDP: &str = "https://idp.test";
const OWN: &str = "https://gw.test";
const ENDPOINT: &str = "https://gw.test/mcp";
const APP: &str = "https://app.example/client.json";
const CALLBACK: &str = "https://app.example/cb";
const VERIFIER: &str = "a-verifier-that-is-long-enough-for-all-purposes";

/// The provider's behaviour.
#[derive(Default)]
struct Provider {
    /// What the ID token says in place of what it should.
    claims: Mutex<SortedMap<&'static str, String>>,
    /// The nonce of the last sign-in, and the challenge that came with it.
    asked: Mutex<(String, String)>,
    /// The ID tokens that were made.
    made: Mutex<Vec<String>>,
    is_away: AtomicBool,
}

fn key() -> PublicKey {
    PublicKey::Ed25519([3; 32])
}

impl Provider {
    fn answer(&self, request: &http::Request<Bytes>, now: u64) -> Answer {
        match request.uri().path() {
            _ if self.is_away.load(Ordering::Relaxed) => json_answer(503, "away"),
            "/.well-known/openid-configuration" => json_answer(
                200,
                format!(
                    r#"{{"issuer":"{IDP}","jwks_uri":"{IDP}/jwks","authorization_endpoint":"{IDP}/auth","token_endpoint":"{IDP}/token","authorization_response_iss_parameter_supported":true}}"#
                ),
            ),
            "/jwks" => {
                let own = key().to_jwk().replacen('{', r#"{"kid":"k","#, 1);
                json_answer(200, format!(r#"{{"keys":[{own}]}}"#))
            }
            "/token" => self.token(request, now),
            _ => json_answer(404, "nothing"),
        }
    }

    fn token(&self, request: &http::Request<Bytes>, now: u64) -> Answer {
        let (nonce, challenge) = lock(&self.asked).clone();
        let form = parameters(std::str::from_utf8(request.body()).expect("a form"));
        if let Some(kind) = form.get("subject_token_type") {
            let is_its = lock(&self.made).contains(&form["subject_token"]) && kind.ends_with(":id_token");
            if !is_its {
                return json_answer(400, r#"{"error":"invalid_request"}"#);
            }
            let issued = "urn:ietf:params:oauth:token-type:access_token";
            return json_answer(
                200,
                format!(
                    r#"{{"access_token":"exchanged","token_type":"Bearer","expires_in":120,"issued_token_type":"{issued}"}}"#
                ),
            );
        }
        let hashed = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
        let basic = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let is_right = form["code"] == "theirs"
            && hashed == challenge
            && form["redirect_uri"] == format!("{OWN}/oauth/signed-in")
            // `portcullis:s3cret+%26`
            && basic == Some("Basic cG9ydGN1bGxpczpzM2NyZXQrJTI2");
        if !is_right {
            return json_answer(400, r#"{"error":"invalid_grant"}"#);
        }
        let claims = lock(&self.claims).clone();
        let claim = |name: &str, own: String| claims.get(name).cloned().unwrap_or(own);
        let payload = format!(
            r#"{{"iss":{},"aud":{},"sub":"ann","exp":{},"nonce":{},"groups":["eng"]}}"#,
            claim("iss", format!("\"{IDP}\"")),
            claim("aud", "\"portcullis\"".into()),
            now / 1000 + 300,
            claim("nonce", format!("\"{nonce}\"")),
        );
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", part(r#"{"alg":"EdDSA","kid":"k"}"#), part(&payload));
        let by = if claims.contains_key("key") { PublicKey::Ed25519([9; 32]) } else { key() };
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature(&by, signed.as_bytes())));
        lock(&self.made).push(token.clone());
        json_answer(200, format!(r#"{{"access_token":"theirs","token_type":"Bearer","id_token":"{token}"}}"#))
    }
}

fn parameters(text: &str) -> SortedMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn form(pairs: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
    form.finish()
}

fn config(sign_in: impl FnOnce(&mut SignIn)) -> Config {
    let issuer =
        Issuer { name: "corp".into(), url: IDP.into(), scopes: vec!["mcp:use".into()], ..Issuer::default() };
    let mut own = SignIn {
        issuer: "corp".into(),
        client_id: "portcullis".into(),
        client_secret: Some(SecretName::parse("idp").expect("a name")),
        place: (0, 0),
        scopes: vec!["openid".into(), "groups".into()],
        allow: Vec::new(),
    };
    sign_in(&mut own);
    let auth = Auth { required: true, issuers: vec![issuer], sign_in: Some(own), ..Auth::default() };
    let engineer = Agent {
        name: "engineer".into(),
        matches: vec![Match::Claim("groups".into(), "eng".into())],
        ..Agent::allowing_everything()
    };
    let default = Arc::new(Agent::bare("default", Origin::default()));
    let policy = Policy { agents: vec![Arc::new(engineer)], default, ..Policy::default() };
    let mut config = Config { policy, auth, ..Config::default() };
    config.gateway.public_url = Some(OWN.parse().expect("a URL"));
    config
}

struct Stage {
    host: Memory,
    gateway: Gateway<Memory>,
    provider: Arc<Provider>,
}

/// A browser with its cookies.
#[derive(Default, Clone)]
struct Browser(SortedMap<String, String>);

/// What the gateway answered.
#[derive(Debug)]
struct Answered {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answered {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// Returns where it sends a browser to.
    fn onward(&self) -> Url {
        let location = self.header("location");
        let refresh = self.header("refresh").strip_prefix("0;url=").unwrap_or_default();
        Url::parse(if location.is_empty() { refresh } else { location })
            .unwrap_or_else(|_| panic!("it leads on: {self:?}"))
    }

    /// Returns what it sends there.
    fn query(&self) -> SortedMap<String, String> {
        parameters(self.onward().query().unwrap_or_default())
    }

    fn json(&self, name: &str) -> String {
        let json = Json::check(self.text.as_bytes()).unwrap_or_else(|_| panic!("JSON: {self:?}"));
        json.get(name).and_then(Json::as_str).unwrap_or_default().into_owned()
    }

    /// Returns the request that stands in the form of a page.
    fn form(&self) -> String {
        let value = self.text.split_once("name=\"request\" value=\"").map(|(_, rest)| rest);
        value.and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("a form: {self:?}")).to_owned()
    }

    /// Returns what a page says is wrong.
    fn said(&self) -> String {
        let said = self.text.split_once("<p>").and_then(|(_, rest)| rest.split_once("</p>"));
        format!("{} {}", self.status, said.map_or(&*self.text, |(said, _)| said))
    }
}

impl Stage {
    fn new() -> Self {
        Self::with(config(|_| ()))
    }

    fn with(config: Config) -> Self {
        let (host, provider) = Self::host();
        let gateway = gateway_with(&host, &["a"], config);
        Self { host, gateway, provider }
    }

    fn host() -> (Memory, Arc<Provider>) {
        let provider = Arc::new(Provider::default());
        let answers = provider.clone();
        let host = Memory::new(move |request| {
            match (request.uri().host(), request.extensions().get::<NamedByStranger>()) {
                (Some("idp.test"), None) => answers.answer(request, 1_800_000_000_000),
                (Some("app.example"), Some(_)) => document(request),
                (Some("b.test"), None) => match request.headers().get(header::AUTHORIZATION) {
                    Some(carried) if carried == "Bearer exchanged" => modern_server(request),
                    _ => json_answer(401, "no"),
                },
                (host, mark) => {
                    assert_eq!((host, mark.is_some()), (Some("a.test"), false), "who is a stranger");
                    modern_server(request)
                }
            }
        });
        let secret = Secret::new("s3cret &".into()).expect("a secret");
        let name = SecretName::parse("idp").expect("a name");
        let stored = host.run(host.store().set(name, secret, Replacing::AtOnce, 0));
        stored.expect("it is kept");
        (host, provider)
    }

    fn send(&self, method: Method, target: &str, headers: &[(&'static str, &str)], body: String) -> Answered {
        self.send_to(&self.gateway, (method, target), headers, body)
    }

    fn send_to(
        &self,
        gateway: &Gateway<Memory>,
        (method, target): (Method, &str),
        headers: &[(&'static str, &str)],
        body: String,
    ) -> Answered {
        let mut request = http::Request::new(Body::Full(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().expect("a target");
        request.headers_mut().insert(header::HOST, "gw.test".parse().expect("ASCII"));
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().expect("a header value"));
        }
        self.host.run(async {
            let reply = Box::pin(gateway.serve(request)).await;
            let (head, body) = reply.into_parts();
            let text = body.collect(usize::MAX).await.expect("a body");
            let text = String::from_utf8(text.to_vec()).expect("a text");
            Answered { status: head.status.as_u16(), headers: head.headers, text }
        })
    }

    fn get(&self, browser: &mut Browser, target: &str) -> Answered {
        self.browse(browser, Method::GET, target, String::new())
    }

    fn browse(&self, browser: &mut Browser, method: Method, target: &str, body: String) -> Answered {
        let cookies: Vec<_> = browser.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut headers = vec![("cookie", &*cookies)];
        if method == Method::POST {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
            headers.push(("origin", OWN));
        }
        let answered = self.send(method, target, &headers, body);
        for cookie in answered.headers.get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().expect("ASCII");
            assert!(cookie.starts_with("__Host-") && cookie.contains("; Path=/; "), "{cookie}");
            assert!(cookie.ends_with("; Secure; HttpOnly; SameSite=Lax"), "{cookie}");
            let (name, value) =
                cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            browser.0.insert(name.to_owned(), value.to_owned());
        }
        answered
    }

    /// An authorization request, with some parameters in place of what they should be.
    fn request(client: &str, otherwise: &[(&str, &str)]) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let right = [
            ("client_id", client),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("state", "the client's"),
            ("resource", ENDPOINT),
            ("scope", "mcp:use other"),
        ];
        let of = |name| otherwise.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        let mut pairs: Vec<_> =
            right.iter().map(|(name, value)| (*name, of(*name).unwrap_or(value))).collect();
        pairs.extend(otherwise.iter().filter(|(name, _)| right.iter().all(|(known, _)| known != name)));
        format!("/oauth/authorize?{}", form(&pairs))
    }

    /// Agrees on a page.
    fn agree(&self, browser: &mut Browser, page: &Answered) -> Answered {
        let body = form(&[("request", &page.form()), ("decision", "allow")]);
        self.browse(browser, Method::POST, "/oauth/consent", body)
    }

    /// Signs in at the provider, and brings back what it answers.
    fn at_provider(&self, at: &Answered) -> String {
        let asked = at.query();
        *lock(&self.provider.asked) = (asked["nonce"].clone(), asked["code_challenge"].clone());
        let back = form(&[("state", &asked["state"]), ("code", "theirs"), ("iss", IDP)]);
        format!("/oauth/signed-in?{back}")
    }

    /// Goes the whole way to a code.
    fn code(&self, request: &str) -> String {
        let mut browser = Browser::default();
        let page = self.get(&mut browser, request);
        let agreed = self.agree(&mut browser, &page);
        let back = self.at_provider(&agreed);
        let answered = self.get(&mut browser, &back);
        answered.query().get("code").cloned().unwrap_or_else(|| panic!("a code: {answered:?}"))
    }

    fn token(&self, pairs: &[(&str, &str)]) -> Answered {
        let kind = ("content-type", "application/x-www-form-urlencoded");
        self.send(Method::POST, "/oauth/token", &[kind], form(pairs))
    }

    fn redeem(&self, code: &str, otherwise: &[(&str, &str)]) -> Answered {
        let right = [
            ("grant_type", "authorization_code"),
            ("client_id", APP),
            ("code", code),
            ("code_verifier", VERIFIER),
            ("redirect_uri", CALLBACK),
            ("resource", ENDPOINT),
        ];
        let of = |name| otherwise.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        let pairs: Vec<_> = right.iter().map(|(name, value)| (*name, of(*name).unwrap_or(value))).collect();
        self.token(&pairs)
    }

    fn refresh(&self, token: &str) -> Answered {
        self.token(&[("grant_type", "refresh_token"), ("client_id", APP), ("refresh_token", token)])
    }

    fn list(&self, token: &str) -> String {
        self.list_at("/mcp", token)
    }

    fn list_at(&self, path: &'static str, token: &str) -> String {
        let mut request = modern("1", "tools/list", "");
        *request.uri_mut() = http::Uri::from_static(path);
        let bearer = format!("Bearer {token}").parse().expect("ASCII");
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        request.headers_mut().insert(header::HOST, "gw.test".parse().expect("ASCII"));
        let told = super::ask(&self.host, &self.gateway, request);
        let what = told.split(r#""message":""#).nth(1).and_then(|rest| rest.split('"').next());
        let what = what.unwrap_or(if told.contains("a__echo") { "tools" } else { "none" });
        format!("{} {what}", &told[..3])
    }

    fn pass(&self, seconds: u64) {
        self.host.run(self.host.sleep(Duration::from_secs(seconds)));
    }
}

#[test]
fn somebody_signs_in_and_their_agent_calls() {
    let stage = Stage::new();
    let mut browser = Browser::default();
    let page = stage.get(&mut browser, &Stage::request(APP, &[]));
    assert_eq!(page.status, 200);
    for shown in ["The &#60;b&#62;App&#60;/b&#62;", "<dd>app.example</dd>", "<dd>https://gw.test/mcp</dd>"] {
        assert!(page.text.contains(shown), "{shown} in {}", page.text);
    }
    assert!(!page.text.contains("<script") && !page.text.contains("class=\"warning\""));
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("content-type", "text/html; charset=utf-8"),
    ] {
        assert_eq!(page.header(name), value);
    }
    insta::assert_snapshot!(page.header("content-security-policy").split_once("'sha256-").expect("a hash").0, @"default-src 'none'; style-src ");
    assert!(
        page.header("content-security-policy")
            .ends_with("; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
    );
    let agreed = stage.agree(&mut browser, &page);
    assert_eq!((agreed.status, agreed.onward().path()), (200, "/auth"));
    let asked = agreed.query();
    assert_eq!((&*asked["client_id"], &*asked["scope"]), ("portcullis", "openid groups"));
    assert_eq!(
        (&*asked["redirect_uri"], &*asked["code_challenge_method"]),
        ("https://gw.test/oauth/signed-in", "S256")
    );
    let back = stage.at_provider(&agreed);
    let answered = stage.get(&mut browser, &back);
    let query = answered.query();
    assert_eq!((answered.status, answered.onward().host_str()), (302, Some("app.example")));
    assert_eq!((&*query["state"], &*query["iss"]), ("the client's", OWN));
    let tokens = stage.redeem(&query["code"], &[]);
    assert_eq!((tokens.status, tokens.header("cache-control")), (200, "no-store"));
    assert_eq!((tokens.json("token_type"), tokens.json("scope")), ("Bearer".into(), "mcp:use".into()));
    assert!(tokens.text.contains(r#""expires_in":600"#));
    stage.host.sent();
    assert_eq!(stage.list(&tokens.json("access_token")), "200 tools");
    assert!(stage.host.sent().iter().all(|line| !line.contains("pca_")), "no token goes on");
    stage.pass(600);
    insta::assert_snapshot!(stage.list(&tokens.json("access_token")), @"401 Unauthorized: the access token is unknown, over, or for another endpoint");
    let refreshed = stage.refresh(&tokens.json("refresh_token"));
    assert_eq!(stage.list(&refreshed.json("access_token")), "200 tools");
    assert_ne!(refreshed.json("refresh_token"), tokens.json("refresh_token"));
}

#[test]
fn case_8_no_browser_is_sent_on_for_a_client_that_its_user_has_not_agreed_to() {
    let stage = Stage::new();
    let mut browser = Browser::default();
    let first = Stage::request(APP, &[]);
    let page = stage.get(&mut browser, &first);
    stage.agree(&mut browser, &page);
    assert_eq!(
        stage.get(&mut browser, &first).onward().host_str(),
        Some("idp.test"),
        "the same is remembered"
    );
    assert_eq!(stage.get(&mut browser, &Stage::request(APP, &[("prompt", "consent")])).status, 200);
    let registered = stage
        .register(r#"{"redirect_uris":["https://evil.example/cb"],"token_endpoint_auth_method":"none"}"#);
    let evil = Stage::request(&registered.json("client_id"), &[("redirect_uri", "https://evil.example/cb")]);
    let page = stage.get(&mut browser, &evil);
    assert_eq!((page.status, page.header("location")), (200, ""), "another client is asked about");
    assert!(page.text.contains("evil.example") && page.text.contains("it registered itself"));
    let local = Stage::request(APP, &[("redirect_uri", "http://127.0.0.1:4000/cb")]);
    for _ in 0..2 {
        let page = stage.get(&mut browser, &local);
        assert!(page.text.contains("class=\"warning\""), "another redirect is, each time: {page:?}");
        stage.agree(&mut browser, &page);
    }
    let mut another = Browser::default();
    another.0.insert("__Host-portcullis-consents".into(), browser.0["__Host-portcullis-consents"].clone());
    assert_eq!(stage.get(&mut another, &first).status, 200, "another browser's consents are none");
    stage.pass(31 * 24 * 60 * 60);
    assert_eq!(stage.get(&mut browser, &first).status, 200, "it is forgotten");
}

#[test]
fn case_34_a_form_counts_from_the_browser_that_was_asked() {
    let stage = Stage::new();
    let mut browser = Browser::default();
    let page = stage.get(&mut browser, &Stage::request(APP, &[]));
    let body = form(&[("request", &page.form()), ("decision", "allow")]);
    let post = |browser: &mut Browser, body: &str| {
        stage.browse(browser, Method::POST, "/oauth/consent", body.to_owned())
    };
    insta::assert_snapshot!(post(&mut Browser::default(), &body).said(), @"403 The form was made for another browser, or this one keeps no cookies.");
    let mut other = Browser::default();
    stage.get(&mut other, &Stage::request(APP, &[]));
    insta::assert_snapshot!(post(&mut other, &body).said(), @"403 The form was made for another browser, or this one keeps no cookies.");
    insta::assert_snapshot!(post(&mut browser, "request=x&decision=allow").said(), @"400 The form is not one of ours, or it is too old.");
    insta::assert_snapshot!(post(&mut browser, &form(&[("request", &page.form())])).said(), @"400 The form does not say what was decided.");
    let cookie = format!("__Host-portcullis-browser={}", browser.0["__Host-portcullis-browser"]);
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let foreign = [kind, ("cookie", &*cookie), ("origin", "https://evil.example")];
    assert_eq!(stage.send(Method::POST, "/oauth/consent", &foreign, body.clone()).status, 403);
    let null = [kind, ("cookie", &*cookie), ("origin", "null")];
    assert_eq!(stage.send(Method::POST, "/oauth/consent", &null, body.clone()).status, 403);
    assert_eq!(stage.get(&mut browser, &format!("/oauth/consent?{body}")).status, 405);
    let denied = post(&mut browser, &form(&[("request", &page.form()), ("decision", "deny")])).query();
    assert_eq!(
        (&*denied["error"], &*denied["iss"], &*denied["state"]),
        ("access_denied", OWN, "the client's")
    );
    stage.pass(600);
    insta::assert_snapshot!(post(&mut browser, &body).said(), @"400 The form is not one of ours, or it is too old.");
}

#[test]
fn an_error_is_a_page_until_the_redirect_uri_is_certain() {
    let stage = Stage::new();
    let check = |client: &str, otherwise: &[(&str, &str)]| {
        let answered = stage.get(&mut Browser::default(), &Stage::request(client, otherwise));
        assert_eq!(answered.header("location"), "", "{client} {otherwise:?}");
        answered.said()
    };
    insta::assert_snapshot!(check("", &[]), @"400 The request does not say which client it is of (`client_id`).");
    insta::assert_snapshot!(check("x", &[]), @"400 the client is not known here, or its registration has ended");
    insta::assert_snapshot!(check("http://app.example/client.json", &[]), @"400 a client&#39;s id that is a URL begins with https");
    insta::assert_snapshot!(check("https://169.254.169.254/x", &[]), @"400 a client&#39;s id leads to a public name, and to no address");
    insta::assert_snapshot!(check("https://app.example/lies.json", &[]), @"400 the client&#39;s document is that of another client: its `client_id` is not its URL");
    insta::assert_snapshot!(check("https://app.example/large.json", &[]), @"400 the client&#39;s document has more than 32 KiB");
    insta::assert_snapshot!(check("https://app.example/moved.json", &[]), @"400 What the client says of itself cannot be read at the address that is its id.");
    let elsewhere = "400 The request would send you to an address that its client has not named as its own.";
    for uri in [
        "https://evil.example/cb",
        "https://app.example/cb/",
        "https://app.example/cb?x",
        "http://127.0.0.1:1/other",
        "http://localhost/cb",
    ] {
        assert_eq!(check(APP, &[("redirect_uri", uri)]), elsewhere, "{uri}");
    }
    insta::assert_snapshot!(check(APP, &[("redirect_uri", "")]), @"400 The request does not say where to go back to (`redirect_uri`).");
    let twice = format!("{}&redirect_uri=https%3A%2F%2Fevil.example%2Fcb", Stage::request(APP, &[]));
    insta::assert_snapshot!(stage.get(&mut Browser::default(), &twice).said(), @"400 the parameter `redirect_uri` may appear once");
    assert!(stage.host.sent().iter().all(|line| !line.contains("169.254")), "no address inside is asked");
}

#[test]
fn case_9_an_error_is_told_to_the_client_once_it_is() {
    let stage = Stage::new();
    let check = |otherwise: &[(&str, &str)]| {
        let answered = stage.get(&mut Browser::default(), &Stage::request(APP, otherwise));
        let query = answered.query();
        assert_eq!((&*query["iss"], answered.onward().host_str()), (OWN, Some("app.example")));
        assert_eq!(query.get("state").map_or("", |state| state), "the client's");
        format!("{}: {}", query["error"], query["error_description"])
    };
    insta::assert_snapshot!(check(&[("code_challenge", "")]), @"invalid_request: `code_challenge` is missing: PKCE is required");
    insta::assert_snapshot!(check(&[("code_challenge_method", "plain")]), @"invalid_request: `code_challenge_method` must be S256");
    insta::assert_snapshot!(check(&[("code_challenge_method", "")]), @"invalid_request: `code_challenge_method` must be S256");
    insta::assert_snapshot!(check(&[("code_challenge", "short")]), @"invalid_request: `code_challenge` is no S256 challenge");
    insta::assert_snapshot!(check(&[("response_type", "token")]), @"unsupported_response_type: `response_type` must be code");
    insta::assert_snapshot!(check(&[("response_type", "")]), @"invalid_request: `response_type` is missing");
    insta::assert_snapshot!(check(&[("response_mode", "fragment")]), @"invalid_request: `response_mode` must be query");
    insta::assert_snapshot!(check(&[("request", "x")]), @"request_not_supported: request objects are not taken");
    insta::assert_snapshot!(check(&[("prompt", "none")]), @"login_required: nobody is signed in without being asked");
    for other in [
        "https://other.test/mcp",
        "https://gw.test",
        "https://gw.test/",
        "https://gw.test/admin/v1/keys",
        "https://gw.test.evil.example/mcp",
        "https://gw.test/mcp#x",
    ] {
        let told = check(&[("resource", other)]);
        assert_eq!(told, "invalid_target: `resource` is none of this gateway's MCP endpoints", "{other}");
    }
}

#[test]
fn case_9_only_the_provider_and_the_browser_that_began_finish_a_sign_in() {
    let stage = Stage::new();
    let mut browser = Browser::default();
    let page = stage.get(&mut browser, &Stage::request(APP, &[]));
    let agreed = stage.agree(&mut browser, &page);
    let back = stage.at_provider(&agreed);
    let mut check = |target: &str| stage.get(&mut browser, target).said();
    insta::assert_snapshot!(check(&back.replace("&iss=https%3A%2F%2Fidp.test", "")), @"400 The answer is not the identity provider&#39;s.");
    insta::assert_snapshot!(check(&back.replace("idp.test", "idp.test%2F")), @"400 The answer is not the identity provider&#39;s.");
    insta::assert_snapshot!(check(&format!("{back}&iss=https%3A%2F%2Fevil.test")), @"400 The answer is not the identity provider&#39;s.");
    insta::assert_snapshot!(check("/oauth/signed-in?code=theirs&iss=https%3A%2F%2Fidp.test"), @"400 This is no answer to a sign-in that was begun here, or it came too late.");
    let forged = back.replace(&agreed.query()["state"], &page.form());
    insta::assert_snapshot!(check(&forged), @"400 This is no answer to a sign-in that was begun here, or it came too late.");
    insta::assert_snapshot!(stage.get(&mut Browser::default(), &back).said(), @"403 This sign-in was begun in another browser.");
    assert!(stage.host.sent().iter().all(|line| !line.contains("/token")), "no code is redeemed");
    let mut told = |target: &str| stage.get(&mut browser, target).query()["error"].clone();
    assert_eq!(told(&back.replace("code=theirs", "error=access_denied")), "access_denied");
    assert_eq!(
        told(&back.replace("code=theirs", "error=server_error&error_description=%3Cx%3E")),
        "server_error"
    );
    assert_eq!(told(&back.replace("code=theirs", "code=another")), "server_error");
    stage.pass(600);
    insta::assert_snapshot!(stage.get(&mut browser, &back).said(), @"400 This is no answer to a sign-in that was begun here, or it came too late.");
}

impl Stage {
    fn register(&self, body: &str) -> Answered {
        self.send(Method::POST, "/oauth/register", &[("content-type", "application/json")], body.to_owned())
    }
}

#[test]
fn a_provider_that_is_away_signs_nobody_in() {
    let stage = Stage::new();
    stage.provider.is_away.store(true, Ordering::Relaxed);
    let mut browser = Browser::default();
    let page = stage.get(&mut browser, &Stage::request(APP, &[]));
    insta::assert_snapshot!(stage.agree(&mut browser, &page).said(), @"503 The identity provider cannot be reached.");
    stage.provider.is_away.store(false, Ordering::Relaxed);
    assert_eq!(stage.agree(&mut browser, &page).onward().host_str(), Some("idp.test"));
}
