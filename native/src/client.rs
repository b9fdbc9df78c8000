//! The HTTP client. It follows no redirects, and pools connections, but for what strangers have addressed: that goes by
//! connections of its own, each of which is made for one request, to a public address.

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
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use portcullis_core::body::Whole;
use portcullis_core::error::Unreachable;
use portcullis_core::ports::{Chunks, NamedByStranger};

use crate::guard::Guarded;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_mins(1);

type PlainClient = Client<HttpConnector, Full<Whole>>;
type TlsClient<R> = Client<HttpsConnector<HttpConnector<R>>, Full<Whole>>;

/// Sends requests over HTTP and HTTPS. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct HttpClient {
    plain: PlainClient,
    /// Made when first needed: reading the system's certificates takes longer than a whole start.
    secure: Arc<OnceLock<TlsClient<GaiResolver>>>,
    /// For addresses that strangers have named.
    guarded: Arc<OnceLock<TlsClient<Guarded<GaiResolver>>>>,
}

impl Default for HttpClient {
    fn default() -> Self {
        Self {
            plain: pooled().build(connector(GaiResolver::new())),
            secure: Arc::default(),
            guarded: Arc::default(),
        }
    }
}

impl HttpClient {
    /// Sends one request as [`Upstream::fetch`](portcullis_core::ports::Upstream::fetch) asks for.
    pub async fn fetch(&self, request: http::Request<Whole>) -> Result<http::Response<Chunks>, Unreachable> {
        let host = request.uri().authority().cloned();
        let secure = request.uri().scheme() == Some(&http::uri::Scheme::HTTPS);
        let is_strange = request.extensions().get::<NamedByStranger>().is_some();
        let request = request.map(Full::new);
        let response = if is_strange {
            if !host.as_ref().is_some_and(|host| Guarded::<()>::allows(host.host())) {
                return Err(Unreachable::new(
                    host.as_ref().map_or("", Authority::as_str),
                    "is no public address",
                ));
            }
            self.guarded.get_or_init(|| guarded(Guarded::new(GaiResolver::new()))).request(request).await
        } else if secure {
            self.secure
                .get_or_init(|| pooled().build(tls(connector(GaiResolver::new()))))
                .request(request)
                .await
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

fn connector<R>(resolver: R) -> HttpConnector<R> {
    let mut connector = HttpConnector::new_with_resolver(resolver);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.enforce_http(false);
    connector
}

fn pooled() -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
    builder
}

/// Makes a client that keeps no connection: whom a name leads to is looked at each time.
fn guarded<R>(resolver: Guarded<R>) -> TlsClient<Guarded<R>>
where
    HttpsConnector<HttpConnector<Guarded<R>>>: Connect + Clone,
{
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(tls(connector(resolver)))
}

fn tls<R>(connector: HttpConnector<R>) -> HttpsConnector<HttpConnector<R>> {
    let builder = HttpsConnectorBuilder::new();
    let builder = match builder.with_native_roots() {
        Ok(builder) => builder,
        Err(error) => {
            tracing::warn!(%error, "the system has no certificates to trust; using Mozilla's");
            HttpsConnectorBuilder::new().with_webpki_roots()
        }
    };
    builder.https_or_http().enable_http1().wrap_connector(connector)
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::guard::tests::Double;

    const PUBLIC: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    /// Answers whoever connects, and notes to which address.
    async fn listen() -> (u16, Arc<Mutex<Vec<IpAddr>>>) {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let (port, reached) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<_>>>::default());
        let noted = reached.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                noted.lock().unwrap().push(stream.local_addr().unwrap().ip());
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        });
        (port, reached)
    }

    fn asking(url: &str) -> http::Request<Whole> {
        http::Request::get(url).body(Whole::default()).unwrap()
    }

    fn as_stranger(mut request: http::Request<Whole>) -> http::Request<Whole> {
        request.extensions_mut().insert(NamedByStranger);
        request
    }

    #[tokio::test]
    async fn a_name_that_comes_to_lead_inside_is_asked_no_more() {
        let (port, reached) = listen().await;
        let double = Double::answering(&[&["127.0.0.2"], &["127.0.0.1"], &["127.0.0.1", "127.0.0.2"]]);
        let client = guarded(double.guarded(|address| address == PUBLIC));
        let ask = || client.request(asking(&format!("http://app.example:{port}/c")).map(Full::new));
        assert!(ask().await.is_ok());
        let error = innermost(&ask().await.unwrap_err());
        assert_eq!(error, "it leads to no public address, and who named it may not ask there");
        assert!(ask().await.is_ok(), "the other of both is asked");
        assert_eq!(*reached.lock().unwrap(), [PUBLIC, PUBLIC]);
    }

    #[tokio::test]
    async fn who_is_configured_may_be_inside_and_what_a_stranger_names_may_not() {
        let (port, reached) = listen().await;
        let client = HttpClient::default();
        for host in ["localhost", "127.0.0.1", "2130706433", "[::ffff:127.0.0.1]"] {
            let answer = client.fetch(as_stranger(asking(&format!("http://{host}:{port}/")))).await;
            assert!(answer.is_err(), "{host}");
        }
        assert!(reached.lock().unwrap().is_empty(), "nobody was connected to");
        let answer = client.fetch(asking(&format!("http://127.0.0.1:{port}/"))).await;
        assert_eq!(answer.unwrap().status(), 200);
    }
}
