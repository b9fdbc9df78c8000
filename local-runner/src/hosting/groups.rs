//! Control groups: what bounds the memory, the processor time and the number of processes of a server, and says which bound
//! was hit.
//!
//! Version 2 where a part of the hierarchy is ours to divide, version 1 where we may make groups in it.
//!
//! **A group's name says whose it is**: the gateway's process and when that began, so that what is left of a gateway that was
//! killed is known as such, and never that of one that runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::plan::{Bounded, Limits};

/// How every group of a gateway is called, before what says whose it is.
const PREFIX: &str = "portcullis-";
/// The time in which a share of a processor is measured, in microseconds.
const PERIOD: u64 = 100_000;
/// How often a group is tried to be removed while the kernel lets go of its processes, and how long after each other.
const TRIES: (u32, Duration) = (50, Duration::from_millis(10));

/// Where groups can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    memory: Option<Controller>,
    cpu: Option<Controller>,
    pids: Option<Controller>,
}

/// A controller's part of a hierarchy that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Controller {
    folder: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The groups of one server; dropping them removes them, with all that runs in them.
#[derive(Debug)]
pub(crate) struct Groups {
    memory: Option<(PathBuf, Version)>,
    pids: Option<PathBuf>,
    /// Each of them once.
    folders: Vec<PathBuf>,
}

impl Hierarchy {
    /// Finds where this process may make groups, by making one.
    ///
    /// # Errors
    /// Says why it may not.
    pub(crate) fn find() -> Result<(Self, Bounded), String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
        let (found, ours) = Self::of(&own, &mounts);
        if let Some(folder) = &ours {
            divide(folder);
        }
        let usable = |controller: Option<Controller>, file: fn(Version) -> &'static str| {
            controller.filter(|found| found.is_ours(file(found.version)))
        };
        let found = Self {
            memory: usable(found.memory, limit_of_memory),
            cpu: usable(found.cpu, quota_of_processors),
            pids: usable(found.pids, |_| "pids.max"),
        };
        let bounded =
            Bounded { memory: found.memory.is_some(), cpus: found.cpu.is_some(), pids: found.pids.is_some() };
        if bounded == (Bounded { memory: false, cpus: false, pids: false }) {
            return Err("no control groups can be made; run the gateway as root, or where a hierarchy is delegated to it \
                        (`systemd-run --user --scope -p Delegate=yes portcullis serve`)"
                .to_owned());
        }
        Ok((found, bounded))
    }

    /// Returns where a process such as this one would make groups, whether it may or not.
    pub(super) fn seen() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        Some(Self::of(&own, &mounts).0)
    }

    /// Reads where the controllers are, and which folder of version 2 is this process's own.
    fn of(own: &str, mounts: &str) -> (Self, Option<PathBuf>) {
        let mut found = Self { memory: None, cpu: None, pids: None };
        let mut ours = None;
        for (names, path) in own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')) {
            let version = if names.is_empty() { Version::Two } else { Version::One };
            let Some((root, mount)) = mount_of(mounts, names) else { continue };
            // A container sees the hierarchy from its own part on.
            let path = path.strip_prefix(root).unwrap_or(path);
            let folder = Path::new(mount).join(path.trim_start_matches('/'));
            let offered = match version {
                Version::One => names.to_owned(),
                Version::Two => {
                    ours = Some(folder.clone());
                    fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default()
                }
            };
            for name in offered.split([',', ' ', '\n']) {
                let place = match name {
                    "memory" => &mut found.memory,
                    "cpu" => &mut found.cpu,
                    "pids" => &mut found.pids,
                    _ => continue,
                };
                *place = Some(Controller { folder: folder.clone(), version });
            }
        }
        (found, ours)
    }

    /// Makes the groups of a server.
    pub(crate) fn make(&self, limits: &Limits) -> io::Result<Groups> {
        let name = name();
        let mut groups = Groups { memory: None, pids: None, folders: Vec::new() };
        if let Some((controller, memory)) = self.memory.as_ref().zip(limits.memory) {
            let folder = groups.add(controller, &name)?;
            match controller.version {
                Version::One => {
                    fs::write(folder.join("memory.limit_in_bytes"), memory.to_string())?;
                    // Where swapping is counted, it adds nothing.
                    let _ = fs::write(folder.join("memory.memsw.limit_in_bytes"), memory.to_string());
                }
                Version::Two => {
                    fs::write(folder.join("memory.max"), memory.to_string())?;
                    let _ = fs::write(folder.join("memory.swap.max"), "0");
                    let _ = fs::write(folder.join("memory.oom.group"), "1");
                }
            }
            groups.memory = Some((folder, controller.version));
        }
        if let Some((controller, cpus)) = self.cpu.as_ref().zip(limits.cpus) {
            let folder = groups.add(controller, &name)?;
            let quota = u64::from(cpus) * PERIOD / 1000;
            match controller.version {
                Version::One => {
                    fs::write(folder.join("cpu.cfs_period_us"), PERIOD.to_string())?;
                    fs::write(folder.join("cpu.cfs_quota_us"), quota.to_string())?;
                }
                Version::Two => fs::write(folder.join("cpu.max"), format!("{quota} {PERIOD}"))?,
            }
        }
        if let Some((controller, pids)) = self.pids.as_ref().zip(limits.pids) {
            let folder = groups.add(controller, &name)?;
            fs::write(folder.join("pids.max"), pids.to_string())?;
            groups.pids = Some(folder);
        }
        Ok(groups)
    }

    /// Removes the groups of gateways that are gone, with all that still runs in them; returns how many there were.
    pub(crate) fn sweep(&self) -> usize {
        let controllers = [&self.memory, &self.cpu, &self.pids].into_iter().flatten();
        let mut folders: Vec<_> = controllers.map(|controller| &controller.folder).collect();
        folders.dedup();
        let left = folders.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        let left = left.filter(|entry| entry.file_name().to_str().is_some_and(is_left));
        left.map(|entry| remove(&entry.path())).count()
    }
}

impl Controller {
    /// Tells whether a group can be made in which this file can be written.
    fn is_ours(&self, file: &str) -> bool {
        let probe = self.folder.join(name());
        let made = fs::create_dir(&probe).is_ok();
        let ours = made && fs::OpenOptions::new().write(true).open(probe.join(file)).is_ok();
        if made {
            remove(&probe);
        }
        ours
    }
}

fn limit_of_memory(version: Version) -> &'static str {
    match version {
        Version::One => "memory.limit_in_bytes",
        Version::Two => "memory.max",
    }
}

fn count_of_kills(version: Version) -> &'static str {
    match version {
        Version::One => "memory.oom_control",
        Version::Two => "memory.events",
    }
}

fn quota_of_processors(version: Version) -> &'static str {
    match version {
        Version::One => "cpu.cfs_quota_us",
        Version::Two => "cpu.max",
    }
}

impl Groups {
    fn add(&mut self, controller: &Controller, name: &str) -> io::Result<PathBuf> {
        let folder = controller.folder.join(name);
        if !self.folders.contains(&folder) {
            fs::create_dir(&folder)?;
            self.folders.push(folder.clone());
        }
        Ok(folder)
    }

    /// Where they are.
    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// The files into which a process writes its number to be bounded.
    pub(crate) fn doors(&self) -> impl Iterator<Item = PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs"))
    }

    /// Tells whether processes were killed because they needed more memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let Some((folder, version)) = &self.memory else { return false };
        has_killed(&folder.join(count_of_kills(*version)))
    }

    /// Returns how often a process or thread could not be made because there were too many.
    pub(crate) fn refused_processes(&self) -> u64 {
        self.pids.as_ref().and_then(|folder| counter(&folder.join("pids.events"), "max")).unwrap_or_default()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for folder in &self.folders {
            remove(folder);
        }
    }
}

/// Removes a group of a gateway that is gone, with all that still runs in it.
pub(super) fn remove_left(folder: &Path) {
    if folder.file_name().and_then(|name| name.to_str()).is_some_and(is_left) && folder.exists() {
        remove(folder);
    }
}

/// Kills what runs in a group and removes it.
fn remove(folder: &Path) {
    for _ in 0..TRIES.0 {
        let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        for member in members.lines().filter_map(|line| line.parse().ok()) {
            let _ = kill(Pid::from_raw(member), Signal::SIGKILL);
        }
        match fs::remove_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => thread::sleep(TRIES.1),
            _ => return,
        }
    }
    tracing::warn!(folder = %folder.display(), "a control group could not be removed");
}

/// Makes room for groups with controllers in a part of version 2's hierarchy: what has members cannot have such groups, so they
/// move into one of their own.
fn divide(folder: &Path) {
    let wanted = "+memory +cpu +pids";
    if fs::write(folder.join("cgroup.subtree_control"), wanted).is_ok() {
        return;
    }
    // Only our own process is moved: where others are there too, the hierarchy is not ours alone.
    let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let own = std::process::id().to_string();
    if members.lines().eq([own.as_str()]) {
        let home = folder.join("portcullis");
        let moved = fs::create_dir(&home).and_then(|()| fs::write(home.join("cgroup.procs"), &own));
        if moved.is_ok() {
            let _ = fs::write(folder.join("cgroup.subtree_control"), wanted);
        }
    }
}

/// Returns which part of a hierarchy is mounted, and where, by the names of its controllers; that of version 2 has none.
fn mount_of<'m>(mounts: &'m str, names: &str) -> Option<(&'m str, &'m str)> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let is_it = match names {
            "" => kind == "cgroup2",
            names => {
                kind == "cgroup"
                    && names.split(',').all(|name| options.split(',').any(|option| option == name))
            }
        };
        let mut before = before.split(' ').skip(3);
        is_it.then(|| before.next().zip(before.next())).flatten()
    })
}

/// Makes a name that no other group has.
fn name() -> String {
    format!("{PREFIX}{}", unique())
}

/// Makes a text that no other start of a server has: which process we are, when that began, and a number.
pub(super) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let id = std::process::id();
    let began = began(id).unwrap_or_default();
    format!("{id}-{began}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Says who this process is, among all of this machine and among those of other machines and containers.
pub(super) fn owner() -> String {
    let id = std::process::id();
    format!("{}/{id}-{}", machine(), began(id).unwrap_or_default())
}

/// Makes a text that no other start of a server has on any machine: its owner, `-` and a number.
pub(super) fn of_start() -> String {
    format!("{}/{}", machine(), unique())
}

/// Tells whether an owner was a process of this machine that is gone.
pub(super) fn is_gone(owner: &str) -> bool {
    let Some((theirs, process)) = owner.rsplit_once('/') else { return false };
    let Some((id, then)) = process.split_once('-') else { return false };
    let process = id.parse::<u32>().ok().zip(then.parse::<u64>().ok());
    theirs == machine() && process.is_some_and(|(id, then)| !runs_since(id, then))
}

/// Tells whether the process of a number is the one that began then; where that cannot be told, whether there is one.
fn runs_since(id: u32, then: u64) -> bool {
    if began(std::process::id()).is_some() {
        return began(id) == Some(then);
    }
    i32::try_from(id).is_ok_and(|id| kill(Pid::from_raw(id), None) != Err(Errno::ESRCH))
}

/// Says in which space of process numbers we are: that of a machine since it began, or a container's.
fn machine() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{}/{}", boot.trim(), space.display())
}

/// The bounds that are in force for a process; what is absent has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct InForce {
    pub(super) memory: Option<u64>,
    pub(super) pids: Option<u64>,
    /// In thousandths of a processor.
    pub(super) cpus: Option<u64>,
}

/// Returns the file in which the kernel counts what it kills for want of memory in the group of a process.
pub(super) fn kills_of(process: i32) -> Option<PathBuf> {
    let own = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let controller = Hierarchy::of(&own, &mounts).0.memory?;
    Some(controller.folder.join(count_of_kills(controller.version)))
}

/// Tells whether the kernel has killed anything, by such a file.
pub(super) fn has_killed(kills: &Path) -> bool {
    counter(kills, "oom_kill").is_some_and(|count| count > 0)
}

/// Reads the bounds of a process, where they can be seen.
pub(super) fn in_force(process: i32) -> Option<InForce> {
    let own = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let (found, _) = Hierarchy::of(&own, &mounts);
    let read = |controller: Option<Controller>, file: fn(Version) -> &'static str| {
        let controller = controller?;
        // `max` is no number.
        fs::read_to_string(controller.folder.join(file(controller.version))).ok()?.trim().parse().ok()
    };
    let share = |controller: Controller| {
        let text = |file: &str| fs::read_to_string(controller.folder.join(file)).ok();
        let (quota, period) = match controller.version {
            Version::One => (text("cpu.cfs_quota_us")?, text("cpu.cfs_period_us")?),
            Version::Two => {
                let both = text("cpu.max")?;
                let (quota, period) = both.split_once(' ')?;
                (quota.to_owned(), period.to_owned())
            }
        };
        // Neither `-1` nor `max` is such a number.
        let quota = quota.trim().parse::<u64>().ok()?;
        (quota * 1000).checked_div(period.trim().parse().ok()?)
    };
    Some(InForce {
        memory: read(found.memory, limit_of_memory),
        cpus: found.cpu.and_then(share),
        pids: read(found.pids, |_| "pids.max"),
    })
}

/// Tells whether a group's name is of a gateway that is gone.
fn is_left(name: &str) -> bool {
    let mut parts = name.strip_prefix(PREFIX).unwrap_or_default().split('-').map(str::parse::<u64>);
    let (Some(Ok(id)), Some(Ok(then)), Some(Ok(_)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    u32::try_from(id).is_ok_and(|id| began(id) != Some(then))
}

/// Returns a process and all that it has started, directly or not.
pub(super) fn descendants(id: u32) -> Vec<u32> {
    let mut found = vec![id];
    let mut next = 0;
    while let Some(id) = found.get(next) {
        let children = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
        let children = children.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<u32> = children
            .flat_map(|ids| ids.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
            .collect();
        found.extend(children);
        next += 1;
    }
    found
}

/// Returns the memory of a process that is in use, in bytes.
pub(super) fn resident(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|size| size << 10)
}

/// Returns when a process began, in ticks since the machine did.
pub(super) fn began(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    status.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn counter(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found() {
        let mounts = "\
            30 24 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
            31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n\
            32 24 0:28 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory\n\
            33 24 0:29 / /data rw - ext4 /dev/sda rw\n";
        let own = "4:memory:/a\n3:cpu,cpuacct:/\n2:pids:/a\n0::/x\n";
        let (found, ours) = Hierarchy::of(own, mounts);
        let at = |folder: &str| Some(Controller { folder: folder.into(), version: Version::One });
        let expected = Hierarchy {
            memory: at("/sys/fs/cgroup/memory/a"),
            cpu: at("/sys/fs/cgroup/cpu,cpuacct/"),
            pids: None,
        };
        assert_eq!(found, expected);
        assert_eq!(ours, Some("/sys/fs/cgroup/unified/x".into()));
    }

    #[test]
    fn only_groups_of_gateways_that_are_gone_are_left_over() {
        let own = name();
        assert!(!is_left(&own), "{own}");
        let id = std::process::id();
        assert!(is_left(&format!("{PREFIX}{id}-1-0")));
        for other in ["", "portcullis-", "portcullis-1", "portcullis-1-2-3-4", "portcullis-x-1-1", "1-1-1"] {
            assert!(!is_left(other), "{other}");
        }
    }
}
