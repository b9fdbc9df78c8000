//! `evaluate`: a server is started alone, where it can do no harm, asked, watched, and judged.
//!
//! | module | decides |
//! |---|---|
//! | `den`, `canary` | what surrounds the server: a home, stand-ins for its folders, secrets that open nothing |
//! | `watched`, `attempts` | which of them it opens, and what it tries to reach: its network is behind a gate that is closed |
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

mod attempts;
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
mod watched;

use std::time::Instant;

use portcullis_core::audit::Redactor;
use portcullis_core::config::{Command, Mount, Network};
use portcullis_core::inspect::is_invisible;
use portcullis_core::names::ServerName;
use serde_json::Value;

use den::{Den, Given, Tenant};
use observed::{Called, Observed, Sighting, Visit, Way};
use place::Starter;
use profile::Folder;
use report::{Call, Calls, FORMAT, Moment, Report, Risk, Tool, Trace, Usage, Wanted};
use trace::Recorded;

use crate::hosting::packages;

/// What is to be evaluated.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    /// The server's name.
    pub(crate) server: &'a ServerName,
    /// As it is configured.
    pub(crate) configured: &'a Command,
    /// How it is started: where it is a package, what was prepared of that.
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

impl Subject<'_> {
    /// Returns where its program was prepared.
    fn prepared(&self) -> &[Mount] {
        // They come behind those that are configured.
        mounts(self.command).get(mounts(self.configured).len()..).unwrap_or_default()
    }
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

fn mounts(command: &Command) -> &[Mount] {
    command.hosting.as_ref().map(|hosting| hosting.mounts.as_slice()).unwrap_or_default()
}

/// Evaluates a server.
///
/// # Errors
/// Says why it could not be started at all.
pub(crate) async fn evaluate(subject: &Subject<'_>, at: String) -> anyhow::Result<Report> {
    let unconfined = subject.unconfined;
    let den = Den::make(&Tenant { command: subject.command, prepared: subject.prepared(), unconfined })?;
    let network = subject.configured.hosting.as_ref().map_or(&Network::None, |hosting| &hosting.network);
    let mut starter = Starter::new(subject.record, unconfined, &den.hosting, network).await;
    let mut observed = Observed { named: named(subject.configured), ..Observed::default() };
    visit::all(subject, &den, &mut starter, &mut observed).await?;
    observed.wanted = if starter.has_gate() {
        // Of what both see, the gate knows what it was for.
        if let Some(recorded) = &mut observed.recorded {
            recorded.trace.connections.clear();
        }
        Some(attempts::wanted(&observed.attempts, &observed.begun, network))
    } else {
        observed.recorded.as_ref().map(wanted)
    };
    miss(&den, &mut starter, &observed);
    let risks = judge::risks(subject.server.as_str(), &observed, &subject.others);
    let usage = usage_of(&observed);
    // Nobody grants a place to which secrets go.
    let granted = observed.wanted.clone().map(|mut wanted| {
        let took =
            |sighting: &Sighting, place: &str| matches!(&sighting.way, Way::Network(to) if to == place);
        wanted.retain(|wanted| {
            let place = wanted.place();
            let took = observed.sightings.iter().any(|sighting| took(sighting, &place));
            !took && den.sightings(&wanted.host).is_empty()
        });
        wanted
    });
    let trace = observed.recorded.as_ref().map(|recorded| hide(&recorded.trace, &den));
    let first = observed.visits.first();
    let served = first.is_some_and(|visit| visit.identity.failure.is_none());
    Ok(Report {
        format: FORMAT,
        server: subject.server.to_string(),
        // Who knows its settings says it.
        identity: None,
        at,
        took: observed.clock.now(),
        portcullis: env!("CARGO_PKG_VERSION").to_owned(),
        calls_itself: first.and_then(|visit| visit.calls_itself.clone()),
        version: first.and_then(|visit| visit.version.clone()),
        command: shown_command(subject.configured),
        place: starter.place(&den.hosting),
        unseen: starter.unseen(),
        calls: subject.calls,
        verdict: judge::verdict(&risks, served),
        tools: first.map(|visit| tools(visit, &observed.calls, &risks)).unwrap_or_default(),
        prompts: first.map_or(0, |visit| visit.offered.prompts.len()),
        resources: first.map_or(0, |visit| visit.offered.resources.len()),
        identities: observed.visits.iter().map(|visit| visit.identity.clone()).collect(),
        profile: profile::propose(
            subject.server.as_str(),
            &usage,
            granted.as_deref(),
            &folders(&den, &observed),
        ),
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

/// Notes what was not seen by the end.
fn miss(den: &Den, starter: &mut Starter, observed: &Observed) {
    if observed.usage.tasks == 0 {
        starter.miss("which processes it has, and what they take", "they cannot be seen from here");
    }
    if !den.sees_files() {
        starter.miss("which secrets it looks for in files", "this system does not tell");
    }
    if observed.written.is_none() && !den.given.is_empty() {
        starter.miss("whether it writes to the folders that it is given", "they could not be looked into");
    }
    let together: u64 =
        observed.attempts.iter().filter(|attempt| attempt.host.is_none()).map(|attempt| attempt.times).sum();
    if together > 0 {
        starter.miss(
            "all that it wants of the network",
            &format!("it tried {together} times more in too short a time"),
        );
    }
}

/// The folders that it was given, and whether it writes there: where that was not seen, as the configuration has it.
fn folders(den: &Den, observed: &Observed) -> Vec<Folder> {
    let writes = |given: &Given| match &observed.written {
        Some(written) => written.contains(&given.path),
        None => given.write,
    };
    den.given.iter().map(|given| Folder { path: given.path.clone(), writes: writes(given) }).collect()
}

/// What its configuration says to it.
fn named(command: &Command) -> String {
    let words = command.args.iter().chain(command.env.iter().map(|(_, value)| value));
    words.map(String::as_str).collect::<Vec<_>>().join("\n")
}

/// What a recording says that a server wanted of the network.
fn wanted(recorded: &Recorded) -> Vec<Wanted> {
    let place = |host: &str, port| Wanted { host: host.to_owned(), port, times: 1, ..Wanted::default() };
    let names = recorded.names.iter().map(|name| place(name, None));
    let addresses = recorded.trace.connections.iter().filter_map(|address| {
        let (host, port) = address.rsplit_once(':')?;
        Some(place(host.trim_matches(['[', ']']), port.parse().ok()))
    });
    names.chain(addresses).collect()
}

fn usage_of(observed: &Observed) -> Usage {
    let seen = &observed.usage;
    let programs = seen.programs.clone();
    let (memory, processor, tasks) = (seen.memory, seen.processor, seen.tasks);
    Usage { memory, processor, tasks, programs, seen: tasks > 0 }
}

/// Names paths as people do.
fn hide(trace: &Trace, den: &Den) -> Trace {
    let hide = |paths: &[String]| paths.iter().map(|path| den.hide(path)).collect();
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
    let hosting = command.hosting.as_ref();
    let package = hosting.and_then(|hosting| hosting.package.as_ref()).map(packages::shown);
    let image = hosting
        .and_then(|hosting| hosting.image.as_ref())
        .map(|image| format!("{}@{}", image.name, image.digest));
    let program = Some(command.program.clone()).filter(|program| !program.is_empty());
    let words = image.into_iter().chain(package).chain(program).chain(command.args.iter().cloned());
    words.map(|word| redactor.text(&word).into_owned()).collect()
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
