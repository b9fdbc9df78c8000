//! `audit`: the trail, read; that of a data folder, or that of a gateway that runs.

use std::fs;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use portcullis_core::audit::{LONGEST_PAGE, Moment, Order, Page, Query, Row, Verdict, Verdicts, csv_head};
use portcullis_native::now;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::admin::Admin;
use super::{counted, say};
use crate::audit::Reading;
use crate::cli::{self, Audit, AuditCommand, Export, Format, Tail, Verify, Wanted};
use crate::data;

/// How often it is looked for new entries.
const LOOK: Duration = Duration::from_millis(250);
/// How often a gateway that runs is asked for new entries.
const ASK: Duration = Duration::from_secs(1);
/// Where a gateway that runs shows its trail.
const PATH: &str = "audit";

pub(super) async fn run(args: Audit) -> anyhow::Result<ExitCode> {
    let trail = match &args.url {
        Some(url) => Trail::Remote(Box::new(Admin::new(url, &args.credential)?), args.gateway),
        None => Trail::Local(Reading::open(&data::folder(args.data_dir)?)?),
    };
    match args.command {
        AuditCommand::Tail(args) => tail(&trail, &args).await,
        AuditCommand::Query(args) => query(&trail, &args).await,
        AuditCommand::Verify(args) => verify(&trail, &args).await,
        AuditCommand::Export(args) => export(&trail, &args).await,
    }
}

/// A trail to read.
enum Trail {
    /// That of a data folder.
    Local(Reading),
    /// That of a gateway that runs, and of which of those that it governs.
    Remote(Box<Admin>, Option<String>),
}

/// A page, as a gateway that runs writes it.
#[derive(Deserialize)]
struct Written {
    entries: Vec<Box<RawValue>>,
    cursor: Option<String>,
    follow: Option<String>,
}

impl Trail {
    async fn page(&self, query: &Query) -> anyhow::Result<Page> {
        let admin = match self {
            Self::Local(reading) => return Ok(reading.page(query)?),
            Self::Remote(admin, gateway) => (admin, gateway),
        };
        let text = admin.0.get(&path(PATH, query, admin.1.as_deref())).await?;
        let written: Written = serde_json::from_slice(&text).context("the answer is no page of a trail")?;
        // A line that is no entry comes as a string.
        let line = |entry: Box<RawValue>| match serde_json::from_str::<String>(entry.get()) {
            Ok(text) => text,
            Err(_) => entry.get().to_owned(),
        };
        let lines = written.entries.into_iter().map(line).collect();
        Ok(Page { lines, next: written.cursor, follow: written.follow })
    }

    async fn verify(&self) -> anyhow::Result<Vec<Verdict>> {
        let admin = match self {
            Self::Local(reading) => return Ok(vec![reading.verdict()?]),
            Self::Remote(admin, gateway) => (admin, gateway),
        };
        let mut all = Vec::new();
        let mut query = Query::default();
        loop {
            let path = path(&format!("{PATH}/verify"), &query, admin.1.as_deref());
            let text = admin.0.get(&path).await?;
            let verdicts = Verdicts::parse(&text).context("the answer is no verdict on a trail")?;
            all.extend(verdicts.writers);
            match verdicts.next {
                Some(next) => query.cursor = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Reads page after page until `take` has had enough, or there is nothing more.
    async fn read(
        &self,
        mut query: Query,
        mut take: impl FnMut(String) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            let page = self.page(&query).await?;
            page.lines.into_iter().try_for_each(&mut take)?;
            match page.next {
                Some(next) => query.cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Returns the last entries that are wanted, the oldest first, and where what follows them begins.
    async fn last(&self, mut query: Query, count: usize) -> anyhow::Result<(Vec<String>, Option<String>)> {
        let (mut lines, mut follow) = (Vec::new(), None);
        loop {
            query.limit = (count - lines.len()).clamp(1, LONGEST_PAGE);
            let page = self.page(&query).await?;
            follow = follow.or(page.follow);
            lines.extend(page.lines);
            match page.next.filter(|_| lines.len() < count) {
                Some(next) => query.cursor = Some(next),
                None => break,
            }
        }
        lines.truncate(count);
        lines.reverse();
        Ok((lines, follow))
    }
}

/// Returns the path that answers a query.
fn path(path: &str, query: &Query, gateway: Option<&str>) -> String {
    let mut out = url::form_urlencoded::Serializer::new(query.to_text());
    out.extend_pairs(gateway.map(|name| ("gateway", name)));
    format!("{path}?{}", out.finish())
}

async fn tail(trail: &Trail, args: &Tail) -> anyhow::Result<ExitCode> {
    let count = usize::try_from(args.lines).unwrap_or(usize::MAX);
    let (lines, follow) = trail.last(Query::default(), count).await?;
    print_all(&lines, args.json);
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    let mut query = Query { order: Order::Oldest, cursor: follow, ..Query::default() };
    loop {
        let page = trail.page(&query).await?;
        print_all(&page.lines, args.json);
        if page.follow.is_some() {
            query.cursor = page.follow;
        }
        if page.next.is_none() {
            tokio::time::sleep(if matches!(trail, Trail::Local(_)) { LOOK } else { ASK }).await;
        }
    }
}

fn print_all(lines: &[String], as_json: bool) {
    for line in lines {
        print(line, as_json);
    }
}

async fn query(trail: &Trail, args: &cli::Query) -> anyhow::Result<ExitCode> {
    let count = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let (lines, _) = trail.last(wanted(&args.wanted), count).await?;
    print_all(&lines, args.json);
    Ok(ExitCode::SUCCESS)
}

async fn verify(trail: &Trail, args: &Verify) -> anyhow::Result<ExitCode> {
    let verdicts = trail.verify().await?;
    if verdicts.is_empty() {
        bail!("there is no audit trail yet: a gateway writes it once it is asked something");
    }
    let is_broken = verdicts.iter().any(|verdict| verdict.outcome.is_err());
    if args.json {
        let mut said: Vec<_> = verdicts.iter().map(as_json).collect();
        let said = if said.len() == 1 { said.swap_remove(0) } else { said.into() };
        say(format_args!("{said:#}"));
        return Ok(ExitCode::from(u8::from(is_broken)));
    }
    for verdict in &verdicts {
        if verdicts.len() > 1 {
            say(format_args!("writer {}:", verdict.writer));
        }
        tell(verdict);
    }
    Ok(ExitCode::from(u8::from(is_broken)))
}

fn as_json(verdict: &Verdict) -> serde_json::Value {
    match &verdict.outcome {
        Ok(found) => json!({
            "writer": verdict.writer,
            "whole": true,
            "entries": found.entries,
            "first": found.reach.0,
            "last": found.reach.1,
            "remarks": found.remarks,
            "hash": found.hash,
        }),
        Err(breach) => json!({ "writer": verdict.writer, "whole": false, "breach": breach }),
    }
}

fn tell(verdict: &Verdict) {
    match &verdict.outcome {
        Ok(found) => {
            let entries = usize::try_from(found.entries).unwrap_or(usize::MAX);
            let (first, last) = found.reach;
            say(format_args!("{}, from {first} to {last}: whole", counted(entries, "line")));
            for entry in &found.remarks {
                say(format_args!("entry {entry} is the gateway's own, about the trail: look at it"));
            }
            say(format_args!("the last line's hash: {}", found.hash));
        }
        Err(breach) => say(format_args!("the trail is broken: {breach}")),
    }
}

async fn export(trail: &Trail, args: &Export) -> anyhow::Result<ExitCode> {
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
    let query = Query { order: Order::Oldest, limit: LONGEST_PAGE, ..wanted(&args.wanted) };
    let reading = trail.read(query, |line| {
        match (args.format, Row::read(&line)) {
            (Format::Jsonl, _) => writeln!(out, "{line}")?,
            (Format::Csv, Some(row)) => write!(out, "{}\r\n", row.to_csv())?,
            (Format::Csv, None) => unreadable += 1,
        }
        Ok(())
    });
    reading.await?;
    out.flush()?;
    if unreadable > 0 {
        eprintln!(
            "portcullis: warning: {} left out, as no entry can be read there",
            counted(unreadable, "line")
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn wanted(wanted: &Wanted) -> Query {
    let moment = |moment: &Option<Moment>| moment.as_ref().map(|moment| moment.before(now()));
    Query {
        agent: wanted.agent.clone(),
        server: wanted.server.clone(),
        tool: wanted.tool.clone(),
        method: wanted.method.clone(),
        decision: wanted.decision.map(|decision| decision.as_str().to_owned()),
        since: moment(&wanted.since),
        until: moment(&wanted.until),
        ..Query::default()
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
