//! The credential of those who run the gateway, as opposed to those who use it.

use std::fmt;

use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};

use crate::wire::http as names;

/// The admin credential. Kept as a digest: comparing digests takes no longer for a key that is nearly right.
#[derive(Clone)]
pub struct AdminKey([u8; 32]);

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey")
    }
}

impl AdminKey {
    /// Makes the credential from its text; nothing where that is empty.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(digest(text)))
    }

    /// Tells whether a request carries it: `Authorization: Bearer KEY`, once.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let Ok(Some(value)) = names::single(headers, &header::AUTHORIZATION) else { return false };
        let Some((scheme, key)) = value.split_once(' ') else { return false };
        self.is(key) && scheme.eq_ignore_ascii_case("bearer")
    }

    /// Returns what stands for it, where only its equality matters. Whoever sees it could try keys against it.
    #[cfg(feature = "control")]
    pub(crate) fn fingerprint(&self) -> String {
        format!("{:x?}", self.0)
    }

    /// Tells whether a text is it.
    pub(crate) fn is(&self, key: &str) -> bool {
        let given = digest(key.trim());
        self.0.iter().zip(given).fold(0, |all, (one, other)| all | (one ^ other)) == 0
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_must_be_the_key() {
        let key = AdminKey::new(" k3y\n").unwrap();
        let check = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            key.is_in(&headers)
        };
        assert!(check("Bearer k3y"));
        assert!(check("bearer k3y"));
        for wrong in ["Bearer", "Bearer ", "Bearer k3", "Bearer k3y k3y", "Basic k3y", "k3y"] {
            assert!(!check(wrong), "{wrong}");
        }
        assert!(!key.is_in(&HeaderMap::new()));
        assert!(AdminKey::new(" ").is_none());
    }
}
