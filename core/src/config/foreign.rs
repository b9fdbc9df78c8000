//! Reads the files of other programs: `mcpServers` (Claude Desktop, Cursor) and VS Code's `servers`.
//!
//! What they say beyond what a server needs is ignored with a warning. **Their references are translated**, so that
//! what comes out means the same in the native format: `${env:X}` becomes `${X}`, and a `$$` stays two dollar signs.

use super::file::{CommandEntry, HttpKind, ServerEntry};
use super::item::{At, Fields, Item};
use super::node::{ScalarKind, Value};
use super::problem::{Report, quote};
use super::source::{Draft, DraftServer, Kind, Source};
use super::template::{Follows, escape, variable};

/// Reads a file of one of the foreign kinds.
pub(super) fn read(root: &Item<'_>, kind: Kind, source: &Source, report: &mut Report<'_>) -> Draft {
    let Some(mut fields) = root.fields(report) else { return Draft::default() };
    let servers = match kind {
        Kind::VsCode => {
            fields.take("inputs");
            fields.take("servers")
        }
        Kind::VsCodeSettings => return read_settings(fields, source, report),
        Kind::McpServers | Kind::Mcpx | Kind::App | Kind::Native => fields.take("mcpServers"),
    };
    fields.warn_ignored(report);
    let workspace = source.workspace();
    let servers = servers.map(|item| read_servers(&item, workspace, report)).unwrap_or_default();
    Draft { servers, ..Draft::default() }
}

fn read_settings(mut settings: Fields<'_>, source: &Source, report: &mut Report<'_>) -> Draft {
    let section = settings.take("mcp");
    section.map(|item| read(&item, Kind::VsCode, source, report)).unwrap_or_default()
}

fn read_servers(item: &Item<'_>, workspace: &str, report: &mut Report<'_>) -> Vec<DraftServer> {
    let entries = item.entries(report).into_iter();
    entries
        .map(|(name, item)| DraftServer::read(name, report, |report| read_server(&item, workspace, report)))
        .collect()
}

fn read_server(item: &Item<'_>, workspace: &str, report: &mut Report<'_>) -> Option<ServerEntry> {
    let mut fields = item.fields(report)?;
    let kind = fields.take("type");
    let texts = Texts { workspace: if workspace.is_empty() { "." } else { workspace } };
    let mut entry = ServerEntry {
        command: fields
            .take("command")
            .and_then(|item| texts.one(item.text(report)?, report))
            .map(CommandEntry::Program),
        args: fields.take("args").and_then(|item| Some(texts.list(item.texts(report)?, report))),
        env: fields.take("env").and_then(|item| Some(texts.pairs(item.pairs(report)?, report))),
        cwd: fields.take("cwd").and_then(|item| texts.one(item.text(report)?, report)),
        url: read_url(&mut fields).and_then(|item| texts.one(item.text(report)?, report)),
        headers: fields.take("headers").and_then(|item| Some(texts.pairs(item.pairs(report)?, report))),
        ..ServerEntry::default()
    };
    entry.enabled = read_enabled(&mut fields, report);
    if let Some(file) = fields.take("envFile") {
        report.warn(&file.place(), "the file of environment variables is not read");
        report.hint(
            "set the variables in the gateway's environment and write `\"NAME\": \"${NAME}\"` in `env`",
        );
    }
    if let Some(kind) = kind {
        read_kind(&kind, &mut entry, report);
    }
    fields.warn_ignored(report);
    Some(entry)
}

/// Takes the URL under the names that editors give it.
pub(super) fn read_url<'n>(fields: &mut Fields<'n>) -> Option<Item<'n>> {
    ["url", "serverUrl", "httpUrl"].into_iter().find_map(|key| fields.take(key))
}

pub(super) fn read_enabled(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<At<bool>> {
    let disabled = fields.take("disabled").and_then(|item| item.flag(report));
    let enabled = fields.take("enabled").and_then(|item| item.flag(report));
    match disabled {
        Some(At { value: true, place }) => Some(At { value: false, place }),
        _ => enabled,
    }
}

/// Reads `type`: it has to be one that is spoken, and to go with the rest.
pub(super) fn read_kind(kind: &Item<'_>, entry: &mut ServerEntry, report: &mut Report<'_>) {
    let text = match &kind.node.value {
        Value::Scalar(scalar) if scalar.kind == ScalarKind::Text => scalar.text.as_str(),
        _ => "",
    };
    let needed = match text {
        "stdio" => ("command", entry.command.is_some()),
        "http" | "streamable-http" | "streamable_http" | "streamableHttp" => ("url", entry.url.is_some()),
        "sse" => {
            let place = kind.place();
            entry.transport = entry.url.as_ref().map(|_| At { value: HttpKind::Sse, place });
            ("url", entry.url.is_some())
        }
        _ => return kind.mismatch_shown("`stdio`, `http` or `sse`", report),
    };
    if let (key, false) = needed {
        report.error(&kind.place(), format!("a server of this type needs the key `{key}`"));
    }
}

/// Translates texts with references.
struct Texts<'a> {
    workspace: &'a str,
}

impl Texts<'_> {
    fn one(&self, text: At<String>, report: &mut Report<'_>) -> Option<At<String>> {
        match self.translate(&text.value) {
            Ok(value) => Some(At { value, place: text.place }),
            Err(untranslated) => {
                report.error(&text.place, untranslated.to_string());
                if let Untranslated::Input(_) = untranslated {
                    report
                        .hint("set an environment variable for the gateway and write `${env:NAME}` instead");
                }
                None
            }
        }
    }

    fn list(&self, texts: Vec<At<String>>, report: &mut Report<'_>) -> Vec<At<String>> {
        texts.into_iter().filter_map(|text| self.one(text, report)).collect()
    }

    fn pairs(
        &self,
        pairs: Vec<(At<String>, At<String>)>,
        report: &mut Report<'_>,
    ) -> Vec<(At<String>, At<String>)> {
        pairs.into_iter().filter_map(|(name, text)| Some((name, self.one(text, report)?))).collect()
    }

    fn translate(&self, text: &str) -> Result<String, Untranslated> {
        let mut translated = String::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((inner, tail)) = after.split_once('}') else { return Err(Untranslated::Open) };
            literal += before;
            match self.reference(inner)? {
                Meaning::Text(text) => literal += text,
                Meaning::Variable(reference) => {
                    translated += &escape(&std::mem::take(&mut literal), Follows::Reference);
                    translated += "${";
                    translated += reference;
                    translated += "}";
                }
            }
            rest = tail;
        }
        literal += rest;
        Ok(translated + &escape(&literal, Follows::Nothing))
    }

    fn reference<'t>(&'t self, inner: &'t str) -> Result<Meaning<'t>, Untranslated> {
        match inner {
            "workspaceFolder" | "workspaceRoot" => return Ok(Meaning::Text(self.workspace)),
            "userHome" => return Ok(Meaning::Variable("HOME")),
            "pathSeparator" | "/" => return Ok(Meaning::Text("/")),
            _ => {}
        }
        let name = inner.strip_prefix("env:").unwrap_or(inner);
        match inner.strip_prefix("input:") {
            Some(id) => Err(Untranslated::Input(id.to_owned())),
            None if variable(name).is_some() => Ok(Meaning::Variable(name)),
            None => Err(Untranslated::Unknown),
        }
    }
}

/// What a reference comes to.
enum Meaning<'t> {
    Text(&'t str),
    Variable(&'t str),
}

/// Why a reference has no counterpart.
#[derive(Debug, thiserror::Error)]
enum Untranslated {
    #[error("the input {} would be asked for by an editor, and a gateway has nobody to ask", quote(.0))]
    Input(String),
    #[error("`${{` begins a reference, and no `}}` ends it")]
    Open,
    #[error(
        "a reference in this text is none of ${{NAME}}, ${{env:NAME}}, ${{workspaceFolder}} and ${{userHome}}"
    )]
    Unknown,
}

#[cfg(test)]
mod tests {
    use crate::config::{Parsed, Problem, Source, Transport, parse};
    use crate::names::ServerName;

    fn read(path: &str, text: &str) -> Parsed {
        let env = |name: &str| (name == "TOKEN").then(|| "s3cret".to_owned());
        parse(&[Source { path: path.to_owned(), text: text.to_owned() }], &env)
    }

    fn shown(parsed: &Parsed) -> String {
        let lines: Vec<_> = parsed.problems.iter().map(Problem::to_string).collect();
        lines.join("\n")
    }

    /// Shows how one `mcpServers` entry is reached.
    fn check(entry: &str) -> String {
        let parsed = read("/w/.cursor/mcp.json", &format!(r#"{{"mcpServers": {{"s": {entry}}}}}"#));
        match parsed.config.servers.get("s").map(|server| &server.transport) {
            None => shown(&parsed),
            Some(Transport::Stdio(command)) => {
                format!("{} {:?} {:?}", command.program, command.args, command.env)
            }
            Some(Transport::Http(endpoint) | Transport::Sse(endpoint)) => endpoint.url.to_string(),
        }
    }

    #[test]
    fn a_claude_desktop_file_is_read() {
        let parsed = read(
            "claude_desktop_config.json",
            r#"{
  // comments are fine
  "globalShortcut": "Ctrl+Space",
  "mcpServers": {
    "time": { "command": "uvx", "args": ["mcp-server-time"], "env": { "TZ": "UTC" } },
    "off": { "command": "x", "disabled": true, "autoApprove": ["a"], },
  }
}"#,
        );
        assert_eq!(parsed.config.servers.len(), 2);
        assert!(!parsed.config.servers["off"].enabled);
        insta::assert_snapshot!(shown(&parsed), @r#"
        claude_desktop_config.json:3:3: warning: globalShortcut: the key "globalShortcut" has no meaning here and is ignored
        claude_desktop_config.json:6:48: warning: mcpServers.off.autoApprove: the key "autoApprove" has no meaning here and is ignored
        "#);
    }

    #[test]
    fn a_vs_code_file_is_read() {
        let parsed = read(
            ".vscode/mcp.json",
            r#"{
  "inputs": [{ "type": "promptString", "id": "key", "password": true }],
  "servers": {
    "a": { "type": "stdio", "command": "npx", "args": ["${workspaceFolder}/a.js"], "env": { "K": "${input:key}" } },
    "b": { "type": "http", "url": "https://b.example/mcp", "headers": { "Authorization": "Bearer ${env:TOKEN}" } },
    "c": { "type": "sse", "url": "https://c.example/sse" },
    "d": { "type": "pipe", "command": "x" },
    "e": { "type": "http", "command": "x" },
    "f": { "command": "x", "envFile": ".env" }
  }
}"#,
        );
        assert_eq!(parsed.config.servers.keys().map(ServerName::as_str).collect::<Vec<_>>(), ["b", "c", "f"]);
        assert!(matches!(parsed.config.servers["c"].transport, Transport::Sse(_)));
        assert!(!parsed.is_refused());
        insta::assert_snapshot!(shown(&parsed), @r#"
        .vscode/mcp.json:4:98: error: servers.a.env.K: the input "key" would be asked for by an editor, and a gateway has nobody to ask
          hint: set an environment variable for the gateway and write `${env:NAME}` instead
        .vscode/mcp.json:7:20: error: servers.d.type: expected `stdio`, `http` or `sse`, found "pipe"
        .vscode/mcp.json:8:20: error: servers.e.type: a server of this type needs the key `url`
        .vscode/mcp.json:9:39: warning: servers.f.envFile: the file of environment variables is not read
          hint: set the variables in the gateway's environment and write `"NAME": "${NAME}"` in `env`
        "#);
    }

    #[test]
    fn settings_and_yaml_are_read_too() {
        let settings =
            read("settings.json", r#"{"editor.tabSize": 2, "mcp": {"servers": {"a": {"command": "x"}}}}"#);
        assert_eq!((settings.config.servers.len(), settings.problems.len()), (1, 0));
        let yaml = read("x.yaml", "mcpServers:\n  a: { command: x }\n");
        assert_eq!((yaml.config.servers.len(), yaml.problems.len()), (1, 0));
    }

    #[test]
    fn the_kind_is_told_from_the_content() {
        insta::assert_snapshot!(shown(&read("a.yaml", "servers: { a: { command: x } }")), @"
        a.yaml:1:1: error: the key `version` is missing
          hint: begin the file with `version: 1`
        ");
        insta::assert_snapshot!(shown(&read("a.json", r#"{"servers": {"a": {"command": ["x"]}}}"#)), @"
        a.json:1:1: error: the key `version` is missing
          hint: begin the file with `version: 1`
        ");
        insta::assert_snapshot!(shown(&read("a.json", "{}")), @"
        a.json:1:1: error: this is no configuration that Portcullis knows
          hint: a native file begins with `version: 1`; others have a map `mcpServers` (Claude Desktop, Cursor) or `servers` (VS Code)
        ");
        insta::assert_snapshot!(shown(&read("a.json", "[1]")), @"
        a.json:1:1: error: this is no configuration that Portcullis knows
          hint: a native file begins with `version: 1`; others have a map `mcpServers` (Claude Desktop, Cursor) or `servers` (VS Code)
        ");
        insta::assert_snapshot!(shown(&read("a.json", r#"{"servers": {"a": {"command": "x"}}}"#)), @"");
    }

    #[test]
    fn references_are_translated() {
        insta::assert_snapshot!(check(r#"{"command": "${workspaceFolder}/x", "args": ["${env:TOKEN}", "${TOKEN}", "${NONE:-d}"]}"#), @r#"/w/x ["s3cret", "s3cret", "d"] {}"#);
        insta::assert_snapshot!(check(r#"{"command": "x", "args": ["$$", "$HOME", "$${TOKEN}", "a${/}b"]}"#), @r#"x ["$$", "$HOME", "$s3cret", "a/b"] {}"#);
        insta::assert_snapshot!(check(r#"{"command": "x", "args": ["${file}", "${TOKEN"]}"#), @"/w/.cursor/mcp.json:1:59: error: mcpServers.s.args[1]: `${` begins a reference, and no `}` ends it");
        insta::assert_snapshot!(check(r#"{"command": "x", "env": {"A": "${env:NONE}"}}"#), @"
        /w/.cursor/mcp.json:1:52: error: mcpServers.s.env.A: the environment variable NONE is not set
          hint: set it for the gateway, or write `${NONE:-text}` with a default
        ");
    }

    #[test]
    fn folders_begin_at_the_workspace() {
        let text = r#"{"servers": {"s": {"command": "${workspaceFolder}/x", "cwd": "sub"}}}"#;
        for (path, expected) in [
            ("/w/.vscode/mcp.json", "/w/x in /w/sub"),
            (".vscode/mcp.json", "./x in sub"),
            ("/.vscode/mcp.json", "//x in /sub"),
            ("mcp.json", "./x in sub"),
            ("a/my.vscode/mcp.json", "a/my.vscode/x in a/my.vscode/sub"),
        ] {
            let parsed = read(path, text);
            let Transport::Stdio(command) = &parsed.config.servers["s"].transport else { panic!("{path}") };
            assert_eq!(
                format!("{} in {}", command.program, command.cwd.clone().unwrap_or_default()),
                expected
            );
        }
    }

    #[test]
    fn hostile_entries_are_refused_alone() {
        insta::assert_snapshot!(check(r#"{"command": "x", "env": {"LD_PRELOAD": "/tmp/x.so"}}"#), @r#"
        /w/.cursor/mcp.json:1:47: error: mcpServers.s.env.LD_PRELOAD: "LD_PRELOAD" can make a program run other code, and is refused
          hint: remove it; or, knowing that, add `allow_env: [LD_PRELOAD]` to the server in a native file
        "#);
        insta::assert_snapshot!(check(r#"{"command": "-x"}"#), @"
        /w/.cursor/mcp.json:1:34: error: mcpServers.s.command: a program does not begin with `-`
          hint: the first text of `command` is the program; options come after it
        ");
        insta::assert_snapshot!(check(r#"{"command": "x", "args": ["a\u0000b"]}"#), @"/w/.cursor/mcp.json:1:48: error: mcpServers.s.args[0]: the text contains a NUL character");
        insta::assert_snapshot!(check(r#"{"command": "x", "cwd": "../.."}"#), @"
        /w/.cursor/mcp.json:1:46: error: mcpServers.s.cwd: a relative folder may not leave the folder of the configuration
          hint: write an absolute path where the folder lies elsewhere
        ");
        insta::assert_snapshot!(check(r#"{"url": "https://x.example/mcp", "headers": {"Mcp-Session-Id": "a"}}"#), @"
        /w/.cursor/mcp.json:1:67: error: mcpServers.s.headers.Mcp-Session-Id: the gateway sets the header `mcp-session-id` itself
          hint: remove it
        ");
        insta::assert_snapshot!(check(r#""x""#), @"/w/.cursor/mcp.json:1:22: error: mcpServers.s: expected a map, found a text");
    }
}
