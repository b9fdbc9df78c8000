//! Whether a value that is known beforehand fits a schema, as far as that can be told without a validator.

use super::value::{Number, is_of_type, same};
use crate::wire::json::Json;

/// Tells whether a value fits a schema; nothing where that depends on more than is looked at.
pub(super) fn holds(value: Json<'_>, schema: Json<'_>) -> Option<bool> {
    if let Some(always) = schema.as_bool() {
        return Some(always);
    }
    let all: Vec<_> = schema.members().map(|(key, said)| keyword(&key, said, value)).collect();
    match all.contains(&Some(false)) {
        true => Some(false),
        false if all.contains(&None) => None,
        false => Some(true),
    }
}

fn keyword(key: &str, said: Json<'_>, value: Json<'_>) -> Option<bool> {
    let bound = |is: fn(&Number, &Number) -> bool| match (Number::of(value), Number::of(said)) {
        (Some(value), Some(bound)) => Some(is(&value, &bound)),
        (None, _) => Some(true),
        (_, None) => None,
    };
    match key {
        "const" => Some(same(said, value)),
        "enum" => Some(said.elements().any(|one| same(one, value))),
        "type" => match said.as_str() {
            Some(name) => Some(is_of_type(value, &name)),
            None => Some(said.elements().filter_map(Json::as_str).any(|name| is_of_type(value, &name))),
        },
        "minimum" => bound(|value, bound| value >= bound),
        "maximum" => bound(|value, bound| value <= bound),
        "exclusiveMinimum" => bound(|value, bound| value > bound),
        "exclusiveMaximum" => bound(|value, bound| value < bound),
        "title" | "description" | "default" | "examples" | "deprecated" | "readOnly" | "writeOnly"
        | "$comment" => Some(true),
        name if name.starts_with("x-") => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, schema: &str, expected: Option<bool>) {
        let json = |text| Json::known(text);
        assert_eq!(holds(json(value), json(schema)), expected, "{value} {schema}");
    }

    #[test]
    fn says_what_is_certain_and_nothing_else() {
        check("1", "true", Some(true));
        check("1", "false", Some(false));
        check("1.0", r#"{"type":"integer","const":1,"title":"x"}"#, Some(true));
        check("1.5", r#"{"type":["integer","null"]}"#, Some(false));
        check("null", r#"{"type":["integer","null"]}"#, Some(true));
        check("\"a\"", r#"{"enum":["b","\u0061"]}"#, Some(true));
        check("\"a\"", r#"{"minimum":3}"#, Some(true));
        check("3", r#"{"exclusiveMinimum":3}"#, Some(false));
        check("\"a\"", r#"{"pattern":"b"}"#, None);
        check("\"a\"", r#"{"pattern":"b","const":1}"#, Some(false));
        check("1", r##"{"$ref":"#/$defs/x"}"##, None);
    }
}
