//! Carrying a server's answer to the agent that asked, as it comes.

use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::future::{self, Either};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use http::StatusCode;

use super::HELD;
use super::addressee::{Addressee, Cancelled};
use super::ask::{AnswerBody, Asked};
use super::messages::{Messages, Outgoing};
use crate::body::{self, Body, Reply};
use crate::error::{Refusal, Unreachable, status_of};
use crate::gateway::Gateway;
use crate::pipe::Wait;
use crate::ports::{Chunks, Host};
use crate::relay::{Finished, Pieces, Splice};
use crate::session::Session;
use crate::upstream::compose::Ask;
use crate::wire::message;
use crate::wire::sse::{self};
use crate::wire::version::{Era, Version};

/// How often a quiet event stream says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long an ended stream can still be taken up.
const REPLAYABLE: Duration = Duration::from_mins(1);
/// How long a session's request may be quiet before its answer begins as a stream.
const QUIET: Duration = Duration::from_secs(1);
/// From this size on an answer is passed on before its end has come, in bytes.
const STREAMED: usize = 64 << 10;

impl<H: Host> Gateway<H> {
    /// Answers an agent with what the server answers: one document where the answer comes alone, else a stream.
    pub(crate) async fn converse(&self, mut asked: Asked<H>, to: Addressee) -> Result<Reply, Cancelled> {
        match std::mem::replace(&mut asked.body, AnswerBody::Nothing) {
            AnswerBody::Json(chunks) => self.relay_document(asked, chunks, to).await,
            AnswerBody::Nothing => {
                asked.cancel.disarm();
                let (text, status) = to.error(to.server.error("answered with nothing"));
                Ok(body::json(status, text))
            }
            body => self.relay_messages(Messages::new(self.clone(), asked, body, to)).await,
        }
    }

    async fn relay_document(
        &self,
        mut asked: Asked<H>,
        mut chunks: Chunks,
        mut to: Addressee,
    ) -> Result<Reply, Cancelled> {
        let mut splice = to.splice(asked.id, asked.established.version);
        let mut out = Pieces::default();
        let server = to.server.clone();
        let broken = |e: crate::relay::Broken| server.error(e.to_string());
        let failure = loop {
            let next = self.within(&server, server.settings.timeout, chunks.next().map(Ok));
            match to.unless_cancelled(next).await? {
                Ok(Some(Ok(chunk))) => {
                    if let Err(error) = splice.push(&chunk, &mut out).map_err(broken) {
                        break error;
                    }
                    if out.len() >= STREAMED && !splice.is_done() {
                        let rest =
                            Document { gateway: self.clone(), asked, chunks, to, splice: Some(splice) };
                        let first = stream::iter(out.into_vec().into_iter().map(Ok));
                        let mut reply = body::json(StatusCode::OK, Bytes::new());
                        *reply.body_mut() = Body::Stream(first.chain(rest.into_stream()).boxed());
                        return Ok(reply);
                    }
                }
                Ok(None) => {
                    asked.cancel.disarm();
                    let code = splice.error_code();
                    match splice.finish().map_err(broken) {
                        Ok(Finished::Answer) => {
                            return Ok(body::json(status(&to, code), out.into_bytes()));
                        }
                        Ok(Finished::Other(_)) => break server.error("sent something that is no answer"),
                        Err(error) => break error,
                    }
                }
                Ok(Some(Err(error))) | Err(error) => break error,
            }
        };
        let (text, status) = to.error(failure);
        Ok(body::json(status, text))
    }

    async fn relay_messages(&self, mut messages: Messages<H>) -> Result<Reply, Cancelled> {
        loop {
            let event = match messages.next().await? {
                Outgoing::Last(text, code) => {
                    return Ok(body::json(status(&messages.to, code), text));
                }
                Outgoing::Event(text) => text,
            };
            if messages.to.caller.streams {
                return Ok(body::events(self.keep_alive(messages.into_stream(event))));
            }
        }
    }

    /// Answers a request of a session. Its asking goes on when the agent hangs up: in this era that cancels nothing,
    /// and a stream can be taken up again.
    pub(crate) async fn converse_in_session(
        &self,
        session: &Session,
        ask: Ask<'static>,
        to: Addressee,
    ) -> Result<Reply, Refusal> {
        let (sender, mut steps) = mpsc::unbounded();
        let request_id = to.id.clone();
        let gateway = self.clone();
        self.host().spawn(async move { gateway.carry(ask, to, sender).await });
        let quiet = std::pin::pin!(self.host().sleep(QUIET));
        let first = match future::select(steps.next(), quiet).await {
            Either::Left((Some(Step::Last(text)), _)) => return Ok(body::json(StatusCode::OK, text)),
            Either::Left((Some(Step::Refused(refusal)), _)) => return Err(refusal),
            Either::Left((Some(Step::Document(document)), _)) => {
                return Ok(self.whole_document(*document).await);
            }
            // Cancelled: there is no answer, and the connection still has to end.
            Either::Left((None, _)) => return Ok(body::empty(StatusCode::ACCEPTED)),
            Either::Left((Some(Step::Event(text)), _)) => Some(text),
            Either::Right(_) => None,
        };
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
            while let Some(step) = steps.next().await {
                let text = match step {
                    Step::Event(text) | Step::Last(text) => text,
                    Step::Refused(refusal) => message::error(Some(&request_id), &refusal).into(),
                    Step::Document(document) => gateway
                        .whole_document(*document)
                        .await
                        .into_body()
                        .collect(HELD)
                        .await
                        .unwrap_or_default(),
                };
                if !recording.push(&text) {
                    break;
                }
            }
            recording.end();
            gateway.host().sleep(REPLAYABLE).await;
            gateway.0.streams.forget(id);
        });
        Ok(body::events(self.keep_alive(replay.boxed())))
    }

    /// Asks for a session and gives out what comes, whether or not anybody takes it.
    async fn carry(&self, ask: Ask<'static>, mut to: Addressee, steps: mpsc::UnboundedSender<Step<H>>) {
        let (server, link) = (to.server.clone(), to.link.clone());
        let asking = self.ask(&server, &link, &ask, Wait::Call);
        let mut asked = match to.unless_cancelled(asking).await {
            Err(Cancelled) => return,
            Ok(Ok(asked)) => asked,
            Ok(Err(error)) => {
                tracing::warn!(server = %error.server, reason = %error.message, "a request was not answered");
                return drop(steps.unbounded_send(Step::Refused(error.into())));
            }
        };
        match std::mem::replace(&mut asked.body, AnswerBody::Nothing) {
            AnswerBody::Json(chunks) => {
                // The server has begun to answer: there is nothing to cancel any more.
                asked.cancel.disarm();
                let _ = steps.unbounded_send(Step::Document(Box::new((asked, chunks, to))));
            }
            AnswerBody::Nothing => {
                asked.cancel.disarm();
                let _ = steps.unbounded_send(Step::Refused(server.error("answered with nothing").into()));
            }
            body => {
                let mut messages = Messages::new(self.clone(), asked, body, to);
                while let Ok(outgoing) = messages.next().await {
                    match outgoing {
                        Outgoing::Event(text) => drop(steps.unbounded_send(Step::Event(text))),
                        Outgoing::Last(text, _) => {
                            return drop(steps.unbounded_send(Step::Last(text)));
                        }
                    }
                }
            }
        }
    }

    async fn whole_document(&self, (asked, chunks, to): (Asked<H>, Chunks, Addressee)) -> Reply {
        self.relay_document(asked, chunks, to)
            .await
            .unwrap_or_else(|Cancelled| body::empty(StatusCode::ACCEPTED))
    }

    /// Adds a comment to an event stream whenever it has been quiet for a while.
    pub(crate) fn keep_alive(&self, events: BoxStream<'static, Bytes>) -> Chunks {
        let host = self.host().clone();
        stream::unfold((host, events), |(host, mut events)| async move {
            let chunk = {
                let quiet = std::pin::pin!(host.sleep(KEEP_ALIVE));
                match future::select(events.next(), quiet).await {
                    Either::Left((event, _)) => event?,
                    Either::Right(_) => Bytes::from_static(sse::KEEP_ALIVE),
                }
            };
            Some((Ok(chunk), (host, events)))
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
        let server = self.to.server.clone();
        let mut splice = self.splice.take()?;
        let next = self.gateway.within(&server, server.settings.timeout, self.chunks.next().map(Ok)).await;
        let mut out = Pieces::default();
        match next {
            Ok(Some(Ok(chunk))) => {
                if let Err(error) = splice.push(&chunk, &mut out) {
                    return Some(Err(server.error(error.to_string())));
                }
                self.splice = Some(splice);
                Some(Ok(out.into_bytes()))
            }
            Ok(None) => {
                self.asked.cancel.disarm();
                splice.finish().err().map(|error| Err(server.error(error.to_string())))
            }
            Ok(Some(Err(error))) | Err(error) => Some(Err(error)),
        }
    }
}

/// What happens next to a session's request.
enum Step<H: Host> {
    /// A notification, or a question of the server.
    Event(Bytes),
    /// The answer.
    Last(Bytes),
    /// The answer, as a document that is still coming.
    Document(Box<(Asked<H>, Chunks, Addressee)>),
    /// There will be no answer.
    Refused(Refusal),
}
