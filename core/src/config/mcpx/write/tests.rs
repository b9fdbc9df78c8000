//! What is written natively, and that it decides as MCPX's files do.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::tests::{CURRENT, SERVERS, env, shown, source};
use crate::config::{
    Agent, Auth, Dialect, Group, Imported, Origin, Parsed, Policy, Rule, Variant, import, parse, to_yaml,
};
use crate::sorted::{SortedMap, SortedSet};

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
        let mut seen = SortedSet::from([String::new()]);
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
        ..Policy::default()
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
        let mut people = |names: Vec<String>| names.into_iter().zip(&mut entries).collect::<SortedMap<_, _>>();
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
