//! Entries in braces: all of JSON, and what YAML writes as JSON does.

use super::spot::{Spot, find};
use super::text::{Found, Splice, Text};
use super::tree::Tree;
use super::write;
use crate::config::emit::scalar;
use crate::config::node::Syntax;

/// Ways to replace an entry's value.
pub(super) fn replace(text: &Text, found: &Found<'_>, value: &Tree) -> Vec<Vec<Splice>> {
    let column = text.indent(found.key.start);
    let new = match text.syntax {
        Syntax::Json => {
            write::json(value, column.map(|column| (column, text.step()))).replace('\n', text.line_end())
        }
        Syntax::Yaml => text.inline(Some(found.value), value),
    };
    let (start, end) = (found.value.start, found.value.end);
    match text.after_colon(found.key) {
        Some(colon) if start >= end || start < colon => vec![vec![(colon, colon, format!(" {new}"))]],
        None if start >= end => vec![vec![(found.key.end, found.key.end, format!(": {new}"))]],
        _ => vec![vec![(start, end, new)]],
    }
}

/// Ways to add an entry at the end of a map.
pub(super) fn insert(text: &Text, map: &Spot, key: &str, value: &Tree) -> Vec<Vec<Splice>> {
    let Some((last_key, last)) = map.entries().last() else { return vec![first(text, map, key, value)] };
    let end = last.end.max(last_key.end);
    let close = map.end.saturating_sub(1);
    let comma = find(&text.body, end, close, text.syntax, ',');
    let on_one_line = |entry: &str| match comma {
        Some(comma) => vec![(comma + 1, comma + 1, format!(" {entry},"))],
        None => vec![(end, end, format!(", {entry}"))],
    };
    let mut ways = Vec::new();
    if let Some(indent) = text.indent(last_key.start) {
        let entry = entry(text, key, value, Some(indent));
        let line = format!("{}{:indent$}{entry}", text.line_end(), "");
        let stop = text.line_stop(comma.unwrap_or(end));
        let stop = if stop < close { stop } else { comma.map_or(end, |comma| comma + 1) };
        ways.push(match comma {
            Some(_) => vec![(stop, stop, format!("{line},"))],
            None if stop == end => vec![(end, end, format!(",{line}"))],
            None => vec![(end, end, ",".to_owned()), (stop, stop, line)],
        });
        ways.push(on_one_line(&entry));
    }
    ways.push(on_one_line(&entry(text, key, value, None)));
    ways
}

/// Puts the first entry between the braces.
fn first(text: &Text, map: &Spot, key: &str, value: &Tree) -> Vec<Splice> {
    let (open, close) = (map.start + 1, map.end.saturating_sub(1));
    let inside = text.body.get(open..close).unwrap_or_default();
    let start = text.line_start(map.start);
    let line = &text.body[start..];
    let indent = line.len() - line.trim_start_matches(' ').len();
    let in_lines =
        text.syntax == Syntax::Json && (inside.contains('\n') || text.body[..map.start].contains('\n'));
    if !in_lines {
        let entry = entry(text, key, value, None);
        return if inside.trim().is_empty() {
            vec![(open, close, format!(" {entry} "))]
        } else {
            vec![(open, open, format!(" {entry}"))]
        };
    }
    let inner = indent + text.step();
    let (entry, end) = (entry(text, key, value, Some(inner)), text.line_end());
    if inside.trim().is_empty() {
        vec![(open, close, format!("{end}{:inner$}{entry}{end}{:indent$}", "", ""))]
    } else {
        vec![(open, open, format!("{end}{:inner$}{entry}", ""))]
    }
}

fn entry(text: &Text, key: &str, value: &Tree, column: Option<usize>) -> String {
    match text.syntax {
        Syntax::Json => {
            let key = serde_json::Value::from(key).to_string();
            let value = write::json(value, column.map(|column| (column, text.step())));
            format!("{key}: {value}").replace('\n', text.line_end())
        }
        Syntax::Yaml => format!("{}: {}", scalar(key), write::on_one_line(value)),
    }
}

/// Ways to remove an entry, with the comma that it needed.
pub(super) fn remove(text: &Text, found: &Found<'_>) -> Vec<Vec<Splice>> {
    let entries = found.map.entries();
    let close = found.map.end.saturating_sub(1);
    let next = entries.get(found.index + 1).map(|(key, _)| key.start);
    let before = found.index.checked_sub(1).and_then(|index| entries.get(index));
    let before = before.map(|(key, value)| value.end.max(key.end));
    let (start, end) = (found.key.start, found.value.end.max(found.key.end));
    let comma = find(&text.body, end, next.unwrap_or(close), text.syntax, ',');
    let stop = comma.map_or(end, |comma| comma + 1);
    // The comma before goes where none would follow it any more.
    let dangling = before.filter(|_| next.is_none() && comma.is_none());
    let dangling = dangling.and_then(|before| find(&text.body, before, start, text.syntax, ','));
    let dangling: Vec<Splice> = dangling.map(|at| (at, at + 1, String::new())).into_iter().collect();
    let line = text.next_line(stop);
    let mut ways = Vec::new();
    if text.indent(start).is_some() && line <= next.map_or(close, |next| text.line_start(next)) {
        let mut way = dangling.clone();
        way.push((text.line_start(start), line, String::new()));
        ways.push(way);
    }
    match (next, before) {
        (Some(next), _) => ways.push(vec![(start, next, String::new())]),
        (None, Some(before)) => {
            if text.body[before..start].trim() == "," {
                ways.push(vec![(before, end, String::new())]);
            }
            let mut way = dangling;
            way.push((start, stop, String::new()));
            ways.push(way);
        }
        (None, None) => {
            let (open, inside) = (found.map.start + 1, text.body.get(found.map.start + 1..close));
            let is_alone = inside.is_some_and(|inside| {
                inside.trim().trim_end_matches(',').trim() == text.body[start..end].trim()
            });
            ways.push(if is_alone {
                vec![(open, close, String::new())]
            } else {
                vec![(start, stop, String::new())]
            });
        }
    }
    ways
}
