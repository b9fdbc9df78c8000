//! Case 7: what an agent proves itself with is the gateway's to check, and never goes on to a server.

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::gateway::{Gateway, Host};
use portcullis_tests::scenario;
use portcullis_tests::sse_agent;
use portcullis_tests::toolbox;
use serde_json::{Value, json};

use super::governed::key;

const JUNK: &str = "junk-4711";
/// A token for another audience: `{"alg":"RS256"}`, `{"aud":"https://elsewhere.example"}` and no signature to speak of.
const FOREIGN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL2Vsc2V3aGVyZS5leGFtcGxlIn0.c2lnbmF0dXJl";

/// Servers of both eras record all that they receive while agents bring keys, junk and foreign tokens, by every door.
#[test]
fn case_07_a_credential_of_an_agent_reaches_no_server() {
    let folder = toolbox::scratch();
    let eras = ["modern", "legacy"];
    let records = eras.map(|era| folder.path().join(era));
    let mut config = json!({
        "version": 1, "auth": { "header": "x-key" },
        "agents": { "one": { "allow": ["*"] }, "default": { "allow": ["*"] } },
    });
    for (era, record) in eras.iter().zip(&records) {
        let record = record.display().to_string();
        config["servers"][era] = scenario::fixture(&["--era", era, "--record", &record]);
    }
    let gateway = Gateway::with(&config.to_string()).env("PORTCULLIS_ADMIN_KEY", "the admin's key").start();
    let key = key(&gateway, "one");

    let stray = |agent: Agent| {
        agent.header("Cookie", "id=stray-cookie").header("Proxy-Authorization", "Basic stray-proxy")
    };
    let by_bearer = || stray(Agent::modern(gateway.url()).bearer(&key));
    let by_header = || stray(Agent::modern(gateway.url()).header("X-Key", &key));
    let can_be_asked = json!({ "elicitation": {} });
    for agent in [
        by_bearer(),
        by_header(),
        by_bearer().handshake(LEGACY),
        by_header().handshake(LEGACY),
        by_bearer().capabilities(can_be_asked.clone()),
        by_bearer().capabilities(can_be_asked).handshake(LEGACY),
    ] {
        for era in eras {
            agent.call(&format!("{era}__echo"), &json!({ "a": 1 }));
            agent.result("prompts/get", json!({ "name": format!("{era}__test_simple_prompt") }));
        }
        agent.tools();
    }
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    assert_eq!(by_bearer().post("subscriptions/listen", wanted).send().status, 200);
    // A function has nothing for agents on HTTP+SSE.
    if Host::chosen() != Host::Lambda {
        let mut on_a_stream = sse_agent::Agent::opened_with(&gateway, &[("X-Key", &key)]);
        on_a_stream.initialize("2024-11-05", &json!({}));
        assert!(on_a_stream.call("modern__echo", &json!({ "message": "mine" })).contains("mine"));
    }

    for secret in [JUNK, FOREIGN] {
        let strangers = [
            Agent::modern(gateway.url()).bearer(secret),
            Agent::modern(gateway.url()).header("X-Key", secret),
        ];
        for agent in strangers {
            let call = json!({ "name": "modern__echo", "arguments": { "stranger": true } });
            assert_eq!(agent.post("tools/call", call).send().status, 401);
        }
    }
    for record in records {
        let all = Value::from(scenario::received(record)).to_string();
        assert!(all.contains("tools/call") && all.contains("prompts/get"), "{all}");
        assert!(!all.contains("stranger"), "{all}");
        for secret in [&*key, JUNK, FOREIGN, "stray-", "x-key", "authorization", "cookie"] {
            assert!(!all.to_lowercase().contains(&secret.to_lowercase()), "{secret} in {all}");
        }
    }
}
