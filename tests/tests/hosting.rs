//! What hosts servers holds a hostile one: each test runs in every place where servers are hosted, and what a place claims to
//! enforce is tried.
//!
//! The server is `tests/hosting/hostile.rs`. What is tried is what its tools do; what they say came of it is looked at.

#[path = "hosting/bombs.rs"]
mod bombs;
#[path = "hosting/gates.rs"]
mod gates;
#[path = "hosting/instances.rs"]
mod instances;
#[path = "hosting/leftovers.rs"]
mod leftovers;
#[path = "hosting/places.rs"]
mod places;
#[path = "hosting/told.rs"]
mod told;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::signal::Signal;
use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Readiness};
use portcullis_tests::scenario::text;
use portcullis_tests::toolbox;
use portcullis_tests::wait;
use serde_json::{Value, json};

use places::Place;
use told::hosted_servers_are_told;

/// A gateway before the hostile server at a place, and an agent that calls it.
struct Stage {
    gateway: Gateway,
    agent: Agent,
}

impl Stage {
    fn at(place: &Place, host: &Value) -> Self {
        Self::with(place, host, &[])
    }

    fn with(place: &Place, host: &Value, env: &[(&str, &str)]) -> Self {
        let stage = Self::whatever_comes(place, host, env);
        let up = wait::until(wait::PATIENCE, || (!stage.agent.tools().is_empty()).then_some(()));
        assert!(up.is_some(), "{}", stage.gateway.log());
        stage
    }

    /// The same where the server may not be started.
    fn whatever_comes(place: &Place, host: &Value, env: &[(&str, &str)]) -> Self {
        let config = json!({ "version": 1, "servers": { "s": place.server(host, env) } });
        let gateway = place.prepared(Gateway::with(&config.to_string())).until(Readiness::Listening).start();
        let agent = Agent::modern(gateway.url());
        Self { gateway, agent }
    }

    /// What the server says came of a deed.
    fn tries(&self, deed: &str, arguments: &Value) -> String {
        text(&self.agent.call(&format!("s__{deed}"), arguments)).to_owned()
    }

    /// What is said where a deed ends the server.
    fn fails(&self, deed: &str, arguments: &Value) -> String {
        let params = json!({ "name": format!("s__{deed}"), "arguments": arguments });
        self.agent.error("tools/call", params)["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// The number behind `name=` or `name: ` in what was said.
fn number(said: &str, name: &str) -> u64 {
    let after = said.split_once(name).map_or_else(|| panic!("no {name} in {said:?}"), |(_, after)| after);
    let digits: String =
        after.trim_start_matches(['=', ':', ' ']).chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number behind {name} in {said:?}"))
}

/// Whether something was refused to the server.
fn refused(said: &str) -> bool {
    said.starts_with("refused")
}

fn view(place: &Place) {
    let stage = Stage::with(place, &json!({}), &[("GREETING", "hello")]);
    let seen = stage.tries("view", &json!({}));
    let line = |name: &str| {
        let found = seen.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("no {name} in {seen}")).to_owned()
    };
    let variables = line("variables");
    assert!(variables.split(' ').any(|name| name == "GREETING"), "{seen}");
    assert!(
        !variables.replace("PORTCULLIS_VIA", "").replace("PORTCULLIS_HOSTED", "").contains("PORTCULLIS"),
        "{seen}"
    );
    if !place.sandboxed() {
        return;
    }
    // Process 1 of a container is its own init, with its own variables.
    let others = if place.is_container() { None } else { Some("/proc/1/environ") };
    for path in ["/etc/shadow", "/var/run/docker.sock"].into_iter().chain(others) {
        assert!(refused(&line(&format!("read {path}"))), "{seen}");
    }
    for path in ["/pwn", "/etc/pwn"] {
        assert!(refused(&line(&format!("write {path}"))), "{seen}");
    }
    assert_eq!(line("write /tmp/x"), "yes", "{seen}");
    assert_eq!(line("uid"), "65534", "{seen}");
    assert_eq!(line("CapEff"), "0000000000000000", "{seen}");
    let interfaces = line("interfaces");
    assert!(interfaces == "lo" || interfaces.is_empty(), "{seen}");
    if place.shares_kernel() {
        assert_eq!(line("NoNewPrivs"), "1", "{seen}");
        assert_eq!(line("Seccomp"), "2", "{seen}");
    }
}

fn nothing_is_reached(place: &Place) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let stage = Stage::at(place, &json!({}));
    let here = stage.tries("connect", &json!({ "host": "127.0.0.1", "port": port }));
    if !place.sandboxed() {
        assert_eq!(here, "connected");
        return;
    }
    assert!(refused(&here), "{here}");
    let there = stage.tries("connect", &json!({ "host": "198.51.100.7", "port": 443 }));
    assert!(refused(&there), "{there}");
    let datagram = stage.tries("udp", &json!({ "host": "198.51.100.7", "port": 53 }));
    assert!(refused(&datagram), "{datagram}");
    let name = stage.tries("lookup", &json!({ "name": "example.com" }));
    assert!(refused(&name), "{name}");
}

fn memory_is_bounded(place: &Place) {
    if !place.bounds() {
        return is_refused(place, &json!({ "memory": "64MiB" }), "does not bound `memory`");
    }
    let stage = Stage::at(place, &json!({ "memory": "64MiB" }));
    let said = stage.fails("eat", &json!({ "megabytes": 512 }));
    assert!(said.contains("needs more memory than `host.memory` allows (64 MiB)"), "{said}");
    assert!(stage.tries("eat", &json!({ "megabytes": 16 })).contains("megabytes=16"));
}

fn processors_are_bounded(place: &Place) {
    if !place.bounds() {
        return is_refused(place, &json!({ "cpus": 0.5 }), "does not bound `cpus`");
    }
    let stage = Stage::at(place, &json!({ "cpus": 0.25 }));
    let said = stage.tries("spin", &json!({ "seconds": 2 }));
    let (got, of) = (number(&said, "milliseconds"), number(&said, "of"));
    assert!(got * 2 < of, "a quarter of a processor for {of} ms, and {got} ms of it were used");
}

fn processes_are_bounded(place: &Place) {
    if !place.bounds() {
        return is_refused(place, &json!({ "pids": 16 }), "does not bound `pids`");
    }
    let stage = Stage::at(place, &json!({ "pids": 16 }));
    let said = stage.tries("fork", &json!({ "most": 200 }));
    let children = number(&said, "children");
    assert!((1..=16).contains(&children) && said.contains("refused="), "{said}");
    assert!(stage.tries("fork", &json!({ "most": 2 })).contains("children=2"));
}

fn files_are_bounded(place: &Place) {
    let stage = Stage::at(place, &json!({ "files": 64 }));
    let said = stage.tries("open", &json!({ "most": 1000 }));
    assert!(number(&said, "opened") <= 64 && said.contains("refused="), "{said}");
}

fn temporary_files_are_bounded(place: &Place) {
    if !place.sandboxed() {
        return is_refused(place, &json!({ "tmp": "1MiB" }), "`mounts` and `tmp` need another backend");
    }
    let stage = Stage::at(place, &json!({ "tmp": "2MiB" }));
    let said = stage.tries("fill", &json!({ "path": "/tmp/filled", "megabytes": 16 }));
    assert!(number(&said, "megabytes") <= 2 && said.contains("refused="), "{said}");
    let said = stage.tries("fill", &json!({ "path": "/dev/shm/filled", "megabytes": 512 }));
    assert!(said.contains("refused"), "{said}");
}

fn privileges_are_none(place: &Place) {
    if !place.sandboxed() {
        return;
    }
    let said = Stage::at(place, &json!({})).tries("privileges", &json!({}));
    // Engines have filters of their own: some let a process trace its children, and make namespaces in which it is nobody.
    let theirs =
        |line: &str| place.is_container() && (line.starts_with("trace") || line.starts_with("namespace"));
    for line in said.lines().filter(|line| !theirs(line)) {
        assert!(line.contains("refused"), "{said}");
    }
    assert!(said.lines().count() > 3, "{said}");
}

fn mounts_are_seen(place: &Place) {
    if !place.sandboxed() {
        return is_refused(place, &json!({ "mounts": ["/usr"] }), "`mounts` and `tmp` need another backend");
    }
    let folder = toolbox::scratch();
    let (read, write) = (folder.path().join("read"), folder.path().join("write"));
    for path in [&read, &write] {
        fs::create_dir(path).expect("a folder");
    }
    place.give(&write);
    let mounts = json!([{ "path": read, "to": "/given/read" }, { "path": write, "to": "/given/write", "write": true }]);
    let stage = Stage::at(place, &json!({ "mounts": mounts }));
    let write_to = |path: &str| stage.tries("write", &json!({ "path": path }));
    assert!(refused(&write_to("/given/read/x")), "{}", stage.gateway.log());
    assert!(!refused(&write_to("/given/write/x")));
    assert!(write.join("x").exists() && !read.join("x").exists());
}

fn the_protocol_is_broken_in_vain(place: &Place) {
    let stage = Stage::at(place, &json!({}));
    stage.tries("junk", &json!({}));
    stage.tries("stderr_flood", &json!({ "megabytes": 16 }));
    let said = stage.fails("long", &json!({ "megabytes": 80 }));
    assert!(said.contains("`gateway.limits.message`"), "{said}");
    let said = stage.fails("crash", &json!({ "code": 7 }));
    assert!(said.contains("exited with code 7"), "{said}");
    let said = stage.fails("crash", &json!({}));
    assert!(said.contains("SIGABRT") || said.contains("code 134"), "{said}");
    assert!(stage.tries("count", &json!({})).contains('1'));
}

fn nothing_stays_behind(place: &Place) {
    let mark = place.mark();
    let mut stage = Stage::with(place, &json!({}), &[("HOSTILE_MARK", &mark)]);
    stage.tries("ignore_term", &json!({}));
    if place.bounds() {
        stage.tries("daemonize", &json!({}));
    }
    assert!(!place.alive(&mark).is_empty(), "it runs");
    // In its own time: the gateway is patient with servers.
    stage.gateway.process().signal(Signal::SIGTERM);
    let ended = wait::until(wait::PATIENCE, || stage.gateway.process().ended());
    assert!(ended.is_some(), "the gateway is gone");
    let left = wait::until(wait::PATIENCE, || place.alive(&mark).is_empty().then_some(()));
    assert!(left.is_some(), "{:?} {}", place.alive(&mark), stage.gateway.log());
}

fn what_a_killed_gateway_leaves_is_swept(place: &Place) {
    let mark = place.mark();
    let mut stage = Stage::with(place, &json!({}), &[("HOSTILE_MARK", &mark)]);
    stage.tries("ignore_term", &json!({}));
    if place.bounds() {
        stage.tries("daemonize", &json!({}));
    }
    stage.gateway.process().signal(Signal::SIGKILL);
    let ended = wait::until(wait::PATIENCE, || stage.gateway.process().ended());
    assert!(ended.is_some(), "the gateway is gone");
    stage.gateway.restart();
    // The sweep comes before the first server.
    let agent = Agent::modern(stage.gateway.url());
    let up = wait::until(wait::PATIENCE, || (!agent.tools().is_empty()).then_some(()));
    assert!(up.is_some(), "{}", stage.gateway.log());
    let left = wait::until(wait::PATIENCE, || (place.alive(&mark).len() == place.of_one()).then_some(()));
    assert!(left.is_some(), "{:?} {}", place.alive(&mark), stage.gateway.log());
}

/// A server with these settings is not started, and this is said.
fn is_refused(place: &Place, host: &Value, why: &str) {
    let stage = Stage::whatever_comes(place, host, &[]);
    let params = json!({ "name": "s__view", "arguments": {} });
    let error = stage.agent.error("tools/call", params);
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    let said = wait::until(wait::PATIENCE, || stage.gateway.log().contains(why).then_some(()));
    assert!(said.is_some(), "{}", stage.gateway.log());
}

/// These tests in this place.
macro_rules! at {
    ($place:ident: $($name:ident),+ $(,)?) => {
        mod $place {
            $(#[test] fn $name() { super::$name(&super::Place::$place()); })+
        }
    };
}

/// Every test in these places.
macro_rules! in_places {
    ($($place:ident),+) => {
        $(at!($place:
            view,
            nothing_is_reached,
            memory_is_bounded,
            processors_are_bounded,
            processes_are_bounded,
            files_are_bounded,
            temporary_files_are_bounded,
            privileges_are_none,
            mounts_are_seen,
            the_protocol_is_broken_in_vain,
            nothing_stays_behind,
            what_a_killed_gateway_leaves_is_swept,
        );)+
    };
}

in_places!(process, bubblewrap, podman, docker);

// Where it has no virtual machine to use, each system call takes it long.
at!(gvisor:
    view,
    nothing_is_reached,
    memory_is_bounded,
    processors_are_bounded,
    temporary_files_are_bounded,
    nothing_stays_behind,
    what_a_killed_gateway_leaves_is_swept,
);

mod of_hosted {
    #[test]
    fn bubblewrap() {
        super::hosted_servers_are_told(&super::Place::bubblewrap());
    }

    #[test]
    fn podman() {
        super::hosted_servers_are_told(&super::Place::podman());
    }
}

#[test]
fn where_nothing_can_be_enforced_nothing_is_started() {
    let folder = toolbox::scratch();
    for program in ["sh", "cat", "sleep"] {
        symlink(Path::new("/bin").join(program), folder.path().join(program)).expect("a link");
    }
    let path = folder.path().display().to_string();
    let config = json!({ "version": 1, "servers": { "s": Place::bubblewrap().server(&json!({}), &[]) } });
    let gateway = Gateway::with(&config.to_string()).env("PATH", &path).until(Readiness::Listening).start();
    let error =
        Agent::modern(gateway.url()).error("tools/call", json!({ "name": "s__view", "arguments": {} }));
    let why = "no sandbox can be made here: `bwrap` is not installed";
    let said = wait::until(wait::PATIENCE, || gateway.log().contains(why).then_some(()));
    assert!(said.is_some(), "{}{error}", gateway.log());
}

/// A real server in node, which a version manager or the system has, sees its files and nothing else.
#[test]
fn real_servers_run_in_a_sandbox() {
    let peers = toolbox::scratch();
    fs::write(peers.path().join("seen.txt"), "what may be seen").expect("a file");
    let modules = toolbox::node_modules();
    let entry = toolbox::node_module("@modelcontextprotocol/server-filesystem/dist/index.js");
    let host = json!({ "mounts": [peers.path(), modules] });
    let server = json!({ "command": [toolbox::node(), entry, peers.path()], "host": host });
    let config = json!({ "version": 1, "servers": { "files": server } });
    let gateway = Gateway::start(&config.to_string());
    let agent = Agent::modern(gateway.url());
    let read = |path: String| agent.call("files__read_text_file", &json!({ "path": path }));
    let seen = read(peers.path().join("seen.txt").display().to_string());
    assert_eq!(seen["content"][0]["text"], "what may be seen", "{seen}");
}

/// A user without any rights has sandboxes too, and is told that bounds need more.
#[test]
fn users_without_rights_have_sandboxes() {
    // Theirs is no folder of whoever runs the tests.
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::copy(toolbox::gateway(), at("portcullis")).expect("the gateway can be copied");
    fs::copy(portcullis_tests::hosting::hostile(), at("hostile")).expect("the server can be copied");
    let call = |host: Value| {
        let config =
            json!({ "version": 1, "servers": { "s": { "command": [at("hostile")], "host": host } } });
        fs::write(at("portcullis.yaml"), config.to_string()).expect("a file");
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(at("portcullis"));
        command.args(["call", "s__view"]).current_dir(folder.path());
        command.env("HOME", folder.path()).env("PORTCULLIS_DATA_DIR", at("data"));
        portcullis_tests::process::run(command, &[], wait::PATIENCE)
    };
    let whose = std::process::Command::new("chown").args(["-R", "65534:65534"]).arg(folder.path()).status();
    assert!(whose.expect("chown can be started").success());
    let seen = call(json!({}));
    assert!(seen.stdout.contains("interfaces: lo\n"), "{}{}", seen.stdout, seen.stderr);
    assert!(seen.stdout.contains("read /etc/shadow: refused"), "{}", seen.stdout);
    assert!(seen.stdout.contains("write /pwn: refused"), "{}", seen.stdout);
    let bounded = call(json!({ "memory": "64MiB" }));
    assert!(bounded.stderr.contains("`memory` cannot be bounded here"), "{}", bounded.stderr);
}

/// What a description names cannot become an option of what starts it, nor reach what it does not name.
#[test]
fn descriptions_cannot_smuggle_anything() {
    let check = |server: Value| {
        let gateway = Gateway::with(&json!({ "version": 1, "servers": { "s": server } }).to_string());
        let gateway = gateway.until(Readiness::Answering).start();
        gateway.cli(&["check"]).stderr + &gateway.cli(&["check"]).stdout
    };
    let hostile = portcullis_tests::hosting::hostile();
    for (server, why) in [
        (json!({ "command": ["--bind", "/", "/"], "host": {} }), "a program does not begin with `-`"),
        (json!({ "command": [hostile], "host": {}, "env": { "LD_PRELOAD": "/x.so" } }), "LD_PRELOAD"),
        (json!({ "command": [hostile], "host": { "mounts": ["../.."] } }), "may not leave the folder"),
        (
            json!({ "command": [hostile], "host": { "mounts": [{ "path": "/usr", "to": "/a/../../etc" }] } }),
            "without `.` and `..`",
        ),
        (json!({ "command": [hostile], "host": {}, "cwd": "../x" }), "may not leave the folder"),
        (json!({ "host": { "image": "--privileged@sha256:0" } }), "an image with its digest"),
        (json!({ "host": { "image": "a:latest" } }), "an image with its digest"),
        (json!({ "host": { "npm": "--prefix=/@1.0.0" } }), "its exact version"),
    ] {
        let said = check(server);
        assert!(said.contains(why), "{why}: {said}");
    }
    // Arguments are arguments, whatever they look like.
    let args = json!({ "s": { "command": [hostile, "--bind", "/", "/", "--", "sh"], "host": {} } });
    let gateway = Gateway::start(&json!({ "version": 1, "servers": args }).to_string());
    let seen = Agent::modern(gateway.url()).call("s__view", &json!({}));
    assert!(text(&seen).contains("write /pwn: refused"), "{seen}");
}

/// The digest decides which image runs, and not the name that it was given; what is not there is not fetched.
#[test]
fn only_the_image_that_was_named_runs() {
    let place = Place::podman();
    let (name, digest) =
        portcullis_tests::engine::Engine::podman().hostile().split_once('@').expect("a digest");
    let other = format!("{name}@sha256:{}", "0".repeat(64));
    is_refused(&place, &json!({ "image": other }), "the engine does not hold the image");
    // Another name of the same image is the same image.
    let stage = Stage::at(&place, &json!({ "image": format!("localhost/other:2@{digest}") }));
    assert!(stage.tries("view", &json!({})).contains("uid: 65534"));
}
