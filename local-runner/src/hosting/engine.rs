//! The engine for containers: where it listens, what it does, which images it has, what is left in it of gateways that are
//! gone.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use bollard::errors::Error;
use bollard::models::{ContainerState, ContainerSummary, SystemInfo, SystemVersion};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, StatsOptionsBuilder, StopContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};

use futures::StreamExt;

use portcullis_core::config::{Hosting, Image, Isolation};

use super::container::{patiently, remove, said};
use super::groups;
use super::plan::{Bounded, EngineAbilities, Plan};

/// The label that says which gateway started a container.
pub(crate) const OWNER: &str = "io.portcullis.owner";
/// The label that says for which server.
pub(crate) const SERVER: &str = "io.portcullis.server";
/// How gVisor's runtime is called, and its program.
const GVISOR: &str = "runsc";
/// How long an engine may take to answer, in seconds.
const PATIENCE: u64 = 120;

/// How long a container that is stopped has, in seconds.
const PATIENCE_OF_A_STOP: i32 = 2;

/// An engine that answers.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(super) docker: Docker,
    /// Where it answers.
    pub(super) address: String,
    /// Who we are, in labels.
    pub(super) owner: String,
    /// Whether its containers are processes of this machine.
    local: bool,
}

impl Engine {
    /// Finds the engine: that of `DOCKER_HOST` or `CONTAINER_HOST`, otherwise whichever answers first where engines listen.
    ///
    /// # Errors
    /// Says where none was found.
    pub(crate) async fn find() -> Result<(Self, EngineAbilities), String> {
        let named = ["DOCKER_HOST", "CONTAINER_HOST"].iter().find_map(|name| env::var(name).ok());
        if let Some(address) = named.filter(|address| !address.is_empty()) {
            return Self::at(&address).await.map_err(|why| format!("{address}: {why}"));
        }
        let sockets = sockets();
        for socket in sockets.iter().filter(|socket| socket.exists()) {
            if let Ok(found) = Self::at(&format!("unix://{}", socket.display())).await {
                return Ok(found);
            }
        }
        Err("neither Docker nor Podman answers; start one, or set `DOCKER_HOST` \
             (for Podman: `podman system service --time=0 unix:///run/podman/podman.sock`)"
            .to_owned())
    }

    /// Finds the engine that answers there.
    pub(super) async fn at(address: &str) -> Result<(Self, EngineAbilities), String> {
        let docker = match address.strip_prefix("unix://") {
            Some(path) => Docker::connect_with_unix(path, PATIENCE, API_DEFAULT_VERSION),
            None => Docker::connect_with_http(address, PATIENCE, API_DEFAULT_VERSION),
        };
        let docker =
            docker.map_err(|error| said(&error))?.negotiate_version().await.map_err(|error| said(&error))?;
        let info = docker.info().await.map_err(|error| said(&error))?;
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let local = address.starts_with("unix://") && info.kernel_version.as_deref() == Some(release.trim());
        let reach = if !local {
            Err("its network cannot be served: the engine runs in a virtual machine or elsewhere".to_owned())
        } else if !nix::unistd::geteuid().is_root() {
            Err("its network cannot be served: that of a container is entered as root alone".to_owned())
        } else {
            Ok(())
        };
        let bounded = Bounded {
            memory: info.memory_limit.unwrap_or(false),
            cpus: info.cpu_cfs_quota.unwrap_or(false),
            pids: info.pids_limit.unwrap_or(false),
        };
        let version = docker.version().await.map_err(|error| said(&error))?;
        let own_kernel = own_kernel(&info, &version);
        let abilities = EngineAbilities { bounded, own_kernel, within_reach: reach };
        let address = address.to_owned();
        Ok((Self { docker, address, owner: groups::owner(), local }, abilities))
    }

    /// Tells whether its containers are processes of this machine.
    pub(super) fn is_local(&self) -> bool {
        self.local
    }

    /// Returns the identifier of an image that the engine holds.
    pub(super) async fn image(&self, hosting: &Hosting) -> Result<String, String> {
        let Some(Image { name, digest }) = &hosting.image else { return Err("no image is named".to_owned()) };
        for reference in [format!("{name}@{digest}"), digest.clone()] {
            let Ok(found) = self.docker.inspect_image(&reference).await else { continue };
            let id = found.id.unwrap_or_default();
            let of_manifest = found.repo_digests.unwrap_or_default();
            // An engine may take the name for enough; the digest decides.
            let ours =
                same(&id, digest) || of_manifest.iter().any(|known| known.ends_with(&format!("@{digest}")));
            if ours {
                return Ok(id);
            }
        }
        Err(format!(
            "the engine does not hold the image {name}@{digest}; fetch it with `portcullis host prepare`"
        ))
    }

    /// Looks at a container that has started: whether what was demanded is in force. Returns its first process, where that is one of
    /// this machine.
    ///
    /// # Errors
    /// Says what is not.
    pub(super) async fn verify(
        &self,
        id: &str,
        hosting: &Hosting,
        plan: &Plan,
    ) -> Result<Option<i32>, String> {
        if !self.local {
            return Ok(None);
        }
        let state = self.state(id).await?;
        let process = state.and_then(|state| state.pid).and_then(|pid| i32::try_from(pid).ok());
        // One that has ended already says so by itself.
        let Some(process) = process.filter(|process| *process > 0) else { return Ok(None) };
        if hosting.isolation == Isolation::Kernel {
            let program = fs::read_link(format!("/proc/{process}/exe")).unwrap_or_default();
            let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.contains(GVISOR) {
                return Err(format!(
                    "it has no kernel of its own: the engine runs it by {}",
                    program.display()
                ));
            }
        }
        let Some(in_force) = groups::in_force(process) else {
            let ended = !Path::new(&format!("/proc/{process}")).exists();
            return if ended {
                Ok(None)
            } else {
                Err("its bounds cannot be read back from the kernel".to_owned())
            };
        };
        let missing = |written: bool, wanted: Option<u64>, set: Option<u64>| {
            written && wanted.is_some_and(|wanted| set.is_none_or(|set| set > wanted))
        };
        let bounds = hosting.bounds;
        let memory = missing(bounds.memory.is_some(), plan.limits.memory, in_force.memory);
        let cpus = missing(bounds.cpus.is_some(), plan.limits.cpus.map(u64::from), in_force.cpus);
        let pids = missing(bounds.pids.is_some(), plan.limits.pids.map(u64::from), in_force.pids);
        let missing = [(memory, "`memory`"), (cpus, "`cpus`"), (pids, "`pids`")];
        let missing: Vec<_> = missing.iter().filter(|(missing, _)| *missing).map(|(_, name)| *name).collect();
        if missing.is_empty() {
            return Ok(Some(process));
        }
        Err(format!("the engine, or its runtime, does not bound {}", missing.join(" and ")))
    }

    /// Returns the state of a container.
    async fn state(&self, id: &str) -> Result<Option<ContainerState>, String> {
        let look = || self.docker.inspect_container(id, None::<InspectContainerOptions>);
        patiently(look).await.map(|found| found.state).map_err(|error| said(&error))
    }

    /// Removes the containers of gateways of this machine that are gone; returns how many there were.
    pub(super) async fn sweep(&self) -> usize {
        let left: Vec<_> = self
            .containers()
            .await
            .into_iter()
            .filter(|found| {
                let owner = found.labels.as_ref().and_then(|labels| labels.get(OWNER));
                owner.is_some_and(|owner| groups::is_gone(owner))
            })
            .filter_map(|found| found.id)
            .collect();
        for id in &left {
            remove(&self.docker, id).await;
        }
        left.len()
    }

    /// Removes a container; tells whether there was one.
    ///
    /// # Errors
    /// Says why it is still there.
    pub(super) async fn remove(&self, id: &str) -> Result<bool, String> {
        if self.is_absent(id).await {
            return Ok(false);
        }
        remove(&self.docker, id).await;
        if self.is_absent(id).await { Ok(true) } else { Err(format!("the container {id} stays")) }
    }

    async fn is_absent(&self, id: &str) -> bool {
        let found = self.docker.inspect_container(id, None::<InspectContainerOptions>).await;
        matches!(found, Err(Error::DockerResponseServerError { status_code: 404, .. }))
    }

    /// Ends a container, gently first; whoever started it removes it. Tells whether it ran.
    pub(crate) async fn stop(&self, id: &str) -> bool {
        let options = StopContainerOptionsBuilder::default().t(PATIENCE_OF_A_STOP).build();
        self.docker.stop_container(id, Some(options)).await.is_ok()
    }

    /// Returns the memory that a container has now, in bytes, and how many processes it has.
    pub(crate) async fn usage(&self, id: &str) -> Option<(u64, usize)> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let stats = self.docker.stats(id, Some(options)).next().await?.ok()?;
        let processes =
            stats.pids_stats.and_then(|pids| pids.current).and_then(|pids| usize::try_from(pids).ok());
        Some((stats.memory_stats?.usage?, processes.unwrap_or_default()))
    }

    /// Lists the containers of gateways.
    pub(crate) async fn containers(&self) -> Vec<ContainerSummary> {
        let filters = HashMap::from([("label".to_owned(), vec![OWNER.to_owned()])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let listed = patiently(|| self.docker.list_containers(Some(options.clone()))).await;
        listed.unwrap_or_else(|error| {
            tracing::warn!(error = said(&error), "the engine does not list its containers");
            Vec::new()
        })
    }
}

/// Returns the name of gVisor's runtime, where the engine starts containers by it. Podman starts all by one, whatever its
/// interface is told, and names others that are not there.
fn own_kernel(info: &SystemInfo, version: &SystemVersion) -> Option<String> {
    let components = version.components.iter().flatten();
    let podman = components.clone().any(|component| component.name.contains("Podman"));
    let named = info.runtimes.as_ref().is_some_and(|runtimes| runtimes.contains_key(GVISOR));
    let default = info.default_runtime.as_deref() == Some(GVISOR);
    (default || named && !podman).then(|| GVISOR.to_owned())
}

/// Compares two digests, of which one may lack its algorithm.
fn same(id: &str, digest: &str) -> bool {
    id.trim_start_matches("sha256:") == digest.trim_start_matches("sha256:")
}

/// Returns where engines listen.
fn sockets() -> Vec<PathBuf> {
    let mut sockets = vec!["/var/run/docker.sock".into(), "/run/podman/podman.sock".into()];
    let in_folder = |variable: &str, paths: &[&str]| {
        let folder = env::var_os(variable).map(PathBuf::from);
        let paths = paths.iter().map(|path| Path::new(path).to_owned());
        folder
            .into_iter()
            .flat_map(move |folder| paths.clone().map(move |path| folder.join(path)))
            .collect::<Vec<_>>()
    };
    sockets.extend(in_folder("XDG_RUNTIME_DIR", &["docker.sock", "podman/podman.sock"]));
    let desktops = [
        ".docker/run/docker.sock",
        ".orbstack/run/docker.sock",
        ".colima/default/docker.sock",
        ".local/share/containers/podman/machine/podman.sock",
    ];
    sockets.extend(in_folder("HOME", &desktops));
    sockets
}
