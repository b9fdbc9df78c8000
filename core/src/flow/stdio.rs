//! An agent on one channel each way: every message is a request like those over HTTP, and the answers go back as
//! messages. On stdio they are lines; over HTTP+SSE (`sse.rs`) they come as POSTs and go as events.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::future::{AbortHandle, abortable};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, SinkExt, Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Method, header};

use crate::body::{Body, Reply};
use crate::error::{Refusal, code};
use crate::front::{Piped, meta};
use crate::gateway::Gateway;
use crate::ports::Host;
use crate::upstream::lock;
use crate::wire::http as names;
use crate::wire::json::Json;
use crate::wire::message::{self, Message};
use crate::wire::outline::Outline;
use crate::wire::sse::Decoder;
use crate::wire::version::{Era, Version};

/// The largest message that is passed on, in bytes.
const LARGEST: usize = 256 << 20;

/// The most messages of one agent that are answered at a time; the next has to wait.
const RUNNING: usize = 256;

/// What one agent on a channel has going on.
pub(super) struct Front<H: Host> {
    gateway: Gateway<H>,
    out: mpsc::Sender<Bytes>,
    /// Writes one message as the channel carries it.
    frame: fn(&[u8]) -> Bytes,
    /// What every request of the agent carries.
    headers: HeaderMap,
    session: Mutex<Option<HeaderValue>>,
    /// The stateless requests that are being answered, by their ids: a notification cancels them.
    running: Mutex<BTreeMap<String, AbortHandle>>,
}

/// What a line is, as far as the front has to know.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    id: Option<String>,
    method: String,
    version: Option<Version>,
    /// The request that a notification cancels.
    cancels: Option<String>,
    wants_no_answer: bool,
}

/// Serves one agent: takes its lines, without line breaks, until they end, and gives out lines to write.
pub async fn serve_lines<H: Host>(
    gateway: Gateway<H>,
    lines: impl Stream<Item = Bytes>,
    out: mpsc::Sender<Bytes>,
) {
    gateway.record_event("stdio", Ok(()));
    let front = Front::new(gateway, out, as_line, HeaderMap::new());
    // Streams end with the lines; what is being answered still is.
    front.answer(lines, || front.gateway.0.hub.close()).await;
    front.gateway.stop();
}

fn as_line(message: &[u8]) -> Bytes {
    let mut line: Vec<u8> = message.iter().copied().filter(|b| !matches!(b, b'\n' | b'\r')).collect();
    line.push(b'\n');
    line.into()
}

/// Refuses one agent: answers every request of its lines with the same error, until they end.
pub async fn refuse_lines(refusal: &Refusal, lines: impl Stream<Item = Bytes>, mut out: mpsc::Sender<Bytes>) {
    let mut lines = std::pin::pin!(lines);
    while let Some(line) = lines.next().await {
        if let Some(id) = Line::read(&line).id {
            let answer = message::error(Some(&id), refusal) + "\n";
            if out.send(answer.into()).await.is_err() {
                return;
            }
        }
    }
}

impl Line {
    fn read(line: &[u8]) -> Self {
        let Some(message) = Outline::check(line).ok().and_then(|line| message::parse(line).ok()) else {
            return Self::default();
        };
        let (id, method, params) = match message {
            Message::Request { id, method, params } => (Some(id.text().to_owned()), method, params),
            Message::Notification { method, params } => (None, method, params),
            Message::Response { .. } => return Self { wants_no_answer: true, ..Self::default() },
        };
        let version = params.get("_meta").and_then(|m| m.get(meta::PROTOCOL_VERSION)).and_then(Json::as_str);
        let cancels = params.get("requestId").filter(|_| method == "notifications/cancelled");
        Self {
            wants_no_answer: id.is_none(),
            id,
            version: version.and_then(|v| Version::parse(&v)),
            cancels: cancels.map(|id| id.text().to_owned()),
            method: method.into_owned(),
        }
    }

    fn is_modern(&self) -> bool {
        self.version.is_some_and(|version| version.era() == Era::Modern)
    }
}

impl<H: Host> Front<H> {
    pub(super) fn new(
        gateway: Gateway<H>,
        out: mpsc::Sender<Bytes>,
        frame: fn(&[u8]) -> Bytes,
        headers: HeaderMap,
    ) -> Self {
        Self { gateway, out, frame, headers, session: Mutex::default(), running: Mutex::default() }
    }

    /// Answers messages until they have `ended` and every answer is written.
    pub(super) async fn answer(&self, messages: impl Stream<Item = Bytes>, ended: impl FnOnce()) {
        let mut answering = FuturesUnordered::new();
        let mut messages = std::pin::pin!(messages.fuse());
        loop {
            if answering.len() >= RUNNING {
                answering.next().await;
            }
            futures::select_biased! {
                line = messages.next() => {
                    let Some(line) = line else { break };
                    let kind = Line::read(&line);
                    match kind.method.as_str() {
                        // What follows needs the session that this makes.
                        "initialize" => self.take(kind, line).await,
                        "notifications/initialized" => {
                            self.take(kind, line).await;
                            answering.push(self.hear().boxed());
                        }
                        _ => answering.push(self.take(kind, line).boxed()),
                    }
                }
                () = answering.select_next_some() => {}
            }
        }
        ended();
        while answering.next().await.is_some() {}
    }

    /// Ends the channel, and the agent's session if it began one.
    pub(super) async fn end(self) {
        let began = lock(&self.session).is_some();
        let ending = began.then(|| self.request(Method::DELETE, Bytes::new()));
        let gateway = self.gateway.clone();
        drop(self);
        if let Some(ending) = ending {
            gateway.serve(ending).await;
        }
    }

    /// Answers one message.
    async fn take(&self, kind: Line, line: Bytes) {
        if line.trim_ascii().is_empty() {
            return;
        }
        if let Some(running) = kind.cancels.as_ref().and_then(|id| lock(&self.running).remove(id)) {
            return running.abort();
        }
        let work = async {
            let reply = self.gateway.serve(self.request(Method::POST, line)).await;
            if !kind.wants_no_answer {
                self.write(reply, kind.id.as_deref()).await;
            }
        };
        let Some(id) = kind.id.clone().filter(|_| kind.is_modern()) else { return work.await };
        let (work, handle) = abortable(work);
        lock(&self.running).insert(id.clone(), handle);
        // Aborting drops the request, which cancels it as a closed connection would.
        let _ = work.await;
        lock(&self.running).remove(&id);
    }

    /// Passes on what no request asked for, for as long as the session lasts.
    async fn hear(&self) {
        if lock(&self.session).is_some() {
            let reply = self.gateway.serve(self.request(Method::GET, Bytes::new())).await;
            self.write(reply, None).await;
        }
    }

    fn request(&self, method: Method, body: Bytes) -> http::Request<Body> {
        let mut request = http::Request::new(Body::Full(body));
        *request.method_mut() = method;
        *request.uri_mut() = http::Uri::from_static("/mcp");
        request.extensions_mut().insert(Piped);
        *request.headers_mut() = self.headers.clone();
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        headers.insert(header::CONTENT_TYPE, names::JSON);
        if let Some(session) = &*lock(&self.session) {
            headers.insert(names::SESSION_ID, session.clone());
        }
        request
    }

    async fn write(&self, reply: Reply, id: Option<&str>) {
        let (head, body) = reply.into_parts();
        if let Some(session) = head.headers.get(names::SESSION_ID) {
            *lock(&self.session) = Some(session.clone());
        }
        let mut out = self.out.clone();
        let mut send = async |message: &[u8]| out.send((self.frame)(message)).await.is_ok();
        match body {
            Body::Stream(mut chunks) if names::media_type(&head.headers) == "text/event-stream" => {
                let mut decoder = Decoder::new(LARGEST);
                while let Some(Ok(chunk)) = chunks.next().await {
                    let mut events = Vec::new();
                    if decoder.push(&chunk, &mut events).is_err() {
                        return;
                    }
                    for event in events.iter().filter(|event| !event.data.is_empty()) {
                        if !send(&event.data).await {
                            return;
                        }
                    }
                }
            }
            body => match body.collect(LARGEST).await {
                Ok(whole) if !whole.is_empty() => drop(send(&whole).await),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "an answer broke off");
                    let refusal = Refusal::new(code::INTERNAL, error.to_string());
                    send(message::error(id, &refusal).as_bytes()).await;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let line =
            Line::read(br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#);
        assert_eq!(line.cancels.as_deref(), Some("\"a\""));
        let line = Line::read(br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#);
        assert!(line.is_modern() && line.id.as_deref() == Some("1"));
        assert_eq!(Line::read(b"nonsense"), Line::default());
    }
}
