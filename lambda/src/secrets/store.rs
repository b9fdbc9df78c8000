//! The secrets that a configuration calls by name: those in Secrets Manager whose names begin with the deployment's prefix.
//!
//! **The stages are Secrets Manager's**: what counts is `AWSCURRENT`, and what was before a rotation `AWSPREVIOUS`, whoever
//! put it there. A secret that is removed can be restored for a week, and is, when it is set again; its former values are
//! forgotten then.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_secretsmanager::primitives::DateTime;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};
use futures::FutureExt as _;
use futures::future::{BoxFuture, join};
use portcullis_core::control::StoreError;
use portcullis_core::ports::SecretStore;
use portcullis_core::secrets::{Replacing, Secret, SecretName, SecretRecord, Values};

use super::{CURRENT, Manager, NOT_FOUND, NOT_NOW, PREVIOUS, Trouble, trouble};

/// For how long a secret that is removed can be restored, in days: the shortest time that AWS has.
const RECOVERY: i64 = 7;
/// How many secrets AWS lists at a time at most.
const PAGE: i32 = 100;

/// Which versions have which stages, as AWS says it.
type Stages = HashMap<String, Vec<String>>;

/// The secrets below a prefix.
#[derive(Debug)]
pub(crate) struct Store {
    manager: Arc<Manager>,
    prefix: String,
    /// What new secrets are encrypted with, where that is not the account's own key for secrets.
    key: Option<String>,
}

/// What is known of a secret without its value.
#[derive(Debug, Default)]
struct Described {
    current: Option<String>,
    previous: Option<String>,
    created: Option<u64>,
    changed: Option<u64>,
    is_removed: bool,
}

impl Store {
    /// Names the secrets whose names begin with `prefix`; asks nothing.
    pub(crate) fn new(manager: Arc<Manager>, prefix: String, key: Option<String>) -> Self {
        Self { manager, prefix, key }
    }

    fn id(&self, name: &SecretName) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn read(&self, name: &SecretName) -> Result<Option<Values>, Trouble> {
        let id = self.id(name);
        let (current, previous) =
            join(self.manager.version(&id, CURRENT), self.manager.version(&id, PREVIOUS)).await;
        let current = match current {
            Err(trouble) if trouble.code == NOT_NOW && self.is_removed(&id).await? => None,
            other => other?,
        };
        let Some(current) = current else { return Ok(None) };
        // It may have been rotated between the two answers.
        let previous = previous?.filter(|previous| previous.id != current.id);
        let previous = previous.map(|previous| previous.value);
        Ok(Some(Values { current: current.value, previous, version: current.id }))
    }

    async fn is_removed(&self, id: &str) -> Result<bool, Trouble> {
        Ok(self.described(id).await?.is_none_or(|described| described.is_removed))
    }

    /// Returns what is known of a secret, also of one that is removed and can be restored.
    async fn described(&self, id: &str) -> Result<Option<Described>, Trouble> {
        let asked = self.manager.client().describe_secret().secret_id(id).send().await;
        match asked.map_err(|error| trouble("DescribeSecret", id, &error)) {
            Ok(found) => Ok(Some(Described {
                is_removed: found.deleted_date.is_some(),
                ..Described::new(
                    found.version_ids_to_stages(),
                    (found.created_date(), found.last_changed_date()),
                )
            })),
            Err(trouble) if trouble.code == NOT_FOUND => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    async fn write(
        &self,
        name: &SecretName,
        value: &Secret,
        replacing: Replacing,
    ) -> Result<Option<SecretRecord>, Trouble> {
        let id = self.id(name);
        let before = self.described(&id).await?;
        let is_there = before.as_ref().is_some_and(|before| !before.is_removed && before.current.is_some());
        match (replacing, before) {
            (Replacing::Rotating, _) if !is_there => return Ok(None),
            (_, None) => self.create(&id, value).await?,
            (_, Some(before)) if before.is_removed => self.restore(&id, value).await?,
            (_, Some(_)) => self.put(&id, value).await?,
        }
        let mut after = self.described(&id).await?;
        if replacing == Replacing::AtOnce
            && let Some(previous) = after.as_ref().and_then(|after| after.previous.as_deref())
        {
            self.forget(&id, previous).await?;
            after = self.described(&id).await?;
        }
        Ok(after.and_then(|after| after.record(name.clone())))
    }

    async fn create(&self, id: &str, value: &Secret) -> Result<(), Trouble> {
        let create = self.manager.client().create_secret().name(id).secret_string(value.reveal());
        let created = create.set_kms_key_id(self.key.clone()).send().await;
        created.map(drop).map_err(|error| trouble("CreateSecret", id, &error))
    }

    async fn put(&self, id: &str, value: &Secret) -> Result<(), Trouble> {
        let put = self.manager.client().put_secret_value().secret_id(id).secret_string(value.reveal());
        put.send().await.map(drop).map_err(|error| trouble("PutSecretValue", id, &error))
    }

    /// Puts a value to a secret that is removed. Where that fails it stays removed: its former value is not to come back.
    async fn restore(&self, id: &str, value: &Secret) -> Result<(), Trouble> {
        let restored = self.manager.client().restore_secret().secret_id(id).send().await;
        restored.map_err(|error| trouble("RestoreSecret", id, &error))?;
        let put = self.put(id, value).await;
        if put.is_err() {
            self.delete(id).await?;
        }
        put
    }

    /// Takes its stage from the version before, which nobody can ask for by a stage then.
    async fn forget(&self, id: &str, previous: &str) -> Result<(), Trouble> {
        let update = self.manager.client().update_secret_version_stage().secret_id(id);
        let update = update.version_stage(PREVIOUS).remove_from_version_id(previous);
        update.send().await.map(drop).map_err(|error| {
            let trouble = trouble("UpdateSecretVersionStage", id, &error);
            let reason = format!(
                "{}; the new value is in force, and the one before is still kept: set it once more",
                trouble.reason
            );
            Trouble { reason, ..trouble }
        })
    }

    async fn listed(&self) -> Result<Vec<SecretRecord>, Trouble> {
        let begins = Filter::builder().key(FilterNameStringType::Name).values(&self.prefix).build();
        let list = self.manager.client().list_secrets().filters(begins);
        let mut pages = list.into_paginator().page_size(PAGE).send();
        let mut records = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| trouble("ListSecrets", &self.prefix, &error))?;
            let there = page.secret_list().iter().filter(|entry| entry.deleted_date().is_none());
            records.extend(there.filter_map(|entry| {
                let name = SecretName::parse(entry.name()?.strip_prefix(&self.prefix)?).ok()?;
                let dates = (entry.created_date(), entry.last_changed_date());
                Described::new(entry.secret_versions_to_stages(), dates).record(name)
            }));
        }
        records.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(records)
    }

    async fn erase(&self, name: &SecretName) -> Result<bool, Trouble> {
        let id = self.id(name);
        if self.is_removed(&id).await? {
            return Ok(false);
        }
        self.delete(&id).await.map(|()| true)
    }

    async fn delete(&self, id: &str) -> Result<(), Trouble> {
        let delete = self.manager.client().delete_secret().secret_id(id).recovery_window_in_days(RECOVERY);
        delete.send().await.map(drop).map_err(|error| trouble("DeleteSecret", id, &error))
    }
}

impl Described {
    fn new(stages: Option<&Stages>, (created, changed): (Option<&DateTime>, Option<&DateTime>)) -> Self {
        let at = |stage: &str| {
            let found = stages?.iter().find(|(_, stages)| stages.iter().any(|one| one == stage));
            found.map(|(id, _)| id.clone())
        };
        let millis = |date: Option<&DateTime>| u64::try_from(date?.to_millis().ok()?).ok();
        let (created, changed) = (millis(created), millis(changed));
        Self { current: at(CURRENT), previous: at(PREVIOUS), created, changed, is_removed: false }
    }

    /// Returns it as the gateway knows it; nothing where it has no value.
    fn record(self, name: SecretName) -> Option<SecretRecord> {
        let Self { current, previous, created, changed, .. } = self;
        Some(SecretRecord { name, version: current?, created, changed, has_previous: previous.is_some() })
    }
}

impl SecretStore for Store {
    fn values(&self, name: SecretName) -> BoxFuture<'_, Result<Option<Values>, StoreError>> {
        async move { Ok(self.read(&name).await?) }.boxed()
    }

    fn set(
        &self,
        name: SecretName,
        value: Secret,
        replacing: Replacing,
        _at: u64,
    ) -> BoxFuture<'_, Result<Option<SecretRecord>, StoreError>> {
        async move { Ok(self.write(&name, &value, replacing).await?) }.boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<SecretRecord>, StoreError>> {
        async move { Ok(self.listed().await?) }.boxed()
    }

    fn remove(&self, name: SecretName) -> BoxFuture<'_, Result<bool, StoreError>> {
        async move { Ok(self.erase(&name).await?) }.boxed()
    }
}
