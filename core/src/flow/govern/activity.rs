//! What goes through the gateway and who sends it, read from the audit trail.
//!
//! **Whoever looks pays**: the trail is read when it is asked for, and a bounded part of it. A stream ends after a minute, so that
//! who may look is asked again, and goes on where it was.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::super::control::Asked;
use super::super::forwarded::Of;
use crate::audit::{LONGEST_PAGE, Moment, Order, Query, Row, Unreadable};
use crate::body::{Body, Reply};
use crate::control::activity::{Identities, Statistics, Traffic};
use crate::control::answer::{Fault, answer, kept_from_caches};
use crate::control::listing::Listing;
use crate::gateway::Gateway;
use crate::ports::{AuditQuery, Host, Undivided, Until};
use crate::wire::sse;

/// How many pages of the trail one request reads.
const PAGES: usize = 20;
/// How often a stream looks what has happened.
const EVERY: Duration = Duration::from_secs(1);
/// After how many looks at nothing a stream says that it is there.
const QUIET: u32 = 15;
/// After how many looks it ends.
const LOOKS: u32 = 60;
/// How long before the platform ends a stream it does so itself, in milliseconds.
const BEFORE: u64 = 2000;

impl<H: Host> Gateway<H> {
    pub(super) async fn show_statistics(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let listing = Listing::read(asked.query, &["since", "gateway"])?;
        let mut statistics = Statistics::default();
        let since =
            self.read_since((asked, &listing), "1h", |line, gateway| statistics.take(line, gateway)).await?;
        Ok(answer(StatusCode::OK, &statistics.described(since)))
    }

    pub(super) async fn show_identities(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let listing = Listing::read(asked.query, &["since"])?;
        let mut identities = Identities::default();
        let since = self.read_since((asked, &listing), "7d", |line, _| identities.take(line)).await?;
        let (items, since) = identities.described(since);
        let mut said = listing.part(items);
        said["since"] = json!(since);
        Ok(answer(StatusCode::OK, &said))
    }

    /// Reads the trail from the newest entry back to a moment; returns from when on all was read.
    async fn read_since(
        &self,
        (asked, listing): (&Asked<'_>, &Listing),
        default: &str,
        mut take: impl FnMut(&str, Option<&str>),
    ) -> Result<u64, Fault> {
        let moment = Moment::parse(listing.get("since").unwrap_or(default));
        let moment = moment.ok_or_else(|| Fault::field("since", Moment::EXPECTED))?;
        let of = listing.get("gateway").map_or(Of::All, Of::named);
        let trail = self.readable(asked, of).await?;
        let since = moment.before(self.host().now());
        let mut query =
            Query { since: Some(since), order: Order::Newest, limit: LONGEST_PAGE, ..Query::default() };
        let mut oldest = self.host().now();
        for _ in 0..PAGES {
            let (page, from) = trail.read(query.clone()).await?;
            for (line, gateway) in page.lines.iter().zip(&from) {
                take(line, gateway.as_deref());
            }
            if let Some(row) = page.lines.last().and_then(|line| Row::read(line)) {
                oldest = row.searched().time;
            }
            query.cursor = page.next;
            if query.cursor.is_none() {
                return Ok(since);
            }
        }
        // What lies before the last line was not read, nor perhaps all of its own millisecond.
        Ok(since.max(oldest + 1))
    }

    /// Answers with what goes through, as it does.
    pub(super) async fn watch_traffic(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let trail = self.trail_of(asked, Of::All).await?;
        let known = asked.headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let newest = Query { limit: 1, order: Order::Newest, ..Query::default() };
        let at = match known.filter(|known| !known.is_empty()) {
            Some(known) => match trail.page(after(Some(known.clone()))).await {
                Ok(_) => Some(known),
                // It is of another trail, or of a part that is no longer there.
                Err(Unreadable::Cursor) => trail.page(newest).await?.follow,
                Err(error) => return Err(error.into()),
            },
            None => trail.page(newest).await?.follow,
        };
        let until = asked.extensions.get::<Until>().map(|until| until.0.saturating_sub(BEFORE));
        // Where nothing is passed on before all is there, one look is all.
        let looks = if asked.extensions.get::<Undivided>().is_some() { 1 } else { LOOKS };
        let opening = format!("retry: 250\n{}\n", id_of(at.as_deref()));
        let watch = Watch { gateway: self.clone(), trail, at, looks, quiet: 0, until };
        let opening = stream::once(std::future::ready(Ok(Bytes::from(opening))));
        let mut reply = Reply::new(Body::Stream(opening.chain(watch.into_chunks()).boxed()));
        reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Ok(kept_from_caches(reply))
    }
}

/// Somebody who looks at what goes through.
struct Watch<H: Host> {
    gateway: Gateway<H>,
    trail: Arc<dyn AuditQuery>,
    /// Up to where the trail was read.
    at: Option<String>,
    /// How many looks are left.
    looks: u32,
    /// How many looks saw nothing in a row.
    quiet: u32,
    /// When the platform ends it, in milliseconds since the Unix epoch.
    until: Option<u64>,
}

impl<H: Host> Watch<H> {
    fn into_chunks(self) -> crate::ports::Chunks {
        stream::unfold(self, |mut watch| async move {
            while watch.goes_on() {
                watch.gateway.host().sleep(EVERY).await;
                if let Some(text) = watch.look().await {
                    return Some((Ok(text.into()), watch));
                }
            }
            None
        })
        .boxed()
    }

    fn goes_on(&mut self) -> bool {
        let is_over = self.until.is_some_and(|until| self.gateway.host().now() >= until);
        let goes_on = self.looks > 0 && !is_over && !self.gateway.0.stopping.load(Ordering::Relaxed);
        self.looks = self.looks.saturating_sub(1);
        goes_on
    }

    /// Reads what has come; returns what is said of it, if anything.
    async fn look(&mut self) -> Option<String> {
        let mut traffic = Traffic::default();
        for _ in 0..PAGES {
            // What cannot be read now is read the next time.
            let Ok(page) = self.trail.page(after(self.at.clone())).await else { break };
            for line in &page.lines {
                traffic.take(line);
            }
            self.at = page.follow.or(self.at.take());
            if page.next.is_none() {
                break;
            }
        }
        if let Some(said) = traffic.described(self.gateway.host().now()) {
            self.quiet = 0;
            return Some(format!("event: traffic\n{}data: {said}\n\n", id_of(self.at.as_deref())));
        }
        self.quiet += 1;
        let is_time = self.quiet.is_multiple_of(QUIET);
        is_time.then(|| String::from_utf8_lossy(sse::KEEP_ALIVE).into_owned())
    }
}

/// Asks for what came after a place in the trail; without one there was nothing yet.
fn after(cursor: Option<String>) -> Query {
    Query { order: Order::Oldest, limit: LONGEST_PAGE, cursor, ..Query::default() }
}

/// Returns the field of an event that says up to where the trail was read.
fn id_of(at: Option<&str>) -> String {
    let at = at.filter(|at| !at.contains(|c: char| c.is_control()));
    at.map_or_else(String::new, |at| format!("id: {at}\n"))
}
