//! The Worker, in the runtime that Cloudflare's platform has: what is special about that host.
//!
//! What it has in common with the others is shown by the scenarios, which run on every host.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Builder, Gateway, Host, Readiness};
use portcullis_tests::hostile::{Done, Hostile};
use portcullis_tests::http::Request;
use portcullis_tests::process::run;
use portcullis_tests::scenario::{received, text};
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

/// The largest that what is deployed may be, compressed, in KiB (ADR 0031).
const BUNDLE: f64 = 1024.0;

fn worker(config: &str) -> Builder {
    Gateway::with(config).on(Host::Edge)
}

fn before(url: &str) -> String {
    format!("version: 1\nservers:\n  s: {{ url: '{url}' }}\n")
}

#[test]
fn it_lives_lists_and_calls() {
    let upstream = Upstream::fixture(&["--era", "dual"]);
    let gateway = worker(&before(upstream.url())).start();
    assert_eq!(Request::get(&gateway.url_of("/healthz")).send().status, 200);
    for agent in [Agent::modern(gateway.url()), Agent::legacy(gateway.url())] {
        assert!(agent.tools().contains(&"s__echo".to_owned()));
        let result = agent.call("s__echo", &json!({ "text": "hello" }));
        assert_eq!(result["structuredContent"]["text"], "hello");
    }
}

#[test]
fn a_secret_of_the_configuration_is_one_that_the_worker_is_bound_to() {
    let folder = toolbox::scratch();
    let key = folder.path().join("key");
    fs::write(&key, "zx-31415926").expect("the test's folder can be written to");
    let upstream = Upstream::fixture(&["--era", "dual", "--key-file", &key.display().to_string()]);
    let config = |name: &str| {
        let auth = json!({ "header": { "name": "X-Key", "value": { "secret": name } } });
        json!({ "version": 1, "servers": { "s": { "url": upstream.url(), "auth": auth } } }).to_string()
    };
    let started = |name: &str| {
        let gateway =
            worker(&config(name)).env("TICKETS_KEY", "zx-31415926").env("PORTCULLIS_OWN", "zx-31415926");
        gateway.env("PORTCULLIS_ADMIN_KEY", "the admin's key").until(Readiness::Listening).start()
    };
    let gateway = started("tickets-key");
    assert!(Agent::modern(gateway.url()).tools().contains(&"s__echo".to_owned()));
    let refused =
        gateway.cli_with(&["secrets", "set", "tickets-key", "--url", &gateway.url_of("")], "another");
    assert!(
        refused.code() == Some(1) && refused.stderr.contains("wrangler secret put"),
        "{}",
        refused.stderr
    );
    let own = started("portcullis-own");
    assert_eq!(Agent::modern(own.url()).tools(), [""; 0], "the gateway's own are nobody's");
}

#[test]
fn secrets_are_set_rotated_and_removed_from_afar_and_lie_sealed() {
    let folder = toolbox::scratch();
    let key = folder.path().join("key");
    let takes = |value: &str| fs::write(&key, value).expect("the test's folder can be written to");
    takes("zx-31415926");
    let upstream = Upstream::fixture(&["--era", "dual", "--key-file", &key.display().to_string()]);
    let auth = json!({ "header": { "name": "X-Key", "value": { "secret": "prod/tickets" } } });
    let config = json!({ "version": 1, "servers": { "s": { "url": upstream.url(), "auth": auth } } });
    let worker = worker(&config.to_string()).env("PORTCULLIS_ADMIN_KEY", "the admin's key");
    let mut gateway = worker.until(Readiness::Listening).start();
    let secrets = |gateway: &Gateway, arguments: &[&str], input: &str, code: i32, says: &str| {
        let url = gateway.url_of("");
        let ran = gateway.cli_with(&[&["secrets"], arguments, &["--url", &url]].concat(), input);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code() == Some(code) && told.contains(says), "{arguments:?}: {told}");
        assert!(!told.contains("zx-31415926") && !told.contains("zx-27182818"), "{told}");
    };
    let calls = |gateway: &Gateway| {
        let result = Agent::modern(gateway.url()).call("s__echo", &json!({ "text": "hello" }));
        assert_eq!(result["structuredContent"]["text"], "hello", "{}", gateway.log());
    };
    secrets(&gateway, &["list"], "", 0, "\"prod/tickets\" is needed and not set");
    secrets(&gateway, &["rotate", "prod/tickets"], "zx-27182818", 1, "prod/tickets");
    secrets(&gateway, &["set", "prod/tickets"], "zx-31415926", 0, "version 1");
    wait::expect("the server's tools", || {
        Agent::modern(gateway.url()).tools().contains(&"s__echo".to_owned())
    });
    secrets(&gateway, &["rotate", "prod/tickets"], "zx-27182818", 0, "version 2");
    calls(&gateway);
    takes("zx-27182818");
    calls(&gateway);
    gateway.restart();
    calls(&gateway);
    secrets(&gateway, &["list"], "", 0, "prod/tickets");
    for value in ["zx-31415926", "zx-27182818"] {
        assert!(!is_within(&gateway.data_dir(), value), "{value} is kept as it is");
    }
    secrets(&gateway, &["rm", "prod/tickets"], "", 0, "is removed");
    secrets(&gateway, &["rm", "prod/tickets"], "", 1, "prod/tickets");
    secrets(&gateway, &["set", "prod/tickets"], "zx-27182818", 0, "version 1");
    calls(&gateway);
}

/// Tells whether any file below a folder has this text in it.
fn is_within(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).expect("the folder can be read").flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return is_within(&path, text);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn events_pass_through_one_by_one() {
    let (go, wait) = mpsc::channel();
    let wait = Arc::new(Mutex::new(wait));
    let upstream = Hostile::modern(move |exchange| {
        if !exchange.is_call() {
            return Ok(Done::Behave);
        }
        exchange.open(200, "text/event-stream")?;
        let progress = json!({ "progressToken": 7, "progress": 1 });
        exchange
            .event(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": progress }))?;
        let agent_has_read = wait.lock().map(|wait| wait.recv_timeout(PATIENCE).is_ok());
        assert!(agent_has_read.unwrap_or_default(), "the first event did not reach the agent in time");
        exchange.event(&json!({ "jsonrpc": "2.0", "id": exchange.id(), "result": exchange.fine() }))?;
        Ok(Done::Answered)
    });
    let gateway = worker(&before(&upstream.url())).start();
    let agent = Agent::modern(gateway.url());
    let params = json!({ "name": "s__x", "arguments": {}, "_meta": { "progressToken": 7 } });
    let mut events = agent.post("tools/call", params).send().events();
    let first = events.next().expect("an event").json();
    assert_eq!(first["method"], "notifications/progress");
    go.send(()).expect("the server waits");
    let last = events.next().expect("an answer").json();
    assert_eq!(text(&last["result"]), "fine");
}

#[test]
fn an_agent_that_leaves_cancels_its_call() {
    let folder = toolbox::scratch();
    let record = folder.path().join("record");
    let upstream = Upstream::fixture(&["--era", "modern", "--record", &record.display().to_string()]);
    let gateway = worker(&before(upstream.url())).start();
    let agent = Agent::modern(gateway.url());
    let direct = Agent::modern(upstream.url());
    let cancelled = || text(&direct.call("cancelled_count", &json!({}))).to_owned();
    assert_eq!(cancelled(), "0");
    let call = agent.post("tools/call", json!({ "name": "s__sleep", "arguments": { "ms": 60_000 } }));
    let connection = call.begin();
    let has_arrived = |line: &Value| line["body"]["params"]["name"] == "sleep";
    wait::expect("the call's arrival", || received(record.clone()).iter().any(has_arrived));
    drop(connection);
    wait::expect("the end of the call", || cancelled() == "1");
}

/// One call at a time: whoever leaves, at whatever moment, makes room for the next.
#[test]
fn an_agent_that_leaves_while_it_is_counted_holds_no_place() {
    let upstream = Upstream::fixture(&["--era", "modern"]);
    let limits = "agents:\n  default: { allow: '*', limits: { concurrency: 1 } }\n";
    let gateway = worker(&format!("{}{limits}", before(upstream.url()))).start();
    let agent = Agent::modern(gateway.url());
    let call = json!({ "name": "s__echo", "arguments": { "text": "x" } });
    assert!(agent.ask("tools/call", call.clone()).get("result").is_some());
    for _ in 0..100 {
        drop(agent.post("tools/call", call.clone()).begin());
    }
    wait::expect("a place", || agent.ask("tools/call", call.clone()).get("result").is_some());
}

/// Whoever has limits is refused where nobody counts; whoever has none goes on.
#[test]
fn what_cannot_be_counted_is_refused() {
    let upstream = Upstream::fixture(&["--era", "modern"]);
    let agents = "auth: { trust_tags: true }
agents:
  bound: { match: [{ tag: bound }], allow: '*', limits: { daily: 8 } }
  slow: { match: [{ tag: slow }], allow: '*', limits: { concurrency: 8 } }
  default: { allow: '*' }
";
    let config = format!("{}{agents}", before(upstream.url()));
    for counting in ["throws", "fails", "babbles", "hangs"] {
        let builder = worker(&config).of_worker("counting", json!(counting));
        let gateway = builder.of_worker("counted", json!(true)).start();
        let call = json!({ "name": "s__echo", "arguments": { "text": "x" } });
        subrequests(&gateway);
        for tag in ["bound", "slow"] {
            let agent = Agent::modern(gateway.url()).header("x-lunar-consumer-tag", tag);
            let error = agent.error("tools/call", call.clone());
            assert_eq!(error["code"], -32029, "{counting}: {error}");
            let why = error["message"].as_str().unwrap_or_default();
            assert!(why.contains("cannot be counted at the moment"), "{counting}: {error}");
        }
        let made = subrequests(&gateway);
        assert!(!made.contains(&"server tools/call".to_owned()), "{counting}: {made:?}");
        let result = Agent::modern(gateway.url()).result("tools/call", call);
        assert_eq!(result["structuredContent"]["text"], "x", "{counting}");
    }
}

#[test]
fn what_objects_know_outlives_the_process() {
    let upstream = Upstream::fixture(&["--era", "modern"]);
    let limits = "agents:\n  default: { allow: '*', limits: { daily: 8 } }\n";
    let mut gateway = worker(&format!("{}{limits}", before(upstream.url()))).start();
    let ended = Agent::legacy(gateway.url());
    let session = ended.session().expect("a session").to_owned();
    let delete = |gateway: &Gateway| {
        Request::new("DELETE", gateway.url()).header("Mcp-Session-Id", &session).send().status
    };
    assert_eq!(delete(&gateway), 200);
    gateway.restart();
    assert_eq!(delete(&gateway), 404, "the session has ended");
    let agent = Agent::modern(gateway.url());
    let call =
        |agent: &Agent| agent.ask("tools/call", json!({ "name": "s__echo", "arguments": { "text": "x" } }));
    assert!(call(&agent).get("result").is_some());
    let mut used = 1;
    while call(&agent).get("result").is_some() {
        used += 1;
        assert!(used <= 8, "the limit is eight a day");
    }
    gateway.restart();
    let error = call(&Agent::modern(gateway.url()));
    assert_eq!(error["error"]["code"], -32029, "{error}");
}

/// Returns what requests of agents have asked of servers, stores and objects since it was last asked for, in order;
/// without what follows the answer: the audit trail's message, and that the queue brings it to the trail.
fn subrequests(gateway: &Gateway) -> Vec<String> {
    let made = Request::get(&gateway.url_of("/subrequests")).send().json();
    let made: Vec<String> = serde_json::from_value(made).expect("a list of texts");
    made.into_iter().filter(|made| !["ENTRIES send", "TRAIL fetch"].contains(&made.as_str())).collect()
}

#[test]
fn a_call_takes_few_requests() {
    // Its lists do not grow old meanwhile: whoever calls then has them read again, after the answer.
    let upstream = Upstream::fixture(&["--era", "modern", "--ttl", "86400000"]);
    let worker = worker(&before(upstream.url())).until(Readiness::Listening);
    let mut gateway = worker.of_worker("counted", json!(true)).start();
    let call = |gateway: &Gateway| {
        let result = Agent::modern(gateway.url()).call("s__echo", &json!({ "text": "x" }));
        assert_eq!(result["structuredContent"]["text"], "x");
        subrequests(gateway)
    };
    call(&gateway);
    for _ in 0..3 {
        let mut warm = call(&gateway);
        // Whether another configuration is in force is looked for now and then, after an answer.
        warm.retain(|made| made != "STORE getWithMetadata");
        assert_eq!(warm, ["server tools/call"]);
    }
    gateway.restart();
    // The object that reads servers has requests of its own; the store is looked at again after some answers.
    let (servers, bindings): (Vec<_>, Vec<_>) =
        call(&gateway).into_iter().partition(|made| made.starts_with("server "));
    assert_eq!(servers.iter().filter(|made| *made == "server tools/call").count(), 1, "{servers:?}");
    let cold = ["STORE getWithMetadata", "UPSTREAMS fetch"];
    assert!(bindings.iter().all(|made| cold.contains(&made.as_str())), "{bindings:?}");
}

#[test]
fn it_can_be_deployed_and_is_small() {
    toolbox::build_worker();
    let out = toolbox::scratch();
    let mut wrangler = toolbox::wrangler(out.path());
    wrangler.args(["deploy", "--dry-run", "--outdir"]).arg(out.path());
    let finished = run(wrangler, b"", PATIENCE);
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
    let compressed = finished
        .stdout
        .lines()
        .find_map(|line| line.split_once("gzip: ")?.1.split_whitespace().next()?.parse::<f64>().ok());
    let compressed = compressed.unwrap_or_else(|| panic!("no size in {}", finished.stdout));
    assert!(compressed <= BUNDLE, "the bundle has {compressed} KiB compressed, at most {BUNDLE} are allowed");
    assert!(fs::read_dir(out.path()).expect("the bundle is there").count() > 1);
}

#[test]
fn what_is_left_out_is_said() {
    let upstream = Upstream::fixture(&["--era", "modern"]);
    let gateway = worker(&before(upstream.url())).without(&["COUNTS", "ARCHIVE"]).start();
    let readiness = Request::get(&gateway.url_of("/readyz")).send().json();
    let missing: Vec<_> =
        readiness["missing"].as_object().expect("what is missing").keys().cloned().collect();
    assert_eq!(missing, ["ARCHIVE", "COUNTS"], "{readiness}");
    assert!(Agent::modern(gateway.url()).tools().contains(&"s__echo".to_owned()), "it serves without them");
}

#[test]
fn a_key_to_seal_with_is_asked_for() {
    let gateway = worker("version: 1\n").env("PORTCULLIS_SEAL_KEY", "").until(Readiness::Answering).start();
    let answer = Request::get(&gateway.url_of("/healthz")).send();
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("PORTCULLIS_SEAL_KEY"), "it says what is missing");
}

#[test]
fn strangers_are_not_let_in_by_mistake() {
    let upstream = Upstream::fixture(&["--era", "modern"]);
    let gateway =
        worker(&before(upstream.url())).env("PORTCULLIS_INSECURE", "").until(Readiness::Answering).start();
    wait::expect("the reason in the log", || gateway.log().contains("auth.required"));
    assert_eq!(Agent::modern(gateway.url()).tools(), [""; 0], "nothing is served");
}
