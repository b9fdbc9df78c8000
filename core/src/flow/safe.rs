//! The admin API of secrets: what the store is asked, and that a change is in force at once.
//!
//! **A value goes in and never comes out.**

use http::StatusCode;
use serde_json::json;

use super::control::Asked;
use crate::body::Reply;
use crate::config::{Problem, SecretUse};
use crate::control::answer::{Fault, answer};
use crate::control::described_secret;
use crate::control::secrets::{NewValue, missing, name};
use crate::gateway::Gateway;
use crate::ports::{Host, SecretStore};
use crate::secrets::{SecretName, SecretRecord};
use crate::sorted::SortedSet;

impl<H: Host> Gateway<H> {
    /// Returns where secrets lie.
    fn secret_store(&self) -> Result<&dyn SecretStore, Fault> {
        let none = || Fault::new(StatusCode::NOT_FOUND, "no-store", "this gateway's host keeps no secrets");
        Ok(&**self.host().secrets().ok_or_else(none)?)
    }

    pub(super) async fn show_secrets(&self) -> Result<Reply, Fault> {
        let records = self.secret_store()?.list().await?;
        let secrets: Vec<_> = records.iter().map(|record| self.described(record)).collect();
        let needed: Vec<SecretName> = self.snapshot().config.secrets().into_iter().cloned().collect();
        let missing = self.not_there(needed.iter()).await;
        Ok(answer(StatusCode::OK, &json!({ "secrets": secrets, "missing": missing })))
    }

    pub(super) async fn set_secret(&self, text: &str, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let name = name(text)?;
        let NewValue { value, replacing } = NewValue::read(asked.headers, &asked.body)?;
        let set = self.secret_store()?.set(name.clone(), value, replacing, self.host().now()).await?;
        let record = set.ok_or_else(|| missing(&name))?;
        self.secrets_changed(&[name]);
        Ok(answer(StatusCode::OK, &self.described(&record)))
    }

    pub(super) async fn remove_secret(&self, text: &str) -> Result<Reply, Fault> {
        let name = name(text)?;
        if !self.secret_store()?.remove(name.clone()).await? {
            return Err(missing(&name));
        }
        self.secrets_changed(std::slice::from_ref(&name));
        Ok(answer(StatusCode::OK, &json!({ "name": name, "used_by": self.users_of(&name) })))
    }

    fn described(&self, record: &SecretRecord) -> serde_json::Value {
        let users = self.users_of(&record.name);
        described_secret(record, &users.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Returns the servers that need a secret.
    fn users_of(&self, name: &SecretName) -> Vec<String> {
        let snapshot = self.snapshot();
        let users = snapshot.config.servers.iter().filter(|(_, server)| server.secrets().contains(name));
        users.map(|(server, _)| server.to_string()).collect()
    }

    /// Says which secrets a configuration needs that are not there, as far as that can be known.
    pub(super) async fn missing_secrets(&self, uses: &[SecretUse]) -> Vec<Problem> {
        let missing = self.not_there(uses.iter().map(|one| &one.name)).await;
        uses.iter().filter(|one| missing.contains(&&one.name)).map(SecretUse::missing).collect()
    }

    /// Returns those of these names of which the store is certain that it has none.
    async fn not_there<'n>(&self, names: impl Iterator<Item = &'n SecretName>) -> SortedSet<&'n SecretName> {
        let Some(store) = self.host().secrets() else { return SortedSet::new() };
        let mut missing = SortedSet::new();
        for name in names.collect::<SortedSet<_>>() {
            if let Ok(None) = store.values(name.clone()).await {
                missing.insert(name);
            }
        }
        missing
    }
}
