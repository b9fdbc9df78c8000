//! How often a caller may ask: counts that hold across requests, and what is left of them.
//!
//! **All that a request is counted under is taken together, or nothing is.** Where the counts are kept is the host's
//! matter ([`Quotas`](crate::ports::Quotas)); [`Tallies`] keeps them in one process, and a [`Count`] is one that an owner
//! of its own keeps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{AgentLimits, Rate};
use crate::upstream::lock;

/// A day, in milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;
/// For how long what runs is taken to run where nobody says that it has ended, in milliseconds.
const LEASE: u64 = 15 * 60 * 1000;
/// From this many counts on those that say nothing any more are dropped.
const SWEPT: usize = 4096;

/// One count that a request is taken from.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// Which count: the same text, the same count.
    pub key: String,
    /// What it may come to.
    pub limits: AgentLimits,
}

/// Why a request has to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// The count that is used up.
    pub key: String,
    /// Which of its limits.
    pub limit: Exceeded,
    /// When asking again makes sense.
    pub retry_after: Duration,
}

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exceeded {
    /// Too many in too short a time.
    Rate,
    /// Too many at a time.
    Concurrency,
    /// Too many in one day.
    Daily,
    /// The counts cannot be reached, and nothing is let through uncounted.
    Unknown,
}

impl Exceeded {
    /// Says what was reached, for the caller.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "too many requests in a short time",
            Self::Concurrency => "too many requests at a time",
            Self::Daily => "too many requests in one day",
            Self::Unknown => "requests cannot be counted at the moment",
        }
    }
}

/// What was taken. What runs at a time is given back when it is dropped; the rest is used up.
#[derive(Default)]
pub struct Hold(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Hold {
    /// Holds what `release` gives back.
    pub fn new(release: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(release)))
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hold")
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

/// The counts of one process. Cheap to clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Tallies(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    tallies: BTreeMap<String, Tally>,
    /// How many were left the last time that those were dropped which say nothing.
    left: usize,
}

/// One count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    /// When the next request of an even stream would be due, in microseconds since the Unix epoch: a leaky bucket.
    due: u64,
    day: u64,
    used: u64,
    #[serde(skip)]
    running: u32,
}

/// One count, where it is kept by itself: as text it outlives whoever keeps it.
///
/// What runs is given back by its `hold`, a number that whoever takes it chooses at random; it ends by itself after a
/// quarter of an hour, as the instance that would give it back may be gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    tally: Tally,
    /// What runs: until when at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    held: BTreeMap<u64, u64>,
}

/// What is asked of a [`Count`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Errand {
    /// To take one.
    Take {
        /// What the count may come to.
        most: Most,
        /// The time, in milliseconds since the Unix epoch.
        now: u64,
        /// By which it is given back.
        hold: u64,
    },
    /// To give back what ran.
    GiveBack {
        /// By which it was taken.
        hold: u64,
    },
    /// To take nothing after all, as another count that goes with it is used up.
    Undo {
        /// What the count might have come to.
        most: Most,
        /// By which it was taken.
        hold: u64,
    },
}

/// What a [`Count`] may come to, as it travels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Most {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<(u32, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    daily: Option<u64>,
}

/// What came of an [`Errand`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Done,
    /// The count is used up.
    Exhausted {
        /// Which of its limits.
        limit: Exceeded,
        /// When asking again makes sense, in milliseconds.
        retry_after: u64,
    },
}

impl From<&AgentLimits> for Most {
    fn from(limits: &AgentLimits) -> Self {
        let micros = |period: Duration| u64::try_from(period.as_micros()).unwrap_or(u64::MAX / 4);
        Self {
            rate: limits.rate.map(|rate| (rate.count, micros(rate.period))),
            concurrency: limits.concurrency,
            daily: limits.daily,
        }
    }
}

impl From<Most> for AgentLimits {
    fn from(most: Most) -> Self {
        let rate = most.rate.map(|(count, period)| Rate { count, period: Duration::from_micros(period) });
        Self { rate, concurrency: most.concurrency, daily: most.daily, ..Self::default() }
    }
}

impl Count {
    /// Does what is asked.
    pub fn run(&mut self, errand: Errand) -> Outcome {
        match errand {
            Errand::Take { most, now, hold } => self.take(&most.into(), now, hold),
            Errand::GiveBack { hold } => {
                self.held.remove(&hold);
                Outcome::Done
            }
            Errand::Undo { most, hold } => {
                self.held.remove(&hold);
                self.tally = self.tally.minus_one(&most.into());
                Outcome::Done
            }
        }
    }

    fn take(&mut self, limits: &AgentLimits, now: u64, hold: u64) -> Outcome {
        self.held.retain(|_, until| *until > now);
        let running = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        match (Tally { running, ..self.tally }).plus_one(limits, now) {
            Ok(tally) => {
                self.tally = Tally { running: 0, ..tally };
                if limits.concurrency.is_some() {
                    self.held.insert(hold, now + LEASE);
                }
                Outcome::Done
            }
            Err((limit, wait)) => {
                let retry_after = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                Outcome::Exhausted { limit, retry_after }
            }
        }
    }

    /// Returns when the count says nothing any more and may be forgotten, in milliseconds since the Unix epoch.
    pub fn idle_at(&self) -> u64 {
        let running = self.held.values().copied().max().unwrap_or_default();
        let day = if self.tally.used > 0 { (self.tally.day + 1) * DAY } else { 0 };
        running.max(day).max(self.tally.due.div_ceil(1000))
    }
}

impl Tallies {
    /// Takes one from each count, or nothing; `now` in milliseconds since the Unix epoch.
    pub fn take(&self, counted: &[Counted], now: u64) -> Result<Hold, Exhausted> {
        let mut counts = lock(&self.0);
        let Counts { tallies, left } = &mut *counts;
        for Counted { key, limits } in counted {
            let tally = tallies.get(key).copied().unwrap_or_default();
            if let Err((limit, retry_after)) = tally.plus_one(limits, now) {
                return Err(Exhausted { key: key.clone(), limit, retry_after });
            }
        }
        if tallies.len() >= SWEPT.max(2 * *left) {
            tallies.retain(|_, tally| tally.says_something(now));
            *left = tallies.len();
        }
        let mut running = Vec::new();
        for Counted { key, limits } in counted {
            let tally = tallies.entry(key.clone()).or_default();
            *tally = tally.plus_one(limits, now).unwrap_or(*tally);
            if limits.concurrency.is_some() {
                running.push(key.clone());
            }
        }
        if running.is_empty() {
            return Ok(Hold::default());
        }
        let tallies = self.clone();
        Ok(Hold::new(move || tallies.give_back(&running)))
    }

    fn give_back(&self, keys: &[String]) {
        let mut counts = lock(&self.0);
        for key in keys {
            if let Some(tally) = counts.tallies.get_mut(key) {
                tally.running = tally.running.saturating_sub(1);
            }
        }
    }
}

impl Tally {
    /// Returns the count with one more request, or what stands against it.
    fn plus_one(self, limits: &AgentLimits, now: u64) -> Result<Self, (Exceeded, Duration)> {
        let mut next = self;
        if let Some(most) = limits.concurrency {
            if self.running >= most {
                return Err((Exceeded::Concurrency, Duration::from_secs(1)));
            }
            next.running += 1;
        }
        if let Some(most) = limits.daily {
            let today = now / DAY;
            let used = if self.day == today { self.used } else { 0 };
            if used >= most {
                return Err((Exceeded::Daily, Duration::from_millis((today + 1) * DAY - now)));
            }
            (next.day, next.used) = (today, used + 1);
        }
        if let Some(rate) = limits.rate {
            next.due = self.due_after(rate, now * 1000)?;
        }
        Ok(next)
    }

    /// Returns the count without the request that was taken last.
    fn minus_one(self, limits: &AgentLimits) -> Self {
        let used = if limits.daily.is_some() { self.used.saturating_sub(1) } else { self.used };
        let due = limits.rate.map_or(self.due, |rate| self.due.saturating_sub(pace(rate)));
        Self { due, used, ..self }
    }

    fn due_after(self, rate: Rate, now: u64) -> Result<u64, (Exceeded, Duration)> {
        let period = period(rate);
        let due = self.due.max(now).saturating_add(pace(rate));
        match due.checked_sub(now.saturating_add(period)) {
            Some(early) if early > 0 => Err((Exceeded::Rate, Duration::from_micros(early))),
            _ => Ok(due),
        }
    }

    fn says_something(self, now: u64) -> bool {
        self.running > 0 || self.due > now * 1000 || self.day == now / DAY
    }
}

/// Returns a rate's period in microseconds.
fn period(rate: Rate) -> u64 {
    u64::try_from(rate.period.as_micros()).unwrap_or(u64::MAX / 4).max(1)
}

/// Returns how far apart the requests of an even stream are, in microseconds.
fn pace(rate: Rate) -> u64 {
    (period(rate) / u64::from(rate.count.max(1))).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: u64 = 20_000 * DAY + DAY / 2;

    fn counted(key: &str, limits: AgentLimits) -> Counted {
        Counted { key: key.into(), limits }
    }

    fn rate(count: u32, seconds: u64) -> AgentLimits {
        let rate = Rate { count, period: Duration::from_secs(seconds) };
        AgentLimits { rate: Some(rate), ..AgentLimits::default() }
    }

    /// Takes one at each moment, in milliseconds after noon.
    fn check(limits: &AgentLimits, moments: &[u64]) -> String {
        let tallies = Tallies::default();
        let outcome = |at: &u64| match tallies.take(&[counted("a", limits.clone())], NOON + at) {
            Ok(_) => format!("{at}: yes"),
            Err(no) => format!("{at}: {:?} {:?}", no.limit, no.retry_after),
        };
        moments.iter().map(outcome).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_rate_allows_a_burst_and_then_its_pace() {
        insta::assert_snapshot!(check(&rate(3, 60), &[0, 0, 0, 0, 19_000, 20_000, 20_000, 200_000, 200_000, 200_000, 200_000]),
            @"0: yes, 0: yes, 0: yes, 0: Rate 20s, 19000: Rate 1s, 20000: yes, 20000: Rate 20s, 200000: yes, 200000: yes, 200000: yes, 200000: Rate 20s");
    }

    #[test]
    fn a_day_begins_at_midnight() {
        let limits = AgentLimits { daily: Some(2), ..AgentLimits::default() };
        insta::assert_snapshot!(check(&limits, &[0, 1, 2, DAY / 2 - 1000, DAY / 2, DAY / 2, DAY / 2]),
            @"0: yes, 1: yes, 2: Daily 43199.998s, 43199000: Daily 1s, 43200000: yes, 43200000: yes, 43200000: Daily 86400s");
    }

    #[test]
    fn what_runs_is_given_back() {
        let tallies = Tallies::default();
        let limits = AgentLimits { concurrency: Some(1), ..AgentLimits::default() };
        let take = || tallies.take(&[counted("a", limits.clone())], NOON);
        let hold = take().unwrap();
        assert_eq!(take().unwrap_err().limit, Exceeded::Concurrency);
        drop(hold);
        assert!(take().is_ok());
    }

    /// Runs errands at a count that is put away as text after each of them.
    fn alone(limits: &AgentLimits, errands: &[fn(Most) -> Errand]) -> String {
        let mut text = String::from("{\"tally\":{\"due\":0,\"day\":0,\"used\":0}}");
        let mut outcomes = Vec::new();
        for errand in errands {
            let mut count: Count = serde_json::from_str(&text).unwrap();
            outcomes.push(match count.run(errand(limits.into())) {
                Outcome::Done => "done".to_owned(),
                Outcome::Exhausted { limit, retry_after } => format!("{limit:?} {retry_after}"),
            });
            text = serde_json::to_string(&count).unwrap();
        }
        format!("{}; {text}", outcomes.join(", "))
    }

    #[test]
    fn a_count_by_itself_outlives_its_keeper() {
        let first = |most| Errand::Take { most, now: NOON, hold: 1 };
        let second = |most| Errand::Take { most, now: NOON, hold: 2 };
        let late = |most| Errand::Take { most, now: NOON + LEASE, hold: 3 };
        let one = AgentLimits { concurrency: Some(1), ..AgentLimits::default() };
        insta::assert_snapshot!(alone(&one, &[first, second, |_| Errand::GiveBack { hold: 1 }, second]),
            @r#"done, Concurrency 1000, done, done; {"tally":{"due":0,"day":0,"used":0},"held":{"2":1728044100000}}"#);
        insta::assert_snapshot!(alone(&one, &[first, late]),
            @r#"done, done; {"tally":{"due":0,"day":0,"used":0},"held":{"3":1728045000000}}"#);
        let both = AgentLimits { daily: Some(1), ..rate(1, 60) };
        let undo = |most| Errand::Undo { most, hold: 1 };
        insta::assert_snapshot!(alone(&both, &[first, second, undo, second]),
            @r#"done, Daily 43200000, done, done; {"tally":{"due":1728043260000000,"day":20000,"used":1}}"#);
    }

    #[test]
    fn a_count_may_be_forgotten_once_it_says_nothing() {
        let idle = |limits: &AgentLimits| {
            let mut count = Count::default();
            count.run(Errand::Take { most: limits.into(), now: NOON, hold: 1 });
            count.idle_at() - NOON
        };
        let daily = AgentLimits { daily: Some(5), ..AgentLimits::default() };
        let concurrency = AgentLimits { concurrency: Some(5), ..AgentLimits::default() };
        assert_eq!([idle(&rate(2, 60)), idle(&daily), idle(&concurrency)], [30_000, DAY / 2, LEASE]);
    }

    #[test]
    fn all_is_taken_or_nothing() {
        let tallies = Tallies::default();
        let both = [counted("wide", rate(10, 60)), counted("narrow", rate(1, 60))];
        assert!(tallies.take(&both, NOON).is_ok());
        for _ in 0..20 {
            assert_eq!(tallies.take(&both, NOON).unwrap_err().key, "narrow");
        }
        assert!((0..9).all(|_| tallies.take(&both[..1], NOON).is_ok()));
        assert!(tallies.take(&both[..1], NOON).is_err());
    }

    #[test]
    fn counts_that_say_nothing_are_dropped() {
        let tallies = Tallies::default();
        for n in 0..SWEPT as u64 * 2 {
            let key = n.to_string();
            tallies.take(&[counted(&key, rate(1, 1))], NOON + n * 2000).unwrap();
        }
        assert!(lock(&tallies.0).tallies.len() <= SWEPT);
    }

    proptest! {
        #[test]
        fn a_count_by_itself_counts_as_those_of_one_process_do(
            (count, daily) in (1u32..5, 1u64..30),
            gaps in prop::collection::vec(0u64..20_000, 1..60),
        ) {
            let limits = AgentLimits { daily: Some(daily), ..rate(count, 10) };
            let (tallies, mut alone, mut now) = (Tallies::default(), Count::default(), NOON);
            for gap in gaps {
                now += gap;
                let among = tallies.take(&[counted("a", limits.clone())], now).err().map(|no| no.limit);
                let own = match alone.run(Errand::Take { most: (&limits).into(), now, hold: now }) {
                    Outcome::Done => None,
                    Outcome::Exhausted { limit, .. } => Some(limit),
                };
                prop_assert_eq!(among, own);
            }
        }

        #[test]
        fn never_more_than_twice_the_rate_in_any_period(
            count in 1u32..20,
            gaps in prop::collection::vec(0u64..5_000, 1..200),
        ) {
            let (tallies, limits) = (Tallies::default(), rate(count, 10));
            let mut now = NOON;
            let mut taken = Vec::new();
            for gap in gaps {
                now += gap;
                if tallies.take(&[counted("a", limits.clone())], now).is_ok() {
                    taken.push(now);
                }
            }
            for first in &taken {
                let within = taken.iter().filter(|at| (*first..first + 10_000).contains(*at)).count();
                prop_assert!(within <= 2 * count as usize);
            }
        }
    }
}
