//! The ports of core, on a Worker.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{self, BoxFuture, Either, LocalBoxFuture};
use js_sys::Uint8Array;
use portcullis_core::body::Whole;
use portcullis_core::config::{Audit, Command};
use portcullis_core::control::{Revision, StoreError};
use portcullis_core::error::Unreachable;
use portcullis_core::names::ServerName;
use portcullis_core::oauth::{Algorithm, PrivateKey, SigningAlgorithm};
use portcullis_core::pipe::PipeEnd;
use portcullis_core::ports::{
    AuditQuery, AuditSink, Background, CatalogStore, Chunks, Clock, ConfigStore, ConnectionStore, Entropy,
    Host, KeyStore, Meetings, NotSigned, Notebook, Owners, Place, Quotas, Rendezvous, SecretStore,
    Signatures, Signed, TokenFamilies, Upstream,
};
use portcullis_core::quota::{Counted, Exhausted, Hold, Tallies};
use wasm_bindgen::JsValue;
use worker::send::{SendFuture, SendWrapper};

use super::audit::{Reader, Sink};
use super::configurations::Configurations;
use super::connections;
use super::counts::Counts;
use super::event::{Event, now};
use super::families::Families;
use super::glue::{randomize, signs, verifies};
#[cfg(feature = "control")]
use super::instances::Identities;
use super::notebook::Notes;
use super::objects::{Catalog, Conversations};
#[cfg(feature = "control")]
use super::records::Records;
use super::secrets;
use super::sent::send;
use super::told::settled;
use crate::bindings::Bindings;

/// How long work may go on in an isolate after the answer: the platform ends it after 30 seconds.
const AFTERWARDS: Duration = Duration::from_secs(25);

/// The largest message that is held whole, in bytes: an isolate has 128 MiB, and holds it in several forms.
const LARGEST: usize = 16 << 20;

/// The object that keeps configurations and keys, as each of what it is.
#[derive(Clone)]
struct Stores {
    object: Arc<Configurations>,
    configurations: Arc<dyn ConfigStore>,
    keys: Arc<dyn KeyStore>,
}

impl Stores {
    fn new(object: Arc<Configurations>) -> Self {
        Self { configurations: object.clone(), keys: object.clone(), object }
    }
}

/// A Worker, as the gateway sees it.
#[derive(Clone, Default)]
pub(crate) struct Edge {
    place: Place,
    owners: Option<Arc<dyn Owners>>,
    identities: Option<Arc<dyn Owners>>,
    #[cfg(feature = "control")]
    instances: Option<Arc<dyn portcullis_core::ports::Instances>>,
    catalog: Option<Arc<dyn CatalogStore>>,
    notebook: Option<Arc<dyn Notebook>>,
    sink: Option<Sink>,
    audit: Option<Arc<dyn AuditSink>>,
    trail: Option<Arc<dyn AuditQuery>>,
    stores: Option<Stores>,
    variables: Option<SendWrapper<Bindings>>,
    secrets: Option<Arc<dyn SecretStore>>,
    families: Option<Arc<dyn TokenFamilies>>,
    #[cfg(feature = "control")]
    records: Option<Arc<dyn portcullis_core::ports::RecordStore>>,
    connections: Option<Arc<dyn ConnectionStore>>,
    meetings: Meetings,
    counts: Option<Counts>,
    /// Where no objects count: what comes to this instance is counted here.
    tallies: Tallies,
}

impl Edge {
    /// The isolate in which a Worker answers: any request may come to it.
    pub(crate) fn isolate(bindings: &Bindings) -> Self {
        Self {
            owners: Conversations::of(bindings, "CONVERSATIONS"),
            identities: Conversations::of(bindings, "IDENTITIES"),
            ..Self::object(Place::Isolate, bindings)
        }
    }

    /// An object that holds conversations.
    pub(crate) fn owner(bindings: &Bindings, notes: &Notes) -> Self {
        Self { notebook: Some(notes.shared()), ..Self::object(Place::Owner, bindings) }
    }

    /// The object that reads servers for all.
    pub(crate) fn reader(bindings: &Bindings) -> Self {
        Self { catalog: None, ..Self::object(Place::Owner, bindings) }
    }

    fn object(place: Place, bindings: &Bindings) -> Self {
        let sink = Sink::of(bindings);
        Self {
            place,
            catalog: Catalog::of(bindings),
            counts: Counts::of(bindings),
            audit: Some(Arc::new(sink.clone())),
            trail: Some(Reader::of(&sink)),
            sink: Some(sink),
            stores: Configurations::of(bindings).map(Stores::new),
            variables: Some(SendWrapper::new(bindings.clone())),
            secrets: Some(secrets::of(bindings)),
            families: Families::of(bindings),
            #[cfg(feature = "control")]
            records: Records::of(bindings),
            #[cfg(feature = "control")]
            instances: Identities::of(bindings),
            connections: connections::of(bindings),
            ..Self::default()
        }
    }

    /// Puts the audit trail's settings in force.
    pub(crate) fn configure(&self, audit: &Audit) {
        if let Some(sink) = &self.sink {
            sink.configure(audit);
        }
    }

    /// Tells whether audit entries wait that were to be sent before.
    pub(crate) fn lags(&self) -> bool {
        self.sink.as_ref().is_some_and(Sink::lags)
    }

    /// Sends the audit entries that wait.
    pub(crate) async fn flush(&self) {
        if let Some(sink) = &self.sink {
            sink.flush().await;
        }
    }

    /// Returns the newest configuration.
    pub(crate) async fn newest(&self) -> Result<Option<Revision>, StoreError> {
        match &self.stores {
            Some(stores) => stores.configurations.newest().await,
            None => Ok(None),
        }
    }

    /// Makes a version of a configuration that was put into the store by other means.
    pub(crate) async fn import(&self, text: String) -> Result<Revision, StoreError> {
        let none = || StoreError("there is no object that keeps configurations".into());
        self.stores.as_ref().ok_or_else(none)?.object.import(text, self.now()).await
    }

    /// Does work that is given up a while after the answer.
    fn bound(&self, event: &Event, work: LocalBoxFuture<'static, ()>) {
        // Given up in time, so that it lets go of what it holds: what the platform ends is never run again.
        let (answered, host) = (event.clone(), self.clone());
        event.spawn(async move {
            let over = pin!(async {
                answered.answered().await;
                host.sleep(AFTERWARDS).await;
            });
            if let Either::Right(_) = future::select(work, over).await {
                tracing::warn!("work after an answer takes too long and is given up");
            }
        });
    }
}

impl Clock for Edge {
    fn now(&self) -> u64 {
        now()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        SendFuture::new(Event::sleep(duration))
    }
}

impl Signatures for Edge {
    async fn verifies(&self, signed: &Signed<'_>) -> bool {
        // WebCrypto reads keys as they come (RFC 7517), and names algorithms in its own words.
        let algorithm = match signed.key.algorithm() {
            Algorithm::Rs256 => r#"{"name":"RSASSA-PKCS1-v1_5","hash":"SHA-256"}"#,
            Algorithm::Es256 => r#"{"name":"ECDSA","namedCurve":"P-256","hash":"SHA-256"}"#,
            Algorithm::EdDsa => r#"{"name":"Ed25519"}"#,
        };
        let (message, signature) = (signed.message.to_vec(), signed.signature.to_vec());
        let verified = verifies(&signed.key.to_jwk(), algorithm, message, signature);
        SendFuture::new(settled(&verified)).await.is_ok_and(|verified| verified.is_truthy())
    }
}

impl Entropy for Edge {
    fn fill(&self, buffer: &mut [u8]) {
        randomize(buffer);
    }
}

impl Background for Edge {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Some(event) = Event::current() else {
            return tracing::error!("work was begun outside any event and is left undone");
        };
        let work = work.boxed_local();
        if self.place != Place::Isolate {
            return event.begin(work);
        }
        self.bound(&event, work);
    }
}

impl Upstream for Edge {
    fn fetch(
        &self,
        request: http::Request<Whole>,
    ) -> impl Future<Output = Result<http::Response<Chunks>, Unreachable>> + Send {
        SendFuture::new(send(JsValue::UNDEFINED, request))
    }

    async fn launch(
        &self,
        server: &ServerName,
        _command: &Command,
        _end: PipeEnd,
        _longest: usize,
    ) -> Result<(), Unreachable> {
        let why = "is a program, and no programs can be started on Cloudflare; run it with `portcullis serve` on a \
                   machine of yours, and name that gateway's URL here";
        Err(Unreachable::new(server.to_string(), why).undelivered())
    }
}

impl Rendezvous for Edge {
    fn meet(&self, place: u64) -> impl Future<Output = Bytes> + Send {
        self.meetings.meet(place)
    }

    async fn deliver(&self, place: u64, message: Bytes) -> bool {
        self.meetings.deliver(place, message)
    }
}

impl Quotas for Edge {
    async fn take(&self, counted: &[Counted], now: u64) -> Result<Hold, Exhausted> {
        match &self.counts {
            Some(counts) => SendFuture::new(counts.take(counted, now)).await,
            None => self.tallies.take(counted, now),
        }
    }
}

impl Host for Edge {
    fn audit(&self) -> Option<&Arc<dyn AuditSink>> {
        self.audit.as_ref()
    }

    fn trail(&self) -> Option<&Arc<dyn AuditQuery>> {
        self.trail.as_ref()
    }

    fn configurations(&self) -> Option<&Arc<dyn ConfigStore>> {
        self.stores.as_ref().map(|stores| &stores.configurations)
    }

    fn keys(&self) -> Option<&Arc<dyn KeyStore>> {
        self.stores.as_ref().map(|stores| &stores.keys)
    }

    fn secrets(&self) -> Option<&Arc<dyn SecretStore>> {
        self.secrets.as_ref()
    }

    #[cfg(feature = "control")]
    fn assets(&self) -> &'static [portcullis_core::control::Asset] {
        portcullis_console::FILES
    }

    #[cfg(feature = "control")]
    fn records(&self) -> Option<&Arc<dyn portcullis_core::ports::RecordStore>> {
        self.records.as_ref()
    }

    fn token_families(&self) -> Option<&Arc<dyn TokenFamilies>> {
        self.families.as_ref()
    }

    fn sign(&self, key: PrivateKey, message: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, NotSigned>> {
        // WebCrypto names algorithms in its own words.
        let algorithm = match key.algorithm() {
            SigningAlgorithm::Rs256 => r#"{"name":"RSASSA-PKCS1-v1_5","hash":"SHA-256"}"#,
            SigningAlgorithm::Es256 => r#"{"name":"ECDSA","namedCurve":"P-256","hash":"SHA-256"}"#,
        };
        let signing = async move {
            let signature = settled(&signs(key.reveal().to_vec(), algorithm, message)).await;
            signature.map(|bytes| Uint8Array::new(&bytes).to_vec()).map_err(|_| NotSigned::Key)
        };
        Box::pin(SendFuture::new(signing))
    }

    #[cfg(feature = "control")]
    fn sign_with_seed(
        &self,
        seed: [u8; 32],
        message: Vec<u8>,
    ) -> BoxFuture<'_, Result<portcullis_core::ports::SeedSigned, NotSigned>> {
        Box::pin(SendFuture::new(super::seed::sign(seed, message)))
    }

    fn connections(&self) -> Option<&Arc<dyn ConnectionStore>> {
        self.connections.as_ref()
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.as_ref()?.variable(name)
    }

    fn starts_processes(&self) -> bool {
        false
    }

    fn largest_message(&self) -> usize {
        LARGEST
    }

    fn lacks(&self) -> Vec<(&'static str, &'static str)> {
        self.variables.as_ref().map_or_else(Vec::new, |bindings| bindings.missing())
    }

    fn place(&self) -> Place {
        self.place
    }

    fn owners(&self) -> Option<&Arc<dyn Owners>> {
        self.owners.as_ref()
    }

    fn identities(&self) -> Option<&Arc<dyn Owners>> {
        self.identities.as_ref()
    }

    #[cfg(feature = "control")]
    fn instances(&self) -> Option<&Arc<dyn portcullis_core::ports::Instances>> {
        self.instances.as_ref()
    }

    fn notebook(&self) -> Option<&Arc<dyn Notebook>> {
        self.notebook.as_ref()
    }

    fn catalog(&self) -> Option<&Arc<dyn CatalogStore>> {
        self.catalog.as_ref()
    }
}
