//! Lists that are endless, circular, or full of what no client should follow.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use portcullis_tests::agent::Agent;
use portcullis_tests::hostile::{Done, Exchange, Hostile};
use portcullis_tests::http::Request;
use portcullis_tests::wait;
use serde_json::{Value, json};

use super::siege::Outcome::Fine;
use super::siege::{Siege, judge, reached};

fn tool(name: &str, schema: &Value) -> Value {
    json!({ "name": name, "inputSchema": schema })
}

/// A server of sessions whose lists of tools come from `page`, which takes the cursor.
fn listing(page: impl Fn(Option<&str>) -> Value + Send + Sync + 'static) -> Hostile {
    Hostile::legacy(move |e: &mut Exchange| -> io::Result<Done> {
        if e.method() != "tools/list" {
            return Ok(Done::Behave);
        }
        let page = page(e.message["params"]["cursor"].as_str());
        e.result(&page)?;
        Ok(Done::Answered)
    })
}

/// A page with the tool `x` and this cursor.
fn page(name: &str, cursor: &str) -> Value {
    json!({ "tools": [tool(name, &json!({ "type": "object" }))], "nextCursor": cursor })
}

#[test]
fn pages_without_end_are_cut() {
    let next = |cursor: Option<&str>| cursor.unwrap_or("0").parse::<u64>().unwrap_or(0) + 1;
    let endless = listing(move |cursor| {
        let number = next(cursor);
        let name = if number == 1 { "x".to_owned() } else { format!("t{number}") };
        page(&name, &number.to_string())
    });
    let circle = listing(|_| page("x", "again"));
    let growing = listing(|cursor| page("x", &cursor.unwrap_or("xxxxxxxxxxxxxxxx").repeat(2)));
    let servers = [("circle", &circle), ("endless", &endless), ("growing", &growing)];
    let siege = Siege::begin(&servers.map(|(name, server)| (name.to_owned(), reached(&server.url()))));
    let agent = Agent::modern(siege.gateway.url());
    for (name, _) in servers {
        siege.await_tool(&format!("{name}__x"));
        judge(&agent, name, Fine);
    }
    assert!(endless.count("tools/list") < 5000, "{} pages were read", endless.count("tools/list"));
    assert!(circle.count("tools/list") < 10, "{} pages were read", circle.count("tools/list"));
    assert!(growing.count("tools/list") < 100, "{} pages were read", growing.count("tools/list"));
    siege.end();
}

#[test]
fn a_million_tools_on_one_page_are_cut() {
    let million = Hostile::legacy(|e| {
        if e.method() != "tools/list" {
            return Ok(Done::Behave);
        }
        e.open(200, "application/json")?;
        let id = e.id();
        e.send(format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"tools\":[{}",
            tool("x", &json!({}))
        ))?;
        for thousand in 0..1000 {
            let some = (0..1000).map(|n| format!(",{{\"name\":\"t{thousand}-{n}\",\"inputSchema\":{{}}}}"));
            e.send(some.collect::<Vec<_>>().concat())?;
        }
        e.send("]}}")?;
        Ok(Done::Answered)
    });
    let siege = Siege::begin(&[("million".into(), reached(&million.url()))]);
    let tools = tools_of_million(&siege);
    assert!(tools <= 100_000, "{tools} are listed");
    // What is listed is kept: as the server's text, by name, and as pages.
    siege.end_with(250);
}

/// How many tools the server `million` has, once its list was read.
fn tools_of_million(siege: &Siege) -> u64 {
    let ready = || Request::get(&siege.gateway.url_of("/readyz")).send().json();
    wait::expect("the list to be read", || ready()["servers"]["million"]["status"] != "starting");
    ready()["servers"]["million"]["tools"].as_u64().unwrap_or_default()
}

#[test]
fn a_million_tools_on_many_pages_are_cut() {
    let furthest = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&furthest);
    let million = Hostile::legacy(move |e| {
        if e.method() != "tools/list" {
            return Ok(Done::Behave);
        }
        let cursor = e.message["params"]["cursor"].as_str().and_then(|cursor| cursor.parse().ok());
        let number: usize = cursor.unwrap_or(0);
        asked.fetch_max(number + 1, Ordering::Relaxed);
        let tools: Vec<_> = (0..10_000)
            .map(|n| format!("{{\"name\":\"t{number}-{n}\",\"inputSchema\":{{\"type\":\"object\"}}}}"))
            .collect();
        let (id, next, tools) = (e.id(), number + 1, tools.join(","));
        e.json(format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"nextCursor\":\"{next}\",\"tools\":[{tools}]}}}}"
        ))?;
        Ok(Done::Answered)
    });
    let siege = Siege::begin(&[("million".into(), reached(&million.url()))]);
    let call = json!({ "name": "million__t0-0", "arguments": {} });
    let agent = Agent::modern(siege.gateway.url());
    // A program that is not optimised needs the most of a minute for so many.
    let is_there = || agent.ask("tools/call", call.clone()).get("result").map(drop);
    assert!(wait::until(4 * wait::PATIENCE, is_there).is_some(), "its tools do not come");
    let tools = tools_of_million(&siege);
    assert!((10_000..=100_000).contains(&tools), "{tools} are listed");
    let pages = furthest.load(Ordering::Relaxed);
    assert!(pages <= 11, "{pages} pages were read");
    siege.end_with(250);
}

/// A list is held whole, so that all its pages are together bounded as a message is.
#[test]
fn large_pages_without_end_are_cut() {
    let text = "x".repeat(256 << 10);
    let large = listing(move |cursor| {
        let number: usize = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let name = if number == 0 { "x".to_owned() } else { format!("t{number}") };
        let tool = json!({ "name": name, "description": text, "inputSchema": { "type": "object" } });
        json!({ "tools": [tool], "nextCursor": (number + 1).to_string() })
    });
    let siege =
        Siege::begin_with("{ limits: { message: 8MiB } }", &[("large".into(), reached(&large.url()))]);
    siege.await_tool("large__x");
    assert!(large.count("tools/list") < 10, "{} pages were read", large.count("tools/list"));
    siege.end_with(150);
}

#[test]
fn schemas_are_text_that_nobody_follows() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let bait = format!("http://{}/schema.json", listener.local_addr().expect("it is bound"));
    let visits = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&visits);
    thread::spawn(move || {
        listener.incoming().for_each(|_| {
            seen.fetch_add(1, Ordering::Relaxed);
        });
    });
    let schemas = [
        json!({ "type": "object", "properties": { "a": { "$ref": bait } } }),
        json!({ "$id": bait, "$schema": bait, "type": "object", "$ref": bait }),
        json!({ "$ref": "#", "type": "object", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
        json!({ "type": "object", "properties": { "a": { "type": "string", "pattern": "^(a+)+$" } } }),
        json!({ "type": "object", "properties": { "a": { "type": "string", "pattern": "((((((((((x*)*)*)*)*)*)*)*)*)*" } } }),
    ];
    let listed = schemas.clone();
    let server = listing(move |_| {
        let tools = listed.iter().enumerate().map(|(n, schema)| tool(&format!("t{n}"), schema));
        json!({ "tools": tools.chain([tool("x", &json!({ "type": "object" }))]).collect::<Vec<_>>() })
    });
    let siege = Siege::begin(&[("bad".into(), reached(&server.url()))]);
    siege.await_tool("bad__x");
    for agent in [Agent::modern(siege.gateway.url()), Agent::legacy(siege.gateway.url())] {
        let tools = agent.list("tools/list", "tools");
        for (n, schema) in schemas.iter().enumerate() {
            let listed = tools.iter().find(|tool| tool["name"] == format!("bad__t{n}"));
            assert_eq!(listed.map(|tool| &tool["inputSchema"]), Some(schema));
            agent.call(&format!("bad__t{n}"), &json!({ "a": format!("{}!", "a".repeat(5000)) }));
        }
    }
    assert_eq!(visits.load(Ordering::Relaxed), 0, "somebody has followed a reference");
    siege.end();
}

#[test]
fn names_that_no_client_could_use_become_some_that_it_can() {
    let names = ["a\u{0}b", "line\nbreak", "\u{1b}[2J", "\u{202e}gpj", "", " ", "../../etc", "x\u{7f}"];
    let server = listing(move |_| {
        let odd = names.iter().map(|name| tool(name, &json!({ "type": "object" })));
        let long = tool(&"long".repeat(2500), &json!({ "type": "object" }));
        json!({ "tools": odd.chain([long, tool("x", &json!({ "type": "object" }))]).collect::<Vec<_>>() })
    });
    let siege = Siege::begin(&[("bad".into(), reached(&server.url()))]);
    siege.await_tool("bad__x");
    for agent in [Agent::modern(siege.gateway.url()), Agent::legacy(siege.gateway.url())] {
        for name in agent.tools() {
            let usable = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            assert!(name.len() <= 64 && name.chars().all(usable), "{name:?} is listed");
        }
        judge(&agent, "bad", Fine);
    }
    let log = siege.gateway.log();
    assert!(!log.contains(['\u{1b}', '\u{202e}', '\u{0}']), "a name reaches the terminal");
    siege.end();
}

#[test]
fn deep_schemas_harm_nobody() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let server = Hostile::legacy(move |e| {
        if e.method() != "tools/list" {
            return Ok(Done::Behave);
        }
        let id = e.id();
        e.json(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"tools\":[{{\"name\":\"x\",\"inputSchema\":{deep}}}]}}}}"))?;
        Ok(Done::Answered)
    });
    let siege = Siege::begin(&[("bad".into(), reached(&server.url()))]);
    let reason = siege.await_reason("bad");
    assert!(reason.contains("deep"), "{reason}");
    siege.end();
}
