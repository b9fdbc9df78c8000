//! Many instances of one gateway in memory: isolates, the owners they hand requests to, functions, and what all know of
//! servers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{self, BoxFuture};

use super::Memory;
use crate::body::{Body, Reply};
use crate::error::Unreachable;
use crate::gateway::Gateway;
use crate::ports::{CatalogStore, Notebook, Once, Owners, Place};
use crate::sorted::{SortedMap, SortedSet};
use crate::upstream::lock;

/// What an instance is among its fellows.
#[derive(Clone, Default)]
pub(super) struct Role {
    pub(super) place: Place,
    pub(super) owners: Option<Arc<dyn Owners>>,
    pub(super) catalog: Option<Arc<dyn CatalogStore>>,
    pub(super) notebook: Option<Arc<dyn Notebook>>,
    pub(super) once: Option<Arc<dyn Once>>,
}

/// The notes of one owner.
#[derive(Default)]
struct Notes(Mutex<SortedMap<String, (String, u64)>>);

impl Notebook for Notes {
    fn write(&self, key: &str, value: &str, until: u64) {
        lock(&self.0).insert(key.into(), (value.into(), until));
    }

    fn strike(&self, key: &str) {
        lock(&self.0).remove(key);
    }

    fn read(&self) -> Vec<(String, String, u64)> {
        lock(&self.0).iter().map(|(key, (value, until))| (key.clone(), value.clone(), *until)).collect()
    }
}

type Start = Box<dyn Fn(&Memory) -> Gateway<Memory> + Send + Sync>;

/// The instances of one gateway.
#[derive(Clone)]
pub struct Fleet(Arc<Shared>);

struct Shared {
    host: Memory,
    start: Start,
    owners: Mutex<SortedMap<String, Gateway<Memory>>>,
    notebooks: Mutex<SortedMap<String, Arc<Notes>>>,
    /// Brings the catalog up to date.
    upstreams: Mutex<Option<Gateway<Memory>>>,
    published: Mutex<Option<Bytes>>,
    used: Mutex<SortedSet<String>>,
    lost: AtomicBool,
}

impl Fleet {
    /// Makes a fleet whose instances all are started by `start`, on the same virtual machine.
    pub fn new(host: &Memory, start: impl Fn(&Memory) -> Gateway<Memory> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            host: host.clone(),
            start: Box::new(start),
            owners: Mutex::default(),
            notebooks: Mutex::default(),
            upstreams: Mutex::default(),
            published: Mutex::default(),
            used: Mutex::default(),
            lost: AtomicBool::new(false),
        }))
    }

    /// Starts another isolate.
    pub fn isolate(&self) -> Gateway<Memory> {
        self.instance(Place::Isolate, None)
    }

    /// Returns the owner of that name.
    pub fn owner(&self, name: &str) -> Gateway<Memory> {
        let owner = lock(&self.0.owners).get(name).cloned();
        owner.unwrap_or_else(|| {
            let notebook = lock(&self.0.notebooks).entry(name.into()).or_default().clone();
            let gateway = self.instance(Place::Owner, Some(notebook));
            lock(&self.0.owners).insert(name.into(), gateway.clone());
            gateway
        })
    }

    /// Puts all owners away, and whatever they hold but for their notes.
    pub fn put_away(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.0.owners)).into_keys().collect()
    }

    /// Starts an isolate that knows no owners.
    pub fn alone(&self) -> Gateway<Memory> {
        let role = Role { place: Place::Isolate, catalog: Some(Arc::new(self.clone())), ..Role::default() };
        (self.0.start)(&self.0.host.with_role(role))
    }

    /// Starts a function.
    pub fn function(&self) -> Gateway<Memory> {
        let shared = Arc::new(self.clone());
        let (catalog, once) = (Some(shared.clone() as Arc<_>), Some(shared as Arc<_>));
        let role = Role { place: Place::Function, catalog, once, ..Role::default() };
        (self.0.start)(&self.0.host.with_role(role))
    }

    /// Returns the instance that reads servers for all.
    pub fn reader(&self) -> Gateway<Memory> {
        let start =
            || (self.0.start)(&self.0.host.with_role(Role { place: Place::Owner, ..Role::default() }));
        lock(&self.0.upstreams).get_or_insert_with(start).clone()
    }

    /// Puts what is known of servers out of reach, and what was used.
    pub fn lose_catalog(&self) {
        self.0.lost.store(true, Ordering::Relaxed);
    }

    fn instance(&self, place: Place, notebook: Option<Arc<dyn Notebook>>) -> Gateway<Memory> {
        let role = Role {
            place,
            owners: Some(Arc::new(self.clone())),
            catalog: Some(Arc::new(self.clone())),
            notebook,
            once: None,
        };
        (self.0.start)(&self.0.host.with_role(role))
    }
}

impl Owners for Fleet {
    fn hand_over(
        &self,
        owner: String,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, Result<Reply, Unreachable>> {
        let gateway = self.owner(&owner);
        async move { Ok(Box::pin(gateway.serve_handed(request)).await) }.boxed()
    }
}

impl Once for Fleet {
    fn take(&self, stamp: &str, _until: u64) -> BoxFuture<'_, Result<bool, Unreachable>> {
        let is_first = lock(&self.0.used).insert(stamp.to_owned());
        let lost = self.0.lost.load(Ordering::Relaxed);
        let answer = if lost { Err(Unreachable::new("the table", "is out of reach")) } else { Ok(is_first) };
        future::ready(answer).boxed()
    }

    fn give_back(&self, stamp: &str) -> BoxFuture<'_, Result<(), Unreachable>> {
        lock(&self.0.used).remove(stamp);
        future::ready(Ok(())).boxed()
    }
}

impl CatalogStore for Fleet {
    fn published(&self) -> BoxFuture<'static, Option<Bytes>> {
        let lost = self.0.lost.load(Ordering::Relaxed);
        future::ready(lock(&self.0.published).clone().filter(|_| !lost)).boxed()
    }

    fn refresh(&self, changed: Option<&str>) -> BoxFuture<'static, Result<Bytes, Unreachable>> {
        let upstreams = self.reader();
        let (fleet, changed) = (self.clone(), changed.map(str::to_owned));
        async move {
            if fleet.0.lost.load(Ordering::Relaxed) {
                return Err(Unreachable::new("the catalog", "is out of reach"));
            }
            let text = upstreams.catalog(changed.as_deref()).await;
            *lock(&fleet.0.published) = Some(text.clone());
            Ok(text)
        }
        .boxed()
    }
}
