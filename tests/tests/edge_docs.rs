//! The walkthrough for Cloudflare: every command of it that needs no account is run, against a Worker that `wrangler dev`
//! runs as the page says.

use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis_tests::http::Request;
use portcullis_tests::process::{Background, Finished, run};
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait::{self, PATIENCE};

/// Commands that need an account, or install or watch something, by their beginning.
const ACCOUNT: [&str; 8] = [
    "npm install",
    "wrangler login",
    "wrangler kv namespace create",
    "wrangler queues create",
    "wrangler r2 bucket create",
    "wrangler secret put",
    "wrangler tail",
    "openssl rand",
];

/// Where the page says that the Worker is.
const PLACES: [&str; 2] = ["http://127.0.0.1:8787", "https://portcullis.example.workers.dev"];

fn page() -> String {
    fs::read_to_string(toolbox::repository("docs/deploy-cloudflare.md")).expect("the page is there")
}

/// The blocks of a page: what follows the fence, and the lines.
fn blocks(page: &str) -> Vec<(String, String)> {
    let parts: Vec<_> = page.split("\n```").collect();
    let block = |pair: &[&str]| pair.get(1).and_then(|text| text.split_once('\n')).map(own);
    parts.chunks(2).filter_map(block).collect()
}

fn own((info, text): (&str, &str)) -> (String, String) {
    (info.to_owned(), text.to_owned())
}

fn commands() -> Vec<String> {
    let shell = blocks(&page()).into_iter().filter(|(info, _)| info == "sh");
    shell.flat_map(|(_, text)| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// A reader's folder: the page's configurations, with a server that is there, and the admin key.
fn write(folder: &Path, server: &str) {
    for (info, text) in blocks(&page()) {
        let Some(title) = info.split("title=").nth(1) else { continue };
        let file = folder.join(title);
        fs::create_dir_all(file.parent().expect("a file has a folder")).expect("the folder can be made");
        let text = text.replace("https://mcp.example.com/mcp", server);
        fs::write(file, text).expect("the folder can be written to");
    }
    fs::write(folder.join("admin.key"), "try-it\n").expect("the folder can be written to");
}

fn shell(folder: &Path, command: &str) -> Finished {
    let program = toolbox::gateway();
    let mut path = program.parent().expect("a program has a folder").as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(folder).env("PATH", path).env("DOCS_KEY", "secret");
    shell.env("PORTCULLIS_DATA_DIR", folder.join("data")).env("NO_PROXY", "127.0.0.1");
    shell.env_remove("PORTCULLIS_CONFIG").env_remove("PORTCULLIS_ADMIN_KEY");
    run(shell, b"", PATIENCE)
}

/// Starts the Worker as the page says, but on any port; answers where it is.
fn develop(folder: &Path, command: &str) -> (Background, String) {
    let mut wrangler = toolbox::wrangler(folder);
    wrangler.args(command.split_whitespace().skip(1));
    wrangler.args(["--local", "--ip", "127.0.0.1", "--port", "0", "--inspector-port", "0"]);
    wrangler.arg("--show-interactive-dev-session=false").arg("--persist-to").arg(folder.join("state"));
    let mut running = Background::start(&wrangler);
    let url = running.await_line("the Worker's address", |line| {
        let (_, address) = line.split_once("Ready on ")?;
        Some(address.trim().trim_end_matches('/').to_owned())
    });
    (running, url)
}

#[test]
fn the_walkthrough_works() {
    toolbox::build_worker();
    let folder = toolbox::scratch();
    let upstream = Upstream::fixture(&["--era", "modern"]);
    write(folder.path(), upstream.url());
    let commands = commands();
    let start =
        commands.iter().find(|command| command.starts_with("wrangler dev")).expect("it is tried first");
    let (_running, url) = develop(folder.path(), start);
    let mut key = String::new();
    let mut ran = 0;
    for command in commands.iter().filter(|command| *command != start) {
        let needs_account =
            ACCOUNT.iter().any(|other| command.starts_with(other)) || command == "wrangler deploy";
        if needs_account {
            continue;
        }
        ran += 1;
        let there = PLACES.iter().fold(command.clone(), |text, place| text.replace(place, &url));
        let there = there.replace("--key KEY", &format!("--key {key}"));
        if let Some(address) = there.strip_prefix("curl -s ") {
            assert_eq!(Request::get(address).send().status, 200, "{command}");
            continue;
        }
        if let Some(arguments) = there.strip_prefix("wrangler ") {
            let mut wrangler = toolbox::wrangler(folder.path());
            wrangler
                .args(arguments.replace("edge/", &format!("{}/edge/", folder.path().display())).split(' '));
            if arguments.starts_with("kv") {
                wrangler.args(["--local", "--persist-to"]).arg(folder.path().join("state"));
            }
            let finished = run(wrangler, b"", PATIENCE);
            assert_eq!(finished.code(), Some(0), "{command}\n{}{}", finished.stdout, finished.stderr);
            continue;
        }
        let finished = shell(folder.path(), &there);
        assert_eq!(finished.code(), Some(0), "{command}\n{}{}", finished.stdout, finished.stderr);
        if command.contains("keys create") {
            let made = finished.stdout.split_whitespace().find(|word| word.starts_with("pck_"));
            made.expect("the key is shown").clone_into(&mut key);
        }
        if command.contains("portcullis tools") {
            assert!(finished.stdout.contains("docs__echo"), "{command}\n{}", finished.stdout);
        }
    }
    assert!(ran >= 10, "only {ran} commands were run");
    wait::expect("the gateway after all that", || {
        Request::get(&format!("{url}/healthz")).try_send().is_some_and(|answer| answer.status == 200)
    });
}
