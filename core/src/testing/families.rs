//! What every store of token families has to pass, and what the store in memory notes of them.

use futures::FutureExt as _;
use futures::future::{self, BoxFuture, ready};

use super::MemoryStore;
use crate::control::StoreError;
use crate::ports::TokenFamilies;
use crate::sorted::SortedMap;

/// What a store in memory notes.
pub(super) type FamiliesHeld = SortedMap<String, String>;

impl TokenFamilies for MemoryStore {
    fn noted(&self, family: String) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        ready(self.held(|held| held.families.get(&family).cloned())).boxed()
    }

    fn note(
        &self,
        family: String,
        read: Option<String>,
        next: String,
        _until: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let written = self.held(|held| {
            let is_so = held.families.get(&family) == read.as_ref();
            if is_so {
                held.families.insert(family, next);
            }
            is_so
        });
        ready(written).boxed()
    }
}

/// Checks that a store notes of these two families, of which it has noted nothing, what [`TokenFamilies`] says, if they end
/// after `until`. Panics where it does not.
pub async fn token_families(store: &dyn TokenFamilies, families: [&str; 2], until: u64) {
    let [one, other] = families;
    let noted = async |family: &str| store.noted(family.to_owned()).await.expect("what is noted");
    let note = |read: Option<&str>, next: &str| {
        store.note(one.to_owned(), read.map(str::to_owned), next.to_owned(), until)
    };
    assert_eq!(noted(one).await, None, "nothing is noted at first");
    assert_eq!(note(Some("1"), "2").await, Ok(false), "another note was there");
    assert_eq!(noted(one).await, None, "what is not written changes nothing");
    assert_eq!(note(None, "1").await, Ok(true));
    assert_eq!(noted(one).await.as_deref(), Some("1"));
    assert_eq!(note(None, "2").await, Ok(false), "there is a note now");
    assert_eq!(note(Some("0"), "2").await, Ok(false), "it is another");
    assert_eq!(note(Some("1"), "it's \"2\" ✓").await, Ok(true));
    assert_eq!(noted(one).await.as_deref(), Some("it's \"2\" ✓"));
    assert_eq!(noted(other).await, None, "each family has its own");
    let attempts = (0..8).map(|attempt| {
        store.note(one.to_owned(), Some("it's \"2\" ✓".to_owned()), format!("writer {attempt}"), until)
    });
    let outcomes = future::join_all(attempts).await;
    let done = outcomes.iter().filter(|outcome| **outcome == Ok(true)).count();
    assert_eq!(done, 1, "of writes at once one is done: {outcomes:?}");
    let first = (0..8).map(|attempt| store.note(other.to_owned(), None, format!("writer {attempt}"), until));
    let outcomes = future::join_all(first).await;
    let done = outcomes.iter().filter(|outcome| **outcome == Ok(true)).count();
    assert_eq!(done, 1, "of the first writes at once one is done: {outcomes:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Memory, json_answer};

    #[test]
    fn a_store_in_memory_notes_families() {
        let host = Memory::new(|_| json_answer(404, ""));
        host.run(token_families(&MemoryStore::default(), ["a", "b"], u64::MAX));
    }
}
