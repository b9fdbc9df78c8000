//! The client that the official conformance suite judges: a gateway in front of the suite's mock server, and a minimal
//! agent that does through the gateway what the scenario wants done.
//!
//! The suite appends the mock server's URL and names the scenario in the environment. **Its checks are made at the mock
//! server, so it is the gateway's requests that they judge**: the agent calls what is listed, and fills in no header
//! that the gateway has to make.

use std::env;
use std::process::ExitCode;

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::browser::Browser;
use portcullis_tests::conformance::{configuration, configuration_of_client, configuration_on_behalf};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use portcullis_tests::scenario::answer;
use portcullis_tests::vouching::{AUDIENCE, Vouching};
use serde_json::{Map, Value, json};

/// The client's document of the scenario about those.
const DOCUMENT: &str = "https://conformance-test.local/client-metadata.json";
/// What stands before a link to connect, and what is said once the server can be listed.
const ASKED: &str = "call again: ";
const LISTED: &str = "List the tools again";
/// How often the user is sent to connect at most: the scenarios about scopes want to see an end.
const MOST_VISITS: usize = 4;
/// The tools of the scenario about rounds: the second is called between the two rounds of the first.
const ROUNDS: [&str; 3] = ["test_mrtr_echo_state", "test_mrtr_no_state", "test_mrtr_no_result_type"];
const UNRELATED: &str = "test_mrtr_unrelated";

fn main() -> ExitCode {
    let Some(url) = env::args().next_back().filter(|url| url.starts_with("http")) else {
        return ExitCode::from(2);
    };
    let context = context();
    let scenario = env::var("MCP_CONFORMANCE_SCENARIO");
    if scenario.as_deref() == Ok("auth/enterprise-managed-authorization") {
        on_behalf(&url, &context);
        return ExitCode::SUCCESS;
    }
    let gateway = Gateway::start(&match scenario.as_deref() {
        Ok(name) if name.starts_with("auth/client-credentials") => {
            configuration_of_client(&url, &oauth(&context))
        }
        Ok(name) if name.starts_with("auth/") => configuration_of_client(&url, &consent_to(name, &context)),
        _ => configuration(&url),
    });
    let agent = Agent::modern(gateway.url());
    let elicitation = json!({ "elicitation": { "form": {} } });
    match scenario.as_deref() {
        Ok(name) if name.starts_with("auth/") && !name.starts_with("auth/client-credentials") => {
            connect(&agent.handshake(LEGACY));
        }
        Ok("sep-2322-client-request-state") => rounds(&agent.capabilities(elicitation)),
        Ok("elicitation-sep1034-client-defaults") => {
            consent(gateway.url(), &agent.capabilities(elicitation).handshake(LEGACY));
        }
        // An agent with a session sends no `Mcp-*`: those that arrive are the gateway's own.
        Ok(_) => everything(&agent.handshake(LEGACY)),
        Err(_) => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

/// What the scenario gives the client.
fn context() -> Value {
    let context = env::var("MCP_CONFORMANCE_CONTEXT").unwrap_or_default();
    serde_json::from_str(&context).unwrap_or_default()
}

/// How users sign in, with what the scenario gives.
fn consent_to(scenario: &str, context: &Value) -> Value {
    // The client's document is elsewhere than this gateway, which is on no public name.
    let document = (scenario == "auth/basic-cimd").then(|| json!(DOCUMENT));
    let client = context.get("client_id").cloned().or(document);
    let given = [("client_id", client.as_ref()), ("client_secret", context.get("client_secret"))];
    given
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?.clone())))
        .collect::<Map<_, _>>()
        .into()
}

/// Does all that there is to do, and has its user connect wherever that is asked for; some scenarios want to see that it
/// cannot be.
fn connect(agent: &Agent) {
    let mut browser = Browser::default();
    for _ in 0..MOST_VISITS {
        let tools = agent.list("tools/list", "tools");
        let mut answers = tools.iter().map(|tool| {
            let call = json!({ "name": tool["name"], "arguments": arguments(tool, &tools) });
            agent.ask("tools/call", call).to_string()
        });
        let Some(answer) = answers.find(|answer| answer.contains(ASKED) || answer.contains(LISTED)) else {
            return;
        };
        let asked = answer.split(ASKED).nth(1).and_then(|rest| rest.split(['"', '\\']).next());
        let Some(url) = asked.map(str::to_owned) else { continue };
        if !browser.visit(&url).contains("<title>Connected</title>") {
            return;
        }
    }
}

/// Has the gateway act on behalf of a user of the scenario's identity provider.
fn on_behalf(url: &str, context: &Value) {
    let text = |name: &str| context[name].as_str().expect("the scenario gives it");
    let provider = Vouching::before(text("idp_token_endpoint"), text("idp_id_token"));
    let issuer = provider.issuer();
    let oauth = json!({
        "grant": "id_jag",
        "client_id": context["client_id"],
        "client_secret": context["client_secret"],
        "identity_provider": {
            "issuer": issuer,
            "client_id": context["idp_client_id"],
            "client_secret": "the scenario's provider asks for none",
        },
    });
    let gateway = Gateway::start(&configuration_on_behalf(url, &oauth, (&issuer, AUDIENCE)));
    everything(&Agent::modern(gateway.url()).bearer(&provider.token()));
}

/// How the gateway signs in, with what the scenario gives.
fn oauth(context: &Value) -> Value {
    let mut oauth = json!({ "grant": "client_credentials", "client_id": context["client_id"] });
    for (given, key) in [("client_secret", "client_secret"), ("private_key_pem", "private_key")] {
        if let Some(value) = context.get(given) {
            oauth[key] = value.clone();
        }
    }
    oauth
}

/// Lists all that there is, calls every tool, gets every prompt and reads every resource.
fn everything(agent: &Agent) {
    let tools = agent.list("tools/list", "tools");
    for tool in &tools {
        // Be the answer a result or an error: some of the suite's tools only exist to be listed.
        agent.ask("tools/call", json!({ "name": tool["name"], "arguments": arguments(tool, &tools) }));
    }
    for prompt in agent.list("prompts/list", "prompts") {
        agent.result("prompts/get", json!({ "name": prompt["name"] }));
    }
    for resource in agent.list("resources/list", "resources") {
        agent.result("resources/read", json!({ "uri": resource["uri"] }));
    }
}

/// Calls the only tool, which asks the user on the session's own stream; the user accepts the defaults.
fn consent(url: &str, agent: &Agent) {
    let stream = Request::get(url).header("Accept", "text/event-stream");
    let stream = stream.header("MCP-Protocol-Version", LEGACY);
    let stream = stream.header("Mcp-Session-Id", agent.session().expect("a session")).send();
    let call = agent.post("tools/call", json!({ "name": agent.tools()[0], "arguments": {} })).send();
    let mut messages = stream.events().filter(|event| !event.data.is_empty()).map(|event| event.json());
    let question = messages.find(|message| message["method"] == "elicitation/create").expect("a question");
    answer(agent, &question["id"], &accepted(&question["params"]));
    call.messages();
}

/// The user's consent to a form as it stands.
fn accepted(params: &Value) -> Value {
    let properties = params["requestedSchema"]["properties"].as_object();
    let fields = properties.into_iter().flatten().map(|(name, schema)| {
        let default = schema.get("default").cloned();
        (name.clone(), default.unwrap_or_else(|| sample(schema)))
    });
    json!({ "action": "accept", "content": fields.collect::<Map<_, _>>() })
}

/// The arguments that the scenario gives for a tool, else something for everything that it requires.
fn arguments(tool: &Value, tools: &[Value]) -> Value {
    let context = context();
    let calls = context["toolCalls"].as_array();
    if let Some(given) = calls.into_iter().flatten().find(|call| call["name"] == tool["name"]) {
        return given["arguments"].clone();
    }
    if tool["name"] == "json_schema_echo" {
        let echoed = tools.iter().find(|tool| tool["name"] == "json_schema_2020_12_tool");
        return json!({ "schema": echoed.expect("the tool to echo is listed")["inputSchema"] });
    }
    let schema = &tool["inputSchema"];
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    required.map(|name| (name.to_owned(), sample(&schema["properties"][name]))).collect::<Map<_, _>>().into()
}

fn sample(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("integer" | "number") => json!(2),
        Some("boolean") => json!(true),
        Some("object") => json!({}),
        Some("array") => json!([]),
        _ => json!("x"),
    }
}

/// Answers what the tools of the scenario about rounds ask.
fn rounds(agent: &Agent) {
    agent.tools();
    for tool in ROUNDS {
        let first = agent.call(tool, &json!({}));
        if first["resultType"] != "input_required" {
            continue;
        }
        agent.call(UNRELATED, &json!({}));
        let questions = first["inputRequests"].as_object().expect("the server asks something");
        let answers = questions.iter().map(|(key, question)| (key.clone(), accepted(&question["params"])));
        let mut again =
            json!({ "name": tool, "arguments": {}, "inputResponses": answers.collect::<Map<_, _>>() });
        if let Some(state) = first.get("requestState") {
            again["requestState"] = state.clone();
        }
        let last = agent.result("tools/call", again);
        assert_eq!(last["resultType"], "complete", "{tool}: {last}");
    }
}
