//! Plain data as text, for whoever is the gateway as well: another of its instances, or a place where it keeps something.
//!
//! The form has no names: what has other members is read as something else, or not at all.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Returns plain data as text, which is ASCII.
pub(crate) fn text(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(postcard::to_allocvec(value).expect("plain data"))
}

/// Reads what was made text.
pub(crate) fn read<T: DeserializeOwned>(text: impl AsRef<[u8]>) -> Option<T> {
    postcard::from_bytes(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}
