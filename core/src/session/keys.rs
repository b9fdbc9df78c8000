//! The keys that seal what clients carry, as operators write them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::gateway::SealKeys;

/// A text that is no seal key. It is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected base64 of 32 bytes, several separated by commas; make one with `openssl rand -base64 32`")]
pub struct NotSealKeys;

impl SealKeys {
    /// Returns the keys of an identity's own instance: whoever has them learns nothing of these, or of another's.
    #[must_use]
    pub fn of_instance(&self, principal: &str) -> Self {
        let derive = |key: &[u8; 32]| {
            let mut hash = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
            hash.update(b"portcullis instance v1\0");
            hash.update(principal.as_bytes());
            hash.finalize().into_bytes().into()
        };
        Self { first: derive(&self.first), others: self.others.iter().map(derive).collect() }
    }

    /// Reads one key or several, separated by commas: base64 of 32 bytes each. The first seals; the others only open.
    pub fn parse(text: &str) -> Result<Self, NotSealKeys> {
        let keys = text.trim().split(',').map(|key| {
            let bytes = STANDARD.decode(key.trim()).ok();
            bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        });
        let keys = keys.collect::<Option<Vec<_>>>().ok_or(NotSealKeys)?;
        let [first, others @ ..] = &keys[..] else { return Err(NotSealKeys) };
        Ok(Self { first: *first, others: others.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_keys_of_its_own() {
        let keys = SealKeys { first: [1; 32], others: vec![[2; 32]] };
        let (one, other) = (keys.of_instance("key:a"), keys.of_instance("key:b"));
        assert_eq!(one.first, keys.of_instance("key:a").first);
        assert!(one.first != other.first && one.first != keys.first && one.others[0] != one.first);
    }

    #[test]
    fn keys_are_read_and_refused() {
        let key = STANDARD.encode([1; 32]);
        let keys = SealKeys::parse(&format!(" {key},{} \n", STANDARD.encode([2; 32]))).unwrap();
        assert_eq!((keys.first, keys.others), ([1; 32], vec![[2; 32]]));
        for bad in ["", "abc", &STANDARD.encode([1; 31]), &format!("{key},")] {
            assert!(SealKeys::parse(bad).is_err(), "{bad}");
        }
    }
}
