//! What a hosted server says on standard error, kept in a file of the data folder for `portcullis host logs`.
//!
//! **A file is bounded**: when it is full, it takes the place of the one before, and another begins.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use portcullis_core::audit::time_text;

/// The largest file, in bytes.
const FULL: u64 = 1 << 20;

/// A file to which lines are appended.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    open: Option<(File, u64)>,
}

impl Journal {
    /// The journal in this file, which is made with the first line.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    /// Appends a line. What cannot be written is left out: it stands in the gateway's log too.
    pub(super) fn write(&mut self, line: &str) {
        if self.open.as_ref().is_some_and(|(_, size)| *size >= FULL) {
            self.open = None;
            let _ = fs::rename(&self.path, self.path.with_extension("log.1"));
        }
        if self.open.is_none() {
            self.open =
                self.path.parent().and_then(|folder| fs::create_dir_all(folder).ok()).and_then(|()| {
                    // What a server says is for its operator.
                    let file =
                        OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path).ok()?;
                    let size = file.metadata().ok()?.len();
                    Some((file, size))
                });
        }
        if let Some((file, size)) = &mut self.open {
            let line = format!("{} {line}\n", time_text(portcullis_native::now()));
            *size += line.len() as u64;
            let _ = file.write_all(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("logs/s.log");
        let mut journal = Journal::at(path.clone());
        let line = "x".repeat(1 << 10);
        for _ in 0..2500 {
            journal.write(&line);
        }
        let size = |path: &PathBuf| fs::metadata(path).expect("a file").len();
        assert!(size(&path) < FULL && size(&path.with_extension("log.1")) < FULL + (2 << 10));
        assert_eq!(fs::read_dir(folder.path().join("logs")).expect("a folder").count(), 2);
        Journal::at(path.clone()).write("the last one");
        assert!(fs::read_to_string(path).expect("a file").ends_with(" the last one\n"));
    }
}
