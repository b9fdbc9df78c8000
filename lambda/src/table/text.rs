//! Long texts: compressed, in as many items as it takes, under the digest of what these hold.
//!
//! **What refers to a text is written after it**: who finds an address finds the whole text, whatever broke off. As the
//! address follows from the bytes, writing a text again writes the same, and two that write it at once do not disturb
//! each other.

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use portcullis_core::audit::digest;

use super::item::{Item, TTL, blob, bytes, item, ttl, with};
use super::{Order, Stretch, Table, Trouble, garbled};

/// How many bytes a part has at most: an item has at most 400 kB.
const PART: usize = 300_000;
/// The longest text, in bytes: what is longer when it is unpacked was not written here.
const LONGEST: usize = 256 << 20;
/// How hard is tried to make a text shorter, from 0 to 10.
const EFFORT: u8 = 6;

impl Table {
    /// Writes a text, which may be lost after `until`, in milliseconds since the Unix epoch; returns its address.
    pub(super) async fn put_text(&self, text: &str, until: Option<u64>) -> Result<String, Trouble> {
        let packed = compress_to_vec(text.as_bytes(), EFFORT);
        let address = digest(&packed);
        let pk = key(&address);
        let parts: Vec<Item> = packed
            .chunks(PART)
            .enumerate()
            .map(|(index, part)| {
                let part = with(item(&pk, &format!("p#{index:04}")), [("bytes", bytes(part))]);
                match until {
                    Some(until) => with(part, [(TTL, ttl(until))]),
                    None => part,
                }
            })
            .collect();
        self.put_all(parts).await?;
        Ok(address)
    }

    /// Reads the text with an address. **What it returns is what was written**: the digest says so.
    pub(super) async fn text(&self, address: &str) -> Result<String, Trouble> {
        let pk = key(address);
        let stretch =
            Stretch { index: None, key: &pk, between: ("p#", "p#~"), order: Order::Rising, most: usize::MAX };
        let parts = self.query_all(stretch).await?;
        let packed: Vec<u8> =
            parts.iter().filter_map(|part| blob(part, "bytes")).flatten().copied().collect();
        if digest(&packed) != address {
            return Err(garbled(&pk, "p#"));
        }
        let unpacked = decompress_to_vec_with_limit(&packed, LONGEST).map_err(|_| garbled(&pk, "p#"))?;
        String::from_utf8(unpacked).map_err(|_| garbled(&pk, "p#"))
    }
}

fn key(address: &str) -> String {
    format!("text#{address}")
}
