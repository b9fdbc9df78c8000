//! A writer of the audit trail: which place each entry gets in its chain, and which items that makes.
//!
//! It knows no table: what becomes of the items is the sink's matter.

use portcullis_core::audit::{Arguments, Chain, Draft, Drafted, Entry, Writing};

use super::item::{BY, Item, TTL, count, item, string, ttl, with};
use super::{part, token};

/// The key of all writers.
pub(super) const WRITERS: &str = "trail";
/// The second key of what is known of how far a chain reaches; it comes before all lines.
pub(super) const HEAD: &str = "#head";
/// Over how many keys of an index entries are spread: one key takes about a thousand of them in a second.
pub(super) const SHARDS: u64 = 4;
/// The longest line that has arguments, in bytes: with what stands beside it, so many fit into one transaction.
const LONGEST: usize = 100_000;

/// A writer, and where its chain is.
#[derive(Debug)]
pub(super) struct Scribe {
    /// What it is called.
    pub(super) name: String,
    /// By which its items are known as its own.
    pub(super) by: String,
    /// Where the chain is.
    pub(super) chain: Chain,
    /// Until when the table keeps that there is this writer, in milliseconds since the Unix epoch; 0 where it does not
    /// know.
    pub(super) known: u64,
    /// Until when its first entry is kept, and its last.
    pub(super) kept: (u64, u64),
    /// What was given its place and is not known to be written.
    pub(super) placed: Vec<Placed>,
}

/// An entry with its place.
#[derive(Debug)]
pub(super) struct Placed {
    entry: Entry,
    id: u64,
    /// What it has become.
    pub(super) line: String,
    /// What it is found by: the agent and the server, in the line's own words.
    agent: String,
    server: String,
    /// Until when it is kept.
    until: u64,
}

impl Scribe {
    /// Makes a writer whose chain is empty. Writers are ordered by when they began.
    pub(super) fn new(now: u64) -> Self {
        let by = token();
        Self {
            name: format!("{now:013}{by}"),
            by,
            chain: Chain::default(),
            known: 0,
            kept: (0, 0),
            placed: Vec::new(),
        }
    }

    /// Gives entries their places; they are kept no shorter than those before.
    pub(super) fn place(&mut self, entries: Vec<Entry>, writing: &Writing, until: u64) {
        let until = until.max(self.kept.1);
        if self.kept.0 == 0 {
            self.kept.0 = until;
        }
        self.kept.1 = until;
        let bare = Writing { arguments: false, ..writing.clone() };
        for entry in entries {
            let mut text = String::new();
            let Drafted { split, searched } = entry.draft(&mut text, &writing.redactor);
            let (agent, server) = (searched.agent.into_owned(), searched.server.into_owned());
            let arguments = match &entry.arguments {
                Arguments::Text(arguments) => Some(&**arguments),
                Arguments::None | Arguments::Digest(_) => None,
            };
            let (before, after) = text.split_at(split);
            let draft = Draft { time: entry.time, before, arguments, after };
            let mut line = String::new();
            self.chain.append(&mut line, |line, id, prev| {
                draft.write(line, (id, prev), writing);
                if line.len() > LONGEST {
                    line.clear();
                    draft.write(line, (id, prev), &bare);
                }
            });
            self.placed.push(Placed { entry, id: self.chain.last, line, agent, server, until });
        }
    }

    /// Begins another chain with what was to be written.
    pub(super) fn begin_again(&mut self, now: u64, writing: &Writing) {
        let (placed, until) = (std::mem::take(&mut self.placed), self.kept.1);
        *self = Self::new(now);
        self.place(placed.into_iter().map(|placed| placed.entry).collect(), writing, until);
    }

    /// Returns how far the chain reaches, as an item.
    pub(super) fn head(&self, last: u64, hash: &str) -> Item {
        let values = [
            ("last", count(last)),
            ("hash", string(hash)),
            ("first", ttl(self.kept.0)),
            (BY, string(&self.by)),
            (TTL, ttl(self.kept.1)),
        ];
        with(item(&lines_of(&self.name), HEAD), values)
    }
}

impl Placed {
    /// Returns the entry as an item of that writer's.
    pub(super) fn to_item(&self, writer: &str) -> Item {
        let shard = shard(writer);
        let mut item = with(
            item(&lines_of(writer), &line_key(self.id)),
            [
                ("line", string(&self.line)),
                ("trail", string(&index_key("", shard))),
                ("at", string(&format!("{:015}#{writer}#{:012}", self.entry.time, self.id))),
                (TTL, ttl(self.until)),
            ],
        );
        for (name, value) in [("agent", &self.agent), ("server", &self.server)] {
            if !value.is_empty() {
                item = with(item, [(name, string(&index_key(value, shard)))]);
            }
        }
        item
    }
}

/// Returns the key of a writer's lines.
pub(super) fn lines_of(writer: &str) -> String {
    format!("trail#{writer}")
}

/// Returns the second key of a line.
pub(super) fn line_key(id: u64) -> String {
    format!("e#{id:012}")
}

/// Returns the first key in an index of entries with this agent, or server, or of all.
pub(super) fn index_key(value: &str, shard: u64) -> String {
    format!("{}#{shard}", part(value))
}

fn shard(writer: &str) -> u64 {
    writer.bytes().next_back().map_or(0, u64::from) % SHARDS
}
