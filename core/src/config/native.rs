//! Reads the native format into a [`Draft`].

use std::time::Duration;

use super::approving::Approving;
use super::elicitation::Elicitation;
use super::file::{
    AuthEntry, CACHE_LIMIT, COUNTS, CommandEntry, GatewayEntry, HEAD_LIMITS, HEADER_COUNTS, HttpKind,
    INSTANCE_MEMORY, INSTANCE_TIMES, InstancesEntry, LimitsEntry, MESSAGE_LIMITS, NAME_LIMITS, PAGE_SIZES,
    REQUEST_LIMITS, ServerEntry, TIMEOUT_LIMIT,
};
use super::hosting::HostEntry;
use super::item::{At, Item};
use super::model::{Naming, Sharing};
use super::native_policy::take_sections;
use super::native_sign_on::OAuthEntry;
use super::node::Value;
use super::problem::Report;
use super::quantity::{format_duration, format_size, parse_duration, parse_size};
use super::source::{Draft, DraftServer};
use super::template::secret_reference;
use crate::secrets::SecretName;

/// Reads a native file.
pub(super) fn read(root: &Item<'_>, report: &mut Report<'_>) -> Draft {
    let Some(mut fields) = root.fields(report) else { return Draft::default() };
    if let Some(version) = fields.take("version") {
        version.parsed("version 1", report, |text| (text == "1").then_some(()));
    } else {
        report.error(&root.place(), "the key `version` is missing");
        report.hint("begin the file with `version: 1`");
    }
    let gateway = fields.take("gateway").and_then(|item| Some((item.place(), read_gateway(&item, report)?)));
    let servers = fields.take("servers").map(|item| read_servers(&item, report)).unwrap_or_default();
    let sections = take_sections(&mut fields, report);
    fields.finish(report);
    Draft { gateway, servers, sections, ..Draft::default() }
}

fn read_gateway(item: &Item<'_>, report: &mut Report<'_>) -> Option<GatewayEntry> {
    let mut fields = item.fields(report)?;
    let entry = GatewayEntry {
        public_url: fields.take("public_url").and_then(|item| item.text(report)),
        naming: fields
            .take("naming")
            .and_then(|item| item.parsed("`prefix` or `none`", report, parse_naming)),
        legacy: fields.take("legacy").and_then(|item| item.flag(report)),
        name_limit: fields.take("name_limit").and_then(|item| read_number(&item, NAME_LIMITS, report)),
        page_size: fields.take("page_size").and_then(|item| read_number(&item, PAGE_SIZES, report)),
        request_limit: fields
            .take("request_limit")
            .and_then(|item| read_size(&item, REQUEST_LIMITS, "8MiB", report)),
        limits: fields.take("limits").and_then(|item| read_limits(&item, report)),
        allowed_origins: fields.take("allowed_origins").and_then(|item| item.texts(report)),
        instructions: fields.take("instructions").and_then(|item| item.text(report)),
        approval: fields.take("approval").and_then(|item| Approving::read(&item, report)),
        isolation: fields
            .take("isolation")
            .and_then(|item| item.parsed("`shared` or `per-identity`", report, parse_sharing)),
        instances: fields.take("instances").and_then(|item| read_instances(&item, report)),
    };
    fields.finish(report);
    Some(entry)
}

fn parse_sharing(text: &str) -> Option<Sharing> {
    match text {
        "shared" => Some(Sharing::Shared),
        "per-identity" => Some(Sharing::PerIdentity),
        _ => None,
    }
}

fn read_instances(item: &Item<'_>, report: &mut Report<'_>) -> Option<InstancesEntry> {
    let mut fields = item.fields(report)?;
    let idle = fields.take("idle").and_then(|item| read_duration(&item, INSTANCE_TIMES, report));
    let memory = fields.take("memory").and_then(|item| read_size(&item, INSTANCE_MEMORY, "1GiB", report));
    let mut count = |key: &'static str| fields.take(key).and_then(|item| read_number(&item, COUNTS, report));
    let (most, requests, pids) = (count("most"), count("requests"), count("pids"));
    fields.finish(report);
    Some(InstancesEntry { idle, most, requests, memory, pids })
}

fn read_limits(item: &Item<'_>, report: &mut Report<'_>) -> Option<LimitsEntry> {
    let mut fields = item.fields(report)?;
    let headers = fields.take("headers").and_then(|item| read_size(&item, HEAD_LIMITS, "64KiB", report));
    let header_count = fields.take("header_count").and_then(|item| read_number(&item, HEADER_COUNTS, report));
    let message = fields.take("message").and_then(|item| read_size(&item, MESSAGE_LIMITS, "64MiB", report));
    let mut count = |key: &'static str| fields.take(key).and_then(|item| read_number(&item, COUNTS, report));
    let entry = LimitsEntry {
        connections: count("connections"),
        headers,
        header_count,
        requests: count("requests"),
        server_requests: count("server_requests"),
        streams: count("streams"),
        session_streams: count("session_streams"),
        message,
    };
    fields.finish(report);
    Some(entry)
}

/// Reads a section of servers.
pub(super) fn read_servers(item: &Item<'_>, report: &mut Report<'_>) -> Vec<DraftServer> {
    let entries = item.entries(report).into_iter();
    entries.map(|(name, item)| DraftServer::read(name, report, |report| read_server(&item, report))).collect()
}

fn read_server(item: &Item<'_>, report: &mut Report<'_>) -> Option<ServerEntry> {
    let mut fields = item.fields(report)?;
    let entry = ServerEntry {
        command: fields.take("command").and_then(|item| read_command(&item, report)),
        args: fields.take("args").and_then(|item| item.texts(report)),
        env: fields.take("env").and_then(|item| read_values(&item, report)),
        allow_env: fields.take("allow_env").and_then(|item| item.texts(report)),
        cwd: fields.take("cwd").and_then(|item| item.text(report)),
        url: fields.take("url").and_then(|item| item.text(report)),
        transport: fields
            .take("transport")
            .and_then(|item| item.parsed("`http` or `sse`", report, parse_http_kind)),
        headers: fields.take("headers").and_then(|item| read_values(&item, report)),
        auth: fields
            .take_even_null("auth")
            .and_then(|item| Some(At { place: item.place(), value: read_auth(&item, report)? })),
        timeout: fields
            .take("timeout")
            .and_then(|item| read_duration(&item, (Duration::from_millis(1), TIMEOUT_LIMIT), report)),
        cache: fields
            .take("cache")
            .and_then(|item| read_duration(&item, (Duration::ZERO, CACHE_LIMIT), report)),
        enabled: fields.take("enabled").and_then(|item| item.flag(report)),
        elicitation: fields.take("elicitation").and_then(|item| Elicitation::read(&item, report)),
        host: fields
            .take("host")
            .and_then(|item| Some(At { place: item.place(), value: HostEntry::read(&item, report)? })),
        approval: fields.take("approval").and_then(|item| Approving::read(&item, report)),
    };
    fields.finish(report);
    Some(entry)
}

/// Reads a map from names to texts, or to `{ secret: NAME }`.
fn read_values(item: &Item<'_>, report: &mut Report<'_>) -> Option<Vec<(At<String>, At<String>)>> {
    let entries = item.fields(report)?.rest().into_iter();
    Some(entries.filter_map(|(name, item)| Some((name, read_value(&item, report)?))).collect())
}

/// Reads a text; `{ secret: NAME }` is the text that is a reference to it.
pub(super) fn read_value(item: &Item<'_>, report: &mut Report<'_>) -> Option<At<String>> {
    if !matches!(item.node.value, Value::Map(_)) {
        return item.text(report);
    }
    let mut fields = item.fields(report)?;
    let (name, others) = (fields.take("secret"), fields.rest());
    let Some(name) = name.filter(|_| others.is_empty()) else {
        // Whatever stands there may be a secret itself.
        item.mismatch("a text or `{ secret: NAME }`", report);
        return None;
    };
    let At { value, place } = name.text(report)?;
    let parsed = SecretName::parse(&value).map_err(|odd| report.error(&place, odd.to_string())).ok()?;
    Some(At { value: secret_reference(&parsed), place })
}

/// Reads a credential.
fn read_auth(item: &Item<'_>, report: &mut Report<'_>) -> Option<AuthEntry> {
    let mut fields = item.fields(report)?;
    let (header, bearer) = (fields.take_even_null("header"), fields.take_even_null("bearer"));
    let oauth = fields.take_even_null("oauth");
    fields.finish(report);
    match (header, bearer, oauth) {
        (Some(header), None, None) => read_header(&header, report).map(AuthEntry::Header),
        (None, Some(bearer), None) => {
            let name = At { value: "Authorization".to_owned(), place: bearer.place() };
            let text = read_value(&bearer, report)?;
            let value = At { value: format!("Bearer {}", text.value), place: text.place };
            Some(AuthEntry::Header((name, value)))
        }
        (None, None, Some(oauth)) => {
            OAuthEntry::read(&oauth, report).map(|entry| AuthEntry::OAuth(Box::new(entry)))
        }
        _ => {
            report.error(&item.place(), "expected one of `header`, `bearer` and `oauth`");
            report.hint("for example `auth: { bearer: { secret: github } }`");
            None
        }
    }
}

fn read_header(item: &Item<'_>, report: &mut Report<'_>) -> Option<(At<String>, At<String>)> {
    let mut fields = item.fields(report)?;
    let (name, value) = (fields.take("name"), fields.take("value"));
    fields.finish(report);
    let (Some(name), Some(value)) = (name, value) else {
        report.error(&item.place(), "a header needs `name` and `value`");
        return None;
    };
    Some((name.text(report)?, read_value(&value, report)?))
}

fn read_command(item: &Item<'_>, report: &mut Report<'_>) -> Option<CommandEntry> {
    match &item.node.value {
        Value::List(parts) if parts.is_empty() => {
            report.error(&item.place(), "expected a program and its arguments, found an empty list");
            None
        }
        Value::List(_) => item.texts(report).map(CommandEntry::Line),
        Value::Scalar(_) => item.text(report).map(CommandEntry::Program),
        Value::Map(_) => {
            item.mismatch("a program, or a list of a program and its arguments", report);
            None
        }
    }
}

fn parse_naming(text: &str) -> Option<Naming> {
    match text {
        "prefix" => Some(Naming::Prefix),
        "none" => Some(Naming::None),
        _ => None,
    }
}

fn parse_http_kind(text: &str) -> Option<HttpKind> {
    match text {
        "http" => Some(HttpKind::Http),
        "sse" => Some(HttpKind::Sse),
        _ => None,
    }
}

pub(super) fn read_number(
    item: &Item<'_>,
    (least, most): (u64, u64),
    report: &mut Report<'_>,
) -> Option<At<u64>> {
    let expected = format!("a whole number from {least} to {most}");
    item.parsed(&expected, report, |text| text.parse().ok().filter(|n| (least..=most).contains(n)))
}

pub(super) fn read_size(
    item: &Item<'_>,
    (least, most): (u64, u64),
    example: &str,
    report: &mut Report<'_>,
) -> Option<At<u64>> {
    let (from, to) = (format_size(least), format_size(most));
    let expected = format!("a size from {from} to {to}, such as \"{example}\" or a number of bytes");
    item.parsed(&expected, report, |text| parse_size(text).filter(|n| (least..=most).contains(n)))
}

pub(super) fn read_duration(
    item: &Item<'_>,
    (least, most): (Duration, Duration),
    report: &mut Report<'_>,
) -> Option<At<Duration>> {
    let duration = item.parsed("a duration such as \"30s\"", report, parse_duration)?;
    if !(least..=most).contains(&duration.value) {
        let (least, most) = (format_duration(least), format_duration(most));
        item.mismatch_shown(&format!("a duration from {least} to {most}"), report);
        return None;
    }
    Some(duration)
}
