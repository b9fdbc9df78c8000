//! `portcullis bridge`: a stdio server over Streamable HTTP, before real clients, as a container runs it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_tests::agent::Agent;
use portcullis_tests::bridge::{Bridge, TOKEN};
use portcullis_tests::client::{Client, Step};
use portcullis_tests::http::Request;
use portcullis_tests::process;
use portcullis_tests::scenario::text;
use portcullis_tests::toolbox;
use portcullis_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

/// The SDKs' own clients, in both eras.
const CLIENTS: [Client; 5] =
    [Client::TsV1, Client::TsV2, Client::TsV2Legacy, Client::Python, Client::PythonLegacy];

/// A bridge before the fixture of that era.
fn before_fixture(era: &str) -> portcullis_tests::bridge::Builder {
    Bridge::before(&[toolbox::fixture(), "--stdio".into(), "--era".into(), era.into()])
}

fn agent(bridge: &Bridge) -> Agent {
    Agent::modern(&bridge.url()).bearer(TOKEN)
}

/// Carries out a call by each client; returns what the tool said each time.
fn calls(bridge: &Bridge, tool: &str, arguments: &Value) -> Vec<String> {
    let call = |client: Client| {
        let plan = [Step::ListTools, Step::CallTool { name: tool.to_owned(), arguments: arguments.clone() }];
        let transcript = client.run_with(&bridge.url(), &[&Bridge::header()], &plan);
        assert_eq!(transcript.protocol.as_deref(), client.expected_protocol(), "{client:?}");
        let listed = transcript.result(0)["tools"].as_array().expect("tools are listed").clone();
        assert!(listed.iter().any(|listed| listed["name"] == tool), "{client:?}: {listed:?}");
        transcript.result(1)["content"].to_string()
    };
    CLIENTS.map(call).to_vec()
}

#[test]
fn real_clients_use_a_node_server_under_its_own_names() {
    let server = toolbox::node_module("@modelcontextprotocol/server-everything/dist/index.js");
    let bridge = Bridge::before(&[toolbox::node(), server, "stdio".into()]).start();
    for said in calls(&bridge, "echo", &json!({ "message": "over the bridge" })) {
        assert!(said.contains("Echo: over the bridge"), "{said}");
    }
}

#[test]
fn real_clients_use_a_python_server_under_its_own_names() {
    let server: [PathBuf; 5] =
        [toolbox::python(), "-m".into(), "mcp_server_time".into(), "--local-timezone".into(), "UTC".into()];
    let bridge = Bridge::before(&server).start();
    let arguments = json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    for said in calls(&bridge, "convert_time", &arguments) {
        assert!(said.contains("21:00"), "{said}");
    }
}

#[test]
fn a_server_asks_the_agent_that_calls() {
    let server = toolbox::node_module("@modelcontextprotocol/server-everything/dist/index.js");
    let bridge = Bridge::before(&[toolbox::node(), server, "stdio".into()])
        .arg("--listen")
        .arg("127.0.0.1:0")
        .env("PORTCULLIS_BRIDGE_TOKEN", "")
        .start();
    let answers = json!({
        "sampling": { "model": "m", "role": "assistant", "content": { "type": "text", "text": "sampled here" } },
    });
    let arguments = json!({ "prompt": "anything", "maxTokens": 5 });
    let plan = [Step::CallTool { name: "trigger-sampling-request".to_owned(), arguments }];
    let transcript = Client::TsV1.run_answering(&bridge.url(), &answers, &plan);
    let said = transcript.result(0)["content"].to_string();
    assert!(said.contains("sampled here"), "{said}");
}

#[test]
fn strangers_are_refused_and_health_is_for_everybody() {
    let bridge = before_fixture("legacy").start();
    let status = |agent: &Agent| agent.post("tools/list", json!({})).send().status;
    assert_eq!(status(&agent(&bridge)), 200);
    assert_eq!(status(&Agent::modern(&bridge.url())), 401);
    assert_eq!(status(&Agent::modern(&bridge.url()).bearer("another-credential-of-length")), 401);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(Request::get(&bridge.url_of(path)).send().status, 200, "{path}");
    }
    for path in ["/", "/mcp/servers/other", "/admin/v1/configuration"] {
        assert_ne!(Request::get(&bridge.url_of(path)).send().status, 200, "{path}");
    }
}

/// Runs `portcullis bridge` to its end, with a port that it can have.
fn refused(variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let mut command = Command::new(toolbox::gateway());
    command.arg("bridge").args(arguments).env("PORT", "0");
    for name in ["PORTCULLIS_BRIDGE_TOKEN", "PORTCULLIS_BRIDGE_TOKEN_FILE"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    let finished = process::run(command, b"", PATIENCE);
    assert_ne!(finished.code(), Some(0), "{}", finished.stdout);
    finished.stderr
}

#[test]
fn nobody_is_served_for_lack_of_a_credential() {
    let said = refused(&[], &["--", "cat"]);
    assert!(
        said.contains("can be reached from other machines") && said.contains("--allow-anonymous"),
        "{said}"
    );
    let said = refused(&[("PORTCULLIS_BRIDGE_TOKEN", "short")], &["--", "cat"]);
    assert!(said.contains("at least 16 characters") && !said.contains("short\""), "{said}");
    let said = refused(&[], &["--token-env", "NOT_SET_ANYWHERE", "--", "cat"]);
    assert!(said.contains("NOT_SET_ANYWHERE is not set"), "{said}");
    let said = refused(&[], &["--token-file", "nowhere", "--", "cat"]);
    assert!(said.contains("cannot read nowhere"), "{said}");
    let said = refused(&[], &["--allow-anonymous"]);
    assert!(said.contains("COMMAND"), "{said}");
    let open = before_fixture("modern").arg("--allow-anonymous").env("PORTCULLIS_BRIDGE_TOKEN", "").start();
    assert!(Agent::modern(&open.url()).tools().contains(&"env".to_owned()));
}

#[test]
fn the_server_gets_what_it_was_given_and_no_credential() {
    let folder = toolbox::scratch();
    let file = folder.path().join("api");
    fs::write(&file, "a value from a file\n").expect("the folder can be written to");
    let bridge = before_fixture("legacy")
        .env("NAMED", "yes")
        .env("UNNAMED", "hidden")
        .env("MY_TOKEN", "the-credential-by-another-name")
        .args(&["--env", "NAMED", "--env", "GIVEN=a=b", "--token-env", "MY_TOKEN"])
        .args(&["--env-file", &format!("FROM_FILE={}", file.display())])
        .start();
    let agent = Agent::modern(&bridge.url()).bearer("the-credential-by-another-name");
    let variable =
        |name: &str| agent.call("env", &json!({ "name": name }))["structuredContent"]["value"].take();
    let seen: BTreeMap<_, _> =
        ["NAMED", "GIVEN", "FROM_FILE"].map(|name| (name, variable(name))).into_iter().collect();
    assert_eq!(json!(seen), json!({ "NAMED": "yes", "GIVEN": "a=b", "FROM_FILE": "a value from a file" }));
    assert!(variable("PATH").is_string());
    for name in ["UNNAMED", "MY_TOKEN", "PORTCULLIS_BRIDGE_TOKEN", "PORT"] {
        assert_eq!(variable(name), Value::Null, "{name}");
    }
}

#[test]
fn values_from_files_are_not_shown_in_the_log() {
    let folder = toolbox::scratch();
    let file = folder.path().join("api");
    fs::write(&file, "a-value-from-a-file").expect("the folder can be written to");
    let script = r#"echo "starting with $FROM_FILE" >&2; exec "$0" --stdio"#;
    let server = ["sh".into(), "-c".into(), script.into(), toolbox::fixture()];
    let bridge =
        Bridge::before(&server).args(&["--env-file", &format!("FROM_FILE={}", file.display())]).start();
    wait::expect("what the server said", || bridge.log().contains("starting with"));
    assert!(bridge.log().contains("starting with [redacted]"), "{}", bridge.log());
    assert!(!bridge.log().contains("a-value-from-a-file"));
}

#[test]
fn it_stands_where_it_is_told_to() {
    let bridge = before_fixture("modern")
        .at_path("/tools")
        .arg("--public-url")
        .arg("https://tools.example.com/tools")
        .start();
    assert!(agent(&bridge).tools().contains(&"env".to_owned()));
    let ask = |url: &str, host: &str| {
        let request = agent(&bridge).post("tools/list", json!({})).to(url).header("host", host);
        request.send().status
    };
    assert_eq!(ask(&bridge.url(), "tools.example.com"), 200);
    assert_eq!(ask(&bridge.url(), "elsewhere.example.com"), 403);
    assert_eq!(ask(&bridge.url_of("/mcp"), "tools.example.com"), 404);
    let health = Request::get(&bridge.url_of("/readyz")).header("host", "10.1.2.3:8080");
    assert_eq!(health.send().status, 200, "a probe knows the address alone");
}

#[test]
fn readiness_is_that_of_the_server() {
    let folder = toolbox::scratch();
    let server = folder.path().join("server");
    let mut bridge = Bridge::before(&[server.clone(), "--stdio".into()]).begin();
    let health = |bridge: &Bridge| {
        let mut command = Command::new(toolbox::gateway());
        command.args(["bridge", "--health"]).env("PORT", bridge.port());
        process::run(command, b"", PATIENCE)
    };
    wait::expect("what is wrong", || {
        Request::get(&bridge.url_of("/readyz")).send().text().contains("there is no program")
    });
    assert!(!bridge.is_ready());
    let asked = health(&bridge);
    assert_eq!(asked.code(), Some(1));
    assert!(asked.stderr.contains("there is no program"), "{}", asked.stderr);
    assert_eq!(Request::get(&bridge.url_of("/healthz")).send().status, 200);
    std::os::unix::fs::symlink(toolbox::fixture(), &server).expect("the folder can be written to");
    wait::expect("the server", || bridge.is_ready());
    assert_eq!(health(&bridge).code(), Some(0));
}

#[test]
fn what_runs_is_finished_when_it_is_told_to_stop() {
    let folder = toolbox::scratch();
    let record = folder.path().join("record");
    let mut bridge =
        Bridge::before(&[toolbox::fixture(), "--stdio".into(), "--record".into(), record.clone()]).start();
    let agent = agent(&bridge);
    let pid = text(&agent.call("pid", &json!({}))).to_owned();
    let call = agent.post("tools/call", json!({ "name": "sleep", "arguments": { "ms": 1500 } }));
    let call = thread::spawn(move || call.send().json());
    wait::expect("the call to reach the server", || {
        fs::read_to_string(&record).is_ok_and(|lines| lines.contains("\"sleep\""))
    });
    bridge.process().signal(Signal::SIGTERM);
    let answer = call.join().expect("the call is answered");
    assert_eq!(text(&answer["result"]), "Slept 1500 ms");
    wait::expect("the bridge's end", || bridge.process().ended().is_some());
    assert_eq!(bridge.process().ended().and_then(|status| status.code()), Some(0));
    let pid = Pid::from_raw(pid.parse().expect("a process id"));
    assert!(kill(pid, None).is_err(), "the server outlives the bridge");
}

/// The processes that a process has started, with their names, also where they have ended and nobody has reaped them.
#[cfg(target_os = "linux")]
fn children(of: Pid) -> Vec<(Pid, String)> {
    let parse = |entry: fs::DirEntry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let said = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = said.split_once('(')?.1.rsplit_once(") ")?;
        let mut rest = rest.split(' ');
        let parent: i32 = rest.nth(1)?.parse().ok()?;
        (parent == of.as_raw()).then(|| (Pid::from_raw(id), name.to_owned()))
    };
    fs::read_dir("/proc").expect("processes are listed").flatten().filter_map(parse).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn as_the_first_process_it_reaps_orphans_and_passes_signals_on() {
    let folder = toolbox::scratch();
    let done = folder.path().join("done");
    // What is started in a subshell that ends is nobody's; it leaves its group, and goes on while there is the file.
    let script = r#"(setsid sh -c 'echo >"$0"; while [ -e "$0" ]; do sleep 0.05; done' "$1" </dev/null >/dev/null 2>&1 &); exec "$0" --stdio"#;
    let server = ["sh".into(), "-c".into(), script.into(), toolbox::fixture(), done.clone()];
    let own = ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let mut bridge = Bridge::before(&server).within("unshare", &own).start();
    let first = children(bridge.process().id()).pop().expect("the first process of its namespace").0;
    let orphans = || children(first).iter().filter(|(_, name)| name == "sh").count();
    wait::expect("the orphan", || done.exists() && orphans() == 1);
    fs::remove_file(&done).expect("the file is there");
    wait::expect("that it is reaped", || orphans() == 0);
    kill(first, Signal::SIGTERM).expect("it is there");
    wait::expect("the bridge's end", || bridge.process().ended().is_some());
    assert_eq!(bridge.process().ended().and_then(|status| status.code()), Some(0), "{}", bridge.log());
    assert!(bridge.log().contains("was stopped"), "{}", bridge.log());
}
