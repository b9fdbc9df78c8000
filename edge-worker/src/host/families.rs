//! How far families of tokens have come: an object for each, which compares what it has with what was read. See `shim.mjs`.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, StatusCode};
use portcullis_core::body::Body;
use portcullis_core::control::StoreError;
use portcullis_core::ports::TokenFamilies;
use wasm_bindgen::JsValue;
use worker::send::{SendFuture, SendWrapper};

use super::glue::object;
use super::objects::ask;
use crate::bindings::Bindings;
use crate::json;

/// The largest that an object answers, in bytes.
const ANSWER: usize = 4096;
/// What it answers a note whose condition does not hold.
const ANOTHER: StatusCode = StatusCode::CONFLICT;

/// The objects that note.
pub(super) struct Families(SendWrapper<JsValue>);

impl Families {
    pub(super) fn of(bindings: &Bindings) -> Option<Arc<dyn TokenFamilies>> {
        Some(Arc::new(Self(SendWrapper::new(bindings.objects("FAMILIES")?))))
    }

    /// Puts a request to a family's object; returns its status, and what it says.
    fn put(
        &self,
        family: String,
        method: Method,
        body: String,
    ) -> BoxFuture<'static, Result<(StatusCode, String), StoreError>> {
        let namespace = self.0.clone();
        let run = async move {
            let mut request = Request::new(Body::Full(body.into()));
            *request.method_mut() = method;
            let reply = ask(object(&namespace, &family), request).await.map_err(failed)?;
            let status = reply.status();
            let said = reply.into_body().collect(ANSWER).await.map_err(failed)?;
            Ok((status, String::from_utf8_lossy(&said).into_owned()))
        };
        SendFuture::new(run).boxed()
    }
}

impl TokenFamilies for Families {
    fn noted(&self, family: String) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        let answer = self.put(family, Method::GET, String::new());
        let read = answer.map(|answer| match answer? {
            (StatusCode::OK, said) => json::read(&said).map_err(failed),
            (status, _) => Err(failed(status)),
        });
        read.boxed()
    }

    fn note(
        &self,
        family: String,
        read: Option<String>,
        next: String,
        until: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let note = serde_json::to_string(&(read, next, until)).expect("plain data");
        let answer = self.put(family, Method::POST, note);
        let written = answer.map(|answer| match answer?.0 {
            StatusCode::OK => Ok(true),
            ANOTHER => Ok(false),
            status => Err(failed(status)),
        });
        written.boxed()
    }
}

fn failed(why: impl ToString) -> StoreError {
    StoreError(format!("the family's object is out of reach: {}", why.to_string()))
}
