//! JSON with comments and trailing commas, as editors write it, into [`Node`]s.

use jsonc_parser::ast::{ObjectPropName, Value as Parsed};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::node::{DEPTH_LIMIT, Key, Node, Position, Scalar, ScalarKind, SyntaxError, Value};

const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: false,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Reads a JSON text for what stands where; nothing where it is none.
#[cfg(feature = "control")]
pub(super) fn parse(text: &str) -> Option<Parsed<'_>> {
    parse_to_ast(text, &CollectOptions::default(), &OPTIONS).ok()?.value
}

/// Reads a JSON text.
pub(super) fn read(text: &str) -> Result<Node, SyntaxError> {
    let lines = Lines::of(text);
    let parsed = parse_to_ast(text, &CollectOptions::default(), &OPTIONS).map_err(|error| SyntaxError {
        at: lines.position(error.range().start),
        message: format!("this is not JSON: {}", uncapitalized(&error.kind().to_string())),
    })?;
    match parsed.value {
        Some(value) => node(&lines, value, 0),
        None => Err(SyntaxError { at: Position::default(), message: "the file is empty".to_owned() }),
    }
}

fn node(lines: &Lines<'_>, parsed: Parsed<'_>, depth: usize) -> Result<Node, SyntaxError> {
    let at = lines.position(parsed.start());
    if depth > DEPTH_LIMIT {
        return Err(SyntaxError { at, message: format!("nested deeper than {DEPTH_LIMIT} levels") });
    }
    let value = match parsed {
        Parsed::StringLit(literal) => scalar(ScalarKind::Text, literal.value.into_owned()),
        Parsed::NumberLit(literal) => scalar(ScalarKind::Number, literal.value.to_owned()),
        Parsed::BooleanLit(literal) => scalar(ScalarKind::Bool, literal.value.to_string()),
        Parsed::NullKeyword(_) => scalar(ScalarKind::Null, String::new()),
        Parsed::Array(array) => Value::List(
            array.elements.into_iter().map(|item| node(lines, item, depth + 1)).collect::<Result<_, _>>()?,
        ),
        Parsed::Object(object) => Value::Map(
            object
                .properties
                .into_iter()
                .map(|property| {
                    let key = key(lines, property.name);
                    Ok((key, node(lines, property.value, depth + 1)?))
                })
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok(Node { at, value })
}

fn key(lines: &Lines<'_>, name: ObjectPropName<'_>) -> Key {
    Key { at: lines.position(name.start()), text: name.into_string() }
}

fn scalar(kind: ScalarKind, text: String) -> Value {
    Value::Scalar(Scalar { text, kind })
}

fn uncapitalized(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

/// Where the lines of a text begin. A carriage return alone ends one too, as in YAML and in editors.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let ends = text
            .match_indices(['\n', '\r'])
            .filter(|(at, end)| *end == "\n" || text.as_bytes().get(at + 1) != Some(&b'\n'));
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let start = self.starts.get(line).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        Position::from_zero(line, column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        match read(text) {
            Ok(node) => format!("{} at {}:{}", node.kind(), node.at.line, node.at.column),
            Err(error) => format!("{}:{}: {}", error.at.line, error.at.column, error.message),
        }
    }

    #[test]
    fn comments_and_trailing_commas_are_read() {
        insta::assert_snapshot!(check("// c\n /* d */ {\"a\": [1, 2,],}"), @"a map at 2:10");
    }

    #[test]
    fn errors_have_their_place() {
        insta::assert_snapshot!(check("{\n  \"é\": tru\n}"), @"2:8: this is not JSON: unexpected word");
        insta::assert_snapshot!(check("{\r\n \"a\": 1,\r \"b\": tru\r}"), @"3:7: this is not JSON: unexpected word");
        insta::assert_snapshot!(check("{\"a\": 1"), @"1:1: this is not JSON: unterminated object");
        insta::assert_snapshot!(check("{'a': 1}"), @"1:2: this is not JSON: single-quoted strings are not allowed");
        insta::assert_snapshot!(check(" "), @"1:1: the file is empty");
    }

    #[test]
    fn nesting_is_bounded() {
        let text = format!("{}{}", "[".repeat(400), "]".repeat(400));
        insta::assert_snapshot!(check(&text), @"1:66: nested deeper than 64 levels");
        insta::assert_snapshot!(check(&"[".repeat(100_000)), @"1:513: this is not JSON: maximum nesting depth exceeded");
    }
}
