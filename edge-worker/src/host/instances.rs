//! The gateways that are identities' own, for whoever governs: each is an object, and writes itself down when it is first asked.
//! See `shim.mjs`.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{self, BoxFuture};
use http::{Method, Request, StatusCode, Uri};
use portcullis_core::body::Body;
use portcullis_core::control::StoreError;
use portcullis_core::ports::{InstanceRecord, Instances, RecordKey, RecordStore};
use serde::Deserialize;
use wasm_bindgen::JsValue;
use worker::send::{SendFuture, SendWrapper};

use super::glue::object;
use super::objects::ask;
use super::records::Records;
use crate::bindings::Bindings;
use crate::json;

/// The collection in which they are written down, by their ids.
const COLLECTION: &str = "instances";
/// How many are read, and asked, at a time.
const PAGE: usize = 100;
/// The largest answer about one, in bytes.
const ANSWER: usize = 4096;

/// The objects, and the list of them.
pub(super) struct Identities {
    objects: SendWrapper<JsValue>,
    records: Arc<dyn RecordStore>,
}

/// What is written down of one.
#[derive(Deserialize)]
struct Written {
    principal: String,
    made: u64,
}

/// Whether one is in memory, when it was asked last since, and how many requests it answers.
type State = (bool, Option<u64>, usize);

impl Identities {
    pub(super) fn of(bindings: &Bindings) -> Option<Arc<dyn Instances>> {
        let objects = SendWrapper::new(bindings.objects("IDENTITIES")?);
        Some(Arc::new(Self { objects, records: Records::of(bindings)? }))
    }

    /// Asks one, not as its agents do.
    fn ask(
        &self,
        principal: &str,
        method: Method,
        path: &'static str,
    ) -> BoxFuture<'static, Result<(StatusCode, String), StoreError>> {
        let (objects, principal) = (self.objects.clone(), principal.to_owned());
        let run = async move {
            let mut request = Request::new(Body::Full(bytes::Bytes::new().into()));
            *request.method_mut() = method;
            *request.uri_mut() = Uri::from_static(path);
            let reply = ask(object(&objects, &principal), request).await.map_err(failed)?;
            let status = reply.status();
            let said = reply.into_body().collect(ANSWER).await.map_err(failed)?;
            Ok((status, String::from_utf8_lossy(&said).into_owned()))
        };
        SendFuture::new(run).boxed()
    }

    async fn described(&self, id: String, text: &str) -> Result<InstanceRecord, StoreError> {
        let Written { principal, made } = json::read(text).map_err(failed)?;
        // One that cannot be asked is there all the same.
        let state = self.ask(&principal, Method::GET, "/state").await.ok();
        let state = state.and_then(|(_, text)| json::read::<State>(&text).ok());
        let (runs, asked, requests) = state.unwrap_or_default();
        Ok(InstanceRecord { id, principal, runs, made, asked, requests })
    }

    async fn all(&self) -> Result<Vec<InstanceRecord>, StoreError> {
        let mut all: Vec<InstanceRecord> = Vec::new();
        loop {
            let after = all.last().map(|last| last.id.clone());
            let page = self.records.page(COLLECTION, after, PAGE).await?;
            let is_last = page.len() < PAGE;
            let described = page.iter().map(|(id, text)| self.described(id.clone(), text));
            all.extend(future::try_join_all(described).await?);
            if is_last {
                return Ok(all);
            }
        }
    }

    async fn end(&self, id: String) -> Result<bool, StoreError> {
        let key = || RecordKey { collection: COLLECTION, key: id.clone() };
        let Some(written) = self.records.get(key()).await? else { return Ok(false) };
        let Written { principal, .. } = json::read(&written).map_err(failed)?;
        // It answers this with its end, and whatever it does ends with it. What it has stored is removed by the one that comes
        // after it, which is not on the list until somebody asks it.
        drop(self.ask(&principal, Method::DELETE, "/memory").await);
        self.records.replace(key(), Some(written), None, None).await?;
        match self.ask(&principal, Method::DELETE, "/storage").await? {
            (StatusCode::NO_CONTENT, _) => Ok(true),
            (status, _) => Err(failed(status)),
        }
    }
}

impl Instances for Identities {
    fn list(&self) -> BoxFuture<'_, Result<Vec<InstanceRecord>, StoreError>> {
        self.all().boxed()
    }

    fn remove(&self, id: String) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.end(id).boxed()
    }
}

fn failed(why: impl ToString) -> StoreError {
    StoreError(format!("an identity's gateway is out of reach: {}", why.to_string()))
}
