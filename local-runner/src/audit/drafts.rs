//! Drafts of entries that are written together, in the order in which they came.
//!
//! **An entry leaves nothing behind but its text**, at the end of one that all share: what one thread allocates for an
//! entry and another frees costs more than the text does.

use std::collections::BTreeSet;

use bytes::Bytes;
use portcullis_core::audit::{Arguments, Draft, Drafted, Entry, Searched, Writing};

/// The drafts.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    text: String,
    items: Vec<Item>,
    by: By,
}

/// One draft.
#[derive(Debug)]
struct Item {
    time: u64,
    /// Where arguments belong that are still to be digested.
    split: usize,
    end: usize,
    arguments: Option<Bytes>,
}

/// What lines are searched by that are written together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct By {
    /// The earliest of their times, in milliseconds since the Unix epoch.
    pub(super) earliest: u64,
    /// The latest.
    pub(super) latest: u64,
    /// Their agents.
    pub(super) agents: BTreeSet<String>,
    /// Their servers.
    pub(super) servers: BTreeSet<String>,
    /// Their names.
    pub(super) names: BTreeSet<String>,
    /// Their decisions.
    pub(super) decisions: BTreeSet<String>,
}

impl Drafts {
    /// Makes the draft of an entry in `text`, whose memory is used again, and gives it to `keep`, with its arguments where
    /// those are still to be digested.
    pub(super) fn make<T>(
        entry: &Entry,
        (text, writing): (&mut String, &Writing),
        keep: impl FnOnce(&str, &Drafted<'_>, Option<Bytes>) -> T,
    ) -> T {
        text.clear();
        let drafted = entry.draft(text, &writing.redactor);
        let arguments = match &entry.arguments {
            Arguments::Text(arguments) => Some(arguments.clone()),
            Arguments::None | Arguments::Digest(_) => None,
        };
        keep(text, &drafted, arguments)
    }

    /// Adds a draft.
    pub(super) fn push(&mut self, text: &str, drafted: &Drafted<'_>, arguments: Option<Bytes>) {
        let split = self.text.len() + drafted.split;
        self.text.push_str(text);
        self.items.push(Item { time: drafted.searched.time, split, end: self.text.len(), arguments });
        self.by.add(&drafted.searched);
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Tells whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns how long they are, in bytes.
    pub(super) fn size(&self) -> usize {
        self.text.len()
    }

    /// Returns how many bytes of arguments they hold.
    pub(super) fn held(&self) -> usize {
        self.items.iter().filter_map(|item| item.arguments.as_ref()).map(Bytes::len).sum()
    }

    /// Returns what their lines are searched by.
    pub(super) fn by(&self) -> &By {
        &self.by
    }

    /// Returns them in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Draft<'_>> {
        let starts = std::iter::once(0).chain(self.items.iter().map(|item| item.end));
        starts.zip(&self.items).map(|(start, item)| Draft {
            time: item.time,
            before: &self.text[start..item.split],
            arguments: item.arguments.as_deref(),
            after: &self.text[item.split..item.end],
        })
    }

    /// Removes them and keeps their memory for others, within reason.
    pub(super) fn clear(&mut self) {
        /// How much is kept, in bytes.
        const KEPT: usize = 1 << 20;
        self.text.clear();
        self.text.shrink_to(KEPT);
        self.items.clear();
        self.by = By::default();
    }
}

impl Default for By {
    fn default() -> Self {
        let none = BTreeSet::new;
        Self {
            earliest: u64::MAX,
            latest: 0,
            agents: none(),
            servers: none(),
            names: none(),
            decisions: none(),
        }
    }
}

impl By {
    /// Adds what one line is searched by.
    pub(super) fn add(&mut self, line: &Searched<'_>) {
        self.earliest = self.earliest.min(line.time);
        self.latest = self.latest.max(line.time);
        let texts = [&line.agent, &line.server, &line.name, &line.decision];
        let known = [&mut self.agents, &mut self.servers, &mut self.names, &mut self.decisions];
        for (known, text) in known.into_iter().zip(texts) {
            // Nearly always it is there.
            if !known.contains(&**text) {
                known.insert((**text).to_owned());
            }
        }
    }

    /// Adds what other lines are searched by.
    pub(super) fn join(&mut self, other: &Self) {
        self.earliest = self.earliest.min(other.earliest);
        self.latest = self.latest.max(other.latest);
        let others = [&other.agents, &other.servers, &other.names, &other.decisions];
        let known = [&mut self.agents, &mut self.servers, &mut self.names, &mut self.decisions];
        for (known, others) in known.into_iter().zip(others) {
            known.extend(others.iter().cloned());
        }
    }
}
