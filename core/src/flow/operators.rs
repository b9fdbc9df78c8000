//! Who asks the control plane. **Where there is no admin credential, there is no control plane.**

use http::request::Parts;

use crate::control::answer::Fault;
use crate::control::who::Operator;
use crate::gateway::Gateway;
use crate::ports::Host;

impl<H: Host> Gateway<H> {
    /// Returns who governs by this request, or why nobody does; nothing where there is no control plane.
    pub(super) fn operator(&self, head: &Parts) -> Option<Result<Operator, Fault>> {
        let admin = self.0.admin_key.load_full()?;
        if admin.is_in(&head.headers) {
            return Some(Ok(Operator::admin()));
        }
        self.refuse_stranger(head);
        Some(Err(Fault::stranger()))
    }

    /// Tells whether anybody can sign in to govern, besides the admin credential.
    #[cfg(feature = "control")]
    #[expect(clippy::unused_self, reason = "nobody can yet")]
    pub(super) fn signs_operators_in(&self) -> bool {
        false
    }
}
