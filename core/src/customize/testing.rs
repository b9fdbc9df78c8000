//! Variants for tests, from arguments as JSON.

use serde_json::Value;

use super::Recipe;
use crate::config::{Argument, Fixed, ItemKind, Narrowing, Origin, Variant, Wording};
use crate::names::ServerName;
use crate::sorted::SortedMap;

/// Returns a tool of this schema.
pub(super) fn tool(schema: &str) -> String {
    format!(r#"{{"name":"original","inputSchema":{schema}}}"#)
}

/// Returns a variant of the tool `original` that changes arguments.
pub(super) fn variant(arguments: &str) -> Variant {
    let arguments: SortedMap<String, Value> = serde_json::from_str(arguments).unwrap();
    Variant {
        server: ServerName::parse("s").unwrap(),
        name: "variant".into(),
        kind: ItemKind::Tool,
        from: "original".into(),
        replaces: false,
        title: None,
        description: None,
        arguments: arguments.iter().map(|(name, said)| (name.clone(), argument(said))).collect(),
        result: Narrowing::default(),
        fixed: Fixed::Gone,
        origin: Origin { field: "variants.s.variant".into(), ..Origin::default() },
    }
}

/// Returns the same of the prompt `original`.
pub(super) fn prompt(arguments: &str) -> Variant {
    Variant { kind: ItemKind::Prompt, ..variant(arguments) }
}

/// Compiles variants of which each is made from the one before.
pub(super) fn recipe(arguments: &[&str]) -> Recipe {
    let mut recipe = None;
    for arguments in arguments {
        recipe = Some(Recipe::compile(&variant(arguments), recipe.as_ref()).unwrap());
    }
    recipe.unwrap()
}

fn argument(said: &Value) -> Argument {
    let text = |key: &str| said.get(key).map(|value| value.as_str().unwrap().to_owned());
    let texts =
        |value: &Value| value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect();
    Argument {
        fix: text("fix"),
        default: text("default"),
        rename: text("rename"),
        describe: text("append").map(Wording::Append).or(text("rewrite").map(Wording::Rewrite)),
        one_of: said.get("one_of").map(texts),
        pattern: text("pattern"),
        minimum: said.get("minimum").and_then(Value::as_f64),
        maximum: said.get("maximum").and_then(Value::as_f64),
    }
}
