//! What was used once and cannot be used again, whichever instance it comes to.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use portcullis_core::error::Unreachable;
use portcullis_core::ports::Once;

use super::item::{BY, TTL, item, string, ttl, with};
use super::write::Found;
use super::{ATTEMPTS, Condition, Table, Trouble, part, pause, text, token};

/// The second key of a note.
const SK: &str = "now";

/// The notes in the table.
#[derive(Debug)]
pub(crate) struct Used {
    table: Table,
    /// What this instance's notes begin with, so that it strikes out no other's.
    name: String,
}

impl Used {
    /// Keeps them in this table.
    pub(crate) fn new(table: Table) -> Self {
        Self { table, name: token() }
    }

    async fn note(&self, stamp: &str, until: u64) -> Result<bool, Trouble> {
        let by = format!("{}{}", self.name, token());
        let mut condition = Condition::IsNew;
        for attempt in 1..=ATTEMPTS {
            let note = with(item(&key(stamp), SK), [(BY, string(&by)), (TTL, ttl(until))]);
            match self.table.put(note, condition).await?.in_its_stead() {
                None => return Ok(true),
                Some(Found::Other(other)) if self.table.is_there(&other) => {
                    return Ok(text(&other, BY) == Some(by.as_str()));
                }
                // Its time is over, and it was not removed yet.
                Some(Found::Other(other)) => {
                    condition = Condition::Has(BY, string(text(&other, BY).unwrap_or_default()));
                }
                Some(_) => condition = Condition::IsNew,
            }
            pause(attempt).await;
        }
        Err(Trouble("is too busy to be written".into()))
    }

    async fn strike(&self, stamp: &str) -> Result<(), Trouble> {
        let pk = key(stamp);
        match self.table.load(&pk, SK).await?.as_ref().and_then(|item| text(item, BY)) {
            Some(by) if by.starts_with(&self.name) => self.table.delete((&pk, SK), (BY, string(by))).await,
            _ => Ok(()),
        }
    }
}

impl Once for Used {
    fn take(&self, stamp: &str, until: u64) -> BoxFuture<'_, Result<bool, Unreachable>> {
        let stamp = stamp.to_owned();
        async move { self.note(&stamp, until).await.map_err(unreachable) }.boxed()
    }

    fn give_back(&self, stamp: &str) -> BoxFuture<'_, Result<(), Unreachable>> {
        let stamp = stamp.to_owned();
        async move { self.strike(&stamp).await.map_err(unreachable) }.boxed()
    }
}

fn key(stamp: &str) -> String {
    format!("once#{}", part(stamp))
}

fn unreachable(trouble: Trouble) -> Unreachable {
    Unreachable::new("table", trouble.to_string())
}
