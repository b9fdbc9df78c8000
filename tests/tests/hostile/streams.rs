//! Event streams that never end, or say what nobody asked for.

use std::io;
use std::thread;
use std::time::Duration;

use portcullis_tests::agent::Agent;
use portcullis_tests::hostile::{Done, Exchange, Hostile};
use portcullis_tests::scenario::text;
use serde_json::{Value, json};

use super::siege::Outcome::{Fails, Fine};
use super::siege::{Siege, besiege, reached};

#[test]
fn a_stream_that_brings_nothing_costs_its_callers_the_timeout() {
    besiege(&[
        ("comments", |e| for_ever(e, ": still here\n\n", 10), Fails("did not answer within")),
        ("blanks", |e| for_ever(e, "\n", 10), Fails("did not answer within")),
        ("junk", |e| for_ever(e, "data: junk\n\n", 10), Fails("")),
        ("unknown", |e| for_ever(e, &unknown(), 10), Fails("did not answer within")),
        (
            "opened",
            |e| e.open(200, "text/event-stream").and_then(|()| e.linger()).map(|()| Done::Answered),
            Fails("did not answer within"),
        ),
    ]);
}

#[test]
fn a_stream_at_full_speed_is_cut_off() {
    besiege(&[
        ("one-event", one_event, Fails("")),
        ("full-comments", |e| for_ever(e, &": x\n".repeat(10_000), 0), Fails("did not answer within")),
        ("full-unknown", |e| for_ever(e, &unknown().repeat(1000), 0), Fails("did not answer within")),
    ]);
}

/// A notification that is for no agent.
fn unknown() -> String {
    let token = json!({ "progressToken": "nobody's", "progress": 1 });
    format!("data: {}\n\n", json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": token }))
}

/// Writes the same piece again and again, with pauses of so many milliseconds.
fn for_ever(e: &mut Exchange, piece: &str, pause: u64) -> io::Result<Done> {
    e.open(200, "text/event-stream")?;
    loop {
        e.send(piece)?;
        if pause > 0 {
            thread::park_timeout(Duration::from_millis(pause));
        }
    }
}

fn one_event(e: &mut Exchange) -> io::Result<Done> {
    e.open(200, "text/event-stream")?;
    e.send("data: ")?;
    let piece = vec![b'x'; 64 << 10];
    loop {
        e.send(&piece)?;
    }
}

#[test]
fn what_nobody_asked_for_does_not_keep_the_answer_from_its_agent() {
    besiege(&[
        (
            "others-answers",
            |e| before(e, &[json!({ "id": 1, "result": {} }), json!({ "id": "x", "result": {} })]),
            Fails(""),
        ),
        ("twice", twice, Fine),
        (
            "sampling",
            |e| before(e, &[asks("sampling/createMessage"), asks("elicitation/create"), asks("roots/list")]),
            Fine,
        ),
        ("strange", |e| before(e, &[asks("gateway/shutdown"), asks("tools/call"), asks("ping")]), Fine),
        (
            "progress",
            |e| before(e, &[tells("notifications/progress", &json!({ "progressToken": 7, "progress": 1 }))]),
            Fine,
        ),
        (
            "cancels",
            |e| before(e, &[tells("notifications/cancelled", &json!({ "requestId": e.id() }))]),
            Fine,
        ),
    ]);
}

fn asks(method: &str) -> Value {
    json!({ "id": "q", "method": method, "params": {} })
}

fn tells(method: &str, params: &Value) -> Value {
    json!({ "method": method, "params": params })
}

/// Says all this before it answers.
fn before(e: &mut Exchange, messages: &[Value]) -> io::Result<Done> {
    e.open(200, "text/event-stream")?;
    for message in messages {
        let mut message = message.clone();
        message["jsonrpc"] = json!("2.0");
        e.event(&message)?;
    }
    answer(e)
}

fn answer(e: &mut Exchange) -> io::Result<Done> {
    e.event(&json!({ "jsonrpc": "2.0", "id": e.id(), "result": e.fine() }))?;
    Ok(Done::Answered)
}

fn twice(e: &mut Exchange) -> io::Result<Done> {
    e.open(200, "text/event-stream")?;
    answer(e)?;
    answer(e)
}

#[test]
fn a_hundred_thousand_notifications_do_not_keep_the_answer_from_its_agent() {
    let server = Hostile::modern(|e| if e.is_call() { burst(e) } else { Ok(Done::Behave) });
    let mut siege = Siege::begin(&[("burst".into(), reached(&server.url()))]);
    siege.await_tool("burst__x");
    let url = siege.gateway.url().to_owned();
    let call = move || text(&Agent::modern(&url).call("burst__x", &json!({}))).to_owned();
    assert_eq!(siege.endure(vec![call]), ["fine"]);
    siege.end();
}

fn burst(e: &mut Exchange) -> io::Result<Done> {
    e.open(200, "text/event-stream")?;
    for _ in 0..100 {
        e.send(unknown().repeat(1000))?;
    }
    answer(e)
}
