//! The demo server: an MCP server inside the binary, so that a first tool call needs nothing else installed.
//!
//! It speaks the stdio transport of the revision 2026-07-28 and of those with `initialize` before it, and knows
//! nothing of the gateway that it runs behind. **Every answer depends on its request alone**: there is no session.

mod content;
mod protocol;
mod rpc;
mod tools;

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// Serves standard input until it ends.
pub(crate) async fn run() -> io::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).split(b'\n');
    let mut output = tokio::io::stdout();
    while let Some(line) = lines.next_segment().await? {
        if let Some(mut answer) = rpc::respond(&line) {
            answer.push('\n');
            output.write_all(answer.as_bytes()).await?;
            output.flush().await?;
        }
    }
    Ok(())
}
