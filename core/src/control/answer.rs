//! What the admin API answers: JSON, entity tags, and errors as RFC 9457 has them.
//!
//! **Nothing of it is to be kept by anybody on the way**, and no error repeats a secret.

use std::fmt::Write as _;

use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::document::Malformed;
use super::who::Role;
use super::{Document, Kept, Stamp, StoreError};
use crate::audit::time_text;
use crate::body::{self, CollectError, Reply};
#[cfg(feature = "control")]
use crate::config::{NotEdited, Origin};
use crate::config::{Problem, Severity};

/// The media type of errors (RFC 9457).
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why a request to the admin API is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    /// For programs.
    code: &'static str,
    /// For people.
    pub(crate) detail: String,
    /// What is wrong, field by field.
    pub(crate) errors: Vec<Value>,
    /// The version in force, where that is the matter.
    version: Option<u64>,
    /// When to try again, in seconds, where that is the matter.
    retry_after: Option<u64>,
}

impl From<CollectError> for Fault {
    fn from(error: CollectError) -> Self {
        let status = match error {
            CollectError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            CollectError::Broken(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, "body", error.to_string())
    }
}

impl Fault {
    /// Makes a fault of one sentence.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), version: None, retry_after: None }
    }

    /// Makes the fault of a field that is not as it should be.
    pub(crate) fn field(field: &str, message: &str) -> Self {
        let errors = vec![json!({ "field": field, "message": message })];
        Self { errors, ..Self::new(StatusCode::BAD_REQUEST, "malformed", format!("{field}: {message}")) }
    }

    /// Answers it with another status.
    #[cfg(feature = "control")]
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Makes the fault of a configuration that has errors.
    pub(crate) fn invalid(problems: &[Problem]) -> Self {
        let count = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        let detail = match count {
            1 => "the configuration has an error; nothing has changed".to_owned(),
            _ => format!("the configuration has {count} errors; nothing has changed"),
        };
        let fault = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-configuration", detail);
        Self { errors: problems.iter().map(described).collect(), ..fault }
    }

    /// Makes the fault of an entry that cannot be changed without loss.
    #[cfg(feature = "control")]
    pub(crate) fn not_edited(why: &NotEdited) -> Self {
        let Origin { file, line, field } = &why.origin;
        let error = json!({ "file": &**file, "line": line, "field": field, "message": why.message });
        let fault = Self::new(StatusCode::CONFLICT, "not-editable", why.to_string());
        Self { errors: vec![error], ..fault }
    }

    /// Makes the fault of who did not know of the version in force.
    pub(crate) fn conflict(newest: u64) -> Self {
        let detail = match newest {
            0 => {
                "there is no configuration here yet: send `If-Match: \"0\"` or `If-None-Match: *`".to_owned()
            }
            _ => {
                format!("version {newest} is in force, which the request does not build on: look at it first")
            }
        };
        Self { version: Some(newest), ..Self::new(StatusCode::PRECONDITION_FAILED, "conflict", detail) }
    }

    /// Makes the fault of who lacks the admin credential.
    pub(crate) fn stranger() -> Self {
        let detail = "needs the admin credential as a bearer token";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// Makes the fault of a path that leads nowhere.
    pub(crate) fn nowhere() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is nothing at this path of the admin API")
    }

    /// Makes the fault of who may not do this.
    pub(crate) fn role(role: Role) -> Self {
        let detail = format!("the role `{}` may not do this", role.as_str());
        Self::new(StatusCode::FORBIDDEN, "role", detail)
    }

    /// Makes the fault of a request that some other page may have had a browser send.
    #[cfg(feature = "control")]
    pub(crate) fn forged(why: &str) -> Self {
        let detail = format!("the session does not count for this request: {why}");
        Self::new(StatusCode::FORBIDDEN, "forged", detail)
    }

    /// Makes the fault of who may not do what they ask for.
    #[cfg(feature = "control")]
    pub(crate) fn forbidden(why: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", why)
    }

    /// Makes the fault of who tries too often.
    #[cfg(feature = "control")]
    pub(crate) fn too_often(wait: std::time::Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        let detail = format!("tried too often; try again in {seconds} s");
        Self {
            retry_after: u64::try_from(seconds).ok(),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too-often", detail)
        }
    }

    /// Makes the fault of a version that is not there.
    pub(crate) fn no_version(version: u64) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-version", format!("there is no version {version}"))
    }

    /// Returns the answer.
    pub(crate) fn reply(&self) -> Reply {
        let mut said = Map::new();
        said.insert("type".into(), "about:blank".into());
        said.insert("title".into(), self.status.canonical_reason().unwrap_or_default().into());
        said.insert("status".into(), self.status.as_u16().into());
        said.insert("code".into(), self.code.into());
        said.insert("detail".into(), self.detail.as_str().into());
        if !self.errors.is_empty() {
            said.insert("errors".into(), self.errors.clone().into());
        }
        if let Some(version) = self.version {
            said.insert("version".into(), version.into());
        }
        let mut reply = answer(self.status, &Value::Object(said));
        reply.headers_mut().insert(header::CONTENT_TYPE, PROBLEM);
        if self.status == StatusCode::UNAUTHORIZED {
            reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            reply.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        tag(reply, self.version)
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::field(&malformed.field, &malformed.message)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let detail = format!("the gateway's store {error}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store", detail)
    }
}

/// Returns an answer of JSON.
pub(crate) fn answer(status: StatusCode, said: &Value) -> Reply {
    kept_from_caches(body::json(status, said.to_string()))
}

/// Has nobody on the way keep an answer.
pub(crate) fn kept_from_caches(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Says which version an answer is about.
pub(crate) fn tag(mut reply: Reply, version: Option<u64>) -> Reply {
    if let Some(tag) = version.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok()) {
        reply.headers_mut().insert(header::ETAG, tag);
    }
    reply
}

/// Describes a version.
pub(crate) fn stamped(stamp: &Stamp) -> Value {
    json!({
        "version": stamp.version,
        "at": time_text(stamp.at),
        "by": stamp.by,
        "note": stamp.note,
        "digest": stamp.digest,
    })
}

/// Describes a version with what it says; without one, that there is none.
pub(crate) fn whole(stamp: Option<&Stamp>, document: &Document) -> Value {
    let mut said = stamp.map_or_else(|| json!({ "version": 0 }), stamped);
    said["files"] = json!(document.files);
    said["overlays"] = json!(document.overlays);
    said
}

/// Describes a problem of a configuration, as `check --json` does.
pub fn described(problem: &Problem) -> Value {
    json!({
        "severity": match problem.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "field": problem.field,
        "message": problem.message,
        "hint": problem.hint,
    })
}

/// Describes a key; what is kept of it is no secret, and its hash is not shown.
pub fn key(kept: &Kept, now: u64) -> Value {
    let Kept { record, used } = kept;
    let state = match record.revoked {
        Some(_) => "revoked",
        None if record.is_valid(now) => "valid",
        None => "expired",
    };
    json!({
        "id": record.id,
        "agent": record.agent,
        "owner": record.owner,
        "created_by": record.created_by,
        "state": state,
        "created": moment(record.created),
        "expires": record.expires.map(moment),
        "revoked": record.revoked.map(moment),
        "last_used": used.map(moment),
        "comment": record.comment,
    })
}

/// Writes a time to the second, in UTC.
pub(crate) fn moment(time: u64) -> String {
    time_text(time / 1000 * 1000).replace(".000Z", "Z")
}

/// Returns the first error among problems in one line, and how many there are besides.
pub(crate) fn in_short(problems: &[Problem]) -> String {
    let mut errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let Some(first) = errors.next() else { return "has no error".to_owned() };
    let mut line = Problem { hint: None, ..first.clone() }.to_string();
    let others = errors.count();
    if others > 0 {
        let _ = write!(line, " (and {others} more)");
    }
    line
}
