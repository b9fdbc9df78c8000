//! What an API key looks like. It is known by its hash alone: nothing here keeps one.
//!
//! **A key tells by itself whether it was copied whole**: its last characters are a checksum of the others, so that a
//! slip of the hand, and a scanner that finds a key somewhere, are answered without asking any store.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::ports::Entropy;

/// What every key begins with.
const PREFIX: &str = "pck_";
/// The digits of a key's number and of its checksum.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// How many digits 32 bytes take.
const SECRET: usize = 43;
/// How many digits the checksum takes.
const CHECKSUM: usize = 6;

/// An API key: `pck_`, 32 random bytes in 43 digits of base 62, and 6 more digits with the CRC-32 of all before.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// The SHA-256 of a key: what stores keep of it.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

/// A text that is no API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// It does not begin as keys do.
    #[error("this is no API key of Portcullis, which begins with `pck_`")]
    Foreign,
    /// It was cut, or has a wrong character.
    #[error("the API key is not whole, or has a wrong character: its checksum does not match")]
    Mistyped,
}

impl ApiKey {
    /// Makes a key that nobody can guess.
    pub fn generate(entropy: &impl Entropy) -> Self {
        let mut secret = [0; 32];
        entropy.fill(&mut secret);
        Self::of(secret)
    }

    fn of(secret: [u8; 32]) -> Self {
        let body = format!("{PREFIX}{}", to_digits(secret));
        let checksum = checksum(&body);
        Self(body + &checksum)
    }

    /// Tells whether a text says that it is one, right or wrong.
    pub(crate) fn is_one(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Reads a key.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let digits = text.strip_prefix(PREFIX).ok_or(NotAKey::Foreign)?;
        let plain = digits.len() == SECRET + CHECKSUM && digits.bytes().all(|b| DIGITS.contains(&b));
        if !plain || checksum(&text[..PREFIX.len() + SECRET]) != digits[SECRET..] {
            return Err(NotAKey::Mistyped);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the key's text, for the one time that it is shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the key's hash.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey")
    }
}

impl KeyHash {
    /// Hashes any text, as it is.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Takes a hash from where it is kept.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the hash as it is kept.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns a short name for the key, which tells nothing of it: by it people speak of the key.
    pub fn id(&self) -> String {
        let number = self.0[..5].iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        format!("{number:010x}")
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}", HexDigits(&self.0)))
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        from_hex(&text).map(Self).ok_or_else(|| serde::de::Error::custom("expected 64 hexadecimal digits"))
    }
}

impl PartialEq for KeyHash {
    /// Compares in a time that does not depend on where the two differ.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({})", self.id())
    }
}

struct HexDigits<'b>(&'b [u8; 32]);

impl fmt::Display for HexDigits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.bytes().map(|digit| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok()));
    let digits = digits.collect::<Option<Vec<u8>>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let bytes: Vec<_> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    bytes.try_into().ok()
}

/// Writes a number of 32 bytes in base 62, with leading zeros.
fn to_digits(mut number: [u8; 32]) -> String {
    let mut digits = [b'0'; SECRET];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0;
        for byte in &mut number {
            let value = rest << 8 | usize::from(*byte);
            *byte = u8::try_from(value / 62).expect("the rest is below 62");
            rest = value % 62;
        }
        *digit = DIGITS[rest];
    }
    digits.into_iter().map(char::from).collect()
}

fn checksum(text: &str) -> String {
    let mut number = crc32(text.as_bytes()) as usize;
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[number % 62];
        number /= 62;
    }
    digits.into_iter().map(char::from).collect()
}

/// Returns the checksum of ISO 3309, which no change of up to 32 bits in a row escapes.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_looks_alike_everywhere() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of the catalogue");
        insta::assert_snapshot!(ApiKey::of([0; 32]).reveal(), @"pck_00000000000000000000000000000000000000000002IFs7v");
        insta::assert_snapshot!(ApiKey::of([255; 32]).reveal(), @"pck_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp13vqu1j");
        assert_eq!(format!("{:?}", ApiKey::of([1; 32])), "ApiKey");
        assert_eq!(ApiKey::of([1; 32]).hash().id().len(), 10);
    }

    #[test]
    fn other_texts_are_told_apart() {
        let key = ApiKey::of([7; 32]);
        let whole = key.reveal();
        let check =
            |text: &str| ApiKey::parse(text).map_or_else(|error| format!("{error:?}"), |_| "ok".into());
        assert_eq!(check(whole), "ok");
        for foreign in ["", "pck", "PCK_1", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", " pck_", &whole[1..]] {
            assert_eq!(check(foreign), "Foreign", "{foreign}");
        }
        for mistyped in ["pck_", &whole[..whole.len() - 1], &format!("{whole}0"), &whole.replace('_', "_é")]
        {
            assert_eq!(check(mistyped), "Mistyped", "{mistyped}");
        }
    }

    proptest! {
        #[test]
        fn a_key_is_read_back_and_a_wrong_character_is_noticed(
            secret in any::<[u8; 32]>(), at in 0usize..53, other in "[ -~]",
        ) {
            let key = ApiKey::of(secret);
            prop_assert_eq!(ApiKey::parse(key.reveal()), Ok(key.clone()));
            let mut changed = key.reveal().to_owned();
            changed.replace_range(at..=at, &other);
            prop_assert_eq!(ApiKey::parse(&changed).is_ok(), changed == key.reveal());
        }

        #[test]
        fn a_hash_is_read_back(secret in any::<[u8; 32]>(), at in 0usize..64) {
            let hash = ApiKey::of(secret).hash();
            let text = serde_json::to_string(&hash).expect("text");
            prop_assert_eq!(serde_json::from_str::<KeyHash>(&text).expect("a hash"), hash);
            let mut changed = text.clone();
            changed.replace_range(at + 1..at + 2, "g");
            prop_assert!(serde_json::from_str::<KeyHash>(&changed).is_err());
            changed.replace_range(at + 1..at + 2, "");
            prop_assert!(serde_json::from_str::<KeyHash>(&changed).is_err());
        }

        #[test]
        fn keys_differ_as_their_secrets_do(one in any::<[u8; 32]>(), other in any::<[u8; 32]>()) {
            prop_assert_eq!(ApiKey::of(one) == ApiKey::of(other), one == other);
            prop_assert_eq!(ApiKey::of(one).hash() == ApiKey::of(other).hash(), one == other);
        }
    }
}
