//! What `simulate` takes.

use std::path::PathBuf;

use clap::Args;
use portcullis_core::audit::Moment;

use super::{AdminCredential, moment};

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// The draft: a portcullis.yaml, an mcpServers file, or a folder with one
    #[arg(long, value_name = "DRAFT", required_unless_present = "approve")]
    pub(crate) config: Option<PathBuf>,
    /// Instead of a draft, what this server says now as if it were approved
    #[arg(long, value_name = "SERVER", conflicts_with = "config")]
    pub(crate) approve: Option<String>,
    /// Only this tool of it
    #[arg(long, value_name = "NAME", requires = "approve")]
    pub(crate) tool: Option<String>,
    /// What is in force, where no gateway is asked: a file, a folder, or `remote`
    #[arg(long, env = "PORTCULLIS_CONFIG", value_name = "PATH")]
    pub(crate) against: Option<PathBuf>,
    /// Since when recorded calls are tried: a time, or how long ago
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = moment)]
    pub(crate) since: Moment,
    /// Where the gateway keeps its data [default: the user's data folder]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A gateway that runs: its configuration and its trail are meant
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<http::Uri>,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
