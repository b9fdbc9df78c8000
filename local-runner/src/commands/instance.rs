//! `instance`: the gateway that is an identity's own, as the front starts it (ADR 0050).
//!
//! It reads what it is to be on standard input, serves whom the front hands over at a socket in its folder, and tells the front
//! what is to be recorded. **It ends with its input**: there is no instance without its front.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::server::graceful::GracefulShutdown;
use portcullis_core::config::Config;
use portcullis_core::control::{Managed, StoreError};
use portcullis_core::identity::KeyRing;
use portcullis_core::names::ServerName;
use portcullis_core::ports::SecretStore;
use portcullis_core::secrets::{Replacing, Secret, SecretName, SecretRecord, Values};
use portcullis_core::sorted::SortedMap;
use portcullis_core::{Approval, Exposure, Gateway, Options, SealKeys};
use portcullis_native::{Answer, serve_local};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines, Stdin};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::stopped;
use crate::audit::Trail;
use crate::cli::Instance;
use crate::host::Machine;
use crate::instances::SOCKET;
use crate::instances::words::{self, Begin, Given, Order, Told};

/// How long requests that are being answered may take once it is to end.
const GRACE: Duration = Duration::from_secs(2);
/// How long the servers' processes may take to stop.
const STOP: Duration = Duration::from_secs(4);
/// How long the front may take to say what a secret is.
const LENDING: Duration = Duration::from_secs(10);

pub(super) async fn run(args: Instance) -> anyhow::Result<ExitCode> {
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let Some(Order::Begin(begin)) = next(&mut orders).await? else {
        bail!("it is started by the gateway only")
    };
    let (told, telling) = mpsc::unbounded_channel();
    let telling = tokio::spawn(tell(telling));
    let lender = Arc::new(Lender { told: told.clone(), waiting: Mutex::default(), last: AtomicU64::new(0) });
    let config = configured(&begin.configuration)?;
    let trail = Trail::passed_on(&config.audit, told.clone())?;
    let machine = Machine::apart(&trail, lender.clone(), (&args.home, &args.packages));
    let gateway = start(&machine, config, &begin)?;
    trail.happens_at(gateway.id());
    let socket = args.home.join(SOCKET);
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).with_context(|| {
        format!("cannot answer at {}; a data folder with a shorter path may help", socket.display())
    })?;
    told.send(Told::Ready)?;
    machine.sweep_leftovers();
    let connections = GracefulShutdown::new();
    tokio::select! {
        () = accept(&gateway, &listener, &connections) => {}
        ended = follow(&gateway, &mut orders, &lender) => ended?,
        () = stopped()? => {}
    }
    gateway.stop();
    let _ = tokio::time::timeout(GRACE, connections.shutdown()).await;
    machine.stop_processes(STOP).await;
    drop((gateway, machine, trail, lender, told));
    // What is left to be recorded is still said, if nothing keeps on saying more.
    let _ = tokio::time::timeout(GRACE, telling).await;
    Ok(ExitCode::SUCCESS)
}

fn start(machine: &Machine, config: Config, begin: &Begin) -> anyhow::Result<Gateway<Machine>> {
    let options = Options {
        config,
        seal_keys: SealKeys::parse(&begin.seal_keys).context("the keys")?,
        exposure: if begin.is_exposed { Exposure::Network } else { Exposure::Loopback },
        started_by: begin.started_by.clone(),
        admin_key: None,
        managed: Managed::ByFiles("what the front has in force".to_owned()),
    };
    let gateway = Gateway::start(machine.clone(), options)?;
    gateway.set_address(&begin.address);
    gateway.set_keys(KeyRing::new(begin.keys.clone()));
    Ok(gateway)
}

/// Returns the configuration that was given: the front has found it good.
fn configured(given: &Given) -> anyhow::Result<Config> {
    let parsed = given.understood();
    if parsed.is_refused() {
        bail!("the configuration has errors in here");
    }
    let mut config = parsed.config;
    for (server, why) in words::unserved(&config) {
        config.servers.remove(server.as_str());
        config.broken.insert(server.to_string(), why.to_owned());
    }
    let mut approvals = Vec::new();
    for (server, text) in &given.approvals {
        let approval = Approval::read(text).map_err(anyhow::Error::msg)?;
        approvals.push((ServerName::parse(server)?, Arc::new(approval)));
    }
    if !approvals.is_empty() {
        config.approvals = approvals.into_iter().collect();
    }
    Ok(config)
}

/// Answers what the front hands over.
async fn accept(gateway: &Gateway<Machine>, listener: &UnixListener, connections: &GracefulShutdown) {
    let answering = gateway.clone();
    let answer: Answer = Arc::new(move |request| {
        let gateway = answering.clone();
        async move { gateway.serve_handed(request).await }.boxed()
    });
    loop {
        match listener.accept().await {
            Ok((stream, _)) => serve_local(answer.clone(), stream, gateway.limits(), connections),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Does what the front says, until it says nothing more.
async fn follow(
    gateway: &Gateway<Machine>,
    orders: &mut Lines<BufReader<Stdin>>,
    lender: &Lender,
) -> anyhow::Result<()> {
    while let Some(order) = next(orders).await? {
        match order {
            Order::Configuration(given) => match configured(&given) {
                Ok(config) => drop(gateway.reload(config)),
                Err(error) => tracing::error!("the configuration stays as it is: {error:#}"),
            },
            Order::Keys(keys) => gateway.set_keys(KeyRing::new(keys)),
            Order::Answer { ask, value } => lender.answered(ask, value),
            Order::Secrets(names) => {
                let names: Vec<_> = names.iter().filter_map(|name| SecretName::parse(name).ok()).collect();
                gateway.secrets_changed(&names);
            }
            Order::Begin(_) => bail!("it has begun"),
        }
    }
    Ok(())
}

async fn next(orders: &mut Lines<BufReader<Stdin>>) -> anyhow::Result<Option<Order>> {
    let Some(line) = orders.next_line().await? else { return Ok(None) };
    serde_json::from_str(&line).map(Some).map_err(|_| anyhow::anyhow!("what the front says is no message"))
}

/// Writes to the front.
async fn tell(mut telling: mpsc::UnboundedReceiver<Told>) {
    let mut out = tokio::io::stdout();
    while let Some(told) = telling.recv().await {
        let line = words::line(&told) + "\n";
        if out.write_all(line.as_bytes()).await.is_err() || out.flush().await.is_err() {
            return;
        }
    }
}

/// What the front says of a secret.
type Answered = Result<Option<words::Lent>, String>;

/// The secrets that the front lends, each when it is needed.
struct Lender {
    told: mpsc::UnboundedSender<Told>,
    waiting: Mutex<SortedMap<u64, oneshot::Sender<Answered>>>,
    last: AtomicU64,
}

impl Lender {
    fn answered(&self, ask: u64, value: Answered) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&ask);
        waiting.map(|waiting| waiting.send(value));
    }

    async fn ask(&self, name: SecretName) -> Result<Option<Values>, StoreError> {
        let ask = self.last.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(ask, sender);
        let _ = self.told.send(Told::Ask { ask, secret: name.into() });
        let answer = tokio::time::timeout(LENDING, answer).await;
        let silent = || StoreError("do not come from the front".to_owned());
        let lent = answer.map_err(|_| silent())?.map_err(|_| silent())?.map_err(StoreError)?;
        let value = |text: String| Secret::new(text).map_err(|error| StoreError(error.to_string()));
        let Some(lent) = lent else { return Ok(None) };
        let previous = lent.previous.map(value).transpose()?;
        Ok(Some(Values { current: value(lent.current)?, previous, version: lent.version }))
    }
}

fn fixed<T: Send + 'static>() -> BoxFuture<'static, Result<T, StoreError>> {
    std::future::ready(Err(StoreError("are the front's, and cannot be changed from here".to_owned()))).boxed()
}

impl SecretStore for Lender {
    fn values(&self, name: SecretName) -> BoxFuture<'_, Result<Option<Values>, StoreError>> {
        self.ask(name).boxed()
    }

    fn set(
        &self,
        _: SecretName,
        _: Secret,
        _: Replacing,
        _: u64,
    ) -> BoxFuture<'_, Result<Option<SecretRecord>, StoreError>> {
        fixed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<SecretRecord>, StoreError>> {
        fixed()
    }

    fn remove(&self, _: SecretName) -> BoxFuture<'_, Result<bool, StoreError>> {
        fixed()
    }
}
