//! What an authorization server looks at before it believes a client's assertion (RFC 7523 §3), by the means of *ring*.
//!
//! It shares no code with the gateway, and refuses whatever is not as a careful server wants it.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;

/// Which kind of assertion it is, as forms say it.
const KIND: &str = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
/// For how many seconds an assertion may be good at most.
const LONGEST: u64 = 300;

/// The public key of a client, and what its assertions were.
#[derive(Debug, Clone)]
pub struct ClientKey {
    algorithm: &'static str,
    public: Vec<u8>,
    used: BTreeSet<String>,
}

impl ClientKey {
    /// What belongs to a private key: PKCS#8 in PEM, RSA or P-256.
    pub fn of(pem: &str) -> Self {
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(body).expect("a key in PEM");
        let on_curve = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &SystemRandom::new());
        let (algorithm, public) = if let Ok(pair) = on_curve {
            ("ES256", pair.public_key().as_ref().to_vec())
        } else {
            let pair = RsaKeyPair::from_pkcs8(&der).expect("a key of RSA where it is none of P-256");
            ("RS256", pair.public_key().as_ref().to_vec())
        };
        Self { algorithm, public, used: BTreeSet::new() }
    }

    /// Says why a form's assertion proves nothing: that of this client, to this issuer, in seconds since the Unix epoch.
    pub(crate) fn check(
        &mut self,
        form: &str,
        client: &str,
        issuer: &str,
        now: u64,
    ) -> Result<(), &'static str> {
        let field = |name| form.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        if !form.split('&').any(|field| field == KIND) {
            return Err("client_assertion_type");
        }
        let (signed, signature) =
            field("client_assertion").and_then(|text| text.rsplit_once('.')).ok_or("client_assertion")?;
        let (header, claims) = signed.split_once('.').ok_or("client_assertion")?;
        let (header, claims) = (part(header).ok_or("header")?, part(claims).ok_or("claims")?);
        if header["alg"] != self.algorithm {
            return Err("alg");
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "signature")?;
        let key = UnparsedPublicKey::new(self.verification(), &self.public);
        key.verify(signed.as_bytes(), &signature).map_err(|_| "signature")?;
        self.check_claims(&claims, client, issuer, now)
    }

    fn verification(&self) -> &'static dyn VerificationAlgorithm {
        if self.algorithm == "ES256" { &ECDSA_P256_SHA256_FIXED } else { &RSA_PKCS1_2048_8192_SHA256 }
    }

    fn check_claims(
        &mut self,
        claims: &Value,
        client: &str,
        issuer: &str,
        now: u64,
    ) -> Result<(), &'static str> {
        for (name, expected) in [("iss", client), ("sub", client), ("aud", issuer)] {
            if claims[name] != expected {
                return Err(name);
            }
        }
        if !claims["exp"].as_u64().is_some_and(|until| until > now && until <= now + LONGEST) {
            return Err("exp");
        }
        let id = claims["jti"].as_str().filter(|id| id.len() >= 16).ok_or("jti")?;
        if self.used.insert(id.to_owned()) { Ok(()) } else { Err("jti") }
    }
}

fn part(text: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1000;

    struct Client(Vec<u8>);

    impl Client {
        fn new() -> Self {
            let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
            Self(pair.expect("a key").as_ref().to_vec())
        }

        fn public(&self) -> ClientKey {
            ClientKey::of(&format!("-----BEGIN PRIVATE KEY-----\n{}\n-----\n", STANDARD.encode(&self.0)))
        }

        /// A form with an assertion that has these claims instead of the right ones.
        fn form(&self, algorithm: &str, instead: &Value) -> String {
            let mut claims = json!({ "iss": "me", "sub": "me", "aud": "https://i", "exp": NOW + 60, "jti": "0123456789abcdef" });
            for (name, value) in instead.as_object().expect("an object") {
                claims[name] = value.clone();
            }
            let text = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
            let signed = format!("{}.{}", text(&json!({ "alg": algorithm })), text(&claims));
            let random = SystemRandom::new();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.0, &random);
            let signature = pair.expect("a key").sign(&random, signed.as_bytes()).expect("a signature");
            format!("{KIND}&client_assertion={signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        }
    }

    #[test]
    fn only_a_clients_own_assertion_to_this_issuer_is_believed_and_once() {
        let client = Client::new();
        let check = |form: &str| client.public().check(form, "me", "https://i", NOW);
        let of = |instead: &Value| check(&client.form("ES256", instead));
        assert_eq!(of(&json!({})), Ok(()));
        for wrong in [
            json!({ "iss": "you" }),
            json!({ "sub": null }),
            json!({ "aud": "https://i/token" }),
            json!({ "exp": NOW }),
            json!({ "exp": NOW + LONGEST + 1 }),
            json!({ "jti": "1" }),
        ] {
            let name = wrong.as_object().and_then(|claims| claims.keys().next()).expect("a claim");
            assert_eq!(of(&wrong), Err(&**name));
        }
        let good = client.form("ES256", &json!({}));
        assert_eq!(check(&client.form("none", &json!({}))), Err("alg"));
        assert_eq!(check(&Client::new().form("ES256", &json!({}))), Err("signature"));
        assert_eq!(check(&good[..good.len() - 2]), Err("signature"));
        assert_eq!(check(good.trim_start_matches(KIND)), Err("client_assertion_type"));
        let mut public = client.public();
        assert_eq!(public.check(&good, "me", "https://i", NOW), Ok(()));
        assert_eq!(public.check(&good, "me", "https://i", NOW), Err("jti"), "it is used again");
    }
}
