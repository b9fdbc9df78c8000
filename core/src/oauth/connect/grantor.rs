//! Who grants access to a server to its users, and what the gateway is there.

use std::sync::Arc;

use crate::config::Registered;
use crate::oauth::client::{AuthorizationServer, Registration, Scopes};
use crate::oauth::connection::ConnectionKey;

/// An authorization server, as the one that lets users' clients in at a server.
#[derive(Debug, Clone)]
pub(crate) struct Grantor {
    /// What it says of itself.
    pub(crate) authorization: AuthorizationServer,
    /// Its issuer.
    pub(crate) issuer: Arc<str>,
    /// What the server is called there.
    pub(crate) resource: Arc<str>,
    /// Whether requests say so (RFC 8707).
    pub(crate) names_resource: bool,
    /// The scopes that the server knows, where it says so.
    pub(crate) scopes: Option<Scopes>,
    /// Whether the server has named it, and the configuration has not.
    pub(crate) is_strange: bool,
}

impl Grantor {
    /// Returns what somebody's connection at a server is known by.
    pub(crate) fn key(&self, principal: &Arc<str>, server: &Arc<str>) -> ConnectionKey {
        ConnectionKey {
            principal: principal.clone(),
            server: server.clone(),
            issuer: self.issuer.clone(),
            resource: self.resource.clone(),
        }
    }

    /// Returns what requests say that they are about, where they say so.
    pub(crate) fn named_resource(&self) -> Option<&str> {
        self.names_resource.then_some(&*self.resource)
    }
}

/// What the gateway is at an authorization server.
#[derive(Debug)]
pub(crate) enum Client<'c> {
    /// What somebody has registered it as, by the configuration.
    Configured(&'c Registered),
    /// What it says at this URL, which is its id (client ID metadata documents).
    Described(String),
    /// What it has registered itself as (RFC 7591).
    Registered(Registration),
}

impl Client<'_> {
    /// Returns its id.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Configured(registered) => &registered.client_id,
            Self::Described(url) => url,
            Self::Registered(registration) => &registration.client_id,
        }
    }
}
