//! Carrying a server's answer to the agent that asked, as it comes.

use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::future::{self, BoxFuture, Either};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, SinkExt, StreamExt};
use http::StatusCode;

use super::addressee::{Addressee, Cancelled};
use super::ask::{AnswerBody, Asked};
use super::invite::Guest;
use super::messages::{Messages, Outgoing};
use super::rounds::Unfinished;
use super::{HELD, late};
use crate::body::{self, Body, Reply};
use crate::dialogue::{Dialogue, Round};
use crate::error::{Refusal, Unreachable, code, status_of};
use crate::gateway::Gateway;
use crate::pieces::Pieces;
use crate::pipe::Wait;
use crate::ports::{Chunks, Host};
use crate::relay::{Finished, Splice};
use crate::session::Session;
use crate::streams::Recording;
use crate::upstream::compose::Ask;
use crate::upstream::handshake::shorten;
use crate::wire::message;
use crate::wire::sse;
use crate::wire::version::{Era, Version};

/// How often a quiet event stream says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long an ended stream can still be taken up.
const REPLAYABLE: Duration = Duration::from_mins(1);
/// How long a session's request may be quiet before its answer begins as a stream.
const QUIET: Duration = Duration::from_secs(1);
/// How many messages of an answer may wait to be recorded.
const STEPS: usize = 16;
/// From this size on an answer is passed on before its end has come, in bytes.
const STREAMED: usize = 64 << 10;
/// From this size on one is taken for an answer that has not said whether it asks for input, in bytes.
const ROUND: usize = 4 << 20;

/// What became of a document.
enum Ended {
    /// It answers the agent, perhaps still coming.
    Reply(Reply),
    /// It asks a session's agent for input.
    Round(Round, Box<Addressee>),
}

impl<H: Host> Gateway<H> {
    /// Answers an agent with what the server answers: one document where the answer comes alone, else a stream.
    pub(crate) async fn converse(&self, mut asked: Asked<H>, to: Addressee) -> Result<Reply, Cancelled> {
        match std::mem::replace(&mut asked.body, AnswerBody::Nothing) {
            AnswerBody::Json(chunks) => self.relay_document(asked, chunks, to).await,
            AnswerBody::Nothing => {
                asked.cancel.disarm();
                let failure = to.server.error("answered with nothing");
                asked.failed(&failure);
                let (text, status) = to.error(failure);
                Ok(body::json(status, text))
            }
            body => {
                asked.body = body;
                // Large: kept apart, so that the future of a plain answer stays small.
                Box::pin(self.relay_messages(Messages::new(self.clone(), asked, to))).await
            }
        }
    }

    async fn relay_document(
        &self,
        asked: Asked<H>,
        chunks: Chunks,
        to: Addressee,
    ) -> Result<Reply, Cancelled> {
        Ok(match self.document(asked, chunks, to).await? {
            Ended::Reply(reply) => reply,
            Ended::Round(round, to) => Self::refuse_round(&round, &to),
        })
    }

    async fn document(
        &self,
        mut asked: Asked<H>,
        mut chunks: Chunks,
        mut to: Addressee,
    ) -> Result<Ended, Cancelled> {
        let version = asked.established.version;
        let mut splice = self.splice(&to, asked.id, version);
        let mut out = Pieces::default();
        // What a stateless server has answered to a session, as long as it may turn out to be no answer yet.
        let crossed = to.caller.era() == Era::Legacy && version.era() == Era::Modern;
        let mut raw: Vec<Bytes> = Vec::new();
        let server = to.server.clone();
        let broken = |e: crate::relay::Broken| server.error(e.to_string());
        // One patience for all that comes before the agent gets anything: a server that drips is late as well.
        let limit = to.patience;
        let mut patience = std::pin::pin!(self.host().sleep(limit));
        let failure = loop {
            let next = future::select(chunks.next(), patience.as_mut()).map(|first| match first {
                Either::Left((chunk, _)) => Ok(chunk),
                Either::Right(_) => Err(late(&server, limit)),
            });
            match to.unless_cancelled(next).await? {
                Ok(Some(Ok(chunk))) => {
                    if let Err(error) = splice.push(&chunk, &mut out).map_err(broken) {
                        break error;
                    }
                    let may_ask = crossed && splice.result_type().is_none_or(|kind| kind == "input_required");
                    if may_ask {
                        raw.push(chunk);
                    }
                    let most = if may_ask { ROUND } else { STREAMED };
                    if to.is_held() {
                        if let Err(error) = to.holds(out.len(), self.limits().message) {
                            break error;
                        }
                    } else if out.len() >= most && !splice.is_done() {
                        to.caller.record.gave(out.len());
                        let (gateway, pieces) = (self.clone(), out.into_vec().into_iter());
                        let rest = Document { gateway, asked, chunks, to, splice: Some(splice), pieces };
                        let mut reply = body::json(StatusCode::OK, Bytes::new());
                        *reply.body_mut() = Body::Stream(rest.into_stream());
                        return Ok(Ended::Reply(reply));
                    }
                }
                Ok(None) => {
                    asked.cancel.disarm();
                    let (code, is_tool_error) = (splice.error_code(), splice.is_tool_error());
                    let asks = crossed && splice.result_type() == Some("input_required");
                    match splice.finish().map_err(broken) {
                        Ok(Finished::Answer) => {
                            let (text, is_tool_error) = match to.narrowed(out.into_whole(), is_tool_error) {
                                Ok(narrowed) => narrowed,
                                Err(error) => break error,
                            };
                            asked.answered();
                            to.answered();
                            if let Some(round) =
                                asks.then(|| raw.concat()).and_then(|raw| Round::read(&raw, to.screen()))
                            {
                                return Ok(Ended::Round(round, Box::new(to)));
                            }
                            let (text, code) = self.asks_by_error(&to, text, code);
                            to.caller.record.gave(text.len());
                            to.caller.record.answered(code, is_tool_error);
                            return Ok(Ended::Reply(body::json(status(&to, code), text)));
                        }
                        Ok(Finished::Other(_)) => break server.error("sent something that is no answer"),
                        Err(error) => break error,
                    }
                }
                Ok(Some(Err(error))) | Err(error) => break error,
            }
        };
        asked.failed(&failure);
        let (text, status) = to.error(failure);
        Ok(Ended::Reply(body::json(status, text)))
    }

    /// Passes messages on until the answer, or until the agent has to be asked.
    pub(super) async fn relay_messages(&self, mut messages: Messages<H>) -> Result<Reply, Cancelled> {
        loop {
            match messages.next().await? {
                Outgoing::Last(text, code) => {
                    return Ok(body::json(status(&messages.to, code), text));
                }
                Outgoing::Document(asked, chunks) => {
                    return Box::pin(self.relay_document(*asked, chunks, messages.to)).await;
                }
                Outgoing::Question(question) => {
                    let text = Box::pin(messages.put_aside(question)).await?;
                    return Ok(body::json(StatusCode::OK, text));
                }
                Outgoing::Round(round) => return Ok(Self::refuse_round(&round, &messages.to)),
                Outgoing::Event(text) if messages.to.caller.streams => {
                    return Ok(body::events(self.keep_alive(messages.into_stream(text))));
                }
                Outgoing::Event(_) => {}
            }
        }
    }

    /// Answers a session's agent that its server asks for what cannot be asked on this request.
    fn refuse_round(round: &Round, to: &Addressee) -> Reply {
        body::json(StatusCode::OK, Self::refusal_of(round, to))
    }

    /// Returns the error that says so.
    pub(super) fn refusal_of(round: &Round, to: &Addressee) -> String {
        let session = to.caller.session.as_ref();
        let visits = session.is_some_and(|s| s.interaction.url && s.version >= Version::V2025_11_25);
        let refusal = if visits && round.only_visits() {
            round.to_error(&to.id)
        } else {
            let what = round.questions.first().map_or("more", |question| question.method.as_str());
            let why = format!("asks for {} before it answers, which this client cannot give", shorten(what));
            to.server.error(why).into()
        };
        message::error(Some(&to.id), &refusal)
    }

    /// Answers a request of a session. Its asking goes on when the agent hangs up: in this era that cancels nothing,
    /// and a stream can be taken up again.
    pub(crate) async fn converse_in_session(
        &self,
        session: &Session,
        ask: Ask<'static>,
        to: Addressee,
    ) -> Result<Reply, Refusal> {
        let (sender, mut steps) = mpsc::channel(STEPS);
        let (request_id, resumes) = (to.id.clone(), to.caller.resumes);
        let gateway = self.clone();
        let carrying = async move { gateway.carry(ask, to, sender).await };
        let mut carrying = Carrying { gateway: self.clone(), work: Some(carrying.boxed()) };
        let next = future::poll_fn(|context| {
            carrying.poll(context);
            steps.poll_next_unpin(context)
        });
        let quiet = std::pin::pin!(self.host().sleep(QUIET));
        let first = match future::select(next, quiet).await {
            Either::Left((Some(Step::Reply(reply)), _)) => return Ok(*reply),
            Either::Left((Some(Step::Refused(refusal)), _)) => return Err(refusal),
            // Cancelled: there is no answer, and the connection still has to end.
            Either::Left((None, _)) => return Ok(body::empty(StatusCode::ACCEPTED)),
            Either::Left((Some(Step::Event(text)), _)) => Some(text),
            Either::Right(_) => None,
        };
        drop(carrying);
        let id = self.random();
        let recording = self.0.streams.begin(id, session.nonce);
        if session.version >= Version::V2025_11_25 {
            recording.prime();
        }
        if let Some(text) = first {
            recording.push(&text);
        }
        let replay = recording.replay();
        let gateway = self.clone();
        self.host().spawn(async move {
            gateway.record_steps(&recording, steps, &request_id).await;
            recording.end();
            if resumes {
                gateway.host().sleep(REPLAYABLE).await;
            }
            gateway.0.streams.forget(id);
        });
        Ok(body::events(self.keep_alive(replay.boxed())))
    }

    /// Records what happens to a session's request, as fast as the agent takes it.
    async fn record_steps(&self, recording: &Recording, mut steps: mpsc::Receiver<Step>, id: &str) {
        while let Some(step) = steps.next().await {
            if !future::poll_fn(|context| recording.poll_room(context)).await {
                let why = "more waits for the client than is kept for one that has lost its stream";
                let refusal = Refusal::new(code::INTERNAL, why);
                return recording.push(message::error(Some(id), &refusal).as_bytes());
            }
            let text = match step {
                Step::Event(text) => text,
                Step::Refused(refusal) => message::error(Some(id), &refusal).into(),
                Step::Reply(answer) => answer.into_body().collect(HELD).await.unwrap_or_else(|error| {
                    let refusal = Refusal::new(code::INTERNAL, error.to_string());
                    message::error(Some(id), &refusal).into()
                }),
            };
            recording.push(&text);
        }
    }

    /// Asks for a session, in as many rounds as the server wants, and gives out what comes, whether or not anybody
    /// takes it.
    async fn carry(&self, mut ask: Ask<'static>, mut to: Addressee, mut steps: Steps) {
        let mut dialogue = Dialogue::new(to.interaction);
        loop {
            let round = match self.carry_once(&ask, to, &mut steps).await {
                Ok((round, back)) => {
                    to = back;
                    round
                }
                Err(Carried::Through) => return,
                Err(Carried::Failed(refusal)) => {
                    return drop(steps.send(Step::Refused(refusal)).await);
                }
            };
            match Box::pin(self.ask_agent(&mut dialogue, round, &mut to, &mut steps)).await {
                Ok(members) => {
                    ask.set("inputResponses", None);
                    ask.set("requestState", None);
                    for (key, value) in members {
                        ask.set(key, Some(value));
                    }
                }
                Err(Unfinished::Cancelled) => return,
                Err(Unfinished::Refused(refusal)) => {
                    return drop(steps.send(Step::Refused(refusal)).await);
                }
            }
        }
    }

    /// Asks once and gives out what comes; returns what the server asks for where that is no answer yet.
    async fn carry_once(
        &self,
        ask: &Ask<'static>,
        mut to: Addressee,
        steps: &mut Steps,
    ) -> Result<(Round, Addressee), Carried> {
        let (server, link) = (to.server.clone(), to.link.clone());
        let asking = std::pin::pin!(self.ask(&server, &link, ask, Wait::Call));
        let mut asked = match to.unless_cancelled(asking).await? {
            Ok(asked) => asked,
            Err(error) => {
                to.log_unanswered(&error);
                let Some(lack) = &error.lack else { return Err(Carried::Failed(error.into())) };
                let invited = self.invite(&server, lack, &Guest::of_session(&to, ask.method.as_ref()));
                give(steps, invited.map_err(Carried::Failed)?).await;
                return Err(Carried::Through);
            }
        };
        match std::mem::replace(&mut asked.body, AnswerBody::Nothing) {
            AnswerBody::Json(chunks) => match self.document(asked, chunks, to).await? {
                Ended::Round(round, to) if to.interaction.is_possible() => return Ok((round, *to)),
                Ended::Round(round, to) => give(steps, Self::refuse_round(&round, &to)).await,
                Ended::Reply(reply) => give(steps, reply).await,
            },
            AnswerBody::Nothing => {
                asked.cancel.disarm();
                let failure = server.error("answered with nothing");
                asked.failed(&failure);
                return Err(Carried::Failed(failure.into()));
            }
            body => {
                asked.body = body;
                let messages = Messages::new(self.clone(), asked, to);
                // Large: kept apart, so that the future of a plain answer stays small.
                return Box::pin(Self::carry_messages(messages, steps)).await;
            }
        }
        Err(Carried::Through)
    }

    /// Gives out what a server says up to its answer; returns what it asks for where that is no answer yet.
    async fn carry_messages(
        mut messages: Messages<H>,
        steps: &mut Steps,
    ) -> Result<(Round, Addressee), Carried> {
        loop {
            match messages.next().await? {
                // Nobody records it any more: dropping the rest tells the server so.
                Outgoing::Event(text) => {
                    steps.send(Step::Event(text)).await.map_err(|_| Carried::Through)?;
                }
                Outgoing::Last(text, _) => {
                    give(steps, body::json(StatusCode::OK, text)).await;
                    return Err(Carried::Through);
                }
                Outgoing::Round(round) if messages.to.interaction.is_possible() => {
                    return Ok((round, messages.to));
                }
                Outgoing::Round(round) => {
                    give(steps, Self::refuse_round(&round, &messages.to)).await;
                    return Err(Carried::Through);
                }
                // What stateless agents alone are asked, and what only a lane brings.
                Outgoing::Question(_) | Outgoing::Document(..) => {}
            }
        }
    }

    /// Adds a comment to an event stream whenever it has been quiet for a while.
    pub(crate) fn keep_alive(&self, events: BoxStream<'static, Bytes>) -> Chunks {
        self.keep_chunks_alive(events.map(Ok).boxed())
    }

    /// Does the same with the chunks of one, each of which is whole events.
    pub(super) fn keep_chunks_alive(&self, events: Chunks) -> Chunks {
        let host = self.host().clone();
        stream::unfold((host, events), |(host, mut events)| async move {
            let chunk = {
                let quiet = std::pin::pin!(host.sleep(KEEP_ALIVE));
                match future::select(events.next(), quiet).await {
                    Either::Left((event, _)) => event?,
                    Either::Right(_) => Ok(Bytes::from_static(sse::KEEP_ALIVE)),
                }
            };
            Some((chunk, (host, events)))
        })
        .boxed()
    }

    pub(crate) fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.host().fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

fn status(to: &Addressee, error: Option<i64>) -> StatusCode {
    match (error, to.caller.era()) {
        (Some(code), Era::Modern) => status_of(code),
        _ => StatusCode::OK,
    }
}

/// The rest of a document that is too large to wait for.
struct Document<H: Host> {
    gateway: Gateway<H>,
    asked: Asked<H>,
    chunks: Chunks,
    to: Addressee,
    splice: Option<Splice>,
    /// What can be given out already.
    pieces: std::vec::IntoIter<Bytes>,
}

impl<H: Host> Document<H> {
    fn into_stream(self) -> Chunks {
        stream::unfold(self, |mut document| async move {
            let piece = document.next().await?;
            Some((piece, document))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<Bytes, Unreachable>> {
        if let Some(piece) = self.pieces.next() {
            return Some(Ok(piece));
        }
        let piece = self.piece().await;
        if let Some(Err(error)) = &piece {
            self.to.caller.record.failed();
            self.asked.failed(error);
        }
        piece
    }

    async fn piece(&mut self) -> Option<Result<Bytes, Unreachable>> {
        let server = self.to.server.clone();
        let mut splice = self.splice.take()?;
        let next = self.gateway.within(&server, self.to.patience, self.chunks.next().map(Ok)).await;
        let mut out = Pieces::default();
        match next {
            Ok(Some(Ok(chunk))) => {
                if let Err(error) = splice.push(&chunk, &mut out) {
                    return Some(Err(server.error(error.to_string())));
                }
                self.splice = Some(splice);
                self.to.caller.record.gave(out.len());
                self.pieces = out.into_vec().into_iter();
                Some(Ok(self.pieces.next().unwrap_or_default()))
            }
            Ok(None) => {
                self.asked.cancel.disarm();
                let (code, is_tool_error) = (splice.error_code(), splice.is_tool_error());
                if let Err(error) = splice.finish() {
                    return Some(Err(server.error(error.to_string())));
                }
                self.to.caller.record.answered(code, is_tool_error);
                self.asked.answered();
                self.to.answered();
                None
            }
            Ok(Some(Err(error))) | Err(error) => Some(Err(error)),
        }
    }
}

/// A session's request that is being answered. What is left to do goes on in the background when this is dropped: an
/// answer that comes at once needs no task of its own.
struct Carrying<H: Host> {
    gateway: Gateway<H>,
    work: Option<BoxFuture<'static, ()>>,
}

impl<H: Host> Carrying<H> {
    fn poll(&mut self, context: &mut Context<'_>) {
        if self.work.as_mut().is_some_and(|work| work.poll_unpin(context).is_ready()) {
            self.work = None;
        }
    }
}

impl<H: Host> Drop for Carrying<H> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.gateway.host().spawn(work);
        }
    }
}

/// What happens to a session's request.
pub(super) type Steps = mpsc::Sender<Step>;

/// What happens next to it.
pub(super) enum Step {
    /// A notification, or a question of the server.
    Event(Bytes),
    /// The answer, perhaps still coming.
    Reply(Box<Reply>),
    /// There will be no answer.
    Refused(Refusal),
}

async fn give(steps: &mut Steps, reply: Reply) {
    let _ = steps.send(Step::Reply(Box::new(reply))).await;
}

/// How asking once has ended, where there is nothing more to ask.
enum Carried {
    /// What there is has been given out, or nobody wants it any more.
    Through,
    Failed(Refusal),
}

impl From<Cancelled> for Carried {
    fn from(_: Cancelled) -> Self {
        Self::Through
    }
}
