//! Whole requests against servers that are scripts: what is answered, what was sent, and that nothing else was.

mod activity;
mod approvals;
mod audited;
mod bearers;
mod blame;
mod connecting;
mod connections;
mod control;
mod fleet;
mod functions;
#[cfg(feature = "control")]
mod governed;
mod identity;
#[cfg(feature = "control")]
mod inventory;
mod limits;
mod narrow;
mod on_behalf;
mod own;
mod policy;
mod recorded;
mod roles;
mod secrets;
mod sessions;
mod sign_in;
mod sign_on;
mod succession;
#[cfg(feature = "control")]
mod theirs;
mod trail;
mod users;

use bytes::Bytes;
use http::header;
use proptest::prelude::*;

use crate::body::{Body, Reply};
use crate::gateway::Gateway;
use crate::testing::{Answer, Memory, gateway, json_answer, modern, post};
use crate::wire::http as names;
use crate::wire::json::Json;

const TOOLS: &str = r#"{"tools":[{"name":"echo","inputSchema":{"type":"object"}}],"resultType":"complete","ttlMs":60000,"cacheScope":"public"}"#;

fn method_and_id(request: &http::Request<Bytes>) -> (String, String) {
    let json = Json::check(request.body()).ok();
    let member = |key: &str| json.and_then(|json| json.get(key));
    let method = member("method").and_then(Json::as_str).unwrap_or_default().into_owned();
    (method, member("id").map_or("null", Json::text).to_owned())
}

fn result(id: &str, result: &str) -> Answer {
    json_answer(200, format!("{{\"result\":{result},\"jsonrpc\":\"2.0\",\"id\":{id}}}"))
}

/// A stateless server with one tool.
fn modern_server(request: &http::Request<Bytes>) -> Answer {
    let (method, id) = method_and_id(request);
    match method.as_str() {
        "server/discover" => {
            result(&id, r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}"#)
        }
        "tools/list" => result(&id, TOOLS),
        "tools/call" => {
            result(&id, r#"{"content":[],"big":123456789012345678901234567890,"resultType":"complete"}"#)
        }
        _ => json_answer(
            404,
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32601,\"message\":\"no\"}}}}"),
        ),
    }
}

/// A session-based server with one tool, which knows the sessions `s1`, `s2` ... that it has given out since `first`.
fn legacy_server(mut first: u32) -> impl FnMut(&http::Request<Bytes>) -> Answer {
    let mut last = first;
    move |request| {
        let (method, id) = method_and_id(request);
        let session =
            request.headers().get(names::SESSION_ID).and_then(|v| v.to_str().ok()?[1..].parse::<u32>().ok());
        match method.as_str() {
            "initialize" => {
                last += 1;
                let mut answer = result(
                    &id,
                    r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"x"}}"#,
                )?;
                answer.headers_mut().insert(names::SESSION_ID, format!("s{last}").parse().expect("ASCII"));
                Ok(answer)
            }
            _ if session.is_none_or(|s| s <= first) => json_answer(404, "gone"),
            "notifications/initialized" => json_answer(202, ""),
            "tools/list" => result(&id, TOOLS),
            "tools/call" => {
                // It forgets all its sessions after each call.
                first = last;
                result(&id, r#"{"content":[]}"#)
            }
            _ => json_answer(400, "what?"),
        }
    }
}

async fn text(reply: Reply) -> String {
    let status = reply.status().as_u16();
    let kind = reply
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let body = reply.into_body().collect(usize::MAX).await.expect("a whole body");
    format!("{status} {kind} {}", String::from_utf8_lossy(&body))
}

fn ask(host: &Memory, gateway: &Gateway<Memory>, request: http::Request<Body>) -> String {
    host.run(async { text(Box::pin(gateway.serve(request)).await).await })
}

fn methods(host: &Memory) -> Vec<String> {
    let method = |line: &String| {
        line.split("\"method\":\"").nth(1).map_or("-", |m| m.split('"').next().unwrap_or("-")).to_owned()
    };
    host.sent().iter().map(method).collect()
}

#[test]
fn a_call_is_spliced_and_nothing_else_is_sent() {
    let host = Memory::new(modern_server);
    let gateway = gateway(&host, &["a"]);
    insta::assert_snapshot!(ask(&host, &gateway, modern("1", "tools/list", "")), @r#"200 application/json {"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a__echo","inputSchema":{"type":"object"}}],"resultType":"complete","ttlMs":30000,"cacheScope":"private"}}"#);
    assert_eq!(methods(&host), ["server/discover", "tools/list"]);
    insta::assert_snapshot!(ask(&host, &gateway, modern("\"x\"", "tools/call", r#""name":"a__echo","arguments":{"n":1.0}"#)), @r#"200 application/json {"result":{"content":[],"big":123456789012345678901234567890,"resultType":"complete"},"jsonrpc":"2.0","id":"x"}"#);
    let sent = host.sent();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].contains(r#""params":{"name":"echo","arguments":{"n":1.0},"_meta""#), "{}", sent[0]);
}

#[test]
fn an_unknown_tool_reaches_no_server() {
    let host = Memory::new(modern_server);
    let gateway = gateway(&host, &["a"]);
    ask(&host, &gateway, modern("1", "tools/list", ""));
    host.sent();
    for name in ["echo", "a__a__echo", "A__echo", "a__echo ", "a%5F%5Fecho"] {
        let answer = ask(&host, &gateway, modern("1", "tools/call", &format!(r#""name":"{name}""#)));
        assert!(
            answer.starts_with("200") && answer.contains("-32602") && answer.contains("Unknown tool"),
            "{answer}"
        );
    }
    assert_eq!(host.sent(), [""; 0]);
}

#[test]
fn a_lost_session_is_made_again_and_the_call_sent_once_more() {
    let host = Memory::new(legacy_server(0));
    let gateway = gateway(&host, &["a"]);
    ask(&host, &gateway, modern("1", "tools/list", ""));
    let handshake = ["server/discover", "initialize", "notifications/initialized"];
    assert_eq!(methods(&host), [&handshake[..], &["tools/list"]].concat());
    let call = || modern("1", "tools/call", r#""name":"a__echo""#);
    insta::assert_snapshot!(ask(&host, &gateway, call()), @r#"200 application/json {"result":{"content":[],"resultType":"complete"},"jsonrpc":"2.0","id":1}"#);
    assert_eq!(methods(&host), ["tools/call"]);
    let answer = ask(&host, &gateway, call());
    assert!(answer.starts_with("200") && answer.contains("complete"), "{answer}");
    assert_eq!(methods(&host), [&["tools/call"], &handshake[..], &["tools/call"]].concat());
}

#[test]
fn a_dead_server_harms_only_itself() {
    let host = Memory::new(|request| match request.uri().host() {
        Some("dead.test") => {
            Err(crate::error::Unreachable::new("dead.test", "cannot be reached: refused").undelivered())
        }
        _ => modern_server(request),
    });
    let gateway = gateway(&host, &["a", "dead"]);
    let answer = ask(&host, &gateway, modern("1", "tools/list", ""));
    assert!(answer.contains("a__echo"), "{answer}");
    let states: Vec<_> = gateway.readiness().into_iter().map(|r| (r.server, r.status, r.reason)).collect();
    assert_eq!(states[0], ("a".into(), "up", None));
    assert_eq!(states[1], ("dead".into(), "down", Some("cannot be reached: refused".into())));
}

#[test]
fn agents_that_ask_at_once_cause_one_listing() {
    let host = Memory::new(modern_server);
    let gateway = gateway(&host, &["a", "b"]);
    let asking = (0..50).map(|n| gateway.serve(modern(&n.to_string(), "tools/list", "")));
    let answers = host.run(futures::future::join_all(asking));
    assert_eq!(answers.len(), 50);
    let mut sent = methods(&host);
    sent.sort();
    assert_eq!(sent, ["server/discover", "server/discover", "tools/list", "tools/list"]);
}

#[test]
fn a_session_is_bound_to_its_endpoint_and_can_be_ended() {
    let host = Memory::new(modern_server);
    let gateway = gateway(&host, &["a"]);
    let initialize = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{}}}"#;
    let reply = host.run(gateway.serve(post(initialize, &[])));
    let session = reply.headers()[names::SESSION_ID].to_str().expect("ASCII").to_owned();
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let with = |uri: &'static str, method: http::Method| {
        let mut request = post(list, &[("mcp-session-id", &session)]);
        *request.uri_mut() = http::Uri::from_static(uri);
        *request.method_mut() = method;
        request
    };
    let status = |request| host.run(gateway.serve(request)).status().as_u16();
    assert_eq!(status(with("/mcp", http::Method::POST)), 200);
    assert_eq!(status(with("/mcp/servers/a", http::Method::POST)), 404, "another endpoint");
    assert_eq!(status(post(list, &[])), 400, "no session");
    assert_eq!(status(with("/mcp", http::Method::DELETE)), 200);
    assert_eq!(status(with("/mcp", http::Method::POST)), 404, "ended");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a server answers, a request ends, and after no more than a few questions.
    #[test]
    fn a_dialogue_ends(answers in proptest::collection::vec((prop::sample::select(vec![200u16, 202, 307, 400, 401, 404, 405, 500]), 0usize..8), 1..12)) {
        let mut step = 0;
        let host = Memory::new(move |request| {
            let (_, id) = method_and_id(request);
            let (status, body) = answers[step % answers.len()];
            step += 1;
            let body = match body {
                0 => String::new(),
                1 => "<html>".into(),
                2 => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{{\"tools\":{{}}}}}}}}"),
                3 => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{{\"tools\":{{}}}}}}}}"),
                4 => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{TOOLS}}}"),
                5 => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32601,\"message\":\"no\"}}}}"),
                6 => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32022,\"message\":\"no\",\"data\":{{\"supported\":[\"2026-07-28\"]}}}}}}"),
                _ => "{\"jsonrpc\":\"2.0\",\"method\":\"x\"}".into(),
            };
            json_answer(status, body)
        });
        let gateway = gateway(&host, &["a"]);
        let answer = ask(&host, &gateway, modern("1", "tools/list", ""));
        prop_assert!(answer.starts_with("200"), "{}", answer);
        prop_assert!(host.sent().len() < 60);
    }
}
