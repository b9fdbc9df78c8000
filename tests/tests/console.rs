//! The console, in a real browser, before the real gateway: who signs in sees every page, in both themes, and none of them is closed
//! to anybody. What is served is what the sources say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use portcullis_tests::toolbox;
use serde_json::{Value, json};

const KEY: &str = "the-admin-key-of-this-test";
/// The most bytes of all scripts and styles together, compressed.
const BUDGET: u64 = 250_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are in a folder of the workspace")
        .join("console")
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
    let page = page.text();
    let names: Vec<_> = page.split('"').filter(|text| text.starts_with("/console/assets/")).collect();
    assert!(names.len() > 2, "{page}");
    for name in names {
        let file = Request::get(&gateway.url_of(name)).header("Accept-Encoding", "gzip").send();
        assert_eq!(file.status, 200, "{name}");
        assert!(file.header("cache-control").is_some_and(|value| value.contains("immutable")), "{name}");
        assert!(
            file.header("content-security-policy")
                .is_some_and(|value| value.starts_with("default-src 'none'")),
            "{name}"
        );
    }
}

#[test]
fn whoever_has_the_admin_key_signs_in_and_uses_every_page() {
    let gateway = gateway();
    let program = toolbox::gateway();
    let text = format!("version: 1\nservers:\n  demo: {{ command: [{}, demo] }}\n", json!(program));
    let body = json!({ "files": { "portcullis.yaml": text } });
    let pushed = Request::new("PUT", &gateway.url_of("/admin/v1/config"))
        .header("Authorization", format!("Bearer {KEY}"))
        .header("If-None-Match", "*")
        .json(&body)
        .send();
    assert!(pushed.status < 300, "{}", pushed.text());
    let told = Command::new(toolbox::node())
        .arg(folder().join("screenshots.mjs"))
        .arg("--chromium")
        .arg(toolbox::chromium())
        .arg("--url")
        .arg(gateway.url_of("").trim_end_matches('/'))
        .args(["--key", KEY, "--packages"])
        .arg(toolbox::browser_modules().parent().expect("modules lie in a folder"))
        .output()
        .expect("node runs");
    let said = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success(), "{said}{}", String::from_utf8_lossy(&told.stderr));
    let said: Value = serde_json::from_str(&said).expect("a line of JSON");
    assert_eq!(said["violations"], Value::Array(Vec::new()), "what is closed to somebody");
    assert_eq!(said["errors"], Value::Array(Vec::new()), "what the browser complains about");
    for (page, expected) in [("overview", "demo"), ("approval", "echo"), ("versions", "in force")] {
        let text = said["seen"][page].as_str().unwrap_or_default();
        assert!(text.contains(expected), "{page}: {text}");
    }
}
