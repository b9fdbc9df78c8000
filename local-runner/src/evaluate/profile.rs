//! The least that a server needs, as the section `host:` of its description.
//!
//! **It is a proposal from what was seen**: what a server did not do while it was watched, it is not granted. Memory and
//! processes are what it took and half as much again, rounded up.

use std::fmt::Write as _;
use std::path::Path;

use super::report::{Usage, Wanted};

/// What memory is rounded up to, in MiB.
const STEPS: [u64; 12] = [16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048];

/// A folder that the server was given, and whether it wrote there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) path: String,
    pub(super) writes: bool,
}

/// Returns the proposal.
pub(super) fn propose(server: &str, usage: &Usage, wanted: Option<&[Wanted]>, folders: &[Folder]) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "servers:\n  {server}:\n    host:");
    match wanted {
        Some([]) => out += "      network: none\n",
        Some(wanted) => {
            out += "      # Only what you expect of it.\n      network:\n";
            let mut places: Vec<_> = wanted.iter().map(place).collect();
            places.sort();
            places.dedup();
            for place in places {
                let _ = writeln!(out, "        - {place}");
            }
        }
        None => out += "      # What it wanted of the network was not recorded.\n      network: none\n",
    }
    if !folders.is_empty() {
        out += "      mounts:\n";
    }
    for Folder { path, writes } in folders {
        let path = quoted(path);
        let _ = match writes {
            true => writeln!(out, "        - {{ path: {path}, write: true }}"),
            false => writeln!(out, "        - {path}"),
        };
    }
    if usage.seen {
        let _ = writeln!(out, "      memory: {}", memory(usage.memory));
        let _ = writeln!(
            out,
            "      pids: {}",
            (usage.tasks + usage.tasks.div_ceil(2)).max(8).next_multiple_of(8)
        );
    }
    out
}

fn place(wanted: &Wanted) -> String {
    let host = if wanted.host.contains(':') { format!("[{}]", wanted.host) } else { wanted.host.clone() };
    quoted(&format!("{host}:{}", wanted.port.unwrap_or(443)))
}

fn memory(bytes: u64) -> String {
    let needed = (bytes + bytes / 2) >> 20;
    let step = STEPS.into_iter().find(|step| *step >= needed);
    format!("{}MiB", step.unwrap_or(needed.next_multiple_of(1024)))
}

/// Writes a text as YAML reads it, whatever is in it.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// Tells whether something in a folder is newer than `than`.
pub(super) fn has_newer(folder: &Path, than: std::time::SystemTime) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let newer = entry.metadata().and_then(|about| about.modified()).is_ok_and(|time| time > than);
        newer || entry.file_type().is_ok_and(|kind| kind.is_dir()) && has_newer(&entry.path(), than)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposes_the_least() {
        let usage = Usage { memory: 80 << 20, tasks: 11, seen: true, ..Usage::default() };
        let wanted = |host: &str, port| Wanted { host: host.into(), port, times: 1 };
        let folders = [
            Folder { path: "/data".into(), writes: false },
            Folder { path: "/out: put".into(), writes: true },
        ];
        let wanted =
            [wanted("api.example.com", None), wanted("api.example.com", Some(443)), wanted("::1", Some(80))];
        assert_eq!(
            propose("own", &usage, Some(&wanted), &folders),
            "servers:\n  own:\n    host:\n      # Only what you expect of it.\n      network:\n        \
             - \"[::1]:80\"\n        - \"api.example.com:443\"\n      mounts:\n        - \"/data\"\n        \
             - { path: \"/out: put\", write: true }\n      memory: 128MiB\n      pids: 24\n"
        );
    }

    #[test]
    fn says_what_was_not_seen() {
        assert_eq!(
            propose("own", &Usage::default(), None, &[]),
            "servers:\n  own:\n    host:\n      # What it wanted of the network was not recorded.\n      network: none\n"
        );
        assert!(propose("own", &Usage::default(), Some(&[]), &[]).ends_with("host:\n      network: none\n"));
    }

    #[test]
    fn memory_has_room() {
        let cases = [(0, "16MiB"), (50 << 20, "96MiB"), (600 << 20, "1024MiB"), (3 << 30, "5120MiB")];
        for (bytes, expected) in cases {
            assert_eq!(memory(bytes), expected);
        }
    }
}
