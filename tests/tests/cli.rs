//! The command line: exit codes, what is printed for people and for machines, and what is refused.

use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::hostile::{Done, Hostile};
use portcullis_tests::process::{Background, Finished, run};
use portcullis_tests::scenario::{stdio_fixture, text};
use portcullis_tests::toolbox;
use portcullis_tests::wait::PATIENCE;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with these files, in which commands are run.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = toolbox::scratch();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).expect("the test's folder can be written to");
    }
    folder
}

/// The program in this folder, with nothing of the tester's own settings.
fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(toolbox::gateway());
    command.args(arguments).current_dir(folder).env("PORTCULLIS_DATA_DIR", folder.join("data"));
    for name in ["PORTCULLIS_CONFIG", "PORTCULLIS_LISTEN", "PORTCULLIS_SEAL_KEY", "PORTCULLIS_LOG"] {
        command.env_remove(name);
    }
    command.env("NO_PROXY", "127.0.0.1,localhost");
    command
}

fn cli(folder: &TempDir, arguments: &[&str]) -> Finished {
    run(program(folder.path(), arguments), b"", PATIENCE)
}

fn parsed(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error} in {}", finished.stdout))
}

/// A native configuration of one fixture server.
fn one_fixture() -> String {
    format!("version: 1\nservers:\n  s: {}\n", stdio_fixture(&[]))
}

const WRONG: &str = "version: 1
servers:
  a:
    comand: [x]
  b: { url: 'ftp://x' }
gateway: { page_size: many }
";

#[test]
fn check_says_what_is_wrong_where_and_what_was_expected() {
    let folder = folder(&[("portcullis.yaml", WRONG)]);
    let checked = cli(&folder, &["check"]);
    assert_eq!(checked.code(), Some(1));
    let said = format!("{}{}", checked.stdout, checked.stderr);
    for (place, field, expectation) in [
        ("portcullis.yaml:4:5:", "servers.a.comand", "command"),
        ("portcullis.yaml:5:13:", "servers.b.url", "http"),
        ("portcullis.yaml:6:23:", "gateway.page_size", "whole number"),
    ] {
        let line = said.lines().find(|line| line.contains(place));
        let line = line.unwrap_or_else(|| panic!("nothing about {place} in {said}"));
        assert!(line.contains(field) && line.contains(expectation), "{line}");
    }
    let checked = cli(&folder, &["check", "--json"]);
    assert_eq!(checked.code(), Some(1));
    let problems = parsed(&checked)["problems"].take();
    let first = &problems[0];
    assert_eq!((&first["line"], &first["column"]), (&json!(4), &json!(5)), "{first}");
    assert_eq!((&first["field"], &first["severity"]), (&json!("servers.a.comand"), &json!("error")));
    assert_eq!(problems.as_array().map(Vec::len), Some(3));
}

#[test]
fn check_is_content_with_what_is_right() {
    let folder =
        folder(&[("portcullis.yaml", &one_fixture()), ("other.yaml", "version: 2\n"), ("text.yaml", "a: [")]);
    let checked = cli(&folder, &["check"]);
    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
    let checked = cli(&folder, &["check", "--json", "--config", "portcullis.yaml"]);
    assert_eq!(parsed(&checked)["servers"], json!(["s"]));
    for wrong in ["other.yaml", "text.yaml", "missing.yaml"] {
        let checked = cli(&folder, &["check", "--config", wrong]);
        assert_eq!(checked.code(), Some(1), "{wrong}");
        assert!(checked.stderr.contains(wrong), "{}", checked.stderr);
    }
}

#[test]
fn what_is_no_command_is_a_usage_error() {
    let folder = folder(&[]);
    for arguments in [
        &["frob"][..],
        &["check", "--no-such-option"],
        &["call"],
        &["call", "s__echo", "--args", "{"],
        &["call", "s__echo", "--args", "[1]"],
        &["serve", "--listen", "nowhere"],
        &["import", "--output"],
    ] {
        let finished = cli(&folder, arguments);
        assert_eq!(finished.code(), Some(2), "{arguments:?}: {}", finished.stderr);
        assert!(!finished.stderr.is_empty() && finished.stdout.is_empty(), "{arguments:?}");
    }
    assert_eq!(cli(&folder, &["--version"]).code(), Some(0));
    for command in ["serve", "stdio", "check", "import", "tools", "call", "explain"] {
        let help = cli(&folder, &[command, "--help"]);
        assert_eq!(help.code(), Some(0));
        assert!(help.stdout.contains("Example"), "{command} --help has no example: {}", help.stdout);
    }
}

#[test]
fn tools_and_call_work_without_a_gateway_that_runs() {
    let folder = folder(&[("portcullis.yaml", &one_fixture())]);
    let listed = cli(&folder, &["tools"]);
    assert_eq!(listed.code(), Some(0), "{}", listed.stderr);
    assert!(listed.stdout.lines().any(|line| line.starts_with("s__echo ")), "{}", listed.stdout);
    let listed = parsed(&cli(&folder, &["tools", "--json"]));
    assert!(listed.as_array().is_some_and(|tools| tools.len() > 50), "{listed}");
    let called = cli(&folder, &["call", "s__greet", "--args", "{\"name\": \"Ada\"}"]);
    assert_eq!((called.code(), called.stdout.as_str()), (Some(0), "Hello, Ada!\n"));
    let called = parsed(&cli(&folder, &["call", "s__greet", "--args", "{\"name\": \"Ada\"}", "--json"]));
    assert_eq!(text(&called), "Hello, Ada!");
    let failed = cli(&folder, &["call", "s__test_error_handling"]);
    assert_eq!(failed.code(), Some(1), "a tool that fails");
    assert!(failed.stdout.contains("intentionally"), "{}", failed.stdout);
    let unknown = cli(&folder, &["call", "s__nothing"]);
    assert_eq!(unknown.code(), Some(1));
    assert!(unknown.stderr.contains("s__nothing"), "{}", unknown.stderr);
}

#[test]
fn tools_and_call_work_with_a_gateway_that_runs() {
    let gateway = Gateway::start(&one_fixture());
    let listed = gateway.cli(&["tools", "--json", "--url", gateway.url()]);
    assert_eq!(listed.code(), Some(0), "{}", listed.stderr);
    assert!(parsed(&listed).as_array().is_some_and(|tools| tools.len() > 50));
    let count = || gateway.cli(&["call", "s__count", "--url", gateway.url()]).stdout;
    assert_eq!((count(), count()), ("1\n".to_owned(), "2\n".to_owned()), "one server counts");
    let nobody = format!("http://127.0.0.1:{}/mcp", portcullis_tests::upstream::free_port());
    let failed = gateway.cli(&["tools", "--url", &nobody]);
    assert_eq!(failed.code(), Some(1));
    assert!(
        failed.stderr.contains(nobody.trim_end_matches("/mcp").trim_start_matches("http://")),
        "{}",
        failed.stderr
    );
}

#[test]
fn output_for_machines_keeps_every_number() {
    let folder = folder(&[("portcullis.yaml", &one_fixture())]);
    let called = cli(&folder, &["call", "s__big_numbers", "--json"]);
    for number in ["123456789012345678901234567890", "1e400", "1.10"] {
        assert!(called.stdout.contains(number), "no {number} in {}", called.stdout);
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_reason_to_panic() {
    let folder = folder(&[("portcullis.yaml", &one_fixture())]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" tools --json | true"]).arg(toolbox::gateway()).current_dir(folder.path());
    shell.env("PORTCULLIS_DATA_DIR", folder.path().join("data"));
    let finished = run(shell, b"", PATIENCE);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

#[test]
fn a_key_is_made_and_revoked_where_the_configuration_has_errors() {
    let folder = folder(&[("portcullis.yaml", WRONG)]);
    let made = cli(&folder, &["keys", "create", "--agent", "a", "--json"]);
    assert!(made.stderr.contains("portcullis.yaml has errors, so whether"), "{}", made.stderr);
    assert!(!made.stderr.contains("names no agent"), "{}", made.stderr);
    let id = parsed(&made)["id"].as_str().expect("a key has an id").to_owned();
    for _ in 0..2 {
        let revoked = cli(&folder, &["keys", "revoke", &id, "--json"]);
        let json = parsed(&revoked);
        assert_eq!((&json["id"], &json["state"]), (&json!(id), &json!("revoked")), "{json}");
    }
    assert_eq!(cli(&folder, &["keys", "revoke", "none", "--json"]).code(), Some(1));
    assert!(cli(&folder, &["keys", "--help"]).stdout.contains("keys create --agent coder"));
}

#[test]
fn the_schema_describes_the_native_file() {
    let folder = folder(&[]);
    let schema = parsed(&cli(&folder, &["schema"]));
    assert!(schema["properties"]["servers"].is_object(), "{schema}");
    assert!(schema["properties"]["gateway"].is_object(), "{schema}");
}

/// A configuration of one server, which is the fixture, with a policy.
fn with_policy() -> String {
    policy_of(&stdio_fixture(&[]))
}

fn policy_of(server: &Value) -> String {
    format!(
        "version: 1\nservers:\n  s: {server}\ngroups: {{ g: {{ s: [greet] }} }}
variants:
  s:
    hail: {{ from: greet, arguments: {{ name: {{ enum: [Ada] }} }} }}
agents:
  a:
    match: [{{ client: Cursor }}]
    allow: [g, s/hail, s/ecko, {{ on: s/count, when: 'args.n == 1' }}]
    limits: {{ rate: 60/m, tools: {{ s/greet: {{ timeout: 5s }} }} }}
"
    )
}

#[test]
fn explain_says_what_is_decided_and_by_which_rule() {
    let folder = folder(&[("portcullis.yaml", &with_policy())]);
    let explain = |code: i32, arguments: &[&str]| {
        let explained = cli(&folder, &[&["explain"], arguments].concat());
        assert_eq!(explained.code(), Some(code), "{arguments:?}: {}{}", explained.stdout, explained.stderr);
        explained
    };
    let allowed = explain(0, &["--as", "a", "s__greet"]).stdout;
    for line in [
        "s__greet: allowed",
        "  because      allowed by `g` (portcullis.yaml:11: agents.a.allow[0])",
        "  leads to     greet of server s",
        "  asked by     agent a (portcullis.yaml:9: agents.a)",
        "  limit        everything that agent a does: 60/m (portcullis.yaml:9: agents.a)",
        "  limit        this, by agent a: 5s each (portcullis.yaml:12: agents.a.limits.tools.\"s/greet\")",
    ] {
        assert!(allowed.lines().any(|said| said == line), "no {line:?} in\n{allowed}");
    }
    let variant = explain(0, &["--client", "cursor-vscode", "s/hail"]).stdout;
    assert!(
        variant.contains("\n  variant      hail of greet (portcullis.yaml:7: variants.s.hail)\n"),
        "{variant}"
    );
    let unfit = explain(1, &["--as", "a", "s/hail", "--args", r#"{"name": "Eve"}"#]).stdout;
    assert!(unfit.starts_with("s__hail: allowed, but not with these arguments\n"), "{unfit}");
    let denied = explain(1, &["--as", "a", "s__echo"]).stdout;
    assert!(denied.contains("no rule of agent a allows it (portcullis.yaml:9: agents.a)"), "{denied}");
    let nothing = explain(1, &["--as", "a", "s__eco"]).stdout;
    assert!(
        nothing.contains("nothing has this name\n  like         s__echo, which this agent does not see\n"),
        "{nothing}"
    );
    explain(0, &["--as", "a", "s__count"]);
    explain(1, &["--as", "a", "s__count", "--args", "{}"]);
    let json = parsed(&explain(0, &["--as", "a", "s__count", "--args", r#"{"n": 1}"#, "--json"]));
    assert_eq!((&json["decision"], &json["line"]), (&json!("allowed"), &json!(11)), "{json}");
    assert_eq!(json["rules"][0]["comes_to"], "holds", "{json}");
    assert!(
        explain(2, &["--as", "b", "s__echo"]).stderr.contains("no agent is called \"b\"; agents: a, default")
    );
    explain(2, &["--as", "a"]);
    explain(2, &["s__echo", "--prompt", "x"]);
}

#[test]
fn what_a_server_calls_its_things_does_nothing_to_the_terminal_of_who_asks() {
    const NAME: &str = "wipe\u{1b}[2J\u{9b}1A\u{202e}\nok";
    let server = Hostile::modern(|exchange| {
        if exchange.method() != "tools/list" {
            return Ok(Done::Behave);
        }
        let mut page = exchange.fine();
        page["tools"] = json!([{ "name": NAME, "inputSchema": { "type": "object" } }]);
        exchange.result(&page)?;
        Ok(Done::Answered)
    });
    let config = format!("version: 1\nservers:\n  s: {{ url: '{}' }}\n", server.url());
    let folder = folder(&[("portcullis.yaml", &config)]);
    for name in [format!("s/{NAME}"), format!("s/{NAME}x")] {
        let explained = cli(&folder, &["explain", &name]);
        let said = explained.stdout;
        assert!(said.contains("wipe\\u001b[2J\\u009b1A\\u202e\\u000aok"), "{said:?}{}", explained.stderr);
        assert!(!said.contains(['\u{1b}', '\u{9b}', '\u{202e}']) && !said.contains("\nok"), "{said:?}");
    }
    let unknown = cli(&folder, &["explain", "--as", "\u{1b}[2J", "s__x"]);
    assert!(unknown.code() == Some(2) && !unknown.stderr.contains('\u{1b}'), "{:?}", unknown.stderr);
}

#[test]
fn check_tries_a_policy_on_cases_without_its_servers() {
    let policy = policy_of(&json!({ "command": ["no-such-program"] }));
    let right =
        "- { agent: a, call: s/greet, expect: allowed, rule: g }\n- { call: s__greet, expect: denied }\n";
    let wrong = format!("{right}- {{ agent: a, call: s/count,\n    args: {{ n: 2 }}, expect: allowed }}\n");
    let odd = format!("{right}- {{ agent: a, call: s/count }}\n");
    let folder = folder(&[
        ("portcullis.yaml", &policy),
        ("right.yaml", right),
        ("wrong.yaml", &wrong),
        ("odd.yaml", &odd),
        ("empty.json", "[]"),
    ]);
    let check = |file| cli(&folder, &["check", "--cases", file]);
    let passed = check("right.yaml");
    assert_eq!(passed.code(), Some(0), "{}", passed.stderr);
    assert!(passed.stdout.ends_with("\nright.yaml: 2 of 2 cases passed\n"), "{}", passed.stdout);
    let failed = check("wrong.yaml");
    assert_eq!(failed.code(), Some(1));
    assert_eq!(
        failed.stderr,
        "wrong.yaml:3:3: error: [2]: s/count by agent a: expected allowed, but it is denied: the condition of `s/count` \
         does not hold (portcullis.yaml:11: agents.a.allow[3])\n"
    );
    assert!(failed.stdout.ends_with("\nwrong.yaml: 2 of 3 cases passed\n"), "{}", failed.stdout);
    for (file, why) in [("odd.yaml", "`expect` is missing"), ("empty.json", "there is no case")] {
        let checked = check(file);
        assert_eq!(checked.code(), Some(1), "{file}");
        assert!(checked.stderr.contains(why), "{}", checked.stderr);
    }
    let json = parsed(&cli(&folder, &["check", "--cases", "wrong.yaml", "--json"]));
    assert_eq!(
        (&json["cases"]["passed"], &json["cases"]["problems"][0]["line"]),
        (&json!(2), &json!(3)),
        "{json}"
    );
    assert_eq!(check("missing.yaml").code(), Some(1));
    fs::write(folder.path().join("portcullis.yaml"), WRONG).expect("the test's folder can be written to");
    let refused = check("right.yaml");
    assert_eq!(refused.code(), Some(1));
    assert!(
        refused.stdout.ends_with("\nright.yaml: not tried, as the configuration has errors\n"),
        "{}",
        refused.stdout
    );
    let json = parsed(&cli(&folder, &["check", "--cases", "right.yaml", "--json"]));
    assert_eq!(json["cases"], json!({ "tried": false }), "{json}");
}

#[test]
fn names_that_no_server_offers_are_warned_of() {
    let folder = folder(&[("portcullis.yaml", &with_policy())]);
    let report = cli(&folder, &["doctor", "--listen", "127.0.0.1:0"]);
    let said = "warning  policy: portcullis.yaml:11: agents.a.allow[2]: no server offers `s/ecko`\n         -> did you mean `echo`?\n";
    assert!(report.stdout.contains(said), "{}", report.stdout);
    let gateway = Gateway::start(&with_policy());
    let said = || gateway.log().matches("no server offers `s/ecko`").count();
    portcullis_tests::wait::expect("a warning", || said() > 0);
    assert_eq!(said(), 1);
}

/// The same two servers as three programs write them.
fn foreign_files() -> [(&'static str, Value); 3] {
    let servers = json!({
        "time": { "command": "sh", "args": ["-c", "a b", "--x=$y"], "env": { "TZ": "UTC" } },
        "remote": { "url": "https://mcp.example.com/mcp", "headers": { "X-Team": "a: b" } }
    });
    let mut typed = servers.clone();
    typed["time"]["type"] = json!("stdio");
    typed["remote"]["type"] = json!("http");
    [
        ("claude_desktop_config.json", json!({ "mcpServers": typed, "globalShortcut": "Ctrl+Space" })),
        ("mcp.json", json!({ "mcpServers": servers })),
        ("vscode.json", json!({ "servers": typed, "inputs": [] })),
    ]
}

#[test]
fn imported_files_are_right_and_say_the_same() {
    for (name, file) in foreign_files() {
        let folder = folder(&[(name, &file.to_string())]);
        let printed = cli(&folder, &["import", name]);
        assert_eq!(printed.code(), Some(0), "{name}: {}", printed.stderr);
        let written = cli(&folder, &["import", name, "--output", "portcullis.yaml"]);
        assert_eq!(written.code(), Some(0), "{name}: {}", written.stderr);
        let yaml = fs::read_to_string(folder.path().join("portcullis.yaml")).expect("it was written");
        assert_eq!(yaml, printed.stdout);
        let checked = cli(&folder, &["check", "--config", "portcullis.yaml", "--json"]);
        assert_eq!(checked.code(), Some(0), "{name}: {}", checked.stdout);
        assert_eq!(parsed(&checked)["servers"], json!(["remote", "time"]), "{name}");
        assert_eq!(parsed(&checked)["problems"], json!([]), "{name}");
        for part in ["a b", "--x=$y", "TZ", "UTC", "https://mcp.example.com/mcp", "X-Team", "a: b"] {
            assert!(yaml.contains(part), "{name}: no {part:?} in {yaml}");
        }
        let again = cli(&folder, &["import", name, "--output", "portcullis.yaml"]);
        assert_eq!(again.code(), Some(1), "a file that is there is kept");
    }
}

#[test]
fn importing_nothing_writes_a_file_in_which_nobody_may_do_anything() {
    let folder = folder(&[]);
    let printed = cli(&folder, &["import"]);
    assert_eq!(printed.code(), Some(0), "{}", printed.stderr);
    assert_eq!(cli(&folder, &["import", "--output", "portcullis.yaml"]).code(), Some(0));
    let yaml = fs::read_to_string(folder.path().join("portcullis.yaml")).expect("it was written");
    assert_eq!(yaml, printed.stdout);
    let checked = cli(&folder, &["check", "--json"]);
    assert_eq!((checked.code(), &parsed(&checked)["problems"]), (Some(0), &json!([])));
    assert!(yaml.contains("required: true") && yaml.contains("deny: [\"*\"]"), "{yaml}");
    assert_eq!(cli(&folder, &["import", "--output", "portcullis.yaml"]).code(), Some(1), "a file is kept");
}

#[test]
fn what_cannot_be_imported_is_named() {
    let servers = json!({
        "good": { "command": "true" },
        "asks": { "command": "x", "env": { "KEY": "${input:key}" } }
    });
    let file = json!({ "inputs": [{ "id": "key", "type": "promptString" }], "servers": servers });
    let folder = folder(&[("vscode.json", &file.to_string())]);
    let imported = cli(&folder, &["import", "vscode.json", "--output", "portcullis.yaml"]);
    assert_eq!(imported.code(), Some(1));
    assert!(imported.stderr.contains("asks") && imported.stderr.contains("key"), "{}", imported.stderr);
    assert_eq!(parsed(&cli(&folder, &["check", "--json"]))["servers"], json!(["good"]));
}

#[test]
fn a_file_of_another_program_is_served_as_it_is() {
    let fixture = stdio_fixture(&[])["command"].take();
    let server = json!({ "command": fixture[0], "args": ["--stdio"], "env": { "GIVEN": "yes" } });
    let file = json!({ "mcpServers": { "s": server } }).to_string();
    let gateway = Gateway::with("").file("mcp.json", &file).config_path("mcp.json").start();
    let agent = Agent::modern(gateway.url());
    assert_eq!(text(&agent.call("s__env", &json!({ "name": "GIVEN" }))), "yes");
    drop(gateway);
    let builder = Gateway::with("").file("mcp.json", &file).config_path(".");
    fs::remove_file(builder.folder().join("portcullis.yaml")).expect("it was written");
    assert!(Agent::legacy(builder.start().url()).tools().contains(&"s__echo".to_owned()));
}

/// Serves in the background, and answers the endpoint that it prints.
fn serve(command: &Command) -> (Background, String) {
    let mut process = Background::start(command);
    let endpoint = process.await_line("the endpoint", |line| {
        let (_, url) = line.split_once("serves ")?;
        Some(url.trim().to_owned())
    });
    (process, endpoint)
}

#[test]
fn without_a_configuration_a_demo_is_served() {
    let folder = folder(&[]);
    let (process, url) = serve(&program(folder.path(), &["--listen", "127.0.0.1:0"]));
    for agent in [Agent::modern(&url), Agent::legacy(&url)] {
        let sum = agent.call("demo__add", &json!({ "a": 1, "b": 2 }));
        assert!(text(&sum).contains('3'), "{sum}");
    }
    assert!(
        process.log().contains(&format!("claude mcp add --transport http portcullis {url}")),
        "{}",
        process.log()
    );
    let called = cli(&folder, &["call", "demo__add", "--args", "{\"a\": 1, \"b\": 2}"]);
    assert_eq!(called.code(), Some(0), "{}", called.stderr);
}

#[test]
fn strangers_are_not_served_unasked() {
    let folder = folder(&[("portcullis.yaml", &one_fixture())]);
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = cli(&folder, &["serve", "--listen", address]);
        assert_eq!(refused.code(), Some(1), "{address}");
        assert!(refused.stderr.contains("--insecure"), "{}", refused.stderr);
        assert!(refused.stdout.is_empty(), "{}", refused.stdout);
    }
    let (_process, url) = serve(&program(folder.path(), &["serve", "--listen", "0.0.0.0:0", "--insecure"]));
    assert!(Agent::modern(&url).tools().len() > 50);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let gateway = Gateway::start(&one_fixture());
    let folder = folder(&[("portcullis.yaml", &one_fixture())]);
    let address = format!("127.0.0.1:{}", gateway.port());
    let refused = cli(&folder, &["serve", "--listen", &address]);
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr.contains(&address) && refused.stderr.contains("--listen"), "{}", refused.stderr);
}

#[test]
fn a_configuration_with_errors_is_refused_or_served_without_them() {
    let folder = folder(&[("version.yaml", "version: 99\n"), ("text.yaml", "servers: [")]);
    for name in ["version.yaml", "text.yaml", "missing.yaml"] {
        let refused = cli(&folder, &["serve", "--listen", "127.0.0.1:0", "--config", name]);
        assert_eq!(refused.code(), Some(1), "{name}");
        assert!(refused.stderr.contains(name), "{}", refused.stderr);
    }
    let config =
        format!("version: 1\nservers:\n  s: {}\n  wrong: {{ url: 'ftp://x' }}\n", stdio_fixture(&[]));
    let gateway = Gateway::with(&config).start();
    assert!(
        Agent::modern(gateway.url()).tools().contains(&"s__echo".to_owned()),
        "one wrong server spoils nothing"
    );
    assert!(gateway.log().contains("servers.wrong.url"), "{}", gateway.log());
}
