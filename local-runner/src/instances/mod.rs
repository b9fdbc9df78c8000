//! The gateways that are identities' own (ADR 0050): a process each, behind the front that lets their identity in.
//!
//! **An owner's name leads to one process**: made when it is first asked, put away while nobody asks, made again by the next
//! request, whatever it ended by. **The front tells an instance what it needs and nothing of others**, and believes nothing
//! that it says of anybody else.

mod process;
mod shelf;
pub(crate) mod words;

pub(crate) use process::SOCKET;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use portcullis_core::SealKeys;
use portcullis_core::body::{Body, Reply};
use portcullis_core::config;
use portcullis_core::control::StoreError;
use portcullis_core::error::Unreachable;
use portcullis_core::identity::KeyRecord;
use portcullis_core::ports::{Answered, InstanceRecord, Owners, OwnersPlace, SecretStore};
use portcullis_core::secrets::SecretName;
use portcullis_core::sorted::SortedMap;
use portcullis_native::{ask_local, now};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::audit::Trail;
use crate::hosting::apart::Apartness;
use process::Process;
use shelf::{Note, Shelf, id_of};
use words::{Given, Order};

/// How long a request waits for its turn at an instance that is busy.
const QUEUED: Duration = Duration::from_secs(5);
/// How often it is looked who may be put away, at most.
const LOOK: Duration = Duration::from_secs(5);
/// Whom errors are about.
const WHOM: &str = "instance";

/// All of them, as the front keeps them.
pub(crate) struct Instances {
    /// The data folder.
    data: PathBuf,
    shelf: Shelf,
    keys: SealKeys,
    trail: Trail,
    secrets: Arc<dyn SecretStore>,
    apartness: OnceLock<Apartness>,
    /// What URLs of the gateway begin with, and whether others than this machine reach it.
    front: OnceLock<(String, bool)>,
    common: Arc<Mutex<Common>>,
    known: Mutex<SortedMap<String, Arc<Instance>>>,
    stopping: AtomicBool,
}

/// What is the same for all.
#[derive(Default)]
struct Common {
    given: Given,
    bounds: config::Instances,
    /// The secrets that the configuration names.
    secrets: Vec<SecretName>,
    keys: Vec<KeyRecord>,
}

/// One of them.
struct Instance {
    id: String,
    owner: String,
    note: Note,
    places: Mutex<Places>,
    /// How many wait for their turn.
    waiting: AtomicUsize,
    /// How many requests are on their way to it or back.
    running: AtomicUsize,
    /// When it was asked last, in milliseconds since the Unix epoch.
    asked: AtomicU64,
    /// Held while it is started or ended.
    process: tokio::sync::Mutex<Option<Process>>,
    /// Whether there is a process, or one is being started, for whoever only looks.
    runs: AtomicBool,
    /// Whether it was removed: the next request makes another.
    is_gone: AtomicBool,
}

/// What an instance has room for at a time.
#[derive(Clone)]
struct Places {
    /// How much of either.
    size: usize,
    /// Requests that it answers.
    turns: Arc<Semaphore>,
    /// Streams on which agents listen.
    streams: Arc<Semaphore>,
}

impl Places {
    fn new(size: usize) -> Self {
        let room = || Arc::new(Semaphore::new(size));
        Self { size, turns: room(), streams: room() }
    }
}

impl Instance {
    /// Returns its places. Where their number has changed they are others: what goes on in those before ends by itself.
    fn places(&self, size: usize) -> Places {
        let mut places = lock(&self.places);
        if places.size != size {
            *places = Places::new(size);
        }
        places.clone()
    }

    /// Tells whether nobody asks it anything.
    fn is_resting(&self) -> bool {
        self.running.load(Ordering::Relaxed) == 0
    }
}

/// A request that an instance is answering, or a stream.
struct Use(Arc<Instance>);

impl Drop for Use {
    fn drop(&mut self) {
        self.0.asked.store(now(), Ordering::Relaxed);
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An instance that is being started: where nobody waits for that any more, it does not run.
struct Starting<'i>(Option<&'i Instance>);

impl Starting<'_> {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        if let Some(instance) = self.0 {
            instance.runs.store(false, Ordering::Relaxed);
        }
    }
}

impl Instances {
    /// Keeps the instances of a data folder; none is started.
    pub(crate) fn new(data: &Path, keys: SealKeys, trail: Trail, secrets: Arc<dyn SecretStore>) -> Arc<Self> {
        // Where it is not there yet it is where it is said to be.
        let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
        Arc::new(Self {
            shelf: Shelf::of(&data),
            data,
            keys,
            trail,
            secrets,
            apartness: OnceLock::new(),
            front: OnceLock::new(),
            common: Arc::default(),
            known: Mutex::default(),
            stopping: AtomicBool::new(false),
        })
    }

    /// Says what URLs of the gateway begin with, and whether others than this machine reach it; begins to look who may be put
    /// away.
    pub(crate) fn begin(self: &Arc<Self>, address: String, is_exposed: bool) {
        let _ = self.front.set((address, is_exposed));
        let instances = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let Some(idle) = instances.upgrade().map(|instances| instances.bounds().idle) else { return };
                tokio::time::sleep((idle / 4).min(LOOK)).await;
                let Some(instances) = instances.upgrade() else { return };
                instances.put_away_idle().await;
            }
        });
    }

    /// Takes the configuration that is in force, and passes it on. What approves servers stays where it does not say.
    pub(crate) fn configure(&self, given: Given) {
        let config = given.understood().config;
        let mut common = lock(&self.common);
        let approvals = std::mem::take(&mut common.given.approvals);
        common.given = Given { approvals, ..given };
        common.bounds = config.gateway.instances;
        let named = config.servers.values().flat_map(config::Server::secrets);
        common.secrets = named.cloned().collect();
        let order = Order::Configuration(common.given.clone());
        drop(common);
        self.tell_all(&order);
    }

    /// Takes what is approved, and passes it on.
    pub(crate) fn approve(&self, approvals: Vec<(String, String)>) {
        let mut common = lock(&self.common);
        common.given.approvals = approvals;
        let order = Order::Configuration(common.given.clone());
        drop(common);
        self.tell_all(&order);
    }

    /// Takes the API keys there are, and tells each instance those of its own identity.
    pub(crate) fn know_keys(&self, records: Vec<KeyRecord>) {
        lock(&self.common).keys = records;
        let all: Vec<_> = lock(&self.known).values().cloned().collect();
        for instance in all {
            self.tell(&instance, &Order::Keys(self.keys_for(&instance.owner)));
        }
    }

    /// Tells each instance that secrets have changed.
    pub(crate) fn secrets_changed(&self, names: &[SecretName]) {
        if !names.is_empty() {
            self.tell_all(&Order::Secrets(names.iter().map(|name| String::from(name.clone())).collect()));
        }
    }

    /// Ends all of them; what they have is kept.
    pub(crate) async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let all: Vec<_> = lock(&self.known).values().cloned().collect();
        futures::future::join_all(all.iter().map(|instance| async {
            let mut process = instance.process.lock().await;
            self.end(instance, &mut process).await;
        }))
        .await;
    }

    fn bounds(&self) -> config::Instances {
        lock(&self.common).bounds
    }

    fn keys_for(&self, owner: &str) -> Vec<KeyRecord> {
        let common = lock(&self.common);
        let own = common.keys.iter().filter(|key| *key.principal() == *owner);
        own.cloned().collect()
    }

    fn tell_all(&self, order: &Order) {
        let all: Vec<_> = lock(&self.known).values().cloned().collect();
        for instance in all {
            self.tell(&instance, order);
        }
    }

    /// Tells one that runs. One that is being started has begun with what was so before, or is told as soon as it runs.
    #[expect(clippy::unused_self, reason = "it reads as what it is")]
    fn tell(&self, instance: &Arc<Instance>, order: &Order) {
        let line = words::line(order);
        if let Ok(process) = instance.process.try_lock() {
            process.as_ref().inspect(|process| process.tell(line));
            return;
        }
        let instance = instance.clone();
        tokio::spawn(async move {
            let process = instance.process.lock().await;
            process.as_ref().inspect(|process| process.tell(line));
        });
    }

    /// Returns the instance of an owner, which may not run.
    fn of(&self, owner: &str) -> anyhow::Result<Arc<Instance>> {
        let mut known = lock(&self.known);
        if let Some(instance) = known.get(owner).filter(|instance| !instance.is_gone.load(Ordering::Relaxed))
        {
            return Ok(instance.clone());
        }
        let note = self.shelf.make(owner, now())?;
        let requests = lock(&self.common).bounds.requests;
        let instance = Arc::new(Instance {
            id: id_of(owner),
            owner: owner.to_owned(),
            note,
            places: Mutex::new(Places::new(requests)),
            waiting: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            asked: AtomicU64::new(now()),
            process: tokio::sync::Mutex::default(),
            runs: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
        });
        known.insert(owner.to_owned(), instance.clone());
        Ok(instance)
    }

    /// Takes a place at an instance.
    async fn place(&self, owner: &str, answered: Answered) -> Option<OwnersPlace> {
        let instance = self.of(owner).inspect_err(|error| tracing::error!("{error:#}")).ok()?;
        let places = instance.places(self.bounds().requests);
        let permit: OwnedSemaphorePermit = match answered {
            Answered::Listening => places.streams.try_acquire_owned().ok()?,
            Answered::Whole => match places.turns.clone().try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) => wait_at(&instance, places).await?,
            },
        };
        Some(Box::new(permit))
    }

    /// Has an instance answer a request.
    async fn ask(self: Arc<Self>, owner: String, request: http::Request<Body>) -> Result<Reply, Unreachable> {
        let (head, body) = request.into_parts();
        let Body::Full(body) = body else {
            return Err(Unreachable::new(WHOM, "is handed whole requests only"));
        };
        loop {
            let instance = self.of(&owner).map_err(|error| Unreachable::new(WHOM, format!("{error:#}")))?;
            instance.running.fetch_add(1, Ordering::Relaxed);
            let used = Use(instance.clone());
            instance.asked.store(now(), Ordering::Relaxed);
            let Some(socket) = self.socket_of(&instance).await? else { continue };
            let request = http::Request::from_parts(head.clone(), Body::Full(body.clone()));
            match ask_local(&socket, request).await {
                Ok(reply) => return Ok(holding(reply, used)),
                // It has ended since it was looked at, and has read nothing.
                Err(error) if error.undelivered => self.has_ended(&instance).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns where an instance answers, started where it does not run; nothing where it was removed meanwhile.
    async fn socket_of(&self, instance: &Arc<Instance>) -> Result<Option<PathBuf>, Unreachable> {
        let mut process = instance.process.lock().await;
        if instance.is_gone.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if let Some(running) = process.as_ref().filter(|process| !process.has_ended()) {
            return Ok(Some(running.socket.clone()));
        }
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Unreachable::new(WHOM, "is not started while the gateway stops"));
        }
        self.end(instance, &mut process).await;
        self.make_room(instance).await?;
        let starting = Starting(Some(instance));
        let started = self.start(instance).await;
        let started = started.map_err(|error| {
            tracing::error!(instance = %instance.id, "an identity's gateway could not be started: {error:#}");
            Unreachable::new(WHOM, "could not be started")
        })?;
        let socket = started.socket.clone();
        *process = Some(started);
        starting.done();
        tracing::info!(instance = %instance.id, "an identity's gateway was started");
        Ok(Some(socket))
    }

    async fn start(&self, instance: &Arc<Instance>) -> anyhow::Result<Process> {
        if self.apartness.get().is_none() {
            let found = tokio::task::spawn_blocking(Apartness::find).await??;
            let _ = self.apartness.set(found);
        }
        let apartness = self.apartness.get().context("what the machine does")?;
        self.shelf.make(&instance.owner, instance.note.made)?;
        let (address, is_exposed) = self.front.get().cloned().context("the front has not begun")?;
        let (given, bounds) = {
            let common = lock(&self.common);
            (common.given.clone(), common.bounds)
        };
        let begin = words::Begin {
            seal_keys: process::text_of(&self.keys.of_instance(&instance.owner)),
            configuration: given,
            keys: self.keys_for(&instance.owner),
            address,
            is_exposed,
            started_by: crate::commands::started_by(),
        };
        let home = self.shelf.home(&instance.id);
        let command = process::start_command(apartness, (&self.data, &home), bounds)?;
        Process::start(command, &home, begin, self.front_of(&instance.owner)).await
    }

    /// Ends the process of an instance, where it has one.
    async fn end(&self, instance: &Instance, process: &mut Option<Process>) {
        if let Some(process) = process.take() {
            process.end().await;
        }
        instance.runs.store(false, Ordering::Relaxed);
    }

    /// Waits until it is known that the process of an instance has ended.
    async fn has_ended(&self, instance: &Arc<Instance>) {
        let mut process = instance.process.lock().await;
        self.end(instance, &mut process).await;
    }

    /// Lets an instance run: where as many do as may, the one is put away that has not been asked for longest.
    async fn make_room(&self, besides: &Arc<Instance>) -> Result<(), Unreachable> {
        let most = self.bounds().most;
        loop {
            let longest = {
                // Of several that are asked at once each finds those that were let in before.
                let known = lock(&self.known);
                let others = known.values().filter(|other| !Arc::ptr_eq(other, besides));
                let running: Vec<_> = others.filter(|other| other.runs.load(Ordering::Relaxed)).collect();
                if running.len() < most {
                    besides.runs.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                let resting = running.into_iter().filter(|other| other.is_resting());
                resting.min_by_key(|other| other.asked.load(Ordering::Relaxed)).cloned()
            };
            let Some(longest) = longest else {
                return Err(Unreachable::new(WHOM, format!("cannot be started: {most} are at work already")));
            };
            // Somebody else may be ending it, or it may have been asked meanwhile.
            let mut process = longest.process.lock().await;
            if longest.is_resting() {
                self.end(&longest, &mut process).await;
            }
        }
    }

    /// Puts those away that have not been asked for long.
    async fn put_away_idle(&self) {
        let idle = u64::try_from(self.bounds().idle.as_millis()).unwrap_or(u64::MAX);
        let all: Vec<_> = lock(&self.known).values().cloned().collect();
        for instance in all {
            let is_idle = || {
                let asked = instance.asked.load(Ordering::Relaxed);
                instance.is_resting() && now().saturating_sub(asked) >= idle
            };
            if !instance.runs.load(Ordering::Relaxed) || !is_idle() {
                continue;
            }
            let mut process = instance.process.lock().await;
            // Whoever asks from now on waits, and starts it again.
            if is_idle() {
                self.end(&instance, &mut process).await;
                tracing::info!(instance = %instance.id, "an identity's gateway was put away");
            }
        }
    }

    fn front_of(&self, owner: &str) -> process::Front {
        let common = self.common.clone();
        process::Front {
            principal: (owner != portcullis_core::NOBODY).then(|| owner.into()),
            trail: self.trail.clone(),
            secrets: self.secrets.clone(),
            is_named: Box::new(move |name| lock(&common).secrets.contains(name)),
        }
    }

    async fn remove_by(&self, id: &str) -> anyhow::Result<bool> {
        let Some(note) = self.shelf.note(id)? else { return Ok(false) };
        let instance = self.of(&note.principal)?;
        let mut process = instance.process.lock().await;
        self.end(&instance, &mut process).await;
        let (folders, of) = (self.shelf.clone(), id.to_owned());
        tokio::task::spawn_blocking(move || folders.remove(&of)).await??;
        instance.is_gone.store(true, Ordering::Relaxed);
        let mut known = lock(&self.known);
        if known.get(&instance.owner).is_some_and(|known| Arc::ptr_eq(known, &instance)) {
            known.remove(&instance.owner);
        }
        Ok(true)
    }

    fn records(&self) -> anyhow::Result<Vec<InstanceRecord>> {
        let known = lock(&self.known);
        let record = |(id, note): (String, Note)| {
            let instance = known.get(note.principal.as_str());
            InstanceRecord {
                id,
                made: note.made,
                runs: instance.is_some_and(|instance| instance.runs.load(Ordering::Relaxed)),
                asked: instance.map(|instance| instance.asked.load(Ordering::Relaxed)),
                requests: instance.map_or(0, |instance| instance.running.load(Ordering::Relaxed)),
                principal: note.principal,
            }
        };
        Ok(self.shelf.all()?.into_iter().map(record).collect())
    }
}

/// Waits for a turn at an instance that is busy, where not as many do already.
async fn wait_at(instance: &Arc<Instance>, places: Places) -> Option<OwnedSemaphorePermit> {
    let more = |waiting: usize| (waiting < places.size).then_some(waiting + 1);
    instance.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
    let waiting = Waiting(instance.clone());
    let permit = tokio::time::timeout(QUEUED, places.turns.acquire_owned()).await;
    drop(waiting);
    permit.ok()?.ok()
}

/// Somebody who waits for their turn.
struct Waiting(Arc<Instance>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The same, as the gateway knows them.
#[derive(Clone)]
pub(crate) struct Apart(pub(crate) Arc<Instances>);

impl Owners for Apart {
    fn hand_over(
        &self,
        owner: String,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, Result<Reply, Unreachable>> {
        self.0.clone().ask(owner, request).boxed()
    }

    fn keys_of(&self, owner: &str) -> Option<SealKeys> {
        Some(self.0.keys.of_instance(owner))
    }

    fn place_at(&self, owner: &str, answered: Answered) -> BoxFuture<'static, Option<OwnersPlace>> {
        let (instances, owner) = (self.0.clone(), owner.to_owned());
        async move { instances.place(&owner, answered).await }.boxed()
    }
}

impl portcullis_core::ports::Instances for Apart {
    fn list(&self) -> BoxFuture<'_, Result<Vec<InstanceRecord>, StoreError>> {
        std::future::ready(self.0.records().map_err(|error| StoreError(format!("{error:#}")))).boxed()
    }

    fn remove(&self, id: String) -> BoxFuture<'_, Result<bool, StoreError>> {
        async move { self.0.remove_by(&id).await.map_err(|error| StoreError(format!("{error:#}"))) }.boxed()
    }
}

/// Has an answer hold what shows that it is not over.
fn holding(reply: Reply, used: Use) -> Reply {
    reply.map(|body| match body {
        Body::Full(whole) => Body::Full(whole),
        Body::Stream(chunks) => Body::Stream(
            chunks
                .map(move |chunk| {
                    let _ = &used;
                    chunk
                })
                .boxed(),
        ),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
