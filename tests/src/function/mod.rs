//! What Lambda does with a function, on this machine: a function URL, or an HTTP API, before as many execution
//! environments as there are requests at a time.
//!
//! An environment is a process of the function's program that speaks the Runtime API and the Extensions API. **It answers
//! one request at a time, and is stopped (SIGSTOP) once the runtime and the extension have both asked for the next event.**
//! Whoever is late when the function's time is over is killed, and the client's connection breaks off. As on the platform,
//! a request goes on when its client has gone.

mod apis;
mod event;
mod front;
mod state;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, oneshot};

use self::front::Reply;
use self::state::{Job, State};

/// How a function is set up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The function's program.
    pub bootstrap: PathBuf,
    /// The folder it is started in.
    pub folder: PathBuf,
    /// Its environment, besides what the platform sets.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// How long a request may take, in milliseconds.
    #[serde(default = "minutes")]
    pub timeout: u64,
    /// What is before it.
    #[serde(default)]
    pub front: Front,
    /// Whether extensions can be registered.
    #[serde(default = "yes")]
    pub extensions: bool,
    /// How many requests an environment answers at a time; where it is more than one, it is never stopped.
    #[serde(default = "one")]
    pub at_a_time: usize,
    /// Where it listens; on a free port unless set.
    #[serde(default)]
    pub port: u16,
    /// How many environments there are at most; on the platform, what comes beyond is refused, and here it waits.
    #[serde(default = "hundred")]
    pub most: usize,
    /// How many environments there are at least; they take turns.
    #[serde(default = "one")]
    pub environments: usize,
    /// The header that says of which tenant a request is, where each tenant has environments of its own. On the platform, API
    /// Gateway says it, by the key that it was asked with.
    #[serde(default)]
    pub tenant: Option<String>,
}

/// What is before a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Front {
    /// A function URL that streams.
    #[default]
    Url,
    /// An HTTP API of API Gateway, which takes whole answers.
    HttpApi,
}

fn minutes() -> u64 {
    120_000
}

fn yes() -> bool {
    true
}

fn hundred() -> usize {
    100
}

fn one() -> usize {
    1
}

/// A function that runs.
#[derive(Debug)]
pub struct Function {
    settings: Settings,
    listener: TcpListener,
    state: Mutex<State>,
    /// Somebody may find an environment ready.
    ready: Notify,
}

impl Function {
    /// Begins to listen; returns the port.
    pub async fn listen(settings: Settings) -> (Arc<Self>, u16) {
        let listener = TcpListener::bind(("127.0.0.1", settings.port)).await.expect("the port is free");
        let port = listener.local_addr().expect("it is bound").port();
        (Arc::new(Self { settings, listener, state: Mutex::default(), ready: Notify::new() }), port)
    }

    /// Serves until it is terminated; its environments end with it.
    pub async fn serve(self: Arc<Self>) {
        let mut terminated = signal(SignalKind::terminate()).expect("signals can be waited for");
        self.start_those_at_first().await;
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    stream.set_nodelay(true).ok();
                    tokio::spawn(front::serve(self.clone(), TokioIo::new(stream)));
                }
                _ = terminated.recv() => break,
            }
        }
        self.state().kill_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has an environment answer an event.
    async fn invoke(self: &Arc<Self>, event: String, tenant: Option<String>) -> Reply {
        let (answer, answered) = oneshot::channel();
        let mut job = Job::new((event, tenant), self.settings.timeout, answer);
        let id = job.id.clone();
        let mut started = None;
        let environment = loop {
            let mut ready = std::pin::pin!(self.ready.notified());
            let taken = self.state().take(job, &self.settings);
            job = match taken {
                Ok(environment) => break environment,
                Err(job) => job,
            };
            match started {
                None => {
                    let soon = self.state().ready_soon();
                    if let Some(patience) = soon {
                        let became_ready = tokio::time::timeout(patience, &mut ready).await.is_ok();
                        if became_ready || self.state().ready_soon() > soon {
                            continue;
                        }
                    }
                    started = self.start_one_more().await;
                }
                // It could not even begin.
                Some(environment) if !self.state().has(environment) => return front::failed(),
                Some(_) => {}
            }
            ready.await;
        };
        let function = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(function.settings.timeout)).await;
            if function.state().is_busy_with(environment, &id) {
                function.say(&format!("environment {environment} timed out"));
                function.state().kill(environment);
            }
        });
        answered.await.unwrap_or_else(|_gone| front::failed())
    }

    /// Starts as many environments as there are at least, where that is more than one; else the first request does.
    async fn start_those_at_first(self: &Arc<Self>) {
        let at_first = Some(self.settings.environments).filter(|count| *count > 1);
        for _ in 0..at_first.unwrap_or_default() {
            self.start_one_more().await;
        }
    }

    /// Starts another environment, unless there are as many as may be; returns its number.
    async fn start_one_more(self: &Arc<Self>) -> Option<u64> {
        let number = self.state().begin(self.settings.most)?;
        self.start(number).await;
        Some(number)
    }

    async fn start(self: &Arc<Self>, number: u64) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let mut command = Command::new(&self.settings.bootstrap);
        command.current_dir(&self.settings.folder).stdin(Stdio::null()).kill_on_drop(true);
        command.env("AWS_LAMBDA_RUNTIME_API", address.to_string());
        for (name, value) in [
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_NAME", "portcullis"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_REGION", "eu-west-1"),
        ] {
            command.env(name, value);
        }
        if self.settings.at_a_time > 1 {
            command.env("AWS_LAMBDA_MAX_CONCURRENCY", self.settings.at_a_time.to_string());
        }
        let mut process =
            command.envs(&self.settings.environment).spawn().expect("the function's program starts");
        self.state().started(number, process.id().and_then(|id| i32::try_from(id).ok()));
        let function = self.clone();
        let apis = tokio::spawn(apis::serve(self.clone(), number, listener));
        tokio::spawn(async move {
            let ended = process.wait().await;
            apis.abort();
            function.say(&format!("environment {number} ended: {ended:?}"));
            function.state().forget(number);
            function.ready.notify_waiters();
        });
    }

    #[allow(clippy::print_stdout, clippy::unused_self, reason = "its log is what it says")]
    fn say(&self, what: &str) {
        println!("lambda-function: {what}");
    }
}
