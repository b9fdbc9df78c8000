//! MCP servers that speak HTTP, for the gateway to stand in front of.

use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::process::Background;
use crate::toolbox;

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Upstream {
    process: Background,
    url: String,
}

impl Upstream {
    /// The reference server that has one of everything; of the eras with sessions only.
    pub fn everything() -> Self {
        Self::everything_as("streamableHttp", "/mcp")
    }

    /// The same over HTTP+SSE.
    pub fn everything_sse() -> Self {
        Self::everything_as("sse", "/sse")
    }

    fn everything_as(transport: &str, path: &str) -> Self {
        // It takes no port 0, so a free one is chosen here; another process may be faster.
        for _ in 0..3 {
            let port = free_port();
            let mut command = Command::new(toolbox::node());
            command.arg(toolbox::node_module("@modelcontextprotocol/server-everything/dist/index.js"));
            command.arg(transport).env("PORT", port.to_string());
            let mut process = Background::start(&command);
            let listening = process.await_line("the server-everything's start", |line| {
                let failed = line.contains("already in use") || line.contains("EADDRINUSE");
                if failed { Some(false) } else { line.contains(" on port").then_some(true) }
            });
            if listening {
                return Self { process, url: format!("http://127.0.0.1:{port}{path}") };
            }
        }
        panic!("no free port was found for server-everything");
    }

    /// The fixture server with these options, such as `["--era", "dual"]`.
    pub fn fixture(options: &[&str]) -> Self {
        let mut command = Command::new(toolbox::fixture());
        command.args(["--listen", "127.0.0.1:0"]).args(options);
        Self::start(&command)
    }

    /// A server on the TypeScript SDK 2.x, of both eras.
    pub fn ts_v2() -> Self {
        let mut command = Command::new(toolbox::node());
        command.arg(toolbox::interop("servers/ts-v2.cjs")).args(["--http", "127.0.0.1:0"]);
        command.env("NODE_PATH", toolbox::node_modules());
        Self::start(&command)
    }

    /// A server on the TypeScript SDK 2.x, of the era without sessions, whose tools ask.
    pub fn asking_ts_v2() -> Self {
        let mut command = Command::new(toolbox::node());
        command.arg(toolbox::interop("servers/asking.cjs")).args(["--http", "127.0.0.1:0"]);
        command.env("NODE_PATH", toolbox::node_modules());
        Self::start(&command)
    }

    /// A server on the Python SDK 2.x, of the era without sessions, whose tools ask.
    pub fn asking_python() -> Self {
        let mut command = Command::new(toolbox::python());
        command.arg(toolbox::interop("servers/asking.py")).args(["--http", "127.0.0.1:0"]);
        Self::start(&command)
    }

    /// A server that takes the tokens of this issuer alone, on the TypeScript SDK of that major version: 1 has sessions, 2 is
    /// of the era without.
    pub fn protected(sdk: u8, issuer: &str) -> Self {
        let mut command = Command::new(toolbox::node());
        command.arg(toolbox::interop("servers/protected.cjs")).args(["--http", "127.0.0.1:0"]);
        command.args(["--issuer", issuer, "--sdk", &sdk.to_string()]);
        command.env("NODE_PATH", toolbox::node_modules());
        Self::start(&command)
    }

    /// A server on `FastMCP`.
    pub fn fastmcp() -> Self {
        Self::fastmcp_as("--http")
    }

    /// The same over HTTP+SSE.
    pub fn fastmcp_sse() -> Self {
        Self::fastmcp_as("--sse")
    }

    fn fastmcp_as(transport: &str) -> Self {
        let mut command = Command::new(toolbox::python());
        command.arg(toolbox::interop("servers/fastmcp_server.py")).args([transport, "127.0.0.1:0"]);
        Self::start(&command)
    }

    /// Any server that prints `listening on URL`.
    pub fn start(command: &Command) -> Self {
        let mut process = Background::start(command);
        let url = process.await_line("a line `listening on URL`", |line| {
            let (_, url) = line.split_once("listening on ")?;
            url.starts_with("http://").then(|| url.trim().to_owned())
        });
        Self { process, url }
    }

    /// Its MCP endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything it has said so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process, for what it said and to send it signals.
    pub fn process(&mut self) -> &mut Background {
        &mut self.process
    }
}

/// A port that nothing listens on at this moment.
pub fn free_port() -> u16 {
    // None of those that the system gives to whoever asks for any: one of them could be taken before it is used.
    const FIRST: u32 = 12_000;
    const MANY: u32 = 18_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let from = std::process::id().wrapping_mul(97);
    let ports = (0..MANY)
        .map(|_| FIRST + from.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % MANY)
        .filter_map(|port| u16::try_from(port).ok());
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.into_iter().find(is_free).expect("a loopback port is free")
}
