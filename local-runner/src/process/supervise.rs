//! The life of a process: served until something ends it, stopped, reaped, accounted for.

use std::future::pending;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use portcullis_core::pipe::{PipeEnd, PipeInbox};

use crate::hosting::Cage;

use super::feed::feed;
use super::group::Group;
use super::lines::{Line, Lines};
use super::start::Process;
use super::stderr::{self, LastWords};
use super::{Patience, Phase};

/// How long output may still come once the process group has gone: only what left the group holds it open.
const DRAIN: Duration = Duration::from_secs(1);

/// Why a process is not served any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nobody needs it.
    Unneeded,
    /// It has exited.
    Exited,
    /// It reads no more.
    InputClosed,
    /// It writes no more.
    OutputClosed,
    /// It leaves its input unread.
    Stuck,
    /// It wrote a line of more than so many bytes.
    Overlong(usize),
}

impl Ending {
    /// Returns what the process did wrong, where that is plain before it leaves.
    fn fault(self) -> Option<String> {
        match self {
            Self::Overlong(longest) => {
                Some(format!("sent a line of more than {longest} bytes (`gateway.limits.message`)"))
            }
            Self::Stuck => Some("does not read its input".to_owned()),
            Self::Unneeded | Self::Exited | Self::InputClosed | Self::OutputClosed => None,
        }
    }
}

/// Serves `process` to its end and closes the pipe with the reason.
pub(super) async fn supervise(
    process: Process,
    mut end: PipeEnd,
    longest: usize,
    mut phase: watch::Receiver<Phase>,
    patience: Patience,
) {
    // The group comes after the child, so that it is dropped before: while the child still holds its number.
    let Process { server, mut child, mut group, stdin, stdout, stderr, veil, cage } = process;
    let words = LastWords::default();
    let (report, output_ended) = oneshot::channel();
    let mut readers = JoinSet::new();
    readers.spawn(stderr::log(server.clone(), stderr, words.clone(), veil));
    readers.spawn(relay(Lines::new(stdout, longest), end.inbox(), report));

    let ending = tokio::select! {
        _ = child.wait() => Ending::Exited,
        ending = feed(stdin, &mut end) => ending,
        ending = output_ended => ending.unwrap_or(Ending::OutputClosed),
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => Ending::Unneeded,
    };
    end.leave(match ending {
        Ending::Exited => exit(&child.wait().await),
        _ => "is being stopped".to_owned(),
    });
    if let Some(fault) = ending.fault() {
        // Whoever waits need not wait for the process to leave.
        end.close(fault);
    }
    let departure = stop(&mut child, &mut group, &mut phase, patience).await;
    tokio::select! {
        () = group.sweep() => {}
        // Dropping the group kills it.
        () = killing(&mut phase) => {}
    }
    // What is left of the output comes before the news of the end; after this long, nobody is left to write it.
    let _ = timeout(DRAIN, async { while readers.join_next().await.is_some() {} }).await;

    let exceeded = cage.as_ref().and_then(Cage::exceeded);
    if let Some(reached) = cage.as_ref().and_then(Cage::reached) {
        tracing::warn!(%server, "{reached}");
    }
    let reason = exceeded.unwrap_or_else(|| reason(ending, &departure));
    // Only here: what a server says to its operator may hold what agents must not see.
    let peak = cage.as_ref().and_then(|cage| cage.usage().peak);
    tracing::info!(%server, reason, last_words = words.heard(), peak, "process gone");
    end.close(reason);
}

/// Passes the lines of standard output on until they end, and reports how they ended.
async fn relay(
    mut lines: Lines<impl tokio::io::AsyncRead + Unpin>,
    inbox: PipeInbox,
    report: oneshot::Sender<Ending>,
) {
    let ending = loop {
        match lines.next().await {
            Ok(Some(Line::Whole(line))) => inbox.receive(line),
            Ok(Some(Line::Cut(line))) => break Ending::Overlong(line.len()),
            Ok(None) | Err(_) => break Ending::OutputClosed,
        }
    };
    // The supervisor does not listen any more where it has another reason already.
    let _ = report.send(ending);
}

/// How a process left.
struct Departure {
    status: io::Result<ExitStatus>,
    /// The last signal that it needed.
    pressed: Option<Signal>,
}

/// Waits for a process whose input is closed; presses harder each time its patience ends.
async fn stop(
    child: &mut Child,
    group: &mut Group,
    phase: &mut watch::Receiver<Phase>,
    patience: Patience,
) -> Departure {
    let mut pressed = None;
    for (wait, signal) in [(patience.closed, Signal::SIGTERM), (patience.terminated, Signal::SIGKILL)] {
        tokio::select! {
            biased;
            status = child.wait() => return Departure { status, pressed },
            () = killing(phase) => {}
            () = sleep(wait) => {}
        }
        group.signal(signal);
        pressed = Some(signal);
    }
    Departure { status: child.wait().await, pressed }
}

/// Completes once the processes are to be killed.
async fn killing(phase: &mut watch::Receiver<Phase>) {
    if phase.wait_for(|phase| *phase == Phase::Killing).await.is_err() {
        pending::<()>().await;
    }
}

/// Says why the process has gone, continuing "server X ...".
fn reason(ending: Ending, departure: &Departure) -> String {
    match (ending, departure.pressed) {
        (Ending::Unneeded, _) => "was stopped".to_owned(),
        (Ending::InputClosed, Some(_)) => "closed its input".to_owned(),
        (Ending::OutputClosed, Some(_)) => "closed its output".to_owned(),
        _ => ending.fault().unwrap_or_else(|| exit(&departure.status)),
    }
}

fn exit(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(number)) => match Signal::try_from(number) {
                Ok(signal) => format!("was killed by {signal}"),
                Err(_) => format!("was killed by signal {number}"),
            },
            (None, None) => "exited".to_owned(),
        },
        Err(error) => format!("was lost: {error}"),
    }
}
