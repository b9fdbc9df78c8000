//! What those who govern see of the registry's entries and have done with them, by the admin API.

use http::StatusCode;
use serde_json::json;

use super::added::Added;
use super::{gone, json_body, names, place};
use crate::body::Reply;
use crate::control::answer::{Fault, answer};
use crate::control::evaluation::{Evaluation, newest};
use crate::control::operations::Reviewing;
use crate::control::registry::entry::{Entry, reviewed};
use crate::control::registry::identities;
use crate::control::registry::list::Reviews;
use crate::flow::control::Asked;
use crate::gateway::Gateway;
use crate::ports::Host;

impl<H: Host> Gateway<H> {
    /// Does what an operation of the admin API on the registry is.
    pub(in crate::flow) async fn reviewing(
        &self,
        does: Reviewing,
        asked: &Asked<'_>,
    ) -> Result<Reply, Fault> {
        match does {
            Reviewing::ShowEntries => self.show_entries(asked).await,
            Reviewing::ImportEntries => {
                let said = json_body(&asked.body)?;
                self.import_entries(asked.operator, &said).await
            }
            Reviewing::ApproveEntry => {
                let said = json_body(&asked.body)?;
                let seen = said["digest"].as_str();
                let seen =
                    seen.ok_or_else(|| Fault::field("digest", "expected the digest of what is approved"))?;
                let place = key_of(asked)?;
                let there = self.entry(&place).await?.ok_or_else(gone)?;
                let added =
                    Added::read(&said["add"], &there, self.snapshot().config.registry.require_evaluation)?;
                let entry = self.approve_entry(asked.operator, (&place, seen), added.as_ref()).await?;
                Ok(answer(StatusCode::OK, &reviewed(&entry, &[])))
            }
            Reviewing::RejectEntry => {
                let entry = self.reject_entry(asked.operator, &key_of(asked)?).await?;
                Ok(answer(StatusCode::OK, &reviewed(&entry, &[])))
            }
        }
    }

    async fn show_entries(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let wanted = Reviews::read(asked.query)?;
        let entries = self.entries("").await?;
        let known: Vec<_> = entries.iter().filter(|entry| entry.is_shown()).map(Entry::name).collect();
        let (items, next) = wanted.of(&entries);
        let evaluations = self.evaluations().await?;
        let item = |entry: &Entry| {
            let mut said = reviewed(entry, &known);
            let identities = identities::of(entry.approvable().unwrap_or(&entry.server));
            let found = identities.iter().filter_map(|identity| newest(&evaluations, identity));
            said["evaluations"] = found.map(Evaluation::summary).collect();
            said
        };
        let items: Vec<_> = items.into_iter().map(item).collect();
        Ok(answer(StatusCode::OK, &json!({ "items": items, "next": next })))
    }
}

/// Returns the key of the entry that the path names.
fn key_of(asked: &Asked<'_>) -> Result<String, Fault> {
    match names(&asked.values)?.as_slice() {
        [name, version] => place(name, version),
        _ => Err(gone()),
    }
}
