//! Where a server is started, and how it is made to leave.
//!
//! **A server is started where it can do no harm, or not at all**, unless whoever asks for it says that it may run as a process
//! of theirs.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_core::config::{Hosting, Network};
use portcullis_core::names::ServerName;
use tokio::process::Child;
use tokio::time::timeout;

use super::attempts::Watch;
use super::den::Den;
use super::link::Link;
use super::report::{Ending, Place, Unseen};
use super::usage::WRAPPERS;
use super::visit::{Root, Watcher};
use super::{trace, usage};
use crate::hosting::{Cage, Container, Hosts, Placed, Ready, Setting, Streams};
use crate::process::environment;
use crate::process::gated::{self, Gate};

/// How long a server may take to leave, at the end of its input and at TERM.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked whether a container has ended.
const LOOK: Duration = Duration::from_millis(100);
/// The ports at which the gate listens to what is said first, besides those of the configuration.
const WEB: [u16; 2] = [80, 443];

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
    /// The ports of the gate, or why there is none.
    gate: Result<Vec<u16>, String>,
    /// Whether files of this machine can be shown to the server.
    shows_files: bool,
    /// Who is told of what comes to the gate.
    pub(super) watch: Arc<Watch>,
    /// What was not seen.
    unseen: Vec<Unseen>,
}

/// A server that runs.
pub(super) struct Running {
    body: Body,
    pub(super) link: Link,
    /// Whoever looks at its processes.
    pub(super) watcher: Watcher,
    /// Where the recording is.
    pub(super) recording: Option<PathBuf>,
    /// What its network is behind.
    gate: Option<Gate>,
}

/// What a server runs as.
enum Body {
    /// A process, and what bounds it.
    Process(Box<Child>, Option<Cage>),
    Container(Box<Container>),
    Gone,
}

impl Starter {
    /// Finds out what can be done here for a server that is hosted like this, and may reach that as it is configured.
    pub(super) async fn new(record: bool, unconfined: bool, hosting: &Hosting, configured: &Network) -> Self {
        let hosts = (!unconfined).then(Hosts::default);
        let mut unseen = Vec::new();
        let recorder = recorder();
        let in_image = hosting.image.is_some();
        let why = match &recorder {
            _ if in_image => "what strace sees ends where a container begins",
            _ if !record => "`--record` was not asked for",
            None => "strace is not installed",
            Some(_) => "",
        };
        let records = why.is_empty();
        if !records {
            unseen.push(Unseen::new("which files and programs it uses", why));
        }
        let (gate, shows_files) = match &hosts {
            None => (Err("it was not kept from it".to_owned()), true),
            Some(hosts) => (hosts.gates(hosting).await, hosts.shows_files(hosting).await),
        };
        if !shows_files {
            unseen.push(Unseen::new(
                "which secrets it looks for in files",
                "the container engine runs elsewhere",
            ));
        }
        if gate.is_ok() && in_image {
            let why = "the gate of a container is there once the container runs";
            unseen.push(Unseen::new("what it wants of the network in its first moment", why));
        }
        let gate = gate.map(|()| ports(configured));
        let mut starter = Self {
            recorder: recorder.filter(|_| records),
            hosts,
            started: 0,
            bounds: false,
            gate: Ok(Vec::new()),
            shows_files,
            watch: Arc::default(),
            unseen,
        };
        match gate {
            Ok(ports) => starter.gate = Ok(ports),
            Err(why) => starter.go_without_gate(why),
        }
        starter
    }

    /// Tells whether it is seen what the server wants of the network.
    pub(super) fn has_gate(&self) -> bool {
        self.gate.is_ok()
    }

    /// Returns what was not seen, and why.
    pub(super) fn unseen(&self) -> Vec<Unseen> {
        self.unseen.clone()
    }

    /// Notes that something was not seen.
    pub(super) fn miss(&mut self, what: &str, why: &str) {
        let missed = Unseen::new(what, why);
        if !self.unseen.contains(&missed) {
            self.unseen.push(missed);
        }
    }

    fn go_without_gate(&mut self, why: String) {
        // Whoever records sees something of it.
        let what = if self.recorder.is_some() {
            "all that it wants of the network"
        } else {
            "what it wants of the network"
        };
        self.miss(what, &why);
        self.gate = Err(why);
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
        match self.begin(server, den).await? {
            Ok(running) => Ok(running),
            Err(why) if self.started == 1 => {
                self.go_without_gate(why);
                self.begin(server, den).await?.map_err(|why| anyhow!(why))
            }
            // What was behind a gate once can be so again.
            Err(why) => Err(anyhow!("the gate of its network: {why}")),
        }
    }

    /// Starts it; says why where there is no gate for it.
    async fn begin(&mut self, server: &ServerName, den: &Den) -> anyhow::Result<Result<Running, String>> {
        match self.placed(server, den).await? {
            Placed::Process(ready) => {
                self.bounds = ready.cage.is_some();
                self.spawn(*ready, den).await
            }
            Placed::Container(started) => Ok(Ok(self.beside(*started, den).await)),
        }
    }

    /// Starts a process; says why where there is no gate for it.
    async fn spawn(&self, ready: Ready, den: &Den) -> anyhow::Result<Result<Running, String>> {
        let recording = self.recorder.as_ref().map(|_| den.folder().join(format!("trace-{}", self.started)));
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
        let (stdin, way) = gated::input(self.gate.is_ok())?;
        let child = prepared.stdin(stdin).spawn();
        let mut child = child.with_context(|| format!("cannot start {}", ready.program.display()))?;
        // The other end is the child's alone.
        drop(prepared);
        let mut gate = None;
        if let Some(way) = way {
            match gated::keep(way, self.watch.clone()).await {
                Ok((stdin, kept)) => (child.stdin, gate) = (Some(stdin), Some(kept)),
                Err(error) => {
                    let said = gated::last_words(&mut child).await;
                    return Ok(Err(said.unwrap_or_else(|| error.to_string())));
                }
            }
        }
        let streams = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
        let ((input, output), errors) = streams.context("its standard streams are missing")?;
        let watcher = Watcher::begin(child.id().map_or(Root::None, Root::Process));
        let link = Link::new(Box::new(input), output, errors);
        Ok(Ok(Running { body: Body::Process(Box::new(child), ready.cage), link, watcher, recording, gate }))
    }

    /// Puts a container behind its gate.
    async fn beside(&mut self, (container, streams): (Container, Streams), den: &Den) -> Running {
        self.bounds = true;
        let mut gate = None;
        if let Ok(ports) = self.gate.clone() {
            match gated::keep_beside(&container, &ports, self.watch.clone()).await {
                Ok(kept) => gate = Some(kept),
                Err(error) => self.miss("all that it wants of the network", &error.to_string()),
            }
        }
        let Streams { stdin, stdout, stderr } = streams;
        Running {
            body: Body::Container(Box::new(container)),
            link: Link::new(Box::new(stdin), stdout, stderr),
            watcher: Watcher::begin(Root::Marked(den.mark.clone())),
            recording: None,
            gate,
        }
    }

    async fn placed(&self, server: &ServerName, den: &Den) -> anyhow::Result<Placed> {
        let command = &den.command;
        let env = environment::resolve(env::vars_os(), &command.env);
        let Some(hosts) = &self.hosts else {
            return Ok(Placed::Process(Box::new(Ready::plain(command, env))));
        };
        let mut setting = Setting { gate: self.gate.clone().ok(), ..den.setting.clone() };
        let mut hosting = den.hosting.clone();
        if !self.shows_files {
            setting.files.clear();
            hosting.mounts.retain(|mount| !mount.path.starts_with(&*den.folder().to_string_lossy()));
        }
        hosts.furnish(server, command, &hosting, env, &setting).await.map_err(|why| {
            anyhow!(
                "there is no place for it here: {why}; `--unconfined` runs it as a process of yours, which is for servers that \
                 you trust"
            )
        })
    }
}

/// Finds the program that records.
fn recorder() -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders).map(|folder| folder.join("strace")).find(|path| path.is_file())
}

/// Returns the ports of the gate: each once.
fn ports(configured: &Network) -> Vec<u16> {
    let mut ports = WEB.to_vec();
    if let Network::Places(places) = configured {
        ports.extend(places.iter().map(|place| place.port));
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

impl Running {
    /// Waits until it has ended.
    async fn wait(&mut self) {
        match &mut self.body {
            Body::Process(child, _) => drop(child.wait().await),
            Body::Container(container) => {
                while !container.has_ended().await {
                    let _ = timeout(LOOK, container.wait()).await;
                }
            }
            Body::Gone => {}
        }
    }

    /// Tells whether it still runs.
    async fn runs(&mut self) -> bool {
        match &mut self.body {
            Body::Process(child, _) => matches!(child.try_wait(), Ok(None)),
            Body::Container(container) => !container.has_ended().await,
            Body::Gone => false,
        }
    }

    /// Says which bounds it ran into.
    pub(super) async fn limits(&self) -> Vec<String> {
        match &self.body {
            Body::Process(_, cage) => {
                cage.iter().flat_map(|cage| [cage.exceeded(), cage.reached()]).flatten().collect()
            }
            Body::Container(container) => container.exceeded().await.into_iter().collect(),
            Body::Gone => Vec::new(),
        }
    }

    /// Takes away what is left of one that has ended; all that came to its gate is told by then.
    pub(super) async fn clear(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.close().await;
        }
        if let Body::Container(container) = std::mem::replace(&mut self.body, Body::Gone) {
            container.remove().await;
        }
    }

    /// Has it leave, as gently as it allows; then kills what is left of the den's processes, and says what that was.
    pub(super) async fn stop(&mut self, den: &Den) -> Ending {
        let began = Instant::now();
        let mut ending = Ending::default();
        if self.runs().await {
            self.link.close().await;
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
            Body::Gone => {}
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
