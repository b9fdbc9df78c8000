//! Where the gateways that are identities' own keep what they have: a folder each, and beside it a note of whose it is.
//!
//! **A note lies where no instance reaches**: none can say that it is another's.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The folder within the data folder.
const FOLDER: &str = "instances";

/// The folder of all of them.
#[derive(Debug, Clone)]
pub(super) struct Shelf(PathBuf);

/// Whose an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) principal: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub(super) made: u64,
}

/// Returns by what the instance of a principal is known: it says nothing of the principal to who does not know it.
pub(super) fn id_of(principal: &str) -> String {
    let digest = Sha256::digest(format!("portcullis instance\0{principal}"));
    let first = digest.first_chunk().expect("it is longer");
    format!("{:016x}", u64::from_be_bytes(*first))
}

impl Shelf {
    pub(super) fn of(data: &Path) -> Self {
        Self(data.join(FOLDER))
    }

    /// Returns an instance's own folder.
    pub(super) fn home(&self, id: &str) -> PathBuf {
        self.0.join(id)
    }

    /// Makes the folder of a principal's instance, where there is none, and returns its note.
    pub(super) fn make(&self, principal: &str, now: u64) -> anyhow::Result<Note> {
        let id = id_of(principal);
        let home = self.home(&id);
        private(&self.0)?;
        private(&home)?;
        if let Some(note) = self.note(&id)? {
            anyhow::ensure!(note.principal == principal, "{} is another's", home.display());
            return Ok(note);
        }
        let note = Note { principal: principal.to_owned(), made: now };
        let (path, draft) = (self.path(&id), self.0.join(format!("{id}.draft")));
        fs::write(&draft, serde_json::to_string(&note)?)
            .and_then(|()| fs::rename(&draft, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(note)
    }

    /// Returns all there are, by their ids.
    pub(super) fn all(&self) -> anyhow::Result<Vec<(String, Note)>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.0.display())),
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            if let Some(note) = self.note(id)? {
                all.push((id.to_owned(), note));
            }
        }
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    /// Returns whose an instance is; nothing where there is none.
    pub(super) fn note(&self, id: &str) -> anyhow::Result<Option<Note>> {
        let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_id {
            return Ok(None);
        }
        let path = self.path(id);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(serde_json::from_str(&text).with_context(|| path.display().to_string())?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Removes all that an instance has, and at last the note of it.
    pub(super) fn remove(&self, id: &str) -> anyhow::Result<()> {
        for gone in [fs::remove_dir_all(self.home(id)), fs::remove_file(self.path(id))] {
            match gone {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", self.home(id).display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }
}

/// Makes a folder that only this user can look into.
fn private(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_principal_has_its_own() {
        let data = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(data.path());
        assert!(shelf.all().unwrap().is_empty());
        let made = shelf.make("key:a", 7).unwrap();
        assert_eq!(made, Note { principal: "key:a".to_owned(), made: 7 });
        assert_eq!(shelf.make("key:a", 9).unwrap(), made, "it was made once");
        shelf.make("user:corp:ann/../../x", 8).unwrap();
        let ids: Vec<_> = shelf.all().unwrap().into_iter().map(|(id, note)| (id, note.principal)).collect();
        let mut expected = ["key:a", "user:corp:ann/../../x"].map(|of| (id_of(of), of.to_owned()));
        expected.sort();
        assert_eq!(ids, expected);
        fs::write(shelf.home(&id_of("key:a")).join("held"), "x").unwrap();
        shelf.remove(&id_of("key:a")).unwrap();
        assert!(!shelf.home(&id_of("key:a")).exists() && shelf.note(&id_of("key:a")).unwrap().is_none());
        assert!(shelf.note("../../etc/passwd").unwrap().is_none());
    }
}
