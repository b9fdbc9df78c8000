//! Everything that servers ever said of themselves: an append-only log, in a database of its own in the data folder.
//!
//! **Each entry is a line that names the hash of its server's line before**, so that what is altered, removed or reordered is
//! found, short of a chain that somebody makes anew from there to its end. **What is known of a definition already is not
//! written again**, and of one server no more than a certain number of bytes.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use portcullis_core::Sighting;
use portcullis_core::audit::{Chain, digest, time_text, write_string};
use portcullis_core::sorted::{SortedMap, SortedSet};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde::Serialize;

use crate::database::{self, signed};

/// The database's name in the data folder.
pub(crate) const FILE: &str = "definitions.db";
/// How many bytes are written of one server.
const LONGEST: u64 = if cfg!(test) { 64 << 10 } else { 64 << 20 };
/// How many disagreements are logged.
const TOLD: usize = 1000;
/// How many sightings wait to be written.
const WAITING: usize = 256;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS entries (
        server    TEXT NOT NULL,
        id        INTEGER NOT NULL CHECK (id > 0),
        at        INTEGER NOT NULL,
        principal TEXT NOT NULL,
        list      TEXT NOT NULL,
        name      TEXT NOT NULL,
        event     TEXT NOT NULL,
        digest    TEXT NOT NULL,
        line      TEXT NOT NULL,
        hash      TEXT NOT NULL,
        total     INTEGER NOT NULL,
        PRIMARY KEY (server, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE UPDATE ON entries BEGIN SELECT raise(ABORT, 'entries are never changed'); END;
    CREATE TRIGGER IF NOT EXISTS entries_last BEFORE DELETE ON entries BEGIN SELECT raise(ABORT, 'entries are never removed'); END;
    CREATE TABLE IF NOT EXISTS shown (
        server    TEXT NOT NULL,
        principal TEXT NOT NULL,
        list      TEXT NOT NULL,
        name      TEXT NOT NULL,
        digest    TEXT NOT NULL,
        since     INTEGER NOT NULL,
        PRIMARY KEY (server, principal, list, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS readings (
        server    TEXT NOT NULL,
        principal TEXT NOT NULL,
        at        INTEGER NOT NULL,
        digest    TEXT NOT NULL,
        PRIMARY KEY (server, principal)
    ) STRICT, WITHOUT ROWID;
";

/// Writes down what servers say, apart from those who read it.
pub(crate) struct Recorder {
    folder: PathBuf,
    sender: OnceLock<SyncSender<Sighting>>,
}

impl Recorder {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), sender: OnceLock::new() }
    }

    /// Takes a sighting; returns at once. One that there is no room for is lost, and said to be.
    pub(crate) fn record(&self, sighting: Sighting) {
        let sender = self.sender.get_or_init(|| {
            let (sender, receiver) = sync_channel(WAITING);
            let folder = self.folder.clone();
            std::thread::spawn(move || keep_writing(&folder, &receiver));
            sender
        });
        if let Err(lost) = sender.try_send(sighting) {
            tracing::warn!(reason = %lost.to_string(), "what a server says of itself is not written down");
        }
    }
}

fn keep_writing(folder: &Path, sightings: &Receiver<Sighting>) {
    let (mut history, mut told) = (None, SortedSet::new());
    while let Ok(sighting) = sightings.recv() {
        let written = match &mut history {
            Some(history) => Ok(history),
            none => History::make(folder).map(|made| none.insert(made)),
        };
        let write = |history: &mut History| {
            history.write(&sighting)?;
            tell(history, &sighting, &mut told)
        };
        if let Err(error) = written.and_then(write) {
            tracing::error!(
                server = sighting.server,
                "what it says of itself cannot be written down: {error:#}"
            );
            history = None;
        }
    }
}

/// Logs what identities are shown differently, each definition once.
fn tell(
    history: &History,
    sighting: &Sighting,
    told: &mut SortedSet<(String, String, String)>,
) -> anyhow::Result<()> {
    if sighting.principal.is_none() || told.len() >= TOLD {
        return Ok(());
    }
    let server = &sighting.server;
    for Disagreement { list, name, .. } in history.disagreements(server)? {
        if told.insert((server.clone(), list.clone(), name.clone())) {
            let name = name.escape_debug();
            tracing::warn!(%server, list, %name, "identities are shown different definitions; `portcullis history` tells who");
        }
    }
    Ok(())
}

/// The log of a data folder.
pub(crate) struct History(Connection);

/// An entry of the log.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    /// In milliseconds since the Unix epoch.
    pub(crate) at: u64,
    /// Whom the server acted for; empty where it is everybody's.
    pub(crate) principal: String,
    pub(crate) list: String,
    pub(crate) name: String,
    /// `new`, `changed`, `gone` or `full`.
    pub(crate) event: String,
    pub(crate) digest: String,
    /// The whole entry.
    #[serde(skip)]
    pub(crate) line: String,
}

/// What a chain turned out to be.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verified {
    pub(crate) server: String,
    pub(crate) entries: u64,
    /// The hash of the last entry.
    pub(crate) head: String,
    /// What is wrong with it, and from which entry on.
    pub(crate) fault: Option<String>,
}

/// A definition that identities were shown differently at the same time.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Disagreement {
    pub(crate) list: String,
    pub(crate) name: String,
    /// Who was shown what, by its digest; nothing where it was not shown.
    pub(crate) shown: SortedMap<String, Option<String>>,
}

impl History {
    /// Opens the log of a data folder; makes one where there is none.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self(database::make(&folder.join(FILE), SCHEMA)?))
    }

    /// Opens the log of a data folder where there is one.
    pub(crate) fn find(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE);
        if path.exists() { Ok(Some(Self(database::open(&path, SCHEMA)?))) } else { Ok(None) }
    }

    /// Writes down what of a sighting is not known yet.
    pub(crate) fn write(&mut self, sighting: &Sighting) -> anyhow::Result<()> {
        let writing = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (server, at) = (sighting.server.as_str(), sighting.at);
        let principal = sighting.principal.as_deref().unwrap_or_default();
        let mut page = Page::open(&writing, server, at)?;
        let mut before = shown_to(&writing, server, principal)?;
        let mut whole = String::new();
        for definition in sighting.definitions() {
            whole.push_str(&definition.digest);
            let key = (definition.kind.to_owned(), definition.name);
            let event = match before.remove(&key) {
                Some(digest) if digest == definition.digest => continue,
                Some(_) => "changed",
                None => "new",
            };
            let what =
                What { principal, list: definition.kind, name: &key.1, event, digest: &definition.digest };
            page.add(&writing, &what, &definition.text)?;
            note_shown(&writing, server, &what, at)?;
        }
        for ((list, name), digest) in &before {
            let what = What { principal, list, name, event: "gone", digest };
            page.add(&writing, &what, "null")?;
            let forget = "DELETE FROM shown WHERE server = ?1 AND principal = ?2 AND list = ?3 AND name = ?4";
            writing.execute(forget, params![server, principal, list, name])?;
        }
        let note = "INSERT OR REPLACE INTO readings (server, principal, at, digest) VALUES (?1, ?2, ?3, ?4)";
        writing.execute(note, params![server, principal, signed(at), digest(whole.as_bytes())])?;
        writing.commit()?;
        Ok(())
    }

    /// Returns the servers that there is something of.
    pub(crate) fn servers(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let mut statement =
            self.0.prepare("SELECT server, count(*) FROM entries GROUP BY server ORDER BY server")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Returns the entries of a server, the oldest first; those of one tool alone where one is named.
    pub(crate) fn entries(&self, server: &str, tool: Option<&str>) -> anyhow::Result<Vec<Entry>> {
        let select = "SELECT id, at, principal, list, name, event, digest, line FROM entries \
                      WHERE server = ?1 AND (?2 IS NULL OR (list = 'tools' AND name = ?2)) ORDER BY id";
        let mut statement = self.0.prepare(select)?;
        let rows = statement.query_map(params![server, tool], |row| {
            Ok(Entry {
                id: row.get::<_, i64>(0)?.unsigned_abs(),
                at: row.get::<_, i64>(1)?.unsigned_abs(),
                principal: row.get(2)?,
                list: row.get(3)?,
                name: row.get(4)?,
                event: row.get(5)?,
                digest: row.get(6)?,
                line: row.get(7)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Reads a server's chain from its beginning.
    pub(crate) fn verify(&self, server: &str) -> anyhow::Result<Verified> {
        let mut chain = Chain::default();
        let mut statement = self.0.prepare("SELECT hash, id, digest, list, name, event, principal, line FROM entries WHERE server = ?1 ORDER BY id")?;
        let mut rows = statement.query([server])?;
        let mut fault = None;
        while let Some(row) = rows.next()? {
            let (hash, line): (String, String) = (row.get(0)?, row.get(7)?);
            let expected = chain.last + 1;
            let said = |column: usize| row.get::<_, String>(column);
            let what = (said(2)?, said(3)?, said(4)?, said(5)?, said(6)?);
            let is_whole = row.get::<_, i64>(1)? == signed(expected)
                && digest(line.as_bytes()) == hash
                && follows(&line, &chain, expected, server)
                && repeats(&line, &what);
            if !is_whole {
                fault =
                    Some(format!("entry {expected} is not what was written, or what was before it is gone"));
                break;
            }
            chain = Chain { last: expected, hash };
        }
        Ok(Verified { server: server.to_owned(), entries: chain.last, head: chain.hash, fault })
    }

    /// Returns what identities are shown differently: where one was shown something after another was shown something else,
    /// and that one is still shown it.
    pub(crate) fn disagreements(&self, server: &str) -> anyhow::Result<Vec<Disagreement>> {
        let mut statement =
            self.0.prepare("SELECT principal, at FROM readings WHERE server = ?1 AND principal <> ''")?;
        let readings =
            statement.query_map([server], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let readings: SortedMap<String, i64> = readings.collect::<rusqlite::Result<_>>()?;
        let mut statement = self.0.prepare(
            "SELECT list, name, principal, digest, since FROM shown WHERE server = ?1 AND principal <> '' ORDER BY list, name",
        )?;
        let mut rows = statement.query([server])?;
        let mut all: SortedMap<(String, String), Vec<Shown>> = SortedMap::new();
        while let Some(row) = rows.next()? {
            let shown = (row.get(2)?, row.get(3)?, row.get(4)?);
            all.entry((row.get(0)?, row.get(1)?)).or_default().push(shown);
        }
        let found = all.into_iter().filter(|(_, shown)| disagree(&readings, shown));
        Ok(found
            .map(|((list, name), shown)| {
                let mut told: SortedMap<String, Option<String>> =
                    readings.keys().map(|who| (who.clone(), None)).collect();
                told.extend(shown.into_iter().map(|(who, digest, _)| (who, Some(digest))));
                Disagreement { list, name, shown: told }
            })
            .collect())
    }
}

/// Tells whether of those who are shown a definition, each with its digest and since when, some are shown another one, or none,
/// at the same time: from when somebody was shown it first until their lists were read last, they are.
fn disagree(readings: &SortedMap<String, i64>, shown: &[Shown]) -> bool {
    let by_whom: SortedMap<&str, (&str, i64)> =
        shown.iter().map(|(who, digest, since)| (&**who, (&**digest, *since))).collect();
    let span = |(who, read): (&String, &i64)| match by_whom.get(who.as_str()) {
        Some((digest, since)) => (*since, *read, Some(*digest)),
        None => (*read, *read, None),
    };
    let mut spans: Vec<_> = readings.iter().map(span).collect();
    spans.sort_unstable();
    // Of those that began before: which lasts longest, and which of the others.
    let (mut longest, mut other): (Option<(i64, Option<&str>)>, Option<i64>) = (None, None);
    for (since, read, digest) in spans {
        let rival = match longest {
            Some((_, same)) if same == digest => other,
            Some((until, _)) => Some(until),
            None => None,
        };
        if rival.is_some_and(|until| until >= since) {
            return true;
        }
        match longest {
            Some((until, same)) if same == digest => longest = Some((until.max(read), same)),
            Some((until, _)) if until >= read => other = other.max(Some(read)),
            before => {
                other = other.max(before.map(|(until, _)| until));
                longest = Some((read, digest));
            }
        }
    }
    false
}

/// Who is shown a definition, its digest, and since when.
type Shown = (String, String, i64);

/// What an entry says, without its place.
struct What<'w> {
    principal: &'w str,
    list: &'w str,
    name: &'w str,
    event: &'w str,
    digest: &'w str,
}

/// Where a server's entries are being written.
struct Page<'p> {
    server: &'p str,
    at: u64,
    chain: Chain,
    bytes: u64,
}

impl<'p> Page<'p> {
    fn open(writing: &Transaction<'_>, server: &'p str, at: u64) -> anyhow::Result<Self> {
        let last = "SELECT id, hash, total FROM entries WHERE server = ?1 ORDER BY id DESC LIMIT 1";
        let found = writing.query_row(last, [server], |row| {
            let chain = Chain { last: row.get::<_, i64>(0)?.unsigned_abs(), hash: row.get(1)? };
            Ok((chain, row.get::<_, i64>(2)?.unsigned_abs()))
        });
        let (chain, bytes) = found.optional()?.unwrap_or_default();
        Ok(Self { server, at, chain, bytes })
    }

    /// Writes an entry, as long as there is room; the last that is written says that there is no more.
    fn add(&mut self, writing: &Transaction<'_>, what: &What<'_>, text: &str) -> anyhow::Result<()> {
        if self.bytes >= LONGEST {
            return Ok(());
        }
        let is_full = self.bytes + text.len() as u64 >= LONGEST;
        let event = if is_full { "full" } else { what.event };
        let what = What { event, ..*what };
        let line = line(&mut self.chain, (self.server, self.at), &what, if is_full { "null" } else { text });
        let insert = "INSERT INTO entries (server, id, at, principal, list, name, event, digest, line, hash, total) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let What { principal, list, name, event, digest } = what;
        self.bytes = if is_full { LONGEST } else { self.bytes + line.len() as u64 };
        let (id, at, total) = (signed(self.chain.last), signed(self.at), signed(self.bytes));
        let values =
            params![self.server, id, at, principal, list, name, event, digest, line, self.chain.hash, total];
        writing.execute(insert, values)?;
        if is_full {
            tracing::warn!(
                server = self.server,
                "it has said too much of itself: no more of that is written down"
            );
        }
        Ok(())
    }
}

/// Makes the next line of a chain.
fn line(chain: &mut Chain, (server, at): (&str, u64), what: &What<'_>, text: &str) -> String {
    chain.add(|id, prev| {
        let mut line = format!(r#"{{"id":{id},"prev":"{prev}","at":"{}""#, time_text(at));
        let members = [
            ("server", server),
            ("principal", what.principal),
            ("list", what.list),
            ("name", what.name),
            ("event", what.event),
            ("digest", what.digest),
        ];
        for (key, value) in members {
            for part in [",\"", key, "\":"] {
                line.push_str(part);
            }
            write_string(&mut line, value);
        }
        line.push_str(r#","definition":"#);
        line.push_str(text);
        line.push('}');
        line
    })
}

fn shown_to(
    writing: &Transaction<'_>,
    server: &str,
    principal: &str,
) -> anyhow::Result<SortedMap<(String, String), String>> {
    let mut statement =
        writing.prepare("SELECT list, name, digest FROM shown WHERE server = ?1 AND principal = ?2")?;
    let rows =
        statement.query_map([server, principal], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn note_shown(writing: &Transaction<'_>, server: &str, what: &What<'_>, at: u64) -> anyhow::Result<()> {
    let note = "INSERT OR REPLACE INTO shown (server, principal, list, name, digest, since) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let What { principal, list, name, digest, .. } = what;
    writing.execute(note, params![server, principal, list, name, digest, signed(at)])?;
    Ok(())
}

/// The members of a line that its row repeats.
#[derive(serde::Deserialize)]
struct Line {
    id: u64,
    prev: String,
    server: String,
    principal: String,
    list: String,
    name: String,
    event: String,
    digest: String,
}

/// Tells whether a line is the one after those of a chain.
fn follows(line: &str, chain: &Chain, id: u64, server: &str) -> bool {
    let read: Option<Line> = serde_json::from_str(line).ok();
    read.is_some_and(|line| line.id == id && line.prev == chain.hash && line.server == server)
}

/// Tells whether a line says what stands beside it.
fn repeats(
    line: &str,
    (digest, list, name, event, principal): &(String, String, String, String, String),
) -> bool {
    let read: Option<Line> = serde_json::from_str(line).ok();
    read.is_some_and(|line| {
        line.digest == *digest
            && line.list == *list
            && line.name == *name
            && line.event == *event
            && line.principal == *principal
    })
}

#[cfg(test)]
mod tests {
    use portcullis_core::testing::sighting;

    use super::*;

    /// A data folder of its own, which goes with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("portcullis-history-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn events(history: &History, tool: Option<&str>) -> String {
        let entries = history.entries("s", tool).unwrap();
        let events =
            entries.iter().map(|entry| format!("{} {} {}", entry.event, entry.name, entry.principal));
        events.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn only_what_is_new_is_written() {
        let folder = Folder::new("new");
        let mut history = History::make(&folder.0).unwrap();
        for (at, tools) in [
            (1, &[("a", "A"), ("b", "B")][..]),
            (2, &[("b", "B"), ("a", "A")]),
            (3, &[("a", "A2")]),
            (4, &[("a", "A2"), ("b", "B")]),
        ] {
            history.write(&sighting("s", None, at, tools)).unwrap();
        }
        assert_eq!(events(&history, None), "new a ; new b ; changed a ; gone b ; new b ");
        assert_eq!(events(&history, Some("a")), "new a ; changed a ");
        let verified = history.verify("s").unwrap();
        assert_eq!((verified.entries, verified.fault), (5, None));
        assert_eq!(history.servers().unwrap(), [("s".to_owned(), 5)]);
    }

    #[test]
    fn whatever_is_done_to_entries_is_found() {
        let tampered = |name: &str, how: &str| {
            let folder = Folder::new(name);
            let mut history = History::make(&folder.0).unwrap();
            for at in 1..5 {
                history.write(&sighting("s", None, at, &[("a", &at.to_string())])).unwrap();
            }
            assert!(history.0.execute_batch(how).unwrap_err().to_string().contains("entries are never"));
            history.0.execute_batch("DROP TRIGGER entries_stay; DROP TRIGGER entries_last;").unwrap();
            history.0.execute_batch(how).unwrap();
            history.verify("s").unwrap().fault.unwrap_or_default()
        };
        assert_eq!(
            tampered("text", "UPDATE entries SET line = replace(line, '\"2\"', '\"9\"') WHERE id = 2"),
            "entry 2 is not what was written, or what was before it is gone"
        );
        assert_eq!(
            tampered("digest", "UPDATE entries SET digest = 'x' WHERE id = 3"),
            "entry 3 is not what was written, or what was before it is gone"
        );
        assert_eq!(
            tampered("gone", "DELETE FROM entries WHERE id = 1"),
            "entry 1 is not what was written, or what was before it is gone"
        );
        assert_eq!(
            tampered("order", "UPDATE entries SET id = id + 10; UPDATE entries SET id = 15 - id"),
            "entry 1 is not what was written, or what was before it is gone"
        );
    }

    #[test]
    fn identities_that_are_shown_different_things_at_the_same_time_are_named() {
        let folder = Folder::new("identities");
        let mut history = History::make(&folder.0).unwrap();
        let mut shown = |who: &str, at: u64, tools: &[(&str, &str)]| {
            history.write(&sighting("s", Some(who), at, tools)).unwrap();
            let found = history.disagreements("s").unwrap();
            let found = found.iter().map(|one| {
                let who = one
                    .shown
                    .iter()
                    .map(|(who, digest)| format!("{who}{}", if digest.is_some() { "+" } else { "-" }));
                format!("{}: {}", one.name, who.collect::<Vec<_>>().join(" "))
            });
            found.collect::<Vec<_>>().join("; ")
        };
        assert_eq!(shown("ana", 1, &[("a", "A"), ("b", "B")]), "");
        assert_eq!(shown("bo", 2, &[("a", "A"), ("b", "B")]), "");
        // The server has changed; whether ana would be shown the same, nobody knows yet.
        assert_eq!(shown("bo", 3, &[("a", "A2"), ("b", "B"), ("c", "C")]), "");
        assert_eq!(shown("ana", 4, &[("a", "A2"), ("b", "B"), ("c", "C")]), "");
        assert_eq!(shown("bo", 5, &[("a", "evil"), ("b", "B")]), "");
        assert_eq!(shown("ana", 6, &[("a", "A2"), ("b", "B"), ("c", "C")]), "a: ana+ bo+; c: ana+ bo-");
        assert_eq!(
            shown("cy", 6, &[("a", "A2"), ("b", "B"), ("c", "C")]),
            "a: ana+ bo+ cy+; c: ana+ bo- cy+"
        );
        assert_eq!(shown("bo", 7, &[("a", "A2"), ("b", "B"), ("c", "C")]), "");
    }

    #[test]
    fn a_server_does_not_fill_the_disk() {
        let folder = Folder::new("full");
        let mut history = History::make(&folder.0).unwrap();
        let large = "x".repeat(40 << 10);
        for at in 1..5 {
            history.write(&sighting("s", None, at, &[("a", &format!("{large}{at}"))])).unwrap();
        }
        assert_eq!(events(&history, None), "new a ; full a ");
        assert_eq!(history.verify("s").unwrap().fault, None);
    }
}
