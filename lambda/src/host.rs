//! The ports of core, in an execution environment of Lambda.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use portcullis_core::Gateway;
use portcullis_core::body::Whole;
use portcullis_core::config::Command;
use portcullis_core::control::Asset;
use portcullis_core::error::Unreachable;
use portcullis_core::names::ServerName;
use portcullis_core::oauth::PrivateKey;
use portcullis_core::pipe::PipeEnd;
use portcullis_core::ports::{
    AuditQuery, AuditSink, Background, CatalogStore, Chunks, Clock, ConfigStore, ConnectionStore, Entropy,
    Host, KeyStore, KeyWrap, Meetings, NotSigned, Once, Place, Quotas, RecordStore, Rendezvous, SecretStore,
    SeedSigned, Signatures, Signed, TokenFamilies, Upstream,
};
use portcullis_core::quota::{Counted, Exhausted, Hold, Tallies};
use portcullis_native::HttpClient;

use crate::settings;
use crate::table::trail::Sink;
use crate::tenancy::Tenancy;
use crate::underway::Underway;

/// Where requests are counted for all environments: [`Quotas`], as an object.
pub(crate) trait Counts: Send + Sync {
    /// Takes as [`Quotas::take`] does.
    fn take<'a>(&'a self, counted: &'a [Counted], now: u64) -> BoxFuture<'a, Result<Hold, Exhausted>>;
}

/// What all environments share, each as far as there is a place for it.
#[derive(Clone, Default)]
pub(crate) struct Stores {
    /// Versions of the configuration.
    pub(crate) configurations: Option<Arc<dyn ConfigStore>>,
    /// API keys.
    pub(crate) keys: Option<Arc<dyn KeyStore>>,
    /// Counts of requests; without a place for them each environment counts its own.
    pub(crate) counts: Option<Arc<dyn Counts>>,
    /// What is known of servers.
    pub(crate) catalog: Option<Arc<dyn CatalogStore>>,
    /// What was used and may not be used again.
    pub(crate) once: Option<Arc<dyn Once>>,
    /// How far families of tokens have come.
    pub(crate) families: Option<Arc<dyn TokenFamilies>>,
    /// What the control plane notes.
    pub(crate) records: Option<Arc<dyn RecordStore>>,
    /// Where the audit trail goes.
    pub(crate) audit: Option<Arc<dyn AuditSink>>,
    /// Where it is read.
    pub(crate) trail: Option<Arc<dyn AuditQuery>>,
    /// What writes it, after an answer.
    pub(crate) sink: Option<Sink>,
    /// The servers' secrets.
    pub(crate) secrets: Option<Arc<dyn SecretStore>>,
    /// What users have at servers.
    pub(crate) connections: Option<Arc<dyn ConnectionStore>>,
    /// What wraps the keys that those are sealed under; without it the gateway's seal keys do.
    pub(crate) key_wrap: Option<Arc<dyn KeyWrap>>,
}

/// An execution environment, as the gateway sees it.
#[derive(Clone)]
pub(crate) struct Function {
    http: HttpClient,
    stores: Stores,
    underway: Underway,
    meetings: Meetings,
    tallies: Tallies,
    reading: Reading,
    tenancy: Tenancy,
}

impl Function {
    /// Makes the environment with what it shares with others.
    pub(crate) fn new(http: HttpClient, stores: Stores, reading: Reading, underway: Underway) -> Self {
        let (meetings, tallies) = (Meetings::default(), Tallies::default());
        Self { http, stores, underway, meetings, tallies, reading, tenancy: Tenancy::default() }
    }

    /// Returns whose it is.
    pub(crate) fn tenancy(&self) -> &Tenancy {
        &self.tenancy
    }

    /// Returns what is shared.
    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Returns what has servers read.
    pub(crate) fn reading(&self) -> &Reading {
        &self.reading
    }
}

/// Has all servers read, for whoever keeps what all environments know of them: the store is made before the gateway
/// that reads.
#[derive(Clone, Default)]
pub(crate) struct Reading(Arc<OnceLock<Gateway<Function>>>);

impl Reading {
    /// Names the gateway that reads.
    pub(crate) fn by(&self, gateway: Gateway<Function>) {
        // There is one gateway in an environment.
        let _ = self.0.set(gateway);
    }

    /// Reads the servers of which too little is known, and the one that has changed; returns what is known of all, as
    /// [`CatalogStore`] publishes it; nothing while there is no gateway.
    pub(crate) async fn catalog(&self, changed: Option<&str>) -> Option<Bytes> {
        match self.0.get() {
            Some(gateway) => Some(gateway.catalog(changed).await),
            None => None,
        }
    }
}

impl Clock for Function {
    fn now(&self) -> u64 {
        portcullis_native::now()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(duration)
    }
}

impl Signatures for Function {
    async fn verifies(&self, signed: &Signed<'_>) -> bool {
        portcullis_native::verifies(signed)
    }
}

impl Entropy for Function {
    fn fill(&self, buffer: &mut [u8]) {
        portcullis_native::randomize(buffer);
    }
}

impl Background for Function {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.underway.spawn(work);
    }

    fn spawn_lasting(&self, work: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(work);
    }
}

impl Upstream for Function {
    async fn fetch(&self, request: http::Request<Whole>) -> Result<http::Response<Chunks>, Unreachable> {
        self.http.fetch(request).await
    }

    async fn launch(
        &self,
        server: &ServerName,
        _command: &Command,
        _end: PipeEnd,
        _longest: usize,
    ) -> Result<(), Unreachable> {
        let why = "is a program, and a function starts none; run it with `portcullis serve` on a machine of yours, and \
                   name that gateway's URL here";
        Err(Unreachable::new(server.to_string(), why).undelivered())
    }
}

impl Rendezvous for Function {
    fn meet(&self, place: u64) -> impl Future<Output = Bytes> + Send {
        self.meetings.meet(place)
    }

    async fn deliver(&self, place: u64, message: Bytes) -> bool {
        self.meetings.deliver(place, message)
    }
}

impl Quotas for Function {
    async fn take(&self, counted: &[Counted], now: u64) -> Result<Hold, Exhausted> {
        match &self.stores.counts {
            Some(counts) => counts.take(counted, now).await,
            None => self.tallies.take(counted, now),
        }
    }
}

impl Host for Function {
    fn assets(&self) -> &'static [Asset] {
        portcullis_console::FILES
    }

    fn configurations(&self) -> Option<&Arc<dyn ConfigStore>> {
        self.stores.configurations.as_ref()
    }

    fn keys(&self) -> Option<&Arc<dyn KeyStore>> {
        self.stores.keys.as_ref()
    }

    fn connections(&self) -> Option<&Arc<dyn ConnectionStore>> {
        self.stores.connections.as_ref()
    }

    fn key_wrap(&self) -> Option<&Arc<dyn KeyWrap>> {
        self.stores.key_wrap.as_ref()
    }

    fn secrets(&self) -> Option<&Arc<dyn SecretStore>> {
        self.stores.secrets.as_ref()
    }

    fn sign(&self, key: PrivateKey, message: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, NotSigned>> {
        Box::pin(std::future::ready(portcullis_native::sign(&key, &message)))
    }

    fn sign_with_seed(
        &self,
        seed: [u8; 32],
        message: Vec<u8>,
    ) -> BoxFuture<'_, Result<SeedSigned, NotSigned>> {
        Box::pin(std::future::ready(portcullis_native::sign_with_seed(&seed, &message)))
    }

    fn variable(&self, name: &str) -> Option<String> {
        settings::variable(name)
    }

    fn starts_processes(&self) -> bool {
        false
    }

    fn audit(&self) -> Option<&Arc<dyn AuditSink>> {
        self.stores.audit.as_ref()
    }

    fn trail(&self) -> Option<&Arc<dyn AuditQuery>> {
        self.stores.trail.as_ref()
    }

    fn place(&self) -> Place {
        Place::Function
    }

    fn is_owned_by(&self, owner: &str) -> Result<(), &'static str> {
        self.tenancy.is_owned_by(owner)
    }

    fn once(&self) -> Option<&Arc<dyn Once>> {
        self.stores.once.as_ref()
    }

    fn token_families(&self) -> Option<&Arc<dyn TokenFamilies>> {
        self.stores.families.as_ref()
    }

    fn records(&self) -> Option<&Arc<dyn RecordStore>> {
        self.stores.records.as_ref()
    }

    fn catalog(&self) -> Option<&Arc<dyn CatalogStore>> {
        self.stores.catalog.as_ref()
    }
}
