//! The keys of an issuer, as they are held: for how long they count, and when they are read again.

use std::sync::Arc;

use super::jwk::KeySet;

/// How long keys are used where the issuer says nothing of it, and the least and the most that it can say, in
/// milliseconds.
const USUAL: u64 = 10 * 60_000;
const LEAST: u64 = 60_000;
const MOST: u64 = 24 * 60 * 60_000;
/// How long they count after that while they cannot be read.
const STALE: u64 = 24 * 60 * 60_000;
/// How soon they are read again because a token names a key that is not among them.
const ROTATION: u64 = 30_000;
/// How soon they are read again after that has failed, first and at last.
const AGAIN: u64 = 5_000;
const AGAIN_AT_LAST: u64 = 40_000;

/// What is known of an issuer's keys.
#[derive(Debug, Default)]
pub(crate) struct HeldKeys {
    keys: Option<Arc<KeySet>>,
    read: u64,
    fresh_until: u64,
    /// When they may be read again after a failure, and what that was.
    failed: Option<(u64, String)>,
    /// How often in a row that has failed.
    failures: u32,
}

/// Which keys somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those that count.
    Current,
    /// Those that were read after that time: among the ones before was not the one that is looked for.
    After(u64),
}

/// Keys, and when they were read.
pub(crate) type Taken = (Arc<KeySet>, u64);

impl HeldKeys {
    /// Returns what there is to say without reading them.
    pub(crate) fn known(&self, wanted: Wanted, now: u64) -> Option<Result<Taken, String>> {
        let waits = self.failed.as_ref().is_some_and(|(until, _)| now < *until);
        let suffices = match wanted {
            Wanted::Current => now < self.fresh_until,
            Wanted::After(read) => self.read > read || now < self.read.saturating_add(ROTATION),
        };
        (waits || (suffices && self.keys.is_some())).then(|| self.outcome(now))
    }

    /// Returns keys that still count, though they are due to be read again.
    pub(crate) fn counting(&self, now: u64) -> Option<Taken> {
        self.keys.is_some().then(|| self.outcome(now).ok()).flatten()
    }

    /// Returns what was read last, or why there is nothing.
    pub(crate) fn outcome(&self, now: u64) -> Result<Taken, String> {
        let counts = now < self.fresh_until.saturating_add(STALE);
        match (self.keys.as_ref().filter(|_| counts), &self.failed) {
            (Some(keys), _) => Ok((keys.clone(), self.read)),
            (None, Some((_, why))) => Err(why.clone()),
            (None, None) => Err("they have not been read".into()),
        }
    }

    /// Takes what was read, and for how long the issuer says that it is good, in milliseconds.
    pub(crate) fn take(&mut self, outcome: Result<(KeySet, Option<u64>), String>, now: u64) {
        match outcome {
            Ok((keys, good_for)) => {
                let good_for = good_for.unwrap_or(USUAL).clamp(LEAST, MOST);
                let (keys, fresh_until) = (Some(Arc::new(keys)), now + good_for);
                *self = Self { keys, read: now, fresh_until, failed: None, failures: 0 };
            }
            Err(why) => {
                let pause = (AGAIN << self.failures.min(8)).min(AGAIN_AT_LAST);
                self.failed = Some((now + pause, why));
                self.failures = self.failures.saturating_add(1);
            }
        }
    }
}

/// Returns how long an answer is good for by its `Cache-Control`, in milliseconds (RFC 9111 §5.2.2).
pub(crate) fn max_age(cache_control: &str) -> Option<u64> {
    let directives = cache_control.split(',').map(str::trim);
    let mut found = directives.filter_map(|directive| match directive.to_ascii_lowercase().as_str() {
        "no-store" | "no-cache" => Some(0),
        directive => directive.strip_prefix("max-age=")?.trim_matches('"').parse::<u64>().ok(),
    });
    found.next().map(|seconds| seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(held: &HeldKeys, wanted: Wanted, now: u64) -> String {
        match held.known(wanted, now) {
            None => "read".into(),
            Some(Ok((_, read))) => format!("from {read}"),
            Some(Err(why)) => why,
        }
    }

    #[test]
    fn keys_are_read_when_they_are_old_or_one_is_missing() {
        let mut held = HeldKeys::default();
        assert_eq!(check(&held, Wanted::Current, 0), "read");
        held.take(Ok((KeySet::default(), None)), 1000);
        assert_eq!(check(&held, Wanted::Current, 1000 + USUAL - 1), "from 1000");
        assert_eq!(check(&held, Wanted::Current, 1000 + USUAL), "read");
        assert_eq!(check(&held, Wanted::After(1000), 1000 + ROTATION - 1), "from 1000", "no flood");
        assert_eq!(check(&held, Wanted::After(1000), 1000 + ROTATION), "read");
        held.take(Ok((KeySet::default(), Some(0))), 40_000);
        assert_eq!(
            check(&held, Wanted::After(1000), 40_000 + ROTATION),
            "from 40000",
            "others have read them"
        );
        assert_eq!(check(&held, Wanted::Current, 40_000 + LEAST), "read");
        held.take(Ok((KeySet::default(), Some(u64::MAX))), 50_000);
        assert_eq!(check(&held, Wanted::Current, 50_000 + MOST), "read");
    }

    #[test]
    fn an_issuer_that_is_away_keeps_its_keys_for_a_while() {
        let mut held = HeldKeys::default();
        held.take(Err("it is away".into()), 0);
        assert_eq!(check(&held, Wanted::Current, AGAIN - 1), "it is away");
        assert_eq!(check(&held, Wanted::Current, AGAIN), "read");
        held.take(Ok((KeySet::default(), None)), 10_000);
        let old = 10_000 + USUAL;
        held.take(Err("it is away".into()), old);
        assert_eq!(check(&held, Wanted::Current, old), "from 10000");
        assert_eq!(check(&held, Wanted::After(10_000), old), "from 10000", "it is left alone");
        assert_eq!(check(&held, Wanted::Current, old + AGAIN), "read");
        held.take(Err("it is gone".into()), old + STALE);
        assert_eq!(check(&held, Wanted::Current, old + STALE), "it is gone");
    }

    #[test]
    fn an_answer_says_how_long_it_is_good() {
        assert_eq!(max_age("public, Max-Age=3600, must-revalidate"), Some(3_600_000));
        assert_eq!(max_age("max-age=\"60\""), Some(60_000));
        assert_eq!(max_age("no-store"), Some(0));
        assert_eq!(max_age("max-age=-1, x"), None);
        assert_eq!(max_age(""), None);
    }
}
