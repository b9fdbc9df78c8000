//! Reads `app.yaml`, section by section.

use http::HeaderName;

use super::super::endpoint::is_managed;
use super::super::item::{At, Fields, Item};
use super::super::node::{ScalarKind, Value};
use super::super::problem::{Place, Report, quote};
use super::{App, extensions, groups, permissions, static_oauth};

/// A section whose meaning is not carried over, and what to do instead.
const NOT_CARRIED_OVER: (&str, &str) =
    ("skills", "skills are kept by MCPX's hub; agents load them from where they are published");

/// Who is let in.
#[derive(Debug, Clone)]
pub(super) struct AuthEntry {
    pub(super) enabled: bool,
    pub(super) header: Option<HeaderName>,
    pub(super) place: Place,
}

/// Reads the file.
pub(in crate::config) fn read(root: &Item<'_>, report: &mut Report<'_>) -> App {
    let Some(mut fields) = root.fields(report) else { return App::default() };
    let section = fields.take("permissions");
    if section.is_none() {
        report.error(&root.place(), "`permissions` is missing: who may do what");
        report.hint("write `permissions: { default: { block: [] } }` to allow everything to everybody");
    }
    let app = App {
        permissions: section.and_then(|item| permissions::read(&item, report)),
        groups: fields.take("toolGroups").map(|item| groups::read(&item, report)).unwrap_or_default(),
        children: fields
            .take("toolExtensions")
            .map(|item| extensions::read(&item, report))
            .unwrap_or_default(),
        inactive: fields
            .take("targetServerAttributes")
            .map(|item| read_inactive(&item, report))
            .unwrap_or_default(),
        auth: fields.take("auth").and_then(|item| read_auth(&item, report)),
        clients: fields.take("staticOauth").map(|item| static_oauth::read(&item, report)).unwrap_or_default(),
    };
    warn_not_carried_over(&mut fields, report);
    fields.warn_ignored(report);
    app
}

fn warn_not_carried_over(fields: &mut Fields<'_>, report: &mut Report<'_>) {
    let (key, advice) = NOT_CARRIED_OVER;
    if let Some(section) = fields.take(key).filter(|section| !says_nothing(section)) {
        report.warn(&section.place(), format!("`{key}` is not carried over"));
        report.hint(advice);
    }
}

/// Tells whether there is nothing in a section but empty lists and maps.
fn says_nothing(section: &Item<'_>) -> bool {
    fn is_empty(value: &Value) -> bool {
        match value {
            Value::Scalar(scalar) => scalar.kind == ScalarKind::Null,
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.iter().all(|(_, node)| is_empty(&node.value)),
        }
    }
    is_empty(&section.node.value)
}

fn read_inactive(item: &Item<'_>, report: &mut Report<'_>) -> Vec<At<String>> {
    let entries = item.fields(report).map(Fields::rest).unwrap_or_default().into_iter();
    let inactive = entries.filter_map(|(server, item)| {
        let mut fields = item.fields(report)?;
        let inactive = fields.take("inactive").and_then(|item| item.flag(report));
        fields.warn_ignored(report);
        inactive.filter(|inactive| inactive.value).map(|_| server)
    });
    inactive.collect()
}

fn read_auth(item: &Item<'_>, report: &mut Report<'_>) -> Option<AuthEntry> {
    let mut fields = item.fields(report)?;
    let enabled = match fields.take("enabled") {
        Some(item) => item.parsed("true or false", report, parse_switch)?.value,
        None => false,
    };
    let header = match fields.take("header") {
        Some(item) => Some(read_header(&item, report)?),
        None => None,
    };
    fields.finish(report);
    Some(AuthEntry { enabled, header, place: item.place() })
}

/// Reads a switch, which may stand as a text.
fn parse_switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn read_header(item: &Item<'_>, report: &mut Report<'_>) -> Option<HeaderName> {
    let text = item.text(report)?;
    let Ok(name) = HeaderName::from_bytes(text.value.as_bytes()) else {
        report.error(&text.place, format!("{} is no name of a header", quote(&text.value)));
        return None;
    };
    if is_managed(&name) || matches!(name.as_str(), "authorization" | "cookie" | "origin") {
        report.error(&text.place, format!("the header `{name}` has a meaning of its own"));
        report.hint("name another one; `Authorization: Bearer` is always read");
        return None;
    }
    Some(name)
}
