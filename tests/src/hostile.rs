//! Upstreams that break every rule, over plain TCP, and the gateway that stands between them and its agents.
//!
//! A [`Hostile`] server behaves as a decent server of its era does, except where its script says otherwise. It listens
//! until the test program ends.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::{Gateway, Host};
use crate::wait;

/// What a server does about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It has answered, or refused to.
    Answered,
    /// What a decent server would.
    Behave,
}

type Script = dyn Fn(&mut Exchange) -> io::Result<Done> + Send + Sync;

/// A server that does as its script says.
#[derive(Debug, Clone)]
pub struct Hostile {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Value>>>,
}

/// One request, and the connection on which it came.
#[derive(Debug)]
pub struct Exchange {
    /// The request line and the headers.
    pub head: String,
    /// The body, as text.
    pub body: String,
    /// The JSON-RPC message; null where there is none.
    pub message: Value,
    modern: bool,
    stream: TcpStream,
}

impl Hostile {
    /// A server of the stateless era.
    pub fn modern(script: impl Fn(&mut Exchange) -> io::Result<Done> + Send + Sync + 'static) -> Self {
        Self::start(true, Arc::new(script))
    }

    /// A server with sessions.
    pub fn legacy(script: impl Fn(&mut Exchange) -> io::Result<Done> + Send + Sync + 'static) -> Self {
        Self::start(false, Arc::new(script))
    }

    fn start(modern: bool, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let received: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                // Whoever asked may hang up at any point: that ends the exchange, and nothing else.
                thread::spawn(move || serve(stream, modern, &seen, &*script).ok());
            }
        });
        Self { address, received }
    }

    /// Its MCP endpoint.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// How many requests of this method have arrived.
    pub fn count(&self, method: &str) -> usize {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().filter(|message| message["method"] == method).count()
    }
}

fn serve(stream: TcpStream, modern: bool, seen: &Mutex<Vec<Value>>, script: &Script) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(message.clone());
    let body = String::from_utf8_lossy(&body).into_owned();
    let mut exchange = Exchange { head, body, message, modern, stream };
    match script(&mut exchange)? {
        Done::Answered => Ok(()),
        Done::Behave => exchange.behave(),
    }
}

impl Exchange {
    /// The method.
    pub fn method(&self) -> &str {
        self.message["method"].as_str().unwrap_or_default()
    }

    /// Whether it is a call of a tool.
    pub fn is_call(&self) -> bool {
        self.method() == "tools/call"
    }

    /// The request's id.
    pub fn id(&self) -> Value {
        self.message["id"].clone()
    }

    /// Writes bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Writes a head without a length: the body lasts until the connection ends.
    pub fn open(&mut self, status: u16, content_type: &str) -> io::Result<()> {
        self.send(format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: {content_type}\r\n\r\n"))
    }

    /// Writes a whole answer with these headers, each of which ends in a line break.
    pub fn respond(&mut self, status: u16, headers: &str, body: impl AsRef<[u8]>) -> io::Result<()> {
        let length = body.as_ref().len();
        let head =
            format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n");
        self.send(head)?;
        self.send(body)
    }

    /// Writes a JSON document.
    pub fn json(&mut self, body: impl AsRef<[u8]>) -> io::Result<()> {
        self.respond(200, "Content-Type: application/json\r\n", body)
    }

    /// Writes the answer to this request.
    pub fn result(&mut self, result: &Value) -> io::Result<()> {
        let body = json!({ "jsonrpc": "2.0", "id": self.id(), "result": result });
        self.json(body.to_string())
    }

    /// Writes one event.
    pub fn event(&mut self, message: &Value) -> io::Result<()> {
        self.send(format!("data: {message}\n\n"))
    }

    /// Lets another server (`HOST:PORT`) answer.
    pub fn hand_over(&mut self, authority: &str) -> io::Result<()> {
        let mut other = TcpStream::connect(authority)?;
        let body = if self.message.is_null() { String::new() } else { self.message.to_string() };
        let lines = self.head.lines().filter(|line| !line.is_empty());
        let kept = lines.filter(|line| !line.to_ascii_lowercase().starts_with("content-length:"));
        let head = kept.collect::<Vec<_>>().join("\r\n");
        write!(other, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        io::copy(&mut other, &mut self.stream).map(|_| ())
    }

    /// Waits until the other side hangs up.
    pub fn linger(&mut self) -> io::Result<()> {
        let mut buffer = [0; 1024];
        while self.stream.read(&mut buffer)? > 0 {}
        Err(ErrorKind::ConnectionAborted.into())
    }

    /// Ends the connection the hard way: the other side reads an error, not an end.
    pub fn reset(&mut self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    /// Ends the connection.
    pub fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Both)
    }

    /// What the tool of a decent server answers.
    pub fn fine(&self) -> Value {
        json!({ "resultType": "complete", "content": [{ "type": "text", "text": "fine" }] })
    }

    fn behave(&mut self) -> io::Result<()> {
        let tool = json!({ "name": "x", "inputSchema": { "type": "object" } });
        let list =
            json!({ "tools": [tool], "resultType": "complete", "ttlMs": 600_000, "cacheScope": "public" });
        match (self.method(), self.modern) {
            ("server/discover", true) => self.result(&json!({
                "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} }, "resultType": "complete",
                "ttlMs": 600_000, "cacheScope": "public",
            })),
            ("initialize", false) => {
                let body = json!({ "jsonrpc": "2.0", "id": self.id(), "result": {
                    "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                    "serverInfo": { "name": "hostile", "version": "1" },
                } });
                self.respond(200, "Content-Type: application/json\r\nMcp-Session-Id: s1\r\n", body.to_string())
            }
            ("tools/list", _) => self.result(&list),
            ("tools/call", _) => self.result(&self.fine()),
            ("", _) => self.respond(405, "", ""),
            _ if self.message.get("id").is_none() => self.respond(202, "", ""),
            (_, modern) => {
                let error = json!({ "code": -32601, "message": "Method not found" });
                let body = json!({ "jsonrpc": "2.0", "id": self.id(), "error": error });
                let status = if modern { 404 } else { 200 };
                self.respond(status, "Content-Type: application/json\r\n", body.to_string())
            }
        }
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Resident memory, in MiB.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Running children.
    pub children: usize,
}

impl Holdings {
    /// What the gateway holds at this moment.
    pub fn of(gateway: &mut Gateway) -> Self {
        let id = gateway.process().id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the gateway runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        let memory = resident.and_then(|size| size.parse::<u64>().ok()).expect("the kernel tells");
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).expect("the gateway runs").count();
        let tasks = fs::read_dir(format!("/proc/{id}/task")).expect("the gateway runs").flatten();
        let children: BTreeSet<String> = tasks
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        Self { memory: memory >> 10, descriptors, children: children.len() }
    }
}

/// Waits until the gateway holds no more than before, but for `memory` MiB; connections are kept for a while. Of a Worker
/// and a function nothing is expected: the process is not theirs.
pub fn expect_released(gateway: &mut Gateway, before: Holdings, memory: u64) {
    const KEPT: usize = 12;
    if Host::chosen() != Host::Local {
        return;
    }
    let mut now = before;
    let released = wait::until(wait::PATIENCE, || {
        now = Holdings::of(gateway);
        let fits = now.memory <= before.memory + memory
            && now.descriptors <= before.descriptors + KEPT
            && now.children <= before.children;
        fits.then_some(())
    });
    assert!(released.is_some(), "before: {before:?}; now: {now:?}; allowed: {memory} MiB more");
}
