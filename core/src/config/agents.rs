//! From agents and groups as they are written to those of the policy: their names are compared, and those that their
//! rules use are looked up.

use std::sync::Arc;

use super::item::At;
use super::known::{Known, group_key};
use super::native_agents::AgentDraft;
use super::native_limits::ToolLimitsDraft;
use super::native_rules::{GroupDraft, Named};
use super::policy::{Agent, Group, Match, Origin, ToolLimits};
use super::problem::{Place, Report, quote};
use crate::names::ServerName;
use crate::sorted::SortedMap;

/// The name of the agent that every caller is that no other agent matches.
const DEFAULT: &str = "default";

/// What a section of agents comes to.
pub(super) struct Agents {
    /// All but the default.
    pub(super) named: Vec<Arc<Agent>>,
    pub(super) default: Arc<Agent>,
    /// How much each may do with single tools.
    pub(super) tool_limits: Vec<ToolLimits>,
}

/// Resolves the groups, and makes them known.
pub(super) fn resolve_groups(
    drafts: &[GroupDraft],
    known: &mut Known,
    report: &mut Report<'_>,
) -> SortedMap<String, Group> {
    refuse_equal_names("group", drafts.iter().map(|draft| &draft.name), report);
    let mut groups = SortedMap::new();
    for draft in drafts {
        check_name("group", &draft.name, report);
        for server in &draft.servers {
            known.check_server(&server.value, &server.place, report);
        }
        if draft.members.is_empty() {
            report.warn(&draft.name.place, "this group holds nothing");
        }
        known.add_group(&draft.name.value);
        let group = Group {
            name: draft.name.value.clone(),
            description: None,
            members: draft.members.clone(),
            origin: report.origin(&draft.name.place),
        };
        groups.insert(group_key(&draft.name.value), group);
    }
    groups
}

/// Resolves the agents of a section.
pub(super) fn resolve_agents(
    drafts: &[AgentDraft],
    section: &Place,
    known: &Known,
    report: &mut Report<'_>,
) -> Agents {
    refuse_equal_names("agent", drafts.iter().map(|draft| &draft.name), report);
    refuse_equal_matches(drafts, report);
    let nobody = Origin { field: "agents, where no `default` is written".into(), ..report.origin(section) };
    let mut resolved =
        Agents { named: Vec::new(), default: Agent::bare(DEFAULT, nobody).into(), tool_limits: Vec::new() };
    for draft in drafts {
        let agent = Arc::new(resolve_agent(draft, known, report));
        let limits = resolve_tool_limits(&draft.tools, Some(&agent.name), known, report);
        resolved.tool_limits.extend(limits);
        if is_default(draft) {
            resolved.default = agent;
        } else {
            resolved.named.push(agent);
        }
    }
    resolved
}

fn is_default(draft: &AgentDraft) -> bool {
    draft.name.value.eq_ignore_ascii_case(DEFAULT)
}

fn resolve_agent(draft: &AgentDraft, known: &Known, report: &mut Report<'_>) -> Agent {
    let AgentDraft { name, matches, allow, deny, when, limits, .. } = draft;
    check_name("agent", name, report);
    if let Some(first) = matches.first().filter(|_| is_default(draft)) {
        report
            .error(&first.place, "`default` is every caller that no other agent matches; it has no `match`");
        report.hint("give what is matched to an agent of its own");
    }
    let denies_everything =
        deny.iter().any(|rule| matches!(rule.on.value, Named::Everything) && rule.when.is_none());
    if allow.is_none() && !denies_everything {
        report.warn(&name.place, "this agent may do nothing, since it has no `allow`");
        report.hint("add `allow`, or say so with `deny: [\"*\"]`");
    }
    let mut resolve =
        |rules: &[_]| rules.iter().filter_map(|rule| known.resolve_rule(rule, report)).collect();
    Agent {
        allow: resolve(allow.as_deref().unwrap_or_default()),
        deny: resolve(deny),
        matches: matches.iter().map(|found| found.value.clone()).collect(),
        when: when.clone(),
        limits: limits.clone(),
        ..Agent::bare(&name.value, report.origin(&name.place))
    }
}

/// Resolves limits by what a selector names: of one agent, or of all callers together.
pub(super) fn resolve_tool_limits(
    drafts: &[ToolLimitsDraft],
    agent: Option<&Arc<str>>,
    known: &Known,
    report: &mut Report<'_>,
) -> Vec<ToolLimits> {
    let resolve = |ToolLimitsDraft { selector: At { value, place }, limits }: &ToolLimitsDraft| {
        known.check_server(&value.server, place, report);
        ToolLimits {
            selector: value.clone(),
            agent: agent.cloned(),
            limits: limits.clone(),
            origin: report.origin(place),
        }
    };
    drafts.iter().map(resolve).collect()
}

/// Names of groups and agents are made as those of servers are, so that no rule can take one for something else.
fn check_name(noun: &str, name: &At<String>, report: &mut Report<'_>) {
    if ServerName::parse(&name.value).is_err() {
        let found = quote(&name.value);
        report.error(
            &name.place,
            format!(
                "the name of this {noun} has 1 to 64 characters, each a letter, digit, `_`, `-`, `.` or a space in \
                 between; found {found}"
            ),
        );
    }
}

fn refuse_equal_names<'a>(noun: &str, names: impl Iterator<Item = &'a At<String>>, report: &mut Report<'_>) {
    let mut seen = SortedMap::new();
    for name in names {
        let line = name.place.at.line;
        if let Some(first) = seen.insert(name.value.to_lowercase(), line) {
            let name_shown = quote(&name.value);
            report.error(
                &name.place,
                format!(
                    "{name_shown} is the name of the {noun} on line {first} already; case makes no difference"
                ),
            );
            report.hint("rename one of them");
        }
    }
}

/// Two agents that are recognised by the same thing cannot be told apart.
fn refuse_equal_matches(drafts: &[AgentDraft], report: &mut Report<'_>) {
    let mut seen = SortedMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        for found in &draft.matches {
            let (first, name) = seen.entry(match_key(&found.value)).or_insert((index, &draft.name.value));
            if *first != index {
                report.error(&found.place, format!("the agent {} matches the same already", quote(name)));
                report.hint("a caller is one agent; remove one of them");
            }
        }
    }
}

/// What two ways to recognise a caller are compared by: case makes a difference in claims alone.
fn match_key(found: &Match) -> (u8, String, String) {
    match found {
        Match::ApiKey(name) => (0, name.to_lowercase(), String::new()),
        Match::Claim(name, value) => (1, name.clone(), value.clone()),
        Match::Tag(tag) => (2, tag.to_lowercase(), String::new()),
        Match::Client(name) => (3, name.to_lowercase(), String::new()),
    }
}

/// Warns of agents that only a tag leads to that nobody reads.
pub(super) fn warn_of_unread_tags(drafts: &[AgentDraft], report: &mut Report<'_>) {
    let matches = drafts.iter().flat_map(|draft| &draft.matches);
    for found in matches.filter(|found| matches!(found.value, Match::Tag(_))) {
        report.warn(&found.place, "this matches nobody, since tags are not trusted");
        report.hint("remove it, or write `trust_tags: true` in `auth`");
    }
}
