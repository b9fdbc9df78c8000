//! A control plane on this machine, and what is asked of it.

use serde_json::{Map, Value, json};

use crate::agent::Agent;
use crate::gateway::{Builder, Gateway, Host};
use crate::http::Request;
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
        let server = Upstream::fixture(&[]);
        let gateway = gateway.on(Host::Local).env("UPSTREAM_OF_THE_FLEET", server.url());
        let plane = Self { gateway: gateway.at_port(free_port()).start(), server };
        plane.push(&["up"]);
        plane
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        self.gateway.url_of("")
    }

    /// The URL of the server that its configurations are about.
    pub fn upstream(&self) -> String {
        self.server.url().to_owned()
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
        let server = json!({ "url": self.server.url() });
        let servers: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), server.clone())).collect();
        let config = json!({ "version": 1, "servers": servers }).to_string();
        let headers = [("Content-Type", "application/yaml"), ("If-Match", "*")];
        self.ask("PUT", "config", &headers, &config);
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
