//! What the entries of an `mcp.json` come to.

use super::super::tests::{env, shown, source};
use crate::config::{Server, Transport, parse};
use crate::names::ServerName;
use crate::sorted::SortedMap;

/// Shows how one entry of `mcp.json` is reached.
fn server(entry: &str) -> String {
    let text = format!(r#"{{"mcpServers": {{"s": {entry}}}}}"#);
    let parsed = parse(
        &[source("mcp.json", &text), source("app.yaml", "permissions: { default: { block: [] } }")],
        &env,
    );
    match parsed.config.servers.get("s").map(|server| &server.transport) {
        None => shown(&parsed.problems),
        Some(Transport::Stdio(command)) => {
            format!("{} {:?} {:?}", command.program, command.args, command.env)
        }
        Some(Transport::Http(endpoint)) => format!("http {} {}", endpoint.url, headers(&endpoint.headers)),
        Some(Transport::Sse(endpoint)) => format!("sse {} {}", endpoint.url, headers(&endpoint.headers)),
    }
}

fn headers(headers: &http::HeaderMap) -> String {
    let shown = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII")));
    shown.collect::<Vec<_>>().join("; ")
}

#[test]
fn servers_may_wait_for_input() {
    insta::assert_snapshot!(server(r#"{"command": "x", "env": {"A": {"fromEnv": "NONE"}, "B": {"fromSecret": "BLANK"}, "C": {"fromEnv": "NONE"}, "D": {"fromEnv": "TOKEN"}}}"#), @"
    mcp.json:1:17: error: mcpServers.s: waits for input: not set, or empty, in the environment: BLANK, NONE
      hint: set them for the gateway
    ");
    insta::assert_snapshot!(server(r#"{"type": "sse", "url": "https://x.example/sse", "headers": {"Authorization": "Bearer {{ONE}} {{ TWO }}", "X": {"fromEnv": "THREE"}}}"#), @"
    mcp.json:1:17: error: mcpServers.s: waits for input: not set, or empty, in the environment: ONE, THREE, TWO
      hint: set them for the gateway
    ");
    insta::assert_snapshot!(server(r#"{"command": "x", "env": {"A": {"fromEnv": "TOKEN"}, "B": null, "C": "  ", "D": "a${TOKEN}$$"}}"#), @r#"x [] {"A": "s3cret", "D": "a${TOKEN}$$"}"#);
    insta::assert_snapshot!(server(r#"{"type": "streamable-http", "url": "https://x.example/mcp", "headers": {"Authorization": "$$ {{TOKEN}} {}", "X": null}}"#), @"http https://x.example/mcp authorization: $$ s3cret {}");
    insta::assert_snapshot!(server(r#"{"command": "x", "env": {"A": {"fromSecret": "gh-pat"}, "B": {"fromFile": "x"}, "C": {"fromEnv": "A", "fromSecret": "B"}}}"#), @r#"
    mcp.json:1:67: error: mcpServers.s.env.A.fromSecret: "gh-pat" is no name of an environment variable
      hint: secrets are looked up in the environment of the gateway, too
    mcp.json:1:83: error: mcpServers.s.env.B: expected a text, `{ "fromEnv": NAME }` or `{ "fromSecret": NAME }`, found a map
    mcp.json:1:84: error: mcpServers.s.env.B.fromFile: unknown key "fromFile"; known: fromEnv, fromSecret
    mcp.json:1:107: error: mcpServers.s.env.C: expected a text, `{ "fromEnv": NAME }` or `{ "fromSecret": NAME }`, found a map
    "#);
    insta::assert_snapshot!(server(r#"{"url": "https://x.example/mcp", "headers": {"A": "{{no name}}"}}"#), @"mcp.json:1:72: error: mcpServers.s.headers.A: `{{` begins a reference to a variable such as {{NAME}}, and what follows is none");
    insta::assert_snapshot!(server(r#"{"command": "x", "env": {"A": {"fromEnv": "PORTCULLIS_SEAL_KEY"}}}"#), @"
    mcp.json:1:17: error: mcpServers.s: waits for input: not set, or empty, in the environment: PORTCULLIS_SEAL_KEY
      hint: set them for the gateway
    ");
}

#[test]
fn servers_are_of_any_command_and_their_type() {
    insta::assert_snapshot!(server(r#"{"command": "python3", "args": ["-m", "srv"], "icon": "x", "catalogItemId": "y", "name": "s", "cwd": "z"}"#), @r#"python3 ["-m", "srv"] {}"#);
    insta::assert_snapshot!(server(r#"{"type": "stdio", "url": "https://x.example/mcp"}"#), @"mcp.json:1:31: error: mcpServers.s.type: a server of this type needs the key `command`");
    insta::assert_snapshot!(server(r#"{"type": "carrier-pigeon", "command": "x"}"#), @r#"mcp.json:1:31: error: mcpServers.s.type: expected `stdio`, `http` or `sse`, found "carrier-pigeon""#);
    insta::assert_snapshot!(server(r#"{"url": "https://x.example/mcp"}"#), @"http https://x.example/mcp");
    insta::assert_snapshot!(server(r#"{"command": "docker", "args": ["run", "-i", "--rm", "image"], "env": {"A": "1", "B": {"fromEnv": "TOKEN"}}}"#), @r#"docker ["run", "-i", "--rm", "-e", "A", "-e", "B", "image"] {"A": "1", "B": "s3cret"}"#);
}

#[test]
fn names_of_servers_are_as_mcpx_shows_them() {
    let text = r#"{"mcpServers": {" My Srv ": {"command": "x"}, "a/b": {"command": "x"}, "Bad": {"command": "-x"}, "": {"command": "x"}, "X": {"command": "x"}, "x": {"command": "x"}}}"#;
    let parsed = parse(&[source("mcp.json", text), source("app.yaml", "permissions: { base: allow }")], &env);
    assert!(!parsed.is_refused());
    assert_eq!(parsed.config.servers.keys().map(ServerName::as_str).collect::<Vec<_>>(), ["a_b", "my srv"]);
    insta::assert_snapshot!(shown(&parsed.problems), @r#"
    mcp.json:1:47: warning: mcpServers."a/b": "a/b" cannot be the name of a server; it is served as "a_b"
    mcp.json:1:91: error: mcpServers.Bad.command: a program does not begin with `-`
      hint: the first text of `command` is the program; options come after it
    mcp.json:1:98: error: mcpServers."": a server name has 1 to 64 characters, each a letter, digit, `_`, `-`, `.` or a space in between; found ""
    mcp.json:1:120: error: mcpServers.X: this name cannot be told from "x" in mcp.json:1
      hint: rename one of them; both are left out until then
    mcp.json:1:143: error: mcpServers.x: this name cannot be told from "x" in mcp.json:1
      hint: rename one of them; both are left out until then
    "#);
}

#[test]
fn a_file_alone_is_known_by_what_only_mcpx_has() {
    let alone = |text: &str| parse(&[source("mcp.json", text)], &env).config.servers;
    let names =
        |servers: &SortedMap<ServerName, Server>| servers.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&alone(r#"{"mcpServers": {"A": {"command": "x", "env": {"B": null}}}}"#)), ["a"]);
    assert_eq!(
        names(&alone(
            r#"{"mcpServers": {"A": {"url": "https://x.example", "headers": {"B": "{{TOKEN}}"}}}}"#
        )),
        ["a"]
    );
    assert_eq!(names(&alone(r#"{"mcpServers": {"A": {"command": "x"}}}"#)), ["A"]);
}
