//! What runs, written down in the data folder: so that other commands can say and end it, and what a gateway that was killed
//! has left behind can be found.
//!
//! **A number is not a process**: a record holds when its process began, and another process with its number is another.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::groups;

/// Where records lie in the data folder, and where what servers say on standard error.
const RUNNING: &str = "hosting/running";
const LOGS: &str = "hosting/logs";

/// A server that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The server.
    pub(crate) server: String,
    /// What it is run by.
    pub(crate) backend: String,
    /// Its process, or the engine's name of its container.
    pub(crate) id: String,
    /// When its process began; nothing for a container.
    pub(crate) began: Option<u64>,
    /// The gateway that started it.
    pub(crate) owner: String,
    /// When it was started, in milliseconds since the Unix epoch.
    pub(crate) since: u64,
}

/// The records of a data folder. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Records(Arc<Path>);

/// A record that lasts as long as this does.
#[derive(Debug)]
pub(crate) struct Noted(PathBuf);

impl Records {
    /// The records of this data folder.
    pub(crate) fn of(folder: &Path) -> Self {
        Self(folder.into())
    }

    /// Notes that a server runs as a process.
    pub(crate) fn note_process(&self, server: &str, backend: &str, id: u32) -> Option<Noted> {
        self.note(server, backend, id.to_string(), groups::began(id))
    }

    /// Notes that a server runs as a container.
    pub(crate) fn note_container(&self, server: &str, id: &str) -> Option<Noted> {
        self.note(server, "container", id.to_owned(), None)
    }

    fn note(&self, server: &str, backend: &str, id: String, began: Option<u64>) -> Option<Noted> {
        let record = Record {
            server: server.to_owned(),
            backend: backend.to_owned(),
            id,
            began,
            owner: groups::owner(),
            since: portcullis_native::now(),
        };
        let folder = self.0.join(RUNNING);
        let file = folder.join(format!("{}.json", groups::unique()));
        let text = serde_json::to_vec(&record).ok()?;
        let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, text));
        if let Err(error) = written {
            tracing::warn!(%error, "what runs cannot be written down");
            return None;
        }
        Some(Noted(file))
    }

    /// Returns what runs, and forgets what does not any more.
    pub(crate) fn running(&self) -> Vec<Record> {
        let files = fs::read_dir(self.0.join(RUNNING)).into_iter().flatten().flatten();
        let mut records: Vec<Record> = files
            .filter_map(|file| {
                let record: Record = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
                let gone = record.began.is_some() && !record.is_alive()
                    || record.began.is_none() && groups::is_gone(&record.owner);
                if gone {
                    let _ = fs::remove_file(file.path());
                }
                (!gone).then_some(record)
            })
            .collect();
        records.sort_by(|a, b| (&a.server, a.since).cmp(&(&b.server, b.since)));
        records
    }

    /// Kills the processes that gateways have left which are gone; returns how many there were.
    pub(crate) fn sweep(&self) -> usize {
        let left = self.running().into_iter().filter(|record| groups::is_gone(&record.owner));
        left.filter(|record| record.signal(Signal::SIGKILL)).count()
    }

    /// Where what a server says on standard error is kept.
    pub(crate) fn log(&self, server: &str) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
        self.0.join(LOGS).join(format!("{}.log", server.chars().map(plain).collect::<String>()))
    }
}

impl Record {
    fn process(&self) -> Option<u32> {
        self.began.and_then(|_| self.id.parse().ok())
    }

    /// Tells whether its process is the one that was noted; not for a container.
    pub(crate) fn is_alive(&self) -> bool {
        self.process().is_some_and(|id| groups::began(id) == self.began)
    }

    /// Sends a signal to its process and all that this has started; tells whether there was one.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let Some(id) = self.process().filter(|_| self.is_alive()).and_then(|id| i32::try_from(id).ok())
        else {
            return false;
        };
        let id = Pid::from_raw(id);
        killpg(id, signal).or_else(|_| kill(id, signal)).is_ok()
    }

    /// Returns the memory that its processes have now, in bytes, and how many there are.
    pub(crate) fn usage(&self) -> Option<(u64, usize)> {
        let id = self.process().filter(|_| self.is_alive())?;
        let members = groups::descendants(id);
        Some((members.iter().filter_map(|id| groups::resident(*id)).sum(), members.len()))
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_runs_is_known_and_what_has_ended_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::of(folder.path());
        assert_eq!(records.running(), []);
        let mut child = Command::new("sleep").arg("60").process_group(0).spawn().expect("a process");
        let noted = records.note_process("s", "process", child.id()).expect("a record");
        let running = records.running();
        assert_eq!(running.len(), 1);
        assert_eq!((running[0].server.as_str(), running[0].id.parse()), ("s", Ok(child.id())));
        assert!(running[0].usage().is_some_and(|(memory, processes)| memory > 0 && processes == 1));
        // This gateway is not gone.
        assert_eq!(records.sweep(), 0);
        assert!(running[0].signal(Signal::SIGKILL));
        child.wait().expect("its end");
        assert_eq!(records.running(), []);
        assert!(!running[0].signal(Signal::SIGKILL));
        drop(noted);
    }

    #[test]
    fn what_a_gateway_that_is_gone_has_left_is_swept() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::of(folder.path());
        let mut child = Command::new("sleep").arg("60").process_group(0).spawn().expect("a process");
        let noted = records.note_process("s", "process", child.id()).expect("a record");
        let text = fs::read_to_string(&noted.0).expect("a record");
        let mut record: Record = serde_json::from_str(&text).expect("a record");
        // Its process began at another time than the one that has its number by now.
        let (machine, _) = record.owner.rsplit_once('/').expect("a machine");
        record.owner = format!("{machine}/{}-1", std::process::id());
        fs::write(&noted.0, serde_json::to_vec(&record).expect("a record")).expect("a file");
        assert_eq!(records.sweep(), 1);
        assert!(!child.wait().expect("its end").success());
        assert_eq!(records.sweep(), 0);
    }
}
