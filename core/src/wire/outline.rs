//! The outline of a message: its members and those of its `params`, found in the one pass that checks it.

use std::borrow::Cow;
use std::ops::Range;

use super::json::{Json, Malformed, Seen};

/// A member: its key, its escapes resolved, and its value.
type Member<'a> = (Cow<'a, str>, Json<'a>);

/// A value and, where it is an object, its members as they stand, duplicates included.
#[derive(Debug)]
pub(crate) struct Outline<'a> {
    /// The value.
    pub(crate) json: Json<'a>,
    pub(super) members: Vec<Member<'a>>,
    /// The members of its `params`, where those have been found.
    pub(super) of_params: Option<Vec<Member<'a>>>,
}

impl<'a> Outline<'a> {
    /// Checks that `bytes` are exactly one JSON value, and takes note of its outline.
    pub(crate) fn check(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut noted = Noted { bytes, members: Vec::new(), of_params: None, in_params: false };
        let json = Json::check_seen(bytes, &mut noted)?;
        let start = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let member = |span: Span| {
            let text =
                |range: Range<usize>| Json::known(&json.text()[range.start - start..range.end - start]);
            (text(span.key).as_key(), text(span.value))
        };
        let of_params = noted.of_params.map(|spans| spans.into_iter().map(member).collect());
        Ok(Self { json, members: noted.members.into_iter().map(member).collect(), of_params })
    }
}

impl<'a> From<Json<'a>> for Outline<'a> {
    fn from(json: Json<'a>) -> Self {
        Self { json, members: json.members().collect(), of_params: None }
    }
}

/// Where a member stands.
struct Span {
    key: Range<usize>,
    value: Range<usize>,
}

/// What has been seen of an outline.
struct Noted<'a> {
    bytes: &'a [u8],
    members: Vec<Span>,
    of_params: Option<Vec<Span>>,
    in_params: bool,
}

impl Noted<'_> {
    /// Returns the members that are noted at that depth.
    fn at(&mut self, depth: u32) -> Option<&mut Vec<Span>> {
        match depth {
            1 => Some(&mut self.members),
            2 if self.in_params => self.of_params.as_mut(),
            _ => None,
        }
    }
}

impl Seen for Noted<'_> {
    fn member(&mut self, depth: u32, key: Range<usize>, value: usize) {
        if depth == 1 {
            // Under a key that is spelled otherwise, they are walked later.
            self.in_params = &self.bytes[key.clone()] == b"\"params\"";
            if self.in_params {
                self.of_params = Some(Vec::new());
            }
        }
        if let Some(members) = self.at(depth) {
            members.push(Span { key, value: value..value });
        }
    }

    fn end(&mut self, depth: u32, at: usize) {
        if let Some(last) = self.at(depth).and_then(|members| members.last_mut()) {
            last.value.end = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn agrees(text: &str) {
        let json = Json::check(text.as_bytes()).unwrap();
        let outline = Outline::check(text.as_bytes()).unwrap();
        assert_eq!(outline.json, json);
        assert_eq!(outline.members, json.members().collect::<Vec<_>>(), "{text}");
        if let Some(of_params) = outline.of_params {
            let params = json.get("params").unwrap();
            assert_eq!(of_params, params.members().collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn finds_what_walking_finds() {
        agrees(
            " { \"id\" : 1 , \"params\" : { \"a\" : [ {\"params\":{}} , 2 ] , \"\\u0062\" : \"\\\"}\" } , \"x\" : {\"y\":1} } ",
        );
        agrees("{\"params\":[{\"a\":1},{}]}");
        agrees("[{\"params\":{\"a\":1}},{\"b\":{}}]");
        agrees("{}");
        agrees(" 1 ");
        let outline = Outline::check(b"{\"params\":{\"a\":1}}").unwrap();
        assert_eq!(outline.of_params.unwrap().len(), 1);
        assert!(Outline::check(b"{\"p\\u0061rams\":{}}").unwrap().of_params.is_none());
    }

    proptest! {
        #[test]
        fn agrees_with_walking(members in proptest::collection::vec(
            "\"(params|p\\\\u0061rams|id|[a-z]{1,3})\" ?: ?([0-9]|\"[a-z{}\\[:,]{0,9}(\\\\\"){0,2}\"|\\[ ?\\{\"a\":\"\\]\"\\} ?\\]|\\{ ?(\"[a-z]\" ?: ?(\\{\"b\":1\\}|\\[\\]|7) ?)?\\}) ?",
            0..6,
        )) {
            let text = format!("{{ {} }}", members.join(" , "));
            let named = members.iter().filter(|member| member.starts_with("\"p")).count();
            prop_assume!(named < 2);
            agrees(&text);
        }
    }
}
