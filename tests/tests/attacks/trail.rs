//! Case 37: somebody changes the trail, or makes it say what did not happen.

use std::fs;
use std::path::PathBuf;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::scenario::fixture;
use portcullis_tests::wait;
use serde_json::{Value, json};

fn gateway() -> Gateway {
    let audit = "{ arguments: true }";
    Gateway::start(&format!("version: 1\naudit: {audit}\nservers:\n  s: {}\n", fixture(&[])))
}

pub(crate) fn file(gateway: &Gateway) -> PathBuf {
    let find = || {
        let folder = fs::read_dir(gateway.data_dir().join("audit")).ok()?;
        let mut paths = folder.flatten().map(|entry| entry.path());
        paths.find(|path| path.extension().is_some_and(|e| e == "jsonl"))
    };
    wait::until(wait::PATIENCE, find).expect("there are lines")
}

pub(crate) fn lines(gateway: &Gateway, count: usize) -> Vec<String> {
    let read = || {
        let text = fs::read_to_string(file(gateway)).expect("text");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    wait::expect("the lines", || gateway.data_dir().join("audit.db").exists() && read().len() >= count);
    read()
}

/// Changes the lines, and answers what `verify` then says.
fn tampered(gateway: &Gateway, honest: &[String], change: impl FnOnce(&mut Vec<String>)) -> String {
    let mut lines = honest.to_vec();
    change(&mut lines);
    fs::write(file(gateway), lines.join("\n") + "\n").expect("the file can be written to");
    let verified = gateway.cli(&["audit", "verify"]);
    assert_eq!(verified.code(), Some(1), "{}{}", verified.stdout, verified.stderr);
    verified.stdout
}

#[test]
fn case_37_a_changed_trail_is_found_and_the_place_told() {
    let gateway = gateway();
    let agent = Agent::modern(gateway.url());
    for n in 0..6 {
        agent.call("s__echo", &json!({ "message": n.to_string() }));
    }
    let honest = lines(&gateway, 6);
    let check = |change: &dyn Fn(&mut Vec<String>), line: usize, what: &str| {
        let said = tampered(&gateway, &honest, change);
        let place = format!("{}:{line}: ", file(&gateway).display());
        assert!(said.contains(&place) && said.contains(what), "{place}{what}: {said}");
    };
    check(&|all| all[2] = all[2].replace("s__echo", "s__harmless"), 3, "entry 3: was altered");
    check(&|all| all[5] = all[5].replace("allowed", "denied"), 6, "entry 6: was altered");
    check(&|all| drop(all.remove(1)), 2, "entry 2: was removed");
    check(&|all| drop(all.remove(0)), 1, "entry 1: was removed");
    check(&|all| all.swap(2, 3), 3, "entry 3: is not in its place");
    let cut = tampered(&gateway, &honest, |all| all.truncate(4));
    assert!(cut.contains("entry 5: is missing") && cut.contains("entry 6"), "{cut}");
    fs::write(file(&gateway), honest.join("\n") + "\n").expect("the file can be written to");
    assert_eq!(gateway.cli(&["audit", "verify"]).code(), Some(0));
}

#[test]
fn case_37_nothing_that_is_said_becomes_a_line_or_moves_a_cursor() {
    let gateway = gateway();
    let agent = Agent::modern(gateway.url());
    let forged = "x\n{\"time\":\"2020-01-01T00:00:00.000Z\",\"id\":1,\"method\":\"audit/lost\"}\r\u{2028}\u{1b}[2J\u{202e}\u{7f}\u{85}";
    agent.call("s__echo", &json!({ "message": forged, forged: 1 }));
    agent.ask("tools/call", json!({ "name": forged, "arguments": {} }));
    agent.ask("resources/read", json!({ "uri": forged }));
    let mut message: Value =
        serde_json::from_str(&portcullis_tests::scenario::body_of(&agent.post("tools/list", json!({}))))
            .expect("a request is JSON");
    message["id"] = json!(forged);
    agent.post("tools/list", json!({})).body(message.to_string()).send();
    let lines = lines(&gateway, 4);
    assert_eq!(lines.len(), 4, "{lines:#?}");
    let printed = gateway.cli(&["audit", "tail", "-n", "50"]).stdout;
    assert_eq!(printed.lines().count(), 4, "{printed}");
    let csv = gateway.cli(&["audit", "export", "--format", "csv"]).stdout;
    assert_eq!(csv.lines().count(), 5, "{csv}");
    for text in lines.iter().chain([&printed, &csv]) {
        let moves =
            |c: char| (c.is_control() && c != '\n' && c != '\r') || matches!(c, '\u{2028}' | '\u{202e}');
        assert!(!text.contains(moves), "{text:?}");
    }
    let kept: Value = serde_json::from_str(&lines[0]).expect("JSON");
    assert_eq!(kept["args"]["message"], forged);
    assert_eq!(gateway.cli(&["audit", "verify"]).code(), Some(0));
}
