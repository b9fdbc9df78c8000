//! Names that cross the boundary, parsed once.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Letters that share their capital with another, each before that one: the long s, the dotless i, the Greek letters at the
/// end of a word and in formulas, old Cyrillic ones.
const SHARE_A_CAPITAL: &str = "\
    \u{b5}\u{3bc}\u{131}\u{69}\u{17f}\u{73}\u{345}\u{3b9}\u{3c2}\u{3c3}\u{3d0}\u{3b2}\u{3d1}\u{3b8}\
    \u{3d5}\u{3c6}\u{3d6}\u{3c0}\u{3f0}\u{3ba}\u{3f1}\u{3c1}\u{3f5}\u{3b5}\u{1c80}\u{432}\u{1c81}\u{434}\
    \u{1c82}\u{43e}\u{1c83}\u{441}\u{1c84}\u{442}\u{1c85}\u{442}\u{1c86}\u{44a}\u{1c87}\u{463}\u{1c88}\u{a64b}\
    \u{1e9b}\u{1e61}\u{1fbe}\u{3b9}";

/// Returns a text such that texts which differ in case alone have the same one. Tables of capitals would be a good part of
/// the Worker, so the few letters are listed that need one.
pub(crate) fn without_case(text: &str) -> String {
    let one = |c: char| {
        let mut pairs = SHARE_A_CAPITAL.chars();
        while let (false, Some(letter), Some(other)) = (c.is_ascii(), pairs.next(), pairs.next()) {
            if letter == c {
                return other;
            }
        }
        c
    };
    text.chars().flat_map(char::to_lowercase).map(one).collect()
}

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

#[cfg(test)]
mod case_tests {
    use super::*;

    #[test]
    fn letters_and_their_capitals_are_the_same() {
        for c in char::MIN..=char::MAX {
            let mut capitals = c.to_uppercase();
            if let (Some(capital), None) = (capitals.next(), capitals.next()) {
                let (small, large) = (without_case(&c.to_string()), without_case(&capital.to_string()));
                assert_eq!(small, large, "{c:?} {capital:?}");
            }
        }
        assert_eq!(without_case("GET_\u{17f}\u{130}"), "get_si\u{307}");
        assert_ne!(without_case("a"), without_case("á"));
    }
}
