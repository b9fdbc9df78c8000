//! What becomes of MCPX's files: values, places and texts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::config::{
    Agent, Auth, Dialect, Group, Imported, Origin, Parsed, Policy, Problem, Rule, Server, Source, Transport,
    Variant, import, parse, to_yaml,
};
use crate::names::ServerName;

fn env(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("s3cret".to_owned()),
        "AUTH_KEY" => Some("the one key".to_owned()),
        "BLANK" => Some(" ".to_owned()),
        _ => None,
    }
}

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

const SERVERS: &str = r#"{"mcpServers": {"Slack": {"command": "a"}, "time": {"command": "b"}}}"#;

/// Reads an `app.yaml` beside the two servers.
fn app(text: &str) -> Parsed {
    parse(&[source("mcp.json", SERVERS), source("app.yaml", text)], &env)
}

fn shown(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// Lists what is wrong with an `app.yaml` of these lines besides groups and a default.
fn problems(lines: &str) -> String {
    let head = if lines.contains("permissions:") { "" } else { "permissions: { default: { block: [] } }\n" };
    shown(&app(&format!("{head}toolGroups: [{{ name: read, services: {{ time: '*' }} }}]\n{lines}")).problems)
}

/// Shows the agents that come of a section `permissions`, one a line.
fn agents(permissions: &str) -> String {
    let groups = "toolGroups:\n  - { name: read, services: { slack: [get] } }\n  - { name: Danger, services: { time: '*' } }\n";
    let parsed = app(&format!("{groups}permissions:\n{permissions}"));
    if parsed.is_refused() {
        return shown(&parsed.problems);
    }
    assert_eq!(parsed.config.policy.dialect, Dialect::Mcpx);
    let Policy { agents, default, .. } = &parsed.config.policy;
    agents.iter().chain([default]).map(|agent| one_line(agent)).collect::<Vec<_>>().join("\n")
}

fn one_line(agent: &Agent) -> String {
    let matches: Vec<_> = agent.matches.iter().map(|by| format!(" {by:?}")).collect();
    let rules = |rules: &[Rule]| rules.iter().map(|rule| rule.text.clone()).collect::<Vec<_>>().join(", ");
    format!(
        "{}{}: allow [{}] deny [{}]",
        agent.name,
        matches.concat(),
        rules(&agent.allow),
        rules(&agent.deny)
    )
}

/// Shows how one entry of `mcp.json` is reached.
fn server(entry: &str) -> String {
    let text = format!(r#"{{"mcpServers": {{"s": {entry}}}}}"#);
    let parsed = parse(
        &[source("mcp.json", &text), source("app.yaml", "permissions: { default: { block: [] } }")],
        &env,
    );
    match parsed.config.servers.get("s").map(|server| &server.transport) {
        None => shown(&parsed.problems),
        Some(Transport::Stdio(command)) => {
            format!("{} {:?} {:?}", command.program, command.args, command.env)
        }
        Some(Transport::Http(endpoint)) => format!("http {} {}", endpoint.url, headers(&endpoint.headers)),
        Some(Transport::Sse(endpoint)) => format!("sse {} {}", endpoint.url, headers(&endpoint.headers)),
    }
}

fn headers(headers: &http::HeaderMap) -> String {
    let shown = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII")));
    shown.collect::<Vec<_>>().join("; ")
}

#[test]
fn the_current_generation_is_read() {
    let parsed = app(CURRENT);
    insta::assert_snapshot!(shown(&parsed.problems), @"
    app.yaml:4:5: warning: permissions.consumers.marketing: a tag is a claim, not a proof: whoever sends `x-lunar-consumer-tag` is believed
      hint: give each agent an API key once its file is a native one (`portcullis import`)
    ");
    insta::assert_debug_snapshot!(parsed.config.policy, @r#"
    Policy {
        groups: {
            "read-only": Group {
                name: "read-only",
                description: Some(
                    "What changes nothing.",
                ),
                members: [
                    Selector {
                        server: Glob(
                            "slack",
                        ),
                        kind: None,
                        item: Glob(
                            "list_channels",
                        ),
                    },
                    Selector {
                        server: Glob(
                            "slack",
                        ),
                        kind: None,
                        item: Glob(
                            "get_users",
                        ),
                    },
                    Selector {
                        server: Glob(
                            "time",
                        ),
                        kind: None,
                        item: Glob(
                            "*",
                        ),
                    },
                ],
                origin: Origin {
                    file: "app.yaml",
                    line: 11,
                    field: "toolGroups[0]",
                },
            },
        },
        agents: [
            Agent {
                name: "marketing",
                matches: [
                    Tag(
                        "marketing",
                    ),
                ],
                allow: [
                    Rule {
                        what: Group(
                            "read-only",
                        ),
                        when: None,
                        text: "read-only",
                        origin: Origin {
                            file: "app.yaml",
                            line: 7,
                            field: "permissions.consumers.marketing.allow[0]",
                        },
                    },
                ],
                deny: [],
                when: None,
                limits: Limits {
                    rate: None,
                    concurrency: None,
                    daily: None,
                    result: None,
                    timeout: None,
                },
                origin: Origin {
                    file: "app.yaml",
                    line: 5,
                    field: "permissions.consumers.marketing",
                },
            },
            Agent {
                name: "Cursor",
                matches: [
                    Client(
                        "Cursor",
                    ),
                ],
                allow: [
                    Rule {
                        what: Everything,
                        when: None,
                        text: "*",
                        origin: Origin {
                            file: "app.yaml",
                            line: 9,
                            field: "permissions.clientNames.Cursor",
                        },
                    },
                ],
                deny: [
                    Rule {
                        what: Group(
                            "read-only",
                        ),
                        when: None,
                        text: "read-only",
                        origin: Origin {
                            file: "app.yaml",
                            line: 9,
                            field: "permissions.clientNames.Cursor.block[0]",
                        },
                    },
                ],
                when: None,
                limits: Limits {
                    rate: None,
                    concurrency: None,
                    daily: None,
                    result: None,
                    timeout: None,
                },
                origin: Origin {
                    file: "app.yaml",
                    line: 9,
                    field: "permissions.clientNames.Cursor",
                },
            },
        ],
        default: Agent {
            name: "default",
            matches: [],
            allow: [
                Rule {
                    what: Everything,
                    when: None,
                    text: "*",
                    origin: Origin {
                        file: "app.yaml",
                        line: 2,
                        field: "permissions.default",
                    },
                },
            ],
            deny: [],
            when: None,
            limits: Limits {
                rate: None,
                concurrency: None,
                daily: None,
                result: None,
                timeout: None,
            },
            origin: Origin {
                file: "app.yaml",
                line: 2,
                field: "permissions.default",
            },
        },
        dialect: Mcpx,
    }
    "#);
    insta::assert_debug_snapshot!(parsed.config.variants, @r#"
    [
        Variant {
            server: "slack",
            name: "post_to_alerts",
            kind: Tool,
            from: "post_message",
            replaces: false,
            title: None,
            description: Some(
                Rewrite(
                    "Post to alerts.",
                ),
            ),
            arguments: {
                "channel": Argument {
                    fix: Some(
                        "\"C123\"",
                    ),
                    default: None,
                    rename: None,
                    describe: Some(
                        Append(
                            "Fixed.",
                        ),
                    ),
                    one_of: None,
                    pattern: None,
                    minimum: None,
                    maximum: None,
                },
            },
            result: Narrowing {
                select: None,
                cut: None,
            },
            fixed: Noted,
            origin: Origin {
                file: "app.yaml",
                line: 24,
                field: "toolExtensions.services.Slack.post_message.childTools[0]",
            },
        },
    ]
    "#);
    insta::assert_debug_snapshot!((parsed.config.auth.required, parsed.config.auth.header, parsed.config.auth.tag_header), @r#"
    (
        true,
        Some(
            "x-lunar-api-key",
        ),
        Some(
            "x-lunar-consumer-tag",
        ),
    )
    "#);
    assert_eq!(parsed.config.auth.shared_key.map(|key| key[..4].to_vec()), Some(vec![161, 47, 249, 119]));
    assert!(!parsed.config.servers["time"].enabled);
}

const CURRENT: &str = "\
permissions:
  default: { block: [] }
  consumers:
    marketing:
      _type: default-block
      consumerGroupKey: mkt
      allow: [read-only]
  clientNames:
    Cursor: { block: [read-only] }
toolGroups:
  - name: read-only
    description: What changes nothing.
    services:
      SLACK: [list_channels, get_users]
      time: \"*\"
    owner: user
auth:
  enabled: \"true\"
toolExtensions:
  services:
    Slack:
      post_message:
        childTools:
          - name: post_to_alerts
            description: { action: rewrite, text: Post to alerts. }
            overrideParams:
              channel: { value: C123, description: { action: append, text: Fixed. } }
targetServerAttributes:
  Time: { inactive: true }
";

#[test]
fn permissions_of_the_current_generation() {
    insta::assert_snapshot!(agents("  default: { allow: [] }\n  consumers: { a: { block: [danger] }, b: { allow: [read, danger] } }"), @r#"
    a Tag("a"): allow [*] deny [Danger]
    b Tag("b"): allow [read, Danger] deny []
    default: allow [] deny []
    "#);
    insta::assert_snapshot!(agents("  default: { block: [read] }"), @"default: allow [*] deny [read]");
    insta::assert_snapshot!(agents("  default: { allow: [read], block: [danger] }"), @"default: allow [read] deny [Danger]");
    insta::assert_snapshot!(agents("  default: { _type: default-allow, block: [] }\n  clientNames: { Claude Code: { _type: default-block, allow: [] } }"), @r#"
    Claude Code Client("Claude Code"): allow [] deny []
    default: allow [*] deny []
    "#);
}

#[test]
fn permissions_of_the_older_generation_and_of_the_documentation() {
    insta::assert_snapshot!(agents("  base: block\n  consumers:\n    developers: { base: allow, consumerGroupKey: D, profiles: { block: [danger] } }\n    readers: { profiles: { allow: [read] } }\n    others: {}\n    both: { base: block, profiles: { allow: [read, danger], block: [danger] } }"), @r#"
    developers Tag("developers"): allow [*] deny [Danger]
    readers Tag("readers"): allow [read] deny []
    others Tag("others"): allow [] deny []
    both Tag("both"): allow [read, Danger] deny [Danger]
    default: allow [] deny []
    "#);
    insta::assert_snapshot!(agents("  base: allow\n  consumers: { a: { profiles: { allow: [read], block: [danger] } } }"), @r#"
    a Tag("a"): allow [*] deny [Danger]
    default: allow [*] deny []
    "#);
    insta::assert_snapshot!(agents("  default: { allow: [] }\n  consumers:\n    AI Agent: { base: allow, profiles: { block: [danger] } }\n    x: { profiles: { allow: [read] } }"), @r#"
    AI Agent Tag("AI Agent"): allow [*] deny [Danger]
    x Tag("x"): allow [read] deny []
    default: allow [] deny []
    "#);
}

#[test]
fn agents_are_told_apart() {
    insta::assert_snapshot!(agents("  default: { block: [] }\n  consumers: { Cursor: { block: [] }, default: { allow: [] }, 'team:a/b': { allow: [] }, cursor-client: { allow: [] } }\n  clientNames: { cursor: { allow: [read] } }"), @r#"
    Cursor Tag("Cursor"): allow [*] deny []
    default-tag Tag("default"): allow [] deny []
    team-a-b Tag("team:a/b"): allow [] deny []
    cursor-client Tag("cursor-client"): allow [] deny []
    cursor-client-2 Client("cursor"): allow [read] deny []
    default: allow [*] deny []
    "#);
    insta::assert_snapshot!(agents("  default: { block: [] }\n  consumers: { Ops: { block: [] }, ops: { allow: [] } }"), @r#"
    app.yaml:6:16: warning: permissions.consumers.Ops: a tag is a claim, not a proof: whoever sends `x-lunar-consumer-tag` is believed
      hint: give each agent an API key once its file is a native one (`portcullis import`)
    app.yaml:6:36: error: permissions.consumers.ops: there is an entry for "ops" already; case makes no difference
    "#);
}

#[test]
fn a_rule_never_vanishes() {
    insta::assert_snapshot!(agents("  default: { block: [dangr] }"), @r#"
    app.yaml:5:22: error: permissions.default.block[0]: there is no tool group "dangr"
      hint: did you mean `danger`?
    "#);
    insta::assert_snapshot!(agents("  default: { blok: [danger] }"), @r#"
    app.yaml:5:12: error: permissions.default: expected `allow` (nothing but these groups) or `block` (all but these groups)
    app.yaml:5:14: error: permissions.default.blok: unknown key "blok"; known: consumerGroupKey, _type, allow, block
      hint: did you mean `block`?
    "#);
    insta::assert_snapshot!(agents("  default: { block: }"), @"app.yaml:5:12: error: permissions.default: expected `allow` (nothing but these groups) or `block` (all but these groups)");
    insta::assert_snapshot!(agents("  default: { block: [] }\n  consumer: {}"), @r#"
    app.yaml:6:3: error: permissions.consumer: unknown key "consumer"; known: default, base, consumers, clientNames
      hint: did you mean `consumers`?
    "#);
    insta::assert_snapshot!(agents("  default: { block: [] }\n  consumers: { a: {} }"), @"app.yaml:6:19: error: permissions.consumers.a: expected `allow` (nothing but these groups) or `block` (all but these groups)");
    insta::assert_snapshot!(agents("  default: { block: [] }\n  base: allow"), @"
    app.yaml:6:9: error: permissions.base: `base` is an older form of `default`; both stand here
      hint: keep one of them
    ");
    insta::assert_snapshot!(agents("  consumers: {}"), @"
    app.yaml:5:3: error: permissions: `default` is missing: what holds for a caller that no entry is about
      hint: write `default: { block: [] }` to allow everything, `default: { allow: [] }` to allow nothing
    ");
    insta::assert_snapshot!(agents("  base: deny"), @r#"app.yaml:5:9: error: permissions.base: expected `allow` or `block`, found "deny""#);
    insta::assert_snapshot!(agents("  default: { _type: default-allow, allow: [read] }"), @"app.yaml:5:12: error: permissions.default: `default-allow` goes with `block` alone");
    insta::assert_snapshot!(agents("  default: { _type: default-block, block: [read] }"), @"app.yaml:5:12: error: permissions.default: `default-block` goes with `allow`, and there is none");
    insta::assert_snapshot!(agents("  default: { _type: open }"), @r#"app.yaml:5:21: error: permissions.default._type: expected `default-allow` or `default-block`, found "open""#);
    insta::assert_snapshot!(agents("  default: { allow: [], allow: [read] }"), @r#"
    app.yaml:5:25: error: permissions.default.allow: the key "allow" stands here twice, on line 5 and again on line 5
      hint: keep one of them
    "#);
    insta::assert_snapshot!(agents("  default: [read]"), @"app.yaml:5:12: error: permissions.default: expected a map, found a list");
    insta::assert_snapshot!(shown(&app("toolGroups: []").problems), @"
    app.yaml:1:1: error: `permissions` is missing: who may do what
      hint: write `permissions: { default: { block: [] } }` to allow everything to everybody
    ");
    insta::assert_snapshot!(shown(&app("permissions:\n").problems), @"
    app.yaml:1:1: error: `permissions` is missing: who may do what
      hint: write `permissions: { default: { block: [] } }` to allow everything to everybody
    ");
    insta::assert_snapshot!(shown(&app("# nothing\n").problems), @"app.yaml:1:1: error: the file is empty");
}

#[test]
fn a_file_with_an_error_allows_nothing() {
    for text in [
        "permissions: { default: { block: [none] } }",
        "permissions: 5",
        "toolGroups: 5\npermissions: { base: allow }",
    ] {
        let parsed = app(text);
        assert!(parsed.is_refused());
        assert_eq!(one_line(&parsed.config.policy.default), "default: allow [] deny []");
    }
}

#[test]
fn groups_have_exact_names() {
    insta::assert_snapshot!(problems("toolGroups: []"), @r#"
    app.yaml:3:1: error: toolGroups: the key "toolGroups" stands here twice, on line 2 and again on line 3
      hint: keep one of them
    "#);
    let groups = |groups: &str| {
        shown(&app(&format!("permissions: {{ base: allow }}\ntoolGroups:\n{groups}")).problems)
    };
    insta::assert_snapshot!(groups("  - { name: a, services: { time: ['get_*'] } }"), @r#"
    app.yaml:3:35: error: toolGroups[0].services.time[0]: "get_*" is no name: MCPX's groups have exact names, no patterns
      hint: write `SERVER: "*"` for everything of a server, or use patterns in a native file
    "#);
    insta::assert_snapshot!(groups("  - { name: a, services: { time: all } }"), @r#"app.yaml:3:34: error: toolGroups[0].services.time: expected a list of names, or "*" for everything of the server, found a text"#);
    insta::assert_snapshot!(groups("  - { name: a, services: { tme: '*' } }"), @r#"
    app.yaml:3:28: warning: toolGroups[0].services.tme: no server is named "tme"; what is said of it has no effect
      hint: did you mean `time`?
    "#);
    insta::assert_snapshot!(groups("  - { name: a/b }\n  - { services: {} }\n  - { name: A }\n  - { name: a }"), @r#"
    app.yaml:3:13: error: toolGroups[0].name: expected a name of 1 to 64 letters, digits, `_`, `-` or spaces, found "a/b"
    app.yaml:4:5: error: toolGroups[1]: a tool group needs a `name`
    app.yaml:6:13: error: toolGroups[3].name: there is a group "a" already; case makes no difference
    "#);
    insta::assert_snapshot!(groups("  - { name: a, tools: [x] }"), @r#"app.yaml:3:16: warning: toolGroups[0].tools: the key "tools" has no meaning here and is ignored"#);
    insta::assert_snapshot!(groups("  a: { services: {} }"), @"app.yaml:3:3: error: toolGroups: expected a list of groups, found a map");
}

#[test]
fn a_group_with_the_name_of_a_server_gets_another() {
    let parsed = app(
        "permissions: { default: { allow: [Slack] } }\ntoolGroups: [{ name: slack, services: { slack: [a], Slack: [b] } }, { name: slack-group, services: {} }]",
    );
    assert_eq!(shown(&parsed.problems), "");
    let groups: Vec<_> =
        parsed.config.policy.groups.iter().map(|(key, group)| (key.as_str(), group.members.len())).collect();
    assert_eq!(groups, [("slack-group", 0), ("slack-group-2", 2)]);
    assert_eq!(one_line(&parsed.config.policy.default), "default: allow [slack-group-2] deny []");
}

/// Shows what comes of one child tool of Slack's.
fn child(fields: &str) -> String {
    let parsed = app(&format!(
        "permissions: {{ base: allow }}\ntoolExtensions: {{ services: {{ slack: {{ post: {{ childTools: [{{ name: c, {fields} }}] }} }} }} }}"
    ));
    match &parsed.config.variants[..] {
        [Variant { description, arguments, .. }] if parsed.problems.is_empty() => {
            let arguments = arguments
                .iter()
                .map(|(name, argument)| format!("{name}: {:?} {:?}", argument.fix, argument.describe));
            let arguments: Vec<_> = arguments.collect();
            format!("{description:?} {}", arguments.join(", "))
        }
        _ => shown(&parsed.problems),
    }
}

#[test]
fn values_of_both_generations_are_json() {
    insta::assert_snapshot!(child("overrideParams: { a: Europe/Paris, b: 5, c: TRUE, d: null, e: [1, x], f: { k: { l: v } }, g: 0x1F, h: '5' }"), @r#"None a: Some("\"Europe/Paris\"") None, b: Some("5") None, c: Some("true") None, d: Some("null") None, e: Some("[1,\"x\"]") None, f: Some("{\"k\":{\"l\":\"v\"}}") None, g: Some("31") None, h: Some("\"5\"") None"#);
    insta::assert_snapshot!(child("overrideParams: { a: { value: null }, b: { value: { value: 1 } }, c: { description: { action: rewrite, text: t } }, d: {} }"), @r#"None a: Some("null") None, b: Some("{\"value\":1}") None, c: None Some(Rewrite("t")), d: None None"#);
    insta::assert_snapshot!(child("overrideParams: { a: { value: 1, unit: s } }"), @r#"app.yaml:2:105: error: toolExtensions.services.slack.post.childTools[0].overrideParams.a.unit: unknown key "unit"; known: value, description"#);
    insta::assert_snapshot!(child("overrideParams: { a: .inf }"), @r#"
    app.yaml:2:93: error: toolExtensions.services.slack.post.childTools[0].overrideParams.a: ".inf" is no number in JSON
      hint: quote it where a text is meant
    "#);
    insta::assert_snapshot!(child("overrideParams: [a]"), @"app.yaml:2:88: error: toolExtensions.services.slack.post.childTools[0].overrideParams: expected a map, found a list");
}

#[test]
fn descriptions_are_rewritten_or_appended() {
    insta::assert_snapshot!(child("description: { action: append, text: More. }"), @r#"Some(Append("More."))"#);
    insta::assert_snapshot!(child("description: { append: As documented. }"), @r#"Some(Append("As documented."))"#);
    insta::assert_snapshot!(child("description: { action: rewrite, text: '' }"), @"None");
    insta::assert_snapshot!(child("description: { action: prepend, text: x }"), @r#"app.yaml:2:95: error: toolExtensions.services.slack.post.childTools[0].description.action: expected `append` or `rewrite`, found "prepend""#);
    insta::assert_snapshot!(child("description: { text: x }"), @"app.yaml:2:85: error: toolExtensions.services.slack.post.childTools[0].description: expected `{ action: rewrite, text: ... }` or `{ action: append, text: ... }`, found a map");
    insta::assert_snapshot!(child("description: text"), @"app.yaml:2:85: error: toolExtensions.services.slack.post.childTools[0].description: expected `{ action: rewrite, text: ... }` or `{ action: append, text: ... }`, found a text");
}

#[test]
fn child_tools_have_servers_and_names() {
    let children = |children: &str| {
        shown(
            &app(&format!("permissions: {{ base: allow }}\ntoolExtensions: {{ services: {children} }}"))
                .problems,
        )
    };
    insta::assert_snapshot!(children("{ slak: { post: { childTools: [{ name: c }] } } }"), @r#"
    app.yaml:2:31: warning: toolExtensions.services.slak: no server is named "slak"; what is said of it has no effect
      hint: did you mean `slack`?
    "#);
    insta::assert_snapshot!(children("{ slack: { post: { childTools: [{ name: c }, { name: c }] } } }"), @r#"app.yaml:2:82: error: toolExtensions.services.slack.post.childTools[1].name: slack has a child tool "c" already"#);
    insta::assert_snapshot!(children("{ slack: { post: { childTools: [{ name: 'a*' }, {}] } } }"), @r#"
    app.yaml:2:69: error: toolExtensions.services.slack.post.childTools[0].name: expected a name of 1 to 128 characters without `*` and `?`, found "a*"
    app.yaml:2:77: error: toolExtensions.services.slack.post.childTools[1]: a child tool needs a `name`
    "#);
}

#[test]
fn callers_are_let_in_by_one_key() {
    insta::assert_snapshot!(problems("auth: { enabled: maybe }"), @r#"app.yaml:3:18: error: auth.enabled: expected true or false, found "maybe""#);
    insta::assert_snapshot!(problems("auth: { enabled: true, header: Authorization }"), @"
    app.yaml:3:32: error: auth.header: the header `authorization` has a meaning of its own
      hint: name another one; `Authorization: Bearer` is always read
    ");
    insta::assert_snapshot!(problems("auth: { enabled: true, heder: X-Key }"), @r#"
    app.yaml:3:24: error: auth.heder: unknown key "heder"; known: enabled, header
      hint: did you mean `header`?
    "#);
    let with = |auth: &str, key: Option<&str>| {
        let text = format!("permissions: {{ base: allow }}\nauth: {auth}");
        parse(&[source("app.yaml", &text)], &|name| key.filter(|_| name == "AUTH_KEY").map(str::to_owned))
    };
    insta::assert_snapshot!(shown(&with("{ enabled: true }", None).problems), @"
    app.yaml:2:7: error: auth: the environment variable AUTH_KEY is not set, and `auth` is enabled
      hint: set it to the key that callers send, or write `enabled: false`
    ");
    assert!(with("{ enabled: 'True' }", Some(" ")).is_refused());
    assert_eq!(with("{ enabled: false }", None).config.auth, Auth::default());
    let auth = with("{ enabled: true, header: X-Key }", Some("k")).config.auth;
    assert_eq!((auth.required, auth.header.as_ref().map(http::HeaderName::as_str)), (true, Some("x-key")));
}

#[test]
fn what_is_not_carried_over_is_said() {
    insta::assert_snapshot!(problems("skills: { enabled: [{ skillIds: [x] }] }\nstaticOauth: { mapping: { github.com: gh } }\nother: 1"), @r#"
    app.yaml:3:9: warning: skills: `skills` is not carried over
      hint: skills are kept by MCPX's hub; agents load them from where they are published
    app.yaml:4:14: warning: staticOauth: `staticOauth` is not carried over
      hint: send the server's credential in a header: `headers: { Authorization: "Bearer {{NAME}}" }`
    app.yaml:5:1: warning: other: the key "other" has no meaning here and is ignored
    "#);
    insta::assert_snapshot!(problems("skills: { enabled: [] }\nstaticOauth:\ntargetServerAttributes: { tim: { inactive: true } }"), @r#"
    app.yaml:5:27: warning: targetServerAttributes.tim: no server is named "tim"; what is said of it has no effect
      hint: did you mean `time`?
    "#);
}

#[test]
fn servers_may_wait_for_input() {
    insta::assert_snapshot!(server(r#"{"command": "x", "env": {"A": {"fromEnv": "NONE"}, "B": {"fromSecret": "BLANK"}, "C": {"fromEnv": "NONE"}, "D": {"fromEnv": "TOKEN"}}}"#), @"
    mcp.json:1:17: error: mcpServers.s: waits for input: not set, or empty, in the environment: BLANK, NONE
      hint: set them for the gateway
    ");
    insta::assert_snapshot!(server(r#"{"type": "sse", "url": "https://x.example/sse", "headers": {"Authorization": "Bearer {{ONE}} {{ TWO }}", "X": {"fromEnv": "THREE"}}}"#), @"
    mcp.json:1:17: error: mcpServers.s: waits for input: not set, or empty, in the environment: ONE, THREE, TWO
      hint: set them for the gateway
    ");
    insta::assert_snapshot!(server(r#"{"command": "x", "env": {"A": {"fromEnv": "TOKEN"}, "B": null, "C": "  ", "D": "a${TOKEN}$$"}}"#), @r#"x [] {"A": "s3cret", "D": "a${TOKEN}$$"}"#);
    insta::assert_snapshot!(server(r#"{"type": "streamable-http", "url": "https://x.example/mcp", "headers": {"Authorization": "$$ {{TOKEN}} {}", "X": null}}"#), @"http https://x.example/mcp authorization: $$ s3cret {}");
    insta::assert_snapshot!(server(r#"{"command": "x", "env": {"A": {"fromSecret": "gh-pat"}, "B": {"fromFile": "x"}, "C": {"fromEnv": "A", "fromSecret": "B"}}}"#), @r#"
    mcp.json:1:67: error: mcpServers.s.env.A.fromSecret: "gh-pat" is no name of an environment variable
      hint: secrets are looked up in the environment of the gateway, too
    mcp.json:1:83: error: mcpServers.s.env.B: expected a text, `{ "fromEnv": NAME }` or `{ "fromSecret": NAME }`, found a map
    mcp.json:1:84: error: mcpServers.s.env.B.fromFile: unknown key "fromFile"; known: fromEnv, fromSecret
    mcp.json:1:107: error: mcpServers.s.env.C: expected a text, `{ "fromEnv": NAME }` or `{ "fromSecret": NAME }`, found a map
    "#);
    insta::assert_snapshot!(server(r#"{"url": "https://x.example/mcp", "headers": {"A": "{{no name}}"}}"#), @"mcp.json:1:72: error: mcpServers.s.headers.A: `{{` begins a reference to a variable such as {{NAME}}, and what follows is none");
    insta::assert_snapshot!(server(r#"{"command": "x", "env": {"A": {"fromEnv": "PORTCULLIS_SEAL_KEY"}}}"#), @"
    mcp.json:1:17: error: mcpServers.s: waits for input: not set, or empty, in the environment: PORTCULLIS_SEAL_KEY
      hint: set them for the gateway
    ");
}

#[test]
fn servers_are_of_any_command_and_their_type() {
    insta::assert_snapshot!(server(r#"{"command": "python3", "args": ["-m", "srv"], "icon": "x", "catalogItemId": "y", "name": "s", "cwd": "z"}"#), @r#"python3 ["-m", "srv"] {}"#);
    insta::assert_snapshot!(server(r#"{"type": "stdio", "url": "https://x.example/mcp"}"#), @"mcp.json:1:31: error: mcpServers.s.type: a server of this type needs the key `command`");
    insta::assert_snapshot!(server(r#"{"type": "carrier-pigeon", "command": "x"}"#), @r#"mcp.json:1:31: error: mcpServers.s.type: expected `stdio`, `http` or `sse`, found "carrier-pigeon""#);
    insta::assert_snapshot!(server(r#"{"url": "https://x.example/mcp"}"#), @"http https://x.example/mcp");
    insta::assert_snapshot!(server(r#"{"command": "docker", "args": ["run", "-i", "--rm", "image"], "env": {"A": "1", "B": {"fromEnv": "TOKEN"}}}"#), @r#"docker ["run", "-i", "--rm", "-e", "A", "-e", "B", "image"] {"A": "1", "B": "s3cret"}"#);
}

#[test]
fn names_of_servers_are_as_mcpx_shows_them() {
    let text = r#"{"mcpServers": {" My Srv ": {"command": "x"}, "a/b": {"command": "x"}, "Bad": {"command": "-x"}, "": {"command": "x"}, "X": {"command": "x"}, "x": {"command": "x"}}}"#;
    let parsed = parse(&[source("mcp.json", text), source("app.yaml", "permissions: { base: allow }")], &env);
    assert!(!parsed.is_refused());
    assert_eq!(parsed.config.servers.keys().map(ServerName::as_str).collect::<Vec<_>>(), ["a_b", "my srv"]);
    insta::assert_snapshot!(shown(&parsed.problems), @r#"
    mcp.json:1:47: warning: mcpServers."a/b": "a/b" cannot be the name of a server; it is served as "a_b"
    mcp.json:1:91: error: mcpServers.Bad.command: a program does not begin with `-`
      hint: the first text of `command` is the program; options come after it
    mcp.json:1:98: error: mcpServers."": a server name has 1 to 64 characters, each a letter, digit, `_`, `-`, `.` or a space in between; found ""
    mcp.json:1:120: error: mcpServers.X: this name cannot be told from "x" in mcp.json:1
      hint: rename one of them; both are left out until then
    mcp.json:1:143: error: mcpServers.x: this name cannot be told from "x" in mcp.json:1
      hint: rename one of them; both are left out until then
    "#);
}

#[test]
fn a_file_alone_is_known_by_what_only_mcpx_has() {
    let alone = |text: &str| parse(&[source("mcp.json", text)], &env).config.servers;
    let names =
        |servers: &BTreeMap<ServerName, Server>| servers.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&alone(r#"{"mcpServers": {"A": {"command": "x", "env": {"B": null}}}}"#)), ["a"]);
    assert_eq!(
        names(&alone(
            r#"{"mcpServers": {"A": {"url": "https://x.example", "headers": {"B": "{{TOKEN}}"}}}}"#
        )),
        ["a"]
    );
    assert_eq!(names(&alone(r#"{"mcpServers": {"A": {"command": "x"}}}"#)), ["A"]);
}

#[test]
fn files_go_together() {
    let app = source("app.yaml", "permissions: { base: allow }");
    let check = |sources: &[Source]| shown(&parse(sources, &env).problems);
    insta::assert_snapshot!(check(&[source("mcp.json", " "), app.clone()]), @"");
    insta::assert_snapshot!(check(&[source("mcp.json", "{}"), app.clone()]), @"");
    insta::assert_snapshot!(check(&[app.clone(), source("b/app.yaml", "permissions: { base: allow }")]), @"app.yaml:1:1: error: b/app.yaml is an `app.yaml`, too; there can be one");
    insta::assert_snapshot!(check(&[source("p.yaml", "version: 1"), app.clone()]), @"app.yaml:1:1: error: an `app.yaml` goes with MCPX's `mcp.json`, not with a native file");
    insta::assert_snapshot!(check(&[source("mcp.json", SERVERS), source("app.yaml", "permissions: [")]), @"app.yaml:1:15: error: this is not YAML: while parsing a node, did not find expected node content");
}

fn imported(mcp: &str, app: &str) -> Imported {
    import(&[source("mcp.json", mcp), source("app.yaml", app)])
}

#[test]
fn both_files_become_one_native_file() {
    let mcp = r#"{"mcpServers": {
  "Slack": {"command": "docker", "args": ["run", "slack"], "env": {"T": {"fromSecret": "SLACK_TOKEN"}}},
  "time": {"command": "uvx", "args": ["mcp-server-time"]},
  "bad": {"command": "-x"}
}}"#;
    let written = imported(mcp, &CURRENT.replace("      time:", "      bad: [x]\n      time:"));
    insta::assert_snapshot!(to_yaml(&written), @r#"
    # ${NAME} in a text is replaced by an environment variable of the gateway.
    version: 1
    servers:
      # from mcp.json:2
      slack:
        command: [docker, run, "-e", T, slack]
        env:
          T: "${SLACK_TOKEN}"
      # from mcp.json:3
      time:
        command: [uvx, mcp-server-time]
        enabled: false
      # left out: "bad" from mcp.json:4: mcpServers.bad.command: a program does not begin with `-`
    auth: { required: true, header: x-lunar-api-key, trust_tags: true, tag_header: x-lunar-consumer-tag }
    groups:
      # from app.yaml:11
      # What changes nothing.
      read-only:
        slack: [list_channels, get_users]
        time: "*"
    variants:
      slack:
        # from app.yaml:25
        post_to_alerts:
          from: post_message
          description: { rewrite: "Post to alerts." }
          fixed: noted
          arguments:
            channel: { fix: "C123", describe: { append: Fixed. } }
    agents:
      # from app.yaml:5
      marketing:
        match: [{ tag: marketing }]
        allow: [read-only]
      # from app.yaml:9
      Cursor:
        match: [{ client: Cursor }]
        allow: ["*"]
        deny: [read-only]
      # from app.yaml:2
      default:
        allow: ["*"]
    "#);
    insta::assert_snapshot!(shown(&written.problems), @r#"
    mcp.json:4:22: error: mcpServers.bad.command: a program does not begin with `-`
      hint: the first text of `command` is the program; options come after it
    app.yaml:4:5: warning: permissions.consumers.marketing: a tag is a claim, not a proof: whoever sends `x-lunar-consumer-tag` is believed
      hint: give each agent an API key once its file is a native one (`portcullis import`)
    app.yaml:15:7: warning: toolGroups[0].services.bad: no server is named "bad"; what is said of it has no effect
    app.yaml:19:3: warning: auth: the one key in AUTH_KEY becomes an API key of each agent
      hint: create them with `portcullis keys create --agent NAME`
    "#);
}

#[test]
fn an_app_file_alone_is_written_as_it_is() {
    let written = import(&[source(
        "app.yaml",
        "permissions: { base: block }\ntoolGroups: [{ name: a, services: { Time: [get, 'tool:x'] } }, { name: b, description: \"x\\ny\" }]",
    )]);
    insta::assert_snapshot!(to_yaml(&written), @r#"
    # ${NAME} in a text is replaced by an environment variable of the gateway.
    version: 1
    servers: {}
    groups:
      # from app.yaml:2
      a:
        time: [get, "tool:tool:x", "prompt:tool:x"]
      # from app.yaml:2
      # x y
      b: {}
    agents:
      # from app.yaml:1
      default:
        allow: []
    "#);
    insta::assert_snapshot!(shown(&written.problems), @"");
}

#[test]
fn what_has_an_error_is_written_as_allowing_nothing() {
    let written = to_yaml(&imported(SERVERS, "permissions: { default: { block: [none] } }"));
    for unknown in ["permissions: [", "[]", "", "auth: {}"] {
        assert_eq!(to_yaml(&imported(SERVERS, unknown)), written);
    }
    insta::assert_snapshot!(written, @"
    # ${NAME} in a text is replaced by an environment variable of the gateway.
    version: 1
    servers:
      # from mcp.json:1
      slack:
        command: [a]
      # from mcp.json:1
      time:
        command: [b]
    agents:
      # from app.yaml:1
      default:
        allow: []
    ");
}

#[test]
fn a_native_file_may_note_what_is_fixed() {
    let native = |variant: &str| {
        let text = format!(
            "version: 1\nservers: {{ s: {{ command: a }} }}\nvariants: {{ s: {{ v: {{ from: t, {variant} }} }} }}\n"
        );
        let parsed = parse(&[source("p.yaml", &text)], &env);
        let variants = parsed.config.variants.iter().map(|variant| format!("{:?}\n", variant.fixed));
        format!("{}{}", variants.collect::<String>(), shown(&parsed.problems))
    };
    insta::assert_snapshot!(native("arguments: { a: { fix: 1 } }"), @"Gone");
    insta::assert_snapshot!(native("fixed: noted, arguments: { a: { fix: 1, describe: { append: x } } }"), @"Noted");
    insta::assert_snapshot!(native("fixed: noted, arguments: { a: { fix: 1, rename: b } }"), @"
    Noted
    p.yaml:3:72: error: variants.s.v.arguments.a.rename: the argument is fixed, which leaves nothing else to say about it
      hint: keep `fix` alone, or remove it
    ");
    insta::assert_snapshot!(native("fixed: gone, arguments: { a: { fix: 1, describe: { append: x } } }"), @"
    Gone
    p.yaml:3:71: error: variants.s.v.arguments.a.describe: the argument is fixed, which leaves nothing else to say about it
      hint: keep `fix` alone, or remove it
    ");
    insta::assert_snapshot!(native("fixed: hidden"), @r#"
    Gone
    p.yaml:3:39: error: variants.s.v.fixed: expected `gone` or `noted`, found "hidden"
    "#);
}

/// Texts with a taste for what YAML could misread.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z_]{1,6}",
        "[^*?:\u{0}]{1,8}",
        prop::sample::select(vec!["true", "null", "1", "1e3", "- a", "a # b", "${X}", "'", "\"", "~", " "])
            .prop_map(ToOwned::to_owned),
    ]
}

/// Names that differ once case and the spaces around them are ignored.
fn names() -> impl Strategy<Value = Vec<String>> {
    let name = prop_oneof!["[a-cA-C]{1,2}", "[a-zé:/. -]{1,8}", Just("default".to_owned())];
    prop::collection::vec(name, 0..4).prop_map(|names| {
        let mut seen = BTreeSet::from([String::new()]);
        names.into_iter().filter(|name| seen.insert(name.trim().to_lowercase())).collect()
    })
}

const GROUPS: [&str; 4] = ["read", "Write All", "slack", "slack-group"];

fn groups() -> impl Strategy<Value = Json> {
    let tools = prop_oneof![Just(json!("*")), prop::collection::vec(text(), 0..3).prop_map(Json::from)];
    let service = prop::sample::select(vec!["slack", "SLACK", "time", "my srv", "nobody"]);
    let services = prop::collection::btree_map(service, tools, 0..4);
    prop::collection::vec((services, prop::option::of(text())), GROUPS.len()).prop_map(|groups| {
        let named = GROUPS.iter().zip(groups);
        named.map(|(name, (services, description))| json!({ "name": name, "services": services, "description": description })).collect()
    })
}

/// Entries of both generations.
fn entry() -> impl Strategy<Value = Json> {
    let some = || prop::sample::subsequence(GROUPS.to_vec(), 0..3);
    let base = prop::sample::select(vec!["allow", "block"]);
    prop_oneof![
        some().prop_map(|groups| json!({ "allow": groups })),
        some()
            .prop_map(|groups| json!({ "_type": "default-allow", "block": groups, "consumerGroupKey": "k" })),
        (some(), some()).prop_map(|(allow, block)| json!({ "allow": allow, "block": block })),
        (prop::option::of(base), some(), some()).prop_map(
            |(base, allow, block)| json!({ "base": base, "profiles": { "allow": allow, "block": block } })
        ),
    ]
}

fn default() -> impl Strategy<Value = (&'static str, Json)> {
    prop_oneof![
        prop::sample::select(vec!["allow", "block"]).prop_map(|base| ("base", json!(base))),
        prop::sample::subsequence(GROUPS.to_vec(), 0..3)
            .prop_map(|groups| ("default", json!({ "block": groups }))),
    ]
}

fn wording() -> impl Strategy<Value = Json> {
    prop_oneof![
        text().prop_map(|text| json!({ "action": "append", "text": text })),
        text().prop_map(|text| json!({ "rewrite": text })),
    ]
}

/// Parameters of both generations.
fn parameter() -> impl Strategy<Value = Json> {
    let value = prop_oneof![
        text().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        any::<bool>().prop_map(Json::from),
        Just(Json::Null),
        prop::collection::vec(text(), 0..3).prop_map(Json::from),
        text().prop_map(|text| json!({ "a": { "b\n": [text] } })),
    ];
    let described = (value.clone(), wording())
        .prop_map(|(value, wording)| json!({ "value": value, "description": wording }));
    prop_oneof![
        value,
        described,
        wording().prop_map(|wording| json!({ "description": wording })),
        Just(json!({}))
    ]
}

fn children() -> impl Strategy<Value = Json> {
    let parameters = prop::collection::btree_map(text(), parameter(), 0..3);
    let name = "[a-zé_ -]{1,6}";
    let child = (name, prop::option::of(wording()), parameters)
        .prop_map(|(name, wording, parameters)| json!({ "name": name, "description": wording, "overrideParams": parameters }));
    let service = prop::sample::select(vec!["Slack", "my srv", "nobody"]);
    prop::collection::btree_map(service, (text(), child), 0..3).prop_map(|services| {
        let tools = services
            .into_iter()
            .map(|(service, (tool, child))| (service.to_owned(), json!({ tool: { "childTools": [child] } })));
        Json::Object(tools.collect())
    })
}

/// What a policy decides by, without where it stands and how refusals are worded.
fn essence(parsed: &Parsed) -> (Policy, Vec<Variant>, Auth) {
    let nowhere = Origin::default;
    let agent = |agent: &Arc<Agent>| {
        let rules =
            |rules: &[Rule]| rules.iter().map(|rule| Rule { origin: nowhere(), ..rule.clone() }).collect();
        let (allow, deny) = (rules(&agent.allow), rules(&agent.deny));
        Arc::new(Agent { allow, deny, origin: nowhere(), ..Agent::clone(agent) })
    };
    let Policy { groups, agents, default, .. } = &parsed.config.policy;
    let groups = groups
        .iter()
        .map(|(key, group)| (key.clone(), Group { description: None, origin: nowhere(), ..group.clone() }));
    let policy = Policy {
        groups: groups.collect(),
        agents: agents.iter().map(agent).collect(),
        default: agent(default),
        dialect: Dialect::Native,
    };
    let variants =
        parsed.config.variants.iter().map(|variant| Variant { origin: nowhere(), ..variant.clone() });
    (policy, variants.collect(), Auth { shared_key: None, ..parsed.config.auth.clone() })
}

proptest! {
    #[test]
    fn what_is_written_decides_the_same(
        (key, default) in default(),
        (tags, clients) in (names(), names()),
        entries in prop::collection::vec(entry(), 8),
        groups in groups(),
        children in children(),
        auth in prop::option::of((any::<bool>(), prop::option::of("[a-z]{9}"))),
    ) {
        let mut entries = entries.into_iter();
        let mut people = |names: Vec<String>| names.into_iter().zip(&mut entries).collect::<BTreeMap<_, _>>();
        let app = json!({
            "permissions": { key: default, "consumers": people(tags), "clientNames": people(clients) },
            "toolGroups": groups,
            "toolExtensions": { "services": children },
            "auth": auth.map(|(enabled, header)| json!({ "enabled": enabled, "header": header })),
            "targetServerAttributes": { "TIME": { "inactive": true } },
        }).to_string();
        let mcp = r#"{"mcpServers": {"Slack": {"command": "a"}, "time": {"command": "b"}, "My Srv": {"command": "c"}}}"#;
        let sources = [source("mcp.json", mcp), source("app.yaml", &app)];
        let before = parse(&sources, &env);
        prop_assert!(!before.is_refused(), "{app}\n{}", shown(&before.problems));
        let written = to_yaml(&import(&sources));
        let after = parse(&[source("portcullis.yaml", &written)], &env);
        prop_assert!(!after.is_refused(), "{app}\n{written}\n{}", shown(&after.problems));
        prop_assert_eq!(essence(&before), essence(&after), "{}\n{}", app, written);
        prop_assert_eq!(before.config.servers, after.config.servers);
    }
}
