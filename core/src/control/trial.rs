//! What is asked of a simulation: a draft, or a definition that is supposed to be approved, and since when.

use http::HeaderMap;

use super::Document;
use super::answer::Fault;
use super::request::{expect_json, object};
use crate::audit::Moment;
use crate::wire::json::Json;

/// How far back calls are tried where nothing is said.
const SINCE: &str = "7d";

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tried {
    /// Other files.
    Draft(Document),
    /// What a server says, or one tool of it, as if it were approved.
    Definition { server: String, tool: Option<String> },
}

/// A simulation that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trial {
    pub(crate) tried: Tried,
    /// Since when calls are tried, in milliseconds since the Unix epoch.
    pub(crate) since: u64,
    /// Where an earlier part told to go on.
    pub(crate) cursor: Option<String>,
}

impl Trial {
    /// Reads the body of a request, at the moment `now`.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8], now: u64) -> Result<Self, Fault> {
        expect_json(headers)?;
        let all = object(body, &["files", "overlays", "approve", "since", "cursor"])?;
        let text = |json: Option<Json<'_>>, field: &str| {
            let json = json.filter(|json| !json.is_null());
            let text = json.map(|json| json.as_str().ok_or_else(|| Fault::field(field, "expected a text")));
            Ok::<_, Fault>(text.transpose()?.map(std::borrow::Cow::into_owned))
        };
        let tried = match all.get("approve") {
            None => Tried::Draft(Document::of(&all)?),
            Some(_) if all.get("files").or(all.get("overlays")).is_some() => {
                return Err(Fault::field("approve", "is there beside files: try one after the other"));
            }
            Some(approve) => {
                let approve = object(approve.text().as_bytes(), &["server", "tool"])?;
                let server = text(approve.get("server"), "approve.server")?;
                let server = server.ok_or_else(|| Fault::field("approve.server", "is missing"))?;
                Tried::Definition { server, tool: text(approve.get("tool"), "approve.tool")? }
            }
        };
        let since = text(all.get("since"), "since")?;
        let since = Moment::parse(since.as_deref().unwrap_or(SINCE))
            .ok_or_else(|| Fault::field("since", Moment::EXPECTED))?;
        Ok(Self { tried, since: since.before(now), cursor: text(all.get("cursor"), "cursor")? })
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn check(body: &str) -> String {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json".parse().unwrap())]);
        match Trial::read(&headers, body.as_bytes(), 604_800_000) {
            Ok(trial) => format!("{trial:?}"),
            Err(fault) => format!("{} {}", fault.status.as_u16(), fault.detail),
        }
    }

    #[test]
    fn what_is_asked_is_read() {
        insta::assert_snapshot!(check(r#"{"files":{"a":"b"}}"#), @r#"Trial { tried: Draft(Document { files: {"a": "b"}, overlays: {}, approvals: {}, listed: {}, ahead: None }), since: 0, cursor: None }"#);
        insta::assert_snapshot!(check(r#"{"approve":{"server":"git","tool":null},"since":"1d","cursor":"9"}"#), @r#"Trial { tried: Definition { server: "git", tool: None }, since: 518400000, cursor: Some("9") }"#);
        insta::assert_snapshot!(check("{}"), @"400 files: is missing");
        insta::assert_snapshot!(check(r#"{"files":{"a":"b"},"approve":{"server":"git"}}"#), @"400 approve: is there beside files: try one after the other");
        insta::assert_snapshot!(check(r#"{"approve":{}}"#), @"400 approve.server: is missing");
        insta::assert_snapshot!(check(r#"{"approve":7}"#), @"400 the body: expected a JSON object");
        insta::assert_snapshot!(check(r#"{"files":{"a":"b"},"since":"soon"}"#), @"400 since: expected a date such as 2026-07-28, a moment such as 2026-07-28T12:00:00Z, or a time ago such as 24h");
    }
}
