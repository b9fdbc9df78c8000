//! The function with its secrets in Secrets Manager, which an emulator stands for: set, used by a server that demands them,
//! rotated here and at the store, removed; and the gateway's own keys, rotated while agents work.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::aws::Emulator;
use portcullis_tests::gateway::{Builder, Gateway, Host, Readiness};
use portcullis_tests::http::Request;
use portcullis_tests::process::Finished;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

const ADMIN_KEY: &str = "the admin's key";
const NAME: &str = "tickets-key";
const KEYS: [&str; 4] = ["zx-first-31415926", "zx-second-2718281", "zx-third-16180339", "zx-fourth-1414213"];

/// What the names of a test's own secrets begin with.
fn deployment() -> String {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    format!("scenario-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

fn ask(operation: &str, what: &Value) -> Value {
    Emulator::of_secrets().ask_secrets(operation, what)
}

/// A function of that deployment before a server.
fn function(deployment: &str, servers: &Value) -> Builder {
    let config = json!({ "version": 1, "servers": servers });
    [
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", Emulator::of_secrets().url()),
        ("AWS_REGION", "eu-west-1"),
        ("PORTCULLIS_LOG", "trace"),
        ("PORTCULLIS_SECRET_PREFIX", &format!("{deployment}/servers/")),
    ]
    .into_iter()
    .fold(Gateway::with(&config.to_string()), |function, (name, value)| function.env(name, value))
    .on(Host::Lambda)
    .until(Readiness::Listening)
}

/// A server that demands a key, and the function that may be told the key.
struct Stage {
    gateway: Gateway,
    deployment: String,
    folder: TempDir,
    _server: Upstream,
}

impl Stage {
    fn new() -> Self {
        let (folder, deployment) = (toolbox::scratch(), deployment());
        let key = folder.path().join("key").display().to_string();
        let server = Upstream::fixture(&["--era", "modern", "--key-file", &key]);
        let auth = json!({ "header": { "name": "X-Key", "value": { "secret": NAME } } });
        let function = function(&deployment, &json!({ "s": { "url": server.url(), "auth": auth } }));
        let gateway = function.env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY).start();
        Self { gateway, deployment, folder, _server: server }
    }

    /// From now on the server takes this key alone.
    fn server_takes(&self, key: &str) {
        fs::write(self.folder.path().join("key"), key).expect("the test's folder can be written to");
    }

    fn secrets(&self, arguments: &[&str], input: &str) -> Finished {
        let url = self.gateway.url_of("");
        self.gateway.cli_with(&[&["secrets"], arguments, &["--url", &url]].concat(), input)
    }

    #[track_caller]
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
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code(), Some(code), "{said}");
    assert!(said.contains(says) && !KEYS.iter().any(|key| said.contains(key)), "{said}");
}

#[test]
fn a_secret_is_set_used_rotated_and_removed() {
    let stage = Stage::new();
    stage.server_takes(KEYS[0]);
    let hint = format!("portcullis secrets set {NAME}");
    wait::expect("the reason", || stage.readiness()["servers"]["s"]["reason"].to_string().contains(&hint));
    check(&stage.secrets(&["rotate", NAME], KEYS[0]), 1, "there is no secret");
    check(&stage.secrets(&["set", NAME], &format!("{}\n", KEYS[0])), 0, "is set");
    let agent = Agent::modern(stage.gateway.url());
    wait::expect("the server's tools", || agent.tools().contains(&"s__echo".to_owned()));
    stage.calls();

    // The server has not heard of the rotation yet.
    check(&stage.secrets(&["rotate", NAME], KEYS[1]), 0, "is rotated");
    stage.calls();
    stage.server_takes(KEYS[1]);
    stage.calls();

    // Somebody else rotates it at the store, which is not asked again for seconds after it had nothing new.
    let id = format!("{}/servers/{NAME}", stage.deployment);
    ask("PutSecretValue", &json!({ "SecretId": id, "SecretString": KEYS[2] }));
    stage.server_takes(KEYS[2]);
    let echo = json!({ "name": "s__echo", "arguments": {} });
    wait::expect("the new value", || agent.ask("tools/call", echo.clone()).get("result").is_some());

    check(&stage.secrets(&["set", NAME], KEYS[3]), 0, "is set");
    stage.server_takes(KEYS[3]);
    stage.calls();
    let listed: Value =
        serde_json::from_str(&stage.secrets(&["list", "--json"], "").stdout).expect("a list in JSON");
    let [only] = &listed["secrets"].as_array().expect("secrets")[..] else { panic!("{listed}") };
    assert_eq!((&only["name"], &only["used_by"]), (&json!(NAME), &json!(["s"])));

    check(&stage.secrets(&["rm", NAME], ""), 0, "needed by s");
    check(&stage.secrets(&["list"], ""), 0, "is needed and not set");
    check(&stage.secrets(&["rm", NAME], ""), 1, "there is no secret");
    check(&stage.secrets(&["set", NAME], KEYS[3]), 0, "is set");
    wait::expect("the server's tools", || agent.tools().contains(&"s__echo".to_owned()));
    let said = [stage.gateway.log(), stage.readiness().to_string()];
    assert!(!KEYS.iter().any(|key| said.iter().any(|text| text.contains(key))), "{said:?}");
}

#[test]
fn an_environment_uses_what_another_was_told() {
    let stage = Stage::new();
    stage.server_takes(KEYS[0]);
    check(&stage.secrets(&["set", NAME], KEYS[0]), 0, "is set");
    Request::post(&stage.gateway.url_of("/.function/kill")).send();
    let agent = Agent::modern(stage.gateway.url());
    wait::expect("the server's tools", || agent.tools().contains(&"s__echo".to_owned()));
    stage.calls();
}

#[test]
fn a_store_that_cannot_be_reached_is_said_to_be() {
    let server = json!({ "url": "http://127.0.0.1:1/mcp", "headers": { "X-Key": { "secret": NAME } } });
    let function = function(&deployment(), &json!({ "s": server }));
    let gateway = function.env("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1").start();
    wait::expect("the reason", || {
        let said = Request::get(&gateway.url_of("/readyz")).send().json();
        said["secrets"]["reason"].to_string().contains("Secrets Manager is out of reach")
    });
}

/// A seal key as the stack makes it of 42 letters or digits.
fn seal_key(of: char) -> String {
    format!("{}A=", of.to_string().repeat(42))
}

#[test]
fn the_gateways_own_keys_are_secrets_and_can_be_rotated() {
    let deployment = deployment();
    let [seal, admin] = ["seal-key", "admin-key"].map(|name| format!("{deployment}/gateway/{name}"));
    let upstream = Upstream::fixture(&["--era", "modern"]);
    let gateway = function(&deployment, &json!({ "s": { "url": upstream.url() } }))
        .env("PORTCULLIS_SEAL_KEY", "")
        .env("PORTCULLIS_SEAL_KEY_SECRET", &seal)
        .env("PORTCULLIS_ADMIN_KEY_SECRET", &admin)
        .until(Readiness::Answering)
        .start();
    let answer = Request::get(&gateway.url_of("/healthz")).send();
    assert_eq!(answer.status, 503);
    let said = answer.text();
    assert!(said.contains("PORTCULLIS_SEAL_KEY_SECRET: there is no such secret"), "{said}");

    ask("CreateSecret", &json!({ "Name": seal, "SecretString": seal_key('a') }));
    ask("CreateSecret", &json!({ "Name": admin, "SecretString": KEYS[0] }));
    let admits = |key: &str| {
        let request = Request::get(&gateway.url_of("/admin/v1/secrets"));
        request.header("Authorization", format!("Bearer {key}")).send().status
    };
    assert_eq!([admits(KEYS[0]), admits(KEYS[1])], [200, 401]);
    let session = Agent::modern(gateway.url()).handshake(LEGACY);
    let opens = || session.post("tools/list", json!({})).send().status;
    assert_eq!(opens(), 200);

    let put =
        |id: &str, value: &str| ask("PutSecretValue", &json!({ "SecretId": id, "SecretString": value }));
    let kill = || Request::post(&gateway.url_of("/.function/kill")).send();
    put(&seal, &seal_key('b'));
    put(&admin, KEYS[1]);
    kill();
    assert_eq!(opens(), 200, "the key before still opens");
    assert_eq!([admits(KEYS[0]), admits(KEYS[1])], [401, 200]);
    put(&seal, &seal_key('c'));
    kill();
    assert_eq!(opens(), 404, "the one before that opens nothing");
}
