//! Signing in at servers as a client of their authorization server, over real HTTP: when tokens are asked for, what a failure
//! says, and where credentials go.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use portcullis_tests::agent::Agent;
use portcullis_tests::assertion::ClientKey;
use portcullis_tests::gateway::{Builder, Gateway, Host, Readiness};
use portcullis_tests::hostile::{Done, Hostile};
use portcullis_tests::http::Request;
use portcullis_tests::issuer::Issuer;
use portcullis_tests::process;
use portcullis_tests::upstream::{Upstream, free_port};
use portcullis_tests::wait;
use serde_json::{Value, json};

const ADMIN_KEY: &str = "the admin's key";
const SECRET: &str = "zx-s3cret-31415926";

/// A server that takes the tokens of an issuer alone, and the gateway that signs in there.
struct Stage {
    gateway: Gateway,
    issuer: Issuer,
    _server: Upstream,
}

/// What the gateway is told of signing in at an issuer.
fn oauth(issuer: Option<&str>) -> Value {
    let secret = json!({ "secret": "tickets" });
    let mut oauth =
        json!({ "grant": "client_credentials", "client_id": "portcullis", "client_secret": secret });
    if let Some(issuer) = issuer {
        oauth["issuer"] = issuer.into();
    }
    oauth
}

/// A gateway that knows the client's secret, before a server at this URL.
fn gateway(url: &str, oauth: &Value) -> Gateway {
    builder(url, oauth).start_with_secret("tickets", SECRET)
}

/// The same, yet to be started. Of a function there is one environment: each has a token of its own.
fn builder(url: &str, oauth: &Value) -> Builder {
    let servers = json!({ "s": { "url": url, "auth": { "oauth": oauth } } });
    let config = json!({ "version": 1, "audit": { "arguments": true }, "servers": servers });
    Gateway::with(&config.to_string())
        .env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY)
        .env("PORTCULLIS_LOG", "trace")
        .of_function("most", json!(1))
        .until(Readiness::Listening)
}

/// Where a server is once it takes the tokens of an issuer alone.
fn guarded(issuer: &Issuer, server: &Upstream) -> String {
    let (behind, path) = server.url()["http://".len()..].split_once('/').expect("a path");
    issuer.guard(behind).url().replace("/mcp", &format!("/{path}"))
}

impl Stage {
    fn new(options: &[&str], prepare: impl FnOnce(&Issuer)) -> Self {
        Self::with(options, prepare, |gateway| gateway)
    }

    fn with(options: &[&str], prepare: impl FnOnce(&Issuer), how: impl FnOnce(Builder) -> Builder) -> Self {
        let (server, issuer) = (Upstream::fixture(options), Issuer::default());
        issuer.doing().secret = SECRET.into();
        prepare(&issuer);
        let gateway = how(builder(&guarded(&issuer, &server), &oauth(Some(&issuer.url()))));
        let gateway = gateway.start_with_secret("tickets", SECRET);
        Self { gateway, issuer, _server: server }
    }

    fn ready(options: &[&str]) -> Self {
        let stage = Self::new(options, |_| ());
        await_tools(&stage.gateway);
        stage
    }

    fn call(&self) -> Value {
        Agent::modern(self.gateway.url())
            .ask("tools/call", json!({ "name": "s__echo", "arguments": { "message": "hello" } }))
    }

    #[track_caller]
    fn calls(&self) {
        let answer = self.call();
        assert!(answer["result"].to_string().contains("hello"), "{answer}\n{}", self.gateway.log());
    }

    fn made(&self) -> usize {
        self.issuer.doing().made
    }
}

fn reason(gateway: &Gateway) -> String {
    let said = Request::get(&gateway.url_of("/readyz")).send().json();
    said["servers"]["s"]["reason"].as_str().unwrap_or_default().to_owned()
}

/// Waits until `/readyz` says why the server is down, with these words.
#[track_caller]
fn await_reason(gateway: &Gateway, words: &str) {
    wait::expect(words, || reason(gateway).contains(words));
}

/// Waits until the server's tools are listed: the gateway is signed in.
#[track_caller]
fn await_tools(gateway: &Gateway) {
    let agent = Agent::modern(gateway.url());
    wait::expect("the server's tools", || agent.tools().contains(&"s__echo".to_owned()));
}

/// Everything that the gateway says and keeps.
fn sinks(gateway: &Gateway, answers: &[Value]) -> String {
    let bearer = |path: &str| {
        let request = Request::get(&gateway.url_of(path));
        request.header("Authorization", format!("Bearer {ADMIN_KEY}")).send().text()
    };
    let paths = ["/readyz", "/metrics", "/admin/v1/secrets", "/admin/v1/config", "/admin/v1/audit"];
    let said = paths.map(bearer).join("\n");
    format!("{said}\n{}\n{}", gateway.log(), answers.iter().map(Value::to_string).collect::<String>())
}

#[test]
fn a_token_is_used_again_in_every_era() {
    for options in [&["--era", "modern"][..], &["--era", "legacy"], &["--era", "legacy", "--sse"]] {
        let stage = Stage::ready(options);
        let session = Agent::legacy(stage.gateway.url());
        let call = || {
            stage.calls();
            session.call("s__echo", &json!({ "message": "hello" }));
        };
        call();
        let made = stage.made();
        (0..3).for_each(|_| call());
        assert_eq!(stage.made(), made, "{options:?}");
        // Each instance has a token of its own: of a Worker, the isolate, what reads the lists, and the session's owner.
        assert_eq!(made, if Host::chosen() == Host::Edge { 3 } else { 1 }, "{options:?}");
        let form = stage.issuer.doing().forms[0].clone();
        assert!(form.starts_with("grant_type=client_credentials&resource=http%3A%2F%2F127.0.0.1"), "{form}");
    }
}

#[test]
fn fifty_calls_whose_token_is_refused_make_one() {
    // Of a function, they are at a time only where its environments are given more than one.
    let stage = Stage::with(
        &["--era", "modern"],
        |_| (),
        |gateway| gateway.of_function("at_a_time", json!(50)).of_function("extensions", json!(false)),
    );
    await_tools(&stage.gateway);
    // Who answers calls need not be who reads the lists, and has a token of its own then.
    stage.calls();
    let made = stage.made();
    stage.issuer.doing().revoked = made;
    thread::scope(|scope| {
        let calls: Vec<_> = (0..50).map(|_| scope.spawn(|| stage.calls())).collect();
        for call in calls {
            call.join().expect("the call is answered");
        }
    });
    // Of a Worker, what reads the lists may do so meanwhile, and its token was refused as well.
    let instances = if Host::chosen() == Host::Edge { 2 } else { 1 };
    let anew = stage.made() - made;
    assert!((1..=instances).contains(&anew), "{anew}");
}

#[test]
fn a_token_that_expires_is_made_anew() {
    let stage = Stage::new(&["--era", "modern"], |issuer| issuer.doing().lifetime = 1);
    await_tools(&stage.gateway);
    wait::expect("another token", || {
        stage.calls();
        stage.made() >= 3
    });
}

#[test]
fn a_revoked_secret_is_named_and_shown_nowhere() {
    let mut stage = Stage::ready(&["--era", "modern"]);
    {
        let mut doing = stage.issuer.doing();
        doing.secret = "zx-another-27182818".into();
        doing.revoked = doing.made;
    }
    let answer = stage.call();
    let message = answer["error"]["message"].as_str().unwrap_or_default().to_owned();
    for words in ["\"s\"", &stage.issuer.url(), "invalid_client", "portcullis secrets set tickets"] {
        assert!(message.contains(words), "{message}");
    }
    stage.gateway.set_secret("tickets", "zx-another-27182818");
    wait::expect("the new secret to count", || stage.call().get("result").is_some());
    let sinks = sinks(&stage.gateway, &[answer]);
    assert!(!sinks.contains("zx-"), "{sinks}");
    let basic = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("portcullis:{SECRET}"))
    };
    assert!(!sinks.contains(&basic), "{sinks}");
}

#[test]
fn an_authorization_server_that_is_away_is_named() {
    let server = Upstream::fixture(&["--era", "modern"]);
    let issuer = format!("http://127.0.0.1:{}", free_port());
    let gateway = gateway(server.url(), &oauth(Some(&issuer)));
    await_reason(&gateway, &issuer);
    assert!(reason(&gateway).contains("cannot be reached"), "{}", reason(&gateway));

    let stage = Stage::new(&["--era", "modern"], |issuer| {
        issuer.doing().instead = Some((503, String::new(), "zx-".into()));
    });
    await_reason(&stage.gateway, "answers HTTP 503");
    stage.issuer.doing().instead = None;
    await_tools(&stage.gateway);
}

/// What came to a server that nothing should come to.
fn stranger() -> (Hostile, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let told = heard.clone();
    let stranger = Hostile::modern(move |exchange| {
        told.lock().expect("nobody panics").push(exchange.head.clone());
        exchange.respond(404, "", "")?;
        Ok(Done::Answered)
    });
    (stranger, heard)
}

#[test]
fn neither_token_nor_secret_goes_along_a_redirect() {
    let (stranger, heard) = stranger();
    let away = format!("Location: {}\r\n", stranger.url());
    // The authorization server redirects.
    let stage = Stage::new(&["--era", "modern"], |issuer| {
        issuer.doing().instead = Some((307, away.clone(), String::new()));
    });
    await_reason(&stage.gateway, "answers HTTP 307");
    // The server redirects what comes with a token.
    let issuer = Issuer::default();
    issuer.doing().secret = SECRET.into();
    let server = Hostile::modern(move |exchange| {
        exchange.respond(307, &away, "")?;
        Ok(Done::Answered)
    });
    let gateway = gateway(&server.url(), &oauth(Some(&issuer.url())));
    await_reason(&gateway, "redirects elsewhere");
    assert_eq!(issuer.doing().made, 1, "it was signed in");
    assert!(heard.lock().expect("nobody panics").is_empty());
}

#[test]
fn metadata_that_leads_astray_is_not_followed() {
    let (stranger, heard) = stranger();
    // No name, and another address of this machine than the issuer's: inside, for whoever is not there.
    let inside = stranger.url().replace("127.0.0.1", "127.0.0.2").replace("/mcp", "/token");
    for endpoint in [
        &inside,
        "http://169.254.169.254/token",
        "file:///etc/passwd",
        "--upload-pack=x",
        "javascript:alert(1)",
    ] {
        let stage = Stage::new(&["--era", "modern"], |issuer| {
            issuer.doing().token_endpoint = Some(endpoint.to_owned());
        });
        await_reason(&stage.gateway, "a `token_endpoint` that is given no credential");
        assert!(stage.issuer.doing().forms.is_empty());
    }
    for place in
        [&inside, "http://169.254.169.254/x", "http://[::ffff:a9fe:a9fe]/x", "file:///etc/passwd", "$(id)"]
    {
        let issuer = Issuer::default();
        issuer.doing().metadata = Some(place.to_owned());
        let gateway = gateway(&issuer.guard("127.0.0.1:9").url(), &oauth(None));
        await_reason(&gateway, "`resource_metadata`) that is not followed");
    }
    assert!(heard.lock().expect("nobody panics").is_empty());
}

#[test]
fn an_issuer_elsewhere_that_only_the_server_names_is_shown_nothing() {
    let (stranger, heard) = stranger();
    let issuer = Issuer::default();
    issuer.doing().named = Some(stranger.url().replace("127.0.0.1", "localhost").replace("/mcp", ""));
    let gateway = gateway(&issuer.guard("127.0.0.1:9").url(), &oauth(None));
    await_reason(&gateway, "set `auth.oauth.issuer` to it");
    assert!(heard.lock().expect("nobody panics").is_empty());
}

/// Makes a private key.
fn private_key(algorithm: &[&str]) -> String {
    let mut openssl = Command::new("openssl");
    openssl.arg("genpkey").args(algorithm);
    process::run(openssl, b"", wait::PATIENCE).stdout
}

/// The authorization server verifies what is signed, on each host with what signs there ([`ClientKey`]).
#[track_caller]
fn check_key(algorithm: &[&str]) {
    let (server, issuer) = (Upstream::fixture(&["--era", "modern"]), Issuer::default());
    let (key, another) = (private_key(algorithm), private_key(algorithm));
    issuer.doing().key = Some(ClientKey::of(&key));
    let mut oauth = oauth(Some(&issuer.url()));
    let fields = oauth.as_object_mut().expect("an object");
    fields.remove("client_secret");
    fields.insert("private_key".into(), json!({ "secret": "tickets" }));
    let mut gateway = gateway(&guarded(&issuer, &server), &oauth);
    await_reason(&gateway, "is no private key in PEM");
    gateway.set_secret("tickets", &another);
    await_reason(&gateway, "refuses the client \"portcullis\" (invalid_client)");
    let wrong = issuer.doing().wrong.clone();
    assert!(!wrong.is_empty() && wrong.iter().all(|wrong| *wrong == "signature"), "{wrong:?}");
    gateway.set_secret("tickets", &key);
    issuer.doing().wrong.clear();
    await_tools(&gateway);
    let doing = issuer.doing().clone();
    assert_eq!((doing.made, doing.wrong), (1, vec![]), "the first is believed");
    let sinks = sinks(&gateway, &[]);
    for key in [key, another] {
        assert!(!sinks.contains(key.lines().nth(1).expect("a key")));
    }
}

#[test]
fn a_key_on_a_curve_signs_in_in_place_of_a_secret() {
    check_key(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
}

#[test]
fn a_key_of_rsa_signs_in_in_place_of_a_secret() {
    check_key(&["-algorithm", "RSA"]);
}
