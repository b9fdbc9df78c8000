//! The drafts that wait to be written: those who answer requests add to them, one thread takes them.
//!
//! **Nobody who adds waits**, but for another who adds or takes: a text is copied while it is locked, and nothing else.
//! What is taken is given back for its memory.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use portcullis_core::audit::Drafted;

use super::drafts::Drafts;
use super::lock;

/// How many entries may wait, those that have been taken and are not recorded yet included.
pub(super) const QUEUE: usize = 16 << 10;
/// The most entries that are taken together.
pub(super) const TOGETHER: usize = 1024;
/// How long the text of those grows that are taken together, in bytes.
const SIZE: usize = 1 << 20;

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

/// What is behind the lock.
#[derive(Default)]
struct State {
    /// What is taken together; more are added to the last.
    batches: VecDeque<Drafts>,
    /// How many entries they have.
    entries: usize,
    /// How many have been taken and are not recorded yet.
    taken: usize,
    /// Memory for the next ones.
    spare: Option<Drafts>,
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
    /// Adds a draft; tells whether there was room for it.
    pub(super) fn push(&self, text: &str, drafted: &Drafted<'_>, arguments: Option<Bytes>) -> bool {
        let mut state = lock(&self.state);
        if state.waiting() >= QUEUE || state.phase == Phase::Closed {
            return false;
        }
        state.last().push(text, drafted, arguments);
        state.entries += 1;
        // Later ones find the thread awake, or gathering.
        if state.entries == 1 {
            self.changed.notify_one();
        }
        true
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
        let is_idle = |state: &mut State| state.entries == 0 && state.phase == Phase::Open;
        let state = self.changed.wait_while(lock(&self.state), is_idle);
        let count = state.unwrap_or_else(PoisonError::into_inner).entries;
        if count < TOGETHER {
            self.pause(others);
        }
    }

    /// Waits for as long as `pause`, unless it is to stop.
    pub(super) fn pause(&self, pause: Duration) {
        let is_open = |state: &mut State| state.phase == Phase::Open;
        drop(self.changed.wait_timeout_while(lock(&self.state), pause, is_open));
    }

    /// Takes the entries that come first.
    pub(super) fn take(&self) -> Drafts {
        let mut state = lock(&self.state);
        let taken = state.batches.pop_front().unwrap_or_default();
        state.entries -= taken.len();
        state.taken = taken.len();
        taken
    }

    /// Takes note that what was taken is recorded.
    pub(super) fn recorded(&self) {
        lock(&self.state).taken = 0;
    }

    /// Takes what was taken back, for its memory.
    pub(super) fn give_back(&self, mut taken: Drafts) {
        taken.clear();
        lock(&self.state).spare = Some(taken);
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.entries + self.taken
    }

    /// Returns what another is added to.
    fn last(&mut self) -> &mut Drafts {
        let is_full = |last: &Drafts| last.len() >= TOGETHER || last.size() >= SIZE;
        if self.batches.back().is_none_or(is_full) {
            self.batches.push_back(self.spare.take().unwrap_or_default());
        }
        let last = self.batches.len() - 1;
        &mut self.batches[last]
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::audit::{Entry, Writing};

    use super::*;

    #[test]
    fn what_is_taken_waits_until_it_is_recorded() {
        let queue = Queue::default();
        let entry = Entry::own(0, "audit/test", String::new());
        let push = || {
            let memory = (&mut String::new(), &Writing::default());
            Drafts::make(&entry, memory, |text, drafted, arguments| queue.push(text, drafted, arguments))
        };
        assert!((0..QUEUE).all(|_| push()) && !push());
        let taken = queue.take();
        assert_eq!((taken.len(), queue.waiting()), (TOGETHER, QUEUE));
        assert!(!push());
        queue.recorded();
        queue.give_back(taken);
        assert!((0..TOGETHER).all(|_| push()) && !push());
        queue.close();
        assert_eq!(queue.take().len(), TOGETHER);
        queue.recorded();
        assert!(!push());
        assert_eq!(queue.waiting(), QUEUE - TOGETHER);
    }

    #[test]
    fn drafts_come_back_as_they_were() {
        let mut drafts = Drafts::default();
        let entries = ["one", "two"].map(|text| Entry::own(7, "audit/test", text.to_owned()));
        for entry in &entries {
            Drafts::make(entry, (&mut String::new(), &Writing::default()), |t, d, a| drafts.push(t, d, a));
        }
        let mut lines = Vec::new();
        for (id, draft) in (1..).zip(drafts.iter()) {
            let mut line = String::new();
            draft.write(&mut line, (id, "x"), &Writing::default());
            lines.push(line);
        }
        assert_eq!(lines, [1, 2].map(|id| entries[id - 1].line(id as u64, "x", &Writing::default())));
    }
}
