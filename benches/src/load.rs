//! Sends the same work again and again, each worker the next as soon as it has its answer, and tells what it cost.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Clock ticks a second in `/proc`, which Linux has fixed for programs.
const TICKS: f64 = 100.0;

/// What to send, and whose time to count.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The MCP endpoint, http:// alone
    #[arg(long)]
    url: Uri,
    /// What to do in each round
    #[arg(long, value_enum, default_value = "call")]
    work: Work,
    /// Speak 2026-07-28 rather than 2025-11-25
    #[arg(long)]
    modern: bool,
    /// The name under which the target knows the tool `echo`
    #[arg(long, default_value = "echo")]
    tool: String,
    /// The size of what is echoed, in bytes
    #[arg(long, default_value_t = 100)]
    payload: usize,
    /// How many workers, each with a connection of its own
    #[arg(long, default_value_t = 8)]
    concurrency: usize,
    /// How long, in seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// A process whose time and memory count; may be given several times
    #[arg(long)]
    pid: Vec<u32>,
    /// A header that every request carries, as `name: value`
    #[arg(long)]
    header: Vec<String>,
    /// What to call this in the output
    #[arg(long, default_value = "")]
    label: String,
}

/// What a worker does again and again.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Work {
    /// One call of the tool
    Call,
    /// One list of the tools
    List,
    /// A whole session: initialize, one call, DELETE
    Session,
}

/// Prints one line of JSON.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let options = Arc::new(options);
    // What is slow to open a session is not measured while it does.
    let mut clients = Vec::new();
    for _ in 0..options.concurrency {
        clients.push(Client::open(&options).await?);
    }
    let (clients, _, first_failure) = load(&options, clients, 0.5).await?;
    ensure!(!clients.is_empty(), "nothing was answered: {}", first_failure.unwrap_or_default());
    let (before, began) = (usage(&options.pid)?, Instant::now());
    let (_, mut taken, failure) = load(&options, clients, options.seconds).await?;
    let (after, lasted) = (usage(&options.pid)?, began.elapsed());
    ensure!(!taken.is_empty(), "nothing was answered: {}", failure.unwrap_or_default());
    taken.sort_unstable();
    let count = u32::try_from(taken.len())?;
    let quantile = |percent: usize| taken[(taken.len() * percent / 100).min(taken.len() - 1)].as_micros();
    println!(
        "{}",
        json!({
            "label": options.label,
            "work": format!("{:?}", options.work).to_lowercase(),
            "era": if options.modern { "modern" } else { "legacy" },
            "payload": options.payload,
            "requests": count,
            "failure": first_failure.or(failure),
            "cpu_us": ((after.0 - before.0) / f64::from(count) * 10.0).round() / 10.0,
            "p50_us": u64::try_from(quantile(50))?,
            "p99_us": u64::try_from(quantile(99))?,
            "per_second": (f64::from(count) / lasted.as_secs_f64()).round(),
            "rss_kib": after.1,
        })
    );
    Ok(())
}

/// Loads the target; returns the clients that are still good, how long each round took, and what went wrong, if anything
/// did.
async fn load(
    options: &Arc<Options>,
    clients: Vec<Client>,
    seconds: f64,
) -> anyhow::Result<(Vec<Client>, Vec<Duration>, Option<String>)> {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let workers = clients.into_iter().map(|client| tokio::spawn(work(options.clone(), client, end)));
    let (mut good, mut taken, mut failure) = (Vec::new(), Vec::new(), None);
    for worker in workers.collect::<Vec<_>>() {
        let (times, outcome) = worker.await?;
        taken.extend(times);
        match outcome {
            Ok(client) => good.push(client),
            Err(error) => failure = failure.or(Some(format!("{error:#}"))),
        }
    }
    Ok((good, taken, failure))
}

async fn work(
    options: Arc<Options>,
    mut client: Client,
    end: Instant,
) -> (Vec<Duration>, anyhow::Result<Client>) {
    let mut taken = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        if let Err(error) = client.round(&options).await {
            return (taken, Err(error));
        }
        taken.push(start.elapsed());
    }
    (taken, Ok(client))
}

/// One connection, and the headers of its session.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    headers: HeaderMap,
    path: Uri,
}

impl Client {
    /// Connects, and opens a session where rounds do not open one each.
    async fn open(options: &Options) -> anyhow::Result<Self> {
        let mut client = Self::connect(options).await?;
        if !options.modern && !matches!(options.work, Work::Session) {
            client.initialize(options).await?;
            let message = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
            client.send(Method::POST, message.to_string().into()).await?;
        }
        Ok(client)
    }

    async fn connect(options: &Options) -> anyhow::Result<Self> {
        let authority = options.url.authority().context("the URL names no host")?;
        let port = options.url.port_u16().unwrap_or(80);
        let stream = TcpStream::connect((authority.host(), port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, authority.as_str().parse()?);
        headers.insert(header::CONTENT_TYPE, "application/json".parse()?);
        headers.insert(header::ACCEPT, "application/json, text/event-stream".parse()?);
        let version = if options.modern { "2026-07-28" } else { "2025-11-25" };
        headers.insert("mcp-protocol-version", version.parse()?);
        for line in &options.header {
            let (name, value) = line.split_once(':').context("a header is `name: value`")?;
            headers.insert(name.trim().parse::<header::HeaderName>()?, value.trim().parse()?);
        }
        Ok(Self { sender, headers, path: options.url.path().parse()? })
    }

    async fn round(&mut self, options: &Options) -> anyhow::Result<()> {
        match options.work {
            Work::Call => self.call(options).await,
            Work::List => self.ask(options, "tools/list", json!({}), 0).await,
            Work::Session => {
                if !options.modern {
                    self.initialize(options).await?;
                }
                self.call(options).await?;
                self.send(Method::DELETE, Bytes::new()).await?;
                self.headers.remove("mcp-session-id");
                Ok(())
            }
        }
    }

    /// Opens a session, in the revisions that have sessions.
    async fn initialize(&mut self, options: &Options) -> anyhow::Result<()> {
        let client = json!({ "name": "bench", "version": "1" });
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        self.ask(options, "initialize", params, 0).await
    }

    async fn call(&mut self, options: &Options) -> anyhow::Result<()> {
        let message = "x".repeat(options.payload);
        let params = json!({ "name": options.tool, "arguments": { "message": message } });
        self.ask(options, "tools/call", params, options.payload).await
    }

    /// Sends a request and holds its answer to be a result of at least that size.
    async fn ask(
        &mut self,
        options: &Options,
        method: &str,
        mut params: Value,
        least: usize,
    ) -> anyhow::Result<()> {
        if options.modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            self.headers.insert("mcp-method", method.parse()?);
            self.headers.remove("mcp-name");
            if method == "tools/call" {
                self.headers.insert("mcp-name", options.tool.parse()?);
            }
        }
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.send(Method::POST, message.to_string().into()).await?;
        let start = String::from_utf8_lossy(&answer[..answer.len().min(1000)]);
        let good = start.contains("\"result\"") && !start.contains("\"isError\":true");
        ensure!(good && answer.len() > least, "{method} was answered with {start}");
        Ok(())
    }

    async fn send(&mut self, method: Method, body: Bytes) -> anyhow::Result<Bytes> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        if let Some(session) = response.headers().get("mcp-session-id") {
            self.headers.insert("mcp-session-id", session.clone());
        }
        Ok(response.collect().await?.to_bytes())
    }
}

/// Returns the processor time of processes in microseconds, and what they hold in memory in KiB.
fn usage(pids: &[u32]) -> anyhow::Result<(f64, u64)> {
    let (mut micros, mut resident) = (0.0, 0);
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("a process that is not there")?;
        // The name, in parentheses, may hold anything; the twelfth and thirteenth fields after it are the times.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks: f64 =
            fields.get(11..13).context("fields are missing")?.iter().flat_map(|f| f.parse::<f64>()).sum();
        micros += ticks / TICKS * 1e6;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        resident += line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok((micros, resident))
}
