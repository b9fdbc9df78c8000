//! What real servers ask reaches real clients of either era, and the clients' answers reach the servers.
//!
//! Every client has a name and a root of its own, and all share one gateway: an answer that strayed would show.

use std::sync::OnceLock;

use portcullis_tests::client::{Client, Question, Step, Transcript};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

const FORM: &str = "elicitation/create form";
const PAGE: &str = "elicitation/create url";
const SAMPLING: &str = "sampling/createMessage";
const ROOTS: &str = "roots/list";

/// A gateway before the real servers that ask.
struct Servers {
    gateway: Gateway,
    _upstreams: [Upstream; 3],
}

fn gateway() -> &'static Gateway {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    let servers = SERVERS.get_or_init(|| {
        let upstreams = [Upstream::everything(), Upstream::asking_ts_v2(), Upstream::asking_python()];
        let node = toolbox::node();
        let everything = toolbox::node_module("@modelcontextprotocol/server-everything/dist/index.js");
        let servers = json!({
            "everything": { "command": [node, everything, "stdio"] },
            "everything-http": { "url": upstreams[0].url() },
            "ts-v2": {
                "command": [node, toolbox::interop("servers/asking.cjs")],
                "allow_env": ["NODE_PATH"],
                "env": { "NODE_PATH": toolbox::node_modules() },
            },
            "ts-v2-http": { "url": upstreams[1].url() },
            "python-http": { "url": upstreams[2].url() },
        });
        let gateway = Gateway::start(&json!({ "version": 1, "servers": servers }).to_string());
        Servers { gateway, _upstreams: upstreams }
    });
    &servers.gateway
}

/// What the client's user is called.
fn name(client: Client) -> String {
    format!("Ada at {client:?}")
}

fn root(client: Client) -> String {
    format!("file:///home/{client:?}")
}

fn answers(client: Client) -> Value {
    json!({
        "elicitation": { "action": "accept", "content": { "name": name(client) } },
        "sampling": { "role": "assistant", "model": "m", "content": { "type": "text", "text": "Indeed" } },
        "roots": [{ "uri": root(client), "name": "home" }],
    })
}

/// Calls tools of a server in turn; each call's answer has to contain the text that stands with it.
fn call(client: Client, server: &str, answers: &Value, calls: &[(&str, Value, String)]) -> Transcript {
    let step = |tool: &str, arguments: &Value| Step::CallTool {
        name: format!("{server}__{tool}"),
        arguments: arguments.clone(),
    };
    let plan: Vec<_> = calls.iter().map(|(tool, arguments, _)| step(tool, arguments)).collect();
    let transcript = client.run_answering(gateway().url(), answers, &plan);
    assert_eq!(transcript.protocol.as_deref(), client.expected_protocol(), "the revision of {client:?}");
    for (index, (tool, _, expected)) in calls.iter().enumerate() {
        let result = transcript.result(index);
        assert_ne!(result["isError"], json!(true), "{tool}: {result}");
        assert!(result["content"].to_string().contains(expected), "{tool}: no {expected:?} in {result}");
    }
    transcript
}

/// What the client was asked, in order; of an elicitation, its mode too.
fn asked(transcript: &Transcript) -> Vec<String> {
    let kind = |question: &Question| match question.method.as_str() {
        "elicitation/create" => {
            format!("{} {}", question.method, question.params["mode"].as_str().unwrap_or("form"))
        }
        method => method.to_owned(),
    };
    transcript.asked.iter().map(kind).collect()
}

/// The reference server has sessions, and asks in the middle of a call.
fn of_sessions(client: Client, server: &str) {
    let page = |url: &str| json!({ "url": url });
    let calls = [
        ("trigger-elicitation-request", json!({}), format!("Name: {}", name(client))),
        ("trigger-sampling-request", json!({ "prompt": "Well?" }), "Indeed".to_owned()),
        ("trigger-url-elicitation", page("https://example.com/sign-in"), "User completed".to_owned()),
        ("get-roots-list", json!({}), root(client)),
    ];
    let transcript = call(client, server, &answers(client), &calls);
    let mut asked = asked(&transcript);
    // It asks for roots of its own accord, too.
    assert!(asked.iter().any(|question| question == ROOTS), "{asked:?}");
    asked.retain(|question| question != ROOTS);
    assert_eq!(asked, [FORM, SAMPLING, PAGE]);
    let sampling =
        transcript.asked.iter().find(|question| question.method == SAMPLING).expect("it was asked");
    assert_eq!(sampling.params["systemPrompt"], "You are a helpful test server.");
}

/// The servers of the other era answer that they need input, and are called again with it.
fn of_rounds(client: Client, server: &str) {
    let calls = [
        ("ask_form", json!({}), format!("accept: {}", name(client))),
        ("ask_url", json!({}), "accept: the page".to_owned()),
        ("ask_sampling", json!({}), "The model says Indeed".to_owned()),
        ("ask_roots", json!({}), root(client)),
        ("ask_twice", json!({}), format!("The model says Indeed of {}", name(client))),
    ];
    let transcript = call(client, server, &answers(client), &calls);
    assert_eq!(asked(&transcript), [FORM, PAGE, SAMPLING, ROOTS, FORM, SAMPLING]);
    let shown = transcript.asked[0].params["message"].as_str().expect("a message");
    assert!(shown.ends_with(" asks:\n> Who are you?"), "{shown}");
    assert_eq!(transcript.asked[0].params["requestedSchema"]["required"], json!(["name"]));
    assert_eq!(transcript.asked[1].params["url"], "https://example.com/sign-in");
    let about = &transcript.asked[5].params["messages"][0]["content"]["text"];
    assert_eq!(*about, format!("Who is {}?", name(client)));
}

/// A user who declines is an answer too, for either kind of server.
fn declined(client: Client) {
    let answers = json!({ "elicitation": { "action": "decline" } });
    let form = ("trigger-elicitation-request", json!({}), "declined to provide".to_owned());
    assert_eq!(asked(&call(client, "everything-http", &answers, &[form])), [FORM]);
    let rounds = [
        ("ask_form", json!({}), "decline: ".to_owned()),
        ("ask_url", json!({}), "decline: the page".to_owned()),
    ];
    for server in ["ts-v2", "python-http"] {
        assert_eq!(asked(&call(client, server, &answers, &rounds)), [FORM, PAGE]);
    }
}

/// A page that the reference server asks for by an error is asked for in a round; then the call is made again.
#[test]
fn an_error_that_asks_for_a_page_is_a_round() {
    let arguments = json!({ "url": "https://example.com/sign-in", "errorPath": true });
    for client in [Client::TsV2, Client::Python] {
        let calls = [("trigger-url-elicitation", arguments.clone(), "User completed".to_owned())];
        let answers = json!({ "elicitation": { "action": "accept" } });
        let transcript = call(client, "everything", &answers, &calls);
        assert_eq!(asked(&transcript), [PAGE, PAGE]);
        assert_eq!(transcript.asked[0].params["url"], "https://modelcontextprotocol.io/");
        assert_eq!(transcript.asked[1].params["url"], "https://example.com/sign-in");
    }
}

/// One module for each client, with one test for each server.
macro_rules! clients {
    ($($module:ident: $client:ident),+ $(,)?) => {$(
        mod $module {
            use super::{Client, declined, of_rounds, of_sessions};

            const CLIENT: Client = Client::$client;

            #[test]
            fn everything() {
                of_sessions(CLIENT, "everything");
            }

            #[test]
            fn everything_http() {
                of_sessions(CLIENT, "everything-http");
            }

            #[test]
            fn ts_v2() {
                of_rounds(CLIENT, "ts-v2");
            }

            #[test]
            fn ts_v2_http() {
                of_rounds(CLIENT, "ts-v2-http");
            }

            #[test]
            fn python_http() {
                of_rounds(CLIENT, "python-http");
            }

            #[test]
            fn a_user_declines() {
                declined(CLIENT);
            }
        }
    )+};
}

clients! {
    ts_v1: TsV1,
    ts_v2: TsV2,
    ts_v2_legacy: TsV2Legacy,
    python: Python,
    python_legacy: PythonLegacy,
}
