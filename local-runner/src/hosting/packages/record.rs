//! What is written down of a prepared package, beside it.
//!
//! **The digest is that of all packages**: of their names, versions and archives, in order. Where they came from is no part
//! of it, so that the same packages from a mirror are the same.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use portcullis_core::config::{Package, Registry};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Prepared, SHOWN};

/// The file that it lies in.
const FILE: &str = "portcullis-package.json";
/// Stands in an argument for the folder, wherever that is.
const HERE: &str = "{package}";

/// What is known of a prepared package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) registry: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// What the package's own archive hashes to, as the registry writes it.
    pub(crate) integrity: String,
    /// The digest of all packages together.
    pub(crate) digest: String,
    /// All packages, this one included, in order.
    pub(crate) packages: Vec<Part>,
    /// Those that would run something when they are installed.
    pub(crate) scripts: Vec<String>,
    /// What runs it.
    pub(crate) program: String,
    /// What comes before its arguments; `{package}` stands for the folder.
    pub(crate) args: Vec<String>,
    /// The digest of all files.
    pub(crate) files: String,
    /// When it was prepared, in milliseconds since the Unix epoch.
    pub(crate) prepared: u64,
}

/// One of the packages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Where it is, below the others.
    pub(crate) at: String,
    pub(crate) version: String,
    pub(crate) integrity: String,
}

/// How a package is started.
pub(super) struct Start {
    pub(super) program: String,
    pub(super) args: Vec<String>,
}

impl Record {
    /// Makes the record of a package that is installed; the files are not looked at yet.
    pub(super) fn new(
        package: &Package,
        integrity: String,
        mut packages: Vec<Part>,
        scripts: Vec<String>,
        start: Start,
    ) -> Self {
        packages.sort();
        Self {
            registry: registry(package).to_owned(),
            name: package.name.clone(),
            version: package.version.clone(),
            integrity,
            digest: digest_of(&packages),
            packages,
            scripts,
            program: start.program,
            args: start.args,
            files: String::new(),
            prepared: portcullis_native::now(),
        }
    }

    /// Reads the record in a folder.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Writes the record into a folder.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self).context("a record is JSON")?;
        fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }

    /// Refuses a record that is not that of the folder it lies in: `shown` is the digest in the folder's name.
    pub(super) fn check(&self, package: &Package, shown: &str) -> anyhow::Result<()> {
        let is_it = self.registry == registry(package)
            && self.name == package.name
            && self.version == package.version
            && self.digest == digest_of(&self.packages)
            && self.digest.get(..SHOWN) == Some(shown);
        ensure!(is_it, "what is written down of it does not agree with itself");
        Ok(())
    }

    /// Returns how it is started from a folder.
    pub(super) fn prepared(&self, folder: &Path) -> Prepared {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let args = self.args.iter().map(|arg| arg.replace(HERE, &folder.display().to_string()));
        Prepared {
            program: self.program.clone(),
            args: args.collect(),
            mounts: vec![folder.clone()],
            digest: self.digest.clone(),
        }
    }
}

/// Returns an argument that is a file of the package.
pub(super) fn here(path: &str) -> String {
    format!("{HERE}/{path}")
}

fn registry(package: &Package) -> &'static str {
    match package.registry {
        Registry::Npm => "npm",
        Registry::Pypi => "pypi",
    }
}

fn digest_of(packages: &[Part]) -> String {
    let mut hash = Sha256::new();
    for Part { at, version, integrity } in packages {
        for text in [at, version, integrity] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
    }
    hex(hash)
}

/// Returns the digest of all files of a folder but for the record: of what they are called, whether they can be run, and what
/// is in them. A link counts by where it leads, and one that leads out of the folder is refused.
pub(super) fn digest_of_files(folder: &Path) -> anyhow::Result<String> {
    let mut files = Vec::new();
    collect(folder, folder, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for relative in files.iter().filter(|relative| relative.as_os_str() != FILE) {
        let (path, name) = (folder.join(relative), relative.as_os_str().as_bytes());
        let found = fs::symlink_metadata(&path)?;
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        if found.is_symlink() {
            let target = fs::read_link(&path)?;
            let leads = path.canonicalize().ok().zip(folder.canonicalize().ok());
            ensure!(
                leads.is_some_and(|(to, folder)| to.starts_with(folder)),
                "{} leads out of the package",
                relative.display()
            );
            hash.update(b"link");
            hash.update((target.as_os_str().len() as u64).to_le_bytes());
            hash.update(target.as_os_str().as_bytes());
            continue;
        }
        hash.update(if found.permissions().mode() & 0o111 == 0 { b"file" } else { b"prog" });
        hash.update(found.len().to_le_bytes());
        let mut file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut buffer = [0; 1 << 14];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
    }
    Ok(hex(hash))
}

fn collect(root: &Path, folder: &Path, into: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            collect(root, &path, into)?;
        } else {
            into.push(path.strip_prefix(root).context("a file lies below its folder")?.to_owned());
        }
    }
    Ok(())
}

fn hex(hash: Sha256) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    hash.finalize().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(at: &str, version: &str) -> Part {
        Part { at: at.to_owned(), version: version.to_owned(), integrity: "sha512-x".to_owned() }
    }

    fn package() -> Package {
        Package { registry: Registry::Npm, name: "@a/b".into(), version: "1.0.0".into(), integrity: None }
    }

    fn record() -> Record {
        let start = Start { program: "node".into(), args: vec![here("node_modules/b/cli.js")] };
        Record::new(&package(), "sha512-x".into(), vec![part("b", "1"), part("a", "2")], Vec::new(), start)
    }

    #[test]
    fn the_order_of_packages_makes_no_difference_and_every_other_one_does() {
        let digest = |parts: &[Part]| {
            let start = Start { program: String::new(), args: Vec::new() };
            Record::new(&package(), String::new(), parts.to_vec(), Vec::new(), start).digest
        };
        assert_eq!(digest(&[part("a", "2"), part("b", "1")]), record().digest);
        for other in
            [&[part("a", "2")][..], &[part("a", "21"), part("b", "1")], &[part("a2", ""), part("b", "1")]]
        {
            assert_ne!(digest(other), record().digest);
        }
    }

    #[test]
    fn a_record_is_that_of_its_folder() {
        let digest = record().digest[..SHOWN].to_owned();
        assert!(record().check(&package(), &digest).is_ok());
        assert!(record().check(&package(), "0123456789abcdef").is_err());
        let other = Package { version: "1.0.1".into(), ..package() };
        assert!(record().check(&other, &digest).is_err());
        let changed = Record { packages: vec![part("a", "3")], ..record() };
        assert!(changed.check(&package(), &digest).is_err());
    }

    #[test]
    fn every_change_of_a_file_is_seen() {
        let folder = std::env::temp_dir().join(format!("portcullis-files-{}", std::process::id()));
        fs::create_dir_all(folder.join("inner")).expect("a folder");
        fs::write(folder.join("inner/one"), "1").expect("a file");
        std::os::unix::fs::symlink("inner/one", folder.join("link")).expect("a link");
        let first = digest_of_files(&folder).expect("a digest");
        fs::write(folder.join(FILE), "its record").expect("a file");
        assert_eq!(digest_of_files(&folder).expect("a digest"), first);
        let mut seen = vec![first];
        let mut look = || {
            let now = digest_of_files(&folder).expect("a digest");
            assert!(!seen.contains(&now));
            seen.push(now);
        };
        fs::write(folder.join("inner/one"), "2").expect("a file");
        look();
        fs::set_permissions(folder.join("inner/one"), fs::Permissions::from_mode(0o755)).expect("a mode");
        look();
        fs::write(folder.join("inner/two"), "").expect("a file");
        look();
        fs::rename(folder.join("inner/two"), folder.join("two")).expect("a file");
        look();
        fs::remove_file(folder.join("link")).expect("the link");
        std::os::unix::fs::symlink("/etc", folder.join("link")).expect("a link");
        assert!(digest_of_files(&folder).is_err_and(|error| error.to_string().contains("leads out")));
        fs::remove_dir_all(&folder).expect("the folder");
    }
}
