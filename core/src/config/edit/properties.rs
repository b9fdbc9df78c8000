//! What holds for every edit of every text.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::source;
use super::*;

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
