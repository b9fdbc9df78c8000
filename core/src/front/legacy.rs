//! Session-based requests: `initialize` and what must hold after it (2024-11-05 to 2025-11-25).

use http::{HeaderMap, StatusCode};

use super::Inbound;
use crate::error::{Refusal, code};
use crate::session::Interaction;
use crate::wire::http as names;
use crate::wire::version::{Era, Version};

/// Returns the revision to speak with an agent that asked for one at `initialize`: that one where it is served,
/// else the newest of the era.
pub(crate) fn negotiate(inbound: &Inbound<'_>) -> Result<Version, Refusal> {
    let requested = inbound.text("protocolVersion");
    let requested = requested.ok_or_else(|| bad("`protocolVersion` must be a string"))?;
    let known = Version::parse(&requested).filter(|v| v.era() == Era::Legacy);
    Ok(known.unwrap_or(Version::LEGACY))
}

/// Returns what an agent can be asked, from the capabilities it declared.
pub(crate) fn interaction(inbound: &Inbound<'_>) -> Interaction {
    inbound.params.get("capabilities").map_or_else(Interaction::default, Interaction::declared)
}

/// Returns the session id of a request after `initialize`.
pub(crate) fn session_id(headers: &HeaderMap) -> Result<&str, Refusal> {
    match names::single(headers, &names::SESSION_ID) {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err(bad("header Mcp-Session-Id is missing: send `initialize` first")
            .with_status(StatusCode::BAD_REQUEST)),
        Err(_) => Err(unknown_session()),
    }
}

/// Checks the revision that a request after `initialize` names.
pub(crate) fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    let version = names::single(headers, &names::PROTOCOL_VERSION).map_err(|e| bad(e.to_string()))?;
    let known = |text: &str| Version::parse(text).is_some_and(|v| v.era() == Era::Legacy);
    match version {
        Some(text) if !known(text) => {
            let served: Vec<_> =
                Version::ALL.iter().filter(|v| v.era() == Era::Legacy).map(|v| v.as_str()).collect();
            Err(bad(format!(
                "Bad Request: unsupported protocol version (a session may speak {})",
                served.join(", ")
            )))
        }
        _ => Ok(()),
    }
}

/// The answer to a session id that does not open: the client has to initialize again.
pub(crate) fn unknown_session() -> Refusal {
    Refusal::new(
        code::INVALID_REQUEST,
        "Session not found: it has ended, or is not this gateway's; send `initialize` again",
    )
    .with_status(StatusCode::NOT_FOUND)
}

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(code::INVALID_REQUEST, message).with_status(StatusCode::BAD_REQUEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::Json;
    use crate::wire::message::{self, Message};

    fn check(params: &str) -> String {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}"#);
        let json = Json::check(text.as_bytes()).unwrap();
        let Ok(Message::Request { id, method, params }) = message::parse(json) else { panic!("a request") };
        let inbound = Inbound::new(id, method, params);
        let Interaction { form, url, sampling, roots, .. } = interaction(&inbound);
        match negotiate(&inbound) {
            Ok(version) => format!("{version} form={form} url={url} sampling={sampling} roots={roots}"),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn negotiates_what_both_speak() {
        insta::assert_snapshot!(check(r#"{"protocolVersion":"2025-03-26","capabilities":{"elicitation":{},"roots":{}}}"#), @"2025-03-26 form=true url=false sampling=false roots=true");
        insta::assert_snapshot!(check(r#"{"protocolVersion":"2024-11-05","capabilities":{"sampling":{}}}"#), @"2024-11-05 form=false url=false sampling=true roots=false");
        insta::assert_snapshot!(check(r#"{"protocolVersion":"2026-07-28","capabilities":{"elicitation":{"url":{}}}}"#), @"2025-11-25 form=false url=true sampling=false roots=false");
        insta::assert_snapshot!(check(r#"{"protocolVersion":"1999","capabilities":{"elicitation":{"form":{},"url":{}},"sampling":{}}}"#), @"2025-11-25 form=true url=true sampling=true roots=false");
        insta::assert_snapshot!(check("{}"), @"`protocolVersion` must be a string");
    }
}
