//! A document as a tree in which every value knows where it stands, whatever syntax it was written in.
//!
//! **Reading is bounded**: in size, in depth, and in what aliases may expand to.

use super::{Source, json, yaml};

/// The longest text that is read, in bytes.
const TEXT_LIMIT: usize = 1 << 20;

/// The deepest nesting that is read.
pub(super) const DEPTH_LIMIT: usize = 64;

/// A place in a text: line and column in characters, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Default for Position {
    fn default() -> Self {
        Self { line: 1, column: 1 }
    }
}

impl Position {
    /// Makes a position from counts that start at 0.
    pub(super) fn from_zero(line: usize, column: usize) -> Self {
        let count = |zero_based: usize| u32::try_from(zero_based).unwrap_or(u32::MAX).saturating_add(1);
        Self { line: count(line), column: count(column) }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    /// Entries in the order of the file; the same key may stand there twice.
    Map(Vec<(Key, Node)>),
}

/// A value without parts, with its text as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) kind: ScalarKind,
}

/// What a scalar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScalarKind {
    Null,
    Bool,
    Number,
    Text,
}

/// The key of a map's entry.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) at: Position,
}

impl Node {
    /// Returns the first entry with this key, where the node is a map that has one.
    pub(super) fn entry(&self, name: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }

    /// Returns whether the node is an explicit nothing.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind == ScalarKind::Null)
    }

    /// Names what the node is, without its value.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::Null => "nothing",
                ScalarKind::Bool => "a boolean",
                ScalarKind::Number => "a number",
                ScalarKind::Text => "a text",
            },
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// JSON, with comments and trailing commas.
    Json,
    /// YAML 1.2, core schema.
    Yaml,
}

/// Why a text is no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) at: Position,
    pub(super) message: String,
}

/// Reads a document in the syntax that its name says, or else its first character.
pub(super) fn read(source: &Source) -> Result<(Syntax, Node), SyntaxError> {
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let syntax = syntax_of(&source.path, text);
    Ok((syntax, read_as(text, syntax)?))
}

/// Reads a text, which has no byte order mark, in a syntax.
pub(super) fn read_as(text: &str, syntax: Syntax) -> Result<Node, SyntaxError> {
    if text.len() > TEXT_LIMIT {
        let message = format!("the file has {} bytes; at most {TEXT_LIMIT} are read", text.len());
        return Err(SyntaxError { at: Position::default(), message });
    }
    match syntax {
        Syntax::Json => json::read(text),
        Syntax::Yaml => yaml::read(text),
    }
}

fn syntax_of(path: &str, text: &str) -> Syntax {
    let extension = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "json" | "jsonc" => Syntax::Json,
        "yaml" | "yml" => Syntax::Yaml,
        _ if text.trim_start().starts_with(['{', '/']) => Syntax::Json,
        _ => Syntax::Yaml,
    }
}
