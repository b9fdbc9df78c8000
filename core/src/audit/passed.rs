//! An entry on its way from one process of the gateway to the one that keeps the trail.
//!
//! **What it says of its principal is not asked**: whoever takes it knows whose instance it comes from. What is only ever one
//! of a few texts is taken for one of those, or for none.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Arguments, Decision, Entry};
use crate::flow::described_as;
use crate::identity::AuthKind;
use crate::observe;

/// The eras that an entry may name.
const ERAS: [&str; 2] = ["modern", "legacy"];
/// What entries are of that no agent has asked for.
const OTHERS: [&str; 3] = ["definition", "egress", "elicitation/create"];

/// What is passed of an entry.
#[derive(Serialize, Deserialize)]
struct Passed {
    time: u64,
    agent: Option<Arc<str>>,
    auth: AuthKind,
    client: Option<Arc<str>>,
    era: String,
    method: String,
    server: Option<Arc<str>>,
    name: Option<Box<str>>,
    upstream_name: Option<Arc<str>>,
    decision: String,
    rule: Option<Arc<str>>,
    error: Option<String>,
    arguments: Option<String>,
    digest: Option<[u8; 32]>,
    result_bytes: Option<u64>,
    is_error: Option<bool>,
    duration: Duration,
    upstream: Option<Duration>,
    request_id: Option<Box<str>>,
    trace: Option<(u64, u64)>,
}

impl Entry {
    /// Returns the entry as JSON text, to be passed on.
    pub fn to_passed(&self) -> String {
        let (arguments, digest) = match &self.arguments {
            Arguments::None => (None, None),
            Arguments::Text(text) => (Some(String::from_utf8_lossy(text).into_owned()), None),
            Arguments::Digest(digest) => (None, Some(*digest)),
        };
        let passed = Passed {
            time: self.time,
            agent: self.agent.clone(),
            auth: self.auth,
            client: self.client.clone(),
            era: self.era.to_owned(),
            method: self.method.to_owned(),
            server: self.server.clone(),
            name: self.name.clone(),
            upstream_name: self.upstream_name.clone(),
            decision: self.decision.as_str().to_owned(),
            rule: self.rule.clone(),
            error: self.error.as_deref().map(str::to_owned),
            arguments,
            digest,
            result_bytes: self.result_bytes,
            is_error: self.is_error,
            duration: self.duration,
            upstream: self.upstream,
            request_id: self.request_id.clone(),
            trace: self.trace.map(halves),
        };
        serde_json::to_string(&passed).unwrap_or_default()
    }

    /// Reads what was passed on by the instance of a principal, at this gateway; nothing where it is none.
    pub fn of_passed(text: &str, principal: Option<&Arc<str>>, gateway: &Arc<str>) -> Option<Self> {
        let passed: Passed = serde_json::from_str(text).ok()?;
        let decisions = [Decision::Allowed, Decision::Failed, Decision::Denied];
        let arguments = match (passed.arguments, passed.digest) {
            (Some(text), _) => Arguments::Text(text.into()),
            (None, Some(digest)) => Arguments::Digest(digest),
            (None, None) => Arguments::None,
        };
        Some(Self {
            time: passed.time,
            gateway: gateway.clone(),
            agent: passed.agent,
            principal: principal.cloned(),
            auth: passed.auth,
            client: passed.client,
            era: ERAS.into_iter().find(|era| *era == passed.era).unwrap_or_default(),
            method: method(&passed.method),
            server: passed.server,
            name: passed.name,
            upstream_name: passed.upstream_name,
            decision: decisions.into_iter().find(|decision| decision.as_str() == passed.decision)?,
            rule: passed.rule,
            error: passed.error.map(Into::into),
            arguments,
            result_bytes: passed.result_bytes,
            is_error: passed.is_error,
            duration: passed.duration,
            upstream: passed.upstream,
            request_id: passed.request_id,
            trace: passed.trace.map(|(high, low)| (u128::from(high) << 64) | u128::from(low)),
        })
    }
}

fn method(text: &str) -> &'static str {
    let is_it = |known: &&'static str| *known == text;
    let own = OTHERS.into_iter().find(is_it).or_else(|| described_as(text));
    own.unwrap_or_else(|| observe::known_method(text))
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of it")]
fn halves(trace: u128) -> (u64, u64) {
    ((trace >> 64) as u64, trace as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            time: 7,
            agent: Some("coder".into()),
            principal: Some("key:somebody-else".into()),
            auth: AuthKind::ApiKey,
            era: "modern",
            method: "tools/call",
            name: Some("s__t".into()),
            decision: Decision::Denied,
            error: Some("no".into()),
            arguments: Arguments::Text(r#"{"a":1}"#.into()),
            duration: Duration::from_micros(5),
            trace: Some(1 << 100 | 3),
            ..Entry::default()
        }
    }

    #[test]
    fn what_is_passed_on_is_the_same_but_for_whom_it_names() {
        let (principal, gateway) = ("key:own".into(), "g".into());
        let taken = Entry::of_passed(&entry().to_passed(), Some(&principal), &gateway).expect("an entry");
        assert_eq!(taken, Entry { principal: Some(principal), gateway, ..entry() });
    }

    #[test]
    fn what_is_none_of_the_texts_there_are_is_none() {
        let gateway = "g".into();
        let taken = |entry: Entry, from: &str, to: &str| {
            Entry::of_passed(&entry.to_passed().replace(from, to), None, &gateway)
        };
        let method = |known: &'static str, to| {
            taken(Entry { method: known, ..entry() }, known, to).expect("an entry").method
        };
        assert_eq!(method("tools/call", "tools/\\ncall"), "_OTHER");
        assert_eq!(method("POST /mcp", "POST /mcp"), "POST /mcp");
        assert_eq!(method("definition", "definition"), "definition");
        assert_eq!(taken(entry(), "modern", "else").expect("an entry").era, "");
        assert_eq!(taken(entry(), "denied", "perhaps"), None);
    }
}
