//! The database of the trail: every line once more, with what it is searched by.
//!
//! **It follows the files**: what it lacks it gets from them, so neither a crash nor a failure leaves it behind for long.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::audit::{Row, Searched};
use rusqlite::{Connection, OpenFlags, Statement, TransactionBehavior, params};

use super::files::Files;

/// How long another process may hold the database.
const BUSY: Duration = Duration::from_secs(5);
/// How many rows are removed at a time once they are no longer kept.
const REMOVED: u64 = 5000;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA cache_size = -1024;
    CREATE TABLE IF NOT EXISTS entries (
        id INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        agent TEXT NOT NULL,
        server TEXT NOT NULL,
        name TEXT NOT NULL,
        decision TEXT NOT NULL,
        line TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS by_time ON entries (time);
    CREATE INDEX IF NOT EXISTS by_agent ON entries (agent) WHERE agent <> '';
    CREATE INDEX IF NOT EXISTS by_server ON entries (server) WHERE server <> '';
    CREATE INDEX IF NOT EXISTS by_name ON entries (name) WHERE name <> '';
    CREATE INDEX IF NOT EXISTS by_decision ON entries (decision) WHERE decision <> 'allowed';
";

const INSERT: &str = "INSERT OR IGNORE INTO entries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// The database, as the process that writes it knows it.
pub(super) struct Index {
    path: PathBuf,
    connection: RefCell<Option<Connection>>,
}

/// Returns where the database lies.
pub(super) fn path(data: &Path) -> PathBuf {
    data.join("audit.db")
}

impl Index {
    pub(super) fn new(data: &Path) -> Self {
        Self { path: path(data), connection: RefCell::default() }
    }

    /// Adds lines that the files have, and what is missing before them.
    pub(super) fn add(&self, files: &Files, added: &[(String, Searched<'_>)]) -> anyhow::Result<()> {
        let outcome = self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let kept = files.head().first.id;
            let first = files.head().chain.last + 1 - added.len() as u64;
            let last: u64 =
                transaction.query_row("SELECT ifnull(max(id), 0) FROM entries", [], |row| row.get(0))?;
            let mut inserting = transaction.prepare(INSERT)?;
            if last.max(kept - 1) + 1 < first {
                for line in files.lines_from(last.max(kept - 1) + 1)? {
                    insert_read(&mut inserting, &line?)?;
                }
            }
            added.iter().try_for_each(|(line, by)| insert(&mut inserting, line, by))?;
            drop(inserting);
            if kept > 1 {
                let old = "DELETE FROM entries WHERE id < min(?1, (SELECT min(id) FROM entries) + ?2)";
                transaction.execute(old, params![kept, REMOVED])?;
            }
            transaction.commit()?;
            Ok(())
        });
        if outcome.is_err() {
            *self.connection.borrow_mut() = None;
        }
        outcome
    }

    /// Returns the lines after the one with this number.
    pub(super) fn lines_after(&self, id: u64) -> anyhow::Result<Vec<String>> {
        self.with(|connection| {
            let mut statement = connection.prepare("SELECT line FROM entries WHERE id > ?1 ORDER BY id")?;
            let lines = statement.query_map([id], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok(lines)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut held = self.connection.borrow_mut();
        let connection = match held.take() {
            Some(connection) => connection,
            None => open(&self.path)?,
        };
        work(held.insert(connection))
    }
}

fn open(path: &Path) -> anyhow::Result<Connection> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // Only this user may read it: SQLite's own files beside it take over its mode.
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

/// Opens the database to read it, also while another process writes it.
pub(super) fn open_to_read(path: &Path) -> anyhow::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Inserts a line that is read again; one that is none is left to `verify`.
fn insert_read(inserting: &mut Statement<'_>, line: &str) -> anyhow::Result<()> {
    match Row::read(line).and_then(|row| row.searched()) {
        Some(by) => insert(inserting, line, &by),
        None => Ok(()),
    }
}

fn insert(inserting: &mut Statement<'_>, line: &str, by: &Searched<'_>) -> anyhow::Result<()> {
    inserting.execute(params![by.id, by.time, &*by.agent, &*by.server, &*by.name, &*by.decision, line])?;
    Ok(())
}
