//! What every store of records has to pass, and what the store in memory keeps of them.

use futures::FutureExt as _;
use futures::future::{self, BoxFuture, ready};

use super::MemoryStore;
use crate::control::StoreError;
use crate::ports::{RecordKey, RecordStore};
use crate::sorted::SortedMap;

/// What a store in memory keeps.
pub(super) type RecordsHeld = SortedMap<RecordKey, String>;

impl RecordStore for MemoryStore {
    fn get(&self, key: RecordKey) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        ready(self.held(|held| held.records.get(&key).cloned())).boxed()
    }

    fn replace(
        &self,
        key: RecordKey,
        read: Option<String>,
        next: Option<String>,
        _until: Option<u64>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let written = self.held(|held| {
            let is_so = held.records.get(&key) == read.as_ref();
            match next {
                _ if !is_so => {}
                Some(next) => drop(held.records.insert(key, next)),
                None => drop(held.records.remove(&key)),
            }
            is_so
        });
        ready(written).boxed()
    }

    fn page(
        &self,
        collection: &'static str,
        after: Option<String>,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>> {
        let is_wanted = |key: &RecordKey| {
            key.collection == collection && after.as_ref().is_none_or(|after| key.key > *after)
        };
        let page = self.held(|held| {
            let wanted = held.records.iter().filter(|(key, _)| is_wanted(key));
            wanted.take(most).map(|(key, text)| (key.key.clone(), text.clone())).collect()
        });
        ready(page).boxed()
    }
}

/// Checks that a store without records of the collections `test` and `other` keeps them as [`RecordStore`] says. Panics where
/// it does not.
pub async fn record_store(store: &dyn RecordStore) {
    let key = |key: &str| RecordKey::new("test", key);
    let get = async |name: &str| store.get(key(name)).await.expect("a record");
    let replace = async |name: &str, read: Option<&str>, next: Option<&str>| {
        let (read, next) = (read.map(str::to_owned), next.map(str::to_owned));
        store.replace(key(name), read, next, None).await.expect("a write")
    };
    assert_eq!(get("a").await, None, "there is nothing at first");
    assert!(!replace("a", Some("1"), Some("2")).await, "there was nothing to replace");
    assert!(!replace("a", Some("1"), None).await, "there was nothing to remove");
    assert!(replace("a", None, Some("it's \"1\" ✓")).await);
    assert!(!replace("a", None, Some("2")).await, "there is a record now");
    assert_eq!(get("a").await.as_deref(), Some("it's \"1\" ✓"));
    assert!(replace("a", Some("it's \"1\" ✓"), Some("2")).await);
    assert!(!replace("a", Some("1"), None).await, "it is another");
    assert!(replace("a", Some("2"), None).await);
    assert_eq!(get("a").await, None, "it is gone");
    pages(store).await;
    let kept = RecordKey::new("test", "kept");
    assert_eq!(store.replace(kept.clone(), None, Some("1".into()), Some(u64::MAX / 2)).await, Ok(true));
    assert_eq!(store.get(kept).await, Ok(Some("1".into())), "its time is not over");
    let attempts =
        (0..8).map(|attempt| store.replace(key("race"), None, Some(format!("writer {attempt}")), None));
    let outcomes = future::join_all(attempts).await;
    let done = outcomes.iter().filter(|outcome| **outcome == Ok(true)).count();
    assert_eq!(done, 1, "of writes at once one is done: {outcomes:?}");
}

async fn pages(store: &dyn RecordStore) {
    for name in ["b", "a/ä", "a/b", "Z", "c"] {
        assert_eq!(
            store.replace(RecordKey::new("other", name), None, Some(name.into()), None).await,
            Ok(true)
        );
    }
    let page = async |after: Option<&str>, most| {
        let page = store.page("other", after.map(str::to_owned), most).await.expect("a page");
        page.into_iter()
            .map(|(key, text)| if key == text { key } else { format!("{key}: {text}") })
            .collect::<Vec<_>>()
    };
    assert_eq!(page(None, 100).await, ["Z", "a/b", "a/ä", "b", "c"]);
    assert_eq!(page(None, 2).await, ["Z", "a/b"]);
    assert_eq!(page(Some("a/b"), 2).await, ["a/ä", "b"]);
    assert_eq!(page(Some("a/c"), 1).await, ["a/ä"], "where to go on need not be there");
    assert!(page(Some("c"), 2).await.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Memory, json_answer};

    #[test]
    fn a_store_in_memory_keeps_records() {
        let host = Memory::new(|_| json_answer(404, ""));
        host.run(record_store(&MemoryStore::default()));
    }
}
