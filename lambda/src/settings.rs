//! What the environment says. Every complaint says what to set.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use portcullis_core::control::Strangers;
use portcullis_core::{AdminKey, SealKeys};

/// How a function is set up.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where the configuration is.
    pub(crate) source: Source,
    /// The keys that seal what clients carry; all environments need the same.
    pub(crate) seal_keys: SealKeys,
    /// What opens the admin API; without one it stays closed.
    pub(crate) admin_key: Option<AdminKey>,
    /// Whether callers that prove nothing are admitted.
    pub(crate) strangers: Strangers,
    /// How answers are given.
    pub(crate) answers: Answers,
}

/// Where the configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// In a file of the package, read once.
    File(PathBuf),
    /// In this table.
    Table(String),
}

/// How answers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// As the front that an event comes from is known to take them.
    AsFront,
    /// As streams, whatever the front.
    Streamed,
    /// Whole, whatever the front.
    Whole,
}

impl Settings {
    /// Reads the settings from an environment.
    pub(crate) fn read(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let text =
            |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let source = match (text("PORTCULLIS_TABLE"), text("PORTCULLIS_CONFIG")) {
            (Some(table), None) => Source::Table(table),
            (None, Some(file)) => Source::File(file.into()),
            (Some(_), Some(_)) => bail!(
                "PORTCULLIS_TABLE and PORTCULLIS_CONFIG are both set: unset PORTCULLIS_CONFIG, and put what the file says \
                 into the table with `portcullis push FILE --url URL`"
            ),
            (None, None) => bail!(
                "there is no configuration: set PORTCULLIS_TABLE to the name of a DynamoDB table, or PORTCULLIS_CONFIG to \
                 the name of a file in the function's package"
            ),
        };
        let seal = text("PORTCULLIS_SEAL_KEY").context(
            "there is no PORTCULLIS_SEAL_KEY, which seals what agents carry: make one with `openssl rand -base64 32`",
        )?;
        let seal_keys = SealKeys::parse(&seal).context("PORTCULLIS_SEAL_KEY")?;
        let answers = match text("PORTCULLIS_ANSWERS").as_deref() {
            None => Answers::AsFront,
            Some("streamed") => Answers::Streamed,
            Some("whole") => Answers::Whole,
            Some(_) => bail!(
                "PORTCULLIS_ANSWERS is neither `streamed` nor `whole`: unset it to answer as each front takes it"
            ),
        };
        let strangers = match text("PORTCULLIS_INSECURE").as_deref() {
            Some("1" | "true" | "yes") => Strangers::Admitted,
            _ => Strangers::KeptOut,
        };
        let admin_key = text("PORTCULLIS_ADMIN_KEY").as_deref().and_then(AdminKey::new);
        Ok(Self { source, seal_keys, admin_key, strangers, answers })
    }
}

/// Returns what a configuration may refer to: not what is the gateway's own, nor the role's.
pub(crate) fn variable(name: &str) -> Option<String> {
    let is_reserved = ["PORTCULLIS_", "AWS_"].iter().any(|prefix| name.starts_with(prefix));
    if is_reserved { None } else { std::env::var(name).ok() }
}
