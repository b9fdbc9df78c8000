//! The database of the trail: every line once more, with what it is searched by.
//!
//! **It follows the files**: what it lacks it gets from them, so neither a crash nor a failure leaves it behind for long.
//! One index holds all that lines are searched by. It grows at its end, as the table does: that costs a line far less
//! than an index for each field, in which every line has a place of its own.

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
    CREATE INDEX IF NOT EXISTS searched ON entries (time, agent, server, name, decision);
    DROP INDEX IF EXISTS by_time;
    DROP INDEX IF EXISTS by_agent;
    DROP INDEX IF EXISTS by_server;
    DROP INDEX IF EXISTS by_name;
    DROP INDEX IF EXISTS by_decision;
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

    /// Adds lines that the files have from entry `first` to their end, and what is missing before them.
    pub(super) fn add<'l>(
        &self,
        files: &Files,
        first: u64,
        mut added: impl Iterator<Item = (&'l str, Searched<'l>)>,
    ) -> anyhow::Result<()> {
        let outcome = self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let kept = files.head().first.id;
            let last: u64 =
                transaction.query_row("SELECT ifnull(max(id), 0) FROM entries", [], |row| row.get(0))?;
            let mut inserting = transaction.prepare(INSERT)?;
            if last.max(kept - 1) + 1 < first {
                for line in files.lines_from(last.max(kept - 1) + 1)? {
                    insert_read(&mut inserting, &line?)?;
                }
            }
            added.try_for_each(|(line, by)| insert(&mut inserting, line, &by))?;
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

/// Returns the query for the lines that fulfil all these conditions, by their numbers. What fulfils those of `found` is
/// found in the index, so that no line has to be read that does not; those of `read` are asked of the lines.
pub(super) fn select(found: &[&str], read: &[&str], order: &str) -> String {
    let within = match found {
        [] => "1".to_owned(),
        all => format!("id IN (SELECT id FROM entries WHERE {})", all.join(" AND ")),
    };
    let conditions: Vec<&str> = std::iter::once(&*within).chain(read.iter().copied()).collect();
    format!("SELECT id, line FROM entries WHERE {} ORDER BY id {order}", conditions.join(" AND "))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Says how SQLite would look for what is wanted.
    fn plan(connection: &Connection, conditions: &[&str]) -> String {
        let text = format!("EXPLAIN QUERY PLAN {}", select(conditions, &["id < ?"], "DESC"));
        let mut statement = connection.prepare(&text).unwrap();
        let values = vec![1; conditions.len() + 1];
        let steps = statement.query_map(rusqlite::params_from_iter(values), |row| row.get(3)).unwrap();
        steps.collect::<Result<Vec<String>, _>>().unwrap().join("; ")
    }

    #[test]
    fn no_line_is_read_that_is_not_wanted() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        let check = |conditions: &[&str]| {
            let plan = plan(&connection, conditions);
            assert!(plan.contains("entries USING COVERING INDEX searched"), "{plan}");
            assert!(plan.contains("entries USING INTEGER PRIMARY KEY (rowid=?)"), "{plan}");
        };
        check(&["agent = ?", "name = ?"]);
        check(&["agent = ?"]);
        check(&["decision = ?", "time >= ?", "time < ?"]);
    }

    #[test]
    fn a_database_of_an_earlier_version_is_used_on() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        connection.execute_batch("DROP INDEX searched; CREATE INDEX by_time ON entries (time)").unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        let names = "SELECT group_concat(name) FROM sqlite_schema WHERE type = 'index'";
        let names: String = connection.query_row(names, [], |row| row.get(0)).unwrap();
        assert_eq!(names, "searched");
    }
}
