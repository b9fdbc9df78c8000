//! An environment whose own keys are secrets, which change while it runs.

mod looks;

use http::{Request, StatusCode, header};
use portcullis_core::body::Body;
use portcullis_native::HttpClient;
use portcullis_tests::aws::Emulator;
use serde_json::{Value, json};

use super::*;
use crate::aws::Account;
use crate::host::{Reading, Stores};
use crate::secrets::store::Store;

fn ask(operation: &str, what: &Value) {
    Emulator::of_secrets().ask_secrets(operation, what);
}

/// An environment of that deployment, which has no configuration.
fn environment(deployment: &str) -> Environment {
    let settings = Settings::read(&|name| match name {
        "PORTCULLIS_TABLE" => Some("none".to_owned()),
        "PORTCULLIS_SEAL_KEY_SECRET" => Some(format!("{deployment}/seal")),
        "PORTCULLIS_ADMIN_KEY_SECRET" => Some(format!("{deployment}/admin")),
        _ => None,
    });
    let manager = Arc::new(Manager::new(Account::of_emulator(Emulator::of_secrets().url().to_owned())));
    let store = Store::new(manager.clone(), format!("{deployment}/servers/"), None);
    let stores = Stores { secrets: Some(Arc::new(store)), ..Stores::default() };
    let underway = Underway::default();
    let host = Function::new(HttpClient::default(), stores, Reading::default(), underway.clone());
    Environment::new(settings.unwrap(), host, underway, Some(manager))
}

async fn admits(environment: &Environment, key: &str) -> bool {
    let request = Request::get("/admin/v1/secrets")
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {key}"));
    let gateway = environment.gateway().await.unwrap();
    let status = Box::pin(gateway.serve(request.body(Body::Full(Vec::new().into())).unwrap())).await.status();
    assert!([StatusCode::OK, StatusCode::UNAUTHORIZED].contains(&status), "{status}");
    status == StatusCode::OK
}

/// Posts a message to an environment's agents; returns the status, and the session where one begins.
async fn post(environment: &Environment, session: &str, message: &Value) -> (StatusCode, String) {
    let request = Request::post("/mcp")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header("Mcp-Protocol-Version", "2025-06-18");
    let request = if session.is_empty() { request } else { request.header("Mcp-Session-Id", session) };
    let gateway = environment.gateway().await.unwrap();
    let reply =
        Box::pin(gateway.serve(request.body(Body::Full(message.to_string().into_bytes().into())).unwrap()))
            .await;
    let begun = reply.headers().get("Mcp-Session-Id").and_then(|id| id.to_str().ok());
    (reply.status(), begun.unwrap_or_default().to_owned())
}

/// Begins a session at one environment; tells whether another one takes it for one.
async fn shares(one: &Environment, other: &Environment) -> bool {
    let client = json!({ "name": "test", "version": "1" });
    let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client });
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    let (status, session) = post(one, "", &initialize).await;
    assert!(status == StatusCode::OK && !session.is_empty(), "{status}");
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    post(other, &session, &ping).await.0 == StatusCode::OK
}

#[tokio::test]
async fn own_keys_that_change_come_into_force() {
    let deployment = format!("environment-{}", std::process::id());
    let [seal, admin] = ["seal", "admin"].map(|name| format!("{deployment}/{name}"));
    let seal_key = |of: &str| format!("{}A=", of.repeat(42));
    ask("CreateSecret", &json!({ "Name": seal, "SecretString": seal_key("a") }));
    ask("CreateSecret", &json!({ "Name": admin, "SecretString": "first" }));
    let one = environment(&deployment);
    assert!(admits(&one, "first").await && !admits(&one, "second").await);

    ask("PutSecretValue", &json!({ "SecretId": seal, "SecretString": seal_key("b") }));
    ask("PutSecretValue", &json!({ "SecretId": admin, "SecretString": "second" }));
    let newer = environment(&deployment);
    assert!(shares(&one, &newer).await, "the key before opens");
    one.finish().await;
    assert!(!shares(&newer, &one).await && admits(&one, "first").await, "it is not time yet");
    one.seen().own_due = 0;
    one.finish().await;
    assert!(shares(&newer, &one).await && shares(&one, &newer).await);
    assert!(!admits(&one, "first").await && admits(&one, "second").await);

    ask("DeleteSecret", &json!({ "SecretId": admin, "RecoveryWindowInDays": 7 }));
    one.seen().own_due = 0;
    assert!(admits(&one, "second").await, "what cannot be read changes nothing");
    assert!(one.seen().own_due > one.host.now(), "and it is not read with every request");
}
