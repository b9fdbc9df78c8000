//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde_json::value::RawValue;

/// One URL in front of all your MCP servers.
///
/// Without a command it serves. Without a configuration it serves a built-in demo.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, args_conflicts_with_subcommands = true, after_help = SERVE_EXAMPLE)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

impl Cli {
    /// Returns from which level on the command logs: what serves tells what it does, what answers once only trouble.
    pub(crate) fn log_level(&self) -> &'static str {
        match self.command {
            // It says itself what it found.
            Some(Command::Doctor(_)) => "off",
            _ if self.serves() => "info",
            _ => "warn",
        }
    }

    /// Tells whether the command serves agents.
    pub(crate) fn serves(&self) -> bool {
        matches!(self.command, None | Some(Command::Serve(_) | Command::Stdio(_)))
    }
}

const SERVE_EXAMPLE: &str = "\
Examples:
  portcullis                                        serve ./portcullis.yaml, or the demo
  portcullis serve --config ~/.cursor/mcp.json      serve the servers of an mcpServers file as it is
  portcullis check --config portcullis.yaml         find every problem of a configuration

Environment, besides what stands above:
  PORTCULLIS_LOG               what is logged, such as debug or warn,upstream=info
  PORTCULLIS_SEAL_KEY          the keys that seal session ids, where several gateways share them
  PORTCULLIS_ADMIN_KEY         opens /metrics on the main address
  OTEL_EXPORTER_OTLP_ENDPOINT  where traces, metrics and logs go, as other OTEL_ variables say";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the gateway over HTTP (the default command)
    #[command(after_help = SERVE_EXAMPLE)]
    Serve(Serve),
    /// Serve the gateway on standard input and output, for clients that only speak stdio
    #[command(
        after_help = "Example, in an mcpServers file:\n  {\"command\": \"portcullis\", \"args\": [\"stdio\", \"--config\", \"portcullis.yaml\"]}"
    )]
    Stdio(Setup),
    /// Find every problem of a configuration; exit code 1 where there is an error
    #[command(after_help = "Example:\n  portcullis check --config portcullis.yaml")]
    Check(Check),
    /// Check this machine, the configuration and every server; exit code 1 where there is a problem
    #[command(
        after_help = "Examples:\n  portcullis doctor --config portcullis.yaml\n  portcullis doctor --url http://127.0.0.1:9000/mcp"
    )]
    Doctor(Doctor),
    /// Convert files of Claude Desktop, Cursor, VS Code and MCPX to the native format, or begin with a file of your own
    #[command(
        after_help = "Examples:\n  portcullis import ~/.cursor/mcp.json --output portcullis.yaml\n  portcullis import mcp.json app.yaml --output portcullis.yaml\n  portcullis import --output portcullis.yaml"
    )]
    Import(Import),
    /// List the tools that agents see
    #[command(
        after_help = "Examples:\n  portcullis tools --config portcullis.yaml\n  portcullis tools --url http://127.0.0.1:9000/mcp --json"
    )]
    Tools(Tools),
    /// Call a tool
    #[command(after_help = "Example:\n  portcullis call demo__add --args '{\"a\": 1, \"b\": 2}'")]
    Call(Call),
    /// Print the JSON Schema of the native configuration
    #[command(after_help = "Example:\n  portcullis schema > portcullis.schema.json")]
    Schema,
    /// The built-in demo MCP server, on standard input and output
    #[command(hide = true)]
    Demo,
}

/// What the gateway is made from.
#[derive(Debug, Args, Clone)]
pub(crate) struct Setup {
    /// A portcullis.yaml, an mcpServers file, or a folder with one
    #[arg(long, env = "PORTCULLIS_CONFIG", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Where the gateway keeps its data [default: the user's data folder]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// The address to listen on; port 0 takes any free one
    #[arg(long, env = "PORTCULLIS_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9000", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Serve others than this machine although nothing asks them who they are
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Another address to listen on, with Prometheus metrics at /metrics and nothing else
    #[arg(long, env = "PORTCULLIS_METRICS_LISTEN", value_name = "ADDR", value_parser = address)]
    pub(crate) metrics_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A portcullis.yaml, an mcpServers file, or a folder with one
    #[arg(long, env = "PORTCULLIS_CONFIG", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// The address that the gateway is to listen on
    #[arg(long, env = "PORTCULLIS_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9000", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// The endpoint of a gateway that runs: it is checked instead
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<http::Uri>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The files to convert; without any, what is written is a commented file in which nobody may do anything yet
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The file to write [default: standard output]
    #[arg(long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Tools {
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The tool's name, as agents see it
    #[arg(value_name = "TOOL")]
    pub(crate) tool: String,
    /// Its arguments, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    pub(crate) args: Box<RawValue>,
    #[command(flatten)]
    pub(crate) target: Target,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:9000".to_owned())
}

fn json_object(text: &str) -> Result<Box<RawValue>, String> {
    let object: Result<Box<RawValue>, _> = serde_json::from_str(text);
    let object = object.ok().filter(|value| value.get().starts_with('{'));
    object.ok_or_else(|| "expected a JSON object, such as '{\"a\": 1}'".to_owned())
}

/// Which gateway a command is about: one that runs, or the one that a configuration describes.
#[derive(Debug, Args)]
pub(crate) struct Target {
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// The endpoint of a gateway that runs; without it one is started for this command
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<http::Uri>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
