//! Operation: what Prometheus scrapes, what an OpenTelemetry collector gets, and what `doctor` says.

use std::process::Command;
use std::time::Duration;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Readiness};
use portcullis_tests::http::Request;
use portcullis_tests::process::run;
use portcullis_tests::scenario::{Stage, Transport, stdio_fixture};
use portcullis_tests::toolbox;
use portcullis_tests::upstream::{Upstream, free_port};
use portcullis_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn one_fixture(options: &[&str]) -> String {
    format!("version: 1\nservers:\n  s: {}\n", stdio_fixture(options))
}

/// What Prometheus' own parser reads of a text: each sample with its labels.
fn samples(text: &str) -> Vec<Value> {
    let mut parser = Command::new(toolbox::python());
    parser.arg(toolbox::interop("clients/prometheus.py"));
    let parsed = run(parser, text.as_bytes(), PATIENCE);
    assert_eq!(parsed.code(), Some(0), "{}\n{text}", parsed.stderr);
    let families: Vec<Value> = serde_json::from_str(&parsed.stdout).expect("the parser prints JSON");
    families.iter().flat_map(|family| family["samples"].as_array().cloned().unwrap_or_default()).collect()
}

/// The value of the sample with this name and at least these labels.
fn value(samples: &[Value], name: &str, labels: &Value) -> Option<f64> {
    let wanted = labels.as_object().expect("labels are an object");
    let found = samples.iter().find(|sample| {
        sample["name"] == name && wanted.iter().all(|(label, value)| sample["labels"][label] == *value)
    });
    found.and_then(|sample| sample["value"].as_f64())
}

#[test]
fn what_agents_do_is_counted() {
    let port = free_port();
    let gateway =
        Gateway::with(&one_fixture(&[])).arg("--metrics-listen").arg(&format!("127.0.0.1:{port}")).start();
    let (modern, legacy) = (Agent::modern(gateway.url()), Agent::legacy(gateway.url()));
    modern.call("s__echo", &json!({ "message": "x" }));
    modern.call("s__echo", &json!({ "message": "x" }));
    modern.call("s__test_error_handling", &json!({}));
    legacy.call("s__echo", &json!({ "message": "x" }));
    modern.error("tools/call", json!({ "name": "made\"up\n", "arguments": {} }));
    modern.error("made/up", json!({}));
    let metrics = format!("http://127.0.0.1:{port}/metrics");
    let answer = Request::get(&metrics).send();
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    let samples = samples(&text);
    let count = |name: &str, labels: Value| value(&samples, name, &labels);
    let (served, asked) =
        ("mcp_server_operation_duration_seconds_count", "mcp_client_operation_duration_seconds_count");
    let echo = |version: &str| {
        json!({
            "mcp_method_name": "tools/call", "gen_ai_tool_name": "s__echo", "portcullis_server": "s",
            "mcp_protocol_version": version, "network_transport": "tcp",
        })
    };
    assert_eq!(count(served, echo("2026-07-28")), Some(2.0), "{text}");
    assert_eq!(count(served, echo("2025-11-25")), Some(1.0), "{text}");
    let piped = json!({ "gen_ai_tool_name": "s__echo", "network_transport": "pipe" });
    assert!(count(asked, piped) >= Some(2.0), "{text}");
    for (name, transport) in [(served, "tcp"), (asked, "pipe")] {
        let failed = json!({
            "gen_ai_tool_name": "s__test_error_handling", "error_type": "tool_error", "network_transport": transport,
        });
        assert_eq!(count(name, failed), Some(1.0), "{text}");
    }
    let unknown = json!({ "mcp_method_name": "tools/call", "rpc_response_status_code": "-32602" });
    assert_eq!(count(served, unknown), Some(1.0), "{text}");
    assert_eq!(count(served, json!({ "mcp_method_name": "_OTHER", "error_type": "-32601" })), Some(1.0));
    assert!(!text.contains("made"), "a name that an agent made up is a label: {text}");
    let posts =
        json!({ "http_request_method": "POST", "http_route": "/mcp", "http_response_status_code": "200" });
    assert!(count("http_server_request_duration_seconds_count", posts) >= Some(4.0), "{text}");
    assert_eq!(count("portcullis_server_up", json!({ "portcullis_server": "s" })), Some(1.0));
    assert_eq!(count("portcullis_processes", json!({})), Some(1.0));
    assert_eq!(count("portcullis_requests_running", json!({})), Some(0.0));
}

#[test]
fn a_session_is_counted_when_it_ends() {
    let port = free_port();
    let gateway = Gateway::with(&one_fixture(&["--era", "legacy"]))
        .arg("--metrics-listen")
        .arg(&format!("127.0.0.1:{port}"))
        .start();
    let scrape = || samples(&Request::get(&format!("http://127.0.0.1:{port}/metrics")).send().text());
    let served = |version: &str| {
        let labels = json!({ "mcp_protocol_version": version, "network_transport": "tcp" });
        value(&scrape(), "mcp_server_session_duration_seconds_count", &labels)
    };
    let asked = || {
        let labels = json!({ "portcullis_server": "s", "network_transport": "pipe" });
        value(&scrape(), "mcp_client_session_duration_seconds_count", &labels)
    };
    let able = Agent::modern(gateway.url()).capabilities(json!({ "roots": {} })).handshake("2025-06-18");
    able.call("s__echo", &json!({ "message": "x" }));
    let forgotten = Agent::legacy(gateway.url());
    forgotten.call("s__echo", &json!({ "message": "x" }));
    assert_eq!((served("2025-06-18"), served("2025-11-25"), asked()), (None, None, None));
    let session = able.session().expect("a session");
    let end = || Request::new("DELETE", gateway.url()).header("Mcp-Session-Id", session).send().status;
    assert_eq!((end(), end()), (200, 404));
    assert_eq!((served("2025-06-18"), served("2025-11-25")), (Some(1.0), None));
    wait::expect("the end of the session's own at the server", || asked() == Some(1.0));
}

#[test]
fn a_request_is_counted_when_its_stream_ends_or_its_agent_leaves() {
    let port = free_port();
    let gateway =
        Gateway::with(&one_fixture(&[])).arg("--metrics-listen").arg(&format!("127.0.0.1:{port}")).start();
    let agent = Agent::modern(gateway.url());
    let scrape = || samples(&Request::get(&format!("http://127.0.0.1:{port}/metrics")).send().text());
    let call = json!({ "name": "s__sleep", "arguments": { "ms": 600_000 } });
    let body = agent.post("tools/call", call).bytes();
    let authority = gateway.url().trim_start_matches("http://").trim_end_matches("/mcp");
    let mut connection = std::net::TcpStream::connect(authority).expect("the gateway listens");
    std::io::Write::write_all(&mut connection, &body).expect("the request is sent");
    wait::expect("a running request", || {
        value(&scrape(), "portcullis_requests_running", &json!({})) == Some(1.0)
    });
    drop(connection);
    wait::expect("a cancelled request", || {
        let left = json!({ "gen_ai_tool_name": "s__sleep", "error_type": "cancelled" });
        value(&scrape(), "mcp_server_operation_duration_seconds_count", &left) == Some(1.0)
    });
    assert_eq!(value(&scrape(), "portcullis_requests_running", &json!({})), Some(0.0));
}

#[test]
fn metrics_are_for_the_admin_or_a_listener_of_their_own() {
    let port = free_port();
    let plain = Gateway::start(&one_fixture(&[]));
    assert_eq!(Request::get(&plain.url_of("/metrics")).send().status, 404);
    let gateway = Gateway::with(&one_fixture(&[]))
        .env("PORTCULLIS_ADMIN_KEY", "open-sesame")
        .env("PORTCULLIS_METRICS_LISTEN", &format!("127.0.0.1:{port}"))
        .start();
    let get = |key: &str| Request::get(&gateway.url_of("/metrics")).header("Authorization", key).send();
    for wrong in ["", "Bearer", "Bearer open-sesam", "Bearer open-sesame2", "Basic open-sesame"] {
        let refused = get(wrong);
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")), "{wrong}");
    }
    assert_eq!(get("Bearer open-sesame").status, 200);
    let posted = Request::post(&gateway.url_of("/metrics")).header("Authorization", "Bearer open-sesame");
    assert_eq!(posted.send().status, 405);
    let own = |path: &str| Request::get(&format!("http://127.0.0.1:{port}{path}"));
    assert_eq!(own("/metrics").send().status, 200);
    for other in ["/mcp", "/healthz", "/readyz", "/"] {
        assert_eq!(own(other).send().status, 404, "{other}");
    }
    assert_eq!(own("/metrics").header("Host", "evil.example").send().status, 403);
    assert_eq!(own("/metrics").header("Origin", "https://evil.example").send().status, 403);
    let open = plain.cli(&["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "0.0.0.0:0"]);
    assert_eq!(open.code(), Some(1));
    assert!(open.stderr.contains("--insecure"), "{}", open.stderr);
}

/// A collector, and what it has got.
fn collector() -> Upstream {
    let mut command = Command::new(toolbox::python());
    command.arg(toolbox::interop("servers/otlp_receiver.py"));
    Upstream::start(&command)
}

fn received(collector: &Upstream, signal: &str) -> Vec<Value> {
    let all = Request::get(&format!("{}/received", collector.url())).send().json();
    all[signal].as_array().cloned().unwrap_or_default()
}

/// A gateway that sends its telemetry there at once.
fn observed(config: &str, collector: &Upstream) -> portcullis_tests::gateway::Builder {
    Gateway::with(config)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-team=gates")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_BLRP_SCHEDULE_DELAY", "50")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
}

#[test]
fn a_call_is_one_span_of_the_agents_trace_and_one_for_its_server() {
    let collector = collector();
    let folder = toolbox::scratch();
    let record = folder.path().join("record");
    let config = one_fixture(&["--record", &record.display().to_string()]);
    let gateway = observed(&config, &collector).start();
    let agent = Agent::modern(gateway.url());
    let mut call = agent.post("tools/call", json!({ "name": "s__echo", "arguments": {} }));
    let mut message: Value =
        serde_json::from_str(&portcullis_tests::scenario::body_of(&call)).expect("a request is JSON");
    let meta = &mut message["params"]["_meta"];
    meta["traceparent"] = json!(PARENT);
    meta["tracestate"] = json!("rojo=00f067aa0ba902b7");
    meta["baggage"] = json!("userId=alice");
    call = call.body(message.to_string());
    assert_eq!(call.send().status, 200);
    agent.call("s__test_error_handling", &json!({}));
    let named = |name: &str, kind: &str| {
        let of = |span: &&Value| span["name"] == name && span["kind"] == kind;
        received(&collector, "spans").iter().find(of).cloned()
    };
    wait::expect("the spans", || named("tools/call s__test_error_handling", "SPAN_KIND_SERVER").is_some());
    let server = named("tools/call s__echo", "SPAN_KIND_SERVER").expect("a span of the agent's request");
    let client = named("tools/call s__echo", "SPAN_KIND_CLIENT").expect("a span of the server's");
    assert_eq!((&server["trace"], &server["parent"]), (&json!(TRACE), &json!("00f067aa0ba902b7")));
    assert_eq!((&client["trace"], &client["parent"]), (&json!(TRACE), &server["span"]));
    assert_eq!(server["status"], "STATUS_CODE_UNSET");
    assert_eq!(server["resource"]["service.name"], "portcullis");
    for (name, value) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "s__echo"),
        ("gen_ai.operation.name", "execute_tool"),
        ("mcp.protocol.version", "2026-07-28"),
        ("network.transport", "tcp"),
        ("portcullis.server", "s"),
    ] {
        assert_eq!(server["attributes"][name], value, "{server}");
    }
    assert_eq!(client["attributes"]["network.transport"], "pipe", "{client}");
    let failed = named("tools/call s__test_error_handling", "SPAN_KIND_SERVER").expect("waited for");
    assert_eq!(failed["status"], "STATUS_CODE_ERROR");
    assert_eq!(failed["attributes"]["error.type"], "tool_error");
    assert_ne!(failed["trace"], TRACE, "a request without a parent begins a trace");
    let told = portcullis_tests::scenario::received(record);
    let told =
        told.iter().map(Value::to_string).find(|message| message.contains(TRACE)).expect("it was told");
    let span = client["span"].as_str().expect("an id");
    assert!(told.contains(&format!("00-{TRACE}-{span}-01")), "{told}");
    assert!(told.contains("rojo=00f067aa0ba902b7") && told.contains("userId=alice"), "{told}");
}

#[test]
fn metrics_and_logs_reach_the_collector_too() {
    let collector = collector();
    let gateway = observed(&one_fixture(&[]), &collector).env("OTEL_SERVICE_NAME", "gates").start();
    let agent = Agent::legacy(gateway.url());
    agent.call("s__echo", &json!({}));
    let session = agent.session().expect("a session");
    Request::new("DELETE", gateway.url()).header("Mcp-Session-Id", session).send();
    wait::expect("the session's time", || {
        received(&collector, "metrics").iter().any(|metric| {
            metric["name"] == "mcp.server.session.duration"
                && metric["attributes"]["mcp.protocol.version"] == "2025-11-25"
                && metric["count"] == 1
        })
    });
    wait::expect("a histogram", || {
        received(&collector, "metrics").iter().any(|metric| {
            metric["name"] == "mcp.server.operation.duration"
                && metric["unit"] == "s"
                && metric["bounds"][0] == 0.01
                && metric["attributes"]["gen_ai.tool.name"] == "s__echo"
                && metric["count"] == 1
        })
    });
    wait::expect("a log record", || {
        received(&collector, "logs")
            .iter()
            .any(|log| log["body"] == "server is up" && log["attributes"]["server"] == "s")
    });
    let spans = || received(&collector, "spans");
    wait::expect("a span of this service", || {
        spans().iter().any(|span| span["resource"]["service.name"] == "gates")
    });
    let headers = received(&collector, "headers");
    assert!(headers.iter().all(|headers| headers["x-team"] == "gates"), "{headers:?}");
}

#[test]
fn the_sampler_and_what_the_agent_decided_are_heeded() {
    let collector = collector();
    let gateway =
        observed(&one_fixture(&[]), &collector).env("OTEL_TRACES_SAMPLER", "parentbased_always_off").start();
    let agent = Agent::modern(gateway.url());
    agent.call("s__echo", &json!({}));
    let traced = Agent::modern(gateway.url()).header("traceparent", PARENT);
    traced.call("s__echo", &json!({}));
    wait::expect("the sampled spans", || received(&collector, "spans").len() >= 2);
    let spans = received(&collector, "spans");
    assert!(spans.iter().all(|span| span["trace"] == TRACE), "{spans:?}");
}

#[test]
fn without_a_collector_a_trace_passes_through_untouched() {
    let stage = Stage::new("modern", Transport::Http);
    let agent = Agent::modern(stage.url());
    let call = agent.post("tools/call", json!({ "name": "s__echo", "arguments": {} }));
    let mut message: Value =
        serde_json::from_str(&portcullis_tests::scenario::body_of(&call)).expect("a request is JSON");
    message["params"]["_meta"]["traceparent"] = json!(PARENT);
    assert_eq!(call.body(message.to_string()).send().status, 200);
    let told = stage.received();
    assert!(told.iter().any(|message| message.to_string().contains(PARENT)), "{told:?}");
}

#[test]
fn telemetry_that_cannot_be_sent_harms_nothing_and_is_said() {
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let gateway = Gateway::with(&one_fixture(&[]))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &nowhere)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_BLRP_SCHEDULE_DELAY", "50")
        .start();
    Agent::modern(gateway.url()).call("s__echo", &json!({}));
    wait::expect("a word about it", || gateway.log().contains("telemetry cannot be sent"));
    Agent::modern(gateway.url()).call("s__echo", &json!({}));
    let grpc = Gateway::with(&one_fixture(&[]))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &nowhere)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .until(Readiness::Listening);
    let refused = gateway_refuses(grpc.folder());
    assert!(refused.contains("only http/protobuf is spoken") && refused.contains("4318"), "{refused}");
}

fn gateway_refuses(folder: &std::path::Path) -> String {
    let mut command = Command::new(toolbox::gateway());
    command.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(folder);
    command.env("PORTCULLIS_DATA_DIR", folder.join("data"));
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let finished = run(command, b"", PATIENCE);
    assert_eq!(finished.code(), Some(1), "{}", finished.stderr);
    finished.stderr
}

/// What `doctor` says about a configuration, and its exit code.
fn doctor(config: &str) -> (Option<i32>, Value) {
    let folder = toolbox::scratch();
    std::fs::write(folder.path().join("portcullis.yaml"), config).expect("the folder can be written to");
    let mut command = Command::new(toolbox::gateway());
    command.args(["doctor", "--json", "--listen", "127.0.0.1:0"]).current_dir(folder.path());
    command.env("PORTCULLIS_DATA_DIR", folder.path().join("data"));
    for name in ["PORTCULLIS_CONFIG", "PORTCULLIS_LISTEN", "PORTCULLIS_SEAL_KEY", "PORTCULLIS_LOG"] {
        command.env_remove(name);
    }
    let finished = run(command, b"", Duration::from_secs(90));
    let report = serde_json::from_str(&finished.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {}{}", finished.stdout, finished.stderr));
    assert!(!folder.path().join("data").exists(), "doctor made something");
    (finished.code(), report)
}

fn finding<'r>(report: &'r Value, subject: &str) -> &'r Value {
    let findings = report["findings"].as_array().expect("a list of findings");
    let found = findings.iter().find(|finding| finding["subject"] == subject);
    found.unwrap_or_else(|| panic!("nothing about {subject} in {report:#}"))
}

#[test]
fn doctor_finds_nothing_wrong_with_what_works() {
    let upstream = Upstream::fixture(&["--era", "legacy"]);
    let (code, report) = doctor(&format!("{}  h: {{ url: '{}' }}\n", one_fixture(&[]), upstream.url()));
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["problems"], 0);
    let said = |subject: &str| finding(&report, subject)["found"].as_str().expect("text").to_owned();
    assert!(said("server s").contains("speaks 2026-07-28 (stateless)"), "{report:#}");
    assert!(said("server h").contains("with sessions"), "{report:#}");
    for subject in ["data folder", "seal key", "file descriptors", "clock", "program of s", "configuration"] {
        finding(&report, subject);
    }
}

#[test]
fn doctor_says_what_is_wrong_with_each_server_and_what_to_do() {
    let config = format!(
        "{}  absent: {{ command: [no-such-program-here] }}\n  dying: {{ command: [sh, -c, 'exit 3'] }}\n  \
         refused: {{ url: 'http://127.0.0.1:{}/mcp', headers: {{ X-Key: hunter2 }} }}\n  \
         nowhere: {{ url: 'http://no-such-host.invalid/mcp?token=hunter2' }}\n",
        one_fixture(&[]),
        free_port(),
    );
    let (code, report) = doctor(&config);
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(finding(&report, "server s")["level"], "ok", "{report:#}");
    assert_eq!(finding(&report, "program of absent")["level"], "problem");
    for (server, advice) in [
        ("absent", "PATH"),
        ("dying", "by hand"),
        ("refused", "nothing listens there"),
        ("nowhere", "spelling"),
    ] {
        let finding = finding(&report, &format!("server {server}"));
        assert_eq!(finding["level"], "problem", "{report:#}");
        assert!(finding["advice"].as_str().is_some_and(|text| text.contains(advice)), "{finding}");
    }
    assert!(!report.to_string().contains("hunter2"), "{report:#}");
}

#[test]
fn doctor_checks_a_gateway_that_runs() {
    let gateway = Gateway::start(&one_fixture(&[]));
    let checked = gateway.cli(&["doctor", "--url", gateway.url(), "--json"]);
    let report: Value = serde_json::from_str(&checked.stdout).expect("JSON");
    assert_eq!(checked.code(), Some(0), "{report:#}");
    for subject in
        ["/healthz", "server s", "handshake 2026-07-28 (stateless)", "handshake 2025-11-25 (with sessions)"]
    {
        assert_eq!(finding(&report, subject)["level"], "ok");
    }
    let listen = format!("127.0.0.1:{}", gateway.port());
    let occupied = gateway.cli(&["doctor", "--listen", &listen]);
    assert_eq!(occupied.code(), Some(0), "{}", occupied.stdout);
    assert!(occupied.stdout.contains("a gateway runs there already"), "{}", occupied.stdout);
    let nobody = gateway.cli(&["doctor", "--url", &format!("http://127.0.0.1:{}/mcp", free_port())]);
    assert_eq!(nobody.code(), Some(1), "{}", nobody.stdout);
    assert_eq!(gateway.cli(&["doctor", "--no-such-option"]).code(), Some(2));
}
