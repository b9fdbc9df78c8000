//! Upstreams that do what no real server does: they answer as a test scripts them, and keep all that arrives.
//!
//! A double listens until the test program ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use portcullis_tests::wait;
use serde_json::{Value, json};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// The path and the query.
    pub(crate) path: String,
    /// The request line and the headers.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

impl Received {
    /// The JSON-RPC message; null where there is none.
    pub(crate) fn message(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What a double answers.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    /// A JSON document.
    pub(crate) fn json(body: &Value) -> Self {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Self { status: 200, headers, body: body.to_string() }
    }

    /// A stream of server-sent events that ends.
    pub(crate) fn events(text: &str) -> Self {
        let headers = vec![("Content-Type", "text/event-stream".to_owned())];
        Self { status: 200, headers, body: text.to_owned() }
    }

    /// A status alone.
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    /// The same answer with another header.
    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// A redirect.
    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        Self { status, headers: vec![("Location", location.to_owned())], body: String::new() }
    }
}

/// A scripted HTTP server.
#[derive(Debug, Clone)]
pub(crate) struct Double {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Double {
    /// A server that answers every request as `script` says.
    pub(crate) fn new(script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let (script, seen) = (Arc::new(script), Arc::clone(&received));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                thread::spawn(move || serve(stream, &seen, &*script));
            }
        });
        Self { address, received }
    }

    /// A stateless MCP server with these tools, each of which answers `LABEL ran NAME`.
    pub(crate) fn mcp(label: &str, tools: &[&str]) -> Self {
        let server = Mcp::new(label, tools);
        Self::new(move |request| server.answer(request))
    }

    /// Its MCP endpoint.
    pub(crate) fn url(&self) -> String {
        self.url_of("/mcp")
    }

    /// The URL of a path.
    pub(crate) fn url_of(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Everything that has arrived.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The tools that were called here, by the names they were called by.
    pub(crate) fn calls(&self) -> Vec<String> {
        let messages = self.received().into_iter().map(|request| request.message());
        let calls = messages.filter(|message| message["method"] == "tools/call");
        calls.map(|call| call["params"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// What a stateless MCP server with tools answers.
#[derive(Debug, Clone)]
pub(crate) struct Mcp {
    label: String,
    tools: Vec<Value>,
}

impl Mcp {
    /// A server with these tools, each of which answers `LABEL ran NAME`.
    pub(crate) fn new(label: &str, tools: &[&str]) -> Self {
        let tool = |name: &&str| json!({ "name": name, "inputSchema": { "type": "object" } });
        Self::of_tools(label, tools.iter().map(tool).collect())
    }

    /// The same with tools that are described in full.
    pub(crate) fn of_tools(label: &str, tools: Vec<Value>) -> Self {
        Self { label: label.to_owned(), tools }
    }

    /// The answer to a request.
    pub(crate) fn answer(&self, request: &Received) -> Answer {
        let message = request.message();
        let cached = json!({ "resultType": "complete", "ttlMs": 600_000, "cacheScope": "public" });
        let result = match message["method"].as_str() {
            Some("server/discover") => merged(
                cached,
                json!({
                    "supportedVersions": ["2026-07-28"],
                    "capabilities": { "tools": {} },
                    "_meta": { "io.modelcontextprotocol/serverInfo": { "name": self.label, "version": "1" } },
                }),
            ),
            Some("tools/list") => merged(cached, json!({ "tools": self.tools })),
            Some("tools/call") => {
                let name = message["params"]["name"].as_str().unwrap_or_default();
                let text = format!("{} ran {name}", self.label);
                json!({ "resultType": "complete", "content": [{ "type": "text", "text": text }] })
            }
            Some(_) if message.get("id").is_some() => {
                let error = json!({ "code": -32601, "message": "Method not found" });
                let body = json!({ "jsonrpc": "2.0", "id": message["id"], "error": error });
                return Answer { status: 404, ..Answer::json(&body) };
            }
            Some(_) => return Answer::status(202),
            None => return Answer::status(405),
        };
        Answer::json(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))
    }
}

fn merged(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Received>>, script: &dyn Fn(&Received) -> Answer) {
    let mut reader = BufReader::new(stream);
    // The connection is to be closed after one answer, yet what hides behind the first request must be seen.
    while let Some(request) = read(&mut reader) {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let answer = script(&request);
        let mut head = format!("HTTP/1.1 {} Scripted\r\nConnection: close\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let whole = format!("{head}Content-Length: {}\r\n\r\n{}", answer.body.len(), answer.body);
        // Whoever asked may have gone.
        reader.get_mut().write_all(whole.as_bytes()).ok();
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut head = String::new();
    while reader.read_line(&mut head).ok()? > 2 {}
    let path = head.split(' ').nth(1)?.to_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Received { path, head, body: String::from_utf8_lossy(&body).into_owned() })
}

/// An address that is known before what it leads to is there: connections wait until it is.
#[derive(Debug)]
pub(crate) struct Tunnel {
    address: SocketAddr,
    target: Arc<OnceLock<u16>>,
}

impl Tunnel {
    /// A tunnel that leads nowhere yet.
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let target: Arc<OnceLock<u16>> = Arc::default();
        let lookup = Arc::clone(&target);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let target = Arc::clone(&lookup);
                thread::spawn(move || connect(&stream, &target));
            }
        });
        Self { address, target }
    }

    /// The MCP endpoint at the near end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Lets it end at a port of this machine.
    pub(crate) fn lead_to(&self, port: u16) {
        self.target.set(port).expect("a tunnel leads to one place");
    }
}

fn connect(near: &TcpStream, target: &OnceLock<u16>) {
    let Some(port) = wait::until(wait::PATIENCE, || target.get().copied()) else { return };
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let (Ok(near), Ok(near_again), Ok(far_again)) = (near.try_clone(), near.try_clone(), far.try_clone())
    else {
        return;
    };
    thread::spawn(move || copy(near, far));
    copy(far_again, near_again);
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    std::io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Both).ok();
    from.shutdown(Shutdown::Both).ok();
}
