//! The trail of a gateway on MCPX's files: every call, also the refused and the failed; kept, and found again.

use portcullis_tests::gateway::Gateway;
use portcullis_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

use super::callers::{Caller, DOORS, folder, two_servers};

const APP: &str = "
permissions:
  default: { block: [] }
  consumers: { guests: { allow: [reading] } }
  clientNames: { Cursor: { block: [] } }
toolGroups: [{ name: reading, services: { files: [echo, crash, test_error_handling] } }]
toolExtensions: { services: { tickets: { greet: { childTools: [{ name: greet_ada, overrideParams: { name: Ada } }] } } } }
";

/// The entries that a filter finds, once there are so many.
fn find(gateway: &Gateway, filter: &[&str], count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    wait::until(PATIENCE, || {
        let exported = gateway.cli(&[&["audit", "export"], filter].concat()).stdout;
        found = exported.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        (found.len() >= count).then_some(())
    });
    assert_eq!(found.len(), count, "{filter:?}: {found:#?}");
    found
}

fn all_are(entries: &[Value], field: &str, expected: &Value) {
    for entry in entries {
        assert_eq!(entry[field], *expected, "{field} of {entry}");
    }
}

/// A gateway of which guests and others have asked, through every door.
fn asked() -> Gateway {
    let gateway = folder(&two_servers(), APP).start();
    for door in DOORS {
        let mut guest = Caller::tagged(&gateway, door, "guests");
        assert!(guest.call("files__echo", &json!({ "message": "private" })).is_ok());
        assert!(guest.call("tickets__echo", &json!({ "message": "private" })).is_err());
        assert!(guest.call("files__test_error_handling", &json!({})).is_ok());
        let crashed = guest.call("files__crash", &json!({}));
        assert!(crashed.is_err() || crashed.is_ok_and(|result| result["isError"] == true));
        let mut cursor = Caller::of(&gateway, door, &[], "cursor");
        assert!(cursor.call("tickets__nope", &json!({})).is_err());
        assert!(cursor.call("tickets__greet_ada", &json!({})).is_ok());
        cursor.tools();
    }
    gateway
}

#[test]
fn every_call_is_found_by_who_asked_what_came_of_it_and_what_was_called() {
    let gateway = asked();
    let allowed = find(&gateway, &["--agent", "guests", "--tool", "files__echo"], 3);
    all_are(&allowed, "decision", &json!("allowed"));
    all_are(&allowed, "server", &json!("files"));
    all_are(&allowed, "upstream_name", &json!("echo"));
    all_are(&allowed, "client", &json!("somebody"));
    let denied = find(&gateway, &["--agent", "guests", "--decision", "denied"], 3);
    all_are(&denied, "name", &json!("tickets__echo"));
    let unknown = find(&gateway, &["--tool", "tickets__nope"], 3);
    all_are(&unknown, "decision", &json!("denied"));
    let failed = find(&gateway, &["--tool", "files__crash"], 3);
    all_are(&failed, "decision", &json!("failed"));
    let errors = find(&gateway, &["--tool", "files__test_error_handling"], 3);
    all_are(&errors, "is_error", &json!(true));
    let variants = find(&gateway, &["--agent", "Cursor", "--tool", "tickets__greet_ada"], 3);
    all_are(&variants, "upstream_name", &json!("greet"));
    all_are(&variants, "client", &json!("Cursor"));
    find(&gateway, &["--server", "files", "--decision", "allowed"], 6);
    find(&gateway, &["--agent", "guests", "--until", "1h"], 0);
}

#[test]
fn the_trail_outlives_the_gateway() {
    let mut gateway = asked();
    find(&gateway, &["--tool", "tickets__greet_ada"], 3);
    let before = gateway.cli(&["audit", "export"]).stdout;
    gateway.restart();
    assert!(Caller::tagged(&gateway, DOORS[0], "guests").call("files__echo", &json!({})).is_ok());
    find(&gateway, &["--tool", "files__echo"], 4);
    let after = gateway.cli(&["audit", "export"]).stdout;
    assert!(after.starts_with(&before) && after.len() > before.len(), "{before}\n---\n{after}");
    let verified = gateway.cli(&["audit", "verify"]);
    assert_eq!(verified.code(), Some(0), "{}{}", verified.stdout, verified.stderr);
}

#[test]
fn arguments_are_recorded_nowhere_unless_asked_for() {
    let gateway = asked();
    find(&gateway, &["--tool", "tickets__greet_ada"], 3);
    let exported = gateway.cli(&["audit", "export"]).stdout;
    assert!(exported.contains("args_digest") && !exported.contains("private"), "{exported}");
    assert!(!gateway.log().contains("private"), "{}", gateway.log());
}
