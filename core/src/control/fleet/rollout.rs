//! Which version of the configuration is for which gateway.
//!
//! **While a rollout is open, what is pushed besides reaches nobody**: who is in a stage that was reached has its version, and
//! everybody else what was for all before. What it ends with stays for all until another version is pushed.

use serde::{Deserialize, Serialize};

use crate::sorted::SortedMap;

/// Some gateways, and some agents at all others. Whoever is named, or has every one of the labels, is among them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Stage {
    /// Names of gateways.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) gateways: Vec<String>,
    /// Labels and what they say.
    #[serde(default, skip_serializing_if = "SortedMap::is_empty")]
    pub(crate) labels: SortedMap<String, String>,
    /// Names of agents, which have the version at whatever gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) agents: Vec<String>,
}

/// How it is with a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Some gateways have its version.
    Open,
    /// All have.
    Promoted,
    /// None has any more.
    Aborted,
}

/// A version on its way to all gateways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rollout {
    pub(crate) id: String,
    /// Which version.
    pub(crate) version: u64,
    /// What everybody else has meanwhile; 0 is nothing.
    pub(crate) base: u64,
    pub(crate) stages: Vec<Stage>,
    /// How many of the stages have been reached.
    pub(crate) reached: usize,
    pub(crate) state: State,
    /// When it began, and when it ended, in milliseconds since the Unix epoch.
    pub(crate) began: u64,
    #[serde(default)]
    pub(crate) ended: Option<u64>,
    /// By whom, and who ended it.
    pub(crate) by: String,
    #[serde(default)]
    pub(crate) ended_by: Option<String>,
    #[serde(default)]
    pub(crate) note: String,
}

/// What is for all, where a rollout has ended with another than the newest version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// The version for all.
    pub(crate) version: u64,
    /// The version that was the newest then: with another one, this counts no more.
    pub(crate) newest: u64,
}

/// Where a fleet is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Course {
    #[serde(default)]
    pub(crate) settled: Option<Settled>,
    #[serde(default)]
    pub(crate) open: Option<Rollout>,
}

/// What a rollout is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Which version; the one that is pushed next, where nothing is said.
    pub(crate) version: Option<u64>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) note: String,
}

/// Why a rollout does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotBegun {
    #[error("another rollout is open: promote or abort it first")]
    Another,
    #[error("there is no such version, and it is not the one that is pushed next")]
    NoVersion,
    #[error("all gateways have that version")]
    Already,
}

impl Stage {
    /// Tells whether a gateway is among them.
    fn has(&self, name: &str, labels: &SortedMap<String, String>) -> bool {
        let labelled = !self.labels.is_empty()
            && self.labels.iter().all(|(label, value)| labels.get(label) == Some(value));
        labelled || self.gateways.iter().any(|known| known == name)
    }
}

impl Course {
    /// Returns the version for all gateways that no rollout says otherwise of; 0 is none.
    pub(crate) fn for_all(&self, newest: u64) -> u64 {
        match self.settled {
            Some(settled) if settled.newest == newest => settled.version,
            _ => newest,
        }
    }

    /// Returns the version for one gateway; 0 is none.
    pub(crate) fn version_for(&self, name: &str, labels: &SortedMap<String, String>, newest: u64) -> u64 {
        let Some(open) = &self.open else { return self.for_all(newest) };
        let reached = open.stages.iter().take(open.reached).any(|stage| stage.has(name, labels));
        // The version may not have been pushed yet.
        if reached && open.version <= newest { open.version } else { open.base }
    }

    /// Returns the version that only some agents have at one gateway, and which agents.
    pub(crate) fn ahead_at(
        &self,
        name: &str,
        labels: &SortedMap<String, String>,
        newest: u64,
    ) -> Option<(u64, Vec<String>)> {
        let open = self.open.as_ref().filter(|open| open.version <= newest)?;
        let reached = open.stages.get(..open.reached)?;
        let agents: Vec<_> = reached.iter().flat_map(|stage| &stage.agents).cloned().collect();
        let has_whole = reached.iter().any(|stage| stage.has(name, labels));
        (!has_whole && !agents.is_empty()).then_some((open.version, agents))
    }

    /// Begins a rollout to those of its first stage.
    pub(crate) fn begin(
        &self,
        Plan { version, stages, note }: Plan,
        newest: u64,
        (id, by, at): (String, String, u64),
    ) -> Result<Self, NotBegun> {
        if self.open.is_some() {
            return Err(NotBegun::Another);
        }
        let (version, base) = (version.unwrap_or(newest + 1), self.for_all(newest));
        if version == 0 || version > newest + 1 {
            return Err(NotBegun::NoVersion);
        }
        if version == base {
            return Err(NotBegun::Already);
        }
        let (state, ended, ended_by) = (State::Open, None, None);
        let open =
            Rollout { id, version, base, stages, reached: 1, state, began: at, ended, by, ended_by, note };
        Ok(Self { open: Some(open), ..self.clone() })
    }

    /// Goes on to the next stage; after the last one, or at once, to all. Nothing where there is no such rollout, or nothing
    /// that all could have.
    pub(crate) fn promote(
        &self,
        id: &str,
        to_all: bool,
        newest: u64,
        (by, at): (&str, u64),
    ) -> Option<(Self, Rollout)> {
        let open = self.open.as_ref().filter(|open| open.id == id && open.version <= newest)?;
        if !to_all && open.reached < open.stages.len() {
            let open = Rollout { reached: open.reached + 1, ..open.clone() };
            return Some((Self { open: Some(open.clone()), ..self.clone() }, open));
        }
        let ended = Rollout { state: State::Promoted, reached: open.stages.len(), ..open.clone() };
        Some(Self::ended(ended, (open.version, newest), (by, at)))
    }

    /// Goes back to what was for all before. Nothing where there is no such rollout.
    pub(crate) fn abort(&self, id: &str, newest: u64, (by, at): (&str, u64)) -> Option<(Self, Rollout)> {
        let open = self.open.as_ref().filter(|open| open.id == id)?;
        let ended = Rollout { state: State::Aborted, ..open.clone() };
        Some(Self::ended(ended, (open.base, newest), (by, at)))
    }

    fn ended(rollout: Rollout, (version, newest): (u64, u64), (by, at): (&str, u64)) -> (Self, Rollout) {
        let ended = Rollout { ended: Some(at), ended_by: Some(by.to_owned()), ..rollout };
        (Self { settled: Some(Settled { version, newest }), open: None }, ended)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(text: &str) -> SortedMap<String, String> {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(label, value)| (label.to_owned(), value.to_owned())).collect()
    }

    fn stage(gateways: &[&str], labelled: &str) -> Stage {
        let gateways = gateways.iter().map(|&name| name.to_owned()).collect();
        Stage { gateways, labels: labels(labelled), agents: Vec::new() }
    }

    fn begun(course: &Course, version: Option<u64>, newest: u64) -> Result<Course, NotBegun> {
        let stages = vec![stage(&["canary"], ""), stage(&[], "ring=early")];
        course.begin(Plan { version, stages, note: String::new() }, newest, ("r".into(), "ana".into(), 1))
    }

    /// Who has what: the canary, an early one, another.
    fn who_has(course: &Course, newest: u64) -> [u64; 3] {
        [("canary", ""), ("b", "ring=early zone=1"), ("c", "ring=late")]
            .map(|(name, text)| course.version_for(name, &labels(text), newest))
    }

    #[test]
    fn a_version_goes_from_stage_to_stage_and_to_all() {
        let course = Course::default();
        assert_eq!(who_has(&course, 4), [4, 4, 4]);
        let course = begun(&course, None, 4).unwrap();
        assert_eq!(who_has(&course, 4), [4, 4, 4], "it is not pushed yet");
        assert!(course.promote("r", true, 4, ("ana", 2)).is_none());
        assert_eq!(who_has(&course, 5), [5, 4, 4]);
        assert_eq!(who_has(&course, 6), [5, 4, 4], "what is pushed besides reaches nobody");
        let (course, _) = course.promote("r", false, 6, ("ana", 2)).unwrap();
        assert_eq!(who_has(&course, 6), [5, 5, 4]);
        let (course, ended) = course.promote("r", false, 6, ("bo", 3)).unwrap();
        assert_eq!(
            (ended.state, ended.ended_by.as_deref(), ended.ended),
            (State::Promoted, Some("bo"), Some(3))
        );
        assert_eq!(who_has(&course, 6), [5, 5, 5], "the newest was not what was promoted");
        assert_eq!(who_has(&course, 7), [7, 7, 7]);
    }

    #[test]
    fn a_rollout_goes_back_and_stays_there() {
        let course = begun(&Course::default(), None, 4).unwrap();
        assert!(course.abort("other", 5, ("ana", 2)).is_none());
        let (course, ended) = course.abort("r", 5, ("ana", 2)).unwrap();
        assert_eq!((ended.state, who_has(&course, 5)), (State::Aborted, [4, 4, 4]));
        let again = begun(&course, Some(5), 5).unwrap();
        assert_eq!(who_has(&again, 5), [5, 4, 4]);
        let (course, _) = again.promote("r", true, 5, ("ana", 3)).unwrap();
        assert_eq!(who_has(&course, 5), [5, 5, 5]);
        let back = begun(&course, Some(3), 5).unwrap();
        assert_eq!(who_has(&back, 5), [3, 5, 5], "an earlier version is rolled out like any");
    }

    #[test]
    fn what_cannot_be_rolled_out_is_refused() {
        let open = begun(&Course::default(), None, 4).unwrap();
        assert_eq!(begun(&open, None, 5), Err(NotBegun::Another));
        assert_eq!(begun(&Course::default(), Some(6), 4), Err(NotBegun::NoVersion));
        assert_eq!(begun(&Course::default(), Some(0), 4), Err(NotBegun::NoVersion));
        assert_eq!(begun(&Course::default(), Some(4), 4), Err(NotBegun::Already));
        assert!(!Stage::default().has("a", &labels("a=b")), "a stage of nobody is not one of everybody");
    }

    #[test]
    fn some_agents_have_it_where_the_gateway_has_not() {
        let stages = vec![
            Stage { agents: vec!["coder".into()], ..Stage::default() },
            Stage { agents: vec!["ci".into()], ..stage(&["canary"], "") },
        ];
        let plan = Plan { version: None, stages, note: String::new() };
        let course = Course::default().begin(plan, 4, ("r".into(), "ana".into(), 1)).unwrap();
        let at = |course: &Course, name: &str, newest| {
            let version = course.version_for(name, &labels(""), newest);
            (version, course.ahead_at(name, &labels(""), newest))
        };
        assert_eq!(at(&course, "canary", 4), (4, None), "it is not pushed yet");
        assert_eq!(at(&course, "canary", 5), (4, Some((5, vec!["coder".to_owned()]))));
        let (course, _) = course.promote("r", false, 5, ("ana", 2)).unwrap();
        assert_eq!(at(&course, "canary", 5), (5, None), "it has the whole");
        assert_eq!(at(&course, "other", 6), (4, Some((5, vec!["coder".to_owned(), "ci".to_owned()]))));
        let (aborted, _) = course.abort("r", 6, ("ana", 3)).unwrap();
        assert_eq!(at(&aborted, "other", 6), (4, None));
        let (course, _) = course.promote("r", true, 6, ("ana", 3)).unwrap();
        assert_eq!(at(&course, "other", 6), (5, None));
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Push,
        Begin(Option<u64>),
        Promote(bool),
        Abort,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Push),
            prop::option::of(0..9u64).prop_map(Step::Begin),
            any::<bool>().prop_map(Step::Promote),
            Just(Step::Abort),
        ]
    }

    proptest! {
        #[test]
        fn whoever_is_in_no_stage_has_what_was_for_all_until_all_have_another(steps in prop::collection::vec(step(), 0..30)) {
            let (mut course, mut newest) = (Course::default(), 1);
            for step in steps {
                let before = who_has(&course, newest);
                let was_open = course.open.is_some();
                let next = match step {
                    Step::Push => { newest += 1; None }
                    Step::Begin(version) => begun(&course, version, newest).ok(),
                    Step::Promote(all) => course.promote("r", all, newest, ("a", 1)).map(|(next, _)| next),
                    Step::Abort => course.abort("r", newest, ("a", 1)).map(|(next, _)| next),
                };
                course = next.unwrap_or(course);
                let after = who_has(&course, newest);
                prop_assert!(after.iter().all(|version| *version <= newest));
                if course.open.is_some() {
                    prop_assert_eq!(before[2], after[2], "{:?}", step);
                } else {
                    prop_assert!(after[0] == after[1] && after[1] == after[2]);
                    prop_assert!(!was_open || after[2] == before[2] || matches!(step, Step::Promote(_)));
                }
            }
        }
    }
}
