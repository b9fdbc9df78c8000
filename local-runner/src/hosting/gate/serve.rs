//! A gate that is open: it answers for names, takes connections, and sees refusals, until it is dropped.
//!
//! **Everything that a gate began ends with it**: connections, the sockets, and with them the last that holds the sandbox's
//! network.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg};
use portcullis_core::audit::Decision;
use portcullis_core::config::{Egress, Place};
use tokio::io::Interest;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::attempt::Attempt;
use super::connection;
use super::dns::{self, Answer, Question};
use super::names::Names;
use super::policy::{Policy, Target};
use super::refused::{self, Kind, Refused};
use super::seen::{Teller, Witness};
use super::sockets::Sockets;

/// How long whoever was told of a name may be asking for other things about it.
const ONE_ATTEMPT: Duration = Duration::from_secs(1);
/// How many names are remembered for that.
const REMEMBERED: usize = 32;
/// After a failure to take a connection, as when there are no descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What a server may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caps {
    /// Connections at a time.
    pub(crate) connections: usize,
    /// Bytes of one connection, both ways together.
    pub(crate) bytes: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Egress::default().into()
    }
}

impl From<Egress> for Caps {
    fn from(egress: Egress) -> Self {
        Self { connections: usize::try_from(egress.connections).unwrap_or(usize::MAX), bytes: egress.bytes }
    }
}

/// The gate of one sandbox.
#[derive(Debug)]
pub(crate) struct Gate {
    tasks: JoinSet<()>,
    /// Ends once nothing is left of the gate.
    end: mpsc::Receiver<Infallible>,
}

/// What a gate's tasks share.
pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) caps: Caps,
    pub(super) permits: Arc<Semaphore>,
    pub(super) teller: Teller,
    names: Mutex<Names>,
    asked: Mutex<Vec<Asked>>,
    /// Goes last.
    _end: mpsc::Sender<Infallible>,
}

/// A name that there is not, and what has been asked about it.
struct Asked {
    name: String,
    since: Instant,
    kinds: Vec<u16>,
}

impl Gate {
    /// Opens the gate of a sandbox to these places. Has to be called in a runtime.
    pub(crate) fn open(
        sockets: Sockets,
        places: Vec<Place>,
        caps: Caps,
        witness: Arc<dyn Witness>,
    ) -> io::Result<Self> {
        Self::serve(sockets, Policy::new(places), caps, witness)
    }

    /// Keeps a gate that lets nothing through, and looks at all that comes to it. Has to be called in a runtime.
    pub(crate) fn keep(sockets: Sockets, witness: Arc<dyn Witness>) -> io::Result<Self> {
        Self::serve(sockets, Policy::closed(), Caps::default(), witness)
    }

    fn serve(sockets: Sockets, policy: Policy, caps: Caps, witness: Arc<dyn Witness>) -> io::Result<Self> {
        let (held, end) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            policy,
            caps,
            permits: Arc::new(Semaphore::new(caps.connections)),
            teller: Teller::new(witness),
            names: Mutex::default(),
            asked: Mutex::default(),
            _end: held,
        });
        let mut tasks = JoinSet::new();
        sockets.names.set_nonblocking(true)?;
        tasks.spawn(answer_names(UdpSocket::from_std(sockets.names)?, shared.clone()));
        for listener in sockets.ports {
            listener.set_nonblocking(true)?;
            tasks.spawn(take_connections(TcpListener::from_std(listener)?, shared.clone()));
        }
        for (kind, socket) in sockets.refused {
            socket.set_nonblocking(true)?;
            tasks.spawn(see_refusals(kind, UdpSocket::from_std(socket)?, shared.clone()));
        }
        Ok(Self { tasks, end })
    }

    /// Closes it, and waits until all that was tried is told.
    pub(crate) async fn close(mut self) {
        self.tasks.shutdown().await;
        // Connections are tasks of those tasks.
        let _ = self.end.recv().await;
    }
}

impl Shared {
    /// Returns what an address that a program named stands for: the name, where it stands for one.
    pub(super) fn name_at(&self, address: std::net::IpAddr) -> Option<String> {
        lock(&self.names).name_at(address).map(str::to_owned)
    }

    /// Answers a message of DNS; nothing where it is not answered.
    fn answer(&self, message: &[u8]) -> Option<Vec<u8>> {
        let question = Question::parse(message)?;
        let answer = match question.name.as_str() {
            _ if !question.is_plain() => Answer::NotAnswered,
            // Of the machine itself, which is the sandbox.
            name if is_localhost(name) && !self.policy.knows(name) => match question.kind {
                dns::A => Answer::Address(Ipv4Addr::LOCALHOST),
                _ => Answer::Nothing,
            },
            // Its ports are seen once it has an address.
            name if self.policy.is_closed() => {
                if self.is_another_attempt(name, question.kind, Instant::now()) {
                    Attempt::new(&self.teller, name.to_owned())
                        .end(Decision::Denied, "nothing is let through".into());
                }
                match question.kind {
                    dns::A => lock(&self.names).address_of(name).map_or(Answer::NoName, Answer::Address),
                    _ => Answer::Nothing,
                }
            }
            name if !self.policy.knows(name) => {
                if self.is_another_attempt(name, question.kind, Instant::now()) {
                    let reason = "no place of the server's network has this name";
                    Attempt::new(&self.teller, name.to_owned()).end(Decision::Denied, reason.into());
                }
                Answer::NoName
            }
            name if question.kind == dns::A => match lock(&self.names).address_of(name) {
                Some(address) => Answer::Address(address),
                None => Answer::Failure,
            },
            _ => Answer::Nothing,
        };
        if answer == Answer::Failure {
            let reason = "the server has asked for too many names";
            Attempt::new(&self.teller, question.name.clone()).end(Decision::Denied, reason.into());
        }
        Some(question.answer(answer))
    }

    /// Tells whether somebody who asks about a name has not just been told that there is none: programs ask for addresses of
    /// both kinds.
    fn is_another_attempt(&self, name: &str, kind: u16, now: Instant) -> bool {
        let mut asked = lock(&self.asked);
        asked.retain(|asked| now.duration_since(asked.since) < ONE_ATTEMPT);
        if let Some(known) = asked.iter_mut().find(|asked| asked.name == name && !asked.kinds.contains(&kind))
        {
            known.kinds.push(kind);
            return false;
        }
        asked.retain(|asked| asked.name != name);
        if asked.len() >= REMEMBERED {
            asked.remove(0);
        }
        asked.push(Asked { name: name.to_owned(), since: now, kinds: vec![kind] });
        true
    }

    /// Tells of what the kernel of the sandbox refused.
    fn refused(&self, refused: Refused) {
        let Refused { protocol, address, port } = refused;
        let name = self.name_at(address);
        let target = name.as_deref().map_or(Target::Address(address), Target::Name);
        let suffix = if protocol == "tcp" { "" } else { "/udp" };
        let reason = match self.policy.decide(target, port) {
            Err(reason) => reason,
            Ok(_) if protocol == "udp" => "no place is reached by UDP".into(),
            // The sandbox has ended up without its listener.
            Ok(_) => "nothing listens for this place".into(),
        };
        Attempt::new(&self.teller, format!("{target}:{port}{suffix}")).end(Decision::Denied, reason);
    }
}

/// Tells whether a name is the machine's own (RFC 6761, 6.3).
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers questions for names, from the address that was asked.
async fn answer_names(socket: UdpSocket, shared: Arc<Shared>) {
    let mut message = [0; dns::LONGEST];
    loop {
        let received = socket.async_io(Interest::READABLE, || receive(&socket, &mut message)).await;
        let (length, from, asked) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "a question for a name could not be received");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if let (Some(from), Some(reply)) = (from, shared.answer(&message[..length])) {
            // Whoever does not wait for it has no loss.
            let _ = reply_from(&socket, &reply, from, asked);
        }
    }
}

/// Receives a datagram: its length, who sent it, and to which address.
fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<SockaddrIn>, Option<in_addr>)> {
    let mut space = cmsg_space!(in_pktinfo);
    let mut parts = [io::IoSliceMut::new(buffer)];
    let flags = MsgFlags::empty();
    let message = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let asked = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_addr),
        _ => None,
    });
    Ok((message.bytes, message.address, asked))
}

fn reply_from(socket: &UdpSocket, reply: &[u8], to: SockaddrIn, from: Option<in_addr>) -> io::Result<()> {
    let parts = [io::IoSlice::new(reply)];
    let info =
        from.map(|ipi_spec_dst| in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr: in_addr { s_addr: 0 } });
    let source = info.as_ref().map(ControlMessage::Ipv4PacketInfo);
    let source = source.as_slice();
    sendmsg(socket.as_raw_fd(), &parts, source, MsgFlags::MSG_DONTWAIT, Some(&to))?;
    Ok(())
}

/// Takes the connections that come to one port.
async fn take_connections(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.accept() => match taken {
                Ok((stream, _)) => {
                    connections.spawn(connection::serve(stream, shared.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection from a sandbox could not be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Sees what the kernel of the sandbox refuses.
async fn see_refusals(kind: Kind, socket: UdpSocket, shared: Arc<Shared>) {
    let mut packet = [0; refused::ENOUGH];
    loop {
        match socket.recv_from(&mut packet).await {
            Ok((length, from)) => {
                if let Some(refused) = refused::read(kind, &packet[..length], from.ip()) {
                    shared.refused(refused);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a refusal could not be received");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
