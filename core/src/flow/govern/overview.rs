//! How it is with everything, at a glance.

use http::StatusCode;
use serde_json::{Value, json};

use super::super::control::Asked;
use crate::body::Reply;
use crate::control::answer::{Fault, answer, moment};
use crate::control::inventory::circuit;
use crate::control::operations::Reach;
use crate::gateway::{Gateway, Readiness};
use crate::metrics::Totals;
use crate::ports::Host;

impl<H: Host> Gateway<H> {
    pub(super) async fn show_overview(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let inventory = self.inventory().await?;
        let servers = self.readiness();
        let reached = inventory.reached(asked.operator.agents.iter().map(|agent| &**agent));
        let servers = servers.iter().filter(|of| asked.reach == Reach::All || reached.contains(&of.server));
        let policy = &inventory.snapshot.config.policy;
        let agents: Vec<_> = match asked.reach {
            Reach::All => {
                policy.agents.iter().chain([&policy.default]).map(|agent| agent.name.clone()).collect()
            }
            Reach::Own => asked.operator.agents.clone(),
        };
        let mut said = json!({
            "servers": servers.map(at_a_glance).collect::<Vec<_>>(),
            "agents": agents,
            "totals": null,
            "configuration": null,
            "audit": null,
        });
        if asked.reach == Reach::All {
            said["totals"] = self.totals(inventory.snapshot.since);
            said["configuration"] = self.configuration_in_force();
            said["audit"] = self.state_of_trail();
        }
        Ok(answer(StatusCode::OK, &said))
    }

    /// Returns what was counted since the gateway started; nothing where nothing is counted.
    fn totals(&self, since: u64) -> Value {
        let observer = self.host().observer();
        let totals = observer.and_then(|observer| Some(observer.metrics(&mut Vec::new())?.totals()));
        let Some(Totals { requests, errors, denied }) = totals else { return Value::Null };
        let since = (since > 0).then(|| moment(since));
        json!({ "calls": requests, "errors": errors, "denied": denied, "since": since })
    }

    fn configuration_in_force(&self) -> Value {
        let Some((version, refused)) = self.version_in_force() else { return json!({ "version": null }) };
        let mut said = json!({ "version": version });
        if let Some((version, reason)) = refused {
            said["refused"] = json!({ "version": version, "reason": reason });
        }
        said
    }

    fn state_of_trail(&self) -> Value {
        let Some(state) = self.host().audit().map(|trail| trail.state()) else { return Value::Null };
        json!({
            "recorded": state.recorded,
            "waiting": state.waiting,
            "lost": state.lost,
            "trouble": state.trouble,
        })
    }
}

fn at_a_glance(of: &Readiness) -> Value {
    let mut said = json!({ "name": of.server, "status": of.status, "tools": of.tools });
    if let Some(reason) = &of.reason {
        said["reason"] = reason.as_str().into();
    }
    if let Some(opened) = &of.circuit {
        said["circuit"] = circuit(opened);
    }
    said
}
