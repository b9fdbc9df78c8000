//! The network of a process that is about to become a sandbox, and then a server: it makes it, with the sockets of its gate, and
//! hands those over standard input.
//!
//! **The server starts once its gate is open, and not before**: in return for the sockets the process is handed the pipe that is
//! the server's standard input. So nothing has to be passed on to it besides, no file and no descriptor, and nothing of the way
//! to the gateway is left in it. **The network belongs to a user namespace outside of the sandbox's**: whatever rights a server
//! gets in its own, it has none over its network.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{dup2_stdin, getgid, getuid};
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::time::timeout;

use super::sockets::{self, Sockets};

/// How long a sandbox may take until it hands its sockets over.
const PATIENCE: Duration = Duration::from_secs(30);
/// What comes with the pipe: a descriptor cannot come alone.
const INPUT: &[u8] = b"0";

/// Leaves the machine's network for one of its own, hands its sockets over standard input, and takes its next standard input
/// there. For a process with one thread.
pub(crate) fn hand_over(ports: &[u16]) -> io::Result<()> {
    leave_network()?;
    let stdin = io::stdin();
    sockets::send(stdin.as_fd(), &sockets::make(ports)?)?;
    let input = receive_input(stdin.as_fd())?;
    dup2_stdin(&input)?;
    Ok(())
}

/// Goes to a network of its own, in a user namespace in which it is who it was.
fn leave_network() -> io::Result<()> {
    let (user, group) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    // Who may not change groups may say which one is theirs.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

fn receive_input(way: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut text = [0; INPUT.len()];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    recvmsg(way, &mut [IoSliceMut::new(&mut text)], &mut rights, RecvFlags::CMSG_CLOEXEC)?;
    let input = rights.drain().find_map(|part| match part {
        RecvAncillaryMessage::ScmRights(mut found) => found.next(),
        _ => None,
    });
    input.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the gateway has gone"))
}

/// Waits for the sockets of a sandbox.
pub(crate) async fn sockets_from(way: &UnixStream) -> io::Result<Sockets> {
    way.set_nonblocking(true)?;
    let way = tokio::net::UnixStream::from_std(way.try_clone()?)?;
    let received = timeout(PATIENCE, way.async_io(Interest::READABLE, || sockets::receive(way.as_fd())));
    received.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Lets the server start; returns what leads to its standard input.
pub(crate) fn let_start(way: &UnixStream) -> io::Result<PipeWriter> {
    let (reader, writer): (PipeReader, PipeWriter) = io::pipe()?;
    let descriptors = [reader.as_fd()];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    rights.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(way, &[IoSlice::new(INPUT)], &mut rights, SendFlags::NOSIGNAL)?;
    Ok(writer)
}
