//! The flows: the only code that waits. Each is a short walk over decisions made elsewhere.

mod addressee;
mod admit;
mod apart;
mod approvals;
mod ask;
mod audited;
mod batch;
mod bearers;
mod connect;
pub(crate) mod connected;
pub(crate) mod connections;
#[cfg(feature = "control")]
mod console;
mod control;
mod converse;
mod devices;
#[cfg(feature = "control")]
pub(crate) mod directory;
mod discover;
mod documents;
mod door;
mod drawers;
#[cfg(feature = "control")]
mod fleet;
#[cfg(feature = "control")]
mod forwarded;
#[cfg(feature = "control")]
mod forwarding;
#[cfg(feature = "control")]
mod govern;
#[cfg(feature = "control")]
mod governed;
mod hand_over;
#[cfg(feature = "hosting")]
mod idle;
mod invite;
mod keepsakes;
#[cfg(feature = "control")]
mod labelled;
mod learn;
mod linking;
mod listen;
mod messages;
mod observed;
mod on_behalf;
mod onward;
mod operators;
mod park;
#[cfg(feature = "hosting")]
mod programs;
#[cfg(feature = "control")]
mod registry;
mod reload;
mod rest;
mod roster;
mod rounds;
mod safe;
#[cfg(feature = "control")]
mod scim;
pub(crate) mod secrets;
mod serve;
mod sessions;
mod sign_in;
pub(crate) mod sign_on;
mod sse;
mod sse_upstream;
mod stdio;
mod tasks;
mod terms;
#[cfg(test)]
mod tests;
mod trail;
mod trial;
mod watch;
mod way;

use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::{self, Either};

use crate::error::Unreachable;
use crate::gateway::Gateway;
use crate::ports::{Chunks, Host};
use crate::upstream::Server;

pub(crate) use addressee::Addressee;
pub use apart::NOBODY;
#[cfg(feature = "control")]
pub(crate) use audited::described_as;
pub(crate) use bearers::Issuers;
pub use connections::NoToken;
pub use control::Looked;
pub(crate) use discover::Remarks;
pub use drawers::{Drawers, Messenger};
#[cfg(feature = "control")]
pub use governed::{Governed, NotGoverned};
pub(crate) use linking::Linking;
pub(crate) use park::{Parking, Spent};
pub(crate) use rest::TakenUp;
pub use rest::{Rest, Wanted};
pub(crate) use sign_in::SignIns;
pub(crate) use sse::HeldStreams;
pub use stdio::{refuse_lines, serve_lines};

/// The most that the gateway holds of one answer of its own, in bytes.
pub(crate) const HELD: usize = 64 << 20;

impl<H: Host> Gateway<H> {
    /// Waits for `work`, but not longer than the server may take. A future holds what it is given twice: what is large
    /// is given pinned.
    pub(crate) async fn within<T>(
        &self,
        server: &Server,
        limit: Duration,
        work: impl Future<Output = Result<T, Unreachable>>,
    ) -> Result<T, Unreachable> {
        let mut work = std::pin::pin!(work);
        // What is there already needs no timer.
        if let Poll::Ready(result) = futures::poll!(work.as_mut()) {
            return result;
        }
        let timeout = std::pin::pin!(self.host().sleep(limit));
        match future::select(work, timeout).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(late(server, limit)),
        }
    }
}

/// The error about a server that sent a larger message than may be held.
fn too_large(server: &Server, limit: usize) -> Unreachable {
    server.error(format!("sent a message of more than {limit} bytes (`gateway.limits.message`)"))
}

/// The error about a server that took longer than it may. A server that had less time than it may take otherwise, because
/// of limits of its caller, is not to blame.
fn late(server: &Server, limit: Duration) -> Unreachable {
    let error = server.error(format!("did not answer within {}", seconds(limit)));
    if limit < server.settings.timeout { error.refused() } else { error.absent() }
}

fn seconds(limit: Duration) -> String {
    if limit.subsec_millis() == 0 {
        format!("{} s", limit.as_secs())
    } else {
        format!("{} ms", limit.as_millis())
    }
}

/// Collects a body of at most `limit` bytes.
pub(crate) async fn collect(server: &Server, mut chunks: Chunks, limit: usize) -> Result<Bytes, Unreachable> {
    let Some(first) = chunks.next().await else { return Ok(Bytes::new()) };
    let first = first?;
    let mut whole: Option<BytesMut> = None;
    while let Some(chunk) = chunks.next().await {
        let whole = whole.get_or_insert_with(|| BytesMut::from(&first[..]));
        whole.extend_from_slice(&chunk?);
        if whole.len() > limit {
            return Err(too_large(server, limit));
        }
    }
    Ok(whole.map_or(first, BytesMut::freeze))
}
