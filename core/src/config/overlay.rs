//! Overlays: what one identity has besides what the configuration says, read from native files of their own and written
//! into the one policy. Pure.
//!
//! **An overlay changes nothing for anybody else**: its servers are denied to everybody but its own identity, and its rules
//! stand with that identity alone. **Denying wins** as everywhere: an overlay lifts no `deny` of the configuration. What is
//! wrong with one refuses the whole configuration.

use std::sync::Arc;

use super::item::{At, Item};
use super::known::Known;
use super::load::Loaded;
use super::model::Config;
use super::native::read_servers;
use super::native_rules::{RuleDraft, read_rules};
use super::node::read;
use super::policy::{Agent, Origin, Policy, Rule, Selector, What};
use super::problem::{Place, Report, quote};
use super::source::{Draft, Source};
use crate::acl::Glob;
use crate::names::{ServerName, without_case};

/// What the name of an overlay for an agent begins with.
const OF_AGENT: &str = "agent:";
/// What the name of an overlay for a principal begins with.
const OF_PRINCIPAL: &str = "principal:";
/// What is no principal of one caller: who has the key that all share.
const SHARED: &str = "key:shared";

/// What an overlay says besides its servers.
#[derive(Debug, Clone)]
pub(super) struct OverlayDraft {
    whose: Option<Whose>,
    allow: Vec<RuleDraft>,
    deny: Vec<RuleDraft>,
}

/// Whose an overlay is.
#[derive(Debug, Clone)]
enum Whose {
    /// Everybody's who is this agent.
    Agent(At<String>),
    /// One principal's, while it is this agent.
    Principal(String, At<String>),
}

/// Returns the source of an overlay as problems name it.
pub fn overlay_source((name, text): (&str, &str)) -> Source {
    Source { path: format!("overlay {name}"), text: text.to_owned() }
}

/// Reads an overlay.
pub(super) fn read_overlay(source: &Source, report: &mut Report<'_>) -> Draft {
    let node = match read(source) {
        Ok((_, node)) => node,
        Err(error) => {
            report.error(&Place { at: error.at, field: String::new() }, error.message);
            return Draft::default();
        }
    };
    let root = Item::root(&node);
    let Some(mut fields) = root.fields(report) else { return Draft::default() };
    match fields.take("version") {
        Some(version) => drop(version.parsed("version 1", report, |text| (text == "1").then_some(()))),
        None => report.error(&root.place(), "the key `version` is missing"),
    }
    let agent = fields.take_even_null("agent").and_then(|item| item.filled_text("an agent's name", report));
    let servers = fields.take("servers").map(|item| read_servers(&item, report)).unwrap_or_default();
    let mut rules =
        |key| fields.take_even_null(key).map(|item| read_rules(&item, report)).unwrap_or_default();
    let (allow, deny) = (rules("allow"), rules("deny"));
    fields.finish(report);
    let name = source.path.trim_start_matches("overlay ");
    let whose = read_whose(name, agent, &root.place(), report);
    Draft { servers, overlay: Some(OverlayDraft { whose, allow, deny }), ..Draft::default() }
}

fn read_whose(
    name: &str,
    agent: Option<At<String>>,
    place: &Place,
    report: &mut Report<'_>,
) -> Option<Whose> {
    let principal = name.strip_prefix(OF_PRINCIPAL).filter(|id| id.starts_with("key:") && *id != SHARED);
    match (name.strip_prefix(OF_AGENT), principal, agent) {
        (Some(name), _, None) => Some(Whose::Agent(At { value: name.to_owned(), place: place.clone() })),
        (Some(_), _, Some(agent)) => {
            report.error(&agent.place, "the overlay's name says already which agent it is for");
            None
        }
        (None, Some(id), Some(agent)) => Some(Whose::Principal(id.to_owned(), agent)),
        (None, Some(_), None) => {
            report.error(place, "the key `agent` is missing: the agent that this principal is");
            None
        }
        (None, None, _) => {
            report.error(
                place,
                format!("nobody is {}: expected `agent:NAME` or `principal:key:ID`", quote(name)),
            );
            None
        }
    }
}

/// Writes the overlays among the files into the policy.
pub(super) fn apply_overlays(loaded: &mut [Loaded<'_>], config: &mut Config) {
    let mut known = Known::new(loaded.iter().flat_map(Loaded::server_names));
    for group in config.policy.groups.values() {
        known.add_group(&group.name);
    }
    // Those of agents first: a principal has what its agent has.
    for of_principals in [false, true] {
        for file in loaded.iter_mut() {
            let Some(overlay) = file.overlay.take() else { continue };
            if matches!(overlay.whose, Some(Whose::Principal(..))) != of_principals {
                file.overlay = Some(overlay);
                continue;
            }
            let servers: Vec<_> = file.candidates.iter().map(|candidate| candidate.name.clone()).collect();
            // Also those that have errors: whatever had such a name before is not everybody's now.
            config.personal.extend(servers.iter().filter_map(|name| ServerName::parse(&name.value).ok()));
            file.reporting(|report| apply(&overlay, &servers, (&known, &mut config.policy), report));
        }
    }
}

fn apply(
    overlay: &OverlayDraft,
    servers: &[At<String>],
    (known, policy): (&Known, &mut Policy),
    report: &mut Report<'_>,
) {
    let mut resolve = |rules: &[RuleDraft]| -> Vec<Rule> {
        rules.iter().filter_map(|rule| known.resolve_rule(rule, report)).collect()
    };
    let (allow, deny) = (resolve(&overlay.allow), resolve(&overlay.deny));
    let Some(whose) = &overlay.whose else { return };
    let (Whose::Agent(name) | Whose::Principal(_, name)) = whose;
    let Some(agent) = find(policy, &name.value) else {
        report.error(&name.place, format!("there is no agent {}", quote(&name.value)));
        return;
    };
    let mut extended = Agent::clone(agent);
    extended.allow.extend(allow);
    extended.deny.extend(deny);
    let own = match whose {
        Whose::Agent(_) => {
            *agent = Arc::new(extended);
            agent.name.clone()
        }
        Whose::Principal(id, _) => {
            let key: Arc<str> = format!("{}+{id}", extended.name).into();
            extended.personal = Some(key.clone());
            policy.personal.insert(id.clone(), Arc::new(extended));
            key
        }
    };
    for server in servers {
        deny_to(policy, |agent| **agent.key() != *own, &server.value, &report.origin(&server.place));
    }
}

/// Returns an agent, or the one that holds for whoever is none, by its name.
pub(super) fn find<'p>(policy: &'p mut Policy, name: &str) -> Option<&'p mut Arc<Agent>> {
    let is_it = |agent: &&mut Arc<Agent>| without_case(&agent.name) == without_case(name);
    policy.agents.iter_mut().chain([&mut policy.default]).find(is_it)
}

/// Denies a server to some agents.
pub(super) fn deny_to(
    policy: &mut Policy,
    is_denied: impl Fn(&Agent) -> bool,
    server: &str,
    origin: &Origin,
) {
    let what = What::Select(Selector { server: Glob::new(server), kind: None, item: Glob::everything() });
    let rule = Rule { what, when: None, text: format!("{server}/*"), origin: origin.clone() };
    let all = policy.agents.iter_mut().chain([&mut policy.default]).chain(policy.personal.values_mut());
    for agent in all.filter(|agent| is_denied(agent)) {
        Arc::make_mut(agent).deny.push(rule.clone());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::acl::{Acl, Decision, Target, Truth};
    use crate::config::{ItemKind, Parsed, Problem, Processes, parse_all};

    const BASE: &str = "version: 1
servers: { a: { url: https://a.example }, b: { url: https://b.example } }
groups: { g: { a: 'get_*' } }
agents:
  coder: { allow: [g] }
  other: { allow: ['*'] }
  default: { deny: ['*'] }
";

    fn with(overlays: &[(&str, &str)]) -> Parsed {
        let base = Source { path: "p.yaml".into(), text: BASE.into() };
        let overlays: Vec<_> = overlays
            .iter()
            .map(|(name, text)| overlay_source((name, &format!("version: 1\n{text}"))))
            .collect();
        parse_all((&[base], &overlays), &|_| None, Processes::Started)
    }

    fn problems(overlays: &[(&str, &str)]) -> String {
        with(overlays).problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
    }

    fn may(parsed: &Parsed, key: &str, server: &str, name: &str) -> bool {
        let target = Target { server, kind: ItemKind::Tool, name, is_template: false };
        let rules = Acl::new(&parsed.config.policy).rules(key);
        matches!(rules.decide(&target, |_| Truth::Fails), Decision::Allowed { .. })
    }

    #[test]
    fn an_overlay_gives_its_agent_more_and_nobody_else() {
        let parsed = with(&[(
            "agent:Coder",
            "servers: { mine: { url: https://m.example } }\nallow: [mine, b/x]\ndeny: [a/get_c]",
        )]);
        assert_eq!(parsed.problems, []);
        assert_eq!(parsed.config.servers.len(), 3);
        assert_eq!(parsed.config.personal.iter().map(ServerName::as_str).collect::<Vec<_>>(), ["mine"]);
        let coder = |server, name| may(&parsed, "coder", server, name);
        assert!(coder("mine", "x") && coder("b", "x") && coder("a", "get_b"));
        assert!(!coder("b", "y") && !coder("a", "get_c"));
        assert!(may(&parsed, "other", "b", "y") && !may(&parsed, "other", "mine", "x"));
    }

    #[test]
    fn a_principal_has_its_own_besides_its_agents() {
        let parsed = with(&[
            (
                "principal:key:1",
                "agent: coder\nservers: { mine: { url: https://m.example } }\nallow: [mine]\ndeny: [a/get_c]",
            ),
            ("agent:coder", "allow: [b/x]"),
        ]);
        assert_eq!(parsed.problems, []);
        assert_eq!(&*parsed.config.policy.personal["key:1"].name, "coder");
        let own = |server, name| may(&parsed, "coder+key:1", server, name);
        assert!(own("mine", "x") && own("b", "x") && own("a", "get_b") && !own("a", "get_c"));
        let coder = |server, name| may(&parsed, "coder", server, name);
        assert!(coder("b", "x") && coder("a", "get_c") && !coder("mine", "x"));
    }

    #[test]
    fn what_is_wrong_with_an_overlay_refuses_everything() {
        insta::assert_snapshot!(problems(&[("tenant:acme", "allow: [a]")]), @r#"overlay tenant:acme:1:1: error: nobody is "tenant:acme": expected `agent:NAME` or `principal:key:ID`"#);
        insta::assert_snapshot!(problems(&[("agent:nobody", "allow: [a]")]), @r#"overlay agent:nobody:1:1: error: there is no agent "nobody""#);
        insta::assert_snapshot!(problems(&[("principal:key:1", "allow: [a]")]), @"overlay principal:key:1:1:1: error: the key `agent` is missing: the agent that this principal is");
        insta::assert_snapshot!(problems(&[("principal:key:shared", "agent: coder\nallow: [a]")]), @r#"overlay principal:key:shared:1:1: error: nobody is "principal:key:shared": expected `agent:NAME` or `principal:key:ID`"#);
        insta::assert_snapshot!(problems(&[("agent:coder", "allow: [c]\nagents: {}")]), @r#"
    overlay agent:coder:2:9: error: allow[0]: no group and no server is called "c"
      hint: groups and servers: "a", "b", "g"
    overlay agent:coder:3:1: error: agents: unknown key "agents"; known: version, agent, servers, allow, deny
      hint: did you mean `agent`?
    "#);
        insta::assert_snapshot!(problems(&[("agent:coder", "servers: { A: { url: https://a.example } }")]), @r#"
    p.yaml:2:12: error: servers.a: this name cannot be told from "A" in overlay agent:coder:2
      hint: rename one of them; both are left out until then
    overlay agent:coder:2:12: error: servers.A: this name cannot be told from "a" in p.yaml:2
      hint: rename one of them; both are left out until then
    "#);
        for bad in ["allow: [c]", "auth: { required: false }", "allow:", "x: ["] {
            assert!(with(&[("agent:coder", bad)]).is_refused(), "{bad}");
        }
    }

    #[test]
    fn the_configuration_itself_knows_no_server_of_an_overlay() {
        let base = Source { path: "p.yaml".into(), text: format!("{BASE}  late: {{ allow: [mine] }}\n") };
        let overlay =
            overlay_source(("agent:coder", "version: 1\nservers: { mine: { url: https://m.example } }"));
        assert!(parse_all((&[base], &[overlay]), &|_| None, Processes::Started).is_refused());
    }

    proptest! {
        /// Whatever overlays say, what others may do stays as it is.
        #[test]
        fn an_overlay_never_widens_anybody_else(
            rules in prop::collection::vec(("(allow|deny)", prop::sample::select(vec!["'*'", "g", "a", "b/x", "mine", "'*/get_*'"])), 0..4),
            whose in prop::sample::select(vec!["agent:coder", "principal:key:1"]),
        ) {
            let list = |key: &str| {
                let on: Vec<_> = rules.iter().filter(|(k, _)| k == key).map(|(_, on)| *on).collect();
                format!("{key}: [{}]\n", on.join(", "))
            };
            let agent = if whose.starts_with("agent") { "" } else { "agent: coder\n" };
            let text = format!("{agent}servers: {{ mine: {{ url: https://m.example }} }}\n{}{}", list("allow"), list("deny"));
            let (before, after) = (with(&[]), with(&[(whose, &text)]));
            prop_assert_eq!(&after.problems, &vec![]);
            let others: &[&str] = if agent.is_empty() { &["other", "default"] } else { &["coder", "other", "default"] };
            for agent in others {
                for server in ["a", "b"] {
                    for name in ["x", "y", "get_x"] {
                        prop_assert_eq!(may(&before, agent, server, name), may(&after, agent, server, name));
                    }
                }
                prop_assert!(!may(&after, agent, "mine", "x"));
            }
        }
    }
}
