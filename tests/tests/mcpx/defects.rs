//! Each of MCPX's defects, named by what is true here.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_tests::gateway::Gateway;
use portcullis_tests::hostile::{Done, Hostile};
use portcullis_tests::http::Request;
use portcullis_tests::process::run;
use portcullis_tests::scenario::{received, text};
use portcullis_tests::toolbox;
use portcullis_tests::upstream::{Upstream, free_port};
use portcullis_tests::wait::PATIENCE;
use serde_json::{Value, json};

use super::callers::{Caller, DOORS, Door, OPEN, TAG, at, file_of, fixture, folder, reason, two_servers};

#[test]
fn a_callers_credential_stays_at_the_gateway() {
    const KEY: &str = "open-sesame-1234";
    for era in ["modern", "legacy"] {
        let scratch = toolbox::scratch();
        let record = scratch.path().join("record");
        let upstream = Upstream::fixture(&["--era", era, "--record", &record.display().to_string()]);
        let app = format!("{OPEN}auth: {{ enabled: true }}\n");
        let gateway = folder(&json!({ "s": at(&upstream) }), &app).env("AUTH_KEY", KEY).start();
        for door in DOORS {
            for header in ["Authorization", "x-lunar-api-key"] {
                let value = if header == "Authorization" { format!("Bearer {KEY}") } else { KEY.to_owned() };
                let mut caller =
                    Caller::of(&gateway, door, &[(header, &value), (TAG, "ops-tag")], "somebody");
                assert!(caller.call("s__whoami", &json!({})).is_ok(), "{door:?}");
                assert!(caller.outcome("prompts/get", json!({ "name": "s__test_simple_prompt" })).is_ok());
            }
        }
        let all = Value::from(received(record)).to_string().to_lowercase();
        assert!(all.contains("tools/call") && all.contains("prompts/get"), "{all}");
        for secret in [KEY, "authorization", "x-lunar-api-key", "ops-tag"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
    }
}

#[test]
fn a_token_that_the_gateway_cannot_judge_is_refused_and_not_passed_on() {
    let scratch = toolbox::scratch();
    let record = scratch.path().join("record");
    let upstream = Upstream::fixture(&["--era", "dual", "--record", &record.display().to_string()]);
    let gateway = folder(&json!({ "s": at(&upstream) }), OPEN).start();
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl";
    let answer = Request::post(gateway.url()).header("Authorization", format!("Bearer {token}"));
    let answer = answer.json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })).send();
    assert_eq!(answer.status, 401);
    assert!(!Value::from(received(record)).to_string().contains(token));
}

#[test]
fn every_page_of_a_server_is_listed() {
    let servers = |options: &[&str]| {
        let arguments = [&["--stdio"], options].concat();
        json!({ "s": { "command": toolbox::fixture(), "args": arguments } })
    };
    let whole = folder(&servers(&[]), OPEN).start();
    let paged = folder(&servers(&["--page-size", "3"]), OPEN).start();
    for (method, key) in [
        ("tools/list", "tools"),
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ] {
        for door in DOORS {
            let list = |gateway: &Gateway| Caller::anybody(gateway, door).names(method, key);
            assert_eq!(list(&whole), list(&paged), "{method} {door:?}");
            assert!(!list(&paged).is_empty(), "{method} {door:?}");
        }
    }
}

#[test]
fn prompts_resources_templates_and_completion_are_there() {
    let gateway = folder(&two_servers(), OPEN).start();
    for door in DOORS {
        let mut caller = Caller::anybody(&gateway, door);
        for server in ["files", "tickets"] {
            let arguments = json!({ "arg1": "a", "arg2": "b" });
            let name = format!("{server}__test_prompt_with_arguments");
            let got = caller.outcome("prompts/get", json!({ "name": name, "arguments": arguments }));
            assert!(got.expect("the prompt").to_string().contains("arg1='a', arg2='b'"), "{door:?}");
            let complete = json!({ "ref": { "type": "ref/prompt", "name": name },
                "argument": { "name": "arg1", "value": "" } });
            let completed = caller.outcome("completion/complete", complete).expect("a completion");
            assert!(completed["completion"]["values"].is_array(), "{door:?}: {completed}");
        }
        let resources = caller.list("resources/list", "resources");
        let uris = resources.iter().filter_map(|resource| resource["uri"].as_str());
        let texts: Vec<_> = uris.filter(|uri| uri.ends_with("static-text")).collect();
        assert_eq!(texts.len(), 2, "{door:?}: one of each server in {resources:?}");
        for uri in texts {
            let read = caller.outcome("resources/read", json!({ "uri": uri })).expect("the resource");
            assert!(read["contents"][0]["text"].is_string(), "{door:?}: {read}");
        }
        assert_eq!(caller.list("resources/templates/list", "resourceTemplates").len(), 2, "{door:?}");
    }
}

#[test]
fn a_child_keeps_everything_that_it_does_not_change() {
    let children = "toolExtensions:
  services:
    s:
      echo: { childTools: [{ name: echo_child, overrideParams: { message: { value: x } } }] }
      big_numbers: { childTools: [{ name: numbers_child }] }
";
    let gateway = folder(&json!({ "s": fixture() }), &format!("{OPEN}{children}")).start();
    for door in DOORS {
        let mut caller = Caller::anybody(&gateway, door);
        let mut kept = |original: &str, child: &str, fields: &[&str]| {
            let (original, child) = (caller.tool(original), caller.tool(child));
            for field in fields {
                assert!(!original[field].is_null() && original[field] == child[field], "{field}: {child}");
            }
            child
        };
        let child =
            kept("s__echo", "s__echo_child", &["title", "annotations", "outputSchema", "description"]);
        assert_eq!(child["inputSchema"]["required"], Value::Null, "what is forced is not required: {child}");
        kept("s__big_numbers", "s__numbers_child", &["_meta", "outputSchema", "inputSchema"]);
    }
}

#[test]
fn names_are_matched_without_case_everywhere() {
    let app = "
permissions:
  default: { allow: [] }
  consumers: { Power-Users: { allow: [READING] } }
  clientNames: { CURSOR: { allow: [Reading] } }
toolGroups: [{ name: reading, services: { TICKETS: [echo, echo_child] } }]
toolExtensions: { services: { tICKETS: { echo: { childTools: [{ name: echo_child }] } } } }
targetServerAttributes: { Files: { inactive: true } }
";
    let gateway = folder(&two_servers(), app).start();
    for door in DOORS {
        for mut caller in
            [Caller::tagged(&gateway, door, "power-USERS"), Caller::of(&gateway, door, &[], "cursor")]
        {
            assert_eq!(caller.tools(), ["tickets__echo", "tickets__echo_child"], "{door:?}");
        }
    }
}

#[test]
fn names_of_tools_are_such_as_clients_take() {
    let gateway = folder(&json!({ " Probe Srv!": fixture() }), OPEN).start();
    for door in DOORS {
        let mut caller = Caller::anybody(&gateway, door);
        let tools = caller.tools();
        let fits = |name: &String| {
            name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        };
        assert!(!tools.is_empty() && tools.iter().all(fits), "{door:?}: {tools:?}");
        let echo = tools.iter().find(|tool| tool.ends_with("__echo")).expect("the tool is there");
        assert!(caller.call(echo, &json!({})).is_ok(), "{door:?}");
    }
}

#[test]
fn an_unknown_group_refuses_the_file_and_its_line_is_told() {
    let app = "permissions:\n  default: { block: [] }\n  consumers:\n    ops: { allow: [raeding] }\n\
               toolGroups: [{ name: reading, services: { s: '*' } }]\n";
    let builder = folder(&json!({ "s": fixture() }), app);
    for arguments in [["check", "--config"], ["serve", "--config"]] {
        let mut command = Command::new(toolbox::gateway());
        command.args(arguments).arg("mcpx").current_dir(builder.folder());
        let finished = run(command, b"", PATIENCE);
        let said = finished.stdout + &finished.stderr;
        assert_eq!(finished.status.code(), Some(1), "{said}");
        assert!(said.contains("mcpx/app.yaml:4:20: error:"), "{said}");
        assert!(said.contains("there is no tool group \"raeding\""), "{said}");
        assert!(said.contains("did you mean `reading`?"), "{said}");
    }
}

#[test]
fn a_bad_entry_harms_only_itself() {
    let servers = json!({
        "bad-type": { "type": "smoke-signal", "url": "http://127.0.0.1:1/mcp" },
        "bad-command": { "command": "no-such-program-anywhere", "args": [] },
        "bad-shape": { "command": 7 },
        "bad-url": { "type": "streamable-http", "url": "nowhere" },
        "fine": fixture(),
    });
    let gateway = folder(&servers, OPEN).start();
    for door in DOORS {
        let mut caller = Caller::anybody(&gateway, door);
        assert_eq!(caller.servers(), ["fine"], "{door:?}");
        assert!(caller.call("fine__echo", &json!({})).is_ok(), "{door:?}");
    }
    for server in ["bad-type", "bad-command", "bad-shape", "bad-url"] {
        assert!(!reason(&gateway, server).is_empty(), "{server} is not said to be down");
    }
}

#[test]
fn one_failure_of_a_server_takes_it_from_nobody() {
    for start in [false, true] {
        let failed = AtomicBool::new(false);
        let script = move |exchange: &mut portcullis_tests::hostile::Exchange| {
            if exchange.is_call() && !failed.swap(true, Ordering::Relaxed) {
                exchange.respond(500, "Content-Type: text/plain\r\n", "out of order")?;
                return Ok(Done::Answered);
            }
            Ok(Done::Behave)
        };
        let server = if start { Hostile::modern(script) } else { Hostile::legacy(script) };
        let servers = json!({ "s": { "type": "streamable-http", "url": server.url() } });
        let gateway = folder(&servers, OPEN).start();
        let [mut first, mut second, mut third] = DOORS.map(|door| Caller::anybody(&gateway, door));
        let failed = first.call("s__x", &json!({}));
        assert!(failed.as_ref().map_or(true, |result| result["isError"] == true), "{failed:?}");
        for caller in [&mut second, &mut third, &mut first] {
            assert_eq!(caller.tools(), ["s__x"]);
            let called = caller.call("s__x", &json!({}));
            assert_eq!(called.as_ref().map(text), Ok("fine"));
        }
    }
}

#[test]
fn large_arguments_arrive() {
    let gateway = folder(&json!({ "s": fixture() }), OPEN).start();
    let message = "x".repeat(150_000);
    for door in DOORS {
        let called = Caller::anybody(&gateway, door).call("s__echo", &json!({ "message": message }));
        assert_eq!(called.expect("it arrives")["structuredContent"]["message"], message.as_str(), "{door:?}");
    }
}

#[test]
fn a_page_of_another_origin_is_refused() {
    let gateway = folder(&json!({ "s": fixture() }), OPEN).start();
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "page", "version": "1" } } });
    for request in [
        Request::post(gateway.url()).json(&initialize),
        Request::get(&gateway.url_of("/sse")).header("Accept", "text/event-stream"),
        Request::post(&gateway.url_of("/messages?sessionId=x")).json(&initialize),
    ] {
        let answer = request.header("Origin", "https://evil.example").send();
        assert_eq!(answer.status, 403);
    }
}

#[test]
fn tools_of_one_name_are_counted_apart() {
    let port = free_port();
    let gateway = folder(&two_servers(), OPEN);
    let gateway = gateway.arg("--metrics-listen").arg(&format!("127.0.0.1:{port}")).start();
    let mut caller = Caller::anybody(&gateway, Door::Session);
    for tool in ["files__echo", "files__echo", "tickets__echo"] {
        assert!(caller.call(tool, &json!({})).is_ok());
    }
    let metrics = Request::get(&format!("http://127.0.0.1:{port}/metrics")).send().text();
    let counted = |server: &str| {
        let label = format!("portcullis_server=\"{server}\"");
        let line = metrics.lines().find(|line| {
            line.starts_with("mcp_server_operation_duration_seconds_count{")
                && line.contains(&label)
                && line.contains("__echo\"")
        });
        line.and_then(|line| line.rsplit_once(' ')).map(|(_, count)| count.to_owned())
    };
    assert_eq!(
        (counted("files").as_deref(), counted("tickets").as_deref()),
        (Some("2"), Some("1")),
        "{metrics}"
    );
}

#[test]
fn programs_are_started_as_they_are_written_by_no_shell() {
    let scratch = toolbox::scratch();
    let odd = format!("{}/$(touch marker); -e --privileged", scratch.path().display());
    let servers = json!({
        "literal": { "command": toolbox::fixture(), "args": ["--stdio", "--record", odd] },
        "launcher": { "command": "sh", "args": ["-c", "exec \"$0\" --stdio", toolbox::fixture()] },
    });
    let gateway = folder(&servers, OPEN).start();
    let mut caller = Caller::anybody(&gateway, Door::Session);
    assert_eq!(caller.servers(), ["launcher", "literal"], "any command will do, and any argument");
    let entries = std::fs::read_dir(scratch.path()).expect("it is there").flatten();
    let names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["$(touch marker); -e --privileged"]);
    let marker = gateway.folder().join("marker");
    assert!(!marker.exists() && file_of(&servers).contains("$(touch marker)"));
}
