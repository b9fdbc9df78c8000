//! From a configured command to a running process, or to the reason why not.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::pin::Pin;

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Child;

use portcullis_core::config::Command;
use portcullis_core::error::Unreachable;
use portcullis_core::names::ServerName;
use portcullis_core::secrets::Veil;

use crate::audit::Trail;
use crate::hosting::{Hosts, Noted, Placed, Ready, Streams};

use super::body::{Body, Process};
use super::environment;
use super::gated::{self, Gate, Way};
use super::journal::Journal;

/// A server that has just been started.
pub(super) struct Started {
    pub(super) server: ServerName,
    pub(super) body: Body,
    pub(super) stdin: Pin<Box<dyn AsyncWrite + Send>>,
    pub(super) stdout: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// What is not to be shown of what it says.
    pub(super) veil: Veil,
    /// That it runs, written down where it is hosted.
    pub(super) noted: Option<Noted>,
    /// Where what it says on standard error is kept, where it is.
    pub(super) log: Option<Journal>,
    /// What its network is behind, where it is.
    pub(super) gate: Option<Gate>,
}

/// Starts `command`. A program without a slash is looked up in the `PATH` of its own environment; a relative one
/// with a slash is relative to the folder that it runs in.
pub(super) async fn start(
    server: &ServerName,
    command: &Command,
    (hosts, trail): (&Hosts, Option<Trail>),
) -> Result<Started, Unreachable> {
    let refuse =
        |why: String| Unreachable::new(server.as_str(), format!("could not be started: {why}")).undelivered();
    if let Some(objection) = objection(command).await {
        return Err(refuse(objection));
    }
    let told = (trail, hosts.traffic().clone());
    let records = hosts.records().filter(|_| command.hosting.is_some());
    let log = records.map(|records| Journal::at(records.log(server.as_str())));
    let (name, veil) = (server.clone(), command.veil.clone());
    let ready = match place(server, command, hosts).await.map_err(refuse)? {
        Placed::Container(started) => {
            let (container, Streams { stdin, stdout, stderr }) = *started;
            tracing::info!(%server, "container started");
            let noted = records.and_then(|records| {
                records.note_container(server.as_str(), container.id(), container.engine())
            });
            let gate = gated::beside(&container, server, command, told).await;
            let gate = gate.map_err(|error| refuse(format!("its network: {error}")))?;
            let body = Body::Container(container);
            return Ok(Started { server: name, body, stdin, stdout, stderr, veil, noted, log, gate });
        }
        Placed::Process(ready) => ready,
    };
    let (mut child, way) = spawn(&ready).map_err(|error| refuse(explain(&error, command)))?;
    tracing::info!(%server, program = command.program, pid = child.id(), "process started");
    let mut gate = None;
    if let Some(way) = way {
        match gated::open(way, server, command, told).await {
            Ok((stdin, opened)) => (child.stdin, gate) = (Some(stdin), Some(opened)),
            Err(error) => {
                let said = gated::last_words(&mut child).await;
                return Err(refuse(said.unwrap_or_else(|| format!("its network: {error}"))));
            }
        }
    }
    let streams = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
    let noted = records.zip(ready.backend).zip(child.id());
    let noted = noted.and_then(|((records, backend), id)| {
        let groups = ready.cage.as_ref().map_or(&[][..], |cage| cage.groups());
        records.note_process(server.as_str(), backend, id, groups)
    });
    let body = Body::Process(Process::new(child, ready.cage));
    let Some(((stdin, stdout), stderr)) = streams else {
        return Err(refuse("its standard streams are missing".to_owned()));
    };
    let (stdin, stdout, stderr) = (Box::pin(stdin), Box::new(stdout), Box::new(stderr));
    Ok(Started { server: name, body, stdin, stdout, stderr, veil, noted, log, gate })
}

/// Says what can be seen to be wrong before trying.
async fn objection(command: &Command) -> Option<String> {
    if command.program.is_empty() && command.hosting.is_none() {
        return Some("no program is configured".to_owned());
    }
    if command.program.contains('\0') || command.args.iter().any(|arg| arg.contains('\0')) {
        return Some("its command contains a NUL byte".to_owned());
    }
    if let Some(objection) = environment::objection(&command.env) {
        return Some(objection);
    }
    // In an image it is a folder of the image.
    let image = command.hosting.as_ref().is_some_and(|hosting| hosting.image.is_some());
    let folder = command.cwd.as_ref().filter(|_| !image)?;
    match tokio::fs::metadata(folder).await {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(format!("its working folder {folder:?} is not a folder")),
        Err(error) => Some(format!("its working folder {folder:?} cannot be used: {}", in_words(&error))),
    }
}

/// Says what is started for a command: itself, or what keeps it apart.
async fn place(server: &ServerName, command: &Command, hosts: &Hosts) -> Result<Placed, String> {
    let env = environment::resolve(env::vars_os(), &command.env);
    match &command.hosting {
        Some(hosting) => hosts.place(server, command, hosting, env).boxed().await,
        None => Ok(Placed::Process(Box::new(Ready::plain(command, env)))),
    }
}

fn spawn(ready: &Ready) -> io::Result<(Child, Option<Way>)> {
    let (stdin, way) = gated::input(!ready.gate.is_empty())?;
    let mut prepared = tokio::process::Command::new(&ready.program);
    ready.complete(&mut prepared);
    Ok((prepared.stdin(stdin).spawn()?, way))
}

fn explain(error: &io::Error, command: &Command) -> String {
    let program = &command.program;
    match error.kind() {
        io::ErrorKind::NotFound if exists(command) => {
            format!("the interpreter that {program:?} names in its first line was not found")
        }
        io::ErrorKind::NotFound if program.contains('/') => format!("there is no program {program:?}"),
        io::ErrorKind::NotFound => format!(
            "the program {program:?} is in no folder of PATH; install it, give its full path, or set PATH in its env"
        ),
        io::ErrorKind::PermissionDenied => format!("{program:?} may not be executed (permission denied)"),
        _ => format!("{program:?}: {error}"),
    }
}

/// Whether the program is there, where the system looked for it.
fn exists(command: &Command) -> bool {
    let program = Path::new(&command.program);
    let folder = command.cwd.as_deref().unwrap_or_default();
    if command.program.contains('/') {
        return Path::new(folder).join(program).is_file();
    }
    let path = command.env.get("PATH").map(OsString::from).or_else(|| env::var_os("PATH"));
    env::split_paths(path.as_deref().unwrap_or(OsStr::new(""))).any(|found| found.join(program).is_file())
}

/// Returns an error's words without its number.
fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
