//! `x-mcp-header`: arguments of a tool that a stateless request repeats in headers (2026-07-28, custom headers).

use std::borrow::Cow;

use http::HeaderName;

use crate::wire::http::PARAM_PREFIX;
use crate::wire::json::Json;

/// An argument that a header repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    /// `mcp-param-` and the annotated name.
    pub(crate) header: HeaderName,
    /// Where the argument is: the keys from the arguments' root.
    path: Vec<String>,
}

impl Parameter {
    /// Returns the argument as a header carries it; nothing where it is absent, `null` or no scalar.
    pub(crate) fn value<'a>(&self, arguments: Option<Json<'a>>) -> Option<Cow<'a, str>> {
        let value = self.path.iter().try_fold(arguments?, |json, key| json.get(key))?;
        match value.text().as_bytes().first()? {
            b'"' => value.as_str(),
            b'{' | b'[' | b'n' => None,
            _ => Some(Cow::Borrowed(value.text())),
        }
    }
}

/// Tells whether a header's text and an argument's mean the same: integers compare as numbers.
pub(crate) fn same_value(header: &str, argument: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.fract() == 0.0);
    header == argument
        || matches!((number(header), number(argument)), (Some(a), Some(b)) if a.to_bits() == b.to_bits())
}

/// Finds the annotated properties of an input schema, or says which annotation breaks the rules.
pub(crate) fn parameters(schema: Json<'_>) -> Result<Vec<Parameter>, String> {
    if !schema.text().contains("x-mcp-header") {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    search(schema, &mut Vec::new(), Reach::Properties, &mut found)?;
    Ok(found)
}

/// Whether a schema was reached by `properties` alone, as an annotated one must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Properties,
    Otherwise,
}

fn search(
    schema: Json<'_>,
    path: &mut Vec<String>,
    reach: Reach,
    found: &mut Vec<Parameter>,
) -> Result<(), String> {
    for (key, value) in schema.members() {
        match key.as_ref() {
            "x-mcp-header" => found.push(read(schema, value, path, reach, found)?),
            "properties" => {
                for (name, property) in value.members() {
                    path.push(name.into_owned());
                    search(property, path, reach, found)?;
                    path.pop();
                }
            }
            "enum" | "const" | "default" | "examples" => {}
            _ => {
                search(value, path, Reach::Otherwise, found)?;
                for element in value.elements() {
                    search(element, path, Reach::Otherwise, found)?;
                }
            }
        }
    }
    Ok(())
}

fn read(
    schema: Json<'_>,
    annotation: Json<'_>,
    path: &[String],
    reach: Reach,
    found: &[Parameter],
) -> Result<Parameter, String> {
    let place = path.join(".");
    if reach != Reach::Properties || path.is_empty() {
        return Err("`x-mcp-header` stands where only `properties` may lead".into());
    }
    let kind = schema.get("type").and_then(Json::as_str).unwrap_or_default();
    if !matches!(kind.as_ref(), "string" | "integer" | "boolean") {
        return Err(format!("`x-mcp-header` of {place:?} is not on a string, integer or boolean"));
    }
    let name = annotation.as_str().unwrap_or_default();
    let header = HeaderName::from_bytes(format!("{PARAM_PREFIX}{name}").as_bytes());
    let header = header.ok().filter(|_| !name.is_empty());
    let header = header.ok_or_else(|| format!("`x-mcp-header` of {place:?} is no header name"))?;
    if found.iter().any(|p| p.header == header) {
        return Err(format!("two arguments have the `x-mcp-header` {name:?}"));
    }
    Ok(Parameter { header, path: path.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str) -> String {
        match parameters(Json::check(schema.as_bytes()).unwrap()) {
            Ok(found) => found
                .iter()
                .map(|p| format!("{}={}", p.header, p.path.join(".")))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error,
        }
    }

    #[test]
    fn finds_annotations_and_refuses_bad_ones() {
        insta::assert_snapshot!(check(r#"{"properties":{"a":{"type":"string","x-mcp-header":"Region"},"b":{"type":"object","properties":{"c":{"type":"integer","x-mcp-header":"N"}}}}}"#), @"mcp-param-region=a mcp-param-n=b.c");
        insta::assert_snapshot!(check(r#"{"properties":{"a":{"type":"number","x-mcp-header":"X"}}}"#), @r#"`x-mcp-header` of "a" is not on a string, integer or boolean"#);
        insta::assert_snapshot!(check(r#"{"properties":{"a":{"type":"string","x-mcp-header":""}}}"#), @r#"`x-mcp-header` of "a" is no header name"#);
        insta::assert_snapshot!(check(r#"{"properties":{"a":{"type":"string","x-mcp-header":"a b"}}}"#), @r#"`x-mcp-header` of "a" is no header name"#);
        insta::assert_snapshot!(check(r#"{"properties":{"a":{"type":"string","x-mcp-header":"X"},"b":{"type":"string","x-mcp-header":"x"}}}"#), @r#"two arguments have the `x-mcp-header` "x""#);
        insta::assert_snapshot!(check(r#"{"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"X"}}}]}"#), @"`x-mcp-header` stands where only `properties` may lead");
        insta::assert_snapshot!(check(r#"{"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"X"}}}}"#), @"`x-mcp-header` stands where only `properties` may lead");
    }

    #[test]
    fn reads_and_compares_values() {
        let schema = Json::check(
            br#"{"properties":{"b":{"properties":{"c":{"type":"integer","x-mcp-header":"N"}}}}}"#,
        )
        .unwrap();
        let parameter = parameters(schema).unwrap().remove(0);
        let value = |text: &'static str| parameter.value(Some(Json::check(text.as_bytes()).unwrap()));
        assert_eq!(value(r#"{"b":{"c":42}}"#).as_deref(), Some("42"));
        assert_eq!(value(r#"{"b":{"c":null}}"#), None);
        assert_eq!(value(r#"{"b":1}"#), None);
        assert!(same_value("42", "42.0") && !same_value("42", "43") && !same_value("a", "A"));
    }
}
