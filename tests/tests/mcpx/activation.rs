//! Servers that are switched off and on again, by an edit while the gateway runs.

use std::fs;

use portcullis_tests::gateway::Gateway;
use portcullis_tests::wait;
use serde_json::json;

use super::callers::{Caller, DOORS, OPEN, file_of, fixture, folder, two_servers};

fn app(attributes: &str) -> String {
    format!("{OPEN}targetServerAttributes: {{ {attributes} }}\n")
}

fn served(gateway: &Gateway) -> Vec<Vec<String>> {
    DOORS.map(|door| Caller::anybody(gateway, door).servers()).into()
}

#[track_caller]
fn check(attributes: &str, served_servers: &[&str]) {
    let gateway = folder(&two_servers(), &app(attributes)).start();
    for servers in served(&gateway) {
        assert_eq!(servers, served_servers, "{attributes}");
    }
}

#[test]
fn a_server_is_named_without_regard_to_case_and_spaces_around_it() {
    check("tickets: { inactive: true }", &["files"]);
    check("Tickets: { inactive: true }", &["files"]);
    check("' TICKETS ': { inactive: true }, FILES: { inactive: false }", &["files"]);
    check("nobody: { inactive: true }", &["files", "tickets"]);
}

#[test]
fn what_an_inactive_server_has_is_neither_listed_nor_called() {
    let gateway = folder(&two_servers(), &app("tickets: { inactive: true }")).start();
    for door in DOORS {
        let mut caller = Caller::anybody(&gateway, door);
        let answered = caller.call("tickets__echo", &json!({}));
        assert_eq!(answered, Err("-32603 Tool tickets__echo is not available".to_owned()), "{door:?}");
        assert!(caller.call("files__echo", &json!({})).is_ok(), "{door:?}");
        let prompts = caller.names("prompts/list", "prompts");
        assert!(!prompts.is_empty() && prompts.iter().all(|name| name.starts_with("files__")), "{prompts:?}");
        // A URI is listed once for each server that has it.
        let resources = caller.names("resources/list", "resources");
        let of_one = resources.iter().filter(|name| name.ends_with("static-text")).count();
        assert_eq!(of_one, 1, "{door:?}: {resources:?}");
    }
}

#[test]
fn an_edit_switches_a_server_off_and_on_for_whoever_is_connected() {
    let gateway = folder(&two_servers(), &app("")).start();
    let mut callers = DOORS.map(|door| Caller::anybody(&gateway, door));
    for _ in 0..2 {
        gateway.write("mcpx/app.yaml", &app("tickets: { inactive: true }"));
        gateway.write("mcpx/app.yaml", &app("tickets: { inactive: true }, files: { inactive: false }"));
        for caller in &mut callers {
            wait::expect("it is off", || caller.servers() == ["files"]);
            let answered = caller.call("tickets__echo", &json!({}));
            assert_eq!(answered, Err("-32603 Tool tickets__echo is not available".to_owned()));
            assert!(caller.call("files__echo", &json!({})).is_ok());
        }
        gateway.write("mcpx/app.yaml", &app("tickets: { inactive: false }"));
        for caller in &mut callers {
            wait::expect("it is on", || caller.call("tickets__echo", &json!({})).is_ok());
            assert_eq!(caller.servers(), ["files", "tickets"]);
        }
    }
}

#[test]
fn what_is_said_of_a_server_that_is_gone_harms_nobody() {
    let gateway = folder(&two_servers(), &app("tickets: { inactive: true }")).start();
    gateway.write("mcpx/mcp.json", &file_of(&json!({ "files": fixture(), "later": fixture() })));
    wait::expect("the new server", || served(&gateway).iter().all(|servers| servers == &["files", "later"]));
    let checked = gateway.cli(&["check"]);
    assert_eq!(checked.code(), Some(0), "{}{}", checked.stdout, checked.stderr);
    let said = checked.stdout + &checked.stderr;
    assert!(said.contains("no server is named \"tickets\""), "{said}");
    gateway.write("mcpx/mcp.json", &file_of(&two_servers()));
    wait::expect("it is off still", || served(&gateway).iter().all(|servers| servers == &["files"]));
}

#[test]
fn the_files_stay_as_they_were_written() {
    let commented = format!("# why\n{}", app("tickets: { inactive: true }"));
    let gateway = folder(&two_servers(), &app("")).start();
    let written = format!("{}\n", file_of(&two_servers()));
    gateway.write("mcpx/mcp.json", &written);
    gateway.write("mcpx/app.yaml", &commented);
    wait::expect("the edit", || served(&gateway).iter().all(|servers| servers == &["files"]));
    let read = |name: &str| fs::read_to_string(gateway.folder().join(name)).expect("it is there");
    assert_eq!((read("mcpx/mcp.json"), read("mcpx/app.yaml")), (written, commented));
    let entries = fs::read_dir(gateway.folder().join("mcpx")).expect("it is there");
    assert_eq!(entries.count(), 2, "nothing is put beside them");
}
