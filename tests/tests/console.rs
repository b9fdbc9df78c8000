//! The console, in a real browser, before the real gateway: who signs in sees every page, in both themes, and none of them is closed
//! to anybody. What is served is what the sources say.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use portcullis_tests::gateway::{Gateway, Host};
use portcullis_tests::http::Request;
use portcullis_tests::process;
use portcullis_tests::scenario::demo;
use portcullis_tests::toolbox;
use serde_json::{Value, json};

const KEY: &str = "the-admin-key-of-this-test";
const PATIENCE: Duration = Duration::from_mins(4);
/// The most bytes of all scripts and styles together, compressed.
const BUDGET: u64 = 250_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are in a folder of the workspace")
        .join("console")
}

/// Where programs are found by their names: a picture shows those, and not where they lie on this machine.
fn found() -> String {
    let own = toolbox::gateway();
    let folders = [own.parent(), Some(&*toolbox::node_modules().join(".bin")), toolbox::node().parent()]
        .map(|folder| folder.expect("it lies in a folder").to_owned());
    let known = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&known)));
    all.expect("no folder has a colon").into_string().expect("paths are text")
}

fn gateway() -> Gateway {
    Gateway::with("")
        .env("PATH", &found())
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

/// Asks the admin API as an admin.
fn ask(gateway: &Gateway, method: &'static str, path: &str, body: &Value) -> Value {
    let asked = Request::new(method, &gateway.url_of(path)).header("Authorization", format!("Bearer {KEY}"));
    let asked = if path.ends_with("/config") { asked.header("If-None-Match", "*") } else { asked };
    let answer = if method == "GET" { asked } else { asked.json(body) }.send();
    assert!(answer.status < 300, "{path}: {}", answer.text());
    answer.json()
}

/// The server that shows everything, where the gateway can reach it; a gateway beside it where it can start no programs.
fn everything() -> (Value, Option<Gateway>) {
    let program = json!({ "command": ["mcp-server-everything"] });
    if Host::chosen() == Host::Local {
        return (program, None);
    }
    let config =
        json!({ "version": 1, "gateway": { "naming": "none" }, "servers": { "everything": program } });
    let there = Gateway::with(&config.to_string()).env("PATH", &found()).on(Host::Local).start();
    (json!({ "url": there.url() }), Some(there))
}

/// Has a server evaluated by the command, which sends what it found.
fn evaluate(gateway: &Gateway, server: &Value) {
    let here = toolbox::scratch();
    let config = json!({ "version": 1, "servers": { "everything": server } }).to_string();
    fs::write(here.path().join("portcullis.yaml"), config).expect("a file can be written");
    let mut command = Command::new(toolbox::gateway());
    command
        .args(["evaluate", "everything", "--data-dir", "data", "--url"])
        .arg(gateway.url_of("").trim_end_matches('/'))
        .env("PORTCULLIS_ADMIN_KEY", KEY)
        .env("PATH", found())
        .current_dir(here.path());
    let told = process::run(command, &[], PATIENCE);
    assert!(told.status.success(), "{}{}", told.stdout, told.stderr);
}

/// Fills a gateway with what pages show: servers that are up and down, agents with keys, secrets, entries to review, a fleet.
fn fill(gateway: &Gateway, everything: &Value) {
    let here = Host::chosen() == Host::Local;
    let demo = if here { json!({ "command": ["portcullis", "demo"] }) } else { demo() };
    let tickets = json!({
        "url": "https://tickets.example.com/mcp", "headers": { "Authorization": { "secret": "tickets-key" } } });
    let config = format!(
        "version: 1\nregistry: {{ require_evaluation: true }}\n\nservers:\n  demo: {demo}\n  everything: {everything}\n  tickets: \
         {tickets}\n\ngroups:\n  read:\n    demo: [echo]\n\nagents:\n  coder: {{ allow: [read] }}\n  # Looks at what others \
         have made.\n  reviewer: {{ allow: [demo/*, everything/*], deny: [everything/get-env] }}\n  default: {{ deny: ['*'] \
         }}\n"
    );
    ask(gateway, "PUT", "/admin/v1/config", &json!({ "files": { "portcullis.yaml": config } }));
    for (agent, comment) in [("coder", "Laptop of Ana"), ("reviewer", "CI")] {
        ask(gateway, "POST", "/admin/v1/keys", &json!({ "agent": agent, "comment": comment }));
    }
    let remotes = json!([{ "type": "streamable-http", "url": "https://tickets.example.com/mcp" }]);
    let packages = json!([{ "registryType": "npm", "identifier": "@example/files", "version": "1.0.0",
                            "transport": { "type": "stdio" } }]);
    for (name, version, description, (way, ways)) in [
        ("com.example/tickets", "1.2.0", "Tickets of the shop", ("remotes", remotes)),
        ("com.example/files", "1.0.0", "Reads and writes the files of a folder", ("packages", packages)),
    ] {
        let entry = json!({ "name": name, "version": version, "description": description, way: ways });
        ask(gateway, "POST", "/v0.1/publish", &entry);
    }
    if here {
        ask(gateway, "PUT", "/admin/v1/secrets/notes-token", &json!({ "value": "a value" }));
    }
    // A Worker signs nothing, and governs no others.
    if Host::chosen() != Host::Edge {
        ask(gateway, "POST", "/admin/v1/enrolments", &json!({ "name": "us-1", "labels": { "zone": "us" } }));
    }
    let shown = ask(gateway, "GET", "/admin/v1/approvals/demo", &Value::Null);
    ask(gateway, "PUT", "/admin/v1/approvals/demo", &json!({ "digest": shown["digest"] }));
}

/// Uses tools as agents would, with what is refused and what fails.
fn use_tools(gateway: &Gateway) {
    let call = |agent: &str, name: &str, arguments: Value| {
        let body = json!({ "agent": agent, "name": name, "arguments": arguments });
        Request::new("POST", &gateway.url_of("/admin/v1/tools/call"))
            .header("Authorization", format!("Bearer {KEY}"))
            .json(&body)
            .send()
            .json()
    };
    let seen = call("coder", "demo__echo", json!({ "message": "seen" }));
    assert_eq!(seen["result"]["content"][0]["text"], "seen");
    call("coder", "demo__add", json!({ "a": 1, "b": 2 }));
    call("reviewer", "everything__get-sum", json!({ "a": 1, "b": 2 }));
    call("reviewer", "everything__get-env", json!({}));
}

#[test]
fn whoever_has_the_admin_key_signs_in_and_uses_every_page() {
    let gateway = gateway();
    let (everything, _there) = everything();
    fill(&gateway, &everything);
    use_tools(&gateway);
    // What runs elsewhere cannot be watched, so that only here it was evaluated.
    let is_evaluated = Host::chosen() == Host::Local;
    if is_evaluated {
        evaluate(&gateway, &everything);
    }
    // The pictures of docs/img/console/ are taken so.
    let pictures = std::env::var_os("PORTCULLIS_PICTURES");
    let told = Command::new(toolbox::node())
        .arg(folder().join("screenshots.mjs"))
        .args(pictures.iter().flat_map(|folder| [OsStr::new("--pictures"), folder]))
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
        ("overview", "demo\t1\t0\t"),
        ("server", "Adds two numbers"),
        ("tool", "Returns the message"),
        ("evaluated", if is_evaluated { "gives away the environment" } else { "get-sum" }),
        ("agent", "1 of "),
        ("groups", "demo/echo"),
        ("approval", "echo"),
        ("review", "com.example/files"),
        ("secrets", "tickets-key"),
        ("keys", "Laptop of Ana"),
        ("fleet", if Host::chosen() == Host::Edge { "" } else { "us-1" }),
        ("versions", "in force"),
    ] {
        let text = said["seen"][page].as_str().unwrap_or_default();
        assert!(text.contains(expected), "{page}: {text}");
    }
}
