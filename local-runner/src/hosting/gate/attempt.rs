//! An attempt while it goes on.
//!
//! **Whatever ends it, it is told**: also where its task is dropped in the middle, as when its server is stopped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use portcullis_core::audit::Decision;

use super::policy::Reason;
use super::seen::{Said, Seen, Teller};

/// One attempt, told of when it is dropped.
pub(super) struct Attempt<'t> {
    teller: &'t Teller,
    since: Instant,
    wanted: String,
    /// The place that lets it through.
    pub(super) place: Option<String>,
    /// Where it is connected to.
    pub(super) reached: Option<String>,
    /// What was said first.
    pub(super) said: Option<Said>,
    outcome: Option<(Decision, Reason)>,
    bytes: AtomicU64,
}

impl<'t> Attempt<'t> {
    /// Begins one.
    pub(super) fn new(teller: &'t Teller, wanted: String) -> Self {
        Self {
            teller,
            since: Instant::now(),
            wanted,
            place: None,
            reached: None,
            said: None,
            outcome: None,
            bytes: AtomicU64::new(0),
        }
    }

    /// Counts bytes, and returns how many there are with them.
    pub(super) fn count(&self, bytes: usize) -> u64 {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes)
    }

    /// Ends it without success.
    pub(super) fn end(mut self, decision: Decision, reason: Reason) {
        self.outcome = Some((decision, reason));
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let unfinished = || match self.reached {
            Some(_) => (Decision::Allowed, None),
            None => (Decision::Failed, Some("it was given up before it was connected".into())),
        };
        let ended = self.outcome.take().map(|(decision, reason)| (decision, Some(reason)));
        let (decision, reason) = ended.unwrap_or_else(unfinished);
        self.teller.tell(Seen {
            wanted: std::mem::take(&mut self.wanted),
            reached: self.reached.take(),
            decision,
            place: self.place.take(),
            reason,
            bytes: self.bytes.load(Ordering::Relaxed),
            duration: self.since.elapsed(),
            said: self.said.take(),
            times: 1,
        });
    }
}
