//! `simulate`: what a draft would change of the calls that were recorded, and of what agents are listed.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Method;
use portcullis_core::Exposure;
use portcullis_core::audit::{LONGEST_PAGE, Order, Query, time_text, visible};
use portcullis_core::identity::KeyRing;
use portcullis_core::simulate::{Calls, Listed, Report, Simulation};
use portcullis_native::now;
use serde_json::json;

use super::admin::{Admin, Answered};
use super::client::settle;
use super::{counted, find, push, say, start, table};
use crate::audit::Reading;
use crate::cli::{Setup, Simulate};
use crate::data;
use crate::host::Machine;
use crate::keys::KeyStore;

/// How long the servers' processes may take to stop.
const STOP: Duration = Duration::from_secs(6);

pub(super) async fn run(args: Simulate) -> anyhow::Result<ExitCode> {
    let report = match &args.url {
        Some(url) => elsewhere(&args, &Admin::new(url, &args.credential)?).await?,
        None => here(&args).await?,
    };
    if args.json {
        say(format_args!("{:#}", serde_json::to_value(&report)?));
    } else {
        show(&report);
    }
    let is_safe = report.refused.is_empty() && report.unknown.is_empty() && report.left_out == 0;
    Ok(ExitCode::from(u8::from(!is_safe)))
}

/// Tries what a gateway that runs has recorded, part after part.
async fn elsewhere(args: &Simulate, admin: &Admin) -> anyhow::Result<Report> {
    let mut body = json!({ "since": time_text(args.since.before(now())) });
    let mut folder = None;
    match (&args.config, &args.approve) {
        (Some(path), _) => {
            let (found, document) = push::read(path)?;
            (body["files"], body["overlays"]) = (json!(document.files), json!(document.overlays));
            folder = Some(found);
        }
        (None, server) => body["approve"] = json!({ "server": server, "tool": args.tool }),
    }
    let mut whole: Option<Report> = None;
    loop {
        let Answered { status, body: said } =
            admin.ask((Method::POST, "simulate"), &[], Some(&body), &[422]).await?;
        if let (422, Some(folder)) = (status, &folder) {
            push::complain_about(folder, &said);
        }
        if status == 422 {
            bail!("{} would not take this: {}", admin.url, said["detail"].as_str().unwrap_or_default());
        }
        let part: Report = serde_json::from_value(said).context("the answer is no simulation")?;
        body["cursor"] = json!(part.next);
        let is_last = part.next.is_none();
        match &mut whole {
            Some(whole) => whole.join(part),
            None => whole = Some(part),
        }
        if let (true, Some(whole)) = (is_last, whole.as_mut()) {
            return Ok(std::mem::take(whole));
        }
    }
}

/// Tries what lies in the data folder, against what servers of this machine offer.
async fn here(args: &Simulate) -> anyhow::Result<Report> {
    let trail = Reading::open(&data::folder(args.data_dir.clone())?)?;
    let setup = |config| Setup { config, data_dir: args.data_dir.clone() };
    let draft = args.config.clone().map(|config| find(&setup(Some(config)))).transpose()?;
    let present = setup(args.against.clone());
    let local = start(&present, find(&present)?, Exposure::Loopback, Machine::new())?;
    if let Some(store) = KeyStore::find(&local.folder)? {
        local.gateway.set_keys(KeyRing::new(store.all()?.into_iter().map(|kept| kept.record)));
    }
    settle(&local.gateway).await;
    let begun = match (draft, &args.approve) {
        (Some(draft), _) => Ok(local.gateway.simulate(draft.parsed.config)),
        (None, server) => {
            local.gateway.simulate_approval(server.as_deref().unwrap_or_default(), args.tool.as_deref())
        }
    };
    // What is listed is looked at in the end: until then the servers have to be there.
    let report = begun.map_err(Into::into).and_then(|begun| read(&trail, begun, args.since.before(now())));
    local.gateway.stop();
    local.end(STOP).await;
    report
}

/// Reads the trail page by page: of what was read, only what was found is kept.
fn read(trail: &Reading, mut simulation: Simulation, since: u64) -> anyhow::Result<Report> {
    let mut query =
        Query { since: Some(since), order: Order::Newest, limit: LONGEST_PAGE, ..Query::default() };
    loop {
        let page = trail.page(&query)?;
        for line in &page.lines {
            simulation.take(line);
        }
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok(simulation.finish()),
        }
    }
}

fn show(report: &Report) {
    let sorts = [("refused", &report.refused), ("allowed", &report.allowed), ("unknown", &report.unknown)];
    if sorts.iter().any(|(_, calls)| !calls.is_empty()) {
        let rows = sorts.iter().flat_map(|(word, calls)| calls.iter().map(move |calls| row(word, calls)));
        table(["WOULD BE", "AGENT", "CALL", "SERVER", "TIMES", "LAST", "BY"], rows);
    }
    for Listed { agent, added, removed, changed } in &report.listed {
        for (what, names) in [("also", added), ("no longer", removed), ("described otherwise", changed)] {
            if !names.is_empty() {
                let names = names.iter().map(|name| visible(name).into_owned()).collect::<Vec<_>>();
                say(format_args!("agent {} would be listed, {what}: {}", visible(agent), names.join(", ")));
            }
        }
    }
    if report.is_quiet() {
        say("nothing would change");
    }
    let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    eprintln!(
        "portcullis: {} tried; {} left out that no agent could make again",
        counted(number(report.considered), "recorded call"),
        number(report.skipped)
    );
    if report.left_out > 0 {
        eprintln!("portcullis: warning: {} more would change", counted(number(report.left_out), "call"));
    }
    for server in &report.assumed {
        eprintln!("portcullis: server {server:?} is taken to offer what it offers now");
    }
    for unread in &report.unread {
        eprintln!(
            "portcullis: what server {:?} would offer is not known: it {}",
            unread.server, unread.reason
        );
    }
    for remark in &report.remarks {
        eprintln!("portcullis: {}", visible(remark));
    }
}

fn row(word: &str, calls: &Calls) -> [String; 7] {
    let Calls { agent, kind, name, server, times, last, rule, .. } = calls;
    let kind = if kind == "tool" { String::new() } else { format!("{kind} ") };
    let text = |text: &str| visible(text).into_owned();
    [
        word.to_owned(),
        text(agent),
        format!("{kind}{}", visible(name)),
        text(server.as_deref().unwrap_or_default()),
        times.to_string(),
        last.clone(),
        text(rule),
    ]
}
