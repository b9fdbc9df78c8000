//! How much may go on at a time: places that are taken and given back. Pure.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::channel::oneshot;

use crate::upstream::lock;

/// Places that are taken or refused at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<AtomicUsize>);

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Places {
    /// Takes a place where fewer than `most` are taken.
    pub(crate) fn take(&self, most: usize) -> Option<Place> {
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Place(self.0.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Places that may be waited for, by as many as there are places. Whoever has waited longest is next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    taken: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A place, handed on when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Mutex<Queue>>);

/// What becomes of somebody who wants a place.
#[derive(Debug)]
pub(crate) enum Entry {
    /// There is one.
    Now(Turn),
    /// There will be one.
    Later(oneshot::Receiver<Turn>),
    /// Too many wait already.
    Full,
}

impl Turns {
    /// Asks for one of `most` places.
    pub(crate) fn enter(&self, most: usize) -> Entry {
        let mut queue = lock(&self.0);
        if queue.taken < most {
            queue.taken += 1;
            return Entry::Now(Turn(self.0.clone()));
        }
        queue.waiting.retain(|waiting| !waiting.is_canceled());
        if queue.waiting.len() >= most {
            return Entry::Full;
        }
        let (sender, receiver) = oneshot::channel();
        queue.waiting.push_back(sender);
        Entry::Later(receiver)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut queue = lock(&self.0);
            let next = queue.waiting.pop_front();
            queue.taken -= usize::from(next.is_none());
            next
        };
        // One that is no longer waited for comes back, and is handed on in turn.
        next.map(|next| next.send(Self(self.0.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_place_is_given_back() {
        let places = Places::default();
        let (one, two) = (places.take(2), places.take(2));
        assert!(one.is_some() && two.is_some() && places.take(2).is_none());
        drop(one);
        assert!(places.take(2).is_some());
    }

    #[test]
    fn whoever_has_waited_longest_is_next() {
        let turns = Turns::default();
        let Entry::Now(first) = turns.enter(2) else { panic!("there is a place") };
        let Entry::Now(_second) = turns.enter(2) else { panic!("there is another") };
        let Entry::Later(gone) = turns.enter(2) else { panic!("it may wait") };
        let Entry::Later(mut third) = turns.enter(2) else { panic!("it may wait") };
        assert!(matches!(turns.enter(2), Entry::Full));
        drop(gone);
        let Entry::Later(mut fourth) = turns.enter(2) else { panic!("one has left") };
        drop(first);
        let third = (&mut third).now_or_never().expect("its turn").expect("a turn");
        assert!((&mut fourth).now_or_never().is_none());
        drop(third);
        let fourth = fourth.now_or_never().expect("its turn");
        drop(fourth);
        assert!(matches!(turns.enter(2), Entry::Now(_)));
    }

    #[test]
    fn a_turn_that_nobody_takes_is_handed_on() {
        let turns = Turns::default();
        let Entry::Now(first) = turns.enter(1) else { panic!("there is a place") };
        let Entry::Later(late) = turns.enter(1) else { panic!("it may wait") };
        drop(first);
        drop(late);
        assert!(matches!(turns.enter(1), Entry::Now(_)));
    }
}
