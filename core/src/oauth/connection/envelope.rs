//! How what is in a connection is sealed: under a data key of its own, which is wrapped by another.
//!
//! **What was sealed opens only as what it was written as**: for its key, and as the write that wrote it. Whoever writes to
//! the store can give nobody another's tokens, and can put nothing old in the place of what is there without its version.
//!
//! What wraps data keys is not decided here: the gateway's seal keys, or whatever the host has for that.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::{ConnectionKey, Version};
use crate::ports::Entropy;

/// What a sealed connection begins with.
const FORMAT: &str = "1";
const NONCE: usize = 24;
/// The longest sealed connection that is looked at, in characters: two tokens of the longest kind, as base64 in JSON.
const LONGEST: usize = 512 << 10;

/// A key that seals one connection.
#[derive(Clone)]
pub struct DataKey {
    /// The key itself.
    pub plain: Zeroizing<[u8; 32]>,
    /// The same, wrapped: text without a `.`, which may lie in any store.
    pub wrapped: String,
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey")
    }
}

/// Seals and opens one connection as one write wrote it.
pub(crate) struct Envelope<'k> {
    pub(crate) key: &'k ConnectionKey,
    pub(crate) version: Version,
}

/// A sealed connection, taken apart.
pub(crate) struct Sealed<'s> {
    /// The data key, wrapped.
    pub(crate) wrapped: &'s str,
    content: &'s str,
}

impl<'s> Sealed<'s> {
    /// Takes a sealed connection apart; nothing where it is none.
    pub(crate) fn parse(text: &'s str) -> Option<Self> {
        let rest = text.strip_prefix(FORMAT)?.strip_prefix('.')?;
        let (wrapped, content) = rest.split_once('.')?;
        (text.len() <= LONGEST).then_some(Self { wrapped, content })
    }
}

impl Envelope<'_> {
    /// Returns the content sealed under this key, with the wrapped key beside it, as text.
    pub(crate) fn seal(&self, entropy: &impl Entropy, data_key: &DataKey, plain: &[u8]) -> String {
        let mut nonce = [0; NONCE];
        entropy.fill(&mut nonce);
        let payload = Payload { msg: plain, aad: &self.context() };
        let sealed = cipher(&data_key.plain)
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a short message fits the cipher");
        let content = URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat());
        format!("{FORMAT}.{}.{content}", data_key.wrapped)
    }

    /// Opens what was sealed; nothing where it was changed, or was written as another.
    pub(crate) fn open(
        &self,
        plain: &Zeroizing<[u8; 32]>,
        sealed: &Sealed<'_>,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed.content).ok()?;
        let (nonce, content) = bytes.split_at_checked(NONCE)?;
        let nonce: [u8; NONCE] = nonce.try_into().ok()?;
        let payload = Payload { msg: content, aad: &self.context() };
        cipher(plain).decrypt(&XNonce::from(nonce), payload).ok().map(Zeroizing::new)
    }

    fn context(&self) -> Vec<u8> {
        let mut context = b"portcullis connection v1\0".to_vec();
        context.extend(self.version.0.to_le_bytes());
        context.extend(self.key.as_bytes());
        context
    }
}

fn cipher(key: &Zeroizing<[u8; 32]>) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&(**key).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Fixed;
    impl Entropy for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(7);
        }
    }

    fn data_key(byte: u8) -> DataKey {
        DataKey { plain: Zeroizing::new([byte; 32]), wrapped: "wrapped".into() }
    }

    fn key(principal: &str, resource: &str) -> ConnectionKey {
        ConnectionKey {
            principal: principal.into(),
            server: "s".into(),
            issuer: "https://as.test".into(),
            resource: resource.into(),
        }
    }

    fn sealed(content: &[u8]) -> String {
        let envelope = Envelope { key: &key("a", "r"), version: Version(1) };
        envelope.seal(&Fixed, &data_key(1), content)
    }

    fn open(text: &str, (principal, resource): (&str, &str), version: u64, byte: u8) -> Option<Vec<u8>> {
        let envelope = Envelope { key: &key(principal, resource), version: Version(version) };
        Some(envelope.open(&data_key(byte).plain, &Sealed::parse(text)?)?.to_vec())
    }

    #[test]
    fn opens_as_what_it_was_written_as_and_as_nothing_else() {
        let text = sealed(b"t0ken");
        assert!(!text.contains("t0ken") && text.starts_with("1.wrapped."));
        assert_eq!(open(&text, ("a", "r"), 1, 1).as_deref(), Some(&b"t0ken"[..]));
        assert_eq!(open(&text, ("b", "r"), 1, 1), None, "another's");
        assert_eq!(open(&text, ("a", "q"), 1, 1), None, "for something else");
        assert_eq!(open(&text, ("ar", ""), 1, 1), None, "parts that only look alike");
        assert_eq!(open(&text, ("a", "r"), 2, 1), None, "another write");
        assert_eq!(open(&text, ("a", "r"), 1, 2), None, "another data key");
        for odd in ["", "1", "1.", "1.w", "2.w.AAAA", "1.w.", "1.w.AAAA", "1.w.!", &"1.w.A".repeat(1 << 20)] {
            assert_eq!(open(odd, ("a", "r"), 1, 1), None);
        }
    }

    proptest! {
        #[test]
        fn any_changed_character_closes_it(at in 10usize..70, change in "[A-Za-z0-9_-]") {
            let mut text = sealed(b"some plain text that is long enough");
            prop_assume!(text[at..=at] != change);
            text.replace_range(at..=at, &change);
            prop_assert_eq!(open(&text, ("a", "r"), 1, 1), None);
        }
    }
}
