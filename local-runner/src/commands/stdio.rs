//! `stdio`: the gateway on standard input and output.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{Stream, StreamExt, stream};
use portcullis_core::error::Refusal;
use portcullis_core::identity::Proof;
use portcullis_core::{Exposure, refuse_lines, serve_lines};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::task::JoinHandle;

use super::{find, observed, start_recorded, stopped};
use crate::cli::Stdio;
use crate::host::Machine;
use crate::live::{self, Guarded};
use crate::otlp::Telemetry;

/// How long the servers' processes may take to stop.
const STOP: Duration = Duration::from_secs(6);

/// How long requests that are being answered when the input ends may take.
const GRACE: Duration = Duration::from_secs(10);

pub(super) async fn run(args: &Stdio, telemetry: Option<Arc<Telemetry>>) -> anyhow::Result<ExitCode> {
    let lines = lines();
    let (sender, writing) = writer();
    let machine = if telemetry.is_some() { observed(telemetry.clone()) } else { Machine::new() };
    let machine = (machine, telemetry);
    let started =
        find(&args.setup).and_then(|found| start_recorded(&args.setup, found, Exposure::Loopback, machine));
    let mut local = match started {
        Ok(local) => local,
        Err(error) => {
            // Whoever started this hears the reason in the protocol, where a process that just ends would say nothing.
            if let Some(refusal) = error.downcast_ref::<Refusal>() {
                Box::pin(refuse_lines(refusal, lines, sender)).await;
                writing.await?;
            }
            return Err(error);
        }
    };
    let gateway = local.gateway.clone();
    let following = live::follow((gateway.clone(), None), std::mem::take(&mut local.place), Guarded::No)?;
    let who = args.agent.as_deref().map_or_else(Proof::default, Proof::of_agent);
    let (ended, input_ended) = tokio::sync::oneshot::channel::<()>();
    let lines = lines.chain(stream::once(async move { drop(ended) }).filter_map(async |()| None));
    // The end of the input ends the gateway: what is being answered has a little longer.
    let grace = async {
        let _ = input_ended.await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = Box::pin(serve_lines(gateway.clone(), who, lines, sender)) => writing.await?,
        () = grace => tracing::warn!("some requests did not end in time"),
        () = stopped()? => {}
    }
    following.abort();
    gateway.stop();
    local.end(STOP).await;
    Ok(ExitCode::SUCCESS)
}

/// The lines of standard input.
pub(super) fn lines() -> impl Stream<Item = Bytes> {
    stream::unfold(BufReader::new(tokio::io::stdin()), |mut input| async move {
        let mut line = Vec::new();
        match input.read_until(b'\n', &mut line).await {
            Ok(0) => None,
            Ok(_) => Some((Bytes::from(line), input)),
            Err(error) => {
                tracing::error!(%error, "cannot read standard input");
                None
            }
        }
    })
}

/// Writes what it is sent to standard output, until nobody sends or nobody reads any more.
pub(super) fn writer() -> (mpsc::Sender<Bytes>, JoinHandle<()>) {
    let (sender, mut out) = mpsc::channel::<Bytes>(64);
    let writing = tokio::spawn(async move {
        let mut stdout = tokio::io::stdout();
        while let Some(line) = out.next().await {
            if stdout.write_all(&line).await.is_err() || stdout.flush().await.is_err() {
                return;
            }
        }
    });
    (sender, writing)
}
