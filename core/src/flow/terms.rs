//! Answering on the platform's terms: in time, whole where it has to be, and never ended as if nothing were missing.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{self, BoxFuture, Either};
use futures::{FutureExt, StreamExt, stream};
use http::{HeaderMap, StatusCode, header};

use super::listen::Listens;
use crate::body::{Body, CollectError, Reply};
use crate::error::{Refusal, Unreachable, code};
use crate::front::{Caller, Inbound};
use crate::gateway::Gateway;
use crate::ports::{Chunks, Host};
use crate::wire::{http as names, message, sse};

impl<H: Host> Gateway<H> {
    /// Answers a request that has passed the checks of its era, on the terms of the platform.
    pub(super) async fn answer(
        &self,
        headers: Option<&HeaderMap>,
        inbound: &Inbound<'_>,
        caller: &Caller,
    ) -> Result<Reply, Refusal> {
        if caller.terms.are_none() {
            return self.answer_freely(headers, inbound, caller).await;
        }
        let answering = Box::pin(async {
            let reply = self.answer_freely(headers, inbound, caller).await?;
            match caller.terms.undivided {
                Some(most) => undivided(reply, most).await,
                None => Ok(reply),
            }
        });
        let answering = AssertUnwindSafe(answering).catch_unwind();
        let reply = match future::select(answering, self.until(caller.terms.until)).await {
            Either::Left((answered, _)) => answered.unwrap_or_else(|_panicked| Err(failed()))?,
            Either::Right(_) => return Err(out_of_time()),
        };
        Ok(self.in_time(reply, inbound.id.text(), caller))
    }

    /// Waits for the end of the time that there is; for ever where there is no end.
    pub(super) fn until(&self, until: Option<u64>) -> BoxFuture<'static, ()> {
        let Some(until) = until else { return future::pending().boxed() };
        let host = self.host().clone();
        async move { host.sleep(Duration::from_millis(until.saturating_sub(host.now()))).await }.boxed()
    }

    /// Has an answer that streams end in time, with an error where it has not ended by itself. One on which an agent
    /// listens ends by itself.
    fn in_time(&self, reply: Reply, id: &str, caller: &Caller) -> Reply {
        if matches!(reply.body(), Body::Full(_)) {
            return reply;
        }
        let listens = reply.extensions().get::<Listens>().is_some();
        let is_events = reply.headers().get(header::CONTENT_TYPE) == Some(&names::EVENT_STREAM);
        let until = self.until(caller.terms.until.filter(|_| !listens));
        let (id, record) = (id.to_owned(), caller.record.clone());
        let last = move |refusal: Refusal| {
            record.failed();
            if is_events {
                Ok(sse::encode(None, message::error(Some(&id), &refusal).as_bytes()))
            } else {
                Err(Unreachable::new("gateway", refusal.message))
            }
        };
        reply.map(|body| match body {
            Body::Stream(chunks) => Body::Stream(ending(chunks, until, last)),
            whole @ Body::Full(_) => whole,
        })
    }
}

/// Ends `chunks` at that time, or when their making fails, with what `last` makes of the reason.
fn ending(
    chunks: Chunks,
    until: BoxFuture<'static, ()>,
    last: impl FnOnce(Refusal) -> Result<Bytes, Unreachable> + Send + 'static,
) -> Chunks {
    let chunks = AssertUnwindSafe(chunks).catch_unwind();
    stream::unfold(Some((chunks, until, last)), |state| async move {
        let (mut chunks, mut until, last) = state?;
        match future::select(chunks.next(), &mut until).await {
            Either::Left((Some(Ok(chunk)), _)) => Some((chunk, Some((chunks, until, last)))),
            Either::Left((None, _)) => None,
            Either::Left((Some(Err(_panicked)), _)) => Some((last(failed()), None)),
            Either::Right(_) => Some((last(out_of_time()), None)),
        }
    })
    .boxed()
}

/// Makes one document of an answer.
async fn undivided(reply: Reply, most: usize) -> Result<Reply, Refusal> {
    let (head, body) = reply.into_parts();
    let whole = body.collect(most).await.map_err(|error| match error {
        CollectError::TooLarge(most) => {
            let why = format!("the answer is larger than the {most} bytes that pass the gateway's front");
            Refusal::new(code::INTERNAL, why)
        }
        CollectError::Broken(error) => error.into(),
    })?;
    Ok(Reply::from_parts(head, Body::Full(whole.into())))
}

fn out_of_time() -> Refusal {
    let why = "the answer was not there before the gateway's platform ends the request";
    Refusal::new(code::INTERNAL, why).with_status(StatusCode::GATEWAY_TIMEOUT)
}

fn failed() -> Refusal {
    let why = "the gateway failed while it answered; its log says more";
    Refusal::new(code::INTERNAL, why).with_status(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    /// Returns the last chunk of a stream that goes on with `rest` after its first.
    fn last_of(rest: Chunks, until: BoxFuture<'static, ()>) -> String {
        let first = stream::once(future::ready(Ok(Bytes::from_static(b"first "))));
        let last = |refusal: Refusal| Ok(refusal.message.into_owned().into());
        let chunks = ending(first.chain(rest).boxed(), until, last);
        let chunks: Vec<_> =
            chunks.map(|chunk| chunk.expect("no error")).collect().now_or_never().expect("an end");
        assert_eq!(chunks.first().map(|first| &first[..]), Some(&b"first "[..]));
        String::from_utf8(chunks.last().expect("a chunk").to_vec()).expect("UTF-8")
    }

    #[test]
    fn a_stream_never_ends_as_if_nothing_were_missing() {
        let fails = || stream::poll_fn(|_| -> Poll<Option<_>> { panic!("on purpose") }).boxed();
        let hangs = || stream::pending().boxed();
        insta::assert_snapshot!(last_of(fails(), future::pending().boxed()), @"the gateway failed while it answered; its log says more");
        insta::assert_snapshot!(last_of(hangs(), future::ready(()).boxed()), @"the answer was not there before the gateway's platform ends the request");
        assert_eq!(last_of(stream::empty().boxed(), future::pending().boxed()), "first ");
    }
}
