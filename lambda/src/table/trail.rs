//! The audit trail of this environment: entries are gathered while requests are answered, and written after the answer.
//!
//! **Each environment is a writer of its own, with a chain of its own**: none waits for another, and none can break
//! another's chain. Entries get their places when they are first sent, and keep them however often they are sent; a place
//! is written once. Several entries are written together or not at all, so that **a chain has no holes, wherever the
//! environment was killed**. How far a chain reaches is written after its lines, and stands beside them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use portcullis_core::audit::{Chain, Entry, Redactor, Writing};
use portcullis_core::config::Audit;
use portcullis_core::ports::{AuditSink, AuditState};

use super::item::{BY, TTL, count, item, string, text, ttl, with};
use super::scribe::{Scribe, WRITERS};
use super::write::Found;
use super::{Condition, Table, Trouble, Written};

/// How much room there is.
const ROOM: Room = Room { entries: 4096, arguments: 4 << 20 };
/// How many entries are written together.
const TOGETHER: usize = 25;
/// Milliseconds of a day.
const DAY: u64 = 86_400_000;
/// How much longer than its lines the table keeps that there is a writer, in milliseconds.
pub(super) const LONGER: u64 = 2 * DAY;
/// How often another writer begins where a place is taken.
const WRITES: usize = 4;

/// The entries of this environment. Cheap to clone; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Sink(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    table: Table,
    started: Instant,
    gathered: Mutex<Gathered>,
    /// Held by whoever writes.
    scribe: tokio::sync::Mutex<Scribe>,
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// How many entries; of those that come after that, how many is all that is told.
    pub(super) entries: usize,
    /// How many bytes of their arguments; of those that come after that there is the digest.
    pub(super) arguments: usize,
}

/// What waits to be written, and how.
#[derive(Debug)]
struct Gathered {
    entries: VecDeque<Entry>,
    room: Room,
    /// How many bytes of arguments wait.
    held: usize,
    /// How many have a place and are not known to be written.
    placed: usize,
    recorded: usize,
    lost: usize,
    /// Of how many lost entries the trail tells.
    told: usize,
    trouble: Option<String>,
    settings: Option<Audit>,
    writing: Writing,
    /// For how many days entries are kept.
    days: u32,
}

impl Sink {
    /// Keeps the trail in this table.
    pub(crate) fn new(table: Table) -> Self {
        Self::with_room(table, ROOM)
    }

    /// The same, with so much room for what waits.
    pub(super) fn with_room(table: Table, room: Room) -> Self {
        let gathered = Gathered {
            entries: VecDeque::new(),
            room,
            held: 0,
            placed: 0,
            recorded: 0,
            lost: 0,
            told: 0,
            trouble: None,
            settings: None,
            writing: Writing::default(),
            days: Audit::default().keep_days,
        };
        let scribe = tokio::sync::Mutex::new(Scribe::new(table.now()));
        Self(Arc::new(Inner { table, started: Instant::now(), gathered: Mutex::new(gathered), scribe }))
    }

    /// Writes what waits. What cannot be written waits on; so does what was being written where this is given up.
    pub(crate) async fn flush(&self) -> Result<(), String> {
        let mut scribe = self.0.scribe.lock().await;
        loop {
            if scribe.placed.is_empty() && !self.place(&mut scribe) {
                return Ok(());
            }
            let written = self.write(&mut scribe).await;
            let mut gathered = self.gathered();
            let before = gathered.trouble.take();
            if let Err(trouble) = written {
                if before.is_none() {
                    tracing::error!(reason = %trouble, "the audit trail cannot be written");
                }
                gathered.trouble = Some(trouble.to_string());
                return Err(trouble.to_string());
            }
            gathered.recorded += std::mem::take(&mut gathered.placed);
            scribe.placed.clear();
        }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.0.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives some of what waits its places; tells whether anything waited.
    fn place(&self, scribe: &mut Scribe) -> bool {
        let now = self.0.table.now();
        let mut gathered = self.gathered();
        let lost = gathered.lost - gathered.told;
        if lost > 0 {
            gathered.told = gathered.lost;
            let what = format!("{lost} entries were lost: there was no room for them");
            gathered.entries.push_back(Entry::own(now, "audit/lost", what));
        }
        let together = gathered.entries.len().min(TOGETHER);
        if together == 0 {
            return false;
        }
        let entries: Vec<_> = gathered.entries.drain(..together).collect();
        gathered.held -= entries.iter().map(|entry| entry.arguments.held()).sum::<usize>();
        gathered.placed = entries.len();
        let until = now + u64::from(gathered.days.max(1)) * DAY;
        scribe.place(entries, &gathered.writing, until);
        true
    }

    async fn write(&self, scribe: &mut Scribe) -> Result<(), Trouble> {
        for _ in 0..WRITES {
            if self.make_known(scribe).await? && self.write_lines(scribe).await? {
                return self.write_head(scribe).await;
            }
            tracing::error!(
                writer = scribe.name,
                "another has written where this writer writes: another one begins"
            );
            scribe.begin_again(self.0.table.now(), &self.gathered().writing);
        }
        Err(Trouble("has every place of the audit trail taken by somebody else".into()))
    }

    /// Makes sure that the table knows of the writer; tells whether it is this one.
    async fn make_known(&self, scribe: &mut Scribe) -> Result<bool, Trouble> {
        let table = &self.0.table;
        if scribe.kept.1 <= scribe.known {
            return Ok(true);
        }
        // Each day once, while it writes.
        let until = scribe.kept.1 + LONGER;
        let writer =
            with(item(WRITERS, &format!("w#{}", scribe.name)), [(BY, string(&scribe.by)), (TTL, ttl(until))]);
        let written = if scribe.known == 0 {
            let head = (scribe.head(0, &Chain::default().hash), Condition::IsNew);
            table.put_together(vec![(writer, Condition::IsNew), head]).await?
        } else {
            table.put(writer, Condition::Has(BY, string(&scribe.by))).await?
        };
        let is_ours = match written {
            Written::Done => true,
            Written::Refused(found) => {
                let is_ours =
                    |found: &Found| found.item().and_then(|item| text(item, BY)) == Some(&scribe.by);
                found.first().is_some_and(is_ours)
            }
        };
        if is_ours {
            scribe.known = until;
        }
        Ok(is_ours)
    }

    /// Writes the lines that have places; tells whether these are theirs.
    async fn write_lines(&self, scribe: &Scribe) -> Result<bool, Trouble> {
        let (table, placed) = (&self.0.table, &scribe.placed);
        let puts = placed.iter().map(|placed| (placed.to_item(&scribe.name), Condition::IsNew)).collect();
        let written = table.put_together(puts).await?;
        Ok(match written {
            Written::Done => true,
            // Where an answer was lost, the lines are there.
            Written::Refused(found) => placed.iter().zip(&found).all(|(placed, found)| {
                found.item().and_then(|item| text(item, "line")) == Some(placed.line.as_str())
            }),
        })
    }

    async fn write_head(&self, scribe: &Scribe) -> Result<(), Trouble> {
        let Chain { last, hash } = &scribe.chain;
        // What comes late and says less than is known says nothing.
        let condition = Condition::IsNewOrLess("last", count(*last));
        self.0.table.put(scribe.head(*last, hash), condition).await.map(drop)
    }
}

impl AuditSink for Sink {
    fn ticks(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        self.0.table.now()
    }

    fn record(&self, mut entry: Entry) {
        let mut gathered = self.gathered();
        if gathered.waiting() >= gathered.room.entries {
            gathered.lost += 1;
            return;
        }
        if gathered.held + entry.arguments.held() > gathered.room.arguments {
            entry.arguments.forget();
        }
        gathered.held += entry.arguments.held();
        gathered.entries.push_back(entry);
    }

    fn configure(&self, audit: &Audit) {
        let mut gathered = self.gathered();
        if gathered.settings.as_ref() == Some(audit) {
            return;
        }
        match Redactor::new(&audit.redact) {
            Ok(redactor) => gathered.writing = Writing { redactor, arguments: audit.arguments },
            Err(error) => tracing::error!("the audit trail's settings stay as they are: {error}"),
        }
        gathered.days = audit.keep_days;
        gathered.settings = Some(audit.clone());
    }

    fn is_failing(&self) -> bool {
        let gathered = self.gathered();
        gathered.trouble.is_some() || gathered.waiting() > gathered.room.entries / 2
    }

    fn state(&self) -> AuditState {
        let gathered = self.gathered();
        AuditState {
            trouble: gathered.trouble.clone(),
            waiting: gathered.waiting(),
            recorded: gathered.recorded,
            lost: gathered.lost,
        }
    }
}

impl Gathered {
    fn waiting(&self) -> usize {
        self.entries.len() + self.placed
    }
}
