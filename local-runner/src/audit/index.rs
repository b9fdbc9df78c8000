//! The database of the trail: the lines once more, in the batches in which they were written, with what they are
//! searched by.
//!
//! **It follows the files**: what it lacks it gets from them, so neither a crash nor a failure leaves it behind for long.
//! A batch is one segment, however many lines it has: a row that says what is in it, and a row with its text. A search
//! reads only the texts that may have what is wanted.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::audit::{Order, Query, Row};
use rusqlite::{Connection, OpenFlags, Statement, Transaction, TransactionBehavior, params};

use super::files::Files;
use super::segment::Segment;
use crate::database::signed;

/// How long another process may hold the database.
const BUSY: Duration = Duration::from_secs(5);
/// How many segments are removed at a time once they are no longer kept.
const REMOVED: u64 = 1000;
/// How long the text of a segment grows that is made of lines that are read again, in bytes.
const LONGEST: usize = 256 << 10;

/// A larger page takes fewer calls of the operating system for a long text, and more of the disk for a short one.
const SETTINGS: &str = "
    PRAGMA page_size = 8192;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA cache_size = -1024;
";

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS segments (
        first INTEGER PRIMARY KEY,
        last INTEGER NOT NULL,
        earliest INTEGER NOT NULL,
        latest INTEGER NOT NULL,
        agents TEXT NOT NULL,
        servers TEXT NOT NULL,
        names TEXT NOT NULL,
        decisions TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS texts (first INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
";

/// The lines of a database of an earlier version, which had a row for each, as segments of one line.
const EARLIER: [(&str, &str); 2] = [
    (
        "segments",
        "SELECT id AS first, id AS last, time AS earliest, time AS latest,
            char(10) || agent || char(10) AS agents, char(10) || server || char(10) AS servers,
            char(10) || name || char(10) AS names, char(10) || decision || char(10) AS decisions FROM entries",
    ),
    ("texts", "SELECT id AS first, line || char(10) AS text FROM entries"),
];

/// The query for the number of the last line.
pub(super) const LAST: &str = "SELECT (SELECT last FROM segments ORDER BY first DESC LIMIT 1)";

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

    /// Adds the lines that the files have at their end, and what is missing before them.
    pub(super) fn add(&self, files: &Files, added: &Segment) -> anyhow::Result<()> {
        let outcome = self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let kept = files.head().first.id;
            let mut last = last(&transaction)?.max(kept - 1);
            if last + 1 < added.first() {
                last = follow(&transaction, files, last, added.first())?;
            }
            if last < added.first() {
                insert(&transaction, added)?;
            } else {
                insert(&transaction, &added.after(last))?;
            }
            if kept > 1 {
                expire(&transaction, kept)?;
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
            let query =
                "SELECT first, text FROM segments JOIN texts USING (first) WHERE last > ?1 ORDER BY first";
            let mut statement = connection.prepare(query)?;
            let mut rows = statement.query([id])?;
            let mut lines = Vec::new();
            while let Some(row) = rows.next()? {
                let (first, text): (u64, String) = (row.get(0)?, row.get(1)?);
                let numbered = (first..).zip(text.split_terminator('\n'));
                lines.extend(numbered.filter(|(at, _)| *at > id).map(|(_, line)| line.to_owned()));
            }
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
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(SETTINGS)?;
    make(&mut connection)?;
    Ok(connection)
}

/// Opens the database to read it, also while another process writes it; `None` while there is nothing to read yet.
pub(super) fn open_to_read(path: &Path) -> anyhow::Result<Option<Connection>> {
    if !path.exists() {
        return Ok(None);
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY)?;
    // Who reads changes nothing: a gateway of an earlier version may still be running, or one is only making its tables.
    if !has(&connection, "segments")? {
        if !is_earlier(&connection)? {
            return Ok(None);
        }
        for (table, select) in EARLIER {
            connection.execute_batch(&format!("CREATE TEMP VIEW {table} AS {select}"))?;
        }
    }
    Ok(Some(connection))
}

/// Gives the segments that may have what is wanted beyond a cursor to `read`, one after the other in the order that is
/// asked for, each with the number of its first line, until it has had enough.
pub(super) fn search(
    connection: &Connection,
    query: &Query,
    cursor: Option<u64>,
    mut read: impl FnMut(u64, &str) -> bool,
) -> anyhow::Result<()> {
    let within = |text: &Option<String>| text.as_ref().map(|text| format!("\n{text}\n"));
    let (order, from, to) = match query.order {
        Order::Newest => ("DESC", 0, cursor.map_or(i64::MAX, |cursor| signed(cursor) - 1)),
        Order::Oldest => ("ASC", signed(cursor.unwrap_or(0)), i64::MAX),
    };
    let mut segments = connection.prepare(&select(order))?;
    let mut text = connection.prepare("SELECT text FROM texts WHERE first = ?1")?;
    let mut rows = segments.query(params![
        from,
        to,
        query.since.map(signed),
        query.until.map(signed),
        within(&query.agent),
        within(&query.server),
        within(&query.tool),
        within(&query.decision),
    ])?;
    while let Some(row) = rows.next()? {
        let first: u64 = row.get(0)?;
        let mut texts = text.query([first])?;
        let Some(found) = texts.next()? else { continue };
        // Somebody may have changed it.
        let text = String::from_utf8_lossy(found.get_ref(0)?.as_bytes()?);
        if query.may_be_in(&text) && !read(first, &text) {
            break;
        }
    }
    Ok(())
}

/// Returns the query for the segments that may have what is wanted: the second one begins after the line `?1`, or the
/// first.
fn select(order: &str) -> String {
    format!(
        "SELECT first FROM segments
            WHERE first >= ifnull((SELECT max(first) FROM segments WHERE first <= ?1), 0) AND first <= ?2
            AND (?3 IS NULL OR latest >= ?3) AND (?4 IS NULL OR earliest < ?4)
            AND (?5 IS NULL OR instr(agents, ?5)) AND (?6 IS NULL OR instr(servers, ?6))
            AND (?7 IS NULL OR instr(names, ?7)) AND (?8 IS NULL OR instr(decisions, ?8))
            ORDER BY first {order}"
    )
}

/// The lines of the database, to be compared with those of files in their order.
pub(super) struct Beside<'c> {
    statement: Statement<'c>,
    first: u64,
    lines: Vec<Vec<u8>>,
}

impl<'c> Beside<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        let query = "SELECT first, text FROM texts WHERE first <= ?1 ORDER BY first DESC LIMIT 1";
        Ok(Self { statement: connection.prepare(query)?, first: 0, lines: Vec::new() })
    }

    /// Returns the line with this number.
    pub(super) fn line(&mut self, id: u64) -> Option<&[u8]> {
        let place = |first: u64| usize::try_from(id.checked_sub(first)?).ok();
        if place(self.first).is_none_or(|at| at >= self.lines.len()) {
            (self.first, self.lines) = self
                .statement
                .query_row([id], |row| {
                    let text = row.get_ref(1)?.as_bytes()?;
                    let text = text.strip_suffix(b"\n").unwrap_or(text);
                    Ok((row.get(0)?, text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()))
                })
                .ok()?;
        }
        self.lines.get(place(self.first)?).map(Vec::as_slice)
    }
}

fn has(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let found = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
    connection.query_row(found, [table], |row| row.get(0))
}

fn is_earlier(connection: &Connection) -> rusqlite::Result<bool> {
    has(connection, "entries")
}

/// Makes the tables, and segments of what a database of an earlier version has: whoever reads sees its lines before and after.
fn make(connection: &mut Connection) -> anyhow::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    let was_earlier = is_earlier(&transaction)?;
    if was_earlier {
        let last = last(&transaction)?;
        for (table, select) in EARLIER {
            transaction.execute(&format!("INSERT INTO {table} {select} WHERE id > ?1"), [last])?;
        }
        transaction.execute_batch("DROP TABLE entries")?;
    }
    transaction.commit()?;
    if was_earlier {
        // Else the log beside the database stays as large as all that was carried over.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(())
}

fn last(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(connection.prepare_cached(LAST)?.query_row([], |row| row.get::<_, Option<u64>>(0))?.unwrap_or(0))
}

/// Adds the lines that the files have between two numbers; returns the number of the last one. What is no line is left
/// to `verify`.
fn follow(transaction: &Transaction<'_>, files: &Files, last: u64, before: u64) -> anyhow::Result<u64> {
    let mut segment = Segment::new(last + 1);
    for line in files.lines_from(last + 1)? {
        let line = line?;
        let text = String::from_utf8_lossy(&line.text);
        let Some((row, id)) = Row::read(&text).and_then(|row| Some((row, row.id()?))) else { continue };
        if id < segment.next() || id >= before {
            continue;
        }
        // What is no longer kept goes by files.
        if id > segment.next() || line.line == 1 || segment.text().len() > LONGEST {
            insert(transaction, &segment)?;
            segment = Segment::new(id);
        }
        segment.push_read(&text, &row);
    }
    insert(transaction, &segment)?;
    Ok(segment.next() - 1)
}

fn insert(transaction: &Transaction<'_>, segment: &Segment) -> anyhow::Result<()> {
    if segment.is_empty() {
        return Ok(());
    }
    let (first, by) = (segment.first(), &segment.by);
    let texts = [&by.agents, &by.servers, &by.names, &by.decisions].map(listed);
    let [agents, servers, names, decisions] = &texts;
    let (last, earliest, latest) = (segment.next() - 1, by.earliest.min(by.latest), by.latest);
    let row = "INSERT INTO segments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    transaction
        .prepare_cached(row)?
        .execute(params![first, last, earliest, latest, agents, servers, names, decisions])?;
    let text = "INSERT INTO texts VALUES (?1, ?2)";
    transaction.prepare_cached(text)?.execute(params![first, segment.text()])?;
    Ok(())
}

/// Returns texts as one in which each can be found: none of them has a line break.
fn listed(texts: &BTreeSet<String>) -> String {
    texts.iter().fold("\n".to_owned(), |all, text| all + text + "\n")
}

fn expire(transaction: &Transaction<'_>, kept: u64) -> rusqlite::Result<()> {
    let old = "SELECT first FROM segments WHERE first < ?1 AND last < ?1 ORDER BY first LIMIT ?2";
    transaction.execute(&format!("DELETE FROM texts WHERE first IN ({old})"), params![kept, REMOVED])?;
    transaction.execute(&format!("DELETE FROM segments WHERE first IN ({old})"), params![kept, REMOVED])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use portcullis_core::audit::{Chain, Decision, Entry, Writing};

    use super::*;

    /// The database of an earlier version, with a line for each of these agents.
    fn earlier(connection: &Connection, agents: &[&str]) -> Vec<String> {
        let schema =
            "CREATE TABLE entries (id INTEGER PRIMARY KEY, time INTEGER NOT NULL, agent TEXT NOT NULL,
            server TEXT NOT NULL, name TEXT NOT NULL, decision TEXT NOT NULL, line TEXT NOT NULL) STRICT;
            CREATE INDEX searched ON entries (time, agent, server, name, decision);";
        connection.execute_batch(schema).unwrap();
        let mut chain = Chain::default();
        let mut lines = Vec::new();
        for (time, agent) in (1..).zip(agents) {
            let entry = entry(time, agent);
            lines.push(chain.add(|id, prev| entry.line(id, prev, &Writing::default())));
            let row = params![chain.last, time, agent, "s", "s__echo", "denied", lines.last()];
            connection.execute("INSERT INTO entries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", row).unwrap();
        }
        lines
    }

    fn entry(time: u64, agent: &str) -> Entry {
        Entry {
            time,
            agent: Some(agent.into()),
            server: Some("s".into()),
            name: Some("s__echo".into()),
            decision: Decision::Denied,
            ..Entry::default()
        }
    }

    /// Puts segments of these sizes into a database, of two agents in turn, and returns their lines.
    fn written(connection: &mut Connection, sizes: &[u64]) -> Vec<String> {
        make(connection).unwrap();
        let transaction = connection.transaction().unwrap();
        let (mut chain, mut all) = (Chain::default(), Vec::new());
        for (agent, size) in ["coder", "ci"].into_iter().cycle().zip(sizes) {
            let mut segment = Segment::new(chain.last + 1);
            for _ in 0..*size {
                let line = chain.add(|id, prev| entry(id * 10, agent).line(id, prev, &Writing::default()));
                segment.push_read(&line, &Row::read(&line).unwrap());
                all.push(line);
            }
            insert(&transaction, &segment).unwrap();
        }
        transaction.commit().unwrap();
        all
    }

    /// Returns the lines of the segments that are read, and how many segments those are.
    fn found(connection: &Connection, query: &Query, cursor: Option<u64>) -> (Vec<String>, usize) {
        let (mut lines, mut read) = (Vec::new(), 0);
        search(connection, query, cursor, |_, text| {
            read += 1;
            lines.extend(text.lines().map(str::to_owned));
            true
        })
        .unwrap();
        (lines, read)
    }

    #[test]
    fn only_what_may_have_what_is_wanted_is_read() {
        let mut connection = Connection::open_in_memory().unwrap();
        let all = written(&mut connection, &[3, 1, 2, 2]);
        let oldest = Query { order: Order::Oldest, ..Query::default() };
        assert_eq!(found(&connection, &oldest, None), (all, 4));
        let check = |query: Query, cursor, expected: usize| {
            let newest = Query { order: Order::Newest, ..query.clone() };
            assert_eq!(found(&connection, &query, cursor).1, expected, "{query:?} {cursor:?}");
            if cursor.is_none() {
                assert_eq!(found(&connection, &newest, cursor).1, expected, "{newest:?}");
            }
        };
        let text = |text: &str| Some(text.to_owned());
        check(Query { agent: text("ci"), ..oldest.clone() }, None, 2);
        check(Query { agent: text("c"), ..oldest.clone() }, None, 0);
        check(Query { server: text("s"), tool: text("s__echo"), ..oldest.clone() }, None, 4);
        check(Query { decision: text("allowed"), ..oldest.clone() }, None, 0);
        check(Query { method: text("ping"), ..oldest.clone() }, None, 0);
        check(Query { since: Some(40), ..oldest.clone() }, None, 3);
        check(Query { since: Some(40), until: Some(50), ..oldest.clone() }, None, 1);
        check(oldest.clone(), Some(3), 4);
        check(oldest.clone(), Some(4), 3);
        check(Query::default(), Some(4), 1);
        check(Query::default(), Some(5), 2);
    }

    #[test]
    fn what_is_only_being_made_has_nothing_to_read() {
        let path = std::env::temp_dir().join(format!("portcullis-index-made-{}.db", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert!(open_to_read(&path).unwrap().is_none());
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        assert!(open_to_read(&path).unwrap().is_none());
        open(&path).unwrap();
        assert_eq!(found(&open_to_read(&path).unwrap().unwrap(), &Query::default(), None), (vec![], 0));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_lines_of_an_earlier_version_are_read_and_carried_over() {
        let path = std::env::temp_dir().join(format!("portcullis-index-{}.db", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let connection = Connection::open(&path).unwrap();
        let lines = earlier(&connection, &["coder", "ci", "coder"]);
        let check = |connection: &Connection| {
            let (mut newest, read) = found(connection, &Query::default(), None);
            newest.reverse();
            assert_eq!((&newest, read), (&lines, 3));
            let coder = Query { agent: Some("coder".into()), since: Some(2), ..Query::default() };
            assert_eq!(found(connection, &coder, None).0, lines[2..]);
            let mut beside = Beside::new(connection).unwrap();
            assert!((1..).zip(&lines).all(|(id, line)| beside.line(id) == Some(line.as_bytes())));
            assert_eq!(beside.line(4), None);
        };
        check(&open_to_read(&path).unwrap().unwrap());
        assert!(is_earlier(&connection).unwrap());
        check(&open(&path).unwrap());
        assert!(!is_earlier(&connection).unwrap());
        check(&open_to_read(&path).unwrap().unwrap());
        // A process of the earlier version has gone on.
        let fewer = "DELETE FROM segments WHERE first = 3; DELETE FROM texts WHERE first = 3";
        connection.execute_batch(fewer).unwrap();
        earlier(&connection, &["coder", "ci", "coder"]);
        check(&open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
