//! `portcullis bridge` before a stdio server.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::http::Request;
use crate::process::Background;
use crate::toolbox;
use crate::wait;

/// The credential that callers of a bridge send, unless it is told another.
pub const TOKEN: &str = "the-credential-of-the-bridge";

/// A bridge that is yet to be started.
#[derive(Debug)]
pub struct Builder {
    command: Command,
    server: Vec<String>,
    path: String,
}

/// A bridge that runs until it is dropped.
#[derive(Debug)]
pub struct Bridge {
    process: Background,
    authority: String,
    path: String,
}

impl Builder {
    /// Sets a variable of the bridge.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Appends an option.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// Appends options.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Its endpoint is at this path.
    #[must_use]
    pub fn at_path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self.arg("--path").arg(path)
    }

    /// Runs it by another program, which takes it as its last arguments.
    #[must_use]
    pub fn within(mut self, program: &str, arguments: &[&str]) -> Self {
        let mut outer = Command::new(program);
        outer.args(arguments).arg(self.command.get_program()).args(self.command.get_args());
        let variables = self.command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        outer.env_clear().envs(variables);
        self.command = outer;
        self
    }

    /// Starts it and waits until its server is up.
    pub fn start(self) -> Bridge {
        let mut bridge = self.begin();
        let is_up = wait::until(wait::PATIENCE, || bridge.is_ready().then_some(()));
        assert!(is_up.is_some(), "the bridge's server is not up:\n{}", bridge.log());
        bridge
    }

    /// Starts it and waits until it listens.
    pub fn begin(self) -> Bridge {
        let Self { mut command, server, path } = self;
        command.arg("--").args(&server);
        let mut process = Background::start(&command);
        let port = process.await_line("the bridge's address", |line| {
            let said: Value = serde_json::from_str(line).ok()?;
            let is_it = said["message"] == "the bridge listens";
            let (_, port) = said["address"].as_str().filter(|_| is_it)?.rsplit_once(':')?;
            Some(port.to_owned())
        });
        Bridge { process, authority: format!("127.0.0.1:{port}"), path }
    }
}

impl Bridge {
    /// A bridge before the server that is started so: on any port of all addresses, with nothing of this environment but the
    /// way to programs and the credential.
    pub fn before<S: AsRef<Path>>(server: &[S]) -> Builder {
        let mut command = Command::new(toolbox::gateway());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("PORTCULLIS_BRIDGE_TOKEN", TOKEN).env("PORT", "0").arg("bridge");
        let server = server.iter().map(|part| part.as_ref().display().to_string()).collect();
        Builder { command, server, path: "/mcp".to_owned() }
    }

    /// Its endpoint.
    pub fn url(&self) -> String {
        self.url_of(&self.path)
    }

    /// The URL of any of its paths.
    pub fn url_of(&self, path: &str) -> String {
        format!("http://{}{path}", self.authority)
    }

    /// Its port.
    pub fn port(&self) -> &str {
        self.authority.rsplit_once(':').map_or("", |(_, port)| port)
    }

    /// The header that opens it.
    pub fn header() -> String {
        format!("Authorization: Bearer {TOKEN}")
    }

    /// Whether `/readyz` answers 200.
    pub fn is_ready(&mut self) -> bool {
        Request::get(&self.url_of("/readyz")).try_send().is_some_and(|answer| answer.status == 200)
    }

    /// Everything it has said so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process, to send it signals and to see it end.
    pub fn process(&mut self) -> &mut Background {
        &mut self.process
    }
}
