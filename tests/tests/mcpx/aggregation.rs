//! All servers are one: what they have is listed in one order, and each call reaches the server that it is for.

use portcullis_tests::http::Request;
use portcullis_tests::scenario::text;
use portcullis_tests::upstream::Upstream;
use serde_json::json;

use super::callers::{Caller, DOORS, OPEN, all_tools, at, fixture, folder, two_servers};

#[test]
fn servers_of_every_kind_are_listed_and_called() {
    let (http, sse) = (Upstream::fixture(&["--era", "dual"]), Upstream::fixture(&["--sse"]));
    let servers = json!({
        "zeta": fixture(),
        "Remote": at(&http),
        "legacy": { "type": "sse", "url": sse.url() },
    });
    let gateway = folder(&servers, OPEN).start();
    for door in DOORS {
        let mut caller = Caller::anybody(&gateway, door);
        assert_eq!(caller.servers(), ["legacy", "remote", "zeta"], "{door:?}");
        for server in ["legacy", "remote", "zeta"] {
            let greeted = caller.call(&format!("{server}__greet"), &json!({ "name": server }));
            let greeted = greeted.unwrap_or_else(|error| panic!("{door:?}: {server}: {error}"));
            assert_eq!(text(&greeted), format!("Hello, {server}!"), "{door:?}");
        }
    }
}

#[test]
fn tools_are_in_the_order_of_servers_and_then_of_names() {
    let tools = all_tools();
    let mut sorted: Vec<_> = tools.iter().map(|tool| tool.split_once("__").expect("a server's")).collect();
    sorted.sort_unstable();
    let sorted: Vec<_> = sorted.iter().map(|(server, name)| format!("{server}__{name}")).collect();
    assert_eq!(tools, sorted);
    assert!(tools.contains(&"files__echo".to_owned()) && tools.contains(&"tickets__echo".to_owned()));
}

#[test]
fn what_no_server_has_is_not_available() {
    let gateway = folder(&two_servers(), OPEN).start();
    for door in DOORS {
        let mut caller = Caller::anybody(&gateway, door);
        for name in ["files__nope", "nobody__echo", "echo"] {
            let refused = caller.call(name, &json!({}));
            assert_eq!(refused, Err(format!("-32603 Tool {name} is not available")), "{door:?}");
        }
        let prompt = caller.outcome("prompts/get", json!({ "name": "files__nope" }));
        assert_eq!(prompt, Err("-32603 Prompt files__nope is not available".to_owned()), "{door:?}");
    }
}

#[test]
fn the_gateway_says_that_it_is_well() {
    let gateway = folder(&json!({}), OPEN).start();
    let answer = Request::get(&gateway.url_of("/healthcheck")).send();
    assert_eq!((answer.status, answer.json()), (200, json!({ "status": "OK" })));
}
