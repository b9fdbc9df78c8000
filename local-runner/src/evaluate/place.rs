//! Where a server is started, and how it is made to leave.
//!
//! **A server is started where it can do no harm, or not at all**, unless whoever asks for it says that it may run as a process
//! of theirs.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_core::config::Hosting;
use portcullis_core::names::ServerName;
use tokio::process::Child;
use tokio::time::timeout;

use super::den::Den;
use super::link::Link;
use super::report::{Ending, Place};
use super::usage::WRAPPERS;
use super::visit::{Root, Watcher};
use super::{trace, usage};
use crate::hosting::{Cage, Container, Hosts, Placed, Ready, Streams};
use crate::process::environment;

/// How long a server may take to leave, at the end of its input and at TERM.
const PATIENCE: Duration = Duration::from_secs(3);

/// How servers are started.
#[derive(Debug)]
pub(super) struct Starter {
    /// The program that records, where it is asked for.
    recorder: Option<PathBuf>,
    /// What keeps servers apart; nothing where they run as processes of the user.
    hosts: Option<Hosts>,
    /// How many were started.
    started: usize,
    /// Whether memory and processes are bounded.
    bounds: bool,
}

/// A server that runs.
pub(super) struct Running {
    body: Body,
    pub(super) link: Link,
    /// Whoever looks at its processes.
    pub(super) watcher: Watcher,
    /// Where the recording is.
    pub(super) recording: Option<PathBuf>,
}

/// What a server runs as.
enum Body {
    /// A process, and what bounds it.
    Process(Box<Child>, Option<Cage>),
    Container(Box<Container>),
}

impl Starter {
    pub(super) fn new(record: bool, unconfined: bool) -> Self {
        let folders = env::var_os("PATH").unwrap_or_default();
        let found =
            || env::split_paths(&folders).map(|folder| folder.join("strace")).find(|path| path.is_file());
        let hosts = (!unconfined).then(Hosts::default);
        Self { recorder: record.then(found).flatten(), hosts, started: 0, bounds: false }
    }

    /// Tells whether what the server asks of the system is recorded.
    pub(super) fn records(&self) -> bool {
        self.recorder.is_some()
    }

    /// Describes the place.
    pub(super) fn place(&self, hosting: &Hosting) -> Place {
        let name = match (&self.hosts, &hosting.image) {
            (None, _) => "process",
            (Some(_), None) => "sandbox",
            (Some(_), Some(_)) => "container",
        };
        let kept = [
            ("files", self.hosts.is_some()),
            ("network", self.hosts.is_some()),
            ("system calls", self.hosts.is_some()),
            ("memory", self.bounds),
            ("processes", self.bounds),
        ];
        let those = |enforced: bool| {
            let those = kept.iter().filter(|(_, is)| *is == enforced);
            those.map(|(what, _)| (*what).to_owned()).collect()
        };
        Place { name: name.to_owned(), enforced: those(true), missing: those(false) }
    }

    /// Starts the server of a den.
    pub(super) async fn start(&mut self, server: &ServerName, den: &Den) -> anyhow::Result<Running> {
        self.started += 1;
        let recording = self.recorder.as_ref().map(|_| den.folder().join(format!("trace-{}", self.started)));
        let ready = match self.placed(server, den).await? {
            Placed::Process(ready) => ready,
            Placed::Container(started) => {
                self.bounds = true;
                let (container, Streams { stdin, stdout, stderr }) = *started;
                let link = Link::new(Box::new(stdin), stdout, stderr);
                let watcher = Watcher::begin(Root::Marked(den.mark.clone()));
                return Ok(Running {
                    body: Body::Container(Box::new(container)),
                    link,
                    watcher,
                    recording: None,
                });
            }
        };
        self.bounds = ready.cage.is_some();
        let mut prepared = match (&self.recorder, &recording) {
            (Some(recorder), Some(recording)) => {
                let mut prepared = tokio::process::Command::new(recorder);
                prepared.args(["-f", "--seccomp-bpf", "-qq", "-s", "300", "-e", trace::CALLS, "-o"]);
                prepared.arg(recording).arg("--").arg(&ready.program);
                prepared
            }
            _ => tokio::process::Command::new(&ready.program),
        };
        ready.complete(&mut prepared);
        let mut child =
            prepared.spawn().with_context(|| format!("cannot start {}", ready.program.display()))?;
        let streams = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
        let ((input, output), errors) = streams.context("its standard streams are missing")?;
        let watcher = Watcher::begin(child.id().map_or(Root::None, Root::Process));
        let link = Link::new(Box::new(input), output, errors);
        Ok(Running { body: Body::Process(Box::new(child), ready.cage), link, watcher, recording })
    }

    async fn placed(&self, server: &ServerName, den: &Den) -> anyhow::Result<Placed> {
        let command = &den.command;
        let env = environment::resolve(env::vars_os(), &command.env);
        let Some(hosts) = &self.hosts else {
            return Ok(Placed::Process(Box::new(Ready::plain(command, env))));
        };
        hosts.place(server, command, &den.hosting, env).await.map_err(|why| {
            anyhow!(
                "there is no place for it here: {why}; `--unconfined` runs it as a process of yours, which is for servers that \
                 you trust"
            )
        })
    }
}

impl Running {
    /// Waits until it has ended.
    async fn wait(&mut self) {
        match &mut self.body {
            Body::Process(child, _) => drop(child.wait().await),
            Body::Container(container) => drop(container.wait().await),
        }
    }

    /// Tells whether it still runs.
    async fn runs(&mut self) -> bool {
        timeout(Duration::ZERO, self.wait()).await.is_err()
    }

    /// Says which bounds it ran into.
    pub(super) async fn limits(&self) -> Vec<String> {
        match &self.body {
            Body::Process(_, cage) => {
                cage.iter().flat_map(|cage| [cage.exceeded(), cage.reached()]).flatten().collect()
            }
            Body::Container(container) => container.exceeded().await.into_iter().collect(),
        }
    }

    /// Has it leave, as gently as it allows; then kills what is left of the den's processes, and says what that was.
    pub(super) async fn stop(&mut self, den: &Den) -> Ending {
        let began = Instant::now();
        let mut ending = Ending::default();
        if self.runs().await {
            self.link.close();
            ending.by = Some(self.leave(den).await.to_owned());
        }
        ending.took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let left = usage::marked(&den.mark);
        let servers = left.iter().filter(|process| !WRAPPERS.contains(&process.name.as_str()));
        ending.left = servers.map(|process| process.name.clone()).collect();
        for process in left {
            signal(process.id, Signal::SIGKILL);
        }
        ending
    }

    async fn leave(&mut self, den: &Den) -> &'static str {
        if timeout(PATIENCE, self.wait()).await.is_ok() {
            return "end of input";
        }
        self.signal(den, Signal::SIGTERM).await;
        if timeout(PATIENCE, self.wait()).await.is_ok() {
            return "TERM";
        }
        self.signal(den, Signal::SIGKILL).await;
        // One that hangs in the kernel is left to it.
        let _ = timeout(PATIENCE, self.wait()).await;
        "KILL"
    }

    /// Signals the server itself: what leads to it only passes its end on.
    async fn signal(&mut self, den: &Den, what: Signal) {
        match &mut self.body {
            Body::Container(container) => drop(container.signal(what).await),
            Body::Process(child, _) => {
                let all = usage::marked(&den.mark);
                let servers = all.iter().filter(|process| !WRAPPERS.contains(&process.name.as_str()));
                servers.for_each(|process| signal(process.id, what));
                // Where there is no table of processes, it is this one at least.
                if all.is_empty() {
                    child.id().into_iter().for_each(|id| signal(id, what));
                }
            }
        }
    }
}

/// Sends a signal to a process, which may be gone.
fn signal(id: u32, signal: Signal) {
    if let Ok(id) = i32::try_from(id) {
        let _ = kill(Pid::from_raw(id), signal);
    }
}
