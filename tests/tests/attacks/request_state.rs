//! Cases 4, 5 and 6, as far as they are about `requestState`: stolen, altered, and brought back twice.
//!
//! A server that asks tells itself through the agent how the call goes on. What comes back decides what is executed, so
//! **nothing but the very state, with the very request, once, gets through to the server.**

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Host;
use portcullis_tests::http::Request;
use portcullis_tests::scenario::{Stage, Transport};
use portcullis_tests::wait;
use serde_json::{Value, json};

const TOOL: &str = "s__test_input_required_result_request_state";
const TWIN: &str = "s__test_input_required_result_tampered_state";
const INVALID: i64 = -32602;

/// A gateway whose server has asked its first question.
struct Asked {
    stage: Stage,
    agent: Agent,
    state: String,
    /// What the question is called, by which its answer is.
    key: String,
}

/// A server of each era that can ask here.
fn servers() -> Vec<(&'static str, Transport)> {
    let all = [("modern", Transport::Http), ("legacy", Transport::Stdio)];
    let can_ask = |era| Host::chosen() != Host::Lambda || era == "modern";
    all.into_iter().filter(|(era, _)| can_ask(*era)).collect()
}

impl Asked {
    fn by(era: &str, transport: Transport) -> Self {
        let stage = Stage::new(era, transport);
        let agent = able(stage.url());
        let first = agent.call(TOOL, &json!({}));
        assert_eq!(first["resultType"], "input_required", "{first}");
        let sealed = first["requestState"].as_str().expect("a state comes with the question");
        let asked = first["inputRequests"].as_object().and_then(|asked| asked.keys().next());
        let key = asked.expect("there is a question").clone();
        Self { stage, agent, state: sealed.to_owned(), key }
    }

    /// The request of the second round, with another state where one is given.
    fn again(&self, state: &Value) -> Request {
        self.again_as(&self.agent, TOOL, &json!({}), state)
    }

    /// The same, as it would be of another agent, tool or arguments.
    fn again_as(&self, agent: &Agent, tool: &str, arguments: &Value, state: &Value) -> Request {
        let answers = json!({ &self.key: { "action": "accept", "content": { "ok": true } } });
        agent.post(
            "tools/call",
            json!({ "name": tool, "arguments": arguments, "requestState": state, "inputResponses": answers }),
        )
    }

    /// How many calls have reached the server.
    fn calls(&self) -> usize {
        self.stage.received().iter().filter(|request| request["method"] == "tools/call").count()
    }

    /// Fails where this is not refused in the words of every other refusal, or where the server hears of it.
    #[track_caller]
    fn assert_refused(&self, what: &str, request: &Request) {
        let before = self.calls();
        let error = error_of(request);
        assert_eq!(error["code"], INVALID, "{what}: {error}");
        assert_eq!(error, error_of(&self.again(&json!("never-a-state"))), "{what} is told apart");
        assert_eq!(self.calls(), before, "{what} reached the server");
    }

    /// Fails where the state, after all that was tried, is not good for what it was given for.
    #[track_caller]
    fn assert_good(&self) {
        let answer = last(&self.again(&json!(self.state)));
        assert_eq!(answer["result"]["content"][0]["text"], "state-ok: true", "{answer}");
    }
}

/// An agent that can be asked.
fn able(url: &str) -> Agent {
    Agent::modern(url).capabilities(json!({ "elicitation": { "form": {} } }))
}

fn last(request: &Request) -> Value {
    request.send().messages().pop().unwrap_or_default()
}

fn error_of(request: &Request) -> Value {
    let mut answer = last(request);
    assert!(answer.get("error").is_some(), "{answer:.1000}");
    answer["error"].take()
}

/// A state that was altered in any character, cut, lengthened, or is no text at all.
#[test]
fn case_05_an_altered_state_is_refused() {
    for (era, transport) in servers() {
        let asked = Asked::by(era, transport);
        let state = &asked.state;
        for (index, byte) in state.bytes().enumerate() {
            let other = if byte == b'A' { 'B' } else { 'A' };
            let forged = format!("{}{other}{}", &state[..index], &state[index + 1..]);
            asked.assert_refused(&format!("character {index} altered"), &asked.again(&json!(forged)));
        }
        for length in (0..state.len()).step_by(7) {
            asked.assert_refused("a part of it", &asked.again(&json!(state[..length])));
        }
        let longer = [
            format!("{state}A"),
            format!("{state}="),
            format!("{state}{state}"),
            format!(" {state}"),
            state.to_uppercase(),
            "é".to_owned(),
            "A".repeat(1 << 20),
        ];
        for forged in longer {
            asked.assert_refused("a longer or another one", &asked.again(&json!(forged)));
        }
        for forged in [json!(1), json!(true), json!({}), json!([state])] {
            asked.assert_refused("no text", &asked.again(&forged));
        }
        asked.assert_good();
    }
}

/// A state is good for the request that it was given for, and for no other tool, arguments, or endpoint.
#[test]
fn case_05_a_state_is_bound_to_its_request() {
    for (era, transport) in portcullis_tests::scenario::servers_that_ask() {
        let asked = Asked::by(era, transport);
        let state = json!(asked.state);
        asked.assert_refused("another tool", &asked.again_as(&asked.agent, TWIN, &json!({}), &state));
        asked.assert_refused(
            "a tool of no questions",
            &asked.again_as(&asked.agent, "s__echo", &json!({}), &state),
        );
        for arguments in [json!({ "amount": 1_000_000 }), json!([]), Value::Null] {
            let other = asked.again_as(&asked.agent, TOOL, &arguments, &state);
            asked.assert_refused("other arguments", &other);
        }
        let narrow = able(&asked.stage.gateway.url_of("/mcp/servers/s"));
        asked.assert_refused("another endpoint", &asked.again_as(&narrow, TOOL, &json!({}), &state));
        let prompt = json!({ "name": "s__test_input_required_result_prompt", "requestState": state });
        asked.assert_refused("another method", &asked.agent.post("prompts/get", prompt));
        asked.assert_good();
    }
}

/// What this gateway has sealed for other purposes, and what other gateways have sealed, are no states.
#[test]
fn case_04_what_is_sealed_elsewhere_or_for_something_else_is_no_state() {
    let asked = Asked::by("modern", Transport::Http);
    let session = Agent::legacy(asked.stage.url()).session().expect("a session").to_owned();
    asked.assert_refused("a session id", &asked.again(&json!(session)));
    let other = Asked::by("modern", Transport::Http);
    asked.assert_refused("another gateway's", &asked.again(&json!(other.state)));
    let opened = Request::post(asked.stage.url())
        .header("Accept", "application/json, text/event-stream")
        .header("MCP-Protocol-Version", portcullis_tests::agent::LEGACY)
        .header("Mcp-Session-Id", &asked.state)
        .json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }))
        .send();
    assert_eq!(opened.status, 404, "a state is no session id");
    asked.assert_good();
}

/// What the user has agreed to once is executed once, however often the agreement comes.
#[test]
fn case_06_a_state_brought_back_twice_is_executed_once() {
    for (era, transport) in portcullis_tests::scenario::servers_that_ask() {
        let asked = Asked::by(era, transport);
        asked.assert_good();
        let executed = asked.calls();
        for _ in 0..3 {
            let error = error_of(&asked.again(&json!(asked.state)));
            assert_eq!(error["code"], INVALID, "{era} {transport:?}: {error}");
        }
        assert_eq!(asked.calls(), executed, "{era} {transport:?}");
    }
}

/// The same, all at once: one of many gets through.
#[test]
fn case_06_of_many_at_once_one_is_executed() {
    for (era, transport) in servers() {
        let asked = Asked::by(era, transport);
        let (before, request) = (asked.calls(), asked.again(&json!(asked.state)));
        let answers: Vec<Value> = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..16).map(|_| scope.spawn(|| last(&request))).collect();
            senders.into_iter().map(|sender| sender.join().expect("a sender is answered")).collect()
        });
        let good = answers.iter().filter(|answer| answer.get("result").is_some()).count();
        assert_eq!(good, 1, "{era}: {answers:?}");
        // A stateless server is called again for the second round; one with sessions waits in its first call.
        let second = usize::from(era == "modern");
        wait::expect("the record", || asked.calls() == before + second);
    }
}
