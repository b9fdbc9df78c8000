//! What servers were approved to say, in the database of the data folder, where a file configures the gateway; and how a
//! gateway that runs hears of it: it looks, as it does for keys.
//!
//! **They lie apart from the configuration**: whoever changes that file approves nothing by it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::BoxFuture;
use portcullis_core::control::StoreError;
use portcullis_core::names::ServerName;
use portcullis_core::ports::Definitions;
use portcullis_core::{Approval, Approvals, Gateway, Sighting};
use rusqlite::params;

use crate::database::Database;
use crate::history::Recorder;
use crate::host::Machine;
use crate::instances::Instances;
use crate::store::apart;

/// How often the database is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Returns what is approved in a data folder.
pub(crate) fn all(folder: &Path) -> anyhow::Result<Approvals> {
    Database::find(folder)?.map_or_else(|| Ok(Approvals::default()), |database| read(&database))
}

fn read(database: &Database) -> anyhow::Result<Approvals> {
    let mut statement = database.connection.prepare_cached("SELECT server, approval FROM approvals")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut approvals = Vec::new();
    for row in rows {
        let (server, text) = row?;
        let approval = Approval::read(&text).map_err(anyhow::Error::msg);
        let approval = approval.with_context(|| format!("the approval of {server:?}"))?;
        approvals.push((ServerName::parse(&server)?, Arc::new(approval)));
    }
    Ok(approvals.into_iter().collect())
}

/// Returns what is approved, as texts: server and approval.
pub(crate) fn texts(approvals: &Approvals) -> Vec<(String, String)> {
    approvals.all().into_iter().map(|(server, approval)| (server.to_string(), approval.to_text())).collect()
}

/// Gives a gateway, and those that are identities' own, what is approved in a data folder whenever that changes. What cannot be
/// read changes nothing.
pub(crate) fn follow((gateway, apart): (Gateway<Machine>, Option<Arc<Instances>>), folder: PathBuf) {
    tokio::spawn(async move {
        gateway.look_at_registry().await;
        let (mut looking, mut trouble) = (Looking { folder, database: None, seen: None }, String::new());
        loop {
            tokio::time::sleep(LOOK).await;
            let looked = tokio::task::spawn_blocking(move || {
                let found = looking.look();
                (looking, found)
            });
            let Ok((returned, found)) = looked.await else { return };
            looking = returned;
            match found {
                Ok(found) => {
                    trouble.clear();
                    if let Some(approvals) = found {
                        if let Some(apart) = &apart {
                            apart.approve(texts(&approvals));
                        }
                        gateway.set_approvals(approvals);
                    }
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    if error != trouble {
                        tracing::error!("the approvals stay as they are: {error}");
                        trouble = error;
                    }
                }
            }
        }
    });
}

struct Looking {
    folder: PathBuf,
    database: Option<Database>,
    seen: Option<i64>,
}

impl Looking {
    /// Returns what is approved where that may be something else than before. A database that is gone says nothing.
    fn look(&mut self) -> anyhow::Result<Option<Approvals>> {
        if self.database.as_ref().is_some_and(Database::is_gone) {
            (self.database, self.seen) = (None, None);
        }
        if self.database.is_none() {
            self.database = Database::find(&self.folder)?;
        }
        let Some(database) = &self.database else { return Ok(None) };
        let now = database.version()?;
        if self.seen == Some(now) {
            return Ok(None);
        }
        let approvals = read(database)?;
        self.seen = Some(now);
        Ok(Some(approvals))
    }
}

/// The definitions of a data folder: what is approved of them, and all that were ever seen.
pub(crate) struct Kept {
    folder: PathBuf,
    recorder: Recorder,
}

impl Kept {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), recorder: Recorder::new(folder) }
    }
}

impl Definitions for Kept {
    fn approve(&self, server: String, approval: Option<String>) -> BoxFuture<'_, Result<(), StoreError>> {
        let folder = self.folder.clone();
        apart(move || {
            let connection = Database::make(&folder)?.connection;
            match approval {
                Some(text) => {
                    let put = "INSERT INTO approvals (server, approval) VALUES (?1, ?2) ON CONFLICT (server) DO UPDATE SET approval = ?2";
                    connection.execute(put, params![server, text])
                }
                None => connection.execute("DELETE FROM approvals WHERE server = ?1", [server]),
            }?;
            Ok(())
        })
    }

    fn seen(&self, sighting: Sighting) {
        self.recorder.record(sighting);
    }
}
