//! The data folder: what the gateway keeps on this machine.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::SealKeys;

use crate::keyring;

const VARIABLE: &str = "PORTCULLIS_SEAL_KEY";
const SEAL_KEY: &str = "seal.key";
/// What stands in place of a key that lies in the keyring; in the data folder with the id that it has there.
const KEYRING: &str = "keyring";

/// Returns the data folder: the given one, else the user's own.
pub(crate) fn folder(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let own = || dirs::data_dir().map(|data| data.join("portcullis"));
    given.or_else(own).context("this user has no data folder; name one with --data-dir")
}

/// Returns the seal keys: those of `PORTCULLIS_SEAL_KEY`, else what the data folder has, made where there is none.
pub(crate) fn seal_keys(folder: &Path) -> anyhow::Result<SealKeys> {
    let Ok(given) = std::env::var(VARIABLE) else {
        let kept = kept(folder)?;
        return SealKeys::parse(&kept).with_context(|| folder.join(SEAL_KEY).display().to_string());
    };
    let keys = given.split(',').map(|key| match key.trim() {
        KEYRING => in_keyring(folder),
        key => Ok(key.to_owned()),
    });
    let keys = keys.collect::<anyhow::Result<Vec<_>>>().with_context(|| format!("{VARIABLE}={KEYRING}"))?;
    SealKeys::parse(&keys.join(",")).with_context(|| format!("{VARIABLE} (or the word `{KEYRING}`)"))
}

/// Returns the seal keys of a gateway that keeps nothing: those of `PORTCULLIS_SEAL_KEY`, else one of its own.
pub(crate) fn passing_seal_keys() -> anyhow::Result<SealKeys> {
    match std::env::var(VARIABLE) {
        Ok(given) => SealKeys::parse(&given).context(VARIABLE),
        Err(_) => Ok(SealKeys { first: random()?, others: Vec::new() }),
    }
}

/// Returns the seal keys where there are some already.
pub(crate) fn known_seal_keys(folder: &Path) -> anyhow::Result<Option<SealKeys>> {
    let given = std::env::var_os(VARIABLE).is_some();
    let kept = read(folder)?;
    if is_in_keyring(folder) && kept.as_deref().and_then(id).is_none() {
        // What moves there does so at the next start.
        return kept.map(|kept| SealKeys::parse(&kept).context(SEAL_KEY)).transpose();
    }
    if given || folder.join(SEAL_KEY).exists() { seal_keys(folder).map(Some) } else { Ok(None) }
}

/// Tells whether a seal key that is used lies in the keyring.
pub(crate) fn is_in_keyring(folder: &Path) -> bool {
    match std::env::var(VARIABLE) {
        Ok(given) => given.split(',').any(|key| key.trim() == KEYRING),
        Err(_) => read(folder).is_ok_and(|kept| kept.as_deref().and_then(id).is_some()),
    }
}

/// Tells whether others than their owner can read the seal keys in the folder.
pub(crate) fn is_exposed(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    !is_in_keyring(folder)
        && fs::metadata(folder.join(SEAL_KEY)).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

/// Returns the folder's keys, from wherever they lie; makes one in the folder where there is none.
fn kept(folder: &Path) -> anyhow::Result<String> {
    loop {
        match read(folder)? {
            Some(kept) => return id(&kept).map_or(Ok(kept.clone()), |id| out_of_keyring(folder, id)),
            None => drop(keep(folder, &new_key()?)?),
        }
    }
}

/// Returns the folder's keys, which lie in the keyring from now on: those in the folder move there.
fn in_keyring(folder: &Path) -> anyhow::Result<String> {
    loop {
        let kept = read(folder)?;
        if let Some(id) = kept.as_deref().and_then(id) {
            return out_of_keyring(folder, id);
        }
        let keys = kept.clone().map_or_else(new_key, Ok)?;
        SealKeys::parse(&keys).with_context(|| folder.join(SEAL_KEY).display().to_string())?;
        let id = new_id()?;
        keyring::put(&id, &keys)?;
        let back = keyring::get(&id)?;
        anyhow::ensure!(back.as_deref() == Some(&keys), "the keyring does not give back what it was given");
        let stands_there = format!("{KEYRING}:{id}");
        let is_first = match kept {
            Some(_) => put_in_place(folder, &stands_there).map(|()| true),
            None => keep(folder, &stands_there),
        };
        if is_first? {
            return Ok(keys);
        }
        keyring::remove(&id)?;
    }
}

fn out_of_keyring(folder: &Path, id: &str) -> anyhow::Result<String> {
    let lies = folder.join(SEAL_KEY);
    let found =
        keyring::get(id).with_context(|| format!("the seal key of {} is in the keyring", lies.display()))?;
    found.with_context(|| {
        format!(
            "the seal key of {} should be in the keyring as \"portcullis\" {id}, and is not: start as the user who has it, or \
             give the key in {VARIABLE}; with a new one, what was sealed is lost",
            lies.display()
        )
    })
}

/// Returns the id that a key has in the keyring, where this stands in its place.
fn id(kept: &str) -> Option<&str> {
    kept.trim().strip_prefix(KEYRING)?.strip_prefix(':')
}

fn read(folder: &Path) -> anyhow::Result<Option<String>> {
    let path = folder.join(SEAL_KEY);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Keeps what only this user can read, unless something is kept already; tells which. Of two processes that do this at once,
/// both use the same.
fn keep(folder: &Path, text: &str) -> anyhow::Result<bool> {
    let draft = write(folder, text)?;
    let linked = fs::hard_link(&draft, folder.join(SEAL_KEY));
    fs::remove_file(&draft)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot keep a seal key in {}", folder.display())),
    }
}

fn put_in_place(folder: &Path, text: &str) -> anyhow::Result<()> {
    let draft = write(folder, text)?;
    fs::rename(&draft, folder.join(SEAL_KEY)).with_context(|| format!("cannot write to {}", folder.display()))
}

fn write(folder: &Path, text: &str) -> anyhow::Result<PathBuf> {
    let draft = folder.join(format!("{SEAL_KEY}.{}", std::process::id()));
    let written = || {
        fs::create_dir_all(folder)?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&draft)?.write_all(text.as_bytes())
    };
    written().with_context(|| format!("cannot keep a seal key in {}", folder.display()))?;
    Ok(draft)
}

fn new_key() -> anyhow::Result<String> {
    random::<32>().map(|key| STANDARD.encode(key))
}

fn new_id() -> anyhow::Result<String> {
    random().map(|id| format!("{:016x}", u64::from_le_bytes(id)))
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("no randomness: {e}"))?;
    Ok(bytes)
}
