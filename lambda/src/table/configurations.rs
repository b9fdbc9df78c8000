//! The versions of the configuration: what is known of each is one small item, its text lies beside.
//!
//! **A version is there once its item is, and its text was there before.** As no version is ever removed, whoever has seen
//! that one is the newest writes the next on the condition alone that it is new.

use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use portcullis_core::control::{Appended, Revision, Stamp, StoreError};
use portcullis_core::ports::ConfigStore;

use super::item::{BY, Item, item, string, text, with};
use super::{Condition, Order, Stretch, Table, Trouble, garbled, token};

/// The key of all versions.
const PK: &str = "config";
/// The least and the greatest second key of a version.
const ALL: (&str, &str) = ("v#", "v#~");

/// The versions in the table.
#[derive(Debug)]
pub(crate) struct Configurations {
    table: Table,
    /// The text that was read last, with its address: the newest is asked for again and again.
    last: Mutex<Option<(String, String)>>,
}

impl Configurations {
    /// Keeps them in this table.
    pub(crate) fn new(table: Table) -> Self {
        Self { table, last: Mutex::default() }
    }

    async fn latest(&self) -> Result<Option<(Stamp, String)>, Trouble> {
        let stretch = Stretch { index: None, key: PK, between: ALL, order: Order::Falling, most: 1 };
        let found = self.table.query_all(stretch).await?;
        found.first().map(stamped).transpose()
    }

    async fn whole(&self, (stamp, address): (Stamp, String)) -> Result<Revision, Trouble> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last().as_ref().filter(|(known, _)| *known == address).map(|(_, text)| text.clone());
        if let Some(text) = known {
            return Ok(Revision { stamp, text });
        }
        let text = self.table.text(&address).await?;
        *last() = Some((address, text.clone()));
        Ok(Revision { stamp, text })
    }

    async fn write(&self, next: Revision) -> Result<Appended, Trouble> {
        let Revision { stamp, text } = next;
        let newest = self.latest().await?.map_or(0, |(newest, _)| newest.version);
        if stamp.version != newest + 1 {
            return Ok(Appended::Behind(newest));
        }
        let (address, by) = (self.table.put_text(&text, None).await?, token());
        let said = serde_json::to_string(&stamp).map_err(|error| Trouble(error.to_string()))?;
        let item = with(
            item(PK, &key(stamp.version)),
            [("stamp", string(&said)), ("text", string(&address)), (BY, string(&by))],
        );
        let found = self.table.put(item, Condition::IsNew).await?.in_its_stead();
        let is_ours = |found: &super::write::Found| {
            found.item().is_some_and(|item| super::text(item, BY) == Some(by.as_str()))
        };
        match found {
            Some(found) if !is_ours(&found) => {
                Ok(Appended::Behind(self.latest().await?.map_or(0, |(newest, _)| newest.version)))
            }
            _ => Ok(Appended::Done),
        }
    }

    async fn before(&self, before: u64, most: usize) -> Result<Vec<Stamp>, Trouble> {
        let Some(last) = before.checked_sub(1).filter(|last| *last > 0) else { return Ok(Vec::new()) };
        let last = key(last);
        let between = (ALL.0, last.as_str());
        let stretch = Stretch { index: None, key: PK, between, order: Order::Falling, most };
        let found = self.table.query_all(stretch).await?;
        found.iter().map(|item| Ok(stamped(item)?.0)).collect()
    }
}

impl ConfigStore for Configurations {
    fn newest(&self) -> BoxFuture<'_, Result<Option<Revision>, StoreError>> {
        async move {
            match self.latest().await? {
                Some(found) => Ok(Some(self.whole(found).await?)),
                None => Ok(None),
            }
        }
        .boxed()
    }

    fn revision(&self, version: u64) -> BoxFuture<'_, Result<Option<Revision>, StoreError>> {
        async move {
            match self.table.load(PK, &key(version)).await? {
                Some(item) => Ok(Some(self.whole(stamped(&item)?).await?)),
                None => Ok(None),
            }
        }
        .boxed()
    }

    fn history(&self, before: u64, most: usize) -> BoxFuture<'_, Result<Vec<Stamp>, StoreError>> {
        async move { Ok(self.before(before, most).await?) }.boxed()
    }

    fn append(&self, next: Revision) -> BoxFuture<'_, Result<Appended, StoreError>> {
        async move { Ok(self.write(next).await?) }.boxed()
    }
}

/// Returns the second key of a version: versions are ordered as their keys are.
fn key(version: u64) -> String {
    format!("v#{version:020}")
}

fn stamped(item: &Item) -> Result<(Stamp, String), Trouble> {
    let read = || {
        let stamp = serde_json::from_str(text(item, "stamp")?).ok()?;
        Some((stamp, text(item, "text")?.to_owned()))
    };
    read().ok_or_else(|| garbled(PK, text(item, super::SK).unwrap_or_default()))
}
