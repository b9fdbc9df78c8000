//! An edit that changes what a caller is listed is told to the caller, through whichever door it came.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::{Body, Request};
use portcullis_tests::sse::Events;
use portcullis_tests::sse_agent;
use serde_json::{Value, json};

use super::callers::{OPEN, TAG, folder, two_servers};

const GROUPS: &str = "toolGroups:
  - { name: reading, services: { files: [echo] } }
  - { name: writing, services: { files: [echo, count] } }
";

/// A guest on each of the doors, who listens.
struct Guests {
    subscription: Events<Body>,
    session: Events<Body>,
    sse: sse_agent::Agent,
}

impl Guests {
    fn of(gateway: &Gateway) -> Self {
        let guest = || Agent::modern(gateway.url()).header(TAG, "guests");
        let wanted = json!({ "notifications": { "toolsListChanged": true } });
        let subscription = guest().post("subscriptions/listen", wanted).send().events();
        let with_session = guest().handshake("2025-06-18");
        let stream = Request::get(gateway.url())
            .header("Accept", "text/event-stream")
            .header(TAG, "guests")
            .header("MCP-Protocol-Version", "2025-06-18")
            .header("Mcp-Session-Id", with_session.session().expect("a session"));
        let mut sse = sse_agent::Agent::opened_with(gateway, &[(TAG, "guests")]);
        sse.initialize("2024-11-05", &json!({}));
        Self { subscription, session: stream.send().events(), sse }
    }

    /// Waits until each is told that its tools are others.
    fn hear(&mut self) {
        let is_told = |message: &Value| message["method"] == "notifications/tools/list_changed";
        for stream in [&mut self.subscription, &mut self.session] {
            let mut told = stream.by_ref().filter(|event| !event.data.is_empty());
            assert!(told.any(|event| is_told(&event.json())), "the stream ends without a word");
        }
        self.sse.await_message(is_told);
    }
}

#[track_caller]
fn check(before: &str, after: &str) {
    let gateway = folder(&two_servers(), before).start();
    let mut guests = Guests::of(&gateway);
    for app in [after, before] {
        gateway.write("mcpx/app.yaml", app);
        guests.hear();
    }
}

#[test]
fn a_server_that_is_switched_off_or_on_is_told() {
    check(OPEN, &format!("{OPEN}targetServerAttributes: {{ files: {{ inactive: true }} }}\n"));
}

#[test]
fn other_permissions_are_told() {
    let app = |group: &str| {
        format!(
            "permissions: {{ default: {{ block: [] }}, consumers: {{ guests: {{ allow: [{group}] }} }} }}\n{GROUPS}"
        )
    };
    check(&app("reading"), &app("writing"));
}

#[test]
fn another_group_is_told() {
    let app = |tools: &str| {
        format!(
            "permissions: {{ default: {{ allow: [reading] }}, consumers: {{}} }}
toolGroups: [{{ name: reading, services: {{ files: [{tools}] }} }}]\n"
        )
    };
    check(&app("echo"), &app("echo, count"));
}

#[test]
fn another_child_is_told() {
    let child = "toolExtensions: { services: { files: { greet: { childTools: [{ name: greet_ada }] } } } }\n";
    check(OPEN, &format!("{OPEN}{child}"));
}
