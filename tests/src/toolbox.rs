//! Where the binaries under test stand, and the peers that `tests/setup.sh` installs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::{Once, OnceLock};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tempfile::TempDir;

/// The gateway: `PORTCULLIS_BIN`, else built from this workspace, once for each test program.
pub fn gateway() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| given("PORTCULLIS_BIN").unwrap_or_else(|| build("portcullis", "portcullis"))).clone()
}

/// The fixture server: `PORTCULLIS_FIXTURE`, else built from this workspace, once for each test program.
pub fn fixture() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            given("PORTCULLIS_FIXTURE").unwrap_or_else(|| build("portcullis-fixture", "portcullis-fixture"))
        })
        .clone()
}

/// The gateway as a Lambda function: `PORTCULLIS_BOOTSTRAP`, else built from this workspace, once for each test program.
pub fn bootstrap() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let own = || build("portcullis-lambda", "bootstrap");
    BUILT.get_or_init(|| given("PORTCULLIS_BOOTSTRAP").unwrap_or_else(own)).clone()
}

/// What runs a Lambda function on this machine, which cargo builds together with the tests.
pub fn lambda_function() -> PathBuf {
    let path = target().join("lambda-function");
    assert!(path.is_file(), "no {}: run the tests with cargo", path.display());
    path
}

/// The rmcp driver, which cargo builds together with the tests.
pub fn rmcp_client() -> PathBuf {
    let path = target().join("rmcp-client");
    assert!(path.is_file(), "no {}: run the tests with cargo, or `tests/run interop`", path.display());
    path
}

/// The Node that the peers run on.
pub fn node() -> PathBuf {
    installed("node/bin/node")
}

/// A file of the engines that are unpacked, such as `usr/sbin/dockerd`.
pub fn unpacked(path: &str) -> PathBuf {
    installed(&format!("engines/{path}"))
}

/// The folder that Node's `NODE_PATH` has to name.
pub fn node_modules() -> PathBuf {
    installed("npm/node_modules")
}

/// A file of a Node package, such as `mcp-remote/dist/proxy.js`.
pub fn node_module(path: &str) -> PathBuf {
    installed(&format!("npm/node_modules/{path}"))
}

/// The Node modules of the identity provider.
pub fn identity_modules() -> PathBuf {
    installed("identity/node_modules")
}

/// The Node modules that drive a browser.
pub fn browser_modules() -> PathBuf {
    installed("browser/node_modules")
}

/// The Node modules that the console is built with.
pub fn console_modules() -> PathBuf {
    installed("console/node_modules")
}

/// What the image of `infra/container/node.Dockerfile` takes from the stage that installs its packages.
pub fn image_packages() -> PathBuf {
    installed("image/packages")
}

/// The folder of the packages of `infra/cloudflare-containers`.
pub fn image_worker() -> PathBuf {
    installed("image/worker")
}

/// The system's Chromium.
pub fn chromium() -> PathBuf {
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).map(|folder| folder.join("chromium")).find(|path| path.is_file());
    found.expect("no chromium in PATH: install it from the system's packages (tests/run does)")
}

/// Builds the Worker by its script, once for each test program; not where `PORTCULLIS_EDGE_BUILT` says it is built.
pub fn build_worker() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        if given("PORTCULLIS_EDGE_BUILT").is_none() {
            run_build(&[]);
        }
    });
}

/// The same of the Worker that is a control plane too.
pub fn build_governing_worker() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        if given("PORTCULLIS_EDGE_BUILT").is_none() {
            let out = repository("edge-worker/build-control");
            run_build(&[("FEATURES", "control"), ("OUT", &out.display().to_string())]);
        }
    });
}

/// The folder of the packages that run a Worker on this machine.
pub fn edge_modules() -> PathBuf {
    installed("edge/node_modules")
}

/// The runtime of the platform that Workers run on.
pub fn workerd() -> PathBuf {
    let (os, machine) = match (env::consts::OS, env::consts::ARCH) {
        (os @ "linux", "x86_64") => (os, "64"),
        (os @ "linux", "aarch64") => (os, "arm64"),
        ("macos", "x86_64") => ("darwin", "64"),
        ("macos", "aarch64") => ("darwin", "arm64"),
        (os, machine) => panic!("workerd does not run on {os} with {machine}"),
    };
    installed(&format!("edge/node_modules/@cloudflare/workerd-{os}-{machine}/bin/workerd"))
}

/// Wrangler at the repository's top; it keeps what it writes beside that in `folder`, and tells nobody of it.
pub fn wrangler(folder: &Path) -> Command {
    let mut wrangler = Command::new(node());
    wrangler.arg(edge_modules().join("wrangler/bin/wrangler.js")).current_dir(repository(""));
    for (name, value) in [
        ("CI", "1"),
        ("WRANGLER_SEND_METRICS", "false"),
        ("WRANGLER_SEND_ERROR_REPORTS", "false"),
        ("WRANGLER_HIDE_BANNER", "true"),
        ("CLOUDFLARE_CF_FETCH_ENABLED", "false"),
    ] {
        wrangler.env(name, value);
    }
    wrangler.env("WRANGLER_LOG_PATH", folder.join("logs")).env("XDG_CONFIG_HOME", folder);
    wrangler
}

/// A file below the repository's top.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The Python that has the peers' packages.
pub fn python() -> PathBuf {
    installed("python/bin/python")
}

/// The folder of a client of the MCP Registry API, for [`python`].
pub fn registry_client() -> PathBuf {
    installed("registry")
}

/// What tries an API by its description.
pub fn schemathesis() -> PathBuf {
    installed("schemathesis/bin/schemathesis")
}

/// What tries a SCIM server by the RFCs.
pub fn scim() -> PathBuf {
    installed("scim/bin/scim")
}

/// The emulator of AWS.
pub fn ministack() -> PathBuf {
    installed("ministack/bin/ministack")
}

/// Another emulator of AWS, which knows more of Secrets Manager.
pub fn moto() -> PathBuf {
    installed("moto/bin/moto_server")
}

/// Cargo's command for Lambda functions, which can stand for their platform.
pub fn cargo_lambda() -> PathBuf {
    installed("cargo-lambda/bin/cargo-lambda")
}

/// A file below `tests/interop`.
pub fn interop(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(path)
}

/// An empty folder that goes away with the value.
///
/// A value in a static is never dropped, so the folders of test programs that are gone are removed first.
pub fn scratch() -> TempDir {
    static SWEPT: Once = Once::new();
    let base = target().join("tmp");
    fs::create_dir_all(&base).expect("cargo's folder can be written to");
    SWEPT.call_once(|| sweep(&base));
    let prefix = format!("{}-", process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir_in(base).expect("a folder can be made")
}

/// Removes the folders whose names begin with the number of a process that has ended.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).expect("the folder was just made").flatten() {
        let name = entry.file_name();
        let Some((owner, _)) = name.to_str().and_then(|name| name.split_once('-')) else { continue };
        let Ok(owner) = owner.parse() else { continue };
        if kill(Pid::from_raw(owner), None) == Err(Errno::ESRCH) {
            // Another test program may be faster.
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

fn installed(path: &str) -> PathBuf {
    let path = cache().join(path);
    assert!(path.exists(), "no {}: run tests/setup.sh (tests/run does)", path.display());
    path
}

/// The folder that `tests/setup.sh` fills; the two agree on how it is found.
fn cache() -> PathBuf {
    given("PORTCULLIS_TEST_CACHE").unwrap_or_else(|| {
        let base = given("XDG_CACHE_HOME").unwrap_or_else(|| {
            let home = given("HOME").expect("neither PORTCULLIS_TEST_CACHE nor HOME is set");
            home.join(".cache")
        });
        base.join("portcullis-tests")
    })
}

fn given(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folder of cargo's products that this test program belongs to: it runs in its `deps`.
pub(crate) fn target() -> PathBuf {
    let program = env::current_exe().expect("a test program knows its own path");
    let deps = program.parent().expect("a file has a folder");
    deps.parent().expect("deps has a folder").to_owned()
}

fn run_build(settings: &[(&str, &str)]) {
    let mut build = Command::new("bash");
    build.envs(settings.iter().copied());
    build.arg(repository("infra/cloudflare/build.sh"));
    // Where the tests' own cargo builds, and not with its settings.
    if let Some(folder) = target().parent() {
        build.env("CARGO_TARGET_DIR", folder);
    }
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        build.env_remove(name);
    }
    let status = build.status().expect("bash can be started");
    assert!(status.success(), "the Worker does not build");
}

fn build(package: &str, program: &str) -> PathBuf {
    let target = target();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", package, "--bin", program]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if target.ends_with("release") {
        cargo.arg("--release");
    }
    if let Some(folder) = target.parent() {
        cargo.env("CARGO_TARGET_DIR", folder);
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "{package} does not build");
    target.join(program)
}
