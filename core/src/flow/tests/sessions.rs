//! Sessions of agents that can be asked, and the sessions of their own at servers.

use std::time::Duration;

use futures::future;

use super::*;
use crate::ports::{Background, Clock};
use crate::testing::{silence, slowly};

/// A session-based server; a session of an agent's own takes this long to begin, and the tool never answers `wait`.
fn server(slow: Duration) -> Memory {
    Memory::new(move |request| match method_and_id(request) {
        (method, id) if method == "initialize" => {
            let own = String::from_utf8_lossy(request.body()).contains("\"capabilities\":{\"roots\"");
            let result =
                r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"x"}}"#;
            let mut answer = super::result(&id, result)?;
            answer.headers_mut().insert(names::SESSION_ID, "s".parse().expect("ASCII"));
            if own { slowly(Ok(answer), slow) } else { Ok(answer) }
        }
        (method, id) if method == "tools/list" => super::result(&id, TOOLS),
        (method, _) if method == "tools/call" && String::from_utf8_lossy(request.body()).contains("wait") => {
            silence()
        }
        (method, id) if method == "tools/call" => super::result(&id, r#"{"content":[]}"#),
        (method, _) if method == "server/discover" => json_answer(400, ""),
        _ => json_answer(202, ""),
    })
}

/// Begins a session of an agent that can be asked for its roots.
fn begin(host: &Memory, gateway: &Gateway<Memory>) -> String {
    let initialize = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"roots":{}}}}"#;
    let reply = host.run(gateway.serve(post(initialize, &[])));
    reply.headers()[names::SESSION_ID].to_str().expect("ASCII").to_owned()
}

async fn call(gateway: &Gateway<Memory>, session: &str, id: u32, message: &str) -> String {
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"a__echo","arguments":{{"m":"{message}"}}}}}}"#
    );
    let accept = "application/json, text/event-stream";
    text(Box::pin(gateway.serve(post(call, &[("mcp-session-id", session), ("accept", accept)]))).await).await
}

async fn end(gateway: &Gateway<Memory>, session: &str) {
    let mut request = post("", &[("mcp-session-id", session)]);
    *request.method_mut() = http::Method::DELETE;
    assert_eq!(gateway.serve(request).await.status(), 200);
}

fn count(host: &Memory, part: &str) -> usize {
    host.sent().iter().filter(|line| line.contains(part)).count()
}

#[test]
fn calls_of_one_session_shake_hands_once() {
    let host = server(Duration::from_millis(300));
    let gateway = gateway(&host, &["a"]);
    let session = begin(&host, &gateway);
    host.run(host.sleep(Duration::from_secs(1)));
    host.sent();
    let calls = (1..=8).map(|id| call(&gateway, &session, id, "x"));
    let answers = host.run(future::join_all(calls));
    assert!(answers.iter().all(|answer| answer.contains(r#""result":{"content":[]}"#)), "{answers:?}");
    assert_eq!(count(&host, "\"initialize\""), 1);
}

#[test]
fn a_handshake_that_outlasts_its_server_leaves_nothing_there() {
    let host = server(Duration::from_secs(2));
    let gateway = gateway(&host, &["a"]);
    let session = begin(&host, &gateway);
    host.run(host.sleep(Duration::from_secs(1)));
    let (calling, caller) = (gateway.clone(), session.clone());
    host.spawn(async move { drop(call(&calling, &caller, 1, "x").await) });
    host.run(host.sleep(Duration::from_millis(500)));
    gateway.reload(crate::config::Config::default());
    host.run(host.sleep(Duration::from_mins(1)));
    let sent = host.sent();
    let told = |part: &str| sent.iter().filter(|line| line.contains(part)).count();
    assert_eq!(
        (told("\"initialize\""), told("DELETE ")),
        (2, 2),
        "the shared and the session's own: {sent:#?}"
    );
    assert_eq!(told("tools/call"), 1, "{sent:#?}");
}

#[test]
fn ending_a_session_cancels_its_calls_and_no_others() {
    let host = server(Duration::ZERO);
    let gateway = gateway(&host, &["a"]);
    let sessions = [begin(&host, &gateway), begin(&host, &gateway)];
    for session in &sessions {
        let (calling, caller) = (gateway.clone(), session.clone());
        host.spawn(async move { drop(call(&calling, &caller, 1, "wait").await) });
    }
    host.run(host.sleep(Duration::from_millis(500)));
    host.sent();
    host.run(end(&gateway, &sessions[0]));
    host.run(host.sleep(Duration::from_millis(100)));
    let sent = host.sent();
    let told = |part: &str| sent.iter().filter(|line| line.contains(part)).count();
    assert_eq!((told("notifications/cancelled"), told("DELETE ")), (1, 1), "{sent:#?}");
}

#[test]
fn a_session_that_gives_way_to_another_ends_at_its_server() {
    let host = server(Duration::ZERO);
    let gateway = gateway(&host, &["a"]);
    let first = begin(&host, &gateway);
    host.run(call(&gateway, &first, 1, "x"));
    for _ in 1..256 {
        let session = begin(&host, &gateway);
        host.run(call(&gateway, &session, 1, "x"));
        host.run(host.sleep(Duration::from_millis(1)));
    }
    assert_eq!(count(&host, "DELETE "), 0);
    let last = begin(&host, &gateway);
    host.run(call(&gateway, &last, 1, "x"));
    host.run(host.sleep(Duration::from_millis(1)));
    assert_eq!(count(&host, "DELETE "), 1);
    let again = host.run(call(&gateway, &first, 2, "x"));
    assert!(again.contains(r#""result":{"content":[]}"#), "{again}");
    assert_eq!(count(&host, "\"initialize\""), 1, "the first has begun another");
}
