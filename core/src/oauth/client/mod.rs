//! Signing in at servers as an OAuth client (MCP 2026-07-28, "Authorization"): which authorization server a server has, what
//! it is asked, and what its answers mean.
//!
//! **Nothing here waits, and everything that a server says is untrusted**: what is read is bounded, an address is followed
//! only where it leads to where such a thing may be, and an issuer is who its metadata says only where both are the same text.
//! **No secret and no token shows itself.** A signature is the host's ([`crate::ports::Host::sign`]).

mod assertion;
pub(crate) mod authorize;
mod challenge;
mod device;
pub(crate) mod held;
mod key;
mod register;
mod resource;
mod scopes;
mod server;
mod token;

pub(crate) use assertion::Assertion;
pub(crate) use authorize::{Asking, CameBack, came_back, state_of, with_offline};
pub(crate) use challenge::Demand;
pub(crate) use device::{DeviceCode, device_endpoint, interval_after};
pub use key::{NotAKey, PrivateKey, SigningAlgorithm};
pub(crate) use register::{Registration, callback_url, client_document, document_url, registration};
pub(crate) use resource::{Resource, canonical, metadata_places};
pub(crate) use scopes::{Scopes, is_scope};
pub(crate) use server::{AuthorizationServer, Named, is_at_the_server};
pub use token::ClientAuth;
pub(crate) use token::{Grant, Issued, NoToken, Token, TokenRequest};
