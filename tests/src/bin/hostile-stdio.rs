//! A stdio server that breaks the rule that its first argument names, once its tool is called.

#![allow(clippy::print_stderr, reason = "it is what the test is about")]

use std::io::{self, BufRead, Write};
use std::process;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

fn main() {
    let case = std::env::args().nth(1).unwrap_or_default();
    for line in io::stdin().lock().lines() {
        let Ok(message) = line.map(|line| serde_json::from_str::<Value>(&line).unwrap_or_default()) else {
            return;
        };
        if message["method"] == "tools/call" {
            attack(&case, &message);
        } else if message.get("id").is_some() {
            behave(&message);
        }
    }
}

fn attack(case: &str, call: &Value) {
    match case {
        "silent" => {}
        "dies" => process::exit(3),
        "killed" => {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).ok();
        }
        "half-line" => {
            say("{\"jsonrpc\":\"2.0\",\"id\":");
            process::exit(0);
        }
        "deaf" => loop {
            thread::park_timeout(Duration::from_mins(1));
        },
        "closes-output" => {
            nix::unistd::close(1).ok();
            loop {
                thread::park_timeout(Duration::from_mins(1));
            }
        }
        "junk" => {
            say(&"this is no JSON\n".repeat(100));
            answer(call);
        }
        "long-line" => {
            for _ in 0..100 {
                say(&"x".repeat(1 << 20));
            }
            say("\n");
        }
        "flood" => loop {
            say(&line(
                &json!({ "method": "notifications/progress", "params": { "progressToken": "nobody's" } }),
            )
            .repeat(1000));
        },
        "storm" => {
            for _ in 0..10_000 {
                say(&line(&json!({ "method": "notifications/tools/list_changed" })));
            }
            answer(call);
        }
        "asks" => {
            for method in
                ["sampling/createMessage", "elicitation/create", "roots/list", "gateway/shutdown", "ping"]
            {
                say(&line(&json!({ "id": "q", "method": method, "params": {} })));
            }
            answer(call);
        }
        "others" => {
            for id in [json!(1), json!("x"), json!(null), json!(-1), json!(1e300)] {
                say(&line(&json!({ "id": id, "result": {} })));
            }
            answer(call);
            answer(call);
        }
        "malformed" => say(&line(&json!({ "id": call["id"], "result": {}, "error": {} }))),
        "loud" => {
            for _ in 0..20_000 {
                eprintln!("\u{1b}[2J{}", "noise ".repeat(20));
            }
            answer(call);
        }
        _ => answer(call),
    }
}

fn behave(message: &Value) {
    let result = match message["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": "2025-11-25", "capabilities": { "tools": { "listChanged": true } },
            "serverInfo": { "name": "hostile", "version": "1" },
        }),
        Some("tools/list") => json!({ "tools": [{ "name": "x", "inputSchema": { "type": "object" } }] }),
        Some("ping") => json!({}),
        _ => {
            let error = json!({ "code": -32601, "message": "Method not found" });
            return say(&line(&json!({ "id": message["id"], "error": error })));
        }
    };
    say(&line(&json!({ "id": message["id"], "result": result })));
}

fn answer(call: &Value) {
    let result = json!({ "content": [{ "type": "text", "text": "fine" }] });
    say(&line(&json!({ "id": call["id"], "result": result })));
}

fn line(message: &Value) -> String {
    let mut message = message.clone();
    message["jsonrpc"] = json!("2.0");
    format!("{message}\n")
}

fn say(text: &str) {
    let mut out = io::stdout().lock();
    // Whoever reads may be gone: then there is nothing to do here any more.
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        process::exit(1);
    }
}
