//! Requests that are sent again: by which key one is known (`Idempotency-Key`), and what was answered the first time.
//!
//! **An answer that has a secret is not kept**, nor one that is long: then it is said what was made. **What is kept is bounded**:
//! whoever uses many keys waits for the next hour.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::Fault;
use super::digest;
use crate::ports::RecordKey;
use crate::wire::http as names;

/// For how long an answer is given again, in milliseconds.
pub(crate) const KEPT: u64 = 24 * 60 * 60 * 1000;
/// For how long a request may be under way, in milliseconds: whoever does it may have gone away.
const UNDER_WAY: u64 = 60_000;
/// How many keys somebody may use in each hour; so that what is kept of them is bounded.
const MOST: u32 = 500;
const HOUR: u64 = 60 * 60 * 1000;
/// The longest key, in characters.
const LONGEST: usize = 255;
/// The longest answer that is kept, in bytes.
const LARGEST: usize = 16 << 10;

/// The members of an answer that are shown once.
const SECRETS: [&str; 3] = ["key", "token", "secret"];

/// What is known of a request that came with a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Tells the request from any other.
    request: String,
    /// When it came, in milliseconds since the Unix epoch.
    since: u64,
    /// What was answered, once it was.
    answer: Option<Given>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    pub(crate) status: u16,
    pub(crate) tag: Option<String>,
    /// The body, where it may be kept.
    pub(crate) body: Option<String>,
    /// What was made, where it is not.
    made: Option<String>,
}

/// What a request with a key comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// It is to be done, provided that what was read is still there.
    Do,
    /// It was answered.
    Answered(Given),
}

/// Reads the key that a request is known by; nothing where it has none.
pub(crate) fn key_of(headers: &HeaderMap, principal: &str) -> Result<Option<RecordKey>, Fault> {
    let malformed = |message: &str| Fault::field("Idempotency-Key", message);
    let name = http::HeaderName::from_static("idempotency-key");
    let key = names::single(headers, &name).map_err(|bad| malformed(&bad.to_string()))?;
    let Some(key) = key else { return Ok(None) };
    if key.is_empty() || key.len() > LONGEST {
        return Err(malformed("expected 1 to 255 characters"));
    }
    Ok(Some(RecordKey::new("idempotency", digest(&format!("{principal}\n{key}")))))
}

/// Returns where it is counted how many keys somebody uses in this hour.
pub(crate) fn count_of(principal: &str, now: u64) -> RecordKey {
    RecordKey::new("idempotency-count", digest(&format!("{principal}\n{}", now / HOUR)))
}

/// Counts another key; refuses it where there are too many.
pub(crate) fn counted(count: Option<&str>, now: u64) -> Result<String, Fault> {
    let count: u32 = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    if count < MOST {
        return Ok((count + 1).to_string());
    }
    let mut fault = Fault::too_often(Duration::from_millis(HOUR - now % HOUR));
    fault.detail = format!("{MOST} keys in `Idempotency-Key` were used within the hour");
    Err(fault)
}

/// Returns what tells a request from any other.
pub(crate) fn request(operation: &str, query: Option<&str>, body: &[u8]) -> String {
    let mut text = format!("{operation}\n{}\n", query.unwrap_or_default()).into_bytes();
    text.extend_from_slice(body);
    crate::audit::digest(&text)
}

impl Known {
    /// What is known of a request that is about to be done.
    pub(crate) fn begun(request: String, now: u64) -> Self {
        Self { request, since: now, answer: None }
    }

    /// Returns what tells the request from any other.
    pub(crate) fn request(&self) -> &str {
        &self.request
    }

    /// Reads what is known.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Returns its text.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }

    /// Takes note of the answer.
    pub(crate) fn answered(self, status: StatusCode, tag: Option<&str>, body: &[u8]) -> Self {
        let said: Value = serde_json::from_slice(body).unwrap_or_default();
        let has_secret = SECRETS.into_iter().any(|name| said.get(name).is_some());
        let is_kept = !has_secret && body.len() <= LARGEST;
        let made = said["id"].as_str().map(str::to_owned);
        let body = is_kept.then(|| String::from_utf8_lossy(body).into_owned());
        let given = Given {
            status: status.as_u16(),
            tag: tag.map(str::to_owned),
            made: made.filter(|_| !is_kept),
            body,
        };
        Self { answer: Some(given), ..self }
    }

    /// Decides what the same key comes to once more.
    pub(crate) fn again(self, request: &str, now: u64) -> Result<Again, Fault> {
        if self.request != request {
            let detail = "the `Idempotency-Key` was used for another request";
            return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail));
        }
        match self.answer {
            Some(given) if given.body.is_some() => Ok(Again::Answered(given)),
            Some(given) => {
                let made = given.made.map(|id| format!(" and made {id}")).unwrap_or_default();
                let detail = format!("it was done before{made}; what was answered is not told again");
                Err(Fault::new(StatusCode::CONFLICT, "done-before", detail))
            }
            None if now >= self.since + UNDER_WAY => Ok(Again::Do),
            None => Err(Fault::new(StatusCode::CONFLICT, "under-way", "the same request is being done")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_by_the_hour() {
        let (now, later) = (HOUR * 1000 + 10_000, HOUR * 1001);
        assert_eq!(count_of("ann", now), count_of("ann", later - 1));
        assert_ne!(count_of("ann", now), count_of("ann", later));
        assert_ne!(count_of("ann", now), count_of("bob", now));
        assert_eq!(counted(None, now).ok().as_deref(), Some("1"));
        assert_eq!(counted(Some("499"), now).ok().as_deref(), Some("500"));
        let fault = counted(Some("500"), now).expect_err("one too many");
        let reply = fault.reply();
        assert_eq!(
            (reply.status(), &reply.headers()["retry-after"]),
            (StatusCode::TOO_MANY_REQUESTS, &"3590".parse().expect("ASCII"))
        );
    }

    #[test]
    fn a_request_is_known_again() {
        let known = Known::begun(request("POST /x", None, b"{}"), 1000);
        let again = |known: &Known, body: &[u8], now| {
            let known = Known::parse(&known.to_text()).expect("it was written here");
            match known.again(&request("POST /x", None, body), now) {
                Ok(Again::Do) => "do".to_owned(),
                Ok(Again::Answered(given)) => format!("{} {}", given.status, given.body.unwrap_or_default()),
                Err(fault) => fault.detail,
            }
        };
        insta::assert_snapshot!(again(&known, b"{}", 2000), @"the same request is being done");
        insta::assert_snapshot!(again(&known, b"{}", 61_000), @"do");
        insta::assert_snapshot!(again(&known, b"[]", 61_000), @"the `Idempotency-Key` was used for another request");
        let answered = known.clone().answered(StatusCode::CREATED, None, b"{\"version\":1}");
        insta::assert_snapshot!(again(&answered, b"{}", 2000), @r#"201 {"version":1}"#);
        let secret = known.answered(StatusCode::CREATED, None, b"{\"id\":\"a1\",\"key\":\"pcl_x\"}");
        assert!(!secret.to_text().contains("pcl_x"));
        insta::assert_snapshot!(again(&secret, b"{}", 2000), @"it was done before and made a1; what was answered is not told again");
    }
}
