//! What a request to the admin API says: its conditions, and its body.

use http::{HeaderMap, StatusCode, header};

use super::answer::Fault;
use super::document::{Document, Malformed, members};
use crate::audit::parse_time;
use crate::wire::http as names;
use crate::wire::json::{Json, Object};

/// The longest note and the longest comment, in characters.
const LONGEST: usize = 1000;
/// The longest name of an agent, in characters.
const LONGEST_NAME: usize = 128;
/// How many versions are listed at a time, and at most.
const LISTED: (usize, usize) = (100, 1000);

/// What must be in force for a write to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// This version; 0 means none.
    Version(u64),
    /// Whatever there is.
    Any,
}

impl Condition {
    /// Reads `If-Match` and `If-None-Match` (RFC 9110, section 13.1); nothing where the request has no condition.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Fault> {
        let single = |name| names::single(headers, &name).map_err(|bad| malformed(&bad.to_string()));
        match (single(header::IF_MATCH)?, single(header::IF_NONE_MATCH)?) {
            (None, None) => Ok(None),
            (Some("*"), None) => Ok(Some(Self::Any)),
            (Some(tag), None) => {
                // What lies between may have weakened the tag, which is a number all the same.
                let tag = tag.strip_prefix("W/").unwrap_or(tag);
                let version = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                // What follows says which answer had it, and is no matter here.
                let version = version.filter(|tag| !tag.contains('"'));
                let version = version.and_then(|tag| tag.split('.').next()?.parse().ok());
                let version = version.ok_or_else(|| {
                    malformed("`If-Match` must be `*` or the ETag of a version, such as `\"3\"`")
                })?;
                Ok(Some(Self::Version(version)))
            }
            (None, Some("*")) => Ok(Some(Self::Version(0))),
            _ => Err(malformed(
                "send either `If-Match`, or `If-None-Match: *` where there is no configuration yet",
            )),
        }
    }

    /// Returns the condition of a write, which has to have one.
    pub(crate) fn required(headers: &HeaderMap) -> Result<Self, Fault> {
        let missing = "a write needs a condition, so that nobody's change is lost: `If-Match` with the ETag of the version \
                       that it builds on, or `*`";
        Self::of(headers)?
            .ok_or_else(|| Fault::new(StatusCode::PRECONDITION_REQUIRED, "no-condition", missing))
    }

    /// Tells whether it holds with this version in force; 0 means none.
    pub(crate) fn holds(self, newest: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Version(version) => version == newest,
        }
    }
}

fn malformed(detail: &str) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, "malformed", detail)
}

/// A configuration that is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pushed {
    pub(crate) document: Document,
    pub(crate) note: String,
}

impl Pushed {
    /// Reads the body of a push: JSON with `files`, or one native file as it is.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        let media_type = names::media_type(headers);
        match &*media_type {
            "application/json" => {}
            "application/yaml" | "text/yaml" | "application/x-yaml" | "text/x-yaml" => {
                let text = std::str::from_utf8(body).map_err(|_| malformed("the body is no UTF-8"))?;
                return Ok(Self { document: Document::native(text), note: String::new() });
            }
            _ => return Err(unsupported("application/json, or application/yaml with one native file")),
        }
        let object = object(body, &["files", "overlays", "note"])?;
        Ok(Self {
            document: Document::of(&object)?,
            note: text(&object, "note", LONGEST)?.unwrap_or_default(),
        })
    }
}

/// A way back to an earlier version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rollback {
    pub(crate) to: u64,
    pub(crate) note: String,
}

impl Rollback {
    /// Reads the body of a rollback.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        expect_json(headers)?;
        let object = object(body, &["to", "note"])?;
        let to = object.get("to").and_then(Json::as_u64);
        let to = to.ok_or_else(|| Fault::field("to", "expected the number of a version"))?;
        let note = text(&object, "note", LONGEST)?.unwrap_or_else(|| format!("back to version {to}"));
        Ok(Self { to, note })
    }
}

/// A key that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewKey {
    pub(crate) agent: String,
    /// In milliseconds since the Unix epoch.
    pub(crate) expires: Option<u64>,
    pub(crate) comment: Option<String>,
}

impl NewKey {
    /// Reads the body of a request for a key.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        expect_json(headers)?;
        let object = object(body, &["agent", "expires", "comment"])?;
        let agent = text(&object, "agent", LONGEST_NAME)?.map(|agent| agent.trim().to_owned());
        let agent = agent.filter(|agent| !agent.is_empty());
        let expires = text(&object, "expires", LONGEST)?.map(|time| {
            parse_time(&time)
                .ok_or_else(|| Fault::field("expires", "expected a time such as 2026-07-28T12:00:00Z"))
        });
        Ok(Self {
            agent: agent.ok_or_else(|| Fault::field("agent", "expected an agent's name"))?,
            expires: expires.transpose()?,
            comment: text(&object, "comment", LONGEST_NAME)?,
        })
    }
}

/// An entry of the configuration that is to be written.
#[cfg(feature = "control")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewEntry {
    /// Its name, where the path does not say it.
    pub(crate) name: Option<String>,
    pub(crate) settings: serde_json::Value,
    pub(crate) note: Option<String>,
}

#[cfg(feature = "control")]
impl NewEntry {
    /// Reads the body of a write; one that adds has the name.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8], adds: bool) -> Result<Self, Fault> {
        expect_json(headers)?;
        let known: &[&str] = if adds { &["name", "settings", "note"] } else { &["settings", "note"] };
        let object = object(body, known)?;
        let settings = object.get("settings").filter(|settings| settings.is_object());
        let settings = settings.and_then(|settings| serde_json::from_str(settings.text()).ok());
        let name = text(&object, "name", LONGEST_NAME)?.filter(|name| !adds || !name.trim().is_empty());
        if adds && name.is_none() {
            return Err(Fault::field("name", "expected a name"));
        }
        let expected = "expected an object, as the native format has it";
        Ok(Self {
            name,
            settings: settings.ok_or_else(|| Fault::field("settings", expected))?,
            note: text(&object, "note", LONGEST)?,
        })
    }
}

/// What somebody wants to know of the policy.
#[cfg(feature = "control")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) agent: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) kind: crate::config::ItemKind,
    pub(crate) name: String,
    /// As JSON text.
    pub(crate) arguments: Option<String>,
}

#[cfg(feature = "control")]
impl Question {
    /// Reads the body of a question.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        use crate::config::ItemKind;

        expect_json(headers)?;
        let object = object(body, &["agent", "client", "tag", "tool", "kind", "arguments"])?;
        let kind = match object.get("kind").map(Json::as_str) {
            None => Some(ItemKind::Tool),
            Some(word) => match word.as_deref() {
                Some("tool") => Some(ItemKind::Tool),
                Some("prompt") => Some(ItemKind::Prompt),
                Some("resource") => Some(ItemKind::Resource),
                _ => None,
            },
        };
        let name = text(&object, "tool", LONGEST)?.filter(|name| !name.is_empty());
        Ok(Self {
            agent: text(&object, "agent", LONGEST_NAME)?,
            client: text(&object, "client", LONGEST_NAME)?,
            tag: text(&object, "tag", LONGEST_NAME)?,
            kind: kind.ok_or_else(|| Fault::field("kind", "expected tool, prompt or resource"))?,
            name: name.ok_or_else(|| Fault::field("tool", "expected a name, or `SERVER/NAME`"))?,
            arguments: arguments(&object)?,
        })
    }
}

/// A tool that is to be called as an agent.
#[cfg(feature = "control")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TriedCall {
    pub(crate) agent: Option<String>,
    pub(crate) name: String,
    /// As JSON text.
    pub(crate) arguments: Option<String>,
}

#[cfg(feature = "control")]
impl TriedCall {
    /// Reads the body of a call.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        expect_json(headers)?;
        let object = object(body, &["agent", "name", "arguments"])?;
        let name = text(&object, "name", LONGEST)?.filter(|name| !name.is_empty());
        Ok(Self {
            agent: text(&object, "agent", LONGEST_NAME)?,
            name: name.ok_or_else(|| Fault::field("name", "expected the name of a tool"))?,
            arguments: arguments(&object)?,
        })
    }
}

/// Returns the arguments of a call, as JSON text.
#[cfg(feature = "control")]
pub(crate) fn arguments(object: &Object<'_>) -> Result<Option<String>, Fault> {
    let Some(value) = object.get("arguments").filter(|value| !value.is_null()) else { return Ok(None) };
    if !value.is_object() {
        return Err(Fault::field("arguments", "expected an object"));
    }
    Ok(Some(value.text().to_owned()))
}

/// Reads how the list of versions is to be cut: `before` and `limit` of a query.
pub(crate) fn page(query: Option<&str>) -> Result<(u64, usize), Fault> {
    let (mut before, mut limit) = (u64::MAX, LISTED.0);
    for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*key {
            "before" => before = value.parse().map_err(|_| Fault::field("before", "expected a version"))?,
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=LISTED.1).contains(number));
                limit = number.ok_or_else(|| {
                    Fault::field("limit", &format!("expected a number from 1 to {}", LISTED.1))
                })?;
            }
            _ => return Err(Fault::field(&key, "unknown parameter; known: before, limit")),
        }
    }
    Ok((before, limit))
}

pub(super) fn expect_json(headers: &HeaderMap) -> Result<(), Fault> {
    if names::media_type(headers) == "application/json" {
        Ok(())
    } else {
        Err(unsupported("application/json"))
    }
}

fn unsupported(expected: &str) -> Fault {
    let detail = format!("Content-Type must be {expected}");
    Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", detail)
}

/// Reads a JSON object that has no other members than these.
pub(super) fn object<'b>(body: &'b [u8], known: &[&str]) -> Result<Object<'b>, Fault> {
    let json = Json::check(body);
    let json =
        json.map_err(|bad| malformed(&format!("the body is no JSON: {} at byte {}", bad.what, bad.at)))?;
    let object = members(json, "the body")?;
    let unknown = object.iter().map(|(key, _)| key).find(|key| !known.contains(&&***key));
    match unknown {
        Some(key) => Err(Fault::field(key, &format!("unknown field; known: {}", known.join(", ")))),
        None => Ok(object),
    }
}

/// Returns a text of at most that many characters, none of which is a control character.
pub(super) fn text(object: &Object<'_>, field: &str, longest: usize) -> Result<Option<String>, Malformed> {
    let Some(value) = object.get(field).filter(|value| !value.is_null()) else { return Ok(None) };
    let text = value.as_str().map(std::borrow::Cow::into_owned);
    let text = text.filter(|text| text.chars().count() <= longest && !text.chars().any(char::is_control));
    let wanted = || format!("expected a text of at most {longest} characters without control characters");
    text.map(Some).ok_or_else(|| Malformed::new(field, wanted()))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(all: &[(HeaderName, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn json(body: &str, read: impl Fn(&HeaderMap, &[u8]) -> Result<String, Fault>) -> String {
        let headers = headers(&[(header::CONTENT_TYPE, "application/json")]);
        read(&headers, body.as_bytes())
            .unwrap_or_else(|fault| format!("{} {}", fault.status.as_u16(), fault.detail))
    }

    #[test]
    fn conditions_are_read() {
        let check =
            |all: &[(HeaderName, &str)]| Condition::of(&headers(all)).map_err(|fault| fault.status.as_u16());
        assert_eq!(check(&[]), Ok(None));
        assert_eq!(check(&[(header::IF_MATCH, "\"3\"")]), Ok(Some(Condition::Version(3))));
        assert_eq!(check(&[(header::IF_MATCH, "W/\"3\"")]), Ok(Some(Condition::Version(3))));
        assert_eq!(check(&[(header::IF_MATCH, "\"3.AVq9\"")]), Ok(Some(Condition::Version(3))));
        assert_eq!(check(&[(header::IF_MATCH, "*")]), Ok(Some(Condition::Any)));
        assert_eq!(check(&[(header::IF_NONE_MATCH, "*")]), Ok(Some(Condition::Version(0))));
        for odd in ["3", "\".3\"", "\"\"", "\"x\"", "\"1\", \"2\"", "\"1.a\", \"2.b\"", "\"-1\""] {
            assert_eq!(check(&[(header::IF_MATCH, odd)]), Err(400), "{odd}");
        }
        assert_eq!(check(&[(header::IF_MATCH, "*"), (header::IF_NONE_MATCH, "*")]), Err(400));
        assert_eq!(Condition::required(&HeaderMap::new()).unwrap_err().status, 428);
    }

    #[test]
    fn pushes_are_read() {
        let check = |body: &str| {
            json(body, |headers, body| {
                Pushed::read(headers, body).map(|pushed| pushed.note + &pushed.document.to_text())
            })
        };
        insta::assert_snapshot!(check(r#"{"files":{"a":"b"},"note":"why: "}"#), @r#"why: {"files":{"a":"b"}}"#);
        insta::assert_snapshot!(check("version: 1"), @"400 the body is no JSON: expected a value at byte 0");
        insta::assert_snapshot!(check("[]"), @"400 the body: expected a JSON object");
        insta::assert_snapshot!(check("{}"), @"400 files: is missing");
        insta::assert_snapshot!(check(r#"{"files":{"a":"b"},"file":1}"#), @"400 file: unknown field; known: files, overlays, note");
        insta::assert_snapshot!(check(r#"{"files":{"a":"b"},"note":7}"#), @"400 note: expected a text of at most 1000 characters without control characters");
        let yaml = headers(&[(header::CONTENT_TYPE, "application/yaml; charset=utf-8")]);
        assert_eq!(Pushed::read(&yaml, b"version: 1").unwrap().document, Document::native("version: 1"));
        assert_eq!(Pushed::read(&yaml, b"\xff").unwrap_err().status, 400);
        assert_eq!(Pushed::read(&HeaderMap::new(), b"{}").unwrap_err().status, 415);
    }

    #[test]
    fn ways_back_and_keys_are_read() {
        let back = |body: &str| {
            json(body, |headers, body| {
                Rollback::read(headers, body).map(|back| format!("{} {}", back.to, back.note))
            })
        };
        insta::assert_snapshot!(back(r#"{"to":3}"#), @"3 back to version 3");
        insta::assert_snapshot!(back(r#"{"to":"3"}"#), @"400 to: expected the number of a version");
        let key = |body: &str| {
            json(body, |headers, body| NewKey::read(headers, body).map(|key| format!("{key:?}")))
        };
        insta::assert_snapshot!(key(r#"{"agent":" coder ","expires":"2026-07-28"}"#), @r#"NewKey { agent: "coder", expires: Some(1785196800000), comment: None }"#);
        insta::assert_snapshot!(key(r#"{"agent":" "}"#), @"400 agent: expected an agent's name");
        insta::assert_snapshot!(key(r#"{"agent":"a","expires":"soon"}"#), @"400 expires: expected a time such as 2026-07-28T12:00:00Z");
        insta::assert_snapshot!(key(r#"{"agent":"a\nb"}"#), @"400 agent: expected a text of at most 128 characters without control characters");
    }

    #[test]
    fn lists_are_cut() {
        assert_eq!(page(None), Ok((u64::MAX, 100)));
        assert_eq!(page(Some("before=7&limit=2")), Ok((7, 2)));
        for odd in ["before=x", "limit=0", "limit=1001", "after=1"] {
            assert_eq!(page(Some(odd)).unwrap_err().status, 400, "{odd}");
        }
    }
}
