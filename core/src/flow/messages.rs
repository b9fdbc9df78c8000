//! The messages of an answer, one by one: read from whatever they come by, made fit for the agent, and taken up again
//! where the stream they came by broke off.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{self, Either};
use futures::stream::{self, BoxStream};

use super::HELD;
use super::addressee::{Addressee, Cancelled};
use super::ask::{AnswerBody, Asked};
use crate::error::Unreachable;
use crate::gateway::Gateway;
use crate::ports::Host;
use crate::relay::{Finished, Pieces};
use crate::shape::{self, Told};
use crate::wire::sse::{self, Decoder, Event};
use crate::wire::version::Era;

/// How often a broken stream of a server is taken up again.
const RESUMPTIONS: u32 = 8;
/// How long a server waits for what an agent, most likely a person, is asked.
const ANSWERED: Duration = Duration::from_mins(10);
/// What goes to the agent next.
pub(super) enum Outgoing {
    /// A notification, or a question of the server.
    Event(Bytes),
    /// The answer, and its code where it is an error.
    Last(Bytes, Option<i64>),
}

/// The messages of an answer, made fit for the agent one by one.
pub(super) struct Messages<H: Host> {
    gateway: Gateway<H>,
    asked: Asked<H>,
    source: AnswerBody,
    decoder: Decoder,
    events: std::vec::IntoIter<Event>,
    last_event: Option<String>,
    retry: Duration,
    resumptions: u32,
    pub(super) to: Addressee,
    /// Whether the server waits for the agent rather than the other way round.
    agent_is_asked: bool,
    ended: bool,
}

impl<H: Host> Messages<H> {
    pub(super) fn new(gateway: Gateway<H>, asked: Asked<H>, source: AnswerBody, to: Addressee) -> Self {
        Self {
            gateway,
            asked,
            source,
            decoder: Decoder::new(HELD),
            events: Vec::new().into_iter(),
            last_event: None,
            retry: Duration::from_millis(500),
            resumptions: RESUMPTIONS,
            to,
            agent_is_asked: false,
            ended: false,
        }
    }

    /// Returns the event stream that begins with `first`.
    pub(super) fn into_stream(self, first: Bytes) -> BoxStream<'static, Bytes> {
        let first = stream::once(future::ready(sse::encode(None, &first)));
        let rest = stream::unfold(self, |mut messages| async move {
            if messages.ended {
                return None;
            }
            match messages.next().await {
                Ok(Outgoing::Event(text) | Outgoing::Last(text, _)) => {
                    Some((sse::encode(None, &text), messages))
                }
                Err(Cancelled) => None,
            }
        });
        first.chain(rest).boxed()
    }

    pub(super) async fn next(&mut self) -> Result<Outgoing, Cancelled> {
        loop {
            let raw = {
                let server = self.to.server.clone();
                let gateway = self.gateway.clone();
                let mut running = self.to.running.take();
                let limit = if self.agent_is_asked {
                    ANSWERED.max(server.settings.timeout)
                } else {
                    server.settings.timeout
                };
                let work = gateway.within(&server, limit, self.receive());
                let outcome = match &mut running {
                    None => Ok(work.await),
                    Some(running) => match future::select(std::pin::pin!(work), &mut running.cancelled).await
                    {
                        Either::Left((raw, _)) => Ok(raw),
                        Either::Right((Err(_), work)) => Ok(work.await),
                        Either::Right((Ok(()), _)) => Err(Cancelled),
                    },
                };
                self.to.running = running;
                outcome?
            };
            self.agent_is_asked = false;
            match raw.and_then(|raw| self.take(&raw)) {
                Ok(Some(outgoing)) => return Ok(outgoing),
                Ok(None) => {}
                Err(error) => {
                    self.ended = true;
                    return Ok(Outgoing::Last(self.to.error(error).0.into(), None));
                }
            }
        }
    }

    /// Waits for the next message of the server.
    async fn receive(&mut self) -> Result<Bytes, Unreachable> {
        let server = self.to.server.clone();
        loop {
            let chunk = match &mut self.source {
                AnswerBody::Pipe(answer) => {
                    return answer.next().await.unwrap_or_else(|| Err(server.error("closed its output")));
                }
                AnswerBody::Events(chunks) => {
                    if let Some(event) = self.events.next() {
                        self.last_event = event.id.or(self.last_event.take());
                        self.retry = event.retry.map_or(self.retry, Duration::from_millis);
                        if event.data.trim_ascii().is_empty() {
                            continue;
                        }
                        return Ok(event.data);
                    }
                    chunks.next().await
                }
                _ => None,
            };
            match chunk {
                Some(Ok(chunk)) => {
                    let mut events = Vec::new();
                    let taken = self.decoder.push(&chunk, &mut events);
                    taken.map_err(|e| server.error(format!("sent an answer that is too large: {e}")))?;
                    self.events = events.into_iter();
                }
                Some(Err(error)) => self.resume(Some(error)).await?,
                None => self.resume(None).await?,
            }
        }
    }

    /// Takes up a stream that ended before the answer, where the server has said how.
    async fn resume(&mut self, cause: Option<Unreachable>) -> Result<(), Unreachable> {
        let server = self.to.server.clone();
        let era = self.asked.established.version.era();
        let (Some(last), Era::Legacy, 1..) = (&self.last_event, era, self.resumptions) else {
            return Err(cause.unwrap_or_else(|| server.error("ended its stream without an answer")));
        };
        self.resumptions -= 1;
        self.gateway.host().sleep(self.retry).await;
        let opened = self.gateway.open_stream(&server, &self.asked.established, Some(last)).await?;
        self.source = opened.ok_or_else(|| server.error("ended its stream without an answer"))?;
        self.decoder = Decoder::new(HELD);
        Ok(())
    }

    /// Makes one message fit for the agent; nothing where it is not for the agent.
    fn take(&mut self, raw: &Bytes) -> Result<Option<Outgoing>, Unreachable> {
        let broken = |e: crate::relay::Broken| self.to.server.error(e.to_string());
        let mut splice = self.to.splice(self.asked.id, self.asked.established.version);
        let mut out = Pieces::default();
        splice.push(raw, &mut out).map_err(broken)?;
        let code = splice.error_code();
        match splice.finish().map_err(broken)? {
            Finished::Answer => {
                self.ended = true;
                self.asked.cancel.disarm();
                Ok(Some(Outgoing::Last(out.into_bytes(), code)))
            }
            Finished::Other(bytes) => Ok(self.tell(&bytes).map(Outgoing::Event)),
        }
    }

    fn tell(&mut self, raw: &Bytes) -> Option<Bytes> {
        match shape::told(raw, &self.to, &self.gateway.0.sealer, self.gateway.host()) {
            Told::Agent(text) => return Some(text),
            Told::Question(text) => {
                self.agent_is_asked = true;
                return Some(text);
            }
            Told::Nobody => {}
            Told::Gateway => drop(self.gateway.heard(&self.to.server, self.to.link.owner, raw)),
            Told::Server(text) => self.gateway.send_back(&self.to.server, &self.asked.established, text),
        }
        None
    }
}
