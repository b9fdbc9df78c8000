//! `history`: what servers ever said of themselves.

use std::process::ExitCode;

use anyhow::bail;
use portcullis_core::audit::{time_text, visible};
use serde_json::{Value, json};

use super::{counted, say, table};
use crate::cli::History as Args;
use crate::data;
use crate::history::{Disagreement, Entry, History};

/// How much of a digest is shown.
const SHORT: usize = 12;

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let folder = data::folder(args.data_dir.clone())?;
    let Some(history) = History::find(&folder)? else {
        bail!("{} has no history yet: a gateway that serves begins one", folder.display());
    };
    match &args.server {
        _ if args.verify => verify(args, &history),
        None => list(args, &history),
        Some(server) => show(args, &history, server),
    }
}

fn list(args: &Args, history: &History) -> anyhow::Result<ExitCode> {
    let servers = history.servers()?;
    if args.json {
        let all: Vec<_> =
            servers.iter().map(|(name, count)| json!({ "server": name, "entries": count })).collect();
        say(format_args!("{:#}", Value::from(all)));
    } else {
        table(["SERVER", "ENTRIES"], servers.into_iter().map(|(name, count)| [name, count.to_string()]));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(args: &Args, history: &History, server: &str) -> anyhow::Result<ExitCode> {
    let entries = history.entries(server, args.tool.as_deref())?;
    let of_tool =
        |one: &Disagreement| args.tool.as_ref().is_none_or(|tool| one.list == "tools" && one.name == *tool);
    let disagreements: Vec<_> = history.disagreements(server)?.into_iter().filter(of_tool).collect();
    if args.json {
        let lines: Vec<Value> =
            entries.iter().filter_map(|entry| serde_json::from_str(&entry.line).ok()).collect();
        say(format_args!(
            "{:#}",
            json!({ "server": server, "entries": lines, "disagreements": disagreements })
        ));
        return Ok(ExitCode::SUCCESS);
    }
    table(["ENTRY", "AT", "EVENT", "LIST", "NAME", "DIGEST", "SHOWN TO"], entries.iter().map(row));
    for Disagreement { list, name, shown } in &disagreements {
        let who = shown.iter().map(|(who, digest)| {
            format!("{}: {}", visible(who), short(digest.as_deref().unwrap_or("nothing")))
        });
        let who = who.collect::<Vec<_>>().join(", ");
        eprintln!("portcullis: warning: {list} {} is not shown to everybody alike: {who}", visible(name));
    }
    eprintln!("portcullis: {}", entries_in_words(entries.len()));
    Ok(ExitCode::SUCCESS)
}

fn entries_in_words(count: usize) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

fn row(entry: &Entry) -> [String; 7] {
    let who = if entry.principal.is_empty() {
        "everybody".to_owned()
    } else {
        visible(&entry.principal).into_owned()
    };
    [
        entry.id.to_string(),
        time_text(entry.at),
        entry.event.clone(),
        entry.list.clone(),
        visible(&entry.name).into_owned(),
        short(&entry.digest).to_owned(),
        who,
    ]
}

fn short(digest: &str) -> &str {
    digest.get(..SHORT).unwrap_or(digest)
}

fn verify(args: &Args, history: &History) -> anyhow::Result<ExitCode> {
    let servers = match &args.server {
        Some(server) => vec![server.clone()],
        None => history.servers()?.into_iter().map(|(name, _)| name).collect(),
    };
    let verified = servers.iter().map(|server| history.verify(server)).collect::<anyhow::Result<Vec<_>>>()?;
    if args.json {
        say(format_args!("{:#}", serde_json::to_value(&verified)?));
    } else {
        for one in &verified {
            let found = one
                .fault
                .as_deref()
                .map_or_else(|| format!("whole, up to {}", one.head), |fault| format!("BROKEN: {fault}"));
            say(format_args!("{}: {}, {found}", one.server, entries_in_words(usize::try_from(one.entries)?)));
        }
        eprintln!("portcullis: {}", counted(verified.len(), "server"));
    }
    let is_whole = verified.iter().all(|one| one.fault.is_none());
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
