//! When a connection's token is used, when it is refreshed, by whom, and what comes of that.
//!
//! **Of all instances one refreshes at a time**: it first writes that it does, and whoever reads that leaves the refresh
//! token alone until the lease is over. **A lease outlasts the wait for the provider**, so that whoever still has an answer to
//! come still has the lease. **Only `invalid_grant` breaks a connection**; whatever else goes wrong is tried again after a
//! pause. A lease that its holder let lapse is taken over by one other, which tries the same refresh token: should the
//! provider have given another for it already, it says no, and the user is asked.
//!
//! Times are in milliseconds since the Unix epoch. Clocks may differ: what lies further off than it can counts as over.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{ConnectionKey, ConnectionRecord, Standing};
use crate::secrets::{NotAValue, Secret};

/// The number of the form in which states are sealed: another one for other members.
const FORM: u8 = 1;
/// How long whoever refreshes has for it: longer than it waits for the provider.
pub(crate) const LEASED: u64 = 30_000;
/// How long the provider is waited for.
pub(crate) const ANSWERING: u64 = 20_000;
/// How long before its end a token is refreshed at most; one that lasts for less than five times that, in its last fifth.
const AHEAD: u64 = 60_000;
/// How long a provider that fails is left alone at first.
const FIRST_PAUSE: u64 = 1000;
/// How long at most.
const LONGEST_PAUSE: u64 = 60_000;

/// An access token or a refresh token. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Secret);

impl Token {
    /// Takes a token.
    pub fn new(text: String) -> Result<Self, NotAValue> {
        Secret::new(text).map(Self)
    }

    /// Returns it, for whoever takes it out of texts.
    pub(crate) fn secret(&self) -> &Secret {
        &self.0
    }

    /// Returns it, for whoever is to present it.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What a provider gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// What servers take.
    pub access: Token,
    /// What the next access token is had for; where a refresh brings none, the one before goes on to count.
    pub refresh: Option<Token>,
    /// For how many seconds the access token lasts, where the provider says.
    pub lifetime: Option<u64>,
    /// What it is good for, where the provider says.
    pub scopes: Option<Vec<String>>,
}

/// What came of asking a provider for the next token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It gave one.
    Granted(Granted),
    /// It says that the refresh token no longer counts (`invalid_grant`), and nothing else than that.
    Revoked,
    /// Anything else went wrong: why, in words that are safe to show.
    Failed(String),
}

/// Why a user has to consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is no connection.
    #[error("there is no connection yet")]
    NotConnected,
    /// The token is over, and there is none to have another for.
    #[error("the connection has ended, and its provider gave nothing to renew it with")]
    Ended,
    /// The provider says that the connection no longer counts.
    #[error("the provider says that the connection no longer counts")]
    Revoked,
    /// What is stored does not open: it was sealed by a key that is not here, or was changed.
    #[error("the stored connection cannot be opened with the keys of this gateway")]
    Sealed,
}

/// What is in a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Which consent it goes back to, by a number drawn by chance.
    grant: u64,
    connected: u64,
    scopes: Vec<String>,
    phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Fresh { tokens: Tokens, pause: Option<Pause> },
    Refreshing { tokens: Tokens, pause: Option<Pause>, lease: Lease },
    Broken { why: Reason },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tokens {
    #[serde(with = "plain")]
    access: Token,
    #[serde(with = "plain_option")]
    refresh: Option<Token>,
    obtained: u64,
    expires: Option<u64>,
}

/// Until when a provider that failed is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Pause {
    until: u64,
    length: u64,
}

/// Who refreshes, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    by: u64,
    since: u64,
}

/// One refresh, as whoever makes it remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    grant: u64,
    by: u64,
    /// When it began.
    began: u64,
    /// What it presents.
    pub(crate) token: Token,
}

impl Attempt {
    /// Returns for how many more milliseconds the provider may be waited for.
    pub(crate) fn left(&self, now: u64) -> u64 {
        ANSWERING.saturating_sub(self.began.abs_diff(now))
    }

    /// Tells whether what came of it is newer than these tokens.
    fn concerns(&self, tokens: &Tokens) -> bool {
        tokens.refresh.as_ref() == Some(&self.token)
    }

    /// Returns what it leaves behind, as it ends with its lease. Where somebody else's new tokens have come meanwhile, they
    /// count, and what is said of the old one does not.
    fn ends(&self, outcome: &Outcome, tokens: &Tokens, pause: Option<Pause>, now: u64) -> Phase {
        let same = || tokens.clone();
        match outcome {
            Outcome::Failed(_) => Phase::Fresh { tokens: same(), pause: Some(Pause::after(pause, now)) },
            _ if !self.concerns(tokens) => Phase::Fresh { tokens: same(), pause: None },
            Outcome::Revoked => Phase::Broken { why: Reason::Revoked },
            Outcome::Granted(granted) => {
                Phase::Fresh { tokens: Tokens::of(granted, Some(&self.token), self.began), pause: None }
            }
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Present this access token.
    Use(Token),
    /// Write this state, and then make that attempt.
    Refresh(Box<State>, Attempt),
    /// Look again: somebody refreshes, at most until then.
    Wait(u64),
    /// Give up for now: the provider fails, and is left alone until then.
    Later(u64),
    /// Ask the user.
    Ask(Reason),
}

impl State {
    /// Returns it as what is sealed, which begins with the number of its form.
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(postcard::to_allocvec(&(FORM, self)).expect("plain data"))
    }

    /// Reads what was sealed; nothing where it has another form.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (form, rest) = postcard::take_from_bytes::<u8>(bytes).ok()?;
        if form == FORM { postcard::from_bytes(rest).ok() } else { None }
    }

    /// Returns the state after a consent; `grant` is drawn by chance.
    pub(crate) fn connected(granted: &Granted, grant: u64, now: u64) -> Self {
        let tokens = Tokens::of(granted, None, now);
        let scopes = granted.scopes.clone().unwrap_or_default();
        Self { grant, connected: now, scopes, phase: Phase::Fresh { tokens, pause: None } }
    }

    /// Decides what to do for a call. `refused` is an access token that the server has just refused; `nonce` is what an
    /// attempt would be known by.
    pub(crate) fn decide(&self, now: u64, nonce: u64, refused: Option<&Token>) -> Decision {
        let (tokens, pause, lease) = match &self.phase {
            Phase::Fresh { tokens, pause } => (tokens, *pause, None),
            Phase::Refreshing { tokens, pause, lease } => (tokens, *pause, Some(lease)),
            Phase::Broken { why } => return Decision::Ask(*why),
        };
        let is_usable = tokens.is_valid(now) && refused != Some(&tokens.access);
        let unless_usable =
            |otherwise| if is_usable { Decision::Use(tokens.access.clone()) } else { otherwise };
        if is_usable && !tokens.is_due(now) {
            return unless_usable(Decision::Ask(Reason::Ended));
        }
        let Some(refresh) = &tokens.refresh else { return unless_usable(Decision::Ask(Reason::Ended)) };
        if let Some(lease) = lease.filter(|lease| lease.is_held(now)) {
            return unless_usable(Decision::Wait(lease.since + LEASED));
        }
        if let Some(pause) = pause.filter(|pause| pause.is_on(now)) {
            return unless_usable(Decision::Later(pause.until));
        }
        let lease = Lease { by: nonce, since: now };
        let phase = Phase::Refreshing { tokens: tokens.clone(), pause, lease };
        let attempt = Attempt { grant: self.grant, by: nonce, began: now, token: refresh.clone() };
        Decision::Refresh(Box::new(Self { phase, ..self.clone() }), attempt)
    }

    /// Decides what an attempt's outcome makes of the state that is found after it; nothing where it stays as it is.
    ///
    /// **New tokens count also where they come late**: whoever took over has only the old one, or a no for it. Its lease stays,
    /// so that nobody else begins before it has ended.
    pub(crate) fn settle(&self, attempt: &Attempt, outcome: &Outcome, now: u64) -> Option<Self> {
        if self.grant != attempt.grant {
            return None;
        }
        let new = |granted| Tokens::of(granted, Some(&attempt.token), attempt.began);
        let phase = match (outcome, &self.phase) {
            (_, Phase::Refreshing { tokens, pause, lease }) if lease.is_of(attempt) => {
                attempt.ends(outcome, tokens, *pause, now)
            }
            (Outcome::Granted(granted), Phase::Refreshing { tokens, pause, lease })
                if attempt.concerns(tokens) =>
            {
                Phase::Refreshing { tokens: new(granted), pause: *pause, lease: *lease }
            }
            (Outcome::Granted(granted), Phase::Fresh { tokens, .. }) if attempt.concerns(tokens) => {
                Phase::Fresh { tokens: new(granted), pause: None }
            }
            (Outcome::Granted(granted), Phase::Broken { .. }) => {
                Phase::Fresh { tokens: new(granted), pause: None }
            }
            _ => return None,
        };
        let scopes = match outcome {
            Outcome::Granted(Granted { scopes: Some(scopes), .. }) => scopes.clone(),
            _ => self.scopes.clone(),
        };
        Some(Self { scopes, phase, ..self.clone() })
    }

    /// Returns what is known of the connection without what is in it.
    pub(crate) fn record(&self, key: &ConnectionKey) -> ConnectionRecord {
        let (standing, expires) = match &self.phase {
            Phase::Fresh { tokens, pause: None } => (Standing::Connected, tokens.expires),
            Phase::Fresh { tokens, pause: Some(_) } => (Standing::Paused, tokens.expires),
            Phase::Refreshing { tokens, .. } => (Standing::Refreshing, tokens.expires),
            Phase::Broken { .. } => (Standing::NeedsConsent, None),
        };
        let (key, scopes) = (key.clone(), self.scopes.clone());
        ConnectionRecord { key, scopes, connected: self.connected, expires, standing }
    }

    /// Returns what a provider can be told to forget.
    pub(crate) fn into_tokens(self) -> Vec<Token> {
        match self.phase {
            Phase::Fresh { tokens, .. } | Phase::Refreshing { tokens, .. } => {
                tokens.refresh.into_iter().chain([tokens.access]).collect()
            }
            Phase::Broken { .. } => Vec::new(),
        }
    }
}

impl Tokens {
    fn of(granted: &Granted, before: Option<&Token>, now: u64) -> Self {
        let expires = granted.lifetime.map(|seconds| now.saturating_add(seconds.saturating_mul(1000)));
        let refresh = granted.refresh.as_ref().or(before).cloned();
        Self { access: granted.access.clone(), refresh, obtained: now, expires }
    }

    fn is_valid(&self, now: u64) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Tells whether it is time to have the next one.
    fn is_due(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| {
            let ahead = AHEAD.min(expires.saturating_sub(self.obtained) / 5);
            now >= expires.saturating_sub(ahead)
        })
    }
}

impl Lease {
    fn is_of(&self, attempt: &Attempt) -> bool {
        (self.by, self.since) == (attempt.by, attempt.began)
    }

    fn is_held(&self, now: u64) -> bool {
        self.since.abs_diff(now) < LEASED
    }
}

impl Pause {
    fn after(before: Option<Self>, now: u64) -> Self {
        let length = before.map_or(FIRST_PAUSE, |before| before.length.saturating_mul(2).min(LONGEST_PAUSE));
        Self { until: now.saturating_add(length), length }
    }

    fn is_on(&self, now: u64) -> bool {
        now < self.until && self.until - now <= self.length
    }
}

/// A token within what is going to be sealed.
mod plain {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use super::Token;

    pub(super) fn serialize<S: Serializer>(token: &Token, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(token.reveal())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Token, D::Error> {
        Token::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The same, where there may be none.
mod plain_option {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use super::Token;

    #[expect(clippy::ref_option, reason = "it is called so")]
    pub(super) fn serialize<S: Serializer>(token: &Option<Token>, serializer: S) -> Result<S::Ok, S::Error> {
        match token {
            Some(token) => serializer.serialize_some(token.reveal()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<Token>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(Token::new).transpose().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
