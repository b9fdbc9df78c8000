//! What all instances know of servers: one text, which one instance at a time brings up to date.
//!
//! **Whoever reads servers holds a lease**, and others wait for what it publishes. A lease ends by itself: its holder may
//! be frozen or gone. What was read earlier never takes the place of what was read later.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use portcullis_core::error::Unreachable;
use portcullis_core::ports::CatalogStore;

use super::item::{BY, TTL, count, item, number, string, text, ttl, with};
use super::{Condition, Table, Trouble, token};

/// The key of what is known, and of the lease.
const PK: &str = "catalog";
/// The second key of what is known.
const NOW: &str = "now";
/// The second key of the lease.
const LEASE: &str = "lease";
/// How long a lease lasts, in milliseconds: longer than it takes to read all servers.
const LEASED: u64 = 15_000;
/// How long what was published is kept, in milliseconds.
const KEPT: u64 = 24 * 60 * 60 * 1000;
/// How long is waited between two looks for what another publishes.
const LOOK: Duration = Duration::from_millis(100);
/// How often is looked: for as long as two leases last.
const LOOKS: u32 = 300;

/// Reads all servers of which too little is known, and that which has changed; returns what is known of all, or nothing
/// where nobody can read, yet.
pub(crate) type Read = Arc<dyn Fn(Option<String>) -> BoxFuture<'static, Option<Bytes>> + Send + Sync>;

/// What is known, in the table. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(crate) struct Catalog {
    table: Table,
    read: Read,
    /// What was published last, as far as this instance knows.
    last: Arc<Mutex<Option<Published>>>,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Published {
    /// When it was read, in milliseconds since the Unix epoch.
    at: u64,
    address: String,
    text: Bytes,
}

impl Catalog {
    /// Keeps it in this table; `read` reads the servers.
    pub(crate) fn new(table: Table, read: Read) -> Self {
        Self { table, read, last: Arc::default() }
    }

    /// Returns what was published last.
    async fn last(&self) -> Result<Option<Published>, Trouble> {
        let Some(item) = self.table.load(PK, NOW).await? else { return Ok(None) };
        let (Some(at), Some(address)) = (number(&item, "read"), text(&item, "text")) else {
            return Err(super::garbled(PK, NOW));
        };
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last().clone().filter(|last| last.address == address);
        let text = match known {
            Some(known) => known.text,
            None => self.table.text(address).await?.into(),
        };
        let published = Published { at, address: address.to_owned(), text };
        *last() = Some(published.clone());
        Ok(Some(published))
    }

    async fn bring_up_to_date(&self, changed: Option<String>) -> Result<Bytes, Trouble> {
        let known = self.last.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|known| known.at);
        let before = self.last().await?;
        if let Some(before) = before.as_ref().filter(|before| changed.is_none() && known < Some(before.at)) {
            // Another has read servers since this instance last looked.
            return Ok(before.text.clone());
        }
        // What another reads meanwhile may lack what has changed.
        let is_new =
            |now: &Published| changed.is_none() && before.as_ref().is_none_or(|before| before.at < now.at);
        let by = token();
        for look in 0..LOOKS {
            if (look == 0 || self.is_free().await?) && self.take_lease(&by).await? {
                let published = self.read_and_publish(changed.as_deref(), is_new).await;
                // One that stays ends by itself.
                let _ = self.table.delete((PK, LEASE), (BY, string(&by))).await;
                return published;
            }
            tokio::time::sleep(LOOK).await;
            if let Some(now) = self.last().await?.filter(is_new) {
                return Ok(now.text);
            }
        }
        Err(Trouble("is read by another instance, which does not end".into()))
    }

    /// Tells whether nobody has the lease. To ask costs less than to take it in vain.
    async fn is_free(&self) -> Result<bool, Trouble> {
        let lease = self.table.load(PK, LEASE).await?;
        Ok(lease.is_none_or(|lease| number(&lease, "until").is_none_or(|until| until < self.table.now())))
    }

    /// Takes the lease, unless another has it.
    async fn take_lease(&self, by: &str) -> Result<bool, Trouble> {
        let now = self.table.now();
        let values = [(BY, string(by)), ("until", count(now + LEASED)), (TTL, ttl(now + LEASED + KEPT))];
        let condition = Condition::IsNewOrLess("until", count(now));
        let found = self.table.put(with(item(PK, LEASE), values), condition).await?.in_its_stead();
        Ok(found.is_none_or(|found| found.item().and_then(|item| text(item, BY)) == Some(by)))
    }

    async fn read_and_publish(
        &self,
        changed: Option<&str>,
        is_new: impl Fn(&Published) -> bool,
    ) -> Result<Bytes, Trouble> {
        // Another may have done so just before the lease was taken.
        if let Some(now) = self.last().await?.filter(is_new) {
            return Ok(now.text);
        }
        let at = self.table.now();
        let read = (self.read)(changed.map(str::to_owned))
            .await
            .ok_or_else(|| Trouble("waits for a gateway that reads".into()))?;
        let said = std::str::from_utf8(&read).map_err(|_| Trouble("takes texts only".into()))?;
        let until = at + KEPT;
        let address = self.table.put_text(said, Some(until)).await?;
        let now = with(item(PK, NOW), [("read", count(at)), ("text", string(&address)), (TTL, ttl(until))]);
        self.table.put(now, Condition::IsNewOrLess("read", count(at))).await?;
        Ok(read)
    }
}

impl CatalogStore for Catalog {
    fn published(&self) -> BoxFuture<'static, Option<Bytes>> {
        let catalog = self.clone();
        async move {
            let last = catalog.last().await.inspect_err(|trouble| {
                tracing::error!(reason = %trouble, "what all instances know of servers cannot be read");
            });
            last.ok().flatten().map(|last| last.text)
        }
        .boxed()
    }

    fn refresh(&self, changed: Option<&str>) -> BoxFuture<'static, Result<Bytes, Unreachable>> {
        let (catalog, changed) = (self.clone(), changed.map(str::to_owned));
        let failed = |trouble: Trouble| Unreachable::new("table", trouble.to_string());
        async move { catalog.bring_up_to_date(changed).await.map_err(failed) }.boxed()
    }
}
