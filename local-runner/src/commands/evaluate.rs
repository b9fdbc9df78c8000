//! `evaluate`: what a server really does, before it is trusted.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow, bail};
use http::Method;
use portcullis_core::config::{Command, Config, Transport};
use portcullis_core::control::REPORTS;
use portcullis_core::names::ServerName;
use portcullis_core::ports::{RecordKey, RecordStore as _};

use super::admin::Admin;
use super::{find, say, table};
use crate::cli::Evaluate;
use crate::data;
use crate::evaluate::report::{FORMAT, Report, Severity, Verdict};
use crate::evaluate::terminal::{self, Colours};
use crate::evaluate::{self, Subject, html};
use crate::hosting::packages::Packages;
use crate::moment::{Moment, Offset};
use crate::store::Store;

/// How often a report is written that somebody else was quicker with.
const ATTEMPTS: usize = 5;

pub(super) async fn run(args: Evaluate) -> anyhow::Result<ExitCode> {
    let data = data::folder(args.setup.data_dir.clone())?;
    let folder = data.join("evaluations");
    if args.list {
        list(&folder, args.server.as_deref());
        return Ok(ExitCode::SUCCESS);
    }
    let server = args.server.as_deref().context("name a server of the configuration")?;
    let name = ServerName::parse(server).context("that is no server's name")?;
    let report = if args.show {
        newest(&folder.join(name.as_str()))?
    } else {
        let found = find(&args.setup)?;
        let report = evaluate(&args, &name, &found.parsed.config).await?;
        keep(&folder.join(name.as_str()), &report)?;
        tell_gateway(&data, &report).await?;
        report
    };
    if let Some(url) = &args.url {
        let path = format!("evaluations/{name}");
        let body = serde_json::to_value(&report)?;
        Admin::new(url, &args.credential)?.ask((Method::PUT, &path), &[], Some(&body), &[]).await?;
    }
    if let Some(path) = &args.html {
        fs::write(path, html::render(&report)).with_context(|| path.display().to_string())?;
    }
    if args.json {
        say(serde_json::to_string_pretty(&report)?);
    } else {
        let colours = if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            Colours::Shown
        } else {
            Colours::None
        };
        say(terminal::render(&report, colours).trim_end());
    }
    Ok(ExitCode::from(u8::from(report.verdict == Verdict::Dangerous)))
}

async fn evaluate(args: &Evaluate, name: &ServerName, config: &Config) -> anyhow::Result<Report> {
    let Some(server) = config.servers.get(name) else {
        let known = config.servers.keys().map(ServerName::as_str).collect::<Vec<_>>().join(", ");
        bail!("there is no server {name}; there are: {known}");
    };
    let Transport::Stdio(command) = &server.transport else {
        bail!(
            "{name} is not started by the gateway, so nobody can watch it; `portcullis doctor` looks at what it says"
        );
    };
    let packages = Packages::of(&data::folder(args.setup.data_dir.clone())?);
    let unpacked = packages.unpack(name.as_str(), command).map_err(anyhow::Error::msg)?;
    if let Some(runner) = fetches(&unpacked).filter(|_| !args.unconfined) {
        bail!(
            "{runner} would fetch it as it starts, and nothing is reached from where it is evaluated: name one version of the \
             package (`NAME@1.2.3`), give the server a section `host`, and run `portcullis host prepare {name}`"
        );
    }
    let others = config.servers.keys().filter(|other| *other != name);
    let subject = Subject {
        server: name,
        configured: command,
        command: &unpacked,
        others: others.map(ToString::to_string).collect(),
        calls: args.calls,
        record: args.record,
        unconfined: args.unconfined,
    };
    let report = Box::pin(evaluate::evaluate(&subject, moment())).await?;
    Ok(Report { identity: server.identity(), ..report })
}

/// Returns the program that would fetch a server from a registry as it starts.
fn fetches(command: &Command) -> Option<&str> {
    let program = Path::new(&command.program).file_name()?.to_str()?;
    ["npx", "uvx"].contains(&program).then_some(program)
}

fn moment() -> String {
    let utc = Offset::parse("Z").expect("it is one");
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment::at(since.as_secs(), utc).to_string()
}

/// Keeps a report among those of its server.
fn keep(folder: &Path, report: &Report) -> anyhow::Result<()> {
    let name: String = report.at.chars().filter(char::is_ascii_alphanumeric).collect();
    let path = folder.join(format!("{name}.json"));
    let write = || {
        fs::create_dir_all(folder)?;
        fs::write(&path, serde_json::to_vec_pretty(report)?)
    };
    write().with_context(|| path.display().to_string())
}

/// Has a gateway with this data folder know the report.
async fn tell_gateway(data: &Path, report: &Report) -> anyhow::Result<()> {
    let store = Store::new(data.to_owned());
    let key = || RecordKey::new(REPORTS, report.server.as_str());
    let text = serde_json::to_string(report)?;
    for _ in 0..ATTEMPTS {
        let read = store.get(key()).await.map_err(|error| anyhow!("the data folder {error}"))?;
        let written = store.replace(key(), read, Some(text.clone()), None).await;
        if written.map_err(|error| anyhow!("the data folder {error}"))? {
            return Ok(());
        }
    }
    bail!("others write the report of {} as well: try again", report.server)
}

/// Lists the reports that are kept, the newest first.
fn list(folder: &Path, server: Option<&str>) {
    let mut reports = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if server.is_none_or(|server| entry.file_name() == server) {
            reports.extend(files(&entry.path()).iter().filter_map(|path| read(path).ok()));
        }
    }
    reports.sort_by(|one, other| other.at.cmp(&one.at));
    let rows = reports.iter().map(|report| {
        let grave = report.risks.iter().filter(|risk| risk.severity < Severity::Note).count();
        let verdict = match report.verdict {
            Verdict::Trustworthy => "trustworthy",
            Verdict::Review => "review",
            Verdict::Dangerous => "dangerous",
        };
        [report.at.clone(), report.server.clone(), verdict.to_owned(), grave.to_string()]
    });
    table(["WHEN", "SERVER", "VERDICT", "RISKS"], rows);
}

fn newest(folder: &Path) -> anyhow::Result<Report> {
    let path =
        files(folder).pop().context("it was not evaluated yet; `portcullis evaluate SERVER` does that")?;
    read(&path).with_context(|| path.display().to_string())
}

/// The reports in a folder, the oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    files.sort();
    files
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let report: Report = serde_json::from_slice(&fs::read(path)?)?;
    anyhow::ensure!(report.format == FORMAT, "another version of this program wrote it");
    Ok(report)
}
