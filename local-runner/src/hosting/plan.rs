//! From how a server is to be hosted, and what this machine can do, to how it is started; or to all that is missing.
//!
//! **What is written is enforced, or there is no plan.** What was not written is bounded where that is possible.

use portcullis_core::config::{Backend, Bounds, Hosting, Isolation, Network};

/// The bounds of servers whose description has none.
const MEMORY: u64 = 512 << 20;
const PIDS: u32 = 128;
const FILES: u32 = 1024;
const TMP: u64 = 64 << 20;

/// What this machine was found to do; where it does not, why.
#[derive(Debug, Clone)]
pub(crate) struct Abilities {
    /// Whether bubblewrap makes a sandbox that holds.
    pub(crate) bubblewrap: Result<(), String>,
    /// Which of memory, processors and processes can be bounded for processes.
    pub(crate) groups: Result<Bounded, String>,
    /// What the engine for containers does.
    pub(crate) engine: Result<EngineAbilities, String>,
}

/// What can be bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounded {
    pub(crate) memory: bool,
    pub(crate) cpus: bool,
    pub(crate) pids: bool,
}

/// What an engine for containers does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineAbilities {
    /// What it bounds.
    pub(crate) bounded: Bounded,
    /// The name of a runtime that has a kernel of its own, where there is one.
    pub(crate) own_kernel: Option<String>,
    /// Whether the gateway reaches into a container's network: it runs on the same kernel, and we may.
    pub(crate) within_reach: Result<(), String>,
}

/// How a server is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) backend: Backend,
    pub(crate) limits: Limits,
    /// The runtime that the engine is told to use.
    pub(crate) runtime: Option<String>,
}

/// The bounds that are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) memory: Option<u64>,
    pub(crate) cpus: Option<u32>,
    pub(crate) pids: Option<u32>,
    pub(crate) files: u32,
    pub(crate) tmp: u64,
}

/// Makes a plan.
///
/// # Errors
/// Says all that is missing, continuing "is not started: ".
pub(crate) fn plan(hosting: &Hosting, abilities: &Abilities) -> Result<Plan, String> {
    let backend = choose(hosting, abilities);
    let mut gaps = Vec::new();
    let (offered, bounded, runtime) = match backend {
        Backend::Process => {
            gaps.extend(of_a_process(hosting));
            (Isolation::Process, abilities.groups.clone(), None)
        }
        Backend::Bubblewrap => {
            gaps.extend(
                abilities.bubblewrap.clone().err().map(|why| format!("no sandbox can be made here: {why}")),
            );
            (Isolation::Namespaces, abilities.groups.clone(), None)
        }
        Backend::Container => match &abilities.engine {
            Err(why) => {
                gaps.push(format!("no container can be started here: {why}"));
                // What it would do cannot be told.
                let all = Bounded { memory: true, cpus: true, pids: true };
                (Isolation::Kernel, Ok(all), None)
            }
            Ok(engine) => {
                let reach = needs_reach(hosting).then(|| engine.within_reach.clone().err()).flatten();
                gaps.extend(reach);
                let runtime = engine.own_kernel.clone().filter(|_| hosting.isolation == Isolation::Kernel);
                let offered = if runtime.is_some() { Isolation::Kernel } else { Isolation::Container };
                (offered, Ok(engine.bounded), runtime)
            }
        },
    };
    if backend == Backend::Container && hosting.image.is_none() {
        gaps.push("a container needs an image: write `host.image`".to_owned());
    }
    if backend != Backend::Container && hosting.image.is_some() {
        gaps.push(format!("an image runs in a container, not as `backend: {}`", name(backend)));
    }
    if offered < hosting.isolation {
        gaps.push(short_of(hosting.isolation, offered));
    }
    gaps.extend(unbounded(&hosting.bounds, bounded.as_ref()));
    if gaps.is_empty() {
        Ok(Plan { backend, limits: limits(&hosting.bounds, bounded.ok()), runtime })
    } else {
        Err(gaps.join("; "))
    }
}

/// Returns what is written, or the best that there is for such a server.
fn choose(hosting: &Hosting, abilities: &Abilities) -> Backend {
    match hosting.backend {
        Some(backend) => backend,
        None if hosting.image.is_some() => Backend::Container,
        None if abilities.bubblewrap.is_err() && hosting.isolation == Isolation::Process => Backend::Process,
        None => Backend::Bubblewrap,
    }
}

/// Says what a plain process cannot be kept from.
fn of_a_process(hosting: &Hosting) -> impl Iterator<Item = String> {
    let network = hosting.network != Network::Unrestricted;
    let network = network.then(|| {
        "a plain process cannot be kept from the network: write `network: unrestricted`, or another backend".to_owned()
    });
    let files = !hosting.mounts.is_empty() || hosting.bounds.tmp.is_some();
    let files = files.then(|| {
        "a plain process sees all files of its user: `mounts` and `tmp` need another backend".to_owned()
    });
    let http = hosting.http.is_some();
    let http = http.then(|| {
        "a plain process shares its ports with the machine: use `url`, or another backend".to_owned()
    });
    [network, files, http].into_iter().flatten()
}

/// Tells whether the gateway must reach into a container's network.
fn needs_reach(hosting: &Hosting) -> bool {
    matches!(hosting.network, Network::Places(_)) || hosting.http.is_some()
}

fn short_of(wanted: Isolation, offered: Isolation) -> String {
    let level = |isolation| match isolation {
        Isolation::Process => "process",
        Isolation::Namespaces => "namespaces",
        Isolation::Container => "container",
        Isolation::Kernel => "kernel",
    };
    let hint = match wanted {
        Isolation::Kernel => ", which needs a container engine with gVisor's runtime (`runsc`)",
        Isolation::Container => ", which needs `host.image` and a container engine",
        Isolation::Process | Isolation::Namespaces => "",
    };
    format!("it would have `isolation: {}`, and `{}` is asked for{hint}", level(offered), level(wanted))
}

/// Says which written bounds cannot be set.
fn unbounded(bounds: &Bounds, bounded: Result<&Bounded, &String>) -> Option<String> {
    let can = |which: fn(&Bounded) -> bool| bounded.is_ok_and(which);
    let written = [
        ("memory", bounds.memory.is_some(), can(|b| b.memory)),
        ("cpus", bounds.cpus.is_some(), can(|b| b.cpus)),
        ("pids", bounds.pids.is_some(), can(|b| b.pids)),
    ];
    let names: Vec<_> = written
        .iter()
        .filter(|(_, written, can)| *written && !can)
        .map(|(name, ..)| format!("`{name}`"))
        .collect();
    let why = bounded.err().map_or("the kernel's controller is missing", String::as_str);
    (!names.is_empty()).then(|| format!("{} cannot be bounded here: {why}", names.join(", ")))
}

fn limits(bounds: &Bounds, bounded: Option<Bounded>) -> Limits {
    let can = bounded.unwrap_or(Bounded { memory: false, cpus: false, pids: false });
    Limits {
        memory: bounds.memory.or(Some(MEMORY)).filter(|_| can.memory),
        cpus: bounds.cpus,
        pids: bounds.pids.or(Some(PIDS)).filter(|_| can.pids),
        files: bounds.files.unwrap_or(FILES),
        tmp: bounds.tmp.unwrap_or(TMP),
    }
}

fn name(backend: Backend) -> &'static str {
    match backend {
        Backend::Process => "process",
        Backend::Bubblewrap => "bubblewrap",
        Backend::Container => "container",
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::config::Image;

    use super::*;

    const ALL: Bounded = Bounded { memory: true, cpus: true, pids: true };

    fn able() -> Abilities {
        let engine = EngineAbilities { bounded: ALL, own_kernel: None, within_reach: Ok(()) };
        Abilities { bubblewrap: Ok(()), groups: Ok(ALL), engine: Ok(engine) }
    }

    fn unable() -> Abilities {
        let why = |what: &str| Err(format!("{what} is missing"));
        Abilities {
            bubblewrap: Err("bwrap is missing".to_owned()),
            groups: why("a hierarchy").map(|()| ALL),
            engine: Err("an engine is missing".to_owned()),
        }
    }

    fn check(hosting: Hosting, abilities: &Abilities) -> String {
        match plan(&hosting, abilities) {
            Ok(Plan { backend, limits: Limits { memory, cpus, pids, files, tmp }, runtime }) => {
                format!(
                    "{backend:?} memory {memory:?} cpus {cpus:?} pids {pids:?} files {files} tmp {tmp} {runtime:?}"
                )
            }
            Err(gaps) => gaps.replace("; ", "\n"),
        }
    }

    fn in_an_image() -> Hosting {
        let image = Image { name: "a".to_owned(), digest: "sha256:0".to_owned() };
        Hosting { image: Some(image), ..Hosting::default() }
    }

    #[test]
    fn the_best_there_is_is_chosen() {
        let plain = Hosting::default;
        let careless =
            || Hosting { isolation: Isolation::Process, network: Network::Unrestricted, ..plain() };
        insta::assert_snapshot!(check(plain(), &able()), @"Bubblewrap memory Some(536870912) cpus None pids Some(128) files 1024 tmp 67108864 None");
        insta::assert_snapshot!(check(careless(), &able()), @"Bubblewrap memory Some(536870912) cpus None pids Some(128) files 1024 tmp 67108864 None");
        insta::assert_snapshot!(check(careless(), &unable()), @"Process memory None cpus None pids None files 1024 tmp 67108864 None");
        insta::assert_snapshot!(check(in_an_image(), &able()), @"Container memory Some(536870912) cpus None pids Some(128) files 1024 tmp 67108864 None");
        let mut gvisor = able();
        if let Ok(engine) = &mut gvisor.engine {
            engine.own_kernel = Some("runsc".to_owned());
        }
        insta::assert_snapshot!(check(Hosting { isolation: Isolation::Kernel, ..in_an_image() }, &gvisor), @r#"Container memory Some(536870912) cpus None pids Some(128) files 1024 tmp 67108864 Some("runsc")"#);
        let bounds = Bounds { memory: Some(1), cpus: Some(2), pids: Some(3), files: Some(4), tmp: Some(5) };
        insta::assert_snapshot!(check(Hosting { bounds, ..plain() }, &able()), @"Bubblewrap memory Some(1) cpus Some(2) pids Some(3) files 4 tmp 5 None");
    }

    #[test]
    fn what_cannot_be_enforced_is_not_started() {
        let plain = Hosting::default;
        insta::assert_snapshot!(check(plain(), &unable()), @"no sandbox can be made here: bwrap is missing");
        let bounds = Bounds { memory: Some(1), cpus: Some(2), pids: Some(3), files: Some(4), tmp: Some(5) };
        insta::assert_snapshot!(check(Hosting { bounds, ..plain() }, &unable()), @"
        no sandbox can be made here: bwrap is missing
        `memory`, `cpus`, `pids` cannot be bounded here: a hierarchy is missing
        ");
        let process =
            || Hosting { backend: Some(Backend::Process), isolation: Isolation::Process, ..plain() };
        insta::assert_snapshot!(check(Hosting { bounds, ..process() }, &unable()), @"
        a plain process cannot be kept from the network: write `network: unrestricted`, or another backend
        a plain process sees all files of its user: `mounts` and `tmp` need another backend
        `memory`, `cpus`, `pids` cannot be bounded here: a hierarchy is missing
        ");
        insta::assert_snapshot!(check(Hosting { isolation: Isolation::Namespaces, network: Network::Unrestricted, ..process() }, &able()), @"it would have `isolation: process`, and `namespaces` is asked for");
        insta::assert_snapshot!(check(Hosting { backend: Some(Backend::Container), ..plain() }, &able()), @"a container needs an image: write `host.image`");
        insta::assert_snapshot!(check(Hosting { backend: Some(Backend::Bubblewrap), ..in_an_image() }, &able()), @"an image runs in a container, not as `backend: bubblewrap`");
        insta::assert_snapshot!(check(Hosting { isolation: Isolation::Kernel, ..in_an_image() }, &able()), @"it would have `isolation: container`, and `kernel` is asked for, which needs a container engine with gVisor's runtime (`runsc`)");
        insta::assert_snapshot!(check(in_an_image(), &unable()), @"no container can be started here: an engine is missing");
        insta::assert_snapshot!(check(Hosting { isolation: Isolation::Container, ..plain() }, &able()), @"it would have `isolation: namespaces`, and `container` is asked for, which needs `host.image` and a container engine");
        let mut remote = able();
        if let Ok(engine) = &mut remote.engine {
            engine.within_reach = Err("the engine is on another machine".to_owned());
        }
        insta::assert_snapshot!(check(Hosting { network: Network::Places(Vec::new()), ..in_an_image() }, &remote), @"the engine is on another machine");
        insta::assert_snapshot!(check(in_an_image(), &remote), @"Container memory Some(536870912) cpus None pids Some(128) files 1024 tmp 67108864 None");
    }
}
