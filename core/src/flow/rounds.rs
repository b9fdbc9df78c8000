//! Leading a session's agent through the rounds of a stateless server: what the server asks for becomes requests on
//! the agent's open stream, and the answers, which come as requests of their own, meet the call here.

use std::time::Duration;

use bytes::Bytes;

use futures::stream::FuturesUnordered;
use futures::{SinkExt, StreamExt};

use super::addressee::{Addressee, Cancelled};
use super::converse::{Step as Sent, Steps};
use super::messages::ANSWERED;
use crate::dialogue::{self, Dialogue, Question, Round, Step};
use crate::error::{Refusal, code};
use crate::gateway::Gateway;
use crate::ports::Host;
use crate::session::{Asker, ServerRequest};
use crate::upstream::pauses::Pauses;
use crate::wire::json::Json;
use crate::wire::message::{self, Message};
use crate::wire::version::Version;

/// How long the gateway waits before it calls a server again that asked for nothing but that.
const PAUSES: Pauses = Pauses::new(Duration::from_millis(100), Duration::from_secs(5));

/// Why a round has no outcome.
pub(super) enum Unfinished {
    Cancelled,
    Refused(Refusal),
}

impl<H: Host> Gateway<H> {
    /// Asks the agent what the server wants to know; returns the members of `params` with which the server is to be
    /// called again.
    pub(super) async fn ask_agent(
        &self,
        dialogue: &mut Dialogue,
        round: Round,
        to: &mut Addressee,
        steps: &mut Steps,
    ) -> Result<Vec<(&'static str, String)>, Unfinished> {
        let questions = match dialogue.required(round) {
            Step::Ask(questions) => questions,
            Step::Fail(refusal) => return Err(Unfinished::Refused(refusal)),
            Step::Retry(members) => {
                let wait = self.host().sleep(PAUSES.after(dialogue.rounds().saturating_sub(1)));
                to.unless_cancelled(wait).await.map_err(|Cancelled| Unfinished::Cancelled)?;
                return Ok(members);
            }
        };
        // Who thinks an answer over takes no place from others.
        to.turn = None;
        let server = to.server.clone();
        let mut answers = FuturesUnordered::new();
        for question in questions {
            let place = self.random();
            let meeting = self.host().meet(place);
            let request = self.put_to_session(&question, place, to);
            let put = steps.send(Sent::Event(request.into())).await;
            put.map_err(|_| Unfinished::Cancelled)?;
            answers.push(async move { (question.key, meeting.await) });
        }
        loop {
            let answered = self.within(&server, ANSWERED, async { Ok(answers.next().await) });
            let answered = to.unless_cancelled(answered).await.map_err(|Cancelled| Unfinished::Cancelled)?;
            let Ok(Some((key, message))) = answered else {
                return Err(Unfinished::Refused(Refusal::new(
                    code::INTERNAL,
                    format!("the client has not answered within {} s", ANSWERED.as_secs()),
                )));
            };
            match outcome(&message).and_then(|outcome| dialogue.answered(&key, outcome)) {
                Some(Step::Retry(members)) => return Ok(members),
                Some(Step::Fail(refusal)) => return Err(Unfinished::Refused(refusal)),
                Some(Step::Ask(_)) | None => {}
            }
        }
    }

    /// Returns a question as the session's agent gets it, under an id that leads back to `place`.
    fn put_to_session(&self, question: &Question, place: u64, to: &Addressee) -> String {
        let session = to.caller.session.as_ref().map_or(0, |session| session.nonce);
        let server = to.server.name.to_string();
        let id =
            ServerRequest { server, session, asker: Asker::Call(place) }.seal(&self.0.sealer, self.host());
        if to.caller.version() >= Version::V2025_11_25 {
            let elicitation = self.0.sealer.name(&place.to_string());
            dialogue::request(&question.with_elicitation_id(&elicitation), &id)
        } else {
            dialogue::request(question, &id)
        }
    }
}

fn outcome(answer: &Bytes) -> Option<Result<Json<'_>, Json<'_>>> {
    match message::parse(Json::check(answer).ok()?).ok()? {
        Message::Response { outcome, .. } => Some(outcome),
        _ => None,
    }
}
