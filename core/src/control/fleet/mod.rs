//! The fleet: gateways that one control plane governs. What they are given, and how each side knows the other. Pure.
//!
//! **What a gateway takes is signed by the key that it has pinned, for it alone, and newer than what it has.** A gateway
//! proves itself by its own key, request by request: there is nothing on the way that could be used again elsewhere. See
//! ADR 0049.

pub(crate) mod asked;
pub(crate) mod forwarded;
pub(crate) mod member;
mod membership;
pub(crate) mod merged;
mod proof;
pub(crate) mod rollout;
mod snapshot;
mod token;

pub use membership::{Judged, Membership, NotTaken, Signer};
pub use proof::{ENROLMENT, Enrolment, Proof, SIGNATURE, SNAPSHOT};
pub use snapshot::Snapshot;
pub use token::EnrolmentToken;
pub(crate) use token::{is_id, new_id};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::audit;

/// What all paths begin with at which gateways ask.
pub(crate) const ROOT: &str = "/fleet/v1/";

/// The most bytes a signature has.
const LONGEST: usize = 64;

/// Writes bytes as the fleet has them in texts: base64url without padding.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads so many bytes as [`text_of`] writes them.
pub(crate) fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// Reads a signature.
pub(crate) fn signature_of(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| (1..=LONGEST).contains(&bytes.len()))
}

/// Returns the fingerprint of a control plane's key, by which an enrolment knows it.
pub(crate) fn fingerprint(key: &[u8; 32]) -> String {
    audit::digest(key)
}
