//! The walkthrough for Cloudflare: every command of it that needs no account is run, against a Worker that `wrangler dev`
//! runs as the page says.

use std::path::Path;

use portcullis_tests::http::Request;
use portcullis_tests::process::{Background, run};
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::walkthrough::Walkthrough;

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

/// Runs a command of Wrangler's on what the Worker stores here.
fn wrangle(folder: &Path, arguments: &str) {
    let mut wrangler = toolbox::wrangler(folder);
    wrangler.args(arguments.replace("edge/", &format!("{}/edge/", folder.display())).split(' '));
    if arguments.starts_with("kv") {
        wrangler.args(["--local", "--persist-to"]).arg(folder.join("state"));
    }
    let finished = run(wrangler, b"", PATIENCE);
    assert_eq!(finished.code(), Some(0), "wrangler {arguments}\n{}{}", finished.stdout, finished.stderr);
}

#[test]
fn the_walkthrough_works() {
    toolbox::build_worker();
    let mut page = Walkthrough::read("docs/deploy-cloudflare.md");
    let upstream = Upstream::fixture(&["--era", "modern"]);
    page.write(upstream.url());
    let commands = page.commands();
    let start =
        commands.iter().find(|command| command.starts_with("wrangler dev")).expect("it is tried first");
    let (_running, url) = develop(page.folder(), start);
    page.is_at(&url, &PLACES);
    let needs_account = |command: &&String| {
        ACCOUNT.iter().any(|other| command.starts_with(other)) || command.ends_with("wrangler deploy")
    };
    let mut ran = 0;
    for command in commands.iter().filter(|command| *command != start && !needs_account(command)) {
        ran += 1;
        match command.strip_prefix("wrangler ") {
            Some(arguments) => wrangle(page.folder(), arguments),
            None => page.follow(command),
        }
    }
    assert!(ran >= 10, "only {ran} commands were run");
    wait::expect("the gateway after all that", || {
        Request::get(&format!("{url}/healthz")).try_send().is_some_and(|answer| answer.status == 200)
    });
}
