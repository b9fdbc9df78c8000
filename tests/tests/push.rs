//! The configuration of a gateway elsewhere: pushed, refused, pulled and put back by the command line and by HTTP, and keys
//! made there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Builder, Gateway, Host};
use portcullis_tests::http::{Request, Response};
use portcullis_tests::process::Finished;
use portcullis_tests::scenario::fixture;
use portcullis_tests::wait;
use serde_json::{Value, json};

const ADMIN_KEY: &str = "the admin's key";

/// A gateway that is configured from elsewhere, and the folder of somebody who does so.
struct Stage {
    gateway: Gateway,
}

impl Stage {
    fn new() -> Self {
        Self::of(Gateway::with("version: 1\n"))
    }

    fn of(builder: Builder) -> Self {
        Self { gateway: builder.configured_remotely().env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY).start() }
    }

    fn origin(&self) -> String {
        self.gateway.url_of("")
    }

    /// Writes a configuration to a folder of somebody's; returns the folder.
    fn write(&self, folder: &str, config: &str) -> PathBuf {
        let folder = self.gateway.folder().join(folder);
        fs::create_dir_all(&folder).expect("the folder can be made");
        fs::write(folder.join("portcullis.yaml"), config).expect("the file can be written");
        folder
    }

    fn push(&self, folder: &Path, options: &[&str]) -> Finished {
        let (config, to) = (folder.display().to_string(), self.origin());
        self.gateway.cli(&[&["push", "--config", &config, "--to", &to], options].concat())
    }

    fn pull(&self, folder: &Path, options: &[&str]) -> Finished {
        let (output, from) = (folder.display().to_string(), self.origin());
        self.gateway.cli(&[&["pull", "--from", &from, "--output", &output], options].concat())
    }

    fn rollback(&self, to: &str) -> Finished {
        self.gateway.cli(&["rollback", "--to", to, "--url", &self.origin()])
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let request = Request::new(method, &self.gateway.url_of(&format!("/admin/v1/{path}")));
        let request = request.header("Authorization", format!("Bearer {ADMIN_KEY}"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        if body.is_empty() { request.send() } else { request.body(body).send() }
    }

    fn tools(&self) -> Vec<String> {
        Agent::modern(self.gateway.url()).tools()
    }
}

/// A configuration with one server of that name.
fn config(server: &str) -> String {
    static FIXTURE: LazyLock<Value> = LazyLock::new(|| fixture(&[]));
    format!("version: 1\nservers:\n  {server}: {}\n", *FIXTURE)
}

#[track_caller]
fn check(ran: &Finished, code: i32, says: &str) {
    assert_eq!(ran.code(), Some(code), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains(says) || ran.stderr.contains(says), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn a_configuration_is_pushed_pulled_and_put_back() {
    let mut stage = Stage::new();
    assert_eq!(stage.tools(), [""; 0]);
    let mine = stage.write("mine", &config("one"));
    check(&stage.pull(&mine, &[]), 1, "nothing has been pushed");
    check(&stage.push(&mine, &["--note", "the first"]), 0, "version 1 is in force");
    wait::expect("the server is served", || stage.tools().contains(&"one__echo".to_owned()));
    check(&stage.push(&mine, &[]), 0, "version 1 is in force");

    let theirs = stage.gateway.folder().join("theirs");
    check(&stage.pull(&theirs, &[]), 0, "version 1");
    assert_eq!(fs::read_to_string(theirs.join("portcullis.yaml")).unwrap(), config("one"));
    stage.write("theirs", &config("two"));
    check(&stage.push(&theirs, &[]), 0, "version 2 is in force");
    wait::expect("the other server is served", || stage.tools().contains(&"two__echo".to_owned()));

    stage.write("mine", &config("three"));
    check(&stage.push(&mine, &[]), 1, "serves version 2 by now, and version 1 was the last");
    check(&stage.pull(&mine, &[]), 1, "was changed here");
    let strangers = stage.write("strangers", &config("four"));
    check(&stage.push(&strangers, &[]), 1, "which has not been pulled here");
    check(&stage.push(&mine, &["--force"]), 0, "version 3 is in force");
    check(&stage.pull(&theirs, &[]), 0, "version 3");
    assert_eq!(fs::read_to_string(theirs.join("portcullis.yaml")).unwrap(), config("three"));

    check(&stage.rollback("1"), 0, "version 4 is in force");
    wait::expect("the first server is served again", || {
        stage.tools() == ["one__echo"] || stage.tools().contains(&"one__echo".to_owned())
    });
    check(&stage.rollback("9"), 1, "there is no version 9");
    let versions = stage.gateway.cli(&["versions", "--url", &stage.origin(), "--json"]);
    let versions: Value = serde_json::from_str(&versions.stdout).unwrap();
    let notes: Vec<_> =
        versions["versions"].as_array().unwrap().iter().map(|one| one["note"].as_str().unwrap()).collect();
    assert_eq!(notes, ["back to version 1", "", "", "the first"]);

    stage.gateway.restart();
    assert!(stage.tools().contains(&"one__echo".to_owned()), "the newest version is served after a restart");
    check(&stage.pull(&stage.gateway.folder().join("new"), &["--version", "2"]), 0, "version 2");
}

#[test]
fn versions_are_compared() {
    // The Worker has it where it is built to govern.
    let stage = Stage::of(Gateway::with("version: 1\n").governing());
    for server in ["one", "two"] {
        check(&stage.push(&stage.write("mine", &config(server)), &[]), 0, "is in force");
    }
    let compared = |arguments: &[&str]| {
        stage.gateway.cli(&[&["versions", "--url", &stage.origin(), "--diff"], arguments].concat())
    };
    let forth = compared(&["1", "--to", "2"]);
    check(&forth, 0, "+++ portcullis.yaml\n@@ ");
    for said in ["server two is added", "server one is removed"] {
        assert!(forth.stderr.contains(said), "{said}: {}", forth.stderr);
    }
    check(&compared(&["2"]), 0, "both versions say the same");
    check(&compared(&["9"]), 1, "there is no version 9");
    let json: Value = serde_json::from_str(&compared(&["2", "--to", "1", "--json"]).stdout).unwrap();
    let first = json!({ "what": "server", "name": "one", "kind": "added" });
    assert_eq!(json["changes"][0], first, "{json}");
}

#[test]
fn what_is_wrong_is_said_where_it_stands_and_changes_nothing() {
    let stage = Stage::new();
    let mine = stage.write("mine", &config("one"));
    check(&stage.push(&mine, &[]), 0, "version 1");
    stage.write(
        "mine",
        "version: 1\nservers:\n  one: { url: nope }\n  two: { url: \"https://a.example/${MISSING}\" }\n",
    );
    let refused = stage.push(&mine, &[]);
    check(&refused, 1, "has not taken the configuration");
    let file = mine.join("portcullis.yaml").display().to_string();
    assert!(refused.stderr.contains(&format!("{file}:3:15: error: servers.one.url: ")), "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("{file}:4:15: error: servers.two.url: ")), "{}", refused.stderr);
    let json = stage.push(&mine, &["--json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (json["code"].as_str(), json["errors"][0]["line"].as_u64()),
        (Some("invalid-configuration"), Some(3))
    );
    assert!(stage.tools().contains(&"one__echo".to_owned()));
    let newest = stage.send("GET", "config", &[], "");
    assert_eq!(newest.header("etag"), Some("\"1\""));
}

#[test]
fn the_admin_api_speaks_http() {
    let stage = Stage::new();
    let yaml = [("Content-Type", "application/yaml")];
    let missing = stage.send("PUT", "config", &yaml, "version: 1\n");
    assert_eq!((missing.status, missing.header("content-type")), (428, Some("application/problem+json")));
    let first = [yaml[0], ("If-None-Match", "*")];
    assert_eq!(stage.send("PUT", "config", &first, "version: 1\n").status, 201);
    let refused = stage.send("PUT", "config", &first, "version: 1\nservers: {}\n");
    assert_eq!((refused.status, refused.header("etag")), (412, Some("\"1\"")));
    let shown = stage.send("GET", "config", &[], "");
    assert_eq!(
        (shown.status, shown.header("etag"), shown.header("cache-control")),
        (200, Some("\"1\""), Some("no-store"))
    );
    assert_eq!(shown.json()["files"]["portcullis.yaml"], "version: 1\n");
    assert_eq!(stage.send("GET", "config", &[("If-None-Match", "\"1\"")], "").status, 304);
    let checked = stage.send("POST", "config/check", &yaml, "version: 2\n").json();
    assert_eq!(
        (checked["valid"].clone(), checked["problems"][0]["column"].clone()),
        (json!(false), json!(10))
    );
    let json = [("Content-Type", "application/json"), ("If-Match", "\"1\"")];
    let both = json!({ "files": { "mcp.json": "{\"mcpServers\":{}}", "app.yaml": "permissions: { default: { block: [] } }" } });
    let pushed = stage.send("PUT", "config", &json, &both.to_string());
    assert_eq!(pushed.status, 200);
    let odd = stage.send("PUT", "config", &json, r#"{"files":{"../x":"version: 1"}}"#);
    assert!(odd.status == 400 && odd.text().contains("a file's name is"));
    let large = "x".repeat(9 << 20);
    assert_eq!(stage.send("PUT", "config", &first, &large).status, 413);
}

#[test]
fn keys_are_made_and_revoked_from_elsewhere() {
    let stage = Stage::new();
    let agents = "agents: { one: { allow: ['*'] }, default: { deny: ['*'] } }";
    let mine = stage.write("mine", &format!("{}auth: {{ required: true }}\n{agents}\n", config("s")));
    check(&stage.push(&mine, &[]), 0, "version 1");
    let keys =
        |arguments: &[&str]| stage.gateway.cli(&[&["keys"], arguments, &["--url", &stage.origin()]].concat());
    let made = keys(&["create", "--agent", "one", "--expires", "90d", "--comment", "a laptop", "--json"]);
    let made: Value = serde_json::from_str(&made.stdout).unwrap_or_else(|_| panic!("{}", made.stderr));
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let status =
        || Agent::modern(stage.gateway.url()).bearer(key).post("tools/list", json!({})).send().status;
    assert_eq!(status(), 200);
    let listed = keys(&["list"]);
    assert!(listed.stdout.contains(id) && listed.stdout.contains("a laptop") && !listed.stdout.contains(key));
    if Host::chosen() == Host::Local {
        let here = stage.gateway.cli(&["keys", "list"]);
        assert!(here.stdout.contains(id), "the keys of the data folder are the gateway's");
    }
    check(&keys(&["create", "--agent", "nobody"]), 0, "names no agent \"nobody\"");
    check(&keys(&["revoke", id]), 0, "is revoked");
    assert_eq!(status(), 401);
    check(&keys(&["revoke", "0000000000"]), 1, "there is no key with that id");
}

#[test]
fn an_overlay_is_one_identitys() {
    let stage = Stage::new();
    let agents = "agents: { one: { allow: [s] }, two: { allow: ['*'] }, default: { deny: ['*'] } }";
    let mine = stage.write("mine", &format!("{}{agents}\n", config("s")));
    fs::create_dir(mine.join("overlays")).unwrap();
    let overlay = |name: &str, text: &str| {
        fs::write(mine.join("overlays").join(name), format!("version: 1\n{text}")).unwrap();
    };
    let server = fixture(&[]);
    overlay("agent-one.yaml", &format!("servers:\n  extra: {server}\nallow: [extra/echo]\n"));
    check(&stage.push(&mine, &[]), 0, "version 1");
    let key = |agent: &str| {
        let made =
            stage.gateway.cli(&["keys", "create", "--agent", agent, "--url", &stage.origin(), "--json"]);
        serde_json::from_str::<Value>(&made.stdout).unwrap()
    };
    let (one, two, own) = (key("one"), key("two"), key("one"));
    let tools = |key: &Value| Agent::modern(stage.gateway.url()).bearer(key["key"].as_str().unwrap()).tools();
    let sees = |key: &Value, tool: &str| tools(key).iter().any(|seen| seen == tool);
    wait::expect("both servers are served", || sees(&one, "extra__echo") && sees(&two, "s__echo"));
    assert!(!tools(&two).iter().any(|tool| tool.starts_with("extra__")), "another agent's");
    let principal = format!("principal-key-{}.yaml", own["id"].as_str().unwrap());
    overlay(&principal, "agent: one\ndeny: [s/echo]\n");
    check(&stage.push(&mine, &[]), 0, "version 2");
    wait::expect("the one key sees less", || !sees(&own, "s__echo"));
    assert!(sees(&own, "extra__echo") && sees(&one, "s__echo") && sees(&two, "s__echo"));
    let copy = stage.gateway.folder().join("copy");
    check(&stage.pull(&copy, &[]), 0, "version 2");
    assert_eq!(
        fs::read_to_string(copy.join("overlays").join(&principal)).unwrap(),
        "version: 1\nagent: one\ndeny: [s/echo]\n"
    );
    overlay("agent-one.yaml", "allow: [nothing]\n");
    let refused = stage.push(&mine, &[]);
    check(&refused, 1, "has not taken the configuration");
    assert!(refused.stderr.contains("overlays/agent-one.yaml:2:9: error: allow[0]"), "{}", refused.stderr);
    assert!(sees(&one, "extra__echo"));
}

#[test]
fn who_lacks_the_admin_key_gets_nothing() {
    let stage = Stage::new();
    for key in ["", "Bearer", "Bearer wrong", "Basic dGhlIGFkbWluJ3Mga2V5"] {
        let request = Request::get(&stage.gateway.url_of("/admin/v1/config")).header("Authorization", key);
        assert_eq!(request.send().status, 401, "{key}");
    }
    let off = Gateway::with(&config("s")).start();
    for path in ["config", "keys", "config/versions", "elsewhere"] {
        let request = Request::get(&off.url_of(&format!("/admin/v1/{path}")));
        assert_eq!(request.header("Authorization", "Bearer ").send().status, 404, "{path}");
    }
    let refused = off.cli(&["versions", "--url", &off.url_of("")]);
    check(&refused, 1, "the admin key is missing");
}

#[test]
fn a_gateway_with_a_file_takes_no_other_configuration() {
    let gateway = Gateway::with(&config("s")).env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY).start();
    let file = gateway.folder().join("portcullis.yaml").display().to_string();
    let pushed = gateway.cli(&["push", "--config", &file, "--to", &gateway.url_of("")]);
    check(&pushed, 1, "change that file, or start the gateway with `--config remote`");
    assert!(!gateway.folder().join(".portcullis-remote.json").exists());
}

#[test]
fn two_gateways_of_a_data_folder_serve_the_same() {
    let stage = Stage::new();
    let other = Gateway::with("").configured_remotely();
    std::os::unix::fs::symlink(stage.gateway.data_dir(), other.folder().join("data")).unwrap();
    let other = other.start();
    let mine = stage.write("mine", &config("one"));
    check(&stage.push(&mine, &[]), 0, "version 1");
    wait::expect("the other gateway follows", || {
        Agent::modern(other.url()).tools().contains(&"one__echo".to_owned())
    });
}
