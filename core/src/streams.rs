//! Event streams of legacy agents that can be taken up again where they broke off (`Last-Event-ID`).
//!
//! **A stream belongs to one session and is only ever replayed to it.** Events are kept while the stream runs and
//! for a while after; what has been delivered is the first to go.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::Stream;

use crate::sorted::SortedMap;
use crate::upstream::lock;
use crate::wire::sse;

/// The most that one stream keeps of what has been delivered, in bytes.
const DELIVERED: usize = 1 << 20;
/// The most that one stream keeps for an agent that has lost it, in bytes: more ends it.
const WAITING: usize = 8 << 20;
/// From this size on of what has not been delivered, in bytes, a reader that is there is waited for.
const AHEAD: usize = 1 << 20;

/// The streams that can be taken up.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<SortedMap<u64, Arc<Recording>>>);

/// One stream, as far as it is kept.
#[derive(Debug)]
pub(crate) struct Recording {
    id: u64,
    session: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the first event that is kept.
    first: u64,
    events: VecDeque<Bytes>,
    bytes: usize,
    /// The number of the first event that no reader has taken.
    delivered: u64,
    /// How much no reader has taken, in bytes.
    waiting: usize,
    ended: bool,
    /// The newest reader: an older one has ended.
    reader: u64,
    /// How many readers there are, ended or not.
    readers: u32,
    waker: Option<Waker>,
    writer: Option<Waker>,
}

impl Streams {
    /// Begins a stream of a session.
    pub(crate) fn begin(&self, id: u64, session: u64) -> Arc<Recording> {
        let recording = Arc::new(Recording { id, session, state: Mutex::default() });
        lock(&self.0).insert(id, recording.clone());
        recording
    }

    /// Forgets a stream.
    pub(crate) fn forget(&self, id: u64) {
        lock(&self.0).remove(&id);
    }

    /// Returns the events that follow the one with this id, of a stream of this session.
    pub(crate) fn resume(&self, last_event: &str, session: u64) -> Option<Replay> {
        let (stream, number) = last_event.split_once('-')?;
        let stream = u64::from_str_radix(stream, 16).ok()?;
        let number: u64 = number.parse().ok()?;
        let recording = lock(&self.0).get(&stream).filter(|r| r.session == session)?.clone();
        let next = number.checked_add(1)?;
        let state = lock(&recording.state);
        let kept = next >= state.first && next <= state.first + state.events.len() as u64;
        drop(state);
        kept.then(|| recording.read_from(next))
    }
}

impl Recording {
    /// Appends a message as the next event.
    pub(crate) fn push(&self, message: &[u8]) {
        let mut state = lock(&self.state);
        let id = format!("{:x}-{}", self.id, state.first + state.events.len() as u64);
        state.append(sse::encode(Some(&id), message));
    }

    /// Waits until the stream can take more: until a reader that is there has taken most of what there is. Tells
    /// whether that is still worth while; it is not where too much waits for a reader that is not there.
    pub(crate) fn poll_room(&self, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = lock(&self.state);
        if state.waiting <= AHEAD || state.readers == 0 {
            return Poll::Ready(state.waiting <= WAITING);
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Appends the event that only gives the stream its first id.
    pub(crate) fn prime(&self) {
        let mut state = lock(&self.state);
        let id = format!("{:x}-{}", self.id, state.first + state.events.len() as u64);
        state.append(sse::prime(&id));
    }

    /// Ends the stream.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.state);
        state.ended = true;
        state.wake();
    }

    /// Tells whether anybody reads it.
    pub(crate) fn is_read(&self) -> bool {
        lock(&self.state).readers > 0
    }

    /// Returns the events from the first that is kept.
    pub(crate) fn replay(self: &Arc<Self>) -> Replay {
        let first = lock(&self.state).first;
        self.read_from(first)
    }

    fn read_from(self: &Arc<Self>, next: u64) -> Replay {
        let mut state = lock(&self.state);
        state.reader += 1;
        state.readers += 1;
        state.wake();
        Replay { reader: state.reader, recording: self.clone(), next }
    }
}

impl State {
    fn append(&mut self, event: Bytes) {
        self.bytes += event.len();
        self.waiting += event.len();
        self.events.push_back(event);
        while self.first < self.delivered && self.bytes > DELIVERED {
            self.bytes -= self.events.pop_front().map_or(0, |e| e.len());
            self.first += 1;
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

/// Reads a stream from some event on; a newer reader takes over from an older one.
#[derive(Debug)]
pub(crate) struct Replay {
    recording: Arc<Recording>,
    reader: u64,
    next: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        let mut state = lock(&self.recording.state);
        state.readers -= 1;
        state.wake_writer();
    }
}

impl Stream for Replay {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let recording = self.recording.clone();
        let mut state = lock(&recording.state);
        let index = self.next.checked_sub(state.first).and_then(|i| usize::try_from(i).ok());
        let Some(index) = index.filter(|_| state.reader == self.reader) else { return Poll::Ready(None) };
        if let Some(event) = state.events.get(index).cloned() {
            self.next += 1;
            if self.next > state.delivered {
                state.delivered = self.next;
                state.waiting -= event.len();
                state.wake_writer();
            }
            return Poll::Ready(Some(event));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};

    fn read(replay: &mut Replay) -> Vec<String> {
        std::iter::from_fn(|| replay.next().now_or_never().flatten())
            .map(|event| String::from_utf8(event.to_vec()).unwrap().replace('\n', "|"))
            .collect()
    }

    #[test]
    fn a_stream_is_taken_up_where_it_broke_off_by_its_session_only() {
        let streams = Streams::default();
        let recording = streams.begin(0xab, 1);
        recording.prime();
        recording.push(b"{\"a\":1}");
        assert_eq!(
            read(&mut recording.replay()),
            ["id: ab-0|data: ||", "id: ab-1|event: message|data: {\"a\":1}||"]
        );
        recording.push(b"{\"b\":2}");
        recording.end();
        assert_eq!(
            read(&mut streams.resume("ab-1", 1).unwrap()),
            ["id: ab-2|event: message|data: {\"b\":2}||"]
        );
        assert!(streams.resume("ab-1", 2).is_none(), "another session's");
        for odd in ["ab-9", "zz-1", "ab", "ab--1", "ab-18446744073709551615", ""] {
            assert!(streams.resume(odd, 1).is_none(), "{odd}");
        }
        streams.forget(0xab);
        assert!(streams.resume("ab-1", 1).is_none());
    }

    #[test]
    fn waiting_wakes_nobody_and_a_newer_reader_takes_over() {
        let recording = Streams::default().begin(1, 1);
        let mut older = recording.replay();
        let mut context = Context::from_waker(Waker::noop());
        assert!(older.poll_next_unpin(&mut context).is_pending());
        assert!(older.poll_next_unpin(&mut context).is_pending());
        assert!(lock(&recording.state).waker.is_some(), "still registered: nothing woke it");
        let mut newer = recording.replay();
        recording.push(b"{}");
        assert!(older.poll_next_unpin(&mut context) == Poll::Ready(None));
        assert!(newer.poll_next_unpin(&mut context).is_ready());
    }

    #[test]
    fn what_is_not_delivered_is_kept() {
        let streams = Streams::default();
        let recording = streams.begin(1, 1);
        let big = vec![b'x'; DELIVERED];
        let mut reader = recording.replay();
        recording.push(&big);
        recording.push(&big);
        assert_eq!(read(&mut reader).len(), 2);
        recording.push(b"{}");
        assert!(streams.resume("1-0", 1).is_none(), "delivered, and too much to keep");
        assert_eq!(read(&mut reader).len(), 1);
    }
}
