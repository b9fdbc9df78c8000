//! Approvals: what is told of a server that no longer says what it was approved to say, and the admin API's part of them.
//!
//! **What differs is told once**, by whoever read it. Where a configuration is the store's, an approval is part of its next
//! version; where it is not, the host keeps it.

use std::sync::Arc;

use http::StatusCode;

use super::control::{Asked, NextVersion};
use crate::approval::{Approval, Approvals, Change, Held, Sighting, hex};
use crate::body::{self, Reply};
use crate::catalog::{Kind, Offer, Scope};
use crate::config::Changed;
use crate::control::answer::{Fault, kept_from_caches};
use crate::control::approvals::{NewApproval, held_differences, summary, whole};
use crate::control::who::Operator;
use crate::control::{Document, Managed};
use crate::endpoint;
use crate::gateway::Gateway;
#[cfg(feature = "control")]
use crate::listing::Approved;
use crate::names::ServerName;
use crate::ports::{Host, Place};
#[cfg(feature = "control")]
use crate::sorted::SortedMap;
use crate::upstream::approved::Unapproved;
use crate::upstream::{Server, lock};
use crate::wire::message::ObjectWriter;

/// How often a version is written that somebody else was quicker with.
const ATTEMPTS: usize = 5;
/// How many members of a changed definition an audit entry names.
const NAMED: usize = 8;

impl<H: Host> Gateway<H> {
    /// Takes what has been read of a server: it is written down and served, and what is not as it was approved is told.
    pub(super) fn has_read(&self, server: &Arc<Server>, offer: Offer) {
        let says_more = |before: &Offer| {
            !before.lists_as(&offer) || before.introduction.instructions != offer.introduction.instructions
        };
        let is_other = server.is_inherited() || server.seen().is_none_or(|before| says_more(&before));
        self.up(server, offer);
        // Of one that acts for a user it counts as well when that user was shown it last.
        if (is_other || server.user.is_some())
            && let (Some(definitions), Some(seen)) = (self.host().definitions(), server.seen())
        {
            definitions.seen(Sighting::new(server.name.as_str(), server.user.clone(), seen));
        }
        self.tell_of_changes(server);
    }

    /// Tells the log and the audit trail of what a server says otherwise than it was approved to, once.
    pub(super) fn tell_of_changes(&self, server: &Server) {
        if server.unapproved() == Some(Unapproved::Never) {
            tracing::debug!(server = %server.name, "nothing of the server is served before it is approved");
        }
        let untold = server.untold();
        let (Some(seen), false) = (server.seen(), untold.is_empty()) else { return };
        let approval = server.approval();
        let changed = server.settings.approval.changed.unwrap_or_default();
        for held in untold {
            let said = in_words(&held, approval.as_deref(), &seen, changed);
            let (list, digest) = (held.kind.map_or("instructions", Kind::member), hex(&held.digest));
            tracing::warn!(server = %server.name, list, name = %crate::upstream::handshake::shorten(&held.name), digest, "a definition {said}");
            self.record_definition(server, &held.name, said, changed == Changed::Warn);
        }
    }

    /// Puts other approvals in force, for hosts that keep them themselves.
    pub fn set_approvals(&self, approvals: Approvals) {
        if self.0.keeps_approvals && self.snapshot().config.approvals != approvals {
            self.change_approvals(|kept| kept.become_as(approvals));
        }
    }

    /// Changes approvals that the host keeps, and has all servers serve what is approved by then; one change at a time.
    fn change_approvals(&self, change: impl FnOnce(&Approvals)) {
        let _one_at_a_time = lock(&self.0.reloading);
        let snapshot = self.snapshot();
        let approvals = &snapshot.config.approvals;
        change(approvals);
        for server in snapshot.servers.values().chain(&self.0.users.servers()) {
            let is_unlisted = snapshot.config.keeps_out(&server.settings);
            server.approve(approvals.of(&server.name).as_ref(), is_unlisted);
            self.tell_of_changes(server);
        }
        snapshot.views.invalidate();
        self.views_changed();
    }

    /// Puts in force what the registry has approved, for a gateway that no store configures.
    #[cfg(feature = "control")]
    pub(super) fn set_listed(&self, approved: SortedMap<String, Approved>) {
        self.snapshot().config.listed.become_as(approved);
        self.change_approvals(|_| ());
    }

    /// Returns the server of that name; of one that acts for its users, one user's.
    async fn approvable(&self, name: &str) -> Result<Arc<Server>, Fault> {
        let none = || Fault::new(StatusCode::NOT_FOUND, "no-server", "there is no server of that name");
        let name = endpoint::decode(name).and_then(|name| ServerName::parse(&name).ok()).ok_or_else(none)?;
        let snapshot = self.snapshot();
        let server = snapshot.servers.get(&name).ok_or_else(none)?;
        if server.is_stand_in() {
            let theirs = self.0.users.servers().into_iter();
            return Ok(theirs
                .filter(|one| one.name == name)
                .find(|one| one.seen().is_some())
                .unwrap_or(server.clone()));
        }
        if self.host().place() != Place::Process {
            self.learn(&snapshot, &Scope::Server(name), None).await;
        }
        Ok(server.clone())
    }

    pub(super) async fn show_approvals(&self) -> Result<Reply, Fault> {
        let snapshot = self.snapshot();
        if self.host().place() != Place::Process {
            self.learn(&snapshot, &Scope::All, None).await;
        }
        let all: Vec<_> = snapshot.servers.values().map(|server| summary(server)).collect();
        let mut out = ObjectWriter::default();
        out.member("approvals", &format!("[{}]", all.join(",")));
        Ok(kept_from_caches(body::json(StatusCode::OK, out.finish())))
    }

    pub(super) async fn show_approval(&self, name: &str) -> Result<Reply, Fault> {
        let server = self.approvable(name).await?;
        Ok(kept_from_caches(body::json(StatusCode::OK, whole(&server))))
    }

    pub(super) async fn approve(&self, name: &str, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let wanted = NewApproval::read(asked.headers, &asked.body)?;
        let server = self.approvable(name).await?;
        let approval = wanted.of(&server, self.host().now())?;
        let note = match &wanted.tool {
            Some(tool) => format!("approved {tool} of {}", server.name),
            None => format!("approved {}", server.name),
        };
        self.keep_approval(&server.name, Some(approval), (note, asked.operator)).await?;
        self.show_approval(name).await
    }

    pub(super) async fn forget_approval(&self, name: &str, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let server = self.approvable(name).await?;
        let note = format!("no longer approved {}", server.name);
        self.keep_approval(&server.name, None, (note, asked.operator)).await?;
        self.show_approval(name).await
    }

    /// Keeps an approval where this gateway's are, and puts it in force.
    async fn keep_approval(
        &self,
        name: &ServerName,
        approval: Option<Approval>,
        (note, by): (String, &Operator),
    ) -> Result<(), Fault> {
        let is_by_store = matches!(&*lock(&self.0.managed), Managed::ByStore(_));
        if is_by_store {
            return self.store_approval(name, approval.as_ref(), (note, by)).await;
        }
        let homeless =
            || Fault::new(StatusCode::NOT_FOUND, "no-store", "this gateway's host keeps no approvals");
        let definitions = self.host().definitions().ok_or_else(homeless)?;
        definitions.approve(name.to_string(), approval.as_ref().map(Approval::to_text)).await?;
        self.change_approvals(|kept| kept.set(name.clone(), approval.map(Arc::new)));
        Ok(())
    }

    /// Writes an approval into the next version of the configuration.
    async fn store_approval(
        &self,
        name: &ServerName,
        approval: Option<&Approval>,
        (note, by): (String, &Operator),
    ) -> Result<(), Fault> {
        let (store, strangers) = self.stored()?;
        for _ in 0..ATTEMPTS {
            let newest = store.newest().await?.ok_or_else(|| {
                let detail = "nothing was pushed to this gateway yet, and an approval is part of what is: `portcullis push`";
                Fault::new(StatusCode::CONFLICT, "no-version", detail)
            })?;
            let mut document = Document::kept(&newest.text);
            match approval {
                Some(approval) => document.approvals.insert(name.to_string(), approval.to_text()),
                None => document.approvals.remove(name.as_str()),
            };
            if self
                .store_next(store, newest, strangers, NextVersion { document, note: note.clone(), by })
                .await?
            {
                return Ok(());
            }
        }
        Err(Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "others write versions all the time: try again",
        ))
    }
}

/// Says what became of a definition.
fn in_words(held: &Held, approval: Option<&Approval>, seen: &Offer, changed: Changed) -> String {
    let what = match held.change {
        Change::New => "was not approved".to_owned(),
        Change::Changed => {
            let places = held_differences(held, approval, seen).into_iter().map(|difference| difference.at);
            let places: Vec<_> = places.filter(|at| !at.is_empty()).take(NAMED).collect();
            let places = if places.is_empty() { String::new() } else { format!(" ({})", places.join(", ")) };
            format!("has changed since it was approved{places}")
        }
    };
    let then = match (changed, held.change) {
        (Changed::Warn, _) => "it is served",
        (Changed::Approved, Change::Changed) => "it is served as it was approved",
        _ => "it is not served",
    };
    format!("{what}: {then}")
}
