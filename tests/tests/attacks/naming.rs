//! Case 20: a tool is called by a name that is not its exposed one, but that some program might take for it.

use portcullis_tests::agent::Agent;
use serde_json::{Value, json};

use super::target::{Target, config, fixture, recording};

/// Spellings of `up__echo` that are not `up__echo`.
const SPELLINGS: [&str; 37] = [
    "echo",
    "up",
    "up__",
    "__echo",
    "_echo",
    "up_echo",
    "up___echo",
    "up__up__echo",
    "up__echo__echo",
    "up.echo",
    "up/echo",
    "up:echo",
    "mcp__up__echo",
    "/mcp/servers/up/echo",
    "up__echo/../echo",
    "UP__echo",
    "Up__Echo",
    "up__ECHO",
    "up__echo ",
    " up__echo",
    "up__echo\t",
    "up__echo\n",
    "up__echo\0",
    "up\0__echo",
    "up%5F%5Fecho",
    "up__ech%6F",
    "up&#95;_echo",
    "up\\u005f_echo",
    "up__еcho",
    "ｕｐ__echo",
    "up＿＿echo",
    "up__ec\u{200d}ho",
    "\u{feff}up__echo",
    "up__echo\u{301}",
    "up__echo\u{202e}",
    "=?base64?dXBfX2VjaG8=?=",
    "",
];

#[track_caller]
fn assert_unknown(agent: &Agent, method: &str, name: &Value, words: &str) {
    let error = agent.error(method, json!({ "name": name, "arguments": {} }));
    assert_eq!(error["code"], -32602, "{name:?}: {error}");
    assert!(error["message"].as_str().is_some_and(|message| message.starts_with(words)), "{name:?}: {error}");
}

/// In either era, every spelling but the listed one is an unknown tool, and nothing is sent to the server.
#[test]
fn case_20_only_the_exposed_name_calls() {
    let target = Target::start();
    let narrow = target.gateway.url_of("/mcp/servers/up");
    for url in [target.url(), &narrow] {
        for agent in [Agent::modern(url), Agent::legacy(url)] {
            for name in SPELLINGS {
                assert_unknown(&agent, "tools/call", &json!(name), "Unknown tool");
            }
            let long = "up__echo".repeat(10_000);
            let error = agent.error("tools/call", json!({ "name": long }));
            assert!(error.to_string().len() < 1000, "a long name is repeated in full");
        }
    }
    target.assert_untouched();
}

/// A name that is no string is not turned into one.
#[test]
fn case_20_a_name_is_a_string() {
    let target = Target::start();
    let agent = Agent::legacy(target.url());
    for name in [json!(null), json!(1), json!(true), json!(["up__echo"]), json!({ "name": "up__echo" })] {
        let error = agent.error("tools/call", json!({ "name": name }));
        assert_eq!(error["code"], -32602, "{name}");
    }
    assert_eq!(agent.error("tools/call", json!({ "arguments": { "name": "up__echo" } }))["code"], -32602);
    target.assert_untouched();
}

/// Prompts go by their exposed names as well.
#[test]
fn case_20_only_the_exposed_name_gets_a_prompt() {
    let target = Target::start();
    let agent = Agent::modern(target.url());
    let prompts = agent.list("prompts/list", "prompts");
    let exposed = prompts[0]["name"].as_str().expect("a prompt has a name").to_owned();
    let original = exposed.strip_prefix("up__").expect("a prompt has its server's prefix");
    for name in [original, &exposed.to_uppercase(), &format!("{exposed} "), &format!("up__{exposed}")] {
        assert_unknown(&agent, "prompts/get", &json!(name), "Unknown prompt");
    }
}

/// The endpoint of one server does not reach another one's tools, by whatever name.
#[test]
fn case_20_a_narrow_endpoint_does_not_reach_other_servers() {
    let folder = portcullis_tests::toolbox::scratch();
    let record = folder.path().join("record.jsonl");
    let servers = json!({ "up": fixture(), "hidden": recording(&record) });
    let gateway = portcullis_tests::gateway::Gateway::start(&config(&servers));
    let url = gateway.url_of("/mcp/servers/up");
    for agent in [Agent::modern(&url), Agent::legacy(&url)] {
        assert!(agent.tools().iter().all(|name| name.starts_with("up__")));
        for name in ["hidden__echo", "up__hidden__echo", "hidden/echo", "../hidden__echo"] {
            assert_unknown(&agent, "tools/call", &json!(name), "Unknown tool");
        }
    }
    assert_eq!(super::target::calls(&record), Vec::<String>::new());
    Agent::modern(gateway.url()).call("hidden__echo", &json!({}));
    assert_eq!(super::target::calls(&record).len(), 1, "the record works");
}
