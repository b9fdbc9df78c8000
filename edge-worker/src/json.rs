//! JSON texts that were stored or handed over.

use serde::de::DeserializeOwned;

/// Reads a text. As bytes, like what comes as bytes: a reader of texts would be compiled besides, for each type, and the
/// Worker's size is bounded.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_slice(text.as_bytes())
}
