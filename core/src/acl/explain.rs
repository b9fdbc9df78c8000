//! Why a thing is allowed or denied: the decision, and every rule that has a say in it.
//!
//! **The decision is [`Rules::decide`]'s**; here it is only put into words, with what each condition comes to.

use super::{Condition, Decision, Denial, Rules, Target, Truth, Undecided};
use crate::config::{Origin, Rule};

/// What was decided on one thing, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The decision.
    pub verdict: Verdict,
    /// The rule that decided, as it is written; nothing where none did.
    pub rule: Option<String>,
    /// Where that stands which decided.
    pub origin: Origin,
    /// What decided, in words, and where it stands.
    pub by: String,
    /// Every rule that names the thing: first those that deny, then those that allow, then the agent's own condition.
    pub considered: Vec<Considered>,
}

/// A decision, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may be.
    Allowed,
    /// It may be with some arguments, and is listed.
    Depends,
    /// It may not be.
    Denied,
}

/// A rule that names the thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// What it is for.
    pub side: Side,
    /// The rule as it is written, or the agent's name.
    pub text: String,
    /// Its condition, where it has one.
    pub when: Option<String>,
    /// What the condition comes to; without one, it holds.
    pub truth: Truth,
    /// Why the condition cannot be told, where it cannot.
    pub why: Option<Undecided>,
    /// Where it stands.
    pub origin: Origin,
}

/// What a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It denies.
    Deny,
    /// It allows.
    Allow,
    /// It is a condition of everything that the agent may do.
    Agent,
}

impl Rules {
    /// Decides on one thing and says why. `holds` says what each condition comes to.
    pub fn explain(
        &self,
        target: &Target<'_>,
        holds: impl Fn(&Condition) -> Result<bool, Undecided>,
    ) -> Judgement {
        let decision = self.decide(target, |condition| Truth::from(&holds(condition)));
        let judgement = self.put_into_words(&decision);
        let consider = |side, text: &str, when: Option<&Condition>, origin: &Origin| {
            let outcome = when.map_or(Ok(true), &holds);
            Considered {
                side,
                text: text.to_owned(),
                when: when.map(|condition| condition.text().to_owned()),
                truth: Truth::from(&outcome),
                why: outcome.err().filter(|why| *why != Undecided::NoArguments),
                origin: origin.clone(),
            }
        };
        let rules = self.naming(target);
        let rules = rules.map(|(side, rule)| consider(side, &rule.text, rule.when.as_ref(), &rule.origin));
        let own = self.agent.when.as_ref();
        let own = own.map(|when| consider(Side::Agent, &self.agent.name, Some(when), &self.agent.origin));
        Judgement { considered: rules.chain(own).collect(), ..judgement }
    }

    fn put_into_words(&self, decision: &Decision<'_>) -> Judgement {
        let judgement = |verdict, rule: Option<&Rule>, origin: &Origin, by| Judgement {
            verdict,
            rule: rule.map(|rule| rule.text.clone()),
            origin: origin.clone(),
            by,
            considered: Vec::new(),
        };
        match decision {
            Decision::Allowed { rule, depends } => {
                let rule = self.rule(*rule);
                let by = format!("allowed by `{}` ({})", rule.text, rule.origin);
                match depends {
                    false => judgement(Verdict::Allowed, Some(rule), &rule.origin, by),
                    true => {
                        let by = format!("{by}, where the arguments permit");
                        judgement(Verdict::Depends, Some(rule), &rule.origin, by)
                    }
                }
            }
            Decision::Denied(denial) => {
                let (rule, origin) = match denial {
                    Denial::Rule(rule) | Denial::Unmet(rule) => (Some(*rule), &rule.origin),
                    Denial::When(agent) | Denial::Nothing(agent) => (None, &agent.origin),
                };
                judgement(Verdict::Denied, rule, origin, denial.reason())
            }
        }
    }
}

impl From<&Result<bool, Undecided>> for Truth {
    fn from(outcome: &Result<bool, Undecided>) -> Self {
        match outcome {
            Ok(true) => Self::Holds,
            Ok(false) => Self::Fails,
            Err(Undecided::NoArguments) => Self::Depends,
            Err(_) => Self::Undecided,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::{Acl, Arguments, CallerFacts, Facts};
    use crate::config::{ItemKind, Source, parse};

    const POLICY: &str = r#"
version: 1
servers: { git: { url: "http://git.test/mcp" } }
agents:
  coder:
    allow: ["git/*", { on: "git/push", when: 'args.n > 1' }]
    deny: [{ on: "git/get", when: 'args.repo == "secret"' }, "git/drop"]
    when: 'now.hour < 1'
"#;

    fn check(name: &str, arguments: Option<&str>) -> String {
        let source = Source { path: "p.yaml".into(), text: POLICY.into() };
        let rules = Acl::new(&parse(&[source], &|_| None).config.policy).rules("coder");
        let target = Target { server: "git", kind: ItemKind::Tool, name, is_template: false };
        let arguments = arguments.map(|text| Arguments::check(text).expect("JSON"));
        let facts = Facts { arguments, caller: CallerFacts::default(), now: 0 };
        let judgement = rules.explain(&target, |condition| condition.holds(&facts));
        let mut lines = vec![format!("{:?}: {}", judgement.verdict, judgement.by)];
        lines.extend(judgement.considered.iter().map(|of| {
            let why = of.why.as_ref().map(|why| format!(" as {why}")).unwrap_or_default();
            format!("{:?} {} {:?}: {:?}{why}", of.side, of.text, of.when, of.truth)
        }));
        lines.join("\n")
    }

    #[test]
    fn every_rule_that_names_a_thing_is_told() {
        insta::assert_snapshot!(check("get", None), @r#"
        Depends: allowed by `git/*` (p.yaml:6: agents.coder.allow[0]), where the arguments permit
        Deny git/get Some("args.repo == \"secret\""): Depends
        Allow git/* None: Holds
        Agent coder Some("now.hour < 1"): Holds
        "#);
        insta::assert_snapshot!(check("get", Some(r#"{"repo":"secret"}"#)), @r#"
        Denied: denied by `git/get` (p.yaml:7: agents.coder.deny[0])
        Deny git/get Some("args.repo == \"secret\""): Holds
        Allow git/* None: Holds
        Agent coder Some("now.hour < 1"): Holds
        "#);
        insta::assert_snapshot!(check("get", Some("{}")), @r#"
        Denied: denied by `git/get` (p.yaml:7: agents.coder.deny[0])
        Deny git/get Some("args.repo == \"secret\""): Undecided as `repo` is missing
        Allow git/* None: Holds
        Agent coder Some("now.hour < 1"): Holds
        "#);
        insta::assert_snapshot!(check("push", Some(r#"{"n":1}"#)), @r#"
        Allowed: allowed by `git/*` (p.yaml:6: agents.coder.allow[0])
        Allow git/* None: Holds
        Allow git/push Some("args.n > 1"): Fails
        Agent coder Some("now.hour < 1"): Holds
        "#);
        insta::assert_snapshot!(check("DROP", None), @r#"
        Denied: denied by `git/drop` (p.yaml:7: agents.coder.deny[1])
        Deny git/drop None: Holds
        Allow git/* None: Holds
        Agent coder Some("now.hour < 1"): Holds
        "#);
    }

    #[test]
    fn nothing_is_told_of_other_rules() {
        let rules = Acl::new(&crate::config::Policy::default()).rules("nobody");
        let target = Target { server: "git", kind: ItemKind::Tool, name: "x", is_template: false };
        let judgement = rules.explain(&target, |_| Ok(true));
        assert_eq!((judgement.verdict, judgement.considered), (Verdict::Denied, Vec::new()));
    }
}
