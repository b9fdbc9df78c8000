//! The gateway as the authorization server before a real identity provider, over real HTTP; and the official suite's judgement
//! of it.

use std::collections::BTreeMap;

use portcullis_tests::agent::Agent;
use portcullis_tests::conformance::judge_authorization;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::{Request, Response};
use portcullis_tests::provider::Provider;
use portcullis_tests::upstream::{Upstream, free_port};
use serde_json::json;

const VERIFIER: &str = "a-verifier-that-is-long-enough-for-all-purposes";
/// Its challenge, as S256 has it.
const CHALLENGE: &str = "Wkk7QXBRuHO9ED7lZJWtCeCZ1E0kcYBquDrmTCtUtFU";

struct Stage {
    gateway: Gateway,
    origin: String,
    _provider: Provider,
    _upstream: Upstream,
}

impl Stage {
    fn new() -> Self {
        let upstream = Upstream::fixture(&["--era", "modern"]);
        let port = free_port();
        let origin = format!("http://127.0.0.1:{port}");
        let provider = Provider::behind(&origin);
        let (issuer, server) = (json!(provider.issuer()), json!(upstream.url()));
        let config = format!(
            "version: 1\ngateway: {{ public_url: '{origin}' }}\n\
             auth:\n  required: true\n  issuers: {{ corp: {{ url: {issuer} }} }}\n  \
             sign_in: {{ issuer: corp, client_id: portcullis, client_secret: {{ secret: idp }} }}\n\
             servers:\n  s: {{ url: {server} }}\n\
             agents:\n  engineer: {{ match: [{{ claim: {{ groups: eng }} }}], allow: ['*'] }}\n  \
             default: {{ deny: ['*'] }}\n"
        );
        let gateway = Gateway::with(&config).env("PORTCULLIS_ADMIN_KEY", "the admin's key").at_port(port);
        // Of a function, two environments take turns: each step comes to another than the one before.
        let gateway = gateway.of_function("environments", json!(2));
        let gateway = gateway.start_with_secret("idp", Provider::secret());
        Self { gateway, origin, _provider: provider, _upstream: upstream }
    }

    /// Registers a client that listens on this machine.
    fn client(&self, port: u16) -> String {
        let metadata = json!({
            "client_name": "tests",
            "redirect_uris": [format!("http://127.0.0.1:{port}/callback")],
            "token_endpoint_auth_method": "none",
        });
        let answer = Request::post(&format!("{}/oauth/register", self.origin)).json(&metadata).send();
        assert_eq!(answer.status, 201);
        let answer = answer.json();
        answer["client_id"].as_str().unwrap_or_else(|| panic!("an id: {answer}")).to_owned()
    }

    fn tokens(&self, form: &str) -> Response {
        Request::post(&format!("{}/oauth/token", self.origin))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
    }
}

/// A browser: it keeps cookies by host, goes where it is sent, and agrees to what the gateway asks.
#[derive(Default)]
struct Browser(BTreeMap<String, BTreeMap<String, String>>);

impl Browser {
    /// Goes on until it is sent to a client's callback, and answers that.
    fn sign_in(&mut self, url: &str) -> String {
        let mut at = url.to_owned();
        for _ in 0..12 {
            let response = self.send(&Request::get(&at), &at);
            let next = match onward(&response, &at) {
                Some(next) => next,
                None => self.agree(&at, response),
            };
            if next.contains("/callback?") {
                return next;
            }
            at = next;
        }
        panic!("sent around in a circle, at last to {at}");
    }

    fn agree(&mut self, at: &str, page: Response) -> String {
        let text = page.text();
        let request = text.split("name=\"request\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let request = request.unwrap_or_else(|| panic!("no form: {text}"));
        let origin = origin_of(at);
        let form = Request::post(&format!("{origin}/oauth/consent"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Origin", &origin)
            .body(format!("request={request}&decision=allow"));
        let response = self.send(&form, at);
        onward(&response, at).unwrap_or_else(|| panic!("{}", response.text()))
    }

    fn send(&mut self, request: &Request, at: &str) -> Response {
        let cookies = self.0.entry(origin_of(at)).or_default();
        let line: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let response = request.clone().header("Cookie", line.join("; ")).send();
        for cookie in response.all("set-cookie") {
            let pair = cookie.split(';').next().and_then(|pair| pair.split_once('='));
            let (name, value) = pair.unwrap_or_else(|| panic!("no cookie: {cookie}"));
            cookies.insert(name.to_owned(), value.to_owned());
        }
        response
    }
}

fn origin_of(url: &str) -> String {
    url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
}

/// Where an answer sends a browser on to.
fn onward(response: &Response, at: &str) -> Option<String> {
    let refresh = response.header("refresh").and_then(|value| value.strip_prefix("0;url="));
    let to = response.header("location").or(refresh)?;
    Some(if to.starts_with('/') { format!("{}{to}", origin_of(at)) } else { to.to_owned() })
}

fn parameter<'u>(url: &'u str, name: &str) -> &'u str {
    let pairs = url.split(['?', '&']).filter_map(|pair| pair.split_once('='));
    pairs.clone().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

#[test]
fn somebody_signs_in_at_a_real_provider_and_their_agent_calls() {
    let mut stage = Stage::new();
    let client = stage.client(1);
    let url = format!(
        "{}/oauth/authorize?response_type=code&client_id={client}&redirect_uri=http%3A%2F%2F127.0.0.1%3A2%2Fcallback\
         &code_challenge={CHALLENGE}&code_challenge_method=S256&state=mine",
        stage.origin
    );
    let back = Browser::default().sign_in(&url);
    assert!(back.starts_with("http://127.0.0.1:2/callback?"), "{back}");
    assert_eq!(parameter(&back, "state"), "mine");
    assert_eq!(parameter(&back, "iss").replace("%3A", ":").replace("%2F", "/"), stage.origin);
    let code = parameter(&back, "code");
    let form =
        format!("grant_type=authorization_code&client_id={client}&code={code}&code_verifier={VERIFIER}");
    let tokens = stage.tokens(&form).json();
    let of = |tokens: &serde_json::Value, name: &str| {
        tokens[name].as_str().unwrap_or_else(|| panic!("{name} in {tokens}")).to_owned()
    };
    let url = stage.gateway.url().to_owned();
    let tools = |token: &str| Agent::modern(&url).bearer(token).tools();
    assert!(!tools(&of(&tokens, "access_token")).is_empty());
    let refresh =
        format!("grant_type=refresh_token&client_id={client}&refresh_token={}", of(&tokens, "refresh_token"));
    let next = stage.tokens(&refresh).json();
    assert!(!tools(&of(&next, "access_token")).is_empty());
    let following = |tokens: &serde_json::Value| {
        format!("grant_type=refresh_token&client_id={client}&refresh_token={}", of(tokens, "refresh_token"))
    };
    let last = following(&stage.tokens(&following(&next)).json());
    stage.gateway.restart();
    assert_eq!(stage.tokens(&refresh).json()["error"], "invalid_grant", "it was used before the restart");
    assert_eq!(stage.tokens(&last).json()["error"], "invalid_grant", "the family has ended");
}

#[test]
fn the_official_suite_finds_nothing_wrong() {
    let stage = Stage::new();
    let port = free_port();
    let summary = judge_authorization(&stage.origin, &stage.client(port), port, |url| {
        let back = Browser::default().sign_in(url);
        Request::get(&back).send();
    });
    assert_eq!(summary, "3 passed, 0 failed");
}
