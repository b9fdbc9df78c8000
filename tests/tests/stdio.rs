//! `portcullis stdio`, driven line by line as an agent drives it that only speaks stdio.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use portcullis_tests::agent::{LEGACY, MODERN};
use portcullis_tests::scenario::{received, stdio_fixture, text};
use portcullis_tests::toolbox;
use portcullis_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};
use tempfile::TempDir;

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// The eras of servers that stand behind the gateway.
const ERAS: [&str; 2] = ["modern", "legacy"];

/// The gateway at the other end of two pipes; gone with the value.
struct Pipe {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    folder: TempDir,
}

impl Pipe {
    /// Starts the gateway before one fixture server, called `s`.
    fn before(era: &str) -> Self {
        let folder = toolbox::scratch();
        let record = folder.path().join("record").display().to_string();
        let server = stdio_fixture(&["--era", era, "--record", &record]);
        let config = folder.path().join("portcullis.yaml");
        std::fs::write(&config, format!("version: 1\nservers:\n  s: {server}\n")).expect("it can be written");
        Self::start(folder, &config)
    }

    /// Starts the gateway with this configuration.
    fn start(folder: TempDir, config: &Path) -> Self {
        let mut command = Command::new(toolbox::gateway());
        command.arg("stdio").arg("--config").arg(config).arg("--data-dir").arg(folder.path().join("data"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().expect("the gateway can be started");
        let (sender, output) = channel();
        let lines = BufReader::new(child.stdout.take().expect("the pipe was asked for")).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { input: child.stdin.take(), child, output, folder }
    }

    /// Starts the gateway and does the handshake.
    fn legacy(era: &str, capabilities: &Value) -> Self {
        let mut pipe = Self::before(era);
        let client = json!({ "name": "x", "version": "1" });
        let params = json!({ "protocolVersion": LEGACY, "capabilities": capabilities, "clientInfo": client });
        let answer = pipe.ask(&json!(0), "initialize", params);
        assert_eq!(answer["result"]["protocolVersion"], LEGACY, "{answer}");
        pipe.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        pipe
    }

    fn send(&mut self, message: &Value) {
        self.send_line(&message.to_string());
    }

    fn send_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("the input is open");
        input.write_all(format!("{line}\n").as_bytes()).expect("the gateway reads");
    }

    /// Sends a request with these parameters.
    fn request(&mut self, id: &Value, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
    }

    /// The next line, as it came.
    fn next_line(&self) -> String {
        self.output.recv_timeout(PATIENCE).expect("the gateway says something")
    }

    /// The next message that `wanted` accepts; others are passed over.
    fn find(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.next_line();
            let message = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if wanted(&message) {
                return message;
            }
        }
    }

    /// Sends a request and waits for its response.
    fn ask(&mut self, id: &Value, method: &str, params: Value) -> Value {
        self.request(id, method, params);
        self.find(|message| message["id"] == *id && message.get("method").is_none())
    }

    /// Calls a tool and waits for its result.
    fn call(&mut self, id: &Value, tool: &str, arguments: &Value, meta: &Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
        let mut answer = self.ask(id, "tools/call", params);
        assert!(answer.get("result").is_some(), "{answer}");
        answer["result"].take()
    }

    /// Whether the server has received a call of this tool.
    fn has_called(&self, tool: &str) -> bool {
        let lines = received(self.folder.path().join("record"));
        lines.iter().any(|line| line["body"]["params"]["name"] == tool)
    }

    /// Waits for the end, and answers the exit code.
    fn end(&mut self) -> Option<i32> {
        drop(self.input.take());
        let status = wait::until(PATIENCE, || self.child.try_wait().expect("a child can be waited for"));
        status.expect("the gateway ends with its input").code()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        drop(self.input.take());
        if let Ok(id) = i32::try_from(self.child.id()) {
            // It may be gone already.
            killpg(Pid::from_raw(id), Signal::SIGTERM).ok();
        }
        self.child.wait().ok();
    }
}

/// What a modern request carries.
fn modern() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "x", "version": "1" }
    })
}

/// The same with a progress token.
fn with_token(token: &str, mut meta: Value) -> Value {
    meta["progressToken"] = json!(token);
    meta
}

#[test]
fn an_agent_of_either_era_lists_and_calls() {
    for era in ERAS {
        let mut pipe = Pipe::legacy(era, &json!({}));
        let tools = pipe.ask(&json!("list"), "tools/list", json!({}));
        assert!(tools["result"]["tools"].as_array().is_some_and(|tools| tools.len() > 50), "{tools}");
        let echo = pipe.call(&json!(2), "s__echo", &json!({ "a": 1 }), &json!({}));
        assert_eq!(echo["structuredContent"], json!({ "a": 1 }));
        assert_eq!(pipe.ask(&json!(3), "ping", json!({}))["result"], json!({}));
        assert_eq!(pipe.end(), Some(0));

        let mut pipe = Pipe::before(era);
        let discovered = pipe.ask(&json!(1), "server/discover", json!({ "_meta": modern() }));
        assert_eq!(discovered["result"]["supportedVersions"], json!([MODERN]));
        let echo = pipe.call(&json!(2), "s__echo", &json!({ "a": 1 }), &modern());
        assert_eq!(
            (&echo["structuredContent"], &echo["resultType"]),
            (&json!({ "a": 1 }), &json!("complete"))
        );
        let unknown = pipe.ask(&json!(3), "tools/call", json!({ "name": "s__nothing", "_meta": modern() }));
        assert_eq!(unknown["error"]["code"], -32602);
        assert_eq!(pipe.end(), Some(0));
    }
}

#[test]
fn every_byte_of_a_call_is_kept() {
    let arguments = r#"{"one":1.0,"huge":1e400,"big":123456789012345678901234567890,"z":1,"a":2}"#;
    for era in ERAS {
        let mut pipe = Pipe::before(era);
        let meta = modern();
        pipe.send_line(&format!(
            r#"{{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{{"name":"s__echo","arguments":{arguments},"_meta":{meta}}}}}"#
        ));
        let line = pipe.next_line();
        assert!(line.contains(&format!("\"structuredContent\":{arguments}")), "{line}");
        assert!(line.contains("\"id\":\"x\""), "{line}");
    }
}

#[test]
fn what_is_no_message_is_answered_and_survived() {
    let mut pipe = Pipe::legacy("modern", &json!({}));
    for (line, code) in [("nonsense", -32700), ("{\"jsonrpc\":\"2.0\"", -32700), ("{\"id\":1}", -32600)] {
        pipe.send_line(line);
        let answer = pipe.find(|_| true);
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
    }
    pipe.send_line("");
    assert_eq!(pipe.ask(&json!(7), "ping", json!({}))["result"], json!({}));
}

#[test]
fn progress_comes_as_lines_before_the_answer() {
    for era in ERAS {
        let (legacy, stateless) = (Pipe::legacy(era, &json!({})), Pipe::before(era));
        for (mut pipe, meta) in [(legacy, json!({})), (stateless, modern())] {
            for (id, token) in [(1, "a"), (2, "b")] {
                let arguments = json!({ "n": id + 2 });
                let meta = with_token(token, meta.clone());
                let params = json!({ "name": "s__progress_many", "arguments": arguments, "_meta": meta });
                pipe.request(&json!(id), "tools/call", params);
            }
            let mut seen = Vec::new();
            let mut answers = 0;
            while answers < 2 {
                let message = pipe.find(|_| true);
                if message["method"] == "notifications/progress" {
                    seen.push(message["params"]["progressToken"].as_str().unwrap_or_default().to_owned());
                } else {
                    answers += 1;
                }
            }
            seen.sort();
            assert_eq!(seen.concat(), "aaabbbb", "a {era} server");
        }
    }
}

#[test]
fn a_call_is_cancelled_by_a_notification() {
    for era in ERAS {
        let (legacy, stateless) = (Pipe::legacy(era, &json!({})), Pipe::before(era));
        for (mut pipe, meta) in [(legacy, json!({})), (stateless, modern())] {
            let params = json!({ "name": "s__sleep", "arguments": { "ms": 600_000 }, "_meta": meta });
            pipe.request(&json!("call"), "tools/call", params);
            wait::expect("the call to reach the server", || pipe.has_called("sleep"));
            let params = json!({ "requestId": "call", "_meta": meta });
            pipe.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }));
            let mut number = 0;
            wait::expect("the cancellation to reach the server", || {
                number += 1;
                text(&pipe.call(&json!(number), "s__cancelled_count", &json!({}), &meta)) == "1"
            });
        }
    }
}

#[test]
fn changes_arrive_as_lines() {
    for era in ERAS {
        let mut pipe = Pipe::legacy(era, &json!({}));
        pipe.call(&json!(1), "s__change_tools", &json!({}), &json!({}));
        pipe.find(|message| message["method"] == "notifications/tools/list_changed");
        let watched = json!({ "uri": "test://watched-resource" });
        pipe.ask(&json!(2), "resources/subscribe", watched.clone());
        pipe.request(&json!(3), "tools/call", json!({ "name": "s__update_resource" }));
        let updated = pipe.find(|message| message["method"] == "notifications/resources/updated");
        assert_eq!(updated["params"]["uri"], watched["uri"]);

        let mut pipe = Pipe::before(era);
        let params = json!({ "notifications": { "toolsListChanged": true }, "_meta": modern() });
        pipe.request(&json!("sub"), "subscriptions/listen", params);
        let first = pipe.find(|_| true);
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
        assert_eq!(first["params"]["_meta"][SUBSCRIPTION], "sub");
        let params = json!({ "name": "s__change_tools", "_meta": modern() });
        pipe.request(&json!(2), "tools/call", params);
        let change = pipe.find(|message| message["method"] == "notifications/tools/list_changed");
        assert_eq!(change["params"]["_meta"][SUBSCRIPTION], "sub");
    }
}

#[test]
fn a_server_can_ask_the_agent() {
    let mut pipe = Pipe::legacy("legacy", &json!({ "elicitation": {}, "roots": {} }));
    pipe.request(&json!(1), "tools/call", json!({ "name": "s__ask_elicitation" }));
    let question = pipe.find(|message| message["method"] == "elicitation/create");
    let result = json!({ "action": "accept", "content": { "answer": "blue" } });
    pipe.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": result }));
    let end = pipe.find(|message| message["id"] == 1);
    assert!(text(&end["result"]).contains("blue"), "{end}");
}

#[test]
fn the_gateway_ends_with_its_input_and_takes_the_servers_along() {
    for era in ERAS {
        let mut pipe = Pipe::before(era);
        let pid = pipe.call(&json!(1), "s__pid", &json!({}), &modern());
        let pid = Pid::from_raw(text(&pid).parse().expect("a process id"));
        let sleep = json!({ "name": "s__sleep", "arguments": { "ms": 600_000 }, "_meta": modern() });
        pipe.request(&json!(2), "tools/call", sleep);
        wait::expect("the call to reach the server", || pipe.has_called("sleep"));
        assert_eq!(pipe.end(), Some(0), "a call that runs does not hold it up for ever");
        assert!(nix::sys::signal::kill(pid, None).is_err(), "the server outlives the gateway");
    }
}

#[test]
fn a_signal_takes_the_servers_along() {
    let folder = toolbox::scratch();
    let (config, pid) = (folder.path().join("portcullis.yaml"), folder.path().join("pid"));
    // It does not notice that its input ends; `$$` is one dollar sign in the configuration.
    let script = format!("echo $$$$ >{}; exec sleep 1000", pid.display());
    let server = json!({ "command": ["sh", "-c", script] });
    std::fs::write(&config, format!("version: 1\nservers:\n  s: {server}\n")).expect("it can be written");
    let mut pipe = Pipe::start(folder, &config);
    let started = || std::fs::read_to_string(&pid).ok()?.trim().parse().ok().map(Pid::from_raw);
    let server = wait::until(PATIENCE, started).expect("the server's process");
    let gateway = i32::try_from(pipe.child.id()).expect("a process id");
    nix::sys::signal::kill(Pid::from_raw(gateway), Signal::SIGTERM).expect("the gateway runs");
    wait::until(PATIENCE, || pipe.child.try_wait().expect("a child")).expect("the gateway's end");
    let outlives = nix::sys::signal::kill(server, None).is_ok();
    nix::sys::signal::kill(server, Signal::SIGKILL).ok();
    assert!(!outlives, "the server outlives the gateway");
}
