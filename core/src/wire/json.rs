//! JSON as spans of text: checked once, walked by skipping, never turned into a document.
//!
//! **What a value's text was, it stays**: no number loses a digit, no key moves, no escape changes.
//! The whole text is checked against RFC 8259 before the first span is handed out; nesting is bounded.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use super::scan::{find_end, find_odd, find_special};

/// The deepest nesting that is accepted, as in `serde_json`.
pub(crate) const MAX_DEPTH: u32 = 128;

/// Up to this many keys of an object are compared with each other.
const FEW: usize = 16;

/// Text that is not JSON, or nests too deeply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub(crate) struct Malformed {
    /// Where, in bytes from the start.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl Malformed {
    /// Tells whether it may be JSON, which nests too deeply.
    pub(crate) fn is_too_deep(&self) -> bool {
        self.what == TOO_DEEP
    }
}

/// What is wrong with what nests too deeply.
const TOO_DEEP: &str = "nested too deeply";

/// An object that names one key twice (after its escapes are resolved).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("duplicate key {0:?}")]
pub(crate) struct DuplicateKey(pub String);

/// The text of one valid JSON value, without surrounding white space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Json<'a>(&'a str);

/// The members of an object in their order, each key once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

/// Is told of what stands where while text is checked. Offsets are from the start of the text.
pub(super) trait Seen {
    /// A member of the object that is the `depth`th container: its key with the quotes, and where its value begins.
    fn member(&mut self, depth: u32, key: Range<usize>, value: usize);

    /// The latest value within the `depth`th container has ended before `at`.
    fn end(&mut self, depth: u32, at: usize);
}

impl Seen for () {
    fn member(&mut self, _: u32, _: Range<usize>, _: usize) {}

    fn end(&mut self, _: u32, _: usize) {}
}

impl<'a> Json<'a> {
    /// Checks that `bytes` are exactly one JSON value.
    pub(crate) fn check(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::check_seen(bytes, &mut ())
    }

    /// Checks as [`Json::check`] does, and tells what stands where.
    pub(super) fn check_seen(bytes: &'a [u8], seen: &mut impl Seen) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(bytes)
            .map_err(|e| Malformed { at: e.valid_up_to(), what: "invalid UTF-8" })?;
        let start = skip_space(bytes, 0);
        let end = skip_value(bytes, start, seen)?;
        let rest = skip_space(bytes, end);
        if rest != bytes.len() {
            return Err(Malformed { at: rest, what: "unexpected text after the value" });
        }
        Ok(Self(&text[start..end]))
    }

    /// Takes the text of a value that has been checked before, without surrounding white space.
    pub(crate) fn known(text: &'a str) -> Self {
        Self(text)
    }

    /// Returns the value's own text.
    pub(crate) fn text(self) -> &'a str {
        self.0
    }

    /// Tells whether the value is an object.
    pub(crate) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Tells whether the value is an array.
    pub(crate) fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    /// Tells whether the value is `null`.
    pub(crate) fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// Returns the string, its escapes resolved; nothing where the value is no string or has a lone surrogate.
    pub(crate) fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if find_special(inner.as_bytes(), 0) == inner.len() {
            return Some(Cow::Borrowed(inner));
        }
        serde_json::from_str(self.0).ok().map(Cow::Owned)
    }

    /// Returns the string as the key of a member.
    pub(super) fn as_key(self) -> Cow<'a, str> {
        // A key with a lone surrogate has no text of its own; its raw form still tells it from others.
        self.as_str().unwrap_or(Cow::Borrowed(self.0))
    }

    /// Returns the number where it is a non-negative integer that fits.
    pub(crate) fn as_u64(self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// Returns the truth value.
    pub(crate) fn as_bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Walks the members of an object as they stand, duplicates included; nothing where the value is no object.
    pub(crate) fn members(self) -> Members<'a> {
        Members(Walk::into(self.0, b'{'))
    }

    /// Walks the elements of an array; nothing where the value is no array.
    pub(crate) fn elements(self) -> Elements<'a> {
        Elements(Walk::into(self.0, b'['))
    }

    /// Returns the last member of that name, which is the one that lenient parsers see.
    pub(crate) fn get(self, key: &str) -> Option<Json<'a>> {
        self.members().filter(|(k, _)| k == key).map(|(_, v)| v).last()
    }

    /// Collects an object whose keys must all differ; an empty one where the value is no object.
    pub(crate) fn object(self) -> Result<Object<'a>, DuplicateKey> {
        Object::unique(self.members())
    }
}

impl<'a> Object<'a> {
    /// Collects members whose keys must all differ.
    pub(super) fn unique(
        all: impl IntoIterator<Item = (Cow<'a, str>, Json<'a>)>,
    ) -> Result<Self, DuplicateKey> {
        let mut members: Vec<(Cow<'a, str>, Json<'a>)> = Vec::with_capacity(8);
        // Few keys are compared with each other; many are looked up, so that no object takes quadratic time.
        let mut seen: BTreeSet<Cow<'a, str>> = BTreeSet::new();
        for (key, value) in all {
            let duplicate = match members.len() {
                0..FEW => members.iter().any(|(k, _)| *k == key),
                _ => !seen.insert(key.clone()),
            };
            if duplicate {
                return Err(DuplicateKey(key.into_owned()));
            }
            members.push((key, value));
            if members.len() == FEW {
                seen.extend(members.iter().map(|(k, _)| k.clone()));
            }
        }
        Ok(Self(members))
    }

    /// Returns the member of that name.
    pub(crate) fn get(&self, key: &str) -> Option<Json<'a>> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| *v)
    }

    /// Walks the members in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Cow<'a, str>, Json<'a>)> {
        self.0.iter().map(|(k, v)| (k, *v))
    }
}

/// Walks the members of an object; see [`Json::members`].
#[derive(Debug)]
pub(crate) struct Members<'a>(Walk<'a>);

/// Walks the elements of an array; see [`Json::elements`].
#[derive(Debug)]
pub(crate) struct Elements<'a>(Walk<'a>);

#[derive(Debug)]
struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    fn into(text: &'a str, opening: u8) -> Self {
        let at = if text.as_bytes().first() == Some(&opening) { 1 } else { text.len() };
        Self { text, at }
    }

    /// Steps over white space and one comma; nothing at the end.
    fn advance(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        self.at = skip_space(bytes, self.at);
        if bytes.get(self.at) == Some(&b',') {
            self.at = skip_space(bytes, self.at + 1);
        }
        (self.at + 1 < bytes.len()).then_some(())
    }

    /// Reads a key and steps to its value.
    fn key(&mut self) -> Cow<'a, str> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let plain = find_special(bytes, start);
        let (key, end) = if bytes.get(plain) == Some(&b'"') {
            (Cow::Borrowed(&self.text[start..plain]), plain + 1)
        } else {
            (self.value().as_key(), self.at)
        };
        let colon = skip_space(bytes, end);
        self.at = skip_space(bytes, colon + 1);
        key
    }

    fn value(&mut self) -> Json<'a> {
        let end = pass_value(self.text.as_bytes(), self.at);
        let value = Json(&self.text[self.at..end]);
        self.at = end;
        value
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Json<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.advance()?;
        let key = self.0.key();
        Some((key, self.0.value()))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.advance()?;
        Some(self.0.value())
    }
}

/// Returns the index of the first byte from `at` that is no JSON white space.
fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// The containers that are open, one bit each: set for an object.
struct Nesting {
    bits: u128,
    depth: u32,
}

impl Nesting {
    fn open(&mut self, byte: u8, at: usize) -> Result<(), Malformed> {
        if self.depth == MAX_DEPTH {
            return Err(Malformed { at, what: TOO_DEEP });
        }
        self.bits = self.bits << 1 | u128::from(byte == b'{');
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self) {
        self.bits >>= 1;
        self.depth -= 1;
    }

    fn in_object(&self) -> bool {
        self.bits & 1 == 1
    }
}

/// Returns the index after the value that begins at `at`.
fn skip_value(bytes: &[u8], at: usize, seen: &mut impl Seen) -> Result<usize, Malformed> {
    let mut nesting = Nesting { bits: 0, depth: 0 };
    let mut at = at;
    loop {
        at = match bytes.get(at) {
            Some(b'"') => skip_string(bytes, at)?,
            Some(&byte @ (b'{' | b'[')) => {
                nesting.open(byte, at)?;
                let inner = skip_space(bytes, at + 1);
                let closing = if byte == b'{' { b'}' } else { b']' };
                if bytes.get(inner) == Some(&closing) {
                    nesting.close();
                    inner + 1
                } else {
                    at = if byte == b'{' { skip_key(bytes, inner, nesting.depth, seen)? } else { inner };
                    continue;
                }
            }
            Some(b'-' | b'0'..=b'9') => skip_number(bytes, at)?,
            Some(b't') => skip_word(bytes, at, b"true")?,
            Some(b'f') => skip_word(bytes, at, b"false")?,
            Some(b'n') => skip_word(bytes, at, b"null")?,
            Some(_) => return Err(Malformed { at, what: "expected a value" }),
            None => return Err(Malformed { at, what: "the text ends where a value should begin" }),
        };
        loop {
            if nesting.depth == 0 {
                return Ok(at);
            }
            seen.end(nesting.depth, at);
            at = skip_space(bytes, at);
            match (bytes.get(at), nesting.in_object()) {
                (Some(b','), true) => {
                    at = skip_key(bytes, skip_space(bytes, at + 1), nesting.depth, seen)?;
                    break;
                }
                (Some(b','), false) => {
                    at = skip_space(bytes, at + 1);
                    break;
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    nesting.close();
                    at += 1;
                }
                (Some(_), _) => {
                    return Err(Malformed { at, what: "expected a comma or the end of the container" });
                }
                (None, _) => return Err(Malformed { at, what: "the text ends inside a container" }),
            }
        }
    }
}

/// Skips `"key" :` and the space after it.
fn skip_key(bytes: &[u8], at: usize, depth: u32, seen: &mut impl Seen) -> Result<usize, Malformed> {
    if bytes.get(at) != Some(&b'"') {
        return Err(Malformed { at, what: "expected a key" });
    }
    let end = skip_string(bytes, at)?;
    let colon = skip_space(bytes, end);
    if bytes.get(colon) != Some(&b':') {
        return Err(Malformed { at: colon, what: "expected a colon" });
    }
    let value = skip_space(bytes, colon + 1);
    seen.member(depth, at..end, value);
    Ok(value)
}

fn skip_string(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut at = start + 1;
    loop {
        at = find_odd(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = skip_escape(bytes, at)?,
            Some(_) => return Err(Malformed { at: start, what: "control character in a string" }),
            None => return Err(Malformed { at: start, what: "unterminated string" }),
        }
    }
}

/// Returns the index after the value that begins at `at`, of text that has been checked.
fn pass_value(bytes: &[u8], at: usize) -> usize {
    let mut at = at;
    let mut depth = 0u32;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = (find_end(bytes, at) + 1).min(bytes.len()),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ if depth == 0 => return at + bytes[at..].iter().take_while(|b| is_of_word(**b)).count(),
            _ => continue,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// Tells whether a byte can belong to a number or a literal.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

fn skip_escape(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') if bytes.len() >= at + 6 && bytes[at + 2..at + 6].iter().all(u8::is_ascii_hexdigit) => {
            Ok(at + 6)
        }
        _ => Err(Malformed { at, what: "invalid escape" }),
    }
}

fn skip_word(bytes: &[u8], at: usize, word: &'static [u8]) -> Result<usize, Malformed> {
    if bytes[at..].starts_with(word) {
        Ok(at + word.len())
    } else {
        Err(Malformed { at, what: "expected a value" })
    }
}

fn skip_digits(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    let count = bytes[at.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 { Err(Malformed { at, what: "expected a digit" }) } else { Ok(at + count) }
}

fn skip_number(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut at = start + usize::from(bytes[start] == b'-');
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { skip_digits(bytes, at)? };
    if bytes.get(at) == Some(&b'.') {
        at = skip_digits(bytes, at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(bytes.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = skip_digits(bytes, at)?;
    }
    Ok(at)
}

/// Appends `text` as a JSON string, quotes included.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    if find_special(bytes, 0) < bytes.len() {
        serde_json::to_writer(&mut *out, text).expect("writing to a vector cannot fail");
        return;
    }
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    out.extend_from_slice(bytes);
    out.push(b'"');
}

/// Returns `text` as a JSON string, quotes included.
pub(crate) fn quote(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    String::from_utf8(out).expect("only text was appended")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(Json::check(text.as_bytes()).ok().map(Json::text), expected, "{text}");
    }

    #[test]
    fn accepts_values_and_trims_space() {
        check(" {\"a\" : [1, -2.5e+3, {}] } ", Some("{\"a\" : [1, -2.5e+3, {}] }"));
        check("123456789012345678901234567890", Some("123456789012345678901234567890"));
        check("\"\\u00e9\\n\"", Some("\"\\u00e9\\n\""));
        check("[]", Some("[]"));
    }

    #[test]
    fn refuses_what_is_not_json() {
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "01",
            "1.",
            "-",
            "+1",
            "nul",
            "\"\u{1}\"",
            "\"\\x\"",
            "\"\\u12\"",
            "1 2",
            "{a:1}",
            "[1}",
            "NaN",
        ] {
            check(text, None);
        }
        check(&"[".repeat(200), None);
    }

    #[test]
    fn walks_members_and_elements() {
        let json = Json::check(br#"{ "a":1 , "b\u0061" : [ {"x":"y"} , null ],"c":{}}"#).unwrap();
        let members: Vec<_> = json.members().map(|(k, v)| format!("{k}={}", v.text())).collect();
        assert_eq!(members, ["a=1", "ba=[ {\"x\":\"y\"} , null ]", "c={}"]);
        let elements: Vec<_> = json.get("ba").unwrap().elements().map(Json::text).collect();
        assert_eq!(elements, ["{\"x\":\"y\"}", "null"]);
    }

    #[test]
    fn sees_duplicates_through_escapes() {
        let json = Json::check(br#"{"name":"a","n\u0061me":"b"}"#).unwrap();
        assert_eq!(json.object().unwrap_err(), DuplicateKey("name".into()));
        let many = |last: &str| {
            let keys: Vec<_> =
                (0..100_000).map(|n| format!("\"k{n}\":0")).chain([format!("\"{last}\":0")]).collect();
            format!("{{{}}}", keys.join(","))
        };
        let check = |text: String| Json::check(text.as_bytes()).unwrap().object().is_ok();
        let falling: Vec<_> = (0..300_000).rev().map(|n| format!("\"{n:06}\":0")).collect();
        assert!(check(format!("{{{}}}", falling.join(","))), "as fast in any order");
        assert!(check(many("other")) && !check(many("k99999")) && !check(many("k3")) && !check(many("k16")));
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in "[\\[\\]{}:,\"\\\\0-9a-ftrunlse.+\\- \\n]{0,40}") {
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(Json::check(text.as_bytes()).is_ok(), theirs);
        }

        #[test]
        fn sees_what_a_string_must_escape(text in "[a-z\"\\\\\u{0}\u{1f}\u{20}\u{7f}é]{0,80}", plain in "[ -!#-Z~é]{0,80}") {
            for text in [format!("{plain}{text}"), format!("{plain}{plain}")] {
                let theirs = serde_json::to_string(&text).unwrap();
                prop_assert_eq!(&quote(&text), &theirs);
                prop_assert_eq!(Json::check(theirs.as_bytes()).unwrap().as_str().unwrap(), text.as_str());
                let raw = format!("\"{text}\"");
                prop_assert_eq!(Json::check(raw.as_bytes()).is_ok(), serde_json::from_str::<String>(&raw).is_ok());
            }
        }

        #[test]
        fn walks_what_it_checked(values in proptest::collection::vec("([0-9]|-1\\.5e\\+3|true|null|\"[a-z\\[\\]{}:,é]{0,40}(\\\\\")?\"|\\[1, ?\\{\"a\":\"\\]\\}\"\\} ?\\]|\\{ ?\\}) ?", 1..6)) {
            let members = values.iter().enumerate().map(|(n, value)| format!("\"k{n}\" : {value}"));
            let text = format!("{{ {} }}", members.collect::<Vec<_>>().join(" , "));
            let json = Json::check(text.as_bytes()).unwrap();
            let walked: Vec<_> = json.members().map(|(key, value)| (key.into_owned(), value.text().to_owned())).collect();
            let expected: Vec<_> = values.iter().enumerate().map(|(n, v)| (format!("k{n}"), v.trim_end().to_owned())).collect();
            prop_assert_eq!(walked, expected);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(json) = Json::check(&bytes) {
                for (_, value) in json.members() { let _ = value.as_str(); }
                let _ = json.elements().count();
            }
        }
    }
}
