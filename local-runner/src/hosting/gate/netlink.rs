//! Has a network that nothing leads out of take everything that is sent to anybody.
//!
//! **Where this has been done in a namespace, every address is that namespace's own**, so that a program reaches whoever
//! listens there, or is told at once that nobody does. It is for a namespace of a sandbox alone: the caller sees to that.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

const NEW_LINK: u16 = 16;
const NEW_ROUTE: u16 = 24;
const ERROR: u16 = 2;
/// A request that is to be acknowledged.
const ASKED: u16 = 0x1 | 0x4;
/// It makes what is not there yet, or replaces it.
const MAKES: u16 = 0x400 | 0x100;
const UP: u32 = 1;
const OUTGOING_INTERFACE: u16 = 4;
/// The table, the kind of route and its scope: what is here.
const LOCAL: u8 = 255;
const KIND_LOCAL: u8 = 2;
const SCOPE_HOST: u8 = 254;
/// Who made it: the kernel's value for routes that a person sets.
const BOOT: u8 = 3;

/// Brings the loopback interface up and makes every address its own. IPv6 is left out where the namespace has none; returns
/// whether it has.
pub(super) fn take_everything() -> io::Result<bool> {
    let loopback = if_nametoindex("lo")?;
    let flags = SockFlag::SOCK_CLOEXEC;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    ask(&netlink, &link_up(loopback))?;
    ask(&netlink, &local_route(libc::AF_INET, loopback))?;
    match ask(&netlink, &local_route(libc::AF_INET6, loopback)) {
        Ok(()) => Ok(true),
        // Nothing can be sent there then.
        Err(Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP | Errno::EACCES | Errno::EINVAL | Errno::ENODEV) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks the kernel for something, and waits until it is done.
fn ask(netlink: &OwnedFd, message: &[u8]) -> Result<(), Errno> {
    sendto(netlink.as_raw_fd(), message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut reply = [0; 4096];
    let length = recv(netlink.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    let reply = &reply[..length];
    let kind = reply.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    match (kind, reply.get(16..20)) {
        (Some(ERROR), Some(&[a, b, c, d])) => match i32::from_ne_bytes([a, b, c, d]) {
            0 => Ok(()),
            code => Err(Errno::from_raw(-code)),
        },
        _ => Err(Errno::EPROTO),
    }
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::new();
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    // Its number, and who sends it: the kernel knows.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    message
}

fn link_up(interface: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend_from_slice(&interface.to_ne_bytes());
    body.extend_from_slice(&UP.to_ne_bytes());
    // Which flags change.
    body.extend_from_slice(&UP.to_ne_bytes());
    message(NEW_LINK, ASKED, &body)
}

fn local_route(family: i32, interface: u32) -> Vec<u8> {
    let family = u8::try_from(family).unwrap_or_default();
    // To everything, from everywhere, for every kind of service.
    let mut body = vec![family, 0, 0, 0, LOCAL, BOOT, SCOPE_HOST, KIND_LOCAL];
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(&8u16.to_ne_bytes());
    body.extend_from_slice(&OUTGOING_INTERFACE.to_ne_bytes());
    body.extend_from_slice(&interface.to_ne_bytes());
    message(NEW_ROUTE, ASKED | MAKES, &body)
}
