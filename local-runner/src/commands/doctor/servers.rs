//! The servers: the programs they are started with, and how each answers.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portcullis_core::config::{Command, Config, Transport};
use portcullis_core::control::Managed;
use portcullis_core::inspect::{Suspect, Suspicion};
use portcullis_core::{Exposure, Gateway, Options, SealKeys};

use super::Finding;
use crate::commands::counted;
use crate::commands::started_by;
use crate::data;
use crate::host::Machine;

/// How long a server may take to say who it is and what it offers.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long the servers' processes may take to stop.
const STOP: Duration = Duration::from_secs(6);

/// Looks for the program of each server that is a subprocess.
pub(super) fn programs(config: &Config) -> Vec<Finding> {
    let stdio = config.servers.iter().filter(|(_, server)| server.enabled);
    let commands = stdio.filter_map(|(name, server)| match &server.transport {
        Transport::Stdio(command) => Some((name, command)),
        Transport::Http(_) | Transport::Sse(_) => None,
    });
    commands
        .map(|(name, command)| {
            let subject = format!("program of {name}");
            match located(command) {
                Some(path) => Finding::ok(subject, path.display().to_string()),
                None => Finding::problem(
                    subject,
                    format!("{:?} is not found or cannot be executed", command.program),
                    installation(&command.program),
                ),
            }
        })
        .collect()
}

/// Finds a program as the gateway does when it starts it.
fn located(command: &Command) -> Option<PathBuf> {
    let runs = |path: &Path| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if command.program.contains('/') {
        let path = Path::new(command.cwd.as_deref().unwrap_or(".")).join(&command.program);
        return runs(&path).then_some(path);
    }
    let own = command.env.get("PATH").map(Into::into);
    let path = own.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(&command.program)).find(|path| runs(path))
}

fn installation(program: &str) -> String {
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or(program);
    match name {
        "node" | "npx" | "npm" => "install Node.js, which brings it, or write the program's full path",
        "uv" | "uvx" => "install uv, which brings it, or write the program's full path",
        "python" | "python3" | "pip" | "pipx" => "install Python 3, or write the program's full path",
        "docker" => "install Docker, and let this user run it",
        _ => "install it, or write the program's full path in `command`",
    }
    .to_owned()
}

/// Connects to every server as the gateway does, with the secrets that the data folder has, all at once; what one does is no
/// other's business.
pub(super) async fn check(config: Config, folder: Option<&Path>) -> Vec<Finding> {
    let disabled: Vec<_> =
        config.servers.iter().filter(|(_, s)| !s.enabled).map(|(n, _)| n.to_string()).collect();
    let mut key = [0; 32];
    if let Err(error) = getrandom::fill(&mut key) {
        return vec![Finding::problem("randomness", error.to_string(), "this machine has none to give")];
    }
    let seal_keys = SealKeys { first: key, others: Vec::new() };
    let machine = machine(folder, &seal_keys);
    let options = Options {
        config,
        seal_keys,
        exposure: Exposure::Loopback,
        started_by: started_by(),
        admin_key: None,
        managed: Managed::ByFiles(String::new()),
    };
    let mut findings: Vec<_> =
        disabled.into_iter().map(|name| Finding::ok(format!("server {name}"), "disabled")).collect();
    match Gateway::start(machine.clone(), options) {
        Err(refusal) => {
            let advice = "a gateway must not be started by itself: remove it from its own servers";
            findings.push(Finding::problem("servers", refusal.to_string(), advice));
        }
        Ok(gateway) => {
            findings.extend(settled(&gateway).await);
            findings.extend(gateway.unknown_names().iter().map(unknown));
            gateway.stop();
            machine.stop_processes(STOP).await;
        }
    }
    findings
}

/// Makes the machine with what lies in the data folder; where no key is known that opens it, nothing was sealed there either.
fn machine(folder: Option<&Path>, otherwise: &SealKeys) -> Machine {
    let Some(folder) = folder else { return Machine::new() };
    let known = data::known_seal_keys(folder).ok().flatten();
    Machine::new().holding(folder, known.as_ref().unwrap_or(otherwise))
}

async fn settled(gateway: &Gateway<Machine>) -> Vec<Finding> {
    let begun = Instant::now();
    let mut took = BTreeMap::new();
    loop {
        let servers = gateway.readiness();
        let over = begun.elapsed() >= PATIENCE;
        for server in servers.iter().filter(|server| server.status != "starting") {
            took.entry(server.server.clone()).or_insert_with(|| begun.elapsed());
        }
        if over || took.len() == servers.len() {
            let states = servers.iter().map(|server| finding(server, took.get(&server.server)));
            return states.chain(suspicious(gateway)).collect();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn finding(server: &portcullis_core::Readiness, took: Option<&Duration>) -> Finding {
    let subject = format!("server {}", server.server);
    let Some(took) = took else {
        let found = format!("has not answered within {} s", PATIENCE.as_secs());
        return Finding::problem(subject, found, "run its command by hand and see what it says");
    };
    if let Some(reason) = &server.reason {
        return Finding::problem(subject, reason.clone(), advice(reason));
    }
    let era = match server.version {
        Some("2026-07-28") => "stateless",
        _ => "with sessions",
    };
    let found = format!(
        "speaks {} ({era}) after {} ms: {}, {}, {}",
        server.version.unwrap_or("an unknown revision"),
        took.as_millis(),
        counted(server.tools, "tool"),
        counted(server.prompts, "prompt"),
        counted(server.resources, "resource"),
    );
    Finding::ok(subject, found)
}

/// Lists the texts that are not what texts about tools are.
fn suspicious(gateway: &Gateway<Machine>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (server, suspects) in gateway.suspects() {
        let subject = format!("texts of {server}");
        findings.extend(suspects.first.iter().map(|Suspect { item, finding }| {
            let place = [item.as_str(), &finding.place].join(" ");
            let found = format!("{}: {}: {}", place.trim_end(), finding.what.code(), finding.evidence);
            Finding::warning(subject.clone(), found, against(finding.what))
        }));
        if suspects.more > 0 {
            let found = format!("{} more like these", suspects.more);
            findings.push(Finding::warning(subject, found, "remove a server that you do not trust"));
        }
    }
    findings
}

/// Says what to do about a text.
fn against(what: Suspicion) -> &'static str {
    match what {
        Suspicion::Instructions => {
            "read the whole text: it speaks to the model, not about the tool. Where that is not wanted, deny the tool \
             in a rule, give it another description with a variant, or remove the server"
        }
        Suspicion::TooLong => {
            "read the whole text, or give the tool a description of your own with a variant"
        }
        Suspicion::DataUrl | Suspicion::RemoteImage => {
            "a client that shows the description loads this: ask the server's authors, or describe it with a variant"
        }
        Suspicion::MixedScripts | Suspicion::LookAlike => {
            "a name that passes for another: find out which is meant, and deny the other in a rule"
        }
        _ => {
            "people do not see this, and models do: ask the server's authors what it is for; until then deny the tool \
             in a rule, or remove the server"
        }
    }
}

/// Tells of a name that no server offers; each rule with one is without effect.
fn unknown(name: &portcullis_core::explain::UnknownName) -> Finding {
    let advice = name.hint.clone().unwrap_or_else(|| "`portcullis tools` lists what there is".to_owned());
    Finding::warning("policy", name.to_string(), advice)
}

/// Says what helps against what a server's reason tells of.
fn advice(reason: &str) -> &'static str {
    const KNOWN: [(&[&str], &str); 9] = [
        (
            &["lookup address", "Name or service", "dns error", "nodename"],
            "the host's name is not known here: check its spelling, the network, a VPN",
        ),
        (
            &["refused (os", "onnection refused"],
            "nothing listens there: start the server, check host and port",
        ),
        (
            &["certificate", "InvalidCertificate", "tls", "TLS", "corrupt message"],
            "TLS failed: check that the port speaks HTTPS and the certificate is valid for this host; a private \
             authority is trusted where SSL_CERT_FILE names it",
        ),
        (
            &["authorization"],
            "set its credential under `headers`, for instance `Authorization: \"Bearer ${TOKEN}\"`",
        ),
        (&["redirects"], "set `url` to where it leads: `curl -i` on the URL shows that"),
        (
            &["HTTP 404", "HTTP 405", "no longer takes"],
            "no MCP endpoint at that path: it often ends in /mcp, or in /sse where the server speaks HTTP+SSE",
        ),
        (
            &["could not be started"],
            "check `command`, its folder and its rights; the program has to be in PATH or be a full path",
        ),
        (&["did not answer", "timed out"], "it hangs or is slow: see its own log, or raise its `timeout`"),
        (
            &["exit", "closed its output", "signal", "ended"],
            "run its command by hand: what it last wrote is in the log with PORTCULLIS_LOG=info",
        ),
    ];
    let known = KNOWN.iter().find(|(words, _)| words.iter().any(|word| reason.contains(word)));
    known.map_or("see the log with PORTCULLIS_LOG=debug for what happened before", |(_, advice)| advice)
}
