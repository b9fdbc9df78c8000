//! Forwarding a governed gateway's trail to its control plane.
//!
//! **Nothing waits for it, and nothing of it is held**: lines are read from the gateway's own trail, a bounded part at a time, from
//! where the control plane says that it has them. So whichever side begins anew, each line arrives once.

use std::time::Duration;

use http::Method;
use serde::Deserialize;

use super::governed::NotGoverned;
use crate::audit::{Order, Page, Query, Unreadable};
use crate::control::fleet::forwarded::Batch;
use crate::gateway::Gateway;
use crate::ports::{AuditQuery, Host};

/// How many lines are sent at once, and how many bytes, unless one alone has more.
const MOST: (usize, usize) = (1000, 256 << 10);
/// How long the pause is while more waits, and after all was sent.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How long it is after failures at most.
const LONGEST: Duration = Duration::from_mins(1);

/// Up to where a control plane has the trail: nothing while that is not known.
pub(super) type Sent = Option<Option<String>>;

/// What a control plane answers.
#[derive(Deserialize)]
struct UpTo {
    cursor: Option<String>,
}

impl<H: Host> Gateway<H> {
    /// Forwards the trail for as long as the gateway runs.
    pub(super) async fn forward_trail(&self) {
        let (mut sent, mut trouble, mut pause) = (None, String::new(), PAUSES.1);
        loop {
            match self.send_trail(&mut sent).await {
                Ok(goes_on) => {
                    (trouble, pause) = (String::new(), PAUSES.1);
                    self.host().sleep(if goes_on { PAUSES.0 } else { PAUSES.1 }).await;
                }
                Err(NotGoverned(why)) => {
                    if why != trouble {
                        tracing::warn!(%why, "the control plane does not get the audit trail for now: it stays here");
                        trouble = why;
                    }
                    sent = None;
                    self.host().sleep(pause).await;
                    pause = (pause * 2).min(LONGEST);
                }
            }
        }
    }

    /// Sends what comes next of the trail; tells whether more waits.
    pub(super) async fn send_trail(&self, sent: &mut Sent) -> Result<bool, NotGoverned> {
        let Some(trail) = self.host().trail().cloned() else { return Ok(false) };
        let after = match sent.clone() {
            Some(after) => after,
            None => self.send_batch(&Batch::default()).await?,
        };
        *sent = Some(after.clone());
        let page = part(&*trail, after.clone()).await?;
        let next = page.next.clone().or(page.follow);
        if page.lines.is_empty() && page.next.is_none() || next == after {
            return Ok(false);
        }
        let batch = Batch { after, next: next.clone(), lines: page.lines };
        let taken = self.send_batch(&batch).await?;
        // Another may have sent it meanwhile, or what was taken may be lost there: it goes on from where they are.
        let goes_on = page.next.is_some() || taken != next;
        *sent = Some(taken);
        Ok(goes_on)
    }

    /// Sends lines; returns up to where the control plane then has them.
    async fn send_batch(&self, batch: &Batch) -> Result<Option<String>, NotGoverned> {
        let body = self.tell_plane((Method::POST, "/fleet/v1/trail"), batch.to_bytes()).await?;
        let said: UpTo = serde_json::from_slice(&body)
            .map_err(|error| NotGoverned(format!("the control plane's answer is not understood: {error}")))?;
        Ok(said.cursor)
    }
}

/// Reads what comes next of a trail. A cursor that is none of this trail is of one that is no longer there.
async fn part(trail: &dyn AuditQuery, after: Option<String>) -> Result<Page, NotGoverned> {
    let query = |cursor, limit| Query { order: Order::Oldest, limit, cursor, ..Query::default() };
    let unreadable = |error: Unreadable| NotGoverned(error.to_string());
    let (page, after) = match trail.page(query(after.clone(), MOST.0)).await {
        Err(Unreadable::Cursor) => (trail.page(query(None, MOST.0)).await.map_err(unreadable)?, None),
        page => (page.map_err(unreadable)?, after),
    };
    let mut size = 0;
    let is_within = |line: &&String| {
        size += line.len();
        size <= MOST.1
    };
    let fits = page.lines.iter().take_while(is_within).count().max(1);
    if fits >= page.lines.len() {
        return Ok(page);
    }
    trail.page(query(after, fits)).await.map_err(unreadable)
}
