//! Signatures of the gateway's own, made by *ring*, which TLS brings along.

use portcullis_core::oauth::{PrivateKey, SigningAlgorithm};
use portcullis_core::ports::{NotSigned, SeedSigned};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};

/// Signs a message as a token has it (RFC 7518 §3.3, §3.4).
pub fn sign(key: &PrivateKey, message: &[u8]) -> Result<Vec<u8>, NotSigned> {
    let random = SystemRandom::new();
    let made = match key.algorithm() {
        SigningAlgorithm::Es256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.reveal(), &random);
            let pair = pair.map_err(|_| NotSigned::Key)?;
            pair.sign(&random, message).map(|signature| signature.as_ref().to_vec())
        }
        SigningAlgorithm::Rs256 => {
            let pair = RsaKeyPair::from_pkcs8(key.reveal()).map_err(|_| NotSigned::Key)?;
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
        }
    };
    made.map_err(|_| NotSigned::Key)
}

/// Signs a message with the Ed25519 key of a seed (RFC 8032), and tells that key's public half.
pub fn sign_with_seed(seed: &[u8; 32], message: &[u8]) -> Result<SeedSigned, NotSigned> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NotSigned::Key)?;
    let key = pair.public_key().as_ref().try_into().map_err(|_| NotSigned::Key)?;
    Ok(SeedSigned { key, signature: pair.sign(message).as_ref().to_vec() })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    // Keys that OpenSSL made for these tests alone, and what it makes of `header.payload`.
    const RSA: &str = concat!(
        "MIIEuwIBADANBgkqhkiG9w0BAQEFAASCBKUwggShAgEAAoIBAQCjLSRryR5U/FB8QNj9aaAeu+UV1x1f0DeBtzL5rArPjaPpptrG",
        "9SIJVGxAKIhfnj2BO6P3gQsrQhq5ie2VfK/8PoQtp0LCVS/lg91fx+2W6HWq50sFh0/FWSJ6jwek62+tlN9LKmUXJMNzUHciSxiT",
        "uZ0c2xYfCOCSwn79/DVv2nKu5a8SiKE4rbQo4ObsZkbZQvsg/NHdWuqAR0siB2ruHsclahBDRdodNq5q6BLE6N9VRH9uko7prI6s",
        "X+8GxB3YZw8YyCPlhnKe9/hLir13/F9Zgt6+dS8T3T+g8e97EECASRkY4la8F2R+c2DlpstaVthjW8J11wfbCRySVELTAgMBAAEC",
        "ggEACIeeZ5tVSxL/cBIBux7Pixu+VL8bHtGRvTr4NAXyxg5nkESzxgJgEPBz/NdBkwyrYWXejdxrMDaIksSrgeIeiZyI/fadg5lp",
        "Y2GFFnHV28rIr9zfAT8lWTHDdCL66XuR1GyQ+ZW8lWegvJaVtloKQwVJDw5Cy0TZscJEr36ExT/RfPZa1I15SvAGWrK6n1naqsO9",
        "BeByLNOxLa/4W3Ml7ONujdeODwOa837LqP4OhInulaQ14ZsdpxsS7z3A+65B5yKsXX1o/FlCFQ5we8BEDkCZLBz+m3SNEDdef2Z6",
        "HIVwpmeLAUe0UkhyFmykaFSnvz/jXnwUjocpWwg7i5BpFQKBgQDYPz58twXa9RzHSQBTYoiMVvyu6QocU5H9k9rIxfu0R8z9hd4N",
        "21jNy36zy4AHVIpvdg/CZEN4p6MlITbeIkcMjtkhIq0nxBm3KRFVF+kIxX+xqJWkGMUKjR7JRZ0xu9BSn91RZ//+Wkimb4eWqkz3",
        "qCqEZod8Yi9r+80Lowd2DQKBgQDBLFlPW7MorDWGjrfdJoTqOaj9X6euFSJvThrhOwqNVfMThQLLWjbBfFgUvjCfNAGXvtCkC6qr",
        "brsoiHTIzIiBwitj7foenCHP0yuVAHzeJOGtQHnY+8+QT8NNtd0nPGM5f7XwtDsv8Y+lS9SsurrNsAiJqb/uwD5qU5CDewREXwKB",
        "gQC0y8Opr7ekhfQmpeEw1hvGAeBHOK1sW26erORpoiW8Z596g1bRDQflH3LyTXzgJA2N/Q5V/0/t63JaU7e05sGyPShKLNzKd4js",
        "ethz5Ya+/6iwV3us88yh8rS/oIU5lIYq3l/CdQoxlThSdsLM89tf3+iUQ8iY9NojFSYsyYQubQJ/TbiKNmOusa6X2ouRbmkRESwh",
        "0c+qp1/Zeu7x4azfkf4Czte1SBwD69UbmzzqUyOZgHRFfbsz78Wdh7FfS2r/gTWeP5aAC9DFydgssMaBdt9f7VUDsUmfOXDeI2YI",
        "lMC3K2s2yKG7Lo8CPH9GEjkO77LjvH+PuX+fnSgB/OSB0wKBgCQ4idR4bzxbO2txy7P/YumUL7ckNV29HwOoFH9qL9ffHC4EvABm",
        "aQP3VBrPB6DYEllzfOYNSbqwt43N/JBXUrGpTUsdXDo5w9pMcI6ndgQFRTd0Mp8ZjH9uzzK8gz2P7EUJT8yguqPYfQMNM1XtJhjd",
        "KVeWjFNGC8zd32nyYgeL",
    );
    const RS256: &str = concat!(
        "G257D-aERJHPyHfQ5POl43Bp6PqFCBywbHxNsWCROnYE73oaGRCKonOJ4tCTslI6XzRVKkxlotKztq_4Qh8T475rxd-",
        "Q8nXbkiEKYrZz0uvGB05gLbRII10Tp92KoWz_YZQ5ZcHjDfcE_iVe24SBLaogF9dAZa0W3bnwH7qavoAsO0Yvs-",
        "CRnwwyAAOFmBa5qMO145PSOccwkEodmfMyHlta-YjTHbm-BJdDOIz-MYzbPymr8XG4YR8xuDsonKikCDeSBVZgHeiR4KBkklCGEm",
        "NGgIh1J8g40JK0ZAzOBjCrrbFh6BEiox2oSfqXC3G-XqZZG7UBPRDUPMmD9_GUFA",
    );
    const EC: &str = concat!(
        "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgqyZh/WzJI/W/Rvw5ww/zlFcY0VNFf+AyAqJiwxfHcsOhRANCAAQg",
        "JDn497YA5ri3QnYdaJXQ/Zoub3cfApsuz/06xHNxXhp+Wi4ovKN1EX/VokKKc25uPRC6gcrhUyxrKpgp62xN",
    );
    const POINT: &str =
        "BCAkOfj3tgDmuLdCdh1oldD9mi5vdx8Cmy7P/TrEc3FeGn5aLii8o3URf9WiQopzbm49ELqByuFTLGsqmCnrbE0=";

    #[test]
    fn a_seed_signs_as_the_standard_has_it() {
        // RFC 8032, section 7.1, test 1.
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let signed = sign_with_seed(&seed.try_into().unwrap(), b"").unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(signed.key), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        let key = portcullis_core::oauth::PublicKey::Ed25519(signed.key);
        let check = |message: &[u8]| {
            crate::verifies(&portcullis_core::ports::Signed {
                key: &key,
                message,
                signature: &signed.signature,
            })
        };
        assert!(check(b"") && !check(b"x"));
    }

    fn signed(key: &str) -> Result<Vec<u8>, NotSigned> {
        let pem = format!("-----BEGIN {0}-----\n{key}\n-----END {0}-----\n", "PRIVATE KEY");
        sign(&PrivateKey::parse(&pem).expect("a key"), b"header.payload")
    }

    #[test]
    fn another_library_signs_alike() {
        assert_eq!(URL_SAFE_NO_PAD.encode(signed(RSA).expect("a signature")), RS256);
    }

    #[test]
    fn a_signature_on_a_curve_is_the_keys_own() {
        let point = STANDARD.decode(POINT).expect("base64");
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        let signature = signed(EC).expect("a signature");
        assert!(key.verify(b"header.payload", &signature).is_ok());
        assert!(key.verify(b"header.payloae", &signature).is_err());
        assert_ne!(signature, signed(EC).expect("another"), "no signature is made twice");
    }

    #[test]
    fn a_key_that_is_none_signs_nothing() {
        let mut der = STANDARD.decode(EC).expect("base64");
        der[60] ^= 1;
        assert_eq!(signed(&STANDARD.encode(der)), Err(NotSigned::Key));
    }
}
