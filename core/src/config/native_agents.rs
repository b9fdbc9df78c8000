//! Reads the section `agents`: how each is recognised, what it may do, and how much.

use super::item::{At, Item};
use super::native_limits::{ToolLimitsDraft, read_limit_fields, read_tool_limits};
use super::native_rules::{RuleDraft, read_condition, read_rules};
use super::policy::{Limits, Match};
use super::problem::Report;
use crate::acl::Condition;

/// An agent as it is written.
#[derive(Debug, Clone)]
pub(super) struct AgentDraft {
    pub(super) name: At<String>,
    pub(super) matches: Vec<At<Match>>,
    /// Nothing where nothing is said.
    pub(super) allow: Option<Vec<RuleDraft>>,
    pub(super) deny: Vec<RuleDraft>,
    pub(super) when: Option<Condition>,
    pub(super) limits: Limits,
    pub(super) tools: Vec<ToolLimitsDraft>,
}

/// Reads the agents.
pub(super) fn read_agents(item: &Item<'_>, report: &mut Report<'_>) -> Vec<AgentDraft> {
    item.entries(report).into_iter().filter_map(|(name, item)| read_agent(name, &item, report)).collect()
}

fn read_agent(name: At<String>, item: &Item<'_>, report: &mut Report<'_>) -> Option<AgentDraft> {
    let mut fields = item.fields(report)?;
    let matches = fields.take_even_null("match").map(|item| read_matches(&item, report));
    let allow = fields.take_even_null("allow").map(|item| read_rules(&item, report));
    let deny = fields.take_even_null("deny").map(|item| read_rules(&item, report));
    let when = fields.take_even_null("when").and_then(|item| read_condition(&item, report));
    let limits = fields.take_even_null("limits").map(|item| read_limits(&item, report));
    fields.finish(report);
    let (limits, tools) = limits.unwrap_or_default();
    Some(AgentDraft {
        name,
        matches: matches.unwrap_or_default(),
        allow,
        deny: deny.unwrap_or_default(),
        when,
        limits,
        tools,
    })
}

fn read_matches(item: &Item<'_>, report: &mut Report<'_>) -> Vec<At<Match>> {
    let entries = item.list("a list of ways to recognise a caller", report).unwrap_or_default();
    entries.iter().filter_map(|item| read_match(item, report)).collect()
}

fn read_match(item: &Item<'_>, report: &mut Report<'_>) -> Option<At<Match>> {
    let place = item.place();
    let mut fields = item.fields(report)?;
    let found = [
        fields.take_even_null("api_key").map(|item| Some(Match::ApiKey(word(&item, report)?))),
        fields.take_even_null("claim").map(|item| read_claim(&item, report)),
        fields.take_even_null("tag").map(|item| Some(Match::Tag(word(&item, report)?))),
        fields.take_even_null("client").map(|item| Some(Match::Client(word(&item, report)?))),
    ];
    let mark = report.mark();
    fields.finish(report);
    let mut found = found.into_iter().flatten();
    match (found.next(), found.next()) {
        (Some(first), None) => first.map(|value| At { value, place }),
        (None, _) if report.mark() > mark => None,
        (None, _) => {
            report.error(&place, "expected one of `api_key`, `claim`, `tag` and `client`, found none");
            None
        }
        (Some(_), Some(_)) => {
            report.error(&place, "expected one of `api_key`, `claim`, `tag` and `client`, found several");
            report.hint("write each as an entry of its own; any of them suffices");
            None
        }
    }
}

fn word(item: &Item<'_>, report: &mut Report<'_>) -> Option<String> {
    Some(item.filled_text("a text", report)?.value)
}

pub(super) fn read_claim(item: &Item<'_>, report: &mut Report<'_>) -> Option<Match> {
    let mut claims = item.fields(report)?.rest().into_iter();
    let (Some((name, value)), None) = (claims.next(), claims.next()) else {
        report.error(&item.place(), "expected one claim and its value, such as `{ groups: engineering }`");
        return None;
    };
    Some(Match::Claim(name.value, word(&value, report)?))
}

fn read_limits(item: &Item<'_>, report: &mut Report<'_>) -> (Limits, Vec<ToolLimitsDraft>) {
    let Some(mut fields) = item.fields(report) else { return Default::default() };
    let limits = read_limit_fields(&mut fields, report);
    let tools = fields.take_even_null("tools").map(|item| read_tool_limits(&item, report));
    fields.finish(report);
    (limits, tools.unwrap_or_default())
}
