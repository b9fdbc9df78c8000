//! How configurations differ: a draft from a version, or a version from another.

use http::StatusCode;

use super::super::control::Asked;
use crate::body::Reply;
use crate::control::Document;
use crate::control::answer::{Fault, answer};
use crate::control::difference::{Compared, described, to};
use crate::gateway::Gateway;
use crate::ports::Host;

impl<H: Host> Gateway<H> {
    pub(super) async fn compare(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let Compared { from, document } = Compared::read(asked.headers, &asked.body)?;
        let from = self.document_of(from).await?;
        Ok(answer(StatusCode::OK, &described(&from, &document)))
    }

    pub(super) async fn compare_versions(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let (from, to) = (asked.number()?, to(asked.query)?);
        let (from, to) = (self.document_of(Some(from)).await?, self.document_of(to).await?);
        Ok(answer(StatusCode::OK, &described(&from, &to)))
    }

    /// Returns what a version says, or the newest one; that is nothing where there is none yet.
    async fn document_of(&self, version: Option<u64>) -> Result<Document, Fault> {
        let (store, _) = self.stored()?;
        let found = match version {
            None | Some(0) => store.newest().await?.filter(|_| version.is_none()),
            Some(version) => Some(store.revision(version).await?.ok_or_else(|| Fault::no_version(version))?),
        };
        Ok(found.map(|found| Document::kept(&found.text)).unwrap_or_default())
    }
}
