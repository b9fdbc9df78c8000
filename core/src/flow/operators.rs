//! Who asks the control plane. **Where there is no admin credential, there is no control plane.**

use http::request::Parts;

use crate::control::answer::Fault;
use crate::control::who::Operator;
use crate::gateway::Gateway;
use crate::ports::Host;

impl<H: Host> Gateway<H> {
    /// Returns who governs by this request, or why nobody does; nothing where there is no control plane.
    #[expect(clippy::unused_async, reason = "who has signed in is read from a store")]
    pub(super) async fn operator(&self, head: &Parts) -> Option<Result<Operator, Fault>> {
        let admin = self.0.admin_key.load_full()?;
        if admin.is_in(&head.headers) {
            return Some(Ok(Operator::admin()));
        }
        self.refuse_stranger(head);
        Some(Err(Fault::stranger()))
    }
}
