//! Bodies of requests and answers, as hosts and core hand them to each other.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};

use crate::error::{Refusal, Unreachable};
pub use crate::pieces::Whole;
use crate::ports::Chunks;
use crate::wire::{http as names, message};

/// A body: all there, or still coming.
pub enum Body {
    /// All of it.
    Full(Whole),
    /// Chunks as they come. Dropping it tells the other side that nobody reads on.
    Stream(Chunks),
}

/// What the gateway answers.
pub type Reply = Response<Body>;

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full(whole) => write!(f, "Full({} bytes)", whole.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Full(Whole::default())
    }
}

/// For as many announced bytes room is made before they have come.
const EXPECTED: usize = 4 << 20;

/// Why a body could not be collected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectError {
    /// It is larger than it may be.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It broke off.
    #[error("the body broke off: {0}")]
    Broken(Unreachable),
}

impl Body {
    /// Collects at most `limit` bytes.
    pub async fn collect(self, limit: usize) -> Result<Bytes, CollectError> {
        self.collect_expecting(0, limit).await
    }

    /// Collects at most `limit` bytes, of which `expected` are announced.
    pub async fn collect_expecting(self, expected: usize, limit: usize) -> Result<Bytes, CollectError> {
        let mut chunks = match self {
            Self::Full(whole) if whole.len() > limit => return Err(CollectError::TooLarge(limit)),
            Self::Full(whole) => return Ok(whole.into_bytes()),
            Self::Stream(chunks) => chunks,
        };
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(CollectError::Broken)?;
            if first.len().max(whole.len()) + chunk.len() > limit {
                return Err(CollectError::TooLarge(limit));
            }
            if first.is_empty() {
                first = chunk;
                continue;
            }
            if whole.is_empty() {
                whole.reserve(expected.min(limit).min(EXPECTED));
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(if whole.is_empty() { first } else { whole.freeze() })
    }
}

/// Returns an answer without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::default());
    *reply.status_mut() = status;
    reply
}

/// Returns an answer of one JSON document.
pub(crate) fn json(status: StatusCode, text: impl Into<Whole>) -> Reply {
    let mut reply = Response::new(Body::Full(text.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, names::JSON);
    reply
}

/// Returns an answer of server-sent events.
pub(crate) fn events(chunks: Chunks) -> Reply {
    let mut reply = Response::new(Body::Stream(chunks));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, names::EVENT_STREAM);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    reply
}

/// Returns the answer to a request that is refused: a JSON-RPC error under the refusal's HTTP status.
pub(crate) fn refused(id: Option<&str>, refusal: &Refusal) -> Reply {
    let mut reply = json(refusal.status, message::error(id, refusal));
    let busy = refusal.status == StatusCode::SERVICE_UNAVAILABLE;
    if let Some(wait) = refusal.retry_after.or(busy.then_some(Duration::from_secs(1))) {
        // Whole seconds (RFC 9110, section 10.2.3): rather a little late than in vain.
        let seconds = wait.as_millis().div_ceil(1000);
        reply
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
    }
    reply
}

/// Keeps something until an answer that streams has ended.
pub(crate) fn holding<T: Send + 'static>(reply: Reply, kept: T) -> Reply {
    reply.map(|body| match body {
        Body::Full(whole) => Body::Full(whole),
        Body::Stream(chunks) => Body::Stream(
            chunks
                .map(move |chunk| {
                    let _ = &kept;
                    chunk
                })
                .boxed(),
        ),
    })
}
