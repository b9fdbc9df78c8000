//! What there is, as the admin API tells each role.

use http::{Method, Request, header};
use serde_json::Value;

use super::control::sorted;
use super::{ask, modern_server};
use crate::body::Body;
use crate::control::who::{Operator, Role};
use crate::gateway::Gateway;
use crate::testing::{Memory, gateway, modern};

const FILE: &str = "version: 1
servers:
  # what we cannot do without
  a: { url: 'http://a.test/mcp', headers: { X-Key: abc } }
  b: { url: 'http://b.test/mcp', enabled: false }
  c: { url: 'http://c.test/mcp', headers: { X-Ref: 'Bearer ${secret:k}' } }
groups: { echoes: { a: [echo] } }
variants: { a: { shout: { from: echo } } }
agents:
  ana: { match: [{ api_key: ana-laptop }], allow: [echoes] }
  default: { deny: ['*'] }
";

struct Stage {
    host: Memory,
    gateway: Gateway<Memory>,
}

impl Stage {
    fn new() -> Self {
        let host = Memory::new(modern_server);
        let gateway = gateway(&host, &["old"]);
        let stage = Self { host, gateway };
        let pushed = stage.send(Role::Admin, (Method::PUT, "config"), ("application/yaml", FILE));
        assert_eq!(pushed.0, 201, "{}", pushed.1);
        // What is read of servers is there once somebody has asked.
        ask(&stage.host, &stage.gateway, modern("1", "tools/list", ""));
        stage
    }

    fn send(&self, role: Role, (method, path): (Method, &str), (kind, body): (&str, &str)) -> (u16, Value) {
        let operator = Operator {
            principal: "user:https://idp.test:ana".into(),
            role,
            agents: vec!["ana-laptop".into()],
            name: None,
            session: None,
        };
        let request = Request::builder().method(method).uri(format!("/admin/v1/{path}"));
        let request = request.header(header::CONTENT_TYPE, kind).header(header::IF_MATCH, "*");
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let body = Body::Full(bytes::Bytes::from(body.to_owned()).into());
        let reply = self.host.run(self.gateway.administer_for(&head, body, &operator));
        let status = reply.status().as_u16();
        let body = self.host.run(reply.into_body().collect(usize::MAX)).expect("a body");
        (status, sorted(serde_json::from_slice(&body).unwrap_or_default()))
    }

    fn get(&self, role: Role, path: &str) -> Value {
        let (status, said) = self.send(role, (Method::GET, path), ("application/json", ""));
        assert_eq!(status, 200, "{said}");
        said
    }
}

#[test]
fn servers_are_told_as_they_are_and_as_they_are_written() {
    let stage = Stage::new();
    insta::assert_snapshot!(stage.get(Role::Auditor, "servers/A"), @r#"{"approval":null,"kind":"http","name":"a","origin":{"field":"servers.a","file":"portcullis.yaml","line":4},"prompts":0,"resources":0,"revision":"2026-07-28","settings":{"headers":{"X-Key":"[redacted]"},"url":"http://a.test/mcp"},"sign_in":"header","status":"up","tools":1,"url":"http://a.test/mcp"}"#);
    let all = stage.get(Role::Operator, "servers");
    let names: Vec<_> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| format!("{} {}", of["name"], of["status"]))
        .collect();
    insta::assert_snapshot!(names.join(", "), @r#""a" "up", "b" "off", "c" "down""#);
    assert_eq!(stage.send(Role::Admin, (Method::GET, "servers/none"), ("", "")).0, 404);
    insta::assert_snapshot!(stage.get(Role::Member, "servers"), @r#"{"items":[{"kind":"http","name":"a","prompts":0,"resources":0,"revision":"2026-07-28","sign_in":"header","status":"up","tools":1}],"next":null}"#);
    assert_eq!(stage.send(Role::Member, (Method::GET, "servers/b"), ("", "")).0, 404);
}

#[test]
fn agents_groups_and_variants_are_told() {
    let stage = Stage::new();
    insta::assert_snapshot!(stage.get(Role::Auditor, "agents/ana"), @r#"{"allow":[{"origin":{"field":"agents.ana.allow[0]","file":"portcullis.yaml","line":10},"rule":"echoes"}],"default":false,"deny":[],"match":[{"api_key":"ana-laptop"}],"name":"ana","origin":{"field":"agents.ana","file":"portcullis.yaml","line":10},"servers":["a"],"settings":{"allow":["echoes"],"match":[{"api_key":"ana-laptop"}]}}"#);
    insta::assert_snapshot!(stage.get(Role::Member, "agents"), @r#"{"items":[{"default":false,"name":"ana-laptop","servers":["a"]}],"next":null}"#);
    assert_eq!(stage.send(Role::Member, (Method::GET, "agents/default"), ("", "")).0, 404);
    insta::assert_snapshot!(stage.get(Role::Auditor, "groups"), @r#"{"items":[{"description":null,"members":["a/echo"],"name":"echoes","origin":{"field":"groups.echoes","file":"portcullis.yaml","line":7},"settings":{"a":["echo"]}}],"next":null}"#);
    insta::assert_snapshot!(stage.get(Role::Auditor, "variants"), @r#"{"items":[{"from":"echo","kind":"tool","name":"a/shout","origin":{"field":"variants.a.shout","file":"portcullis.yaml","line":8},"replaces":false,"settings":{"from":"echo"}}],"next":null}"#);
}

#[test]
fn tools_are_told_as_an_agent_sees_them() {
    let stage = Stage::new();
    insta::assert_snapshot!(stage.get(Role::Auditor, "tools?server=a"), @r#"{"items":[{"input_schema":{"type":"object"},"name":"a__echo","server":"a","upstream_name":"echo","variant":false,"withheld":false},{"input_schema":{"type":"object"},"name":"a__shout","server":"a","upstream_name":"echo","variant":true,"withheld":false}],"next":null}"#);
    let decided = stage.get(Role::Auditor, "tools?agent=ana");
    let decided: Vec<_> = decided["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| format!("{} {} {} {}", of["name"], of["allowed"], of["rule"], of["why"]))
        .collect();
    insta::assert_snapshot!(decided.join("\n"), @r#"
    "a__echo" true "echoes (portcullis.yaml:10: agents.ana.allow[0])" null
    "a__shout" false null "no rule of agent ana allows it (portcullis.yaml:10: agents.ana)"
    "#);
    let seen = stage.get(Role::Member, "tools");
    let seen: Vec<_> = seen["items"].as_array().unwrap().iter().map(|of| of["name"].to_string()).collect();
    insta::assert_snapshot!(seen.join(", "), @r#""a__echo""#);
    assert_eq!(stage.send(Role::Member, (Method::GET, "tools?agent=default"), ("", "")).0, 404);
    assert_eq!(stage.send(Role::Auditor, (Method::GET, "tools?agent=nobody"), ("", "")).0, 404);
}

#[test]
fn the_policy_is_explained() {
    let stage = Stage::new();
    let asks = |role, body: &str| {
        let (status, said) = stage.send(role, (Method::POST, "explain"), ("application/json", body));
        format!("{status} {said}")
    };
    insta::assert_snapshot!(asks(Role::Auditor, r#"{"agent":"ana","tool":"a__echo"}"#), @r#"200 {"agent":"ana","allowed":true,"considered":[{"holds":true,"origin":{"field":"agents.ana.allow[0]","file":"portcullis.yaml","line":10},"rule":"echoes","side":"allow","when":null}],"depends":false,"found":true,"limits":[],"name":"a__echo","near":[],"origin":{"field":"agents.ana.allow[0]","file":"portcullis.yaml","line":10},"rule":"echoes","server":"a","silent":[{"reason":"needs the secret \"k\", which is not set: `portcullis secrets set k`","server":"c"}],"upstream_name":"echo","why":"allowed by `echoes` (portcullis.yaml:10: agents.ana.allow[0])"}"#);
    insta::assert_snapshot!(asks(Role::Auditor, r#"{"agent":"default","tool":"a/echo"}"#), @r#"200 {"agent":"default","allowed":false,"considered":[{"holds":true,"origin":{"field":"agents.default.deny[0]","file":"portcullis.yaml","line":11},"rule":"*","side":"deny","when":null}],"depends":false,"found":true,"limits":[],"name":"a__echo","near":[],"origin":{"field":"agents.default.deny[0]","file":"portcullis.yaml","line":11},"rule":"*","server":"a","silent":[{"reason":"needs the secret \"k\", which is not set: `portcullis secrets set k`","server":"c"}],"upstream_name":"echo","why":"denied by `*` (portcullis.yaml:11: agents.default.deny[0])"}"#);
    insta::assert_snapshot!(asks(Role::Member, r#"{"tool":"a__shout"}"#), @r#"200 {"agent":"ana","allowed":false,"considered":[],"depends":false,"found":false,"name":"a__shout","near":[],"origin":null,"rule":null,"silent":[],"why":"nothing has this name"}"#);
    insta::assert_snapshot!(asks(Role::Member, r#"{"agent":"ana","tool":"a__echo"}"#), @r#"404 {"code":"no-agent","detail":"there is no agent of that name","status":404,"title":"Not Found","type":"about:blank"}"#);
    insta::assert_snapshot!(asks(Role::Auditor, r#"{"agent":"ana"}"#), @r#"400 {"code":"malformed","detail":"tool: expected a name, or `SERVER/NAME`","errors":[{"field":"tool","message":"expected a name, or `SERVER/NAME`"}],"status":400,"title":"Bad Request","type":"about:blank"}"#);
}

#[test]
fn how_it_is_with_everything_is_told_at_a_glance() {
    let stage = Stage::new();
    insta::assert_snapshot!(stage.get(Role::Auditor, "overview"), @r#"{"agents":["ana","default"],"audit":null,"configuration":{"version":1},"servers":[{"name":"a","status":"up","tools":1},{"name":"c","reason":"needs the secret \"k\", which is not set: `portcullis secrets set k`","status":"down","tools":0}],"totals":null}"#);
    insta::assert_snapshot!(stage.get(Role::Member, "overview"), @r#"{"agents":["ana-laptop"],"audit":null,"configuration":null,"servers":[{"name":"a","status":"up","tools":1}],"totals":null}"#);
}
