//! The hostile server of `tests/hosting`, which every place that hosts servers has to hold.
//!
//! It is compiled once, by whichever test program comes first, to a static program, so that it runs in an image with
//! nothing else in it.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::toolbox;

/// The files that it is compiled from; the first is the one that the compiler is given.
const SOURCES: [&str; 3] = ["hostile.rs", "deeds.rs", "json.rs"];

/// How its image is built: from nothing, and by nobody in particular.
const CONTAINERFILE: &str =
    "FROM scratch\nCOPY hostile /hostile\nUSER 65534:65534\nENTRYPOINT [\"/hostile\"]\n";

/// The program.
pub fn hostile() -> PathBuf {
    hostile_image().join("hostile")
}

/// A folder from which an image of it can be built: the program, and a `Containerfile`.
pub fn hostile_image() -> PathBuf {
    let sources = toolbox::repository("tests/hosting");
    let mut digest = DefaultHasher::new();
    for name in SOURCES {
        fs::read(sources.join(name)).expect("the source can be read").hash(&mut digest);
    }
    let folder = toolbox::target().join("hosting");
    fs::create_dir_all(&folder).expect("cargo's folder can be written to");
    let image = folder.join(format!("{:016x}", digest.finish()));
    let lock = File::create(folder.join("lock")).expect("cargo's folder can be written to");
    lock.lock().expect("a file can be locked");
    if !image.is_dir() {
        build(&sources.join(SOURCES[0]), &image);
    }
    image
}

/// Makes the folder whole or not at all.
fn build(source: &Path, image: &Path) {
    let partial = image.with_extension("partial");
    fs::create_dir_all(&partial).expect("cargo's folder can be written to");
    fs::write(partial.join("Containerfile"), CONTAINERFILE).expect("cargo's folder can be written to");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["-O", "--edition", "2024", "-C", "strip=symbols"]);
    // A Mac links its own library always.
    if cfg!(target_os = "linux") {
        rustc.args(["-C", "target-feature=+crt-static"]);
    }
    let status = rustc.arg(source).arg("-o").arg(partial.join("hostile")).status();
    assert!(status.expect("rustc can be started").success(), "the hostile server does not compile");
    fs::rename(&partial, image).expect("cargo's folder can be written to");
}
