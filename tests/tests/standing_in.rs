//! The gateway as the authorization server before a real identity provider, over real HTTP; and the official suite's judgement
//! of it.

use portcullis_tests::agent::Agent;
use portcullis_tests::browser::Browser;
use portcullis_tests::chromium::Person;
use portcullis_tests::client::{Client, Step};
use portcullis_tests::conformance::judge_authorization;
use portcullis_tests::http::Request;
use portcullis_tests::provider::Provider;
use portcullis_tests::stand_in::{StandIn, of, parameter};
use portcullis_tests::upstream::{Upstream, free_port};
use serde_json::{Value, json};

struct Stage {
    front: StandIn,
    _upstream: Upstream,
}

impl Stage {
    fn new() -> Self {
        Self::before(Provider::behind)
    }

    fn before(provider: impl FnOnce(&str) -> Provider) -> Self {
        let upstream = Upstream::fixture(&["--era", "modern"]);
        let front = StandIn::start(provider, &json!({ "s": { "url": upstream.url() } }));
        Self { front, _upstream: upstream }
    }
}

#[test]
fn somebody_signs_in_at_a_real_provider_and_their_agent_calls() {
    let Stage { mut front, _upstream } = Stage::new();
    let client = front.register(1);
    let back = front.sign_in(&client, 2, |url| Browser::default().sign_in(url));
    assert!(back.starts_with("http://127.0.0.1:2/callback?"), "{back}");
    assert_eq!(parameter(&back, "state"), "mine");
    assert_eq!(parameter(&back, "iss").replace("%3A", ":").replace("%2F", "/"), front.origin);
    let url = front.gateway.url().to_owned();
    let tools = |tokens: &Value| Agent::modern(&url).bearer(&of(tokens, "access_token")).tools();
    let first = front.redeem(&client, &back);
    assert!(!tools(&first).is_empty());
    let second = front.refresh(&client, &first);
    assert!(!tools(&second).is_empty());
    let last = front.refresh(&client, &second);
    front.gateway.restart();
    assert_eq!(front.refresh(&client, &first)["error"], "invalid_grant", "it was used before the restart");
    assert_eq!(front.refresh(&client, &last)["error"], "invalid_grant", "the family has ended");
}

#[test]
fn somebody_signs_in_with_a_real_browser() {
    let stage = Stage::before(Provider::with_pages_behind);
    let ann = Person::named("ann");
    let call = Step::CallTool { name: "s__echo".into(), arguments: json!({ "text": "signed in" }) };
    let visited = [Client::TsV1, Client::TsV2].map(|client| {
        let transcript =
            client.run_signing_in_as(&ann, stage.front.gateway.url(), std::slice::from_ref(&call));
        assert!(transcript.result(0).to_string().contains("signed in"));
        transcript.visited[0].clone()
    });
    // The provider knows them the second time; the gateway asks again, as it is another client.
    let titles = visited.each_ref().map(|walk| walk.titles());
    assert_eq!(titles[0], ["Let this application in?", "Sign-in", "Sign-in", "Signed in"]);
    assert_eq!(titles[1], ["Let this application in?", "Signed in"]);
}

#[test]
fn the_official_suite_finds_nothing_wrong() {
    let stage = Stage::new();
    let port = free_port();
    let client = stage.front.register(port);
    let summary = judge_authorization(&stage.front.origin, &client, port, |url| {
        let back = Browser::default().sign_in(url);
        Request::get(&back).send();
    });
    assert_eq!(summary, "3 passed, 0 failed");
}
