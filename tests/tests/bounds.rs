//! Bounds: what is too much is refused in words, what is too slow is dropped, and nobody else notices.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Readiness};
use portcullis_tests::http::{Request, Response};
use portcullis_tests::scenario::{Stage, Transport, fixture, text};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait;
use serde_json::{Value, json};

/// A gateway with these settings before one server `s`.
fn before(limits: &str, server: &Value) -> Gateway {
    Gateway::start(&format!("version: 1\ngateway: {{ limits: {limits} }}\nservers:\n  s: {server}\n"))
}

fn limited(limits: &str) -> Gateway {
    before(limits, &fixture(&[]))
}

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", gateway.port())).expect("the gateway listens");
    stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout can be set");
    stream
}

/// What comes on a connection until it is closed, while `meanwhile` goes on.
fn until_closed(mut stream: TcpStream, mut meanwhile: impl FnMut(&mut TcpStream)) -> String {
    let mut said = Vec::new();
    let closed = wait::until(wait::PATIENCE, || {
        meanwhile(&mut stream);
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => Some(()),
            Ok(read) => {
                said.extend_from_slice(&buffer[..read]);
                None
            }
            Err(error) => {
                (!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)).then_some(())
            }
        }
    });
    assert!(closed.is_some(), "it is still open; it said {:?}", String::from_utf8_lossy(&said));
    String::from_utf8_lossy(&said).into_owned()
}

fn refused(response: Response, words: &str) {
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    let error = &response.json()["error"];
    assert_eq!(error["code"], -32603, "{error}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(words)), "{error}");
}

#[test]
fn floods_of_headers_are_refused() {
    let gateway = limited("{ headers: 16KiB }");
    let health = || Request::get(&gateway.url_of("/healthz"));
    assert_eq!(health().header("X-Large", "x".repeat(12 << 10)).send().status, 200);
    assert_eq!(health().header("X-Large", "x".repeat(20 << 10)).send().status, 431);
    let many = |gateway: &Gateway| {
        let request = Request::get(&gateway.url_of("/healthz"));
        (0..200).fold(request, |request, number| request.header(&format!("X-{number}"), "x")).send()
    };
    assert_eq!(many(&gateway).status, 431);
    assert_eq!(health().send().status, 200);
    assert_eq!(many(&limited("{ header_count: 250 }")).status, 200);
}

#[test]
fn clients_that_dawdle_are_dropped() {
    let gateway = limited("{}");
    let agent = Agent::modern(gateway.url());
    let dawdlers = [
        ("a head", "POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-Slow: "),
        (
            "a body",
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 90000\r\n\r\n",
        ),
    ];
    let dropping = dawdlers.map(|(what, begin)| {
        let mut stream = connect(&gateway);
        thread::spawn(move || {
            stream.write_all(begin.as_bytes()).expect("the gateway reads");
            // One byte every now and then: never silent, never done.
            let said = until_closed(stream, |stream| drop(stream.write(b"x")));
            (what, said)
        })
    });
    let silent = connect(&gateway);
    assert_eq!(text(&agent.call("s__echo", &json!({}))), "{}");
    for dropping in dropping {
        let (what, said) = dropping.join().expect("it does not panic");
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{what}: {said}");
    }
    assert_eq!(until_closed(silent, |_| {}), "");
    assert_eq!(text(&agent.call("s__echo", &json!({}))), "{}");
}

#[test]
fn too_many_connections_are_refused() {
    let gateway = limited("{ connections: 3 }");
    let health = || Request::get(&gateway.url_of("/healthz")).try_send();
    let mut open = Vec::new();
    wait::expect("a refusal", || {
        open.push(connect(&gateway));
        health().is_some_and(|refused| refused.status == 503 && refused.header("retry-after") == Some("1"))
    });
    open.clear();
    wait::expect("room again", || health().is_some_and(|response| response.status == 200));
}

fn listen(agent: &Agent) -> Response {
    agent.post("subscriptions/listen", json!({ "notifications": { "toolsListChanged": true } })).send()
}

fn session_stream(agent: &Agent, url: &str) -> Response {
    let request = Request::get(url)
        .header("Accept", "text/event-stream")
        .header("MCP-Protocol-Version", agent.version())
        .header("Mcp-Session-Id", agent.session().expect("a session"));
    request.send()
}

#[test]
fn too_many_streams_are_refused() {
    // Streams are counted apart from requests.
    let gateway = limited("{ streams: 3, session_streams: 2, requests: 1 }");
    let url = gateway.url();
    let (modern, legacy) = (Agent::modern(url), Agent::legacy(url));
    let oldest = session_stream(&legacy, url);
    let kept = [session_stream(&legacy, url), session_stream(&legacy, url)];
    assert_eq!(oldest.events().filter(|event| !event.data.is_empty()).count(), 0, "the oldest has ended");
    let last = listen(&modern);
    assert_eq!(last.status, 200);
    refused(listen(&modern), "3 streams are open");
    refused(session_stream(&Agent::legacy(url), url), "3 streams are open");
    assert_eq!(text(&modern.call("s__echo", &json!({}))), "{}");
    drop((kept, last));
    wait::expect("room again", || listen(&modern).status == 200);
}

fn sleep(agent: &Agent, ms: u64) -> Request {
    agent.post("tools/call", json!({ "name": "s__sleep", "arguments": { "ms": ms } }))
}

fn in_background(request: Request) -> JoinHandle<Value> {
    thread::spawn(move || request.send().messages().pop().unwrap_or_default())
}

#[test]
fn a_server_that_is_busy_lets_calls_wait_for_a_while() {
    for transport in [Transport::Http, Transport::Stdio] {
        let stage = Stage::with("legacy", transport, "{ limits: { server_requests: 1 } }", &[]);
        let (modern, legacy) = (Agent::modern(stage.url()), Agent::legacy(stage.url()));
        let mut running = connect(&stage.gateway);
        running.write_all(&sleep(&modern, 600_000).bytes()).expect("the gateway reads");
        wait::expect("the call to run", || stage.has_been_called("sleep"));
        // Whoever comes waits for its turn, but not for ever.
        refused(sleep(&modern, 1).send(), "server \"s\" is busy");
        let error = legacy.error("tools/call", json!({ "name": "s__echo" }));
        assert_eq!(error["code"], -32603, "{error}");
        let waiting = in_background(sleep(&legacy, 1));
        drop(running);
        assert_eq!(text(&waiting.join().expect("it ends")["result"]), "Slept 1 ms");
        assert_eq!(text(&modern.call("s__echo", &json!({}))), "{}");
    }
}

#[test]
fn a_gateway_that_is_busy_says_so() {
    let stage = Stage::with("modern", Transport::Stdio, "{ limits: { requests: 1 } }", &[]);
    let agent = Agent::modern(stage.url());
    let mut running = connect(&stage.gateway);
    running.write_all(&sleep(&agent, 600_000).bytes()).expect("the gateway reads");
    wait::expect("the call to run", || stage.has_been_called("sleep"));
    refused(sleep(&agent, 1).send(), "the gateway is busy");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(Request::get(&stage.gateway.url_of(path)).send().status, 200);
    }
    drop(running);
    wait::expect("room again", || sleep(&agent, 1).send().status == 200);
}

/// Memory of a process, in KiB: `VmRSS` now, `VmHWM` at most.
fn memory(gateway: &mut Gateway, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.process().id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("the system counts it");
    line.trim_start_matches(':').split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

#[test]
fn a_large_answer_streams_to_a_slow_reader_in_little_memory() {
    const SIZE: u64 = 100_000_000;
    for era in ["modern", "legacy"] {
        let upstream = Upstream::fixture(&["--era", era]);
        let mut gateway = before("{}", &json!({ "url": upstream.url() }));
        let agent = Agent::modern(gateway.url());
        assert_eq!(text(&agent.call("s__echo", &json!({}))), "{}");
        let large = agent.post("tools/call", json!({ "name": "s__large", "arguments": { "bytes": SIZE } }));
        let before = memory(&mut gateway, "VmHWM");
        let mut stream = connect(&gateway);
        stream.set_read_timeout(Some(wait::PATIENCE)).expect("a timeout can be set");
        stream.write_all(&large.bytes()).expect("the gateway reads");
        let mut buffer = vec![0; 256 << 10];
        let (mut read, mut last) = (0, Vec::new());
        loop {
            // Whatever the reader does not take yet is not taken from the server either.
            if read == 0 {
                wait::until(Duration::from_secs(2), || None::<()>);
            }
            let piece = stream.read(&mut buffer).expect("the answer goes on");
            if piece == 0 {
                break;
            }
            read += piece as u64;
            last = buffer[piece.saturating_sub(64)..piece].to_vec();
        }
        assert!(read > SIZE, "{era}: only {read} bytes");
        let end = String::from_utf8_lossy(&last).into_owned();
        assert!(end.ends_with("0\r\n\r\n"), "{era}: it ends with {end:?}");
        let grown = memory(&mut gateway, "VmHWM") - before;
        assert!(grown < 24 << 10, "{era}: {grown} KiB more for {SIZE} bytes");
    }
}

#[test]
fn a_message_that_must_be_held_whole_is_limited() {
    let settings = "{ limits: { message: 64KiB } }";
    for transport in [Transport::Http, Transport::Sse, Transport::Stdio] {
        let stage = Stage::with("legacy", transport, settings, &[]);
        let agent = Agent::legacy(stage.url());
        // Logged on the stream of the answer, and so an event wherever there are events.
        let long = json!({ "name": "s__log", "arguments": { "text": "x".repeat(100_000) } });
        let error = agent.error("tools/call", long);
        let message = error["message"].as_str().unwrap_or_default();
        for words in ["server \"s\"", "65536 bytes", "`gateway.limits.message`"] {
            assert!(message.contains(words), "{transport:?}: {error}");
        }
        assert_eq!(text(&agent.call("s__large", &json!({ "bytes": 50_000 }))).len(), 50_000);
    }
}

#[test]
fn a_compressed_answer_is_refused_and_named() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let url = format!("http://{}/mcp", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            if !matches!(stream.read(&mut [0; 16384]), Ok(1..)) {
                continue;
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n";
            stream
                .write_all(
                    format!("{head}Connection: close\r\nContent-Length: 4\r\n\r\n\x1f\x01\x08\x00")
                        .as_bytes(),
                )
                .ok();
        }
    });
    let config = format!("version: 1\nservers:\n  s: {{ url: '{url}' }}\n");
    let gateway = Gateway::with(&config).until(Readiness::Listening).start();
    wait::expect("the reason", || {
        let ready = Request::get(&gateway.url_of("/readyz")).send().json();
        ready["servers"]["s"]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("Content-Encoding: gzip"))
    });
}
