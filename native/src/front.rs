//! The HTTP front of a host that listens itself: on a connection, hyper's requests become core's, and core's answers hyper's.
//! Nothing is decided here about MCP.
//!
//! **A client that is slow costs only itself**: a head, a body or a reader that makes no progress loses its connection,
//! and nothing is read from a server that its agent has not taken.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::pace::{Patient, paced};

/// How long a client may take to send a request's head, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(15);
/// In this time a request's body has to make some progress.
const BODY: Duration = Duration::from_secs(10);
/// How long a client may take nothing of its answer.
const READER: Duration = Duration::from_mins(2);

/// What answers requests. Of one type, whoever answers: so what is done for each request is compiled here, to be fast.
pub type Answer = Arc<dyn Fn(http::Request<Body>) -> BoxFuture<'static, Reply> + Send + Sync>;

/// Serves a connection until it ends, or until `connections` are told to.
pub fn serve_connection(
    answer: Answer,
    stream: TcpStream,
    (peer, limits): (SocketAddr, Limits),
    connections: &GracefulShutdown,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot turn off delay");
    }
    serve_stream(answer, stream, (peer, limits), connections);
}

/// Does the same for a connection of another process of this machine.
pub(crate) fn serve_stream(
    answer: Answer,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (peer, limits): (impl std::fmt::Display + Send + 'static, Limits),
    connections: &GracefulShutdown,
) {
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
pub(crate) struct Outgoing(pub(crate) Body);

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
