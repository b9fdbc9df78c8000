//! Engines for containers, started by whichever test needs one first, and stopped when its program ends.
//!
//! Each has a folder of its own within cargo's, and nothing else of the machine: no network of its own, no rules in the
//! firewall, no service. What it is installed from is the system's packages (`tests/run`, `tests/setup.sh --engines`).

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::hosting::hostile_image;
use crate::process::{self, Background};
use crate::{toolbox, wait};

/// How long an engine may take to start, and an image to be made.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where Podman keeps what it has.
const STORAGE: &str = "[storage]\ndriver = \"overlay\"\nrunroot = \"RUN/run\"\ngraphroot = \"FOLDER/root\"\n";

/// What is particular about a machine without systemd, on which limits cannot be raised.
const CONTAINERS: &str = r#"[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "RUNTIME"
cgroup_manager = "cgroupfs"
events_logger = "file"
[engine.runtimes]
runsc = ["FOLDER/runsc"]
"#;

/// gVisor as a machine runs it that has no control groups of version 2 and no virtual machines to give.
const RUNSC: &str = "#!/bin/sh\nexec runsc --platform=ptrace --ignore-cgroups --network=none \"$@\"\n";

/// Where docker writes what number its process has.
const DOCKER_PID: &str = "exec.pid";

/// An engine that runs.
pub struct Engine {
    kind: &'static str,
    folder: PathBuf,
    /// Its process, and the lock on its folder.
    _running: Mutex<(Background, File)>,
}

impl Engine {
    /// Podman with runc, and gVisor's `runsc` beside it.
    pub fn podman() -> &'static Self {
        static PODMAN: OnceLock<Engine> = OnceLock::new();
        PODMAN.get_or_init(|| Self::start("podman"))
    }

    /// Podman with gVisor: by its interface it has one runtime for all.
    pub fn gvisor() -> &'static Self {
        static GVISOR: OnceLock<Engine> = OnceLock::new();
        GVISOR.get_or_init(|| Self::start("gvisor"))
    }

    /// Docker.
    pub fn docker() -> &'static Self {
        static DOCKER: OnceLock<Engine> = OnceLock::new();
        DOCKER.get_or_init(|| Self::start("docker"))
    }

    fn start(kind: &'static str) -> Self {
        let folder = toolbox::target().join("hosting").join(kind);
        fs::create_dir_all(&folder).expect("cargo's folder can be written to");
        let lock = File::create(folder.join("lock")).expect("cargo's folder can be written to");
        lock.lock().expect("a file can be locked");
        assert!(
            wait::until(PATIENCE, || has_ended(&folder).then_some(())).is_some(),
            "another {kind} does not end"
        );
        for left in ["run", "exec"] {
            // What another run had while it ran.
            let _ = fs::remove_dir_all(folder.join(left));
        }
        for left in ["engine.sock", DOCKER_PID] {
            let _ = fs::remove_file(folder.join(left));
        }
        let command = match kind {
            "docker" => docker(&folder),
            "gvisor" => podman(&folder, "runsc"),
            _ => podman(&folder, "runc"),
        };
        let mut process = Background::start(&command);
        let socket = folder.join("engine.sock");
        let answers = || {
            assert!(process.ended().is_none(), "{kind} ended: {}", process.log());
            std::os::unix::net::UnixStream::connect(&socket).ok()
        };
        assert!(wait::until(PATIENCE, answers).is_some(), "{kind} does not listen");
        Self { kind, folder, _running: Mutex::new((process, lock)) }
    }

    /// Its address, as `DOCKER_HOST` takes it.
    pub fn address(&self) -> String {
        format!("unix://{}", self.folder.join("engine.sock").display())
    }

    /// The hostile server's image, with its digest, as a configuration names it.
    pub fn hostile(&self) -> &str {
        static IMAGES: OnceLock<Mutex<Vec<(&'static str, &'static str)>>> = OnceLock::new();
        let mut images = IMAGES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, image)) = images.iter().find(|(kind, _)| *kind == self.kind) {
            return image;
        }
        let image: &'static str =
            Box::leak(self.build("localhost/hostile:1", &hostile_image()).into_boxed_str());
        images.push((self.kind, image));
        image
    }

    /// Builds the image of a folder with a `Containerfile`; answers its name with its digest.
    pub fn build(&self, name: &str, folder: &Path) -> String {
        let file = folder.join("Containerfile");
        let mut command = self.cli(&["build"]);
        match self.kind {
            "docker" => command.env("DOCKER_BUILDKIT", "0").arg("--quiet"),
            _ => command.args(["--isolation=chroot", "--quiet"]),
        };
        command.arg("--tag").arg(name).arg("--file").arg(file).arg(folder);
        let built = process::run(command, &[], PATIENCE);
        assert_eq!(built.code(), Some(0), "{}{}", built.stdout, built.stderr);
        let found = process::run(self.cli(&["image", "inspect", "--format", "{{.Id}}", name]), &[], PATIENCE);
        assert_eq!(found.code(), Some(0), "{}{}", found.stdout, found.stderr);
        format!("{name}@sha256:{}", found.stdout.trim().trim_start_matches("sha256:"))
    }

    /// Its own command line.
    pub fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = if self.kind == "docker" {
            let mut command = Command::new(toolbox::unpacked("usr/bin/docker"));
            command.arg("--host").arg(self.address());
            command
        } else {
            let mut command = Command::new("podman");
            settings(&mut command, &self.folder);
            command
        };
        command.args(arguments);
        command
    }

    /// The containers that have a text in their environment, by what the engine calls them; ended ones too.
    pub fn containers_with(&self, mark: &str) -> Vec<String> {
        let run = |arguments: &[&str]| process::run(self.cli(arguments), &[], PATIENCE).stdout;
        let names = run(&["ps", "--all", "--format", "{{.Names}}"]);
        let has_it = |name: &&str| run(&["inspect", "--format", "{{.Config.Env}}", name]).contains(mark);
        names.lines().filter(has_it).map(str::to_owned).collect()
    }
}

/// Tells whether the docker that another run had is gone: it takes a while to end, or leaves a number that is another's by now.
fn has_ended(folder: &Path) -> bool {
    let written = fs::read_to_string(folder.join(DOCKER_PID)).unwrap_or_default();
    let name = fs::read_to_string(format!("/proc/{}/comm", written.trim())).unwrap_or_default();
    name.trim() != "dockerd"
}

fn podman(folder: &Path, runtime: &str) -> Command {
    let at = folder.display().to_string();
    // Sockets have short paths.
    let run = folder.join("run").display().to_string();
    let write = |name: &str, text: &str| {
        let text = text.replace("FOLDER", &at).replace("RUNTIME", runtime).replace("RUN", &run);
        fs::write(folder.join(name), text).expect("cargo's folder can be written to");
    };
    write("storage.conf", STORAGE);
    write("containers.conf", CONTAINERS);
    write("runsc", RUNSC);
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.join("runsc"), executable).expect("the file is ours");
    let mut command = Command::new("podman");
    settings(&mut command, folder);
    command.args(["system", "service", "--time=0"]).arg(format!("unix://{at}/engine.sock"));
    command
}

fn settings(command: &mut Command, folder: &Path) {
    command.env("CONTAINERS_STORAGE_CONF", folder.join("storage.conf"));
    command.env("CONTAINERS_CONF", folder.join("containers.conf"));
}

fn docker(folder: &Path) -> Command {
    let mut command = Command::new(toolbox::unpacked("usr/sbin/dockerd"));
    let own = [toolbox::unpacked("usr/bin"), toolbox::unpacked("usr/sbin")];
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(own.into_iter().chain(env::split_paths(&path))).expect("a path");
    command.env("PATH", path);
    command.arg("--data-root").arg(folder.join("root"));
    command.arg("--exec-root").arg(folder.join("exec"));
    command.arg("--pidfile").arg(folder.join(DOCKER_PID));
    command.arg("--host").arg(format!("unix://{}", folder.join("engine.sock").display()));
    command.args([
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
        "--bridge=none",
    ]);
    command.args(["--storage-driver", "overlay2", "--exec-opt", "native.cgroupdriver=cgroupfs"]);
    command.args(["--default-ulimit", "nofile=4096:4096", "--default-ulimit", "nproc=4096:4096"]);
    command
}
