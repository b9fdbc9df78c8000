//! The console, in a real browser, before the real gateway: who signs in sees every page, in both themes, and none of them is closed
//! to anybody. What is served is what the sources say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use portcullis_tests::scenario::demo;
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
    Gateway::with("")
        .configured_remotely()
        .governing()
        .keeping_secret("token", "value")
        .env("PORTCULLIS_ADMIN_KEY", KEY)
        .start()
}

#[test]
fn the_console_is_small() {
    let assets = fs::read_dir(folder().join("dist/assets")).expect("it was built").flatten();
    let sizes: Vec<_> = assets.map(|file| file.metadata().expect("a file").len()).collect();
    let all: u64 = sizes.iter().sum();
    assert!(sizes.len() > 2 && all < BUDGET, "{all} bytes in {} files", sizes.len());
}

/// Everything in a folder, by path.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut all: Vec<_> = entries
        .flat_map(|path| {
            if path.is_dir() {
                contents(&path)
            } else {
                vec![(path.clone(), fs::read(path).expect("a file"))]
            }
        })
        .collect();
    all.sort();
    all
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in contents(from) {
        let to = to.join(path.strip_prefix(from).expect("it lies in there"));
        fs::create_dir_all(to.parent().expect("it lies in a folder")).expect("a folder can be made");
        fs::write(to, bytes).expect("a file can be written");
    }
}

#[test]
fn what_is_served_is_what_the_sources_say() {
    let (here, folder) = (toolbox::scratch(), folder());
    copy(&folder.join("src"), &here.path().join("src"));
    for name in ["index.html", "package.json", "tsconfig.json", "vite.config.ts"] {
        fs::copy(folder.join(name), here.path().join(name)).expect("it is there");
    }
    std::os::unix::fs::symlink(toolbox::console_modules(), here.path().join("node_modules"))
        .expect("a link can be made");
    let built = here.path().join("built");
    for script in [&["typescript/bin/tsc", "--noEmit"], &["vite/bin/vite.js", "build"]] {
        let told = Command::new(toolbox::node())
            .arg(toolbox::console_modules().join(script[0]))
            .arg(script[1])
            .env("CONSOLE_DIST", &built)
            .current_dir(here.path())
            .output()
            .expect("node runs");
        let said = [told.stdout, told.stderr].concat();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&said));
    }
    let names = |base: &Path| {
        let path = |path: &Path| path.strip_prefix(base).expect("it lies in there").to_owned();
        contents(base).into_iter().map(|(of, bytes)| (path(&of), bytes)).collect::<Vec<_>>()
    };
    let (built, kept) = (names(&built), names(&folder.join("dist")));
    let other: Vec<_> = built
        .iter()
        .chain(&kept)
        .filter(|file| !built.contains(file) || !kept.contains(file))
        .map(|(path, _)| path)
        .collect();
    assert!(other.is_empty(), "`npm run build` in console/ makes others of {other:?}");
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
    let config = json!({
        "version": 1,
        "servers": { "demo": demo() },
        "groups": { "read": { "demo": ["echo"] } },
        "agents": { "coder": { "allow": ["read"] }, "default": { "deny": ["*"] } },
    });
    let body = json!({ "files": { "portcullis.yaml": config.to_string() } });
    let pushed = Request::new("PUT", &gateway.url_of("/admin/v1/config"))
        .header("Authorization", format!("Bearer {KEY}"))
        .header("If-None-Match", "*")
        .json(&body)
        .send();
    assert!(pushed.status < 300, "{}", pushed.text());
    let body = json!({ "agent": "coder", "name": "demo__echo", "arguments": { "message": "seen" } });
    let tried = Request::new("POST", &gateway.url_of("/admin/v1/tools/call"))
        .header("Authorization", format!("Bearer {KEY}"))
        .json(&body)
        .send();
    assert_eq!(tried.json()["result"]["content"][0]["text"], "seen");
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
    for (page, expected) in [
        ("overview", "demo\t1\t0\t0\t"),
        ("server", "Adds two numbers"),
        ("tool", "Returns the message"),
        ("agent", "1 of 5 tools"),
        ("groups", "demo/echo"),
        ("approval", "echo"),
        ("versions", "in force"),
    ] {
        let text = said["seen"][page].as_str().unwrap_or_default();
        assert!(text.contains(expected), "{page}: {text}");
    }
}
