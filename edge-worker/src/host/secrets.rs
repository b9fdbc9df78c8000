//! Secrets that the Worker is bound to, by name. They are read here and managed by the platform: `wrangler secret put`.
//!
//! **What is the gateway's own (`PORTCULLIS_...`) is nobody's secret**, however it is spelled.

use std::future::ready;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use portcullis_core::control::StoreError;
use portcullis_core::ports::SecretStore;
use portcullis_core::secrets::{Replacing, Secret, SecretName, SecretRecord, Values};
use worker::send::SendWrapper;

use crate::bindings::Bindings;

/// What a version is called: the platform tells none.
const VERSION: &str = "bound";

/// The Worker's secrets.
struct Bound(SendWrapper<Bindings>);

/// Returns the secrets of a Worker.
pub(super) fn of(bindings: &Bindings) -> Arc<dyn SecretStore> {
    Arc::new(Bound(SendWrapper::new(bindings.clone())))
}

/// Returns what a secret can be bound as: a binding's name is one of JavaScript.
fn spellings(name: &SecretName) -> [String; 3] {
    let plain: String =
        name.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let upper = plain.to_ascii_uppercase();
    [name.as_str().to_owned(), plain, upper]
}

fn read_only<T: Send + 'static>() -> BoxFuture<'static, Result<T, StoreError>> {
    let message = "is the Worker's own, and is written with `wrangler secret put NAME` alone";
    ready(Err(StoreError(message.to_owned()))).boxed()
}

impl SecretStore for Bound {
    fn values(&self, name: SecretName) -> BoxFuture<'_, Result<Option<Values>, StoreError>> {
        let found = spellings(&name).iter().find_map(|name| self.0.variable(name));
        let current =
            found.map(Secret::new).transpose().map_err(|odd| StoreError(format!("gives no value: {odd}")));
        let version = VERSION.to_owned();
        ready(current.map(|current| current.map(|current| Values { current, previous: None, version })))
            .boxed()
    }

    fn set(
        &self,
        _: SecretName,
        _: Secret,
        _: Replacing,
        _: u64,
    ) -> BoxFuture<'_, Result<Option<SecretRecord>, StoreError>> {
        read_only()
    }

    /// The platform does not tell secrets from variables: none is listed.
    fn list(&self) -> BoxFuture<'_, Result<Vec<SecretRecord>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn remove(&self, _: SecretName) -> BoxFuture<'_, Result<bool, StoreError>> {
        read_only()
    }
}
