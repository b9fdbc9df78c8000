//! An audit trail in memory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::{self, BoxFuture};

use crate::audit::{self, Entry, Gathering, Order, Page, Query, Unreadable, Verdict, Verdicts};
use crate::ports::{AuditQuery, AuditSink, AuditState};
use crate::upstream::lock;

/// Keeps what it is given.
#[derive(Debug, Default)]
pub struct TestTrail {
    ticks: AtomicU64,
    fails: AtomicBool,
    entries: Mutex<Vec<Entry>>,
}

impl TestTrail {
    /// Returns the entries since the last time.
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *lock(&self.entries))
    }

    /// Cannot be written from now on.
    pub fn fail(&self) {
        self.fails.store(true, Ordering::Relaxed);
    }
}

impl AuditSink for TestTrail {
    fn ticks(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        1_800_000_000_000
    }

    fn record(&self, entry: Entry) {
        lock(&self.entries).push(entry);
    }

    fn is_failing(&self) -> bool {
        self.fails.load(Ordering::Relaxed)
    }

    fn state(&self) -> AuditState {
        AuditState {
            trouble: self.is_failing().then(|| "the disk is full".to_owned()),
            ..AuditState::default()
        }
    }
}

/// Lines that can be read, each at the place of its index. A line that is empty cannot be read.
#[derive(Debug, Default)]
pub struct TestLines(Vec<String>);

impl TestLines {
    /// Holds these lines.
    pub fn new(lines: Vec<String>) -> Self {
        Self(lines)
    }

    fn read(&self, query: &Query) -> Result<Page, Unreadable> {
        let start: Option<usize> =
            query.cursor.as_ref().map(|text| text.parse().map_err(|_| Unreadable::Cursor)).transpose()?;
        let is_after = |place: usize| match (query.order, start) {
            (_, None) => true,
            (Order::Newest, Some(start)) => place < start,
            (Order::Oldest, Some(start)) => place > start,
        };
        let mut places: Vec<_> = (0..self.0.len()).filter(|place| is_after(*place)).collect();
        if query.order == Order::Newest {
            places.reverse();
        }
        let (mut page, mut last, mut next) = (Gathering::new(query), start, None);
        for place in places {
            if page.is_full() {
                next = last.map(|last| last.to_string());
                break;
            }
            if self.0[place].is_empty() {
                return Err(Unreadable::Failed("the disk is gone".into()));
            }
            last = Some(place);
            if query.matches(&self.0[place]) {
                page.take(self.0[place].clone());
            }
        }
        let follow = if query.order == Order::Newest { self.0.len().checked_sub(1) } else { last };
        Ok(Page { lines: page.into_lines(), next, follow: follow.map(|place| place.to_string()) })
    }
}

impl AuditQuery for TestLines {
    fn page(&self, query: Query) -> BoxFuture<'_, Result<Page, Unreadable>> {
        future::ready(self.read(&query)).boxed()
    }

    fn verify(&self, _: Option<String>) -> BoxFuture<'_, Result<Verdicts, Unreadable>> {
        let outcome = audit::verify(&self.0, None).map_err(|breach| breach.to_string());
        let writers = vec![Verdict { writer: "test".into(), outcome }];
        future::ready(Ok(Verdicts { writers, next: None })).boxed()
    }
}
