//! Items, and the values in them.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

/// The first key of an item.
pub(super) const PK: &str = "pk";
/// The second.
pub(super) const SK: &str = "sk";
/// When an item's time is over, in seconds since the Unix epoch.
pub(super) const TTL: &str = "ttl";
/// By which write an item came to be what it is.
pub(super) const BY: &str = "by";

/// An item as the SDK has it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Begins an item.
pub(super) fn item(pk: &str, sk: &str) -> Item {
    Item::from([(PK.to_owned(), string(pk)), (SK.to_owned(), string(sk))])
}

/// Adds values to an item.
pub(super) fn with<const N: usize>(mut item: Item, values: [(&str, AttributeValue); N]) -> Item {
    item.extend(values.map(|(name, value)| (name.to_owned(), value)));
    item
}

/// Returns the time at which an item may go, in milliseconds, as the table has it.
pub(super) fn ttl(at: u64) -> AttributeValue {
    count(at.div_ceil(1000))
}

/// Returns a text as the table has it.
pub(super) fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// Returns a number as the table has it.
pub(super) fn count(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Returns bytes as the table has them.
pub(super) fn bytes(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// Returns a text of an item.
pub(super) fn text<'i>(item: &'i Item, name: &str) -> Option<&'i str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// Returns a number of an item.
pub(super) fn number(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Returns bytes of an item.
pub(super) fn blob<'i>(item: &'i Item, name: &str) -> Option<&'i [u8]> {
    item.get(name)?.as_b().ok().map(AsRef::as_ref)
}
