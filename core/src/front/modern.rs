//! Stateless requests: every one describes itself, in its body and again in its headers (2026-07-28).
//!
//! **Decisions are made on the body; headers only have to agree with it.**

use http::{HeaderMap, HeaderName, StatusCode};

use super::{Inbound, LEVELS, meta};
use crate::catalog::{Parameter, same_value};
use crate::error::{Refusal, code};
use crate::wire::http::{self as names, BadHeader};
use crate::wire::json::{Json, quote};
use crate::wire::version::{Era, Version};

/// Tells whether a request means to be stateless: its body says so, or its headers name a revision that is.
pub(crate) fn is_meant(inbound: &Inbound<'_>, headers: &HeaderMap) -> bool {
    let in_body = inbound.meta().is_some_and(|m| m.get(meta::PROTOCOL_VERSION).is_some());
    in_body || is_named(headers)
}

/// Tells whether the headers name a stateless revision, or one that nobody knows.
pub(crate) fn is_named(headers: &HeaderMap) -> bool {
    let version = headers.get(names::PROTOCOL_VERSION).and_then(|v| v.to_str().ok()).map(str::trim);
    let legacy = |text: &str| Version::parse(text).is_some_and(|v| v.era() == Era::Legacy);
    let session = headers.contains_key(names::SESSION_ID);
    version.is_some_and(|text| !legacy(text) && (Version::parse(text).is_some() || !session))
}

/// Checks what every stateless request must say about itself; over a pipe there are no headers to agree.
pub(crate) fn check(inbound: &Inbound<'_>, headers: Option<&HeaderMap>) -> Result<(), Refusal> {
    let invalid =
        |message: String| Refusal::new(code::INVALID_PARAMS, message).with_status(StatusCode::BAD_REQUEST);
    let Some(meta) = inbound.meta() else {
        return Err(invalid("`params._meta` is missing: a request describes itself there".into()));
    };
    let meta = meta.object().map_err(|e| invalid(format!("{e} in `_meta`")))?;
    let Some(version) = meta.get(meta::PROTOCOL_VERSION).and_then(Json::as_str) else {
        return Err(invalid(format!("`_meta[\"{}\"]` must be a string", meta::PROTOCOL_VERSION)));
    };
    if let Some(headers) = headers {
        agrees(headers, "MCP-Protocol-Version", &names::PROTOCOL_VERSION, &version)?;
    }
    if Version::parse(&version).is_none_or(|v| v.era() != Era::Modern) {
        return Err(unsupported(&version));
    }
    if !meta.get(meta::CLIENT_CAPABILITIES).is_some_and(Json::is_object) {
        return Err(invalid(format!("`_meta[\"{}\"]` must be an object", meta::CLIENT_CAPABILITIES)));
    }
    if let Some(level) = meta.get(meta::LOG_LEVEL)
        && !level.as_str().is_some_and(|level| LEVELS.contains(&level.as_ref()))
    {
        return Err(Refusal::new(
            code::INVALID_PARAMS,
            format!("log level must be one of {}", LEVELS.join(", ")),
        ));
    }
    let Some(headers) = headers else { return Ok(()) };
    agrees(headers, "Mcp-Method", &names::METHOD, &inbound.method)?;
    check_name(inbound, headers)
}

fn agrees(headers: &HeaderMap, title: &str, name: &HeaderName, body: &str) -> Result<(), Refusal> {
    match names::single(headers, name).map_err(mismatch)? {
        None => Err(mismatch(format!("header {title} is missing"))),
        Some(header) if header != body => {
            Err(mismatch(format!("header {title} is {header:?}, the body says {body:?}")))
        }
        Some(_) => Ok(()),
    }
}

/// Returns the parameter that `Mcp-Name` repeats.
pub(crate) fn named_by(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

fn check_name(inbound: &Inbound<'_>, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(key) = named_by(&inbound.method) else { return Ok(()) };
    let header = names::single(headers, &names::NAME).map_err(mismatch)?;
    let header = header.ok_or_else(|| mismatch("header Mcp-Name is missing"))?;
    let header = names::decode(&names::NAME, header).map_err(mismatch)?;
    match inbound.text(key) {
        Some(body) if body == header => Ok(()),
        Some(body) => Err(mismatch(format!("header Mcp-Name is {header:?}, the body says {body:?}"))),
        None => Err(mismatch(format!("header Mcp-Name is {header:?}, the body has no string `{key}`"))),
    }
}

/// Checks the headers that repeat annotated arguments.
pub(crate) fn check_parameters(
    parameters: &[Parameter],
    arguments: Option<Json<'_>>,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    for parameter in parameters {
        let header = names::single(headers, &parameter.header).map_err(mismatch)?;
        let header = header.map(|h| names::decode(&parameter.header, h)).transpose().map_err(mismatch)?;
        match (header, parameter.value(arguments)) {
            (None, None) => {}
            (Some(header), Some(argument)) if same_value(&header, &argument) => {}
            (Some(_), _) => {
                return Err(mismatch(format!("header {} differs from the argument", parameter.header)));
            }
            (None, Some(_)) => return Err(mismatch(format!("header {} is missing", parameter.header))),
        }
    }
    Ok(())
}

fn mismatch(what: impl ToString) -> Refusal {
    Refusal::new(code::HEADER_MISMATCH, what.to_string())
}

impl From<BadHeader> for Refusal {
    fn from(bad: BadHeader) -> Self {
        mismatch(bad)
    }
}

/// Refuses a revision, and says which there are.
pub(crate) fn unsupported(requested: &str) -> Refusal {
    let requested: String = requested.chars().take(100).collect();
    let data = format!("{{\"supported\":[\"{}\"],\"requested\":{}}}", Version::MODERN, quote(&requested));
    Refusal::new(code::UNSUPPORTED_VERSION, format!("Unsupported protocol version {requested:?}"))
        .with_data(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::{self, Message};

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn check(params: &str, headers: &[(&str, &str)]) -> String {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let json = Json::check(text.as_bytes()).unwrap();
        let Ok(Message::Request { id, method, params }) = message::parse(json) else { panic!("a request") };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        match super::check(&Inbound::new(id, method, params), Some(&map)) {
            Ok(()) => "ok".into(),
            Err(refusal) => format!("{} {} {refusal}", refusal.status.as_u16(), refusal.code),
        }
    }

    #[test]
    fn headers_must_agree_with_the_body() {
        let params = format!(r#"{{"name":"x",{META}}}"#);
        let version = ("mcp-protocol-version", "2026-07-28");
        let method = ("mcp-method", "tools/call");
        insta::assert_snapshot!(check(&params, &[version, method, ("mcp-name", "x")]), @"ok");
        insta::assert_snapshot!(check(&params, &[version, method, ("mcp-name", "=?base64?eA==?=")]), @"ok");
        insta::assert_snapshot!(check(&params, &[method, ("mcp-name", "x")]), @"400 -32020 header MCP-Protocol-Version is missing");
        insta::assert_snapshot!(check(&params, &[version, version, method, ("mcp-name", "x")]), @"400 -32020 header mcp-protocol-version appears more than once");
        insta::assert_snapshot!(check(&params, &[version, ("mcp-name", "x")]), @"400 -32020 header Mcp-Method is missing");
        insta::assert_snapshot!(check(&params, &[version, ("mcp-method", "Tools/Call"), ("mcp-name", "x")]), @r#"400 -32020 header Mcp-Method is "Tools/Call", the body says "tools/call""#);
        insta::assert_snapshot!(check(&params, &[version, method]), @"400 -32020 header Mcp-Name is missing");
        insta::assert_snapshot!(check(&params, &[version, method, ("mcp-name", "y")]), @r#"400 -32020 header Mcp-Name is "y", the body says "x""#);
        insta::assert_snapshot!(check(&params, &[version, method, ("mcp-name", "=?base64?!?=")]), @"400 -32020 header mcp-name is not valid base64");
    }

    #[test]
    fn a_request_describes_itself() {
        let headers =
            [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "x")];
        insta::assert_snapshot!(check(r#"{"name":"x"}"#, &headers), @"400 -32602 `params._meta` is missing: a request describes itself there");
        insta::assert_snapshot!(check(r#"{"name":"x","_meta":{}}"#, &headers), @r#"400 -32602 `_meta["io.modelcontextprotocol/protocolVersion"]` must be a string"#);
        insta::assert_snapshot!(check(r#"{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#, &headers), @r#"400 -32602 `_meta["io.modelcontextprotocol/clientCapabilities"]` must be an object"#);
        let future = r#"{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2099-01-01"}}"#;
        insta::assert_snapshot!(check(future, &[("mcp-protocol-version", "2099-01-01")]), @r#"400 -32022 Unsupported protocol version "2099-01-01""#);
    }
}
