//! Case 4, the other way round: what somebody holds stays theirs when their token is refreshed.
//!
//! A session or a `requestState` that were bound to the token's text would break with every refresh, and teach people to bind
//! them to nothing. They are bound to who somebody is: **another token of the same user opens them, one of another user does
//! not.**

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::browser::Browser;
use portcullis_tests::http::Request;
use portcullis_tests::provider::Provider;
use portcullis_tests::stand_in::{StandIn, of};
use serde_json::{Value, json};

use super::authority::Authority;
use super::target::fixture;

const TOOL: &str = "s__test_input_required_result_request_state";

fn able(url: &str, token: &str) -> Agent {
    Agent::modern(url).bearer(token).capabilities(json!({ "elicitation": { "form": {} } }))
}

/// Asks in a session that somebody else may have begun.
fn in_session(url: &str, token: &str, session: &str) -> u16 {
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "s__echo", "arguments": {} } });
    Request::post(url)
        .header("Accept", "application/json, text/event-stream")
        .header("Authorization", format!("Bearer {token}"))
        .header("MCP-Protocol-Version", LEGACY)
        .header("Mcp-Session-Id", session)
        .json(&message)
        .send()
        .status
}

/// What an agent brings back to a server that has asked.
struct Asked {
    state: Value,
    answers: Value,
}

impl Asked {
    fn of(agent: &Agent) -> Self {
        let first = agent.call(TOOL, &json!({}));
        assert_eq!(first["resultType"], "input_required", "{first}");
        let key =
            first["inputRequests"].as_object().and_then(|asked| asked.keys().next()).expect("a question");
        let answers = json!({ key: { "action": "accept", "content": { "ok": true } } });
        Self { state: first["requestState"].clone(), answers }
    }

    fn again(&self, agent: &Agent) -> Value {
        let params = json!({ "name": TOOL, "arguments": {}, "requestState": self.state, "inputResponses": self.answers });
        agent.ask("tools/call", params)
    }
}

/// Checks that what was begun with the first token goes on with the second, and not with a stranger's.
fn check(url: &str, [first, second]: [&str; 2], stranger: Option<&str>) {
    let session = Agent::modern(url).bearer(first).handshake(LEGACY);
    let session = session.session().expect("a session");
    let (asked, other) = (Asked::of(&able(url, first)), Asked::of(&able(url, first)));
    assert_eq!(in_session(url, first, session), 200);
    if let Some(stranger) = stranger {
        assert_eq!(in_session(url, stranger, session), 404, "it is nobody else's");
        assert_eq!(asked.again(&able(url, stranger))["error"]["code"], -32602);
    }
    assert_eq!(in_session(url, second, session), 200, "the session goes on");
    let answered = asked.again(&able(url, second));
    assert_eq!(answered["result"]["content"][0]["text"], "state-ok: true", "{answered}");
    // The old token is good for a while longer, and for the same.
    assert_eq!(in_session(url, first, session), 200);
    let answered = other.again(&able(url, first));
    assert_eq!(answered["result"]["content"][0]["text"], "state-ok: true", "{answered}");
}

/// With tokens that the gateway makes itself, refreshed as a client does.
#[test]
fn case_04_a_refresh_at_the_gateway_breaks_nothing() {
    let front = StandIn::start(Provider::behind, &json!({ "s": fixture() }));
    let client = front.register(1);
    let back = front.sign_in(&client, 1, |url| Browser::default().sign_in(url));
    let first = front.redeem(&client, &back);
    let second = front.refresh(&client, &first);
    let tokens = [of(&first, "access_token"), of(&second, "access_token")];
    assert_ne!(tokens[0], tokens[1]);
    check(&format!("{}/mcp", front.origin), [&tokens[0], &tokens[1]], None);
}

/// With tokens of an identity provider.
#[test]
fn case_04_a_refresh_at_the_provider_breaks_nothing() {
    let corp = Authority::named("corp");
    let port = portcullis_tests::upstream::free_port();
    let endpoint = format!("http://127.0.0.1:{port}/mcp");
    let config = json!({
        "version": 1,
        "gateway": { "public_url": endpoint.trim_end_matches("/mcp") },
        "auth": { "required": true, "issuers": { "corp": { "url": corp.issuer() } } },
        "servers": { "s": fixture() },
    });
    let builder = portcullis_tests::gateway::Gateway::with(&config.to_string());
    let _gateway = builder.env("PORTCULLIS_ADMIN_KEY", "the admin's key").at_port(port).start();
    let token =
        |who: &str, id: &str| corp.sign("corp", "at+jwt", &json!({ "sub": who, "jti": id, "aud": endpoint }));
    check(&endpoint, [&token("ann", "1"), &token("ann", "2")], Some(&token("eve", "1")));
}
