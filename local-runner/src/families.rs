//! How far families of tokens have come that a gateway has handed out, in the database of the data folder.

use std::path::Path;

use portcullis_native::now;
use rusqlite::{OptionalExtension as _, params};

use crate::database::{Database, signed};

/// The notes in a data folder.
pub(crate) struct Families(Database);

impl Families {
    /// Opens those of a data folder; makes room for some where there is none.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        Database::make(folder).map(Self)
    }

    /// Returns the note of a family.
    pub(crate) fn noted(&self, family: &str) -> anyhow::Result<Option<String>> {
        let select = "SELECT note FROM token_families WHERE family = ?1";
        Ok(self.0.connection.query_row(select, [family], |row| row.get(0)).optional()?)
    }

    /// Writes the note of a family in place of the one that was read; tells whether that was still there.
    pub(crate) fn note(
        &self,
        family: &str,
        read: Option<&str>,
        next: &str,
        until: u64,
    ) -> anyhow::Result<bool> {
        let until = signed(until);
        let written = match read {
            None => {
                // What is over makes room first.
                self.0.connection.execute("DELETE FROM token_families WHERE until <= ?1", [signed(now())])?;
                let insert = "INSERT INTO token_families (family, note, until) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
                self.0.connection.execute(insert, params![family, next, until])?
            }
            Some(read) => {
                let update =
                    "UPDATE token_families SET note = ?3, until = ?4 WHERE family = ?1 AND note = ?2";
                self.0.connection.execute(update, params![family, read, next, until])?
            }
        };
        Ok(written > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_outlive_who_wrote_them_and_end_in_time() {
        let folder = std::env::temp_dir().join(format!("portcullis-families-{}", std::process::id()));
        let families = || Families::make(&folder).unwrap();
        assert!(families().note("old", None, "1", now()).unwrap());
        assert_eq!(families().noted("old").unwrap().as_deref(), Some("1"));
        assert!(families().note("new", None, "1", u64::MAX).unwrap());
        assert_eq!(families().noted("old").unwrap(), None, "it was over");
        assert!(families().note("new", Some("1"), "2", u64::MAX).unwrap());
        assert!(families().note("other", None, "1", u64::MAX).unwrap());
        assert_eq!(families().noted("new").unwrap().as_deref(), Some("2"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
