//! What a simulation has found, as JSON, and how the parts of one are put together.

use serde::{Deserialize, Serialize};

use crate::config::Origin;
use crate::sorted::SortedMap;

/// The most kinds of calls that are told of each sort.
const MOST: usize = 10_000;

/// What would change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// How many recorded calls were judged.
    pub considered: u64,
    /// How many recorded entries are no calls that can be judged: lists, connections, what operators did.
    pub skipped: u64,
    /// Calls that would be refused.
    pub refused: Vec<Calls>,
    /// Calls that would be let through.
    pub allowed: Vec<Calls>,
    /// Calls of which that cannot be known, and why.
    pub unknown: Vec<Calls>,
    /// How many calls there are besides, for which there was no room.
    pub left_out: u64,
    /// What agents would be listed otherwise.
    pub listed: Vec<Listed>,
    /// The servers whose settings change, which are taken to offer what they offer now.
    pub assumed: Vec<String>,
    /// The servers of which it is not known what they would offer.
    pub unread: Vec<Unread>,
    /// What else there is to know, in sentences.
    pub remarks: Vec<String>,
    /// Where to go on, where more of the trail is to be read.
    pub next: Option<String>,
}

/// Calls of one agent to one thing that come to the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// The agent that was recorded.
    pub agent: String,
    /// `tool`, `prompt` or `resource`.
    pub kind: String,
    /// Its name, as agents know it.
    pub name: String,
    /// The server that it leads to, where that is known.
    pub server: Option<String>,
    /// How many calls.
    pub times: u64,
    /// When the last one was, as RFC 3339 has it.
    pub last: String,
    /// What decides, in words, and where that stands.
    pub rule: String,
    /// Where that stands in the draft, where it stands in a file.
    pub origin: Option<Stands>,
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stands {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The path of the field.
    pub field: String,
}

/// Which tools an agent would be listed otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The agent.
    pub agent: String,
    /// The tools that it would be listed.
    pub added: Vec<String>,
    /// Those that it would no longer be.
    pub removed: Vec<String>,
    /// Those that would be described otherwise.
    pub changed: Vec<String>,
}

/// A server of which it is not known what it would offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// Its name.
    pub server: String,
    /// Why: it ...
    pub reason: String,
}

/// What tells calls apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sort {
    pub(super) agent: String,
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) server: Option<String>,
    pub(super) rule: String,
    pub(super) origin: Option<Stands>,
}

/// Calls of each sort, counted.
#[derive(Debug, Default)]
pub(super) struct Counted(SortedMap<Sort, (u64, u64)>);

impl Counted {
    /// Counts a call; tells whether there was room.
    pub(super) fn count(&mut self, sort: &Sort, time: u64) -> bool {
        if let Some((times, last)) = self.0.get_mut(sort) {
            (*times, *last) = (*times + 1, time.max(*last));
            return true;
        }
        let is_room = self.0.len() < MOST;
        if is_room {
            self.0.insert(sort.clone(), (1, time));
        }
        is_room
    }

    pub(super) fn into_calls(self) -> Vec<Calls> {
        let calls = |(sort, (times, last)): (Sort, (u64, u64))| {
            let Sort { agent, kind, name, server, rule, origin } = sort;
            let last = crate::audit::time_text(last);
            Calls { agent, kind: kind.to_owned(), name, server, times, last, rule, origin }
        };
        self.0.into_iter().map(calls).collect()
    }
}

impl Stands {
    /// Returns where something stands; nothing where that is in no file.
    pub(super) fn of(origin: &Origin) -> Option<Self> {
        let Origin { file, line, field } = origin;
        (!file.is_empty()).then(|| Self { file: file.to_string(), line: *line, field: field.clone() })
    }
}

impl Report {
    /// Tells whether anything would change, or may.
    pub fn is_quiet(&self) -> bool {
        let calls = [&self.refused, &self.allowed, &self.unknown];
        calls.iter().all(|calls| calls.is_empty()) && self.listed.is_empty() && self.left_out == 0
    }

    /// Takes up what another part of the trail came to, with the same draft.
    pub fn join(&mut self, other: Self) {
        self.considered += other.considered;
        self.skipped += other.skipped;
        self.left_out += other.left_out;
        self.left_out += join(&mut self.refused, other.refused);
        self.left_out += join(&mut self.allowed, other.allowed);
        self.left_out += join(&mut self.unknown, other.unknown);
        let Self { listed, assumed, unread, remarks, next, .. } = other;
        (self.listed, self.assumed, self.unread, self.remarks) = (listed, assumed, unread, remarks);
        self.next = next;
    }
}

/// Puts calls together; returns how many found no room.
fn join(calls: &mut Vec<Calls>, others: Vec<Calls>) -> u64 {
    fn sort(calls: &Calls) -> (&str, &str, &str, &Option<String>, &str, &Option<Stands>) {
        let Calls { agent, kind, name, server, rule, origin, .. } = calls;
        (agent, kind, name, server, rule, origin)
    }
    let mut left_out = 0;
    for other in others {
        match calls.binary_search_by(|own| sort(own).cmp(&sort(&other))) {
            Ok(place) => {
                let own = &mut calls[place];
                own.times += other.times;
                // Moments of one form are in the order of their texts.
                own.last = std::mem::take(&mut own.last).max(other.last);
            }
            Err(_) if calls.len() >= MOST => left_out += other.times,
            Err(place) => calls.insert(place, other),
        }
    }
    left_out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort(agent: &str) -> Sort {
        Sort {
            agent: agent.into(),
            kind: "tool",
            name: "a".into(),
            server: None,
            rule: "denied".into(),
            origin: None,
        }
    }

    /// Counting in parts comes to the same as counting at once.
    #[test]
    fn parts_are_put_together() {
        let all = [("b", 3_u64), ("a", 1), ("b", 2), ("c", 9), ("a", 5)];
        let count = |part: &[(&str, u64)]| {
            let mut counted = Counted::default();
            assert!(part.iter().all(|(agent, time)| counted.count(&sort(agent), *time)));
            Report { considered: part.len() as u64, refused: counted.into_calls(), ..Report::default() }
        };
        let whole = count(&all);
        assert_eq!(whole.refused.iter().map(|calls| calls.times).collect::<Vec<_>>(), [2, 2, 1]);
        for at in 0..=all.len() {
            let mut joined = count(&all[..at]);
            joined.join(count(&all[at..]));
            assert_eq!(joined, whole);
        }
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut counted = Counted::default();
        assert!((0..MOST).all(|n| counted.count(&sort(&n.to_string()), 1)));
        assert!(!counted.count(&sort("x"), 1));
        assert!(counted.count(&sort("7"), 1));
        let mut full = Report { refused: counted.into_calls(), ..Report::default() };
        let mut more = Counted::default();
        assert!(more.count(&sort("x"), 1) && more.count(&sort("7"), 1));
        full.join(Report { refused: more.into_calls(), ..Report::default() });
        assert_eq!((full.refused.len(), full.left_out), (MOST, 1));
    }
}
