//! The keyring of an operating system: GNOME's, on a session bus of the test's own.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{self, Background};
use crate::{toolbox, wait};

/// The variable that says where the bus is.
pub const ADDRESS: &str = "DBUS_SESSION_BUS_ADDRESS";

/// A bus that starts nothing by itself: what is not there is not there.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=FOLDER</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>"#;

/// A user's session: a bus, and the folder in which the keyring lies.
#[derive(Debug)]
pub struct Session {
    /// Where the bus is, as `DBUS_SESSION_BUS_ADDRESS` says it.
    pub address: String,
    /// The user's home, in which the keyring lies.
    pub home: TempDir,
    _bus: Background,
}

impl Session {
    /// Starts the bus.
    #[expect(clippy::new_without_default, reason = "it starts a process")]
    pub fn new() -> Self {
        let home = toolbox::scratch();
        for folder in [".local/share", ".cache"] {
            fs::create_dir_all(home.path().join(folder)).expect("the test's folder can be written to");
        }
        let settings = home.path().join("bus.conf");
        // A socket's path has to be short.
        let bus = BUS.replace("FOLDER", &std::env::temp_dir().display().to_string());
        fs::write(&settings, bus).expect("the test's folder can be written to");
        let mut command = Command::new("dbus-daemon");
        command.args(["--nofork", "--print-address"]).arg("--config-file").arg(settings);
        let mut bus = Background::start(&command);
        let address = bus.await_line("the bus", |line| line.starts_with("unix:").then(|| line.to_owned()));
        Self { address, home, _bus: bus }
    }

    /// The keyring as it is once its user has signed in.
    pub fn unlocked(&self) -> Background {
        self.keyring("printf secret | exec gnome-keyring-daemon --foreground --components=secrets --unlock")
    }

    /// The keyring of a machine that nobody has signed in at.
    pub fn locked(&self) -> Background {
        self.keyring("exec gnome-keyring-daemon --foreground --components=secrets")
    }

    fn keyring(&self, script: &str) -> Background {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env(ADDRESS, &self.address).env("HOME", self.home.path());
        let mut daemon = Background::start(&command);
        wait::expect("the keyring on the bus", || {
            assert!(daemon.ended().is_none(), "the keyring ended: {}", daemon.log());
            self.has_keyring()
        });
        daemon
    }

    fn has_keyring(&self) -> bool {
        let mut ask = Command::new("dbus-send");
        ask.args(["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"]);
        ask.args(["org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets"]);
        ask.env(ADDRESS, &self.address);
        process::run(ask, &[], wait::PATIENCE).stdout.contains("true")
    }

    /// Ends the keyring.
    pub fn end(&self, mut keyring: Background) {
        keyring.stop();
        wait::expect("the keyring's end", || !self.has_keyring());
    }
}
