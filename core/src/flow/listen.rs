//! The streams on which agents hear of changes: `subscriptions/listen`, and a session's own stream.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{self, BoxFuture, Either};
use futures::stream::{self, BoxStream};

use super::Rest;
use super::admit::busy;
use crate::body::{self, Reply};
use crate::catalog::{Listed, Route, View};
use crate::error::{Refusal, Unreachable};
use crate::front::Caller;
use crate::front::terms::Told;
use crate::gateway::Gateway;
use crate::hub::{Audience, Interest, Note, Resource, Seat};
use crate::plan::Wanted;
use crate::ports::{Host, Place};
use crate::session::Session;
use crate::shape;
use crate::streams::Recording;
use crate::wire::json::quote;
use crate::wire::message;
use crate::wire::sse;
use crate::wire::version::Version;

/// How often it is looked whether a session's stream is still read.
const LOOK: Duration = Duration::from_secs(15);
/// After so many times that it was not, it ends.
const UNREAD: u32 = 4;

/// The least time between two announcements of changes.
const TOGETHER: Duration = Duration::from_secs(1);

/// Marks an answer on which an agent listens, for as long as it likes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listens;

/// A place among those who listen, given up when it is dropped.
struct Listening<H: Host> {
    gateway: Gateway<H>,
    seat: Seat,
    /// The resources that were subscribed to for this stream alone.
    resources: Vec<Subscription<H>>,
    /// What servers tell about tasks for this stream alone; it never ends.
    tasks: BoxStream<'static, String>,
    /// The end of the time that there is.
    until: BoxFuture<'static, ()>,
    ended: bool,
}

impl<H: Host> Listening<H> {
    fn new(gateway: &Gateway<H>, seat: Seat, until: Option<u64>) -> Self {
        let (gateway, tasks) = (gateway.clone(), stream::pending().boxed());
        let until = gateway.until(until);
        Self { gateway, seat, resources: Vec::new(), tasks, until, ended: false }
    }

    /// Waits for what a session's stream carries next.
    async fn next_of_session(&mut self) -> Option<String> {
        let note = match future::select(self.seat.notes.next(), &mut self.until).await {
            Either::Left((note, _)) => note?,
            Either::Right(_) => return None,
        };
        match note {
            Note::ListChanged(capability) => Some(shape::changed(capability, None)),
            Note::Updated(uri) => Some(shape::updated(&uri, None)),
            Note::Message(text) => Some(text),
            Note::Goodbye => None,
        }
    }

    /// Waits for what a stateless agent's stream of that id carries next.
    async fn next(&mut self, id: &str) -> Option<String> {
        if self.ended {
            return None;
        }
        loop {
            let heard = future::select(self.seat.notes.next(), self.tasks.next());
            let note = match future::select(heard, &mut self.until).await {
                Either::Left((Either::Left((note, _)), _)) => note?,
                Either::Left((Either::Right((task, _)), _)) => return task,
                Either::Right(_) => Note::Goodbye,
            };
            match note {
                Note::ListChanged(capability) => return Some(shape::changed(capability, Some(id))),
                Note::Updated(uri) => return Some(shape::updated(&uri, Some(id))),
                Note::Message(_) => {}
                Note::Goodbye => {
                    self.ended = true;
                    let result = format!("{{\"resultType\":\"complete\",{}}}", shape::subscription_meta(id));
                    return Some(message::result(id, &result));
                }
            }
        }
    }
}

impl<H: Host> Drop for Listening<H> {
    fn drop(&mut self) {
        self.gateway.0.hub.leave(self.seat.id);
    }
}

/// Somebody's wish to hear of a resource, taken back when it is dropped.
pub(crate) struct Subscription<H: Host> {
    gateway: Gateway<H>,
    nonce: u64,
    resource: Option<Resource>,
}

impl<H: Host> Subscription<H> {
    /// Lets the wish last until it is taken back otherwise.
    pub(crate) fn keep(mut self) {
        self.resource = None;
    }
}

impl<H: Host> Drop for Subscription<H> {
    fn drop(&mut self) {
        if let Some(resource) = self.resource.take() {
            self.gateway.unsubscribe(self.nonce, resource);
        }
    }
}

impl<H: Host> Gateway<H> {
    /// Notes that somebody wants to hear of a resource, by the URI that it knows and until it expires, and makes the
    /// server tell of it.
    pub(crate) async fn subscribe(
        &self,
        (nonce, expires): (u64, u64),
        route: &Route,
        uri: String,
    ) -> Result<Subscription<H>, Unreachable> {
        for resource in self.0.hub.forget_expired(self.host().now()) {
            self.unwatch_resource(resource);
        }
        let resource = (route.server.key(), route.name.to_string());
        if !self.0.hub.subscribe((nonce, expires), resource.clone(), uri) {
            return Err(route.server.error("is not asked for more updates: you have too many subscriptions"));
        }
        // Held while it waits: whoever leaves meanwhile takes the wish along.
        let subscription = Subscription { gateway: self.clone(), nonce, resource: Some(resource) };
        self.watch_resource(&route.server, &route.name).await?;
        Ok(subscription)
    }

    /// Notes that somebody no longer wants to hear of a resource.
    pub(crate) fn unsubscribe(&self, nonce: u64, resource: Resource) {
        self.0.hub.unsubscribe(nonce, &resource);
        self.unwatch_resource(resource);
    }

    fn take_seat(&self, caller: &Caller, nonce: u64, interest: Interest) -> Result<Seat, Refusal> {
        let audience = Audience::of(caller);
        let limits = self.limits();
        let before = caller.taken_up.as_ref().map(|taken_up| taken_up.listed());
        let seat = self.0.hub.join(audience, nonce, interest, &limits, |audience| {
            before.clone().or_else(|| self.listed(audience)).unwrap_or_default()
        });
        let seat =
            seat.ok_or_else(|| busy(format!("the gateway is busy: {} streams are open", limits.streams)))?;
        self.wake_keepers();
        if caller.taken_up.is_some() {
            self.views_changed();
        }
        Ok(seat)
    }

    /// Returns what somebody who listens is shown now, whatever it was known as when it began to; nothing where it is
    /// no longer known.
    pub(super) fn shown_to(&self, audience: &Audience) -> Option<Arc<View>> {
        let (snapshot, now) = (self.snapshot_of(&audience.who.0), self.host().now());
        let who = audience.who.0.under(&snapshot.config, &self.0.keys.load(), now)?;
        let through: Vec<_> = audience.through.iter().map(String::as_str).collect();
        Some(snapshot.view(&audience.scope, &who, &through, now))
    }

    pub(super) fn listed(&self, audience: &Audience) -> Option<Listed> {
        Some(self.shown_to(audience)?.listed(audience.era))
    }

    /// Tells those who subscribed to it, and may still read it, that a resource has changed.
    pub(super) fn resource_updated(&self, resource: Resource) {
        self.0.hub.updated(&resource, |audience, (server, uri)| {
            self.shown_to(audience).is_some_and(|view| view.may_read(&server.name, uri))
        });
    }

    /// Tells whoever listens of what has changed in its view: at once, and then of all that changes within a second
    /// together. What is found while servers are read for all instances is told once they know.
    pub(crate) fn views_changed(&self) {
        let is_published = self.0.unpublished.load(Ordering::Acquire) == 0;
        if !is_published || !self.0.hub.compare(|audience| self.listed(audience)) {
            return;
        }
        let gateway = self.clone();
        self.host().spawn(async move {
            while gateway.0.hub.announce() {
                gateway.host().sleep(TOGETHER).await;
            }
        });
    }

    /// Opens a stateless agent's stream (2026-07-28, `subscriptions/listen`): what it will carry, then that.
    pub(crate) async fn listen(
        &self,
        caller: &Caller,
        id: &str,
        mut wanted: Wanted,
    ) -> Result<Reply, Refusal> {
        if let Some(resting) = self.rests_on(caller).await {
            return Ok(resting);
        }
        if self.host().place() == Place::Owner {
            // What all instances know comes first: a server's own word is compared with that.
            self.learn(&self.snapshot_of(&caller.who), &caller.scope, Some(&caller.who)).await;
        }
        let nonce = self.random();
        // First a place, so that nothing is missed that happens while servers are asked.
        let seat = self.take_seat(caller, nonce, Interest::Lists(wanted.lists.clone()))?;
        let rest = wanted.tasks.is_empty().then(|| self.rest(seat.id));
        let mut listening = Listening::new(self, seat, caller.listens_until());
        let view = self.view(&self.snapshot_of(&caller.who), caller).await;
        let routed = std::mem::take(&mut wanted.resources)
            .into_iter()
            .filter_map(|uri| Some((view.find_uri(&uri)?.route, uri)));
        let asking = routed.map(|(route, uri)| async move {
            (self.subscribe((nonce, u64::MAX), &route, uri.clone()).await, uri)
        });
        for (subscription, uri) in future::join_all(asking).await {
            match subscription {
                Ok(subscription) => {
                    listening.resources.push(subscription);
                    wanted.resources.insert(uri);
                }
                Err(error) => tracing::debug!(%error, "a resource cannot be subscribed to"),
            }
        }
        let audience = Audience::of(caller);
        let (tasks, news) = self.hear_tasks(std::mem::take(&mut wanted.tasks), id, &audience).await;
        listening.tasks = news;
        let acknowledged = acknowledged(id, &wanted, &tasks);
        let id = id.to_owned();
        let first = caller.taken_up.is_none().then(|| sse::encode(None, acknowledged.as_bytes()));
        let events = stream::unfold((listening, id), |(mut listening, id)| async move {
            let text = listening.next(&id).await?;
            Some((sse::encode(None, text.as_bytes()), (listening, id)))
        });
        Ok(self.listening_reply(stream::iter(first).chain(events).boxed(), rest))
    }

    /// Opens a session's own stream (`GET`): what no request of it asked for. It goes on for a while when the agent
    /// loses it, so that it can be taken up again.
    pub(crate) fn open_session_stream(&self, caller: &Caller, session: &Session) -> Result<Reply, Refusal> {
        let seat = self.take_seat(caller, session.nonce, Interest::Session)?;
        let rest = self.rest(seat.id);
        let listening = Listening::new(self, seat, caller.listens_until());
        // Something at once, so that the agent sees the stream open.
        let first = stream::once(std::future::ready(Bytes::from_static(sse::KEEP_ALIVE)));
        if caller.terms.told == Told::OnItsStream {
            // It cannot be taken up again: whoever wants that may come to another instance.
            let events = stream::unfold(listening, |mut listening| async move {
                let text = listening.next_of_session().await?;
                Some((sse::encode(None, text.as_bytes()), listening))
            });
            return Ok(self.listening_reply(first.chain(events).boxed(), None));
        }
        let id = self.random();
        let recording = self.0.streams.begin(id, session.nonce);
        if session.version >= Version::V2025_11_25 {
            recording.prime();
        }
        let replay = recording.replay();
        let gateway = self.clone();
        self.host().spawn(async move {
            gateway.record(listening, &recording).await;
            recording.end();
            gateway.0.streams.forget(id);
        });
        Ok(self.listening_reply(first.chain(replay).boxed(), Some(rest)))
    }

    /// Returns the answer on which an agent listens; one that may be put to rest says how.
    fn listening_reply(&self, events: BoxStream<'static, Bytes>, rest: Option<Rest>) -> Reply {
        let mut reply = listens(body::events(self.keep_alive(events)));
        if let Some(rest) = rest.filter(|_| self.host().place() == Place::Owner) {
            reply.extensions_mut().insert(rest);
        }
        reply
    }

    /// Records what a session hears, until its stream ends or nobody has read it for a while.
    async fn record(&self, mut listening: Listening<H>, recording: &Recording) {
        let mut unread = 0;
        while unread < UNREAD {
            let pause = std::pin::pin!(self.host().sleep(LOOK));
            let next = std::pin::pin!(listening.next_of_session());
            match future::select(next, pause).await {
                Either::Left((Some(text), _)) => recording.push(text.as_bytes()),
                Either::Left((None, _)) => return,
                Either::Right(_) => unread = if recording.is_read() { 0 } else { unread + 1 },
            }
        }
    }
}

/// Marks an answer on which an agent listens.
pub(super) fn listens(mut reply: Reply) -> Reply {
    reply.extensions_mut().insert(Listens);
    reply
}

fn acknowledged(id: &str, wanted: &Wanted, tasks: &[String]) -> String {
    let mut honoured: Vec<String> =
        wanted.lists.iter().map(|capability| format!("\"{capability}ListChanged\":true")).collect();
    if !wanted.resources.is_empty() {
        let uris: Vec<_> = wanted.resources.iter().map(|uri| quote(uri)).collect();
        honoured.push(format!("\"resourceSubscriptions\":[{}]", uris.join(",")));
    }
    if !tasks.is_empty() {
        let ids: Vec<_> = tasks.iter().map(|id| quote(id)).collect();
        honoured.push(format!("\"taskIds\":[{}]", ids.join(",")));
    }
    let params = format!("{{\"notifications\":{{{}}},{}}}", honoured.join(","), shape::subscription_meta(id));
    message::notification("notifications/subscriptions/acknowledged", &params)
}
