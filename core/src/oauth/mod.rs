//! OAuth, pure: here, what the gateway needs to sign in at servers.

pub(crate) mod client;
#[allow(dead_code, clippy::doc_markdown, reason = "where keys are is asked by whoever verifies tokens")]
pub(crate) mod issuer;

pub use client::{ClientAuth, NotAKey, PrivateKey, SigningAlgorithm};
