//! From the gateway's section to its [`Gateway`] settings.

use url::Url;

use super::endpoint::parse_url;
use super::file::{GatewayEntry, InstancesEntry, LimitsEntry};
use super::item::At;
use super::model::{Gateway, Instances, Limits};
use super::problem::{Report, quote};

/// Resolves the section; what is wrong stays at its default and is reported.
pub(super) fn resolve_gateway(entry: &GatewayEntry, report: &mut Report<'_>) -> Gateway {
    let defaults = Gateway::default();
    Gateway {
        public_url: entry.public_url.as_ref().and_then(|url| resolve_public_url(url, report)),
        naming: entry.naming.as_ref().map_or(defaults.naming, |naming| naming.value),
        legacy: entry.legacy.as_ref().map_or(defaults.legacy, |legacy| legacy.value),
        name_limit: number(entry.name_limit.as_ref(), defaults.name_limit),
        page_size: number(entry.page_size.as_ref(), defaults.page_size),
        request_limit: number(entry.request_limit.as_ref(), defaults.request_limit),
        limits: entry.limits.as_ref().map_or(defaults.limits, resolve_limits),
        allowed_origins: resolve_origins(entry.allowed_origins.as_deref().unwrap_or_default(), report),
        instructions: entry.instructions.as_ref().map(|text| text.value.clone()),
        approval: entry.approval.unwrap_or_default(),
        sharing: entry.isolation.as_ref().map_or(defaults.sharing, |sharing| sharing.value),
        instances: entry.instances.as_ref().map_or(defaults.instances, resolve_instances),
    }
}

fn resolve_instances(entry: &InstancesEntry) -> Instances {
    let defaults = Instances::default();
    let pids = entry.pids.as_ref().and_then(|pids| u32::try_from(pids.value).ok());
    Instances {
        idle: entry.idle.as_ref().map_or(defaults.idle, |idle| idle.value),
        most: number(entry.most.as_ref(), defaults.most),
        requests: number(entry.requests.as_ref(), defaults.requests),
        memory: entry.memory.as_ref().map_or(defaults.memory, |memory| memory.value),
        pids: pids.unwrap_or(defaults.pids),
    }
}

fn number(value: Option<&At<u64>>, default: usize) -> usize {
    value.and_then(|value| usize::try_from(value.value).ok()).unwrap_or(default)
}

fn resolve_limits(entry: &LimitsEntry) -> Limits {
    let defaults = Limits::default();
    Limits {
        connections: number(entry.connections.as_ref(), defaults.connections),
        headers: number(entry.headers.as_ref(), defaults.headers),
        header_count: number(entry.header_count.as_ref(), defaults.header_count),
        requests: number(entry.requests.as_ref(), defaults.requests),
        server_requests: number(entry.server_requests.as_ref(), defaults.server_requests),
        streams: number(entry.streams.as_ref(), defaults.streams),
        session_streams: number(entry.session_streams.as_ref(), defaults.session_streams),
        message: number(entry.message.as_ref(), defaults.message),
    }
}

fn resolve_public_url(text: &At<String>, report: &mut Report<'_>) -> Option<Url> {
    let url = parse_url(&text.value, text, report)?;
    if url.query().is_some() {
        report.error(&text.place, "the public URL has a query (`?...`)");
        return None;
    }
    Some(url)
}

fn resolve_origins(texts: &[At<String>], report: &mut Report<'_>) -> Vec<String> {
    let resolve = |text: &At<String>| {
        let origin = parse_origin(&text.value);
        if origin.is_none() {
            let found = quote(&text.value);
            report.error(
                &text.place,
                format!("expected an origin such as \"https://app.example.com\", found {found}"),
            );
            report.hint("an origin is a scheme, a host and perhaps a port; `*` and `null` are not accepted");
        }
        origin
    };
    texts.iter().filter_map(resolve).collect()
}

/// Parses an origin (RFC 6454) into the form that browsers send.
fn parse_origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let host = url.host_str().filter(|host| !host.is_empty() && !host.contains('*'))?;
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{host}{port}", url.scheme()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_take_the_form_that_browsers_send() {
        let origin = |text| parse_origin(text).unwrap_or_default();
        insta::assert_snapshot!(origin("HTTPS://App.Example.com:443/"), @"https://app.example.com");
        insta::assert_snapshot!(origin("http://localhost:5173"), @"http://localhost:5173");
        insta::assert_snapshot!(origin("chrome-extension://abcdef"), @"chrome-extension://abcdef");
        for wrong in [
            "*",
            "null",
            "",
            "https://",
            "https://*.example.com",
            "https://a.example/x",
            "https://u@a.example",
        ] {
            assert_eq!(parse_origin(wrong), None, "{wrong}");
        }
    }
}
