//! What the commands take that are about a fleet, and what `serve` takes to be part of one.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::AdminCredential;

/// The environment variable with an enrolment token.
pub(crate) const ENROLMENT: &str = "PORTCULLIS_ENROLMENT";

/// What `portcullis fleet --help` ends with.
pub(super) const EXAMPLES: &str = "\
Examples:
  portcullis fleet enrol eu-1 --url https://control.example.com > enrolment.token
  portcullis fleet list --url https://control.example.com
  portcullis fleet rollout --to canary --url https://control.example.com
  portcullis fleet promote --url https://control.example.com

A control plane is a gateway whose configuration is pushed, with an admin key. What it gives a gateway is signed, and the
gateway goes on with it whether or not the control plane is there.";

/// The control plane that says what is served.
#[derive(Debug, Args)]
pub(crate) struct Control {
    /// The control plane that says what is served, also where it cannot be reached: then it is what it gave last
    // Named apart: the values of what `audit` takes everywhere, `--url` among it, are known to the program's root too.
    #[arg(id = "control", long = "control", env = "PORTCULLIS_CONTROL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// A file with the token of `portcullis fleet enrol`, needed once [default: what `PORTCULLIS_ENROLMENT` says]
    #[arg(long, value_name = "FILE")]
    pub(crate) enrolment_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Fleet {
    /// Make a token by which one gateway joins, once; it is shown this once
    #[command(
        after_help = "Example:\n  portcullis fleet enrol eu-1 --label ring=early --url https://control.example.com > enrolment.token\n\nOn the gateway's machine:\n  portcullis serve --control https://control.example.com --enrolment-file enrolment.token\n\nThe token is not sent to the control plane: it signs what the gateway joins with. Once it has joined, the gateway needs it\nno more."
    )]
    Enrol(Enrol),
    /// List the gateways, which version each has, and which it should have
    #[command(after_help = "Example:\n  portcullis fleet list --url https://control.example.com")]
    List(ListGateways),
    /// Remove a gateway: it is given nothing any more, and goes on with what it has until it is stopped
    #[command(after_help = "Example:\n  portcullis fleet remove eu-1 --url https://control.example.com")]
    Remove(RemoveGateway),
    /// Have a version go to some gateways first; without --version it is the one that is pushed next
    #[command(
        after_help = "Example, a canary first, then all that are labelled, then everybody:\n  portcullis fleet rollout --to canary --to ring=early --note 'tickets for interns' --url https://control.example.com\n  portcullis push --to https://control.example.com\n  portcullis fleet list --url https://control.example.com\n  portcullis fleet promote --url https://control.example.com\n  portcullis fleet promote --all --url https://control.example.com\n\nEach --to is a stage: names of gateways and labels, with commas between them. `--to agent:coder` is one, too: that agent alone\nhas what the version says of it, and the servers that are new in it, at every gateway. Until the rollout ends, what is pushed\nbesides reaches nobody."
    )]
    Rollout(BeginRollout),
    /// Have the rollout go on to its next stage, after the last one to all
    #[command(after_help = "Example:\n  portcullis fleet promote --all --url https://control.example.com")]
    Promote(Promote),
    /// Have every gateway go back to what was for all before the rollout
    #[command(after_help = "Example:\n  portcullis fleet abort --url https://control.example.com")]
    Abort(OfFleet),
}

/// Which fleet a command is about.
#[derive(Debug, Args)]
pub(crate) struct OfFleet {
    /// The control plane
    #[arg(long, value_name = "URL")]
    pub(crate) url: http::Uri,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Enrol {
    /// What the gateway is to be called
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What rollouts can tell it by; may be said several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    pub(crate) label: Vec<(String, String)>,
    /// For how long the token counts, such as `2d` [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = super::lifetime)]
    pub(crate) expires: Option<Duration>,
    #[command(flatten)]
    pub(crate) of: OfFleet,
}

#[derive(Debug, Args)]
pub(crate) struct ListGateways {
    #[command(flatten)]
    pub(crate) of: OfFleet,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveGateway {
    /// The gateway's name or id, as `fleet list` shows it; also that of an enrolment that waits
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) of: OfFleet,
}

#[derive(Debug, Args)]
pub(crate) struct BeginRollout {
    /// A stage: names of gateways, labels, and agents at all other gateways, with commas between them; may be said several times
    #[arg(long = "to", value_name = "NAME|LABEL=VALUE|agent:NAME", required = true)]
    pub(crate) stages: Vec<String>,
    /// The version, as `portcullis versions` shows it [default: the one that is pushed next]
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<u64>,
    /// What for
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    #[command(flatten)]
    pub(crate) of: OfFleet,
}

#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// To all gateways at once
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) of: OfFleet,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as ring=early")?;
    Ok((name.to_owned(), value.to_owned()))
}
