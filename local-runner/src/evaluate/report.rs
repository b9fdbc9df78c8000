//! What an evaluation comes to, as it is kept, printed and shown.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The form of a report; another one is not read.
pub(crate) const FORMAT: u32 = 1;

/// An evaluation of one server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// [`FORMAT`].
    pub(crate) format: u32,
    /// The server's name in the configuration.
    pub(crate) server: String,
    /// Which package or image it is, as the registry knows servers; nothing where it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    /// When it was evaluated (RFC 3339).
    pub(crate) at: String,
    /// How long that took, in milliseconds.
    pub(crate) took: u64,
    /// The version of this program.
    pub(crate) portcullis: String,
    /// What the server calls itself.
    pub(crate) calls_itself: Option<String>,
    /// The version that it says it has.
    pub(crate) version: Option<String>,
    /// What was started.
    pub(crate) command: Vec<String>,
    /// Where it ran, and what that place did not enforce.
    pub(crate) place: Place,
    /// What was not seen.
    #[serde(default)]
    pub(crate) unseen: Vec<Unseen>,
    /// Which tools were called.
    pub(crate) calls: Calls,
    /// What follows from it all.
    pub(crate) verdict: Verdict,
    /// What speaks against the server, the gravest first.
    pub(crate) risks: Vec<Risk>,
    /// As whom it was asked.
    pub(crate) identities: Vec<Identity>,
    /// What it offers.
    pub(crate) tools: Vec<Tool>,
    /// How many prompts it offers.
    pub(crate) prompts: usize,
    /// How many resources and resource templates.
    pub(crate) resources: usize,
    /// Names and hosts that it wanted; nothing where nobody watched.
    pub(crate) wanted: Option<Vec<Wanted>>,
    /// What the system was asked for; nothing where nobody watched.
    pub(crate) trace: Option<Trace>,
    /// What it took.
    pub(crate) usage: Usage,
    /// How it left.
    pub(crate) ending: Ending,
    /// What happened when.
    pub(crate) timeline: Vec<Moment>,
    /// The beginning of its standard error.
    pub(crate) stderr: String,
    /// How much it wrote there, in bytes.
    pub(crate) stderr_bytes: u64,
    /// The least that it needs, as `host:` in YAML.
    pub(crate) profile: String,
}

/// Where a server ran.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Place {
    /// What kept it apart.
    pub(crate) name: String,
    /// What was enforced.
    pub(crate) enforced: Vec<String>,
    /// What was not.
    pub(crate) missing: Vec<String>,
}

/// Something that nobody saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unseen {
    /// What that is.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: String,
}

impl Unseen {
    pub(crate) fn new(what: &str, why: &str) -> Self {
        Self { what: what.to_owned(), why: why.to_owned() }
    }
}

/// Which tools are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Calls {
    /// None.
    None,
    /// Those that only read, by their annotations or their names
    #[default]
    Safe,
    /// All of them, whatever they say they do
    All,
}

/// What follows from an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// Nothing was found that speaks against it.
    Trustworthy,
    /// Somebody should look at what was found.
    #[default]
    Review,
    /// It does what no server should.
    Dangerous,
}

/// How grave a risk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    High,
    Medium,
    Low,
    Note,
}

impl Severity {
    /// Returns its word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Note => "note",
        }
    }
}

/// Something that speaks against a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Risk {
    pub(crate) severity: Severity,
    /// What programs call it.
    pub(crate) code: String,
    /// What it is about: `tool "add"`, `instructions`, or the server itself where it is empty.
    pub(crate) about: String,
    /// What was found.
    pub(crate) what: String,
    /// Why that matters.
    pub(crate) why: String,
    /// What was seen.
    pub(crate) evidence: String,
}

/// As whom a server was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The client's name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Which revision of the protocol was spoken.
    pub(crate) revision: String,
    /// How long the server took until it answered, in milliseconds; nothing where it never did.
    pub(crate) ready: Option<u64>,
    /// Why it did not serve.
    pub(crate) failure: Option<String>,
}

/// A tool.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) description: String,
    /// What it says of itself: `read-only`, `destructive`, `idempotent`, `open world`.
    pub(crate) hints: Vec<String>,
    /// The gravest of what was found about it.
    pub(crate) severity: Option<Severity>,
    /// Its calls.
    pub(crate) calls: Vec<Call>,
}

/// A call of a tool.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Call {
    /// The arguments.
    pub(crate) arguments: Value,
    /// What came of it: `answered`, `failed`, `refused`, `timed out`, `ended the server`.
    pub(crate) outcome: String,
    /// How long that took, in milliseconds.
    pub(crate) took: u64,
    /// How large the answer was, in bytes.
    pub(crate) bytes: u64,
}

/// A name or host that a server wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    /// The name, or an address that was given as such.
    pub(crate) host: String,
    /// The port; nothing where a name was looked up only.
    pub(crate) port: Option<u16>,
    /// Whether it was by UDP.
    pub(crate) udp: bool,
    /// How often.
    pub(crate) times: u64,
    /// The host that TLS was asked for, where that is another one.
    pub(crate) tls: Option<String>,
    /// When that was: as it started, or while which tools were called.
    pub(crate) during: Vec<String>,
    /// Whether `host.network` of the configuration lets it through; nothing where it says nothing of that.
    pub(crate) granted: Option<bool>,
}

impl Wanted {
    /// Returns it as it is written: `host:port`.
    pub(crate) fn place(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            Some(port) => format!("{host}:{port}{}", if self.udp { "/udp" } else { "" }),
            None => host,
        }
    }
}

/// What the system was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// Files that were opened to be read, but for those that belong to every program.
    pub(crate) read: Vec<String>,
    /// Files that were written, made, moved or removed.
    pub(crate) written: Vec<String>,
    /// Files that were refused.
    pub(crate) denied: Vec<String>,
    /// Programs that were started.
    pub(crate) programs: Vec<String>,
    /// Addresses that were connected to, or sent to.
    pub(crate) connections: Vec<String>,
}

/// What a server took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// The most memory at a time, in bytes.
    pub(crate) memory: u64,
    /// Processor time, in milliseconds.
    pub(crate) processor: u64,
    /// The most processes and threads at a time.
    pub(crate) tasks: u64,
    /// The programs that ran.
    pub(crate) programs: Vec<String>,
    /// Whether that could be seen at all.
    pub(crate) seen: bool,
}

/// How a server left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ending {
    /// What it took: `end of input`, `TERM`, `KILL`; nothing where it was gone before.
    pub(crate) by: Option<String>,
    /// How long it took to leave, in milliseconds.
    pub(crate) took: u64,
    /// Processes that were still there.
    pub(crate) left: Vec<String>,
}

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// When, in milliseconds since the beginning.
    pub(crate) at: u64,
    pub(crate) what: String,
}
