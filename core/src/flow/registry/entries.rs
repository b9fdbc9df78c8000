//! Where the registry's entries lie, how they are read and changed, and which of them somebody sees.

use http::request::Parts;

use super::{Reader, busy};
use crate::catalog::Scope;
use crate::control::answer::Fault;
use crate::control::registry::entry::Entry;
use crate::control::registry::own::{self, Served};
use crate::endpoint;
use crate::gateway::{Gateway, Snapshot};
use crate::ports::{Host, RecordKey};
use crate::upstream::Server;

/// The collection of entries.
const ENTRIES: &str = "registry";
/// How many records are read at a time, and how many entries there may be.
const READ: (usize, usize) = (500, 20_000);
/// How often a record is written that somebody else was quicker with.
pub(super) const ATTEMPTS: usize = 5;

impl<H: Host> Gateway<H> {
    /// Returns every entry whose key begins so, in the order of their keys.
    pub(super) async fn entries(&self, beginning: &str) -> Result<Vec<Entry>, Fault> {
        let Some(store) = self.host().records() else { return Ok(Vec::new()) };
        let (mut after, mut entries) = ((!beginning.is_empty()).then(|| beginning.to_owned()), Vec::new());
        loop {
            let page = store.page(ENTRIES, after.clone(), READ.0).await?;
            let Some((last, _)) = page.last() else { return Ok(entries) };
            let goes_on = last.starts_with(beginning);
            after = Some(last.clone());
            let meant = page.into_iter().filter(|(key, _)| key.starts_with(beginning));
            entries.extend(meant.filter_map(|(_, text)| Entry::read(&text)));
            if !goes_on || entries.len() >= READ.1 {
                return Ok(entries);
            }
        }
    }

    /// Returns one entry.
    pub(super) async fn entry(&self, key: &str) -> Result<Option<Entry>, Fault> {
        let text = self.record_store()?.get(RecordKey::new(ENTRIES, key)).await?;
        Ok(text.as_deref().and_then(Entry::read))
    }

    /// Writes an entry in place of the one that is there, if one is; one writer at a time.
    pub(super) async fn swap_entry(
        &self,
        key: &str,
        change: impl Fn(Option<Entry>) -> Result<Option<Entry>, Fault>,
    ) -> Result<Option<Entry>, Fault> {
        let store = self.record_store()?;
        for _ in 0..ATTEMPTS {
            let read = store.get(RecordKey::new(ENTRIES, key)).await?;
            let Some(next) = change(read.as_deref().and_then(Entry::read))? else { return Ok(None) };
            if store.replace(RecordKey::new(ENTRIES, key), read, Some(next.to_text()), None).await? {
                return Ok(Some(next));
            }
        }
        Err(busy("this entry"))
    }

    /// Returns what a reader sees.
    pub(super) async fn seen_entries(
        &self,
        head: &Parts,
        reader: &Reader,
        beginning: &str,
    ) -> Result<Vec<Entry>, Fault> {
        let snapshot = self.snapshot();
        // A server that is served is shown as the entry that it was approved as, whatever that one's name is.
        let stored: Vec<_> = self.entries("").await?.into_iter().filter(Entry::is_shown).collect();
        let mut seen = own_entries(head, &snapshot, reader, &stored);
        if matches!(reader, Reader::All) {
            let is_new = |entry: &Entry| !seen.iter().any(|own: &Entry| own.key() == entry.key());
            let others: Vec<_> = stored.into_iter().filter(is_new).collect();
            seen.extend(others);
        }
        seen.retain(|entry| entry.key().starts_with(beginning));
        Ok(seen)
    }
}

impl Reader {
    /// Tells whether a server is among what it may reach.
    fn reaches(&self, snapshot: &Snapshot, server: &Server) -> bool {
        match self {
            Self::All => true,
            Self::Agent(who) => snapshot.has_anything_for(who, &Scope::Server(server.name.clone())),
            Self::Member(agents) => {
                agents.iter().any(|agent| snapshot.acl.rules(agent).may_reach(server.name.as_str()))
            }
        }
    }
}

/// Returns the entries of the servers that are served, as far as a reader may reach them.
fn own_entries(head: &Parts, snapshot: &Snapshot, reader: &Reader, stored: &[Entry]) -> Vec<Entry> {
    let Some(base) = endpoint::base(head, snapshot) else { return Vec::new() };
    let base = base.trim_end_matches('/').trim_end_matches("/mcp");
    let mut own: Vec<Entry> = Vec::new();
    let served = snapshot.servers.iter().filter(|(_, server)| server.unapproved().is_none());
    for (name, server) in served.filter(|(_, server)| reader.reaches(snapshot, server)) {
        let seen = server.seen();
        let info =
            seen.as_ref().and_then(|seen| serde_json::from_str(seen.introduction.info.as_deref()?).ok());
        let path = endpoint::path(&Scope::Server(name.clone()));
        let listed = snapshot.config.listed.entry_of(&server.settings);
        let listed = listed.and_then(|key| stored.iter().find(|entry| entry.key() == key));
        let served = Served { name: name.as_str(), path, info };
        let entry = own::entry(&served, base, listed, snapshot.since);
        if !own.iter().any(|other| other.key() == entry.key()) {
            own.push(entry);
        }
    }
    own
}
