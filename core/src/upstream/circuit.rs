//! Whether a server is asked at all: after several failures in a row its circuit opens, and it is left alone but for one
//! call now and then that tries it, ever more rarely.
//!
//! A machine over the time it is told. **A closed circuit takes no lock**: an ordinary call loads one flag on its way and
//! stores one number on its way back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::lock;
use super::pauses::Pauses;
use crate::error::Failure;

/// How many calls in a row must fail.
const THRESHOLD: u32 = 5;
/// The waits before the trials.
const PAUSES: Pauses = Pauses::new(Duration::from_secs(1), Duration::from_secs(30));

/// The circuit of one server. Closed at first.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    /// How many calls have failed since the last that was answered.
    failures: AtomicU32,
    /// Whether there is something in `open`.
    is_open: AtomicBool,
    /// When the server last answered anything, in milliseconds since the Unix epoch.
    heard: AtomicU64,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    since: u64,
    /// The last failure, continuing "server X ...".
    reason: String,
    /// Whether an answer to anything shows that the reason has gone.
    absent: bool,
    /// How many trials have failed.
    trials: u32,
    /// From when on a call tries the server.
    next: u64,
    /// Whether a call is trying it.
    trying: bool,
}

/// How a call was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// As any other.
    Ordinary,
    /// As the one that tries the server.
    Trial,
}

/// What is said of an open circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The last failure, continuing "server X ...".
    pub reason: String,
    /// For how long it has been open, in milliseconds.
    pub open_for: u64,
    /// In how long the server is tried again, in milliseconds; 0 where the next call does, or one is doing so.
    pub retry_in: u64,
}

impl std::fmt::Display for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = |milliseconds: u64| milliseconds.div_ceil(1000);
        write!(f, "is not asked for now: {THRESHOLD} calls in a row failed, {} s ago", self.open_for / 1000)?;
        write!(f, " (it {}); ", self.reason)?;
        match self.retry_in {
            0 => f.write_str("it is being tried again"),
            wait => write!(f, "it is tried again in {} s", seconds(wait)),
        }
    }
}

impl Circuit {
    /// Lets a call through, or says why not.
    pub(crate) fn admit(&self, now: u64) -> Result<Admission, Opened> {
        if !self.is_open.load(Ordering::Acquire) {
            return Ok(Admission::Ordinary);
        }
        match lock(&self.open).as_mut() {
            None => Ok(Admission::Ordinary),
            Some(open) if open.trying || now < open.next => Err(open.told(now)),
            Some(open) => {
                open.trying = true;
                Ok(Admission::Trial)
            }
        }
    }

    /// Notes that a call was answered; tells whether that closed the circuit.
    pub(crate) fn answered(&self, now: u64) -> bool {
        self.heard.fetch_max(now, Ordering::Relaxed);
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        self.is_open.load(Ordering::Acquire) && self.close(|_| true)
    }

    /// Notes that the server answered something that was no call; tells whether that closed the circuit.
    pub(crate) fn heard(&self, now: u64) -> bool {
        self.heard.fetch_max(now, Ordering::Relaxed);
        self.is_open.load(Ordering::Acquire) && self.close(|open| open.absent)
    }

    /// Notes that a call failed, which had begun at `began`; tells whether that opened the circuit, or keeps it open.
    ///
    /// Silence counts only where the server was silent altogether: **a slow tool says nothing about its server.**
    pub(crate) fn failed(&self, admission: Admission, failure: &Failed<'_>, now: u64) -> bool {
        let slow = failure.kind == Failure::Absent && self.heard.load(Ordering::Relaxed) > failure.began;
        if slow || failure.kind == Failure::Refused {
            self.gave_up(admission);
            return false;
        }
        let mut state = lock(&self.open);
        match state.as_mut() {
            None => {
                if self.failures.fetch_add(1, Ordering::Relaxed) + 1 < THRESHOLD {
                    return false;
                }
                *state = Some(Open {
                    since: now,
                    reason: failure.reason.to_owned(),
                    absent: failure.kind == Failure::Absent,
                    trials: 0,
                    next: now + PAUSES.millis_after(0),
                    trying: false,
                });
                self.is_open.store(true, Ordering::Release);
                true
            }
            Some(open) if admission == Admission::Trial => {
                failure.reason.clone_into(&mut open.reason);
                open.absent = failure.kind == Failure::Absent;
                open.trials = open.trials.saturating_add(1);
                open.next = now + PAUSES.millis_after(open.trials);
                open.trying = false;
                true
            }
            // It had been let through before the circuit opened.
            Some(_) => false,
        }
    }

    /// Notes that nobody waits for a call any more: where it was a trial, the next one may come.
    pub(crate) fn gave_up(&self, admission: Admission) {
        if admission == Admission::Trial
            && let Some(open) = lock(&self.open).as_mut()
        {
            open.trying = false;
        }
    }

    /// Returns what is to be said where the circuit is open.
    pub(crate) fn opened(&self, now: u64) -> Option<Opened> {
        self.is_open.load(Ordering::Acquire).then(|| Some(lock(&self.open).as_ref()?.told(now)))?
    }

    fn close(&self, which: impl FnOnce(&Open) -> bool) -> bool {
        let mut state = lock(&self.open);
        let closes = state.as_ref().is_some_and(which);
        if closes {
            *state = None;
            self.failures.store(0, Ordering::Relaxed);
            self.is_open.store(false, Ordering::Release);
        }
        closes
    }
}

/// How a call failed.
#[derive(Debug)]
pub(crate) struct Failed<'a> {
    pub(crate) kind: Failure,
    /// What happened, continuing "server X ...".
    pub(crate) reason: &'a str,
    /// When the call began.
    pub(crate) began: u64,
}

impl Open {
    fn told(&self, now: u64) -> Opened {
        Opened {
            reason: self.reason.clone(),
            open_for: now.saturating_sub(self.since),
            retry_in: if self.trying { 0 } else { self.next.saturating_sub(now) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: Failure = Failure::Absent;
    const FAULTY: Failure = Failure::Faulty;

    /// Lets a call through at `now` that fails at once.
    fn fail(circuit: &Circuit, kind: Failure, now: u64) -> bool {
        let admission = circuit.admit(now).expect("it is let through");
        circuit.failed(admission, &Failed { kind, reason: "broke", began: now }, now)
    }

    fn open_at(now: u64, kind: Failure) -> Circuit {
        let circuit = Circuit::default();
        let opened: Vec<bool> = (0..THRESHOLD).map(|_| fail(&circuit, kind, now)).collect();
        assert_eq!(opened, [false, false, false, false, true]);
        circuit
    }

    fn refusal(circuit: &Circuit, now: u64) -> String {
        circuit.admit(now).expect_err("it is refused").to_string()
    }

    #[test]
    fn opens_after_failures_in_a_row_and_says_so() {
        let circuit = open_at(100, FAULTY);
        insta::assert_snapshot!(refusal(&circuit, 100), @"is not asked for now: 5 calls in a row failed, 0 s ago (it broke); it is tried again in 1 s");
        assert_eq!(circuit.opened(600).map(|o| (o.open_for, o.retry_in)), Some((500, 500)));
    }

    #[test]
    fn an_answer_in_between_starts_the_count_again() {
        let circuit = Circuit::default();
        for round in 0..10 {
            for _ in 1..THRESHOLD {
                assert!(!fail(&circuit, FAULTY, round));
            }
            circuit.answered(round);
        }
        assert_eq!(circuit.opened(10), None);
    }

    #[test]
    fn one_call_at_a_time_tries_it_and_an_answer_closes_it() {
        let circuit = open_at(0, FAULTY);
        assert_eq!(circuit.admit(1000), Ok(Admission::Trial));
        insta::assert_snapshot!(refusal(&circuit, 1000), @"is not asked for now: 5 calls in a row failed, 1 s ago (it broke); it is being tried again");
        assert!(circuit.answered(1500));
        assert_eq!(circuit.admit(1500), Ok(Admission::Ordinary));
    }

    #[test]
    fn the_pause_grows_with_every_failed_trial_up_to_a_limit() {
        let circuit = open_at(0, FAULTY);
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..7 {
            let wait = circuit.opened(now).expect("it is open").retry_in;
            assert!(circuit.admit(now + wait - 1).is_err());
            now += wait;
            assert!(fail(&circuit, FAULTY, now));
            pauses.push(wait);
        }
        assert_eq!(pauses, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    }

    #[test]
    fn a_trial_that_nobody_waits_for_leaves_room_for_the_next() {
        let circuit = open_at(0, FAULTY);
        let trial = circuit.admit(1000).expect("it is let through");
        circuit.gave_up(trial);
        assert_eq!(circuit.admit(1000), Ok(Admission::Trial));
    }

    #[test]
    fn calls_of_before_neither_prolong_nor_shorten_the_pause() {
        let circuit = open_at(0, FAULTY);
        let late = Failed { kind: FAULTY, reason: "late", began: 0 };
        assert!(!circuit.failed(Admission::Ordinary, &late, 900));
        circuit.gave_up(Admission::Ordinary);
        assert_eq!(circuit.opened(900).map(|o| (o.reason, o.retry_in)), Some(("broke".into(), 100)));
    }

    #[test]
    fn a_slow_tool_of_a_server_that_answers_others_does_not_count() {
        let circuit = Circuit::default();
        for round in 0..20u64 {
            let (began, now) = (round * 100, round * 100 + 99);
            circuit.heard(began + 50);
            assert!(!circuit.failed(
                Admission::Ordinary,
                &Failed { kind: ABSENT, reason: "slow", began },
                now
            ));
        }
        assert_eq!(circuit.opened(2000), None);
    }

    #[test]
    fn what_is_heard_of_an_absent_server_closes_it_and_of_a_faulty_one_does_not() {
        let (absent, faulty) = (open_at(0, ABSENT), open_at(0, FAULTY));
        assert!(absent.heard(10) && !faulty.heard(10));
        assert_eq!(absent.admit(10), Ok(Admission::Ordinary));
        assert!(faulty.admit(10).is_err());
    }

    #[test]
    fn what_is_wrong_with_the_request_does_not_count() {
        let circuit = Circuit::default();
        assert!((0..20).all(|now| !fail(&circuit, Failure::Refused, now)));
        let circuit = open_at(0, FAULTY);
        assert!(!fail(&circuit, Failure::Refused, 1000), "a trial that says nothing");
        assert_eq!(circuit.admit(1000), Ok(Admission::Trial));
    }
}
