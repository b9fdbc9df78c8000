//! Servers that are packages: fetched from the real registries and verified beforehand, then started in a sandbox that reaches
//! nothing.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Readiness};
use portcullis_tests::http::Request;
use portcullis_tests::process::{self, Finished};
use portcullis_tests::scenario::text;
use portcullis_tests::toolbox;
use portcullis_tests::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

const FILES: &str = "@modelcontextprotocol/server-filesystem@2026.8.31";
const TIME: &str = "mcp-server-time==2026.10.19";

/// How long a package and all that it needs may take to come over the network.
const FETCHED: Duration = Duration::from_mins(5);

/// A configuration and a data folder, for the command alone.
struct Stage {
    folder: TempDir,
}

impl Stage {
    /// One server, called `s`, with this section `host`.
    fn new(host: &Value) -> Self {
        let stage = Self { folder: toolbox::scratch() };
        stage.configure(host);
        stage
    }

    fn configure(&self, host: &Value) {
        let config = json!({ "version": 1, "servers": { "s": { "host": host } } });
        fs::write(self.folder.path().join("portcullis.yaml"), config.to_string()).expect("it can be written");
    }

    /// Runs `portcullis host prepare`, where much would change what node and Python do.
    fn prepare(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(toolbox::gateway());
        command.args(["host", "prepare"]).args(arguments).arg("--config").arg(self.folder.path());
        command.arg("--data-dir").arg(self.data());
        command.env("NODE_OPTIONS", "--require /no/such/file").env("PYTHONPATH", self.folder.path());
        command.env("npm_config_ignore_scripts", "false").env("PIP_NO_BINARY", ":all:");
        process::run(command, b"", FETCHED)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What lies beside packages of a registry.
    fn prepared(&self, registry: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.data().join("packages").join(registry)).expect("the folder is there");
        entries.flatten().map(|entry| entry.path()).collect()
    }
}

fn record(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("portcullis-package.json")).expect("a record");
    serde_json::from_str(&text).expect("JSON")
}

#[track_caller]
fn succeeded(finished: &Finished) -> &str {
    assert_eq!(finished.code(), Some(0), "{}{}", finished.stdout, finished.stderr);
    &finished.stdout
}

#[track_caller]
fn refused(finished: &Finished, why: &str) {
    assert_eq!(finished.code(), Some(1), "{}", finished.stdout);
    assert!(finished.stderr.contains(why), "{}", finished.stderr);
}

#[test]
fn packages_of_both_registries_start_in_a_sandbox_without_network() {
    let folder = toolbox::scratch();
    let notes = folder.path().canonicalize().expect("the folder is there");
    fs::write(notes.join("note.txt"), "a note").expect("the folder can be written to");
    let shared = json!([notes]);
    let config = json!({ "version": 1, "servers": {
        "files": { "args": [notes], "host": { "npm": FILES, "mounts": shared } },
        "npx": { "command": ["npx", "-y", FILES, notes], "host": { "mounts": shared } },
        "time": { "args": ["--local-timezone", "UTC"], "host": { "pypi": TIME } },
        "uvx": { "command": ["uvx", TIME, "--local-timezone", "UTC"], "host": {} },
    } });
    let mut gateway = Gateway::with(&config.to_string()).until(Readiness::Listening).start();
    wait::expect("what to do", || {
        let said = Request::get(&gateway.url_of("/readyz")).send().text();
        ["files", "npx", "time", "uvx"]
            .iter()
            .all(|name| said.contains(&format!("`portcullis host prepare {name}`")))
    });
    let mut prepare = Command::new(toolbox::gateway());
    prepare.args(["host", "prepare", "--config"]).arg(gateway.folder().join("portcullis.yaml"));
    prepare.arg("--data-dir").arg(gateway.data_dir());
    let said = process::run(prepare, b"", FETCHED);
    let said = succeeded(&said);
    for name in ["files", "npx", "time", "uvx"] {
        assert!(said.contains(&format!("{name}: ")), "{said}");
    }
    // It would try again by itself, ever more rarely.
    gateway.restart();
    let agent = Agent::modern(gateway.url());
    wait::expect("the servers", || agent.tools().len() >= 2 * (14 + 2));
    let path = notes.join("note.txt");
    let arguments = json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    for server in ["files", "npx"] {
        assert_eq!(
            text(&agent.call(&format!("{server}__read_text_file"), &json!({ "path": path }))),
            "a note"
        );
    }
    for server in ["time", "uvx"] {
        let answer = agent.call(&format!("{server}__convert_time"), &arguments);
        assert!(text(&answer).contains("21:00"), "{answer}");
    }
    // Where anything of it is changed by then, nothing is started.
    let kept = gateway.data_dir().join("packages/pypi");
    let package = fs::read_dir(kept).expect("it is there").flatten().next().expect("a package").path();
    let changed = fs::read_to_string(package.join("portcullis-package.json")).expect("a record");
    let changed = changed.replacen("\"version\": \"", "\"version\": \"9", 2);
    fs::write(package.join("portcullis-package.json"), changed).expect("it can be written");
    let said = gateway.cli(&["call", "time__convert_time", "--args", &arguments.to_string()]);
    assert!(said.stderr.contains("does not agree with itself"), "{}", said.stderr);
}

#[test]
fn what_is_prepared_is_what_is_pinned_and_stays_so() {
    let stage = Stage::new(&json!({ "npm": FILES }));
    let said = stage.prepare(&["--json"]);
    let said: Value = serde_json::from_str(succeeded(&said)).expect("JSON");
    let package = &said[0]["package"];
    let (integrity, digest) = (package["integrity"].clone(), package["digest"].as_str().expect("a digest"));
    let [folder] = &stage.prepared("npm")[..] else { panic!("{:?}", stage.prepared("npm")) };
    assert!(folder.to_str().is_some_and(|path| path.ends_with(&digest[..16])), "{}", folder.display());
    assert_eq!(&record(folder), package);

    stage.configure(&json!({ "npm": FILES, "integrity": integrity }));
    let again = stage.prepare(&["s"]);
    assert!(
        succeeded(&again).contains("was prepared before") && !again.stdout.contains("pin it"),
        "{}",
        again.stdout
    );
    assert!(
        succeeded(&stage.prepare(&["--again"])).contains(digest),
        "the same packages have the same digest"
    );
    assert!(succeeded(&stage.prepare(&["--verify"])).contains("every file is as it was prepared"));
    let other = format!("sha512-{}==", "A".repeat(86));
    stage.configure(&json!({ "npm": FILES, "integrity": other }));
    refused(&stage.prepare(&[]), &other);
    refused(&stage.prepare(&["--again"]), integrity.as_str().expect("a text"));
    assert_eq!(stage.prepared("npm").len(), 1, "nothing is left of what was refused");

    stage.configure(&json!({ "npm": FILES, "integrity": integrity }));
    let program = folder.join("node_modules/@modelcontextprotocol/server-filesystem/dist/index.js");
    let before = fs::read_to_string(&program).expect("the program");
    fs::write(&program, before + "\n").expect("it can be written");
    refused(&stage.prepare(&["--verify"]), "are not what was prepared");
}

#[test]
fn nothing_of_a_package_is_run() {
    // Its install script replaces its program by another one.
    let stage = Stage::new(&json!({ "npm": "esbuild@0.28.2" }));
    let said = stage.prepare(&[]);
    assert!(succeeded(&said).contains("not run: the install scripts of esbuild"), "{}", said.stdout);
    let [folder] = &stage.prepared("npm")[..] else { panic!("{:?}", stage.prepared("npm")) };
    let program = fs::read(folder.join("node_modules/esbuild/bin/esbuild")).expect("the program");
    assert!(program.starts_with(b"#!/usr/bin/env node"));
    // It has no wheel, and to build one its setup.py would run.
    let stage = Stage::new(&json!({ "pypi": "docopt==0.6.2" }));
    refused(&stage.prepare(&[]), "No matching distribution");
    assert!(stage.prepared("pypi").is_empty(), "{:?}", stage.prepared("pypi"));
}

#[test]
fn a_name_that_is_nearly_a_well_known_one_is_asked_about() {
    let stage = Stage::new(&json!({ "pypi": "mcp-server-tme==2026.10.19" }));
    refused(&stage.prepare(&[]), "\"mcp-server-tme\" is one letter from \"mcp-server-time\"");
}

#[test]
fn two_preparations_at_once_make_one_package() {
    let stage = Stage::new(&json!({ "npm": "mcp-remote@0.15.1" }));
    let said = thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| stage.prepare(&[])));
        both.map(|one| succeeded(&one.join().expect("it ends")).to_owned())
    });
    let made = said.iter().filter(|said| said.contains("is prepared")).count();
    let found = said.iter().filter(|said| said.contains("was prepared before")).count();
    assert_eq!((made, found, stage.prepared("npm").len()), (1, 1, 1), "{said:?}");
}

#[test]
fn only_servers_that_are_packages_are_prepared() {
    let stage = Stage::new(&json!({ "npm": FILES }));
    refused(&stage.prepare(&["t"]), "no server is called \"t\"");
    let config = json!({ "version": 1, "servers": { "s": { "command": ["node", "x.js"] } } });
    fs::write(stage.folder.path().join("portcullis.yaml"), config.to_string()).expect("it can be written");
    refused(&stage.prepare(&["s"]), "the server \"s\" is no package");
    assert!(succeeded(&stage.prepare(&[])).contains("No server is a package"));
}
