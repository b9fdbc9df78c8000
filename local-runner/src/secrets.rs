//! The secrets of this machine's gateways, in the database of the data folder.
//!
//! **Values are sealed with the gateway's own keys** before they are written: whoever reads the database alone can use nothing
//! of it. A value that no key of here opens is an error, never an empty one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use futures::future::BoxFuture;
use portcullis_core::SealKeys;
use portcullis_core::control::StoreError;
use portcullis_core::ports::SecretStore;
use portcullis_core::secrets::{Replacing, Secret, SecretName, SecretRecord, Values, Vault};
use rusqlite::{OptionalExtension as _, Row, params};

use crate::database::{Database, signed};
use crate::host::Machine;
use crate::store::apart;

/// What is read of a secret besides its value.
const COLUMNS: &str = "name, version, created, changed, previous IS NOT NULL AS has_previous";

/// The secrets of a data folder.
#[derive(Debug, Clone)]
pub(crate) struct Safe {
    folder: PathBuf,
    vault: Arc<Vault>,
}

impl Safe {
    /// Those of a folder, sealed by these keys.
    pub(crate) fn new(folder: &Path, keys: &SealKeys) -> Self {
        Self { folder: folder.to_owned(), vault: Arc::new(Vault::new(keys)) }
    }

    fn open(&self) -> anyhow::Result<Database> {
        Database::make(&self.folder)
    }

    fn read(&self, name: &SecretName) -> anyhow::Result<Option<Values>> {
        let Some(database) = Database::find(&self.folder)? else { return Ok(None) };
        let select = "SELECT version, current, previous FROM secrets WHERE name = ?1";
        let row = database.connection.query_row(select, [name.as_str()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<String>>(2)?))
        });
        let Some((version, current, previous)) = row.optional()? else { return Ok(None) };
        let Some(current) = self.vault.open(name, &current) else {
            bail!(
                "the secret {:?} was sealed by a key that is not here: set PORTCULLIS_SEAL_KEY to what it was, or set the \
                 secret again",
                name.as_str()
            );
        };
        let previous = previous.and_then(|previous| self.vault.open(name, &previous));
        Ok(Some(Values { current, previous, version: version.to_string() }))
    }

    fn write(
        &self,
        name: &SecretName,
        value: &Secret,
        replacing: Replacing,
        at: u64,
    ) -> anyhow::Result<Option<SecretRecord>> {
        let mut database = self.open()?;
        let sealed = self.vault.seal(&Machine::new(), name, value);
        let writing = database.connection.transaction()?;
        let statement = match replacing {
            Replacing::AtOnce => {
                "INSERT INTO secrets (name, version, current, created, changed) VALUES (?1, 1, ?2, ?3, ?3) \
                 ON CONFLICT (name) DO UPDATE SET version = version + 1, current = ?2, previous = NULL, changed = ?3"
            }
            Replacing::Rotating => {
                "UPDATE secrets SET version = version + 1, previous = current, current = ?2, changed = ?3 WHERE name = ?1"
            }
        };
        if writing.execute(statement, params![name.as_str(), sealed, signed(at)])? == 0 {
            return Ok(None);
        }
        let select = format!("SELECT {COLUMNS} FROM secrets WHERE name = ?1");
        let written = writing.query_row(&select, [name.as_str()], record)?;
        writing.commit()?;
        Ok(Some(written))
    }

    fn erase(&self, name: &SecretName) -> anyhow::Result<bool> {
        let Some(database) = Database::find(&self.folder)? else { return Ok(false) };
        Ok(database.connection.execute("DELETE FROM secrets WHERE name = ?1", [name.as_str()])? > 0)
    }

    fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> anyhow::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let safe = self.clone();
        apart(move || work(&safe))
    }
}

/// Returns what is known of the secrets in a data folder, by name.
pub(crate) fn list(folder: &Path) -> anyhow::Result<Vec<SecretRecord>> {
    find(folder).map(Option::unwrap_or_default)
}

/// Returns the same, or nothing where no gateway has kept anything in the folder.
pub(crate) fn find(folder: &Path) -> anyhow::Result<Option<Vec<SecretRecord>>> {
    Database::find(folder)?.map(|database| listed(&database)).transpose()
}

/// Returns what is known of the secrets in a database, by name.
fn listed(database: &Database) -> anyhow::Result<Vec<SecretRecord>> {
    let mut statement =
        database.connection.prepare(&format!("SELECT {COLUMNS} FROM secrets ORDER BY name"))?;
    let records = statement.query_map([], record)?.collect::<rusqlite::Result<_>>();
    records.context("the secrets cannot be read")
}

/// What tells whether a secret has changed.
pub(crate) type Seen = BTreeMap<SecretName, (String, Option<u64>)>;

/// Returns what tells later whether a secret of the database has changed.
pub(crate) fn seen(database: &Database) -> anyhow::Result<Seen> {
    let records = listed(database)?.into_iter();
    Ok(records.map(|record| (record.name, (record.version, record.changed))).collect())
}

/// Returns the names of the secrets that are not what they were.
pub(crate) fn changed(before: &Seen, now: &Seen) -> Vec<SecretName> {
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    let other = now.iter().filter(|(name, seen)| before.get(*name) != Some(*seen)).map(|(name, _)| name);
    gone.chain(other).cloned().collect()
}

fn record(row: &Row<'_>) -> rusqlite::Result<SecretRecord> {
    let time = |column: &str| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let name: String = row.get("name")?;
    let odd =
        |error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error));
    Ok(SecretRecord {
        name: SecretName::parse(&name).map_err(odd)?,
        version: row.get::<_, i64>("version")?.to_string(),
        created: Some(time("created")?),
        changed: Some(time("changed")?),
        has_previous: row.get("has_previous")?,
    })
}

impl SecretStore for Safe {
    fn values(&self, name: SecretName) -> BoxFuture<'_, Result<Option<Values>, StoreError>> {
        self.with(move |safe| safe.read(&name))
    }

    fn set(
        &self,
        name: SecretName,
        value: Secret,
        replacing: Replacing,
        at: u64,
    ) -> BoxFuture<'_, Result<Option<SecretRecord>, StoreError>> {
        self.with(move |safe| safe.write(&name, &value, replacing, at))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<SecretRecord>, StoreError>> {
        self.with(|safe| list(&safe.folder))
    }

    fn remove(&self, name: SecretName) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.with(move |safe| safe.erase(&name))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use portcullis_core::testing;

    use super::*;

    /// A data folder of its own, which goes with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("portcullis-secrets-{name}-{}", std::process::id()));
            Self(folder)
        }

        fn safe(&self, first: u8, others: &[u8]) -> Safe {
            let others = others.iter().map(|key| [*key; 32]).collect();
            Safe::new(&self.0, &SealKeys { first: [first; 32], others })
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn name() -> SecretName {
        SecretName::parse("prod/tickets").unwrap()
    }

    fn secret(value: &str) -> Secret {
        Secret::new(value.into()).unwrap()
    }

    #[tokio::test]
    async fn the_database_keeps_what_stores_of_secrets_have_to_keep() {
        let folder = Folder::new("suite");
        testing::secret_store(&folder.safe(1, &[])).await;
    }

    #[test]
    fn a_rotated_seal_key_opens_what_was_sealed_before() {
        let folder = Folder::new("rotation");
        folder.safe(1, &[]).write(&name(), &secret("s3cret-value"), Replacing::AtOnce, 1).unwrap();
        let current =
            |safe: Safe| safe.read(&name()).map(|values| values.unwrap().current.reveal().to_owned());
        assert_eq!(current(folder.safe(2, &[1])).unwrap(), "s3cret-value");
        let error = current(folder.safe(2, &[])).unwrap_err().to_string();
        assert!(error.contains("sealed by a key that is not here"), "{error}");
        let whole = fs::read(folder.0.join(crate::database::FILE)).unwrap();
        assert!(!String::from_utf8_lossy(&whole).contains("s3cret-value"));
    }

    #[test]
    fn a_value_cannot_be_moved_to_another_name() {
        let folder = Folder::new("moved");
        folder.safe(1, &[]).write(&name(), &secret("a"), Replacing::AtOnce, 1).unwrap();
        let update = "UPDATE secrets SET name = 'other'";
        Database::make(&folder.0).unwrap().connection.execute(update, []).unwrap();
        assert!(folder.safe(1, &[]).read(&SecretName::parse("other").unwrap()).is_err());
    }

    #[test]
    fn what_changes_is_seen() {
        let folder = Folder::new("seen");
        let safe = folder.safe(1, &[]);
        let look = || seen(&Database::make(&folder.0).unwrap()).unwrap();
        let nothing = look();
        safe.write(&name(), &secret("a"), Replacing::AtOnce, 1).unwrap();
        let one = look();
        safe.write(&name(), &secret("b"), Replacing::Rotating, 1).unwrap();
        let two = look();
        assert_eq!(changed(&nothing, &nothing), []);
        for (before, now) in [(&nothing, &one), (&one, &two), (&two, &nothing)] {
            assert_eq!(changed(before, now), [name()]);
        }
    }
}
