//! What the commands take that are about what servers say of themselves.

use std::path::PathBuf;

use clap::Args;

use super::{AdminCredential, Setup};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Approve {
    /// The server; without one, how it is with all of them
    #[arg(value_name = "SERVER")]
    pub(crate) server: Option<String>,
    /// Approve this tool alone; everything else stays as it was approved
    #[arg(long, value_name = "NAME", requires = "server")]
    pub(crate) tool: Option<String>,
    /// Only show what is not as it was approved; exit code 1 where something is
    #[arg(long, requires = "server", conflicts_with_all = ["show", "forget", "tool"])]
    pub(crate) diff: bool,
    /// Only show what the server says
    #[arg(long, requires = "server", conflicts_with_all = ["forget", "tool"])]
    pub(crate) show: bool,
    /// Approve nothing of the server any more
    #[arg(long, requires = "server", conflicts_with = "tool")]
    pub(crate) forget: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// A gateway that runs, whose server is meant instead of one of this machine
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<http::Uri>,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// The server; without one, of which servers there is something
    #[arg(value_name = "SERVER")]
    pub(crate) server: Option<String>,
    /// What it said of this tool alone
    #[arg(long, value_name = "NAME", requires = "server")]
    pub(crate) tool: Option<String>,
    /// Check that nothing was altered, removed or reordered; exit code 1 where something was
    #[arg(long, conflicts_with = "tool")]
    pub(crate) verify: bool,
    /// Where the gateway keeps its data [default: the user's data folder]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
