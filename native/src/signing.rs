//! Signatures of the gateway's own, made by *ring*, which TLS brings along.

use portcullis_core::oauth::{PrivateKey, SigningAlgorithm};
use portcullis_core::ports::NotSigned;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

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
