//! A pipe to a server that answers many requests on one pair of streams: a subprocess, or one that speaks HTTP+SSE.
//!
//! Core holds the [`Pipe`], the host the [`PipeEnd`]. **An answer goes to the request that asked, a progress
//! notification to the request whose token it carries, and whatever cannot be told apart goes to nobody's agent.**

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, Stream, StreamExt};

use crate::error::Unreachable;
use crate::sorted::SortedMap;
use crate::upstream::lock;
use crate::wire::json::Json;
use crate::wire::message::{self, Message};

/// How many lines may wait to be written before senders have to wait themselves.
const BACKLOG: usize = 64;

/// How many lines that are no message are logged of each process.
const LOGGED: u32 = 20;
/// The most that may wait for one request, in bytes, beside a single message: the agent may read more slowly than the
/// process writes.
const WAITING: usize = 16 << 20;

/// Core's end of a pipe. Cheap to clone; the process is stopped once every clone and every answer has gone.
#[derive(Clone, Debug)]
pub struct Pipe(Arc<Core>);

/// A pipe that does not keep its process running.
#[derive(Clone, Debug)]
pub struct WeakPipe(Weak<Core>);

#[derive(Debug)]
struct Core {
    inner: Arc<Inner>,
    lines: mpsc::Sender<Bytes>,
}

/// The host's end of a pipe.
#[derive(Debug)]
pub struct PipeEnd {
    inbox: PipeInbox,
    lines: mpsc::Receiver<Bytes>,
}

/// The receiving half of the host's end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PipeInbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    users: Users,
    waiters: SortedMap<u64, Waiter>,
    closed: Option<String>,
    /// Why nothing more is written to the process, while what it still writes is heard.
    leaving: Option<String>,
    /// How many lines have been no message.
    ignored: u32,
    unasked: mpsc::UnboundedSender<Bytes>,
}

#[derive(Debug)]
struct Waiter {
    kind: Wait,
    messages: mpsc::UnboundedSender<Result<Bytes, Unreachable>>,
    /// How many bytes wait.
    waiting: Arc<AtomicUsize>,
}

impl Waiter {
    /// Hands over a message; returns whether there was room for it.
    fn take(&self, message: Bytes) -> bool {
        let before = self.waiting.fetch_add(message.len(), Ordering::Relaxed);
        let room = before == 0 || before + message.len() <= WAITING;
        if room {
            let _ = self.messages.unbounded_send(Ok(message));
        }
        room
    }
}

/// What a request on a pipe waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A call of an agent: what the server says while it is the only one in flight belongs to it.
    Call,
    /// A question of the gateway's own, or a subscription: only its own messages.
    Own,
}

/// Who uses a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// Several agents: what is not certain to concern one of them concerns nobody.
    Many,
    /// One agent: everything concerns it.
    One,
}

/// Makes a pipe to `server`: core's end, the host's, and the messages that no request asked for.
pub fn pipe(server: &str, users: Users) -> (Pipe, PipeEnd, mpsc::UnboundedReceiver<Bytes>) {
    let (lines_in, lines_out) = mpsc::channel(BACKLOG);
    let (unasked, unasked_out) = mpsc::unbounded();
    let state = State { users, waiters: SortedMap::new(), closed: None, leaving: None, ignored: 0, unasked };
    let inner = Arc::new(Inner { server: server.into(), state: Mutex::new(state) });
    let end = PipeEnd { inbox: PipeInbox(inner.clone()), lines: lines_out };
    (Pipe(Arc::new(Core { inner, lines: lines_in })), end, unasked_out)
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Pipe {
    /// Registers the request of that id, so that its answer is kept. Call this before sending the request.
    pub fn expect(&self, id: u64, kind: Wait) -> PipeAnswer {
        let (sender, messages) = mpsc::unbounded();
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut state = self.0.inner.state();
        if let Some(reason) = &state.closed {
            let _ = sender.unbounded_send(Err(self.gone(reason)));
        } else {
            let waiter = Waiter { kind, messages: sender, waiting: waiting.clone() };
            state.waiters.insert(id, waiter);
        }
        drop(state);
        PipeAnswer { pipe: self.clone(), id, messages, waiting }
    }

    /// Writes one message, waiting while too many others wait to be written.
    pub async fn send(&self, message: impl Into<Vec<u8>>) -> Result<(), Unreachable> {
        let mut line = message.into();
        line.push(b'\n');
        if self.closed().is_none() && self.0.lines.clone().send(line.into()).await.is_ok() {
            return Ok(());
        }
        Err(self.gone(self.closed().as_deref().unwrap_or("has stopped")).undelivered())
    }

    /// Writes one message where there is room; a message that finds none is dropped.
    pub fn send_now(&self, message: String) {
        let mut line = message.into_bytes();
        line.push(b'\n');
        let _ = self.0.lines.clone().try_send(line.into());
    }

    /// Returns a handle that does not keep the process running.
    pub fn downgrade(&self) -> WeakPipe {
        WeakPipe(Arc::downgrade(&self.0))
    }

    /// Tells whether somebody else needs the process too, such as whoever waits for an answer.
    #[cfg(feature = "hosting")]
    pub(crate) fn is_needed(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Returns why nothing more is written to the pipe, if that is so.
    pub fn closed(&self) -> Option<String> {
        let state = self.0.inner.state();
        state.closed.as_ref().or(state.leaving.as_ref()).cloned()
    }

    fn gone(&self, reason: &str) -> Unreachable {
        Unreachable::new(&self.0.inner.server, reason)
    }
}

impl WeakPipe {
    /// Returns the pipe while somebody else still needs its process.
    pub fn upgrade(&self) -> Option<Pipe> {
        self.0.upgrade().map(Pipe)
    }
}

/// The messages that answer one request of a pipe: notifications, then the answer. Dropping it stops caring.
#[derive(Debug)]
pub struct PipeAnswer {
    pipe: Pipe,
    id: u64,
    messages: mpsc::UnboundedReceiver<Result<Bytes, Unreachable>>,
    waiting: Arc<AtomicUsize>,
}

impl Stream for PipeAnswer {
    type Item = Result<Bytes, Unreachable>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.messages.poll_next_unpin(context);
        if let Poll::Ready(Some(Ok(message))) = &next {
            self.waiting.fetch_sub(message.len(), Ordering::Relaxed);
        }
        next
    }
}

impl Drop for PipeAnswer {
    fn drop(&mut self) {
        self.pipe.0.inner.state().waiters.remove(&self.id);
    }
}

impl PipeEnd {
    /// Waits for the next line to write, its line break included; nothing once nobody needs the process any more.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.lines.next().await
    }

    /// Takes one line that the process wrote, without its line break.
    pub fn receive(&self, line: Bytes) {
        self.inbox.receive(line);
    }

    /// Tells that nothing more will be written to the process, and why, continuing "server X ..."; what it still
    /// writes is taken until [`PipeEnd::close`].
    pub fn leave(&self, reason: String) {
        self.inbox.0.state().leaving = Some(reason);
    }

    /// Tells that the process has gone, and why, continuing "server X ...".
    pub fn close(&self, reason: String) {
        self.inbox.close(reason);
    }

    /// Returns a handle for whoever reads the process's output.
    pub fn inbox(&self) -> PipeInbox {
        self.inbox.clone()
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.inbox.close("has stopped".into());
    }
}

impl PipeInbox {
    /// Takes one line that the process wrote, without its line break.
    pub fn receive(&self, line: Bytes) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let mut state = self.0.state();
        let recipient = Json::check(&line)
            .map_err(|e| (e.to_string(), if e.is_too_deep() { id_before_depths(&line) } else { None }))
            .and_then(|json| {
                message::parse(json)
                    .map_err(|r| (r.refusal.to_string(), r.id.and_then(|id| id.parse::<u64>().ok())))
            })
            .map(|message| state.recipient(&message));
        match recipient {
            Ok(Recipient::Answer(id)) => {
                if state.waiters.contains_key(&id) {
                    self.hand_over(&mut state, id, line);
                    state.waiters.remove(&id);
                } else {
                    tracing::debug!(server = %self.0.server, id, "answer to a request that is not waiting");
                }
            }
            Ok(Recipient::Waiter(id)) => self.hand_over(&mut state, id, line),
            Ok(Recipient::Nobody) => drop(state.unasked.unbounded_send(line)),
            Err((error, id)) => {
                state.ignored = state.ignored.saturating_add(1);
                if state.ignored <= LOGGED {
                    tracing::warn!(server = %self.0.server, %error, "ignored a line that is no message");
                }
                // Whoever waits for this answer will get no other.
                if let Some(waiter) = id.and_then(|id| state.waiters.remove(&id)) {
                    let error = Unreachable::new(&self.0.server, format!("sent a malformed answer: {error}"));
                    let _ = waiter.messages.unbounded_send(Err(error));
                }
            }
        }
    }

    /// Tells whoever waits for the answer to this request that there will be none.
    pub(crate) fn fail(&self, id: u64, error: Unreachable) {
        if let Some(waiter) = self.0.state().waiters.remove(&id) {
            let _ = waiter.messages.unbounded_send(Err(error));
        }
    }

    /// Hands a message to a request. One whose messages are not taken fails: others of the process must not wait for it.
    fn hand_over(&self, state: &mut State, id: u64, line: Bytes) {
        if state.waiters.get(&id).is_none_or(|waiter| waiter.take(line)) {
            return;
        }
        if let Some(waiter) = state.waiters.remove(&id) {
            let why = format!("sent more than {} MiB that the agent has not taken", WAITING >> 20);
            // The agent is slow, not the server.
            let error = Unreachable::new(&self.0.server, why).refused();
            let _ = waiter.messages.unbounded_send(Err(error));
        }
    }

    /// Tells that the process has gone, and why, continuing "server X ...". The first reason stays.
    pub fn close(&self, reason: String) {
        let mut state = self.0.state();
        for (_, waiter) in std::mem::take(&mut state.waiters) {
            let _ = waiter.messages.unbounded_send(Err(Unreachable::new(&self.0.server, &reason)));
        }
        state.unasked.close_channel();
        state.closed.get_or_insert(reason);
    }
}

/// Returns the id of a message that nests too deeply to be read, where that stands before anything else but the protocol's name.
fn id_before_depths(line: &[u8]) -> Option<u64> {
    /// As far as writers of messages put it.
    const NEAR: usize = 64;
    let key = b"\"id\":";
    let at = line.windows(key.len()).take(NEAR).position(|bytes| bytes == key)? + key.len();
    let digits = line[at..].trim_ascii_start();
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
}

enum Recipient {
    Answer(u64),
    Waiter(u64),
    Nobody,
}

impl State {
    fn recipient(&self, message: &Message<'_>) -> Recipient {
        let number = |json: Option<Json<'_>>| json.and_then(Json::as_u64);
        let known = |id: Option<u64>| id.filter(|id| self.waiters.contains_key(id)).map(Recipient::Waiter);
        match message {
            Message::Response { id, .. } => match id.text().parse() {
                Ok(id) => Recipient::Answer(id),
                Err(_) => Recipient::Answer(u64::MAX),
            },
            Message::Notification { method, params } => match method.as_ref() {
                "notifications/progress" => {
                    known(number(params.get("progressToken"))).unwrap_or(Recipient::Nobody)
                }
                "notifications/message" => self.only_call(),
                _ => {
                    let key = "io.modelcontextprotocol/subscriptionId";
                    let subscription = params.get("_meta").and_then(|meta| meta.get(key));
                    known(number(subscription)).unwrap_or(Recipient::Nobody)
                }
            },
            Message::Request { method, .. } if method == "ping" => Recipient::Nobody,
            Message::Request { .. } => self.only_call(),
        }
    }

    /// Returns the newest call in flight, where it is certain whose it is.
    fn only_call(&self) -> Recipient {
        let mut calls = self.waiters.iter().rev().filter(|(_, waiter)| waiter.kind == Wait::Call);
        match (calls.next(), calls.next()) {
            (Some((id, _)), None) => Recipient::Waiter(*id),
            (Some((id, _)), Some(_)) if self.users == Users::One => Recipient::Waiter(*id),
            _ => Recipient::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn drain(answer: &mut PipeAnswer) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(Some(message)) = answer.next().now_or_never() {
            texts.push(match message {
                Ok(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Err(error) => format!("{error} ({:?})", error.failure),
            });
        }
        texts
    }

    fn progress(token: u64) -> Bytes {
        message::notification("notifications/progress", &format!("{{\"progressToken\":{token}}}")).into()
    }

    #[test]
    fn tells_answers_apart_and_ends_them() {
        let (pipe, end, _unasked) = pipe("s", Users::Many);
        let (mut one, mut two) = (pipe.expect(1, Wait::Call), pipe.expect(2, Wait::Call));
        end.receive(progress(2));
        end.receive(message::result("2", "{}").into());
        end.receive(message::result("1", "[1]").into());
        end.receive(message::result("1", "[\"again\"]").into());
        assert_eq!(drain(&mut one), [message::result("1", "[1]")]);
        assert_eq!(drain(&mut two).len(), 2);
        assert!(one.next().now_or_never().unwrap().is_none(), "ended");
    }

    #[test]
    fn an_answer_that_nests_too_deeply_is_none_and_ends_its_request_alone() {
        let (pipe, end, _unasked) = pipe("s", Users::Many);
        let (mut one, mut two) = (pipe.expect(1, Wait::Call), pipe.expect(2, Wait::Call));
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        end.receive(message::result("1", &deep).into());
        end.receive(format!("{{ \"id\": 3, \"result\": {deep} }}").into());
        end.receive(deep.into());
        end.receive(r#"{"id":2,"level":"info"#.into());
        let told = drain(&mut one);
        assert!(
            told.len() == 1 && told[0].contains("sent a malformed answer: nested too deeply"),
            "{told:?}"
        );
        assert_eq!(drain(&mut two).len(), 0);
    }

    #[test]
    fn a_request_whose_messages_are_not_taken_fails_alone() {
        let (pipe, end, _unasked) = pipe("s", Users::Many);
        let (mut slow, mut quick) = (pipe.expect(1, Wait::Call), pipe.expect(2, Wait::Call));
        let large = |token: u64| {
            let params = format!("{{\"progressToken\":{token},\"message\":\"{}\"}}", "x".repeat(WAITING / 4));
            Bytes::from(message::notification("notifications/progress", &params))
        };
        for _ in 0..8 {
            end.receive(large(1));
            end.receive(large(2));
            assert_eq!(drain(&mut quick).len(), 1);
        }
        let taken = drain(&mut slow);
        assert_eq!(taken.len(), 4, "what there was room for, and why there is no more");
        assert_eq!(taken[3], "server \"s\" sent more than 16 MiB that the agent has not taken (Refused)");
        end.receive(message::result("1", "{}").into());
        end.receive(message::result("2", "{}").into());
        assert_eq!((drain(&mut slow).len(), drain(&mut quick).len()), (0, 1));
        let mut one = pipe.expect(3, Wait::Call);
        end.receive(message::result("3", &format!("\"{}\"", "x".repeat(2 * WAITING))).into());
        assert!(drain(&mut one)[0].len() > 2 * WAITING, "a single message is bounded by the host");
    }

    #[test]
    fn a_message_that_cannot_be_told_apart_reaches_no_call() {
        let (pipe, end, mut unasked) = pipe("s", Users::Many);
        let (mut one, two) = (pipe.expect(1, Wait::Call), pipe.expect(2, Wait::Call));
        let log = Bytes::from(message::notification("notifications/message", "{}"));
        end.receive(log.clone());
        assert_eq!(drain(&mut one).len(), 0);
        assert_eq!(unasked.next().now_or_never(), Some(Some(log.clone())));
        drop(two);
        end.receive(log);
        assert_eq!(drain(&mut one).len(), 1, "the only call in flight");
    }

    #[test]
    fn closing_tells_every_waiter_why() {
        let (pipe, end, _unasked) = pipe("s", Users::Many);
        let mut answer = pipe.expect(1, Wait::Own);
        end.close("exited with code 3".into());
        drop(end);
        assert_eq!(drain(&mut answer), ["server \"s\" exited with code 3 (Faulty)"]);
        assert_eq!(drain(&mut pipe.expect(2, Wait::Own)), ["server \"s\" exited with code 3 (Faulty)"]);
        let sent = pipe.send(String::new()).now_or_never().unwrap();
        assert!(sent.unwrap_err().undelivered);
    }

    #[test]
    fn a_process_that_is_leaving_is_heard_and_told_nothing_more() {
        let (pipe, end, _unasked) = pipe("s", Users::Many);
        let mut answer = pipe.expect(1, Wait::Call);
        end.leave("exited".into());
        assert!(pipe.send("late").now_or_never().unwrap().unwrap_err().undelivered);
        end.receive(message::result("1", "{}").into());
        assert_eq!(drain(&mut answer), [message::result("1", "{}")]);
    }

    #[test]
    fn the_host_sees_the_end_when_nobody_needs_the_process() {
        let (pipe, mut end, _unasked) = pipe("s", Users::Many);
        pipe.send_now("x".into());
        drop(pipe);
        assert_eq!(end.next().now_or_never().flatten().as_deref(), Some(&b"x\n"[..]));
        assert_eq!(end.next().now_or_never(), Some(None));
    }
}
