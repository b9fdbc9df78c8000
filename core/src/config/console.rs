//! Who governs the gateway, as a configuration says it: where they sign in, and what makes them what.
//!
//! **Nobody has a role that is not written**: who has signed in and matches none is a member, where members are let in at all.

use std::time::Duration;

use super::policy::SignIn;
use crate::control::Role;
use crate::secrets::SecretName;

/// How long somebody stays signed in where nothing is said.
pub(crate) const DEFAULT_SESSION: Duration = Duration::from_hours(8);

/// Who governs, and how they sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// How people sign in; nobody does where nothing is said.
    pub sign_in: Option<ConsoleSignIn>,
    /// What makes somebody what, the roles in the order of [`Role::ALL`].
    pub roles: Vec<(Role, Vec<Holder>)>,
    /// Whether who has no role is let in as a member.
    pub members: bool,
    /// How long somebody stays signed in.
    pub session: Duration,
    /// How the identity provider provisions users and groups, where it does.
    pub scim: Option<Scim>,
}

impl Default for Console {
    fn default() -> Self {
        Self { sign_in: None, roles: Vec::new(), members: false, session: DEFAULT_SESSION, scim: None }
    }
}

/// How people sign in at the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleSignIn {
    /// What the gateway is at the provider.
    pub client: SignIn,
    /// Whether that is what `auth.sign_in` says; else it is the console's own.
    pub is_shared: bool,
}

/// What makes somebody hold a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A claim of their token that has this value, or has it among others.
    Claim(String, String),
    /// A group that the identity provider has provisioned, by its name.
    Group(String),
}

/// How the identity provider provisions users and groups (RFC 7644).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scim {
    /// The secret that its requests carry.
    pub token: SecretName,
    /// The line and the column at which it is named.
    pub(crate) place: (u32, u32),
    /// The claim of a token by which its bearer is found in the directory.
    pub claim: String,
    /// The attribute of a user that the claim equals.
    pub attribute: Attribute,
}

/// An attribute of a provisioned user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// What the provider calls the user.
    ExternalId,
    /// What the user signs in as.
    UserName,
}

impl Console {
    /// Returns the names of the secrets that it needs by itself.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        let own = self.sign_in.iter().filter(|sign_in| !sign_in.is_shared);
        let own = own.filter_map(|sign_in| sign_in.client.client_secret.as_ref());
        own.chain(self.scim.iter().map(|scim| &scim.token))
    }

    /// Returns the names of the claims that decide about roles, and about who is who in the directory.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &str> {
        let of_roles = self.roles.iter().flat_map(|(_, holders)| holders).filter_map(|holder| match holder {
            Holder::Claim(name, _) => Some(name.as_str()),
            Holder::Group(_) => None,
        });
        of_roles.chain(self.scim.iter().map(|scim| scim.claim.as_str()))
    }
}
