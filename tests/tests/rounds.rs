//! Stateless agents that are asked in the middle of a call: in rounds, whatever the server's era.
#![allow(clippy::print_stdout, reason = "a failure shows which pairing it was")]

use std::thread;

use portcullis_tests::agent::Agent;
use portcullis_tests::scenario::{Stage, Transport, servers_that_ask, text};
use serde_json::{Value, json};

fn agent(url: &str) -> Agent {
    Agent::modern(url)
        .capabilities(json!({ "elicitation": { "form": {}, "url": {} }, "sampling": {}, "roots": {} }))
}

fn before_every_server(check: impl Fn(&Stage)) {
    for (era, transport) in servers_that_ask() {
        println!("a {era} server, {transport:?}");
        check(&Stage::new(era, transport));
    }
}

fn accept(content: Value) -> Value {
    json!({ "action": "accept", "content": content })
}

/// The request that follows a round: the same with the answers, and the state as it was given.
fn next(params: &Value, round: &Value, reply: impl Fn(&Value) -> Value) -> Value {
    assert_eq!(round["resultType"], "input_required", "{round}");
    let mut params = params.clone();
    for (key, request) in round["inputRequests"].as_object().expect("questions") {
        params["inputResponses"][key] = reply(request);
    }
    if let Some(state) = round.get("requestState") {
        params["requestState"] = state.clone();
    }
    params
}

fn tool(name: &str) -> Value {
    json!({ "name": format!("s__{name}"), "arguments": {} })
}

/// Calls a tool and answers each of its questions by `reply`; returns the questions and the result.
fn converse(agent: &Agent, tool: &Value, reply: impl Fn(&Value) -> Value) -> (Vec<Value>, Value) {
    let mut questions = Vec::new();
    let mut result = agent.result("tools/call", tool.clone());
    while result["resultType"] == "input_required" {
        questions.extend(result["inputRequests"].as_object().expect("questions").values().cloned());
        result = agent.result("tools/call", next(tool, &result, &reply));
    }
    assert_eq!(result["resultType"], "complete", "{result}");
    (questions, result)
}

/// Answers whatever is asked.
fn obliging(request: &Value) -> Value {
    match request["method"].as_str() {
        Some("sampling/createMessage") => {
            json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "Indeed" } })
        }
        Some("roots/list") => json!({ "roots": [{ "uri": "file:///home/ada" }] }),
        _ if request["params"]["mode"] == "url" => json!({ "action": "accept" }),
        _ => accept(json!({ "name": "Ada", "color": "blue", "answer": "42", "ok": true, "context": "tea" })),
    }
}

#[test]
fn every_kind_of_question_is_asked_and_answered() {
    before_every_server(|stage| {
        let agent = agent(stage.url());
        for (name, method, expected) in [
            ("ask_elicitation", "elicitation/create", "42"),
            ("url_elicitation", "elicitation/create", "accept"),
            ("ask_sampling", "sampling/createMessage", "Indeed"),
            ("ask_roots", "roots/list", "file:///home/ada"),
            ("test_input_required_result_request_state", "elicitation/create", "state-ok: true"),
        ] {
            let (questions, result) = converse(&agent, &tool(name), obliging);
            assert_eq!((questions.len(), &questions[0]["method"]), (1, &json!(method)), "{name}");
            assert!(questions[0]["params"].get("elicitationId").is_none(), "{questions:?}");
            assert!(text(&result).contains(expected), "{name}: {result}");
        }
    });
}

#[test]
fn several_questions_come_at_once_and_one_after_the_other() {
    before_every_server(|stage| {
        let agent = agent(stage.url());
        let several = tool("test_input_required_result_multiple_inputs");
        let round = agent.result("tools/call", several.clone());
        assert_eq!(round["inputRequests"].as_object().map(serde_json::Map::len), Some(3), "{round}");
        let result = agent.result("tools/call", next(&several, &round, obliging));
        for part in ["Ada", "Indeed", "file:///home/ada"] {
            assert!(text(&result).contains(part), "{result}");
        }
        let (questions, result) = converse(&agent, &tool("test_input_required_result_multi_round"), obliging);
        assert_eq!(questions.len(), 2);
        assert_eq!(text(&result), "Name: \"Ada\", color: \"blue\"");
    });
}

#[test]
fn a_question_without_an_answer_is_asked_again() {
    before_every_server(|stage| {
        let agent = agent(stage.url());
        let several = tool("test_input_required_result_multiple_inputs");
        let round = agent.result("tools/call", several.clone());
        let mut partial = next(&several, &round, obliging);
        let left =
            round["inputRequests"].as_object().and_then(|all| all.keys().next_back()).expect("a question");
        partial["inputResponses"].as_object_mut().expect("answers").remove(left);
        let again = agent.result("tools/call", partial);
        assert_eq!(again["inputRequests"].as_object().map(serde_json::Map::len), Some(1), "{again}");
        let result = agent.result("tools/call", next(&several, &again, obliging));
        assert!(text(&result).contains("Ada"), "{result}");
    });
}

#[test]
fn a_user_may_decline() {
    before_every_server(|stage| {
        let decline = |_: &Value| json!({ "action": "decline" });
        let (_, result) = converse(&agent(stage.url()), &tool("ask_elicitation"), decline);
        assert!(text(&result).contains("decline"), "{result}");
    });
}

#[test]
fn prompts_and_resources_ask_too() {
    before_every_server(|stage| {
        let agent = agent(stage.url());
        for (method, params, part) in [
            ("prompts/get", json!({ "name": "s__test_input_required_result_prompt" }), "tea"),
            ("resources/read", json!({ "uri": "test://wants-input" }), "Ada"),
        ] {
            let round = agent.result(method, params.clone());
            let end = agent.result(method, next(&params, &round, obliging));
            assert_eq!(end["resultType"], "complete", "{end}");
            assert!(end.to_string().contains(part), "{end}");
        }
    });
}

#[test]
fn progress_comes_before_the_question_and_on_the_same_stream() {
    before_every_server(|stage| {
        let agent = agent(stage.url());
        let mut params = tool("test_streaming_elicitation");
        params["_meta"] = json!({ "progressToken": "mine" });
        let messages = agent.post("tools/call", params.clone()).send().messages();
        let (last, before) = messages.split_last().expect("an answer");
        assert!(before.iter().all(|m| m["params"]["progressToken"] == "mine"), "{before:?}");
        assert_eq!(before.len(), 1, "{before:?}");
        let result = agent.result("tools/call", next(&params, &last["result"], obliging));
        assert!(text(&result).contains("action=accept"), "{result}");
    });
}

#[test]
fn an_answer_counts_once() {
    before_every_server(|stage| {
        let agent = agent(stage.url());
        let tool = tool("confirm_count");
        let params = next(&tool, &agent.result("tools/call", tool.clone()), obliging);
        assert_eq!(text(&agent.result("tools/call", params.clone())), "Counted: 1");
        let calls = stage.received().len();
        let error = agent.error("tools/call", params);
        assert_eq!(error["code"], -32602, "{error}");
        assert!(error["message"].as_str().is_some_and(|why| why.contains("again without it")), "{error}");
        assert_eq!(stage.received().len(), calls, "the server hears nothing of it");
        let (_, second) = converse(&agent, &tool, obliging);
        assert_eq!(text(&second), "Counted: 2");
    });
}

#[test]
fn of_many_replays_at_once_one_counts() {
    before_every_server(|stage| {
        let params = {
            let agent = agent(stage.url());
            let tool = tool("confirm_count");
            next(&tool, &agent.result("tools/call", tool.clone()), obliging)
        };
        let replays: Vec<_> = (0..8)
            .map(|_| {
                let (url, params) = (stage.url().to_owned(), params.clone());
                thread::spawn(move || agent(&url).ask("tools/call", params))
            })
            .collect();
        let answers: Vec<Value> =
            replays.into_iter().map(|replay| replay.join().expect("an answer")).collect();
        let counted = answers.iter().filter(|answer| answer.get("result").is_some()).count();
        assert_eq!(counted, 1, "{answers:?}");
    });
}

#[test]
fn a_state_belongs_to_one_request() {
    before_every_server(|stage| {
        let agent = agent(stage.url());
        let counting = tool("confirm_count");
        let state = |round: &Value| round["requestState"].as_str().expect("a state").to_owned();
        let round = agent.result("tools/call", counting.clone());
        let good = next(&counting, &round, obliging);
        let calls = stage.received().len();
        let with = |change: &dyn Fn(&mut Value)| {
            let mut params = good.clone();
            change(&mut params);
            params
        };
        let mut bad = vec![
            with(&|params| params["name"] = json!("s__ask_elicitation")),
            with(&|params| params["arguments"] = json!({ "more": true })),
            with(&|params| params["requestState"] = json!("A".repeat(1 << 20))),
            with(&|params| params["requestState"] = json!("")),
            with(&|params| params["requestState"] = json!(7)),
        ];
        let sealed = state(&round);
        bad.extend((0..sealed.len()).step_by(7).map(|at| {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            with(&|params| params["requestState"] = json!(String::from_utf8_lossy(&changed)))
        }));
        let narrow = self::agent(&format!("{}/servers/s", stage.url()));
        let mut errors: Vec<Value> =
            bad.into_iter().map(|params| agent.error("tools/call", params)).collect();
        errors.push(narrow.error("tools/call", good.clone()));
        for error in &errors {
            assert_eq!(error, &errors[0], "nothing tells what was wrong");
        }
        assert_eq!(errors[0]["code"], -32602, "{}", errors[0]);
        assert_eq!(stage.received().len(), calls, "the server hears nothing of it");
        assert_eq!(text(&agent.result("tools/call", good)), "Counted: 1");
    });
}

#[test]
fn calls_at_the_same_time_are_asked_apart() {
    before_every_server(|stage| {
        let calls: Vec<_> = (0..8)
            .map(|number| {
                let url = stage.url().to_owned();
                thread::spawn(move || {
                    let mine = format!("number {number}");
                    let tool = json!({ "name": "s__ask_elicitation", "arguments": { "message": mine } });
                    let (questions, result) =
                        converse(&agent(&url), &tool, |_| accept(json!({ "answer": mine })));
                    let shown = format!("Server \"s\" asks:\n> {mine}");
                    assert_eq!(questions[0]["params"]["message"], shown);
                    assert!(text(&result).contains(&mine), "{result}");
                })
            })
            .collect();
        for call in calls {
            call.join().expect("its own answer");
        }
    });
}

#[test]
fn a_page_is_asked_for_where_the_server_says_so_by_an_error() {
    before_every_server(|stage| {
        let (questions, result) = converse(&agent(stage.url()), &tool("visit_first"), obliging);
        assert_eq!(questions.len(), 1);
        assert_eq!(questions[0]["params"]["url"], "https://example.com/sign-in");
        assert!(text(&result).starts_with("Signed in"), "{result}");
    });
    for transport in [Transport::Http, Transport::Stdio] {
        let stage = Stage::new("legacy", transport);
        let form_only = Agent::modern(stage.url()).capabilities(json!({ "elicitation": {} }));
        let error = form_only.error("tools/call", tool("visit_first"));
        assert_eq!(error["code"], -32603, "{error}");
        assert_eq!(error["data"]["elicitations"][0]["url"], "https://example.com/sign-in", "{error}");
    }
}

#[test]
fn an_agent_that_leaves_a_question_open_takes_nothing_away_from_others() {
    for transport in [Transport::Http, Transport::Stdio] {
        let stage = Stage::new("legacy", transport);
        let agent = agent(stage.url());
        for _ in 0..40 {
            agent.result("tools/call", tool("ask_elicitation"));
        }
        let (_, result) = converse(&agent, &tool("count"), obliging);
        assert!(result["isError"] != true, "{result}");
        let plain = Agent::modern(stage.url());
        assert_eq!(plain.call("s__echo", &json!({ "message": "hi" }))["structuredContent"]["message"], "hi");
    }
}
