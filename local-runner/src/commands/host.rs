//! `host`: what is done for servers that this machine hosts.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use portcullis_core::config::{Command, Config, Package, Registry, Server, Transport};
use serde_json::{Value, json};

use super::{complain, counted, find, hosted, say};
use crate::cli::{Host, Prepare};
use crate::data;
use crate::hosting::packages::{self, Outcome, Packages};

pub(super) async fn run(command: Host) -> anyhow::Result<ExitCode> {
    match command {
        Host::Prepare(args) => prepare(&args).await,
        Host::List(args) => hosted::list(args),
        Host::Stats(args) => hosted::stats(args).await,
        Host::Logs(args) => hosted::logs(args),
        Host::Stop(args) => hosted::stop(args).await,
        Host::Rm(args) => hosted::remove(args).await,
    }
}

async fn prepare(args: &Prepare) -> anyhow::Result<ExitCode> {
    let found = find(&args.setup)?;
    let wanted = wanted(&found.parsed.config, &args.servers)?;
    let packages = Packages::of(&data::folder(args.setup.data_dir.clone())?);
    let (mut failed, mut all) = (0, Vec::new());
    for (server, package) in &wanted {
        if let Some(known) = packages::resembled(package) {
            eprintln!(
                "portcullis: {server}: the package {:?} is one letter from {known:?}, which is well known; is that meant?",
                package.name
            );
        }
        let outcome =
            if args.verify { packages.verify(package) } else { packages.prepare(package, args.again).await };
        match outcome.with_context(|| format!("{server}: {}", packages::shown(package))) {
            Ok(outcome) if args.json => all.push(as_json(server, &outcome)),
            Ok(outcome) => tell(server, package, &outcome, args.verify),
            Err(error) => {
                failed += 1;
                complain(&error);
            }
        }
    }
    if args.json {
        say(format_args!("{:#}", Value::Array(all)));
    } else if wanted.is_empty() {
        say("No server is a package.");
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// Returns the servers that are packages, of those that are named or of all.
fn wanted(config: &Config, named: &[String]) -> anyhow::Result<Vec<(String, Package)>> {
    let all = config.servers.iter().filter_map(|(name, server)| Some((name.to_string(), package(server)?)));
    if named.is_empty() {
        return Ok(all.collect());
    }
    if let Some(unknown) = named.iter().find(|name| !config.servers.contains_key(name.as_str())) {
        bail!("no server is called {unknown:?}");
    }
    let all: Vec<_> = all.filter(|(name, _)| named.contains(name)).collect();
    if let Some(other) = named.iter().find(|name| all.iter().all(|(server, _)| server != *name)) {
        bail!("the server {other:?} is no package: it has neither `host.npm` nor `host.pypi`");
    }
    Ok(all)
}

fn package(server: &Server) -> Option<Package> {
    match &server.transport {
        Transport::Stdio(command) => of_command(command),
        Transport::Http(_) | Transport::Sse(_) => None,
    }
}

fn of_command(command: &Command) -> Option<Package> {
    let hosting = command.hosting.as_ref()?;
    hosting.package.clone().or_else(|| Some(packages::of_command(command)?.0))
}

fn tell(server: &str, package: &Package, outcome: &Outcome, verified: bool) {
    let record = &outcome.record;
    let what = match (verified, outcome.was_there) {
        (true, _) => "every file is as it was prepared",
        (false, true) => "was prepared before",
        (false, false) => "is prepared",
    };
    say(format_args!(
        "{server}: {} {what}, {}",
        packages::shown(package),
        counted(record.packages.len(), "package")
    ));
    say(format_args!("  digest {}", record.digest));
    if package.integrity.is_none() {
        let registry = match package.registry {
            Registry::Npm => "npm",
            Registry::Pypi => "pypi",
        };
        say(format_args!(
            "  pin it: {registry}: {:?}, integrity: {:?}",
            packages::shown(package),
            record.integrity
        ));
    }
    if !record.scripts.is_empty() {
        say(format_args!("  not run: the install scripts of {}", record.scripts.join(", ")));
    }
}

fn as_json(server: &str, outcome: &Outcome) -> Value {
    json!({
        "server": server,
        "folder": outcome.folder,
        "prepared_before": outcome.was_there,
        "package": outcome.record,
    })
}
