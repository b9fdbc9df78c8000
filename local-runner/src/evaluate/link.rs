//! A conversation with a server on its standard streams, in which everything that is against the protocol is noted.
//!
//! **Nothing that a server says ends the conversation but its end**, and nothing is kept of what is too long.

use std::time::Duration;

use portcullis_core::inspect::is_invisible;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout_at;

use crate::process::lines::{Line, Lines};

/// The longest line that is read, in bytes.
pub(super) const LONGEST: usize = 16 << 20;
/// How much of standard error is kept, in bytes.
const KEPT: usize = 256 << 10;
/// How many breaches are kept.
const BREACHES: usize = 20;

/// Something that is against the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Breach {
    /// A line that is no message.
    Junk(String),
    /// An answer to what nobody asked.
    Stray(String),
    /// A line of more than [`LONGEST`] bytes.
    Overlong,
    /// A request that the client said it cannot answer.
    Undeclared(String),
}

/// What a request came to.
#[derive(Debug)]
pub(super) struct Reply {
    /// The result, or the error.
    pub(super) outcome: Result<Value, Value>,
    pub(super) bytes: u64,
}

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// It did not come in time.
    Late,
    /// The server writes no more.
    Ended,
    /// Something came that is too long to be read.
    Overlong,
}

/// What is read of standard error.
#[derive(Debug, Clone, Default)]
pub(super) struct Errors {
    pub(super) text: String,
    pub(super) bytes: u64,
}

/// The conversation.
pub(super) struct Link {
    input: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    lines: mpsc::Receiver<Line>,
    errors: watch::Receiver<Errors>,
    last: u64,
    pub(super) breaches: Vec<Breach>,
    /// Whether the server has said that what it offers has changed.
    pub(super) announced: bool,
    /// What it says without being asked, as text.
    pub(super) aside: String,
    /// How much it wrote to standard output, in bytes.
    pub(super) read: u64,
}

impl Link {
    /// Begins a conversation on a process's standard streams.
    pub(super) fn new(
        input: Box<dyn AsyncWrite + Send + Unpin>,
        output: impl AsyncRead + Send + Unpin + 'static,
        errors: impl AsyncRead + Send + Unpin + 'static,
    ) -> Self {
        let (sender, lines) = mpsc::channel(64);
        tokio::spawn(async move {
            let mut source = Lines::new(output, LONGEST);
            while let Ok(Some(line)) = source.next().await {
                if sender.send(line).await.is_err() {
                    return;
                }
            }
        });
        let (kept, errors_kept) = watch::channel(Errors::default());
        tokio::spawn(keep(errors, kept));
        Self {
            input: Some(input),
            lines,
            errors: errors_kept,
            last: 0,
            breaches: Vec::new(),
            announced: false,
            aside: String::new(),
            read: 0,
        }
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&mut self, method: &str, params: Value, within: Duration) -> Result<Reply, Lost> {
        self.last += 1;
        let id = self.last;
        let deadline = tokio::time::Instant::now() + within;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }), deadline)
            .await?;
        loop {
            let line = match timeout_at(deadline, self.lines.recv()).await {
                Err(_) => {
                    let cancelled = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });
                    let soon = tokio::time::Instant::now() + Duration::from_millis(100);
                    let _ = self.send(&cancelled, soon).await;
                    return Err(Lost::Late);
                }
                Ok(None) => return Err(Lost::Ended),
                Ok(Some(line)) => line,
            };
            let bytes = line_length(&line);
            if matches!(line, Line::Cut(_)) {
                self.receive(line, id).await;
                return Err(Lost::Overlong);
            }
            if let Some(outcome) = self.receive(line, id).await {
                return Ok(Reply { outcome, bytes });
            }
        }
    }

    /// Tells the server something.
    pub(super) async fn tell(&mut self, method: &str) {
        let soon = tokio::time::Instant::now() + Duration::from_secs(1);
        let _ = self.send(&json!({ "jsonrpc": "2.0", "method": method }), soon).await;
    }

    /// Ends the server's input.
    pub(super) async fn close(&mut self) {
        if let Some(mut input) = self.input.take() {
            // What leads to a container is not closed by nobody's having it.
            let soon = tokio::time::Instant::now() + Duration::from_secs(1);
            let _ = timeout_at(soon, input.shutdown()).await;
        }
    }

    /// Returns what was read of standard error so far.
    pub(super) fn errors(&self) -> Errors {
        self.errors.borrow().clone()
    }

    async fn send(&mut self, message: &Value, deadline: tokio::time::Instant) -> Result<(), Lost> {
        let Some(input) = &mut self.input else { return Err(Lost::Ended) };
        let line = format!("{message}\n");
        let write = async {
            input.write_all(line.as_bytes()).await?;
            input.flush().await
        };
        match timeout_at(deadline, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Lost::Ended),
            Err(_) => Err(Lost::Late),
        }
    }

    /// Takes a line; returns the outcome where it answers `id`.
    async fn receive(&mut self, line: Line, id: u64) -> Option<Result<Value, Value>> {
        self.read += line_length(&line);
        let line = match line {
            Line::Whole(line) => line,
            Line::Cut(_) => {
                self.breach(Breach::Overlong);
                return None;
            }
        };
        if line.trim_ascii().is_empty() {
            return None;
        }
        let message =
            serde_json::from_slice::<Value>(&line).ok().filter(|message| message["jsonrpc"] == "2.0");
        let Some(mut message) = message else {
            self.breach(Breach::Junk(shown(&String::from_utf8_lossy(&line))));
            return None;
        };
        let method = message.get("method").and_then(Value::as_str).map(str::to_owned);
        match (method, message.get("id").cloned()) {
            (Some(method), Some(asked)) => {
                self.answer(&method, &asked).await;
                None
            }
            (Some(method), None) => {
                self.announced |= method.ends_with("/list_changed");
                if self.aside.len() < KEPT {
                    self.aside += &message.to_string();
                }
                None
            }
            (None, Some(answered)) if answered == id => {
                Some(message.get_mut("result").map(Value::take).ok_or_else(|| message["error"].take()))
            }
            // What comes too late is nobody's fault but the clock's.
            (None, Some(answered)) if answered.as_u64().is_some_and(|answered| answered < id) => None,
            (None, _) => {
                self.breach(Breach::Stray(shown(&message.to_string())));
                None
            }
        }
    }

    /// Answers a request of the server; nothing but `ping` was offered.
    async fn answer(&mut self, method: &str, id: &Value) {
        let soon = tokio::time::Instant::now() + Duration::from_secs(1);
        let answer = if method == "ping" {
            json!({ "jsonrpc": "2.0", "id": id, "result": {} })
        } else {
            self.breach(Breach::Undeclared(shown(method)));
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "Method not found" } })
        };
        let _ = self.send(&answer, soon).await;
    }

    fn breach(&mut self, breach: Breach) {
        if self.breaches.len() < BREACHES {
            self.breaches.push(breach);
        }
    }
}

/// Reads standard error to its end.
async fn keep(mut errors: impl AsyncRead + Unpin, kept: watch::Sender<Errors>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = errors.read(&mut buffer).await {
        kept.send_modify(|kept| {
            kept.bytes += count as u64;
            if kept.text.len() < KEPT {
                kept.text += &String::from_utf8_lossy(&buffer[..count]);
            }
        });
    }
}

fn line_length(line: &Line) -> u64 {
    match line {
        Line::Whole(line) | Line::Cut(line) => line.len() as u64,
    }
}

/// Returns a text that cannot act on what shows it, in one line.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(200) {
        if c.is_control() || is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}
