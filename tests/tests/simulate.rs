//! What a draft would change, said before it is pushed and seen after: by the command line at a gateway that runs, and over its
//! data folder.

use std::fs;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::process::Finished;
use portcullis_tests::scenario::stdio_fixture;
use portcullis_tests::wait;
use serde_json::{Value, json};

const ADMIN_KEY: &str = "the admin's key";

/// A configuration with one server and this policy; arguments are recorded or not.
fn config(arguments: bool, agents: &str) -> String {
    let server = stdio_fixture(&[]);
    format!("version: 1\naudit: {{ arguments: {arguments} }}\nservers:\n  s: {server}\nagents:\n{agents}")
}

const PRESENT: &str =
    "  writer: { match: [{ client: Writer }], allow: ['*'] }\n  default: { allow: ['s/echo'] }\n";
const DRAFT: &str = "  writer:\n    match: [{ client: Writer }]\n    allow: ['*']\n    deny:\n    - { on: s/echo, when: 'args.text == \"forbidden\"' }\n  default: { deny: ['*'] }\n";

/// A gateway that is configured from elsewhere, and serves a configuration.
fn serving(text: &str) -> Gateway {
    let builder = Gateway::with("version: 1\n").configured_remotely().env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY);
    let gateway = builder.start();
    push(&gateway, text);
    wait::expect("the server is served", || !agent(&gateway, "Writer").tools().is_empty());
    gateway
}

/// Writes a configuration to a folder; returns the folder.
fn write(gateway: &Gateway, text: &str) -> String {
    let folder = gateway.folder().join("mine");
    fs::create_dir_all(&folder).expect("the folder can be made");
    fs::write(folder.join("portcullis.yaml"), text).expect("the file can be written");
    folder.display().to_string()
}

fn push(gateway: &Gateway, text: &str) {
    let folder = write(gateway, text);
    let pushed = gateway.cli(&["push", "--config", &folder, "--to", &gateway.url_of(""), "--force"]);
    assert_eq!(pushed.code(), Some(0), "{}", pushed.stderr);
}

fn agent(gateway: &Gateway, client: &str) -> Agent {
    Agent::modern(gateway.url()).named(client)
}

/// Calls the tool; tells whether that was let through.
fn call(gateway: &Gateway, client: &str, text: &str) -> bool {
    let params = json!({ "name": "s__echo", "arguments": { "text": text } });
    agent(gateway, client).ask("tools/call", params).get("result").is_some()
}

/// Simulates a draft at the gateway that runs, or over its data folder.
fn simulate(gateway: &Gateway, text: &str, options: &[&str]) -> Finished {
    let folder = write(gateway, text);
    gateway.cli(&[&["simulate", "--config", &folder], options].concat())
}

/// Returns the JSON of a simulation once so many calls are there to try.
#[track_caller]
fn simulated(gateway: &Gateway, text: &str, options: &[&str], calls: u64) -> (Option<i32>, Value) {
    let found = wait::until(wait::PATIENCE, || {
        let ran = simulate(gateway, text, &[options, &["--json"]].concat());
        let said: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
        (said["considered"] == calls).then(|| (ran.code(), said))
    });
    found.expect("every call is recorded")
}

/// What a simulation has found of calls: the sort, agent, times, and the rule.
fn found(said: &Value) -> Vec<String> {
    let of = |sort: &'static str| {
        said[sort].as_array().cloned().unwrap_or_default().into_iter().map(move |calls| {
            let text = |key: &str| calls[key].as_str().unwrap_or_default().to_owned();
            format!(
                "{sort} {} {} of {}, {}: {}",
                text("agent"),
                text("name"),
                text("server"),
                calls["times"],
                text("rule")
            )
        })
    };
    ["refused", "allowed", "unknown"].into_iter().flat_map(of).collect()
}

#[test]
fn what_is_said_of_a_draft_is_what_comes_of_it() {
    let gateway = serving(&config(true, PRESENT));
    for text in ["fine", "forbidden", "forbidden"] {
        assert!(call(&gateway, "Writer", text));
    }
    assert!(call(&gateway, "Somebody", "fine"));
    let url = gateway.url_of("");
    for options in [&["--url", &*url][..], &["--against", "remote"]] {
        let (code, said) = simulated(&gateway, &config(true, DRAFT), options, 4);
        let said_of = found(&said);
        assert_eq!(code, Some(1), "{said:#}");
        assert_eq!(said_of.len(), 2, "{said:#}");
        assert!(said_of[0].starts_with("refused default s__echo of s, 1: denied by `*` ("), "{said:#}");
        assert!(said_of[1].starts_with("refused writer s__echo of s, 2: denied by `s/echo` ("), "{said:#}");
        let file = said["refused"][1]["origin"]["file"].as_str().expect("a file");
        assert!(file.ends_with("portcullis.yaml"), "{file}");
        assert_eq!(said["refused"][1]["origin"]["line"], 10);
        assert_eq!(
            said["listed"],
            json!([{ "agent": "default", "added": [], "removed": ["s__echo"], "changed": [] }])
        );
        // What is in force changes nothing.
        let (code, said) = simulated(&gateway, &config(true, PRESENT), options, 4);
        assert_eq!((code, found(&said), &said["listed"]), (Some(0), vec![], &json!([])), "{said:#}");
    }
    let table = simulate(&gateway, &config(true, DRAFT), &["--url", &url, "--since", "1h"]);
    assert!(
        table.stdout.contains("WOULD BE")
            && table.stdout.contains("agent default would be listed, no longer: s__echo")
    );
    assert!(table.stderr.contains("4 recorded calls tried"), "{}", table.stderr);

    push(&gateway, &config(true, DRAFT));
    wait::expect("the draft is in force", || !call(&gateway, "Somebody", "fine"));
    assert!(call(&gateway, "Writer", "fine"));
    assert!(!call(&gateway, "Writer", "forbidden"));
}

#[test]
fn what_was_not_recorded_is_said_to_be_unknown() {
    let gateway = serving(&config(false, PRESENT));
    assert!(call(&gateway, "Writer", "forbidden"));
    let url = gateway.url_of("");
    let (code, said) = simulated(&gateway, &config(false, DRAFT), &["--url", &url], 1);
    assert_eq!(code, Some(1));
    assert_eq!(
        found(&said),
        ["unknown writer s__echo of s, 1: it depends on arguments, which were not recorded"]
    );
    // What would not be taken is not tried, and nothing of it is in force.
    let bad =
        simulate(&gateway, &config(false, "  writer: { allow: [nowhere/x/y/z, 7] }\n"), &["--url", &url]);
    assert_eq!(bad.code(), Some(1), "{}", bad.stdout);
    assert!(bad.stderr.contains("would not take this"), "{}", bad.stderr);
    assert!(call(&gateway, "Writer", "fine"));
    let definition = gateway.cli(&["simulate", "--approve", "s", "--url", &url]);
    assert_eq!(definition.code(), Some(0), "{}{}", definition.stdout, definition.stderr);
    assert!(definition.stdout.contains("nothing would change"), "{}", definition.stdout);
    let nobody = gateway.cli(&["simulate", "--approve", "nobody", "--url", &url]);
    assert!(nobody.stderr.contains("there is no such server"), "{}", nobody.stderr);
}
