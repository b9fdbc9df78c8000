//! What there is, as the admin API tells each role.

use http::{Method, Request, header};
use serde_json::Value;

use super::control::sorted;
use super::{ask, modern_server};
use crate::body::Body;
use crate::control::Managed;
use crate::control::who::{Operator, Role};
use crate::gateway::Gateway;
use crate::ports::{Clock as _, RecordStore as _};
use crate::testing::{Memory, gateway, modern};
use crate::upstream::lock;

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

/// What is checked, and changes nothing.
const CHECKED: &str = r#"{"files":{"portcullis.yaml":"version: 1\n"}}"#;

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

    fn send(&self, role: Role, asked: (Method, &str), body: (&str, &str)) -> (u16, Value) {
        self.send_if(Some("*"), role, asked, body)
    }

    fn send_with(
        &self,
        headers: &[(&'static str, &str)],
        role: Role,
        (method, path): (Method, &str),
        (kind, body): (&str, &str),
    ) -> (u16, Value) {
        let request = Request::builder().method(method).uri(format!("/admin/v1/{path}"));
        let request = request.header(header::CONTENT_TYPE, kind);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.ask(request, role, body)
    }

    fn ask(&self, request: http::request::Builder, role: Role, body: &str) -> (u16, Value) {
        let operator = Operator {
            principal: "user:https://idp.test:ana".into(),
            role,
            agents: vec!["ana-laptop".into()],
            name: None,
            session: None,
        };
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let body = Body::Full(bytes::Bytes::from(body.to_owned()).into());
        let reply = self.host.run(self.gateway.administer_for(&head, body, &operator));
        let status = reply.status().as_u16();
        let body = self.host.run(reply.into_body().collect(usize::MAX)).expect("a body");
        (status, sorted(serde_json::from_slice(&body).unwrap_or_default()))
    }

    fn send_if(
        &self,
        condition: Option<&str>,
        role: Role,
        asked: (Method, &str),
        body: (&str, &str),
    ) -> (u16, Value) {
        let headers: Vec<_> = condition.into_iter().map(|condition| ("if-match", condition)).collect();
        self.send_with(&headers, role, asked, body)
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

/// A member may write none, an auditor neither; what is written is the next version, and nothing else in the file has changed.
#[test]
fn an_entry_is_written_and_all_else_stays() {
    let stage = Stage::new();
    let body = r#"{"settings":{"url":"http://a.test/mcp","headers":{"X-Key":"[redacted]"},"timeout":"5s"},"note":"slow"}"#;
    let write = |role, method, path: &str, body: &str| {
        let (status, said) = stage.send(role, (method, path), ("application/json", body));
        format!("{status} {} {} {}", said["version"], said["note"], said["detail"])
    };
    insta::assert_snapshot!(write(Role::Auditor, Method::PUT, "servers/a", body), @r#"403 null null "the role `auditor` may not do this""#);
    insta::assert_snapshot!(write(Role::Operator, Method::PUT, "servers/A", body), @r#"200 2 "slow" null"#);
    insta::assert_snapshot!(write(Role::Operator, Method::POST, "servers", r#"{"name":"d","settings":{"url":"http://d.test/mcp"}}"#), @r#"201 3 "added the server d" null"#);
    insta::assert_snapshot!(write(Role::Operator, Method::POST, "servers", r#"{"name":"D","settings":{"url":"http://d.test/mcp"}}"#), @r#"409 null null "D is there already: change it with PUT""#);
    insta::assert_snapshot!(write(Role::Operator, Method::POST, "variants", r#"{"name":"a/whisper","settings":{"from":"echo"}}"#), @r#"201 4 "added the variant a/whisper" null"#);
    insta::assert_snapshot!(write(Role::Operator, Method::DELETE, "variants/a/shout", ""), @r#"200 5 "removed the variant a/shout" null"#);
    insta::assert_snapshot!(write(Role::Operator, Method::PUT, "agents/default", r#"{"settings":{"allow":["echoes"]}}"#), @r#"200 6 "changed the agent default" null"#);
    insta::assert_snapshot!(write(Role::Operator, Method::DELETE, "servers/none", ""), @r#"404 null null "there is no server of that name""#);
    // What would not be a configuration is none.
    insta::assert_snapshot!(write(Role::Operator, Method::DELETE, "groups/echoes", ""), @r#"422 null null "the configuration has 2 errors; nothing has changed""#);
    insta::assert_snapshot!(write(Role::Operator, Method::POST, "groups", r#"{"name":"x","settings":{"a":["[redacted]"]}}"#), @r#"422 null null "settings.a[0]: what `[redacted]` stands for is not known here; write the value, or a reference such as `${secret:NAME}`""#);
    insta::assert_snapshot!(write(Role::Operator, Method::POST, "variants", r#"{"name":"x","settings":{"from":"echo"}}"#), @r#"400 null null "name: expected `SERVER/NAME`""#);
    let kept = stage.get(Role::Admin, "config");
    insta::assert_snapshot!(kept["files"]["portcullis.yaml"].as_str().unwrap_or_default(), @r#"
    version: 1
    servers:
      # what we cannot do without
      a: { url: 'http://a.test/mcp', headers: { X-Key: abc }, timeout: "5s" }
      b: { url: 'http://b.test/mcp', enabled: false }
      c: { url: 'http://c.test/mcp', headers: { X-Ref: 'Bearer ${secret:k}' } }
      d: { url: "http://d.test/mcp" }
    groups: { echoes: { a: [echo] } }
    variants: { a: { whisper: { from: echo } } }
    agents:
      ana: { match: [{ api_key: ana-laptop }], allow: [echoes] }
      default: { allow: [echoes] }
    "#);
    let back =
        stage.send(Role::Operator, (Method::POST, "config/rollback"), ("application/json", r#"{"to":1}"#));
    assert_eq!(back.0, 200, "{}", back.1);
    assert_eq!(stage.get(Role::Admin, "config")["files"]["portcullis.yaml"], FILE);
}

#[test]
fn a_write_that_builds_on_another_version_is_refused() {
    let stage = Stage::new();
    let send = |condition: Option<&str>| {
        let body = r#"{"settings":{"a":["*"]}}"#;
        stage.send_if(condition, Role::Operator, (Method::PUT, "groups/echoes"), ("application/json", body)).0
    };
    assert_eq!(send(None), 428);
    assert_eq!(send(Some("\"7\"")), 412);
    assert_eq!(send(Some("\"1\"")), 200);
    assert_eq!(send(Some("\"1\"")), 200, "the same again changes nothing");
}

/// What is read from files of the machine's is written there, and nowhere else.
#[test]
fn files_of_the_host_are_not_written() {
    let stage = Stage::new();
    *lock(&stage.gateway.0.managed) = Managed::ByFiles("the file /etc/p.yaml".into());
    let (status, said) = stage.send(
        Role::Admin,
        (Method::POST, "groups"),
        ("application/json", r#"{"name":"x","settings":{"a":["*"]}}"#),
    );
    assert_eq!((status, said["code"].as_str()), (409, Some("configured-by-files")), "{said}");
    let shown = stage.get(Role::Admin, "groups/echoes");
    assert_eq!(shown["settings"], serde_json::json!({ "a": ["echo"] }));
}

#[test]
fn what_is_asked_twice_is_done_once() {
    let stage = Stage::new();
    let send = |key: &str, path: &str, body: &str| {
        let extra = [("idempotency-key", key)];
        let (status, said) =
            stage.send_with(&extra, Role::Operator, (Method::POST, path), ("application/json", body));
        format!("{status} {} {}", said["version"], said["detail"])
    };
    let body = r#"{"name":"x","settings":{"a":["*"]}}"#;
    insta::assert_snapshot!(send("k1", "groups", body), @"201 2 null");
    insta::assert_snapshot!(send("k1", "groups", body), @"201 2 null");
    insta::assert_snapshot!(send("k1", "groups", r#"{"name":"y","settings":{"a":["*"]}}"#), @r#"422 null "the `Idempotency-Key` was used for another request""#);
    insta::assert_snapshot!(send("k2", "groups", body), @r#"409 null "x is there already: change it with PUT""#);
    insta::assert_snapshot!(send("k2", "groups", r#"{"name":"y","settings":{"a":["*"]}}"#), @"201 3 null");
    insta::assert_snapshot!(send("", "groups", body), @r#"400 null "Idempotency-Key: expected 1 to 255 characters""#);
    // A key is shown once, whatever is asked again.
    let extra = [("idempotency-key", "k3")];
    let make = || {
        stage.send_with(
            &extra,
            Role::Operator,
            (Method::POST, "keys"),
            ("application/json", r#"{"agent":"ana-laptop"}"#),
        )
    };
    let (first, again) = (make(), make());
    assert_eq!((first.0, again.0), (201, 409), "{}", again.1);
    assert!(
        again.1["detail"].as_str().is_some_and(|said| said.contains(first.1["id"].as_str().unwrap())),
        "{}",
        again.1
    );
    assert_eq!(stage.get(Role::Operator, "keys")["keys"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_tool_is_tried_as_an_agent_by_whoever_governs() {
    let stage = Stage::new();
    let trail = stage.host.keep_trail();
    let call = |role: Role, body: &str| {
        let (status, said) =
            stage.send(role, (Method::POST, "tools/call"), ("application/json", &body.replace('\'', "\"")));
        let said = if status == 200 { said } else { said["detail"].clone() };
        let line = |entry: &crate::audit::Entry| {
            let who = (entry.agent.as_deref(), entry.principal.as_deref(), entry.client.as_deref());
            format!("{} {:?} {who:?} {}", entry.method, entry.auth, entry.decision.as_str())
        };
        let entries: Vec<_> = trail.take().iter().map(line).collect();
        format!("{status} {said}\n{}", entries.join("\n"))
    };
    insta::assert_snapshot!(call(Role::Operator, "{'agent':'ana','name':'a__echo','arguments':{'n':1.0}}"), @r#"
    200 {"result":{"big":1.2345678901234568e+29,"content":[],"resultType":"complete"}}
    tools/call Operator (Some("ana"), Some("user:https://idp.test:ana"), Some("portcullis-admin")) allowed
    POST /admin/v1/tools/call Admin (None, Some("user:https://idp.test:ana"), None) allowed
    "#);
    insta::assert_snapshot!(call(Role::Admin, "{'name':'a__echo'}"), @r#"
    200 {"error":{"code":-32602,"message":"Unknown tool: a__echo"}}
    tools/call Operator (Some("default"), Some("user:https://idp.test:ana"), Some("portcullis-admin")) denied
    POST /admin/v1/tools/call Admin (None, Some("user:https://idp.test:ana"), None) allowed
    "#);
    insta::assert_snapshot!(call(Role::Admin, "{'agent':'nobody','name':'a__echo'}"), @r#"
    404 "no agent is called \"nobody\"; agents: ana, default"
    POST /admin/v1/tools/call Admin (None, Some("user:https://idp.test:ana"), None) denied
    "#);
    insta::assert_snapshot!(call(Role::Admin, "{'agent':'ana','name':'a__echo','arguments':7}"), @r#"
    400 "arguments: expected an object"
    POST /admin/v1/tools/call Admin (None, Some("user:https://idp.test:ana"), None) denied
    "#);
    insta::assert_snapshot!(call(Role::Member, "{'agent':'ana-laptop','name':'a__echo'}"), @r#"
    403 "the role `member` may not do this"
    POST /admin/v1/tools/call Admin (None, Some("user:https://idp.test:ana"), None) denied
    "#);
}

/// Whoever uses ever new keys is stopped, and is still told what was answered before.
#[test]
fn keys_of_requests_are_bounded() {
    let stage = Stage::new();
    let send = |key: &str| {
        let extra = [("idempotency-key", key)];
        let (status, said) = stage.send_with(
            &extra,
            Role::Operator,
            (Method::POST, "config/check"),
            ("application/json", CHECKED),
        );
        assert!(status == 200 || said["code"] == "too-often", "{status} {said}");
        status
    };
    let kept = |collection: &'static str| {
        stage.host.run(stage.host.store().page(collection, None, 2000)).expect("records").len()
    };
    for number in 0..500 {
        assert_eq!(send(&format!("k{number}")), 200, "{number}");
    }
    assert_eq!((kept("idempotency"), kept("idempotency-count")), (500, 1));
    assert_eq!([send("other"), send("k0")], [429, 200]);
    assert_eq!(kept("idempotency"), 500, "nothing is kept of what was refused");
    stage.host.run(stage.host.sleep(std::time::Duration::from_hours(1)));
    assert_eq!(send("other"), 200);
}
