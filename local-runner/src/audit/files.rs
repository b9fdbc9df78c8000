//! The files of JSON lines: one grows, the others are full or of days gone by; beside them the head of the chain.
//!
//! **A line is written whole or not at all**: what a full disk or the end of a process left of one is cut off. Whoever
//! writes holds the lock, and looks whether the files are still as it left them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use portcullis_core::audit::{Chain, Entry, Head, Link, day, digest};

use super::index::Index;
use super::now;
use super::segment::Segment;

/// The folder within the data folder.
const FOLDER: &str = "audit";
/// The most that is read to find the last line, in bytes.
const TAIL: u64 = 4 << 20;

/// The files, as the process that writes them knows them.
pub(super) struct Files {
    folder: PathBuf,
    lock: Option<File>,
    head_file: Option<File>,
    head: Head,
    current: Option<Current>,
}

/// The file that grows.
struct Current {
    file: File,
    day: String,
    len: u64,
}

impl Files {
    pub(super) fn new(data: &Path) -> Self {
        let head = Head::default();
        Self { folder: data.join(FOLDER), lock: None, head_file: None, head, current: None }
    }

    /// Returns how far the chain reaches.
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Waits for the turn to write. Returns what is to be said of how the files were found.
    pub(super) fn take_turn(&mut self, index: &Index) -> io::Result<Vec<Entry>> {
        if self.lock.is_none() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            self.lock = Some(options().write(true).open(self.folder.join("lock"))?);
        }
        if let Some(lock) = &self.lock {
            lock.lock()?;
        }
        let found = self.read_head().and_then(|(head, file)| {
            self.head_file = Some(file);
            if head.as_ref() == Some(&self.head) && self.current.as_ref().is_some_and(Current::is_as_left) {
                return Ok(Vec::new());
            }
            self.recover(head, index)
        });
        if found.is_err() {
            self.current = None;
            self.release();
        }
        found
    }

    /// Lets others write.
    pub(super) fn release(&self) {
        if let Some(lock) = &self.lock {
            // Whoever cannot let go loses it with the process.
            let _ = lock.unlock();
        }
    }

    /// Gives what was written to the disk itself.
    pub(super) fn sync(&self) {
        let files = [self.current.as_ref().map(|current| &current.file), self.head_file.as_ref()];
        for file in files.into_iter().flatten() {
            let _ = file.sync_data();
        }
    }

    /// Reads the head; there is none before the first line.
    fn read_head(&mut self) -> io::Result<(Option<Head>, File)> {
        let mut file = match self.head_file.take() {
            Some(file) if file.metadata()?.nlink() > 0 => file,
            _ => options().read(true).write(true).open(head_path(&self.folder))?,
        };
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut text)?;
        Ok((Head::parse(&text), file))
    }

    /// Finds out where the chain is from what lies there.
    fn recover(&mut self, head: Option<Head>, index: &Index) -> io::Result<Vec<Entry>> {
        let mut remarks = Vec::new();
        let mut say = |what: String| remarks.push(Entry::own(now(), "audit/recovered", what));
        self.current = None;
        self.head = head.unwrap_or_default();
        let mut files = list(&self.folder)?;
        drop_before(&mut files, self.head.first.id)?;
        let mut last = None;
        for listed in files.iter().rev() {
            let mut file = options().read(true).append(true).open(&listed.path)?;
            let (line, len) = last_line(&mut file)?;
            if len < file.metadata()?.len() {
                file.set_len(len)?;
                say("the last line had not been written whole; it was cut off".into());
            }
            if self.current.is_none() {
                self.current = Some(Current { file, day: listed.day.clone(), len });
            }
            if line.is_some() {
                last = line;
                break;
            }
        }
        let before = Chain { last: self.head.first.id.saturating_sub(1), hash: self.head.first.prev.clone() };
        let found = last.map_or(before, |line| Chain {
            last: Link::read(&line).map_or(0, |link| link.id),
            hash: digest(&line),
        });
        let (from, reach) = (found.last + 1, self.head.chain.last);
        if let Some(chain) = self.restore(&found, index)? {
            say(format!("entries {from} to {} were put back from audit.db", chain.last));
            self.head.chain = chain;
        } else if reach > found.last {
            say(format!("entries {from} to {reach} are missing"));
            self.head.chain.hash = found.hash;
        } else {
            self.head.chain = found;
        }
        Ok(remarks)
    }

    /// Puts lines back that follow what was found and that the database still has, where they reach as far as the head.
    fn restore(&mut self, found: &Chain, index: &Index) -> io::Result<Option<Chain>> {
        let (mut chain, mut lines) = (found.clone(), Segment::new(found.last + 1));
        for line in index.lines_after(found.last).unwrap_or_default() {
            let link = Link::read(line.as_bytes());
            if link.is_none_or(|link| link.id != chain.last + 1 || link.prev != chain.hash) {
                break;
            }
            lines.push(|text| chain.append(text, |out, _, _| out.push_str(&line)));
        }
        if lines.is_empty() || chain.last < self.head.chain.last {
            return Ok(None);
        }
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.open_file(&day(now()), found.last + 1)?,
        };
        current.append(&lines)?;
        self.current = Some(current);
        Ok(Some(chain))
    }

    /// Appends lines, after which the chain is `chain`; begins another file where the day or the size asks for it.
    pub(super) fn append(
        &mut self,
        lines: &Segment,
        chain: Chain,
        (rotate, keep): (u64, u32),
    ) -> io::Result<()> {
        let Some(first) = lines.lines().next() else { return Ok(()) };
        let today = day(now());
        let fits = |current: &Current| current.day == today && current.len < rotate.max(1);
        if !self.current.as_ref().is_some_and(fits) {
            self.begin_file(&today, keep)?;
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        current.append(lines)?;
        if self.head.chain.last == 0
            && let Some(link) = Link::read(first.as_bytes())
        {
            self.head.first = link;
        }
        self.head.chain = chain;
        // The lines are written: the next turn finds out by them how far they reach.
        if let Err(error) = self.write_head() {
            tracing::warn!(%error, "cannot write how far the audit trail reaches");
        }
        Ok(())
    }

    fn begin_file(&mut self, today: &str, keep: u32) -> io::Result<()> {
        self.current = Some(self.open_file(today, self.head.chain.last + 1)?);
        self.expire(keep)
    }

    fn open_file(&self, today: &str, first: u64) -> io::Result<Current> {
        let path = self.folder.join(format!("audit-{today}-{first:012}.jsonl"));
        let file = options().read(true).append(true).open(path)?;
        let len = file.metadata()?.len();
        Ok(Current { file, day: today.to_owned(), len })
    }

    /// Removes the files of days that are no longer kept. The head says first that they are gone.
    fn expire(&mut self, keep: u32) -> io::Result<()> {
        let oldest = day(now().saturating_sub(u64::from(keep) * 86_400_000));
        let mut files = list(&self.folder)?;
        let Some(kept) = files.iter().position(|file| file.day >= oldest) else { return Ok(()) };
        if kept == 0 {
            return Ok(());
        }
        let mut line = Vec::new();
        BufReader::new(File::open(&files[kept].path)?).read_until(b'\n', &mut line)?;
        // A file that has just been begun has no line yet: the next one is its first.
        self.head.first = Link::read(line.trim_ascii())
            .unwrap_or_else(|| Link { id: self.head.chain.last + 1, prev: self.head.chain.hash.clone() });
        self.write_head()?;
        drop_before(&mut files, self.head.first.id)
    }

    fn write_head(&self) -> io::Result<()> {
        match &self.head_file {
            Some(file) => file.write_all_at(self.head.to_text().as_bytes(), 0),
            None => Ok(()),
        }
    }

    /// Returns the lines from the entry with this number on, and some before.
    pub(super) fn lines_from(&self, id: u64) -> io::Result<Lines> {
        let mut files = list(&self.folder)?;
        let first = files.iter().rposition(|file| file.first <= id).unwrap_or(0);
        Ok(Lines::new(files.split_off(first)))
    }
}

impl Current {
    /// Tells whether nobody else has written to the file, or removed it.
    fn is_as_left(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.len() == self.len && found.nlink() > 0)
    }

    fn append(&mut self, lines: &Segment) -> io::Result<()> {
        if let Err(error) = self.file.write_all(lines.text().as_bytes()) {
            // Nothing of it must stay: it will be written again.
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.len += lines.text().len() as u64;
        Ok(())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

/// Returns where the head lies.
pub(super) fn head_path(folder: &Path) -> PathBuf {
    folder.join("head.json")
}

/// Returns the folder of the files.
pub(super) fn folder(data: &Path) -> PathBuf {
    data.join(FOLDER)
}

/// A file of lines.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) path: PathBuf,
    /// The day that its lines are of.
    day: String,
    /// The number of its first line.
    first: u64,
}

/// Returns the files in the order of their lines.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Listed>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let parts = name.strip_prefix("audit-").and_then(|name| name.strip_suffix(".jsonl"));
        let Some((day, first)) = parts.and_then(|parts| parts.rsplit_once('-')) else { continue };
        let Ok(first) = first.parse() else { continue };
        files.push(Listed { day: day.to_owned(), first, path });
    }
    files.sort_by_key(|file| file.first);
    Ok(files)
}

/// Removes the files all of whose lines come before that number.
fn drop_before(files: &mut Vec<Listed>, first: u64) -> io::Result<()> {
    let gone = files.windows(2).take_while(|pair| pair[1].first <= first).count();
    for file in files.drain(..gone) {
        fs::remove_file(file.path)?;
    }
    Ok(())
}

/// Returns the last whole line of a file, and where it ends.
fn last_line(file: &mut File) -> io::Result<(Option<Vec<u8>>, u64)> {
    let len = file.metadata()?.len();
    let from = len.saturating_sub(TAIL);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else { return Ok((None, from)) };
    let line = tail[..end].rsplit(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
    Ok((Some(line), from + end as u64 + 1))
}

/// The whole lines of files, one after the other.
pub(super) struct Lines {
    files: std::vec::IntoIter<Listed>,
    reader: Option<(BufReader<File>, PathBuf, u64)>,
}

/// A line, and where it stands.
pub(super) struct Placed {
    pub(super) text: Vec<u8>,
    pub(super) path: PathBuf,
    pub(super) line: u64,
}

impl Lines {
    pub(super) fn new(files: Vec<Listed>) -> Self {
        Self { files: files.into_iter(), reader: None }
    }
}

impl Iterator for Lines {
    type Item = io::Result<Placed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((reader, path, line)) = &mut self.reader else {
                let next = self.files.next()?.path;
                match File::open(&next) {
                    Ok(file) => self.reader = Some((BufReader::new(file), next, 0)),
                    Err(error) => return Some(Err(error)),
                }
                continue;
            };
            let mut text = Vec::new();
            match reader.read_until(b'\n', &mut text) {
                Err(error) => return Some(Err(error)),
                // A line without its end is still being written, or never will be.
                Ok(_) if text.last() != Some(&b'\n') => self.reader = None,
                Ok(_) => {
                    text.pop();
                    *line += 1;
                    return Some(Ok(Placed { text, path: path.clone(), line: *line }));
                }
            }
        }
    }
}
