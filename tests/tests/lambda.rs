//! The function behind what stands for its platform: environments that freeze, end and answer in turn, answers that stream
//! or come whole, and time that is over.

use std::fs;
use std::sync::{Arc, Mutex, OnceLock};

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::aws::{Emulator, Fault, Flaky};
use portcullis_tests::gateway::{Builder, Gateway, Host, Readiness};
use portcullis_tests::http::{Request, Response};
use portcullis_tests::scenario;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait;
use serde_json::{Value, json};

/// A function before a fixture server of this era; its environments share nothing.
fn alone(era: &str) -> (Builder, Upstream) {
    let upstream = Upstream::fixture(&["--era", era]);
    let config = format!("version: 1\nservers:\n  s: {{ url: '{}' }}\n", upstream.url());
    (Gateway::with(&config).on(Host::Lambda).sharing(""), upstream)
}

/// What the platform tells of the function's environments.
fn environments(gateway: &Gateway) -> Vec<Value> {
    let told = Request::get(&gateway.url_of("/.function/environments")).send().json();
    told.as_array().expect("a list").clone()
}

fn kill_all(gateway: &Gateway) {
    Request::post(&gateway.url_of("/.function/kill")).send();
}

/// Waits until every environment is stopped, and the kernel says so too.
fn await_freeze(gateway: &Gateway) {
    let is_stopped = |environment: &Value| {
        let status = fs::read_to_string(format!("/proc/{}/status", environment["process"]));
        environment["stopped"] == true && status.is_ok_and(|status| status.contains("State:\tT"))
    };
    wait::expect("all environments to be frozen", || environments(gateway).iter().all(is_stopped));
}

fn listen(gateway: &Gateway) -> Response {
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    Agent::modern(gateway.url()).post("subscriptions/listen", wanted).send()
}

/// A call that says that it has begun, and then nothing for so long.
fn sleep(agent: &Agent, ms: u64) -> Response {
    let params = json!({ "name": "s__sleep", "arguments": { "ms": ms }, "_meta": { "progressToken": "p" } });
    agent.post("tools/call", params).send()
}

#[test]
fn an_environment_is_frozen_between_requests_and_goes_on() {
    let (function, _upstream) = alone("modern");
    let gateway = function.start();
    let agent = Agent::modern(gateway.url());
    for number in 0..3 {
        await_freeze(&gateway);
        assert_eq!(
            agent.call("s__echo", &json!({ "n": number }))["structuredContent"],
            json!({ "n": number })
        );
    }
    let [only] = &environments(&gateway)[..] else { panic!("{:?}", environments(&gateway)) };
    assert_eq!(only["extension"], true);
}

#[test]
fn requests_at_the_same_time_are_answered_by_as_many_environments() {
    let (function, _upstream) = alone("modern");
    let gateway = function.start();
    let listening: Vec<_> = (0..3).map(|_| listen(&gateway)).collect();
    assert!(Agent::modern(gateway.url()).tools().contains(&"s__echo".to_owned()));
    assert!(environments(&gateway).len() >= 4, "{:?}", environments(&gateway));
    drop(listening);
}

#[test]
fn two_environments_serve_one_client_in_turn() {
    let (function, _upstream) = alone("legacy");
    let gateway = function.of_function("environments", json!(2)).start();
    let (modern, legacy) = (Agent::modern(gateway.url()), Agent::modern(gateway.url()).handshake(LEGACY));
    for _ in 0..4 {
        assert!(modern.tools().contains(&"s__echo".to_owned()));
        assert_eq!(legacy.call("s__echo", &json!({ "n": 1 }))["structuredContent"], json!({ "n": 1 }));
    }
    let served: Vec<_> = environments(&gateway).iter().map(|told| told["requests"].as_u64()).collect();
    // A third may have been started while one of the two was about to be ready.
    let turns = served.iter().filter(|count| count.is_some_and(|count| count > 1)).count();
    assert!(turns >= 2, "{served:?}");
}

#[test]
fn what_dies_between_two_requests_is_missed_by_nobody() {
    let (function, _upstream) = alone("legacy");
    let gateway = function.start();
    let (modern, legacy) = (Agent::modern(gateway.url()), Agent::modern(gateway.url()).handshake(LEGACY));
    for _ in 0..2 {
        kill_all(&gateway);
        assert!(modern.tools().contains(&"s__echo".to_owned()));
        kill_all(&gateway);
        assert_eq!(legacy.call("s__echo", &json!({ "n": 1 }))["structuredContent"], json!({ "n": 1 }));
    }
}

#[test]
fn who_listens_hears_a_graceful_end_before_the_functions_time_is_over() {
    let (function, _upstream) = alone("modern");
    let gateway = function.of_function("timeout", json!(6000)).start();
    let messages = listen(&gateway).messages();
    let last = messages.last().expect("a graceful end");
    assert_eq!(last["result"]["resultType"], "complete", "{messages:?}");
    assert!(!gateway.log().contains("timed out"), "{}", gateway.log());
    await_freeze(&gateway);
}

#[test]
fn a_call_that_is_not_answered_in_time_ends_with_an_error() {
    let (function, _upstream) = alone("modern");
    let gateway = function.of_function("timeout", json!(6000)).start();
    let agent = Agent::modern(gateway.url());
    let late = agent.post("tools/call", json!({ "name": "s__sleep", "arguments": { "ms": 60_000 } })).send();
    assert_eq!(late.status, 504);
    assert!(late.text().contains("ends the request"));
    let streaming = sleep(&agent, 60_000);
    assert!(streaming.is_stream());
    let messages = streaming.messages();
    let last = messages.last().expect("an end");
    assert!(
        last["error"]["message"].as_str().is_some_and(|why| why.contains("ends the request")),
        "{messages:?}"
    );
    assert!(!gateway.log().contains("timed out"), "{}", gateway.log());
}

#[test]
fn a_crash_in_the_middle_of_an_answer_is_no_clean_end() {
    let (function, _upstream) = alone("modern");
    let gateway = function.start();
    let streaming = sleep(&Agent::modern(gateway.url()), 60_000);
    assert!(streaming.is_stream());
    kill_all(&gateway);
    assert!(streaming.try_text().is_err(), "it broke off");
    assert!(Agent::modern(gateway.url()).tools().contains(&"s__echo".to_owned()));
}

#[test]
fn where_answers_come_whole_nothing_that_streams_is_offered() {
    let (function, _upstream) = alone("modern");
    let gateway = function.of_function("front", json!("http-api")).start();
    let agent = Agent::modern(gateway.url());
    let capabilities = &agent.result("server/discover", json!({}))["capabilities"];
    assert_eq!(capabilities["tools"], json!({}), "{capabilities}");
    let answer = sleep(&agent, 1);
    assert!(!answer.is_stream() && answer.status == 200);
    assert!(answer.json()["result"]["content"].is_array());
    assert_eq!(listen(&gateway).status, 404);
    let session = agent.handshake(LEGACY);
    let id = session.session().expect("a session").to_owned();
    let stream =
        Request::get(gateway.url()).header("Accept", "text/event-stream").header("Mcp-Session-Id", &id);
    assert_eq!(stream.send().status, 405);
    assert!(session.tools().contains(&"s__echo".to_owned()));
}

#[test]
fn a_large_answer_streams_and_comes_whole_as_well() {
    for (front, largest) in [("url", 8 << 20), ("http-api", 2 << 20)] {
        let (function, _upstream) = alone("modern");
        let gateway = function.of_function("front", json!(front)).start();
        let text = "x".repeat(largest / 4);
        let echoed = Agent::modern(gateway.url()).call("s__echo", &json!({ "text": text }));
        assert_eq!(echoed["structuredContent"]["text"].as_str().map(str::len), Some(text.len()), "{front}");
    }
}

#[test]
fn an_environment_answers_several_at_a_time_where_the_platform_has_it_so() {
    let (function, _upstream) = alone("modern");
    let gateway = function.of_function("at_a_time", json!(4)).of_function("extensions", json!(false)).start();
    let listening: Vec<_> = (0..3).map(|_| listen(&gateway)).collect();
    assert!(Agent::modern(gateway.url()).tools().contains(&"s__echo".to_owned()));
    assert_eq!(environments(&gateway).len(), 1, "{:?}", environments(&gateway));
    drop(listening);
}

#[test]
fn without_an_extension_it_says_what_that_means_and_serves() {
    let (function, _upstream) = alone("modern");
    let gateway = function.of_function("extensions", json!(false)).start();
    assert!(Agent::modern(gateway.url()).tools().contains(&"s__echo".to_owned()));
    assert!(gateway.log().contains("there is no extension here"), "{}", gateway.log());
    await_freeze(&gateway);
}

#[test]
fn settings_that_are_wrong_are_reported_to_the_platform() {
    let config = "version: 1\nservers: {}\n";
    let function = Gateway::with(config).on(Host::Lambda).sharing("").env("PORTCULLIS_SEAL_KEY", "x");
    let gateway = function.until(Readiness::Answering).start();
    assert_eq!(Request::get(&gateway.url_of("/healthz")).send().status, 502);
    assert!(gateway.log().contains("expected base64 of 32 bytes"), "{}", gateway.log());
}

#[test]
fn a_configuration_that_cannot_be_served_is_told_to_whoever_asks() {
    let function = Gateway::with("version: 1\nservers: []\n").on(Host::Lambda).sharing("");
    let gateway = function.until(Readiness::Answering).start();
    let answer = Request::get(&gateway.url_of("/healthz")).send();
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("portcullis.yaml"));
}

/// How many requests an agent has in a day, where its environment is killed.
const DAILY: usize = 8;
const ADMIN_KEY: &str = "the admin's key";
/// A tool that asks a question, and goes on by a state that is good once.
const ASKS: &str = "s__test_input_required_result_request_state";

/// Kills all environments at one request to the table.
#[derive(Debug, Clone, Default)]
struct Killer {
    /// How many requests come before that one; nothing where nobody is to be killed.
    left: Arc<Mutex<Option<usize>>>,
    gateway: Arc<OnceLock<String>>,
}

impl Killer {
    /// Stands before the table, which has done the last request, or has not.
    fn before_the_table(&self, last: Fault) -> Flaky {
        let killer = self.clone();
        Flaky::before(Emulator::shared(), move |_| {
            let mut left = killer.left.lock().expect("nobody has failed");
            match left.as_mut() {
                Some(0) => {
                    Request::post(killer.gateway.get().expect("it runs")).send();
                    *left = None;
                    last.clone()
                }
                Some(left) => {
                    *left -= 1;
                    Fault::None
                }
                None => Fault::None,
            }
        })
    }

    fn kill_at(&self, number: usize) {
        *self.left.lock().expect("nobody has failed") = Some(number);
    }

    fn has_killed(&self) -> bool {
        self.left.lock().expect("nobody has failed").is_none()
    }
}

/// What became of a call whose environment was killed.
#[derive(Debug, PartialEq)]
struct Outcome {
    was_killed: bool,
    /// Its agent was answered.
    answered: bool,
    /// Its agent, who asked again, was answered then.
    answered_again: bool,
    /// How often the server went on.
    executed: usize,
    /// How many entries the trail has of it, and of what came after.
    recorded: usize,
}

/// Goes on with a call that has asked a question, has its environment killed at that request to the table, and asks again.
fn killed_at(number: usize, last: Fault) -> Outcome {
    let (folder, killer) = (toolbox::scratch(), Killer::default());
    let table = killer.before_the_table(last);
    let record = folder.path().join("record");
    let upstream = Upstream::fixture(&["--era", "modern", "--record", &record.display().to_string()]);
    let limited = json!({ "allow": ["*"], "limits": { "daily": DAILY } });
    let servers = json!({ "s": { "url": upstream.url() } });
    let config = json!({ "version": 1, "servers": servers, "agents": { "default": limited } });
    let function = Gateway::with(&config.to_string()).on(Host::Lambda).env("AWS_ENDPOINT_URL", &table.url());
    let gateway = function.env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY).start();
    killer.gateway.set(gateway.url_of("/.function/kill")).expect("it is set once");
    let agent = Agent::modern(gateway.url()).capabilities(json!({ "elicitation": { "form": {} } }));
    let asked = agent.call(ASKS, &json!({}));
    let key = asked["inputRequests"].as_object().and_then(|asked| asked.keys().next()).expect("a question");
    let answers = json!({ key: { "action": "accept", "content": { "ok": true } } });
    let params = json!({ "name": ASKS, "arguments": {}, "requestState": asked["requestState"], "inputResponses": answers });
    await_freeze(&gateway);
    let go_on = || {
        let answer = agent.post("tools/call", params.clone()).try_send();
        answer.is_some_and(|answer| answer.text().contains("state-ok: true"))
    };
    killer.kill_at(number);
    let answered = go_on();
    await_freeze(&gateway);
    let was_killed = killer.has_killed();
    *killer.left.lock().expect("nobody has failed") = None;
    let answered_again = go_on();
    await_freeze(&gateway);
    let is_second = |sent: &Value| !sent["body"]["params"]["inputResponses"].is_null();
    let executed = scenario::received(record).iter().filter(|sent| is_second(sent)).count();
    let used = DAILY - (0..DAILY).take_while(|_| is_admitted(&agent)).count();
    assert!((2..=3).contains(&used), "{used} of three requests are counted");
    await_freeze(&gateway);
    let recorded = calls_on_record(&gateway);
    Outcome { was_killed, answered, answered_again, executed, recorded }
}

fn is_admitted(agent: &Agent) -> bool {
    agent.ask("tools/list", json!({})).get("result").is_some()
}

/// How many calls the trail tells of, after the first; its chains hold.
fn calls_on_record(gateway: &Gateway) -> usize {
    let url = gateway.url_of("");
    let verified = gateway.cli(&["audit", "verify", "--url", &url]);
    assert_eq!(verified.code(), Some(0), "{}{}", verified.stdout, verified.stderr);
    let found = gateway.cli(&["audit", "query", "--json", "--limit", "100", "--url", &url]);
    assert_eq!(found.code(), Some(0), "{}", found.stderr);
    found.stdout.matches("\"method\":\"tools/call\"").count() - 1
}

/// Between any two steps, also between the server's answer and what is written of it.
#[test]
fn a_call_whose_environment_is_killed_at_any_step_is_done_once_at_most() {
    for last in [Fault::Lost, Fault::AnswerLost] {
        let mut outcomes = Vec::new();
        while outcomes.last().is_none_or(|outcome: &Outcome| outcome.was_killed) {
            outcomes.push(killed_at(outcomes.len(), last.clone()));
        }
        for outcome in &outcomes {
            let Outcome { was_killed, answered, answered_again, executed, recorded } = outcome;
            assert!(!(*answered && *answered_again), "a state is good once: {outcome:?}");
            assert_eq!(*executed, usize::from(*answered || *answered_again), "{outcome:?}");
            assert!(*recorded == 2 || (*was_killed && *recorded == 1), "{outcome:?}");
        }
        let is_lost = |outcome: &Outcome| outcome.answered && outcome.recorded == 1;
        assert_eq!(outcomes.iter().any(is_lost), last == Fault::Lost, "{outcomes:?}");
        assert!(outcomes.iter().any(|outcome| outcome.was_killed && outcome.recorded == 2), "{outcomes:?}");
        assert!(outcomes.last().is_some_and(|outcome| outcome.answered), "{outcomes:?}");
    }
}

#[test]
fn each_identity_has_an_environment_of_its_own_where_the_platform_keeps_tenants_apart() {
    let upstream = Upstream::fixture(&["--era", "modern"]);
    let function = || {
        let config = json!({
            "version": 1,
            "gateway": { "isolation": "per-identity" },
            "auth": { "required": true },
            "servers": { "s": { "url": upstream.url() } },
            "agents": { "one": { "allow": ["*"] } },
        });
        Gateway::with(&config.to_string()).on(Host::Lambda).env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY)
    };
    let key = |gateway: &Gateway| {
        let made = gateway.cli(&["keys", "create", "--json", "--agent", "one"]);
        let made: Value = serde_json::from_str(&made.stdout).expect("a key");
        made["key"].as_str().expect("a key").to_owned()
    };
    let listed = |gateway: &Gateway, (key, tenant): (&str, &str)| {
        let agent = Agent::modern(gateway.url()).bearer(key).header("x-tenant", tenant);
        let response = agent.post("tools/list", json!({})).send();
        (response.status, response.text())
    };
    let apart = function().of_function("tenant", json!("x-tenant")).start();
    let (one, two) = (key(&apart), key(&apart));
    for (key, tenant) in [(&one, "a"), (&two, "b"), (&one, "a")] {
        let (status, said) = listed(&apart, (key, tenant));
        assert!(status == 200 && said.contains("s__echo"), "{tenant}: {status} {said}");
    }
    // Whoever comes as the tenant that another is finds the other's environment, and is not served by it; nor is anybody from then on.
    for key in [&two, &one] {
        let (status, said) = listed(&apart, (key, "a"));
        assert!(status == 503 && said.contains("a key of API Gateway that is its own"), "{status} {said}");
    }
    assert_eq!(listed(&apart, (&two, "b")).0, 200, "the other tenant's goes on");

    let shared = function().start();
    let (status, said) = listed(&shared, (&key(&shared), "a"));
    assert!(status == 503 && said.contains("`Isolation=tenant`"), "{status} {said}");
}
