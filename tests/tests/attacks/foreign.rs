//! Case 31: what is another's is as what does not exist, under whatever id it is asked for, and the admin API is the
//! admin's alone.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use portcullis_tests::scenario;
use serde_json::{Value, json};

use super::governed::{asked, governed, key, modern, told};
use super::target::fixture;

const ADMIN_KEY: &str = "the admin's key";
const TASKS: &str = "io.modelcontextprotocol/tasks";

fn able(url: &str, tag: &str) -> Agent {
    modern(url, tag).capabilities(json!({ "elicitation": {}, "extensions": { TASKS: {} } }))
}

fn about(method: &str, id: &str) -> Value {
    match method {
        "tasks/update" => json!({ "taskId": id, "inputResponses": {} }),
        _ => json!({ "taskId": id }),
    }
}

#[test]
fn case_31_a_task_of_another_agent_is_none() {
    let everything = json!({ "allow": ["*"] });
    let gateway = Gateway::start(&governed(
        &json!({ "up": scenario::fixture(&["--era", "modern"]) }),
        &json!({ "one": everything, "two": everything }),
        &json!({}),
    ));
    let [owner, other, nobody] = ["one", "two", "three"].map(|tag| able(gateway.url(), tag));
    let task = owner.call("up__confirm_delete", &json!({}));
    let id = task["taskId"].as_str().expect("a task");
    let cut = &id[..id.len() - 1];
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let of_none = asked(&other, method, about(method, "1"));
        assert!(of_none.contains("Unknown task"), "{of_none}");
        for (agent, id) in [(&other, id), (&nobody, id), (&other, cut), (&owner, cut)] {
            assert_eq!(asked(agent, method, about(method, id)), of_none, "{method}");
        }
    }
    let known = owner.result("tasks/get", about("tasks/get", id));
    assert_eq!(known["taskId"], id);
    assert_ne!(known["status"], "cancelled", "nobody else has ended it");
}

/// A request to the admin API, with this credential.
fn administer(gateway: &Gateway, (method, path): (&str, &str), credential: Option<&str>) -> Request {
    let request = Request::new(method, &gateway.url_of(&format!("/admin/v1/{path}")));
    let request = request.header("If-Match", "*").header("Content-Type", "application/json").body("{}");
    match credential {
        Some(key) => request.header("Authorization", format!("Bearer {key}")),
        None => request,
    }
}

#[test]
fn case_31_the_admin_api_answers_nobody_else() {
    let gateway =
        Gateway::with("version: 1\n").configured_remotely().env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY).start();
    let file = governed(&json!({ "up": fixture() }), &json!({ "one": { "allow": ["*"] } }), &json!({}));
    let push = Request::new("PUT", &gateway.url_of("/admin/v1/config")).header("If-Match", "*");
    let push = push
        .header("Authorization", format!("Bearer {ADMIN_KEY}"))
        .header("Content-Type", "application/yaml");
    assert_eq!(push.body(file).send().status, 201);
    let of_agent = key(&gateway, "one");
    let known = |path| told(administer(&gateway, ("GET", path), Some(ADMIN_KEY)).send());
    let before = ["config", "config/versions", "keys"].map(known);
    let keys = administer(&gateway, ("GET", "keys"), Some(ADMIN_KEY)).send().json();
    let id = keys["keys"][0]["id"].as_str().unwrap_or_else(|| panic!("{keys}")).to_owned();
    let (of_one, guessed) = (format!("keys/{id}"), format!("keys/{}", id.chars().rev().collect::<String>()));
    let requests = [
        ("GET", "config"),
        ("PUT", "config"),
        ("GET", "config/versions"),
        ("GET", "config/versions/1"),
        ("GET", "config/versions/2"),
        ("POST", "config/rollback"),
        ("POST", "config/check"),
        ("GET", "keys"),
        ("POST", "keys"),
        ("DELETE", &of_one),
        ("DELETE", &guessed),
        ("GET", "secrets"),
        ("PUT", "secrets/one"),
        ("DELETE", "secrets/one"),
        ("GET", "connections"),
        ("GET", "connections/key:one"),
        ("DELETE", "connections/key:one"),
        ("GET", "audit"),
        ("GET", "audit/verify"),
        ("GET", "nothing"),
    ];
    let (cut, longer) = (&ADMIN_KEY[..ADMIN_KEY.len() - 1], format!("{ADMIN_KEY}s"));
    for credential in [None, Some(&*of_agent), Some(cut), Some(&longer), Some(&ADMIN_KEY.to_uppercase())] {
        for request in requests {
            let status = administer(&gateway, request, credential).send().status;
            assert_eq!(status, 401, "{request:?}, {credential:?}");
        }
        let [one, other] =
            [&of_one, &guessed].map(|path| told(administer(&gateway, ("DELETE", path), credential).send()));
        assert_eq!(one, other, "whether there is such a key is told to nobody");
    }
    assert_eq!(["config", "config/versions", "keys"].map(known), before, "nothing has changed");
    let agent = Agent::modern(gateway.url()).bearer(&of_agent);
    assert!(agent.tools().contains(&"up__echo".to_owned()), "the key is still good");
}
