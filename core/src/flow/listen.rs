//! The streams on which agents hear of changes: `subscriptions/listen`, and a session's own stream.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::body::{self, Reply};
use crate::catalog::Route;
use crate::error::{Refusal, Unreachable};
use crate::front::Caller;
use crate::gateway::Gateway;
use crate::hub::{Interest, Note, Resource, Seat};
use crate::plan::Wanted;
use crate::ports::Host;
use crate::session::Session;
use crate::shape;
use crate::wire::json::quote;
use crate::wire::message;
use crate::wire::sse;

/// A place among those who listen, given up when it is dropped.
struct Listening<H: Host> {
    gateway: Gateway<H>,
    seat: Seat,
    /// The resources that were subscribed to for this stream alone.
    resources: Vec<Subscription<H>>,
    ended: bool,
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
    /// Notes that somebody wants to hear of a resource, by the URI that it knows, and makes the server tell of it.
    pub(crate) async fn subscribe(
        &self,
        nonce: u64,
        route: &Route,
        uri: String,
    ) -> Result<Subscription<H>, Unreachable> {
        let resource = (route.server.name.clone(), route.name.to_string());
        self.0.hub.subscribe(nonce, resource.clone(), uri);
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

    /// Opens a stateless agent's stream (2026-07-28, `subscriptions/listen`): what it will carry, then that.
    pub(crate) async fn listen(
        &self,
        caller: &Caller,
        id: &str,
        mut wanted: Wanted,
    ) -> Result<Reply, Refusal> {
        let nonce = self.random();
        // First a place, so that nothing is missed that happens while servers are asked.
        let seat = self.0.hub.join(caller.scope.clone(), nonce, Interest::Lists(wanted.lists.clone()));
        let mut listening = Listening { gateway: self.clone(), seat, resources: Vec::new(), ended: false };
        let view = self.snapshot().view(&caller.scope);
        let routed = std::mem::take(&mut wanted.resources)
            .into_iter()
            .filter_map(|uri| Some((view.route_uri(&uri)?, uri)));
        let asking =
            routed.map(|(route, uri)| async move { (self.subscribe(nonce, &route, uri.clone()).await, uri) });
        for (subscription, uri) in futures::future::join_all(asking).await {
            match subscription {
                Ok(subscription) => {
                    listening.resources.push(subscription);
                    wanted.resources.insert(uri);
                }
                Err(error) => tracing::debug!(%error, "a resource cannot be subscribed to"),
            }
        }
        let acknowledged = acknowledged(id, &wanted);
        let id = id.to_owned();
        let first = stream::once(std::future::ready(sse::encode(None, acknowledged.as_bytes())));
        let rest = stream::unfold((listening, id), |(mut listening, id)| async move {
            if listening.ended {
                return None;
            }
            let text = loop {
                match listening.seat.notes.next().await? {
                    Note::ListChanged(capability) => break shape::changed(capability, Some(&id)),
                    Note::Updated(uri) => break shape::updated(&uri, Some(&id)),
                    Note::Message(_) => {}
                    Note::Goodbye => {
                        listening.ended = true;
                        let result =
                            format!("{{\"resultType\":\"complete\",{}}}", shape::subscription_meta(&id));
                        break message::result(&id, &result);
                    }
                }
            };
            Some((sse::encode(None, text.as_bytes()), (listening, id)))
        });
        Ok(body::events(self.keep_alive(first.chain(rest).boxed())))
    }

    /// Opens a session's own stream (`GET`): what no request of it asked for.
    pub(crate) fn open_session_stream(&self, caller: &Caller, session: &Session) -> Reply {
        let seat = self.0.hub.join(caller.scope.clone(), session.nonce, Interest::Session);
        let listening = Listening { gateway: self.clone(), seat, resources: Vec::new(), ended: false };
        let events: BoxStream<'static, Bytes> = stream::unfold(listening, |mut listening| async move {
            let text = match listening.seat.notes.next().await? {
                Note::ListChanged(capability) => shape::changed(capability, None),
                Note::Updated(uri) => shape::updated(&uri, None),
                Note::Message(text) => text,
                Note::Goodbye => return None,
            };
            Some((sse::encode(None, text.as_bytes()), listening))
        })
        .boxed();
        // Something at once, so that the agent sees the stream open.
        let first = stream::once(std::future::ready(Bytes::from_static(sse::KEEP_ALIVE)));
        body::events(self.keep_alive(first.chain(events).boxed()))
    }
}

fn acknowledged(id: &str, wanted: &Wanted) -> String {
    let mut honoured: Vec<String> =
        wanted.lists.iter().map(|capability| format!("\"{capability}ListChanged\":true")).collect();
    if !wanted.resources.is_empty() {
        let uris: Vec<_> = wanted.resources.iter().map(|uri| quote(uri)).collect();
        honoured.push(format!("\"resourceSubscriptions\":[{}]", uris.join(",")));
    }
    let params = format!("{{\"notifications\":{{{}}},{}}}", honoured.join(","), shape::subscription_meta(id));
    message::notification("notifications/subscriptions/acknowledged", &params)
}
