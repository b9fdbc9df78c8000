//! The ports of core, on a Worker.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use js_sys::Uint8Array;
use js_sys::futures::JsFuture;
use portcullis_core::body::Whole;
use portcullis_core::config::Command;
use portcullis_core::error::Unreachable;
use portcullis_core::names::ServerName;
use portcullis_core::pipe::PipeEnd;
use portcullis_core::ports::{
    Background, Chunks, Clock, Entropy, Host, Meetings, Quotas, Rendezvous, Upstream,
};
use portcullis_core::quota::{Counted, Exhausted, Hold, Tallies};
use worker::send::{SendFuture, SendWrapper};

use super::answer::{chunk, headers, lines, reason};
use super::event::Event;
use super::glue::{Sent, Timer, randomize};

/// The longest that the platform's timers can be set to, in milliseconds.
const LONGEST: u32 = i32::MAX as u32;

/// A Worker, as the gateway sees it.
#[derive(Clone, Default)]
pub(crate) struct Edge {
    meetings: Meetings,
    tallies: Tallies,
}

impl Clock for Edge {
    fn now(&self) -> u64 {
        // Positive and far below 2^53.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let now = js_sys::Date::now() as u64;
        now
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        SendFuture::new(async move {
            let milliseconds = u32::try_from(duration.as_millis()).unwrap_or(LONGEST).min(LONGEST);
            let timer = Stopping(Timer::new(f64::from(milliseconds)));
            // A timer's promise is never rejected.
            let _ = JsFuture::from(timer.0.over()).await;
        })
    }
}

/// A timer that is stopped when nobody waits for it any more.
struct Stopping(Timer);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Entropy for Edge {
    fn fill(&self, buffer: &mut [u8]) {
        randomize(buffer);
    }
}

impl Background for Edge {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        match Event::current() {
            Some(event) => event.spawn(work),
            None => tracing::error!("work was begun outside any event and is left undone"),
        }
    }
}

/// A request to a server, which is cancelled when nobody waits for its answer or the rest of it any more.
struct Exchange {
    sent: Sent,
    is_over: bool,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_over {
            self.sent.abort();
        }
    }
}

impl Upstream for Edge {
    fn fetch(
        &self,
        request: http::Request<Whole>,
    ) -> impl Future<Output = Result<http::Response<Chunks>, Unreachable>> + Send {
        SendFuture::new(send(request))
    }

    async fn launch(
        &self,
        server: &ServerName,
        _command: &Command,
        _end: PipeEnd,
        _longest: usize,
    ) -> Result<(), Unreachable> {
        let why = "is a program, and no programs can be started on Cloudflare; run it with `portcullis serve` on a \
                   machine of yours, and name that gateway's URL here";
        Err(Unreachable::new(server.to_string(), why).undelivered())
    }
}

async fn send(request: http::Request<Whole>) -> Result<http::Response<Chunks>, Unreachable> {
    let (head, body) = request.into_parts();
    let host = head.uri.authority().map(ToString::to_string).unwrap_or_default();
    let body = (!body.is_empty()).then(|| Uint8Array::from(&*body.into_bytes()));
    let sent = Sent::new(head.method.as_str(), &head.uri.to_string(), &lines(&head.headers), body);
    let exchange = Exchange { sent, is_over: false };
    let failed = |why: String| Unreachable::new(&host, format!("cannot be reached: {why}")).absent();
    let answered = JsFuture::from(exchange.sent.answered()).await.map_err(|error| failed(reason(&error)))?;
    let text = answered.as_string().unwrap_or_default();
    let mut fields = text.split('\n');
    let status = fields.next().unwrap_or_default().as_bytes();
    let mut response = http::Response::new(chunks(exchange, host.clone()));
    *response.status_mut() = http::StatusCode::from_bytes(status).map_err(|error| failed(error.to_string()))?;
    *response.headers_mut() = headers(fields);
    if response.headers_mut().remove(CONTENT_ENCODING).is_some() {
        // The platform has decoded the body.
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    Ok(response)
}

fn chunks(exchange: Exchange, host: String) -> Chunks {
    let next = |(mut exchange, host): (SendWrapper<Exchange>, String)| {
        SendFuture::new(async move {
            match JsFuture::from(exchange.sent.next_chunk()).await {
                Ok(end) if end.is_undefined() => {
                    exchange.is_over = true;
                    None
                }
                Ok(bytes) => Some((Ok(chunk(&bytes)), (exchange, host))),
                Err(error) => {
                    exchange.is_over = true;
                    let error = Unreachable::new(&host, format!("broke off its answer: {}", reason(&error)));
                    Some((Err(error), (exchange, host)))
                }
            }
        })
    };
    stream::unfold((SendWrapper::new(exchange), host), next).boxed()
}

impl Rendezvous for Edge {
    fn meet(&self, place: u64) -> impl Future<Output = Bytes> + Send {
        self.meetings.meet(place)
    }

    async fn deliver(&self, place: u64, message: Bytes) -> bool {
        self.meetings.deliver(place, message)
    }
}

impl Quotas for Edge {
    async fn take(&self, counted: &[Counted], now: u64) -> Result<Hold, Exhausted> {
        self.tallies.take(counted, now)
    }
}

impl Host for Edge {}
