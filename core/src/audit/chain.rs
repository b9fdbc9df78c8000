//! The chain of lines: each names the hash of the one before, and a record beside them says how far they reach.
//!
//! What somebody has done to lines is found by [`super::verify`].

use serde::{Deserialize, Serialize};

use super::line::write_digest;
use crate::wire::json::Json;

/// What the first line names in place of a hash.
pub const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How long the text of a [`Head`] is, in bytes: always the same, so that it is replaced in place.
const HEAD: usize = 320;

/// Returns the hash of a line without its line break: SHA-256, in hexadecimal digits.
pub fn digest(line: &[u8]) -> String {
    let mut hash = String::with_capacity(FIRST.len());
    write_digest(&mut hash, line);
    hash
}

/// What a line says of its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its number, counted from 1.
    pub id: u64,
    /// The hash of the line before.
    pub prev: String,
}

impl Link {
    /// Reads a line; nothing where it is none.
    pub fn read(line: &[u8]) -> Option<Self> {
        let json = Json::check(line).ok().filter(|json| json.is_object())?;
        Some(Self { id: json.get("id")?.as_u64()?, prev: json.get("prev")?.as_str()?.into_owned() })
    }
}

/// Where a chain is: what its next line has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The number of the last line; 0 where there is none.
    pub last: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self { last: 0, hash: FIRST.to_owned() }
    }
}

impl Chain {
    /// Returns the next line, which `make` makes from its number and the hash of the line before.
    pub fn add(&mut self, make: impl FnOnce(u64, &str) -> String) -> String {
        let mut line = String::new();
        self.append(&mut line, |out, id, prev| out.push_str(&make(id, prev)));
        line
    }

    /// Appends the next line to `out`, where `write` writes it from its number and the hash of the line before.
    pub fn append(&mut self, out: &mut String, write: impl FnOnce(&mut String, u64, &str)) {
        let start = out.len();
        write(out, self.last + 1, &self.hash);
        self.last += 1;
        self.hash.clear();
        write_digest(&mut self.hash, &out.as_bytes()[start..]);
    }
}

/// The record kept beside the lines: without it nobody could tell that the last ones are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The first line that is still kept.
    pub first: Link,
    /// How far the chain reaches.
    pub chain: Chain,
}

impl Default for Head {
    fn default() -> Self {
        Self { first: Link { id: 1, prev: FIRST.to_owned() }, chain: Chain::default() }
    }
}

impl Head {
    /// Returns the record's text, which is always equally long.
    pub fn to_text(&self) -> String {
        let Self { first, chain } = self;
        let text = format!(
            "{{\"first\":{},\"first_prev\":\"{}\",\"last\":{},\"hash\":\"{}\"}}",
            first.id, first.prev, chain.last, chain.hash
        );
        format!("{text:width$}\n", width = HEAD - 1)
    }

    /// Reads the record; nothing where it is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let json = Json::check(text).ok()?;
        let number = |key| json.get(key).and_then(Json::as_u64);
        let hash = |key| json.get(key).and_then(Json::as_str).filter(|hash| hash.len() == FIRST.len());
        Some(Self {
            first: Link { id: number("first")?, prev: hash("first_prev")?.into_owned() },
            chain: Chain { last: number("last")?, hash: hash("hash")?.into_owned() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_keeps_its_length() {
        let mut head = Head::default();
        head.chain.add(|id, prev| format!("{{\"id\":{id},\"prev\":\"{prev}\"}}"));
        for head in [Head::default(), head] {
            assert_eq!(head.to_text().len(), HEAD);
            assert_eq!(Head::parse(head.to_text().as_bytes()), Some(head));
        }
        assert_eq!(Head::parse(b"{}"), None);
    }
}
