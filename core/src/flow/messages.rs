//! The messages of an answer, one by one: read from whatever they come by, made fit for the agent, and taken up again
//! where the stream they came by broke off.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::{self, BoxFuture, Either};
use futures::stream::{self, BoxStream};

use super::addressee::{Addressee, Cancelled};
use super::ask::{AnswerBody, Asked};
use super::{late, too_large};
use crate::dialogue::Round;
use crate::error::Unreachable;
use crate::gateway::Gateway;
use crate::observe::Record;
use crate::pieces::Pieces;
use crate::ports::{Chunks, Host};
use crate::relay::Finished;
use crate::shape::{self, Told};
use crate::upstream::{Established, Server};
use crate::wire::sse::{self, Decoder, Event, TooLarge};
use crate::wire::version::Era;

/// How often a broken stream of a server is taken up again.
const RESUMPTIONS: u32 = 8;
/// How long a server waits for what an agent, most likely a person, is asked.
pub(super) const ANSWERED: Duration = Duration::from_mins(10);
/// How much is read of an answer that nobody waits for, in bytes.
const AHEAD: usize = 64 << 10;
/// How many times its timeout a server may take that says only what is for nobody.
const FOR_NOBODY: u32 = 4;

/// What goes to the agent next.
pub(super) enum Outgoing<H: Host> {
    /// A notification, or a question of the server to a session's agent.
    Event(Bytes),
    /// The server's request that a stateless agent is asked in a round of its own.
    Question(Bytes),
    /// What a stateless server asks a session's agent for.
    Round(Round),
    /// The answer, as a document that is still coming.
    Document(Box<Asked<H>>, Chunks),
    /// The answer, and its code where it is an error.
    Last(Bytes, Option<i64>),
}

/// The messages of an answer, made fit for the agent one by one.
pub(super) struct Messages<H: Host> {
    reader: Reader<H>,
    pub(super) to: Addressee,
    /// What was read ahead.
    pub(super) backlog: VecDeque<Outgoing<H>>,
    /// Whether the server waits for the agent rather than the other way round.
    agent_is_asked: bool,
}

/// The server's end of it.
struct Reader<H: Host> {
    gateway: Gateway<H>,
    server: Arc<Server>,
    source: Source<H>,
    asked: Option<Asked<H>>,
    /// What the server says besides the answer, where it is certain that it concerns this call.
    besides: Option<mpsc::Receiver<Bytes>>,
    decoder: Decoder,
    events: std::vec::IntoIter<Event>,
    last_event: Option<String>,
    retry: Duration,
    resumptions: u32,
    /// What was read while nobody waited, as it came.
    ahead: VecDeque<Result<Received, Unreachable>>,
}

/// Where the messages come from.
enum Source<H: Host> {
    /// The server has not begun to answer.
    Asking(BoxFuture<'static, Result<Asked<H>, Unreachable>>),
    /// It answers.
    Body(AnswerBody),
    /// Its stream has ended before the answer, perhaps by an error.
    Ended(Option<Unreachable>),
}

/// What comes from a server.
enum Received {
    Message(Bytes),
    Document(Chunks),
}

impl<H: Host> Messages<H> {
    /// Reads the messages of an answer that has begun.
    pub(super) fn new(gateway: Gateway<H>, mut asked: Asked<H>, to: Addressee) -> Self {
        let body = std::mem::replace(&mut asked.body, AnswerBody::Nothing);
        Self::from(Reader { asked: Some(asked), ..Reader::new(gateway, Source::Body(body), &to) }, to)
    }

    /// Reads the messages of an answer that is being asked for, and what the server says besides.
    pub(super) fn asking(
        gateway: Gateway<H>,
        asking: BoxFuture<'static, Result<Asked<H>, Unreachable>>,
        besides: mpsc::Receiver<Bytes>,
        to: Addressee,
    ) -> Self {
        let reader = Reader::new(gateway, Source::Asking(asking), &to);
        Self::from(Reader { besides: Some(besides), ..reader }, to)
    }

    fn from(reader: Reader<H>, to: Addressee) -> Self {
        Self { reader, to, backlog: VecDeque::new(), agent_is_asked: false }
    }

    /// Returns the event stream that begins with `first`.
    pub(super) fn into_stream(self, first: Bytes) -> BoxStream<'static, Bytes> {
        let first = stream::once(future::ready(sse::encode(None, &first)));
        let rest = stream::unfold(Some(self), |messages| async move {
            let mut messages = messages?;
            match messages.next().await.ok()? {
                Outgoing::Event(text) => Some((sse::encode(None, &text), Some(messages))),
                Outgoing::Last(text, _) => Some((sse::encode(None, &text), None)),
                Outgoing::Question(question) => {
                    let text = Box::pin(messages.put_aside(question)).await.ok()?;
                    Some((sse::encode(None, &text), None))
                }
                Outgoing::Document(asked, chunks) => {
                    let text = messages.whole(*asked, chunks).await;
                    Some((sse::encode(None, &text), None))
                }
                Outgoing::Round(round) => {
                    let text = Gateway::<H>::refusal_of(&round, &messages.to);
                    Some((sse::encode(None, text.as_bytes()), None))
                }
            }
        });
        first.chain(rest).boxed()
    }

    /// Waits for what goes to the agent next. A server that says what is for nobody is still there, and is waited for
    /// somewhat longer than one that says nothing.
    pub(super) async fn next(&mut self) -> Result<Outgoing<H>, Cancelled> {
        if let Some(outgoing) = self.backlog.pop_front() {
            return Ok(outgoing);
        }
        let began = self.reader.gateway.host().now();
        loop {
            let server = self.reader.server.clone();
            let limit = if self.agent_is_asked { ANSWERED.max(self.to.patience) } else { self.to.patience };
            let gateway = self.reader.gateway.clone();
            let received = gateway.within(&server, limit, self.reader.receive());
            let received = self.to.unless_cancelled(received).await?;
            self.agent_is_asked = false;
            let outgoing = received.and_then(|received| match received {
                Received::Message(raw) => self.take(&raw),
                Received::Document(chunks) => {
                    let asked = self.reader.asked.take();
                    Ok(asked.map(|asked| Outgoing::Document(Box::new(asked), chunks)))
                }
            });
            match outgoing {
                Ok(Some(outgoing)) => return Ok(outgoing),
                Ok(None) => {
                    let limit = self.to.patience * FOR_NOBODY;
                    let since = gateway.host().now().saturating_sub(began);
                    if !self.agent_is_asked && u128::from(since) > limit.as_millis() {
                        return Ok(self.failed(late(&server, limit)));
                    }
                }
                Err(error) => return Ok(self.failed(error)),
            }
        }
    }

    /// Reads on while nobody waits for the answer, as far as there is room: pings are answered, and everything else is
    /// kept for whoever waits next. Never ends, and nothing is lost when it is given up.
    pub(super) async fn mind(&mut self) {
        let mut room = AHEAD;
        loop {
            let received = self.reader.read().await;
            let read = match &received {
                Ok(Received::Message(raw)) => {
                    if let Some(answer) = shape::pong(raw) {
                        self.send_back(answer);
                        continue;
                    }
                    raw.len()
                }
                // What follows is not read before somebody waits.
                Ok(Received::Document(_)) | Err(_) => room,
            };
            self.reader.ahead.push_back(received);
            room = room.saturating_sub(read);
            if room == 0 {
                return future::pending().await;
            }
        }
    }

    fn failed(&mut self, error: Unreachable) -> Outgoing<H> {
        tracing::debug!(%error, "an answer broke off");
        if let Some(asked) = &mut self.reader.asked {
            asked.failed(&error);
        }
        Outgoing::Last(self.to.error(error).0.into(), None)
    }

    /// Reads a document to its end, where its answer can no longer be one.
    pub(super) async fn whole(&mut self, asked: Asked<H>, chunks: Chunks) -> Bytes {
        let (server, id) = (self.reader.server.clone(), asked.id);
        let gateway = self.reader.gateway.clone();
        let limit = self.to.patience;
        let document = gateway.message_of(AnswerBody::Json(chunks), &server, id);
        let raw = gateway.within(&server, limit, document).await;
        self.reader.asked = Some(asked);
        match raw.and_then(|raw| self.take(&raw)) {
            Ok(Some(Outgoing::Last(text, _))) => text,
            Ok(_) => self.to.error(server.error("sent something that is no answer")).0.into(),
            Err(error) => self.to.error(error).0.into(),
        }
    }

    /// Returns what was agreed on with the server that answers.
    pub(super) fn established(&self) -> Option<&Arc<Established>> {
        Some(&self.reader.asked.as_ref()?.established)
    }

    /// Takes note that the agent's request has been answered with a question.
    pub(super) fn note_asked(&mut self) {
        self.to.caller.record.succeeded();
        self.to.caller.record = Record::default();
        if let Some(asked) = &mut self.reader.asked {
            asked.cancel.record = Record::default();
        }
    }

    /// Takes note that the server is asked again, for another request of the agent.
    pub(super) fn note_asking(&mut self, record: &Record) {
        if let Some(asked) = &mut self.reader.asked {
            asked.cancel.record = record.asking(&self.to.server);
            asked.cancel.record.sent(asked.established.version);
        }
    }

    /// Returns the gateway.
    pub(super) fn gateway(&self) -> &Gateway<H> {
        &self.reader.gateway
    }

    /// Makes one message fit for the agent; nothing where it is not for the agent.
    fn take(&mut self, raw: &Bytes) -> Result<Option<Outgoing<H>>, Unreachable> {
        let server = self.to.server.clone();
        let broken = |e: crate::relay::Broken| server.error(e.to_string());
        let Some(asked) = &mut self.reader.asked else { return Ok(self.tell(raw)) };
        let version = asked.established.version;
        let mut splice = self.reader.gateway.splice(&self.to, asked.id, version);
        let mut out = Pieces::default();
        splice.push(raw, &mut out).map_err(broken)?;
        let (code, is_tool_error) = (splice.error_code(), splice.is_tool_error());
        match splice.finish().map_err(broken)? {
            Finished::Answer => {
                let (text, is_tool_error) = self.to.narrowed(out.into_whole(), is_tool_error)?;
                asked.answered();
                self.to.answered();
                let crossed = self.to.caller.era() == Era::Legacy && version.era() == Era::Modern;
                if let Some(round) =
                    Some(raw).filter(|_| crossed).and_then(|raw| Round::read(raw, self.to.screen()))
                {
                    return Ok(Some(Outgoing::Round(round)));
                }
                let (text, code) = self.reader.gateway.asks_by_error(&self.to, text, code);
                self.to.caller.record.gave(text.len());
                self.to.caller.record.answered(code, is_tool_error);
                Ok(Some(Outgoing::Last(text.into_bytes(), code)))
            }
            Finished::Other(bytes) => Ok(self.tell(&bytes)),
        }
    }

    fn tell(&mut self, raw: &Bytes) -> Option<Outgoing<H>> {
        let gateway = &self.reader.gateway;
        match shape::told(raw, &self.to, &gateway.0.sealer, gateway.host()) {
            Told::Agent(text) => return Some(Outgoing::Event(text)),
            Told::Question(text) => {
                self.agent_is_asked = true;
                self.reader.asked.as_mut().map(Asked::asks);
                return Some(Outgoing::Event(text));
            }
            Told::Round(text) => {
                self.reader.asked.as_mut().map(Asked::asks);
                return Some(Outgoing::Question(text));
            }
            Told::Nobody => {}
            Told::Gateway => drop(gateway.heard(&self.to.server, self.to.link.owner, raw)),
            Told::Server(text) => self.send_back(text),
        }
        None
    }

    /// Sends a message to the server without waiting for it to arrive.
    pub(super) fn send_back(&self, message: String) {
        let current = self.established().cloned().or_else(|| self.to.link.current.load_full());
        if let Some(established) = current {
            self.reader.gateway.send_back(&self.to.server, &established, message);
        }
    }
}

impl<H: Host> Reader<H> {
    fn new(gateway: Gateway<H>, source: Source<H>, to: &Addressee) -> Self {
        Self {
            decoder: gateway.decoder(),
            gateway,
            server: to.server.clone(),
            source,
            asked: None,
            besides: None,
            events: Vec::new().into_iter(),
            last_event: None,
            retry: Duration::from_millis(500),
            resumptions: RESUMPTIONS,
            ahead: VecDeque::new(),
        }
    }

    /// Returns what was read ahead, or waits for the next message of the server. Nothing is lost when the wait is given
    /// up.
    async fn receive(&mut self) -> Result<Received, Unreachable> {
        match self.ahead.pop_front() {
            Some(received) => received,
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Result<Received, Unreachable> {
        loop {
            if let Source::Ended(cause) = &mut self.source {
                let cause = cause.take();
                self.resume(cause).await?;
            }
            if let Some(event) = self.events.next() {
                self.last_event = event.id.or(self.last_event.take());
                self.retry = event.retry.map_or(self.retry, Duration::from_millis);
                if event.data.trim_ascii().is_empty() {
                    continue;
                }
                return Ok(Received::Message(event.data));
            }
            if let Source::Body(body @ AnswerBody::Json(_)) = &mut self.source
                && let AnswerBody::Json(chunks) = std::mem::replace(body, AnswerBody::Nothing)
            {
                return Ok(Received::Document(chunks));
            }
            match self.wait().await {
                Next::Asked(asked) => self.begin(asked?),
                Next::Besides(Some(message)) => return Ok(Received::Message(message)),
                Next::Besides(None) => self.besides = None,
                Next::Message(message) => {
                    let closed = || Err(self.server.error("closed its output"));
                    return message.unwrap_or_else(closed).map(Received::Message);
                }
                Next::Chunk(Some(Ok(chunk))) => {
                    let mut events = Vec::new();
                    let taken = self.decoder.push(&chunk, &mut events);
                    taken.map_err(|TooLarge(limit)| too_large(&self.server, limit))?;
                    self.events = events.into_iter();
                }
                Next::Chunk(Some(Err(error))) => self.source = Source::Ended(Some(error)),
                Next::Chunk(None) => self.source = Source::Ended(None),
                Next::Nothing => return Err(self.server.error("answered with nothing")),
            }
        }
    }

    /// Waits for whatever comes first, the answer's next piece or what the server says besides.
    async fn wait(&mut self) -> Next<H> {
        let Some(besides) = &mut self.besides else { return self.source.next().await };
        match future::select(std::pin::pin!(self.source.next()), besides.next()).await {
            Either::Left((next, _)) => next,
            Either::Right((message, _)) => Next::Besides(message),
        }
    }

    fn begin(&mut self, mut asked: Asked<H>) {
        self.source = Source::Body(std::mem::replace(&mut asked.body, AnswerBody::Nothing));
        self.asked = Some(asked);
    }

    /// Takes up a stream that ended before the answer, where the server has said how.
    async fn resume(&mut self, cause: Option<Unreachable>) -> Result<(), Unreachable> {
        let server = self.server.clone();
        let ended = || server.error("ended its stream without an answer");
        let established = self.asked.as_ref().map(|asked| asked.established.clone()).ok_or_else(ended)?;
        let (Some(last), Era::Legacy, 1..) = (&self.last_event, established.version.era(), self.resumptions)
        else {
            return Err(cause.unwrap_or_else(ended));
        };
        self.resumptions -= 1;
        self.gateway.host().sleep(self.retry).await;
        let opened = self.gateway.open_stream(&server, &established, Some(last)).await?;
        self.source = Source::Body(opened.ok_or_else(ended)?);
        self.decoder = self.gateway.decoder();
        Ok(())
    }
}

/// What a source gives next.
enum Next<H: Host> {
    Asked(Result<Asked<H>, Unreachable>),
    Message(Option<Result<Bytes, Unreachable>>),
    Chunk(Option<Result<Bytes, Unreachable>>),
    Besides(Option<Bytes>),
    Nothing,
}

impl<H: Host> Source<H> {
    async fn next(&mut self) -> Next<H> {
        match self {
            Self::Asking(asking) => Next::Asked(asking.await),
            Self::Body(AnswerBody::Pipe(answer)) => Next::Message(answer.next().await),
            Self::Body(AnswerBody::Events(chunks)) => Next::Chunk(chunks.next().await),
            Self::Body(AnswerBody::Json(_) | AnswerBody::Nothing) | Self::Ended(_) => Next::Nothing,
        }
    }
}
