//! Counts that hold across instances: an item for each.
//!
//! **What cannot be counted is refused.** What is counted under several keys is written together or not at all. Whoever
//! counts begins with what it has last seen of a count, and is told otherwise where it has changed: mostly that is one
//! request. **It is refused only by what is in the table now.**

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::FutureExt as _;
use futures::future::{self, BoxFuture};
use portcullis_core::quota::{Count, Counted, Errand, Exceeded, Exhausted, Hold, Most, Outcome};

use super::item::{BY, Item, TTL, item, string, text, ttl, with};
use super::write::Found;
use super::{ATTEMPTS, Condition, Table, Trouble, Written, garbled, part, pause, random, token};
use crate::host;
use crate::underway::Underway;

/// The second key of a count.
const SK: &str = "now";
/// How many of its last writes an item knows.
const RECENT: usize = 8;
/// How many counts an instance remembers.
const REMEMBERED: usize = 1024;

/// The counts in the table. Cheap to clone; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    table: Table,
    underway: Underway,
    /// What was last seen of them.
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
}

/// What was seen of a count.
#[derive(Debug, Clone, Default)]
struct Seen {
    count: Count,
    /// By which writes it came to be what it is, the last one first; none where it is not there.
    by: Vec<String>,
}

/// A count that is about to change.
#[derive(Debug)]
struct Change {
    key: String,
    errands: Vec<Errand>,
    seen: Seen,
    /// Whether that is what is in the table.
    is_sure: bool,
}

impl Counts {
    /// Keeps them in this table; what has run is given back in the background.
    pub(crate) fn new(table: Table, underway: Underway) -> Self {
        Self { table, underway, seen: Arc::default() }
    }

    async fn take_all(&self, counted: &[Counted], now: u64) -> Result<Hold, Exhausted> {
        let Some(first) = counted.first() else { return Ok(Hold::default()) };
        let hold = random();
        let mut errands: BTreeMap<&str, Vec<Errand>> = BTreeMap::new();
        for Counted { key, limits } in counted {
            errands.entry(key).or_default().push(Errand::Take { most: Most::from(limits), now, hold });
        }
        let changes = errands.into_iter().map(|(key, errands)| self.change(key, errands)).collect();
        match self.run(changes).await {
            Ok(None) => {}
            Ok(Some(exhausted)) => return Err(exhausted),
            Err(trouble) => {
                tracing::error!(reason = %trouble, "requests cannot be counted");
                let (key, retry_after) = (first.key.clone(), Duration::from_secs(1));
                return Err(Exhausted { key, limit: Exceeded::Unknown, retry_after });
            }
        }
        let running = counted.iter().filter(|counted| counted.limits.concurrency.is_some());
        let running: Vec<_> = running.map(|counted| counted.key.clone()).collect();
        if running.is_empty() {
            return Ok(Hold::default());
        }
        let counts = self.clone();
        Ok(Hold::new(move || counts.underway.clone().spawn(counts.give_back(running, hold))))
    }

    /// Gives back what has run. What cannot be given back ends by itself, in time.
    async fn give_back(self, keys: Vec<String>, hold: u64) {
        let given = keys.iter().map(async |key| {
            let change = self.change(key, vec![Errand::GiveBack { hold }]);
            if let Err(trouble) = self.run(vec![change]).await {
                tracing::warn!(%key, reason = %trouble, "what has run is not given back, and ends by itself");
            }
        });
        future::join_all(given).await;
    }

    fn change(&self, key: &str, errands: Vec<Errand>) -> Change {
        let seen = self.seen().get(key).cloned().unwrap_or_default();
        Change { key: key.to_owned(), errands, seen, is_sure: false }
    }

    /// Changes counts, all of them or none; returns which one is used up, where one is.
    async fn run(&self, mut changes: Vec<Change>) -> Result<Option<Exhausted>, Trouble> {
        let by = token();
        for attempt in 1..=ATTEMPTS {
            let mut next = Vec::with_capacity(changes.len());
            let mut exhausted = None;
            for change in &changes {
                match change.outcome(&by) {
                    Ok(seen) => next.push(seen),
                    Err(no) => exhausted = exhausted.or(Some(no)),
                }
            }
            if let Some(exhausted) = exhausted {
                if changes.iter().all(|change| change.is_sure) {
                    return Ok(Some(exhausted));
                }
                self.look(&mut changes).await?;
                continue;
            }
            let found = match self.write(&changes, &next).await? {
                Written::Done => {
                    self.remember(changes, next);
                    return Ok(None);
                }
                Written::Refused(found) => found,
            };
            for (change, found) in changes.iter_mut().zip(&found) {
                change.meet(found)?;
            }
            // The answer was lost, and the request sent again.
            if changes.iter().any(|change| change.seen.by.contains(&by)) {
                return Ok(None);
            }
            pause(attempt).await;
        }
        Err(Trouble("is too busy to count".into()))
    }

    async fn look(&self, changes: &mut [Change]) -> Result<(), Trouble> {
        for change in changes {
            let found = self.table.load(&pk(&change.key), SK).await?;
            change.meet(&found.map_or(Found::Nothing, Found::Other))?;
        }
        Ok(())
    }

    async fn write(&self, changes: &[Change], next: &[Seen]) -> Result<Written, Trouble> {
        let mut puts = Vec::with_capacity(changes.len());
        for (change, next) in changes.iter().zip(next) {
            let condition = match change.seen.by.first() {
                Some(by) => Condition::Has(BY, string(by)),
                None => Condition::IsNew,
            };
            puts.push((next.to_item(&change.key)?, condition));
        }
        self.table.put_together(puts).await
    }

    fn remember(&self, changes: Vec<Change>, next: Vec<Seen>) {
        let mut seen = self.seen();
        if seen.len() > REMEMBERED {
            seen.clear();
        }
        seen.extend(changes.into_iter().map(|change| change.key).zip(next));
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl host::Counts for Counts {
    fn take<'a>(&'a self, counted: &'a [Counted], now: u64) -> BoxFuture<'a, Result<Hold, Exhausted>> {
        self.take_all(counted, now).boxed()
    }
}

impl Change {
    /// Returns what the count comes to by a write with that token, or why it cannot.
    fn outcome(&self, by: &str) -> Result<Seen, Exhausted> {
        let mut count = self.seen.count.clone();
        for errand in &self.errands {
            if let Outcome::Exhausted { limit, retry_after } = count.run(*errand) {
                let retry_after = Duration::from_millis(retry_after);
                return Err(Exhausted { key: self.key.clone(), limit, retry_after });
            }
        }
        let before = self.seen.by.iter().take(RECENT - 1).cloned();
        Ok(Seen { count, by: [by.to_owned()].into_iter().chain(before).collect() })
    }

    /// Takes note of what is in the table.
    fn meet(&mut self, found: &Found) -> Result<(), Trouble> {
        match found {
            Found::AsExpected => {}
            Found::Nothing => self.seen = Seen::default(),
            Found::Other(item) => {
                self.seen = Seen::read(item).ok_or_else(|| garbled(&pk(&self.key), SK))?;
            }
        }
        self.is_sure = true;
        Ok(())
    }
}

impl Seen {
    fn to_item(&self, key: &str) -> Result<Item, Trouble> {
        let count = serde_json::to_string(&self.count).map_err(|error| Trouble(error.to_string()))?;
        let recent = AttributeValue::S(self.by.join(" "));
        let by = string(self.by.first().map_or("", String::as_str));
        let values = [
            ("count", string(&count)),
            (BY, by),
            ("recent", recent),
            (TTL, ttl(self.count.idle_at() + 1000)),
        ];
        Ok(with(item(&pk(key), SK), values))
    }

    fn read(item: &Item) -> Option<Self> {
        let count = serde_json::from_str(text(item, "count")?).ok()?;
        Some(Self { count, by: text(item, "recent")?.split(' ').map(str::to_owned).collect() })
    }
}

fn pk(key: &str) -> String {
    format!("count#{}", part(key))
}
