//! `audit`: the trail, read.

use std::fs;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use portcullis_core::audit::{Moment, Row, csv_head};
use serde_json::json;

use super::{counted, say};
use crate::audit::{Filter, Reading};
use crate::cli::{Audit, Export, Format, Query, Tail, Verify, Wanted};
use crate::data;
use crate::host::now;

/// How often it is looked for new entries.
const LOOK: Duration = Duration::from_millis(250);

pub(super) async fn run(args: Audit) -> anyhow::Result<ExitCode> {
    let folder = data::folder(args.data_dir)?;
    let reading = Reading::open(&folder)?;
    match args.command {
        crate::cli::AuditCommand::Tail(args) => tail(&reading, &args).await,
        crate::cli::AuditCommand::Query(args) => query(&reading, &args),
        crate::cli::AuditCommand::Verify(args) => verify(&reading, &args),
        crate::cli::AuditCommand::Export(args) => export(&reading, &args),
    }
}

async fn tail(reading: &Reading, args: &Tail) -> anyhow::Result<ExitCode> {
    // Even where no line is wanted, the last one is read: what is followed begins after it.
    let mut filter = Filter { limit: Some(args.lines.max(1)), ..Filter::default() };
    let (mut last, mut is_wanted) = (0, args.lines > 0);
    loop {
        reading.query(&filter, |id, line| {
            last = id;
            if is_wanted {
                print(line, args.json);
            }
            Ok(())
        })?;
        is_wanted = true;
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        filter = Filter { after: Some(last), ..Filter::default() };
        tokio::time::sleep(LOOK).await;
    }
}

fn query(reading: &Reading, args: &Query) -> anyhow::Result<ExitCode> {
    let filter = Filter { limit: Some(args.limit), ..filter(&args.wanted) };
    reading.query(&filter, |_, line| {
        print(line, args.json);
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn verify(reading: &Reading, args: &Verify) -> anyhow::Result<ExitCode> {
    let outcome = reading.verify()?;
    if args.json {
        let said = match &outcome {
            Ok(found) => json!({
                "whole": true,
                "entries": found.entries,
                "first": found.reach.0,
                "last": found.reach.1,
                "remarks": found.remarks,
                "hash": found.hash,
            }),
            Err(breach) => json!({ "whole": false, "breach": breach }),
        };
        say(format_args!("{said:#}"));
        return Ok(ExitCode::from(u8::from(outcome.is_err())));
    }
    match outcome {
        Ok(found) => {
            let entries = usize::try_from(found.entries).unwrap_or(usize::MAX);
            say(format_args!(
                "{}, from {} to {}: whole",
                counted(entries, "line"),
                found.reach.0,
                found.reach.1
            ));
            for entry in &found.remarks {
                say(format_args!("entry {entry} is the gateway's own, about the trail: look at it"));
            }
            say(format_args!("the last line's hash: {}", found.hash));
            Ok(ExitCode::SUCCESS)
        }
        Err(breach) => {
            say(format_args!("the trail is broken: {breach}"));
            Ok(ExitCode::from(1))
        }
    }
}

fn export(reading: &Reading, args: &Export) -> anyhow::Result<ExitCode> {
    let mut out: Box<dyn Write> = match &args.output {
        Some(path) => {
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(path);
            Box::new(BufWriter::new(file.with_context(|| {
                format!("cannot write {} (a file that is there is not replaced)", path.display())
            })?))
        }
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    if args.format == Format::Csv {
        write!(out, "{}\r\n", csv_head())?;
    }
    let mut unreadable = 0;
    reading.query(&filter(&args.wanted), |_, line| {
        match (args.format, Row::read(line)) {
            (Format::Jsonl, _) => writeln!(out, "{line}")?,
            (Format::Csv, Some(row)) => write!(out, "{}\r\n", row.to_csv())?,
            (Format::Csv, None) => unreadable += 1,
        }
        Ok(())
    })?;
    out.flush()?;
    if unreadable > 0 {
        eprintln!(
            "portcullis: warning: {} left out, as no entry can be read there",
            counted(unreadable, "line")
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn filter(wanted: &Wanted) -> Filter {
    let moment = |moment: &Option<Moment>| moment.as_ref().map(|moment| moment.before(now()));
    Filter {
        agent: wanted.agent.clone(),
        server: wanted.server.clone(),
        tool: wanted.tool.clone(),
        decision: wanted.decision.map(|decision| decision.as_str().to_owned()),
        since: moment(&wanted.since),
        until: moment(&wanted.until),
        ..Filter::default()
    }
}

fn print(line: &str, as_json: bool) {
    match Row::read(line).filter(|_| !as_json) {
        Some(row) => say(summary(&row)),
        None if as_json => say(line),
        None => say(json!(line)),
    }
}

/// One entry for people: when, what was decided, who, what, how long it took, and what was wrong.
fn summary(row: &Row<'_>) -> String {
    let field = |name: &str| row.field(name);
    let who = [field("agent"), field("client")].into_iter().find(|who| !who.is_empty());
    let mut text = format!("{} {:7} {}", field("time"), field("decision"), field("method"));
    let took = format!("{} ms", field("duration_ms"));
    let (server, name) = (field("server"), field("name"));
    for (before, part) in [(" ", name), (" at ", server), (" for ", who.unwrap_or_default()), (", ", took)] {
        if !part.is_empty() {
            text.push_str(before);
            text.push_str(&part);
        }
    }
    if field("is_error") == "true" {
        text.push_str(", the tool says error");
    }
    for (before, part) in [(", ", field("error")), (", rule ", field("rule"))] {
        if !part.is_empty() {
            text.push_str(before);
            text.push_str(&part);
        }
    }
    text
}
