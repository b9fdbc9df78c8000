//! How an identity's own gateway is started: within control groups of its own, and, where there is bubblewrap, with a view of
//! the machine in which it can write nothing but its own folder, and in which neither the data folder's other contents nor any
//! process but its own exist.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::BWRAP;
use super::groups::{Groups, Hierarchy};
use super::plan::Limits;
use super::sandbox::Steps;

/// What every user's programs share, of which an instance sees its own, where it is there.
const SHARED: [&str; 3] = ["/tmp", "/var/tmp", "/run/user"];
/// What of the front's environment is the front's alone.
const WITHHELD: [&str; 8] = [
    "PORTCULLIS_ADMIN_KEY",
    "PORTCULLIS_DATA_DIR",
    "PORTCULLIS_KEY",
    "PORTCULLIS_SEAL_KEY",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
];

/// What this machine was found to do for instances.
#[derive(Debug)]
pub(crate) struct Apartness {
    own: PathBuf,
    hierarchy: Option<Hierarchy>,
    has_views: bool,
}

/// What an instance is started with.
pub(crate) struct Room<'a> {
    /// The data folder, of which it sees nothing but the two others.
    pub(crate) data: &'a Path,
    /// What it may write.
    pub(crate) home: &'a Path,
    /// What it may read: packages that were prepared for all.
    pub(crate) packages: &'a Path,
    pub(crate) memory: u64,
    pub(crate) pids: u32,
}

impl Apartness {
    /// Finds what this machine does; what is missing is said.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let hierarchy = match Hierarchy::find() {
            Ok((hierarchy, _)) => Some(hierarchy),
            Err(why) => {
                tracing::warn!("the memory and processes of identities' gateways are not bounded: {why}");
                None
            }
        };
        let has_views = can_make_views();
        if !has_views {
            tracing::warn!(
                "identities' gateways are processes of their own, and nothing more: without bubblewrap (`bwrap`) one that is \
                 taken over reaches whatever this user does"
            );
        }
        Ok(Self { own, hierarchy, has_views })
    }

    /// Returns the command that starts an instance, and its control groups, which are removed with all that is in them when
    /// they are dropped.
    pub(crate) fn command(&self, room: &Room<'_>) -> anyhow::Result<(Command, Option<Groups>)> {
        let limits =
            Limits { memory: Some(room.memory), pids: Some(room.pids), cpus: None, files: 0, tmp: 0 };
        let groups = self.hierarchy.as_ref().map(|hierarchy| hierarchy.make(&limits)).transpose()?;
        let steps = Steps { groups: groups.iter().flat_map(Groups::doors).collect(), ..Steps::default() };
        let itself =
            ["instance".into(), "--home".into(), room.home.into(), "--packages".into(), room.packages.into()];
        let args = if self.has_views {
            let view = view(room).into_iter().chain(["--".into(), self.own.clone().into()]);
            steps.args(BWRAP.into(), view.chain(itself))
        } else {
            steps.args(self.own.clone().into(), itself)
        };
        let mut command = Command::new(&self.own);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).env("HOME", room.home);
        for name in WITHHELD {
            command.env_remove(name);
        }
        if !self.has_views {
            command.env("TMPDIR", room.home);
        }
        Ok((command, groups))
    }
}

/// Returns the arguments of `bwrap` that make the view. What comes later lies over what came before.
fn view(room: &Room<'_>) -> Vec<OsString> {
    let mut args: Vec<OsString> =
        words(&["--die-with-parent", "--unshare-user", "--unshare-pid", "--unshare-ipc"]);
    // With capabilities it could take the view apart.
    args.extend(words(&["--cap-drop", "ALL", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]));
    for shared in SHARED.into_iter().filter(|shared| Path::new(shared).is_dir()) {
        args.extend(words(&["--tmpfs", shared]));
    }
    args.extend(["--tmpfs".into(), room.data.into()]);
    args.extend(["--ro-bind-try".into(), room.packages.into(), room.packages.into()]);
    args.extend(["--bind".into(), room.home.into(), room.home.into()]);
    args.extend(["--remount-ro".into(), room.data.into()]);
    args
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn can_make_views() -> bool {
    let mut command = Command::new(BWRAP);
    command.args([
        "--unshare-user",
        "--unshare-pid",
        "--unshare-ipc",
        "--cap-drop",
        "ALL",
        "--ro-bind",
        "/",
        "/",
    ]);
    command.args(["--dev", "/dev", "--proc", "/proc", "--", "true"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    cfg!(target_os = "linux") && command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_sees_nothing_of_the_data_folder_but_its_own() {
        let room = Room {
            data: Path::new("/srv/data"),
            home: Path::new("/srv/data/instances/a"),
            packages: Path::new("/srv/data/packages"),
            memory: 1,
            pids: 1,
        };
        let args = view(&room);
        let words: Vec<_> = args.iter().map(|arg| arg.to_str().expect("text")).collect();
        let at = |wanted: &[&str]| {
            words.windows(wanted.len()).position(|words| words == wanted).expect("it is there")
        };
        let hidden = at(&["--tmpfs", "/srv/data"]);
        assert!(at(&["--ro-bind", "/", "/"]) < hidden);
        assert!(hidden < at(&["--bind", "/srv/data/instances/a", "/srv/data/instances/a"]));
        assert_eq!(words.iter().filter(|word| **word == "--bind").count(), 1, "nothing else can be written");
        assert!(words.windows(2).any(|words| words == ["--cap-drop", "ALL"]));
    }
}
