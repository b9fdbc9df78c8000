//! What the control plane notes, in the database of the data folder.

use std::path::Path;

use portcullis_core::ports::RecordKey;
use portcullis_native::now;
use rusqlite::{OptionalExtension as _, params};

use crate::database::{Database, signed};

/// The records in a data folder.
pub(crate) struct Records(Database);

impl Records {
    /// Opens those of a data folder; makes room for some where there is none.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        Database::make(folder).map(Self)
    }

    /// Returns a record.
    pub(crate) fn get(&self, RecordKey { collection, key }: &RecordKey) -> anyhow::Result<Option<String>> {
        let select = "SELECT text FROM records WHERE collection = ?1 AND key = ?2";
        Ok(self.0.connection.query_row(select, [collection, &**key], |row| row.get(0)).optional()?)
    }

    /// Writes or removes a record where what was read is still there; tells whether it was.
    pub(crate) fn replace(
        &self,
        RecordKey { collection, key }: &RecordKey,
        (read, next): (Option<&str>, Option<&str>),
        until: Option<u64>,
    ) -> anyhow::Result<bool> {
        let connection = &self.0.connection;
        let until = until.map(signed);
        let written = match (read, next) {
            (None, Some(next)) => {
                // What is over makes room first.
                connection.execute("DELETE FROM records WHERE until <= ?1", [signed(now())])?;
                let insert = "INSERT INTO records (collection, key, text, until) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
                connection.execute(insert, params![collection, key, next, until])?
            }
            (Some(read), Some(next)) => {
                let update = "UPDATE records SET text = ?4, until = ?5 WHERE collection = ?1 AND key = ?2 AND text = ?3";
                connection.execute(update, params![collection, key, read, next, until])?
            }
            (Some(read), None) => {
                let delete = "DELETE FROM records WHERE collection = ?1 AND key = ?2 AND text = ?3";
                connection.execute(delete, [collection, &**key, read])?
            }
            (None, None) => return Ok(self.get(&RecordKey::new(collection, key.as_str()))?.is_none()),
        };
        Ok(written > 0)
    }

    /// Returns at most that many records of a collection after a key, in the order of their keys.
    pub(crate) fn page(
        &self,
        collection: &str,
        after: Option<&str>,
        most: usize,
    ) -> anyhow::Result<Vec<(String, String)>> {
        let select = "SELECT key, text FROM records WHERE collection = ?1 AND (?2 IS NULL OR key > ?2) ORDER BY key LIMIT ?3";
        let mut statement = self.0.connection.prepare_cached(select)?;
        let most = signed(u64::try_from(most).unwrap_or(u64::MAX));
        let rows =
            statement.query_map(params![collection, after, most], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
