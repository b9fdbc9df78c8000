//! `host list`, `stats`, `logs`, `stop`, `rm`: what runs by a data folder, and ending it.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use nix::sys::signal::Signal;
use portcullis_core::audit::time_text;
use serde_json::{Value, json};

use super::{counted, say, table};
use crate::cli::{Logs, Running, Stop};
use crate::data;
use crate::hosting::Engine;
use crate::hosting::records::{Record, Records};

pub(super) fn list(args: Running) -> anyhow::Result<ExitCode> {
    let running = records(args.data_dir)?.running();
    if args.json {
        say(format_args!("{:#}", Value::Array(running.iter().map(described).collect())));
        return Ok(ExitCode::SUCCESS);
    }
    if !is_empty(&running) {
        let row = |record: &Record| {
            [record.server.clone(), record.backend.clone(), short(&record.id), time_text(record.since)]
        };
        table(["SERVER", "BACKEND", "ID", "SINCE"], running.iter().map(row));
        eprintln!("portcullis: {}", counted(running.len(), "instance"));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn stats(args: Running) -> anyhow::Result<ExitCode> {
    let running = records(args.data_dir)?.running();
    let mut rows = Vec::new();
    for record in &running {
        let usage = match record.began {
            Some(_) => record.usage(),
            None => match Engine::find().await {
                Ok((engine, _)) => engine.usage(&record.id).await,
                Err(_) => None,
            },
        };
        rows.push((record, usage));
    }
    if args.json {
        let described = |(record, usage): &(&Record, Option<(u64, usize)>)| {
            let mut described = described(record);
            described["memory"] = json!(usage.map(|(memory, _)| memory));
            described["processes"] = json!(usage.map(|(_, processes)| processes));
            described
        };
        say(format_args!("{:#}", Value::Array(rows.iter().map(described).collect())));
    } else if !is_empty(&running) {
        let row = |(record, usage): &(&Record, Option<(u64, usize)>)| {
            let (memory, processes) = match usage {
                Some((memory, processes)) => {
                    (format!("{:.1} MiB", mebibytes(*memory)), processes.to_string())
                }
                None => ("unknown".to_owned(), "unknown".to_owned()),
            };
            [record.server.clone(), short(&record.id), memory, processes]
        };
        table(["SERVER", "ID", "MEMORY", "PROCESSES"], rows.iter().map(row));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn logs(args: Logs) -> anyhow::Result<ExitCode> {
    let file = records(args.data_dir)?.log(&args.server);
    let read = |file: PathBuf| {
        fs::read(file).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    };
    let text = read(file.with_extension("log.1")) + &read(file);
    if text.is_empty() {
        bail!("the server {:?} has said nothing, or is not hosted", args.server);
    }
    let lines: Vec<_> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(args.lines)..] {
        say(line);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn stop(args: Stop) -> anyhow::Result<ExitCode> {
    let records = records(args.data_dir)?;
    let ended = end(&records, &args.server).await?;
    if ended == 0 {
        bail!("no instance of {:?} runs; `portcullis host list` says what does", args.server);
    }
    eprintln!("portcullis: {} of {} ended", counted(ended, "instance"), args.server);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn remove(args: Stop) -> anyhow::Result<ExitCode> {
    let records = records(args.data_dir)?;
    let ended = end(&records, &args.server).await?;
    let file = records.log(&args.server);
    let forgotten =
        [file.with_extension("log.1"), file].into_iter().filter(|file| fs::remove_file(file).is_ok()).count();
    if ended + forgotten == 0 {
        bail!("there is nothing of {:?} here", args.server);
    }
    eprintln!(
        "portcullis: {} of {} ended, and what it said is forgotten",
        counted(ended, "instance"),
        args.server
    );
    Ok(ExitCode::SUCCESS)
}

/// Ends the instances of a server; returns how many.
async fn end(records: &Records, server: &str) -> anyhow::Result<usize> {
    let mut ended = 0;
    for record in records.running().iter().filter(|record| record.server == server) {
        let gone = match record.began {
            Some(_) => record.signal(Signal::SIGKILL),
            None => match Engine::find().await {
                Ok((engine, _)) => engine.stop(&record.id).await,
                Err(why) => bail!("the container of {server} cannot be ended: {why}"),
            },
        };
        ended += usize::from(gone);
    }
    Ok(ended)
}

fn records(folder: Option<PathBuf>) -> anyhow::Result<Records> {
    Ok(Records::of(&data::folder(folder)?))
}

fn is_empty(running: &[Record]) -> bool {
    if running.is_empty() {
        eprintln!("portcullis: nothing runs");
    }
    running.is_empty()
}

fn described(record: &Record) -> Value {
    json!({ "server": record.server, "backend": record.backend, "id": record.id, "since": time_text(record.since) })
}

/// Returns as much of an engine's name as people use.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a tenth of it is shown")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
