//! `bridge`: one stdio server over Streamable HTTP, as the entry point of a container.
//!
//! **It is the gateway with a configuration of one server**: what is said on either side is decided where it always is.
//! **The credential is read once and reaches nobody else**: not the server's environment, and on Linux not through this
//! process's own, which others of the same user cannot read. Nothing is kept on a disk.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::FutureExt as _;
use http::{HeaderValue, StatusCode, Uri, header};
use portcullis_core::body::{Body, Reply};
use portcullis_core::config::{
    Approving, Auth, Command, Config, Elicitation, Forms, Naming, Server, Transport,
};
use portcullis_core::control::Managed;
use portcullis_core::identity::KeyHash;
use portcullis_core::names::ServerName;
use portcullis_core::secrets::{Part, Secret, SecretName, SecretText};
use portcullis_core::{Exposure, Gateway, Options};
use portcullis_native::Answer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{admin_key, observed, started_by, stopped};
use crate::cli::{Bridge, TOKEN};
use crate::host::Machine;
use crate::mounted::{self, Mounted};
use crate::otlp::Telemetry;
use crate::{data, http as front};

/// How long the server's process may take to stop.
const STOP: Duration = Duration::from_secs(6);
/// How long a check of health may take.
const CHECK: Duration = Duration::from_secs(5);
/// A credential that can be guessed is none: its least length, in characters.
const LEAST: usize = 16;
/// What the gateway calls its endpoint.
const ENDPOINT: &str = "/mcp";
/// What the server is called in logs where its program has no name that could stand there.
const NAMELESS: &str = "server";

pub(super) async fn run(args: Bridge, telemetry: Option<Arc<Telemetry>>) -> anyhow::Result<ExitCode> {
    if args.health {
        return Ok(check_health(&args).await);
    }
    let token = token(&args)?;
    let listener = bind(&args).await?;
    let address = listener.local_addr()?;
    let exposure = exposure(address, token.is_some(), args.allow_anonymous)?;
    let machine =
        if telemetry.is_some() || admin_key().is_some() { observed(telemetry) } else { Machine::new() };
    let mut mounted = Mounted::default();
    let config = config(&args, token.as_ref(), &mut mounted)?;
    let machine = machine.given(Arc::new(mounted));
    let options = Options {
        config,
        seal_keys: data::passing_seal_keys()?,
        exposure,
        started_by: started_by(),
        admin_key: admin_key(),
        managed: Managed::ByFiles("the command line of the bridge".to_owned()),
    };
    let gateway = Gateway::start(machine.clone(), options)?;
    gateway.set_address(&format!("http://{address}"));
    tracing::info!(%address, path = args.path, server = args.command[0], "the bridge listens");
    let answering = gateway.clone();
    let path: Arc<str> = args.path.as_str().into();
    let answer: Answer = Arc::new(move |request| {
        let (gateway, path) = (answering.clone(), path.clone());
        async move { answer(gateway, &path, request).await }.boxed()
    });
    front::serve_with(gateway, listener, stopped()?, args.grace, answer).await;
    machine.stop_processes(STOP).await;
    Ok(ExitCode::SUCCESS)
}

/// Answers as the gateway does, at the path that was asked for. Checks of health come by an address that nobody knows
/// beforehand; and a bridge whose server is down is of no use to whoever balances between several.
async fn answer(gateway: Gateway<Machine>, path: &str, mut request: http::Request<Body>) -> Reply {
    let asked = request.uri().path();
    let is_readiness = asked == "/readyz";
    if is_readiness || asked == "/healthz" {
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
    } else if path != ENDPOINT {
        let target = if asked == path {
            ENDPOINT
        } else if asked == ENDPOINT {
            "/"
        } else {
            asked
        };
        *request.uri_mut() = at(request.uri(), target);
    }
    let mut reply = gateway.serve(request).await;
    if is_readiness && gateway.readiness().iter().any(|server| server.status != "up") {
        *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    reply
}

/// Returns the same target with another path.
fn at(target: &Uri, path: &str) -> Uri {
    let mut parts = target.clone().into_parts();
    let whole = target.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    parts.path_and_query = whole.parse().ok();
    Uri::from_parts(parts).unwrap_or_default()
}

/// Returns the credential that callers have to send, where there is one.
fn token(args: &Bridge) -> anyhow::Result<Option<Secret>> {
    let found = match (&args.token_env, &args.token_file) {
        (Some(name), _) => Some(variable(name)?),
        (None, Some(file)) => Some(mounted::read(file)?),
        (None, None) => std::env::var(TOKEN).ok().filter(|value| !value.trim().is_empty()),
    };
    let Some(found) = found else { return Ok(None) };
    let found = found.trim();
    ensure!(
        found.len() >= LEAST && found.bytes().all(|byte| byte.is_ascii_graphic()),
        "the credential must have at least {LEAST} characters, all of them visible ASCII; make one with `openssl rand -hex 32`"
    );
    Ok(Some(Secret::new(found.to_owned())?))
}

fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("the variable {name} is not set, or no text"))
}

async fn bind(args: &Bridge) -> anyhow::Result<TcpListener> {
    if let Some(address) = args.listen {
        return listen(address).await;
    }
    // Both families, where the machine has both.
    match TcpListener::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), args.port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), args.port)).await,
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let why = || {
        format!("cannot listen on {address}; another program may be using it, choose with --port or --listen")
    };
    TcpListener::bind(address).await.with_context(why)
}

/// Refuses to serve strangers on a network.
fn exposure(address: SocketAddr, asks: bool, allow_anonymous: bool) -> anyhow::Result<Exposure> {
    if address.ip().is_loopback() {
        return Ok(Exposure::Loopback);
    }
    if !asks && !allow_anonymous {
        bail!(
            "{address} can be reached from other machines, and no credential is asked for: set {TOKEN}, name another variable \
             with --token-env or a file with --token-file, listen on 127.0.0.1, or say --allow-anonymous if something in \
             front asks for one"
        );
    }
    Ok(Exposure::Network)
}

/// Returns the configuration of one server, whose names, texts and questions are passed on as they are.
fn config(args: &Bridge, token: Option<&Secret>, mounted: &mut Mounted) -> anyhow::Result<Config> {
    let (program, arguments) =
        args.command.split_first().context("no command is given; it stands after `--`")?;
    let mut command = Command { program: program.clone(), args: arguments.to_vec(), ..Command::default() };
    for (name, value) in &args.env {
        let value =
            value.clone().map_or_else(|| variable(name), Ok).with_context(|| format!("--env {name}"))?;
        command.env.insert(name.clone(), value);
    }
    for (variable, file) in &args.env_file {
        let name = SecretName::parse(variable).with_context(|| format!("--env-file {variable}"))?;
        mounted.add(name.clone(), file).with_context(|| format!("--env-file {variable}"))?;
        command.secret_env.insert(variable.clone(), SecretText::new(vec![Part::Secret(name)]));
    }
    let server = Server {
        transport: Transport::Stdio(command),
        timeout: args.timeout,
        cache: Duration::from_mins(1),
        enabled: true,
        elicitation: Elicitation { forms: Forms::Any, ..Elicitation::default() },
        approval: Approving::default(),
    };
    let mut config = Config { servers: [(named(program), server)].into(), ..Config::default() };
    config.gateway.naming = Naming::None;
    config.gateway.public_url.clone_from(&args.public_url);
    if let Some(token) = token {
        let shared_key = Some(*KeyHash::of(token.reveal()).as_bytes());
        config.auth = Auth { required: true, shared_key, ..Auth::default() };
    }
    Ok(config)
}

/// Names the server after its program.
fn named(program: &str) -> ServerName {
    let file = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ServerName::parse(file).unwrap_or_else(|_| ServerName::parse(NAMELESS).expect("a valid name"))
}

/// Asks the bridge on this machine whether it is ready, and says on standard error why it is not.
async fn check_health(args: &Bridge) -> ExitCode {
    let address = match args.listen {
        Some(address) if !address.ip().is_unspecified() => address,
        Some(SocketAddr::V6(address)) => SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), address.port()),
        other => SocketAddr::new([127, 0, 0, 1].into(), other.map_or(args.port, |address| address.port())),
    };
    let said = match tokio::time::timeout(CHECK, ask(address)).await {
        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200 ") => return ExitCode::SUCCESS,
        Ok(Ok(answer)) => answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned(),
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => format!("no answer from {address} within {CHECK:?}"),
    };
    super::complain(&anyhow::anyhow!("not ready: {said}"));
    ExitCode::from(1)
}

async fn ask(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream =
        TcpStream::connect(address).await.with_context(|| format!("nobody listens on {address}"))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.take(64 << 10).read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_served_where_that_is_said_alone() {
        let (near, far) = (([127, 0, 0, 1], 8080).into(), ([0, 0, 0, 0], 8080).into());
        assert_eq!(exposure(near, false, false).ok(), Some(Exposure::Loopback));
        assert_eq!(exposure(far, true, false).ok(), Some(Exposure::Network));
        assert_eq!(exposure(far, false, true).ok(), Some(Exposure::Network));
        assert!(exposure(far, false, false).is_err());
        assert!(exposure((Ipv6Addr::UNSPECIFIED, 8080).into(), false, false).is_err());
    }

    #[test]
    fn the_server_is_named_after_its_program() {
        for (program, name) in
            [("node", "node"), ("/usr/bin/python3", "python3"), ("./über", NAMELESS), ("/", NAMELESS)]
        {
            assert_eq!(named(program).as_str(), name);
        }
    }

    #[test]
    fn another_path_keeps_the_query() {
        let check = |target: &'static str| at(&Uri::from_static(target), "/mcp").to_string();
        assert_eq!(check("/tools?a=b"), "/mcp?a=b");
        assert_eq!(check("/tools"), "/mcp");
        assert_eq!(check("http://host/tools"), "http://host/mcp");
    }
}
