//! What runs a server: a process of this machine, or a container.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use futures::FutureExt;
use nix::sys::signal::Signal;
use tokio::process::Child;

use crate::hosting::{Cage, Container};

use super::group::Group;

/// What runs a server, from its start until nothing is left of it.
pub(super) enum Body {
    /// A process that leads a group, and what bounds it.
    Process(Process),
    /// A container.
    Container(Container),
}

/// A process that leads a group.
pub(super) struct Process {
    // The group comes before the child, so that it is dropped before: while the child still holds its number.
    group: Group,
    child: Child,
    cage: Option<Cage>,
}

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exit {
    /// With this code.
    Code(i64),
    /// By this signal.
    Signal(i32),
    /// It cannot be told.
    Lost(String),
}

impl Process {
    /// Takes care of a child that was started as the leader of a group.
    pub(super) fn new(child: Child, cage: Option<Cage>) -> Self {
        Self { group: Group::led_by(&child), child, cage }
    }
}

impl Body {
    /// Waits until it has ended. May be cancelled and called again.
    pub(super) async fn wait(&mut self) -> Exit {
        match self {
            Self::Process(process) => Exit::of(process.child.wait().await),
            Self::Container(container) => {
                container.wait().await.map_or_else(|| Exit::Lost("its engine is gone".to_owned()), Exit::Code)
            }
        }
    }

    /// Tells whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        self.wait().now_or_never().is_some()
    }

    /// Sends a signal to all of it; tells whether it was still there to be reached.
    pub(super) async fn signal(&mut self, signal: Signal) -> bool {
        match self {
            Self::Process(process) => {
                process.group.signal(signal);
                true
            }
            Self::Container(container) => container.signal(signal).await,
        }
    }

    /// Says which bound ended it, continuing "server X ...".
    pub(super) async fn exceeded(&self) -> Option<String> {
        match self {
            Self::Process(process) => process.cage.as_ref().and_then(Cage::exceeded),
            Self::Container(container) => container.exceeded().await,
        }
    }

    /// Says which bound it ran into without being ended by it.
    pub(super) fn reached(&self) -> Option<String> {
        match self {
            Self::Process(process) => process.cage.as_ref().and_then(Cage::reached),
            Self::Container(_) => None,
        }
    }

    /// Sees off what is left of it, at once when `killing` completes.
    pub(super) async fn sweep(self, killing: impl Future<Output = ()>) {
        match self {
            Self::Process(Process { group, child, cage }) => {
                tokio::select! {
                    () = group.sweep() => {}
                    // Dropping it kills what is left.
                    () = killing => {}
                }
                drop(child);
                // What has left the group is still in here, and the kernel takes its time to let go of it.
                let _ = tokio::task::spawn_blocking(move || drop(cage)).await;
            }
            // Nothing is gentle about that.
            Self::Container(container) => container.remove().await,
        }
    }
}

impl Exit {
    fn of(status: io::Result<ExitStatus>) -> Self {
        match status {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Self::Code(code.into()),
                (None, Some(signal)) => Self::Signal(signal),
                (None, None) => Self::Lost("nobody knows how".to_owned()),
            },
            Err(error) => Self::Lost(error.to_string()),
        }
    }
}
