//! What a host provides. Each trait is one capability of the platform; [`Host`] is all of them.
//!
//! **Nothing in this crate reads a clock, randomness, the environment or a file except through these traits.**

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::config::Command;
use crate::error::Unreachable;
use crate::names::ServerName;
use crate::pipe::PipeEnd;

/// The chunks of a body, in order; an error ends them.
pub type Chunks = BoxStream<'static, Result<Bytes, Unreachable>>;

/// The time, as the platform has it.
pub trait Clock {
    /// Returns milliseconds since the Unix epoch.
    fn now(&self) -> u64;

    /// Completes once `duration` has passed.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// Cryptographically secure randomness.
pub trait Entropy {
    /// Fills `buffer` with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// The ways to an MCP server.
pub trait Upstream {
    /// Sends one HTTP request and returns the head of its answer with the body still streaming.
    ///
    /// **Redirects are not followed**: the caller decides where credentials may go. Dropping the body closes it.
    fn fetch(
        &self,
        request: http::Request<Bytes>,
    ) -> impl Future<Output = Result<http::Response<Chunks>, Unreachable>> + Send;

    /// Starts `command` as a subprocess speaking newline-delimited JSON and ties it to `end`.
    ///
    /// The host writes what [`PipeEnd::next`] yields to standard input, feeds each line of standard output to
    /// [`PipeEnd::receive`], and calls [`PipeEnd::close`] when the process has gone. When `next` yields nothing
    /// more, the host stops the process: closed stdin, then TERM, then KILL.
    /// Hosts that cannot start processes answer [`Unreachable`].
    fn launch(
        &self,
        server: &ServerName,
        command: &Command,
        end: PipeEnd,
    ) -> impl Future<Output = Result<(), Unreachable>> + Send;
}

/// Work that outlives the answer that began it.
pub trait Background {
    /// Runs `work` to its end, as the platform allows.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static);
}

/// Everything a platform gives to the gateway. Cheap to clone.
pub trait Host: Clock + Entropy + Upstream + Background + Clone + Send + Sync + 'static {}
