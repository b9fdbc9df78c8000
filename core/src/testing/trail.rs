//! An audit trail in memory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::audit::Entry;
use crate::ports::{AuditSink, AuditState};
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
