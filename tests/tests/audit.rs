//! The audit trail over real HTTP: what is recorded, that it survives, that tampering is found, and how it is read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Builder, Gateway, Readiness};
use portcullis_tests::http::Request;
use portcullis_tests::process::{Background, run};
use portcullis_tests::scenario::stdio_fixture;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::free_port;
use portcullis_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

fn configured(audit: &str) -> String {
    let dead = json!({ "url": format!("http://127.0.0.1:{}/mcp", free_port()) });
    format!("version: 1\naudit: {audit}\nservers:\n  s: {}\n  dead: {dead}\n", stdio_fixture(&[]))
}

fn gateway(audit: &str) -> Gateway {
    Gateway::start(&configured(audit))
}

fn export(gateway: &Gateway, arguments: &[&str]) -> Vec<Value> {
    let exported = gateway.cli(&[&["audit", "export"], arguments].concat());
    exported.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// Waits until so many entries are there, and returns them.
fn entries(gateway: &Gateway, count: usize) -> Vec<Value> {
    let found = wait::until(PATIENCE, || Some(export(gateway, &[])).filter(|all| all.len() >= count));
    found.unwrap_or_else(|| {
        panic!("{count} entries, but there are {:#?}\n{}", export(gateway, &[]), gateway.log())
    })
}

fn files(gateway: &Gateway) -> Vec<PathBuf> {
    let folder = fs::read_dir(gateway.data_dir().join("audit")).expect("the trail has a folder");
    let paths = folder.flatten().map(|entry| entry.path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    files.sort();
    files
}

fn lines(gateway: &Gateway) -> Vec<String> {
    let texts = files(gateway).into_iter().map(|file| fs::read_to_string(file).expect("text"));
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn find<'e>(all: &'e [Value], fields: &Value) -> &'e Value {
    let wanted = fields.as_object().expect("fields are an object");
    let matches = |entry: &&Value| wanted.iter().all(|(key, value)| entry[key] == *value);
    all.iter().find(matches).unwrap_or_else(|| panic!("no entry with {fields} in {all:#?}"))
}

#[track_caller]
fn verified(gateway: &Gateway) -> String {
    let verified = gateway.cli(&["audit", "verify"]);
    assert_eq!(verified.code(), Some(0), "{}{}", verified.stdout, verified.stderr);
    verified.stdout
}

#[test]
fn each_kind_of_thing_is_recorded_with_its_fields() {
    let gateway = gateway("{ arguments: true }");
    let (modern, legacy) = (Agent::modern(gateway.url()), Agent::legacy(gateway.url()));
    modern.tools();
    modern.call("s__echo", &json!({ "message": "modern" }));
    legacy.call("s__echo", &json!({ "message": "legacy" }));
    modern.call("s__test_error_handling", &json!({}));
    modern.error("tools/call", json!({ "name": "s__nope", "arguments": {} }));
    let traced = Agent::modern(gateway.url())
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    traced.ask("prompts/list", json!({}));
    Request::post(gateway.url()).header("Content-Type", "application/json").body("{").send();
    Request::post(gateway.url()).header("Host", "evil.example").body("{}").send();
    Request::get(&gateway.url_of("/sse")).header("Accept", "text/event-stream").send();
    let all = entries(&gateway, 10);
    for (agent, era) in [("modern", "modern"), ("legacy", "legacy")] {
        let call = find(&all, &json!({ "args": { "message": agent } }));
        for (field, expected) in [
            ("era", json!(era)),
            ("method", json!("tools/call")),
            ("server", json!("s")),
            ("name", json!("s__echo")),
            ("upstream_name", json!("echo")),
            ("decision", json!("allowed")),
            ("auth", json!("anonymous")),
            ("agent", json!("default")),
            ("client", json!("portcullis-tests")),
            ("is_error", json!(false)),
        ] {
            assert_eq!(call[field], expected, "{field} of {call}");
        }
        assert!(call["result_bytes"].as_u64() > Some(40) && call["request_id"].is_u64(), "{call}");
        assert!(call["duration_ms"].as_f64() >= call["upstream_ms"].as_f64(), "{call}");
        assert_eq!(call["args_digest"].as_str().map(str::len), Some(64), "{call}");
    }
    find(&all, &json!({ "method": "initialize", "decision": "allowed", "era": "legacy" }));
    assert!(find(&all, &json!({ "method": "tools/list" }))["result_bytes"].as_u64() > Some(100));
    find(&all, &json!({ "name": "s__test_error_handling", "is_error": true, "decision": "allowed" }));
    let unknown = find(&all, &json!({ "name": "s__nope", "decision": "denied" }));
    assert!(
        unknown["error"].as_str().is_some_and(|e| e.contains("Unknown tool"))
            && unknown["is_error"].is_null()
    );
    find(&all, &json!({ "method": "prompts/list", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736" }));
    let refused: Vec<_> = all.iter().filter(|e| e["method"] == "POST /mcp").collect();
    assert_eq!(refused.len(), 2, "{all:#?}");
    assert!(refused.iter().all(|entry| entry["decision"] == "denied" && entry["error"].is_string()));
    find(&all, &json!({ "method": "GET /sse", "decision": "allowed" }));
    assert!(all.iter().all(|entry| entry["gateway"] == all[0]["gateway"] && entry["gateway"].is_string()));
    assert!(verified(&gateway).contains("from 1 to"));
}

#[test]
fn a_server_that_fails_is_told_from_one_that_refuses() {
    let gateway = gateway("{}");
    let agent = Agent::modern(gateway.url());
    agent.call("s__echo", &json!({}));
    let pid = gateway.log().lines().find_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        event["pid"].as_i64().filter(|_| event["message"] == "process started")
    });
    assert!(pid.is_some(), "{}", gateway.log());
    agent.error("tools/call", json!({ "name": "s__crash", "arguments": {} }));
    let all = entries(&gateway, 2);
    let crash = all.iter().find(|entry| entry["name"] == "s__crash").expect("the call is recorded");
    assert!(crash["decision"] == "failed" || crash["decision"] == "denied", "{crash}");
}

#[test]
fn what_a_stdio_agent_does_is_recorded_too() {
    let gateway = gateway("{}");
    let mut command = Command::new(toolbox::gateway());
    command.arg("stdio").env("PORTCULLIS_DATA_DIR", gateway.data_dir());
    command.env("PORTCULLIS_CONFIG", gateway.folder().join("portcullis.yaml"));
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "s__echo", "arguments": {}, "_meta": meta } });
    let finished = run(command, format!("{call}\n").as_bytes(), PATIENCE);
    assert!(finished.stdout.contains("\"result\""), "{}{}", finished.stdout, finished.stderr);
    Agent::modern(gateway.url()).call("s__echo", &json!({}));
    let all = entries(&gateway, 3);
    find(&all, &json!({ "method": "stdio", "decision": "allowed" }));
    // Two processes have written one chain.
    verified(&gateway);
}

#[test]
fn a_chain_goes_on_after_a_kill_and_after_a_torn_line() {
    let mut gateway = gateway("{}");
    let agent = Agent::modern(gateway.url());
    (0..5).for_each(|_| drop(agent.call("s__echo", &json!({}))));
    entries(&gateway, 5);
    gateway.process().signal(Signal::SIGKILL);
    wait::expect("the end", || gateway.process().ended().is_some());
    let last = files(&gateway).pop().expect("a file");
    let torn = fs::read_to_string(&last).expect("text") + "{\"time\":\"20";
    fs::write(&last, torn).expect("the file can be written to");
    gateway.restart();
    Agent::modern(gateway.url()).call("s__echo", &json!({}));
    let all = entries(&gateway, 7);
    let recovered = find(&all, &json!({ "method": "audit/recovered" }));
    assert!(recovered["error"].as_str().is_some_and(|e| e.contains("not been written whole")), "{recovered}");
    let ids: Vec<_> = all.iter().filter_map(|entry| entry["id"].as_u64()).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    let said = verified(&gateway);
    assert!(said.contains(&format!("entry {} is the gateway's own", recovered["id"])), "{said}");
}

#[test]
fn lines_that_were_lost_are_put_back_from_the_database_or_said_to_be_missing() {
    let mut gateway = gateway("{}");
    let agent = Agent::modern(gateway.url());
    (0..4).for_each(|_| drop(agent.call("s__echo", &json!({}))));
    entries(&gateway, 4);
    gateway.process().stop();
    let last = files(&gateway).pop().expect("a file");
    let cut = |keep: usize| {
        let text = fs::read_to_string(&last).expect("text");
        let kept = text.lines().take(keep).map(|line| format!("{line}\n")).collect::<Vec<_>>().concat();
        fs::write(&last, kept).expect("the file can be written to");
    };
    cut(2);
    gateway.restart();
    Agent::modern(gateway.url()).call("s__echo", &json!({}));
    entries(&gateway, 6);
    verified(&gateway);
    gateway.process().stop();
    cut(2);
    fs::remove_file(gateway.data_dir().join("audit.db")).expect("it is there");
    gateway.restart();
    Agent::modern(gateway.url()).call("s__echo", &json!({}));
    entries(&gateway, 4);
    let broken = gateway.cli(&["audit", "verify"]);
    assert_eq!(broken.code(), Some(1), "{}", broken.stdout);
    assert!(broken.stdout.contains("entry 3: was removed"), "{}", broken.stdout);
    let broken = gateway.cli(&["audit", "verify", "--json"]);
    assert_eq!(broken.code(), Some(1), "{}", broken.stdout);
    let json: Value = serde_json::from_str(&broken.stdout).expect("JSON");
    assert_eq!(json["whole"], false, "{json}");
    assert!(json["breach"].to_string().contains("entry 3: was removed"), "{json}");
}

#[test]
fn a_table_says_how_many_lines_it_leaves_out() {
    let mut gateway = gateway("{}");
    let agent = Agent::modern(gateway.url());
    (0..3).for_each(|_| drop(agent.call("s__echo", &json!({}))));
    entries(&gateway, 3);
    gateway.process().stop();
    let verified = gateway.cli(&["audit", "verify", "--json"]);
    let json: Value = serde_json::from_str(&verified.stdout).expect("JSON");
    assert_eq!((&json["whole"], &json["entries"]), (&json!(true), &json!(3)), "{json}");
    let database = gateway.data_dir().join("audit.db");
    let mut bytes = fs::read(&database).expect("it is there");
    let line = lines(&gateway).swap_remove(1);
    let at =
        bytes.windows(line.len()).position(|found| found == line.as_bytes()).expect("both hold the line");
    bytes[at] = b'[';
    fs::write(&database, bytes).expect("the file can be written to");
    let table = gateway.cli(&["audit", "export", "--format", "csv"]);
    assert_eq!((table.code(), table.stdout.lines().count()), (Some(0), 3), "{}", table.stdout);
    assert!(table.stderr.contains("1 line left out"), "{}", table.stderr);
}

#[test]
fn files_are_rotated_and_old_ones_removed() {
    let mut gateway = gateway("{ rotate: 64KiB, arguments: true, keep: 7d }");
    let agent = Agent::modern(gateway.url());
    let message = "x".repeat(20_000);
    for sent in 1..=9 {
        agent.call("s__echo", &json!({ "message": message }));
        // Each in a batch of its own: a file is closed between batches.
        entries(&gateway, sent);
    }
    assert!(files(&gateway).len() >= 2, "{:?}", files(&gateway));
    verified(&gateway);
    gateway.process().stop();
    // As if the first file were of a day long gone.
    let first = files(&gateway).remove(0);
    let name = first.file_name().and_then(|name| name.to_str()).expect("a name");
    let number = name.rsplit_once('-').expect("a number").1;
    fs::rename(&first, first.with_file_name(format!("audit-2020-01-01-{number}"))).expect("can be renamed");
    gateway.restart();
    let agent = Agent::modern(gateway.url());
    wait::expect("the old file's end", || {
        agent.call("s__echo", &json!({ "message": message }));
        files(&gateway).iter().all(|file| !file.display().to_string().contains("2020"))
    });
    let first = lines(&gateway).first().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    assert!(first.as_ref().and_then(|line| line["id"].as_u64()) > Some(1), "{first:?}");
    let first = first.expect("a line");
    wait::expect("the same in the database", || entries(&gateway, 1)[0]["id"] == first["id"]);
    verified(&gateway);
}

#[test]
fn both_stores_hold_the_same() {
    let gateway = gateway("{ arguments: true }");
    let agent = Agent::modern(gateway.url());
    for text in ["plain", "a\nb", "\u{202e}\u{2028}\u{1b}[2J", "=1+1"] {
        agent.call("s__echo", &json!({ "message": text }));
        agent.ask("tools/call", json!({ "name": text.replace('\n', "\r"), "arguments": {} }));
    }
    let exported = entries(&gateway, 8);
    let written: Vec<Value> =
        lines(&gateway).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(exported, written);
    let csv = gateway.cli(&["audit", "export", "--format", "csv"]).stdout;
    assert_eq!(csv.lines().count(), written.len() + 1, "{csv}");
    assert!(csv.lines().any(|line| line.contains(",\"'=1+1\",")), "{csv}");
    assert!(!csv.contains(['\u{202e}', '\u{2028}', '\u{1b}']), "{csv:?}");
}

#[test]
fn entries_are_found_by_what_they_are_about() {
    let gateway = gateway("{}");
    let agent = Agent::modern(gateway.url());
    agent.tools();
    agent.call("s__echo", &json!({}));
    agent.error("tools/call", json!({ "name": "s__nope", "arguments": {} }));
    entries(&gateway, 3);
    let count = |arguments: &[&str]| export(&gateway, arguments).len();
    assert_eq!(count(&["--decision", "denied"]), 1);
    assert_eq!(count(&["--server", "s"]), 1);
    assert_eq!(count(&["--tool", "s__echo"]), 1);
    assert_eq!(count(&["--agent", "default"]), 3);
    assert_eq!(count(&["--agent", "default", "--tool", "s__nope", "--decision", "allowed"]), 0);
    assert_eq!((count(&["--since", "1h"]), count(&["--until", "1h"])), (3, 0));
    assert_eq!((count(&["--since", "2020-01-01"]), count(&["--until", "2020-01-01T00:00:00Z"])), (3, 0));
    let query = gateway.cli(&["audit", "query", "--decision", "denied"]).stdout;
    assert!(
        query.contains(" denied  tools/call s__nope for default, ") && query.contains("Unknown tool"),
        "{query}"
    );
    let limited = gateway.cli(&["audit", "query", "--limit", "1", "--json"]).stdout;
    assert!(limited.lines().count() == 1 && limited.contains("s__nope"), "{limited}");
    assert_eq!(gateway.cli(&["audit", "tail", "-n", "2"]).stdout.lines().count(), 2);
    for (arguments, said) in [
        (["--since", "yesterday"], "expected a date"),
        (["--decision", "maybe"], "expected allowed, denied or failed"),
    ] {
        let wrong = gateway.cli(&[&["audit", "query"], &arguments[..]].concat());
        assert!(wrong.code() == Some(2) && wrong.stderr.contains(said), "{}", wrong.stderr);
    }
    let file = gateway.folder().join("out.jsonl").display().to_string();
    assert_eq!(gateway.cli(&["audit", "export", "--output", &file]).code(), Some(0));
    assert_eq!(fs::read_to_string(&file).expect("text").lines().count(), 3);
    let again = gateway.cli(&["audit", "export", "--output", &file]);
    assert!(again.code() == Some(1) && again.stderr.contains("not replaced"), "{}", again.stderr);
}

#[test]
fn the_end_of_the_trail_can_be_followed() {
    let gateway = gateway("{}");
    let agent = Agent::modern(gateway.url());
    agent.call("s__echo", &json!({}));
    entries(&gateway, 1);
    let mut command = Command::new(toolbox::gateway());
    command.args(["audit", "tail", "--follow", "--data-dir"]).arg(gateway.data_dir());
    let mut tail = Background::start(&command);
    let later = Background::start(command.args(["-n", "0"]));
    tail.await_line("the entry that is there", |line| line.contains("s__echo").then_some(()));
    agent.error("tools/call", json!({ "name": "s__later", "arguments": {} }));
    tail.await_line("the entry that comes", |line| line.contains("s__later").then_some(()));
    // Whoever wants no line of the past sees at most what has come since.
    wait::expect("the entry that comes", || {
        agent.error("tools/call", json!({ "name": "s__last", "arguments": {} }));
        later.log().contains("s__last")
    });
    assert!(!later.log().contains("s__echo"), "{}", later.log());
    assert!(gateway.cli(&["audit", "tail", "-n", "0"]).stdout.is_empty());
}

#[test]
fn without_a_trail_there_is_nothing_to_read() {
    let gateway = gateway("{ enabled: false }");
    Agent::modern(gateway.url()).call("s__echo", &json!({}));
    let read = gateway.cli(&["audit", "tail"]);
    assert!(read.code() == Some(1) && read.stderr.contains("no audit trail"), "{}", read.stderr);
}

/// A gateway that may write files of `limit` bytes at most, as on a disk that is full from then on.
fn on_small_disk(audit: &str, limit: u64) -> Gateway {
    let builder: Builder = Gateway::with(&configured(audit)).until(Readiness::Listening);
    let mut gateway = builder.env("PORTCULLIS_LOG", "info").start();
    let pid = gateway.process().id().as_raw();
    let limited = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--fsize={limit}:unlimited")])
        .status();
    assert!(limited.expect("prlimit is there").success());
    gateway
}

fn fill(gateway: &Gateway) -> Value {
    let agent = Agent::modern(gateway.url());
    let readyz = || Request::get(&gateway.url_of("/readyz")).send().json();
    wait::expect("the trail's failure", || {
        agent.post("tools/list", json!({})).send();
        readyz()["audit"]["status"] == "failing"
    });
    readyz()
}

fn make_room(gateway: &mut Gateway) {
    let pid = gateway.process().id().as_raw().to_string();
    let freed = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:unlimited"]).status();
    assert!(freed.expect("prlimit is there").success());
}

#[test]
fn a_full_disk_is_reported_and_requests_are_served_on() {
    let mut gateway = on_small_disk("{ on_failure: open }", 8192);
    let ready = fill(&gateway);
    assert_eq!(ready["status"], "DEGRADED", "{ready}");
    assert!(gateway.log().contains("the audit trail cannot be written"), "{}", gateway.log());
    let agent = Agent::modern(gateway.url());
    agent.call("s__echo", &json!({ "message": "while it is full" }));
    make_room(&mut gateway);
    wait::expect("the trail's return", || gateway.log().contains("the audit trail is written again"));
    let all = entries(&gateway, 1);
    find(&all, &json!({ "name": "s__echo" }));
    verified(&gateway);
}

#[test]
fn a_full_disk_stops_requests_where_that_is_wanted() {
    let mut gateway = on_small_disk("{ on_failure: closed }", 8192);
    fill(&gateway);
    let agent = Agent::modern(gateway.url());
    let refused = agent.post("tools/call", json!({ "name": "s__echo", "arguments": {} })).send();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    let text = refused.text();
    assert!(text.contains("audit trail cannot be written"), "{text}");
    assert_eq!(Request::get(&gateway.url_of("/healthz")).send().status, 200);
    make_room(&mut gateway);
    wait::expect("an answer", || {
        agent.post("tools/call", json!({ "name": "s__echo", "arguments": {} })).send().status == 200
    });
    wait::expect("its entry", || export(&gateway, &[]).iter().any(|entry| entry["name"] == "s__echo"));
    verified(&gateway);
}

#[test]
fn the_trail_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let gateway = gateway("{}");
    Agent::modern(gateway.url()).tools();
    entries(&gateway, 1);
    let data = gateway.data_dir();
    let others = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o077;
    let kept = ["audit.db", "audit", "audit/head.json"].map(|name| data.join(name));
    let exported = gateway.folder().join("exported.jsonl");
    export(&gateway, &["--output", &exported.display().to_string()]);
    for path in kept.iter().chain(&files(&gateway)).chain([&exported]) {
        assert_eq!(others(path), 0, "{}", path.display());
    }
}
