//! Servers that speak only HTTP+SSE.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Readiness};
use portcullis_tests::http::Request;
use portcullis_tests::scenario::text;
use portcullis_tests::upstream::{Upstream, free_port};
use portcullis_tests::wait;
use serde_json::{Value, json};

fn gateway_before(server: &Value) -> Gateway {
    Gateway::start(&format!("version: 1\nservers:\n  s: {server}\n"))
}

fn agents(gateway: &Gateway) -> [Agent; 3] {
    let can = json!({ "elicitation": { "form": {} } });
    let asked = Agent::modern(gateway.url()).capabilities(can).handshake("2025-11-25");
    [Agent::modern(gateway.url()), Agent::legacy(gateway.url()), asked]
}

#[test]
fn it_is_found_out_or_said() {
    let upstream = Upstream::fixture(&["--sse"]);
    for server in [
        json!({ "url": upstream.url() }),
        json!({ "url": upstream.url(), "transport": "sse" }),
        json!({ "url": upstream.url(), "transport": "http" }),
    ] {
        let gateway = gateway_before(&server);
        for agent in agents(&gateway) {
            assert_eq!(text(&agent.call("s__greet", &json!({ "name": "Ada" }))), "Hello, Ada!", "{server}");
        }
    }
}

#[test]
fn a_file_of_another_program_says_it_with_its_type() {
    let upstream = Upstream::fixture(&["--sse"]);
    let servers = json!({ "mcpServers": { "s": { "type": "sse", "url": upstream.url() } } });
    let builder = Gateway::with("").file("mcp.json", &servers.to_string()).config_path("mcp.json");
    let gateway = builder.start();
    let agent = Agent::modern(gateway.url());
    assert_eq!(text(&agent.call("s__greet", &json!({ "name": "Ada" }))), "Hello, Ada!");
}

/// What is said to be HTTP+SSE and turns out to be Streamable HTTP is spoken to as that.
#[test]
fn a_server_that_has_moved_on_is_spoken_to_all_the_same() {
    for era in ["modern", "legacy", "dual"] {
        let upstream = Upstream::fixture(&["--era", era]);
        let gateway = gateway_before(&json!({ "url": upstream.url(), "transport": "sse" }));
        let agent = Agent::modern(gateway.url());
        assert_eq!(text(&agent.call("s__greet", &json!({ "name": "Ada" }))), "Hello, Ada!", "{era}");
    }
}

#[test]
fn configured_headers_come_with_the_stream_and_with_every_post() {
    let folder = portcullis_tests::toolbox::scratch();
    let record = folder.path().join("record");
    let upstream = Upstream::fixture(&["--sse", "--record", &record.display().to_string()]);
    let gateway = gateway_before(&json!({ "url": upstream.url(), "headers": { "X-Key": "k" } }));
    Agent::modern(gateway.url()).call("s__greet", &json!({ "name": "Ada" }));
    let received = portcullis_tests::scenario::received(record);
    assert!(received.iter().any(|request| request["http"] == "GET"), "{received:?}");
    assert!(received.len() > 4, "{received:?}");
    assert!(received.iter().all(|request| request["headers"]["x-key"] == "k"), "{received:?}");
}

#[test]
fn calls_fail_when_the_server_dies_and_work_when_it_is_back() {
    let port = free_port().to_string();
    let address = format!("127.0.0.1:{port}");
    let start = || {
        let mut command = std::process::Command::new(portcullis_tests::toolbox::fixture());
        command.args(["--listen", &address, "--sse"]);
        Upstream::start(&command)
    };
    let mut upstream = start();
    let gateway = gateway_before(&json!({ "url": upstream.url() }));
    for agent in agents(&gateway) {
        let error = agent.error("tools/call", json!({ "name": "s__crash", "arguments": {} }));
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("server \"s\" ") && message.contains("event stream"), "{error}");
        wait::expect("the server to end", || upstream.process().ended().is_some());
        upstream = start();
        let call = || agent.ask("tools/call", json!({ "name": "s__greet", "arguments": { "name": "Ada" } }));
        wait::expect("the server to be back", || call()["result"]["content"][0]["text"] == "Hello, Ada!");
        let up = || Request::get(&gateway.url_of("/readyz")).send().json()["servers"]["s"]["status"] == "up";
        wait::expect("the server to be up", up);
    }
}

/// A server that opens no stream, and takes no POST, is down with a reason.
#[test]
fn a_url_where_nothing_is_served_is_said_to_be_wrong() {
    let upstream = Upstream::fixture(&["--sse"]);
    let url = upstream.url().replace("/sse", "/nothing");
    for kind in ["http", "sse"] {
        let config = format!("version: 1\nservers:\n  s: {{ url: \"{url}\", transport: {kind} }}\n");
        let gateway = Gateway::with(&config).until(Readiness::Listening).start();
        let state = || Request::get(&gateway.url_of("/readyz")).send().json()["servers"]["s"].clone();
        wait::expect("the server to be down", || state()["status"] == "down");
        let reason = state()["reason"].as_str().unwrap_or_default().to_owned();
        assert!(reason.contains("404") && reason.contains("is the URL right?"), "{kind}: {reason}");
    }
}

/// A server that opens its stream and then says nothing is down, and is not waited for without end.
#[test]
fn a_stream_that_never_names_an_endpoint_is_given_up() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
    let url = format!("http://{}/sse", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or_default();
            let answer: &[u8] = if request[..read].starts_with(b"GET") {
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: wait\n\n"
            } else {
                b"HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            };
            // Whoever asked may have gone.
            stream.write_all(answer).ok();
            open.push(stream);
        }
    });
    let config = format!("version: 1\nservers:\n  s: {{ url: \"{url}\", timeout: 300ms }}\n");
    let gateway = Gateway::with(&config).until(Readiness::Listening).start();
    let state = || Request::get(&gateway.url_of("/readyz")).send().json()["servers"]["s"].clone();
    wait::expect("the server to be down", || state()["status"] == "down");
    assert!(state()["reason"].to_string().contains("did not say where to post"), "{}", state());
}
