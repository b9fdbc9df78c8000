//! Where the lines of a trail lie that is kept in a store of keys: a segment is what a writer wrote at once.
//!
//! **A segment never changes once it is written, and its key follows from what is in it**: to write it again does
//! nothing. What is searched stands beside the key, so that only those segments are read that may hold what is wanted.

use std::cmp::Reverse;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::moment::day;
use super::query::Query;
use super::row::Row;
use crate::sorted::SortedSet;

/// What the keys of segments begin with.
pub const PREFIX: &str = "audit/";

/// The most bytes that stand beside a key.
const BESIDE: usize = 1024;
/// Milliseconds of a day.
pub(super) const DAY: u64 = 86_400_000;

/// A place in a trail. Places are ordered as entries were written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When the segment was written, in milliseconds since the Unix epoch.
    pub at: u64,
    /// By whom. Of what was written in the same millisecond, the keys' order has the first name last.
    pub writer: Reverse<String>,
    /// The number of the entry; 0 before all of them.
    pub id: u64,
}

impl Place {
    /// Returns the place before everything that is written from that moment on.
    pub(super) fn before(at: u64) -> Self {
        // No name comes after this one: names have only letters and digits.
        Self { at, writer: Reverse("~".to_owned()), id: 0 }
    }

    /// Returns the place as a cursor.
    pub fn to_cursor(&self) -> String {
        format!("{}.{}.{}", self.at, self.writer.0, self.id)
    }

    /// Reads a cursor; nothing where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let at = parts.next()?.parse().ok()?;
        let writer = parts.next().filter(|name| is_name(name) || *name == "~")?;
        let id = parts.next()?.parse().ok()?;
        parts.next().is_none().then(|| Self { at, writer: Reverse(writer.to_owned()), id })
    }
}

/// Tells whether a text can be the name of a writer: it is a part of keys and cursors.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// What is known of a segment without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Who wrote it.
    pub writer: String,
    /// The number of its first entry.
    pub first: u64,
    /// What stands beside its key.
    pub beside: Beside,
}

/// What stands beside the key of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// When it was written, in milliseconds since the Unix epoch. No two segments of a writer have the same.
    pub at: u64,
    /// The number of its last entry.
    pub last: u64,
    /// The time of its earliest entry.
    pub min: u64,
    /// The time of its latest entry.
    pub max: u64,
    /// The agents of its entries; unknown where they are too many to stand here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<SortedSet<String>>,
    /// The servers of its entries; unknown where they are too many to stand here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<SortedSet<String>>,
    /// The decisions of its entries.
    #[serde(default)]
    pub decisions: SortedSet<String>,
}

impl Segment {
    /// Returns what is known of lines that are written together.
    pub fn of<'l>(writer: &str, at: u64, first: u64, lines: impl IntoIterator<Item = &'l str>) -> Self {
        let mut beside = Beside {
            at,
            last: first.saturating_sub(1),
            min: u64::MAX,
            max: 0,
            agents: None,
            servers: None,
            decisions: SortedSet::new(),
        };
        let (mut agents, mut servers) = (SortedSet::new(), SortedSet::new());
        for line in lines {
            beside.last += 1;
            let Some(row) = Row::read(line).filter(|row| row.id().is_some()) else { continue };
            let by = row.searched();
            (beside.min, beside.max) = (beside.min.min(by.time), beside.max.max(by.time));
            agents.insert(by.agent.into_owned());
            servers.insert(by.server.into_owned());
            beside.decisions.insert(by.decision.into_owned());
        }
        let mut segment = Self { writer: writer.to_owned(), first, beside };
        segment.beside.agents = Some(agents);
        segment.beside.servers = Some(servers);
        for give_up in
            [|beside: &mut Beside| beside.servers = None, |beside: &mut Beside| beside.agents = None]
        {
            if segment.beside_text().len() > BESIDE {
                give_up(&mut segment.beside);
            }
        }
        segment
    }

    /// Returns the key in a store that lists keys in their order and nothing else: of a day, the last segment comes first.
    pub fn key(&self) -> String {
        let of_day = DAY - 1 - self.beside.at % DAY;
        format!("{}{of_day:08}/{}/{:012}", key_prefix(self.beside.at), self.writer, self.first)
    }

    /// Returns the path in a store of files: of a day, the lines of a writer stand in their order.
    pub fn path(&self) -> String {
        format!("{}{}/{:012}.jsonl", path_prefix(self.beside.at), self.writer, self.first)
    }

    /// Returns what stands beside the key, as one line of JSON with at most 1024 bytes, all of them ASCII.
    pub fn beside_text(&self) -> String {
        let text = serde_json::to_string(&self.beside).unwrap_or_default();
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            if c.is_ascii() {
                out.push(c);
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
        out
    }

    /// Reads a key or a path, and what stands beside it; nothing where it is no segment's.
    pub fn parse(key: &str, beside: &str) -> Option<Self> {
        let key = key.strip_prefix(PREFIX)?;
        let key = key.strip_suffix(".jsonl").unwrap_or(key);
        let mut parts = key.rsplit('/');
        let first = parts.next()?.parse().ok()?;
        let writer = parts.next().filter(|name| is_name(name))?.to_owned();
        let segment = Self { writer, first, beside: serde_json::from_str(beside).ok()? };
        let own = [segment.key(), segment.path()];
        own.iter().any(|own| own[PREFIX.len()..].trim_end_matches(".jsonl") == key).then_some(segment)
    }

    /// Returns the place before its first entry.
    pub(super) fn place(&self, id: u64) -> Place {
        Place { at: self.beside.at, writer: Reverse(self.writer.clone()), id }
    }

    /// Tells whether an entry may be in it that is wanted.
    pub(crate) fn may_hold(&self, query: &Query) -> bool {
        let beside = &self.beside;
        let has = |known: &Option<SortedSet<String>>, wanted: &Option<String>| match (known, wanted) {
            (Some(known), Some(wanted)) => known.contains(wanted),
            _ => true,
        };
        has(&beside.agents, &query.agent)
            && has(&beside.servers, &query.server)
            && query.decision.as_ref().is_none_or(|wanted| beside.decisions.contains(wanted))
            && query.since.is_none_or(|since| beside.max >= since)
            && query.until.is_none_or(|until| beside.min < until)
    }
}

/// Returns what the keys of a day begin with, which is named by any moment of it.
pub fn key_prefix(at: u64) -> String {
    format!("{PREFIX}{}/", day(at))
}

/// Returns what the paths of a day begin with, which is named by any moment of it.
pub fn path_prefix(at: u64) -> String {
    format!("{PREFIX}{}/", day(at).replace('-', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Chain, Entry, Writing};

    const AT: u64 = 1_785_240_000_123;

    fn lines(agents: &[&str]) -> Vec<String> {
        let mut chain = Chain { last: 6, ..Chain::default() };
        let entry = |agent: &&str| Entry {
            time: AT - 1000 - agent.len() as u64,
            agent: Some((*agent).into()),
            server: Some("github".into()),
            ..Entry::default()
        };
        let line = |agent| chain.add(|id, prev| entry(agent).line(id, prev, &Writing::default()));
        agents.iter().map(line).collect()
    }

    #[test]
    fn keys_tell_what_is_in_a_segment() {
        let segment = Segment::of("main", AT, 7, lines(&["coder", "ci"]).iter().map(String::as_str));
        insta::assert_snapshot!(segment.key(), @"audit/2026-07-28/43199876/main/000000000007");
        insta::assert_snapshot!(segment.path(), @"audit/2026/07/28/main/000000000007.jsonl");
        insta::assert_snapshot!(segment.beside_text(), @r#"{"at":1785240000123,"last":8,"min":1785239999118,"max":1785239999121,"agents":["ci","coder"],"servers":["github"],"decisions":["allowed"]}"#);
        for key in [segment.key(), segment.path()] {
            assert_eq!(Segment::parse(&key, &segment.beside_text()).as_ref(), Some(&segment));
        }
        let beside = segment.beside_text();
        for key in [
            "audit/x",
            "audit/2026-07-28/43199875/main/000000000007",
            "audit/2026/07/29/main/000000000007.jsonl",
        ] {
            assert_eq!(Segment::parse(key, &beside), None, "{key}");
        }
        assert_eq!(Segment::parse(&segment.key(), "{}"), None);
    }

    #[test]
    fn what_stands_beside_a_key_is_short_and_hides_nothing() {
        let many: Vec<_> = (0..200).map(|n| format!("agent number {n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let segment = Segment::of("main", AT, 7, lines(&many).iter().map(String::as_str));
        assert!(segment.beside_text().len() <= BESIDE && segment.beside.agents.is_none());
        let of = |agent: &str| Query { agent: Some(agent.into()), ..Query::default() };
        assert!(segment.may_hold(&of("agent number 7")));
        let foreign = Segment::of("main", AT, 7, lines(&["ключ 🦀"]).iter().map(String::as_str));
        assert!(foreign.beside_text().is_ascii());
        assert_eq!(Segment::parse(&foreign.key(), &foreign.beside_text()), Some(foreign));
        let few = Segment::of("main", AT, 7, lines(&["coder"]).iter().map(String::as_str));
        assert!(few.may_hold(&of("coder")) && !few.may_hold(&of("ci")));
    }

    #[test]
    fn places_are_cursors_in_the_order_of_keys() {
        let place = Place::parse("17.main.3").unwrap();
        assert_eq!(place.to_cursor(), "17.main.3");
        assert_eq!(Place::parse(&Place::before(17).to_cursor()), Some(Place::before(17)));
        assert!(Place::before(17) < place && place < Place::parse("17.a.1").unwrap());
        for wrong in ["", "1", "1.a", "1.a.x", "1.A.1", "1.a.1.1", "x.a.1"] {
            assert_eq!(Place::parse(wrong), None, "{wrong}");
        }
    }
}
