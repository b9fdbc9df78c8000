//! The first process of a container: it starts the program again as its child, passes signals on, and reaps.
//!
//! **Whatever is orphaned in a container becomes the first process's child, and stays a zombie unless that reaps it.** The
//! runtime reaps the children that it started and no others, and to reap whoever comes would take the status of those away
//! from it. So the first process does nothing else, on one thread, and the program proper is its child.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What is passed on to the program.
const PASSED_ON: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// Tells whether this is the first process of its container, or of its machine.
pub(crate) fn is_first() -> bool {
    std::process::id() == 1
}

/// Runs this program once more and stands before it until it ends. To be called before there is a second thread.
pub(crate) fn stand_before() -> anyhow::Result<ExitCode> {
    let mut awaited = SigSet::empty();
    PASSED_ON.into_iter().chain([Signal::SIGCHLD]).for_each(|signal| awaited.add(signal));
    awaited.thread_block().context("cannot wait for signals")?;
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .spawn()
        .context("cannot start the program proper")?;
    let child = i32::try_from(child.id()).map(Pid::from_raw).context("a process id")?;
    loop {
        match awaited.wait().context("cannot wait for signals")? {
            Signal::SIGCHLD => {
                if let Some(status) = reap(child)? {
                    return Ok(code(status));
                }
            }
            // It may have ended meanwhile, which the next signal tells.
            signal => drop(kill(child, signal)),
        }
    }
}

/// Lets signals arrive that [`stand_before`] has blocked, which its child inherits.
pub(crate) fn let_signals_arrive() -> anyhow::Result<()> {
    SigSet::all().thread_unblock().context("cannot take signals")
}

/// Reaps whoever has ended; returns how `child` did, where it has.
fn reap(child: Pid) -> anyhow::Result<Option<ExitStatus>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                return Ok(Some(ExitStatus::from_raw(code << 8)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(Some(ExitStatus::from_raw(signal as i32)));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for processes"),
        }
    }
}

/// Says the same as the program did, in the way of shells where a signal ended it.
fn code(status: ExitStatus) -> ExitCode {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    number.and_then(|number| u8::try_from(number).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
