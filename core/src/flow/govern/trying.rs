//! Calls that somebody who governs tries as an agent.
//!
//! **Such a call is any other call**: it takes its place among them, and rules, approvals, limits and the trail hold. What is
//! known of the caller is that whoever governs vouches for the agent, and who that is; so no user's account at a server serves
//! for it but their own. Nobody is asked anything in the middle of it.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};

use super::super::admit::in_place;
use super::super::control::Asked;
use super::tools::agent_of;
use crate::body::{self, Body, Reply};
use crate::catalog::Scope;
use crate::config::Sharing;
use crate::control::answer::{Fault, kept_from_caches};
use crate::control::request::TriedCall;
use crate::front::{Piped, meta};
use crate::gateway::Gateway;
use crate::identity::{Identity, Proof, Somebody, identify, suppose};
use crate::ports::{Host, Place};
use crate::wire::http as names;
use crate::wire::json::quote;
use crate::wire::message::{self, Message};
use crate::wire::outline::Outline;
use crate::wire::version::Version;

/// What the trail has for the client of such a call.
const CLIENT: &str = "portcullis-admin";
/// The longest answer that is shown, in bytes.
const LONGEST: usize = 4 << 20;

impl<H: Host> Gateway<H> {
    /// Calls a tool as an agent, and tells what that agent would be told.
    pub(super) async fn call_tool(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let call = TriedCall::read(asked.headers, &asked.body)?;
        let agent = agent_of(call.agent.as_deref(), asked)?;
        let snapshot = self.snapshot();
        let policy = &snapshot.config.policy;
        let somebody = Somebody { agent, ..Somebody::default() };
        suppose(policy, &snapshot.config.auth, &somebody)
            .map_err(|unknown| Fault::new(StatusCode::NOT_FOUND, "no-agent", unknown.to_string()))?;
        let proof = Proof::of_trial(&asked.operator.principal, agent);
        let who = identify(policy, &proof).map_err(|_| {
            Fault::forbidden("the configuration has rules of their own for who asks, as another agent")
        })?;
        let (mut head, body) = composed(&call, asked);
        head.extensions.insert(proof);
        let reply = self.tried(&head, body, Arc::new(who)).boxed().await;
        let said = match reply.into_body().collect(LONGEST).await {
            Ok(whole) => told(&whole),
            Err(error) => came_to_nothing(&error.to_string()),
        };
        Ok(kept_from_caches(body::json(StatusCode::OK, said)))
    }

    async fn tried(&self, head: &Parts, body: Bytes, who: Arc<Identity>) -> Reply {
        if let Err(refusal) = self.is_recordable() {
            return body::refused(None, &refusal);
        }
        let place = match self.take_place() {
            Ok(place) => place,
            Err(refusal) => return self.turn_away(head, Some(&who), &refusal),
        };
        let body = Body::Full(body.into());
        let is_apart = self.snapshot().config.gateway.sharing == Sharing::PerIdentity;
        if is_apart && self.host().place() != Place::Owner {
            return in_place(self.answer_apart(head, body, &who).await, Some(place));
        }
        match self.mcp_message(head, body, (Scope::All, who.clone())).await {
            Ok(reply) => in_place(reply, Some(place)),
            Err(refusal) => self.turn_away(head, Some(&who), &refusal),
        }
    }
}

/// Returns the call as a stateless request. Its headers are for an owner that it may be handed to; here they need not agree.
fn composed(call: &TriedCall, asked: &Asked<'_>) -> (Parts, Bytes) {
    let version = Version::MODERN;
    let text = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":{},\"arguments\":{},\"_meta\":{{\
         \"{}\":\"{version}\",\"{}\":{{\"name\":\"{CLIENT}\",\"version\":\"{}\"}},\"{}\":{{}}}}}}}}",
        quote(&call.name),
        call.arguments.as_deref().unwrap_or("{}"),
        meta::PROTOCOL_VERSION,
        meta::CLIENT_INFO,
        env!("CARGO_PKG_VERSION"),
        meta::CLIENT_CAPABILITIES,
    );
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = Method::POST;
    head.uri = http::Uri::from_static("/mcp");
    head.extensions = asked.extensions.clone();
    head.extensions.insert(Piped::Asks);
    let known = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (names::PROTOCOL_VERSION, HeaderValue::from_static(version.as_str())),
        (names::METHOD, HeaderValue::from_static("tools/call")),
        (names::NAME, names::encode(&call.name)),
    ];
    head.headers.extend(known);
    if let Some(host) = asked.headers.get(header::HOST) {
        head.headers.insert(header::HOST, host.clone());
    }
    (head, text.into())
}

/// Returns what an answer of JSON-RPC says.
fn told(whole: &[u8]) -> String {
    let outline = Outline::check(whole).ok();
    match outline.and_then(|outline| message::parse(outline).ok()) {
        Some(Message::Response { outcome: Ok(result), .. }) => format!("{{\"result\":{}}}", result.text()),
        Some(Message::Response { outcome: Err(error), .. })
            if error.get("message").is_some_and(|message| message.as_str().is_some()) =>
        {
            format!("{{\"error\":{}}}", error.text())
        }
        _ => came_to_nothing("there was no answer"),
    }
}

fn came_to_nothing(why: &str) -> String {
    format!("{{\"error\":{{\"message\":{}}}}}", quote(why))
}
