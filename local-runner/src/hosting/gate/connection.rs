//! One connection out of a sandbox: who it is for, whether it may be, and its bytes.
//!
//! **The address that is looked at is the one that is connected to**: a name is resolved once for each connection, so it does
//! not matter what it led to before, or leads to after. **Nothing that a program sends leaves before it is known to be for
//! the host that it asked for**, as far as the first message of TLS says.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::audit::Decision;
use portcullis_core::config::Place;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::addresses::may_reach;
use super::attempt::Attempt;
use super::hello::{self, Hello};
use super::policy::{Reason, Target, written};
use super::seen::Said;
use super::serve::Shared;

/// The port at which everything has to be TLS.
const HTTPS: u16 = 443;
/// How long a program may take for its first message of TLS.
const HELLO: Duration = Duration::from_secs(10);
/// How long it may take to resolve a name.
const RESOLVE: Duration = Duration::from_secs(10);
/// How long it may take to connect to one address.
const CONNECT: Duration = Duration::from_secs(10);
/// After how long a silent host is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_mins(1);
/// How long a program may be silent until what it said first is taken for all.
const SILENCE: Duration = Duration::from_millis(300);
/// How much of that is kept, in bytes.
const SAID: usize = hello::LONGEST;
/// How many bytes are carried at a time.
const CARRIED: usize = 16 << 10;

/// Why a connection came to nothing, or was ended.
enum End {
    Denied(Reason),
    Failed(Reason),
    /// Either side has broken it off.
    Broken,
}

/// Serves one connection until it ends.
pub(super) async fn serve(mut inner: TcpStream, shared: Arc<Shared>) {
    let Ok(local) = inner.local_addr() else { return };
    let (address, port) = (local.ip().to_canonical(), local.port());
    let name = shared.name_at(address);
    let target = name.as_deref().map_or(Target::Address(address), Target::Name);
    let mut attempt = Attempt::new(&shared.teller, format!("{target}:{port}"));
    let end = attend(&mut inner, (target, port), &shared, &mut attempt).await;
    if end.is_err() {
        // A reset: what was cut off does not look as if it had been all.
        let _ = SockRef::from(&inner).set_linger(Some(Duration::ZERO));
    }
    match end {
        Ok(()) | Err(End::Broken) => {}
        Err(End::Denied(reason)) => attempt.end(Decision::Denied, reason),
        Err(End::Failed(reason)) => attempt.end(Decision::Failed, reason),
    }
}

async fn attend(
    inner: &mut TcpStream,
    (target, port): (Target<'_>, u16),
    shared: &Shared,
    attempt: &mut Attempt<'_>,
) -> Result<(), End> {
    if shared.policy.is_closed() {
        attempt.said = listen(inner).await;
    }
    let place = shared.policy.decide(target, port).map_err(End::Denied)?;
    if shared.teller.is_blind() {
        return Err(End::Denied(
            "nothing may happen that is not recorded, and nothing can be recorded".into(),
        ));
    }
    let most = shared.caps.connections;
    let _permit = shared
        .permits
        .try_acquire()
        .map_err(|_| End::Denied(format!("the server has {most} connections already").into()))?;
    attempt.place = Some(written(place));
    let first = if port == HTTPS { read_first(inner, target, true).await? } else { Vec::new() };
    let mut outer = connect(place, target, attempt).await?;
    let carried = carry((inner, &mut outer), (target, port), first, (attempt, shared.caps.bytes)).await;
    if carried.is_err() {
        let _ = SockRef::from(&outer).set_linger(Some(Duration::ZERO));
    }
    carried
}

/// Connects to the first of a place's addresses that can be reached and may be.
async fn connect(place: &Place, target: Target<'_>, attempt: &mut Attempt<'_>) -> Result<TcpStream, End> {
    let found: Vec<SocketAddr> = match target {
        // The place names it.
        Target::Address(address) if place.private => vec![(address, place.port).into()],
        Target::Address(address) => permitted(place, vec![(address, place.port).into()])?,
        Target::Name(name) => permitted(place, resolve(name, place.port).await?)?,
    };
    let mut trouble = io::Error::from(io::ErrorKind::NotFound);
    for address in found {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
                attempt.reached = Some(address.to_string());
                return Ok(stream);
            }
            Ok(Err(error)) => trouble = error,
            Err(_) => trouble = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(End::Failed(format!("it could not be connected to: {trouble}").into()))
}

async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, End> {
    let found = timeout(RESOLVE, lookup_host((name, port))).await;
    let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    found
        .map(Iterator::collect)
        .map_err(|error| End::Failed(format!("its name could not be resolved: {error}").into()))
}

/// Leaves those addresses that a place may be at.
fn permitted(place: &Place, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, End> {
    let may_be = |address: IpAddr| may_reach(address, place.private);
    let inside = found.iter().find(|address| !may_be(address.ip())).map(SocketAddr::ip);
    let permitted: Vec<_> = found.into_iter().filter(|address| may_be(address.ip())).collect();
    match inside {
        Some(inside) if permitted.is_empty() => {
            let why = if place.private { "where no place may be" } else { "which is no public address" };
            Err(End::Denied(format!("it leads to {inside}, {why}").into()))
        }
        _ => Ok(permitted),
    }
}

/// Reads what a program sends first, until it is known whom it is for.
async fn read_first(
    inner: &mut (impl AsyncRead + Unpin),
    target: Target<'_>,
    has_to_be_tls: bool,
) -> Result<Vec<u8>, End> {
    let mut first = Vec::with_capacity(1024);
    let reading = async {
        loop {
            if !is_undecided(&first, target, has_to_be_tls).map_err(End::Denied)? {
                return Ok(());
            }
            match inner.read_buf(&mut first).await {
                Ok(0) if first.is_empty() && !has_to_be_tls => return Ok(()),
                Ok(0) => return Err(End::Denied("it ended before it was known whom it was for".into())),
                Ok(_) => {}
                Err(_) => return Err(End::Broken),
            }
        }
    };
    if has_to_be_tls {
        let late = || End::Denied("no first message of TLS came in time".into());
        timeout(HELLO, reading).await.unwrap_or_else(|_| Err(late()))?;
    } else {
        reading.await?;
    }
    Ok(first)
}

/// Listens to what a program says first, of which nothing goes anywhere; nothing where it waits to be spoken to.
async fn listen(inner: &mut (impl AsyncRead + Unpin)) -> Option<Said> {
    let mut first = Vec::with_capacity(1024);
    while first.len() < SAID {
        match hello::read(&first) {
            Hello::For(host) => return Some(Said::Tls(host)),
            Hello::Hidden | Hello::Unreadable => return Some(Said::Tls(None)),
            Hello::More | Hello::Other => {}
        }
        match timeout(SILENCE, inner.read_buf(&mut first)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => break,
        }
    }
    (!first.is_empty()).then_some(Said::Plain(first))
}

/// Tells whether more of what is sent first has to be seen, or why it is not passed on.
fn is_undecided(first: &[u8], target: Target<'_>, has_to_be_tls: bool) -> Result<bool, Reason> {
    match (hello::read(first), target) {
        (Hello::More, _) => Ok(true),
        (Hello::Other, _) if has_to_be_tls => {
            Err("what goes to port 443 has to be TLS, and this is not".into())
        }
        (Hello::Unreadable, _) => Err("its first message of TLS cannot be read".into()),
        (Hello::Hidden, _) => Err("its first message of TLS hides which host it is for".into()),
        // An address is none of the names that TLS can name.
        (Hello::Other, _) | (Hello::For(None), Target::Address(_)) => Ok(false),
        (Hello::For(None), Target::Name(_)) => Err("its first message of TLS names no host".into()),
        (Hello::For(Some(host)), Target::Name(name)) if host == name => Ok(false),
        (Hello::For(Some(host)), _) => {
            Err(format!("its first message of TLS is for another host, {host}").into())
        }
    }
}

/// Carries bytes both ways until both sides have ended.
async fn carry(
    (inner, outer): (&mut TcpStream, &mut TcpStream),
    (target, port): (Target<'_>, u16),
    first: Vec<u8>,
    counted: (&Attempt<'_>, u64),
) -> Result<(), End> {
    let (mut from_inner, mut to_inner) = inner.split();
    let (mut from_outer, mut to_outer) = outer.split();
    let out = async {
        // Elsewhere the other side may have to speak first.
        let first = if port == HTTPS { first } else { read_first(&mut from_inner, target, false).await? };
        pass(&first, &mut to_outer, counted).await?;
        drop(first);
        pass_on(&mut from_inner, &mut to_outer, counted).await
    };
    tokio::try_join!(out, pass_on(&mut from_outer, &mut to_inner, counted)).map(|_| ())
}

/// Carries bytes one way until they end, and passes their end on.
async fn pass_on(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    counted: (&Attempt<'_>, u64),
) -> Result<(), End> {
    let mut carried = vec![0; CARRIED];
    loop {
        let length = from.read(&mut carried).await.map_err(|_| End::Broken)?;
        if length == 0 {
            return to.shutdown().await.map_err(|_| End::Broken);
        }
        pass(&carried[..length], to, counted).await?;
    }
}

/// Passes bytes on, within what one connection may carry.
async fn pass(
    bytes: &[u8],
    to: &mut (impl AsyncWrite + Unpin),
    (attempt, most): (&Attempt<'_>, u64),
) -> Result<(), End> {
    if attempt.count(bytes.len()) > most {
        return Err(End::Denied(format!("one connection may carry {most} bytes").into()));
    }
    to.write_all(bytes).await.map_err(|_| End::Broken)
}
