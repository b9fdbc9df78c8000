//! `portcullis sandbox`: bounds itself, then becomes a program. It runs between the gateway and a server, and nowhere else.
//!
//! Before bubblewrap it goes into the server's control groups, and into a network behind a gate; within bubblewrap it sets
//! Landlock and the filter of system calls. So nothing has to run between fork and exec in the gateway, and nothing ever runs unbounded.
//!
//! **What cannot be set ends it**: the program is not started.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

#[cfg(target_os = "linux")]
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
    path_beneath_rules,
};
use nix::sys::resource::{Resource, setrlimit};

#[cfg(target_os = "linux")]
use super::filter;

/// What it does, in the order of [`Steps::args`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    /// The files into which it writes its number: its control groups.
    pub(crate) groups: Vec<PathBuf>,
    /// The most files that it may hold open.
    pub(crate) files: Option<u32>,
    /// The ports of the gate that its own network is behind, where it has one.
    pub(crate) gate: Option<Vec<u16>>,
    /// The folders in which it may read, run, and write; whatever is in none of them is out of reach.
    pub(crate) reads: Vec<PathBuf>,
    pub(crate) runs: Vec<PathBuf>,
    pub(crate) writes: Vec<PathBuf>,
    /// Whether system calls are filtered.
    pub(crate) filter: bool,
}

impl Steps {
    /// Writes the steps as arguments of `portcullis`, with the program behind them.
    pub(crate) fn args(
        &self,
        program: OsString,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["sandbox".into()];
        let paths = [
            ("--group", &self.groups),
            ("--read", &self.reads),
            ("--run", &self.runs),
            ("--write", &self.writes),
        ];
        for (option, paths) in paths {
            args.extend(paths.iter().flat_map(|path| [option.into(), path.into()]));
        }
        args.extend(self.files.iter().flat_map(|files| ["--files".into(), files.to_string().into()]));
        let gate =
            self.gate.iter().map(|ports| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(","));
        args.extend(gate.flat_map(|ports| ["--gate".into(), ports.into()]));
        args.extend(self.filter.then(|| "--filter".into()));
        args.push("--".into());
        args.push(program);
        args.extend(arguments);
        args
    }

    /// Reads what [`Steps::args`] wrote, without the first.
    fn read(args: impl Iterator<Item = OsString>) -> Result<(Self, Command), String> {
        let mut steps = Self::default();
        let mut args = args;
        while let Some(option) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{} needs a value", option.display()));
            match option.to_str() {
                Some("--group") => steps.groups.push(value()?.into()),
                Some("--read") => steps.reads.push(value()?.into()),
                Some("--run") => steps.runs.push(value()?.into()),
                Some("--write") => steps.writes.push(value()?.into()),
                Some("--files") => {
                    let files = value()?.to_str().and_then(|text| text.parse().ok());
                    steps.files = Some(files.ok_or("`--files` needs a number")?);
                }
                Some("--gate") => {
                    let ports = value()?;
                    let ports = ports.to_str().unwrap_or("?").split(',').filter(|port| !port.is_empty());
                    let ports = ports.map(str::parse).collect::<Result<_, _>>();
                    steps.gate = Some(ports.map_err(|_| "`--gate` needs ports")?);
                }
                Some("--filter") => steps.filter = true,
                Some("--") => {
                    let mut command = Command::new(value()?);
                    command.args(args);
                    return Ok((steps, command));
                }
                _ => return Err(format!("unknown option {}", option.display())),
            }
        }
        Err("no program is given".to_owned())
    }
}

/// Runs the steps and becomes the program, where these are the arguments of such a run; otherwise returns at once.
pub(crate) fn run(mut args: impl Iterator<Item = OsString>) {
    if args.nth(1).as_deref() != Some(OsStr::new("sandbox")) {
        return;
    }
    let Err(why) = Steps::read(args).and_then(|(steps, program)| become_it(&steps, program));
    complain(&why);
    // As a shell answers for a program that it cannot start.
    std::process::exit(126);
}

#[expect(clippy::print_stderr, reason = "the gateway shows what a server's process says there")]
fn complain(why: &str) {
    eprintln!("portcullis: the sandbox cannot be set up: {why}");
}

fn become_it(steps: &Steps, mut program: Command) -> Result<Infallible, String> {
    for group in &steps.groups {
        fs::write(group, "0").map_err(|error| format!("{}: {error}", group.display()))?;
    }
    if let Some(files) = steps.files {
        setrlimit(Resource::RLIMIT_NOFILE, files.into(), files.into())
            .map_err(|error| format!("open files: {error}"))?;
    }
    if let Some(ports) = &steps.gate {
        hand_over(ports)?;
    }
    if !steps.reads.is_empty() {
        fence(steps)?;
    }
    if steps.filter {
        filter_calls()?;
    }
    let error = program.exec();
    Err(format!("{}: {error}", program.get_program().display()))
}

/// Leaves the machine's network for one that is behind a gate.
fn hand_over(ports: &[u16]) -> Result<(), String> {
    #[cfg(target_os = "linux")]
    return super::gate::hand_over(ports).map_err(|error| format!("the gate of its network: {error}"));
    #[cfg(not(target_os = "linux"))]
    Err(format!("there is no gate here for the ports {ports:?}"))
}

/// Keeps this process within its folders.
fn fence(steps: &Steps) -> Result<(), String> {
    #[cfg(target_os = "linux")]
    return landlock(steps).map_err(|error| format!("Landlock: {error}"));
    #[cfg(not(target_os = "linux"))]
    Err(format!("there is no Landlock here to keep it within {:?}", steps.reads))
}

/// Keeps this process from system calls that lead out of a sandbox.
fn filter_calls() -> Result<(), String> {
    #[cfg(target_os = "linux")]
    return filter::install().map_err(|error| format!("the filter of system calls: {error}"));
    #[cfg(not(target_os = "linux"))]
    Err("there are no filters of system calls here".to_owned())
}

/// Sets as much of Landlock as the kernel knows.
#[cfg(target_os = "linux")]
fn landlock(steps: &Steps) -> Result<(), landlock::RulesetError> {
    let abi = ABI::V6;
    let run = AccessFs::from_read(abi);
    let read = run & !AccessFs::Execute;
    let write = AccessFs::from_all(abi) & !AccessFs::Execute;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(&steps.reads, read))?
        .add_rules(path_beneath_rules(&steps.runs, run))?
        .add_rules(path_beneath_rules(&steps.writes, write))?;
    ruleset.restrict_self()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_as_they_are_written() {
        let steps = Steps {
            groups: vec!["/g/cgroup.procs".into()],
            files: Some(64),
            gate: Some(vec![443, 80]),
            reads: vec!["/".into()],
            runs: vec!["/usr".into(), "/bin".into()],
            writes: vec!["/tmp".into()],
            filter: true,
        };
        let closed = Steps { gate: Some(Vec::new()), ..Steps::default() };
        for steps in [steps, closed, Steps::default()] {
            let args = steps.args("prog".into(), ["--filter".into(), "--".into()]);
            let (read, command) = Steps::read(args.into_iter().skip(1)).expect("steps");
            assert_eq!(read, steps);
            assert_eq!(command.get_program(), "prog");
            assert_eq!(command.get_args().collect::<Vec<_>>(), ["--filter", "--"]);
        }
        for wrong in [
            &["--filter"][..],
            &["--"],
            &["--read"],
            &["--gate", "x", "--", "x"],
            &["--unknown", "--", "x"],
            &[],
        ] {
            assert!(Steps::read(wrong.iter().map(OsString::from)).is_err(), "{wrong:?}");
        }
    }
}
