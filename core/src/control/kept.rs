//! What a store keeps for the control plane: configurations, version after version, and API keys.
//!
//! **A version is never changed or forgotten**: going back writes what an earlier one said as a new one. A store knows
//! nothing of what it keeps: what a text means is decided before it is stored.

use serde::{Deserialize, Serialize};

use crate::audit;
use crate::identity::KeyRecord;

/// What is known of one version of the configuration, without what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Counts the versions from 1, without a gap.
    pub version: u64,
    /// When it was written, in milliseconds since the Unix epoch.
    pub at: u64,
    /// By whom.
    pub by: String,
    /// What for, in their words; may be empty.
    pub note: String,
    /// The [`digest`] of its text.
    pub digest: String,
}

/// One version of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Which one, and where it comes from.
    pub stamp: Stamp,
    /// What it says: a document as text.
    pub text: String,
}

/// What became of a version that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Appended {
    /// It is the newest now.
    Done,
    /// Nothing was written: the newest is this one, not the one before it; 0 where there is none.
    Behind(u64),
}

/// An API key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What is known of it.
    pub record: KeyRecord,
    /// When it was last used, in milliseconds since the Unix epoch, where the store knows.
    pub used: Option<u64>,
}

/// What became of a key that was to be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revoked {
    /// It no longer counts.
    Now,
    /// It had been revoked before.
    Before,
    /// There is no such key.
    Unknown,
}

/// Why a store could not do its work, in words that are safe to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Returns the SHA-256 of a text in hexadecimal digits: what tells two configurations apart.
pub fn digest(text: &str) -> String {
    audit::digest(text.as_bytes())
}
