//! Where an instance's audit entries go, and how the trail is read.
//!
//! **Nobody waits for an entry**: it is sent after the answer, through the queue where one is bound, else straight to the
//! writer. One that comes soon after others were sent waits a moment for more to come along with it; the event that it
//! came from stays for that long. What could not be sent is sent with what comes next.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, StatusCode};
use portcullis_core::audit::{
    Check, Entry, Order, Page, Producer, Query, Reach, Redactor, Search, Segment, Step, Steps, Unreadable,
    Verdicts, Writing, key_prefix, path_prefix,
};
use portcullis_core::body::{Body, Whole};
use portcullis_core::config::Audit;
use portcullis_core::ports::{AuditQuery, AuditSink, AuditState};
use worker::send::{SendFuture, SendWrapper};

use super::event::{Event, now};
use super::glue::{object, randomize};
use super::objects::ask;
use super::scribe::WRITER;
use super::trail::{Shelf, Shelves, enqueued};
use crate::bindings::Bindings;

/// The binding of the objects that write the trail.
const TRAIL: &str = "TRAIL";
/// How many entries may wait.
const WAITING: usize = 4096;
/// How long entries are gathered after others were sent, in milliseconds.
const GATHER: u64 = 500;
/// How many bytes messages have that are sent together, unless one alone has more: what a queue counts as one.
const TOGETHER: usize = 60_000;
/// How many entries are sent without waiting for more, and from how many bytes of requests on that they hold.
const ENOUGH: (usize, usize) = (100, 1 << 20);
/// How long an event gets to send what it has, in milliseconds: longer than the platform lets it live after its answer.
const TAKEN: u64 = 60_000;
/// How many steps of a search one request may take: each is at least one request to a store.
const STEPS: usize = 40;
/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// The entries of this instance. Clones are the same.
#[derive(Clone)]
pub(crate) struct Sink(Arc<SendWrapper<Kept>>);

struct Kept {
    bindings: Bindings,
    producer: RefCell<Producer>,
    entries: RefCell<Vec<Entry>>,
    messages: RefCell<VecDeque<String>>,
    /// How many bytes of requests the entries hold.
    held: Cell<usize>,
    /// What is being sent, by when it is sent again: the event that sends it may have come to an end.
    sending: RefCell<BTreeMap<(u64, u64), Vec<String>>>,
    sent: Cell<u64>,
    /// When something was sent last.
    last: Cell<u64>,
    /// When what is gathered will be sent.
    gathers: Cell<Option<u64>>,
    /// The settings in force, and what was made of them.
    audit: RefCell<Option<Audit>>,
    writing: RefCell<Writing>,
    days: Cell<u32>,
    recorded: Cell<usize>,
    lost: Cell<usize>,
    /// Of how many lost entries the trail tells.
    told: Cell<usize>,
    trouble: RefCell<Option<String>>,
}

impl Sink {
    pub(crate) fn of(bindings: &Bindings) -> Self {
        let mut source = [0; 10];
        randomize(&mut source);
        Self(Arc::new(SendWrapper::new(Kept {
            bindings: bindings.clone(),
            producer: RefCell::new(Producer::new(source)),
            entries: RefCell::default(),
            messages: RefCell::default(),
            held: Cell::default(),
            sending: RefCell::default(),
            sent: Cell::default(),
            last: Cell::default(),
            gathers: Cell::default(),
            audit: RefCell::default(),
            writing: RefCell::default(),
            days: Cell::new(Audit::default().keep_days),
            recorded: Cell::default(),
            lost: Cell::default(),
            told: Cell::default(),
            trouble: RefCell::default(),
        })))
    }

    /// Puts settings in force; those that cannot be are said, and change nothing.
    pub(crate) fn configure(&self, audit: &Audit) {
        if self.0.audit.borrow().as_ref() == Some(audit) {
            return;
        }
        match Redactor::new(&audit.redact) {
            Ok(redactor) => *self.0.writing.borrow_mut() = Writing { redactor, arguments: audit.arguments },
            Err(error) => tracing::error!("the audit trail's settings stay as they are: {error}"),
        }
        self.0.days.set(audit.keep_days);
        self.0.audit.replace(Some(audit.clone()));
    }

    /// Tells whether something waits that was to be sent before.
    pub(crate) fn lags(&self) -> bool {
        let kept = &self.0;
        let is_overdue = || kept.sending.borrow().first_key_value().is_some_and(|((at, _), _)| *at < now());
        kept.trouble.borrow().is_some() || is_overdue()
    }

    /// Sends what waits. What cannot be sent waits on.
    pub(crate) async fn flush(&self) {
        let kept = &self.0;
        loop {
            let Some(parcel) = Parcel::of(kept) else { return };
            let sent = kept.send(parcel.text()).await;
            let before = kept.trouble.replace(sent.as_ref().err().cloned());
            match &sent {
                Ok(()) => parcel.arrived(),
                Err(why) => {
                    if before.is_none() {
                        tracing::error!(%why, "the audit trail cannot be written");
                    }
                    return;
                }
            }
        }
    }
}

impl Kept {
    /// Makes messages of the entries, and takes as many as are sent together.
    fn next(&self, now: u64) -> Vec<String> {
        let lost = self.lost.get();
        if lost > self.told.get() {
            let what = format!("{} entries were lost: there was no room for them", lost - self.told.get());
            self.told.set(lost);
            self.entries.borrow_mut().push(Entry::own(now, "audit/lost", what));
        }
        let (mut waiting, mut producer) = (self.messages.borrow_mut(), self.producer.borrow_mut());
        let settings = self.writing.borrow();
        self.held.set(0);
        let made = self.entries.take().into_iter().map(|entry| producer.message(&entry, &settings).to_text());
        let overdue: Vec<_> = self.sending.borrow_mut().extract_if(..(now, 0), |_, _| true).collect();
        waiting.extend(overdue.into_iter().flat_map(|(_, messages)| messages));
        waiting.extend(made);
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(message) = waiting.front() {
            bytes += message.len() + 1;
            if !taken.is_empty() && bytes > TOGETHER {
                break;
            }
            taken.extend(waiting.pop_front());
        }
        taken
    }

    async fn send(&self, text: String) -> Result<(), String> {
        if let Some(sent) = enqueued(&self.bindings, &text).await {
            return sent.map_err(|why| format!("the queue does not take entries: {why}"));
        }
        deliver(&self.bindings, text, Some(self.days.get())).await
    }

    fn waiting(&self) -> usize {
        let sending = self.sending.borrow().values().map(Vec::len).sum::<usize>();
        self.entries.borrow().len() + self.messages.borrow().len() + sending
    }

    fn is_enough(&self) -> bool {
        self.entries.borrow().len() >= ENOUGH.0 || self.held.get() >= ENOUGH.1
    }

    /// Returns how long an entry of that moment waits for more; nothing where somebody waits already.
    fn gathers(&self, now: u64) -> Option<Duration> {
        if self.is_enough() {
            return Some(Duration::ZERO);
        }
        // Who does not send what was gathered has come to an end.
        if self.gathers.get().is_some_and(|at| now <= at + GATHER) {
            return None;
        }
        let at = now.max(self.last.get() + GATHER);
        self.gathers.set(Some(at));
        Some(Duration::from_millis(at - now))
    }
}

/// Messages that are on their way. Those that do not arrive wait again, also where their sending is given up.
struct Parcel<'k> {
    kept: &'k Kept,
    number: (u64, u64),
}

impl<'k> Parcel<'k> {
    fn of(kept: &'k Kept) -> Option<Self> {
        let now = now();
        let messages = kept.next(now);
        if messages.is_empty() {
            return None;
        }
        kept.last.set(now);
        kept.sent.set(kept.sent.get() + 1);
        let number = (now + TAKEN, kept.sent.get());
        kept.sending.borrow_mut().insert(number, messages);
        Some(Self { kept, number })
    }

    fn text(&self) -> String {
        self.kept.sending.borrow().get(&self.number).map_or_else(String::new, |messages| messages.join("\n"))
    }

    fn arrived(self) {
        if let Some(messages) = self.kept.sending.borrow_mut().remove(&self.number) {
            self.kept.recorded.set(self.kept.recorded.get() + messages.len());
        }
    }
}

impl Drop for Parcel<'_> {
    fn drop(&mut self) {
        let Some(messages) = self.kept.sending.borrow_mut().remove(&self.number) else { return };
        let mut waiting = self.kept.messages.borrow_mut();
        for message in messages.into_iter().rev() {
            waiting.push_front(message);
        }
    }
}

impl AuditSink for Sink {
    fn ticks(&self) -> u64 {
        now() * 1_000_000
    }

    fn now(&self) -> u64 {
        now()
    }

    fn record(&self, entry: Entry) {
        let kept = &self.0;
        if kept.waiting() >= WAITING {
            kept.lost.set(kept.lost.get() + 1);
            return;
        }
        kept.held.set(kept.held.get() + entry.arguments.held());
        kept.entries.borrow_mut().push(entry);
        // Outside of any event it goes with what comes next.
        let Some(event) = Event::current() else { return };
        let Some(pause) = kept.gathers(now()) else { return };
        let sink = self.clone();
        event.spawn(async move {
            if !pause.is_zero() {
                Event::sleep(pause).await;
            }
            sink.0.gathers.set(None);
            sink.flush().await;
        });
    }

    fn is_failing(&self) -> bool {
        self.0.trouble.borrow().is_some() || self.0.waiting() > WAITING / 2
    }

    fn state(&self) -> AuditState {
        AuditState {
            trouble: self.0.trouble.borrow().clone(),
            waiting: self.0.waiting(),
            recorded: self.0.recorded.get(),
            lost: self.0.lost.get(),
        }
    }
}

/// Brings messages to the writer, a line each; it has stored them when this returns.
///
/// `days` says how long the store of keys is to keep them.
pub(crate) async fn deliver(bindings: &Bindings, messages: String, days: Option<u32>) -> Result<(), String> {
    let path = days.map_or_else(|| "/".to_owned(), |days| format!("/?days={days}"));
    to_writer(bindings, Method::POST, &path, messages.into()).await.map(drop)
}

async fn to_writer(bindings: &Bindings, method: Method, path: &str, body: Whole) -> Result<Bytes, String> {
    let writers = bindings.objects(TRAIL).ok_or_else(|| {
        format!("the Worker has no binding {TRAIL}, where the audit trail is written; nothing is recorded")
    })?;
    let mut request = Request::new(Body::Full(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|_| "no path of the writer".to_owned())?;
    let reply = ask(object(&writers, WRITER), request).await.map_err(|error| error.to_string())?;
    let status = reply.status();
    let text = reply.into_body().collect(1 << 20).await.map_err(|error| error.to_string())?;
    match status {
        StatusCode::OK => Ok(text),
        _ => Err(format!(
            "the writer of the audit trail answered {status}: {}",
            String::from_utf8_lossy(&text)
        )),
    }
}

/// The trail in the stores.
pub(super) struct Reader(SendWrapper<Sink>);

impl Reader {
    pub(super) fn of(sink: &Sink) -> Arc<dyn AuditQuery> {
        Arc::new(Self(SendWrapper::new(sink.clone())))
    }
}

impl AuditQuery for Reader {
    fn page(&self, query: Query) -> BoxFuture<'_, Result<Page, Unreadable>> {
        let sink = (*self.0).clone();
        let found = async move {
            let Some(stacks) = Stacks::of(&sink, query.order).await? else { return Ok(Page::default()) };
            let mut search = Search::new(query, stacks.floor.max(stacks.reach.began), stacks.now)?;
            stacks.go(&mut search).await?;
            Ok(search.finish())
        };
        SendFuture::new(found).boxed()
    }

    fn verify(&self, cursor: Option<String>) -> BoxFuture<'_, Result<Verdicts, Unreadable>> {
        let sink = (*self.0).clone();
        let checked = async move {
            let Some(stacks) = Stacks::of(&sink, Order::Oldest).await? else {
                return Ok(Verdicts::default());
            };
            let reaches =
                portcullis_core::sorted::SortedMap::from([(WRITER.to_owned(), stacks.reach.clone())]);
            let mut check = Check::new(&reaches, cursor.as_deref(), (stacks.floor, stacks.now))?;
            stacks.go(&mut check).await?;
            Ok(check.finish())
        };
        SendFuture::new(checked).boxed()
    }
}

/// Where segments are looked for.
struct Stacks {
    shelves: Shelves,
    order: Order,
    reach: Reach,
    /// What was written before is in no store of keys.
    expired: u64,
    /// What was written before is nowhere.
    floor: u64,
    now: u64,
}

impl Stacks {
    /// Asks how far the trail reaches; nothing where there is none.
    async fn of(sink: &Sink, order: Order) -> Result<Option<Self>, Unreadable> {
        // Whoever reads finds what this instance has done.
        sink.flush().await;
        let bindings = &sink.0.bindings;
        let text =
            to_writer(bindings, Method::GET, "/", Whole::default()).await.map_err(Unreadable::Failed)?;
        let reach: Option<Reach> =
            serde_json::from_slice(&text).map_err(|error| Unreadable::Failed(error.to_string()))?;
        let (shelves, now) = (Shelves::of(bindings), now());
        let expired = now.saturating_sub(u64::from(sink.0.days.get()) * DAY);
        let floor = if shelves.archive.is_some() { 0 } else { expired };
        Ok(reach.map(|reach| Self { shelves, order, reach, expired, floor, now }))
    }

    async fn go(&self, way: &mut impl Steps) -> Result<(), Unreadable> {
        for _ in 0..STEPS {
            match way.step() {
                Step::List(day) => way.listed(self.list(day).await?),
                Step::Read(segment) => {
                    if let Some(text) = self.text(&segment).await? {
                        way.read(&segment, &text);
                    }
                }
                Step::End => break,
            }
        }
        Ok(())
    }

    async fn list(&self, day: u64) -> Result<Vec<Segment>, Unreadable> {
        match self.place(day) {
            Some(Place::Store(store)) => store.segments(&key_prefix(day)).await,
            Some(Place::Archive(archive)) => archive.segments(&path_prefix(day)).await,
            None => Ok(Vec::new()),
        }
    }

    async fn text(&self, segment: &Segment) -> Result<Option<String>, Unreadable> {
        match self.place(segment.beside.at) {
            Some(Place::Store(store)) => store.text(&segment.key()).await,
            Some(Place::Archive(archive)) => archive.text(&segment.path()).await,
            None => Ok(None),
        }
    }

    /// Returns where what was written at that moment is looked for. What is new is looked for close by; what is read in
    /// order, in the store that has everything and shows it at once.
    fn place(&self, at: u64) -> Option<Place<'_>> {
        let store = self.shelves.store.as_ref().map(Place::Store);
        let archive = self.shelves.archive.as_ref().map(Place::Archive);
        let is_close = self.order == Order::Newest && at / DAY > self.expired / DAY;
        if is_close { store.or(archive) } else { archive.or(store) }
    }
}

/// One of the stores.
enum Place<'s> {
    Store(&'s Shelf),
    Archive(&'s Shelf),
}
