//! The life of a process: served until something ends it, stopped, reaped, accounted for.

use std::future::pending;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use portcullis_core::pipe::{PipeEnd, PipeInbox};

use super::body::{Body, Exit};
use super::feed::feed;
use super::lines::{Line, Lines};
use super::start::Started;
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
    started: Started,
    mut end: PipeEnd,
    longest: usize,
    mut phase: watch::Receiver<Phase>,
    patience: Patience,
) {
    let Started { server, mut body, stdin, stdout, stderr, veil, noted: _noted, log, gate } = started;
    let words = LastWords::default();
    let (report, output_ended) = oneshot::channel();
    let mut readers = JoinSet::new();
    readers.spawn(stderr::log(server.clone(), stderr, words.clone(), veil, log));
    readers.spawn(relay(Lines::new(stdout, longest), end.inbox(), report));

    let ending = tokio::select! {
        _ = body.wait() => Ending::Exited,
        ending = feed(stdin, &mut end) => ending,
        ending = output_ended => ending.unwrap_or(Ending::OutputClosed),
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => Ending::Unneeded,
    };
    end.leave(match ending {
        Ending::Exited => exit(&body.wait().await),
        _ => "is being stopped".to_owned(),
    });
    if let Some(fault) = ending.fault() {
        // Whoever waits need not wait for the process to leave.
        end.close(fault);
    }
    let departure = stop(&mut body, &mut phase, patience).await;
    let exceeded = body.exceeded().await;
    if let Some(reached) = body.reached() {
        tracing::warn!(%server, "{reached}");
    }
    body.sweep(killing(&mut phase)).await;
    // What is left of the output comes before the news of the end; after this long, nobody is left to write it.
    let _ = timeout(DRAIN, async { while readers.join_next().await.is_some() {} }).await;

    // Nobody is left to come through it; what was tried is told.
    if let Some(gate) = gate {
        gate.close().await;
    }
    let reason = exceeded.unwrap_or_else(|| reason(ending, &departure));
    // Only here: what a server says to its operator may hold what agents must not see.
    tracing::info!(%server, reason, last_words = words.heard(), "process gone");
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
    exit: Exit,
    /// The last signal that reached it.
    pressed: Option<Signal>,
}

/// Waits for a process whose input is closed; presses harder each time its patience ends.
async fn stop(body: &mut Body, phase: &mut watch::Receiver<Phase>, patience: Patience) -> Departure {
    let mut pressed = None;
    for (wait, signal) in [(patience.closed, Signal::SIGTERM), (patience.terminated, Signal::SIGKILL)] {
        tokio::select! {
            biased;
            exit = body.wait() => return Departure { exit, pressed },
            () = killing(phase) => {}
            () = sleep(wait) => {}
        }
        if body.signal(signal).await {
            pressed = Some(signal);
        }
    }
    Departure { exit: body.wait().await, pressed }
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
        _ => ending.fault().unwrap_or_else(|| exit(&departure.exit)),
    }
}

fn exit(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Signal(number) => match Signal::try_from(*number) {
            Ok(signal) => format!("was killed by {signal}"),
            Err(_) => format!("was killed by signal {number}"),
        },
        Exit::Lost(why) => format!("was lost: {why}"),
    }
}
