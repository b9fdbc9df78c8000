//! What is asked of a trail that can be read again, and the pages that it is answered in.
//!
//! Where lines lie is the host's. What a query means is decided here, so that every host answers it alike. **Whose entries they
//! are is no parameter**: who answers a request narrows it, and nobody who asks can widen it.

use std::sync::Arc;

use memchr::memmem;
use url::form_urlencoded;

use super::moment::{Moment, parse_time};
use super::row::Row;
use super::text::{is_plain, write_string};
use crate::wire::json::Json;
use crate::wire::message::ObjectWriter;

/// How many entries a page has where nothing else is asked for.
pub const PAGE: usize = 100;
/// The most entries that a page has.
pub const LONGEST_PAGE: usize = 1000;
/// A page that has so many bytes of lines takes no more, so that it fits into the memory of any host.
const PAGE_BYTES: usize = 4 << 20;

/// In which order entries come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The last one first.
    #[default]
    Newest,
    /// The first one first.
    Oldest,
}

/// Which entries are wanted; what is not set, any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Of this agent.
    pub agent: Option<String>,
    /// About this server.
    pub server: Option<String>,
    /// About this tool, prompt or resource, as agents name it.
    pub tool: Option<String>,
    /// With this method.
    pub method: Option<String>,
    /// With this decision.
    pub decision: Option<String>,
    /// Of one of these principals.
    pub principals: Option<Vec<Arc<str>>>,
    /// From this moment on, in milliseconds since the Unix epoch.
    pub since: Option<u64>,
    /// Before this moment.
    pub until: Option<u64>,
    /// In which order they come.
    pub order: Order,
    /// How many a page has at most.
    pub limit: usize,
    /// Where an earlier page told to go on.
    pub cursor: Option<String>,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            agent: None,
            server: None,
            tool: None,
            method: None,
            decision: None,
            principals: None,
            since: None,
            until: None,
            order: Order::default(),
            limit: PAGE,
            cursor: None,
        }
    }
}

/// What is no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{parameter:?}: {expected}")]
pub struct BadQuery {
    /// The parameter.
    pub parameter: String,
    /// What was expected.
    pub expected: &'static str,
}

impl Query {
    /// Reads the query of a URL, at the moment `now`.
    pub fn parse(text: &str, now: u64) -> Result<Self, BadQuery> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let bad = |expected| BadQuery { parameter: name.clone().into_owned(), expected };
            let moment = || {
                let moment = Moment::parse(&value).ok_or_else(|| bad(Moment::EXPECTED));
                moment.map(|moment| Some(moment.before(now)))
            };
            match &*name {
                "agent" => query.agent = Some(value.into_owned()),
                "server" => query.server = Some(value.into_owned()),
                "tool" => query.tool = Some(value.into_owned()),
                "method" => query.method = Some(value.into_owned()),
                "decision" if ["allowed", "denied", "failed"].contains(&&*value) => {
                    query.decision = Some(value.into_owned());
                }
                "decision" => return Err(bad("expected allowed, denied or failed")),
                "since" => query.since = moment()?,
                "until" => query.until = moment()?,
                "order" => {
                    query.order = match &*value {
                        "newest" => Order::Newest,
                        "oldest" => Order::Oldest,
                        _ => return Err(bad("expected newest or oldest")),
                    }
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LONGEST_PAGE).contains(limit));
                    query.limit = limit.ok_or_else(|| bad("expected a number from 1 to 1000"))?;
                }
                "cursor" => query.cursor = Some(value.into_owned()),
                _ => return Err(bad("is no parameter of this path")),
            }
        }
        Ok(query)
    }

    /// Returns the query of a URL that [`Query::parse`] reads as this one.
    pub fn to_text(&self) -> String {
        let mut out = form_urlencoded::Serializer::new(String::new());
        let texts = [
            ("agent", &self.agent),
            ("server", &self.server),
            ("tool", &self.tool),
            ("method", &self.method),
            ("decision", &self.decision),
            ("cursor", &self.cursor),
        ];
        for (name, value) in texts {
            out.extend_pairs(value.iter().map(|value| (name, value)));
        }
        for (name, value) in [("since", self.since), ("until", self.until)] {
            out.extend_pairs(value.map(|value| (name, super::time_text(value))));
        }
        if self.order == Order::Oldest {
            out.append_pair("order", "oldest");
        }
        if self.limit != PAGE {
            out.append_pair("limit", &self.limit.to_string());
        }
        out.finish()
    }

    /// Tells whether nothing is asked of lines: then one is wanted even where it is no entry.
    pub fn wants_all(&self) -> bool {
        let is_any = self.texts().iter().all(|text| text.is_none()) && self.principals.is_none();
        is_any && self.since.is_none() && self.until.is_none()
    }

    /// Tells whether one of some lines may be wanted, by their bytes alone.
    pub fn may_be_in(&self, lines: &str) -> bool {
        // What stands for itself in a line is there byte by byte.
        let may_have =
            |text: &str| !is_plain(text) || memmem::find(lines.as_bytes(), text.as_bytes()).is_some();
        let mut texts = self.texts().into_iter().flatten();
        let principals = self.principals.as_ref();
        texts.all(|text| may_have(text))
            && principals.is_none_or(|all| all.iter().any(|principal| may_have(principal)))
    }

    fn texts(&self) -> [&Option<String>; 5] {
        [&self.agent, &self.server, &self.tool, &self.method, &self.decision]
    }

    /// Tells whether a line is one that is wanted. What is no entry never is.
    pub fn matches(&self, line: &str) -> bool {
        if !self.may_be_in(line) {
            return false;
        }
        let Some(row) = Row::read(line) else { return false };
        let is = |name: &str, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| *wanted == row.field(name))
        };
        let is_then = || {
            if self.since.is_none() && self.until.is_none() {
                return true;
            }
            let time = parse_time(&row.field("time")).unwrap_or_default();
            self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
        };
        is("agent", &self.agent)
            && is("server", &self.server)
            && is("name", &self.tool)
            && is("method", &self.method)
            && is("decision", &self.decision)
            && self.principals.as_ref().is_none_or(|all| all.iter().any(|principal| row.is_of(principal)))
            && is_then()
    }
}

/// Entries that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The lines, as they stand in the trail. There may be fewer than were asked for, or none, although more follow.
    pub lines: Vec<String>,
    /// The cursor of the next page in the same order; nothing where nothing follows.
    pub next: Option<String>,
    /// The cursor from which on the order [`Order::Oldest`] has what came after this page was made, or after its last
    /// line. Nothing where there is no entry yet.
    pub follow: Option<String>,
}

impl Page {
    /// Returns the page as one JSON document: `entries`, `cursor`, `follow`. An entry is its line, byte by byte; a line
    /// that is none is a string.
    pub fn to_json(&self) -> String {
        let mut entries = String::with_capacity(self.lines.iter().map(|line| line.len() + 1).sum());
        for line in &self.lines {
            entries.push(if entries.is_empty() { '[' } else { ',' });
            match Json::check(line.as_bytes()) {
                Ok(json) if json.is_object() => entries.push_str(line),
                _ => write_string(&mut entries, line),
            }
        }
        entries.push_str(if entries.is_empty() { "[]" } else { "]" });
        let mut out = ObjectWriter::with_capacity(entries.len() + 128);
        out.member("entries", &entries);
        for (name, cursor) in [("cursor", &self.next), ("follow", &self.follow)] {
            if let Some(cursor) = cursor {
                out.string(name, cursor);
            }
        }
        out.finish()
    }
}

/// A page that is being made.
#[derive(Debug)]
pub struct Gathering {
    limit: usize,
    bytes: usize,
    lines: Vec<String>,
}

impl Gathering {
    /// Begins the page that a query asks for.
    pub fn new(query: &Query) -> Self {
        Self { limit: query.limit.clamp(1, LONGEST_PAGE), bytes: 0, lines: Vec::new() }
    }

    /// Tells whether the page takes no more.
    pub fn is_full(&self) -> bool {
        self.lines.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    /// Takes a line.
    pub fn take(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push(line);
    }

    /// Returns the lines.
    pub fn into_lines(self) -> Vec<String> {
        self.lines
    }
}

/// Why a trail cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No page of this trail told to go on there.
    #[error("the cursor is none of this trail")]
    Cursor,
    /// The place where it lies does not answer as it should.
    #[error("the audit trail cannot be read: {0}")]
    Failed(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{Decision, Entry, FIRST, Writing};

    const NOW: u64 = 1_785_196_800_000;

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        assert_eq!(Query::parse(text, NOW).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_query_says_what_is_wrong_with_it() {
        refused("limit=0", "\"limit\": expected a number from 1 to 1000");
        refused("limit=1001", "\"limit\": expected a number from 1 to 1000");
        refused("decision=maybe", "\"decision\": expected allowed, denied or failed");
        refused("order=up", "\"order\": expected newest or oldest");
        refused("agnet=x", "\"agnet\": is no parameter of this path");
        refused(
            "since=yesterday",
            "\"since\": expected a date such as 2026-07-28, a moment such as 2026-07-28T12:00:00Z, or a time ago such as 24h",
        );
        assert_eq!(Query::parse("since=1h", NOW).unwrap().since, Some(NOW - 3_600_000));
        assert_eq!(Query::parse("", NOW).unwrap(), Query::default());
    }

    #[test]
    fn a_line_is_wanted_by_each_of_its_fields() {
        let entry = Entry {
            time: NOW,
            agent: Some("coder".into()),
            server: Some("github".into()),
            name: Some("github__x".into()),
            method: "tools/call",
            decision: Decision::Denied,
            ..Entry::default()
        };
        let line = entry.line(1, FIRST, &Writing::default());
        let check = |text: &str| Query::parse(text, NOW).unwrap().matches(&line);
        for wanted in
            ["", "agent=coder", "server=github", "tool=github__x", "method=tools%2Fcall", "decision=denied"]
        {
            assert!(check(wanted), "{wanted}");
        }
        for other in
            ["agent=Coder", "server=", "tool=x", "method=ping", "decision=allowed", "agent=coder&server=x"]
        {
            assert!(!check(other), "{other}");
        }
        assert!(check("since=2026-07-28T00:00:00Z") && !check("until=2026-07-28T00:00:00Z"));
        assert!(check("until=2026-07-28T00:00:00.001Z") && !check("since=2026-07-28T00:00:00.001Z"));
        assert!(!Query::default().matches("no line"));
        assert!(Query::default().wants_all());
        for text in ["agent=x", "method=x", "since=1h", "until=1h"] {
            assert!(!Query::parse(text, NOW).unwrap().wants_all(), "{text}");
        }
    }

    #[test]
    fn a_line_is_of_the_principal_that_it_names_and_of_no_other() {
        let line = |principal: &str| {
            let principal = Some(principal).filter(|name| !name.is_empty()).map(Arc::from);
            Entry { principal, ..Entry::default() }.line(1, FIRST, &Writing::default())
        };
        let check = |own: &[&str], principal: &str| {
            let principals = Some(own.iter().map(|own| Arc::from(*own)).collect());
            let query = Query { principals, ..Query::default() };
            assert!(!query.wants_all());
            query.matches(&line(principal))
        };
        assert!(
            check(&["user:corp:ann", "key:1"], "user:corp:ann")
                && check(&["user:corp:ann", "key:1"], "key:1")
        );
        assert!(check(&["user:corp:\u{202e}a\"n"], "user:corp:\u{202e}a\"n"));
        for other in ["user:corp:an", "user:corp:ann ", "user:corp:Ann", "key:12", "admin", ""] {
            assert!(!check(&["user:corp:ann", "key:1"], other), "{other}");
        }
        assert!(!check(&[], "user:corp:ann") && !check(&[], "") && !check(&[""], ""));
        // What a terminal is shown alike is not the same.
        assert!(!check(&["user:corp:\\u0001"], "user:corp:\u{1}"));
        // Of a name that was cut nobody can tell whose it is.
        let long = format!("user:corp:{}", "a".repeat(2000));
        assert!(!check(&[&long], &long) && !check(&[&long[..1024]], &long));
        assert!(check(&[&long[..1000]], &long[..1000]));
        let among = Query { principals: Some(vec!["key:1".into()]), ..Query::parse("agent=x", NOW).unwrap() };
        assert!(!among.matches(&line("key:1")), "it narrows what is asked for");
    }

    #[test]
    fn a_page_has_lines_as_they_are() {
        let lines = vec!["{\"duration_ms\":0.000}".to_owned(), "torn\"".to_owned()];
        let page = Page { lines, next: Some("7".into()), follow: None };
        insta::assert_snapshot!(page.to_json(), @r#"{"entries":[{"duration_ms":0.000},"torn\""],"cursor":"7"}"#);
        insta::assert_snapshot!(Page::default().to_json(), @r#"{"entries":[]}"#);
    }

    proptest! {
        #[test]
        fn what_an_entry_has_is_found_in_its_line(agent in any::<String>(), name in any::<String>()) {
            let entry = Entry {
                agent: Some(agent.as_str().into()),
                name: Some(name.as_str().into()),
                ..Entry::default()
            };
            let line = entry.line(1, FIRST, &Writing::default());
            let row = Row::read(&line).unwrap();
            let wanted = Query { agent: Some(row.field("agent")), tool: Some(row.field("name")), ..Query::default() };
            prop_assert!(wanted.matches(&line));
        }

        #[test]
        fn what_is_written_is_read(
            texts in prop::array::uniform5(any::<Option<String>>()),
            times in any::<[Option<u32>; 2]>(),
            limit in 1..=LONGEST_PAGE,
            oldest in any::<bool>(),
        ) {
            let [agent, server, tool, method, cursor] = texts;
            let [since, until] = times.map(|time| time.map(u64::from));
            let order = if oldest { Order::Oldest } else { Order::Newest };
            let decision = oldest.then(|| "failed".to_owned());
            let principals = None;
            let query =
                Query { agent, server, tool, method, decision, principals, since, until, order, limit, cursor };
            prop_assert_eq!(Query::parse(&query.to_text(), NOW).unwrap(), query);
        }
    }
}
