//! Where a server is started, and how it is made to leave.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::timeout;

use super::den::Den;
use super::link::Link;
use super::report::{Ending, Place};
use super::visit::Watcher;
use super::{trace, usage};

/// How long a server may take to leave, at the end of its input and at TERM.
const PATIENCE: Duration = Duration::from_secs(3);
/// What is passed on of this program's environment.
const BASE: [&str; 7] =
    ["PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"];
/// Programs that only lead to the server.
const WRAPPERS: [&str; 2] = ["strace", "bwrap"];

/// How servers are started.
#[derive(Debug)]
pub(super) struct Starter {
    /// The program that records, where it is asked for.
    recorder: Option<PathBuf>,
    /// How many were started.
    started: usize,
}

/// A server that runs.
pub(super) struct Running {
    child: Child,
    pub(super) link: Link,
    /// Whoever looks at its processes.
    pub(super) watcher: Watcher,
    /// Where the recording is.
    pub(super) recording: Option<PathBuf>,
}

impl Starter {
    pub(super) fn new(record: bool) -> Self {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let found = || {
            std::env::split_paths(&folders).map(|folder| folder.join("strace")).find(|path| path.is_file())
        };
        Self { recorder: record.then(found).flatten(), started: 0 }
    }

    /// Tells whether what the server asks of the system is recorded.
    pub(super) fn records(&self) -> bool {
        self.recorder.is_some()
    }

    /// Describes the place.
    pub(super) fn place(&self) -> Place {
        Place {
            name: "process".to_owned(),
            enforced: Vec::new(),
            missing: ["files", "network", "memory", "processes"].map(str::to_owned).to_vec(),
        }
    }

    /// Starts the server of a den.
    pub(super) fn start(&mut self, den: &Den) -> anyhow::Result<Running> {
        self.started += 1;
        let recording = self.recorder.as_ref().map(|_| den.folder().join(format!("trace-{}", self.started)));
        let command = &den.command;
        let mut prepared = match (&self.recorder, &recording) {
            (Some(recorder), Some(recording)) => {
                let mut prepared = tokio::process::Command::new(recorder);
                prepared.args(["-f", "--seccomp-bpf", "-qq", "-s", "300", "-e", trace::CALLS, "-o"]);
                prepared.arg(recording).arg("--").arg(&command.program);
                prepared
            }
            _ => tokio::process::Command::new(&command.program),
        };
        prepared
            .args(&command.args)
            .env_clear()
            .envs(BASE.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(command.env.iter())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .current_dir(command.cwd.as_deref().map_or_else(|| den.home(), PathBuf::from));
        let mut child = prepared.spawn().with_context(|| format!("cannot start {:?}", command.program))?;
        let streams = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
        let ((input, output), errors) = streams.context("its standard streams are missing")?;
        let watcher = Watcher::begin(child.id());
        Ok(Running { child, watcher, link: Link::new(Box::new(input), output, errors), recording })
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
        ending.left = left.iter().map(|process| process.name.clone()).collect();
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
