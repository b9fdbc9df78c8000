//! How a configuration differs from another: line by line, and by the names of what it has.
//!
//! **It shows no more than the versions themselves do**, and is for those who may read them.

use std::fmt::Write as _;

use http::HeaderMap;
use serde_json::{Value, json};
use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices, group_diff_ops};

use super::Document;
use super::answer::Fault;
use super::request::{expect_json, object};
use crate::config::{Section, Written, settings, written};
use crate::sorted::SortedMap;
use crate::wire::json::Json;

/// How many lines are shown around what differs.
const AROUND: usize = 3;
/// How much is compared line by line, in lines of the one times lines of the other; what is more differs as a whole.
const LARGEST: usize = 1 << 24;
const SECTIONS: [(Section, &str); 4] = [
    (Section::Servers, "server"),
    (Section::Groups, "group"),
    (Section::Variants, "variant"),
    (Section::Agents, "agent"),
];

/// A configuration that is to be compared with a version.
pub(crate) struct Compared {
    /// The version; the newest where nothing is said.
    pub(crate) from: Option<u64>,
    pub(crate) document: Document,
}

impl Compared {
    /// Reads the body of a request.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        expect_json(headers)?;
        let all = object(body, &["from", "files", "overlays"])?;
        let from = all.get("from").filter(|from| !from.is_null());
        let number = |from: Json<'_>| from.text().parse().map_err(|_| Fault::field("from", EXPECTED));
        Ok(Self { from: from.map(number).transpose()?, document: Document::of(&all)? })
    }
}

const EXPECTED: &str = "expected the number of a version";

/// Reads with which version another is compared: `to` of a query.
pub(crate) fn to(query: Option<&str>) -> Result<Option<u64>, Fault> {
    let mut to = None;
    for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*key {
            "to" => to = Some(value.parse().map_err(|_| Fault::field("to", EXPECTED))?),
            _ => return Err(Fault::field(&key, "unknown parameter; known: to")),
        }
    }
    Ok(to)
}

/// Describes how a document differs from another.
pub(crate) fn described(from: &Document, to: &Document) -> Value {
    let files = [("", &from.files, &to.files), ("overlays/", &from.overlays, &to.overlays)];
    let files: Vec<_> = files
        .into_iter()
        .flat_map(|(folder, old, new)| {
            names(old.keys(), new.keys()).into_iter().filter_map(move |name| {
                let text = |texts: &SortedMap<String, String>| texts.get(name).cloned().unwrap_or_default();
                let unified = unified(&text(old), &text(new));
                (old.get(name) != new.get(name))
                    .then(|| json!({ "name": format!("{folder}{name}"), "unified": unified }))
            })
        })
        .collect();
    json!({ "files": files, "changes": changes(from, to) })
}

/// Returns names of both sides, in order and once.
fn names<'n>(old: impl Iterator<Item = &'n String>, new: impl Iterator<Item = &'n String>) -> Vec<&'n str> {
    let mut names: Vec<_> = old.chain(new).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn changes(from: &Document, to: &Document) -> Vec<Value> {
    let (old, new) = (from.sources(), to.sources());
    let mut changes = Vec::new();
    for (section, what) in SECTIONS {
        changes.extend(named(what, &said(written(&old, section)), &said(written(&new, section))));
    }
    changes.extend(named("setting", &said(settings(&old)), &said(settings(&new))));
    changes.extend(named("overlay", &from.overlays, &to.overlays));
    changes
}

fn said(entries: Vec<Written>) -> SortedMap<String, Value> {
    entries.into_iter().map(|entry| (entry.name, entry.settings)).collect()
}

fn named<T: PartialEq>(what: &str, old: &SortedMap<String, T>, new: &SortedMap<String, T>) -> Vec<Value> {
    let change = |name: &str| {
        let kind = match (old.get(name), new.get(name)) {
            (None, _) => "added",
            (_, None) => "removed",
            (old, new) if old == new => return None,
            _ => "changed",
        };
        Some(json!({ "what": what, "name": name, "kind": kind }))
    };
    names(old.keys(), new.keys()).into_iter().filter_map(change).collect()
}

/// Returns how a text differs from another as `diff -u` writes it, without the names.
fn unified(old: &str, new: &str) -> String {
    let lines = |text: &'_ str| -> Vec<String> { text.split_inclusive('\n').map(str::to_owned).collect() };
    let (old, new) = (lines(old), lines(new));
    let mut out = String::new();
    for hunk in group_diff_ops(compared(&old, &new), AROUND) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        let old_range = first.old_range().start..last.old_range().end;
        let new_range = first.new_range().start..last.new_range().end;
        let _ = writeln!(out, "@@ -{} +{} @@", place(&old_range), place(&new_range));
        for op in &hunk {
            let (tag, gone, came) = op.as_tag_tuple();
            if tag == DiffTag::Equal {
                write(&mut out, ' ', &old[gone]);
            } else {
                write(&mut out, '-', &old[gone]);
                write(&mut out, '+', &new[came]);
            }
        }
    }
    out
}

fn place(range: &std::ops::Range<usize>) -> String {
    format!("{},{}", range.start + usize::from(!range.is_empty()), range.len())
}

fn write(out: &mut String, sign: char, lines: &[String]) {
    for line in lines {
        out.push(sign);
        out.push_str(line);
        if !line.ends_with('\n') {
            out.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// Compares lines; nothing where they are the same.
fn compared(old: &[String], new: &[String]) -> Vec<DiffOp> {
    let same =
        |pairs: &mut dyn Iterator<Item = (&String, &String)>| pairs.take_while(|(a, b)| a == b).count();
    let start = same(&mut old.iter().zip(new));
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let end = same(&mut old_rest.iter().rev().zip(new_rest.iter().rev()));
    let (old_len, new_len) = (old_rest.len() - end, new_rest.len() - end);
    if old_len + new_len == 0 {
        return Vec::new();
    }
    if old_len.saturating_mul(new_len) <= LARGEST {
        return capture_diff_slices(Algorithm::Myers, old, new);
    }
    vec![
        DiffOp::Equal { old_index: 0, new_index: 0, len: start },
        DiffOp::Replace { old_index: start, old_len, new_index: start, new_len },
        DiffOp::Equal { old_index: start + old_len, new_index: start + new_len, len: end },
    ]
}

#[cfg(test)]
mod tests {
    use http::header;
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "version: 1\n# ours\nservers:\n  git:\n    url: http://git.test/mcp\n  gone: { url: 'http://gone.test/mcp' }\nvariants:\n  git:\n    bug: { from: make }\nagents:\n  a: { allow: [git/*] }\n";

    fn shown(from: &Document, to: &Document) -> String {
        let said = described(from, to);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let files = said["files"].as_array().unwrap().iter();
        let files = files.map(|file| format!("{}\n{}", text(&file["name"]), text(&file["unified"])));
        let changes = said["changes"].as_array().unwrap().iter();
        let changes =
            changes.map(|of| format!("{} {} {}\n", text(&of["kind"]), text(&of["what"]), text(&of["name"])));
        files.chain(changes).collect()
    }

    fn check(new: &str) -> String {
        shown(&Document::native(OLD), &Document::native(new))
    }

    #[test]
    fn what_differs_is_told_line_by_line_and_by_name() {
        assert_eq!(check(OLD), "");
        let new = OLD.replace("  gone: { url: 'http://gone.test/mcp' }\n", "").replace("make", "create")
            + "  b: { allow: [] }\ngateway: { naming: prefix }";
        insta::assert_snapshot!(check(&new), @r"
        portcullis.yaml
        @@ -3,9 +3,10 @@
         servers:
           git:
             url: http://git.test/mcp
        -  gone: { url: 'http://gone.test/mcp' }
         variants:
           git:
        -    bug: { from: make }
        +    bug: { from: create }
         agents:
           a: { allow: [git/*] }
        +  b: { allow: [] }
        +gateway: { naming: prefix }
        \ No newline at end of file
        removed server gone
        changed variant git/bug
        added agent b
        added setting gateway
        ");
        insta::assert_snapshot!(check(&OLD.replace("# ours", "# theirs")), @"
        portcullis.yaml
        @@ -1,5 +1,5 @@
         version: 1
        -# ours
        +# theirs
         servers:
           git:
             url: http://git.test/mcp
        ");
        insta::assert_snapshot!(check(": :"), @r"
        portcullis.yaml
        @@ -1,11 +1,1 @@
        -version: 1
        -# ours
        -servers:
        -  git:
        -    url: http://git.test/mcp
        -  gone: { url: 'http://gone.test/mcp' }
        -variants:
        -  git:
        -    bug: { from: make }
        -agents:
        -  a: { allow: [git/*] }
        +: :
        \ No newline at end of file
        removed server git
        removed server gone
        removed variant git/bug
        removed agent a
        ");
    }

    #[test]
    fn files_and_overlays_come_and_go() {
        let overlay = |text: &str| {
            let overlays = SortedMap::from([("agent:a".to_owned(), text.to_owned())]);
            Document { overlays, ..Document::native("version: 1\n") }
        };
        insta::assert_snapshot!(shown(&Document::default(), &overlay("x: 1\n")), @"
        portcullis.yaml
        @@ -0,0 +1,1 @@
        +version: 1
        overlays/agent:a
        @@ -0,0 +1,1 @@
        +x: 1
        added overlay agent:a
        ");
        insta::assert_snapshot!(shown(&overlay("x: 1\n"), &overlay("x: 2\n")), @"
        overlays/agent:a
        @@ -1,1 +1,1 @@
        -x: 1
        +x: 2
        changed overlay agent:a
        ");
    }

    #[test]
    fn what_is_too_long_differs_as_a_whole() {
        let text = |odd: usize| {
            (0..5000).fold("first\n".to_owned(), |text, n| format!("{text}{}\n", n * 2 + odd)) + "last\n"
        };
        let unified = unified(&text(0), &text(1));
        assert!(unified.starts_with("@@ -1,5002 +1,5002 @@\n first\n-0\n-2\n"), "{}", &unified[..80]);
        assert!(unified.ends_with("+9999\n last\n"));
    }

    #[test]
    fn what_is_asked_is_read() {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json".parse().unwrap())]);
        let read = |body: &str| match Compared::read(&headers, body.as_bytes()) {
            Ok(read) => format!("{:?}", read.from),
            Err(fault) => fault.detail,
        };
        assert_eq!(read(r#"{"files":{"a":"b"}}"#), "None");
        assert_eq!(read(r#"{"files":{"a":"b"},"from":3,"overlays":{}}"#), "Some(3)");
        for odd in ["-1", "1.5", "\"3\"", "[]"] {
            assert_eq!(
                read(&format!(r#"{{"files":{{"a":"b"}},"from":{odd}}}"#)),
                format!("from: {EXPECTED}")
            );
        }
        assert_eq!(read(r#"{"from":3}"#), "files: is missing");
        assert_eq!(to(Some("to=3")).ok(), Some(Some(3)));
        assert_eq!(to(None).ok(), Some(None));
        assert!(to(Some("to=x")).is_err() && to(Some("from=1")).is_err());
    }

    proptest! {
        /// Whoever applies what is told to the one text gets the other.
        #[test]
        fn every_line_is_accounted_for(old in "([a-c]\n){0,40}[a-c]{0,1}", new in "([a-c]\n){0,40}[a-c]{0,1}") {
            prop_assert_eq!(applied(&old, &unified(&old, &new)), new);
        }
    }

    fn applied(old: &str, unified: &str) -> String {
        let mut rest = old.split_inclusive('\n');
        let (mut out, mut at) = (String::new(), 0);
        let lines: Vec<_> = unified.split_inclusive('\n').collect();
        for (index, line) in lines.iter().enumerate() {
            let ends = lines.get(index + 1).is_some_and(|next| next.starts_with('\\'));
            let text = if ends { line[1..].trim_end_matches('\n') } else { &line[1..] };
            match &line[..1] {
                "@" => {
                    let range = line.split(['-', ' ']).nth(2).unwrap();
                    let (start, len) = range.split_once(',').unwrap();
                    let start: usize = start.parse::<usize>().unwrap() - usize::from(len != "0");
                    out.extend(rest.by_ref().take(start - at));
                    at = start;
                }
                "+" => out.push_str(text),
                "-" | " " => {
                    at += 1;
                    assert_eq!(rest.next(), Some(text));
                    if line.starts_with(' ') {
                        out.push_str(text);
                    }
                }
                _ => {}
            }
        }
        out.extend(rest);
        out
    }
}
