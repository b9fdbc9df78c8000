//! Connections: what one principal has at one server, how it is kept, and when it is refreshed (ADR 0028).
//!
//! **A store sees who is connected to what, and never a token**: what is in a connection is sealed before it is written,
//! bound to its key and to the one write that wrote it. **Of all who find a token due, one refreshes it**: the lease to do so
//! is written before the provider is asked. **Nothing but the provider's own no makes a connection need consent anew.**

pub mod drawer;
mod envelope;
mod machine;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use envelope::DataKey;
pub(crate) use envelope::{Envelope, Sealed};
pub(crate) use machine::{Attempt, Decision, LEASED, State};
pub use machine::{Granted, Outcome, Reason, Token};

/// What a connection is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionKey {
    /// Whose it is: what a principal is called in the audit trail, or what all share it by.
    pub principal: Arc<str>,
    /// What the server is known by: another once its name has come to mean another server.
    pub server: Arc<str>,
    /// The authorization server that gave the tokens.
    pub issuer: Arc<str>,
    /// What they are for (RFC 8707).
    pub resource: Arc<str>,
}

impl ConnectionKey {
    /// Returns the key as text of one form and length, which tells any two keys apart.
    pub fn digest(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.as_bytes()))
    }

    /// Returns the key as bytes, each part after its length, so that it is certain where each begins.
    fn as_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [&self.principal, &self.server, &self.issuer, &self.resource] {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(part.as_bytes());
        }
        bytes
    }
}

/// Returns what a principal's connections are kept under: text of one form and length, whatever the principal is called.
pub fn drawer(principal: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(principal))
}

/// Which write a connection was last written by. It is drawn by chance, so that no two writes have the same, even with a
/// removal between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(pub u64);

/// A text that is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a version of 16 hexadecimal digits")]
pub struct NotAVersion;

impl Version {
    /// Parses what it is displayed as.
    pub fn parse(text: &str) -> Result<Self, NotAVersion> {
        let is_digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = if is_digits { u64::from_str_radix(text, 16).ok() } else { None };
        number.map(Self).ok_or(NotAVersion)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TryFrom<String> for Version {
    type Error = NotAVersion;

    fn try_from(text: String) -> Result<Self, NotAVersion> {
        Self::parse(&text)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

/// How it is with a connection, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It can be used.
    Connected,
    /// Its token is being refreshed.
    Refreshing,
    /// Its provider fails, and is asked again after a pause.
    Paused,
    /// Its user has to consent anew.
    NeedsConsent,
}

/// What is known of a connection without what is in it. Times are in milliseconds since the Unix epoch.
///
/// **It is for people**: nothing is decided by it, since whoever can write the store can write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionRecord {
    /// What it is known by.
    pub key: ConnectionKey,
    /// What the tokens are good for, as the provider said.
    pub scopes: Vec<String>,
    /// When its user consented.
    pub connected: u64,
    /// When its access token ends, where that is known.
    pub expires: Option<u64>,
    /// How it is with it.
    pub standing: Standing,
}

/// A connection as it lies in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Which write wrote it.
    pub version: Version,
    /// What is known of it in the clear.
    pub record: ConnectionRecord,
    /// What is in it, sealed.
    pub sealed: String,
}

/// What became of a swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Swapped {
    /// What was to be there is there; where that is nothing, nothing is.
    Done,
    /// Nothing was written, since this was there instead of what was expected.
    Changed(Option<Stored>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: [&str; 4]) -> ConnectionKey {
        let [principal, server, issuer, resource] = parts.map(Arc::from);
        ConnectionKey { principal, server, issuer, resource }
    }

    #[test]
    fn keys_that_differ_anywhere_are_told_apart() {
        let keys = [
            ["a", "b", "c", "d"],
            ["ab", "", "c", "d"],
            ["a", "bc", "", "d"],
            ["a", "b", "cd", ""],
            ["", "ab", "c", "d"],
            ["abcd", "", "", ""],
        ];
        let digests: crate::sorted::SortedSet<_> = keys.map(|parts| key(parts).digest()).into();
        assert_eq!(digests.len(), keys.len());
        assert!(digests.iter().all(|digest| digest.len() == 43));
    }

    #[test]
    fn a_version_is_what_it_is_displayed_as() {
        for number in [0, 1, u64::MAX, 1 << 63] {
            assert_eq!(Version::parse(&Version(number).to_string()), Ok(Version(number)));
        }
        for odd in ["", "1", "+00000000000000f", "00000000000000000", "000000000000000g"] {
            assert_eq!(Version::parse(odd), Err(NotAVersion), "{odd:?}");
        }
    }
}
