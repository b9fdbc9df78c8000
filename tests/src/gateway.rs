//! A gateway process with its own configuration, port and data folder, on any of its hosts.
//!
//! `PORTCULLIS_HOST=edge` puts the Worker, in the platform's own runtime, in the place of the program, and
//! `PORTCULLIS_HOST=lambda` the function, behind an emulator of its platform: the same tests then show that they answer
//! alike. Its environments share a table, unless `PORTCULLIS_FUNCTION=alone` leaves it out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::aws::Emulator;
use crate::http::Request;
use crate::process::{self, Background, Finished};
use crate::toolbox;
use crate::wait::{self, PATIENCE};

/// Every stdio server has to start first, and Python's take seconds on a busy machine.
const READY_WITHIN: Duration = Duration::from_mins(2);

/// The seal key of a Worker or a function: 32 bytes in base64.
const SEAL_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// What `--config` says for a configuration that is pushed.
const REMOTE: &str = "remote";

/// How far the gateway has to be before a test goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// `/readyz` answers 200.
    Ready,
    /// It listens; upstreams may be down.
    Listening,
    /// It answers something, be it that it cannot serve.
    Answering,
}

/// What the gateway runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// This machine: `portcullis serve`.
    Local,
    /// A Worker, in the runtime that Cloudflare's platform has.
    Edge,
    /// A Lambda function, behind what stands for its platform ([`crate::function`]).
    Lambda,
}

impl Host {
    /// The host that this run of the tests is about.
    pub fn chosen() -> Self {
        match std::env::var("PORTCULLIS_HOST").as_deref() {
            Err(_) | Ok("" | "local") => Self::Local,
            Ok("edge") => Self::Edge,
            Ok("lambda") => Self::Lambda,
            Ok(other) => panic!("PORTCULLIS_HOST is {other:?}, not `local`, `edge` or `lambda`"),
        }
    }
}

/// A gateway that is yet to be started.
#[derive(Debug)]
pub struct Builder {
    folder: TempDir,
    config: String,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    readiness: Readiness,
    host: Host,
    left_out: Vec<String>,
    port: u16,
    groupless: bool,
    of_worker: BTreeMap<&'static str, Value>,
    of_function: BTreeMap<&'static str, Value>,
    /// What a function's environments share.
    table: OnceLock<String>,
}

/// A gateway that runs until it is dropped; its folder goes with it.
#[derive(Debug)]
pub struct Gateway {
    process: Background,
    endpoint: String,
    setup: Builder,
}

impl Builder {
    /// Sets an environment variable of the gateway and of the commands run beside it.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has it find secrets as its host has them: a Worker is bound to this one, a function has those of its own prefix in
    /// Secrets Manager. But for a Worker, there is none until it is set.
    #[must_use]
    pub fn keeping_secret(self, name: &str, bound: &str) -> Self {
        static KEEPING: AtomicUsize = AtomicUsize::new(0);
        match self.host {
            Host::Local => self,
            Host::Edge => self.env(&binding(name), bound),
            Host::Lambda => {
                let number = KEEPING.fetch_add(1, Ordering::Relaxed);
                self.env("AWS_ENDPOINT_URL_SECRETS_MANAGER", Emulator::of_secrets().url())
                    .env("AWS_REGION", "eu-west-1")
                    .env("PORTCULLIS_SECRET_PREFIX", &format!("tests-{}-{number}/", std::process::id()))
            }
        }
    }

    /// Appends an argument to `portcullis serve`.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Writes another file beside the configuration.
    #[must_use]
    pub fn file(self, name: &str, content: &str) -> Self {
        fs::write(self.folder.path().join(name), content).expect("the test's folder can be written to");
        self
    }

    /// The configuration is this file or folder of the test's folder, not `portcullis.yaml`; `.` is the folder itself.
    #[must_use]
    pub fn config_path(mut self, name: &str) -> Self {
        name.clone_into(&mut self.config);
        self
    }

    /// The configuration is what is pushed to it, and nothing before that.
    #[must_use]
    pub fn configured_remotely(self) -> Self {
        self.config_path(REMOTE)
    }

    /// The folder of the configuration.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `--config` says.
    fn config(&self) -> PathBuf {
        if self.config == REMOTE { REMOTE.into() } else { self.folder.path().join(&self.config) }
    }

    /// How far the gateway has to be before [`Builder::start`] answers; [`Readiness::Ready`] unless set.
    #[must_use]
    pub fn until(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }

    /// It listens on this port, which is free; on any unless set.
    #[must_use]
    pub fn at_port(mut self, port: u16) -> Self {
        self.port = port;
        self.of_worker("port", json!(port)).of_function("port", json!(port))
    }

    /// It is a control plane too: other hosts are always, a Worker is built so.
    #[must_use]
    pub fn governing(self) -> Self {
        self.of_worker("control", json!(true))
    }

    /// Sets what `tests/edge/serve.mjs` takes besides.
    #[must_use]
    pub fn of_worker(mut self, name: &'static str, value: Value) -> Self {
        self.of_worker.insert(name, value);
        self
    }

    /// Has the function's environments share this table, or nothing where it has no name.
    #[must_use]
    pub fn sharing(self, table: &str) -> Self {
        self.table.set(table.to_owned()).expect("it shares none yet");
        self
    }

    /// Sets what [`crate::function::Settings`] has besides.
    #[must_use]
    pub fn of_function(mut self, name: &'static str, value: Value) -> Self {
        self.of_function.insert(name, value);
        self
    }

    /// Leaves these bindings of a Worker out.
    #[must_use]
    pub fn without(mut self, bindings: &[&str]) -> Self {
        self.left_out = bindings.iter().map(|&binding| binding.to_owned()).collect();
        self
    }

    /// Runs it on this host, whatever the tests are about.
    #[must_use]
    pub fn on(mut self, host: Host) -> Self {
        self.host = host;
        self
    }

    /// Starts the gateway and waits until it is as far as was asked for.
    pub fn start(self) -> Gateway {
        let (process, endpoint) = self.launch();
        let mut gateway = Gateway { process, endpoint, setup: self };
        gateway.await_readiness();
        gateway
    }

    /// The same, with a secret that it finds as its host has them. Where it is set once it runs, it is by the admin key of the
    /// environment.
    pub fn start_with_secret(self, name: &str, value: &str) -> Gateway {
        let mut gateway = self.keeping_secret(name, value).start();
        if gateway.setup.host != Host::Edge {
            gateway.set_secret(name, value);
        }
        gateway
    }

    fn launch(&self) -> (Background, String) {
        let command = match self.host {
            Host::Local => self.serve(),
            Host::Edge => self.serve_worker(),
            Host::Lambda => self.serve_function(),
        };
        let mut process = Background::start(&command);
        let endpoint = process.await_line("the gateway's endpoint", |line| self.endpoint_in(line));
        (process, endpoint)
    }

    /// Has it run where no control groups can be seen. Only root can arrange that.
    #[must_use]
    pub fn without_control_groups(mut self) -> Self {
        self.groupless = true;
        self
    }

    fn serve(&self) -> Command {
        let mut command = self.command(&["serve", "--listen", &format!("127.0.0.1:{}", self.port)]);
        command.arg("--config").arg(self.config());
        command.arg("--data-dir").arg(self.data_dir()).args(&self.arguments);
        command
    }

    /// The Worker: variables are its secrets, the data folder is where its stores and objects lie.
    fn serve_worker(&self) -> Command {
        if self.of_worker.get("control") == Some(&json!(true)) {
            toolbox::build_governing_worker();
        } else {
            toolbox::build_worker();
        }
        let mut secrets = BTreeMap::from([("PORTCULLIS_INSECURE", "1"), ("PORTCULLIS_SEAL_KEY", SEAL_KEY)]);
        secrets.extend(self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut settings = json!({
            "configuration": (self.config != REMOTE).then(|| self.folder.path().join(&self.config)),
            "persist": self.data_dir(),
            "secrets": secrets,
            "without": self.left_out,
        });
        for (name, value) in &self.of_worker {
            settings[name] = value.clone();
        }
        let mut command = Command::new(toolbox::node());
        command.arg(toolbox::repository("tests/edge/serve.mjs")).arg(settings.to_string());
        command.env("PORTCULLIS_EDGE_MODULES", toolbox::edge_modules());
        command
    }

    /// The function, whose package is the test's folder, and whose table is one of its own.
    fn serve_function(&self) -> Command {
        let is_alone =
            std::env::var("PORTCULLIS_FUNCTION").is_ok_and(|how| how == "alone") && self.config != REMOTE;
        let make = || if is_alone { String::new() } else { Emulator::shared().table() };
        let table = self.table.get_or_init(make);
        let aws = if table.is_empty() { "" } else { Emulator::shared().url() };
        let mut environment = BTreeMap::from([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_ENDPOINT_URL", aws),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("PORTCULLIS_INSECURE", "1"),
            ("PORTCULLIS_SEAL_KEY", SEAL_KEY),
            ("PORTCULLIS_TABLE", table),
        ]);
        environment.extend(self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if self.config != REMOTE {
            environment.insert("PORTCULLIS_CONFIG", &self.config);
        }
        let mut settings = json!({
            "bootstrap": toolbox::bootstrap(),
            "folder": self.folder.path(),
            "environment": environment,
        });
        for (name, value) in &self.of_function {
            settings[name] = value.clone();
        }
        let mut command = Command::new(toolbox::lambda_function());
        command.arg(settings.to_string());
        command
    }

    /// A command of the gateway's program on this configuration and data folder.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(toolbox::gateway());
        if self.groupless {
            // Each becomes the next, so that the process is the gateway's.
            command = Command::new("unshare");
            let hide = "umount --recursive --lazy /sys/fs/cgroup && exec \"$0\" \"$@\"";
            command.args(["--mount", "sh", "-c", hide]).arg(toolbox::gateway());
        }
        command.args(arguments);
        command.env("PORTCULLIS_CONFIG", self.config());
        command.env("PORTCULLIS_DATA_DIR", self.data_dir());
        for name in ["PORTCULLIS_LISTEN", "PORTCULLIS_ADMIN_KEY", "PORTCULLIS_SEAL_KEY"] {
            command.env_remove(name);
        }
        command.env("NO_PROXY", "127.0.0.1,localhost");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path());
        command
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The first `http://HOST:PORT/mcp` of a line that is not one of the upstreams' URLs.
    fn endpoint_in(&self, line: &str) -> Option<String> {
        let config = fs::read_to_string(self.folder.path().join(&self.config)).unwrap_or_default();
        line.match_indices("http://").find_map(|(start, _)| {
            let rest = &line[start..];
            let end = rest.find("/mcp")? + "/mcp".len();
            let (url, after) = rest.split_at(end);
            let port: u16 = url.trim_end_matches("/mcp").rsplit_once(':')?.1.parse().ok()?;
            let ends = !after.starts_with(|next: char| next.is_alphanumeric() || "/-_.".contains(next));
            (port > 0 && ends && !config.contains(url)).then(|| url.to_owned())
        })
    }
}

impl Gateway {
    /// A gateway with this native configuration.
    pub fn with(config: &str) -> Builder {
        let folder = toolbox::scratch();
        let builder = Builder {
            folder,
            config: "portcullis.yaml".to_owned(),
            environment: Vec::new(),
            arguments: Vec::new(),
            readiness: Readiness::Ready,
            host: Host::chosen(),
            left_out: Vec::new(),
            port: 0,
            groupless: false,
            of_worker: BTreeMap::new(),
            of_function: BTreeMap::new(),
            table: OnceLock::new(),
        };
        builder.file("portcullis.yaml", config)
    }

    /// Starts a gateway with this native configuration, and waits until it is ready.
    pub fn start(config: &str) -> Self {
        Self::with(config).start()
    }

    /// Its MCP endpoint.
    pub fn url(&self) -> &str {
        &self.endpoint
    }

    /// The URL of any of its paths, such as `/readyz` or `/mcp/servers/time`.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint.trim_end_matches("/mcp"))
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        let authority = self.endpoint.trim_end_matches("/mcp");
        authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("the endpoint has a port")
    }

    /// The folder of its configuration.
    pub fn folder(&self) -> &Path {
        self.setup.folder.path()
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.setup.data_dir()
    }

    /// Everything it has said so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process, to send it signals and to see it end.
    pub fn process(&mut self) -> &mut Background {
        &mut self.process
    }

    /// Rewrites a file of its folder.
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.folder().join(name), content).expect("the test's folder can be written to");
    }

    /// Ends the process and starts another on the same folder; its port may change.
    pub fn restart(&mut self) {
        self.process.stop();
        (self.process, self.endpoint) = self.setup.launch();
        self.await_readiness();
    }

    /// The same, with this variable besides.
    pub fn restart_with(&mut self, name: &str, value: &str) {
        self.setup.environment.push((name.to_owned(), value.to_owned()));
        self.restart();
    }

    /// Kills it as a crash would, in the middle of whatever it does, and starts it again on what it has written down.
    pub fn crash(&mut self) {
        match self.setup.host {
            Host::Lambda => self.begin_anew(),
            Host::Local | Host::Edge => {
                self.process.kill();
                self.restart();
            }
        }
    }

    /// Ends the environments of a function: those that come next know whatever any was told, such as a new key. Elsewhere
    /// nothing has to end for that.
    pub fn begin_anew(&self) {
        if self.setup.host == Host::Lambda {
            Request::post(&self.url_of("/.function/kill")).send();
        }
    }

    /// Sets a secret, with the admin key of the environment. A Worker is started anew, with another binding: that is what
    /// `wrangler secret put` does.
    pub fn set_secret(&mut self, name: &str, value: &str) {
        if self.setup.host == Host::Edge {
            self.restart_with(&binding(name), value);
        } else {
            let ran = self.cli_with(&["secrets", "set", name, "--url", &self.url_of("")], value);
            assert_eq!(ran.code(), Some(0), "{}{}", ran.stdout, ran.stderr);
        }
    }

    /// Runs another command of the program, such as `["check"]`; the environment names the same configuration and
    /// data folder.
    ///
    /// A Worker and a function have no data folder: their keys are made at its URL, with the admin key of the environment.
    pub fn cli(&self, arguments: &[&str]) -> Finished {
        self.cli_with(arguments, "")
    }

    /// Runs such a command with this on its standard input.
    pub fn cli_with(&self, arguments: &[&str], input: &str) -> Finished {
        let mut command = self.setup.command(arguments);
        if self.setup.host != Host::Local && arguments.starts_with(&["keys"]) && !arguments.contains(&"--url")
        {
            command.args(["--url", &self.url_of("")]);
        }
        process::run(command, input.as_bytes(), PATIENCE)
    }

    fn await_readiness(&mut self) {
        let path = match self.setup.readiness {
            Readiness::Ready => "/readyz",
            Readiness::Listening | Readiness::Answering => "/healthz",
        };
        let url = self.url_of(path);
        let mut answer = String::from("nothing");
        let ready = wait::until(READY_WITHIN, || {
            if let Some(status) = self.process.ended() {
                panic!("the gateway ended ({status}); it said:\n{}", self.log());
            }
            let response = Request::get(&url).try_send()?;
            let status = response.status;
            answer = format!("{status} {}", response.text());
            (status == 200 || self.setup.readiness == Readiness::Answering).then_some(())
        });
        assert!(ready.is_some(), "{url} last answered {answer}; the gateway said:\n{}", self.log());
    }
}

/// What a secret is bound as.
fn binding(name: &str) -> String {
    name.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}
