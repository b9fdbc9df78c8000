//! The platform: tokio, the system's clock and randomness, HTTP, subprocesses.

use std::error::Error;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::uri::Authority;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use portcullis_core::SealKeys;
use portcullis_core::body::Whole;
use portcullis_core::config::Command;
use portcullis_core::error::Unreachable;
use portcullis_core::names::ServerName;
use portcullis_core::pipe::PipeEnd;
use portcullis_core::ports::{
    AuditQuery, AuditSink, Background, Chunks, Clock, ConfigStore, Entropy, Host, KeyStore, Meetings,
    Observe, Quotas, Rendezvous, SecretStore, Upstream,
};
use portcullis_core::quota::{Counted, Exhausted, Hold, Tallies};

use crate::process::Processes;
use crate::secrets::Safe;
use crate::store::Store;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_mins(1);

type HttpClient = Client<HttpConnector, Full<Whole>>;
type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Whole>>;

/// This machine, as the gateway sees it.
#[derive(Clone)]
pub(crate) struct Machine {
    http: HttpClient,
    /// Made when first needed: reading the system's certificates takes longer than a whole start.
    https: Arc<OnceLock<HttpsClient>>,
    processes: Processes,
    meetings: Meetings,
    tallies: Tallies,
    observer: Option<Arc<dyn Observe>>,
    audit: Option<Arc<dyn AuditSink>>,
    trail: Option<Arc<dyn AuditQuery>>,
    stores: Option<Stores>,
    secrets: Option<Arc<dyn SecretStore>>,
}

/// Where configurations and keys lie.
#[derive(Clone)]
struct Stores {
    configurations: Arc<dyn ConfigStore>,
    keys: Arc<dyn KeyStore>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self {
            http: client(connector()),
            https: Arc::default(),
            processes: Processes::default(),
            meetings: Meetings::default(),
            tallies: Tallies::default(),
            observer: None,
            audit: None,
            stores: None,
            secrets: None,
            trail: None,
        }
    }

    /// Makes the machine whose requests are observed; the observer is made from the processes there are.
    pub(crate) fn observed(observer: impl FnOnce(Processes) -> Arc<dyn Observe>) -> Self {
        let machine = Self::new();
        let observer = observer(machine.processes.clone());
        Self { observer: Some(observer), ..machine }
    }

    /// Makes the same machine with an audit trail, and with a way to read it.
    pub(crate) fn audited(self, audit: Arc<dyn AuditSink>, trail: Arc<dyn AuditQuery>) -> Self {
        Self { audit: Some(audit), trail: Some(trail), ..self }
    }

    /// Makes the same machine with the stores of a data folder.
    pub(crate) fn keeping(self, folder: &Path) -> Self {
        let store = Arc::new(Store::new(folder.to_owned()));
        Self { stores: Some(Stores { configurations: store.clone(), keys: store }), ..self }
    }

    /// Makes the same machine with the secrets of a data folder.
    pub(crate) fn holding(self, folder: &Path, keys: &SealKeys) -> Self {
        Self { secrets: Some(Arc::new(Safe::new(folder, keys))), ..self }
    }

    /// Stops every subprocess, and kills those that have not stopped by the deadline.
    pub(crate) async fn stop_processes(&self, deadline: Duration) {
        self.processes.stop_all(deadline).await;
    }
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.enforce_http(false);
    connector
}

fn client<C>(connector: C) -> Client<C, Full<Whole>>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .build(connector)
}

fn https() -> HttpsClient {
    let builder = HttpsConnectorBuilder::new();
    let builder = match builder.with_native_roots() {
        Ok(builder) => builder,
        Err(error) => {
            tracing::warn!(%error, "the system has no certificates to trust; using Mozilla's");
            HttpsConnectorBuilder::new().with_webpki_roots()
        }
    };
    client(builder.https_or_http().enable_http1().wrap_connector(connector()))
}

/// Returns milliseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Clock for Machine {
    fn now(&self) -> u64 {
        now()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(duration)
    }
}

impl Entropy for Machine {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the system has randomness");
    }
}

impl Background for Machine {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(work);
    }
}

impl Upstream for Machine {
    async fn fetch(&self, request: http::Request<Whole>) -> Result<http::Response<Chunks>, Unreachable> {
        let host = request.uri().authority().cloned();
        let secure = request.uri().scheme() == Some(&http::uri::Scheme::HTTPS);
        let request = request.map(Full::new);
        let response = if secure {
            self.https.get_or_init(https).request(request).await
        } else {
            self.http.request(request).await
        };
        let response = response.map_err(|error| {
            let failure = unreachable(host.as_ref(), "cannot be reached", &error);
            if error.is_connect() { failure.undelivered().absent() } else { failure }
        })?;
        Ok(response.map(|body| Answer { body, host }.boxed()))
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
    fn configurations(&self) -> Option<&Arc<dyn ConfigStore>> {
        self.stores.as_ref().map(|stores| &stores.configurations)
    }

    fn keys(&self) -> Option<&Arc<dyn KeyStore>> {
        self.stores.as_ref().map(|stores| &stores.keys)
    }

    fn secrets(&self) -> Option<&Arc<dyn SecretStore>> {
        self.secrets.as_ref()
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

/// The body of a server's answer.
struct Answer {
    body: Incoming,
    host: Option<Authority>,
}

impl Stream for Answer {
    type Item = Result<Bytes, Unreachable>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let item = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Ok(data),
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => Err(unreachable(self.host.as_ref(), "broke off its answer", &error)),
            };
            return Poll::Ready(Some(item));
        }
    }
}

fn unreachable(host: Option<&Authority>, what: &str, error: &(dyn Error + 'static)) -> Unreachable {
    Unreachable::new(host.map_or("", Authority::as_str), format!("{what}: {}", innermost(error)))
}

/// Returns what an error says at its root, where the useful words are.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
