//! What is written to the registry, and how strict mode comes to know what is approved.
//!
//! **Whatever breaks off in the middle, no more is served than the records say**: an approval is recorded before it counts, what is
//! taken back stops counting before that is recorded, and what counts is compared with the record afterwards, since others may
//! have written it meanwhile. Where the configuration is the store's, what counts is part of its next version, so that a fleet knows
//! it by the snapshot; else this gateway reads it from its records.

use http::StatusCode;
use serde_json::{Value, json};

use super::added::Added;
use super::entries::ATTEMPTS;
use super::{Writer, busy, gone, place};
use crate::body::Reply;
use crate::control::answer::{Fault, answer};
use crate::control::evaluation::expect_passed;
use crate::control::registry::entry::{Entry, Review, Status, digest, key, shown};
use crate::control::registry::{identities, wrongs};
use crate::control::who::Operator;
use crate::control::{Document, Managed};
use crate::flow::control::NextVersion;
use crate::gateway::Gateway;
use crate::listing::Approved;
use crate::ports::Host;
use crate::sorted::SortedMap;
use crate::upstream::lock;

impl<H: Host> Gateway<H> {
    pub(super) async fn publish(&self, writer: &Writer, server: Value) -> Result<Reply, Fault> {
        check(&server)?;
        let new = Entry::new(server, &writer.by.principal, self.host().now());
        let key = place(new.name(), new.version())?;
        let written = self.swap_entry(&key, |there| match there {
            Some(there) if there.review == Review::Rejected && (writer.governs || there.by == new.by) => {
                Ok(Some(new.clone()))
            }
            Some(there) if there.review != Review::Rejected && there.server == new.server => Ok(Some(there)),
            Some(_) => {
                let detail =
                    "this version was published already, and a version is never changed: publish another";
                Err(Fault::new(StatusCode::BAD_REQUEST, "published", detail))
            }
            None => Ok(Some(new.clone())),
        });
        let mut entry = written.await?.unwrap_or(new);
        let digest = digest(&entry.server);
        if writer.governs && entry.review == Review::Pending {
            // What has to be evaluated first waits, as what others publish does.
            if self.expect_evaluated(&entry, &digest).await.is_err() {
                return Ok(answer(StatusCode::OK, &shown(&entry, false)));
            }
            entry = self.approve_entry(&writer.by, (&key, &digest), None).await?;
        } else if writer.governs {
            self.list_in_force(&key, &writer.by).await?;
        }
        Ok(answer(StatusCode::OK, &shown(&entry, false)))
    }

    pub(super) async fn change_status(
        &self,
        writer: &Writer,
        key: &str,
        said: &Value,
    ) -> Result<Reply, Fault> {
        let entry = self.become_status(writer, key, said).await?;
        Ok(answer(StatusCode::OK, &shown(&entry, false)))
    }

    pub(super) async fn change_all(&self, writer: &Writer, name: &str, said: &Value) -> Result<Reply, Fault> {
        let mut changed = Vec::new();
        for entry in self.entries(&place(name, "")?).await? {
            // Of versions that are somebody else's nothing is said.
            if writer.governs || *entry.by == *writer.by.principal {
                let entry = self.become_status(writer, &entry.key(), said).await?;
                changed.push(shown(&entry, false));
            }
        }
        if changed.is_empty() {
            return Err(gone());
        }
        Ok(answer(StatusCode::OK, &json!({ "updatedCount": changed.len(), "servers": changed })))
    }

    async fn become_status(&self, writer: &Writer, key: &str, said: &Value) -> Result<Entry, Fault> {
        let status: Status = serde_json::from_value(said["status"].clone())
            .map_err(|_| Fault::field("status", "expected one of active, deprecated, deleted"))?;
        let message = said["statusMessage"].as_str().map(str::to_owned);
        if message.as_ref().is_some_and(|message| message.chars().count() > 500) {
            return Err(Fault::field("statusMessage", "expected at most 500 characters"));
        }
        let now = self.host().now();
        let theirs = |there: Option<Entry>| {
            // Whose it is not does not learn that it is there.
            there.filter(|entry| writer.governs || *entry.by == *writer.by.principal).ok_or_else(gone)
        };
        theirs(self.entry(key).await?)?;
        if status == Status::Deleted {
            self.withhold(key, &writer.by).await?;
        }
        let written = self.swap_entry(key, |there| {
            let mut entry = theirs(there)?;
            if !writer.governs && entry.status == Status::Deleted && status != Status::Deleted {
                return Err(Fault::forbidden("what was deleted comes back by who governs"));
            }
            entry.become_status(status, message.clone(), now);
            Ok(Some(entry))
        });
        let entry = written.await?.ok_or_else(gone)?;
        self.list_in_force(key, &writer.by).await?;
        Ok(entry)
    }

    fn is_stored(&self) -> bool {
        matches!(&*lock(&self.0.managed), Managed::ByStore(_))
    }

    /// Approves what waits of an entry, as it was shown: `seen` is the digest of what the reviewer saw. What is added of it is in
    /// the version with which it counts.
    pub(super) async fn approve_entry(
        &self,
        by: &Operator,
        (place, seen): (&str, &str),
        added: Option<&Added>,
    ) -> Result<Entry, Fault> {
        if self.is_stored() && self.stored()?.0.newest().await?.is_none() {
            let detail = "nothing was pushed to this gateway yet, and what the registry has approved is part of what is";
            return Err(Fault::new(StatusCode::CONFLICT, "no-version", detail));
        }
        self.expect_evaluated(&self.entry(place).await?.ok_or_else(gone)?, seen).await?;
        if let Some(added) = added {
            self.may_be_added(&self.entry(place).await?.ok_or_else(gone)?, added).await?;
        }
        let now = self.host().now();
        let written = self.swap_entry(place, |there| {
            let mut entry = there.ok_or_else(gone)?;
            let waiting = entry.approvable();
            if digest(waiting.unwrap_or(&entry.server)) != seen {
                let detail = "the entry is not what was shown: look at it again";
                return Err(Fault::new(StatusCode::PRECONDITION_FAILED, "conflict", detail));
            }
            if let Some(waiting) = waiting {
                let identities = identities::of(waiting);
                entry.approve(&by.principal, identities, now);
            }
            Ok(Some(entry))
        });
        let entry = written.await?.ok_or_else(gone)?;
        if let Some(added) = added {
            self.write_listed(place, approved(&entry), (by, Some(added))).await?;
        }
        self.list_in_force(place, by).await?;
        Ok(entry)
    }

    /// Refuses to approve what should have been evaluated before.
    async fn expect_evaluated(&self, entry: &Entry, seen: &str) -> Result<(), Fault> {
        let waiting = entry.approvable().unwrap_or(&entry.server);
        // Of what was not shown nothing is said but that.
        if !self.snapshot().config.registry.require_evaluation || digest(waiting) != seen {
            return Ok(());
        }
        expect_passed(&identities::of(waiting), &self.evaluations().await?)
    }

    /// Rejects what waits of an entry, or takes its approval back.
    pub(super) async fn reject_entry(&self, by: &Operator, place: &str) -> Result<Entry, Fault> {
        let now = self.host().now();
        let there = self.entry(place).await?.ok_or_else(gone)?;
        if there.proposed.is_none() {
            self.withhold(place, by).await?;
        }
        let written = self.swap_entry(place, |there| {
            let mut entry = there.ok_or_else(gone)?;
            entry.reject(&by.principal, now);
            Ok(Some(entry))
        });
        let entry = written.await?.ok_or_else(gone)?;
        self.list_in_force(place, by).await?;
        Ok(entry)
    }

    /// Has strict mode know what the record of an entry says, also where others write it meanwhile.
    pub(super) async fn list_in_force(&self, key: &str, by: &Operator) -> Result<(), Fault> {
        if !self.is_stored() {
            return self.read_listed().await;
        }
        for _ in 0..ATTEMPTS {
            let entry = self.entry(key).await?;
            self.write_listed(key, entry.as_ref().and_then(approved), (by, None)).await?;
            if self.entry(key).await? == entry {
                return Ok(());
            }
        }
        Err(busy("this entry"))
    }

    /// Has strict mode forget an entry, before the record says so.
    pub(super) async fn withhold(&self, key: &str, by: &Operator) -> Result<(), Fault> {
        if self.is_stored() { self.write_listed(key, None, (by, None)).await } else { Ok(()) }
    }

    /// Has the next version of the configuration say what is approved of an entry.
    async fn write_listed(
        &self,
        key: &str,
        approved: Option<String>,
        (by, added): (&Operator, Option<&Added>),
    ) -> Result<(), Fault> {
        let (store, strangers) = self.stored()?;
        for _ in 0..ATTEMPTS {
            let Some(newest) = store.newest().await? else { return Ok(()) };
            let mut document = Document::kept(&newest.text);
            let before = match &approved {
                Some(text) => document.listed.insert(key.to_owned(), text.clone()),
                None => document.listed.remove(key),
            };
            match added {
                Some(added) => self.add_to(&mut document, added)?,
                None if before == approved => return Ok(()),
                None => {}
            }
            let note = format!("registry: {key}");
            if self.store_next(store, newest, strangers, NextVersion { document, note, by }).await? {
                return Ok(());
            }
        }
        Err(busy("versions"))
    }

    /// Puts in force what the records say is approved, for a gateway that is configured by files.
    pub async fn look_at_registry(&self) {
        if !self.is_stored()
            && let Err(fault) = self.read_listed().await
        {
            tracing::error!(reason = %fault.detail, "what the registry has approved cannot be read");
        }
    }

    async fn read_listed(&self) -> Result<(), Fault> {
        let entries = self.entries("").await?;
        let approved: SortedMap<_, _> = entries
            .into_iter()
            .filter(Entry::counts)
            .map(|entry| {
                let (name, version) = (entry.name(), entry.version());
                let listed = Approved { digest: digest(&entry.server), identities: entry.identities.clone() };
                (key(name, version), listed)
            })
            .collect();
        self.set_listed(approved);
        Ok(())
    }
}

/// Returns what a version says of an entry, where it counts.
fn approved(entry: &Entry) -> Option<String> {
    let identities = entry.identities.clone();
    entry.counts().then(|| Approved { digest: digest(&entry.server), identities }.to_text())
}

fn check(server: &Value) -> Result<(), Fault> {
    let wrong = wrongs(server);
    let Some(first) = wrong.first() else { return Ok(()) };
    let errors =
        wrong.iter().map(|wrong| json!({ "field": wrong.field, "message": wrong.message })).collect();
    let mut fault = Fault::field(&first.field, &first.message);
    fault.errors = errors;
    Err(fault)
}
