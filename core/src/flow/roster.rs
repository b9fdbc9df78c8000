//! The admin API of connections: who is connected to what, and that nobody is any more.
//!
//! **What is in a connection is shown to nobody.**

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::control::Asked;
use crate::body::Reply;
use crate::control::answer::{Fault, answer, moment};
use crate::endpoint;
use crate::gateway::Gateway;
use crate::oauth::connection::ConnectionRecord;
use crate::ports::Host;

impl<H: Host> Gateway<H> {
    pub(super) async fn show_connections(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let records = self.connections(None).await?;
        // What belongs to nobody is the gateway's own registration at an issuer.
        let users = records.iter().filter(|record| !record.key.principal.is_empty());
        let users = users.filter(|record| asked.reaches_principal(&record.key.principal));
        let connections: Vec<_> = users.map(|record| self.described_connection(record)).collect();
        Ok(answer(StatusCode::OK, &json!({ "connections": connections })))
    }

    /// Ends all connections of a principal, as its name is in a path.
    pub(super) async fn end_connections(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let principal = endpoint::decode(asked.value()).unwrap_or_default();
        let none = || Fault::new(StatusCode::NOT_FOUND, "not-found", "this principal has no connections");
        // With nobody's lies what the gateway has registered itself as.
        let is_theirs = !principal.is_empty() && asked.reaches_principal(&principal);
        if !is_theirs || self.disconnect_all(&principal).await? == 0 {
            return Err(none());
        }
        for server in self.0.users.servers() {
            if server.user.as_deref() == Some(&*principal) && server.consent().is_some() {
                self.read_for_user(&server, &Arc::from(&*principal));
            }
        }
        Ok(answer(StatusCode::OK, &json!({ "principal": principal })))
    }

    fn described_connection(&self, record: &ConnectionRecord) -> Value {
        let snapshot = self.snapshot();
        let server = snapshot.servers.values().find(|server| server.known_as == record.key.server);
        json!({
            "principal": record.key.principal,
            "server": server.map(|server| server.name.as_str()),
            "issuer": record.key.issuer,
            "resource": record.key.resource,
            "scopes": record.scopes,
            "connected": moment(record.connected),
            "expires": record.expires.map(moment),
            "standing": record.standing,
        })
    }
}
