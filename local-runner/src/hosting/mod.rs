//! Servers that are kept apart: how a server's description becomes what is started.
//!
//! | module | decides |
//! |---|---|
//! | `plan` | which backend, and which bounds; or all that is missing, pure |
//! | `programs` | where a program is, and what it needs to be seen |
//! | `bubblewrap` | what a sandbox is made of |
//! | `engine`, `container` | containers over an engine's API |
//! | `gate` | what a server reaches of the network |
//! | `groups` | control groups: bounds, and which of them was hit |
//! | `records` | what runs, written down |
//! | `marks` | which processes belong to a server, where no group says it |
//! | `leftovers` | what gateways have left that are gone |
//! | `packages` | what a package of a registry is prepared to, and how that is started |
//! | `setting` | what is there besides, where a server is looked at |
//! | `traffic` | what servers reached, counted |
//! | `sandbox`, `filter` | `portcullis sandbox`: what a process does to itself before it becomes a server |
//!
//! **What a description demands is enforced, or the server is not started.** What this machine can do is found once, by doing
//! it, when a server first needs it.

pub(crate) mod apart;
mod bubblewrap;
mod container;
mod engine;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
pub(crate) mod gate;
pub(crate) mod groups;
mod leftovers;
mod marks;
pub(crate) mod packages;
mod plan;
pub(crate) mod programs;
pub(crate) mod records;
pub(crate) mod sandbox;
mod setting;
mod traffic;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::OnceCell;

use portcullis_core::config::{Backend, Command, Hosting, Inside, Isolation, Network, Place};
use portcullis_core::names::ServerName;
use portcullis_core::sorted::SortedMap;

use bubblewrap::Contents;
pub(crate) use bubblewrap::TEMPORARY;
pub(crate) use container::{Container, Streams};
pub(crate) use engine::Engine;
use groups::{Groups, Hierarchy};
use marks::Mark;
use plan::{Abilities, Bounded, EngineAbilities, Limits, Plan};
use programs::Found;
pub(crate) use records::Noted;
use records::Records;
use sandbox::Steps;
pub(crate) use setting::Setting;
pub(crate) use traffic::Traffic;

/// The program that makes namespaces.
const BWRAP: &str = "bwrap";

/// The place where servers are hosted. Cheap to clone; every clone speaks of the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts {
    machine: Arc<OnceCell<Machine>>,
    records: Option<Records>,
    /// That this gateway starts servers: by itself, and by an engine.
    itself: Arc<[OnceLock<Option<Noted>>; 2]>,
    /// What they reach.
    traffic: Traffic,
    /// Whether what others have left has been looked for.
    swept: Arc<AtomicBool>,
}

/// What was found out about this machine.
#[derive(Debug)]
struct Machine {
    bubblewrap: Result<(), String>,
    groups: Result<Bounded, String>,
    hierarchy: Option<Hierarchy>,
    /// Looked for once a server needs one: an address that nobody answers at keeps only those waiting.
    engine: OnceCell<Result<(Engine, EngineAbilities), String>>,
    own: PathBuf,
}

/// What a server is started as.
pub(crate) enum Placed {
    /// A process, which is yet to be started.
    Process(Box<Ready>),
    /// A container, which runs.
    Container(Box<(Container, Streams)>),
}

/// A process that is ready to be started.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    /// All of its environment.
    pub(crate) env: SortedMap<OsString, OsString>,
    pub(crate) folder: Option<PathBuf>,
    /// What bounds it.
    pub(crate) cage: Option<Cage>,
    /// What runs it; nothing where it is not hosted.
    pub(crate) backend: Option<&'static str>,
    /// The places that it may reach, where there is a gate to them.
    pub(crate) gate: Vec<Place>,
}

impl Ready {
    /// A command as it is, which nothing keeps apart; `env` is all of its environment.
    pub(crate) fn plain(command: &Command, env: SortedMap<OsString, OsString>) -> Self {
        Self {
            program: (&command.program).into(),
            args: command.args.iter().map(OsString::from).collect(),
            env,
            folder: command.cwd.as_ref().map(PathBuf::from),
            cage: None,
            backend: None,
            gate: Vec::new(),
        }
    }

    /// Completes the command that starts it, by `program` and what stands there already: piped, in a group of its own.
    pub(crate) fn complete(&self, command: &mut tokio::process::Command) {
        command.args(&self.args).env_clear().envs(self.env.iter());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
    }
}

/// What bounds a process, as long as it runs.
#[derive(Debug)]
pub(crate) struct Cage {
    groups: Option<Groups>,
    limits: Limits,
    /// What finds what has left the process' group, where no control groups do.
    _mark: Option<Mark>,
}

impl Cage {
    /// Says which bound ended the process, continuing "server X ...".
    pub(crate) fn exceeded(&self) -> Option<String> {
        let groups = self.groups.as_ref()?;
        let memory = self.limits.memory.filter(|_| groups.ran_out_of_memory())?;
        Some(format!(
            "was killed, because it needs more memory than `host.memory` allows ({})",
            in_words(memory)
        ))
    }

    /// Returns its control groups.
    pub(crate) fn groups(&self) -> &[PathBuf] {
        self.groups.as_ref().map_or(&[], Groups::folders)
    }

    /// Says which bound it ran into without being ended by it.
    pub(crate) fn reached(&self) -> Option<String> {
        let refused = self.groups.as_ref()?.refused_processes();
        let pids = self.limits.pids.filter(|_| refused > 0)?;
        Some(format!("could not start a process or thread {refused} times: `host.pids` allows {pids}"))
    }
}

impl Hosts {
    /// Makes the same place with a folder in which it is written down what runs.
    pub(crate) fn noted_in(self, folder: &Path) -> Self {
        Self { records: Some(Records::of(folder)), ..self }
    }

    /// Returns where it is written down what runs, where it is.
    pub(crate) fn records(&self) -> Option<&Records> {
        self.records.as_ref()
    }

    /// Returns what was counted of what servers reach.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Ends and removes what gateways of this data folder have left that are gone, in the background, once.
    pub(crate) fn sweep(&self) {
        let Some(records) = self.records.clone() else { return };
        if !self.swept.swap(true, Ordering::Relaxed) {
            tokio::spawn(async move { leftovers::sweep(&records).await });
        }
    }

    /// Writes down that this gateway starts servers, before it starts the first.
    fn note_itself(&self, engine: Option<&Engine>) {
        if let Some(records) = &self.records {
            let address = engine.map(|engine| engine.address.as_str());
            self.itself[usize::from(address.is_some())].get_or_init(|| records.note_gateway(address));
        }
    }

    /// Makes what is started of how a server is hosted. `env` is the whole environment that a plain process would have.
    ///
    /// # Errors
    /// Says what is missing.
    pub(crate) async fn place(
        &self,
        server: &ServerName,
        command: &Command,
        hosting: &Hosting,
        env: SortedMap<OsString, OsString>,
    ) -> Result<Placed, String> {
        self.furnish(server, command, hosting, env, &Setting::default()).await
    }

    /// Tells whether a server's network can be behind a gate here, whatever it is started as.
    ///
    /// # Errors
    /// Says why not.
    pub(crate) async fn gates(&self, hosting: &Hosting) -> Result<(), String> {
        if !cfg!(target_os = "linux") {
            return Err("there are no gates on this system".to_owned());
        }
        if hosting.image.is_none() {
            return Ok(());
        }
        if hosting.isolation == Isolation::Kernel {
            return Err("a kernel of its own has a network of its own".to_owned());
        }
        let machine = self.machine.get_or_init(Machine::find).await;
        match machine.engine.get_or_init(find_engine).await {
            Ok((_, abilities)) => abilities.within_reach.clone(),
            Err(why) => Err(why.clone()),
        }
    }

    /// Tells whether files of this machine can be shown to a server.
    pub(crate) async fn shows_files(&self, hosting: &Hosting) -> bool {
        if hosting.image.is_none() {
            return true;
        }
        let machine = self.machine.get_or_init(Machine::find).await;
        machine.engine.get_or_init(find_engine).await.as_ref().is_ok_and(|(engine, _)| engine.is_local())
    }

    /// Does the same as [`Hosts::place`] for a server that is looked at.
    ///
    /// # Errors
    /// Says what is missing.
    pub(crate) async fn furnish(
        &self,
        server: &ServerName,
        command: &Command,
        hosting: &Hosting,
        env: SortedMap<OsString, OsString>,
        setting: &Setting,
    ) -> Result<Placed, String> {
        let machine = self.machine.get_or_init(Machine::find).await;
        let needs_engine = hosting.image.is_some() || hosting.backend == Some(Backend::Container);
        let engine = if needs_engine { Some(machine.engine.get_or_init(find_engine).await) } else { None };
        let plan = plan::plan(hosting, &machine.abilities(engine))?;
        let engine = engine.and_then(|engine| engine.as_ref().ok()).map(|(engine, _)| engine);
        self.note_itself(engine);
        self.sweep();
        let missing = hosting.mounts.iter().find(|mount| !Path::new(&mount.path).exists());
        // What lies where an engine runs elsewhere cannot be seen from here.
        if let Some(missing) = missing.filter(|_| engine.is_none_or(Engine::is_local)) {
            return Err(format!("there is no file or folder {:?}, which `host.mounts` names", missing.path));
        }
        if let (Backend::Container, Some(engine)) = (plan.backend, engine) {
            let (container, streams) =
                Container::start(engine, server, command, (hosting, setting), &plan).await?;
            return Ok(Placed::Container(Box::new((container, streams))));
        }
        machine.ready(&plan, command, (hosting, setting), env).map(|ready| Placed::Process(Box::new(ready)))
    }
}

impl Machine {
    fn abilities(&self, engine: Option<&Result<(Engine, EngineAbilities), String>>) -> Abilities {
        let engine = match engine {
            Some(Ok((_, abilities))) => Ok(abilities.clone()),
            Some(Err(why)) => Err(why.clone()),
            None => Err("it needs none".to_owned()),
        };
        Abilities { bubblewrap: self.bubblewrap.clone(), groups: self.groups.clone(), engine }
    }

    /// Makes what is started as a process.
    fn ready(
        &self,
        plan: &Plan,
        command: &Command,
        (hosting, setting): (&Hosting, &Setting),
        env: SortedMap<OsString, OsString>,
    ) -> Result<Ready, String> {
        let groups = self.hierarchy.as_ref().map(|hierarchy| hierarchy.make(&plan.limits)).transpose();
        let groups = groups.map_err(|error| format!("its control groups cannot be made: {error}"))?;
        let doors = groups.iter().flat_map(Groups::doors).collect();
        let (start, limits) = (groups::of_start(), plan.limits);
        let home = env.get(OsStr::new("HOME")).map(PathBuf::from);
        let path = env.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        let folder = command.cwd.as_ref().map(PathBuf::from);
        let args = command.args.iter().map(OsString::from).collect::<Vec<_>>();
        match plan.backend {
            Backend::Process => {
                let mut env = env;
                env.insert(marks::NAME.into(), (&start).into());
                let is_caught = groups.as_ref().is_some_and(|groups| !groups.folders().is_empty());
                let cage = Some(Cage { groups, limits, _mark: (!is_caught).then(|| Mark::of(start)) });
                let steps = Steps { groups: doors, files: Some(plan.limits.files), ..Steps::default() };
                let args = steps.args((&command.program).into(), args);
                Ok(Ready {
                    program: self.own.clone().into(),
                    args,
                    env,
                    folder,
                    cage,
                    backend: Some("process"),
                    gate: Vec::new(),
                })
            }
            Backend::Bubblewrap => {
                let cage = groups.map(|groups| Cage { groups: Some(groups), limits, _mark: None });
                let at = folder.as_deref().unwrap_or(Path::new("/"));
                let program =
                    programs::find(&command.program, at, &path, home.as_deref()).ok_or_else(|| {
                        format!(
                            "the program {:?} was not found; install it, or give its full path",
                            command.program
                        )
                    })?;
                let besides = certificates(&env);
                let contents = Contents {
                    hosting,
                    limits: &plan.limits,
                    program: &program,
                    args: &args,
                    folder: folder.as_deref(),
                    besides: &besides,
                    setting,
                    own: &self.own,
                };
                let args = bubblewrap::args(&contents);
                let gate = bubblewrap::gate(hosting, setting);
                let steps = Steps { groups: doors, gate, ..Steps::default() };
                let args = steps.args(BWRAP.into(), args);
                Ok(Ready {
                    program: self.own.clone().into(),
                    args,
                    env: within(env, command),
                    folder: None,
                    cage,
                    backend: Some("bubblewrap"),
                    gate: bubblewrap::places(hosting).to_vec(),
                })
            }
            Backend::Container => Err("no container engine answers".to_owned()),
        }
    }

    async fn find() -> Self {
        // What runs now, also once another one was installed in its place.
        let own = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
        let (hierarchy, groups) = match Hierarchy::find() {
            Ok((hierarchy, bounded)) => (Some(hierarchy), Ok(bounded)),
            Err(why) => (None, Err(why)),
        };
        if let Some(left) = hierarchy.as_ref().map(Hierarchy::sweep).filter(|left| *left > 0) {
            tracing::info!(left, "control groups of gateways that are gone were removed");
        }
        let bubblewrap = try_bubblewrap(&own).await;
        Self { bubblewrap, groups, hierarchy, engine: OnceCell::new(), own }
    }
}

/// Finds the engine for containers, and removes what gateways have left in it that are gone.
async fn find_engine() -> Result<(Engine, EngineAbilities), String> {
    let (engine, abilities) = Engine::find().await?;
    let left = engine.sweep().await;
    if left > 0 {
        tracing::info!(left, "containers of gateways that are gone were removed");
    }
    Ok((engine, abilities))
}

/// Enters the network of a process, for all that this one starts from now on.
///
/// # Errors
/// Says why not: only root may, as a rule.
pub(crate) fn enter_network(process: u32) -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let namespace = std::fs::File::open(format!("/proc/{process}/ns/net"))?;
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
        Ok(())
    }
    #[cfg(not(target_os = "linux"))]
    anyhow::bail!("there are no networks of processes ({process}) here")
}

/// Returns the arguments of `portcullis inside`.
fn inside(http: &Inside, beside: Option<i64>) -> Vec<OsString> {
    let mut args = vec!["inside".to_owned(), "--port".to_owned(), http.port.to_string()];
    args.extend(["--path".to_owned(), http.path.clone()]);
    args.extend(beside.into_iter().flat_map(|process| ["--beside".to_owned(), process.to_string()]));
    args.into_iter().map(OsString::from).collect()
}

/// Makes a sandbox in which nothing is done.
async fn try_bubblewrap(own: &Path) -> Result<(), String> {
    let nothing = Bounded { memory: false, cpus: false, pids: false };
    let hosting = Hosting { isolation: Isolation::Namespaces, network: Network::None, ..Hosting::default() };
    let abilities = Abilities { bubblewrap: Ok(()), groups: Ok(nothing), engine: Err(String::new()) };
    let limits = plan::plan(&hosting, &abilities)?.limits;
    let program = Found { program: "/bin/true".into(), needs: Vec::new() };
    let contents = Contents {
        hosting: &hosting,
        limits: &limits,
        program: &program,
        args: &[],
        folder: None,
        besides: &[],
        setting: &Setting::default(),
        own,
    };
    let output = tokio::process::Command::new(BWRAP)
        .args(bubblewrap::args(&contents))
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next_back().unwrap_or("it says nothing").to_owned();
            Err(format!("`{BWRAP}` fails: {said}; are user namespaces allowed to you?"))
        }
        Err(_) => Err(format!("`{BWRAP}` is not installed (the package bubblewrap)")),
    }
}

/// Returns the certificates that an environment names, where they are files or folders outside the system's.
fn certificates(env: &SortedMap<OsString, OsString>) -> Vec<PathBuf> {
    let names = ["NODE_EXTRA_CA_CERTS", "SSL_CERT_DIR", "SSL_CERT_FILE"];
    let paths = names.iter().filter_map(|name| env.get(OsStr::new(name)).map(PathBuf::from));
    paths.filter(|path| path.is_absolute() && !path.starts_with("/etc/ssl") && path.exists()).collect()
}

/// Returns an environment in which nothing tells of the gateway's user.
fn within(env: SortedMap<OsString, OsString>, command: &Command) -> SortedMap<OsString, OsString> {
    let of_a_user = |name: &OsStr| {
        let name = name.to_str().unwrap_or_default();
        matches!(name, "HOME" | "LOGNAME" | "SHELL" | "TMPDIR" | "USER") || name.starts_with("XDG_")
    };
    let configured = |name: &OsStr| name.to_str().is_some_and(|name| command.env.contains_key(name));
    let own = [("HOME", "/tmp"), ("LOGNAME", "nobody"), ("USER", "nobody")];
    let own = own.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let kept = env.into_iter().filter(|(name, _)| !of_a_user(name) || configured(name));
    // What comes later wins.
    own.into_iter().chain(kept).collect()
}

fn in_words(bytes: u64) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ => format!("{bytes} bytes"),
    }
}
