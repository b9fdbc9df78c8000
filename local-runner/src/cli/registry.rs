//! What the commands take that are about a gateway's registry.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::AdminCredential;

/// What `portcullis registry --help` ends with.
pub(super) const EXAMPLES: &str = "\
Examples:
  portcullis registry publish server.json --url https://mcp.example.com
  portcullis registry import https://registry.example.com --search weather --url https://mcp.example.com
  portcullis registry list --review pending --url https://mcp.example.com
  portcullis registry approve com.example/weather 1.0.0 --add weather --url https://mcp.example.com
  portcullis registry status com.example/weather 1.0.0 deprecated --url https://mcp.example.com

An entry is a server.json in one version, and a version is never changed. With `registry: { strict: true }` a server is
served only where an approved entry names it. What an admin publishes is approved by that; what is imported, and what agents
publish, waits for a review.";

#[derive(Debug, Subcommand)]
pub(crate) enum Registry {
    /// List the entries, and what of them waits for a review
    #[command(
        after_help = "Examples:\n  portcullis registry list --url https://mcp.example.com\n  portcullis registry list --review pending --json --url https://mcp.example.com"
    )]
    List(ListEntries),
    /// Show an entry: its server.json, what it stands for in strict mode, what is proposed
    #[command(
        after_help = "Example:\n  portcullis registry show com.example/weather 1.0.0 --url https://mcp.example.com"
    )]
    Show(OneEntry),
    /// Publish a server.json, which is approved by that
    #[command(
        after_help = "Examples:\n  portcullis registry publish server.json --url https://mcp.example.com\n  generate-server-json | portcullis registry publish - --url https://mcp.example.com\n\nWhat is no server.json by the official schema is refused, with the field. Publishing the same once more changes nothing."
    )]
    Publish(Publish),
    /// Say whether an entry is to be used: of one version, or of all of a server's
    #[command(
        after_help = "Examples:\n  portcullis registry status com.example/weather 1.0.0 deprecated --message 'use 2.0.0' --url https://mcp.example.com\n  portcullis registry status com.example/weather active --url https://mcp.example.com"
    )]
    Status(SetStatus),
    /// Delete a version: it stays for who asks for deleted ones, and counts no more in strict mode
    #[command(
        after_help = "Example:\n  portcullis registry delete com.example/weather 1.0.0 --url https://mcp.example.com\n\n`portcullis registry status NAME VERSION active` brings it back."
    )]
    Delete(OneEntry),
    /// Approve what waits of an entry, as it is shown
    #[command(
        after_help = "Examples:\n  portcullis registry approve com.example/weather 1.0.0 --url https://mcp.example.com\n  portcullis registry approve com.example/weather 1.0.0 --add weather --yes --url https://mcp.example.com\n  portcullis registry approve com.example/weather 1.0.0 --digest 5f70bf18a086... --url https://mcp.example.com\n\nIt shows the entry and asks. With --digest, which `registry list --json` shows, nothing else is approved than what you have\nlooked at before."
    )]
    Approve(ApproveEntry),
    /// Reject what waits of an entry, or take its approval back
    #[command(
        after_help = "Example:\n  portcullis registry reject com.example/weather 1.0.0 --url https://mcp.example.com"
    )]
    Reject(OneEntry),
    /// Read another registry, or what has changed there since; what is new waits for a review
    #[command(
        after_help = "Examples:\n  portcullis registry import https://registry.example.com --search weather --url https://mcp.example.com\n  portcullis registry import https://registry.internal.example --url https://mcp.example.com\n\nRegistries in the own network have to stand in `registry: { sources: [...] }`."
    )]
    Import(ImportEntries),
}

/// Which registry a command is about.
#[derive(Debug, Args)]
pub(crate) struct OfRegistry {
    /// The gateway whose registry it is
    #[arg(long, value_name = "URL")]
    pub(crate) url: http::Uri,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListEntries {
    /// Only those with this review
    #[arg(long, value_name = "REVIEW")]
    pub(crate) review: Option<Review>,
    #[command(flatten)]
    pub(crate) of: OfRegistry,
}

/// Whether somebody has looked at an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Review {
    Pending,
    Approved,
    Rejected,
}

#[derive(Debug, Args)]
pub(crate) struct OneEntry {
    /// The server's name in the registry
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[arg(value_name = "VERSION", help = "The version")]
    pub(crate) version: String,
    #[command(flatten)]
    pub(crate) of: OfRegistry,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The server.json, or `-` for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) of: OfRegistry,
}

#[derive(Debug, Args)]
pub(crate) struct SetStatus {
    /// The server's name in the registry
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The version, where only one is meant, and the status
    #[arg(value_name = "[VERSION] STATUS", required = true, num_args = 1..=2)]
    pub(crate) what: Vec<String>,
    /// What whoever uses it is told, such as what to use instead
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    #[command(flatten)]
    pub(crate) of: OfRegistry,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveEntry {
    #[command(flatten)]
    pub(crate) entry: OneEntry,
    /// The digest of what was looked at [default: what is shown now]
    #[arg(long, value_name = "DIGEST")]
    pub(crate) digest: Option<String>,
    /// Also serve it: the configuration gets a server of this name, in the same version
    #[arg(long, value_name = "SERVER")]
    pub(crate) add: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportEntries {
    /// The other registry's URL, without `/v0.1`
    #[arg(value_name = "REGISTRY")]
    pub(crate) source: http::Uri,
    /// Only servers with this in their names
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    #[command(flatten)]
    pub(crate) of: OfRegistry,
}
