//! Attempts to reach something, as they are told to whoever keeps them.
//!
//! **Each attempt is told once, when it is over**, however it ends. Only where a program makes very many that come to nothing
//! are those beyond counted and told together, so that it cannot push everything else out of a trail.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_core::audit::{Decision, Entry};
use portcullis_core::ports::AuditSink as _;

use super::policy::Reason;
use crate::audit::Trail;
use crate::hosting::Traffic;

/// The method of an entry about an attempt.
pub(crate) const METHOD: &str = "egress";
/// How many attempts that come to nothing are told one by one at once.
const AT_ONCE: u32 = 200;
/// After how long another one is.
const EACH: Duration = Duration::from_millis(50);

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What was wanted, as the program named it: a host and a port, with `/udp` where it is a port of that; the host alone
    /// where its name was only asked for.
    pub(crate) wanted: String,
    /// The address that it was connected to.
    pub(crate) reached: Option<String>,
    /// What was decided.
    pub(crate) decision: Decision,
    /// The place that let it through.
    pub(crate) place: Option<String>,
    /// Why it was not let through, or came to nothing.
    pub(crate) reason: Option<Reason>,
    /// How many bytes went both ways.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) duration: Duration,
    /// What was said first, where nothing is let through and that was looked at.
    pub(crate) said: Option<Said>,
    /// How many attempts it stands for.
    pub(crate) times: u64,
}

/// What a program says first on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// TLS for this host; nothing where it names none, or none that can be read.
    Tls(Option<String>),
    /// Something else.
    Plain(Vec<u8>),
}

/// Who is told of attempts.
pub(crate) trait Witness: Send + Sync {
    /// Is told of an attempt that is over.
    fn see(&self, seen: Seen);

    /// Counts an attempt that is over, also one that is not told by itself.
    fn count(&self, _: Decision, _: u64) {}

    /// Tells whether nothing may be reached for now, because it could not be told.
    fn is_blind(&self) -> bool {
        false
    }
}

/// Tells the audit trail.
pub(crate) struct Recorder {
    trail: Option<Trail>,
    server: Arc<str>,
    traffic: Traffic,
}

impl Recorder {
    /// Makes one for a server's attempts; where no trail is kept, they are logged alone.
    pub(crate) fn new(trail: Option<Trail>, server: Arc<str>, traffic: Traffic) -> Self {
        Self { trail, server, traffic }
    }
}

impl Witness for Recorder {
    fn see(&self, seen: Seen) {
        let (server, wanted) = (&*self.server, seen.wanted.as_str());
        match (seen.decision, &seen.reason) {
            (Decision::Allowed, _) => tracing::debug!(server, wanted, bytes = seen.bytes, "egress"),
            (decision, reason) => {
                let reason = reason.as_deref().unwrap_or_default();
                tracing::warn!(server, wanted, reason, "egress {}", decision.as_str());
            }
        }
        let Some(trail) = &self.trail else { return };
        trail.note(Entry {
            time: trail.now(),
            method: METHOD,
            server: Some(self.server.clone()),
            name: Some(seen.wanted.into()),
            upstream_name: seen.reached.map(Into::into),
            decision: seen.decision,
            rule: seen.place.map(|place| format!("servers.{}.host.network: {place}", self.server).into()),
            error: seen.reason,
            result_bytes: Some(seen.bytes).filter(|bytes| *bytes > 0),
            duration: seen.duration,
            ..Entry::default()
        });
    }

    fn count(&self, decision: Decision, bytes: u64) {
        self.traffic.count(&self.server, decision, bytes);
    }

    fn is_blind(&self) -> bool {
        self.trail.as_ref().is_some_and(Trail::is_closed)
    }
}

/// Tells a witness, of what comes to nothing not more than it can take.
pub(crate) struct Teller {
    witness: Arc<dyn Witness>,
    pace: Mutex<Pace>,
}

struct Pace {
    left: u32,
    since: Instant,
    untold: u64,
}

impl Teller {
    /// Makes one that has told nothing yet.
    pub(crate) fn new(witness: Arc<dyn Witness>) -> Self {
        Self { witness, pace: Mutex::new(Pace { left: AT_ONCE, since: Instant::now(), untold: 0 }) }
    }

    /// Tells whether nothing may be reached for now.
    pub(crate) fn is_blind(&self) -> bool {
        self.witness.is_blind()
    }

    /// Tells of an attempt.
    pub(crate) fn tell(&self, seen: Seen) {
        self.witness.count(seen.decision, seen.bytes);
        let (is_told, untold) = {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            let is_told = seen.decision == Decision::Allowed || pace.take(Instant::now());
            if !is_told {
                pace.untold += 1;
            }
            (is_told, if is_told { std::mem::take(&mut pace.untold) } else { 0 })
        };
        self.tell_untold(untold);
        if is_told {
            self.witness.see(seen);
        }
    }

    fn tell_untold(&self, count: u64) {
        if count == 0 {
            return;
        }
        self.witness.see(Seen {
            wanted: "many places".to_owned(),
            reached: None,
            decision: Decision::Denied,
            place: None,
            reason: Some(format!("{count} attempts that came to nothing are told together").into()),
            bytes: 0,
            duration: Duration::ZERO,
            said: None,
            times: count,
        });
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let untold = self.pace.get_mut().unwrap_or_else(PoisonError::into_inner).untold;
        self.tell_untold(untold);
    }
}

impl Pace {
    /// Tells whether another one may be told.
    fn take(&mut self, now: Instant) -> bool {
        let more = u32::try_from(now.duration_since(self.since).as_millis() / EACH.as_millis());
        let more = more.unwrap_or(AT_ONCE);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(AT_ONCE);
            self.since = now;
        }
        let is_one_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_one_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<Seen>>);

    impl Witness for Kept {
        fn see(&self, seen: Seen) {
            self.0.lock().unwrap().push(seen);
        }
    }

    fn seen(decision: Decision) -> Seen {
        Seen {
            wanted: "api.test:443".into(),
            reached: None,
            decision,
            place: None,
            reason: None,
            bytes: 0,
            duration: Duration::ZERO,
            said: None,
            times: 1,
        }
    }

    #[test]
    fn what_is_not_told_is_counted() {
        let kept = Arc::new(Kept::default());
        let teller = Teller::new(kept.clone());
        // None is let through meanwhile, however long this takes.
        teller.pace.lock().unwrap().since = Instant::now() + Duration::from_hours(1);
        for _ in 0..AT_ONCE + 7 {
            teller.tell(seen(Decision::Denied));
        }
        assert_eq!(kept.0.lock().unwrap().len(), AT_ONCE as usize);
        teller.tell(seen(Decision::Allowed));
        let told = |index: usize| kept.0.lock().unwrap()[index].clone();
        let together = told(AT_ONCE as usize).reason.unwrap();
        assert_eq!(together, "7 attempts that came to nothing are told together");
        assert_eq!(told(AT_ONCE as usize + 1), seen(Decision::Allowed));
        teller.tell(seen(Decision::Failed));
        drop(teller);
        let together = told(AT_ONCE as usize + 2).reason.unwrap();
        assert_eq!(together, "1 attempts that came to nothing are told together");
    }

    #[test]
    fn time_lets_more_through() {
        let begun = Instant::now();
        let mut pace = Pace { left: 1, since: begun, untold: 0 };
        assert!(pace.take(begun) && !pace.take(begun));
        let later = begun + EACH * 2;
        assert!(pace.take(later) && pace.take(later) && !pace.take(later));
    }
}
