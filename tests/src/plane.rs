//! A control plane on this machine, what is asked of it, and calls that go through what it governs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::{Map, Value, json};

use crate::agent::Agent;
use crate::between::{Between, Seen};
use crate::gateway::{Builder, Gateway, Host};
use crate::http::{Request, Response};
use crate::process::Finished;
use crate::upstream::{Upstream, free_port};
use crate::wait;

const ADMIN_KEY: &str = "the admin's key";

/// The control plane, and the server that its configurations are about.
#[derive(Debug)]
pub struct Plane {
    /// The gateway that governs.
    pub gateway: Gateway,
    server: Upstream,
}

impl Plane {
    /// One to which a configuration with the server `up` was pushed.
    pub fn start() -> Self {
        let gateway =
            Gateway::with("version: 1\n").configured_remotely().env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY);
        let gateway = gateway.on(Host::Local);
        let plane = Self { gateway: gateway.at_port(free_port()).start(), server: Upstream::fixture(&[]) };
        plane.push(&["up"]);
        plane
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        self.gateway.url_of("")
    }

    /// Asks its admin API; panics where that is refused.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Value {
        let request = Request::new(method, &self.gateway.url_of(&format!("/admin/v1/{path}")));
        let request = request.header("Authorization", format!("Bearer {ADMIN_KEY}"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let response = if body.is_empty() { request.send() } else { request.body(body).send() };
        assert!((200..300).contains(&response.status), "{method} {path}: {}", response.text());
        response.json()
    }

    /// Pushes a configuration in which the server goes by these names.
    pub fn push(&self, names: &[&str]) {
        self.push_with(names, None);
    }

    /// Pushes a configuration in which the server goes by these names, and these are the agents.
    pub fn push_with(&self, names: &[&str], agents: Option<Value>) {
        let server = json!({ "url": self.server.url() });
        let servers: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), server.clone())).collect();
        let mut config = json!({ "version": 1, "servers": servers });
        if let Some(agents) = agents {
            config["agents"] = agents;
        }
        let headers = [("Content-Type", "application/yaml"), ("If-Match", "*")];
        self.ask("PUT", "config", &headers, &config.to_string());
    }

    /// Runs `portcullis fleet` on it.
    pub fn cli(&self, arguments: &[&str]) -> Finished {
        self.gateway.cli(&[&["fleet"], arguments, &["--url", &self.url()]].concat())
    }

    /// Does so, which has to come to this.
    #[track_caller]
    pub fn does(&self, arguments: &[&str], says: &str) {
        let ran = self.cli(arguments);
        assert_eq!(ran.code(), Some(0), "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(says), "{}{}", ran.stdout, ran.stderr);
    }

    /// A token by which a gateway joins.
    pub fn token(&self, name: &str) -> String {
        let ran = self.cli(&["enrol", name, "--label", "zone=test"]);
        assert_eq!(ran.code(), Some(0), "{}{}", ran.stdout, ran.stderr);
        ran.stdout.trim().to_owned()
    }

    /// A gateway that is yet to be started, on this host, and reaches its control plane at `url`.
    pub fn member_on(&self, host: Host, url: &str, name: &str) -> Builder {
        let member = Gateway::with("version: 1\n").configured_remotely().on(host);
        member.env("PORTCULLIS_CONTROL", url).env("PORTCULLIS_ENROLMENT", &self.token(name))
    }

    /// A governed gateway of this machine that reaches its control plane at `url`.
    pub fn member_at(&self, url: &str, name: &str) -> Gateway {
        let member = self.member_on(Host::Local, url, name).start();
        sees(&member, &["up"]);
        member
    }

    /// A governed gateway of this machine.
    pub fn member(&self, name: &str) -> Gateway {
        self.member_at(&self.url(), name)
    }

    /// What is known of a gateway.
    pub fn known(&self, name: &str) -> Value {
        let ran = self.cli(&["list", "--json"]);
        let listed: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let all = listed["gateways"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["name"] == name).unwrap_or_default()
    }
}

/// The names under which a gateway serves the server.
pub fn served(gateway: &Gateway) -> Vec<String> {
    let tools = Agent::modern(gateway.url()).tools();
    tools.iter().filter_map(|tool| tool.strip_suffix("__echo")).map(str::to_owned).collect()
}

/// Waits for a gateway to serve it under these names.
#[track_caller]
pub fn sees(gateway: &Gateway, names: &[&str]) {
    wait::expect(&format!("{names:?} to be served"), || served(gateway) == names);
}

/// Calls of an agent that end only when they are told to.
#[derive(Debug)]
pub struct Traffic {
    on: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    calls: JoinHandle<Vec<String>>,
}

impl Traffic {
    /// Calls the server `up` at a gateway again and again.
    pub fn through(gateway: &Gateway) -> Self {
        let (url, on, done) =
            (gateway.url().to_owned(), Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (goes_on, counted) = (on.clone(), done.clone());
        let calls = thread::spawn(move || {
            let (agent, mut lost) = (Agent::modern(&url), Vec::new());
            while goes_on.load(Ordering::Relaxed) {
                let params = json!({ "name": "up__echo", "arguments": { "text": "hi" } });
                match agent.post("tools/call", params).try_send().map(Response::try_text) {
                    Some(Ok(text)) if text.contains("\"result\"") && !text.contains("\"isError\":true") => {}
                    other => lost.push(format!("{other:?}")),
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
            lost
        });
        let traffic = Self { on, done, calls };
        traffic.goes_on();
        traffic
    }

    /// Waits for further calls to be over.
    pub fn goes_on(&self) {
        let so_far = self.done.load(Ordering::Relaxed);
        wait::expect("calls", || self.done.load(Ordering::Relaxed) > so_far + 3);
    }

    /// Ends; each call has come to its result.
    pub fn ends_without_loss(self) {
        self.on.store(false, Ordering::Relaxed);
        let lost = self.calls.join().expect("the traffic ends");
        assert_eq!(lost, [""; 0], "of {}", self.done.load(Ordering::Relaxed));
    }
}

/// Whether a request asks for a snapshot.
fn asks(request: &[u8]) -> bool {
    request.starts_with(b"GET /fleet/v1/snapshot")
}

/// The request that was given a snapshot last, as somebody in between saw it, and that snapshot.
fn given(between: &Between) -> Seen {
    let is_given = |answer: &[u8]| answer.starts_with(b"HTTP/1.1 200");
    let seen = between.seen().into_iter().rev();
    seen.into_iter()
        .find(|(request, answer)| asks(request) && is_given(answer))
        .expect("a snapshot was given")
}

/// Gives a gateway of that name an old snapshot, and an altered one, in place of what is sent: it serves neither, says why, and
/// takes the next true one. Returns a request by which it had proved itself.
#[track_caller]
pub fn takes_nothing_forged(plane: &Plane, between: &Between, member: &Gateway, name: &str) -> Vec<u8> {
    let (proven, first) = given(between);
    plane.push(&["b", "up"]);
    sees(member, &["b", "up"]);
    let rejects = |why: &str| {
        wait::expect(why, || plane.known(name)["rejected"].as_str().is_some_and(|said| said.contains(why)));
        assert_eq!(served(member), ["b", "up"]);
    };
    between.changing(move |request, answer| {
        if asks(request) {
            answer.clone_from(&first);
        }
    });
    plane.push(&["c", "up"]);
    rejects("is older than what is in force");
    between.changing(|request, answer| {
        let text = String::from_utf8_lossy(answer).replace("127.0.0.1", "127.0.0.9");
        if asks(request) {
            *answer = text.into_bytes();
        }
    });
    rejects("is not signed by the control plane's key");
    between.passing();
    sees(member, &["c", "up"]);
    wait::expect("nothing to be rejected", || plane.known(name)["rejected"].is_null());
    proven
}
