//! What an owner must still know after it was put away: which sessions have ended, what they asked for, and which
//! states were used.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::park::Stamp;
use crate::gateway::Gateway;
use crate::hub::Resource;
use crate::names::ServerName;
use crate::ports::Host;
use crate::upstream::{ServerKey, lock};

/// Something to know again; its JSON text is the key that it is written under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Keepsake {
    /// A session was ended before it expired: its nonce.
    Ended(u64),
    /// A session asked for a log level; the value is the level.
    Level(u64),
    /// A state was brought back.
    Spent(Stamp),
    /// A session wants to hear of a resource of a server; the value is the URI that the session knows.
    Wish(u64, String, String),
    /// The same of a server that acts for one user, who is named last.
    OwnWish(u64, String, String, String),
}

impl Keepsake {
    pub(super) fn wish(nonce: u64, (server, uri): &Resource) -> Self {
        let (name, uri) = (server.name.to_string(), uri.clone());
        match &server.user {
            None => Self::Wish(nonce, name, uri),
            Some(user) => Self::OwnWish(nonce, name, uri, user.to_string()),
        }
    }

    fn key(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }
}

impl<H: Host> Gateway<H> {
    /// Writes something down, where the host has a notebook, to be known until then.
    pub(super) fn keep_in_mind(&self, keepsake: &Keepsake, value: &str, until: u64) {
        if let Some(notebook) = self.host().notebook() {
            notebook.write(&keepsake.key(), value, until);
        }
    }

    /// Strikes out what was written down.
    pub(super) fn dismiss(&self, keepsake: &Keepsake) {
        if let Some(notebook) = self.host().notebook() {
            notebook.strike(&keepsake.key());
        }
    }

    /// Knows again what was written down before this place was put away.
    pub(crate) fn remember(&self) {
        let Some(notebook) = self.host().notebook() else { return };
        let now = self.host().now();
        for (key, value, until) in notebook.read().into_iter().filter(|(_, _, until)| *until > now) {
            match serde_json::from_str(&key) {
                Ok(Keepsake::Ended(nonce)) => drop(lock(&self.0.sessions.ended).insert(nonce, until)),
                Ok(Keepsake::Level(nonce)) => {
                    if let Ok(level) = value.parse() {
                        lock(&self.0.sessions.levels).insert(nonce, level, until, now);
                    }
                }
                Ok(Keepsake::Spent(stamp)) => drop(lock(&self.0.spent).insert(stamp)),
                Ok(Keepsake::Wish(nonce, server, uri)) => {
                    self.wish_again((nonce, until), (&server, None), (uri, value));
                }
                Ok(Keepsake::OwnWish(nonce, server, uri, user)) => {
                    self.wish_again((nonce, until), (&server, Some(user.into())), (uri, value));
                }
                Err(error) => tracing::warn!(%error, "a note of this gateway cannot be read; it is left out"),
            }
        }
    }

    fn wish_again(
        &self,
        session: (u64, u64),
        (server, user): (&str, Option<Arc<str>>),
        (uri, known): (String, String),
    ) {
        if let Ok(name) = ServerName::parse(server) {
            self.0.hub.subscribe(session, (ServerKey { name, user }, uri), known);
        }
    }
}
