//! A server in bubblewrap: namespaces of its own, and a view of the machine that has programs and libraries and nothing of a
//! user.
//!
//! **What is seen is listed; all else does not exist in there.** Nothing of it can be written but the folder for temporary
//! files and the mounts that say so.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_core::config::{Hosting, Mount, Network, Place};

use super::plan::Limits;
use super::programs::{Found, SYSTEM};
use super::sandbox::Steps;
use super::setting::Setting;

/// Where the gateway's own program is seen, which sets up the rest.
const OWN: &str = "/.portcullis";
/// Whom it runs as: nobody.
const NOBODY: &str = "65534";
/// What of the system's settings programs read: how text, time and certificates are, and nothing about users or networks.
const SETTINGS: [&str; 13] = [
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "fonts",
    "host.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "pki",
    "ssl",
];
/// What of them leads to other machines.
const NETWORK_SETTINGS: [&str; 3] = ["hosts", "resolv.conf", "services"];
/// Where it may write, besides mounts: both are in memory.
pub(crate) const TEMPORARY: &str = "/tmp";
const SHARED: &str = "/dev/shm";

/// What is put into a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents<'a> {
    pub(crate) hosting: &'a Hosting,
    pub(crate) limits: &'a Limits,
    /// The program, and what it needs to be seen.
    pub(crate) program: &'a Found,
    pub(crate) args: &'a [OsString],
    /// The folder that it runs in; the one for temporary files where absent.
    pub(crate) folder: Option<&'a Path>,
    /// What is seen besides: certificates that the environment names, a prepared package.
    pub(crate) besides: &'a [PathBuf],
    pub(crate) setting: &'a Setting,
    /// The gateway's own program.
    pub(crate) own: &'a Path,
}

/// Returns the arguments of `bwrap`.
pub(crate) fn args(contents: &Contents<'_>) -> Vec<OsString> {
    let mut args = Args::default();
    args.words(&["--die-with-parent", "--unshare-user", "--uid", NOBODY, "--gid", NOBODY, "--unshare-pid"]);
    args.words(&["--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox"]);
    let open = contents.hosting.network == Network::Unrestricted;
    // One behind a gate has left the machine's network before.
    if !open && gate(contents.hosting, contents.setting).is_none() {
        args.words(&["--unshare-net"]);
    }
    let runs = system(&mut args, open);
    let size = contents.limits.tmp.to_string();
    args.words(&["--proc", "/proc", "--dev", "/dev"]);
    for folder in [SHARED, TEMPORARY] {
        args.words(&["--size", &size, "--tmpfs", folder]);
    }
    let needs: Vec<&Path> = contents
        .program
        .needs
        .iter()
        .chain(contents.besides)
        .map(PathBuf::as_path)
        .chain(contents.folder)
        .collect();
    let seen =
        || needs.iter().copied().chain(contents.hosting.mounts.iter().map(|mount| Path::new(&mount.to)));
    // What is outside comes first, so that none hides another.
    let (inner, outer): (Vec<&String>, Vec<&String>) = contents
        .setting
        .folders
        .iter()
        .partition(|folder| seen().any(|seen| Path::new(folder).starts_with(seen)));
    for folder in outer {
        args.words(&["--size", &size, "--tmpfs", folder]);
    }
    args.paths("--ro-bind", contents.own, Path::new(OWN));
    for seen in needs {
        args.paths("--ro-bind", seen, seen);
    }
    for Mount { path, to, write } in &contents.hosting.mounts {
        args.paths(if *write { "--bind" } else { "--ro-bind" }, Path::new(path), Path::new(to));
    }
    for folder in inner {
        args.words(&["--size", &size, "--tmpfs", folder]);
    }
    for (file, to) in &contents.setting.files {
        args.paths("--ro-bind", file, Path::new(to));
    }
    args.words(&["--remount-ro", "/dev", "--remount-ro", "/", "--chdir"]);
    args.0.push(contents.folder.unwrap_or(Path::new(TEMPORARY)).into());
    args.words(&["--", OWN]);
    let server = std::iter::once((&contents.program.program).into()).chain(contents.args.iter().cloned());
    let (program, rest): (OsString, Vec<OsString>) = match &contents.hosting.http {
        None => ((&contents.program.program).into(), contents.args.to_vec()),
        // What speaks to it over HTTP shares its network.
        Some(http) => {
            let relay = super::inside(http, None).into_iter().chain([OsString::from("--")]);
            (OWN.into(), relay.chain(server).collect())
        }
    };
    args.0.extend(steps(contents, runs).args(program, rest));
    args.0
}

/// Shows the system's folders; returns those in which programs lie.
fn system(args: &mut Args, open: bool) -> Vec<PathBuf> {
    let mut runs = Vec::new();
    for folder in SYSTEM.map(Path::new) {
        match fs::read_link(folder) {
            Ok(link) => args.paths("--symlink", &link, folder),
            Err(_) if folder.is_dir() => {
                args.paths("--ro-bind", folder, folder);
                runs.push(folder.to_owned());
            }
            Err(_) => {}
        }
    }
    let network = NETWORK_SETTINGS.iter().filter(|_| open);
    for setting in SETTINGS.iter().chain(network).map(|name| Path::new("/etc").join(name)) {
        // One that leads elsewhere (`resolv.conf` does) is shown as what it leads to.
        args.paths("--ro-bind-try", &setting, &setting);
    }
    runs
}

/// Returns what is done within the sandbox before the program is.
fn steps(contents: &Contents<'_>, mut runs: Vec<PathBuf>) -> Steps {
    runs.extend([contents.program.program.clone(), OWN.into()]);
    runs.extend(contents.program.needs.iter().chain(contents.besides).cloned());
    runs.extend(
        contents.hosting.mounts.iter().filter(|mount| !mount.write).map(|mount| mount.to.clone().into()),
    );
    let writes = contents.hosting.mounts.iter().filter(|mount| mount.write).map(|mount| mount.to.as_str());
    // A program opens `/dev/null` to write, and a script `/dev/stdout`.
    let folders = contents.setting.folders.iter().map(String::as_str);
    let writes = [TEMPORARY, "/dev", "/proc"].into_iter().chain(folders).chain(writes);
    Steps {
        files: Some(contents.limits.files),
        reads: vec!["/".into()],
        runs,
        writes: writes.map(PathBuf::from).collect(),
        filter: true,
        ..Steps::default()
    }
}

/// Returns the places that a server may reach, where they are listed.
pub(crate) fn places(hosting: &Hosting) -> &[Place] {
    match &hosting.network {
        Network::Places(places) => places,
        Network::None | Network::Unrestricted => &[],
    }
}

/// Returns the ports of the gate that a server's network is behind, where it is: each once.
pub(crate) fn gate(hosting: &Hosting, setting: &Setting) -> Option<Vec<u16>> {
    let mut ports: Vec<_> = places(hosting).iter().map(|place| place.port).collect();
    ports.sort_unstable();
    ports.dedup();
    setting.gate.clone().or_else(|| Some(ports).filter(|ports| !ports.is_empty()))
}

/// Arguments, one after the other.
#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn paths(&mut self, option: &str, from: &Path, to: &Path) {
        self.0.extend([OsStr::new(option), from.as_os_str(), to.as_os_str()].map(OsStr::to_owned));
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::config::Hosting;

    use super::*;

    #[test]
    fn only_what_is_named_is_seen() {
        let mounts = vec![
            Mount { path: "/srv/data".to_owned(), to: "/data".to_owned(), write: false },
            Mount { path: "/srv/work".to_owned(), to: "/srv/work".to_owned(), write: true },
        ];
        let hosting = Hosting { mounts, ..Hosting::default() };
        let limits = Limits { memory: None, cpus: None, pids: None, files: 64, tmp: 4096 };
        let program = Found { program: "/opt/node/bin/node".into(), needs: vec!["/opt/node".into()] };
        let setting = Setting {
            folders: vec!["/home/x".to_owned(), "/data/in".to_owned()],
            files: vec![("/made/secret".into(), "/home/x/.secret".to_owned())],
            gate: None,
        };
        let args = args(&Contents {
            setting: &setting,
            hosting: &hosting,
            limits: &limits,
            program: &program,
            args: &["--ro-bind".into(), "/".into(), "/".into()],
            folder: None,
            besides: &[],
            own: Path::new("/opt/portcullis"),
        });
        let words: Vec<_> = args.iter().map(|arg| arg.to_str().expect("text")).collect();
        let shown = |option: &str| {
            let own = words.iter().position(|word| *word == "--").expect("a program");
            let pairs = words[..own].windows(3).filter(|words| words[0] == option);
            pairs
                .map(|words| format!("{} at {}", words[1], words[2]))
                .filter(|pair| !pair.starts_with("/usr"))
                .collect::<Vec<_>>()
        };
        let seen = shown("--ro-bind");
        let of_the_system = |pair: &String| SYSTEM.iter().any(|folder| pair.starts_with(folder));
        let besides: Vec<_> = seen.into_iter().filter(|pair| !of_the_system(pair)).collect();
        assert_eq!(
            besides,
            [
                "/opt/portcullis at /.portcullis",
                "/opt/node at /opt/node",
                "/srv/data at /data",
                "/made/secret at /home/x/.secret"
            ]
        );
        let at = |wanted: [&str; 3]| words.windows(3).position(|words| words == wanted).expect("it is there");
        assert!(at(["4096", "--tmpfs", "/home/x"]) < at(["--ro-bind", "/srv/data", "/data"]), "{words:?}");
        assert!(at(["4096", "--tmpfs", "/data/in"]) > at(["--ro-bind", "/srv/data", "/data"]), "{words:?}");
        assert_eq!(shown("--bind"), ["/srv/work at /srv/work"]);
        assert!(words.contains(&"--unshare-net") && words.contains(&"--unshare-user"), "{words:?}");
        assert!(!words.iter().any(|word| word.contains("shadow") || word.contains("passwd")), "{words:?}");
        assert_eq!(words[words.len() - 5..], ["--", "/opt/node/bin/node", "--ro-bind", "/", "/"]);
    }
}
