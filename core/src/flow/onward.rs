//! What of a server's answer is another thing for its agent: ids of tasks, what users are asked, and the state that the
//! agent brings back.
//!
//! **The state comes last**, whatever order a server has: it carries which of the questions before it nobody was asked, and
//! with the retry the server is told that those were declined.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::addressee::Addressee;
use super::park::STATE_LIFETIME;
use crate::endpoint;
use crate::front::Caller;
use crate::gateway::Gateway;
use crate::ports::Host;
use crate::relay::Replace;
use crate::screen::Screen;
use crate::session::{Binding, Next, RequestState};
use crate::tasks;
use crate::upstream::{Server, lock};
use crate::wire::json::{Json, quote};
use crate::wire::version::Era;

/// The member that carries the state.
const STATE: &str = "requestState";
/// The member that says what users are asked.
const ASKED: &str = "inputRequests";
/// The member of a task that says why it has failed.
const ERROR: &str = "error";

/// Tells which members are left out.
type Omit = fn(&[u8], u8) -> bool;

/// What is replaced in the answer to one request.
pub(super) struct Onward<H: Host> {
    gateway: Gateway<H>,
    server: Arc<Server>,
    caller: Caller,
    tasks: Option<Arc<tasks::Ids>>,
    request: Bytes,
    round: Mutex<Round>,
}

/// What was seen of the round that an answer begins.
#[derive(Default)]
struct Round {
    /// The server's own state, as JSON text.
    native: Option<String>,
    /// The keys of what nobody is asked.
    declined: Vec<String>,
}

impl<H: Host> Onward<H> {
    /// Takes whom the answer is for.
    pub(super) fn new(gateway: &Gateway<H>, to: &Addressee) -> Self {
        Self {
            gateway: gateway.clone(),
            server: to.server.clone(),
            caller: to.caller.clone(),
            tasks: to.tasks.clone(),
            request: to.request.clone(),
            round: Mutex::default(),
        }
    }

    /// Returns the members of the result that are looked at, and whether the state is left where it stands, which it is not
    /// where the agent is to bring it back.
    pub(super) fn members(&self) -> (&'static [&'static str], Option<Omit>) {
        let omit: Omit = |key, _| key == STATE.as_bytes();
        match (self.request.is_empty(), self.tasks.is_some()) {
            _ if self.caller.era() == Era::Legacy => (&[], None),
            (true, false) => (&[ASKED], None),
            (true, true) => (&[ASKED, tasks::ID, ERROR], None),
            (false, false) => (&[ASKED, STATE], Some(omit)),
            (false, true) => (&[ASKED, STATE, tasks::ID, ERROR], Some(omit)),
        }
    }

    fn screen(&self) -> Screen<'_> {
        Screen::new(&self.server, &self.caller.record)
    }

    fn requests(&self, requests: &str) -> String {
        let (text, declined) = self.screen().requests(Json::known(requests));
        match self.tasks.as_ref().and_then(|tasks| tasks.asked_for()) {
            Some(task) => self.gateway.decline_inputs(&self.server, task, &declined),
            None => lock(&self.round).declined = declined,
        }
        text
    }
}

impl<H: Host> Replace for Onward<H> {
    fn member(&self, key: &str, value: &str) -> Option<String> {
        match key {
            tasks::ID => self.tasks.as_ref()?.exposed(value),
            ASKED => Some(self.requests(value)),
            // Why a task has failed.
            ERROR => self.screen().error(value),
            _ => {
                lock(&self.round).native = Some(value.to_owned());
                None
            }
        }
    }

    fn error(&self, error: &str) -> Option<String> {
        self.screen().error(error)
    }

    fn last(&self) -> Option<(&'static str, String)> {
        if self.request.is_empty() {
            return None;
        }
        let Round { native, declined } = std::mem::take(&mut *lock(&self.round));
        let next = match native {
            native if !declined.is_empty() => Next::Declined(native, declined),
            native => Next::Server(native?),
        };
        let state = RequestState {
            server: self.server.identity.clone(),
            binding: Binding::of(&self.request, endpoint::path(&self.caller.scope), self.caller.who.owner()),
            nonce: self.gateway.random(),
            expires: self.gateway.host().now() + STATE_LIFETIME,
            next,
        };
        Some((STATE, quote(&state.seal(&self.gateway.0.sealer, self.gateway.host()))))
    }
}
