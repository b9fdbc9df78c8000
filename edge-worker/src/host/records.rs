//! What the control plane notes: an object for each collection, which compares what it has with what was read. See `shim.mjs`.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, StatusCode};
use portcullis_core::body::Body;
use portcullis_core::control::StoreError;
use portcullis_core::ports::{RecordKey, RecordStore};
use serde::Serialize;
use wasm_bindgen::JsValue;
use worker::send::{SendFuture, SendWrapper};

use super::glue::object;
use super::objects::ask;
use crate::bindings::Bindings;
use crate::json;

/// The largest page that an object answers, in bytes.
const ANSWER: usize = 16 << 20;
/// What it answers where another record is there than was read.
const ANOTHER: StatusCode = StatusCode::CONFLICT;

/// The objects that keep records.
pub(super) struct Records(SendWrapper<JsValue>);

impl Records {
    pub(super) fn of(bindings: &Bindings) -> Option<Arc<dyn RecordStore>> {
        Some(Arc::new(Self(SendWrapper::new(bindings.objects("RECORDS")?))))
    }

    /// Asks a collection's object; returns its status, and what it says.
    fn ask(
        &self,
        collection: &'static str,
        what: impl Serialize,
    ) -> BoxFuture<'static, Result<(StatusCode, String), StoreError>> {
        let namespace = self.0.clone();
        let body = serde_json::to_string(&what).expect("plain data");
        let run = async move {
            let mut request = Request::new(Body::Full(body.into()));
            *request.method_mut() = http::Method::POST;
            let reply = ask(object(&namespace, collection), request).await.map_err(failed)?;
            let status = reply.status();
            let said = reply.into_body().collect(ANSWER).await.map_err(failed)?;
            Ok((status, String::from_utf8_lossy(&said).into_owned()))
        };
        SendFuture::new(run).boxed()
    }
}

impl RecordStore for Records {
    fn get(
        &self,
        RecordKey { collection, key }: RecordKey,
    ) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        let answer = self.ask(collection, ("get", key));
        answer.map(|answer| json::read(&said(answer)?).map_err(failed)).boxed()
    }

    fn replace(
        &self,
        RecordKey { collection, key }: RecordKey,
        read: Option<String>,
        next: Option<String>,
        until: Option<u64>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let answer = self.ask(collection, ("replace", key, read, next, until));
        let written = answer.map(|answer| match answer? {
            (ANOTHER, _) => Ok(false),
            answer => said(Ok(answer)).map(|_| true),
        });
        written.boxed()
    }

    fn page(
        &self,
        collection: &'static str,
        after: Option<String>,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>> {
        let answer = self.ask(collection, ("page", after, most));
        answer.map(|answer| json::read(&said(answer)?).map_err(failed)).boxed()
    }
}

fn said(answer: Result<(StatusCode, String), StoreError>) -> Result<String, StoreError> {
    match answer? {
        (StatusCode::OK, said) => Ok(said),
        (status, _) => Err(failed(status)),
    }
}

fn failed(why: impl ToString) -> StoreError {
    StoreError(format!("the object of the control plane's records is out of reach: {}", why.to_string()))
}
