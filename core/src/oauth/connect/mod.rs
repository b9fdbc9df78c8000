//! Connecting: how somebody lets the gateway act for them at a server, in a browser (ADR 0032).
//!
//! **Only who called can connect for that call**: what leads to the page names the caller, and the page goes on only for
//! whoever proves to be that. **Only the browser that began can end it**: all that travels is sealed, and bound to a cookie.
//! Nothing here waits.

mod grantor;
mod page;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use grantor::{Client, Grantor};
pub(crate) use page::{Pages, connected, disconnected, enter, failed, refused, unknown};

use super::client::Scopes;
use super::server::{Errand, browser_cookie, known_browser};
use crate::config::{Auth, Consent, Whose};
use crate::ports::Entropy;
use crate::session::{ConnectPart, Purpose, Sealer};
use crate::wire::json;

/// Who everybody is at a gateway that only this machine can reach, and that asks for no credential.
pub(crate) const LOCAL: &str = "local";
/// Whose a connection is that serves everybody.
pub(crate) const EVERYONE: &str = "everyone";

/// How long a link to the page is good for, in milliseconds.
const LINK: u64 = 60 * 60_000;
/// How long a browser may take for one step, in milliseconds.
const STEP: u64 = 10 * 60_000;

/// What a link to the page says: who is to connect, to what, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    /// Who called.
    pub(crate) principal: Arc<str>,
    /// What the server is known by, whatever it is called by now.
    pub(crate) server: String,
    /// The scopes that the call needs, where the server says so.
    pub(crate) scopes: Option<String>,
    /// Until when it counts, in milliseconds since the Unix epoch.
    pub(crate) expires: u64,
}

/// What somebody is about to do in a browser: it is in the form of the page, and goes along to the identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Who called; nobody where somebody came by themselves.
    pub(crate) principal: Option<Arc<str>>,
    /// What the server is known by.
    pub(crate) server: String,
    /// The scopes that a call needs.
    pub(crate) scopes: Option<String>,
    /// Whether a connection is to end, and none to begin.
    pub(crate) ends: bool,
    /// The browser.
    pub(crate) browser: String,
    /// Until when it counts, in milliseconds since the Unix epoch.
    pub(crate) expires: u64,
}

/// What is known again when a browser comes back from a server's authorization server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leg {
    /// Who has proved to be whom.
    pub(crate) principal: Arc<str>,
    /// What the server is known by.
    pub(crate) server: String,
    /// Who was asked.
    pub(crate) issuer: String,
    /// What the tokens are for.
    pub(crate) resource: String,
    /// What was asked for.
    pub(crate) scopes: String,
    /// What the authorization server wants to see with the code (RFC 7636); where the user enters one, what the gateway has
    /// of it (RFC 8628).
    pub(crate) verifier: String,
    /// Where it sends the browser; where the user enters a code, where that is.
    pub(crate) redirect: String,
    /// The browser.
    pub(crate) browser: String,
    /// Until when it counts, in milliseconds since the Unix epoch.
    pub(crate) expires: u64,
    /// What the browser waits with, where its user enters a code.
    pub(crate) waits: Option<Waits>,
}

/// What a browser waits with whose user enters a code at a server's authorization server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waits {
    /// The code.
    pub(crate) user_code: String,
    /// How often the authorization server is asked, in seconds.
    pub(crate) interval: u64,
    /// From when on it is asked again, in milliseconds since the Unix epoch.
    pub(crate) next: u64,
}

/// How somebody proves to be who called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// By being at this machine.
    Presence,
    /// With their API key.
    ApiKey,
    /// With the admin credential.
    AdminKey,
    /// By signing in at the identity provider.
    SignIn,
}

/// What a gateway can tell a browser's user by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Means<'a> {
    /// How agents sign in.
    pub(crate) auth: &'a Auth,
    /// Whether only this machine can reach the gateway, and nobody through something that stands before it.
    pub(crate) is_private: bool,
    /// Whether there is an admin credential.
    pub(crate) has_admin: bool,
}

impl Means<'_> {
    /// Returns who everybody is that proves nothing.
    pub(crate) fn nobody(&self) -> Option<&'static str> {
        (self.is_private && !self.auth.required).then_some(LOCAL)
    }

    /// Returns how somebody proves to be `expected`, or to be anybody where nobody is; or why that cannot be.
    pub(crate) fn asked(&self, consent: &Consent, expected: Option<&str>) -> Result<Asked, &'static str> {
        if consent.whose == Whose::Everyone {
            return match (self.has_admin, self.nobody()) {
                (true, _) => Ok(Asked::AdminKey),
                (false, Some(_)) => Ok(Asked::Presence),
                (false, None) => {
                    Err("This server is connected once for everybody, with the admin credential, and the \
                                      gateway has none: set PORTCULLIS_ADMIN_KEY.")
                }
            };
        }
        match (expected, self.auth.issuer_of_sign_in()) {
            (None | Some(LOCAL), _) if self.nobody().is_some() => Ok(Asked::Presence),
            (Some(LOCAL), _) => {
                Err("The gateway asks for a credential by now: have your agent call again with one.")
            }
            (Some(expected), _) if expected.starts_with("key:") => Ok(Asked::ApiKey),
            (Some(expected), Some(issuer)) if issuer.has_named(expected) => Ok(Asked::SignIn),
            (Some(_), _) => {
                Err("Your agent signs in with tokens of an identity provider at which the gateway can sign \
                                 nobody in, so it cannot tell whether it is you: an admin sets `auth.sign_in`.")
            }
            (None, Some(_)) => Ok(Asked::SignIn),
            (None, None) => Ok(Asked::ApiKey),
        }
    }
}

/// Seals what travels, and opens it again.
#[derive(Debug)]
pub(crate) struct Desk<'a, E> {
    /// Seals what travels.
    pub(crate) sealer: &'a Sealer,
    /// Makes what cannot be guessed.
    pub(crate) entropy: &'a E,
    /// Now, in milliseconds since the Unix epoch.
    pub(crate) now: u64,
}

impl<E: Entropy> Desk<'_, E> {
    /// Returns the sealed ticket of a link.
    pub(crate) fn ticket(&self, principal: &Arc<str>, server: &str, scopes: Option<&Scopes>) -> String {
        let ticket = Ticket {
            principal: principal.clone(),
            server: server.to_owned(),
            scopes: scopes.map(ToString::to_string),
            expires: self.now + LINK,
        };
        self.seal(ConnectPart::Ticket, &ticket)
    }

    /// Opens a ticket for a server; nothing where it is another's, or too old.
    pub(crate) fn open_ticket(&self, text: &str, server: &str) -> Option<Ticket> {
        let ticket = self.open::<Ticket>(ConnectPart::Ticket, text)?;
        (ticket.server == server && ticket.expires > self.now).then_some(ticket)
    }

    /// Begins what a browser does; returns it with the cookie by which the browser is known again.
    pub(crate) fn begin(
        &self,
        headers: &HeaderMap,
        server: &str,
        ticket: Option<Ticket>,
    ) -> (Intent, HeaderValue) {
        let browser = known_browser(headers).map_or_else(|| self.random::<16>(), ToOwned::to_owned);
        let cookie = browser_cookie(&browser);
        let (principal, scopes) = ticket.map(|ticket| (ticket.principal, ticket.scopes)).unzip();
        let expires = self.now + STEP;
        let server = server.to_owned();
        (Intent { principal, server, scopes: scopes.flatten(), ends: false, browser, expires }, cookie)
    }

    /// Returns an intent, for the page's form.
    pub(crate) fn seal_intent(&self, intent: &Intent) -> String {
        self.seal(ConnectPart::Intent, intent)
    }

    /// Opens an intent of this browser.
    pub(crate) fn open_intent(&self, text: &str, headers: &HeaderMap) -> Option<Intent> {
        let intent = self.open::<Intent>(ConnectPart::Intent, text)?;
        (intent.expires > self.now && known_browser(headers) == Some(&*intent.browser)).then_some(intent)
    }

    /// Begins the way to a server's authorization server and back.
    pub(crate) fn leg(
        &self,
        principal: Arc<str>,
        intent: Intent,
        (issuer, resource, scopes): (&str, &str, &Scopes),
        redirect: String,
    ) -> Leg {
        Leg {
            principal,
            server: intent.server,
            issuer: issuer.to_owned(),
            resource: resource.to_owned(),
            scopes: scopes.to_string(),
            verifier: self.random::<32>(),
            redirect,
            browser: intent.browser,
            expires: self.now + STEP,
            waits: None,
        }
    }

    /// Returns it as the `state` of an authorization request.
    pub(crate) fn seal_leg(&self, leg: &Leg) -> String {
        self.seal(ConnectPart::Leg, leg)
    }

    /// Opens a `state`; nothing where it is none of ours, too old, or another browser's.
    pub(crate) fn open_leg(&self, state: &str, headers: &HeaderMap) -> Option<Leg> {
        let leg = self.open::<Leg>(ConnectPart::Leg, state)?;
        (leg.expires > self.now && known_browser(headers) == Some(&*leg.browser)).then_some(leg)
    }

    fn seal(&self, part: ConnectPart, what: &impl Serialize) -> String {
        self.sealer.pack(self.entropy, Purpose::Connect(part), what)
    }

    fn open<T: DeserializeOwned>(&self, part: ConnectPart, text: &str) -> Option<T> {
        self.sealer.unpack(Purpose::Connect(part), text)
    }

    /// Returns a text that nobody can guess.
    fn random<const BYTES: usize>(&self) -> String {
        use base64::Engine as _;
        let mut bytes = [0; BYTES];
        self.entropy.fill(&mut bytes);
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl From<Intent> for Errand {
    fn from(intent: Intent) -> Self {
        Self::Connect(intent)
    }
}

/// What an agent is told whose call needs its user to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invitation {
    /// The server's name.
    pub(crate) server: String,
    /// Where the user goes.
    pub(crate) url: String,
}

impl Invitation {
    /// Returns what is said to the user.
    pub(crate) fn message(&self) -> String {
        format!("Connect your account at {:?}, so that Portcullis can act for you there.", self.server)
    }

    /// Returns what is said where nobody can be asked to visit a page.
    pub(crate) fn sentence(&self) -> String {
        format!(
            "The server {:?} acts for its user, who has to connect an account first. Ask the user to open this page, then \
             call again: {}",
            self.server, self.url
        )
    }

    /// Returns the parameters of the question (2025-11-25 and later, elicitation in URL mode).
    pub(crate) fn params(&self) -> String {
        format!(
            "{{\"mode\":\"url\",\"message\":{},\"url\":{}}}",
            json::quote(&self.message()),
            json::quote(&self.url)
        )
    }
}
