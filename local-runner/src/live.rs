//! Following the configuration while the gateway runs: what its file says comes into force without a restart.
//!
//! **The file is looked at, not waited for** (ADR 0010): by path, twice a second. So it makes no difference whether an
//! editor rewrites it, replaces it, or a mount changes what a link leads to. **What is still being written is not read**:
//! a change comes into force once two looks agree on it. **What has an error changes nothing.**

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::config::{Severity, Source};
use portcullis_core::control::Revision;
use portcullis_core::{Changes, Gateway};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::database::Database;
use crate::host::Machine;
use crate::instances::Instances;
use crate::instances::words::{Given, refuse_unserved};
use crate::source::{self, Place};
use crate::versions::Versions;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What keeps strangers out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarded {
    /// Nothing that the configuration says.
    No,
    /// That it requires a credential: another one must require one, too.
    ByKeys,
}

/// Whom a configuration is given: the gateway, and those that are identities' own.
type Followers = (Gateway<Machine>, Option<Arc<Instances>>);

/// What a look at the configuration found: its files, or why there is none.
type Look = Result<Vec<Source>, String>;

/// Puts what the configuration at `place` says in force whenever it changes, and at once on SIGHUP; gateways that are
/// identities' own are given it too.
pub(crate) fn follow(to: Followers, place: Place, guarded: Guarded) -> anyhow::Result<JoinHandle<()>> {
    let hangups = signal(SignalKind::hangup())?;
    Ok(tokio::spawn(async move {
        match place {
            Place::Files { path, sources } => {
                keep_looking((&to, guarded), &path, Ok(sources), hangups).await;
            }
            Place::Store(folder) => keep_looking_at_store(&to, &folder).await,
            Place::Nowhere => without_a_file(hangups).await,
        }
    }))
}

/// Puts what other processes push to the data folder in force.
async fn keep_looking_at_store((gateway, apart): &Followers, folder: &Path) {
    let (mut looked, mut trouble) = (Looking::default(), String::new());
    loop {
        sleep(LOOK).await;
        let folder = folder.to_owned();
        let looking = tokio::task::spawn_blocking(move || {
            let found = looked.look(&folder);
            (looked, found)
        });
        let Ok((returned, found)) = looking.await else { return };
        looked = returned;
        match found {
            Ok(newest) => {
                trouble.clear();
                if let Some(newest) = newest {
                    gateway.look_again(&newest);
                    let is_in_force = gateway
                        .version_in_force()
                        .is_some_and(|(version, _)| version == newest.stamp.version);
                    if let Some(apart) = apart.as_ref().filter(|_| is_in_force) {
                        apart.configure(Given::pushed(&newest.text));
                    }
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                if error != trouble {
                    tracing::error!("the configuration stays as it is: {error}");
                    trouble = error;
                }
            }
        }
    }
}

/// What is known of the versions in a data folder.
#[derive(Default)]
struct Looking {
    versions: Option<Versions>,
    /// What the database said when it was last read.
    seen: Option<i64>,
}

impl Looking {
    /// Returns the newest version, where it may be another one than before.
    fn look(&mut self, folder: &Path) -> anyhow::Result<Option<Revision>> {
        if self.versions.as_ref().is_some_and(|versions| versions.0.is_gone()) {
            *self = Self::default();
        }
        if self.versions.is_none() {
            self.versions = Database::find(folder)?.map(Versions);
        }
        let Some(versions) = &self.versions else { return Ok(None) };
        let now = versions.0.version()?;
        if self.seen == Some(now) {
            return Ok(None);
        }
        let newest = versions.newest()?;
        self.seen = Some(now);
        Ok(newest)
    }
}

async fn without_a_file(mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        tracing::info!("there is no configuration file to read again");
    }
}

async fn keep_looking(to: (&Followers, Guarded), path: &Path, mut in_force: Look, mut hangups: Signal) {
    let mut last = in_force.clone();
    loop {
        let asked = tokio::select! {
            () = sleep(LOOK) => false,
            _ = hangups.recv() => true,
        };
        let now = look(path).await;
        if asked || (now != in_force && now == last) {
            apply(to, &now);
            in_force.clone_from(&now);
        }
        last = now;
    }
}

async fn look(path: &Path) -> Look {
    let path = path.to_owned();
    let looking =
        tokio::task::spawn_blocking(move || source::look(&path).map_err(|error| format!("{error:#}")));
    looking.await.unwrap_or_else(|error| Err(error.to_string()))
}

/// Puts a configuration in force, or says why not.
fn apply(((gateway, apart), guarded): (&Followers, Guarded), found: &Look) {
    let sources = match found {
        Ok(sources) => sources,
        Err(error) => return tracing::error!("the configuration stays as it is: {error}"),
    };
    let parsed = source::parse(sources);
    for problem in &parsed.problems {
        match problem.severity {
            Severity::Error => tracing::error!("{problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
        }
    }
    if parsed.is_refused() {
        return tracing::error!("the configuration stays as it is: {} has errors", source::origin(sources));
    }
    if guarded == Guarded::ByKeys && !parsed.config.auth.required {
        return tracing::error!(
            "the configuration stays as it is: without `auth.required` anyone who reaches this address could use it; \
             restart with --insecure, or on a loopback address"
        );
    }
    if let Err(error) = refuse_unserved(&parsed.config) {
        return tracing::error!("the configuration stays as it is: {error}");
    }
    let changes = gateway.reload(parsed.config);
    if let Some(apart) = apart {
        apart.configure(Given::files(sources));
    }
    tracing::info!("the configuration was read again: {}", in_words(&changes));
}

fn in_words(changes: &Changes) -> String {
    let groups = [
        ("added", &changes.added),
        ("removed", &changes.removed),
        ("changed", &changes.changed),
        ("kept as before because of an error", &changes.kept),
    ];
    let mut said: Vec<_> = groups
        .into_iter()
        .filter(|(_, servers)| !servers.is_empty())
        .map(|(what, servers)| format!("{what} {}", servers.join(", ")))
        .collect();
    if changes.access {
        said.push("changed who may do what".to_owned());
    }
    if changes.gateway {
        said.push("changed settings of the gateway".to_owned());
    }
    if said.is_empty() { "nothing has changed".to_owned() } else { said.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_said_in_one_line() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let changes = Changes {
            added: names(&["a", "b"]),
            changed: names(&["c"]),
            gateway: true,
            access: true,
            ..Changes::default()
        };
        let said = "added a, b; changed c; changed who may do what; changed settings of the gateway";
        assert_eq!(in_words(&changes), said);
        assert_eq!(in_words(&Changes::default()), "nothing has changed");
    }
}
