//! Sessions of the legacy revisions, without storage: the id is the session.
//!
//! **An `Mcp-Session-Id` is a sealed [`Session`]**: any instance with the key opens it, an idle one costs nothing,
//! and it is never a credential (the principal of each request must be the one it was made for).

mod keys;
mod remembered;
mod seal;
mod state;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use remembered::Remembered;
pub(crate) use seal::{ConnectPart, Purpose, Sealer, SignInPart};
pub(crate) use state::{Binding, Next, RequestState};

use crate::identity::{Identity, Owner};
use crate::ports::{Clock, Entropy};
use crate::wire::json::Json;
use crate::wire::version::Version;

/// How long a session id stays valid, in milliseconds: a day.
pub(crate) const LIFETIME: u64 = 24 * 60 * 60 * 1000;

/// What an agent may be asked by a server, as it declared at `initialize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is one capability of the protocol")]
pub(crate) struct Interaction {
    /// `elicitation/create` with a form.
    pub form: bool,
    /// `elicitation/create` with a URL.
    pub url: bool,
    /// `sampling/createMessage`.
    pub sampling: bool,
    /// `sampling/createMessage` with tools.
    pub sampling_tools: bool,
    /// `roots/list`.
    pub roots: bool,
}

impl Interaction {
    /// Reads what an agent can be asked from its client capabilities.
    pub(crate) fn declared(capabilities: Json<'_>) -> Self {
        let declared = |name: &str| capabilities.get(name).filter(|c| c.is_object());
        let elicitation = declared("elicitation");
        let url = elicitation.is_some_and(|e| e.get("url").is_some());
        Self {
            // An empty object means forms, which was all there was at first.
            form: elicitation.is_some_and(|e| e.get("form").is_some() || !url),
            url,
            sampling: declared("sampling").is_some(),
            sampling_tools: declared("sampling").is_some_and(|s| s.get("tools").is_some()),
            roots: declared("roots").is_some(),
        }
    }

    /// Tells whether a server may ask anything at all.
    pub(crate) fn is_possible(self) -> bool {
        self != Self::default()
    }
}

/// A legacy session: everything that a later request of it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Which session it is; unique, and the owner of what servers keep for it.
    pub nonce: u64,
    /// The negotiated revision.
    pub version: Version,
    /// What the agent may be asked.
    pub interaction: Interaction,
    /// Whose it is.
    pub owner: Owner,
    /// The name of the client that began it, in its canonical form.
    pub client: Option<Arc<str>>,
    /// The endpoint's path, which the session is bound to.
    pub endpoint: String,
    /// When it ends, in milliseconds since the Unix epoch.
    pub expires: u64,
}

impl Session {
    /// Returns the session's id.
    pub(crate) fn seal(&self, sealer: &Sealer, entropy: &impl Entropy) -> String {
        sealer.pack(entropy, Purpose::Session, self)
    }

    /// Opens a session id; nothing where it is not ours, has expired, or belongs to another endpoint or caller. A caller
    /// need not repeat its tag, but must not claim another.
    pub(crate) fn open(
        id: &str,
        sealer: &Sealer,
        clock: &impl Clock,
        endpoint: &str,
        who: &Identity,
    ) -> Option<Self> {
        let session: Self = sealer.unpack(Purpose::Session, id)?;
        let holds = session.expires > clock.now()
            && session.endpoint == endpoint
            && session.owner.principal == who.principal
            && (who.tag.is_none() || session.owner.tag == who.tag);
        holds.then_some(session)
    }
}

/// A server's request that was handed to an agent: where its answer belongs. Its sealed form is the request's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerRequest {
    /// The server that asked, by its address.
    pub server: String,
    /// The session that was asked, by its nonce.
    pub session: u64,
    /// Where its answer goes.
    pub asker: Asker,
}

/// Who waits for the answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Asker {
    /// The server, which gave its request this id, as JSON text.
    Server(String),
    /// A call of the session, at this place.
    Call(u64),
}

impl ServerRequest {
    /// Returns the id that the agent sees.
    pub(crate) fn seal(&self, sealer: &Sealer, entropy: &impl Entropy) -> String {
        sealer.pack(entropy, Purpose::ServerRequest, self)
    }

    /// Opens an id that came back from the agent of that session.
    pub(crate) fn open(id: &str, sealer: &Sealer, session: u64) -> Option<Self> {
        let request: Self = sealer.unpack(Purpose::ServerRequest, id)?;
        (request.session == session).then_some(request)
    }
}
