//! Signatures of others, verified by *ring*, which TLS brings along.

use portcullis_core::oauth::PublicKey;
use portcullis_core::ports::Signed;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};

/// Tells whether a key has made a signature of a message; a key that is none has made none.
pub fn verifies(signed: &Signed<'_>) -> bool {
    let Signed { key, message, signature } = *signed;
    let verified = match key {
        PublicKey::Rsa { n, e } => {
            RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
        }
        PublicKey::P256 { x, y } => {
            let point = [&[4][..], x, y].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
        }
        PublicKey::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
    };
    verified.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with another library, of `header.payload`.
    const N: &str = concat!(
        "4lvV7F592Hqge5JEvbRt4HPAESTnJpt_L9n_dO9yT80RPzTdnFz26CuU208yUS-cbVjX0BazX4Ou8XCFQPsAHh68SFwgDZnZohAk",
        "j5U7WSjbxIwNCvz464ZgvhA6emNlA1ayrJdM2WAADca8CXxO4QinbBKOiD3ex-fmKHQQJNLGTgH9hk29m94Fr-YKQiodynAb-bOl",
        "a2-X0QlloUlGYiWiYMGg2G6zyKa_7l5T-px7QxjcHQCawbqNnebl8M0308NTBaep8rG6OmDFoH-nMMhz3JcBgyQPzNAlDXGC6nLN",
        "lKUkyB4Wm954B2oX4RbyG4eFdr-hT3_AGGfk7j69Lw",
    );
    const RS256: &str = concat!(
        "2-WYXlCTuS2DlWiDOHF2X9lLvp5BjMs4Yl4lqwVV8pGI3oX-HlFyivqriZ05RcoJ01dTADPQXArPxmqXUfu7o3RfX6FyJ7cnz0FS",
        "EvbqBcJw1NSWOmFHP2mNWOVFSaIrEuRUjv-E7-VK0AR_RRTaleoyY2o72zlFiC7VcJG92S2dUmXteIBO8tN3sDuDhZ7vLGRBePy4",
        "LBLln3Dqwe0Acra8T3M-8qs8GzTJvjKxef735mfXCpVYuC6lBcetZcQQiK4qR6L-FNGiJN0ClPcV210WAWSA0ClBYzmY5hg0BobA",
        "p08lehBwCXndf1AaJvVbkzIBS1mZYY1SfJSmRVOocw",
    );
    const X: &str = "T3b65y6BXdpClbvr-ya3cIRNddweaECem4JWcMrSUvY";
    const Y: &str = "lgfieMSZk1PvaZ4x7-9nHX90jBG2L_ThzI8BmQ6G1AQ";
    const ES256: &str =
        "SRmh-QK3oxpMuJ_4o3nVNQ-x3rsakGXwVAkqN2fJEmYBAj1FZoiwc7AwHTYNefRUlC90bvlglpCIcOkMv-oOQA";
    const ED25519_KEY: &str = "TTPFaArhR7PZqNQeZF3OwsWVwZq0kzU6L_7SxldxxWM";
    const EDDSA: &str =
        "m-0ibpDqrJEhZNqgPhVRQ1dnI99dyIx8NyI43MX88KXwwbI5y3ahI7cMRA9ypGaPhx3PHVUvtcKgSDFjf5JtDg";

    fn bytes(text: &str) -> Vec<u8> {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).expect("base64")
    }

    fn array(text: &str) -> [u8; 32] {
        bytes(text).try_into().expect("32 bytes")
    }

    fn check(key: &PublicKey, signature: &str) {
        let verified = |message: &[u8], signature: &[u8]| verifies(&Signed { key, message, signature });
        let signature = bytes(signature);
        assert!(verified(b"header.payload", &signature), "{key:?}");
        assert!(!verified(b"header.payloae", &signature));
        assert!(!verified(b"header.payload", &signature[1..]));
        assert!(!verified(b"header.payload", b""));
        let mut other = signature.clone();
        other[7] ^= 1;
        assert!(!verified(b"header.payload", &other));
    }

    #[test]
    fn three_kinds_of_keys_verify_what_others_signed() {
        check(&PublicKey::Rsa { n: bytes(N), e: vec![1, 0, 1] }, RS256);
        check(&PublicKey::P256 { x: array(X), y: array(Y) }, ES256);
        check(&PublicKey::Ed25519(array(ED25519_KEY)), EDDSA);
    }

    #[test]
    fn a_key_that_is_none_verifies_nothing() {
        let off_the_curve = PublicKey::P256 { x: [1; 32], y: [1; 32] };
        for (key, signature) in [(off_the_curve, ES256), (PublicKey::Ed25519([255; 32]), EDDSA)] {
            assert!(!verifies(&Signed {
                key: &key,
                message: b"header.payload",
                signature: &bytes(signature)
            }));
        }
    }
}
