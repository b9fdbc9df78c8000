//! A client's private key: PKCS#8 (RFC 5958) in PEM (RFC 7468), and what is signed with it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// Object identifiers as they are encoded: `rsaEncryption`, `id-ecPublicKey`, and the curve P-256.
const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC: &[u8] = &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

/// What assertions are signed with (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl SigningAlgorithm {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// A private key. It does not show itself, and its memory is wiped when it is let go of.
#[derive(Clone)]
pub struct PrivateKey {
    algorithm: SigningAlgorithm,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.algorithm.name())
    }
}

/// A text that is no private key. It is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// It is in another format.
    #[error("is no private key in PEM (PKCS#8: `-----BEGIN PRIVATE KEY-----`)")]
    Format,
    /// It is of another kind.
    #[error("is a private key of another kind than RSA or P-256")]
    Kind,
}

impl PrivateKey {
    /// Reads a key.
    pub fn parse(pem: &str) -> Result<Self, NotAKey> {
        let body = pem.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        let body = body.ok_or(NotAKey::Format)?;
        let mut text = Zeroizing::new(String::with_capacity(body.len()));
        text.extend(body.chars().filter(|c| !c.is_ascii_whitespace()));
        let pkcs8 = Zeroizing::new(STANDARD.decode(&*text).map_err(|_| NotAKey::Format)?);
        let kind = kind_of(&pkcs8).ok_or(NotAKey::Format)?;
        let algorithm = algorithm_of(kind).ok_or(NotAKey::Kind)?;
        Ok(Self { algorithm, pkcs8 })
    }

    /// Returns what it signs with.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// Returns the key as `PrivateKeyInfo` in DER, for whoever signs.
    pub fn reveal(&self) -> &[u8] {
        &self.pkcs8
    }
}

/// Returns what kind of key it is (`AlgorithmIdentifier`); nothing where it is none.
fn kind_of(der: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    let (info, _) = element(der, SEQUENCE)?;
    let (_version, rest) = element(info, 0x02)?;
    let (kind, rest) = element(rest, SEQUENCE)?;
    element(rest, 0x04).map(|_| kind)
}

fn algorithm_of(kind: &[u8]) -> Option<SigningAlgorithm> {
    let is_ec = kind.strip_prefix(EC).is_some_and(|curve| curve == P256);
    let ec = is_ec.then_some(SigningAlgorithm::Es256);
    if kind.starts_with(RSA) { Some(SigningAlgorithm::Rs256) } else { ec }
}

/// Splits an element of DER off: its content, and what comes after it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [first, length, rest @ ..] = der else { return None };
    let (length, rest) = match length {
        short @ 0..=0x7f => (usize::from(*short), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |all, digit| all << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    (*first == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A key with nothing in it.
    fn pem(algorithm: &[u8]) -> String {
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).expect("short");
        let info = [&[2, 1, 0, 0x30, length(algorithm)], algorithm, &[4, 1, 0]].concat();
        let der = [&[0x30, length(&info)], &info[..]].concat();
        format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der))
    }

    fn check(text: &str) -> String {
        PrivateKey::parse(text).map_or_else(|odd| odd.to_string(), |key| format!("{key:?}"))
    }

    #[test]
    fn keys_say_what_they_are_for_and_nothing_else() {
        let null = [5, 0];
        insta::assert_snapshot!(check(&pem(&[RSA, &null].concat())), @"PrivateKey(RS256)");
        insta::assert_snapshot!(check(&pem(&[EC, P256].concat()).replace('\n', "\r\n")), @"PrivateKey(ES256)");
        insta::assert_snapshot!(check(&pem(EC)), @"is a private key of another kind than RSA or P-256");
        insta::assert_snapshot!(check(&pem(&[6, 3, 0x2b, 0x65, 0x70])), @"is a private key of another kind than RSA or P-256");
    }

    #[test]
    fn what_is_no_key_is_not_repeated() {
        for odd in ["", "s3cret", BEGIN, &format!("{BEGIN}{END}"), &format!("{BEGIN}\ns3cret!\n{END}")] {
            assert_eq!(check(odd), NotAKey::Format.to_string(), "{odd}");
        }
        let of_rsa = pem(RSA).replace("PRIVATE", "RSA PRIVATE");
        assert_eq!(check(&of_rsa), NotAKey::Format.to_string());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            kind_of(&bytes).and_then(algorithm_of);
        }
    }
}
