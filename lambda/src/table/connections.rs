//! Connections: an item for each, under a key for each principal, and one item for each principal that is known.
//!
//! **What a principal has lies apart from what others have.** That there is such a principal is written before its first
//! connection, so that none is left out of a list; it stays when the last one goes.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use portcullis_core::control::StoreError;
use portcullis_core::oauth::connection::{ConnectionKey, ConnectionRecord, Stored, Swapped, Version, drawer};
use portcullis_core::ports::ConnectionStore;

use super::item::{BY, Item, item, string, text, with};
use super::write::{Found, Written};
use super::{ATTEMPTS, Condition, Order, SK, Stretch, Table, Trouble, garbled, pause};

/// The key of the principals that are known.
const PRINCIPALS: &str = "connections";

/// The connections in the table.
#[derive(Debug)]
pub(crate) struct Connections(Table);

impl Connections {
    /// Keeps them in this table.
    pub(crate) fn new(table: Table) -> Self {
        Self(table)
    }

    async fn read(&self, key: &ConnectionKey) -> Result<Option<Stored>, Trouble> {
        let found = self.0.load(&place_of(&key.principal), &place_in(key)).await?;
        found.as_ref().map(stored).transpose()
    }

    async fn write(
        &self,
        key: &ConnectionKey,
        expected: Option<Version>,
        next: Option<Stored>,
    ) -> Result<Swapped, Trouble> {
        let own = next.as_ref().map(|next| next.version);
        let written = match (next, expected) {
            (Some(next), None) => {
                self.make_known(&key.principal).await?;
                self.0.put(kept(key, &next)?, Condition::IsNew).await?
            }
            (Some(next), Some(expected)) => {
                self.0.put(kept(key, &next)?, Condition::Has(BY, string(&expected.to_string()))).await?
            }
            (None, Some(expected)) => {
                let (pk, sk) = (place_of(&key.principal), place_in(key));
                self.0.remove((&pk, &sk), (BY, string(&expected.to_string()))).await?
            }
            (None, None) => {
                let found = self.read(key).await?;
                return Ok(found.map_or(Swapped::Done, |found| Swapped::Changed(Some(found))));
            }
        };
        let found = match written {
            Written::Done => return Ok(Swapped::Done),
            Written::Refused(found) => found.first().and_then(Found::item).map(stored).transpose()?,
        };
        // It was written, and the answer was lost.
        let is_own = own.is_some() && found.as_ref().map(|found| found.version) == own;
        Ok(if is_own { Swapped::Done } else { Swapped::Changed(found) })
    }

    async fn make_known(&self, principal: &str) -> Result<(), Trouble> {
        let known = item(PRINCIPALS, &format!("p#{}", drawer(principal)));
        self.0.put(with(known, [("principal", string(principal))]), Condition::IsNew).await.map(drop)
    }

    async fn of(&self, principal: &str) -> Result<Vec<Stored>, Trouble> {
        let (key, between) = (place_of(principal), ("c#", "c#~"));
        let stretch = Stretch { index: None, key: &key, between, order: Order::Rising, most: usize::MAX };
        self.0.query_all(stretch).await?.iter().map(stored).collect()
    }

    async fn listed(&self, principal: Option<&str>) -> Result<Vec<ConnectionRecord>, Trouble> {
        let mut found = Vec::new();
        if let Some(principal) = principal {
            found.extend(self.of(principal).await?);
        } else {
            let between = ("p#", "p#~");
            let stretch =
                Stretch { index: None, key: PRINCIPALS, between, order: Order::Rising, most: usize::MAX };
            for known in self.0.query_all(stretch).await? {
                let principal = text(&known, "principal").ok_or_else(|| garbled(PRINCIPALS, "p#"))?;
                found.extend(self.of(principal).await?);
            }
        }
        let mut records: Vec<_> = found.into_iter().map(|stored| stored.record).collect();
        records.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(records)
    }

    async fn erase(&self, principal: &str) -> Result<usize, Trouble> {
        let mut removed = 0;
        for attempt in 1..=ATTEMPTS {
            let found = self.of(principal).await?;
            if found.is_empty() {
                return Ok(removed);
            }
            for stored in found {
                let swapped = self.write(&stored.record.key, Some(stored.version), None).await?;
                removed += usize::from(swapped == Swapped::Done);
            }
            if attempt > 1 {
                pause(attempt).await;
            }
        }
        Err(Trouble("is too busy to be written".into()))
    }
}

impl ConnectionStore for Connections {
    fn get(&self, key: ConnectionKey) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        async move { Ok(self.read(&key).await?) }.boxed()
    }

    fn swap(
        &self,
        key: ConnectionKey,
        expected: Option<Version>,
        next: Option<Stored>,
    ) -> BoxFuture<'_, Result<Swapped, StoreError>> {
        async move { Ok(self.write(&key, expected, next).await?) }.boxed()
    }

    fn list(&self, principal: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<ConnectionRecord>, StoreError>> {
        async move { Ok(self.listed(principal.as_deref()).await?) }.boxed()
    }

    fn remove_all(&self, principal: Arc<str>) -> BoxFuture<'_, Result<usize, StoreError>> {
        async move { Ok(self.erase(&principal).await?) }.boxed()
    }
}

fn place_of(principal: &str) -> String {
    format!("connection#{}", drawer(principal))
}

fn place_in(key: &ConnectionKey) -> String {
    format!("c#{}", key.digest())
}

fn kept(key: &ConnectionKey, stored: &Stored) -> Result<Item, Trouble> {
    let record = serde_json::to_string(&stored.record).map_err(|error| Trouble(error.to_string()))?;
    let version = stored.version.to_string();
    let values = [(BY, string(&version)), ("record", string(&record)), ("sealed", string(&stored.sealed))];
    Ok(with(item(&place_of(&key.principal), &place_in(key)), values))
}

fn stored(item: &Item) -> Result<Stored, Trouble> {
    let read = || {
        let version = Version::parse(text(item, BY)?).ok()?;
        let record = serde_json::from_str(text(item, "record")?).ok()?;
        Some(Stored { version, record, sealed: text(item, "sealed")?.to_owned() })
    };
    read().ok_or_else(|| garbled("connection#", text(item, SK).unwrap_or_default()))
}
