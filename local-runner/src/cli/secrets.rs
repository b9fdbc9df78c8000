//! What the commands take that are about secrets.

use clap::{Args, Subcommand};
use portcullis_core::secrets::SecretName;

use super::{AdminCredential, Setup};

#[derive(Debug, Subcommand)]
pub(crate) enum Secrets {
    /// Set a secret to what comes on standard input, or is asked for on a terminal
    #[command(
        after_help = "Examples:\n  portcullis secrets set tickets-key\n  portcullis secrets set tickets-key < key.txt\n  pass show github | portcullis secrets set github --url https://mcp.example.com\n\nA line break at the end is no part of the value. A gateway that runs uses the value within a second."
    )]
    Set(ChangeSecret),
    /// List the secrets, and which servers need them; values are never shown
    #[command(
        after_help = "Examples:\n  portcullis secrets list\n  portcullis secrets list --url https://mcp.example.com --json"
    )]
    List(ListSecrets),
    /// Give a secret another value and keep the one before, for servers that still expect it
    #[command(
        after_help = "Example:\n  portcullis secrets rotate tickets-key < new-key.txt\n\nThe value before is tried where a server answers 401 to the new one. `secrets set` forgets it."
    )]
    Rotate(ChangeSecret),
    /// Remove a secret; servers that need it are down until it is set again
    #[command(after_help = "Example:\n  portcullis secrets rm tickets-key")]
    Rm(ChangeSecret),
}

#[derive(Debug, Args)]
pub(crate) struct ChangeSecret {
    /// What a configuration calls the secret: `{ secret: NAME }`, or `${secret:NAME}` in a text
    #[arg(value_name = "NAME", value_parser = SecretName::parse)]
    pub(crate) name: SecretName,
    #[command(flatten)]
    pub(crate) of: SecretsOf,
}

#[derive(Debug, Args)]
pub(crate) struct ListSecrets {
    #[command(flatten)]
    pub(crate) of: SecretsOf,
}

/// Whose secrets a command is about: those of a gateway that runs, or of a data folder.
#[derive(Debug, Args)]
pub(crate) struct SecretsOf {
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// A gateway that runs, whose secrets are meant instead of those of this machine
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<http::Uri>,
    #[command(flatten)]
    pub(crate) credential: AdminCredential,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
