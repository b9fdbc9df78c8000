//! Counts the instructions of the hot paths. The counts on record lie in `benches/counts.txt`: a line for each path.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use portcullis_core::testing::{self, Path};

/// By how much a count may grow, in percent.
const TOLERANCE: u64 = 5;
/// How often a path is taken while it is counted.
const TIMES: u64 = 10;

/// What to compare with.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The counts on record
    #[arg(default_value = "benches/counts.txt")]
    record: PathBuf,
    /// Put what is counted on record
    #[arg(long)]
    accept: bool,
}

/// Counts every path, prints what changed, and fails where a count has grown.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let known = fs::read_to_string(&options.record).unwrap_or_default();
    let known: BTreeMap<&str, u64> = known.lines().filter_map(parse).collect();
    let (mut grown, mut record) = (Vec::new(), String::new());
    for (name, _) in paths() {
        let count = counted(name)?;
        let before = known.get(name).copied();
        println!("{name:18} {count:>12} instructions{}", before.map_or(String::new(), |b| change(b, count)));
        let _ = writeln!(record, "{name} {count}");
        if before.is_none_or(|before| count * 100 > before * (100 + TOLERANCE)) {
            grown.push(name);
        }
    }
    if options.accept {
        fs::write(&options.record, record)?;
        return Ok(());
    }
    let how = "cargo run --profile count --package portcullis-benches -- count --accept";
    ensure!(
        grown.is_empty(),
        "grew by more than {TOLERANCE} %, or is new: {}\nif that is as it should be: {how}",
        grown.join(", ")
    );
    Ok(())
}

/// Returns every path: core's, and what a host adds.
fn paths() -> Vec<(&'static str, Path)> {
    let mut all = testing::paths();
    all.push(("token_rs256", testing::token_rs256(portcullis_native::verifies)));
    all
}

fn parse(line: &str) -> Option<(&str, u64)> {
    let (name, count) = line.split_once(' ')?;
    Some((name, count.trim().parse().ok()?))
}

fn change(before: u64, now: u64) -> String {
    let (sign, by) = if now >= before { ('+', now - before) } else { ('-', before - now) };
    let tenths = by * 1000 / before.max(1);
    format!(" ({sign}{}.{} %)", tenths / 10, tenths % 10)
}

/// Runs a path under valgrind, which counts only what happens within [`measured`].
fn counted(name: &str) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*measured*"])
        .arg(std::env::current_exe()?)
        .args(["path", name, &TIMES.to_string()])
        .output()
        .context("valgrind cannot be run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected =
        said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    match collected {
        Some(count) if output.status.success() && count > 0 => Ok(count / TIMES),
        _ => bail!("{name} could not be counted:\n{said}"),
    }
}

/// Takes a path some times, after once so that it is warm.
pub(crate) fn take(name: &str, times: usize) -> anyhow::Result<()> {
    let found = paths().into_iter().find(|(known, _)| *known == name);
    let (_, path) = found.with_context(|| format!("there is no path {name}"))?;
    black_box(path());
    for _ in 0..times {
        black_box(measured(&path));
    }
    Ok(())
}

#[inline(never)]
fn measured(path: &Path) -> usize {
    path()
}
