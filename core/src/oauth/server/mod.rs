//! The gateway as the authorization server that agents see, before an identity provider (ADR 0029).
//!
//! **Nothing here waits, and nothing is stored**: what must outlive a request is sealed and goes with whoever will bring it
//! back. What only once may be done is told by a stamp, which the flow takes. What a client says of itself is shown as
//! text and believed in nothing.

pub(crate) mod answer;
mod authorize;
mod client;
mod consent;
mod family;
mod form;
mod metadata;
mod provider;
mod redirect;
mod register;
mod token;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::config::SignIn;
use crate::ports::Entropy;
use crate::session::{Purpose, Sealer, SignInPart};

pub(crate) use answer::{Failure, page_error, preflighted};
pub(crate) use client::{Client, Named};
#[cfg(feature = "control")]
pub(crate) use consent::cookie_of;
pub(crate) use consent::{Decided, Next, agreed, browser_cookie, known_browser};
pub(crate) use family::{Noted, Use};
pub(crate) use form::Form;
#[cfg(feature = "control")]
pub(crate) use provider::Visit;
pub(crate) use provider::{Back, Errand, Provider, State, id_token_of, is_of_this_sign_in};
pub(crate) use token::{Access, Exchange, Grant, is_access_token};

/// The largest body that is read of a request, and the largest document of a client, in bytes.
pub(crate) const BODY: usize = 32 << 10;
/// How long a browser may take for one step, in milliseconds.
const STEP: u64 = 10 * 60_000;

/// What the gateway does where it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// `/.well-known/oauth-authorization-server`: says what it can do.
    Metadata,
    /// `/oauth/authorize`: a client asks for somebody's authorization.
    Authorize,
    /// `/oauth/consent`: somebody has decided about a client.
    Consent,
    /// `/oauth/signed-in`: the provider sends somebody back.
    SignedIn,
    /// `/oauth/token`: a client asks for tokens.
    Token,
    /// `/oauth/register`: a client registers itself.
    Register,
    /// `/oauth/revoke`: a client gives a token back.
    Revoke,
}

/// Where browsers come back to that were sent to the provider.
pub(crate) const SIGNED_IN: &str = "/oauth/signed-in";
/// The path of what it says of itself (RFC 8414 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

impl Step {
    const ALL: [(&'static str, Self); 7] = [
        (WELL_KNOWN, Self::Metadata),
        ("/oauth/authorize", Self::Authorize),
        ("/oauth/consent", Self::Consent),
        (SIGNED_IN, Self::SignedIn),
        ("/oauth/token", Self::Token),
        ("/oauth/register", Self::Register),
        ("/oauth/revoke", Self::Revoke),
    ];

    /// Returns what a path is for. Clients of 2025-03-26 append an endpoint's path to the well-known one.
    pub(crate) fn at(path: &str) -> Option<(&'static str, Self)> {
        let whole = Self::ALL.into_iter().find(|(whole, _)| *whole == path);
        let appended = || path.strip_prefix(WELL_KNOWN).filter(|rest| is_endpoint(rest));
        whole.or_else(|| appended().map(|_| Self::ALL[0]))
    }

    /// Returns the method that it has.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Metadata | Self::Authorize | Self::SignedIn => "GET",
            Self::Consent | Self::Token | Self::Register | Self::Revoke => "POST",
        }
    }

    /// Tells whether programs ask for it, on whatever page they run, and not the browser as it goes from page to page.
    pub(crate) fn is_for_programs(self) -> bool {
        matches!(self, Self::Metadata | Self::Token | Self::Register | Self::Revoke)
    }
}

/// Tells whether a path is that of an endpoint for which tokens are made, whether or not there is such a server.
fn is_endpoint(path: &str) -> bool {
    path == crate::endpoint::SSE || crate::endpoint::is_agents(path)
}

/// What an answer is decided by.
#[derive(Debug)]
pub(crate) struct Authority<'a, E> {
    /// The issuer: the gateway's public origin.
    pub(crate) origin: &'a str,
    /// How the gateway stands in.
    pub(crate) settings: &'a SignIn,
    /// Where the provider sends browsers back to.
    pub(crate) back: &'static str,
    /// The scopes that tokens can have.
    pub(crate) scopes: &'a [String],
    /// Seals what is handed out.
    pub(crate) sealer: &'a Sealer,
    /// Makes what cannot be guessed.
    pub(crate) entropy: &'a E,
    /// Now, in milliseconds since the Unix epoch.
    pub(crate) now: u64,
}

impl<E: Entropy> Authority<'_, E> {
    fn seal(&self, part: SignInPart, what: &impl Serialize) -> String {
        self.sealer.pack(self.entropy, Purpose::SignIn(part), what)
    }

    fn open<T: DeserializeOwned>(&self, part: SignInPart, text: &str) -> Option<T> {
        open(self.sealer, part, text)
    }

    /// Returns a text that nobody can guess.
    fn random<const BYTES: usize>(&self) -> String {
        let mut bytes = [0; BYTES];
        self.entropy.fill(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }
}

fn open<T: DeserializeOwned>(sealer: &Sealer, part: SignInPart, text: &str) -> Option<T> {
    sealer.unpack(Purpose::SignIn(part), text)
}

/// Returns what stands for a text wherever only its equality matters.
fn digest(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(text))
}
