//! The documentation against the program: its commands run, its configurations pass `check`, its links lead somewhere.
//!
//! A fenced block of `sh` holds commands; one of `console` holds commands after `$ ` and lines that they print; one of
//! `yaml` or `json` is a configuration: one that passes `check`, is `refused` by it, or is `part` of a folder, which a
//! command of the page has to check; or it holds `cases` of a policy, which a command has to try. **A command that is not run stands in [`OTHERS`] with the reason.**

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_tests::http::Request;
use portcullis_tests::keyring::{self, Session};
use portcullis_tests::process::{Background, Finished, run};
use portcullis_tests::toolbox;
use portcullis_tests::wait::PATIENCE;
use tempfile::TempDir;

/// Commands of other programs, by their beginning, and why they are not run here.
const OTHERS: [(&str, &str); 30] = [
    (
        "portcullis push --config edge --to https://portcullis.example",
        "asks the Worker that `edge_docs.rs` runs",
    ),
    ("portcullis push --config aws", "asks the function that `lambda_docs.rs` runs"),
    ("portcullis versions --url https://portcullis.example", "asks the same function"),
    ("portcullis keys create --agent coder --url https://portcullis.example", "asks that Worker or function"),
    ("portcullis tools --url https://portcullis.example", "asks that Worker or function"),
    ("curl -s https://portcullis.example", "asks the same function"),
    ("bash infra/aws/build.sh", "builds the function, as `tests/run lambda` does"),
    ("sam ", "is AWS's; `tests/lambda/infrastructure.sh` checks what it would deploy"),
    ("terraform ", "needs an account; `tests/lambda/infrastructure.sh` checks the module"),
    ("aws ", "is AWS's, and needs an account"),
    ("docker ", "is an engine's; `bridge_image.rs` builds and runs the images"),
    ("portcullis host prepare", "fetches packages; `packages.rs` runs it"),
    ("kubectl ", "needs a cluster; `tests/lambda/infrastructure.sh` checks the objects"),
    ("npm install --global wrangler", "is npm's"),
    ("FEATURES=control wrangler ", "is Cloudflare's, and needs an account"),
    ("wrangler ", "is Cloudflare's; `edge_docs.rs` runs those that need no account"),
    ("PORTCULLIS_ADMIN_KEY=try-it portcullis", "asks the Worker that `edge_docs.rs` runs"),
    ("portcullis tools --url http://127.0.0.1:8787", "asks the same Worker"),
    ("curl -s http://127.0.0.1:8787", "asks the same Worker"),
    ("cargo run --release", "builds the program that the other commands run"),
    ("tests/run", "runs this test"),
    ("cd fuzz && cargo +nightly fuzz", "needs a nightly compiler"),
    ("cargo run --profile count", "puts new counts on record"),
    ("benches/", "measures for minutes, on a machine that does nothing else"),
    ("claude mcp add", "is Claude Code's"),
    ("portcullis audit ", "reads what a gateway has recorded; `audit.rs` runs it"),
    ("portcullis simulate ", "tries what a gateway has recorded; `simulate.rs` runs it"),
    ("portcullis registry ", "asks a registry and reads another; `registry.rs` runs what its page says"),
    ("openssl rand -base64 32", "is OpenSSL's, which need not be installed"),
    ("cargo run --package portcullis-core --example schema", "is what the library compares the schema with"),
];

/// Where the documentation says that the gateway is.
const ENDPOINT: &str = "http://127.0.0.1:9000";

/// Where it says that a gateway is which is configured from elsewhere; the page has started it with `--config remote`.
const REMOTE: &str = "https://mcp.example.com";

/// Where it says that a bridge is; the page has started it.
const BRIDGE: &str = "http://127.0.0.1:8080";

/// What a reader has already: a file of another program, with a server that needs nothing else.
const READERS_FILE: &str = r#"{ "mcpServers": { "demo": { "command": "portcullis", "args": ["demo"] } } }"#;

/// A fenced block.
#[derive(Debug)]
struct Block {
    language: String,
    title: Option<String>,
    /// Whether `check` has to refuse it.
    refused: bool,
    /// Whether it is nothing without the other files of its folder.
    part: bool,
    /// Whether it is no configuration, but cases of a policy.
    cases: bool,
    text: String,
    line: usize,
}

/// A command, and the lines that it is said to print.
#[derive(Debug)]
struct Step {
    command: String,
    prints: Vec<String>,
    line: usize,
}

/// A page of the documentation, with a folder in which its commands are run.
struct Page {
    path: PathBuf,
    text: String,
    blocks: Vec<Block>,
    folder: TempDir,
    /// The session of a reader whose desktop has a keyring, where the page wants one.
    desktop: Option<(Session, Background)>,
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).expect("a page can be read");
        let blocks = blocks_of(&text);
        let wants_keyring = text.contains("PORTCULLIS_SEAL_KEY=keyring portcullis");
        let desktop = wants_keyring.then(Session::new).map(|session| {
            let keyring = session.unlocked();
            (session, keyring)
        });
        let page = Self { path, text, blocks, folder: toolbox::scratch(), desktop };
        page.write("home/.cursor/mcp.json", READERS_FILE);
        for block in &page.blocks {
            if let Some(title) = &block.title {
                page.write(title, &block.text);
            }
        }
        page
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.folder.path().join(name);
        fs::create_dir_all(file.parent().expect("a file has a folder")).expect("the folder can be made");
        fs::write(file, text).expect("the test's folder can be written to");
    }

    fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// The shell, set up as the page's reader has it: the program in `PATH`, the page's variables set.
    fn shell(&self, script: &str) -> Command {
        let program = toolbox::gateway();
        let mut path = program.parent().expect("a program has a folder").as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).current_dir(self.folder.path());
        for name in ["CONFIG", "LOG", "SEAL_KEY", "ADMIN_KEY", "VIA"] {
            shell.env_remove(format!("PORTCULLIS_{name}"));
        }
        shell.env("PATH", path).env("HOME", self.folder.path().join("home"));
        shell.env("PORTCULLIS_DATA_DIR", self.folder.path().join("data"));
        shell.env("PORTCULLIS_LISTEN", "127.0.0.1:0").env("NO_PROXY", "127.0.0.1");
        shell.envs(self.desktop.iter().map(|(session, _)| (keyring::ADDRESS, &session.address)));
        if self.text.contains("--config remote") {
            shell.env("PORTCULLIS_ADMIN_KEY", "value");
        }
        for name in self.variables() {
            shell.env(name, "value");
        }
        shell
    }

    /// The variables that the page's configurations refer to without a default.
    fn variables(&self) -> BTreeSet<&str> {
        let configurations = self.blocks.iter().filter(|block| is_configuration(block));
        let references = configurations.flat_map(|block| {
            let native = block.text.split("${").skip(1).map(|rest| rest.split_once('}'));
            let template = block.text.split("{{").skip(1).map(|rest| rest.split_once("}}"));
            let inputs = ["\"fromEnv\": \"", "\"fromSecret\": \""].map(|key| block.text.split(key).skip(1));
            native.chain(template).chain(inputs.into_iter().flatten().map(|rest| rest.split_once('"')))
        });
        let names = references.filter_map(|found| Some(found?.0));
        names
            .map(|name| name.trim_start_matches("env:"))
            .filter(|name| !name.contains(':') && *name != "HOME")
            .collect()
    }

    fn run(&self, script: &str) -> Finished {
        run(self.shell(script), b"", PATIENCE)
    }
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests are in a folder of the workspace").to_owned()
}

/// Every Markdown file of the tree.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder can be read").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let skipped = ["target", "node_modules"].iter().any(|skipped| name == *skipped);
            if path.is_dir() && !skipped && !name.to_string_lossy().starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The pages that readers follow: those at the root and in `docs`.
fn manual() -> Vec<Page> {
    let folders = [root(), root().join("docs")];
    let is_manual = |path: &PathBuf| path.parent().is_some_and(|p| folders.iter().any(|f| f == p));
    let manual: Vec<_> = pages().into_iter().filter(is_manual).map(Page::read).collect();
    assert!(manual.len() >= 8, "only {} pages", manual.len());
    manual
}

fn blocks_of(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(info) => {
                open = true;
                let words: Vec<_> = info.split_whitespace().collect();
                blocks.push(Block {
                    language: words.first().copied().unwrap_or_default().to_owned(),
                    title: words.iter().find_map(|word| Some(word.strip_prefix("title=")?.to_owned())),
                    refused: words.contains(&"refused"),
                    part: words.contains(&"part"),
                    cases: words.contains(&"cases"),
                    text: String::new(),
                    line: index + 1,
                });
            }
            None if open => {
                let block = blocks.last_mut().expect("a block is open");
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(!open, "a block is not closed");
    blocks
}

fn is_configuration(block: &Block) -> bool {
    matches!(block.language.as_str(), "yaml" | "json")
}

fn steps_of(block: &Block) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let is_shell = block.language == "sh";
    for (index, line) in block.text.lines().enumerate() {
        let command = if is_shell { Some(without_comment(line)) } else { line.strip_prefix("$ ") };
        match command {
            Some("") => {}
            Some(command) => steps.push(Step {
                command: command.to_owned(),
                prints: Vec::new(),
                line: block.line + 1 + index,
            }),
            None => steps.last_mut().expect("output follows a command").prints.push(line.to_owned()),
        }
    }
    steps
}

fn without_comment(line: &str) -> &str {
    let end = if line.starts_with('#') { Some(0) } else { line.find(" #") };
    line[..end.unwrap_or(line.len())].trim()
}

/// The words of a command after the variables that it sets.
fn words(command: &str) -> Vec<&str> {
    let is_variable = |word: &&str| {
        word.contains('=')
            && ["PORTCULLIS_", "OTEL_", "AUTH_KEY"].iter().any(|prefix| word.starts_with(prefix))
    };
    command.split_whitespace().skip_while(is_variable).collect()
}

/// A gateway that runs as `command` says, but on a free port; and the address that it has.
fn serve(page: &Page, command: &str) -> (Background, String) {
    let mut gateway = Background::start(&page.shell(&command.replace(":9000", ":0")));
    let address = gateway.await_line("the gateway's address", |line| {
        let url = line.split("serves ").nth(1)?;
        Some(url.strip_suffix("/mcp")?.to_owned())
    });
    (gateway, address)
}

/// A bridge that runs as `command` says, but on a free port; and the address that it has.
fn bridge(page: &Page, command: &str) -> (Background, String) {
    let mut shell = page.shell(&command.replace(":8080", ":0"));
    let mut bridge = Background::start(shell.env("PORT", "0"));
    let address = bridge.await_line("the bridge's address", |line| {
        let (_, address) = line.split_once("the bridge listens")?.1.split_once("\"address\":\"")?;
        let (_, port) = address.split_once('"')?.0.rsplit_once(':')?;
        Some(format!("http://127.0.0.1:{port}"))
    });
    portcullis_tests::wait::expect("the bridge's server", || {
        Request::get(&format!("{address}/readyz")).try_send().is_some_and(|answer| answer.status == 200)
    });
    (bridge, address)
}

/// Gives the step to whatever runs it, and answers what it printed.
fn perform(page: &Page, step: &Step, address: &str) -> String {
    let place = page.place(step.line);
    let command = step.command.replace(ENDPOINT, address);
    match words(&command)[..] {
        ["curl", "-s", url] => {
            let answer = Request::get(url).send();
            assert_eq!(answer.status, 200, "{place}");
            answer.text()
        }
        ["portcullis"] | ["portcullis", "serve", ..] => {
            drop(serve(page, &step.command));
            String::new()
        }
        ["portcullis", ..] => {
            let finished = page.run(&command);
            let fails =
                page.blocks.iter().any(|b| b.refused && b.title.iter().any(|t| command.contains(t.as_str())));
            assert_eq!(finished.code(), Some(i32::from(fails)), "{place}: {command}\n{}", finished.stderr);
            finished.stdout + &finished.stderr
        }
        _ => panic!("{place}: {command:?} is neither run nor one of those that are not"),
    }
}

#[test]
fn every_command_works() {
    let demo = Page::read(root().join("README.md"));
    let (_gateway, address) = serve(&demo, "portcullis");
    portcullis_tests::wait::expect("the demo", || {
        Request::get(&format!("{address}/readyz")).try_send().is_some_and(|answer| answer.status == 200)
    });
    let mut unused: BTreeSet<_> = OTHERS.iter().map(|(beginning, _)| *beginning).collect();
    for page in manual() {
        let blocks = page.blocks.iter().filter(|block| matches!(block.language.as_str(), "sh" | "console"));
        let (mut remote, mut bridged) = (None, None);
        for step in blocks.flat_map(steps_of) {
            if let Some((other, _)) = OTHERS.iter().find(|(other, _)| step.command.starts_with(other)) {
                unused.remove(other);
                continue;
            }
            if words(&step.command).starts_with(&["portcullis", "bridge"]) {
                bridged = Some(bridge(&page, &step.command));
                continue;
            }
            if step.command.ends_with("--config remote") {
                remote = Some(serve(&page, &step.command));
                continue;
            }
            let elsewhere =
                bridged.iter().map(|there| (there, BRIDGE)).find(|(_, at)| step.command.contains(at));
            let elsewhere = elsewhere.or(remote.as_ref().map(|there| (there, REMOTE)));
            let printed = match elsewhere {
                Some(((_, there), known_as)) => {
                    let command = step.command.replace(known_as, there);
                    let moved = Step { command, prints: Vec::new(), line: step.line };
                    let said = perform(&page, &moved, &address);
                    said.replace(there, known_as)
                }
                None => perform(&page, &step, &address),
            };
            for line in &step.prints {
                let found = printed.lines().any(|printed| printed == line);
                assert!(
                    found,
                    "{}: {} does not print {line:?}, but\n{printed}",
                    page.place(step.line),
                    step.command
                );
            }
        }
    }
    assert!(unused.is_empty(), "no page has {unused:?}");
}

#[test]
fn every_configuration_is_what_it_is_said_to_be() {
    let mut checked = 0;
    for page in manual() {
        for block in page.blocks.iter().filter(|block| is_configuration(block)) {
            if block.cases {
                assert!(is_tried(&page, block), "{}: no command tries these cases", page.place(block.line));
                continue;
            }
            if block.part {
                assert!(is_checked(&page, block), "{}: no command checks its folder", page.place(block.line));
                continue;
            }
            let file = format!("block.{}", block.language);
            page.write(&file, &block.text);
            let finished = page.run(&format!("portcullis check --config {file}"));
            let place = page.place(block.line);
            assert_eq!(finished.code(), Some(i32::from(block.refused)), "{place}\n{}", finished.stderr);
            assert!(block.refused || finished.stderr.is_empty(), "{place}: {}", finished.stderr);
            checked += 1;
        }
    }
    assert!(checked >= 8, "only {checked} configurations");
}

/// Tells whether a command of the page checks the folder that a block is part of.
fn is_checked(page: &Page, block: &Block) -> bool {
    let folder = block.title.as_ref().and_then(|title| Some(title.split_once('/')?.0));
    let consoles = page.blocks.iter().filter(|block| block.language == "console");
    let mut steps = consoles.flat_map(steps_of);
    steps.any(|step| folder.is_some_and(|folder| step.command.ends_with(&format!("check --config {folder}"))))
}

/// Tells whether a command of the page tries the cases of a block.
fn is_tried(page: &Page, block: &Block) -> bool {
    let consoles = page.blocks.iter().filter(|block| block.language == "console");
    let mut steps = consoles.flat_map(steps_of);
    steps.any(|step| {
        block.title.as_ref().is_some_and(|file| step.command.ends_with(&format!("--cases {file}")))
    })
}

#[test]
fn the_schema_is_the_programs_own() {
    let page = Page::read(root().join("docs/configure.md"));
    let kept =
        fs::read_to_string(root().join("docs/portcullis.schema.json")).expect("the schema can be read");
    assert!(
        kept == page.run("portcullis schema").stdout,
        "the program holds another schema than docs/portcullis.schema.json"
    );
}

#[test]
fn every_key_of_the_schema_is_documented() {
    let page = Page::read(root().join("docs/configure.md"));
    let schema: serde_json::Value =
        serde_json::from_str(&page.run("portcullis schema").stdout).expect("JSON");
    let described = [
        "Gateway",
        "Server",
        "Elicitation",
        "Agent",
        "Match",
        "AgentLimits",
        "Auth",
        "Issuer",
        "Introspection",
        "SignIn",
        "Variant",
        "Argument",
        "Audit",
    ];
    for definition in described {
        let keys = schema["$defs"][definition]["properties"].as_object().expect("has properties");
        for key in keys.keys() {
            assert!(page.text.contains(&format!("| `{key}` |")), "{definition}: {key} is not described");
            let used = page.blocks.iter().any(|block| block.text.contains(&format!("{key}:")));
            assert!(used, "{definition}: {key} has no example");
        }
    }
}

#[test]
fn the_picture_shows_what_the_program_prints() {
    let page = Page::read(root().join("README.md"));
    let picture =
        fs::read_to_string(root().join("docs/img/portcullis.svg")).expect("the picture can be read");
    let picture =
        picture.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let (mut gateway, address) = serve(&page, "portcullis");
    gateway.await_line("the whole greeting", |line| line.contains("mcpServers").then_some(()));
    let tools = page.run(&format!("portcullis tools --url {address}/mcp")).stdout;
    let greeting = gateway.log().replace(&address, ENDPOINT);
    let greeting = greeting.lines().filter(|line| !line.starts_with('{')).collect::<Vec<_>>();
    for line in greeting.into_iter().chain(tools.lines()).filter(|line| !line.is_empty()) {
        assert!(picture.contains(&format!(">{line}</text>")), "the picture lacks {line:?}");
    }
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn has_anchor(text: &str, wanted: &str) -> bool {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).any(|anchor| anchor == wanted)
}

/// The targets of the links outside of fenced blocks.
fn links(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    let ends = prose.split("](").skip(1);
    ends.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

#[test]
fn every_link_leads_somewhere() {
    for path in pages() {
        let text = fs::read_to_string(&path).expect("a page can be read");
        for link in links(&text) {
            if ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((&*link, None), |(f, a)| (f, Some(a)));
            let target = if file.is_empty() { path.clone() } else { path.with_file_name("").join(file) };
            assert!(target.exists(), "{}: no {link}", path.display());
            if let Some(anchor) = anchor {
                let text = fs::read_to_string(&target).expect("a page can be read");
                assert!(has_anchor(&text, anchor), "{}: {link} has no such heading", path.display());
            }
        }
    }
}
