//! What the audit trail gets of whole requests.

use http::{Method, header};

use super::*;
use crate::audit::{Arguments, Entry};
use crate::config::{Audit, Config, OnFailure};
use crate::error::Unreachable;
use crate::testing::TestTrail;

/// One line for each entry: what is the same in every run.
fn told(trail: &TestTrail) -> String {
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or("-").to_owned();
    let line = |entry: &Entry| {
        let arguments = match &entry.arguments {
            Arguments::None => String::new(),
            Arguments::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Arguments::Digest(digest) => format!("{:02x}{:02x}..", digest[0], digest[1]),
        };
        let (name, upstream) = (entry.name.as_deref().unwrap_or("-"), text(&entry.upstream_name));
        let server = text(&entry.server);
        format!(
            "{} {} {server} {name}>{upstream} {} [{arguments}] {:?}B err={:?} up={} id={} {}",
            entry.era,
            entry.method,
            entry.decision.as_str(),
            entry.result_bytes.unwrap_or_default(),
            entry.is_error,
            entry.upstream.is_some(),
            entry.request_id.as_deref().unwrap_or("-"),
            entry.error.as_deref().unwrap_or_default(),
        )
    };
    trail.take().iter().map(line).collect::<Vec<_>>().join("\n")
}

fn stage(
    servers: impl FnMut(&http::Request<Bytes>) -> Answer + Send + 'static,
) -> (Memory, std::sync::Arc<TestTrail>, Gateway<Memory>) {
    let host = Memory::new(servers);
    let trail = host.keep_trail();
    let gateway = gateway(&host, &["a"]);
    ask(&host, &gateway, modern("1", "ping", ""));
    trail.take();
    (host, trail, gateway)
}

#[test]
fn every_request_becomes_one_entry() {
    let (host, trail, gateway) = stage(modern_server);
    let check = |request| {
        ask(&host, &gateway, request);
        told(&trail)
    };
    insta::assert_snapshot!(check(modern("1", "tools/list", "")), @"modern tools/list - ->- allowed [] 157B err=None up=false id=1");
    insta::assert_snapshot!(check(modern("2", "tools/call", r#""name":"a__echo","arguments":{"n": 1.0}"#)), @r#"modern tools/call a a__echo>echo allowed [98f2..] 109B err=Some(false) up=true id=2"#);
    insta::assert_snapshot!(check(modern("\"x\"", "tools/call", r#""name":"a__nope","arguments":{}"#)), @r#"modern tools/call - a__nope>- denied [4413..] 0B err=None up=false id="x" Unknown tool: a__nope"#);
    insta::assert_snapshot!(check(modern("3", "server/discover", "")), @"modern server/discover - ->- allowed [] 285B err=None up=false id=3");
    insta::assert_snapshot!(check(modern("4", "resources/read", r#""uri":"x://y""#)), @"modern resources/read - x://y>- denied [] 0B err=None up=false id=4 Resource not found");
    insta::assert_snapshot!(check(modern("5", "made/up", "")), @"modern _OTHER - ->- denied [] 0B err=None up=false id=5 Method not found: made/up");
    insta::assert_snapshot!(check(modern("6", "ping", "")), @"modern ping - ->- denied [] 0B err=None up=false id=6 Method not found: ping");
    insta::assert_snapshot!(check(post("{", &[])), @" POST /mcp - ->- denied [] 0B err=None up=false id=- Parse error: expected a key at byte 1");
    insta::assert_snapshot!(check(post("{}", &[])), @r#" POST /mcp - ->- denied [] 0B err=None up=false id=- `jsonrpc` must be "2.0""#);
    insta::assert_snapshot!(check(post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, &[("mcp-session-id", "x")])), @" tools/list - ->- denied [] 0B err=None up=false id=1 Session not found: it has ended, or is not this gateway's; send `initialize` again");
    let mut strange = modern("7", "tools/list", "");
    strange.headers_mut().insert(header::HOST, "evil.test".parse().expect("a value"));
    insta::assert_snapshot!(check(strange), @" POST /mcp - ->- denied [] 0B err=None up=false id=- this gateway is not served under that `Host`; set `gateway.public_url` to its public address");
    let mut opening = post("", &[("accept", "text/event-stream")]);
    *opening.method_mut() = Method::GET;
    *opening.uri_mut() = http::Uri::from_static("/sse");
    let streaming = host.run(Box::pin(gateway.serve(opening)));
    insta::assert_snapshot!(told(&trail), @" GET /sse - ->- allowed [] 0B err=None up=false id=-");
    drop(streaming);
}

#[test]
fn sessions_are_recorded_too() {
    let (host, trail, gateway) = stage(modern_server);
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"Cursor","version":"1"}}}"#;
    let reply = host.run(Box::pin(gateway.serve(post(message, &[]))));
    let session = reply.headers()[&names::SESSION_ID].to_str().expect("ASCII").to_owned();
    let entries = trail.take();
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (entries[0].method, entries[0].era, entries[0].client.as_deref()),
        ("initialize", "legacy", Some("Cursor"))
    );
    let headers = [("mcp-session-id", session.as_str())];
    let call = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a__echo","arguments":{}}}"#;
    ask(&host, &gateway, post(call, &headers));
    insta::assert_snapshot!(told(&trail), @"legacy tools/call a a__echo>echo allowed [4413..] 85B err=Some(false) up=true id=2");
    let mut ending = post("", &headers);
    *ending.method_mut() = Method::DELETE;
    ask(&host, &gateway, ending);
    insta::assert_snapshot!(told(&trail), @" DELETE /mcp - ->- allowed [] 0B err=None up=false id=-");
}

#[test]
fn failures_are_told_from_refusals_and_from_what_tools_say() {
    let mut failing = false;
    let (host, trail, gateway) = stage(move |request| {
        let (method, id) = method_and_id(request);
        match method.as_str() {
            "tools/call" if !std::mem::replace(&mut failing, true) => {
                result(&id, r#"{"content":[],"isError":true,"resultType":"complete"}"#)
            }
            "tools/call" => Err(Unreachable::new("a", "cannot be reached: no route")),
            _ => modern_server(request),
        }
    });
    let call = || modern("1", "tools/call", r#""name":"a__echo""#);
    ask(&host, &gateway, call());
    insta::assert_snapshot!(told(&trail), @"modern tools/call a a__echo>echo allowed [] 87B err=Some(true) up=true id=1");
    ask(&host, &gateway, call());
    insta::assert_snapshot!(told(&trail), @r#"modern tools/call a a__echo>echo failed [] 0B err=None up=true id=1 server "a" cannot be reached: no route"#);
}

#[test]
fn what_cannot_be_recorded_is_served_or_refused_as_configured() {
    let (host, trail, gateway) = stage(modern_server);
    trail.fail();
    let list = || modern("1", "tools/list", "");
    assert!(ask(&host, &gateway, list()).starts_with("200"));
    let reload = |audit: Audit| {
        let config = Config { audit, ..Config::clone(&gateway.snapshot().config) };
        gateway.reload(config);
    };
    reload(Audit { on_failure: OnFailure::Closed, ..Audit::default() });
    let refused = ask(&host, &gateway, list());
    assert!(refused.starts_with("503") && refused.contains("audit trail cannot be written"), "{refused}");
    let mut health = list();
    *health.uri_mut() = http::Uri::from_static("/healthz");
    assert!(ask(&host, &gateway, health).starts_with("200"));
    reload(Audit { enabled: false, on_failure: OnFailure::Closed, ..Audit::default() });
    trail.take();
    assert!(ask(&host, &gateway, list()).starts_with("200"));
    assert_eq!(trail.take(), []);
}

#[test]
fn arguments_are_kept_where_they_are_to_be_written_or_take_long_to_digest() {
    let (host, trail, gateway) = stage(modern_server);
    let text = "x".repeat(8 << 10);
    let long = format!(r#""name":"a__echo","arguments":{{"text":"{text}"}}"#);
    ask(&host, &gateway, modern("1", "tools/call", &long));
    assert!(told(&trail).contains(&text));
    let audit = Audit { arguments: true, ..Audit::default() };
    gateway.reload(Config { audit, ..Config::clone(&gateway.snapshot().config) });
    ask(&host, &gateway, modern("1", "tools/call", r#""name":"a__echo","arguments":{"n": 1.0}"#));
    assert!(told(&trail).contains(r#"[{"n": 1.0}]"#));
}
