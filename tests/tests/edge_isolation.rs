//! A gateway for each identity, on the Worker: an object with an instance of WebAssembly of its own. What one does, or what becomes
//! of it, is nothing to the other; tried by ending, flooding, probing and removing one.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::gateway::{Builder, Gateway, Host};
use portcullis_tests::hostile::{Done, Exchange, Hostile};
use portcullis_tests::http::{Request, Response};
use portcullis_tests::scenario::text;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait;
use serde_json::{Value, json};

const ADMIN: &str = "the admin's key";
/// Tools that ask their user: a server that holds nothing meanwhile, and one before which a call is parked.
const ASKING: [(&str, &str); 2] =
    [("modern__test_input_required_result_request_state", "ok"), ("legacy__ask_elicitation", "answer")];

/// A server with sessions: `who` says in which one it is asked, and so does `hold`, once it is let go.
#[derive(Default)]
struct Sessions {
    begun: AtomicUsize,
    held: AtomicUsize,
    lets_go: (Mutex<bool>, Condvar),
}

impl Sessions {
    fn answer(&self, exchange: &mut Exchange) -> io::Result<Done> {
        match exchange.method() {
            "initialize" => {
                let number = self.begun.fetch_add(1, Ordering::Relaxed);
                let result = json!({
                    "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                    "serverInfo": { "name": "sessions", "version": "1" },
                });
                let body = json!({ "jsonrpc": "2.0", "id": exchange.id(), "result": result }).to_string();
                let headers =
                    format!("Content-Type: application/json\r\nMcp-Session-Id: session-{number}\r\n");
                exchange.respond(200, &headers, body)?;
            }
            "tools/list" => {
                let tools =
                    ["who", "hold"].map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }));
                exchange.result(&json!({ "tools": tools }))?;
            }
            "tools/call" => {
                if exchange.message["params"]["name"] == "hold" {
                    self.hold();
                }
                let head = exchange.head.to_ascii_lowercase();
                let session = head.lines().find_map(|line| line.strip_prefix("mcp-session-id:"));
                let session = session.unwrap_or_default().trim();
                exchange.result(&json!({ "content": [{ "type": "text", "text": session }] }))?;
            }
            _ => return Ok(Done::Behave),
        }
        Ok(Done::Answered)
    }

    fn hold(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
        let mut let_go = self.lets_go.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*let_go {
            let_go = self.lets_go.1.wait(let_go).unwrap_or_else(PoisonError::into_inner);
        }
        self.held.fetch_sub(1, Ordering::Relaxed);
    }

    fn let_go(&self) {
        *self.lets_go.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.lets_go.1.notify_all();
    }
}

/// A Worker with two callers before three servers.
struct Stage {
    gateway: Gateway,
    sessions: Arc<Sessions>,
    /// Id and text of each one's key.
    keys: [(String, String); 2],
    _servers: [Upstream; 2],
}

impl Stage {
    /// With these bounds of instances.
    fn new(instances: &Value, how: impl FnOnce(Builder) -> Builder) -> Self {
        let stage = Self::that_may_refuse(instances, how);
        for of in [0, 1] {
            let has_all = || {
                let answer = stage.agent(of).post("tools/list", json!({})).send();
                let is_there = answer.status == 200;
                let listed = answer.text();
                is_there && ["s__who", ASKING[0].0, ASKING[1].0].iter().all(|name| listed.contains(name))
            };
            wait::expect("an instance with its servers", has_all);
        }
        stage
    }

    fn that_may_refuse(instances: &Value, how: impl FnOnce(Builder) -> Builder) -> Self {
        let sessions = Arc::<Sessions>::default();
        let answering = sessions.clone();
        let server = Hostile::legacy(move |exchange| answering.answer(exchange));
        let asking = ["modern", "legacy"].map(|era| Upstream::fixture(&["--era", era]));
        let config = json!({
            "version": 1,
            "gateway": { "isolation": "per-identity", "instances": instances },
            "auth": { "required": true },
            "servers": {
                "s": { "url": server.url() },
                "modern": { "url": asking[0].url() },
                "legacy": { "url": asking[1].url() },
            },
            "agents": { "one": { "allow": ["*"] }, "two": { "allow": ["*"] } },
        });
        let builder = Gateway::with(&config.to_string()).on(Host::Edge).env("PORTCULLIS_ADMIN_KEY", ADMIN);
        let gateway = how(builder.of_worker("planned", json!(true))).start();
        let keys = ["one", "two"].map(|agent| {
            let made = gateway.cli(&["keys", "create", "--json", "--agent", agent]);
            let made: Value =
                serde_json::from_str(&made.stdout).unwrap_or_else(|_| panic!("{}", made.stderr));
            (made["id"].as_str().expect("an id").to_owned(), made["key"].as_str().expect("a key").to_owned())
        });
        Self { gateway, sessions, keys, _servers: asking }
    }

    fn agent(&self, of: usize) -> Agent {
        Agent::modern(self.gateway.url()).bearer(&self.keys[of].1)
    }

    /// In which session of the server one of them is.
    fn session(&self, of: usize) -> String {
        text(&self.agent(of).call("s__who", &json!({}))).to_owned()
    }

    /// A call that the server holds, once it does.
    fn hold(&self, of: usize) -> JoinHandle<Response> {
        let before = self.sessions.held.load(Ordering::Relaxed);
        let call = self.agent(of).post("tools/call", json!({ "name": "s__hold", "arguments": {} }));
        let call = thread::spawn(move || call.send());
        wait::expect("a call is held", || self.sessions.held.load(Ordering::Relaxed) == before + 1);
        call
    }

    /// What comes of a request at which the gateway of one of them fails in this way.
    fn fail(&self, of: usize, how: &str) -> u16 {
        self.agent(of).header("planned", how).post("tools/list", json!({})).send().status
    }

    /// Calls a tool that asks; returns what answers it.
    fn asked(&self, of: usize, (tool, field): (&str, &str)) -> Value {
        let call = json!({ "name": tool, "arguments": {} });
        let asked = self.able(of).result("tools/call", call.clone());
        assert_eq!(asked["resultType"], "input_required", "{asked}");
        let key = asked["inputRequests"].as_object().and_then(|all| all.keys().next()).expect("a question");
        let said = if field == "ok" { json!(true) } else { json!("blue") };
        let mut answer = call;
        answer["inputResponses"] =
            json!({ key.as_str(): { "action": "accept", "content": { field: said } } });
        answer["requestState"] = asked["requestState"].clone();
        answer
    }

    fn able(&self, of: usize) -> Agent {
        self.agent(of).capabilities(json!({ "elicitation": { "form": {} } }))
    }

    fn admin(&self, method: &str, path: &str) -> Response {
        let url = self.gateway.url_of(&format!("/admin/v1/{path}"));
        Request::new(method, &url).header("authorization", format!("Bearer {ADMIN}")).send()
    }

    /// What is known of the instance of one of them.
    fn instance(&self, of: usize) -> Option<Value> {
        let principal = format!("key:{}", self.keys[of].0);
        let mut all = self.admin("GET", "instances").json();
        let all = all["items"].take();
        all.as_array().expect("a list").iter().find(|instance| instance["principal"] == principal).cloned()
    }

    /// What the gateway of one of them has stored.
    fn stored(&self, of: usize) -> Value {
        self.agent(of).header("planned", "stored").post("tools/list", json!({})).send().json()
    }
}

#[test]
fn what_becomes_of_one_is_nothing_to_the_other() {
    let stage = Stage::new(&json!({}), |builder| builder);
    let others = stage.session(1);
    let held = stage.hold(1);
    for how in ["traps", "aborts"] {
        let mine = stage.session(0);
        assert_eq!(stage.session(0), mine, "it keeps its session");
        assert_ne!(mine, others, "each has one of its own");
        assert_eq!(stage.fail(0, how), 502, "{how}");
        assert_eq!(stage.session(1), others, "{how}: the other goes on");
        wait::expect("it comes back", || stage.agent(0).post("tools/list", json!({})).send().status == 200);
        wait::expect("with its servers", || stage.agent(0).tools().iter().any(|tool| tool == "s__who"));
        assert_ne!(stage.session(0), mine, "{how}: it knows nothing of before");
    }
    stage.sessions.let_go();
    let answered = held.join().expect("an answer");
    assert_eq!(answered.status, 200);
    assert!(answered.text().contains(&others), "what the other had under way goes on");
}

#[test]
fn what_one_has_is_worth_nothing_at_the_other() {
    let stage = Stage::new(&json!({}), |builder| builder);
    for asking in ASKING {
        let answer = stage.asked(0, asking);
        let of_other = stage.able(1).ask("tools/call", answer.clone());
        assert!(of_other.get("error").is_some(), "{of_other}");
        let answered = stage.able(0).result("tools/call", answer);
        assert_eq!(answered["resultType"], "complete", "{answered}");
    }
    let of_mine = stage.agent(0).handshake(LEGACY);
    let session = of_mine.session().expect("a session");
    let asks = |key: usize, method: &str| {
        let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
        let request = Request::new(method, stage.gateway.url()).header("mcp-session-id", session);
        let request = request.header("accept", "application/json, text/event-stream");
        let request = request.header("authorization", format!("Bearer {}", stage.keys[key].1));
        if method == "POST" { request.json(&ping).send().status } else { request.send().status }
    };
    assert_eq!((asks(1, "POST"), asks(1, "GET"), asks(1, "DELETE")), (404, 404, 404));
    assert_eq!(asks(0, "POST"), 200, "nothing has become of it");
    // Nobody is let in by what only the Worker can say, and nobody ends an object as the Worker does.
    let forged = stage.agent(1).header("portcullis-handed", "AAAA").post("tools/list", json!({})).send();
    assert_eq!(forged.status, 200, "it is not looked at");
    let before = stage.session(0);
    for path in ["/memory", "/storage"] {
        let url = stage.gateway.url_of(path);
        let request =
            Request::new("DELETE", &url).header("authorization", format!("Bearer {}", stage.keys[0].1));
        assert_eq!(request.send().status, 404);
    }
    assert_eq!(stage.session(0), before);
}

#[test]
fn a_flood_of_one_is_refused_to_that_one() {
    let stage = Stage::new(&json!({ "requests": 2 }), |builder| builder);
    let held = [stage.hold(0), stage.hold(0)];
    let refused = stage.agent(0).post("tools/list", json!({})).send();
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("busy"));
    assert!(stage.session(1).starts_with("session-"), "the other is answered");
    stage.sessions.let_go();
    for held in held {
        assert_eq!(held.join().expect("an answer").status, 200);
    }
    wait::expect("it is answered again", || {
        stage.agent(0).post("tools/list", json!({})).send().status == 200
    });
}

#[test]
fn one_that_is_removed_leaves_nothing() {
    let stage = Stage::new(&json!({}), Builder::governing);
    let (mine, others) = (stage.session(0), stage.session(1));
    let parked = [stage.asked(0, ASKING[1]), stage.asked(1, ASKING[1])];
    for of in [0, 1] {
        let session = stage.agent(of).handshake(LEGACY);
        let end = Request::new("DELETE", stage.gateway.url())
            .header("authorization", format!("Bearer {}", stage.keys[of].1))
            .header("mcp-session-id", session.session().expect("a session"));
        assert_eq!(end.send().status, 200);
        assert_ne!(stage.stored(of), json!([]), "that a session has ended is stored");
    }
    let held = stage.hold(0);
    let instance = stage.instance(0).expect("it is listed");
    assert_eq!((&instance["state"], &instance["requests"]), (&json!("running"), &json!(1)), "{instance}");
    let (id, url) = (instance["id"].as_str().expect("an id"), stage.gateway.url_of(""));
    let listed = stage.gateway.cli(&["instances", "list", "--url", &url]);
    assert!(listed.stdout.contains(id), "{}{}", listed.stdout, listed.stderr);
    let removed = stage.gateway.cli(&["instances", "rm", id, "--url", &url]);
    assert_eq!(removed.code(), Some(0), "{}", removed.stderr);
    assert_eq!(held.join().expect("an answer").status, 502, "what it had under way ends");
    assert_eq!(stage.instance(0), None);
    assert_eq!(stage.admin("DELETE", &format!("instances/{id}")).status, 404);
    assert_eq!(stage.stored(0), json!([]));
    assert_ne!(stage.stored(1), json!([]));

    assert!(stage.instance(1).is_some(), "the other is there");
    assert_eq!(stage.session(1), others);
    let [of_mine, of_other] = parked;
    let answered = stage.able(1).result("tools/call", of_other);
    assert!(text(&answered).contains("blue"), "{answered}");
    let gone = stage.able(0).ask("tools/call", of_mine);
    assert!(gone.get("error").is_some(), "{gone}");
    wait::expect("its next request makes another", || {
        stage.agent(0).tools().iter().any(|tool| tool == "s__who")
    });
    assert_ne!(stage.session(0), mine);
    assert_eq!(stage.instance(0).expect("it is listed again")["id"], id);
    stage.sessions.let_go();
}

#[test]
fn a_worker_that_makes_none_refuses() {
    let stage = Stage::that_may_refuse(&json!({}), |builder| builder.without(&["IDENTITIES"]));
    let refused = stage.agent(0).post("tools/list", json!({})).send();
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("a gateway of its own"));
}
