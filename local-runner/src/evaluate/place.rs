//! Where a server is started, and how it is made to leave.
//!
//! **A server is started where it can do no harm, or not at all**, unless whoever asks for it says that it may run as a process
//! of theirs.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_core::config::Hosting;
use tokio::process::Child;
use tokio::time::timeout;

use super::den::Den;
use super::link::Link;
use super::report::{Ending, Place};
use super::usage::WRAPPERS;
use super::visit::Watcher;
use super::{trace, usage};
use crate::hosting::{Cage, Hosts, Placed};
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
    child: Child,
    /// What bounds it.
    cage: Option<Cage>,
    pub(super) link: Link,
    /// Whoever looks at its processes.
    pub(super) watcher: Watcher,
    /// Where the recording is.
    pub(super) recording: Option<PathBuf>,
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
    pub(super) async fn start(&mut self, den: &Den) -> anyhow::Result<Running> {
        self.started += 1;
        let recording = self.recorder.as_ref().map(|_| den.folder().join(format!("trace-{}", self.started)));
        let placed = self.placed(den).await?;
        self.bounds = placed.cage.is_some();
        let mut prepared = match (&self.recorder, &recording) {
            (Some(recorder), Some(recording)) => {
                let mut prepared = tokio::process::Command::new(recorder);
                prepared.args(["-f", "--seccomp-bpf", "-qq", "-s", "300", "-e", trace::CALLS, "-o"]);
                prepared.arg(recording).arg("--").arg(&placed.program);
                prepared
            }
            _ => tokio::process::Command::new(&placed.program),
        };
        prepared
            .args(&placed.args)
            .env_clear()
            .envs(placed.env.iter())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(folder) = &placed.folder {
            prepared.current_dir(folder);
        }
        let mut child =
            prepared.spawn().with_context(|| format!("cannot start {}", placed.program.display()))?;
        let streams = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
        let ((input, output), errors) = streams.context("its standard streams are missing")?;
        let watcher = Watcher::begin(child.id());
        let link = Link::new(Box::new(input), output, errors);
        Ok(Running { child, cage: placed.cage, link, watcher, recording })
    }

    async fn placed(&self, den: &Den) -> anyhow::Result<Placed> {
        let command = &den.command;
        let env = environment::resolve(env::vars_os(), &command.env);
        let Some(hosts) = &self.hosts else {
            return Ok(Placed {
                program: (&command.program).into(),
                args: command.args.iter().map(OsString::from).collect(),
                env,
                folder: command.cwd.as_ref().map(PathBuf::from),
                cage: None,
            });
        };
        hosts.place(command, &den.hosting, env).await.map_err(|why| {
            anyhow!(
                "there is no place for it here: {why}; `--unconfined` runs it as a process of yours, which is for servers that \
                 you trust"
            )
        })
    }
}

impl Running {
    /// The number of the process that was started.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Tells whether it still runs.
    pub(super) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Says which bounds it ran into.
    pub(super) fn limits(&self) -> Vec<String> {
        let cage = self.cage.as_ref();
        cage.into_iter().flat_map(|cage| [cage.exceeded(), cage.reached()]).flatten().collect()
    }

    /// Has it leave, as gently as it allows; then kills what is left of the den's processes, and says what that was.
    pub(super) async fn stop(&mut self, den: &Den) -> Ending {
        let began = Instant::now();
        let mut ending = Ending::default();
        if self.runs() {
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
        if timeout(PATIENCE, self.child.wait()).await.is_ok() {
            return "end of input";
        }
        // What leads to the server only passes its end on.
        let servers = usage::marked(&den.mark);
        for process in servers.iter().filter(|process| !WRAPPERS.contains(&process.name.as_str())) {
            signal(process.id, Signal::SIGTERM);
        }
        if servers.is_empty() {
            self.id().into_iter().for_each(|id| signal(id, Signal::SIGTERM));
        }
        if timeout(PATIENCE, self.child.wait()).await.is_ok() {
            return "TERM";
        }
        for process in usage::marked(&den.mark) {
            signal(process.id, Signal::SIGKILL);
        }
        // Where there is no table of processes, it is this one at least.
        let _ = self.child.kill().await;
        "KILL"
    }
}

/// Sends a signal to a process, which may be gone.
fn signal(id: u32, signal: Signal) {
    if let Ok(id) = i32::try_from(id) {
        let _ = kill(Pid::from_raw(id), signal);
    }
}
