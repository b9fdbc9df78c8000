//! The real servers behind a gateway, with something in each that a test can ask for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use portcullis_tests::gateway::Gateway;
use portcullis_tests::process;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the filesystem server's note says.
pub(crate) const NOTE: &str = "a note on the disk";
/// What the memory server knows.
pub(crate) const FACT: &str = "wrote the first program";
/// The message of the git server's only commit.
pub(crate) const COMMIT: &str = "Raise the gate";

/// A gateway and the servers behind it.
pub(crate) struct Servers {
    pub(crate) gateway: Gateway,
    folder: TempDir,
    _upstreams: Vec<Upstream>,
}

impl Servers {
    /// The servers that are subprocesses of the gateway.
    pub(crate) fn on_stdio() -> Self {
        let folder = toolbox::scratch();
        let root = folder.path().canonicalize().expect("the folder was just made");
        let (files, graph, repository) =
            (root.join("files"), root.join("memory.jsonl"), root.join("repository"));
        fs::create_dir(&files)
            .and_then(|()| fs::write(files.join("note.txt"), NOTE))
            .expect("a note is written");
        fs::write(&graph, format!("{}\n", entity())).expect("a memory is written");
        make_repository(&repository);
        let (node, python) = (toolbox::node(), toolbox::python());
        let module = toolbox::node_module;
        let servers = json!({
            "everything": {
                "command": [node, module("@modelcontextprotocol/server-everything/dist/index.js"), "stdio"],
            },
            "filesystem": {
                "command": [node, module("@modelcontextprotocol/server-filesystem/dist/index.js"), files],
            },
            "memory": {
                "command": [node, module("@modelcontextprotocol/server-memory/dist/index.js")],
                "env": { "MEMORY_FILE_PATH": graph },
            },
            "time": { "command": [python, "-m", "mcp_server_time", "--local-timezone", "UTC"] },
            "git": { "command": [python, "-m", "mcp_server_git", "--repository", repository] },
            "fastmcp": { "command": [python, toolbox::interop("servers/fastmcp_server.py")] },
            "ts-v2": {
                "command": [node, toolbox::interop("servers/ts-v2.cjs")],
                "allow_env": ["NODE_PATH"],
                "env": { "NODE_PATH": toolbox::node_modules() },
            },
        });
        Self { gateway: start(&servers), folder, _upstreams: Vec::new() }
    }

    /// The servers that the gateway reaches by URL.
    pub(crate) fn on_http() -> Self {
        let (everything, fastmcp, ts_v2) = (Upstream::everything(), Upstream::fastmcp(), Upstream::ts_v2());
        let servers = json!({
            "everything-http": { "url": everything.url() },
            "fastmcp-http": { "url": fastmcp.url() },
            "ts-v2-http": { "url": ts_v2.url() },
        });
        Self {
            gateway: start(&servers),
            folder: toolbox::scratch(),
            _upstreams: vec![everything, fastmcp, ts_v2],
        }
    }

    /// The note that the filesystem server may read.
    pub(crate) fn note(&self) -> PathBuf {
        self.root().join("files").join("note.txt")
    }

    /// The repository that the git server works on.
    pub(crate) fn repository(&self) -> PathBuf {
        self.root().join("repository")
    }

    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().expect("the folder is there")
    }
}

/// JSON is YAML, and needs no thought about quotes.
fn start(servers: &Value) -> Gateway {
    Gateway::start(&json!({ "version": 1, "servers": servers }).to_string())
}

fn entity() -> Value {
    json!({ "type": "entity", "name": "Lovelace", "entityType": "person", "observations": [FACT] })
}

fn make_repository(folder: &Path) {
    fs::create_dir(folder).expect("the folder is new");
    let identity =
        ["-c", "user.name=Tester", "-c", "user.email=tester@example.com", "-c", "commit.gpgsign=false"];
    git(folder, &["init", "--quiet"]);
    git(folder, &[&identity[..], &["commit", "--quiet", "--allow-empty", "--message", COMMIT]].concat());
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder);
    let finished = process::run(command, b"", Duration::from_secs(30));
    assert!(finished.status.success(), "git {arguments:?}: {}", finished.stderr);
}
