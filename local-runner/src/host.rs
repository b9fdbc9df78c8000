//! The platform, as the gateway sees it: tokio, and subprocesses; HTTP, clock and randomness are those of every such host.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use portcullis_core::SealKeys;
use portcullis_core::body::Whole;
use portcullis_core::config::Command;
use portcullis_core::control::Asset;
use portcullis_core::error::Unreachable;
use portcullis_core::names::ServerName;
use portcullis_core::oauth::PrivateKey;
use portcullis_core::pipe::PipeEnd;
use portcullis_core::ports::{
    self, AuditQuery, AuditSink, Background, Chunks, Clock, ConfigStore, ConnectionStore, Definitions,
    Entropy, Host, KeyStore, Meetings, NotSigned, Observe, Owners, Quotas, RecordStore, Rendezvous,
    SecretStore, SeedSigned, Signatures, Signed, TokenFamilies, Upstream,
};
use portcullis_core::quota::{Counted, Exhausted, Hold, Tallies};
use portcullis_native::HttpClient;

use crate::approvals::Kept;
use crate::audit::Trail;
use crate::connections::Connections;
use crate::hosting::packages::Packages;
use crate::instances::{Apart, Instances};
use crate::process::Processes;
use crate::secrets::Safe;
use crate::store::Store;

/// This machine, as the gateway sees it.
#[derive(Clone)]
pub(crate) struct Machine {
    http: HttpClient,
    processes: Processes,
    meetings: Meetings,
    tallies: Tallies,
    observer: Option<Arc<dyn Observe>>,
    audit: Option<Arc<dyn AuditSink>>,
    trail: Option<Arc<dyn AuditQuery>>,
    stores: Option<Stores>,
    secrets: Option<Arc<dyn SecretStore>>,
    connections: Option<Arc<dyn ConnectionStore>>,
    definitions: Option<Arc<dyn Definitions>>,
    owners: Option<Arc<dyn Owners>>,
    instances: Option<Arc<dyn ports::Instances>>,
}

/// Where configurations, keys and records lie, and how far token families have come.
#[derive(Clone)]
struct Stores {
    configurations: Arc<dyn ConfigStore>,
    keys: Arc<dyn KeyStore>,
    families: Arc<dyn TokenFamilies>,
    records: Arc<dyn RecordStore>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self {
            http: HttpClient::default(),
            processes: Processes::default(),
            meetings: Meetings::default(),
            tallies: Tallies::default(),
            observer: None,
            audit: None,
            stores: None,
            secrets: None,
            connections: None,
            definitions: None,
            trail: None,
            owners: None,
            instances: None,
        }
    }

    /// Makes the machine whose requests are observed; the observer is made from the processes there are.
    pub(crate) fn observed(observer: impl FnOnce(Processes) -> Arc<dyn Observe>) -> Self {
        let machine = Self::new();
        let observer = observer(machine.processes.clone());
        Self { observer: Some(observer), ..machine }
    }

    /// Makes the same machine with an audit trail, and with a way to read it.
    pub(crate) fn audited(self, audit: &Trail, trail: Arc<dyn AuditQuery>) -> Self {
        let processes = self.processes.recorded(audit.clone());
        Self { audit: Some(Arc::new(audit.clone())), trail: Some(trail), processes, ..self }
    }

    /// Makes the machine of an identity's own gateway: its trail is kept elsewhere, and so are its secrets; its hosted servers are
    /// written down in its own folder, and packages are those that were prepared for all.
    pub(crate) fn apart(
        trail: &Trail,
        secrets: Arc<dyn SecretStore>,
        (own, packages): (&Path, &Path),
    ) -> Self {
        let machine = Self::new().given(secrets);
        let processes = machine.processes.recorded(trail.clone()).noted_in(own);
        let processes = processes.unpacking(Packages::of(packages));
        Self { audit: Some(Arc::new(trail.clone())), processes, ..machine }
    }

    /// Makes the same machine with gateways that are identities' own.
    pub(crate) fn keeping_apart(self, instances: &Arc<Instances>) -> Self {
        let apart = Arc::new(Apart(instances.clone()));
        Self { owners: Some(apart.clone()), instances: Some(apart), ..self }
    }

    /// Makes the same machine with the stores of a data folder.
    pub(crate) fn keeping(self, folder: &Path) -> Self {
        let store = Arc::new(Store::new(folder.to_owned()));
        Self {
            definitions: Some(Arc::new(Kept::new(folder))),
            processes: self.processes.noted_in(folder),
            stores: Some(Stores {
                configurations: store.clone(),
                keys: store.clone(),
                families: store.clone(),
                records: store,
            }),
            ..self
        }
    }

    /// Makes the same machine with the secrets, the connections and the packages of a data folder.
    pub(crate) fn holding(self, folder: &Path, keys: &SealKeys) -> Self {
        let connections: Arc<dyn ConnectionStore> = Arc::new(Connections::new(folder));
        let processes = self.processes.unpacking(Packages::of(folder));
        Self {
            secrets: Some(Arc::new(Safe::new(folder, keys))),
            connections: Some(connections),
            processes,
            ..self
        }
    }

    /// Makes the same machine with these secrets, and no connections.
    pub(crate) fn given(self, secrets: Arc<dyn SecretStore>) -> Self {
        Self { secrets: Some(secrets), ..self }
    }

    /// Ends and removes what gateways have left that are gone, in the background.
    pub(crate) fn sweep_leftovers(&self) {
        self.processes.sweep_leftovers();
    }

    /// Stops every subprocess, and kills those that have not stopped by the deadline.
    pub(crate) async fn stop_processes(&self, deadline: Duration) {
        self.processes.stop_all(deadline).await;
    }
}

impl Clock for Machine {
    fn now(&self) -> u64 {
        portcullis_native::now()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(duration)
    }
}

impl Signatures for Machine {
    async fn verifies(&self, signed: &Signed<'_>) -> bool {
        portcullis_native::verifies(signed)
    }
}

impl Entropy for Machine {
    fn fill(&self, buffer: &mut [u8]) {
        portcullis_native::randomize(buffer);
    }
}

impl Background for Machine {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(work);
    }
}

impl Upstream for Machine {
    async fn fetch(&self, request: http::Request<Whole>) -> Result<http::Response<Chunks>, Unreachable> {
        self.http.fetch(request).await
    }

    async fn launch(
        &self,
        server: &ServerName,
        command: &Command,
        end: PipeEnd,
        longest: usize,
    ) -> Result<(), Unreachable> {
        self.processes.launch(server, command, end, longest).await
    }
}

impl Rendezvous for Machine {
    fn meet(&self, place: u64) -> impl Future<Output = Bytes> + Send {
        self.meetings.meet(place)
    }

    async fn deliver(&self, place: u64, message: Bytes) -> bool {
        self.meetings.deliver(place, message)
    }
}

impl Quotas for Machine {
    async fn take(&self, counted: &[Counted], now: u64) -> Result<Hold, Exhausted> {
        self.tallies.take(counted, now)
    }
}

impl Host for Machine {
    fn assets(&self) -> &'static [Asset] {
        portcullis_console::FILES
    }

    fn configurations(&self) -> Option<&Arc<dyn ConfigStore>> {
        self.stores.as_ref().map(|stores| &stores.configurations)
    }

    fn keys(&self) -> Option<&Arc<dyn KeyStore>> {
        self.stores.as_ref().map(|stores| &stores.keys)
    }

    fn connections(&self) -> Option<&Arc<dyn ConnectionStore>> {
        self.connections.as_ref()
    }

    fn owners(&self) -> Option<&Arc<dyn Owners>> {
        self.owners.as_ref()
    }

    fn instances(&self) -> Option<&Arc<dyn ports::Instances>> {
        self.instances.as_ref()
    }

    fn definitions(&self) -> Option<&Arc<dyn Definitions>> {
        self.definitions.as_ref()
    }

    fn secrets(&self) -> Option<&Arc<dyn SecretStore>> {
        self.secrets.as_ref()
    }

    fn token_families(&self) -> Option<&Arc<dyn TokenFamilies>> {
        self.stores.as_ref().map(|stores| &stores.families)
    }

    fn records(&self) -> Option<&Arc<dyn RecordStore>> {
        self.stores.as_ref().map(|stores| &stores.records)
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
        std::env::var(name).ok()
    }

    fn observer(&self) -> Option<&Arc<dyn Observe>> {
        self.observer.as_ref()
    }

    fn audit(&self) -> Option<&Arc<dyn AuditSink>> {
        self.audit.as_ref()
    }

    fn trail(&self) -> Option<&Arc<dyn AuditQuery>> {
        self.trail.as_ref()
    }
}
