//! The registry: published to, read, imported from another gateway, reviewed; and strict mode, which serves nothing else.

use std::process::Command;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::{Request, Response};
use portcullis_tests::process;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait;
use serde_json::{Value, json};

const ADMIN_KEY: &str = "the admin's key";

fn gateway(config: &str) -> Gateway {
    Gateway::with(config).env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY).start()
}

fn send(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Response {
    let request =
        Request::new(method, &gateway.url_of(path)).header("Authorization", format!("Bearer {ADMIN_KEY}"));
    if body.is_null() {
        request.send()
    } else {
        request.header("Content-Type", "application/json").body(body.to_string()).send()
    }
}

fn read(gateway: &Gateway, path: &str) -> Value {
    let response = Request::new("GET", &gateway.url_of(path)).send();
    assert_eq!(response.status, 200, "{path}");
    response.json()
}

fn entry(version: &str, url: &str) -> Value {
    let remotes = json!([{ "type": "streamable-http", "url": url }]);
    json!({ "name": "com.example/sums", "version": version, "description": "Sums", "remotes": remotes })
}

#[test]
fn what_is_imported_waits_for_a_review_and_strict_mode_serves_nothing_else() {
    let upstream = Upstream::fixture(&[]);
    let other = gateway("version: 1\nregistry: { public: true }\n");
    let published = send(&other, "POST", "/v0.1/publish", &entry("1.0.0", upstream.url()));
    assert_eq!(published.status, 200);
    let bad = send(&other, "POST", "/v0.1/publish", &entry("^1", upstream.url()));
    assert_eq!(bad.json()["errors"][0]["field"], "version");
    let stranger = Request::new("POST", &other.url_of("/v0.1/publish")).body("{}").send();
    assert_eq!(stranger.status, 401);

    let source = other.url_of("");
    let source = source.trim_end_matches('/');
    let config = format!(
        "version: 1\nregistry: {{ strict: true, sources: [\"{source}\"] }}\nservers: {{ sums: {{ url: \"{}\" }} }}\n",
        upstream.url()
    );
    let strict = gateway(&config);
    let tools = || Agent::modern(strict.url()).post("tools/list", json!({})).send().text();
    assert!(!tools().contains("sums__"), "{}", tools());
    let imported = send(&strict, "POST", "/admin/v1/registry/imports", &json!({ "url": source }));
    assert_eq!(imported.json()["pending"], 1);
    assert_eq!(read(&strict, "/v0.1/servers")["servers"], json!([]), "what waits is not shown");
    let waiting = send(&strict, "GET", "/admin/v1/registry?review=pending", &Value::Null).json();
    let digest = &waiting["items"][0]["digest"];
    let approve = "/admin/v1/registry/com.example%2Fsums/1.0.0/approve";
    let other_digest = send(&strict, "POST", approve, &json!({ "digest": "another" }));
    assert_eq!(other_digest.status, 412);
    let approved = send(&strict, "POST", approve, &json!({ "digest": digest }));
    assert_eq!(approved.status, 200);
    assert_eq!(approved.json()["settings"]["url"], upstream.url());
    wait::expect("the server to be served", || tools().contains("sums__"));
    let shown = read(&strict, "/v0.1/servers/com.example%2Fsums/versions/latest");
    assert_eq!(shown["server"]["remotes"][0]["url"], strict.url_of("/mcp/servers/sums"));

    let again = send(&strict, "POST", "/admin/v1/registry/imports", &json!({ "url": source }));
    assert_eq!(again.json()["pending"], 0);
    let rejected = send(&strict, "POST", "/admin/v1/registry/com.example%2Fsums/1.0.0/reject", &Value::Null);
    assert_eq!(rejected.status, 200);
    wait::expect("the server to be gone", || !tools().contains("sums__"));
}

/// A client that we did not write reads and publishes, and the official schema accepts every entry.
#[test]
fn a_client_of_the_registry_api_reads_and_publishes() {
    let upstream = Upstream::fixture(&[]);
    let config = format!(
        "version: 1\nregistry: {{ public: true }}\nservers: {{ first: {{ url: \"{}\" }} }}\n",
        upstream.url()
    );
    let gateway = gateway(&config);
    wait::expect("the server to be up", || read(&gateway, "/readyz")["servers"]["first"]["status"] == "up");
    let base = gateway.url_of("");
    let mut client = Command::new(toolbox::python());
    client.arg(toolbox::interop("clients/registry.py")).args([
        base.trim_end_matches('/'),
        ADMIN_KEY,
        "https://sums.example/mcp",
    ]);
    client.env("PYTHONPATH", toolbox::registry_client());
    let finished = process::run(client, b"", wait::PATIENCE);
    assert!(finished.status.success(), "{}", finished.stderr);
    let seen: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let shown = read(&gateway, "/v0.1/servers/local.portcullis%2Ffirst/versions/latest");
    let own = shown["server"]["version"].as_str().expect("a version");
    let expected = json!({
        "listed": ["com.example/sums@1.0.0", "com.example/sums@1.1.0", format!("local.portcullis/first@{own}")],
        "versions": ["1.1.0", "1.0.0"],
        "latest": "1.1.0",
        "found": ["1.1.0"],
        "unknown": "not found",
        "changed version": 400,
        "scraped": 3,
        "status": "deprecated",
        "removed": ["1.1.0"],
        "latest then": "1.0.0",
        "all": 2,
        "valid": 3,
    });
    assert_eq!(seen, expected);
}
