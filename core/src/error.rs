//! What can go wrong, sorted by whose fault it is, and the one table from error to HTTP and JSON-RPC.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use crate::wire::json::quote;

/// JSON-RPC and MCP error codes (brief names from the specification).
pub mod code {
    /// Not JSON (JSON-RPC 2.0 §5.1).
    pub const PARSE: i64 = -32700;
    /// JSON, but no request (JSON-RPC 2.0 §5.1).
    pub const INVALID_REQUEST: i64 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// Bad parameters; also an unknown tool, prompt or, since 2026-07-28, resource.
    pub const INVALID_PARAMS: i64 = -32602;
    /// Neither side can help it.
    pub const INTERNAL: i64 = -32603;
    /// An unknown resource before 2026-07-28.
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// A URL elicitation is needed first (2025-11-25 only).
    pub const URL_ELICITATION_REQUIRED: i64 = -32042;
    /// A header is missing, malformed or differs from the body (2026-07-28).
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The request needs a capability that the client did not declare (2026-07-28).
    pub const MISSING_CAPABILITY: i64 = -32021;
    /// Too many requests: of the range that implementations may use (JSON-RPC 2.0 §5.1), and of no revision of MCP.
    pub const LIMITED: i64 = -32029;
    /// The protocol version is not served (2026-07-28).
    pub const UNSUPPORTED_VERSION: i64 = -32022;
}

/// The caller's fault: what it is told, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The HTTP status where the transport has one.
    pub status: StatusCode,
    /// The JSON-RPC code.
    pub code: i64,
    /// One sentence that is safe to show.
    pub message: Cow<'static, str>,
    /// The error's `data`, as JSON text.
    pub data: Option<String>,
    /// When asking again makes sense, where that is known.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// Makes a refusal whose HTTP status follows from its code: the protocol's own errors are 400 or 404, and what
    /// a method says about its parameters is an ordinary answer.
    pub fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: status_of(code), code, message: message.into(), data: None, retry_after: None }
    }

    /// Sets another HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Sets the error's `data`, which must be JSON text.
    #[must_use]
    pub fn with_data(mut self, data: String) -> Self {
        self.data = Some(data);
        self
    }

    /// Says when asking again makes sense, to people who read headers and to programs that read `data`.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.data = Some(format!("{{\"retryAfterMs\":{}}}", wait.as_millis()));
        self.retry_after = Some(wait);
        self
    }

    /// Returns the JSON-RPC error object.
    pub fn to_json(&self) -> String {
        let data = self.data.as_ref().map_or(String::new(), |data| format!(",\"data\":{data}"));
        format!("{{\"code\":{},\"message\":{}{data}}}", self.code, quote(&self.message))
    }
}

/// Returns the HTTP status of a JSON-RPC error in answer to a stateless request (2026-07-28).
pub fn status_of(code: i64) -> StatusCode {
    match code {
        code::PARSE
        | code::INVALID_REQUEST
        | code::HEADER_MISMATCH
        | code::MISSING_CAPABILITY
        | code::UNSUPPORTED_VERSION => StatusCode::BAD_REQUEST,
        code::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        code::LIMITED => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::OK,
    }
}

/// An upstream's fault: names the server and says what happened, in words that are safe to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("server {server:?} {message}")]
pub struct Unreachable {
    /// The server's name, or its address where no name is known yet.
    pub server: String,
    /// What happened, continuing "server X ...".
    pub message: String,
    /// Whether the request certainly did not reach the server, so that it may be sent again.
    pub undelivered: bool,
    /// What that says about the server.
    pub failure: Failure,
    /// What the user has to do first for whom it acts.
    pub lack: Option<Box<Lack>>,
}

/// What a user has not agreed to yet, so that a server cannot act for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// Why, in words that are safe to show.
    pub why: String,
    /// The scopes that are wanted besides, where it is about these, with spaces between them.
    pub scopes: Option<String>,
}

/// What a failed request says about its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Failure {
    /// It answers, but not as it should.
    #[default]
    Faulty,
    /// It does not answer.
    Absent,
    /// Nothing: it answers, and does not take this request, or its agent does not take the answer.
    Refused,
}

impl Unreachable {
    /// Makes an error about `server`; `message` continues the sentence "server X ...".
    pub fn new(server: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            message: message.into(),
            undelivered: false,
            failure: Failure::Faulty,
            lack: None,
        }
    }

    /// Marks that the request certainly did not reach the server.
    #[must_use]
    pub fn undelivered(mut self) -> Self {
        self.undelivered = true;
        self
    }

    /// Says what its user has to do first.
    #[must_use]
    pub fn lacking(mut self, lack: Lack) -> Self {
        self.lack = Some(Box::new(lack));
        self
    }

    /// Marks that the server did not answer at all.
    #[must_use]
    pub fn absent(mut self) -> Self {
        self.failure = Failure::Absent;
        self
    }

    /// Marks that the server answered, and does not take the request.
    #[must_use]
    pub fn refused(mut self) -> Self {
        self.failure = Failure::Refused;
        self
    }
}

impl From<Unreachable> for Refusal {
    fn from(error: Unreachable) -> Self {
        Self::new(code::INTERNAL, error.to_string())
    }
}
