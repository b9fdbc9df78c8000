//! Packages of npm and `PyPI` that servers are: fetched and verified beforehand, so that a start fetches nothing.
//!
//! | module | decides |
//! |---|---|
//! | `npm`, `pypi` | how a registry's own program installs a package without running anything of it, and what its program is |
//! | `record` | what is written down of a package, and whether it is still that |
//! | `names` | whether a name may be a mistake for one that is well known |
//! | `runner` | which package a command of `npx` or `uvx` means |
//!
//! **Nothing of a package is run while it is prepared**: no install scripts, no builds. **A start takes what was prepared, or
//! nothing**: it goes by the digest of all packages together, which is part of the folder's name. A folder appears whole or
//! not at all, and two preparations of one data folder wait for each other.

mod names;
mod npm;
mod pypi;
mod record;
mod runner;
mod tool;

use std::borrow::Cow;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use portcullis_core::config::{Command, Mount, Network, Package, Registry};

pub(crate) use names::resembled;
pub(crate) use record::Record;
pub(crate) use runner::of_command;

/// What packages lie in, below the data folder.
pub(crate) const FOLDER: &str = "packages";
/// How many characters of the digest are part of a folder's name.
const SHOWN: usize = 16;

/// The packages of a data folder.
#[derive(Debug, Clone)]
pub(crate) struct Packages(PathBuf);

/// A package as it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// What runs it.
    pub(crate) program: String,
    /// What comes before the arguments that are configured.
    pub(crate) args: Vec<String>,
    /// What it has to see of the machine's files.
    pub(crate) mounts: Vec<PathBuf>,
    /// The digest of all packages together, in hexadecimal digits.
    pub(crate) digest: String,
}

/// What a preparation came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Where it lies.
    pub(crate) folder: PathBuf,
    /// What is written down of it.
    pub(crate) record: Record,
    /// Whether it was there already.
    pub(crate) was_there: bool,
}

impl Packages {
    /// Those of a data folder.
    pub(crate) fn of(data: &Path) -> Self {
        Self(data.join(FOLDER))
    }

    /// Returns a command whose program is what was prepared, where it is a package or one of `npx` or `uvx` that names one. One
    /// of these that is not prepared stays as it is where it may fetch that for itself.
    ///
    /// # Errors
    /// Says that it is not prepared, or is not what it should be, and what to do.
    pub(crate) fn unpack<'c>(&self, server: &str, command: &'c Command) -> Result<Cow<'c, Command>, String> {
        let Some(hosting) = &command.hosting else { return Ok(Cow::Borrowed(command)) };
        let (prepared, args) = match (&hosting.package, of_command(command)) {
            (Some(package), _) => (self.prepared(package, server)?, &command.args[..]),
            (None, Some((package, args))) if hosting.network == Network::None || self.has(&package) => {
                (self.prepared(&package, server)?, args)
            }
            (None, _) => return Ok(Cow::Borrowed(command)),
        };
        let seen = prepared.mounts.iter().map(|folder| {
            let path = folder.display().to_string();
            Mount { to: path.clone(), path, write: false }
        });
        let mut hosting = hosting.clone();
        hosting.mounts.extend(seen);
        Ok(Cow::Owned(Command {
            program: prepared.program,
            args: prepared.args.iter().chain(args).cloned().collect(),
            hosting: Some(hosting),
            ..command.clone()
        }))
    }

    fn has(&self, package: &Package) -> bool {
        matches!(self.find(package), Ok(Some(_)) | Err(_))
    }

    /// Returns a package as it is started, or says why it is not; `server` is whose it is.
    pub(crate) fn prepared(&self, package: &Package, server: &str) -> Result<Prepared, String> {
        let wanted = shown(package);
        let advice = format!("run `portcullis host prepare {server}`");
        match self.find(package) {
            Ok(Some((folder, record))) => Ok(record.prepared(&folder)),
            Ok(None) => Err(format!("its package {wanted} is not prepared; {advice}")),
            Err(error) => Err(format!("its package {wanted} cannot be used: {error:#}; {advice}")),
        }
    }

    /// Fetches a package, unless it is there; `again` fetches it anew, with what its dependencies are by now.
    pub(crate) async fn prepare(&self, package: &Package, again: bool) -> anyhow::Result<Outcome> {
        let registry = self.registry(package);
        fs::create_dir_all(&registry).with_context(|| format!("cannot make {}", registry.display()))?;
        let _alone = self.alone().await?;
        if let Some((folder, record)) = self.find(package)?.filter(|_| !again) {
            return Ok(Outcome { folder, record, was_there: true });
        }
        let draft = Draft::new(&registry)?;
        let mut record = match package.registry {
            Registry::Npm => npm::install(package, draft.path()).await?,
            Registry::Pypi => pypi::install(package, draft.path()).await?,
        };
        check_integrity(package, &record)?;
        record.files = record::digest_of_files(draft.path())?;
        record.write(draft.path())?;
        let folder = registry.join(format!("{}-{}", stem(package), &record.digest[..SHOWN]));
        draft.put(&folder)?;
        Ok(Outcome { folder, record, was_there: false })
    }

    /// Tells whether every file is as it was when the package was prepared.
    pub(crate) fn verify(&self, package: &Package) -> anyhow::Result<Outcome> {
        let found = self.find(package)?.with_context(|| format!("{} is not prepared", shown(package)))?;
        let (folder, record) = found;
        let files = record::digest_of_files(&folder)?;
        ensure!(
            files == record.files,
            "files in {} are not what was prepared; remove the folder and prepare the package again",
            folder.display()
        );
        Ok(Outcome { folder, record, was_there: true })
    }

    /// Finds a package: of several with other dependencies, the one that was prepared last.
    fn find(&self, package: &Package) -> anyhow::Result<Option<(PathBuf, Record)>> {
        let prefix = format!("{}-", stem(package));
        let entries = match fs::read_dir(self.registry(package)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("the prepared packages cannot be listed"),
        };
        let mut newest: Option<(PathBuf, Record)> = None;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.strip_prefix(&prefix));
            let Some(digest) = digest.filter(|digest| digest.len() == SHOWN) else { continue };
            let record = Record::read(&entry.path())?;
            record.check(package, digest)?;
            if newest.as_ref().is_none_or(|(_, known)| known.prepared < record.prepared) {
                newest = Some((entry.path(), record));
            }
        }
        if let Some((_, record)) = &newest {
            check_integrity(package, record)?;
        }
        Ok(newest)
    }

    fn registry(&self, package: &Package) -> PathBuf {
        self.0.join(match package.registry {
            Registry::Npm => "npm",
            Registry::Pypi => "pypi",
        })
    }

    /// Waits until nobody else prepares anything in this folder.
    async fn alone(&self) -> anyhow::Result<File> {
        let path = self.0.join(".lock");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let waiting = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
        waiting.await?.context("cannot wait for another preparation")
    }
}

/// A folder that is not there yet: what is left of it goes away.
struct Draft(PathBuf);

impl Draft {
    fn new(registry: &Path) -> anyhow::Result<Self> {
        // Whoever comes here is alone, so what is left belongs to somebody who was stopped half-way.
        let path = registry.join(".draft");
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// Puts it where it is looked for, in the place of what was found to be broken.
    fn put(self, folder: &Path) -> anyhow::Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::rename(&self.0, folder).with_context(|| format!("cannot make {}", folder.display()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What cannot be removed now is removed by whoever comes next.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Refuses another archive than the one that is configured.
fn check_integrity(package: &Package, record: &Record) -> anyhow::Result<()> {
    match &package.integrity {
        Some(wanted) if *wanted != record.integrity => bail!(
            "the archive of {} is {:?}, and its configuration says {wanted:?}",
            shown(package),
            record.integrity
        ),
        _ => Ok(()),
    }
}

/// Names a package as its registry does.
pub(crate) fn shown(package: &Package) -> String {
    let between = match package.registry {
        Registry::Npm => "@",
        Registry::Pypi => "==",
    };
    format!("{}{between}{}", package.name, package.version)
}

/// Names a package as a part of a path.
fn stem(package: &Package) -> String {
    format!("{}@{}", package.name.replace('/', "+"), package.version)
}
