//! Servers that are one identity's own, among many instances: what is read of them is nobody else's.

use bytes::Bytes;
use http::header;

use super::fleet::{changing_server, hear_of_change};
use super::*;
use crate::config::{Config, Processes, Source, overlay_source, parse_all};
use crate::identity::KeyRing;
use crate::ports::{CatalogStore as _, Clock as _};
use crate::testing::{Fleet, gateway_with, key};

const BASE: &str = "version: 1
auth: { trust_tags: true }
servers: { a: { url: 'http://a.test/mcp' } }
agents:
  one: { match: [{ tag: one }], allow: [a] }
  two: { match: [{ tag: two }], allow: ['*'] }
  default: { deny: ['*'] }
";

/// A fleet before a server for everybody, `a`, and one for each of two agents, `of-one` and `of-two`.
fn fleet(host: &Memory) -> Fleet {
    let overlays = ["one", "two"].map(|agent| {
        let text = format!(
            "version: 1\nservers: {{ of-{agent}: {{ url: 'http://of-{agent}.test/mcp' }} }}\nallow: [of-{agent}]\n"
        );
        overlay_source((&format!("agent:{agent}"), &text))
    });
    let base = Source { path: "p.yaml".into(), text: BASE.into() };
    let parsed = parse_all((&[base], &overlays), &|_| None, Processes::NeverStarted);
    assert!(!parsed.is_refused() && parsed.config.servers.len() == 3, "{:?}", parsed.problems);
    let config: Config = parsed.config;
    Fleet::new(host, move |host| gateway_with(host, &["a", "of-one", "of-two"], config.clone()))
}

fn of(agent: &str, mut request: http::Request<Body>) -> http::Request<Body> {
    request.headers_mut().insert("x-lunar-consumer-tag", agent.parse().expect("ASCII"));
    request
}

/// The tools that an agent is listed, by the servers whose they are.
fn listed(host: &Memory, gateway: &Gateway<Memory>, agent: &str) -> String {
    let answer = ask(host, gateway, of(agent, modern("1", "tools/list", "")));
    let shown = |server: &&str| answer.contains(&format!("\"{server}__echo\""));
    ["a", "of-one", "of-two"].into_iter().filter(shown).collect::<Vec<_>>().join(" ")
}

/// The servers that were asked for their tools.
fn read(host: &Memory) -> Vec<String> {
    let server = |line: String| Some(line.split("http://").nth(1)?.split(".test").next()?.to_owned());
    host.sent().into_iter().filter(|line| line.contains("tools/list")).filter_map(server).collect()
}

fn published(host: &Memory, fleet: &Fleet) -> Bytes {
    host.run(fleet.published()).expect("it is published")
}

#[test]
fn they_are_read_for_their_identity_alone_and_not_published() {
    let host = Memory::new(modern_server);
    let fleet = fleet(&host);
    let isolate = fleet.isolate();
    assert_eq!(listed(&host, &isolate, "one"), "a of-one");
    assert_eq!(read(&host), ["a", "of-one"]);
    assert_eq!(listed(&host, &isolate, "one"), "a of-one");
    assert_eq!(listed(&host, &isolate, "two"), "a of-two");
    assert_eq!(read(&host), ["of-two"]);
    let known = crate::catalog::shared::decode(&published(&host, &fleet));
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!(listed(&host, &fleet.isolate(), "two"), "a of-two");
    assert_eq!(read(&host), ["of-two"], "every instance reads it, the others come from the catalog");
}

#[test]
fn they_are_read_again_where_they_are_old() {
    let host = Memory::new(modern_server);
    let fleet = fleet(&host);
    let isolate = fleet.isolate();
    listed(&host, &isolate, "one");
    listed(&host, &isolate, "two");
    read(&host);
    host.run(host.sleep(std::time::Duration::from_secs(90)));
    listed(&host, &isolate, "one");
    host.run(host.sleep(std::time::Duration::from_secs(5)));
    assert_eq!(read(&host), ["a", "of-one"]);
}

#[test]
fn one_that_fails_costs_nobody_else_anything() {
    let host = Memory::new(|request| match request.uri().host() {
        Some("of-one.test") => json_answer(503, "busy"),
        _ => modern_server(request),
    });
    let fleet = fleet(&host);
    let isolate = fleet.isolate();
    assert_eq!(listed(&host, &isolate, "two"), "a of-two");
    assert!(!host.sent().iter().any(|sent| sent.contains("of-one")), "nobody has asked for it");
    assert_eq!(listed(&host, &isolate, "one"), "a");
}

#[test]
fn who_is_told_of_a_change_is_shown_what_is_new() {
    let mut own = changing_server();
    let host = Memory::new(move |request| match request.uri().host() {
        Some("of-one.test") => own(request),
        _ => modern_server(request),
    });
    let fleet = fleet(&host);
    let isolate = fleet.isolate();
    listed(&host, &isolate, "one");
    listed(&host, &isolate, "two");
    host.run(host.sleep(std::time::Duration::from_secs(1)));
    host.sent();
    hear_of_change(&host, &isolate, |listen| of("one", listen));
    assert!(!host.sent().iter().any(|sent| sent.contains("of-two")), "the owner reads no others");
    let answer = ask(&host, &isolate, of("one", modern("1", "tools/list", "")));
    assert!(answer.contains("of-one__more"), "{answer}");
}

#[test]
fn what_was_everybodys_is_not_taken_for_ones_own() {
    let host = Memory::new(modern_server);
    let fleet = fleet(&host);
    listed(&host, &fleet.isolate(), "one");
    let text = published(&host, &fleet);
    let overlay = "version: 1\nservers: { a: { url: 'http://a.test/mcp' } }\nallow: [a]\n";
    let base = BASE.replace("servers: { a: { url: 'http://a.test/mcp' } }", "").replace("[a]", "[]");
    let base = Source { path: "p.yaml".into(), text: base };
    let overlays = [overlay_source(("agent:one", overlay))];
    let parsed = parse_all((&[base], &overlays), &|_| None, Processes::NeverStarted);
    assert!(!parsed.is_refused(), "{:?}", parsed.problems);
    let taken = |config: Config| {
        let gateway = gateway_with(&host, &["a"], config);
        gateway.take_catalog(&text);
        gateway.snapshot().servers["a"].offer.load().is_some()
    };
    assert!(!taken(parsed.config.clone()));
    assert!(taken(Config { personal: crate::sorted::SortedSet::new(), ..parsed.config }));
}

#[test]
fn who_asks_whether_servers_are_up_has_nobodys_own_read() {
    let host = Memory::new(modern_server);
    let isolate = fleet(&host).isolate();
    let mut request = post("", &[]);
    (*request.method_mut(), *request.uri_mut()) = (http::Method::GET, http::Uri::from_static("/readyz"));
    let told = ask(&host, &isolate, request);
    assert!(told.starts_with("200"), "{told}");
    assert_eq!(read(&host), ["a"]);
}

#[test]
fn who_listens_gets_a_server_of_its_own_heard_that_is_pushed_meanwhile() {
    let host = Memory::new(modern_server);
    let (bearer, record) = key(1);
    let base = "version: 1\nagents: { coder: { match: [{ api_key: coder }], allow: ['*'] }, default: { deny: ['*'] } }\n";
    let with = |overlays: &[Source]| {
        let base = Source { path: "p.yaml".into(), text: base.into() };
        let parsed = parse_all((&[base], overlays), &|_| None, Processes::NeverStarted);
        assert!(!parsed.is_refused(), "{:?}", parsed.problems);
        parsed.config
    };
    let first = with(&[]);
    let gateway = Fleet::new(&host, move |host| gateway_with(host, &["a"], first.clone())).function();
    gateway.set_keys(KeyRing::new([record.clone()]));
    let mut listen = modern("1", "subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#);
    let bearer = format!("Bearer {}", bearer.reveal()).parse().expect("ASCII");
    listen.headers_mut().insert(header::AUTHORIZATION, bearer);
    let _listening = host.run(gateway.serve(listen));
    let name = format!("principal:key:{}", record.id);
    let overlay =
        "version: 1\nagent: coder\nservers: { of-one: { url: 'http://of-one.test/mcp' } }\nallow: [of-one]\n";
    host.sent();
    gateway.reload(with(&[overlay_source((&name, overlay))]));
    host.run(host.sleep(std::time::Duration::from_secs(5)));
    assert_eq!(read(&host), ["of-one"]);
}
