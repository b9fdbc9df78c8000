//! The least that a server needs, as the section `host:` of its description.
//!
//! **It is a proposal from what was seen**: what a server did not do while it was watched, it is not granted. Memory and
//! processes are what it took and half as much again, rounded up.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::judge::{is_nearby, is_of_a_cloud};
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
    network(wanted, &mut out);
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

/// Writes the places that can be granted, and of the others why not.
fn network(wanted: Option<&[Wanted]>, out: &mut String) {
    let Some(wanted) = wanted else {
        *out += "      # What it wanted of the network was not recorded.\n      network: none\n";
        return;
    };
    let (mut places, mut others) = (Vec::new(), Vec::new());
    for wanted in wanted {
        match place(wanted) {
            Ok(place) => places.push(place),
            Err(why) => others.push(format!("# {why}: {}", quoted(&wanted.place()))),
        }
    }
    for list in [&mut places, &mut others] {
        list.sort();
        list.dedup();
    }
    if places.is_empty() {
        *out += "      network: none\n";
    } else {
        *out += "      # Only what you expect of it.\n      network:\n";
    }
    for place in places {
        let _ = writeln!(out, "        - {place}");
    }
    for other in others {
        let _ = writeln!(out, "      {other}");
    }
}

/// Returns a place as `host.network` has it, or why it has none.
fn place(wanted: &Wanted) -> Result<String, &'static str> {
    let is_own = wanted.host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let to = quoted(&wanted.place());
    match wanted.port {
        _ if wanted.udp => Err("Nothing is reached by UDP"),
        _ if is_own => Err("Its own machine, which is the sandbox"),
        _ if is_of_a_cloud(&wanted.host) => Err("What a cloud tells its machines about themselves"),
        None => Err("Looked up, and no port of it was seen"),
        Some(_) if is_nearby(&wanted.host) => Ok(format!("{{ to: {to}, private: true }}")),
        Some(_) => Ok(to),
    }
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
        let wanted = |host: &str, port| Wanted { host: host.into(), port, times: 1, ..Wanted::default() };
        let by_udp = Wanted { udp: true, ..wanted("time.test", Some(123)) };
        let folders = [
            Folder { path: "/data".into(), writes: false },
            Folder { path: "/out: put".into(), writes: true },
        ];
        let wanted = [
            wanted("api.test", Some(443)),
            wanted("api.test", Some(443)),
            wanted("2001:4860::8", Some(80)),
            wanted("10.0.0.5", Some(5432)),
            wanted("looked.test", None),
            wanted("127.0.0.1", Some(9000)),
            wanted("169.254.169.254", Some(80)),
            by_udp,
        ];
        insta::assert_snapshot!(propose("own", &usage, Some(&wanted), &folders), @r#"
        servers:
          own:
            host:
              # Only what you expect of it.
              network:
                - "[2001:4860::8]:80"
                - "api.test:443"
                - { to: "10.0.0.5:5432", private: true }
              # Its own machine, which is the sandbox: "127.0.0.1:9000"
              # Looked up, and no port of it was seen: "looked.test"
              # Nothing is reached by UDP: "time.test:123/udp"
              # What a cloud tells its machines about themselves: "169.254.169.254:80"
              mounts:
                - "/data"
                - { path: "/out: put", write: true }
              memory: 128MiB
              pids: 24
        "#);
        let granted = propose("own", &usage, Some(&wanted[4..5]), &[]);
        assert!(granted.contains("network: none\n      # Looked up"), "{granted}");
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
