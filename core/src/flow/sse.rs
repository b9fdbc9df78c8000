//! Agents that speak HTTP+SSE (2024-11-05): one event stream carries everything to the agent, and each of its messages
//! comes as a POST.
//!
//! **A POST belongs to the stream whose sealed id it carries, or to none**: there is no stream that another id, or a
//! missing one, leads to. It belongs to the caller that opened it. A stream is held by the process that opened it and ends with its connection; so does its session.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::{mpsc, oneshot};
use futures::future::{self, BoxFuture};
use futures::{FutureExt, SinkExt, StreamExt, stream};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use super::admit::busy;
use super::hand_over::Chosen;
use super::listen::listens;
use super::stdio::Front;
use crate::body::{self, Body, Reply};
use crate::endpoint;
use crate::error::{Refusal, code};
use crate::gateway::Gateway;
use crate::identity::{Identity, Proof};
use crate::ports::Host;
use crate::session::{Interaction, LIFETIME, Session};
use crate::sorted::SortedMap;
use crate::upstream::lock;
use crate::wire::http as names;
use crate::wire::message;
use crate::wire::outline::Outline;
use crate::wire::sse;
use crate::wire::version::Version;

/// How many messages may wait on the way to an agent, and from it, before senders have to wait themselves.
const BACKLOG: usize = 64;

/// The streams that this process holds, by the nonce of their session.
#[derive(Debug, Default)]
pub(crate) struct HeldStreams(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    closed: bool,
    streams: SortedMap<u64, HeldStream>,
}

#[derive(Debug)]
struct HeldStream {
    /// Whose it is, as far as anybody has proved who it is.
    proof: Arc<Mutex<Proof>>,
    /// Where the messages of its agent go.
    posts: mpsc::Sender<Bytes>,
}

impl HeldStreams {
    /// Holds a stream, where it is one of `most` at a time.
    fn hold(&self, nonce: u64, stream: HeldStream, most: usize) -> Result<(), Refusal> {
        let mut held = lock(&self.0);
        if held.closed {
            return Err(busy("the gateway is stopping".into()));
        }
        if held.streams.len() >= most {
            return Err(busy(format!("the gateway is busy: {most} streams are open")));
        }
        held.streams.insert(nonce, stream);
        Ok(())
    }

    /// Tells whether there are any.
    pub(crate) fn any(&self) -> bool {
        !lock(&self.0).streams.is_empty()
    }

    /// Returns where a stream's messages go. It lasts as long as what its agent has proved last.
    fn find(&self, nonce: u64, proof: Option<&Proof>) -> Option<mpsc::Sender<Bytes>> {
        let held = lock(&self.0);
        let stream = held.streams.get(&nonce)?;
        if let Some(proof) = proof {
            lock(&stream.proof).renew(proof);
        }
        Some(stream.posts.clone())
    }

    fn release(&self, nonce: u64) {
        lock(&self.0).streams.remove(&nonce);
    }

    /// Takes no messages any more for callers that would not be let in: their streams end.
    pub(super) fn keep_callers(&self, counts: impl Fn(&Proof) -> bool) {
        lock(&self.0).streams.retain(|_, stream| counts(&lock(&stream.proof)));
    }

    /// Takes no messages any more: each stream ends once what runs on it has been answered.
    pub(crate) fn close(&self) {
        *lock(&self.0) = Held { closed: true, ..Held::default() };
    }
}

impl<H: Host> Gateway<H> {
    /// Opens an agent's stream (`GET /sse`). Its first event says where to post.
    pub(super) async fn open_sse(&self, head: &Parts, who: &Identity) -> Result<Reply, Refusal> {
        if head.method != Method::GET {
            return Ok(endpoint::only("GET"));
        }
        self.0.snapshot.load().gate.via(&head.headers)?;
        if !names::accepts(&head.headers, "text/event-stream") {
            return Ok(body::empty(StatusCode::NOT_ACCEPTABLE));
        }
        let session = self.new_sse_session(head, who);
        let owner = (&session.owner, session.nonce);
        if let Some(handed) = self.hand_over_sse(head, Bytes::new(), owner).await {
            return handed.map(listens);
        }
        let (posts, posted) = mpsc::channel(BACKLOG);
        let (out, messages) = mpsc::channel(BACKLOG);
        let (stays, left) = oneshot::channel();
        let mut headers = HeaderMap::new();
        headers.extend(head.headers.get_all(names::VIA).iter().map(|via| (names::VIA, via.clone())));
        let proof = head.extensions.get::<Proof>().cloned().unwrap_or_default();
        let front = Front::new(self.clone(), out, |message| sse::encode(None, message), (headers, proof));
        let stream = HeldStream { proof: front.proof(), posts };
        self.0.held.hold(session.nonce, stream, self.limits().streams)?;
        self.host().spawn(self.clone().hold_stream(session.nonce, front, posted, left));
        let id = session.seal(&self.0.sealer, self.host());
        let first = format!("event: endpoint\ndata: {}?sessionId={id}\n\n", endpoint::MESSAGES);
        let messages = messages.map(move |message| {
            // Kept as long as the connection is.
            let _: &oneshot::Sender<()> = &stays;
            message
        });
        let events = stream::once(future::ready(first.into())).chain(messages);
        self.record_exchange(head, Some(who), Ok(()));
        Ok(listens(body::events(self.keep_alive(events.boxed()))))
    }

    /// What the stream's id carries. What `initialize` agrees on is a session of its own, which the agent never sees.
    fn new_sse_session(&self, head: &Parts, who: &Identity) -> Session {
        Session {
            nonce: head.extensions.get::<Chosen>().map_or_else(|| self.random(), |chosen| chosen.0),
            version: Version::V2024_11_05,
            interaction: Interaction::default(),
            owner: who.owner(),
            client: None,
            endpoint: endpoint::SSE.into(),
            expires: self.host().now() + LIFETIME,
        }
    }

    /// Answers what is posted to a stream until its agent has left, its id or its token has expired, or the gateway stops.
    // Boxed by name: answering takes the way of every request, which leads here.
    fn hold_stream(
        self,
        nonce: u64,
        front: Front<H>,
        posted: mpsc::Receiver<Bytes>,
        left: oneshot::Receiver<()>,
    ) -> BoxFuture<'static, ()> {
        async move {
            {
                let expiry = std::pin::pin!(self.until_over(front.proof()));
                let ending = future::select(left, expiry);
                let answering = std::pin::pin!(front.answer(posted, || ()));
                future::select(answering, ending).await;
            }
            self.0.held.release(nonce);
            front.end().await;
        }
        .boxed()
    }

    /// Waits until the id of a stream that begins now has expired, or what its agent has proved last.
    async fn until_over(&self, proof: Arc<Mutex<Proof>>) {
        let last = self.host().now() + LIFETIME;
        loop {
            let ends = lock(&proof).ends().unwrap_or(last).min(last);
            let left = ends.saturating_sub(self.host().now());
            if left == 0 {
                return;
            }
            self.host().sleep(Duration::from_millis(left)).await;
        }
    }

    /// Takes one message for a stream (`POST /messages`); its answer goes there.
    pub(super) async fn post_to_stream(
        &self,
        head: &Parts,
        body: Body,
        who: &Identity,
    ) -> Result<Reply, Refusal> {
        if head.method != Method::POST {
            return Ok(endpoint::method_not_allowed());
        }
        self.0.snapshot.load().gate.via(&head.headers)?;
        let id = session_id(head.uri.query().unwrap_or_default())?;
        let session = Session::open(&id, &self.0.sealer, self.host(), endpoint::SSE, who);
        let session = session.ok_or_else(unknown_stream)?;
        if self.owners().is_some() {
            let raw = self.message_body(head, body).await?;
            let handed = self.hand_over_sse(head, raw, (&session.owner, session.nonce)).await;
            return handed.unwrap_or_else(|| Err(not_held()));
        }
        let mut posts = self.0.held.find(session.nonce, head.extensions.get()).ok_or_else(not_held)?;
        let whole = self.message_body(head, body).await?;
        match Outline::check(&whole) {
            Err(malformed) => return Ok(self.reject(head, who, &message::not_json(malformed))),
            // What becomes of a batch depends on the revision.
            Ok(outline) if outline.json.is_array() => {}
            Ok(outline) => {
                if let Err(rejection) = message::parse(outline) {
                    return Ok(self.reject(head, who, &rejection));
                }
            }
        }
        posts.send(whole).await.map_err(|_| not_held())?;
        Ok(body::empty(StatusCode::ACCEPTED))
    }
}

/// Returns the session's id from the query of a POST; it stands there once.
fn session_id(query: &str) -> Result<String, Refusal> {
    let mut ids = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "sessionId");
    if let (Some((_, id)), None) = (ids.next(), ids.next()) {
        return Ok(id.into_owned());
    }
    let text = "the query must have one `sessionId`: post to the URL that the stream's first event names";
    Err(Refusal::new(code::INVALID_REQUEST, text).with_status(StatusCode::BAD_REQUEST))
}

fn unknown_stream() -> Refusal {
    let text = "Session not found: it has ended, or is not this gateway's; open a new stream at /sse";
    Refusal::new(code::INVALID_REQUEST, text).with_status(StatusCode::NOT_FOUND)
}

fn not_held() -> Refusal {
    let text = "Session not found: its stream is not held here, since it has ended or another process holds it; \
                open a new one at /sse";
    Refusal::new(code::INVALID_REQUEST, text).with_status(StatusCode::NOT_FOUND)
}
