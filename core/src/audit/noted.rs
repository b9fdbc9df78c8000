//! What is noted of an operation for its entry alone, while it goes on.
//!
//! **Most of what it costs is memory**: the less of it is allocated for one request, the less it costs.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{Arguments, Decision, Entry};
use crate::error::{Refusal, code};
use crate::front::modern::named_by;
use crate::identity::Identity;
use crate::names::ServerName;
use crate::ports::AuditSink;
use crate::wire::json::{Json, Object};

/// The longest name that is kept, in bytes.
const NAME: usize = 1 << 10;
/// Up to this size arguments are digested at once, in bytes: that takes less than keeping them.
const DIGESTED: usize = 4 << 10;

/// What only the entry needs of an operation.
pub(crate) struct Noted {
    sink: Arc<dyn AuditSink>,
    gateway: Arc<str>,
    /// The server that the endpoint is about.
    server: Option<Arc<str>>,
    name: Option<Box<str>>,
    arguments: Arguments,
    upstream_name: OnceLock<Arc<str>>,
    who: Arc<Identity>,
    /// The same, once it is known which client it says it is.
    identity: OnceLock<Arc<Identity>>,
    rule: OnceLock<(Decision, Arc<str>)>,
    trouble: OnceLock<(Decision, Cow<'static, str>)>,
    given: AtomicU64,
    /// Whether something that the server asks its user was declined.
    declined: AtomicBool,
}

impl Noted {
    /// Begins to note a request.
    pub(crate) fn new(
        sink: &Arc<dyn AuditSink>,
        gateway: &Arc<str>,
        (who, server): (&Arc<Identity>, Option<&ServerName>),
        (method, params, arguments): (&str, &Object<'_>, Arguments),
    ) -> Self {
        let key = match method {
            "resources/subscribe" | "resources/unsubscribe" => Some("uri"),
            method => named_by(method),
        };
        let name = key.and_then(|key| params.get(key)).and_then(Json::as_str);
        Self {
            sink: sink.clone(),
            gateway: gateway.clone(),
            server: server.map(ServerName::to_arc),
            name: name.map(|name| name[..name.floor_char_boundary(NAME)].into()),
            arguments,
            upstream_name: OnceLock::new(),
            who: who.clone(),
            identity: OnceLock::new(),
            rule: OnceLock::new(),
            trouble: OnceLock::new(),
            given: AtomicU64::new(0),
            declined: AtomicBool::new(false),
        }
    }

    /// Returns where the entry goes.
    pub(crate) fn sink(&self) -> &Arc<dyn AuditSink> {
        &self.sink
    }

    pub(crate) fn identified(&self, identity: &Arc<Identity>) {
        let _ = self.identity.set(identity.clone());
    }

    pub(crate) fn decided(&self, decision: Decision, rule: Arc<str>) {
        let _ = self.rule.set((decision, rule));
    }

    pub(crate) fn leads_to(&self, upstream_name: &Arc<str>) {
        let _ = self.upstream_name.set(upstream_name.clone());
    }

    /// Notes what the caller is told instead of a result.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        let decision = if refusal.code == code::INTERNAL { Decision::Failed } else { Decision::Denied };
        let _ = self.trouble.set((decision, refusal.message.clone()));
    }

    /// Notes that the server itself answered with an error.
    pub(crate) fn answered_with(&self, code: i64) {
        let _ = self.trouble.set((Decision::Allowed, format!("the server answered error {code}").into()));
    }

    /// Records that a user was not asked what the server asks for: an entry of its own, one for each request.
    pub(crate) fn declined(&self, server: &ServerName, why: &str) {
        if self.declined.swap(true, Ordering::Relaxed) {
            return;
        }
        self.sink.record(Entry {
            method: "elicitation/create",
            server: Some(server.to_arc()),
            decision: Decision::Denied,
            error: Some(why.to_owned().into()),
            ..self.begun()
        });
    }

    /// Returns an entry of now, that says who asks.
    #[inline(never)]
    fn begun(&self) -> Entry {
        let who = self.identity.get().unwrap_or(&self.who);
        Entry {
            time: self.sink.now(),
            gateway: self.gateway.clone(),
            agent: Some(who.agent.name.clone()),
            principal: who.principal.clone(),
            auth: who.auth,
            client: who.client.clone(),
            ..Entry::default()
        }
    }

    pub(crate) fn gave(&self, bytes: usize) {
        self.given.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns what is known for the entry, and where it goes; the rest is the operation's.
    pub(crate) fn into_entry(self) -> (Entry, Arc<dyn AuditSink>) {
        let begun = self.begun();
        let (mut decision, error) = self
            .trouble
            .into_inner()
            .map_or((Decision::Allowed, None), |(decision, error)| (decision, Some(error)));
        let rule = self.rule.into_inner().map(|(by_rule, rule)| {
            if by_rule != Decision::Allowed {
                decision = by_rule;
            }
            rule
        });
        let entry = Entry {
            server: self.server,
            name: self.name,
            upstream_name: self.upstream_name.into_inner(),
            decision,
            rule,
            error,
            arguments: self.arguments,
            result_bytes: Some(self.given.into_inner()).filter(|given| *given > 0),
            ..begun
        };
        (entry, self.sink)
    }
}

/// Returns what is kept of arguments, which are part of a message, where they are to be written.
pub(crate) fn written(arguments: Json<'_>, message: &Bytes) -> Arguments {
    Arguments::Text(part_of(message, arguments.text()))
}

/// Returns what is kept of arguments, which are part of a message, where their digest is enough.
pub(crate) fn digested(arguments: Json<'_>, message: &Bytes) -> Arguments {
    match arguments.text() {
        short if short.len() <= DIGESTED => Arguments::digest_of(short.as_bytes()),
        long => Arguments::Text(part_of(message, long)),
    }
}

/// Returns a part of a text, without copying it where that does not keep much more than the part.
fn part_of(whole: &Bytes, part: &str) -> Bytes {
    let (start, from) = (whole.as_ptr() as usize, part.as_ptr() as usize);
    let is_within = from >= start && from + part.len() <= start + whole.len();
    if is_within && part.len() >= whole.len() / 2 {
        whole.slice_ref(part.as_bytes())
    } else {
        Bytes::copy_from_slice(part.as_bytes())
    }
}
