//! Answers that are whole and wrong: no JSON, no JSON-RPC, somebody else's.

use std::io;

use portcullis_tests::hostile::{Done, Exchange};
use serde_json::json;

use super::siege::Outcome::{Fails, Fine};
use super::siege::besiege;

const NO_MESSAGE: &str = "not a JSON-RPC message";

#[test]
fn what_is_no_json_is_an_error() {
    besiege(&[
        ("page", |e| page(e, "Content-Type: text/html\r\n"), Fails(NO_MESSAGE)),
        ("untyped-page", |e| page(e, ""), Fails(NO_MESSAGE)),
        ("lying-page", |e| page(e, "Content-Type: application/json\r\n"), Fails(NO_MESSAGE)),
        ("no-json", |e| raw(e, "{\"jsonrpc\":\"2.0\",id:1}"), Fails("")),
        ("half-json", |e| raw(e, "{\"jsonrpc\":\"2.0\",\"result\":{\"content\":["), Fails("breaks off")),
        ("nothing", |e| raw(e, ""), Fails("nothing")),
        ("not-utf-8", |e| raw(e, b"{\"jsonrpc\":\"2.0\",\"\xff\xfe\":1}"), Fails("")),
        ("gzip", gzip, Fails("")),
    ]);
}

fn raw(e: &mut Exchange, body: impl AsRef<[u8]>) -> io::Result<Done> {
    e.json(body)?;
    Ok(Done::Answered)
}

fn page(e: &mut Exchange, headers: &str) -> io::Result<Done> {
    e.respond(200, headers, "<html><body>Welcome!</body></html>")?;
    Ok(Done::Answered)
}

/// The beginning of a gzip stream, as though compressed answers had been asked for.
fn gzip(e: &mut Exchange) -> io::Result<Done> {
    let mut body = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    body.resize(4 << 20, 0);
    e.respond(200, "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", body)?;
    Ok(Done::Answered)
}

#[test]
fn what_is_no_answer_to_the_request_is_an_error() {
    besiege(&[
        ("null-error", |e| shaped(e, r#""id":ID,"error":null"#), Fails("no error object")),
        ("text-error", |e| shaped(e, r#""id":ID,"error":"no!""#), Fails("no error object")),
        ("neither", |e| shaped(e, r#""id":ID"#), Fails("")),
        ("no-id", |e| shaped(e, r#""result":{}"#), Fails("")),
        ("null-id", |e| shaped(e, r#""id":null,"result":{}"#), Fails("")),
        ("text-id", |e| shaped(e, r#""id":"ID","result":{}"#), Fails("")),
        ("other-id", |e| shaped(e, r#""id":9999999999,"result":{}"#), Fails("")),
        ("object-id", |e| shaped(e, r#""id":{"a":1},"result":{}"#), Fails("")),
        ("array", |e| raw(e, "[]"), Fails(NO_MESSAGE)),
        ("number", |e| raw(e, "42"), Fails(NO_MESSAGE)),
        ("notification", |e| shaped(e, r#""method":"notifications/progress","params":{}"#), Fails("")),
    ]);
}

/// Writes a message with these members; `ID` becomes the request's id.
fn shaped(e: &mut Exchange, members: &str) -> io::Result<Done> {
    let members = members.replace("ID", &e.id().to_string());
    raw(e, format!("{{\"jsonrpc\":\"2.0\",{members}}}"))
}

#[test]
fn unusual_answers_to_the_request_are_its_answers() {
    besiege(&[
        ("late-id", |e| late_id(e, ""), Fine),
        ("extra", |e| late_id(e, r#""extra":[1e300,{"x":null}],"#), Fine),
        ("spaced", spaced, Fine),
        ("typed", |e| typed(e, "Application/JSON; charset=utf-8"), Fine),
        ("untyped", |e| typed(e, "text/plain"), Fine),
    ]);
}

fn late_id(e: &mut Exchange, extra: &str) -> io::Result<Done> {
    let body = format!("{{\"result\":{},{extra}\"jsonrpc\":\"2.0\",\"id\":{}}}", e.fine(), e.id());
    raw(e, body)
}

fn spaced(e: &mut Exchange) -> io::Result<Done> {
    let blank = " \r\n\t".repeat(10_000);
    let body = format!(
        "{blank}{{{blank}\"jsonrpc\":\"2.0\",\"id\":{},{blank}\"result\":{}{blank}}}{blank}",
        e.id(),
        e.fine()
    );
    raw(e, body)
}

fn typed(e: &mut Exchange, kind: &str) -> io::Result<Done> {
    let body = json!({ "jsonrpc": "2.0", "id": e.id(), "result": e.fine() }).to_string();
    e.respond(200, &format!("Content-Type: {kind}\r\n"), body)?;
    Ok(Done::Answered)
}
