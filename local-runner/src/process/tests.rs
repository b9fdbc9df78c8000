//! Real processes. Nothing here sleeps for luck: each step waits for what it expects, with a deadline.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use portcullis_core::pipe::{Pipe, Users, pipe};
use portcullis_core::sorted::SortedMap;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);
/// The longest line that is read.
const LONGEST: usize = 64 << 20;
const SOON: Patience = Patience { closed: Duration::from_millis(50), terminated: Duration::from_millis(50) };

#[tokio::test]
async fn lines_go_in_and_out_in_order() {
    let mut server = shell("cat").await;
    for word in ["one", "two", "three"] {
        server.send(word).await;
        assert_eq!(server.line().await, word);
    }
    server.let_go().await;
}

#[tokio::test]
async fn lines_sent_before_the_pipe_is_let_go_still_arrive() {
    let mut server = shell("read line; cat >/dev/null; echo \"$line\"").await;
    server.send("farewell").await;
    server.let_go_of_the_pipe();
    assert_eq!(server.line().await, "farewell");
    server.gone().await;
}

#[tokio::test]
async fn the_environment_is_the_base_and_what_is_configured() {
    let folder = Folder::new("env");
    let file = format!("{}/seen", folder.path());
    let env = SortedMap::from([("TOKEN".to_owned(), "$HOME `id`".to_owned())]);
    let command = Command { env, ..program("sh", &["-c", "env >\"$0\"", &file]) };
    assert_eq!(launch(SOON, &command).await.end().await, "exited with code 0");

    let seen = std::fs::read_to_string(file).unwrap();
    let mut seen: SortedMap<_, _> = seen.lines().filter_map(|line| line.split_once('=')).collect();
    assert_eq!(seen.remove("TOKEN"), Some("$HOME `id`"), "as it is");
    seen.retain(|key, _| !["PWD", "OLDPWD", "SHLVL", "_"].contains(key));
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "something to be kept out");
    let base = environment::resolve(std::env::vars_os(), &SortedMap::new());
    let base = base.iter().filter_map(|(key, value)| key.to_str().zip(value.to_str()));
    assert_eq!(seen, base.collect());
}

#[tokio::test]
async fn arguments_are_not_read_by_a_shell() {
    let message = "{\"jsonrpc\":\"2.0\",\"method\":\"%s\"}\\n";
    let mut server = launch(SOON, &program("printf", &[message, "$HOME; id", "-x", "`id`"])).await;
    assert_eq!(server.line().await, "$HOME; id");
    assert_eq!(server.line().await, "-x");
    assert_eq!(server.line().await, "`id`");
    assert_eq!(server.end().await, "exited with code 0");
}

#[tokio::test]
async fn runs_in_its_folder_and_finds_a_relative_program_there() {
    let folder = Folder::new("cwd");
    folder.script("server.sh", &format!("#!/bin/sh\n{SAY}\nsay \"$(pwd)\"\n"), 0o755);
    let command = Command { cwd: Some(folder.path()), ..program("./server.sh", &[]) };
    let mut server = launch(SOON, &command).await;
    let shown = server.line().await;
    assert!(shown.ends_with(folder.0.file_name().unwrap().to_str().unwrap()), "{shown}");
}

#[tokio::test]
async fn is_reaped_and_takes_its_group_along() {
    let mut server = shell("sleep 300 & say $$; say $!; exec cat").await;
    let (leader, grandchild) = (server.pid().await, server.pid().await);
    assert!(is_running(grandchild));
    server.let_go().await;
    assert_eq!(waitpid(leader, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD), "no zombie is left");
    eventually(|| !is_running(grandchild)).await;
}

#[tokio::test]
async fn kills_stubborn_members_after_the_leader() {
    let mut server = shell("(trap '' TERM; say up; while :; do sleep 1; done) & say $!; exec cat").await;
    let first = server.line().await;
    let second = server.line().await;
    let grandchild = first.parse().or_else(|_| second.parse()).map(Pid::from_raw).expect("a process id");
    server.let_go().await;
    eventually(|| !is_running(grandchild)).await;
}

#[tokio::test]
async fn asks_with_term_whoever_ignores_the_end_of_its_input() {
    let mut server =
        launch(SOON, &sh("trap 'say asked; exit 0' TERM; say up; while :; do sleep 0.1; done")).await;
    assert_eq!(server.line().await, "up");
    server.let_go_of_the_pipe();
    assert_eq!(server.line().await, "asked");
    server.gone().await;
}

#[tokio::test]
async fn kills_whoever_ignores_term() {
    let mut server = launch(SOON, &sh("trap '' TERM; say $$; while :; do sleep 0.1; done")).await;
    let leader = server.pid().await;
    server.let_go().await;
    assert_eq!(waitpid(leader, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
}

#[tokio::test]
async fn a_process_that_does_not_read_is_let_go_all_the_same() {
    let mut server = launch(SOON, &sh("say up; exec sleep 300")).await;
    assert_eq!(server.line().await, "up");
    for _ in 0..4 {
        server.send(&"x".repeat(1 << 20)).await;
    }
    server.let_go().await;
}

#[tokio::test]
async fn a_process_that_does_not_read_is_not_fed_for_ever() {
    let mut server = launch(SOON, &program("sleep", &["300"])).await;
    for _ in 0..10 {
        server.send(&"x".repeat(8 << 20)).await;
    }
    assert_eq!(server.end().await, "does not read its input");
}

#[tokio::test]
async fn says_how_it_ended() {
    check_end("exit 0", "exited with code 0").await;
    check_end("echo first >&2; echo 'no such token' >&2; echo >&2; exit 3", "exited with code 3").await;
    check_end("kill -KILL $$", "was killed by SIGKILL").await;
    check_end("echo oops >&2; kill -SEGV $$", "was killed by SIGSEGV").await;
    check_end("exec >&-; exec sleep 300", "closed its output").await;
    check_end("printf '\\033[2Jgone' >&2; exit 1", "exited with code 1").await;
}

#[tokio::test]
async fn what_it_wrote_last_is_received_before_its_end() {
    let mut server = launch(SOON, &sh("say one; say two | tr -d '\\n'; exit 4")).await;
    assert_eq!(server.line().await, "one");
    assert_eq!(server.line().await, "two");
    assert_eq!(server.end().await, "exited with code 4");
}

#[tokio::test]
async fn a_line_without_end_ends_the_process() {
    let mut server = launch(SOON, &sh("yes x | tr -d '\\n'")).await;
    assert_eq!(server.end().await, "sent a line of more than 67108864 bytes (`gateway.limits.message`)");
}

#[tokio::test]
async fn a_large_line_is_received_whole() {
    let script = "say \"$(head -c 20000000 /dev/zero | tr '\\0' x)\"; say next; exec cat";
    let mut server = launch(SOON, &sh(script)).await;
    assert_eq!(server.line().await.len(), 20_000_000);
    assert_eq!(server.line().await, "next");
}

#[tokio::test]
async fn logs_standard_error() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let script =
        "echo 'ready to go' >&2; printf 'a\\rFAKE\\033[2J\\n' >&2; head -c 10000 /dev/zero | tr '\\0' x >&2";
    launch(SOON, &sh(script)).await.end().await;
    drop(guard);
    let log = log.text();
    assert!(log.contains("INFO upstream: ready to go server=time"), "{log}");
    assert!(log.contains("a\\u{d}FAKE\\u{1b}[2J"), "{log}");
    assert!(log.contains(&format!(" {}... server", "x".repeat(4096))), "{log}");
    assert!(!log.contains('\r') && !log.contains('\x1b'));
}

#[tokio::test]
async fn says_why_it_could_not_be_started() {
    let folder = Folder::new("refused");
    folder.script("plain", "text", 0o644);
    folder.script("orphan", "#!/no/such/interpreter\n", 0o755);
    let path = |name: &str| format!("{}/{name}", folder.path());
    let named = |program: String| Command { program, ..Command::default() };

    refused(&named("no-such-program".into()), "the program \"no-such-program\" is in no folder of PATH; install it, give its full path, or set PATH in its env").await;
    refused(&named("/no/such/program".into()), "there is no program \"/no/such/program\"").await;
    refused(&named(path("plain")), &format!("{:?} may not be executed (permission denied)", path("plain")))
        .await;
    refused(
        &named(path("orphan")),
        &format!("the interpreter that {:?} names in its first line was not found", path("orphan")),
    )
    .await;
    refused(&named(String::new()), "no program is configured").await;
    refused(&program("cat", &["a\0b"]), "its command contains a NUL byte").await;
    let nowhere = Command { cwd: Some("/no/such/folder".into()), ..program("cat", &[]) };
    refused(&nowhere, "its working folder \"/no/such/folder\" cannot be used: it does not exist").await;
    let file = Command { cwd: Some(path("plain")), ..program("cat", &[]) };
    refused(&file, &format!("its working folder {:?} is not a folder", path("plain"))).await;
}

#[tokio::test]
async fn the_configured_path_finds_the_program() {
    let folder = Folder::new("path");
    folder.script("only-here", &format!("#!/bin/sh\n{SAY}\nsay found\n"), 0o755);
    let env = SortedMap::from([("PATH".to_owned(), format!("{}:/usr/bin:/bin", folder.path()))]);
    let mut server = launch(SOON, &Command { env, ..program("only-here", &[]) }).await;
    assert_eq!(server.line().await, "found");
}

#[tokio::test]
async fn stop_all_waits_until_all_have_gone_and_admits_no_more() {
    let processes = Processes::with_patience(SOON);
    let mut servers = Vec::new();
    for script in ["cat", "trap '' TERM; say $$; while :; do sleep 0.1; done", "sleep 300"] {
        servers.push(launch_in(&processes, &sh(script)).await);
    }
    processes.stop_all(DEADLINE).await;
    assert_eq!(processes.phase.receiver_count(), 0);
    for server in &mut servers {
        assert_eq!(server.end().await, "was stopped");
    }
    let (_pipe, end, _unasked) = pipe("time", Users::Many);
    let refused = processes.launch(&name(), &program("cat", &[]), end, LONGEST).await;
    assert_eq!(refused.unwrap_err().message, "is not started while the gateway stops");
}

#[tokio::test]
async fn stop_all_kills_at_the_deadline() {
    let processes = Processes::with_patience(Patience { closed: 10 * DEADLINE, terminated: 10 * DEADLINE });
    let mut server = launch_in(&processes, &sh("trap '' TERM; say $$; while :; do sleep 0.1; done")).await;
    let leader = server.pid().await;
    let began = Instant::now();
    processes.stop_all(Duration::from_millis(50)).await;
    assert!(began.elapsed() < DEADLINE);
    assert_eq!(processes.phase.receiver_count(), 0);
    assert_eq!(waitpid(leader, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
}

#[tokio::test]
async fn stop_all_returns_at_once_where_nothing_runs() {
    tokio::time::timeout(DEADLINE, Processes::default().stop_all(10 * DEADLINE)).await.expect("at once");
}

#[test]
fn an_abandoned_group_is_killed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (server, grandchild) = runtime.block_on(async {
        let mut server = shell("sleep 300 & say $!; exec cat").await;
        let grandchild = server.pid().await;
        (server, grandchild)
    });
    drop(runtime);
    let began = Instant::now();
    while is_running(grandchild) {
        assert!(began.elapsed() < DEADLINE, "still running");
        std::thread::yield_now();
    }
    drop(server);
}

/// How a script sends a message that no request asked for.
const SAY: &str = r#"say() { printf '{"jsonrpc":"2.0","method":"%s"}\n' "$1"; }"#;

/// The gateway's side of a running process.
struct Server {
    pipe: Option<Pipe>,
    unasked: UnboundedReceiver<Bytes>,
    _processes: Processes,
}

impl Server {
    async fn send(&self, word: &str) {
        let pipe = self.pipe.as_ref().expect("not let go");
        pipe.send(format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{word}\"}}")).await.expect("sent");
    }

    /// Waits for what the process says next; nothing once it has gone.
    async fn next(&mut self) -> Option<String> {
        let line = tokio::time::timeout(DEADLINE, self.unasked.next()).await.expect("in time")?;
        let message: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        message["method"].as_str().map(str::to_owned)
    }

    async fn line(&mut self) -> String {
        let line = self.next().await;
        line.unwrap_or_else(|| panic!("gone: {:?}", self.pipe.as_ref().and_then(Pipe::closed)))
    }

    async fn pid(&mut self) -> Pid {
        Pid::from_raw(self.line().await.parse().expect("a process id"))
    }

    async fn gone(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Waits for the end of a process that is still needed.
    async fn end(&mut self) -> String {
        self.gone().await;
        self.pipe.as_ref().and_then(Pipe::closed).expect("a reason")
    }

    fn let_go_of_the_pipe(&mut self) {
        self.pipe = None;
    }

    async fn let_go(&mut self) {
        self.let_go_of_the_pipe();
        self.gone().await;
    }
}

async fn shell(script: &str) -> Server {
    launch(Patience::default(), &sh(script)).await
}

async fn launch(patience: Patience, command: &Command) -> Server {
    launch_in(&Processes::with_patience(patience), command).await
}

async fn launch_in(processes: &Processes, command: &Command) -> Server {
    let (pipe, end, unasked) = pipe("time", Users::Many);
    processes.launch(&name(), command, end, LONGEST).await.expect("starts");
    Server { pipe: Some(pipe), unasked, _processes: processes.clone() }
}

async fn check_end(script: &str, expected: &str) {
    assert_eq!(launch(SOON, &sh(script)).await.end().await, expected, "{script}");
}

async fn refused(command: &Command, expected: &str) {
    let (_pipe, end, _unasked) = pipe("time", Users::Many);
    let error = Processes::default().launch(&name(), command, end, LONGEST).await.unwrap_err();
    assert_eq!(error.to_string(), format!("server \"time\" could not be started: {expected}"));
}

fn name() -> ServerName {
    ServerName::parse("time").expect("valid")
}

fn sh(script: &str) -> Command {
    program("sh", &["-c", &format!("{SAY}\n{script}")])
}

fn program(program: &str, args: &[&str]) -> Command {
    Command {
        program: program.to_owned(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        ..Command::default()
    }
}

async fn eventually(holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("in time");
}

/// Whether a process exists and is no zombie: where nobody reaps orphans, they stay.
fn is_running(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
    kill(pid, None).is_ok() && !zombie
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("portcullis-process-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn path(&self) -> String {
        self.0.to_str().expect("UTF-8").to_owned()
    }

    /// Written by another process: a file this one has open for writing, inherited by a concurrent fork, cannot run.
    fn script(&self, name: &str, text: &str, mode: u32) {
        let path = self.0.join(name);
        let mut child = std::process::Command::new("sh")
            .args(["-c", "cat > \"$0\"", path.to_str().expect("UTF-8")])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("sh");
        child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
        child.wait().expect("sh");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("permissions");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("UTF-8")
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
