//! The rules of one agent, with its groups resolved, and the one decision that is made with them.
//!
//! **A rule that cannot be evaluated counts against the caller. Denying wins. What nothing allows is denied.**

use std::sync::Arc;

use super::explain::Side;
use super::{Condition, Glob};
use crate::config::{Agent, Dialect, Group, ItemKind, Origin, Policy, Rule, Selector, What};
use crate::sorted::SortedMap;
use crate::wire::json::Json;

/// The rules of all agents of a policy.
#[derive(Debug, Default)]
pub struct Acl {
    /// In the order of the policy, the default last.
    agents: Vec<Arc<Rules>>,
    by_name: SortedMap<Arc<str>, usize>,
}

/// The rules of one agent.
#[derive(Debug)]
pub struct Rules {
    /// Its place among the agents of its policy.
    pub(crate) index: usize,
    /// Whose they are.
    pub(crate) agent: Arc<Agent>,
    allow: Vec<Clause>,
    deny: Vec<Clause>,
    /// The conditions that read no arguments.
    steady: Vec<Condition>,
    /// Those that do, of rules that may be about resources: these have no arguments.
    bare: Vec<Condition>,
    is_unrestricted: bool,
    /// How refusals are worded.
    pub(crate) dialect: Dialect,
}

/// One rule with everything that it names.
#[derive(Debug)]
struct Clause {
    rule: Rule,
    /// The rule and where it stands, for the record.
    label: Arc<str>,
    reach: Reach,
}

#[derive(Debug, PartialEq, Eq)]
enum Reach {
    Everything,
    Some(Vec<Selector>),
}

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// The server whose it is.
    pub server: &'a str,
    /// Of which kind it is.
    pub kind: ItemKind,
    /// The name that the server, or a variant, gives it; a URI, or a template of URIs.
    pub name: &'a str,
    /// Whether `name` is a template.
    pub is_template: bool,
}

/// What a condition comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// It depends on arguments that are not known yet.
    Depends,
    /// It could not be evaluated.
    Undecided,
}

/// What was decided, and by which rule.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'r> {
    /// It may.
    Allowed {
        /// The place of the rule that allows it, for [`Rules::rule`].
        rule: u32,
        /// Whether another decision may come of other arguments.
        depends: bool,
    },
    /// It may not.
    Denied(Denial<'r>),
}

/// Why something is denied.
#[derive(Debug, Clone, Copy)]
pub enum Denial<'r> {
    /// A rule denies it.
    Rule(&'r Rule),
    /// What would allow it depends on a condition that does not hold.
    Unmet(&'r Rule),
    /// The agent's own condition does not hold.
    When(&'r Agent),
    /// No rule allows it.
    Nothing(&'r Agent),
}

impl Acl {
    /// Resolves the rules of a policy.
    pub fn new(policy: &Policy) -> Self {
        let agents = policy.agents.iter().chain([&policy.default]).chain(policy.personal.values());
        let agents: Vec<_> = agents
            .enumerate()
            .map(|(index, agent)| Arc::new(Rules::new(index, agent.clone(), policy)))
            .collect();
        let by_name = agents.iter().map(|rules| (rules.agent.key().clone(), rules.index)).collect();
        Self { agents, by_name }
    }

    /// Returns the rules of an agent by its key; of nobody's key, rules that allow nothing.
    pub fn rules(&self, agent: &str) -> Arc<Rules> {
        if let Some(index) = self.by_name.get(agent) {
            return self.agents[*index].clone();
        }
        let nobody = Arc::new(Agent::bare(agent, Origin::default()));
        Arc::new(Rules::new(self.agents.len(), nobody, &Policy::default()))
    }
}

impl Rules {
    fn new(index: usize, agent: Arc<Agent>, policy: &Policy) -> Self {
        let clause = |rule: &Rule| Clause::new(rule, &policy.groups);
        let clauses = |rules: &[Rule]| rules.iter().map(&clause).collect::<Vec<_>>();
        let (allow, deny) = (clauses(&agent.allow), clauses(&agent.deny));
        let conditions = allow.iter().chain(&deny).filter_map(|clause| clause.rule.when.as_ref());
        let mut steady = Vec::new();
        for condition in conditions.chain(agent.when.as_ref()) {
            if !condition.reads_arguments() && !steady.contains(condition) {
                steady.push(condition.clone());
            }
        }
        let lets_all =
            |clause: &Clause| matches!(clause.reach, Reach::Everything) && clause.rule.when.is_none();
        let is_unrestricted = allow.iter().any(lets_all) && deny.is_empty() && agent.when.is_none();
        let of_resources = allow.iter().chain(&deny).filter(|clause| clause.may_be_of_resources());
        let mut bare: Vec<Condition> = Vec::new();
        for condition in
            of_resources.filter_map(|clause| clause.rule.when.as_ref()).chain(agent.when.as_ref())
        {
            if condition.reads_arguments() && !bare.contains(condition) {
                bare.push(condition.clone());
            }
        }
        Self { index, agent, allow, deny, steady, bare, is_unrestricted, dialect: policy.dialect }
    }

    /// Tells whether the agent may do everything, whatever the circumstances.
    pub fn is_unrestricted(&self) -> bool {
        self.is_unrestricted
    }

    /// Finds out what conditions come to that do not depend on a call: those that read no arguments, and for resources,
    /// which have none, also the others. `truth` says what each comes to, the latter with arguments that are empty.
    pub(crate) fn outcomes(&self, truth: impl Fn(&Condition, Option<Json<'_>>) -> Truth) -> Box<[Truth]> {
        let steady = self.steady.iter().map(|condition| truth(condition, None));
        let bare = self.bare.iter().map(|condition| truth(condition, Some(Json::known("{}"))));
        steady.chain(bare).collect()
    }

    /// Returns what a condition comes to as far as these outcomes say, for things of that kind.
    pub(crate) fn outcome(&self, outcomes: &[Truth], condition: &Condition, kind: ItemKind) -> Truth {
        let is_it = |known: &Condition| known == condition;
        if let Some(place) = self.steady.iter().position(is_it) {
            return outcomes[place];
        }
        if kind != ItemKind::Resource {
            return Truth::Depends;
        }
        let place = self.bare.iter().position(is_it);
        place.map_or(Truth::Undecided, |place| outcomes[self.steady.len() + place])
    }

    /// Returns an allowing rule by its place.
    pub fn rule(&self, place: u32) -> &Rule {
        &self.allow[place as usize].rule
    }

    /// Returns an allowing rule, and where it stands, by its place.
    pub(crate) fn label(&self, place: u32) -> &Arc<str> {
        &self.allow[place as usize].label
    }

    /// Returns the place of the rule that allows everything, where one does whatever the circumstances.
    pub(crate) fn first(&self) -> Option<u32> {
        let place = self.allow.iter().position(Clause::lets_all)?;
        u32::try_from(place).ok()
    }

    /// Tells whether some rule could allow something of a server, and none denies all of it.
    pub(crate) fn may_reach(&self, server: &str) -> bool {
        let reaches = |selector: &Selector| selector.server.matches_without_case(server);
        let covers = |selector: &Selector| {
            reaches(selector) && selector.kind.is_none() && selector.item.is_everything()
        };
        let shuts = |clause: &Clause| match &clause.reach {
            _ if clause.rule.when.is_some() => false,
            Reach::Everything => true,
            Reach::Some(selectors) => selectors.iter().any(covers),
        };
        !self.deny.iter().any(shuts) && self.reaching(server).is_some()
    }

    /// Returns the place of the first rule that could allow something of a server.
    pub(crate) fn reaching(&self, server: &str) -> Option<u32> {
        let reaches = |clause: &Clause| match &clause.reach {
            Reach::Everything => true,
            Reach::Some(selectors) => {
                selectors.iter().any(|selector| selector.server.matches_without_case(server))
            }
        };
        u32::try_from(self.allow.iter().position(reaches)?).ok()
    }

    /// Returns the rules that name a thing, first those that deny.
    pub(super) fn naming(&self, target: &Target<'_>) -> impl Iterator<Item = (Side, &Rule)> {
        let deny = self.deny.iter().filter(|clause| clause.denies(target));
        let allow = self.allow.iter().filter(|clause| clause.allows(target));
        let deny = deny.map(|clause| (Side::Deny, &clause.rule));
        deny.chain(allow.map(|clause| (Side::Allow, &clause.rule)))
    }

    /// Returns every condition.
    #[cfg(feature = "control")]
    pub(crate) fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let clauses = self.allow.iter().chain(&self.deny);
        clauses.filter_map(|clause| clause.rule.when.as_ref()).chain(self.agent.when.as_ref())
    }

    /// Tells whether others decide alike on one thing, whatever conditions come to.
    #[cfg(feature = "control")]
    pub(crate) fn decides_alike(&self, other: &Self, target: &Target<'_>) -> bool {
        let bears = |(side, rule): (Side, &Rule)| (side, rule.when.clone());
        self.agent.when == other.agent.when
            && self.naming(target).map(bears).eq(other.naming(target).map(bears))
    }

    /// Tells whether others decide alike on everything, wherever they stand.
    #[cfg(feature = "control")]
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let same =
            |(one, other): (&Clause, &Clause)| one.reach == other.reach && one.rule.when == other.rule.when;
        let all =
            |one: &[Clause], other: &[Clause]| one.len() == other.len() && one.iter().zip(other).all(same);
        self.agent.when == other.agent.when && all(&self.allow, &other.allow) && all(&self.deny, &other.deny)
    }

    /// Decides on one thing. `truth` says what each condition comes to.
    pub fn decide(&self, target: &Target<'_>, truth: impl Fn(&Condition) -> Truth) -> Decision<'_> {
        let truth_of = |clause: &Clause| clause.rule.when.as_ref().map_or(Truth::Holds, &truth);
        let mut depends = false;
        for clause in self.deny.iter().filter(|clause| clause.denies(target)) {
            match truth_of(clause) {
                Truth::Holds | Truth::Undecided => return Decision::Denied(Denial::Rule(&clause.rule)),
                Truth::Depends => depends = true,
                Truth::Fails => {}
            }
        }
        let mut unmet = None;
        let mut allowed = None;
        for (place, clause) in (0..).zip(&self.allow).filter(|(_, clause)| clause.allows(target)) {
            match truth_of(clause) {
                Truth::Holds => {
                    allowed = Some((place, false));
                    break;
                }
                Truth::Depends => allowed = allowed.or(Some((place, true))),
                Truth::Fails | Truth::Undecided => unmet = unmet.or(Some(&clause.rule)),
            }
        }
        let Some((rule, waits)) = allowed else {
            return Decision::Denied(unmet.map_or(Denial::Nothing(&self.agent), Denial::Unmet));
        };
        match self.agent.when.as_ref().map_or(Truth::Holds, truth) {
            Truth::Holds => Decision::Allowed { rule, depends: depends || waits },
            Truth::Depends => Decision::Allowed { rule, depends: true },
            Truth::Fails | Truth::Undecided => Decision::Denied(Denial::When(&self.agent)),
        }
    }
}

impl Denial<'_> {
    /// Says what denied it, and where that stands.
    pub fn reason(&self) -> String {
        match self {
            Self::Rule(rule) => format!("denied by `{}` ({})", rule.text, rule.origin),
            Self::Unmet(rule) => format!("the condition of `{}` does not hold ({})", rule.text, rule.origin),
            Self::When(agent) => {
                format!("the condition of agent {} does not hold ({})", agent.name, agent.origin)
            }
            Self::Nothing(agent) => format!("no rule of agent {} allows it ({})", agent.name, agent.origin),
        }
    }
}

impl Clause {
    fn new(rule: &Rule, groups: &SortedMap<String, Group>) -> Self {
        let reach = match &rule.what {
            What::Everything => Reach::Everything,
            // A group that is not there holds nothing: its file was refused.
            What::Group(name) => {
                Reach::Some(groups.get(name).map(|group| group.members.clone()).unwrap_or_default())
            }
            What::Select(selector) => Reach::Some(vec![selector.clone()]),
        };
        Self { rule: rule.clone(), label: format!("{} ({})", rule.text, rule.origin).into(), reach }
    }

    fn may_be_of_resources(&self) -> bool {
        let may_be = |selector: &Selector| match selector.kind {
            Some(kind) => kind == ItemKind::Resource,
            None => selector.item.is_everything(),
        };
        match &self.reach {
            Reach::Everything => true,
            Reach::Some(selectors) => selectors.iter().any(may_be),
        }
    }

    fn lets_all(&self) -> bool {
        matches!(self.reach, Reach::Everything) && self.rule.when.is_none()
    }

    fn allows(&self, target: &Target<'_>) -> bool {
        match &self.reach {
            Reach::Everything => true,
            Reach::Some(selectors) => selectors.iter().any(|selector| selector.allows(target)),
        }
    }

    fn denies(&self, target: &Target<'_>) -> bool {
        match &self.reach {
            Reach::Everything => true,
            Reach::Some(selectors) => selectors.iter().any(|selector| selector.denies(target)),
        }
    }
}

impl Selector {
    /// Tells whether the selector names a thing, letter by letter; a template where it names some of its URIs.
    pub fn allows(&self, target: &Target<'_>) -> bool {
        self.is_about(target)
            && if target.is_template {
                may_meet(&self.item, target.name)
            } else {
                self.item.matches(target.name)
            }
    }

    /// Tells whether the selector names a thing where the case of letters does not matter; a template where it names
    /// all of its URIs.
    pub fn denies(&self, target: &Target<'_>) -> bool {
        self.is_about(target)
            && if target.is_template {
                meets_all(&self.item, target.name)
            } else {
                self.item.matches_without_case(target.name)
            }
    }

    fn is_about(&self, target: &Target<'_>) -> bool {
        let kind = match self.kind {
            Some(kind) => kind == target.kind,
            None => target.kind != ItemKind::Resource || self.item.is_everything(),
        };
        kind && self.server.matches_without_case(target.server)
    }
}

/// Tells whether some URI of a template could match: what both begin with, up to where they vary, agrees.
fn may_meet(glob: &Glob, template: &str) -> bool {
    let glob = glob.as_str().split(['*', '?']).next().unwrap_or_default();
    let template = template.split('{').next().unwrap_or_default();
    glob.starts_with(template) || template.starts_with(glob)
}

/// Tells whether every URI of a template matches, as far as what it begins with says so.
fn meets_all(glob: &Glob, template: &str) -> bool {
    let Some(prefix) = glob.as_str().strip_suffix('*').filter(|prefix| !prefix.contains(['*', '?'])) else {
        return glob.matches_without_case(template) && !template.contains('{');
    };
    let fixed = template.split('{').next().unwrap_or_default();
    fixed.to_lowercase().starts_with(&prefix.to_lowercase())
}

#[cfg(test)]
mod tests;
