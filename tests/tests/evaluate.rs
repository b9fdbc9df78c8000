//! `portcullis evaluate`: servers that people use get no false alarm, and nothing of a hostile one stays hidden: in a sandbox,
//! from a package, in a container.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[cfg(target_os = "linux")]
use portcullis_tests::engine::Engine;
use portcullis_tests::process::{Finished, run};
use portcullis_tests::{hosting, toolbox};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long an evaluation may take on a slow, busy machine.
const WITHIN: Duration = Duration::from_mins(8);

/// A folder with a configuration of servers, in which commands are run.
struct Bench {
    folder: TempDir,
    /// Where an engine for containers listens.
    engine: Option<String>,
}

impl Bench {
    fn new(servers: &Value) -> Self {
        let folder = toolbox::scratch();
        let config = json!({ "version": 1, "servers": servers }).to_string();
        fs::write(folder.path().join("portcullis.yaml"), config)
            .expect("the test's folder can be written to");
        Self { folder, engine: None }
    }

    /// The same beside an engine for containers.
    #[cfg(target_os = "linux")]
    fn beside(engine: &Engine, servers: &Value) -> Self {
        Self { engine: Some(engine.address()), ..Self::new(servers) }
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        self.portcullis(&[&["evaluate"], arguments].concat())
    }

    fn portcullis(&self, arguments: &[&str]) -> Finished {
        let folder = self.folder.path();
        let mut command = Command::new(toolbox::gateway());
        command.args(arguments).current_dir(folder);
        command.env("PORTCULLIS_DATA_DIR", folder.join("data")).env_remove("PORTCULLIS_CONFIG");
        command.envs(self.engine.iter().map(|address| ("DOCKER_HOST", address)));
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

/// What was not seen.
fn unseen(report: &Value) -> Vec<&str> {
    let unseen = report["unseen"].as_array().expect("a report says what was not seen").iter();
    unseen.map(|unseen| unseen["what"].as_str().expect("it is a text")).collect()
}

/// What was wanted of the network, in order, and when.
#[cfg(target_os = "linux")]
fn wanted(report: &Value) -> Vec<String> {
    let wanted = report["wanted"].as_array().expect("it was seen").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let said = wanted.map(|wanted| {
        let port = wanted["port"].as_u64().map_or(String::new(), |port| format!(":{port}"));
        let udp = if wanted["udp"] == true { "/udp" } else { "" };
        format!("{}{port}{udp}, {}", text(&wanted["host"]), text(&wanted["during"][0]))
    });
    let mut said: Vec<_> = said.collect();
    said.sort();
    said
}

/// What was seen of one kind of risk.
fn evidence(report: &Value, code: &str) -> String {
    let risks = report["risks"].as_array().expect("a report has risks").iter();
    let evidence =
        risks.filter(|risk| risk["code"] == code).map(|risk| risk["evidence"].as_str().unwrap_or_default());
    evidence.collect::<Vec<_>>().join("; ")
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
    assert_eq!((&report["wanted"], &report["trace"]), (&json!([]), &Value::Null));
    assert_eq!(unseen(&report), ["which files and programs it uses"]);
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
    let evidence = |code: &str| evidence(&report, code);
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

/// A server that goes where it has no business.
#[cfg(target_os = "linux")]
fn wanderer(host: &Value) -> Value {
    let script =
        fs::canonicalize(toolbox::repository("tests/hosting/wanderer.py")).expect("the server is there");
    let mut server = python("python", &[&script]);
    server["env"] = json!({ "API_TOKEN": "real" });
    server["host"] = host.clone();
    // With a section `host`, it is said what it sees.
    let python = toolbox::python();
    let python = python.ancestors().nth(2).expect("it is in a folder of an environment");
    server["host"]["mounts"] = json!([script, python]);
    server
}

#[test]
#[cfg(target_os = "linux")]
fn what_a_server_wants_of_the_network_is_seen_without_any_recording() {
    let network = json!({ "network": ["front.hostile.example"] });
    let bench = Bench::new(&json!({ "s": wanderer(&network) }));
    let (report, code) = bench.evaluate("s", &["--calls", "all"]);
    assert_eq!(code, Some(1), "{report:#}");
    let expected = [
        "10.1.2.3:5432, tool \"get_near\"",
        "169.254.169.254:80, tool \"get_cloud\"",
        "drop.hostile.example:80, tool \"get_post\"",
        "front.hostile.example:443, tool \"get_front\"",
        "time.hostile.example:123/udp, tool \"get_near\"",
    ];
    assert_eq!(wanted(&report), expected, "{report:#}");
    let all = report["wanted"].as_array().expect("it was seen").iter();
    let granted: Vec<_> =
        all.filter(|wanted| wanted["granted"] == true).map(|wanted| &wanted["host"]).collect();
    assert_eq!(granted, ["front.hostile.example"], "as its configuration has it");
    assert_eq!(
        grave(&report),
        [
            "high exfiltration",
            "medium cloud-metadata",
            "medium limit",
            "medium other-host",
            "medium private-network",
            "low writes-much"
        ]
    );
    assert_eq!(
        evidence(&report, "exfiltration"),
        "the environment variable API_TOKEN, as it is, to drop.hostile.example:80"
    );
    assert_eq!(evidence(&report, "other-host"), "front.hostile.example:443, TLS for behind.hostile.example");
    let profile = report["profile"].as_str().expect("a report has a profile");
    for place in ["- \"front.hostile.example:443\"\n", "- { to: \"10.1.2.3:5432\", private: true }\n"] {
        assert!(profile.contains(place), "{profile}");
    }
    for place in ["- \"169.254", "- \"time.", "drop.hostile"] {
        assert!(!profile.contains(place), "{profile}");
    }
    // What it writes to its home has a bound.
    assert_eq!(
        evidence(&report, "limit"),
        "filled the folder ~, in which it may write as much as `host.tmp` says"
    );
    // Who also records sees nothing twice.
    let (recorded, _) = bench.evaluate("s", &["--calls", "all", "--record"]);
    assert_eq!((wanted(&recorded), grave(&recorded)), (wanted(&report), grave(&report)));
    assert_eq!(evidence(&recorded, "exfiltration"), evidence(&report, "exfiltration"));
    assert_eq!(recorded["trace"]["connections"], json!([]));
    assert_eq!(unseen(&recorded), Vec::<&str>::new());
}

#[test]
#[cfg(target_os = "linux")]
fn packages_are_evaluated_as_they_were_prepared() {
    let given = toolbox::scratch();
    let given = given.path().canonicalize().expect("the folder is there").display().to_string();
    fs::write(Path::new(&given).join("letter.txt"), "Dear reader")
        .expect("the test's folder can be written to");
    let mounts = json!([{ "path": given, "write": true }]);
    let files = "@modelcontextprotocol/server-filesystem@2026.8.31";
    let bench = Bench::new(&json!({
        "files": { "args": [given], "host": { "npm": files, "mounts": mounts } },
        "time": { "args": ["--local-timezone", "UTC"], "host": { "pypi": "mcp-server-time==2026.10.19" } },
        "npx": { "command": ["npx", "-y", files, given] },
    }));
    let unprepared = bench.run(&["files"]);
    assert!(unprepared.stderr.contains("run `portcullis host prepare files`"), "{}", unprepared.stderr);
    let unnamed = bench.run(&["npx"]);
    assert!(unnamed.stderr.contains("give the server a section `host`"), "{}", unnamed.stderr);
    let prepared = bench.portcullis(&["host", "prepare"]);
    assert_eq!(prepared.code(), Some(0), "{}", prepared.stderr);
    let report = trusts(&bench, "files", 5);
    assert_eq!(report["command"], json!([files, given]));
    let read = report["trace"]["read"].to_string();
    assert!(read.contains("/notes.txt") && !read.contains("letter.txt"), "it saw the folder itself: {read}");
    let profile = report["profile"].as_str().expect("a report has a profile");
    assert!(profile.contains(&format!("- \"{given}\"")) && !profile.contains("write: true"), "{profile}");
    // It writes where it is let, and where that can be seen.
    let (report, _) = bench.evaluate("files", &["--calls", "all"]);
    let profile = report["profile"].as_str().expect("a report has a profile");
    assert!(profile.contains(&format!("- {{ path: \"{given}\", write: true }}")), "{profile}");
    assert_eq!(
        fs::read_dir(&given).expect("the folder is there").count(),
        1,
        "nothing came to the folder itself"
    );
    let report = trusts(&bench, "time", 2);
    assert_eq!(report["wanted"], json!([]));
}

/// Evaluates the hostile server in a container of an engine, and asserts that nothing of it stays hidden.
#[cfg(target_os = "linux")]
fn finds_everything_in_a_container(engine: &Engine) {
    let given = toolbox::scratch();
    let given = given.path().canonicalize().expect("the folder is there");
    let host =
        json!({ "image": engine.hostile(), "mounts": [{ "path": given, "to": "/given", "write": true }] });
    let env = json!({ "API_TOKEN": "real", "HOSTILE_TEXTS": "1", "HOSTILE_FOR": "Cursor" });
    let bench = Bench::beside(engine, &json!({ "s": { "env": env, "host": host } }));
    let (report, code) = bench.evaluate("s", &["--calls", "all", "--record"]);
    assert_eq!((&report["verdict"], code), (&json!("dangerous"), Some(1)));
    assert_eq!(
        report["place"],
        json!({
            "name": "container",
            "enforced": ["files", "network", "system calls", "memory", "processes"],
            "missing": [],
        })
    );
    let found = found(&report);
    let expected = [
        "high control-characters tool \"escaped\"",
        "high daemon",
        "high exfiltration",
        "high instructions tool \"add\"",
        "high leak tool \"leak\"",
        "high peek tool \"leak\"",
        "high tag-characters tool \"tagged\"",
        "high targeted tool \"view\"",
        "medium contradiction tool \"delete_all\"",
        "medium crash tool \"crash\"",
        "medium crash tool \"eat\"",
        "medium drift tool \"added\"",
        "medium ignores-term",
        "medium limit",
        "medium overlong",
        "medium stray-answer",
        "low busy tool \"spin\"",
        "low junk",
        "low stderr",
        "note network",
    ];
    let missed: Vec<_> =
        expected.iter().filter(|expected| !found.iter().any(|found| found == *expected)).collect();
    assert!(missed.is_empty(), "missed {missed:#?} in {found:#?}");
    assert!(evidence(&report, "peek").contains("~/.ssh/id_ed25519"), "{}", evidence(&report, "peek"));
    assert_eq!(report["ending"]["by"], "end of input");
    let wanted = wanted(&report);
    for place in ["198.51.100.7:80, tool \"connect\"", "198.51.100.7:9/udp, tool \"udp\""] {
        assert!(wanted.iter().any(|wanted| wanted == place), "{place}: {wanted:#?}");
    }
    assert!(wanted.iter().any(|wanted| wanted.starts_with("exfil.hostile.example:443, ")), "{wanted:#?}");
    // What nobody can see of a container is said.
    assert_eq!(report["trace"], Value::Null);
    assert_eq!(
        unseen(&report),
        ["which files and programs it uses", "what it wants of the network in its first moment"]
    );
    assert!(report["usage"]["memory"].as_u64().is_some_and(|memory| memory > 1 << 20), "{report:#}");
    assert_eq!(
        fs::read_dir(&given).expect("the folder is there").count(),
        0,
        "nothing came to the folder itself"
    );
    assert!(!report.to_string().contains("\"real\""), "no secret gets near it");
    let mark = report["server"].as_str().map(|server| format!("portcullis-{server}-"));
    let left = run(engine.cli(&["ps", "--format", "{{.Names}}"]), b"", WITHIN).stdout;
    assert!(mark.is_some_and(|mark| !left.contains(&mark)), "{left}");
}

#[test]
#[cfg(target_os = "linux")]
fn in_a_container_of_podman_everything_is_found() {
    finds_everything_in_a_container(Engine::podman());
}

#[test]
#[cfg(target_os = "linux")]
fn in_a_container_of_docker_everything_is_found() {
    finds_everything_in_a_container(Engine::docker());
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
    let page = fs::read_to_string(bench.folder.path().join("s.html")).expect("the page was written");
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
