//! Inputs for a tool, made from its schema: what is required alone, everything, each choice there is, and paths that lead to
//! canaries.
//!
//! **The same schema always gives the same inputs.** They are valid where the schema is simple; a tool that refuses one has
//! done nothing wrong.

use serde_json::{Map, Value, json};

/// How deep values are made.
const DEEP: usize = 6;
/// How many inputs one tool gets.
const MOST: usize = 8;
/// How many choices of one property are tried.
const CHOICES: usize = 6;

/// An input, and what is asked for in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Input {
    pub(super) arguments: Value,
    /// Whether it names a file that the server was not told of.
    pub(super) asks_for_hidden: bool,
}

/// Paths that a tool may be asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Paths {
    /// A file with a canary that the server was given.
    pub(super) given: Option<String>,
    /// One that it was not told of.
    pub(super) hidden: Option<String>,
}

/// Makes the inputs of a tool.
pub(super) fn inputs(schema: &Value, paths: &Paths) -> Vec<Input> {
    let maker = Maker { root: schema };
    let least = maker.object(schema, false, 0);
    let all = maker.object(schema, true, 0);
    let mut made = vec![Input { arguments: least, asks_for_hidden: false }];
    let mut add = |arguments: Value, asks_for_hidden: bool| {
        if made.len() < MOST && made.iter().all(|input| input.arguments != arguments) {
            made.push(Input { arguments, asks_for_hidden });
        }
    };
    add(all.clone(), false);
    for (name, property) in properties(maker.resolve(schema)) {
        let property = maker.resolve(property);
        if is_path(name, property) {
            for (path, hidden) in [(&paths.given, false), (&paths.hidden, true)] {
                if let Some(path) = path {
                    let path = if property["type"] == "array" { json!([path]) } else { json!(path) };
                    add(with(&all, name, path), hidden);
                }
            }
        }
        for choice in property.get("enum").and_then(Value::as_array).into_iter().flatten().take(CHOICES) {
            add(with(&all, name, choice.clone()), false);
        }
    }
    made
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn with(arguments: &Value, name: &str, value: Value) -> Value {
    let mut arguments = arguments.clone();
    if let Some(members) = arguments.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    arguments
}

/// Tells whether a property is the path of a file, by its name.
fn is_path(name: &str, property: &Value) -> bool {
    let name = name.to_ascii_lowercase();
    let is_text = property["type"] == "string" || property["items"]["type"] == "string";
    is_text && ["path", "file", "folder", "directory"].iter().any(|word| name.contains(word))
}

struct Maker<'s> {
    root: &'s Value,
}

impl<'s> Maker<'s> {
    /// Follows references within the schema.
    fn resolve(&self, schema: &'s Value) -> &'s Value {
        let mut schema = schema;
        for _ in 0..DEEP {
            let target = schema.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix('#'));
            match target.and_then(|pointer| self.root.pointer(pointer)) {
                Some(found) => schema = found,
                None => break,
            }
        }
        schema
    }

    fn object(&self, schema: &'s Value, whole: bool, depth: usize) -> Value {
        let schema = self.resolve(schema);
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|other| other == name));
        let mut members = Map::new();
        for (name, property) in properties(schema) {
            if whole && depth < DEEP || is_required(name) {
                members.insert(name.clone(), self.value(name, property, whole, depth + 1));
            }
        }
        Value::Object(members)
    }

    fn value(&self, name: &str, schema: &'s Value, whole: bool, depth: usize) -> Value {
        let schema = self.resolve(schema);
        if depth > DEEP {
            return Value::Null;
        }
        for known in ["const", "default"] {
            if let Some(value) = schema.get(known) {
                return value.clone();
            }
        }
        for known in ["examples", "enum"] {
            if let Some(value) = schema.get(known).and_then(|values| values.get(0)) {
                return value.clone();
            }
        }
        for choice in ["anyOf", "oneOf", "allOf"] {
            if let Some(first) = schema.get(choice).and_then(|choices| choices.get(0)) {
                return self.value(name, first, whole, depth + 1);
            }
        }
        let kind = schema.get("type").map(|kind| kind.get(0).unwrap_or(kind)).and_then(Value::as_str);
        match kind {
            Some("object") => self.object(schema, whole, depth),
            Some("array") => {
                let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).clamp(1, 4);
                let item =
                    schema.get("items").map_or(json!("a"), |items| self.value(name, items, whole, depth + 1));
                Value::Array((0..least).map(|_| item.clone()).collect())
            }
            Some("integer") => json!(whole_number(schema)),
            Some("number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
            Some("boolean") => json!(false),
            Some("null") => Value::Null,
            Some("string") => text(name, schema),
            _ if schema.get("properties").is_some() => self.object(schema, whole, depth),
            _ => text(name, schema),
        }
    }
}

fn whole_number(schema: &Value) -> i64 {
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|bound| bound.saturating_add(1)));
    let most = bound("maximum").unwrap_or(i64::MAX);
    least.unwrap_or(1).min(most)
}

fn text(name: &str, schema: &Value) -> Value {
    let lower = name.to_ascii_lowercase();
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    let text = match format {
        "uri" | "url" | "iri" => "https://example.com/",
        "date" => "2026-01-02",
        "date-time" => "2026-01-02T03:04:05Z",
        "time" => "03:04:05Z",
        "email" => "someone@example.com",
        "uuid" => "00000000-0000-4000-8000-000000000000",
        "ipv4" => "192.0.2.1",
        _ if lower.contains("url") || lower == "uri" => "https://example.com/",
        _ if lower.contains("timezone") => "Europe/Berlin",
        _ if lower == "time" => "03:04",
        _ => "evaluation",
    };
    let length =
        |bound: &str| schema.get(bound).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
    let mut text = text.to_owned();
    if let Some(least) = length("minLength").filter(|least| *least > text.len()) {
        text += &"x".repeat(least.min(1 << 16) - text.len());
    }
    if let Some(most) = length("maxLength") {
        text = text.chars().take(most).collect();
    }
    Value::String(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_needed_where_nothing_is_said() {
        check(json!({}), &[json!({})]);
        check(json!({ "type": "object", "properties": {} }), &[json!({})]);
    }

    #[test]
    fn what_is_required_comes_first_then_everything() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": { "type": "integer", "minimum": 3 }, "b": { "type": "string", "maxLength": 4 },
                "c": { "type": "array", "items": { "type": "boolean" } }, "d": { "$ref": "#/$defs/d" },
            },
            "required": ["a"],
            "$defs": { "d": { "type": "object", "properties": { "e": { "type": "number" } }, "required": ["e"] } },
        });
        check(schema, &[json!({ "a": 3 }), json!({ "a": 3, "b": "eval", "c": [false], "d": { "e": 1 } })]);
    }

    #[test]
    fn each_choice_is_tried() {
        let schema = json!({ "properties": { "a": { "enum": ["x", "y"] } }, "required": ["a"] });
        check(schema, &[json!({ "a": "x" }), json!({ "a": "y" })]);
    }

    #[test]
    fn a_schema_that_is_made_of_itself_ends() {
        let schema =
            json!({ "type": "object", "properties": { "next": { "$ref": "#" } }, "required": ["next"] });
        assert_eq!(inputs(&schema, &Paths::default()).len(), 1);
        inputs(&json!({ "properties": { "a": { "$ref": "#/properties/a" } } }), &Paths::default());
    }

    #[test]
    fn paths_lead_to_canaries() {
        let paths = Paths { given: Some("/given".into()), hidden: Some("/hidden".into()) };
        let schema = json!({ "properties": { "path": { "type": "string" } }, "required": ["path"] });
        let made = inputs(&schema, &paths);
        let made: Vec<_> =
            made.iter().map(|input| (&input.arguments["path"], input.asks_for_hidden)).collect();
        assert_eq!(
            made,
            [(&json!("evaluation"), false), (&json!("/given"), false), (&json!("/hidden"), true)]
        );
    }

    fn check(schema: Value, expected: &[Value]) {
        let made: Vec<_> =
            inputs(&schema, &Paths::default()).into_iter().map(|input| input.arguments).collect();
        assert_eq!(made, expected);
    }
}
