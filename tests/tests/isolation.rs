//! A gateway for each identity: what one does, and what becomes of it, is nothing to the other; tried by killing, flooding and
//! probing.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::hosting::hostile;
use portcullis_tests::http::Request;
use portcullis_tests::scenario::text;
use portcullis_tests::toolbox;
use portcullis_tests::wait;
use serde_json::{Value, json};

const ADMIN: &str = "the admin's key";
/// A tool that asks its user whether it may.
const ASKS: &str = "s__test_input_required_result_request_state";

/// A gateway with callers.
struct Stage {
    gateway: Gateway,
    config: Value,
    /// Id and text of each one's key.
    keys: Vec<(String, String)>,
}

impl Stage {
    /// With two callers and these bounds of instances.
    fn new(instances: &Value) -> Self {
        Self::of(2, instances)
    }

    /// With so many callers, the first two of which have called.
    fn of(callers: usize, instances: &Value) -> Self {
        let builder = Gateway::with("");
        let data = builder.folder().join("data");
        let config = json!({
            "version": 1,
            "gateway": { "isolation": "per-identity", "instances": instances },
            "auth": { "required": true },
            "servers": {
                "s": { "command": toolbox::fixture(), "args": ["--stdio"], "env": { "OWN": "${secret:own}" } },
                "spy": { "command": hostile(), "cwd": data.join("instances") },
            },
            "agents": { "one": { "allow": ["*"] }, "two": { "allow": ["*"] } },
        });
        let builder = builder.file("portcullis.yaml", &config.to_string());
        let mut gateway = builder.env("PORTCULLIS_ADMIN_KEY", ADMIN).start();
        gateway.set_secret("own", "the secret's value");
        let key = |agent| {
            let made = gateway.cli(&["keys", "create", "--json", "--agent", agent]);
            let made: Value = serde_json::from_str(&made.stdout).expect("a key");
            (made["id"].as_str().expect("an id").to_owned(), made["key"].as_str().expect("a key").to_owned())
        };
        let keys = ["one", "two"].into_iter().cycle().take(callers).map(key).collect();
        let stage = Self { gateway, config, keys };
        for of in [0, 1] {
            let is_there = || {
                let is_let_in = stage.agent(of).post("tools/list", json!({})).send().status == 200;
                let has = |tools: &[String], name: &str| tools.iter().any(|tool| tool == name);
                is_let_in
                    && has(&stage.agent(of).tools(), "spy__view")
                    && has(&stage.agent(of).tools(), "s__env")
            };
            wait::expect("an instance with its servers", is_there);
        }
        stage
    }

    fn agent(&self, of: usize) -> Agent {
        Agent::modern(self.gateway.url()).bearer(&self.keys[of].1)
    }

    /// What a tool without arguments says to one of them.
    fn says(&self, of: usize, tool: &str) -> String {
        text(&self.agent(of).call(tool, &json!({}))).to_owned()
    }

    fn admin(&self, method: &str, path: &str) -> Request {
        let url = self.gateway.url_of(&format!("/admin/v1/{path}"));
        Request::new(method, &url).header("authorization", format!("Bearer {ADMIN}"))
    }

    /// What is known of the instance of one of them.
    fn instance(&self, of: usize) -> Option<Value> {
        let principal = format!("key:{}", self.keys[of].0);
        let mut all = self.admin("GET", "instances").send().json();
        let all = all["items"].take();
        all.as_array().expect("a list").iter().find(|instance| instance["principal"] == principal).cloned()
    }

    fn id(&self, of: usize) -> String {
        self.instance(of).expect("an instance")["id"].as_str().expect("an id").to_owned()
    }

    fn home(&self, of: usize) -> PathBuf {
        self.gateway.data_dir().join("instances").join(self.id(of))
    }

    /// The processes that are an instance.
    fn processes(&self, of: usize) -> Vec<i32> {
        let home = self.home(of).display().to_string();
        let is_it = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).collect();
            words.contains(&&b"instance"[..]) && words.contains(&home.as_bytes())
        };
        let all = fs::read_dir("/proc").expect("processes").flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_it).collect()
    }
}

#[test]
fn what_becomes_of_one_is_nothing_to_the_other() {
    let stage = Stage::new(&json!({}));
    assert_eq!([stage.says(0, "s__count"), stage.says(0, "s__count")], ["1", "2"]);
    assert_eq!(stage.says(1, "s__count"), "1", "it has a server of its own");
    let lent = stage.agent(0).call("s__env", &json!({ "name": "OWN" }));
    assert_eq!(text(&lent), "the secret's value");
    let (asking, url) = (stage.agent(0), stage.gateway.url().to_owned());
    let interrupted = std::thread::spawn(move || {
        let params = json!({ "name": "s__sleep", "arguments": { "ms": 60_000 } });
        asking.post("tools/call", params).to(&url).send().status
    });
    wait::expect("the call is under way", || stage.instance(0).expect("one")["requests"] == 1);
    let killed = stage.processes(0);
    assert!(!killed.is_empty(), "{}", stage.gateway.log());
    for pid in &killed {
        // One may end with another.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    assert_eq!(stage.says(1, "s__count"), "2", "the other goes on");
    assert_eq!(interrupted.join().expect("an answer"), 502);
    wait::expect("it comes back by a call", || {
        let params = json!({ "name": "s__count", "arguments": {} });
        stage.agent(0).post("tools/call", params).send().text().contains(r#""text":"1""#)
    });
    assert!(stage.processes(0).iter().all(|pid| !killed.contains(pid)));
    let entries = stage.gateway.cli(&["audit", "query", "--json", "--limit", "100"]).stdout;
    let mine = format!(r#""principal":"key:{}""#, stage.keys[0].0);
    let of_mine = |what: &str| entries.lines().any(|line| line.contains(&mine) && line.contains(what));
    assert!(of_mine(r#""upstream_name":"count""#) && of_mine(r#""decision":"failed""#), "{entries}");
}

#[test]
fn what_one_has_is_worth_nothing_at_the_other() {
    let stage = Stage::new(&json!({}));
    // What a call goes on with that asked something.
    let can = json!({ "elicitation": { "form": {} } });
    let call = json!({ "name": ASKS, "arguments": {} });
    let asked = stage.agent(0).capabilities(can.clone()).result("tools/call", call.clone());
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let mut answer = call;
    answer["inputResponses"] = json!({ "confirm": { "action": "accept", "content": { "ok": true } } });
    answer["requestState"] = asked["requestState"].clone();
    let of_other = stage.agent(1).capabilities(can.clone()).error("tools/call", answer.clone());
    assert_eq!(of_other["code"], -32602, "{of_other}");
    let answered = stage.agent(0).capabilities(can).result("tools/call", answer);
    assert_eq!(answered["resultType"], "complete", "{answered}");
    let of_mine = stage.agent(0).handshake(LEGACY);
    let session = of_mine.session().expect("a session");
    let status = |key: usize| {
        let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
        let request = Request::post(stage.gateway.url()).header("mcp-session-id", session);
        let request = request.header("accept", "application/json, text/event-stream");
        request.header("authorization", format!("Bearer {}", stage.keys[key].1)).json(&ping).send().status
    };
    assert_eq!((status(0), status(1)), (200, 404));
    // Nobody is let in by what only the front can say.
    let forged = stage.agent(1).header("portcullis-handed", "AAAA").post("tools/list", json!({})).send();
    assert_eq!(forged.status, 200, "it is not looked at");

    let seen = stage.says(0, "spy__view");
    let folder = seen.lines().find_map(|line| line.strip_prefix("folder: ")).expect("it looks at a folder");
    assert_eq!(folder.trim(), stage.id(0), "of all instances it sees its own: {seen}");
    let seen_of_home = seen.lines().find(|line| line.starts_with("home: ")).expect("its home");
    assert!(!seen_of_home.contains("seal.key"), "{seen}");
    for name in ["PORTCULLIS_ADMIN_KEY", "PORTCULLIS_SEAL_KEY"] {
        assert!(!seen.contains(name), "{seen}");
    }
    let writes =
        |path: PathBuf| text(&stage.agent(0).call("spy__write", &json!({ "path": path }))).to_owned();
    assert_eq!(writes(stage.home(0).join("own")), "written");
    for elsewhere in [stage.home(1), stage.gateway.data_dir(), stage.gateway.folder().to_owned()] {
        let said = writes(elsewhere.join("pwn"));
        assert!(said.starts_with("refused"), "{said}");
        assert!(!elsewhere.join("pwn").exists());
    }
}

#[test]
fn a_flood_of_one_is_refused_to_that_one() {
    let stage = Stage::new(&json!({ "requests": 2 }));
    let params = || json!({ "name": "s__sleep", "arguments": { "ms": 60_000 } });
    // Two are answered at a time, and two wait.
    let held: Vec<_> = (0..4).map(|_| stage.agent(0).post("tools/call", params()).begin()).collect();
    let refused = stage.agent(0).post("tools/call", params()).send();
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("busy"));
    assert_eq!(stage.says(1, "s__count"), "1", "the other is answered");
    drop(held);
    wait::expect("it is answered again", || {
        stage.agent(0).post("tools/list", json!({})).send().status == 200
    });
}

#[test]
fn one_that_nobody_asks_is_put_away_and_one_that_is_removed_leaves_nothing() {
    let stage = Stage::new(&json!({ "idle": "1s" }));
    let agent = stage.agent(0).handshake(LEGACY);
    assert_eq!(text(&agent.call("s__count", &json!({}))), "1");
    let is_resting = |of: usize| stage.instance(of).is_some_and(|instance| instance["state"] == "resting");
    wait::expect("both are put away", || is_resting(0) && is_resting(1));
    assert!(stage.processes(0).is_empty(), "no process is left");
    wait::expect("its session goes on in the next process", || {
        let params = json!({ "name": "s__count", "arguments": {} });
        agent.post("tools/call", params).send().text().contains(r#""text":"1""#)
    });

    let (home, id, of_other) = (stage.home(0), stage.id(0), stage.home(1));
    assert!(home.is_dir() && of_other.is_dir());
    let url = stage.gateway.url_of("");
    let listed = stage.gateway.cli(&["instances", "list", "--url", &url]);
    assert!(listed.stdout.contains(&id), "{}{}", listed.stdout, listed.stderr);
    let removed = stage.gateway.cli(&["instances", "rm", &id, "--url", &url]);
    assert_eq!(removed.code(), Some(0), "{}", removed.stderr);
    assert!(!home.exists() && !home.with_extension("json").exists() && of_other.is_dir());
    assert_eq!(stage.instance(0), None);
    assert_eq!(stage.admin("DELETE", &format!("instances/{id}")).send().status, 404);
    wait::expect("its next request makes another", || {
        stage.agent(0).post("tools/list", json!({})).send().status == 200 && home.is_dir()
    });
}

#[test]
fn another_configuration_counts_in_what_runs_and_takes_nothing_from_it() {
    let mut stage = Stage::new(&json!({ "requests": 1 }));
    let of_mine = stage.agent(0).handshake(LEGACY);
    assert_eq!(text(&of_mine.call("s__count", &json!({}))), "1");
    let (processes, kept) = (stage.processes(0), stage.home(0).join("kept"));
    let wrote = stage.agent(0).call("spy__write", &json!({ "path": kept }));
    assert_eq!(text(&wrote), "written");
    stage.config["servers"]["more"] = json!({ "command": toolbox::fixture(), "args": ["--stdio"] });
    stage.config["agents"]["one"] = json!({ "allow": ["*"], "deny": ["s/echo"] });
    stage.config["servers"].as_object_mut().expect("servers").remove("spy");
    stage.config["gateway"]["instances"]["requests"] = json!(2);
    stage.gateway.write("portcullis.yaml", &stage.config.to_string());
    wait::expect("its instance serves what is in force now", || {
        let tools = stage.agent(0).tools();
        let has = |name: &str| tools.iter().any(|tool| tool == name);
        has("more__count") && !has("spy__view") && !has("s__echo") && has("s__count")
    });
    let denied = stage.agent(0).error("tools/call", json!({ "name": "s__echo", "arguments": {} }));
    assert!(denied["code"].is_i64(), "{denied}");
    assert!(stage.agent(1).tools().iter().any(|tool| tool == "s__echo"), "to the other it is not refused");
    // It is the same process with the same session, server and files.
    assert_eq!(text(&of_mine.call("s__count", &json!({}))), "2");
    assert_eq!((stage.processes(0), kept.exists()), (processes, true));
    // One is under way and one is answered; with one place it would wait, and be refused.
    let params = json!({ "name": "s__sleep", "arguments": { "ms": 60_000 } });
    let under_way = stage.agent(0).post("tools/call", params).begin();
    wait::expect("the call is under way", || stage.instance(0).expect("one")["requests"] == 1);
    assert_eq!(stage.says(0, "s__count"), "3", "it has a place of its own");
    drop(under_way);
}

#[test]
fn a_key_that_is_revoked_ends_what_its_instance_does_and_nothing_of_the_others() {
    let stage = Stage::new(&json!({}));
    let listening = |of: usize| {
        let params = json!({ "notifications": { "toolsListChanged": true } });
        let response = stage.agent(of).post("subscriptions/listen", params).send();
        assert_eq!(response.status, 200);
        let mut events = response.events();
        assert!(events.next().is_some(), "the acknowledgement");
        events
    };
    let (mine, mut of_other) = (listening(0), listening(1));
    let session = stage.agent(0).handshake(LEGACY);
    let revoked = stage.gateway.cli(&["keys", "revoke", &stage.keys[0].0]);
    assert_eq!(revoked.code(), Some(0), "{}", revoked.stderr);
    let last = mine.last().expect("it says goodbye").json();
    assert_eq!(last["result"]["resultType"], "complete", "{last}");
    for refused in [stage.agent(0).post("tools/list", json!({})), session.post("tools/list", json!({}))] {
        assert_eq!(refused.send().status, 401);
    }
    wait::expect("nobody asks its instance anything", || {
        stage.instance(0).is_some_and(|instance| instance["requests"] == 0)
    });
    assert_eq!(stage.says(1, "s__count"), "1");
    let mut config = stage.config.clone();
    config["servers"]["more"] = json!({ "command": toolbox::fixture(), "args": ["--stdio"] });
    stage.gateway.write("portcullis.yaml", &config.to_string());
    assert!(of_other.next().is_some(), "the other's stream goes on");
}

#[test]
fn no_more_run_than_may_and_who_floods_sends_none_away() {
    let stage = Stage::of(6, &json!({ "most": 2, "requests": 2 }));
    let running = || (0..6).filter(|of| !stage.processes(*of).is_empty()).count();
    let params = || json!({ "name": "s__sleep", "arguments": { "ms": 60_000 } });
    let two = stage.processes(1);
    assert_eq!(stage.says(1, "s__count"), "1");
    let held: Vec<_> = (0..40).map(|_| stage.agent(0).post("tools/call", params()).begin()).collect();
    wait::expect("the flood is there", || stage.instance(0).expect("one")["requests"] == 2);
    assert_eq!((stage.says(1, "s__count"), stage.processes(1)), ("2".to_owned(), two));
    drop(held);
    wait::expect("it is over", || stage.instance(0).expect("one")["requests"] == 0);
    // All at once, each until it is answered.
    std::thread::scope(|scope| {
        for of in 2..6 {
            let stage = &stage;
            scope.spawn(move || {
                wait::expect("each has its turn", || {
                    stage.agent(of).post("tools/list", json!({})).send().status == 200
                });
            });
        }
    });
    assert!((1..=2).contains(&running()), "{} run", running());
    let listed = (0..6).filter(|of| stage.instance(*of).is_some_and(|one| one["state"] == "running")).count();
    assert_eq!(listed, running());
}
