//! The registry: published to, read, imported from another gateway, reviewed; and strict mode, which serves nothing else.

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::{Request, Response};
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
