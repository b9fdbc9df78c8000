//! A page that a reader follows command by command, and the reader: a folder, a shell, the key that was made on the way.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::http::Request;
use crate::process::{Finished, run};
use crate::toolbox;
use crate::wait::PATIENCE;

/// The server that the pages' configurations have.
const SERVER: &str = "https://mcp.example.com/mcp";

/// A page, and where its reader is.
#[derive(Debug)]
pub struct Walkthrough {
    text: String,
    folder: TempDir,
    /// Where the page says that the gateway is, and where it is.
    places: Vec<(&'static str, String)>,
    key: String,
}

impl Walkthrough {
    /// Reads a page, such as `docs/deploy-aws.md`, and gives its reader the admin key `try-it`.
    pub fn read(page: &str) -> Self {
        let text = fs::read_to_string(toolbox::repository(page)).expect("the page is there");
        let folder = toolbox::scratch();
        fs::write(folder.path().join("admin.key"), "try-it\n").expect("the folder can be written to");
        Self { text, folder, places: Vec::new(), key: String::new() }
    }

    /// Writes the page's configurations into the reader's folder, with a server that is there.
    pub fn write(&self, server: &str) {
        for (info, text) in self.blocks() {
            let Some(title) = info.split("title=").nth(1) else { continue };
            let file = self.folder().join(title);
            fs::create_dir_all(file.parent().expect("a file has a folder")).expect("the folder can be made");
            fs::write(file, text.replace(SERVER, server)).expect("the folder can be written to");
        }
    }

    /// The gateway is at `url`, which the page calls otherwise.
    pub fn is_at(&mut self, url: &str, called: &[&'static str]) {
        self.places = called.iter().map(|place| (*place, url.to_owned())).collect();
    }

    /// The commands of the page, in their order.
    pub fn commands(&self) -> Vec<String> {
        let shell = self.blocks().into_iter().filter(|(info, _)| info == "sh");
        shell.flat_map(|(_, text)| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// The reader's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The blocks of the page: what follows the fence, and the lines.
    fn blocks(&self) -> Vec<(String, String)> {
        let parts: Vec<_> = self.text.split("\n```").collect();
        let own = |(info, text): (&str, &str)| (info.to_owned(), text.to_owned());
        let block = |pair: &[&str]| pair.get(1).and_then(|text| text.split_once('\n')).map(own);
        parts.chunks(2).filter_map(block).collect()
    }

    /// Does what a command of the page says: asks a URL, or runs a program. What it prints is what a reader would expect.
    pub fn follow(&mut self, command: &str) {
        let there =
            self.places.iter().fold(command.to_owned(), |text, (place, url)| text.replace(place, url));
        if let Some(address) = there.strip_prefix("curl -s ") {
            assert_eq!(Request::get(address).send().status, 200, "{command}");
            return;
        }
        let finished = self.shell(&there.replace("--key KEY", &format!("--key {}", self.key)));
        assert_eq!(finished.code(), Some(0), "{command}\n{}{}", finished.stdout, finished.stderr);
        if command.contains("keys create") {
            let made = finished.stdout.split_whitespace().find(|word| word.starts_with("pck_"));
            made.expect("the key is shown").clone_into(&mut self.key);
        }
        if command.contains("portcullis tools") {
            assert!(finished.stdout.contains("docs__echo"), "{command}\n{}", finished.stdout);
        }
    }

    fn shell(&self, command: &str) -> Finished {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(self.folder()).env("PATH", path()).env("DOCS_KEY", "secret");
        shell.env("PORTCULLIS_DATA_DIR", self.folder().join("data")).env("NO_PROXY", "127.0.0.1");
        shell.env_remove("PORTCULLIS_CONFIG").env_remove("PORTCULLIS_ADMIN_KEY");
        run(shell, b"", PATIENCE)
    }
}

/// Where the reader's shell finds programs: the gateway first.
fn path() -> OsString {
    let program = toolbox::gateway();
    let mut path = program.parent().expect("a program has a folder").as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}
