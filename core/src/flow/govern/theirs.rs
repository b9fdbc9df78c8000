//! The audit trail as a member reads it: what is theirs, and nothing that tells of the rest.
//!
//! **There is one way for a member to the trail, this one**: whatever is asked of it, in whatever words, is narrowed here. A cursor
//! is sealed and theirs alone, since a place in the trail tells how much others do. **What is looked for is theirs, and nothing
//! more narrow**: were it looked for by an agent, whether there is more to look at would tell of that agent's other callers.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{self, BoxFuture};

use super::super::control::Asked;
use super::super::forwarded::Of;
use super::super::labelled::Labelled;
use crate::audit::{Order, Page, Query, Unreadable, Verdicts};
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
        let trails = self.trails(of)?;
        if asked.reach == Reach::All {
            return Ok(Arc::new(trails));
        }
        let keys = match self.host().keys() {
            Some(store) => store.all().await?,
            None => Vec::new(),
        };
        let own = asked.operator.principal.clone();
        let principals = principals(&own, &keys);
        let trail = Arc::new(Labelled(trails));
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
        let opened = |sealed: &String| self.opened(sealed).ok_or(Unreadable::Cursor);
        let cursor = query.cursor.as_ref().map(opened).transpose()?.filter(|cursor| !cursor.is_empty());
        let (since, until, order, limit) = (query.since, query.until, query.order, query.limit);
        let principals = Some(self.principals.clone());
        let own =
            Query { principals, since, until, order, limit, cursor: cursor.clone(), ..Query::default() };
        let page = self.trail.page(own.clone()).await.map_err(withheld)?;
        // A host that finds too much gives nothing away.
        let lines = page.lines.iter().filter(|line| own.matches(line) && query.matches(line));
        // Whether there is a place to go on from tells whether anybody did something.
        let goes_on = cursor.filter(|_| order == Order::Oldest);
        let follow = page.follow.or(goes_on).unwrap_or_default();
        Ok(Page {
            lines: lines.filter_map(|line| shown(line)).collect(),
            next: page.next.map(|cursor| self.sealed(&cursor)),
            follow: Some(self.sealed(&follow)),
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
