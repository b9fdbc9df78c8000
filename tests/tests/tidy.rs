//! Rules of the source that no compiler checks: where code may stand, how large it may be, what it may name.
//!
//! Each test collects everything that breaks its rule, so that one run shows it all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of a file before its tests.
const LINES: usize = 600;

/// Files outside the flows that wait, and why they may.
const WAITING: [(&str, &str); 10] = [
    ("core/src/pipe.rs", "a primitive that the flows await: the two ends of a server's standard streams"),
    ("core/src/body.rs", "a primitive that the flows await: collecting a body"),
    ("core/src/testing/families.rs", "a suite that every store of token families has to pass"),
    ("core/src/testing/records.rs", "a suite that every store of records has to pass"),
    ("core/src/testing/connections.rs", "suites that every store of connections has to pass"),
    ("core/src/testing/fleet.rs", "instances in memory, which hand requests to each other as a host's do"),
    ("core/src/testing/secrets.rs", "a suite that every store of secrets has to pass"),
    ("core/src/testing/store.rs", "a suite that every store of a host has to pass"),
    ("core/src/testing/wrap.rs", "a suite that everything that wraps keys has to pass"),
    ("core/src/gateway.rs", "hands the keeper of each server, a flow, to the host"),
];

/// Files of core that may use `HashMap`: they look up in it, and never go through it.
const HASHED: [&str; 2] = ["core/src/acl/condition/facts.rs", "core/src/catalog/merged.rs"];

/// A file of the tree: its path from the root, and its text where it has one.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    fn lies_in(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The text before the module of its tests, with its line numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<_> = self.text.lines().collect();
        let begins_tests = |pair: &[&str]| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        };
        let tests = lines.windows(2).position(begins_tests).filter(|_| self.is("rs"));
        let end = tests.unwrap_or(lines.len());
        lines.into_iter().take(end).enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The code without comments.
    fn statements(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests are in a folder of the workspace").to_owned()
}

/// Every text file of the tree, but for what is built or installed.
fn sources() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder can be read").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if ["target", "node_modules", ".git", ".portcullis"].iter().any(|skipped| name == *skipped) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(&root).expect("lies in the root").to_string_lossy().into_owned();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(found.len() > 100, "only {} files", found.len());
    found
}

fn rust() -> impl Iterator<Item = Source> {
    sources().into_iter().filter(|source| source.is("rs"))
}

fn core() -> impl Iterator<Item = Source> {
    rust().filter(|source| source.lies_in("core/src"))
}

/// Files with nothing but tests.
fn is_test(source: &Source) -> bool {
    source.lies_in("tests/tests") || source.path.ends_with("/tests.rs")
}

#[track_caller]
fn none(rule: &str, broken: impl IntoIterator<Item = String>) {
    let broken: Vec<_> = broken.into_iter().collect();
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// Where a line of code holds one of the words.
fn mentions(source: &Source, words: &[&str]) -> Vec<String> {
    let hits = source.statements().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
    hits.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())).collect()
}

#[test]
fn a_file_has_at_most_600_lines_before_its_tests() {
    let long = rust().filter(|source| source.code().count() > LINES);
    none("too long", long.map(|source| format!("{}: {} lines", source.path, source.code().count())));
}

#[test]
fn what_is_not_run_on_another_host_exists_and_has_a_reason() {
    let sources = sources();
    let lists = ["tests/edge/excluded", "tests/lambda/excluded"];
    let lists = lists.map(|path| sources.iter().find(|source| source.path == path).expect("there is a list"));
    let lines = lists
        .iter()
        .flat_map(|list| list.text.lines())
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let wrong = lines.filter(|line| {
        let mut words = line.split_whitespace();
        let (program, test) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let function = match test.rsplit("::").next() {
            Some(name) if !name.contains('*') => format!("fn {name}("),
            // Whether a pattern names anything is seen by tests/run.
            _ => String::new(),
        };
        let is_of_program = |source: &Source| {
            source.path == format!("tests/tests/{program}.rs")
                || [program, test.split("::").next().unwrap_or_default()]
                    .iter()
                    .any(|folder| source.lies_in(&format!("tests/tests/{folder}")))
        };
        let exists = sources.iter().any(|source| is_of_program(source) && source.text.contains(&function));
        !exists || words.count() < 2
    });
    none("a program, one of its tests, and why", wrong.map(str::to_owned));
}

#[test]
fn a_file_begins_with_what_it_decides() {
    let bare = core().filter(|source| !source.text.starts_with("//! "));
    none("no `//!` at the beginning", bare.map(|source| source.path));
}

#[test]
fn core_reads_no_clock_environment_or_file() {
    let words = ["SystemTime", "Instant::now", "std::env", "std::fs", "tokio"];
    none("core goes through its ports", core().flat_map(|source| mentions(&source, &words)));
}

#[test]
fn core_names_no_platform() {
    let manifest = fs::read_to_string(root().join("core/Cargo.toml")).expect("core has a manifest");
    let keys = manifest.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    let platforms = ["tokio", "worker", "axum", "aws", "reqwest", "lambda", "hyper"];
    let named = keys.filter(|key| platforms.iter().any(|platform| key.starts_with(platform)));
    none("a platform in core/Cargo.toml", named.map(str::to_owned));
}

/// Where a file waits, rather than names a field that begins like it.
fn waits(source: &Source) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let waits = |line: &str| line.split(".await").skip(1).any(|rest| !rest.starts_with(is_name));
    let lines = source.statements().filter(|(_, line)| waits(line));
    lines.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())).collect()
}

#[test]
fn in_core_only_the_flows_wait() {
    let excused = |path: &str| WAITING.iter().any(|(waiting, _)| *waiting == path);
    let decisions = core().filter(|source| !source.lies_in("core/src/flow") && !excused(&source.path));
    none("waits", decisions.flat_map(|source| waits(&source)));
    let waiting = |path: &str| core().any(|source| source.path == path && !waits(&source).is_empty());
    let idle = WAITING.iter().filter(|(path, _)| !waiting(path));
    none("is excused and does not wait", idle.map(|(path, why)| format!("{path} ({why})")));
}

#[test]
fn adapters_know_no_method_of_mcp() {
    let families = ["tools", "prompts", "resources", "completion", "logging", "sampling", "elicitation"];
    let others = ["roots", "server", "subscriptions", "tasks", "notifications"];
    let mut words: Vec<_> = families.iter().chain(&others).map(|family| format!("\"{family}/")).collect();
    words.push("\"initialize\"".to_owned());
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let inside = ["demo", "commands", "evaluate"].map(|part| format!("local-runner/src/{part}"));
    let adapters = rust().filter(|source| {
        ["local-runner/src", "native/src"].iter().any(|folder| source.lies_in(folder))
            && !inside.iter().any(|folder| source.lies_in(folder))
    });
    none("an `if` about MCP belongs in core", adapters.flat_map(|source| mentions(&source, &words)));
}

#[test]
fn nothing_is_left_undone() {
    let words = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    none("left undone", rust().flat_map(|source| mentions(&source, &words)));
}

#[test]
fn text_is_plain() {
    let mut broken = Vec::new();
    // The licence is as its authors wrote it, and what is fuzzed with is what it is.
    let is_ours = |source: &&Source| source.path != "LICENSE" && !source.lies_in("fuzz/corpus");
    for source in sources().iter().filter(is_ours) {
        let end = if source.text.is_empty() || source.text.ends_with('\n') {
            None
        } else {
            Some("no last line break")
        };
        broken.extend(end.map(|what| format!("{}: {what}", source.path)));
        for (index, line) in source.text.split('\n').enumerate() {
            let what = if line.contains('\r') {
                "a carriage return"
            } else if line.contains('\t') {
                "a tab"
            } else if line.ends_with(' ') {
                "a space at the end"
            } else {
                continue;
            };
            broken.push(format!("{}:{}: {what}", source.path, index + 1));
        }
    }
    none("not plain", broken);
}

/// Whether a line names a path of somebody's machine: what comes before it must not make it part of a longer path.
fn names_machine(line: &str) -> bool {
    ["root", "work", "home"].iter().any(|folder| {
        let path = format!("/{folder}/");
        line.match_indices(&path).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && !"_-./}".contains(c))
        })
    })
}

#[test]
fn nothing_names_a_machine_or_a_registry() {
    let hosts = [
        ("registry", "npmjs.org"),
        ("index", "crates.io"),
        ("static", "crates.io"),
        ("files", "pythonhosted.org"),
    ];
    let mut hosts: Vec<_> = hosts.iter().map(|(host, domain)| format!("{host}.{domain}")).collect();
    hosts.push(["//pypi", "org"].join("."));
    let mut broken = Vec::new();
    for source in sources() {
        for (number, line) in source.code() {
            if names_machine(line) || hosts.iter().any(|host| line.contains(host)) {
                broken.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    none("belongs to one machine", broken);
}

#[test]
fn order_never_comes_from_hashing() {
    let others = core().filter(|source| !HASHED.contains(&source.path.as_str()));
    none("use BTreeMap", others.flat_map(|source| mentions(&source, &["HashMap", "HashSet"])));
}

#[test]
fn every_test_program_is_run() {
    let script = fs::read_to_string(root().join("tests/run")).expect("the script can be read");
    assert!(
        script.contains("for file in tests/tests/*.rs"),
        "tests/run does not find its programs by itself"
    );
    let left_out: Vec<_> = script
        .lines()
        .filter_map(|line| line.trim().strip_prefix("case $name in ")?.split_once(')'))
        .flat_map(|(names, _)| names.split('|').map(|name| name.trim().to_owned()))
        .collect();
    assert!(!left_out.is_empty(), "what tests/run leaves out is written in another way");
    // A host's own programs are run with the scenarios that it runs.
    let own = |program: &str, host: &str| {
        let excluded = fs::read_to_string(root().join(format!("tests/{host}/excluded")));
        let excluded = excluded.expect("the list can be read");
        let is_excluded = excluded.lines().any(|line| line.split_whitespace().take(2).eq([program, "*"]));
        program.starts_with(host) && script.contains(&format!("scenarios_on {host}")) && !is_excluded
    };
    let is_run = |name: &String| {
        let named = |program: &str| {
            let is_named = script.contains(&format!("--test {program}"));
            is_named || own(program, "edge") || own(program, "lambda")
        };
        match name.strip_suffix('*') {
            Some(beginning) => programs().iter().filter(|p| p.starts_with(beginning)).all(|p| named(p)),
            None => named(name),
        }
    };
    let forgotten = left_out.into_iter().filter(|name| !is_run(name));
    none("left out, and run by no other part", forgotten);
    let manifest = fs::read_to_string(root().join("tests/Cargo.toml")).expect("the tests have a manifest");
    assert!(!manifest.contains("autotests"), "cargo does not find the test programs by itself");
}

/// The test programs, by their names.
fn programs() -> Vec<String> {
    let name =
        |source: &Source| Some(source.path.strip_prefix("tests/tests/")?.strip_suffix(".rs")?.to_owned());
    sources().iter().filter_map(name).filter(|name| !name.contains('/')).collect()
}

#[test]
fn every_decision_has_a_number_of_its_own() {
    let mut numbered: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources().into_iter().filter(|source| source.lies_in("docs/adr") && source.is("md")) {
        let name = source.path.trim_start_matches("docs/adr/");
        if name == "README.md" {
            continue;
        }
        let number = name.split('-').next().unwrap_or_default();
        let valid = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
        assert!(valid, "{}: a decision is called NNNN-what.md", source.path);
        numbered.entry(number.to_owned()).or_default().push(source.path);
    }
    let shared = numbered.into_iter().filter(|(_, paths)| paths.len() > 1);
    none("share a number", shared.map(|(number, paths)| format!("{number}: {}", paths.join(", "))));
}

#[test]
fn tests_are_held_to_the_same_size() {
    let long = rust().filter(|source| is_test(source) && source.text.lines().count() > LINES);
    none("too long", long.map(|source| source.path));
}
