//! How a server that the gateway starts is kept apart: what it comes from, what it may use and reach, for how long it stays.
//!
//! **What is written is enforced, or the server is not started.** A bound that nobody wrote is set where that is possible.

#![cfg_attr(not(feature = "hosting"), expect(dead_code, reason = "nothing is hosted"))]

use std::time::Duration;

use url::Url;

use super::command::resolve_folder;
use super::item::{At, Fields, Item};
#[cfg(feature = "hosting")]
use super::native::read_duration;
use super::native::{read_number, read_size};
use super::node::Value;
use super::problem::{Place as Spot, Report};
use super::server::Context;

/// The least and the greatest bound of memory, in bytes.
pub(super) const MEMORY: (u64, u64) = (8 << 20, 1 << 40);
/// The least and the greatest size of the folder for temporary files, in bytes.
pub(super) const TMP: (u64, u64) = (64 << 10, 1 << 40);
/// The least and the greatest bound of processes.
pub(super) const PIDS: (u64, u64) = (1, 100_000);
/// The least and the greatest bound of open files.
pub(super) const FILES: (u64, u64) = (16, 1_000_000);
/// The least and the greatest number of connections at a time.
pub(super) const CONNECTIONS: (u64, u64) = (1, 10_000);
/// The least and the greatest size of what one connection carries, in bytes.
pub(super) const CARRIED: (u64, u64) = (1 << 10, 1 << 50);
/// The least and the greatest number of servers that wait to be needed.
pub(super) const SPARES: (u64, u64) = (0, 64);
/// The longest time until a server is ready, and until one that nobody needs is stopped.
const LONGEST: (Duration, Duration) = (Duration::from_mins(10), Duration::from_hours(24));

/// How a server is hosted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosting {
    /// The image that it runs in, where it does.
    pub image: Option<Image>,
    /// The package that it is, where it is one.
    pub package: Option<Package>,
    /// Where it answers over HTTP by itself; on its standard streams where absent.
    pub http: Option<Inside>,
    /// What it is run by; the best one that there is where absent.
    pub backend: Option<Backend>,
    /// How far it must be kept apart at least.
    pub isolation: Isolation,
    /// What it may reach.
    pub network: Network,
    /// How much it may take of the places in it.
    pub egress: Egress,
    /// What it sees of the machine's files besides programs and libraries.
    pub mounts: Vec<Mount>,
    /// What it may use.
    pub bounds: Bounds,
    /// Who shares one instance.
    pub per: Per,
    /// After how long without a request an instance is stopped, until the next one; never where absent.
    pub idle: Option<Duration>,
    /// How many instances wait to be needed.
    pub spares: u16,
    /// How long it may take until it is ready.
    pub start: Duration,
}

/// An image, named by what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name that people know it by.
    pub name: String,
    /// The SHA-256 of its manifest or configuration: `sha256:` and 64 hexadecimal digits.
    pub digest: String,
}

/// A package of a registry, of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Which registry.
    pub registry: Registry,
    /// Its name there.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What its archive must hash to, as the registry writes it (`sha512-…`, `sha256:…`); taken from the first preparation
    /// where absent.
    pub integrity: Option<String>,
}

/// A registry of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// npm, for node.
    Npm,
    /// The Python Package Index.
    Pypi,
}

/// Where a server answers over HTTP, in a network of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// Its port.
    pub port: u16,
    /// The path of its endpoint.
    pub path: String,
}

/// What runs a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A process like any other of the user.
    Process,
    /// A process in namespaces of its own, under Landlock and a filter of system calls.
    Bubblewrap,
    /// A container of Docker or Podman.
    Container,
}

/// How far a server is kept apart, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolation {
    /// It is the user's process.
    Process,
    /// It has namespaces of its own.
    Namespaces,
    /// It is in a container, with an image of its own.
    Container,
    /// It runs on a kernel of its own (gVisor).
    Kernel,
}

/// What a server may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Nothing.
    None,
    /// These places.
    Places(Vec<Place>),
    /// Whatever the machine reaches.
    Unrestricted,
}

/// A place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A host as it stands in a URL; `*.` before it stands for one or more labels.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether it may be at an address of a private network or of the machine itself.
    pub private: bool,
}

/// How much a server may take of the places that it may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Egress {
    /// Connections at a time.
    pub connections: u32,
    /// Bytes of one connection, both ways together.
    pub bytes: u64,
}

impl Default for Egress {
    fn default() -> Self {
        Self { connections: 128, bytes: 1 << 30 }
    }
}

/// A file or folder of the machine that a server sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub path: String,
    /// Where the server sees it.
    pub to: String,
    /// Whether it may write there.
    pub write: bool,
}

/// What a server may use; what is absent was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Memory, in bytes.
    pub memory: Option<u64>,
    /// Processor time per time, in thousandths of a processor.
    pub cpus: Option<u32>,
    /// Processes and threads at a time.
    pub pids: Option<u32>,
    /// Open files of one process.
    pub files: Option<u32>,
    /// The folder for temporary files, in bytes.
    pub tmp: Option<u64>,
}

/// Who shares one instance of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// Everybody.
    Gateway,
    /// One user or key.
    Identity,
    /// One agent of the policy, whoever speaks for it.
    Agent,
}

impl Default for Hosting {
    fn default() -> Self {
        Self {
            image: None,
            package: None,
            http: None,
            backend: None,
            isolation: Isolation::Namespaces,
            network: Network::None,
            egress: Egress::default(),
            mounts: Vec::new(),
            bounds: Bounds::default(),
            per: Per::Gateway,
            idle: None,
            spares: 0,
            start: Duration::from_secs(30),
        }
    }
}

/// The section as it is written: paths in it may call variables.
#[derive(Debug, Clone)]
pub(super) struct HostEntry {
    #[cfg(feature = "hosting")]
    hosting: Hosting,
    #[cfg(feature = "hosting")]
    mounts: Vec<MountEntry>,
    /// Where the image or the package stands.
    pub(super) source: Option<Spot>,
}

#[derive(Debug, Clone)]
struct MountEntry {
    path: At<String>,
    to: Option<At<String>>,
    write: bool,
}

#[cfg(not(feature = "hosting"))]
impl HostEntry {
    /// Tells whether the server comes from an image.
    pub(super) fn has_image(&self) -> bool {
        false
    }

    /// Tells whether the server is a package.
    pub(super) fn has_package(&self) -> bool {
        false
    }

    /// Passes the section over: whatever the server comes from, it is not started here.
    pub(super) fn read(item: &Item<'_>, _: &mut Report<'_>) -> Option<Self> {
        Some(Self { source: Some(item.place()) })
    }
}

#[cfg(feature = "hosting")]
impl HostEntry {
    /// Tells whether the server comes from an image.
    pub(super) fn has_image(&self) -> bool {
        self.hosting.image.is_some()
    }

    /// Tells whether the server is a package.
    pub(super) fn has_package(&self) -> bool {
        self.hosting.package.is_some()
    }

    /// Reads the section.
    pub(super) fn read(item: &Item<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut fields = item.fields(report)?;
        let default = Hosting::default();
        let image = fields.take("image");
        let (npm, pypi) = (fields.take("npm"), fields.take("pypi"));
        let source = image.as_ref().or(npm.as_ref()).or(pypi.as_ref()).map(Item::place);
        let package = read_package(npm.as_ref(), pypi.as_ref(), &mut fields, report);
        let port = fields.take("port").and_then(|item| read_number(&item, (1, 65_535), report));
        let path = fields.take("path").and_then(|item| item.text(report));
        let backend = "`process`, `bubblewrap` or `container`";
        let isolation = "`process`, `namespaces`, `container` or `kernel`";
        let backend = fields.take("backend").and_then(|item| item.parsed(backend, report, parse_backend));
        let isolation =
            fields.take("isolation").and_then(|item| item.parsed(isolation, report, parse_isolation));
        let network = fields.take("network").and_then(|item| read_network(&item, report));
        let egress = fields.take("egress").and_then(|item| read_egress(&item, network.as_ref(), report));
        let mounts = fields.take("mounts").and_then(|item| read_mounts(&item, report));
        let bounds = read_bounds(&mut fields, report);
        let per = "`gateway`, `identity` or `agent`";
        let per = fields.take("per").and_then(|item| item.parsed(per, report, parse_per));
        let most = |most| (Duration::from_secs(1), most);
        let idle = fields.take("idle").and_then(|item| read_duration(&item, most(LONGEST.1), report));
        let spares = fields.take("spares").and_then(|item| read_number(&item, SPARES, report));
        let start = fields.take("start").and_then(|item| read_duration(&item, most(LONGEST.0), report));
        fields.finish(report);
        let backend = backend.map(|backend| backend.value);
        let isolation = isolation.map_or(
            if backend == Some(Backend::Process) { Isolation::Process } else { default.isolation },
            |isolation| isolation.value,
        );
        let hosting = Hosting {
            image: image.and_then(|item| read_image(&item, report)),
            package,
            http: read_inside(port, path, report),
            backend,
            isolation,
            network: network.unwrap_or(default.network),
            egress: egress.unwrap_or_default(),
            mounts: Vec::new(),
            bounds,
            per: per.map_or(default.per, |per| per.value),
            idle: idle.map(|idle| idle.value),
            spares: spares.and_then(|spares| u16::try_from(spares.value).ok()).unwrap_or(default.spares),
            start: start.map_or(default.start, |start| start.value),
        };
        Some(Self { hosting, mounts: mounts.unwrap_or_default(), source })
    }

    /// Resolves the section; `None` where something is wrong or cannot be known.
    pub(super) fn resolve(&self, context: &Context<'_>, report: &mut Report<'_>) -> Option<Hosting> {
        let mounts: Vec<_> = self.mounts.iter().map(|mount| mount.resolve(context, report)).collect();
        let mounts = mounts.into_iter().collect::<Option<_>>()?;
        Some(Hosting { mounts, ..self.hosting.clone() })
    }
}

impl MountEntry {
    fn resolve(&self, context: &Context<'_>, report: &mut Report<'_>) -> Option<Mount> {
        let path = resolve_folder(&self.path, context, report)?;
        let Some(to) = &self.to else { return Some(Mount { to: path.clone(), path, write: self.write }) };
        if !is_plain(&to.value) {
            report.error(&to.place, "expected an absolute path without `.` and `..`");
            return None;
        }
        Some(Mount { path, to: to.value.clone(), write: self.write })
    }
}

/// Tells whether a path names one place within a sandbox.
fn is_plain(path: &str) -> bool {
    path.starts_with('/') && path.len() > 1 && !path.split('/').any(|part| matches!(part, "." | ".."))
}

fn read_image(item: &Item<'_>, report: &mut Report<'_>) -> Option<Image> {
    let text = item.text(report)?;
    let parsed = text.value.split_once('@').filter(|(name, digest)| {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':');
        let name = !name.is_empty() && name.chars().all(plain) && !name.starts_with('-');
        name && hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    });
    let Some((name, digest)) = parsed else {
        report.error(&text.place, "expected an image with its digest, such as `name@sha256:0123…`");
        report.hint("`portcullis host prepare` says the digest of an image that the engine holds");
        return None;
    };
    Some(Image { name: name.to_owned(), digest: digest.to_owned() })
}

fn read_package(
    npm: Option<&Item<'_>>,
    pypi: Option<&Item<'_>>,
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> Option<Package> {
    let integrity = fields.take("integrity").and_then(|item| item.text(report));
    let (item, registry) = match (npm, pypi) {
        (Some(item), None) => (item, Registry::Npm),
        (None, Some(item)) => (item, Registry::Pypi),
        (Some(_), Some(item)) => {
            report.error(&item.place(), "a server is one package, either of `npm` or of `pypi`");
            return None;
        }
        (None, None) => {
            if let Some(integrity) = integrity {
                report.error(&integrity.place, "`integrity` belongs to `npm` or `pypi`");
            }
            return None;
        }
    };
    let text = item.text(report)?;
    let (split, example) = match registry {
        Registry::Npm => (text.value.rsplit_once('@'), "@modelcontextprotocol/server-filesystem@2025.8.21"),
        Registry::Pypi => (text.value.split_once("=="), "mcp-server-time==2025.8.4"),
    };
    let Some((name, version)) = split.filter(|(name, version)| {
        is_package_name(registry, name)
            && version.chars().next().is_some_and(|c| c.is_ascii_digit())
            && version.chars().all(is_of_a_name)
    }) else {
        report.error(&text.place, format!("expected a package and its exact version, such as `{example}`"));
        return None;
    };
    let known = ["sha512-", "sha384-", "sha256-", "sha256:"];
    if let Some(odd) =
        integrity.as_ref().filter(|text| !known.iter().any(|known| text.value.starts_with(known)))
    {
        report.error(
            &odd.place,
            "expected what the registry says, such as `sha512-…` (npm) or `sha256:…` (PyPI)",
        );
        return None;
    }
    let (name, version) = (name.to_owned(), version.to_owned());
    Some(Package { registry, name, version, integrity: integrity.map(|text| text.value) })
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '!')
}

fn is_package_name(registry: Registry, name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    match (registry, name.strip_prefix('@')) {
        (Registry::Npm, Some(scoped)) => {
            scoped.split_once('/').is_some_and(|(scope, name)| part(scope) && part(name))
        }
        _ => part(name),
    }
}

fn read_inside(port: Option<At<u64>>, path: Option<At<String>>, report: &mut Report<'_>) -> Option<Inside> {
    let Some(port) = port else {
        if let Some(path) = path {
            report.error(&path.place, "`path` belongs to `port`");
        }
        return None;
    };
    let path = match path {
        Some(path) if !path.value.starts_with('/') => {
            report.error(&path.place, "expected a path that begins with `/`");
            return None;
        }
        path => path.map_or_else(|| "/mcp".to_owned(), |path| path.value),
    };
    Some(Inside { port: u16::try_from(port.value).ok()?, path })
}

fn read_network(item: &Item<'_>, report: &mut Report<'_>) -> Option<Network> {
    if !matches!(item.node.value, Value::List(_)) {
        let parse = |text: &str| match text {
            "none" => Some(Network::None),
            "unrestricted" => Some(Network::Unrestricted),
            _ => None,
        };
        let expected = "`none`, `unrestricted` or a list of places such as `api.example.com`";
        return Some(item.parsed(expected, report, parse)?.value);
    }
    let items = item.list("a list of places", report)?;
    let places: Vec<_> = items.iter().map(|item| read_place(item, report)).collect();
    Some(Network::Places(places.into_iter().collect::<Option<_>>()?))
}

#[cfg(feature = "hosting")]
fn read_egress(item: &Item<'_>, network: Option<&Network>, report: &mut Report<'_>) -> Option<Egress> {
    if !matches!(network, Some(Network::Places(_))) {
        report.error(&item.place(), "`egress` belongs to a list of places in `network`");
        return None;
    }
    let default = Egress::default();
    let mut fields = item.fields(report)?;
    let connections = fields.take("connections").and_then(|item| read_number(&item, CONNECTIONS, report));
    let bytes = fields.take("bytes").and_then(|item| read_size(&item, CARRIED, "1GiB", report));
    fields.finish(report);
    Some(Egress {
        connections: connections
            .and_then(|most| u32::try_from(most.value).ok())
            .unwrap_or(default.connections),
        bytes: bytes.map_or(default.bytes, |most| most.value),
    })
}

fn read_place(item: &Item<'_>, report: &mut Report<'_>) -> Option<Place> {
    let (text, private) = if matches!(item.node.value, Value::Map(_)) {
        let mut fields = item.fields(report)?;
        let to = fields.take("to");
        let private = fields.take("private").and_then(|item| item.flag(report));
        fields.finish(report);
        let Some(to) = to else {
            report.error(&item.place(), "a place needs `to`, such as `to: db.internal:5432`");
            return None;
        };
        (to.text(report)?, private.is_some_and(|private| private.value))
    } else {
        (item.text(report)?, false)
    };
    let place = parse_place(&text.value, private);
    if place.is_none() {
        report.error(
            &text.place,
            "expected a host in ASCII and a port, such as `api.example.com`, `*.example.com` or `db.example.com:5432`",
        );
    }
    place
}

/// Parses a host, and a port that is 443 where none is written.
fn parse_place(text: &str, private: bool) -> Option<Place> {
    let (wild, rest) = text.strip_prefix("*.").map_or(("", text), |rest| ("*.", rest));
    // The port that this scheme does not write is none that anybody would write here.
    let url = Url::parse(&format!("ws://{rest}")).ok()?;
    let host = url.host_str().filter(|host| !host.contains('*'))?;
    let after = rest.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
    let port = match after {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None => 443,
    };
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let alone = plain && url.username().is_empty() && !rest.contains(['/', '@', '?', '#']);
    let host = format!("{wild}{}", host.trim_end_matches('.'));
    alone.then_some(Place { host, port, private })
}

fn read_mounts(item: &Item<'_>, report: &mut Report<'_>) -> Option<Vec<MountEntry>> {
    let items = item.list("a list of paths", report)?;
    let mounts: Vec<_> = items.iter().map(|item| read_mount(item, report)).collect();
    mounts.into_iter().collect()
}

fn read_mount(item: &Item<'_>, report: &mut Report<'_>) -> Option<MountEntry> {
    if !matches!(item.node.value, Value::Map(_)) {
        return Some(MountEntry { path: item.text(report)?, to: None, write: false });
    }
    let mut fields = item.fields(report)?;
    let path = fields.take("path");
    let to = fields.take("to").and_then(|item| item.text(report));
    let write = fields.take("write").and_then(|item| item.flag(report));
    fields.finish(report);
    let Some(path) = path else {
        report.error(&item.place(), "a mount needs `path`, a file or folder of the machine");
        return None;
    };
    Some(MountEntry { path: path.text(report)?, to, write: write.is_some_and(|write| write.value) })
}

fn read_bounds(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Bounds {
    let memory = fields.take("memory").and_then(|item| read_size(&item, MEMORY, "512MiB", report));
    let expected = "a number of processors from 0.01 to 1024";
    let cpus = fields.take("cpus").and_then(|item| item.parsed(expected, report, parse_cpus));
    let pids = fields.take("pids").and_then(|item| read_number(&item, PIDS, report));
    let files = fields.take("files").and_then(|item| read_number(&item, FILES, report));
    let tmp = fields.take("tmp").and_then(|item| read_size(&item, TMP, "64MiB", report));
    let count = |number: At<u64>| u32::try_from(number.value).ok();
    Bounds {
        memory: memory.map(|size| size.value),
        cpus: cpus.map(|cpus| cpus.value),
        pids: pids.and_then(count),
        files: files.and_then(count),
        tmp: tmp.map(|size| size.value),
    }
}

/// Parses a number of processors with up to three decimals, in thousandths.
fn parse_cpus(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 3 {
        return None;
    }
    let thousandths = whole.parse::<u32>().ok()?.checked_mul(1000)?;
    let decimals = format!("{decimals:0<3}").parse::<u32>().ok()?;
    Some(thousandths.checked_add(decimals)?).filter(|cpus| (10..=1_024_000).contains(cpus))
}

fn parse_backend(text: &str) -> Option<Backend> {
    match text {
        "process" => Some(Backend::Process),
        "bubblewrap" => Some(Backend::Bubblewrap),
        "container" => Some(Backend::Container),
        _ => None,
    }
}

fn parse_isolation(text: &str) -> Option<Isolation> {
    match text {
        "process" => Some(Isolation::Process),
        "namespaces" => Some(Isolation::Namespaces),
        "container" => Some(Isolation::Container),
        "kernel" => Some(Isolation::Kernel),
        _ => None,
    }
}

fn parse_per(text: &str) -> Option<Per> {
    match text {
        "gateway" => Some(Per::Gateway),
        "identity" => Some(Per::Identity),
        "agent" => Some(Per::Agent),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Transport;
    use super::super::{Source, parse};
    use super::*;

    fn check(server: &str) -> String {
        let text = format!("version: 1\nservers:\n  s: {{ {server} }}\n");
        let sources = [Source { path: "conf/p.yaml".to_owned(), text }];
        let parsed = parse(&sources, &|name| (name == "DATA").then(|| "/srv/data".to_owned()));
        let transport = parsed.config.servers.get("s").map(|server| &server.transport);
        match transport {
            Some(Transport::Stdio(command)) if parsed.problems.is_empty() => match &command.hosting {
                Some(hosting) => differing(hosting),
                None => "not hosted".to_owned(),
            },
            _ => parsed.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        }
    }

    /// What is said of a server that is not what it is by default.
    fn differing(hosting: &Hosting) -> String {
        let lines = |hosting: &Hosting| format!("{hosting:#?}");
        let default = lines(&Hosting::default());
        let known: Vec<_> = default.lines().collect();
        lines(hosting)
            .lines()
            .filter(|line| !known.contains(line))
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn hosting_is_read() {
        insta::assert_snapshot!(check("command: [a]"), @"not hosted");
        insta::assert_snapshot!(check("command: [a], host: {}"), @"");
        insta::assert_snapshot!(check("command: [a], host: { backend: process, network: unrestricted }"), @"backend: Some( Process, ), isolation: Process, network: Unrestricted,");
        insta::assert_snapshot!(check("command: [a], host: { network: [api.example.com, '*.Example.org:8443', { to: '[::1]:80', private: true }] }"), @r#"network: Places( [ Place { host: "api.example.com", port: 443, private: false, }, Place { host: "*.example.org", port: 8443, private: false, }, Place { host: "[::1]", port: 80, private: true, }, ], ),"#);
        insta::assert_snapshot!(check("command: [a], host: { network: [a.test], egress: { connections: 4, bytes: 1MiB } }"), @r#"network: Places( [ Place { host: "a.test", port: 443, private: false, }, ], ), connections: 4, bytes: 1048576,"#);
        insta::assert_snapshot!(check("command: [a], host: { mounts: [docs, '${DATA}', { path: /srv/work, to: /work, write: true }] }"), @r#"mounts: [ Mount { path: "conf/docs", to: "conf/docs", write: false, }, Mount { path: "/srv/data", to: "/srv/data", write: false, }, Mount { path: "/srv/work", to: "/work", write: true, }, ],"#);
        insta::assert_snapshot!(check("command: [a], host: { memory: 1GiB, cpus: 0.5, pids: 8, files: 64, tmp: 1MiB }"), @"memory: Some( 1073741824, ), cpus: Some( 500, ), pids: Some( 8, ), files: Some( 64, ), tmp: Some( 1048576, ),");
        insta::assert_snapshot!(check("command: [a], host: { backend: container, isolation: kernel, per: identity, idle: 5m, spares: 2, start: 5s }"), @"backend: Some( Container, ), isolation: Kernel, per: Identity, idle: Some( 300s, ), spares: 2, start: 5s,");
        insta::assert_snapshot!(check("host: { npm: '@a/b@1.2.3', integrity: sha512-x }, args: [-v]"), @r#"package: Some( Package { registry: Npm, name: "@a/b", version: "1.2.3", integrity: Some( "sha512-x", ), }, ),"#);
        insta::assert_snapshot!(check("host: { pypi: mcp-server-time==2025.8.4 }"), @r#"package: Some( Package { registry: Pypi, name: "mcp-server-time", version: "2025.8.4", integrity: None, }, ),"#);
        let image = format!("localhost/a:1@sha256:{}", "0".repeat(64));
        insta::assert_snapshot!(check(&format!("host: {{ image: '{image}', port: 8080 }}, cwd: /app")), @r#"image: Some( Image { name: "localhost/a:1", digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000", }, ), http: Some( Inside { port: 8080, path: "/mcp", }, ),"#);
        insta::assert_snapshot!(check(&format!("command: [/bin/a], host: {{ image: '{image}' }}")), @r#"image: Some( Image { name: "localhost/a:1", digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000", }, ),"#);
    }

    #[test]
    fn what_cannot_be_hosted_is_refused() {
        insta::assert_snapshot!(check("host: { memory: 1GiB }"), @"
        conf/p.yaml:3:3: error: servers.s: a server needs `command` (a subprocess) or `url` (HTTP)
          hint: for example `command: [uvx, mcp-server-time]` or `url: https://mcp.example.com/mcp`
        ");
        insta::assert_snapshot!(check("url: 'https://a.example', host: {}"), @"conf/p.yaml:3:40: error: servers.s.host: `host` belongs to a server with `command`");
        insta::assert_snapshot!(check("command: [a], host: { npm: 'a@1.0.0' }"), @"
        conf/p.yaml:3:28: error: servers.s.host: a package is started by its own program, not by `command`
          hint: write what follows the program in `args`
        ");
        insta::assert_snapshot!(check("host: { npm: 'a@latest' }"), @"conf/p.yaml:3:21: error: servers.s.host.npm: expected a package and its exact version, such as `@modelcontextprotocol/server-filesystem@2025.8.21`");
        insta::assert_snapshot!(check("host: { npm: 'a@1.0.0', pypi: 'a==1' }"), @"conf/p.yaml:3:38: error: servers.s.host.pypi: a server is one package, either of `npm` or of `pypi`");
        insta::assert_snapshot!(check("host: { pypi: '--index-url==1', integrity: md5-x }"), @"conf/p.yaml:3:22: error: servers.s.host.pypi: expected a package and its exact version, such as `mcp-server-time==2025.8.4`");
        insta::assert_snapshot!(check("host: { image: 'a:latest' }"), @"
        conf/p.yaml:3:23: error: servers.s.host.image: expected an image with its digest, such as `name@sha256:0123…`
          hint: `portcullis host prepare` says the digest of an image that the engine holds
        ");
        insta::assert_snapshot!(check("command: [a], host: { integrity: sha512-x, path: /mcp }"), @"
        conf/p.yaml:3:41: error: servers.s.host.integrity: `integrity` belongs to `npm` or `pypi`
        conf/p.yaml:3:57: error: servers.s.host.path: `path` belongs to `port`
        ");
        insta::assert_snapshot!(check("command: [a], host: { network: some, backend: vm, isolation: full, per: user }"), @r#"
        conf/p.yaml:3:39: error: servers.s.host.network: expected `none`, `unrestricted` or a list of places such as `api.example.com`, found "some"
        conf/p.yaml:3:54: error: servers.s.host.backend: expected `process`, `bubblewrap` or `container`, found "vm"
        conf/p.yaml:3:69: error: servers.s.host.isolation: expected `process`, `namespaces`, `container` or `kernel`, found "full"
        conf/p.yaml:3:80: error: servers.s.host.per: expected `gateway`, `identity` or `agent`, found "user"
        "#);
        insta::assert_snapshot!(check("command: [a], host: { network: ['http://a', a/b, 'a:0', 'a:x', 'a@b', '*', '', { host: a }] }"), @r#"
        conf/p.yaml:3:40: error: servers.s.host.network[0]: expected a host in ASCII and a port, such as `api.example.com`, `*.example.com` or `db.example.com:5432`
        conf/p.yaml:3:52: error: servers.s.host.network[1]: expected a host in ASCII and a port, such as `api.example.com`, `*.example.com` or `db.example.com:5432`
        conf/p.yaml:3:57: error: servers.s.host.network[2]: expected a host in ASCII and a port, such as `api.example.com`, `*.example.com` or `db.example.com:5432`
        conf/p.yaml:3:64: error: servers.s.host.network[3]: expected a host in ASCII and a port, such as `api.example.com`, `*.example.com` or `db.example.com:5432`
        conf/p.yaml:3:71: error: servers.s.host.network[4]: expected a host in ASCII and a port, such as `api.example.com`, `*.example.com` or `db.example.com:5432`
        conf/p.yaml:3:78: error: servers.s.host.network[5]: expected a host in ASCII and a port, such as `api.example.com`, `*.example.com` or `db.example.com:5432`
        conf/p.yaml:3:83: error: servers.s.host.network[6]: expected a host in ASCII and a port, such as `api.example.com`, `*.example.com` or `db.example.com:5432`
        conf/p.yaml:3:87: error: servers.s.host.network[7]: a place needs `to`, such as `to: db.internal:5432`
        conf/p.yaml:3:89: error: servers.s.host.network[7].host: unknown key "host"; known: to, private
        "#);
        insta::assert_snapshot!(check("command: [a], host: { memory: 1KiB, cpus: 0, pids: 0, files: x, tmp: 1B, spares: 65, idle: 0s, start: 1h }"), @r#"
        conf/p.yaml:3:38: error: servers.s.host.memory: expected a size from 8MiB to 1024GiB, such as "512MiB" or a number of bytes, found "1KiB"
        conf/p.yaml:3:50: error: servers.s.host.cpus: expected a number of processors from 0.01 to 1024, found "0"
        conf/p.yaml:3:59: error: servers.s.host.pids: expected a whole number from 1 to 100000, found "0"
        conf/p.yaml:3:69: error: servers.s.host.files: expected a whole number from 16 to 1000000, found "x"
        conf/p.yaml:3:77: error: servers.s.host.tmp: expected a size from 64KiB to 1024GiB, such as "64MiB" or a number of bytes, found "1B"
        conf/p.yaml:3:89: error: servers.s.host.spares: expected a whole number from 0 to 64, found "65"
        conf/p.yaml:3:99: error: servers.s.host.idle: expected a duration from 1s to 24h, found "0s"
        conf/p.yaml:3:110: error: servers.s.host.start: expected a duration from 1s to 10m, found "1h"
        "#);
        insta::assert_snapshot!(check("command: [a], host: { mounts: [../x, { to: /a }, { path: a, to: ../b }] }"), @"conf/p.yaml:3:45: error: servers.s.host.mounts[1]: a mount needs `path`, a file or folder of the machine");
        insta::assert_snapshot!(check("command: [a], host: { mounts: [../x, { path: a, to: ../b }, '~/x'] }"), @"
        conf/p.yaml:3:39: error: servers.s.host.mounts[0]: a relative folder may not leave the folder of the configuration
          hint: write an absolute path where the folder lies elsewhere
        conf/p.yaml:3:60: error: servers.s.host.mounts[1].to: expected an absolute path without `.` and `..`
        conf/p.yaml:3:68: error: servers.s.host.mounts[2]: `~` is not replaced, since no shell is involved
          hint: write `${HOME}` instead
        ");
        insta::assert_snapshot!(check("command: [a], host: { network: none, egress: { connections: 4 } }"), @"conf/p.yaml:3:53: error: servers.s.host.egress: `egress` belongs to a list of places in `network`");
        insta::assert_snapshot!(check("command: [a], host: { netwrok: none }"), @r#"
        conf/p.yaml:3:30: error: servers.s.host.netwrok: unknown key "netwrok"; known: image, npm, pypi, integrity, port, path, backend, isolation, network, egress, mounts, memory, cpus, pids, files, tmp, per, idle, spares, start
          hint: did you mean `network`?
        "#);
    }
}
