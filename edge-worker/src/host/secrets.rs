//! Secrets by name: those that the Worker is bound to, which the platform manages, and those that were set here, which lie
//! sealed in the object that keeps configurations.
//!
//! **What the Worker is bound to comes first**, and is not written here. **What is the gateway's own (`PORTCULLIS_...`) is
//! nobody's secret**, however it is spelled. **The object sees names and times, and no value.**

use std::future::ready;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use portcullis_core::SealKeys;
use portcullis_core::control::StoreError;
use portcullis_core::ports::SecretStore;
use portcullis_core::secrets::{Replacing, Secret, SecretName, SecretRecord, Values, Vault};
use serde::{Deserialize, Serialize};
use worker::send::SendWrapper;

use super::configurations::{self, Configurations, said, to_text};
use super::edge::Edge;
use super::glue::Storage;
use crate::bindings::Bindings;
use crate::json;

/// What the version of a secret is called that the Worker is bound to: the platform tells none.
const VERSION: &str = "bound";
/// Under which the object stores what is known of all secrets.
const RECORDS: &str = "secrets";

/// What the object is asked for.
#[derive(Serialize, Deserialize)]
pub(crate) enum Errand {
    Read(SecretName),
    /// Sets a secret to this sealed value, at that time.
    Set(SecretName, String, Replacing, u64),
    List,
    Remove(SecretName),
}

/// The sealed values of a secret.
#[derive(Serialize, Deserialize)]
struct Sealed {
    version: String,
    current: String,
    previous: Option<String>,
}

/// The Worker's secrets.
struct Secrets {
    bindings: SendWrapper<Bindings>,
    kept: Option<Arc<Configurations>>,
    /// Made when it is first needed, where there is a key.
    vault: OnceLock<Option<Vault>>,
}

/// Returns the secrets of a Worker.
pub(super) fn of(bindings: &Bindings) -> Arc<dyn SecretStore> {
    let kept = Configurations::of(bindings);
    Arc::new(Secrets { bindings: SendWrapper::new(bindings.clone()), kept, vault: OnceLock::new() })
}

/// Returns what a secret can be bound as: a binding's name is one of JavaScript.
fn spellings(name: &SecretName) -> [String; 3] {
    let plain: String =
        name.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let upper = plain.to_ascii_uppercase();
    [name.as_str().to_owned(), plain, upper]
}

impl Secrets {
    fn bound(&self, name: &SecretName) -> Option<String> {
        spellings(name).iter().find_map(|name| self.bindings.variable(name))
    }

    fn vault(&self) -> Result<&Vault, StoreError> {
        let make = || {
            let keys = self.bindings.text("PORTCULLIS_SEAL_KEY")?;
            SealKeys::parse(&keys).ok().map(|keys| Vault::new(&keys))
        };
        let vault = self.vault.get_or_init(make).as_ref();
        vault.ok_or_else(|| StoreError("cannot be used without PORTCULLIS_SEAL_KEY".into()))
    }

    /// Returns the object for what is to be written there.
    fn writable(&self, name: &SecretName) -> Result<&Configurations, StoreError> {
        if self.bound(name).is_some() {
            let why =
                "is the Worker's own under this name, and is written with `wrangler secret put NAME` alone";
            return Err(StoreError(why.into()));
        }
        let why = "are only what the Worker is bound to, without the object CONFIGURATIONS: write them with \
                   `wrangler secret put NAME`, or bind it";
        self.kept.as_deref().ok_or_else(|| StoreError(why.into()))
    }

    fn open(&self, name: &SecretName, sealed: &Sealed) -> Result<Values, StoreError> {
        let vault = self.vault()?;
        let lost = || {
            let why = "has a value that was sealed by another key: set PORTCULLIS_SEAL_KEY to what it was, or set the \
                       secret again";
            StoreError(why.into())
        };
        let current = vault.open(name, &sealed.current).ok_or_else(lost)?;
        let previous = sealed.previous.as_ref().and_then(|previous| vault.open(name, previous));
        Ok(Values { current, previous, version: sealed.version.clone() })
    }
}

impl SecretStore for Secrets {
    fn values(&self, name: SecretName) -> BoxFuture<'_, Result<Option<Values>, StoreError>> {
        if let Some(bound) = self.bound(&name) {
            let current = Secret::new(bound).map_err(|odd| StoreError(format!("gives no value: {odd}")));
            let values = |current| Some(Values { current, previous: None, version: VERSION.to_owned() });
            return ready(current.map(values)).boxed();
        }
        let Some(kept) = &self.kept else { return ready(Ok(None)).boxed() };
        let asked = kept.run::<Option<Sealed>>(configurations::Errand::Secret(Errand::Read(name.clone())));
        async move { asked.await?.map(|sealed| self.open(&name, &sealed)).transpose() }.boxed()
    }

    fn set(
        &self,
        name: SecretName,
        value: Secret,
        replacing: Replacing,
        at: u64,
    ) -> BoxFuture<'_, Result<Option<SecretRecord>, StoreError>> {
        let sealed = self.vault().map(|vault| vault.seal(&Edge::default(), &name, &value));
        match self.writable(&name).and_then(|kept| Ok((kept, sealed?))) {
            Ok((kept, sealed)) => {
                kept.run(configurations::Errand::Secret(Errand::Set(name, sealed, replacing, at)))
            }
            Err(why) => ready(Err(why)).boxed(),
        }
    }

    /// Lists what was set here: the platform does not tell secrets from variables.
    fn list(&self) -> BoxFuture<'_, Result<Vec<SecretRecord>, StoreError>> {
        match &self.kept {
            Some(kept) => kept.run(configurations::Errand::Secret(Errand::List)),
            None => ready(Ok(Vec::new())).boxed(),
        }
    }

    fn remove(&self, name: SecretName) -> BoxFuture<'_, Result<bool, StoreError>> {
        match self.writable(&name) {
            Ok(kept) => kept.run(configurations::Errand::Secret(Errand::Remove(name))),
            Err(why) => ready(Err(why)).boxed(),
        }
    }
}

/// Runs an errand in the object; returns what came of it, as JSON text. Nothing else of the object runs meanwhile.
pub(super) fn run(storage: &Storage, errand: Errand) -> String {
    match errand {
        Errand::Read(name) => said(Ok(storage.load(&key_of(&name)).and_then(|text| sealed(&text)))),
        Errand::Set(name, value, replacing, at) => said(set(storage, name, value, replacing, at)),
        Errand::List => said(Ok(records(storage))),
        Errand::Remove(name) => said(remove(storage, &name)),
    }
}

fn set(
    storage: &Storage,
    name: SecretName,
    current: String,
    replacing: Replacing,
    at: u64,
) -> Result<Option<SecretRecord>, StoreError> {
    let before = storage.load(&key_of(&name)).and_then(|text| sealed(&text));
    let is_rotation = replacing == Replacing::Rotating;
    if is_rotation && before.is_none() {
        return Ok(None);
    }
    let mut records = records(storage);
    let place = records.binary_search_by(|record| record.name.cmp(&name));
    let known = place.ok().map(|place| records.remove(place));
    let version = known.as_ref().and_then(|known| known.version.parse::<u64>().ok()).unwrap_or(0) + 1;
    let version = version.to_string();
    let previous = before.filter(|_| is_rotation).map(|before| before.current);
    let record = SecretRecord {
        name: name.clone(),
        version: version.clone(),
        created: known.map_or(Some(at), |known| known.created),
        changed: Some(at),
        has_previous: previous.is_some(),
    };
    let (Ok(place) | Err(place)) = place;
    records.insert(place, record.clone());
    keep(storage, &key_of(&name), &to_text(&Sealed { version, current, previous }))?;
    keep(storage, RECORDS, &to_text(&records))?;
    Ok(Some(record))
}

fn remove(storage: &Storage, name: &SecretName) -> Result<bool, StoreError> {
    let mut records = records(storage);
    let Ok(place) = records.binary_search_by(|record| record.name.cmp(name)) else { return Ok(false) };
    records.remove(place);
    storage.remove(&key_of(name));
    keep(storage, RECORDS, &to_text(&records))?;
    Ok(true)
}

/// Returns what is known of all secrets, by name.
fn records(storage: &Storage) -> Vec<SecretRecord> {
    storage.load(RECORDS).and_then(|text| json::read(&text).ok()).unwrap_or_default()
}

fn sealed(text: &str) -> Option<Sealed> {
    json::read(text).ok()
}

fn keep(storage: &Storage, key: &str, text: &str) -> Result<(), StoreError> {
    storage.store(key, text).then_some(()).ok_or_else(|| StoreError("is too large to be kept here".into()))
}

fn key_of(name: &SecretName) -> String {
    format!("secret/{name}")
}
