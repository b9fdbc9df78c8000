//! The gateways that are identities' own (ADR 0050): which there are, and removing one with all that it held.

use http::StatusCode;
use serde_json::{Value, json};

use crate::body::{self, Reply};
use crate::control::answer::{Fault, answer, moment};
use crate::flow::control::Asked;
use crate::gateway::Gateway;
use crate::ports::{Host, InstanceRecord};

impl<H: Host> Gateway<H> {
    /// Lists them: to a member, its own.
    pub(super) async fn show_instances(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let theirs = self.instances_for(asked).await?;
        let items: Vec<_> = theirs.iter().map(described).collect();
        Ok(answer(StatusCode::OK, &json!({ "items": items, "next": null })))
    }

    /// Removes one: to a member, another's is not there.
    pub(super) async fn remove_instance(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let unknown =
            || Fault::new(StatusCode::NOT_FOUND, "no-instance", "there is no instance with that id");
        let id = asked.value();
        let is_theirs = self.instances_for(asked).await?.iter().any(|instance| instance.id == id);
        let instances = self.host().instances().filter(|_| is_theirs).ok_or_else(unknown)?;
        if !instances.remove(id.to_owned()).await? {
            return Err(unknown());
        }
        Ok(body::empty(StatusCode::NO_CONTENT))
    }

    async fn instances_for(&self, asked: &Asked<'_>) -> Result<Vec<InstanceRecord>, Fault> {
        let Some(instances) = self.host().instances() else { return Ok(Vec::new()) };
        let mut all = instances.list().await?;
        all.retain(|instance| asked.reaches_principal(&instance.principal));
        Ok(all)
    }
}

fn described(instance: &InstanceRecord) -> Value {
    json!({
        "id": instance.id,
        "principal": instance.principal,
        "state": if instance.runs { "running" } else { "resting" },
        "made": moment(instance.made),
        "last_request": instance.asked.map(moment),
        "requests": instance.requests,
    })
}
