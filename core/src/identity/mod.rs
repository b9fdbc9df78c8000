//! Who a caller is.

use std::sync::Arc;

use crate::config::Agent;

/// Who sends a request, as far as it could be told.
#[derive(Debug, Clone)]
pub struct Identity {
    /// What the policy knows it as.
    pub agent: Arc<Agent>,
    /// Who has proved to be whom: the credential's own id (`key:…`), never the credential; nothing where nobody has.
    pub principal: Option<Arc<str>>,
    /// How.
    pub auth: AuthKind,
    /// The name of its client in its canonical form, as it says itself.
    pub client: Option<Arc<str>>,
    /// The tag that it claims.
    pub tag: Option<Arc<str>>,
}

/// How a caller has proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthKind {
    /// Not at all.
    #[default]
    Anonymous,
    /// With an API key.
    ApiKey,
    /// With the one key that all callers share (MCPX's `AUTH_KEY`).
    SharedKey,
}
