//! What the end of an agent's call says about its server, told to the server's circuit.

use std::sync::Arc;

use crate::error::Unreachable;
use crate::upstream::circuit::{Admission, Failed};
use crate::upstream::{Nudge, Server};

/// A call that a server's circuit has let through. Dropping it says nothing about the server.
#[derive(Debug)]
pub(crate) struct Trial {
    server: Arc<Server>,
    admission: Admission,
    /// When it began, in milliseconds since the Unix epoch.
    began: u64,
}

impl Trial {
    /// Begins a call, unless the server is left alone for now.
    pub(crate) fn begin(server: &Arc<Server>, now: u64) -> Result<Self, Unreachable> {
        let admission = server.circuit.admit(now).map_err(|opened| server.error(opened.to_string()))?;
        Ok(Self { server: server.clone(), admission, began: now })
    }

    /// The server has answered, be it with an error.
    pub(crate) fn answered(&self, now: u64) {
        if self.server.circuit.answered(now) {
            tracing::info!(server = %self.server.name, "server answers calls again");
        }
    }

    /// The server has failed to answer.
    pub(crate) fn failed(&self, error: &Unreachable, now: u64) {
        let failed = Failed { kind: error.failure, reason: &error.message, began: self.began };
        if self.server.circuit.failed(self.admission, &failed, now) {
            tracing::warn!(server = %self.server.name, reason = %error.message, "server is not asked for a while: its calls fail");
            // Whether it still answers its keeper tells a dead server from one slow tool.
            let _ = self.server.nudge.unbounded_send(Nudge::Stale);
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.server.circuit.gave_up(self.admission);
    }
}
