//! What the gateway needs of this machine, whatever it serves.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

use http::{Request, StatusCode};
use nix::sys::resource::{Resource, getrlimit};
use portcullis_core::body::Whole;
use portcullis_core::ports::Upstream as _;
use tokio::net::TcpListener;

use super::Finding;
use crate::cli::Doctor;
use crate::data;
use crate::host::Machine;

/// Each agent and each server takes a few descriptors; below this, some dozens of them use them up.
const DESCRIPTORS: u64 = 1024;
/// No certificate of today is valid on a machine whose clock stands before this: 2025-01-01, since the Unix epoch.
const PAST: Duration = Duration::from_hours(482_136);
/// How long whoever holds the port may take to say who it is.
const ANSWER: Duration = Duration::from_secs(2);

pub(super) async fn check(args: &Doctor) -> Vec<Finding> {
    let mut findings = match data::folder(args.setup.data_dir.clone()) {
        Ok(folder) => vec![writable(&folder), sealed(&folder)],
        Err(error) => {
            vec![Finding::problem("data folder", error.to_string(), "name one with --data-dir")]
        }
    };
    findings.extend([descriptors(), port(args).await, clock()]);
    findings
}

fn writable(folder: &Path) -> Finding {
    let folder = &std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let Some(existing) = folder.ancestors().find(|part| part.is_dir()) else {
        return Finding::problem(
            "data folder",
            format!("no part of {} exists", folder.display()),
            "name another with --data-dir",
        );
    };
    let probe = existing.join(format!(".portcullis-{}", std::process::id()));
    let written = fs::write(&probe, "").and_then(|()| fs::remove_file(&probe));
    match written {
        Ok(()) if existing == folder => {
            Finding::ok("data folder", format!("{} can be written to", folder.display()))
        }
        Ok(()) => Finding::ok("data folder", format!("{} will be made at the first start", folder.display())),
        Err(error) => Finding::problem(
            "data folder",
            format!("{} cannot be written to: {error}", existing.display()),
            "give this user the right to, or name another with --data-dir",
        ),
    }
}

fn sealed(folder: &Path) -> Finding {
    match data::known_seal_keys(folder) {
        Err(error) => Finding::problem(
            "seal key",
            format!("{error:#}"),
            "make one with `openssl rand -base64 32`; sessions of before end with it",
        ),
        Ok(None) => Finding::ok("seal key", "will be made at the first start"),
        Ok(Some(_)) if data::is_in_keyring(folder) => Finding::ok("seal key", "in this user's keyring"),
        Ok(Some(_)) if std::env::var_os("PORTCULLIS_SEAL_KEY").is_some() => {
            Finding::ok("seal key", "PORTCULLIS_SEAL_KEY")
        }
        Ok(Some(_)) if data::is_exposed(folder) => Finding::problem(
            "seal key",
            "can be read by other users of this machine, who could forge sessions with it",
            format!("run: chmod 600 {}/seal.key", folder.display()),
        ),
        Ok(Some(_)) => Finding::ok("seal key", "can be read by this user only"),
    }
}

fn descriptors() -> Finding {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) if soft < DESCRIPTORS => Finding::warning(
            "file descriptors",
            format!("this process may have {soft} open files and connections"),
            format!("allow it more, for instance with `ulimit -n {}`", DESCRIPTORS * 8),
        ),
        Ok((soft, _)) => Finding::ok("file descriptors", format!("up to {soft}")),
        Err(error) => {
            Finding::warning("file descriptors", format!("not known: {error}"), "look at `ulimit -n`")
        }
    }
}

/// Tells whether the port is free; where it is not, who has it.
async fn port(args: &Doctor) -> Finding {
    let subject = format!("address {}", args.listen);
    match TcpListener::bind(args.listen).await {
        Ok(_) => Finding::ok(subject, "free"),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if is_gateway(&format!("http://{}/healthz", args.listen)).await {
                let found = "a gateway runs there already";
                let advice = format!("check that one: portcullis doctor --url http://{}/mcp", args.listen);
                return Finding::warning(subject, found, advice);
            }
            let advice = "stop it, or choose another address with --listen";
            Finding::problem(subject, "another program listens there", advice)
        }
        Err(error) => Finding::problem(
            subject,
            format!("cannot be listened on: {error}"),
            "choose an address of this machine and a port from 1024 on with --listen",
        ),
    }
}

async fn is_gateway(url: &str) -> bool {
    let Ok(request) = Request::get(url).body(Whole::default()) else { return false };
    let asked = tokio::time::timeout(ANSWER, async { Machine::new().fetch(request).await });
    matches!(asked.await, Ok(Ok(response)) if response.status() == StatusCode::OK)
}

fn clock() -> Finding {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if since < PAST {
        let found = "stands years behind: certificates and expiry dates cannot be judged";
        return Finding::problem("clock", found, "set it, best by NTP");
    }
    Finding::ok("clock", "plausible")
}
