//! What follows from another configuration.

use std::time::Duration;

use futures::StreamExt;

use super::*;
use crate::config::{self, Config};
use crate::names::ServerName;
use crate::ports::{Background, Clock};
use crate::tasks::DECLARED;
use crate::testing::{modern_with, open_stream, server};

/// Makes an agent listen to a task at `a`, whose streams stay open or end at once.
fn listening(ends: bool) -> (Memory, Gateway<Memory>) {
    const ACKNOWLEDGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"taskIds":["t1"]}}}"#;
    let host = Memory::new(move |request| match method_and_id(request) {
        (method, id) if method == "tools/call" => {
            result(&id, r#"{"resultType":"task","taskId":"t1","status":"working"}"#)
        }
        (method, _) if method == "subscriptions/listen" => {
            let mut answer = open_stream(&[ACKNOWLEDGED])?;
            if ends {
                answer.extensions_mut().clear();
            }
            Ok(answer)
        }
        _ => modern_server(request),
    });
    let gateway = gateway(&host, &["a"]);
    let made = ask(&host, &gateway, modern_with("1", "tools/call", r#""name":"a__echo""#, DECLARED));
    let id = made.split("\"taskId\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a task");
    let wanted = format!(r#""notifications":{{"taskIds":["{id}"]}}"#);
    let mut request = modern_with("2", "subscriptions/listen", &wanted, DECLARED);
    request.headers_mut().insert(header::ACCEPT, names::EVENT_STREAM);
    let Body::Stream(chunks) = host.run(gateway.serve(request)).into_body() else { panic!("no stream") };
    host.spawn(chunks.for_each(|_| async {}));
    host.run(host.sleep(Duration::from_millis(100)));
    assert!(methods(&host).contains(&"subscriptions/listen".to_owned()));
    (host, gateway)
}

#[test]
fn a_server_that_is_removed_is_not_asked_for_tasks_any_more() {
    for ends in [false, true] {
        let (host, gateway) = listening(ends);
        gateway.reload(Config::default());
        host.run(host.sleep(Duration::from_secs(100)));
        assert_eq!(host.sent(), [""; 0], "ends: {ends}");
    }
}

/// What is said at `a` once it is served at `url` with other settings.
fn said_after_a_move(ends: bool, url: &str) -> Vec<String> {
    let (host, gateway) = listening(ends);
    let settings = config::Server { cache: Duration::from_secs(7), ..server(url) };
    let replaced = (ServerName::parse("a").unwrap(), settings);
    gateway.reload(Config { servers: [replaced].into(), ..Config::default() });
    host.run(host.sleep(Duration::from_secs(100)));
    host.sent().into_iter().filter(|line| line.contains("t1")).collect()
}

#[test]
fn a_server_with_other_settings_is_asked_for_its_tasks_again() {
    for ends in [false, true] {
        let sent = said_after_a_move(ends, "http://a.test/mcp");
        assert!(sent.iter().any(|line| line.contains(r#""taskIds":["t1"]"#)), "{sent:#?}");
    }
}

#[test]
fn a_server_that_has_been_given_the_name_is_not_asked_for_tasks_of_the_former() {
    for ends in [false, true] {
        assert_eq!(said_after_a_move(ends, "http://new.test/mcp"), [""; 0], "ends: {ends}");
    }
}

/// What is answered, once `a` is served at `url`, to what follows from a call there: `(follows, answer)`.
fn after_a_move(url: &str, first: &'static str, then: impl Fn(&str) -> http::Request<Body>) -> String {
    let host = Memory::new(move |request| match method_and_id(request) {
        (method, id) if method == "tools/call" && request.uri().host() == Some("a.test") => {
            result(&id, first)
        }
        (method, id) if method == "tasks/get" => {
            result(&id, r#"{"resultType":"complete","status":"working"}"#)
        }
        _ => modern_server(request),
    });
    let gateway = gateway(&host, &["a"]);
    let made = ask(&host, &gateway, modern_with("1", "tools/call", r#""name":"a__echo""#, DECLARED));
    let settings = config::Server { cache: Duration::from_secs(7), ..server(url) };
    gateway.reload(Config {
        servers: [(ServerName::parse("a").unwrap(), settings)].into(),
        ..Config::default()
    });
    host.run(host.sleep(Duration::from_secs(1)));
    host.sent();
    let answer = ask(&host, &gateway, then(&made));
    format!("{} / {answer}", methods(&host).join(" "))
}

fn sealed<'a>(answer: &'a str, key: &str) -> &'a str {
    let rest = answer.split(&format!("\"{key}\":\"")).nth(1).and_then(|rest| rest.split('"').next());
    rest.unwrap_or_else(|| panic!("no {key} in {answer}"))
}

#[test]
fn a_task_leads_to_its_own_server_only() {
    let check = |url: &str| {
        let task = r#"{"resultType":"task","taskId":"t1","status":"working"}"#;
        after_a_move(url, task, |made| {
            modern_with("2", "tasks/get", &format!("\"taskId\":\"{}\"", sealed(made, "taskId")), DECLARED)
        })
    };
    insta::assert_snapshot!(check("http://a.test/mcp"), @r#"tasks/get / 200 application/json {"result":{"resultType":"complete","status":"working"},"jsonrpc":"2.0","id":2}"#);
    insta::assert_snapshot!(check("http://new.test/mcp"), @r#" / 200 application/json {"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"Unknown task"}}"#);
}

#[test]
fn a_state_leads_to_its_own_server_only() {
    let check = |url: &str| {
        let asks = r#"{"resultType":"input_required","inputRequests":{},"requestState":"own"}"#;
        after_a_move(url, asks, |made| {
            let state = sealed(made, "requestState");
            modern_with("2", "tools/call", &format!(r#""name":"a__echo","requestState":"{state}""#), DECLARED)
        })
    };
    let again = check("http://a.test/mcp");
    assert!(again.starts_with("tools/call / 200 "), "{again}");
    insta::assert_snapshot!(check("http://new.test/mcp"), @r#" / 200 application/json {"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"`requestState` is not valid for this request; call again without it"}}"#);
}
