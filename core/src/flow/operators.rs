//! Who asks the control plane. **Where there is no admin credential, there is no control plane.**

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

    /// Answers a request for the console; it is there where the control plane is, and whoever comes may have its files.
    #[cfg(feature = "control")]
    pub(super) fn show_console(&self, head: &Parts) -> Reply {
        if self.0.admin_key.load().is_none() {
            return endpoint::not_found();
        }
        console::answer(head, self.host().assets())
    }
}
