//! A gateway for each identity: whatever a caller asks goes to the instance that is its own (ADR 0050).
//!
//! **Only who it is is decided here**; its message is read by its own instance. What it has proved goes along, and its
//! credentials do not. Where no instance can be had, nothing is answered in its place.

use bytes::Bytes;
use futures::StreamExt as _;
use http::request::Parts;
use http::{Method, StatusCode};

use super::listen::Listens;
use crate::body::{self, Body, Reply};
use crate::config::Sharing;
use crate::error::{Refusal, Unreachable, code};
use crate::gateway::{Gateway, Snapshot};
use crate::identity::{Identity, Proof};
use crate::ports::{Host, Place};
use crate::wire::http as names;
use crate::wire::message::{self, Message};
use crate::wire::outline::Outline;

/// Whose instance is asked by callers that have proved nothing: they share one.
const NOBODY: &str = "anonymous";

impl<H: Host> Gateway<H> {
    /// Tells whether a request belongs to an instance of its caller's own, which this one is not.
    pub(super) fn is_for_another(&self, head: &Parts, snapshot: &Snapshot) -> bool {
        snapshot.config.gateway.sharing == Sharing::PerIdentity
            && self.host().place() != Place::Owner
            // Whoever was let in before has been handed over, or is the one that this process is for.
            && head.extensions.get::<Proof>().is_none()
    }

    /// Has the caller's own instance answer a request.
    pub(super) async fn answer_apart(&self, head: &Parts, body: Body, who: &Identity) -> Reply {
        let raw = match head.method {
            Method::POST => self.message_body(head, body).await,
            _ => Ok(Bytes::new()),
        };
        let raw = match raw {
            Ok(raw) => raw,
            Err(refusal) => return self.turn_away(head, Some(who), &refusal),
        };
        let Some(owners) = self.host().owners() else {
            let why = "each identity is to have a gateway of its own, and this one makes none: its operator has to start it \
                       anew, or on a host that can";
            let refusal = Refusal::new(code::INTERNAL, why).with_status(StatusCode::SERVICE_UNAVAILABLE);
            return self.unanswered(head, &raw, who, &refusal);
        };
        let owner = who.principal.as_deref().unwrap_or(NOBODY).to_owned();
        let listens = head.method == Method::GET || head.headers.get(&names::METHOD).is_some_and(|method| method == "subscriptions/listen");
        let request = self.handed_to(&owner, head, raw.clone());
        let answer = if listens {
            owners.open_stream(owner, request).await
        } else {
            owners.hand_over(owner, request).await
        };
        match answer {
            Ok(reply) => self.told_of_its_end(head, reply, who, listens),
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
    fn told_of_its_end(&self, head: &Parts, reply: Reply, who: &Identity, listens: bool) -> Reply {
        let (mut answered, body) = reply.into_parts();
        let Body::Stream(chunks) = body else { return Reply::from_parts(answered, body) };
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
            answered.extensions.insert(Listens);
        }
        let chunks = if listens { self.keep_chunks_alive(chunks.boxed()) } else { chunks.boxed() };
        Reply::from_parts(answered, Body::Stream(chunks))
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
