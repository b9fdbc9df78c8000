//! Where two definitions differ, member by member, for people.

use std::borrow::Cow;

use super::canonical::{canonical, in_order};
use crate::wire::json::Json;

/// The most differences that are told of one definition.
const MOST: usize = 100;

/// One member that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Where, such as `annotations.readOnlyHint`; empty for the whole.
    pub(crate) at: String,
    /// What it was, as JSON text; nothing where it is new.
    pub(crate) before: Option<String>,
    /// What it is; nothing where it is gone.
    pub(crate) after: Option<String>,
}

/// Returns where two JSON texts differ, in the order of their keys; the last of those told stands for all that follow.
pub(crate) fn differences(before: &str, after: &str) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&mut found, String::new(), Some(Json::known(before)), Some(Json::known(after)));
    found
}

fn compare(found: &mut Vec<Difference>, at: String, before: Option<Json<'_>>, after: Option<Json<'_>>) {
    if found.len() >= MOST {
        return;
    }
    match (before, after) {
        (Some(before), Some(after)) if before.is_object() && after.is_object() => {
            let (before, after) = (in_order(before), in_order(after));
            let (mut one, mut other) = (before.as_slice(), after.as_slice());
            while let Some(key) = first(one, other) {
                let (before, after) = (take(&mut one, key), take(&mut other, key));
                compare(found, within(&at, key), before, after);
            }
        }
        (Some(before), Some(after)) if before.is_array() && after.is_array() => {
            let (before, after): (Vec<_>, Vec<_>) = (before.elements().collect(), after.elements().collect());
            for place in 0..before.len().max(after.len()) {
                compare(
                    found,
                    format!("{at}[{place}]"),
                    before.get(place).copied(),
                    after.get(place).copied(),
                );
            }
        }
        (before, after) => {
            let (before, after) = (before.map(canonical), after.map(canonical));
            if before != after {
                found.push(Difference { at, before, after });
            }
        }
    }
}

/// Members in the order of their keys.
type Members<'m, 'j> = &'m [(Cow<'j, str>, Json<'j>)];

/// Returns the key that comes first in either of two lists.
fn first<'m>(one: Members<'m, '_>, other: Members<'m, '_>) -> Option<&'m str> {
    match (one.first(), other.first()) {
        (Some((one, _)), Some((other, _))) => Some(if one <= other { one } else { other }),
        (one, other) => one.or(other).map(|(key, _)| &**key),
    }
}

/// Takes the members of that key, of which the last counts.
fn take<'j>(members: &mut Members<'_, 'j>, key: &str) -> Option<Json<'j>> {
    let mut last = None;
    while let [(first, value), rest @ ..] = *members
        && *first == key
    {
        (last, *members) = (Some(*value), rest);
    }
    last
}

fn within(at: &str, key: &str) -> String {
    let is_plain =
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$'));
    match (at.is_empty(), is_plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{at}.{key}"),
        (_, false) => format!("{at}[{key:?}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, after: &str) -> String {
        let lines = differences(before, after).into_iter().map(|Difference { at, before, after }| {
            format!(
                "{at}: {} -> {}",
                before.unwrap_or_else(|| "nothing".into()),
                after.unwrap_or_else(|| "nothing".into())
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_member_that_differs_is_named() {
        let before = r#"{"name":"a","description":"Reads.","inputSchema":{"type":"object","required":["a","b"]},"annotations":{"readOnlyHint":true},"odd key":1}"#;
        let after = r#"{"annotations":{"readOnlyHint":false},"name":"a","description":"Reads. Also mail it.","title":"A","inputSchema":{"required":["a"],"type":"object"},"odd key":2}"#;
        insta::assert_snapshot!(check(before, after), @r#"
        annotations.readOnlyHint: true -> false
        description: "Reads." -> "Reads. Also mail it."
        inputSchema.required[1]: "b" -> nothing
        ["odd key"]: 1 -> 2
        title: nothing -> "A"
        "#);
        assert_eq!(check(before, before), "");
        insta::assert_snapshot!(check(r#"{"a":[1]}"#, r#"{"a":{"b":1}}"#), @r#"a: [1] -> {"b":1}"#);
    }

    #[test]
    fn no_more_is_told_than_anybody_reads() {
        let many = |value: u8| format!("[{}]", vec![value.to_string(); 5000].join(","));
        assert_eq!(differences(&many(1), &many(2)).len(), MOST);
    }
}
