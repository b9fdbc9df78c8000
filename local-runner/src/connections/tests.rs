//! The store, several gateways on one database, and processes of which one is killed at the wrong moment.
//!
//! A process is this program again, running the one test that is the life of such a process. It asks its provider, which is
//! the test that started it, on its standard output, and hears the answer on its standard input.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use futures::future;
use portcullis_core::body::Whole;
use portcullis_core::config::{self, Config};
use portcullis_core::error::Unreachable;
use portcullis_core::names::ServerName;
use portcullis_core::oauth::connection::{Granted, Outcome, Standing, Token};
use portcullis_core::pipe::PipeEnd;
use portcullis_core::ports::{
    Background, Chunks, Clock, Entropy, Host, Quotas, Rendezvous, Signatures, Signed, Upstream,
};
use portcullis_core::quota::{Counted, Exhausted, Hold};
use portcullis_core::testing::{Rotating, connection_key, connection_store, gateway_on, refresh_race};
use portcullis_core::{Gateway, SealKeys};

use super::*;
use crate::host::Machine;

/// Says to a process which folder it works in, and how many calls it makes.
const FOLDER: &str = "PORTCULLIS_TEST_CONNECTIONS";
const CALLS: &str = "PORTCULLIS_TEST_CALLS";
/// What a process says begins so.
const SAYS: &str = "the process ";

/// A data folder of its own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("portcullis-connections-{name}-{}", std::process::id())))
    }

    /// Returns a gateway as another process has it.
    fn gateway(&self) -> Gateway<Machine> {
        gateway_on(machine(&self.0), Config::default())
    }

    /// Returns one by whose clock so much time has passed.
    fn later(&self, millis: u64) -> Gateway<Ahead> {
        gateway_on(Ahead(machine(&self.0), millis), Config::default())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn machine(folder: &Path) -> Machine {
    Machine::new().holding(folder, &SealKeys { first: [7; 32], others: Vec::new() })
}

#[tokio::test]
async fn the_database_keeps_what_stores_of_connections_have_to_keep() {
    let folder = Folder::new("suite");
    connection_store(&Connections::new(&folder.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_gateways_on_one_database_one_refreshes() {
    let folder = Folder::new("race");
    refresh_race(&[folder.gateway(), folder.gateway(), folder.gateway()], "ana").await;
}

#[tokio::test]
async fn the_database_shows_no_token() {
    let folder = Folder::new("sealed");
    folder
        .gateway()
        .connect(&connection_key("ana", "tickets"), &Rotating::default().consent(1))
        .await
        .unwrap();
    let files = fs::read_dir(&folder.0).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap());
    let text = files.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect::<String>();
    assert!(text.contains("https://tickets.test/mcp"));
    assert!(!text.contains("access 1") && !text.contains("refresh 1"));
}

/// The life of a process: so many calls at once. Alone, it makes one, of a provider of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_calls() {
    let Ok(folder) = std::env::var(FOLDER) else {
        let (folder, provider) = (Folder::new("alone"), Rotating::default());
        let (gateway, key) = (folder.gateway(), connection_key("ana", "tickets"));
        gateway.connect(&key, &provider.consent(0)).await.unwrap();
        let refresh = move |token: Token| future::ready(provider.refresh(&token, 60));
        assert_eq!(gateway.access_token(&key, None, refresh).await.unwrap().reveal(), "access 2");
        return;
    };
    let gateway = gateway_on(machine(Path::new(&folder)), Config::default());
    let calls: usize = std::env::var(CALLS).unwrap().parse().unwrap();
    let (gateway, key) = (&gateway, &connection_key("ana", "tickets"));
    println!("\n{SAYS}calls");
    let outcomes = future::join_all((0..calls).map(|_| gateway.access_token(key, None, ask_parent))).await;
    for outcome in outcomes {
        println!(
            "\n{SAYS}got {}",
            outcome.map_or_else(|no| no.to_string(), |token| token.reveal().to_owned())
        );
    }
}

async fn ask_parent(token: Token) -> Outcome {
    println!("\n{SAYS}asks with {}", token.reveal());
    let line = || std::io::stdin().lines().next().expect("an answer").expect("text");
    let answer = tokio::task::spawn_blocking(line).await.unwrap();
    let (access, refresh) = answer.split_once(',').expect("two tokens");
    println!("\n{SAYS}has its answer");
    if refresh.ends_with('!') {
        // As slow as it takes to be killed here.
        return future::pending().await;
    }
    let token = |text: &str| Token::new(text.to_owned()).unwrap();
    let (access, refresh) = (token(access), Some(token(refresh)));
    Outcome::Granted(Granted { access, refresh, lifetime: Some(3600), scopes: None })
}

/// A process that calls, as its provider sees it.
struct Caller {
    process: Child,
    input: ChildStdin,
    says: Receiver<String>,
}

impl Caller {
    fn start(folder: &Folder, calls: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "connections::tests::a_process_calls", "--nocapture"]);
        command.env(FOLDER, &folder.0).env(CALLS, calls.to_string());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (say, says) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(said) = line.strip_prefix(SAYS) {
                    let _ = say.send(said.to_owned());
                }
            }
        });
        Self { process, input, says }
    }

    fn hears(&self) -> String {
        self.says.recv_timeout(Duration::from_mins(1)).expect("the process says something")
    }

    fn answer(&mut self, provider: &Rotating, said: &str, ending: &str) {
        let presented = Token::new(said.strip_prefix("asks with ").expect(said).to_owned()).unwrap();
        let Outcome::Granted(granted) = provider.refresh(&presented, 3600) else { panic!("{said}") };
        let refresh = granted.refresh.unwrap();
        writeln!(self.input, "{},{}{ending}", granted.access.reveal(), refresh.reveal()).unwrap();
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn of_fifty_calls_in_two_processes_one_refreshes() {
    let (folder, provider, runtime) = (Folder::new("processes"), Rotating::default(), runtime());
    let key = connection_key("ana", "tickets");
    runtime.block_on(async { folder.gateway().connect(&key, &provider.consent(0)).await }).unwrap();
    let mut callers = [Caller::start(&folder, 25), Caller::start(&folder, 25)];
    for caller in &callers {
        assert_eq!(caller.hears(), "calls");
    }
    let (first, said) = loop {
        let said = |at: usize| callers[at].says.try_recv().ok().map(|said| (at, said));
        if let Some(found) = said(0).or_else(|| said(1)) {
            break found;
        }
        std::thread::yield_now();
    };
    callers[first].answer(&provider, &said, "");
    assert_eq!(callers[first].hears(), "has its answer");
    for caller in &callers {
        for _ in 0..25 {
            assert_eq!(caller.hears(), "got access 2");
        }
    }
    assert_eq!(provider.asked(), 1);
    callers.into_iter().for_each(Caller::kill);
}

/// Kills a process that refreshes once it has said so much; returns what comes of the next call, half a minute later, and
/// the provider.
fn after_a_kill(name: &str, at: &str) -> (String, Rotating) {
    let (folder, provider, runtime) = (Folder::new(name), Rotating::default(), runtime());
    let key = connection_key("ana", "tickets");
    runtime.block_on(async { folder.gateway().connect(&key, &provider.consent(0)).await }).unwrap();
    let mut caller = Caller::start(&folder, 1);
    assert_eq!(caller.hears(), "calls");
    let said = caller.hears();
    assert_eq!(said, "asks with refresh 1");
    if said != at {
        caller.answer(&provider, &said, "!");
        assert_eq!(caller.hears(), at);
    }
    caller.kill();
    runtime.block_on(async {
        let later = folder.later(30_000);
        let standing = later.connections(None).await.unwrap().remove(0).standing;
        assert_eq!(standing, Standing::Refreshing, "it was killed in the middle");
        let asked = provider.clone();
        let refresh = move |token: Token| future::ready(asked.refresh(&token, 3600));
        let outcome = later.access_token(&key, None, refresh.clone()).await;
        if outcome.is_err() {
            later.connect(&key, &provider.consent(3600)).await.unwrap();
            let anew = later.access_token(&key, None, refresh).await.unwrap();
            assert!(anew.reveal().starts_with("access"), "a consent makes it good");
        }
        (outcome.map_or_else(|no| no.to_string(), |token| token.reveal().to_owned()), provider)
    })
}

#[test]
fn a_process_that_is_killed_before_its_provider_answers_costs_nothing() {
    let (outcome, provider) = after_a_kill("before", "asks with refresh 1");
    assert_eq!((outcome.as_str(), provider.asked()), ("access 2", 1));
}

#[test]
fn a_process_that_is_killed_before_it_writes_the_answer_costs_a_consent() {
    let (outcome, provider) = after_a_kill("after", "has its answer");
    assert_eq!(outcome, "the provider says that the connection no longer counts");
    assert_eq!(provider.asked(), 2, "once by each");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// A machine whose clock is ahead.
#[derive(Clone)]
struct Ahead(Machine, u64);

impl Clock for Ahead {
    fn now(&self) -> u64 {
        self.0.now() + self.1
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        self.0.sleep(duration)
    }
}

impl Entropy for Ahead {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.fill(buffer);
    }
}

impl Upstream for Ahead {
    async fn fetch(&self, request: http::Request<Whole>) -> Result<http::Response<Chunks>, Unreachable> {
        self.0.fetch(request).await
    }

    async fn launch(
        &self,
        server: &ServerName,
        command: &config::Command,
        end: PipeEnd,
        longest: usize,
    ) -> Result<(), Unreachable> {
        self.0.launch(server, command, end, longest).await
    }
}

impl Signatures for Ahead {
    async fn verifies(&self, signed: &Signed<'_>) -> bool {
        self.0.verifies(signed).await
    }
}

impl Background for Ahead {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(work);
    }
}

impl Rendezvous for Ahead {
    fn meet(&self, place: u64) -> impl Future<Output = Bytes> + Send {
        self.0.meet(place)
    }

    async fn deliver(&self, place: u64, message: Bytes) -> bool {
        self.0.deliver(place, message).await
    }
}

impl Quotas for Ahead {
    async fn take(&self, counted: &[Counted], now: u64) -> Result<Hold, Exhausted> {
        self.0.take(counted, now).await
    }
}

impl Host for Ahead {
    fn connections(&self) -> Option<&Arc<dyn ConnectionStore>> {
        self.0.connections()
    }
}
