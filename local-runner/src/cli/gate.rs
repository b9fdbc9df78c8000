//! What the commands take that put a network behind a gate.

use std::path::PathBuf;

use clap::Args;
use portcullis_core::config::Place;

/// A network that is to be put behind a gate.
#[derive(Debug, Args)]
pub(crate) struct Gate {
    /// A process in a network of its own, from which nothing leads out
    #[arg(long, value_name = "PID")]
    pub(crate) pid: u32,
    /// What attempts are recorded as attempts of
    #[arg(long, value_name = "NAME")]
    pub(crate) server: String,
    /// A place that may be reached; `*.` before a host stands for one or more labels
    #[arg(long = "place", value_name = "HOST:PORT", value_parser = public)]
    pub(crate) places: Vec<Place>,
    /// The same, which may be in a private network or on this machine
    #[arg(long = "private-place", value_name = "HOST:PORT", value_parser = private)]
    pub(crate) private: Vec<Place>,
    /// How many connections there may be at a time
    #[arg(long, value_name = "N")]
    pub(crate) most_connections: Option<usize>,
    /// How many bytes one connection may carry
    #[arg(long, value_name = "N")]
    pub(crate) most_bytes: Option<u64>,
    /// Where the gateway keeps its data [default: the user's data folder]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// A network whose sockets are handed over standard input.
#[derive(Debug, Args)]
pub(crate) struct GateSockets {
    /// A process in it
    #[arg(long, value_name = "PID")]
    pub(crate) pid: u32,
    /// A port that connections are taken at
    #[arg(long = "port", value_name = "PORT")]
    pub(crate) ports: Vec<u16>,
}

fn public(text: &str) -> Result<Place, String> {
    place(text, false)
}

fn private(text: &str) -> Result<Place, String> {
    place(text, true)
}

fn place(text: &str, private: bool) -> Result<Place, String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = parts.ok_or("expected a host and a port, such as api.example.com:443")?;
    Ok(Place { host: host.to_ascii_lowercase(), port, private })
}
