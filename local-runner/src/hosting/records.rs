//! What runs, written down in the data folder: so that other commands can say and end it, and what a gateway that was killed
//! has left behind can be found.
//!
//! **Before the first server is started, the gateway is written down itself**: so it is known of one that was killed at any point
//! that something may be left of it. What is written of a gateway that is gone stays until it was swept (`leftovers.rs`).
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
    /// Its control groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<PathBuf>,
    /// Where the engine answers whose container it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) engine: Option<String>,
}

/// What a record of a gateway says that it is run by.
const GATEWAY: &str = "gateway";

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

    /// Notes that this gateway starts servers, by an engine where that is where one answers.
    pub(super) fn note_gateway(&self, engine: Option<&str>) -> Option<Noted> {
        let id = std::process::id();
        self.note(Record { engine: engine.map(str::to_owned), ..Record::new("", GATEWAY, id.to_string()) })
    }

    /// Notes that a server runs as a process, in these control groups.
    pub(crate) fn note_process(
        &self,
        server: &str,
        backend: &str,
        id: u32,
        groups: &[PathBuf],
    ) -> Option<Noted> {
        let record = Record::new(server, backend, id.to_string());
        self.note(Record { began: groups::began(id), groups: groups.to_vec(), ..record })
    }

    /// Notes that a server runs as a container of the engine that answers there.
    pub(crate) fn note_container(&self, server: &str, id: &str, engine: &str) -> Option<Noted> {
        self.note(Record {
            engine: Some(engine.to_owned()),
            ..Record::new(server, "container", id.to_owned())
        })
    }

    fn note(&self, record: Record) -> Option<Noted> {
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

    fn all(&self) -> impl Iterator<Item = (PathBuf, Record)> {
        let files = fs::read_dir(self.0.join(RUNNING)).into_iter().flatten().flatten();
        files.filter_map(|file| {
            let record = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
            Some((file.path(), record))
        })
    }

    /// Returns what runs, and forgets what does not any more.
    pub(crate) fn running(&self) -> Vec<Record> {
        let mut running = Vec::new();
        for (file, record) in self.all().filter(|(_, record)| record.backend != GATEWAY) {
            let is_left = groups::is_gone(&record.owner);
            if record.began.is_some() && record.is_alive() || record.began.is_none() && !is_left {
                running.push(record);
            } else if !is_left {
                let _ = fs::remove_file(file);
            }
        }
        running.sort_by(|a, b| (&a.server, a.since).cmp(&(&b.server, b.since)));
        running
    }

    /// Returns what is written of gateways that are gone, and where.
    pub(super) fn left(&self) -> Vec<(PathBuf, Record)> {
        self.all().filter(|(_, record)| groups::is_gone(&record.owner)).collect()
    }

    /// Where what a server says on standard error is kept.
    pub(crate) fn log(&self, server: &str) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
        self.0.join(LOGS).join(format!("{}.log", server.chars().map(plain).collect::<String>()))
    }
}

impl Record {
    fn new(server: &str, backend: &str, id: String) -> Self {
        Self {
            server: server.to_owned(),
            backend: backend.to_owned(),
            id,
            began: None,
            owner: groups::owner(),
            since: portcullis_native::now(),
            groups: Vec::new(),
            engine: None,
        }
    }

    fn process(&self) -> Option<u32> {
        self.began.and_then(|_| self.id.parse().ok())
    }

    /// Tells whether it is a container.
    pub(super) fn is_container(&self) -> bool {
        self.began.is_none() && self.backend != GATEWAY
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
        let noted = records.note_process("s", "process", child.id(), &[]).expect("a record");
        let running = records.running();
        assert_eq!(running.len(), 1);
        assert_eq!((running[0].server.as_str(), running[0].id.parse()), ("s", Ok(child.id())));
        assert!(running[0].usage().is_some_and(|(memory, processes)| memory > 0 && processes == 1));
        // This gateway is not gone.
        assert_eq!(records.left(), []);
        assert!(running[0].signal(Signal::SIGKILL));
        child.wait().expect("its end");
        assert_eq!(records.running(), []);
        assert!(!running[0].signal(Signal::SIGKILL));
        drop(noted);
    }

    #[test]
    fn what_is_written_of_a_gateway_that_is_gone_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::of(folder.path());
        let mut child = Command::new("sleep").arg("60").process_group(0).spawn().expect("a process");
        let noted = records.note_process("s", "process", child.id(), &[]).expect("a record");
        let itself = records.note_gateway(Some("unix:///x")).expect("a record");
        for noted in [&noted, &itself] {
            let text = fs::read_to_string(&noted.0).expect("a record");
            let mut record: Record = serde_json::from_str(&text).expect("a record");
            // Its process began at another time than the one that has its number by now.
            let (machine, _) = record.owner.rsplit_once('/').expect("a machine");
            record.owner = format!("{machine}/{}-1", std::process::id());
            fs::write(&noted.0, serde_json::to_vec(&record).expect("a record")).expect("a file");
        }
        assert_eq!((records.running().len(), records.left().len()), (1, 2));
        child.kill().expect("it runs");
        child.wait().expect("its end");
        assert_eq!((records.running().len(), records.left().len()), (0, 2));
        let engines: Vec<_> = records.left().into_iter().filter_map(|(_, record)| record.engine).collect();
        assert_eq!(engines, ["unix:///x"]);
    }
}
