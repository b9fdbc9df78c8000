//! Foreign files become one native file.
//!
//! **References stay references**: no variable is looked up, so no secret can reach the file that is written.

use super::command::is_absolute;
use super::emit::Document;
use super::file::ServerEntry;
use super::load::{Candidate, Loaded, load, resolve_app};
use super::mcpx::{self, Purpose, Resolved};
use super::problem::{self, Place, Problem, Report, quote};
use super::server::Missing;
use super::source::{Kind, Source};

/// What foreign files say, ready to be written natively.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// What could not be carried over, or not as it was.
    pub problems: Vec<Problem>,
    servers: Vec<ImportedServer>,
    /// What an `app.yaml` says, where there is one.
    app: Option<Resolved>,
}

/// One server of a foreign file.
#[derive(Debug, Clone)]
struct ImportedServer {
    name: String,
    origin: String,
    /// The description, or why there is none.
    entry: Result<ServerEntry, String>,
}

/// Reads foreign files, as far as that is possible without knowing any variable.
pub fn import(sources: &[Source]) -> Imported {
    let mut imported = Imported::default();
    let mut loaded = load((sources, &[]), &|_| None, Missing::Leave);
    imported.app = resolve_app(&mut loaded, Purpose::Import);
    for file in loaded {
        if file.kind == Some(Kind::Native) {
            let mut report = Report::new(&file.source.path);
            report.error(&Place::default(), "this is a native file already");
            imported.problems.extend(report.finish());
        } else {
            imported.add(file);
        }
    }
    imported
}

impl Imported {
    /// Returns the names of the servers that are carried over, in the order of the files.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().filter(|server| server.entry.is_ok()).map(|server| server.name.as_str())
    }

    fn add(&mut self, file: Loaded<'_>) {
        let path = &file.source.path;
        let mut report = Report::new(path);
        for Candidate { name, entry, fault, .. } in file.candidates {
            if let (Some(cwd), None) = (&entry.cwd, &fault)
                && !is_absolute(&cwd.value)
            {
                report.warn(&cwd.place, "a relative folder begins at the folder of the file that is written");
            }
            let origin = format!("{path}:{}", name.place.at.line);
            self.servers.push(ImportedServer {
                name: name.value,
                origin,
                entry: fault.map_or(Ok(entry), Err),
            });
        }
        let mut problems = file.problems;
        problems.extend(report.finish());
        problem::in_order(&mut problems);
        self.problems.extend(problems);
    }
}

/// Writes a native file. It is read back to what the foreign files say.
pub fn to_yaml(imported: &Imported) -> String {
    let mut document = Document::begin();
    for server in &imported.servers {
        match &server.entry {
            Ok(entry) => document.server(&server.name, &server.origin, entry),
            Err(why) => {
                let name = quote(&server.name);
                document.comment(&format!("left out: {name} from {}: {why}", server.origin));
            }
        }
    }
    if let Some(app) = &imported.app {
        document.sections(&mcpx::sections(app));
    }
    document.finish()
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::config::{Parsed, parse};
    use crate::sorted::SortedMap;

    fn env(name: &str) -> Option<String> {
        (name == "TOKEN").then(|| "s3cret $$ ${X}".to_owned())
    }

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    fn read(path: &str, text: &str) -> Parsed {
        parse(&[source(path, text)], &env)
    }

    #[test]
    fn foreign_files_become_one_native_file() {
        let sources = [
            source(
                "claude.json",
                r#"{"mcpServers": {
  "time": {"command": "uvx", "args": ["mcp-server-time", "--local=UTC"], "env": {"TZ": "UTC", "K": "${TOKEN}"}},
  "sly": {"command": "x", "env": {"LD_PRELOAD": "x"}}
}}"#,
            ),
            source(
                ".vscode/mcp.json",
                r#"{"servers": {
  "web": {"type": "http", "url": "https://x.example/mcp", "headers": {"Authorization": "Bearer ${env:TOKEN}"}},
  "off": {"command": "yes", "cwd": "sub", "disabled": true},
  "ask": {"command": "x", "env": {"K": "${input:k}"}},
  "old": {"type": "sse", "url": "https://x.example/sse"}
}}"#,
            ),
        ];
        let imported = import(&sources);
        insta::assert_snapshot!(to_yaml(&imported), @r#"
        # ${NAME} in a text is replaced by an environment variable of the gateway.
        version: 1
        servers:
          # from claude.json:2
          time:
            command: [uvx, mcp-server-time, "--local=UTC"]
            env:
              TZ: UTC
              K: "${TOKEN}"
          # left out: "sly" from claude.json:3: mcpServers.sly.env.LD_PRELOAD: "LD_PRELOAD" can make a program run other code, and is refused
          # from .vscode/mcp.json:2
          web:
            url: "https://x.example/mcp"
            headers:
              Authorization: "Bearer ${TOKEN}"
          # from .vscode/mcp.json:3
          "off":
            command: ["yes"]
            cwd: sub
            enabled: false
          # left out: "ask" from .vscode/mcp.json:4: servers.ask.env.K: the input "k" would be asked for by an editor, and a gateway has nobody to ask
          # from .vscode/mcp.json:5
          old:
            url: "https://x.example/sse"
            transport: sse
        "#);
        let shown: Vec<_> = imported.problems.iter().map(Problem::to_string).collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        claude.json:3:35: error: mcpServers.sly.env.LD_PRELOAD: "LD_PRELOAD" can make a program run other code, and is refused
          hint: remove it; or, knowing that, add `allow_env: [LD_PRELOAD]` to the server in a native file
        .vscode/mcp.json:3:36: warning: servers.off.cwd: a relative folder begins at the folder of the file that is written
        .vscode/mcp.json:4:40: error: servers.ask.env.K: the input "k" would be asked for by an editor, and a gateway has nobody to ask
          hint: set an environment variable for the gateway and write `${env:NAME}` instead
        "#);
    }

    #[test]
    fn nothing_to_import_is_an_empty_file() {
        assert!(
            read("p.yaml", &to_yaml(&import(&[source("a.json", r#"{"mcpServers": {}}"#)])))
                .problems
                .is_empty()
        );
        let native = import(&[source("a.yaml", "version: 1")]);
        insta::assert_snapshot!(native.problems[0].to_string(), @"a.yaml:1:1: error: this is a native file already");
    }

    #[test]
    fn a_path_cannot_break_out_of_its_comment() {
        let written = to_yaml(&import(&[source(
            "a\nversion: 2\u{2028}x.json",
            r#"{"mcpServers": {"a": {"command": "x"}}}"#,
        )]));
        assert_eq!(read("p.yaml", &written).config.servers.len(), 1);
    }

    /// Texts with a taste for what YAML and references could misread.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[^\u{0}]{0,12}",
            prop::collection::vec(
                prop::sample::select(vec![
                    "$",
                    "$$",
                    "${TOKEN}",
                    "${env:TOKEN}",
                    "{",
                    "}",
                    "\"",
                    "\\",
                    "'",
                    "#",
                    ": ",
                    "- ",
                    "\n",
                    "\u{85}",
                    "\u{2028}",
                    "\u{feff}",
                    "null",
                    "yes",
                    "1e3",
                    "&a",
                    "*a",
                    "!t",
                    "|",
                    " ",
                    "\t",
                    "ü",
                    "\u{1f600}",
                    "\u{7f}",
                    "%",
                    "@",
                    "`",
                ]),
                0..8,
            )
            .prop_map(|parts| parts.concat()),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_the_same(
            commands in prop::collection::btree_map(
                "[a-zA-Z0-9_. -]{1,8}",
                (text(), prop::collection::vec(text(), 0..4), prop::collection::btree_map("[A-Z_]{1,6}", text(), 0..3), any::<bool>()),
                0..4,
            ),
            endpoints in prop::collection::btree_map(
                "[a-z]{9,12}",
                (text(), prop::collection::btree_map("[a-z-]{1,6}", "[ -~]{0,9}", 0..3)),
                0..3,
            ),
        ) {
            let mut servers = SortedMap::new();
            for (name, (program, args, env, disabled)) in commands {
                servers.insert(name, json!({ "command": program, "args": args, "env": env, "disabled": disabled }));
            }
            for (name, (path, headers)) in endpoints {
                servers.insert(name, json!({ "url": format!("https://x.example/{path}"), "headers": headers }));
            }
            let text = json!({ "mcpServers": servers }).to_string();
            let written = to_yaml(&import(&[source("a.json", &text)]));
            let (before, after) = (read("a.json", &text), read("a.yaml", &written));
            prop_assert_eq!(&before.config.servers, &after.config.servers, "{}\n{:#?}", written, after.problems);
            prop_assert!(!written.contains("s3cret"));
        }
    }
}
