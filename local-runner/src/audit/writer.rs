//! The thread that writes the trail.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use portcullis_core::audit::Entry;
use portcullis_native::now;

use super::drafts::Drafts;
use super::files::Files;
use super::index::Index;
use super::segment::Segment;
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
    pending: Drafts,
    /// The lines of what is being written.
    segment: Segment,
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
            pending: Drafts::default(),
            segment: Segment::default(),
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
            self.pending = queue.take();
        }
        !self.pending.is_empty() || (fails && !queue.is_stopping())
    }

    /// Writes what is pending: first the lines, then what makes them searchable.
    fn write(&mut self) -> anyhow::Result<()> {
        let settings = self.shared.settings().clone();
        self.append(&settings)?;
        if let Some(telemetry) = &self.telemetry {
            telemetry.audited(self.segment.lines());
        }
        let indexed = self.index.add(&self.files, &self.segment);
        self.files.release();
        self.remarks.clear();
        self.shared.queue.give_back(std::mem::take(&mut self.pending));
        indexed.context("cannot write audit.db")
    }

    /// Appends the lines of what is pending to the files, and keeps those locked.
    fn append(&mut self, settings: &Settings) -> anyhow::Result<()> {
        let found = self.files.take_turn(&self.index).context("cannot write the folder audit")?;
        self.remarks.extend(found);
        let lost = self.shared.lost.load(Ordering::Relaxed);
        let told = (lost > self.told_lost).then(|| {
            let count = lost - self.told_lost;
            Entry::own(now(), "audit/lost", format!("{count} entries were lost: there was no room for them"))
        });
        let (mut own, mut text) = (Drafts::default(), String::new());
        for entry in told.iter().chain(&self.remarks) {
            Drafts::make(entry, (&mut text, &settings.writing), |t, drafted, a| own.push(t, drafted, a));
        }
        let mut chain = self.files.head().chain.clone();
        self.segment.begin(chain.last + 1);
        for draft in own.iter().chain(self.pending.iter()) {
            let write = |out: &mut String, id, prev: &str| draft.write(out, (id, prev), &settings.writing);
            self.segment.push(|text| chain.append(text, write));
        }
        self.segment.by.join(own.by());
        self.segment.by.join(self.pending.by());
        if let Err(error) = self.files.append(&self.segment, chain, (settings.rotate, settings.keep_days)) {
            self.files.release();
            return Err(error).context("cannot write the folder audit");
        }
        self.told_lost = lost;
        self.shared.held.fetch_sub(self.pending.held(), Ordering::Relaxed);
        self.shared.queue.recorded();
        self.shared.recorded.fetch_add(self.pending.len(), Ordering::Relaxed);
        Ok(())
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

    use super::super::queue::TOGETHER;
    use super::*;

    /// Asks a writer to stop that has not taken any of so many entries yet, and looks at what it has written at its end.
    fn check(name: &str, sent: usize) {
        let folder = std::env::temp_dir().join(format!("portcullis-writer-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let shared = Arc::new(Shared::new(&Audit::default()).unwrap());
        let push = || shared.push(&Entry::own(0, "audit/test", String::new()));
        assert!((0..sent).all(|_| push()));
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
        assert!(!push(), "{name}: nobody would write it");
    }

    #[test]
    fn a_writer_that_is_told_to_stop_writes_what_is_left_and_ends() {
        check("none", 0);
        check("one", 1);
        check("many", TOGETHER * 2 + 1);
    }
}
