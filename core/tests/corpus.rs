//! Replays what fuzzing has found, and the seeds it began with, through the same targets on a stable compiler.

use std::fs;
use std::panic;
use std::path::Path;

use portcullis_core::testing::fuzz;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut replayed = 0;
    for path in entries.map(|entry| entry.expect("a folder can be read").path()) {
        let data = fs::read(&path).expect("a file can be read");
        let outcome = panic::catch_unwind(|| run(&data));
        assert!(outcome.is_ok(), "{} breaks the target {target}", path.display());
        replayed += 1;
    }
    assert!(replayed > 10, "{} holds {replayed} files", folder.display());
}

#[test]
fn envelope() {
    replay("envelope", fuzz::envelope);
}

#[test]
fn relay() {
    replay("relay", fuzz::relay);
}

#[test]
fn seal() {
    replay("seal", fuzz::seal);
}

#[test]
fn config() {
    replay("config", fuzz::config);
}

#[cfg(feature = "control")]
#[test]
fn edit() {
    replay("edit", fuzz::edit);
}
