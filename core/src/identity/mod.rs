//! Who a caller is.

use std::sync::Arc;

use crate::acl::{Condition, Truth};
use crate::config::{Agent, Policy};
use crate::wire::json::Json;

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

impl Identity {
    /// Returns somebody of whom nothing is known.
    pub(crate) fn anonymous(policy: &Policy) -> Self {
        let agent = policy.default.clone();
        Self { agent, principal: None, auth: AuthKind::Anonymous, client: None, tag: None }
    }

    /// Returns what a condition comes to for this caller; `arguments` are there once they are known.
    pub(crate) fn truth(&self, condition: &Condition, arguments: Option<Json<'_>>, _now: u64) -> Truth {
        if condition.reads_arguments() && arguments.is_none() { Truth::Depends } else { Truth::Undecided }
    }
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
