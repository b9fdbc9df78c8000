//! Secrets in memory, and what every store of secrets has to pass.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::MemoryStore;
use crate::control::StoreError;
use crate::ports::SecretStore;
use crate::secrets::{LONGEST_VALUE, Replacing, Secret, SecretName, SecretRecord, Values};
use crate::sorted::SortedMap;

/// What a store in memory has.
#[derive(Default)]
pub(super) struct SecretsHeld {
    by_name: SortedMap<SecretName, (SecretRecord, Values)>,
    written: u64,
    reads: usize,
}

impl MemoryStore {
    /// Returns how often values have been read since the last time.
    pub fn secret_reads(&self) -> usize {
        self.held(|held| std::mem::take(&mut held.secrets.reads)).unwrap_or_default()
    }

    /// Sets a secret to a text.
    pub fn put_secret(&self, name: &str, value: &str, replacing: Replacing) {
        let (name, value) = (name_of(name), secret(value));
        let _ = self.held(|held| held.secrets.set(name, value, replacing, 1));
    }
}

impl SecretsHeld {
    fn set(
        &mut self,
        name: SecretName,
        value: Secret,
        replacing: Replacing,
        at: u64,
    ) -> Option<SecretRecord> {
        let before = self.by_name.get(&name);
        if before.is_none() && replacing == Replacing::Rotating {
            return None;
        }
        self.written += 1;
        let version = self.written.to_string();
        let kept =
            before.filter(|_| replacing == Replacing::Rotating).map(|(_, values)| values.current.clone());
        let record = SecretRecord {
            name: name.clone(),
            version: version.clone(),
            created: before.map_or(Some(at), |(record, _)| record.created),
            changed: Some(at),
            has_previous: kept.is_some(),
        };
        self.by_name.insert(name, (record.clone(), Values { current: value, previous: kept, version }));
        Some(record)
    }
}

impl SecretStore for MemoryStore {
    fn values(&self, name: SecretName) -> BoxFuture<'_, Result<Option<Values>, StoreError>> {
        async move {
            // As others, it takes a while.
            let mut waited = false;
            futures::future::poll_fn(|context| {
                if std::mem::replace(&mut waited, true) {
                    return std::task::Poll::Ready(());
                }
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            })
            .await;
            self.held(|held| {
                held.secrets.reads += 1;
                held.secrets.by_name.get(&name).map(|(_, values)| values.clone())
            })
        }
        .boxed()
    }

    fn set(
        &self,
        name: SecretName,
        value: Secret,
        replacing: Replacing,
        at: u64,
    ) -> BoxFuture<'_, Result<Option<SecretRecord>, StoreError>> {
        let record = self.held(|held| held.secrets.set(name, value, replacing, at));
        std::future::ready(record).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<SecretRecord>, StoreError>> {
        let records =
            self.held(|held| held.secrets.by_name.values().map(|(record, _)| record.clone()).collect());
        std::future::ready(records).boxed()
    }

    fn remove(&self, name: SecretName) -> BoxFuture<'_, Result<bool, StoreError>> {
        let removed = self.held(|held| held.secrets.by_name.remove(&name).is_some());
        std::future::ready(removed).boxed()
    }
}

fn secret(value: &str) -> Secret {
    Secret::new(value.to_owned()).expect("a value")
}

fn name_of(name: &str) -> SecretName {
    SecretName::parse(name).expect("a name")
}

/// Checks that an empty store keeps secrets as [`SecretStore`] says. Panics where it does not.
pub async fn secret_store(store: &dyn SecretStore) {
    let (name, other) = (name_of("prod/tickets.key-1"), name_of("a"));
    let values = async |name: &SecretName| store.values(name.clone()).await.expect("the store can be read");
    assert_eq!(store.list().await, Ok(Vec::new()), "an empty store has no secret");
    assert!(values(&name).await.is_none());
    assert_eq!(store.remove(name.clone()).await, Ok(false));
    let rotated = store.set(name.clone(), secret("x"), Replacing::Rotating, 1).await;
    assert_eq!(rotated, Ok(None), "there is nothing to rotate");
    assert!(values(&name).await.is_none(), "and so nothing is kept");

    let set = async |name: &SecretName, value: &str, replacing, at| {
        let record = store.set(name.clone(), secret(value), replacing, at).await;
        record.expect("the store can be written").expect("there is one now")
    };
    let expect = async |current: &str, previous: Option<&str>, record: &SecretRecord| {
        let values = values(&name).await.expect("it is there");
        assert_eq!(values.current.reveal(), current);
        assert_eq!(values.previous.as_ref().map(Secret::reveal), previous);
        assert_eq!((&record.name, &record.version), (&name, &values.version));
        assert_eq!(record.has_previous, previous.is_some());
    };
    let odd = " s3cret \"ü\"\n";
    let first = set(&name, odd, Replacing::AtOnce, 10).await;
    expect(odd, None, &first).await;
    let second = set(&name, "second", Replacing::Rotating, 20).await;
    expect("second", Some(odd), &second).await;
    assert_ne!(first.version, second.version);
    let third = set(&name, "third", Replacing::Rotating, 30).await;
    expect("third", Some("second"), &third).await;
    let longest = "x".repeat(LONGEST_VALUE);
    let fourth = set(&name, &longest, Replacing::AtOnce, 40).await;
    expect(&longest, None, &fourth).await;

    let of_other = set(&other, "other", Replacing::AtOnce, 50).await;
    assert_eq!(store.list().await, Ok(vec![of_other.clone(), fourth.clone()]), "all of them, by name");
    assert_eq!(store.remove(name.clone()).await, Ok(true));
    assert_eq!(store.remove(name.clone()).await, Ok(false));
    assert!(values(&name).await.is_none());
    assert_eq!(store.list().await, Ok(vec![of_other]));
    let again = set(&name, "again", Replacing::AtOnce, 60).await;
    expect("again", None, &again).await;
    let before = [first, second, third, fourth].map(|record| (record.version, record.changed));
    assert!(!before.contains(&(again.version, again.changed)), "what is set anew is known to be another");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Memory, json_answer};

    #[test]
    fn a_store_in_memory_is_one() {
        let host = Memory::new(|_| json_answer(404, ""));
        host.run(secret_store(&MemoryStore::default()));
    }
}
