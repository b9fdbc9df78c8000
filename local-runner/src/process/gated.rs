//! A process whose network is behind a gate: before it becomes the server it hands the sockets of its network over standard
//! input, and what the server then has there is a pipe.

use std::io;
use std::process::Stdio;

#[cfg(target_os = "linux")]
use portcullis_core::config::Network;
use portcullis_core::config::{Command, Place};
use portcullis_core::names::ServerName;
use tokio::process::{Child, ChildStdin};

use crate::audit::Trail;
use crate::hosting::{Container, Traffic};

#[cfg(target_os = "linux")]
pub(super) use crate::hosting::gate::Gate;
#[cfg(target_os = "linux")]
use crate::hosting::gate::Sockets;

/// There are no gates here.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(super) enum Gate {}

#[cfg(not(target_os = "linux"))]
impl Gate {
    /// Closes it.
    #[expect(clippy::unused_async, reason = "elsewhere it waits")]
    pub(super) async fn close(self) {
        match self {}
    }
}

/// The gateway's end of what is a process' standard input at first.
#[derive(Debug)]
pub(super) struct Way(#[cfg(target_os = "linux")] std::os::unix::net::UnixStream);

/// Returns the standard input of a process that may reach these places, and the other end of it where it is no pipe.
#[cfg(target_os = "linux")]
pub(super) fn input(places: &[Place]) -> io::Result<(Stdio, Option<Way>)> {
    if places.is_empty() {
        return Ok((Stdio::piped(), None));
    }
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    Ok((std::os::fd::OwnedFd::from(theirs).into(), Some(Way(ours))))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn input(places: &[Place]) -> io::Result<(Stdio, Option<Way>)> {
    if places.is_empty() { Ok((Stdio::piped(), None)) } else { Err(io::ErrorKind::Unsupported.into()) }
}

/// Opens the gate of a process, and has it become the server.
#[cfg(target_os = "linux")]
pub(super) async fn open(
    way: Way,
    server: &ServerName,
    command: &Command,
    told: (Option<Trail>, Traffic),
) -> io::Result<(ChildStdin, Gate)> {
    use crate::hosting::gate::{let_start, sockets_from};

    let sockets = sockets_from(&way.0).await?;
    let gate = gate(sockets, server, command, told)?;
    let writer = std::os::fd::OwnedFd::from(let_start(&way.0)?);
    Ok((ChildStdin::from_std(writer.into())?, gate))
}

#[cfg(not(target_os = "linux"))]
pub(super) async fn open(
    _: Way,
    _: &ServerName,
    _: &Command,
    _: (Option<Trail>, Traffic),
) -> io::Result<(ChildStdin, Gate)> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Opens the gate of a container that has just started, where there are places that it may reach. What it tries before that fails:
/// nothing leads out of its network.
#[cfg(target_os = "linux")]
pub(super) async fn beside(
    container: &Container,
    server: &ServerName,
    command: &Command,
    told: (Option<Trail>, Traffic),
) -> io::Result<Option<Gate>> {
    use crate::hosting::gate::{Policy, sockets_of};

    let places = places(command);
    if places.is_empty() {
        return Ok(None);
    }
    let process = container.process().await.ok_or_else(|| io::Error::other("it ended at once"))?;
    let sockets = sockets_of(process, &Policy::new(places.to_vec()).ports()).await?;
    gate(sockets, server, command, told).map(Some)
}

/// Opens a gate that has these sockets, to the places of a server and as wide as it says.
#[cfg(target_os = "linux")]
fn gate(
    sockets: Sockets,
    server: &ServerName,
    command: &Command,
    (trail, traffic): (Option<Trail>, Traffic),
) -> io::Result<Gate> {
    use crate::hosting::gate::{Caps, Recorder};

    let caps = command.hosting.as_ref().map(|hosting| Caps::from(hosting.egress)).unwrap_or_default();
    let witness = std::sync::Arc::new(Recorder::new(trail, server.to_arc(), traffic));
    Gate::open(sockets, places(command).to_vec(), caps, witness)
}

/// Returns the places that a server may reach, where they are listed.
#[cfg(target_os = "linux")]
fn places(command: &Command) -> &[Place] {
    match command.hosting.as_ref().map(|hosting| &hosting.network) {
        Some(Network::Places(places)) => places,
        _ => &[],
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) async fn beside(
    _: &Container,
    _: &ServerName,
    _: &Command,
    _: (Option<Trail>, Traffic),
) -> io::Result<Option<Gate>> {
    Ok(None)
}

/// Says what a process said before it became no server.
pub(super) async fn last_words(child: &mut Child) -> Option<String> {
    use tokio::io::AsyncReadExt as _;

    /// How much it may have said.
    const LONGEST: u64 = 4096;
    let mut said = Vec::new();
    child.start_kill().ok()?;
    child.stderr.take()?.take(LONGEST).read_to_end(&mut said).await.ok()?;
    let said = String::from_utf8_lossy(&said);
    said.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
}
