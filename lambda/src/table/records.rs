//! What the control plane notes: an item for each record, under a key for each collection.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use portcullis_core::control::StoreError;
use portcullis_core::ports::{RecordKey, RecordStore};

use super::item::{BY, Item, SK, TTL, count, item, string, text, ttl, with};
use super::write::{Found, Written};
use super::{Condition, Order, Stretch, Table, Trouble, garbled, token};

/// Where it stands what a record says.
const TEXT: &str = "text";
/// What the second key of a record begins with.
const PREFIX: &str = "r#";

/// The records in the table.
#[derive(Debug)]
pub(crate) struct Records(Table);

impl Records {
    /// Keeps them in this table.
    pub(crate) fn new(table: Table) -> Self {
        Self(table)
    }

    async fn read(&self, key: &RecordKey) -> Result<Option<String>, Trouble> {
        let found = self.0.load(&place_of(key.collection), &place_in(&key.key)).await?;
        Ok(found.and_then(|item| text(&item, TEXT).map(str::to_owned)))
    }

    async fn write(
        &self,
        key: &RecordKey,
        (read, next): (Option<String>, Option<String>),
        until: Option<u64>,
    ) -> Result<bool, Trouble> {
        let (pk, sk) = (place_of(key.collection), place_in(&key.key));
        let Some(next) = next else {
            return match read {
                None => Ok(self.read(key).await?.is_none()),
                Some(read) => Ok(self.0.remove((&pk, &sk), (TEXT, string(&read))).await? == Written::Done),
            };
        };
        let by = token();
        let mut record = with(item(&pk, &sk), [(TEXT, string(&next)), (BY, string(&by))]);
        record.extend(until.map(|until| (TTL.to_owned(), ttl(until))));
        let condition = match read {
            Some(read) => Condition::Has(TEXT, string(&read)),
            // One whose time is over may still be there.
            None => Condition::IsNewOrLess(TTL, count(self.0.now() / 1000 + 1)),
        };
        Ok(match self.0.put(record, condition).await?.in_its_stead() {
            None => true,
            // Where an answer was lost and the request came again, it finds its own.
            Some(Found::Other(other)) => text(&other, BY) == Some(by.as_str()),
            Some(Found::AsExpected | Found::Nothing) => false,
        })
    }

    async fn listed(
        &self,
        collection: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<(String, String)>, Trouble> {
        // No key has a control character.
        let least = after.map_or(PREFIX.to_owned(), |after| format!("{}\u{1}", place_in(after)));
        let (key, greatest) = (place_of(collection), place_in("\u{10ffff}"));
        let between = (&*least, &*greatest);
        let stretch = Stretch { index: None, key: &key, between, order: Order::Rising, most };
        self.0.query_all(stretch).await?.iter().map(record).collect()
    }
}

impl RecordStore for Records {
    fn get(&self, key: RecordKey) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        async move { Ok(self.read(&key).await?) }.boxed()
    }

    fn replace(
        &self,
        key: RecordKey,
        read: Option<String>,
        next: Option<String>,
        until: Option<u64>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        async move { Ok(self.write(&key, (read, next), until).await?) }.boxed()
    }

    fn page(
        &self,
        collection: &'static str,
        after: Option<String>,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>> {
        async move { Ok(self.listed(collection, after.as_deref(), most).await?) }.boxed()
    }
}

fn record(item: &Item) -> Result<(String, String), Trouble> {
    let key = text(item, SK).and_then(|key| key.strip_prefix(PREFIX));
    let both = key.zip(text(item, TEXT));
    both.map(|(key, text)| (key.to_owned(), text.to_owned())).ok_or_else(|| garbled("records", PREFIX))
}

fn place_of(collection: &str) -> String {
    format!("records#{collection}")
}

fn place_in(key: &str) -> String {
    format!("{PREFIX}{key}")
}
