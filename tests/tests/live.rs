//! Edits of the configuration while the gateway runs: what comes into force, what goes on, and who hears of it.
#![allow(clippy::print_stdout, reason = "a failure shows which pairing it was")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::{Body, Request, Response};
use portcullis_tests::scenario::{answer, fixture, received, text};
use portcullis_tests::sse::Events;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{toolbox, wait};
use serde_json::{Value, json};

const FILE: &str = "portcullis.yaml";
const TOOLS: &str = "notifications/tools/list_changed";
const PROMPTS: &str = "notifications/prompts/list_changed";
const RESOURCES: &str = "notifications/resources/list_changed";
const READ: &str = "the configuration was read again";

/// A configuration with these servers.
fn config(servers: &[(&str, &Value)]) -> String {
    with_settings("{}", servers)
}

fn with_settings(settings: &str, servers: &[(&str, &Value)]) -> String {
    let entries = servers.iter().map(|(name, server)| format!("  {name}: {server}\n"));
    format!("version: 1\ngateway: {settings}\nservers:\n{}", entries.collect::<String>())
}

/// A server on standard input and output that differs from others by its environment.
fn marked(mark: &str) -> Value {
    let mut server = fixture(&[]);
    server["env"] = json!({ "MARK": mark });
    server
}

fn offers(agent: &Agent, tool: &str) -> bool {
    agent.tools().iter().any(|name| name == tool)
}

fn await_tool(agent: &Agent, tool: &str) {
    wait::expect(tool, || offers(agent, tool));
}

fn await_no_tool(agent: &Agent, tool: &str) {
    wait::expect(&format!("{tool} to go"), || !offers(agent, tool));
}

fn await_log(gateway: &Gateway, what: &str) {
    wait::expect(what, || gateway.log().contains(what));
}

fn pid(agent: &Agent, server: &str) -> Pid {
    let pid = agent.call(&format!("{server}__pid"), &json!({}));
    Pid::from_raw(text(&pid).parse().expect("a process id"))
}

fn await_end(pid: Pid) {
    wait::expect("the process's end", || kill(pid, None).is_err());
}

fn both_eras(url: &str) -> [Agent; 2] {
    [Agent::modern(url), Agent::legacy(url)]
}

#[test]
fn servers_come_change_and_go() {
    let gateway = Gateway::start(&config(&[("a", &marked("1"))]));
    let agents = both_eras(gateway.url());
    let stays = pid(&agents[0], "a");
    gateway.write(FILE, &config(&[("a", &marked("1")), ("b", &marked("1"))]));
    for agent in &agents {
        await_tool(agent, "b__echo");
    }
    await_log(&gateway, &format!("{READ}: added b"));
    let before = pid(&agents[0], "b");
    gateway.write(FILE, &config(&[("a", &marked("1")), ("b", &marked("2"))]));
    await_log(&gateway, &format!("{READ}: changed b"));
    for agent in &agents {
        // Its tools were there all the time; a call waits for the new process.
        let mark = agent.call("b__env", &json!({ "name": "MARK" }));
        assert_eq!(mark["structuredContent"]["value"], "2");
    }
    await_end(before);
    let last = pid(&agents[0], "b");
    gateway.write(FILE, &config(&[("a", &marked("1"))]));
    for agent in &agents {
        await_no_tool(agent, "b__echo");
    }
    await_log(&gateway, &format!("{READ}: removed b"));
    await_end(last);
    assert_eq!(Request::get(&gateway.url_of("/readyz")).send().json()["servers"]["b"], Value::Null);
    let refused = agents[0].error("tools/call", json!({ "name": "b__echo" }));
    assert_eq!(refused["code"], -32602);
    assert_eq!(pid(&agents[1], "a"), stays, "a server that is configured as before is left alone");
}

#[test]
fn settings_of_the_gateway_apply() {
    let servers = [("a", &fixture(&[]))];
    let gateway = Gateway::start(&config(&servers));
    let agents = both_eras(gateway.url());
    gateway
        .write(FILE, &with_settings("{ naming: none, allowed_origins: ['https://app.example'] }", &servers));
    for agent in &agents {
        await_tool(agent, "echo");
    }
    assert!(!offers(&agents[0], "a__echo"));
    let page = agents[0].post("tools/list", json!({})).header("Origin", "https://app.example");
    assert_eq!(page.send().status, 200);
    gateway.write(FILE, &with_settings("{ legacy: false, request_limit: 2KiB }", &servers));
    await_log(&gateway, "changed settings of the gateway");
    wait::expect("sessions to be refused", || agents[1].post("tools/list", json!({})).send().status != 200);
    assert_eq!(page.send().status, 403);
    let large = agents[0]
        .post("tools/call", json!({ "name": "a__echo", "arguments": { "message": "x".repeat(3000) } }));
    assert_eq!(large.send().status, 413);
}

#[test]
fn running_calls_end_where_they_began() {
    for (era, next) in [("modern", None), ("legacy", Some("2"))] {
        println!("a {era} server, then {next:?}");
        let folder = toolbox::scratch();
        let record = folder.path().join("record");
        let mut server = fixture(&["--era", era, "--record", &record.display().to_string()]);
        server["env"] = json!({ "MARK": "1" });
        let gateway = Gateway::start(&config(&[("a", &server)]));
        let agents = both_eras(gateway.url());
        let old = pid(&agents[0], "a");
        let sleep = json!({ "name": "a__sleep", "arguments": { "ms": 4000 } });
        let calls = agents.each_ref().map(|agent| {
            let request = agent.post("tools/call", sleep.clone());
            thread::spawn(move || request.send().messages().pop())
        });
        let running = |line: &Value| line["body"]["params"]["name"] == "sleep";
        wait::expect("the calls", || received(record.clone()).into_iter().filter(running).count() == 2);
        server["env"] = json!({ "MARK": next });
        gateway.write(FILE, &if next.is_some() { config(&[("a", &server)]) } else { config(&[]) });
        await_log(&gateway, READ);
        assert!(kill(old, None).is_ok(), "it still answers calls");
        if let Some(next) = next {
            let mark = agents[0].call("a__env", &json!({ "name": "MARK" }));
            assert_eq!(mark["structuredContent"]["value"], next);
        } else {
            assert!(agents[0].tools().is_empty());
        }
        for call in calls {
            let last = call.join().expect("the call ends").expect("an answer");
            assert_eq!(text(&last["result"]), "Slept 4000 ms");
        }
        await_end(old);
    }
}

#[test]
fn an_agent_still_answers_what_a_removed_server_has_asked() {
    let upstream = Upstream::fixture(&["--era", "legacy"]);
    for server in [fixture(&["--era", "legacy"]), json!({ "url": upstream.url() })] {
        let gateway = Gateway::start(&config(&[("a", &server)]));
        let agent =
            Agent::modern(gateway.url()).capabilities(json!({ "elicitation": {} })).handshake("2025-11-25");
        let call = agent.post("tools/call", json!({ "name": "a__ask_elicitation" })).send();
        let mut messages = Messages::of(call);
        let question =
            messages.find(|message| message["method"] == "elicitation/create").expect("a question");
        let mut changed = server.clone();
        changed["timeout"] = json!("50s");
        gateway.write(FILE, &config(&[("a", &changed)]));
        await_log(&gateway, READ);
        // The session goes on, and has another link to the new server.
        assert_eq!(text(&agent.call("a__echo", &json!({}))), "{}");
        let reply = json!({ "action": "accept", "content": { "answer": "late" } });
        assert_eq!(answer(&agent, &question["id"], &reply).status, 202);
        let last = messages.find(|message| message.get("method").is_none()).expect("the call ends");
        assert!(text(&last["result"]).contains("late"), "{last}");
    }
}

#[test]
fn the_session_with_a_removed_server_is_ended() {
    let folder = toolbox::scratch();
    let record = folder.path().join("record");
    let upstream = Upstream::fixture(&["--era", "legacy", "--record", &record.display().to_string()]);
    let gateway = Gateway::start(&config(&[("a", &json!({ "url": upstream.url() }))]));
    await_tool(&Agent::modern(gateway.url()), "a__echo");
    let ended = || received(record.clone()).iter().any(|line| line["http"] == "DELETE");
    assert!(!ended());
    gateway.write(FILE, &config(&[]));
    wait::expect("the session's end", ended);
}

#[test]
fn an_edit_that_cannot_be_read_changes_nothing_and_says_why() {
    let gateway = Gateway::start(&config(&[("a", &marked("1"))]));
    let agent = Agent::modern(gateway.url());
    let before = pid(&agent, "a");
    gateway.write(FILE, "version: 1\ngateway: { naming: prefixes }\nservers:\n  b: { command: nothing }\n");
    await_log(&gateway, "portcullis.yaml:2:20: error: gateway.naming: expected `prefix` or `none`");
    await_log(&gateway, "the configuration stays as it is");
    gateway.write(FILE, "version: 1\nservers:\n  a: [\n");
    await_log(&gateway, "portcullis.yaml:4:1: error");
    fs::remove_file(gateway.folder().join(FILE)).expect("the file is there");
    await_log(&gateway, "cannot read");
    assert_eq!(pid(&agent, "a"), before);
    assert!(!gateway.log().contains(READ));
    gateway.write(FILE, &config(&[("a", &marked("1")), ("b", &marked("1"))]));
    await_tool(&agent, "b__echo");
    assert_eq!(pid(&agent, "a"), before);
}

#[test]
fn a_server_with_an_error_stays_as_it_was_and_harms_no_other() {
    let gateway = Gateway::start(&config(&[("a", &marked("1"))]));
    let agent = Agent::modern(gateway.url());
    let before = pid(&agent, "a");
    let wrong = json!({ "command": "no shell here" });
    gateway.write(FILE, &config(&[("a", &wrong), ("b", &marked("1")), ("c", &wrong)]));
    await_tool(&agent, "b__echo");
    await_log(&gateway, "portcullis.yaml:4:17: error: servers.a.command: the program contains a space");
    await_log(&gateway, "hint: write the program and each argument");
    await_log(&gateway, &format!("{READ}: added b; kept as before because of an error a"));
    assert_eq!(pid(&agent, "a"), before);
    let ready = Request::get(&gateway.url_of("/readyz")).send().json();
    assert_eq!(
        (&ready["servers"]["a"]["status"], &ready["servers"]["c"]["status"]),
        (&json!("up"), &json!("down"))
    );
    for server in ["a", "c"] {
        assert!(ready["servers"][server]["reason"].to_string().contains("contains a space"), "{ready}");
    }
}

#[test]
fn a_command_that_does_not_start_is_told_like_any_server_that_is_down() {
    let gateway = Gateway::start(&config(&[("a", &marked("1"))]));
    let agent = Agent::modern(gateway.url());
    let mut stream = Messages::of_subscription(&agent, &json!({ "toolsListChanged": true }));
    gateway.write(FILE, &config(&[("a", &json!({ "command": ["/nowhere/at/all"] }))]));
    assert_eq!(stream.next().expect("a change")["method"], TOOLS);
    assert!(agent.tools().is_empty());
    gateway.write(FILE, &config(&[("a", &marked("2"))]));
    assert_eq!(stream.next().expect("a change")["method"], TOOLS);
    assert!(offers(&agent, "a__echo"));
}

/// Puts a file in the place of another in one step, as editors do.
fn replace(path: &Path, content: &str) {
    let beside = path.with_extension("tmp");
    fs::write(&beside, content).expect("the test's folder can be written to");
    fs::rename(beside, path).expect("within one folder");
}

/// Makes a link lead elsewhere in one step.
fn relink(target: &str, link: &Path) {
    let beside = link.with_file_name("next");
    symlink(target, &beside).expect("a link can be made");
    fs::rename(beside, link).expect("within one folder");
}

#[test]
fn a_file_may_be_replaced_instead_of_rewritten() {
    let gateway = Gateway::start(&config(&[("a", &marked("1"))]));
    let agent = Agent::modern(gateway.url());
    for server in ["b", "c", "d"] {
        replace(&gateway.folder().join(FILE), &config(&[("a", &marked("1")), (server, &marked("1"))]));
        await_tool(&agent, &format!("{server}__echo"));
    }
}

#[test]
fn the_links_that_lead_to_a_file_may_change() {
    let builder = Gateway::with("").config_path("mounted");
    let folder = builder.folder().join("mounted");
    for (version, server) in [("v1", "a"), ("v2", "b")] {
        fs::create_dir_all(folder.join(version)).expect("a folder can be made");
        fs::write(folder.join(version).join(FILE), config(&[(server, &marked("1"))])).expect("a file too");
    }
    symlink("v1", folder.join("..data")).expect("a link can be made");
    symlink(PathBuf::from("..data").join(FILE), folder.join(FILE)).expect("a link can be made");
    let gateway = builder.start();
    let agent = Agent::modern(gateway.url());
    await_tool(&agent, "a__echo");
    relink("v2", &folder.join("..data"));
    await_tool(&agent, "b__echo");
    assert!(!offers(&agent, "a__echo"));
}

#[test]
fn an_mcp_servers_file_is_followed_too() {
    let file = |name: &str| {
        let fixture = toolbox::fixture().display().to_string();
        json!({ "mcpServers": { name: { "command": fixture, "args": ["--stdio"] } } }).to_string()
    };
    let gateway = Gateway::with("").file("mcp.json", &file("a")).config_path("mcp.json").start();
    let agent = Agent::modern(gateway.url());
    await_tool(&agent, "a__echo");
    gateway.write("mcp.json", &file("b"));
    await_tool(&agent, "b__echo");
}

/// The messages of a stream, each as soon as it is there.
struct Messages(Events<Body>);

impl Messages {
    fn of(response: Response) -> Self {
        assert!(response.status == 200 && response.is_stream(), "{} and no stream", response.status);
        Self(response.events())
    }

    fn of_session(agent: &Agent, url: &str) -> Self {
        let request = Request::get(url)
            .header("Accept", "text/event-stream")
            .header("MCP-Protocol-Version", agent.version())
            .header("Mcp-Session-Id", agent.session().expect("a session"));
        Self::of(request.send())
    }

    fn of_subscription(agent: &Agent, notifications: &Value) -> Self {
        let params = json!({ "notifications": notifications });
        let mut stream = Self::of(agent.post("subscriptions/listen", params).send());
        let first = stream.next().expect("an acknowledgement");
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
        stream
    }
}

impl Iterator for Messages {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.0.by_ref().find(|event| !event.data.is_empty()).map(|event| event.json())
    }
}

/// A stream of each era at an endpoint.
fn listeners(url: &str) -> [Messages; 2] {
    let session = Messages::of_session(&Agent::legacy(url), url);
    let wanted = json!({ "toolsListChanged": true, "promptsListChanged": true });
    [session, Messages::of_subscription(&Agent::modern(url), &wanted)]
}

#[test]
fn whoever_is_shown_a_change_hears_of_it_and_nobody_else() {
    let servers = [("a", &marked("1")), ("b", &marked("1"))];
    let gateway = Gateway::start(&config(&servers));
    let agent = Agent::modern(gateway.url());
    let [mut all, mut narrow] = ["/mcp", "/mcp/servers/a"].map(|path| listeners(&gateway.url_of(path)));
    let hear = |stream: &mut Messages, changes: &[&str]| {
        for change in changes {
            assert_eq!(stream.next().expect("a change")["method"], *change);
        }
    };
    // Another server comes.
    gateway.write(FILE, &config(&[servers[0], servers[1], ("c", &marked("1"))]));
    await_tool(&agent, "c__echo");
    hear(&mut all[0], &[TOOLS, PROMPTS, RESOURCES]);
    hear(&mut all[1], &[TOOLS, PROMPTS]);
    // One begins anew and offers the same: nobody's view has changed.
    let before = pid(&agent, "b");
    gateway.write(FILE, &config(&[servers[0], ("b", &marked("2")), ("c", &marked("1"))]));
    await_end(before);
    wait::expect("the new process", || {
        agent.ask("tools/call", json!({ "name": "b__pid" })).get("result").is_some()
    });
    // A setting that shows nowhere.
    gateway.write(
        FILE,
        &with_settings("{ request_limit: 1MiB }", &[servers[0], ("b", &marked("2")), ("c", &marked("1"))]),
    );
    await_log(&gateway, "changed settings of the gateway");
    agent.call("a__test_trigger_prompt_change", &json!({}));
    for stream in all.iter_mut().chain(&mut narrow) {
        hear(stream, &[PROMPTS]);
    }
}

#[test]
fn streams_of_an_endpoint_that_is_gone_end() {
    let servers = [("a", &marked("1")), ("b", &marked("1"))];
    let gateway = Gateway::start(&config(&servers));
    let url = gateway.url_of("/mcp/servers/a");
    let [session, subscription] = listeners(&url);
    gateway.write(FILE, &config(&servers[1..]));
    assert!(session.last().is_none(), "it ends without a word");
    assert_eq!(subscription.last().expect("a graceful end")["result"]["resultType"], "complete");
    assert_eq!(Agent::modern(&url).post("tools/list", json!({})).send().status, 404);
}

#[test]
fn subscriptions_go_on_at_the_server_that_has_the_name_now() {
    const WATCHED: &str = "test://watched-resource";
    let gateway = Gateway::start(&config(&[("a", &marked("1"))]));
    let agent = Agent::legacy(gateway.url());
    let session = Messages::of_session(&agent, gateway.url());
    agent.result("resources/subscribe", json!({ "uri": WATCHED }));
    let modern = Agent::modern(gateway.url());
    let stream = Messages::of_subscription(&modern, &json!({ "resourceSubscriptions": [WATCHED] }));
    gateway.write(FILE, &config(&[("a", &marked("2"))]));
    for mut stream in [session, stream] {
        // What changed meanwhile is not known: once for that, once for what follows.
        let mut updated = || {
            let updated = stream.find(|message| message["method"] == "notifications/resources/updated");
            assert_eq!(updated.expect("an update")["params"]["uri"], WATCHED);
        };
        updated();
        modern.call("a__update_resource", &json!({}));
        updated();
    }
}

/// The processes that a process has started and that still run, and what it has open but for files: those of its stores are
/// opened when they are first needed, and stay open.
fn holdings(process: Pid) -> (usize, usize) {
    let parent = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<i32>().ok()
    };
    let all = fs::read_dir("/proc").expect("processes are listed").flatten();
    let children = all.filter_map(parent).filter(|parent| *parent == process.as_raw()).count();
    let open = fs::read_dir(format!("/proc/{process}/fd")).expect("the process runs").flatten();
    let is_file = |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|link| link.is_absolute());
    (children, open.filter(|entry| !is_file(entry)).count())
}

#[test]
fn nothing_is_left_behind_by_many_edits() {
    let upstream = Upstream::fixture(&["--era", "legacy"]);
    let remote = json!({ "url": upstream.url() });
    let first = config(&[("a", &marked("0")), ("r", &remote)]);
    let mut gateway = Gateway::start(&first);
    let agent = Agent::legacy(gateway.url());
    let process = gateway.process().id();
    await_tool(&agent, "a__echo");
    await_tool(&agent, "r__echo");
    let (children, open) = holdings(process);
    for round in 1..=50 {
        let extra = marked(&format!("{round}"));
        let edit = if round % 2 == 1 {
            config(&[("a", &extra), ("b", &marked("0"))])
        } else {
            config(&[("a", &extra), ("r", &remote)])
        };
        gateway.write(FILE, &edit);
        gateway.process().signal(Signal::SIGHUP);
        wait::expect("the edit", || gateway.log().matches(READ).count() >= round);
        if round % 10 == 0 {
            assert_eq!(text(&agent.call("a__echo", &json!({}))), "{}");
        }
    }
    gateway.write(FILE, &first);
    gateway.process().signal(Signal::SIGHUP);
    await_tool(&agent, "r__echo");
    assert_eq!(text(&agent.call("a__echo", &json!({}))), "{}");
    let mut now = (0, 0);
    let settled = wait::until(wait::PATIENCE * 2, || {
        now = holdings(process);
        // A connection or two may be kept for later.
        (now.0 == children && now.1 <= open + 4).then_some(())
    });
    assert!(settled.is_some(), "{now:?} after, {children} processes and {open} open before");
}
