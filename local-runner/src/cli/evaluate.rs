//! How a server is evaluated, as it is asked for.

use std::path::PathBuf;

use clap::Args;

use super::{AdminCredential, Setup};
use crate::evaluate::report::Calls;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct Evaluate {
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// The server of the configuration
    #[arg(value_name = "SERVER")]
    pub(crate) server: Option<String>,
    /// Which of its tools are called
    #[arg(long, value_enum, default_value = "safe")]
    pub(crate) calls: Calls,
    /// Run it as a process of yours, where no sandbox can be made: only what you trust
    #[arg(long)]
    pub(crate) unconfined: bool,
    /// Record files, programs and connections, where strace is installed
    #[arg(long)]
    pub(crate) record: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the report as a page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Also send the report to a gateway that runs, whose registry may ask for it
    #[arg(long, value_name = "URL", conflicts_with = "list")]
    pub(crate) url: Option<http::Uri>,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
    /// Show the newest report that is kept, and evaluate nothing
    #[arg(long)]
    pub(crate) show: bool,
    /// List the reports that are kept, and evaluate nothing
    #[arg(long, conflicts_with = "show")]
    pub(crate) list: bool,
}
