//! Users who connect their accounts at servers, end to end: agents on the official SDKs, a real browser, servers on the
//! official SDKs that take the tokens of a real authorization server alone.

use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::agent::Agent;
use portcullis_tests::browser::Browser;
use portcullis_tests::chromium::{Person, Walk};
use portcullis_tests::client::{Client, Step};
use portcullis_tests::consent::{agent, ask, ask_again, link, servers};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::provider::Provider;
use portcullis_tests::stand_in::{StandIn, of};
use portcullis_tests::upstream::{Upstream, free_port};
use portcullis_tests::wait;
use serde_json::{Value, json};

/// A gateway at which people sign in with one provider, before a server that takes the tokens of another.
struct Stage {
    front: StandIn,
    granting: Provider,
    _server: Upstream,
}

impl Stage {
    /// The server is on the TypeScript SDK of that major version.
    fn before(sdk: u8) -> Self {
        Self::of(sdk, &json!({}))
    }

    /// The same, whose users sign in at the server in a way of its own.
    fn of(sdk: u8, oauth: &Value) -> Self {
        let granting = Provider::with_pages();
        let server = Upstream::protected(sdk, granting.issuer());
        let servers = json!({ "s": { "url": server.url(), "auth": { "oauth": oauth } } });
        let front = StandIn::start(Provider::with_pages_behind, &servers);
        Self { front, granting, _server: server }
    }

    /// Has somebody's agent list tools, call, and list them again.
    fn call(&self, client: Client, who: &Person) -> (Vec<String>, Vec<String>, Vec<Walk>) {
        let call = || Step::CallTool { name: "s__whoami".into(), arguments: json!({}) };
        let plan = [Step::ListTools, call(), call(), Step::ListTools];
        let transcript = client.run_signing_in_as(who, self.front.gateway.url(), &plan);
        let listed = |step| {
            let tools = transcript.result(step)["tools"].as_array().expect("a list").iter();
            tools.map(|tool| of(tool, "name")).collect::<Vec<_>>()
        };
        assert_eq!(listed(0), ["s__connect"]);
        assert_eq!(listed(3), ["s__whoami"], "{}", self.front.gateway.log());
        let said = [1, 2].map(|step| of(&transcript.result(step)["content"][0], "text"));
        (
            said.to_vec(),
            transcript.asked.iter().map(|asked| asked.method.clone()).collect(),
            transcript.visited,
        )
    }

    /// The token of somebody who has signed in with their browser.
    fn token(&self, who: &Person) -> String {
        // Nobody looks at the page there.
        let port = self.front.provider.issuer().rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.expect("an issuer with a port");
        let client = self.front.register(port);
        let back = self.front.sign_in(&client, port, |url| who.visit(url).url);
        of(&self.front.redeem(&client, &back), "access_token")
    }
}

/// Two users of an SDK connect, each with their own account.
fn check(sdk: u8, clients: [Client; 2]) {
    let stage = Stage::before(sdk);
    let granting = stage.granting.issuer();
    for (client, name) in clients.into_iter().zip(["ann", "bob"]) {
        let who = Person::named(name);
        let (said, asked, visited) = stage.call(client, &who);
        let own = format!("{name} of {granting}");
        assert_eq!(said, [&*own, &*own], "{}", stage.front.gateway.log());
        let [signed_in, connected] = &visited[..] else { panic!("{visited:?}") };
        assert_eq!(signed_in.title, "Signed in");
        assert_eq!((&*connected.title, connected.status), ("Connected", 200));
        let host = granting.trim_start_matches("http://");
        assert!(connected.pages.iter().any(|page| page.host == host), "{connected:?}");
        let is_asked = client == Client::TsV2;
        assert_eq!(asked, if is_asked { vec!["elicitation/create"] } else { vec![] });
    }
    assert_eq!(stage.granting.asked("revoked"), 0);
}

#[test]
fn agents_of_both_eras_have_their_users_connect_at_a_server_with_sessions() {
    check(1, [Client::TsV1, Client::TsV2]);
}

#[test]
fn agents_of_both_eras_have_their_users_connect_at_a_server_without_sessions() {
    check(2, [Client::TsV2, Client::TsV1]);
}

#[test]
fn nobody_connects_for_somebody_else() {
    let stage = Stage::before(2);
    let (ann, eve) = (Person::named("ann"), Person::named("eve"));
    let agent = agent(&stage.front.gateway).bearer(&stage.token(&ann));
    let asked = ask(&agent);
    let link = link(&asked);
    let refused = eve.visit(&link);
    assert_eq!((&*refused.title, refused.status), ("This cannot be connected", 403), "{refused:?}");
    let granting = stage.granting.issuer().trim_start_matches("http://");
    assert!(refused.pages.iter().all(|page| page.host != granting), "{refused:?}");
    let connected = ann.visit(&link);
    assert_eq!((&*connected.title, connected.status), ("Connected", 200), "{connected:?}");
    let said = ask_again(&agent, &asked);
    assert_eq!(said["content"][0]["text"], format!("ann of {}", stage.granting.issuer()), "{said}");
}

#[test]
fn whoever_enters_a_code_at_the_authorization_server_is_connected() {
    let stage = Stage::of(2, &json!({ "grant": "device_code", "client_id": "device" }));
    let ann = Person::named("ann");
    let agent = agent(&stage.front.gateway).bearer(&stage.token(&ann));
    let asked = ask(&agent);
    let connected = ann.visit(&link(&asked));
    assert_eq!((&*connected.title, connected.status), ("Connected", 200), "{connected:?}");
    let titles = connected.titles();
    let [.., waiting, confirm, _, _, done, _] = &titles[..] else { panic!("{titles:?}") };
    assert_eq!(
        [*waiting, *confirm, *done],
        ["Enter this code", "Device Login Confirmation", "Sign-in Success"]
    );
    let said = ask_again(&agent, &asked);
    assert_eq!(said["content"][0]["text"], format!("ann of {}", stage.granting.issuer()), "{said}");
}

#[test]
fn whoever_has_an_api_key_connects_with_it() {
    let granting = Provider::with_pages();
    let server = Upstream::protected(2, granting.issuer());
    let port = free_port();
    let config = json!({
        "version": 1,
        "gateway": { "public_url": format!("http://127.0.0.1:{port}") },
        "servers": servers(&server),
        "auth": { "required": true },
        "agents": { "one": { "match": [{ "api_key": "one" }], "allow": ["*"] } },
    });
    let gateway = Gateway::with(&config.to_string()).env("PORTCULLIS_ADMIN_KEY", "the admin's key");
    // Another environment might not have heard of keys that were made a moment ago.
    let gateway = gateway.at_port(port).of_function("most", json!(1)).start();
    let [own, other] = [(); 2].map(|()| {
        let made = gateway.cli(&["keys", "create", "--agent", "one", "--json"]);
        let made = serde_json::from_str(&made.stdout).unwrap_or_else(|error| panic!("{error}: {made:?}"));
        of(&made, "key")
    });
    let agent = agent(&gateway).bearer(&own);
    wait::expect("the key to count", || agent.post("tools/list", json!({})).send().status == 200);
    let asked = ask(&agent);
    let refused = Person::named("eve").with_key(&other).visit(&link(&asked));
    assert_eq!((&*refused.title, refused.status), ("Connect your account?", 403), "{refused:?}");
    let connected = Person::named("ann").with_key(&own).visit(&link(&asked));
    assert_eq!((&*connected.title, connected.status), ("Connected", 200), "{connected:?}");
    let said = ask_again(&agent, &asked);
    assert_eq!(said["content"][0]["text"], format!("ann of {}", granting.issuer()), "{said}");
}

/// A real authorization server ends a connection whose refresh token comes twice.
#[test]
fn a_connection_outlives_its_tokens() {
    let granting = Provider::of_short_tokens(2);
    let server = Upstream::protected(2, granting.issuer());
    let front = StandIn::start(Provider::behind, &servers(&server));
    let client = front.register(1);
    let mut browser = Browser::default();
    let back = front.sign_in(&client, 1, |url| browser.sign_in(url));
    let agent = agent(&front.gateway).bearer(&of(&front.redeem(&client, &back), "access_token"));
    let asked = ask(&agent);
    let page = browser.visit(&link(&asked));
    assert!(page.contains("<title>Connected</title>"), "{page}");
    let own = format!("ann of {}", granting.issuer());
    assert_eq!(ask_again(&agent, &asked)["content"][0]["text"], own);
    wait::expect("three refreshes", || {
        assert_eq!(ask(&agent)["content"][0]["text"], own, "{}", front.gateway.log());
        granting.asked("refresh") >= 3
    });
    assert_eq!(granting.asked("revoked"), 0);
}

/// A real authorization server ends a connection whose refresh token comes twice.
#[test]
fn of_fifty_calls_at_once_with_a_token_that_is_over_one_refreshes() {
    const SECONDS: u32 = 2;
    let granting = Provider::of_a_short_first_token(SECONDS);
    let server = Upstream::protected(2, granting.issuer());
    let front = StandIn::start(Provider::behind, &servers(&server));
    let client = front.register(1);
    let mut browser = Browser::default();
    let back = front.sign_in(&client, 1, |url| browser.sign_in(url));
    let token = of(&front.redeem(&client, &back), "access_token");
    let asked = ask(&agent(&front.gateway).bearer(&token));
    browser.visit(&link(&asked));
    let connected = Instant::now();
    wait::expect("the token to be over", || connected.elapsed() > Duration::from_secs(SECONDS.into()));
    let own = format!("ann of {}", granting.issuer());
    thread::scope(|scope| {
        let calls: Vec<_> =
            (0..50).map(|_| scope.spawn(|| ask(&agent(&front.gateway).bearer(&token)))).collect();
        for call in calls {
            let said = call.join().expect("an answer");
            assert_eq!(said["content"][0]["text"], own, "{said} {}", front.gateway.log());
        }
    });
    assert_eq!((granting.asked("refresh"), granting.asked("revoked")), (1, 0));
}

#[test]
fn where_nobody_is_asked_for_a_credential_whoever_is_at_the_machine_connects() {
    let granting = Provider::start();
    let server = Upstream::protected(1, granting.issuer());
    let gateway = Gateway::start(&json!({ "version": 1, "servers": servers(&server) }).to_string());
    let session = Agent::legacy(gateway.url());
    let said = session.call("s__whoami", &json!({}));
    let sentence = of(&said["content"][0], "text");
    let words = sentence.split_whitespace().find(|word| word.starts_with("http://"));
    let page = Browser::default().visit(words.unwrap_or_else(|| panic!("a link: {sentence}")));
    assert!(page.contains("<title>Connected</title>"), "{page}");
    let said = session.call("s__whoami", &json!({}));
    assert_eq!(said["content"][0]["text"], format!("ann of {}", granting.issuer()), "{}", gateway.log());
}
