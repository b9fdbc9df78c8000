//! The HTTP front: hyper's requests become core's, and core's answers hyper's. Nothing is decided here about MCP.
//!
//! **A client that is slow costs only itself**: a head, a body or a reader that makes no progress loses its connection,
//! and nothing is read from a server that its agent has not taken.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use portcullis_core::body::{Body, Reply, Whole};
use portcullis_core::config::Limits;
use portcullis_core::error::Unreachable;
use portcullis_core::{Exposure, Gateway};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::host::Machine;
use crate::pace::{Patient, paced};

/// How long a client may take to send a request's head, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(15);
/// In this time a request's body has to make some progress.
const BODY: Duration = Duration::from_secs(10);
/// How long a client may take nothing of its answer.
const READER: Duration = Duration::from_mins(2);
/// How long a connection that is refused may take to end.
const REFUSAL: Duration = Duration::from_secs(1);
/// How long running requests may take to end when the gateway stops.
const GRACE: Duration = Duration::from_secs(10);

/// Serves connections until `stop` completes, then lets running requests end.
pub(crate) async fn serve(gateway: Gateway<Machine>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let answering = gateway.clone();
    let answer = move |request: http::Request<Body>| {
        let gateway = answering.clone();
        async move { Box::pin(gateway.serve(request)).await }
    };
    serve_with(gateway, listener, stop, GRACE, answer).await;
}

/// The same with answers that are those of the gateway in the end, and so long for running requests.
pub(crate) async fn serve_with<A, F>(
    gateway: Gateway<Machine>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    grace: Duration,
    answer: A,
) where
    A: Fn(http::Request<Body>) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let connections = accept(&gateway, listener, stop, answer).await;
    gateway.stop();
    if tokio::time::timeout(grace, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
}

/// Serves the counters and nothing else, for as long as the gateway runs.
pub(crate) async fn serve_metrics(gateway: Gateway<Machine>, listener: TcpListener, exposure: Exposure) {
    let answering = gateway.clone();
    let answer = move |request| std::future::ready(answering.serve_metrics(&request, exposure));
    accept(&gateway, listener, std::future::pending(), answer).await;
}

/// Serves connections until `stop` completes; returns those that are still open.
async fn accept<A, F>(
    gateway: &Gateway<Machine>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    answer: A,
) -> GracefulShutdown
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
            Ok((stream, peer)) if connections.count() >= gateway.limits().connections => {
                tracing::warn!(%peer, "refused a connection: there are too many");
                tokio::spawn(tokio::time::timeout(REFUSAL, refuse(stream)));
            }
            Ok((stream, peer)) => {
                serve_connection(answer.clone(), stream, (peer, gateway.limits()), &connections);
            }
            Err(error) => {
                // Out of descriptors, most likely: pause rather than spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections
}

/// Says on a connection that there are too many.
async fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    let busy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(busy.as_bytes()).await?;
    stream.shutdown().await?;
    // What is left unread would take the answer with it.
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

fn serve_connection<A, F>(
    answer: A,
    stream: TcpStream,
    (peer, limits): (SocketAddr, Limits),
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
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(limits.headers);
    if limits.header_count != Limits::default().header_count {
        // Any but the usual number costs an allocation a request.
        http.max_headers(limits.header_count);
    }
    let stream = TokioIo::new(Patient::new(stream, READER));
    let connection = connections.watch(http.serve_connection(stream, service));
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
    Body::Stream(paced(body.into_data_stream(), BODY))
}

/// A body of core's, as hyper sends it.
struct Outgoing(Body);

impl http_body::Body for Outgoing {
    type Data = Whole;
    type Error = Unreachable;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Whole>, Unreachable>>> {
        match &mut self.0 {
            Body::Full(whole) if whole.is_empty() => Poll::Ready(None),
            Body::Full(whole) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(whole))))),
            Body::Stream(chunks) => Pin::new(chunks)
                .poll_next(context)
                .map(|chunk| chunk.map(|chunk| chunk.map(|bytes| Frame::data(bytes.into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Body::Full(whole) if whole.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Body::Full(whole) => SizeHint::with_exact(whole.len() as u64),
            Body::Stream(_) => SizeHint::default(),
        }
    }
}
