//! A network of its own, with public addresses that are nobody's but the test's; and sandboxes in it, behind a gate.
//!
//! Nothing of it needs rights, and nothing of it is seen from outside: the addresses are on the loopback interface of a
//! network namespace, names come from a file that is `/etc/hosts` there alone. What runs in it is as it is everywhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Background, Finished, run};
use crate::toolbox;
use crate::wait::{self, PATIENCE};

/// Where the servers are that the names of a new world lead to.
pub const PUBLIC: &str = "93.184.216.34";
/// Another such address.
pub const OTHER: &str = "93.184.216.35";
/// One of the newer kind.
pub const NEWER: &str = "2606:2800:220:1::1";
/// Where a cloud tells a machine about itself; somebody answers there, too.
pub const METADATA: &str = "169.254.169.254";

/// The names that lead somewhere in a new world.
pub const NAMES: [(&str, &str); 4] =
    [("api.test", PUBLIC), ("a.wild.test", PUBLIC), ("other.test", OTHER), ("newer.test", NEWER)];

const MAKE: &str = r#"
set -e
ip link set lo up
for address in "$@"; do ip addr add "$address" dev lo nodad; done
mount --bind "$0/hosts" /etc/hosts
printf 'nameserver 192.0.2.53\n' > "$0/resolv"
mount --bind "$0/resolv" /etc/resolv.conf
echo made
exec sleep infinity
"#;

/// Names are asked for over the network alone.
const MAKE_SANDBOX: &str = r#"
set -e
mount --bind "$0/localhost" /etc/hosts
echo made
exec sleep infinity
"#;

/// A network, and the servers in it.
#[derive(Debug)]
pub struct World {
    folder: TempDir,
    id: Pid,
    peer: Background,
    _keeper: Background,
}

/// A network from which nothing leads out, behind a gate.
#[derive(Debug)]
pub struct Sandbox {
    world: Pid,
    id: Pid,
    folder: TempDir,
    certificate: PathBuf,
    gate: Background,
    keeper: Background,
}

impl World {
    /// Makes a network, and starts its servers.
    pub fn make() -> Self {
        let folder = toolbox::scratch();
        write_hosts(folder.path(), &NAMES);
        fs::write(folder.path().join("localhost"), "127.0.0.1 localhost\n").expect("a file can be written");
        certify(folder.path());
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-c", MAKE]).arg(folder.path());
        command.args([PUBLIC, OTHER, METADATA].map(|address| format!("{address}/32")));
        command.arg(format!("{NEWER}/128"));
        let (keeper, id) = kept(&command);
        let mut serve = within(id, &toolbox::python());
        serve.arg(toolbox::repository("tests/egress/peer.py")).arg(certificate(folder.path()));
        let mut peer = Background::start(&serve);
        peer.await_line("the servers of the network", |line| (line == "serving").then_some(()));
        Self { folder, id, peer, _keeper: keeper }
    }

    /// Has names lead elsewhere.
    pub fn point(&self, names: &[(&str, &str)]) {
        write_hosts(self.folder.path(), names);
    }

    /// Everything that has reached the servers.
    pub fn asked(&self) -> Vec<String> {
        let log = self.peer.log();
        log.lines().filter_map(|line| line.strip_prefix("asked ")).map(str::to_owned).collect()
    }

    /// Puts a sandbox behind a gate that leads to what the arguments of `portcullis gate` say.
    pub fn sandbox(&self, arguments: &[&str]) -> Sandbox {
        let folder = toolbox::scratch();
        let mut command = within(self.id, Path::new("unshare"));
        command.args(["--net", "--mount", "sh", "-c", MAKE_SANDBOX]).arg(self.folder.path());
        let (keeper, id) = kept(&command);
        let open = opening((self.id, id), folder.path(), arguments);
        let mut gate = Background::start(&open);
        gate.await_line("the gate", |line| line.ends_with("is open").then_some(()));
        Sandbox { world: self.id, id, folder, certificate: certificate(self.folder.path()), gate, keeper }
    }
}

impl Sandbox {
    /// Returns a command that runs in the sandbox.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = within(self.id, program);
        command.env("NODE_EXTRA_CA_CERTS", &self.certificate).env("SSL_CERT_FILE", &self.certificate);
        command
    }

    /// Runs a program of Node's in the sandbox, and returns what it prints.
    pub fn node(&self, program: &str) -> String {
        let mut command = self.command(&toolbox::node());
        command.args(["--input-type=module", "--eval", program]);
        said(command)
    }

    /// Runs a program of Python's in the sandbox, and returns what it prints.
    pub fn python(&self, program: &str) -> String {
        let mut command = self.command(&toolbox::python());
        command.args(["-c", program]);
        said(command)
    }

    /// Waits until so many attempts are recorded, and returns them.
    pub fn attempts(&self, count: usize) -> Vec<Value> {
        let found = wait::until(PATIENCE, || Some(self.recorded()).filter(|all| all.len() >= count));
        let all = found
            .unwrap_or_else(|| panic!("{count} attempts, of {:#?}\n{}", self.recorded(), self.gate.log()));
        assert_eq!(all.len(), count, "{all:#?}");
        all
    }

    fn recorded(&self) -> Vec<Value> {
        let exported = self.audit(&["export"]).stdout;
        exported.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// Runs a command of `portcullis audit` on what is recorded.
    pub fn audit(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(toolbox::gateway());
        command.arg("audit").args(arguments).arg("--data-dir").arg(self.folder.path());
        run(command, b"", PATIENCE)
    }

    /// Kills everything in it.
    pub fn kill(&mut self) {
        self.keeper.kill();
    }

    /// Closes the gate, as when the gateway stops.
    pub fn close_gate(&mut self) {
        self.gate.stop();
    }

    /// Tries to open another gate.
    pub fn open_again(&self) -> Finished {
        run(opening((self.world, self.id), self.folder.path(), &[]), b"", PATIENCE)
    }
}

/// The command that opens the gate of a sandbox.
fn opening((world, sandbox): (Pid, Pid), data: &Path, arguments: &[&str]) -> Command {
    let mut open = within(world, &toolbox::gateway());
    open.args(["gate", "--server", "probe", "--pid", &sandbox.to_string(), "--data-dir"]).arg(data);
    open.args(arguments);
    open
}

/// Starts what keeps a namespace there, and returns its id once it is made.
fn kept(command: &Command) -> (Background, Pid) {
    let mut keeper = Background::start(command);
    keeper.await_line("a network of its own", |line| (line == "made").then_some(()));
    let id = keeper.id();
    (keeper, id)
}

/// A command that runs in the namespaces of a process.
fn within(id: Pid, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &id.to_string(), "--user", "--net", "--mount", "--preserve-credentials"]);
    command.arg("--").arg(program);
    command
}

fn said(command: Command) -> String {
    let finished = run(command, b"", PATIENCE);
    assert_eq!(finished.code(), Some(0), "{}{}", finished.stdout, finished.stderr);
    finished.stdout.trim_end().to_owned()
}

fn write_hosts(folder: &Path, names: &[(&str, &str)]) {
    let lines: Vec<_> = names.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
    // The same file, which is another's by now.
    fs::write(folder.join("hosts"), lines.concat()).expect("a file can be written");
}

fn certificate(folder: &Path) -> PathBuf {
    folder.join("certificate.pem")
}

/// Makes a certificate for the names of the network, which vouches for itself.
fn certify(folder: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-days", "2", "-subj", "/CN=test", "-keyout", "-"]);
    openssl.args([
        "-addext",
        &format!("subjectAltName=DNS:api.test,DNS:*.wild.test,DNS:other.test,IP:{PUBLIC}"),
    ]);
    let made = run(openssl, b"", PATIENCE);
    assert_eq!(made.code(), Some(0), "{}", made.stderr);
    fs::write(certificate(folder), made.stdout).expect("a file can be written");
}
