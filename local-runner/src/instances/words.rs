//! What the front and an identity's own gateway tell each other: a line of JSON each, over the standard streams of the latter.
//!
//! **What an instance tells is not believed further than it reaches**: it can pass on entries of its own identity, and ask for
//! secrets that the configuration names.

use portcullis_core::config::{Config, Parsed, Processes, Server, Sharing, Source, Transport, parse};
use portcullis_core::control::{self, Means, Strangers};
use portcullis_core::identity::KeyRecord;
use portcullis_core::names::ServerName;
use serde::{Deserialize, Serialize};

/// What the front tells an instance. The first is [`Order::Begin`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// What it begins with.
    Begin(Box<Begin>),
    /// Another configuration is in force.
    Configuration(Given),
    /// Other keys of its identity count.
    Keys(Vec<KeyRecord>),
    /// What was asked for.
    Answer { ask: u64, value: Result<Option<Lent>, String> },
    /// These secrets have changed.
    Secrets(Vec<String>),
}

/// What an instance begins with.
#[derive(Serialize, Deserialize)]
pub(crate) struct Begin {
    /// Base64, separated by commas.
    pub(crate) seal_keys: String,
    pub(crate) configuration: Given,
    pub(crate) keys: Vec<KeyRecord>,
    /// What URLs of the gateway begin with.
    pub(crate) address: String,
    /// Whether others than this machine reach the gateway.
    pub(crate) is_exposed: bool,
    pub(crate) started_by: Vec<String>,
}

/// A configuration as it is passed on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Given {
    /// Files: path and text.
    pub(crate) files: Vec<(String, String)>,
    /// What was pushed, where there are no files.
    pub(crate) pushed: Option<String>,
    /// What is approved, where that lies apart: server and text.
    pub(crate) approvals: Vec<(String, String)>,
}

/// The values of a secret.
#[derive(Serialize, Deserialize)]
pub(crate) struct Lent {
    pub(crate) current: String,
    pub(crate) previous: Option<String>,
    pub(crate) version: String,
}

/// What an instance tells the front.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// It answers requests.
    Ready,
    /// It asks for a secret.
    Ask { ask: u64, secret: String },
    /// An entry of the audit trail.
    Entry(String),
}

impl Given {
    /// Returns the configuration that files are.
    pub(crate) fn files(sources: &[Source]) -> Self {
        let files = sources.iter().map(|source| (source.path.clone(), source.text.clone()));
        Self { files: files.collect(), ..Self::default() }
    }

    /// Returns the configuration that was pushed.
    pub(crate) fn pushed(text: &str) -> Self {
        Self { pushed: Some(text.to_owned()), ..Self::default() }
    }

    /// Understands it, with the environment of this process.
    pub(crate) fn understood(&self) -> Parsed {
        let env = |name: &str| std::env::var(name).ok();
        if let Some(text) = &self.pushed {
            // Whether strangers may come was decided by the front, which lets nobody else in.
            let strangers = Strangers::Admitted;
            let means = Means { env: &env, processes: Processes::Started, strangers };
            return control::understand_text(text, &means);
        }
        let of = |(path, text): &(String, String)| Source { path: path.clone(), text: text.clone() };
        parse(&self.files.iter().map(of).collect::<Vec<_>>(), &env)
    }
}

/// Returns a message as a line, without its end.
pub(crate) fn line(message: &impl Serialize) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

/// Returns what an identity's own gateway cannot serve on this host, and why: the servers at which users connect accounts, since
/// what they connect is sealed under the front's keys.
pub(crate) fn unserved(config: &Config) -> Vec<(ServerName, &'static str)> {
    const WHY: &str =
        "users connect accounts there, and with `isolation: per-identity` this host has nowhere to keep them";
    let connects = |server: &Server| match &server.transport {
        Transport::Http(endpoint) | Transport::Sse(endpoint) => endpoint.consent.is_some(),
        Transport::Stdio(_) => false,
    };
    let enabled = config.servers.iter().filter(|(_, server)| server.enabled);
    enabled.filter(|(_, server)| connects(server)).map(|(name, _)| (name.clone(), WHY)).collect()
}

/// Refuses a configuration of files that asks for gateways of identities' own and for what those cannot serve.
pub(crate) fn refuse_unserved(config: &Config) -> anyhow::Result<()> {
    if config.gateway.sharing == Sharing::PerIdentity
        && let Some((server, why)) = unserved(config).first()
    {
        anyhow::bail!("servers.{server}: {why}; leave the server out, or `isolation`");
    }
    Ok(())
}
