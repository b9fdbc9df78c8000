//! What an `app.yaml` comes to: values, places and texts.

use crate::config::{Agent, Auth, Dialect, Group, Parsed, Policy, Problem, Rule, Source, Variant, parse};

pub(super) fn env(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("s3cret".to_owned()),
        "AUTH_KEY" => Some("the one key".to_owned()),
        "BLANK" => Some(" ".to_owned()),
        _ => None,
    }
}

pub(super) fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

pub(super) const SERVERS: &str = r#"{"mcpServers": {"Slack": {"command": "a"}, "time": {"command": "b"}}}"#;

/// Reads an `app.yaml` beside the two servers.
fn app(text: &str) -> Parsed {
    parse(&[source("mcp.json", SERVERS), source("app.yaml", text)], &env)
}

pub(super) fn shown(problems: &[Problem]) -> String {
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

#[test]
fn the_current_generation_is_read() {
    let parsed = app(CURRENT);
    insta::assert_snapshot!(shown(&parsed.problems), @"
    app.yaml:4:5: warning: permissions.consumers.marketing: a tag is a claim, not a proof: whoever sends `x-lunar-consumer-tag` is believed
      hint: give each agent an API key once its file is a native one (`portcullis import`)
    ");
    let Policy { groups, agents, default, .. } = &parsed.config.policy;
    let members = |group: &Group| {
        group
            .members
            .iter()
            .map(|member| format!("{}/{}", member.server.as_str(), member.item.as_str()))
            .collect::<Vec<_>>()
    };
    let groups: Vec<_> = groups
        .iter()
        .map(|(key, group)| {
            format!(
                "{} {key}: {:?} {}",
                group.origin,
                members(group),
                group.description.as_deref().unwrap_or("-")
            )
        })
        .collect();
    insta::assert_snapshot!(groups.join("\n"), @r#"app.yaml:11: toolGroups[0] read-only: ["slack/list_channels", "slack/get_users", "time/*"] What changes nothing."#);
    let agents = agents.iter().chain([default]).flat_map(|agent| {
        let rules =
            agent.allow.iter().chain(&agent.deny).map(|rule| format!("  {}: {:?}", rule.origin, rule.what));
        [format!("{} {}", agent.origin, one_line(agent))].into_iter().chain(rules)
    });
    insta::assert_snapshot!(agents.collect::<Vec<_>>().join("\n"), @r#"
    app.yaml:5: permissions.consumers.marketing marketing Tag("marketing"): allow [read-only] deny []
      app.yaml:7: permissions.consumers.marketing.allow[0]: Group("read-only")
    app.yaml:9: permissions.clientNames.Cursor Cursor Client("Cursor"): allow [*] deny [read-only]
      app.yaml:9: permissions.clientNames.Cursor: Everything
      app.yaml:9: permissions.clientNames.Cursor.block[0]: Group("read-only")
    app.yaml:2: permissions.default default: allow [*] deny []
      app.yaml:2: permissions.default: Everything
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

pub(super) const CURRENT: &str = "\
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
    insta::assert_snapshot!(problems("skills: { enabled: [{ skillIds: [x] }] }\nother: 1"), @r#"
    app.yaml:3:9: warning: skills: `skills` is not carried over
      hint: skills are kept by MCPX's hub; agents load them from where they are published
    app.yaml:4:1: warning: other: the key "other" has no meaning here and is ignored
    "#);
    insta::assert_snapshot!(problems("skills: { enabled: [] }\nstaticOauth: {}\ntargetServerAttributes: { tim: { inactive: true } }"), @r#"
    app.yaml:5:27: warning: targetServerAttributes.tim: no server is named "tim"; what is said of it has no effect
      hint: did you mean `time`?
    "#);
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
