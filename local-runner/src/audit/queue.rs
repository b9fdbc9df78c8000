//! The entries that wait to be written: those who answer requests add to it, one thread takes from it.
//!
//! **Nobody who adds waits**, but for another who adds or takes: nothing else happens while it is locked. What is taken
//! leaves its memory behind for what comes next, so that an entry allocates none that another thread would have to free.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use portcullis_core::audit::Entry;

use super::lock;

/// How many entries may wait, those that have been taken and are not recorded yet included.
pub(super) const QUEUE: usize = 16 << 10;
/// The most entries that are taken together.
pub(super) const TOGETHER: usize = 1024;

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

/// What is behind the lock.
#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    /// How many have been taken and are not recorded yet.
    taken: usize,
    phase: Phase,
}

/// Whether entries are still wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// They are, and are gathered before they are written.
    #[default]
    Open,
    /// They are, and are written at once.
    Stopping,
    /// They are not.
    Closed,
}

impl Queue {
    /// Adds an entry; gives it back where there is no room.
    pub(super) fn push(&self, entry: Entry) -> Result<(), Box<Entry>> {
        let mut state = lock(&self.state);
        if state.waiting() >= QUEUE || state.phase == Phase::Closed {
            return Err(Box::new(entry));
        }
        state.entries.push_back(entry);
        // Later ones find the thread awake, or gathering.
        if state.entries.len() == 1 {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Returns how many wait to be recorded.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.state).waiting()
    }

    /// Asks for what is left to be written at once, and for nothing to be waited for after that.
    pub(super) fn stop(&self) {
        lock(&self.state).phase = Phase::Stopping;
        self.changed.notify_one();
    }

    /// Tells whether that has been asked for.
    pub(super) fn is_stopping(&self) -> bool {
        lock(&self.state).phase != Phase::Open
    }

    /// Takes no more entries.
    pub(super) fn close(&self) {
        lock(&self.state).phase = Phase::Closed;
    }

    /// Waits until there is an entry, and then for others that are written with it, unless it is to stop.
    pub(super) fn gather(&self, others: Duration) {
        let is_idle = |state: &mut State| state.entries.is_empty() && state.phase == Phase::Open;
        let state = self.changed.wait_while(lock(&self.state), is_idle);
        let count = state.unwrap_or_else(PoisonError::into_inner).entries.len();
        if count < TOGETHER {
            self.pause(others);
        }
    }

    /// Waits for as long as `pause`, unless it is to stop.
    pub(super) fn pause(&self, pause: Duration) {
        let is_open = |state: &mut State| state.phase == Phase::Open;
        drop(self.changed.wait_timeout_while(lock(&self.state), pause, is_open));
    }

    /// Takes the entries that come first; `into` has to be empty.
    pub(super) fn take(&self, into: &mut VecDeque<Entry>) {
        let mut state = lock(&self.state);
        if state.entries.len() <= TOGETHER {
            std::mem::swap(&mut state.entries, into);
        } else {
            into.extend(state.entries.drain(..TOGETHER));
        }
        state.taken = into.len();
    }

    /// Takes note that what was taken is recorded.
    pub(super) fn recorded(&self) {
        lock(&self.state).taken = 0;
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.entries.len() + self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_waits_until_it_is_recorded() {
        let queue = Queue::default();
        let push = || queue.push(Entry::own(0, "audit/test", String::new())).is_ok();
        assert!((0..QUEUE).all(|_| push()) && !push());
        let mut taken = VecDeque::new();
        queue.take(&mut taken);
        assert_eq!((taken.len(), queue.waiting()), (TOGETHER, QUEUE));
        assert!(!push());
        queue.recorded();
        assert!((0..TOGETHER).all(|_| push()) && !push());
        queue.close();
        taken.clear();
        queue.take(&mut taken);
        queue.recorded();
        assert!(!push());
        assert_eq!(queue.waiting(), QUEUE - TOGETHER);
    }
}
