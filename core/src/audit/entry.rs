//! One entry: what is known of something that is over.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::redact::Redactor;
use crate::identity::AuthKind;

/// What was decided; what weighs more comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Decision {
    /// It was let through, and answered.
    #[default]
    Allowed,
    /// It was let through, and came to nothing: its server or the gateway failed.
    Failed,
    /// The gateway refused it.
    Denied,
}

impl Decision {
    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// What happened once: a connection, a listing, a call, a refusal or a failure. Made when it is over.
///
/// Texts are as they came: they are cut, redacted and escaped where the entry becomes a line.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Entry {
    /// When it was over, in milliseconds since the Unix epoch.
    pub time: u64,
    /// The gateway that it happened at.
    pub gateway: Arc<str>,
    /// What the policy knows the caller as.
    pub agent: Option<Arc<str>>,
    /// Who the caller has proved to be: the credential's own id, never the credential.
    pub principal: Option<Arc<str>>,
    /// How.
    pub auth: AuthKind,
    /// The name of the caller's client.
    pub client: Option<Arc<str>>,
    /// `modern` or `legacy`; empty where that was never settled.
    pub era: &'static str,
    /// The method; of what is no request of MCP, the method of HTTP and the path's pattern.
    pub method: &'static str,
    /// The server that it concerns.
    pub server: Option<Arc<str>>,
    /// The tool, prompt, resource or task, as the caller named it.
    pub name: Option<Box<str>>,
    /// The same, as the server knows it.
    pub upstream_name: Option<Arc<str>>,
    /// What was decided.
    pub decision: Decision,
    /// The rule that decided.
    pub rule: Option<Arc<str>>,
    /// What went wrong.
    pub error: Option<Cow<'static, str>>,
    /// The arguments, as they were sent.
    pub arguments: Arguments,
    /// How many bytes the caller was answered with.
    pub result_bytes: Option<u64>,
    /// Of a call: whether its result says that it is an error.
    pub is_error: Option<bool>,
    /// How long it took.
    pub duration: Duration,
    /// How long servers took for it, where one was asked.
    pub upstream: Option<Duration>,
    /// The caller's id of the request, as JSON text.
    pub request_id: Option<Box<str>>,
    /// The trace that it belongs to.
    pub trace: Option<u128>,
}

/// What an entry has of a request's arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Arguments {
    /// There are none.
    #[default]
    None,
    /// Their JSON text.
    Text(Bytes),
    /// The SHA-256 of that text alone.
    Digest([u8; 32]),
}

impl Arguments {
    /// Returns the digest of arguments, given as JSON text.
    pub fn digest_of(text: &[u8]) -> Self {
        Self::Digest(Sha256::digest(text).into())
    }

    /// Returns how many bytes of the request are held.
    pub fn held(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::None | Self::Digest(_) => 0,
        }
    }

    /// Puts the digest in place of the text: large ones need not be held.
    pub fn forget(&mut self) {
        if let Self::Text(text) = self {
            *self = Self::digest_of(text);
        }
    }
}

/// What a line is searched by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Searched<'l> {
    /// When it was over, in milliseconds since the Unix epoch.
    pub time: u64,
    /// The agent; empty where there is none.
    pub agent: Cow<'l, str>,
    /// The server; empty where there is none.
    pub server: Cow<'l, str>,
    /// The name; empty where there is none.
    pub name: Cow<'l, str>,
    /// The decision.
    pub decision: Cow<'l, str>,
}

/// How entries become lines.
#[derive(Debug, Clone, Default)]
pub struct Writing {
    /// Takes secrets out.
    pub redactor: Redactor,
    /// Whether arguments are written, beside their digest.
    pub arguments: bool,
}

impl Entry {
    /// Returns an entry of the gateway's own about its trail.
    pub fn own(time: u64, method: &'static str, error: String) -> Self {
        Self { time, method, decision: Decision::Failed, error: Some(error.into()), ..Self::default() }
    }
}
