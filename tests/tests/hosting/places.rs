//! The places in which servers are hosted, what each claims, and how its processes are found.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_tests::engine::Engine;
use portcullis_tests::gateway::Builder;
use portcullis_tests::hosting::hostile;
use serde_json::{Value, json};

/// A place in which servers are hosted.
pub(crate) struct Place {
    backend: &'static str,
    /// The engine whose containers they are.
    engine: Option<&'static Engine>,
    /// The kernel that they have for themselves.
    own_kernel: bool,
}

impl Place {
    /// A process of the user, in control groups.
    pub(crate) fn process() -> Self {
        Self { backend: "process", engine: None, own_kernel: false }
    }

    /// Bubblewrap, in control groups.
    pub(crate) fn bubblewrap() -> Self {
        Self { backend: "bubblewrap", engine: None, own_kernel: false }
    }

    /// Podman, with runc.
    pub(crate) fn podman() -> Self {
        Self { backend: "container", engine: Some(Engine::podman()), own_kernel: false }
    }

    /// Docker, with runc.
    pub(crate) fn docker() -> Self {
        Self { backend: "container", engine: Some(Engine::docker()), own_kernel: false }
    }

    /// Podman, with gVisor.
    pub(crate) fn gvisor() -> Self {
        Self { backend: "container", engine: Some(Engine::gvisor()), own_kernel: true }
    }

    /// The hostile server's description there, with what `host` adds.
    pub(crate) fn server(&self, host: &Value, env: &[(&str, &str)]) -> Value {
        let mut all = json!({ "backend": self.backend });
        if self.backend == "process" {
            all["network"] = json!("unrestricted");
        }
        if self.own_kernel {
            all["isolation"] = json!("kernel");
        }
        if let Some(engine) = self.engine {
            all["image"] = json!(engine.hostile());
        }
        for (key, value) in host.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let env: Value = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let mut server = json!({ "env": env, "host": all, "timeout": "60s" });
        if self.engine.is_none() {
            server["command"] = json!([hostile()]);
        }
        server
    }

    /// Where the hostile server's program is there.
    pub(crate) fn program(&self) -> PathBuf {
        if self.engine.is_some() { "/hostile".into() } else { hostile() }
    }

    /// Prepares a gateway for it.
    pub(crate) fn prepared(&self, gateway: Builder) -> Builder {
        match self.engine {
            Some(engine) => gateway.env("DOCKER_HOST", &engine.address()),
            None => gateway,
        }
    }

    /// Whether it keeps a server from the machine's files and network.
    pub(crate) fn sandboxed(&self) -> bool {
        self.backend != "process"
    }

    /// Whether it has an image of its own.
    pub(crate) fn is_container(&self) -> bool {
        self.engine.is_some()
    }

    /// Whether memory, processors and processes are bounded.
    pub(crate) fn bounds(&self) -> bool {
        // gVisor runs without control groups here.
        !self.own_kernel
    }

    /// Whether the machine's kernel is what its servers see.
    pub(crate) fn shares_kernel(&self) -> bool {
        !self.own_kernel
    }

    /// Lets a server of this place write into a folder: one in a container is another user.
    pub(crate) fn give(&self, folder: &Path) {
        if self.engine.is_some() {
            chown(folder, Some(65534), Some(65534)).expect("the folder is ours");
        }
    }

    /// A value that only one test's servers have.
    pub(crate) fn mark(&self) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        format!("mark-{}-{}-{}", self.backend, std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// The processes that have a mark in their environment; the containers, where what runs in them cannot be seen.
    pub(crate) fn alive(&self, mark: &str) -> Vec<String> {
        if let Some(engine) = self.engine.filter(|_| self.own_kernel) {
            return engine.containers_with(mark);
        }
        let processes = fs::read_dir("/proc").expect("processes").flatten();
        let has_it = |folder: &Path| {
            let environment = fs::read(folder.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable.ends_with(mark.as_bytes()))
        };
        let found = processes.map(|entry| entry.path()).filter(|folder| has_it(folder));
        let command =
            |folder: &Path| fs::read_to_string(folder.join("cmdline")).unwrap_or_default().replace('\0', " ");
        found.map(|folder| format!("{}: {}", folder.display(), command(&folder))).collect()
    }

    /// How many processes with its mark one running server has.
    pub(crate) fn of_one(&self) -> usize {
        match self.backend {
            // Those of bubblewrap, within and without, and the server.
            "bubblewrap" => 3,
            // The container's init, and the server.
            "container" if !self.own_kernel => 2,
            _ => 1,
        }
    }
}
