//! The sections about access, from files to what they mean.

use std::time::Duration;

use proptest::prelude::*;

use crate::config::{
    AgentLimits, Config, Match, OnFailure, Parsed, Problem, Rate, Rule, Selector, Severity, Source, What,
    parse,
};

const SERVERS: &str =
    "servers:\n  github: { command: a }\n  time: { command: a, enabled: false }\n  bad: {}\n";

/// Reads sections that begin on line 6, after three servers.
pub(in crate::config) fn read(sections: &str) -> Parsed {
    let text = format!("version: 1\n{SERVERS}{sections}");
    parse(&[Source { path: "p.yaml".to_owned(), text }], &|_| None)
}

/// Lists the problems of sections, with hints.
pub(in crate::config) fn check(sections: &str) -> String {
    let problems = read(sections).problems.into_iter().filter(|problem| problem.server.is_none());
    problems.map(|problem| problem.to_string()).collect::<Vec<_>>().join("\n")
}

/// Lists the problems of one agent.
fn agent(fields: &str) -> String {
    check(&format!("agents: {{ a: {{ {fields} }} }}"))
}

/// Reads sections in which nothing is wrong.
pub(in crate::config) fn config(sections: &str) -> Config {
    assert_eq!(check(sections), "");
    read(sections).config
}

fn shown(selector: &Selector) -> String {
    let kind = selector.kind.map(|kind| format!("{kind:?}:").to_lowercase()).unwrap_or_default();
    format!("{}/{kind}{}", selector.server.as_str(), selector.item.as_str())
}

fn rules(rules: &[Rule]) -> String {
    let line = |rule: &Rule| {
        let what = match &rule.what {
            What::Everything => "everything".to_owned(),
            What::Group(key) => format!("group {key}"),
            What::Select(selector) => shown(selector),
        };
        let when = rule.when.as_ref().map(|when| format!(" when {}", when.text())).unwrap_or_default();
        format!("{}: {} is {what}{when}", rule.origin, rule.text)
    };
    rules.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn agents_are_read() {
    let config = config(
        r#"
groups:
  Read-Only: { GitHub: ["get_*", "resource:repo://*"], "*": "prompt:help" }
agents:
  coder:
    match: [{ api_key: coder }, { claim: { groups: engineering } }, { client: Cursor }]
    allow:
      - read-only
      - TIME
      - github/create_issue
      - { on: "git*/tool:create_*", when: 'args.repo == "sandbox"' }
    deny: github/*
    when: 'args.repo != "secret"'
    limits:
      rate: 60/m
      concurrency: 4
      daily: 1000
      result: 1MiB
      timeout: 30s
      tools: { "github/search_*": { rate: 10/d } }
  Default: { allow: "*" }
limits: { github/prompt:x: { concurrency: 2 } }
"#,
    );
    let group = &config.policy.groups["read-only"];
    insta::assert_snapshot!(group.origin, @"p.yaml:8: groups.Read-Only");
    insta::assert_snapshot!(group.members.iter().map(shown).collect::<Vec<_>>().join(" "), @"GitHub/get_* GitHub/resource:repo://* */prompt:help");
    let [coder] = &config.policy.agents[..] else { panic!("one agent besides the default") };
    insta::assert_snapshot!(coder.origin, @"p.yaml:10: agents.coder");
    insta::assert_debug_snapshot!(coder.matches, @r#"
    [
        ApiKey(
            "coder",
        ),
        Claim(
            "groups",
            "engineering",
        ),
        Client(
            "Cursor",
        ),
    ]
    "#);
    insta::assert_snapshot!(rules(&coder.allow), @r#"
    p.yaml:13: agents.coder.allow[0]: read-only is group read-only
    p.yaml:14: agents.coder.allow[1]: TIME is TIME/*
    p.yaml:15: agents.coder.allow[2]: github/create_issue is github/create_issue
    p.yaml:16: agents.coder.allow[3]: git*/tool:create_* is git*/tool:create_* when args.repo == "sandbox"
    "#);
    insta::assert_snapshot!(rules(&coder.deny), @"p.yaml:17: agents.coder.deny: github/* is github/*");
    insta::assert_debug_snapshot!(coder.when.as_ref().map(crate::acl::Condition::text), @r#"
    Some(
        "args.repo != \"secret\"",
    )
    "#);
    let limits = AgentLimits {
        rate: Some(Rate { count: 60, period: Duration::from_mins(1) }),
        concurrency: Some(4),
        daily: Some(1000),
        result: Some(1 << 20),
        timeout: Some(Duration::from_secs(30)),
    };
    assert_eq!(coder.limits, limits);
    insta::assert_snapshot!(rules(&config.policy.default.allow), @"p.yaml:26: agents.Default.allow: * is everything");
    let tools = config.tool_limits.iter();
    let tools =
        tools.map(|of| format!("{}: {} of {:?}: {:?}", of.origin, shown(&of.selector), of.agent, of.limits));
    insta::assert_snapshot!(tools.collect::<Vec<_>>().join("\n"), @r#"
    p.yaml:25: agents.coder.limits.tools."github/search_*": github/search_* of Some("coder"): Limits { rate: Some(Rate { count: 10, period: 86400s }), concurrency: None, daily: None, result: None, timeout: None }
    p.yaml:27: limits."github/prompt:x": github/prompt:x of None: Limits { rate: None, concurrency: Some(2), daily: None, result: None, timeout: None }
    "#);
}

#[test]
fn who_is_not_named_may_do_everything_only_where_nobody_is() {
    let allowed = |sections: &str| rules(&read(sections).config.policy.default.allow);
    insta::assert_snapshot!(allowed(""), @"no policy is configured: * is everything");
    insta::assert_snapshot!(allowed("groups: { a: { github: '*' } }"), @"no policy is configured: * is everything");
    insta::assert_snapshot!(allowed("agents: {}"), @"");
    insta::assert_snapshot!(read("agents: {}").config.policy.default.origin, @"p.yaml:6: agents, where no `default` is written");
    insta::assert_snapshot!(allowed("agents: { coder: { allow: '*' } }"), @"");
}

#[test]
fn what_is_refused_lets_nobody_do_anything() {
    for sections in
        ["agents:", "agents: { a: { deny: nope } }", "groups: []", "gateway: { legacy: 5 }", "auth: no"]
    {
        let parsed = read(sections);
        assert!(parsed.is_refused(), "{sections}");
        let policy = &parsed.config.policy;
        assert!(policy.agents.is_empty() && policy.default.allow.is_empty(), "{sections}");
    }
}

#[test]
fn what_says_nothing_does_not_pass_for_absent() {
    insta::assert_snapshot!(check("agents:\ngroups:\nvariants:\nauth:\nlimits:\naudit:\n"), @"
    p.yaml:6:7: error: agents: expected a map, found nothing
      hint: remove the key, or write `{}` after it
    p.yaml:7:7: error: groups: expected a map, found nothing
      hint: remove the key, or write `{}` after it
    p.yaml:8:9: error: variants: expected a map, found nothing
      hint: remove the key, or write `{}` after it
    p.yaml:9:5: error: auth: expected a map, found nothing
      hint: remove the key, or write `{}` after it
    p.yaml:10:7: error: limits: expected a map, found nothing
      hint: remove the key, or write `{}` after it
    p.yaml:11:6: error: audit: expected a map, found nothing
      hint: remove the key, or write `{}` after it
    ");
    insta::assert_snapshot!(check("agents:\n  a:\n"), @"p.yaml:7:4: error: agents.a: expected a map, found nothing");
    insta::assert_snapshot!(agent("match: , allow: , deny: , when: , limits: "), @"
    p.yaml:6:21: error: agents.a.match: expected a list of ways to recognise a caller, found nothing
    p.yaml:6:30: error: agents.a.allow: expected a rule, found nothing
    p.yaml:6:38: error: agents.a.deny: expected a rule, found nothing
    p.yaml:6:46: error: agents.a.when: expected a text, found nothing
    p.yaml:6:56: error: agents.a.limits: expected a map, found nothing
    ");
    insta::assert_snapshot!(agent("allow: [~, '', { on: , when: }], match: [{ tag: '' }]"), @"
    p.yaml:6:24: error: agents.a.allow[0]: expected a rule, found nothing
    p.yaml:6:27: error: agents.a.allow[1]: expected a rule, found an empty text
    p.yaml:6:35: error: agents.a.allow[2].on: expected a rule, found nothing
    p.yaml:6:43: error: agents.a.allow[2].when: expected a text, found nothing
    p.yaml:6:64: error: agents.a.match[0].tag: expected a text, found an empty text
    ");
    insta::assert_snapshot!(check("groups: { g: { github: } }"), @"
    p.yaml:6:11: warning: groups.g: this group holds nothing
    p.yaml:6:22: error: groups.g.github: expected a name or a pattern, found nothing
    ");
    insta::assert_snapshot!(check("variants: { github: { v: { from: , kind: , description: , arguments: , result:  } } }"), @"
    p.yaml:6:32: error: variants.github.v.from: expected a name, found nothing
    p.yaml:6:40: error: variants.github.v.kind: expected `tool` or `prompt`, found nothing
    p.yaml:6:55: error: variants.github.v.description: expected a text, or a map with `rewrite` or `append`, found nothing
    p.yaml:6:68: error: variants.github.v.arguments: expected a map, found nothing
    p.yaml:6:78: error: variants.github.v.result: expected a map, found nothing
    ");
    insta::assert_snapshot!(check("auth: { required: , header: , trust_tags: }"), @"
    p.yaml:6:17: error: auth.required: expected true or false, found nothing
    p.yaml:6:27: error: auth.header: expected the name of a header, found nothing
    p.yaml:6:41: error: auth.trust_tags: expected true or false, found nothing
    ");
}

#[test]
fn rules_name_what_there_is() {
    insta::assert_snapshot!(agent("allow: ['*', github, time/*, bad, '*/tool:get_*', 'git???/x', github/a/b:c]"), @"");
    insta::assert_snapshot!(agent("allow: [githb, nope, github__create_issue, slack/x, 'sla*/x', githubs/y]"), @r#"
    p.yaml:6:24: error: agents.a.allow[0]: no group and no server is called "githb"
      hint: did you mean "github"?
    p.yaml:6:31: error: agents.a.allow[1]: no group and no server is called "nope"
      hint: groups and servers: "bad", "github", "time"
    p.yaml:6:37: error: agents.a.allow[2]: no group and no server is called "github__create_issue"
      hint: write `github/create_issue`
    p.yaml:6:59: error: agents.a.allow[3]: no server is called "slack"
      hint: servers: "bad", "github", "time"
    p.yaml:6:68: error: agents.a.allow[4]: no server's name matches "sla*"
      hint: servers: "bad", "github", "time"
    p.yaml:6:78: error: agents.a.allow[5]: no server is called "githubs"
      hint: did you mean "github"?
    "#);
    insta::assert_snapshot!(agent("allow: ['get_*', /x, github/, 'github/tool:', github/tools:x, github/Resource:x]"), @r#"
    p.yaml:6:24: error: agents.a.allow[0]: "get_*" is a pattern, and does not say of what
      hint: write `SERVER/PATTERN`, or `*/PATTERN` for all servers
    p.yaml:6:33: error: agents.a.allow[1]: expected `SERVER/NAME`, found "/x"
      hint: `*` stands for any name: `SERVER/*` is everything of a server
    p.yaml:6:37: error: agents.a.allow[2]: the name is missing
      hint: `*` stands for any name
    p.yaml:6:46: error: agents.a.allow[3]: the name is missing
      hint: `*` stands for any name
    p.yaml:6:62: error: agents.a.allow[4]: "tools" is no kind; known: tool, prompt, resource
      hint: did you mean `tool:`?
    p.yaml:6:78: error: agents.a.allow[5]: "Resource" is no kind; known: tool, prompt, resource
      hint: did you mean `resource:`?
    "#);
    insta::assert_snapshot!(agent("allow: [[a], {}, { on: github }, { on: github, when: 'true', if: y }]"), @r#"
    p.yaml:6:24: error: agents.a.allow[0]: expected a rule, found a list
    p.yaml:6:29: error: agents.a.allow[1]: the key `on` is missing
      hint: write the rule as a text, or as `{ on: RULE, when: EXPRESSION }`
    p.yaml:6:29: error: agents.a.allow[1]: the key `when` is missing
      hint: write the rule as a text, or as `{ on: RULE, when: EXPRESSION }`
    p.yaml:6:33: error: agents.a.allow[2]: the key `when` is missing
      hint: write the rule as a text, or as `{ on: RULE, when: EXPRESSION }`
    p.yaml:6:77: error: agents.a.allow[3].if: unknown key "if"; known: on, when
    "#);
    insta::assert_snapshot!(check("groups: { time: { github: x }, Readers: { time: x } }\nagents: { a: { allow: [time, readrs, reader/x] } }"), @r#"
    p.yaml:7:24: error: agents.a.allow[0]: "time" is both a group and a server
      hint: write `time/*` for the server, or rename the group
    p.yaml:7:30: error: agents.a.allow[1]: no group and no server is called "readrs"
      hint: did you mean "Readers"?
    p.yaml:7:38: error: agents.a.allow[2]: no server is called "reader"
      hint: servers: "bad", "github", "time"
    "#);
    insta::assert_snapshot!(check("limits: { github: { rate: 1/s }, '*': {}, nope/x: {} }"), @r#"
    p.yaml:6:11: error: limits.github: expected `SERVER/NAME`, found "github"
      hint: `*` stands for any name: `SERVER/*` is everything of a server
    p.yaml:6:34: error: limits."*": expected `SERVER/NAME`, found "*"
      hint: `*` stands for any name: `SERVER/*` is everything of a server
    p.yaml:6:43: error: limits."nope/x": no server is called "nope"
      hint: servers: "bad", "github", "time"
    "#);
}

#[test]
fn conditions_are_read_where_they_stand() {
    insta::assert_snapshot!(agent("allow: [{ on: github, when: 'args.x ==' }], when: 'nobody.knows'"), @"
    p.yaml:6:44: error: agents.a.allow[0].when: in the expression: line 1, column 10: mismatched input the end expecting expression
    p.yaml:6:66: error: agents.a.when: in the expression: line 1, column 1: unknown variable `nobody`; known are args, caller, now
    ");
}

#[test]
fn groups_hold_something() {
    insta::assert_snapshot!(check("groups: { g: {}, h: { github: [] } }"), @"
    p.yaml:6:11: warning: groups.g: this group holds nothing
    p.yaml:6:18: warning: groups.h: this group holds nothing
    ");
    insta::assert_snapshot!(check("groups: { g: { githib: x, 'x*': y, github: [tols:a, [b]] }, 'a/b': { github: c }, '*': { github: c }, G: { github: c } }"), @r#"
    p.yaml:6:16: error: groups.g.githib: no server is called "githib"
      hint: did you mean "github"?
    p.yaml:6:27: error: groups.g."x*": no server's name matches "x*"
      hint: servers: "bad", "github", "time"
    p.yaml:6:53: error: groups.g.github[1]: expected a name or a pattern, found a list
    p.yaml:6:61: error: groups."a/b": the name of this group has 1 to 64 characters, each a letter, digit, `_`, `-`, `.` or a space in between; found "a/b"
    p.yaml:6:83: error: groups."*": the name of this group has 1 to 64 characters, each a letter, digit, `_`, `-`, `.` or a space in between; found "*"
    p.yaml:6:103: error: groups.G: "G" is the name of the group on line 6 already; case makes no difference
      hint: rename one of them
    "#);
}

#[test]
fn an_agent_that_may_do_nothing_says_so() {
    insta::assert_snapshot!(agent(""), @r#"
    p.yaml:6:11: warning: agents.a: this agent may do nothing, since it has no `allow`
      hint: add `allow`, or say so with `deny: ["*"]`
    "#);
    insta::assert_snapshot!(agent("deny: [{ on: '*', when: 'args.a == 1' }]"), @r#"
    p.yaml:6:11: warning: agents.a: this agent may do nothing, since it has no `allow`
      hint: add `allow`, or say so with `deny: ["*"]`
    "#);
    insta::assert_snapshot!(agent("deny: '*'"), @"");
    insta::assert_snapshot!(agent("allow: []"), @"");
}

#[test]
fn agents_can_be_told_apart() {
    insta::assert_snapshot!(check("agents: { a: { allow: '*' }, A: { allow: '*' }, a/b: { allow: '*' }, default: { match: [{ tag: x }], allow: [] } }\nauth: { trust_tags: true }"), @r#"
    p.yaml:6:30: error: agents.A: "A" is the name of the agent on line 6 already; case makes no difference
      hint: rename one of them
    p.yaml:6:49: error: agents."a/b": the name of this agent has 1 to 64 characters, each a letter, digit, `_`, `-`, `.` or a space in between; found "a/b"
    p.yaml:6:89: error: agents.default.match[0]: `default` is every caller that no other agent matches; it has no `match`
      hint: give what is matched to an agent of its own
    p.yaml:7:21: warning: auth.trust_tags: a tag is a claim and no proof: whoever can reach the gateway can be any such agent
      hint: give agents keys instead: `portcullis keys create --agent NAME`
    "#);
    insta::assert_snapshot!(check("agents:\n  a: { match: [{ api_key: k }, { client: Cursor }, { claim: { x: y } }], allow: [] }\n  b: { match: [{ api_key: K }, { client: cursor }, { claim: { x: Y } }], allow: [] }\n"), @r#"
    p.yaml:8:16: error: agents.b.match[0]: the agent "a" matches the same already
      hint: a caller is one agent; remove one of them
    p.yaml:8:32: error: agents.b.match[1]: the agent "a" matches the same already
      hint: a caller is one agent; remove one of them
    "#);
    insta::assert_snapshot!(check("agents: { a: { match: [{ api_key: k }, { api_key: k }], allow: [] } }"), @"");
}

#[test]
fn a_match_has_one_key() {
    insta::assert_snapshot!(agent("allow: [], match: [{ api_key: a, client: b }]"), @"
    p.yaml:6:35: error: agents.a.match[0]: expected one of `api_key`, `claim`, `tag` and `client`, found several
      hint: write each as an entry of its own; any of them suffices
    ");
    insta::assert_snapshot!(agent("allow: [], match: [{}, { cliant: b }, { claim: {} }, { claim: { a: b, c: d } }, { claim: x }, x, { tag: [a] }]"), @r#"
    p.yaml:6:35: error: agents.a.match[0]: expected one of `api_key`, `claim`, `tag` and `client`, found none
    p.yaml:6:41: error: agents.a.match[1].cliant: unknown key "cliant"; known: api_key, claim, tag, client
      hint: did you mean `client`?
    p.yaml:6:63: error: agents.a.match[2].claim: expected one claim and its value, such as `{ groups: engineering }`
    p.yaml:6:78: error: agents.a.match[3].claim: expected one claim and its value, such as `{ groups: engineering }`
    p.yaml:6:105: error: agents.a.match[4].claim: expected a map, found a text
    p.yaml:6:110: error: agents.a.match[5]: expected a map, found a text
    p.yaml:6:120: error: agents.a.match[6].tag: expected a text, found a list
    "#);
    insta::assert_snapshot!(agent("allow: [], match: { client: b }"), @"p.yaml:6:34: error: agents.a.match: expected a list of ways to recognise a caller, found a map");
    insta::assert_snapshot!(agent("allow: [], match: [{ tag: b }]"), @"
    p.yaml:6:35: warning: agents.a.match[0]: this matches nobody, since tags are not trusted
      hint: remove it, or write `trust_tags: true` in `auth`
    ");
}

#[test]
fn limits_are_bounded() {
    insta::assert_snapshot!(agent("allow: [], limits: { rate: 60, concurrency: 0, daily: many, result: 2GiB, timeout: 2h, tools: { x: {} }, rat: 1 }"), @r#"
    p.yaml:6:43: error: agents.a.limits.rate: expected a rate such as "60/m", of 1 to 1000000 a second, minute, hour or day, found "60"
    p.yaml:6:60: error: agents.a.limits.concurrency: expected a whole number from 1 to 1000000, found "0"
    p.yaml:6:70: error: agents.a.limits.daily: expected a whole number from 1 to 1000000000, found "many"
    p.yaml:6:84: error: agents.a.limits.result: expected a size from 1B to 1GiB, such as "1MiB" or a number of bytes, found "2GiB"
    p.yaml:6:99: error: agents.a.limits.timeout: expected a duration from 1ms to 1h, found "2h"
    p.yaml:6:112: error: agents.a.limits.tools.x: expected `SERVER/NAME`, found "x"
      hint: `*` stands for any name: `SERVER/*` is everything of a server
    p.yaml:6:121: error: agents.a.limits.rat: unknown key "rat"; known: rate, concurrency, daily, result, timeout, tools
      hint: did you mean `rate`?
    "#);
    insta::assert_snapshot!(check("limits: { github/x: { rate: 0/s, tools: {} }, github/y: 5, github/y: { rate: 1/w } }"), @r#"
    p.yaml:6:29: error: limits."github/x".rate: expected a rate such as "60/m", of 1 to 1000000 a second, minute, hour or day, found "0/s"
    p.yaml:6:34: error: limits."github/x".tools: unknown key "tools"; known: rate, concurrency, daily, result, timeout
    p.yaml:6:57: error: limits."github/y": expected a map, found a number
    p.yaml:6:60: error: limits."github/y": the key "github/y" stands here twice, on line 6 and again on line 6
      hint: keep one of them
    p.yaml:6:78: error: limits."github/y".rate: expected a rate such as "60/m", of 1 to 1000000 a second, minute, hour or day, found "1/w"
    "#);
}

#[test]
fn who_is_let_in_is_read() {
    let auth = |fields: &str| read(&format!("auth: {{ {fields} }}")).config.auth;
    let tag_header = |fields: &str| auth(fields).tag_header.map(|name| name.to_string());
    assert_eq!(
        config("auth: { required: true, header: X-Api-Key }").auth,
        auth("required: true, header: x-api-key")
    );
    assert!(!auth("").required && auth("required: true").required);
    assert_eq!(auth("header: X-Api-Key").header.map(|name| name.to_string()).as_deref(), Some("x-api-key"));
    assert_eq!(tag_header("tag_header: X-Team"), None);
    assert_eq!(tag_header("trust_tags: true").as_deref(), Some("x-lunar-consumer-tag"));
    assert_eq!(tag_header("trust_tags: true, tag_header: X-Team").as_deref(), Some("x-team"));
    insta::assert_snapshot!(check("auth: { trust_tags: true }"), @"
    p.yaml:6:21: warning: auth.trust_tags: a tag is a claim and no proof: whoever can reach the gateway can be any such agent
      hint: give agents keys instead: `portcullis keys create --agent NAME`
    ");
    insta::assert_snapshot!(check("auth: { trust_tags: false, tag_header: X-Team }"), @"
    p.yaml:6:40: warning: auth.tag_header: this header is not read, since tags are not trusted
      hint: remove it, or write `trust_tags: true`
    ");
    insta::assert_snapshot!(check("auth: { required: yes, header: 'X Y', tag_header: Authorization, hedder: x }"), @r#"
    p.yaml:6:19: error: auth.required: expected true or false, found "yes"
    p.yaml:6:32: error: auth.header: expected the name of a header, found "X Y"
    p.yaml:6:51: error: auth.tag_header: the header `authorization` has a meaning of its own
      hint: name another one, such as `X-Api-Key`; `Authorization: Bearer` is always read
    p.yaml:6:66: error: auth.hedder: unknown key "hedder"; known: required, header, trust_tags, tag_header, issuers, sign_in
      hint: did you mean `header`?
    "#);
    insta::assert_snapshot!(check("auth: { trust_tags: true, header: X-Team, tag_header: x-team }"), @"
    p.yaml:6:21: warning: auth.trust_tags: a tag is a claim and no proof: whoever can reach the gateway can be any such agent
      hint: give agents keys instead: `portcullis keys create --agent NAME`
    p.yaml:6:55: error: auth.tag_header: this header carries API keys already
      hint: a key would be read as a tag, and shown as one; name another header
    ");
    insta::assert_snapshot!(check("auth: { header: Mcp-Session-Id }"), @"
    p.yaml:6:17: error: auth.header: the header `mcp-session-id` has a meaning of its own
      hint: name another one, such as `X-Api-Key`; `Authorization: Bearer` is always read
    ");
}

#[test]
fn issuers_are_read() {
    let text = "gateway: { public_url: 'https://gw.test' }\nauth: { required: true, issuers: { corp: { url: 'https://idp.test/t/1', keys: 'https://idp.test/k', audience: 'api://x', scopes: [a, b] } } }";
    let issuers = config(text).auth.issuers;
    insta::assert_debug_snapshot!(issuers, @r#"
    [
        Issuer {
            name: "corp",
            url: "https://idp.test/t/1",
            keys: Some(
                "https://idp.test/k",
            ),
            audience: [
                "api://x",
            ],
            audience_claim: None,
            scopes: [
                "a",
                "b",
            ],
            introspection: None,
        },
    ]
    "#);
    insta::assert_snapshot!(check("auth: { issuers: { corp: { url: 'https://idp.test' } } }"), @r#"
    p.yaml:6:7: error: auth: nothing says for whom tokens of the issuer "corp" have to be made
      hint: set `gateway.public_url`, or the issuer's `audience` to the `aud` of its tokens
    p.yaml:6:7: warning: auth: nobody has to sign in, so no client will: it does so where it is refused without a token
      hint: set `auth.required: true`
    p.yaml:6:7: warning: auth: without `gateway.public_url` clients find where to sign in only on this machine
      hint: set `gateway.public_url` to the URL that clients know the gateway by
    "#);
    insta::assert_snapshot!(check("gateway: { public_url: 'https://gw.test' }\nauth: { required: true, issuers: { 'a b': { url: 'https://idp.test' }, a: {}, b: { url: 'http://idp.test' }, c: { url: 'https://idp.test', audience: x, scopes: ['a b'] }, d: { url: x }, e: { urls: 1 } } }"), @r#"
    p.yaml:7:36: error: auth.issuers."a b": an issuer's name has letters, digits, `-` and `_`, at most 32 of them
      hint: it becomes part of the names of those who sign in: `user:NAME:SUBJECT`
    p.yaml:7:75: error: auth.issuers.a: the issuer's `url` is missing
      hint: write it as the provider does, to the letter: it is compared with the `iss` of each token
    p.yaml:7:89: error: auth.issuers.b.url: an identity provider is asked over https alone
      hint: whoever can change its answers, or read what it is sent, could sign in as anybody
    p.yaml:7:162: error: auth.issuers.c.scopes[0]: a scope has no spaces, quotes and backslashes
      hint: write each scope as an element of its own: `scopes: [mcp:use, profile]`
    p.yaml:7:182: error: auth.issuers.d.url: this is no URL: relative URL without a base
      hint: write it whole, such as `https://mcp.example.com/mcp`
    p.yaml:7:190: error: auth.issuers.e: the issuer's `url` is missing
      hint: write it as the provider does, to the letter: it is compared with the `iss` of each token
    p.yaml:7:192: error: auth.issuers.e.urls: unknown key "urls"; known: url, keys, audience, audience_claim, scopes, introspection
      hint: did you mean `url`?
    "#);
    insta::assert_snapshot!(check("gateway: { public_url: 'https://gw.test' }\nauth: { required: true, issuers: { a: { url: 'https://idp.test', audience: x }, b: { url: 'https://idp.test', audience: y } } }"), @r#"
    p.yaml:7:81: error: auth.issuers.b: this is the issuer "a" again
      hint: give one of them all audiences and scopes
    "#);
    insta::assert_snapshot!(check("gateway: { public_url: 'https://gw.test' }\nauth: { required: true, issuers: { a: { url: 'http://127.0.0.1:9', audience: [x, y], keys: 'http://idp.test/k' } } }"), @"
    p.yaml:7:92: error: auth.issuers.a.keys: an identity provider is asked over https alone
      hint: whoever can change its answers, or read what it is sent, could sign in as anybody
    ");
}

#[test]
fn issuers_that_are_asked_are_read() {
    let issuer = |more: &str| {
        let issuers = format!("{{ a: {{ url: 'https://idp.test', audience: x, {more} }} }}");
        format!(
            "gateway: {{ public_url: 'https://gw.test' }}\nauth: {{ required: true, issuers: {issuers} }}"
        )
    };
    let read = config(&issuer(
        "introspection: { client_id: gw, client_secret: { secret: corp } }, audience_claim: client_id",
    ));
    assert_eq!(read.auth.issuers[0].audience_claim(), "client_id");
    assert_eq!(read.secrets().iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["corp"]);
    insta::assert_snapshot!(check(&issuer("introspection: { url: 'http://idp.test/i', client_id: gw, client_secret: { secret: corp } }")), @"
    p.yaml:7:101: error: auth.issuers.a.introspection.url: an identity provider is asked over https alone
      hint: whoever can change its answers, or read what it is sent, could sign in as anybody
    ");
    insta::assert_snapshot!(check(&issuer("introspection: { client_id: gw }")), @"
    p.yaml:7:94: error: auth.issuers.a.introspection: to be asked about tokens, the provider has to know the gateway: `client_id` and `client_secret`
      hint: register a confidential client for the gateway there
    ");
    insta::assert_snapshot!(check(&issuer("introspection: { client_id: gw, client_secret: s3cret }")), @"p.yaml:7:126: error: auth.issuers.a.introspection.client_secret: expected `{ secret: NAME }`, found a text");
    insta::assert_snapshot!(check(&issuer("introspection: { client_id: gw, client_secret: { secret: '-' } }")), @"p.yaml:7:136: error: auth.issuers.a.introspection.client_secret.secret: expected the name of a secret: 1 to 128 letters, digits, `_`, `-`, `.` and `/`, the first a letter or a digit, no `..`");
    insta::assert_snapshot!(check("gateway: { public_url: 'https://gw.test' }\nauth: { required: true, issuers: { a: { url: 'https://idp.test', audience_claim: client_id } } }"), @"
    p.yaml:7:82: error: auth.issuers.a.audience_claim: a claim of the issuer's own for the audience needs an `audience`
      hint: write the value that the claim has in tokens for this gateway
    ");
}

#[test]
fn what_is_recorded_is_read() {
    let audit = config(
        "audit: { enabled: false, arguments: true, redact: ['k-[0-9]+'], on_failure: closed, rotate: 1MiB, keep: 7d }",
    )
    .audit;
    assert_eq!((audit.enabled, audit.arguments, audit.on_failure), (false, true, OnFailure::Closed));
    assert_eq!((audit.redact, audit.rotate, audit.keep_days), (vec!["k-[0-9]+".to_owned()], 1 << 20, 7));
    assert_eq!(config("audit: {}").audit, config("").audit);
    insta::assert_snapshot!(check("audit: { enabled: 1, redact: ['(', '', '(?=a)'], on_failure: shut, rotate: 1B, keep: 0d, keeep: 1d }"), @r#"
    p.yaml:6:19: error: audit.enabled: expected true or false, found "1"
    p.yaml:6:31: error: audit.redact[0]: this is no regular expression here: found open group without closing ')'
      hint: look-around and back references are not known
    p.yaml:6:36: error: audit.redact[1]: expected a regular expression, found an empty text
    p.yaml:6:40: error: audit.redact[2]: this is no regular expression here: look-around is not supported
      hint: look-around and back references are not known
    p.yaml:6:62: error: audit.on_failure: expected `open` or `closed`, found "shut"
    p.yaml:6:76: error: audit.rotate: expected a size from 64KiB to 64GiB, such as "64MiB" or a number of bytes, found "1B"
    p.yaml:6:86: error: audit.keep: expected a number of days from 1d to 36500d, such as "30d", found "0d"
    p.yaml:6:90: error: audit.keeep: unknown key "keeep"; known: enabled, arguments, redact, on_failure, rotate, keep
      hint: did you mean `keep`?
    "#);
}

#[test]
fn each_section_stands_in_one_file() {
    let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let sources = [
        source("a.json", r#"{"mcpServers": {"one": {"command": "x"}}}"#),
        source("b.yaml", "version: 1\ngroups: { g: { one: x, two: y } }"),
        source(
            "c.yaml",
            "version: 1\nservers: { two: { command: x } }\nagents: { a: { allow: [g, one, two, three] } }",
        ),
        source("d.yaml", "version: 1\nagents: {}\ngroups: {}\nlimits: { two/x: { rate: 1/s } }"),
    ];
    let problems = parse(&sources, &|_| None).problems;
    let shown: Vec<_> = problems.iter().map(Problem::to_string).collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    c.yaml:3:37: error: agents.a.allow[3]: no group and no server is called "three"
      hint: groups and servers: "g", "one", "two"
    d.yaml:2:9: error: agents: c.yaml has a section `agents` already
    d.yaml:3:9: error: groups: b.yaml has a section `groups` already
    "#);
}

#[test]
fn sections_make_a_file_native() {
    for section in ["groups", "variants", "agents", "auth", "limits", "audit"] {
        let text = format!("{{\"servers\": {{\"a\": {{\"command\": \"b\"}}}}, \"{section}\": {{}}}}");
        let parsed = parse(&[Source { path: "p.json".to_owned(), text }], &|_| None);
        assert!(parsed.is_refused(), "{section}");
        assert_eq!(parsed.problems[0].message, "the key `version` is missing");
    }
}

/// A file with every kind of key.
const WHOLE: &str = r#"version: 1
servers: { github: { command: a }, time: { command: b } }
groups: { read-only: { github: ["get_*", "resource:repo://*"], time: "*" } }
variants: { github: { bug: { from: issue, description: { append: x }, arguments: { o: { fix: [1, { a: ~ }] }, p: { rename: q, enum: [s], minimum: 1 } }, result: { select: "/a", cut: 9 } }, low: { from: bug } } }
agents: { coder: { match: [{ api_key: coder }, { claim: { g: e } }, { tag: t }], allow: [read-only, github/bug, { on: "time/*", when: "args.a == 1" }], deny: "*", limits: { rate: 60/m, tools: { "github/s*": { daily: 1 } } } }, default: { deny: ["*"] } }
auth: { required: true, header: X-Key, trust_tags: true, tag_header: X-Tag }
limits: { "github/*": { concurrency: 2 } }
audit: { redact: ["a+"], on_failure: open, rotate: 1MiB, keep: 3d }
"#;

proptest! {
    #[test]
    fn no_mutation_makes_the_reader_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, prop::sample::select(vec![
            "", "{", "}", "[", "]", ":", ",", "~", "*", "?", "/", "&x ", "*x", "\"", "'", "\n", " ", "github", "bug", "é", "9", "-",
        ])), 1..6),
    ) {
        let mut text: Vec<char> = WHOLE.chars().collect();
        for (index, removed, inserted) in edits {
            let at = index.index(text.len());
            let end = (at + removed).min(text.len());
            text.splice(at..end, inserted.chars());
        }
        let text: String = text.into_iter().collect();
        let parsed = parse(&[Source { path: "p.yaml".to_owned(), text: text.clone() }], &|_| None);
        if parsed.problems.iter().any(|problem| problem.severity == Severity::Error && problem.server.is_none()) {
            prop_assert!(parsed.config.policy.default.allow.is_empty());
        }
        for problem in &parsed.problems {
            prop_assert!((1..=text.lines().count() + 1).contains(&(problem.line as usize)), "{}", problem);
        }
    }
}

#[test]
fn the_file_that_is_mutated_is_right() {
    let parsed = parse(&[Source { path: "p.yaml".to_owned(), text: WHOLE.to_owned() }], &|_| None);
    let shown: Vec<_> = parsed.problems.iter().map(Problem::to_string).collect();
    insta::assert_snapshot!(shown.join("\n"), @"
    p.yaml:6:52: warning: auth.trust_tags: a tag is a claim and no proof: whoever can reach the gateway can be any such agent
      hint: give agents keys instead: `portcullis keys create --agent NAME`
    ");
    let matches: Vec<_> = parsed.config.policy.agents.iter().flat_map(|agent| &agent.matches).collect();
    assert!(matches.contains(&&Match::Tag("t".to_owned())));
}
