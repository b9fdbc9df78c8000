//! What a caller sees and may call under a policy, which name leads where, and what is counted.

use super::*;
use crate::config::{self, Config, Source};
use crate::testing::gateway_with;

const LISTS: &str = r#"{"tools":[
{"name":"get_issue","description":"Gets.","inputSchema":{"type":"object","properties":{"repo":{"type":"string"}}}},
{"name":"create_issue","inputSchema":{"type":"object","properties":{"owner":{"type":"string"},"title":{"type":"string"}},"required":["owner","title"]}},
{"name":"delete_repo","inputSchema":{"type":"object"}}],"resultType":"complete","ttlMs":60000,"cacheScope":"public"}"#;

const POLICY: &str = r#"
version: 1
servers:
  git: { url: "http://git.test/mcp" }
  time: { url: "http://time.test/mcp" }
groups:
  reading: { git: ["get_*"] }
variants:
  git:
    file_bug:
      from: create_issue
      arguments: { owner: { fix: acme } }
agents:
  reader: { match: [{ client: Reader }], allow: [reading] }
  writer:
    match: [{ client: Writer }]
    allow: ["git/*"]
    deny: ["git/DELETE_*", { on: "git/get_issue", when: 'args.repo == "secret"' }]
  shipper:
    match: [{ client: Shipper }]
    allow: [{ on: "git/*", when: 'args.owner == "acme" || args.owner == "sandbox"' }]
    deny: [{ on: "git/file_bug", when: 'args.owner == "acme"' }]
  slow: { match: [{ client: Slow }], allow: ["*"], limits: { rate: 2/m } }
  default: { deny: ["*"] }
"#;

fn started() -> (Memory, Gateway<Memory>) {
    let host = Memory::new(|request| match method_and_id(request) {
        (method, id) if method == "tools/list" => {
            json_answer(200, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{LISTS}}}"#))
        }
        _ => modern_server(request),
    });
    let source = Source { path: "p.yaml".into(), text: POLICY.into() };
    let parsed = config::parse(&[source], &|_| None);
    assert_eq!(parsed.problems, []);
    let gateway = gateway_with(&host, &["git", "time"], Config { ..parsed.config });
    (host, gateway)
}

/// Asks as a client of that name.
fn by(client: &str, method: &'static str, params: &str) -> http::Request<Body> {
    let request = modern("1", method, params);
    let (head, body) = request.into_parts();
    let Body::Full(whole) = body else { panic!("a whole body") };
    let text = String::from_utf8(whole.into_bytes().to_vec()).unwrap();
    let named =
        format!(r#""_meta":{{"io.modelcontextprotocol/clientInfo":{{"name":"{client}","version":"1"}},"#);
    http::Request::from_parts(head, Body::Full(text.replacen("\"_meta\":{", &named, 1).into()))
}

fn check(client: &str, method: &'static str, params: &str) -> String {
    let (host, gateway) = started();
    ask(&host, &gateway, by(client, method, params))
}

fn names(client: &str, path: &'static str) -> String {
    let (host, gateway) = started();
    let mut request = by(client, "tools/list", "");
    *request.uri_mut() = http::Uri::from_static(path);
    let answer = ask(&host, &gateway, request);
    let (_, names) = answer.split_at(answer.find('{').unwrap());
    let names = names.split("{\"name\":\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn everybody_is_listed_what_they_may_call() {
    insta::assert_snapshot!(names("Slow", "/mcp"), @"git__create_issue git__delete_repo git__file_bug git__get_issue time__create_issue time__delete_repo time__get_issue");
    insta::assert_snapshot!(names("Writer", "/mcp"), @"git__create_issue git__file_bug git__get_issue");
    insta::assert_snapshot!(names("Reader", "/mcp"), @"git__get_issue");
    insta::assert_snapshot!(names("Nobody", "/mcp"), @"");
    insta::assert_snapshot!(names("Writer", "/mcp/groups/Reading"), @"git__get_issue");
    insta::assert_snapshot!(names("Writer", "/mcp/servers/time"), @"");
    insta::assert_snapshot!(names("Slow", "/mcp/groups/reading"), @"git__get_issue");
}

#[test]
fn what_is_refused_is_answered_as_what_does_not_exist() {
    let denied = check("Reader", "tools/call", r#""name":"git__delete_repo""#);
    let absent = check("Reader", "tools/call", r#""name":"git__absentrepo""#);
    assert_eq!(denied.replace("delete_repo", "absentrepo"), absent);
    insta::assert_snapshot!(denied, @r#"200 application/json {"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool: git__delete_repo"}}"#);
}

#[test]
fn arguments_have_a_say_where_a_rule_reads_them() {
    insta::assert_snapshot!(check("Writer", "tools/call", r#""name":"git__get_issue","arguments":{"repo":"secret"}"#), @r#"200 application/json {"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Denied by policy: a condition on the arguments does not hold"}}"#);
    // What cannot be told counts against the caller.
    insta::assert_snapshot!(check("Writer", "tools/call", r#""name":"git__get_issue","arguments":{"repo":"open","repo":"secret"}"#), @r#"200 application/json {"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Denied by policy: a condition on the arguments does not hold"}}"#);
    insta::assert_snapshot!(check("Writer", "tools/call", r#""name":"git__get_issue","arguments":{}"#), @r#"200 application/json {"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Denied by policy: a condition on the arguments does not hold"}}"#);
    assert!(
        check("Writer", "tools/call", r#""name":"git__get_issue","arguments":{"repo":"open"}"#)
            .contains("result")
    );
}

#[test]
fn a_variant_calls_what_it_is_made_from() {
    let (host, gateway) = started();
    let call = r#""name":"git__file_bug","arguments":{"title":"x","OWNER":"me","owner":"me"}"#;
    assert!(ask(&host, &gateway, by("Writer", "tools/call", call)).contains("result"));
    let sent = host.sent().pop().unwrap();
    let sent = sent.split("\"params\":").nth(1).unwrap().split(",\"_meta\"").next().unwrap().to_owned();
    insta::assert_snapshot!(sent, @r#"{"name":"create_issue","arguments":{"title":"x","owner":"acme"}"#);
}

#[test]
fn who_asks_too_often_is_told_when_to_ask_again() {
    let (host, gateway) = started();
    for _ in 0..2 {
        assert!(ask(&host, &gateway, by("Slow", "tools/list", "")).starts_with("200"));
    }
    let reply = host.run(Box::pin(gateway.serve(by("Slow", "server/discover", ""))));
    assert_eq!(reply.headers()[header::RETRY_AFTER], "30");
    let answer = host.run(async { text(reply).await });
    insta::assert_snapshot!(answer, @r#"429 application/json {"jsonrpc":"2.0","id":1,"error":{"code":-32029,"message":"too many requests in a short time; try again in 30 s","data":{"retryAfterMs":30000}}}"#);
    assert!(ask(&host, &gateway, by("Writer", "tools/list", "")).starts_with("200"));
}

#[test]
fn what_a_variant_fixes_is_judged_not_what_is_sent_in_its_place() {
    // The server would get `acme`, whatever is sent.
    for sent in [r#"{"title":"x","owner":"sandbox"}"#, r#"{"title":"x"}"#] {
        let answer = check("Shipper", "tools/call", &format!(r#""name":"git__file_bug","arguments":{sent}"#));
        assert!(answer.contains("Denied by policy"), "{answer}");
    }
    let own = r#""name":"git__create_issue","arguments":{"title":"x","owner":"sandbox"}"#;
    assert!(check("Shipper", "tools/call", own).contains("result"));
}
