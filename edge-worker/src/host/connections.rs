//! Where connections lie: an object for each principal, which keeps what core says.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, StatusCode};
use portcullis_core::body::Body;
use portcullis_core::control::StoreError;
use portcullis_core::oauth::connection::drawer::Shelf;
use portcullis_core::ports::ConnectionStore;
use portcullis_core::{Drawers, Messenger};
use wasm_bindgen::JsValue;
use worker::send::{SendFuture, SendWrapper};

use super::glue::{Storage, object};
use super::objects::ask;
use crate::bindings::Bindings;
use crate::json;

/// The largest answer of an object, in bytes.
const ANSWER: usize = 16 << 20;

/// The way to the objects.
struct Objects(SendWrapper<JsValue>);

/// Returns the connections in the objects.
pub(super) fn of(bindings: &Bindings) -> Option<Arc<dyn ConnectionStore>> {
    let namespace = bindings.objects("CONNECTIONS")?;
    Some(Arc::new(Drawers::new(Objects(SendWrapper::new(namespace)))))
}

impl Messenger for Objects {
    fn bring(&self, drawer: String, errand: String) -> BoxFuture<'static, Result<String, StoreError>> {
        let namespace = self.0.clone();
        let bring = async move {
            let failed = |why: String| StoreError(format!("is out of reach: {why}"));
            let mut request = Request::new(Body::Full(errand.into()));
            *request.method_mut() = Method::POST;
            let reply = ask(object(&namespace, &drawer), request).await;
            let reply = reply.map_err(|error| failed(error.to_string()))?;
            // What an object says under an error's status does not count.
            if reply.status() != StatusCode::OK {
                return Err(failed(reply.status().to_string()));
            }
            let said = reply.into_body().collect(ANSWER).await.map_err(|error| failed(error.to_string()))?;
            Ok(String::from_utf8_lossy(&said).into_owned())
        };
        SendFuture::new(bring).boxed()
    }
}

impl Shelf for Storage {
    fn load(&self, key: &str) -> Option<String> {
        Self::load(self, key)
    }

    fn store(&self, key: &str, text: &str) -> bool {
        Self::store(self, key, text)
    }

    fn remove(&self, key: &str) {
        Self::remove(self, key);
    }

    fn all(&self) -> Vec<(String, String)> {
        json::read(&Self::all(self)).unwrap_or_default()
    }
}
