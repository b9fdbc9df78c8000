//! The thread that writes the trail.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context as _;
use portcullis_core::audit::Entry;

use super::files::Files;
use super::index::Index;
use super::{Sent, Settings, Shared, lock};
use crate::host::now;
use crate::otlp::Telemetry;

/// For how long entries are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(50);
/// The most entries that are written together.
const TOGETHER: usize = 1024;
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Writes entries until nothing follows.
pub(super) struct Writer {
    entries: Receiver<Sent>,
    shared: Arc<Shared>,
    files: Files,
    index: Index,
    telemetry: Option<Arc<Telemetry>>,
    /// What is to be written next.
    pending: Vec<Entry>,
    /// What is to be said of how the files were found.
    remarks: Vec<Entry>,
    /// Of how many lost entries the trail tells.
    told_lost: usize,
}

impl Writer {
    pub(super) fn new(
        folder: &Path,
        entries: Receiver<Sent>,
        shared: Arc<Shared>,
        telemetry: Option<Arc<Telemetry>>,
    ) -> Self {
        let (files, index) = (Files::new(folder), Index::new(folder));
        Self {
            entries,
            shared,
            files,
            index,
            telemetry,
            pending: Vec::new(),
            remarks: Vec::new(),
            told_lost: 0,
        }
    }

    pub(super) fn run(mut self) {
        while self.gather() {
            let outcome = self.write();
            self.tell(outcome.as_ref().err());
            if outcome.is_err() && self.shared.stops.load(Ordering::SeqCst) {
                break;
            }
        }
        self.files.sync();
    }

    /// Waits for entries, or for the time to try again; tells whether there is something to do.
    fn gather(&mut self) -> bool {
        let fails = self.shared.fails.load(Ordering::Relaxed);
        // The message that wakes may have come with the last entries, or have found no room.
        let first = if self.shared.stops.load(Ordering::SeqCst) {
            self.entries.try_recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else if fails || !self.pending.is_empty() {
            self.entries.recv_timeout(AGAIN)
        } else {
            self.entries.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match first {
            Ok(sent) => self.take(sent),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return !self.pending.is_empty(),
        }
        // Whoever comes meanwhile wakes nobody.
        let waiting = self.shared.waiting.load(Ordering::Relaxed);
        if waiting < TOGETHER && !self.shared.stops.load(Ordering::SeqCst) {
            std::thread::sleep(if fails { AGAIN } else { GATHER });
        }
        while self.pending.len() < TOGETHER
            && let Ok(sent) = self.entries.try_recv()
        {
            self.take(sent);
        }
        !self.pending.is_empty() || fails
    }

    fn take(&mut self, sent: Sent) {
        if let Sent::Entry(entry) = sent {
            self.pending.push(*entry);
        }
    }

    /// Writes what is pending: first the lines, then what makes them searchable.
    fn write(&mut self) -> anyhow::Result<()> {
        let settings = lock(&self.shared.settings).clone();
        let (entries, lines) = self.append(&settings)?;
        if let Some(telemetry) = &self.telemetry {
            telemetry.audited(&lines);
        }
        let first = self.files.head().chain.last + 1 - lines.len() as u64;
        let searched = (first..).zip(&entries).map(|(id, entry)| entry.searched(id, &settings.writing));
        let added: Vec<_> = lines.into_iter().zip(searched).collect();
        let indexed = self.index.add(&self.files, &added);
        self.files.release();
        indexed.context("cannot write audit.db")
    }

    /// Appends lines to the files, and keeps those locked. Returns the entries that were written, and their lines.
    fn append(&mut self, settings: &Settings) -> anyhow::Result<(Vec<Entry>, Vec<String>)> {
        let found = self.files.take_turn(&self.index).context("cannot write the folder audit")?;
        self.remarks.extend(found);
        let lost = self.shared.lost.load(Ordering::Relaxed);
        let said = (lost > self.told_lost).then(|| {
            let count = lost - self.told_lost;
            Entry::own(now(), "audit/lost", format!("{count} entries were lost: there was no room for them"))
        });
        let mut entries: Vec<_> = said.into_iter().collect();
        let told = entries.len();
        entries.append(&mut self.remarks);
        let own = entries.len();
        entries.append(&mut self.pending);
        let mut chain = self.files.head().chain.clone();
        let lines: Vec<_> = entries
            .iter()
            .map(|entry| chain.append(|id, prev| entry.line(id, prev, &settings.writing)))
            .collect();
        if let Err(error) = self.files.append(&lines, chain, (settings.rotate, settings.keep_days)) {
            self.files.release();
            self.pending = entries.split_off(own);
            self.remarks = entries.split_off(told);
            return Err(error).context("cannot write the folder audit");
        }
        self.told_lost = lost;
        let held = entries.iter().filter_map(|entry| Some(entry.arguments.as_ref()?.len())).sum();
        self.shared.held.fetch_sub(held, Ordering::Relaxed);
        self.shared.waiting.fetch_sub(lines.len() - own, Ordering::Relaxed);
        self.shared.recorded.fetch_add(lines.len() - own, Ordering::Relaxed);
        Ok((entries, lines))
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
    use std::sync::mpsc::{channel, sync_channel};

    use portcullis_core::config::Audit;

    use super::*;

    /// Asks a writer to stop that has not taken any of `sent` yet, and looks at what it has written at its end.
    fn check(name: &str, sent: Vec<Sent>, written: usize) {
        let folder = std::env::temp_dir().join(format!("portcullis-writer-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (queue, entries) = sync_channel(sent.len());
        let shared = Arc::new(Shared::new(&Audit::default()).unwrap());
        let waiting = sent.iter().filter(|sent| matches!(sent, Sent::Entry(_))).count();
        shared.waiting.store(waiting, Ordering::Relaxed);
        for sent in sent {
            queue.try_send(sent).unwrap_or_else(|_| panic!("there is room"));
        }
        shared.stops.store(true, Ordering::SeqCst);
        let (done, ended) = channel();
        let writer = Writer::new(&folder, entries, shared.clone(), None);
        std::thread::spawn(move || {
            writer.run();
            done.send(()).unwrap();
        });
        let ended = ended.recv_timeout(Duration::from_mins(1));
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(ended, Ok(()), "{name}: the writer goes on");
        assert_eq!(shared.recorded.load(Ordering::Relaxed), written, "{name}");
        // Until here the queue is open: that it closes is not what ends the writer.
        drop(queue);
    }

    #[test]
    fn a_writer_that_is_told_to_stop_writes_what_is_left_and_ends() {
        let entry = || Sent::Entry(Box::new(Entry::own(0, "audit/test", String::new())));
        check("alone", vec![Sent::Stop], 0);
        check("together", vec![entry(), Sent::Stop], 1);
        check("first", vec![Sent::Stop, entry()], 1);
        check("no room", vec![entry(), entry()], 2);
        check("many", (0..=TOGETHER * 2).map(|_| entry()).collect(), TOGETHER * 2 + 1);
    }
}
