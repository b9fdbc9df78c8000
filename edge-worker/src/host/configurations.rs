//! Where configurations, API keys and secrets lie: in one object, which orders what is written, with a copy of the
//! configuration and the keys that are in force in the store that every instance reads.
//!
//! **What the object has counts.** The store follows it: one copier at a time copies what is newest, and tries again until
//! that is done.

use std::cell::Cell;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request};
use portcullis_core::body::Body;
use portcullis_core::control::{
    Appended, Kept, Revision, Revoked, Stamp, StoreError, digest, with_approvals,
};
use portcullis_core::identity::KeyRecord;
use portcullis_core::ports::{Clock as _, ConfigStore, KeyStore};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use worker::send::{SendFuture, SendWrapper};

use super::answer::reason;
use super::edge::Edge;
use super::glue::{Storage, get_all, object, put_text};
use super::notebook::moment;
use super::objects::ask;
use super::secrets;
use super::told::settled;
use crate::bindings::Bindings;
use crate::json;

/// The key of the configuration in force in the store.
pub(crate) const CONFIGURATION: &str = "config";
/// The key of the API keys in the store.
pub(crate) const KEYS: &str = "keys";
/// The name of the one object.
const NAME: &str = "all";
/// The largest answer of the object, in bytes.
const ANSWER: usize = 64 << 20;
/// When it is tried again to copy what could not be copied, in milliseconds.
const AGAIN: u64 = 2000;
/// Under which the object stores the number of the newest version.
const NEWEST: &str = "newest";
/// Under which it stores the digest of what was last taken over from the store.
const IMPORTED: &str = "imported";

/// What the object is asked for.
#[derive(Serialize, Deserialize)]
pub(crate) enum Errand {
    Newest,
    Revision(u64),
    History(u64, usize),
    Append(Revision),
    /// Makes a version of what was put into the store by other means, at that time.
    Import(String, u64),
    Keys,
    AddKey(KeyRecord),
    RevokeKey(String, u64),
    Secret(secrets::Errand),
}

/// The object, as others ask it. Clones are the same.
#[derive(Clone)]
pub(super) struct Configurations(SendWrapper<JsValue>);

impl Configurations {
    pub(super) fn of(bindings: &Bindings) -> Option<Arc<Self>> {
        Some(Arc::new(Self(SendWrapper::new(bindings.objects("CONFIGURATIONS")?))))
    }

    pub(super) fn run<T: DeserializeOwned + Send + 'static>(
        &self,
        errand: Errand,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let namespace = self.0.clone();
        let run = async move {
            let failed = |why: String| StoreError(format!("the configurations are out of reach: {why}"));
            let text = serde_json::to_vec(&errand).map_err(|error| failed(error.to_string()))?;
            let mut request = Request::new(Body::Full(text.into()));
            *request.method_mut() = Method::POST;
            let reply = ask(object(&namespace, NAME), request).await;
            let reply = reply.map_err(|error| failed(error.to_string()))?;
            let said = reply.into_body().collect(ANSWER).await.map_err(|error| failed(error.to_string()))?;
            serde_json::from_slice::<Result<T, StoreError>>(&said)
                .map_err(|error| failed(error.to_string()))?
        };
        SendFuture::new(run).boxed()
    }

    /// Makes a version of what was put into the store by other means.
    pub(super) fn import(&self, text: String, now: u64) -> BoxFuture<'static, Result<Revision, StoreError>> {
        self.run(Errand::Import(text, now))
    }
}

impl ConfigStore for Configurations {
    fn newest(&self) -> BoxFuture<'_, Result<Option<Revision>, StoreError>> {
        self.run(Errand::Newest)
    }

    fn revision(&self, version: u64) -> BoxFuture<'_, Result<Option<Revision>, StoreError>> {
        self.run(Errand::Revision(version))
    }

    fn history(&self, before: u64, most: usize) -> BoxFuture<'_, Result<Vec<Stamp>, StoreError>> {
        self.run(Errand::History(before, most))
    }

    fn append(&self, next: Revision) -> BoxFuture<'_, Result<Appended, StoreError>> {
        self.run(Errand::Append(next))
    }
}

impl KeyStore for Configurations {
    fn all(&self) -> BoxFuture<'_, Result<Vec<Kept>, StoreError>> {
        self.run(Errand::Keys)
    }

    fn add(&self, record: KeyRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(Errand::AddKey(record))
    }

    fn revoke(&self, id: String, at: u64) -> BoxFuture<'_, Result<Revoked, StoreError>> {
        self.run(Errand::RevokeKey(id, at))
    }
}

/// The object itself: what it has stored, and the store that it copies to.
pub(crate) struct Ledger {
    storage: Storage,
    store: Option<JsValue>,
    is_copying: Cell<bool>,
}

impl Ledger {
    pub(crate) fn new(state: &JsValue, bindings: &Bindings) -> Self {
        Self { storage: Storage::new(state), store: bindings.store(), is_copying: Cell::new(false) }
    }

    /// Runs an errand; returns what came of it, as JSON text.
    pub(crate) async fn run(&self, errand: Errand) -> String {
        match errand {
            Errand::Newest => said(Ok(self.newest())),
            Errand::Revision(version) => said(Ok(self.revision(version))),
            Errand::History(before, most) => {
                let newest = self.newest_version();
                let versions = (1..before.min(newest + 1)).rev().take(most);
                said(Ok(versions.filter_map(|v| Some(self.revision(v)?.stamp)).collect::<Vec<_>>()))
            }
            Errand::Append(next) => said(self.append(next).await),
            Errand::Import(text, now) => said(self.import(text, now).await),
            Errand::Secret(errand) => secrets::run(&self.storage, errand),
            Errand::Keys => said(Ok(self.keys())),
            Errand::AddKey(record) => {
                let mut keys = self.keys();
                keys.push(Kept { record, used: None });
                said(self.keep(&keys).await)
            }
            Errand::RevokeKey(id, at) => {
                let mut keys = self.keys();
                let revoked = match keys.iter_mut().find(|kept| *kept.record.id == *id) {
                    None => Revoked::Unknown,
                    Some(kept) if kept.record.revoked.is_some() => Revoked::Before,
                    Some(kept) => {
                        kept.record.revoked = Some(at);
                        Revoked::Now
                    }
                };
                said(match revoked {
                    Revoked::Now => self.keep(&keys).await.map(|()| revoked),
                    Revoked::Before | Revoked::Unknown => Ok(revoked),
                })
            }
        }
    }

    fn newest_version(&self) -> u64 {
        self.storage.load(NEWEST).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn newest(&self) -> Option<Revision> {
        self.revision(self.newest_version())
    }

    fn revision(&self, version: u64) -> Option<Revision> {
        json::read(&self.storage.load(&key_of(version))?).ok()
    }

    async fn append(&self, next: Revision) -> Result<Appended, StoreError> {
        let newest = self.newest_version();
        if next.stamp.version != newest + 1 {
            return Ok(Appended::Behind(newest));
        }
        // Written at once: nothing else of this object runs between.
        self.keep_text(&key_of(next.stamp.version), &to_text(&next))?;
        self.keep_text(NEWEST, &next.stamp.version.to_string())?;
        self.keep_text(&uncopied(CONFIGURATION), "1")?;
        self.copy().await;
        Ok(Appended::Done)
    }

    async fn import(&self, text: String, at: u64) -> Result<Revision, StoreError> {
        let (said, newest) = (digest(&text), self.newest());
        let is_known = self.storage.load(IMPORTED).as_ref() == Some(&said)
            || newest.as_ref().is_some_and(|newest| newest.stamp.digest == said);
        if let Some(newest) = newest.as_ref().filter(|_| is_known) {
            return Ok(newest.clone());
        }
        let text = with_approvals(text, newest.as_ref());
        self.keep_text(IMPORTED, &said)?;
        let digest = digest(&text);
        let note = "was put into the store".to_owned();
        let version = self.newest_version() + 1;
        let stamp = Stamp { version, at, by: "the store".into(), note, digest };
        let next = Revision { stamp, text };
        self.append(next.clone()).await?;
        Ok(next)
    }

    fn keys(&self) -> Vec<Kept> {
        self.storage.load(KEYS).and_then(|text| json::read(&text).ok()).unwrap_or_default()
    }

    async fn keep(&self, keys: &[Kept]) -> Result<(), StoreError> {
        self.keep_text(KEYS, &to_text(&keys))?;
        self.keep_text(&uncopied(KEYS), "1")?;
        self.copy().await;
        Ok(())
    }

    fn keep_text(&self, key: &str, text: &str) -> Result<(), StoreError> {
        let is_stored = self.storage.store(key, text);
        is_stored.then_some(()).ok_or_else(|| StoreError("it is too large to be kept here".into()))
    }

    /// Copies what is newest to where every instance reads it, where that has not been done; tries again later where it
    /// cannot be done. Whatever is written meanwhile is copied as well.
    pub(crate) async fn copy(&self) {
        if self.is_copying.replace(true) {
            return;
        }
        for key in [CONFIGURATION, KEYS] {
            while self.storage.load(&uncopied(key)).is_some() {
                self.storage.remove(&uncopied(key));
                if let Err(why) = self.copy_one(key).await {
                    tracing::error!(key, %why, "what is in force cannot be copied to the store; it is tried again");
                    self.storage.store(&uncopied(key), "1");
                    drop(self.storage.wake(moment(Edge::default().now() + AGAIN)));
                    break;
                }
            }
        }
        self.is_copying.set(false);
    }

    async fn copy_one(&self, key: &str) -> Result<(), String> {
        let Some(store) = &self.store else { return Ok(()) };
        let (text, about) = match key {
            KEYS => (self.storage.load(KEYS).unwrap_or_default(), None),
            _ => match self.newest() {
                Some(Revision { stamp, text }) => {
                    (text, Some(to_text(&Stamp { note: String::new(), ..stamp })))
                }
                None => return Ok(()),
            },
        };
        let put = settled(&put_text(store, key, &text, about.as_deref())).await;
        put.map(drop).map_err(|error| reason(&error))
    }
}

/// Under which it is noted that something has not been copied.
fn uncopied(key: &str) -> String {
    format!("uncopied/{key}")
}

fn key_of(version: u64) -> String {
    format!("version/{version}")
}

pub(super) fn said<T: Serialize>(outcome: Result<T, StoreError>) -> String {
    to_text(&outcome)
}

pub(super) fn to_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

/// A text of the store, and what is said about it.
pub(crate) type Stored = Option<(String, Option<String>)>;

/// Reads texts of the store in one request.
pub(crate) async fn read_all(store: &JsValue, names: &[&str]) -> Result<Vec<Stored>, String> {
    let names: Vec<JsValue> = names.iter().map(|name| JsValue::from_str(name)).collect();
    let found = settled(&get_all(store, names)).await.map_err(|error| reason(&error))?;
    let found = js_sys::Array::from(&found).to_vec();
    let pairs = found.chunks(2).map(|pair| Some((pair.first()?.as_string()?, pair.get(1)?.as_string())));
    Ok(pairs.collect())
}
