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
    /// How the identity provider says who is there and who has left; it does not, where nothing is said.
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
    /// A group of the directory, by its display name.
    Group(String),
}

/// How an identity provider writes to the directory (SCIM 2.0).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scim {
    /// The secret that it presents.
    pub token: SecretName,
    /// Line and column at which that stands.
    pub(crate) place: (u32, u32),
    /// Whose users they are, by the name of their issuer.
    pub issuer: String,
    /// Which attribute of a user is the subject of their tokens.
    pub subject: Attribute,
}

/// An attribute of a user in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// `externalId`.
    ExternalId,
    /// `userName`, whatever its case.
    UserName,
}

impl Console {
    /// Returns the names of the secrets that it needs by itself.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        let own = self.sign_in.iter().filter(|sign_in| !sign_in.is_shared);
        let own = own.filter_map(|sign_in| sign_in.client.client_secret.as_ref());
        own.chain(self.scim.iter().map(|scim| &scim.token))
    }

    /// Returns the names of the claims that decide about roles.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &str> {
        let holders = self.roles.iter().flat_map(|(_, holders)| holders);
        holders.filter_map(|holder| match holder {
            Holder::Claim(name, _) => Some(name.as_str()),
            Holder::Group(_) => None,
        })
    }
}
