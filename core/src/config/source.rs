//! A file that was given, what kind it is, and what it says before anything is resolved.
//!
//! **The kind is told from the content**, never from the name alone: `version` makes a native file, `mcpServers` one
//! of Claude Desktop or Cursor, `servers` without `version` one of VS Code, `permissions` an `app.yaml` of MCPX. Beside
//! one, `mcpServers` are MCPX's, too. Only an `app.yaml` without any of its sections is known by its name.

use super::file::{GatewayEntry, ServerEntry};
use super::item::{At, Item};
use super::mcpx::App;
use super::native_policy::Sections;
use super::node::{Node, Syntax, Value, read};
use super::overlay::OverlayDraft;
use super::problem::{Place, Report};
use super::server::is_enabled;
use super::{foreign, mcpx, native};

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

    /// Tells whether the file has the name of MCPX's second file.
    fn is_named_app(&self) -> bool {
        matches!(self.path.rsplit(['/', '\\']).next(), Some("app.yaml" | "app.yml"))
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
    /// What an `app.yaml` says.
    pub(super) app: Option<App>,
    pub(super) sections: Sections,
    /// What an overlay says besides its servers.
    pub(super) overlay: Option<OverlayDraft>,
}

/// A server as a file describes it.
#[derive(Debug, Clone)]
pub(super) struct DraftServer {
    pub(super) name: At<String>,
    pub(super) entry: ServerEntry,
    /// The variables without which it is not served, and which may not be empty.
    pub(super) inputs: Vec<String>,
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
        Self { name, entry, inputs: Vec::new(), broken }
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
    /// MCPX's `mcp.json`.
    Mcpx,
    /// MCPX's `app.yaml`.
    App,
}

/// Whether a file stands beside an `app.yaml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    Nothing,
    App,
}

impl Beside {
    /// Tells it from all files that are read together.
    pub(super) fn of(sources: &[Source]) -> Self {
        let is_app = |source: &Source| {
            read(source).map_or_else(
                |_| source.is_named_app(),
                |(syntax, node)| kind_of(&node, syntax, source) == Some(Kind::App),
            )
        };
        if sources.len() > 1 && sources.iter().any(is_app) { Self::App } else { Self::Nothing }
    }
}

/// Reads a file of any kind.
pub(super) fn read_draft(source: &Source, beside: Beside, report: &mut Report<'_>) -> Option<(Kind, Draft)> {
    if beside == Beside::App && source.text.trim().is_empty() && !source.is_named_app() {
        return Some((Kind::Mcpx, Draft::default()));
    }
    let (syntax, node) = match read(source) {
        Ok(document) => document,
        Err(error) => {
            report.error(&Place { at: error.at, field: String::new() }, error.message);
            // What it would have denied is not known, so that nothing may be allowed.
            let app = source.is_named_app().then(App::default);
            return app.map(|app| (Kind::App, Draft { app: Some(app), ..Draft::default() }));
        }
    };
    let root = Item::root(&node);
    let Some(kind) = kind_beside(beside, &node, syntax, source) else {
        report.error(&root.place(), "this is no configuration that Portcullis knows");
        report.hint(
            "a native file begins with `version: 1`; others have a map `mcpServers` (Claude Desktop, Cursor) or \
             `servers` (VS Code)",
        );
        return None;
    };
    let draft = match kind {
        Kind::Native => native::read(&root, report),
        Kind::Mcpx => Draft { servers: mcpx::read_servers(&root, report), ..Draft::default() },
        Kind::App => Draft { app: Some(mcpx::read_app(&root, report)), ..Draft::default() },
        _ => foreign::read(&root, kind, source, report),
    };
    Some((kind, draft))
}

/// Tells the kind of a file that has been read.
#[cfg(feature = "control")]
pub(super) fn kind(beside: Beside, node: &Node, syntax: Syntax, source: &Source) -> Option<Kind> {
    kind_beside(beside, node, syntax, source)
}

/// Tells the kind of a file: beside an `app.yaml`, one with `mcpServers`, or with nothing, is MCPX's.
fn kind_beside(beside: Beside, node: &Node, syntax: Syntax, source: &Source) -> Option<Kind> {
    let is_empty = matches!(&node.value, Value::Map(entries) if entries.is_empty());
    match (beside, kind_of(node, syntax, source)) {
        (Beside::App, Some(Kind::McpServers)) => Some(Kind::Mcpx),
        (Beside::App, None) if is_empty => Some(Kind::Mcpx),
        (_, kind) => kind,
    }
}

fn kind_of(node: &Node, syntax: Syntax, source: &Source) -> Option<Kind> {
    if node.entry("version").is_some() {
        return Some(Kind::Native);
    }
    if node.entry("mcpServers").is_some() {
        return Some(if mcpx::looks_like_one(node) { Kind::Mcpx } else { Kind::McpServers });
    }
    let app_section = ["permissions", "toolGroups", "toolExtensions", "targetServerAttributes"]
        .iter()
        .any(|key| node.entry(key).is_some());
    if app_section || source.is_named_app() {
        return Some(Kind::App);
    }
    if node.entry("mcp").is_some_and(|section| section.entry("servers").is_some()) {
        return Some(Kind::VsCodeSettings);
    }
    let native_sections = ["gateway", "groups", "variants", "agents", "auth", "limits", "audit", "console"];
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
