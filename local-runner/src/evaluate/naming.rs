//! What a tool's name says: whether it reads, writes, or destroys.
//!
//! **Words in English, at the names' own word.** A name says what its author wanted to be read, so nothing is proved by it; it
//! decides which tools are called without being asked, in a place where none can do harm.

/// Words of tools that only look.
const READS: [&str; 26] = [
    "get",
    "list",
    "read",
    "search",
    "find",
    "fetch",
    "show",
    "describe",
    "query",
    "count",
    "echo",
    "view",
    "lookup",
    "look",
    "check",
    "inspect",
    "help",
    "status",
    "info",
    "convert",
    "compare",
    "explain",
    "summarize",
    "validate",
    "now",
    "time",
];
/// Words of tools that change something.
const WRITES: [&str; 26] = [
    "add", "append", "write", "create", "update", "edit", "set", "put", "insert", "move", "rename", "copy",
    "upload", "save", "send", "post", "publish", "push", "commit", "merge", "run", "exec", "execute",
    "start", "stop", "toggle",
];
/// Words of tools that take something away, or that cannot be undone.
const DESTROYS: [&str; 11] = [
    "delete",
    "remove",
    "drop",
    "destroy",
    "erase",
    "purge",
    "truncate",
    "wipe",
    "kill",
    "overwrite",
    "uninstall",
];

/// What a name says that a tool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Reads,
    Unknown,
    Writes,
    Destroys,
}

/// Tells what a tool's name says that it does.
pub(super) fn deed(name: &str) -> Deed {
    let words = words(name);
    let any = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    match () {
        () if any(&DESTROYS) => Deed::Destroys,
        () if any(&WRITES) => Deed::Writes,
        () if any(&READS) => Deed::Reads,
        () => Deed::Unknown,
    }
}

/// Splits a name at its signs and capitals.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        if !c.is_alphanumeric() || c.is_uppercase() && before.is_lowercase() {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("there is one at first").extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_its_tool_does() {
        for (name, expected) in [
            ("get_issue", Deed::Reads),
            ("listFiles", Deed::Reads),
            ("read-and-delete", Deed::Destroys),
            ("deleteAll", Deed::Destroys),
            ("create_issue", Deed::Writes),
            ("dropdown", Deed::Unknown),
            ("frobnicate", Deed::Unknown),
            ("", Deed::Unknown),
        ] {
            assert_eq!(deed(name), expected, "{name}");
        }
    }

    #[test]
    fn words_end_at_signs_and_capitals() {
        assert_eq!(words("getHTTPPage_now-2"), ["get", "httppage", "now", "2"]);
    }
}
