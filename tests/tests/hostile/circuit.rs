//! What a failing call may do to other calls: nothing while its server answers them, and what is repeated is only what
//! certainly did not arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Host;
use portcullis_tests::hostile::{Done, Exchange, Hostile};
use portcullis_tests::http::Request;
use portcullis_tests::scenario::text;
use portcullis_tests::wait;
use serde_json::{Value, json};

use super::siege::Outcome::{Fails, Fine};
use super::siege::{Siege, judge, reached, within};

/// How many failures in a row open a circuit.
const THRESHOLD: usize = 5;

fn readiness(siege: &Siege) -> Value {
    Request::get(&siege.gateway.url_of("/readyz")).send().json()
}

#[test]
fn a_server_whose_calls_fail_is_left_alone_and_tried_again() {
    let healed = Arc::new(AtomicBool::new(false));
    let heals = Arc::clone(&healed);
    let server = Hostile::legacy(move |e| {
        if !e.is_call() || heals.load(Ordering::Relaxed) {
            return Ok(Done::Behave);
        }
        e.respond(500, "", "")?;
        Ok(Done::Answered)
    });
    let mut siege = Siege::begin(&[("bad".into(), reached(&server.url()))]);
    siege.calls = 60;
    siege.await_tool("bad__x");
    // Each instance of a Worker has a circuit of its own, and the owner of a session is another one than the isolate.
    let other = if Host::chosen() == Host::Edge { Agent::modern } else { Agent::legacy };
    let agents = [Agent::modern(siege.gateway.url()), other(siege.gateway.url())];
    for _ in 0..THRESHOLD {
        judge(&agents[0], "bad", Fails("answered HTTP 500"));
    }
    judge(&agents[1], "bad", Fails("is not asked for now: 5 calls in a row failed"));
    let opened = &readiness(&siege)["servers"]["bad"]["circuit"];
    assert!(opened["reason"].as_str().is_some_and(|why| why.contains("HTTP 500")), "{opened}");
    assert!(opened["open_ms"].is_u64() && opened["retry_ms"].is_u64(), "{opened}");
    assert_eq!(readiness(&siege)["status"], "DEGRADED");
    for _ in 0..50 {
        judge(&agents[0], "bad", Fails("HTTP 500"));
    }
    let tried = server.count("tools/call");
    assert!(tried < 50, "{tried} calls arrived at a server that is to be left alone");
    healed.store(true, Ordering::Relaxed);
    let call = || agents[0].ask("tools/call", json!({ "name": "bad__x", "arguments": {} }));
    wait::expect("a call to try the server", || call().get("result").is_some());
    for agent in &agents {
        judge(agent, "bad", Fine);
    }
    assert!(readiness(&siege)["servers"]["bad"].get("circuit").is_none());
    siege.end();
}

#[test]
fn a_slow_tool_keeps_nobody_from_its_server() {
    let server = Hostile::legacy(|e| {
        if e.is_call() && e.message["params"]["arguments"]["slow"] == true {
            e.linger()?;
        }
        Ok(Done::Behave)
    });
    let mut siege = Siege::begin(&[("bad".into(), within("2s", &server.url()))]);
    siege.await_tool("bad__x");
    let sessions = server.count("initialize");
    let url: Arc<str> = siege.gateway.url().into();
    let over = Arc::new(AtomicUsize::new(0));
    let slow = (0..4).map(|_| {
        let (url, over) = (Arc::clone(&url), Arc::clone(&over));
        Box::new(move || {
            let agent = Agent::modern(&url);
            for _ in 0..4 {
                let params = json!({ "name": "bad__x", "arguments": { "slow": true } });
                let error = agent.error("tools/call", params)["message"].to_string();
                assert!(error.contains("did not answer within 2 s"), "{error}");
            }
            over.fetch_add(1, Ordering::Relaxed);
        }) as Box<dyn FnOnce() + Send>
    });
    let (fast_url, ended) = (Arc::clone(&url), Arc::clone(&over));
    let fast = Box::new(move || {
        let agent = Agent::legacy(&fast_url);
        while ended.load(Ordering::Relaxed) < 4 {
            judge(&agent, "bad", Fine);
        }
    }) as Box<dyn FnOnce() + Send>;
    siege.endure(slow.chain([fast]).collect());
    assert_eq!(server.count("initialize"), sessions, "the session that all share has been made anew");
    siege.end();
}

#[test]
fn a_call_that_may_have_arrived_is_not_repeated() {
    let dropping = |e: &mut Exchange| if e.is_call() { Ok(Done::Answered) } else { Ok(Done::Behave) };
    for server in [Hostile::modern(dropping), Hostile::legacy(dropping)] {
        let siege = Siege::begin(&[("bad".into(), reached(&server.url()))]);
        siege.await_tool("bad__x");
        judge(&Agent::modern(siege.gateway.url()), "bad", Fails("cannot be reached"));
        judge(&Agent::legacy(siege.gateway.url()), "bad", Fails("cannot be reached"));
        assert_eq!(server.count("tools/call"), 2);
        siege.end();
    }
}

#[test]
fn a_connection_that_the_server_has_closed_meanwhile_costs_nothing() {
    let closed = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&closed);
    let server = Hostile::modern(move |e| {
        if !e.is_call() {
            return Ok(Done::Behave);
        }
        // Not a word that the connection ends with this answer.
        let body = json!({ "jsonrpc": "2.0", "id": e.id(), "result": e.fine() }).to_string();
        let head = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
        e.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"))?;
        e.close()?;
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(Done::Answered)
    });
    let siege = Siege::begin(&[("bad".into(), reached(&server.url()))]);
    siege.await_tool("bad__x");
    let agent = Agent::modern(siege.gateway.url());
    for round in 1..=20 {
        judge(&agent, "bad", Fine);
        wait::expect("the connection's end", || closed.load(Ordering::Relaxed) == round);
    }
    assert_eq!(server.count("tools/call"), 20, "each call arrives once");
    siege.end();
}

/// A stateless server that wants the argument `a` in a header whose name its lists tell; that name changes.
fn mirroring(name: &Arc<AtomicUsize>, listed: impl Fn(usize) -> usize + Send + Sync + 'static) -> Hostile {
    let name = Arc::clone(name);
    Hostile::modern(move |e| {
        let current = name.load(Ordering::Relaxed);
        if e.method() == "tools/list" {
            let property = json!({ "type": "string", "x-mcp-header": format!("N{}", listed(current)) });
            let schema = json!({ "type": "object", "properties": { "a": property } });
            let tools = json!([{ "name": "x", "inputSchema": schema }]);
            let cached =
                json!({ "tools": tools, "resultType": "complete", "ttlMs": 600_000, "cacheScope": "public" });
            e.result(&cached)?;
            return Ok(Done::Answered);
        }
        if !e.is_call() || e.head.to_lowercase().contains(&format!("mcp-param-n{current}: ")) {
            return Ok(Done::Behave);
        }
        let error = json!({ "code": -32020, "message": "a header is missing" });
        let body = json!({ "jsonrpc": "2.0", "id": e.id(), "error": error }).to_string();
        e.respond(400, "Content-Type: application/json\r\n", body)?;
        Ok(Done::Answered)
    })
}

#[test]
fn headers_that_no_longer_fit_are_made_anew_once() {
    let name = Arc::new(AtomicUsize::new(1));
    let (server, stubborn) = (mirroring(&name, |current| current), mirroring(&name, |_| 7));
    let settings =
        [("bad", &server), ("stubborn", &stubborn)].map(|(n, s)| (n.to_owned(), reached(&s.url())));
    let siege = Siege::begin(&settings);
    siege.await_tool("bad__x");
    siege.await_tool("stubborn__x");
    let agent = Agent::legacy(siege.gateway.url());
    let call = |server: &str| {
        agent.ask("tools/call", json!({ "name": format!("{server}__x"), "arguments": { "a": "v" } }))
    };
    assert_eq!(text(&call("bad")["result"]), "fine");
    name.store(2, Ordering::Relaxed);
    assert_eq!(text(&call("bad")["result"]), "fine");
    assert_eq!(text(&call("bad")["result"]), "fine");
    assert_eq!(server.count("tools/call"), 4, "one of the three was put twice");
    assert_eq!(call("stubborn")["error"]["message"], "a header is missing");
    assert_eq!(stubborn.count("tools/call"), 1, "the same headers are not sent again");
    siege.end();
}
