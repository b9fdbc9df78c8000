//! Servers that refuse: sessions that they forget, statuses, redirects, another era than before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use portcullis_tests::agent::Agent;
use portcullis_tests::hostile::{Done, Exchange, Hostile};
use serde_json::json;

use super::siege::Outcome::{Fails, Fine};
use super::siege::{Siege, besiege, judge, reached};

fn status(e: &mut Exchange, status: u16, headers: &str) -> std::io::Result<Done> {
    e.respond(status, headers, "")?;
    Ok(Done::Answered)
}

#[test]
fn a_status_that_refuses_is_passed_on_in_words() {
    besiege(&[
        (
            "unauthorized",
            |e| status(e, 401, "WWW-Authenticate: Bearer\r\n"),
            Fails("asks for authorization (HTTP 401"),
        ),
        ("forbidden", |e| status(e, 403, ""), Fails("asks for authorization (HTTP 403")),
        ("busy", |e| status(e, 429, "Retry-After: 7\r\n"), Fails("it asks to wait 7 s")),
        ("down", |e| status(e, 503, "Retry-After: 9\r\n"), Fails("it asks to wait 9 s")),
        ("odd-pause", |e| status(e, 503, "Retry-After: Tue, 99 Foo\r\n"), Fails("answered HTTP 503")),
        ("gone", |e| status(e, 404, ""), Fails("no longer takes requests as agreed (HTTP 404")),
        ("teapot", |e| status(e, 418, ""), Fails("answered HTTP 418")),
        ("accepted", |e| status(e, 202, ""), Fails("answered HTTP 202")),
    ]);
}

#[test]
fn a_redirect_leads_nowhere_else() {
    besiege(&[
        (
            "elsewhere",
            |e| status(e, 307, "Location: http://127.0.0.1:9/mcp\r\n"),
            Fails("redirects elsewhere"),
        ),
        ("to-itself", |e| status(e, 307, "Location: /mcp\r\n"), Fails("redirects in circles")),
        ("in-circles", in_circles, Fails("redirects in circles")),
        ("nowhere", |e| status(e, 308, ""), Fails("redirects elsewhere")),
        ("by-script", |e| status(e, 308, "Location: javascript:alert(1)\r\n"), Fails("redirects elsewhere")),
    ]);
}

fn in_circles(e: &mut Exchange) -> std::io::Result<Done> {
    let next = if e.head.starts_with("POST /mcp") { "/a" } else { "/mcp" };
    status(e, 307, &format!("Location: {next}\r\n"))
}

#[test]
fn an_error_of_the_request_is_the_answer_whatever_the_status() {
    let failing = Hostile::legacy(|e| {
        if !e.is_call() {
            return Ok(Done::Behave);
        }
        let error = json!({ "code": -32603, "message": "the disk is full" });
        let body = json!({ "jsonrpc": "2.0", "id": e.id(), "error": error }).to_string();
        e.respond(500, "Content-Type: application/json\r\n", body)?;
        Ok(Done::Answered)
    });
    let siege = Siege::begin(&[("bad".into(), reached(&failing.url()))]);
    siege.await_tool("bad__x");
    let agent = Agent::modern(siege.gateway.url());
    for _ in 0..10 {
        assert_eq!(agent.error("tools/call", json!({ "name": "bad__x" }))["message"], "the disk is full");
    }
    assert_eq!(failing.count("tools/call"), 10, "such errors do not keep calls from their server");
    siege.end();
}

#[test]
fn a_session_that_is_forgotten_once_costs_nothing() {
    let forgotten = Arc::new(AtomicUsize::new(0));
    let server = Hostile::legacy(move |e| {
        // Every other call.
        if e.is_call() && forgotten.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return status(e, 404, "");
        }
        Ok(Done::Behave)
    });
    let siege = Siege::begin(&[("bad".into(), reached(&server.url()))]);
    siege.await_tool("bad__x");
    for agent in [Agent::modern(siege.gateway.url()), Agent::legacy(siege.gateway.url())] {
        for _ in 0..3 {
            judge(&agent, "bad", Fine);
        }
    }
    assert_eq!(server.count("tools/call"), 12, "each is refused once and put once more");
    siege.end();
}

#[test]
fn sessions_that_are_forgotten_for_ever_make_no_loop() {
    let server = Hostile::legacy(|e| if e.is_call() { status(e, 404, "") } else { Ok(Done::Behave) });
    let siege = Siege::begin(&[("bad".into(), reached(&server.url()))]);
    siege.await_tool("bad__x");
    let agent = Agent::modern(siege.gateway.url());
    for _ in 0..20 {
        judge(&agent, "bad", Fails("(HTTP 404"));
    }
    assert!(server.count("tools/call") <= 40, "{} calls arrived", server.count("tools/call"));
    assert!(server.count("initialize") <= 41, "{} sessions were made", server.count("initialize"));
    siege.end();
}

#[test]
fn a_server_may_change_its_era_between_requests() {
    let modern = Arc::new(AtomicBool::new(true));
    let era = Arc::clone(&modern);
    let decent = [Hostile::modern(|_| Ok(Done::Behave)), Hostile::legacy(|_| Ok(Done::Behave))];
    let urls = decent.each_ref().map(|server| server.url().trim_start_matches("http://").to_owned());
    let server = Hostile::modern(move |e| {
        let url = if era.load(Ordering::Relaxed) { &urls[0] } else { &urls[1] };
        e.hand_over(url.trim_end_matches("/mcp"))?;
        Ok(Done::Answered)
    });
    let siege = Siege::begin(&[("bad".into(), reached(&server.url()))]);
    siege.await_tool("bad__x");
    let agents = [Agent::modern(siege.gateway.url()), Agent::legacy(siege.gateway.url())];
    // A decent server of sessions does not know the call of a stateless client, and the other way round.
    for round in 0..6 {
        modern.store(round % 2 == 0, Ordering::Relaxed);
        for agent in &agents {
            judge(agent, "bad", Fine);
        }
    }
    siege.end();
}

#[test]
fn garbage_in_the_handshake_keeps_a_server_out() {
    let garbage = [
        "",
        "null",
        "[]",
        "<html>",
        r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":"all","capabilities":7}}"#,
    ];
    let servers: Vec<_> = garbage
        .into_iter()
        .map(|body| {
            Hostile::modern(move |e| {
                e.json(body)?;
                Ok(Done::Answered)
            })
        })
        .collect();
    let settings: Vec<_> =
        servers.iter().enumerate().map(|(n, server)| (format!("bad{n}"), reached(&server.url()))).collect();
    let siege = Siege::begin(&settings);
    for n in 0..garbage.len() {
        let reason = siege.await_reason(&format!("bad{n}"));
        assert!(reason.contains("initialize") || reason.contains("protocol version"), "{reason}");
    }
    assert!(Agent::modern(siege.gateway.url()).tools().iter().all(|tool| tool.starts_with("good__")));
    siege.end();
}
