//! Edits of all kinds of files.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn path(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

fn source(path: &str, text: &str) -> Source {
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

/// Documents with comments, in all manners of writing, as YAML and as JSON.
fn documents() -> impl Strategy<Value = String> {
    let name = || prop_oneof![Just("a"), Just("b"), Just("read-only"), Just("'c d'"), Just("\"e\"")];
    let scalar = || {
        prop_oneof![
            Just("x"),
            Just("'y z'"),
            Just("\"\\u0041: #\""),
            Just("12"),
            Just("true"),
            Just("null"),
            Just("{}"),
            Just("[]"),
            Just("[x, 'y', { k: v }]"),
            Just("{ k: v, l: [1, 2], }"),
            Just("{k: v,\n       l: w # c\n       }"),
            Just(""),
        ]
    };
    let comment = || prop_oneof![4 => Just(""), 1 => Just(" # why: {x}")];
    let between = || prop_oneof![5 => Just(""), 1 => Just("\n"), 1 => Just("  # one\n"), 1 => Just("# two\n\n"), 1 => Just("      # deep\n")];
    let field = (name(), scalar(), comment(), between());
    let lines = prop_oneof![
        Just("|\n      l: 1\n\n      m\n"),
        Just(">-\n      l\n      m\n"),
        Just("|+ # c\n      l\n\n"),
        Just("\n    - x # c\n    - k: v\n      l: w\n"),
        Just("\n      p: 1\n      q:\n        r: 2 # c\n")
    ];
    let long = (name(), lines, between());
    let fields = prop::collection::vec(
        prop_oneof![
            2 => field.prop_map(|(key, value, comment, between)| (key, format!("    {key}: {value}{comment}\n{between}"))),
            1 => long.prop_map(|(key, value, between)| (key, format!("    {key}: {value}{between}"))),
        ],
        0..4,
    );
    let entry = (name(), comment(), between(), fields, between());
    let entries = prop::collection::vec(entry, 0..4);
    let section = prop_oneof![Just("servers"), Just("groups"), Just("agents")];
    let sections = prop::collection::vec((section, comment(), entries, between()), 0..4);
    let end = prop_oneof![Just("\n"), Just("\r\n")];
    (between(), sections, end, any::<bool>()).prop_map(|(head, sections, end, is_closed)| {
        let mut text = format!("{head}version: 1\n");
        let mut seen = Vec::new();
        for (name, comment, entries, between) in sections {
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let _ = write!(text, "{name}:{comment}\n{between}");
            let mut keys = Vec::new();
            for (key, comment, before, fields, after) in entries {
                if keys.contains(&key) {
                    continue;
                }
                keys.push(key);
                let _ = write!(text, "  {key}:{comment}\n{before}");
                let mut inner = Vec::new();
                for (key, field) in fields {
                    if !inner.contains(&key) {
                        inner.push(key);
                        text += &field;
                    }
                }
                text += after;
            }
        }
        let text = if is_closed { text } else { text.trim_end_matches('\n').to_owned() };
        text.replace('\n', end)
    })
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[ -~\n\t\u{e9}\u{2014}\u{202e}]{0,12}".prop_map(Value::from),
        Just(Value::from("Two lines.\n\nThree.\n")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("[abkl]|read-only|c d", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn paths() -> impl Strategy<Value = Vec<String>> {
    let section = prop_oneof![Just("servers"), Just("groups"), Just("agents"), Just("variants")];
    let key = || prop_oneof![Just("a"), Just("b"), Just("read-only"), Just("c d"), Just("e"), Just("n: o")];
    (section, key(), prop::collection::vec(key(), 0..2)).prop_map(|(section, name, rest)| {
        [section, name].into_iter().chain(rest).map(str::to_owned).collect()
    })
}

/// Returns the paths of all entries of entries.
fn entries(tree: &Tree, path: &[String]) -> Vec<Vec<String>> {
    let Tree::Map(inner) = tree else { return Vec::new() };
    let here = |key: &String| path.iter().cloned().chain([key.clone()]).collect::<Vec<_>>();
    let paths = inner.iter().flat_map(|(key, value)| {
        let path = here(key);
        let below = entries(value, &path);
        [path].into_iter().chain(below)
    });
    paths.filter(|path| path.len() > 1).collect()
}

fn read_tree(text: &str) -> Tree {
    Text::read(text, super::super::node::Syntax::Yaml).expect("it can be read").tree
}

/// The lines of a text without those of one entry, as far as they are known to stand outside of it.
fn outside(text: &str, path: &[String]) -> Vec<String> {
    let read = Text::read(text, super::super::node::Syntax::Yaml).expect("it can be read");
    let mut spot = &read.root;
    let mut region = None;
    for key in path {
        let Some((at, value)) = spot.entries().iter().find(|(name, _)| name.text == *key) else { break };
        // In braces several entries may share a line.
        if !spot.is_flow() {
            region = Some((at.start, value.end.max(at.end)));
        }
        spot = value;
    }
    let number = |at: usize| text[..at].matches('\n').count();
    let (first, last) = region.map_or((usize::MAX, usize::MAX), |(from, to)| (number(from), number(to)));
    let lines = text.lines().enumerate().filter(|(line, _)| !(first..=last).contains(line));
    lines
        .map(|(_, line)| line.trim_end_matches('\r').to_owned())
        .filter(|line| !line.trim().is_empty() && !line.starts_with("      #"))
        .collect()
}

/// Tells whether all lines of one text stand in another, in their order.
fn are_kept(lines: &[String], edited: &str) -> Result<(), String> {
    let mut rest = edited.lines().map(|line| line.trim_end_matches('\r'));
    lines
        .iter()
        .try_for_each(|line| rest.any(|other| other == line).then_some(()).ok_or_else(|| line.clone()))
}

proptest! {
    #[test]
    fn an_edit_changes_one_entry_and_nothing_else(text in documents(), path in paths(), value in values()) {
        let before = read_tree(&text);
        let wanted = Tree::of_json(&value);
        let Ok(edited) = edit(&[source("p.yaml", &text)], &Edit::Set { path: path.clone(), value }) else {
            // Only what leads through something else than maps is refused.
            let blocked = (1..path.len()).any(|depth| before.at(&path[..depth]).is_some_and(|tree| !tree.is_empty() && !matches!(tree, Tree::Map(_))));
            prop_assert!(blocked, "refused: {:?} in\n{}", path, text);
            return Ok(());
        };
        let edited = &edited[0].text;
        let mut expected = before.clone();
        let ordered = before.at(&path).map_or(wanted.clone(), |old| wanted.clone().in_order_of(old));
        expected.set(&path, ordered);
        prop_assert_eq!(read_tree(edited), expected, "{}\n---\n{}", text, edited);
        if before.at(&path[..1]).is_some_and(|section| !section.is_empty()) {
            let kept = are_kept(&outside(&text, &path), edited);
            prop_assert!(kept.is_ok(), "{:?} was lost from\n{}\n---\n{}", kept, text, edited);
        }
        if text.contains("\r\n") {
            prop_assert!(!edited.replace("\r\n", "").contains('\n'), "{:?}", edited);
        }
    }

    #[test]
    fn what_was_removed_can_be_added_again(text in documents(), index in any::<prop::sample::Index>(), value in values()) {
        let before = read_tree(&text);
        let all = entries(&before, &[]);
        if all.is_empty() {
            return Ok(());
        }
        let path = index.get(&all).clone();
        let sources = [source("p.yaml", &text)];
        let removed = edit(&sources, &Edit::Remove { path: path.clone() }).map_err(|error| TestCaseError::fail(format!("{error} in\n{text}")))?;
        let mut expected = before.clone();
        expected.remove(&path);
        prop_assert_eq!(read_tree(&removed[0].text), expected.clone());
        let kept = are_kept(&outside(&text, &path), &removed[0].text);
        let emptied = expected.at(&path[..path.len() - 1]).is_some_and(Tree::is_empty);
        prop_assert!(kept.is_ok() || emptied, "{:?} was lost from\n{}\n---\n{}", kept, text, removed[0].text);
        let added = edit(&removed, &Edit::Set { path: path.clone(), value: value.clone() }).map_err(|error| TestCaseError::fail(format!("{error} in\n{}", removed[0].text)))?;
        expected.set(&path, Tree::of_json(&value));
        prop_assert_eq!(read_tree(&added[0].text), expected);
        let again = edit(&added, &Edit::Remove { path: path.clone() }).map_err(|error| TestCaseError::fail(format!("{error} in\n{}", added[0].text)))?;
        prop_assert_eq!(&read_tree(&again[0].text), &read_tree(&removed[0].text));
    }

    #[test]
    fn no_text_is_too_odd(text in "[a-c:\\-#{}\\[\\],&*!|>'\" \t\r\n?]{0,40}", path in paths(), value in values()) {
        for name in ["p.yaml", "p.json"] {
            for text in [text.clone(), format!("version: 1\nservers:\n  a: {text}\n"), format!("{{\"version\": 1, \"servers\": {{{text}}}}}")] {
                let sources = [source(name, &text)];
                let _ = edit(&sources, &Edit::Set { path: path.clone(), value: value.clone() });
                let _ = edit(&sources, &Edit::Remove { path: path.clone() });
            }
        }
    }

    #[test]
    fn json_stays_json(value in values(), path in paths(), other in values(), is_pretty in any::<bool>()) {
        let document = json!({"version": 1, "servers": {"a": value, "b": {"k": 1}}, "groups": {}});
        let text = if is_pretty { serde_json::to_string_pretty(&document).unwrap() } else { document.to_string() };
        let Ok(edited) = edit(&[source("p.json", &text)], &Edit::Set { path: path.clone(), value: other.clone() }) else {
            prop_assert!(path.len() > 2, "refused: {:?} in {}", path, text);
            return Ok(());
        };
        let read: Value = serde_json::from_str(&edited[0].text).map_err(|error| TestCaseError::fail(format!("{error}: {}", edited[0].text)))?;
        let found = path.iter().try_fold(&read, |value, key| value.get(key));
        prop_assert_eq!(found, Some(&other));
        let removed = edit(&edited, &Edit::Remove { path: path.clone() }).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let read: Value = serde_json::from_str(&removed[0].text).map_err(|error| TestCaseError::fail(format!("{error}: {}", removed[0].text)))?;
        prop_assert!(path.iter().try_fold(&read, |value, key| value.get(key)).is_none());
    }
}
