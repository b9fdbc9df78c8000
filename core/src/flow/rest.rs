//! Streams on which agents listen, put to rest by an owner and taken up again (ADR 0021): while nothing is to be told,
//! only the connection remains, and nobody has to be awake for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{self, Either};
use http::StatusCode;

use crate::body::{self, Body, Reply};
use crate::catalog::Listed;
use crate::front::Caller;
use crate::gateway::Gateway;
use crate::hub::Audience;
use crate::ports::{Chunks, Host};
use crate::wire::sse;

/// How long nothing has to happen on a stream before it is put to rest.
const QUIET: Duration = Duration::from_secs(20);

/// Marks an answer on which an agent listens in an owner: how its stream is put to rest.
#[derive(Clone)]
pub struct Rest(Arc<dyn Fn() -> Option<String> + Send + Sync>);

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rest")
    }
}

impl Rest {
    /// Puts the stream to rest; its body ends. Returns what [`Gateway::take_up`] needs to go on with it; nothing where
    /// it must stay awake, since something is about to be told, or what it hears of resources or tasks comes from a
    /// server's own stream.
    pub fn begin(&self) -> Option<String> {
        (self.0)()
    }
}

/// When a stream that rests is taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// In any case: something may be told on it soon.
    Now,
    /// If there is something to tell.
    ForNews,
}

/// What a stream knew that is taken up again.
#[derive(Debug, Clone)]
pub(crate) struct TakenUp {
    listed: Listed,
    wanted: Wanted,
}

impl<H: Host> Gateway<H> {
    /// Takes up a stream again that was put to rest: `request` is the one that it answers, as it was handed over, and
    /// `state` what [`Rest::begin`] returned.
    ///
    /// Returns the stream without its beginning; 204 where it is wanted for news and there are none; another status where
    /// it can no longer be, and has to end.
    pub async fn take_up(&self, mut request: http::Request<Body>, state: &str, wanted: Wanted) -> Reply {
        let listed = serde_json::from_str(state).unwrap_or_default();
        request.extensions_mut().insert(Arc::new(TakenUp { listed, wanted }));
        self.serve_handed(request).await
    }

    /// Gives the chunks of a stream to `send`, for as long as that takes them, and puts the stream to rest once nothing
    /// has happened on it for a while. Returns what [`Gateway::take_up`] needs then; nothing once the stream has ended.
    pub async fn deliver(
        &self,
        mut chunks: Chunks,
        rest: Option<Rest>,
        mut send: impl FnMut(Bytes) -> bool,
    ) -> Option<String> {
        let mut since = self.host().now();
        loop {
            let next = {
                let quiet = std::pin::pin!(self.host().sleep(QUIET));
                match future::select(chunks.next(), quiet).await {
                    Either::Left((next, _)) => Some(next?.ok()?),
                    Either::Right(_) => None,
                }
            };
            let now = self.host().now();
            // Whoever holds the connection keeps it alive.
            if let Some(chunk) = next.filter(|chunk| **chunk != *sse::KEEP_ALIVE) {
                since = now;
                if !send(chunk) {
                    return None;
                }
            } else if Duration::from_millis(now.saturating_sub(since)) >= QUIET
                && let Some(state) = rest.as_ref().and_then(Rest::begin)
            {
                return Some(state);
            }
        }
    }

    /// Returns the answer where the stream of a caller can rest on.
    pub(super) async fn rests_on(&self, caller: &Caller) -> Option<Reply> {
        let taken_up = caller.taken_up.as_ref()?;
        caller.record.handed_over();
        // So that servers are known before it is looked at what is listed.
        self.view(&self.snapshot_of(&caller.who), caller).await;
        let now = self.listed(&Audience::of(caller));
        let is_news = now.is_none_or(|now| now != taken_up.listed);
        (taken_up.wanted == Wanted::ForNews && !is_news).then(|| body::empty(StatusCode::NO_CONTENT))
    }

    /// Returns how the stream of a seat is put to rest.
    pub(super) fn rest(&self, seat: u64) -> Rest {
        let gateway = self.clone();
        let begin = move || {
            let listed = gateway.0.hub.put_to_rest(seat)?;
            Some(serde_json::to_string(&listed).expect("plain data"))
        };
        Rest(Arc::new(begin))
    }
}

impl TakenUp {
    /// Returns what the stream's agent was listed when it was put to rest.
    pub(super) fn listed(&self) -> Listed {
        self.listed.clone()
    }
}
