//! HTTP between two processes of one machine that are parts of one gateway, over a socket that is a file.
//!
//! **A connection carries one request**: whoever stops reading its answer closes it, and the other side knows.

use std::path::Path;

use futures::StreamExt as _;
use http::header;
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use portcullis_core::body::{Body, Reply};
use portcullis_core::config::Limits;
use portcullis_core::error::Unreachable;
use tokio::net::UnixStream;
use tokio::task::AbortHandle;

use crate::front::{Answer, Outgoing, serve_stream};

/// Whom errors are about.
const WHOM: &str = "instance";

/// Serves a connection until it ends, or until `connections` are told to.
pub fn serve_local(answer: Answer, stream: UnixStream, limits: Limits, connections: &GracefulShutdown) {
    // What the front adds to a request's head comes on top of what a client may send.
    let limits = Limits {
        headers: limits.headers.saturating_mul(2),
        header_count: limits.header_count.saturating_add(8),
        ..limits
    };
    serve_stream(answer, stream, ("the front", limits), connections);
}

/// Sends a request to whoever serves at a socket, and returns its answer with the body still streaming. Dropping that closes
/// the connection.
///
/// # Errors
/// Says why there is no answer; where nobody serves there, that nothing was delivered.
pub async fn ask_local(socket: &Path, request: http::Request<Body>) -> Result<Reply, Unreachable> {
    let absent = |error: std::io::Error| Unreachable::new(WHOM, error.to_string()).undelivered().absent();
    let stream = UnixStream::connect(socket).await.map_err(absent)?;
    let broken = |error: hyper::Error| Unreachable::new(WHOM, format!("ended before it answered: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = Guard(tokio::spawn(connection).abort_handle());
    let mut request = request.map(Outgoing);
    if !request.headers().contains_key(header::HOST) {
        request.headers_mut().insert(header::HOST, http::HeaderValue::from_static("localhost"));
    }
    let (mut head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
    // What is about this connection is not about another.
    for name in [header::CONNECTION, header::DATE, header::TRANSFER_ENCODING] {
        head.headers.remove(name);
    }
    if http_body::Body::is_end_stream(&body) {
        return Ok(Reply::from_parts(head, Body::default()));
    }
    let chunks = body.into_data_stream().map(move |chunk| {
        let _ = &connection;
        chunk.map_err(|error| Unreachable::new(WHOM, format!("broke off: {error}")))
    });
    Ok(Reply::from_parts(head, Body::Stream(chunks.boxed())))
}

/// A connection that ends with whoever holds this.
struct Guard(AbortHandle);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}
