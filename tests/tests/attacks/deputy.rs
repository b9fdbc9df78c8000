//! Cases 8, 9, 14, 34 and 36, where the gateway stands in as the authorization server: it is one client at the identity provider, and
//! must not be talked into signing a victim in for somebody else's.
//!
//! The provider is a real one, at which the victim is signed in: it asks nothing more. **What stands between the victim and an
//! attacker's client is the gateway's own page alone.**

use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use portcullis_tests::provider::Provider;
use portcullis_tests::stand_in::{StandIn, of, parameter};
use portcullis_tests::upstream::free_port;
use serde_json::json;

use super::authority::Authority;
use super::browsing::{Browser, Page};
use super::target::fixture;

const CHALLENGE: &str = "Wkk7QXBRuHO9ED7lZJWtCeCZ1E0kcYBquDrmTCtUtFU";
const HTTPS: &str = "https%3A%2F%2Fapp.example%2Fcallback";
const EVIL: &str = "https%3A%2F%2Fevil.example%2Fcallback";

struct Stage {
    front: StandIn,
}

impl Stage {
    fn start() -> Self {
        Self { front: StandIn::start(Provider::behind, &json!({ "s": fixture() })) }
    }

    fn origin(&self) -> &str {
        &self.front.origin
    }

    fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.front.origin)
    }

    /// Registers a client that calls itself whatever it likes; answers its ID.
    fn register(&self, redirect: &str) -> String {
        let metadata = json!({
            "client_name": "Your own agent",
            "redirect_uris": [redirect],
            "token_endpoint_auth_method": "none",
        });
        let answer = Request::post(&self.url_of("/oauth/register")).json(&metadata).send();
        assert_eq!(answer.status, 201);
        of(&answer.json(), "client_id")
    }

    /// A request for a code, with further parameters.
    fn request(&self, client: &str, redirect: &str, more: &str) -> String {
        let own = format!("response_type=code&client_id={client}&redirect_uri={redirect}&state=mine{more}");
        self.url_of(&format!("/oauth/authorize?{own}"))
    }

    fn with_challenge(&self, client: &str, redirect: &str) -> String {
        self.request(client, redirect, &format!("&code_challenge={CHALLENGE}&code_challenge_method=S256"))
    }

    /// Agrees to what a page asks; answers the page that leads on to the provider.
    fn agree(&self, browser: &mut Browser, page: &Page) -> Page {
        let fields = [("request", &*page.field("request")), ("decision", "allow")];
        browser.post(&self.url_of("/oauth/consent"), self.origin(), &fields)
    }

    /// A browser that has agreed to an honest client, which is remembered.
    fn victim(&self) -> (Browser, String) {
        let honest = self.register("https://app.example/callback");
        let mut browser = Browser::default();
        let page = browser.get(&self.with_challenge(&honest, HTTPS));
        let agreed = self.agree(&mut browser, &page);
        assert!(leads_to(&agreed, self.front.provider.issuer()), "{agreed:?}");
        (browser, honest)
    }
}

fn leads_to(page: &Page, place: &str) -> bool {
    page.onward().is_some_and(|onward| onward.starts_with(place))
}

/// An attacker's client, with the attacker's redirect URI, opened in the browser of a victim who has agreed to another.
#[test]
fn case_08_a_consent_is_for_one_client_and_one_redirect_uri() {
    let stage = Stage::start();
    let (mut victim, honest) = stage.victim();
    let again = victim.get(&stage.with_challenge(&honest, HTTPS));
    assert!(leads_to(&again, stage.front.provider.issuer()), "the honest one is remembered: {again:?}");
    let evil = stage.register("https://evil.example/callback");
    for _ in 0..2 {
        let asked = victim.get(&stage.with_challenge(&evil, EVIL));
        assert_eq!((asked.status, asked.onward()), (200, None), "nobody is sent on without a word");
        for shown in ["evil.example", "it registered itself", "Your own agent"] {
            assert!(asked.text.contains(shown), "{}", asked.text);
        }
    }
    // The same name and the same address, registered by another, are another client.
    let twin = stage.register("https://app.example/callback");
    assert_eq!(victim.get(&stage.with_challenge(&twin, HTTPS)).onward(), None);
    for other in [
        EVIL,
        "https%3A%2F%2Fapp.example%2Fcallback%2F",
        "https%3A%2F%2Fapp.example%2Fcallback%3Fx",
        "https%3A%2F%2Fapp.example%2Fcallback%23x",
        "https%3A%2F%2Fapp.example%2FCallback",
        "https%3A%2F%2Fapp.example%3A8443%2Fcallback",
        "https%3A%2F%2Fapp.example%40evil.example%2Fcallback",
        "https%3A%2F%2Fapp.example%2F..%2Fcallback",
        "http%3A%2F%2Fapp.example%2Fcallback",
        "javascript%3Aalert(1)",
        "",
    ] {
        let refused = victim.get(&stage.with_challenge(&honest, other));
        assert_eq!((refused.status, refused.onward()), (400, None), "{other}: {refused:?}");
    }
    let twice = format!("{}&redirect_uri={EVIL}", stage.with_challenge(&honest, HTTPS));
    assert_eq!(victim.get(&twice).onward(), None);
}

/// What leads to a script or to plain HTTP elsewhere is no redirect URI to begin with.
#[test]
fn case_08_no_client_registers_an_address_that_is_none_of_a_client() {
    let stage = Stage::start();
    for redirect in [
        "javascript:alert(1)",
        "data:text/html,x",
        "http://evil.example/callback",
        "https://user@evil.example/callback",
        "https://app.example/callback#fragment",
        "//evil.example",
        "file:///etc/passwd",
    ] {
        let metadata = json!({ "redirect_uris": [redirect], "token_endpoint_auth_method": "none" });
        let answer = Request::post(&stage.url_of("/oauth/register")).json(&metadata).send();
        let status = answer.status;
        assert_eq!(status, 400, "{redirect}: {}", answer.text());
    }
}

/// PKCE is required, with S256; the client hears so, and nobody signs in.
#[test]
fn case_09_a_request_without_a_challenge_is_refused() {
    let stage = Stage::start();
    let (mut victim, honest) = stage.victim();
    for more in [
        String::new(),
        "&code_challenge_method=S256".into(),
        format!("&code_challenge={CHALLENGE}"),
        format!("&code_challenge={CHALLENGE}&code_challenge_method=plain"),
        format!("&code_challenge={CHALLENGE}&code_challenge_method=s256"),
        "&code_challenge=short&code_challenge_method=S256".into(),
    ] {
        let answered = victim.get(&stage.request(&honest, HTTPS, &more));
        let onward = answered.onward().unwrap_or_default();
        assert!(onward.starts_with("https://app.example/callback?"), "{more}: {answered:?}");
        assert_eq!(parameter(onward, "error"), "invalid_request", "{more}");
        assert!(parameter(onward, "code").is_empty() && !parameter(onward, "iss").is_empty(), "{onward}");
    }
}

/// The answer of the provider counts in the browser that began, with the provider's own `iss`, once.
#[test]
fn case_09_an_answer_from_elsewhere_signs_nobody_in() {
    let stage = Stage::start();
    let (mut victim, honest) = stage.victim();
    let onward = victim.get(&stage.with_challenge(&honest, HTTPS)).onward().expect("the provider").to_owned();
    let carried = parameter(&onward, "state").to_owned();
    let issuer = stage.front.provider.issuer().replace(':', "%3A").replace('/', "%2F");
    // The real answer, which nobody has brought yet.
    let mut provider = portcullis_tests::browser::Browser::default();
    let real = provider.stopped_at(&onward, &stage.url_of("/oauth/signed-in"));
    let code = parameter(&real, "code").to_owned();
    assert_eq!(parameter(&real, "state"), carried);
    let back = |query: &str| stage.url_of(&format!("/oauth/signed-in?{query}"));
    let good = format!("code={code}&state={carried}&iss={issuer}");
    let other_state = {
        let mut other = Browser::default();
        let page = other.get(&stage.with_challenge(&honest, HTTPS));
        parameter(stage.agree(&mut other, &page).onward().expect("the provider"), "state").to_owned()
    };
    for (query, status) in [
        (format!("code={code}&state={carried}"), 400),
        (format!("code={code}&state={carried}&iss="), 400),
        (format!("code={code}&state={carried}&iss=https%3A%2F%2Fevil.example"), 400),
        (format!("code={code}&state={carried}&iss={issuer}%2F"), 400),
        (format!("{good}&iss=https%3A%2F%2Fevil.example"), 400),
        (format!("code={code}&iss={issuer}"), 400),
        (format!("code={code}&state=made-up&iss={issuer}"), 400),
        (format!("code={code}&state={other_state}&iss={issuer}"), 403),
    ] {
        let refused = victim.get(&back(&query));
        assert_eq!((refused.status, refused.onward()), (status, None), "{query}: {}", refused.text);
    }
    let stranger = Browser::default().get(&back(&good));
    assert_eq!((stranger.status, stranger.onward()), (403, None), "another browser: {}", stranger.text);
    let signed_in = victim.get(&back(&good));
    assert!(leads_to(&signed_in, "https://app.example/callback?"), "{signed_in:?}");
    assert!(!parameter(signed_in.onward().expect("the client"), "code").is_empty());
    // The provider gives nothing for the same code again, so the client gets no second one.
    let again = victim.get(&back(&good));
    assert!(again.onward().is_none_or(|onward| parameter(onward, "code").is_empty()), "{again:?}");
}

/// The form of the consent page counts from that page alone.
#[test]
fn case_34_another_site_agrees_to_nothing() {
    let stage = Stage::start();
    let honest = stage.register("https://app.example/callback");
    let mut victim = Browser::default();
    let page = victim.get(&stage.with_challenge(&honest, HTTPS));
    let request = page.field("request");
    let consent = stage.url_of("/oauth/consent");
    let fields = [("request", &*request), ("decision", "allow")];
    for origin in [
        "https://evil.example",
        "null",
        "http://127.0.0.1",
        "http://localhost:1",
        "http://127.0.0.1.evil.example",
    ] {
        let refused = victim.post(&consent, origin, &fields);
        assert_eq!((refused.status, refused.onward()), (403, None), "{origin}");
    }
    // The attacker's own form, sent by the victim's browser, and the victim's by the attacker's.
    let mut attacker = Browser::default();
    let own = attacker.get(&stage.with_challenge(&honest, HTTPS)).field("request");
    let planted = victim.post(&consent, stage.origin(), &[("request", &own), ("decision", "allow")]);
    assert_eq!((planted.status, planted.onward()), (403, None), "{}", planted.text);
    let stolen = attacker.post(&consent, stage.origin(), &fields);
    assert_eq!((stolen.status, stolen.onward()), (403, None), "{}", stolen.text);
    let bare = Browser::default().post(&consent, stage.origin(), &fields);
    assert_eq!((bare.status, bare.onward()), (403, None), "{}", bare.text);
    let read = victim.get(&format!("{consent}?request={request}&decision=allow"));
    assert_eq!((read.status, read.onward()), (405, None));
    let asked = victim.get(&stage.with_challenge(&honest, HTTPS));
    assert_eq!(asked.onward(), None, "nothing of that was a consent");
    assert!(leads_to(&stage.agree(&mut victim, &page), stage.front.provider.issuer()));
}

/// Case 36: no assertion, of whomever, is exchanged for a token of the gateway's.
#[test]
fn case_36_the_gateway_makes_no_token_for_an_assertion() {
    let stage = Stage::start();
    let client = stage.register("https://app.example/callback");
    let provider = &stage.front.provider;
    let claims = json!({ "sub": "ann", "aud": stage.origin(), "client_id": client, "jti": "1", "exp": 4_000_000_000_u64 });
    let header = json!({ "alg": "EdDSA", "typ": "oauth-id-jag+jwt" });
    let assertion = provider.sign(&json!({ "header": header, "payload": claims, "by": "the provider" }));
    let jwt = "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid-jag";
    for form in [
        format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}"),
        format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token={assertion}&subject_token_type={jwt}"
        ),
        format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml2-bearer&assertion={assertion}"),
        format!("grant_type=client_credentials&client_assertion={assertion}"),
    ] {
        // Twice: what is not taken at all cannot be taken again.
        for _ in 0..2 {
            let answer = Request::post(&stage.url_of("/oauth/token"))
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(format!("{form}&client_id={client}"))
                .send();
            assert_eq!(
                (answer.status, &answer.json()["error"]),
                (400, &json!("unsupported_grant_type")),
                "{form}"
            );
        }
    }
}

/// Case 14: metadata of the provider leads no browser to a script, a program or a file.
#[test]
fn case_14_nobody_signs_in_at_what_is_no_page() {
    for endpoint in
        ["--upload-pack=x", "$(id)", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd"]
    {
        let provider = Authority::saying("authorization_endpoint", json!(endpoint));
        let port = free_port();
        let origin = format!("http://127.0.0.1:{port}");
        let config = json!({
            "version": 1,
            "gateway": { "public_url": origin },
            "auth": {
                "required": true,
                "issuers": { "corp": { "url": provider.issuer() } },
                "sign_in": { "issuer": "corp", "client_id": "portcullis", "client_secret": { "secret": "idp" } },
            },
            "servers": { "s": fixture() },
        });
        let gateway = Gateway::with(&config.to_string()).env("PORTCULLIS_ADMIN_KEY", "the admin's key");
        let _gateway = gateway.at_port(port).start_with_secret("idp", "s3cret");
        let metadata = json!({ "redirect_uris": ["https://app.example/callback"], "token_endpoint_auth_method": "none" });
        let client = Request::post(&format!("{origin}/oauth/register")).json(&metadata).send().json();
        let asked = format!(
            "{origin}/oauth/authorize?response_type=code&client_id={}&redirect_uri={HTTPS}&code_challenge={CHALLENGE}&code_challenge_method=S256",
            of(&client, "client_id")
        );
        let mut browser = Browser::default();
        let page = browser.get(&asked);
        let fields = [("request", &*page.field("request")), ("decision", "allow")];
        let refused = browser.post(&format!("{origin}/oauth/consent"), &origin, &fields);
        assert!(refused.status >= 400 && refused.onward().is_none(), "{endpoint}: {refused:?}");
        assert!(!refused.text.contains(endpoint), "{endpoint}: {}", refused.text);
    }
}
