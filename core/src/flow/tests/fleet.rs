//! Many instances of one gateway: what is answered where, and what is lost when one goes.

use futures::StreamExt;
use http::Method;

use super::*;
use crate::body::Body;
use crate::flow::{Rest, Wanted};
use crate::identity::Proof;
use crate::ports::Clock as _;
use crate::session::Purpose;
use crate::testing::{Fleet, modern_with, open_stream, session_server};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{}}}"#;
const CALL: &str = r#""name":"a__echo""#;
const TELLS_OF_CHANGES: &str =
    r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}}}"#;
const ACKNOWLEDGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true}}}"#;
const ELICITATION: &str = r#"{"elicitation":{}}"#;

fn fleet(host: &Memory) -> Fleet {
    Fleet::new(host, |host| gateway(host, &["a"]))
}

/// A session-based server whose tool asks its caller something, and goes on once that is answered.
fn asking_server(request: &http::Request<Bytes>) -> Answer {
    session_server(request, |_, id| {
        let question = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?","requestedSchema":{"type":"object","properties":{}}}}"#;
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#);
        crate::testing::later(open_stream(&[question]), std::time::Duration::from_secs(2), &[&answer])
    })
}

/// Returns the state that a question is answered with.
fn state_of(answer: &str) -> String {
    let json = answer.split_once('{').map(|(_, rest)| format!("{{{rest}")).unwrap_or_default();
    let json = Json::check(json.as_bytes()).expect("an answer");
    let state = json.get("result").and_then(|result| result.get("requestState")?.as_str());
    state.expect(answer).into_owned()
}

fn questions_of(answer: &str) -> Vec<String> {
    let json = answer.split_once('{').map(|(_, rest)| format!("{{{rest}")).unwrap_or_default();
    let json = Json::check(json.as_bytes()).expect("an answer");
    let asked = json.get("result").and_then(|result| result.get("inputRequests")).expect(answer);
    asked.members().map(|(key, _)| key.into_owned()).collect()
}

fn retry(answer: &str) -> http::Request<Body> {
    let responses: Vec<_> = questions_of(answer)
        .iter()
        .map(|key| format!(r#""{key}":{{"action":"accept","content":{{}}}}"#))
        .collect();
    let params = format!(
        r#""name":"a__ask","inputResponses":{{{}}},"requestState":"{}""#,
        responses.join(","),
        state_of(answer)
    );
    modern_with("2", "tools/call", &params, ELICITATION)
}

#[test]
fn servers_are_asked_once_for_all_instances_and_a_call_is_one_request() {
    let host = Memory::new(modern_server);
    let fleet = fleet(&host);
    let listed = ask(&host, &fleet.isolate(), modern("1", "tools/list", ""));
    assert!(listed.contains("a__echo"), "{listed}");
    assert_eq!(methods(&host), ["server/discover", "tools/list"]);
    for _ in 0..3 {
        let isolate = fleet.isolate();
        assert_eq!(ask(&host, &isolate, modern("1", "tools/list", "")), listed);
        assert_eq!(methods(&host), [""; 0]);
        let called = ask(&host, &isolate, modern("1", "tools/call", CALL));
        assert!(called.starts_with("200") && called.contains("123456789012345678901234567890"), "{called}");
        assert_eq!(methods(&host), ["tools/call"]);
    }
    assert_eq!(fleet.put_away(), [""; 0], "nothing of this needs an owner");
}

#[test]
fn instances_share_the_session_with_a_server() {
    let host = Memory::new(legacy_server(0));
    let fleet = fleet(&host);
    ask(&host, &fleet.isolate(), modern("1", "tools/list", ""));
    let handshake = ["server/discover", "initialize", "notifications/initialized"];
    assert_eq!(methods(&host), [&handshake[..], &["tools/list"]].concat());
    let isolate = fleet.isolate();
    let called = ask(&host, &isolate, modern("1", "tools/call", CALL));
    assert!(called.starts_with("200"), "{called}");
    assert_eq!(methods(&host), ["tools/call"]);
    // The server has forgotten the session by now.
    let called = ask(&host, &isolate, modern("1", "tools/call", CALL));
    assert!(called.starts_with("200") && called.contains("complete"), "{called}");
    assert_eq!(methods(&host), [&["tools/call"], &handshake[..], &["tools/call"]].concat());
}

#[test]
fn a_session_that_others_use_is_not_ended() {
    let ended_by = |chosen: fn(&Fleet) -> Gateway<Memory>| {
        let host = Memory::new(legacy_server(0));
        let fleet = fleet(&host);
        let first = fleet.isolate();
        ask(&host, &first, modern("1", "tools/list", ""));
        let gateway = chosen(&fleet);
        ask(&host, &gateway, modern("1", "tools/call", CALL));
        host.sent();
        gateway.reload(crate::config::Config::default());
        host.run(host.sleep(std::time::Duration::from_mins(5)));
        host.sent().iter().filter(|sent| sent.starts_with("DELETE")).count()
    };
    assert_eq!(ended_by(Fleet::isolate), 0, "it has the session of the one that reads servers");
    let alone = |fleet: &Fleet| {
        fleet.lose_catalog();
        fleet.isolate()
    };
    assert_eq!(ended_by(alone), 1, "it has made one");
}

#[test]
fn what_is_old_is_answered_as_it_is_and_read_again_afterwards() {
    let host = Memory::new(modern_server);
    let fleet = fleet(&host);
    let isolate = fleet.isolate();
    ask(&host, &isolate, modern("1", "tools/list", ""));
    methods(&host);
    host.run(crate::ports::Clock::sleep(&host, std::time::Duration::from_secs(90)));
    ask(&host, &isolate, modern("1", "tools/list", ""));
    host.run(crate::ports::Clock::sleep(&host, std::time::Duration::from_secs(5)));
    assert_eq!(methods(&host), ["tools/list"]);
    ask(&host, &isolate, modern("1", "tools/list", ""));
    assert_eq!(methods(&host), [""; 0]);
}

#[test]
fn an_instance_that_reaches_no_store_asks_servers_itself() {
    let host = Memory::new(modern_server);
    let fleet = fleet(&host);
    fleet.lose_catalog();
    let listed = ask(&host, &fleet.isolate(), modern("1", "tools/list", ""));
    assert!(listed.contains("a__echo"), "{listed}");
    assert_eq!(methods(&host), ["server/discover", "tools/list"]);
}

#[test]
fn a_server_that_is_down_is_told_as_such_and_found_again() {
    let mut requests = 0;
    let host = Memory::new(move |request| {
        requests += 1;
        if requests <= 1 { json_answer(503, "busy") } else { modern_server(request) }
    });
    let fleet = fleet(&host);
    let isolate = fleet.isolate();
    let listed = ask(&host, &isolate, modern("1", "tools/list", ""));
    assert!(!listed.contains("a__echo"), "{listed}");
    for _ in 0..3 {
        host.run(crate::ports::Clock::sleep(&host, std::time::Duration::from_secs(5)));
        ask(&host, &isolate, modern("1", "tools/list", ""));
    }
    let listed = ask(&host, &isolate, modern("1", "tools/list", ""));
    assert!(listed.contains("a__echo"), "{listed}");
}

#[test]
fn a_session_is_its_owners_whichever_instance_is_asked() {
    let host = Memory::new(modern_server);
    let fleet = fleet(&host);
    let reply = host.run(fleet.isolate().serve(post(INITIALIZE, &[])));
    let session = reply.headers()[names::SESSION_ID].to_str().expect("ASCII").to_owned();
    assert_eq!(fleet.put_away(), [""; 0], "a session begins anywhere");
    let with = |method: Method, message: &str| {
        let headers =
            [("mcp-session-id", session.as_str()), ("accept", "application/json, text/event-stream")];
        let mut request = post(message.to_owned(), &headers);
        *request.method_mut() = method;
        request
    };
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    for _ in 0..2 {
        let listed = ask(&host, &fleet.isolate(), with(Method::POST, list));
        assert!(listed.starts_with("200") && listed.contains("a__echo"), "{listed}");
    }
    let stream = host.run(fleet.isolate().serve(with(Method::GET, "")));
    assert_eq!(stream.status(), 200);
    drop(stream);
    assert_eq!(host.run(fleet.isolate().serve(with(Method::DELETE, ""))).status(), 200);
    let ended = ask(&host, &fleet.isolate(), with(Method::POST, list));
    assert!(ended.starts_with("404"), "{ended}");
    let owners = fleet.put_away();
    assert!(matches!(&owners[..], [owner] if owner.starts_with("anonymous/")), "{owners:?}");
}

#[test]
fn what_an_owner_must_know_outlives_it() {
    let host = Memory::new(modern_server);
    let fleet = fleet(&host);
    let reply = host.run(fleet.isolate().serve(post(INITIALIZE, &[])));
    let session = reply.headers()[names::SESSION_ID].to_str().expect("ASCII").to_owned();
    let mut end = post("", &[("mcp-session-id", &session)]);
    *end.method_mut() = Method::DELETE;
    assert_eq!(host.run(fleet.isolate().serve(end)).status(), 200);
    fleet.put_away();
    let list = post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, &[("mcp-session-id", &session)]);
    let ended = ask(&host, &fleet.isolate(), list);
    assert!(ended.starts_with("404"), "{ended}");
}

#[test]
fn a_call_that_may_be_interrupted_waits_with_its_owner_and_goes_on_once() {
    let host = Memory::new(asking_server);
    let fleet = fleet(&host);
    let call = || modern_with("1", "tools/call", r#""name":"a__ask""#, ELICITATION);
    let asked = ask(&host, &fleet.isolate(), call());
    assert!(asked.contains("input_required"), "{asked}");
    let done = ask(&host, &fleet.isolate(), retry(&asked));
    assert!(done.starts_with("200") && done.contains("\"content\":[]"), "{done}");
    let again = ask(&host, &fleet.isolate(), retry(&asked));
    assert!(again.contains("error"), "{again}");
    let asked = ask(&host, &fleet.isolate(), call());
    assert_eq!(fleet.put_away(), ["anonymous"]);
    let lost = ask(&host, &fleet.isolate(), retry(&asked));
    assert!(lost.contains("error") && lost.contains("requestState"), "{lost}");
}

#[test]
fn what_needs_an_owner_is_not_offered_where_there_is_none() {
    let host = Memory::new(asking_server);
    let alone = fleet(&host).alone();
    let called = ask(&host, &alone, modern_with("1", "tools/call", r#""name":"a__ask""#, ELICITATION));
    assert!(called.contains("\"content\":[]"), "the server is refused its question, and answers: {called}");
    let told = host.sent().iter().any(|sent| sent.contains(r#""id":"q""#) && sent.contains("error"));
    assert!(told, "the server is told that nobody answers");
    let listening = r#""notifications":{"toolsListChanged":true}"#;
    let listened = ask(&host, &alone, modern("2", "subscriptions/listen", listening));
    assert!(listened.contains("-32601"), "{listened}");
    let reply = host.run(alone.serve(post(INITIALIZE, &[])));
    let session = reply.headers()[names::SESSION_ID].to_str().expect("ASCII").to_owned();
    let mut stream = post("", &[("mcp-session-id", &session), ("accept", "text/event-stream")]);
    *stream.method_mut() = Method::GET;
    assert_eq!(host.run(alone.serve(stream)).status(), 405);
    let mut sse = post("", &[("accept", "text/event-stream")]);
    (*sse.method_mut(), *sse.uri_mut()) = (Method::GET, http::Uri::from_static("/sse"));
    assert_eq!(host.run(alone.serve(sse)).status(), 404);
}

/// A server whose list has another tool, and says so, two seconds after it is listened to.
pub(super) fn changing_server() -> impl FnMut(&http::Request<Bytes>) -> Answer {
    let mut more = false;
    move |request| {
        let (method, id) = method_and_id(request);
        match method.as_str() {
            "server/discover" => result(&id, TELLS_OF_CHANGES),
            "subscriptions/listen" => {
                more = true;
                let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
                crate::testing::later(
                    open_stream(&[ACKNOWLEDGED]),
                    std::time::Duration::from_secs(2),
                    &[changed],
                )
            }
            "tools/list" if more => {
                let tools = TOOLS.replace("[{", r#"[{"name":"more","inputSchema":{"type":"object"}},{"#);
                result(&id, &tools)
            }
            _ => modern_server(request),
        }
    }
}

/// Listens for changes, as whoever `by` makes of it, and returns what is heard until there is one.
pub(super) fn hear_of_change(
    host: &Memory,
    isolate: &Gateway<Memory>,
    by: fn(http::Request<Body>) -> http::Request<Body>,
) -> String {
    let listen = modern("1", "subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#);
    let reply = host.run(isolate.serve(by(listen)));
    let Body::Stream(mut chunks) = reply.into_body() else { panic!("a stream") };
    host.run(async {
        let mut heard = String::new();
        while !heard.contains("notifications/tools/list_changed") {
            let chunk = chunks.next().await.expect("more").expect("no error");
            heard.push_str(&String::from_utf8_lossy(&chunk));
        }
        heard
    })
}

#[test]
fn a_listener_hears_of_changes_from_its_owner() {
    let host = Memory::new(changing_server());
    let fleet = fleet(&host);
    let heard = hear_of_change(&host, &fleet.isolate(), |listen| listen);
    assert!(heard.contains("acknowledged"), "{heard}");
    assert_eq!(fleet.put_away(), ["anonymous"]);
}

#[test]
fn who_is_told_of_a_change_is_shown_what_is_new() {
    let host = Memory::new(changing_server());
    let fleet = fleet(&host);
    let isolate = fleet.isolate();
    let list = |isolate: &_| ask(&host, isolate, modern("1", "tools/list", ""));
    assert!(!list(&isolate).contains("a__more"));
    host.run(host.sleep(std::time::Duration::from_secs(1)));
    hear_of_change(&host, &isolate, |listen| listen);
    methods(&host);
    for isolate in [isolate, fleet.isolate()] {
        let listed = list(&isolate);
        assert!(listed.contains("a__more"), "{listed}");
        assert_eq!(methods(&host), [""; 0], "it is known already");
    }
}

#[test]
fn an_owner_reads_lists_once_it_is_told_of_their_changes() {
    let host = Memory::new(|request| {
        let (method, id) = method_and_id(request);
        match method.as_str() {
            "server/discover" => result(&id, TELLS_OF_CHANGES),
            "subscriptions/listen" => {
                let soon = std::time::Duration::from_millis(100);
                crate::testing::slowly(open_stream(&[ACKNOWLEDGED]), soon)
            }
            _ => modern_server(request),
        }
    });
    let fleet = fleet(&host);
    host.run(fleet.isolate().serve(modern("1", "tools/list", "")));
    host.sent();
    let listen = modern("2", "subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#);
    let reply = host.run(fleet.isolate().serve(listen));
    host.run(host.sleep(std::time::Duration::from_secs(1)));
    let sent = host.sent();
    let position = |method: &str| sent.iter().position(|request| request.contains(method));
    assert!(position("subscriptions/listen") < position("tools/list"), "{sent:?}");
    assert!(position("subscriptions/listen").is_some(), "{sent:?}");
    drop(reply);
}

#[test]
fn a_stream_rests_while_there_is_nothing_to_tell() {
    let changed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let more = changed.clone();
    let host = Memory::new(move |request| match method_and_id(request) {
        (method, id) if method == "tools/list" && more.load(std::sync::atomic::Ordering::Relaxed) => {
            result(&id, &TOOLS.replace("[{", r#"[{"name":"more","inputSchema":{"type":"object"}},{"#))
        }
        _ => modern_server(request),
    });
    let fleet = fleet(&host);
    let owner = fleet.owner("anonymous");
    let listen = || {
        let mut request = modern("1", "subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#);
        request
            .headers_mut()
            .insert("portcullis-handed", said_of(&owner, &host, Proof::default()).parse().expect("a header"));
        request
    };
    let reply = host.run(owner.serve_handed(listen()));
    let rest = reply.extensions().get::<Rest>().expect("it may rest").clone();
    let state = rest.begin().expect("nothing is to be told");
    assert_eq!(rest.begin(), None, "it rests");
    let take_up = |owner: &Gateway<Memory>, wanted| host.run(owner.take_up(listen(), &state, wanted));
    fleet.put_away();
    let owner = fleet.owner("anonymous");
    assert_eq!(take_up(&owner, Wanted::ForNews).status(), 204);
    changed.store(true, std::sync::atomic::Ordering::Relaxed);
    host.run(crate::ports::Clock::sleep(&host, std::time::Duration::from_secs(90)));
    take_up(&owner, Wanted::ForNews);
    host.run(crate::ports::Clock::sleep(&host, std::time::Duration::from_secs(5)));
    let reply = take_up(&owner, Wanted::ForNews);
    assert_eq!(reply.status(), 200);
    let Body::Stream(mut chunks) = reply.into_body() else { panic!("a stream") };
    let first = host.run(chunks.next()).expect("news").expect("no error");
    assert!(String::from_utf8_lossy(&first).contains("notifications/tools/list_changed"), "{first:?}");
}

/// What one instance says of a caller to another.
fn said_of(gateway: &Gateway<Memory>, host: &Memory, proof: Proof) -> String {
    gateway.0.sealer.pack(host, Purpose::Handed, &(proof, None::<u64>))
}

#[test]
fn what_is_handed_over_is_recorded_once() {
    let host = Memory::new(asking_server);
    let trail = host.keep_trail();
    let fleet = fleet(&host);
    let asked =
        ask(&host, &fleet.isolate(), modern_with("1", "tools/call", r#""name":"a__ask""#, ELICITATION));
    ask(&host, &fleet.isolate(), retry(&asked));
    let entries = trail.take();
    assert_eq!(entries.iter().map(|entry| entry.method).collect::<Vec<_>>(), ["tools/call", "tools/call"]);
}

#[test]
fn what_comes_along_is_believed_only_where_it_is_handed_over() {
    let host = Memory::new(modern_server);
    let fleet = fleet(&host);
    let claim = ("portcullis-handed", said_of(&fleet.isolate(), &host, Proof::of_agent("nobody")));
    let forged = || {
        let mut request = modern("1", "tools/list", "");
        request.headers_mut().insert(claim.0, claim.1.parse().expect("a header"));
        request
    };
    assert!(ask(&host, &fleet.isolate(), forged()).starts_with("200"), "it counts for nothing");
    let bare =
        host.run(async { text(Box::pin(fleet.isolate().serve_handed(modern("1", "ping", ""))).await).await });
    assert!(bare.starts_with("400"), "{bare}");
}
