//! MCP servers as subprocesses: started, tied to a pipe, stopped.
//!
//! **Nothing is passed to a shell**, and **a process sees only the safe base of the gateway's environment** (see
//! [`environment`]) besides what its configuration says.
//! **Each process leads a process group of its own, and no member of the group outlives the leader**: whatever a
//! server starts goes when it goes. What leaves the group on purpose (a daemon) is out of reach.
//! **Every process is reaped**, however it ended.
//!
//! A process stops because nobody needs its pipe any more, because it broke the pipe, or because the gateway stops.
//! The way is the same: closed standard input, then TERM, then KILL. Should the gateway itself be killed, its
//! servers read the end of their input, which the protocol tells them to take as the end.
//!
//! What the lines say is none of this module's business.

mod body;
pub(crate) mod environment;
mod feed;
pub(crate) mod gated;
mod group;
mod journal;
pub(crate) mod lines;
mod spares;
mod start;
mod stderr;
mod supervise;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::future::pending;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::timeout;

use portcullis_core::config::Command;
use portcullis_core::error::Unreachable;
use portcullis_core::metrics::Gauge;
use portcullis_core::names::ServerName;
use portcullis_core::pipe::PipeEnd;

use crate::audit::Trail;
use crate::hosting::Hosts;
use crate::hosting::packages::Packages;

use spares::Spares;

/// How long killed processes and containers may take to vanish before a stop gives up on them (one may hang in the kernel,
/// and an engine may have much to do).
const REAPING: Duration = Duration::from_secs(20);

/// The running processes. Cheap to clone; every clone speaks of the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Processes {
    /// Each process holds a receiver, so that "no receiver is left" says "every process has gone".
    phase: watch::Sender<Phase>,
    patience: Patience,
    hosts: Hosts,
    packages: Option<Packages>,
    spares: Spares,
    /// Where it is recorded what hosted servers try to reach.
    trail: Option<Trail>,
}

/// What the processes are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Serve while somebody needs them.
    Serving,
    /// Stop, in their own time.
    Stopping,
    /// Stop now.
    Killing,
}

/// How long each step of a stop waits for the process to leave.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// From the closed standard input to TERM.
    closed: Duration,
    /// From TERM to KILL.
    terminated: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { closed: Duration::from_secs(2), terminated: Duration::from_secs(3) }
    }
}

impl Default for Processes {
    fn default() -> Self {
        Self::with_patience(Patience::default())
    }
}

impl Processes {
    /// Has it written down in this data folder which hosted servers run.
    pub(crate) fn noted_in(self, folder: &Path) -> Self {
        Self { hosts: self.hosts.noted_in(folder), ..self }
    }

    /// Ends and removes what gateways have left that are gone, in the background.
    pub(crate) fn sweep_leftovers(&self) {
        self.hosts.sweep();
    }

    fn with_patience(patience: Patience) -> Self {
        Self {
            phase: watch::Sender::new(Phase::Serving),
            patience,
            hosts: Hosts::default(),
            packages: None,
            spares: Spares::default(),
            trail: None,
        }
    }

    /// Has servers that are packages start from what was prepared.
    pub(crate) fn unpacking(self, packages: Packages) -> Self {
        Self { packages: Some(packages), ..self }
    }

    /// The same processes, of which it is recorded what they try to reach.
    pub(crate) fn recorded(self, trail: Trail) -> Self {
        Self { trail: Some(trail), ..self }
    }

    /// Starts `command` as the process of `server` and ties it to `end`.
    ///
    /// Returns once the process runs; a background task then serves it to its end and closes the pipe with the
    /// reason. Cancels [`PipeEnd::next`] at will: a line must not be lost by that. A line of more than `longest` bytes
    /// ends the process.
    ///
    /// # Errors
    /// Says why the process could not be started, or that the gateway is stopping.
    pub(crate) async fn launch(
        &self,
        server: &ServerName,
        command: &Command,
        end: PipeEnd,
        longest: usize,
    ) -> Result<(), Unreachable> {
        let phase = self.phase.subscribe();
        if *phase.borrow() != Phase::Serving {
            return Err(Unreachable::new(server.as_str(), "is not started while the gateway stops"));
        }
        let command = &*self.unpacked(server, command)?;
        let spare = self.spares.take(server, command);
        let process = match spare.and_then(|mut spare| (!spare.body.has_ended()).then_some(spare)) {
            Some(spare) => spare,
            None => start::start(server, command, (&self.hosts, self.trail.clone())).await?,
        };
        let runs = self.spares.while_it_runs(server);
        let supervised = supervise::supervise(process, end, longest, phase, self.patience);
        tokio::spawn(async move {
            supervised.await;
            drop(runs);
        });
        if command.hosting.as_ref().is_some_and(|hosting| hosting.spares > 0) {
            tokio::spawn(self.clone().refill(server.clone(), command.clone()));
        }
        Ok(())
    }

    /// Starts as many servers as are to wait for whoever needs one.
    async fn refill(self, server: ServerName, command: Command) {
        let wanted = command.hosting.as_ref().map_or(0, |hosting| usize::from(hosting.spares));
        let _one_at_a_time = self.spares.filling.lock().await;
        while self.spares.lacks(&server, wanted) && *self.phase.borrow() == Phase::Serving {
            match start::start(&server, &command, (&self.hosts, self.trail.clone())).await {
                Ok(started) => self.spares.put(command.clone(), started),
                Err(error) => {
                    tracing::warn!(%server, %error, "no spare could be started");
                    return;
                }
            }
        }
        if *self.phase.borrow() != Phase::Serving {
            self.give_up_spares().await;
        }
    }

    async fn give_up_spares(&self) {
        let spares = self.spares.take_all().into_iter();
        join_all(spares.map(|spare| spare.body.sweep(pending()))).await;
    }

    /// Returns a command whose program is one that was prepared, where it is a package.
    fn unpacked<'c>(
        &self,
        server: &ServerName,
        command: &'c Command,
    ) -> Result<Cow<'c, Command>, Unreachable> {
        let Some(packages) = &self.packages else { return Ok(Cow::Borrowed(command)) };
        packages.unpack(server.as_str(), command).map_err(|why| {
            Unreachable::new(server.as_str(), format!("could not be started: {why}")).undelivered()
        })
    }

    /// Returns what hosted servers reached.
    pub(crate) fn traffic(&self) -> Vec<Gauge> {
        self.hosts.traffic().gauges()
    }

    /// Returns how many processes there are.
    pub(crate) fn count(&self) -> usize {
        self.phase.receiver_count()
    }

    /// Stops every process and waits until all have gone; kills those that have not after `deadline`.
    ///
    /// Nothing can be launched afterwards.
    pub(crate) async fn stop_all(&self, deadline: Duration) {
        self.phase.send_replace(Phase::Stopping);
        self.give_up_spares().await;
        if timeout(deadline, self.phase.closed()).await.is_ok() {
            return;
        }
        self.phase.send_replace(Phase::Killing);
        if timeout(REAPING, self.phase.closed()).await.is_err() {
            tracing::warn!(left = self.phase.receiver_count(), "processes survived being killed");
        }
    }
}
