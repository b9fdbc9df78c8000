//! Checks of what is reached by HTTP.
//!
//! **Headers that the protocol itself depends on cannot be configured**, and credentials stand in headers, not in URLs.

use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::item::At;
use super::model::Endpoint;
use super::problem::{Report, quote};
use super::server::Context;

/// Headers of one connection (RFC 9110, section 7.6.1) and of the protocol, which the gateway sets itself.
const MANAGED: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "last-event-id",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that MCP defines or may define.
const MANAGED_PREFIX: &str = "mcp-";

/// Resolves an endpoint with its headers.
pub(super) fn resolve_endpoint(
    url: &At<String>,
    headers: &[(At<String>, At<String>)],
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Endpoint> {
    let parsed = context.expand(url, report).and_then(|text| parse_url(&text, url, report));
    let headers = resolve_headers(headers, context, report);
    Some(Endpoint { url: parsed?, headers: headers? })
}

/// Parses an `http` or `https` URL with a host and without credentials or a fragment.
pub(super) fn parse_url(text: &str, from: &At<String>, report: &mut Report<'_>) -> Option<Url> {
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            report.error(&from.place, format!("this is no URL: {error}"));
            report.hint("write it whole, such as `https://mcp.example.com/mcp`");
            return None;
        }
    };
    if !matches!(url.scheme(), "http" | "https") {
        report.error(&from.place, "expected an http or https URL");
        report.hint("begin it with `http://` or `https://`");
    } else if url.host_str().is_none_or(str::is_empty) {
        report.error(&from.place, "the URL has no host");
    } else if !url.username().is_empty() || url.password().is_some() {
        report.error(&from.place, "the URL contains credentials");
        report.hint("send them in a header: `headers: { Authorization: \"Bearer ${TOKEN}\" }`");
    } else if url.fragment().is_some() {
        report.error(&from.place, "the URL has a fragment (`#...`), which is never sent");
    } else {
        return Some(url);
    }
    None
}

fn resolve_headers(
    pairs: &[(At<String>, At<String>)],
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<HeaderMap> {
    let mut headers = Some(HeaderMap::new());
    for (name, value) in pairs {
        let parsed_name = parse_header_name(name, report);
        let parsed_value =
            context.expand(value, report).and_then(|text| parse_header_value(&text, value, report));
        headers = match (headers, parsed_name, parsed_value) {
            (Some(mut headers), Some(parsed_name), Some(parsed_value)) => {
                if headers.insert(parsed_name, parsed_value).is_some() {
                    report.error(&name.place, "this header stands here twice; case makes no difference");
                }
                Some(headers)
            }
            _ => None,
        };
    }
    headers
}

fn parse_header_name(name: &At<String>, report: &mut Report<'_>) -> Option<HeaderName> {
    let Ok(parsed) = HeaderName::from_bytes(name.value.as_bytes()) else {
        report.error(&name.place, format!("{} is no name of a header", quote(&name.value)));
        return None;
    };
    if is_managed(&parsed) {
        report.error(&name.place, format!("the gateway sets the header `{parsed}` itself"));
        report.hint("remove it");
        return None;
    }
    Some(parsed)
}

/// Tells whether a header belongs to one connection or to the protocol.
pub(super) fn is_managed(name: &HeaderName) -> bool {
    MANAGED.contains(&name.as_str()) || name.as_str().starts_with(MANAGED_PREFIX)
}

fn parse_header_value(text: &str, from: &At<String>, report: &mut Report<'_>) -> Option<HeaderValue> {
    let Some(mut value) = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii()) else {
        report.error(&from.place, "the value has characters that a header cannot have");
        report.hint("a header's value is printable ASCII, without line breaks");
        return None;
    };
    value.set_sensitive(true);
    Some(value)
}
