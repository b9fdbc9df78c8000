//! Every real client against every real server, with the gateway between them.
//!
//! All servers of one transport stand behind one gateway, as they do in use; a test takes one client and one server,
//! and looks at what the server offers under the names that the gateway gives it.

use std::sync::OnceLock;

use portcullis_tests::client::{Client, Step, Transcript};
use portcullis_tests::gateway::Gateway;
use serde_json::{Value, json};

use crate::peers::Servers;

mod peers;
mod questions {
    mod interop;
}
mod sse {
    mod interop;
}

/// What one server must look like through the gateway.
struct Expected {
    server: &'static str,
    servers: fn() -> &'static Servers,
    /// Its tools, under their own names.
    tools: &'static [&'static str],
    /// A tool to call, its arguments, and what its answer contains.
    call: (&'static str, Value, &'static str),
    /// A prompt to get, its arguments, and what its answer contains.
    prompt: Option<(&'static str, Value, &'static str)>,
    /// Resources to read, and what each contains.
    resources: Vec<(&'static str, &'static str)>,
    /// The URI templates it lists.
    templates: &'static [&'static str],
}

/// Runs `client` through everything that `expected` names, and looks at each answer.
fn check(client: Client, expected: &Expected) {
    let gateway: &Gateway = &(expected.servers)().gateway;
    let transcript = client.run(gateway.url(), &plan(expected));

    if let Some(protocol) = client.expected_protocol() {
        assert_eq!(transcript.protocol.as_deref(), Some(protocol), "the revision of {client:?}");
    }
    let mut results = Results { transcript: &transcript, next: 0 };
    let (tool, _, answer) = &expected.call;
    let tools = results.names("tools", "name");
    for tool in expected.tools {
        assert_contains(&tools, &exposed(expected, tool));
    }
    assert_text(results.take(), answer, tool);
    if let Some((prompt, _, answer)) = &expected.prompt {
        assert_contains(&results.names("prompts", "name"), &exposed(expected, prompt));
        assert_text(results.take(), answer, prompt);
    }
    if !expected.resources.is_empty() {
        // The first is listed; others may come from a template.
        assert_contains(&results.names("resources", "uri"), expected.resources[0].0);
        for (uri, content) in &expected.resources {
            assert_text(results.take(), content, uri);
        }
    }
    if !expected.templates.is_empty() {
        let templates = results.names("resourceTemplates", "uriTemplate");
        for template in expected.templates {
            assert_contains(&templates, template);
        }
    }
}

/// The steps, in the order in which [`check`] reads their results.
fn plan(expected: &Expected) -> Vec<Step> {
    let (tool, arguments, _) = &expected.call;
    let mut plan =
        vec![Step::ListTools, Step::CallTool { name: exposed(expected, tool), arguments: arguments.clone() }];
    if let Some((prompt, arguments, _)) = &expected.prompt {
        plan.push(Step::ListPrompts);
        plan.push(Step::GetPrompt { name: exposed(expected, prompt), arguments: arguments.clone() });
    }
    if !expected.resources.is_empty() {
        plan.push(Step::ListResources);
        plan.extend(expected.resources.iter().map(|(uri, _)| Step::ReadResource { uri: (*uri).to_owned() }));
    }
    if !expected.templates.is_empty() {
        plan.push(Step::ListTemplates);
    }
    plan
}

/// The results of a transcript, one after another.
struct Results<'a> {
    transcript: &'a Transcript,
    next: usize,
}

impl Results<'_> {
    fn take(&mut self) -> &Value {
        self.next += 1;
        self.transcript.result(self.next - 1)
    }

    /// One field of every item of the list that the next result is.
    fn names(&mut self, list: &str, field: &str) -> Vec<String> {
        let result = self.take();
        let items = result[list].as_array().unwrap_or_else(|| panic!("no {list} in {result}"));
        items.iter().map(|item| item[field].as_str().unwrap_or_default().to_owned()).collect()
    }
}

fn exposed(expected: &Expected, name: &str) -> String {
    format!("{}__{name}", expected.server)
}

fn assert_contains(names: &[String], name: &str) {
    assert!(names.iter().any(|given| given == name), "no {name} among {names:?}");
}

fn assert_text(result: &Value, text: &str, what: &str) {
    assert_ne!(result["isError"], json!(true), "{what}: {result}");
    let mut texts = Vec::new();
    collect_texts(result, &mut texts);
    assert!(texts.iter().any(|given| given.contains(text)), "{what}: no {text:?} in {result}");
}

/// Every `text` field, wherever it stands: in content, in a prompt's messages, in a resource's contents.
fn collect_texts<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(fields) => {
            texts.extend(fields.get("text").and_then(Value::as_str));
            fields.values().for_each(|field| collect_texts(field, texts));
        }
        _ => {}
    }
}

fn on_stdio() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(Servers::on_stdio)
}

fn on_http() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(Servers::on_http)
}

fn everything(server: &'static str, servers: fn() -> &'static Servers) -> Expected {
    Expected {
        server,
        servers,
        tools: &["echo", "get-sum", "get-structured-content", "trigger-long-running-operation"],
        call: ("get-sum", json!({ "a": 2, "b": 40 }), "42"),
        prompt: Some(("args-prompt", json!({ "city": "Paris" }), "weather in Paris")),
        resources: vec![
            ("demo://resource/static/document/features.md", "Everything Server"),
            ("demo://resource/dynamic/text/7", "Resource 7"),
        ],
        templates: &[
            "demo://resource/dynamic/text/{resourceId}",
            "demo://resource/dynamic/blob/{resourceId}",
        ],
    }
}

fn filesystem() -> Expected {
    Expected {
        server: "filesystem",
        servers: on_stdio,
        tools: &["read_text_file", "write_file", "list_directory", "list_allowed_directories"],
        call: ("read_text_file", json!({ "path": on_stdio().note() }), peers::NOTE),
        prompt: None,
        resources: Vec::new(),
        templates: &[],
    }
}

fn memory() -> Expected {
    Expected {
        server: "memory",
        servers: on_stdio,
        tools: &["create_entities", "search_nodes", "read_graph"],
        call: ("search_nodes", json!({ "query": "Lovelace" }), peers::FACT),
        prompt: None,
        resources: vec![("memory://knowledge-graph", peers::FACT)],
        templates: &[],
    }
}

fn time() -> Expected {
    Expected {
        server: "time",
        servers: on_stdio,
        tools: &["get_current_time", "convert_time"],
        call: ("get_current_time", json!({ "timezone": "Asia/Tokyo" }), "+09:00"),
        prompt: None,
        resources: Vec::new(),
        templates: &[],
    }
}

fn git() -> Expected {
    Expected {
        server: "git",
        servers: on_stdio,
        tools: &["git_status", "git_log", "git_commit"],
        call: ("git_log", json!({ "repo_path": on_stdio().repository() }), peers::COMMIT),
        prompt: None,
        resources: Vec::new(),
        templates: &[],
    }
}

fn ts_v2(server: &'static str, servers: fn() -> &'static Servers) -> Expected {
    Expected {
        server,
        servers,
        tools: &["greet", "add"],
        call: ("greet", json!({ "name": "Ada" }), "Hello, Ada, from ts-v2"),
        prompt: Some(("review", json!({ "topic": "gates" }), "Please review gates for ts-v2")),
        resources: vec![
            ("note://ts-v2/hello", "a note of ts-v2"),
            ("note://ts-v2/lines/12", "line 12 of ts-v2"),
        ],
        templates: &["note://ts-v2/lines/{line}"],
    }
}

fn fastmcp(server: &'static str, servers: fn() -> &'static Servers) -> Expected {
    Expected {
        server,
        servers,
        tools: &["greet", "add"],
        call: ("greet", json!({ "name": "Ada" }), "Hello, Ada, from fastmcp"),
        prompt: Some(("review", json!({ "topic": "gates" }), "Please review gates for fastmcp")),
        resources: vec![
            ("note://fastmcp/hello", "a note of fastmcp"),
            ("note://fastmcp/lines/12", "line 12 of fastmcp"),
        ],
        templates: &["note://fastmcp/lines/{line}"],
    }
}

/// One module for each client, with one test for each server.
macro_rules! clients {
    ($($module:ident: $client:ident),+ $(,)?) => {$(
        mod $module {
            use super::{Client, check, on_http, on_stdio};

            const CLIENT: Client = Client::$client;

            #[test]
            fn everything() {
                check(CLIENT, &super::everything("everything", on_stdio));
            }

            #[test]
            fn everything_http() {
                check(CLIENT, &super::everything("everything-http", on_http));
            }

            #[test]
            fn filesystem() {
                check(CLIENT, &super::filesystem());
            }

            #[test]
            fn memory() {
                check(CLIENT, &super::memory());
            }

            #[test]
            fn time() {
                check(CLIENT, &super::time());
            }

            #[test]
            fn git() {
                check(CLIENT, &super::git());
            }

            #[test]
            fn fastmcp() {
                check(CLIENT, &super::fastmcp("fastmcp", on_stdio));
            }

            #[test]
            fn fastmcp_http() {
                check(CLIENT, &super::fastmcp("fastmcp-http", on_http));
            }

            #[test]
            fn ts_v2() {
                check(CLIENT, &super::ts_v2("ts-v2", on_stdio));
            }

            #[test]
            fn ts_v2_http() {
                check(CLIENT, &super::ts_v2("ts-v2-http", on_http));
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
    rmcp: Rmcp,
    rmcp_legacy: RmcpLegacy,
    mcp_remote: McpRemote,
    inspector: Inspector,
}
