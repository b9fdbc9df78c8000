//! Whether there is room for a request: in the gateway, and at its server.

use std::time::Duration;

use futures::future::{self, Either};
use http::StatusCode;

use super::listen::Listens;
use crate::acl::Bounds;
use crate::audit::Decision;
use crate::body::{self, Reply};
use crate::error::{Refusal, code};
use crate::front::Caller;
use crate::gateway::Gateway;
use crate::limits::{Entry, Place, Turn};
use crate::ports::Host;
use crate::quota::{Exhausted, Hold};
use crate::upstream::Server;

/// How long a request waits for its turn at a server that is busy.
const QUEUED: Duration = Duration::from_secs(5);

impl<H: Host> Gateway<H> {
    /// Takes a place among the requests that are answered at a time.
    pub(super) fn take_place(&self) -> Result<Place, Refusal> {
        let most = self.limits().requests;
        self.0.requests.take(most).ok_or_else(|| {
            busy(format!("the gateway is busy: {most} requests are being answered; try again in a moment"))
        })
    }

    /// Counts a request under everything that limits it, or refuses it.
    pub(super) async fn count(&self, bounds: &Bounds, caller: &Caller) -> Result<Hold, Refusal> {
        if bounds.counted.is_empty() {
            return Ok(Hold::default());
        }
        self.host().take(&bounds.counted, caller.now).await.map_err(|exhausted| {
            let Exhausted { key, limit, retry_after } = exhausted;
            let agent = &caller.who.agent.name;
            tracing::info!(%agent, %key, limit = limit.as_str(), "a request is over a limit");
            caller.record.decided(Decision::Denied, || format!("{}: {key}", limit.as_str()).into());
            let wait = retry_after.as_millis().div_ceil(1000).max(1);
            let why = format!("{}; try again in {wait} s", limit.as_str());
            Refusal::new(code::LIMITED, why).retry_after(retry_after)
        })
    }

    /// Waits for a place among the requests that a server answers at a time.
    pub(super) async fn turn_at(&self, server: &Server) -> Result<Turn, Refusal> {
        let most = self.limits().server_requests;
        let turn = match server.turns.enter(most) {
            Entry::Now(turn) => Some(turn),
            Entry::Full => None,
            Entry::Later(turn) => {
                match future::select(turn, std::pin::pin!(self.host().sleep(QUEUED))).await {
                    Either::Left((turn, _)) => turn.ok(),
                    Either::Right(_) => None,
                }
            }
        };
        turn.ok_or_else(|| {
            let running = format!("is busy: {most} requests are running there; try again in a moment");
            busy(server.error(running).to_string())
        })
    }
}

/// Keeps a request's place, where it has one, until its answer has ended. A stream on which an agent listens is counted
/// among those.
pub(super) fn in_place(mut reply: Reply, place: Option<Place>) -> Reply {
    let listens = reply.extensions_mut().remove::<Listens>().is_some();
    match place.filter(|_| !listens) {
        Some(place) => body::holding(reply, place),
        None => reply,
    }
}

/// Refuses for want of room; the transport says when to try again.
pub(super) fn busy(why: String) -> Refusal {
    Refusal::new(code::INTERNAL, why).with_status(StatusCode::SERVICE_UNAVAILABLE)
}
