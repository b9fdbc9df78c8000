//! Checks of what is reached by HTTP.
//!
//! **Headers that the protocol itself depends on cannot be configured**, and credentials stand in headers, not in URLs.

use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::item::At;
use super::model::Endpoint;
use super::problem::{Report, quote};
use super::server::Context;
use super::template::Expanded;
use crate::secrets::{Part, SecretText, header_value};

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
    headers: &[&(At<String>, At<String>)],
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Endpoint> {
    let parsed = context.expand(url, report).and_then(|text| parse_url(&text, url, report));
    let headers = resolve_headers(headers, context, report);
    let (headers, secret_headers) = headers?;
    Some(Endpoint { url: parsed?, headers, secret_headers, sign_on: None, consent: None })
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

/// Headers whose values are known, and those that need secrets.
type Headers = (HeaderMap, Vec<(HeaderName, SecretText)>);

fn resolve_headers(
    pairs: &[&(At<String>, At<String>)],
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Headers> {
    let mut headers = Some(Headers::default());
    for (name, value) in pairs {
        let parsed_name = parse_header_name(name, report);
        let expanded = context.expand_with_secrets(value, report);
        let parsed_value = expanded.and_then(|expanded| parse_header_value(expanded, value, report));
        let (Some(known), Some(parsed_name), Some(parsed_value)) =
            (headers.take(), parsed_name, parsed_value)
        else {
            continue;
        };
        let (mut plain, mut secret) = known;
        if plain.contains_key(&parsed_name) || secret.iter().any(|(name, _)| *name == parsed_name) {
            report.error(&name.place, "this header stands here twice; case makes no difference");
        }
        match parsed_value {
            Header::Plain(value) => drop(plain.insert(parsed_name, value)),
            Header::Secret(text) => secret.push((parsed_name, text)),
        }
        headers = Some((plain, secret));
    }
    headers
}

/// A header's value, as far as it is known.
enum Header {
    Plain(HeaderValue),
    Secret(SecretText),
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

fn parse_header_value(expanded: Expanded, from: &At<String>, report: &mut Report<'_>) -> Option<Header> {
    let parsed = match expanded {
        Expanded::Plain(text) => header_value(&text).map(Header::Plain),
        Expanded::Secret(text) => {
            let fits = |part: &Part| match part {
                Part::Text(text) => header_value(text).is_some(),
                Part::Secret(_) => true,
            };
            text.parts().iter().all(fits).then(|| Header::Secret(text.clone()))
        }
    };
    if parsed.is_none() {
        report.error(&from.place, "the value has characters that a header cannot have");
        report.hint("a header's value is printable ASCII, without line breaks");
    }
    parsed
}
