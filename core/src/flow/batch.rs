//! A batch, which revision 2025-03-26 has: several messages of a session in one request, each taken for itself, their answers
//! together.

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::StatusCode;
use http::request::Parts;

use super::HELD;
use crate::body::{self, Reply};
use crate::error::{Refusal, code};
use crate::front::{Caller, modern};
use crate::gateway::Gateway;
use crate::ports::Host;
use crate::wire::http as names;
use crate::wire::json::Json;
use crate::wire::message;
use crate::wire::version::Version;

/// The most messages of a batch.
const BATCH: usize = 100;
/// The most messages of a batch that are answered at a time.
const AT_A_TIME: usize = 8;

impl<H: Host> Gateway<H> {
    /// Takes a batch, which one revision has: every message of it for itself, the answers together.
    pub(super) async fn batch(
        &self,
        head: &Parts,
        (json, raw): (Json<'_>, &Bytes),
        caller: Caller,
    ) -> Result<Reply, Refusal> {
        let batches = || Refusal::new(code::INVALID_REQUEST, "batches are not part of this protocol version");
        if modern::is_named(&head.headers) || !head.headers.contains_key(names::SESSION_ID) {
            return Err(batches());
        }
        let caller = Caller { streams: false, ..self.resume_session(head, caller)? };
        if let Some(handed) = self.hand_over_session(head, &caller, raw).await {
            return handed;
        }
        if caller.version() != Version::V2025_03_26 || json.elements().next().is_none() {
            return Err(batches());
        }
        if json.elements().nth(BATCH).is_some() {
            let refusal = format!("a batch may have {BATCH} messages at most");
            return Err(Refusal::new(code::INVALID_REQUEST, refusal));
        }
        let caller = &caller;
        let answers = json.elements().map(|element| async move {
            let reply = match message::parse(element) {
                Ok(message) => {
                    let caller = self.noted(caller.clone(), head, &message, raw);
                    self.legacy(message, &Bytes::new(), caller)
                        .await
                        .unwrap_or_else(|r| body::refused(None, &r))
                }
                Err(rejection) => self.reject(head, &caller.who, &rejection),
            };
            (element, reply)
        });
        let answers: Vec<_> = answers.collect();
        // The batch's own place is that of one message.
        let places: Vec<_> = (1..AT_A_TIME).map_while(|_| self.take_place().ok()).collect();
        let mut answers = std::pin::pin!(stream::iter(answers).buffered(1 + places.len()));
        let (mut texts, mut room) = (Vec::new(), HELD);
        while let Some((element, reply)) = answers.next().await {
            let text = reply.into_body().collect(room).await.unwrap_or_else(|error| {
                let refusal = Refusal::new(code::INTERNAL, format!("no room in the batch's answer: {error}"));
                message::error(element.get("id").map(Json::text), &refusal).into()
            });
            room = room.saturating_sub(text.len());
            if !text.is_empty() {
                texts.push(String::from_utf8_lossy(&text).into_owned());
            }
        }
        if texts.is_empty() {
            return Ok(body::empty(StatusCode::ACCEPTED));
        }
        Ok(body::json(StatusCode::OK, format!("[{}]", texts.join(","))))
    }
}
