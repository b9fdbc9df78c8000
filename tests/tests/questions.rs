//! What servers ask agents: it reaches the one agent whose call it is, and the answer reaches the server.
#![allow(clippy::print_stdout, reason = "a failure shows which pairing it was")]

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::http::Request;
use portcullis_tests::scenario::{Stage, Transport, answer, servers, text};
use serde_json::{Value, json};

/// What an agent can do that can do everything.
fn everything() -> Value {
    json!({ "elicitation": { "form": {}, "url": {} }, "sampling": {}, "roots": {} })
}

fn legacy(stage: &Stage, capabilities: Value) -> Agent {
    Agent::modern(stage.url()).capabilities(capabilities).handshake(LEGACY)
}

fn before_every_server(check: impl Fn(&Stage)) {
    for (era, transport) in servers() {
        println!("a {era} server, {transport:?}");
        check(&Stage::new(era, transport));
    }
}

/// Calls a tool that asks one thing; answers what it asked, and its result after it was told `reply`.
fn ask(agent: &Agent, tool: &str, arguments: &Value, reply: &Value) -> (Value, Value) {
    let response = agent.post("tools/call", json!({ "name": tool, "arguments": arguments })).send();
    assert!(response.is_stream(), "{tool}: {}", response.text());
    let mut messages = response.events().filter(|event| !event.data.is_empty()).map(|event| event.json());
    let question = messages.find(|message| message.get("method").is_some() && message.get("id").is_some());
    let question = question.unwrap_or_else(|| panic!("{tool} asks nothing"));
    assert_eq!(answer(agent, &question["id"], reply).status, 202);
    let end = messages.find(|message| message.get("method").is_none()).expect("the call ends");
    (question, end["result"].clone())
}

#[test]
fn a_session_is_asked_and_its_answer_arrives() {
    before_every_server(|stage| {
        let agent = legacy(stage, everything());
        let form = json!({ "action": "accept", "content": { "answer": "blue" } });
        let (question, result) = ask(&agent, "s__ask_elicitation", &json!({ "message": "Which?" }), &form);
        assert_eq!(question["method"], "elicitation/create");
        assert_eq!(question["params"]["message"], "Server \"s\" asks:\n> Which?");
        assert_eq!(question["params"]["requestedSchema"]["required"], json!(["answer"]));
        assert!(text(&result).contains("\"blue\""), "{result}");

        let (question, result) =
            ask(&agent, "s__url_elicitation", &json!({}), &json!({ "action": "accept" }));
        assert_eq!(question["params"]["mode"], "url");
        assert_eq!(question["params"]["url"], "https://example.com/connect?step=1");
        assert!(text(&result).contains("accept"), "{result}");

        let said =
            json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "Indeed" } });
        let (question, result) = ask(&agent, "s__ask_sampling", &json!({ "prompt": "Well?" }), &said);
        assert_eq!(question["method"], "sampling/createMessage");
        assert_eq!(question["params"]["messages"][0]["content"]["text"], "Well?");
        assert_eq!(text(&result), "LLM response: Indeed");

        let roots = json!({ "roots": [{ "uri": "file:///home/ada", "name": "home" }] });
        let (question, result) = ask(&agent, "s__ask_roots", &json!({}), &roots);
        assert_eq!(question["method"], "roots/list");
        assert!(text(&result).contains("file:///home/ada"), "{result}");
    });
}

#[test]
fn a_refusal_is_an_answer() {
    before_every_server(|stage| {
        let agent = legacy(stage, everything());
        let (_, result) = ask(&agent, "s__ask_elicitation", &json!({}), &json!({ "action": "decline" }));
        assert!(text(&result).contains("decline"), "{result}");
        let response = agent.post("tools/call", json!({ "name": "s__ask_sampling" })).send();
        let mut messages = response.events().filter(|event| !event.data.is_empty()).map(|event| event.json());
        let question =
            messages.find(|message| message["method"] == "sampling/createMessage").expect("a question");
        let error = json!({ "code": -1, "message": "The user said no" });
        let refusal = json!({ "jsonrpc": "2.0", "id": question["id"], "error": error });
        assert_eq!(agent.post("answer", json!({})).body(refusal.to_string()).send().status, 202);
        let end = messages.find(|message| message.get("method").is_none()).expect("the call ends");
        let failed = end.get("error").is_some() || end["result"]["isError"] == true;
        assert!(failed && end.to_string().contains("The user said no"), "{end}");
    });
}

#[test]
fn nobody_else_is_asked_and_nobody_else_can_answer() {
    before_every_server(|stage| {
        let (agent, other) = (legacy(stage, everything()), legacy(stage, everything()));
        let get = Request::get(stage.url())
            .header("Accept", "text/event-stream")
            .header("MCP-Protocol-Version", LEGACY)
            .header("Mcp-Session-Id", other.session().expect("a session"));
        let others = get.send().events();
        let call = |agent: &Agent| agent.post("tools/call", json!({ "name": "s__ask_elicitation" })).send();
        let mut streams = [call(&agent), call(&other)].map(|response| {
            response.events().filter(|event| !event.data.is_empty()).map(|event| event.json())
        });
        let mut question = |index: usize| {
            streams[index].find(|message| message["method"] == "elicitation/create").expect("a question")["id"].take()
        };
        let ids = [question(0), question(1)];
        assert_ne!(ids[0], ids[1]);
        let form = |text: &str| json!({ "action": "accept", "content": { "answer": text } });
        answer(&other, &ids[0], &form("stolen"));
        answer(&agent, &ids[1], &form("stolen"));
        answer(&agent, &ids[0], &form("mine"));
        answer(&other, &ids[1], &form("theirs"));
        for (stream, expected) in streams.iter_mut().zip(["mine", "theirs"]) {
            let end = stream.find(|message| message.get("method").is_none()).expect("the call ends");
            assert!(text(&end["result"]).contains(expected), "{end}");
        }
        Agent::modern(stage.url()).call("s__change_tools", &json!({}));
        let first = others.filter(|event| !event.data.is_empty()).map(|event| event.json()).next();
        assert_eq!(first.expect("a change")["method"], "notifications/tools/list_changed");
    });
}

#[test]
fn prompts_and_resources_ask_in_rounds_too() {
    let stage = Stage::new("modern", Transport::Http);
    let agent = Agent::modern(stage.url()).capabilities(everything());
    for (method, mut params, key, field, part) in [
        (
            "prompts/get",
            json!({ "name": "s__test_input_required_result_prompt" }),
            "user_context",
            "context",
            "Use this context",
        ),
        ("resources/read", json!({ "uri": "test://wants-input" }), "user_name", "name", "Written for"),
    ] {
        let round = agent.result(method, params.clone());
        assert_eq!(round["resultType"], "input_required", "{method}: {round}");
        params["inputResponses"] = json!({ key: { "action": "accept", "content": { field: "Ada" } } });
        if let Some(state) = round.get("requestState") {
            params["requestState"] = state.clone();
        }
        let end = agent.result(method, params).to_string();
        assert!(end.contains(part) && end.contains("Ada"), "{end}");
    }
}

#[test]
fn who_cannot_be_asked_is_not_and_the_call_ends() {
    for (era, transport) in servers() {
        let stage = Stage::new(era, transport);
        // An agent that can be asked must not lend its abilities to others.
        let able = legacy(&stage, everything());
        able.call("s__count", &json!({}));
        let agents = [Agent::modern(stage.url()), Agent::legacy(stage.url())];
        for agent in agents {
            for tool in ["s__ask_elicitation", "s__url_elicitation", "s__ask_sampling", "s__ask_roots"] {
                let messages = agent.post("tools/call", json!({ "name": tool })).send().messages();
                let asked = messages.iter().any(|m| m.get("method").is_some() && m.get("id").is_some());
                assert!(!asked, "{tool}, {era} server, {} agent: {messages:?}", agent.version());
                let end = messages.last().expect("the call ends");
                let refused = end.get("error").is_some() || end["result"]["isError"] == true;
                assert!(refused, "{tool}, {era} server, {} agent: {end}", agent.version());
            }
        }
    }
}

#[test]
fn only_what_the_session_can_do_is_asked_of_it() {
    before_every_server(|stage| {
        let agent = legacy(stage, json!({ "roots": {} }));
        let (_, result) = ask(&agent, "s__ask_roots", &json!({}), &json!({ "roots": [] }));
        assert!(text(&result).contains("roots"), "{result}");
        let refusal = agent.ask("tools/call", json!({ "name": "s__ask_sampling" }));
        assert!(refusal.get("error").is_some() || refusal["result"]["isError"] == true, "{refusal}");
    });
}

#[test]
fn what_belongs_to_rounds_never_comes_from_a_session() {
    before_every_server(|stage| {
        let agent = legacy(stage, everything());
        let forged = json!({
            "name": "s__echo", "arguments": { "message": "hi" },
            "requestState": "FORGED", "inputResponses": { "k": { "action": "accept" } },
        });
        assert_eq!(agent.result("tools/call", forged)["structuredContent"]["message"], "hi");
        let calls = stage.received().into_iter().filter(|line| line["method"] == "tools/call");
        for call in calls {
            let params = &call["body"]["params"];
            assert!(params.get("requestState").is_none() && params.get("inputResponses").is_none(), "{call}");
        }
    });
}
