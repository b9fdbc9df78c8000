//! The HTTP client. It follows no redirects, and pools connections.

use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::uri::Authority;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use portcullis_core::body::Whole;
use portcullis_core::error::Unreachable;
use portcullis_core::ports::Chunks;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_mins(1);

type PlainClient = Client<HttpConnector, Full<Whole>>;
type SecureClient = Client<HttpsConnector<HttpConnector>, Full<Whole>>;

/// Sends requests over HTTP and HTTPS. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct HttpClient {
    plain: PlainClient,
    /// Made when first needed: reading the system's certificates takes longer than a whole start.
    secure: Arc<OnceLock<SecureClient>>,
}

impl Default for HttpClient {
    fn default() -> Self {
        Self { plain: client(connector()), secure: Arc::default() }
    }
}

impl HttpClient {
    /// Sends one request as [`Upstream::fetch`](portcullis_core::ports::Upstream::fetch) asks for.
    pub async fn fetch(&self, request: http::Request<Whole>) -> Result<http::Response<Chunks>, Unreachable> {
        let host = request.uri().authority().cloned();
        let secure = request.uri().scheme() == Some(&http::uri::Scheme::HTTPS);
        let request = request.map(Full::new);
        let response = if secure {
            self.secure.get_or_init(https).request(request).await
        } else {
            self.plain.request(request).await
        };
        let response = response.map_err(|error| {
            let failure = unreachable(host.as_ref(), "cannot be reached", &error);
            if error.is_connect() { failure.undelivered().absent() } else { failure }
        })?;
        Ok(response.map(|body| Answer { body, host }.boxed()))
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

fn https() -> SecureClient {
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
