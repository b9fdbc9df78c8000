//! A process group: the process that leads it, and all that it started.

use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

/// How long members may take to leave after their leader.
const LEFTOVERS: Duration = Duration::from_secs(1);
/// How often to look whether they have.
const LOOK: Duration = Duration::from_millis(20);

/// The process group that a child leads.
///
/// Dropping it kills its members: the last resort where a process is abandoned half-way (the runtime ends).
#[derive(Debug)]
pub(super) struct Group {
    /// Absent once the group is known to be empty: from then on the system may give its number to others.
    leader: Option<Pid>,
}

impl Group {
    /// Names the group of `child`, which was started as a leader and has not been reaped.
    pub(super) fn led_by(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self { leader: id.map(Pid::from_raw) }
    }

    /// Sends `signal` to every member.
    pub(super) fn signal(&mut self, signal: Signal) {
        self.send(Some(signal));
    }

    /// Sees off the members that are left after the leader: asks them to go, then kills them.
    pub(super) async fn sweep(mut self) {
        let deadline = Instant::now() + LEFTOVERS;
        self.send(Some(Signal::SIGTERM));
        while self.leader.is_some() && Instant::now() < deadline {
            // Those that have ended are no business of ours: whoever should have heard of it takes its time.
            if self.leader.is_some_and(has_only_ended) {
                break;
            }
            sleep(LOOK).await;
            self.send(None);
        }
        self.send(Some(Signal::SIGKILL));
        self.leader = None;
    }

    fn send(&mut self, signal: Option<Signal>) {
        let Some(leader) = self.leader else { return };
        if let Err(Errno::ESRCH | Errno::EPERM) = killpg(leader, signal) {
            // EPERM is what macOS says of a group that has nothing but zombies.
            self.leader = None;
        }
    }
}

/// Tells whether all members of a group have ended and wait for somebody to hear of it; where that cannot be told, they have not.
fn has_only_ended(leader: Pid) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let mut members = processes.flatten().filter_map(|entry| {
        let status = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name, in parentheses, may hold anything; then come the state, the parent and the group.
        let mut fields = status.rsplit_once(')')?.1.split_whitespace();
        let (state, group) = (fields.next()?.to_owned(), fields.nth(1)?.parse::<i32>().ok()?);
        (group == leader.as_raw()).then_some(state)
    });
    members.all(|state| state == "Z" || state == "X")
}

impl Drop for Group {
    fn drop(&mut self) {
        self.send(Some(Signal::SIGKILL));
    }
}
