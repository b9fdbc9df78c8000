//! Whose an entry of the audit trail is, and what of it they are shown.
//!
//! **An entry is whose principal did what it tells: somebody's who proved to be them, or with a key that they made as a member.**
//! An agent makes nothing anybody's, since several may be let in as one; what nobody has proved is nobody's.

use std::sync::Arc;

use super::Kept;
use crate::wire::json::Json;
use crate::wire::message::ObjectWriter;

/// What a line says of its place in the chain: it tells how much others do.
const PLACE: [&str; 2] = ["id", "prev"];
/// How long a cursor is made before it is sealed, so that its length tells nothing.
const LENGTH: usize = 384;

/// Returns the principals whose entries are somebody's.
pub(crate) fn principals(own: &Arc<str>, keys: &[Kept]) -> Vec<Arc<str>> {
    let made = keys.iter().filter(|kept| kept.record.owner.as_ref() == Some(own));
    std::iter::once(own.clone()).chain(made.map(|kept| kept.record.principal())).collect()
}

/// Returns a line as they are shown it: without its place in the chain. What is no entry is not shown.
pub(crate) fn shown(line: &str) -> Option<String> {
    let json = Json::check(line.as_bytes()).ok().filter(|json| json.is_object())?;
    let mut out = ObjectWriter::with_capacity(line.len());
    for (key, value) in json.members().filter(|(key, _)| !PLACE.contains(&&**key)) {
        out.member(&key, value.text());
    }
    Some(out.finish())
}

/// Returns what is sealed of a cursor: whose it is, and the cursor, as long as any other.
pub(crate) fn padded(own: &str, cursor: &str) -> (String, String) {
    (own.to_owned(), format!("{cursor:LENGTH$}"))
}

/// Returns the cursor that was sealed, where it is theirs.
pub(crate) fn unpadded(own: &str, (whose, cursor): &(String, String)) -> Option<String> {
    (whose == own).then(|| cursor.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::KeyRecord;
    use crate::testing::key;

    #[test]
    fn ones_own_are_what_one_did_oneself_and_with_keys_that_one_made() {
        let kept = |number: u8, owner: Option<&str>, revoked: Option<u64>| {
            let record = KeyRecord { owner: owner.map(Into::into), revoked, ..key(number).1 };
            Kept { record, used: None }
        };
        let (ann, bob) = ("user:corp:ann", "user:corp:bob");
        let keys = [
            kept(1, Some(ann), None),
            kept(2, Some(bob), None),
            kept(3, None, None),
            kept(4, Some(ann), Some(1)),
        ];
        let made = |number: u8| key(number).1.principal();
        assert_eq!(principals(&ann.into(), &keys), [ann.into(), made(1), made(4)]);
        assert_eq!(principals(&bob.into(), &keys), [bob.into(), made(2)]);
        assert_eq!(principals(&"user:corp:eve".into(), &keys), ["user:corp:eve".into()]);
    }

    #[test]
    fn a_line_is_shown_without_its_place() {
        let line = r#"{"time":"2026-07-28T00:00:00.000Z","id":7,"prev":"ab","args":{"id":1,"prev":2},"duration_ms":0.000}"#;
        insta::assert_snapshot!(shown(line).unwrap(), @r#"{"time":"2026-07-28T00:00:00.000Z","args":{"id":1,"prev":2},"duration_ms":0.000}"#);
        assert_eq!((shown("no line"), shown("[]")), (None, None));
    }

    #[test]
    fn a_cursor_is_as_long_as_any_and_whose_it_is() {
        let cursors = ["1", "18446744073709551615"].map(|cursor| padded("ann", cursor));
        assert_eq!(cursors[0].1.len(), cursors[1].1.len());
        assert_eq!(unpadded("ann", &cursors[1]).as_deref(), Some("18446744073709551615"));
        assert_eq!(unpadded("bob", &cursors[1]), None);
    }
}
