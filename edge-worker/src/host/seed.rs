//! What signs for a gateway in a fleet: the platform, by the seed of a key that the gateway keeps. See `seed.js`.

use js_sys::{Promise, Uint8Array};
use portcullis_core::ports::{NotSigned, SeedSigned};
use wasm_bindgen::prelude::*;

use super::told::settled;

#[wasm_bindgen(module = "/src/host/seed.js")]
extern "C" {
    fn signs_with_seed(seed: Vec<u8>, message: Vec<u8>) -> Promise;
}

/// Signs a message with the Ed25519 key of a seed.
pub(super) async fn sign(seed: [u8; 32], message: Vec<u8>) -> Result<SeedSigned, NotSigned> {
    let signed = settled(&signs_with_seed(seed.to_vec(), message)).await.map_err(|_| NotSigned::Key)?;
    let signed = Uint8Array::new(&signed).to_vec();
    let (key, signature) = signed.split_first_chunk().ok_or(NotSigned::Key)?;
    Ok(SeedSigned { key: *key, signature: signature.to_vec() })
}
