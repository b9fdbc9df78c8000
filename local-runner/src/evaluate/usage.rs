//! What the processes of a server take, as the system's process table says.
//!
//! **A server's processes are those that descend from the one that was started, and those that carry the mark in their
//! environment**, wherever they have gone. Where there is no such table (macOS), nothing is seen, and that is said.

use std::fs;

/// How many ticks of the processor's clock there are in a second: the system says 100 on every machine.
const TICKS: u64 = 100;

/// The command that bounds itself before it becomes another program.
const SANDBOX: &str = "sandbox";
/// The number of the signal TERM.
const TERM: u32 = 15;
/// Programs that only lead to the server: what records it, what makes its place, what is first in it.
pub(super) const WRAPPERS: [&str; 8] =
    ["strace", "bwrap", ".portcullis", "catatonit", "docker-init", "podman-init", "dumb-init", "tini"];

/// A process, as it is at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) session: u32,
    threads: u64,
    /// Ticks of processor time, with those of children that have ended.
    ticks: u64,
    /// The most memory that it has had, in bytes.
    memory: u64,
    /// Whether it does not heed TERM.
    ignores_term: bool,
    /// What it has written, to whatever that was, in bytes.
    written: u64,
}

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) memory: u64,
    pub(super) processor: u64,
    pub(super) tasks: u64,
    pub(super) written: u64,
    /// Programs that do not heed TERM.
    pub(super) ignoring: Vec<String>,
    pub(super) programs: Vec<String>,
}

impl Seen {
    /// Adds what is seen at this moment.
    pub(super) fn add(&mut self, processes: &[Process]) {
        let own: Vec<_> =
            processes.iter().filter(|process| !WRAPPERS.contains(&process.name.as_str())).collect();
        let sum = |of: fn(&Process) -> u64| own.iter().map(|process| of(process)).sum::<u64>();
        self.memory = self.memory.max(sum(|process| process.memory));
        self.processor = self.processor.max(sum(|process| process.ticks) * 1000 / TICKS);
        self.tasks = self.tasks.max(sum(|process| process.threads));
        self.written = self.written.max(sum(|process| process.written));
        for process in own {
            if process.ignores_term && !self.ignoring.contains(&process.name) {
                self.ignoring.push(process.name.clone());
            }
            if !self.programs.contains(&process.name) {
                self.programs.push(process.name.clone());
            }
        }
    }
}

/// Returns the process of this number and all that descend from it; nothing where there is no table.
pub(super) fn tree(root: u32) -> Vec<Process> {
    let mut found: Vec<u32> = vec![root];
    let mut at = 0;
    while at < found.len() {
        found.extend(children(found[at]));
        at += 1;
    }
    found.into_iter().filter_map(process).collect()
}

fn children(id: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Returns the processes that have a variable like this in their environment.
pub(super) fn marked(mark: &str) -> Vec<Process> {
    let has = |id: &u32| {
        let environment = fs::read(format!("/proc/{id}/environ"));
        environment.is_ok_and(|all| all.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(has).filter_map(process).collect()
}

fn process(id: u32) -> Option<Process> {
    let file = |name: &str| fs::read_to_string(format!("/proc/{id}/{name}"));
    // It is about to become the server, or what makes its place.
    if file("cmdline").is_ok_and(|words| words.split('\0').nth(1) == Some(SANDBOX)) {
        return None;
    }
    parse(id, &file("stat").ok()?, &file("status").ok()?, &file("io").unwrap_or_default())
}

/// Understands the files that say what a process takes; a process that has ended is none.
fn parse(id: u32, stat: &str, status: &str, io: &str) -> Option<Process> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let fields: Vec<_> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return None;
    }
    let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let memory = memory.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    Some(Process {
        ignores_term: ignored >> (TERM - 1) & 1 == 1,
        id,
        name: name.to_owned(),
        session: u32::try_from(number(3)?).ok()?,
        ticks: (11..=14).filter_map(number).sum(),
        threads: number(17)?,
        memory: memory.unwrap_or_default() << 10,
        written: io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (a (b) c) S 1 7 6 0 -1 4 9 9 9 9 10 5 2 1 20 0 3 0 99 0 0";

    #[test]
    fn understands_the_table() {
        let process =
            parse(7, STAT, "Name: a\nVmHWM:\t  2048 kB\nSigIgn:\t0000000000005000\n", "rchar: 1\nwchar: 5\n")
                .unwrap();
        let expected = Process {
            id: 7,
            name: "a (b) c".into(),
            session: 6,
            threads: 3,
            ticks: 18,
            memory: 2 << 20,
            ignores_term: true,
            written: 5,
        };
        assert_eq!(process, expected);
    }

    #[test]
    fn what_has_ended_is_none() {
        assert_eq!(parse(7, &STAT.replace(" S ", " Z "), "", ""), None);
        assert_eq!(parse(7, "", "", ""), None);
    }

    #[test]
    fn keeps_the_most() {
        let process = parse(7, STAT, "VmHWM: 1 kB", "").unwrap();
        let mut seen = Seen::default();
        seen.add(&[process.clone(), process.clone()]);
        seen.add(&[process]);
        assert_eq!((seen.memory, seen.processor, seen.tasks), (2048, 360, 6));
        assert_eq!(seen.programs, ["a (b) c"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn finds_this_process() {
        let own = std::process::id();
        assert!(tree(own).iter().any(|process| process.id == own));
    }
}
