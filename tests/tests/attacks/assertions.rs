//! Case 36: tokens that vouch for a user (ID-JAG, token exchange), made for somebody else, passed on, or used again.
//!
//! What applies to a gateway: it is the *client* of such exchanges, and the *resource server* for what comes of them. It is no
//! authorization server that takes assertions: where it stands in as one, it makes no token for any
//! ([`deputy`](super::deputy)). So a replayed `jti` has nowhere to count: access tokens are shown with every request, and an
//! assertion is its reader's to take once; the gateway sends each one once. **What it must not do is to show a user's token to an
//! identity provider that has not made it, to let one in that is not for it, or to pass on what is no assertion.**

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::upstream::free_port;
use serde_json::{Value, json};

use super::authority::{Authority, Guarded};
use super::target::fixture;

/// What an access token calls itself (RFC 9068).
const ACCESS: &str = "at+jwt";

/// A gateway that takes the tokens of two providers, and acts for its users at a server, whose authorization server believes
/// the first.
struct Stage {
    gateway: Gateway,
    endpoint: String,
    corp: Authority,
    partner: Authority,
    granting: Authority,
    server: Guarded,
}

impl Stage {
    fn start() -> Self {
        let (corp, partner, granting) =
            (Authority::named("corp"), Authority::named("partner"), Authority::named("granting"));
        let server = Guarded::by(&granting, "granting");
        let port = free_port();
        let origin = format!("http://127.0.0.1:{port}");
        let provider =
            json!({ "issuer": corp.issuer(), "client_id": "portal", "client_secret": "corp-s3cret" });
        let oauth = json!({
            "grant": "id_jag",
            "issuer": granting.issuer(),
            "client_id": "portcullis",
            "client_secret": "s3cret",
            "identity_provider": provider,
        });
        let config = json!({
            "version": 1,
            "gateway": { "public_url": origin },
            "auth": {
                "required": true,
                "issuers": { "corp": { "url": corp.issuer() }, "partner": { "url": partner.issuer() } },
            },
            "servers": { "plain": fixture(), "mine": { "url": server.url(), "auth": { "oauth": oauth } } },
        });
        let gateway = Gateway::with(&config.to_string()).env("PORTCULLIS_ADMIN_KEY", "the admin's key");
        let gateway = gateway.at_port(port).of_function("most", json!(1)).start();
        Self { gateway, endpoint: format!("{origin}/mcp"), corp, partner, granting, server }
    }

    /// A token of the first provider for the gateway, but for what is said otherwise.
    fn token(&self, kind: &str, otherwise: &Value) -> String {
        let mut claims = json!({ "aud": self.endpoint });
        for (key, value) in otherwise.as_object().into_iter().flatten() {
            claims[key] = value.clone();
        }
        self.corp.sign("corp", kind, &claims)
    }

    fn status(&self, token: &str) -> u16 {
        Agent::modern(&self.endpoint).bearer(token).post("tools/list", json!({})).send().status
    }

    fn call(&self, token: &str) -> Value {
        let params = json!({ "name": "mine__x", "arguments": {} });
        let answer = Agent::modern(&self.endpoint).bearer(token).ask("tools/call", params);
        assert!(!format!("{answer}{}", self.gateway.log()).contains(token), "a token is told: {answer}");
        answer
    }

    fn forms(authority: &Authority) -> Vec<String> {
        std::mem::take(&mut authority.doing().forms)
    }
}

/// As a resource server: for another, of an unknown issuer, an assertion in place of a token, passed on too often.
#[test]
fn case_36_a_token_that_is_not_for_the_gateway_lets_nobody_in() {
    let stage = Stage::start();
    assert_eq!(stage.status(&stage.token(ACCESS, &json!({}))), 200);
    let chain = |length: usize| {
        (0..length).fold(Value::Null, |inner, n| {
            let mut actor = json!({ "sub": format!("agent-{n}") });
            if inner.is_object() {
                actor["act"] = inner;
            }
            actor
        })
    };
    let passed_on = stage.token(ACCESS, &json!({ "act": chain(2) }));
    assert_eq!(stage.status(&passed_on), 200, "an agent that acts for its user");
    // A bearer's token is no assertion: it is good as often as it is shown.
    let named = stage.token(ACCESS, &json!({ "jti": "once" }));
    assert_eq!([stage.status(&named), stage.status(&named)], [200, 200]);
    let stranger = Authority::named("stranger");
    // What is listed is asked for on the user's behalf.
    drop((Stage::forms(&stage.corp), Stage::forms(&stage.granting)));
    for (what, token) in [
        ("for another resource", stage.token(ACCESS, &json!({ "aud": "https://other.example/mcp" }))),
        ("for the authorization server", stage.token(ACCESS, &json!({ "aud": stage.granting.issuer() }))),
        ("for a client", stage.token(ACCESS, &json!({ "aud": "portal", "client_id": "portal" }))),
        ("for nobody", stage.token(ACCESS, &json!({ "aud": null }))),
        ("an assertion", stage.token("oauth-id-jag+jwt", &json!({ "client_id": "portcullis", "jti": "1" }))),
        ("a client's assertion", stage.token("client-authentication+jwt", &json!({}))),
        (
            "of another provider's name",
            stage.partner.sign(
                "partner",
                ACCESS,
                &json!({ "iss": stage.corp.issuer(), "aud": stage.endpoint }),
            ),
        ),
        ("of an unknown issuer", stranger.sign("stranger", ACCESS, &json!({ "aud": stage.endpoint }))),
        ("passed on too often", stage.token(ACCESS, &json!({ "act": chain(5) }))),
        ("passed on very often", stage.token(ACCESS, &json!({ "act": chain(60) }))),
        ("over", stage.token(ACCESS, &json!({ "exp": 1_000_000_000 }))),
    ] {
        assert_eq!(stage.status(&token), 401, "{what}");
    }
    for authority in [&stage.corp, &stage.partner, &stage.granting, &stranger] {
        assert_eq!(Stage::forms(authority), Vec::<String>::new(), "nothing is exchanged for any of them");
    }
}

/// As a client: a user of another identity provider is nobody to this one, which hears nothing of them.
#[test]
fn case_36_a_provider_vouches_for_its_own_users_alone() {
    let stage = Stage::start();
    let foreign = stage.partner.sign("partner", ACCESS, &json!({ "aud": stage.endpoint }));
    let refused = stage.call(&foreign);
    assert!(
        refused["error"]["message"].as_str().is_some_and(|m| m.contains("signed in elsewhere")),
        "{refused}"
    );
    for authority in [&stage.corp, &stage.partner, &stage.granting] {
        assert_eq!(Stage::forms(authority), Vec::<String>::new());
    }
    let own = stage.token(ACCESS, &json!({}));
    let called = stage.call(&own);
    assert!(called.to_string().contains("fine"), "{called}\n{}", stage.gateway.log());
    let (vouched, granted) = (Stage::forms(&stage.corp), Stage::forms(&stage.granting));
    assert!(
        vouched.iter().all(|form| form.contains("subject_token=") && form.contains("audience=")),
        "{vouched:?}"
    );
    assert!(!granted.is_empty() && granted.iter().all(|form| !form.contains(&own)), "{granted:?}");
    let shown = stage.server.shown();
    assert!(shown.iter().all(|token| token.starts_with("Bearer access-of-granting")), "{shown:?}");
}

/// As a client: what the authorization server does not take (another audience, another client, used before) is no token, and
/// is not tried again with it; what the provider gives that is no assertion goes nowhere.
#[test]
fn case_36_an_assertion_is_sent_once_and_nothing_else_is_sent_as_one() {
    let stage = Stage::start();
    let own = stage.token(ACCESS, &json!({}));
    stage.granting.doing().instead = Some((400, json!({ "error": "invalid_grant" })));
    for _ in 0..3 {
        let refused = stage.call(&own);
        assert!(refused.to_string().contains("invalid_grant"), "{refused}");
    }
    let sent = Stage::forms(&stage.granting);
    let assertion = |form: &String| {
        form.split("assertion=").nth(1).map(|rest| rest.split('&').next().unwrap_or_default().to_owned())
    };
    let mut assertions: Vec<_> = sent.iter().filter_map(assertion).collect();
    let count = assertions.len();
    assertions.sort();
    assertions.dedup();
    assert!(count > 0 && assertions.len() == count, "one came twice: {sent:?}");
    assert!(stage.server.shown().is_empty());
    stage.granting.doing().instead = None;
    let stage = Stage::start();
    let own = stage.token(ACCESS, &json!({}));
    let access = json!({ "access_token": "of-the-provider", "token_type": "Bearer", "expires_in": 60 });
    stage.corp.doing().instead = Some((200, access));
    let refused = stage.call(&own);
    assert!(refused.to_string().contains("no ID-JAG"), "{refused}");
    assert_eq!(Stage::forms(&stage.granting), Vec::<String>::new());
    assert!(stage.server.shown().is_empty());
}
