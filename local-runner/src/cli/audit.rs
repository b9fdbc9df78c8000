//! What the commands take that are about the audit trail.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use portcullis_core::audit::{Decision, Moment};

use super::{AdminCredential, moment};

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Where the gateway keeps its data [default: the user's data folder]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// A gateway that runs: its trail is read, not that of the data folder
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) url: Option<http::Uri>,
    /// Only what this gateway has recorded that the one at URL governs
    #[arg(long, value_name = "NAME", global = true, requires = "url")]
    pub(crate) gateway: Option<String>,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Print the last entries
    #[command(after_help = "Example:\n  portcullis audit tail --follow -n 20")]
    Tail(Tail),
    /// Print the entries that are asked for
    #[command(after_help = "Example:\n  portcullis audit query --server github --decision denied --since 7d")]
    Query(Query),
    /// Check that no line was altered, removed or moved; exit code 1 and the place where one was
    #[command(after_help = "Example:\n  portcullis audit verify")]
    Verify(Verify),
    /// Write the entries that are asked for to a file
    #[command(
        after_help = "Example:\n  portcullis audit export --format csv --since 2026-07-01 --output july.csv"
    )]
    Export(Export),
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Go on printing what comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many entries to begin with
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 10)]
    pub(crate) lines: u64,
    /// Print JSON lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which entries.
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// Only of this agent
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// Only about this server
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// Only about this tool, prompt or resource, as agents name it
    #[arg(long, value_name = "NAME")]
    pub(crate) tool: Option<String>,
    /// Only with this method, such as tools/call
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// Only what was decided so
    #[arg(long, value_name = "DECISION", value_parser = decision)]
    pub(crate) decision: Option<Decision>,
    /// Only from then on: 2026-07-28, 2026-07-28T12:00:00Z, or 90s, 15m, 24h, 7d ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<Moment>,
    /// Only before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<Moment>,
}

#[derive(Debug, Args)]
pub(crate) struct Query {
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    /// The most entries, the last ones
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u64,
    /// Print JSON lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    /// The format
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    pub(crate) format: Format,
    /// The file to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// How entries are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// JSON lines, as they stand in the trail
    Jsonl,
    /// A table that is safe to open in a spreadsheet
    Csv,
}

fn decision(text: &str) -> Result<Decision, String> {
    let all = [Decision::Allowed, Decision::Denied, Decision::Failed];
    let found = all.into_iter().find(|decision| decision.as_str() == text);
    found.ok_or_else(|| "expected allowed, denied or failed".to_owned())
}
