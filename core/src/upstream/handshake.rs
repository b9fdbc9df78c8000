//! Which era a server speaks, decided from how it answers: pure functions over its replies.
//!
//! A server is asked `server/discover` first. **Only a reply that a stateless server would give makes it modern**;
//! anything else leads to `initialize` (2026-07-28, "Backward compatibility").

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use url::Url;

use crate::error::code;
use crate::wire::json::Json;
use crate::wire::message::{self, Message, ObjectWriter};
use crate::wire::sse::Event;
use crate::wire::version::{Era, Version};

/// What a server answered to a question of the handshake.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    /// The HTTP status, where the transport has one.
    pub status: Option<StatusCode>,
    /// The session id that came with it.
    pub session: Option<HeaderValue>,
    /// The JSON-RPC message; empty where there was none.
    pub body: Bytes,
}

/// What a server says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Introduction {
    /// Its `capabilities`, as JSON text.
    pub capabilities: String,
    /// Its `serverInfo`, as JSON text.
    pub info: Option<String>,
    /// Its instructions.
    pub instructions: Option<String>,
}

/// What follows from the reply to `server/discover`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probed {
    /// It speaks this stateless revision.
    Modern(Version, Introduction),
    /// It is to be asked `initialize`.
    Legacy,
    /// It cannot be spoken to, and why, continuing "server X ...".
    Failed(String),
}

/// Decides what a reply to `server/discover` means.
pub(crate) fn after_discover(reply: &Reply) -> Probed {
    if let Some(reason) = reply.status.and_then(refusal) {
        return Probed::Failed(reason);
    }
    match outcome(&reply.body) {
        Some(Ok(result)) => discovered(&result),
        Some(Err((code::UNSUPPORTED_VERSION, error))) => {
            match offered(error.get("data").and_then(|d| d.get("supported"))) {
                Offer::Modern => Probed::Modern(Version::MODERN, Introduction::default()),
                Offer::Legacy => Probed::Legacy,
                Offer::Unknown(versions) => {
                    Probed::Failed(format!("speaks only {versions}, which this gateway does not"))
                }
            }
        }
        Some(Err((code::HEADER_MISMATCH | code::MISSING_CAPABILITY, _))) => {
            Probed::Modern(Version::MODERN, Introduction::default())
        }
        Some(Err((code::INVALID_PARAMS, error))) if about_meta(&error) => {
            Probed::Modern(Version::MODERN, Introduction::default())
        }
        // Stateless servers answer an unknown method with 404; older ones answer 200.
        Some(Err((code::METHOD_NOT_FOUND, _))) if reply.status == Some(StatusCode::NOT_FOUND) => {
            Probed::Modern(Version::MODERN, Introduction::default())
        }
        _ => Probed::Legacy,
    }
}

/// Decides what a reply to `initialize` means: the revision and what the server says about itself, or why it
/// cannot be spoken to, continuing "server X ...".
pub(crate) fn after_initialize(reply: &Reply) -> Result<(Version, Introduction), String> {
    if let Some(reason) = reply.status.and_then(refusal) {
        return Err(reason);
    }
    match outcome(&reply.body) {
        Some(Ok(result)) => {
            let version = result.get("protocolVersion").and_then(Json::as_str).unwrap_or_default();
            match Version::parse(&version) {
                Some(known) if known.era() == Era::Legacy => Ok((known, introduction(&result))),
                _ => {
                    Err(format!("negotiated protocol version {version:?}, which this gateway does not speak"))
                }
            }
        }
        Some(Err((code, error))) => {
            let text = error.get("message").and_then(Json::as_str).unwrap_or_default();
            Err(format!("refused `initialize` with error {code}: {}", shorten(&text)))
        }
        None => Err(match reply.status {
            Some(status) => {
                format!("answered `initialize` with HTTP {status} and no JSON-RPC message; is the URL right?")
            }
            None => "answered `initialize` with something that is no JSON-RPC message".into(),
        }),
    }
}

/// Tells whether a reply to `initialize` is one that a server of 2024-11-05 may give, which takes no POST at its URL.
pub(crate) fn takes_no_posts(reply: &Reply) -> bool {
    let refused = [StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
    reply.status.is_some_and(|status| refused.contains(&status))
}

/// Returns where a server that speaks HTTP+SSE takes messages, from the first event of its stream, or why that will not
/// do, continuing "server X ...".
pub(crate) fn posts_go_to(stream: &http::Uri, first: &Event) -> Result<http::Uri, String> {
    if first.name.as_deref() != Some("endpoint") {
        let name = shorten(first.name.as_deref().unwrap_or("message"));
        return Err(format!("began its event stream with `{name}` where `endpoint` was due"));
    }
    let named = String::from_utf8_lossy(&first.data);
    let unusable = || format!("names an endpoint that is no URL: {}", shorten(&named));
    let base = Url::parse(&stream.to_string()).map_err(|_| unusable())?;
    let endpoint = base.join(named.trim()).map_err(|_| unusable())?;
    let plain = endpoint.username().is_empty() && endpoint.password().is_none();
    if endpoint.origin() != base.origin() || !plain {
        let (theirs, own) = (endpoint.origin().ascii_serialization(), base.origin().ascii_serialization());
        return Err(format!(
            "wants messages posted to {}, but its URL is at {own}: only that origin is posted to",
            if plain { theirs } else { shorten(&named) }
        ));
    }
    endpoint.as_str().parse().map_err(|_| unusable())
}

/// Returns why a status ends the handshake, if it does, continuing "server X ...".
pub(crate) fn refusal(status: StatusCode) -> Option<String> {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Some(format!("asks for authorization (HTTP {status}); set its credential in `headers`"))
        }
        _ if status.is_redirection() => {
            Some(format!("redirects elsewhere (HTTP {status}); set the final URL"))
        }
        StatusCode::LOOP_DETECTED => {
            Some(format!("leads back to this gateway, which would be a loop (HTTP {status})"))
        }
        _ => None,
    }
}

fn outcome(body: &Bytes) -> Option<Result<Json<'_>, (i64, Json<'_>)>> {
    match message::parse(Json::check(body).ok()?).ok()? {
        Message::Response { outcome: Ok(result), .. } => Some(Ok(result)),
        Message::Response { outcome: Err(error), .. } => {
            let code = error.get("code").and_then(|c| c.text().parse().ok()).unwrap_or(0);
            Some(Err((code, error)))
        }
        _ => None,
    }
}

fn discovered(result: &Json<'_>) -> Probed {
    let versions = result.get("supportedVersions").filter(|v| v.is_array());
    match offered(versions) {
        Offer::Modern => Probed::Modern(Version::MODERN, introduction(result)),
        Offer::Legacy => Probed::Legacy,
        Offer::Unknown(versions) => {
            Probed::Failed(format!("speaks only {versions}, which this gateway does not"))
        }
    }
}

enum Offer {
    Modern,
    Legacy,
    Unknown(String),
}

fn offered(versions: Option<Json<'_>>) -> Offer {
    let Some(versions) = versions else { return Offer::Legacy };
    let names: Vec<_> = versions.elements().filter_map(Json::as_str).collect();
    let known: Vec<_> = names.iter().filter_map(|name| Version::parse(name)).collect();
    if known.contains(&Version::MODERN) {
        Offer::Modern
    } else if !known.is_empty() || names.is_empty() {
        Offer::Legacy
    } else {
        Offer::Unknown(shorten(&names.join(", ")))
    }
}

/// Tells whether an error is about `_meta`, as only a stateless server's can be.
pub(crate) fn about_meta(error: &Json<'_>) -> bool {
    error.get("message").and_then(Json::as_str).is_some_and(|text| text.contains("_meta"))
}

fn introduction(result: &Json<'_>) -> Introduction {
    let meta = result.get("_meta").and_then(|m| m.get("io.modelcontextprotocol/serverInfo"));
    let info = result.get("serverInfo").or(meta).filter(|i| i.is_object());
    Introduction {
        capabilities: result
            .get("capabilities")
            .filter(|c| c.is_object())
            .map_or("{}", Json::text)
            .to_owned(),
        info: info.map(|i| i.text().to_owned()),
        instructions: result.get("instructions").and_then(Json::as_str).map(std::borrow::Cow::into_owned),
    }
}

/// Returns at most 200 characters of a server's text, control characters escaped, fit for a message of ours.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(200).flat_map(char::escape_debug).collect();
    if text.chars().nth(200).is_some() {
        short.push('…');
    }
    short
}

/// Returns the gateway's own `Implementation`, as JSON text.
pub(crate) fn own_info() -> &'static str {
    concat!(r#"{"name":"portcullis","title":"Portcullis","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#)
}

/// Returns the parameters of `initialize` with these client capabilities, which are JSON text.
pub(crate) fn initialize_params(capabilities: &str) -> String {
    let mut params = ObjectWriter::default();
    params.string("protocolVersion", Version::LEGACY.as_str());
    params.member("capabilities", capabilities).member("clientInfo", own_info());
    params.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        let status = (status > 0).then(|| StatusCode::from_u16(status).unwrap());
        Reply { status, session: None, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    #[track_caller]
    fn check(status: u16, body: &str, expected: &str) {
        let probed = match after_discover(&reply(status, body)) {
            Probed::Modern(version, _) => version.to_string(),
            Probed::Legacy => "legacy".into(),
            Probed::Failed(why) => why,
        };
        assert_eq!(probed, expected, "{status} {body}");
    }

    fn error(code: i64, message: &str, data: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"{message}","data":{data}}}}}"#)
    }

    #[test]
    fn only_a_stateless_server_is_modern() {
        let result = |versions: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"result":{{"supportedVersions":{versions},"capabilities":{{}}}}}}"#
            )
        };
        check(200, &result(r#"["2026-07-28"]"#), "2026-07-28");
        check(0, &result(r#"["2025-11-25","2026-07-28"]"#), "2026-07-28");
        check(200, &result(r#"["2025-11-25"]"#), "legacy");
        check(200, &result(r#"["2031-01-01"]"#), "speaks only 2031-01-01, which this gateway does not");
        check(400, &error(-32022, "", r#"{"supported":["2026-07-28"]}"#), "2026-07-28");
        check(400, &error(-32020, "", "{}"), "2026-07-28");
        check(400, &error(-32602, "missing _meta", "{}"), "2026-07-28");
        check(404, &error(-32601, "", "{}"), "2026-07-28");
    }

    #[test]
    fn everything_else_leads_to_initialize() {
        check(200, &error(-32601, "Method not found", "{}"), "legacy");
        check(0, &error(-32601, "Method not found", "{}"), "legacy");
        check(200, &error(-32602, "Invalid request parameters", "{}"), "legacy");
        check(
            400,
            r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Server not initialized"},"id":null}"#,
            "legacy",
        );
        check(404, "<html>", "legacy");
        check(500, "", "legacy");
        check(200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "legacy");
        check(401, "", "asks for authorization (HTTP 401 Unauthorized); set its credential in `headers`");
        check(307, "", "redirects elsewhere (HTTP 307 Temporary Redirect); set the final URL");
    }

    #[test]
    fn says_why_initialize_failed() {
        let ok = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"x"},"instructions":"hi"}}"#;
        let (version, introduction) = after_initialize(&reply(200, ok)).unwrap();
        assert_eq!((version, introduction.instructions.as_deref()), (Version::V2025_06_18, Some("hi")));
        insta::assert_snapshot!(after_initialize(&reply(405, "")).unwrap_err(), @"answered `initialize` with HTTP 405 Method Not Allowed and no JSON-RPC message; is the URL right?");
        insta::assert_snapshot!(after_initialize(&reply(0, &error(-32603, "no\\nway", "{}"))).unwrap_err(), @r"refused `initialize` with error -32603: no\nway");
    }

    #[test]
    fn messages_are_posted_to_the_origin_of_the_stream_alone() {
        let check = |name: Option<&str>, data: &'static str| {
            let event = Event { name: name.map(str::to_owned), data: data.into(), ..Event::default() };
            match posts_go_to(&"http://a.example:81/x/sse".parse().unwrap(), &event) {
                Ok(uri) => uri.to_string(),
                Err(why) => why,
            }
        };
        let endpoint = |data| check(Some("endpoint"), data);
        insta::assert_snapshot!(endpoint("/messages?sessionId=1"), @"http://a.example:81/messages?sessionId=1");
        insta::assert_snapshot!(endpoint("messages/?s=1"), @"http://a.example:81/x/messages/?s=1");
        insta::assert_snapshot!(endpoint("http://A.example:81/m"), @"http://a.example:81/m");
        insta::assert_snapshot!(endpoint("http://169.254.169.254/m"), @"wants messages posted to http://169.254.169.254, but its URL is at http://a.example:81: only that origin is posted to");
        insta::assert_snapshot!(endpoint("//evil.example/m"), @"wants messages posted to http://evil.example, but its URL is at http://a.example:81: only that origin is posted to");
        insta::assert_snapshot!(endpoint("https://a.example:81/m"), @"wants messages posted to https://a.example:81, but its URL is at http://a.example:81: only that origin is posted to");
        insta::assert_snapshot!(endpoint("http://a.example/m"), @"wants messages posted to http://a.example, but its URL is at http://a.example:81: only that origin is posted to");
        insta::assert_snapshot!(endpoint("file:///etc/passwd"), @"wants messages posted to null, but its URL is at http://a.example:81: only that origin is posted to");
        insta::assert_snapshot!(endpoint("http://evil@a.example:81/m"), @"wants messages posted to http://evil@a.example:81/m, but its URL is at http://a.example:81: only that origin is posted to");
        insta::assert_snapshot!(endpoint("http://[::1"), @"names an endpoint that is no URL: http://[::1");
        insta::assert_snapshot!(check(None, "{}"), @"began its event stream with `message` where `endpoint` was due");
    }
}
