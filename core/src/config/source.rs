//! A file that was given, what kind it is, and what it says before anything is resolved.
//!
//! **The kind is told from the content**, never from the name alone: `version` makes a native file, `mcpServers` one
//! of Claude Desktop or Cursor, `servers` without `version` one of VS Code.

use super::file::{GatewayEntry, ServerEntry};
use super::item::{At, Item};
use super::native_policy::Sections;
use super::node::{Node, Syntax, Value, read};
use super::problem::{Place, Report};
use super::server::is_enabled;
use super::{foreign, native};

/// A file to read: its text, and the name that problems call it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its path, as the user named it. Relative folders in the file begin at its folder.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Returns the folder that the file lies in; empty where the path names none.
    pub(super) fn folder(&self) -> &str {
        match self.path.rfind(['/', '\\']) {
            Some(0) => "/",
            Some(end) => &self.path[..end],
            None => "",
        }
    }

    /// Returns the folder that an editor's file is about: the one that holds the editor's own.
    pub(super) fn workspace(&self) -> &str {
        let folder = self.folder();
        let parent = [".vscode", ".cursor"].iter().find_map(|name| folder.strip_suffix(name));
        match parent {
            Some("/") => "/",
            Some("") => "",
            Some(parent) => parent.strip_suffix(['/', '\\']).unwrap_or(folder),
            None => folder,
        }
    }
}

/// What a file says, before references are replaced and values are checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    /// The gateway's section and where it stands.
    pub(super) gateway: Option<(Place, GatewayEntry)>,
    pub(super) servers: Vec<DraftServer>,
    pub(super) sections: Sections,
}

/// A server as a file describes it.
#[derive(Debug, Clone)]
pub(super) struct DraftServer {
    pub(super) name: At<String>,
    pub(super) entry: ServerEntry,
    /// Why the description cannot be used, where it cannot.
    pub(super) broken: Option<String>,
}

impl DraftServer {
    /// Reads a description, whose errors are its own.
    pub(super) fn read(
        name: At<String>,
        report: &mut Report<'_>,
        read: impl FnOnce(&mut Report<'_>) -> Option<ServerEntry>,
    ) -> Self {
        let mark = report.mark();
        let (entry, broken) = report.confine(&name.value, read);
        let entry = entry.unwrap_or_default();
        if !is_enabled(&entry) {
            report.excuse_since(mark);
        }
        Self { name, entry, broken }
    }
}

/// The kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Native,
    McpServers,
    VsCode,
    /// The `mcp` section of VS Code's settings.
    VsCodeSettings,
}

/// Reads a file of any kind.
pub(super) fn read_draft(source: &Source, report: &mut Report<'_>) -> Option<(Kind, Draft)> {
    let (syntax, node) = match read(source) {
        Ok(document) => document,
        Err(error) => {
            report.error(&Place { at: error.at, field: String::new() }, error.message);
            return None;
        }
    };
    let root = Item::root(&node);
    let Some(kind) = kind_of(&node, syntax) else {
        report.error(&root.place(), "this is no configuration that Portcullis knows");
        report.hint(
            "a native file begins with `version: 1`; others have a map `mcpServers` (Claude Desktop, Cursor) or \
             `servers` (VS Code)",
        );
        return None;
    };
    let draft = match kind {
        Kind::Native => native::read(&root, report),
        _ => foreign::read(&root, kind, source, report),
    };
    Some((kind, draft))
}

fn kind_of(node: &Node, syntax: Syntax) -> Option<Kind> {
    if node.entry("version").is_some() {
        return Some(Kind::Native);
    }
    if node.entry("mcpServers").is_some() {
        return Some(Kind::McpServers);
    }
    if node.entry("mcp").is_some_and(|section| section.entry("servers").is_some()) {
        return Some(Kind::VsCodeSettings);
    }
    let native_sections = ["gateway", "groups", "variants", "agents", "auth", "limits", "audit"];
    let native_section = native_sections.iter().any(|key| node.entry(key).is_some());
    if native_section {
        return Some(Kind::Native);
    }
    let servers = node.entry("servers")?;
    Some(if node.entry("inputs").is_some() { Kind::VsCode } else { kind_by_servers(servers, syntax) })
}

/// Tells a native file that lacks `version` from one of VS Code.
fn kind_by_servers(servers: &Node, syntax: Syntax) -> Kind {
    let Value::Map(entries) = &servers.value else { return Kind::Native };
    let any =
        |keys: &[&str]| entries.iter().any(|(_, node)| keys.iter().any(|key| node.entry(key).is_some()));
    let command_list = entries.iter().any(|(_, node)| {
        node.entry("command").is_some_and(|command| matches!(command.value, Value::List(_)))
    });
    if command_list || any(&["timeout", "cache", "enabled", "allow_env"]) {
        Kind::Native
    } else if syntax == Syntax::Json || any(&["type"]) {
        Kind::VsCode
    } else {
        Kind::Native
    }
}
