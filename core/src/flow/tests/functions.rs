//! A gateway as a function: it holds nothing beyond a request, and its requests end when the platform says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use http::{Method, Response};

use super::*;
use crate::ports::{Clock as _, Undivided, Until};
use crate::testing::{Fleet, later, modern_with, open_stream, session_server, silence};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"elicitation":{}}}}"#;
const LISTEN: &str = r#""notifications":{"toolsListChanged":true}"#;
const CALL: &str = r#""name":"a__echo""#;
const ELICITATION: &str = r#"{"elicitation":{}}"#;
const PROGRESS: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}"#;

fn fleet(host: &Memory) -> Fleet {
    Fleet::new(host, |host| gateway(host, &["a"]))
}

/// Has a request end so many seconds from now.
fn until(host: &Memory, mut request: http::Request<Body>, seconds: u64) -> http::Request<Body> {
    request.extensions_mut().insert(Until(host.now() + 1000 * seconds));
    request
}

fn undivided(mut request: http::Request<Body>, most: usize) -> http::Request<Body> {
    request.extensions_mut().insert(Undivided(most));
    request
}

/// Answers calls with `call`.
fn calling(call: impl Fn(&str) -> Answer + Send + 'static) -> impl FnMut(&http::Request<Bytes>) -> Answer {
    move |request| match method_and_id(request) {
        (method, id) if method == "tools/call" => call(&id),
        _ => modern_server(request),
    }
}

/// A call that wants to hear of its progress.
fn call() -> http::Request<Body> {
    modern("1", "tools/call", CALL).map(|body| {
        let Body::Full(text) = body else { panic!("a whole message") };
        let text = String::from_utf8(text.into_bytes().into()).expect("UTF-8");
        Body::Full(text.replace(r#""_meta":{"#, r#""_meta":{"progressToken":"t","#).into())
    })
}

fn session_of(reply: &Reply) -> String {
    reply.headers()[names::SESSION_ID].to_str().expect("ASCII").to_owned()
}

#[test]
fn any_instance_answers_and_a_session_is_known_to_all() {
    let host = Memory::new(modern_server);
    let fleet = fleet(&host);
    let listed = ask(&host, &fleet.function(), modern("1", "tools/list", ""));
    assert!(listed.contains("a__echo"), "{listed}");
    assert_eq!(methods(&host), ["server/discover", "tools/list"]);
    let reply = host.run(fleet.function().serve(post(INITIALIZE, &[])));
    let session = session_of(&reply);
    for _ in 0..3 {
        let request = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a__echo"}}"#;
        let called = ask(&host, &fleet.function(), post(request, &[("mcp-session-id", &session)]));
        assert!(called.starts_with("200") && called.contains("\"content\":[]"), "{called}");
        assert_eq!(methods(&host), ["tools/call"], "servers are not read again");
    }
}

#[test]
fn a_server_that_asks_is_told_that_nobody_answers_and_sse_is_not_offered() {
    let host = Memory::new(|request: &http::Request<Bytes>| {
        session_server(request, |_, id| {
            let question = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?","requestedSchema":{"type":"object","properties":{}}}}"#;
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#);
            later(open_stream(&[question]), Duration::from_secs(2), &[&answer])
        })
    });
    let function = fleet(&host).function();
    let session = session_of(&host.run(function.serve(post(INITIALIZE, &[]))));
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a__ask"}}"#;
    let in_session = post(request, &[("mcp-session-id", &session)]);
    let stateless = modern_with("1", "tools/call", r#""name":"a__ask""#, ELICITATION);
    for request in [stateless, in_session] {
        let called = ask(&host, &function, request);
        assert!(called.contains("\"content\":[]"), "{called}");
        let told = host.sent().iter().any(|sent| sent.contains(r#""id":"q""#) && sent.contains("error"));
        assert!(told, "the server is told that nobody answers");
    }
    let mut sse = post("", &[("accept", "text/event-stream")]);
    (*sse.method_mut(), *sse.uri_mut()) = (Method::GET, http::Uri::from_static("/sse"));
    assert_eq!(host.run(function.serve(sse)).status(), 404);
}

#[test]
fn a_server_that_asks_in_the_middle_of_a_stream_ends_it_with_an_error() {
    let asks = r#"{"jsonrpc":"2.0","id":ID,"result":{"resultType":"input_required","inputRequests":{"q":{"method":"roots/list"}}}}"#;
    let host = Memory::new(calling(move |id| {
        later(open_stream(&[PROGRESS]), Duration::from_secs(1), &[&asks.replace("ID", id)])
    }));
    let function = fleet(&host).function();
    let session = session_of(&host.run(function.serve(post(INITIALIZE, &[]))));
    let request = r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"a__echo","_meta":{"progressToken":"t"}}}"#;
    let called = ask(&host, &function, post(request, &[("mcp-session-id", &session)]));
    assert!(called.starts_with("200 text/event-stream"), "{called}");
    assert!(called.contains(r#""id":5,"error""#) && called.contains("asks for roots/list"), "{called}");
}

#[test]
fn a_state_is_used_once_whichever_instance_is_asked() {
    let host = Memory::new(calling(|id| {
        result(id, r#"{"resultType":"input_required","inputRequests":{},"requestState":"own"}"#)
    }));
    let fleet = fleet(&host);
    let asked = ask(&host, &fleet.function(), modern_with("1", "tools/call", CALL, ELICITATION));
    let state = asked.split_once(r#""requestState":""#).and_then(|(_, rest)| rest.split_once('"'));
    let retry = format!(r#"{CALL},"requestState":"{}""#, state.expect("a state").0);
    let retry = || modern_with("2", "tools/call", &retry, ELICITATION);
    host.sent();
    let went_on = ask(&host, &fleet.function(), retry());
    assert!(went_on.contains("input_required"), "{went_on}");
    assert_eq!(methods(&host), ["tools/call"]);
    let again = ask(&host, &fleet.function(), retry());
    assert!(again.contains("-32602") && again.contains("requestState"), "{again}");
    fleet.lose_catalog();
    let unknown = ask(&host, &fleet.function(), retry());
    assert!(unknown.starts_with("503") && unknown.contains("try again in a moment"), "{unknown}");
    assert_eq!(methods(&host), [""; 0]);
}

#[test]
fn a_state_with_which_nothing_was_sent_can_be_used_again() {
    let host = Memory::new(move |request| match method_and_id(request) {
        (method, id) if method == "tools/call" => {
            result(&id, r#"{"resultType":"input_required","inputRequests":{},"requestState":"own"}"#)
        }
        _ => modern_server(request),
    });
    let fleet = Fleet::new(&host, |host| {
        let mut config = crate::config::Config::default();
        config.gateway.limits.server_requests = 1;
        crate::testing::gateway_with(host, &["a"], config)
    });
    let function = fleet.function();
    let asked = ask(&host, &function, modern_with("1", "tools/call", CALL, ELICITATION));
    let state = asked.split_once(r#""requestState":""#).and_then(|(_, rest)| rest.split_once('"'));
    let retry = format!(r#"{CALL},"requestState":"{}""#, state.expect("a state").0);
    let retry = || modern_with("2", "tools/call", &retry, ELICITATION);
    let server = function.snapshot().servers.values().next().expect("a server").clone();
    let turn = host.run(function.turn_at(&server)).expect("a turn");
    let busy = ask(&host, &function, retry());
    assert!(busy.starts_with("503"), "{busy}");
    drop(turn);
    host.run(host.sleep(Duration::from_millis(1)));
    let went_on = ask(&host, &fleet.function(), retry());
    assert!(went_on.contains("input_required"), "{went_on}");
}

#[test]
fn a_listener_hears_of_changes_until_the_platform_ends_its_request() {
    let mut more = false;
    let host = Memory::new(move |request| match method_and_id(request) {
        (method, id) if method == "server/discover" => result(
            &id,
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}}}"#,
        ),
        (method, _) if method == "subscriptions/listen" => {
            more = true;
            let acknowledged = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true}}}"#;
            let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
            later(open_stream(&[acknowledged]), Duration::from_secs(2), &[changed])
        }
        (method, id) if method == "tools/list" && more => {
            result(&id, &TOOLS.replace("[{", r#"[{"name":"more","inputSchema":{"type":"object"}},{"#))
        }
        _ => modern_server(request),
    });
    let function = fleet(&host).function();
    let began = host.now();
    let listen = until(&host, modern("1", "subscriptions/listen", LISTEN), 60);
    let heard = ask(&host, &function, listen);
    assert!(heard.contains("notifications/tools/list_changed"), "{heard}");
    let last = heard.trim_end().rsplit("data: ").next().unwrap_or_default();
    insta::assert_snapshot!(last, @r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#);
    assert_eq!(host.now() - began, 59_000);
    let session = session_of(&host.run(function.serve(post(INITIALIZE, &[]))));
    let mut stream = post("", &[("mcp-session-id", &session), ("accept", "text/event-stream")]);
    *stream.method_mut() = Method::GET;
    let began = host.now();
    let heard = ask(&host, &function, until(&host, stream, 60));
    assert!(heard.starts_with("200 text/event-stream") && !heard.contains("error"), "{heard}");
    assert_eq!(host.now() - began, 59_000);
    // Nobody listens any more: nothing is left that would go on.
    host.run(host.sleep(Duration::from_mins(2)));
    assert!(!function.is_heard());
}

#[test]
fn what_one_instance_heard_of_all_answer_with() {
    let host = Memory::new({
        let mut more = false;
        move |request: &http::Request<Bytes>| match method_and_id(request) {
            (method, id) if method == "server/discover" => result(
                &id,
                r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}}}"#,
            ),
            (method, _) if method == "subscriptions/listen" => {
                more = true;
                let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
                later(open_stream(&[]), Duration::from_secs(2), &[changed])
            }
            (method, id) if method == "tools/list" && more => {
                result(&id, &TOOLS.replace("[{", r#"[{"name":"more","inputSchema":{"type":"object"}},{"#))
            }
            _ => modern_server(request),
        }
    });
    let fleet = fleet(&host);
    let [listener, first, second] = [fleet.function(), fleet.function(), fleet.function()];
    for function in [&first, &second] {
        let listed = ask(&host, function, modern("1", "tools/list", ""));
        assert!(!listed.contains("a__more"), "{listed}");
    }
    let heard = ask(&host, &listener, until(&host, modern("1", "subscriptions/listen", LISTEN), 30));
    assert!(heard.contains("notifications/tools/list_changed"), "{heard}");
    host.sent();
    let listed = ask(&host, &first, modern("1", "tools/list", ""));
    assert!(listed.contains("a__more"), "{listed}");
    let called = ask(&host, &second, modern("1", "tools/call", r#""name":"a__more""#));
    assert!(called.starts_with("200"), "{called}");
    assert_eq!(methods(&host), ["tools/call"], "servers are not read again");
}

#[test]
fn what_is_not_answered_in_time_is_answered_with_an_error() {
    let host = Memory::new(calling(|_| silence()));
    let function = fleet(&host).function();
    let answer = ask(&host, &function, until(&host, call(), 4));
    insta::assert_snapshot!(answer, @r#"504 application/json {"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"the answer was not there before the gateway's platform ends the request"}}"#);
    let session = session_of(&host.run(function.serve(post(INITIALIZE, &[]))));
    let request = r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"a__echo"}}"#;
    let answer = ask(&host, &function, until(&host, post(request, &[("mcp-session-id", &session)]), 4));
    assert!(answer.starts_with("200") && answer.contains(r#""id":5,"error""#), "{answer}");
}

#[test]
fn a_stream_that_is_not_answered_in_time_ends_with_an_error() {
    let host = Memory::new(calling(|_| open_stream(&[PROGRESS])));
    let function = fleet(&host).function();
    let answer = ask(&host, &function, until(&host, call(), 4));
    assert!(answer.starts_with("200 text/event-stream") && answer.contains("progress"), "{answer}");
    let last = answer.trim_end().rsplit("data: ").next().unwrap_or_default();
    insta::assert_snapshot!(last, @r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"the answer was not there before the gateway's platform ends the request"}}"#);
}

#[test]
fn a_document_that_is_cut_breaks_off() {
    let host = Memory::new(calling(|id| {
        let begun = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"{}"#,
            "x".repeat(100_000)
        );
        let mut answer = Response::new(vec![Bytes::from(begun)]);
        answer.headers_mut().insert(header::CONTENT_TYPE, names::JSON);
        answer.extensions_mut().insert(crate::testing::Open);
        Ok(answer)
    }));
    let function = fleet(&host).function();
    let reply = host.run(function.serve(until(&host, call(), 4)));
    let Body::Stream(chunks) = reply.into_body() else { panic!("a stream") };
    let chunks: Vec<_> = host.run(chunks.collect());
    assert!(chunks.first().is_some_and(Result::is_ok) && chunks.last().is_some_and(Result::is_err));
}

#[test]
fn a_failure_of_the_gateway_is_answered_as_one() {
    let host = Memory::new(calling(|_| panic!("on purpose")));
    let function = fleet(&host).function();
    ask(&host, &function, modern("1", "tools/list", ""));
    let answer = ask(&host, &function, until(&host, call(), 4));
    insta::assert_snapshot!(answer, @r#"500 application/json {"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"the gateway failed while it answered; its log says more"}}"#);
}

#[test]
fn where_nothing_streams_there_is_one_document_and_no_listening() {
    let host = Memory::new(calling(|id| {
        let answer =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"resultType":"complete"}}}}"#);
        open_stream(&[PROGRESS, &answer])
    }));
    let function = fleet(&host).function();
    let answer = ask(&host, &function, undivided(call(), 1000));
    insta::assert_snapshot!(answer, @r#"200 application/json {"jsonrpc":"2.0","id":1,"result":{"content":[],"resultType":"complete"}}"#);
    let large = ask(&host, &function, undivided(call(), 10));
    assert!(large.contains("larger than the 10 bytes"), "{large}");
    let listened = ask(&host, &function, undivided(modern("1", "subscriptions/listen", LISTEN), 1000));
    assert!(listened.starts_with("404") && listened.contains("-32601"), "{listened}");
    let session = session_of(&host.run(function.serve(post(INITIALIZE, &[]))));
    let mut stream = post("", &[("mcp-session-id", &session), ("accept", "text/event-stream")]);
    *stream.method_mut() = Method::GET;
    assert_eq!(host.run(function.serve(undivided(stream, 1000))).status(), 405);
}

#[test]
fn only_what_can_be_told_is_declared() {
    let host = Memory::new(|request: &http::Request<Bytes>| match method_and_id(request) {
        (method, id) if method == "server/discover" => result(
            &id,
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"resources":{"subscribe":true}}}"#,
        ),
        (method, id) if method.ends_with("/list") => {
            result(&id, r#"{"tools":[],"resources":[],"resourceTemplates":[],"resultType":"complete"}"#)
        }
        _ => modern_server(request),
    });
    let function = fleet(&host).function();
    let declared = |request: http::Request<Body>| {
        let answer = ask(&host, &function, request);
        let json = answer.split_once('{').map(|(_, rest)| format!("{{{rest}")).unwrap_or_default();
        let json = Json::check(json.as_bytes()).expect("an answer");
        json.get("result").and_then(|result| result.get("capabilities")).expect(&answer).text().to_owned()
    };
    let discover = || modern("1", "server/discover", "");
    insta::assert_snapshot!(declared(discover()), @r#"{"tools":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true}}"#);
    insta::assert_snapshot!(declared(post(INITIALIZE, &[])), @r#"{"tools":{"listChanged":true},"resources":{"listChanged":true}}"#);
    insta::assert_snapshot!(declared(undivided(discover(), 1000)), @r#"{"tools":{},"resources":{}}"#);
    insta::assert_snapshot!(declared(undivided(post(INITIALIZE, &[]), 1000)), @r#"{"tools":{},"resources":{}}"#);
}

#[test]
fn a_reading_that_is_given_up_leaves_no_change_untold() {
    let is_silent = Arc::new(AtomicBool::new(false));
    let silenced = is_silent.clone();
    let host =
        Memory::new(
            move |request| {
                if is_silent.load(Ordering::Relaxed) { silence() } else { modern_server(request) }
            },
        );
    let fleet = fleet(&host);
    let function = fleet.function();
    ask(&host, &function, modern("1", "tools/list", ""));
    let reply = host.run(function.serve(modern("1", "subscriptions/listen", LISTEN)));
    let Body::Stream(mut chunks) = reply.into_body() else { panic!("a stream") };
    // Lists have grown old, and the server does not answer.
    host.run(host.sleep(Duration::from_secs(90)));
    silenced.store(true, Ordering::Relaxed);
    let mut reading = Box::pin(function.learn_anew());
    host.run(async { assert!(futures::poll!(&mut reading).is_pending()) });
    function.reload(crate::config::Config::default());
    let heard = host.run(async {
        let mut heard = String::new();
        host.sleep(Duration::from_millis(1)).await;
        drop(reading);
        host.sleep(Duration::from_secs(3)).await;
        while let Some(Some(Ok(chunk))) = chunks.next().now_or_never() {
            heard.push_str(&String::from_utf8_lossy(&chunk));
        }
        heard
    });
    assert!(heard.contains("notifications/tools/list_changed"), "{heard}");
}
