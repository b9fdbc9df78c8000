//! Writes a new value in the manner of the text that it comes into.

use super::tree::Tree;
use crate::config::emit::{is_plain, quoted_but, scalar};

/// How long a line may become before a value goes into lines of its own.
const WIDTH: usize = 100;

/// Writes what comes after a key's colon, in lines: ` value`, or a line feed and indented lines. Lines end in `\n`;
/// the last has no end.
pub(super) fn in_lines(value: &Tree, column: usize, step: usize, prefers: Prefers) -> String {
    let inner = column + step;
    match value {
        _ if value.is_scalar() => format!(" {}", text_in_lines(value, inner)),
        Tree::List(items) => {
            let short = on_one_line(value);
            let is_flat = items.iter().all(Tree::is_scalar) && column + short.len() + 24 <= WIDTH;
            if prefers != Prefers::Lines && is_flat && !has_lines(value) {
                return format!(" {short}");
            }
            format!("\n{}", list_lines(items, inner, step))
        }
        Tree::Map(entries) => {
            let short = on_one_line(value);
            if prefers == Prefers::OneLine && column + short.len() + 24 <= WIDTH && !has_lines(value) {
                return format!(" {short}");
            }
            format!("\n{}", map_lines(entries, inner, step))
        }
        _ => format!(" {}", on_one_line(value)),
    }
}

/// What a value is to be written as where both can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefers {
    /// Maps in lines, short lists in brackets.
    Either,
    Lines,
    OneLine,
}

fn map_lines(entries: &[(String, Tree)], column: usize, step: usize) -> String {
    let line = |(key, value): &(String, Tree)| {
        let rest = in_lines(value, column, step, Prefers::Either);
        format!("{:column$}{}:{rest}", "", scalar(key))
    };
    entries.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn list_lines(items: &[Tree], column: usize, step: usize) -> String {
    let line = |item: &Tree| {
        let text = match item {
            _ if item.is_scalar() => text_in_lines(item, column + 2),
            Tree::Map(entries) => map_lines(entries, column + 2, step).trim_start().to_owned(),
            Tree::List(items) => list_lines(items, column + 2, step).trim_start().to_owned(),
            _ => on_one_line(item),
        };
        format!("{:column$}- {text}", "")
    };
    items.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn text_in_lines(value: &Tree, column: usize) -> String {
    let Tree::Text(text) = value else { return on_one_line(value) };
    if !is_for_lines(text) {
        return quoted_or_plain(text);
    }
    let header = if text.ends_with('\n') { "|" } else { "|-" };
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    let lines =
        lines.map(|line| if line.is_empty() { String::new() } else { format!("{:column$}{line}", "") });
    format!("{header}\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// Tells whether a text reads best in lines of its own, and means the same there.
fn is_for_lines(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.starts_with([' ', '\n'])
        && !body.ends_with('\n')
        && body.split('\n').all(|line| !line.ends_with(' ') && line.chars().all(shows))
}

fn has_lines(value: &Tree) -> bool {
    match value {
        Tree::Text(text) => is_for_lines(text),
        Tree::List(items) => items.iter().any(has_lines),
        Tree::Map(entries) => entries.iter().any(|(_, value)| has_lines(value)),
        _ => false,
    }
}

/// Writes a value of YAML on one line.
pub(super) fn on_one_line(value: &Tree) -> String {
    match value {
        Tree::Null => "null".to_owned(),
        Tree::Bool(flag) => flag.to_string(),
        Tree::Number(number) => number.clone(),
        Tree::Text(text) => quoted_or_plain(text),
        Tree::List(items) => format!("[{}]", items.iter().map(on_one_line).collect::<Vec<_>>().join(", ")),
        Tree::Map(entries) if entries.is_empty() => "{}".to_owned(),
        Tree::Map(entries) => {
            let entry = |(key, value): &(String, Tree)| format!("{}: {}", scalar(key), on_one_line(value));
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Writes a text in single quotes, where it can stand there.
pub(super) fn in_single_quotes(text: &str) -> Option<String> {
    text.chars().all(|c| shows(c) && c != '\'').then(|| format!("'{text}'"))
}

/// Tells whether a character of a text is seen as itself: letters of all scripts and common punctuation.
fn shows(c: char) -> bool {
    is_plain(c)
        || matches!(c, '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{37e}' | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}')
}

fn quoted_or_plain(text: &str) -> String {
    let plain = scalar(text);
    if !plain.starts_with('"') {
        return plain;
    }
    quoted_but(text, shows)
}

/// Writes a value of JSON: over lines that are indented from `column` on, or on one line where there is no column.
pub(super) fn json(value: &Tree, column: Option<(usize, usize)>) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let (parts, open, close): (Vec<String>, _, _) = match value {
        Tree::Null => return "null".to_owned(),
        Tree::Bool(flag) => return flag.to_string(),
        Tree::Number(number) => return number.clone(),
        Tree::Text(value) => return text(value),
        Tree::List(items) => {
            let inner = column.map(|(column, step)| (column + step, step));
            let is_flat = items.iter().all(Tree::is_scalar);
            let short = items.iter().map(|item| json(item, None)).collect::<Vec<_>>();
            if is_flat
                && short.iter().map(String::len).sum::<usize>() + column.map_or(0, |(at, _)| at) <= WIDTH
            {
                return format!("[{}]", short.join(", "));
            }
            (items.iter().map(|item| json(item, inner)).collect(), '[', ']')
        }
        Tree::Map(entries) => {
            let inner = column.map(|(column, step)| (column + step, step));
            let entry = |(key, value): &(String, Tree)| format!("{}: {}", text(key), json(value, inner));
            (entries.iter().map(entry).collect(), '{', '}')
        }
    };
    match column {
        _ if parts.is_empty() => format!("{open}{close}"),
        None if open == '{' => format!("{{ {} }}", parts.join(", ")),
        None => format!("{open}{}{close}", parts.join(", ")),
        Some((column, step)) => {
            let inner = column + step;
            let separator = format!(",\n{:inner$}", "");
            format!("{open}\n{:inner$}{}\n{:column$}{close}", "", parts.join(&separator), "")
        }
    }
}
