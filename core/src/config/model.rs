//! What a configuration says, once it has been read: the same values whatever file they came from.

use std::time::Duration;

use super::approving::Approving;
use super::elicitation::Elicitation;
use super::hosting::{Hosting, Per};
use super::policy::{Audit, Auth, Policy, ToolLimits, Variant};
use super::sign_on::{Consent, SignOn, Whose};
use crate::approval::Approvals;
use crate::listing::Listed;
use crate::names::ServerName;
use crate::secrets::{SecretName, SecretText, Veil};
use crate::sorted::{SortedMap, SortedSet};

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Settings of the gateway itself.
    pub gateway: Gateway,
    /// The MCP servers behind it.
    pub servers: SortedMap<ServerName, Server>,
    /// Those of them that overlays describe: each is one agent's, or one principal's.
    pub personal: SortedSet<ServerName>,
    /// Servers that were described but cannot be served, by the name they were given, and why. No value of an
    /// environment variable, header, argument or URL is repeated.
    pub broken: SortedMap<String, String>,
    /// Who may see and call what.
    pub policy: Policy,
    /// Tools and prompts under other names, with other arguments, in the order of their servers and names.
    pub variants: Vec<Variant>,
    /// How much may be done with single tools.
    pub tool_limits: Vec<ToolLimits>,
    /// Who is let in.
    pub auth: Auth,
    /// What is recorded.
    pub audit: Audit,
    /// Who governs, and how they sign in.
    #[cfg(feature = "control")]
    pub console: super::console::Console,
    /// The files that say all this, as they are written.
    #[cfg(feature = "control")]
    pub files: Files,
    /// What servers were approved to say; no file says it.
    pub approvals: Approvals,
    /// How it is with the registry.
    pub registry: super::Listing,
    /// What the registry has approved; no file says it.
    pub listed: Listed,
}

/// The files of a configuration. **Equal to any others**: what files say is compared, not how they say it.
#[cfg(feature = "control")]
#[derive(Clone, Default)]
pub struct Files(pub std::sync::Arc<[super::Source]>);

#[cfg(feature = "control")]
impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Files")
    }
}

#[cfg(feature = "control")]
impl PartialEq for Files {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Config {
    /// Returns the names of all secrets that its servers, its issuers and signing in need.
    pub fn secrets(&self) -> SortedSet<&SecretName> {
        let servers = self.servers.values().filter(|server| server.enabled).flat_map(Server::secrets);
        let asked = self.auth.issuers.iter().filter_map(|issuer| issuer.introspection.as_ref());
        let own = self.auth.sign_in.iter().filter_map(|sign_in| sign_in.client_secret.as_ref());
        let all = servers.chain(asked.map(|asked| &asked.client_secret)).chain(own);
        #[cfg(feature = "control")]
        let all = all.chain(self.console.secrets());
        all.collect()
    }

    /// Returns everything that decides who may do what, under which name, and what is recorded of it.
    pub(crate) fn access(&self) -> impl PartialEq + '_ {
        (&self.policy, &self.variants, &self.tool_limits, &self.auth, &self.audit)
    }
}

/// Settings of the gateway itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// The URL that agents know the gateway by, where it is not the address it listens on.
    pub public_url: Option<url::Url>,
    /// How upstream names become exposed names.
    pub naming: Naming,
    /// Whether the session-based revisions are served to agents.
    pub legacy: bool,
    /// The longest exposed name, in characters.
    pub name_limit: usize,
    /// How many items one page of a list holds.
    pub page_size: usize,
    /// The largest request body that is read, in bytes.
    pub request_limit: usize,
    /// How much may go on at a time.
    pub limits: Limits,
    /// Origins besides the gateway's own that browsers may call from.
    pub allowed_origins: Vec<String>,
    /// Text that replaces the merged instructions of the servers.
    pub instructions: Option<String>,
    /// How it is with approvals of servers that say nothing else.
    pub approval: Approving,
    /// What callers share.
    pub sharing: Sharing,
    /// The gateways of identities, where each has its own.
    pub instances: Instances,
}

/// What callers share of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// One gateway is for all.
    #[default]
    Shared,
    /// Each identity has one of its own.
    PerIdentity,
}

/// The gateways of identities, where each has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instances {
    /// After which time without a request one is put away.
    pub idle: Duration,
    /// The most that run at a time.
    pub most: usize,
    /// The most requests that one answers at a time; as many more wait.
    pub requests: usize,
    /// The memory that one may use with all that it starts, in bytes.
    pub memory: u64,
    /// The most processes and threads that one may have with all that it starts.
    pub pids: u32,
}

impl Default for Instances {
    fn default() -> Self {
        Self { idle: Duration::from_mins(10), most: 64, requests: 64, memory: 1 << 30, pids: 512 }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            public_url: None,
            naming: Naming::Prefix,
            legacy: true,
            name_limit: 64,
            page_size: 1000,
            request_limit: 8 << 20,
            limits: Limits::default(),
            allowed_origins: Vec::new(),
            instructions: None,
            approval: Approving::default(),
            sharing: Sharing::Shared,
            instances: Instances::default(),
        }
    }
}

/// How much may go on at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most connections of agents.
    pub connections: usize,
    /// The largest head of a request, in bytes.
    pub headers: usize,
    /// The most headers of a request.
    pub header_count: usize,
    /// The most requests that are being answered.
    pub requests: usize,
    /// The most requests that run at one server; as many more wait for their turn.
    pub server_requests: usize,
    /// The most streams on which agents listen.
    pub streams: usize,
    /// The most of them that belong to one session.
    pub session_streams: usize,
    /// The largest message of a server that is held whole, in bytes.
    pub message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            headers: 64 << 10,
            header_count: 100,
            requests: 2048,
            server_requests: 256,
            streams: 2048,
            session_streams: 4,
            message: 64 << 20,
        }
    }
}

/// How upstream names become exposed names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    /// `<server>__<name>`.
    #[default]
    Prefix,
    /// Upstream names as they are; a collision hides every item that collides.
    None,
}

/// One MCP server.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// How to reach it.
    pub transport: Transport,
    /// How long one request may take before it counts as failed.
    pub timeout: Duration,
    /// How long its lists are kept where it does not say itself.
    pub cache: Duration,
    /// Whether it is served at all.
    pub enabled: bool,
    /// What it may ask the users of agents.
    pub elicitation: Elicitation,
    /// How it is with approvals of it.
    pub approval: Approving,
}

impl Server {
    /// Tells whether it acts for its users: each principal has a server of its own, with a connection or a token of its own, or
    /// an instance; or each agent has.
    pub fn is_per_user(&self) -> bool {
        self.is_on_behalf()
            || self.consent().is_some_and(|(_, consent)| consent.whose == Whose::User)
            || self.hosting().is_some_and(|hosting| hosting.per != Per::Gateway)
    }

    /// Tells whether each agent has an instance of its own.
    pub(crate) fn is_per_agent(&self) -> bool {
        self.hosting().is_some_and(|hosting| hosting.per == Per::Agent)
    }

    /// Returns how it is hosted, where it is.
    pub fn hosting(&self) -> Option<&Hosting> {
        match &self.transport {
            Transport::Stdio(command) => command.hosting(),
            Transport::Http(_) | Transport::Sse(_) => None,
        }
    }

    /// Returns how long it may take until a server that is started has said what it is.
    #[cfg(feature = "hosting")]
    pub(crate) fn start(&self) -> Duration {
        self.hosting().map_or(self.timeout, |hosting| hosting.start)
    }

    /// Tells whether it acts for whoever signed in, by the token that they signed in with.
    pub fn is_on_behalf(&self) -> bool {
        self.endpoint().and_then(|endpoint| endpoint.sign_on.as_ref()).is_some_and(SignOn::is_on_behalf)
    }

    /// Returns the names of the secrets that it needs.
    pub fn secrets(&self) -> SortedSet<&SecretName> {
        match &self.transport {
            Transport::Stdio(command) => command.secret_env.values().flat_map(SecretText::names).collect(),
            Transport::Http(endpoint) | Transport::Sse(endpoint) => {
                let headers = endpoint.secret_headers.iter().map(|(_, text)| text);
                let own = endpoint.sign_on.iter().flat_map(SignOn::secrets);
                let texts = headers.chain(own).chain(endpoint.consent.as_ref().and_then(Consent::secret));
                texts.flat_map(SecretText::names).collect()
            }
        }
    }

    /// Returns where it is and how its users sign in there, where they do.
    pub fn consent(&self) -> Option<(&url::Url, &Consent)> {
        let endpoint = self.endpoint()?;
        Some((&endpoint.url, endpoint.consent.as_ref()?))
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        match &self.transport {
            Transport::Stdio(_) => None,
            Transport::Http(endpoint) | Transport::Sse(endpoint) => Some(endpoint),
        }
    }
}

/// How to reach a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Transport {
    /// A subprocess that speaks newline-delimited JSON on its standard streams.
    Stdio(Command),
    /// Streamable HTTP, and HTTP+SSE where it turns out to be that.
    Http(Endpoint),
    /// HTTP+SSE (2024-11-05), and Streamable HTTP where it turns out to be that.
    Sse(Endpoint),
}

/// A subprocess. Nothing is passed to a shell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// The program, looked up in `PATH` where it has no slash.
    pub program: String,
    /// Its arguments, as they are.
    pub args: Vec<String>,
    /// What its environment has besides the safe base.
    pub env: SortedMap<String, String>,
    /// What it has besides once the values of secrets are known.
    pub secret_env: SortedMap<String, SecretText>,
    /// What is not to be shown of what it says; nothing before the values are known.
    pub veil: Veil,
    /// The folder it runs in; the gateway's own where absent.
    pub cwd: Option<String>,
    /// How it is kept apart, where it is; it is the user's process where absent.
    #[cfg(feature = "hosting")]
    pub hosting: Option<Box<Hosting>>,
}

impl Command {
    /// Returns how it is hosted, where it is, and programs are started at all.
    pub fn hosting(&self) -> Option<&Hosting> {
        #[cfg(feature = "hosting")]
        return self.hosting.as_deref();
        #[cfg(not(feature = "hosting"))]
        None
    }
}

/// An HTTP endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Its URL, `http` or `https`.
    pub url: url::Url,
    /// Headers sent with every request.
    pub headers: http::HeaderMap,
    /// Headers sent besides, once the values of secrets are known.
    pub secret_headers: Vec<(http::HeaderName, SecretText)>,
    /// How the gateway signs in there by itself, where it does.
    pub sign_on: Option<SignOn>,
    /// How users sign in there, where they do; never with `sign_on`.
    pub consent: Option<Consent>,
}
