//! What instances of this gateway ask of each other: to take a request over, and for the catalog.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::{CONTENT_LENGTH, HOST};
use http::{Method, Request, StatusCode, Uri};
use portcullis_core::body::{Body, Reply, Whole};
use portcullis_core::error::Unreachable;
use portcullis_core::ports::{CatalogStore, Owners};
use wasm_bindgen::JsValue;
use worker::send::{SendFuture, SendWrapper};

use super::answer::reason;
use super::configurations::read_all;
use super::glue::{object, put_text};
use super::sent::send;
use super::streams::open;
use super::told::settled;
use crate::bindings::Bindings;

/// The catalog's key in the store.
pub(crate) const CATALOG: &str = "catalog";
/// The key of when a server was read last for the catalog: short, and read beside what is looked at from time to time.
pub(crate) const EDITION: &str = "catalog/edition";
/// The name of the one object that reads servers.
const READER: &str = "all";
/// The largest answer of another instance that is read at once, and the largest request that is handed over.
const WHOLE: usize = 64 << 20;

/// The objects that hold conversations, or are identities' own gateways.
pub(super) struct Conversations(SendWrapper<JsValue>);

impl Conversations {
    /// Returns those of that binding.
    pub(super) fn of(bindings: &Bindings, name: &str) -> Option<Arc<dyn Owners>> {
        let namespace = bindings.objects(name)?;
        Some(Arc::new(Self(SendWrapper::new(namespace))))
    }
}

impl Owners for Conversations {
    fn hand_over(
        &self,
        owner: String,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Reply, Unreachable>> {
        let namespace = self.0.clone();
        SendFuture::new(async move { ask(object(&namespace, &owner), request).await }).boxed()
    }

    fn open_stream(
        &self,
        owner: String,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Reply, Unreachable>> {
        let namespace = self.0.clone();
        SendFuture::new(async move { open(object(&namespace, &owner), request).await }).boxed()
    }
}

/// Puts a request to an object. What it answers whole is whole here.
pub(super) async fn ask(to: JsValue, request: Request<Body>) -> Result<Reply, Unreachable> {
    let (mut head, body) = request.into_parts();
    let body = body.collect(WHOLE).await.map_err(|error| Unreachable::new("the owner", error.to_string()))?;
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("portcullis");
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = format!("https://{host}{path}").parse::<Uri>();
    head.uri = uri.map_err(|error| Unreachable::new("the owner", error.to_string()))?;
    let answered = send(to, Request::from_parts(head, Whole::from(body))).await?;
    let (mut head, chunks) = answered.into_parts();
    let body = if head.headers.remove(CONTENT_LENGTH).is_some() {
        let whole = Body::Stream(chunks).collect(WHOLE).await;
        Body::Full(whole.map_err(|error| Unreachable::new("the owner", error.to_string()))?.into())
    } else {
        Body::Stream(chunks)
    };
    Ok(Reply::from_parts(head, body))
}

/// The catalog in the store, and the object that brings it up to date.
pub(super) struct Catalog(SendWrapper<Bindings>);

impl Catalog {
    pub(super) fn of(bindings: &Bindings) -> Option<Arc<dyn CatalogStore>> {
        bindings.objects("UPSTREAMS")?;
        Some(Arc::new(Self(SendWrapper::new(bindings.clone()))))
    }
}

impl CatalogStore for Catalog {
    fn published(&self) -> BoxFuture<'static, Option<Bytes>> {
        let bindings = self.0.clone();
        let published = async move {
            let found = read_all(&bindings.store()?, &[CATALOG]).await.ok()?;
            found.into_iter().next().flatten().map(|(text, _)| Bytes::from(text))
        };
        SendFuture::new(published).boxed()
    }

    fn refresh(&self, changed: Option<&str>) -> BoxFuture<'static, Result<Bytes, Unreachable>> {
        let (bindings, changed) = (self.0.clone(), changed.unwrap_or_default().to_owned());
        let refresh = async move {
            let failed = |why: String| Unreachable::new("the catalog", why);
            let namespace = bindings.objects("UPSTREAMS").ok_or_else(|| failed("has no object".into()))?;
            let mut request = Request::new(Body::Full(changed.into()));
            *request.method_mut() = Method::POST;
            let reply = ask(object(&namespace, READER), request).await?;
            let status = reply.status();
            let text = reply.into_body().collect(WHOLE).await.map_err(|error| failed(error.to_string()))?;
            match status {
                StatusCode::OK => Ok(text),
                _ => Err(failed(format!("cannot be read: {}", String::from_utf8_lossy(&text)))),
            }
        };
        SendFuture::new(refresh).boxed()
    }
}

/// Publishes the catalog for all instances. Where there is no store, each asks the object.
/// Returns whether that is done.
pub(crate) async fn publish(bindings: &Bindings, catalog: &Bytes, edition: u64) -> bool {
    let Some(store) = bindings.store() else { return true };
    let text = String::from_utf8_lossy(catalog);
    let edition = edition.to_string();
    for (name, text) in [(CATALOG, &*text), (EDITION, &edition)] {
        if let Err(error) = settled(&put_text(&store, name, text, None)).await {
            tracing::warn!(error = reason(&error), "the catalog cannot be published");
            return false;
        }
    }
    true
}
