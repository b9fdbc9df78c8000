//! A server of the native format as the files of other programs say it, as far as they can.
//!
//! **What they have no place for is refused**, so that nothing of what was asked for is lost. What they say beyond what
//! a server needs stays.

use super::tree::Tree;
use crate::config::source::Kind;
use crate::config::template::is_variable_name;

/// The keys that say how a server is reached.
const OURS: [&str; 10] =
    ["command", "args", "env", "cwd", "url", "serverUrl", "httpUrl", "headers", "enabled", "disabled"];

/// Returns a server for a file of a foreign kind, given what it says of it so far.
pub(super) fn server(kind: Option<Kind>, before: Option<&Tree>, native: &Tree) -> Result<Tree, String> {
    let Tree::Map(fields) = native else {
        return Err(format!("a server is a map, not {}", native.kind()));
    };
    let mut said: Vec<(String, Tree)> = Vec::new();
    let mut kind_of = if native.get("command").is_some() { "stdio" } else { "http" };
    for (key, value) in fields {
        check_texts(value, kind)?;
        match (&**key, value) {
            ("command", Tree::List(line)) => {
                let (program, args) = line.split_first().ok_or("a command has a program")?;
                said.push(("command".to_owned(), program.clone()));
                let rest = match native.get("args") {
                    Some(Tree::List(more)) => more.as_slice(),
                    _ => &[],
                };
                said.push(("args".to_owned(), Tree::List(args.iter().chain(rest).cloned().collect())));
            }
            ("args", _) if matches!(native.get("command"), Some(Tree::List(_))) => {}
            ("command" | "args" | "env" | "url" | "headers" | "enabled", _) => {
                said.push((key.clone(), value.clone()));
            }
            ("cwd", Tree::Text(folder)) if folder.starts_with('/') && kind != Some(Kind::Mcpx) => {
                said.push((key.clone(), value.clone()));
            }
            ("transport", Tree::Text(text)) if text == "sse" => kind_of = "sse",
            ("transport", Tree::Text(text)) if text == "http" => {}
            _ => {
                return Err(format!(
                    "a file of this kind has no place for `{key}` of a server; `portcullis import` makes a native file of it"
                ));
            }
        }
    }
    let kept = match before {
        Some(Tree::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    let has_type = kept.iter().any(|(key, _)| key == "type");
    if has_type || kind_of == "sse" || matches!(kind, Some(Kind::VsCode | Kind::VsCodeSettings)) {
        said.insert(0, ("type".to_owned(), Tree::Text(kind_of.to_owned())));
    }
    let others = kept.iter().filter(|(key, _)| key != "type" && !OURS.contains(&&**key)).cloned();
    said.extend(others);
    Ok(Tree::Map(said))
}

/// Refuses texts that would mean something else there.
fn check_texts(value: &Tree, kind: Option<Kind>) -> Result<(), String> {
    match value {
        Tree::Text(text) if text.contains('$') && (kind == Some(Kind::Mcpx) || !is_same(text)) => {
            Err("a `$` in a text of a file of this kind means something else; `portcullis import` makes a native file \
                 of it"
                .to_owned())
        }
        Tree::Text(text) if kind == Some(Kind::Mcpx) && text.contains("{{") => {
            Err("`{{` begins a reference in a file of this kind".to_owned())
        }
        Tree::List(items) => items.iter().try_for_each(|item| check_texts(item, kind)),
        Tree::Map(entries) => entries.iter().try_for_each(|(_, value)| check_texts(value, kind)),
        _ => Ok(()),
    }
}

/// Tells whether every `$` of a text begins a reference to a variable, which is written in the same way there.
fn is_same(text: &str) -> bool {
    text.split('$').skip(1).all(|after| {
        after.strip_prefix('{').and_then(|inner| inner.split_once('}')).is_some_and(|(name, _)| {
            is_variable_name(name)
                && !matches!(name, "workspaceFolder" | "workspaceRoot" | "userHome" | "pathSeparator")
        })
    })
}
