//! Secrets that have a name: what a configuration calls them by, and what a store gives for it.
//!
//! **A value shows itself to nobody**: it has no `Debug`, no `Display` and no serialization, and its memory is wiped when it
//! is let go of. **A configuration holds names, never values**; a value is looked up when it is needed (ADR 0025).

pub(crate) mod held;
mod text;
mod vault;
mod veil;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub(crate) use text::header_value;
pub use text::{Part, SecretText};
pub use vault::Vault;
pub use veil::Veil;

/// The longest name, in characters.
const LONGEST_NAME: usize = 128;
/// The longest value, in bytes.
pub const LONGEST_VALUE: usize = 64 << 10;

/// The name of a secret: `[A-Za-z0-9][A-Za-z0-9_./-]{0,127}`, without `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(Arc<str>);

/// A text that is no name of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the name of a secret: 1 to 128 letters, digits, `_`, `-`, `.` and `/`, the first a letter or a digit, no `..`"
)]
pub struct NotAName;

impl SecretName {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
        let is_name = text.len() <= LONGEST_NAME
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(of_a_name)
            && !text.contains("..");
        if is_name { Ok(Self(text.into())) } else { Err(NotAName) }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SecretName {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        Self::parse(&text)
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// The value of a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// A text that is no value of a secret. It is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAValue {
    /// There is nothing in it.
    #[error("the value is empty")]
    Empty,
    /// There is too much in it.
    #[error("the value has more than {LONGEST_VALUE} bytes")]
    TooLong,
    /// No environment variable can hold it.
    #[error("the value contains a NUL character")]
    Nul,
}

impl Secret {
    /// Takes a value.
    pub fn new(value: String) -> Result<Self, NotAValue> {
        let value = Zeroizing::new(value);
        match value.len() {
            0 => Err(NotAValue::Empty),
            1..=LONGEST_VALUE if value.contains('\0') => Err(NotAValue::Nul),
            1..=LONGEST_VALUE => Ok(Self(value)),
            _ => Err(NotAValue::TooLong),
        }
    }

    /// Returns the value, for whoever is to use it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// What a store has under a name.
#[derive(Clone, PartialEq, Eq)]
pub struct Values {
    /// The value that counts.
    pub current: Secret,
    /// The value before a rotation, which a server may still expect.
    pub previous: Option<Secret>,
    /// What the store calls this version.
    pub version: String,
}

/// What is known of a secret without its value. Times are in milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// Its name.
    pub name: SecretName,
    /// What the store calls the version that counts.
    pub version: String,
    /// When it was first set, where the store knows.
    pub created: Option<u64>,
    /// When its value was last changed, where the store knows.
    pub changed: Option<u64>,
    /// Whether the value before is kept beside.
    pub has_previous: bool,
}

/// How a value takes the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replacing {
    /// At once: what was before is forgotten.
    AtOnce,
    /// In a rotation: what was before is kept as the previous value.
    Rotating,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_narrow() {
        for name in ["a", "tickets-key", "prod/github.token_2", "0", &"a".repeat(128)] {
            assert_eq!(SecretName::parse(name).map(String::from).as_deref(), Ok(name));
        }
        for odd in
            ["", "-a", ".a", "/a", "_a", "a b", "a..b", "a:b", "a}", "a$", "ä", "a\n", &"a".repeat(129)]
        {
            assert_eq!(SecretName::parse(odd), Err(NotAName), "{odd:?}");
        }
    }

    #[test]
    fn values_are_bounded() {
        let check = |value: String| Secret::new(value).map(|secret| secret.reveal().len());
        assert_eq!(check(" s3cret\n".into()), Ok(8));
        assert_eq!(check("a".repeat(LONGEST_VALUE)), Ok(LONGEST_VALUE));
        assert_eq!(check(String::new()), Err(NotAValue::Empty));
        assert_eq!(check("a\0".into()), Err(NotAValue::Nul));
        assert_eq!(check("a".repeat(LONGEST_VALUE + 1)), Err(NotAValue::TooLong));
    }
}
