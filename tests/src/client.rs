//! Real MCP clients, run as drivers: each takes a plan and prints what came of it (`interop/clients/README.md`).

use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chromium::{Person, Walk};
use crate::process;
use crate::toolbox;
use crate::wait::PATIENCE;

/// A real client, held to an era where it can speak both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// The TypeScript SDK 1.x, which has sessions only.
    TsV1,
    /// The TypeScript SDK 1.x over HTTP+SSE.
    TsV1Sse,
    /// The TypeScript SDK 2.x, left to find out the era.
    TsV2,
    /// The TypeScript SDK 2.x with a session.
    TsV2Legacy,
    /// The client of the tasks extension, on the TypeScript SDK 2.x; it only calls tools.
    TsV2Tasks,
    /// The Python SDK 2.x, left to find out the era.
    Python,
    /// The Python SDK 2.x with a session.
    PythonLegacy,
    /// The Python SDK 2.x with a session over HTTP+SSE.
    PythonSse,
    /// The Rust SDK, left to find out the era.
    Rmcp,
    /// The Rust SDK with a session.
    RmcpLegacy,
    /// The bridge for agents that only speak stdio.
    McpRemote,
    /// The bridge where it has to find HTTP+SSE by itself.
    McpRemoteSse,
    /// The MCP Inspector's command line, left to find out the era.
    Inspector,
}

/// One step of a plan.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Step {
    /// All pages of `tools/list`.
    ListTools,
    /// All pages of `resources/list`.
    ListResources,
    /// All pages of `resources/templates/list`.
    ListTemplates,
    /// All pages of `prompts/list`.
    ListPrompts,
    /// `tools/call`.
    CallTool {
        /// The exposed name.
        name: String,
        /// A JSON object.
        arguments: Value,
    },
    /// `resources/read`.
    ReadResource {
        /// The exposed URI.
        uri: String,
    },
    /// `prompts/get`.
    GetPrompt {
        /// The exposed name.
        name: String,
        /// A JSON object of strings.
        arguments: Value,
    },
}

/// What a client says came of a plan.
#[derive(Debug, Clone, Deserialize)]
pub struct Transcript {
    /// The revision it settled on, where it tells.
    #[serde(default)]
    pub protocol: Option<String>,
    /// The server's name and version, where it tells.
    #[serde(default)]
    pub server: Option<Value>,
    /// Why it could not connect.
    #[serde(default)]
    pub error: Option<String>,
    /// What came of each step, in the plan's order.
    #[serde(default)]
    pub steps: Vec<Outcome>,
    /// What it was asked, in that order.
    #[serde(default)]
    pub asked: Vec<Question>,
    /// Where its user went with their browser, in that order.
    #[serde(default)]
    pub visited: Vec<Walk>,
}

/// What a client was asked.
#[derive(Debug, Clone, Deserialize)]
pub struct Question {
    /// Such as `elicitation/create`.
    pub method: String,
    /// A JSON object.
    pub params: Value,
}

/// What came of one step.
#[derive(Debug, Clone, Deserialize)]
pub struct Outcome {
    /// The result, as the client understood it.
    #[serde(default)]
    pub ok: Option<Value>,
    /// Its error, in the client's words.
    #[serde(default)]
    pub error: Option<String>,
}

impl Transcript {
    /// The result of the step at `index`; panics where it failed.
    pub fn result(&self, index: usize) -> &Value {
        let outcome = self.steps.get(index).unwrap_or_else(|| panic!("no step {index} in {self:?}"));
        outcome.ok.as_ref().unwrap_or_else(|| panic!("step {index} failed: {:?}", outcome.error))
    }
}

impl Client {
    /// Carries out a plan against an MCP endpoint.
    pub fn run(self, url: &str, plan: &[Step]) -> Transcript {
        self.run_with(url, &[], plan)
    }

    /// Carries out a plan with these headers (`Name: Value`) on every request.
    pub fn run_with(self, url: &str, headers: &[&str], plan: &[Step]) -> Transcript {
        let options: Vec<&str> = headers.iter().flat_map(|header| ["--header", header]).collect();
        self.drive(url, &options, plan)
    }

    /// Carries out a plan and answers what is asked meanwhile: `elicitation` and `sampling` are results, `roots` is a
    /// list. Only the clients of the TypeScript and Python SDKs can.
    pub fn run_answering(self, url: &str, answers: &Value, plan: &[Step]) -> Transcript {
        self.drive(url, &["--answers", &answers.to_string()], plan)
    }

    /// Carries out a plan, for which the SDK's own OAuth client signs in. Only the clients of the TypeScript and Python SDKs
    /// can.
    pub fn run_signing_in(self, url: &str, plan: &[Step]) -> Transcript {
        self.drive(url, &["--sign-in"], plan)
    }

    /// The same with somebody's real browser, in which they are also sent where the gateway wants them to go. Only the clients
    /// of the TypeScript SDKs can.
    pub fn run_signing_in_as(self, person: &Person, url: &str, plan: &[Step]) -> Transcript {
        self.drive(url, &["--sign-in", "--browser", person.browser()], plan)
    }

    fn drive(self, url: &str, options: &[&str], plan: &[Step]) -> Transcript {
        let mut command = self.command();
        command.arg(url).args(["--era", self.era()]);
        if matches!(self, Self::TsV1Sse | Self::PythonSse | Self::McpRemoteSse) {
            command.arg("--sse");
        }
        command.args(options);
        // A proxy that the machine uses for the internet has no place between two local processes.
        command.env("NO_PROXY", "127.0.0.1,localhost").env("no_proxy", "127.0.0.1,localhost");
        let plan = serde_json::to_vec(plan).expect("a plan is JSON");
        let finished = process::run(command, &plan, PATIENCE);
        let transcript: Transcript = serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{self:?}: {error}\n{}{}", finished.stdout, finished.stderr));
        if let Some(error) = &transcript.error {
            panic!("{self:?} could not connect to {url}: {error}\n{}", finished.stderr);
        }
        transcript
    }

    /// The revision it must settle on with a peer of both eras; none where it does not tell.
    pub fn expected_protocol(self) -> Option<&'static str> {
        match self {
            Self::TsV2 | Self::TsV2Tasks | Self::Python | Self::Rmcp => Some(crate::agent::MODERN),
            Self::TsV1
            | Self::TsV1Sse
            | Self::TsV2Legacy
            | Self::PythonLegacy
            | Self::PythonSse
            | Self::RmcpLegacy => Some(crate::agent::LEGACY),
            Self::McpRemote | Self::McpRemoteSse | Self::Inspector => None,
        }
    }

    fn era(self) -> &'static str {
        match self {
            Self::TsV1
            | Self::TsV1Sse
            | Self::TsV2Legacy
            | Self::PythonLegacy
            | Self::PythonSse
            | Self::RmcpLegacy => "legacy",
            Self::TsV2Tasks => "modern",
            Self::TsV2
            | Self::Python
            | Self::Rmcp
            | Self::McpRemote
            | Self::McpRemoteSse
            | Self::Inspector => "auto",
        }
    }

    fn command(self) -> Command {
        match self {
            Self::TsV1 | Self::TsV1Sse => on_node("clients/ts-v1.cjs"),
            Self::TsV2 | Self::TsV2Legacy => on_node("clients/ts-v2.cjs"),
            Self::TsV2Tasks => on_node("clients/ts-v2-tasks.cjs"),
            Self::McpRemote | Self::McpRemoteSse => on_node("clients/mcp-remote.cjs"),
            Self::Inspector => on_node("clients/inspector.cjs"),
            Self::Python | Self::PythonLegacy | Self::PythonSse => {
                let mut command = Command::new(toolbox::python());
                command.arg(toolbox::interop("clients/python_client.py"));
                command
            }
            Self::Rmcp | Self::RmcpLegacy => Command::new(toolbox::rmcp_client()),
        }
    }
}

fn on_node(script: &str) -> Command {
    let script: PathBuf = toolbox::interop(script);
    let mut command = Command::new(toolbox::node());
    command.arg(script).env("NODE_PATH", toolbox::node_modules());
    command
}
