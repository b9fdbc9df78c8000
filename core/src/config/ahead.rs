//! Another version of a configuration for some agents alone: what it says of them, written into the one that all others have.
//! Pure.
//!
//! **Nobody else sees anything of it**: a server that only it has is denied to everybody but those agents. **They reach no more
//! than that version says**: a server that it has not, or that is one identity's in either, is denied to them. A server that both
//! have has to be the same in both, and so has how an agent is recognised. The registry's approvals, and settings, are those that
//! all others have. What is wrong with it refuses the whole.

use std::sync::Arc;

use super::overlay::{deny_to, find};
use super::policy::{Agent, Group, Origin, Policy, Rule, Selector, ToolLimits, Variant, What};
use super::{Config, Parsed, Problem, Server, Severity};
use crate::acl::Glob;
use crate::names::{ServerName, without_case};
use crate::sorted::SortedMap;

/// Writes into a configuration what another version of it says of these agents.
pub(crate) fn go_ahead(parsed: &mut Parsed, (version, ahead): (u64, Parsed), agents: &[String]) {
    let Parsed { config: mut next, problems, secrets, places } = ahead;
    let added = added(&parsed.config, &next);
    let is_added = |name: &str| added.iter().any(|added| added.as_str() == name);
    let of_version = |file: &str| format!("version {version}: {file}");
    let counts = problems.into_iter().filter(|problem| match &problem.server {
        Some(server) => is_added(server),
        None => problem.severity == Severity::Error,
    });
    parsed.problems.extend(counts.map(|problem| Problem { file: of_version(&problem.file), ..problem }));
    // Who is not in that version stays as they are.
    let agents: Vec<_> =
        agents.iter().filter(|name| find(&mut next.policy, name).is_some()).map(String::as_str).collect();
    let differing = differing(&parsed.config, &next, &agents);
    parsed.problems.extend(differing.into_iter().map(|field| cannot_differ(version, field)));
    if parsed.is_refused() {
        parsed.config.policy = Policy::refusing_everything();
        return;
    }
    let whose = Whose { agents: &agents, version };
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
        let origin = origin("alone has this server");
        deny_to(&mut config.policy, |agent| !whose.are(agent), server.as_str(), &origin);
    }
    whose.take_limits(&mut config.tool_limits, next.tool_limits, &added);
    config.variants.extend(next.variants.into_iter().filter(|variant| added.contains(&variant.server)));
    config.variants.sort_by(|one, other| (&one.server, &one.name).cmp(&(&other.server, &other.name)));
    let needed: Vec<_> =
        added.iter().filter_map(|name| next.servers.get(name)).flat_map(Server::secrets).collect();
    parsed.secrets.extend(secrets.into_iter().filter(|secret| needed.contains(&&secret.name)));
    parsed.places.extend(places.into_iter().filter(|(name, _)| added.contains(name)));
    for name in added {
        config.approvals.set(name.clone(), next.approvals.of(&name));
        config.personal.insert(name.clone());
        if let Some(server) = next.servers.remove(&name) {
            config.servers.insert(name, server);
        }
    }
}

/// Returns the servers that only the other version has, and that the registry keeps out by neither.
fn added(config: &Config, next: &Config) -> Vec<ServerName> {
    let unlisted = next.unlisted();
    let new = next.servers.iter().filter(|(name, server)| {
        !is_taken(config, name) && !unlisted.contains(*name) && !config.keeps_out(server)
    });
    new.map(|(name, _)| name.clone()).collect()
}

/// Returns what would have to differ by agent, and cannot: a server that both have, and how an agent is recognised.
fn differing(config: &Config, next: &Config, agents: &[&str]) -> Vec<String> {
    let is_shared = |name: &ServerName| !config.personal.contains(name) && !next.personal.contains(name);
    let variants = |config: &Config, name: &ServerName| {
        let own = config.variants.iter().filter(|variant| variant.server == *name);
        own.map(|variant| Variant { origin: Origin::default(), ..variant.clone() }).collect::<Vec<_>>()
    };
    let servers =
        config.servers.iter().filter_map(|(name, here)| Some((name, here, next.servers.get(name)?)));
    let servers = servers.filter(|(name, here, there)| {
        is_shared(name) && (here != there || variants(config, name) != variants(next, name))
    });
    let mut fields: Vec<_> = servers.map(|(name, ..)| format!("servers.{name}")).collect();
    for agent in next.policy.agents.iter().filter(|agent| is_among(agents, &agent.name)) {
        let known = config.policy.agents.iter().find(|known| is_among(&[&*agent.name], &known.name));
        let taken = || config.policy.agents.iter().flat_map(|known| &known.matches);
        let differs = match known {
            Some(known) => known.matches != agent.matches,
            None => taken().any(|taken| agent.matches.contains(taken)),
        };
        if differs {
            fields.push(format!("agents.{}.match", agent.name));
        }
    }
    fields
}

fn cannot_differ(version: u64, field: String) -> Problem {
    Problem {
        severity: Severity::Error,
        file: format!("version {version}"),
        line: 1,
        column: 1,
        field,
        message: "differs from what all others have, and cannot for some agents alone".into(),
        hint: Some("have whole gateways try this version: name them, or labels, in the rollout".into()),
        server: None,
    }
}

fn is_among(agents: &[&str], agent: &str) -> bool {
    agents.iter().any(|name| without_case(name) == without_case(agent))
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
    agents: &'a [&'a str],
    version: u64,
}

impl Whose<'_> {
    fn names(&self, agent: &str) -> bool {
        is_among(self.agents, agent)
    }

    fn are(&self, agent: &Agent) -> bool {
        self.names(&agent.name)
    }

    /// Puts the other version's limits of them in the place of those that there are, and adds those of servers that are new.
    fn take_limits(&self, limits: &mut Vec<ToolLimits>, next: Vec<ToolLimits>, added: &[ServerName]) {
        let is_theirs = |limits: &ToolLimits| limits.agent.as_ref().is_some_and(|agent| self.names(agent));
        limits.retain(|limits| !is_theirs(limits));
        for one in next {
            if is_theirs(&one) {
                limits.push(one);
            } else if one.agent.is_none() {
                let of = added.iter().filter(|name| one.selector.server.matches_without_case(name.as_str()));
                limits.extend(of.map(|name| {
                    let selector = Selector { server: Glob::new(name.as_str()), ..one.selector.clone() };
                    ToolLimits { selector, ..one.clone() }
                }));
            }
        }
    }

    /// Puts what the other version says of them in the place of what is said of them.
    fn take_agents(&self, policy: &mut Policy, next: &mut Policy) {
        let groups = std::mem::take(&mut next.groups);
        for name in self.agents {
            let Some(agent) = find(next, name) else { continue };
            let agent = Arc::new(self.spelled_out(Agent::clone(agent), &groups));
            match find(policy, name) {
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
servers: { a: { url: https://a.example }, b: { url: https://b.example }, new: { url: https://n.example } }
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
        assert_eq!(config.personal.iter().map(ServerName::as_str).collect::<Vec<_>>(), ["new"]);
        assert!(config.tool_limits.is_empty(), "that version limits nothing");
        let rule = &config.policy.agents.iter().find(|agent| &*agent.name == "coder").unwrap().allow[0];
        insta::assert_snapshot!(rule.origin, @"version 7: p.yaml:5: agents.coder.allow[0]");
    }

    #[test]
    fn who_is_not_in_the_other_version_stays_as_they_are() {
        let next =
            "version: 1\nservers: { a: { url: https://a.example } }\nagents: { default: { allow: ['*'] } }\n";
        let parsed = ahead(read(BASE, &[]), read(next, &[]), &["coder", "nobody"]);
        assert_eq!(parsed.config, read(BASE, &[]).config);
    }

    #[test]
    fn what_cannot_differ_by_agent_refuses_the_whole() {
        let refused = |from: &str, to: &str| {
            let next = NEXT.replace(from, to);
            assert_ne!(next, NEXT);
            let parsed = ahead(read(BASE, &[]), read(&next, &[]), &["coder"]);
            assert!(parsed.is_refused() && !may(&parsed, "other", "a", "x"), "{to}");
            parsed.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(refused("https://a.example", "https://elsewhere.example"), @r"
        version 7:1:1: error: servers.a: differs from what all others have, and cannot for some agents alone
          hint: have whole gateways try this version: name them, or labels, in the rollout
        ");
        refused("{ url: https://a.example }", "{ url: https://a.example, enabled: false }");
        refused("groups:", "variants: { b: { y: { from: x, replace: true } } }\ngroups:");
        refused("coder: {", "coder: { match: [{ client: Other }],");
        let base = BASE.replace("other: {", "other: { match: [{ client: Late }],");
        let next = NEXT.replace("late: {", "late: { match: [{ client: Late }],");
        let parsed = ahead(read(&base, &[]), read(&next, &[]), &["late"]);
        assert!(parsed.is_refused(), "somebody else is recognised so");
    }

    #[test]
    fn a_new_server_comes_with_what_its_version_says_of_it_unless_the_registry_keeps_it_out() {
        let more =
            "limits: { '*/pay': { daily: 1 } }\nvariants: { new: { y: { from: x, replace: true } } }\n";
        let next = format!("{NEXT}{more}");
        let parsed = ahead(read(BASE, &[]), read(&next, &[]), &["coder"]);
        assert_eq!(parsed.problems, []);
        let limits = parsed.config.tool_limits.iter();
        let limits: Vec<_> = limits.map(|limits| limits.selector.to_string()).collect();
        assert_eq!(limits, ["new/pay"]);
        assert_eq!(parsed.config.variants, read(&next, &[]).config.variants);
        for (base, next) in [("", "registry: { strict: true }\n"), ("registry: { strict: true }\n", "")] {
            let (base, next) = (format!("{BASE}{base}"), format!("{NEXT}{next}"));
            let parsed = ahead(read(&base, &[]), read(&next, &[]), &["coder"]);
            assert_eq!(parsed.config.servers.len(), 3);
        }
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
