//! What is kept of a token once it has been verified; the token itself only where a server acts on behalf of whoever has it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Claimed, Subject, first};
use crate::config::{Agent, Issuer, Match, Policy, SubjectType};
use crate::oauth::Claims;
use crate::secrets::Secret;

/// Somebody who has signed in with an identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bearer {
    /// The claims and values that the policy asked for, and whether the token has them.
    claims: Vec<(String, String, bool)>,
    /// The settings of its issuer that it was judged by.
    judged_by: u64,
    /// When the token ends, in milliseconds since the Unix epoch.
    pub expires: u64,
    /// The token, where some server acts on behalf of whoever has it.
    // Not left out where there is none: what is sealed has no names.
    pub(crate) subject: Option<Arc<Subject>>,
}

impl Bearer {
    /// Keeps of the claims of an issuer's token what a policy asks for.
    pub(crate) fn new(claims: &Claims, policy: &Policy, issuer: &Issuer) -> Self {
        let asked = pairs(policy).map(|(name, value)| (name.clone(), value.clone(), claims.has(name, value)));
        Self { claims: asked.collect(), judged_by: issuer.digest(), expires: claims.expires, subject: None }
    }

    /// Tells whether it was judged as an issuer is configured now.
    pub(crate) fn is_of(&self, issuer: &Issuer) -> bool {
        self.judged_by == issuer.digest()
    }

    /// Keeps the token as well, which that issuer has made, and what it is where that is certain.
    pub(crate) fn keeping(self, token: &str, issuer: &str, kind: Option<SubjectType>) -> Self {
        let token = Secret::new(token.to_owned()).ok();
        let expires = self.expires;
        let subject = token.map(|token| Arc::new(Subject { token, kind, issuer: issuer.into(), expires }));
        Self { subject, ..self }
    }

    /// Returns the agent that a policy finds by the claims: nothing where it asks for some that nobody has looked at.
    pub(super) fn agent<'p>(&self, policy: &'p Policy) -> Option<Claimed<'p>> {
        let is_known = |(name, value): (&String, &String)| self.has(name, value).is_some();
        if !pairs(policy).all(is_known) {
            return None;
        }
        let by_claim =
            |way: &Match| matches!(way, Match::Claim(name, value) if self.has(name, value) == Some(true));
        Some(first(policy, by_claim))
    }

    /// Tells whether everything is known that a policy asks of claims.
    pub(crate) fn suits(&self, policy: &Policy) -> bool {
        self.agent(policy).is_some()
    }

    fn has(&self, name: &str, value: &str) -> Option<bool> {
        self.claims.iter().find(|(n, v, _)| n == name && v == value).map(|(.., has)| *has)
    }
}

/// Returns what a policy asks of claims.
fn pairs(policy: &Policy) -> impl Iterator<Item = (&String, &String)> {
    let ways = policy.agents.iter().flat_map(|agent: &Arc<Agent>| &agent.matches);
    ways.filter_map(|way| match way {
        Match::Claim(name, value) => Some((name, value)),
        Match::ApiKey(_) | Match::Tag(_) | Match::Client(_) => None,
    })
}

/// Returns the agent that a policy finds by the claims of somebody whose claims of some names are known: nobody where it asks
/// for others.
#[cfg(feature = "control")]
pub(crate) fn agent_of_claims<'p>(
    policy: &'p Policy,
    claims: &Claims,
    is_known: impl Fn(&str) -> bool,
) -> Claimed<'p> {
    if !claims_asked(policy).all(is_known) {
        return None;
    }
    first(policy, |way| matches!(way, Match::Claim(name, value) if claims.has(name, value)))
}

/// Returns the names of the claims that a policy asks for.
#[cfg(feature = "control")]
pub(crate) fn claims_asked(policy: &Policy) -> impl Iterator<Item = &str> {
    pairs(policy).map(|(name, _)| name.as_str())
}

/// Tells whether a policy asks for a value of a claim.
#[cfg(feature = "control")]
pub(crate) fn asks(policy: &Policy, name: &str, value: &str) -> bool {
    pairs(policy).any(|(n, v)| n == name && v == value)
}
