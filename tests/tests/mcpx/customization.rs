//! Tools made of others: worded anew, with parameters that are fixed, beside what they are made of.

use portcullis_tests::gateway::Gateway;
use portcullis_tests::scenario::text;
use serde_json::{Value, json};

use super::callers::{Caller, DOORS, Door, OPEN, fixture, folder};

const CHILDREN: &str = "
toolExtensions:
  services:
    Tickets:
      greet:
        childTools:
          - name: greet_ada
            description: { action: rewrite, text: Greets Ada. }
            overrideParams: { name: { value: Ada } }
          - name: greet_bob
            overrideParams: { name: Bob }
          - name: greet_politely
            description: { action: append, text: Politely. }
            overrideParams:
              name: { description: { action: append, text: First names only } }
          - name: greet_whom
            overrideParams:
              name: { description: { action: rewrite, text: Somebody } }
      json_schema_2020_12_tool:
        childTools:
          - name: by_mail
            overrideParams: { contactMethod: { value: email, description: { action: append, text: By mail } } }
      echo:
        childTools:
          - { name: echo_again }
          - name: echo_more
            overrideParams: { message: { value: null }, deep: { value: { a: [1, true, null], b: x } } }
";

fn gateway() -> Gateway {
    folder(&json!({ "Tickets": fixture() }), &format!("{OPEN}{CHILDREN}")).start()
}

/// What a child's schema says of a parameter.
#[track_caller]
fn check_described(child: &str, parameter: &str, description: &str) {
    let tool = Caller::anybody(&gateway(), Door::Stateless).tool(&format!("tickets__{child}"));
    let described = &tool["inputSchema"]["properties"][parameter]["description"];
    assert_eq!(described, description, "{tool}");
}

/// What reaches the server, whoever asks through whichever door.
#[track_caller]
fn check_sent(child: &str, given: &Value, sent: &str) {
    let gateway = gateway();
    for door in DOORS {
        let called = Caller::anybody(&gateway, door).call(&format!("tickets__{child}"), given);
        let result = called.unwrap_or_else(|error| panic!("{door:?}: {error}"));
        assert_eq!(text(&result), sent, "{door:?}: {given}");
    }
}

#[test]
fn an_only_parameter_is_forced_whatever_is_sent() {
    check_sent("greet_ada", &json!({}), "Hello, Ada!");
    check_sent("greet_ada", &json!({ "name": "Eve" }), "Hello, Ada!");
    check_sent("greet_ada", &json!({ "name": "" }), "Hello, Ada!");
    check_sent("greet_bob", &json!({ "name": "Eve" }), "Hello, Bob!");
}

#[test]
fn one_parameter_of_several_is_forced_and_the_others_are_the_callers() {
    let given = json!({ "contactMethod": "phone", "email": "a@b.c" });
    let gateway = gateway();
    for door in DOORS {
        let called = Caller::anybody(&gateway, door).call("tickets__by_mail", &given).expect("it is allowed");
        let (_, sent) = text(&called).split_once("called with ").expect("the server says so");
        let sent: Value = serde_json::from_str(sent).expect("it is JSON");
        assert_eq!(sent, json!({ "contactMethod": "email", "email": "a@b.c" }), "{door:?}");
    }
}

#[test]
fn values_of_every_kind_are_forced_also_where_the_schema_has_no_such_parameter() {
    let gateway = gateway();
    for door in DOORS {
        let called = Caller::anybody(&gateway, door)
            .call("tickets__echo_more", &json!({ "message": "hi", "deep": 1, "other": 2 }))
            .expect("it is allowed");
        let sent = json!({ "message": null, "deep": { "a": [1, true, null], "b": "x" }, "other": 2 });
        assert_eq!(called["structuredContent"], sent, "{door:?}");
    }
}

#[test]
fn a_child_stands_beside_its_original() {
    let gateway = gateway();
    for door in DOORS {
        let mut caller = Caller::anybody(&gateway, door);
        let tools = caller.tools();
        for name in ["greet", "greet_ada", "greet_bob", "greet_politely", "greet_whom"] {
            assert!(tools.contains(&format!("tickets__{name}")), "{door:?}: {tools:?}");
        }
        assert!(tools.is_sorted(), "{tools:?}");
        let original = caller.tool("tickets__greet");
        assert_eq!(original["inputSchema"]["properties"]["name"]["description"], "Whom to greet");
        assert_eq!(original["inputSchema"]["required"], json!(["name"]));
        let greeted = caller.call("tickets__greet", &json!({ "name": "Eve" })).expect("it is allowed");
        assert_eq!(text(&greeted), "Hello, Eve!", "{door:?}");
    }
}

#[test]
fn descriptions_of_tools_are_rewritten_or_go_on() {
    let gateway = gateway();
    let mut caller = Caller::anybody(&gateway, Door::Session);
    let mut described = |child: &str| caller.tool(&format!("tickets__{child}"))["description"].take();
    assert_eq!(described("greet_ada"), "Greets Ada.");
    assert_eq!(described("greet_politely"), "Greets someone. Politely.");
    assert_eq!(described("greet_bob"), "Greets someone");
}

#[test]
fn descriptions_of_parameters_are_rewritten_or_go_on() {
    check_described("greet_politely", "name", "Whom to greet. First names only");
    check_described("greet_whom", "name", "Somebody");
}

#[test]
fn the_schema_says_what_is_forced() {
    let note = |value: &str| {
        format!("Note: This parameter is ignored - it is hardcoded to be {value}. Leave it out.")
    };
    check_described("greet_ada", "name", &format!("Whom to greet. {}", note("Ada")));
    check_described("by_mail", "contactMethod", &format!("By mail. {}", note("email")));
    // MCPX writes "null. Note..." and "[object Object]" here.
    check_described("echo_more", "message", &note("null"));
}

#[test]
fn who_may_have_a_child_need_not_have_its_original() {
    let app = format!(
        "permissions:
  default: {{ allow: [ada] }}
  consumers: {{ others: {{ block: [ada] }} }}
toolGroups: [{{ name: ada, services: {{ tickets: [greet_ada] }} }}]{CHILDREN}"
    );
    let gateway = folder(&json!({ "Tickets": fixture() }), &app).start();
    let denied = Err("-32603 Permission denied".to_owned());
    for door in DOORS {
        let mut caller = Caller::anybody(&gateway, door);
        assert_eq!(caller.tools(), ["tickets__greet_ada"], "{door:?}");
        assert_eq!(caller.call("tickets__greet", &json!({ "name": "Eve" })), denied, "{door:?}");
        let greeted = caller.call("tickets__greet_ada", &json!({ "name": "Eve" })).expect("it is allowed");
        assert_eq!(text(&greeted), "Hello, Ada!", "{door:?}");
        let mut other = Caller::tagged(&gateway, door, "others");
        assert_eq!(other.call("tickets__greet_ada", &json!({})), denied, "{door:?}");
        assert!(other.call("tickets__greet", &json!({ "name": "Eve" })).is_ok(), "{door:?}");
    }
}
