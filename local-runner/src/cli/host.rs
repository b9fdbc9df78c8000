//! What the commands take that are about hosted servers.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Setup;

#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// Fetch and verify the packages that servers are, without running anything of them; then starts need no network
    #[command(
        after_help = "Examples:\n  portcullis host prepare\n  portcullis host prepare files time\n  portcullis host prepare --verify\n\nA package is fetched once: what was prepared is what runs. --again fetches it anew, with what its dependencies are\nby now. The digest of its archive is printed, to be written as `integrity` beside it."
    )]
    Prepare(Prepare),
    /// List the hosted servers that run by a data folder
    #[command(after_help = "Example:\n  portcullis host list --json")]
    List(Running),
    /// Say what hosted servers use: memory and processes
    #[command(after_help = "Example:\n  portcullis host stats")]
    Stats(Running),
    /// Print what a hosted server said on standard error, without secrets
    #[command(after_help = "Example:\n  portcullis host logs files --lines 20")]
    Logs(Logs),
    /// End the instances of a hosted server; the gateway starts it again when it is needed
    #[command(after_help = "Example:\n  portcullis host stop files")]
    Stop(Stop),
    /// End the instances of a hosted server, and forget what it said
    #[command(after_help = "Example:\n  portcullis host rm files")]
    Rm(Stop),
}

#[derive(Debug, Args)]
pub(crate) struct Inside {
    /// The port on which the server answers
    #[arg(long)]
    pub(crate) port: u16,
    /// The path of its endpoint
    #[arg(long)]
    pub(crate) path: String,
    /// A process in whose network the server answers, where that is not this one's own
    #[arg(long)]
    pub(crate) beside: Option<u32>,
    /// The server, where it is yet to be started
    #[arg(last = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Running {
    /// Where the gateway keeps its data [default: the user's data folder]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The server
    #[arg(value_name = "SERVER")]
    pub(crate) server: String,
    /// How many of the last lines
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) lines: usize,
    /// Where the gateway keeps its data [default: the user's data folder]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The server
    #[arg(value_name = "SERVER")]
    pub(crate) server: String,
    /// Where the gateway keeps its data [default: the user's data folder]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Prepare {
    /// The servers; all that are packages where none is named
    #[arg(value_name = "SERVER")]
    pub(crate) servers: Vec<String>,
    /// Fetch nothing, and check that every file is as it was prepared; exit code 1 where one is not
    #[arg(long, conflicts_with = "again")]
    pub(crate) verify: bool,
    /// Fetch what is there already once more
    #[arg(long)]
    pub(crate) again: bool,
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Instance {
    /// Its own folder
    #[arg(long)]
    pub(crate) home: PathBuf,
    /// Where packages lie that were prepared for all
    #[arg(long)]
    pub(crate) packages: PathBuf,
}
