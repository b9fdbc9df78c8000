//! Connections that are slow, silent, cut off or framed wrongly.

use std::io;
use std::thread;
use std::time::Duration;

use portcullis_tests::hostile::{Done, Exchange};

use super::siege::Outcome::{Fails, Fine};
use super::siege::besiege;

/// How a slow server spaces what it sends: well within the time that it has for an answer.
fn pause() {
    thread::park_timeout(Duration::from_millis(300));
}

#[test]
fn slow_and_silent_servers_cost_their_callers_the_timeout() {
    besiege(&[
        ("silent", |e| e.linger().map(|()| Done::Answered), Fails("did not answer within 1 s")),
        ("head-alone", head_alone, Fails("did not answer within 1 s")),
        ("drips-head", drips_head, Fails("did not answer within 1 s")),
        ("drips-body", drips_body, Fails("did not answer within 1 s")),
    ]);
}

fn head_alone(e: &mut Exchange) -> io::Result<Done> {
    e.open(200, "application/json")?;
    e.linger()?;
    Ok(Done::Answered)
}

fn drips_head(e: &mut Exchange) -> io::Result<Done> {
    e.send("HTTP/1.1 200 OK\r\nX: ")?;
    loop {
        pause();
        e.send("x")?;
    }
}

fn drips_body(e: &mut Exchange) -> io::Result<Done> {
    e.open(200, "application/json")?;
    loop {
        pause();
        e.send(" ")?;
    }
}

#[test]
fn connections_that_break_are_said_to_have_broken() {
    besiege(&[
        ("ends-at-once", |_| Ok(Done::Answered), Fails("cannot be reached")),
        ("resets-head", resets_head, Fails("cannot be reached")),
        ("ends-in-json", ends_in_json, Fails("broke off")),
        ("resets-in-json", resets_in_json, Fails("broke off")),
        ("ends-in-stream", ends_in_stream, Fails("ended its stream without an answer")),
        ("resets-in-stream", resets_in_stream, Fails("broke off")),
    ]);
}

fn resets_head(e: &mut Exchange) -> io::Result<Done> {
    e.send("HTTP/1.1 200 OK\r\nContent-")?;
    e.reset()?;
    Ok(Done::Answered)
}

fn ends_in_json(e: &mut Exchange) -> io::Result<Done> {
    e.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"jsonrpc\":")?;
    Ok(Done::Answered)
}

fn resets_in_json(e: &mut Exchange) -> io::Result<Done> {
    ends_in_json(e)?;
    pause();
    e.reset()?;
    Ok(Done::Answered)
}

fn ends_in_stream(e: &mut Exchange) -> io::Result<Done> {
    e.open(200, "text/event-stream")?;
    e.send(": hello\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":")?;
    Ok(Done::Answered)
}

fn resets_in_stream(e: &mut Exchange) -> io::Result<Done> {
    e.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n: hi\n\r\n")?;
    pause();
    e.reset()?;
    Ok(Done::Answered)
}

#[test]
fn wrong_framing_is_an_error_or_read_as_far_as_it_holds() {
    besiege(&[
        ("bad-chunk", bad_chunk, Fails("broke off")),
        (
            "bad-status",
            |e| e.send("HTTP/1.1 banana\r\n\r\n").map(|()| Done::Answered),
            Fails("cannot be reached"),
        ),
        ("no-http", |e| e.send("220 ready\r\n").map(|()| Done::Answered), Fails("cannot be reached")),
        ("two-lengths", two_lengths, Fails("cannot be reached")),
        ("short-length", short_length, Fails("breaks off")),
        ("more-than-length", more_than_length, Fine),
        ("huge-head", huge_head, Fails("cannot be reached")),
    ]);
}

fn bad_chunk(e: &mut Exchange) -> io::Result<Done> {
    e.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"jso\r\nzz\r\n")?;
    e.linger()?;
    Ok(Done::Answered)
}

fn two_lengths(e: &mut Exchange) -> io::Result<Done> {
    e.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}    ")?;
    Ok(Done::Answered)
}

fn framed(e: &mut Exchange, more: isize, tail: &str) -> io::Result<Done> {
    let body = serde_json::json!({ "jsonrpc": "2.0", "id": e.id(), "result": e.fine() }).to_string();
    let length = body.len().saturating_add_signed(more);
    e.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}{tail}"
    ))?;
    Ok(Done::Answered)
}

fn short_length(e: &mut Exchange) -> io::Result<Done> {
    framed(e, -5, "")
}

/// What follows looks like the answer to the next request on the same connection.
fn more_than_length(e: &mut Exchange) -> io::Result<Done> {
    let poison =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"poison\"}]}}";
    let tail = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{poison}",
        poison.len()
    );
    framed(e, 0, &tail)
}

fn huge_head(e: &mut Exchange) -> io::Result<Done> {
    e.send("HTTP/1.1 200 OK\r\nX: ")?;
    for _ in 0..1024 {
        e.send([b'x'; 1024])?;
    }
    e.send("\r\n\r\n")?;
    Ok(Done::Answered)
}
