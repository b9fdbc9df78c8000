//! Handing a request to the owner of what it needs, where that is not this instance (ADR 0021).
//!
//! **What the caller has proved goes along, and its credentials do not.** Whoever takes a request that was handed over
//! trusts what comes along: only the host's own instances may reach it that way.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::listen::Listens;
use super::park::may_be_asked_in;
use crate::body::{self, Body, Reply};
use crate::error::{Refusal, Unreachable, code};
use crate::front::{Caller, Inbound, meta};
use crate::gateway::{Gateway, SealKeys};
use crate::identity::{Owner, Proof};
use crate::plan;
use crate::ports::{Host, Owners, Place};
use crate::session::{Interaction, Purpose, Sealer};
use crate::wire::version::Era;

/// Carries what goes along with a request, from one instance of this host to another.
const HANDED: HeaderName = HeaderName::from_static("portcullis-handed");

/// The headers that are about a connection (RFC 9110, section 7.6.1), and the length that another body has.
const CONNECTION: [HeaderName; 11] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::PROXY_AUTHORIZATION,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_VERSION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What goes along with a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Handed {
    proof: Proof,
    /// The nonce of the session that the request begins.
    nonce: Option<u64>,
}

/// The nonce of the session that a request begins, where another instance has chosen it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen(pub(super) u64);

/// What an owner's answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answering {
    /// A request.
    Request,
    /// An agent that listens for as long as it likes.
    Listener,
}

impl<H: Host> Gateway<H> {
    /// Answers a request that another instance of this host has handed over. **Only for hosts whose callers cannot reach
    /// it**: it believes what the request says of its caller.
    pub async fn serve_handed(&self, mut request: http::Request<Body>) -> Reply {
        let handed = request.headers_mut().remove(HANDED);
        let handed =
            handed.and_then(|text| self.0.sealer.unpack::<Handed>(Purpose::Handed, text.to_str().ok()?));
        let Some(Handed { proof, nonce }) = handed else {
            let refusal =
                Refusal::new(code::INVALID_REQUEST, "the request was not handed over by this gateway");
            return body::refused(None, &refusal.with_status(StatusCode::BAD_REQUEST));
        };
        request.extensions_mut().insert(proof);
        if let Some(nonce) = nonce {
            request.extensions_mut().insert(Chosen(nonce));
        }
        self.serve(request).await
    }

    /// Returns to whom requests are handed that need an owner, where that is not this instance.
    pub(super) fn owners(&self) -> Option<&Arc<dyn Owners>> {
        self.host().owners().filter(|_| self.host().place() == Place::Isolate)
    }

    /// Tells whether what outlives a request can be held here, or somewhere else.
    pub(super) fn has_owners(&self) -> bool {
        match self.host().place() {
            Place::Process | Place::Owner => true,
            Place::Isolate => self.owners().is_some(),
            Place::Function => false,
        }
    }

    /// Hands over a message of a session; nothing where sessions are held here.
    pub(super) async fn hand_over_session(
        &self,
        head: &Parts,
        caller: &Caller,
        raw: &Bytes,
    ) -> Option<Result<Reply, Refusal>> {
        let (owners, session) = (self.owners()?, caller.session.as_ref()?);
        let owner = owner_of_session(&session.owner, session.nonce);
        let answering = if head.method == Method::GET { Answering::Listener } else { Answering::Request };
        Some(self.hand_over(owners, (owner, answering), head, raw.clone(), caller).await)
    }

    /// Hands over what belongs to a stream of HTTP+SSE; nothing where those are held here. A GET begins the session that
    /// `nonce` tells.
    pub(super) async fn hand_over_sse(
        &self,
        head: &Parts,
        raw: Bytes,
        (owner, nonce): (&Owner, u64),
    ) -> Option<Result<Reply, Refusal>> {
        let owners = self.owners()?;
        let chosen = (head.method == Method::GET).then_some(nonce);
        let answer = owners.hand_over(owner_of_session(owner, nonce), self.handed(head, raw, chosen)).await;
        Some(answer.map_err(out_of_reach))
    }

    /// Hands over a stateless request that needs an owner; nothing where it needs none, or owners are here.
    pub(super) async fn hand_over_stateless(
        &self,
        head: &Parts,
        inbound: &Inbound<'_>,
        caller: &Caller,
    ) -> Option<Result<Reply, Refusal>> {
        let owners = self.owners()?;
        let brings_state = || inbound.params.get("requestState").is_some_and(|state| !state.is_null());
        let is_owners = match inbound.method.as_ref() {
            "subscriptions/listen" => true,
            method if may_be_asked_in(method) => brings_state() || self.needs_owner(inbound, caller).await,
            "completion/complete" => self.needs_owner(inbound, caller).await,
            _ => false,
        };
        if !is_owners {
            return None;
        }
        let owner = caller.who.owner().to_string();
        let listens = inbound.method == "subscriptions/listen";
        let answering = if listens { Answering::Listener } else { Answering::Request };
        Some(self.hand_over(owners, (owner, answering), head, inbound.raw.clone(), caller).await)
    }

    /// Tells whether what a request names lies with a server to which each instance needs a stream of its own, or one
    /// that may interrupt the call with a question.
    async fn needs_owner(&self, inbound: &Inbound<'_>, caller: &Caller) -> bool {
        let view = self.view(&self.snapshot_of(&caller.who), caller).await;
        let Some(route) = plan::route_of(&view, inbound) else { return false };
        if route.server.speaks_sse.load(Ordering::Relaxed) {
            return true;
        }
        let declared = inbound.meta().and_then(|meta| meta.get(meta::CLIENT_CAPABILITIES));
        let can_be_asked = declared.map_or_else(Interaction::default, Interaction::declared).is_possible();
        if !can_be_asked || !may_be_asked_in(&inbound.method) {
            return false;
        }
        let established = self.establish(&route.server, &route.server.shared).await;
        established.is_ok_and(|established| established.version.era() == Era::Legacy)
    }

    async fn hand_over(
        &self,
        owners: &Arc<dyn Owners>,
        (owner, answering): (String, Answering),
        head: &Parts,
        raw: Bytes,
        caller: &Caller,
    ) -> Result<Reply, Refusal> {
        let request = self.handed(head, raw, None);
        let reply = match answering {
            Answering::Request => owners.hand_over(owner, request).await,
            Answering::Listener => owners.open_stream(owner, request).await,
        };
        let reply = reply.map_err(out_of_reach)?;
        caller.record.handed_over();
        Ok(if answering == Answering::Listener { self.awake(reply, caller) } else { reply })
    }

    /// Keeps a stream awake whose owner may rest, and passes it on.
    fn awake(&self, reply: Reply, caller: &Caller) -> Reply {
        let (mut head, body) = reply.into_parts();
        head.extensions.insert(Listens);
        let body = match body {
            Body::Stream(chunks) => {
                Body::Stream(self.keep_chunks_alive(self.knowing_of_changes(chunks, caller)))
            }
            whole @ Body::Full(_) => whole,
        };
        Reply::from_parts(head, body)
    }

    /// Returns a request as it is handed over. What it says of the caller is sealed: it may be written down where it waits.
    fn handed(&self, head: &Parts, raw: Bytes, nonce: Option<u64>) -> http::Request<Body> {
        self.handed_under(None, head, raw, nonce)
    }

    /// Returns a request as it is handed to an owner that may have keys of its own.
    pub(super) fn handed_to(&self, owner: &str, head: &Parts, raw: Bytes) -> http::Request<Body> {
        let keys = self.host().identities().and_then(|owners| owners.keys_of(owner));
        self.handed_under(keys.as_ref(), head, raw, None)
    }

    fn handed_under(
        &self,
        keys: Option<&SealKeys>,
        head: &Parts,
        raw: Bytes,
        nonce: Option<u64>,
    ) -> http::Request<Body> {
        let proof = head.extensions.get::<Proof>().cloned().unwrap_or_default();
        let mut request = http::Request::new(Body::Full(raw.into()));
        request.method_mut().clone_from(&head.method);
        request.uri_mut().clone_from(&head.uri);
        request.headers_mut().clone_from(&head.headers);
        // What is about the agent's connection is not about this one: an `Upgrade` would be one of its own.
        for name in CONNECTION {
            request.headers_mut().remove(name);
        }
        let handed = Handed { proof, nonce };
        let along = match keys {
            // It has keys of its own, which open nothing of others.
            Some(keys) => Sealer::new(&keys.first, &[]).pack(self.host(), Purpose::Handed, &handed),
            None => self.0.sealer.pack(self.host(), Purpose::Handed, &handed),
        };
        request.headers_mut().insert(HANDED, HeaderValue::from_str(&along).expect("ASCII"));
        request
    }
}

fn owner_of_session(owner: &Owner, nonce: u64) -> String {
    format!("{owner}/{nonce:016x}")
}

fn out_of_reach(error: Unreachable) -> Refusal {
    tracing::error!(reason = %error, "the owner of what a request needs is out of reach");
    let why = "what this request belongs to is out of reach at the moment; try again";
    Refusal::new(code::INTERNAL, why).with_status(StatusCode::SERVICE_UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Bearer;
    use crate::testing::{Memory, gateway, json_answer};

    #[test]
    fn what_is_about_a_connection_does_not_go_along() {
        let request =
            http::Request::get("/sse").header("upgrade", "websocket").header("connection", "upgrade");
        let (head, ()) = request.header("accept", "text/event-stream").body(()).unwrap().into_parts();
        let gateway = gateway(&Memory::new(|_| json_answer(404, "")), &[]);
        let request = gateway.handed(&head, Bytes::new(), None);
        let names: Vec<_> = request.headers().keys().map(ToString::to_string).collect();
        assert_eq!(names, ["accept", "portcullis-handed"]);
    }

    #[test]
    fn what_goes_along_fits_a_header() {
        let bearer: Bearer = serde_json::from_str(r#"{"claims":[],"judged_by":9,"expires":7}"#).unwrap();
        let bearer = bearer.keeping("h.p.s", "https://idp.example", None);
        let user = Proof::of_bearer("user:corp:ann", bearer, None);
        let gateway = gateway(&Memory::new(|_| json_answer(404, "")), &[]);
        for proof in [Proof::of_agent("büro 😀 \"x\""), user] {
            let handed_over = Handed { proof: proof.clone(), nonce: Some(7) };
            let (mut head, ()) = http::Request::new(()).into_parts();
            head.extensions.insert(proof);
            let request = gateway.handed(&head, Bytes::new(), Some(7));
            let text = request.headers()[&HANDED].to_str().expect("ASCII");
            assert_eq!(gateway.0.sealer.unpack::<Handed>(Purpose::Handed, text).as_ref(), Some(&handed_over));
            assert!(!format!("{handed_over:?}").contains("h.p.s"));
        }
    }
}
