//! What is asked of a fleet: enrolments, rollouts, what a gateway enrols with, and the query of one that wants a snapshot.

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};

use super::ROOT;
use super::rollout::{Plan, Stage};
use super::token::is_id;
use crate::audit::parse_time;
use crate::control::answer::Fault;
use crate::control::request::{expect_json, object, text};
use crate::sorted::SortedMap;
use crate::wire::json::{Json, Object};

/// The longest name, label and value, in characters.
const LONGEST: usize = 64;
/// The longest note, in characters.
const LONGEST_NOTE: usize = 1000;
/// The most labels and the most stages.
const MOST: usize = 32;
/// For how long an enrolment waits where nothing is said, and at most, in milliseconds.
const WAITS: (u64, u64) = (3_600_000, 7 * 86_400_000);
/// For how long a gateway may have its question wait, in seconds.
const LONGEST_WAIT: u64 = 55;

/// What a path leads to at which gateways ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// `enrol`
    Enrol,
    /// `snapshot`
    Snapshot,
    /// `report`
    Report,
    /// `trail`
    Trail,
}

impl Step {
    const ALL: [(&'static str, Self); 4] = [
        ("/fleet/v1/enrol", Self::Enrol),
        ("/fleet/v1/snapshot", Self::Snapshot),
        ("/fleet/v1/report", Self::Report),
        ("/fleet/v1/trail", Self::Trail),
    ];

    /// Finds what a path leads to, and the pattern that it follows.
    pub(crate) fn at(path: &str) -> Option<(&'static str, Self)> {
        path.starts_with(ROOT).then(|| Self::ALL.into_iter().find(|(whole, _)| *whole == path)).flatten()
    }

    /// Returns the method that is answered there.
    pub(crate) fn method(self) -> &'static str {
        if self == Self::Snapshot { "GET" } else { "POST" }
    }
}

/// An enrolment that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewEnrolment {
    pub(crate) name: String,
    pub(crate) labels: SortedMap<String, String>,
    /// In milliseconds since the Unix epoch.
    pub(crate) expires: u64,
}

impl NewEnrolment {
    pub(crate) fn read(headers: &HeaderMap, body: &[u8], now: u64) -> Result<Self, Fault> {
        expect_json(headers)?;
        let object = object(body, &["name", "labels", "expires"])?;
        let name = text(&object, "name", LONGEST)?.filter(|name| is_name(name));
        let name = name.ok_or_else(|| {
            Fault::field("name", &format!("expected 1 to {LONGEST} letters, digits, `.`, `_` and `-`"))
        })?;
        let expires = match text(&object, "expires", LONGEST)? {
            None => now + WAITS.0,
            Some(time) => parse_time(&time)
                .filter(|time| (now..=now + WAITS.1).contains(time))
                .ok_or_else(|| Fault::field("expires", "expected a time within the next 7 days"))?,
        };
        Ok(Self { name, labels: labels(&object)?, expires })
    }
}

impl Plan {
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        expect_json(headers)?;
        let object = object(body, &["version", "stages", "note"])?;
        let version = match object.get("version").filter(|version| !version.is_null()) {
            None => None,
            Some(version) => {
                let wanted = || Fault::field("version", "expected the number of a version");
                Some(version.as_u64().ok_or_else(wanted)?)
            }
        };
        let stages = object.get("stages").filter(|stages| stages.is_array());
        let stages: Vec<_> =
            stages.iter().flat_map(|list| list.elements()).map(stage).collect::<Result<_, _>>()?;
        if !(1..=MOST).contains(&stages.len()) {
            return Err(Fault::field("stages", &format!("expected a list of 1 to {MOST} stages")));
        }
        Ok(Self { version, stages, note: text(&object, "note", LONGEST_NOTE)?.unwrap_or_default() })
    }
}

fn stage(json: Json<'_>) -> Result<Stage, Fault> {
    let wanted = || {
        Fault::field(
            "stages",
            "expected for each stage `gateways`, a list of names, `labels`, or `agents`, a list of names",
        )
    };
    let object = object(json.text().as_bytes(), &["gateways", "labels", "agents"]).map_err(|_| wanted())?;
    let names = |key: &str, is_one: fn(&str) -> bool| -> Result<Vec<String>, Fault> {
        let names = object.get(key).filter(|names| names.is_array());
        let name = |name: Json<'_>| name.as_str().map(Cow::into_owned).filter(|name| is_one(name));
        names.iter().flat_map(|list| list.elements()).map(name).collect::<Option<_>>().ok_or_else(wanted)
    };
    let stage = Stage {
        gateways: names("gateways", is_name)?,
        labels: labels(&object)?,
        agents: names("agents", is_agent)?,
    };
    if stage == Stage::default() { Err(wanted()) } else { Ok(stage) }
}

/// Tells whether an agent can be called so.
fn is_agent(name: &str) -> bool {
    !name.is_empty() && name.chars().count() <= LONGEST && !name.chars().any(char::is_control)
}

fn labels(object: &Object<'_>) -> Result<SortedMap<String, String>, Fault> {
    let Some(json) = object.get("labels").filter(|labels| !labels.is_null()) else {
        return Ok(SortedMap::new());
    };
    let wanted = || {
        Fault::field(
            "labels",
            &format!(
                "expected at most {MOST} labels, each a name and a text of at most {LONGEST} characters"
            ),
        )
    };
    let object = json.is_object().then(|| json.object().ok()).flatten().ok_or_else(wanted)?;
    let read = |(label, value): (&Cow<'_, str>, &Json<'_>)| {
        let value = value.as_str()?.into_owned();
        let sound =
            is_name(label) && value.chars().count() <= LONGEST && !value.chars().any(char::is_control);
        sound.then(|| (label.to_string(), value))
    };
    let labels: SortedMap<_, _> = object
        .iter()
        .map(|(label, value)| read((label, &value)))
        .collect::<Option<_>>()
        .ok_or_else(wanted)?;
    if labels.len() > MOST { Err(wanted()) } else { Ok(labels) }
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(is_plain)
}

/// Reads whether a promotion is to all at once.
pub(crate) fn to_all(headers: &HeaderMap, body: &[u8]) -> Result<bool, Fault> {
    if body.is_empty() {
        return Ok(false);
    }
    expect_json(headers)?;
    let object = object(body, &["all"])?;
    match object.get("all").map(Json::text) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Fault::field("all", "expected true or false")),
    }
}

/// What a gateway enrols with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Enrols {
    /// The enrolment's id.
    pub(crate) enrolment: String,
    /// The control plane's fingerprint.
    pub(crate) fleet: String,
    /// The gateway's public key.
    pub(crate) key: String,
    /// The host it runs on.
    pub(crate) host: String,
    pub(crate) program: String,
}

impl Enrols {
    /// Reads a request to enrol; nothing where it is none.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let asked: Self = serde_json::from_slice(body).ok()?;
        let short = [&asked.host, &asked.program].iter().all(|text| text.len() <= LONGEST);
        (short && is_id(&asked.enrolment)).then_some(asked)
    }
}

/// Reads what a gateway has, and how many milliseconds its question may wait.
pub(crate) fn poll(query: Option<&str>) -> Result<(u64, u64), Fault> {
    let (mut version, mut wait) = (0, 0);
    for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let number = || value.parse::<u64>().map_err(|_| Fault::field(&key, "expected a number"));
        match &*key {
            "version" => version = number()?,
            "wait" => wait = number()?.min(LONGEST_WAIT) * 1000,
            _ => return Err(Fault::field(&key, "unknown parameter; known: version, wait")),
        }
    }
    Ok((version, wait))
}

/// The fault of a gateway that is not known, or does not prove to be the one it says: which of it, is not told.
pub(crate) fn unknown() -> Fault {
    Fault::new(StatusCode::UNAUTHORIZED, "unauthorized", "this is no gateway of the fleet")
}

/// The fault of an enrolment that is not there, is over, was used, or is not this one's: which of it, is not told.
pub(crate) fn no_enrolment() -> Fault {
    Fault::new(StatusCode::FORBIDDEN, "enrolment", "the enrolment token is not valid, or no longer")
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn headers() -> HeaderMap {
        [(header::CONTENT_TYPE, "application/json".parse().unwrap())].into_iter().collect()
    }

    fn said<T: std::fmt::Debug>(read: Result<T, Fault>) -> String {
        read.map_or_else(
            |fault| format!("{} {}", fault.status.as_u16(), fault.detail),
            |read| format!("{read:?}"),
        )
    }

    #[test]
    fn enrolments_are_read() {
        let check = |body: &str| said(NewEnrolment::read(&headers(), body.as_bytes(), 1_000));
        insta::assert_snapshot!(check(r#"{"name":"eu-1","labels":{"ring":"early"}}"#), @r#"NewEnrolment { name: "eu-1", labels: {"ring": "early"}, expires: 3601000 }"#);
        insta::assert_snapshot!(check(r#"{"name":"a b"}"#), @"400 name: expected 1 to 64 letters, digits, `.`, `_` and `-`");
        insta::assert_snapshot!(check(r#"{"name":"a","labels":{"a":1}}"#), @"400 labels: expected at most 32 labels, each a name and a text of at most 64 characters");
        insta::assert_snapshot!(check(r#"{"name":"a","expires":"2999-01-01"}"#), @"400 expires: expected a time within the next 7 days");
    }

    #[test]
    fn rollouts_are_read() {
        let check = |body: &str| said(Plan::read(&headers(), body.as_bytes()));
        insta::assert_snapshot!(check(r#"{"version":3,"stages":[{"gateways":["a"]},{"labels":{"ring":"early"}}],"note":"why"}"#), @r#"Plan { version: Some(3), stages: [Stage { gateways: ["a"], labels: {}, agents: [] }, Stage { gateways: [], labels: {"ring": "early"}, agents: [] }], note: "why" }"#);
        insta::assert_snapshot!(check(r#"{"stages":[]}"#), @"400 stages: expected a list of 1 to 32 stages");
        insta::assert_snapshot!(check(r#"{"stages":[{}]}"#), @"400 stages: expected for each stage `gateways`, a list of names, `labels`, or `agents`, a list of names");
        insta::assert_snapshot!(check(r#"{"stages":[{"for":"10m"}]}"#), @"400 stages: expected for each stage `gateways`, a list of names, `labels`, or `agents`, a list of names");
        insta::assert_snapshot!(check(r#"{"version":"3","stages":[{"gateways":["a"]}]}"#), @"400 version: expected the number of a version");
        assert_eq!(to_all(&HeaderMap::new(), b"").ok(), Some(false));
        assert_eq!(to_all(&headers(), br#"{"all":true}"#).ok(), Some(true));
        insta::assert_snapshot!(said(to_all(&headers(), br#"{"all":1}"#)), @"400 all: expected true or false");
    }

    #[test]
    fn questions_are_read() {
        assert_eq!(poll(None).ok(), Some((0, 0)));
        assert_eq!(poll(Some("version=3&wait=900")).ok(), Some((3, 55_000)));
        insta::assert_snapshot!(said(poll(Some("wait=x"))), @"400 wait: expected a number");
        assert_eq!(Step::at("/fleet/v1/enrol"), Some(("/fleet/v1/enrol", Step::Enrol)));
        assert_eq!(Step::at("/fleet/v1/enrol/"), None);
    }
}
