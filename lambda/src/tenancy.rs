//! Whose an environment is, where Lambda keeps an environment for each tenant.
//!
//! **The platform says which tenant a request is of, and the gateway which identity; an environment is one identity's only where
//! both have always been the same.** So it does not matter how a tenant's id came to the platform: two identities that share one
//! are not served by the same environment.

use std::sync::{Arc, Mutex, PoisonError};

/// What an environment has seen. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Tenancy(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    tenant: Only,
    identity: Only,
    /// Whether requests came that were of no tenant.
    of_none: bool,
}

/// What has always been the same.
#[derive(Default)]
enum Only {
    /// There was none.
    #[default]
    None,
    One(String),
    Several,
}

impl Only {
    fn see(&mut self, text: &str) {
        match self {
            Self::None => *self = Self::One(text.to_owned()),
            Self::One(before) if before != text => *self = Self::Several,
            Self::One(_) | Self::Several => {}
        }
    }
}

impl Tenancy {
    /// Takes note of which tenant an invocation is of, as the platform says.
    pub(crate) fn invoked_for(&self, tenant: Option<&str>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match tenant {
            Some(tenant) => seen.tenant.see(tenant),
            None => seen.of_none = true,
        }
    }

    /// Takes note of an identity that was let in; tells whether the environment is its own, or why not.
    pub(crate) fn is_owned_by(&self, owner: &str) -> Result<(), &'static str> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.identity.see(owner);
        match (&seen.tenant, &seen.identity) {
            (Only::None, _) => Err(
                "each identity is to have a gateway of its own, and this function serves all by the same: its operator has \
                 to deploy it with `Isolation=tenant`, for which Lambda keeps an environment for each tenant",
            ),
            (Only::One(_), Only::One(_)) if !seen.of_none => Ok(()),
            _ => Err(
                "each identity is to have a gateway of its own, and this one has served another: each identity has to come \
                 with a key of API Gateway that is its own",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_ones_own_while_tenant_and_identity_are_the_same() {
        let served = |requests: &[(Option<&str>, &str)]| -> Vec<bool> {
            let tenancy = Tenancy::default();
            let serve = |(tenant, owner): &(Option<&str>, &str)| {
                tenancy.invoked_for(*tenant);
                tenancy.is_owned_by(owner).is_ok()
            };
            requests.iter().map(serve).collect()
        };
        let (a, b) = (Some("a"), Some("b"));
        assert_eq!(served(&[(a, "key:1"), (a, "key:1")]), [true, true]);
        assert_eq!(served(&[(a, "key:1"), (a, "key:2"), (a, "key:1")]), [true, false, false]);
        assert_eq!(served(&[(a, "key:1"), (b, "key:1"), (a, "key:1")]), [true, false, false]);
        assert_eq!(served(&[(None, "key:1"), (None, "key:1")]), [false, false]);
        assert_eq!(served(&[(None, "key:1"), (a, "key:1")]), [false, false]);
        assert_eq!(served(&[(a, "key:1"), (None, "key:1"), (a, "key:1")]), [true, false, false]);
    }
}
