//! Header names, and the encoding of values that headers cannot carry as they are.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Names the session of a legacy revision.
pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// Names the revision that a request speaks.
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// Repeats the method of a stateless request.
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// Repeats what a stateless request names: a tool, a prompt, a resource's URI.
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Begins the headers that repeat annotated arguments.
pub(crate) const PARAM_PREFIX: &str = "mcp-param-";
/// Names the last event that a client saw of a stream.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Names the gateways that a request came through, so that a loop is seen.
pub(crate) const VIA: HeaderName = HeaderName::from_static("portcullis-via");

/// The media type of JSON.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The media type of event streams.
pub(crate) const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// A header that is there more than once, or is not text, or does not decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header {name} {what}")]
pub struct BadHeader {
    /// Which header.
    pub name: HeaderName,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Returns the only value of a header as text, without surrounding white space.
pub(crate) fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, BadHeader> {
    let bad = |what| BadHeader { name: name.clone(), what };
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad("appears more than once"));
    }
    let text = value.to_str().map_err(|_| bad("has characters that headers may not carry"))?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}

/// Decodes `=?base64?...?=`, the form of values that headers cannot carry (2026-07-28, header encoding).
pub(crate) fn decode<'v>(name: &HeaderName, value: &'v str) -> Result<Cow<'v, str>, BadHeader> {
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|v| v.strip_suffix("?=")) else {
        return Ok(Cow::Borrowed(value));
    };
    let bad = |what| BadHeader { name: name.clone(), what };
    let bytes = STANDARD.decode(encoded).map_err(|_| bad("is not valid base64"))?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| bad("is not valid UTF-8"))
}

/// Encodes a value so that a header can carry it; the inverse of [`decode`].
pub(crate) fn encode(text: &str) -> HeaderValue {
    let plain = text.bytes().all(|b| (0x20..0x7f).contains(&b))
        && text.trim_matches([' ', '\t']) == text
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    let value =
        if plain { Cow::Borrowed(text) } else { Cow::Owned(format!("=?base64?{}?=", STANDARD.encode(text))) };
    HeaderValue::from_str(&value).expect("only visible ASCII and inner spaces")
}

/// Returns the media type of a message, in lower case and without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Cow<'_, str> {
    let value = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let value = value.split(';').next().unwrap_or_default().trim();
    if value.bytes().any(|b| b.is_ascii_uppercase()) {
        return Cow::Owned(value.to_ascii_lowercase());
    }
    Cow::Borrowed(value)
}

/// Returns how many bytes of body are announced; none where that is not said.
pub(crate) fn length(headers: &HeaderMap) -> usize {
    let value = headers.get(http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    value.and_then(|length| length.parse().ok()).unwrap_or_default()
}

/// Tells whether `Accept` admits a media type; an absent header admits all.
pub(crate) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let mut values = headers.get_all(http::header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return true;
    }
    let group = media_type.split('/').next().unwrap_or_default();
    values.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).any(|item| {
        let item = item.split(';').next().unwrap_or_default().trim();
        let of_group = |item: &str| item.strip_suffix("/*").is_some_and(|g| g.eq_ignore_ascii_case(group));
        item == "*/*" || item.eq_ignore_ascii_case(media_type) || of_group(item)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encodes_only_what_headers_cannot_carry() {
        assert_eq!(encode("get_weather"), "get_weather");
        assert_eq!(encode("a b"), "a b");
        assert_eq!(encode(" a"), "=?base64?IGE=?=");
        assert_eq!(encode("é"), "=?base64?w6k=?=");
        assert_eq!(encode("=?base64?x?="), "=?base64?PT9iYXNlNjQ/eD89?=");
        assert!(decode(&NAME, "=?base64?!?=").is_err());
    }

    #[test]
    fn reads_a_header_once() {
        let mut headers = HeaderMap::new();
        assert_eq!(single(&headers, &NAME), Ok(None));
        headers.append(NAME, HeaderValue::from_static(" a "));
        assert_eq!(single(&headers, &NAME), Ok(Some("a")));
        headers.append(NAME, HeaderValue::from_static("a"));
        assert!(single(&headers, &NAME).is_err());
    }

    proptest! {
        #[test]
        fn round_trips(text in "\\PC{0,20}") {
            let value = encode(&text);
            let decoded = decode(&NAME, value.to_str().unwrap()).unwrap().into_owned();
            prop_assert_eq!(decoded, text);
        }
    }
}
