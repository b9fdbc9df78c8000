//! Reads `toolExtensions`: further tools made of those that a server has.

use super::super::item::{At, Fields, Item};
use super::super::node::{Node, Value};
use super::super::policy::{Argument, Wording};
use super::super::problem::{Place, Report};
use super::super::value::read_json;
use crate::sorted::SortedMap;

/// A tool that is made of another one.
#[derive(Debug, Clone)]
pub(super) struct Child {
    /// The server, as it is written.
    pub(super) service: At<String>,
    pub(super) from: String,
    pub(super) name: At<String>,
    pub(super) description: Option<Wording>,
    pub(super) arguments: SortedMap<String, Argument>,
    pub(super) place: Place,
}

/// Reads the section.
pub(super) fn read(item: &Item<'_>, report: &mut Report<'_>) -> Vec<Child> {
    let mut children = Vec::new();
    let Some(mut fields) = item.fields(report) else { return children };
    let services = fields.take("services").and_then(|item| item.fields(report));
    fields.warn_ignored(report);
    for (service, tools) in services.into_iter().flat_map(Fields::rest) {
        let Some(tools) = tools.fields(report) else { continue };
        for (tool, item) in tools.rest() {
            read_tool(&service, &tool, &item, &mut children, report);
        }
    }
    children
}

fn read_tool(
    service: &At<String>,
    tool: &At<String>,
    item: &Item<'_>,
    children: &mut Vec<Child>,
    report: &mut Report<'_>,
) {
    let Some(mut fields) = item.fields(report) else { return };
    let list = fields.take("childTools");
    fields.warn_ignored(report);
    let items = list.and_then(|list| list.list("a list of child tools", report)).unwrap_or_default();
    children.extend(items.iter().filter_map(|item| read_child(service, tool, item, report)));
}

fn read_child(
    service: &At<String>,
    tool: &At<String>,
    item: &Item<'_>,
    report: &mut Report<'_>,
) -> Option<Child> {
    let mut fields = item.fields(report)?;
    let name = fields
        .take("name")
        .and_then(|item| item.parsed("a name of 1 to 128 characters without `*` and `?`", report, tool_name));
    let description = fields.take("description").and_then(|item| read_wording(&item, report));
    let arguments = fields.take("overrideParams").and_then(|item| read_arguments(&item, report));
    fields.warn_ignored(report);
    if item.node.entry("name").is_none_or(Node::is_null) {
        report.error(&item.place(), "a child tool needs a `name`");
    }
    Some(Child {
        service: service.clone(),
        from: tool.value.clone(),
        name: name?,
        description,
        arguments: arguments.unwrap_or_default(),
        place: item.place(),
    })
}

fn tool_name(text: &str) -> Option<String> {
    let is_valid = (1..=128).contains(&text.chars().count())
        && !text.contains(|c: char| c.is_control() || matches!(c, '*' | '?'));
    is_valid.then(|| text.to_owned())
}

/// Reads `{ action, text }`, or the `{ append: TEXT }` and `{ rewrite: TEXT }` of MCPX's documentation. An empty text
/// changes nothing.
fn read_wording(item: &Item<'_>, report: &mut Report<'_>) -> Option<Wording> {
    const EXPECTED: &str = "`{ action: rewrite, text: ... }` or `{ action: append, text: ... }`";
    if !matches!(item.node.value, Value::Map(_)) {
        item.mismatch(EXPECTED, report);
        return None;
    }
    let mut fields = item.fields(report)?;
    let short = [("append", Wording::Append as fn(String) -> Wording), ("rewrite", Wording::Rewrite)];
    for (key, make) in short {
        if let Some(text) = fields.take(key) {
            fields.finish(report);
            return text.text(report).filter(|text| !text.value.is_empty()).map(|text| make(text.value));
        }
    }
    let action = fields.take("action").and_then(|item| {
        item.parsed("`append` or `rewrite`", report, |text| {
            short.iter().find(|(key, _)| *key == text).map(|(_, make)| *make)
        })
    });
    let text = fields.take("text").and_then(|item| item.text(report));
    fields.finish(report);
    if item.node.entry("action").is_none() || item.node.entry("text").is_none() {
        item.mismatch(EXPECTED, report);
    }
    let (make, text) = (action?.value, text?.value);
    (!text.is_empty()).then(|| make(text))
}

fn read_arguments(item: &Item<'_>, report: &mut Report<'_>) -> Option<SortedMap<String, Argument>> {
    let entries = item.fields(report)?.rest().into_iter();
    Some(entries.filter_map(|(name, item)| Some((name.value, read_argument(&item, report)?))).collect())
}

/// Reads `{ value, description }`, or the value alone, as the older generation has it.
fn read_argument(item: &Item<'_>, report: &mut Report<'_>) -> Option<Argument> {
    let has = |key| item.node.entry(key).is_some();
    let says_nothing = matches!(&item.node.value, Value::Map(entries) if entries.is_empty());
    if says_nothing {
        return Some(Argument::default());
    }
    if !(has("value") || has("description")) {
        return Some(Argument { fix: Some(read_json(item, report)?), ..Argument::default() });
    }
    let mut fields = item.fields(report)?;
    let value = fields.take_even_null("value");
    let describe = fields.take("description").and_then(|item| read_wording(&item, report));
    fields.finish(report);
    let fix = match value {
        Some(value) => Some(read_json(&value, report)?),
        None => None,
    };
    Some(Argument { fix, describe, ..Argument::default() })
}
