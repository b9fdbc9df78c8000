//! The gateway's own keys: given by the environment, or secrets that it names.
//!
//! **A seal key that was rotated still opens**: the key at `AWSPREVIOUS` is taken as well. An admin key that was replaced
//! opens nothing any more.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use futures::future::try_join3;
use portcullis_core::{AdminKey, SealKeys};

use super::{CURRENT, Manager, PREVIOUS, Version};

/// Where a key comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin<K> {
    /// The environment has it.
    Given(K),
    /// The environment names the secret that has it.
    Secret(String),
}

/// Where the gateway's own keys come from.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    /// The keys that seal what clients carry; all environments need the same.
    pub(crate) seal_keys: Origin<SealKeys>,
    /// What opens the admin API; without one it stays closed.
    pub(crate) admin_key: Option<Origin<AdminKey>>,
}

/// The gateway's own keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// The keys that seal what clients carry.
    pub(crate) seal_keys: SealKeys,
    /// What opens the admin API.
    pub(crate) admin_key: Option<AdminKey>,
}

impl Own {
    /// Tells whether any of them is a secret, and so may change.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.seal_keys, Origin::Secret(_)) || matches!(self.admin_key, Some(Origin::Secret(_)))
    }

    /// Returns the keys; reads those that are secrets.
    pub(crate) async fn read(&self, manager: Option<&Arc<Manager>>) -> anyhow::Result<Keys> {
        let (seal, admin) = (secret(Some(&self.seal_keys)), secret(self.admin_key.as_ref()));
        let (first, others, key) = try_join3(
            version(manager, "PORTCULLIS_SEAL_KEY_SECRET", (seal, CURRENT)),
            version(manager, "PORTCULLIS_SEAL_KEY_SECRET", (seal, PREVIOUS)),
            version(manager, "PORTCULLIS_ADMIN_KEY_SECRET", (admin, CURRENT)),
        )
        .await?;
        let seal_keys = match &self.seal_keys {
            Origin::Given(keys) => keys.clone(),
            Origin::Secret(_) => seal_keys(first, others).context("PORTCULLIS_SEAL_KEY_SECRET")?,
        };
        let admin_key = match &self.admin_key {
            None => None,
            Some(Origin::Given(key)) => Some(key.clone()),
            Some(Origin::Secret(_)) => Some(admin_key(key).context("PORTCULLIS_ADMIN_KEY_SECRET")?),
        };
        Ok(Keys { seal_keys, admin_key })
    }
}

fn secret<K>(origin: Option<&Origin<K>>) -> Option<&str> {
    match origin {
        Some(Origin::Secret(id)) => Some(id),
        _ => None,
    }
}

/// Reads what the secret that a variable names has at a stage, where it names one.
async fn version(
    manager: Option<&Arc<Manager>>,
    variable: &'static str,
    (id, stage): (Option<&str>, &str),
) -> anyhow::Result<Option<Version>> {
    let (Some(manager), Some(id)) = (manager, id) else { return Ok(None) };
    manager.version(id, stage).await.map_err(|trouble| anyhow!("{variable}: {trouble}"))
}

fn seal_keys(current: Option<Version>, previous: Option<Version>) -> anyhow::Result<SealKeys> {
    let current = current.context("there is no such secret, or it has no value")?;
    let mut keys = SealKeys::parse(current.value.reveal())?;
    if let Some(previous) = previous {
        if let Ok(before) = SealKeys::parse(previous.value.reveal()) {
            keys.others.extend(std::iter::once(before.first).chain(before.others));
        } else {
            tracing::warn!("the value before the seal key's is no seal key, and opens nothing");
        }
    }
    let SealKeys { first, others } = &mut keys;
    let mut seen = vec![*first];
    others.retain(|key| {
        let is_new = !seen.contains(key);
        seen.push(*key);
        is_new
    });
    Ok(keys)
}

fn admin_key(current: Option<Version>) -> anyhow::Result<AdminKey> {
    let current = current.context("there is no such secret, or it has no value")?;
    AdminKey::new(current.value.reveal()).context("the secret is blank")
}
