//! Who waits for an answer, and how its waiting ends early.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{self, Either};
use http::StatusCode;

use super::onward::Onward;
use super::too_large;
use crate::audit::Redactor;
use crate::body::Whole;
use crate::catalog::Route;
use crate::config::Narrowing;
use crate::customize;
use crate::error::{Refusal, Unreachable};
use crate::front::Caller;
use crate::gateway::Gateway;
use crate::limits::Turn;
use crate::ports::Host;
use crate::quota::Hold;
use crate::relay::Splice;
use crate::screen::Screen;
use crate::session::{Interaction, Session};
use crate::shape;
use crate::tasks;
use crate::upstream::lane::Lane;
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
    /// What is left of the answer's result; nothing where it stays as it is.
    pub(crate) narrowing: Option<Arc<Narrowing>>,
    /// How long the server may be silent.
    pub(crate) patience: Duration,
    /// The largest result that the caller may get, in bytes.
    pub(crate) most: Option<usize>,
    /// Where the name that it called led when it was decided on.
    pub(crate) route: Option<Route>,
    /// What the call is counted under, as long as it runs.
    pub(crate) _holds: Vec<Hold>,
    /// By which ids it knows the tasks that the answer names, where it may name any.
    pub(crate) tasks: Option<Arc<tasks::Ids>>,
    pub(crate) server: Arc<Server>,
    pub(crate) link: Arc<Link>,
    pub(crate) running: Option<Running>,
    /// What the agent can be asked in this call.
    pub(crate) interaction: Interaction,
    /// Its place among the calls of the server, kept until it has ended or its agent is asked something.
    pub(crate) turn: Option<Turn>,
    /// The lane that the call takes, if it takes one.
    pub(crate) lane: Option<Lane>,
    /// The agent's message, where it may be asked in rounds of its own.
    pub(crate) request: Bytes,
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

    /// Returns what stands between its server and its user.
    pub(crate) fn screen(&self) -> Screen<'_> {
        Screen::new(&self.server, &self.caller.record)
    }

    /// Writes to the log that the request was not answered.
    pub(super) fn log_unanswered(&self, error: &Unreachable) {
        // Both are worded by others, who may not know what is a secret.
        let redactor = Redactor::default();
        let (server, reason) = (&error.server, redactor.text(&error.message));
        let (request_id, trace_id) = (redactor.text(&self.id), self.caller.record.trace_id());
        if trace_id.is_empty() {
            tracing::warn!(%server, %reason, %request_id, "a request was not answered");
        } else {
            tracing::warn!(%server, %reason, %request_id, %trace_id, "a request was not answered");
        }
    }

    /// Notes that the call has been answered.
    pub(super) fn answered(&mut self) {
        if let Some(lane) = &mut self.lane {
            lane.answered();
        }
    }

    /// Tells whether an answer has to be there whole before the agent gets any of it: to be narrowed, or to be seen not
    /// to be larger than it may be.
    pub(super) fn is_held(&self) -> bool {
        self.narrowing.is_some() || self.most.is_some()
    }

    /// Refuses an answer that has grown larger than may be held, of `most` bytes at most.
    pub(super) fn holds(&self, size: usize, most: usize) -> Result<(), Unreachable> {
        match self.most.filter(|_| self.narrowing.is_none()) {
            Some(limit) if size > limit => Err(self.too_much(limit)),
            _ if size > most => Err(too_large(&self.server, most)),
            _ => Ok(()),
        }
    }

    fn too_much(&self, limit: usize) -> Unreachable {
        let why = format!("answered with more than the {limit} bytes that the caller is limited to");
        self.server.error(why).refused()
    }

    /// Returns an answer that has come whole as the agent gets it, and whether it is the error of a tool.
    pub(super) fn narrowed(&self, answer: Whole, is_tool_error: bool) -> Result<(Whole, bool), Unreachable> {
        let (text, failed) = match &self.narrowing {
            None => (answer, is_tool_error),
            Some(narrowing) => {
                let narrowed = customize::narrow_answer(&answer.into_bytes(), narrowing);
                let (text, failed) = narrowed
                    .map_err(|error| self.server.error(format!("sent an answer that is no JSON: {error}")))?;
                (text.into(), failed)
            }
        };
        match self.most {
            Some(limit) if text.len() > limit => Err(self.too_much(limit)),
            _ => Ok((text, failed)),
        }
    }

    pub(super) fn error(&self, error: Unreachable) -> (String, StatusCode) {
        let refusal = Refusal::from(error);
        self.caller.record.refused(&refusal);
        (message::error(Some(&self.id), &refusal), refusal.status)
    }
}

impl<H: Host> Gateway<H> {
    /// Makes the machine that makes an answer fit for the agent.
    pub(super) fn splice(&self, to: &Addressee, asked_id: u64, version: Version) -> Splice {
        let mut edits = shape::edits(asked_id, version, &to.id, to.caller.era(), to.cacheable);
        let onward = Onward::new(self, to);
        let (replaced, omit) = onward.members();
        (edits.replaced, edits.omit) = (replaced, omit.or(edits.omit));
        edits.replace = Some(Arc::new(onward));
        Splice::new(edits)
    }

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
