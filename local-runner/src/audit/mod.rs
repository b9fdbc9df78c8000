//! The audit trail on this machine: drafts of entries go through a bounded queue to one thread, which gives them their
//! places in the chain and writes them to files of JSON lines and to a database that can be searched.
//!
//! **Whoever answers a request never waits for it**: it makes a draft, in memory of its own, and copies that into the
//! queue. What may take long, the hash of a line and arguments as they were sent, is the thread's. **What the operating
//! system has been given survives the end of this process.** Several processes may share a data folder: they take turns.

mod drafts;
mod files;
mod index;
mod queue;
mod reading;
mod segment;
mod writer;

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portcullis_core::audit::{Entry, Redactor, Writing};
use portcullis_core::config::{Audit, OnFailure};
use portcullis_core::ports::{AuditSink, AuditState};
use portcullis_native::now;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

pub(crate) use reading::{Reading, Shelf};

use crate::instances::words::Told;
use crate::otlp::Telemetry;
use drafts::Drafts;
use queue::{QUEUE, Queue};
use writer::Writer;

/// How many bytes of arguments may wait with them; of those beyond there is only the digest.
const ARGUMENTS: usize = 32 << 20;
/// How large arguments may be that are passed on to another process, in bytes; of larger ones only the digest is.
const PASSED: usize = 64 << 10;
/// How often it is looked whether there is room for what is passed on.
const ROOM: Duration = Duration::from_millis(5);
/// How long the last entries may take when the gateway stops.
const LAST: Duration = Duration::from_secs(3);

/// The trail of this process. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(crate) struct Trail(Arc<Kept>);

struct Kept {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    _limited: Option<Signal>,
    /// Who keeps the trail, where that is another process.
    keeper: Option<UnboundedSender<Told>>,
}

/// What both sides know.
struct Shared {
    start: Instant,
    queue: Queue,
    /// How many bytes of arguments wait.
    held: AtomicUsize,
    recorded: AtomicUsize,
    lost: AtomicUsize,
    fails: AtomicBool,
    trouble: Mutex<Option<String>>,
    settings: RwLock<Arc<Settings>>,
    gateway: OnceLock<Arc<str>>,
}

impl Shared {
    fn new(audit: &Audit) -> anyhow::Result<Self> {
        Ok(Self {
            start: Instant::now(),
            queue: Queue::default(),
            held: AtomicUsize::new(0),
            recorded: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            fails: AtomicBool::new(false),
            trouble: Mutex::default(),
            settings: RwLock::new(Settings::new(audit)?),
            gateway: OnceLock::new(),
        })
    }

    fn settings(&self) -> RwLockReadGuard<'_, Arc<Settings>> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the draft of an entry into the queue; tells whether there was room for it.
    fn push(&self, entry: &Entry) -> bool {
        thread_local! {
            /// Drafts are made in the same memory, one after the other.
            static DRAFT: RefCell<String> = const { RefCell::new(String::new()) };
        }
        let settings = self.settings();
        DRAFT.with_borrow_mut(|text| {
            Drafts::make(entry, (text, &settings.writing), |text, drafted, arguments| {
                self.queue.push(text, drafted, arguments)
            })
        })
    }
}

/// How the trail is kept.
struct Settings {
    writing: Writing,
    rotate: u64,
    keep_days: u32,
    /// Whether entries are wanted.
    enabled: bool,
    on_failure: OnFailure,
}

impl Settings {
    fn new(audit: &Audit) -> anyhow::Result<Arc<Self>> {
        let redactor = Redactor::new(&audit.redact)?;
        let writing = Writing { redactor, arguments: audit.arguments };
        let (rotate, keep_days) = (audit.rotate, audit.keep_days);
        Ok(Arc::new(Self {
            writing,
            rotate,
            keep_days,
            enabled: audit.enabled,
            on_failure: audit.on_failure,
        }))
    }
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trail")
    }
}

impl Trail {
    /// Begins to keep a trail in the data folder; what is recorded also goes where telemetry does.
    pub(crate) fn begin(
        folder: &Path,
        audit: &Audit,
        telemetry: Option<Arc<Telemetry>>,
    ) -> anyhow::Result<Self> {
        // Where the size of files is limited, a full one is a failure to write and not the end of the process.
        let limited = signal(SignalKind::from_raw(nix::sys::signal::Signal::SIGXFSZ as i32))?;
        let shared = Arc::new(Shared::new(audit)?);
        let writer = Writer::new(folder, shared.clone(), telemetry);
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || writer.run())?;
        let (limited, thread) = (Some(limited), Mutex::new(Some(thread)));
        Ok(Self(Arc::new(Kept { shared, _limited: limited, thread, keeper: None })))
    }

    /// Passes all that is recorded on to the process that keeps the trail.
    pub(crate) fn passed_on(audit: &Audit, keeper: UnboundedSender<Told>) -> anyhow::Result<Self> {
        let (shared, thread) = (Arc::new(Shared::new(audit)?), Mutex::default());
        Ok(Self(Arc::new(Kept { shared, _limited: None, thread, keeper: Some(keeper) })))
    }

    /// Records what an identity's own gateway has passed on, as that identity's; what is no entry is left out.
    pub(crate) fn take(&self, passed: &str, principal: Option<&Arc<str>>) {
        let gateway = self.0.shared.gateway.get().cloned().unwrap_or_default();
        match Entry::of_passed(passed, principal, &gateway) {
            Some(entry) if self.0.shared.settings().enabled => self.record(entry),
            Some(_) => {}
            None => tracing::warn!("an identity's gateway has passed on what is no entry of the trail"),
        }
    }

    /// Waits until there is room, so that whoever passes on much waits and nobody's entries are lost by it.
    pub(crate) async fn has_room(&self) {
        while self.0.shared.queue.waiting() > QUEUE / 4 {
            tokio::time::sleep(ROOM).await;
        }
    }

    /// Says at which gateway what is noted happens.
    pub(crate) fn happens_at(&self, gateway: Arc<str>) {
        let _ = self.0.shared.gateway.set(gateway);
    }

    /// Records what no request led to, where entries are wanted.
    pub(crate) fn note(&self, entry: Entry) {
        let shared = &self.0.shared;
        if !shared.settings().enabled {
            return;
        }
        let gateway = shared.gateway.get().cloned().unwrap_or_default();
        self.record(Entry { gateway, ..entry });
    }

    /// Tells whether nothing may happen for now, because it has to be recorded and cannot be.
    pub(crate) fn is_closed(&self) -> bool {
        let (enabled, on_failure) = {
            let settings = self.0.shared.settings();
            (settings.enabled, settings.on_failure)
        };
        enabled && on_failure == OnFailure::Closed && self.is_failing()
    }

    /// Writes what is left, and nothing more after that.
    pub(crate) fn stop(&self) {
        self.0.shared.queue.stop();
        let Some(thread) = lock(&self.0.thread).take() else { return };
        let deadline = Instant::now() + LAST;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if !thread.is_finished() {
            tracing::error!("the last entries of the audit trail could not be written in time");
        }
    }
}

impl AuditSink for Trail {
    /// Puts other settings in force; those that cannot be are said, and change nothing.
    fn configure(&self, audit: &Audit) {
        match Settings::new(audit) {
            Ok(settings) => {
                *self.0.shared.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
            }
            Err(error) => tracing::error!("the audit trail's settings stay as they are: {error:#}"),
        }
    }

    fn ticks(&self) -> u64 {
        u64::try_from(self.0.shared.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        now()
    }

    fn record(&self, mut entry: Entry) {
        let shared = &self.0.shared;
        if let Some(keeper) = &self.0.keeper {
            if entry.arguments.held() > PASSED {
                entry.arguments.forget();
            }
            // Where nobody keeps it any more this process ends too.
            let _ = keeper.send(Told::Entry(entry.to_passed()));
            return;
        }
        let size = entry.arguments.held();
        if size > 0 && shared.held.fetch_add(size, Ordering::Relaxed) + size > ARGUMENTS {
            shared.held.fetch_sub(size, Ordering::Relaxed);
            entry.arguments.forget();
        }
        if !shared.push(&entry) {
            shared.held.fetch_sub(entry.arguments.held(), Ordering::Relaxed);
            shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_failing(&self) -> bool {
        let shared = &self.0.shared;
        shared.fails.load(Ordering::Relaxed) || shared.queue.waiting() > QUEUE / 2
    }

    fn state(&self) -> AuditState {
        let shared = &self.0.shared;
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        AuditState {
            trouble: lock(&shared.trouble).clone(),
            waiting: shared.queue.waiting(),
            recorded: count(&shared.recorded),
            lost: count(&shared.lost),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
