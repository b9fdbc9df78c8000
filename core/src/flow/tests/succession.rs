//! What follows from another configuration.

use std::time::Duration;

use futures::StreamExt;

use super::*;
use crate::config::Config;
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

#[test]
fn of_tasks_the_server_is_asked_that_has_the_name_now() {
    for ends in [false, true] {
        let (host, gateway) = listening(ends);
        let replaced = (ServerName::parse("a").unwrap(), server("http://new.test/mcp"));
        gateway.reload(Config { servers: [replaced].into(), ..Config::default() });
        host.run(host.sleep(Duration::from_secs(100)));
        let sent = host.sent();
        assert!(sent.iter().all(|line| line.starts_with("POST http://new.test/")), "{sent:#?}");
        assert!(sent.iter().any(|line| line.contains(r#""taskIds":["t1"]"#)), "{sent:#?}");
    }
}
