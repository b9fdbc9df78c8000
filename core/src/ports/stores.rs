//! Where things lie that outlive a request. What lies there is the gateway's own: a store keeps it, and compares.
//!
//! **A store is what its suite in `testing/` says**, on whichever host.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::control::{Appended, Kept, Revision, Revoked, Stamp, StoreError};
use crate::identity::KeyRecord;
use crate::oauth::connection::{ConnectionKey, ConnectionRecord, DataKey, Stored, Swapped, Version};
use crate::secrets::{Replacing, Secret, SecretName, SecretRecord, Values};

/// Where the configuration of a gateway lies that is configured from elsewhere: version after version, none of which is
/// ever changed or forgotten. `testing::config_store` is what every store has to pass.
pub trait ConfigStore: Send + Sync {
    /// Returns the newest version, which is the one in force; nothing where none was written.
    fn newest(&self) -> BoxFuture<'_, Result<Option<Revision>, StoreError>>;

    /// Returns one version; nothing where there is no such.
    fn revision(&self, version: u64) -> BoxFuture<'_, Result<Option<Revision>, StoreError>>;

    /// Returns at most that many of the versions before `before`, the newest first.
    fn history(&self, before: u64, most: usize) -> BoxFuture<'_, Result<Vec<Stamp>, StoreError>>;

    /// Writes `next` provided that the newest version is the one before it; of several that are written at once, one is.
    fn append(&self, next: Revision) -> BoxFuture<'_, Result<Appended, StoreError>>;
}

/// Where the API keys of a gateway lie. Only their hashes are kept. `testing::key_store` is what every store has to pass.
pub trait KeyStore: Send + Sync {
    /// Returns every key, also those that no longer count, the oldest first.
    fn all(&self) -> BoxFuture<'_, Result<Vec<Kept>, StoreError>>;

    /// Keeps another key.
    fn add(&self, record: KeyRecord) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Revokes a key by its id, once: a second time changes nothing.
    fn revoke(&self, id: String, at: u64) -> BoxFuture<'_, Result<Revoked, StoreError>>;
}

/// Where secrets lie that a configuration calls by name. `testing::secret_store` is what every store has to pass.
///
/// **No error repeats a value**, and no list has one.
pub trait SecretStore: Send + Sync {
    /// Returns what there is under a name; nothing where there is none.
    fn values(&self, name: SecretName) -> BoxFuture<'_, Result<Option<Values>, StoreError>>;

    /// Sets a secret, also where there was none; returns what is known of it then. A rotation of one that is not there
    /// does nothing, and returns nothing.
    fn set(
        &self,
        name: SecretName,
        value: Secret,
        replacing: Replacing,
        at: u64,
    ) -> BoxFuture<'_, Result<Option<SecretRecord>, StoreError>>;

    /// Returns what is known of every secret, by name.
    fn list(&self) -> BoxFuture<'_, Result<Vec<SecretRecord>, StoreError>>;

    /// Removes a secret; tells whether there was one.
    fn remove(&self, name: SecretName) -> BoxFuture<'_, Result<bool, StoreError>>;
}

/// Where connections lie: what users have at servers that ask for a token (ADR 0028). What is in one is sealed before it comes
/// here. `testing::connection_store` is what every store has to pass.
///
/// **What is written is there for every instance at once**: a swap sees what the last one wrote, wherever that was.
pub trait ConnectionStore: Send + Sync {
    /// Returns a connection as it was written last; nothing where there is none.
    fn get(&self, key: ConnectionKey) -> BoxFuture<'_, Result<Option<Stored>, StoreError>>;

    /// Puts `next` in the place of what has the version `expected`, and nothing where there is no next; of several at once,
    /// one does. Where nothing is expected, there has to be nothing.
    fn swap(
        &self,
        key: ConnectionKey,
        expected: Option<Version>,
        next: Option<Stored>,
    ) -> BoxFuture<'_, Result<Swapped, StoreError>>;

    /// Returns what is known of the connections of one principal, or of all, by key.
    fn list(&self, principal: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<ConnectionRecord>, StoreError>>;

    /// Removes all connections of a principal; returns how many there were.
    fn remove_all(&self, principal: Arc<str>) -> BoxFuture<'_, Result<usize, StoreError>>;
}

/// What wraps the keys under which connections are sealed, where that is not left to the gateway's seal keys.
/// `testing::key_wrap` is what every one has to pass.
///
/// **A key is wrapped for one connection, and unwrapped as that one's alone.**
pub trait KeyWrap: Send + Sync {
    /// Returns a new data key for a connection.
    fn generate(&self, key: ConnectionKey) -> BoxFuture<'_, Result<DataKey, StoreError>>;

    /// Returns the data key that was wrapped for a connection; nothing where it was not wrapped here, or not for that one.
    /// **That is for good**: its user has to connect anew. What may be otherwise at another time is an error.
    fn unwrap(
        &self,
        key: ConnectionKey,
        wrapped: String,
    ) -> BoxFuture<'_, Result<Option<DataKey>, StoreError>>;
}

/// Where it is noted how far families of tokens have come that the gateway has handed out, for all instances and for longer
/// than any of them lives. `testing::token_families` is what every store has to pass.
///
/// What a note says is the gateway's own; a store compares texts.
pub trait TokenFamilies: Send + Sync {
    /// Returns the note of a family; nothing where there is none.
    fn noted(&self, family: String) -> BoxFuture<'_, Result<Option<String>, StoreError>>;

    /// Writes the note of a family, provided that there is still the one that was read, or none; tells whether that was so.
    /// Of several that are written at once, one is. A note may be lost after `until`, in milliseconds since the Unix epoch.
    fn note(
        &self,
        family: String,
        read: Option<String>,
        next: String,
        until: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;
}

/// Where what the control plane notes lies: texts in collections, each by a key. `testing::record_store` is what every store
/// has to pass.
///
/// What a text says is the gateway's own; a store compares texts. A record may be lost after its `until`, in milliseconds
/// since the Unix epoch, and not before.
pub trait RecordStore: Send + Sync {
    /// Returns a record as it was written last; nothing where there is none.
    fn get(&self, key: RecordKey) -> BoxFuture<'_, Result<Option<String>, StoreError>>;

    /// Puts `next` in the place of the text that was read, or of none; removes the record where there is no next. Tells
    /// whether what was read was still there: of several that are written at once, one is.
    fn replace(
        &self,
        key: RecordKey,
        read: Option<String>,
        next: Option<String>,
        until: Option<u64>,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Returns at most that many records of a collection whose keys come after `after`, in the order of their keys' bytes.
    fn page(
        &self,
        collection: &'static str,
        after: Option<String>,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>>;
}

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordKey {
    /// What kind of record it is: lower-case letters and `-`.
    pub collection: &'static str,
    /// Which of them: at most 512 bytes, none of them a control character.
    pub key: String,
}

impl RecordKey {
    /// The key of a record.
    pub fn new(collection: &'static str, key: impl Into<String>) -> Self {
        Self { collection, key: key.into() }
    }
}
