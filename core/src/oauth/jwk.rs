//! The keys of an issuer (RFC 7517), and which of them may speak for a token.
//!
//! **A key says what it is for, and a token does not**: which algorithm a signature is verified with follows from the key,
//! so that no token can choose how it is looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::token::Token;
use crate::wire::json::Json;

/// The most keys that an issuer may have; of more, the first.
const MOST: usize = 100;
/// The shortest modulus of an RSA key, in bytes (RFC 7518 §3.3), and the longest.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// How tokens may be signed (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Finds one by its name, which is spelled as the registry has it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// A key that verifies signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// Modulus and exponent, big-endian, without leading zeros.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// A point on P-256: its coordinates, big-endian.
    P256 {
        /// The first.
        x: [u8; 32],
        /// The second.
        y: [u8; 32],
    },
    /// A key of Ed25519.
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// Returns what its signatures are made with.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256 { .. } => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Returns it as JSON (RFC 7517).
    pub fn to_jwk(&self) -> String {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa { n, e } => format!(r#"{{"kty":"RSA","n":"{}","e":"{}"}}"#, text(n), text(e)),
            Self::P256 { x, y } => {
                format!(r#"{{"kty":"EC","crv":"P-256","x":"{}","y":"{}"}}"#, text(x), text(y))
            }
            Self::Ed25519(x) => format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, text(x)),
        }
    }
}

/// One key of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk {
    /// Its name.
    pub id: Option<String>,
    /// The key.
    pub key: PublicKey,
}

impl Jwk {
    /// Reads a key; nothing where it is none that could verify a token.
    fn read(json: Json<'_>) -> Option<Self> {
        let fields = json.object().ok()?;
        let text = |name: &str| fields.get(name).and_then(Json::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(&*text(name)?).ok();
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let verifies =
            |operations: Json<'_>| operations.elements().any(|it| it.as_str().as_deref() == Some("verify"));
        if fields.get("key_ops").is_some_and(|operations| !verifies(operations)) {
            return None;
        }
        let key = match (&*text("kty")?, text("crv").as_deref()) {
            ("RSA", None) => {
                let short =
                    |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
                let (n, e) = (short(bytes("n")?), short(bytes("e")?));
                // An exponent of one would make every text its own signature.
                let is_sound = MODULUS.contains(&n.len())
                    && (1..=8).contains(&e.len())
                    && e != [1]
                    && e[e.len() - 1] & 1 == 1;
                is_sound.then_some(PublicKey::Rsa { n, e })?
            }
            ("EC", Some("P-256")) => {
                PublicKey::P256 { x: bytes("x")?.try_into().ok()?, y: bytes("y")?.try_into().ok()? }
            }
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519(bytes("x")?.try_into().ok()?),
            _ => return None,
        };
        let read = Self { id: text("kid").map(std::borrow::Cow::into_owned), key };
        let fits = text("alg").is_none_or(|name| Algorithm::named(&name) == Some(read.key.algorithm()));
        fits.then_some(read)
    }
}

/// The keys of an issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet(Vec<Jwk>);

impl KeySet {
    /// Reads a key set; what is no key that could verify a token is left out. Nothing where the text is no key set.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let set = Json::check(text).ok()?;
        let keys = set.get("keys").filter(|keys| keys.is_array())?;
        Some(Self(keys.elements().take(MOST).filter_map(Jwk::read).collect()))
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the keys that a token may be signed with: the one that it names, or, where it names none, those of its kind.
    pub fn of_token<'k>(&'k self, token: &Token<'_>) -> impl Iterator<Item = &'k Jwk> {
        let (algorithm, id) = (token.algorithm, token.key_id.clone());
        self.0.iter().filter(move |key| key.key.algorithm() == algorithm && (id.is_none() || key.id == id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE";

    fn rsa(bytes: usize, more: &str) -> String {
        let n = URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
        format!(r#"{{"kty":"RSA","kid":"r","n":"{n}","e":"AQAB"{more}}}"#)
    }

    fn check(keys: &[String]) -> Vec<String> {
        let set = KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).expect("a key set");
        set.0
            .iter()
            .map(|key| format!("{:?} {:?}", key.id.as_deref().unwrap_or_default(), key.key.algorithm()))
            .collect()
    }

    #[test]
    fn keys_of_three_kinds_are_read() {
        let point = format!(
            r#"{{"kty":"EC","crv":"P-256","kid":"p","x":"{POINT}","y":"{POINT}","alg":"ES256","use":"sig"}}"#
        );
        let edwards = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{POINT}"}}"#);
        assert_eq!(check(&[rsa(256, ""), point, edwards]), [r#""r" Rs256"#, r#""p" Es256"#, r#""" EdDsa"#]);
    }

    #[test]
    fn what_cannot_verify_a_token_is_left_out() {
        let left_out = [
            rsa(255, ""),
            rsa(1025, ""),
            rsa(256, r#","use":"enc""#),
            rsa(256, r#","alg":"RS512""#),
            rsa(256, r#","alg":"ES256""#),
            rsa(256, r#","key_ops":["sign"]"#),
            rsa(256, r#","crv":"P-256""#),
            rsa(256, r#","kid":"again""#),
            rsa(256, "").replace("AQAB", "AQ"),
            rsa(256, "").replace("AQAB", "Ag"),
            rsa(256, "").replace("AQAB", ""),
            r#"{"kty":"oct","k":"AAAA"}"#.into(),
            format!(r#"{{"kty":"EC","crv":"P-384","x":"{POINT}","y":"{POINT}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{POINT}"}}"#),
            r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#.into(),
            "1".into(),
        ];
        for key in left_out {
            assert!(check(std::slice::from_ref(&key)).is_empty(), "{key}");
        }
        assert_eq!(check(&vec![rsa(256, r#","key_ops":["verify"]"#); 101]).len(), MOST);
        for none in ["", "[]", "{}", r#"{"keys":{}}"#] {
            assert_eq!(KeySet::parse(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn a_token_gets_the_key_that_it_names_and_of_its_kind() {
        let keys =
            [rsa(256, ""), format!(r#"{{"kty":"EC","crv":"P-256","kid":"r","x":"{POINT}","y":"{POINT}"}}"#)];
        let set = KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).expect("a key set");
        let found = |header: &str| {
            let text = format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header));
            let token = Token::parse(&text).expect("a token");
            set.of_token(&token).map(|key| key.key.algorithm()).collect::<Vec<_>>()
        };
        assert_eq!(found(r#"{"alg":"RS256","kid":"r"}"#), [Algorithm::Rs256]);
        assert_eq!(found(r#"{"alg":"ES256","kid":"r"}"#), [Algorithm::Es256]);
        assert_eq!(found(r#"{"alg":"EdDSA","kid":"r"}"#), []);
        assert_eq!(found(r#"{"alg":"RS256","kid":"other"}"#), []);
        assert_eq!(found(r#"{"alg":"RS256"}"#), [Algorithm::Rs256]);
    }
}
