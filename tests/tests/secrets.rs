//! Secrets by name: set, used by servers that demand them, rotated while the gateway runs, removed; and shown to nobody.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Builder, Gateway, Host, Readiness};
use portcullis_tests::http::Request;
use portcullis_tests::process::Finished;
use portcullis_tests::scenario::{received, stdio_fixture, text};
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

const ADMIN_KEY: &str = "the admin's key";
const NAME: &str = "prod/tickets-key";

/// A server that demands a key, and the gateway that may be told the key.
struct Stage {
    gateway: Gateway,
    folder: TempDir,
    _server: Upstream,
}

/// A gateway of the program, where secrets can be set.
fn gateway(servers: &Value) -> Builder {
    let config = json!({ "version": 1, "audit": { "arguments": true }, "servers": servers });
    Gateway::with(&config.to_string())
        .on(Host::Local)
        .env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY)
        .env("PORTCULLIS_LOG", "trace")
        .until(Readiness::Listening)
}

impl Stage {
    fn new(options: &[&str]) -> Self {
        let folder = toolbox::scratch();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (key, record) = (file("key"), file("record"));
        let server = Upstream::fixture(&[&["--key-file", &key, "--record", &record], options].concat());
        let auth = json!({ "header": { "name": "X-Key", "value": { "secret": NAME } } });
        let gateway = gateway(&json!({ "s": { "url": server.url(), "auth": auth } })).start();
        Self { gateway, folder, _server: server }
    }

    /// From now on the server takes this key alone.
    fn server_takes(&self, key: &str) {
        fs::write(self.folder.path().join("key"), key).expect("the test's folder can be written to");
    }

    fn secrets(&self, arguments: &[&str], input: &str) -> Finished {
        self.gateway.cli_with(&[&["secrets"], arguments].concat(), input)
    }

    /// The same for the gateway that runs, at its URL.
    fn remotely(&self, arguments: &[&str], input: &str) -> Finished {
        self.secrets(&[arguments, &["--url", &self.gateway.url_of("")]].concat(), input)
    }

    fn await_tools(&self) {
        let agent = Agent::modern(self.gateway.url());
        wait::expect("the server's tools", || agent.tools().contains(&"s__echo".to_owned()));
    }

    fn calls(&self) {
        let answer = Agent::modern(self.gateway.url()).call("s__echo", &json!({ "message": "hello" }));
        assert!(answer.to_string().contains("hello"), "{answer}\n{}", self.gateway.log());
    }

    fn readiness(&self) -> Value {
        Request::get(&self.gateway.url_of("/readyz")).send().json()
    }
}

#[track_caller]
fn check(ran: &Finished, code: i32, says: &str) {
    assert_eq!(ran.code(), Some(code), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains(says) || ran.stderr.contains(says), "{}{}", ran.stdout, ran.stderr);
}

/// Everything that lies below a folder, as text.
fn contents(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("the folder can be read").flatten();
    let text = |path: PathBuf| {
        if path.is_dir() {
            contents(&path)
        } else {
            String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
        }
    };
    entries.map(|entry| text(entry.path())).collect()
}

#[test]
fn a_secret_is_set_used_rotated_and_removed_and_shown_to_nobody() {
    let keys = ["zx-first-31415926", "zx-second-2718281", "zx-third-16180339"];
    let stage = Stage::new(&["--era", "modern"]);
    stage.server_takes(keys[0]);
    let hint = format!("portcullis secrets set {NAME}");
    wait::expect("the reason", || stage.readiness()["servers"]["s"]["reason"].to_string().contains(&hint));
    assert_eq!(received(stage.folder.path().join("record")), [Value::Null; 0], "nothing goes out without it");

    let mut said = vec![stage.secrets(&["set", NAME], &format!("{}\n", keys[0]))];
    check(&said[0], 0, "is set, version 1");
    stage.await_tools();
    stage.calls();
    check(&stage.gateway.cli(&["check"]), 0, "0 warnings");

    // The server has not heard of the rotation yet.
    said.push(stage.secrets(&["rotate", NAME], keys[1]));
    check(&said[1], 0, "is rotated, version 2");
    stage.calls();
    stage.server_takes(keys[1]);
    stage.calls();

    // In force at once.
    stage.server_takes(keys[2]);
    said.push(stage.remotely(&["set", NAME], &format!("{}\r\n", keys[2])));
    check(&said[2], 0, "is set, version 3");
    stage.calls();
    said.push(stage.remotely(&["list"], ""));
    check(&said[3], 0, NAME);
    said.push(stage.secrets(&["list", "--json"], ""));
    let listed: Value = serde_json::from_str(&said[4].stdout).expect("JSON");
    assert_eq!(listed["secrets"][0]["used_by"], json!(["s"]), "{listed}");

    let whoami = Agent::modern(stage.gateway.url()).error("tools/call", json!({ "name": "s__nothing" }));
    said.push(stage.remotely(&["rm", NAME], ""));
    check(&said[5], 0, "needed by s");
    let error =
        Agent::modern(stage.gateway.url()).ask("tools/call", json!({ "name": "s__echo", "arguments": {} }));
    assert!(error["error"]["message"].to_string().contains(NAME), "{error}");
    check(&stage.secrets(&["list"], ""), 0, "is needed and not set");
    check(&stage.gateway.cli(&["check"]), 0, &format!("there is no secret \"{NAME}\" yet"));

    let bearer = |path: &str| {
        let request = Request::get(&stage.gateway.url_of(path));
        request.header("Authorization", format!("Bearer {ADMIN_KEY}")).send().text()
    };
    let mut sinks = vec![
        ("the log", stage.gateway.log()),
        ("the data folder", contents(&stage.gateway.data_dir())),
        ("/readyz", stage.readiness().to_string()),
        ("/metrics", bearer("/metrics")),
        ("the list", bearer("/admin/v1/secrets")),
        ("the configuration", bearer("/admin/v1/config")),
        ("the trail", bearer("/admin/v1/audit")),
        ("an error", format!("{whoami}{error}")),
        ("the keys", stage.gateway.cli(&["keys", "list"]).stdout),
    ];
    sinks.extend(said.into_iter().map(|said| ("a command", said.stdout + &said.stderr)));
    for (sink, text) in sinks {
        assert!(!keys.iter().any(|key| text.contains(key)), "{sink} shows a secret: {text}");
    }
    let exported = stage.gateway.cli(&["audit", "export"]).stdout;
    for done in ["PUT /admin/v1/secrets/{name}", "DELETE /admin/v1/secrets/{name}"] {
        assert!(exported.contains(done), "{exported}");
    }
}

#[test]
fn every_request_to_a_server_carries_its_secret_in_every_era() {
    for options in [&["--era", "modern"][..], &["--era", "legacy"], &["--era", "legacy", "--sse"]] {
        let stage = Stage::new(options);
        stage.server_takes("zx-31415926");
        check(&stage.remotely(&["set", NAME], "zx-31415926"), 0, "is set");
        stage.await_tools();
        stage.calls();
        let legacy = Agent::legacy(stage.gateway.url());
        legacy.call("s__echo", &json!({ "message": "hello" }));
        let requests = received(stage.folder.path().join("record"));
        let bare: Vec<_> = requests.iter().filter(|one| one["headers"]["x-key"] != "zx-31415926").collect();
        assert!(!requests.is_empty() && bare.is_empty(), "{options:?}: {bare:?}");
    }
}

#[test]
fn a_process_gets_its_secrets_and_starts_anew_when_they_change() {
    let mut server = stdio_fixture(&[]);
    server["env"] = json!({ "TOKEN": { "secret": "token" }, "URL": "https://x/${secret:token}/" });
    let gateway = gateway(&json!({ "s": server, "other": stdio_fixture(&[]) })).start();
    let agent = Agent::modern(gateway.url());
    let of = |server: &str, name: &str| {
        let answer = agent
            .ask("tools/call", json!({ "name": format!("{server}__env"), "arguments": { "name": name } }));
        answer.get("result").map(|result| text(result).to_owned()).unwrap_or_default()
    };
    wait::expect("the other server", || agent.tools().contains(&"other__env".to_owned()));
    for value in ["zx-first-31415926", "zx-second-2718281"] {
        check(&gateway.cli_with(&["secrets", "set", "token"], value), 0, "is set");
        wait::expect("the value", || of("s", "TOKEN").contains(value));
        assert!(of("s", "URL").contains(&format!("https://x/{value}/")));
        assert!(!of("other", "TOKEN").contains(value));
    }
    agent.call("s__stderr", &json!({ "text": "the token is zx-second-2718281" }));
    wait::expect("the line", || gateway.log().contains("the token is [redacted]"));
    assert!(!gateway.log().contains("zx-"), "{}", gateway.log());
}

#[test]
fn what_cannot_be_done_is_said() {
    let server = json!({ "url": "http://127.0.0.1:1/mcp", "headers": { "X-Key": { "secret": "k" } } });
    let gateway = gateway(&json!({ "s": server })).start();
    let secrets =
        |arguments: &[&str], input: &str| gateway.cli_with(&[&["secrets"], arguments].concat(), input);
    check(&secrets(&["set", "a..b"], "x"), 2, "expected the name of a secret");
    check(&secrets(&["set", "k"], "\n"), 1, "expected the value on standard input");
    check(&secrets(&["set", "k"], &"x".repeat(70_000)), 1, "more than 65536 bytes");
    check(&secrets(&["rotate", "k"], "x"), 1, "there is no secret");
    check(&secrets(&["rm", "k"], ""), 1, "there is no secret");
    check(&secrets(&["set", "unused"], "two\nlines"), 0, "that a header cannot have");
    check(&secrets(&["set", "unused"], "x"), 0, "no server of");
    let url = gateway.url_of("");
    check(&secrets(&["rotate", "k", "--url", &url], "x"), 1, "there is no secret");
    check(&secrets(&["set", "unused", "--url", &url], "x"), 0, "no server of");
    let admin = |method: &str, path: &str, key: &str| {
        let request = Request::new(method, &gateway.url_of(&format!("/admin/v1/{path}")));
        request.header("Authorization", format!("Bearer {key}")).json(&json!({ "value": "x" })).send().status
    };
    assert_eq!(admin("PUT", "secrets/k", "another"), 401);
    assert_eq!(admin("GET", "secrets/unused", ADMIN_KEY), 405);
    assert_eq!(admin("PUT", "secrets/a%2Fb", ADMIN_KEY), 400);
    assert_eq!(admin("DELETE", "secrets/k", ADMIN_KEY), 404);
}

#[test]
fn a_seal_key_that_is_gone_is_said_and_the_secret_can_be_set_again() {
    let mut stage = Stage::new(&[]);
    stage.server_takes("zx-31415926");
    check(&stage.secrets(&["set", NAME], "zx-31415926"), 0, "is set");
    stage.await_tools();
    stage.gateway.process().stop();
    fs::remove_file(stage.gateway.data_dir().join("seal.key")).expect("the key is there");
    stage.gateway.restart();
    wait::expect("the reason in the log", || {
        stage.gateway.log().contains("sealed by a key that is not here")
    });
    let said = stage.readiness();
    assert!(said["secrets"]["reason"].to_string().contains("sealed by a key"), "{said}");
    check(&stage.secrets(&["set", NAME], "zx-31415926"), 0, "is set");
    stage.await_tools();
}
