//! Who asks the control plane: who has the admin credential, or somebody who has signed in at the console.
//!
//! **Where there is neither an admin credential nor a way to sign in, there is no control plane.** A request that carries a
//! credential is judged by that alone.

use http::request::Parts;

use crate::control::answer::Fault;
use crate::control::who::Operator;
use crate::gateway::Gateway;
use crate::ports::Host;

impl<H: Host> Gateway<H> {
    /// Returns who governs by this request, or why nobody does; nothing where there is no control plane.
    #[cfg_attr(
        not(feature = "control"),
        expect(clippy::unused_async, reason = "who has signed in is read from a store")
    )]
    pub(super) async fn operator(&self, head: &Parts) -> Option<Result<Operator, Fault>> {
        let admin = self.0.admin_key.load_full();
        #[cfg(feature = "control")]
        let has_sign_in = self.0.snapshot.load().config.console.sign_in.is_some();
        #[cfg(not(feature = "control"))]
        let has_sign_in = false;
        if admin.is_none() && !has_sign_in {
            return None;
        }
        if admin.is_some_and(|admin| admin.is_in(&head.headers)) {
            return Some(Ok(Operator::admin()));
        }
        #[cfg(feature = "control")]
        if let Some(signed_in) = self.signed_in(head).await {
            return Some(signed_in);
        }
        self.refuse_stranger(head);
        Some(Err(Fault::stranger()))
    }
}
