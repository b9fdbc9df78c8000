//! The notation in which bodies and answers are written down, and the JSON Schema that it stands for.
//!
//! `string`, `integer`, `number`, `boolean`, `null`, `time` (RFC 3339) and `any` are what they say; `'word'` is that word; a name
//! with a capital is a schema of that name; `{a: T, b?: T}` is an object with exactly these members, of which `b` may be
//! missing, and with `*: T` may have any others that are `T`; `T[]` is a list, `T|U` either.

use serde_json::{Map, Value, json};

/// Returns the JSON Schema that a notation stands for, or where it is none.
pub(super) fn schema(text: &str) -> Result<Value, String> {
    let mut reading = Reading { rest: text };
    let schema = reading.either()?;
    reading.blank();
    if reading.rest.is_empty() { Ok(schema) } else { Err(format!("unexpected {:?}", reading.rest)) }
}

struct Reading<'t> {
    rest: &'t str,
}

impl<'t> Reading<'t> {
    fn blank(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, what: &str) -> bool {
        self.blank();
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, what: &str) -> Result<(), String> {
        if self.take(what) { Ok(()) } else { Err(format!("expected {what:?} at {:?}", self.rest)) }
    }

    fn name(&mut self) -> Result<&'t str, String> {
        self.blank();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if name.is_empty() { Err(format!("expected a name at {rest:?}")) } else { Ok(name) }
    }

    fn either(&mut self) -> Result<Value, String> {
        let mut all = vec![self.list()?];
        while self.take("|") {
            all.push(self.list()?);
        }
        let word = |one: &Value| one.get("const").cloned();
        match (all.len(), all.iter().map(word).collect::<Option<Vec<_>>>()) {
            (1, _) => Ok(all.remove(0)),
            (_, Some(words)) => Ok(json!({ "enum": words })),
            (_, None) => Ok(json!({ "anyOf": all })),
        }
    }

    fn list(&mut self) -> Result<Value, String> {
        let mut one = self.one()?;
        while self.take("[]") {
            one = json!({ "type": "array", "items": one });
        }
        Ok(one)
    }

    fn one(&mut self) -> Result<Value, String> {
        if self.take("{") {
            return self.object();
        }
        if self.take("'") {
            let (word, rest) = self.rest.split_once('\'').ok_or("a word has no end")?;
            self.rest = rest;
            return Ok(json!({ "const": word }));
        }
        Ok(match self.name()? {
            "any" => json!({}),
            "time" => json!({ "type": "string", "format": "date-time" }),
            kind @ ("string" | "integer" | "number" | "boolean" | "null") => json!({ "type": kind }),
            name if name.starts_with(|c: char| c.is_ascii_uppercase()) => {
                json!({ "$ref": format!("#/components/schemas/{name}") })
            }
            other => return Err(format!("unknown kind {other:?}")),
        })
    }

    fn object(&mut self) -> Result<Value, String> {
        let (mut members, mut required, mut others) = (Map::new(), Vec::new(), json!(false));
        while !self.take("}") {
            if self.take("*") {
                self.expect(":")?;
                others = self.either()?;
            } else {
                let name = self.name()?;
                if !self.take("?") {
                    required.push(name);
                }
                self.expect(":")?;
                members.insert(name.to_owned(), self.either()?);
            }
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(
            json!({ "type": "object", "properties": members, "required": required, "additionalProperties": others }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &Value) {
        assert_eq!(schema(text).as_ref(), Ok(expected));
    }

    #[test]
    fn schemas_are_read() {
        check("string", &json!({ "type": "string" }));
        check("'a'|'b'", &json!({ "enum": ["a", "b"] }));
        let keys = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Key" } });
        check("Key[]|null", &json!({ "anyOf": [keys, { "type": "null" }] }));
        let members = json!({ "a": { "type": "string", "format": "date-time" }, "b": {} });
        let expected = json!({
            "type": "object", "properties": members, "required": ["a"], "additionalProperties": { "type": "integer" },
        });
        check("{a: time, b?: any, *: integer}", &expected);
    }

    #[test]
    fn what_is_none_is_told() {
        let check = |text| schema(text).err().unwrap_or_default();
        insta::assert_snapshot!(check("text"), @r#"unknown kind "text""#);
        insta::assert_snapshot!(check("{a}"), @r#"expected ":" at "}""#);
        insta::assert_snapshot!(check("string string"), @r#"unexpected "string""#);
        insta::assert_snapshot!(check("'a"), @"a word has no end");
    }
}
