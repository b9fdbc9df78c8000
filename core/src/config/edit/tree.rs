//! What a text says, without where and how: the measure of every edit.
//!
//! **Two trees are equal where they mean the same**: a number may be spelled in another way, a text be quoted otherwise.

use crate::config::node::{Node, ScalarKind, Value};
use crate::config::value::parse_number;

/// A value and its parts, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    /// As JSON spells it, where JSON can.
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// Returns what a document says.
    pub(super) fn of(node: &Node) -> Self {
        match &node.value {
            Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::Null => Self::Null,
                ScalarKind::Bool => Self::Bool(scalar.text.eq_ignore_ascii_case("true")),
                ScalarKind::Number => {
                    Self::Number(parse_number(&scalar.text).unwrap_or_else(|| scalar.text.clone()))
                }
                ScalarKind::Text => Self::Text(scalar.text.clone()),
            },
            Value::List(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Map(entries) => {
                Self::Map(entries.iter().map(|(key, node)| (key.text.clone(), Self::of(node))).collect())
            }
        }
    }

    /// Returns what JSON says.
    pub(super) fn of_json(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(flag) => Self::Bool(*flag),
            serde_json::Value::Number(number) => Self::Number(number.to_string()),
            serde_json::Value::String(text) => Self::Text(text.clone()),
            serde_json::Value::Array(items) => Self::List(items.iter().map(Self::of_json).collect()),
            serde_json::Value::Object(members) => {
                Self::Map(members.iter().map(|(key, value)| (key.clone(), Self::of_json(value))).collect())
            }
        }
    }

    /// Returns what it says as JSON; a number that JSON cannot spell is a text.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(flag) => (*flag).into(),
            Self::Number(text) => {
                text.parse::<serde_json::Number>().map_or_else(|_| text.as_str().into(), Into::into)
            }
            Self::Text(text) => text.as_str().into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(entries) => entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect(),
        }
    }

    /// Returns the first value under a key, where this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Returns the value at a path.
    pub(super) fn at(&self, path: &[String]) -> Option<&Self> {
        path.iter().try_fold(self, |tree, key| tree.get(key))
    }

    /// Tells whether an entry can be added to it as to an empty map.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Null) || matches!(self, Self::Map(entries) if entries.is_empty())
    }

    /// Tells whether it has no parts.
    pub(super) fn is_scalar(&self) -> bool {
        match self {
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
            _ => true,
        }
    }

    /// Sets the value at a path; what is missing on the way becomes maps.
    pub(super) fn set(&mut self, path: &[String], value: Self) {
        let Some((key, rest)) = path.split_first() else {
            *self = value;
            return;
        };
        if !matches!(self, Self::Map(_)) {
            *self = Self::Map(Vec::new());
        }
        let Self::Map(entries) = self else { return };
        if let Some((_, inner)) = entries.iter_mut().find(|(name, _)| name == key) {
            return inner.set(rest, value);
        }
        let mut inner = Self::Map(Vec::new());
        inner.set(rest, value);
        entries.push((key.clone(), inner));
    }

    /// Removes the value at a path.
    pub(super) fn remove(&mut self, path: &[String]) {
        let (Self::Map(entries), Some((key, rest))) = (self, path.split_first()) else { return };
        if rest.is_empty() {
            entries.retain(|(name, _)| name != key);
        } else if let Some((_, inner)) = entries.iter_mut().find(|(name, _)| name == key) {
            inner.remove(rest);
        }
    }

    /// Puts the entries of maps into the order in which they stand in what they replace; new ones come last.
    pub(super) fn in_order_of(self, old: &Self) -> Self {
        let (Self::Map(mut entries), Self::Map(before)) = (self.clone(), old) else { return self };
        let mut ordered = Vec::new();
        for (key, old) in before {
            if let Some(index) = entries.iter().position(|(name, _)| name == key) {
                let (key, value) = entries.remove(index);
                ordered.push((key, value.in_order_of(old)));
            }
        }
        ordered.extend(entries);
        Self::Map(ordered)
    }

    /// Names what it is.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}
