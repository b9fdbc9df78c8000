//! The versions of a configuration that is pushed, in the database of the data folder.

use std::path::Path;

use portcullis_core::control::{Appended, Revision, Stamp};
use rusqlite::{OptionalExtension as _, Row, params};

use crate::database::{Database, signed};

/// The columns of a version.
const COLUMNS: &str = "version, at, by, note, digest, text";

/// The versions in a data folder.
pub(crate) struct Versions(pub(crate) Database);

impl Versions {
    /// Opens those of a data folder; makes room for some where there is none.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        Database::make(folder).map(Self)
    }

    /// Returns the newest.
    pub(crate) fn newest(&self) -> anyhow::Result<Option<Revision>> {
        let select = format!("SELECT {COLUMNS} FROM configurations ORDER BY version DESC LIMIT 1");
        Ok(self.0.connection.query_row(&select, [], revision).optional()?)
    }

    /// Returns one.
    pub(crate) fn revision(&self, version: u64) -> anyhow::Result<Option<Revision>> {
        let select = format!("SELECT {COLUMNS} FROM configurations WHERE version = ?1");
        Ok(self.0.connection.query_row(&select, [signed(version)], revision).optional()?)
    }

    /// Returns at most that many before `before`, the newest first.
    pub(crate) fn history(&self, before: u64, most: usize) -> anyhow::Result<Vec<Stamp>> {
        let select = "SELECT version, at, by, note, digest FROM configurations WHERE version < ?1 ORDER BY version DESC LIMIT ?2";
        let mut statement = self.0.connection.prepare_cached(select)?;
        let most = signed(u64::try_from(most).unwrap_or(u64::MAX));
        let stamps = statement.query_map(params![signed(before), most], stamp)?;
        Ok(stamps.collect::<rusqlite::Result<_>>()?)
    }

    /// Writes the next one.
    pub(crate) fn append(&self, next: &Revision) -> anyhow::Result<Appended> {
        let Revision { stamp: Stamp { version, at, by, note, digest }, text } = next;
        let insert = format!(
            "INSERT INTO configurations ({COLUMNS}) SELECT ?1, ?2, ?3, ?4, ?5, ?6 \
             WHERE (SELECT coalesce(max(version), 0) FROM configurations) = ?1 - 1 AND ?1 > 0"
        );
        let values = params![signed(*version), signed(*at), by, note, digest, text];
        if self.0.connection.execute(&insert, values)? > 0 {
            return Ok(Appended::Done);
        }
        Ok(Appended::Behind(self.newest()?.map_or(0, |newest| newest.stamp.version)))
    }
}

fn stamp(row: &Row<'_>) -> rusqlite::Result<Stamp> {
    Ok(Stamp {
        version: row.get::<_, i64>("version")?.unsigned_abs(),
        at: row.get::<_, i64>("at")?.unsigned_abs(),
        by: row.get("by")?,
        note: row.get("note")?,
        digest: row.get("digest")?,
    })
}

fn revision(row: &Row<'_>) -> rusqlite::Result<Revision> {
    Ok(Revision { stamp: stamp(row)?, text: row.get("text")? })
}
