//! Cases 9, 10, 14 and 34, where users connect their accounts at servers: an answer of one authorization server for another, a
//! server that comes to name another one, and metadata that leads a browser to what is no page.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::stand_in::{of, parameter};
use portcullis_tests::upstream::free_port;
use portcullis_tests::wait;
use serde_json::{Value, json};

use super::authority::{Authority, Guarded};
use super::browsing::{Browser, Page};

/// A gateway before servers, each with an authorization server of its own, and somebody with an API key.
struct Stage {
    gateway: Gateway,
    origin: String,
    key: String,
    honest: Authority,
    /// The server `good`.
    server: Guarded,
    evil: Authority,
    /// The server `bad`.
    evil_server: Guarded,
}

impl Stage {
    fn start() -> Self {
        Self::beside(&[])
    }

    /// The same beside further servers, which are `bad0`, `bad1` and so on, of such authorization servers.
    fn beside(others: &[Authority]) -> Self {
        let (honest, evil) = (Authority::named("honest"), Authority::named("evil"));
        let (server, evil_server) = (Guarded::by(&honest, "honest"), Guarded::by(&evil, "evil"));
        let port = free_port();
        let origin = format!("http://127.0.0.1:{port}");
        let connected = |server: &Guarded| json!({ "url": server.url(), "auth": { "oauth": {} } });
        let mut servers = json!({ "good": connected(&server), "bad": connected(&evil_server) });
        for (number, other) in others.iter().enumerate() {
            servers[format!("bad{number}")] = connected(&Guarded::by(other, "evil"));
        }
        let config = json!({
            "version": 1,
            "gateway": { "public_url": origin },
            "servers": servers,
            "auth": { "required": true },
            "agents": { "one": { "match": [{ "api_key": "one" }], "allow": ["*"] } },
        });
        let gateway = Gateway::with(&config.to_string()).env("PORTCULLIS_ADMIN_KEY", "the admin's key");
        // Another environment might not have heard of a key that was made a moment ago.
        let gateway = gateway.at_port(port).of_function("most", json!(1)).start();
        let made = gateway.cli(&["keys", "create", "--agent", "one", "--json"]);
        let made: Value = serde_json::from_str(&made.stdout).unwrap_or_else(|e| panic!("{e}: {made:?}"));
        let stage = Self { gateway, origin, key: of(&made, "key"), honest, server, evil, evil_server };
        wait::expect("the key to count", || stage.agent().post("tools/list", json!({})).send().status == 200);
        stage
    }

    fn agent(&self) -> Agent {
        let able = json!({ "elicitation": { "url": {} } });
        Agent::modern(&format!("{}/mcp", self.origin)).bearer(&self.key).capabilities(able)
    }

    fn call(&self, server: &str) -> Value {
        self.agent().result("tools/call", json!({ "name": format!("{server}__x"), "arguments": {} }))
    }

    /// Presses the button of the page to which a call leads; answers what comes of it.
    fn begin(&self, browser: &mut Browser, server: &str) -> Page {
        let asked = self.call(server);
        assert_eq!(asked["resultType"], "input_required", "{asked}");
        let page = browser.get(&of(&asked["inputRequests"]["connect"]["params"], "url"));
        let fields = [("form", &*page.field("form")), ("key", &self.key), ("decision", "connect")];
        browser.post(&format!("{}/connect/{server}", self.origin), &self.origin, &fields)
    }

    fn back(&self, browser: &mut Browser, query: &str) -> Page {
        browser.get(&format!("{}/oauth/callback?{query}", self.origin))
    }

    /// Connects a server.
    fn connect(&self, server: &str, authority: &Authority) {
        let mut browser = Browser::default();
        let onward = self.begin(&mut browser, server);
        let state = parameter(onward.onward().expect("the authority"), "state");
        let page =
            self.back(&mut browser, &format!("code=c0de&state={state}&iss={}", escaped(&authority.issuer())));
        assert!(page.text.contains("<title>Connected</title>"), "{page:?} {}", self.gateway.log());
    }

    /// Checks that no code, secret or token has reached an authority.
    #[track_caller]
    fn assert_got_nothing(authority: &Authority) {
        let forms = authority.doing().forms.clone();
        assert!(forms.is_empty(), "{forms:?}");
    }
}

fn escaped(url: &str) -> String {
    url.replace(':', "%3A").replace('/', "%2F")
}

#[test]
fn case_09_a_code_of_one_authorization_server_goes_to_no_other() {
    let stage = Stage::start();
    let mut browser = Browser::default();
    let (honest, evil) = (escaped(&stage.honest.issuer()), escaped(&stage.evil.issuer()));
    // The victim begins at the attacker's, which sends the browser on to the honest one; its answer comes back.
    let begun = stage.begin(&mut browser, "bad").onward().expect("the attacker's").to_owned();
    assert!(begun.starts_with(&stage.evil.issuer()), "{begun}");
    let of_bad = parameter(&begun, "state").to_owned();
    let mixed = stage.back(&mut browser, &format!("code=v1ctim&state={of_bad}&iss={honest}"));
    assert!(mixed.status >= 400 && mixed.onward().is_none(), "{mixed:?}");
    // The other way round: what the attacker's says in an answer to what was begun at the honest one.
    let begun = stage.begin(&mut browser, "good").onward().expect("the honest one").to_owned();
    assert!(begun.starts_with(&stage.honest.issuer()), "{begun}");
    assert_eq!(parameter(&begun, "code_challenge_method"), "S256");
    let of_good = parameter(&begun, "state").to_owned();
    let refused = [
        format!("code=attackers&state={of_good}&iss={evil}"),
        format!("code=attackers&state={of_good}"),
        format!("code=attackers&state={of_good}&iss="),
        format!("code=attackers&state={of_good}&iss={honest}%2F"),
        format!("code=attackers&state={of_good}&iss={honest}&iss={evil}"),
        format!("code=attackers&state={of_good}&state={of_bad}&iss={honest}"),
        format!("code=attackers&state=made-up&iss={honest}"),
        format!("code=attackers&iss={honest}"),
    ];
    for query in refused {
        let page = stage.back(&mut browser, &query);
        assert!(page.status >= 400 && page.onward().is_none(), "{query}: {page:?}");
    }
    let good = format!("code=c0de&state={of_good}&iss={honest}");
    let mut stranger = Browser::default();
    stranger.get(&format!("{}/connect/good", stage.origin));
    for other in [&mut stranger, &mut Browser::default()] {
        let page = stage.back(other, &good);
        assert!(page.status >= 400 && page.onward().is_none(), "another browser: {page:?}");
    }
    Stage::assert_got_nothing(&stage.honest);
    Stage::assert_got_nothing(&stage.evil);
    let page = stage.back(&mut browser, &good);
    assert!(page.text.contains("<title>Connected</title>"), "{page:?}");
    let forms = stage.honest.doing().forms.clone();
    assert!(forms.len() == 1 && forms[0].contains("code_verifier="), "{forms:?}");
    Stage::assert_got_nothing(&stage.evil);
    assert!(stage.call("good").to_string().contains("fine"));
    assert!(stage.evil_server.shown().is_empty());
}

/// An authorization server that takes plain challenges, or says nothing of any, is not used; nor is one that is another's.
#[test]
fn case_09_an_authorization_server_without_challenges_is_not_used() {
    let others: Vec<_> = [
        ("code_challenge_methods_supported", json!(["plain"])),
        ("code_challenge_methods_supported", json!([])),
        ("code_challenge_methods_supported", Value::Null),
        ("issuer", json!("http://127.0.0.1:1")),
    ]
    .map(|(name, value)| Authority::saying(name, value))
    .into();
    let stage = Stage::beside(&others);
    for (number, other) in others.iter().enumerate() {
        let server = format!("bad{number}");
        let said =
            stage.agent().ask("tools/call", json!({ "name": format!("{server}__x"), "arguments": {} }));
        // Metadata that is another issuer's counts as none: nobody is even invited.
        if said["result"]["resultType"] == "input_required" {
            let page = stage.begin(&mut Browser::default(), &server);
            assert!(page.status >= 400 && page.onward().is_none(), "{number}: {page:?}");
        } else {
            assert!(number == 3 && !said.to_string().contains("/connect/"), "{number}: {said}");
        }
        Stage::assert_got_nothing(other);
    }
}

/// What was got from one issuer stays with it, whatever issuer the server names next.
#[test]
fn case_10_a_server_that_names_another_issuer_gets_it_nothing_of_the_one_before() {
    let mut stage = Stage::start();
    stage.connect("good", &stage.honest);
    assert!(stage.call("good").to_string().contains("fine"));
    let shown = stage.server.shown();
    assert!(shown.iter().any(|token| token == "Bearer access-of-honest-1"), "{shown:?}");
    let registered = stage.honest.doing().registered;
    stage.server.turn_to(&stage.evil, "evil");
    // Who grants is known for a while; a gateway that was started anew finds it out at once.
    stage.gateway.restart();
    wait::expect("the gateway to serve", || stage.agent().post("tools/list", json!({})).send().status == 200);
    stage.server.shown();
    let mut browser = Browser::default();
    let onward = stage.begin(&mut browser, "good").onward().expect("the new issuer").to_owned();
    assert!(onward.starts_with(&stage.evil.issuer()), "{onward}");
    assert_eq!(parameter(&onward, "client_id"), "client-of-evil-1", "it is another client there");
    Stage::assert_got_nothing(&stage.evil);
    let carried = parameter(&onward, "state").to_owned();
    let page =
        stage.back(&mut browser, &format!("code=new&state={carried}&iss={}", escaped(&stage.evil.issuer())));
    assert!(page.text.contains("<title>Connected</title>"), "{page:?}");
    assert!(stage.call("good").to_string().contains("fine"));
    let told = format!("{:?}", stage.evil.doing().forms);
    assert!(!told.contains("of-honest") && !told.contains("refresh_token"), "{told}");
    let shown = stage.server.shown();
    assert!(
        !shown.is_empty() && shown.iter().all(|token| token.starts_with("Bearer access-of-evil")),
        "{shown:?}"
    );
    assert_eq!(stage.honest.doing().registered, registered);
}

/// Metadata that leads a browser to a script, a program or a place within: it is neither sent nor shown there.
#[test]
fn case_14_no_browser_is_sent_to_what_is_no_page() {
    const ENDPOINTS: [&str; 13] = [
        "--upload-pack=x",
        "$(touch x)",
        "`id`",
        "javascript:alert(1)",
        "JavaScript:alert(1)//https://a.example",
        "data:text/html,<script>alert(1)</script>",
        "file:///etc/passwd",
        "vscode://evil",
        "https://user:pw@evil.example/authorize",
        "http://169.254.169.254/latest",
        "https://10.0.0.1/authorize",
        "//evil.example/authorize",
        "",
    ];
    let others = ENDPOINTS.map(|endpoint| Authority::saying("authorization_endpoint", json!(endpoint)));
    let stage = Stage::beside(&others);
    for (number, endpoint) in ENDPOINTS.iter().enumerate() {
        let page = stage.begin(&mut Browser::default(), &format!("bad{number}"));
        assert!(page.status >= 400 && page.onward().is_none(), "{endpoint}: {page:?}");
        assert!(endpoint.is_empty() || !page.text.contains(endpoint), "{endpoint}: {}", page.text);
    }
    let page = stage.begin(&mut Browser::default(), "bad");
    assert!(page.onward().is_some_and(|onward| onward.starts_with(&stage.evil.issuer())), "{page:?}");
}

/// The page that connects does so by its own form, sent by whom it was shown to.
#[test]
fn case_34_another_site_connects_nothing() {
    let stage = Stage::start();
    let mut victim = Browser::default();
    let link = of(&stage.call("good")["inputRequests"]["connect"]["params"], "url");
    let page = victim.get(&link);
    let (form, action) = (page.field("form"), format!("{}/connect/good", stage.origin));
    let fields = [("form", &*form), ("key", &*stage.key), ("decision", "connect")];
    for origin in ["https://evil.example", "null", "http://127.0.0.1", "http://localhost:1"] {
        let refused = victim.post(&action, origin, &fields);
        assert_eq!((refused.status, refused.onward()), (403, None), "{origin}");
    }
    // Of another browser, of another server, and with nothing of its own.
    let strange = Browser::default().post(&action, &stage.origin, &fields);
    assert!(strange.status >= 400 && strange.onward().is_none(), "{strange:?}");
    let other = victim.post(&format!("{}/connect/bad", stage.origin), &stage.origin, &fields);
    assert!(other.status >= 400 && other.onward().is_none(), "{other:?}");
    let keyless = victim.post(&action, &stage.origin, &[("form", &form), ("decision", "connect")]);
    assert_eq!((keyless.status, keyless.onward()), (403, None), "{}", keyless.text);
    // Looking changes nothing.
    let query = format!("{action}?form={form}&key={}&decision=connect", stage.key);
    assert_eq!(victim.get(&query).onward(), None);
    Stage::assert_got_nothing(&stage.honest);
    assert_eq!(stage.call("good")["resultType"], "input_required");
    stage.connect("good", &stage.honest);
    for _ in 0..2 {
        victim.get(&format!("{action}?form={form}&key={}&decision=disconnect", stage.key));
        assert!(stage.call("good").to_string().contains("fine"), "nothing was disconnected by looking");
    }
}
