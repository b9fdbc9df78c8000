//! Changes one entry of a configuration, and nothing else in its files: comments, order, quotes and line ends stay.
//!
//! **What cannot be changed without loss is refused**, with the file, the line and the reason. What comes out is read
//! again, and says what the files said with that one entry changed.
//!
//! A path is that of the native format, whatever file it is in: `servers.github` is `mcpServers.github` in a file of
//! Claude Desktop's. `text` takes the steps, `block` and `flow` know how entries are written, `spot` where they stand.

mod block;
mod entries;
mod flow;
mod foreign;
#[cfg(test)]
mod properties;
mod spot;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod write;

use std::fmt;

use super::node::{Position, read};
use super::policy::Origin;
use super::problem::quote;
use super::source::{Beside, Kind, Source, kind};
use crate::names::without_case;
pub use entries::{Section, Written, settings, written};
use text::{Bar, Text};
use tree::Tree;

/// A change of one entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// Sets the value at a path, such as `servers`, `github`; what is missing on the way is added.
    Set {
        /// The keys from the outermost on.
        path: Vec<String>,
        /// The value, as the native format has it.
        value: serde_json::Value,
    },
    /// Removes the entry at a path.
    Remove {
        /// The keys from the outermost on.
        path: Vec<String>,
    },
}

impl Edit {
    /// Returns the path of the entry.
    pub fn path(&self) -> &[String] {
        let (Self::Set { path, .. } | Self::Remove { path }) = self;
        path
    }
}

/// Why files stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NotEdited {
    /// Where the reason stands.
    pub origin: Origin,
    /// The reason, and where there is something to do about it, what.
    pub message: String,
}

impl fmt::Display for NotEdited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { file, line, field } = &self.origin;
        write!(f, "{file}:{line}: `{field}` cannot be changed here: {}", self.message)
    }
}

/// A file that has been read.
struct File<'s> {
    source: &'s Source,
    kind: Option<Kind>,
    text: Text,
}

/// Changes one entry in files that are read together, and returns all of them.
///
/// # Errors
///
/// Fails where a file cannot be read, where none has a place for the entry, and where it cannot be changed without loss.
pub fn edit(sources: &[Source], edit: &Edit) -> Result<Vec<Source>, NotEdited> {
    let refuse = |path: &str, bar: Bar| NotEdited {
        origin: Origin { file: path.into(), line: bar.at.line, field: edit.path().join(".") },
        message: bar.message,
    };
    let beside = Beside::of(sources);
    let mut files = Vec::new();
    for source in sources {
        let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
        let file = read(source).map_err(|error| Bar { at: error.at, message: error.message }).and_then(
            |(syntax, node)| {
                let kind = kind(beside, &node, syntax, source);
                Ok(File { source, kind, text: Text::read(text, syntax)? })
            },
        );
        files.push(file.map_err(|bar| refuse(&source.path, bar))?);
    }
    let index = choose(&files, edit.path()).map_err(|(index, bar)| {
        refuse(sources.get(index).map_or("the configuration", |source| &*source.path), bar)
    })?;
    let file = files.swap_remove(index);
    let changed = change(file, edit).map_err(|bar| refuse(&sources[index].path, bar))?;
    let mark = if sources[index].text.starts_with('\u{feff}') { "\u{feff}" } else { "" };
    let mut edited = sources.to_vec();
    edited[index].text = format!("{mark}{}", changed.body);
    Ok(edited)
}

/// Finds the file that an entry is in, or belongs into.
fn choose(files: &[File<'_>], path: &[String]) -> Result<usize, (usize, Bar)> {
    let bar = |message: String| Bar { at: Position::default(), message };
    let has = |depth: usize| {
        let is_there = move |file: &File<'_>| {
            let path = native(file, path);
            place(file.kind, &path).is_some_and(|place| {
                let cut = path.len().saturating_sub(depth.min(path.len()));
                let end = place.len().saturating_sub(cut);
                end > 0 && file.text.tree.at(&place[..end]).is_some()
            })
        };
        files.iter().enumerate().filter(move |(_, file)| is_there(file)).map(|(index, _)| index)
    };
    if path.is_empty() || files.is_empty() {
        return Err((0, bar("there is no such place".to_owned())));
    }
    let mut holders = has(2);
    if let (Some(first), Some(second)) = (holders.next(), holders.next()) {
        let message = format!("it stands in {}, too", files[second].source.path);
        return Err((first, bar(message)));
    }
    let natives = || files.iter().position(|file| file.kind == Some(Kind::Native));
    let places = || files.iter().position(|file| place(file.kind, path).is_some());
    let chosen = has(2).next().or_else(|| has(1).next()).or_else(natives).or_else(places);
    chosen.ok_or_else(|| {
        let message = format!(
            "a file of this kind has no place for {}; `portcullis import` makes a native file of it",
            quote(&path[0])
        );
        (0, bar(message))
    })
}

/// Returns a path with the second key as the file spells it: names of servers, groups and agents are equal without case.
fn native(file: &File<'_>, path: &[String]) -> Vec<String> {
    let mut path = path.to_vec();
    let section = place(file.kind, &path).filter(|_| path.len() > 1).map(|mut place| {
        place.truncate((place.len() + 1).saturating_sub(path.len()));
        place
    });
    if let (Some(section), Some(name)) = (section, path.get_mut(1))
        && let Some(Tree::Map(entries)) = file.text.tree.at(&section)
        && !entries.iter().any(|(key, _)| key == name)
        && let Some((key, _)) = entries.iter().find(|(key, _)| without_case(key) == without_case(name))
    {
        name.clone_from(key);
    }
    path
}

/// Returns where a path of the native format leads in a file of a kind; nothing where that has no place for it.
fn place(kind: Option<Kind>, path: &[String]) -> Option<Vec<String>> {
    let head: &[&str] = match kind? {
        Kind::Native => return Some(path.to_vec()),
        Kind::McpServers | Kind::Mcpx => &["mcpServers"],
        Kind::VsCode => &["servers"],
        Kind::VsCodeSettings => &["mcp", "servers"],
        Kind::App => return None,
    };
    let (section, rest) = path.split_first()?;
    let keys = head.iter().map(|key| (*key).to_owned()).chain(rest.iter().cloned());
    (section == "servers").then(|| keys.collect())
}

fn change(file: File<'_>, edit: &Edit) -> Result<Text, Bar> {
    let path = native(&file, edit.path());
    let File { kind, text, .. } = file;
    let is_native = kind == Some(Kind::Native);
    let place = place(kind, &path).unwrap_or_default();
    if !is_native && path.len() != 2 {
        return Err(text.bar(
            0,
            "servers of such a file are changed as a whole; `portcullis import` makes a native file of it",
        ));
    }
    match edit {
        Edit::Remove { .. } if text.tree.at(&place).is_none() => {
            // A key that leads through something else is said to.
            text.clone().remove(&place)?;
            Err(text.bar(0, "there is no such entry"))
        }
        Edit::Remove { .. } => text.remove(&place),
        Edit::Set { value, .. } if is_native => text.set(&place, &Tree::of_json(value)),
        Edit::Set { value, .. } => {
            let before = text.tree.at(&place);
            let server = foreign::server(kind, before, &Tree::of_json(value));
            match server {
                Ok(server) => text.set(&place, &server),
                Err(message) => Err(text.bar(0, message)),
            }
        }
    }
}
