//! Keys that were opened a moment ago, so that KMS is not asked whenever a connection is looked at: that is every five
//! seconds for each that is used, and a key changes with the connection's tokens alone.
//!
//! **They are few, for minutes, and wiped when they go.** Each is found by its connection and its wrapped text together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_core::oauth::connection::{ConnectionKey, DataKey};
use zeroize::Zeroizing;

/// How many are kept.
const MOST: usize = 256;
/// How long each is kept, in milliseconds: so long a key that was disabled may go on to open what was opened with it.
const KEPT: u64 = 5 * 60 * 1000;

/// Keys that were opened.
pub(super) struct Opened {
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    keys: Mutex<Keys>,
}

/// By connection and wrapped text: the key, and until when it is kept.
type Keys = BTreeMap<(ConnectionKey, String), (Zeroizing<[u8; 32]>, u64)>;

impl Opened {
    /// Has none yet. `clock` tells milliseconds since the Unix epoch.
    pub(super) fn new(clock: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        Self { clock, keys: Mutex::default() }
    }

    /// Finds the key of a connection.
    pub(super) fn find(&self, key: &ConnectionKey, wrapped: &str) -> Option<Zeroizing<[u8; 32]>> {
        let keys = self.fresh((self.clock)());
        keys.get(&(key.clone(), wrapped.to_owned())).map(|(plain, _)| plain.clone())
    }

    /// Keeps a key of a connection; where there are too many, in the place of the oldest.
    pub(super) fn keep(&self, key: &ConnectionKey, opened: &DataKey) {
        let now = (self.clock)();
        let mut keys = self.fresh(now);
        if keys.len() >= MOST
            && let Some(oldest) = keys.iter().min_by_key(|(_, (_, until))| *until).map(|(key, _)| key.clone())
        {
            keys.remove(&oldest);
        }
        let place = (key.clone(), opened.wrapped.clone());
        keys.insert(place, (opened.plain.clone(), now.saturating_add(KEPT)));
    }

    /// Returns those whose time is not over.
    fn fresh(&self, now: u64) -> MutexGuard<'_, Keys> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, (_, until)| now < *until);
        keys
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use portcullis_core::testing::connection_key;

    use super::*;

    fn data_key(number: usize) -> DataKey {
        DataKey { plain: Zeroizing::new([7; 32]), wrapped: number.to_string() }
    }

    #[test]
    fn keys_are_few_and_for_minutes() {
        let clock = Arc::new(AtomicU64::new(0));
        let opened = Opened::new(Arc::new({
            let clock = clock.clone();
            move || clock.load(Ordering::SeqCst)
        }));
        let (own, other) = (connection_key("ana", "s"), connection_key("bob", "s"));
        let found = |key: &ConnectionKey, number: usize| opened.find(key, &number.to_string()).is_some();
        opened.keep(&own, &data_key(0));
        assert!(found(&own, 0) && !found(&other, 0) && !found(&own, 1));
        for number in 1..=MOST {
            clock.fetch_add(1, Ordering::SeqCst);
            opened.keep(&own, &data_key(number));
        }
        assert!(!found(&own, 0), "the oldest has gone");
        assert!((1..=MOST).all(|number| found(&own, number)));
        clock.fetch_add(KEPT, Ordering::SeqCst);
        assert!(!found(&own, MOST));
        assert!(opened.fresh(0).is_empty());
    }
}
