//! What the commands take that are about the configuration of a gateway elsewhere.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What opens the admin API of a gateway that runs.
#[derive(Debug, Args, Clone)]
pub(crate) struct AdminCredential {
    /// A file with the admin key of a gateway that runs [default: what `PORTCULLIS_ADMIN_KEY` says]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) admin_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// The configuration: a portcullis.yaml, an mcpServers file, or a folder with one
    #[arg(long, env = "PORTCULLIS_CONFIG", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// The gateway that is to serve it
    #[arg(long, value_name = "URL")]
    pub(crate) to: http::Uri,
    /// What it is pushed for
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Push it whatever is in force there by now
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// The gateway that serves it
    #[arg(long, value_name = "URL")]
    pub(crate) from: http::Uri,
    /// The folder to write it to
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) output: PathBuf,
    /// An earlier version instead of the one in force
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<u64>,
    /// Write over files that have been changed here
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
    /// Print what is pulled as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The version to go back to, as `portcullis versions` shows it
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: u64,
    /// The gateway
    #[arg(long, value_name = "URL")]
    pub(crate) url: http::Uri,
    /// What for
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Versions {
    /// The gateway
    #[arg(long, value_name = "URL")]
    pub(crate) url: http::Uri,
    /// The most versions, the newest first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) limit: u64,
    /// Instead of the list, how another version differs from this one: the newest, or the one that --to names
    #[arg(long, value_name = "VERSION", conflicts_with = "limit")]
    pub(crate) diff: Option<u64>,
    /// The other version
    #[arg(id = "compared", long = "to", value_name = "VERSION", requires = "diff")]
    pub(crate) to: Option<u64>,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Connections {
    /// List who has connected an account where; what is in a connection is shown to nobody
    #[command(after_help = "Example:\n  portcullis connections list --url https://mcp.example.com")]
    List(ListConnections),
    /// End all connections of a principal, whose agents are asked to connect again
    #[command(after_help = "Example:\n  portcullis connections rm user:corp:ana")]
    Rm(EndConnections),
}

#[derive(Debug, Args)]
pub(crate) struct ListConnections {
    #[command(flatten)]
    pub(crate) of: ConnectionsOf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EndConnections {
    /// Whose, as `connections list` shows it
    #[arg(value_name = "PRINCIPAL")]
    pub(crate) principal: String,
    #[command(flatten)]
    pub(crate) of: ConnectionsOf,
}

/// Whose connections a command is about: those of a gateway that runs, or of a data folder.
#[derive(Debug, Args)]
pub(crate) struct ConnectionsOf {
    /// A gateway that runs, whose connections are meant instead of those of this machine
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<http::Uri>,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
    /// Where the gateway keeps its data [default: the user's data folder]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Whose keys a command is about: those of a gateway that runs, or of a data folder.
#[derive(Debug, Args)]
pub(crate) struct KeysOf {
    /// A gateway that runs, whose keys are meant instead of those of this machine
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<http::Uri>,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Instances {
    /// List the gateways that are identities' own
    #[command(after_help = "Example:\n  portcullis instances list --url https://mcp.example.com")]
    List(ListInstances),
    /// End one and remove all that it held; its identity's next request makes another
    #[command(
        after_help = "Example:\n  portcullis instances rm 0f3a9c41d27be605 --url https://mcp.example.com"
    )]
    Rm(RemoveInstance),
}

#[derive(Debug, Args)]
pub(crate) struct ListInstances {
    #[command(flatten)]
    pub(crate) of: InstancesOf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveInstance {
    /// Which, as `instances list` shows it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) of: InstancesOf,
}

/// Whose instances a command is about.
#[derive(Debug, Args)]
pub(crate) struct InstancesOf {
    /// A gateway that runs
    #[arg(long, value_name = "URL")]
    pub(crate) url: http::Uri,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
}
