//! What the control plane knows of a gateway that it governs, of enrolments that wait, and of its own key.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Snapshot;
use crate::audit;
use crate::control::answer::moment;
use crate::identity::KeyRecord;
use crate::sorted::SortedMap;

/// After how long without a report a gateway counts as silent, in milliseconds.
const SILENT: u64 = 90_000;

/// The control plane's own keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Own {
    /// The fingerprint of the first key: which fleet this is, whatever key signs now.
    pub(crate) fleet: String,
    /// The seed of the key that signs, sealed.
    pub(crate) seed: String,
    /// The key that signs.
    pub(crate) key: String,
    /// The key that will, and its seed, sealed.
    #[serde(default)]
    pub(crate) next: Option<(String, String)>,
}

/// An enrolment that waits for its gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) labels: SortedMap<String, String>,
    /// The key that enrols.
    pub(crate) key: String,
    /// When it was made, and until when it counts.
    pub(crate) made: u64,
    pub(crate) expires: u64,
    pub(crate) by: String,
}

/// What a gateway was given last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Issued {
    pub(crate) number: u64,
    pub(crate) at: u64,
    pub(crate) version: u64,
    /// The digest of what it says, whatever its number.
    pub(crate) content: String,
}

/// What a gateway says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The number of the snapshot that it has.
    #[serde(default)]
    pub(crate) number: u64,
    /// The version that it has, and why it is not in force.
    #[serde(default)]
    pub(crate) version: u64,
    #[serde(default)]
    pub(crate) refused: Option<String>,
    /// Whether what it was sent last was no snapshot for it, and why.
    #[serde(default)]
    pub(crate) rejected: Option<String>,
    /// Its servers, as `/readyz` has them.
    #[serde(default)]
    pub(crate) servers: Vec<Value>,
    /// What it has counted.
    #[serde(default)]
    pub(crate) counts: SortedMap<String, u64>,
    #[serde(default)]
    pub(crate) program: String,
}

/// A gateway that is governed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) labels: SortedMap<String, String>,
    /// Its public key.
    pub(crate) key: String,
    /// What kind of host it runs on.
    pub(crate) host: String,
    pub(crate) program: String,
    pub(crate) enrolled: u64,
    /// Who made the enrolment.
    pub(crate) by: String,
    #[serde(default)]
    pub(crate) issued: Option<Issued>,
    /// When it last reported.
    pub(crate) seen: u64,
    #[serde(default)]
    pub(crate) report: Option<Report>,
}

/// What is for a gateway, whatever its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) version: u64,
    pub(crate) document: String,
    pub(crate) keys: Vec<KeyRecord>,
    pub(crate) next_key: Option<String>,
}

impl Content {
    /// Returns the digest by which it is told from others.
    fn digest(&self) -> String {
        let keys = serde_json::to_string(&self.keys).expect("texts and numbers are JSON");
        let next = self.next_key.as_deref().unwrap_or_default();
        let all = [&*self.version.to_string(), &*audit::digest(self.document.as_bytes()), &*keys, next];
        audit::digest(all.join("\n").as_bytes())
    }
}

impl Member {
    /// Returns what the gateway is to be given that has the snapshot `known`, and what is to be noted of it; nothing where it
    /// has it. **A number is never given twice to different contents, and never one that the gateway would not take**: one
    /// that knows a higher number than was noted, as after a store was restored, gets a higher one.
    pub(crate) fn issue(&self, content: Content, known: u64, now: u64) -> Option<(Snapshot, Option<Self>)> {
        let digest = content.digest();
        let last = self.issued.as_ref();
        let newest = last.map_or(0, |last| last.number);
        let same = last.filter(|last| last.content == digest && known <= newest);
        if same.is_some() && known == newest {
            return None;
        }
        let issued = same.cloned().unwrap_or_else(|| Issued {
            number: newest.max(known) + 1,
            at: now,
            version: content.version,
            content: digest,
        });
        let noted = same.is_none().then(|| Self { issued: Some(issued.clone()), ..self.clone() });
        let Content { version, document, keys, next_key } = content;
        let (gateway, number, issued) = (self.id.clone(), issued.number, issued.at);
        Some((Snapshot { gateway, number, issued, version, document, keys, next_key }, noted))
    }

    /// Describes it, for people; `wanted` is the version that is for it.
    pub(crate) fn described(&self, wanted: u64, now: u64) -> Value {
        let report = self.report.as_ref();
        let in_force = report.map_or(0, |report| report.version);
        let state = match report {
            _ if now.saturating_sub(self.seen) > SILENT => "silent",
            Some(report) if report.refused.is_some() => "refused",
            Some(_) if in_force == wanted => "current",
            _ => "behind",
        };
        json!({
            "id": self.id,
            "name": self.name,
            "labels": self.labels,
            "state": state,
            "host": self.host,
            "program": report.map_or(&self.program, |report| &report.program),
            "enrolled": moment(self.enrolled),
            "enrolled_by": self.by,
            "seen": moment(self.seen),
            "wanted": wanted,
            "version": in_force,
            "snapshot": report.map_or(0, |report| report.number),
            "refused": report.and_then(|report| report.refused.as_ref()),
            "rejected": report.and_then(|report| report.rejected.as_ref()),
            "servers": report.map_or(&[][..], |report| &report.servers),
            "counts": report.map(|report| &report.counts),
        })
    }
}

impl Pending {
    /// Describes it, for people.
    pub(crate) fn described(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "labels": self.labels,
            "created": moment(self.made),
            "expires": moment(self.expires),
            "created_by": self.by,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Judged, Membership, Signer};
    use super::*;

    fn member() -> Member {
        Member {
            id: "00000000000000aa".into(),
            name: "one".into(),
            labels: SortedMap::new(),
            key: String::new(),
            host: "local".into(),
            program: "1".into(),
            enrolled: 1,
            by: "admin".into(),
            issued: None,
            seen: 1,
            report: None,
        }
    }

    fn content(version: u64) -> Content {
        Content { version, document: format!("version: {version}"), keys: Vec::new(), next_key: None }
    }

    /// What happens between the two: the answer arrives or is lost, and either may have lost what it noted last.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Asks { version: u64, arrives: bool },
        Restored,
    }

    fn step() -> impl Strategy<Value = Step> {
        let asks = (1..4u64, any::<bool>()).prop_map(|(version, arrives)| Step::Asks { version, arrives });
        prop_oneof![6 => asks, 1 => Just(Step::Restored)]
    }

    proptest! {
        #[test]
        fn whatever_is_lost_the_gateway_takes_what_it_is_given(steps in prop::collection::vec(step(), 0..40)) {
            let mut known = super::super::membership::tests::membership();
            let (mut plane, backup) = (member(), member());
            for step in steps {
                let Step::Asks { version, arrives } = step else { plane = backup.clone(); continue };
                let Some((snapshot, noted)) = plane.issue(content(version), known.number, 5) else {
                    prop_assert_eq!(known.version, version, "there is nothing for it only where it has that");
                    continue;
                };
                plane = noted.unwrap_or(plane);
                if arrives {
                    let Judged::Take(_, next) = known.judge(&snapshot.to_bytes(), Some(Signer::Pinned)) else {
                        return Err(TestCaseError::fail("it was not taken"));
                    };
                    known = Membership { ..*next };
                    prop_assert_eq!(known.version, version);
                }
            }
        }
    }

    #[test]
    fn what_was_issued_is_issued_alike() {
        let (first, noted) = member().issue(content(1), 0, 5).unwrap();
        let member = noted.unwrap();
        let (again, noted) = member.issue(content(1), 0, 99).unwrap();
        assert_eq!((first.to_bytes(), noted), (again.to_bytes(), None));
        assert!(member.issue(content(1), 1, 99).is_none());
        let (back, _) = member.issue(content(0), 1, 99).unwrap();
        assert_eq!((back.number, back.version), (2, 0), "an earlier version is something newer");
    }

    #[test]
    fn a_gateway_is_described() {
        let mut known = member();
        let state = |known: &Member, wanted: u64, now: u64| {
            known.described(wanted, now)["state"].as_str().map(str::to_owned)
        };
        assert_eq!(state(&known, 1, 2).as_deref(), Some("behind"));
        known.report = Some(Report {
            number: 3,
            version: 1,
            refused: None,
            rejected: None,
            servers: Vec::new(),
            counts: SortedMap::new(),
            program: "2".into(),
        });
        assert_eq!(state(&known, 1, 2).as_deref(), Some("current"));
        assert_eq!(state(&known, 2, 2).as_deref(), Some("behind"));
        assert_eq!(state(&known, 1, SILENT + 2).as_deref(), Some("silent"));
        known.report.as_mut().unwrap().refused = Some("has an error".into());
        assert_eq!(state(&known, 1, 2).as_deref(), Some("refused"));
        assert_eq!(known.described(1, 2)["program"], "2");
    }
}
