//! Simulations of a gateway in memory: calls that it has recorded, against drafts that then come into force.

use proptest::prelude::*;

use super::*;
use crate::audit::{FIRST, Redactor, Writing};
use crate::body::Body;
use crate::config::{Source, parse};
use crate::identity::Proof;
use crate::testing::{Memory, TestTrail, gateway_on, json_answer, modern};
use crate::wire::json::Json;

const TOOLS: &str = r#"{"tools":[
{"name":"get_issue","inputSchema":{"type":"object","properties":{"repo":{"type":"string"}}}},
{"name":"create_issue","inputSchema":{"type":"object","properties":{"owner":{"type":"string"},"title":{"type":"string"}}}},
{"name":"delete_repo","inputSchema":{"type":"object"}}],"resultType":"complete","ttlMs":60000,"cacheScope":"public"}"#;
const RESOURCES: &str =
    r#"{"resources":[{"uri":"repo://a","name":"a"}],"resultType":"complete","ttlMs":60000}"#;

/// A gateway, its host, and what it records.
struct Stage {
    host: Memory,
    gateway: Gateway<Memory>,
    trail: Arc<TestTrail>,
}

fn config(text: &str) -> Config {
    let text = format!("version: 1\naudit: {{ arguments: true }}\n{text}");
    let parsed = parse(&[Source { path: "p.yaml".into(), text }], &|_| None);
    assert!(!parsed.is_refused(), "{:?}", parsed.problems);
    parsed.config
}

/// Servers, and a policy below them.
fn with_git(policy: &str) -> Config {
    config(&format!("servers: {{ git: {{ url: 'http://git.test/mcp' }} }}\n{policy}"))
}

impl Stage {
    fn new(config: Config) -> Self {
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
                _ => "{}",
            };
            let id = member("id").map_or("null", Json::text);
            json_answer(200, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
        });
        let trail = host.keep_trail();
        let gateway = gateway_on(host.clone(), config);
        let stage = Self { host, gateway, trail };
        stage.ask("nobody", "tools/list", "");
        stage.trail.take();
        stage
    }

    /// Asks as an agent; tells whether it is answered with a result.
    fn ask(&self, agent: &str, method: &'static str, params: &str) -> bool {
        let mut request = modern("1", method, params);
        if agent != "nobody" {
            request.extensions_mut().insert(Proof::of_agent(agent));
        }
        let reply = self.host.run(Box::pin(self.gateway.serve(request)));
        let Body::Full(whole) = reply.into_body() else { panic!("a whole body") };
        std::str::from_utf8(&whole.into_bytes()).unwrap().contains("\"result\":")
    }

    /// Calls a tool as an agent; tells whether that was let through.
    fn call(&self, agent: &str, name: &str, arguments: Option<&str>) -> bool {
        let arguments = arguments.map(|arguments| format!(r#","arguments":{arguments}"#));
        self.ask(agent, "tools/call", &format!(r#""name":"{name}"{}"#, arguments.unwrap_or_default()))
    }

    /// Returns what was recorded since, as lines of a trail that has arguments or does not.
    fn lines(&self, arguments: bool) -> Vec<String> {
        let writing = Writing { redactor: Redactor::default(), arguments };
        self.trail.take().iter().map(|entry| entry.line(1, FIRST, &writing)).collect()
    }

    fn simulate(&self, draft: Config, lines: &[String]) -> Report {
        tried(self.gateway.simulate(draft), lines)
    }
}

fn tried(mut simulation: Simulation, lines: &[String]) -> Report {
    for line in lines {
        simulation.take(line);
    }
    simulation.finish()
}

/// Says what a report says, a line for each finding.
fn said(report: &Report) -> String {
    let calls = |word: &str, calls: &[Calls]| {
        let line = |of: &Calls| {
            let server = of.server.as_deref().unwrap_or("?");
            format!(
                "{word}: {} {} {} of {server}, {} times: {}\n",
                of.agent, of.kind, of.name, of.times, of.rule
            )
        };
        calls.iter().map(line).collect::<String>()
    };
    let listed =
        |of: &Listed| format!("listed: {} +{:?} -{:?} ~{:?}\n", of.agent, of.added, of.removed, of.changed);
    let unread = |of: &Unread| format!("unread: {} {}\n", of.server, of.reason);
    let each = |word: &str, all: &[String]| {
        all.iter().fold(String::new(), |said, one| said + word + ": " + one + "\n")
    };
    [
        calls("refused", &report.refused),
        calls("allowed", &report.allowed),
        calls("unknown", &report.unknown),
        report.listed.iter().map(listed).collect(),
        report.unread.iter().map(unread).collect(),
        each("assumed", &report.assumed),
        each("remark", &report.remarks),
    ]
    .concat()
}

const POLICY: &str = r#"
agents:
  reader: { allow: ["git/get_*", "git/resource:repo://a*"] }
  writer: { allow: ["git/*"], deny: [git/delete_repo] }
"#;

#[test]
fn calls_are_counted_by_what_would_become_of_them() {
    let stage = Stage::new(with_git(POLICY));
    for _ in 0..3 {
        assert!(stage.call("writer", "git__create_issue", Some("{}")));
    }
    assert!(stage.call("reader", "git__get_issue", None));
    assert!(!stage.call("writer", "git__delete_repo", None));
    assert!(stage.ask("reader", "resources/read", r#""uri":"repo://a""#));
    let lines = stage.lines(true);
    let draft = "agents:\n  reader: { allow: ['git/tool:get_*'] }\n  writer:\n    allow: ['git/*']\n    deny:\n    - git/create_*\n";
    let report = stage.simulate(with_git(draft), &lines);
    insta::assert_snapshot!(said(&report), @r#"
    refused: reader resource repo://a of git, 1 times: no rule of agent reader allows it (p.yaml:5: agents.reader)
    refused: writer tool git__create_issue of git, 3 times: denied by `git/create_*` (p.yaml:9: agents.writer.deny[0])
    allowed: writer tool git__delete_repo of ?, 1 times: allowed by `git/*` (p.yaml:7: agents.writer.allow[0])
    listed: writer +["git__delete_repo"] -["git__create_issue"] ~[]
    "#);
    assert_eq!((report.considered, report.skipped), (6, 0));
    assert_eq!(
        report.refused[1].origin.as_ref().map(|origin| (&*origin.file, origin.line)),
        Some(("p.yaml", 9))
    );
    assert!(stage.simulate(with_git(POLICY), &lines).is_quiet());
}

#[test]
fn what_was_not_recorded_is_not_guessed() {
    let stage = Stage::new(with_git(POLICY));
    assert!(stage.call("writer", "git__get_issue", Some(r#"{"repo":"open"}"#)));
    assert!(stage.call("writer", "git__get_issue", Some(r#"{"repo":"secret"}"#)));
    let draft = |more: &str| {
        with_git(&format!(
            "agents:\n  reader: {{ allow: ['git/get_*', 'git/resource:repo://a*'] }}\n  writer: {{ allow: ['git/*'], deny: [git/delete_repo, {{ on: git/get_issue, when: 'args.repo == \"secret\"' }}{more}] }}"
        ))
    };
    let entries = stage.trail.take();
    let lines = |arguments: bool| {
        let writing = Writing { redactor: Redactor::default(), arguments };
        entries.iter().map(|entry| entry.line(1, FIRST, &writing)).collect::<Vec<_>>()
    };
    let check = |draft: Config, arguments: bool| said(&stage.simulate(draft, &lines(arguments)));
    insta::assert_snapshot!(check(draft(""), true), @"refused: writer tool git__get_issue of git, 1 times: denied by `git/get_issue` (p.yaml:6: agents.writer.deny[1])");
    insta::assert_snapshot!(check(draft(""), false), @"unknown: writer tool git__get_issue of git, 2 times: it depends on arguments, which were not recorded");
    // Whatever the arguments are, it is denied.
    insta::assert_snapshot!(check(draft(", 'git/get_*'"), false), @r#"
    refused: writer tool git__get_issue of git, 2 times: denied by `git/get_*` (p.yaml:6: agents.writer.deny[2])
    listed: writer +[] -["git__get_issue"] ~[]
    "#);
    // With that in force, another rule elsewhere changes nothing, and one that lets all through is certain to.
    stage.gateway.reload(draft(""));
    insta::assert_snapshot!(check(draft(", git/create_issue"), false), @r#"listed: writer +[] -["git__create_issue"] ~[]"#);
    insta::assert_snapshot!(check(with_git(POLICY), false), @r#""#);
}

#[test]
fn what_servers_and_variants_come_to_is_told() {
    let stage = Stage::new(config(
        "servers: { git: { url: 'http://git.test/mcp' }, down: { url: 'http://down.test/mcp' } }\nagents:\n  all: { allow: ['*'] }",
    ));
    assert!(stage.call("all", "git__create_issue", Some(r#"{"owner":"a","title":"b"}"#)));
    assert!(!stage.call("all", "down__get", None));
    let lines = stage.lines(true);
    let draft = "variants: { git: { file_bug: { from: create_issue, replace: true } } }\nagents:\n  all: { allow: ['*'] }";
    insta::assert_snapshot!(said(&stage.simulate(with_git(draft), &lines)), @r#"
    refused: all tool git__create_issue of git, 1 times: the variant "file_bug" stands in its place (p.yaml:4: variants.git.file_bug)
    unknown: all tool down__get of ?, 1 times: it depends on what a server offers, which is not known
    listed: all +["git__file_bug"] -["git__create_issue"] ~[]
    "#);
    let draft = "servers: { new: { url: 'http://new.test/mcp' }, git: { url: 'http://git.test/mcp', enabled: false }, down: { url: 'http://down.test/other' } }\nagents:\n  all: { allow: ['*'] }";
    insta::assert_snapshot!(said(&stage.simulate(config(draft), &lines)), @r#"
    refused: all tool git__create_issue of git, 1 times: the server "git" is disabled
    unknown: all tool down__get of ?, 1 times: it depends on what a server offers, which is not known
    listed: all +[] -["git__create_issue", "git__delete_repo", "git__get_issue"] ~[]
    unread: down has not been asked yet, or does not answer
    unread: new is new, and is asked once it is in force
    assumed: down
    "#);
    let draft = "variants: { git: { create_issue: { from: create_issue, arguments: { owner: { enum: [acme] } } } } }\nagents:\n  all: { allow: ['*'] }";
    insta::assert_snapshot!(said(&stage.simulate(with_git(draft), &lines)), @r#"
    refused: all tool git__create_issue of git, 1 times: the variant does not take the arguments: argument "owner" must be one of "acme" (p.yaml:4: variants.git.create_issue)
    unknown: all tool down__get of ?, 1 times: it depends on what a server offers, which is not known
    listed: all +[] -[] ~["git__create_issue"]
    "#);
}

#[test]
fn who_it_was_is_told_from_what_was_recorded() {
    let ways = "auth: { trust_tags: true }\nagents:\n  ops: { match: [{ tag: ops }], allow: ['git/*'] }\n  cursor: { match: [{ client: Cursor }], allow: ['git/get_*'] }\n  default: { allow: ['git/get_*'] }\n";
    let stage = Stage::new(with_git(ways));
    assert!(stage.call("nobody", "git__get_issue", None));
    let lines = stage.lines(true);
    assert_eq!(said(&stage.simulate(with_git(ways), &lines)), "");
    // Whatever tag it had, it was none that made it another agent.
    let narrower = ways.replace("default: { allow: ['git/get_*'] }", "default: { deny: ['*'] }");
    insta::assert_snapshot!(said(&stage.simulate(with_git(&narrower), &lines)), @r#"
    refused: default tool git__get_issue of git, 1 times: denied by `*` (p.yaml:8: agents.default.deny[0])
    listed: default +[] -["git__get_issue"] ~[]
    "#);
    let by_tag = narrower.replace("{ tag: ops }", "{ tag: dev }");
    insta::assert_snapshot!(said(&stage.simulate(with_git(&by_tag), &lines)), @r#"
    unknown: default tool git__get_issue of git, 1 times: it depends on the caller's tag, which is not recorded
    listed: default +[] -["git__get_issue"] ~[]
    "#);
    let reads = ways.replace(
        "default: { allow: ['git/get_*'] }",
        "default: { allow: [{ on: 'git/get_*', when: 'caller.tag == \"x\"' }] }",
    );
    insta::assert_snapshot!(said(&stage.simulate(with_git(&reads), &lines)), @r#"
    unknown: default tool git__get_issue of git, 1 times: it depends on the caller's tag, which is not recorded
    listed: default +[] -["git__get_issue"] ~[]
    "#);
    let required = ways.replace("trust_tags: true", "trust_tags: true, required: true");
    insta::assert_snapshot!(said(&stage.simulate(with_git(&required), &lines)), @"refused: default tool git__get_issue of git, 1 times: nobody is let in without a credential (auth.required)");
}

/// What is approved is served as it is then; until that, a changed tool is hidden.
#[test]
fn a_definition_is_tried_before_it_is_approved() {
    let hidden = "servers: { git: { url: 'http://git.test/mcp', approval: { changed: hide } } }\nagents:\n  all: { allow: ['*'] }";
    let stage = Stage::new(config(hidden));
    let before = stage.gateway.snapshot().servers["git"].seen().unwrap();
    let mut other = crate::catalog::Offer::clone(&before);
    let items = before.items(Kind::Tools).iter().map(|item| {
        let text = item.text.replace("\"inputSchema\"", "\"description\":\"before\",\"inputSchema\"");
        crate::catalog::Item { text: text.into(), ..item.clone() }
    });
    other.set_items(Kind::Tools, items.take(2).collect());
    let server = stage.gateway.snapshot().servers["git"].clone();
    let approval = Arc::new(Approval::of_all(&server.launch(), 1, &other));
    server.approve(Some(&approval), false);
    stage.gateway.snapshot().config.approvals.set(server.name.clone(), Some(approval));
    stage.gateway.snapshot().views.invalidate();
    assert!(!stage.call("all", "git__get_issue", None));
    let lines = stage.lines(true);
    let check =
        |tool: Option<&str>| said(&tried(stage.gateway.simulate_approval("git", tool).unwrap(), &lines));
    insta::assert_snapshot!(check(None), @r#"
    allowed: all tool git__get_issue of ?, 1 times: allowed by `*` (p.yaml:5: agents.all.allow[0])
    listed: all +["git__create_issue", "git__delete_repo", "git__get_issue"] -[] ~[]
    "#);
    insta::assert_snapshot!(check(Some("create_issue")), @r#"listed: all +["git__create_issue"] -[] ~[]"#);
    let bad = |server: &str, tool: Option<&str>| {
        stage.gateway.simulate_approval(server, tool).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(bad("got", None), "there is no such server");
    assert_eq!(bad("git", Some("gone")), "the server has no such tool");
    // Nothing was approved by that.
    assert!(!stage.call("all", "git__get_issue", None));
}

const RULES: [&str; 6] = [
    "'*'",
    "'git/*'",
    "'git/get_*'",
    "git/create_issue",
    "{ on: 'git/get_issue', when: 'args.repo == \"secret\"' }",
    "{ on: '*', when: 'has(args.title)' }",
];
const VARIANTS: [&str; 3] = [
    "",
    "variants: { git: { file_bug: { from: create_issue, replace: true, arguments: { owner: { fix: acme }, title: { enum: [b, c] } } } } }\n",
    "variants: { git: { get_issue: { from: get_issue, arguments: { repo: { fix: secret } } } } }\n",
];
const CALLS: [(&str, Option<&str>); 8] = [
    ("git__get_issue", None),
    ("git__get_issue", Some(r#"{"repo":"secret"}"#)),
    ("git__get_issue", Some(r#"{"repo":"open","title":"b"}"#)),
    ("git__create_issue", Some(r#"{"title":"b"}"#)),
    ("git__file_bug", Some(r#"{"title":"x"}"#)),
    ("git__file_bug", Some(r#"{"title":"c"}"#)),
    ("git__delete_repo", Some("{}")),
    ("git__nothing", None),
];

fn any_policy() -> impl Strategy<Value = String> {
    let rules = || prop::collection::vec(prop::sample::select(&RULES[..]), 0..3);
    let agent = (rules(), rules()).prop_map(|(allow, deny)| {
        format!("{{ allow: [{}], deny: [{}] }}", allow.join(", "), deny.join(", "))
    });
    (prop::sample::select(&VARIANTS[..]), agent.clone(), agent, any::<bool>()).prop_map(
        |(variants, a, b, is_there)| {
            let b = if is_there { format!("\n  b: {b}") } else { String::new() };
            format!("{variants}agents:\n  a: {a}{b}")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// What is in force changes nothing, and what is said of a draft is what is decided once it is in force.
    #[test]
    fn what_is_said_is_what_is_decided(now in any_policy(), then in any_policy(), arguments in any::<bool>()) {
        let stage = Stage::new(with_git(&now));
        // Of an agent that is not known yet, nothing is recorded.
        let agents = ["a", "b"].into_iter().filter(|agent| now.contains(&format!("  {agent}: ")));
        let made: Vec<_> = agents.flat_map(|agent| {
            CALLS.map(|(name, given)| (agent, name, given, stage.call(agent, name, given)))
        }).collect();
        let lines = stage.lines(arguments);
        prop_assert_eq!(lines.len(), made.len());
        prop_assert_eq!(said(&stage.simulate(with_git(&now), &lines)), "");
        let reports: Vec<_> =
            lines.iter().map(|line| stage.simulate(with_git(&then), std::slice::from_ref(line))).collect();
        stage.gateway.reload(with_git(&then));
        for ((agent, name, given, was), report) in made.into_iter().zip(&reports) {
            let is = stage.call(agent, name, given);
            let told = (report.refused.len(), report.allowed.len(), report.unknown.len());
            let expected = match (was, is) {
                (true, false) => (1, 0, 0),
                (false, true) => (0, 1, 0),
                _ => (0, 0, 0),
            };
            if told != (0, 0, 1) || arguments {
                prop_assert_eq!(told, expected, "{} {} {:?}: {}", agent, name, given, said(report));
            }
        }
    }
}
