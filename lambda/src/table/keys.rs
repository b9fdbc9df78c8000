//! API keys: an item for each.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use portcullis_core::control::{Kept, Revoked, StoreError};
use portcullis_core::identity::KeyRecord;
use portcullis_core::ports::KeyStore;

use super::item::{BY, Item, item, string, text, with};
use super::write::Found;
use super::{ATTEMPTS, Condition, Order, Stretch, Table, Trouble, garbled, pause, token};

/// The key of all of them.
const PK: &str = "keys";

/// The API keys in the table.
#[derive(Debug)]
pub(crate) struct Keys(Table);

impl Keys {
    /// Keeps them in this table.
    pub(crate) fn new(table: Table) -> Self {
        Self(table)
    }

    async fn read(&self) -> Result<Vec<Kept>, Trouble> {
        let between = ("key#", "key#~");
        let stretch = Stretch { index: None, key: PK, between, order: Order::Rising, most: usize::MAX };
        let found = self.0.query_all(stretch).await?;
        let mut records: Vec<KeyRecord> = found.iter().map(record).collect::<Result<_, _>>()?;
        records.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        Ok(records.into_iter().map(|record| Kept { record, used: None }).collect())
    }

    async fn write(&self, record: KeyRecord) -> Result<(), Trouble> {
        let by = token();
        match self.0.put(kept(&record, &by)?, Condition::IsNew).await?.in_its_stead() {
            Some(found) if !is_by(&found, &by) => Err(Trouble(format!("has a key {} already", record.id))),
            _ => Ok(()),
        }
    }

    async fn strike(&self, id: &str, at: u64) -> Result<Revoked, Trouble> {
        let by = token();
        let Some(mut item) = self.0.load(PK, &key(id)).await? else { return Ok(Revoked::Unknown) };
        for attempt in 1..=ATTEMPTS {
            let known = record(&item)?;
            if text(&item, BY) == Some(by.as_str()) {
                return Ok(Revoked::Now);
            }
            if known.revoked.is_some() {
                return Ok(Revoked::Before);
            }
            let before = text(&item, BY).unwrap_or_default();
            let condition = Condition::Has(BY, string(before));
            let next = kept(&KeyRecord { revoked: Some(at), ..known }, &by)?;
            match self.0.put(next, condition).await?.in_its_stead() {
                None => return Ok(Revoked::Now),
                Some(Found::Other(other)) => item = other,
                Some(_) => return Ok(Revoked::Unknown),
            }
            pause(attempt).await;
        }
        Err(Trouble("is too busy to be written".into()))
    }
}

impl KeyStore for Keys {
    fn all(&self) -> BoxFuture<'_, Result<Vec<Kept>, StoreError>> {
        async move { Ok(self.read().await?) }.boxed()
    }

    fn add(&self, record: KeyRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { Ok(self.write(record).await?) }.boxed()
    }

    fn revoke(&self, id: String, at: u64) -> BoxFuture<'_, Result<Revoked, StoreError>> {
        async move { Ok(self.strike(&id, at).await?) }.boxed()
    }
}

fn key(id: &str) -> String {
    format!("key#{id}")
}

fn kept(record: &KeyRecord, by: &str) -> Result<Item, Trouble> {
    let said = serde_json::to_string(record).map_err(|error| Trouble(error.to_string()))?;
    Ok(with(item(PK, &key(&record.id)), [("record", string(&said)), (BY, string(by))]))
}

fn record(item: &Item) -> Result<KeyRecord, Trouble> {
    let read = || serde_json::from_str(text(item, "record")?).ok();
    read().ok_or_else(|| garbled(PK, text(item, super::SK).unwrap_or_default()))
}

fn is_by(found: &Found, by: &str) -> bool {
    found.item().is_some_and(|item| text(item, BY) == Some(by))
}
