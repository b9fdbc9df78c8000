//! The sockets of a gate: made in the namespace of a sandbox, served from outside of it.
//!
//! **A socket stays in the namespace that it was made in**, whoever holds it. So nothing of the gate runs in a sandbox: what
//! makes the sockets hands them over a Unix socket and is gone before the server starts.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Ipv4PacketInfo;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::netlink;
use super::refused::{self, Kind};

/// The most ports that places may have: as many sockets fit into one message of the kernel.
pub(crate) const PORTS: usize = 200;
/// The most sockets.
const MOST: usize = 253;
/// How many connections may wait to be taken.
const BACKLOG: i32 = 128;
/// The port of DNS.
const DNS: u16 = 53;

/// The sockets of one sandbox.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// Where names are asked for, at whichever address.
    pub(crate) names: UdpSocket,
    /// Where connections come to the ports of places.
    pub(crate) ports: Vec<TcpListener>,
    /// Where the kernel's refusals are seen: raw sockets, which are received from as those of UDP are.
    pub(crate) refused: Vec<(Kind, UdpSocket)>,
}

/// Makes the sockets in the namespace of whoever calls this, which is changed so that everything that is sent comes to them.
/// That takes `CAP_NET_ADMIN` and `CAP_NET_RAW` there.
pub(crate) fn make(ports: &[u16]) -> io::Result<Sockets> {
    if ports.len() > PORTS {
        return Err(io::Error::other(format!("places have at most {PORTS} different ports")));
    }
    refuse_way_out()?;
    let has_newer = netlink::take_everything()?;
    let names = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DNS))?;
    // An answer comes from the address that was asked, whichever that is.
    setsockopt(&names, Ipv4PacketInfo, &true)?;
    let ports = ports.iter().map(|&port| listen(port, has_newer)).collect::<io::Result<_>>()?;
    let mut kinds = vec![Kind::Tcp4, Kind::Icmp4];
    if has_newer {
        kinds.extend([Kind::Tcp6, Kind::Icmp6]);
    }
    let refused = kinds.into_iter().map(|kind| Ok((kind, watch(kind)?))).collect::<io::Result<_>>()?;
    Ok(Sockets { names, ports, refused })
}

/// Refuses a namespace with a way out: who is in it would lose it.
fn refuse_way_out() -> io::Result<()> {
    let is_way_out = |flags: InterfaceFlags| {
        flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_LOOPBACK)
    };
    match getifaddrs()?.find(|found| is_way_out(found.flags)) {
        None => Ok(()),
        Some(found) => {
            let name = found.interface_name;
            Err(io::Error::other(format!("this network has the interface {name}: it is none of a sandbox")))
        }
    }
}

/// Listens at every address, of both kinds where there are two.
fn listen(port: u16, has_newer: bool) -> io::Result<TcpListener> {
    let (domain, address): (_, SocketAddr) = if has_newer {
        (Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into())
    } else {
        (Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into())
    };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if has_newer {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Has a socket see refusals of one kind.
fn watch(kind: Kind) -> io::Result<UdpSocket> {
    let (domain, protocol) = match kind {
        Kind::Tcp4 => (Domain::IPV4, Protocol::TCP),
        Kind::Tcp6 => (Domain::IPV6, Protocol::TCP),
        Kind::Icmp4 => (Domain::IPV4, Protocol::ICMPV4),
        Kind::Icmp6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.attach_filter(&refused::filter(kind))?;
    Ok(socket.into())
}

const LETTERS: [(u8, Kind); 4] =
    [(b'4', Kind::Tcp4), (b'6', Kind::Tcp6), (b'i', Kind::Icmp4), (b'j', Kind::Icmp6)];
const NAMES: u8 = b'n';
const PORT: u8 = b'p';

/// Hands sockets over a Unix socket: one letter and one descriptor for each.
pub(crate) fn send(way: BorrowedFd<'_>, sockets: &Sockets) -> io::Result<()> {
    let letter =
        |kind: Kind| LETTERS.iter().find(|(_, known)| *known == kind).map_or(0, |(letter, _)| *letter);
    let mut all = vec![(NAMES, sockets.names.as_fd())];
    all.extend(sockets.ports.iter().map(|listener| (PORT, listener.as_fd())));
    all.extend(sockets.refused.iter().map(|(kind, socket)| (letter(*kind), socket.as_fd())));
    let (letters, descriptors): (Vec<u8>, Vec<_>) = all.into_iter().unzip();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !rights.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other(format!("a gate has at most {MOST} sockets")));
    }
    sendmsg(way, &[IoSlice::new(&letters)], &mut rights, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes sockets that are handed over.
pub(crate) fn receive(way: BorrowedFd<'_>) -> io::Result<Sockets> {
    let mut letters = [0; MOST];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let text = &mut [IoSliceMut::new(&mut letters)];
    let length = recvmsg(way, text, &mut rights, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for part in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(found) = part {
            descriptors.extend(found);
        }
    }
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "what came is not the sockets of a gate");
    if length != descriptors.len() || length == 0 {
        return Err(if length == 0 { io::ErrorKind::UnexpectedEof.into() } else { strange() });
    }
    let (mut names, mut ports, mut refused) = (None, Vec::new(), Vec::new());
    for (&letter, descriptor) in letters[..length].iter().zip(descriptors) {
        match letter {
            NAMES => names = Some(UdpSocket::from(descriptor)),
            PORT => ports.push(TcpListener::from(descriptor)),
            other => {
                let known = LETTERS.iter().find(|(letter, _)| *letter == other);
                refused.push((known.ok_or_else(strange)?.1, UdpSocket::from(descriptor)));
            }
        }
    }
    Ok(Sockets { names: names.ok_or_else(strange)?, ports, refused })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn sockets_are_handed_over_as_they_are() {
        let (one, other) = UnixStream::pair().unwrap();
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = || UdpSocket::bind(local).unwrap();
        let sockets = Sockets {
            names: UdpSocket::bind(local).unwrap(),
            ports: vec![TcpListener::bind(local).unwrap(), TcpListener::bind(local).unwrap()],
            refused: vec![(Kind::Icmp4, socket()), (Kind::Tcp6, socket())],
        };
        send(one.as_fd(), &sockets).unwrap();
        let received = receive(other.as_fd()).unwrap();
        let places = |sockets: &Sockets| {
            let ports: Vec<_> = sockets.ports.iter().map(|port| port.local_addr().unwrap()).collect();
            let kinds: Vec<_> = sockets.refused.iter().map(|(kind, _)| *kind).collect();
            (sockets.names.local_addr().unwrap(), ports, kinds)
        };
        assert_eq!(places(&received), places(&sockets));
    }

    #[test]
    fn what_is_no_sockets_is_not_taken() {
        use std::io::Write as _;
        let (mut one, other) = UnixStream::pair().unwrap();
        one.write_all(b"n").unwrap();
        assert_eq!(receive(other.as_fd()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(one);
        assert_eq!(receive(other.as_fd()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_network_with_a_way_out_is_left_alone() {
        let has_way_out =
            getifaddrs().unwrap().any(|found| !found.flags.contains(InterfaceFlags::IFF_LOOPBACK));
        assert_eq!(refuse_way_out().is_err(), has_way_out);
    }
}
