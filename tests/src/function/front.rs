//! The front of a function: clients' requests become events, and answers go back to them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{Function, event};

/// The longest body of a request, in bytes.
const LARGEST: usize = 6 << 20;
/// What is about the function itself, and no request to it.
const CONTROL: &str = "/.function/";

/// What a client gets.
pub(super) type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// What a client gets next of an answer that streams.
#[derive(Debug)]
pub(super) enum Chunk {
    Data(Bytes),
    /// The answer breaks off.
    BrokenOff,
}

/// Status and headers of an answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    status_code: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Each becomes a header of its own.
    #[serde(default)]
    cookies: Vec<String>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// The function's end of an answer that streams.
#[derive(Debug)]
pub(super) struct ToClient(mpsc::Sender<Chunk>);

impl ToClient {
    /// Gives the client something, if it is still there.
    pub(super) async fn send(&mut self, chunk: Chunk) {
        self.0.send(chunk).await.ok();
    }
}

/// Returns both ends of an answer that streams.
pub(super) fn channel() -> (ToClient, Option<mpsc::Receiver<Chunk>>) {
    let (sender, receiver) = mpsc::channel(16);
    (ToClient(sender), Some(receiver))
}

impl Head {
    fn reply(&self, body: UnsyncBoxBody<Bytes, io::Error>) -> Reply {
        let mut reply = Response::builder().status(self.status_code);
        for (name, value) in &self.headers {
            reply = reply.header(name, value);
        }
        for cookie in &self.cookies {
            reply = reply.header(header::SET_COOKIE, cookie);
        }
        reply.body(body).expect("the function answers with headers")
    }

    /// Returns the answer whose body comes by `chunks`.
    pub(super) fn streaming(&self, chunks: mpsc::Receiver<Chunk>) -> Reply {
        let frames = stream::unfold(chunks, |mut chunks| async move {
            let frame = match chunks.recv().await? {
                Chunk::Data(data) => Ok(Frame::data(data)),
                Chunk::BrokenOff => Err(io::Error::other("the function broke off its answer")),
            };
            Some((frame, chunks))
        });
        self.reply(StreamBody::new(frames).boxed_unsync())
    }
}

/// Returns the answer that a document says.
pub(super) fn whole(document: &[u8]) -> Option<Reply> {
    let head: Head = serde_json::from_slice(document).ok()?;
    let body =
        if head.is_base64_encoded { STANDARD.decode(&head.body).ok()? } else { head.body.clone().into() };
    Some(head.reply(full(body)))
}

/// Returns what the platform answers where the function does not.
pub(super) fn failed() -> Reply {
    said(StatusCode::BAD_GATEWAY, "{\"message\":\"Internal Server Error\"}")
}

fn said(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let reply = Response::builder().status(status).header("content-type", "application/json");
    reply.body(full(text)).expect("an answer")
}

fn full(body: impl Into<Bytes>) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Serves one connection of a client.
pub(super) async fn serve(function: Arc<Function>, stream: TokioIo<TcpStream>) {
    let service = service_fn(move |request| {
        let function = function.clone();
        async move { Ok::<_, Infallible>(answer(&function, request).await) }
    });
    // A client that goes costs nobody anything.
    http1::Builder::new().serve_connection(stream, service).await.ok();
}

async fn answer(function: &Arc<Function>, request: Request<Incoming>) -> Reply {
    if let Some(what) = request.uri().path().strip_prefix(CONTROL) {
        if what == "kill" {
            function.state().kill_all();
            function.start_those_at_first().await;
        }
        let described = function.state().describe();
        return said(StatusCode::OK, described.to_string());
    }
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST).collect().await else {
        return said(StatusCode::PAYLOAD_TOO_LARGE, "{\"message\":\"Request Entity Too Large\"}");
    };
    let event = event::of(&head, &body.to_bytes(), function.settings.front);
    let value = |name: &String| Some(head.headers.get(name.as_str())?.to_str().ok()?.to_owned());
    // What operators ask is a tenant's of its own.
    let is_operators = !head.uri.path().starts_with("/mcp");
    let tenant = function
        .settings
        .tenant
        .as_ref()
        .map(|name| value(name).or_else(|| is_operators.then(|| "operator".to_owned())));
    if tenant == Some(None) {
        return said(StatusCode::FORBIDDEN, "{\"message\":\"Forbidden\"}");
    }
    // The request goes on when its client has gone.
    let function = function.clone();
    tokio::spawn(async move { function.invoke(event, tenant.flatten()).await })
        .await
        .unwrap_or_else(|_| failed())
}
