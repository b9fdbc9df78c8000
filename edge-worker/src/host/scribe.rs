//! The writer of the audit trail: one object, which makes one chain of what all instances send it.
//!
//! **What it has taken is in its tables before it says so**, and a segment is there before it is copied to where it is
//! read. So nothing is lost or doubled, whatever breaks off in between.

use std::cell::{Cell, RefCell};

use portcullis_core::audit::{Batch, Piece, Writer};
use serde_json::{Value, json};
use wasm_bindgen::JsValue;

use super::trail::{Shelves, Tables};
use crate::bindings::Bindings;

/// What the one writer is called.
pub(super) const WRITER: &str = "main";
/// How long lines are gathered before they become a segment, in milliseconds.
const GATHER: u64 = 3000;
/// How long after a failure it is tried again, in milliseconds.
const AGAIN: u64 = 10_000;
/// How long a store of keys keeps a segment where nobody has said, in days.
const KEEP: u32 = 30;

const TABLES: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS sources (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS pieces (first INTEGER PRIMARY KEY, text TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS batches (first INTEGER PRIMARY KEY, key TEXT NOT NULL, path TEXT NOT NULL, \
     beside TEXT NOT NULL, text TEXT NOT NULL, reach TEXT NOT NULL)",
];

/// The tables of the writer, and what it knows of them.
pub(crate) struct Scribe {
    tables: Tables,
    bindings: Bindings,
    writer: RefCell<Option<Writer>>,
    is_copying: Cell<bool>,
    wakes: Cell<u64>,
}

/// A segment that is to be copied: its first number, key and path, what stands beside them, its text, and how far the
/// chain reaches with it.
type Row = (u64, String, String, String, String, String);

impl Scribe {
    pub(crate) fn of(state: &JsValue, bindings: Bindings) -> Self {
        let (writer, is_copying, wakes) = (RefCell::default(), Cell::default(), Cell::default());
        Self { tables: Tables::new(state), bindings, writer, is_copying, wakes }
    }

    /// Takes messages, a line each. Those that it has already are dropped.
    pub(crate) fn write(&self, messages: &str, days: Option<u32>, now: u64) -> Result<(), String> {
        let mut writer = self.writer()?;
        let written = writer.write(messages.lines(), now);
        let mut statements = vec![json!([KEPT, "writer", writer.state()])];
        let is_changed = !written.pieces.is_empty();
        for Piece { first, text } in written.pieces {
            statements.push(json!(["INSERT INTO pieces VALUES (?, ?)", first, text]));
        }
        for (name, text) in written.sources {
            statements.push(json!(["INSERT OR REPLACE INTO sources VALUES (?, ?)", name, text]));
        }
        for name in written.forgotten {
            statements.push(json!(["DELETE FROM sources WHERE name = ?", name]));
        }
        if let Some(days) = days.filter(|days| *days != self.days()) {
            statements.push(json!([KEPT, "days", days.to_string()]));
        }
        if is_changed || statements.len() > 1 {
            self.tables.run(&statements)?;
            self.writer.replace(Some(writer));
        }
        if is_changed && self.wakes.get() <= now {
            self.wake(now + GATHER);
        }
        Ok(())
    }

    /// Cuts what was gathered into segments, and copies those to where they are read.
    pub(crate) async fn copy(&self, now: u64) -> Result<(), String> {
        if self.is_copying.replace(true) {
            return Ok(());
        }
        let _one_at_a_time = Copying(&self.is_copying);
        self.cut(now)?;
        let shelves = Shelves::of(&self.bindings);
        loop {
            let rows: Vec<Row> = self.tables.rows("SELECT * FROM batches ORDER BY first LIMIT 1")?;
            let Some((first, key, path, beside, text, reach)) = rows.into_iter().next() else {
                return Ok(());
            };
            let days = self.days();
            let places = [(&shelves.store, &key), (&shelves.archive, &path)];
            for (shelf, name) in places {
                if let Some(shelf) = shelf {
                    shelf.keep((name, &beside), &text, days).await?;
                }
            }
            self.tables.run(&[
                json!(["DELETE FROM batches WHERE first = ?", first]),
                json!([KEPT, "reach", reach]),
            ])?;
        }
    }

    /// Copies what was gathered; what cannot be is tried again later.
    pub(crate) async fn copy_or_wait(&self, now: u64) {
        if let Err(why) = self.copy(now).await {
            tracing::error!(%why, "the audit trail cannot be copied to where it is read; it will be tried again");
            self.wake(now + AGAIN);
        }
    }

    /// Returns how far the chain reaches that has been copied, as JSON; nothing where none of it has.
    pub(crate) fn reach(&self) -> Result<Option<String>, String> {
        self.kept("reach")
    }

    fn cut(&self, now: u64) -> Result<(), String> {
        // It also makes the tables where there are none.
        let mut writer = self.writer()?;
        let pieces: Vec<(u64, String)> = self.tables.rows("SELECT first, text FROM pieces ORDER BY first")?;
        if pieces.is_empty() {
            return Ok(());
        }
        let pieces = pieces.into_iter().map(|(first, text)| Piece { first, text });
        let batches = writer.cut(pieces, now);
        let mut statements: Vec<_> = batches.iter().map(row).collect();
        statements.push(json!(["DELETE FROM pieces"]));
        statements.push(json!([KEPT, "writer", writer.state()]));
        self.tables.run(&statements)?;
        self.writer.replace(Some(writer));
        Ok(())
    }

    /// Returns the writer as it is, or as the tables have it.
    fn writer(&self) -> Result<Writer, String> {
        if let Some(writer) = &*self.writer.borrow() {
            return Ok(writer.clone());
        }
        let tables: Vec<_> = TABLES.iter().map(|table| json!([table])).collect();
        self.tables.run(&tables)?;
        let sources: Vec<(String, String)> = self.tables.rows("SELECT name, text FROM sources")?;
        let writer = match self.kept("writer")? {
            Some(state) => Writer::restore(WRITER, &state, sources),
            None => Some(Writer::new(WRITER)),
        };
        let writer = writer.ok_or("the writer's tables do not hold what it has written")?;
        self.writer.replace(Some(writer.clone()));
        Ok(writer)
    }

    fn kept(&self, name: &str) -> Result<Option<String>, String> {
        // Made where it is missing: also who only reads comes first sometimes.
        self.tables.run(&[json!([TABLES[0]])])?;
        let rows: Vec<(String, String)> = self.tables.rows("SELECT name, text FROM kept")?;
        Ok(rows.into_iter().find(|(found, _)| found == name).map(|(_, text)| text))
    }

    fn days(&self) -> u32 {
        self.kept("days").ok().flatten().and_then(|days| days.parse().ok()).unwrap_or(KEEP)
    }

    fn wake(&self, at: u64) {
        self.wakes.set(at);
        #[allow(clippy::cast_precision_loss, reason = "milliseconds are far below 2^53")]
        let moment = at as f64;
        // An object that cannot be woken copies what it has with what comes next.
        drop(self.tables.wake(moment));
    }
}

const KEPT: &str = "INSERT OR REPLACE INTO kept VALUES (?, ?)";

fn row(batch: &Batch) -> Value {
    let Batch { segment, text, reach } = batch;
    let reach = serde_json::to_string(reach).unwrap_or_default();
    json!([
        "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)",
        segment.first,
        segment.key(),
        segment.path(),
        segment.beside_text(),
        text,
        reach
    ])
}

/// Lets others copy, also where whoever copies is given up.
struct Copying<'l>(&'l Cell<bool>);

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
