//! Results of which only a part is passed on, in whatever way they come.

use std::sync::Arc;

use super::*;
use crate::catalog::Scope;
use crate::config::Narrowing;
use crate::front::terms::Terms;
use crate::front::{Caller, Inbound};
use crate::identity::Owner;
use crate::observe::Record;
use crate::session::{Interaction, Session};
use crate::testing::open_stream;
use crate::upstream::compose::Ask;
use crate::wire::message::{self, Message};
use crate::wire::version::Version;

const CALL: &str = r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"echo","_meta":{"progressToken":"t"}}}"#;

fn session() -> Session {
    Session {
        nonce: 1,
        version: Version::V2025_11_25,
        interaction: Interaction::default(),
        owner: Owner::default(),
        client: None,
        endpoint: "/mcp".into(),
        expires: u64::MAX,
    }
}

/// Calls the tool of a server whose calls are answered so, and returns what the agent gets.
fn call(
    session: Option<Session>,
    narrowing: Narrowing,
    answer: impl Fn(&str) -> Answer + Send + 'static,
) -> String {
    let host = Memory::new(move |request| match method_and_id(request) {
        (method, id) if method == "tools/call" => answer(&id),
        _ => modern_server(request),
    });
    let gateway = gateway(&host, &["a"]);
    let server = gateway.snapshot().servers.values().next().expect("a server").clone();
    let json = Json::check(CALL.as_bytes()).expect("JSON");
    let Ok(Message::Request { id, method, params }) = message::parse(json) else { panic!("a request") };
    let inbound = Inbound::new(id, method, params);
    let caller = Caller {
        scope: Scope::All,
        who: crate::testing::anybody(),
        now: 0,
        session: session.map(Arc::new),
        via: http::HeaderValue::from_static("gateway"),
        streams: true,
        resumes: false,
        taken_up: None,
        terms: Terms::default(),
        record: Record::default(),
    };
    let narrowing = Some(Arc::new(narrowing));
    let meta = Some(r#"{"progressToken":"t"}"#.into());
    let ask = Ask { meta, narrowing, ..Ask::own("tools/call") }.with("name", "\"echo\"");
    host.run(async {
        let routed = Box::pin(gateway.routed(&server, ask, &inbound, &caller, (None, Vec::new()))).await;
        text(routed.expect("an answer")).await
    })
}

fn narrowing(select: Option<&str>, cut: Option<usize>) -> Narrowing {
    Narrowing { select: select.map(Into::into), cut }
}

/// Returns an answer whose text is that long, in chunks.
fn long(id: &str, length: usize) -> Answer {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"{}"}}],"resultType":"complete"}}}}"#,
        "x".repeat(length)
    );
    let mut answer = json_answer(200, "")?;
    *answer.body_mut() = text.as_bytes().chunks(50_000).map(Bytes::copy_from_slice).collect();
    Ok(answer)
}

#[test]
fn a_document_is_narrowed_however_large_it_is() {
    let cut = narrowing(None, Some(2));
    insta::assert_snapshot!(call(None, cut.clone(), |id| long(id, 300_000)), @r#"200 application/json {"jsonrpc":"2.0","id":"x","result":{"content":[{"type":"text","text":"xx\n[cut: 2 of 300000 characters]"}],"resultType":"complete"}}"#);
    insta::assert_snapshot!(call(Some(session()), cut, |id| long(id, 300_000)), @r#"200 application/json {"jsonrpc":"2.0","id":"x","result":{"content":[{"type":"text","text":"xx\n[cut: 2 of 300000 characters]"}]}}"#);
}

#[test]
fn what_is_too_large_to_be_held_is_not_passed_on() {
    let most = crate::config::Limits::default().message;
    let answer = call(None, narrowing(None, Some(2)), move |id| long(id, most));
    assert!(answer.contains("gateway.limits.message") && answer.len() < 1000, "{answer:.1000}");
}

#[test]
fn what_cannot_be_selected_is_an_error_of_the_tool() {
    let answer = |id: &str| {
        result(
            id,
            r#"{"content":[{"type":"text","text":"secret"}],"structuredContent":{"secret":1},"resultType":"complete"}"#,
        )
    };
    insta::assert_snapshot!(call(None, narrowing(Some("/open"), None), answer), @r#"200 application/json {"result":{"content":[{"type":"text","text":"The result has nothing at /open, which is all that this tool shows of it."}],"resultType":"complete","isError":true},"jsonrpc":"2.0","id":"x"}"#);
}

#[test]
fn an_error_is_no_result() {
    let answer = |id: &str| {
        json_answer(
            200,
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32602,"message":"a long text"}}}}"#),
        )
    };
    insta::assert_snapshot!(call(None, narrowing(Some("/x"), Some(1)), answer), @r#"200 application/json {"jsonrpc":"2.0","id":"x","error":{"code":-32602,"message":"a long text"}}"#);
}

#[test]
fn notifications_come_before_it_untouched() {
    for session in [None, Some(session())] {
        let answer = call(session, narrowing(Some("/a"), Some(3)), |id| {
            open_stream(&[
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1,"message":"a long text"}}"#,
                &format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"structuredContent":{{"a":"a long text"}},"resultType":"complete"}}}}"#
                ),
            ])
        });
        let data: Vec<_> = answer.lines().filter(|line| line.contains("data: {")).collect();
        assert!(data[0].contains(r#""message":"a long text""#), "{answer}");
        assert!(data[1].contains(r#""text":"a l\n[cut: 3 of 11 characters]""#), "{answer}");
        assert_eq!((data.len(), answer.matches("structuredContent").count()), (2, 0), "{answer}");
    }
}
