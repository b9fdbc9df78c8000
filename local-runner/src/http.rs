//! The HTTP front: hyper's requests become core's, and core's answers hyper's. Nothing is decided here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use portcullis_core::body::{Body, Reply};
use portcullis_core::error::Unreachable;
use portcullis_core::{Exposure, Gateway};
use tokio::net::TcpListener;

use crate::host::Machine;

/// How long a client may take to send a request's head.
const HEAD: Duration = Duration::from_secs(15);
/// How long running requests may take to end when the gateway stops.
const GRACE: Duration = Duration::from_secs(10);

/// Serves connections until `stop` completes, then lets running requests end.
pub(crate) async fn serve(gateway: Gateway<Machine>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let answering = gateway.clone();
    let answer = move |request: http::Request<Body>| {
        let gateway = answering.clone();
        async move { Box::pin(gateway.serve(request)).await }
    };
    let connections = accept(listener, stop, answer).await;
    gateway.stop();
    if tokio::time::timeout(GRACE, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
}

/// Serves the counters and nothing else, for as long as the gateway runs.
pub(crate) async fn serve_metrics(gateway: Gateway<Machine>, listener: TcpListener, exposure: Exposure) {
    let answer = move |request| std::future::ready(gateway.serve_metrics(&request, exposure));
    accept(listener, std::future::pending(), answer).await;
}

/// Serves connections until `stop` completes; returns those that are still open.
async fn accept<A, F>(listener: TcpListener, stop: impl Future<Output = ()>, answer: A) -> GracefulShutdown
where
    A: Fn(http::Request<Body>) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer)) => serve_connection(answer.clone(), stream, peer, &connections),
            Err(error) => {
                // Out of descriptors, most likely: pause rather than spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections
}

fn serve_connection<A, F>(
    answer: A,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    connections: &GracefulShutdown,
) where
    A: Fn(http::Request<Body>) -> F + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot turn off delay");
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        // A length beside a coding is dropped before it can be seen here, and what follows such a request may be part
        // of it to others: nothing follows (RFC 9112 §6.1).
        let is_last = request.headers().contains_key(header::TRANSFER_ENCODING);
        let answer = answer(request.map(incoming));
        async move {
            let mut reply = answer.await.map(Outgoing);
            if is_last {
                reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(reply)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service));
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%peer, %error, "a connection ended");
        }
    });
}

fn incoming(body: Incoming) -> Body {
    if http_body::Body::is_end_stream(&body) {
        return Body::default();
    }
    let chunks = body.into_data_stream();
    Body::Stream(
        chunks.map(|chunk| chunk.map_err(|error| Unreachable::new("client", error.to_string()))).boxed(),
    )
}

/// A body of core's, as hyper sends it.
struct Outgoing(Body);

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Unreachable;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unreachable>>> {
        match &mut self.0 {
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Stream(chunks) => {
                Pin::new(chunks).poll_next(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Body::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(_) => SizeHint::default(),
        }
    }
}
