//! What people do at the console, in a real browser, before the real gateway; and what they take from it to their clients, which
//! works there.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use portcullis_tests::client::{Client, Step};
use portcullis_tests::gateway::{Gateway, Host};
use portcullis_tests::http::Request;
use portcullis_tests::process::{self, Finished};
use portcullis_tests::provider::Provider;
use portcullis_tests::scenario::demo;
use portcullis_tests::stand_in::StandIn;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

const KEY: &str = "the-admin-key-of-this-test";
const PATIENCE: Duration = Duration::from_mins(4);

/// Has somebody do something at the console of a gateway; returns what they saw.
fn browse(journey: &str, url: &str, who: &[&str]) -> Value {
    let mut command = Command::new(toolbox::node());
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/browser/console.mjs"))
        .args([journey, "--url", url.trim_end_matches('/')])
        .args(who)
        .args(if Host::chosen() == Host::Local { &[][..] } else { &["--rests", "yes"] })
        .arg("--chromium")
        .arg(toolbox::chromium())
        .arg("--packages")
        .arg(toolbox::browser_modules().parent().expect("modules lie in a folder"))
        .env("NODE_PATH", toolbox::node_modules());
    let told = process::run(command, &[], PATIENCE);
    assert!(told.status.success(), "{journey}: {}{}", told.stdout, told.stderr);
    serde_json::from_str(&told.stdout).expect("a line of JSON")
}

/// Starts a gateway that is configured by its console, with this configuration in force; `ORIGIN` in it is where it is.
fn governed(config: &str) -> Gateway {
    let gateway =
        Gateway::with("").configured_remotely().governing().env("PORTCULLIS_ADMIN_KEY", KEY).start();
    let pushed = Request::new("PUT", &gateway.url_of("/admin/v1/config"))
        .header("Authorization", format!("Bearer {KEY}"))
        .header("If-None-Match", "*")
        .json(&json!({ "files": { "portcullis.yaml": config.replace("ORIGIN", &gateway.url_of("")) } }))
        .send();
    assert!(pushed.status < 300, "{}", pushed.text());
    gateway
}

/// A configuration with the demo as its server.
fn before_demo(rest: &str) -> String {
    format!("version: 1\n# What a coder may reach.\nservers:\n  demo: {}\n{rest}", demo())
}

const CODER: &str = "agents:\n  coder: { allow: ['*'] }\n  default: { deny: ['*'] }\n";

/// A configuration without a server.
const CODER_ALONE: &str = "version: 1\nagents:\n  coder: { allow: ['*'] }\n";

/// Returns the texts that a client is told.
fn told<'v>(clients: &'v Value, name: &str) -> Vec<&'v str> {
    let texts = clients[name].as_array().map(Vec::as_slice).unwrap_or_default();
    texts.iter().map(|told| told["text"].as_str().expect("a text")).collect()
}

/// Asks for the tools with the URL and the header that a client is told, in a file or on a command line.
fn tools_by(text: &str) -> Value {
    let words: Vec<_> = text.split(['"', ' ']).filter(|word| !word.is_empty()).collect();
    let url = words.iter().find(|word| word.starts_with("http://")).expect("a URL");
    let at = words.iter().position(|word| *word == "Bearer").expect("a header");
    assert_eq!(
        Request::new("POST", url).json(&json!({})).send().status,
        401,
        "the header is what lets it in"
    );
    let header = format!("Authorization: Bearer {}", words[at + 1]);
    Client::TsV1.run_with(url, &[&header], &[Step::ListTools]).result(0)["tools"].clone()
}

/// Starts a server as the configuration of Claude Desktop says, and asks it for the tools.
fn tools_of_program(text: &str) -> String {
    let said: Value = serde_json::from_str(text).expect("JSON");
    let server = &said["mcpServers"]["portcullis"];
    let words: Vec<_> = server["args"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!((server["command"].as_str(), &words[..2]), (Some("npx"), &["-y", "mcp-remote"][..]));
    let state = toolbox::scratch();
    let mut program = Command::new(toolbox::node())
        .arg(toolbox::node_module("mcp-remote/dist/proxy.js"))
        .args(&words[2..])
        .env("AUTHORIZATION", server["env"]["AUTHORIZATION"].as_str().expect("a text"))
        .env("MCP_REMOTE_CONFIG_DIR", state.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("node runs");
    let (sender, lines) = mpsc::channel();
    let output = BufReader::new(program.stdout.take().expect("it was asked for"));
    thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut input = program.stdin.take().expect("it was asked for");
    let client = json!({ "name": "desktop", "version": "1" });
    let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client });
    let mut ask = |message: Value| writeln!(input, "{message}").expect("it listens");
    ask(json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello }));
    let answered = lines.recv_timeout(PATIENCE).expect("an answer");
    assert!(answered.contains("\"result\""), "{answered}");
    ask(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    ask(json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }));
    let listed = lines.recv_timeout(PATIENCE).expect("an answer");
    program.kill().expect("it runs");
    program.wait().expect("it has ended");
    listed
}

#[test]
fn what_a_client_is_told_connects_it() {
    let gateway = governed(&before_demo(
        "auth: { required: true }\nagents:\n  coder: { allow: [demo/echo] }\n  default: { deny: ['*'] }\n",
    ));
    let clients = browse("snippets", &gateway.url_of(""), &["--key", KEY]);
    for name in ["Claude Code", "Cursor", "VS Code", "Gemini CLI"] {
        let texts = told(&clients, name);
        assert!(!texts.is_empty(), "{name}: {clients}");
        for text in texts {
            let tools = tools_by(text);
            let names: Vec<_> = tools.as_array().expect("a list").iter().map(|tool| &tool["name"]).collect();
            assert_eq!(names, ["demo__echo"], "{name}");
        }
    }
    assert_eq!(told(&clients, "ChatGPT"), [gateway.url_of("/mcp")]);
    let [desktop] = told(&clients, "Claude Desktop")[..] else { panic!("one file: {clients}") };
    assert!(tools_of_program(desktop).contains("demo__echo"));
    let here = toolbox::scratch();
    std::os::unix::fs::symlink(toolbox::node_modules(), here.path().join("node_modules"))
        .expect("a link can be made");
    for (name, file, program) in
        [("Python", "agent.py", toolbox::python()), ("TypeScript", "agent.mjs", toolbox::node())]
    {
        let [text] = told(&clients, name)[..] else { panic!("one program: {clients}") };
        fs::write(here.path().join(file), text).expect("a file can be written");
        let mut command = Command::new(program);
        command.arg(file).current_dir(here.path());
        let Finished { status, stdout, stderr } = process::run(command, &[], PATIENCE);
        assert!(status.success() && stdout.trim() == "demo__echo", "{name}: {stdout}{stderr}");
    }
}

#[test]
fn a_role_is_offered_what_it_may_do() {
    let roles = json!({ "auditor": [{ "claim": { "groups": "all" } }] });
    let console = json!({ "sign_in": true, "roles": roles, "members": true });
    let front = StandIn::governed(Provider::with_pages_behind, &console);
    let seen = browse("offered", &front.origin, &["--person", "ann"]);
    let pages: Vec<_> = seen.as_object().expect("pages").keys().collect();
    assert!(pages.iter().any(|page| *page == "Audit"), "an auditor reads the trail: {seen}");
    for (page, verb) in [("Keys", "New key"), ("Secrets", "New secret"), ("Connect a client", "Make a key")] {
        let buttons = seen[page].to_string();
        assert!(seen[page].is_array() && !buttons.contains(verb), "an auditor changes nothing: {seen}");
    }
    let seen = browse("offered", &front.origin, &["--person", "bob"]);
    for page in ["Audit", "Secrets", "Configuration", "Approvals"] {
        assert!(seen.get(page).is_none(), "{page} is not a member's: {seen}");
    }
    assert!(seen["Keys"].to_string().contains("New key"), "their own keys are: {seen}");
    assert!(seen["Your activity"].is_array(), "what they did is: {seen}");
    assert!(!seen["Your activity"].to_string().contains("Verify"), "the chain is not: {seen}");
}

#[test]
fn who_changes_a_rule_sees_what_comes_of_it_at_a_connected_client() {
    let gateway = governed(&before_demo(CODER));
    let seen = browse("write", &gateway.url_of(""), &["--key", KEY]);
    assert_eq!(seen["refused"], true, "what is not seen cannot be called: {seen}");
    assert!(seen["why"].as_str().is_some_and(|why| why.contains("demo/add")), "{seen}");
    let config = Request::get(&gateway.url_of("/admin/v1/config"));
    let config = config.header("Authorization", format!("Bearer {KEY}")).send().json();
    assert_eq!(
        config["version"], 4,
        "each change was a version, the approval and the way back too: {config}"
    );
    assert_eq!(config["files"]["portcullis.yaml"], before_demo(CODER));
}

#[test]
fn who_governs_by_forms_sees_what_comes_of_it_at_a_connected_client() {
    let gateway = governed(&before_demo(CODER));
    let server = demo();
    let server = match server["url"].as_str() {
        Some(url) => ["--at", url].map(str::to_owned),
        None => ["--command".to_owned(), format!("'{}' demo", toolbox::gateway().display())],
    };
    let seen = browse("govern", &gateway.url_of(""), &["--key", KEY, &server[0], &server[1]]);
    assert_eq!(seen["refused"], true, "what is not seen cannot be called: {seen}");
    assert!(seen["answer"].as_str().is_some_and(|said| said.contains("hello from the console")), "{seen}");
    assert!(seen["tried"].as_str().is_some_and(|said| said.contains("tried at the console")), "{seen}");
    let description = seen["told"].as_str().expect("a description");
    assert!(description.ends_with("For the shop only."), "{seen}");
    let preview: Value =
        seen["preview"].as_str().and_then(|said| serde_json::from_str(said).ok()).expect("JSON");
    assert_eq!(preview["description"], description, "what was shown before is what the client sees");
    let asked = |path: &str| {
        let asked = Request::get(&gateway.url_of(path)).header("Authorization", format!("Bearer {KEY}"));
        asked.send().json()
    };
    let newest = asked("/admin/v1/config");
    assert_eq!(
        newest["version"], 6,
        "each change was a version, the approval and the way back too: {newest}"
    );
    let before = asked("/admin/v1/config/versions/4");
    let text = before["files"]["portcullis.yaml"].as_str().expect("a text");
    assert!(
        text.contains("# What a coder may reach.") && text.contains("shout"),
        "what people wrote stays: {text}"
    );
}

#[test]
fn who_connects_an_account_sees_what_it_offers_at_a_connected_client() {
    let granting = Provider::with_pages();
    let server = Upstream::protected(2, granting.issuer());
    // Where the gateway cannot know by itself how it is reached, people could be led anywhere.
    let config = format!("{CODER_ALONE}gateway: {{ public_url: 'ORIGIN' }}\n");
    let gateway = governed(&config);
    let seen = browse("connect", &gateway.url_of(""), &["--key", KEY, "--at", server.url()]);
    let own = format!("ann of {}", granting.issuer());
    assert!(seen["answer"].as_str().is_some_and(|said| said.contains(&own)), "{seen}");
}

/// A server that its makers publish as a package and offer at a URL, where this is its configuration; as a registry says it.
fn offered(package: (&str, &str), server: &Value) -> (Gateway, Value) {
    let config = json!({ "version": 1, "gateway": { "naming": "none" }, "servers": { "files": server } });
    let there = Gateway::with(&config.to_string()).on(Host::Local).start();
    let (name, version) = package;
    let entry = json!({
        "name": "com.example/files", "version": "1.0.0", "description": "Reads and writes the files of a folder",
        "remotes": [{ "type": "streamable-http", "url": there.url() }],
        "packages": [{ "registryType": "npm", "identifier": name, "version": version, "transport": { "type": "stdio" } }],
    });
    (there, entry)
}

#[test]
fn who_approves_what_was_evaluated_sees_it_at_a_connected_client() {
    let (here, given) = (toolbox::scratch(), toolbox::scratch());
    let given = given.path().canonicalize().expect("the folder is there").display().to_string();
    let package @ (name, version) = ("@modelcontextprotocol/server-filesystem", "2026.8.31");
    let script = toolbox::node_module(&format!("{name}/dist/index.js"));
    let (_there, entry) = offered(package, &json!({ "command": [toolbox::node(), script, given] }));
    let host = json!({ "npm": format!("{name}@{version}") });
    let servers = json!({ "files": { "args": [given], "host": host } });
    let config = json!({ "version": 1, "servers": servers });
    fs::write(here.path().join("portcullis.yaml"), config.to_string()).expect("a file can be written");
    let at = |name: &str| here.path().join(name).display().to_string();
    let (config, data) = (at("portcullis.yaml"), at("data"));
    let setup = ["--config", &config, "--data-dir", &data];
    let mut prepare = Command::new(toolbox::gateway());
    prepare.args(["host", "prepare"]).args(setup);
    let prepared = process::run(prepare, &[], PATIENCE);
    assert!(prepared.status.success(), "{}", prepared.stderr);
    let gateway = governed(&format!("{CODER_ALONE}registry: {{ require_evaluation: true }}\n"));
    let url = gateway.url_of("");
    let program = toolbox::gateway().display().to_string();
    let evaluate =
        json!([&[&program, "evaluate", "files", "--url", url.trim_end_matches('/')], &setup[..]].concat());
    let (entry, evaluate) = (entry.to_string(), evaluate.to_string());
    let seen = browse("evaluate", &url, &["--key", KEY, "--entry", &entry, "--evaluate", &evaluate]);
    let text = |name: &str| seen[name].as_str().unwrap_or_default().to_owned();
    assert!(text("refused").contains("was not evaluated"), "{seen}");
    assert!(text("verdict").starts_with("trustworthy, evaluated"), "{seen}");
    let report = text("report");
    assert!(
        report.contains("Nothing was found that speaks against it") && report.contains("least"),
        "{seen}"
    );
    assert_eq!(seen["held"], json!([]), "nothing is served before its definitions are approved");
    assert!(text("answer").contains(&given), "{seen}");
}

#[test]
fn the_keyboard_is_enough() {
    let gateway = governed(CODER_ALONE);
    let seen = browse("keyboard", &gateway.url_of(""), &["--key", KEY]);
    assert_eq!(seen, json!({ "first": "Skip to the page", "next": "New key", "within": true }));
}
