//! Who asks a server, and what it is asked: as several clients, in both eras, the lists more than once.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::calling::{self, Caller};
use super::den::{self, Den, Inside};
use super::link::{Lost, Reply};
use super::observed::{Drift, Observed, Sighting, Visit, Way};
use super::offered::Offered;
use super::place::{Running, Starter};
use super::report::{Calls, Identity};
use super::usage::{self, Seen};
use super::{Clock, Subject, trace};

/// The revisions that are asked for.
const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";
/// As whom a server is asked: the first one calls the tools.
const CLIENTS: [(&str, &str, Era); 4] = [
    ("claude-ai", "1.0.0", Era::Legacy),
    ("Cursor", "2.1.0", Era::Legacy),
    ("portcullis", env!("CARGO_PKG_VERSION"), Era::Legacy),
    ("portcullis", env!("CARGO_PKG_VERSION"), Era::Modern),
];
/// How long a server may take until it serves.
const START: Duration = Duration::from_mins(1);
/// How long a list may take.
const LIST: Duration = Duration::from_secs(20);
/// How many pages a list may have.
const PAGES: usize = 50;
/// How often its processes are looked at.
const LOOK: Duration = Duration::from_millis(60);

/// What a server does by itself.
pub(super) const START_UP: &str = "as it started";
const AFTERWARDS: &str = "after the calls";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Era {
    Legacy,
    Modern,
}

/// Who asks.
pub(super) struct Client {
    name: &'static str,
    version: &'static str,
    era: Era,
}

impl Client {
    /// Makes the parameters of a request.
    pub(super) fn params(&self, mut params: Value) -> Value {
        if self.era == Era::Modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": { "name": self.name, "version": self.version },
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        params
    }
}

/// Asks a server as everybody; the first one also calls its tools.
pub(super) async fn all(
    subject: &Subject<'_>,
    den: &Den,
    starter: &mut Starter,
    observed: &mut Observed,
) -> anyhow::Result<()> {
    for (at, (name, version, era)) in CLIENTS.into_iter().enumerate() {
        let client = Client { name, version, era };
        observed.begin(START_UP.to_owned());
        let mut running = starter.start(subject.server, den).await?;
        observed.clock.note(format!("started for the client {name}"));
        let (mut visit, served) = greet(&client, &mut running, &mut observed.clock).await;
        if era == Era::Modern && !served {
            // It is no fault not to know a revision.
            visit.identity.failure = None;
            finish(den, &mut running, starter, observed, false).await;
            continue;
        }
        if served {
            look(&client, &mut running, &mut visit, observed).await;
        }
        if at == 0 {
            let files = den.opened();
            if !files.is_empty() {
                observed.peeked.push((String::new(), files));
            }
            for (canary, form) in den.sightings(&aside(&visit)) {
                observed.sightings.push(Sighting { canary: canary.clone(), form, way: Way::Aside });
            }
            if served && subject.calls != Calls::None {
                observed.clock.note("its tools are called");
                let caller = Caller { server: subject.server, client: &client, den, calls: subject.calls };
                calling::all(&caller, &mut running, starter, &visit, observed).await?;
                observed.begin(AFTERWARDS.to_owned());
                observed.clock.note("its tools were called");
                if let Some(later) = offer(&client, &mut running, &visit).await {
                    drift(&visit.offered, &later, true, running.link.announced, observed);
                }
            }
        }
        observed.clock.note("is asked to leave");
        finish(den, &mut running, starter, observed, at == 0).await;
        let left = match &observed.ending.by {
            Some(by) if at == 0 => format!("left at {by}"),
            _ => "left".to_owned(),
        };
        observed.clock.note(left);
        observed.visits.push(visit);
    }
    Ok(())
}

/// Begins a conversation; tells whether the server serves.
pub(super) async fn greet(client: &Client, running: &mut Running, clock: &mut Clock) -> (Visit, bool) {
    let began = clock.now();
    let mut visit = Visit { modern: client.era == Era::Modern, ..Visit::default() };
    visit.identity =
        Identity { name: client.name.into(), version: client.version.into(), ..Identity::default() };
    let asked = match client.era {
        Era::Legacy => {
            let info = json!({ "name": client.name, "version": client.version });
            let params = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": info });
            running.link.ask("initialize", params, START).await
        }
        Era::Modern => running.link.ask("server/discover", client.params(json!({})), START).await,
    };
    let result = match asked {
        Ok(Reply { outcome: Ok(result), .. }) => result,
        Ok(Reply { outcome: Err(error), .. }) => {
            visit.identity.failure = Some(format!("answered with an error: {error}"));
            return (visit, false);
        }
        Err(Lost::Late) => {
            visit.identity.failure = Some(format!("did not answer within {} s", START.as_secs()));
            return (visit, false);
        }
        Err(Lost::Overlong) => {
            visit.identity.failure = Some("answered with more than can be read".to_owned());
            return (visit, false);
        }
        Err(Lost::Ended) => {
            let errors = running.link.errors().text;
            let said = errors.trim().lines().next_back().unwrap_or("without a word");
            visit.identity.failure = Some(format!("ended: {said}"));
            return (visit, false);
        }
    };
    if client.era == Era::Legacy {
        running.link.tell("notifications/initialized").await;
    }
    visit.identity.ready = Some(clock.now() - began);
    clock.note("serves");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    visit.identity.revision = match client.era {
        Era::Legacy => text(&result["protocolVersion"]).unwrap_or_default(),
        Era::Modern => MODERN.to_owned(),
    };
    visit.calls_itself = text(&result["serverInfo"]["name"]);
    visit.version = text(&result["serverInfo"]["version"]);
    visit.offered.instructions = text(&result["instructions"]);
    (visit, true)
}

/// Lists twice, and notes what differs.
async fn look(client: &Client, running: &mut Running, visit: &mut Visit, observed: &mut Observed) {
    let Some(first) = offer(client, running, visit).await else { return };
    visit.offered = first;
    running.link.announced = false;
    if let Some(again) = offer(client, running, visit).await {
        drift(&visit.offered, &again, false, running.link.announced, observed);
    }
    running.link.announced = false;
}

fn drift(before: &Offered, after: &Offered, after_calls: bool, announced: bool, observed: &mut Observed) {
    let differences = before.differences(after);
    if !differences.is_empty() {
        observed.drift.push(Drift { after_calls, announced, differences });
    }
}

/// Lists everything that a server offers; nothing where it is gone.
async fn offer(client: &Client, running: &mut Running, visit: &Visit) -> Option<Offered> {
    let mut offered = Offered { instructions: visit.offered.instructions.clone(), ..Offered::default() };
    offered.tools = list(client, running, "tools/list", "tools").await.ok()?;
    offered.prompts = list(client, running, "prompts/list", "prompts").await.ok()?;
    offered.resources = list(client, running, "resources/list", "resources").await.ok()?;
    let templates = list(client, running, "resources/templates/list", "resourceTemplates").await.ok()?;
    offered.resources.extend(templates);
    Some(offered)
}

/// Lists one kind of items; a server that has none of them may well refuse.
async fn list(
    client: &Client,
    running: &mut Running,
    method: &str,
    member: &str,
) -> Result<Vec<Value>, Lost> {
    let mut items = Vec::new();
    let mut cursor = Value::Null;
    for _ in 0..PAGES {
        let params = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
        let reply = running.link.ask(method, client.params(params), LIST).await?;
        let Ok(mut result) = reply.outcome else { break };
        if let Value::Array(page) = result[member].take() {
            items.extend(page);
        }
        cursor = result["nextCursor"].take();
        if cursor.is_null() {
            break;
        }
    }
    Ok(items)
}

/// What a server says of itself, in which no secret has any place.
fn aside(visit: &Visit) -> String {
    let items: Vec<_> = visit.offered.items().map(|(_, item)| item.to_string()).collect();
    items.join("\n") + visit.offered.instructions.as_deref().unwrap_or_default()
}

/// Ends a conversation, and takes down what is known of it only then.
pub(super) async fn finish(
    den: &Den,
    running: &mut Running,
    starter: &mut Starter,
    observed: &mut Observed,
    counts: bool,
) {
    look_inside(den, observed);
    let (seen, strays) = running.watcher.end().await;
    merge(&mut observed.usage, &seen);
    for stray in strays {
        if !observed.strays.contains(&stray) {
            observed.strays.push(stray);
        }
    }
    let ending = running.stop(den).await;
    for limit in running.limits().await {
        if !observed.limits.contains(&limit) {
            observed.limits.push(limit);
        }
    }
    running.clear().await;
    let attempts = starter.watch.take();
    for attempt in &attempts {
        let said = [attempt.host.as_deref(), attempt.tls.as_deref(), Some(&attempt.text)];
        for (canary, form) in said.into_iter().flatten().flat_map(|text| den.sightings(text)) {
            let place = attempt.place();
            observed.sightings.push(Sighting { canary: canary.clone(), form, way: Way::Network(place) });
        }
    }
    observed.attempts.extend(attempts);
    let link = &mut running.link;
    observed.stdout_bytes += link.read;
    for (canary, form) in den.sightings(&link.aside) {
        observed.sightings.push(Sighting { canary: canary.clone(), form, way: Way::Aside });
    }
    for breach in link.breaches.drain(..) {
        if !observed.breaches.contains(&breach) {
            observed.breaches.push(breach);
        }
    }
    let errors = link.errors();
    observed.stderr_bytes += errors.bytes;
    for (canary, form) in den.sightings(&errors.text) {
        observed.sightings.push(Sighting { canary: canary.clone(), form, way: Way::Errors });
    }
    if observed.stderr.is_empty() {
        observed.stderr = errors.text;
    }
    if counts {
        observed.ending.by = ending.by;
        observed.ending.took = ending.took;
    }
    observed.ending.left.extend(ending.left);
    if let Some(recording) = running.recording.take().and_then(|path| std::fs::read(path).ok()) {
        record(den, &String::from_utf8_lossy(&recording), observed);
    }
}

/// Looks at the folders in which the server can write, as long as it has them.
fn look_inside(den: &Den, observed: &mut Observed) {
    let processes = usage::marked(&den.mark);
    let Some(Inside { written, full }) = den.look(processes.iter().map(|process| process.id)) else { return };
    let all = observed.written.get_or_insert_default();
    all.extend(written.into_iter().filter(|path| !all.contains(path)).collect::<Vec<_>>());
    for folder in full {
        let limit = format!("filled the folder {folder}, in which it may write as much as `host.tmp` says");
        if !observed.limits.contains(&limit) {
            observed.limits.push(limit);
        }
    }
}

fn record(den: &Den, recording: &str, observed: &mut Observed) {
    let mut own = vec![format!("{}/.cache", den.home)];
    own.extend(den::folders_of_program(&den.command));
    own.extend(den.shown());
    let sent: Vec<_> = recording.lines().filter(|line| line.contains("send")).collect();
    for (canary, form) in den.sightings(&sent.join("\n")) {
        // The gate has told of it, and to where.
        let is_told = |sighting: &Sighting| {
            sighting.canary == *canary && matches!(&sighting.way, Way::Network(to) if !to.is_empty())
        };
        if !observed.sightings.iter().any(is_told) {
            let way = Way::Network(String::new());
            observed.sightings.push(Sighting { canary: canary.clone(), form, way });
        }
    }
    let new = trace::understand(recording, &own, &den.command.program);
    let all = observed.recorded.get_or_insert_default();
    let lists = [
        (&mut all.trace.read, new.trace.read),
        (&mut all.trace.written, new.trace.written),
        (&mut all.trace.denied, new.trace.denied),
        (&mut all.trace.programs, new.trace.programs),
        (&mut all.trace.connections, new.trace.connections),
        (&mut all.names, new.names),
        (&mut all.privileged, new.privileged),
    ];
    for (list, new) in lists {
        for entry in new {
            if !list.contains(&entry) {
                list.push(entry);
            }
        }
    }
    all.too_many_files += new.too_many_files;
}

fn merge(all: &mut Seen, new: &Seen) {
    all.memory = all.memory.max(new.memory);
    all.processor += new.processor;
    all.tasks = all.tasks.max(new.tasks);
    all.written += new.written;
    for program in &new.ignoring {
        if !all.ignoring.contains(program) {
            all.ignoring.push(program.clone());
        }
    }
    for program in &new.programs {
        if !all.programs.contains(program) {
            all.programs.push(program.clone());
        }
    }
}

/// Which processes are a server's.
pub(super) enum Root {
    /// Nobody knows.
    None,
    /// This one, and all that descend from it.
    Process(u32),
    /// Those that have this in their environment.
    Marked(String),
}

/// Looks at a server's processes as long as it runs.
pub(super) struct Watcher {
    stop: Option<oneshot::Sender<()>>,
    seen: watch::Receiver<Seen>,
    task: Option<JoinHandle<Vec<String>>>,
}

impl Watcher {
    pub(super) fn begin(root: Root) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let (sender, seen) = watch::channel(Seen::default());
        let task = tokio::spawn(async move {
            let (mut sessions, mut strays) = (Vec::new(), Vec::new());
            let (mut looked, mut is_last) = (0, false);
            loop {
                let processes = match &root {
                    Root::None => return strays,
                    Root::Process(id) => usage::tree(*id),
                    Root::Marked(mark) => usage::marked(mark),
                };
                // While it starts, whatever keeps it apart makes its sessions.
                looked += usize::from(!processes.is_empty());
                for process in &processes {
                    if looked < 4 {
                        sessions.push(process.session);
                    } else if !sessions.contains(&process.session) && !strays.contains(&process.name) {
                        strays.push(process.name.clone());
                    }
                }
                sender.send_modify(|seen| seen.add(&processes));
                if is_last {
                    return strays;
                }
                tokio::select! {
                    _ = &mut stopped => is_last = true,
                    () = sleep(LOOK) => {}
                }
            }
        });
        Self { stop: Some(stop), seen, task: Some(task) }
    }

    /// Returns how much processor time was taken so far, in milliseconds.
    pub(super) fn processor(&self) -> u64 {
        self.seen.borrow().processor
    }

    /// Looks no more, and returns what was seen, and the processes that have left the server's sessions.
    async fn end(&mut self) -> (Seen, Vec<String>) {
        // It may have ended with the process.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let strays = match self.task.take() {
            Some(task) => task.await.unwrap_or_default(),
            None => Vec::new(),
        };
        let seen = self.seen.borrow().clone();
        (seen, strays)
    }
}
