//! Marks: a variable of a process that says which start of a server it belongs to, wherever it goes on this machine.
//!
//! **What a server starts has its mark, also what leaves its group and its session**, unless it is started without it on purpose.
//! Where there are control groups, these know it as well, and nothing escapes them.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::groups;

/// The variable.
pub(super) const NAME: &str = "PORTCULLIS_HOSTED";
/// How often processes are looked for that were being started meanwhile, and how long after each other.
const LOOKS: (u32, Duration) = (50, Duration::from_millis(10));

/// The mark of one start of a server. Dropping it kills whatever has it.
#[derive(Debug)]
pub(super) struct Mark(String);

impl Mark {
    /// The mark of what [`groups::of_start`] names.
    pub(super) fn of(start: String) -> Self {
        Self(start)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        kill_all(|mark| mark == self.0);
    }
}

/// Kills what gateways have left that are gone; returns how many processes there were.
pub(super) fn sweep() -> usize {
    kill_all(|mark| mark.rsplit_once('-').is_some_and(|(owner, _)| groups::is_gone(owner)))
}

/// Kills every process with such a mark; returns how many there were.
fn kill_all(is_it: impl Fn(&str) -> bool) -> usize {
    let mut killed = Vec::new();
    for look in 0..LOOKS.0 {
        let found = marked(&is_it);
        if found.is_empty() {
            break;
        }
        if look > 0 {
            thread::sleep(LOOKS.1);
        }
        for process in found {
            let _ = kill(process, Signal::SIGKILL);
            if !killed.contains(&process) {
                killed.push(process);
            }
        }
    }
    killed.len()
}

/// Returns the processes with such a mark. One that has ended and is yet to be reaped has none any more.
fn marked(is_it: &impl Fn(&str) -> bool) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let others = numbers.filter(|id| u32::try_from(*id) != Ok(std::process::id()));
    others.filter(|id| mark_of(*id).is_some_and(|mark| is_it(&mark))).map(Pid::from_raw).collect()
}

fn mark_of(id: i32) -> Option<String> {
    let environment = fs::read(format!("/proc/{id}/environ")).ok()?;
    let has_it = |variable: &[u8]| {
        let value = variable.strip_prefix(NAME.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    };
    environment.split(|byte| *byte == 0).find_map(has_it)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};

    use super::*;

    fn start(mark: &str) -> Child {
        let child = Command::new("sleep").arg("60").env(NAME, mark).spawn().expect("a process");
        // Until it is another program, it has the environment of this one.
        while mark_of(child.id().try_into().expect("a number")).as_deref() != Some(mark) {
            thread::yield_now();
        }
        child
    }

    #[test]
    fn a_mark_takes_what_has_it_along() {
        let (mark, other) = (Mark::of(groups::of_start()), Mark::of(groups::of_start()));
        let (mut one, mut another) = (start(&mark.0), start(&other.0));
        drop(mark);
        assert_eq!(one.wait().expect("its end").signal(), Some(9));
        assert!(another.try_wait().expect("a state").is_none());
        drop(other);
        assert_eq!(another.wait().expect("its end").signal(), Some(9));
    }

    #[test]
    fn what_a_gateway_that_is_gone_has_left_is_swept() {
        let (owner, _) =
            groups::of_start().rsplit_once('-').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a mark");
        let (machine, _) = owner.rsplit_once('/').expect("a machine");
        // The number is ours, but that one began at another time.
        let mut left = start(&format!("{machine}/{}-1-0", std::process::id()));
        let mut ours = start(&format!("{owner}-0"));
        let mut elsewhere = start(&format!("elsewhere/{}-1-0", std::process::id()));
        assert!(sweep() >= 1);
        assert_eq!(left.wait().expect("its end").signal(), Some(9));
        for child in [&mut ours, &mut elsewhere] {
            assert!(child.try_wait().expect("a state").is_none());
            child.kill().expect("it runs");
            child.wait().expect("its end");
        }
    }
}
