//! The agents' door: what a request must look like in each era, and what it asks for. Pure functions.

pub(crate) mod admin;
pub(crate) mod gate;
pub(crate) mod legacy;
pub(crate) mod modern;
pub(crate) mod terms;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use self::terms::Terms;
use crate::catalog::Scope;
use crate::flow::TakenUp;
use crate::identity::{self, Identity};
use crate::observe::Record;
use crate::session::Session;
use crate::wire::json::{Json, Object};
use crate::wire::message::Id;
use crate::wire::version::{Era, Version};

/// `_meta` keys of the stateless revision.
pub(crate) mod meta {
    /// The revision that a request speaks.
    pub(crate) const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// Which program the client is.
    pub(crate) const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
    /// What the client can be asked.
    pub(crate) const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    /// From which level on log messages are wanted.
    pub(crate) const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    /// Which subscription a notification belongs to.
    pub(crate) const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
}

/// The severities of log messages, the least first (RFC 5424).
pub(crate) const LEVELS: [&str; 8] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// Marks a request that came over a pipe: it has no headers that could agree with its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piped {
    /// It is to be answered.
    Asks,
    /// It gets no answer, and may be what others wait for: it takes no place of theirs.
    Tells,
}

/// Who sends a request, through which endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// What the endpoint shows.
    pub(crate) scope: Scope,
    /// Who it is.
    pub(crate) who: Arc<Identity>,
    /// When the request came, in milliseconds since the Unix epoch.
    pub(crate) now: u64,
    /// The legacy session; none where the request is stateless.
    pub(crate) session: Option<Arc<Session>>,
    /// The gateways that the request has come through, and this one.
    pub(crate) via: HeaderValue,
    /// Whether an answer may be an event stream.
    pub(crate) streams: bool,
    /// Whether such a stream can be taken up again.
    pub(crate) resumes: bool,
    /// On which terms the platform answers.
    pub(crate) terms: Terms,
    /// What the stream knew that is taken up again by the request.
    pub(crate) taken_up: Option<Arc<TakenUp>>,
    /// What is noted of the request.
    pub(crate) record: Record,
}

impl Caller {
    /// Returns the gateways that the request came through before this one; mostly none.
    pub(crate) fn comes_through(&self) -> Vec<&str> {
        let before = self.via.to_str().ok().and_then(|via| via.rsplit_once(", "));
        before.map_or_else(Vec::new, |(before, _own)| before.split(", ").collect())
    }

    /// Returns when a stream of its ends on which it only listens: when the platform says so, or with its token.
    pub(crate) fn listens_until(&self) -> Option<u64> {
        let expires = self.who.bearer.as_ref().map(|bearer| bearer.expires);
        self.terms.until.into_iter().chain(expires).min()
    }

    /// Returns the revision that the agent speaks.
    pub(crate) fn version(&self) -> Version {
        self.session.as_ref().map_or(Version::MODERN, |session| session.version)
    }

    /// Returns the era of that revision.
    pub(crate) fn era(&self) -> Era {
        self.version().era()
    }
}

/// A request that has passed the checks of its era.
#[derive(Debug, Clone)]
pub(crate) struct Inbound<'a> {
    pub(crate) id: Id<'a>,
    pub(crate) method: Cow<'a, str>,
    pub(crate) params: Object<'a>,
    /// What it is part of: the whole message, unless that is a batch.
    pub(crate) raw: Bytes,
}

impl<'a> Inbound<'a> {
    /// Makes a request from the parts of its message.
    pub(crate) fn new(id: Id<'a>, method: Cow<'a, str>, params: Object<'a>) -> Self {
        Self { id, method, params, raw: Bytes::new() }
    }

    /// Returns what progress is reported under, as JSON text.
    pub(crate) fn progress_token(&self) -> Option<String> {
        Some(self.meta()?.get("progressToken")?.text().to_owned())
    }

    /// Returns the agent's `_meta`.
    pub(crate) fn meta(&self) -> Option<Json<'a>> {
        self.params.get("_meta").filter(|m| m.is_object())
    }

    /// Returns the client that the request names: in `_meta` where it is stateless, in its parameters where it is
    /// `initialize`.
    pub(crate) fn client(&self) -> Option<Arc<str>> {
        let said = match self.meta().and_then(|meta| meta.get(meta::CLIENT_INFO)) {
            None if self.method == "initialize" => self.params.get("clientInfo"),
            said => said,
        };
        identity::canonical(&said?.get("name")?.as_str()?).map(Into::into)
    }

    /// Returns a parameter that must be a string.
    pub(crate) fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        self.params.get(key).and_then(Json::as_str)
    }
}
