//! What one identity has of its own, on the Worker: none of it is in what isolates share of servers.

use std::collections::BTreeMap;
use std::{fs, io};

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Host, Readiness};
use portcullis_tests::hostile::{Done, Exchange, Hostile};
use portcullis_tests::http::Request;
use portcullis_tests::wait;
use serde_json::{Value, json};

const ADMIN_KEY: &str = "the admin's key";
const WHOSE: [&str; 3] = ["all", "one", "two"];

/// A server that lists, and gives sessions, by the credential of whoever asks.
fn by_credential(exchange: &mut Exchange) -> io::Result<Done> {
    let has = |whose: &&&str| exchange.head.contains(&format!("credential-of-{whose}"));
    let Some(whose) = WHOSE.iter().find(has) else {
        exchange.respond(403, "", "")?;
        return Ok(Done::Answered);
    };
    match exchange.method() {
        "initialize" => {
            let result = json!({
                "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                "serverInfo": { "name": format!("introduced-to-{whose}"), "version": "1" },
            });
            let body = json!({ "jsonrpc": "2.0", "id": exchange.id(), "result": result }).to_string();
            let headers = format!("Content-Type: application/json\r\nMcp-Session-Id: session-of-{whose}\r\n");
            exchange.respond(200, &headers, body)?;
        }
        "tools/list" => {
            let tool = json!({
                "name": "x", "description": format!("listed-for-{whose}"), "inputSchema": { "type": "object" },
            });
            let list = json!({ "tools": [tool], "resultType": "complete", "ttlMs": 600_000, "cacheScope": "public" });
            exchange.result(&list)?;
        }
        _ => return Ok(Done::Behave),
    }
    Ok(Done::Answered)
}

/// A Worker that one server stands behind for all, `everybodys`, and the same one under another name for each of two
/// identities: an agent, `ones`, and a key, `twos`.
struct Stage {
    gateway: Gateway,
    keys: [String; 2],
}

impl Stage {
    fn before(server: &Hostile) -> Self {
        let mut builder = Gateway::with("version: 1\n").configured_remotely().on(Host::Edge);
        builder = builder.env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY).of_worker("stored", json!(true));
        for whose in WHOSE {
            builder =
                builder.env(&format!("KEY_{}", whose.to_uppercase()), &format!("credential-of-{whose}"));
        }
        let gateway = builder.until(Readiness::Listening).start();
        let url = gateway.url_of("");
        let folder = gateway.folder().join("mine");
        fs::create_dir_all(folder.join("overlays")).expect("the folder can be made");
        let write = |name: &str, text: &str| {
            fs::write(folder.join(name), format!("version: 1\n{text}")).expect("the file can be written");
        };
        let described = |name: &str, key: &str| {
            let headers = json!({ "X-Key": format!("${{{key}}}") });
            format!("servers: {}\n", json!({ name: { "url": server.url(), "headers": headers } }))
        };
        let push = || {
            let config = folder.display().to_string();
            let pushed = gateway.cli(&["push", "--config", &config, "--to", &url]);
            assert_eq!(pushed.code(), Some(0), "{}{}", pushed.stdout, pushed.stderr);
        };
        let agents = "auth: { required: true }\nagents: { one: { allow: [everybodys] }, two: { allow: [everybodys] } }\n";
        write("portcullis.yaml", &(described("everybodys", "KEY_ALL") + agents));
        push();
        let keys = ["one", "two"].map(|agent| {
            let made = gateway.cli(&["keys", "create", "--agent", agent, "--url", &url, "--json"]);
            serde_json::from_str::<Value>(&made.stdout).unwrap_or_else(|_| panic!("{}", made.stderr))
        });
        write("overlays/agent-one.yaml", &(described("ones", "KEY_ONE") + "allow: [ones]\n"));
        let principal = format!("overlays/principal-key-{}.yaml", keys[1]["id"].as_str().expect("an id"));
        write(&principal, &(described("twos", "KEY_TWO") + "agent: two\nallow: [twos]\n"));
        push();
        Self { keys: keys.map(|key| key["key"].as_str().expect("a key").to_owned()), gateway }
    }

    /// Everything that the store holds, by its keys.
    fn stored(&self) -> BTreeMap<String, String> {
        serde_json::from_value(Request::get(&self.gateway.url_of("/stored")).send().json()).expect("texts")
    }
}

/// The descriptions of the tools that an agent is listed.
fn listed(agent: &Agent) -> Vec<String> {
    let tools = agent.list("tools/list", "tools");
    tools.iter().map(|tool| tool["description"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn what_isolates_share_holds_nothing_that_is_one_identitys() {
    for server in [Hostile::modern(by_credential), Hostile::legacy(by_credential)] {
        let stage = Stage::before(&server);
        let url = stage.gateway.url();
        for (whose, key) in ["one", "two"].into_iter().zip(&stage.keys) {
            let expected = ["listed-for-all".to_owned(), format!("listed-for-{whose}")];
            let modern = Agent::modern(url).bearer(key);
            wait::expect("the overlays are in force", || listed(&modern) == expected);
            let legacy = Agent::modern(url).bearer(key).handshake("2025-11-25");
            for agent in [modern, legacy] {
                assert_eq!(listed(&agent), expected);
                for tool in ["everybodys__x".to_owned(), format!("{whose}s__x")] {
                    agent.call(&tool, &json!({}));
                }
            }
        }
        let stored = stage.stored();
        let catalog = &stored["catalog"];
        assert!(catalog.contains("listed-for-all"), "{catalog}");
        for whose in ["one", "two"] {
            for mark in [format!("listed-for-{whose}"), format!("introduced-to-{whose}")] {
                for (name, text) in &stored {
                    assert!(!text.contains(&mark), "{mark} is in {name}: {text}");
                }
            }
            let shared = stored.iter().filter(|(name, _)| name.starts_with("catalog"));
            for (name, text) in shared {
                assert!(!text.contains(&format!("{whose}s")), "{whose} is in {name}: {text}");
            }
        }
        for mark in
            WHOSE.iter().flat_map(|whose| ["credential-of-", "session-of-"].map(|of| format!("{of}{whose}")))
        {
            for (name, text) in &stored {
                assert!(!text.contains(&mark), "{mark} is in {name}: {text}");
            }
        }
        for key in &stage.keys {
            assert!(!stored.values().any(|text| text.contains(key)), "a key is stored");
        }
    }
}
