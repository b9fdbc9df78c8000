//! The connections of this machine's users, in the database of the data folder.
//!
//! **Of several processes that swap, one is first**: it waits for its turn to write before it reads. What is in a connection is
//! sealed before it comes here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use futures::future::BoxFuture;
use portcullis_core::control::StoreError;
use portcullis_core::oauth::connection::{ConnectionKey, ConnectionRecord, Stored, Swapped, Version};
use portcullis_core::ports::ConnectionStore;
use rusqlite::{OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use crate::database::Database;
use crate::store::apart;

/// The connections of a data folder.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    folder: PathBuf,
}

impl Connections {
    /// Those of a folder.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn read(&self, key: &ConnectionKey) -> anyhow::Result<Option<Stored>> {
        let Some(database) = Database::find(&self.folder)? else { return Ok(None) };
        found(&database.connection, key)
    }

    fn write(
        &self,
        key: &ConnectionKey,
        expected: Option<Version>,
        next: Option<&Stored>,
    ) -> anyhow::Result<Swapped> {
        let mut database = Database::make(&self.folder)?;
        // It waits for its turn to write before it reads.
        let writing = database.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = found(&writing, key)?;
        if before.as_ref().map(|stored| stored.version) != expected {
            return Ok(Swapped::Changed(before));
        }
        match next {
            Some(next) => put(&writing, key, next)?,
            None => {
                writing.execute("DELETE FROM connections WHERE key = ?1", [key.digest()])?;
            }
        }
        writing.commit()?;
        Ok(Swapped::Done)
    }

    fn erase(&self, principal: &str) -> anyhow::Result<usize> {
        let Some(database) = Database::find(&self.folder)? else { return Ok(0) };
        Ok(database.connection.execute("DELETE FROM connections WHERE principal = ?1", [principal])?)
    }

    fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> anyhow::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let connections = self.clone();
        apart(move || work(&connections))
    }
}

/// Returns what is known of the connections in a data folder, of one principal or of all, by key.
pub(crate) fn list(folder: &Path, principal: Option<&str>) -> anyhow::Result<Vec<ConnectionRecord>> {
    let Some(database) = Database::find(folder)? else { return Ok(Vec::new()) };
    let select = "SELECT record FROM connections WHERE ?1 IS NULL OR principal = ?1";
    let mut statement = database.connection.prepare(select)?;
    let texts = statement.query_map([principal], |row| row.get::<_, String>(0))?;
    let mut records = Vec::new();
    for text in texts {
        records
            .push(serde_json::from_str::<ConnectionRecord>(&text?).context("a connection cannot be read")?);
    }
    records.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(records)
}

fn found(connection: &rusqlite::Connection, key: &ConnectionKey) -> anyhow::Result<Option<Stored>> {
    let texts = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?));
    let select = "SELECT version, record, sealed FROM connections WHERE key = ?1";
    let row = connection.query_row(select, [key.digest()], texts).optional()?;
    let Some((version, record, sealed)) = row else { return Ok(None) };
    let record = serde_json::from_str(&record).context("a connection cannot be read")?;
    Ok(Some(Stored { version: Version::parse(&version)?, record, sealed }))
}

fn put(writing: &Transaction<'_>, key: &ConnectionKey, next: &Stored) -> anyhow::Result<()> {
    let insert = "INSERT OR REPLACE INTO connections (key, principal, version, record, sealed) VALUES (?1, ?2, ?3, ?4, ?5)";
    let record = serde_json::to_string(&next.record)?;
    let values = params![key.digest(), &*key.principal, next.version.to_string(), record, next.sealed];
    writing.execute(insert, values)?;
    Ok(())
}

impl ConnectionStore for Connections {
    fn get(&self, key: ConnectionKey) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        self.with(move |connections| connections.read(&key))
    }

    fn swap(
        &self,
        key: ConnectionKey,
        expected: Option<Version>,
        next: Option<Stored>,
    ) -> BoxFuture<'_, Result<Swapped, StoreError>> {
        self.with(move |connections| connections.write(&key, expected, next.as_ref()))
    }

    fn list(&self, principal: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<ConnectionRecord>, StoreError>> {
        self.with(move |connections| list(&connections.folder, principal.as_deref()))
    }

    fn remove_all(&self, principal: Arc<str>) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.with(move |connections| connections.erase(&principal))
    }
}

#[cfg(test)]
mod tests;
