//! Reads `toolGroups`: sets of what servers offer, by exact names.

use super::super::item::{At, Item};
use super::super::node::{Node, ScalarKind, Value};
use super::super::problem::{Place, Report, quote};

/// A set of what servers offer.
#[derive(Debug, Clone)]
pub(super) struct ToolGroup {
    /// Its name, without spaces around it.
    pub(super) name: At<String>,
    pub(super) description: Option<String>,
    /// The names by server, as both are written.
    pub(super) services: Vec<(At<String>, Names)>,
    pub(super) place: Place,
}

/// What a group holds of one server.
#[derive(Debug, Clone)]
pub(super) enum Names {
    All,
    These(Vec<String>),
}

/// Reads the list of groups.
pub(super) fn read(item: &Item<'_>, report: &mut Report<'_>) -> Vec<ToolGroup> {
    let items = item.list("a list of groups", report).unwrap_or_default();
    items.iter().filter_map(|item| read_group(item, report)).collect()
}

fn read_group(item: &Item<'_>, report: &mut Report<'_>) -> Option<ToolGroup> {
    let mut fields = item.fields(report)?;
    let name = fields.take("name").and_then(|item| {
        item.parsed("a name of 1 to 64 letters, digits, `_`, `-` or spaces", report, group_name)
    });
    let description = fields.take("description").and_then(|item| item.text(report));
    let services = fields.take("services").map(|item| read_services(&item, report));
    fields.take("owner");
    fields.warn_ignored(report);
    if item.node.entry("name").is_none_or(Node::is_null) {
        report.error(&item.place(), "a tool group needs a `name`");
    }
    Some(ToolGroup {
        name: name?,
        description: description.map(|text| text.value),
        services: services.unwrap_or_default(),
        place: item.place(),
    })
}

fn group_name(text: &str) -> Option<String> {
    let name = text.trim();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ');
    ((1..=64).contains(&name.len()) && name.chars().all(allowed)).then(|| name.to_owned())
}

fn read_services(item: &Item<'_>, report: &mut Report<'_>) -> Vec<(At<String>, Names)> {
    let Some(fields) = item.fields(report) else { return Vec::new() };
    let entries = fields.rest().into_iter();
    entries.filter_map(|(server, item)| Some((server, read_names(&item, report)?))).collect()
}

fn read_names(item: &Item<'_>, report: &mut Report<'_>) -> Option<Names> {
    match &item.node.value {
        Value::Scalar(scalar) if scalar.kind == ScalarKind::Text && scalar.text.trim() == "*" => {
            Some(Names::All)
        }
        Value::List(_) => {
            let names = item.texts(report)?;
            for name in names.iter().filter(|name| name.value.contains(['*', '?'])) {
                let shown = quote(&name.value);
                report.error(
                    &name.place,
                    format!("{shown} is no name: MCPX's groups have exact names, no patterns"),
                );
                report.hint(
                    "write `SERVER: \"*\"` for everything of a server, or use patterns in a native file",
                );
            }
            let names = names.into_iter().map(|name| name.value).filter(|name| !name.is_empty());
            Some(Names::These(names.collect()))
        }
        _ => {
            item.mismatch("a list of names, or \"*\" for everything of the server", report);
            None
        }
    }
}
