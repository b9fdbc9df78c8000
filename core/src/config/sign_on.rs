//! How a server is signed in at with OAuth: by the gateway as itself or on behalf of whoever signed in, or by its users.
//!
//! **What proves the client stands for itself alone**: with a secret or with a key, never both.

use serde::{Deserialize, Serialize};

use crate::oauth::client::ClientAuth;
use crate::secrets::SecretText;

/// How the gateway signs in at a server by itself, without a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOn {
    /// For whom, and with what.
    pub grant: SignOnGrant,
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

/// For whom the gateway signs in by itself, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignOnGrant {
    /// As itself, for all agents alike (RFC 6749 §4.4).
    ClientCredentials,
    /// On behalf of a caller, whose token is exchanged where the server's tokens are made (RFC 8693).
    TokenExchange {
        /// What the caller's token is said to be.
        subject: SubjectType,
        /// For whom the token is to be besides, by a name of the authorization server's own.
        audience: Option<String>,
    },
    /// On behalf of a caller, for whose token their identity provider vouches at the authorization server of the server
    /// (draft-ietf-oauth-identity-assertion-authz-grant).
    IdJag {
        /// What the caller's token is said to be.
        subject: SubjectType,
        /// Where the caller has signed in.
        provider: IdentityProvider,
    },
}

/// What a caller's token is said to be where it is exchanged (RFC 8693 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubjectType {
    /// An access token.
    AccessToken,
    /// An ID token.
    IdToken,
    /// A JWT, of whatever kind.
    Jwt,
}

/// An identity provider that vouches for its users, and the gateway as its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityProvider {
    /// Its issuer, to the letter.
    pub issuer: String,
    /// What the gateway is called there.
    pub client_id: String,
    /// What proves that it is that.
    pub credential: ClientCredential,
}

/// How users sign in at a server, each in a browser.
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
    /// How their consent comes back.
    pub by: ConsentBy,
}

/// How a user's consent comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsentBy {
    /// Their browser brings a code (RFC 6749 §4.1).
    Code(Pkce),
    /// They enter a code at the authorization server, which is asked meanwhile (RFC 8628): at this address, or where the
    /// authorization server says.
    Device(Option<String>),
}

/// What it takes to believe that an authorization server binds a code to who asked for it (RFC 7636).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pkce {
    /// It has to say so.
    Stated,
    /// Nothing, where it does not say what it does.
    Assumed,
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
    /// Returns the texts with the secrets that it needs.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &SecretText> {
        let provider = match &self.grant {
            SignOnGrant::IdJag { provider, .. } => Some(provider.credential.text()),
            SignOnGrant::ClientCredentials | SignOnGrant::TokenExchange { .. } => None,
        };
        std::iter::once(self.credential.text()).chain(provider)
    }

    /// Tells whether the gateway acts for whoever signed in with a token.
    pub(crate) fn is_on_behalf(&self) -> bool {
        self.grant != SignOnGrant::ClientCredentials
    }
}

impl SubjectType {
    /// Returns the name of the type.
    pub(crate) fn urn(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
        }
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
