//! Another version of a configuration for some agents alone: what it says of them, written into the one that all others have.
//! Pure.
//!
//! **Nobody else sees anything of it**: a server that only it has is denied to everybody but those agents. **They reach no more
//! than both say**: a server that it has not, or that is one identity's in either, is denied to them; one that both have is as it
//! is for all. What it has besides of servers, tools and settings comes with the whole version. What is wrong with it refuses
//! the whole.

use std::sync::Arc;

use super::overlay::{deny_to, find};
use super::policy::{Agent, Group, Origin, Policy, Rule, What};
use super::{Config, Parsed, Problem, Server, Severity};
use crate::names::{ServerName, without_case};
use crate::sorted::SortedMap;

/// Writes into a configuration what another version of it says of these agents.
pub(crate) fn go_ahead(parsed: &mut Parsed, (version, ahead): (u64, Parsed), agents: &[String]) {
    let Parsed { config: mut next, problems, secrets, places } = ahead;
    let of_version = |file: &str| format!("version {version}: {file}");
    let added: Vec<_> = next.servers.keys().filter(|name| !is_taken(&parsed.config, name)).cloned().collect();
    let is_added = |name: &str| added.iter().any(|added| added.as_str() == name);
    let counts = problems.into_iter().filter(|problem| match &problem.server {
        Some(server) => is_added(server),
        None => problem.severity == Severity::Error,
    });
    let counts: Vec<_> =
        counts.map(|problem| Problem { file: of_version(&problem.file), ..problem }).collect();
    parsed.problems.extend(counts);
    if parsed.is_refused() {
        parsed.config.policy = Policy::refusing_everything();
        return;
    }
    let whose = Whose { agents, version };
    let config = &mut parsed.config;
    let kept_out: Vec<_> =
        config.servers.keys().filter(|name| !is_alike(config, &next, name)).cloned().collect();
    whose.take_agents(&mut config.policy, &mut next.policy);
    let origin = |what: &str| Origin { field: format!("version {version} {what}"), ..Origin::default() };
    for server in &kept_out {
        let origin = origin("has no such server for this agent");
        deny_to(&mut config.policy, |agent| whose.are(agent), server.as_str(), &origin);
    }
    for server in &added {
        deny_to(
            &mut config.policy,
            |agent| !whose.are(agent),
            server.as_str(),
            &origin("alone has this server"),
        );
    }
    config.tool_limits.retain(|limits| !limits.agent.as_ref().is_some_and(|agent| whose.names(agent)));
    let limits = next.tool_limits.into_iter();
    config
        .tool_limits
        .extend(limits.filter(|limits| limits.agent.as_ref().is_some_and(|agent| whose.names(agent))));
    let needed: Vec<_> =
        added.iter().filter_map(|name| next.servers.get(name)).flat_map(Server::secrets).collect();
    parsed.secrets.extend(secrets.into_iter().filter(|secret| needed.contains(&&secret.name)));
    parsed.places.extend(places.into_iter().filter(|(name, _)| is_added(name.as_str())));
    for name in added {
        config.approvals.set(name.clone(), next.approvals.of(&name));
        config.personal.insert(name.clone());
        if let Some(server) = next.servers.remove(&name) {
            config.servers.insert(name, server);
        }
    }
}

/// Tells whether a name cannot be told from one that the configuration has.
fn is_taken(config: &Config, name: &ServerName) -> bool {
    let folded = super::load::folded(name.as_str());
    let names = config.servers.keys().map(ServerName::as_str).chain(config.broken.keys().map(String::as_str));
    names.map(super::load::folded).any(|known| known == folded)
}

/// Tells whether a server is everybody's in both, or the same one's.
fn is_alike(config: &Config, next: &Config, name: &ServerName) -> bool {
    let is_ones = [config, next].map(|config| config.personal.contains(name));
    let (here, there) = (config.servers.get(name), next.servers.get(name));
    there.is_some() && is_ones[0] == is_ones[1] && (!is_ones[0] || here == there)
}

/// Those who have the other version.
struct Whose<'a> {
    agents: &'a [String],
    version: u64,
}

impl Whose<'_> {
    fn names(&self, agent: &str) -> bool {
        self.agents.iter().any(|name| without_case(name) == without_case(agent))
    }

    fn are(&self, agent: &Agent) -> bool {
        self.names(&agent.name)
    }

    /// Puts what the other version says of them in the place of what is said of them.
    fn take_agents(&self, policy: &mut Policy, next: &mut Policy) {
        let groups = std::mem::take(&mut next.groups);
        for name in self.agents {
            let known = find(policy, name);
            let agent = match (find(next, name), known.as_deref()) {
                (Some(agent), _) => Agent::clone(agent),
                // There it is nobody in particular.
                (None, Some(known)) => {
                    let (name, matches) = (known.name.clone(), known.matches.clone());
                    Agent { name, matches, ..Agent::clone(&next.default) }
                }
                (None, None) => continue,
            };
            let agent = Arc::new(self.spelled_out(agent, &groups));
            match known {
                Some(known) => *known = agent,
                None => policy.agents.push(agent),
            }
        }
        policy.personal.retain(|_, agent| !self.are(agent));
        let own = next.personal.iter().filter(|(_, agent)| self.are(agent));
        for (principal, agent) in own {
            policy
                .personal
                .insert(principal.clone(), Arc::new(self.spelled_out(Agent::clone(agent), &groups)));
        }
    }

    /// Has rules name what the groups of that version hold: groups of the same names may hold something else here.
    fn spelled_out(&self, agent: Agent, groups: &SortedMap<String, Group>) -> Agent {
        let origin = |origin: &Origin| {
            let file = format!("version {}: {}", self.version, origin.file).into();
            Origin { file, ..origin.clone() }
        };
        let all = |rules: Vec<Rule>| -> Vec<Rule> {
            rules
                .into_iter()
                .flat_map(|rule| {
                    let rule = Rule { origin: origin(&rule.origin), ..rule };
                    let What::Group(key) = &rule.what else { return vec![rule] };
                    let members = groups.get(key).map(|group| group.members.iter()).into_iter().flatten();
                    members
                        .map(|member| Rule { what: What::Select(member.clone()), ..rule.clone() })
                        .collect()
                })
                .collect()
        };
        Agent { origin: origin(&agent.origin), allow: all(agent.allow), deny: all(agent.deny), ..agent }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::acl::{Acl, Decision, Target, Truth};
    use crate::config::{ItemKind, Processes, Source, overlay_source, parse_all};

    const BASE: &str = "version: 1
servers: { a: { url: https://a.example }, b: { url: https://b.example }, gone: { url: https://g.example } }
groups: { g: { a: 'get_*' } }
agents:
  coder: { allow: [g, gone], limits: { tools: { 'a/*': { daily: 5 } } } }
  other: { allow: ['*'] }
  default: { deny: ['*'] }
";
    const NEXT: &str = "version: 1
servers: { a: { url: https://elsewhere.example }, b: { url: https://b.example }, new: { url: https://n.example } }
groups: { g: { b: 'x' } }
agents:
  coder: { allow: [g, new] }
  other: { allow: [a] }
  late: { allow: [b] }
  default: { deny: ['*'] }
";

    fn read(text: &str, overlays: &[(&str, &str)]) -> Parsed {
        let source = Source { path: "p.yaml".into(), text: text.into() };
        let overlays: Vec<_> = overlays
            .iter()
            .map(|(name, text)| overlay_source((name, &format!("version: 1\n{text}"))))
            .collect();
        parse_all((&[source], &overlays), &|_| None, Processes::Started)
    }

    fn ahead(base: Parsed, next: Parsed, agents: &[&str]) -> Parsed {
        let mut parsed = base;
        let agents: Vec<_> = agents.iter().map(|&agent| agent.to_owned()).collect();
        go_ahead(&mut parsed, (7, next), &agents);
        parsed
    }

    fn may(parsed: &Parsed, key: &str, server: &str, name: &str) -> bool {
        let target = Target { server, kind: ItemKind::Tool, name, is_template: false };
        let rules = Acl::new(&parsed.config.policy).rules(key);
        matches!(rules.decide(&target, |_| Truth::Fails), Decision::Allowed { .. })
    }

    #[test]
    fn an_agent_has_what_the_other_version_says_of_it_and_no_other_has() {
        let parsed = ahead(read(BASE, &[]), read(NEXT, &[]), &["Coder", "late"]);
        assert_eq!(parsed.problems, []);
        let coder = |server, name| may(&parsed, "coder", server, name);
        assert!(coder("b", "x") && coder("new", "y"), "its groups are those of that version");
        assert!(!coder("a", "get_x") && !coder("gone", "x"));
        assert!(may(&parsed, "late", "b", "x") && !may(&parsed, "late", "a", "x"));
        let other = |server, name| may(&parsed, "other", server, name);
        assert!(other("a", "x") && other("b", "y") && other("gone", "x") && !other("new", "y"));
        assert!(!may(&parsed, "default", "new", "y"));
        let config = &parsed.config;
        let names: Vec<_> = config.servers.keys().map(ServerName::as_str).collect();
        assert_eq!(names, ["a", "b", "gone", "new"]);
        assert_eq!(config.servers.values().next(), read(BASE, &[]).config.servers.values().next());
        assert_eq!(config.personal.iter().map(ServerName::as_str).collect::<Vec<_>>(), ["new"]);
        assert!(config.tool_limits.is_empty(), "that version limits nothing");
        let rule = &config.policy.agents.iter().find(|agent| &*agent.name == "coder").unwrap().allow[0];
        insta::assert_snapshot!(rule.origin, @"version 7: p.yaml:5: agents.coder.allow[0]");
    }

    #[test]
    fn who_is_not_in_the_other_version_is_nobody_there() {
        let next =
            "version: 1\nservers: { a: { url: https://a.example } }\nagents: { default: { allow: [a/x] } }\n";
        let parsed = ahead(read(BASE, &[]), read(next, &[]), &["other", "nobody"]);
        assert!(may(&parsed, "other", "a", "x") && !may(&parsed, "other", "a", "y"));
        assert!(!may(&parsed, "other", "b", "x"), "that version has no such server");
        assert_eq!(parsed.config.policy.agents.len(), 2);
    }

    #[test]
    fn what_is_wrong_with_the_other_version_refuses_the_whole() {
        for next in ["version: 1\nagents: { coder: { allow: [nowhere] } }\n", "x: ["] {
            let parsed = ahead(read(BASE, &[]), read(next, &[]), &["coder"]);
            assert!(parsed.is_refused() && !may(&parsed, "other", "a", "x"), "{next}");
            assert!(parsed.problems.iter().any(|problem| problem.file.starts_with("version 7: ")));
        }
        let broken = "version: 1\nservers: { a: { url: https://a.example }, bad: {} }\nagents: { coder: { allow: [a] } }\n";
        let parsed = ahead(read(BASE, &[]), read(broken, &[]), &["coder"]);
        assert!(!parsed.is_refused() && may(&parsed, "coder", "a", "x"), "{:?}", parsed.problems);
    }

    #[test]
    fn what_is_one_identitys_stays_so() {
        let own = [("agent:other", "servers: { mine: { url: https://m.example } }\nallow: [mine]")];
        let next =
            NEXT.replace("new: {", "mine: { url: https://m.example }, new: {").replace("[g, new]", "['*']");
        // What everybody has there is one agent's here.
        let parsed = ahead(read(BASE, &own), read(&next, &[]), &["coder"]);
        assert!(!may(&parsed, "coder", "mine", "x") && may(&parsed, "other", "mine", "x"));
        // It is with another credential there.
        let others = [("agent:other", "servers: { mine: { url: https://m2.example } }\nallow: [mine]")];
        let all = NEXT.replace("[g, new]", "['*']");
        let parsed = ahead(read(BASE, &own), read(&all, &others), &["coder", "other"]);
        assert!(!may(&parsed, "coder", "mine", "x") && !may(&parsed, "other", "mine", "x"));
        // What one principal has there is nobody else's here.
        let key = [(
            "principal:key:1",
            "agent: coder\nservers: { mine: { url: https://m.example } }\nallow: [mine]",
        )];
        let parsed = ahead(read(BASE, &[]), read(&all, &key), &["coder"]);
        assert!(may(&parsed, "coder+key:1", "mine", "x") && !may(&parsed, "coder", "mine", "x"));
        assert!(!may(&parsed, "other", "mine", "x"));
    }

    proptest! {
        /// Whatever the other version says, whoever is not among those agents may what they might before.
        #[test]
        fn nobody_else_may_more_or_less(
            allow in prop::collection::vec(prop::sample::select(vec!["'*'", "g", "a", "b/x", "new"]), 0..4),
            deny in prop::collection::vec(prop::sample::select(vec!["'*'", "g", "a/y", "new"]), 0..3),
        ) {
            let rules = format!("{{ allow: [{}], deny: [{}] }}", allow.join(", "), deny.join(", "));
            let next = NEXT.replace("{ allow: [g, new] }", &rules).replace("other: { allow: [a] }", &format!("other: {rules}"));
            let (before, after) = (read(BASE, &[]), ahead(read(BASE, &[]), read(&next, &[]), &["coder"]));
            prop_assert_eq!(&after.problems, &vec![]);
            for agent in ["other", "default"] {
                for (server, name) in [("a", "get_x"), ("a", "y"), ("b", "x"), ("gone", "x")] {
                    prop_assert_eq!(may(&before, agent, server, name), may(&after, agent, server, name));
                }
                prop_assert!(!may(&after, agent, "new", "x"));
            }
            let whole = read(&next, &[]);
            for (server, name) in [("a", "get_x"), ("a", "y"), ("b", "x"), ("new", "x")] {
                prop_assert_eq!(may(&whole, "coder", server, name), may(&after, "coder", server, name));
            }
        }
    }
}
