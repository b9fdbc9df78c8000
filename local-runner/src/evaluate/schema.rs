//! What is wrong with a tool's input schema: what clients stumble over, and what a schema can do to whoever reads it.
//!
//! **Nothing outside the schema is read, and no pattern is run.** A pattern counts as slow where a group of nothing but
//! repetitions is repeated, which is how most of them become so; others are not seen.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use super::report::Severity;

/// How deep a schema may be.
const DEEP: usize = 32;
/// How large it may be, in bytes.
const LARGE: usize = 64 << 10;

/// A fault of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) severity: Severity,
    pub(super) code: &'static str,
    pub(super) what: String,
    pub(super) evidence: String,
}

/// Returns the faults of a tool's `inputSchema`.
pub(super) fn faults(schema: Option<&Value>) -> Vec<Fault> {
    let mut faults = Faults(Vec::new());
    let Some(schema) = schema else {
        faults.add(Severity::Medium, "schema-missing", "has no input schema", "");
        return faults.0;
    };
    if !schema.is_object() || schema.get("type").and_then(Value::as_str) != Some("object") {
        let said = schema.get("type").map_or("no type".to_owned(), ToString::to_string);
        faults.add(Severity::Medium, "schema-type", "has an input schema that is not an object's", &said);
    }
    let length = schema.to_string().len();
    if length > LARGE {
        faults.add(
            Severity::Low,
            "schema-large",
            "has a very large input schema",
            &format!("{length} bytes"),
        );
    }
    walk(schema, schema, "", 0, &mut faults);
    faults.0
}

struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, severity: Severity, code: &'static str, what: &str, evidence: &str) {
        // One of a kind is enough to look.
        if self.0.iter().all(|fault| fault.code != code) {
            self.0.push(Fault { severity, code, what: what.to_owned(), evidence: evidence.to_owned() });
        }
    }
}

fn walk(root: &Value, schema: &Value, at: &str, depth: usize, faults: &mut Faults) {
    if depth > DEEP {
        faults.add(
            Severity::Low,
            "schema-deep",
            "has a very deep input schema",
            &at.chars().take(80).collect::<String>(),
        );
        return;
    }
    let Some(members) = schema.as_object() else { return };
    if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
        refer(root, reference, at, faults);
    }
    if let Some(pattern) = members.get("pattern").and_then(Value::as_str).filter(|pattern| is_slow(pattern)) {
        faults.add(
            Severity::Low,
            "schema-pattern",
            "has a pattern that takes very long on some texts",
            pattern,
        );
    }
    if let Some(kind) = members.get("type") {
        let kinds = kind.as_array().map_or_else(|| vec![kind], |kinds| kinds.iter().collect());
        if let Some(other) = kinds.iter().find(|kind| !is_type(kind)) {
            faults.add(
                Severity::Low,
                "schema-invalid",
                "has an input schema with a type that there is not",
                &other.to_string(),
            );
        }
    }
    let below = |name: &str| format!("{at}/{name}");
    for name in ["properties", "$defs", "definitions", "patternProperties", "dependentSchemas"] {
        for (key, value) in members.get(name).and_then(Value::as_object).into_iter().flatten() {
            walk(root, value, &format!("{}/{key}", below(name)), depth + 1, faults);
        }
    }
    for name in ["items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"] {
        if let Some(value) = members.get(name) {
            walk(root, value, &below(name), depth + 1, faults);
        }
    }
    for name in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        for value in members.get(name).and_then(Value::as_array).into_iter().flatten() {
            walk(root, value, &below(name), depth + 1, faults);
        }
    }
}

fn is_type(kind: &Value) -> bool {
    let types = ["object", "array", "string", "number", "integer", "boolean", "null"];
    kind.as_str().is_some_and(|kind| types.contains(&kind))
}

/// Follows a reference through others; one that comes back to itself never leads to a schema.
fn refer(root: &Value, reference: &str, at: &str, faults: &mut Faults) {
    let (mut seen, mut next) = (Vec::new(), reference);
    loop {
        let Some(pointer) = next.strip_prefix('#') else {
            faults.add(
                Severity::Medium,
                "schema-remote",
                "has an input schema that refers to somewhere else",
                next,
            );
            return;
        };
        if seen.contains(&next) {
            let evidence = format!("{at}: {reference}");
            faults.add(
                Severity::Medium,
                "schema-loop",
                "has an input schema that refers to itself without end",
                &evidence,
            );
            return;
        }
        seen.push(next);
        let found =
            if pointer.is_empty() || pointer.starts_with('/') { root.pointer(pointer) } else { Some(root) };
        let Some(found) = found else {
            faults.add(
                Severity::Low,
                "schema-invalid",
                "has an input schema that refers to what is not there",
                next,
            );
            return;
        };
        match found.get("$ref").and_then(Value::as_str) {
            Some(further) => next = further,
            None => return,
        }
    }
}

/// A group of a pattern.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    /// Something in it is repeated without end.
    repeats: bool,
    /// Something in it is not: that tells one round from the next.
    separates: bool,
}

/// Tells whether a pattern repeats a group of nothing but what is repeated.
fn is_slow(pattern: &str) -> bool {
    // The first is the whole.
    let mut groups = vec![Group::default()];
    let mut characters = pattern.chars().peekable();
    while let Some(c) = characters.next() {
        let closed = match c {
            '(' => {
                if characters.next_if_eq(&'?').is_some() {
                    characters.next();
                }
                groups.push(Group::default());
                continue;
            }
            '^' | '$' | '|' => continue,
            ')' if groups.len() > 1 => groups.pop().unwrap_or_default(),
            '\\' => {
                characters.next();
                Group::default()
            }
            '[' => {
                skip_class(&mut characters);
                Group::default()
            }
            _ => Group::default(),
        };
        let repetition = repetition(&mut characters);
        if repetition == Repetition::Endless && closed.repeats && !closed.separates {
            return true;
        }
        let Some(group) = groups.last_mut() else { continue };
        group.repeats |= repetition == Repetition::Endless;
        group.separates |= repetition == Repetition::None && (c != ')' || closed.separates);
    }
    false
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repetition {
    None,
    Bounded,
    Endless,
}

/// Takes the sign after something that says how often it may come.
fn repetition(characters: &mut Peekable<Chars<'_>>) -> Repetition {
    match characters.next_if(|c| "*+?{".contains(*c)) {
        None => Repetition::None,
        Some('?') => Repetition::Bounded,
        Some('{') => {
            let bounds: String = characters.by_ref().take_while(|c| *c != '}').collect();
            if bounds.ends_with(',') { Repetition::Endless } else { Repetition::Bounded }
        }
        Some(_) => Repetition::Endless,
    }
}

/// Goes on behind a class of characters.
fn skip_class(characters: &mut Peekable<Chars<'_>>) {
    characters.next_if_eq(&'^');
    characters.next_if_eq(&']');
    while let Some(c) = characters.next() {
        match c {
            '\\' => drop(characters.next()),
            ']' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_usual_schema_has_no_fault() {
        check(json!({ "type": "object" }), &[]);
        check(
            json!({ "type": "object", "properties": { "a": { "type": ["string", "null"], "pattern": "^[a-z]+$" } } }),
            &[],
        );
        // A tree is made of itself.
        let tree = json!({ "type": "object", "properties": { "children": { "type": "array", "items": { "$ref": "#" } } } });
        check(tree, &[]);
    }

    #[test]
    fn finds_what_clients_stumble_over() {
        assert_eq!(faults(None)[0].code, "schema-missing");
        check(json!({ "type": "string" }), &["schema-type"]);
        check(json!({}), &["schema-type"]);
        check(json!({ "type": "object", "properties": { "a": { "type": "text" } } }), &["schema-invalid"]);
        check(
            json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/none" } } }),
            &["schema-invalid"],
        );
    }

    #[test]
    fn finds_references_that_loop_or_lead_away() {
        let refer = |to: &str| json!({ "type": "object", "properties": { "a": { "$ref": to } }, "$defs": { "b": { "$ref": "#/$defs/c" }, "c": { "$ref": "#/$defs/b" } } });
        check(refer("#/$defs/b"), &["schema-loop"]);
        let away =
            json!({ "type": "object", "properties": { "a": { "$ref": "https://example.com/a.json" } } });
        check(away, &["schema-remote"]);
    }

    #[test]
    fn finds_what_is_too_deep() {
        let deep = (0..40).fold(
            json!({ "type": "string" }),
            |inner, _| json!({ "type": "object", "properties": { "a": inner } }),
        );
        check(deep, &["schema-deep"]);
    }

    #[test]
    fn tells_slow_patterns() {
        for slow in ["^(a+)+$", "(a*)*", "([a-z]+)*x", "(x+x+)+y", "((ab)*)+", "(?:a{2,})+"] {
            assert!(is_slow(slow), "{slow}");
        }
        for quick in [
            "^a+$",
            "(ab)+",
            "[(a+)+]",
            r"\(a+\)+",
            "(a{2})+",
            "^[a-z]+(-[a-z]{1,3}){0,2}$",
            "a+b*",
            "(",
            "^[a-z0-9]+(?:-[a-z0-9]+)*$",
            "((ab)*c)+",
        ] {
            assert!(!is_slow(quick), "{quick}");
        }
    }

    fn check(schema: Value, expected: &[&str]) {
        let codes: Vec<_> = faults(Some(&schema)).iter().map(|fault| fault.code).collect();
        assert_eq!(codes, expected, "{schema}");
    }
}
