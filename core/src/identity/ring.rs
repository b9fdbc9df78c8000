//! The API keys that are known: which one was presented, and whether it still counts.
//!
//! **A ring never changes**: another one takes its place, in one step. Only when a key was last used is noted in it, and
//! that goes on from ring to ring.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::key::{ApiKey, KeyHash};
use crate::sorted::SortedMap;

/// What is known of an API key. Times are in milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// By what people know it; see [`KeyHash::id`].
    pub id: Arc<str>,
    /// The agent that it was made for.
    pub agent: Arc<str>,
    /// The key's hash.
    pub hash: KeyHash,
    /// When it was made.
    pub created: u64,
    /// From when on it no longer counts; never, where nothing is said.
    pub expires: Option<u64>,
    /// When it was revoked.
    pub revoked: Option<u64>,
    /// What it is for, in its maker's words.
    pub comment: Option<String>,
    /// Whose it is, by their principal: it counts for as long as they are let in. A key that nobody owns is the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Arc<str>>,
    /// Who made it, by their principal, where that is known. It says nothing of whether the key counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Arc<str>>,
}

/// Which keys are known.
#[derive(Debug, Default)]
pub struct KeyRing(BTreeMap<[u8; 32], Held>);

#[derive(Debug)]
struct Held {
    record: KeyRecord,
    /// When it was last used; 0 where it never was.
    used: Arc<AtomicU64>,
}

impl KeyRecord {
    /// Tells whether the key counts at that time.
    pub fn is_valid(&self, now: u64) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| expires > now)
    }

    /// Returns the principal that the key proves.
    pub fn principal(&self) -> Arc<str> {
        format!("key:{}", self.id).into()
    }
}

impl KeyRing {
    /// Makes a ring of keys.
    pub fn new(records: impl IntoIterator<Item = KeyRecord>) -> Self {
        let held = records
            .into_iter()
            .map(|record| (*record.hash.as_bytes(), Held { record, used: Arc::default() }));
        Self(held.collect())
    }

    /// Finds a key that counts at that time, and notes that it was used.
    pub(crate) fn find(&self, key: &ApiKey, now: u64) -> Option<&KeyRecord> {
        let hash = key.hash();
        let held = self.0.get(hash.as_bytes()).filter(|held| held.record.hash == hash)?;
        let record = Some(&held.record).filter(|record| record.is_valid(now))?;
        held.used.fetch_max(now, Ordering::Relaxed);
        Some(record)
    }

    /// Tells whether a key is known, whether or not it counts.
    pub(crate) fn has(&self, key: &ApiKey) -> bool {
        self.0.contains_key(key.hash().as_bytes())
    }

    /// Returns the agent for whom the key was made by which somebody has proved to be this.
    pub(crate) fn agent_of(&self, principal: &str, now: u64) -> Option<&str> {
        let id = principal.strip_prefix("key:")?;
        let held = self.0.values().find(|held| *held.record.id == *id && held.record.is_valid(now))?;
        Some(&held.record.agent)
    }

    /// Returns whose the key is by which somebody has proved to be this.
    #[cfg(feature = "control")]
    pub(crate) fn owner_of(&self, principal: &str) -> Option<&str> {
        let id = principal.strip_prefix("key:")?;
        self.0.values().find(|held| *held.record.id == *id)?.record.owner.as_deref()
    }

    /// Goes on noting uses where another ring did.
    pub(crate) fn succeed(&mut self, before: &Self) {
        for (hash, held) in &mut self.0 {
            if let Some(earlier) = before.0.get(hash) {
                held.used = earlier.used.clone();
            }
        }
    }

    /// Returns when each key was last used, by its id, of those that were.
    pub(crate) fn uses(&self) -> SortedMap<Arc<str>, u64> {
        let used = self.0.values().map(|held| (held.record.id.clone(), held.used.load(Ordering::Relaxed)));
        used.filter(|(_, used)| *used > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::key;

    fn record(number: u8) -> KeyRecord {
        key(number).1
    }

    #[test]
    fn only_keys_that_count_are_found() {
        let expiring = KeyRecord { expires: Some(100), ..record(2) };
        let revoked = KeyRecord { revoked: Some(1), ..record(3) };
        let ring = KeyRing::new([record(1), expiring, revoked]);
        let check = |number: u8, now: u64| ring.find(&key(number).0, now).map(|record| record.id.to_string());
        assert_eq!(check(1, 50), Some(record(1).id.to_string()));
        assert_eq!((check(2, 99).is_some(), check(2, 100)), (true, None));
        assert_eq!((check(3, 50), check(4, 50)), (None, None));
        assert_eq!([1, 2, 3, 4].map(|number| ring.has(&key(number).0)), [true, true, true, false]);
        assert!(ring.agent_of(&record(2).principal(), 99).is_some());
        assert!(ring.agent_of(&record(2).principal(), 100).is_none() && ring.agent_of("1", 50).is_none());
    }

    #[test]
    fn a_key_that_nobody_owns_is_kept_as_before() {
        let said = serde_json::to_string(&record(1)).expect("texts and numbers are JSON");
        assert!(!said.contains("owner") && !said.contains("created_by"), "{said}");
        assert_eq!(serde_json::from_str::<KeyRecord>(&said).expect("a key"), record(1));
        let owned = KeyRecord { owner: Some("user:corp:ann".into()), ..record(2) };
        let said = serde_json::to_string(&owned).expect("texts and numbers are JSON");
        assert_eq!(serde_json::from_str::<KeyRecord>(&said).expect("a key"), owned);
        let ring = KeyRing::new([record(1), owned]);
        let whose = |number: u8| ring.owner_of(&record(number).principal());
        assert_eq!([whose(1), whose(2), whose(3)], [None, Some("user:corp:ann"), None]);
    }

    #[test]
    fn uses_are_noted_across_rings() {
        let first = KeyRing::new([record(1), record(2)]);
        first.find(&key(1).0, 50);
        let mut second = KeyRing::new([record(1), record(3)]);
        second.succeed(&first);
        // A request that still holds the ring of before.
        first.find(&key(1).0, 60);
        second.find(&key(1).0, 55);
        assert_eq!(second.uses(), SortedMap::from([(record(1).id, 60)]));
        second.find(&key(3).0, 70);
        assert_eq!(second.uses(), SortedMap::from([(record(1).id, 60), (record(3).id, 70)]));
    }
}
