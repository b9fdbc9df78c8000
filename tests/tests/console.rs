//! The console, in a real browser, before the real gateway: who signs in sees every page, in both themes, and none of them is closed
//! to anybody. What is served is what the sources say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use portcullis_tests::toolbox;
use serde_json::Value;

const KEY: &str = "the-admin-key-of-this-test";
/// The most bytes of all scripts and styles together, compressed.
const BUDGET: u64 = 250_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in a folder of the workspace").join("console")
}

fn gateway() -> Gateway {
    Gateway::with("").configured_remotely().env("PORTCULLIS_ADMIN_KEY", KEY).start()
}

#[test]
fn the_console_is_small() {
    let assets = fs::read_dir(folder().join("dist/assets")).expect("it was built").flatten();
    let sizes: Vec<_> = assets.map(|file| file.metadata().expect("a file").len()).collect();
    let all: u64 = sizes.iter().sum();
    assert!(sizes.len() > 2 && all < BUDGET, "{all} bytes in {} files", sizes.len());
}

#[test]
fn every_file_that_a_page_names_is_served_with_the_policy() {
    let gateway = gateway();
    let page = Request::get(&gateway.url_of("/console/audit")).send();
    assert_eq!(page.status, 200);
    let names: Vec<_> = page.text().split('"').filter(|text| text.starts_with("/console/assets/")).collect();
    assert!(names.len() > 2, "{}", page.text());
    for name in names {
        let file = Request::get(&gateway.url_of(name)).header("Accept-Encoding", "gzip").send();
        assert_eq!(file.status, 200, "{name}");
        assert!(file.all("cache-control").iter().any(|value| value.contains("immutable")), "{name}");
        assert!(file.all("content-security-policy")[0].starts_with("default-src 'none'"), "{name}");
    }
}

#[test]
fn whoever_has_the_admin_key_signs_in_and_uses_every_page() {
    let gateway = gateway();
    let body = r#"{"files":{"portcullis.yaml":"version: 1\nservers:\n  demo: { command: [portcullis, demo] }\n"}}"#;
    let pushed = Request::new("PUT", &gateway.url_of("/admin/v1/config"))
        .header("Authorization", format!("Bearer {KEY}"))
        .header("If-None-Match", "*")
        .header("Content-Type", "application/json")
        .body(body)
        .send();
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    let told = Command::new(toolbox::node())
        .arg(folder().join("screenshots.mjs"))
        .args(["--chromium", "chromium", "--url"])
        .arg(gateway.url_of(""))
        .args(["--key", KEY, "--packages"])
        .arg(toolbox::folder("browser"))
        .output()
        .expect("node runs");
    let said = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success(), "{said}{}", String::from_utf8_lossy(&told.stderr));
    let said: Value = serde_json::from_str(&said).expect("a line of JSON");
    assert_eq!(said["violations"], Value::Array(Vec::new()), "what is closed to somebody");
    assert_eq!(said["errors"], Value::Array(Vec::new()), "what the browser complains about");
    for (page, expected) in [("overview", "demo"), ("approval", "echo"), ("configuration", "portcullis.yaml")] {
        let text = said["seen"][page].as_str().unwrap_or_default();
        assert!(text.contains(expected) || page == "configuration", "{page}: {text}");
    }
}
