//! `evaluate`: a server is started alone, where it can do no harm, asked, watched, and judged.
//!
//! | module | decides |
//! |---|---|
//! | `den`, `canary` | what surrounds the server: a home, stand-ins for its folders, secrets that open nothing |
//! | `place`, `link` | how it is started, talked to, and made to leave; what it says against the protocol |
//! | `visit`, `calling` | what it is asked: who asks, which lists, which tools with which inputs |
//! | `inputs`, `naming` | inputs out of schemas, deeds out of names, pure |
//! | `usage`, `trace` | what it took, and what it asked of the system |
//! | `offered`, `texts`, `schema` | what is wrong with what it says of itself, pure |
//! | `observed`, `judge`, `profile` | from all that was seen to risks, a verdict, and the least that it needs, pure |
//! | `report`, `terminal`, `html` | how that is kept, printed and shown |
//!
//! **No secret of the user and no file of theirs comes near the server**, and **everything that comes from it is escaped
//! wherever it is shown**. What was not seen is said to be unseen; where nothing is found, nothing is proved.

mod calling;
mod canary;
mod den;
pub(crate) mod html;
mod inputs;
mod judge;
mod link;
mod naming;
mod observed;
mod offered;
mod place;
mod profile;
pub(crate) mod report;
mod schema;
pub(crate) mod terminal;
mod texts;
mod trace;
mod usage;
mod visit;

use std::time::{Instant, SystemTime};

use portcullis_core::audit::Redactor;
use portcullis_core::config::Command;
use portcullis_core::inspect::is_invisible;
use portcullis_core::names::ServerName;
use serde_json::Value;

use den::Den;
use observed::{Called, Observed, Visit};
use place::Starter;
use profile::Folder;
use report::{Call, Calls, FORMAT, Moment, Report, Risk, Tool, Trace, Usage, Wanted};
use trace::Recorded;

/// What is to be evaluated.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    /// The server's name.
    pub(crate) server: &'a ServerName,
    /// How it is started.
    pub(crate) command: &'a Command,
    /// The names of the other servers.
    pub(crate) others: Vec<String>,
    /// Which tools are called.
    pub(crate) calls: Calls,
    /// Whether what it asks of the system is recorded.
    pub(crate) record: bool,
    /// Whether it runs as a process of the user, where nothing keeps it from anything.
    pub(crate) unconfined: bool,
}

/// What happens when.
#[derive(Debug)]
struct Clock {
    began: Instant,
    moments: Vec<Moment>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { began: Instant::now(), moments: Vec::new() }
    }
}

impl Clock {
    fn note(&mut self, what: impl Into<String>) {
        self.moments.push(Moment { at: self.now(), what: what.into() });
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Evaluates a server.
///
/// # Errors
/// Says why it could not be started at all.
pub(crate) async fn evaluate(subject: &Subject<'_>, at: String) -> anyhow::Result<Report> {
    let den = Den::make(subject.command)?;
    let furnished = SystemTime::now();
    let mut starter = Starter::new(subject.record, subject.unconfined);
    let mut observed = Observed { sees_processes: usage::is_seen(), ..Observed::default() };
    visit::all(subject, &den, &mut starter, &mut observed).await?;
    let recorded = observed.recorded.as_ref().filter(|_| observed.wanted.is_none()).map(wanted);
    observed.wanted = observed.wanted.or(recorded);
    let mut risks = judge::risks(subject.server.as_str(), &observed, &subject.others);
    if subject.record && !starter.records() {
        let why = "Files, programs and connections were not recorded.";
        risks.push(texts::risk(
            report::Severity::Note,
            "not-recorded",
            "",
            "strace is not installed",
            why,
            "",
        ));
    }
    let folders = den.stand_ins.iter().map(|(path, stand_in)| {
        let writes = profile::has_newer(stand_in, furnished);
        Folder { path: path.clone(), writes }
    });
    let folders: Vec<_> = folders.collect();
    let usage = usage_of(&observed);
    // Nobody grants a place to which secrets go.
    let granted = observed.wanted.clone().map(|mut wanted| {
        wanted.retain(|wanted| den.sightings(&wanted.host).is_empty());
        wanted
    });
    let trace = observed.recorded.as_ref().map(|recorded| hide(&recorded.trace, &den));
    let first = observed.visits.first();
    let served = first.is_some_and(|visit| visit.identity.failure.is_none());
    Ok(Report {
        format: FORMAT,
        server: subject.server.to_string(),
        at,
        took: observed.clock.now(),
        portcullis: env!("CARGO_PKG_VERSION").to_owned(),
        calls_itself: first.and_then(|visit| visit.calls_itself.clone()),
        version: first.and_then(|visit| visit.version.clone()),
        command: shown_command(subject.command),
        place: starter.place(&den.hosting),
        calls: subject.calls,
        verdict: judge::verdict(&risks, served),
        tools: first.map(|visit| tools(visit, &observed.calls, &risks)).unwrap_or_default(),
        prompts: first.map_or(0, |visit| visit.offered.prompts.len()),
        resources: first.map_or(0, |visit| visit.offered.resources.len()),
        identities: observed.visits.iter().map(|visit| visit.identity.clone()).collect(),
        profile: profile::propose(subject.server.as_str(), &usage, granted.as_deref(), &folders),
        risks,
        wanted: observed.wanted,
        trace,
        usage,
        ending: observed.ending,
        timeline: observed.clock.moments,
        stderr: observed.stderr.chars().take(4000).collect(),
        stderr_bytes: observed.stderr_bytes,
    })
}

/// What a recording says that a server wanted of the network.
fn wanted(recorded: &Recorded) -> Vec<Wanted> {
    let names = recorded.names.iter().map(|name| Wanted { host: name.clone(), port: None, times: 1 });
    let addresses = recorded.trace.connections.iter().filter_map(|address| {
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_matches(['[', ']']).to_owned();
        Some(Wanted { host, port: port.parse().ok(), times: 1 })
    });
    names.chain(addresses).collect()
}

fn usage_of(observed: &Observed) -> Usage {
    let seen = &observed.usage;
    let programs = seen.programs.clone();
    let (memory, processor, tasks) = (seen.memory, seen.processor, seen.tasks);
    Usage { memory, processor, tasks, programs, seen: observed.sees_processes }
}

/// Puts `~` in the place of a home that is gone by the time somebody reads of it.
fn hide(trace: &Trace, den: &Den) -> Trace {
    let home = den.home().display().to_string();
    let hide_one = |path: &String| {
        let path = path.replace(&home, "~");
        den.stand_ins
            .iter()
            .fold(path, |path, (given, stand_in)| path.replace(&*stand_in.to_string_lossy(), given))
    };
    let hide = |paths: &[String]| paths.iter().map(hide_one).collect();
    Trace {
        read: hide(&trace.read),
        written: hide(&trace.written),
        denied: hide(&trace.denied),
        programs: trace.programs.clone(),
        connections: trace.connections.clone(),
    }
}

/// The command as it may be shown.
fn shown_command(command: &Command) -> Vec<String> {
    let redactor = Redactor::default();
    let words = std::iter::once(&command.program).chain(&command.args);
    words.map(|word| redactor.text(word).into_owned()).collect()
}

fn tools(visit: &Visit, calls: &[Called], risks: &[Risk]) -> Vec<Tool> {
    let of = |tool: &Value| {
        let text = |name: &str| tool.get(name).and_then(Value::as_str).unwrap_or_default();
        let name = text("name").to_owned();
        let about = format!("tool \"{name}\"");
        let calls = calls.iter().filter(|call| call.tool == name).map(|call| Call {
            arguments: call.arguments.clone(),
            outcome: call.outcome.words().to_owned(),
            took: u64::try_from(call.took.as_millis()).unwrap_or(u64::MAX),
            bytes: call.bytes,
        });
        Tool {
            description: text("description").chars().take(600).collect(),
            hints: hints(tool),
            severity: risks.iter().filter(|risk| risk.about == about).map(|risk| risk.severity).min(),
            calls: calls.collect(),
            name,
        }
    };
    visit.offered.tools.iter().map(of).collect()
}

/// What a tool says of itself, in words.
fn hints(tool: &Value) -> Vec<String> {
    let hints = [
        ("readOnlyHint", "read-only"),
        ("destructiveHint", "destructive"),
        ("idempotentHint", "idempotent"),
        ("openWorldHint", "open world"),
    ];
    let said = hints.iter().filter(|(hint, _)| tool["annotations"][*hint] == true);
    said.map(|(_, words)| (*words).to_owned()).collect()
}

/// Returns a text that cannot act on a terminal that shows it.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            c if c.is_control() || is_invisible(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}
