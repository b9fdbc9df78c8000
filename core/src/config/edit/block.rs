//! Entries of YAML that stand in lines of their own.

use super::spot::{Shape, Spot};
use super::text::{Found, Splice, Text};
use super::tree::Tree;
use super::write::{self, Prefers};
use crate::config::emit::scalar;

/// Ways to replace an entry's value. A comment behind the key, or behind a value on the same line, stays.
pub(super) fn replace(text: &Text, found: &Found<'_>, value: &Tree) -> Vec<Vec<Splice>> {
    let (Some(column), Some(colon)) = (column(text, found.map), text.after_colon(found.key)) else {
        return Vec::new();
    };
    let prefers = match &found.value.shape {
        Shape::List { flow: false, .. } => Prefers::Lines,
        Shape::Map { flow: true, .. } => Prefers::OneLine,
        _ => Prefers::Either,
    };
    let mut written = write::in_lines(value, column, text.step(), prefers);
    if !written.contains('\n') && !matches!(found.value.shape, Shape::List { flow: false, .. }) {
        written = format!(" {}", text.inline(Some(found.value), value));
    }
    // A comment that follows more deeply indented would become part of a text in lines.
    let short = format!(" {}", write::on_one_line(value));
    let (start, end) = (found.value.start.max(colon), found.value.end.max(colon));
    let is_inline = !found.value.is_block() && found.value.shape != Shape::Lines;
    let (head, tail) = written.split_once('\n').map_or((&*written, None), |(head, tail)| (head, Some(tail)));
    let tail = tail.map(|tail| lines(text, &format!("\n{tail}"))).unwrap_or_default();
    if is_inline && text.line_start(start) == text.line_start(colon) {
        if tail.is_empty() {
            return vec![vec![(colon, end, head.to_owned())]];
        }
        let stop = text.line_stop(end);
        return vec![
            vec![(colon, end, head.to_owned()), (stop, stop, tail.clone())],
            vec![(colon, stop, format!("{head}{tail}"))],
            vec![(colon, end, short)],
        ];
    }
    let first = text.line_stop(colon);
    let comment = comment(&text.body[colon..first]);
    let after = end_of(text, found.value).max(first);
    vec![
        vec![(colon, after, format!("{head}{comment}{tail}"))],
        vec![(colon, after, format!("{head}{tail}"))],
        vec![(colon, after, format!("{short}{comment}"))],
    ]
}

/// Ways to put the first entry into a map that has none.
pub(super) fn fill(text: &Text, holder: &Found<'_>, key: &str, value: &Tree) -> Vec<Vec<Splice>> {
    let Some(column) = column(text, holder.map) else { return Vec::new() };
    let Some(colon) = text.after_colon(holder.key) else { return Vec::new() };
    let map = Tree::Map(vec![(key.to_owned(), value.clone())]);
    let written = lines(text, &write::in_lines(&map, column, text.step(), Prefers::Lines));
    let (start, end) = (holder.value.start.max(colon), holder.value.end.max(colon));
    let stop = text.line_stop(end);
    if text.body[start..end].contains('#') {
        return Vec::new();
    }
    let short = format!(" {}", write::on_one_line(&map));
    vec![
        vec![(colon, end, String::new()), (stop, stop, written.clone())],
        vec![(colon, stop, written)],
        vec![(colon, end, short)],
    ]
}

/// Ways to add an entry at the end of a map: behind the comments that follow its last entry, or before them.
pub(super) fn insert(text: &Text, map: &Spot, key: &str, value: &Tree) -> Vec<Vec<Splice>> {
    let (Some(column), Some((last_key, last))) = (column(text, map), map.entries().last()) else {
        return Vec::new();
    };
    let manner = if column == 0 { Prefers::Either } else { Text::manner(map) };
    let rest = write::in_lines(value, column, text.step(), manner);
    let line = lines(text, &format!("{:column$}{}:{rest}", "", scalar(key)));
    let next = text.next_line(last.end.max(last_key.end));
    let at = |at: usize| {
        let is_open = at == text.body.len() && !text.body.ends_with('\n');
        let (before, after) = if is_open { (text.line_end(), "") } else { ("", text.line_end()) };
        vec![(at, at, format!("{before}{line}{after}"))]
    };
    vec![at(after_comments(text, next, column)), at(next), at(after_blanks(text, next))]
}

/// Ways to remove an entry that has others beside it.
pub(super) fn remove(text: &Text, found: &Found<'_>) -> Vec<Vec<Splice>> {
    let Some(column) = column(text, found.map) else { return Vec::new() };
    if text.indent(found.key.start).is_some() {
        let (from, to) = region(text, found, column);
        // Blank lines behind it would become part of a text in lines before it.
        return [to, after_blanks(text, to)].map(|to| vec![(from, to, String::new())]).into();
    }
    let next = found.map.entries().get(found.index + 1).map(|(key, _)| key.start);
    let next = next.filter(|next| !text.body[found.value.end..*next].contains('#'));
    next.map(|next| vec![vec![(found.key.start, next, String::new())]]).unwrap_or_default()
}

/// Ways to remove the only entry of a map: `{}` stays behind the map's own key.
pub(super) fn empty(text: &Text, holder: &Found<'_>, found: &Found<'_>) -> Vec<Vec<Splice>> {
    let Some(colon) = text.after_colon(holder.key).filter(|_| !holder.map.is_flow()) else {
        return Vec::new();
    };
    let Some(column) = text.indent(found.key.start) else { return Vec::new() };
    let (from, to) = region(text, found, column);
    vec![vec![(colon, colon, " {}".to_owned()), (from, to, String::new())]]
}

/// Returns the lines of an entry, with the comments that are indented as its parts are.
fn region(text: &Text, found: &Found<'_>, column: usize) -> (usize, usize) {
    let from = text.line_start(found.key.start);
    let next = text.next_line(found.value.end.max(found.key.end));
    (from, after_comments(text, next, column + 1))
}

/// Returns the column at which the keys of a map stand.
fn column(text: &Text, map: &Spot) -> Option<usize> {
    let (first, _) = map.entries().first()?;
    let before = &text.body[text.line_start(first.start)..first.start];
    let is_plain = !before.contains('\t') && before.bytes().all(|byte| matches!(byte, b' ' | b'-'));
    is_plain.then_some(before.len())
}

/// Goes over the lines of comments that begin at a column or further right, from the start of a line.
fn after_comments(text: &Text, mut from: usize, column: usize) -> usize {
    let mut at = from;
    while at < text.body.len() {
        let line = &text.body[at..text.line_stop(at)];
        let next = text.next_line(at);
        let blank = line.len() - line.trim_start_matches(' ').len();
        if line[blank..].starts_with('#') && blank >= column {
            from = next;
        } else if !line.trim().is_empty() {
            break;
        }
        at = next;
    }
    from
}

fn after_blanks(text: &Text, mut at: usize) -> usize {
    while at < text.body.len() && text.body[at..text.line_stop(at)].trim().is_empty() {
        at = text.next_line(at);
    }
    at
}

/// Returns where a value in lines ends: with the comment behind its last line.
fn end_of(text: &Text, value: &Spot) -> usize {
    if value.shape == Shape::Lines { value.end } else { text.line_stop(value.end) }
}

/// Returns the comment behind a key, with the blanks before it.
fn comment(line: &str) -> String {
    let at = line.find(" #").or_else(|| line.find("\t#"));
    at.map(|at| line[at..].to_owned()).unwrap_or_default()
}

fn lines(text: &Text, written: &str) -> String {
    written.replace('\n', text.line_end())
}
