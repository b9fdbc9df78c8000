//! The thread that writes the trail.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use portcullis_core::audit::Entry;
use portcullis_native::now;

use super::batch::Batch;
use super::files::Files;
use super::index::Index;
use super::queue::TOGETHER;
use super::{Settings, Shared, lock};
use crate::otlp::Telemetry;

/// For how long entries are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(50);
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Writes entries until nothing follows.
pub(super) struct Writer {
    shared: Arc<Shared>,
    files: Files,
    index: Index,
    telemetry: Option<Arc<Telemetry>>,
    /// What is to be written next.
    pending: VecDeque<Entry>,
    /// The lines of what is being written.
    batch: Batch,
    /// What is to be said of how the files were found.
    remarks: Vec<Entry>,
    /// Of how many lost entries the trail tells.
    told_lost: usize,
}

impl Writer {
    pub(super) fn new(folder: &Path, shared: Arc<Shared>, telemetry: Option<Arc<Telemetry>>) -> Self {
        let (files, index) = (Files::new(folder), Index::new(folder));
        Self {
            shared,
            files,
            index,
            telemetry,
            pending: VecDeque::new(),
            batch: Batch::default(),
            remarks: Vec::new(),
            told_lost: 0,
        }
    }

    pub(super) fn run(mut self) {
        while self.gather() {
            let outcome = self.write();
            self.tell(outcome.as_ref().err());
            if outcome.is_err() && self.shared.queue.is_stopping() {
                break;
            }
        }
        self.shared.queue.close();
        self.files.sync();
    }

    /// Waits for entries, or for the time to try again; tells whether there is something to do.
    fn gather(&mut self) -> bool {
        let queue = &self.shared.queue;
        let fails = self.shared.fails.load(Ordering::Relaxed);
        if fails {
            queue.pause(AGAIN);
        } else {
            queue.gather(GATHER);
        }
        if self.pending.is_empty() {
            queue.take(&mut self.pending);
        }
        !self.pending.is_empty() || (fails && !queue.is_stopping())
    }

    /// Writes what is pending: first the lines, then what makes them searchable.
    fn write(&mut self) -> anyhow::Result<()> {
        let settings = lock(&self.shared.settings).clone();
        let told = self.append(&settings)?;
        if let Some(telemetry) = &self.telemetry {
            telemetry.audited(self.batch.lines());
        }
        let entries = told.iter().chain(&self.remarks).chain(&self.pending);
        let first = self.files.head().chain.last + 1 - self.batch.len() as u64;
        let searched = (first..).zip(entries).map(|(id, entry)| entry.searched(id, &settings.writing));
        let indexed = self.index.add(&self.files, first, self.batch.lines().zip(searched));
        self.files.release();
        self.remarks.clear();
        self.pending.clear();
        self.pending.shrink_to(TOGETHER);
        indexed.context("cannot write audit.db")
    }

    /// Appends the lines of what is pending to the files, and keeps those locked. Returns what it tells besides.
    fn append(&mut self, settings: &Settings) -> anyhow::Result<Option<Entry>> {
        let found = self.files.take_turn(&self.index).context("cannot write the folder audit")?;
        self.remarks.extend(found);
        let lost = self.shared.lost.load(Ordering::Relaxed);
        let told = (lost > self.told_lost).then(|| {
            let count = lost - self.told_lost;
            Entry::own(now(), "audit/lost", format!("{count} entries were lost: there was no room for them"))
        });
        let mut chain = self.files.head().chain.clone();
        self.batch.clear();
        for entry in told.iter().chain(&self.remarks).chain(&self.pending) {
            let write = |out: &mut String, id, prev: &str| entry.write(out, (id, prev), &settings.writing);
            self.batch.push(|text| chain.append(text, write));
        }
        if let Err(error) = self.files.append(&self.batch, chain, (settings.rotate, settings.keep_days)) {
            self.files.release();
            return Err(error).context("cannot write the folder audit");
        }
        self.told_lost = lost;
        let held = self.pending.iter().map(|entry| entry.arguments.held()).sum();
        self.shared.held.fetch_sub(held, Ordering::Relaxed);
        self.shared.queue.recorded();
        self.shared.recorded.fetch_add(self.pending.len(), Ordering::Relaxed);
        Ok(told)
    }

    /// Says what has changed about how writing goes.
    fn tell(&self, error: Option<&anyhow::Error>) {
        let failed = self.shared.fails.swap(error.is_some(), Ordering::Relaxed);
        let trouble = error.map(|error| format!("{error:#}"));
        match &trouble {
            Some(reason) if !failed => tracing::error!(%reason, "the audit trail cannot be written"),
            None if failed => tracing::info!("the audit trail is written again"),
            _ => {}
        }
        *lock(&self.shared.trouble) = trouble;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use portcullis_core::config::Audit;

    use super::*;

    /// Asks a writer to stop that has not taken any of so many entries yet, and looks at what it has written at its end.
    fn check(name: &str, sent: usize) {
        let folder = std::env::temp_dir().join(format!("portcullis-writer-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let shared = Arc::new(Shared::new(&Audit::default()).unwrap());
        let push = || shared.queue.push(Entry::own(0, "audit/test", String::new()));
        assert!((0..sent).all(|_| push().is_ok()));
        shared.queue.stop();
        let (done, ended) = channel();
        let writer = Writer::new(&folder, shared.clone(), None);
        std::thread::spawn(move || {
            writer.run();
            done.send(()).unwrap();
        });
        let ended = ended.recv_timeout(Duration::from_mins(1));
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(ended, Ok(()), "{name}: the writer goes on");
        assert_eq!(shared.recorded.load(Ordering::Relaxed), sent, "{name}");
        assert!(push().is_err(), "{name}: nobody would write it");
    }

    #[test]
    fn a_writer_that_is_told_to_stop_writes_what_is_left_and_ends() {
        check("none", 0);
        check("one", 1);
        check("many", TOGETHER * 2 + 1);
    }
}
