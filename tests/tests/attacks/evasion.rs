//! Case 29: whatever an agent changes about itself and its requests, all of them are counted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Response;
use serde_json::{Value, json};

use super::governed::{governed, key, modern};
use super::target::fixture;

const LIMITED: i64 = -32029;

fn start(limits: &Value) -> Gateway {
    let agents = json!({ "one": { "allow": ["*"], "limits": limits }, "two": { "allow": ["*"] } });
    let groups = json!({ "groups": { "all": { "up": "*" } } });
    let config = governed(&json!({ "up": fixture() }), &agents, &groups);
    Gateway::with(&config).env("PORTCULLIS_ADMIN_KEY", "the admin's key").start()
}

/// Whether a request was counted as one too many.
fn is_refused(response: Response) -> bool {
    let wait = response.header("retry-after").is_some();
    let text = response.text();
    let refused = text.contains(&format!("\"code\":{LIMITED}"));
    assert!(!refused || wait || text.contains("retryAfterMs"), "{text}");
    refused
}

#[test]
fn case_29_every_request_is_counted_whatever_changes() {
    let gateway = start(&json!({ "daily": 14 }));
    let key = key(&gateway, "one");
    // One was used to see that the key is taken.
    let paths = ["/mcp", "/mcp/servers/up", "/mcp/groups/all"];
    let mut answered = 1;
    let urls = paths.map(|path| gateway.url_of(path));
    for (turn, url) in urls.iter().enumerate() {
        let agent = |tag: &str| Agent::modern(url).bearer(&key).header("x-lunar-consumer-tag", tag);
        let client = json!({ "io.modelcontextprotocol/clientInfo": { "name": format!("client {turn}"), "version": "1" } });
        for (method, params) in [
            ("server/discover", json!({ "_meta": client })),
            ("tools/list", json!({ "_meta": client })),
            ("tools/call", json!({ "name": "up__echo", "_meta": client })),
            ("resources/read", json!({ "uri": "test://no-such-resource" })),
        ] {
            if answered + 1 > 14 {
                break;
            }
            assert!(
                !is_refused(agent(["two", "x", ""][turn]).post(method, params).send()),
                "{method} is number {answered}"
            );
            answered += 1;
        }
    }
    // A session: its beginning counts, and each of its requests.
    let session = Agent::modern(gateway.url()).bearer(&key);
    let begin = |agent: &Agent, name: &str| {
        let params = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": { "name": name, "version": "1" } });
        let mut request = agent.post("initialize", params);
        let text = portcullis_tests::scenario::body_of(&request);
        request = request.body(text);
        request.send()
    };
    assert_eq!(answered, 13);
    assert!(!is_refused(begin(&session, "first")));
    for (turn, url) in urls.iter().enumerate() {
        assert!(is_refused(begin(&session, &format!("client {turn}"))), "another session");
        let agent = Agent::modern(url).bearer(&key).header("x-lunar-consumer-tag", "two");
        for method in [
            "server/discover",
            "tools/list",
            "prompts/list",
            "resources/list",
            "nothing",
            "completion/complete",
        ] {
            assert!(is_refused(agent.post(method, json!({})).send()), "{method}");
        }
        assert!(is_refused(agent.post("tools/call", json!({ "name": "up__echo" })).send()));
        let state = json!({ "name": "up__echo", "requestState": "made up" });
        assert!(is_refused(agent.post("tools/call", state).send()), "a state that never was");
    }
    assert!(
        !is_refused(modern(gateway.url(), "two").post("tools/list", json!({})).send()),
        "nobody else waits"
    );
}

#[test]
fn case_29_each_message_of_a_batch_is_counted() {
    let gateway = start(&json!({ "daily": 6 }));
    let agent = modern(gateway.url(), "one").handshake("2025-03-26");
    let messages: Vec<_> =
        ["ping", "tools/list", "prompts/list", "ping", "tools/list", "ping", "ping", "tools/list"]
            .iter()
            .enumerate()
            .map(|(id, method)| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": {} }))
            .collect();
    let answers = agent.post("ping", json!({})).body(Value::from(messages).to_string()).send().json();
    let refused =
        answers.as_array().expect("a batch").iter().filter(|answer| answer["error"]["code"] == LIMITED);
    // The beginning of the session was the first of six.
    assert_eq!(refused.count(), 3, "{answers}");
}

#[test]
fn case_29_a_burst_gets_no_more_than_its_due() {
    let gateway = start(&json!({ "daily": 10 }));
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for turn in 0..40 {
            let (url, answered) = (gateway.url(), &answered);
            scope.spawn(move || {
                let params = json!({ "name": "up__echo", "arguments": { "turn": turn } });
                if !is_refused(modern(url, "one").post("tools/call", params).send()) {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(answered.load(Ordering::Relaxed), 10);
}

/// A call that waits for its agent holds its place among those that run; that it goes on is counted as any request.
#[test]
fn case_29_a_call_that_waits_is_no_hole() {
    let gateway = Gateway::start(&governed(
        &json!({ "up": portcullis_tests::scenario::fixture(&["--era", "legacy"]) }),
        &json!({ "one": { "allow": ["*"], "limits": { "concurrency": 1, "daily": 3 } } }),
        &json!({}),
    ));
    let agent = modern(gateway.url(), "one").capabilities(json!({ "elicitation": {} }));
    let params = json!({ "name": "up__ask_elicitation", "arguments": {} });
    let asked = agent.result("tools/call", params.clone());
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    assert!(is_refused(agent.post("tools/list", json!({})).send()), "the call runs");
    let key =
        asked["inputRequests"].as_object().and_then(|asked| asked.keys().next()).expect("a question").clone();
    let retry = |state: &Value, answer: Value| {
        let mut retry = params.clone();
        retry["requestState"] = state.clone();
        retry["inputResponses"] = answer;
        agent.post("tools/call", retry)
    };
    // Going on without an answer asks again, and is counted: the second of three.
    let again =
        retry(&asked["requestState"], json!({})).send().messages().pop().expect("a message")["result"]
            .clone();
    assert_eq!(again["resultType"], "input_required", "{again}");
    let accepted = json!({ key: { "action": "accept", "content": { "name": "Ada" } } });
    let done = retry(&again["requestState"], accepted.clone()).send().messages().pop().expect("a message");
    assert_eq!(done["result"]["resultType"], "complete", "{done}");
    assert!(is_refused(retry(&again["requestState"], accepted).send()), "three are used up");
}
