//! The gateway as a host holds it: what it knows, and the flows that use it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use futures::channel::{mpsc, oneshot};
use http::HeaderValue;

use crate::acl::{Acl, Condition};
use crate::catalog::inspect::Suspects;
use crate::catalog::{Kind, Looking, Scope, View, Views};
use crate::config::{Audit, Config, Limits, Selector};
use crate::control::Managed;
use crate::flow::connected::Grantors;
use crate::flow::connections::Connections;
use crate::flow::secrets::Secrets;
use crate::flow::{HeldStreams, Parking, Spent};
use crate::flow::{Issuers, SignIns};
use crate::front::admin::AdminKey;
use crate::front::gate::{self, Exposure, Gate};
use crate::hub::Hub;
use crate::identity::{Identity, KeyRing, Subject};
use crate::limits::Places;
use crate::names::ServerName;
use crate::oauth::connect::Means;
use crate::ports::{Host, Place};
use crate::session::{Remembered, Sealer};
use crate::sorted::{SortedMap, SortedSet};
use crate::streams::Streams;
use crate::upstream::approved::Unapproved;
use crate::upstream::circuit::Opened;
use crate::upstream::{Nudge, Server, ServerKey, Status, lock};
use crate::users::{self, Users};
use crate::wire::json::Json;

/// How long agents wait for servers that have not answered yet, from the gateway's start, in milliseconds.
pub(crate) const SETTLING: u64 = 5000;

/// What a gateway is made from.
#[derive(Debug)]
pub struct Options {
    /// What to serve.
    pub config: Config,
    /// The keys that seal what clients carry.
    pub seal_keys: SealKeys,
    /// Who can reach the gateway.
    pub exposure: Exposure,
    /// The gateways that this one was started by, as its environment says.
    pub started_by: Vec<String>,
    /// What opens what is not for agents; without one that stays closed.
    pub admin_key: Option<AdminKey>,
    /// Where the configuration comes from, and whether another can be pushed.
    pub managed: Managed,
}

/// The keys that seal what clients carry.
#[derive(Clone)]
pub struct SealKeys {
    /// Seals and opens.
    pub first: [u8; 32],
    /// Only open: keys of before a rotation.
    pub others: Vec<[u8; 32]>,
}

impl std::fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKeys")
    }
}

/// An MCP gateway on some host. Cheap to clone; every clone is the same gateway.
pub struct Gateway<H: Host>(pub(crate) Arc<Inner<H>>);

impl<H: Host> Clone for Gateway<H> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<H: Host> std::fmt::Debug for Gateway<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gateway")
    }
}

pub(crate) struct Inner<H: Host> {
    pub(crate) host: H,
    /// What the gateway is called in the chain of gateways and in the audit trail.
    pub(crate) id: Arc<str>,
    pub(crate) sealer: Sealer,
    pub(crate) admin_key: ArcSwapOption<AdminKey>,
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// The snapshots of principals.
    pub(crate) users: Users,
    /// The API keys that are known.
    pub(crate) keys: ArcSwap<KeyRing>,
    /// Where the configuration comes from.
    pub(crate) managed: Mutex<Managed>,
    /// Whether the host keeps what servers were approved to say, and no version of the configuration.
    pub(crate) keeps_approvals: bool,
    /// Held while another configuration, or other keys, are put in force.
    pub(crate) reloading: Mutex<()>,
    pub(crate) hub: Hub,
    /// The requests that are being answered.
    pub(crate) requests: Places,
    pub(crate) streams: Streams,
    pub(crate) sessions: Sessions,
    /// What is known of secrets.
    pub(crate) secrets: Secrets,
    /// What is known of the keys of identity providers.
    pub(crate) issuers: Issuers,
    /// What is known where the gateway stands in as the authorization server.
    pub(crate) sign_ins: SignIns,
    /// What is known of connections.
    pub(crate) connections: Connections,
    /// Who grants access to servers.
    pub(crate) grantors: Grantors,
    /// Who is still there, as the identity provider has said.
    #[cfg(feature = "control")]
    pub(crate) directory: crate::flow::directory::Directories,
    /// What the URLs of the gateway begin with, where the configuration does not say.
    pub(crate) address: OnceLock<String>,
    /// The calls that wait for a stateless agent's answers, by where they wait.
    pub(crate) parked: Mutex<Parking<H>>,
    pub(crate) spent: Mutex<Spent>,
    /// The streams of agents on HTTP+SSE.
    pub(crate) held: HeldStreams,
    pub(crate) stopping: AtomicBool,
    /// The servers that nobody keeps, where servers are kept only while somebody listens.
    pub(crate) asleep: Mutex<Vec<Keeper>>,
    /// What has been said of names that no server offers.
    pub(crate) told: Mutex<SortedSet<String>>,
    /// Held while what changed is learned of, and how often that was begun.
    pub(crate) renewing: (futures::lock::Mutex<()>, AtomicU64),
    /// What all instances know of servers, as it was taken last where nobody hears of changes.
    pub(crate) published: Mutex<Bytes>,
    /// How many read servers for all instances, which do not know yet what they find.
    pub(crate) unpublished: AtomicUsize,
    /// The chain of gateways, for what this one asks of itself.
    pub(crate) own_via: HeaderValue,
    next_id: AtomicU64,
}

/// One configuration in force, and what is known of its servers. Immutable but for what servers tell.
pub(crate) struct Snapshot {
    pub(crate) config: Arc<Config>,
    pub(crate) gate: Gate,
    /// Whose it is, where some of its servers act for one user.
    pub(crate) user: Option<Arc<str>>,
    /// Whether some server stands in for those of its users.
    pub(crate) has_stand_ins: bool,
    pub(crate) servers: SortedMap<ServerName, Arc<Server>>,
    /// Servers that are no longer configured, as long as calls are running there.
    pub(crate) former: Vec<Weak<Server>>,
    pub(crate) views: Views,
    pub(crate) acl: Arc<Acl>,
    /// When the gateway started, in milliseconds since the Unix epoch.
    pub(crate) since: u64,
    /// Counts the configurations that came into force, this one included.
    pub(crate) edition: u64,
}

/// A server, and what its keeper listens to.
pub(crate) type Keeper = (Arc<Server>, mpsc::UnboundedReceiver<Nudge>);

/// Requests that can be cancelled, by session and id.
pub(crate) type RunningRequests = SortedMap<(u64, String), oneshot::Sender<()>>;

/// What legacy sessions need beyond their id, in this process only.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Sessions that were ended before they expired: nonce and expiry.
    pub(crate) ended: Mutex<SortedMap<u64, u64>>,
    /// Requests that are being answered, by session and id; a message there cancels.
    pub(crate) running: Mutex<RunningRequests>,
    /// The log levels that sessions asked for.
    pub(crate) levels: Mutex<Remembered<usize>>,
}

/// Whether a server answers, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The server.
    pub server: String,
    /// `up`, `starting` or `down`.
    pub status: &'static str,
    /// Why it is down.
    pub reason: Option<String>,
    /// The revision it is spoken to in, once that is agreed on.
    pub version: Option<&'static str>,
    /// How many tools it offers.
    pub tools: usize,
    /// How many prompts.
    pub prompts: usize,
    /// How many resources, without templates.
    pub resources: usize,
    /// Why agents' calls do not reach it for now, where they do not.
    pub circuit: Option<Opened>,
}

impl<H: Host> Gateway<H> {
    /// Makes a gateway and begins to discover its servers in the background.
    ///
    /// Fails where this gateway was, directly or not, started by itself.
    pub fn start(host: H, options: Options) -> Result<Self, crate::error::Refusal> {
        let sealer = Sealer::new(&options.seal_keys.first, &options.seal_keys.others);
        let id = sealer.name(&format!("{:?}", options.config.servers));
        let gate = Gate::new(options.exposure, &options.config.gateway, id.clone(), options.started_by);
        gate.check_start()?;
        let mut first = [0; 8];
        host.fill(&mut first);
        let own_chain = gate.own_chain();
        let keeps_approvals = host.definitions().is_some() && matches!(options.managed, Managed::ByFiles(_));
        let (snapshot, keepers) = Snapshot::new(options.config, gate, host.now());
        let gateway = Self(Arc::new(Inner {
            // Ids start anywhere, so that two instances that share a server's session do not meet.
            next_id: AtomicU64::new((u64::from_le_bytes(first) >> 32) << 20),
            own_via: HeaderValue::from_str(&own_chain).unwrap_or(HeaderValue::from_static("?")),
            sealer,
            admin_key: ArcSwapOption::new(options.admin_key.map(Arc::new)),
            snapshot: ArcSwap::from_pointee(snapshot),
            users: Users::default(),
            keys: ArcSwap::default(),
            managed: Mutex::new(options.managed),
            keeps_approvals,
            reloading: Mutex::default(),
            hub: Hub::default(),
            requests: Places::default(),
            streams: Streams::default(),
            sessions: Sessions::default(),
            secrets: Secrets::default(),
            issuers: Issuers::default(),
            sign_ins: SignIns::default(),
            connections: Connections::default(),
            grantors: Grantors::default(),
            #[cfg(feature = "control")]
            directory: crate::flow::directory::Directories::default(),
            address: OnceLock::new(),
            parked: Mutex::default(),
            spent: Mutex::default(),
            held: HeldStreams::default(),
            stopping: AtomicBool::new(false),
            asleep: Mutex::default(),
            told: Mutex::default(),
            renewing: Default::default(),
            published: Mutex::default(),
            unpublished: AtomicUsize::new(0),
            id: id.into(),
            host,
        }));
        gateway.remember();
        gateway.begin(keepers);
        if gateway.0.host.place() == Place::Process {
            let watcher = gateway.clone();
            gateway.0.host.spawn(async move { watcher.name_the_late().await });
        }
        Ok(gateway)
    }

    /// Returns what entries of the audit trail know it by.
    pub fn id(&self) -> Arc<str> {
        self.0.id.clone()
    }

    /// Takes other keys for what clients carry: the first seals from now on.
    pub fn set_seal_keys(&self, keys: &SealKeys) {
        self.0.sealer.take(&keys.first, &keys.others);
    }

    /// Takes another admin key; without one the admin API is closed.
    pub fn set_admin_key(&self, key: Option<AdminKey>) {
        self.0.admin_key.store(key.map(Arc::new));
    }

    /// Ends the open streams and starts no process any more. Running calls go on.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
        self.0.held.close();
        self.0.hub.close();
        self.give_up_parked();
    }

    /// Returns how much may go on at a time, as the configuration in force says and the platform can bear.
    pub fn limits(&self) -> Limits {
        let snapshot = self.0.snapshot.load();
        let (limits, own) = (snapshot.config.gateway.limits, snapshot.config.gateway.instances.requests);
        // Nobody counts before an object that is an identity's own gateway.
        let requests =
            if self.is_an_owner_apart(&snapshot) { limits.requests.min(own) } else { limits.requests };
        Limits { message: limits.message.min(self.0.host.largest_message()), requests, ..limits }
    }

    /// Tells whether agents on HTTP+SSE hold streams here. Where nothing runs between requests, somebody has to look from
    /// time to time whether they are still let in.
    pub fn holds_streams(&self) -> bool {
        self.0.held.any()
    }

    /// Returns what is recorded, as the configuration in force says.
    pub fn audit(&self) -> Audit {
        self.0.snapshot.load().config.audit.clone()
    }

    /// Returns the state of each server.
    pub fn readiness(&self) -> Vec<Readiness> {
        let snapshot = self.0.snapshot.load();
        let broken = &snapshot.config.broken;
        let left_out = broken.iter().filter(|(server, _)| !snapshot.servers.contains_key(server.as_str()));
        let left_out = left_out.map(|(server, reason)| Readiness {
            server: server.clone(),
            status: "down",
            reason: Some(format!("is not served as its configuration has an error: {reason}")),
            version: None,
            tools: 0,
            prompts: 0,
            resources: 0,
            circuit: None,
        });
        let now = self.host().now();
        let silent = self.is_late().then(|| "has not answered yet".to_owned());
        let is_apart = self.keeps_apart(&snapshot);
        let served = snapshot.servers.values().map(|server| {
            if is_apart {
                return server.readiness_apart();
            }
            if server.is_stand_in() {
                return server.readiness_of_stand_in();
            }
            let readiness = server.readiness(silent.clone(), now);
            let outdated = broken.get(server.name.as_str()).map(|reason| {
                format!("is served as it was configured before, as its configuration has an error: {reason}")
            });
            Readiness { reason: readiness.reason.or(outdated), ..readiness }
        });
        served.chain(left_out).collect()
    }

    /// Returns what is suspicious about the texts of each server that has been read.
    pub fn suspects(&self) -> Vec<(String, Arc<Suspects>)> {
        let servers = self.snapshot();
        let of = |server: &Arc<Server>| {
            Some((server.name.to_string(), server.offer.load().as_ref()?.suspects.clone()))
        };
        servers.servers.values().filter_map(of).collect()
    }

    /// Tells whether servers that have not answered are no longer waited for.
    pub(crate) fn is_late(&self) -> bool {
        self.host().now() >= self.0.snapshot.load().since + SETTLING
    }

    /// Returns an id for a request to a server, unique among those of this gateway.
    pub(crate) fn next_id(&self) -> u64 {
        self.0.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn host(&self) -> &H {
        &self.0.host
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// Returns the snapshot of a caller, in which servers that act for their users act for it, and those of each agent for its
    /// agent.
    pub(crate) fn snapshot_of(&self, who: &Identity) -> Arc<Snapshot> {
        let everybodys = self.snapshot();
        if !everybodys.has_stand_ins {
            return everybodys;
        }
        let own = self.own_snapshot_of(&everybodys, who);
        if !cfg!(feature = "hosting") || !everybodys.has_agents() {
            return own;
        }
        let agents = self.snapshot_of_user(&everybodys, &users::of_agent(&who.agent.name));
        self.0.users.beside(&own, &agents)
    }

    fn own_snapshot_of(&self, everybodys: &Arc<Snapshot>, who: &Identity) -> Arc<Snapshot> {
        match (&who.principal, everybodys.means(false).nobody()) {
            (Some(principal), _) => {
                let snapshot = self.snapshot_of_user(everybodys, principal);
                if let Some(subject) = who.bearer.as_ref().and_then(|bearer| bearer.subject.as_ref()) {
                    snapshot.act_for(subject);
                }
                snapshot
            }
            (None, Some(local)) => self.snapshot_of_user(everybodys, &local.into()),
            (None, None) => everybodys.clone(),
        }
    }

    /// Says what the URLs of this gateway begin with, such as `http://127.0.0.1:7332`, for a configuration that does not. The
    /// first word counts.
    pub fn set_address(&self, address: &str) {
        let _ = self.0.address.set(address.to_owned());
    }

    /// Returns the snapshot of a principal; without one that of nobody in particular.
    pub(crate) fn snapshot_for(&self, user: Option<&Arc<str>>) -> Arc<Snapshot> {
        let everybodys = self.snapshot();
        match user.filter(|_| everybodys.has_stand_ins) {
            Some(user) => self.snapshot_of_user(&everybodys, user),
            None => everybodys,
        }
    }

    /// Returns a server by its key, as the configuration in force has it.
    pub(crate) fn server(&self, key: &ServerKey) -> Option<Arc<Server>> {
        self.snapshot_for(key.user.as_ref()).servers.get(&key.name).cloned()
    }
}

impl Snapshot {
    /// Tells whether each agent has an instance of its own of some server.
    fn has_agents(&self) -> bool {
        self.servers.values().any(|server| server.settings.is_per_agent())
    }

    /// Tells whether users connect to some server.
    pub(crate) fn has_consents(&self) -> bool {
        self.servers.values().any(|server| server.consent().is_some())
    }

    /// Tells whether some server acts on behalf of whoever signed in, by the token that they signed in with.
    pub(crate) fn acts_on_behalf(&self) -> bool {
        self.has_stand_ins && self.servers.values().any(|server| server.settings.is_on_behalf())
    }

    /// Has the servers of this snapshot's user act by a token that this user has signed in with.
    fn act_for(&self, subject: &Arc<Subject>) {
        let is_own = |server: &&Arc<Server>| server.user.is_some() && server.settings.is_on_behalf();
        for server in self.servers.values().filter(is_own) {
            if server.signed_in.presents(subject) {
                server.tries_again();
            }
        }
    }

    /// Returns what a browser's user can be told by.
    pub(crate) fn means(&self, has_admin: bool) -> Means<'_> {
        let public = self.config.gateway.public_url.as_ref();
        let is_here = |url: &url::Url| url.host_str().is_some_and(gate::is_here);
        let is_private = self.gate.is_loopback_only() && public.is_none_or(is_here);
        Means { auth: &self.config.auth, is_private, has_admin }
    }

    fn new(config: Config, gate: Gate, now: u64) -> (Self, Vec<Keeper>) {
        let nothing = Self {
            config: Arc::default(),
            gate,
            user: None,
            has_stand_ins: false,
            servers: SortedMap::new(),
            former: Vec::new(),
            views: Views::default(),
            acl: Arc::default(),
            since: now,
            edition: 0,
        };
        let first = nothing.succeeded_by(config);
        (first.snapshot, first.keepers)
    }

    /// Returns the server with that address, be it configured or one that calls are still running at.
    pub(crate) fn addressed(&self, address: &str) -> Option<Arc<Server>> {
        let former = self.former.iter().filter_map(Weak::upgrade);
        self.servers.values().cloned().chain(former).find(|server| server.address == address)
    }

    /// Returns what an endpoint shows to a caller; to one that comes through other gateways nothing that leads back to
    /// one of them.
    pub(crate) fn view(&self, scope: &Scope, who: &Identity, gateways: &[&str], now: u64) -> Arc<View> {
        let rules = self.acl.rules(who.agent.key());
        let truth = |condition: &Condition, arguments: Option<Json<'_>>| who.truth(condition, arguments, now);
        let outcomes = rules.outcomes(truth);
        let looking = Looking { scope, group: self.group(scope), rules: &rules, outcomes };
        let hidden = if gateways.is_empty() { SortedSet::new() } else { self.leading_back(gateways) };
        if hidden.is_empty() {
            return self.views.view(looking, &self.config, &self.servers);
        }
        let shown = |name: &ServerName| !hidden.contains(name);
        self.views.view_of(&looking, &self.config, &self.servers, &shown)
    }

    /// Returns what an endpoint is narrowed to; one of a group that is gone to nothing.
    fn group(&self, scope: &Scope) -> Option<&[Selector]> {
        let Scope::Group(name) = scope else { return None };
        Some(self.config.policy.groups.get(&**name).map_or(&[], |group| &group.members))
    }

    /// Tells whether an endpoint may show something of a server.
    pub(crate) fn includes(&self, scope: &Scope, server: &ServerName) -> bool {
        let names = |selector: &Selector| selector.server.matches_without_case(server.as_str());
        match scope {
            Scope::Server(only) => only == server,
            Scope::All => true,
            Scope::Group(_) => self.group(scope).unwrap_or_default().iter().any(names),
        }
    }

    /// Tells whether a server is everybody's whom the policy lets reach it, and not one identity's own.
    pub(crate) fn is_shared(&self, server: &Server) -> bool {
        !self.config.personal.contains(&server.name) && !server.settings.is_per_user()
    }

    /// Tells whether a server is some identity's own, and the caller is another.
    pub(crate) fn is_anothers(&self, server: &ServerName, who: &Identity) -> bool {
        self.config.personal.contains(server) && !self.acl.rules(who.agent.key()).may_reach(server.as_str())
    }

    /// Tells whether an endpoint could show anything to a caller of whom no more will be known.
    pub(crate) fn has_anything_for(&self, who: &Identity, scope: &Scope) -> bool {
        let rules = self.acl.rules(who.agent.key());
        let reaches = |server: &ServerName| self.includes(scope, server) && rules.may_reach(server.as_str());
        *scope == Scope::All || !who.is_final(&self.config.policy) || self.servers.keys().any(reaches)
    }

    /// Returns the servers that lead to one of these gateways. What they offer came from there, or would go back there.
    fn leading_back(&self, gateways: &[&str]) -> SortedSet<ServerName> {
        let leads = |server: &Server| lock(&server.behind).iter().any(|hop| gateways.contains(&hop.as_str()));
        self.servers.values().filter(|server| leads(server)).map(|server| server.name.clone()).collect()
    }
}

/// What is said of one that the registry no longer has.
const NOT_LISTED: &str = "is not served: the registry has no approved entry that it is";
/// What is said of a server that answers, and of which nothing is served.
const NOT_APPROVED: &str = "has to be approved (`portcullis approve`) before anything of it is served";

impl Server {
    /// Returns the state of one that is its users' each.
    fn readiness_of_stand_in(&self) -> Readiness {
        self.readiness_elsewhere(if self.settings.is_on_behalf() {
            "acts on behalf of whoever signed in, each by a token of their own"
        } else if self.settings.is_per_agent() {
            "is started for each agent, when it is needed"
        } else if self.settings.hosting().is_some() {
            "is started for each of its users, when they need it"
        } else {
            "acts for its users, each with a connection of their own"
        })
    }

    /// Returns the state of a server that is started in each identity's own gateway.
    fn readiness_apart(&self) -> Readiness {
        self.readiness_elsewhere("is reached from each identity's own gateway, when they need it")
    }

    fn readiness_elsewhere(&self, reason: &str) -> Readiness {
        Readiness {
            server: self.name.to_string(),
            status: "up",
            reason: Some(reason.into()),
            version: None,
            tools: 0,
            prompts: 0,
            resources: 0,
            circuit: None,
        }
    }

    /// Returns the server's state; `silent` is what to say of one that has not answered.
    fn readiness(&self, silent: Option<String>, now: u64) -> Readiness {
        let (status, reason) = match self.status() {
            Status::Starting => ("starting", silent),
            Status::Up => (
                "up",
                self.unapproved().map(|why| match why {
                    Unapproved::Unlisted => NOT_LISTED.to_owned(),
                    _ => NOT_APPROVED.to_owned(),
                }),
            ),
            Status::Down(error) => ("down", Some(error.message)),
        };
        let offer = self.offer.load();
        let listed = offer.as_ref().filter(|_| self.listed.load(Ordering::Relaxed));
        let count = |kind| listed.map_or(0, |offer| offer.items(kind).len());
        Readiness {
            server: self.name.to_string(),
            status,
            reason,
            version: self.shared.current.load().as_ref().map(|established| established.version.as_str()),
            tools: count(Kind::Tools),
            prompts: count(Kind::Prompts),
            resources: count(Kind::Resources),
            circuit: self.circuit.opened(now),
        }
    }
}
