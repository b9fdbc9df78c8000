//! The data folder: what the gateway keeps on this machine.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::SealKeys;

const SEAL_KEY: &str = "seal.key";

/// Returns the data folder: the given one, else the user's own.
pub(crate) fn folder(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let own = || dirs::data_dir().map(|data| data.join("portcullis"));
    given.or_else(own).context("this user has no data folder; name one with --data-dir")
}

/// Returns the seal keys: those of `PORTCULLIS_SEAL_KEY`, else the one in the data folder, made where there is none.
pub(crate) fn seal_keys(folder: &Path) -> anyhow::Result<SealKeys> {
    if let Ok(text) = std::env::var("PORTCULLIS_SEAL_KEY") {
        return SealKeys::parse(&text).context("PORTCULLIS_SEAL_KEY");
    }
    let path = folder.join(SEAL_KEY);
    if !path.exists() {
        make_key(folder, &path).with_context(|| format!("cannot keep a seal key in {}", folder.display()))?;
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    SealKeys::parse(&text).with_context(|| path.display().to_string())
}

/// Returns the seal keys where there are some already.
pub(crate) fn known_seal_keys(folder: &Path) -> anyhow::Result<Option<SealKeys>> {
    let given = std::env::var_os("PORTCULLIS_SEAL_KEY").is_some();
    if given || folder.join(SEAL_KEY).exists() { seal_keys(folder).map(Some) } else { Ok(None) }
}

/// Tells whether others than their owner can read the seal keys in the folder.
pub(crate) fn is_exposed(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(folder.join(SEAL_KEY)).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

/// Makes a key that only this user can read. Of two processes that make one at once, both use the same.
fn make_key(folder: &Path, path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|e| anyhow::anyhow!("no randomness: {e}"))?;
    let draft = folder.join(format!("{SEAL_KEY}.{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&draft)?.write_all(STANDARD.encode(key).as_bytes())?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}
