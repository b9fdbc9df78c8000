//! How much may go on at a time.

use std::time::Duration;

use futures::StreamExt;

use super::*;
use crate::config::Config;
use crate::control::Managed;
use crate::front::gate::Exposure;
use crate::gateway::{Options, SealKeys};
use crate::names::ServerName;
use crate::ports::Clock;
use crate::testing::{server, silence};

/// Starts a gateway in front of `a` that answers `requests` and holds `streams` at a time.
fn limited(host: &Memory, requests: usize, streams: usize) -> Gateway<Memory> {
    let named = (ServerName::parse("a").unwrap(), server("http://a.test/mcp"));
    let mut config = Config { servers: [named].into(), ..Config::default() };
    config.gateway.limits.requests = requests;
    config.gateway.limits.streams = streams;
    let seal_keys = SealKeys { first: [7; 32], others: Vec::new() };
    let options = Options {
        config,
        seal_keys,
        exposure: Exposure::Loopback,
        started_by: Vec::new(),
        admin_key: None,
        managed: Managed::ByFiles(String::new()),
    };
    Gateway::start(host.clone(), options).unwrap()
}

/// Returns a batch of the revision that has them.
fn batch(host: &Memory, gateway: &Gateway<Memory>, message: &str, times: usize) -> http::Request<Body> {
    let initialize = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{}}}"#;
    let reply = host.run(gateway.serve(post(initialize, &[])));
    let session = reply.headers()[names::SESSION_ID].to_str().expect("ASCII").to_owned();
    post(format!("[{}]", vec![message; times].join(",")), &[("mcp-session-id", &session)])
}

#[test]
fn a_batch_has_a_bounded_number_of_messages() {
    let host = Memory::new(modern_server);
    let gateway = gateway(&host, &["a"]);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let answer = ask(&host, &gateway, batch(&host, &gateway, ping, 100));
    assert_eq!(answer.matches("\"result\":{}").count(), 100, "{answer}");
    let answer = ask(&host, &gateway, batch(&host, &gateway, ping, 101));
    insta::assert_snapshot!(answer, @r#"400 application/json {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"a batch may have 100 messages at most"}}"#);
}

#[test]
fn the_messages_of_a_batch_are_answered_a_few_at_a_time_and_each_takes_its_place() {
    for (requests, expected) in [(2048, 8), (3, 3), (1, 1)] {
        let host = Memory::new(|request| match method_and_id(request).0.as_str() {
            "tools/call" => silence(),
            _ => modern_server(request),
        });
        let gateway = limited(&host, requests, 9);
        ask(&host, &gateway, modern("1", "tools/list", ""));
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a__echo"}}"#;
        let batch = batch(&host, &gateway, call, 20);
        host.sent();
        let answering = Box::pin(gateway.serve(batch));
        host.run(futures::future::select(answering, Box::pin(host.sleep(Duration::from_secs(1)))));
        assert_eq!(methods(&host), vec!["tools/call"; expected]);
    }
}

#[test]
fn what_a_batch_is_answered_is_bounded_altogether() {
    let large = "x".repeat(7 << 20);
    let tools = format!(
        "{{\"tools\":[{{\"name\":\"echo\",\"description\":\"{large}\",\"inputSchema\":{{\"type\":\"object\"}}}}]}}"
    );
    let host = Memory::new(move |request| match method_and_id(request) {
        (method, id) if method == "tools/list" => result(&id, &tools),
        _ => modern_server(request),
    });
    let gateway = gateway(&host, &["a"]);
    let list = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;
    let answer = ask(&host, &gateway, batch(&host, &gateway, list, 11));
    assert!(answer.len() < crate::flow::HELD + 1000, "{}", answer.len());
    assert_eq!(answer.matches("\"result\"").count(), 9);
    assert_eq!(answer.matches("\"id\":7,\"error\":{\"code\":-32603,\"message\":\"no room in the").count(), 2);
}

#[test]
fn a_stream_of_http_sse_is_counted_among_the_streams() {
    let host = Memory::new(modern_server);
    let gateway = limited(&host, 2, 2);
    let open = || {
        let mut request = post("", &[("accept", "text/event-stream")]);
        *request.method_mut() = http::Method::GET;
        *request.uri_mut() = http::Uri::from_static("/sse");
        host.run(gateway.serve(request))
    };
    let (first, second) = (open(), open());
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    let third = open();
    assert_eq!(third.status().as_u16(), 503);
    assert_eq!(third.headers()[header::RETRY_AFTER], "1");
    let answer = ask(&host, &gateway, modern("1", "tools/list", ""));
    assert!(answer.starts_with("200"), "no request's place is taken: {answer}");
    drop(first);
    host.run(host.sleep(Duration::from_secs(1)));
    let Body::Stream(mut chunks) = open().into_body() else { panic!("no stream") };
    let first = host.run(chunks.next()).expect("an event").expect("no fault");
    assert!(first.starts_with(b"event: endpoint"));
}
