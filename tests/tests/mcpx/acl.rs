//! Who may do what: what is listed, what may be called, and what is refused, by tag, by client and else by default.

use std::sync::OnceLock;

use portcullis_tests::gateway::Gateway;
use serde_json::{Value, json};

use super::callers::{Caller, DOORS, TAG, all_tools, folder, two_servers};

const GROUPS: &str = "
toolGroups:
  - name: dangerous
    description: what cannot be undone
    services: { files: [pid, env], tickets: '*' }
  - name: reading
    services: { files: [echo, whoami, test_simple_prompt], tickets: [count] }
  - { name: everything, services: { files: '*', tickets: '*' } }
";

/// What each caller tries.
const SAMPLES: [&str; 8] = [
    "files__echo",
    "files__whoami",
    "files__pid",
    "files__count",
    "tickets__echo",
    "tickets__whoami",
    "tickets__pid",
    "tickets__count",
];

fn gateway(permissions: &str) -> Gateway {
    folder(&two_servers(), &format!("permissions:{permissions}{GROUPS}")).start()
}

fn anything(_: &str, _: &str) -> bool {
    true
}

fn nothing(_: &str, _: &str) -> bool {
    false
}

fn not_dangerous(server: &str, tool: &str) -> bool {
    server == "files" && tool != "pid" && tool != "env"
}

fn reading(server: &str, tool: &str) -> bool {
    matches!((server, tool), ("files", "echo" | "whoami") | ("tickets", "count"))
}

/// Through each door, the caller is listed what it may do, can do that, and is refused everything else.
#[track_caller]
fn check(gateway: &Gateway, tag: &str, client: &str, may: impl Fn(&str, &str) -> bool) {
    let may = |tool: &str| tool.split_once("__").is_some_and(|(server, name)| may(server, name));
    let expected: Vec<_> = all_tools().iter().filter(|tool| may(tool)).cloned().collect();
    let headers: &[(&str, &str)] = if tag.is_empty() { &[] } else { &[(TAG, tag)] };
    for door in DOORS {
        let who = format!("{tag:?} {client:?} {door:?}");
        let mut caller = Caller::of(gateway, door, headers, client);
        assert_eq!(caller.tools(), expected, "{who}");
        for tool in SAMPLES {
            let answered = caller.call(tool, &json!({ "message": "hi" }));
            if may(tool) {
                assert!(
                    answered.as_ref().is_ok_and(|result| result["isError"] != true),
                    "{who}: {answered:?}"
                );
            } else {
                assert_eq!(answered, Err("-32603 Permission denied".to_owned()), "{who}: {tool}");
            }
        }
    }
}

/// Tags of the newer generation, with a default that allows.
fn tags() -> &'static Gateway {
    static GATEWAY: OnceLock<Gateway> = OnceLock::new();
    GATEWAY.get_or_init(|| {
        gateway(
            "
  default: { block: [] }
  consumers:
    power-users: { block: [dangerous] }
    guests: { _type: default-block, consumerGroupKey: outside, allow: [reading] }
    careful: { allow: [everything], block: [dangerous] }
    nobody: { allow: [] }",
        )
    })
}

#[test]
fn without_a_tag_the_default_holds() {
    check(tags(), "", "somebody", anything);
}

#[test]
fn with_an_unrelated_tag_the_default_holds() {
    check(tags(), "unrelated", "somebody", anything);
}

#[test]
fn power_users_may_do_everything_but_a_group() {
    check(tags(), "power-users", "somebody", not_dangerous);
}

#[test]
fn guests_may_do_nothing_but_a_group() {
    check(tags(), "guests", "somebody", reading);
    check(tags(), "nobody", "somebody", nothing);
}

#[test]
fn one_entry_may_allow_and_block() {
    check(tags(), "careful", "somebody", not_dangerous);
}

#[test]
fn prompts_are_held_to_the_same_groups() {
    for door in DOORS {
        let mut guest = Caller::tagged(tags(), door, "guests");
        assert_eq!(guest.names("prompts/list", "prompts"), ["files__test_simple_prompt"], "{door:?}");
        let mut get = |name: &str| guest.outcome("prompts/get", json!({ "name": name }));
        assert!(get("files__test_simple_prompt").is_ok(), "{door:?}");
        for other in ["tickets__test_simple_prompt", "files__test_prompt_with_image", "files__nope"] {
            assert_eq!(get(other), Err("-32603 Permission denied".to_owned()), "{door:?}");
        }
    }
}

#[test]
fn clients_alone_have_entries() {
    let gateway = gateway(
        "
  default: { allow: [] }
  clientNames:
    Cursor: { allow: [reading] }
    Claude Code: { block: [dangerous] }",
    );
    check(&gateway, "", "cursor-vscode (via mcp-remote 0.1.18)", reading);
    check(&gateway, "", "claude-code", not_dangerous);
    check(&gateway, "", "somebody", nothing);
    check(&gateway, "Cursor", "somebody", nothing);
}

#[test]
fn a_tag_comes_before_a_client_and_one_without_an_entry_counts_for_nothing() {
    let gateway = gateway(
        "
  default: { allow: [] }
  consumers: { ops: { block: [] }, guests: { allow: [] } }
  clientNames: { Cursor: { allow: [reading] } }",
    );
    check(&gateway, "ops", "Cursor", anything);
    check(&gateway, "guests", "Cursor", nothing);
    check(&gateway, "unrelated", "Cursor", reading);
    check(&gateway, "unrelated", "somebody", nothing);
}

#[test]
fn the_older_generation_holds_too() {
    let gateway = gateway(
        "
  base: block
  consumers:
    developers: { base: allow, consumerGroupKey: Developers, profiles: { block: [dangerous] } }
    readers: { profiles: { allow: [reading] } }
    careful: { base: block, profiles: { allow: [everything], block: [dangerous] } }",
    );
    check(&gateway, "", "somebody", nothing);
    check(&gateway, "unrelated", "somebody", nothing);
    check(&gateway, "developers", "somebody", not_dangerous);
    check(&gateway, "readers", "somebody", reading);
    check(&gateway, "careful", "somebody", not_dangerous);
    let gateway = self::gateway(
        "
  base: allow
  consumers:
    developers: { profiles: { block: [dangerous] } }
    readers: { base: block, profiles: { allow: [reading] } }
    others: {}",
    );
    check(&gateway, "", "somebody", anything);
    check(&gateway, "developers", "somebody", not_dangerous);
    check(&gateway, "readers", "somebody", reading);
    check(&gateway, "others", "somebody", anything);
}

#[test]
fn an_edit_of_permissions_holds_for_whoever_is_connected() {
    let app = |allowed: &str| {
        format!(
            "permissions: {{ default: {{ block: [] }}, consumers: {{ guests: {{ allow: [{allowed}] }} }} }}{GROUPS}"
        )
    };
    let gateway = folder(&two_servers(), &app("reading")).start();
    let mut callers = DOORS.map(|door| Caller::tagged(&gateway, door, "guests"));
    let denied = || Err::<Value, _>("-32603 Permission denied".to_owned());
    for caller in &mut callers {
        assert_eq!(caller.call("files__pid", &json!({})), denied());
    }
    gateway.write("mcpx/app.yaml", &app("dangerous"));
    for caller in &mut callers {
        portcullis_tests::wait::expect("what is allowed now", || {
            caller.call("files__pid", &json!({})).is_ok()
        });
        assert_eq!(caller.call("files__echo", &json!({})), denied());
        assert!(!caller.tools().contains(&"files__echo".to_owned()));
    }
}
