//! Taking secrets out of what is recorded.

use std::borrow::Cow;

use regex_lite::{Regex, RegexBuilder};

use super::secrets::{self, Names, names};
use super::text::write_string;
use crate::wire::json::Json;

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// The most memory that one configured pattern may take once it is compiled, in bytes.
const PATTERN: usize = 1 << 20;

/// Takes out what is known as a secret by its form (keys of the well-known providers and of this gateway, JSON Web
/// Tokens, PEM blocks, credentials in URLs), by the name of the member that holds it, or by a configured pattern. What is
/// in base64, hexadecimal digits, percent signs or `\u` escapes is found as well.
///
/// **It cannot find** what has no form of its own and no telling name, what is in parts that stand apart, and what is
/// encrypted, compressed or encoded in another way, or more than twice.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    own: Vec<Regex>,
}

/// A pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no regular expression: {reason}")]
pub struct BadPattern {
    /// The pattern.
    pub pattern: String,
    /// Why not.
    pub reason: String,
}

impl Redactor {
    /// Makes one that also takes out what these regular expressions match.
    pub fn new(patterns: &[String]) -> Result<Self, BadPattern> {
        let compile = |pattern: &String| {
            let compiled = RegexBuilder::new(pattern).size_limit(PATTERN).build();
            compiled.map_err(|error| BadPattern { pattern: pattern.clone(), reason: error.to_string() })
        };
        Ok(Self { own: patterns.iter().map(compile).collect::<Result<_, _>>()? })
    }

    /// Tells whether it takes out what every one does, and nothing that is configured.
    pub(super) fn is_usual(&self) -> bool {
        self.own.is_empty()
    }

    /// Returns a text without secrets.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut spans = secrets::find(text);
        for pattern in &self.own {
            spans.extend(pattern.find_iter(text).map(|found| found.range()).filter(|span| !span.is_empty()));
        }
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut out, mut from) = (String::with_capacity(text.len()), 0);
        for span in secrets::merge(spans) {
            out.push_str(&text[from..span.start]);
            out.push_str(REDACTED);
            from = span.end;
        }
        out.push_str(&text[from..]);
        Cow::Owned(out)
    }

    /// Appends a JSON text without secrets, on one line; what is no JSON becomes a string.
    pub fn write_json(&self, out: &mut String, text: &str) {
        match Json::check(text.as_bytes()) {
            Ok(json) => self.write_value(out, json),
            Err(_) => write_string(out, &self.text(text)),
        }
    }

    fn write_value(&self, out: &mut String, json: Json<'_>) {
        if json.is_object() {
            return self.write_object(out, json);
        }
        if json.is_array() {
            let mut separator = '[';
            for element in json.elements() {
                out.push(separator);
                self.write_value(out, element);
                separator = ',';
            }
            out.push_str(if separator == '[' { "[]" } else { "]" });
            return;
        }
        // A lone surrogate has no text of its own: its escape is text.
        let own = json.as_str();
        let text = own.as_deref().unwrap_or(json.text());
        match self.text(text) {
            Cow::Borrowed(text) if own.is_none() && !text.starts_with('"') => out.push_str(text),
            text => write_string(out, &text),
        }
    }

    fn write_object(&self, out: &mut String, json: Json<'_>) {
        // `{"name": "password", "value": ...}` names its value beside it.
        let says = |name: &str, value: Json<'_>| {
            matches!(name, "name" | "key" | "header" | "field")
                && value.as_str().is_some_and(|value| names(&value) != Names::Nothing)
        };
        let is_named = json.members().any(|(name, value)| says(&name, value));
        let mut separator = '{';
        for (name, value) in json.members() {
            out.push(separator);
            write_string(out, &self.text(&name));
            out.push(':');
            let is_text = value.as_str().is_some() || value.is_object() || value.is_array();
            let is_secret = match names(&name) {
                Names::Secret => !value.is_null(),
                Names::Text => is_text || value.text().starts_with('"'),
                Names::Nothing => is_named && matches!(&*name, "value" | "values" | "content"),
            };
            if is_secret {
                write_string(out, REDACTED);
            } else {
                self.write_value(out, value);
            }
            separator = ',';
        }
        out.push_str(if separator == '{' { "{}" } else { "}" });
    }
}

#[cfg(test)]
mod tests;
