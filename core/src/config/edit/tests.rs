//! Edits of all kinds of files.

use serde_json::{Value, json};

use super::*;

fn path(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

pub(super) fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

fn run(name: &str, text: &str, change: &Edit) -> String {
    match edit(&[source(name, text)], change) {
        Ok(edited) => edited[0].text.clone(),
        Err(error) => error.to_string(),
    }
}

fn set(text: &str, at: &str, value: Value) -> String {
    run("p.yaml", text, &Edit::Set { path: path(at), value })
}

fn remove(text: &str, at: &str) -> String {
    run("p.yaml", text, &Edit::Remove { path: path(at) })
}

const FILE: &str = "\
# The gateway of the team.
version: 1

servers:
  # Time zones.
  time:
    command: [uvx, mcp-server-time] # from PyPI
    timeout: 30s # long
  'tickets': { url: \"https://t.example/mcp\", timeout: 5s }
  # notes:
  #   url: off

groups:
  read-only:
    time: \"*\"
agents:
  # everybody else
  default:
    deny: [\"*\"]
# The end.
";

#[test]
fn an_entry_is_added_at_the_end_of_its_map() {
    insta::assert_snapshot!(set(FILE, "servers.github", json!({"url": "https://g.example/mcp", "headers": {"A": "${TOKEN}"}})), @r#"
    # The gateway of the team.
    version: 1

    servers:
      # Time zones.
      time:
        command: [uvx, mcp-server-time] # from PyPI
        timeout: 30s # long
      'tickets': { url: "https://t.example/mcp", timeout: 5s }
      # notes:
      #   url: off
      github:
        url: "https://g.example/mcp"
        headers:
          A: "${TOKEN}"

    groups:
      read-only:
        time: "*"
    agents:
      # everybody else
      default:
        deny: ["*"]
    # The end.
    "#);
    insta::assert_snapshot!(set(FILE, "groups.all", json!({"time": "*", "tickets": ["get_*", "list_*"]})), @r#"
    # The gateway of the team.
    version: 1

    servers:
      # Time zones.
      time:
        command: [uvx, mcp-server-time] # from PyPI
        timeout: 30s # long
      'tickets': { url: "https://t.example/mcp", timeout: 5s }
      # notes:
      #   url: off

    groups:
      read-only:
        time: "*"
      all:
        time: "*"
        tickets: ["get_*", "list_*"]
    agents:
      # everybody else
      default:
        deny: ["*"]
    # The end.
    "#);
    insta::assert_snapshot!(set(FILE, "variants.time.now", json!({"description": "Tells the time.\nIn UTC.\n"})), @r#"
    # The gateway of the team.
    version: 1

    servers:
      # Time zones.
      time:
        command: [uvx, mcp-server-time] # from PyPI
        timeout: 30s # long
      'tickets': { url: "https://t.example/mcp", timeout: 5s }
      # notes:
      #   url: off

    groups:
      read-only:
        time: "*"
    agents:
      # everybody else
      default:
        deny: ["*"]
    # The end.
    variants:
      time:
        now:
          description: |
            Tells the time.
            In UTC.
    "#);
}

#[test]
fn an_entry_is_changed_where_it_differs() {
    insta::assert_snapshot!(set(FILE, "servers.time", json!({"command": ["uvx", "mcp-server-time", "--utc"], "timeout": "30s", "env": {"TZ": "UTC"}})), @r#"
    # The gateway of the team.
    version: 1

    servers:
      # Time zones.
      time:
        command: [uvx, mcp-server-time, "--utc"] # from PyPI
        timeout: 30s # long
        env:
          TZ: UTC
      'tickets': { url: "https://t.example/mcp", timeout: 5s }
      # notes:
      #   url: off

    groups:
      read-only:
        time: "*"
    agents:
      # everybody else
      default:
        deny: ["*"]
    # The end.
    "#);
    insta::assert_snapshot!(set(FILE, "servers.tickets.timeout", json!("10s")), @r#"
    # The gateway of the team.
    version: 1

    servers:
      # Time zones.
      time:
        command: [uvx, mcp-server-time] # from PyPI
        timeout: 30s # long
      'tickets': { url: "https://t.example/mcp", timeout: "10s" }
      # notes:
      #   url: off

    groups:
      read-only:
        time: "*"
    agents:
      # everybody else
      default:
        deny: ["*"]
    # The end.
    "#);
    insta::assert_snapshot!(set(FILE, "agents.default.deny", json!([{"tool": "time/*", "when": "x"}, "tickets"])), @r#"
    # The gateway of the team.
    version: 1

    servers:
      # Time zones.
      time:
        command: [uvx, mcp-server-time] # from PyPI
        timeout: 30s # long
      'tickets': { url: "https://t.example/mcp", timeout: 5s }
      # notes:
      #   url: off

    groups:
      read-only:
        time: "*"
    agents:
      # everybody else
      default:
        deny:
          - tool: "time/*"
            when: x
          - tickets
    # The end.
    "#);
    assert_eq!(
        set(FILE, "servers.time", json!({"command": ["uvx", "mcp-server-time"], "timeout": "30s"})),
        FILE
    );
}

#[test]
fn an_entry_is_removed_with_its_lines() {
    insta::assert_snapshot!(remove(FILE, "servers.time"), @r#"
    # The gateway of the team.
    version: 1

    servers:
      # Time zones.
      'tickets': { url: "https://t.example/mcp", timeout: 5s }
      # notes:
      #   url: off

    groups:
      read-only:
        time: "*"
    agents:
      # everybody else
      default:
        deny: ["*"]
    # The end.
    "#);
    insta::assert_snapshot!(remove(FILE, "servers.TICKETS"), @r#"
    # The gateway of the team.
    version: 1

    servers:
      # Time zones.
      time:
        command: [uvx, mcp-server-time] # from PyPI
        timeout: 30s # long
      # notes:
      #   url: off

    groups:
      read-only:
        time: "*"
    agents:
      # everybody else
      default:
        deny: ["*"]
    # The end.
    "#);
    insta::assert_snapshot!(remove(FILE, "groups.read-only"), @r#"
    # The gateway of the team.
    version: 1

    servers:
      # Time zones.
      time:
        command: [uvx, mcp-server-time] # from PyPI
        timeout: 30s # long
      'tickets': { url: "https://t.example/mcp", timeout: 5s }
      # notes:
      #   url: off

    groups: {}
    agents:
      # everybody else
      default:
        deny: ["*"]
    # The end.
    "#);
    insta::assert_snapshot!(remove(FILE, "agents.default"), @r#"
    # The gateway of the team.
    version: 1

    servers:
      # Time zones.
      time:
        command: [uvx, mcp-server-time] # from PyPI
        timeout: 30s # long
      'tickets': { url: "https://t.example/mcp", timeout: 5s }
      # notes:
      #   url: off

    groups:
      read-only:
        time: "*"
    agents: {}
      # everybody else
    # The end.
    "#);
    insta::assert_snapshot!(remove(FILE, "servers.nobody"), @"p.yaml:1: `servers.nobody` cannot be changed here: there is no such entry");
}

#[test]
fn what_was_emptied_is_filled_again() {
    let emptied = remove(FILE, "groups.read-only");
    assert_eq!(set(&emptied, "groups.read-only", json!({"time": "*"})), FILE);
    insta::assert_snapshot!(set("version: 1\nservers: # none yet\n  # a: b\nagents: {}\n", "servers.x", json!({"url": "u"})), @"
    version: 1
    servers: # none yet
      x:
        url: u
      # a: b
    agents: {}
    ");
}

#[test]
fn what_stands_in_lines_gives_way_to_what_does_not() {
    let text = "version: 1\nservers:\n  a: # why\n    url: |\n      u\n    headers:\n    - x # y\n  b: {}\n";
    insta::assert_snapshot!(set(text, "servers.a.url", json!("v")), @"
    version: 1
    servers:
      a: # why
        url: v
        headers:
        - x # y
      b: {}
    ");
    insta::assert_snapshot!(set(text, "servers.a", json!(5)), @"
    version: 1
    servers:
      a: 5 # why
      b: {}
    ");
    insta::assert_snapshot!(set(text, "servers.b", json!("a: \"b\"")), @r#"
    version: 1
    servers:
      a: # why
        url: |
          u
        headers:
        - x # y
      b: "a: \"b\""
    "#);
}

#[test]
fn line_ends_and_marks_stay() {
    let text = "\u{feff}---\r\nversion: 1\r\nservers:\r\n    a: # b\r\n        url: x\r\n...\r\n";
    let edited = set(text, "servers.c", json!({"url": "z"}));
    assert_eq!(edited, text.replace("...", "    c:\r\n        url: z\r\n..."));
    assert_eq!(remove(&edited, "servers.c"), text);
    assert_eq!(
        set("version: 1\nservers: {a: {url: x}}", "groups.g", json!({"a": "*"})),
        "version: 1\nservers: {a: {url: x}}\ngroups:\n  g:\n    a: \"*\""
    );
}

#[test]
fn what_cannot_be_changed_without_loss_is_refused() {
    let check = |text: &str, at: &str| set(text, at, json!({"url": "x"}));
    insta::assert_snapshot!(check("version: 1\nservers:\n  a: &x\n    url: y\n  b: *x\n", "servers.a"), @"p.yaml:3: `servers.a` cannot be changed here: an anchor or alias of YAML is part of it, and something else would change with it");
    insta::assert_snapshot!(check("version: 1\nservers:\n  a: &x {url: y}\n  b: *x\n", "servers.b.url"), @"p.yaml:4: `servers.b.url` cannot be changed here: an anchor or alias of YAML is part of it, and something else would change with it");
    insta::assert_snapshot!(check("version: 1\nservers:\n  a: &x {url: y}\n  c:\n    <<: *x\n", "servers.c.url"), @"p.yaml:5: `servers.c.url` cannot be changed here: a merge key stands beside it");
    insta::assert_snapshot!(check("version: 1\nservers:\n  a: {url: y}\n  a: {url: z}\n", "servers.a"), @"p.yaml:4: `servers.a` cannot be changed here: the key stands there twice");
    insta::assert_snapshot!(check("version: 1\n---\nversion: 1\n", "servers.a"), @"p.yaml:2: `servers.a` cannot be changed here: a second document begins; a file holds one");
    insta::assert_snapshot!(check("version: 1\nservers: [a]\n", "servers.a"), @"p.yaml:2: `servers.a` cannot be changed here: `servers` is a list, not a map");
    insta::assert_snapshot!(check("version: 1\n? servers\n: {}\n", "servers.a"), @"p.yaml:3: `servers.a` cannot be changed here: it is written in a way that cannot be changed without loss");
    insta::assert_snapshot!(check("version: 1\rservers: {}\r", "servers.a"), @"p.yaml:1: `servers.a` cannot be changed here: its lines end in a way that cannot be kept: a carriage return stands alone");
    insta::assert_snapshot!(check("version: 1\nservers:\n\ta: 1\n", "servers.a"), @"p.yaml:3: `servers.a` cannot be changed here: this is not YAML: tabs disallowed within this context (block indentation)");
    // What does not touch the anchor is changed.
    insta::assert_snapshot!(check("version: 1\nservers:\n  a: &x {url: y}\n  b: *x\n", "servers.c"), @"
    version: 1
    servers:
      a: &x {url: y}
      b: *x
      c: { url: x }
    ");
}

const CLAUDE: &str = r#"{
  // mine
  "theme": "dark",
  "mcpServers": {
    "time": { "command": "uvx", "args": ["mcp-server-time"], "autoApprove": ["now"] }, // zones
    "web": {
      "url": "https://w.example/mcp" /* public */
    }
  }
}
"#;

#[test]
fn files_of_other_programs_are_changed_in_their_own_way() {
    let change =
        |name: &str, value: Value| run("claude.json", CLAUDE, &Edit::Set { path: path(name), value });
    insta::assert_snapshot!(change("servers.git", json!({"command": ["npx", "-y", "git"], "env": {"A": "${B}"}})), @r#"
    {
      // mine
      "theme": "dark",
      "mcpServers": {
        "time": { "command": "uvx", "args": ["mcp-server-time"], "autoApprove": ["now"] }, // zones
        "web": {
          "url": "https://w.example/mcp" /* public */
        },
        "git": {
          "command": "npx",
          "args": ["-y", "git"],
          "env": {
            "A": "${B}"
          }
        }
      }
    }
    "#);
    insta::assert_snapshot!(change("servers.time", json!({"command": ["uvx", "mcp-server-time", "--utc"]})), @r#"
    {
      // mine
      "theme": "dark",
      "mcpServers": {
        "time": { "command": "uvx", "args": ["mcp-server-time", "--utc"], "autoApprove": ["now"] }, // zones
        "web": {
          "url": "https://w.example/mcp" /* public */
        }
      }
    }
    "#);
    insta::assert_snapshot!(run("claude.json", CLAUDE, &Edit::Remove { path: path("servers.web") }), @r#"
    {
      // mine
      "theme": "dark",
      "mcpServers": {
        "time": { "command": "uvx", "args": ["mcp-server-time"], "autoApprove": ["now"] } // zones
      }
    }
    "#);
    insta::assert_snapshot!(run("claude.json", CLAUDE, &Edit::Remove { path: path("servers.time") }), @r#"
    {
      // mine
      "theme": "dark",
      "mcpServers": {
        "web": {
          "url": "https://w.example/mcp" /* public */
        }
      }
    }
    "#);
    insta::assert_snapshot!(change("servers.git", json!({"url": "x", "timeout": "5s"})), @"claude.json:1: `servers.git` cannot be changed here: a file of this kind has no place for `timeout` of a server; `portcullis import` makes a native file of it");
    insta::assert_snapshot!(change("groups.g", json!({})), @r#"claude.json:1: `groups.g` cannot be changed here: a file of this kind has no place for "groups"; `portcullis import` makes a native file of it"#);
}

#[test]
fn an_entry_goes_into_the_file_that_it_is_in() {
    let sources = [
        source("a.yaml", "version: 1\nservers:\n  a: { url: x }\n"),
        source("b.yaml", "version: 1\nservers:\n  b: { url: x }\nagents: {}\n"),
        source("c.json", r#"{"mcpServers": {"c": {"url": "x"}}}"#),
    ];
    let changed = |at: &str| {
        let value = json!({"url": "z"});
        let edited =
            edit(&sources, &Edit::Set { path: path(at), value }).map_err(|error| error.to_string())?;
        assert_eq!(edited.len(), 3);
        let changed = edited.iter().zip(&sources).filter(|(new, old)| new != old);
        Ok::<_, String>(changed.map(|(new, _)| new.path.clone()).collect::<Vec<_>>().join(" "))
    };
    let expected = [
        ("servers.a", "a.yaml"),
        ("servers.b", "b.yaml"),
        ("servers.C", "c.json"),
        ("servers.d", "a.yaml"),
        ("agents.x", "b.yaml"),
        ("variants.a", "a.yaml"),
    ];
    for (at, file) in expected {
        assert_eq!(changed(at).as_deref(), Ok(file), "{at}");
    }
    let twice = [sources[0].clone(), source("b.yaml", &sources[0].text)];
    let error = edit(&twice, &Edit::Remove { path: path("servers.a") }).unwrap_err();
    insta::assert_snapshot!(error, @"a.yaml:1: `servers.a` cannot be changed here: it stands in b.yaml, too");
    let mcpx = [source("mcp.json", r#"{"mcpServers": {}}"#), source("app.yaml", "permissions: {}\n")];
    let error = edit(&mcpx, &Edit::Set { path: path("agents.a"), value: json!({}) }).unwrap_err();
    insta::assert_snapshot!(error, @r#"mcp.json:1: `agents.a` cannot be changed here: a file of this kind has no place for "agents"; `portcullis import` makes a native file of it"#);
}
