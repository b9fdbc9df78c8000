//! A host in memory. Time stands still until nothing else can happen, then jumps to the next thing that waits for it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{self, BoxFuture};
use futures::{FutureExt, StreamExt, stream};
use http::{Response, StatusCode, header};
use sha2::{Digest as _, Sha256};

use super::fleet::Role;
use super::{MemoryStore, TestLines, TestTrail};
use crate::body::Whole;
use crate::config::Command;
use crate::error::Unreachable;
use crate::metrics::{Gauge, Metrics};
use crate::names::ServerName;
use crate::oauth::PublicKey;
use crate::observe::{Ended, Exchange, Operation, Side, SpanContext};
use crate::pipe::PipeEnd;
use crate::ports::{
    AuditQuery, AuditSink, Background, CatalogStore, Chunks, Clock, ConfigStore, ConnectionStore, Entropy,
    Host, KeyStore, KeyWrap, Meetings, NotSigned, Notebook, Observe, Once, Owners, Place, Quotas,
    RecordStore, Rendezvous, SecretStore, SeedSigned, Signatures, Signed, TokenFamilies, Upstream,
};
use crate::quota::{Counted, Exhausted, Hold, Tallies};
use crate::upstream::lock;
use crate::wire::http as names;

/// What a server answers.
pub type Answer = Result<Response<Vec<Bytes>>, Unreachable>;

type Script = Box<dyn FnMut(&http::Request<Bytes>) -> Answer + Send>;

/// The host; clones are the same one.
#[derive(Clone)]
pub struct Memory(Arc<State>, Role);

struct State {
    trail: OnceLock<Arc<dyn AuditSink>>,
    lines: OnceLock<Arc<dyn AuditQuery>>,
    now: AtomicU64,
    random: AtomicU64,
    timers: Mutex<Vec<(u64, Waker)>>,
    spawned: Mutex<Vec<BoxFuture<'static, ()>>>,
    servers: Mutex<Script>,
    sent: Mutex<Vec<http::Request<Bytes>>>,
    meetings: Meetings,
    tallies: Tallies,
    observer: Option<Arc<dyn Observe>>,
    store: MemoryStore,
    configurations: Arc<dyn ConfigStore>,
    keys: Arc<dyn KeyStore>,
    secrets: Arc<dyn SecretStore>,
    families: Arc<dyn TokenFamilies>,
    records: Arc<dyn RecordStore>,
    connections: OnceLock<Arc<dyn ConnectionStore>>,
    key_wrap: OnceLock<Arc<dyn KeyWrap>>,
}

/// What somebody who observes is told, in its order.
#[derive(Debug, Default)]
pub struct Notes(Mutex<Vec<String>>);

impl Notes {
    /// Returns what was told since the last time: of each operation its side, its method and how it ended.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl Observe for Notes {
    fn ticks(&self) -> u64 {
        1
    }

    fn begin(&self, _: Side, _: Option<SpanContext>) -> Option<SpanContext> {
        None
    }

    fn end(&self, operation: &Operation<'_>) {
        let tool = operation.about.and_then(|about| about.tool.as_deref()).unwrap_or("-");
        let note = format!("{:?} {} {tool} {:?}", operation.side, operation.method, operation.outcome);
        lock(&self.0).push(note);
    }

    fn answered(&self, _: &Exchange) {}

    fn session_ended(&self, session: &Ended<'_>) {
        lock(&self.0).push(format!("{:?} session {:?}", session.side, session.duration));
    }

    fn metrics(&self, _: &mut Vec<Gauge>) -> Option<&Metrics> {
        None
    }
}

/// Marks an answer that does not end after its last chunk.
#[derive(Debug, Clone, Copy)]
pub struct Open;

/// What an answer that stays open brings later.
#[derive(Debug, Clone)]
struct Later(Duration, Bytes);

/// Marks an answer that takes its time.
#[derive(Debug, Clone, Copy)]
struct Slow(Duration);

/// Marks an answer that never comes.
#[derive(Debug, Clone, Copy)]
struct Silent;

/// Returns an answer that stays open and brings more events after a while.
pub fn later(answer: Answer, after: Duration, events: &[&str]) -> Answer {
    let mut answer = answer?;
    let events: Vec<_> = events.iter().map(|data| format!("data: {data}\n\n")).collect();
    answer.extensions_mut().insert(Later(after, events.concat().into()));
    Ok(answer)
}

/// Returns an answer that comes after a while.
pub fn slowly(answer: Answer, after: Duration) -> Answer {
    let mut answer = answer?;
    answer.extensions_mut().insert(Slow(after));
    Ok(answer)
}

/// Returns what a server answers that never does.
pub fn silence() -> Answer {
    let mut response = Response::new(Vec::new());
    response.extensions_mut().insert(Silent);
    Ok(response)
}

/// Returns an answer of server-sent events, which stays open.
pub fn open_stream(events: &[&str]) -> Answer {
    let events = events.iter().map(|data| Bytes::from(format!("data: {data}\n\n"))).collect();
    let mut response = Response::new(events);
    response.headers_mut().insert(header::CONTENT_TYPE, names::EVENT_STREAM);
    response.extensions_mut().insert(Open);
    Ok(response)
}

/// Returns an answer of one JSON document.
pub fn json_answer(status: u16, text: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(vec![text.into()]);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response.headers_mut().insert(header::CONTENT_TYPE, names::JSON);
    Ok(response)
}

impl Memory {
    /// Makes a host whose servers all answer as `script` says.
    pub fn new(script: impl FnMut(&http::Request<Bytes>) -> Answer + Send + 'static) -> Self {
        Self::make(Box::new(script), None)
    }

    /// Makes such a host on which somebody observes.
    pub fn observed(
        script: impl FnMut(&http::Request<Bytes>) -> Answer + Send + 'static,
        observer: Arc<dyn Observe>,
    ) -> Self {
        Self::make(Box::new(script), Some(observer))
    }

    fn make(script: Script, observer: Option<Arc<dyn Observe>>) -> Self {
        let store = MemoryStore::default();
        let state = State {
            trail: OnceLock::new(),
            lines: OnceLock::new(),
            now: AtomicU64::new(1_800_000_000_000),
            random: AtomicU64::new(1),
            timers: Mutex::default(),
            spawned: Mutex::default(),
            servers: Mutex::new(script),
            sent: Mutex::default(),
            meetings: Meetings::default(),
            tallies: Tallies::default(),
            observer,
            configurations: Arc::new(store.clone()),
            keys: Arc::new(store.clone()),
            secrets: Arc::new(store.clone()),
            families: Arc::new(store.clone()),
            records: Arc::new(store.clone()),
            connections: OnceLock::new(),
            key_wrap: OnceLock::new(),
            store,
        };
        Self(Arc::new(state), Role::default())
    }

    /// Returns the same host for an instance of another kind.
    pub(super) fn with_role(&self, role: Role) -> Self {
        Self(self.0.clone(), role)
    }

    /// Returns where its configurations and keys lie.
    pub fn store(&self) -> &MemoryStore {
        &self.0.store
    }

    /// Keeps an audit trail from now on.
    pub fn keep_trail(&self) -> Arc<TestTrail> {
        let trail = Arc::<TestTrail>::default();
        let _ = self.0.trail.set(trail.clone());
        trail
    }

    /// Keeps connections there, unless some were kept before.
    pub fn keep_connections(&self, store: Arc<dyn ConnectionStore>) {
        let _ = self.0.connections.set(store);
    }

    /// Has the keys of connections wrapped by that from now on, unless something wraps them already.
    pub fn wrap_keys(&self, wrap: Arc<dyn KeyWrap>) {
        let _ = self.0.key_wrap.set(wrap);
    }

    /// Has a trail of these lines to read from now on.
    pub fn read_trail(&self, lines: Vec<String>) {
        let _ = self.0.lines.set(Arc::new(TestLines::new(lines)));
    }

    /// Returns what has been sent to servers since the last time, as `METHOD url body`.
    pub fn sent(&self) -> Vec<String> {
        let text = |r: &http::Request<Bytes>| {
            format!("{} {} {}", r.method(), r.uri(), String::from_utf8_lossy(r.body()))
        };
        std::mem::take(&mut *lock(&self.0.sent)).iter().map(text).collect()
    }

    /// Runs `main`, and what has been spawned besides, until `main` is done.
    ///
    /// Panics when nothing can happen any more.
    pub fn run<T>(&self, main: impl Future<Output = T>) -> T {
        let mut main = std::pin::pin!(main);
        let mut tasks: Vec<BoxFuture<'static, ()>> = Vec::new();
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            woken.0.store(false, Ordering::Relaxed);
            if let Poll::Ready(output) = main.as_mut().poll(&mut context) {
                lock(&self.0.spawned).append(&mut tasks);
                return output;
            }
            tasks.append(&mut lock(&self.0.spawned));
            tasks.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
            if !woken.0.load(Ordering::Relaxed) && lock(&self.0.spawned).is_empty() {
                self.jump();
            }
        }
    }

    fn timer(&self, duration: Duration) -> Sleep {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Sleep { host: self.clone(), due: self.now().saturating_add(millis) }
    }

    fn jump(&self) {
        let mut timers = lock(&self.0.timers);
        let next = timers.iter().map(|(due, _)| *due).min().expect("something still to happen");
        self.0.now.fetch_max(next, Ordering::Relaxed);
        timers.retain(|(due, waker)| {
            if *due <= next {
                waker.wake_by_ref();
            }
            *due > next
        });
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Sleep {
    host: Memory,
    due: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.host.now() >= self.due {
            return Poll::Ready(());
        }
        lock(&self.host.0.timers).push((self.due, context.waker().clone()));
        Poll::Pending
    }
}

impl Clock for Memory {
    fn now(&self) -> u64 {
        self.0.now.load(Ordering::Relaxed)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        self.timer(duration)
    }
}

/// A key signs a message with the SHA-256 of both.
impl Signatures for Memory {
    async fn verifies(&self, signed: &Signed<'_>) -> bool {
        signature(signed.key, signed.message) == signed.signature
    }
}

/// Returns the signature of a message that counts here.
pub(crate) fn signature(key: &PublicKey, message: &[u8]) -> Vec<u8> {
    Sha256::new().chain_update(format!("{key:?}")).chain_update(message).finalize().to_vec()
}

impl Entropy for Memory {
    fn fill(&self, buffer: &mut [u8]) {
        for bytes in buffer.chunks_mut(8) {
            // An odd factor gives a different number each time.
            let number = self.0.random.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            bytes.copy_from_slice(&number.to_le_bytes()[..bytes.len()]);
        }
    }
}

impl Background for Memory {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        lock(&self.0.spawned).push(Box::pin(work));
    }
}

impl Upstream for Memory {
    fn fetch(
        &self,
        request: http::Request<Whole>,
    ) -> impl Future<Output = Result<Response<Chunks>, Unreachable>> + Send {
        let request = request.map(Whole::into_bytes);
        let answer = (lock(&self.0.servers))(&request);
        lock(&self.0.sent).push(request);
        let marks = answer.as_ref().map(|answer| answer.extensions().clone()).unwrap_or_default();
        let begins = match marks.get::<Slow>() {
            _ if marks.get::<Silent>().is_some() => future::pending().boxed(),
            Some(Slow(after)) => self.timer(*after).boxed(),
            None => future::ready(()).boxed(),
        };
        let later = marks.get::<Later>().map(|Later(after, chunk)| {
            let chunk = chunk.clone();
            stream::once(self.timer(*after)).map(move |()| Ok(chunk.clone()))
        });
        begins.map(move |()| {
            answer.map(|answer| {
                answer.map(|chunks| {
                    let chunks =
                        stream::iter(chunks.into_iter().map(Ok)).chain(stream::iter(later).flatten());
                    let open = marks.get::<Open>().is_some();
                    if open { chunks.chain(stream::pending()).boxed() } else { chunks.boxed() }
                })
            })
        })
    }

    async fn launch(
        &self,
        server: &ServerName,
        _: &Command,
        _: PipeEnd,
        _: usize,
    ) -> Result<(), Unreachable> {
        Err(Unreachable::new(server.as_str(), "cannot be started: this host has no processes"))
    }
}

impl Rendezvous for Memory {
    fn meet(&self, place: u64) -> impl Future<Output = Bytes> + Send {
        self.0.meetings.meet(place)
    }

    async fn deliver(&self, place: u64, message: Bytes) -> bool {
        self.0.meetings.deliver(place, message)
    }
}

impl Quotas for Memory {
    async fn take(&self, counted: &[Counted], now: u64) -> Result<Hold, Exhausted> {
        self.0.tallies.take(counted, now)
    }
}

impl Host for Memory {
    fn configurations(&self) -> Option<&Arc<dyn ConfigStore>> {
        Some(&self.0.configurations)
    }

    fn keys(&self) -> Option<&Arc<dyn KeyStore>> {
        Some(&self.0.keys)
    }

    fn secrets(&self) -> Option<&Arc<dyn SecretStore>> {
        Some(&self.0.secrets)
    }

    fn connections(&self) -> Option<&Arc<dyn ConnectionStore>> {
        Some(self.0.connections.get_or_init(|| Arc::new(self.0.store.clone())))
    }

    fn key_wrap(&self) -> Option<&Arc<dyn KeyWrap>> {
        self.0.key_wrap.get()
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "TOKEN").then(|| "s3cret".to_owned())
    }

    fn starts_processes(&self) -> bool {
        false
    }

    fn observer(&self) -> Option<&Arc<dyn Observe>> {
        self.0.observer.as_ref()
    }

    fn audit(&self) -> Option<&Arc<dyn AuditSink>> {
        self.0.trail.get()
    }

    fn trail(&self) -> Option<&Arc<dyn AuditQuery>> {
        self.0.lines.get()
    }

    fn place(&self) -> Place {
        self.1.place
    }

    fn owners(&self) -> Option<&Arc<dyn Owners>> {
        self.1.owners.as_ref()
    }

    fn notebook(&self) -> Option<&Arc<dyn Notebook>> {
        self.1.notebook.as_ref()
    }

    fn catalog(&self) -> Option<&Arc<dyn CatalogStore>> {
        self.1.catalog.as_ref()
    }

    fn token_families(&self) -> Option<&Arc<dyn TokenFamilies>> {
        // An isolate that knows no objects has none that notes.
        Some(&self.0.families).filter(|_| self.1.place != Place::Isolate || self.1.owners.is_some())
    }

    fn records(&self) -> Option<&Arc<dyn RecordStore>> {
        Some(&self.0.records)
    }

    fn sign_with_seed(
        &self,
        seed: [u8; 32],
        message: Vec<u8>,
    ) -> BoxFuture<'_, Result<SeedSigned, NotSigned>> {
        let key = Sha256::digest(seed).into();
        let signature = signature(&PublicKey::Ed25519(key), &message);
        Box::pin(future::ready(Ok(SeedSigned { key, signature })))
    }

    fn once(&self) -> Option<&Arc<dyn Once>> {
        self.1.once.as_ref()
    }
}
