//! Connections where each principal's lie in a place of their own that does one thing after the other, such as a Durable Object.
//!
//! **A drawer is found by its principal alone**, and nothing that is asked of it reaches another. One more place knows which
//! principals there are.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ConnectionKey, ConnectionRecord, Stored, Swapped, Version, drawer};
use crate::control::StoreError;
use crate::sorted::SortedSet;
use crate::wire::plain::{read, text};

/// What a connection's key in its drawer begins with.
const CONNECTION: &str = "c#";
/// What a principal's begins with, where all are known.
const PRINCIPAL: &str = "p#";
/// The name of the place that knows which principals there are.
pub(crate) const PRINCIPALS: &str = "principals";

/// What a drawer is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub enum Errand {
    /// A connection.
    Get(ConnectionKey),
    /// A swap.
    Swap(ConnectionKey, Option<Version>, Option<Stored>),
    /// What is known of all connections in it.
    List,
    /// To remove all of them.
    RemoveAll,
    /// To know that there is such a principal.
    Know(Arc<str>),
    /// The principals that are known.
    Principals,
}

/// What a drawer stores texts in, by key. What is done between two answers is done at once, or not at all.
pub trait Shelf {
    /// Returns a text.
    fn load(&self, key: &str) -> Option<String>;

    /// Stores a text; tells whether that could be done.
    fn store(&self, key: &str, text: &str) -> bool;

    /// Removes a text.
    fn remove(&self, key: &str);

    /// Returns all keys and texts.
    fn all(&self) -> Vec<(String, String)>;
}

/// Returns the name of a principal's drawer.
pub(crate) fn name_of(principal: &str) -> String {
    format!("of {}", drawer(principal))
}

/// Runs an errand, which came as text; returns what came of it, as text for whoever has sent it. Nothing where it is none.
pub fn run(errand: &str, shelf: &impl Shelf) -> Option<String> {
    Some(match read(errand)? {
        Errand::Get(key) => said(&found(shelf, &key)),
        Errand::Swap(key, expected, next) => said(&swap(shelf, &key, expected, next)),
        Errand::List => said(&listed(shelf)),
        Errand::RemoveAll => {
            let connections = connections(shelf);
            for (key, _) in &connections {
                shelf.remove(key);
            }
            said(&Ok(connections.len()))
        }
        Errand::Know(principal) => {
            said(&keep(shelf, &format!("{PRINCIPAL}{}", drawer(&principal)), &principal))
        }
        Errand::Principals => {
            let all = shelf.all().into_iter();
            let known = all.filter(|(key, _)| key.starts_with(PRINCIPAL)).map(|(_, principal)| principal);
            said(&Ok(known.collect::<SortedSet<_>>()))
        }
    })
}

fn swap(
    shelf: &impl Shelf,
    key: &ConnectionKey,
    expected: Option<Version>,
    next: Option<Stored>,
) -> Result<Swapped, StoreError> {
    let before = found(shelf, key)?;
    if before.as_ref().map(|stored| stored.version) != expected {
        return Ok(Swapped::Changed(before));
    }
    match next {
        Some(next) => keep(shelf, &place_of(key), &text(&next))?,
        None => shelf.remove(&place_of(key)),
    }
    Ok(Swapped::Done)
}

fn found(shelf: &impl Shelf, key: &ConnectionKey) -> Result<Option<Stored>, StoreError> {
    shelf.load(&place_of(key)).map(|text| stored(&text)).transpose()
}

fn listed(shelf: &impl Shelf) -> Result<Vec<ConnectionRecord>, StoreError> {
    connections(shelf).iter().map(|(_, text)| stored(text).map(|stored| stored.record)).collect()
}

fn connections(shelf: &impl Shelf) -> Vec<(String, String)> {
    shelf.all().into_iter().filter(|(key, _)| key.starts_with(CONNECTION)).collect()
}

fn keep(shelf: &impl Shelf, key: &str, text: &str) -> Result<(), StoreError> {
    let is_stored = shelf.store(key, text);
    is_stored.then_some(()).ok_or_else(|| StoreError("cannot keep what is so large".into()))
}

fn stored(text: &str) -> Result<Stored, StoreError> {
    read(text).ok_or_else(|| StoreError("holds something else than a connection".into()))
}

fn place_of(key: &ConnectionKey) -> String {
    format!("{CONNECTION}{}", key.digest())
}

fn said<T: Serialize>(outcome: &Result<T, StoreError>) -> String {
    text(outcome)
}
