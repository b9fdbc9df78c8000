//! Values of a file as JSON texts.
//!
//! **Numbers keep their spelling** where it is one of JSON: they may mean more to a server than a float can hold.

use serde_json::value::RawValue;

use super::item::Item;
use super::node::{ScalarKind, Value};
use super::problem::{Report, quote};

/// Writes a value as JSON.
pub(super) fn read_json(item: &Item<'_>, report: &mut Report<'_>) -> Option<String> {
    match &item.node.value {
        Value::Scalar(scalar) => match scalar.kind {
            ScalarKind::Null => Some("null".to_owned()),
            ScalarKind::Bool => Some(scalar.text.to_ascii_lowercase()),
            ScalarKind::Text => Some(text(&scalar.text)),
            ScalarKind::Number => {
                let number = parse_number(&scalar.text);
                if number.is_none() {
                    report.error(&item.place(), format!("{} is no number in JSON", quote(&scalar.text)));
                    report.hint("quote it where a text is meant");
                }
                number
            }
        },
        Value::List(_) => {
            let values: Vec<_> = item.one_or_several().iter().map(|item| read_json(item, report)).collect();
            let values: Option<Vec<_>> = values.into_iter().collect();
            Some(format!("[{}]", values?.join(",")))
        }
        Value::Map(_) => {
            let entries = item.fields(report)?.rest().into_iter();
            let members: Vec<_> = entries
                .map(|(name, item)| Some(format!("{}:{}", text(&name.value), read_json(&item, report)?)))
                .collect();
            let members: Option<Vec<_>> = members.into_iter().collect();
            Some(format!("{{{}}}", members?.join(",")))
        }
    }
}

fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Spells a number of YAML as JSON does.
pub(super) fn parse_number(text: &str) -> Option<String> {
    if serde_json::from_str::<&RawValue>(text).is_ok() {
        return Some(text.to_owned());
    }
    for (prefix, base) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            return u128::from_str_radix(digits, base).ok().map(|number| number.to_string());
        }
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (whole, rest) = digits.split_at(end);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let rest = match rest.strip_prefix('.') {
        Some(after) if !after.starts_with(|c: char| c.is_ascii_digit()) => after,
        _ => rest,
    };
    let number = format!("{sign}{whole}{rest}");
    serde_json::from_str::<&RawValue>(&number).is_ok().then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Source;
    use crate::config::node;

    fn read(path: &str, text: &str) -> Option<String> {
        let source = Source { path: path.to_owned(), text: format!("{{\"v\": {text}}}") };
        let (_, root) = node::read(&source).expect("a document");
        let mut report = Report::new(path);
        let value = root.entry("v").expect("it was written");
        let json = read_json(&Item::root(value), &mut report);
        assert!(json.is_some() || report.mark() > 0, "nothing says why {text} is refused");
        json.filter(|_| report.mark() == 0)
    }

    fn check(text: &str) -> String {
        read("p.yaml", text).unwrap_or_else(|| "refused".to_owned())
    }

    #[test]
    fn texts_stay_texts() {
        insta::assert_snapshot!(check("acme"), @r#""acme""#);
        insta::assert_snapshot!(check("'5'"), @r#""5""#);
        insta::assert_snapshot!(check("'null'"), @r#""null""#);
        insta::assert_snapshot!(check(r#""a\"\\\n\0é""#), @r#""a\"\\\n\u0000é""#);
        insta::assert_snapshot!(check("yes"), @r#""yes""#);
    }

    #[test]
    fn others_are_what_they_are() {
        insta::assert_snapshot!(check("TRUE"), @"true");
        insta::assert_snapshot!(check("~"), @"null");
        insta::assert_snapshot!(check("[1, a, [true], {b: c}]"), @r#"[1,"a",[true],{"b":"c"}]"#);
        insta::assert_snapshot!(check("{}"), @"{}");
        insta::assert_snapshot!(check("{1: 2}"), @r#"{"1":2}"#);
        insta::assert_snapshot!(check("{a: 1, a: 2}"), @"refused");
    }

    #[test]
    fn numbers_keep_their_spelling_where_json_has_it() {
        for number in ["5", "-0.50", "1e400", "12345678901234567890123", "1E+2"] {
            assert_eq!(check(number), number);
            assert_eq!(read("p.json", number).as_deref(), Some(number));
        }
        insta::assert_snapshot!(check("+5"), @"5");
        insta::assert_snapshot!(check("007"), @"7");
        insta::assert_snapshot!(check("00"), @"0");
        insta::assert_snapshot!(check(".5"), @"0.5");
        insta::assert_snapshot!(check("-1."), @"-1");
        insta::assert_snapshot!(check("1.e3"), @"1e3");
        insta::assert_snapshot!(check("0x1F"), @"31");
        insta::assert_snapshot!(check("0o17"), @"15");
        insta::assert_snapshot!(check(".inf"), @"refused");
        insta::assert_snapshot!(check(".nan"), @"refused");
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            "[^\u{0}]{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map("[a-z \"\\\\]{0,4}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_stays_the_same(value in json()) {
            prop_assert_eq!(read("p.json", &value.to_string()), Some(value.to_string()));
        }

        #[test]
        fn numbers_mean_the_same(text in "[-+]?[0-9]{0,4}(\\.[0-9]{0,3})?([eE][-+]?[0-9]{1,2})?") {
            let number = text.parse::<f64>().ok();
            prop_assert_eq!(number.and_then(|_| parse_number(&text)?.parse().ok()), number, "{}", text);
        }
    }
}
