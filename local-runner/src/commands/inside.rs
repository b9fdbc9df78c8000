//! `inside`: a server that answers over HTTP in a network of its own, as the stdio server that the gateway takes it for.
//!
//! It runs in that network, and is the gateway with a configuration of one server, as the bridge is the other way round.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use portcullis_core::config::{Approving, Config, Elicitation, Endpoint, Forms, Naming, Server, Transport};
use portcullis_core::control::Managed;
use portcullis_core::identity::Proof;
use portcullis_core::names::ServerName;
use portcullis_core::{Exposure, Gateway, Options, serve_lines};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::stdio::{lines, writer};
use crate::cli::Inside;
use crate::data;
use crate::host::Machine;

/// How often it is looked whether the server listens.
const LOOK: Duration = Duration::from_millis(10);
/// How long one request may take: the gateway before this one decides.
const LONGEST: Duration = Duration::from_hours(1);

pub(super) async fn run(args: Inside) -> anyhow::Result<ExitCode> {
    let server = start(&args)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    // Whoever started this has a deadline, and ends it.
    while TcpStream::connect(address).await.is_err() {
        sleep(LOOK).await;
    }
    let machine = Machine::new();
    let options = Options {
        config: config(&args)?,
        seal_keys: data::passing_seal_keys()?,
        exposure: Exposure::Loopback,
        started_by: Vec::new(),
        admin_key: None,
        managed: Managed::ByFiles("the server's description".to_owned()),
    };
    let gateway = Gateway::start(machine, options)?;
    let (sender, writing) = writer();
    tokio::select! {
        () = Box::pin(serve_lines(gateway, Proof::default(), lines(), sender)) => writing.await?,
        code = ended(server) => return Ok(code),
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the server, where it is to be started here; what it says on either stream goes to standard error.
fn start(args: &Inside) -> anyhow::Result<Option<Child>> {
    let Some((program, arguments)) = args.command.split_first() else { return Ok(None) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(std::io::stderr()).kill_on_drop(true);
    let started = command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
    Ok(Some(started))
}

/// Waits for the end of the server, which is this program's end too.
async fn ended(server: Option<Child>) -> ExitCode {
    let Some(mut server) = server else { return std::future::pending().await };
    let status = server.wait().await.ok();
    let code = status.and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}

/// Returns the configuration of one server, whose names, texts and questions are passed on as they are.
fn config(args: &Inside) -> anyhow::Result<Config> {
    let url = format!("http://127.0.0.1:{}{}", args.port, args.path).parse().context("the path")?;
    let endpoint = Endpoint {
        url,
        headers: http::HeaderMap::new(),
        secret_headers: Vec::new(),
        sign_on: None,
        consent: None,
    };
    let server = Server {
        transport: Transport::Http(endpoint),
        timeout: LONGEST,
        cache: Duration::ZERO,
        enabled: true,
        elicitation: Elicitation { forms: Forms::Any, ..Elicitation::default() },
        approval: Approving::default(),
    };
    let name = ServerName::parse("inside").expect("a valid name");
    let mut config = Config { servers: [(name, server)].into(), ..Config::default() };
    config.gateway.naming = Naming::None;
    Ok(config)
}
