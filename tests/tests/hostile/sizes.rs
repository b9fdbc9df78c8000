//! Answers that are too much: large, deep, wordy.

use std::io;

use portcullis_tests::agent::Agent;
use portcullis_tests::hostile::{Done, Exchange, Hostile};
use serde_json::json;

use super::siege::Outcome::Fails;
use super::siege::{Siege, besiege_with, reached};

/// The text of a large result, in MiB.
const LARGE: usize = 100;

#[test]
fn a_hundred_megabytes_pass_through_without_being_held() {
    let server = Hostile::modern(|e| if e.is_call() { large(e) } else { Ok(Done::Behave) });
    let mut siege = Siege::begin(&[("large".into(), reached(&server.url()))]);
    siege.await_tool("large__x");
    let url = siege.gateway.url().to_owned();
    let read = move || {
        let agent = Agent::modern(&url);
        let response = agent.post("tools/call", json!({ "name": "large__x", "arguments": {} })).send();
        response.bytes().len()
    };
    let sizes = siege.endure(vec![read.clone(), read]);
    assert!(sizes.iter().all(|size| *size > LARGE << 20), "{sizes:?}");
    siege.end();
}

fn large(e: &mut Exchange) -> io::Result<Done> {
    e.open(200, "application/json")?;
    let id = e.id();
    e.send(format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":\""
    ))?;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..LARGE {
        e.send(&piece)?;
    }
    e.send("\"}]}}")?;
    Ok(Done::Answered)
}

#[test]
fn what_would_have_to_be_held_has_a_limit() {
    // What was held is freed, and the allocator keeps some of it for the next time.
    besiege_with(
        "{ limits: { message: 8MiB } }",
        100,
        &[
            ("blank", blank, Fails("")),
            ("large-event", large_event, Fails("")),
            ("late-kind", late_kind, Fails("")),
            ("large-page", large_page, Fails("")),
        ],
    );
}

/// Nothing but blanks, at full speed.
fn blank(e: &mut Exchange) -> io::Result<Done> {
    e.open(200, "application/json")?;
    let piece = vec![b' '; 64 << 10];
    loop {
        e.send(&piece)?;
    }
}

fn large_event(e: &mut Exchange) -> io::Result<Done> {
    e.open(200, "text/event-stream")?;
    e.send("data: {\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":\"")?;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..LARGE {
        e.send(&piece)?;
    }
    e.send("\"}\n\n")?;
    Ok(Done::Answered)
}

/// A message whose first 100 MB do not say what it is.
fn late_kind(e: &mut Exchange) -> io::Result<Done> {
    e.open(200, "application/json")?;
    e.send("{\"jsonrpc\":\"2.0\",\"extra\":\"")?;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..LARGE {
        e.send(&piece)?;
    }
    e.linger()?;
    Ok(Done::Answered)
}

/// An error page of 100 MB.
fn large_page(e: &mut Exchange) -> io::Result<Done> {
    e.open(500, "text/html")?;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..LARGE {
        e.send(&piece)?;
    }
    Ok(Done::Answered)
}

#[test]
fn deep_answers_are_passed_on_or_refused_and_harm_nobody() {
    let deep = |e: &mut Exchange| {
        let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let id = e.id();
        e.json(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":[],\"structuredContent\":{{\"a\":{nested}}}}}}}"))?;
        Ok(Done::Answered)
    };
    let server = Hostile::modern(move |e| if e.is_call() { deep(e) } else { Ok(Done::Behave) });
    let siege = Siege::begin(&[("deep".into(), reached(&server.url()))]);
    siege.await_tool("deep__x");
    for agent in [Agent::modern(siege.gateway.url()), Agent::legacy(siege.gateway.url())] {
        let answer = agent.post("tools/call", json!({ "name": "deep__x", "arguments": {} })).send().text();
        assert!(
            answer.contains("[[[[[[[[") || answer.contains("\\\"deep\\\""),
            "{}",
            &answer[..answer.len().min(300)]
        );
    }
    siege.end();
}

#[test]
fn a_wordy_error_is_the_servers_own_and_is_passed_on() {
    let wordy = |e: &mut Exchange| {
        let error = json!({ "code": 2_000_000_000_000_u64, "message": "no ".repeat(350_000) });
        let body = json!({ "jsonrpc": "2.0", "id": e.id(), "error": error }).to_string();
        e.json(body)?;
        Ok(Done::Answered)
    };
    let server = Hostile::modern(move |e| if e.is_call() { wordy(e) } else { Ok(Done::Behave) });
    let siege = Siege::begin(&[("wordy".into(), reached(&server.url()))]);
    siege.await_tool("wordy__x");
    let agent = Agent::modern(siege.gateway.url());
    for _ in 0..5 {
        let error = agent.error("tools/call", json!({ "name": "wordy__x", "arguments": {} }));
        assert_eq!(error["code"], 2_000_000_000_000_u64);
        assert!(error["message"].as_str().is_some_and(|message| message.starts_with("no no ")));
    }
    let longest = siege.gateway.log().lines().map(str::len).max();
    assert!(longest < Some(10_000), "a line of the log has {longest:?} bytes");
    siege.end();
}
