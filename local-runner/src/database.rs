//! The database of a data folder: API keys, the versions of a configuration that is pushed, secrets, connections, what servers
//! were approved to say, how far families of tokens have come, and what the control plane notes.
//!
//! **It is opened and looked at, not owned**: several processes may use one data folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rusqlite::{Connection, OpenFlags};

/// The database's name in the data folder.
pub(crate) const FILE: &str = "portcullis.db";
/// How long another process may be writing.
const BUSY: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS api_keys (
        id      TEXT PRIMARY KEY,
        agent   TEXT NOT NULL,
        hash    BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
        created INTEGER NOT NULL,
        expires INTEGER,
        revoked INTEGER,
        used    INTEGER,
        comment TEXT
    ) STRICT;
    CREATE TABLE IF NOT EXISTS api_key_owners (
        id    TEXT PRIMARY KEY,
        owner TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS api_key_makers (
        id    TEXT PRIMARY KEY,
        maker TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS configurations (
        version INTEGER PRIMARY KEY CHECK (version > 0),
        at      INTEGER NOT NULL,
        by      TEXT NOT NULL,
        note    TEXT NOT NULL,
        digest  TEXT NOT NULL,
        text    TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS secrets (
        name     TEXT PRIMARY KEY,
        version  INTEGER NOT NULL,
        current  TEXT NOT NULL,
        previous TEXT,
        created  INTEGER NOT NULL,
        changed  INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS approvals (
        server   TEXT PRIMARY KEY,
        approval TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS token_families (
        family TEXT PRIMARY KEY,
        note   TEXT NOT NULL,
        until  INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS records (
        collection TEXT NOT NULL,
        key        TEXT NOT NULL,
        text       TEXT NOT NULL,
        until      INTEGER,
        PRIMARY KEY (collection, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS connections (
        key       TEXT PRIMARY KEY,
        principal TEXT NOT NULL,
        version   TEXT NOT NULL,
        record    TEXT NOT NULL,
        sealed    TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS connections_by_principal ON connections (principal);
";

/// The database of a data folder. Times are in milliseconds since the Unix epoch.
pub(crate) struct Database {
    pub(crate) connection: Connection,
    path: PathBuf,
    /// Which file is open.
    file: Option<u64>,
}

impl Database {
    /// Opens the database of a data folder; makes one where there is none.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let connection = make(&path, SCHEMA)?;
        Ok(Self { connection, file: identity(&path), path })
    }

    /// Opens the database of a data folder where there is one.
    pub(crate) fn find(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE);
        if path.exists() { Self::open(&path).map(Some) } else { Ok(None) }
    }

    fn open(path: &Path) -> anyhow::Result<Self> {
        let connection = open(path, SCHEMA)?;
        Ok(Self { connection, path: path.to_owned(), file: identity(path) })
    }

    /// Returns what is another number once another connection has written.
    pub(crate) fn version(&self) -> anyhow::Result<i64> {
        Ok(self.connection.pragma_query_value(None, "data_version", |row| row.get(0))?)
    }

    /// Tells whether another file has taken the place of the one that is open, or none.
    pub(crate) fn is_gone(&self) -> bool {
        self.file.is_none() || identity(&self.path) != self.file
    }
}

/// Opens a file of a data folder, and makes it where there is none, for nobody but its user.
pub(crate) fn make(path: &Path, schema: &str) -> anyhow::Result<Connection> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    // What the database makes besides has the same mode.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).with_context(|| format!("cannot write {}", path.display()))?;
    let connection = open(path, schema)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    Ok(connection)
}

/// Opens a file of a data folder that is there.
pub(crate) fn open(path: &Path, schema: &str) -> anyhow::Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(BUSY)?;
        connection.execute_batch(schema)?;
        Ok(connection)
    };
    open().with_context(|| format!("cannot open {}", path.display()))
}

fn identity(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|file| std::os::unix::fs::MetadataExt::ino(&file))
}

/// A number as the database has it; no clock and no counter shows what does not fit.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
