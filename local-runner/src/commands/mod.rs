//! The commands, a file each. Only here does the program write to standard output.
#![allow(clippy::print_stderr, reason = "this is the command line's output")]

mod admin;
mod approve;
mod audit;
mod bridge;
mod cases;
mod check;
mod client;
mod connections;
mod doctor;
mod evaluate;
mod explain;
mod fleet;
#[cfg(target_os = "linux")]
pub(crate) mod gate;
mod governed;
mod history;
mod host;
mod hosted;
mod import;
mod inside;
mod instance;
mod instances;
mod keys;
mod push;
mod registry;
mod secrets;
mod serve;
mod simulate;
mod stdio;
mod tools;

use std::io::{IsTerminal as _, Write as _, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use portcullis_core::config::{Audit, Config, Parsed, Problem};
use portcullis_core::control::{Managed, Strangers};
use portcullis_core::{AdminKey, Exposure, Gateway, Options};
use tokio::signal::unix::{SignalKind, signal};

use crate::audit::{Shelf, Trail};
use crate::cli::{Cli, Command, Setup};
use crate::host::Machine;
use crate::instances::Instances;
use crate::instances::words::refuse_unserved;
use crate::observer::Observer;
use crate::otlp::Telemetry;
use crate::secrets::Safe;
use crate::source::{Found, Place};
use crate::{approvals, data, demo, source};

/// The JSON Schema of the configuration, as core makes it: a test there holds the two together, so that what makes it need not be
/// in the program.
const SCHEMA: &str = include_str!("../../../docs/portcullis.schema.json");

/// Runs the command that was given.
pub(crate) async fn run(cli: Cli, telemetry: Option<Arc<Telemetry>>) -> anyhow::Result<ExitCode> {
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => serve::run(args, telemetry).await,
        Command::Stdio(args) => Box::pin(stdio::run(&args, telemetry)).await,
        Command::Bridge(args) => Box::pin(bridge::run(args, telemetry)).await,
        Command::Host(command) => unless_stopped(host::run(command)).await,
        Command::Check(args) => check::run(&args),
        Command::Doctor(args) => unless_stopped(Box::pin(doctor::run(args))).await,
        Command::Evaluate(args) => unless_stopped(Box::pin(evaluate::run(args))).await,
        Command::Import(args) => import::run(&args),
        Command::Tools(args) => unless_stopped(Box::pin(tools::list(args))).await,
        Command::Call(args) => unless_stopped(Box::pin(tools::call(args))).await,
        Command::Approve(args) => unless_stopped(Box::pin(approve::run(args))).await,
        Command::History(args) => history::run(&args),
        Command::Explain(args) => unless_stopped(Box::pin(explain::run(args))).await,
        Command::Simulate(args) => unless_stopped(Box::pin(simulate::run(args))).await,
        Command::Audit(args) => unless_stopped(audit::run(args)).await,
        Command::Keys(command) => unless_stopped(keys::run(command)).await,
        Command::Secrets(command) => unless_stopped(Box::pin(secrets::run(command))).await,
        Command::Connections(command) => unless_stopped(connections::run(command)).await,
        Command::Instances(command) => unless_stopped(instances::run(command)).await,
        Command::Instance(args) => Box::pin(instance::run(args)).await,
        Command::Push(args) => unless_stopped(Box::pin(push::push(args))).await,
        Command::Pull(args) => unless_stopped(Box::pin(push::pull(args))).await,
        Command::Rollback(args) => unless_stopped(Box::pin(push::rollback(args))).await,
        Command::Versions(args) => unless_stopped(Box::pin(push::versions(args))).await,
        Command::Registry(command) => unless_stopped(Box::pin(registry::run(command))).await,
        Command::Fleet(command) => unless_stopped(Box::pin(fleet::run(command))).await,
        Command::Schema => {
            say(format_args!("{}", SCHEMA.trim_end()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Inside(args) => Box::pin(inside::run(args)).await,
        Command::Demo => {
            demo::run().await?;
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(target_os = "linux")]
        Command::Gate(args) => gate::run(args).await,
        // It has run before there were threads.
        #[cfg(target_os = "linux")]
        Command::GateSockets(args) => gate::hand_over(&args),
    }
}

/// Writes a line to standard output. A reader that has gone, as `head` does, is no reason to complain.
fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Counts things as people do: `1 server`, `2 servers`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Asks whether that is meant, unless it was said beforehand; without a terminal it has to be.
fn ask_for(is_said: bool, question: &str) -> anyhow::Result<()> {
    if is_said {
        return Ok(());
    }
    if !stdin().is_terminal() {
        anyhow::bail!("{question} Say --yes where nobody can be asked");
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).context("the answer cannot be read")?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        anyhow::bail!("nothing is approved");
    }
    Ok(())
}

/// Writes rows under their heads, each column as wide as it has to be.
fn table<const N: usize>(heads: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let rows: Vec<_> = std::iter::once(heads.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        say(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// Says what went wrong.
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("portcullis: {error:#}");
}

/// A gateway that this process runs.
struct Local {
    gateway: Gateway<Machine>,
    machine: Machine,
    origin: String,
    /// Where the configuration was read.
    place: Place,
    /// Where the gateway keeps its data.
    folder: PathBuf,
    /// What is recorded; nothing where the command answers nobody else.
    trail: Option<Trail>,
    /// The gateways that are identities' own; nothing where the command makes none.
    apart: Option<Arc<Instances>>,
}

impl Local {
    /// Ends what goes on beside the gateway.
    async fn end(&self, within: Duration) {
        if let Some(apart) = &self.apart {
            apart.stop().await;
        }
        self.machine.stop_processes(within).await;
        if let Some(trail) = &self.trail {
            trail.stop();
        }
    }
}

/// Finds the configuration of a setup; its problems are said, and an error that is not one server's ends it.
fn find(setup: &Setup) -> anyhow::Result<Found> {
    let found = find_anyway(setup)?;
    report(&found.parsed.problems);
    if found.parsed.is_refused() {
        anyhow::bail!("{} has errors; `portcullis check` lists them", found.origin);
    }
    Ok(found)
}

/// Finds the configuration of a setup, whatever is wrong with it.
fn find_anyway(setup: &Setup) -> anyhow::Result<Found> {
    if !is_remote(setup) {
        return source::find(setup.config.as_deref());
    }
    source::stored(&data::folder(setup.data_dir.clone())?, Strangers::Admitted, Config::default())
}

/// Tells whether the configuration is one that is pushed.
fn is_remote(setup: &Setup) -> bool {
    setup.config.as_deref().is_some_and(|config| config == Path::new(source::REMOTE))
}

/// Starts the gateway that a setup describes, for this command alone.
fn start(setup: &Setup, found: Found, exposure: Exposure, machine: Machine) -> anyhow::Result<Local> {
    start_with(setup, found, exposure, |_, _| Ok((machine, None)))
}

/// Starts the gateway that a setup describes, for this command alone, which may change what the data folder keeps.
fn start_keeping(setup: &Setup, found: Found, exposure: Exposure, machine: Machine) -> anyhow::Result<Local> {
    start_with(setup, found, exposure, |folder, _| Ok((machine.keeping(folder), None)))
}

/// Starts the gateway that a setup describes, for others: what they do is recorded.
fn start_recorded(
    setup: &Setup,
    found: Found,
    exposure: Exposure,
    (machine, telemetry): (Machine, Option<Arc<Telemetry>>),
) -> anyhow::Result<Local> {
    let is_by_files = matches!(found.managed, Managed::ByFiles(_));
    let local = start_with(setup, found, exposure, |folder, audit| {
        let trail = Trail::begin(folder, audit, telemetry).context("the audit trail")?;
        let shelf = Arc::new(Shelf::new(folder));
        Ok((machine.keeping(folder).audited(&trail, shelf), Some(trail)))
    })?;
    if is_by_files {
        approvals::follow((local.gateway.clone(), None), local.folder.clone());
    }
    Ok(local)
}

/// Does the same, where identities may have gateways of their own.
fn start_front(
    setup: &Setup,
    found: Found,
    exposure: Exposure,
    (machine, telemetry): (Machine, Option<Arc<Telemetry>>),
) -> anyhow::Result<Local> {
    refuse_unserved(&found.parsed.config)?;
    let (is_by_files, given) = (matches!(found.managed, Managed::ByFiles(_)), found.given()?);
    let mut apart = None;
    let local = start_with(setup, found, exposure, |folder, audit| {
        let trail = Trail::begin(folder, audit, telemetry).context("the audit trail")?;
        let keys = data::seal_keys(folder)?;
        let secrets = Arc::new(Safe::new(folder, &keys));
        let instances = Instances::new(folder, keys, trail.clone(), secrets);
        instances.configure(given);
        if is_by_files {
            instances.approve(approvals::texts(&approvals::all(folder)?));
        }
        let machine = machine.keeping(folder).audited(&trail, Arc::new(Shelf::new(folder)));
        let machine = machine.keeping_apart(&instances);
        apart = Some(instances);
        Ok((machine, Some(trail)))
    })?;
    if is_by_files {
        approvals::follow((local.gateway.clone(), apart.clone()), local.folder.clone());
    }
    Ok(Local { apart, ..local })
}

fn start_with(
    setup: &Setup,
    found: Found,
    exposure: Exposure,
    machine: impl FnOnce(&Path, &Audit) -> anyhow::Result<(Machine, Option<Trail>)>,
) -> anyhow::Result<Local> {
    let Parsed { mut config, .. } = found.parsed;
    let folder = data::folder(setup.data_dir.clone())?;
    if let Managed::ByFiles(_) = found.managed {
        config.approvals = approvals::all(&folder)?;
    }
    let (machine, trail) = machine(&folder, &config.audit)?;
    let seal_keys = data::seal_keys(&folder)?;
    let machine = machine.holding(&folder, &seal_keys);
    let options = Options {
        config,
        seal_keys,
        exposure,
        started_by: started_by(),
        admin_key: admin_key(),
        managed: found.managed,
    };
    let gateway = Gateway::start(machine.clone(), options)?;
    if let Some(trail) = &trail {
        trail.happens_at(gateway.id());
    }
    Ok(Local { gateway, machine, origin: found.origin, place: found.place, folder, trail, apart: None })
}

/// Returns the gateways that have started this one as their server.
pub(crate) fn started_by() -> Vec<String> {
    let chain = std::env::var("PORTCULLIS_VIA").unwrap_or_default();
    chain.split(',').map(str::trim).filter(|hop| !hop.is_empty()).map(str::to_owned).collect()
}

fn admin_key() -> Option<AdminKey> {
    std::env::var("PORTCULLIS_ADMIN_KEY").ok().and_then(|key| AdminKey::new(&key))
}

/// Returns the machine that counts requests and passes on what they came to.
fn observed(telemetry: Option<Arc<Telemetry>>) -> Machine {
    Machine::observed(|processes| Arc::new(Observer::new(processes, telemetry)))
}

fn report(problems: &[Problem]) {
    for problem in problems {
        eprintln!("{problem}");
    }
}

/// Runs a command until the process is asked to stop; what it started ends with the runtime.
async fn unless_stopped(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::select! {
        outcome = command => outcome,
        () = stopped()? => Ok(ExitCode::from(130)),
    }
}

/// Completes when the process is asked to stop.
fn stopped() -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}
