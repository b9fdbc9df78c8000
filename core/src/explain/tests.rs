//! Explanations of a gateway in memory: where names lead, which rules decide, and that lists agree.

use super::*;
use crate::config::{Source, parse};
use crate::ports::Clock as _;
use crate::testing::{Memory, gateway_with, json_answer, modern};

const TOOLS: &str = r#"{"tools":[
{"name":"get_issue","inputSchema":{"type":"object","properties":{"repo":{"type":"string"}}}},
{"name":"create_issue","inputSchema":{"type":"object","properties":{"owner":{"type":"string"},"title":{"type":"string"}}}},
{"name":"delete_repo","inputSchema":{"type":"object"}}],"resultType":"complete","ttlMs":60000,"cacheScope":"public"}"#;
const RESOURCES: &str =
    r#"{"resources":[{"uri":"repo://a","name":"a"}],"resultType":"complete","ttlMs":60000}"#;
const TEMPLATES: &str = r#"{"resourceTemplates":[{"uriTemplate":"repo://{name}/x","name":"x"}],"resultType":"complete","ttlMs":60000}"#;

const POLICY: &str = r#"
version: 1
servers: { git: { url: "http://git.test/mcp" }, down: { url: "http://down.test/mcp" } }
variants:
  git:
    file_bug:
      from: create_issue
      replace: true
      arguments: { owner: { fix: acme }, title: { enum: [a, b] } }
agents:
  reader: { match: [{ client: Cursor }], allow: ["git/get_*", git/gone, "git/resource:repo://a*"] }
  writer:
    allow: ["git/*"]
    deny: ["git/DELETE_*", { on: git/get_issue, when: 'args.repo == "secret"' }]
    limits: { rate: 60/m, daily: 1000, timeout: 30s, tools: { "git/file_*": { concurrency: 1 } } }
limits: { "*/get_issue": { rate: 2/s, result: 1MiB } }
"#;

fn started() -> (Memory, Gateway<Memory>) {
    let host = Memory::new(|request| {
        let json = Json::check(request.body()).ok();
        let member = |key: &str| json.and_then(|json| json.get(key));
        let method = member("method").and_then(Json::as_str).unwrap_or_default();
        let result = match method.as_ref() {
            _ if request.uri().host() == Some("down.test") => return json_answer(500, "no"),
            "server/discover" => {
                r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"resources":{}}}"#
            }
            "tools/list" => TOOLS,
            "resources/list" => RESOURCES,
            "resources/templates/list" => TEMPLATES,
            _ => "{}",
        };
        let id = member("id").map_or("null", Json::text);
        json_answer(200, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
    });
    let config = parse(&[Source { path: "p.yaml".into(), text: POLICY.into() }], &|_| None).config;
    let gateway = gateway_with(&host, &["git", "down"], config);
    // A list is answered once every server has answered or failed.
    let listed = host.run(Box::pin(gateway.serve(modern("1", "tools/list", ""))));
    assert_eq!(listed.status(), 200);
    (host, gateway)
}

fn ask(gateway: &Gateway<Memory>, who: Somebody<'_>, kind: ItemKind, call: (&str, Option<&str>)) -> String {
    let (name, arguments) = call;
    let explained = match gateway.explain(&Question { who, kind, name, arguments }) {
        Ok(explained) => explained,
        Err(unknown) => return unknown.to_string(),
    };
    let who = format!("{} ({:?})", explained.agent, explained.client);
    let Some(found) = explained.found else {
        return format!("{who}: nothing; {:?}; {:?}; {:?}", explained.gone, explained.near, explained.silent);
    };
    let Found { exposed, server, name, upstream, variant, judgement, unfit, limits } = found;
    let variant = variant.map(|of| format!(", a variant of {} ({})", of.from, of.origin)).unwrap_or_default();
    let mut lines = vec![
        format!("{who}: {exposed} is {name}, {upstream} of {server}{variant}"),
        format!("{:?}, {}", judgement.verdict, judgement.by),
    ];
    lines.extend(unfit.map(|why| format!("unfit: {why}")));
    lines.extend(limits.iter().map(|of| format!("{}: {} ({})", of.what, of.limits, of.origin)));
    lines.join("\n")
}

fn tool(agent: &str, name: &str, arguments: Option<&str>) -> String {
    let who = Somebody { agent: Some(agent), ..Somebody::default() };
    ask(&started().1, who, ItemKind::Tool, (name, arguments))
}

#[test]
fn a_name_is_followed_to_its_server_and_the_rule() {
    insta::assert_snapshot!(tool("reader", "git__get_issue", None), @r#"
    reader (None): git__get_issue is get_issue, get_issue of git
    Allowed, allowed by `git/get_*` (p.yaml:11: agents.reader.allow[0])
    this, by all callers together: 2/s, results up to 1MiB (p.yaml:16: limits."*/get_issue")
    "#);
    insta::assert_snapshot!(tool("writer", "git__get_issue", None), @r#"
    writer (None): git__get_issue is get_issue, get_issue of git
    Depends, allowed by `git/*` (p.yaml:13: agents.writer.allow[0]), where the arguments permit
    everything that agent writer does: 60/m, 1000 a day, 30s each (p.yaml:12: agents.writer)
    this, by all callers together: 2/s, results up to 1MiB (p.yaml:16: limits."*/get_issue")
    "#);
    insta::assert_snapshot!(tool("writer", "git/get_issue", Some(r#"{"repo":"secret"}"#)), @r#"
    writer (None): git__get_issue is get_issue, get_issue of git
    Denied, denied by `git/get_issue` (p.yaml:14: agents.writer.deny[1])
    everything that agent writer does: 60/m, 1000 a day, 30s each (p.yaml:12: agents.writer)
    this, by all callers together: 2/s, results up to 1MiB (p.yaml:16: limits."*/get_issue")
    "#);
    insta::assert_snapshot!(tool("writer", "git__file_bug", Some(r#"{"title":"c"}"#)), @r#"
    writer (None): git__file_bug is file_bug, create_issue of git, a variant of create_issue (p.yaml:6: variants.git.file_bug)
    Allowed, allowed by `git/*` (p.yaml:13: agents.writer.allow[0])
    unfit: argument "title" must be one of "a", "b"
    everything that agent writer does: 60/m, 1000 a day, 30s each (p.yaml:12: agents.writer)
    this, by agent writer: 1 at a time (p.yaml:15: agents.writer.limits.tools."git/file_*")
    "#);
    insta::assert_snapshot!(tool("reader", "git__delete_repo", None), @"
    reader (None): git__delete_repo is delete_repo, delete_repo of git
    Denied, no rule of agent reader allows it (p.yaml:11: agents.reader)
    ");
}

#[test]
fn what_nobody_has_is_told_with_what_is_like_it() {
    insta::assert_snapshot!(tool("writer", "git__get_isue", None), @r#"writer (None): nothing; None; [Near { name: "git__get_issue", is_seen: true }]; [("down", "answered `initialize` with HTTP 500 Internal Server Error and no JSON-RPC message; is the URL right?")]"#);
    insta::assert_snapshot!(tool("reader", "delete_repo", None), @r#"reader (None): nothing; None; [Near { name: "git__delete_repo", is_seen: false }]; [("down", "answered `initialize` with HTTP 500 Internal Server Error and no JSON-RPC message; is the URL right?")]"#);
    insta::assert_snapshot!(tool("reader", "git/create_issue", None), @r#"reader (None): nothing; Some("the variant \"file_bug\" stands in its place (p.yaml:6: variants.git.file_bug)"); []; [("down", "answered `initialize` with HTTP 500 Internal Server Error and no JSON-RPC message; is the URL right?")]"#);
    insta::assert_snapshot!(tool("raeder", "git__get_issue", None), @r#"no agent is called "raeder"; did you mean "reader"?"#);
}

#[test]
fn resources_are_followed_as_agents_are_led() {
    let (_host, gateway) = started();
    let check = |uri: &str| {
        let who = Somebody { agent: Some("reader"), ..Somebody::default() };
        ask(&gateway, who, ItemKind::Resource, (uri, None))
    };
    insta::assert_snapshot!(check("repo://a"), @"
    reader (None): repo://a is repo://a, repo://a of git
    Allowed, allowed by `git/resource:repo://a*` (p.yaml:11: agents.reader.allow[2])
    ");
    insta::assert_snapshot!(check("git/repo://a"), @"
    reader (None): repo://a is repo://a, repo://a of git
    Allowed, allowed by `git/resource:repo://a*` (p.yaml:11: agents.reader.allow[2])
    ");
    insta::assert_snapshot!(check("repo://b/x"), @"
    reader (None): repo://b/x is repo://b/x, repo://b/x of git
    Denied, no rule of agent reader allows it (p.yaml:11: agents.reader)
    ");
    insta::assert_snapshot!(check("repo://{name}/x"), @"
    reader (None): repo://{name}/x is repo://{name}/x, repo://{name}/x of git
    Allowed, allowed by `git/resource:repo://a*` (p.yaml:11: agents.reader.allow[2])
    ");
}

#[test]
fn somebody_is_whom_the_policy_knows_them_as() {
    let (_host, gateway) = started();
    let check = |who| ask(&gateway, who, ItemKind::Tool, ("git__get_issue", None));
    insta::assert_snapshot!(check(Somebody { client: Some("cursor-vscode"), ..Somebody::default() }), @r#"
    reader (Some("Cursor")): git__get_issue is get_issue, get_issue of git
    Allowed, allowed by `git/get_*` (p.yaml:11: agents.reader.allow[0])
    this, by all callers together: 2/s, results up to 1MiB (p.yaml:16: limits."*/get_issue")
    "#);
    insta::assert_snapshot!(check(Somebody { tag: Some("ops"), ..Somebody::default() }), @r#"
    default (None): git__get_issue is get_issue, get_issue of git
    Denied, no rule of agent default allows it (p.yaml:11: agents, where no `default` is written)
    this, by all callers together: 2/s, results up to 1MiB (p.yaml:16: limits."*/get_issue")
    "#);
    insta::assert_snapshot!(check(Somebody { agent: Some("Writer"), client: Some("Cursor"), tag: None }), @r#"
    writer (Some("Cursor")): git__get_issue is get_issue, get_issue of git
    Depends, allowed by `git/*` (p.yaml:13: agents.writer.allow[0]), where the arguments permit
    everything that agent writer does: 60/m, 1000 a day, 30s each (p.yaml:12: agents.writer)
    this, by all callers together: 2/s, results up to 1MiB (p.yaml:16: limits."*/get_issue")
    "#);
}

#[test]
fn what_is_explained_is_what_is_listed() {
    let (host, gateway) = started();
    let snapshot = gateway.snapshot();
    for agent in ["reader", "writer", "default"] {
        let somebody = Somebody { agent: Some(agent), ..Somebody::default() };
        let who = suppose(&snapshot.config.policy, &snapshot.config.auth, &somebody).unwrap();
        let view = snapshot.view(&Scope::All, &who, &[], host.now());
        let all = snapshot.view_of_everything();
        assert_eq!(all.everything(Kind::Tools).count(), 3);
        for (name, _) in all.everything(Kind::Tools) {
            let question = Question { who: somebody, kind: ItemKind::Tool, name, arguments: None };
            let found = gateway.explain(&question).unwrap().found.unwrap();
            let is_listed = view.find(Kind::Tools, name).is_some();
            assert_eq!(found.judgement.verdict != Verdict::Denied, is_listed, "{agent} {name}");
        }
    }
}

#[test]
fn names_that_no_server_offers_are_told_once_a_change() {
    let (_host, gateway) = started();
    let said: Vec<_> = gateway.unknown_names().iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n"), @"p.yaml:11: agents.reader.allow[1]: no server offers `git/gone`");
    assert_eq!(lock(&gateway.0.told).iter().collect::<Vec<_>>(), said.iter().collect::<Vec<_>>());
    let mut config = Config::clone(&gateway.snapshot().config);
    config.policy = Policy::default();
    gateway.reload(config);
    assert_eq!(lock(&gateway.0.told).len(), 0);
}
