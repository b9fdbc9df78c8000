//! What one gateway is to serve: a version of the configuration, and the keys that count, as one text.

use serde::{Deserialize, Serialize};

use crate::identity::KeyRecord;

/// What one gateway is to serve from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The gateway that it is for.
    pub gateway: String,
    /// Counts what this gateway was given; each is above the one before, whatever it says.
    pub number: u64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub issued: u64,
    /// The version of the control plane's configuration that it has; an operator may go back to an earlier one.
    pub version: u64,
    /// That version, as a store keeps it.
    pub document: String,
    /// The API keys that the control plane knows, also those that no longer count.
    pub keys: Vec<KeyRecord>,
    /// The key that will sign instead of the present one, once that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<String>,
}

impl Snapshot {
    /// Returns the bytes that are signed and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }

    /// Reads such bytes.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}
