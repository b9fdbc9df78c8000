//! A gateway for each identity: whatever a caller asks goes to the instance that is its own (ADR 0050).
//!
//! **Only who it is is decided here**; its message is read by its own instance. What it has proved goes along, and its
//! credentials do not. Where no instance can be had, nothing is answered in its place.

use bytes::Bytes;
use futures::StreamExt as _;
use http::request::Parts;
use http::{Method, StatusCode};

use super::admit::busy;
use super::listen::Listens;
use crate::body::{self, Body, Reply};
use crate::config::Sharing;
use crate::error::{Refusal, Unreachable, code};
use crate::gateway::{Gateway, Snapshot};
use crate::identity::{Identity, Proof};
use crate::ports::{Answered, Host, OwnersPlace, Place};
use crate::wire::http as names;
use crate::wire::message::{self, Message};
use crate::wire::outline::Outline;

/// Whose instance is asked by callers that have proved nothing: they share one.
pub const NOBODY: &str = "anonymous";
/// The method by which an agent listens.
const LISTEN: &str = "subscriptions/listen";

/// Returns whose instance a caller's is.
fn owner_of(who: &Identity) -> &str {
    who.principal.as_deref().unwrap_or(NOBODY)
}

impl<H: Host> Gateway<H> {
    /// Tells whether a request belongs to an instance of its caller's own, which this one is not.
    pub(super) fn is_for_another(&self, head: &Parts, snapshot: &Snapshot) -> bool {
        snapshot.config.gateway.sharing == Sharing::PerIdentity
            && self.host().place() != Place::Owner
            // Whoever was let in before has been handed over, or is the one that this process is for.
            && head.extensions.get::<Proof>().is_none()
    }

    /// Tells whether the caller's own instance is another than this one: the platform may keep callers apart itself.
    pub(super) fn is_anothers(&self, who: &Identity) -> bool {
        self.host().is_owned_by(owner_of(who)).is_err()
    }

    /// Tells whether this process lasts, and has each identity served by another: it keeps no server itself.
    pub(crate) fn keeps_apart(&self, snapshot: &Snapshot) -> bool {
        snapshot.config.gateway.sharing == Sharing::PerIdentity
            && self.host().place() == Place::Process
            && self.host().identities().is_some()
    }

    /// Tells whether this is an identity's own gateway that other instances of this host hand requests to.
    pub(crate) fn is_an_owner_apart(&self, snapshot: &Snapshot) -> bool {
        snapshot.config.gateway.sharing == Sharing::PerIdentity && self.host().place() == Place::Owner
    }

    /// Has the caller's own instance answer a request.
    pub(super) async fn answer_apart(&self, head: &Parts, body: Body, who: &Identity) -> Reply {
        let owner = owner_of(who).to_owned();
        let is_listening = || head.headers.get(&names::METHOD).is_some_and(|method| method == LISTEN);
        let answered =
            if head.method == Method::GET || is_listening() { Answered::Listening } else { Answered::Whole };
        // Before the body is read: whoever sends many slowly takes only what is its own.
        let place = match self.host().identities() {
            Some(owners) => owners.place_at(&owner, answered).await,
            None => Some(Box::new(()) as OwnersPlace),
        };
        let Some(place) = place else {
            let why = "this identity's gateway is busy: it has as many requests as it answers at a time; try again in a moment";
            return self.turn_away(head, Some(who), &busy(why.to_owned()));
        };
        let raw = match head.method {
            Method::POST => self.message_body(head, body).await,
            _ => Ok(Bytes::new()),
        };
        let raw = match raw {
            Ok(raw) => raw,
            Err(refusal) => return self.turn_away(head, Some(who), &refusal),
        };
        let Some(owners) = self.host().identities() else {
            let why = self.host().is_owned_by(&owner).err().unwrap_or("it is to be asked again");
            let refusal = Refusal::new(code::INTERNAL, why).with_status(StatusCode::SERVICE_UNAVAILABLE);
            return self.unanswered(head, &raw, who, &refusal);
        };
        let request = self.handed_to(&owner, head, raw.clone());
        let answer = match answered {
            Answered::Listening => owners.open_stream(owner, request).await,
            Answered::Whole => owners.hand_over(owner, request).await,
        };
        match answer {
            Ok(reply) => body::holding(self.told_of_its_end(head, reply, who, answered), place),
            Err(error) => {
                let error: Unreachable = error;
                tracing::warn!(reason = %error, "an identity's instance does not answer");
                let why = "the gateway that is this identity's own could not answer; try again";
                let refusal = Refusal::new(code::INTERNAL, why).with_status(StatusCode::BAD_GATEWAY);
                self.unanswered(head, &raw, who, &refusal)
            }
        }
    }

    /// Passes an answer on; where it breaks off, the trail is told here, since nobody else can.
    fn told_of_its_end(&self, head: &Parts, reply: Reply, who: &Identity, answered: Answered) -> Reply {
        let listens = answered == Answered::Listening;
        let (mut answer, body) = reply.into_parts();
        let Body::Stream(chunks) = body else { return Reply::from_parts(answer, body) };
        let (gateway, mut asked) = (self.clone(), http::Request::new(()).into_parts().0);
        asked.method.clone_from(&head.method);
        asked.uri.clone_from(&head.uri);
        let who = who.clone();
        let chunks = chunks.inspect(move |chunk| {
            if chunk.is_err() {
                let refusal = Refusal::new(code::INTERNAL, "the identity's instance ended while it answered");
                gateway.record_exchange(&asked, Some(&who), Err(&refusal));
            }
        });
        if listens {
            answer.extensions.insert(Listens);
        }
        let chunks = if listens { self.keep_chunks_alive(chunks.boxed()) } else { chunks.boxed() };
        Reply::from_parts(answer, Body::Stream(chunks))
    }

    /// Refuses a request that nobody has read, in its own name where it has one.
    fn unanswered(&self, head: &Parts, raw: &Bytes, who: &Identity, refusal: &Refusal) -> Reply {
        self.record_exchange(head, Some(who), Err(refusal));
        let id = Outline::check(raw).ok().and_then(|outline| match message::parse(outline) {
            Ok(Message::Request { id, .. }) => Some(id.text().to_owned()),
            _ => None,
        });
        body::refused(id.as_deref(), refusal)
    }
}
