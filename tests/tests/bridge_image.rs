//! The images of `infra/container`, built and run as they are on a platform: nothing can be written, nothing may be done, nobody
//! in particular runs them. And the Worker of `infra/cloudflare-containers`, which is bundled with such an image.
//!
//! What the images would fetch is given to them instead: the program from this workspace, the packages that `tests/setup.sh`
//! has installed by the same lockfile, and in place of the public base image the programs of this machine.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use portcullis_tests::bridge::TOKEN;
use portcullis_tests::client::{Client, Step};
use portcullis_tests::http::Request;
use portcullis_tests::process::{self, Finished};
use portcullis_tests::toolbox;
use portcullis_tests::upstream::free_port;
use portcullis_tests::wait::{self, PATIENCE};
use serde_json::json;
use tempfile::TempDir;

const STORAGE: &str = "[storage]\ndriver = \"overlay\"\n";
// Without limits of its own podman raises them, which not every machine lets it; the rest needs no service of the system.
const CONTAINERS: &str = "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n\
                          [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";

/// What wrangler runs as `docker`: the engine, without the options that it does not know, and with what is given to the image.
const DOCKER: &str = r#"#!/bin/sh
set -e
command=$1; shift
[ "$command" = build ] || exec podman "$command" "$@"
for argument do
    shift
    case $argument in
        --load | --provenance=*) ;;
        # What it hands over on a socket cannot be opened by a name.
        -) cat >"$0.file"; set -- "$@" "$0.file" ;;
        *) set -- "$@" "$argument" ;;
    esac
done
exec podman build --isolation=chroot --build-arg BASE=localhost/programs --build-arg BRIDGE=localhost/bridge \
    --build-context "packages=$PACKAGES" "$@"
"#;

/// An engine with a store of its own, and the images in it.
struct Engine {
    folder: TempDir,
}

impl Engine {
    /// The one of this test program, with all images built.
    fn shared() -> &'static Self {
        static ENGINE: OnceLock<Engine> = OnceLock::new();
        ENGINE.get_or_init(|| {
            let engine = Self { folder: toolbox::scratch() };
            let store = |name: &str| engine.folder.path().join(name).display().to_string();
            let storage = format!("{STORAGE}runroot = {:?}\ngraphroot = {:?}\n", store("run"), store("root"));
            fs::write(engine.folder.path().join("storage.conf"), storage)
                .expect("the folder can be written to");
            fs::write(engine.folder.path().join("containers.conf"), CONTAINERS).expect("likewise");
            engine.build_images();
            engine
        })
    }

    fn build_images(&self) {
        let built = self.folder.path().join("built");
        place(&toolbox::gateway(), &built.join("out/portcullis"));
        let programs = self.folder.path().join("programs");
        for (program, at) in [(toolbox::node(), "usr/local/bin/node"), (toolbox::gateway(), "")] {
            for library in libraries(&program) {
                place(&library, &below(&programs, &library));
            }
            if !at.is_empty() {
                place(&program, &programs.join(at));
            }
        }
        let entries = fs::read_dir(&programs).expect("the folder is there").flatten();
        let folders: Vec<_> =
            entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name()).collect();
        let copy = |name: &std::ffi::OsString| format!("COPY {0} /{0}\n", name.display());
        let file: String = folders.iter().map(copy).collect();
        fs::write(programs.join("Dockerfile"), format!("FROM scratch\n{file}")).expect("the folder is there");
        self.build("programs", &programs.join("Dockerfile"), &programs, &[]);
        let context = format!("build={}", built.display());
        let file = toolbox::repository("infra/container/Dockerfile");
        self.build("bridge", &file, &built, &["--build-context", &context]);
        let packages = format!("packages={}", toolbox::image_packages().display());
        let file = toolbox::repository("infra/container/node.Dockerfile");
        let given = ["--build-arg", "BASE=localhost/programs", "--build-arg", "BRIDGE=localhost/bridge"];
        let given = [&given[..], &["--build-context", &packages]].concat();
        self.build("server", &file, &toolbox::repository("infra/container/node"), &given);
    }

    fn build(&self, name: &str, file: &Path, context: &Path, options: &[&str]) {
        let mut command =
            self.podman(&["build", "--isolation=chroot", "--tag", &format!("localhost/{name}")]);
        command.args(options).arg("--file").arg(file).arg(context);
        succeeded(command);
    }

    fn podman(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.args(arguments);
        self.furnish(&mut command);
        command
    }

    /// Tells the engine where its store and its settings are.
    fn furnish(&self, command: &mut Command) {
        command.env("CONTAINERS_STORAGE_CONF", self.folder.path().join("storage.conf"));
        command.env("CONTAINERS_CONF", self.folder.path().join("containers.conf"));
    }
}

fn succeeded(command: Command) -> Finished {
    let shown = format!("{command:?}");
    let finished = process::run(command, b"", PATIENCE);
    assert_eq!(finished.code(), Some(0), "{shown}:\n{}{}", finished.stdout, finished.stderr);
    finished
}

/// Puts a file at a place in a folder that may not be there yet.
fn place(file: &Path, at: &Path) {
    fs::create_dir_all(at.parent().expect("a file has a folder")).expect("the folder can be made");
    fs::copy(file, at).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

fn below(folder: &Path, path: &Path) -> PathBuf {
    folder.join(path.strip_prefix("/").expect("a whole path"))
}

/// The libraries that a program is loaded with, what loads it included.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let mut command = Command::new("ldd");
    command.arg(program);
    let said = succeeded(command).stdout;
    said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// A container that is gone with the value.
struct Container {
    id: String,
    url: String,
}

impl Container {
    /// Runs the server's image on a port of this machine.
    fn start() -> Self {
        let port = free_port();
        let hardened =
            ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--pids-limit=64"];
        let mut command = Engine::shared().podman(&["run", "--detach", "--network=host", "--memory=512m"]);
        command.args(hardened).args(["--memory-swap=512m", "--tmpfs=/tmp:rw,size=16m,noexec"]);
        command.args([
            "--env",
            &format!("PORT={port}"),
            "--env",
            &format!("PORTCULLIS_BRIDGE_TOKEN={TOKEN}"),
        ]);
        command.arg("localhost/server");
        let id = succeeded(command).stdout.trim().to_owned();
        let container = Self { id, url: format!("http://127.0.0.1:{port}") };
        let is_ready = || {
            let answer = Request::get(&format!("{}/readyz", container.url)).try_send();
            answer.is_some_and(|answer| answer.status == 200)
        };
        assert!(wait::until(PATIENCE, || is_ready().then_some(())).is_some(), "{}", container.log());
        container
    }

    fn log(&self) -> String {
        let finished = process::run(Engine::shared().podman(&["logs", &self.id]), b"", PATIENCE);
        finished.stdout + &finished.stderr
    }

    fn exec(&self, arguments: &[&str]) -> Finished {
        process::run(Engine::shared().podman(&[&["exec", &self.id], arguments].concat()), b"", PATIENCE)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        process::run(Engine::shared().podman(&["rm", "--force", "--time=0", &self.id]), b"", PATIENCE);
    }
}

#[test]
fn real_clients_use_a_server_in_a_hardened_container() {
    let container = Container::start();
    let authorization = format!("Authorization: Bearer {TOKEN}");
    let arguments = json!({ "message": "from the container" });
    let plan = [
        Step::CallTool { name: "echo".to_owned(), arguments },
        Step::CallTool { name: "get-env".to_owned(), arguments: json!({}) },
    ];
    for client in [Client::TsV1, Client::TsV2, Client::Python] {
        let transcript = client.run_with(&format!("{}/mcp", container.url), &[&authorization], &plan);
        let said = |step: usize| transcript.result(step)["content"].to_string();
        assert!(said(0).contains("Echo: from the container"), "{client:?}");
        assert!(said(1).contains("PATH") && !said(1).contains(TOKEN), "{client:?}: {}", said(1));
    }
    assert_eq!(container.exec(&["/usr/local/bin/portcullis", "bridge", "--health"]).code(), Some(0));
    // The server could do what this does: it is the same user.
    let read = "require('fs').readFileSync('/proc/1/environ')";
    let read = container.exec(&["node", "-e", read]);
    assert!(read.stderr.contains("EACCES"), "{}{}", read.stdout, read.stderr);
    let mut stop = Engine::shared().podman(&["stop", "--time=20", &container.id]);
    stop.stdout(std::process::Stdio::null());
    succeeded(stop);
    let state = ["inspect", "--format={{.State.ExitCode}}", &container.id];
    assert_eq!(succeeded(Engine::shared().podman(&state)).stdout.trim(), "0", "{}", container.log());
    assert!(container.log().contains("was stopped"), "{}", container.log());
}

#[test]
fn the_worker_before_a_container_is_bundled_with_its_image() {
    let engine = Engine::shared();
    let folder = toolbox::scratch();
    // Beside its packages, as after `npm ci`.
    for name in ["cloudflare-containers", "container"] {
        copy_all(&toolbox::repository(&format!("infra/{name}")), &folder.path().join(name));
    }
    let worker = folder.path().join("cloudflare-containers");
    std::os::unix::fs::symlink(toolbox::image_worker().join("node_modules"), worker.join("node_modules"))
        .expect("the folder can be written to");
    let docker = folder.path().join("docker");
    fs::write(&docker, DOCKER).expect("the folder can be written to");
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).expect("it is there");
    let mut wrangler = toolbox::wrangler(folder.path());
    wrangler.args(["deploy", "--dry-run", "--outdir", "out"]).current_dir(&worker);
    wrangler.env("WRANGLER_DOCKER_BIN", &docker).env("PACKAGES", toolbox::image_packages());
    engine.furnish(&mut wrangler);
    let said = succeeded(wrangler).stdout;
    assert!(said.contains("Server") && said.contains("dry-run"), "{said}");
    let bundle = fs::read_to_string(worker.join("out/worker.js")).expect("the bundle");
    assert!(bundle.contains("PORTCULLIS_BRIDGE_TOKEN") && bundle.contains("enableInternet = false"));
}

/// Copies a folder but for packages.
fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder can be made");
    for entry in fs::read_dir(from).expect("the folder is there").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() && entry.file_name() != "node_modules" {
            copy_all(&path, &to);
        } else if path.is_file() {
            place(&path, &to);
        }
    }
}
