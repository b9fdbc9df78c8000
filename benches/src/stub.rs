//! A small MCP server whose answers are ready: a tool `echo`, and as many that look like it as are wanted.

use std::convert::Infallible;
use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What to serve, and where.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The first port
    #[arg(long, default_value_t = 9801)]
    port: u16,
    /// How many servers, each on a port of its own
    #[arg(long, default_value_t = 1)]
    servers: u16,
    /// How many tools each has
    #[arg(long, default_value_t = 50)]
    tools: usize,
    /// Answer each call with a text of so many bytes, not with its message
    #[arg(long)]
    result: Option<usize>,
    /// Speak the session-based revisions alone
    #[arg(long)]
    legacy: bool,
    /// Speak over standard input and output instead
    #[arg(long)]
    stdio: bool,
}

struct Stub {
    tools: String,
    result: Option<usize>,
    legacy: bool,
}

/// Serves until the process is stopped.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let stub = Arc::new(Stub { tools: tools(options.tools), result: options.result, legacy: options.legacy });
    if options.stdio {
        return stub.pipe();
    }
    for port in options.port..options.port + options.servers {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        tokio::spawn(accept(listener, stub.clone()));
    }
    std::future::pending().await
}

async fn accept(listener: TcpListener, stub: Arc<Stub>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let stub = stub.clone();
        let service = service_fn(move |request| serve(stub.clone(), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn serve(stub: Arc<Stub>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(Full::default());
    if head.method != Method::POST {
        let other =
            if head.method == Method::DELETE { StatusCode::OK } else { StatusCode::METHOD_NOT_ALLOWED };
        *response.status_mut() = other;
        return Ok(response);
    }
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let Some(answer) = stub.answer(&body) else {
        *response.status_mut() = StatusCode::ACCEPTED;
        return Ok(response);
    };
    *response.body_mut() = Full::new(answer.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if !head.headers.contains_key("mcp-session-id") && !head.headers.contains_key("mcp-method") {
        headers.insert("mcp-session-id", header::HeaderValue::from_static("a-session-of-the-stub"));
    }
    Ok(response)
}

impl Stub {
    fn pipe(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        for line in std::io::stdin().lock().lines() {
            if let Some(answer) = self.answer(line?.as_bytes()) {
                out.write_all(answer.as_bytes())?;
                out.write_all(b"\n")?;
                out.flush()?;
            }
        }
        Ok(())
    }

    /// Answers a message; a notification has no answer.
    fn answer(&self, message: &[u8]) -> Option<String> {
        let message: Value = serde_json::from_slice(message).ok()?;
        let id = message.get("id")?;
        let server = json!({ "name": "stub", "version": "1" });
        let capabilities = json!({ "tools": {} });
        let result = match message["method"].as_str()? {
            "initialize" => json!({
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": capabilities,
                "serverInfo": server,
            })
            .to_string(),
            "server/discover" if !self.legacy => json!({
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": capabilities,
                "_meta": { "io.modelcontextprotocol/serverInfo": server },
                "ttlMs": 60_000,
                "cacheScope": "private",
            })
            .to_string(),
            "ping" => "{}".into(),
            "tools/list" => self.tools.clone(),
            "tools/call" => {
                let text = match self.result {
                    Some(size) => format!("\"{}\"", "x".repeat(size)),
                    None => message["params"]["arguments"]["message"].to_string(),
                };
                format!(r#"{{"content":[{{"type":"text","text":{text}}}],"isError":false}}"#)
            }
            _ => {
                let error = json!({ "code": -32601, "message": "Method not found" });
                return Some(json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string());
            }
        };
        Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
    }
}

fn tools(count: usize) -> String {
    let tool = |number: usize| {
        let name = if number == 0 { "echo".into() } else { format!("echo{number}") };
        json!({
            "name": name,
            "description": "Returns its message as it is. Real servers say more of each tool than this, so here are some \
                more words: most of a list of tools is prose, and most of the rest is schema.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "message": { "type": "string", "description": "What to return." },
                    "limit": { "type": "integer", "minimum": 1, "maximum": 100 },
                    "format": { "type": "string", "enum": ["text", "markdown", "json"] },
                    "tags": { "type": "array", "items": { "type": "string" } },
                },
                "required": ["message"],
            },
        })
    };
    json!({ "tools": (0..count).map(tool).collect::<Vec<_>>() }).to_string()
}
