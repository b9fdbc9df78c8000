//! `gate`: puts the network of a process behind a gate, for as long as the command runs.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use portcullis_core::config::Audit;

use super::say;
use crate::audit::Trail;
use crate::cli::{Gate as Args, GateSockets};
use crate::data;
use crate::hosting::Traffic;
use crate::hosting::gate::{Caps, Gate, Policy, Recorder, hand_over_sockets_of, sockets_of};

/// Opens a gate, and keeps it open until it is stopped.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let folder = data::folder(args.data_dir)?;
    let trail = Trail::begin(&folder, &Audit::default(), None).context("the audit trail")?;
    let places = [args.places, args.private].concat();
    let default = Caps::default();
    let caps = Caps {
        connections: args.most_connections.unwrap_or(default.connections),
        bytes: args.most_bytes.unwrap_or(default.bytes),
    };
    let sockets = sockets_of(args.pid, &Policy::new(places.clone()).ports()).await?;
    let witness = Recorder::new(Some(trail.clone()), args.server.as_str().into(), Traffic::default());
    let gate = Gate::open(sockets, places, caps, Arc::new(witness))?;
    say(format_args!("the gate of {} is open", args.server));
    super::stopped()?.await;
    gate.close().await;
    trail.stop();
    Ok(ExitCode::SUCCESS)
}

/// Hands the sockets of a network over. Has to run in a process with one thread.
pub(crate) fn hand_over(args: &GateSockets) -> anyhow::Result<ExitCode> {
    hand_over_sockets_of(args.pid, &args.ports)?;
    Ok(ExitCode::SUCCESS)
}
