//! Reads what rules, groups and limits name, and the conditions of rules.
//!
//! Only the syntax is decided here; what a name means is decided once all names are known (`known`). In these sections
//! **a key that says nothing is an error**, so that a rule whose text was lost does not vanish.

use super::item::{At, Item, nearest};
use super::node::Value;
use super::policy::{ItemKind, Selector};
use super::problem::{Place, Report, quote};
use crate::acl::{Condition, Glob};

/// What a rule names.
#[derive(Debug, Clone)]
pub(super) enum Named {
    /// Everything that all servers offer.
    Everything,
    /// A group or a server.
    Name(String),
    /// What a selector names.
    Select(Selector),
}

/// A rule as it is written.
#[derive(Debug, Clone)]
pub(super) struct RuleDraft {
    pub(super) on: At<Named>,
    pub(super) when: Option<Condition>,
    pub(super) text: String,
    pub(super) place: Place,
}

/// A group as it is written.
#[derive(Debug, Clone)]
pub(super) struct GroupDraft {
    pub(super) name: At<String>,
    /// The servers that it names.
    pub(super) servers: Vec<At<Glob>>,
    pub(super) members: Vec<Selector>,
}

/// Reads one rule, or a list of rules.
pub(super) fn read_rules(item: &Item<'_>, report: &mut Report<'_>) -> Vec<RuleDraft> {
    item.one_or_several().iter().filter_map(|item| read_rule(item, report)).collect()
}

fn read_rule(item: &Item<'_>, report: &mut Report<'_>) -> Option<RuleDraft> {
    match &item.node.value {
        Value::Scalar(_) => {
            let (on, text) = read_named(item, report)?;
            Some(RuleDraft { on, when: None, text, place: item.place() })
        }
        Value::Map(_) => read_conditional(item, report),
        Value::List(_) => {
            item.mismatch("a rule", report);
            None
        }
    }
}

fn read_conditional(item: &Item<'_>, report: &mut Report<'_>) -> Option<RuleDraft> {
    let mut fields = item.fields(report)?;
    let [on, when] = ["on", "when"].map(|key| {
        let found = fields.take_even_null(key);
        if found.is_none() {
            report.error(&item.place(), format!("the key `{key}` is missing"));
            report.hint("write the rule as a text, or as `{ on: RULE, when: EXPRESSION }`");
        }
        found
    });
    fields.finish(report);
    let on = on.and_then(|item| read_named(&item, report));
    let when = when.and_then(|item| read_condition(&item, report));
    let (on, text) = on?;
    Some(RuleDraft { on, when: Some(when?), text, place: item.place() })
}

fn read_named(item: &Item<'_>, report: &mut Report<'_>) -> Option<(At<Named>, String)> {
    let text = item.filled_text("a rule", report)?;
    let value = parse_named(&text, report)?;
    Some((At { value, place: text.place }, text.value))
}

/// Reads an expression.
pub(super) fn read_condition(item: &Item<'_>, report: &mut Report<'_>) -> Option<Condition> {
    let text = item.text(report)?;
    match Condition::parse(&text.value) {
        Ok(condition) => Some(condition),
        Err(error) => {
            report.error(&text.place, format!("in the expression: {error}"));
            None
        }
    }
}

/// Reads the groups.
pub(super) fn read_groups(item: &Item<'_>, report: &mut Report<'_>) -> Vec<GroupDraft> {
    item.entries(report).into_iter().map(|(name, item)| read_group(name, &item, report)).collect()
}

fn read_group(name: At<String>, item: &Item<'_>, report: &mut Report<'_>) -> GroupDraft {
    let mut group = GroupDraft { name, servers: Vec::new(), members: Vec::new() };
    let Some(fields) = item.fields(report) else { return group };
    for (server, item) in fields.rest() {
        let glob = Glob::new(&server.value);
        for member in item.one_or_several() {
            let text = member.filled_text("a name or a pattern", report);
            if let Some((kind, item)) = text.and_then(|text| parse_item(&text.value, &text.place, report)) {
                group.members.push(Selector { server: glob.clone(), kind, item });
            }
        }
        group.servers.push(At { value: glob, place: server.place });
    }
    group
}

fn parse_named(text: &At<String>, report: &mut Report<'_>) -> Option<Named> {
    let At { value, place } = text;
    if value == "*" {
        return Some(Named::Everything);
    }
    if value.contains('/') {
        return parse_selector(text, report).map(Named::Select);
    }
    if value.contains(['*', '?']) {
        report.error(place, format!("{} is a pattern, and does not say of what", quote(value)));
        report.hint("write `SERVER/PATTERN`, or `*/PATTERN` for all servers");
        return None;
    }
    Some(Named::Name(value.clone()))
}

/// Parses `SERVER/NAME`.
pub(super) fn parse_selector(text: &At<String>, report: &mut Report<'_>) -> Option<Selector> {
    let At { value, place } = text;
    let Some((server, item)) = value.split_once('/').filter(|(server, _)| !server.is_empty()) else {
        report.error(place, format!("expected `SERVER/NAME`, found {}", quote(value)));
        report.hint("`*` stands for any name: `SERVER/*` is everything of a server");
        return None;
    };
    let (kind, item) = parse_item(item, place, report)?;
    Some(Selector { server: Glob::new(server), kind, item })
}

/// Parses a name or a pattern with the kind that may stand before it.
fn parse_item(text: &str, place: &Place, report: &mut Report<'_>) -> Option<(Option<ItemKind>, Glob)> {
    let (kind, name) = match text.split_once(':') {
        Some(("tool", name)) => (Some(ItemKind::Tool), name),
        Some(("prompt", name)) => (Some(ItemKind::Prompt), name),
        Some(("resource", name)) => (Some(ItemKind::Resource), name),
        Some((word, _)) => {
            if let Some(near) = nearest(word, &["tool", "prompt", "resource"]) {
                report.error(place, format!("{} is no kind; known: tool, prompt, resource", quote(word)));
                report.hint(format!("did you mean `{near}:`?"));
                return None;
            }
            (None, text)
        }
        None => (None, text),
    };
    if name.is_empty() {
        report.error(place, "the name is missing");
        report.hint("`*` stands for any name");
        return None;
    }
    Some((kind, Glob::new(name)))
}
