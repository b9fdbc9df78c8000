//! What JSON values mean: when two are the same, and which of two numbers is greater.
//!
//! **No digit is lost**: numbers are compared as they are written, never as floating point.

use std::cmp::Ordering;

use crate::wire::json::Json;

/// Tells whether two values are the same (JSON Schema 2020-12, 4.2.2): numbers by what they are worth, objects whatever
/// the order of their members. An object that names a key twice is the same as nothing.
pub(super) fn same(one: Json<'_>, other: Json<'_>) -> bool {
    match (first(one), first(other)) {
        (b'"', b'"') => match (one.as_str(), other.as_str()) {
            (Some(one), Some(other)) => one == other,
            _ => one.text() == other.text(),
        },
        (b'[', b'[') => {
            let (mut ones, mut others) = (one.elements(), other.elements());
            loop {
                match (ones.next(), others.next()) {
                    (None, None) => return true,
                    (Some(one), Some(other)) if same(one, other) => {}
                    _ => return false,
                }
            }
        }
        (b'{', b'{') => {
            let (Ok(one), Ok(other)) = (one.object(), other.object()) else { return false };
            let held = |key: &str, value| other.get(key).is_some_and(|theirs| same(value, theirs));
            one.iter().count() == other.iter().count() && one.iter().all(|(key, value)| held(key, value))
        }
        _ => match (Number::of(one), Number::of(other)) {
            (Some(one), Some(other)) => one == other,
            _ => one.text() == other.text(),
        },
    }
}

/// Tells whether a value is of a type of JSON Schema.
pub(super) fn is_of_type(value: Json<'_>, name: &str) -> bool {
    match first(value) {
        b'"' => name == "string",
        b'{' => name == "object",
        b'[' => name == "array",
        b't' | b'f' => name == "boolean",
        b'n' => name == "null",
        _ => name == "number" || (name == "integer" && Number::of(value).is_some_and(|n| n.is_integer())),
    }
}

/// Returns what a JSON Pointer leads to (RFC 6901).
pub(super) fn at<'a>(json: Json<'a>, pointer: &str) -> Option<Json<'a>> {
    let mut tokens = pointer.split('/');
    tokens.next().filter(|before| before.is_empty())?;
    tokens.try_fold(json, |json, token| {
        let token = token.replace("~1", "/").replace("~0", "~");
        if !json.is_array() {
            return json.get(&token);
        }
        let is_index = token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
        json.elements().nth(token.parse().ok().filter(|_| is_index)?)
    })
}

fn first(value: Json<'_>) -> u8 {
    value.text().as_bytes().first().copied().unwrap_or_default()
}

/// A number as it is written: `0.DIGITS` times ten to the power of `magnitude`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Number {
    negative: bool,
    /// Without zeros at either end; empty where the number is zero.
    digits: Vec<u8>,
    magnitude: i64,
}

impl Number {
    /// Reads a value that is a number.
    pub(super) fn of(value: Json<'_>) -> Option<Self> {
        matches!(first(value), b'-' | b'0'..=b'9').then(|| Self::read(value.text()))
    }

    /// Reads a text that is a number and nothing else.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        Self::of(Json::check(text.as_bytes()).ok()?).filter(|_| text.trim() == text)
    }

    fn read(text: &str) -> Self {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let beyond = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
        let exponent = exponent.strip_prefix('+').unwrap_or(exponent).parse().unwrap_or(beyond);
        let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let zeros = all.iter().take_while(|digit| **digit == b'0').count();
        let end = all.iter().rposition(|digit| *digit != b'0').map_or(zeros, |last| last + 1);
        let digits = all[zeros..end].to_vec();
        if digits.is_empty() {
            return Self { negative: false, digits, magnitude: 0 };
        }
        let shift = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        let magnitude = shift(whole.len()).saturating_sub(shift(zeros)).saturating_add(exponent);
        Self { negative, digits, magnitude }
    }

    /// Tells whether it is a whole number, however it is written.
    pub(super) fn is_integer(&self) -> bool {
        i64::try_from(self.digits.len()).is_ok_and(|length| length <= self.magnitude)
            || self.digits.is_empty()
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = self.sign();
        sign.cmp(&other.sign()).then_with(|| {
            let size = (self.magnitude, &self.digits).cmp(&(other.magnitude, &other.digits));
            if sign < 0 { size.reverse() } else { size }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str) -> Json<'_> {
        Json::check(text.as_bytes()).unwrap()
    }

    #[track_caller]
    fn check(one: &str, other: &str, expected: bool) {
        assert_eq!(same(json(one), json(other)), expected, "{one} {other}");
        assert_eq!(same(json(other), json(one)), expected, "{other} {one}");
    }

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        for one in ["1", "1.0", "1e0", "10e-1", "0.1E+1", "1.000"] {
            for other in ["1", "1.0", "1e0"] {
                check(one, other, true);
            }
        }
        check("0", "-0.0e7", true);
        check("9007199254740993", "9007199254740992", false);
        check("9007199254740993", "9007199254740993.0", true);
        check("0.1", "0.10000000000000001", false);
        check("1", "-1", false);
        check("1", "\"1\"", false);
        check("1", "true", false);
        check("1e99999999999999999999", "1", false);
    }

    #[test]
    fn values_are_the_same_by_what_they_hold() {
        check(r#""a\u0062""#, r#""ab""#, true);
        check(r#"{"a":1,"b":[1,2]}"#, r#"{"b":[1.0,2],"\u0061":1}"#, true);
        check(r#"{"a":1}"#, r#"{"a":1,"b":2}"#, false);
        check(r#"{"a":1,"a":1}"#, r#"{"a":1}"#, false);
        check("[1,2]", "[2,1]", false);
        check("[1]", "[1,1]", false);
        check("null", "false", false);
    }

    proptest! {
        #[test]
        fn numbers_are_ordered_as_integers_are(one in any::<i64>(), other in any::<i64>(), zeros in 0usize..4) {
            let number = |text: &str| Number::of_text(text).unwrap();
            let longer = format!("{other}.{}", "0".repeat(zeros + 1));
            prop_assert_eq!(number(&one.to_string()).cmp(&number(&longer)), one.cmp(&other));
            let scaled = format!("{}e-{zeros}", format_args!("{other}{}", "0".repeat(zeros)));
            prop_assert_eq!(number(&scaled), number(&longer));
            prop_assert!(number(&scaled).is_integer());
        }

        #[test]
        fn numbers_are_ordered_as_fractions_are(one in -1e9f64..1e9, other in -1e9f64..1e9) {
            let number = |n: f64| Number::of_text(&n.to_string()).unwrap();
            prop_assert_eq!(Some(number(one).cmp(&number(other))), one.partial_cmp(&other));
        }
    }
}
