//! The audit trail as those who run the gateway read it over HTTP: in pages, as a whole, and whether its chains hold.
//!
//! **Nobody reads it but who governs**, and a member what is theirs (`govern/theirs.rs`).

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderValue, StatusCode, header};

use super::control::Asked;
#[cfg(feature = "control")]
use super::forwarded::Of;
#[cfg(feature = "control")]
use super::labelled::Labelled;
use crate::audit::{BadQuery, LONGEST_PAGE, Order, Page, Query, Unreadable};
use crate::body::{self, Body, Reply};
use crate::control::answer::{Fault, kept_from_caches};
#[cfg(feature = "control")]
use crate::control::operations::Reach;
use crate::error::Unreachable;
use crate::gateway::Gateway;
use crate::ports::{AuditQuery, Host};

/// The media type of JSON lines.
const LINES: HeaderValue = HeaderValue::from_static("application/jsonl; charset=utf-8");

/// How the audit trail is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// A page of entries.
    Page,
    /// Every entry.
    Export,
    /// Whether the chains hold.
    Verify,
}

impl<H: Host> Gateway<H> {
    /// Returns this gateway's own trail, where it can be read.
    pub(super) fn own_trail(&self) -> Result<&Arc<dyn AuditQuery>, Fault> {
        let none = || {
            let detail = "this gateway keeps no audit trail that it could read";
            Fault::new(StatusCode::NOT_FOUND, "no-trail", detail)
        };
        self.host().trail().ok_or_else(none)
    }

    /// Returns the trail for who asks: where there are no members, everybody reads all of it.
    #[cfg(not(feature = "control"))]
    #[expect(clippy::unused_async, reason = "what is a member's is read from a store")]
    async fn trail_of(&self, _: &Asked<'_>) -> Result<Arc<dyn AuditQuery>, Fault> {
        self.own_trail().cloned()
    }

    /// Answers with what the trail holds.
    #[cfg(not(feature = "control"))]
    pub(super) async fn read_trail(&self, asked: &Asked<'_>, what: Reading) -> Result<Reply, Fault> {
        let trail = self.trail_of(asked).await?;
        let query = Query::parse(asked.query.unwrap_or_default(), self.host().now())?;
        let reply = match what {
            Reading::Page => body::json(StatusCode::OK, trail.page(query).await?.to_json()),
            Reading::Export => export(trail, query).await?,
            Reading::Verify => verify(&*trail, query).await?,
        };
        Ok(kept_from_caches(reply))
    }

    /// Answers with what the trail holds; where this gateway governs others, with what theirs hold too.
    #[cfg(feature = "control")]
    pub(super) async fn read_trail(&self, asked: &Asked<'_>, what: Reading) -> Result<Reply, Fault> {
        let (of, rest) = Of::read(asked.query.unwrap_or_default());
        let query = Query::parse(&rest, self.host().now())?;
        let reply = match what {
            Reading::Page => body::json(StatusCode::OK, self.readable(asked, of).await?.told(query).await?),
            // Of one gateway it is what that gateway has, to be checked.
            Reading::Export if of == Of::All && asked.reach == Reach::All => {
                export(Arc::new(Labelled(self.trails(of)?)), query).await?
            }
            Reading::Export => export(self.trail_of(asked, of).await?, query).await?,
            Reading::Verify => verify(&*self.trail_of(asked, of).await?, query).await?,
        };
        Ok(kept_from_caches(reply))
    }
}

/// Answers with every entry that is asked for, the oldest first. The first page is read before anything is answered: a
/// trail that cannot be read at all is no answer that breaks off.
async fn export(trail: Arc<dyn AuditQuery>, query: Query) -> Result<Reply, Unreadable> {
    let query = Query { order: Order::Oldest, limit: LONGEST_PAGE, ..query };
    let first = trail.page(query.clone()).await?;
    let rest = stream::unfold(first.next.clone(), move |next| {
        let (trail, query) = (trail.clone(), query.clone());
        async move {
            let query = Query { cursor: Some(next?), ..query };
            match trail.page(query).await {
                Ok(page) => Some((Ok(lines(&page)), page.next)),
                Err(error) => Some((Err(Unreachable::new("audit", error.to_string())), None)),
            }
        }
    });
    let all = stream::once(std::future::ready(Ok(lines(&first)))).chain(rest);
    let mut reply = Reply::new(Body::Stream(all.boxed()));
    reply.headers_mut().insert(header::CONTENT_TYPE, LINES);
    Ok(reply)
}

fn lines(page: &Page) -> Bytes {
    let mut out = String::with_capacity(page.lines.iter().map(|line| line.len() + 1).sum());
    for line in &page.lines {
        out.push_str(line);
        out.push('\n');
    }
    out.into()
}

/// Checks the chains. Of the parameters only the cursor has a meaning: a part of a chain says nothing of the whole.
async fn verify(trail: &dyn AuditQuery, query: Query) -> Result<Reply, Fault> {
    let cursor = query.cursor.clone();
    if query != (Query { cursor: cursor.clone(), ..Query::default() }) {
        return Err(
            BadQuery { parameter: "cursor".into(), expected: "is the only parameter of this path" }.into()
        );
    }
    Ok(body::json(StatusCode::OK, trail.verify(cursor).await?.to_json()))
}

impl From<BadQuery> for Fault {
    fn from(bad: BadQuery) -> Self {
        Self::field(&bad.parameter, bad.expected)
    }
}

impl From<Unreadable> for Fault {
    fn from(error: Unreadable) -> Self {
        match &error {
            Unreadable::Cursor => Self::field("cursor", "is none of this trail"),
            Unreadable::Failed(reason) => {
                tracing::error!(%reason, "the audit trail cannot be read");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "trail", error.to_string())
            }
        }
    }
}
