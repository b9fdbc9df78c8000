//! How the two sides of a fleet prove to each other who they are: what is signed, and where the signature stands.
//!
//! **What is signed for one purpose counts for no other**: each begins with words of its own. A gateway's proof is bound to
//! one request, with its body, at one control plane, at one time, and counts once.

use http::Method;

use super::token::is_id;
use super::{bytes_of, signature_of, text_of};
use crate::audit;

/// The header in which a signature of a body stands.
pub const SIGNATURE: &str = "portcullis-signature";
/// What the control plane signs a snapshot after.
pub const SNAPSHOT: &str = "portcullis fleet snapshot 1\n";
/// What both sides sign an enrolment after.
pub const ENROLMENT: &str = "portcullis fleet enrolment 1\n";
/// What a gateway signs a request after.
const REQUEST: &str = "portcullis fleet request 1\n";
/// The scheme of the `Authorization` header.
const SCHEME: &str = "Portcullis ";
/// By how much clocks may differ, in milliseconds.
pub(crate) const WINDOW: u64 = 120_000;

/// How an enrolment ends: what the control plane answers, signed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Enrolment {
    /// The gateway's id from now on.
    pub gateway: String,
    /// The key that the gateway has shown.
    pub for_key: String,
    /// The control plane's key, to be pinned.
    pub key: String,
}

/// Who asks, and by what that is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The gateway's id.
    pub gateway: String,
    /// When the request was made, in milliseconds since the Unix epoch.
    pub time: u64,
    /// What tells requests of the same time apart.
    pub nonce: [u8; 16],
    /// The signature.
    pub signature: Vec<u8>,
}

impl Proof {
    /// Returns what is to be signed of a request to the control plane of that fingerprint.
    pub(crate) fn message(&self, fleet: &str, (method, target): (&Method, &str), body: &[u8]) -> Vec<u8> {
        let Self { gateway, time, nonce, .. } = self;
        let (nonce, body) = (text_of(nonce), audit::digest(body));
        format!("{REQUEST}{fleet}\n{method} {target}\n{gateway}\n{time}\n{nonce}\n{body}").into_bytes()
    }

    /// Returns the value of the `Authorization` header.
    pub(crate) fn header(&self) -> String {
        let Self { gateway, time, nonce, signature } = self;
        format!("{SCHEME}{gateway}.{time}.{}.{}", text_of(nonce), text_of(signature))
    }

    /// Reads the value of such a header.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let mut parts = header.strip_prefix(SCHEME)?.split('.');
        let (gateway, time, nonce, signature) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let sound = is_id(gateway) && parts.next().is_none();
        let (time, nonce) = (time.parse().ok()?, bytes_of(nonce)?);
        sound.then_some(Self {
            gateway: gateway.to_owned(),
            time,
            nonce,
            signature: signature_of(signature)?,
        })
    }

    /// Tells whether its time is about now.
    pub(crate) fn is_fresh(&self, now: u64) -> bool {
        self.time.abs_diff(now) <= WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_request() {
        let proof = Proof {
            gateway: "00000000000000aa".into(),
            time: 1_000_000,
            nonce: [1; 16],
            signature: vec![2; 64],
        };
        assert_eq!(Proof::parse(&proof.header()), Some(proof.clone()));
        let message = |fleet: &str, method: Method, target: &str, body: &[u8]| {
            proof.message(fleet, (&method, target), body)
        };
        let one = message("f", Method::GET, "/fleet/v1/snapshot?version=1", b"");
        for other in [
            message("g", Method::GET, "/fleet/v1/snapshot?version=1", b""),
            message("f", Method::POST, "/fleet/v1/snapshot?version=1", b""),
            message("f", Method::GET, "/fleet/v1/snapshot?version=2", b""),
            message("f", Method::GET, "/fleet/v1/snapshot?version=1", b"{}"),
            Proof { time: 1, ..proof.clone() }.message(
                "f",
                (&Method::GET, "/fleet/v1/snapshot?version=1"),
                b"",
            ),
            Proof { nonce: [2; 16], ..proof.clone() }.message(
                "f",
                (&Method::GET, "/fleet/v1/snapshot?version=1"),
                b"",
            ),
        ] {
            assert_ne!(one, other);
        }
        assert!(proof.is_fresh(1_000_000 + WINDOW) && proof.is_fresh(1_000_000 - WINDOW));
        assert!(!proof.is_fresh(1_000_001 + WINDOW) && !proof.is_fresh(999_999 - WINDOW));
        for odd in ["", "Bearer x", "Portcullis a.1.AA.AA", &proof.header()[..40], &(proof.header() + ".")] {
            assert_eq!(Proof::parse(odd), None, "{odd}");
        }
    }
}
