//! Core's stores of configurations, keys, token families and records, on the database of the data folder.
//!
//! **Nothing stays open**: the admin API is used seldom, and so are sign-ins; and the file may be replaced meanwhile.

use std::path::PathBuf;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use portcullis_core::control::{Appended, Kept, Revision, Revoked, Stamp, StoreError};
use portcullis_core::identity::KeyRecord;
use portcullis_core::ports::{ConfigStore, KeyStore, RecordKey, RecordStore, TokenFamilies};
use tokio::task::spawn_blocking;

use crate::families::Families;
use crate::keys;
use crate::records::Records;
use crate::versions::Versions;

/// The stores of a data folder.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    /// The stores of that folder.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn versions<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Versions) -> anyhow::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let folder = self.folder.clone();
        apart(move || work(&Versions::make(&folder)?))
    }

    fn keys<T: Send + 'static>(
        &self,
        work: impl FnOnce(&keys::KeyStore) -> anyhow::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let folder = self.folder.clone();
        apart(move || work(&keys::KeyStore::make(&folder)?))
    }
}

/// Works where it keeps nobody waiting.
pub(crate) fn apart<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> BoxFuture<'static, Result<T, StoreError>> {
    let failed = |error: String| StoreError(format!("cannot be used: {error}"));
    async move {
        match spawn_blocking(work).await {
            Ok(done) => done.map_err(|error| failed(format!("{error:#}"))),
            Err(error) => Err(failed(error.to_string())),
        }
    }
    .boxed()
}

impl ConfigStore for Store {
    fn newest(&self) -> BoxFuture<'_, Result<Option<Revision>, StoreError>> {
        self.versions(Versions::newest)
    }

    fn revision(&self, version: u64) -> BoxFuture<'_, Result<Option<Revision>, StoreError>> {
        self.versions(move |versions| versions.revision(version))
    }

    fn history(&self, before: u64, most: usize) -> BoxFuture<'_, Result<Vec<Stamp>, StoreError>> {
        self.versions(move |versions| versions.history(before, most))
    }

    fn append(&self, next: Revision) -> BoxFuture<'_, Result<Appended, StoreError>> {
        self.versions(move |versions| versions.append(&next))
    }
}

impl KeyStore for Store {
    fn all(&self) -> BoxFuture<'_, Result<Vec<Kept>, StoreError>> {
        self.keys(keys::KeyStore::all)
    }

    fn add(&self, record: KeyRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        self.keys(move |keys| keys.add(&record))
    }

    fn revoke(&self, id: String, at: u64) -> BoxFuture<'_, Result<Revoked, StoreError>> {
        self.keys(move |keys| keys.revoke(&id, at))
    }
}

impl TokenFamilies for Store {
    fn noted(&self, family: String) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        let folder = self.folder.clone();
        apart(move || Families::make(&folder)?.noted(&family))
    }

    fn note(
        &self,
        family: String,
        read: Option<String>,
        next: String,
        until: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let folder = self.folder.clone();
        apart(move || Families::make(&folder)?.note(&family, read.as_deref(), &next, until))
    }
}

impl RecordStore for Store {
    fn get(&self, key: RecordKey) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        let folder = self.folder.clone();
        apart(move || Records::make(&folder)?.get(&key))
    }

    fn replace(
        &self,
        key: RecordKey,
        read: Option<String>,
        next: Option<String>,
        until: Option<u64>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let folder = self.folder.clone();
        apart(move || Records::make(&folder)?.replace(&key, (read.as_deref(), next.as_deref()), until))
    }

    fn page(
        &self,
        collection: &'static str,
        after: Option<String>,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>> {
        let folder = self.folder.clone();
        apart(move || Records::make(&folder)?.page(collection, after.as_deref(), most))
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::testing;

    use super::*;

    #[tokio::test]
    async fn the_database_keeps_what_stores_have_to_keep() {
        let folder = std::env::temp_dir().join(format!("portcullis-store-{}", std::process::id()));
        let store = Store::new(folder.clone());
        testing::config_store(&store).await;
        testing::key_store(&store).await;
        testing::token_families(&store, ["a", "b"], u64::MAX).await;
        testing::record_store(&store).await;
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_used_is_an_error() {
        let store = Store::new("/dev/null/portcullis".into());
        assert!(store.newest().await.unwrap_err().0.starts_with("cannot be used: "));
    }
}
