//! Who governs: the admin credential, or somebody who has signed in, and in which role.
//!
//! **A role never widens by itself**: who is nobody in the configuration's roles is a member, and a member sees what is theirs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What somebody may do with the control plane. The order is that in which roles are listed, not one of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// What keeps a gateway going: servers, policy, secrets, approvals; not who has which role, and no gateways.
    Operator,
    /// Reads everything that is recorded and configured, and changes nothing.
    Auditor,
    /// Their own: agents, keys, connections and activity.
    Member,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Operator, Self::Auditor, Self::Member];

    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Member => "member",
        }
    }
}

/// Somebody who governs, for as long as one request takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operator {
    /// Their principal: `admin` for who has the admin credential, `user:ISSUER:SUBJECT` for who has signed in. It stands in
    /// versions and in the trail.
    pub(crate) principal: Arc<str>,
    /// What people call them, where that is known.
    pub(crate) name: Option<Arc<str>>,
    /// What they may do.
    pub(crate) role: Role,
    /// The agents that are theirs: those whose keys a member may make.
    pub(crate) agents: Vec<Arc<str>>,
    /// The session that they ask with, by the digest of its id; none for who sends a credential.
    pub(crate) session: Option<Arc<str>>,
}

impl Operator {
    /// Who has the admin credential.
    pub(crate) fn admin() -> Self {
        Self { principal: "admin".into(), name: None, role: Role::Admin, agents: Vec::new(), session: None }
    }
}
