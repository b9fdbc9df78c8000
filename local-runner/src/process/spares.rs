//! Servers that are started before anybody needs them, so that whoever does need not wait for their start.
//!
//! **A spare has been told nothing yet**: it is whoever's takes it first, and nobody's before.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::config::Command;
use portcullis_core::names::ServerName;

use super::start::Started;

/// The spares there are. Cheap to clone; every clone speaks of the same ones.
#[derive(Clone, Default)]
pub(super) struct Spares(Arc<Mutex<Vec<Spare>>>);

/// One of them, and of what it is a start.
struct Spare {
    command: Command,
    started: Started,
}

impl Spares {
    /// Takes one that is a start of this, where there is one. Those of a server that is started otherwise by now are let go.
    pub(super) fn take(&self, server: &ServerName, command: &Command) -> Option<Started> {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spares.retain(|spare| spare.started.server != *server || spare.command == *command);
        let place = spares.iter().position(|spare| spare.started.server == *server)?;
        Some(spares.swap_remove(place).started)
    }

    /// Returns how many of a server there are.
    pub(super) fn count(&self, server: &ServerName) -> usize {
        let spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spares.iter().filter(|spare| spare.started.server == *server).count()
    }

    /// Keeps one.
    pub(super) fn put(&self, command: Command, started: Started) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Spare { command, started });
    }

    /// Takes all of them.
    pub(super) fn take_all(&self) -> Vec<Started> {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spares.drain(..).map(|spare| spare.started).collect()
    }
}

impl std::fmt::Debug for Spares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spares").finish_non_exhaustive()
    }
}
