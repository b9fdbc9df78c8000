//! Names that cross the boundary, parsed once.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name an operator gave a server: 1 to 64 characters of `[A-Za-z0-9_.-]` and spaces, without leading or
/// trailing ones. Cheap to clone; ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ServerName(Arc<str>);

/// A name that is not a [`ServerName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a server name has 1 to 64 characters, each a letter, digit, `_`, `-`, `.` or a space in between; found {0:?}"
)]
pub struct InvalidServerName(String);

impl ServerName {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, InvalidServerName> {
        let valid = !text.is_empty()
            && text.len() <= 64
            && text.trim() == text
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' '));
        if valid { Ok(Self(text.into())) } else { Err(InvalidServerName(text.chars().take(80).collect())) }
    }

    /// Returns the name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name as text.
    pub fn into_arc(self) -> Arc<str> {
        self.0
    }

    /// Returns the name as text that is shared with it.
    pub fn to_arc(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Borrow<str> for ServerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ServerName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
