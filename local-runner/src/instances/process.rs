//! The process of one instance, as the front sees it: started, told things, listened to, ended.
//!
//! **Nothing that it says can hurt others**: a line that is too long or is no message ends it, and its entries wait while the
//! trail has no room.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use portcullis_core::SealKeys;
use portcullis_core::config;
use portcullis_core::ports::SecretStore;
use portcullis_core::secrets::SecretName;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::words::{self, Begin, Lent, Order, Told};
use crate::audit::Trail;
use crate::hosting::apart::{Apartness, Room};
use crate::hosting::groups::Groups;
use crate::hosting::packages;

/// How long one may take until it answers requests.
const START: Duration = Duration::from_secs(20);
/// How long it may take to end once it is told to, its servers too.
const END: Duration = Duration::from_secs(8);
/// The longest line that is read of one, in bytes.
const LONGEST: u64 = 1 << 20;
/// The socket in its folder at which it answers.
pub(crate) const SOCKET: &str = "s";

/// A process that runs, or did until a moment ago.
pub(super) struct Process {
    /// Where it answers.
    pub(super) socket: PathBuf,
    orders: mpsc::UnboundedSender<String>,
    /// Closed once it has ended.
    ended: watch::Receiver<()>,
    leader: Option<Pid>,
}

/// What the front does for an instance.
pub(super) struct Front {
    /// Whose it is; nobody's, where it is for all who prove nothing.
    pub(super) principal: Option<Arc<str>>,
    pub(super) trail: Trail,
    pub(super) secrets: Arc<dyn SecretStore>,
    /// Tells whether the configuration in force calls a secret by that name.
    pub(super) is_named: Box<dyn Fn(&SecretName) -> bool + Send + Sync>,
}

/// Returns keys as text.
pub(super) fn text_of(keys: &SealKeys) -> String {
    let all = std::iter::once(&keys.first).chain(&keys.others);
    all.map(|key| STANDARD.encode(key)).collect::<Vec<_>>().join(",")
}

/// Returns what an instance is started with.
pub(super) fn start_command(
    apartness: &Apartness,
    (data, home): (&Path, &Path),
    bounds: config::Instances,
) -> anyhow::Result<(Command, Option<Groups>)> {
    let packages = data.join(packages::FOLDER);
    apartness.command(&Room { data, home, packages: &packages, memory: bounds.memory, pids: bounds.pids })
}

impl Process {
    /// Starts it, and waits until it answers requests.
    pub(super) async fn start(
        (command, groups): (Command, Option<Groups>),
        home: &Path,
        begin: Begin,
        front: Front,
    ) -> anyhow::Result<Self> {
        let mut command = tokio::process::Command::from(command);
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().context("the process")?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let stdin = child.stdin.take().context("its input")?;
        let stdout = child.stdout.take().context("its output")?;
        let (orders, written) = mpsc::unbounded_channel();
        let (running, ended) = watch::channel(());
        let (ready, mut is_ready) = mpsc::channel(1);
        orders.send(words::line(&Order::Begin(Box::new(begin))))?;
        tokio::spawn(write(stdin, written));
        let answers = orders.downgrade();
        tokio::spawn(async move {
            let listening = listen(stdout, front, answers, ready);
            watch_over(child, leader, listening).await;
            drop(groups);
            drop(running);
        });
        let started = Self { socket: home.join(SOCKET), orders, ended, leader };
        match timeout(START, is_ready.recv()).await {
            Ok(Some(())) => Ok(started),
            Ok(None) => {
                started.end().await;
                bail!("it ended before it answered requests; what it said is above");
            }
            Err(_) => {
                started.end().await;
                bail!("it did not answer requests within {} s", START.as_secs());
            }
        }
    }

    /// Tells it something, where it still listens.
    pub(super) fn tell(&self, line: String) {
        let _ = self.orders.send(line);
    }

    /// Tells whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.has_changed().is_err()
    }

    /// Ends it: it reads the end of its input, and is killed where it takes too long.
    pub(super) async fn end(self) {
        let Self { orders, mut ended, leader, .. } = self;
        drop(orders);
        if timeout(END, gone(&mut ended)).await.is_ok() {
            return;
        }
        tracing::warn!("an identity's gateway did not end in time, and is killed");
        kill(leader);
        gone(&mut ended).await;
    }
}

async fn gone(ended: &mut watch::Receiver<()>) {
    while ended.changed().await.is_ok() {}
}

/// Sees to it that all of a process is gone once it has ended, or says what it may not.
async fn watch_over(mut child: Child, leader: Option<Pid>, listening: impl Future<Output = ()>) {
    let mut listening = std::pin::pin!(listening);
    tokio::select! {
        // What is left to read was said before it ended.
        status = child.wait() => {
            tracing::debug!(?status, "an identity's gateway has ended");
            let _ = timeout(Duration::from_secs(1), &mut listening).await;
        }
        () = &mut listening => {
            // It closed its output: it ends, or is not to be listened to any more.
            let _ = timeout(END, child.wait()).await;
        }
    }
    kill(leader);
    let _ = child.wait().await;
}

fn kill(leader: Option<Pid>) {
    if let Some(leader) = leader {
        let _ = killpg(leader, Signal::SIGKILL);
    }
}

async fn write(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(mut line) = lines.recv().await {
        line.push('\n');
        if stdin.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Does what a process asks for, until it says nothing more.
async fn listen(
    stdout: ChildStdout,
    front: Front,
    answers: mpsc::WeakUnboundedSender<String>,
    ready: mpsc::Sender<()>,
) {
    let mut lines = BufReader::new(stdout);
    let mut ready = Some(ready);
    let front = Arc::new(front);
    loop {
        let mut line = String::new();
        match (&mut lines).take(LONGEST).read_line(&mut line).await {
            Ok(1..) if line.ends_with('\n') => {}
            Ok(0) => return,
            Ok(_) | Err(_) => return tracing::error!("an identity's gateway says what is no message"),
        }
        match serde_json::from_str(&line) {
            Ok(Told::Ready) => drop(ready.take().map(|ready| ready.try_send(()))),
            Ok(Told::Entry(entry)) => {
                front.trail.has_room().await;
                front.trail.take(&entry, front.principal.as_ref());
            }
            Ok(Told::Ask { ask, secret }) => {
                let Some(answers) = answers.upgrade() else { return };
                let front = front.clone();
                tokio::spawn(async move {
                    let value = front.lend(&secret).await;
                    let _ = answers.send(words::line(&Order::Answer { ask, value }));
                });
            }
            Err(_) => return tracing::error!("an identity's gateway says what is no message"),
        }
    }
}

impl Front {
    async fn lend(&self, name: &str) -> Result<Option<Lent>, String> {
        let name = SecretName::parse(name).map_err(|error| error.to_string())?;
        if !(self.is_named)(&name) {
            return Ok(None);
        }
        let values = self.secrets.values(name).await.map_err(|error| error.0)?;
        Ok(values.map(|values| Lent {
            current: values.current.reveal().to_owned(),
            previous: values.previous.map(|value| value.reveal().to_owned()),
            version: values.version,
        }))
    }
}
