//! Cases 11 and 12: a server makes the gateway connect to a place that the server itself could not reach.
//!
//! Where the gateway connects to is what its operator has configured, private addresses included, so that nothing is
//! gained by a name that changes its address meanwhile. **No server can name another place**, in whatever spelling.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Host, Readiness};
use serde_json::{Map, Value, json};

use super::double::{Answer, Double, Received};
use super::target::{config, state_of};

/// Everything that leads to this machine, or to one that only this machine reaches, in the spellings that filters miss.
fn places(thief: &Double) -> Vec<String> {
    let port = thief.port();
    let hosts = [
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.0.0.1.",
        "user:password@127.0.0.1",
    ];
    let mut places: Vec<_> = hosts.iter().map(|host| format!("http://{host}:{port}/mcp")).collect();
    places.extend([
        format!("//127.0.0.1:{port}/mcp"),
        format!("\\\\127.0.0.1:{port}/mcp"),
        format!("HTTP://127.0.0.1:{port}/mcp"),
        format!("gopher://127.0.0.1:{port}/_POST"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "data:application/json,{}".to_owned(),
    ]);
    places
}

/// A redirect at the handshake, after which a server counts as down, with the reason.
#[test]
fn case_12_a_redirect_inwards_is_not_followed() {
    let thief = Double::mcp("thief", &["t"]);
    let servers: Vec<_> = places(&thief)
        .into_iter()
        .flat_map(|place| [302, 307].map(|status| (status, place.clone())))
        .map(|(status, place)| Double::new(move |_| Answer::redirect(status, &place)))
        .collect();
    let named = servers.iter().enumerate();
    let named = named.map(|(index, server)| (format!("s{index}"), json!({ "url": server.url() })));
    let settings = config(&Value::Object(named.collect::<Map<_, _>>()));
    let gateway = Gateway::with(&settings).until(Readiness::Listening).start();
    for index in 0..servers.len() {
        let state = state_of(&gateway, &format!("s{index}"));
        assert_eq!(state["status"], "down", "{index}: {state}");
        assert!(state["reason"].to_string().contains("redirect"), "{index}: {state}");
    }
    assert_eq!(thief.received().len(), 0, "{:?}", thief.received());
}

/// A server that wants a credential, and says where there is more to be read of that.
#[test]
fn case_11_metadata_that_a_refusal_names_is_not_read() {
    let thief = Double::mcp("thief", &["t"]);
    let servers: Vec<_> = places(&thief)
        .into_iter()
        .map(|place| {
            Double::new(move |_| {
                let challenge =
                    format!("Bearer error=\"invalid_token\", resource_metadata=\"{place}\", scope=\"a\"");
                let link = format!("<{place}>; rel=\"oauth-authorization-server\"");
                Answer::status(401).with("WWW-Authenticate", challenge).with("Link", link)
            })
        })
        .collect();
    let named = servers.iter().enumerate();
    let named = named.map(|(index, server)| (format!("s{index}"), json!({ "url": server.url() })));
    let settings = config(&Value::Object(named.collect::<Map<_, _>>()));
    let gateway = Gateway::with(&settings).until(Readiness::Listening).start();
    for (index, server) in servers.iter().enumerate() {
        assert_eq!(state_of(&gateway, &format!("s{index}"))["status"], "down", "{index}");
        let asked = server.received();
        assert!(!asked.is_empty() && asked.iter().all(|request| request.path == "/mcp"), "{asked:?}");
    }
    assert_eq!(thief.received().len(), 0, "{:?}", thief.received());
}

/// A server with sessions, whose own stream says where to send messages, as the revision of 2024-11-05 did.
fn with_sessions(request: &Received, elsewhere: &str) -> Answer {
    let message = request.message();
    let result = match message["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": "2025-11-25",
            "capabilities": { "tools": { "listChanged": true } },
            "serverInfo": {
                "name": "up", "version": "1", "websiteUrl": elsewhere, "icons": [{ "src": elsewhere }],
            },
            "instructions": elsewhere,
        }),
        Some("tools/list") => json!({ "tools": [{
            "name": "t", "inputSchema": { "type": "object" }, "icons": [{ "src": elsewhere }],
        }] }),
        Some("tools/call") => json!({ "content": [
            { "type": "resource_link", "uri": elsewhere, "name": "x" },
            { "type": "resource", "resource": { "uri": elsewhere, "text": "x" } },
        ] }),
        Some(method) if message.get("id").is_some() => {
            let error = json!({ "code": -32601, "message": format!("no {method}") });
            return Answer::json(&json!({ "jsonrpc": "2.0", "id": message["id"], "error": error }));
        }
        Some(_) => return Answer::status(202),
        None if request.head.starts_with("GET") => {
            return Answer::events(&format!("event: endpoint\ndata: {elsewhere}\n\n"));
        }
        None => return Answer::redirect(307, elsewhere),
    };
    Answer::json(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))
}

/// What a server says of places stays what it says: nobody goes there.
#[test]
fn case_12_a_place_that_a_server_tells_of_is_not_visited() {
    let thief = Double::mcp("thief", &["t"]);
    let elsewhere = thief.url();
    let server = Double::new(move |request| with_sessions(request, &elsewhere));
    let gateway = Gateway::start(&config(&json!({ "up": { "url": server.url() } })));
    let able = Agent::modern(gateway.url()).capabilities(json!({ "elicitation": {} }));
    for agent in [Agent::modern(gateway.url()), able.handshake(portcullis_tests::agent::LEGACY)] {
        assert_eq!(agent.tools(), ["up__t"]);
        assert_eq!(agent.call("up__t", &json!({}))["content"][0]["uri"], thief.url());
    }
    let asked = server.received();
    // A function reads none where nobody listens.
    let reads = |request: &Received| request.head.starts_with("GET");
    assert!(Host::chosen() == Host::Lambda || asked.iter().any(reads), "the stream was read");
    assert!(asked.iter().all(|request| request.path == "/mcp"), "{asked:?}");
    assert_eq!(thief.received().len(), 0, "{:?}", thief.received());
}
