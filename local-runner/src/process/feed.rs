//! What goes to a process's standard input.
//!
//! **A process that does not read cannot hide that nobody needs it any more**: the pipe is watched while a write waits,
//! and what the pipe yields meanwhile is kept, up to a limit.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use portcullis_core::pipe::PipeEnd;

use super::supervise::Ending;

/// How many bytes may wait for a process that does not read.
const BACKLOG_LIMIT: usize = 64 << 20;
/// How long the lines that are left when the pipe is let go may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// Writes the lines of `end` to `stdin` until either ends, and says which way.
pub(super) async fn feed(mut stdin: impl AsyncWrite + Unpin, end: &mut PipeEnd) -> Ending {
    let mut backlog = Backlog::default();
    loop {
        tokio::select! {
            written = backlog.write(&mut stdin) => if written.is_err() {
                return Ending::InputClosed;
            },
            line = end.next() => match line {
                None => {
                    // Whether they arrive makes no difference any more.
                    let _ = timeout(FAREWELL, backlog.drain(&mut stdin)).await;
                    return Ending::Unneeded;
                }
                Some(_) if backlog.bytes > BACKLOG_LIMIT => return Ending::Stuck,
                Some(line) => backlog.push(line),
            },
        }
    }
}

/// Lines that wait to be written, oldest first.
#[derive(Default)]
struct Backlog {
    lines: VecDeque<Bytes>,
    /// How long they are together.
    bytes: usize,
}

impl Backlog {
    fn push(&mut self, line: Bytes) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    async fn drain(&mut self, stdin: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        while !self.lines.is_empty() {
            self.write(stdin).await?;
        }
        Ok(())
    }

    /// Writes some of the oldest line; waits for ever where there is none. Safe to cancel.
    async fn write(&mut self, stdin: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let Some(line) = self.lines.front_mut() else { return pending().await };
        let written = stdin.write(line).await?;
        line.advance(written);
        self.bytes -= written;
        if line.is_empty() {
            self.lines.pop_front();
        }
        Ok(())
    }
}
