//! The sockets of a sandbox that already runs: a process of ours enters its network, makes them, and is gone.
//!
//! **Only a process with one thread can enter another's namespaces**, so it is another one than the gateway's.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use tokio::process::Command;
use tokio::time::timeout;

use super::sockets::{self, Sockets};

/// The command that does it.
pub(crate) const COMMAND: &str = "gate-sockets";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gets the sockets of the network that a process is in.
pub(crate) async fn sockets_of(pid: u32, ports: &[u16]) -> io::Result<Sockets> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(COMMAND).arg("--pid").arg(pid.to_string());
    for port in ports {
        command.arg("--port").arg(port.to_string());
    }
    command.env_clear().stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs))).stdout(Stdio::null());
    command.stderr(Stdio::piped()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!(
            "the network of the sandbox cannot be entered: {}",
            said.trim()
        )));
    }
    // What was sent is here: whoever sent it has ended.
    ours.set_nonblocking(true)?;
    sockets::receive(ours.as_fd())
}

/// Enters the network that a process is in, and hands its sockets over standard input. For a process with one thread.
pub(crate) fn hand_over_sockets_of(pid: u32, ports: &[u16]) -> io::Result<()> {
    let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}"));
    let network = open("net")?;
    match setns(&network, CloneFlags::CLONE_NEWNET) {
        // It belongs to another user namespace, in which whoever made it may do everything.
        Err(Errno::EPERM) => {
            setns(open("user")?, CloneFlags::CLONE_NEWUSER)?;
            setns(&network, CloneFlags::CLONE_NEWNET)?;
        }
        entered => entered?,
    }
    sockets::send(io::stdin().as_fd(), &sockets::make(ports)?)
}
