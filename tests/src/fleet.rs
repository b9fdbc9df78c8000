//! Several instances of one gateway that share a seal key, and the load balancer before them, on any of its hosts.
//!
//! On this machine an instance is a process of its own; of a function it is the platform with its environments. Of a Worker it is a process of the platform's runtime that has
//! nothing: stores and objects are in a further process, and outlive whichever of the instances is killed.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::balancer::Balancer;
use crate::gateway::{Builder, Gateway, Host, Readiness};
use crate::http::Request;
use crate::process::Background;
use crate::toolbox;
use crate::upstream::free_port;
use crate::wait;

/// 32 bytes in base64.
const SEAL_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Two instances, and the balancer before them.
#[derive(Debug)]
pub struct Fleet {
    instances: [Instance; 2],
    balancer: Balancer,
    host: Host,
    config: String,
    stores: Option<Stores>,
}

/// What the instances of a Worker have in common.
#[derive(Debug)]
struct Stores {
    process: Gateway,
    /// What starts an instance.
    fronts: TempDir,
}

#[derive(Debug)]
enum Instance {
    Process(Box<Gateway>),
    Worker { process: Background, url: String },
}

impl Fleet {
    /// Starts a fleet on the host that this run of the tests is about.
    pub fn start(config: &str) -> Self {
        Self::on(Host::chosen(), config)
    }

    /// Starts a fleet on this host.
    pub fn on(host: Host, config: &str) -> Self {
        let stores = (host == Host::Edge).then(|| Stores::start(config));
        let instances = [(); 2].map(|()| Instance::start(host, config, stores.as_ref()));
        let balancer = Balancer::before(&[instances[0].port(), instances[1].port()]);
        Self { instances, balancer, host, config: config.to_owned(), stores }
    }

    /// The MCP endpoint of all: each connection goes to the next instance.
    pub fn url(&self) -> String {
        self.balancer.url()
    }

    /// The MCP endpoint of one instance.
    pub fn url_of(&self, which: usize) -> String {
        self.instances[which].url().to_owned()
    }

    /// What it runs on.
    pub fn host(&self) -> Host {
        self.host
    }

    /// Kills an instance as a crash would.
    pub fn kill(&mut self, which: usize) {
        self.instances[which].process().kill();
    }

    /// Starts another in its place, elsewhere.
    pub fn replace(&mut self, which: usize) {
        let old = self.instances[which].port();
        self.instances[which] = Instance::start(self.host, &self.config, self.stores.as_ref());
        self.balancer.replace(old, self.instances[which].port());
    }

    /// Kills what holds the stores and objects of a Worker, and starts it again on what it has written down.
    pub fn restart_stores(&mut self) {
        let stores = self.stores.as_mut().expect("only a Worker's instances have stores in common");
        stores.process.process().kill();
        stores.process.restart();
    }
}

impl Stores {
    fn start(config: &str) -> Self {
        let fronts = toolbox::scratch();
        let process = Self::build(config, fronts.path()).start();
        Self { process, fronts }
    }

    fn build(config: &str, fronts: &Path) -> Builder {
        Gateway::with(config)
            .on(Host::Edge)
            .of_worker("fronts", Value::from(fronts.display().to_string()))
            // Its instances know it by that.
            .of_worker("port", Value::from(free_port()))
            .until(Readiness::Listening)
    }
}

impl Instance {
    fn start(host: Host, config: &str, stores: Option<&Stores>) -> Self {
        let Some(stores) = stores else {
            let gateway = Gateway::with(config).env("PORTCULLIS_SEAL_KEY", SEAL_KEY).on(host).start();
            return Self::Process(Box::new(gateway));
        };
        let mut command = Command::new(toolbox::workerd());
        command.args(["serve", "--control-fd=1"]).arg(stores.fronts.path().join("front.capnp"));
        let mut process = Background::start(&command);
        let port = process.await_line("its port", |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            event["port"].as_u64()
        });
        let url = format!("http://127.0.0.1:{port}/mcp");
        let ready = Request::get(&url.replace("/mcp", "/readyz"));
        let answers = || ready.try_send().is_some_and(|answer| answer.status == 200);
        assert!(
            wait::until(wait::PATIENCE, || answers().then_some(())).is_some(),
            "it is not ready; it said:\n{}",
            process.log()
        );
        Self::Worker { process, url }
    }

    fn process(&mut self) -> &mut Background {
        match self {
            Self::Process(gateway) => gateway.process(),
            Self::Worker { process, .. } => process,
        }
    }

    fn url(&self) -> &str {
        match self {
            Self::Process(gateway) => gateway.url(),
            Self::Worker { url, .. } => url,
        }
    }

    fn port(&self) -> u16 {
        let authority = self.url().trim_end_matches("/mcp");
        authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("an endpoint has a port")
    }
}
