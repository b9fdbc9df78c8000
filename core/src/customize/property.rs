//! The schema of one argument: described, with a default, and restricted further.

use std::borrow::Cow;

use super::rule::number;
use super::value::{Number, same};
use super::worded;
use crate::config::{Argument, Wording};
use crate::wire::json::{Json, quote};
use crate::wire::message::ObjectWriter;

/// The members of a schema in their order, as they are changed.
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Members<'a> {
    /// Takes the members of an object; none of anything else.
    pub(super) fn of(schema: Json<'a>) -> Result<Self, String> {
        let members = schema.object().map_err(|error| format!("is made from a schema that has a {error}"))?;
        Ok(Self(members.iter().map(|(key, value)| (key.clone(), value.text().into())).collect()))
    }

    /// Returns a member.
    pub(super) fn get(&self, key: &str) -> Option<Json<'_>> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| Json::known(value))
    }

    /// Sets a member where it stands, or adds it at the end.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Cow<'a, str>>) {
        match self.0.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value.into(),
            None => self.0.push((key.into(), value.into())),
        }
    }

    /// Removes a member.
    pub(super) fn remove(&mut self, key: &str) {
        self.0.retain(|(k, _)| k != key);
    }

    /// Adds elements to a member that is a list, or to be one.
    pub(super) fn extend(&mut self, key: &'static str, added: &[String]) {
        if added.is_empty() {
            return;
        }
        let before = self.get(key).into_iter().flat_map(Json::elements).map(|value| value.text().to_owned());
        let all: Vec<_> = before.chain(added.iter().cloned()).collect();
        self.set(key, format!("[{}]", all.join(",")));
    }

    /// Returns the object's text.
    pub(super) fn finish(self) -> String {
        let mut out = ObjectWriter::default();
        for (key, value) in &self.0 {
            out.member(key, value);
        }
        out.finish()
    }
}

/// Returns the description of an argument, where it is another one than before.
pub(super) fn description(original: Option<&str>, said: &Argument) -> Option<String> {
    let described = said.describe.as_ref().map(|wording| worded(original, wording));
    let Some(fixed) = &said.fix else { return described };
    let value = Json::known(fixed).as_str().unwrap_or_else(|| fixed.as_str().into());
    let note = format!("Note: This parameter is ignored - it is hardcoded to be {value}. Leave it out.");
    Some(worded(described.as_deref().or(original), &Wording::Append(note)))
}

/// Returns the schema of an argument as a variant shows it.
pub(super) fn shown(schema: Json<'_>, said: &Argument) -> Result<String, String> {
    if schema.text() == "false" {
        return Ok("false".into());
    }
    let mut members = Members::of(schema)?;
    let original = members.get("description").and_then(Json::as_str).map(Cow::into_owned);
    if let Some(description) = description(original.as_deref(), said) {
        members.set("description", quote(&description));
    }
    if said.fix.is_some() {
        return Ok(members.finish());
    }
    if let Some(default) = &said.default {
        members.set("default", default.clone());
    }
    if let Some(values) = &said.one_of {
        one_of(&mut members, values)?;
    }
    if let Some(pattern) = &said.pattern {
        of_types(&mut members, &["string"])?;
        if members.get("pattern").is_some() {
            members.extend("allOf", &[format!("{{\"pattern\":{}}}", quote(pattern))]);
        } else {
            members.set("pattern", quote(pattern));
        }
    }
    if said.minimum.is_some() || said.maximum.is_some() {
        of_types(&mut members, &["number", "integer"])?;
    }
    if let Some(bound) = said.minimum {
        narrower(&mut members, "minimum", number(bound)?, |new, old| new > old);
    }
    if let Some(bound) = said.maximum {
        narrower(&mut members, "maximum", number(bound)?, |new, old| new < old);
    }
    Ok(members.finish())
}

/// Leaves of the values that an argument may have those that are listed.
fn one_of(members: &mut Members<'_>, values: &[String]) -> Result<(), String> {
    let listed = |value: Json<'_>| values.iter().any(|one| same(Json::known(one), value));
    if let Some(only) = members.get("const") {
        return if listed(only) { Ok(()) } else { Err("leaves none of the values that it may have".into()) };
    }
    let left: Vec<_> = match members.get("enum") {
        Some(before) => {
            before.elements().filter(|value| listed(*value)).map(|v| v.text().to_owned()).collect()
        }
        None => values.to_vec(),
    };
    if left.is_empty() {
        return Err("leaves none of the values that it may have".into());
    }
    members.set("enum", format!("[{}]", left.join(",")));
    Ok(())
}

/// Leaves of the types that an argument may have those that are listed.
fn of_types(members: &mut Members<'_>, types: &[&str]) -> Result<(), String> {
    let allowed = |name: &Json<'_>| name.as_str().is_some_and(|name| types.contains(&name.as_ref()));
    let left: Vec<_> = match members.get("type") {
        None => types.iter().filter(|name| **name != "integer").map(|name| quote(name)).collect(),
        Some(one) if allowed(&one) => return Ok(()),
        Some(several) => several.elements().filter(allowed).map(|name| name.text().to_owned()).collect(),
    };
    match &left[..] {
        [] => Err(format!("restricts it as a {}, which it is not", types[0])),
        [one] => {
            members.set("type", one.clone());
            Ok(())
        }
        several => {
            members.set("type", format!("[{}]", several.join(",")));
            Ok(())
        }
    }
}

/// Sets a bound where it leaves less than the one before.
fn narrower(members: &mut Members<'_>, key: &'static str, bound: String, is: fn(&Number, &Number) -> bool) {
    let before = members.get(key).and_then(Number::of);
    if before.is_none_or(|before| Number::of_text(&bound).is_some_and(|new| is(&new, &before))) {
        members.set(key, bound);
    }
}
