//! Cases 4 and 5, as far as they are about session ids: stolen, altered, and made-up ones.

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use serde_json::json;

use super::target::{Target, config, fixture};

/// What an id that was never one is answered with; every other wrong id must be answered the same.
fn unknown(url: &str) -> String {
    let (status, body) = answer_to(url, "never-a-session");
    assert_eq!(status, 404, "{body}");
    body
}

fn answer_to(url: &str, session: &str) -> (u16, String) {
    let message =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "up__echo" } });
    let request = Request::post(url).header("Accept", "application/json, text/event-stream");
    let request = request.header("MCP-Protocol-Version", LEGACY).header("Mcp-Session-Id", session);
    let response = request.json(&message).send();
    (response.status, response.text())
}

fn session_of(url: &str) -> String {
    Agent::legacy(url).session().expect("a session").to_owned()
}

/// A character of the same alphabet that is not this one.
fn altered(byte: u8) -> char {
    if byte == b'A' { 'B' } else { 'A' }
}

/// Every single altered character, also the last one, whose lowest bits carry nothing, is as good as no session.
#[test]
fn case_05_an_altered_session_id_opens_nothing() {
    let target = Target::start();
    let unknown = unknown(target.url());
    let session = session_of(target.url());
    for (index, byte) in session.bytes().enumerate() {
        let forged = format!("{}{}{}", &session[..index], altered(byte), &session[index + 1..]);
        assert_eq!(answer_to(target.url(), &forged), (404, unknown.clone()), "character {index} altered");
    }
    let alphabet = (b'a'..=b'z').chain(b'A'..=b'Z').chain(b'0'..=b'9').chain(*b"-_=+/");
    let (rest, last) = session.split_at(session.len() - 1);
    for byte in alphabet.filter(|byte| *byte != last.as_bytes()[0]) {
        let forged = format!("{rest}{}", char::from(byte));
        assert_eq!(
            answer_to(target.url(), &forged),
            (404, unknown.clone()),
            "the last one {}",
            char::from(byte)
        );
    }
    target.assert_untouched();
}

/// Cut off, lengthened, doubled, in other letters, and very long ids are all answered alike.
#[test]
fn case_05_a_cut_or_lengthened_session_id_opens_nothing() {
    let target = Target::start();
    let unknown = unknown(target.url());
    let session = session_of(target.url());
    let mut forged: Vec<String> = (0..session.len()).map(|length| session[..length].to_owned()).collect();
    forged.extend([
        session[1..].to_owned(),
        format!("{session}A"),
        format!("{session}="),
        format!("{session}=="),
        format!("{session}.{session}"),
        format!("{session},{session}"),
        format!("{session} {session}"),
        session.to_uppercase(),
        session.to_lowercase(),
        session.chars().rev().collect(),
        "=?base64?AAAA?=".to_owned(),
        "é".to_owned(),
        "A".repeat(100_000),
    ]);
    for forged in forged.iter().filter(|forged| **forged != session) {
        assert_eq!(answer_to(target.url(), forged), (404, unknown.clone()), "{forged:.100}");
    }
    target.assert_untouched();
}

/// A megabyte in one header is refused by its size (RFC 6585 §5) or as an unknown session, and hurts nobody.
#[test]
fn case_05_a_session_id_of_a_megabyte_is_refused() {
    let target = Target::start();
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let request = Request::post(target.url()).header("Mcp-Session-Id", "A".repeat(1 << 20)).json(&message);
    // Where the server hangs up before it has read all, the answer may be lost on the way.
    if let Some(response) = request.try_send() {
        assert!(matches!(response.status, 404 | 431), "{}", response.status);
    }
    target.assert_untouched();
}

/// Two session ids in one request are not one of them.
#[test]
fn case_05_two_session_ids_are_none() {
    let target = Target::start();
    let unknown = unknown(target.url());
    let session = session_of(target.url());
    let message =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "up__echo" } });
    let request = Request::post(target.url()).header("MCP-Protocol-Version", LEGACY);
    let request = request.header("Mcp-Session-Id", &session).header("Mcp-Session-Id", &session);
    let response = request.json(&message).send();
    assert_eq!((response.status, response.text()), (404, unknown));
    target.assert_untouched();
}

/// A session of another gateway, whose key is another, is none here.
#[test]
fn case_04_a_session_of_another_gateway_opens_nothing() {
    let target = Target::start();
    // Its own key: Workers under test are given one and the same unless told otherwise.
    let other = Gateway::with(&config(&json!({ "up": fixture() })))
        .env("PORTCULLIS_SEAL_KEY", "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=")
        .start();
    let stolen = session_of(other.url());
    assert_eq!(answer_to(target.url(), &stolen), (404, unknown(target.url())));
    target.assert_untouched();
}

/// A session of one endpoint is none of another, neither of a wider nor of a narrower one.
#[test]
fn case_04_a_session_is_bound_to_its_endpoint() {
    let target = Target::start();
    let (wide, narrow) = (target.url().to_owned(), target.gateway.url_of("/mcp/servers/up"));
    for (own, other) in [(&wide, &narrow), (&narrow, &wide)] {
        let session = session_of(own);
        assert_eq!(answer_to(other, &session), (404, unknown(other)), "{own} at {other}");
    }
    target.assert_untouched();
}

/// The other methods of a session know no more: they neither listen to a forged one nor end it.
#[test]
fn case_05_get_and_delete_open_no_forged_session() {
    let target = Target::start();
    let session = session_of(target.url());
    let forged = format!("{}{}", altered(session.as_bytes()[0]), &session[1..]);
    let narrow = target.gateway.url_of("/mcp/servers/up");
    let mut bodies = Vec::new();
    for (url, session) in [(target.url(), "never-a-session"), (target.url(), &forged), (&narrow, &session)] {
        for method in ["GET", "DELETE"] {
            let request = Request::new(method, url).header("Accept", "text/event-stream");
            let response = request.header("Mcp-Session-Id", session).send();
            assert_eq!(response.status, 404, "{method} {url}");
            bodies.push(response.text());
        }
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(answer_to(target.url(), &session).0, 200, "the session that was attacked goes on");
}

/// A session that was ended is as unknown as one that never was.
#[test]
fn case_04_an_ended_session_opens_nothing() {
    // Of a function, that environment knows it which was told.
    let target = Target::with(|gateway| gateway.of_function("most", json!(1)));
    let session = session_of(target.url());
    let ended = Request::new("DELETE", target.url()).header("Mcp-Session-Id", &session).send();
    assert_eq!(ended.status, 200);
    assert_eq!(answer_to(target.url(), &session), (404, unknown(target.url())));
    target.assert_untouched();
}
