//! Servers that fail, come back, or are many: what is left keeps working, and everybody is told why.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Readiness};
use portcullis_tests::http::Request;
use portcullis_tests::scenario::{Stage, Transport, fixture, servers, stdio_fixture, text};
use portcullis_tests::toolbox;
use portcullis_tests::upstream::{Upstream, free_port};
use portcullis_tests::wait;
use serde_json::{Value, json};

/// What is far from "at once" and yet far below any server's timeout.
const SOON: Duration = Duration::from_secs(15);

/// A web server that answers every request with an error page; it lasts as long as the test program.
fn error_page() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let url = format!("http://{}/mcp", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            // The gateway's requests are small: one piece each.
            if !matches!(stream.read(&mut [0; 16384]), Ok(1..)) {
                continue;
            }
            let page = "<html><body>Oh no</body></html>";
            let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/html\r\nConnection: close";
            stream
                .write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len()).as_bytes())
                .ok();
        }
    });
    url
}

/// A configuration with one server that works and four that do not.
fn troubled(timeout: &str) -> String {
    let good = stdio_fixture(&[]);
    let refused = format!("http://127.0.0.1:{}/mcp", free_port());
    format!(
        "version: 1\nservers:\n  good: {good}\n  hanging: {{ command: [sleep, '1000'], timeout: {timeout} }}\n  \
         dying: {{ command: [sh, -c, 'echo no luck today >&2; exit 3'] }}\n  refused: {{ url: '{refused}' }}\n  \
         broken: {{ url: '{}' }}\n",
        error_page()
    )
}

fn is_alive(pid: &str) -> bool {
    kill(Pid::from_raw(pid.parse().expect("a process id")), None).is_ok()
}

#[test]
fn a_server_that_works_does_not_wait_for_others() {
    let gateway = Gateway::with(&troubled("10m")).until(Readiness::Listening).start();
    let started = Instant::now();
    for agent in [Agent::modern(gateway.url()), Agent::legacy(gateway.url())] {
        let listed = || agent.tools().contains(&"good__echo".to_owned());
        wait::expect("the tools of the server that works", listed);
        assert_eq!(text(&agent.call("good__echo", &json!({}))), "{}");
        assert!(agent.tools().iter().all(|tool| tool.starts_with("good__")));
    }
    assert!(started.elapsed() < SOON, "it took {:?}", started.elapsed());
}

#[test]
fn readiness_and_the_log_say_what_is_wrong_with_whom() {
    let gateway = Gateway::start(&troubled("2s"));
    let readiness = || Request::get(&gateway.url_of("/readyz")).send().json();
    assert_eq!(readiness()["status"], "DEGRADED");
    wait::expect("every server to have answered or failed", || {
        readiness()["servers"]
            .as_object()
            .is_some_and(|all| all.values().all(|one| one["status"] != "starting"))
    });
    let ready = readiness();
    assert_eq!(ready["servers"]["good"]["status"], "up", "{ready}");
    for (server, reason) in [("hanging", "2"), ("dying", "3"), ("refused", "refused"), ("broken", "500")] {
        let entry = &ready["servers"][server];
        assert_ne!(entry["status"], "up", "{server}: {ready}");
        let said = entry["reason"].as_str().unwrap_or_default();
        assert!(said.to_lowercase().contains(reason), "{server} has no reason with {reason:?}: {ready}");
        let named = format!("\"server\":\"{server}\"");
        assert!(gateway.log().lines().any(|line| line.contains(&named)), "{server} is not in the log");
    }
    assert!(gateway.log().contains("no luck today"), "what a server says before it dies is in the log");
    assert_eq!(Request::get(&gateway.url_of("/healthz")).send().status, 200);
}

#[test]
fn an_endpoint_of_a_server_that_is_down_is_empty() {
    let gateway = Gateway::start(&troubled("2s"));
    for server in ["dying", "refused", "broken"] {
        let agent = Agent::modern(&gateway.url_of(&format!("/mcp/servers/{server}")));
        assert!(agent.tools().is_empty());
    }
}

#[test]
fn a_server_that_crashes_is_named_and_started_again() {
    for era in ["modern", "legacy"] {
        let stage = Stage::new(era, Transport::Stdio);
        for agent in [Agent::modern(stage.url()), Agent::legacy(stage.url())] {
            let before = agent.call("s__pid", &json!({}));
            let answer = agent.ask("tools/call", json!({ "name": "s__crash" }));
            let refused = answer.get("error").is_some() || answer["result"]["isError"] == true;
            assert!(refused, "{answer}");
            let said =
                answer["error"]["message"].as_str().or(answer["result"]["content"][0]["text"].as_str());
            let said = said.unwrap_or_default();
            assert!(said.contains("s ") || said.contains("\"s\"") || said.contains("`s`"), "{answer}");
            let after = agent.call("s__pid", &json!({}));
            assert_ne!(text(&before), text(&after));
        }
    }
}

#[test]
fn calls_that_a_crash_interrupts_all_end() {
    let stage = Stage::new("modern", Transport::Stdio);
    let agent = Agent::modern(stage.url());
    let call = || agent.post("tools/call", json!({ "name": "s__sleep", "arguments": { "ms": 600_000 } }));
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let request = call();
            thread::spawn(move || request.send().json())
        })
        .collect();
    wait::expect("all calls to reach the server", || {
        stage.received().iter().filter(|line| line["body"]["params"]["name"] == "sleep").count() == 5
    });
    agent.ask("tools/call", json!({ "name": "s__crash" }));
    for call in calls {
        let answer = call.join().expect("the call ends");
        assert!(answer.get("result").is_none() || answer["result"]["isError"] == true, "{answer}");
    }
}

#[test]
fn standard_error_goes_to_the_log_under_the_servers_name() {
    let stage = Stage::new("legacy", Transport::Stdio);
    let line = "hello from below \u{1b}[31m{\"level\":\"ERROR\"}";
    Agent::modern(stage.url()).call("s__stderr", &json!({ "text": line }));
    let logged = || {
        let log = stage.gateway.log();
        log.lines().any(|line| line.contains("hello from below") && line.contains("\"server\":\"s\""))
    };
    wait::expect("the line in the log", logged);
    assert!(!stage.gateway.log().contains('\u{1b}'), "control characters do not reach a terminal");
}

#[test]
fn a_servers_environment_is_what_is_configured_and_a_safe_base() {
    let mut server = stdio_fixture(&[]);
    server["env"] = json!({ "GIVEN": "yes", "FROM_GATEWAY": "${SECRET_X}-copied" });
    let config = format!("version: 1\nservers:\n  s: {server}\n");
    let gateway = Gateway::with(&config)
        .env("PORTCULLIS_X", "hidden")
        .env("SECRET_X", "hidden")
        .env("AWS_SECRET_ACCESS_KEY", "hidden")
        .start();
    let agent = Agent::modern(gateway.url());
    let variable =
        |name: &str| agent.call("s__env", &json!({ "name": name }))["structuredContent"]["value"].take();
    assert_eq!(variable("GIVEN"), "yes");
    assert_eq!(variable("FROM_GATEWAY"), "hidden-copied");
    assert!(variable("PATH").is_string());
    for name in
        ["PORTCULLIS_X", "SECRET_X", "AWS_SECRET_ACCESS_KEY", "PORTCULLIS_CONFIG", "PORTCULLIS_DATA_DIR"]
    {
        assert_eq!(variable(name), Value::Null, "{name}");
    }
}

#[test]
fn a_gateway_that_ends_takes_its_servers_along() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut stage = Stage::new("legacy", Transport::Stdio);
        let pid = text(&Agent::modern(stage.url()).call("s__pid", &json!({}))).to_owned();
        assert!(is_alive(&pid));
        stage.gateway.process().signal(signal);
        wait::expect("the gateway's end", || stage.gateway.process().ended().is_some());
        assert_eq!(stage.gateway.process().ended().and_then(|status| status.code()), Some(0));
        assert!(!is_alive(&pid), "the server outlives the gateway after {signal}");
    }
}

#[test]
fn a_gateway_that_ends_finishes_the_calls_that_run() {
    let mut stage = Stage::new("modern", Transport::Stdio);
    let agent = Agent::modern(stage.url());
    let call = agent.post("tools/call", json!({ "name": "s__sleep", "arguments": { "ms": 1500 } }));
    let call = thread::spawn(move || call.send().json());
    wait::expect("the call to reach the server", || stage.has_been_called("sleep"));
    stage.gateway.process().signal(Signal::SIGTERM);
    let answer = call.join().expect("the call is answered");
    assert_eq!(text(&answer["result"]), "Slept 1500 ms");
    wait::expect("the gateway's end", || stage.gateway.process().ended().is_some());
}

/// The fixture at one port.
fn fixture_at(port: u16, era: &str) -> Upstream {
    let mut command = Command::new(toolbox::fixture());
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--era", era]);
    Upstream::start(&command)
}

#[test]
fn a_server_that_changes_its_era_is_asked_anew() {
    for (first, then) in [("modern", "legacy"), ("legacy", "modern")] {
        let port = free_port();
        let mut server = fixture_at(port, first);
        let gateway = Gateway::start(&format!("version: 1\nservers:\n  s: {{ url: '{}' }}\n", server.url()));
        let agents = [Agent::modern(gateway.url()), Agent::legacy(gateway.url())];
        let era = |agent: &Agent| {
            let answer = agent.ask("tools/call", json!({ "name": "s__whoami" }));
            answer["result"]["structuredContent"]["era"].as_str().map(str::to_owned)
        };
        for agent in &agents {
            assert_eq!(era(agent).as_deref(), Some(first));
        }
        server.process().stop();
        drop(server);
        let _server = fixture_at(port, then);
        for agent in &agents {
            wait::expect("the other era", || era(agent).as_deref() == Some(then));
        }
        assert!(agents[0].tools().len() > 50);
    }
}

#[test]
fn a_session_that_a_server_has_lost_is_made_anew() {
    let port = free_port();
    let mut server = fixture_at(port, "legacy");
    let gateway = Gateway::start(&format!("version: 1\nservers:\n  s: {{ url: '{}' }}\n", server.url()));
    let able = json!({ "elicitation": {} });
    let agents = [
        Agent::modern(gateway.url()),
        Agent::legacy(gateway.url()),
        Agent::modern(gateway.url()).capabilities(able).handshake("2025-11-25"),
    ];
    for agent in &agents {
        agent.call("s__count", &json!({}));
    }
    server.process().stop();
    drop(server);
    let _server = fixture_at(port, "legacy");
    for agent in &agents {
        assert_eq!(text(&agent.call("s__echo", &json!({}))), "{}", "the first call after the loss");
    }
}

#[test]
fn a_server_that_comes_up_later_is_found() {
    let port = free_port();
    let config = format!("version: 1\nservers:\n  s: {{ url: 'http://127.0.0.1:{port}/mcp' }}\n");
    let gateway = Gateway::start(&config);
    let agent = Agent::modern(gateway.url());
    assert!(agent.tools().is_empty());
    let _server = fixture_at(port, "dual");
    wait::expect("the server's tools", || agent.tools().contains(&"s__echo".to_owned()));
    let ready = || Request::get(&gateway.url_of("/readyz")).send().json();
    // Of several instances another may be asked, which learns of it a moment later.
    wait::expect("readiness", || ready()["status"] == "OK");
}

#[test]
fn many_agents_cause_one_listing() {
    for (era, transport) in servers() {
        let stage = Stage::new(era, transport);
        let listings = || stage.received().iter().filter(|line| line["method"] == "tools/list").count();
        assert_eq!(listings(), 1, "at the start");
        let url = stage.url().to_owned();
        let agents: Vec<_> = (0..50)
            .map(|number| {
                let url = url.clone();
                thread::spawn(move || {
                    let agent = if number % 2 == 0 { Agent::modern(&url) } else { Agent::legacy(&url) };
                    agent.tools().len()
                })
            })
            .collect();
        let counts: Vec<_> = agents.into_iter().map(|agent| agent.join().expect("a list")).collect();
        assert!(counts.iter().all(|count| *count == counts[0] && *count > 50), "{counts:?}");
        assert!(listings() <= 2, "{} listings of a {era} server, {transport:?}", listings());
    }
}

#[test]
fn an_endpoint_of_one_server_shows_only_that_one() {
    let server = fixture(&[]);
    let config = format!("version: 1\nservers:\n  a: {server}\n  b: {server}\n");
    let gateway = Gateway::start(&config);
    let narrow = gateway.url_of("/mcp/servers/a");
    for agent in [Agent::modern(&narrow), Agent::legacy(&narrow)] {
        let tools = agent.tools();
        assert!(tools.iter().any(|tool| tool.ends_with("echo")) && tools.len() > 50);
        assert!(tools.iter().all(|tool| !tool.starts_with("b__")), "{tools:?}");
        let echo = tools.iter().find(|tool| tool.ends_with("echo")).expect("just seen");
        assert_eq!(text(&agent.call(echo, &json!({}))), "{}");
        assert_eq!(agent.error("tools/call", json!({ "name": "b__echo" }))["code"], -32602);
        let read = agent.result("resources/read", json!({ "uri": "test://static-text" }));
        assert_eq!(read["contents"][0]["uri"], "test://static-text");
    }
    let all = Agent::modern(gateway.url()).tools();
    assert!(all.contains(&"a__echo".to_owned()) && all.contains(&"b__echo".to_owned()));
    let elsewhere = Agent::legacy(&gateway.url_of("/mcp/servers/b"));
    let session = elsewhere.session().expect("a session");
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let foreign = Request::post(&narrow).header("Accept", "application/json, text/event-stream");
    assert_eq!(foreign.header("Mcp-Session-Id", session).json(&message).send().status, 404);
    let unknown = Agent::modern(&gateway.url_of("/mcp/servers/nobody"));
    assert_eq!(unknown.post("tools/list", json!({})).send().status, 404);
}
