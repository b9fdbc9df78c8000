//! Servers that are started before anybody needs them, so that whoever does need not wait for their start.
//!
//! **A spare has been told nothing yet**: it is whoever's takes it first, and nobody's before. Spares stay as long as an instance
//! of their server runs, so that nothing is left of a server that is no longer configured, or that nobody needs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_core::config::Command;
use portcullis_core::names::ServerName;
use portcullis_core::sorted::SortedMap;

use super::start::Started;

/// The spares there are. Cheap to clone; every clone speaks of the same ones.
#[derive(Clone, Default)]
pub(super) struct Spares {
    kept: Arc<Mutex<Kept>>,
    /// Held by whoever starts spares: two would start too many.
    pub(super) filling: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Kept {
    spares: Vec<Spare>,
    /// How many instances of each server run.
    running: SortedMap<ServerName, usize>,
}

/// One of them, and of what it is a start.
struct Spare {
    command: Command,
    started: Started,
}

/// That an instance of a server runs, as long as this lives.
pub(super) struct Runs {
    spares: Spares,
    server: ServerName,
}

impl Spares {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an instance of a server runs.
    pub(super) fn while_it_runs(&self, server: &ServerName) -> Runs {
        *self.kept().running.entry(server.clone()).or_default() += 1;
        Runs { spares: self.clone(), server: server.clone() }
    }

    /// Takes one that is a start of this, where there is one. Those of a server that is started otherwise by now are let go.
    pub(super) fn take(&self, server: &ServerName, command: &Command) -> Option<Started> {
        let mut kept = self.kept();
        kept.spares.retain(|spare| spare.started.server != *server || spare.command == *command);
        let place = kept.spares.iter().position(|spare| spare.started.server == *server)?;
        Some(kept.spares.swap_remove(place).started)
    }

    /// Tells whether there are fewer spares of a server than so many, and it runs.
    pub(super) fn lacks(&self, server: &ServerName, wanted: usize) -> bool {
        let kept = self.kept();
        let there = kept.spares.iter().filter(|spare| spare.started.server == *server).count();
        there < wanted && kept.running.get(server).is_some_and(|running| *running > 0)
    }

    /// Keeps one, where an instance of its server runs.
    pub(super) fn put(&self, command: Command, started: Started) {
        let mut kept = self.kept();
        if kept.running.get(&started.server).is_some_and(|running| *running > 0) {
            kept.spares.push(Spare { command, started });
        }
    }

    /// Takes all of them.
    pub(super) fn take_all(&self) -> Vec<Started> {
        self.kept().spares.drain(..).map(|spare| spare.started).collect()
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        let mut kept = self.spares.kept();
        let Some(running) = kept.running.get_mut(&self.server) else { return };
        *running -= 1;
        if *running == 0 {
            kept.running.remove(&self.server);
            // Whatever a spare is, dropping it ends it.
            let gone: Vec<_> =
                kept.spares.extract_if(.., |spare| spare.started.server == self.server).collect();
            drop(kept);
            drop(gone);
        }
    }
}

impl std::fmt::Debug for Spares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spares").finish_non_exhaustive()
    }
}
