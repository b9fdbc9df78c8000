//! The one table in which instances of the gateway share what must outlive a request.
//!
//! **What is written on a condition is written once**, also where an answer is lost on its way and the request is sent
//! again: what it finds then is its own, and is known as that. **An item whose time is over is not there**, whether or
//! not the platform has removed it yet. How items lie in the table is said in ADR 0024; which keys and indexes it has,
//! in `infra/table.json`.
//!
//! | module | keeps |
//! |---|---|
//! | [`configurations`] | versions of the configuration |
//! | [`keys`] | API keys |
//! | [`connections`] | what users have at servers |
//! | [`counts`] | how often a caller has asked |
//! | [`catalog`] | what all instances know of servers |
//! | [`once`] | what was used and cannot be used again |
//! | [`records`] | what the control plane notes |
//! | [`families`] | how far families of tokens have come |
//! | [`trail`] and [`scribe`], [`search`], [`check`] | the audit trail: written, searched, checked |

mod catalog;
mod check;
mod configurations;
mod connections;
mod counts;
mod families;
mod item;
mod keys;
mod once;
mod records;
mod scribe;
mod search;
mod text;
pub(crate) mod trail;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use portcullis_core::control::StoreError;

use futures::FutureExt as _;

use self::catalog::Catalog;
use self::configurations::Configurations;
use self::connections::Connections;
use self::counts::Counts;
use self::families::Families;
use self::item::{Item, PK, SK, TTL, number, text};
use self::keys::Keys;
use self::once::Used;
use self::records::Records;
use self::search::Reader;
use self::trail::Sink;
use self::write::{Condition, Written};
use crate::host::{Reading, Stores};
use crate::underway::Underway;

/// How often what others are writing at the same moment is tried again.
const ATTEMPTS: u32 = 32;
/// The longest pause between two such attempts, in milliseconds.
const LONGEST_PAUSE: u64 = 250;

/// The table. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(crate) struct Table {
    client: Client,
    name: Arc<str>,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// Why the table did not do what it was asked for, in words that are safe to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the table {0}")]
pub(crate) struct Trouble(pub(crate) String);

/// Returns everything that environments share in a table, and what writes its audit trail.
pub(crate) fn stores(table: &Table, underway: &Underway, reading: &Reading) -> Stores {
    let (sink, reading) = (Sink::new(table.clone()), reading.clone());
    let read: catalog::Read = Arc::new(move |changed| {
        let reading = reading.clone();
        async move { reading.catalog(changed.as_deref()).await }.boxed()
    });
    Stores {
        configurations: Some(Arc::new(Configurations::new(table.clone()))),
        keys: Some(Arc::new(Keys::new(table.clone()))),
        counts: Some(Arc::new(Counts::new(table.clone(), underway.clone()))),
        catalog: Some(Arc::new(Catalog::new(table.clone(), read))),
        once: Some(Arc::new(Used::new(table.clone()))),
        families: Some(Arc::new(Families::new(table.clone()))),
        records: Some(Arc::new(Records::new(table.clone()))),
        connections: Some(Arc::new(Connections::new(table.clone()))),
        audit: Some(Arc::new(sink.clone())),
        trail: Some(Arc::new(Reader::new(table.clone(), sink.clone()))),
        sink: Some(sink),
        secrets: None,
        key_wrap: None,
    }
}

/// A stretch of items with one key, in the table or in one of its indexes.
#[derive(Debug, Clone)]
pub(crate) struct Stretch<'a> {
    /// The index, and the names of its two keys; the table itself where there is none.
    pub(crate) index: Option<(&'a str, &'a str, &'a str)>,
    /// The first key.
    pub(crate) key: &'a str,
    /// The least and the greatest second key.
    pub(crate) between: (&'a str, &'a str),
    /// In which order items come.
    pub(crate) order: Order,
    /// How many at most.
    pub(crate) most: usize,
}

/// In which order items come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The least key first.
    Rising,
    /// The greatest key first.
    Falling,
}

impl Table {
    /// Names a table, which `clock` tells the time, in milliseconds since the Unix epoch.
    pub(crate) fn new(
        client: Client,
        name: impl Into<Arc<str>>,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self { client, name: name.into(), clock: Arc::new(clock) }
    }

    /// Returns milliseconds since the Unix epoch.
    fn now(&self) -> u64 {
        (self.clock)()
    }

    /// Tells whether an item's time is not over.
    fn is_there(&self, item: &Item) -> bool {
        number(item, TTL).is_none_or(|ttl| ttl.saturating_mul(1000) > self.now())
    }

    /// Reads an item as it was written last; nothing where there is none.
    async fn load(&self, pk: &str, sk: &str) -> Result<Option<Item>, Trouble> {
        let get = self.client.get_item().table_name(&*self.name).consistent_read(true);
        let get = get.key(PK, AttributeValue::S(pk.to_owned())).key(SK, AttributeValue::S(sk.to_owned()));
        let found = get.send().await.map_err(|error| trouble("read", &error))?;
        Ok(found.item.filter(|item| self.is_there(item)))
    }

    /// Reads items of a stretch, and where the next ones begin. Those whose time is over are left out.
    async fn query(
        &self,
        stretch: &Stretch<'_>,
        after: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), Trouble> {
        let (index, pk, sk) = stretch.index.map_or((None, PK, SK), |(name, pk, sk)| (Some(name), pk, sk));
        let (least, greatest) = stretch.between;
        let found = self
            .client
            .query()
            .table_name(&*self.name)
            .set_index_name(index.map(str::to_owned))
            // An index may be a moment behind.
            .consistent_read(index.is_none())
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :least AND :greatest")
            .expression_attribute_names("#pk", pk)
            .expression_attribute_names("#sk", sk)
            .expression_attribute_values(":pk", AttributeValue::S(stretch.key.to_owned()))
            .expression_attribute_values(":least", AttributeValue::S(least.to_owned()))
            .expression_attribute_values(":greatest", AttributeValue::S(greatest.to_owned()))
            .scan_index_forward(stretch.order == Order::Rising)
            .limit(i32::try_from(stretch.most.max(1)).unwrap_or(i32::MAX))
            .set_exclusive_start_key(after)
            .send()
            .await
            .map_err(|error| trouble("query", &error))?;
        let items = found.items.unwrap_or_default().into_iter().filter(|item| self.is_there(item)).collect();
        Ok((items, found.last_evaluated_key))
    }

    /// Reads a whole stretch.
    async fn query_all(&self, stretch: Stretch<'_>) -> Result<Vec<Item>, Trouble> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (items, next) = self.query(&stretch, after.take()).await?;
            all.extend(items);
            match next {
                Some(next) if all.len() < stretch.most => after = Some(next),
                _ => break,
            }
        }
        all.truncate(stretch.most);
        Ok(all)
    }

    /// Reads at most a hundred items by their keys, in any order; those that are not there are left out.
    async fn load_all(&self, keys: Vec<(String, String)>) -> Result<Vec<Item>, Trouble> {
        let key =
            |(pk, sk)| Item::from([(PK.into(), AttributeValue::S(pk)), (SK.into(), AttributeValue::S(sk))]);
        let (mut wanted, mut found) = (keys.into_iter().map(key).collect::<Vec<_>>(), Vec::new());
        for attempt in 0..ATTEMPTS {
            if wanted.is_empty() {
                return Ok(found);
            }
            if attempt > 0 {
                pause(attempt).await;
            }
            let keys = KeysAndAttributes::builder().set_keys(Some(std::mem::take(&mut wanted)));
            let keys = keys.consistent_read(true).build().map_err(|error| Trouble(error.to_string()))?;
            let read = self.client.batch_get_item().request_items(&*self.name, keys).send().await;
            let read = read.map_err(|error| trouble("read", &error))?;
            let items = read.responses.unwrap_or_default().remove(&*self.name).unwrap_or_default();
            found.extend(items.into_iter().filter(|item| self.is_there(item)));
            let rest = read.unprocessed_keys.unwrap_or_default().remove(&*self.name);
            wanted = rest.map(|rest| rest.keys).unwrap_or_default();
        }
        Err(Trouble("is too busy to be read".into()))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        Self(trouble.to_string())
    }
}

/// Says why a request failed. What AWS says beside that goes to the log: it names accounts and roles.
fn trouble<E: ProvideErrorMetadata>(what: &str, error: &SdkError<E>) -> Trouble {
    let detail = error.message().unwrap_or_default();
    let reason = match error {
        SdkError::TimeoutError(_) => "does not answer in time".to_owned(),
        SdkError::DispatchFailure(_) => "is out of reach".to_owned(),
        SdkError::ServiceError(_) => format!("answers {}", error.code().unwrap_or("with an error")),
        _ => "does not answer as it should".to_owned(),
    };
    tracing::warn!(what, %reason, detail, "the table did not do what it was asked for");
    Trouble(reason)
}

/// Says that an item is not what was written.
fn garbled(pk: &str, sk: &str) -> Trouble {
    Trouble(format!("holds something else at {pk}, {sk}"))
}

/// Waits before another attempt: by chance, so that those who have met do not meet again, and longer each time.
async fn pause(attempt: u32) {
    let most = (5_u64 << attempt.min(8)).min(LONGEST_PAUSE);
    tokio::time::sleep(Duration::from_millis(1 + random() % most)).await;
}

/// Returns a number that nobody can foresee.
fn random() -> u64 {
    let mut bytes = [0; 8];
    portcullis_native::randomize(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Returns a text by which one write is known among all.
fn token() -> String {
    format!("{:016x}", random())
}

/// Returns a text as a part of a key: long ones by their digest, as keys have a longest.
fn part(text: &str) -> std::borrow::Cow<'_, str> {
    const LONGEST: usize = 512;
    if text.len() <= LONGEST { text.into() } else { portcullis_core::audit::digest(text.as_bytes()).into() }
}
