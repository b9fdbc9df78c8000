//! What is known of one secret's value, and when it has to be read again. Pure.
//!
//! **While the store fails, what was read last counts**; while it works, what was removed does not.

use std::sync::Arc;

use super::Values;
use crate::control::StoreError;

/// How long a value is used before it is read again, in milliseconds.
const AGE: u64 = 5 * 60 * 1000;
/// How long a store that failed is left alone, and one that has no such secret, in milliseconds.
const PAUSE: u64 = 5 * 1000;

/// What is known of one secret.
#[derive(Default)]
pub(crate) struct Held {
    /// What was read last; not whether there is such a secret before anything was.
    values: Option<Arc<Values>>,
    /// Which reading that was.
    reading: u64,
    /// From when on it is read again, in milliseconds since the Unix epoch.
    due: u64,
    /// Until when a server that refuses it is no reason to do so.
    quiet_until: u64,
    /// Counts how often it was said that it has changed.
    changes: u64,
    /// Why the store could not be read, where the last reading failed.
    trouble: Option<StoreError>,
}

/// What somebody wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// What counts.
    Recent,
    /// What was read after that reading: a server has refused what it gave.
    After(u64),
}

/// A value, and which reading gave it.
#[derive(Clone)]
pub(crate) struct Taken {
    pub(crate) values: Arc<Values>,
    pub(crate) reading: u64,
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoValue {
    /// There is no such secret.
    Missing,
    /// The store could not be read.
    Unreadable(StoreError),
}

/// A reading that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun(u64);

impl Held {
    /// Returns what there is to say without reading the store.
    pub(crate) fn known(&self, wanted: Freshness, now: u64) -> Option<Result<Taken, NoValue>> {
        let suffices = match wanted {
            Freshness::Recent => now < self.due,
            Freshness::After(reading) => self.reading > reading || now < self.quiet_until,
        };
        suffices.then(|| self.outcome())
    }

    /// Returns what was read last, however old.
    pub(crate) fn outcome(&self) -> Result<Taken, NoValue> {
        match (&self.values, &self.trouble) {
            (Some(values), _) => Ok(Taken { values: values.clone(), reading: self.reading }),
            (None, None) => Err(NoValue::Missing),
            (None, Some(trouble)) => Err(NoValue::Unreadable(trouble.clone())),
        }
    }

    /// Begins a reading.
    pub(crate) fn begin(&self) -> Begun {
        Begun(self.changes)
    }

    /// Takes what the store gave in the reading of that number; tells whether its trouble is another than before.
    pub(crate) fn read(
        &mut self,
        (Begun(changes), reading): (Begun, u64),
        given: Result<Option<Values>, StoreError>,
        (wanted, now): (Freshness, u64),
    ) -> bool {
        let (values, trouble) = match given {
            Ok(values) => (values.map(Arc::new), None),
            Err(trouble) => (self.values.clone(), Some(trouble)),
        };
        let age = if values.is_some() && trouble.is_none() { AGE } else { PAUSE };
        // What changed while it was read may have been read too early.
        self.due = if self.changes == changes { now + age } else { 0 };
        if wanted != Freshness::Recent && values == self.values {
            self.quiet_until = now + PAUSE;
        }
        let is_news = trouble != self.trouble;
        (self.values, self.trouble, self.reading) = (values, trouble, reading);
        is_news
    }

    /// Takes note that it may have changed.
    pub(crate) fn changed(&mut self) {
        self.changes += 1;
        (self.due, self.quiet_until) = (0, 0);
    }

    /// Returns why the store could not be read, where that is so.
    pub(crate) fn trouble(&self) -> Option<&StoreError> {
        self.trouble.as_ref()
    }

    /// Returns what was read last.
    pub(crate) fn values(&self) -> Option<&Arc<Values>> {
        self.values.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secret;

    const RECENT: Freshness = Freshness::Recent;

    fn values(current: &str) -> Values {
        let secret = |text: &str| Secret::new(text.into()).unwrap();
        Values { current: secret(current), previous: None, version: "1".into() }
    }

    fn failed() -> Result<Option<Values>, StoreError> {
        Err(StoreError("is away".into()))
    }

    /// Shows what is known: the value, why there is none, or that the store has to be read.
    fn check(held: &Held, wanted: Freshness, now: u64) -> String {
        match held.known(wanted, now) {
            None => "read".into(),
            Some(Ok(taken)) => format!("{} of {}", taken.values.current.reveal(), taken.reading),
            Some(Err(error)) => format!("{error:?}"),
        }
    }

    #[test]
    fn a_value_is_read_again_once_it_is_old() {
        let mut held = Held::default();
        assert_eq!(check(&held, RECENT, 0), "read");
        assert!(!held.read((held.begin(), 1), Ok(Some(values("a"))), (RECENT, 10)));
        assert_eq!(check(&held, RECENT, 10 + AGE - 1), "a of 1");
        assert_eq!(check(&held, RECENT, 10 + AGE), "read");
    }

    #[test]
    fn what_is_not_there_is_looked_for_again_soon() {
        let mut held = Held::default();
        held.read((held.begin(), 1), Ok(None), (RECENT, 0));
        assert_eq!(check(&held, RECENT, PAUSE - 1), "Missing");
        assert_eq!(check(&held, RECENT, PAUSE), "read");
    }

    #[test]
    fn while_the_store_fails_the_last_value_counts() {
        let mut held = Held::default();
        assert!(held.read((held.begin(), 1), failed(), (RECENT, 0)), "news");
        assert_eq!(check(&held, RECENT, 0), r#"Unreadable(StoreError("is away"))"#);
        assert!(held.read((held.begin(), 2), Ok(Some(values("a"))), (RECENT, PAUSE)), "news");
        assert!(held.read((held.begin(), 3), failed(), (RECENT, AGE + PAUSE)), "news");
        assert!(!held.read((held.begin(), 4), failed(), (RECENT, AGE + 2 * PAUSE)), "no news");
        assert_eq!(check(&held, RECENT, AGE + 2 * PAUSE), "a of 4");
        assert_eq!(check(&held, RECENT, AGE + 3 * PAUSE), "read");
        assert!(held.trouble().is_some());
        held.read((held.begin(), 5), Ok(None), (RECENT, AGE + 3 * PAUSE));
        assert_eq!(check(&held, RECENT, AGE + 3 * PAUSE), "Missing");
    }

    #[test]
    fn a_refused_value_is_read_anew_once() {
        let mut held = Held::default();
        held.read((held.begin(), 4), Ok(Some(values("a"))), (RECENT, 0));
        assert_eq!(check(&held, Freshness::After(3), 0), "a of 4", "somebody else has read it since");
        assert_eq!(check(&held, Freshness::After(4), 0), "read");
        held.read((held.begin(), 5), Ok(Some(values("a"))), (Freshness::After(4), 0));
        assert_eq!(check(&held, Freshness::After(5), PAUSE - 1), "a of 5", "that told nothing");
        assert_eq!(check(&held, Freshness::After(5), PAUSE), "read");
        held.read((held.begin(), 6), Ok(Some(values("b"))), (Freshness::After(5), PAUSE));
        assert_eq!(check(&held, Freshness::After(6), PAUSE), "read", "that told something");
    }

    #[test]
    fn a_change_is_not_overlooked() {
        let mut held = Held::default();
        held.read((held.begin(), 1), Ok(Some(values("a"))), (RECENT, 0));
        held.changed();
        assert_eq!(check(&held, RECENT, 0), "read");
        let begun = held.begin();
        held.changed();
        held.read((begun, 2), Ok(Some(values("b"))), (RECENT, 0));
        assert_eq!(check(&held, RECENT, 0), "read", "it changed while it was read");
    }
}
