//! All the strings of an item, keys among them, with where each stands: one pass over text that has been checked.

use std::borrow::Cow;

use super::plain;
use crate::wire::json::Json;
use crate::wire::scan::find_end;

/// The longest place that is told, in characters.
const PLACE: usize = 200;

/// Where a string stands.
#[derive(Debug, Default)]
pub(super) struct Path<'a>(Vec<Segment<'a>>);

#[derive(Debug, Clone, Copy)]
enum Segment<'a> {
    /// A member of an object, by its key with the quotes; an empty one before the first.
    Member(&'a str),
    Element(usize),
}

impl Path<'_> {
    /// Returns it as a JSON Pointer (RFC 6901) that is safe to print.
    pub(super) fn pointer(&self) -> String {
        let mut pointer = String::new();
        for segment in &self.0 {
            pointer.push('/');
            match segment {
                Segment::Member(key) => pointer += &decoded(key).replace('~', "~0").replace('/', "~1"),
                Segment::Element(index) => pointer += &index.to_string(),
            }
            if pointer.len() > 8 * PLACE {
                break;
            }
        }
        plain(&pointer, PLACE)
    }

    /// Tells whether the string is all there is.
    pub(super) fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether it is that member of the item itself.
    pub(super) fn is_own(&self, name: &str) -> bool {
        matches!(self.0[..], [Segment::Member(key)] if decoded(key) == name)
    }

    /// Tells whether it lies in a member of the item itself that has one of these names.
    pub(super) fn lies_in(&self, names: &[&str]) -> bool {
        matches!(self.0.first(), Some(Segment::Member(key)) if names.contains(&&*decoded(key)))
    }

    /// Tells whether it ends in a member that has one of these names.
    pub(super) fn ends_in(&self, names: &[&str]) -> bool {
        matches!(self.0.last(), Some(Segment::Member(key)) if names.contains(&&*decoded(key)))
    }
}

/// What a string is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Key,
    Value,
}

/// Shows every string of a value, decoded.
pub(super) fn walk<'a>(json: Json<'a>, mut show: impl FnMut(&Path<'a>, Part, &str)) {
    let (text, bytes) = (json.text(), json.text().as_bytes());
    let mut path = Path::default();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' => path.0.push(Segment::Member("")),
            b'[' => path.0.push(Segment::Element(0)),
            b'}' | b']' => drop(path.0.pop()),
            b',' => {
                if let Some(Segment::Element(index)) = path.0.last_mut() {
                    *index += 1;
                }
            }
            b'"' => {
                let raw = &text[at..after_string(bytes, at)];
                at += raw.len();
                let part = if is_key(bytes, at) { Part::Key } else { Part::Value };
                if let (Part::Key, Some(last)) = (part, path.0.last_mut()) {
                    *last = Segment::Member(raw);
                }
                show(&path, part, &decoded(raw));
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

fn after_string(bytes: &[u8], start: usize) -> usize {
    (find_end(bytes, start + 1) + 1).min(bytes.len())
}

/// Only a key is followed by a colon.
fn is_key(bytes: &[u8], at: usize) -> bool {
    bytes[at..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// Returns what a string with its quotes says; lone surrogates are replaced, so that one does not hide the rest.
fn decoded(raw: &str) -> Cow<'_, str> {
    let inner = || raw.strip_prefix('"')?.strip_suffix('"');
    Json::known(raw).as_str().unwrap_or_else(|| Cow::Owned(lossy(inner().unwrap_or_default())))
}

fn lossy(inner: &str) -> String {
    let (mut units, mut rest) = (Vec::with_capacity(inner.len()), inner);
    while let Some((before, escape)) = rest.split_once('\\') {
        units.extend(before.encode_utf16());
        let digits = escape.strip_prefix('u').and_then(|digits| digits.get(..4));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let short = match escape.as_bytes().first() {
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => 10,
            Some(b'r') => 13,
            Some(b't') => 9,
            other => other.copied().unwrap_or_default(),
        };
        units.push(unit.unwrap_or(short.into()));
        rest = escape.get(if unit.is_some() { 5 } else { 1 }..).unwrap_or_default();
    }
    units.extend(rest.encode_utf16());
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str) -> String {
        let mut seen = Vec::new();
        walk(Json::check(text.as_bytes()).unwrap(), |path, part, text| {
            seen.push(format!("{}{} {text}", path.pointer(), if part == Part::Key { " key" } else { "" }));
        });
        seen.join("; ")
    }

    #[test]
    fn every_string_has_its_place() {
        insta::assert_snapshot!(check(r#""x""#), @" x");
        insta::assert_snapshot!(check(r#"{ "a" : "b", "c": [1, "d", {"e/~": "f"}, ["g"]], "h":{}, "i": "j"}"#),
            @"/a key a; /a b; /c key c; /c/1 d; /c/2/e~1~0 key e/~; /c/2/e~1~0 f; /c/3/0 g; /h key h; /i key i; /i j");
        insta::assert_snapshot!(check("{\"\\u202e\u{1b5}\":\"\"}").replace('\u{202e}', "RLO"), @r"/\u{202e}\u{1b5} key RLOƵ; /\u{202e}\u{1b5} ");
    }

    #[test]
    fn a_lone_surrogate_hides_nothing() {
        assert_eq!(decoded(r#""\ud800\u0061\n\"é\\\ud83d\ude00""#), "\u{fffd}a\n\"é\\😀");
        assert_eq!(check(r#"{"\ud800\u0061":1}"#), r"/\u{fffd}a key �a");
    }
}
