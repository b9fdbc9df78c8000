//! How a server is signed in at with OAuth: by the gateway as itself, or by its users.
//!
//! **What proves the client stands for itself alone**: with a secret or with a key, never both.

use crate::oauth::client::ClientAuth;
use crate::secrets::SecretText;

/// How the gateway signs in at a server, as itself, for all agents alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOn {
    /// What the gateway is called at the authorization server.
    pub client_id: String,
    /// What proves that it is that.
    pub credential: ClientCredential,
    /// The scopes that it asks for, and no others; nothing where the server says what it needs.
    pub scopes: Option<Vec<String>>,
    /// The authorization server, to the letter; nothing where the server says which.
    pub issuer: Option<String>,
    /// How a secret is sent; nothing where the authorization server says how.
    pub token_auth: Option<ClientAuth>,
    /// What the server is called at the authorization server; nothing where that is its URL, or what it says.
    pub resource: Option<ResourceName>,
}

/// How users sign in at a server, each in a browser: the authorization code (RFC 6749 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Whose connection its requests carry.
    pub whose: Whose,
    /// The gateway as it was registered by hand; nothing where it makes itself known.
    pub client: Option<Registered>,
    /// The scopes that are asked for, and no others; nothing where the server says what it needs.
    pub scopes: Option<Vec<String>>,
    /// The authorization server, to the letter; nothing where the server says which.
    pub issuer: Option<String>,
    /// What the server is called at the authorization server; nothing where that is its URL, or what it says.
    pub resource: Option<ResourceName>,
    /// What the authorization server is told besides when it is asked for a user's consent. None of it is what the flow
    /// itself says.
    pub parameters: Vec<(String, String)>,
}

/// Whose connection a server's requests carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The caller's own.
    User,
    /// One that serves all callers.
    Everyone,
}

/// The gateway as it was registered at an authorization server by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// What it is called there.
    pub client_id: String,
    /// What proves that it is that; nothing where it is a public client.
    pub credential: Option<ClientCredential>,
    /// How a secret is sent; nothing where the authorization server says how.
    pub token_auth: Option<ClientAuth>,
}

/// What a server is called where tokens are made for it (RFC 8707).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceName {
    /// Nothing: the authorization server takes no such parameter.
    None,
    /// This.
    Is(String),
}

/// What proves who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCredential {
    /// A client secret.
    Secret(SecretText),
    /// A private key in PEM, which signs assertions.
    PrivateKey(SecretText),
}

impl SignOn {
    /// Returns the text with the secret that it needs.
    pub(crate) fn secret(&self) -> &SecretText {
        self.credential.text()
    }
}

impl Consent {
    /// Returns the text with the secret that it needs, where it needs one.
    pub(crate) fn secret(&self) -> Option<&SecretText> {
        self.client.as_ref()?.credential.as_ref().map(ClientCredential::text)
    }
}

impl ClientCredential {
    /// Returns the text with the secret.
    pub(crate) fn text(&self) -> &SecretText {
        let (Self::Secret(text) | Self::PrivateKey(text)) = self;
        text
    }
}
