//! Tokens of identity providers: what one says, which keys speak for its issuer, and what a caller without one is told.
//!
//! Portcullis is a resource server (RFC 6750, RFC 9728; MCP 2026-07-28, "Authorization"): it takes tokens that an
//! authorization server made for it, and for nobody else. **Nothing here waits, and nothing here verifies a signature**:
//! that is the host's ([`crate::ports::Signatures`]); what is decided is which key it is verified with, and whether what
//! was signed lets its bearer in.

pub(crate) mod address;
pub(crate) mod answers;
mod claims;
pub(crate) mod client;
pub(crate) mod connect;
pub mod connection;
pub(crate) mod held;
pub(crate) mod issuer;
mod jwk;
pub(crate) mod resource;
pub(crate) mod server;
mod token;

pub use claims::{Claims, Expected, Unfit};
pub use client::{ClientAuth, NotAKey, PrivateKey, SigningAlgorithm};
pub use jwk::{Algorithm, Jwk, KeySet, PublicKey};
pub(crate) use token::LONGEST;
pub use token::{NotAToken, Token};
