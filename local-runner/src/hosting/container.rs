//! A server in a container of Docker or Podman, over the engine's API.
//!
//! **Its streams are attached before it starts**, so that no line is lost, and the engine keeps no log of them: messages
//! hold what is nobody else's.
//! **A container that was made is removed, however it ends**; what is left of a gateway that was killed is swept by the next
//! one, by its labels.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerState, HostConfig, HostConfigLogConfig, Mount, MountBindOptions, MountType,
    ResourcesUlimits,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptions,
    KillContainerOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions, WaitContainerOptions,
};
use futures::{Stream, StreamExt};
use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use portcullis_core::config::{Command, Hosting, Inside, Network};
use portcullis_core::names::ServerName;

use super::engine::{Engine, OWNER, SERVER};
use super::plan::{Limits, Plan};
use super::{Setting, TEMPORARY, groups, in_words};

/// Whom it runs as: nobody, whatever the image says.
const NOBODY: &str = "65534:65534";
/// As much as a pipe holds.
const BUFFER: usize = 64 << 10;
/// What is left of a KILL.
const KILLED: i64 = 137;
/// How long an engine may take to pass a signal on before it counts as passed on.
const SIGNALLING: Duration = Duration::from_secs(5);
/// How long an engine is asked again that does not do as it is asked.
const ANSWERING: Duration = Duration::from_secs(20);
/// How long after each other, at first and at most.
const LOOK: Duration = Duration::from_millis(50);
const MOST_BETWEEN: Duration = Duration::from_millis(500);

/// A container that runs a server. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Container {
    docker: Docker,
    /// Where its engine answers.
    engine: String,
    id: String,
    exit: watch::Receiver<Option<i64>>,
    limits: Limits,
    /// Its first process, where that is one of this machine.
    first: Option<i32>,
    /// Where the kernel counts what it kills in it for want of memory.
    kills: Option<PathBuf>,
    /// Whether it was told to end before it did.
    pressed: bool,
    /// What speaks to it over HTTP, where it does not speak on its streams.
    relay: Option<Child>,
}

/// The streams of a server.
pub(crate) struct Streams {
    pub(crate) stdin: Pin<Box<dyn AsyncWrite + Send>>,
    pub(crate) stdout: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) stderr: Box<dyn AsyncRead + Send + Unpin>,
}

impl Container {
    /// Makes and starts a container.
    ///
    /// # Errors
    /// Says why not; nothing is left of it then.
    pub(crate) async fn start(
        engine: &Engine,
        server: &ServerName,
        command: &Command,
        (hosting, setting): (&Hosting, &Setting),
        plan: &Plan,
    ) -> Result<(Self, Streams), String> {
        let docker = engine.docker.clone();
        let image = engine.image(hosting).await?;
        let mut body = body(engine, server, command, image);
        body.host_config = Some(confinement(hosting, setting, plan));
        let name = format!("portcullis-{}-{}", plain(server.as_str()), groups::unique());
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let made = docker.create_container(Some(options), body).await.map_err(|error| said(&error))?;
        let (exit_known, exit) = watch::channel(None);
        let limits = plan.limits;
        let mut container = Self {
            docker,
            engine: engine.address.clone(),
            id: made.id,
            exit,
            limits,
            first: None,
            kills: None,
            pressed: false,
            relay: None,
        };
        match container.run(exit_known).await {
            Ok(streams) => match engine.verify(&container.id, hosting, plan).await {
                Ok(first) => {
                    container.kills = first.and_then(groups::kills_of);
                    container.first = first;
                    match &hosting.http {
                        None => Ok((container, streams)),
                        Some(http) => match container.relayed(http, streams).await {
                            Ok(streams) => Ok((container, streams)),
                            Err(why) => container.give_up(why).await,
                        },
                    }
                }
                Err(why) => container.give_up(why).await,
            },
            Err(error) => container.give_up(said(&error)).await,
        }
    }

    async fn run(&self, exit: watch::Sender<Option<i64>>) -> Result<Streams, Error> {
        let all = AttachContainerOptionsBuilder::default().stdin(true).stdout(true).stderr(true).stream(true);
        let AttachContainerResults { output, input } =
            self.docker.attach_container(&self.id, Some(all.logs(false).build())).await?;
        self.docker.start_container(&self.id, None::<StartContainerOptions>).await?;
        tokio::spawn(await_exit(self.docker.clone(), self.id.clone(), exit));
        let (stdout, stderr) = split(output);
        Ok(Streams { stdin: input, stdout: Box::new(stdout), stderr: Box::new(stderr) })
    }

    /// Starts what speaks over HTTP to the server, in its network; returns that one's streams. What the server says on its own
    /// is for its operator.
    async fn relayed(&mut self, http: &Inside, own: Streams) -> Result<Streams, String> {
        let process = self.process().await.ok_or("it ended at once")?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut relay = tokio::process::Command::new(program)
            .args(super::inside(http, Some(process.into())))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| error.to_string())?;
        let streams = relay.stdin.take().zip(relay.stdout.take()).zip(relay.stderr.take());
        let Some(((stdin, stdout), said)) = streams else { return Err("its streams are missing".to_owned()) };
        self.relay = Some(relay);
        let (stderr, to_stderr) = duplex(BUFFER);
        tokio::spawn(async move {
            let Streams { stdin: _open, stdout: mut one, stderr: mut other } = own;
            let (mut said, to_stderr) = (said, tokio::sync::Mutex::new(to_stderr));
            tokio::join!(
                pass_on(&mut one, &to_stderr),
                pass_on(&mut other, &to_stderr),
                pass_on(&mut said, &to_stderr)
            );
        });
        Ok(Streams { stdin: Box::pin(stdin), stdout: Box::new(stdout), stderr: Box::new(stderr) })
    }

    /// Returns its first process, as this machine knows it.
    pub(crate) async fn process(&self) -> Option<u32> {
        let found = self.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await.ok()?;
        let process = found.state.and_then(|state| state.pid).and_then(|process| u32::try_from(process).ok());
        process.filter(|process| *process > 0)
    }

    /// Returns where its engine answers.
    pub(crate) fn engine(&self) -> &str {
        &self.engine
    }

    /// Returns what the engine calls it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Waits until it has ended; returns its exit code. May be cancelled and called again.
    pub(crate) async fn wait(&mut self) -> Option<i64> {
        self.exit.wait_for(Option::is_some).await.ok().and_then(|code| *code)
    }

    /// Sends a signal to the server; tells whether it was still there to be reached. One that has ended is refused by the
    /// engine, which may know of it long before it says so to whoever waits for the end.
    pub(crate) async fn signal(&mut self, signal: Signal) -> bool {
        let options = KillContainerOptionsBuilder::default().signal(signal.as_str()).build();
        let sent = timeout(SIGNALLING, self.docker.kill_container(&self.id, Some(options))).await;
        let reached = !matches!(sent, Ok(Err(_)));
        self.pressed |= reached;
        reached
    }

    /// Says which bound ended it, continuing "server X ...".
    pub(crate) async fn exceeded(&self) -> Option<String> {
        let told = *self.exit.borrow();
        let memory = self.limits.memory.filter(|_| told != Some(0) && !self.pressed)?;
        // Nobody else kills, as a rule.
        if told != Some(KILLED) && !self.ran_out_of_memory().await {
            return None;
        }
        let allowed = in_words(memory);
        Some(format!(
            "was killed, most likely because it needs more memory than `host.memory` allows ({allowed})"
        ))
    }

    async fn ran_out_of_memory(&self) -> bool {
        match self.kills.as_deref().filter(|kills| kills.exists()) {
            Some(kills) => groups::has_killed(kills),
            None => self.state().await.and_then(|state| state.oom_killed).unwrap_or(false),
        }
    }

    /// Tells whether it has ended. Podman may let whoever waits for that wait for long after it.
    pub(crate) async fn has_ended(&self) -> bool {
        let told = self.exit.borrow().is_some();
        match self.first {
            _ if told => true,
            Some(first) => !Path::new(&format!("/proc/{first}")).exists(),
            None => self.state().await.is_none_or(|state| state.running == Some(false)),
        }
    }

    /// Returns its state; nothing where it is gone.
    async fn state(&self) -> Option<ContainerState> {
        let look = || async {
            match self.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await {
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
                found => found.map(|found| found.state),
            }
        };
        patiently(look).await.ok().flatten()
    }

    /// Removes it, with all that still runs in it.
    pub(crate) async fn remove(mut self) {
        let id = std::mem::take(&mut self.id);
        remove(&self.docker, &id).await;
    }

    async fn give_up<T>(self, why: String) -> Result<T, String> {
        self.remove().await;
        Err(why)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.id.is_empty() {
            return;
        }
        let (docker, id) = (self.docker.clone(), std::mem::take(&mut self.id));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { remove(&docker, &id).await });
        }
    }
}

/// Removes a container, as often as the engine needs to be told.
pub(super) async fn remove(docker: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    let removed = patiently(|| async {
        match docker.remove_container(id, Some(options.clone())).await {
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            removed => removed,
        }
    });
    if let Err(error) = removed.await {
        tracing::warn!(id, error = said(&error), "a container could not be removed");
    }
}

/// Asks an engine until it does as it is asked: while a container ends, Podman knows a state that its own interface cannot
/// tell, neither of that container nor in a list of all.
///
/// # Errors
/// Says what it answered last.
pub(super) async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let deadline = Instant::now() + ANSWERING;
    let mut pause = LOOK;
    loop {
        match ask().await {
            Err(_) if Instant::now() < deadline => sleep(pause).await,
            answer => return answer,
        }
        pause = (pause * 2).min(MOST_BETWEEN);
    }
}

/// Passes on what comes, while somebody listens.
async fn pass_on(from: &mut (impl AsyncRead + Unpin), to: &tokio::sync::Mutex<DuplexStream>) {
    let mut piece = vec![0; 8 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if to.lock().await.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

/// Waits for the end of a container and says its exit code.
async fn await_exit(docker: Docker, id: String, exit: watch::Sender<Option<i64>>) {
    let ended = docker.wait_container(&id, None::<WaitContainerOptions>).next().await;
    let code = match ended {
        Some(Ok(ended)) => ended.status_code,
        Some(Err(Error::DockerContainerWaitError { code, .. })) => code,
        // Whoever removed it has ended it.
        Some(Err(_)) | None => KILLED,
    };
    exit.send_replace(Some(code));
}

/// Splits what comes of a container into its two streams.
fn split(
    output: impl Stream<Item = Result<LogOutput, Error>> + Send + Unpin + 'static,
) -> (DuplexStream, DuplexStream) {
    let ((stdout, mut to_stdout), (stderr, mut to_stderr)) = (duplex(BUFFER), duplex(BUFFER));
    let mut output = output;
    tokio::spawn(async move {
        while let Some(Ok(piece)) = output.next().await {
            // Nobody reads one of them any more; the other goes on.
            let _ = match piece {
                LogOutput::StdErr { message } => to_stderr.write_all(&message).await,
                LogOutput::StdOut { message } | LogOutput::Console { message } => {
                    to_stdout.write_all(&message).await
                }
                LogOutput::StdIn { .. } => Ok(()),
            };
        }
    });
    (stdout, stderr)
}

fn body(engine: &Engine, server: &ServerName, command: &Command, image: String) -> ContainerCreateBody {
    let own = (!command.program.is_empty()).then(|| vec![command.program.clone()]);
    let env = command.env.iter().map(|(name, value)| format!("{name}={value}"));
    let home = (!command.env.contains_key("HOME")).then(|| "HOME=/tmp".to_owned());
    let labels = [(OWNER, engine.owner.as_str()), (SERVER, server.as_str())];
    ContainerCreateBody {
        image: Some(image),
        entrypoint: own.clone(),
        cmd: own.map(|_| command.args.clone()),
        working_dir: command.cwd.clone(),
        user: Some(NOBODY.to_owned()),
        env: Some(env.chain(home).collect()),
        tty: Some(false),
        open_stdin: Some(true),
        stdin_once: Some(true),
        // Whoever removes one that runs has been patient with it, or is not.
        stop_timeout: Some(0),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        ..ContainerCreateBody::default()
    }
}

/// What a container may not do.
fn confinement(hosting: &Hosting, setting: &Setting, plan: &Plan) -> HostConfig {
    let Limits { memory, cpus, pids, files, tmp } = plan.limits;
    let size = i64::try_from(tmp).unwrap_or(i64::MAX);
    let memory = memory.and_then(|memory| i64::try_from(memory).ok());
    let processes = pids.map_or(4096, i64::from);
    let bounds = [("nofile", i64::from(files)), ("nproc", processes)];
    let network = if hosting.network == Network::Unrestricted { "bridge" } else { "none" };
    // Where there is a gate, it answers for names.
    let gated =
        setting.gate.is_some() || matches!(&hosting.network, Network::Places(places) if !places.is_empty());
    let folders = setting.folders.iter().map(String::as_str).chain([TEMPORARY]);
    let folder = format!("rw,size={tmp},noexec,nosuid,nodev,mode=1777");
    let files = setting.files.iter().map(|(file, to)| {
        let path = file.display().to_string();
        portcullis_core::config::Mount { path, to: to.clone(), write: false }
    });
    let mounts = files.chain(hosting.mounts.iter().cloned()).map(|seen| mount(&seen));
    HostConfig {
        network_mode: Some(network.to_owned()),
        dns: gated.then(|| vec!["127.0.0.1".to_owned()]),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        memory,
        memory_swap: memory,
        nano_cpus: cpus.map(|cpus| i64::from(cpus) * 1_000_000),
        pids_limit: pids.map(i64::from),
        shm_size: Some(size),
        tmpfs: Some(folders.map(|at| (at.to_owned(), folder.clone())).collect()),
        ulimits: Some(bounds.map(|(name, bound)| ulimit(name, bound)).into()),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        init: Some(true),
        auto_remove: Some(false),
        runtime: plan.runtime.clone(),
        mounts: Some(mounts.collect()),
        ..HostConfig::default()
    }
}

fn ulimit(name: &str, bound: i64) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(bound), hard: Some(bound) }
}

fn mount(mount: &portcullis_core::config::Mount) -> Mount {
    // What is not there is not made.
    let options = MountBindOptions { create_mountpoint: Some(false), ..MountBindOptions::default() };
    Mount {
        typ: Some(MountType::BIND),
        source: Some(mount.path.clone()),
        target: Some(mount.to.clone()),
        read_only: Some(!mount.write),
        bind_options: Some(options),
        ..Mount::default()
    }
}

/// Returns a name as engines take them.
fn plain(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' })
        .collect()
}

/// Returns what an engine said.
pub(super) fn said(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => format!("the engine says: {}", message.trim()),
        error => format!("the engine does not answer as it should: {error}"),
    }
}
