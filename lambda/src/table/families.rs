//! How far families of tokens have come that the gateway has handed out, whichever instance they come to.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use portcullis_core::control::StoreError;
use portcullis_core::ports::TokenFamilies;

use super::item::{BY, TTL, item, string, ttl, with};
use super::write::Found;
use super::{Condition, Table, Trouble, part, text, token};

/// The second key of a note.
const SK: &str = "now";
/// Where it stands what is noted.
const NOTE: &str = "note";

/// The notes in the table.
#[derive(Debug)]
pub(crate) struct Families(Table);

impl Families {
    /// Keeps them in this table.
    pub(crate) fn new(table: Table) -> Self {
        Self(table)
    }

    async fn read(&self, family: &str) -> Result<Option<String>, Trouble> {
        let item = self.0.load(&key(family), SK).await?;
        Ok(item.and_then(|item| text(&item, NOTE).map(str::to_owned)))
    }

    async fn write(
        &self,
        family: &str,
        read: Option<String>,
        next: &str,
        until: u64,
    ) -> Result<bool, Trouble> {
        let by = token();
        let condition = read.map_or(Condition::IsNew, |read| Condition::Has(NOTE, string(&read)));
        let values = [(NOTE, string(next)), (BY, string(&by)), (TTL, ttl(until))];
        let note = with(item(&key(family), SK), values);
        Ok(match self.0.put(note, condition).await?.in_its_stead() {
            None => true,
            // Where an answer was lost and the request came again, it finds its own.
            Some(Found::Other(other)) => text(&other, BY) == Some(by.as_str()),
            Some(Found::AsExpected | Found::Nothing) => false,
        })
    }
}

impl TokenFamilies for Families {
    fn noted(&self, family: String) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        async move { Ok(self.read(&family).await?) }.boxed()
    }

    fn note(
        &self,
        family: String,
        read: Option<String>,
        next: String,
        until: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        async move { Ok(self.write(&family, read, &next, until).await?) }.boxed()
    }
}

fn key(family: &str) -> String {
    format!("family#{}", part(family))
}
