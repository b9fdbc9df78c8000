//! Child processes that never outlive the test, whatever becomes of it.
//!
//! A [`Background`] process is started on a leash: a shell between it and the test that waits for the end of a pipe
//! which only the test holds. When the test drops the process, panics, or is killed, the pipe ends, and the shell
//! terminates the process; what is left of its group then is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait;

/// How long a process may take to end once it is told to.
const GRACE: Duration = Duration::from_secs(5);

/// What the leash says first, before the process says anything.
const LEASHED: &str = "leashed ";

const LEASH: &str = r#"
exec 3<&0
sh -c 'echo "leashed $$"; exec "$@"' leashed "$@" </dev/null 3<&- &
child=$!
(
    cat <&3
    kill -TERM "$child"
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do kill -0 "$child" || break; sleep 0.2; done
    kill -KILL 0
) >/dev/null 2>&1 &
wait "$child"
"#;

/// A process that runs beside the test, and whose lines are kept.
#[derive(Debug)]
pub struct Background {
    shell: Child,
    leash: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Background {
    /// Starts `command`; its standard output and error are collected line by line.
    pub fn start(command: &Command) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", LEASH, "leash"]).arg(command.get_program()).args(command.get_args());
        carry_over(command, &mut shell);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut shell =
            shell.spawn().unwrap_or_else(|error| panic!("{} cannot be started: {error}", shown(command)));
        let lines = Arc::new(Mutex::new(Vec::new()));
        collect(shell.stdout.take(), &lines);
        collect(shell.stderr.take(), &lines);
        Self { leash: shell.stdin.take(), shell, lines }
    }

    /// Everything it has said so far.
    pub fn log(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let said = lines.iter().filter(|line| !line.starts_with(LEASHED));
        said.map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Waits until `pick` finds what it looks for in a line, and answers that.
    ///
    /// Panics with the log where the process ends first, or where it takes longer than [`wait::PATIENCE`].
    pub fn await_line<T>(&mut self, what: &str, mut pick: impl FnMut(&str) -> Option<T>) -> T {
        let found = wait::until(wait::PATIENCE, || {
            let ended = self.ended();
            let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            match lines.iter().find_map(|line| pick(line)) {
                Some(found) => Some(Ok(found)),
                None => ended.map(Err),
            }
        });
        match found {
            Some(Ok(found)) => found,
            Some(Err(status)) => panic!("ended ({status}) before {what}; it said:\n{}", self.log()),
            None => panic!("waited {:?} in vain for {what}; it said:\n{}", wait::PATIENCE, self.log()),
        }
    }

    /// Sends the process itself a signal; its children get none.
    pub fn signal(&mut self, signal: Signal) {
        kill(self.id(), signal).expect("the process is there to be signalled");
    }

    /// Its process id.
    pub fn id(&mut self) -> Pid {
        let id = self.await_line("its process id", |line| line.strip_prefix(LEASHED)?.parse().ok());
        Pid::from_raw(id)
    }

    /// How it ended, where it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.shell.try_wait().expect("a child can be waited for")
    }

    /// Kills it and all its children, as a crash of the machine would, and waits until they are gone.
    pub fn kill(&mut self) {
        kill_group(&self.shell);
        self.shell.wait().ok();
        let group = i32::try_from(self.shell.id()).map(Pid::from_raw).expect("a process id");
        wait::expect("the end of the process and its children", || killpg(group, None).is_err());
    }

    /// Tells it to end, and answers once it has.
    pub fn stop(&mut self) {
        drop(self.leash.take());
        wait::until(GRACE, || self.ended());
        kill_group(&self.shell);
        self.shell.wait().ok();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How a process ended, and all that it said.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit code; none where a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// Runs `command` to its end with `input` on its standard input; kills its whole group after `within`.
pub fn run(mut command: Command, input: &[u8], within: Duration) -> Finished {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{} cannot be started: {error}", shown(&command)));
    let stdout = read_all(child.stdout.take());
    let stderr = read_all(child.stderr.take());
    if let Some(mut pipe) = child.stdin.take() {
        // A program that ends without reading its input is judged by its exit code.
        pipe.write_all(input).ok();
    }
    let status = wait::until(within, || child.try_wait().expect("a child can be waited for"));
    // Also what it left running, which would hold ports and pipes.
    kill_group(&child);
    if status.is_none() {
        child.wait().ok();
    }
    let (stdout, stderr) = (joined(stdout), joined(stderr));
    let Some(status) = status else {
        panic!("{} took longer than {within:?}; it said:\n{stdout}{stderr}", shown(&command));
    };
    Finished { status, stdout, stderr }
}

fn carry_over(from: &Command, to: &mut Command) {
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
    if let Some(folder) = from.get_current_dir() {
        to.current_dir(folder);
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>, lines: &Arc<Mutex<Vec<String>>>) {
    let pipe = pipe.expect("the pipe was asked for");
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            line.clear();
        }
    });
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    let mut pipe = pipe.expect("the pipe was asked for");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).ok();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn joined(reader: thread::JoinHandle<String>) -> String {
    reader.join().expect("a reader does not panic")
}

fn kill_group(child: &Child) {
    if let Ok(id) = i32::try_from(child.id()) {
        // The group may be gone already.
        killpg(Pid::from_raw(id), Signal::SIGKILL).ok();
    }
}

fn shown(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sys::signal::{Signal, kill};

    use super::{Background, run};
    use crate::wait;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_dropped_process_is_gone_and_so_are_its_children() {
        let mut process = Background::start(&shell("sleep 600 & echo child $!; wait"));
        let id = process.id();
        let child = process.await_line("its child", |line| line.strip_prefix("child ")?.parse().ok());
        drop(process);
        for id in [id, nix::unistd::Pid::from_raw(child)] {
            wait::expect("the process's end", || kill(id, None).is_err());
        }
    }

    #[test]
    fn a_signal_reaches_the_process_itself() {
        let mut process = Background::start(&shell(
            "trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.1; done",
        ));
        process.await_line("the trap", |line| (line == "ready").then_some(()));
        process.signal(Signal::SIGUSR1);
        process.await_line("the signal", |line| (line == "caught").then_some(()));
        wait::expect("the process's end", || process.ended().is_some());
        assert_eq!(process.ended().and_then(|status| status.code()), Some(3));
        assert_eq!(process.log(), "ready\ncaught");
    }

    #[test]
    fn a_finished_process_tells_its_output_and_exit_code() {
        let finished = run(shell("cat; echo oops >&2; exit 4"), b"hello", wait::PATIENCE);
        assert_eq!((finished.code(), &*finished.stdout, &*finished.stderr), (Some(4), "hello", "oops\n"));
    }

    #[test]
    #[should_panic(expected = "took longer")]
    fn a_process_that_takes_too_long_fails_the_test() {
        run(shell("sleep 600"), b"", std::time::Duration::from_millis(50));
    }
}
