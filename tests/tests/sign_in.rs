//! Agents that sign in with an identity provider, a real one, over real HTTP; and tokens that must let nobody in.
//!
//! What is true of tokens is decided in core and tested there; here it is proved that each host carries it out. Attacks
//! are named after their cases in the list of attacks: `case_7_...` is the token that is passed on.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::client::{Client, Step};
use portcullis_tests::gateway::{Gateway, Host};
use portcullis_tests::http::{Request, Response};
use portcullis_tests::provider::Provider;
use portcullis_tests::scenario::received;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::{Upstream, free_port};
use portcullis_tests::wait;
use serde_json::{Value, json};

/// The gateway's public endpoint, for which tokens are made.
const ENDPOINT: &str = "https://gw.test/mcp";
const ADMIN_KEY: &str = "the admin's key";
/// Why tokens are refused.
const OTHER: &str = "Unauthorized: the token is not for this gateway: its audience is another";
const SIGNATURE: &str = "Unauthorized: the token's signature is wrong";
const ALGORITHM: &str = "Unauthorized: the token is not signed with RS256, ES256 or EdDSA";
const EXPIRED: &str = "Unauthorized: the token has expired";
const ISSUER: &str = "Unauthorized: the token is of an issuer whose tokens are not taken";
/// Whoever is of the group `eng` may do everything, whoever is not nothing.
const AGENTS: &str = r#"
agents:
  engineer: { match: [{ claim: { groups: eng } }], allow: ["*"] }
  default: { deny: ["*"] }
"#;

struct Stage {
    gateway: Gateway,
    provider: Provider,
    _upstream: Upstream,
    record: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        Self::with(Provider::start(), "modern", &format!("{{ public_url: '{ENDPOINT}' }}"), "")
    }

    /// A gateway whose callers sign in there, before a server of that era, with settings for the gateway and the issuer, in
    /// which `PORT` stands for its port.
    fn with(provider: Provider, era: &str, settings: &str, issuer: &str) -> Self {
        let folder = toolbox::scratch();
        let record = folder.path().join("record");
        let upstream = Upstream::fixture(&["--era", era, "--record", &record.display().to_string()]);
        let (url, server) = (json!(provider.issuer()), json!(upstream.url()));
        let port = free_port();
        let settings = settings.replace("PORT", &port.to_string());
        let config = format!(
            "version: 1\ngateway: {settings}\n\
             auth: {{ required: true, issuers: {{ corp: {{ url: {url}{issuer} }} }} }}\n\
             servers:\n  s: {{ url: {server} }}\n{AGENTS}"
        );
        let gateway = Gateway::with(&config).env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY);
        let gateway = gateway.at_port(port).keeping_secret("corp", Provider::secret()).start();
        Self { gateway, provider, _upstream: upstream, record, _folder: folder }
    }

    fn agent(&self, token: &str) -> Agent {
        Agent::modern(self.gateway.url()).bearer(token)
    }

    fn list(&self, token: &str) -> Response {
        self.agent(token).post("tools/list", json!({})).send()
    }

    /// Signs a token of the provider for this gateway, but for what a test has otherwise.
    fn signed(&self, header: &Value, claims: &Value, by: &str) -> String {
        let mut payload = json!({ "sub": "ann", "aud": ENDPOINT, "exp": now() + 300, "groups": ["eng"] });
        for (name, value) in claims.as_object().expect("claims are an object") {
            payload[name] = value.clone();
        }
        self.provider.sign(&json!({ "header": header, "payload": payload, "by": by }))
    }

    /// What a token is refused with.
    #[track_caller]
    fn refusal(&self, token: &str) -> String {
        let response = self.list(token);
        let challenge = response.header("www-authenticate").unwrap_or_default().to_owned();
        let expected = r#"Bearer realm="portcullis", error="invalid_token", resource_metadata="https://gw.test/.well-known/oauth-protected-resource/mcp""#;
        assert_eq!((response.status, &*challenge), (401, expected), "{token}");
        let error = response.json();
        error["error"]["message"].as_str().unwrap_or_else(|| panic!("{error}")).to_owned()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

#[test]
fn who_has_no_token_is_told_where_they_are_to_be_had() {
    let stage = Stage::new();
    for path in ["/mcp", "/mcp/servers/s"] {
        let response = Agent::modern(&stage.gateway.url_of(path)).post("tools/list", json!({})).send();
        assert_eq!(response.status, 401);
        let at = format!("https://gw.test/.well-known/oauth-protected-resource{path}");
        let challenge = format!(r#"Bearer realm="portcullis", resource_metadata="{at}""#);
        assert_eq!(response.header("www-authenticate"), Some(&*challenge));
    }
    for (at, resource) in [("", "/mcp"), ("/mcp", "/mcp"), ("/mcp/servers/s", "/mcp/servers/s")] {
        let url = stage.gateway.url_of(&format!("/.well-known/oauth-protected-resource{at}"));
        let response = Request::get(&url).send();
        assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
        assert_eq!(
            response.json(),
            json!({
                "resource": format!("https://gw.test{resource}"),
                "authorization_servers": [stage.provider.issuer()],
                "bearer_methods_supported": ["header"],
                "resource_name": "Portcullis",
            })
        );
    }
}

#[test]
fn a_token_lets_in_and_its_claims_choose_the_agent() {
    let stage = Stage::new();
    let robot = stage.provider.token("robot", ENDPOINT);
    assert!(stage.agent(&robot).tools().contains(&"s__echo".to_owned()));
    assert!(stage.agent(&stage.provider.token("guest", ENDPOINT)).tools().is_empty());
    assert_eq!(stage.provider.asked("keys"), 1, "they are read once");
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let token = stage.signed(&json!({ "alg": algorithm, "typ": "at+jwt" }), &json!({}), "itself");
        assert_eq!(stage.list(&token).status, 200, "{algorithm}");
    }
    stage.agent(&robot).call("s__echo", &json!({ "text": "signed in" }));
    let url = stage.gateway.url_of("/admin/v1/audit?tool=s__echo");
    let found = wait::until(wait::PATIENCE, || {
        let answer = Request::get(&url).header("Authorization", format!("Bearer {ADMIN_KEY}")).send();
        let entries = answer.json()["entries"].take();
        entries.get(0).is_some().then(|| entries[0].clone())
    });
    let entry = found.expect("the call is recorded");
    assert_eq!(entry["principal"], "user:corp:robot");
    assert_eq!((&entry["auth"], &entry["agent"]), (&json!("oauth"), &json!("engineer")));
}

#[test]
fn case_2_a_token_for_another_resource_lets_nobody_in() {
    let stage = Stage::new();
    for resource in ["https://other.test/mcp", "https://gw.test/mcp/servers/s", "http://gw.test/mcp"] {
        assert_eq!(stage.refusal(&stage.provider.token("robot", resource)), OTHER, "{resource}");
    }
    // At the endpoint that it is for, it is good; and one for all is good there as well.
    let narrow = stage.gateway.url_of("/mcp/servers/s");
    for resource in ["https://gw.test/mcp/servers/s", ENDPOINT] {
        let agent = Agent::modern(&narrow).bearer(&stage.provider.token("robot", resource));
        assert!(!agent.tools().is_empty(), "{resource}");
    }
}

#[test]
fn case_7_a_token_is_never_passed_on() {
    for era in ["modern", "legacy"] {
        let settings = format!("{{ public_url: '{ENDPOINT}' }}");
        let stage = Stage::with(Provider::start(), era, &settings, "");
        let token = stage.provider.token("robot", ENDPOINT);
        stage.agent(&token).call("s__echo", &json!({ "text": "x" }));
        let session = stage.agent(&token).handshake(LEGACY);
        session.call("s__echo", &json!({ "text": "y" }));
        let all = received(stage.record.clone());
        assert!(all.iter().filter(|line| line["method"] == "tools/call").count() == 2, "{all:?}");
        let signature = token.rsplit('.').next().expect("three parts");
        for line in all {
            let line = line.to_string();
            assert!(!line.contains(signature) && !line.contains("\"authorization\""), "{line}");
        }
        assert!(!stage.gateway.log().contains(signature));
    }
}

#[test]
fn case_35_a_token_that_is_not_the_providers_lets_nobody_in() {
    let stage = Stage::new();
    let watched = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let evil = format!("http://{}/jwks", watched.local_addr().expect("it is bound"));
    let check = |header: Value, claims: Value, by: &str| stage.refusal(&stage.signed(&header, &claims, by));
    let rs256 = || json!({ "alg": "RS256" });
    assert_eq!(check(rs256(), json!({}), "a stranger"), SIGNATURE);
    assert_eq!(check(json!({ "alg": "RS256", "kid": "x" }), json!({}), "itself"), SIGNATURE);
    assert_eq!(
        check(json!({ "alg": "RS256", "jku": evil, "x5u": evil }), json!({}), "a stranger"),
        SIGNATURE
    );
    assert_eq!(check(json!({ "alg": "none" }), json!({}), "itself"), ALGORITHM);
    assert_eq!(check(json!({ "alg": "HS256" }), json!({}), "the public key"), ALGORITHM);
    assert_eq!(check(rs256(), json!({ "exp": now() - 61 }), "itself"), EXPIRED);
    assert_eq!(check(rs256(), json!({ "iss": evil }), "itself"), ISSUER);
    assert_eq!(check(rs256(), json!({ "iss": format!("{}/", stage.provider.issuer()) }), "itself"), ISSUER);
    assert_eq!(
        check(json!({ "alg": "RS256", "typ": "dpop+jwt" }), json!({}), "itself"),
        "Unauthorized: the token is not an access token: its `typ` says so"
    );
    assert_eq!(
        check(json!({ "alg": "RS256", "crit": ["b64"], "b64": false }), json!({}), "itself"),
        "Unauthorized: the token has critical headers, which are not understood"
    );
    assert_eq!(
        check(rs256(), json!({ "nbf": now() + 200 }), "itself"),
        "Unauthorized: the token is not valid yet"
    );
    assert_eq!(
        check(rs256(), json!({ "groups": vec!["eng"; 3000] }), "itself"),
        "Unauthorized: the token is longer than 16384 bytes"
    );
    let unsigned = stage.signed(&rs256(), &json!({}), "nobody");
    assert_eq!(stage.refusal(&unsigned), "Unauthorized: the token is malformed");
    let good = stage.signed(&rs256(), &json!({}), "itself");
    assert_eq!(stage.list(&good).status, 200);
    let twice = stage.agent(&good).bearer(&good).post("tools/list", json!({})).send();
    // A host's front may have made one header of two.
    assert!(matches!(twice.status, 400 | 401), "two credentials: {}", twice.status);
    let in_url = format!("{}?access_token={good}", stage.gateway.url());
    assert_eq!(Agent::modern(&in_url).post("tools/list", json!({})).send().status, 401);
    watched.set_nonblocking(true).expect("a socket");
    assert_eq!(watched.accept().map_err(|error| error.kind()).err(), Some(ErrorKind::WouldBlock));
}

#[test]
fn a_provider_that_changes_its_keys_is_noticed() {
    let stage = Stage::new();
    assert_eq!(stage.list(&stage.provider.token("robot", ENDPOINT)).status, 200);
    stage.provider.rotate();
    let new = stage.provider.token("robot", ENDPOINT);
    wait::expect("the new key is noticed", || stage.list(&new).status == 200);
}

#[test]
fn keys_that_are_gone_count_no_more() {
    let stage = Stage::new();
    let old = stage.provider.token("robot", ENDPOINT);
    assert_eq!(stage.list(&old).status, 200);
    stage.provider.rotate();
    let new = stage.provider.token("robot", ENDPOINT);
    wait::expect("the new key is noticed", || stage.list(&new).status == 200);
    assert_eq!(stage.list(&old).status, 401, "the old key is gone");
}

#[test]
fn a_token_without_the_scope_that_is_asked_of_all_is_told_so() {
    let settings = format!("{{ public_url: '{ENDPOINT}' }}");
    let stage = Stage::with(Provider::start(), "modern", &settings, ", scopes: ['mcp:use']");
    assert_eq!(stage.list(&stage.provider.token("robot", ENDPOINT)).status, 200);
    let response =
        stage.list(&stage.signed(&json!({ "alg": "RS256" }), &json!({ "scope": "files" }), "itself"));
    let challenge = r#"Bearer realm="portcullis", error="insufficient_scope", resource_metadata="https://gw.test/.well-known/oauth-protected-resource/mcp", scope="mcp:use""#;
    assert_eq!((response.status, response.header("www-authenticate")), (403, Some(challenge)));
    let document = Request::get(&stage.gateway.url_of("/.well-known/oauth-protected-resource")).send().json();
    assert_eq!(document["scopes_supported"], json!(["mcp:use"]));
}

#[test]
fn of_a_token_that_is_not_signed_the_provider_is_asked() {
    let settings = format!("{{ public_url: '{ENDPOINT}' }}");
    let asking = ", introspection: { client_id: gateway, client_secret: { secret: corp } }";
    let stage = Stage::with(Provider::start(), "modern", &settings, asking);
    let opaque = stage.provider.token("opaque", ENDPOINT);
    assert!(!opaque.contains('.'), "{opaque}");
    if Host::chosen() != Host::Edge {
        assert_eq!(stage.list(&opaque).status, 503, "the gateway has no secret to ask with");
        let secret = Request::new("PUT", &stage.gateway.url_of("/admin/v1/secrets/corp"))
            .header("Authorization", format!("Bearer {ADMIN_KEY}"))
            .json(&json!({ "value": Provider::secret() }))
            .send();
        let status = secret.status;
        assert_eq!(status, 200, "{}", secret.text());
    }
    wait::expect("the secret is there", || stage.list(&opaque).status == 200);
    assert!(stage.agent(&opaque).tools().contains(&"s__echo".to_owned()), "by its groups");
    stage.agent(&opaque).call("s__echo", &json!({ "text": "x" }));
    let other = stage.provider.token("opaque", "https://other.test/mcp");
    assert_eq!(stage.list(&other).status, 401, "made for another");
    assert_eq!(stage.list("made-up").status, 401);
    assert_eq!(stage.list(&stage.provider.token("robot", ENDPOINT)).status, 200, "a signed one as well");
    for line in received(stage.record.clone()) {
        assert!(!line.to_string().contains(&opaque), "{line}");
    }
    let log = stage.gateway.log();
    assert!(!log.contains(&opaque) && !log.contains(Provider::secret()), "{log}");
}

/// Has a real client sign in, and call a tool.
fn check_client(client: Client) {
    const API: &str = "api://portcullis";
    let issuer = format!(", audience: '{API}', scopes: 'mcp:use'");
    let stage =
        Stage::with(Provider::of_api(API), "dual", "{ public_url: 'http://127.0.0.1:PORT' }", &issuer);
    let call = Step::CallTool { name: "s__echo".into(), arguments: json!({ "text": "signed in" }) };
    let transcript = client.run_signing_in(stage.gateway.url(), &[Step::ListTools, call]);
    assert!(transcript.result(0)["tools"].as_array().is_some_and(|tools| !tools.is_empty()));
    assert!(transcript.result(1).to_string().contains("signed in"));
    assert_eq!(transcript.protocol.as_deref(), client.expected_protocol());
}

#[test]
fn the_typescript_sdk_signs_in() {
    check_client(Client::TsV1);
    check_client(Client::TsV2);
}

#[test]
fn the_python_sdk_signs_in() {
    check_client(Client::Python);
    check_client(Client::PythonLegacy);
}
