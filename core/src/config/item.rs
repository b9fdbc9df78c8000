//! Typed reading of [`Node`]s: every value is read through its path, and every mismatch becomes a problem there.
//!
//! **A key that nobody asked for never goes unnoticed**: [`Fields::finish`] and [`Fields::rest`] see to it.

use super::node::{Key, Node, ScalarKind, Value};
use super::problem::{Place, Report, quote};
use crate::sorted::SortedMap;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A node and the path that leads to it.
#[derive(Debug, Clone)]
pub(super) struct Item<'n> {
    pub(super) node: &'n Node,
    field: String,
}

impl<'n> Item<'n> {
    /// Starts at a document's root.
    pub(super) fn root(node: &'n Node) -> Self {
        Self { node, field: String::new() }
    }

    pub(super) fn place(&self) -> Place {
        Place { at: self.node.at, field: self.field.clone() }
    }

    /// Says that the value is not what was `expected`, without repeating it.
    pub(super) fn mismatch(&self, expected: &str, report: &mut Report<'_>) {
        report.error(&self.place(), format!("expected {expected}, found {}", self.node.kind()));
    }

    /// Says that the value is not what was `expected`, and repeats it; for values that are never secret.
    pub(super) fn mismatch_shown(&self, expected: &str, report: &mut Report<'_>) {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => {
                report.error(&self.place(), format!("expected {expected}, found {}", quote(&scalar.text)));
            }
            _ => self.mismatch(expected, report),
        }
    }

    /// Reads a text. Numbers and booleans count as the text that they are written as.
    pub(super) fn text(&self, report: &mut Report<'_>) -> Option<At<String>> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => {
                if scalar.text.contains('\0') {
                    report.error(&self.place(), "the text contains a NUL character");
                    return None;
                }
                Some(At { value: scalar.text.clone(), place: self.place() })
            }
            _ => {
                self.mismatch("a text", report);
                None
            }
        }
    }

    /// Reads a text that says something.
    pub(super) fn filled_text(&self, expected: &str, report: &mut Report<'_>) -> Option<At<String>> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null && !scalar.text.is_empty() => {
                self.text(report)
            }
            Value::Scalar(scalar) if scalar.kind == ScalarKind::Text => {
                report.error(&self.place(), format!("expected {expected}, found an empty text"));
                None
            }
            _ => {
                self.mismatch(expected, report);
                None
            }
        }
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&self, report: &mut Report<'_>) -> Option<At<bool>> {
        let value = match &self.node.value {
            Value::Scalar(scalar) if scalar.kind == ScalarKind::Bool => {
                Some(scalar.text.eq_ignore_ascii_case("true"))
            }
            _ => {
                self.mismatch_shown("true or false", report);
                None
            }
        };
        value.map(|value| At { value, place: self.place() })
    }

    /// Reads what `parse` makes of a scalar that is no secret.
    pub(super) fn parsed<T>(
        &self,
        expected: &str,
        report: &mut Report<'_>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<At<T>> {
        let value = match &self.node.value {
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => parse(&scalar.text),
            _ => None,
        };
        if value.is_none() {
            self.mismatch_shown(expected, report);
        }
        value.map(|value| At { value, place: self.place() })
    }

    /// Reads a list of texts.
    pub(super) fn texts(&self, report: &mut Report<'_>) -> Option<Vec<At<String>>> {
        let items = self.list("a list of texts", report)?;
        Some(items.iter().filter_map(|item| item.text(report)).collect())
    }

    /// Opens a list.
    pub(super) fn list(&self, expected: &str, report: &mut Report<'_>) -> Option<Vec<Item<'n>>> {
        let items = self.listed();
        if items.is_none() {
            self.mismatch(expected, report);
        }
        items
    }

    /// Opens a list; a value that is none counts as a list of it alone.
    pub(super) fn one_or_several(&self) -> Vec<Item<'n>> {
        self.listed().unwrap_or_else(|| vec![self.clone()])
    }

    fn listed(&self) -> Option<Vec<Item<'n>>> {
        let Value::List(nodes) = &self.node.value else { return None };
        let items = nodes.iter().enumerate();
        Some(items.map(|(index, node)| Item { node, field: format!("{}[{index}]", self.field) }).collect())
    }

    /// Reads a map from names to texts; the names stand where their keys do.
    pub(super) fn pairs(&self, report: &mut Report<'_>) -> Option<Vec<(At<String>, At<String>)>> {
        let fields = self.fields(report)?;
        let entries = fields.rest().into_iter();
        Some(entries.filter_map(|(name, item)| Some((name, item.text(report)?))).collect())
    }

    /// Opens a map, and reports every key that stands there twice.
    pub(super) fn fields(&self, report: &mut Report<'_>) -> Option<Fields<'n>> {
        let Value::Map(entries) = &self.node.value else {
            self.mismatch("a map", report);
            return None;
        };
        self.report_duplicates(entries, report);
        Some(Fields { entries: self.items(entries), asked: Vec::new() })
    }

    /// Opens a map whose keys are names, and leaves it to the caller to compare them.
    pub(super) fn entries(&self, report: &mut Report<'_>) -> Vec<(At<String>, Item<'n>)> {
        let Value::Map(entries) = &self.node.value else {
            self.mismatch("a map", report);
            return Vec::new();
        };
        Fields { entries: self.items(entries), asked: Vec::new() }.rest()
    }

    fn items(&self, entries: &'n [(Key, Node)]) -> Vec<(&'n Key, Item<'n>)> {
        entries.iter().map(|(key, node)| (key, Item { node, field: self.path_to(key) })).collect()
    }

    fn report_duplicates(&self, entries: &[(Key, Node)], report: &mut Report<'_>) {
        let mut seen = SortedMap::new();
        for (key, _) in entries {
            if let Some(first) = seen.insert(&key.text, key.at.line) {
                let place = Place { at: key.at, field: self.path_to(key) };
                let lines = format!("on line {first} and again on line {}", key.at.line);
                report.error(&place, format!("the key {} stands here twice, {lines}", quote(&key.text)));
                report.hint("keep one of them");
            }
        }
    }

    fn path_to(&self, key: &Key) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let step = if !key.text.is_empty() && key.text.len() <= 64 && key.text.chars().all(plain) {
            key.text.clone()
        } else {
            quote(&key.text)
        };
        if self.field.is_empty() { step } else { format!("{}.{step}", self.field) }
    }
}

/// The entries of a map that nobody has asked for yet.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    entries: Vec<(&'n Key, Item<'n>)>,
    asked: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Takes the entry with this key; one that says nothing (`key:`) counts as absent.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Item<'n>> {
        self.take_even_null(key).filter(|item| !item.node.is_null())
    }

    /// Takes the entry with this key, even one that says nothing: where that must not pass for absent.
    pub(super) fn take_even_null(&mut self, key: &'static str) -> Option<Item<'n>> {
        self.asked.push(key);
        let mut found = None;
        self.entries.retain(|(name, item)| {
            let matches = name.text == key;
            if matches && found.is_none() {
                found = Some(item.clone());
            }
            !matches
        });
        found
    }

    /// Returns where the keys of the entries that are left stand.
    pub(super) fn places(&self) -> Vec<Place> {
        let place = |(key, item): &(&Key, Item<'_>)| Place { at: key.at, field: item.field.clone() };
        self.entries.iter().map(place).collect()
    }

    /// Returns the entries that are left, with their names.
    pub(super) fn rest(self) -> Vec<(At<String>, Item<'n>)> {
        let named = |(key, item): (&'n Key, Item<'n>)| {
            let place = Place { at: key.at, field: item.field.clone() };
            (At { value: key.text.clone(), place }, item)
        };
        self.entries.into_iter().map(named).collect()
    }

    /// Ignores the entries that are left, and says so.
    pub(super) fn warn_ignored(self, report: &mut Report<'_>) {
        for (name, _) in self.rest() {
            let shown = quote(&name.value);
            report.warn(&name.place, format!("the key {shown} has no meaning here and is ignored"));
        }
    }

    /// Refuses the entries that are left.
    pub(super) fn finish(self, report: &mut Report<'_>) {
        let asked = self.asked.clone();
        for (name, _) in self.rest() {
            report.error(
                &name.place,
                format!("unknown key {}; known: {}", quote(&name.value), asked.join(", ")),
            );
            if let Some(near) = nearest(&name.value, &asked) {
                report.hint(format!("did you mean `{near}`?"));
            }
        }
    }
}

/// Returns the known word that `word` is most likely a misspelling of.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    let distances = known.iter().map(|candidate| (distance(&word, &plain(candidate)), *candidate));
    let (edits, candidate) = distances.min()?;
    (edits <= 2 && edits * 2 < word.chars().count().max(2)).then_some(candidate)
}

/// Counts the insertions, deletions and substitutions between two words.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, char_from) in from.chars().enumerate() {
        let mut diagonal = index;
        row[0] = index + 1;
        for (column, char_to) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(char_from != *char_to);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_close() {
        let known = ["command", "timeout", "url", "env"];
        assert_eq!(nearest("comand", &known), Some("command"));
        assert_eq!(nearest("Time-Out", &known), Some("timeout"));
        assert_eq!(nearest("URL", &known), Some("url"));
        assert_eq!(nearest("x", &known), None);
        assert_eq!(nearest("authorization", &known), None);
    }
}
