//! Everything that was seen of a server, before anything is said of it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::Clock;
use super::attempts::Attempt;
use super::canary::{Canary, Form};
use super::link::Breach;
use super::offered::{Difference, Offered};
use super::report::{Ending, Identity, Wanted};
use super::trace::Recorded;
use super::usage::Seen;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) clock: Clock,
    /// As whom the server was asked, and what it offered them at first.
    pub(super) visits: Vec<Visit>,
    pub(super) calls: Vec<Called>,
    /// What differed in the same conversation.
    pub(super) drift: Vec<Drift>,
    pub(super) breaches: Vec<Breach>,
    pub(super) sightings: Vec<Sighting>,
    /// Files with canaries that were read though nobody asked for that: before any call, or because of one.
    pub(super) peeked: Vec<(String, Vec<String>)>,
    pub(super) stderr: String,
    pub(super) stderr_bytes: u64,
    pub(super) stdout_bytes: u64,
    pub(super) usage: Seen,
    /// Processes that have left the server's session.
    pub(super) strays: Vec<String>,
    pub(super) ending: Ending,
    /// Bounds of the place that were hit, in words.
    pub(super) limits: Vec<String>,
    /// What came to the gate of its network.
    pub(super) attempts: Vec<Attempt>,
    /// What began when, of what it may have come from.
    pub(super) begun: Vec<(Instant, String)>,
    pub(super) wanted: Option<Vec<Wanted>>,
    /// What its configuration says to it.
    pub(super) named: String,
    /// Of the folders that it was given, those to which it has written; nothing where that was not seen.
    pub(super) written: Option<Vec<String>>,
    pub(super) recorded: Option<Recorded>,
}

impl Observed {
    /// Notes what begins now.
    pub(super) fn begin(&mut self, what: String) {
        self.begun.push((Instant::now(), what));
    }
}

/// What a server offered to somebody.
#[derive(Debug, Default)]
pub(super) struct Visit {
    pub(super) identity: Identity,
    /// Whether it is one of the stateless revisions.
    pub(super) modern: bool,
    pub(super) calls_itself: Option<String>,
    pub(super) version: Option<String>,
    pub(super) offered: Offered,
}

/// A call of a tool.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) tool: String,
    pub(super) arguments: Value,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
    pub(super) bytes: u64,
    /// How much processor time the server took meanwhile, in milliseconds.
    pub(super) processor: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A result.
    Answered,
    /// A result that is an error.
    Failed,
    /// An error of the protocol.
    Refused,
    /// More than can be read.
    Overlong,
    /// Nothing in time.
    Late,
    /// The server was gone.
    Ended,
}

impl Outcome {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Overlong => "too long",
            Self::Late => "timed out",
            Self::Ended => "ended the server",
        }
    }
}

/// How an offer changed while it was looked at.
#[derive(Debug)]
pub(super) struct Drift {
    /// Whether tools were called in between.
    pub(super) after_calls: bool,
    /// Whether the server said so.
    pub(super) announced: bool,
    pub(super) differences: Vec<Difference>,
}

/// A canary that came out.
#[derive(Debug)]
pub(super) struct Sighting {
    pub(super) canary: Canary,
    pub(super) form: Form,
    pub(super) way: Way,
}

/// The way that a canary took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// In the answer of a tool.
    Answer {
        tool: String,
        /// Whether the call named the file that the canary was in.
        asked: bool,
    },
    /// In what the server offers or says by itself.
    Aside,
    /// In standard error.
    Errors,
    /// In a name that was looked up, or in what was sent.
    Network(String),
}
