//! Who waits for an answer, and how its waiting ends early.

use std::sync::Arc;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{self, Either};
use http::StatusCode;

use crate::error::{Refusal, Unreachable};
use crate::front::Caller;
use crate::gateway::Gateway;
use crate::ports::Host;
use crate::relay::Splice;
use crate::session::Session;
use crate::shape;
use crate::upstream::{Link, Server, lock};
use crate::wire::message;
use crate::wire::version::Version;

/// The agent that waits for an answer, and what it may be told.
#[derive(Debug)]
pub(crate) struct Addressee {
    pub(crate) caller: Caller,
    /// Its request's id and progress token, as JSON text.
    pub(crate) id: String,
    pub(crate) progress_token: Option<String>,
    /// The least severe log message it wants, as an index into `front::LEVELS`; none where it wants none.
    pub(crate) log_level: Option<usize>,
    /// Whether the answer is one that may be cached.
    pub(crate) cacheable: bool,
    pub(crate) server: Arc<Server>,
    pub(crate) link: Arc<Link>,
    pub(crate) running: Option<Running>,
}

/// A request of a session that can be cancelled by its id, as long as this is kept.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) cancelled: future::Fuse<oneshot::Receiver<()>>,
    pub(crate) _entry: Entry,
}

/// The request's place among those that can be cancelled.
pub(crate) struct Entry(pub(crate) Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The agent has cancelled its request.
pub(crate) struct Cancelled;

impl Addressee {
    /// Waits for `work` unless the agent cancels first.
    pub(crate) async fn unless_cancelled<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Cancelled> {
        let Some(running) = &mut self.running else { return Ok(work.await) };
        match future::select(std::pin::pin!(work), &mut running.cancelled).await {
            Either::Left((output, _)) => Ok(output),
            // A sender that was dropped cancels nothing.
            Either::Right((Err(_), work)) => Ok(work.await),
            Either::Right((Ok(()), _)) => Err(Cancelled),
        }
    }

    pub(super) fn error(&self, error: Unreachable) -> (String, StatusCode) {
        let refusal = Refusal::from(error);
        (message::error(Some(&self.id), &refusal), refusal.status)
    }

    pub(super) fn splice(&self, asked_id: u64, version: Version) -> Splice {
        Splice::new(shape::edits(asked_id, version, &self.id, self.caller.era(), self.cacheable))
    }
}

impl<H: Host> Gateway<H> {
    /// Makes a request of a session cancellable by its id.
    pub(crate) fn running(&self, session: &Session, id: &str) -> Running {
        let (sender, receiver) = oneshot::channel();
        let key = (session.nonce, id.to_owned());
        lock(&self.0.sessions.running).insert(key.clone(), sender);
        let inner = self.0.clone();
        let entry = Entry(Box::new(move || drop(lock(&inner.sessions.running).remove(&key))));
        Running { cancelled: receiver.fuse(), _entry: entry }
    }
}
