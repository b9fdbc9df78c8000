//! How hosting is described in the schema.

use schemars::JsonSchema;

use super::file::{DurationText, SizeText};
use super::hosting::{CONNECTIONS, FILES, PIDS, SPARES};

/// How a server that the gateway starts is kept apart. What is written here is enforced, or the server is not started.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Host")]
#[expect(dead_code, reason = "describes a section in the schema")]
pub(super) struct HostSchema {
    /// The image that it runs in, with its digest: `name@sha256:…`. It is never pulled when it is needed. `command`, where it
    /// stands there, replaces the image's own.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._/:-]+@sha256:[0-9a-f]{64}$"))]
    image: Option<String>,
    /// The npm package that the server is, with its exact version, prepared by `portcullis host prepare`; `args` follow its
    /// program.
    npm: Option<String>,
    /// The package of the Python Package Index that the server is, such as `mcp-server-time==2025.8.4`.
    pypi: Option<String>,
    /// What the package's archive must hash to, as its registry writes it.
    integrity: Option<String>,
    /// The port on which it answers over HTTP by itself, where it does not speak on its standard streams.
    #[schemars(range(min = 1, max = 65_535))]
    port: Option<u16>,
    /// The path of its endpoint there.
    #[schemars(extend("default" = "/mcp"))]
    path: Option<String>,
    /// What runs it; the best one that there is where nothing is written.
    backend: Option<BackendText>,
    /// How far it must be kept apart at least: as the user's `process`, in `namespaces` of its own, in a `container`, or on a
    /// `kernel` of its own.
    #[schemars(extend("default" = "namespaces"))]
    isolation: Option<IsolationText>,
    /// What it may reach: `none`, `unrestricted`, or the places in a list.
    #[schemars(extend("default" = "none"))]
    network: Option<NetworkSchema>,
    /// How much it may take of the places in `network`, where they are listed.
    egress: Option<EgressSchema>,
    /// The files and folders of the machine that it sees besides programs and libraries; a text is one that it may read.
    mounts: Option<Vec<MountSchema>>,
    /// The most memory: bytes, or a text such as `512MiB`; from 8MiB. 512MiB where nothing is written and it can be bounded.
    memory: Option<SizeText>,
    /// The most processor time, in processors such as `0.5`.
    #[schemars(range(min = 0.01, max = 1024.0))]
    cpus: Option<f64>,
    /// The most processes and threads. 128 where nothing is written and they can be bounded.
    #[schemars(range(min = PIDS.0, max = PIDS.1))]
    pids: Option<u64>,
    /// The most files that a process holds open.
    #[schemars(range(min = FILES.0, max = FILES.1), extend("default" = 1024))]
    files: Option<u64>,
    /// The size of its folder for temporary files: bytes, or a text such as `64MiB`; from 64KiB.
    #[schemars(extend("default" = "64MiB"))]
    tmp: Option<SizeText>,
    /// Who shares one instance: everybody behind this `gateway`, one `identity` alone, or whoever is the same `agent` of the
    /// policy.
    #[schemars(extend("default" = "gateway"))]
    per: Option<PerText>,
    /// After how long without a request an instance is stopped, until the next one: from 1s to 24h; never where nothing is
    /// written.
    idle: Option<DurationText>,
    /// How many started instances wait to be needed.
    #[schemars(range(min = SPARES.0, max = SPARES.1), extend("default" = 0))]
    spares: Option<u64>,
    /// How long it may take until it is ready: from 1s to 10m.
    #[schemars(extend("default" = "30s"))]
    start: Option<DurationText>,
}

/// What runs a server.
#[derive(JsonSchema)]
#[schemars(rename = "Backend", rename_all = "lowercase")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum BackendText {
    Process,
    Bubblewrap,
    Container,
}

/// How far a server is kept apart.
#[derive(JsonSchema)]
#[schemars(rename = "Isolation", rename_all = "lowercase")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum IsolationText {
    Process,
    Namespaces,
    Container,
    Kernel,
}

/// Who shares one instance of a server.
#[derive(JsonSchema)]
#[schemars(rename = "Per", rename_all = "lowercase")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum PerText {
    Gateway,
    Identity,
    Agent,
}

/// What a server may reach.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Network")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum NetworkSchema {
    Word(NetworkText),
    Places(Vec<PlaceSchema>),
}

/// Nothing or everything.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum NetworkText {
    None,
    Unrestricted,
}

/// A place in the network: a host such as `api.example.com` or `*.example.com`, and a port behind `:` that is 443 where none
/// is written.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "PlaceOrText")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum PlaceSchema {
    Text(String),
    Place(PlaceMap),
}

/// A place in the network, and what is known of it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Place")]
#[expect(dead_code, reason = "describes a map in the schema")]
struct PlaceMap {
    /// The host and the port.
    to: String,
    /// Whether it may be at an address of a private network or of the machine itself.
    #[schemars(extend("default" = false))]
    private: Option<bool>,
}

/// How much a server may take of the places that it may reach.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Egress")]
#[expect(dead_code, reason = "describes a section in the schema")]
struct EgressSchema {
    /// The most connections at a time.
    #[schemars(range(min = CONNECTIONS.0, max = CONNECTIONS.1), extend("default" = 128))]
    connections: Option<u64>,
    /// The most that one connection may carry, both ways together: bytes, or a text such as `100MiB`; from 1KiB.
    #[schemars(extend("default" = "1GiB"))]
    bytes: Option<SizeText>,
}

/// A file or folder that a server sees.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "MountOrText")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum MountSchema {
    Text(String),
    Mount(MountMap),
}

/// A file or folder that a server sees, and how.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Mount")]
#[expect(dead_code, reason = "describes a map in the schema")]
struct MountMap {
    /// Where it is on the machine; a relative path begins at the folder of this file and stays within it.
    path: String,
    /// Where the server sees it; at the same path where nothing is written.
    to: Option<String>,
    /// Whether it may write there.
    #[schemars(extend("default" = false))]
    write: Option<bool>,
}
