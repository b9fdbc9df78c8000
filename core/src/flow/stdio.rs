//! An agent on one channel each way: every message is a request like those over HTTP, and the answers go back as
//! messages. On stdio they are lines; over HTTP+SSE (`sse.rs`) they come as POSTs and go as events.
//!
//! **What an agent answers never waits for what it asks**: its calls may be waiting for just that.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::channel::mpsc;
use futures::future::FusedFuture;
use futures::future::{self, AbortHandle, BoxFuture, Fuse, abortable};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, SinkExt, Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Method, header};

use super::admit::busy;
use crate::body::{Body, Reply};
use crate::error::{Refusal, code};
use crate::front::{Piped, meta};
use crate::gateway::Gateway;
use crate::identity::Proof;
use crate::ports::Host;
use crate::sorted::SortedMap;
use crate::upstream::lock;
use crate::wire::http as names;
use crate::wire::json::Json;
use crate::wire::message::{self, Message};
use crate::wire::outline::Outline;
use crate::wire::sse::Decoder;
use crate::wire::version::{Era, Version};

/// The largest message that is passed on, in bytes.
const LARGEST: usize = 256 << 20;

/// The most requests of one agent that are answered at a time, and the most of its other messages. As many requests
/// more wait; for the other messages nothing more is read.
const RUNNING: usize = 256;

/// The most bytes of requests that wait.
const WAITING: usize = 16 << 20;

/// What one agent on a channel has going on.
pub(super) struct Front<H: Host> {
    gateway: Gateway<H>,
    out: mpsc::Sender<Bytes>,
    /// Writes one message as the channel carries it.
    frame: fn(&[u8]) -> Bytes,
    /// What every request of the agent carries.
    headers: HeaderMap,
    /// Who the agent is, as it has proved last.
    proof: Arc<Mutex<Proof>>,
    session: Mutex<Option<HeaderValue>>,
    /// The stateless requests that are being answered, by their ids: a notification cancels them.
    running: Mutex<SortedMap<String, AbortHandle>>,
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

/// Serves one agent, which the host vouches for: takes its lines, without line breaks, until they end, and gives out
/// lines to write.
pub async fn serve_lines<H: Host>(
    gateway: Gateway<H>,
    proof: Proof,
    lines: impl Stream<Item = Bytes>,
    out: mpsc::Sender<Bytes>,
) {
    gateway.record_event("stdio", None, Ok(()));
    let front = Front::new(gateway, out, as_line, (HeaderMap::new(), proof));
    // Streams end with the lines; what is being answered still is.
    front.answer(lines, || front.gateway.0.hub.close()).await;
    let gateway = front.gateway.clone();
    front.end().await;
    gateway.stop();
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

/// What goes on on a channel.
struct Work<'f> {
    /// Requests.
    answering: FuturesUnordered<BoxFuture<'f, ()>>,
    /// Messages that get no answer, those that are answers themselves among them.
    telling: FuturesUnordered<BoxFuture<'f, ()>>,
    /// What no request asked for.
    hearing: Fuse<BoxFuture<'f, ()>>,
    waiting: Waiting,
}

impl Default for Work<'_> {
    fn default() -> Self {
        Self {
            answering: FuturesUnordered::new(),
            telling: FuturesUnordered::new(),
            hearing: Fuse::terminated(),
            waiting: Waiting::default(),
        }
    }
}

impl Work<'_> {
    fn is_done(&self) -> bool {
        self.answering.is_empty() && self.telling.is_empty() && self.hearing.is_terminated()
    }
}

/// Requests that wait until one of those that are being answered has been.
#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<(Line, Bytes)>,
    bytes: usize,
}

impl Waiting {
    /// Adds a request; gives it back where there is no room for it.
    fn add(&mut self, kind: Line, line: Bytes) -> Result<(), Line> {
        if self.requests.len() >= RUNNING || self.bytes + line.len() > WAITING {
            return Err(kind);
        }
        self.bytes += line.len();
        self.requests.push_back((kind, line));
        Ok(())
    }

    /// Returns the one that has waited longest.
    fn next(&mut self) -> Option<(Line, Bytes)> {
        let next = self.requests.pop_front();
        self.bytes -= next.as_ref().map_or(0, |(_, line)| line.len());
        next
    }

    /// Removes the request of that id; returns whether there was one.
    fn cancel(&mut self, id: &str) -> bool {
        let place = self.requests.iter().position(|(kind, _)| kind.id.as_deref() == Some(id));
        let cancelled = place.and_then(|place| self.requests.remove(place));
        self.bytes -= cancelled.as_ref().map_or(0, |(_, line)| line.len());
        cancelled.is_some()
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
        (headers, proof): (HeaderMap, Proof),
    ) -> Self {
        let proof = Arc::new(Mutex::new(proof));
        Self { gateway, out, frame, headers, proof, session: Mutex::default(), running: Mutex::default() }
    }

    /// Returns the place of what the agent has proved, which it may renew.
    pub(super) fn proof(&self) -> Arc<Mutex<Proof>> {
        self.proof.clone()
    }

    /// Answers messages until they have `ended` and every answer is written.
    pub(super) async fn answer(&self, messages: impl Stream<Item = Bytes>, ended: impl FnOnce()) {
        let mut messages = std::pin::pin!(messages.fuse());
        let mut ended = Some(ended);
        let mut work = Work::default();
        loop {
            if ended.is_none() && work.is_done() {
                return;
            }
            let reads = ended.is_some() && work.telling.len() < RUNNING;
            let next = async { if reads { messages.next().await } else { future::pending().await } };
            futures::select_biased! {
                line = std::pin::pin!(next.fuse()) => match line {
                    Some(line) => self.begin(line, &mut work).await,
                    None => ended.take().into_iter().for_each(|ended| ended()),
                },
                () = work.telling.select_next_some() => {}
                () = work.answering.select_next_some() => {
                    let next = work.waiting.next();
                    work.answering.extend(next.map(|(kind, line)| self.take(kind, line).boxed()));
                }
                () = &mut work.hearing => {}
            }
        }
    }

    /// Begins what a message asks for.
    async fn begin<'f>(&'f self, line: Bytes, work: &mut Work<'f>) {
        let kind = Line::read(&line);
        match kind.method.as_str() {
            // What follows needs the session that this makes.
            "initialize" => self.take(kind, line).await,
            "notifications/initialized" => {
                self.take(kind, line).await;
                work.hearing = self.hear().boxed().fuse();
            }
            _ if kind.cancels.as_ref().is_some_and(|id| work.waiting.cancel(id)) => {}
            _ if kind.wants_no_answer => work.telling.push(self.take(kind, line).boxed()),
            _ if work.answering.len() < RUNNING => work.answering.push(self.take(kind, line).boxed()),
            _ => {
                if let Err(kind) = work.waiting.add(kind, line) {
                    work.telling.push(self.refuse(kind).boxed());
                }
            }
        }
    }

    /// Refuses a request for want of room.
    async fn refuse(&self, kind: Line) {
        let refusal = busy(format!("the client is busy: {RUNNING} of its requests run, and too many wait"));
        let answer = message::error(kind.id.as_deref(), &refusal);
        let _ = self.out.clone().send((self.frame)(answer.as_bytes())).await;
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
            let mut request = self.request(Method::POST, line);
            if kind.wants_no_answer {
                request.extensions_mut().insert(Piped::Tells);
            }
            let reply = self.gateway.serve(request).await;
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

    /// Passes on what no request asked for, for as long as the session lasts. What ends with a token goes on with the next.
    async fn hear(&self) {
        let mut heard = None;
        while lock(&self.session).is_some() {
            let proof = lock(&self.proof).clone();
            if heard.as_ref() == Some(&proof) {
                return;
            }
            heard = Some(proof);
            let reply = self.gateway.serve(self.request(Method::GET, Bytes::new())).await;
            self.write(reply, None).await;
        }
    }

    fn request(&self, method: Method, body: Bytes) -> http::Request<Body> {
        let mut request = http::Request::new(Body::Full(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = http::Uri::from_static("/mcp");
        request.extensions_mut().insert(Piped::Asks);
        request.extensions_mut().insert(lock(&self.proof).clone());
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
    use crate::ports::{Background, Clock};
    use crate::testing::{Memory, open_stream, session_server};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn lines_are_told_apart() {
        let line =
            Line::read(br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#);
        assert_eq!(line.cancels.as_deref(), Some("\"a\""));
        let line = Line::read(br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#);
        assert!(line.is_modern() && line.id.as_deref() == Some("1"));
        assert_eq!(Line::read(b"nonsense"), Line::default());
    }

    #[test]
    fn requests_wait_in_their_order_and_within_bounds() {
        let kind = |id: usize| Line { id: Some(id.to_string()), ..Line::default() };
        let mut waiting = Waiting::default();
        for id in 0..RUNNING {
            assert_eq!(waiting.add(kind(id), Bytes::from_static(b"12")), Ok(()));
        }
        assert_eq!(waiting.add(kind(999), Bytes::new()), Err(kind(999)), "too many");
        assert_eq!((waiting.cancel("1"), waiting.cancel("1")), (true, false));
        assert_eq!(
            [waiting.next(), waiting.next()].map(|next| next.map(|(kind, _)| kind)),
            [Some(kind(0)), Some(kind(2))]
        );
        assert_eq!(waiting.bytes, 2 * (RUNNING - 3));
        assert_eq!(waiting.add(kind(999), vec![b' '; WAITING].into()), Err(kind(999)), "too large");
        while waiting.next().is_some() {}
        assert_eq!(waiting.add(kind(999), vec![b' '; WAITING].into()), Ok(()));
    }

    /// A session-based server whose tool asks the agent first, and answers once its question is answered.
    fn asking(calls: Arc<AtomicUsize>) -> Memory {
        Memory::new(move |request| {
            session_server(request, |_, _| {
                calls.fetch_add(1, Ordering::Relaxed);
                open_stream(&[
                    r#"{"jsonrpc":"2.0","id":"e1","method":"elicitation/create","params":{"message":"?","requestedSchema":{}}}"#,
                ])
            })
        })
    }

    #[test]
    fn an_answer_gets_through_where_every_call_waits_for_one() {
        let calls = Arc::new(AtomicUsize::new(0));
        let host = asking(calls.clone());
        let gateway = crate::testing::gateway(&host, &["a"]);
        let (mut agent, lines) = mpsc::unbounded();
        let (out, mut heard) = mpsc::channel(4096);
        host.spawn(serve_lines(gateway, Proof::default(), lines, out));
        let mut say = |line: String| agent.start_send(Bytes::from(line)).expect("it listens");
        say(r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"x","version":"1"}}}"#.into());
        say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.into());
        for id in 0..3 * RUNNING {
            say(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"a__ask"}}}}"#
            ));
        }
        host.run(host.sleep(std::time::Duration::from_secs(1)));
        assert_eq!(calls.load(Ordering::Relaxed), RUNNING);
        let mut next = |part: &'static str| {
            host.run(async {
                loop {
                    let line = heard.next().await.expect("a line");
                    let line = String::from_utf8(line.to_vec()).expect("text");
                    if line.contains(part) {
                        return line;
                    }
                }
            })
        };
        let refused = next("the client is busy");
        assert!(refused.contains(&format!("\"id\":{},", 2 * RUNNING)), "{refused}");
        let question = next("elicitation/create");
        let id = question.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id");
        host.sent();
        say(format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{"action":"decline"}}}}"#));
        host.run(host.sleep(std::time::Duration::from_secs(1)));
        let sent = host.sent();
        assert!(sent.iter().any(|line| line.contains(r#""result":{"action":"decline"}"#)), "{sent:?}");
    }
}
