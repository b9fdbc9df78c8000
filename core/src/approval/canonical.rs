//! What a definition is bound by: the SHA-256 of a canonical form, in which neither white space nor the order of keys nor the
//! spelling of a text matters. The order of arrays does, and so does how a number is written.
//!
//! **Whatever stands in a definition counts**, keys that stand there twice included. Of a resource, its size and when it was
//! changed say something of its content, and do not count.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use crate::catalog::Kind;
use crate::sorted;
use crate::wire::json::{Json, push_string};

/// The digest of a definition.
pub(crate) type Fingerprint = [u8; 32];

/// The members of a resource, and of its annotations, that are about its content.
const OF_CONTENT: (&[&str], &[&str]) = (&["size"], &["lastModified"]);

/// Returns the digest of an item, of which `text` is checked JSON.
pub(crate) fn fingerprint(kind: Kind, text: &str) -> Fingerprint {
    let mut out = Vec::with_capacity(text.len());
    let (skipped, of_annotations) = match kind {
        Kind::Tools | Kind::Prompts => (&[][..], &[][..]),
        Kind::Resources | Kind::Templates => OF_CONTENT,
    };
    push(&mut out, Json::known(text), skipped, of_annotations);
    Sha256::digest(&out).into()
}

/// Returns a value in its canonical form.
pub(super) fn canonical(json: Json<'_>) -> String {
    let mut out = Vec::with_capacity(json.text().len());
    push(&mut out, json, &[], &[]);
    String::from_utf8(out).expect("only text was appended")
}

/// Returns the members of an object in the order of their keys.
pub(super) fn in_order(json: Json<'_>) -> Vec<(Cow<'_, str>, Json<'_>)> {
    let mut members: Vec<_> = json.members().collect();
    sorted::sort_by(&mut members, |one, other| one.0.cmp(&other.0));
    members
}

/// Appends a value, without those of its own members that are `skipped`, and those of its annotations.
fn push(out: &mut Vec<u8>, json: Json<'_>, skipped: &[&str], of_annotations: &[&str]) {
    if json.is_object() {
        let members = in_order(json).into_iter().filter(|(key, _)| !skipped.contains(&&**key));
        list(out, (b'{', b'}'), members, |out, (key, value)| {
            push_string(out, &key);
            out.push(b':');
            push(out, value, if key == "annotations" { of_annotations } else { &[] }, &[]);
        });
    } else if json.is_array() {
        list(out, (b'[', b']'), json.elements(), |out, element| push(out, element, &[], &[]));
    } else if let Some(text) = json.as_str() {
        push_string(out, &text);
    } else {
        out.extend_from_slice(json.text().as_bytes());
    }
}

fn list<T>(
    out: &mut Vec<u8>,
    (opening, closing): (u8, u8),
    items: impl Iterator<Item = T>,
    mut push: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(opening);
    for (place, item) in items.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        push(out, item);
    }
    out.push(closing);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> String {
        canonical(Json::check(text.as_bytes()).unwrap())
    }

    #[test]
    fn spelling_does_not_matter_and_everything_else_does() {
        insta::assert_snapshot!(check(r#" { "b" : [ 2 , 1 , {} , [] ], "a":"\u00e9\/" , "c":1.0e2,"d":null} "#), @r#"{"a":"é/","b":[2,1,{},[]],"c":1.0e2,"d":null}"#);
        insta::assert_snapshot!(check(r#"{"a":1,"b":2,"a":0}"#), @r#"{"a":1,"a":0,"b":2}"#);
        let differs =
            |one: &str, other: &str| fingerprint(Kind::Tools, one) != fingerprint(Kind::Tools, other);
        assert!(!differs(r#"{"a":{"x":1,"y":"é"}}"#, r#"{ "a": {"y":"\u00E9", "x":1} }"#));
        assert!(differs(r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#));
        assert!(differs(r#"{"a":"1"}"#, r#"{"a":1}"#));
        assert!(differs(r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#));
        assert!(differs(r#"{"a":"b"}"#, r#"{"a":"b\u200b"}"#));
    }

    #[test]
    fn what_a_resource_holds_is_no_part_of_its_definition() {
        let one = r#"{"uri":"a:b","size":1,"annotations":{"lastModified":"x","priority":1}}"#;
        let other = r#"{"uri":"a:b","annotations":{"priority":1,"lastModified":"y"},"size":2}"#;
        assert_eq!(fingerprint(Kind::Resources, one), fingerprint(Kind::Resources, other));
        assert_ne!(fingerprint(Kind::Tools, one), fingerprint(Kind::Tools, other));
        let deeper = |size: u8| format!(r#"{{"uri":"a:b","_meta":{{"size":{size}}}}}"#);
        assert_ne!(fingerprint(Kind::Resources, &deeper(1)), fingerprint(Kind::Resources, &deeper(2)));
    }

    proptest! {
        #[test]
        fn the_order_of_keys_never_matters(members in prop::collection::btree_map("\\PC{0,4}", "\\PC{0,4}", 0..12)) {
            let text = |members: &mut dyn Iterator<Item = (&String, &String)>| {
                let members: Vec<_> = members.map(|(key, value)| {
                    format!("{}: {}", serde_json::to_string(key).unwrap(), serde_json::to_string(value).unwrap())
                }).collect();
                format!("{{{}}}", members.join(" , "))
            };
            let (one, other) = (text(&mut members.iter()), text(&mut members.iter().rev()));
            prop_assert_eq!(check(&one), check(&other));
            prop_assert_eq!(check(&check(&one)), check(&one));
        }
    }
}
