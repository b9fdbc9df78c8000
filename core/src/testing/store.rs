//! A store in memory, and what every store has to pass.

use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use futures::future::{self, BoxFuture, ready};

use crate::control::{Appended, Kept, Revision, Revoked, Stamp, StoreError, digest};
use crate::identity::KeyRecord;
use crate::ports::{ConfigStore, KeyStore};
use crate::testing::connections::ConnectionsHeld;
use crate::testing::families::FamiliesHeld;
use crate::testing::key;
use crate::testing::records::RecordsHeld;
use crate::testing::secrets::SecretsHeld;
use crate::upstream::lock;

/// A store in memory; clones are the same one.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Held>>);

#[derive(Default)]
pub(super) struct Held {
    revisions: Vec<Revision>,
    keys: Vec<Kept>,
    pub(super) secrets: SecretsHeld,
    pub(super) families: FamiliesHeld,
    pub(super) connections: ConnectionsHeld,
    pub(super) records: RecordsHeld,
    trouble: Option<StoreError>,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl MemoryStore {
    /// Fails from now on, for this reason; with none, works again.
    pub fn fail(&self, reason: Option<&str>) {
        lock(&self.0).trouble = reason.map(|reason| StoreError(reason.to_owned()));
    }

    pub(super) fn held<T>(&self, work: impl FnOnce(&mut Held) -> T) -> Result<T, StoreError> {
        let mut held = lock(&self.0);
        match &held.trouble {
            Some(trouble) => Err(trouble.clone()),
            None => Ok(work(&mut held)),
        }
    }
}

impl ConfigStore for MemoryStore {
    fn newest(&self) -> BoxFuture<'_, Result<Option<Revision>, StoreError>> {
        ready(self.held(|held| held.revisions.last().cloned())).boxed()
    }

    fn revision(&self, version: u64) -> BoxFuture<'_, Result<Option<Revision>, StoreError>> {
        let is_it = |one: &&Revision| one.stamp.version == version;
        ready(self.held(|held| held.revisions.iter().find(is_it).cloned())).boxed()
    }

    fn history(&self, before: u64, most: usize) -> BoxFuture<'_, Result<Vec<Stamp>, StoreError>> {
        let is_before = |one: &&Revision| one.stamp.version < before;
        let stamps = self.held(|held| {
            let newest_first = held.revisions.iter().rev().filter(is_before);
            newest_first.take(most).map(|one| one.stamp.clone()).collect()
        });
        ready(stamps).boxed()
    }

    fn append(&self, next: Revision) -> BoxFuture<'_, Result<Appended, StoreError>> {
        let appended = self.held(|held| {
            let newest = held.revisions.last().map_or(0, |one| one.stamp.version);
            if next.stamp.version != newest + 1 {
                return Appended::Behind(newest);
            }
            held.revisions.push(next);
            Appended::Done
        });
        ready(appended).boxed()
    }
}

impl KeyStore for MemoryStore {
    fn all(&self) -> BoxFuture<'_, Result<Vec<Kept>, StoreError>> {
        ready(self.held(|held| held.keys.clone())).boxed()
    }

    fn add(&self, record: KeyRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(self.held(|held| held.keys.push(Kept { record, used: None }))).boxed()
    }

    fn revoke(&self, id: String, at: u64) -> BoxFuture<'_, Result<Revoked, StoreError>> {
        let revoked = self.held(|held| match held.keys.iter_mut().find(|kept| *kept.record.id == *id) {
            None => Revoked::Unknown,
            Some(kept) if kept.record.revoked.is_some() => Revoked::Before,
            Some(kept) => {
                kept.record.revoked = Some(at);
                Revoked::Now
            }
        });
        ready(revoked).boxed()
    }
}

/// Checks that an empty store keeps configurations as [`ConfigStore`] says. Panics where it does not.
pub async fn config_store(store: &dyn ConfigStore) {
    assert_eq!(store.newest().await, Ok(None), "an empty store has no version");
    assert_eq!(store.revision(1).await, Ok(None));
    assert_eq!(store.history(u64::MAX, 10).await, Ok(Vec::new()));
    for (wrong, newest) in [(0, 0), (2, 0)] {
        assert_eq!(
            store.append(revision(wrong)).await,
            Ok(Appended::Behind(newest)),
            "version {wrong} is not next"
        );
    }
    for version in 1..=5 {
        assert_eq!(store.append(revision(version)).await, Ok(Appended::Done));
        assert_eq!(store.newest().await, Ok(Some(revision(version))));
    }
    for wrong in [1, 5, 7] {
        assert_eq!(
            store.append(revision(wrong)).await,
            Ok(Appended::Behind(5)),
            "version {wrong} is not next"
        );
    }
    for version in 1..=5 {
        assert_eq!(store.revision(version).await, Ok(Some(revision(version))), "nothing is forgotten");
    }
    assert_eq!(store.revision(0).await, Ok(None));
    assert_eq!(store.revision(6).await, Ok(None));
    let versions = |stamps: Result<Vec<Stamp>, StoreError>| {
        stamps.expect("stamps").iter().map(|stamp| stamp.version).collect::<Vec<_>>()
    };
    assert_eq!(versions(store.history(u64::MAX, 2).await), [5, 4]);
    assert_eq!(versions(store.history(4, 10).await), [3, 2, 1]);
    assert_eq!(versions(store.history(1, 10).await), [0; 0]);
    assert_eq!(store.history(2, 1).await, Ok(vec![revision(1).stamp]));
    only_one_of_many_writes(store).await;
}

async fn only_one_of_many_writes(store: &dyn ConfigStore) {
    let attempts = (0..8).map(|attempt| {
        let mut next = revision(6);
        next.stamp.by = format!("writer {attempt}");
        store.append(next)
    });
    let outcomes = future::join_all(attempts).await;
    let done = outcomes.iter().filter(|outcome| **outcome == Ok(Appended::Done)).count();
    assert_eq!(done, 1, "of writes at once one is done: {outcomes:?}");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Appended::Done | Appended::Behind(6)))));
    assert_eq!(store.revision(7).await, Ok(None));
}

/// Checks that an empty store keeps API keys as [`KeyStore`] says. Panics where it does not.
pub async fn key_store(store: &dyn KeyStore) {
    assert_eq!(store.all().await, Ok(Vec::new()), "an empty store has no key");
    let commented = KeyRecord {
        expires: Some(99),
        comment: Some("Ana's \"laptop\" ✓\n".to_owned()),
        owner: Some("user:corp:it's ana ✓".into()),
        created_by: Some("admin".into()),
        created: 2,
        ..key(2).1
    };
    let records = [KeyRecord { created: 1, ..key(1).1 }, commented];
    for record in &records {
        assert_eq!(store.add(record.clone()).await, Ok(()));
    }
    let kept =
        async || store.all().await.expect("keys").into_iter().map(|kept| kept.record).collect::<Vec<_>>();
    assert_eq!(kept().await, records);
    let id = || records[0].id.to_string();
    assert_eq!(store.revoke("0000000000".to_owned(), 5).await, Ok(Revoked::Unknown));
    assert_eq!(store.revoke(id(), 7).await, Ok(Revoked::Now));
    assert_eq!(store.revoke(id(), 8).await, Ok(Revoked::Before));
    assert_eq!(kept().await[0].revoked, Some(7), "the first time counts");
    assert_eq!(kept().await[1], records[1]);
}

fn revision(version: u64) -> Revision {
    let text = format!("{{\"files\":{{\"portcullis.yaml\":\"# {version} ✓\\nversion: 1\\n\"}}}}");
    let note = if version.is_multiple_of(2) { String::new() } else { format!("it's \"{version}\"") };
    let stamp = Stamp {
        version,
        at: 1_800_000_000_000 + version,
        by: "somebody".into(),
        note,
        digest: digest(&text),
    };
    Revision { stamp, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Memory, json_answer};

    #[test]
    fn a_store_in_memory_is_one() {
        let host = Memory::new(|_| json_answer(404, ""));
        host.run(async {
            config_store(&MemoryStore::default()).await;
            key_store(&MemoryStore::default()).await;
        });
    }

    #[test]
    fn a_store_that_fails_says_why() {
        let host = Memory::new(|_| json_answer(404, ""));
        let store = MemoryStore::default();
        store.fail(Some("is away"));
        assert_eq!(host.run(store.newest()), Err(StoreError("is away".into())));
        store.fail(None);
        assert_eq!(host.run(store.newest()), Ok(None));
    }
}
