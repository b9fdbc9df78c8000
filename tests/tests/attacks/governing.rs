//! Cases 15, 33 and 37 at the control plane: who may have a program started, whom a server may ask, and what nobody takes out of
//! the trail.

use std::fs;
use std::path::Path;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use portcullis_tests::wait;
use serde_json::{Value, json};

use super::governors::{ADMIN, Governor, as_admin, governed_by};
use super::phishing::{asks_in_rounds, converse, visit};
use super::trail::{file, lines};

/// What would start a program, wherever the control plane takes one: method, path, body.
fn orders(marker: &Path) -> Vec<(&'static str, &'static str, Value)> {
    let server = json!({ "command": ["touch", marker] });
    let config = json!({ "version": 1, "servers": { "new": server } }).to_string();
    let files = json!({ "files": { "portcullis.yaml": config } });
    let draft = json!({ "name": "new", "settings": server });
    let package = json!({
        "name": "com.example/new", "version": "1.0.0", "description": "New",
        "packages": [{
            "registryType": "npm", "identifier": "new", "version": "1.0.0", "transport": { "type": "stdio" },
            "runtimeHint": "touch", "runtimeArguments": [{ "type": "positional", "value": marker }],
        }],
    });
    vec![
        ("POST", "/admin/v1/servers", draft.clone()),
        ("PUT", "/admin/v1/servers/new", draft),
        ("PUT", "/admin/v1/config", files.clone()),
        ("POST", "/admin/v1/config/rollback", json!({ "to": 1 })),
        ("POST", "/admin/v1/config/check", files.clone()),
        ("POST", "/admin/v1/simulate", files),
        ("POST", "/admin/v1/registry/imports", json!({})),
        ("POST", "/v0.1/publish", package),
    ]
}

/// The paths that only try something: whoever may read may try, and nothing starts.
const TRIES: [&str; 2] = ["/admin/v1/config/check", "/admin/v1/simulate"];

/// Nobody but who may write the configuration has anything started, and nobody by trying.
#[test]
fn case_15_whoever_may_not_configure_starts_nothing() {
    for role in ["member", "auditor"] {
        let front = governed_by(role);
        let governor = Governor::of(&front, role);
        let marker = front.gateway.folder().join("marker");
        let key = as_admin(&front, "POST", "/admin/v1/keys", &json!({ "agent": "engineer" })).send().json();
        let key = format!("Bearer {}", key["key"].as_str().expect("a key"));
        for (method, path, body) in orders(&marker) {
            let status = governor.with(method, path, &body).send().status;
            if role == "auditor" && TRIES.contains(&path) {
                assert_ne!(status, 403, "{method} {path}");
            } else {
                assert_eq!(status, 403, "{role}: {method} {path}");
            }
            let url = format!("{}{path}", front.origin);
            let request = || Request::new(method, &url).header("If-Match", "*").json(&body);
            let mut strangers = vec![
                request(),
                request().header("Authorization", &key),
                request().header("Authorization", "Bearer wrong"),
                request().header("Cookie", "authorization=the admin's key"),
                governor.bare(method, path).json(&body),
            ];
            for host in ["evil.test", "localhost/../admin", "127.0.0.1.evil.test"] {
                strangers.push(request().header("Authorization", ADMIN).header("Host", host));
                strangers.push(governor.with(method, path, &body).header("Host", host));
            }
            for stranger in strangers {
                let status = stranger.send().status;
                assert!(matches!(status, 400 | 401 | 403 | 421), "{role}: {method} {path}: {status}");
            }
        }
        let servers = as_admin(&front, "GET", "/admin/v1/servers", &Value::Null).send().json();
        assert_eq!(servers["items"], json!([]), "{servers}");
        assert!(!marker.exists(), "a request of {role} started a process");
    }
}

/// A gateway that is configured from elsewhere, with this in force.
fn configured(config: &Value) -> Gateway {
    let gateway = Gateway::with("").configured_remotely().governing();
    let gateway = gateway.env("PORTCULLIS_ADMIN_KEY", "the admin's key").start();
    let files = json!({ "files": { "portcullis.yaml": config.to_string() } });
    let pushed = administer(&gateway, "PUT", "/admin/v1/config", &files);
    assert_eq!(pushed.0, 201, "{}", pushed.1);
    gateway
}

fn administer(gateway: &Gateway, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::new(method, &gateway.url_of(path)).header("Authorization", ADMIN);
    let request = request.header("If-Match", "*");
    let request = if body.is_null() { request } else { request.json(body) };
    let response = request.send();
    (response.status, serde_json::from_str(&response.text()).unwrap_or_default())
}

/// What only tries a configuration, or lists a server, starts none of its programs; what puts it in force does.
#[test]
fn case_15_trying_and_listing_start_nothing() {
    let gateway = configured(&json!({ "version": 1 }));
    let marker = gateway.folder().join("marker");
    let orders = orders(&marker);
    let only_tells = |path: &str| TRIES.contains(&path) || path.starts_with("/v0.1/");
    for (method, path, body) in orders.iter().filter(|(_, path, _)| only_tells(path)) {
        let (status, said) = administer(&gateway, method, path, body);
        assert!(status < 500 && ![401, 403, 404].contains(&status), "{path}: {status} {said}");
    }
    assert!(!marker.exists(), "trying started a process");
    let (method, path, body) = &orders[0];
    let (status, said) = administer(&gateway, method, path, body);
    assert_eq!(status, 201, "{said}");
    wait::expect("the marker", || marker.exists());
}

/// Whom a server may ask, and where it may send them, is the configuration's to say; a link that is no page is none for anybody.
#[test]
fn case_33_who_governs_says_whom_a_server_asks() {
    let hostile = asks_in_rounds();
    let settings = |urls: &Value| json!({ "url": hostile.url(), "elicitation": { "urls": urls } });
    let listed = json!(["bank.example"]);
    let gateway = configured(
        &json!({ "version": 1, "servers": { "rounds": settings(&listed) }, "audit": { "enabled": true } }),
    );
    let agent =
        Agent::modern(gateway.url()).capabilities(json!({ "elicitation": { "form": {}, "url": {} } }));
    let asked = |url: &str| converse(&agent, "rounds__x", &visit(url));
    let set = |urls: &Value| {
        let settings = json!({ "settings": settings(urls) });
        let (status, said) = administer(&gateway, "PUT", "/admin/v1/servers/rounds", &settings);
        assert_eq!(status, 200, "{said}");
    };
    assert_eq!(asked("https://bank.example/").0.len(), 1);
    let look_alikes =
        ["https://bank.example.evil.example/", "https://bаnk.example/", "https://bank.example@evil.example/"];
    for url in look_alikes {
        let (asked, end) = asked(url);
        assert!(asked.is_empty() && end.contains("decline"), "{url}: {asked:?} {end}");
    }
    let declined = || {
        let path = "/admin/v1/audit?method=elicitation/create&decision=denied";
        let entries = administer(&gateway, "GET", path, &Value::Null).1["entries"].take();
        entries.as_array().cloned().unwrap_or_default()
    };
    wait::expect("the entries", || declined().len() == look_alikes.len());
    assert!(declined().iter().all(|entry| entry["server"] == "rounds"), "{:?}", declined());
    set(&json!("any"));
    let (shown, _) = asked("https://bank.example.evil.example/");
    let message = shown[0]["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("a page at bank.example.evil.example:"),
        "who opens it sees where it leads: {message}"
    );
    for url in ["javascript:alert(1)", "https://bank.example@evil.example/", "data:text/html,x"] {
        assert!(asked(url).0.is_empty(), "{url}");
    }
    set(&json!("none"));
    assert!(asked("https://bank.example/").0.is_empty());
}

/// What the control plane is told becomes no line of the trail and moves no cursor, and nobody takes out what is in it.
#[test]
fn case_37_nobody_changes_the_trail_by_governing() {
    let front = governed_by("member");
    let member = Governor::of(&front, "member");
    let forged = "x\n{\"time\":\"2020-01-01T00:00:00.000Z\",\"id\":1,\"method\":\"audit/lost\"}\r\u{2028}\u{1b}[2J\u{202e}\u{7f}\u{85}";
    let in_path = forged.bytes().fold(String::new(), |path, byte| format!("{path}%{byte:02X}"));
    for body in
        [json!({ "agent": forged }), json!({ "agent": "engineer", "comment": forged }), json!({ forged: 1 })]
    {
        as_admin(&front, "POST", "/admin/v1/keys", &body).send();
        assert!(member.ask("POST", "/admin/v1/keys", &body).status >= 400);
    }
    for path in ["keys", "sessions", "secrets", "connections"] {
        let path = format!("/admin/v1/{path}/{in_path}");
        assert!(as_admin(&front, "DELETE", &path, &Value::Null).send().status >= 400, "{path}");
        assert!(member.ask("DELETE", &path, &Value::Null).status >= 400, "{path}");
    }
    let trail =
        |query: &str| as_admin(&front, "GET", &format!("/admin/v1/audit{query}"), &Value::Null).send();
    let before = lines(&front.gateway, 12);
    let refused = before.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let refused: Vec<_> = refused.filter(|entry| entry["decision"] != "allowed").collect();
    let by_member =
        |entry: &&Value| entry["principal"].as_str().is_some_and(|who| who.starts_with("user:corp:"));
    assert!(refused.iter().filter(by_member).count() >= 5, "what is refused is recorded too: {refused:#?}");
    for method in ["DELETE", "PUT", "PATCH", "POST"] {
        for path in ["", "/export", "/verify"] {
            let path = format!("/admin/v1/audit{path}");
            assert_eq!(as_admin(&front, method, &path, &json!({})).send().status, 405, "{method} {path}");
            assert!(matches!(member.ask(method, &path, &json!({})).status, 403 | 405), "{method} {path}");
        }
    }
    let text = fs::read_to_string(file(&front.gateway)).expect("text");
    assert!(text.starts_with(&before.join("\n")), "what is there stays");
    let exported = trail("/export").text();
    let csv = trail("/export?format=csv").text();
    for text in [&text, &exported, &csv] {
        let moves =
            |c: char| (c.is_control() && c != '\n' && c != '\r') || matches!(c, '\u{2028}' | '\u{202e}');
        assert!(!text.contains(moves), "{text:?}");
    }
    for line in text.lines().chain(exported.lines()) {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert_ne!(entry["method"], "audit/lost", "{line}");
    }
    let whole = || trail("/verify").json()["writers"][0]["whole"].clone();
    assert_eq!(whole(), true);
    let denied = text.replacen("\"denied\"", "\"allowed\"", 1);
    assert_ne!(denied, text);
    fs::write(file(&front.gateway), denied).expect("the file can be written to");
    assert_eq!(whole(), false, "whoever verifies by the control plane sees it");
}
