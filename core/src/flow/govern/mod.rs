//! What a gateway answers that governs: each operation of `control/operations/governing.rs`, one arm each.

mod instances;
mod me;

use super::control::Asked;
use crate::body::Reply;
use crate::control::answer::{Fault, answer};
use crate::control::operations::{Governing, openapi};
use crate::gateway::Gateway;
use crate::ports::Host;

impl<H: Host> Gateway<H> {
    /// Does what an operation is.
    pub(super) async fn govern(&self, does: Governing, asked: &Asked<'_>) -> Result<Reply, Fault> {
        match does {
            Governing::Describe => Ok(answer(http::StatusCode::OK, &openapi::document())),
            Governing::ShowMe => Ok(self.show_me(asked)),
            Governing::ShowSessions => self.show_sessions(asked).await,
            Governing::EndSession => self.end_session_of(asked.value(), asked).await,
            Governing::ShowInstances => self.show_instances(asked).await,
            Governing::RemoveInstance => self.remove_instance(asked).await,
            Governing::Reviewing(does) => self.reviewing(does, asked).await,
            // These have a door of their own.
            Governing::Listing(_) => Err(Fault::nowhere()),
        }
    }
}
