//! Sealing: what must outlive a request travels with the client, encrypted and authenticated.
//!
//! **A token that was changed, cut, made for another purpose or sealed by a key we do not have opens to nothing**,
//! and nothing tells which of these it was. Keys are derived once, when the sealer is made.
//!
//! A token has a random nonce, or, where the same plain text must always give the same token, one that is a keyed hash
//! of it: then a token tells nothing but whether two plain texts are equal.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::ports::Entropy;

const FORMAT: u8 = 1;
const NONCE: usize = 24;
const TAG: usize = 16;

/// What a sealed value is for; a token of one purpose does not open as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An `Mcp-Session-Id`.
    Session,
    /// The id of a server's request as an agent sees it.
    ServerRequest,
    /// A `requestState`.
    RequestState,
    /// A task's id as an agent sees it.
    Task,
    /// A session with a server, which instances share.
    Upstream,
    /// The value of a secret in a store.
    Secret,
    /// What a sign-in is made of.
    SignIn(SignInPart),
    /// The key that a connection is sealed under.
    DataKey,
    /// What is handed out where somebody connects.
    Connect(ConnectPart),
    /// What one instance of a host says of a caller to another.
    Handed,
    /// A place in the audit trail, as somebody is told it who reads what is theirs.
    #[cfg(feature = "control")]
    Cursor,
    /// The seed of a key that signs in a fleet.
    #[cfg(feature = "control")]
    Fleet,
}

/// What is handed out where somebody connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectPart {
    /// What a link to the page says.
    Ticket,
    /// What the page's form brings back.
    Intent,
    /// The `state` at a server's authorization server.
    Leg,
    /// What the gateway is registered as at an authorization server.
    Registration,
}

/// What is handed out where the gateway stands in as the authorization server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignInPart {
    /// The id of a client that registered itself.
    Client,
    /// Its secret.
    ClientSecret,
    /// An authorization request that waits for consent.
    Pending,
    /// The `state` at the identity provider.
    State,
    /// To whom a browser has agreed.
    Consents,
    /// An authorization code.
    Code,
    /// An access token.
    Access,
    /// A refresh token.
    Refresh,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Session => b"session",
            Self::ServerRequest => b"server-request",
            Self::RequestState => b"request-state",
            Self::Task => b"task",
            Self::Upstream => b"upstream",
            Self::Secret => b"secret",
            Self::SignIn(part) => match part {
                SignInPart::Client => b"sign-in client",
                SignInPart::ClientSecret => b"sign-in client secret",
                SignInPart::Pending => b"sign-in pending",
                SignInPart::State => b"sign-in state",
                SignInPart::Consents => b"sign-in consents",
                SignInPart::Code => b"sign-in code",
                SignInPart::Access => b"sign-in access",
                SignInPart::Refresh => b"sign-in refresh",
            },
            Self::DataKey => b"data-key",
            Self::Handed => b"handed",
            #[cfg(feature = "control")]
            Self::Cursor => b"cursor",
            #[cfg(feature = "control")]
            Self::Fleet => b"fleet",
            Self::Connect(part) => match part {
                ConnectPart::Ticket => b"connect ticket",
                ConnectPart::Intent => b"connect intent",
                ConnectPart::Leg => b"connect leg",
                ConnectPart::Registration => b"connect registration",
            },
        }
    }

    /// Returns the length of the longest token that is looked at, in characters.
    fn longest(self) -> usize {
        match self {
            Self::Session | Self::ServerRequest | Self::Task | Self::Upstream | Self::DataKey => 8 << 10,
            #[cfg(feature = "control")]
            Self::Fleet => 1 << 10,
            #[cfg(feature = "control")]
            Self::Cursor => 8 << 10,
            // It carries what a policy asks of claims.
            Self::SignIn(_) | Self::Connect(_) | Self::Handed => 32 << 10,
            // It carries a state of a server's own.
            Self::RequestState => 1 << 20,
            // The longest value and the longest name, as base64.
            Self::Secret => 96 << 10,
        }
    }
}

/// Seals with the first of its keys and opens with any. Clones have the same keys, also once there are others.
#[derive(Clone)]
pub(crate) struct Sealer {
    keys: Arc<ArcSwap<Vec<Key>>>,
}

#[derive(Clone)]
struct Key {
    hint: u8,
    naming: [u8; 32],
    nonces: [u8; 32],
    cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({} keys)", self.keys.load().len())
    }
}

impl Sealer {
    /// Derives the working keys: `first` seals, all open.
    pub(crate) fn new(first: &[u8; 32], others: &[[u8; 32]]) -> Self {
        Self { keys: Arc::new(ArcSwap::from_pointee(Key::derive_all(first, others))) }
    }

    /// Takes other keys: `first` seals from now on, all open.
    pub(crate) fn take(&self, first: &[u8; 32], others: &[[u8; 32]]) {
        self.keys.store(Arc::new(Key::derive_all(first, others)));
    }

    /// Returns a name for `what` that only holders of the first key can make: the same on every instance.
    pub(crate) fn name(&self, what: &str) -> String {
        let digest = Sha256::new().chain_update(self.keys.load()[0].naming).chain_update(what).finalize();
        URL_SAFE_NO_PAD.encode(&digest[..6])
    }

    /// Returns `plain` sealed for `purpose`, as URL-safe text.
    pub(crate) fn seal(&self, entropy: &impl Entropy, purpose: Purpose, plain: &[u8]) -> String {
        let mut nonce = [0; NONCE];
        entropy.fill(&mut nonce);
        self.seal_with(nonce, purpose, plain)
    }

    /// Returns a value sealed for `purpose`, as URL-safe text: the same every time, for as long as the first key stays.
    pub(crate) fn pack_alike(&self, purpose: Purpose, value: &impl Serialize) -> String {
        let plain = &*postcard::to_allocvec(value).expect("plain data");
        let mut hash =
            Hmac::<Sha256>::new_from_slice(&self.keys.load()[0].nonces).expect("a key may have any length");
        hash.update(purpose.label());
        hash.update(&[0]);
        hash.update(plain);
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&hash.finalize().into_bytes()[..NONCE]);
        self.seal_with(nonce, purpose, plain)
    }

    fn seal_with(&self, nonce: [u8; NONCE], purpose: Purpose, plain: &[u8]) -> String {
        let keys = self.keys.load();
        let key = &keys[0];
        let sealed = key
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: purpose.label() })
            .expect("a short message fits the cipher");
        let mut token = Vec::with_capacity(2 + NONCE + sealed.len());
        token.extend([FORMAT, key.hint]);
        token.extend(nonce);
        token.extend(sealed);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Returns a value sealed for `purpose`. Its form has no names: one with other members is another value, or none.
    pub(crate) fn pack(&self, entropy: &impl Entropy, purpose: Purpose, value: &impl Serialize) -> String {
        self.seal(entropy, purpose, &postcard::to_allocvec(value).expect("plain data"))
    }

    /// Opens a value that one of the keys sealed for `purpose`.
    pub(crate) fn unpack<T: DeserializeOwned>(&self, purpose: Purpose, token: &str) -> Option<T> {
        postcard::from_bytes(&self.open(purpose, token)?).ok()
    }

    /// Opens a token that one of the keys sealed for `purpose`.
    pub(crate) fn open(&self, purpose: Purpose, token: &str) -> Option<Vec<u8>> {
        if token.len() > purpose.longest() {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        if bytes.len() < 2 + NONCE + TAG || bytes[0] != FORMAT {
            return None;
        }
        let (head, sealed) = bytes.split_at(2 + NONCE);
        let nonce: [u8; NONCE] = head[2..].try_into().ok()?;
        self.keys.load().iter().filter(|key| key.hint == head[1]).find_map(|key| {
            key.cipher.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: purpose.label() }).ok()
        })
    }
}

impl Key {
    fn derive_all(first: &[u8; 32], others: &[[u8; 32]]) -> Vec<Self> {
        std::iter::once(first).chain(others).map(Self::derive).collect()
    }

    fn derive(master: &[u8; 32]) -> Self {
        let digest = |label: &[u8]| Sha256::new().chain_update(label).chain_update(master).finalize();
        let key: [u8; 32] = digest(b"portcullis seal key v1").into();
        let naming = digest(b"portcullis naming key v1").into();
        let nonces = digest(b"portcullis nonce key v1").into();
        Self {
            hint: digest(b"portcullis seal hint v1")[0],
            naming,
            nonces,
            cipher: XChaCha20Poly1305::new(&key.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Counting;
    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(7);
        }
    }

    fn sealer(first: u8, others: &[u8]) -> Sealer {
        Sealer::new(&[first; 32], &others.iter().map(|b| [*b; 32]).collect::<Vec<_>>())
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let token = sealer(1, &[]).seal(&Counting, Purpose::Session, b"hello");
        assert_eq!(sealer(1, &[]).open(Purpose::Session, &token).as_deref(), Some(&b"hello"[..]));
        assert_eq!(
            sealer(2, &[1]).open(Purpose::Session, &token).as_deref(),
            Some(&b"hello"[..]),
            "rotation"
        );
        assert_eq!(sealer(1, &[]).open(Purpose::ServerRequest, &token), None, "other purpose");
        assert_eq!(sealer(2, &[]).open(Purpose::Session, &token), None, "other key");
        assert_eq!(sealer(1, &[]).open(Purpose::Session, ""), None);
        assert_eq!(sealer(1, &[]).open(Purpose::Session, &"A".repeat(1 << 20)), None, "too long");
    }

    #[test]
    fn what_is_sealed_alike_is_the_same_everywhere_and_tells_purposes_apart() {
        let token = sealer(1, &[]).pack_alike(Purpose::Task, &"hello");
        assert_eq!(sealer(1, &[9]).pack_alike(Purpose::Task, &"hello"), token, "another instance");
        assert_ne!(sealer(1, &[]).pack_alike(Purpose::Task, &"hellp"), token);
        assert_ne!(sealer(1, &[]).pack_alike(Purpose::Session, &"hello")[4..36], token[4..36], "other nonce");
        assert_eq!(sealer(2, &[1]).unpack(Purpose::Task, &token), Some("hello".to_owned()), "rotation");
        assert_eq!(sealer(1, &[]).open(Purpose::Session, &token), None, "other purpose");
        assert_eq!(sealer(2, &[]).open(Purpose::Task, &token), None, "other key");
    }

    #[test]
    fn other_keys_are_those_of_every_clone() {
        let (sealer, before) = (sealer(1, &[]), sealer(1, &[]));
        let clone = sealer.clone();
        sealer.take(&[2; 32], &[[1; 32]]);
        let token = clone.seal(&Counting, Purpose::Session, b"hello");
        assert_eq!(before.open(Purpose::Session, &token), None, "the new key has sealed it");
        assert_eq!(sealer.open(Purpose::Session, &token).as_deref(), Some(&b"hello"[..]));
        let token = before.seal(&Counting, Purpose::Session, b"hello");
        assert_eq!(clone.open(Purpose::Session, &token).as_deref(), Some(&b"hello"[..]), "the old one opens");
    }

    proptest! {
        #[test]
        fn any_changed_byte_closes_it(at in 0usize..90, change in 1u8..=255) {
            let sealer = sealer(1, &[]);
            let token = sealer.seal(&Counting, Purpose::Session, b"some plain text, long enough to matter");
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= change;
            prop_assert_eq!(sealer.open(Purpose::Session, &URL_SAFE_NO_PAD.encode(&bytes)), None);
            prop_assert_eq!(sealer.open(Purpose::Session, &token[..at]), None);
        }
    }
}
