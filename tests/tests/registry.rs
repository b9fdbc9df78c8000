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

/// Runs every command of the registry's page, one after the other, with these two in place of those that the page names.
#[test]
fn what_its_page_says_can_be_done() {
    let upstream = Upstream::fixture(&[]);
    let other = gateway("version: 1\nregistry: { public: true }\n");
    let weather = {
        let mut entry = entry("1.0.0", upstream.url());
        entry["name"] = "com.example/weather".into();
        entry
    };
    assert_eq!(send(&other, "POST", "/v0.1/publish", &weather).status, 200);
    let base = |of: &Gateway| of.url_of("").trim_end_matches('/').to_owned();
    let source = &base(&other);
    let builder = Gateway::with("version: 1\n").configured_remotely().env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY);
    let governed = builder.file("server.json", &entry("1.0.0", upstream.url()).to_string()).start();
    let config = json!({ "version": 1, "registry": { "sources": [source] } }).to_string();
    let pushed = Request::new("PUT", &governed.url_of("/admin/v1/config"))
        .header("Authorization", format!("Bearer {ADMIN_KEY}"))
        .header("If-Match", "*")
        .header("Content-Type", "application/json")
        .body(json!({ "files": { "portcullis.yaml": config } }).to_string())
        .send();
    let status = pushed.status;
    assert_eq!(status, 201, "{}", pushed.text());

    let page = std::fs::read_to_string(toolbox::repository("docs/registry.md")).expect("it is there");
    let server_json = governed.folder().join("server.json").display().to_string();
    let mut said = Vec::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("portcullis ")) {
        let line = line.replace("https://mcp.example.com", &base(&governed));
        let line = line.replace("https://registry.example.com", source).replace("server.json", &server_json);
        let words: Vec<_> = line
            .split('"')
            .enumerate()
            .flat_map(|(n, part)| if n % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
            .collect();
        let ran = governed.cli(&words);
        assert_eq!(ran.code(), Some(0), "{line}: {}{}", ran.stdout, ran.stderr);
        said.push(ran.stdout.replace(source, "SOURCE"));
    }
    let said = said.concat();
    for expected in [
        "com.example/sums 1.0.0 is published and approved",
        "com.example/sums  1.0.0    approved  active  admin",
        "com.example/sums 1.0.0 is deprecated",
        "com.example/sums is active, in 1 version",
        "com.example/sums 1.0.0 is deleted",
        "1 wait for a review, 0 are as they were, 0 are no server.json",
        "com.example/weather  1.0.0    pending",
        "entry     com.example/weather 1.0.0",
        "com.example/weather 1.0.0 is approved, and served as \"weather\" from now on",
        "com.example/weather 1.0.0 is rejected",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn the_command_line_approves_what_was_looked_at_and_says_what_is_wrong() {
    let upstream = Upstream::fixture(&[]);
    let other = gateway("version: 1\nregistry: { public: true }\n");
    let source = other.url_of("");
    let source = source.trim_end_matches('/');
    assert_eq!(send(&other, "POST", "/v0.1/publish", &entry("1.0.0", upstream.url())).status, 200);
    let gateway = gateway(&format!("version: 1\nregistry: {{ sources: [\"{source}\"] }}\n"));
    let url = gateway.url_of("");
    let run = |words: &[&str]| {
        let ran = gateway.cli(&[&["registry"], words, &["--url", &url]].concat());
        (ran.code(), format!("{}{}", ran.stdout, ran.stderr))
    };
    let imported = run(&["import", source, "--json"]);
    assert_eq!(imported.0, Some(0), "{}", imported.1);
    let one = ["com.example/sums", "1.0.0"];
    let refused = |words: &[&str], why: &str| {
        let (code, said) = run(words);
        assert!(code == Some(1) && said.contains(why), "{words:?}: {code:?} {said}");
    };
    refused(&["approve", one[0], one[1]], "Say --yes where nobody can be asked");
    refused(&["approve", one[0], one[1], "--digest", "another"], "not what was shown");
    refused(&["approve", "com.example/none", "1.0.0", "--yes"], "the registry has no com.example/none");
    refused(&["status", one[0], one[1], "gone"], "expected one of active, deprecated, deleted");
    gateway.write("wrong.json", &entry("^1", upstream.url()).to_string());
    let wrong = gateway.folder().join("wrong.json").display().to_string();
    refused(&["publish", &wrong], "version");
    let listed: Value = serde_json::from_str(&run(&["list", "--json"]).1).expect("JSON");
    let digest = listed[0]["digest"].as_str().expect("something waits");
    let approved = run(&["approve", one[0], one[1], "--digest", digest]);
    assert_eq!(approved.0, Some(0), "{}", approved.1);
    refused(&["approve", one[0], one[1], "--yes"], "it is approved as it is");
}

#[test]
fn what_was_found_of_a_server_is_known_to_the_gateway_with_that_folder_and_to_one_that_is_told() {
    let demo = json!({ "demo": { "command": [toolbox::gateway(), "demo"] } });
    let here = gateway(&json!({ "version": 1, "servers": demo }).to_string());
    let elsewhere = gateway("version: 1\n");
    let ran = here.cli(&["evaluate", "demo", "--calls", "none", "--url", &elsewhere.url_of("")]);
    assert_eq!(ran.code(), Some(0), "{}{}", ran.stdout, ran.stderr);
    for gateway in [&here, &elsewhere] {
        let listed = send(gateway, "GET", "/admin/v1/evaluations", &Value::Null).json();
        assert_eq!(listed["items"][0]["server"], "demo", "{listed}");
        let whole = send(gateway, "GET", "/admin/v1/evaluations/demo", &Value::Null).json();
        assert_eq!((&whole["verdict"], &whole["format"]), (&json!("trustworthy"), &json!(1)), "{whole}");
    }
    let none = send(&elsewhere, "GET", "/admin/v1/evaluations/other", &Value::Null);
    assert_eq!(none.status, 404);
    assert_eq!(
        send(&here, "GET", "/admin/v1/hosted", &Value::Null).json()["items"],
        json!([]),
        "it hosts none"
    );
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
