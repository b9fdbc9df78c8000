//! What the commands take that are about hosted servers.

use clap::{Args, Subcommand};

use super::Setup;

#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// Fetch and verify the packages that servers are, without running anything of them; then starts need no network
    #[command(
        after_help = "Examples:\n  portcullis host prepare\n  portcullis host prepare files time\n  portcullis host prepare --verify\n\nA package is fetched once: what was prepared is what runs. --again fetches it anew, with what its dependencies are\nby now. The digest of its archive is printed, to be written as `integrity` beside it."
    )]
    Prepare(Prepare),
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
