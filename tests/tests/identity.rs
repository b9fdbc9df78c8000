//! Who is let in over real HTTP, with keys that the command line makes, and that what one caller was given serves no other.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::{Request, Response};
use portcullis_tests::process::Background;
use portcullis_tests::scenario::{self, received, text};
use portcullis_tests::sse_agent;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::{Upstream, free_port};
use portcullis_tests::wait;
use serde_json::{Value, json};

/// Two agents that may do everything; whoever is neither may do nothing.
const AGENTS: &str = r#"
agents:
  one: { allow: ["*"] }
  two: { allow: ["*"] }
  default: { deny: ["*"] }
"#;

struct Stage {
    gateway: Gateway,
    _upstream: Upstream,
    record: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// A gateway that asks for keys, before a server of that era.
    fn new(era: &str, auth: &str) -> Self {
        let folder = toolbox::scratch();
        let record = folder.path().join("record");
        let upstream = Upstream::fixture(&["--era", era, "--record", &record.display().to_string()]);
        let url = json!(upstream.url());
        let config = format!("version: 1\nauth: {auth}\nservers:\n  s: {{ url: {url} }}\n{AGENTS}");
        let gateway = Gateway::with(&config).env("PORTCULLIS_ADMIN_KEY", "the admin's key").start();
        Self { gateway, record, _upstream: upstream, _folder: folder }
    }

    fn requiring(era: &str) -> Self {
        Self::new(era, "{ required: true, header: x-key }")
    }

    /// Makes a key on the command line; returns its id and its text once the gateway takes it.
    fn key(&self, options: &[&str]) -> (String, String) {
        let made = self.keys(&[&["create", "--json"], options].concat());
        let part = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        let (id, key) = (part("id"), part("key"));
        wait::expect("the new key is taken", || self.status(&key) == 200);
        (id, key)
    }

    fn keys(&self, arguments: &[&str]) -> Value {
        let ran = self.gateway.cli(&[&["keys"], arguments].concat());
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap_or(Value::Null)
    }

    fn agent(&self, key: &str) -> Agent {
        Agent::modern(self.gateway.url()).bearer(key)
    }

    fn status(&self, key: &str) -> u16 {
        self.agent(key).post("tools/list", json!({})).send().status
    }
}

/// What is told of a refusal: its status, its challenge and its text.
fn told(response: Response) -> (u16, Option<String>, String) {
    let challenge = response.header("www-authenticate").map(str::to_owned);
    (response.status, challenge, response.text())
}

#[test]
fn a_key_opens_the_gateway_until_it_is_revoked() {
    let mut stage = Stage::requiring("modern");
    let list = |agent: Agent| agent.post("tools/list", json!({})).send();
    let nobody = || Agent::modern(stage.gateway.url());
    let (status, challenge, _) = told(list(nobody()));
    assert_eq!((status, challenge.as_deref()), (401, Some("Bearer realm=\"portcullis\"")));
    let (id, key) = stage.key(&["--agent", "one", "--comment", "the tests'"]);
    assert!(stage.agent(&key).tools().contains(&"s__echo".to_owned()));
    assert_eq!(list(nobody().header("X-Key", &key)).status, 200);
    assert_eq!(list(nobody().header("X-Key", &key).bearer(&key)).status, 400, "two credentials");
    let (_, of_another) = Stage::requiring("modern").key(&["--agent", "one"]);
    let unknown = told(list(nobody().bearer(&of_another)));
    assert_eq!(unknown.0, 401);
    assert_eq!(unknown.1.as_deref(), Some("Bearer realm=\"portcullis\", error=\"invalid_token\""));
    let mistyped = told(list(nobody().bearer(&key[..key.len() - 1])));
    assert!(mistyped.0 == 401 && mistyped.2.contains("checksum"), "{mistyped:?}");
    for path in ["/healthz", "/healthcheck", "/readyz"] {
        assert_eq!(Request::get(&stage.gateway.url_of(path)).send().status, 200, "{path}");
    }
    stage.keys(&["revoke", &id]);
    wait::expect("the key is refused", || stage.status(&key) == 401);
    assert_eq!(told(list(nobody().bearer(&key))), unknown, "as one that never was");

    stage.gateway.process().stop();
    let listed = stage.keys(&["list", "--json"]);
    let kept = &listed[0];
    assert_eq!((&kept["id"], &kept["agent"], &kept["state"]), (&json!(id), &json!("one"), &json!("revoked")));
    assert!(kept["last_used"].is_string() && kept["revoked"].is_string(), "{kept}");
    assert!(!listed.to_string().contains(&key));
    for file in std::fs::read_dir(stage.gateway.data_dir()).expect("the data folder").flatten() {
        if file.file_name().to_string_lossy().starts_with("portcullis.db") {
            let mode = file.metadata().expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
            let bytes = std::fs::read(file.path()).expect("a file");
            assert!(!bytes.windows(key.len()).any(|window| window == key.as_bytes()), "only hashes are kept");
        }
    }
    let log = stage.gateway.log();
    assert!(!log.contains(&key), "{log}");
}

#[test]
fn an_expired_key_is_refused_as_an_unknown_one() {
    let stage = Stage::requiring("modern");
    let (_, lasting) = stage.key(&["--agent", "one"]);
    let made = stage.keys(&["create", "--agent", "one", "--expires", "1s", "--json"]);
    let key = made["key"].as_str().expect("a key");
    wait::expect("it has expired", || {
        stage
            .keys(&["list", "--json"])
            .as_array()
            .is_some_and(|keys| keys.iter().any(|key| key["state"] == "expired"))
    });
    let list = |key: &str| told(stage.agent(key).post("tools/list", json!({})).send());
    let (_, unknown) = Stage::requiring("modern").key(&["--agent", "one"]);
    assert_eq!(list(key), list(&unknown));
    assert_eq!(list(&lasting).0, 200);
}

#[test]
fn a_key_of_an_agent_that_the_policy_does_not_name_is_forbidden() {
    let stage = Stage::requiring("modern");
    let ran = stage.gateway.cli(&["keys", "create", "--agent", "gone"]);
    assert!(ran.stderr.contains("names no agent \"gone\""), "{}", ran.stderr);
    let key = ran.stdout.trim();
    wait::expect("the gateway knows the key", || stage.status(key) == 403);
}

#[test]
fn the_command_line_asks_with_a_key_and_is_an_agent_here() {
    let stage = Stage::requiring("modern");
    let (_, key) = stage.key(&["--agent", "one"]);
    let url = stage.gateway.url();
    let without = stage.gateway.cli(&["tools", "--url", url]);
    assert!(without.code() == Some(1) && without.stderr.contains("Unauthorized"), "{}", without.stderr);
    let with = stage.gateway.cli(&["tools", "--url", url, "--key", &key]);
    assert!(with.stdout.contains("s__echo"), "{}", with.stderr);
    let local = stage.gateway.cli(&["call", "s__echo", "--args", "{\"message\":\"hi\"}", "--as", "two"]);
    assert!(local.stdout.contains("hi"), "{}", local.stderr);
    let nobody = stage.gateway.cli(&["tools", "--as", "three"]);
    assert_eq!(nobody.code(), Some(1), "{}", nobody.stdout);
}

#[test]
fn a_stolen_session_opens_for_nobody_else() {
    for era in ["modern", "legacy"] {
        let stage = Stage::new(era, "{ header: x-key }");
        let ((id, one), (_, two)) = (stage.key(&["--agent", "one"]), stage.key(&["--agent", "two"]));
        let owner = stage.agent(&one).handshake(LEGACY);
        let stolen = owner.session().expect("a session").to_owned();
        let present = |session: &str, key: Option<&str>, method: &str| {
            let url = stage.gateway.url();
            let mut request = match method {
                "POST" => {
                    Request::post(url).json(&json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/list" }))
                }
                method => Request::new(method, url),
            };
            request = request
                .header("Accept", "application/json, text/event-stream")
                .header("Mcp-Session-Id", session);
            if let Some(key) = key {
                request = request.header("X-Key", key);
            }
            told(request.send())
        };
        for method in ["POST", "GET", "DELETE"] {
            let forged = present("forged", Some(&two), method);
            assert_eq!(forged.0, 404);
            assert_eq!(present(&stolen, Some(&two), method), forged, "{method} by another");
            assert_eq!(present(&stolen, None, method), present("forged", None, method), "{method} by nobody");
        }
        assert!(owner.tools().contains(&"s__echo".to_owned()), "it is still its owner's");
        stage.keys(&["revoke", &id]);
        wait::expect("its owner is refused", || present(&stolen, Some(&one), "POST").0 == 401);
        assert_eq!(present(&stolen, Some(&two), "POST").0, 404);
    }
}

#[test]
fn a_stolen_request_state_opens_for_nobody_else() {
    let eras: BTreeSet<_> = scenario::servers_that_ask().into_iter().map(|(era, _)| era).collect();
    for era in eras {
        let stage = Stage::new(era, "{ header: x-key }");
        let ((_, one), (_, two)) = (stage.key(&["--agent", "one"]), stage.key(&["--agent", "two"]));
        let agent = |key: Option<&str>| {
            let asked = Agent::modern(stage.gateway.url()).capabilities(json!({ "elicitation": {} }));
            key.map_or_else(|| Agent::modern(stage.gateway.url()), |key| asked.bearer(key))
        };
        let call = json!({ "name": "s__confirm_count", "arguments": {} });
        let asked = agent(Some(&one)).result("tools/call", call.clone());
        assert_eq!(asked["resultType"], "input_required", "{asked}");
        let mut retry = call.clone();
        retry["requestState"] = asked["requestState"].clone();
        for key in asked["inputRequests"].as_object().expect("questions").keys() {
            retry["inputResponses"][key] = json!({ "action": "accept", "content": { "ok": true } });
        }
        let mut forged = retry.clone();
        forged["requestState"] = json!("forged");
        let calls =
            || received(stage.record.clone()).iter().filter(|line| line["method"] == "tools/call").count();
        let before = calls();
        let by_two = |params: &Value| agent(Some(&two)).error("tools/call", params.clone());
        assert_eq!(by_two(&retry), by_two(&forged), "{era}");
        let by_nobody = |params: &Value| agent(None).error("tools/call", params.clone());
        assert_eq!(by_nobody(&retry), by_nobody(&forged), "{era}");
        assert_eq!(calls(), before, "the server hears nothing of it");
        assert_eq!(text(&agent(Some(&one)).result("tools/call", retry)), "Counted: 1", "{era}");
    }
}

#[test]
fn a_stream_takes_messages_only_of_who_opened_it() {
    let stage = Stage::requiring("legacy");
    let ((id, one), (_, two)) = (stage.key(&["--agent", "one"]), stage.key(&["--agent", "two"]));
    let mut agent = sse_agent::Agent::opened_with(&stage.gateway, &[("X-Key", &one)]);
    agent.initialize("2024-11-05", &json!({}));
    assert!(agent.call("s__echo", &json!({ "message": "mine" })).contains("mine"));
    let ping = json!({ "jsonrpc": "2.0", "id": 99, "method": "ping" });
    let post = |url: &str, key: Option<&str>| {
        let request = Request::post(url).json(&ping);
        told(key.map_or(request.clone(), |key| request.header("X-Key", key)).send())
    };
    let forged = post(&stage.gateway.url_of("/messages?sessionId=forged"), Some(&two));
    assert_eq!(forged.0, 404);
    assert_eq!(post(&agent.endpoint, Some(&two)), forged);
    assert_eq!(post(&agent.endpoint, None).0, 401);
    assert!(agent.call("s__echo", &json!({ "message": "still" })).contains("still"));
    stage.keys(&["revoke", &id]);
    while agent.hear().is_some() {}
    assert_eq!(post(&agent.endpoint, Some(&one)).0, 401);
}

#[test]
fn an_open_stream_ends_when_its_key_is_revoked() {
    let stage = Stage::requiring("modern");
    let (id, key) = stage.key(&["--agent", "one"]);
    let listening = stage
        .agent(&key)
        .post("subscriptions/listen", json!({ "notifications": { "toolsListChanged": true } }))
        .send();
    assert_eq!(listening.status, 200);
    let mut events = listening.events();
    assert!(events.next().is_some(), "the acknowledgement");
    stage.keys(&["revoke", &id]);
    let last = events.last().expect("it says goodbye").json();
    assert_eq!(last["result"]["resultType"], "complete", "{last}");
}

#[test]
fn an_agents_credential_never_goes_upstream() {
    for era in ["modern", "legacy"] {
        let stage = Stage::new(era, "{ header: x-key }");
        let (_, key) = stage.key(&["--agent", "one"]);
        stage.agent(&key).call("s__echo", &json!({ "message": "a" }));
        let in_header = Agent::modern(stage.gateway.url()).header("X-Key", &key);
        in_header.call("s__echo", &json!({ "message": "b" }));
        let session = stage.agent(&key).handshake(LEGACY);
        session.call("s__echo", &json!({ "message": "c" }));
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl";
        let (status, _, why) = told(stage.agent(token).post("tools/list", json!({})).send());
        assert!(status == 401 && why.contains("identity provider"), "{status} {why}");
        let all = Value::from(received(stage.record.clone())).to_string();
        assert!(all.contains("tools/call"), "{all}");
        for secret in [key.as_str(), token, "x-key", "authorization"] {
            assert!(!all.to_lowercase().contains(&secret.to_lowercase()), "{secret} in {all}");
        }
    }
}

#[test]
fn a_gateway_that_asks_for_keys_may_serve_other_machines() {
    let upstream = Upstream::fixture(&["--era", "modern"]);
    let url = json!(upstream.url());
    let config = |auth: &str| format!("version: 1\n{auth}servers:\n  s: {{ url: {url} }}\n");
    let open = Gateway::start(&config(""));
    let port = free_port();
    let address = format!("0.0.0.0:{port}");
    let refused = open.cli(&["serve", "--listen", &address]);
    assert!(refused.code() == Some(1) && refused.stderr.contains("auth.required"), "{}", refused.stderr);

    let folder = toolbox::scratch();
    let file = folder.path().join("portcullis.yaml");
    std::fs::write(&file, config("auth: { required: true }\n")).expect("the folder can be written to");
    let mut command = Command::new(toolbox::gateway());
    command.args(["serve", "--listen", &address, "--config"]).arg(&file);
    command.arg("--data-dir").arg(folder.path().join("data"));
    let mut guarded = Background::start(&command);
    let url = format!("http://127.0.0.1:{port}/mcp");
    guarded.await_line("the gateway's endpoint", |line| line.contains(&url).then_some(()));
    let connect = format!(r#"portcullis {url} --header "Authorization: Bearer $PORTCULLIS_KEY""#);
    guarded.await_line("how to send a key", |line| line.contains(&connect).then_some(()));
    assert!(guarded.log().contains("portcullis keys create --agent NAME"), "{}", guarded.log());
    std::fs::write(&file, config("")).expect("the folder can be written to");
    wait::expect("the change is refused", || guarded.log().contains("without `auth.required`"));
    assert_eq!(Agent::modern(&url).post("tools/list", json!({})).send().status, 401);
}

#[test]
fn the_one_key_of_an_mcpx_folder_is_asked_for_in_mcpx_own_words() {
    let server = json!({ "type": "stdio", "command": toolbox::fixture(), "args": ["--stdio"] });
    let servers = json!({ "mcpServers": { "s": server } }).to_string();
    for (header, app) in [
        ("x-lunar-api-key", "permissions: { default: { block: [] } }\nauth: { enabled: true }\n"),
        (
            "x-own-key",
            "permissions: { default: { block: [] } }\nauth: { enabled: true, header: x-own-key }\n",
        ),
    ] {
        let folder = Gateway::with("").file("mcp.json", &servers).file("app.yaml", app);
        std::fs::remove_file(folder.folder().join("portcullis.yaml")).expect("the file is the test's");
        let gateway = folder.config_path(".").env("AUTH_KEY", "the one key").start();
        let with = |key: Option<&str>| {
            let agent = Agent::modern(gateway.url());
            let agent = key.map_or_else(|| Agent::modern(gateway.url()), |key| agent.header(header, key));
            let response = agent.post("tools/list", json!({})).send();
            (response.status, response.text())
        };
        assert_eq!(with(None), (401, "Unauthorized: API key required".to_owned()));
        assert_eq!(with(Some("another key")), (403, "Forbidden: Invalid API key".to_owned()));
        let (status, tools) = with(Some("the one key"));
        assert!(status == 200 && tools.contains("s__echo"), "{status} {tools}");
        assert_eq!(Request::get(&gateway.url_of("/healthcheck")).send().status, 200);
    }
}
