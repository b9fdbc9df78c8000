//! What is remembered of sessions that need not end properly: until they expire, and of no more than so many.

use crate::sorted::SortedMap;

/// The most sessions of which something is remembered.
const MOST: usize = 10_000;

/// A value for each of some sessions, by nonce.
#[derive(Debug)]
pub(crate) struct Remembered<T>(SortedMap<u64, (T, u64)>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(SortedMap::new())
    }
}

impl<T> Remembered<T> {
    /// Remembers a value until `expires`. Where there are too many, the one that expires first gives way.
    pub(crate) fn insert(&mut self, nonce: u64, value: T, expires: u64, now: u64) {
        self.0.retain(|_, (_, expires)| *expires > now);
        if self.0.len() >= MOST && !self.0.contains_key(&nonce) {
            let first = self.0.iter().min_by_key(|(_, (_, expires))| *expires).map(|(nonce, _)| *nonce);
            first.map(|nonce| self.0.remove(&nonce));
        }
        self.0.insert(nonce, (value, expires));
    }

    /// Returns what is remembered of a session.
    pub(crate) fn get(&self, nonce: u64) -> Option<&T> {
        self.0.get(&nonce).map(|(value, _)| value)
    }

    /// Forgets a session.
    pub(crate) fn remove(&mut self, nonce: u64) {
        self.0.remove(&nonce);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_what_has_expired_and_does_not_grow() {
        let mut levels = Remembered::default();
        levels.insert(1, 'a', 10, 0);
        levels.insert(2, 'b', 20, 0);
        levels.insert(3, 'c', 30, 10);
        assert_eq!((levels.get(1), levels.get(2), levels.get(3)), (None, Some(&'b'), Some(&'c')));
        for nonce in 10..10 + MOST as u64 {
            levels.insert(nonce, 'd', 40, 10);
        }
        assert_eq!((levels.get(2), levels.get(3), levels.0.len()), (None, None, MOST));
    }
}
