//! Several gateways with one seal key behind a load balancer: any of them answers any request.
//!
//! A scenario is a sequence of requests. **For every position in it, one gateway is killed between that request and the
//! next; what comes of the scenario must be the same.** Once its place is taken by another, once it is not.
#![allow(clippy::print_stdout, reason = "a failure shows where the gateway was killed")]

use std::time::Duration;

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::fleet::Fleet;
use portcullis_tests::gateway::Host;
use portcullis_tests::http::{Request, Response};
use portcullis_tests::scenario::hearing;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

const WATCHED: &str = "test://watched-resource";
/// In which news of a change usually come.
const SOON: Duration = Duration::from_secs(5);

/// A fleet before a fixture server of this era.
fn before(era: &str) -> (Fleet, Upstream) {
    let upstream = Upstream::fixture(&["--era", era]);
    let url = upstream.url();
    let config = format!("version: 1\ngateway: {{ page_size: 10 }}\nservers:\n  s: {{ url: '{url}' }}\n");
    (Fleet::start(&config), upstream)
}

/// What an agent carries from one request to the next.
struct Carried {
    agent: Agent,
    url: String,
    cursor: Value,
    question: Value,
    stream: Option<Response>,
}

/// What needs a session that is held somewhere.
const NOT_IN_FUNCTIONS: [&str; 2] = ["subscribe", "unsubscribe"];

/// One request of a scenario; answers what must not depend on who answered it.
type Step = (&'static str, fn(&mut Carried) -> Value);

/// Runs a scenario; after so many steps, `disturb` happens.
fn run(url: &str, steps: &[Step], disturbed_after: usize, disturb: impl FnOnce()) -> Vec<Value> {
    let mut disturb = Some(disturb);
    let mut carried = Carried {
        agent: Agent::modern(url).capabilities(json!({ "elicitation": { "form": {} } })),
        url: url.to_owned(),
        cursor: Value::Null,
        question: Value::Null,
        stream: None,
    };
    let mut results = Vec::new();
    for (index, (name, step)) in steps.iter().enumerate() {
        results.push(json!({ *name: step(&mut carried) }));
        if index == disturbed_after
            && let Some(disturb) = disturb.take()
        {
            disturb();
        }
    }
    results
}

/// Kills one of the gateways after each step of a scenario in turn.
fn survives(era: &str, steps: &[Step]) {
    let (mut fleet, _upstream) = before(era);
    let url = fleet.url();
    let is_offered = |(name, _): &&Step| fleet.host() != Host::Lambda || !NOT_IN_FUNCTIONS.contains(name);
    let steps: Vec<Step> = steps.iter().filter(is_offered).copied().collect();
    let steps = &steps[..];
    let expected = run(&url, steps, usize::MAX, || {});
    for position in 0..steps.len() {
        for replaced_at_once in [true, false] {
            let victim = position % 2;
            println!("killed after {}; another in its place: {replaced_at_once}", steps[position].0);
            let outcome = run(&url, steps, position, || {
                fleet.kill(victim);
                if replaced_at_once {
                    fleet.replace(victim);
                }
            });
            assert_eq!(outcome, expected);
            if !replaced_at_once {
                fleet.replace(victim);
            }
        }
    }
}

fn names(page: &Value, key: &str) -> Value {
    page[key].as_array().expect("a list").iter().map(|item| item["name"].clone()).collect()
}

fn first_page(c: &mut Carried) -> Value {
    let page = c.agent.result("tools/list", json!({}));
    c.cursor = page["nextCursor"].clone();
    json!([names(&page, "tools"), page["nextCursor"]])
}

fn next_page(c: &mut Carried) -> Value {
    let page = c.agent.result("tools/list", json!({ "cursor": c.cursor }));
    c.cursor = page["nextCursor"].clone();
    json!([names(&page, "tools"), page["nextCursor"]])
}

fn call(c: &mut Carried) -> Value {
    c.agent.call("s__echo", &json!({ "n": 1.0 }))
}

fn call_with_progress(c: &mut Carried) -> Value {
    let params = json!({ "name": "s__test_tool_with_progress", "_meta": { "progressToken": "p" } });
    let messages = c.agent.post("tools/call", params).send().messages();
    let (last, told) = messages.split_last().expect("an answer");
    json!([
        told.iter().map(|message| message["params"]["progress"].clone()).collect::<Vec<_>>(),
        last["result"]
    ])
}

fn prompt(c: &mut Carried) -> Value {
    let arguments = json!({ "arg1": "a", "arg2": "b" });
    c.agent.result("prompts/get", json!({ "name": "s__test_prompt_with_arguments", "arguments": arguments }))
}

fn read(c: &mut Carried) -> Value {
    c.agent.result("resources/read", json!({ "uri": "test://static-text" }))
}

fn complete(c: &mut Carried) -> Value {
    let reference = json!({ "type": "ref/prompt", "name": "s__test_prompt_with_arguments" });
    c.agent.result(
        "completion/complete",
        json!({ "ref": reference, "argument": { "name": "arg1", "value": "p" } }),
    )
}

/// Waits for a message of this method on the stream that was opened, which a call causes. What has changed and changed
/// back before anybody looked is no news: so it is called until there are some.
fn hear(c: &mut Carried, method: &str, cause: &str) -> Value {
    let hearing = hearing(c.stream.take().expect("it was opened"), method);
    let heard = wait::until(PATIENCE, || {
        c.agent.call(cause, &json!({}));
        hearing.recv_timeout(SOON).ok()
    });
    json!(heard)
}

mod modern {
    use super::*;

    const TOOL: &str = "s__test_input_required_result_request_state";

    pub(super) fn discover(c: &mut Carried) -> Value {
        c.agent.result("server/discover", json!({}))
    }

    pub(super) fn ask(c: &mut Carried) -> Value {
        c.question = c.agent.result("tools/call", json!({ "name": TOOL, "arguments": {} }));
        c.question["resultType"].clone()
    }

    pub(super) fn answer(c: &mut Carried) -> Value {
        let answers = json!({ "confirm": { "action": "accept", "content": { "ok": true } } });
        let state = c.question["requestState"].clone();
        let params =
            json!({ "name": TOOL, "arguments": {}, "inputResponses": answers, "requestState": state });
        c.agent.result("tools/call", params)
    }

    pub(super) fn listen(c: &mut Carried) -> Value {
        let wanted = json!({ "notifications": { "resourceSubscriptions": [WATCHED] } });
        let stream = c.agent.post("subscriptions/listen", wanted).send();
        let status = json!([stream.status, stream.is_stream()]);
        c.stream = Some(stream);
        status
    }

    /// The stream that the agent had may have ended: it opens another, and hears of what happens from then on.
    pub(super) fn listen_again(c: &mut Carried) -> Value {
        listen(c);
        hear(c, "notifications/resources/updated", "s__update_resource")
    }
}

mod legacy {
    use super::*;

    pub(super) fn initialize(c: &mut Carried) -> Value {
        let url = c.url.clone();
        c.agent = Agent::modern(&url).handshake(LEGACY);
        json!(c.agent.session().is_some())
    }

    pub(super) fn ping(c: &mut Carried) -> Value {
        c.agent.result("ping", json!({}))
    }

    pub(super) fn set_level(c: &mut Carried) -> Value {
        c.agent.result("logging/setLevel", json!({ "level": "error" }))
    }

    pub(super) fn subscribe(c: &mut Carried) -> Value {
        c.agent.result("resources/subscribe", json!({ "uri": WATCHED }))
    }

    pub(super) fn unsubscribe(c: &mut Carried) -> Value {
        c.agent.result("resources/unsubscribe", json!({ "uri": WATCHED }))
    }

    fn request(c: &Carried, method: &str) -> Request {
        Request::new(method, &c.url)
            .header("Accept", "text/event-stream")
            .header("MCP-Protocol-Version", c.agent.version())
            .header("Mcp-Session-Id", c.agent.session().expect("a session"))
    }

    pub(super) fn open(c: &mut Carried) -> Value {
        let stream = request(c, "GET").send();
        let status = json!([stream.status, stream.is_stream()]);
        c.stream = Some(stream);
        status
    }

    /// The stream that the agent had may have ended: it opens another, and hears of what happens from then on.
    pub(super) fn open_again(c: &mut Carried) -> Value {
        open(c);
        hear(c, "notifications/prompts/list_changed", "s__test_trigger_prompt_change")
    }

    pub(super) fn delete(c: &mut Carried) -> Value {
        json!(request(c, "DELETE").send().status)
    }
}

const MODERN: [Step; 11] = [
    ("discover", modern::discover),
    ("first page", first_page),
    ("next page", next_page),
    ("last page", next_page),
    ("call", call),
    ("call with progress", call_with_progress),
    ("prompt", prompt),
    ("read", read),
    ("complete", complete),
    ("listen", modern::listen),
    ("listen again", modern::listen_again),
];

const LEGACY_STEPS: [Step; 15] = [
    ("initialize", legacy::initialize),
    ("ping", legacy::ping),
    ("first page", first_page),
    ("next page", next_page),
    ("last page", next_page),
    ("call", call),
    ("call with progress", call_with_progress),
    ("prompt", prompt),
    ("read", read),
    ("complete", complete),
    ("set level", legacy::set_level),
    ("subscribe", legacy::subscribe),
    ("unsubscribe", legacy::unsubscribe),
    ("open", legacy::open),
    ("open again, and delete", |c| json!([legacy::open_again(c), legacy::delete(c)])),
];

#[test]
fn a_modern_agent_of_a_modern_server_notices_nothing() {
    let rounds: [Step; 2] = [("ask", modern::ask), ("answer", modern::answer)];
    survives("modern", &[&MODERN[..], &rounds[..]].concat());
}

#[test]
fn a_modern_agent_of_a_legacy_server_notices_nothing() {
    survives("legacy", &MODERN);
}

#[test]
fn a_legacy_agent_of_a_modern_server_notices_nothing() {
    survives("modern", &LEGACY_STEPS);
}

#[test]
fn a_legacy_agent_of_a_legacy_server_notices_nothing() {
    survives("legacy", &LEGACY_STEPS);
}

/// A call that waits for its agent waits in one process: where that is gone it is said so, and nobody waits in vain.
#[test]
fn a_call_that_waits_for_its_agent_ends_with_the_process_that_holds_it() {
    let (mut fleet, _upstream) = before("legacy");
    let direct = [fleet.url_of(0), fleet.url_of(1)];
    let can = json!({ "elicitation": { "form": {} } });
    let call = json!({ "name": "s__ask_elicitation", "arguments": {} });
    let reply = json!({ "action": "accept", "content": { "answer": "blue" } });

    let agent = Agent::modern(&direct[0]).capabilities(can.clone());
    let asked = agent.result("tools/call", call.clone());
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let key =
        asked["inputRequests"].as_object().and_then(|all| all.keys().next()).expect("a question").clone();
    let mut answer = call.clone();
    answer["inputResponses"] = json!({ key: reply });
    answer["requestState"] = asked["requestState"].clone();

    let session = Agent::modern(&direct[0]).capabilities(can.clone()).handshake(LEGACY);
    let stream = session.post("tools/call", call.clone()).send();
    let mut events = stream.events().filter(|event| !event.data.is_empty()).map(|event| event.json());
    let question = events.find(|message| message["method"] == "elicitation/create").expect("a question");

    match fleet.host() {
        Host::Local | Host::Lambda => fleet.kill(0),
        Host::Edge => fleet.restart_stores(),
    }
    let error = Agent::modern(&direct[1]).capabilities(can).error("tools/call", answer);
    let said = error["message"].as_str().unwrap_or_default();
    assert!(said.contains("its gateway process has ended") && said.contains("call again"), "{error}");
    let text = json!({ "jsonrpc": "2.0", "id": question["id"], "result": reply }).to_string();
    let elsewhere = session.post("answer", json!({})).body(text);
    let refused = elsewhere.to(&direct[1]).send();
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("this gateway process did not ask it"));
}
