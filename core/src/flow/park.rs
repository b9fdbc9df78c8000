//! Calls that wait in this process until a stateless agent has answered what their server asks.
//!
//! **A parked call is resumed once**: whoever brings its state takes it out. What nobody comes back for is given up,
//! and its server told so. Meanwhile a background task holds the call, so that its server's pings are answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::{self, Either};
use http::StatusCode;

use super::addressee::{Addressee, Cancelled};
use super::keepsakes::Keepsake;
use super::messages::{ANSWERED, Messages, Outgoing};
use crate::body::{self, Reply, Whole};
use crate::catalog::View;
use crate::dialogue::{self, Question, Round};
use crate::endpoint;
use crate::error::{Refusal, code};
use crate::front::{Caller, Inbound};
use crate::gateway::Gateway;
use crate::identity::Owner;
use crate::plan;
use crate::ports::Host;
use crate::screen;
use crate::session::{Binding, Next, RequestState};
use crate::upstream::compose::Ask;
use crate::upstream::handshake::own_info;
use crate::upstream::{Server, lock};
use crate::wire::json::Json;
use crate::wire::message::{self, Message};
use crate::wire::version::Era;

/// The most calls that may wait at a time; a server that asks in a further one is refused.
const PARKED: usize = 1000;
/// How long a server's other questions are waited for once it has asked one.
const GATHER: Duration = Duration::from_millis(20);
/// How long a `requestState` that leads to a server is good for, in milliseconds.
pub(super) const STATE_LIFETIME: u64 = 60 * 60 * 1000;

/// The member by which an agent answers.
const RESPONSES: &str = "inputResponses";

/// A call whose server waits for answers.
pub(crate) struct Parked<H: Host> {
    messages: Messages<H>,
    open: Vec<Open>,
}

/// Takes a call out of where it waits.
type Taker<H> = oneshot::Sender<oneshot::Sender<Parked<H>>>;

/// A question that the agent has not answered.
struct Open {
    question: Question,
    /// The id that the server gave it, as JSON text.
    id: String,
}

/// The calls that wait for stateless agents, by where they wait. One that is removed is given up, unless it is taken.
pub(crate) struct Parking<H: Host> {
    pub(crate) calls: BTreeMap<u64, Taker<H>>,
    /// Whether no more are taken.
    closed: bool,
}

impl<H: Host> Default for Parking<H> {
    fn default() -> Self {
        Self { calls: BTreeMap::new(), closed: false }
    }
}

/// The states that have been brought back, by when they would have ended.
pub(crate) type Spent = BTreeSet<Stamp>;

/// When a state would have ended, and what it is known by.
pub(crate) type Stamp = (u64, u64);

/// How a retried request goes on.
pub(super) enum Retried {
    /// It is a first try.
    Not,
    /// With a call that waits here.
    Parked(u64),
    /// With another call of that server.
    Server {
        /// Which one, by its identity.
        server: String,
        /// What that call brings.
        next: Next,
        /// What the state is known by among those that were used.
        stamp: Stamp,
    },
}

/// Spells what a state is known by, for those who note it elsewhere.
fn spelt((expires, nonce): Stamp) -> String {
    format!("{expires:x}-{nonce:016x}")
}

/// Tells whether a request may be answered with a question (2026-07-28, multi round-trip requests).
pub(super) fn may_be_asked_in(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read")
}

impl<H: Host> Messages<H> {
    /// Parks the call of a stateless agent and returns the answer that asks it; returns the call's own answer where
    /// that comes after all.
    pub(super) async fn put_aside(mut self, question: Bytes) -> Result<Bytes, Cancelled> {
        let mut open = Vec::new();
        note(&question, &mut open);
        let gateway = self.gateway().clone();
        let mut gathered = std::pin::pin!(gateway.host().sleep(GATHER));
        loop {
            let next = {
                let next = std::pin::pin!(self.next());
                match future::select(next, &mut gathered).await {
                    Either::Left((next, _)) => next?,
                    Either::Right(_) => break,
                }
            };
            match next {
                Outgoing::Question(question) => note(&question, &mut open),
                Outgoing::Last(text, _) => {
                    self.refuse(open);
                    return Ok(text);
                }
                Outgoing::Document(asked, chunks) => {
                    self.refuse(open);
                    return Ok(self.whole(*asked, chunks).await);
                }
                event => {
                    self.backlog.push_back(event);
                    break;
                }
            }
        }
        Ok(gateway.park(self, open))
    }

    /// Tells the server that nobody will answer.
    fn refuse(&self, open: Vec<Open>) {
        let refusal = Refusal::new(code::INTERNAL, "the client has not answered");
        for open in open {
            self.send_back(message::error(Some(&open.id), &refusal));
        }
    }
}

impl Retried {
    /// Puts into a call what its agent brings back from the call before; refuses what another server gave.
    pub(super) fn bring_back(self, ask: &mut Ask<'_>, server: &Server) -> Result<(), Refusal> {
        match self {
            Self::Not | Self::Parked(_) => {}
            Self::Server { server: from, .. } if from != server.identity => return Err(invalid_state()),
            Self::Server { next, stamp, .. } => {
                ask.stamp = Some(stamp);
                let native = match next {
                    Next::Server(native) => Some(native),
                    Next::Declined(native, keys) => {
                        let given = ask.params.iter().find(|(key, _)| key == RESPONSES);
                        let given = given.and_then(|(_, given)| Json::check(given.as_bytes()).ok());
                        let responses = screen::with_declined(given, &keys);
                        ask.set(RESPONSES, Some(responses));
                        native
                    }
                    Next::Parked(_) | Next::Again => {
                        ask.set(RESPONSES, None);
                        None
                    }
                };
                ask.set("requestState", native);
            }
        }
        Ok(())
    }
}

impl<H: Host> Gateway<H> {
    /// Keeps a call until its agent comes back; returns what the agent is asked.
    fn park(&self, mut messages: Messages<H>, open: Vec<Open>) -> Bytes {
        // Who thinks an answer over takes no place from others.
        messages.to.turn = None;
        messages.note_asked();
        let now = self.host().now();
        let expires = now + u64::try_from(ANSWERED.as_millis()).unwrap_or(u64::MAX);
        let place = self.random();
        let state = self.sealed_state(&messages.to, expires, Next::Parked(place));
        let questions: Vec<_> = open.iter().map(|open| open.question.clone()).collect();
        let result = dialogue::input_required(&questions, &state, own_info());
        let text = message::result(&messages.to.id, &result);
        let mut parked = lock(&self.0.parked);
        if parked.closed || parked.calls.len() >= PARKED {
            drop(parked);
            messages.refuse(open);
            let refusal = Refusal::new(code::INTERNAL, "too many calls wait for answers; try again later");
            return message::error(Some(&messages.to.id), &refusal).into();
        }
        let (taker, wanted) = oneshot::channel();
        parked.calls.insert(place, taker);
        drop(parked);
        self.host().spawn(self.clone().hold(place, Parked { messages, open }, wanted));
        text.into()
    }

    /// Holds a call until it is taken out, or given up since nobody has come back for it.
    async fn hold(
        self,
        place: u64,
        mut call: Parked<H>,
        mut wanted: oneshot::Receiver<oneshot::Sender<Parked<H>>>,
    ) {
        let taker = {
            let minding = std::pin::pin!(call.messages.mind());
            let late = std::pin::pin!(self.host().sleep(ANSWERED));
            match future::select(&mut wanted, future::select(late, minding)).await {
                Either::Left((taker, _)) => taker,
                Either::Right(_) => {
                    drop(lock(&self.0.parked).calls.remove(&place));
                    wanted.await
                }
            }
        };
        let left = match taker {
            Ok(taker) => taker.send(call).err(),
            Err(oneshot::Canceled) => Some(call),
        };
        if let Some(call) = left {
            tracing::debug!(server = %call.messages.to.server.name, "nobody has answered a question");
            call.messages.refuse(call.open);
        }
    }

    /// Takes out the call that waits there.
    async fn take_parked(&self, place: u64) -> Option<Parked<H>> {
        let taker = lock(&self.0.parked).calls.remove(&place)?;
        let (sender, call) = oneshot::channel();
        taker.send(sender).ok()?;
        call.await.ok()
    }

    /// Gives up every call that waits for an agent, and takes no more.
    pub(crate) fn give_up_parked(&self) {
        let mut parked = lock(&self.0.parked);
        parked.closed = true;
        parked.calls.clear();
    }

    /// Opens the state that a stateless agent brings back.
    pub(super) async fn retried(&self, inbound: &Inbound<'_>, caller: &Caller) -> Result<Retried, Refusal> {
        if caller.era() == Era::Legacy || !may_be_asked_in(&inbound.method) {
            return Ok(Retried::Not);
        }
        let Some(token) = inbound.params.get("requestState").filter(|state| !state.is_null()) else {
            return Ok(Retried::Not);
        };
        let binding =
            Binding::new(endpoint::path(&caller.scope), caller.who.owner(), &inbound.method, &inbound.params);
        let now = self.host().now();
        let token = token.as_str().ok_or_else(invalid_state)?;
        let state = RequestState::open(&token, &self.0.sealer, now, &binding).ok_or_else(invalid_state)?;
        match state.next {
            Next::Parked(place) => return Ok(Retried::Parked(place)),
            Next::Again if !all_accepted(inbound) => {
                return Err(Refusal::new(
                    code::INTERNAL,
                    "the user did not agree to what the server asked for",
                ));
            }
            Next::Server(_) | Next::Declined(..) | Next::Again => {}
        }
        let stamp = (state.expires, state.nonce);
        self.spend(stamp, now).await?;
        Ok(Retried::Server { server: state.server, next: state.next, stamp })
    }

    /// Takes note that a state was brought back; refuses one that was before, and where that cannot be told.
    async fn spend(&self, stamp: Stamp, now: u64) -> Result<(), Refusal> {
        let is_first = if let Some(once) = self.host().once() {
            once.take(&spelt(stamp), stamp.0).await.map_err(|error| {
                tracing::warn!(reason = %error, "it cannot be told whether a `requestState` was used before");
                let why =
                    "it cannot be told whether this `requestState` was used before; try again in a moment";
                Refusal::new(code::INTERNAL, why).with_status(StatusCode::SERVICE_UNAVAILABLE)
            })?
        } else {
            let mut spent = lock(&self.0.spent);
            while spent.first().is_some_and(|(expires, _)| *expires <= now) {
                spent.pop_first();
            }
            spent.insert(stamp)
        };
        if !is_first {
            return Err(invalid_state());
        }
        self.keep_in_mind(&Keepsake::Spent(stamp), "", stamp.0);
        Ok(())
    }

    /// Lets a state be used again with which nothing was sent.
    pub(super) fn unspend(&self, stamp: Option<Stamp>) {
        let Some(stamp) = stamp else { return };
        lock(&self.0.spent).remove(&stamp);
        self.dismiss(&Keepsake::Spent(stamp));
        if let Some(once) = self.host().once().cloned() {
            self.host().spawn(async move {
                if let Err(error) = once.give_back(&spelt(stamp)).await {
                    tracing::warn!(reason = %error, "a `requestState` cannot be used again though nothing was sent with it");
                }
            });
        }
    }

    /// Goes on with a parked call: its server gets the answers, and the agent what the server says then.
    pub(super) async fn resume(
        &self,
        place: u64,
        inbound: &Inbound<'_>,
        (caller, view): (&Caller, &View),
    ) -> Result<Reply, Refusal> {
        let Some(Parked { mut messages, open }) = self.take_parked(place).await else {
            return Err(Refusal::new(
                code::INVALID_PARAMS,
                "the call that this `requestState` belongs to no longer waits for an answer (it was answered, took too \
                 long, or its gateway process has ended); call again without it",
            ));
        };
        caller.record.concerns(&messages.to.server, inbound);
        if let Some(route) = &messages.to.route {
            caller.record.leads_to(&route.name);
            plan::still_permitted(view, caller, inbound, route)?;
        }
        let log_level = self.log_level(inbound, caller);
        messages.note_asking(&caller.record);
        messages.to = Addressee {
            caller: caller.clone(),
            id: inbound.id.text().to_owned(),
            progress_token: inbound.progress_token(),
            log_level,
            ..messages.to
        };
        let responses = inbound.params.get("inputResponses");
        let mut left = Vec::new();
        let current = messages.established().cloned().or_else(|| messages.to.link.current.load_full());
        for open in open {
            let answer = responses.and_then(|r| r.get(&open.question.key)).filter(|a| a.is_object());
            match (answer, &current) {
                (Some(answer), Some(established)) => {
                    if let Some(lane) =
                        messages.to.lane.as_mut().filter(|_| open.question.method == "roots/list")
                    {
                        lane.tells_roots();
                    }
                    let text = message::result(&open.id, answer.text());
                    let server = messages.to.server.clone();
                    let told = self.tell(&server, established, text);
                    self.within(&server, server.settings.timeout, told).await?;
                }
                _ => left.push(open),
            }
        }
        if !left.is_empty() {
            return Ok(body::json(http::StatusCode::OK, self.park(messages, left)));
        }
        self.relay_messages(messages).await.or_else(|Cancelled| Ok(body::empty(http::StatusCode::ACCEPTED)))
    }

    /// Returns what an agent brings back to go on with a call, sealed.
    fn sealed_state(&self, to: &Addressee, expires: u64, next: Next) -> String {
        let state = RequestState {
            server: to.server.identity.clone(),
            binding: to.binding(),
            nonce: self.random(),
            expires,
            next,
        };
        state.seal(&self.0.sealer, self.host())
    }

    /// Turns the error by which a session-based server asks for a page to be visited (whose code has been translated)
    /// into a question to a stateless agent that can be asked for that.
    pub(super) fn asks_by_error(
        &self,
        to: &Addressee,
        text: Whole,
        error: Option<i64>,
    ) -> (Whole, Option<i64>) {
        let asks = error == Some(code::INTERNAL) && to.caller.era() == Era::Modern && to.interaction.url;
        if !asks {
            return (text, error);
        }
        let text = text.into_bytes();
        let Some(round) = Round::of_error(&text) else { return (text.into(), error) };
        let state = self.sealed_state(to, self.host().now() + STATE_LIFETIME, Next::Again);
        let result = dialogue::input_required(&round.questions, &state, own_info());
        (message::result(&to.id, &result).into(), None)
    }
}

/// Notes what a server asks under a key of its own.
fn note(question: &Bytes, open: &mut Vec<Open>) {
    let json = Json::check(question).ok();
    if let Some(Ok(Message::Request { id, method, params })) = json.map(message::parse) {
        let params = (params.iter().next().is_some())
            .then(|| json.and_then(|json| json.get("params")).map(|params| params.text().to_owned()))
            .flatten();
        let key = format!("q{}", open.len() + 1);
        let question = Question { key, method: method.into_owned(), params };
        open.push(Open { question, id: id.text().to_owned() });
    }
}

/// Refuses a state, whatever is wrong with it.
fn invalid_state() -> Refusal {
    Refusal::new(code::INVALID_PARAMS, "`requestState` is not valid for this request; call again without it")
}

/// Tells whether the agent's user has agreed to everything that was asked.
fn all_accepted(inbound: &Inbound<'_>) -> bool {
    let responses = inbound.params.get("inputResponses");
    let action = |answer: Json<'_>| answer.get("action").and_then(Json::as_str).as_deref() == Some("accept");
    responses.is_some_and(|r| r.members().next().is_some() && r.members().all(|(_, answer)| action(answer)))
}

impl Addressee {
    /// Returns what binds a state to the agent's request.
    fn binding(&self) -> Binding {
        Binding::of(&self.request, endpoint::path(&self.caller.scope), self.caller.who.owner())
    }
}

impl Binding {
    /// Returns what binds a state to a request, from its message.
    pub(super) fn of(request: &Bytes, endpoint: String, owner: Owner) -> Self {
        match Json::check(request).map(message::parse) {
            Ok(Ok(Message::Request { method, params, .. })) => Self::new(endpoint, owner, &method, &params),
            _ => Self::new(endpoint, owner, "", &crate::wire::json::Object::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Clock;
    use crate::testing::{Answer, Memory, gateway, later, modern_with, open_stream, session_server};

    const ABLE: &str = r#"{"elicitation":{},"roots":{}}"#;

    /// A session-based server whose tool asks one thing and then waits.
    fn asking(request: &http::Request<Bytes>) -> Answer {
        let roots = || open_stream(&[r#"{"jsonrpc":"2.0","id":"e1","method":"roots/list"}"#]);
        session_server(request, |params, id| {
            if params.contains("which folders") {
                return roots();
            }
            if params.contains("are you there") {
                let ping = r#"{"jsonrpc":"2.0","id":"p1","method":"ping"}"#;
                let result = message::result(id, r#"{"content":[]}"#);
                return later(roots(), Duration::from_secs(30), &[ping, &result, ping]);
            }
            open_stream(&[
                r#"{"jsonrpc":"2.0","id":"e1","method":"elicitation/create","params":{"message":"?","requestedSchema":{}}}"#,
            ])
        })
    }

    fn call(host: &Memory, gateway: &Gateway<Memory>, more: &str) -> String {
        let request = modern_with("7", "tools/call", &format!("\"name\":\"a__ask\"{more}"), ABLE);
        let reply =
            host.run(async { Box::pin(gateway.serve(request)).await.into_body().collect(usize::MAX).await });
        String::from_utf8(reply.expect("an answer").to_vec()).expect("text")
    }

    fn state(answer: &str) -> String {
        let state = answer.split("\"requestState\":\"").nth(1).and_then(|rest| rest.split('"').next());
        state.unwrap_or_else(|| panic!("no state in {answer}")).to_owned()
    }

    #[test]
    fn a_call_that_nobody_comes_back_for_is_given_up() {
        let host = Memory::new(asking);
        let gateway = gateway(&host, &["a"]);
        let asked = call(&host, &gateway, "");
        assert!(asked.contains(r#""inputRequests":{"q1":{"method":"elicitation/create""#), "{asked}");
        assert_eq!(lock(&gateway.0.parked).calls.len(), 1);
        host.sent();
        host.run(host.sleep(ANSWERED + ANSWERED / 10));
        assert_eq!(lock(&gateway.0.parked).calls.len(), 0);
        let sent = host.sent().join("\n");
        assert!(
            sent.contains("the client has not answered") && sent.contains("notifications/cancelled"),
            "{sent}"
        );
        let answers = r#","inputResponses":{"q1":{"action":"accept"}}"#;
        let late = call(&host, &gateway, &format!("{answers},\"requestState\":\"{}\"", state(&asked)));
        assert!(late.contains("-32602") && host.sent().is_empty(), "{late}");
    }

    #[test]
    fn a_ping_is_answered_while_the_call_waits_and_the_rest_is_kept() {
        let host = Memory::new(asking);
        let gateway = gateway(&host, &["a"]);
        let question = r#","arguments":{"q":"are you there"}"#;
        let asked = call(&host, &gateway, question);
        host.sent();
        host.run(host.sleep(Duration::from_mins(1)));
        let pong = r#"POST http://a.test/mcp {"jsonrpc":"2.0","id":"p1","result":{}}"#;
        assert_eq!(host.sent(), [pong, pong]);
        assert_eq!(lock(&gateway.0.parked).calls.len(), 1);
        let answers =
            format!(r#","inputResponses":{{"q1":{{"roots":[]}}}},"requestState":"{}""#, state(&asked));
        let ended = call(&host, &gateway, &format!("{question}{answers}"));
        assert!(ended.contains(r#""result":{"content":[]"#) && ended.contains(r#""id":7"#), "{ended}");
    }

    #[test]
    fn an_answer_resumes_the_call_on_the_same_session() {
        let host = Memory::new(asking);
        let gateway = gateway(&host, &["a"]);
        let asked = call(&host, &gateway, "");
        host.sent();
        let answers = format!(
            ",\"inputResponses\":{{\"q1\":{{\"action\":\"accept\"}}}},\"requestState\":\"{}\"",
            state(&asked)
        );
        let ended = call(&host, &gateway, &answers);
        assert!(ended.contains("did not answer within"), "the script answers nothing more: {ended}");
        let sent = host.sent();
        let answer = r#"POST http://a.test/mcp {"jsonrpc":"2.0","id":"e1","result":{"action":"accept"}}"#;
        assert_eq!(sent[0], answer);
        assert!(!sent.iter().any(|line| line.contains("tools/call")), "called once: {sent:?}");
        assert!(lock(&gateway.0.parked).calls.is_empty());
    }

    #[test]
    fn a_session_whose_server_knows_roots_serves_nobody_else() {
        let host = Memory::new(asking);
        let gateway = gateway(&host, &["a"]);
        let question = r#","arguments":{"q":"which folders"}"#;
        let asked = call(&host, &gateway, question);
        host.sent();
        let answers = r#","inputResponses":{"q1":{"roots":[]}}"#;
        call(&host, &gateway, &format!("{question}{answers},\"requestState\":\"{}\"", state(&asked)));
        let sent = host.sent();
        assert!(sent[0].contains(r#""result":{"roots":[]}"#), "{sent:?}");
        call(&host, &gateway, "");
        let sent = host.sent().join("\n");
        assert!(sent.contains("DELETE ") && sent.contains("\"initialize\""), "{sent}");
    }

    #[test]
    fn an_agent_that_declared_nothing_is_not_asked() {
        let host = Memory::new(asking);
        let gateway = gateway(&host, &["a"]);
        let request = modern_with("7", "tools/call", "\"name\":\"a__ask\"", "{}");
        host.run(async { Box::pin(gateway.serve(request)).await.into_body().collect(usize::MAX).await })
            .expect("an answer");
        assert!(lock(&gateway.0.parked).calls.is_empty());
        let sent = host.sent().join("\n");
        assert!(sent.contains(r#""id":"e1","error""#), "{sent}");
    }

    #[test]
    fn a_gateway_that_stops_gives_up_what_waits() {
        let host = Memory::new(asking);
        let gateway = gateway(&host, &["a"]);
        call(&host, &gateway, "");
        host.sent();
        gateway.stop();
        host.run(host.sleep(std::time::Duration::from_secs(1)));
        assert!(lock(&gateway.0.parked).calls.is_empty());
        let sent = host.sent().join("\n");
        assert!(sent.contains(r#""id":"e1","error""#) && sent.contains("notifications/cancelled"), "{sent}");
    }

    #[test]
    fn each_round_is_a_request_of_its_own_to_whoever_observes() {
        let notes = std::sync::Arc::new(crate::testing::Notes::default());
        let host = Memory::observed(asking, notes.clone());
        let gateway = gateway(&host, &["a"]);
        let question = r#","arguments":{"q":"are you there"}"#;
        let asked = call(&host, &gateway, question);
        let of_calls = |notes: Vec<String>| -> Vec<String> {
            notes.into_iter().filter(|note| note.contains("tools/call")).collect()
        };
        assert_eq!(of_calls(notes.take()), ["Client tools/call a__ask Ok", "Server tools/call a__ask Ok"]);
        host.run(host.sleep(Duration::from_mins(1)));
        let answers =
            format!(r#","inputResponses":{{"q1":{{"roots":[]}}}},"requestState":"{}""#, state(&asked));
        call(&host, &gateway, &format!("{question}{answers}"));
        assert_eq!(of_calls(notes.take()), ["Client tools/call a__ask Ok", "Server tools/call a__ask Ok"]);
        call(&host, &gateway, question);
        notes.take();
        host.run(host.sleep(ANSWERED + ANSWERED / 10));
        assert_eq!(of_calls(notes.take()), [""; 0], "nobody asks any more");
    }

    #[test]
    fn a_lane_whose_agent_did_not_come_back_serves_no_other() {
        let host = Memory::new(asking);
        let gateway = gateway(&host, &["a"]);
        call(&host, &gateway, "");
        host.run(host.sleep(ANSWERED + ANSWERED / 10));
        host.sent();
        call(&host, &gateway, "");
        let sent = host.sent().join("\n");
        assert!(sent.contains("\"initialize\""), "another session: {sent}");
    }

    #[test]
    fn a_state_with_which_nothing_was_sent_can_be_used_again() {
        let host = Memory::new(asking);
        let gateway = gateway(&host, &["a"]);
        lock(&gateway.0.spent).insert((9, 7));
        gateway.unspend(None);
        assert!(lock(&gateway.0.spent).contains(&(9, 7)));
        gateway.unspend(Some((9, 7)));
        assert!(lock(&gateway.0.spent).is_empty());
    }
}
