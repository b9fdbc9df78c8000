//! An entry of the registry: a server.json in one version, how it is with it, and its review.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::translate;
use super::version::Version;
use crate::audit::{self, time_text};

/// What is said of an entry by the registry, in answers.
pub(crate) const OFFICIAL: &str = "io.modelcontextprotocol.registry/official";

/// Whether an entry is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    #[default]
    Active,
    Deprecated,
    Deleted,
}

/// Whether somebody has looked at an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Review {
    #[default]
    Pending,
    Approved,
    Rejected,
}

/// An entry, as it is kept.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The server.json that counts: the one that was approved, or the one that waits where none was.
    pub(crate) server: Value,
    pub(crate) status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status_message: Option<String>,
    /// When each was, in milliseconds since the Unix epoch.
    pub(crate) status_at: u64,
    pub(crate) published: u64,
    pub(crate) updated: u64,
    pub(crate) review: Review,
    /// Who published it, or had it imported.
    pub(crate) by: String,
    /// The registry that it came from, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// What that registry says of it since, where it is something else: this waits for a review of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proposed: Option<Value>,
    /// Who looked at it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reviewed_by: Option<String>,
    /// What servers of it are, once it was approved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) identities: Vec<String>,
}

impl Entry {
    /// Makes the entry of a server.json that is new.
    pub(crate) fn new(server: Value, by: &str, now: u64) -> Self {
        Self { server, by: by.to_owned(), status_at: now, published: now, updated: now, ..Self::default() }
    }

    /// Reads what is kept.
    pub(crate) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Returns the text that is kept.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("an entry is JSON")
    }

    pub(crate) fn name(&self) -> &str {
        self.server["name"].as_str().unwrap_or_default()
    }

    pub(crate) fn version(&self) -> &str {
        self.server["version"].as_str().unwrap_or_default()
    }

    /// Returns the key that it lies under.
    pub(crate) fn key(&self) -> String {
        key(self.name(), self.version())
    }

    /// Tells whether the registry shows it: it was approved.
    pub(crate) fn is_shown(&self) -> bool {
        self.review == Review::Approved
    }

    /// Tells whether servers of it may be served in strict mode.
    pub(crate) fn counts(&self) -> bool {
        self.is_shown() && self.status != Status::Deleted
    }

    /// Returns what waits for a review, if something does.
    pub(crate) fn waiting(&self) -> Option<&Value> {
        self.proposed.as_ref().or_else(|| (self.review == Review::Pending).then_some(&self.server))
    }

    /// Returns what an approval would approve: what waits, or what was rejected.
    pub(crate) fn approvable(&self) -> Option<&Value> {
        self.waiting().or_else(|| (!self.is_shown()).then_some(&self.server))
    }

    /// Tells how it is with its review.
    pub(crate) fn state(&self) -> Review {
        if self.waiting().is_some() { Review::Pending } else { self.review }
    }

    /// Changes how it is with it; tells whether anything did.
    pub(crate) fn become_status(&mut self, status: Status, message: Option<String>, now: u64) -> bool {
        if self.status == status && self.status_message == message {
            return false;
        }
        (self.status, self.status_message) = (status, message);
        (self.status_at, self.updated) = (now, now);
        true
    }

    /// Takes what another registry says of it; tells whether that is anything new.
    pub(crate) fn take(&mut self, server: Value, status: Status, now: u64) -> bool {
        let mut changed = false;
        if self.server == server {
            // It is again what was approved.
            changed |= self.proposed.take().is_some();
        } else if self.review == Review::Approved {
            changed |= self.proposed.as_ref() != Some(&server);
            self.proposed = Some(server);
        } else {
            (self.server, self.review, self.updated) = (server, Review::Pending, now);
            changed = true;
        }
        // What is gone there goes here; that it is back there is nothing to trust.
        let is_worse = matches!(
            (self.status, status),
            (Status::Active, Status::Deprecated | Status::Deleted) | (Status::Deprecated, Status::Deleted)
        );
        changed | (is_worse && self.become_status(status, None, now))
    }

    /// Approves what waits, as it was shown.
    pub(crate) fn approve(&mut self, by: &str, identities: Vec<String>, now: u64) {
        if let Some(proposed) = self.proposed.take() {
            self.server = proposed;
        }
        (self.review, self.updated, self.identities) = (Review::Approved, now, identities);
        self.reviewed_by = Some(by.to_owned());
    }

    /// Rejects what waits; of an entry that was approved before only what is new.
    pub(crate) fn reject(&mut self, by: &str, now: u64) {
        if self.proposed.take().is_none() {
            (self.review, self.updated) = (Review::Rejected, now);
            self.identities.clear();
        }
        self.reviewed_by = Some(by.to_owned());
    }
}

/// Returns the key that an entry lies under.
pub(crate) fn key(name: &str, version: &str) -> String {
    format!("{name}/{version}")
}

/// Returns the digest of a server.json, whatever the order of its members.
pub(crate) fn digest(server: &Value) -> String {
    audit::digest(server.to_string().as_bytes())
}

/// Returns the place of the version that is the newest of one server: of those that are not deleted, where there are such.
pub(crate) fn latest(versions: &[&Entry]) -> Option<usize> {
    let rank =
        |entry: &Entry| (entry.status != Status::Deleted, Version::of(entry.version()), entry.published);
    (0..versions.len()).max_by(|one, other| rank(versions[*one]).cmp(&rank(versions[*other])))
}

/// Describes an entry as the API does.
pub(crate) fn shown(entry: &Entry, is_latest: bool) -> Value {
    let mut official = json!({
        "status": entry.status,
        "statusChangedAt": time_text(entry.status_at),
        "publishedAt": time_text(entry.published),
        "updatedAt": time_text(entry.updated),
        "isLatest": is_latest,
    });
    if let Some(message) = &entry.status_message {
        official["statusMessage"] = message.as_str().into();
    }
    json!({ "server": entry.server, "_meta": { OFFICIAL: official } })
}

/// Describes an entry for who reviews it; `known` are names that were approved.
pub(crate) fn reviewed(entry: &Entry, known: &[&str]) -> Value {
    json!({
        "name": entry.name(),
        "version": entry.version(),
        "server": entry.server,
        "status": entry.status,
        "status_message": entry.status_message,
        "published": time_text(entry.published),
        "updated": time_text(entry.updated),
        "by": entry.by,
        "source": entry.source,
        "review": entry.state(),
        "reviewed_by": entry.reviewed_by,
        "proposed": entry.proposed,
        "digest": entry.approvable().map(digest),
        "approved_digest": entry.is_shown().then(|| digest(&entry.server)),
        "identities": entry.identities,
        "resembles": resembles(entry.name(), known),
        "settings": translate::settings(entry.approvable().unwrap_or(&entry.server)),
    })
}

/// Returns a known name that this one could be taken for, without being it.
pub(crate) fn resembles<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let folded = |name: &str| {
        let name = name.to_ascii_lowercase().replace(['-', '_', '.'], "");
        name.replace(['0'], "o").replace(['1', 'i'], "l").replace("rn", "m")
    };
    if known.contains(&name) {
        return None;
    }
    let same = known.iter().find(|other| folded(other) == folded(name)).copied();
    same.or_else(|| crate::config::nearest(name, known))
}
