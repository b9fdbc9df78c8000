//! `portcullis evaluate`: servers that people use get no false alarm, and nothing of a hostile one stays hidden.
//!
//! All of them run in a sandbox, with everything that is recorded of it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use portcullis_tests::process::{Finished, run};
use portcullis_tests::{hosting, toolbox};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long an evaluation may take on a slow, busy machine.
const WITHIN: Duration = Duration::from_mins(8);

/// A folder with a configuration of servers, in which commands are run.
struct Bench(TempDir);

impl Bench {
    fn new(servers: &Value) -> Self {
        let folder = toolbox::scratch();
        let config = json!({ "version": 1, "servers": servers }).to_string();
        fs::write(folder.path().join("portcullis.yaml"), config)
            .expect("the test's folder can be written to");
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let folder = self.0.path();
        let mut command = Command::new(toolbox::gateway());
        command.arg("evaluate").args(arguments).current_dir(folder);
        command.env("PORTCULLIS_DATA_DIR", folder.join("data")).env_remove("PORTCULLIS_CONFIG");
        run(command, b"", WITHIN)
    }

    /// Evaluates a server; returns the report and the exit code.
    fn evaluate(&self, server: &str, arguments: &[&str]) -> (Value, Option<i32>) {
        let finished = self.run(&[&[server, "--json"][..], arguments].concat());
        let report = serde_json::from_str(&finished.stdout);
        let report =
            report.unwrap_or_else(|error| panic!("{error}: {} {}", finished.stdout, finished.stderr));
        (report, finished.code())
    }
}

/// What was found: how grave, what, and about what.
fn found(report: &Value) -> Vec<String> {
    let risks = report["risks"].as_array().expect("a report has risks");
    let text = |risk: &Value, name: &str| risk[name].as_str().expect("a risk has texts").to_owned();
    let said = |risk: &Value| {
        format!("{} {} {}", text(risk, "severity"), text(risk, "code"), text(risk, "about"))
            .trim_end()
            .to_owned()
    };
    risks.iter().map(said).collect()
}

/// What was found that is more than a note.
fn grave(report: &Value) -> Vec<String> {
    found(report).into_iter().filter(|found| !found.starts_with("note ")).collect()
}

fn node(module: &str, arguments: &[&str]) -> Value {
    let script = toolbox::node_module(module);
    let mut command = vec![json!(toolbox::node()), json!(script)];
    command.extend(arguments.iter().map(|argument| json!(argument)));
    json!({ "command": command })
}

/// A program of the environment that has the Python peers.
fn python(program: &str, arguments: &[&Path]) -> Value {
    let mut command = vec![json!(toolbox::python().with_file_name(program))];
    command.extend(arguments.iter().map(|argument| json!(argument)));
    json!({ "command": command })
}

fn hostile(env: &Value) -> Value {
    json!({ "command": [hosting::hostile()], "env": env })
}

/// Asserts that a server that people use is trusted, and that it was looked at in earnest.
fn trusts(bench: &Bench, server: &str, called: usize) -> Value {
    let (report, code) = bench.evaluate(server, &["--record"]);
    assert_eq!(grave(&report), Vec::<String>::new(), "{report:#}");
    assert_eq!((&report["verdict"], code), (&json!("trustworthy"), Some(0)));
    assert_eq!(report["place"]["name"], "sandbox");
    let tools = report["tools"].as_array().expect("a report has tools");
    let calls = tools.iter().filter(|tool| tool["calls"].as_array().is_some_and(|calls| !calls.is_empty()));
    assert!(calls.count() >= called, "{report:#}");
    assert!(report["usage"]["memory"].as_u64().is_some_and(|memory| memory > 1 << 20), "{report:#}");
    report
}

#[test]
fn server_filesystem_is_trusted_with_the_folder_that_it_is_given() {
    let files = toolbox::scratch();
    fs::write(files.path().join("letter.txt"), "Dear reader").expect("the test's folder can be written to");
    let given = files.path().display().to_string();
    let server = node("@modelcontextprotocol/server-filesystem/dist/index.js", &[&given]);
    let report = trusts(&Bench::new(&json!({ "files": server })), "files", 5);
    let read = report["trace"]["read"].to_string();
    assert!(read.contains("/notes.txt") && !read.contains("letter.txt"), "it saw the folder itself: {read}");
    let profile = report["profile"].as_str().expect("a report has a profile");
    assert!(profile.contains("network: none") && profile.contains(&given), "{profile}");
}

#[test]
fn mcp_server_fetch_is_trusted_and_wants_what_it_is_asked_for() {
    let report = trusts(&Bench::new(&json!({ "fetch": python("mcp-server-fetch", &[]) })), "fetch", 1);
    assert_eq!(report["wanted"][0]["host"], "example.com", "{report:#}");
    assert!(report["profile"].as_str().is_some_and(|profile| profile.contains("- \"example.com:443\"")));
}

#[test]
fn a_server_of_fastmcp_is_trusted() {
    let script =
        fs::canonicalize(toolbox::interop("servers/fastmcp_server.py")).expect("the server is there");
    trusts(&Bench::new(&json!({ "fast": python("python", &[&script]) })), "fast", 0);
}

#[test]
fn server_everything_shows_the_environment_as_it_says() {
    let server = node("@modelcontextprotocol/server-everything/dist/index.js", &[]);
    let (report, code) =
        Bench::new(&json!({ "every": server, "time": { "command": ["x"] } })).evaluate("every", &[]);
    assert_eq!(grave(&report), ["medium leak tool \"get-env\""], "{report:#}");
    assert_eq!((&report["verdict"], code), (&json!("review"), Some(0)));
    assert_eq!(report["wanted"], Value::Null, "nobody recorded it");
}

#[test]
fn everything_that_a_hostile_server_does_is_found() {
    let env = json!({ "API_TOKEN": "real", "HOSTILE_TEXTS": "1", "HOSTILE_FOR": "Cursor" });
    let bench = Bench::new(&json!({ "s": hostile(&env) }));
    let (report, code) = bench.evaluate("s", &["--calls", "all", "--record"]);
    assert_eq!((&report["verdict"], code), (&json!("dangerous"), Some(1)));
    let found = found(&report);
    let expected = [
        "high control-characters tool \"escaped\"",
        "high daemon",
        "high exfiltration",
        "high instructions tool \"add\"",
        "high leak tool \"leak\"",
        "high peek tool \"leak\"",
        "high privileges",
        "high tag-characters tool \"tagged\"",
        "high targeted tool \"view\"",
        "medium contradiction tool \"delete_all\"",
        "medium crash tool \"crash\"",
        "medium crash tool \"eat\"",
        "medium drift tool \"added\"",
        "medium drift tool \"connect\"",
        "medium drift tool \"view\"",
        "medium ignores-term",
        "medium limit",
        "medium overlong",
        "medium schema-loop tool \"looping\"",
        "medium schema-remote tool \"remote\"",
        "medium schema-type tool \"untyped\"",
        "medium secret tool \"keyed\"",
        "medium stray-answer",
        "low busy tool \"spin\"",
        "low files",
        "low junk",
        "low schema-pattern tool \"slow\"",
        "low stderr",
        "note denied",
        "note network",
        "note no-description tool \"untyped\"",
    ];
    let missed: Vec<_> =
        expected.iter().filter(|expected| !found.iter().any(|found| found == *expected)).collect();
    assert!(missed.is_empty(), "missed {missed:#?} in {found:#?}");
    let evidence = |code: &str| {
        let risks = report["risks"].as_array().expect("a report has risks").iter();
        let evidence = risks
            .filter(|risk| risk["code"] == code)
            .map(|risk| risk["evidence"].as_str().unwrap_or_default());
        evidence.collect::<Vec<_>>().join("; ")
    };
    for form in ["as it is", "in base64", "in hexadecimal digits", "backwards", "in pieces"] {
        assert!(evidence("leak").contains(form), "{form}: {}", evidence("leak"));
    }
    assert!(
        evidence("limit").contains("host.pids") && evidence("limit").contains("host.memory"),
        "{}",
        evidence("limit")
    );
    assert!(
        evidence("network").contains("198.51.100.7:80")
            && evidence("network").contains("lookup.hostile.example")
    );
    assert!(!report.to_string().contains("\"real\""), "no secret gets near it");
}

#[test]
fn a_definition_that_changes_without_a_word_is_dangerous() {
    let (report, code) = Bench::new(&json!({ "s": hostile(&json!({ "HOSTILE_DRIFT": "1" })) }))
        .evaluate("s", &["--calls", "none"]);
    assert_eq!(code, Some(1));
    assert!(grave(&report).iter().any(|found| found == "high drift tool \"view\""), "{report:#}");
    assert!(
        report["tools"].as_array().is_some_and(|tools| tools.iter().all(|tool| tool["calls"] == json!([])))
    );
}

#[test]
fn safe_calls_are_of_those_that_read() {
    let (report, _) = Bench::new(&json!({ "s": hostile(&json!({})) })).evaluate("s", &[]);
    let tools = report["tools"].as_array().expect("a report has tools").iter();
    let called =
        tools.filter(|tool| tool["calls"] != json!([])).map(|tool| tool["name"].as_str().unwrap_or_default());
    assert_eq!(called.collect::<Vec<_>>(), ["view", "count", "lookup", "leak", "exfil"]);
}

#[test]
fn a_server_that_does_not_serve_is_not_trusted() {
    let bench = Bench::new(&json!({ "s": { "command": ["/bin/false"] } }));
    let (report, code) = bench.evaluate("s", &[]);
    assert_eq!((&report["verdict"], code), (&json!("review"), Some(0)));
    assert!(grave(&report).contains(&"medium not-serving".to_owned()), "{report:#}");
}

#[test]
fn a_report_is_kept_shown_and_a_page() {
    let bench = Bench::new(&json!({ "s": hostile(&json!({ "HOSTILE_TEXTS": "1" })) }));
    let first = bench.run(&["s", "--calls", "none", "--html", "s.html"]);
    assert_eq!(first.code(), Some(1), "{}", first.stderr);
    assert!(first.stdout.starts_with("s: dangerous\n"), "{}", first.stdout);
    assert!(!first.stdout.contains('\u{1b}'), "colours are for terminals");
    let shown = bench.run(&["s", "--show"]);
    assert_eq!(shown.stdout, first.stdout);
    let listed = bench.run(&["--list"]);
    assert!(
        listed.stdout.lines().nth(1).is_some_and(|line| line.contains(" s ") && line.contains("dangerous"))
    );
    let page = fs::read_to_string(bench.0.path().join("s.html")).expect("the page was written");
    assert!(page.contains("default-src 'none'") && !page.contains("<script") && !page.contains('\u{1b}'));
    assert!(page.contains("&lt;IMPORTANT&gt;") && !page.contains("<IMPORTANT>"));
}

#[test]
fn what_cannot_be_evaluated_says_why() {
    let bench = Bench::new(&json!({ "far": { "url": "http://127.0.0.1:1/mcp" } }));
    for (arguments, why) in [
        (&["far"][..], "not started by the gateway"),
        (&["near"], "there is no server near; there are: far"),
        (&["far", "--show"], "not evaluated yet"),
        (&[], "name a server"),
    ] {
        let finished = bench.run(arguments);
        assert!(
            finished.code() != Some(0) && finished.stderr.contains(why),
            "{arguments:?}: {}",
            finished.stderr
        );
    }
}
