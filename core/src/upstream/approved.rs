//! What a server was approved to offer, and what is served of what it offers.
//!
//! **What it says is compared when its lists are read, and when it is approved**; no request does so.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Nudge, Server, lock};
use crate::approval::{Approval, Change, Held, Pinned, launch, pin};
use crate::catalog::{Kind, Offer, Template};
use crate::config::{Changed, Transport};
use crate::error::Unreachable;
use crate::sorted::SortedSet;

/// How much of what is not as it was approved is told of one server.
const TOLD: usize = 1000;

/// What is known of a server's approval.
#[derive(Debug, Default)]
pub(crate) struct Approved(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    approval: Option<Arc<Approval>>,
    /// What it offers, as it was read.
    seen: Option<Arc<Offer>>,
    /// What is not as it was approved.
    held: Arc<Vec<Held>>,
    /// What has been told of that.
    told: SortedSet<String>,
    /// Whether the registry does not have it, where it has to.
    is_unlisted: bool,
}

/// Why nothing of a server is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unapproved {
    /// It has to be approved, and was not.
    Never,
    /// It is reached by something else than was approved.
    Launch,
    /// The registry has approved nothing that it is.
    Unlisted,
}

impl Server {
    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.approved.0)
    }

    /// Returns what it was approved to say.
    pub(crate) fn approval(&self) -> Option<Arc<Approval>> {
        self.known().approval.clone()
    }

    /// Returns what it offers, as it was read.
    pub(crate) fn seen(&self) -> Option<Arc<Offer>> {
        self.known().seen.clone()
    }

    /// Tells whether the registry keeps it out.
    #[cfg(feature = "control")]
    pub(crate) fn is_unlisted(&self) -> bool {
        self.known().is_unlisted
    }

    /// Returns what is not as it was approved.
    pub(crate) fn held(&self) -> Arc<Vec<Held>> {
        self.known().held.clone()
    }

    /// Returns the digest of what it is reached by.
    pub(crate) fn launch(&self) -> String {
        launch(&self.settings.transport)
    }

    /// Returns why nothing of it is served, where that is so for lack of an approval.
    pub(crate) fn unapproved(&self) -> Option<Unapproved> {
        let known = self.known();
        self.unapproved_by(known.approval.as_deref(), known.is_unlisted)
    }

    fn unapproved_by(&self, approval: Option<&Approval>, is_unlisted: bool) -> Option<Unapproved> {
        match approval {
            _ if is_unlisted => Some(Unapproved::Unlisted),
            Some(approval) if approval.launch != self.launch() => Some(Unapproved::Launch),
            None if self.settings.approval.is_required() => Some(Unapproved::Never),
            _ => None,
        }
    }

    /// Tells whether a URI is one of a resource that is not served for lack of an approval: it cannot be read by its URI
    /// either.
    pub(crate) fn holds_back(&self, uri: &str) -> bool {
        self.unapproved().is_some() || self.keeps_from(|kind, name| kind == Kind::Resources && name == uri)
    }

    /// Tells whether it is a template that is not served which gives a URI, or is written so.
    pub(crate) fn holds_back_template(&self, uri: &str) -> bool {
        let gives = |name: &str| name == uri || Template::parse(name).matches(uri);
        self.keeps_from(|kind, name| kind == Kind::Templates && gives(name))
    }

    fn keeps_from(&self, is_meant: impl Fn(Kind, &str) -> bool) -> bool {
        let changed = self.settings.approval.changed.unwrap_or_default();
        let is_kept = |held: &&Held| match changed {
            Changed::Warn => false,
            Changed::Hide => true,
            Changed::Approved => held.change == Change::New,
        };
        let held = self.held();
        held.iter().filter(is_kept).any(|held| held.kind.is_some_and(|kind| is_meant(kind, &held.name)))
    }

    /// Refuses to reach a server by what was not approved. One at a URL that has never been approved is asked what there is to
    /// approve.
    pub(crate) fn may_be_reached(&self) -> Result<(), Unreachable> {
        let is_program = matches!(self.settings.transport, Transport::Stdio(_));
        let what = if is_program { "command" } else { "URL" };
        match self.unapproved() {
            Some(Unapproved::Launch) => Err(self.error(format!(
                "is not used: its {what} is not the one that was approved; `portcullis approve {}` shows it",
                self.name
            ))),
            Some(Unapproved::Unlisted) => Err(self.error(format!(
                "is not used: the registry has no approved entry with its {what}, and the configuration says \
                 `registry.strict`"
            ))),
            Some(Unapproved::Never) if is_program => Err(self.error(format!(
                "is not started: it has not been approved; `portcullis approve {}` shows it",
                self.name
            ))),
            Some(Unapproved::Never) | None => Ok(()),
        }
    }

    /// Takes what it offers, and serves of that what was approved.
    pub(crate) fn serve(&self, seen: Arc<Offer>) {
        self.serve_anew(Some(seen));
    }

    /// The same with what it offered before, where it has not been read again. One at a time: what is compared last is
    /// compared with the approval that counts.
    fn serve_anew(&self, seen: Option<Arc<Offer>>) {
        let mut known = self.known();
        let Some(seen) = seen.or_else(|| known.seen.clone()) else { return };
        let approval = known.approval.as_deref();
        let Pinned { offer, held } = match (approval, self.unapproved_by(approval, known.is_unlisted)) {
            (_, Some(_)) => Pinned::nothing(&seen),
            (Some(approval), None) => {
                pin(&seen, approval, self.settings.approval.changed.unwrap_or_default())
            }
            (None, None) => Pinned::all(&seen),
        };
        known.held = Arc::new(held);
        self.offer.store(Some(offer));
        known.seen = Some(seen);
    }

    /// Takes another approval, or none, and whether the registry keeps it out; serves what it may by that.
    pub(crate) fn approve(&self, approval: Option<&Arc<Approval>>, is_unlisted: bool) {
        {
            let known = self.known();
            if known.approval.as_ref() == approval && known.is_unlisted == is_unlisted {
                return;
            }
        }
        let was_kept_out = self.may_be_reached().is_err();
        {
            let mut known = self.known();
            (known.approval, known.is_unlisted) = (approval.cloned(), is_unlisted);
        }
        // Where it waits for its user, how to connect stands in the place of what it offers.
        if !self.awaits_consent.load(Ordering::Relaxed) {
            self.serve_anew(None);
        }
        if was_kept_out && self.may_be_reached().is_ok() {
            self.tries_again();
            let _ = self.nudge.unbounded_send(Nudge::Changed);
        }
    }

    /// Returns what is not as it was approved and has not been told yet.
    pub(crate) fn untold(&self) -> Vec<Held> {
        let mut known = self.known();
        let (held, room) = (known.held.clone(), TOLD.saturating_sub(known.told.len()));
        let untold: Vec<_> =
            held.iter().filter(|held| !known.told.contains(&held.stamp())).take(room).cloned().collect();
        known.told.extend(untold.iter().map(Held::stamp));
        untold
    }
}
