//! The audit trail as a member reads it: what is theirs, and nothing that tells of the rest.
//!
//! **There is one way for a member to the trail, this one**: whatever is asked of it, in whatever words, is narrowed here. A cursor
//! is sealed and theirs alone, since a place in the trail tells how much others do.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{self, BoxFuture};

use super::super::control::Asked;
use super::super::forwarded::Of;
use crate::audit::{Page, Query, Unreadable, Verdicts};
use crate::control::answer::Fault;
use crate::control::operations::Reach;
use crate::control::theirs::{padded, principals, shown, unpadded};
use crate::gateway::Gateway;
use crate::ports::{AuditQuery, Host};
use crate::session::Purpose;

impl<H: Host> Gateway<H> {
    /// Returns the trail as far as who asks may read it.
    pub(in super::super) async fn trail_of(
        &self,
        asked: &Asked<'_>,
        of: Of,
    ) -> Result<Arc<dyn AuditQuery>, Fault> {
        let trail: Arc<dyn AuditQuery> = Arc::new(self.trails(of)?);
        if asked.reach == Reach::All {
            return Ok(trail);
        }
        let keys = match self.host().keys() {
            Some(store) => store.all().await?,
            None => Vec::new(),
        };
        let own = asked.operator.principal.clone();
        let principals = principals(&own, &keys);
        Ok(Arc::new(Theirs { trail, gateway: self.clone(), own, principals }))
    }
}

/// What is somebody's of a trail.
struct Theirs<H: Host> {
    trail: Arc<dyn AuditQuery>,
    gateway: Gateway<H>,
    /// Who they are.
    own: Arc<str>,
    /// The principals whose entries are theirs.
    principals: Vec<Arc<str>>,
}

impl<H: Host> Theirs<H> {
    async fn find(&self, query: Query) -> Result<Page, Unreadable> {
        let cursor = query.cursor.map(|sealed| self.opened(&sealed).ok_or(Unreadable::Cursor)).transpose()?;
        let query = Query { cursor, principals: Some(self.principals.clone()), ..query };
        let page = self.trail.page(query.clone()).await.map_err(withheld)?;
        // A host that finds too much gives nothing away.
        let lines = page.lines.iter().filter(|line| query.matches(line));
        Ok(Page {
            lines: lines.filter_map(|line| shown(line)).collect(),
            next: page.next.map(|cursor| self.sealed(&cursor)),
            follow: page.follow.map(|cursor| self.sealed(&cursor)),
        })
    }

    fn sealed(&self, cursor: &str) -> String {
        let host = self.gateway.host();
        self.gateway.0.sealer.pack(host, Purpose::Cursor, &padded(&self.own, cursor))
    }

    fn opened(&self, sealed: &str) -> Option<String> {
        unpadded(&self.own, &self.gateway.0.sealer.unpack(Purpose::Cursor, sealed)?)
    }
}

impl<H: Host> AuditQuery for Theirs<H> {
    fn page(&self, query: Query) -> BoxFuture<'_, Result<Page, Unreadable>> {
        self.find(query).boxed()
    }

    fn verify(&self, _: Option<String>) -> BoxFuture<'_, Result<Verdicts, Unreadable>> {
        // A chain is everybody's.
        future::ready(Err(Unreadable::Cursor)).boxed()
    }
}

/// Says no more than that it cannot be read: where it lies is no member's business.
fn withheld(error: Unreadable) -> Unreadable {
    match error {
        Unreadable::Cursor => Unreadable::Cursor,
        Unreadable::Failed(reason) => {
            tracing::error!(%reason, "the audit trail cannot be read");
            Unreadable::Failed("its store does not answer".into())
        }
    }
}
