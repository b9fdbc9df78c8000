//! Requests with an `Idempotency-Key` are done once: who sends one again gets the same answer. Who reads again what has not changed
//! gets none.
//!
//! **Of several that come at once, one is done**: whoever writes the record first.

use http::header;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use super::super::control::Asked;
use crate::body::{self, Body, Reply};
use crate::control::answer::{Fault, kept_from_caches};
use crate::control::operations::{Does, Operation};
use crate::control::repeated::{Again, Given, KEPT, Known, count_of, counted, key_of, request};
use crate::control::unchanged::{Tagged, unless_known};
use crate::gateway::Gateway;
use crate::ports::{Host, RecordKey, RecordStore};

/// How often a key is counted that others count at the same time.
const ATTEMPTS: usize = 16;

impl<H: Host> Gateway<H> {
    /// Does what an operation is, unless it was done before.
    pub(in super::super) async fn done_once(
        &self,
        (operation, head): (&Operation, &Parts),
        asked: &Asked<'_>,
    ) -> Result<Reply, Fault> {
        if head.method == Method::GET {
            let tagged = match operation.does {
                Does::Govern(_) => Tagged::Partly,
                _ => Tagged::Wholly,
            };
            return Ok(unless_known(self.done(operation.does, asked).await?, asked.headers, tagged));
        }
        if head.method != Method::POST {
            return self.done(operation.does, asked).await;
        }
        let Some(key) = key_of(asked.headers, &asked.operator.principal)? else {
            return self.done(operation.does, asked).await;
        };
        let told = request(operation.name, head.uri.query(), &asked.body);
        let path = head.uri.path();
        let begun = Known::begun(request(path, None, told.as_bytes()), self.host().now());
        match self.begin_once(&key, &begun, &asked.operator.principal).await? {
            Again::Answered(given) => Ok(given_again(given)),
            Again::Do => {
                let done = self.done(operation.does, asked).await;
                self.end_once(key, begun, done).await
            }
        }
    }

    /// Takes note that a request is being done, unless it is known.
    async fn begin_once(&self, key: &RecordKey, begun: &Known, principal: &str) -> Result<Again, Fault> {
        let store = self.record_store()?;
        let now = self.host().now();
        let read = store.get(key.clone()).await?;
        if let Some(known) = read.as_deref().and_then(Known::parse)
            && let answered @ Again::Answered(_) = known.again(begun.request(), now)?
        {
            return Ok(answered);
        }
        if read.is_none() {
            self.count_key(store, principal, now).await?;
        }
        if store.replace(key.clone(), read, Some(begun.to_text()), Some(now + KEPT)).await? {
            return Ok(Again::Do);
        }
        let known = store.get(key.clone()).await?.as_deref().and_then(Known::parse);
        known.map_or(Ok(Again::Do), |known| known.again(begun.request(), now))
    }

    /// Counts a key of somebody's, or refuses it.
    async fn count_key(&self, store: &dyn RecordStore, principal: &str, now: u64) -> Result<(), Fault> {
        let key = count_of(principal, now);
        for _ in 0..ATTEMPTS {
            let read = store.get(key.clone()).await?;
            let next = counted(read.as_deref(), now)?;
            // It is kept for as long as what it counts, so that a clock that is put back counts on.
            if store.replace(key.clone(), read, Some(next), Some(now + KEPT)).await? {
                return Ok(());
            }
        }
        let detail = "too many requests with an `Idempotency-Key` come at once; try again";
        Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail))
    }

    /// Keeps the answer; what came to nothing may be tried again.
    async fn end_once(
        &self,
        key: RecordKey,
        begun: Known,
        done: Result<Reply, Fault>,
    ) -> Result<Reply, Fault> {
        let (store, read, until) = (self.record_store()?, begun.to_text(), self.host().now() + KEPT);
        let reply = match done {
            Ok(reply) if reply.status().is_success() => reply,
            other => {
                store.replace(key, Some(read), None, None).await?;
                return other;
            }
        };
        let (head, body) = reply.into_parts();
        let Body::Full(whole) = body else { return Ok(Reply::from_parts(head, body)) };
        let bytes = whole.into_bytes();
        let tag = head.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let next = begun.answered(head.status, tag, &bytes).to_text();
        // It is done: that this cannot be kept is no reason to say otherwise.
        if let Err(error) = store.replace(key, Some(read), Some(next), Some(until)).await {
            tracing::warn!(%error, "an answer is not kept that may be asked for again");
        }
        Ok(Reply::from_parts(head, Body::Full(bytes.into())))
    }
}

fn given_again(given: Given) -> Reply {
    let status = StatusCode::from_u16(given.status).unwrap_or(StatusCode::OK);
    let mut reply = kept_from_caches(body::json(status, given.body.unwrap_or_default()));
    if let Some(tag) = given.tag.and_then(|tag| HeaderValue::from_str(&tag).ok()) {
        reply.headers_mut().insert(header::ETAG, tag);
    }
    reply
}
