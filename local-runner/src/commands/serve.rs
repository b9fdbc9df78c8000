//! `serve`: the gateway over HTTP.

use std::io::{IsTerminal as _, stderr};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use portcullis_core::config::{Auth, Config};
use portcullis_core::control::{Managed, Strangers};
use portcullis_core::{Exposure, Gateway};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::{admin_key, counted, find, governed, is_remote, observed, report, say, start_front, stopped};
use crate::cli::Serve;
use crate::host::Machine;
use crate::live::{self, Guarded};
use crate::otlp::Telemetry;
use crate::source::{self, Found, Place};
use crate::{data, http, keys};

/// How long the servers' processes may take to stop.
const STOP: Duration = Duration::from_secs(6);

pub(super) async fn run(args: Serve, telemetry: Option<Arc<Telemetry>>) -> anyhow::Result<ExitCode> {
    let found = find_served(&args)?;
    let (exposed, guarded) = exposure(&args, &found)?;
    let metrics = match args.metrics_listen {
        Some(address) => {
            Some((exposure_of_metrics(address, &args)?, bind(address, "--metrics-listen").await?))
        }
        None => None,
    };
    let listener = bind(args.listen, "--listen").await?;
    let address = listener.local_addr()?;
    let control = governed::control(&args.control);
    let asked_for = control.is_some() || metrics.is_some() || telemetry.is_some() || admin_key().is_some();
    let machine = if asked_for { observed(telemetry.clone()) } else { Machine::new() };
    let auth = found.parsed.config.auth.clone();
    let mut local = start_front(&args.setup, found, exposed, (machine, telemetry))?;
    let (gateway, place) = (local.gateway.clone(), std::mem::take(&mut local.place));
    let own = format!("http://{}", reachable(address));
    gateway.set_address(&own);
    let apart = local.apart.clone();
    let keys = keys::follow(gateway.clone(), apart.clone(), &local.folder)?;
    if let Some(apart) = &apart {
        apart.begin(own, exposed == Exposure::Network);
    }
    let pulling = match control {
        Some(url) => Some(governed::follow(gateway.clone(), url, &args.control).await?),
        None => None,
    };
    local.machine.sweep_leftovers();
    greet(address, &local.origin, &auth);
    if let Some((exposure, listener)) = metrics {
        say(format_args!("Metrics: http://{}/metrics\n", reachable(listener.local_addr()?)));
        tokio::spawn(http::serve_metrics(gateway.clone(), listener, exposure));
    }
    let announcing = tokio::spawn(announce(gateway.clone()));
    let following = live::follow((gateway.clone(), apart), place, guarded)?;
    let (stopped, closed) = (stopped()?, terminal_closed()?);
    let stop = async {
        tokio::select! { () = stopped => {}, () = closed => {} }
    };
    http::serve(gateway, listener, stop).await;
    announcing.abort();
    following.abort();
    pulling.inspect(JoinHandle::abort);
    keys.end().await;
    local.end(STOP).await;
    Ok(ExitCode::SUCCESS)
}

/// Completes when the terminal that the gateway was started on is closed. That raises the signal that otherwise asks for
/// the configuration to be read again.
fn terminal_closed() -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let attended = stderr().is_terminal();
    let mut hangups = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangups.recv().await.is_some() {
            if attended && !stderr().is_terminal() {
                return;
            }
        }
    })
}

/// Finds the configuration: the files that are named or lie here, else, where there is an admin credential, what was pushed.
fn find_served(args: &Serve) -> anyhow::Result<Found> {
    let is_governed = governed::control(&args.control).is_some();
    let remote = is_remote(&args.setup) || is_governed;
    if is_governed && !is_remote(&args.setup) && args.setup.config.is_some() {
        bail!(
            "what a control plane says is served, and no configuration of this machine: leave out --config"
        );
    }
    if !remote && (args.setup.config.is_some() || admin_key().is_none()) {
        return find(&args.setup);
    }
    let is_open = args.listen.ip().is_loopback() || args.insecure;
    let strangers = if is_open { Strangers::Admitted } else { Strangers::KeptOut };
    let auth = Auth { required: !is_open, ..Auth::default() };
    let mut otherwise = Config { auth, ..Config::default() };
    if !remote {
        let found = find(&args.setup)?;
        if matches!(found.place, Place::Files { .. }) {
            return Ok(found);
        }
        // Until something is pushed, the demo.
        otherwise.servers = found.parsed.config.servers;
    }
    let found = source::stored(&data::folder(args.setup.data_dir.clone())?, strangers, otherwise)?;
    report(&found.parsed.problems);
    Ok(found)
}

/// Refuses to serve strangers: whoever comes from another machine is asked who they are.
fn exposure(args: &Serve, found: &Found) -> anyhow::Result<(Exposure, Guarded)> {
    let address = args.listen;
    if matches!(found.managed, Managed::ByStore(_)) && !address.ip().is_loopback() {
        // What is pushed is held to that, now and later.
        return Ok((Exposure::Network, Guarded::No));
    }
    if address.ip().is_loopback() {
        return Ok((Exposure::Loopback, Guarded::No));
    }
    if args.insecure {
        return Ok((Exposure::Network, Guarded::No));
    }
    if !found.parsed.config.auth.required {
        bail!(
            "{address} can be reached from other machines, and no authentication is configured: anyone there could use \
             every server and its credentials. Listen on 127.0.0.1, set `auth.required` and make keys with `portcullis \
             keys create`, or say --insecure if something in front asks for it"
        );
    }
    Ok((Exposure::Network, Guarded::ByKeys))
}

/// Refuses to show the metrics to strangers: nobody is asked who they are there.
fn exposure_of_metrics(address: SocketAddr, args: &Serve) -> anyhow::Result<Exposure> {
    match (address.ip().is_loopback(), args.insecure) {
        (true, _) => Ok(Exposure::Loopback),
        (false, true) => Ok(Exposure::Network),
        (false, false) => bail!(
            "{address} can be reached from other machines, and the metrics there are for everybody; choose a loopback \
             address, or say --insecure"
        ),
    }
}

async fn bind(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; another program may be using it, choose with {option}")
    })
}

/// Returns an address at which this machine reaches what listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new([127, 0, 0, 1].into(), address.port())
    } else {
        address
    }
}

fn greet(address: SocketAddr, origin: &str, auth: &Auth) {
    let url = format!("http://{}/mcp", reachable(address));
    let (option, headers) = if auth.required {
        (
            r#" --header "Authorization: Bearer $PORTCULLIS_KEY""#,
            r#", "headers": {"Authorization": "Bearer KEY"}"#,
        )
    } else {
        ("", "")
    };
    say(format_args!("Portcullis {} serves {url}", env!("CARGO_PKG_VERSION")));
    say(format_args!("  from {origin}\n"));
    if auth.required {
        say("Whoever connects needs a key: portcullis keys create --agent NAME\n");
    }
    say(format_args!("Connect a client, for instance with one of these:"));
    say(format_args!("  claude mcp add --transport http portcullis {url}{option}"));
    say(format_args!(
        "  {{\"mcpServers\": {{\"portcullis\": {{\"type\": \"http\", \"url\": \"{url}\"{headers}}}}}}}\n"
    ));
}

/// Says what was found, once every server has answered or failed.
async fn announce(gateway: Gateway<Machine>) {
    let mut servers = gateway.readiness();
    while servers.iter().any(|server| server.status == "starting" && server.reason.is_none()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        servers = gateway.readiness();
    }
    say(format_args!("{}", if servers.is_empty() { "There are no servers yet." } else { "Servers:" }));
    for server in servers {
        match server.reason {
            None => {
                say(format_args!(
                    "  {}: {}, {}",
                    server.server,
                    server.status,
                    counted(server.tools, "tool")
                ));
            }
            Some(reason) => say(format_args!("  {}: {}: it {reason}", server.server, server.status)),
        }
    }
}
