//! Reads `mcp.json`: servers whose environment and headers name what they wait for.
//!
//! What is written there is literal: a `$` is a dollar sign. References are `{ "fromEnv": NAME }`,
//! `{ "fromSecret": NAME }` (looked up in the environment as well) and, in headers, `{{NAME}}`.

#[cfg(test)]
mod tests;

use super::super::file::{CommandEntry, ServerEntry};
use super::super::foreign::{read_enabled, read_kind, read_url};
use super::super::item::{At, Item};
use super::super::node::{Node, Value};
use super::super::problem::{Report, quote};
use super::super::source::DraftServer;
use super::super::template::{Follows, escape, is_variable_name};
use super::server_key;

/// Keys that MCPX's own pages write, and that say nothing about how a server is reached.
const DECORATION: [&str; 3] = ["icon", "catalogItemId", "name"];

/// Tells whether a file with `mcpServers` has something that only MCPX knows.
pub(in crate::config) fn looks_like_one(root: &Node) -> bool {
    let Some(Value::Map(servers)) = root.entry("mcpServers").map(|servers| &servers.value) else {
        return false;
    };
    servers.iter().any(|(_, server)| {
        let values = |key| match server.entry(key).map(|pairs| &pairs.value) {
            Some(Value::Map(pairs)) => pairs.as_slice(),
            _ => &[],
        };
        let is_reference = |node: &Node| node.is_null() || matches!(node.value, Value::Map(_));
        let has_template =
            |node: &Node| matches!(&node.value, Value::Scalar(text) if text.text.contains("{{"));
        server.entry("catalogItemId").is_some()
            || values("env").iter().any(|(_, node)| is_reference(node))
            || values("headers").iter().any(|(_, node)| is_reference(node) || has_template(node))
    })
}

/// Reads the servers.
pub(in crate::config) fn read(root: &Item<'_>, report: &mut Report<'_>) -> Vec<DraftServer> {
    let Some(mut fields) = root.fields(report) else { return Vec::new() };
    let servers = fields.take("mcpServers");
    fields.warn_ignored(report);
    let entries = servers.map(|item| item.entries(report)).unwrap_or_default();
    entries.into_iter().map(|(name, item)| read_one(name, &item, report)).collect()
}

fn read_one(name: At<String>, item: &Item<'_>, report: &mut Report<'_>) -> DraftServer {
    let key = server_key(&name.value);
    if key != name.value.trim().to_lowercase() {
        let message =
            format!("{} cannot be the name of a server; it is served as {key:?}", quote(&name.value));
        report.warn(&name.place, message);
    }
    let name = At { value: key, place: name.place };
    let mut inputs = Vec::new();
    let draft = DraftServer::read(name, report, |report| read_entry(item, &mut inputs, report));
    DraftServer { inputs, ..draft }
}

fn read_entry(item: &Item<'_>, inputs: &mut Vec<String>, report: &mut Report<'_>) -> Option<ServerEntry> {
    let mut fields = item.fields(report)?;
    for key in DECORATION {
        fields.take(key);
    }
    let kind = fields.take("type");
    let command = fields.take("command").and_then(|item| item.text(report)).map(literal);
    let args = fields.take("args").and_then(|item| item.texts(report));
    let env = fields.take("env").and_then(|item| read_values(&item, Templates::None, inputs, report));
    let args = args.map(|args| args.into_iter().map(literal).collect());
    let headers =
        fields.take("headers").and_then(|item| read_values(&item, Templates::Replaced, inputs, report));
    let mut entry = ServerEntry {
        args: with_container_env(command.as_ref(), args, env.as_deref().unwrap_or_default()),
        command: command.map(CommandEntry::Program),
        env,
        url: read_url(&mut fields).and_then(|item| item.text(report)).map(literal),
        headers,
        enabled: read_enabled(&mut fields, report),
        ..ServerEntry::default()
    };
    if let Some(kind) = kind {
        read_kind(&kind, &mut entry, report);
    }
    fields.warn_ignored(report);
    Some(entry)
}

/// Hands the environment on into a container, as MCPX does: `-e NAME` before the image, which comes last. The value
/// stays in the environment, out of the list of processes.
fn with_container_env(
    command: Option<&At<String>>,
    args: Option<Vec<At<String>>>,
    env: &[(At<String>, At<String>)],
) -> Option<Vec<At<String>>> {
    let mut args = args?;
    if command.is_some_and(|command| command.value == "docker")
        && let Some(image) = args.pop()
    {
        let flags = env.iter().flat_map(|(name, _)| {
            [At { value: "-e".to_owned(), place: name.place.clone() }, literal(name.clone())]
        });
        args.extend(flags);
        args.push(image);
    }
    Some(args)
}

fn literal(text: At<String>) -> At<String> {
    At { value: escape(&text.value, Follows::Nothing), place: text.place }
}

/// Whether `{{NAME}}` in a text is a reference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Templates {
    None,
    Replaced,
}

/// Reads values by name. What is empty is left out: it is there to say that nothing is to be set.
fn read_values(
    item: &Item<'_>,
    templates: Templates,
    inputs: &mut Vec<String>,
    report: &mut Report<'_>,
) -> Option<Vec<(At<String>, At<String>)>> {
    let entries = item.fields(report)?.rest().into_iter();
    let values = entries.filter_map(|(name, item)| {
        let value =
            match &item.node.value {
                _ if item.node.is_null() => None,
                Value::Map(_) => read_reference(&item, inputs, report),
                _ => item.text(report).filter(|text| !text.value.trim().is_empty()).and_then(|text| {
                    match templates {
                        Templates::None => Some(literal(text)),
                        Templates::Replaced => fill_template(text, inputs, report),
                    }
                }),
            };
        Some((name, value?))
    });
    Some(values.collect())
}

fn read_reference(item: &Item<'_>, inputs: &mut Vec<String>, report: &mut Report<'_>) -> Option<At<String>> {
    let mut fields = item.fields(report)?;
    let found: Vec<_> = ["fromEnv", "fromSecret"].into_iter().filter_map(|key| fields.take(key)).collect();
    fields.finish(report);
    let [reference] = &found[..] else {
        item.mismatch("a text, `{ \"fromEnv\": NAME }` or `{ \"fromSecret\": NAME }`", report);
        return None;
    };
    let name = reference.text(report)?;
    if !is_variable_name(&name.value) {
        let message = format!("{} is no name of an environment variable", quote(&name.value));
        report.error(&name.place, message);
        report.hint("secrets are looked up in the environment of the gateway, too");
        return None;
    }
    let value = format!("${{{}}}", name.value);
    inputs.push(name.value);
    Some(At { value, place: name.place })
}

fn fill_template(text: At<String>, inputs: &mut Vec<String>, report: &mut Report<'_>) -> Option<At<String>> {
    let mut value = String::new();
    let mut rest = text.value.as_str();
    while let Some((before, after)) = rest.split_once("{{") {
        let reference = after.split_once("}}").map(|(name, tail)| (name.trim(), tail));
        let Some((name, tail)) = reference.filter(|(name, _)| is_variable_name(name)) else {
            report.error(
                &text.place,
                "`{{` begins a reference to a variable such as {{NAME}}, and what follows is none",
            );
            return None;
        };
        value += &escape(before, Follows::Reference);
        value.extend(["${", name, "}"]);
        inputs.push(name.to_owned());
        rest = tail;
    }
    value += &escape(rest, Follows::Nothing);
    Some(At { value, place: text.place })
}
