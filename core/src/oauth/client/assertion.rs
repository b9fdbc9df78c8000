//! A client's assertion that it is itself (RFC 7523 §2.2, §3), before and after it is signed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::SigningAlgorithm;
use crate::wire::json::quote;

/// For how long one is good, in seconds: as long as a request may take, and clocks may differ.
const GOOD_FOR: u64 = 120;

/// An assertion that is to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assertion(String);

impl Assertion {
    /// Words that a client is itself, to one issuer alone. `id` is used once; `now` is in milliseconds since the Unix epoch.
    pub(crate) fn new(
        algorithm: SigningAlgorithm,
        (client, issuer): (&str, &str),
        id: &[u8],
        now: u64,
    ) -> Self {
        let now = now / 1000;
        let header = format!(r#"{{"alg":"{}","typ":"JWT"}}"#, algorithm.name());
        let claims = format!(
            r#"{{"iss":{client},"sub":{client},"aud":{issuer},"jti":"{id}","iat":{now},"exp":{until}}}"#,
            client = quote(client),
            issuer = quote(issuer),
            id = URL_SAFE_NO_PAD.encode(id),
            until = now + GOOD_FOR,
        );
        let text = |part: &str| URL_SAFE_NO_PAD.encode(part);
        Self(format!("{}.{}", text(&header), text(&claims)))
    }

    /// Returns what is signed.
    pub(crate) fn signing_input(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Returns the whole, signed.
    pub(crate) fn signed(&self, signature: &[u8]) -> Zeroizing<String> {
        Zeroizing::new(format!("{}.{}", self.0, URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_to_one_issuer_who_it_is() {
        let assertion =
            Assertion::new(SigningAlgorithm::Es256, ("me\"", "https://i.example"), &[1, 2], 5_000_999);
        let parts = std::str::from_utf8(assertion.signing_input()).expect("text").split('.');
        let parts: Vec<_> =
            parts.map(|part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()).collect();
        insta::assert_snapshot!(parts.join("\n"), @r#"
        {"alg":"ES256","typ":"JWT"}
        {"iss":"me\"","sub":"me\"","aud":"https://i.example","jti":"AQI","iat":5000,"exp":5120}
        "#);
        assert!(assertion.signed(b"sig").ends_with(".c2ln"));
    }
}
