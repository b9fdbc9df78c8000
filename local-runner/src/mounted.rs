//! Secrets as a platform mounts them: files that hold one value each.
//!
//! **Each file is read once**, before anything is served. What is found there can be used, and not be changed from here.

use std::path::Path;

use anyhow::Context as _;
use futures::future::{BoxFuture, ready};
use portcullis_core::control::StoreError;
use portcullis_core::ports::SecretStore;
use portcullis_core::secrets::{Replacing, Secret, SecretName, SecretRecord, Values};
use portcullis_core::sorted::SortedMap;

/// What every version of such a secret is called: there is one.
const VERSION: &str = "1";

/// Values that were read from files, by the names that a configuration calls them by.
#[derive(Default)]
pub(crate) struct Mounted(SortedMap<SecretName, Secret>);

impl Mounted {
    /// Reads a file under a name.
    pub(crate) fn add(&mut self, name: SecretName, file: &Path) -> anyhow::Result<()> {
        let value = Secret::new(read(file)?).with_context(|| file.display().to_string())?;
        self.0.insert(name, value);
        Ok(())
    }
}

/// Reads a file that holds one value; a line break at its end is no part of that.
pub(crate) fn read(file: &Path) -> anyhow::Result<String> {
    let mut text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

fn fixed<T: Send + 'static>() -> BoxFuture<'static, Result<T, StoreError>> {
    Box::pin(ready(Err(StoreError("holds files that are read once, and cannot be changed".into()))))
}

impl SecretStore for Mounted {
    fn values(&self, name: SecretName) -> BoxFuture<'_, Result<Option<Values>, StoreError>> {
        let values = self.0.get(&name).map(|value| Values {
            current: value.clone(),
            previous: None,
            version: VERSION.to_owned(),
        });
        Box::pin(ready(Ok(values)))
    }

    fn set(
        &self,
        _: SecretName,
        _: Secret,
        _: Replacing,
        _: u64,
    ) -> BoxFuture<'_, Result<Option<SecretRecord>, StoreError>> {
        fixed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<SecretRecord>, StoreError>> {
        let record = |name: &SecretName| SecretRecord {
            name: name.clone(),
            version: VERSION.to_owned(),
            created: None,
            changed: None,
            has_previous: false,
        };
        Box::pin(ready(Ok(self.0.keys().map(record).collect())))
    }

    fn remove(&self, _: SecretName) -> BoxFuture<'_, Result<bool, StoreError>> {
        fixed()
    }
}
