//! Case 16: a pasted server description that runs something other than its command says.

use std::fs;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Builder, Gateway};
use portcullis_tests::http::Request;
use portcullis_tests::toolbox;
use serde_json::{Value, json};

use super::target::{config, fixture, state_of};

/// The value of every variable that is refused; it may be a credential, so nothing repeats it.
const SECRET: &str = "/tmp/never-printed-8842.so";

/// One poisoned server: a name, what it adds to an honest description, and the field that is named as wrong.
struct Poison {
    name: String,
    settings: Value,
    field: String,
}

fn poison(name: &str, settings: Value, field: &str) -> Poison {
    Poison { name: name.to_owned(), settings, field: field.to_owned() }
}

/// Descriptions that are refused in a native file and in an `mcpServers` file alike.
fn poisons() -> Vec<Poison> {
    let variables = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "DYLD_INSERT_LIBRARIES",
        "NODE_OPTIONS",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "BASH_ENV",
        "GIT_SSH_COMMAND",
        "PATH",
        "Path",
        "npm_config_registry",
        "Ld_Preload",
    ];
    let mut poisons: Vec<_> = variables
        .into_iter()
        .enumerate()
        .map(|(index, variable)| {
            let settings = json!({ "env": { variable: SECRET } });
            poison(&format!("variable-{index}"), settings, &format!("env.{variable}"))
        })
        .collect();
    poisons.extend([
        poison("name-assigns", json!({ "env": { "A=LD_PRELOAD": SECRET } }), "env"),
        poison("name-spaced", json!({ "env": { "LD_PRELOAD ": SECRET } }), "env"),
        poison("name-empty", json!({ "env": { "": SECRET } }), "env"),
        poison("name-nul", json!({ "env": { "A\0LD_PRELOAD": SECRET } }), "env"),
        poison("value-nul", json!({ "env": { "A": format!("x\0{SECRET}") } }), "env.A"),
        poison("argument-nul", json!({ "args": ["-c", "touch marker\0x"] }), "args[1]"),
        poison("program-nul", json!({ "command": "sh\0" }), "command"),
        poison("program-option", json!({ "command": "-c" }), "command"),
        poison("program-long-option", json!({ "command": "--exec=sh" }), "command"),
        poison("program-expanded", json!({ "command": "${PROGRAM_THAT_IS_AN_OPTION}" }), "command"),
        poison("program-empty", json!({ "command": "" }), "command"),
        poison("program-line", json!({ "command": "sh -c 'touch marker'" }), "command"),
        poison("folder-above", json!({ "cwd": "../.." }), "cwd"),
        poison("folder-detour", json!({ "cwd": "data/../../.." }), "cwd"),
        poison("folder-expanded", json!({ "cwd": "${FOLDER_THAT_ESCAPES}" }), "cwd"),
        poison("folder-nul", json!({ "cwd": "a\0b" }), "cwd"),
    ]);
    poisons
}

/// The description of a server that would leave a marker in the test's folder if it were started.
fn description(poison: &Poison, folder: &str) -> Value {
    let marker = format!("touch {folder}/marker-{}", poison.name);
    let mut server = json!({ "command": "sh", "args": ["-c", marker] });
    for (key, value) in poison.settings.as_object().into_iter().flatten() {
        server[key] = value.clone();
    }
    server
}

/// A file with one server a line, the honest one in the first; JSON is YAML.
fn lines(head: &str, poisons: &[Poison], folder: &str) -> String {
    let honest = json!({ "command": toolbox::fixture(), "args": ["--stdio"] });
    let mut text = format!("{head}\n\"honest\": {honest}");
    for poison in poisons {
        let server = description(poison, folder).to_string();
        text.extend([",\n\"", &poison.name, "\": ", &server]);
    }
    text + "\n}}\n"
}

fn gateway(builder: Builder) -> Gateway {
    builder.env("PROGRAM_THAT_IS_AN_OPTION", "-c").env("FOLDER_THAT_ESCAPES", "../../..").start()
}

/// Fails where a poisoned server was not refused with its file, line and field, or where anything was started.
fn assert_refused(gateway: &Gateway, file: &str, section: &str, poisons: &[Poison]) {
    let readiness = Request::get(&gateway.url_of("/readyz")).send().json();
    let checked = gateway.cli(&["check"]);
    let check = format!("{}{}", checked.stdout, checked.stderr);
    assert_eq!(checked.code(), Some(1), "{check}");
    let log = gateway.log();
    for (index, poison) in poisons.iter().enumerate() {
        let Poison { name, field, .. } = poison;
        let state = &readiness["servers"][name];
        assert_eq!(state["status"], "down", "{name}: {state}");
        let at = format!("{file}:{}:", index + 3);
        let named = format!("{section}.{name}.{field}");
        for text in [&log, &check] {
            let told = text
                .lines()
                .any(|line| line.contains(&at) && line.contains(&named) && line.contains("error"));
            assert!(told, "{name}: no line has {at} and {named} in:\n{text}");
        }
        assert!(state["reason"].to_string().contains(&named), "{name}: {state}");
    }
    for (what, text) in [("/readyz", readiness.to_string()), ("the log", log), ("check", check)] {
        assert!(!text.contains("never-printed"), "{what} prints a value: {text}");
    }
    assert_nothing_started(gateway);
    let answer = Agent::modern(gateway.url()).call("honest__test_simple_text", &json!({}));
    assert_eq!(answer["content"][0]["type"], "text", "the honest server works");
}

fn assert_nothing_started(gateway: &Gateway) {
    let entries = fs::read_dir(gateway.folder()).expect("the folder is there").flatten();
    let names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(!names.iter().any(|name| name.contains("marker")), "a program ran: {names:?}");
    let started = gateway.log().lines().filter(|line| line.contains("process started")).count();
    assert_eq!(started, 1, "only the honest server's process is started:\n{}", gateway.log());
}

/// In a native file every such description takes down its own server only, and nothing is started.
#[test]
fn case_16_a_native_file_cannot_inject() {
    let poisons = poisons();
    let folder = toolbox::scratch();
    let text = lines(r#"{"version": 1, "servers": {"#, &poisons, &folder.path().to_string_lossy());
    let gateway = gateway(Gateway::with(&text));
    assert_refused(&gateway, "portcullis.yaml", "servers", &poisons);
    assert_eq!(fs::read_dir(folder.path()).map(Iterator::count).ok(), Some(0), "a program ran");
}

/// The same in the files of other programs, which are the ones that are pasted.
#[test]
fn case_16_an_mcp_servers_file_cannot_inject() {
    let poisons = poisons();
    let folder = toolbox::scratch();
    let text = lines(r#"{"mcpServers": {"#, &poisons, &folder.path().to_string_lossy());
    let builder = Gateway::with("version: 1").file("mcp.json", &text).config_path("mcp.json");
    let gateway = gateway(builder);
    assert_refused(&gateway, "mcp.json", "mcpServers", &poisons);
    assert_eq!(fs::read_dir(folder.path()).map(Iterator::count).ok(), Some(0), "a program ran");
}

/// A command given as one list is held to the same.
#[test]
fn case_16_a_command_line_cannot_inject() {
    let text = "{\"version\": 1, \"servers\": {\n\"option\": {\"command\": [\"--exec\", \"x\"]},\n\
        \"nul\": {\"command\": [\"sh\", \"-c\", \"a\\u0000b\"]},\n\"empty\": {\"command\": []},\n\
        \"expanded\": {\"command\": [\"${PROGRAM_THAT_IS_AN_OPTION}\", \"x\"]}\n}}\n";
    let gateway = gateway(Gateway::with(text));
    let expected = [
        ("option", 2, "command[0]"),
        ("nul", 3, "command[2]"),
        ("empty", 4, "command"),
        ("expanded", 5, "command[0]"),
    ];
    for (server, line, field) in expected {
        assert_eq!(state_of(&gateway, server)["status"], "down");
        let (at, named) = (format!("portcullis.yaml:{line}:"), format!("servers.{server}.{field}"));
        let log = gateway.log();
        assert!(log.lines().any(|line| line.contains(&at) && line.contains(&named)), "{server}: {log}");
    }
    assert!(!gateway.log().contains("process started"));
}

/// `allow_env` permits what it names, to its own server, in a native file; an `mcpServers` file cannot permit itself.
#[test]
fn case_16_a_variable_is_permitted_knowingly() {
    let permitted = |allowed: &str| {
        let mut server = fixture();
        server["env"] = json!({ "NODE_OPTIONS": "--permitted" });
        server["allow_env"] = json!([allowed]);
        server
    };
    let servers = json!({ "yes": permitted("NODE_OPTIONS"), "other": permitted("LD_PRELOAD"), "case": permitted("node_options") });
    let gateway = Gateway::start(&config(&servers));
    let answer = Agent::modern(gateway.url()).call("yes__env", &json!({ "name": "NODE_OPTIONS" }));
    assert_eq!(answer["structuredContent"]["value"], "--permitted");
    assert_eq!(state_of(&gateway, "other")["status"], "down");
    assert_eq!(state_of(&gateway, "case")["status"], "down");
    assert!(!gateway.log().contains("--permitted"), "{}", gateway.log());

    let mut pasted = json!({ "command": toolbox::fixture(), "args": ["--stdio"] });
    pasted["env"] = json!({ "NODE_OPTIONS": "--permitted" });
    pasted["allow_env"] = json!(["NODE_OPTIONS"]);
    let text = json!({ "mcpServers": { "pasted": pasted } }).to_string();
    let gateway = Gateway::with("version: 1").file("mcp.json", &text).config_path("mcp.json").start();
    assert_eq!(state_of(&gateway, "pasted")["status"], "down");
}

/// A server gets none of the gateway's own variables, whatever its description does not mention.
#[test]
fn case_16_the_gateways_own_environment_stays_its_own() {
    let builder = Gateway::with(&config(&json!({ "up": fixture() })));
    let builder = builder.env("NODE_OPTIONS", "--inherited").env("LD_LIBRARY_PATH", "/inherited");
    let gateway = builder.env("PORTCULLIS_ADMIN_KEY", "inherited").start();
    let agent = Agent::modern(gateway.url());
    for name in [
        "NODE_OPTIONS",
        "LD_LIBRARY_PATH",
        "PORTCULLIS_ADMIN_KEY",
        "PORTCULLIS_CONFIG",
        "PORTCULLIS_SEAL_KEY",
    ] {
        let answer = agent.call("up__env", &json!({ "name": name }));
        assert_eq!(answer["structuredContent"]["value"], Value::Null, "{name}");
    }
}
