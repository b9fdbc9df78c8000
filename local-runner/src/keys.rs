//! The API keys of this machine's gateways: where they are kept, and how a gateway that runs hears of them.
//!
//! **Only hashes are kept**: whoever reads the database can use no key of it. It is looked at, not waited for, as the
//! configuration is: whatever process makes or revokes a key, each gateway of the data folder knows within a second. It
//! hears by the same look which secrets have changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use portcullis_core::Gateway;
use portcullis_core::control::{Kept, Revoked};
use portcullis_core::identity::{ApiKey, KeyHash, KeyRecord, KeyRing};
use portcullis_core::secrets::SecretName;
use portcullis_core::sorted::SortedMap;
use portcullis_native::now;
use rusqlite::{OptionalExtension as _, Row, params};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::database::{Database, signed};
use crate::host::Machine;
use crate::instances::Instances;
use crate::secrets::{self, Seen};

/// How often the database is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is written when keys were used.
const NOTE: Duration = Duration::from_secs(10);
/// The keys of a data folder. Times are in milliseconds since the Unix epoch.
pub(crate) struct KeyStore(Database);

impl KeyStore {
    /// Opens the store of a data folder; makes one where there is none.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        Database::make(folder).map(Self)
    }

    /// Opens the store of a data folder where there is one.
    pub(crate) fn find(folder: &Path) -> anyhow::Result<Option<Self>> {
        Ok(Database::find(folder)?.map(Self))
    }

    /// Keeps a key.
    pub(crate) fn add(&self, record: &KeyRecord) -> anyhow::Result<()> {
        let KeyRecord { id, agent, hash, created, expires, revoked, comment, owner, created_by } = record;
        let insert = "INSERT INTO api_keys (id, agent, hash, created, expires, revoked, comment) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (created, expires, revoked) = (signed(*created), expires.map(signed), revoked.map(signed));
        let values = params![id, agent, hash.as_bytes(), created, expires, revoked, comment];
        let writing = self.0.connection.unchecked_transaction()?;
        writing.execute(insert, values)?;
        if let Some(owner) = owner {
            writing.execute("INSERT INTO api_key_owners (id, owner) VALUES (?1, ?2)", params![id, owner])?;
        }
        if let Some(maker) = created_by {
            writing.execute("INSERT INTO api_key_makers (id, maker) VALUES (?1, ?2)", params![id, maker])?;
        }
        writing.commit()?;
        Ok(())
    }

    /// Returns every key, the oldest first.
    pub(crate) fn all(&self) -> anyhow::Result<Vec<Kept>> {
        let select = "SELECT id, agent, hash, created, expires, revoked, comment, used, owner, maker FROM api_keys LEFT JOIN api_key_owners USING (id) LEFT JOIN api_key_makers USING (id) ORDER BY created, id";
        let mut statement = self.0.connection.prepare_cached(select)?;
        let kept = statement.query_map([], kept)?.collect::<rusqlite::Result<_>>()?;
        Ok(kept)
    }

    /// Revokes a key, by its id.
    pub(crate) fn revoke(&self, id: &str, now: u64) -> anyhow::Result<Revoked> {
        let update = "UPDATE api_keys SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL";
        if self.0.connection.execute(update, params![id, signed(now)])? > 0 {
            return Ok(Revoked::Now);
        }
        let known = self
            .0
            .connection
            .query_row("SELECT 1 FROM api_keys WHERE id = ?1", [id], |_| Ok(()))
            .optional()?;
        Ok(if known.is_some() { Revoked::Before } else { Revoked::Unknown })
    }

    /// Writes down when keys were last used.
    fn note_uses(&mut self, uses: &SortedMap<Arc<str>, u64>) -> anyhow::Result<()> {
        let writing = self.0.connection.transaction()?;
        for (id, used) in uses {
            let update = "UPDATE api_keys SET used = max(coalesce(used, 0), ?2) WHERE id = ?1";
            writing.execute(update, params![id, signed(*used)])?;
        }
        writing.commit()?;
        Ok(())
    }
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let time = |column: &str| row.get::<_, Option<i64>>(column).map(|time| time.map(i64::unsigned_abs));
    let record = KeyRecord {
        id: row.get("id")?,
        agent: row.get("agent")?,
        hash: KeyHash::from_bytes(row.get("hash")?),
        created: time("created")?.unwrap_or_default(),
        expires: time("expires")?,
        revoked: time("revoked")?,
        comment: row.get("comment")?,
        owner: row.get("owner")?,
        created_by: row.get("maker")?,
    };
    Ok(Kept { record, used: time("used")? })
}

/// Makes a key for an agent and keeps what is to be kept of it.
pub(crate) fn create(
    store: &KeyStore,
    agent: &str,
    expires: Option<Duration>,
    comment: Option<String>,
) -> anyhow::Result<(ApiKey, KeyRecord)> {
    let key = ApiKey::generate(&Machine::new());
    let (hash, now) = (key.hash(), now());
    let expires =
        expires.map(|after| now.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)));
    let (id, agent) = (hash.id().into(), agent.into());
    let record = KeyRecord {
        id,
        agent,
        hash,
        created: now,
        expires,
        revoked: None,
        comment,
        owner: None,
        created_by: None,
    };
    store.add(&record)?;
    Ok((key, record))
}

/// What a gateway knows of its data folder's keys.
struct Known {
    folder: PathBuf,
    store: Option<KeyStore>,
    version: Option<i64>,
    /// The secrets as they were.
    secrets: Seen,
    /// When the next key expires.
    expiry: Option<u64>,
    /// What was last written down.
    noted: SortedMap<Arc<str>, u64>,
    noted_at: Instant,
}

/// What may be otherwise than before.
#[derive(Default)]
struct News {
    records: Vec<KeyRecord>,
    secrets: Vec<SecretName>,
}

impl Known {
    fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            store: None,
            version: None,
            secrets: Seen::new(),
            expiry: None,
            noted: SortedMap::new(),
            noted_at: Instant::now(),
        }
    }

    /// Looks at the database; returns the keys, and the secrets that have changed, where they may be others than before.
    fn look(&mut self, now: u64) -> anyhow::Result<Option<News>> {
        let had_one = self.version.is_some();
        if self.store.as_ref().is_some_and(|store| store.0.is_gone()) {
            (self.store, self.version) = (None, None);
        }
        if self.store.is_none() {
            self.store = KeyStore::find(&self.folder)?;
        }
        let Some(store) = &self.store else {
            let gone = secrets::changed(&std::mem::take(&mut self.secrets), &Seen::new());
            return Ok(had_one.then(|| News { secrets: gone, ..News::default() }));
        };
        let version = store.0.version()?;
        let expired = self.expiry.is_some_and(|expiry| expiry <= now);
        if self.version == Some(version) && !expired {
            return Ok(None);
        }
        let records: Vec<_> = store.all()?.into_iter().map(|kept| kept.record).collect();
        self.expiry =
            records.iter().filter_map(|record| record.expires).filter(|expires| *expires > now).min();
        let seen = secrets::seen(&store.0)?;
        let changed = secrets::changed(&self.secrets, &seen);
        (self.version, self.secrets) = (Some(version), seen);
        Ok(Some(News { records, secrets: changed }))
    }

    /// Writes down uses that were not written down yet.
    fn note(&mut self, uses: SortedMap<Arc<str>, u64>) -> anyhow::Result<()> {
        self.noted_at = Instant::now();
        if let Some(store) = self.store.as_mut().filter(|_| uses != self.noted) {
            store.note_uses(&uses)?;
            self.noted = uses;
        }
        Ok(())
    }
}

impl News {
    /// Puts them in force: those that are let in by a key that no longer counts are seen off by the gateway before those that are
    /// identities' own do.
    fn take(self, gateway: &Gateway<Machine>, apart: Option<&Arc<Instances>>) {
        gateway.set_keys(KeyRing::new(self.records.clone()));
        gateway.secrets_changed(&self.secrets);
        if let Some(apart) = apart {
            apart.know_keys(self.records);
            apart.secrets_changed(&self.secrets);
        }
    }
}

/// Gives a gateway, and those that are identities' own, the keys of a data folder, and goes on doing so whenever they change.
///
/// Fails where they cannot be read at first; later, that changes nothing.
pub(crate) fn follow(
    gateway: Gateway<Machine>,
    apart: Option<Arc<Instances>>,
    folder: &Path,
) -> anyhow::Result<Following> {
    let mut known = Known::new(folder);
    if let Some(news) = known.look(now()).context("cannot read the API keys")? {
        News { secrets: Vec::new(), ..news }.take(&gateway, apart.as_ref());
    }
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(keep_looking((gateway, apart), known, stopped));
    Ok(Following { stop, task })
}

/// A gateway's interest in the keys of its data folder.
pub(crate) struct Following {
    stop: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Following {
    /// Writes down what is not written down yet, and looks no more.
    pub(crate) async fn end(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn keep_looking(
    (gateway, apart): (Gateway<Machine>, Option<Arc<Instances>>),
    mut known: Known,
    mut stopped: tokio::sync::oneshot::Receiver<()>,
) {
    let mut trouble = String::new();
    loop {
        // Another process may have written to the folder.
        gateway.look_at_directory().await;
        let ends = tokio::select! {
            () = tokio::time::sleep(LOOK) => false,
            _ = &mut stopped => true,
        };
        let uses = (ends || known.noted_at.elapsed() >= NOTE).then(|| gateway.key_uses());
        let looking = spawn_blocking(move || {
            let looked = known.look(now());
            let noted = uses.map_or(Ok(()), |uses| known.note(uses));
            (known, looked.and_then(|news| noted.map(|()| news)))
        });
        let Ok((returned, found)) = looking.await else { return };
        known = returned;
        match found {
            Ok(news) => {
                trouble.clear();
                if let Some(news) = news {
                    news.take(&gateway, apart.as_ref());
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                if error != trouble {
                    tracing::error!("the API keys stay as they are: {error}");
                    trouble = error;
                }
            }
        }
        if ends {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::database::FILE;

    /// A data folder of its own, which goes with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("portcullis-keys-{name}-{}", std::process::id()));
            Self(folder)
        }

        fn known(&self) -> Known {
            Known::new(&self.0)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_key_is_revoked_once() {
        let folder = Folder::new("revoke");
        let store = KeyStore::make(&folder.0).unwrap();
        let (key, record) = create(&store, "coder", Some(Duration::from_secs(1)), None).unwrap();
        assert_eq!(record.hash, key.hash());
        assert_eq!(store.all().unwrap()[0].record, record);
        assert_eq!(store.revoke(&record.id, 7).unwrap(), Revoked::Now);
        assert_eq!(store.revoke(&record.id, 8).unwrap(), Revoked::Before);
        assert_eq!(store.revoke("other", 8).unwrap(), Revoked::Unknown);
        assert_eq!(store.all().unwrap()[0].record.revoked, Some(7));
    }

    #[test]
    fn keys_are_read_when_they_may_have_changed() {
        let folder = Folder::new("look");
        let mut known = folder.known();
        let mut changed = |now| known.look(now).unwrap().is_some();
        assert!(!changed(0), "there is no database");
        let store = KeyStore::make(&folder.0).unwrap();
        assert!(changed(0));
        let (_, record) = create(&store, "coder", Some(Duration::from_secs(1)), None).unwrap();
        assert!(changed(0) && !changed(0));
        let expiry = record.expires.unwrap();
        assert!(!changed(expiry - 1) && changed(expiry) && !changed(expiry));
        store.revoke(&record.id, 1).unwrap();
        assert!(changed(expiry));
        fs::remove_file(folder.0.join(FILE)).unwrap();
        assert!(changed(expiry) && !changed(expiry), "without a database there are no keys");
    }

    #[test]
    fn the_last_use_stays_the_last() {
        let folder = Folder::new("uses");
        let mut store = KeyStore::make(&folder.0).unwrap();
        let (_, record) = create(&store, "coder", None, None).unwrap();
        for used in [5, 3] {
            store.note_uses(&SortedMap::from([(record.id.clone(), used)])).unwrap();
        }
        assert_eq!(store.all().unwrap()[0].used, Some(5));
    }
}
