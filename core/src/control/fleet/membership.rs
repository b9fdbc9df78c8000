//! What a governed gateway knows of its control plane, and what it takes from there.
//!
//! **It never takes what the pinned key has not signed, what is for another, or what is not newer.** What an operator goes
//! back to comes as something newer that says what something earlier said; so an old snapshot is never anything but a replay.

use serde::{Deserialize, Serialize};

use super::Snapshot;
use crate::audit;

/// A gateway's place in a fleet, as it keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Where the control plane is.
    pub url: String,
    /// What the gateway is known by there.
    pub gateway: String,
    /// The gateway's name there, where it was told.
    #[serde(default)]
    pub name: String,
    /// The seed of the gateway's key, sealed.
    pub seed: String,
    /// By what fingerprint the control plane's first key is known: which fleet this is.
    pub fleet: String,
    /// The control plane's key.
    pub key: String,
    /// The key that it has announced.
    pub next: Option<String>,
    /// The number of the newest snapshot that was taken; 0 where none was.
    pub number: u64,
    /// Its digest.
    pub digest: String,
    /// The version of the control plane's configuration that it has.
    pub version: u64,
    /// Why that version is not in force, where it is not.
    #[serde(default)]
    pub refused: Option<String>,
}

/// Which of the keys that a gateway knows has signed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// The one that it has pinned.
    Pinned,
    /// The one that was announced to come after that.
    Next,
}

/// What a gateway makes of what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It is taken; this is what the gateway then knows.
    Take(Box<Snapshot>, Box<Membership>),
    /// It is what the gateway has.
    Same,
    /// It is not taken.
    Refused(NotTaken),
}

/// Why something is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// No key that is known has signed it.
    #[error("is not signed by the control plane's key")]
    Unsigned,
    /// The control plane has signed what is no snapshot.
    #[error("is no snapshot that this gateway understands")]
    Malformed,
    /// It is for another gateway.
    #[error("is for another gateway")]
    ForAnother,
    /// The gateway has a newer one.
    #[error("is older than what is in force")]
    Older,
    /// The gateway has one of the same number that says something else.
    #[error("says otherwise than the snapshot of the same number that was taken before")]
    Contradicts,
}

impl Membership {
    /// Decides what becomes of bytes that `signer` has signed as a snapshot.
    pub fn judge(&self, bytes: &[u8], signer: Option<Signer>) -> Judged {
        let Some(signer) = signer else { return Judged::Refused(NotTaken::Unsigned) };
        let Some(snapshot) = Snapshot::read(bytes) else { return Judged::Refused(NotTaken::Malformed) };
        if snapshot.gateway != self.gateway {
            return Judged::Refused(NotTaken::ForAnother);
        }
        let digest = audit::digest(bytes);
        if snapshot.number < self.number {
            return Judged::Refused(NotTaken::Older);
        }
        if snapshot.number == self.number {
            return if digest == self.digest { Judged::Same } else { Judged::Refused(NotTaken::Contradicts) };
        }
        let key = match signer {
            Signer::Next => self.next.clone().unwrap_or_else(|| self.key.clone()),
            Signer::Pinned => self.key.clone(),
        };
        let next = Self {
            key,
            next: snapshot.next_key.clone(),
            number: snapshot.number,
            digest,
            version: snapshot.version,
            refused: None,
            ..self.clone()
        };
        Judged::Take(Box::new(snapshot), Box::new(next))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn membership() -> Membership {
        Membership {
            url: "https://control.example".into(),
            gateway: "00000000000000aa".into(),
            name: "one".into(),
            seed: String::new(),
            fleet: String::new(),
            key: "k1".into(),
            next: None,
            number: 0,
            digest: String::new(),
            version: 0,
            refused: None,
        }
    }

    fn snapshot(gateway: &str, number: u64, version: u64, next_key: Option<&str>) -> Vec<u8> {
        Snapshot {
            gateway: gateway.into(),
            number,
            issued: 1,
            version,
            document: format!("version: {version}"),
            keys: Vec::new(),
            next_key: next_key.map(str::to_owned),
        }
        .to_bytes()
    }

    /// Whoever sends: `by` has signed what is sent.
    #[derive(Debug, Clone)]
    struct Sent {
        gateway: &'static str,
        number: u64,
        version: u64,
        by: Option<&'static str>,
        next: Option<&'static str>,
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let gateway = prop_oneof![4 => Just("00000000000000aa"), 1 => Just("00000000000000bb")];
        let by =
            prop_oneof![4 => Just(Some("k1")), 2 => Just(Some("k2")), 1 => Just(Some("k3")), 1 => Just(None)];
        let next = prop_oneof![3 => Just(None), 1 => Just(Some("k2")), 1 => Just(Some("k3"))];
        (gateway, 0..6u64, 0..4u64, by, next).prop_map(|(gateway, number, version, by, next)| Sent {
            gateway,
            number,
            version,
            by,
            next,
        })
    }

    fn signer(known: &Membership, by: Option<&str>) -> Option<Signer> {
        match by {
            Some(by) if by == known.key => Some(Signer::Pinned),
            Some(by) if known.next.as_deref() == Some(by) => Some(Signer::Next),
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn whatever_is_sent_only_what_is_newer_and_meant_is_taken(all in prop::collection::vec(sent(), 0..40)) {
            let mut known = membership();
            // Every key that counts was announced by one that counted.
            let mut trusted = vec!["k1".to_owned()];
            for sent in all {
                let bytes = snapshot(sent.gateway, sent.number, sent.version, sent.next);
                if let Judged::Take(taken, next) = known.judge(&bytes, signer(&known, sent.by)) {
                    prop_assert_eq!(&*taken.gateway, "00000000000000aa");
                    prop_assert!(taken.number > known.number);
                    prop_assert!(trusted.iter().any(|key| Some(&**key) == sent.by));
                    prop_assert_eq!((next.number, next.version), (sent.number, sent.version));
                    trusted.extend(next.next.clone());
                    known = *next;
                }
            }
        }
    }

    #[test]
    fn what_is_not_taken_is_told_why() {
        let mut known = membership();
        let first = snapshot("00000000000000aa", 3, 7, None);
        let Judged::Take(_, next) = known.judge(&first, Some(Signer::Pinned)) else { panic!("it is new") };
        known = *next;
        let refused = |bytes: &[u8], signer| match known.judge(bytes, signer) {
            Judged::Refused(why) => why.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(known.judge(&first, Some(Signer::Pinned)), Judged::Same);
        insta::assert_snapshot!(refused(&first, None), @"is not signed by the control plane's key");
        insta::assert_snapshot!(refused(b"{}", Some(Signer::Pinned)), @"is no snapshot that this gateway understands");
        insta::assert_snapshot!(refused(&snapshot("00000000000000bb", 4, 8, None), Some(Signer::Pinned)), @"is for another gateway");
        insta::assert_snapshot!(refused(&snapshot("00000000000000aa", 2, 8, None), Some(Signer::Pinned)), @"is older than what is in force");
        insta::assert_snapshot!(refused(&snapshot("00000000000000aa", 3, 8, None), Some(Signer::Pinned)), @"says otherwise than the snapshot of the same number that was taken before");
    }

    #[test]
    fn an_operator_goes_back_by_something_newer_and_a_key_follows_another() {
        let take = |known: &Membership, bytes: &[u8], signer| match known.judge(bytes, Some(signer)) {
            Judged::Take(_, next) => *next,
            other => panic!("{other:?}"),
        };
        let known = take(&membership(), &snapshot("00000000000000aa", 5, 9, Some("k2")), Signer::Pinned);
        let known = take(&known, &snapshot("00000000000000aa", 6, 8, Some("k2")), Signer::Pinned);
        assert_eq!((known.version, &*known.key, known.next.as_deref()), (8, "k1", Some("k2")));
        let known = take(&known, &snapshot("00000000000000aa", 7, 8, None), Signer::Next);
        assert_eq!((&*known.key, known.next.as_deref()), ("k2", None));
    }
}
