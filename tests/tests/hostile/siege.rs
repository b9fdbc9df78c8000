//! One gateway before a decent server and any number of hostile ones, and what must hold whatever they do.

use std::fmt::Write as _;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Host, Readiness};
use portcullis_tests::hostile::{Done, Exchange, Holdings, Hostile, expect_released};
use portcullis_tests::http::Request;
use portcullis_tests::scenario::{fixture, text};
use portcullis_tests::wait;
use serde_json::{Value, json};

/// What a decent server's answer may take beside hostile ones, and the hostile one's error: far above the timeout, far
/// below what waiting for ever looks like.
const SOON: Duration = wait::PATIENCE;
/// How much memory, in MiB, may stay behind.
const MEMORY: u64 = 30;
/// How much memory WebAssembly may ever have had in an isolate, in MiB, of the 128 that the platform gives it.
const ISOLATE: u64 = 100;
/// How many lines the gateway may log for one call.
const LINES: usize = 12;

/// What a call of a hostile server's tool must come to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// An error that names the server and has these words.
    Fails(&'static str),
    /// The tool's own answer.
    Fine,
}

/// A hostile server: its name, what it does about a call, and what must come of it.
pub(crate) type Case = (&'static str, fn(&mut Exchange) -> std::io::Result<Done>, Outcome);

/// A gateway under siege.
pub(crate) struct Siege {
    pub(crate) gateway: Gateway,
    before: Holdings,
    /// How many calls of hostile servers have been made.
    pub(crate) calls: usize,
}

impl Siege {
    /// A gateway before a decent server, and hostile ones as YAML: `NAME: { url: ... }`.
    pub(crate) fn begin(hostile: &[(String, String)]) -> Self {
        Self::begin_with("{}", hostile)
    }

    /// The same with settings of the gateway, as YAML.
    pub(crate) fn begin_with(settings: &str, hostile: &[(String, String)]) -> Self {
        let good = fixture(&[]);
        let mut config = format!("version: 1\ngateway: {settings}\nservers:\n  good: {good}\n");
        for (name, settings) in hostile {
            let _ = writeln!(config, "  {name}: {settings}");
        }
        let mut gateway =
            Gateway::with(&config).of_worker("measured", json!(true)).until(Readiness::Listening).start();
        for agent in [Agent::modern(gateway.url()), Agent::legacy(gateway.url())] {
            wait::expect("the decent server's tools", || agent.tools().contains(&"good__echo".to_owned()));
            agent.call("good__echo", &json!({}));
        }
        let before = Holdings::of(&mut gateway);
        Self { gateway, before, calls: 0 }
    }

    /// Waits until the tool of a hostile server is listed.
    pub(crate) fn await_tool(&self, tool: &str) {
        let agent = Agent::modern(self.gateway.url());
        wait::expect(tool, || agent.tools().iter().any(|listed| listed == tool));
    }

    /// Waits until a server is down, and returns why.
    pub(crate) fn await_reason(&self, server: &str) -> String {
        let url = self.gateway.url_of("/readyz");
        let reason = wait::until(wait::PATIENCE, || {
            let ready = Request::get(&url).send().json();
            ready["servers"][server]["reason"].as_str().map(str::to_owned)
        });
        reason.unwrap_or_else(|| panic!("{server} is not down"))
    }

    /// Runs attacks, each on a thread of its own, while the decent server has to answer.
    pub(crate) fn endure<T: Send + 'static>(
        &mut self,
        attacks: Vec<impl FnOnce() -> T + Send + 'static>,
    ) -> Vec<T> {
        self.calls += attacks.len();
        let running: Vec<_> = attacks.into_iter().map(thread::spawn).collect();
        let agents = [Agent::modern(self.gateway.url()), Agent::legacy(self.gateway.url())];
        loop {
            let over = running.iter().all(thread::JoinHandle::is_finished);
            for agent in &agents {
                let began = Instant::now();
                assert_eq!(text(&agent.call("good__echo", &json!({ "n": 1 }))), r#"{"n":1}"#);
                assert!(began.elapsed() < SOON, "a decent server's answer took {:?}", began.elapsed());
            }
            if over {
                break;
            }
        }
        running
            .into_iter()
            .map(|attack| attack.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    }

    /// Says what must hold in the end.
    pub(crate) fn end(self) {
        self.end_with(MEMORY);
    }

    /// The same where `memory` MiB may stay behind.
    pub(crate) fn end_with(mut self, memory: u64) {
        let agent = Agent::modern(self.gateway.url());
        assert!(agent.tools().contains(&"good__echo".to_owned()), "the decent server's tools are listed");
        let ready = Request::get(&self.gateway.url_of("/readyz")).send().json();
        assert_eq!(ready["servers"]["good"]["status"], "up", "{ready}");
        expect_released(&mut self.gateway, self.before, memory);
        if Host::chosen() == Host::Edge {
            let most = Request::get(&self.gateway.url_of("/memory")).send().json().as_u64();
            assert!(most.is_some_and(|most| most >> 20 <= ISOLATE), "WebAssembly had {most:?} bytes");
        }
        let log = self.gateway.log();
        assert!(!log.contains("panicked"), "{log}");
        // What subprocesses say is bounded by itself.
        let lines = log.lines().filter(|line| !line.contains(r#""target":"upstream""#)).count();
        assert!(lines < 60 + self.calls * LINES, "{lines} lines for {} calls:\n{log}", self.calls);
    }
}

/// Lets agents of both eras call each hostile server of either era, several times.
pub(crate) fn besiege(cases: &[Case]) {
    besiege_with("{}", MEMORY, cases);
}

/// The same with settings of the gateway, as YAML, and where `memory` MiB may stay behind.
pub(crate) fn besiege_with(gateway: &str, memory: u64, cases: &[Case]) {
    let mut servers = Vec::new();
    for (name, script, outcome) in cases {
        for (era, start) in [("new", Hostile::modern as fn(_) -> _), ("old", Hostile::legacy as fn(_) -> _)] {
            servers.push((format!("{name}-{era}"), at_calls(start, *script), *outcome));
        }
    }
    let settings: Vec<_> = servers
        .iter()
        .map(|(name, server, outcome)| {
            let settings = match outcome {
                Outcome::Fails(words) if words.is_empty() || words.contains("did not answer") => {
                    within("1s", &server.url())
                }
                Outcome::Fails(_) | Outcome::Fine => reached(&server.url()),
            };
            (name.clone(), settings)
        })
        .collect();
    let mut siege = Siege::begin_with(gateway, &settings);
    let tools: Vec<_> = servers.iter().map(|(name, ..)| format!("{name}__x")).collect();
    for tool in &tools {
        siege.await_tool(tool);
    }
    let url: Arc<str> = siege.gateway.url().into();
    for _ in 0..2 {
        let attacks = servers.iter().map(|(name, _, outcome)| {
            let (url, name, outcome) = (Arc::clone(&url), name.clone(), *outcome);
            move || {
                for agent in [Agent::modern(&url), Agent::legacy(&url)] {
                    judge(&agent, &name, outcome);
                }
            }
        });
        siege.endure(attacks.collect());
    }
    siege.end_with(memory);
}

/// What a hostile server does about a request.
type Script = Box<dyn Fn(&mut Exchange) -> std::io::Result<Done> + Send + Sync>;

/// A server that follows `script` where a tool is called.
fn at_calls(start: fn(Script) -> Hostile, script: fn(&mut Exchange) -> std::io::Result<Done>) -> Hostile {
    start(Box::new(move |exchange| if exchange.is_call() { script(exchange) } else { Ok(Done::Behave) }))
}

/// The settings of a server at this URL that answers in the end, however busy the machine is.
pub(crate) fn reached(url: &str) -> String {
    within("30s", url)
}

/// The settings of a server at this URL that has so long for an answer.
pub(crate) fn within(timeout: &str, url: &str) -> String {
    format!("{{ url: '{url}', timeout: {timeout} }}")
}

/// Calls a hostile server's tool; panics unless that comes to what it must.
pub(crate) fn judge(agent: &Agent, name: &str, outcome: Outcome) {
    let began = Instant::now();
    let answer = agent.ask("tools/call", json!({ "name": format!("{name}__x"), "arguments": {} }));
    assert!(began.elapsed() < SOON, "{name}: {:?}", began.elapsed());
    match outcome {
        Outcome::Fine => {
            assert!(answer.get("result").is_some(), "{name}: {}", shown(&answer));
            assert_eq!(text(&answer["result"]), "fine", "{name}: {}", shown(&answer));
        }
        Outcome::Fails(words) => {
            let said =
                answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{name}: {}", shown(&answer)));
            assert!(said.contains(&format!("{name:?}")) && said.contains(words), "{name}: {said}");
            assert!(said.len() < 2000, "{name} makes an error of {} bytes", said.len());
        }
    }
}

fn shown(answer: &Value) -> String {
    answer.to_string().chars().take(500).collect()
}
