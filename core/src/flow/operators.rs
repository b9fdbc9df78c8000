//! Who asks the control plane: who has the admin credential, or somebody who has signed in at the console.
//!
//! **Where there is neither an admin credential nor a way to sign in, there is no control plane.** A request that carries a
//! credential is judged by that alone.

use http::request::Parts;

#[cfg(feature = "control")]
use crate::body::Reply;
use crate::control::answer::Fault;
#[cfg(feature = "control")]
use crate::control::console;
use crate::control::who::Operator;
#[cfg(feature = "control")]
use crate::endpoint;
use crate::gateway::Gateway;
use crate::ports::Host;

impl<H: Host> Gateway<H> {
    /// Tells whether there is a control plane.
    pub(super) fn is_governed(&self) -> bool {
        #[cfg(feature = "control")]
        let has_sign_in = self.0.snapshot.load().config.console.sign_in.is_some();
        #[cfg(not(feature = "control"))]
        let has_sign_in = false;
        has_sign_in || self.0.admin_key.load().is_some()
    }

    /// Returns who governs by this request, or why nobody does; nothing where there is no control plane.
    #[cfg_attr(
        not(feature = "control"),
        expect(clippy::unused_async, reason = "who has signed in is read from a store")
    )]
    pub(super) async fn operator(&self, head: &Parts) -> Option<Result<Operator, Fault>> {
        if !self.is_governed() {
            return None;
        }
        let admin = self.0.admin_key.load_full();
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

    /// Answers a request for the console; it is there where the control plane is, and whoever comes may have its files.
    #[cfg(feature = "control")]
    pub(super) fn show_console(&self, head: &Parts) -> Reply {
        if !self.is_governed() {
            return endpoint::not_found();
        }
        console::answer(head, self.host().assets())
    }
}
